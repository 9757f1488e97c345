"""Amounts as people write them in limits: `60/min`, `200 MB/hour`, `16 h audio/day`, `1 GB`, `320k`.

Sizes are decimal (kB, MB, GB, TB) or binary (KiB, MiB, GiB), as they are named; a time is one of audio only where the
word stands behind it, so that `16 h` is never taken for a pace.
"""

from __future__ import annotations

import re
from typing import NamedTuple

TIMES_S = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "day": 86400}
SIZES = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "kB": 10**3, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10}
PLAYED_S = {"h": 3600, "min": 60, "s": 1}
MOST_BYTES = 10**15

_MEASURE = rf" *({'|'.join(SIZES)})| *({'|'.join(PLAYED_S)}) +audio"
_COUNT = r"(?!0+([^0-9]|$))[0-9]{1,9}"
AMOUNT = rf"{_COUNT}({_MEASURE})?"
SIZED = rf"{_COUNT}({_MEASURE})"
"""The form of an amount with its unit."""
RATE = rf"{AMOUNT} */ *({'|'.join(TIMES_S)})"
QUOTA = rf"{AMOUNT} */ *(day|month)"
BITRATE = r"[1-9][0-9]{0,4}k"

_AMOUNT = re.compile(AMOUNT)


class Amount(NamedTuple):
    """So many of a unit: requests, bytes or audio-seconds."""

    number: int
    unit: str = "requests"


def read_amount(text: str) -> Amount:
    """Raises ValueError on what is none, or is more bytes than anybody counts."""
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        raise ValueError("write it like 120, 1 GB or 2 h audio")
    _, measure, size, played = found.groups()
    number = int(found[0].removesuffix(measure or ""))
    if size is not None and number * SIZES[size] > MOST_BYTES:
        raise ValueError(f"more than {write_amount(MOST_BYTES, 'bytes')}")
    if size is not None:
        return Amount(number * SIZES[size], "bytes")
    return Amount(number * PLAYED_S[played], "audio-seconds") if played is not None else Amount(number)


def read_rate(text: str) -> tuple[Amount, float]:
    """So much in so many seconds. Raises ValueError with what to write."""
    if re.fullmatch(RATE, text.strip()) is None:
        raise ValueError("must look like 60/min, 200 MB/hour or 2 h audio/day (times: s, min, hour, day)")
    amount, _, time = text.partition("/")
    return read_amount(amount), float(TIMES_S[time.strip()])


def read_quota(text: str) -> tuple[Amount, str]:
    """So much in a calendar day or month. Raises ValueError with what to write."""
    if re.fullmatch(QUOTA, text.strip()) is None:
        raise ValueError("must look like 50/day, 20 GB/month or 16 h audio/day (a calendar day or month)")
    amount, _, period = text.partition("/")
    return read_amount(amount), period.strip()


def read_bitrate(text: str) -> int:
    """Bits in a second. Raises ValueError with what to write."""
    if re.fullmatch(BITRATE, text.strip()) is None:
        raise ValueError("must look like 320k (thousand bits in a second)")
    return int(text.strip()[:-1]) * 1000


def write_amount(count: int, unit: str) -> str:
    """An amount as a policy would say it: `1 GB`, `16 h audio`, `60`."""
    if unit == "requests":
        return str(count)
    measures = SIZES if unit == "bytes" else PLAYED_S
    fitting = [(count // each, name) for name, each in measures.items() if count % each == 0]
    if not fitting:
        return f"{count} bytes"
    number, name = min(fitting, key=lambda pair: pair[0])
    return f"{number} {name}" if unit == "bytes" else f"{number} {name} audio"

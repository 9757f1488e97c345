"""Lines of a trace, and the sittings that write them. Addresses are from ranges kept for documentation and tests."""

from __future__ import annotations

import math
from collections.abc import Iterable
from random import Random
from typing import Any

Line = dict[str, Any]
"""One request in the form of a trace: t, dur, ip, proto, method, path, headers, status, bytes, audio_s, auth."""

Headers = list[list[str]]

HOST = "music.example"
ORIGIN = f"https://{HOST}"


class Sitting:
    """One client at its place: what it asks is written down. `ip`, `auth` and `proto` may change on the way."""

    def __init__(
        self,
        rng: Random,
        ip: str | None = None,
        *,
        proto: str = "h2",
        auth: str | None = None,
        mbps: float = 40.0,
    ) -> None:
        self.rng = rng
        self.ip = ip or home(rng)
        self.proto = proto
        self.auth = auth
        self.bytes_per_s = max(2.0, rng.lognormvariate(math.log(mbps), 0.5)) * 125_000
        self.round_trip_s = rng.uniform(0.012, 0.06)
        self.lines: list[Line] = []

    def ask(
        self,
        t: float,
        path: str,
        headers: Headers,
        *,
        status: int = 200,
        size: float = 0,
        audio_s: float = 0.0,
        method: str = "GET",
        dur: float | None = None,
    ) -> float:
        """Write one request down; the moment when its answer is complete."""
        if status in (204, 304) or method == "HEAD":
            size = 0
        elif status >= 400 and status != 499:
            size = 640
        if dur is None:
            dur = self.round_trip_s + size / self.bytes_per_s
        self.lines.append(
            {
                "t": round(t, 3),
                "dur": round(dur, 3),
                "ip": self.ip,
                "proto": self.proto,
                "method": method,
                "path": path,
                "headers": headers,
                "status": status,
                "bytes": int(size),
                "audio_s": round(audio_s, 2),
                "auth": self.auth,
            }
        )
        return t + dur


def merged(*parts: Iterable[Line]) -> list[Line]:
    """The lines of several sittings in the order of time."""
    return sorted((line for part in parts for line in part), key=lambda line: line["t"])


# -- places ------------------------------------------------------------------------------------------------


def home(rng: Random) -> str:
    """A household of its own: an IPv4 address, or every third time an IPv6 one with a privacy suffix."""
    if rng.random() < 0.35:
        return v6(rng, f"2001:db8:{0x1000 + rng.randrange(0x4000):x}:{rng.randrange(0x10000):x}")
    return f"198.18.{rng.randrange(256)}.{rng.randrange(1, 255)}"


def v6(rng: Random, prefix: str) -> str:
    """An address within the /64 `prefix`."""
    return prefix + "".join(f":{rng.randrange(1, 0x10000):x}" for _ in range(4))


def shared(rng: Random) -> str:
    """An address behind which many people are: a campus, a carrier, an exit of a VPN. Never one of a `home`."""
    return f"198.19.{rng.randrange(128)}.{rng.randrange(1, 255)}"


def carrier(rng: Random, number: int = 4) -> list[str]:
    """Addresses of one pool of a carrier, close to each other."""
    block = rng.randrange(128, 192)
    return [f"198.19.{block}.{last}" for last in rng.sample(range(1, 255), number)]


def hoster(rng: Random) -> str:
    """An address of a machine in a data centre."""
    if rng.random() < 0.5:
        return f"198.19.{rng.randrange(192, 256)}.{rng.randrange(1, 255)}"
    return f"2001:db8:{0x8000 + rng.randrange(0x4000):x}:{rng.randrange(0x10000):x}::{rng.randrange(1, 0x1000):x}"


def exit_node(rng: Random) -> str:
    """An exit of a service that hides where people are."""
    return f"203.0.113.{rng.randrange(1, 255)}"

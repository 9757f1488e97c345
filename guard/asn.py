"""Which network announces an address: a table of autonomous system numbers, read from a file.

A line is `PREFIX,ASN` or `FIRST,LAST,ASN,…` with commas or tabs: the form of most exports of the routing table, and
that of iptoasn.com. What stands behind the number is not looked at; empty lines and those that begin with `#` say
nothing.

The law: of several rows that hold an address the narrowest wins, of two that are as narrow the one that stands first.
That is worked out when the table is read, so a question is one search in a sorted array, and no row is an object.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import chain
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_pton

from guard.errors import PolicyError, Problem

MAX_ROWS = 2_000_000
MAX_FILE_BYTES = 256 * 2**20
MAX_PROBLEMS = 20
"""So many are told of one table: a file of another kind is wrong in every line."""

_NUMBER = re.compile(r"(?:AS)?([0-9]{1,10})", re.IGNORECASE)
_LENGTH = re.compile(r"[0-9]{1,3}")
_MAX_ASN = 2**32 - 1
_ORDER_BITS, _ASN_BITS = 24, 32
_AS_IPV4 = b"\0" * 10 + b"\xff\xff"

Row = tuple[int, int, int]
"""The first and the last address that it holds, and the number."""


class _Wide(Sequence[int]):
    """Sorted numbers of 128 bits, 16 bytes each and nothing beside."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._bytes = b"".join(number.to_bytes(16, "big") for number in numbers)

    def __len__(self) -> int:
        return len(self._bytes) // 16

    def __getitem__(self, position: int) -> int:  # type: ignore[override]  # nobody asks for slices
        return int.from_bytes(self._bytes[16 * position : 16 * position + 16], "big")


class _Stretches:
    """One family of addresses as stretches that follow one another: where each begins, and its number."""

    __slots__ = ("_asns", "_starts")

    def __init__(self, rows: Iterable[Row], bits: int) -> None:
        found = list(_stretches(rows, bits))
        starts = (start for start, _ in found)
        self._starts: Sequence[int] = array("I", starts) if bits == 32 else _Wide(starts)
        self._asns = array("I", (asn for _, asn in found))

    def of(self, number: int) -> int:
        position = bisect_right(self._starts, number) - 1
        return self._asns[position] if position >= 0 else 0


class AsnTable:
    """The numbers of networks, by the addresses that they announce. `rows` is how many were read, `digest` tells one
    table from another."""

    __slots__ = ("_narrow", "_wide", "digest", "rows")

    def __init__(self, ipv4: Sequence[Row], ipv6: Sequence[Row], digest: str = "") -> None:
        self._narrow = _Stretches(ipv4, 32)
        self._wide = _Stretches(ipv6, 128)
        self.rows = len(ipv4) + len(ipv6)
        self.digest = digest

    def of(self, address: str) -> int:
        """The number of the network that announces `address`; 0 when nobody does, or it is no address."""
        packed = _packed(address)
        if packed is None:
            return 0
        return (self._narrow if len(packed) == 4 else self._wide).of(int.from_bytes(packed, "big"))


def read_asn_table(path: str | Path) -> AsnTable:
    """The table in a file. Raises PolicyError with the lines that are wrong; OSError when it cannot be read."""
    ipv4: list[Row] = []
    ipv6: list[Row] = []
    problems: list[Problem] = []
    digest = hashlib.sha256()
    number = 0
    for number, line in enumerate(_lines(Path(path)), 1):
        digest.update(line)
        try:
            row = _read_row(line.decode("utf-8", "replace"))
        except ValueError as error:
            problems.append(Problem(str(path), number, str(error)))
            if len(problems) == MAX_PROBLEMS:
                break
            continue
        if row is not None:
            (ipv4 if row[0] == 32 else ipv6).append(row[1:])
        if len(ipv4) + len(ipv6) > MAX_ROWS:
            problems.append(Problem(str(path), number, f"more than {MAX_ROWS:,} rows"))
            break
    if not problems and not ipv4 and not ipv6:
        problems.append(Problem(str(path), 0, "no row: it would tell nobody's network"))
    if problems:
        raise PolicyError(tuple(problems))
    return AsnTable(ipv4, ipv6, digest.hexdigest()[:12])


def make_asn_table(rows: Iterable[str]) -> AsnTable:
    """The table that these lines make. Raises ValueError with the first that is none."""
    read = [row for row in map(_read_row, rows) if row is not None]
    return AsnTable([row[1:] for row in read if row[0] == 32], [row[1:] for row in read if row[0] != 32])


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a regular file of bounded size, without ever waiting for it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(22, "not a regular file", str(path))
        if found.st_size > MAX_FILE_BYTES:
            raise PolicyError((Problem(str(path), 0, f"larger than {MAX_FILE_BYTES // 2**20} MiB"),))
        yield from file


def _read_row(line: str) -> tuple[int, int, int, int] | None:
    """The bits of an address, and a row; None for a line that says nothing. Raises ValueError."""
    text = line.strip()
    if not text or text[0] == "#":
        return None
    fields = text.split("\t" if "\t" in text else ",", 3)
    if "/" in fields[0]:
        first, last = _ends(fields[0].strip())
        written = fields[1] if len(fields) > 1 else ""
    elif len(fields) > 2:
        first, last = _address(fields[0].strip()), _address(fields[1].strip())
        written = fields[2]
    else:
        raise ValueError(f"'{text[:60]}' is no row: write PREFIX,ASN or FIRST,LAST,ASN with commas or tabs")
    if len(first) != len(last):
        raise ValueError(f"'{text[:60]}': from IPv4 to IPv6 there is no range")
    if last < first:
        raise ValueError(f"'{text[:60]}': the last address is before the first")
    return 8 * len(first), int.from_bytes(first, "big"), int.from_bytes(last, "big"), _asn(written.strip())


def _ends(prefix: str) -> tuple[bytes, bytes]:
    """The first and the last address of a prefix."""
    written, _, length = prefix.partition("/")
    first = _address(written)
    bits = 8 * len(first)
    if not _LENGTH.fullmatch(length) or int(length) > bits:
        raise ValueError(f"'{prefix[:60]}' is not a prefix: write it like 192.0.2.0/24 or 2001:db8::/32")
    rest = (1 << (bits - int(length))) - 1
    number = int.from_bytes(first, "big")
    if number & rest:
        raise ValueError(f"'{prefix[:60]}' is not a prefix: it has host bits set")
    return first, (number | rest).to_bytes(len(first), "big")


def _address(text: str) -> bytes:
    packed = _packed(text)
    if packed is None:
        raise ValueError(f"'{text[:60]}' is not an address")
    return packed


def _packed(text: str) -> bytes | None:
    """The bytes of an address, of an IPv4 one within IPv6 those of IPv4; None when it is none."""
    try:
        packed = inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        return None
    return packed.removeprefix(_AS_IPV4) if len(packed) == 16 else packed


def _asn(text: str) -> int:
    found = _NUMBER.fullmatch(text)
    if found is None or int(found[1]) > _MAX_ASN:
        raise ValueError(f"'{text[:60]}' is no number of a network: write AS64500 or 64500")
    return int(found[1])


def _stretches(rows: Iterable[Row], bits: int) -> Iterator[tuple[int, int]]:
    """Where each stretch begins and whose it is, 0 = nobody's; neighbours of one number are one stretch.

    The rows are gone through by where they begin. Those that hold the present address wait on a heap, the narrowest on
    top; what has ended is thrown away when it comes to the top.
    """
    size_bits = bits + 1
    sized = size_bits + _ORDER_BITS + _ASN_BITS
    packed = sorted(
        (((first << size_bits) | (last - first)) << _ORDER_BITS | order) << _ASN_BITS | asn
        for order, (first, last, asn) in enumerate(rows)
    )
    holding: list[tuple[int, int, int]] = []
    said, position = 0, 0
    for row in chain(packed, (None,)):
        begins = (1 << bits) if row is None else row >> sized
        while position < begins:
            while holding and holding[0][1] < position:
                heappop(holding)
            asn = holding[0][2] if holding else 0
            if asn != said:
                yield position, asn
                said = asn
            position = min(begins, holding[0][1] + 1) if holding else begins
        if row is not None:
            rest = row & ((1 << sized) - 1)
            heappush(holding, (rest >> _ASN_BITS, begins + (rest >> (_ORDER_BITS + _ASN_BITS)), rest & _MAX_ASN))

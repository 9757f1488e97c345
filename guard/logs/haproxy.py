"""HAProxy's HTTP log (`option httplog`), with or without what syslog puts in front.

    haproxy[14389]: 10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in static/srv1 10/0/30/69/109 200 2750 - - ----
        1/1/1/1/0 0/0 {music.example|Mozilla/5.0} {} "GET /number.html HTTP/1.1"

HAProxy logs request headers only where it is told to (`capture request header User-Agent len 256`), in braces, and
without their names. Name them in the order in which they are captured: `--format haproxy:host,user-agent`. Without
names, the first captured value that looks like `name/1` is taken for the User-Agent and the first that looks like a
host for the host; with nothing that does, the User-Agent is not known. The time has no zone: it is taken as UTC. The
size is what HAProxy sent, headers included.

Source: HAProxy configuration manual, 8.2.3; haproxy/haproxy, src/log.c (what is escaped, and how: `#HH`).
"""

from __future__ import annotations

import re
from functools import partial

from guard.logs.entry import Entry, Reader, as_count, read_clf_time, split_request

_START = re.compile(rb"(?<!\S)(\S++) \[(\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d)(?:\.(\d{3}))?+\] ")
_ESCAPE = re.compile(rb"#([0-9A-Fa-f]{2})")
_PRODUCT = re.compile(rb"[A-Za-z][A-Za-z0-9_.-]*+/v?\d")
_HOST = re.compile(rb"[A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)++\.?+(?::\d++)?+|\[[0-9A-Fa-f:.]++\](?::\d++)?+")


def read(line: bytes, number: int) -> Entry:
    return _read((), line, number)


def with_names(names: str) -> Reader:
    """A reader for logs with captured request headers; `names` has them with commas, in order. Raises ValueError."""
    found = tuple(name.strip().lower() for name in names.split(","))
    if not all(found):
        raise ValueError("name the captured headers with commas: haproxy:host,user-agent")
    return partial(_read, found)


def _read(names: tuple[str, ...], line: bytes, number: int) -> Entry:
    start = _START.search(line)
    fields = line[start.end() :].split(b" ", 10) if start else []
    if start is None or len(fields) < 11 or not fields[3].lstrip(b"-").isdigit():
        raise ValueError("not a line of HAProxy's HTTP log")
    rest = fields[10]
    captured: list[bytes] | None = None
    while rest.startswith(b"{"):
        block, brace, rest = rest[1:].partition(b"}")
        if not brace:
            raise ValueError("captured headers are cut off")
        if captured is None:
            captured = [_decode(value) for value in block.split(b"|")]
        rest = rest.lstrip(b" ")
    if not rest.startswith(b'"'):
        raise ValueError("not a line of HAProxy's HTTP log")
    request = rest[1:].partition(b'"')[0].rstrip(b"\r")  # HAProxy cuts lines that are too long: then no quote ends it
    method, target, query, named = split_request(_decode(request))
    address = start[1].rpartition(b":")[0] or start[1]
    headers = _name(names, captured) if names else _guess(captured)
    known = dict(headers)
    host = known.get("host")
    return Entry(
        number,
        read_clf_time(start[2]) + (int(start[3]) / 1000 if start[3] else 0.0),
        address.decode("latin-1"),
        method,
        target,
        query,
        named or (host.decode("latin-1") if host else None),
        known.get("user-agent"),
        as_count(fields[3]),
        as_count(fields[4]),
        headers,
    )


def _name(names: tuple[str, ...], captured: list[bytes] | None) -> tuple[tuple[str, bytes], ...]:
    return tuple(zip(names, captured or (), strict=False))


def _guess(captured: list[bytes] | None) -> tuple[tuple[str, bytes], ...]:
    found: dict[str, bytes] = {}
    for value in captured or ():
        if _PRODUCT.match(value):
            found.setdefault("user-agent", value)
        elif _HOST.fullmatch(value):
            found.setdefault("host", value)
    return tuple(found.items())


def _decode(text: bytes) -> bytes:
    if b"#" not in text:
        return text
    return _ESCAPE.sub(lambda match: bytes((int(match[1], 16),)), text)

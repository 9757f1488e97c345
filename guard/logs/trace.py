"""Traces of traffic: one JSON object a request, with all its headers in order.

    {"i": 0, "t": 7.0, "ip": "203.0.113.9", "method": "GET", "path": "/a?b", "headers": [["User-Agent", "x"]],
     "status": 200, "bytes": 900, "dur": 0.02, "audio_s": 0.0, "auth": null, "proto": "h2", "ja4": null}

`t` counts in seconds from any moment. The entry's number is the trace's own `i`. What stands behind `bytes` may be
missing: how long the answer took, how much music was in it, and whose session it was.
"""

from __future__ import annotations

from guard.logs.entry import Entry, as_bytes, as_count, as_text, read_object, read_time, split_target


def read(line: bytes, number: int) -> Entry:
    found = read_object(line)
    headers, own = found.get("headers"), found.get("i", number)
    if not isinstance(headers, list) or "t" not in found or "path" not in found or not isinstance(own, int):
        raise ValueError("not a line of a trace")
    known = tuple(
        (pair[0].lower(), as_bytes(pair[1]))
        for pair in headers
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)
    )
    target, query, named = split_target(as_bytes(found["path"]))
    user_agent = [value for name, value in known if name == "user-agent"]
    hosts = [value for name, value in known if name == "host"]
    return Entry(
        int(own),
        read_time(found["t"]),
        as_text(found.get("ip")),
        as_text(found.get("method")) or "GET",
        target,
        query,
        named or (hosts[0].decode("latin-1") if hosts else None),
        b"\n".join(user_agent),
        as_count(found.get("status")),
        as_count(found.get("bytes")),
        known,
        whole=True,
        duration_s=_number(found.get("dur"), 0.0),
        audio_s=_number(found.get("audio_s"), -1.0),
        account=as_text(found.get("auth")),
        protocol=as_text(found.get("proto")),
        ja4=as_text(found.get("ja4")),
    )


def _number(value: object, default: float) -> float:
    told = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9
    return float(value) if told else default  # type: ignore[arg-type]

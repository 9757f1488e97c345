"""Traefik's access log: its JSON, and its own common form, which says after the User-Agent who answered.

    203.0.113.9 - - [10/Nov/2026:23:00:00 +0000] "GET /a HTTP/2.0" 200 132 "-" "Mozilla/5.0" 17
        "web@docker" "http://10.0.0.2:80" 3ms

Traefik writes quotes inside quoted fields as they are, so a client can make a line of the common form ambiguous: the
last `" "` before the User-Agent is taken. Its JSON has no such doubt, but carries the User-Agent only when
`accessLog.fields.headers` keeps it.

Source: traefik/traefik, pkg/middlewares/accesslog: logger_formatters.go, logdata.go.
"""

from __future__ import annotations

import re

from guard.logs.entry import (
    Entry,
    NoRequest,
    as_bytes,
    as_count,
    as_text,
    first_of,
    read_clf_time,
    read_object,
    read_time,
    split_request,
    split_target,
)

_START = re.compile(rb'(\S++) - ([^\[]*+)\[([^\]]++)\] "')
_MIDDLE = re.compile(rb'" "?(\d{3}|-)"? "?(\d++|-)"? "')
_END = re.compile(rb'"(?:\d++|-) "([^"]*+)" "([^"]*+)" \d++ms\r?')


def read(line: bytes, number: int) -> Entry:
    return _read_json(line, number) if line.startswith(b"{") else _read_common(line, number)


def _read_common(line: bytes, number: int) -> Entry:
    start = _START.match(line)
    middle = _MIDDLE.search(line, start.end()) if start else None
    if start is None or middle is None:
        raise ValueError("not a line of Traefik's common form")
    fields, ending = _cut_ending(line[middle.end() :])
    if _END.fullmatch(ending) is None:
        raise ValueError("not a line of Traefik's common form")
    referer, separator, user_agent = fields.rpartition(b'" "')
    if not separator:
        raise ValueError("not a line of Traefik's common form")
    method, target, query, named = split_request(line[start.end() : middle.start()])
    return Entry(
        number,
        read_clf_time(start[3]),
        start[1].decode("latin-1"),
        method,
        target,
        query,
        named,
        b"" if user_agent == b"-" else user_agent,
        as_count(middle[1]),
        as_count(middle[2]),
        (("referer", referer),) if referer != b"-" else (),
    )


def _cut_ending(rest: bytes) -> tuple[bytes, bytes]:
    """`referer" "user-agent` and `"17 "router" "url" 3ms`, cut from the right at the fifth quote."""
    at = len(rest)
    for _ in range(5):
        at = rest.rfind(b'"', 0, at)
        if at < 0:
            raise ValueError("not a line of Traefik's common form")
    return rest[:at], b'"' + rest[at + 1 :].lstrip(b" ")


def _read_json(line: bytes, number: int) -> Entry:
    found = read_object(line)
    if "RequestMethod" not in found or "RequestPath" not in found:
        if "level" in found and "msg" in found and "ClientHost" not in found:
            raise NoRequest("no request in it")
        raise ValueError("not a line of Traefik's log")
    target, query, named = split_target(as_bytes(found["RequestPath"]))
    if not target:
        raise NoRequest("no request in it")
    known = tuple((name[8:].lower(), as_bytes(value)) for name, value in found.items() if name.startswith("request_"))
    sent = [value for name, value in known if name == "user-agent"]
    if sent:
        user_agent: bytes | None = b"" if sent[0] == b"-" else sent[0]
    else:
        user_agent = b"" if known else None
    host = as_text(first_of(found, ("RequestHost", "RequestAddr")))
    return Entry(
        number,
        read_time(first_of(found, ("StartUTC", "StartLocal", "time"))),
        as_text(found.get("ClientHost")) or as_text(found.get("ClientAddr")).rpartition(":")[0].strip("[]"),
        as_text(found["RequestMethod"]),
        target,
        query,
        named or (host if host and host != "-" else None),
        user_agent,
        as_count(first_of(found, ("DownstreamStatus", "OriginStatus"))),
        as_count(first_of(found, ("DownstreamContentSize", "OriginContentSize"))),
        known,
    )

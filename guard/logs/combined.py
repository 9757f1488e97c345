"""Apache's and nginx's `common` and `combined`, also with the virtual host in front (`vhost_combined`).

    203.0.113.9 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 512 "-" "Mozilla/5.0"
    music.example:443 203.0.113.9 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 512 "-" "Mozilla/5.0"

A further quoted field of addresses is read as X-Forwarded-For, as in nginx's stock `main` format; whatever else
follows is passed over. `-` as User-Agent says that the client sent none; `common` has no User-Agent at all.

Sources: Apache HTTP Server, mod_log_config; nginx, ngx_http_log_module.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from guard.logs.entry import Entry, read_clf_time, split_request, unescape

_QUOTED = rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
_LINE = re.compile(
    rb"(\S++) \S++ \S++ \[([^\]]++)\] " + _QUOTED + rb" (\d{3}|-) (\d++|-)"
    rb"(?: " + _QUOTED + rb" " + _QUOTED + rb'(?: "([0-9A-Fa-f.:, ]++)")?+)?+'
)
_HEAD = re.compile(rb"(\S++) (\S++) ([^\[]*+)(?=\[)")


def read(line: bytes, number: int) -> Entry:
    host = None
    match = _LINE.match(line)
    if match is None:
        host, line = _without_host(line)
        match = _LINE.match(line)
        if match is None:
            raise ValueError("not a line of the combined format")
    ip, time, request, status, size, referer, user_agent, forwarded = match.groups()
    if user_agent is None and b'"' in line[match.end() :]:
        raise ValueError("a quoted field is cut off")
    if b"\\" in request:
        request = unescape(request)
    method, target, query, named = split_request(request)
    if user_agent is not None:
        user_agent = b"" if user_agent == b"-" else unescape(user_agent)
    headers: tuple[tuple[str, bytes], ...] = ()
    if referer is not None and referer != b"-":
        headers = (("referer", unescape(referer)),)
    if forwarded is not None:
        headers = (*headers, ("x-forwarded-for", forwarded))
    return Entry(
        number,
        read_clf_time(time),
        ip.decode("latin-1"),
        method,
        target,
        query,
        host or named,
        user_agent,
        int(status) if status != b"-" else 0,
        int(size) if size != b"-" and len(size) < 20 else 0,
        headers,
    )


def _without_host(line: bytes) -> tuple[str | None, bytes]:
    """The virtual host, and the line without it; a user's name with spaces in it is cut to one word."""
    head = _HEAD.match(line)
    if head is None:
        raise ValueError("not a line of the combined format")
    try:
        ip_address(head[2].decode("latin-1"))
    except ValueError:
        return None, b"%b %b - " % (head[1], head[2]) + line[head.end() :]
    return head[1].decode("latin-1"), line[head.start(2) :]

"""nginx's log as JSON: no format of nginx's own, but the names that people give its variables in a `log_format`.

    log_format json escape=json '{"time": "$time_iso8601", "remote_addr": "$remote_addr", "request": "$request", '
        '"status": $status, "body_bytes_sent": $body_bytes_sent, "host": "$host", '
        '"http_user_agent": "$http_user_agent"}';

The path comes from `request_uri` or `request`, which are as sent; `uri` is what nginx made of it and is believed only
when there is nothing better. Both escapes are read: `escape=json`, and the default, whose `\\xHH` is not JSON.

Source: nginx, ngx_http_log_module and the index of variables.
"""

from __future__ import annotations

from guard.logs.entry import (
    Entry,
    NoRequest,
    as_bytes,
    as_count,
    as_text,
    first_of,
    read_object,
    read_time,
    split_request,
    split_target,
)

ADDRESS = ("remote_addr", "client_ip", "remote_ip", "clientip", "client", "ip", "remote")
TIME = ("msec", "time_iso8601", "time_local", "@timestamp", "timestamp", "time", "ts", "date")
LINE = ("request", "request_line")
METHOD = ("request_method", "method", "verb")
TARGET = ("request_uri", "url", "uri", "path")
QUERY = ("args", "query_string", "query")
USER_AGENT = ("http_user_agent", "user_agent", "useragent", "userAgent", "agent", "ua")
HOST = ("host", "http_host", "server_name", "vhost", "domain")
SIZE = ("body_bytes_sent", "bytes_sent", "body_bytes", "bytes", "size")
FORWARDED = ("http_x_forwarded_for", "x_forwarded_for", "xff")


def read(line: bytes, number: int) -> Entry:
    found = read_object(line)
    address, time = as_text(first_of(found, ADDRESS)), first_of(found, TIME)
    if not address or time is None or not ("status" in found or "status_code" in found):
        raise ValueError("no address, time or status in it")
    time_s = read_time(time)
    request, target = first_of(found, LINE), first_of(found, TARGET)
    if isinstance(request, str) and (" " in request or target is None):
        method, path, query, named = split_request(as_bytes(request))
    elif target is not None:
        method = as_text(first_of(found, METHOD))
        path, query, named = split_target(as_bytes(target))
        if not path or not method or method == "-":
            raise NoRequest("no request in it")
    else:
        raise ValueError("no request in it, nor a path")
    host = named or as_text(first_of(found, HOST))
    user_agent = first_of(found, USER_AGENT)
    forwarded = as_bytes(first_of(found, FORWARDED))
    return Entry(
        number,
        time_s,
        address,
        method,
        path,
        query or as_bytes(first_of(found, QUERY)).removeprefix(b"-"),
        host if host and host not in ("-", "_") else None,
        _sent(user_agent) if isinstance(user_agent, str) else None,
        as_count(first_of(found, ("status", "status_code"))),
        as_count(first_of(found, SIZE)),
        (("x-forwarded-for", forwarded),) if forwarded not in (b"", b"-") else (),
    )


def _sent(user_agent: str) -> bytes:
    return b"" if user_agent == "-" else as_bytes(user_agent)

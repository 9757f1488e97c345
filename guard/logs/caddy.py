"""Caddy's JSON access log (`log` in the Caddyfile), one object a line.

The client is `client_ip`, which Caddy works out from its own `trusted_proxies`, else `remote_ip`. Other lines of
Caddy's in the same file (starting, certificates, errors) tell of no request.

Source: caddyserver/caddy, modules/caddyhttp: marshalers.go, server.go.
"""

from __future__ import annotations

from guard.logs.entry import Entry, NoRequest, as_bytes, as_count, as_text, read_object, read_time, split_target


def read(line: bytes, number: int) -> Entry:
    found = read_object(line)
    request = found.get("request")
    if "ts" not in found or "msg" not in found:
        raise ValueError("not a line of Caddy's log")
    if not isinstance(request, dict) or "uri" not in request or found["msg"] != "handled request":
        raise NoRequest("no request in it")
    target, query, named = split_target(as_bytes(request["uri"]))
    headers = request.get("headers")
    user_agent = None
    known: list[tuple[str, bytes]] = []
    if isinstance(headers, dict):
        for name, values in headers.items():
            for value in values if isinstance(values, list) else ():
                known.append((name.lower(), as_bytes(value)))
        user_agent = b"\n".join(value for name, value in known if name == "user-agent")
    ip = as_text(request.get("client_ip")) or as_text(request.get("remote_ip"))
    if not ip:  # before Caddy 2.5
        ip = as_text(request.get("remote_addr")).rpartition(":")[0].strip("[]")
    return Entry(
        number,
        read_time(found["ts"]),
        ip,
        as_text(request.get("method")) or "GET",
        target,
        query,
        named or as_text(request.get("host")) or None,
        user_agent,
        as_count(found.get("status")),
        as_count(found.get("size")),
        tuple(known),
    )

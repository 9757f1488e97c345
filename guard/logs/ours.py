"""The guard's own log of decisions: `guard serve --log all`.

It holds neither full addresses nor the query. A client is therefore a /24 or /48, and its first address stands for it:
limits that count on clients count on neighbourhoods here, and refuse more than they would. Where a line has no
User-Agent, the name of the agent stands in the entry instead.
"""

from __future__ import annotations

from guard.logs.entry import Entry, NoRequest, as_bytes, as_count, as_text, read_object, read_time

OURS = ("action", "rule", "agent", "client", "method", "path")


def read(line: bytes, number: int) -> Entry:
    found = read_object(line)
    if not all(name in found for name in OURS):
        raise ValueError("not a line of the guard's log")
    target = as_text(found["path"])
    if not target:
        raise NoRequest("no request in it")
    host, user_agent = found.get("host"), found.get("user_agent")
    return Entry(
        number,
        read_time(found.get("time")),
        as_text(found["client"]).partition("/")[0],
        as_text(found["method"]),
        _wire(target),
        b"",
        host if isinstance(host, str) and host else None,
        _wire(user_agent) if isinstance(user_agent, str) else None,
        as_count(found.get("status")),
        as_count(found.get("bytes")),
        (),
        as_text(found["agent"]),
    )


def _wire(text: str) -> bytes:
    """The guard logs bytes as characters of the same number (latin-1)."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return as_bytes(text)

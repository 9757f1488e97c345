"""What the peers have in common that bring no ASGI middleware of their own: who is asking, and the refusal.

The least that does the job, so that what is measured is their limiter and its client for the store.
"""

from __future__ import annotations

LIMIT = 100_000
"""A minute, and at once: as in policy-limit.yaml."""

_REFUSED = {
    "type": "http.response.start",
    "status": 429,
    "headers": [(b"content-length", b"0"), (b"retry-after", b"1")],
}


class Limited:
    """Pure ASGI: `admits(client)` is awaited for each request."""

    def __init__(self, app, admits):
        self.app = app
        self.admits = admits

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and not await self.admits(_client(scope["headers"])):
            await send({**_REFUSED, "headers": list(_REFUSED["headers"])})
            await send({"type": "http.response.body", "body": b""})
            return
        await self.app(scope, receive, send)


def _client(headers):
    """The address from the one hop in front, as the others read it."""
    for name, value in headers:
        if name == b"x-forwarded-for":
            return value.rpartition(b",")[2].strip().decode("latin-1")
    return "?"

"""One story through both edges: the middleware in an ASGI application, and the sidecar before a platform."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import pytest

from guard import Guard, GuardMiddleware
from guard.middleware import App, Message, Receive, Scope, Send
from tests.sidecar import Platform, get, post, side

HOST = "music.example"
HERE = "203.0.113.9"
"""Where everybody comes from, in the middleware; in the sidecar it is the loopback address."""


class Answer:
    """An answer as either edge gives it."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status, self.body = status, body
        self.fields = {name.lower().decode(): value.decode("latin-1") for name, value in headers}

    @property
    def cookie(self) -> bytes:
        """What is to be sent back of the cookie that it sets."""
        return self.fields.get("set-cookie", "").partition(";")[0].encode()


class Ask(Protocol):
    def __call__(self, target: str, fields: dict[bytes, bytes], method: str = "GET") -> Awaitable[Answer]: ...


class Front(Protocol):
    """What stands in front of the application: it has a guard."""

    guard: Guard


Story = Callable[[Ask], Awaitable[None]]
Through = Callable[..., Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


def application(headers: Callable[[str], Headers], body: bytes) -> App:
    """Answers everything with this body, and with the headers that a target gets."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers(scope["path"])})
        await send({"type": "http.response.body", "body": body})

    return app


def no_headers(target: str) -> Headers:
    return []


async def through_the_middleware(
    site: Front, story: Story, headers: Callable[[str], Headers] = no_headers, body: bytes = b"hello", **more: Any
) -> None:
    app = GuardMiddleware(application(headers, body), site.guard, join_robots=False)

    async def ask(target: str, fields: dict[bytes, bytes], method: str = "GET") -> Answer:
        path, _, query = target.partition("?")
        scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "scheme": "https"}
        scope |= {"query_string": query.encode(), "client": (HERE, 4711), "http_version": "1.1"}
        scope["headers"] = [(b"host", HOST.encode()), *((name, v) for name, v in fields.items() if name != b"host")]
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        await app(scope | more, receive, send)
        return Answer(sent[0]["status"], list(sent[0]["headers"]), b"".join(one.get("body", b"") for one in sent[1:]))

    await story(ask)


async def through_the_sidecar(
    site: Front, story: Story, headers: Callable[[str], Headers] = no_headers, body: bytes = b"hello"
) -> None:
    platform = Platform()

    def reply(message: Any) -> bytes:
        lines = [b"%b: %b\r\n" % pair for pair in headers(message.target.decode().partition("?")[0])]
        sent = b"" if message.line.startswith(b"HEAD") else body
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), b"".join(lines), sent)

    platform.reply = reply
    async with platform.running(), side(platform.port, guard=site.guard) as sidecar:

        async def ask(target: str, fields: dict[bytes, bytes], method: str = "GET") -> Answer:
            lines = [f"{name.decode()}: {value.decode()}" for name, value in fields.items() if name != b"host"]
            sent = post(target, b"x", *lines) if method == "POST" else get(target, *lines, host=HOST, method=method)
            answer = await sidecar.ask(sent, no_body=method == "HEAD")
            return Answer(answer.status, answer.fields, answer.body)

        await story(ask)


EDGES = pytest.mark.parametrize("through", [through_the_middleware, through_the_sidecar])

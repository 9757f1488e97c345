"""Shared pieces of the sidecar's tests: a scripted raw upstream, a worker in this loop, clients that speak bytes.

Nothing here knows HTTP better than it must: heads end with an empty line, bodies by their length or by chunks.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from guard.engine import Guard
from guard.load import read_policy
from guard.proxy.worker import Timeouts, Upstream, Worker

OPEN = "version: 1\nsite: {name: test, contact: 'mailto:us@example.org'}\ndefault: allow\n"
"""Lets everything through."""

GATED = (
    OPEN
    + """
preferences: {train-ai: disallow}
limits:
  - {name: slow, rate: 5/min, burst: 5, key: client}
rules:
  - {name: nobody, when: {path: /private/**}, then: block}
  - {name: no AI on audio, when: {path: /audio/**, category: "ai-*"}, then: block}
  - {name: streams, when: {path: /stream/**}, then: throttle, limit: slow}
"""
)
"""`/private/**` for nobody, `/audio/**` not for AI agents, `/stream/**` five times a minute."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE)


class Message(NamedTuple):
    """One request or answer: the head's exact bytes (empty line included) and the body without its framing."""

    head: bytes
    body: bytes = b""
    complete: bool = True

    @property
    def line(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0]

    @property
    def status(self) -> int:
        return int(self.line.split(b" ")[1])

    @property
    def target(self) -> bytes:
        return self.line.split(b" ")[1]

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        lines = self.head.split(b"\r\n")[1:-2]
        return [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name.lower()]


class Line:
    """One raw connection, seen from its far end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *segments: bytes) -> None:
        """Each argument is one segment: the other side gets the chance to read it by itself."""
        for segment in segments:
            self.writer.write(segment)
            for _ in range(3):
                await asyncio.sleep(0)

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def message(self, *, no_body: bool = False, within_s: float = 5.0) -> Message:
        """The next whole message; `complete=False` when the connection ended inside its body."""
        async with asyncio.timeout(within_s):
            head = await self.head()
            if no_body or head.startswith((b"HTTP/1.1 1", b"HTTP/1.1 204", b"HTTP/1.1 304")):
                return Message(head)
            body = bytearray()
            try:
                if _CHUNKED.search(head):
                    while size := int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16):
                        body += (await self.reader.readexactly(size + 2))[:-2]
                    await self.reader.readuntil(b"\r\n")
                elif found := _LENGTH.search(head):
                    body += await self.reader.readexactly(int(found[1]))
                elif head.startswith(b"HTTP/"):
                    body += await self.reader.read()
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                return Message(head, bytes(body) + getattr(error, "partial", b""), complete=False)
            return Message(head, bytes(body))

    async def ask(self, data: bytes, **options: bool) -> Message:
        await self.send(data)
        return await self.message(**options)

    async def rest(self, within_s: float = 5.0) -> bytes:
        """All that comes until the other side closes, cleanly or not."""
        got = bytearray()
        async with asyncio.timeout(within_s):
            try:
                while piece := await self.reader.read(65536):
                    got += piece
            except ConnectionError:
                got += self.reader._buffer  # type: ignore[attr-defined]  # what had come before the reset
        return bytes(got)

    async def silence(self, for_s: float = 0.15) -> None:
        """Nothing may come now, not even the end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                got = await self.reader.read(100)
                raise AssertionError(f"unexpected: {got!r}")

    def half_close(self) -> None:
        self.writer.write_eof()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()


Script = Callable[[Line], Awaitable[None]]


class Platform:
    """A raw upstream. Each connection is handed to `script`; what was asked is in `seen`."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or self.answer_all
        self.seen: list[Message] = []
        self.opened = 0
        self.ended = 0
        self.port = 0
        self.reply: Callable[[Message], bytes] = lambda message: OK
        self._lines: set[asyncio.StreamWriter] = set()

    async def answer_all(self, line: Line) -> None:
        """Answer each whole request with `reply`."""
        while True:
            self.seen.append(message := await line.message(within_s=60))
            if not message.complete:
                return
            await line.send(self.reply(message))

    async def take(self, line: Line) -> Message:
        """Read and remember one request."""
        self.seen.append(message := await line.message(within_s=60))
        return message

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self._lines.add(writer)
        try:
            await self.script(Line(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.ended += 1
            self._lines.discard(writer)
            writer.close()

    @asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[Platform]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=1 << 20)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in list(self._lines):
                writer.transport.abort()
            await asyncio.sleep(0)


class Side:
    """A worker that serves in this event loop."""

    def __init__(self, worker: Worker, port: int) -> None:
        self.worker, self.port = worker, port

    def small_client(self) -> socket.socket:
        """A connected, non-blocking socket for which the kernel keeps next to nothing."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        sock.connect(("127.0.0.1", self.port))
        sock.setblocking(False)
        return sock

    @asynccontextmanager
    async def client(self, **options: int) -> AsyncIterator[Line]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22, **options)
        line = Line(reader, writer)
        try:
            yield line
        finally:
            line.reset()

    async def ask(self, data: bytes, **options: bool) -> Message:
        """One request on a connection of its own."""
        async with self.client() as client:
            return await client.ask(data, **options)

    async def idle(self, within_s: float = 2.0) -> None:
        """Wait until no client is connected any more."""
        async with asyncio.timeout(within_s):
            while self.worker.connections:
                await asyncio.sleep(0.005)


def fresh_guard(policy: str) -> Guard:
    return Guard(read_policy(policy))


@asynccontextmanager
async def side(
    upstream_port: int,
    policy: str = OPEN,
    timeouts: Timeouts | None = None,
    guard: Guard | None = None,
    send_buffer_bytes: int = 0,
) -> AsyncIterator[Side]:
    """A worker in front of the upstream; drained at the end."""
    worker = Worker(
        guard or fresh_guard(policy),
        Upstream("127.0.0.1", upstream_port),
        timeouts or Timeouts(drain_s=2.0, linger_s=0.3),
    )
    sock = socket.create_server(("127.0.0.1", 0))
    if send_buffer_bytes:  # accepted connections inherit it
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
    port = sock.getsockname()[1]
    stop = asyncio.Event()
    serving = asyncio.ensure_future(worker.serve(sock, stop=stop))
    while not hasattr(worker, "pool"):
        await asyncio.sleep(0)
    try:
        yield Side(worker, port)
    finally:
        stop.set()
        await serving


@asynccontextmanager
async def both(
    script: Script | None = None, policy: str = OPEN, timeouts: Timeouts | None = None
) -> AsyncIterator[tuple[Platform, Side]]:
    """An upstream and a worker in front of it."""
    async with Platform(script).running() as platform, side(platform.port, policy, timeouts) as sidecar:
        yield platform, sidecar


def get(target: str = "/", *fields: str, host: str = "a.example", method: str = "GET") -> bytes:
    """A request without body."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def post(target: str, body: bytes, *fields: str) -> bytes:
    return get(target, *fields, f"Content-Length: {len(body)}", method="POST") + body


def chunks(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))

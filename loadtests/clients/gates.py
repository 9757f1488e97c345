"""A gate for each client: a TCP forwarder that gives it an address of its own, holds its line to a speed, and watches.

The bytes pass unaltered. Beside them, requests and answers are read as HTTP, so that what the client really sent and
what it really got is known: its header lines in their order, and every refusal of the guard.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import httptools

PIECE_BYTES = 32_768
BUFFER_BYTES = 131_072
CLOSE_S = 5.0


@dataclass
class Exchange:
    """One request and its answer. Times are seconds since the gates opened."""

    connection: int
    asked_s: float
    method: str
    target: str
    headers: list[tuple[str, str]]
    status: int = 0
    """0: nothing was answered."""
    body_bytes: int = 0
    ended_s: float = 0.0
    decision: str = ""
    """The number of the guard's decision, on answers that are its own."""

    @property
    def refused(self) -> bool:
        return self.status >= 400 and bool(self.decision)


@dataclass
class Gate:
    """Where one client comes in."""

    name: str
    address: str
    """The client's own address, as the sidecar sees it."""
    port: int = 0
    exchanges: list[Exchange] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Gates:
    """All gates, in one event loop on a thread of its own."""

    def __init__(self, target_port: int, bits_per_s: float) -> None:
        self.target_port, self.bits_per_s = target_port, bits_per_s
        self._origin = time.monotonic()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gates", daemon=True)
        self._servers: list[asyncio.Server] = []
        self._lines: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Gates:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(CLOSE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_S)
        self._loop.close()

    def now_s(self) -> float:
        return time.monotonic() - self._origin

    def open(self, name: str, address: str) -> Gate:
        """A new gate on a free port."""
        gate = Gate(name, address)
        asyncio.run_coroutine_threadsafe(self._listen(gate), self._loop).result(CLOSE_S)
        return gate

    async def _listen(self, gate: Gate) -> None:
        pace = Pace(self.bits_per_s)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._lines.add(task)
            try:
                await self._forward(gate, pace, reader, writer)
            finally:
                self._lines.discard(task)

        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=BUFFER_BYTES // 2)
        gate.port = server.sockets[0].getsockname()[1]
        self._servers.append(server)

    async def _shut(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._lines:
            task.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    async def _forward(
        self, gate: Gate, pace: Pace, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One connection, from its first byte to the end of both sides."""
        gate.connections += 1
        tap = Tap(gate.connections, gate.exchanges.append, self.now_s)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)  # a line's buffers, not a loopback's
        sock.setblocking(False)
        onward: asyncio.StreamWriter | None = None
        try:
            sock.bind((gate.address, 0))
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.target_port))
            back, onward = await asyncio.open_connection(sock=sock, limit=BUFFER_BYTES // 2)
            await both(pump(reader, onward, tap.sent), pump(back, writer, tap.got, pace))
        except (OSError, asyncio.CancelledError):
            pass  # one side is gone: so is the other, below
        finally:
            tap.end()
            writer.transport.abort()
            if onward is None:
                sock.close()
            else:
                onward.transport.abort()


async def both(*ways: object) -> None:
    """Run both ways; when one breaks, the other is ended, too."""
    tasks = [asyncio.ensure_future(way) for way in ways]  # type: ignore[call-overload]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def pump(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    watch: Callable[[bytes], None],
    pace: Pace | None = None,
) -> None:
    """Pass on all that comes, then the end."""
    while piece := await reader.read(PIECE_BYTES):
        watch(piece)
        writer.write(piece)
        await writer.drain()
        if pace:
            await pace.hold(len(piece))
    with contextlib.suppress(OSError):
        writer.write_eof()


class Pace:
    """The speed of one client's line, shared by its connections."""

    def __init__(self, bits_per_s: float) -> None:
        self.bits_per_s = bits_per_s
        self._free_s = 0.0

    async def hold(self, size_bytes: int) -> None:
        """Wait as long as so many bytes take on the line."""
        if not self.bits_per_s:
            return
        now_s = asyncio.get_running_loop().time()
        self._free_s = max(self._free_s, now_s) + size_bytes * 8 / self.bits_per_s
        if self._free_s - now_s > 0.002:
            await asyncio.sleep(self._free_s - now_s)


# -- reading along -------------------------------------------------------------------------------------------------


class Tap:
    """Reads both ways of one connection as HTTP/1.1. What is no HTTP (a WebSocket's frames) is not read."""

    def __init__(self, connection: int, note: Callable[[Exchange], None], now_s: Callable[[], float]) -> None:
        self.connection, self.note, self.now_s = connection, note, now_s
        self.open: deque[Exchange] = deque()
        self._asking = httptools.HttpRequestParser(Asking(self))
        self._answer = Answer(self)
        self._answering = httptools.HttpResponseParser(self._answer)
        self.deaf = False

    def sent(self, data: bytes) -> None:
        """By the client."""
        if not self.deaf:
            try:
                self._asking.feed_data(data)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade):
                self.deaf = True

    def got(self, data: bytes) -> None:
        """From the sidecar."""
        if self._answer.deaf:
            return
        try:
            self._answering.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._answer.deaf = True
        if self._answer.headers_only and self.open:  # the answer to HEAD has its length and no body
            self.close_first()
            self._answer = Answer(self)
            self._answering = httptools.HttpResponseParser(self._answer)

    def begin(self, method: str, target: str, headers: list[tuple[str, str]]) -> None:
        exchange = Exchange(self.connection, self.now_s(), method, target, headers)
        self.open.append(exchange)
        self.note(exchange)

    def close_first(self) -> None:
        self.open.popleft().ended_s = self.now_s()

    def end(self) -> None:
        """The connection is over, whatever was still open on it."""
        while self.open:
            self.close_first()


class Asking:
    """Callbacks of httptools, requests."""

    def __init__(self, tap: Tap) -> None:
        self.tap = tap
        self.target = b""
        self.headers: list[tuple[str, str]] = []

    def on_message_begin(self) -> None:
        self.target, self.headers = b"", []

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.tap.begin(self.tap._asking.get_method().decode("latin-1"), self.target.decode("latin-1"), self.headers)


class Answer:
    """Callbacks of httptools, answers."""

    def __init__(self, tap: Tap) -> None:
        self.tap = tap
        self.deaf = False
        self.headers_only = False
        self.decision = ""

    def on_message_begin(self) -> None:
        self.decision = ""

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-guard-decision":
            self.decision = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self.tap._answering.get_status_code()
        if self.tap.open and (status >= 200 or status == 101):
            first = self.tap.open[0]
            first.status, first.decision = status, self.decision
            self.headers_only = first.method == "HEAD"

    def on_body(self, data: bytes) -> None:
        if self.tap.open:
            self.tap.open[0].body_bytes += len(data)

    def on_message_complete(self) -> None:
        if self.tap.open and self.tap.open[0].status >= 200 and not self.headers_only:
            self.tap.close_first()

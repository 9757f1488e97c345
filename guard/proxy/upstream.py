"""The sidecar's side towards the platform: pooled connections that carry one exchange at a time.

The law: an answer is passed on as it comes, counted by its own framing. A connection goes back to the pool only
after a whole answer to a whole request; an answer that breaks off is told to the receiver as failed, never as ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from typing import Protocol

import httptools

from guard.memo import Memo
from guard.proxy.heads import (
    CHUNKED,
    COUNTED,
    NO_BODY,
    UNTIL_CLOSE,
    ResponseHead,
    Special,
    field_kind,
    plain,
)

_log = logging.getLogger("guard.proxy")

MAX_ANSWER_HEAD_BYTES = 64 * 1024
MAX_INTERIM_ANSWERS = 32
_MEMO_HEAD_BYTES = 2048
_TUNNEL = 9
_HEAD = 8


heads: Memo[bytes, ResponseHead] = Memo(1_024)
"""Checked heads of counted answers, by their bytes: a hot answer's head is the same for a second (Date)."""


class Receiver(Protocol):
    """Who waits for an answer: one exchange of a client connection."""

    head_only: bool
    complete: bool  # the whole request has been handed to the upstream connection

    def answered(self, head: ResponseHead, body: bytes, whole: bool) -> None: ...
    def informed(self, head: ResponseHead) -> None: ...
    def received(self, data: bytes) -> None: ...
    def ended(self) -> None: ...
    def failed(self, why: str, *, untouched: bool) -> None: ...
    def hold(self) -> None: ...
    def go_on(self) -> None: ...


class UpstreamConnection(asyncio.Protocol):
    """One connection to the platform."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before any other call
        self.receiver: Receiver | None = None
        self.state = _HEAD
        self.remaining = 0
        self.idle_since = 0.0
        self.reused = False  # it has been idle, and nothing of an answer has come since
        self.paused = False  # the client does not read: the upstream must wait
        self.full = False  # the upstream does not read: the client must wait
        self._buffer = b""
        self._parser: httptools.HttpResponseParser | None = None
        self._wire_keep_alive = False
        self._body = b""
        self._special: list[Special] = []
        self._status = 0
        self._keep_alive = False
        self._complete = False
        self._interims = 0

    # -- what the exchange calls -------------------------------------------------------------------------

    def send(self, receiver: Receiver, data: bytes) -> None:
        self.receiver = receiver
        self.state = _HEAD
        self.transport.write(data)

    def detach(self, flush: bool = False) -> None:
        """The client has gone: nobody waits for this answer any more. `flush`: its last words still go on."""
        self.receiver = None
        if flush and not self.full:
            self.transport.close()
        else:
            self.transport.abort()

    def pause(self) -> None:
        """Read nothing more until `resume`: the client is behind."""
        self.paused = True
        self.transport.pause_reading()

    def resume(self) -> None:
        self.paused = False
        self.transport.resume_reading()

    # -- asyncio.Protocol --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.transport.set_write_buffer_limits(high=self.pool.high_water_bytes)
        self.pool.remember(self)

    def data_received(self, data: bytes) -> None:
        receiver = self.receiver
        if receiver is None:  # nothing was asked: an answer out of turn would be the next client's
            self.transport.abort()
            return
        state = self.state
        if state == COUNTED:
            if len(data) > self.remaining:
                self._keep_alive = False
                data = data[: self.remaining]
            self.remaining -= len(data)
            receiver.received(data)
            if not self.remaining:
                self._finish()
        elif state == _HEAD:
            self._read_head(self._buffer + data if self._buffer else data)
        elif state == CHUNKED:
            self._feed_chunks(data)
        else:
            receiver.received(data)

    def eof_received(self) -> bool:
        if self.state == UNTIL_CLOSE and self.receiver is not None:
            self._keep_alive = False
            self._finish()
        elif self.state == _TUNNEL and self.receiver is not None:
            self.receiver.ended()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.pool.forget(self)
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            untouched = self.reused and self.state == _HEAD and not self._buffer
            receiver.failed("upstream closed the connection", untouched=untouched)

    def pause_writing(self) -> None:
        self.full = True
        if self.receiver is not None:
            self.receiver.hold()

    def resume_writing(self) -> None:
        self.full = False
        if self.receiver is not None:
            self.receiver.go_on()

    # -- the answer --------------------------------------------------------------------------------------

    def _read_head(self, data: bytes) -> None:
        receiver = self.receiver
        if receiver is None:
            return
        end = data.find(b"\r\n\r\n") + 4
        if (end if end >= 4 else len(data)) > MAX_ANSWER_HEAD_BYTES:
            self._give_up("answer head too large")
            return
        if end < 4:
            self._buffer = data
            return
        self._buffer = b""
        raw = data[:end]
        head = None if receiver.head_only else heads.get(raw)
        if head is None and (head := self._parse_head(receiver, data, raw)) is None:
            return
        framing = head.framing
        self._keep_alive = head.keep_alive
        self.state = framing
        if framing == COUNTED:
            body = data[end:]
            self.remaining = remaining = head.body_bytes - len(body)
            if remaining > 0:
                receiver.answered(head, body, False)
            else:
                if remaining < 0:
                    body = body[: head.body_bytes]
                    self._keep_alive = False
                self._release(receiver)
                receiver.answered(head, body, True)
        elif head.status < 200:
            self._interim(receiver, head, data[end:])
        elif framing == CHUNKED:
            self._start_chunked(receiver, head, data[end:])
        elif framing == NO_BODY:
            self._keep_alive = head.keep_alive and len(data) == end
            self._release(receiver)
            receiver.answered(head, b"", True)
        else:
            receiver.answered(head, data[end:], False)

    def _parse_head(self, receiver: Receiver, data: bytes, raw: bytes) -> ResponseHead | None:
        """The head that `data` begins with, checked by llhttp; None after giving up."""
        parser = self._parser = httptools.HttpResponseParser(self)
        self._special = []
        self._body = b""
        self._complete = False
        self._status = 0
        try:
            parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError:
            self._give_up("not an HTTP answer")
            return None
        special, self._special = self._special, []  # what comes later are trailer fields: they are left behind
        try:
            head = ResponseHead(self._status, raw, special, self._wire_keep_alive, receiver.head_only)
        except ValueError as error:
            self._give_up(str(error))
            return None
        if head.framing == COUNTED and len(raw) <= _MEMO_HEAD_BYTES:
            heads.keep(raw, head)
        return head

    def _interim(self, receiver: Receiver, head: ResponseHead, rest: bytes) -> None:
        """A 1xx head: 101 opens the tunnel, others come before the answer."""
        self.state = _HEAD
        self.reused = False
        self._interims += 1
        if head.status == 101:
            self.state = _TUNNEL
            receiver.answered(head, b"", False)
            if rest and self.receiver is receiver:
                receiver.received(rest)
        elif self._interims > MAX_INTERIM_ANSWERS:
            self._give_up("too many interim answers")
        else:
            receiver.informed(head)
            if rest and self.receiver is receiver:
                self._read_head(rest)

    def _start_chunked(self, receiver: Receiver, head: ResponseHead, rest: bytes) -> None:
        if rest and not self._feed(rest):
            return
        body, self._body = self._body, b""
        if self._complete:
            self._release(receiver)
            receiver.answered(head, body, True)
        else:
            receiver.answered(head, body, False)

    def _feed(self, data: bytes) -> bool:
        """Chunks to llhttp, which leaves what they carry in `_body`. False after giving up."""
        parser = self._parser
        if parser is None:
            return False
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._complete:
                self._give_up("broken chunks")
                return False
            self._keep_alive = False  # the answer was whole; what came behind it belongs to nobody
        return True

    def _feed_chunks(self, data: bytes) -> None:
        if not self._feed(data):
            return
        body, self._body = self._body, b""
        if body and self.receiver is not None:
            self.receiver.received(body)
        if self._complete:
            self._finish()

    def _finish(self) -> None:
        receiver = self.receiver
        if receiver is not None:
            self._release(receiver)
            receiver.ended()

    def _release(self, receiver: Receiver) -> None:
        """The answer is whole. Back to the pool if the request was, too, and the upstream took it; else closed."""
        self.receiver = None
        self._interims = 0
        if self.paused:
            self.resume()
        if self.full or not receiver.complete:
            self.transport.abort()
        elif self._keep_alive:
            self.pool.put_back(self)
        else:
            self.transport.close()

    def _give_up(self, why: str) -> None:
        receiver, self.receiver = self.receiver, None
        self.transport.abort()
        if receiver is not None:
            receiver.failed(why, untouched=False)

    # -- httptools callbacks -----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:  # a second answer behind the first: nobody asked for it
            self._keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if name not in plain and (kind := field_kind(name)):
            self._special.append((kind, name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        parser = self._parser
        if parser is not None:
            self._wire_keep_alive = parser.should_keep_alive()  # llhttp knows it only now
            self._status = parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if not self._complete:
            self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        self._complete = True


class Pool:
    """Connections to one upstream; at most `max_idle` are kept, the one used last is taken first."""

    def __init__(
        self,
        connect: Callable[[Callable[[], UpstreamConnection]], asyncio.Future[object]],
        *,
        max_idle: int = 256,
        connect_timeout_s: float = 5.0,
        high_water_bytes: int = 256 * 1024,
    ) -> None:
        """`connect` takes a protocol factory and gives what to await for (transport, protocol)."""
        self._connect = connect
        self._idle: list[UpstreamConnection] = []
        self._all: set[UpstreamConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.now_s = 0.0
        self.max_idle = max_idle
        self.connect_timeout_s = connect_timeout_s
        self.high_water_bytes = high_water_bytes

    def take(self) -> UpstreamConnection | None:
        """A connection that is ready now, or None."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    def dial(self, ready: Callable[[UpstreamConnection], None], failed: Callable[[str], None]) -> None:
        """Open a new connection; exactly one of the two is called, later."""
        task = asyncio.ensure_future(self._dial(ready, failed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _dial(self, ready: Callable[[UpstreamConnection], None], failed: Callable[[str], None]) -> None:
        connection = UpstreamConnection(self)
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                await self._connect(lambda: connection)
        except (OSError, TimeoutError, ssl.SSLError, UnicodeError) as error:
            failed(f"cannot connect to the upstream: {type(error).__name__}")
            return
        if connection.transport.is_closing():
            failed("the upstream closed the connection at once")
            return
        ready(connection)

    def remember(self, connection: UpstreamConnection) -> None:
        self._all.add(connection)

    def put_back(self, connection: UpstreamConnection) -> None:
        if len(self._idle) < self.max_idle:
            connection.state = _HEAD
            connection.reused = True
            connection.idle_since = self.now_s
            self._idle.append(connection)
        else:
            connection.transport.close()

    def forget(self, connection: UpstreamConnection) -> None:
        self._all.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)

    def age(self, now_s: float, idle_s: float) -> None:
        """Close what has been idle for long: called by the worker's clock."""
        self.now_s = now_s
        for connection in [one for one in self._idle if now_s - one.idle_since > idle_s]:
            connection.transport.close()

    def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        for connection in list(self._all):
            connection.transport.abort()
        self._all.clear()
        self._idle.clear()


def connector(
    loop: asyncio.AbstractEventLoop, host: str, port: int, path: str, tls: ssl.SSLContext | None
) -> Callable[[Callable[[], UpstreamConnection]], asyncio.Future[object]]:
    """How to reach the one upstream: a unix socket when `path` is given, else host and port."""

    def connect(factory: Callable[[], UpstreamConnection]) -> asyncio.Future[object]:
        if path:
            return asyncio.ensure_future(loop.create_unix_connection(factory, path))
        names = host if tls is not None else None
        return asyncio.ensure_future(loop.create_connection(factory, host, port, ssl=tls, server_hostname=names))

    return connect

"""The sidecar's side towards the client: one Protocol a connection, which reads requests and keeps their order.

The law: a request reaches the platform only after it was read whole, checked and decided. Bytes flow with
back-pressure both ways. When the client goes, its upstream connection goes; when the upstream breaks off, the
client's answer breaks off, too. A connection on which anything was doubtful is closed.

A head whose exact bytes were parsed and checked before is not parsed again: same bytes, same meaning.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import socket
import struct
import termios
from collections import deque
from typing import TYPE_CHECKING

import httptools

from guard.engine import REJECTED
from guard.proxy.exchange import Exchange
from guard.proxy.heads import (
    CHUNKED,
    COUNTED,
    MAX_HEAD_BYTES,
    MAX_TARGET_BYTES,
    NO_BODY,
    UNTIL_CLOSE,
    BadRequest,
    RequestHead,
    write_reply,
)

if TYPE_CHECKING:
    from guard.engine import Guard
    from guard.proxy.worker import Worker

_log = logging.getLogger("guard.proxy")

MAX_PIPELINED = 32
_READ_AHEAD = 8
"""So many requests may wait for their turn before nothing more is read; what one segment brings may be more."""
_MEMO_HEAD_BYTES = 2048
_CHUNK_LINE_BYTES = 12  # what a piece of a body may be wrapped in
_MAX_PARTIAL_BYTES = MAX_HEAD_BYTES + MAX_TARGET_BYTES
_NEVER = float("inf")
_RESET = struct.pack("ii", 1, 0)
_INT = struct.Struct("i")
_UNSAID = 0
"""Instead of a status: close without a word. Who pipelines asks again for what was not answered (RFC 9112 9.3.2)."""


class ClientConnection(asyncio.Protocol):
    """One client connection. Exchanges are answered in the order they came."""

    __slots__ = (
        "_exchange",
        "_field_bytes",
        "_fields",
        "_fresh",
        "_heads",
        "_parser",
        "_peer",
        "_queue",
        "_reading",
        "_refusal",
        "_stopped",
        "_unsent_bytes",
        "_unused_bytes",
        "_url",
        "closing",
        "deadline_s",
        "deaf",
        "head_deadline_s",
        "held",
        "ignored",
        "lingering",
        "scheme",
        "suffix",
        "transport",
        "trusted",
        "worker",
    )

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before any other call
        self.deadline_s = 0.0  # for the exchange, or for the next one to come
        self.head_deadline_s = _NEVER  # for a head that has begun to arrive
        self.closing = False  # the answer under way, or written, is the last one
        self.deaf = False  # no further request is read
        self.ignored = False  # bytes came that nobody will read
        self.lingering = False  # only waiting for the client to take our last words
        self.held = False  # the client does not read: the upstream must wait
        self.trusted = False
        self.scheme = b"http"
        self.suffix = b""
        self._peer: str | None = None
        self._heads = worker.heads
        self._parser: httptools.HttpRequestParser | None = None
        self._exchange: Exchange | None = None  # the one being answered
        self._reading: Exchange | None = None  # the one whose body is arriving
        self._queue: deque[Exchange] = deque()
        self._refusal: BadRequest | None = None  # to be said when the queue is empty
        self._fresh = True  # between messages
        self._stopped = False  # we do not read from the client
        self._unsent_bytes = 0  # what the client had not taken when we last looked
        self._unused_bytes = 0  # read, but part of no whole head and no body
        self._field_bytes = 0
        self._url = b""
        self._fields: list[bytes] = []

    # -- asyncio.Protocol --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        worker = self.worker
        self.transport.set_write_buffer_limits(high=worker.high_water_bytes)
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else None
        self.trusted = worker.is_trusted(self._peer)
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = b"https"
        worker.connections.add(self)
        self.deadline_s = worker.now_s + worker.idle_timeout_s

    def trusted_by(self, guard: Guard) -> bool:
        """Is the other end a hop in the eyes of another host's policy?"""
        return self.worker.is_trusted(self._peer, guard)

    def connection_lost(self, exc: Exception | None) -> None:
        self.worker.lose(self)
        self.deaf = True
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abandon()
        self._queue.clear()
        self._parser = None

    def swapped(self) -> None:
        """The worker has another policy: what is read from now on is read by its words."""
        worker = self.worker
        self._heads = worker.heads
        self.trusted = worker.is_trusted(self._peer)

    def eof_received(self) -> bool:
        """A client that closes its half is taken as gone, as by nginx and Go: the two look the same from here."""
        self.deaf = True
        self._queue.clear()
        if self._exchange is not None:
            self._exchange.abandon()
        return False

    def pause_writing(self) -> None:
        self.held = True
        self._unsent_bytes = self._measure()
        if self._exchange is not None and self._exchange.upstream is not None:
            self._exchange.upstream.pause()
        self.deadline_s = self.worker.now_s + self.worker.stall_timeout_s

    def resume_writing(self) -> None:
        self.held = False
        if self._exchange is None:
            self._next()
            return
        if self._exchange.upstream is not None:
            self._exchange.upstream.resume()
        self.deadline_s = self.worker.now_s + self.worker.stall_timeout_s

    def data_received(self, data: bytes) -> None:
        if self._exchange is None and self._fresh and not (self.deaf or self.held):
            head = self._heads.young.get(data) or self._heads.get(data)
            if head is None:
                try:
                    head = self.worker.reader.read(data)
                except BadRequest as bad:
                    self._refuse(bad)
                    return
                if head is not None and len(data) <= _MEMO_HEAD_BYTES:
                    self._heads.keep(data, head)
            if head is not None:
                self._begin(Exchange(self, head, complete=True))
                return
        if self.deaf:
            self.ignored = True
        else:
            last = self._queue[-1] if self._queue else self._exchange
            if last is not None and last.head.websocket:
                last.tunnelled(data)
            else:
                self._parse(data)

    # -- reading requests --------------------------------------------------------------------------------

    def _parse(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpRequestParser(self)
        self._unused_bytes += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._read_past_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            if cause is not None and not isinstance(cause, BadRequest):
                _log.error("a request could not be dealt with", exc_info=cause)
            self._refuse(cause if isinstance(cause, BadRequest) else BadRequest(400, "not HTTP/1.1"))
        else:
            if self._fresh:
                return
            if self._reading is None:
                if self._unused_bytes > _MAX_PARTIAL_BYTES:
                    self._refuse(BadRequest(431, "head too large"))
            elif self._unused_bytes > MAX_HEAD_BYTES:
                self._refuse(BadRequest(400, "too much between the chunks"))

    def _read_past_upgrade(self, rest: bytes) -> None:
        """llhttp stops behind a head that asks to upgrade. Only a WebSocket's bytes may follow, and wait for the 101.

        Other upgrades we do not make (RFC 9110 7.8 lets us): a body is read as if none had been asked for, and
        behind it nothing more, for it might be meant for the other protocol.
        """
        body_of = self._reading
        if body_of is not None:
            self._parser = parser = httptools.HttpRequestParser(self)
            framing = b"Transfer-Encoding: chunked"
            if body_of.head.framing == COUNTED:
                framing = b"Content-Length: %d" % body_of.head.body_bytes
            parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
            if rest and self._reading is None:
                self.deaf = self.ignored = True
            elif rest:
                self._parse(rest)
            return
        exchange = self._queue[-1] if self._queue else self._exchange
        if exchange is not None and exchange.head.websocket:
            if rest:
                exchange.tunnelled(rest)
        else:
            self.deaf = True
            self.ignored = bool(rest)

    def on_message_begin(self) -> None:
        if self._reading is None:
            self._fresh = False
            self.head_deadline_s = self.worker.now_s + self.worker.head_timeout_s

    def on_url(self, url: bytes) -> None:
        if self._reading is None:
            self._url += url
            if len(self._url) > MAX_TARGET_BYTES:
                raise BadRequest(414, "target too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading is None:  # else a trailer field, which nobody asked for
            self._fields.append(b"%b: %b" % (name, value))
            self._field_bytes += len(name) + len(value) + 4
            if self._field_bytes > MAX_HEAD_BYTES:
                raise BadRequest(431, "head too large")

    def on_headers_complete(self) -> None:
        parser = self._parser
        if parser is None or self._reading is not None:
            return
        if self.closing or self._refusal is not None:
            raise BadRequest(_UNSAID, "behind the last request")
        self.head_deadline_s = _NEVER
        head = RequestHead(
            parser.get_method(),
            self._url,
            parser.get_http_version(),
            self._fields,
            parser.should_keep_alive(),
            self.worker.hop_header,
        )
        self._unused_bytes -= len(self._url) + self._field_bytes  # what is left came behind this head
        self._url, self._fields, self._field_bytes = b"", [], 0
        if len(self._queue) >= MAX_PIPELINED:
            raise BadRequest(_UNSAID, "too many pipelined requests")
        exchange = Exchange(self, head, complete=head.framing != CHUNKED and not head.body_bytes)
        self._reading = exchange
        if self._exchange is None and not self._queue and not self.held:
            self._begin(exchange)
        else:
            self._queue.append(exchange)
            self.steer()

    def on_body(self, body: bytes) -> None:
        self._unused_bytes = max(0, self._unused_bytes - len(body) - _CHUNK_LINE_BYTES)
        if self._reading is not None:
            self.deadline_s = self.worker.now_s + self.worker.stall_timeout_s
            self._reading.body_arrived(body)

    def on_message_complete(self) -> None:
        exchange, parser = self._reading, self._parser
        if exchange is not None and exchange.head.framing != NO_BODY and parser is not None and parser.should_upgrade():
            return  # only its head: see _read_past_upgrade
        self._reading = None
        self._fresh = True
        if exchange is not None:
            exchange.body_complete()
            if exchange.head.framing == CHUNKED and self._unused_bytes > MAX_HEAD_BYTES:
                self.deaf = self.ignored = True  # more chunk lines and trailers than any honest client makes
                self._refusal = self._refusal or BadRequest(_UNSAID, "too much between the chunks")
        self._unused_bytes = 0
        if self.closing:
            self.deaf = True

    def steer(self) -> None:
        """Read on, or let the client wait for its turn or for the upstream."""
        exchange, reading = self._exchange, self._reading
        stop = (
            len(self._queue) >= _READ_AHEAD
            or (exchange is not None and exchange.blocked)
            or (reading is not None and reading.blocked)
        )
        if stop != self._stopped:
            self._stopped = stop
            if stop:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    # -- answering ---------------------------------------------------------------------------------------

    def _begin(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.deadline_s = self.worker.now_s + self.worker.answer_timeout_s
        exchange.start(self._peer)

    def finish(self, exchange: Exchange, keep_alive: bool) -> None:
        """The answer is written: next request, or the end of the connection."""
        if self._exchange is not exchange:
            return
        self._exchange = None
        if not keep_alive or self.closing:
            self.close_after_answer(unread=self.ignored or not exchange.complete)
            return
        self.deadline_s = self.worker.now_s + self.worker.idle_timeout_s
        if self._stopped:
            self.steer()
        if self._queue or self._refusal is not None or self.worker.draining:
            self._next()

    def _next(self) -> None:
        """What waited behind the last answer, unless the client has to take that one first."""
        if self.closing:
            return
        if self._queue:
            if not self.held:
                following = self._queue.popleft()
                if self._stopped:
                    self.steer()
                self._begin(following)
        elif self._refusal is not None:
            self._say(self._refusal)
        elif self.worker.draining:
            self.close_after_answer(unread=self.ignored)

    def last_answer(self) -> None:
        """The client has been told, or will be, that this answer ends the connection."""
        self.closing = True
        if self._reading is None:  # else its body is still wanted
            self.deaf = True

    def close_after_answer(self, unread: bool) -> None:
        """Close; when the client is still sending, let it read our answer first (RFC 9112 9.6)."""
        self.closing = self.deaf = True
        self.head_deadline_s = _NEVER
        self._queue.clear()
        if self.transport.is_closing() or self.lingering:
            return
        if unread and self.transport.can_write_eof():
            self.lingering = True
            self.transport.write_eof()
            self.transport.resume_reading()
            self.deadline_s = self.worker.now_s + self.worker.linger_s
        else:
            self.transport.close()
            self.deadline_s = self.worker.now_s + self.worker.stall_timeout_s

    def break_off(self, exchange: Exchange) -> None:
        """The answer will not become whole: the connection must not end as if it were (RFC 9112 8)."""
        if exchange.framing == UNTIL_CLOSE:  # its end is the connection's, so that one must not look clean
            sock = self.transport.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def _refuse(self, bad: BadRequest) -> None:
        """Answer what cannot be a request, after what was asked before it, and close."""
        self.deaf = self.ignored = True
        self.head_deadline_s = _NEVER
        self._parser = None
        broken, self._reading = self._reading, None
        exchange = self._exchange
        if self.closing and (exchange is None or exchange is not broken):
            return  # the last answer has been given, or will be
        if exchange is not None and exchange is broken:
            started = exchange.answering
            exchange.abandon()
            self._exchange = None
            if started:
                self.break_off(exchange)
            else:
                self._say(bad)
            return
        if self._queue and self._queue[-1] is broken:
            self._queue.pop()
        if exchange is not None or self._queue:
            self._refusal = bad
        else:
            self._say(bad)

    def _say(self, bad: BadRequest) -> None:
        _log.debug("refused %s: %s", self._peer, bad)
        if bad.status != _UNSAID:
            guard = self.worker.guard
            reply = guard.reject(bad.status, guard.new_id(), REJECTED)
            self.transport.write(write_reply(reply, head_only=False, closing=True, version_10=False))
        self.close_after_answer(unread=True)

    def tick(self, now_s: float) -> None:
        """The worker's clock: act on a deadline that has passed."""
        if now_s >= self.head_deadline_s:
            self.head_deadline_s = _NEVER
            if self._exchange is not None or self._queue:
                self._refuse(BadRequest(408, "head too slow"))
            else:
                self.transport.close()
        if now_s < self.deadline_s:
            return
        self.deadline_s = now_s + self.worker.stall_timeout_s
        unsent_bytes = self._measure()
        exchange = self._exchange
        if unsent_bytes and unsent_bytes != self._unsent_bytes:  # it reads, if slowly
            self._unsent_bytes = unsent_bytes
        elif exchange is None:
            if self.lingering or unsent_bytes or self.transport.is_closing():
                self.transport.abort()
            else:
                self.transport.close()
        elif exchange.tunnel:
            if unsent_bytes:
                self.transport.abort()
            elif self.worker.draining:
                exchange.abandon()
        elif exchange.answering:
            self.break_off(exchange)
        elif exchange.complete or exchange.blocked:
            exchange.failed("no answer in time", untouched=False, status=504)
        else:
            self._refuse(BadRequest(408, "body too slow"))

    def _measure(self) -> int:
        """Bytes that the client has not taken: in our buffer and in the kernel's, which empties ours only in lumps."""
        unsent_bytes = self.transport.get_write_buffer_size()
        sock = self.transport.get_extra_info("socket")
        with contextlib.suppress(OSError, ValueError):
            unsent_bytes += _INT.unpack(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(_INT.size)))[0]
        return unsent_bytes

    def drain(self) -> None:
        """The worker stops: idle connections close now, tunnels too (they have no end), the others when done."""
        exchange = self._exchange
        if exchange is not None:
            if exchange.tunnel:
                exchange.abandon()
        elif not self._queue and not self.lingering:
            self.close_after_answer(unread=False)

"""The sidecar's side towards the client: one Protocol a connection, one Exchange a request.

The law: a request reaches the platform only after it was read whole, checked and decided. Bytes flow with
back-pressure both ways. When the client goes, its upstream connection goes; when the upstream breaks off, the
client's answer breaks off, too. A connection on which anything was doubtful is closed.

A head whose exact bytes were parsed and checked before is not parsed again: same bytes, same meaning.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

import httptools

from guard.engine import REJECTED
from guard.memo import Memo
from guard.middleware import matches_etag
from guard.model import Admission, Client, Decision, Reply, Request
from guard.proxy.heads import (
    CHUNKED,
    MAX_HEAD_BYTES,
    MAX_TARGET_BYTES,
    NO_BODY,
    UNTIL_CLOSE,
    BadRequest,
    RequestHead,
    ResponseHead,
    forwarding_fields,
    write_answer,
    write_reply,
)
from guard.replies import NO_STORE

if TYPE_CHECKING:
    from guard.proxy.upstream import UpstreamConnection
    from guard.proxy.worker import Worker

_log = logging.getLogger("guard.proxy")

MAX_PIPELINED = 16
MAX_WAITING_BYTES = 64 * 1024
_MEMO_HEAD_BYTES = 2048
_JOINED_BYTES = 32 * 1024
_REPEATABLE = frozenset(("GET", "HEAD", "OPTIONS"))

heads: Memo[bytes, RequestHead] = Memo(4_096)
"""Checked heads of requests without body, by their bytes: at most 16 MiB a worker."""


class ClientConnection(asyncio.Protocol):
    """One client connection. Exchanges are answered in the order they came."""

    __slots__ = (
        "_exchange",
        "_fields",
        "_fresh",
        "_head_bytes",
        "_parser",
        "_peer",
        "_queue",
        "_reading",
        "_url",
        "closing",
        "deadline_s",
        "held",
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
        self.deadline_s = 0.0
        self.closing = False  # no further request on this connection
        self.lingering = False  # only waiting for the client to take our last words
        self.held = False  # the client does not read: the upstream must wait
        self.trusted = False
        self.scheme = b"http"
        self.suffix = b""
        self._peer: str | None = None
        self._parser: httptools.HttpRequestParser | None = None
        self._exchange: Exchange | None = None  # the one being answered
        self._reading: Exchange | None = None  # the one whose body is arriving
        self._queue: deque[Exchange] = deque()
        self._fresh = True  # between messages
        self._head_bytes = 0
        self._url = b""
        self._fields: list[tuple[bytes, bytes]] = []

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

    def connection_lost(self, exc: Exception | None) -> None:
        self.worker.connections.discard(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abandon()
        self._queue.clear()
        self._parser = None

    def eof_received(self) -> bool:
        if self._exchange is not None and self._exchange.tunnel:
            self._exchange.abandon()
        return False

    def pause_writing(self) -> None:
        self.held = True
        if self._exchange is not None and self._exchange.upstream is not None:
            self._exchange.upstream.transport.pause_reading()
        self.deadline_s = self.worker.now_s + self.worker.stall_timeout_s

    def resume_writing(self) -> None:
        self.held = False
        if self._exchange is not None and self._exchange.upstream is not None:
            self._exchange.upstream.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._fresh and not self.closing:
            head = heads.get(data)
            if head is not None:
                self._begin(Exchange(self, head, complete=True))
                return
        if self.lingering or self.closing:
            return
        exchange = self._exchange
        if exchange is not None and exchange.head.websocket:
            exchange.tunnelled(data)
            return
        self._parse(data)

    # -- reading requests --------------------------------------------------------------------------------

    def _parse(self, data: bytes) -> None:
        if self._parser is None:
            self._parser = httptools.HttpRequestParser(self)
        if self._fresh:
            self.deadline_s = self.worker.now_s + self.worker.head_timeout_s
        whole = self._fresh and len(data) <= _MEMO_HEAD_BYTES
        if self._reading is None:
            self._head_bytes += len(data)
            self._fresh = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            exchange = self._queue[-1] if self._queue else self._exchange
            if exchange is not None and exchange.head.websocket:
                if rest:
                    exchange.tunnelled(rest)
            else:
                self.closing = True  # what follows an upgrade we do not make is nobody's request
        except BadRequest as bad:
            self._refuse(bad)
        except (httptools.HttpParserError, UnicodeDecodeError) as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, BadRequest) else BadRequest(400, "not HTTP/1.1"))
        else:
            if self._reading is None and not self._fresh and self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(BadRequest(431, "head too large"))
            elif whole and self._fresh and data.endswith(b"\r\n\r\n") and data.count(b"\r\n\r\n") == 1:
                self._remember(data)

    def _remember(self, data: bytes) -> None:
        """Keep a checked head by its bytes: only a single, whole request without body or upgrade."""
        exchange = self._queue[-1] if self._queue else self._exchange
        if exchange is not None and exchange.complete and exchange.head.framing == NO_BODY:
            head = exchange.head
            if not head.websocket and not head.expects_continue and not data.startswith(b"\r"):
                heads.keep(data, head)

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > MAX_TARGET_BYTES:
            raise BadRequest(414, "target too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading is None:  # else a trailer field, which nobody asked for
            self._fields.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None
        if self._head_bytes > MAX_HEAD_BYTES and not self._queue:
            raise BadRequest(431, "head too large")
        head = RequestHead(
            parser.get_method(),
            self._url,
            parser.get_http_version(),
            tuple(self._fields),
            parser.should_keep_alive(),
            self.worker.hop_header,
        )
        self._url, self._fields = b"", []
        exchange = Exchange(self, head, complete=head.framing == NO_BODY)
        self._reading = exchange
        if self._exchange is None:
            self._begin(exchange)
        elif len(self._queue) >= MAX_PIPELINED:
            raise BadRequest(400, "too many pipelined requests")
        else:
            self._queue.append(exchange)
            self.transport.pause_reading()

    def on_body(self, body: bytes) -> None:
        if self._reading is not None:
            self.deadline_s = self.worker.now_s + self.worker.stall_timeout_s
            self._reading.body_arrived(body)

    def on_message_complete(self) -> None:
        exchange, self._reading = self._reading, None
        self._fresh = True
        self._head_bytes = 0
        if exchange is not None:
            exchange.body_complete()

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
        if self.worker.draining and not self._queue:
            keep_alive = False
        if not keep_alive or self.closing:
            self.close_after_answer(unread=not exchange.complete)
        elif self._queue:
            following = self._queue.popleft()
            if not self._queue:
                self.transport.resume_reading()
            self._begin(following)
        else:
            self.deadline_s = self.worker.now_s + self.worker.idle_timeout_s

    def close_after_answer(self, unread: bool) -> None:
        """Close; when the client is still sending, let it read our answer first (RFC 9112 9.6)."""
        self.closing = True
        if unread and self.transport.can_write_eof():
            self.lingering = True
            self.transport.write_eof()
            self.transport.resume_reading()
            self.deadline_s = self.worker.now_s + self.worker.linger_s
        else:
            self.transport.close()

    def _refuse(self, bad: BadRequest) -> None:
        """Answer what cannot be a request, after what was asked before it, and close."""
        self.closing = True
        self._parser = None
        if self._exchange is not None and self._exchange is not self._reading:
            return  # an earlier answer is under way: it ends the connection
        guard = self.worker.guard
        reply = guard.reject(bad.status, guard.new_id(), REJECTED)
        if self._exchange is not None:  # its body broke
            started = self._exchange.answering
            self._exchange.abandon()
            self._exchange = None
            if started:
                self.transport.abort()
                return
        _log.debug("refused %s: %s", self._peer, bad)
        self.transport.write(write_reply(reply, head_only=False, closing=True, version_10=False))
        self.close_after_answer(unread=True)

    def tick(self, now_s: float) -> None:
        """The worker's clock: act on a deadline that has passed."""
        if now_s < self.deadline_s:
            return
        exchange = self._exchange
        if exchange is not None and exchange.tunnel:
            self.deadline_s = now_s + self.worker.stall_timeout_s
        elif exchange is not None and not exchange.answering and exchange.complete:
            exchange.failed("no answer in time", untouched=False, status=504)
        elif exchange is not None and not exchange.answering:
            self._refuse(BadRequest(408, "body too slow"))
        else:
            self.transport.abort() if exchange is not None or self.lingering else self.transport.close()

    def drain(self) -> None:
        """The worker stops: idle connections close now, the others after their answer."""
        if self._exchange is None and not self._queue:
            self.transport.close()


class Exchange:
    """One request and its answer."""

    # Most exchanges never set most of these: as class attributes they cost nothing.
    upstream: UpstreamConnection | None = None
    admission: Admission | None = None
    decision_id = ""
    answering = False  # the answer's head has been written
    done = False
    tunnel = False
    retried = False
    framing = NO_BODY
    status = 0
    sent_bytes = 0
    started_s = 0.0
    _waiting_bytes = 0
    request: Request
    client: Client
    decision: Decision

    def __init__(self, connection: ClientConnection, head: RequestHead, complete: bool) -> None:
        self.connection = connection
        self.head = head
        self.head_only = head.method == "HEAD"
        self.complete = complete  # the whole request has arrived
        self._waiting: list[bytes] = []

    def start(self, peer: str | None) -> None:
        """Decide; then refuse, wait for the limit's answer, or go on."""
        connection, head = self.connection, self.head
        guard = connection.worker.guard
        if guard.record is not None:
            self.started_s = connection.worker.loop.time()
        self.request = request = Request(head.method, head.target, head.user_agent, peer, head.forwarded)
        self.client, self.decision = client, decision = guard.consider(request)
        if decision.action == "allow":
            self._forward()
            return
        if decision.limit is not None:
            asked = guard.admit(client, decision)
            if isinstance(asked, Admission):
                self.admission = asked
            elif asked is not None:
                asked.add_done_callback(self._admitted)
                return
        self._act(client, decision)

    def _admitted(self, future: asyncio.Future[Admission]) -> None:
        if self.done or future.cancelled():
            return
        self.admission = future.result()
        self._act(self.client, self.decision)

    def _act(self, client: Client, decision: Decision) -> None:
        guard = self.connection.worker.guard
        self.decision_id = guard.new_id()
        reply = guard.answer(decision, self.admission, self.head.accept, self.decision_id)
        if reply is None:
            self._forward()
            return
        if reply.status == 200:
            reply = _directive(reply, self.head)
        self._reply(reply, keep_alive=decision.action != "reject")

    def _reply(self, reply: Reply, keep_alive: bool) -> None:
        """Answer with words of our own."""
        connection = self.connection
        keep_alive = keep_alive and self.complete and self.head.keep_alive and not connection.worker.draining
        self.answering = True
        self.status = reply.status
        self.sent_bytes = 0 if self.head_only else len(reply.body)
        connection.transport.write(write_reply(reply, self.head_only, not keep_alive, self.head.version_10))
        self._done(keep_alive)

    # -- towards the upstream ----------------------------------------------------------------------------

    def _forward(self) -> None:
        if self.head.expects_continue and not self.complete:
            self.connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        pool = self.connection.worker.pool
        upstream = pool.take() if not self.retried else None
        if upstream is None:
            pool.dial(self._connected, self._unreachable)
        else:
            self._send(upstream)

    def _connected(self, upstream: UpstreamConnection) -> None:
        if self.done:
            self.connection.worker.pool.put_back(upstream)
        else:
            self._send(upstream)

    def _unreachable(self, why: str) -> None:
        self.failed(why, untouched=False)

    def _send(self, upstream: UpstreamConnection) -> None:
        connection = self.connection
        self.upstream = upstream
        head = self.head.for_upstream(connection.trusted)
        if connection.trusted:
            suffix = forwarding_fields(self.head, self.request.peer or "", connection.scheme, True)
        else:
            suffix = connection.suffix
            if not suffix:
                suffix = forwarding_fields(self.head, self.request.peer or "", connection.scheme, False)
                connection.suffix = suffix
        if connection.held:
            upstream.transport.pause_reading()
        if self._waiting:
            waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
            upstream.send(self, head + suffix)
            for piece in waiting:
                upstream.transport.write(piece)
            if not self.complete:
                connection.transport.resume_reading()
        else:
            upstream.send(self, head + suffix)

    def body_arrived(self, body: bytes) -> None:
        """A piece of the request's body, to be framed anew."""
        if self.done:
            return
        piece = b"%x\r\n%b\r\n" % (len(body), body) if self.head.framing == CHUNKED else body
        self._pass_on(piece)

    def body_complete(self) -> None:
        if self.head.framing == CHUNKED and not self.done:
            self._pass_on(b"0\r\n\r\n")
        self.complete = True

    def tunnelled(self, data: bytes) -> None:
        """Bytes of the client after its WebSocket handshake."""
        if self.done:
            return
        if self.tunnel and self.upstream is not None:
            self.upstream.transport.write(data)
        elif self._waiting_bytes + len(data) > MAX_WAITING_BYTES:
            self.connection.transport.abort()
        else:
            self._waiting_bytes += len(data)
            self._waiting.append(data)

    def _pass_on(self, piece: bytes) -> None:
        if self.upstream is not None and not self.head.websocket:
            self.upstream.transport.write(piece)
            return
        self._waiting.append(piece)
        self._waiting_bytes += len(piece)
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self.connection.transport.pause_reading()

    # -- Receiver: what the upstream tells ---------------------------------------------------------------

    def informed(self, head: ResponseHead) -> None:
        """An interim answer: 103 goes on, 100 we have said ourselves."""
        if head.status != 100 and not self.head.version_10:
            self.connection.transport.write(
                write_answer(head, NO_BODY, False, False, self.connection.worker.no_statement)
            )

    def answered(self, head: ResponseHead, body: bytes, whole: bool) -> None:
        """The answer's head, and what of its body came with it: all of it when `whole`."""
        connection = self.connection
        worker = connection.worker
        request = self.head
        self.answering = True
        self.status = head.status
        framing = head.framing
        keep_alive = self.complete and request.keep_alive and not (connection.closing or worker.draining)
        if head.status == 101:
            if not request.websocket:
                self.failed("101 without being asked", untouched=False)
                return
            keep_alive = True
        elif request.websocket:
            keep_alive = False
        if framing >= CHUNKED:  # or until the upstream closes
            framing = UNTIL_CLOSE if request.version_10 else CHUNKED
            keep_alive = keep_alive and not request.version_10
        self.framing = framing
        if not keep_alive:
            connection.closing = True
        data = write_answer(head, framing, not keep_alive, request.version_10, worker.statement)
        if body:
            self.sent_bytes = size = len(body)
            if framing == CHUNKED:
                data = b"%b%x\r\n%b\r\n" % (data, size, body)
            elif size <= _JOINED_BYTES:
                data += body  # one segment for head and body
            else:
                connection.transport.writelines((data, body))
                data = b""
        if whole:
            self.upstream = None
            if framing == CHUNKED:
                data += b"0\r\n\r\n"
            connection.transport.write(data)
            self._settle()
            connection.finish(self, keep_alive)
            return
        if data:
            connection.transport.write(data)
        connection.deadline_s = worker.now_s + worker.stall_timeout_s
        if head.status == 101:
            self.tunnel = True
            waiting, self._waiting = self._waiting, []
            for piece in waiting:
                self.upstream.transport.write(piece)  # type: ignore[union-attr]  # it has just answered

    def received(self, data: bytes) -> None:
        connection = self.connection
        self.sent_bytes += len(data)
        if self.framing == CHUNKED:
            connection.transport.writelines((b"%x\r\n" % len(data), data, b"\r\n"))
        else:
            connection.transport.write(data)
        if not connection.held:
            connection.deadline_s = connection.worker.now_s + connection.worker.stall_timeout_s

    def ended(self) -> None:
        self.upstream = None
        if self.framing == CHUNKED and not self.head_only:
            self.connection.transport.write(b"0\r\n\r\n")
        self._done(not self.tunnel)

    def failed(self, why: str, *, untouched: bool, status: int = 502) -> None:
        """The upstream broke. Nothing of the answer was passed on: try once more, or say so; else break off."""
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.detach()
        if self.done:
            return
        if untouched and not self.retried and self.head.method in _REPEATABLE and self.head.framing == NO_BODY:
            self.retried = True
            self._forward()
            return
        if self.answering:
            _log.info("answer broken off: %s", why)
            self._settle()
            self.connection.transport.abort()
            return
        _log.warning("upstream: %s", why)
        self._reply(_gateway_error(status), keep_alive=False)

    def hold(self) -> None:
        self.connection.transport.pause_reading()

    def go_on(self) -> None:
        self.connection.transport.resume_reading()

    # -- the end -----------------------------------------------------------------------------------------

    def _done(self, keep_alive: bool) -> None:
        self._settle()
        upstream, self.upstream = self.upstream, None
        if upstream is not None and upstream.receiver is self:
            upstream.detach()
        self.connection.finish(self, keep_alive)

    def abandon(self) -> None:
        """The client has gone."""
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.detach()
        self._settle()
        if self.tunnel:
            self.connection.transport.close()

    def _settle(self) -> None:
        if self.done:
            return
        self.done = True
        worker = self.connection.worker
        guard = worker.guard
        if guard.record is None:
            guard.count(self.decision)
            return
        guard.settle(
            self.request,
            self.client,
            self.decision,
            self.admission,
            self.decision_id or guard.new_id(),
            self.status,
            self.sent_bytes,
            worker.loop.time() - self.started_s,
        )


def _directive(reply: Reply, head: RequestHead) -> Reply:
    """A directive file as this request wants it: 304 when it has it, 405 when it does not read."""
    if head.method not in ("GET", "HEAD"):
        return Reply(405, ((b"allow", b"GET, HEAD"), *NO_STORE), b"")
    if matches_etag(reply, head.headers):
        return Reply(304, reply.headers, b"")
    return reply


def _gateway_error(status: int) -> Reply:
    text = b"The music platform behind this address did not answer. Please try again in a moment.\n"
    headers = ((b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"5"), *NO_STORE)
    return Reply(status, headers, text)

"""One request and its answer, between a client's connection and the upstream's.

The law: decided first; then refused in our own words, or passed on with the bytes that were judged. An answer that
breaks off at the upstream breaks off at the client; a client that goes takes its upstream connection along.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from guard.engine import Guard
from guard.identify import outer_scheme
from guard.middleware import matches_etag
from guard.model import Admission, Client, Decision, Headers, Reply, Request, Signed
from guard.proxy.heads import (
    CHUNKED,
    NO_BODY,
    UNTIL_CLOSE,
    RequestHead,
    ResponseHead,
    forwarding_fields,
    hop_header,
    write_answer,
    write_reply,
    write_statement,
)
from guard.replies import NO_STORE
from guard.watching import AUDIBLE, HINTS, Recognised, Told, Watched

if TYPE_CHECKING:
    from guard.proxy.client import ClientConnection
    from guard.proxy.upstream import UpstreamConnection

_log = logging.getLogger("guard.proxy")

MAX_WAITING_BYTES = 64 * 1024
_JOINED_BYTES = 32 * 1024
_REPEATABLE = frozenset(("GET", "HEAD", "OPTIONS"))


class Exchange:
    """One request and its answer."""

    # Most exchanges never set most of these: as class attributes they cost nothing.
    upstream: UpstreamConnection | None = None
    admission: Admission | None = None
    watched: Watched | None = None  # what is to be told of the answer when it is over
    glimpsed: Recognised | None = None  # nothing has to be told of it, but for hints
    hints: dict[bytes, bytes] | None = None  # what the application tells with it
    taken: Decision | None = None  # what was asked of the limits, where one wants to know when it is over
    decision_id = ""
    answering = False  # the answer's head has been written
    done = False
    tunnel = False
    retried = False
    blocked = False  # the upstream is behind with what the client sends
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
        terms = connection.worker.terms
        if terms.several:
            terms = terms.for_host(_host(head))
        self.terms = terms  # to the end, whatever policy comes meanwhile
        self.guard = terms.guard
        self.trusted = connection.trusted if terms is connection.worker.terms else connection.trusted_by(terms.guard)
        self.head = head
        self.head_only = head.method == "HEAD"
        self.complete = complete  # the whole request has arrived
        self._waiting: list[bytes] = []

    def start(self, peer: str | None) -> None:
        """Decide; then refuse, wait for the limit's answer, or go on."""
        connection, head, guard = self.connection, self.head, self.guard
        if guard.record is not None:
            self.started_s = connection.worker.loop.time()
        forwarded = _forwarded(head, guard) if self.terms.foreign else head.forwarded
        watching = guard.watching if not head.websocket else None
        query = head.query[1:] if guard.asks_query or watching is not None else b""
        self.request = request = Request(head.method, head.target, head.user_agent, peer, forwarded, None, query)
        if head.signed and guard.policy.verifying.signatures is not None:
            self.request = request = request._replace(signed=_read_signed(self, peer))
        if guard.asks_name:
            self.request = request = guard.name(request, head.headers, head.query[1:])
        self.client, self.decision = client, decision = guard.consider(request)
        if watching is not None:
            known, fields = head.recognised, None
            if known is None or not watching.knows(known, peer, decision):
                fields = head.fields
                known = head.recognised = guard.recognise(request, decision, fields)
            if known is not None and watching.glimpse(known):
                if known.role in AUDIBLE:
                    self.watched = watching.start(known)
                else:
                    self.glimpsed = known
            else:
                told = Told(secure=watching.secure is None and self._is_secure(peer))
                self.decision, self.watched = decision, _ = guard.look(request, decision, fields or head.fields, told)
        if decision.action == "allow":
            self._forward()
            return
        if decision.limits:
            asked = guard.admit(request, client, decision)
            if isinstance(asked, Admission):
                if decision.settles and asked.allowed:
                    self.taken = decision
                self.admission = guard.temper(decision, asked)
            elif asked is not None:
                asked.add_done_callback(self._admitted)
                return
        self._act(client, decision)

    def _is_secure(self, peer: str | None) -> bool:
        """Did the client speak HTTPS, as far as we or a hop of ours can tell?"""
        return outer_scheme(self.connection.scheme.decode(), peer, self.head.headers, self.guard.trusted) == "https"

    def _admitted(self, future: asyncio.Future[Admission]) -> None:
        if future.cancelled():
            return
        admission = future.result()
        if self.decision.settles and admission.allowed:
            if self.done:  # the client went away meanwhile
                self.guard.leave(self.request, self.client, self.decision, 0)
                return
            self.taken = self.decision
        if self.done:
            return
        self.admission = self.guard.temper(self.decision, admission)
        self._act(self.client, self.decision)

    def _act(self, client: Client, decision: Decision) -> None:
        guard = self.guard
        self.decision_id = guard.new_id()
        reply = guard.answer(decision, self.admission, self.head.accept, self.decision_id, self.head.query[1:])
        if reply is None:
            self._forward()
            return
        if reply.status == 200:
            reply = _directive(reply, self.head, self.guard.headers_of(decision))
        self._reply(reply, keep_alive=decision.action != "reject")

    def _reply(self, reply: Reply, keep_alive: bool) -> None:
        """Answer with words of our own."""
        connection = self.connection
        keep_alive = keep_alive and self.complete and self.head.keep_alive and not self.head.websocket
        keep_alive = keep_alive and not connection.worker.draining
        self.answering = True
        self.status = reply.status
        self.sent_bytes = 0 if self.head_only else len(reply.body)
        if not keep_alive:
            connection.last_answer()
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
        head = self.head.for_upstream(self.trusted)
        if self.trusted:
            suffix = forwarding_fields(self.head, self.request.peer or "", connection.scheme, True)
        else:
            suffix = connection.suffix
            if not suffix:
                suffix = forwarding_fields(self.head, self.request.peer or "", connection.scheme, False)
                connection.suffix = suffix
        if connection.held:
            upstream.pause()
        upstream.send(self, head + suffix)
        if self._waiting and not self.head.websocket:
            self._flush(upstream)

    def _flush(self, upstream: UpstreamConnection) -> None:
        """Hand over what had to wait."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        self.blocked = upstream.full
        for piece in waiting:
            upstream.transport.write(piece)
        self.connection.steer()

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
        if self.upstream is not None:
            self.upstream.transport.write(piece)
            return
        self._waiting.append(piece)
        self._waiting_bytes += len(piece)
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self.blocked = True
            self.connection.steer()

    # -- Receiver: what the upstream tells ---------------------------------------------------------------

    def informed(self, head: ResponseHead) -> None:
        """An interim answer: 103 goes on, 100 we have said ourselves."""
        if head.status != 100 and not self.head.version_10:
            if self.guard.work_header:
                head.take(self.guard.work_header)  # a word to us; the answer itself will say of which work it is
            self.connection.transport.write(
                write_answer(head, NO_BODY, False, False, self.connection.worker.no_statement)
            )

    def answered(self, head: ResponseHead, body: bytes, whole: bool) -> None:
        """The answer's head, and what of its body came with it: all of it when `whole`."""
        connection = self.connection
        worker = connection.worker
        request = self.head
        if head.status == 101 and not request.websocket:
            self.failed("101 without being asked", untouched=False)
            return
        if self.guard.work_header and self._named(head, whole):
            return
        self.hints = _hints(head)
        self.answering = True
        self.status = head.status
        framing = head.framing
        keep_alive = self.complete and request.keep_alive and not (connection.closing or worker.draining)
        if head.status == 101:
            keep_alive = True
        elif request.websocket:
            keep_alive = False
        if framing >= CHUNKED:  # or until the upstream closes
            framing = UNTIL_CLOSE if request.version_10 else CHUNKED
            keep_alive = keep_alive and not request.version_10
        self.framing = framing
        said = self.guard.said_of(self.decision)
        statement = said.wire or write_statement(said)
        if not keep_alive:
            connection.last_answer()
        data = write_answer(head, framing, not keep_alive, request.version_10, statement)
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
            if self._waiting and self.upstream is not None:
                self._flush(self.upstream)

    def _named(self, head: ResponseHead, whole: bool) -> bool:
        """The platform may have named the answer's work. True when that is refused, and the answer is ours."""
        value = head.take(self.guard.work_header)
        if value is None:
            return False
        self.decision = decision = self.guard.named(self.request, self.decision, value)
        if decision.action != "block":
            return False
        self.decision_id = self.decision_id or self.guard.new_id()
        reply = self.guard.answer(decision, self.admission, self.head.accept, self.decision_id)
        if reply is None:
            return False
        upstream, self.upstream = self.upstream, None
        if upstream is not None and not whole:
            upstream.detach()
        self._reply(reply, keep_alive=True)
        return True

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
            self.connection.break_off(self)
            return
        _log.warning("upstream: %s", why)
        self._reply(_gateway_error(status, self.guard.headers_of(self.decision)), keep_alive=False)

    def hold(self) -> None:
        self.blocked = True
        self.connection.steer()

    def go_on(self) -> None:
        self.blocked = False
        self.connection.steer()

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
            upstream.detach(flush=self.tunnel)
        self._settle()
        if self.tunnel:
            self.connection.transport.close()

    def _settle(self) -> None:
        if self.done:
            return
        self.done = True
        guard = self.guard
        watched = self.watched
        if watched is None and self.hints and self.glimpsed is not None:
            guard.hear(self.glimpsed.watching.start(self.glimpsed), self.status, 0, self.hints)
        elif watched is not None:
            if watched.begun is not None and not self.hints and guard.watching is not None:
                guard.watching.hear_song(watched, self.status, self.sent_bytes)
            elif self.hints or watched.place.role in AUDIBLE:
                guard.hear(watched, self.status, self.sent_bytes, self.hints)
        if self.taken is not None:
            guard.leave(self.request, self.client, self.taken, self.sent_bytes)
        if guard.record is None:
            guard.count(self.decision)
            return
        try:
            guard.settle(
                self.request,
                self.client,
                self.decision,
                self.admission,
                self.decision_id or guard.new_id(),
                self.status,
                self.sent_bytes,
                self.connection.worker.loop.time() - self.started_s,
            )
        except Exception:  # noqa: BLE001  # a recorder that fails must not take the answer with it
            _log.exception("a decision could not be recorded")


def _hints(head: ResponseHead) -> dict[bytes, bytes] | None:
    """The application's words to the guard, which go no further."""
    found = {name: value for name in HINTS if (value := head.take(name)) is not None}
    return found or None


def _host(head: RequestHead) -> bytes:
    """There is exactly one: a head without is not read."""
    return next(value for name, value in head.headers if name == b"host")


def _forwarded(head: RequestHead, guard: Guard) -> tuple[bytes, ...]:
    """The lines of the header that the hops of this host's policy write."""
    header = hop_header(guard.trusted)
    return tuple(value for name, value in head.headers if name == header) if header else ()


def _directive(reply: Reply, head: RequestHead, stated: Headers) -> Reply:
    """A directive file as this request wants it: 304 when it has it, 405 when it does not read."""
    if head.method not in ("GET", "HEAD"):
        return Reply(405, ((b"allow", b"GET, HEAD"), *NO_STORE, *stated), b"")
    if matches_etag(reply, head.headers):
        return Reply(304, reply.headers, b"")
    return reply


def _gateway_error(status: int, stated: Headers) -> Reply:
    text = b"The music platform behind this address did not answer. Please try again in a moment.\n"
    headers = ((b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"5"), *NO_STORE, *stated)
    return Reply(status, headers, text)


def _read_signed(exchange: Exchange, peer: str | None) -> Signed:
    """What a signature may cover."""
    head = exchange.head
    fields = head.headers
    host = next((value for name, value in fields if name == b"host"), b"")
    own = exchange.connection.scheme.decode()
    bare = head.query == b"?"  # a mark without anything behind it is part of what was signed
    return Signed(
        head.method,
        outer_scheme(own, peer, fields, exchange.guard.trusted),
        host.decode("latin-1"),
        head.target + b"?" if bare else head.target,
        head.query[1:],
        fields,
    )

"""The guard inside an ASGI application: scope -> Request, Reply -> ASGI messages.

The law: `http` and `websocket` scopes are judged, `lifespan` passes, anything else is refused. The decision is
made from the scope's own bytes, never from a rebuilt URL or from the router. Streaming is untouched: messages
pass one by one, and only response heads are added to. A request keeps the policy it began with to its end.

Source: ASGI HTTP and WebSocket message format 2.5, with the WebSocket Denial Response extension.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from asyncio import Future
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from guard.classify import warm
from guard.directives import content_signal, content_usage
from guard.engine import MEMO_BYTES, Guard, Hop, may_keep
from guard.errors import PolicyError, Problem
from guard.hosts import is_host
from guard.identify import outer_scheme
from guard.ledger.versions import Versions
from guard.lookout import Ear, begin
from guard.memo import Memo, make_same
from guard.model import Admission, Decision, Headers, Identity, Mode, Reply, Request, Said, Signed
from guard.places import DOCUMENT, Place
from guard.policy import Policy
from guard.robotstxt import MAX_BYTES
from guard.sights import Sight, Suspicion
from guard.watch import PolicyFile, Swap, carry_on, files_of, succeed, tell
from guard.watching import (
    ACCOUNT,
    AHEAD,
    AUDIBLE,
    AUDIO_SECONDS,
    ENTITLEMENT,
    HINTS,
    SPOKEN,
    UNTOLD,
    WORK,
    Told,
    Watched,
    Watching,
    Who,
    by_name,
)
from guard.witness import give_witness

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_log = logging.getLogger("guard.middleware")
_same = make_same(1_024)

_DONE = "guard.done"
_HEARD = "guard.heard"
MAX_HOP_BYTES = 256
ROBOTS_S = 900.0
"""Seconds between two questions for the application's own robots.txt."""
ROBOTS_DEADLINE_S = 5.0


Stated = tuple[frozenset[bytes], list[tuple[bytes, bytes]]]
"""The names of the directive headers of an answer, and the headers themselves."""


class _Limited:
    """What stands between a request of a known kind and the application: one limit, counted by client."""

    # `keys` and `leases` are the guard's: one table for all requests.
    __slots__ = ("cost", "decision", "guard", "header", "keys", "leases", "limit")

    def __init__(self, guard: Guard, decision: Decision) -> None:
        self.guard = guard
        self.decision = decision
        self.limit = decision.limits[0]
        self.cost = self.limit.cost * decision.cost
        trusted = guard.trusted
        self.header = trusted.header if trusted.networks or trusted.trust_unix else b""
        self.keys = guard.keys
        self.leases = guard.leases(self.limit)

    def ask(self, who: Hop) -> Admission | Future[Admission]:
        """Ask the store for one; what it holds for this client from then on is remembered."""
        key = self.keys.young.get(who) or self.find_key(*who)
        store = self.guard.store
        answer = store.take(self.limit, key, self.cost)
        lease = store.lease(self.limit, key) if self.cost == 1 else None
        peer, hop = who
        if lease is not None and (hop is None or len(hop) <= MAX_HOP_BYTES):
            self.leases.keep(peer if hop is None else hop, (peer, lease))
        return answer

    def find_key(self, peer: str | None, hop: bytes | None) -> bytes:
        """What the limit counts a client by: for who is not in `keys`."""
        client = self.guard.stand(peer, () if hop is None else (hop,))[0]
        if hop is None or len(hop) <= MAX_HOP_BYTES:
            self.keys.keep((peer, hop), client.key)
        return client.key


Looked = tuple[Watching, Decision, Place, int, bool | None, Callable[[Ear, Place, int], bool]]
"""What each request of a known kind is held against where the policy looks at who asks; the role of the place, whether
that is a document, and how to glance, which are the same each time."""

Passing = tuple[frozenset[bytes], list[tuple[bytes, bytes]], _Limited | None, Looked | None]
"""How requests of a known kind pass: what is stated on their answers, the limit that has to admit them, and how they
are looked at."""


class _Head:
    """`send` for an answer over HTTP, as `_stating` makes it. On the road of nearly every answer, where this costs less
    than a closure: so, and without an `__init__`."""

    __slots__ = ("send", "stated")
    send: Send
    stated: Passing

    def __call__(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            ours, added, _, _ = self.stated
            headers = list(message.get("headers") or ())  # any iterable will do for ASGI
            for name, _ in headers:
                if name in ours:
                    headers = _without(headers, ours, added)
                    break
            else:
                headers += added
            message["headers"] = headers
        return self.send(message)


class _Heard(_Head):
    """The same, and the application's words to the guard are kept."""

    __slots__ = ("hints",)
    hints: dict[bytes, bytes] | None

    def __call__(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            ours, added, _, _ = self.stated
            headers = list(message.get("headers") or ())
            for name, _ in headers:
                if name in ours:
                    self.hints, headers = _take_hints(headers)
                    headers = _without(headers, ours, added)
                    break
            else:
                headers += added
            message["headers"] = headers
        return self.send(message)


class _Song(_Heard):
    """The same for music: its status, and how much of it was sent."""

    __slots__ = ("sent", "status")
    status: int
    sent: int

    def __call__(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.body":
            self.sent += len(message.get("body", b""))
            return self.send(message)
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return _Heard.__call__(self, message)
        self.sent += _sent_bytes(message)
        return self.send(message)


class _Terms:
    """One version of the policy as requests meet it: its guard, and what is remembered of its decisions."""

    __slots__ = ("asks_query", "guard", "hurried", "passing", "several", "strictest_mode")

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.several = guard.several
        modes = [one.policy.mode for one in (guard, *guard.scopes)]
        self.strictest_mode = Mode.ENFORCE if Mode.ENFORCE in modes else Mode.OBSERVE  # for hosts that are none
        self.hurried = guard.record is None and (guard.several or _may_hurry(guard))
        self.asks_query = any(one.asks_query or one.watching is not None for one in (guard, *guard.scopes))
        self.passing: Memo[tuple[object, ...], Passing] = Memo(8_192)  # requests that are known to pass


def _stated(said: Said) -> Stated:
    """What goes on answers that say this, as this edge writes it."""
    stated: Stated | None = said.asgi
    if stated is None:
        names = HINTS.union(name for name, _ in said.headers if name != b"link")  # others' links stay beside ours
        stated = said.asgi = (names, list(said.headers))
    return stated


def _may_hurry(guard: Guard) -> bool:
    """May a request be let pass because one like it was, whoever sends it and whenever?"""
    return guard.record is None and not guard.asks_where and not guard.dated and not guard.work_header


class GuardMiddleware:
    """`GuardMiddleware(app, guard)`: wrap the whole application, outside of every other middleware.

    `middleware.guard = other` puts another guard in force between two requests. With `reload=True` the guard's policy
    file and all that it includes are looked at every 1.5 seconds, from the application's start (its first request,
    where there is no lifespan) to its shutdown; what has changed is read in a thread and put in force when it is whole
    and right, and otherwise logged (`guard.watch`) while the last good policy stays. Each server process looks for
    itself. `adapt` is done to every policy that is read: what you have changed in the first one after loading it must
    stand there, or it is lost at the first reload. Raises ValueError when the policy did not come from a file.

    `terms` is the file in which the versions of the policy's terms are kept, for `/ai-policy` to tell; processes
    may share it. Raises RegisterError when it cannot be read, PolicyError when the policy opens something earlier than
    the notice that it promised. With `join_robots`, the application's own robots.txt is asked for at its start and now
    and then, and what it forbids stays forbidden.
    """

    def __init__(
        self,
        app: App,
        guard: Guard,
        *,
        reload: bool = False,
        adapt: Callable[[Policy], Policy] | None = None,
        terms: str | os.PathLike[str] | None = None,
        join_robots: bool = True,
    ) -> None:
        self.app = app
        self.join_robots = join_robots
        self._asking: asyncio.Task[None] | None = None
        record = _keep_terms(guard, terms) if terms is not None else None
        self._store_open = False
        self._opening: asyncio.Task[None] | None = None
        self.guard = guard
        self.file: PolicyFile | None = None
        if reload:
            self.file = PolicyFile(files_of(guard.policy), guard.policy, adapt=adapt, catalogue=guard.catalogue)
            self.file.record = record
        self._following: asyncio.Task[None] | None = None
        self._warned = False
        warm()

    @property
    def guard(self) -> Guard:
        """The guard in force."""
        return self._terms.guard

    @guard.setter
    def guard(self, guard: Guard) -> None:
        # Requests under way hold the terms they began with; what was remembered for those goes with them.
        before: _Terms | None = getattr(self, "_terms", None)
        give_witness(guard, None if before is None else before.guard)
        self._terms: _Terms = _Terms(guard)
        terms = self._terms
        self._passing = terms.passing
        self._hurried = terms.hurried
        self._asks_query = terms.asks_query
        self._signs = guard.policy.verifying.signatures is not None
        for one in (guard, *guard.scopes):
            one.listeners.add(self)
        if before is not None and before.guard is not guard:
            for one in (before.guard, *before.guard.scopes):
                one.listeners.discard(self)
            if self._store_open:
                with contextlib.suppress(RuntimeError):  # no loop runs: whoever opens the guard does it
                    self._opening = asyncio.get_running_loop().create_task(guard.open_rights())

    def forget(self) -> None:
        """Works have other rights: what was known to pass is asked about again."""
        self._terms.passing = self._passing = Memo(self._passing.capacity)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._hurried and scope["type"] == "http" and _DONE not in scope:
            headers = scope["headers"]
            fields = dict(headers)
            if len(fields) == len(headers):  # nothing stands twice
                user_agent = fields.get(b"user-agent")
                known = self._passing.young.get(
                    (
                        scope.get("raw_path"),
                        user_agent,
                        scope["method"],
                        scope["path"],
                        fields.get(b"host"),
                        self._asks_query and scope["query_string"],
                    )
                )
                if known and not (self._signs and b"signature-input" in fields):
                    limited, looked = known[2], known[3]
                    peer = scope.get("client")
                    peer = peer[0] if peer else None
                    if looked is not None:
                        watching, decision, place, role, paged, glance = looked
                        get = fields.get
                        hop = get(watching.hop)
                        known_as = watching.whos.young.get(
                            (peer, hop, user_agent, get(b"cookie"), get(b"authorization"))
                        )
                        if (
                            known_as is None
                            or known_as.epoch != watching.lookout.epoch
                            or not fields.keys().isdisjoint(SPOKEN)
                        ):
                            known_as = watching.who(self._terms.guard.for_host(get(b"host")).stand, peer, hop, fields)
                            if known_as is None:
                                await self._consider(scope, receive, send)
                                return
                        who = known_as
                        if watching.names_works:
                            place = watching.named(place)
                        if (
                            (get(b"sec-fetch-dest") == b"document") is not paged
                            or (paged and not AHEAD.isdisjoint(fields))
                            or not glance(who.ear, place, role)
                        ):
                            found = watching.gaze(who, fields, scope, decision, place)
                            if found is not None:
                                await self._suspect(scope, receive, send, looked, who, *found, fields)
                                return
                            ear = watching.lookout.ear(who.key)
                        else:
                            ear = who.ear
                    if limited is None:
                        self._terms.guard.passed += 1
                    else:
                        hop = fields.get(limited.header)
                        held = limited.leases.young.get(peer if hop is None else hop)
                        if held is None or held[0] != peer or not held[1].spend():
                            asked = limited.ask((peer, hop))
                            admission = asked if isinstance(asked, Admission) else await asked
                            if not (admission.allowed and (admission.shared or not limited.guard.store.shared)):
                                await self._look_closer(scope, receive, send, limited, admission)
                                return
                        limited.guard.admitted += 1
                    scope[_DONE] = True
                    if looked is None:
                        head = _Head()
                        head.send = send
                        head.stated = known
                        return await self.app(scope, receive, head)
                    if role in AUDIBLE:
                        song = _Song()
                        song.send = send
                        song.stated = known
                        song.hints = None
                        song.status = song.sent = 0
                        begun = begin(ear, place)
                        try:
                            await self.app(scope, receive, song)
                        finally:
                            watched = Watched(who, place, b"", begun, scope["method"] == "HEAD")
                            state = scope.get("state")
                            if begun is not None and song.hints is None and not (state and _state_words(scope)):
                                watching.hear_song(watched, song.status, song.sent)
                            else:
                                _hear(watching, watched, song.hints, scope, song.status, song.sent)
                        return
                    heard = _Heard()
                    heard.send = send
                    heard.stated = known
                    heard.hints = None
                    await self.app(scope, receive, heard)
                    state = scope.get("state")
                    if heard.hints is not None or (state and _state_words(scope)):
                        watched = Watched(who, place, head=scope["method"] == "HEAD")
                        _hear(watching, watched, heard.hints, scope)
                    return
        await self._consider(scope, receive, send)

    async def _suspect(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        looked: Looked,
        who: Who,
        sight: Sight,
        suspicion: Suspicion,
        fields: dict[bytes, bytes],
    ) -> None:
        """Something is held against a request that was counted."""
        scope[_DONE] = True
        watching, decision = looked[:2]
        guard = self._terms.guard
        if self._terms.several:
            guard = guard.for_host(fields.get(b"host"))
        request, host = self._read_request(scope, guard)
        decision = watching.act(decision, sight, suspicion, fields)
        if decision.action in ("refuse", "challenge") and decision.mode is Mode.ENFORCE:
            await self._decided(scope, receive, send, guard, request, host, decision)
        else:
            watched = watching.watched(sight, who.key, who.home)
            await self._listen(scope, receive, send, guard, request, host, decision, watched)

    async def _look_closer(
        self, scope: Scope, receive: Receive, send: Send, limited: _Limited, admission: Admission
    ) -> None:
        """Not simply admitted: by the limit, or not by the whole fleet."""
        scope[_DONE] = True
        guard, decision = limited.guard, limited.decision
        request, _ = self._read_request(scope, guard)
        admission = guard.temper(decision, admission)
        await self._carry_out(scope, receive, send, guard, request, decision, admission)

    async def _consider(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The road of every request that is not known to pass."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        if kind not in ("http", "websocket"):
            raise ValueError(f"the guard cannot judge a scope of type {kind!r}")
        if _DONE in scope:  # mounted twice: one judgement, one token
            await self.app(scope, receive, send)
            return
        scope[_DONE] = True
        if not self._store_open:  # an application without lifespan (Django) never told us to start
            self._store_open = True
            await self.guard.open()
        if self.file is not None:
            self._follow(self.file)
        terms = self._terms
        guard = terms.guard
        if terms.several:
            hosts = [value for name, value in scope["headers"] if name == b"host"]
            guard = guard.for_host(hosts[0] if len(hosts) == 1 else None)
        request, host = self._read_request(scope, guard)
        decision = guard.decide(request)
        if host is not None and not is_host(host):
            decision = decision._replace(action="reject", limits=(), mode=terms.strictest_mode)
        if guard.watching is not None and kind == "http":
            if any(name in HINTS for name, _ in scope["headers"]):  # nobody's to say but the application's
                scope["headers"] = [pair for pair in scope["headers"] if pair[0] not in HINTS]
            fields = by_name(scope["headers"])
            watched = guard.glimpse(request, decision, fields) if not _state_words(scope) else None
            if watched is None:
                decision, watched = guard.look(request, decision, fields, _told(scope, guard))
            if watched is not None:
                await self._listen(scope, receive, send, guard, request, host, decision, watched)
                return
        await self._decided(scope, receive, send, guard, request, host, decision)

    async def _decided(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        guard: Guard,
        request: Request,
        host: bytes | None,
        decision: Decision,
    ) -> None:
        """Ask the limits; then refuse, or pass on."""
        kind, terms = scope["type"], self._terms
        admission: Admission | None = None
        if decision.limits:
            asked = guard.admit(request, guard.client(request), decision)
            if asked is not None:
                told = asked if isinstance(asked, Admission) else await self._told(asked, guard, request, decision)
                admission = guard.temper(decision, told)
                if decision.settles and told.allowed:
                    await self._see_off(scope, receive, send, guard, request, decision, admission)
                    return
        if guard.work_header:
            await self._carry_out(scope, receive, send, guard, request, decision, admission)
            return
        said = guard.said_of(decision)
        stated = _stated(said)
        if guard.record is None and (decision.action == "allow" or (admission is not None and admission.allowed)):
            alike = request.signed is None and not guard.checks(decision.agent)  # whoever sends it
            if guard.watching is not None:  # what is held against one client is no matter of the next
                alike = alike and decision is guard.decide(request)
            if alike and kind == "http" and said.lasting and _may_hurry(guard) and _is_simple(decision):
                limited = _Limited(guard, decision) if decision.limits else None
                looked, watching = None, guard.watching
                if watching is not None and decision.identity is not Identity.VERIFIED:
                    place = watching.place(request, decision.route_class)
                    if not watching.hurries or place.signed or b"%" in request.target:
                        await self.app(scope, receive, _stating(send, stated, scope.get(_HEARD)))
                        guard.count(decision)
                        return
                    role = place.role
                    paged = role == DOCUMENT if request.method != "HEAD" else None  # then no glance is enough
                    looked = (watching, decision, place, role, paged, watching.lookout.glance)
                _remember(terms, scope, request, host, (*stated, limited, looked))
            await self.app(scope, receive, _stating(send, stated, scope.get(_HEARD)))
            guard.count(decision)
            return
        await self._carry_out(scope, receive, send, guard, request, decision, admission)

    @staticmethod
    async def _told(asked: Future[Admission], guard: Guard, request: Request, decision: Decision) -> Admission:
        """The limits' answer. Who goes away in the very moment that it comes gives back what it gave."""
        try:
            return await asked
        except asyncio.CancelledError:
            if decision.settles and asked.done() and not asked.cancelled() and asked.result().allowed:
                guard.leave(request, guard.client(request), decision, 0)
            raise

    async def _listen(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        guard: Guard,
        request: Request,
        host: bytes | None,
        decision: Decision,
        watched: Watched,
    ) -> None:
        """Pass on, and tell the lookout what came of it: how much was sent, and the application's own words."""
        status, body_bytes, bodiless = 0, 0, request.method == "HEAD"
        hints: dict[bytes, bytes] = {}
        scope[_HEARD] = hints

        async def overhear(message: Message) -> None:
            nonlocal status, body_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
            elif not bodiless:
                body_bytes += _sent_bytes(message)
            await send(message)

        try:
            await self._decided(scope, receive, overhear, guard, request, host, decision)
        finally:
            hints |= _state_words(scope)
            guard.hear(watched, status, body_bytes, hints)

    async def _see_off(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        guard: Guard,
        request: Request,
        decision: Decision,
        admission: Admission,
    ) -> None:
        """Some limit wants to know when the answer is over, and how long it was."""
        body_bytes, bodiless = 0, request.method == "HEAD"

        async def measure(message: Message) -> None:
            nonlocal body_bytes
            body_bytes += 0 if bodiless else _sent_bytes(message)
            await send(message)

        try:
            await self._carry_out(scope, receive, measure, guard, request, decision, admission)
        finally:
            guard.leave(request, guard.client(request), decision, body_bytes)

    def _read_request(self, scope: Scope, guard: Guard) -> tuple[Request, bytes | None]:
        """The request, and its Host as it stands (several are joined, which makes no host)."""
        headers = scope["headers"]
        fields = dict(headers)
        user_agent = fields.get(b"user-agent", b"")
        host = fields.get(b"host")
        trusted = guard.trusted
        header = trusted.header if trusted.networks or trusted.trust_unix else b""
        forwarded: tuple[bytes, ...] = ()
        if len(fields) != len(headers):
            user_agent, host, forwarded = _gather(headers, header)
        elif header in fields:
            forwarded = (fields[header],)
        peer = scope.get("client")
        path = scope["path"]
        if peer and peer[1] == 0 and not self._warned:
            self._warn_rewritten()
        request = Request(
            scope.get("method", "GET"),
            scope.get("raw_path") or quote(path, safe="/!$&'()*+,;=:@-._~", errors="surrogateescape").encode("ascii"),
            user_agent,
            peer[0] if peer else None,
            forwarded,
            path,
            scope.get("query_string", b""),
        )
        if self._signs and b"signature-input" in fields:
            request = request._replace(signed=_read_signed(scope, request, host, guard))
        if guard.asks_name:
            request = guard.name(request, tuple(headers), request.query)
        return request, host

    async def _carry_out(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        guard: Guard,
        request: Request,
        decision: Decision,
        admission: Admission | None,
    ) -> None:
        """The slower road: an answer of our own, one that is recorded, or one that names its work."""
        started = guard.clock()
        decision_id = guard.new_id()
        status, body_bytes = 0, 0
        withheld = False

        async def count(message: Message) -> None:
            nonlocal status, body_bytes
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
            elif message["type"] in ("http.response.body", "websocket.http.response.body"):
                body_bytes += len(message.get("body", b""))
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        async def name(message: Message) -> None:
            """Pass the application's answer on with its statements; if it is of a reserved work, refuse instead."""
            nonlocal decision, withheld, status
            if withheld:
                return
            if message["type"] in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
                headers = list(message.get("headers") or ())
                named = [value for field, value in headers if field.lower() == guard.work_header]
                if named:
                    decision = guard.named(request, decision, b",".join(named))
                    message["headers"] = [pair for pair in headers if pair[0].lower() != guard.work_header]
                    late = guard.answer(decision, admission, _accept(scope["headers"]), decision_id)
                    if decision.action == "block" and late is not None:
                        withheld = True
                        if message["type"] == "http.response.start":
                            await _send_reply(scope["method"], scope["headers"], count, late)
                        else:
                            await _refuse_websocket(scope, count, late)
                            status = late.status
                        return
                await _stating(count, _stated(guard.said_of(decision)), scope.get(_HEARD))(message)
                return
            await count(message)

        if decision.action == "serve" and not guard.made:  # an application without lifespan never told us to start
            await asyncio.to_thread(lambda: guard.files)
        reply = guard.answer(decision, admission, _accept(scope["headers"]), decision_id, request.query)
        try:
            if reply is None and guard.work_header:
                await self.app(scope, receive, name)
            elif reply is None:
                await self.app(scope, receive, _stating(count, _stated(guard.said_of(decision)), scope.get(_HEARD)))
            elif scope["type"] == "websocket":
                if reply.status == 200:  # nobody listens at a directive file
                    reply = guard.reject(403, decision_id, decision)
                await _deny_websocket(scope, receive, count, reply)
                status = reply.status
            else:
                await _send_reply(scope["method"], scope["headers"], count, reply)
        finally:
            client = guard.client(request)
            guard.settle(request, client, decision, admission, decision_id, status, body_bytes, guard.clock() - started)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass through; the store opens before the application starts and closes after it has stopped."""

        async def opening() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._store_open = True
                await asyncio.to_thread(lambda: self.guard.rendered)  # what cannot be rendered fails now, and loudly
                await self.guard.open()
                if self.file is not None:
                    self._follow(self.file)
            return message

        async def closing(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete" and self.join_robots:
                self._asking = asyncio.get_running_loop().create_task(self._keep_asking())
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                await self._stop_following()
                asking, self._asking = self._asking, None
                if asking is not None:
                    asking.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await asking
                await self.guard.close()
            await send(message)

        await self.app(scope, opening, closing)

    # -- following the policy's files ------------------------------------------------------------------------

    def _follow(self, file: PolicyFile) -> None:
        """Look at the files from now on, in the running event loop; one task does, as long as its loop lives."""
        task = self._following
        if task is None or task.done() or task.get_loop().is_closed():
            self._following = asyncio.get_running_loop().create_task(self._keep_looking(file))

    async def _keep_looking(self, file: PolicyFile) -> None:
        while True:
            await asyncio.sleep(max(0.0, file.due_s - time.monotonic()))
            try:
                if (guard := await asyncio.to_thread(_look, file, self.guard)) is not None:
                    old = self.guard
                    carry_on(old, guard)
                    self.guard = guard
                    guard.join_robots(old.foreign)  # it may have been learned while this guard was built
                    await guard.open_rights()
            except Exception:  # noqa: BLE001  # the guard in force goes on
                _log.exception("a new policy could not be taken")

    async def _keep_asking(self) -> None:
        """Ask the application for its own robots.txt, now and then."""
        while True:
            found = await _ask_robots(self.app, self.guard.policy.hosts)
            if found is not None:
                self.guard.join_robots(found)
            await asyncio.sleep(ROBOTS_S)

    async def _stop_following(self) -> None:
        task, self._following = self._following, None
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _warn_rewritten(self) -> None:
        self._warned = True
        _log.warning(
            "G-PROXYHDR: the server has already rewritten the client address (port 0). "
            "Start uvicorn with --no-proxy-headers; the guard reads forwarding headers itself."
        )


def _keep_terms(guard: Guard, path: str | os.PathLike[str]) -> Versions:
    """The record of terms at `path`, with those of the guard's policy noted. Raises RegisterError, PolicyError."""
    record, now_s = Versions.open(path), guard.clock()
    if (why := record.too_soon(guard.policy, guard.catalogue, now_s)) is not None:
        raise PolicyError((Problem(guard.policy.file, 0, why),))
    record.keep(guard.policy, guard.catalogue, now_s)
    guard.keep({scope: record.all(scope) for scope in record.scopes()})
    return record


async def _ask_robots(app: App, hosts: Sequence[str]) -> bytes | None:
    """What the application itself answers at /robots.txt: b"" when it has none (RFC 9309 2.3.1.3), None when that
    cannot be told now."""
    host = hosts[0].removeprefix("*.") if hosts else "localhost"
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/robots.txt",
        "raw_path": b"/robots.txt",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", host.encode()), (b"user-agent", b"noai-guard")],
        "client": None,
        "server": None,
    }
    status, body, asked = 0, bytearray(), False

    async def receive() -> Message:
        nonlocal asked
        if asked:
            return {"type": "http.disconnect"}
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body" and len(body) <= MAX_BYTES:
            body.extend(message.get("body", b"")[:MAX_BYTES])

    try:
        async with asyncio.timeout(ROBOTS_DEADLINE_S):
            await app(scope, receive, send)
    except Exception as error:  # noqa: BLE001  # whatever the application does, it is only a question
        _log.info("the application's robots.txt could not be read: %s", type(error).__name__)
        return None
    if status == 200:
        return bytes(body[:MAX_BYTES])
    return b"" if 400 <= status < 500 and status != 429 else None


def _look(file: PolicyFile, guard: Guard) -> Guard | None:
    """In a thread: the guard that is to follow `guard`, when there is a new policy for it."""
    outcome = file.poll(time.monotonic())
    if outcome is None:
        return None
    tell(outcome, file)
    if not isinstance(outcome, Swap):
        return None
    return give_witness(succeed(guard, outcome.policy, outcome.rendered), guard)


def _sent_bytes(message: Message) -> int:
    """What a message sends of an answer."""
    match message["type"]:
        case "http.response.body" | "websocket.http.response.body":
            return len(message.get("body", b""))
        case "websocket.send":
            return len(message.get("bytes") or (message.get("text") or "").encode())
        case "http.response.pathsend":
            with contextlib.suppress(OSError):
                return Path(message["path"]).stat().st_size
    return 0


def _told(scope: Scope, guard: Guard) -> Told:
    """What is known of a request from elsewhere than its headers: who stands in front of us may have said whose it is,
    as `scope["state"]["guard"]`."""
    watching = guard.watching
    if watching is None:
        return UNTOLD
    account = _state_words(scope).get(ACCOUNT, b"") if watching.terms.hints else b""
    return Told(account, None, watching.secure is None and watching.spoke_https(scope))


def _take_hints(
    headers: list[tuple[bytes, bytes]],
) -> tuple[dict[bytes, bytes] | None, list[tuple[bytes, bytes]]]:
    """The application's words to the guard, and the headers without them."""
    hints = {name.lower(): value for name, value in headers if name.lower() in HINTS}
    if not hints:
        return None, headers
    return hints, [pair for pair in headers if pair[0].lower() not in HINTS]


def _hear(
    watching: Watching,
    watched: Watched,
    hints: dict[bytes, bytes] | None,
    scope: Scope,
    status: int = 0,
    sent: int = 0,
) -> None:
    """The answer is over: tell what came of it, with the application's words in its headers or its scope."""
    words = _state_words(scope) if "state" in scope else None
    if words:
        hints = {**(hints or {}), **words}
    if hints or watched.begun is not None or sent:
        watching.hear(watched, status, sent, hints)


def _state_words(scope: Scope) -> dict[bytes, bytes]:
    """The application's words in `scope["state"]["guard"]`, as the headers would say them."""
    said = scope.get("state")
    words = said.get("guard") if isinstance(said, Mapping) else None
    if not isinstance(words, Mapping):
        return {}
    names = {"account": ACCOUNT, "entitlement": ENTITLEMENT, "audio_seconds": AUDIO_SECONDS, "work": WORK}
    return {
        name: str(words[word]).encode("utf-8", "replace")
        for word, name in names.items()
        if word in words and words[word] is not None
    }


def _is_simple(decision: Decision) -> bool:
    """Does at most one limit have to admit it, by what the client is, and nothing be done afterwards?"""
    limits = decision.limits
    return not limits or (len(limits) == 1 and limits[0].key == ("client",) and not decision.settles)


def _remember(terms: _Terms, scope: Scope, request: Request, host: bytes | None, passing: Passing) -> None:
    """This request passes, whoever sends it, or asks but one limit: the next like it need not be considered."""
    said = request.user_agent or b""
    query = terms.asks_query and request.query
    if may_keep(request) and (not query or len(query) <= MEMO_BYTES):
        agent = said if said else dict(scope["headers"]).get(b"user-agent")
        terms.passing.keep(
            (scope.get("raw_path"), _same(agent), request.method, request.path, _same(host), query), passing
        )


def _gather(headers: Iterable[tuple[bytes, bytes]], header: bytes) -> tuple[bytes, bytes | None, tuple[bytes, ...]]:
    """User-Agent lines, Host and forwarding lines where some header stands more than once."""
    user_agents = b"\n".join([value for name, value in headers if name == b"user-agent"])
    hosts = [value for name, value in headers if name == b"host"]
    forwarded = tuple([value for name, value in headers if name == header])
    return user_agents, b",".join(hosts) if hosts else None, forwarded


def _read_signed(scope: Scope, request: Request, host: bytes | None, guard: Guard) -> Signed:
    """What a signature may cover."""
    own = "https" if scope.get("scheme") in ("https", "wss") else "http"
    return Signed(
        request.method,
        outer_scheme(own, request.peer, scope["headers"], guard.trusted),
        (host or b"").decode("latin-1"),
        request.target,
        request.query,
        tuple([(name, value) for name, value in scope["headers"]]),
    )


def _stating(send: Send, stated: Stated, hints: dict[bytes, bytes] | None = None) -> Send:
    """`send` that adds the directive headers to the head of every answer and takes the place of the site's own. The
    application's words to the guard are taken out, and noted in `hints`."""
    ours, added = stated

    def state(message: Message) -> Awaitable[None]:
        kind = message["type"]
        if kind in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
            headers = list(message.get("headers") or ())
            for name, _ in headers:
                if name in ours:
                    if hints is not None:
                        hints.update((name, value) for name, value in headers if name in HINTS)
                    headers = _without(headers, ours, added)
                    break
            else:
                headers += added
            message["headers"] = headers
        return send(message)

    return state


def _accept(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b",".join([value for name, value in headers if name == b"accept"])


def _without(headers: Sequence[tuple[bytes, bytes]], ours: frozenset[bytes], added: list[tuple[bytes, bytes]]) -> Any:
    """The site's headers with our statements in place of its own; usage preferences combined, never loosened."""
    theirs = [value.decode("latin-1") for name, value in headers if name == b"content-usage"]
    signals = [value.decode("latin-1") for name, value in headers if name == b"content-signal"]
    kept = [header for header in headers if header[0] not in ours or header[0] == b"x-robots-tag"]
    for name, value in added:
        if name == b"content-usage" and theirs:
            value = content_usage.combine(value.decode(), theirs).encode("latin-1")
        elif name == b"content-signal" and signals:
            value = content_signal.combine(value.decode(), signals).encode("latin-1")
        elif name == b"tdm-reservation" and any(theirs == name and said == b"1" for theirs, said in headers):
            value = b"1"  # a reservation that came with the work is never loosened
        kept.append((name, value))
    return kept


async def _send_reply(method: str, request_headers: Headers, send: Send, reply: Reply) -> None:
    """One of our own answers; 304 when the client has this very directive file (RFC 9110 13.1.2)."""
    status, body = reply.status, reply.body
    headers = list(reply.headers)
    if status == 200 and method not in ("GET", "HEAD"):
        status, body = 405, b""
        stated = [header for header in headers if header[0] not in (b"content-type", b"etag", b"cache-control")]
        headers = [(b"allow", b"GET, HEAD"), (b"cache-control", b"no-store"), *stated]
    elif status == 200 and matches_etag(reply, request_headers):
        status, body = 304, b""
    if status != 304:
        headers.append((b"content-length", b"%d" % len(body)))
    if method == "HEAD":
        body = b""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def matches_etag(reply: Reply, request_headers: Headers) -> bool:
    """Does If-None-Match name the reply's strong ETag?"""
    wanted = next((value for name, value in reply.headers if name == b"etag"), None)
    if wanted is None:
        return False
    named = [value for name, value in request_headers if name.lower() == b"if-none-match"]
    tags = [tag.strip().removeprefix(b"W/") for line in named for tag in line.split(b",")]
    return wanted in tags or b"*" in tags


async def _deny_websocket(scope: Scope, receive: Receive, send: Send, reply: Reply) -> None:
    await receive()  # the server hands over websocket.connect first
    await _refuse_websocket(scope, send, reply)


async def _refuse_websocket(scope: Scope, send: Send, reply: Reply) -> None:
    """Instead of accepting: an answer in HTTP where the server can give one, else it makes 403 of the close."""
    if "websocket.http.response" in scope.get("extensions", {}):
        headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
        await send({"type": "websocket.http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": reply.body})
    else:
        await send({"type": "websocket.close", "code": 1008})

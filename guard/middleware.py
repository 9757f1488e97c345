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
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any
from urllib.parse import quote

from guard.classify import warm
from guard.directives import content_usage
from guard.engine import Guard, may_keep
from guard.hosts import is_host
from guard.memo import Memo
from guard.model import Admission, Decision, Headers, Mode, Reply, Request, RouteClass
from guard.policy import Policy
from guard.watch import PolicyFile, Swap, carry_on, files_of, succeed, tell

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_log = logging.getLogger("guard.middleware")
_DONE = "guard.done"


Stated = tuple[frozenset[bytes], list[tuple[bytes, bytes]]]
"""The names of the directive headers of an answer, and the headers themselves."""


class _Terms:
    """One version of the policy as requests meet it: its guard, and what is remembered of its decisions."""

    __slots__ = ("_stated", "guard", "hurried", "passing", "several", "strictest_mode")

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.several = guard.several
        modes = [one.policy.mode for one in (guard, *guard.scopes)]
        self.strictest_mode = Mode.ENFORCE if Mode.ENFORCE in modes else Mode.OBSERVE  # for hosts that are none
        self.hurried = guard.record is None and (guard.several or _may_hurry(guard))
        self.passing: Memo[tuple[object, ...], Stated] = Memo(8_192)  # requests that are known to pass
        self._stated: dict[Headers, Stated] = {}

    def stated(self, guard: Guard, route_class: RouteClass) -> Stated:
        """What goes on answers of this class, by this version's guard for the host that was asked."""
        headers = guard.headers_of(route_class)
        stated = self._stated.get(headers)
        if stated is None:
            stated = self._stated[headers] = (frozenset(name for name, _ in headers), list(headers))
        return stated


def _may_hurry(guard: Guard) -> bool:
    """May a request be let pass because one like it was, whoever sends it and whenever?"""
    return guard.record is None and not guard.asks_where and not guard.dated


class GuardMiddleware:
    """`GuardMiddleware(app, guard)`: wrap the whole application, outside of every other middleware.

    `middleware.guard = other` puts another guard in force between two requests. With `reload=True` the guard's policy
    file and all that it includes are looked at every 1.5 seconds, from the application's start (its first request,
    where there is no lifespan) to its shutdown; what has changed is read in a thread and put in force when it is whole
    and right, and otherwise logged (`guard.watch`) while the last good policy stays. Each server process looks for
    itself. `adapt` is done to every policy that is read: what you have changed in the first one after loading it must
    stand there, or it is lost at the first reload. Raises ValueError when the policy did not come from a file.
    """

    def __init__(
        self, app: App, guard: Guard, *, reload: bool = False, adapt: Callable[[Policy], Policy] | None = None
    ) -> None:
        self.app = app
        self.guard = guard
        self.file: PolicyFile | None = None
        if reload:
            self.file = PolicyFile(files_of(guard.policy), guard.policy, adapt=adapt, catalogue=guard.catalogue)
        self._following: asyncio.Task[None] | None = None
        self._warned = False
        self._store_open = False
        warm()

    @property
    def guard(self) -> Guard:
        """The guard in force."""
        return self._terms.guard

    @guard.setter
    def guard(self, guard: Guard) -> None:
        # Requests under way hold the terms they began with; what was remembered for those goes with them.
        self._terms = terms = _Terms(guard)
        self._passing = terms.passing
        self._hurried = terms.hurried

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._hurried and scope["type"] == "http" and _DONE not in scope:
            headers = scope["headers"]
            fields = dict(headers)
            if len(fields) == len(headers):  # nothing stands twice
                known = self._passing.young.get(
                    (
                        scope.get("raw_path"),
                        fields.get(b"user-agent"),
                        scope["method"],
                        scope["path"],
                        fields.get(b"host"),
                    )
                )
                if known:
                    scope[_DONE] = True
                    self._terms.guard.passed += 1
                    ours, added = known

                    # As `_stating`, without a call of its own: this is the road of nearly every request.
                    def state(message: Message) -> Awaitable[None]:
                        if message["type"] == "http.response.start":
                            headers = list(message.get("headers") or ())  # any iterable will do for ASGI
                            for name, _ in headers:
                                if name in ours:
                                    headers = _without(headers, ours, added)
                                    break
                            else:
                                headers += added
                            message["headers"] = headers
                        return send(message)

                    return await self.app(scope, receive, state)
        await self._consider(scope, receive, send)

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
            await self.guard.store.open()
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
            decision = decision._replace(action="reject", limit=None, mode=terms.strictest_mode)
        admission: Admission | None = None
        if decision.limit is not None:
            asked = guard.admit(guard.client(request), decision)
            if asked is not None:
                admission = guard.temper(decision, asked if isinstance(asked, Admission) else await asked)
        stated = terms.stated(guard, decision.route_class)
        if guard.record is None and (decision.action == "allow" or (admission is not None and admission.allowed)):
            if decision.action == "allow" and kind == "http" and _may_hurry(guard):
                _remember(terms.passing, scope, request, host, stated)
            await self.app(scope, receive, _stating(send, stated))
            guard.count(decision)
            return
        await self._carry_out(scope, receive, send, guard, request, decision, admission, stated)

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
        )
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
        stated: Stated,
    ) -> None:
        """The slower road: an answer of our own, or an answer that is recorded."""
        started = guard.clock()
        decision_id = guard.new_id()
        status, body_bytes = 0, 0

        async def count(message: Message) -> None:
            nonlocal status, body_bytes
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
            elif message["type"] in ("http.response.body", "websocket.http.response.body"):
                body_bytes += len(message.get("body", b""))
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        reply = guard.answer(decision, admission, _accept(scope["headers"]), decision_id)
        try:
            if reply is None:
                await self.app(scope, receive, _stating(count, stated))
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
        store = self.guard.store

        async def opening() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._store_open = True
                await store.open()
                if self.file is not None:
                    self._follow(self.file)
            return message

        async def closing(message: Message) -> None:
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                await self._stop_following()
                await store.close()
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
                    carry_on(self.guard, guard)
                    self.guard = guard
            except Exception:  # noqa: BLE001  # the guard in force goes on
                _log.exception("a new policy could not be taken")

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


def _look(file: PolicyFile, guard: Guard) -> Guard | None:
    """In a thread: the guard that is to follow `guard`, when there is a new policy for it."""
    outcome = file.poll(time.monotonic())
    if outcome is None:
        return None
    tell(outcome, file)
    return succeed(guard, outcome.policy, outcome.rendered) if isinstance(outcome, Swap) else None


def _remember(
    passing: Memo[tuple[object, ...], Stated], scope: Scope, request: Request, host: bytes | None, stated: Stated
) -> None:
    """This request passes whoever sends it: the next one like it need not be considered."""
    said = request.user_agent or b""
    if may_keep(request):
        agent = said if said else dict(scope["headers"]).get(b"user-agent")
        passing.keep((scope.get("raw_path"), agent, request.method, request.path, host), stated)


def _gather(headers: Iterable[tuple[bytes, bytes]], header: bytes) -> tuple[bytes, bytes | None, tuple[bytes, ...]]:
    """User-Agent lines, Host and forwarding lines where some header stands more than once."""
    user_agents = b"\n".join([value for name, value in headers if name == b"user-agent"])
    hosts = [value for name, value in headers if name == b"host"]
    forwarded = tuple([value for name, value in headers if name == header])
    return user_agents, b",".join(hosts) if hosts else None, forwarded


def _stating(send: Send, stated: Stated) -> Send:
    """`send` that adds the directive headers to the head of every answer and takes the place of the site's own."""
    ours, added = stated

    def state(message: Message) -> Awaitable[None]:
        kind = message["type"]
        if kind in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
            headers = list(message.get("headers") or ())
            for name, _ in headers:
                if name in ours:
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
    kept = [header for header in headers if header[0] not in ours or header[0] == b"x-robots-tag"]
    for name, value in added:
        if name == b"content-usage" and theirs:
            value = content_usage.combine(value.decode(), theirs).encode("latin-1")
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
    if "websocket.http.response" in scope.get("extensions", {}):
        headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
        await send({"type": "websocket.http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": reply.body})
    else:
        await send({"type": "websocket.close", "code": 1008})

"""One sidecar process: its event loop, its connections, its clock, and a clean end.

Deadlines are kept by one coarse clock (half a second) that looks at every connection, so that a request sets a
number and never a timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
import socket
import ssl
import sys
from dataclasses import dataclass
from urllib.parse import urlsplit

from guard.engine import Guard
from guard.memo import Memo
from guard.policy import Policy
from guard.proxy.client import ClientConnection
from guard.proxy.handover import Inbox, unpack
from guard.proxy.heads import HeadReader, RequestHead, Statement, hop_header
from guard.proxy.robots import AGAIN_S, RETRY_S, fetch_robots
from guard.proxy.upstream import Pool, connector
from guard.watch import carry_on, succeed
from guard.witness import give_witness

_log = logging.getLogger("guard.proxy")

TICK_S = 0.5
_BUILDING_SWITCH_S = 0.0005
"""So long requests wait at most while a thread builds the next guard."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where the platform is: host and port, or the path of a unix socket. `tls` speaks https to it."""

    host: str
    port: int
    path: str = ""
    tls: bool = False

    @classmethod
    def parse(cls, url: str) -> Upstream:
        """`http://host:port`, `https://host` or `unix:///path`. Raises ValueError with what is wrong."""
        parts = urlsplit(url)
        if parts.scheme == "unix" and parts.path:
            return cls("", 0, parts.path)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"'{url}' is no upstream: use http://HOST:PORT, https://HOST or unix:///PATH")
        if parts.path not in ("", "/") or parts.query or parts.username:
            raise ValueError(f"'{url}': an upstream has no path, query or user")
        tls = parts.scheme == "https"
        return cls(parts.hostname, parts.port or (443 if tls else 80), "", tls)


def platform_host(policy: Policy, upstream: Upstream) -> str:
    """The Host by which the platform is asked for its own files: the policy's first, else the upstream's name."""
    named = policy.hosts[0].removeprefix("*.") if policy.hosts else upstream.host
    return named or "localhost"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """All in seconds."""

    head_s: float = 5.0  # from the first byte of a head to its end
    answer_s: float = 30.0  # from the request to the answer's head
    stall_s: float = 60.0  # without progress in a body, either way
    idle_s: float = 75.0  # between requests
    linger_s: float = 2.0  # for the client to read a last answer
    drain_s: float = 120.0  # for running answers when the worker stops


class Terms:
    """One version of the policy as exchanges meet it: its guard, and those of hosts that have their own.

    An exchange keeps the terms under which it was read to its end, so each answer belongs to one version alone. Where
    hosts have policies of their own, each has its own terms; `foreign` are those of hosts whose hops write another
    header than is read of every head.
    """

    __slots__ = ("_others", "foreign", "guard", "several")

    def __init__(self, guard: Guard, header: bytes) -> None:
        self.guard = guard
        self.several = guard.several
        self.foreign = hop_header(guard.trusted) != header
        self._others: dict[Guard, Terms] = {}

    def for_host(self, host: bytes) -> Terms:
        guard = self.guard.for_host(host)
        if guard is self.guard:
            return self
        terms = self._others.get(guard)
        if terms is None:
            terms = self._others[guard] = Terms(guard, hop_header(self.guard.trusted))
        return terms


class Worker:
    """What the connections of one process share."""

    def __init__(
        self,
        guard: Guard,
        upstream: Upstream,
        timeouts: Timeouts | None = None,
        high_water_bytes: int = 256 * 1024,
        ask_robots: bool = False,
    ) -> None:
        """`ask_robots`: the platform's own robots.txt is joined to ours."""
        self.upstream = upstream
        self.ask_robots = ask_robots
        self.connections: set[ClientConnection] = set()
        self.swapped_total = 0
        self.failed_total = 0
        self._inbox: Inbox | None = None
        self._building: asyncio.Task[None] | None = None
        self._payload: bytes | None = None  # came while another was being built
        self._obey(give_witness(guard))
        self.draining = False
        self._emptied: asyncio.Event | None = None
        self.now_s = 0.0
        self.high_water_bytes = high_water_bytes
        timeouts = timeouts or Timeouts()
        self.head_timeout_s = timeouts.head_s
        self.answer_timeout_s = timeouts.answer_s
        self.stall_timeout_s = timeouts.stall_s
        self.idle_timeout_s = timeouts.idle_s
        self.linger_s = timeouts.linger_s
        self.drain_s = timeouts.drain_s
        self.no_statement = Statement(())
        self.loop: asyncio.AbstractEventLoop
        self.pool: Pool

    # -- the policy in force -----------------------------------------------------------------------------------

    def _obey(self, guard: Guard) -> None:
        self.guard = guard
        self.hop_header = hop_header(guard.trusted)
        self.terms = Terms(guard, self.hop_header)
        self.reader = HeadReader(self.hop_header)
        self.heads: Memo[bytes, RequestHead] = Memo(4_096)  # by their bytes; at most 16 MiB

    def swap(self, guard: Guard) -> None:
        """Every request that is read from now on is `guard`'s; those that were read before keep theirs."""
        old, heads = self.guard, self.heads
        carry_on(old, guard)
        self._obey(guard)
        if hop_header(old.trusted) == self.hop_header:
            self.heads = heads  # read the same way as before
        for connection in self.connections:
            connection.swapped()
        self.swapped_total += 1

    def follow(self, feed: socket.socket) -> None:
        """Take the versions that the supervisor sends through `feed`, one after another."""
        self._inbox = Inbox(feed)
        self.loop.add_reader(feed.fileno(), self._hear, self._inbox)

    def _hear(self, inbox: Inbox) -> None:
        try:
            payload = inbox.read()
        except EOFError:
            self.loop.remove_reader(inbox.sock.fileno())
            return
        if payload is not None:
            self._payload = payload
            if self._building is None:
                self._building = asyncio.ensure_future(self._build(inbox))

    async def _build(self, inbox: Inbox) -> None:
        """Make a guard of the newest version in a thread, then put it in force between two requests."""
        try:
            while (payload := self._payload) is not None:
                self._payload = None
                interval_s = sys.getswitchinterval()
                sys.setswitchinterval(_BUILDING_SWITCH_S)
                try:
                    guard = await asyncio.to_thread(_next_guard, self.guard, payload)
                except Exception:  # noqa: BLE001  # the last good version goes on
                    self.failed_total += 1
                    _log.exception("a new policy could not be taken; version %s stays", self.guard.policy.version)
                    continue
                finally:
                    sys.setswitchinterval(interval_s)
                old = self.guard
                self.swap(guard)
                guard.join_robots(old.foreign)  # it may have been learned while this one was built
                await guard.open_rights()
                inbox.took(guard.policy.version)
        finally:
            self._building = None

    # -- its connections ---------------------------------------------------------------------------------------

    def is_trusted(self, peer: str | None, guard: Guard | None = None) -> bool:
        """Is the other end of this socket a hop that the operator named, in this policy or in that of `guard`?"""
        return (guard or self.guard).trusted.trusts(peer)

    def lose(self, connection: ClientConnection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if self._emptied is not None and not self.connections:
            self._emptied.set()

    async def serve(
        self,
        sock: socket.socket,
        tls: ssl.SSLContext | None = None,
        stop: asyncio.Event | None = None,
        feed: socket.socket | None = None,
    ) -> None:
        """Answer on `sock` until SIGTERM or SIGINT (or `stop`), then finish what is running (at most `drain_s`).

        New versions of the policy come through `feed`.
        """
        self.loop = loop = asyncio.get_running_loop()
        self.now_s = loop.time()
        context = ssl.create_default_context() if self.upstream.tls else None
        up = self.upstream
        self.pool = Pool(connector(loop, up.host, up.port, up.path, context), high_water_bytes=self.high_water_bytes)
        await self.guard.open()
        if stop is None:
            stop = asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop.set)
        self._tick()
        _notice_the_dead(sock)
        if feed is not None:
            self.follow(feed)
        asking = asyncio.ensure_future(self._ask_robots()) if self.ask_robots else None
        server = await loop.create_server(lambda: ClientConnection(self), sock=sock, ssl=tls, backlog=2048)
        try:
            await stop.wait()
        finally:
            if asking is not None:
                asking.cancel()
            await self._drain(server)

    async def _ask_robots(self) -> None:
        """Ask the platform for its own robots.txt, now and then; each worker does, none waits for another."""
        while True:
            host = platform_host(self.guard.policy, self.upstream)
            found = await asyncio.to_thread(fetch_robots, self.upstream, host)
            if found is not None:
                self.guard.join_robots(found)
            pause_s = RETRY_S if found is None else AGAIN_S
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311  # so that not all ask at once

    def _tick(self) -> None:
        self._timer = self.loop.call_later(TICK_S, self._tick)  # first: the clock goes on whatever happens below
        self.now_s = now_s = self.loop.time()
        for connection in list(self.connections):
            try:
                connection.tick(now_s)
            except Exception:  # noqa: BLE001  # one broken connection must not stop the clock of all
                _log.exception("a connection broke at its deadline")
                connection.transport.abort()
        self.pool.age(now_s, 30.0)

    async def _drain(self, server: asyncio.Server) -> None:
        self.draining = True
        server.close()
        for connection in list(self.connections):
            connection.drain()
        if self.connections:
            self._emptied = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.drain_s):
                    await self._emptied.wait()
        for connection in list(self.connections):
            connection.transport.abort()
        self._timer.cancel()
        self.pool.close()
        with contextlib.suppress(OSError):
            await self.guard.close()


def _next_guard(guard: Guard, payload: bytes) -> Guard:
    return give_witness(succeed(guard, *unpack(payload)), guard)


def _notice_the_dead(sock: socket.socket) -> None:
    """Have the kernel ask peers that are silent for a minute; accepted connections inherit it."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)

"""`sidecar`: one day played through the real sidecar, over sockets, with the day's time.

The driver is an HTTP client that sends what the day's clients sent, as a hop in front of the guard would: over
connections that stay open, with the client's address in X-Forwarded-For and its protocol in a header of the hop's. The
upstream is an HTTP server that holds each answer until the day's clock is where that answer ended. In between stands
the sidecar's own worker. What the guard did is read from what the client got.

How this differs from a guard at work:

- Its clocks are the day's. One request is under way to its decision at a time; answers overlap as they did.
- All run in one process, on one event loop. The proxy's own deadlines are out of the way: they keep real time.
- Bodies are small; how much music is in one is told by X-Guard-Audio-Seconds, and the account by X-Guard-Account, from
  its first answer on. That somebody signed in is not known before.
- Headers of one hop (Connection, TE) stay behind, as with every proxy, and Host is there for HTTP/2, too.
- Nothing is fetched and no name looked up: crawlers are told by the networks that the site's owner knows.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import socket
import sys
import time
from asyncio import Future
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from heapq import heappop, heappush
from typing import Any

import uvloop

from guard.engine import Guard
from guard.lookout import Lookout
from guard.model import Record, Signal, Verifying
from guard.policy import Policy
from guard.practice import at_site
from guard.proxy.worker import Timeouts, Upstream, Worker
from guard.replay import LogClock, Outcome
from guard.stores.memory import MemoryStore
from guard.watching import ACCOUNT, AUDIO_SECONDS, HINTS
from loadtests.practice.exam import OURS, PracticeError, read_policy
from loadtests.practice.fleet import PATIENCE_S, SECRET, compare, day_of, hold, parser_of, show

PROTOCOL, JA4 = "x-client-protocol", "x-client-ja4"
"""In which the hop in front tells how the client spoke to it."""

HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)
MOST_BODY = 512
_BODY = b"\0" * MOST_BODY
_LONG = 86_400.0
_SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class Answer:
    """What a client got: the status, and the fields by their names in lower case."""

    __slots__ = ("fields", "length", "status")

    def __init__(self, head: bytes) -> None:
        lines = head.split(b"\r\n")
        self.status = int(lines[0].split(b" ")[1])
        self.fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
        if b"transfer-encoding" in self.fields:
            raise PracticeError("an answer in chunks, though none was sent so")
        self.length = int(self.fields.get(b"content-length", b"0"))

    @property
    def action(self) -> str:
        """What the guard did, as a client can tell."""
        if b"x-guard-decision" not in self.fields:
            return "allow"
        if self.status == 429 and self.fields.get(b"set-cookie", b"").startswith(b"guard_pass="):
            return "challenge"
        if self.status == 429:
            return "throttle" if b"ratelimit" in self.fields else "refuse"
        return "reject" if self.status == 400 else "block"


class Caller(asyncio.Protocol):
    """A client's connection, or that of a hop in front: one request at a time."""

    def __init__(self, sidecar: Sidecar) -> None:
        self.open = True
        self._sidecar = sidecar
        self._head_only = False
        self._read = bytearray()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def send(self, request: bytes, *, head_only: bool) -> None:
        self._head_only = head_only
        self._read.clear()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, end, body = self._read.partition(b"\r\n\r\n")
        if not end:
            return
        try:
            answer = Answer(bytes(head))
        except (PracticeError, ValueError, IndexError) as error:
            self._sidecar.fail(PracticeError(f"an answer that cannot be read: {error}"))
            return
        if self._head_only or answer.status in (101, 204, 304) or len(body) >= answer.length:
            self.open = answer.fields.get(b"connection", b"").lower() != b"close"
            self._sidecar.moved(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self._sidecar.moved(None)


class Platform(asyncio.Protocol):
    """A connection to the upstream: a request arrives, and its answer waits for its time."""

    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar
        self._read = bytearray()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._sidecar.platforms.add(self)

    def data_received(self, data: bytes) -> None:
        self._read += data
        if self._read.endswith(b"\r\n\r\n"):
            self._read.clear()
            self._sidecar.moved(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._sidecar.platforms.discard(self)

    def answer(self, record: Mapping[str, Any]) -> None:
        """As the day tells it, with the application's words to the guard."""
        status = int(record["status"])
        size = min(int(record["bytes"]), MOST_BODY)
        lines = [b"HTTP/1.1 %d Said" % status, b"Content-Type: application/octet-stream"]
        if status not in (204, 304):
            lines.append(b"Content-Length: %d" % size)
        lines.append(b"%b: %.2f" % (AUDIO_SECONDS, float(record.get("audio_s") or 0.0)))
        if record.get("auth"):
            lines.append(b"%b: %b" % (ACCOUNT, str(record["auth"]).encode()))
        body = b"" if status in (204, 304) or record["method"] == "HEAD" else _BODY[:size]
        self.transport.write(b"\r\n".join((*lines, b"", body)))


def site_policy(site: Mapping[str, Any], policy: str = OURS) -> Policy:
    """The policy as its owner would have it behind a hop of theirs. Nothing is fetched."""
    found = at_site(read_policy(policy), site)
    if found.detecting is None:
        raise PracticeError("the policy looks for nothing")
    return replace(
        found,
        site=replace(found.site, trusted_proxies=("127.0.0.0/8",)),
        detecting=replace(found.detecting, protocol_header=PROTOCOL, ja4_header=JA4),
        verifying=Verifying(),
    )


def request_of(record: Mapping[str, Any], host: str) -> bytes:
    """A request as the hop in front passes it on: the client's headers in their order, then its own."""
    socketed = record["status"] == 101
    named = {name.lower() for name, _ in record["headers"]}
    lines = [f"{record['method']} {record['path']} HTTP/1.1"]
    if "host" not in named:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in record["headers"] if socketed or name.lower() not in HOP_BY_HOP]
    if socketed and "sec-websocket-key" not in named:
        lines.append(f"Sec-WebSocket-Key: {base64.b64encode(b'0123456789abcdef').decode()}")
    lines.append(f"X-Forwarded-For: {record['ip']}")
    lines.append(f"{PROTOCOL}: {record['proto']}")
    if record.get("ja4"):
        lines.append(f"{JA4}: {record['ja4']}")
    return "\r\n".join((*lines, "", "")).encode("utf-8", "surrogateescape")


class Sidecar:
    """The sidecar between a client and an upstream, all on one loop; an asynchronous context manager."""

    def __init__(self, site: Mapping[str, Any], policy: str = OURS) -> None:
        self.clock = LogClock()
        self.platforms: set[Platform] = set()
        self.most_at_once = self.callers = self.leaks = 0
        self._host = str(site.get("host") or "music.example")
        self._policy = site_policy(site, policy)
        self._why: dict[bytes, tuple[str, tuple[Signal, ...]]] = {}
        self._idle: list[Caller] = []
        self._next: Future[Answer | Platform | None] | None = None
        self._answers: list[tuple[float, int, Platform, Caller, Mapping[str, Any]]] = []

    def _record(self, record: Record) -> None:
        """What the guard notes of a request that it refused, for the reasons."""
        if record.status in (400, 403, 429):
            self._why[record.id.encode()] = (record.decision.rule, record.decision.signals)

    async def __aenter__(self) -> Sidecar:
        loop = asyncio.get_running_loop()
        self._upstream = await loop.create_server(lambda: Platform(self), "127.0.0.1", 0)
        upstream = Upstream("127.0.0.1", self._upstream.sockets[0].getsockname()[1])
        clock = self.clock
        guard = Guard(
            self._policy,
            store=MemoryStore(clock, wall=clock),
            record=self._record,
            clock=clock,
            lookout=Lookout(clock=clock, wall=clock),
            secret=SECRET,
        )
        times = Timeouts(head_s=_LONG, answer_s=_LONG, stall_s=_LONG, idle_s=_LONG, drain_s=2.0)
        listening = socket.create_server(("127.0.0.1", 0))
        self._port = listening.getsockname()[1]
        self._stop = asyncio.Event()
        self._serving = asyncio.ensure_future(Worker(guard, upstream, times).serve(listening, stop=self._stop))
        return self

    async def __aexit__(self, *_: object) -> None:
        for caller in (*self._idle, *(waiting[3] for waiting in self._answers)):
            caller.transport.abort()
        self._stop.set()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._serving
        finally:
            for platform in list(self.platforms):
                platform.transport.abort()
            self._upstream.close()

    # -- what the connections tell

    def moved(self, what: Answer | Platform | None) -> None:
        """The one thing that was waited for has happened: an answer, a request at the upstream, an end."""
        if self._next is not None and not self._next.done():
            self._next.set_result(what)

    def fail(self, error: PracticeError) -> None:
        if self._next is not None and not self._next.done():
            self._next.set_exception(error)

    async def _await(self) -> Answer | Platform | None:
        assert self._next is not None
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._next
        except TimeoutError:
            raise PracticeError(f"nothing came within {PATIENCE_S:.0f} s") from None
        finally:
            self._next = None

    # -- the day

    async def play(self, records: Iterable[Mapping[str, Any]]) -> list[Outcome]:
        """What each request came to."""
        outcomes: list[Outcome] = []
        for record in records:
            time_s = float(record["t"])
            await self._answer_until(time_s)
            self.clock.now_s = time_s
            outcomes.append(await self._ask(record, time_s))
        await self._answer_until(float("inf"))
        return outcomes

    async def _ask(self, record: Mapping[str, Any], time_s: float) -> Outcome:
        caller = await self._caller()
        self._next = asyncio.get_running_loop().create_future()
        caller.send(request_of(record, self._host), head_only=record["method"] == "HEAD")
        came = await self._await()
        if isinstance(came, Platform):
            if record["status"] == 101:
                self._next = asyncio.get_running_loop().create_future()
                came.transport.write(_SWITCHED)
                await self._expect(101, record)
            heappush(self._answers, (time_s + float(record["dur"]), record["i"], came, caller, record))
            self.most_at_once = max(self.most_at_once, len(self._answers))
            return Outcome("allow", "")
        if came is None:
            raise PracticeError(f"request {record['i']}: the connection ended without an answer")
        self._put_back(caller)
        rule, signals = self._why.pop(came.fields.get(b"x-guard-decision", b""), ("", ()))
        action = came.action
        return Outcome("serve" if action == "allow" else action, rule, signals)  # else the upstream had been asked

    async def _caller(self) -> Caller:
        while self._idle:
            caller = self._idle.pop()
            if caller.open:
                return caller
        self.callers += 1
        async with asyncio.timeout(PATIENCE_S):
            _, made = await asyncio.get_running_loop().create_connection(lambda: Caller(self), "127.0.0.1", self._port)
        return made

    def _put_back(self, caller: Caller) -> None:
        if caller.open:
            self._idle.append(caller)
        else:
            caller.transport.close()

    async def _answer_until(self, time_s: float) -> None:
        """Answers that end by then are sent, each in its moment, and read to their end."""
        while self._answers and self._answers[0][0] <= time_s:
            ends_s, _, platform, caller, record = heappop(self._answers)
            self.clock.now_s = ends_s
            self._next = asyncio.get_running_loop().create_future()
            if record["status"] == 101:
                platform.transport.close()
                while await self._await() is not None:
                    self._next = asyncio.get_running_loop().create_future()
                continue
            platform.answer(record)
            await self._expect(int(record["status"]), record)
            self._put_back(caller)

    async def _expect(self, status: int, record: Mapping[str, Any]) -> None:
        """The upstream's answer reaches the client, without what was meant for the guard."""
        came = await self._await()
        if not isinstance(came, Answer) or came.status != status:
            got = came.status if isinstance(came, Answer) else "nothing"
            raise PracticeError(f"request {record['i']}: the upstream said {status}, the client got {got}")
        self.leaks += not HINTS.isdisjoint(came.fields)


async def play(site: Mapping[str, Any], records: Iterable[Mapping[str, Any]]) -> tuple[list[Outcome], dict[str, int]]:
    """A day through the sidecar: what each request came to, and how it went."""
    async with Sidecar(site) as sidecar:
        outcomes = await sidecar.play(records)
    told = {"at_once": sidecar.most_at_once, "connections": sidecar.callers, "leaks": sidecar.leaks}
    if sidecar.leaks:
        raise PracticeError(f"{sidecar.leaks} answers reached the client with words that were meant for the guard")
    return outcomes, told


def run(arguments: argparse.Namespace) -> bool:
    """Hold the exam and show what came of it."""
    day = day_of(arguments)
    began = time.monotonic()
    outcomes, told = uvloop.run(play(day.site, day.records))
    took_s = time.monotonic() - began
    exam = compare(arguments.shared, day, f"the sidecar, seed {arguments.seed}", outcomes)
    notes = [
        f"{told['connections']} connections, at most {told['at_once']} answers under way at once; {took_s:.0f} s",
        "accounts are known from their first answer on; in one process each request tells its own",
    ]
    show(arguments, exam, notes, sidecar=told, took_s=round(took_s, 1))
    return exam.met


def main(argv: Sequence[str] | None = None) -> int:
    parser = parser_of("sidecar", "One day played through the real sidecar over sockets, in the day's time; its marks.")
    arguments = parser.parse_args(argv)
    return hold("sidecar", lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())

"""One server, and one connection to it. The law of this file: whoever waits is answered by their deadline, and at most
a few of them ever get near it.

    send()    an entry is queued
    _write()  all that was queued in one tick of the loop goes out as one script call
    _read()   replies come in the order of the calls
    _watch()  the oldest call is late -> _hesitate(): all but a few who wait are told to count for themselves, and so is
              whoever comes; it is past the deadline -> _fall(): the others, too, and the link is down
    _keep()   connects, proves that the server counts, lets the link rise, reads and writes until something breaks

There is one connection, and only `_keep` and its two children touch it. A caller who goes away takes nothing along
but their own future. What to connect to, and what is done with replies, is the owner's business (see `Owner`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from asyncio import CancelledError, Future, Task
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha1
from importlib.resources import files
from itertools import chain
from typing import NamedTuple, Protocol

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from guard.errors import StoreError
from guard.model import Admission
from guard.stores.names import Named
from guard.stores.plans import Plan, Slot

MAX_WAITING = 10_000
"""So many may wait at once; those beyond are answered without the server."""

MOST_KEYS = 256
"""Of one call: the server does nothing else meanwhile, about a millisecond."""

PROBE_EVERY_S = 0.5
MOST_LATE = 5
"""So many requests may find out that the server does not answer in time."""

PATIENCE = 0.4
"""Of the deadline: so late may an answer be, where they usually come at once, before others are spared the wait."""

MOST_PATIENCE = 0.6
"""Of the deadline, where answers usually take long."""

_OURS_TO_BLAME_S = 0.002
_GRACE_S = 0.005
_CALM_S = 1.0
_UNAWAITED = 4
_NEAR_S = 0.002
_WINDOW = 8
_WORDS = 8
_NUMBERS = 5

_log = logging.getLogger("guard.store")


class Script:
    """A script as it goes over the wire."""

    def __init__(self, name: str) -> None:
        self.text = files("guard.stores").joinpath(name).read_bytes()
        self.sha = sha1(self.text, usedforsecurity=False).hexdigest().encode()
        self.load = command(b"SCRIPT", b"LOAD", self.text)
        self.head = b"$7\r\nEVALSHA\r\n$40\r\n%b\r\n" % self.sha


def command(*words: bytes) -> bytes:
    """One command in RESP, https://valkey.io/topics/protocol/."""
    return b"*%d\r\n" % len(words) + b"".join(map(word, words))


def word(text: bytes) -> bytes:
    """One word of a command."""
    return b"$%d\r\n%b\r\n" % (len(text), text)


LIMITS = Script("limits.lua")
_ASKING = command(b"ASKING")


class Entry:
    """One counter in one call, and who waits for it, each for `cost`. `op` and the rest are words of limits.lua.

    `waiting` are futures in the order in which they asked; none for what is done behind requests. `beside` is what is
    worth holding, `charge` what was used and not told yet; `held` places were asked for when `said` were told to be
    taken here. `apart`: it goes in a call of its
    own, perhaps as `asking`, where a cluster is moving it.
    """

    __slots__ = (
        "again",
        "apart",
        "asking",
        "at",
        "beside",
        "charge",
        "cost",
        "held",
        "named",
        "op",
        "plan",
        "said",
        "slot",
        "tries",
        "waiting",
    )

    def __init__(self, op: bytes, plan: Plan | None, slot: Slot, named: Named, at: float, cost: int = 1) -> None:
        self.op = op
        self.plan = plan
        self.slot = slot
        self.named = named
        self.at = at
        self.cost = cost
        self.beside = self.charge = self.held = self.said = 0
        self.waiting: list[Future[Admission]] = []
        self.apart = self.asking = self.again = False
        self.tries = 0


class Job:
    """Something else to be asked of the server, behind requests: a script call and what to do with its reply. `done`
    gets None when it failed."""

    __slots__ = ("again", "at", "done", "names", "script", "words")

    def __init__(
        self, script: Script, names: Sequence[bytes], words: Sequence[bytes], at: float, done: Callable[[object], None]
    ) -> None:
        self.script = script
        self.names = names
        self.words = words
        self.at = at
        self.done = done
        self.again = False


class Call:
    """A script call under way, sent at `at`."""

    __slots__ = ("at", "entries", "job")

    def __init__(self, entries: list[Entry], job: Job | None, at: float) -> None:
        self.entries = entries
        self.job = job
        self.at = at


class Times(NamedTuple):
    """The deadline of an answer, what connecting may take besides, and what tells the time."""

    timeout_s: float = 0.05
    connect_timeout_s: float = 0.1
    clock: Callable[[], float] = time.monotonic


class Owner(Protocol):
    """What a link needs of the store that it belongs to."""

    scripts: int
    fleet: int

    def words(self, entry: Entry) -> tuple[bytes, ...]:
        """The last five words of an entry that is sent now (see limits.lua)."""

    def told(self, entry: Entry, said: Sequence[int], sent: float, now: float) -> None:
        """The server's five numbers for one entry."""

    def settle_here(self, entry: Entry, future: Future[Admission]) -> None:
        """Nobody will answer: count without the server."""

    def untold(self, entry: Entry) -> None:
        """Whether the server has counted this entry will never be known."""

    def redirect(self, link: Link, entry: Entry, error: Exception) -> None:
        """The server says that the entry belongs elsewhere."""

    def fell(self, link: Link) -> None:
        """The link is down."""

    def rose(self, link: Link) -> None:
        """The link is up."""


class Link:
    """`dial` gives a connection that is not yet connected; it may look up first where to. `by_part`: one call holds
    only entries of one part of the whole, as a cluster wants it."""

    def __init__(
        self,
        owner: Owner,
        place: str,
        dial: Callable[[], Awaitable[AbstractConnection]],
        times: Times,
        *,
        by_part: bool = False,
    ) -> None:
        self.down = True
        self.errors = 0
        self.waiting = 0
        self.rtt_s = 0.0
        self.place = place
        self.hesitating = False
        self._owner = owner
        self._dial = dial
        self._timeout_s = times.timeout_s
        self._connect_s = times.connect_timeout_s + times.timeout_s
        self._by_part = by_part
        self._clock = times.clock
        self._queue: deque[Entry] = deque()
        self._jobs: deque[Job] = deque()
        self._apart: deque[Entry] = deque()
        self._calls: deque[Call | None] = deque()
        self._missing: set[Script] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: Future[None] | None = None
        self._tried: Future[None] | None = None
        self._keeper: Task[None] | None = None
        self._reader: Task[None] | None = None
        self._left = 0.0  # when a call last left some of the queue behind
        self._watching = False
        self._timer: asyncio.TimerHandle | None = None
        self._excused: Call | None = None
        self._hesitated = -_CALM_S
        self._may_wait = MOST_LATE
        self._told = ""

    def __repr__(self) -> str:
        return f"Link({self.place}, {'down' if self.down else 'up'})"

    # -- asking

    def may_wait(self) -> bool:
        """Is there any sense in asking it now?"""
        return not self.down and not self.hesitating and self.waiting < MAX_WAITING

    def send(self, entry: Entry) -> None:
        """Queue an entry for the next call."""
        (self._apart if entry.apart else self._queue).append(entry)
        self._stir()

    def do(self, job: Job) -> None:
        """Queue something that nobody waits for."""
        self._jobs.append(job)
        self._stir()

    @property
    def patience_s(self) -> float:
        """So old may the oldest question be before others are spared the wait."""
        return min(max(PATIENCE * self._timeout_s, 2 * self.rtt_s), MOST_PATIENCE * self._timeout_s)

    def _stir(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    # -- opening and closing

    async def open(self) -> None:
        """Connect, or start trying. Returns after the first attempt, whatever came of it."""
        self.start()
        assert self._tried is not None
        await asyncio.shield(self._tried)

    def start(self) -> None:
        """As `open`, without waiting for the first attempt."""
        if self._keeper is None:
            self._loop = asyncio.get_running_loop()
            self._tried = self._loop.create_future()
            self._keeper = self._loop.create_task(self._keep(self._tried), name="guard-store")

    async def close(self) -> None:
        """Answer whoever still waits and let go of the connection."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait({keeper})
        self._loop = self._wake = self._excused = None
        if self._timer is not None:
            self._timer.cancel()
        self._watching = False
        self._answer_all_here()

    async def flush(self) -> None:
        """Wait until all that is queued was answered, at most for the deadline."""
        give_up = self._clock() + self._timeout_s
        while (self._queue or self._jobs or self._calls) and not self.down and self._clock() < give_up:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    async def _keep(self, tried: Future[None]) -> None:
        try:
            while True:
                began = self._clock()
                connection: AbstractConnection | None = None
                try:
                    async with asyncio.timeout(self._connect_s):
                        connection = await self._dial()
                        await connection.connect()  # type: ignore[no-untyped-call]
                    await self._prove(connection)
                    self._rise()
                    if not tried.done():
                        tried.set_result(None)
                    await self._serve(connection)
                except Exception as error:  # noqa: BLE001 - whatever the store or its library does, the guard goes on
                    self._fall(error)
                finally:
                    if connection is not None:
                        await _discard(connection)
                if not tried.done():
                    tried.set_result(None)
                # From attempt to attempt, not from failure to attempt: a connection that lived long is replaced at
                # once, one that never works is tried twice a second.
                await asyncio.sleep(max(0.0, began + PROBE_EVERY_S - self._clock()))
        finally:
            if not tried.done():
                tried.set_result(None)
            self.down = True

    async def _prove(self, connection: AbstractConnection) -> None:
        """PING is no proof: a replica, a full server or a forbidding ACL answers it too. Counting once is."""
        name = b"g:probe:" + os.urandom(6).hex().encode()
        probe = _probe(name)
        async with asyncio.timeout(self._timeout_s):
            await _send(connection, LIMITS.load)
            await connection.read_response()
            sent = self._clock()
            await _send(connection, probe)
            try:
                reply = await connection.read_response()
                self.rtt_s = self._clock() - sent
            except (MovedError, AskError):  # of a cluster: the probe's name lies elsewhere, and that is an answer
                return
        if not isinstance(reply, list) or reply[:1] != [1]:
            reason = {2: "out of memory", 3: "a read-only replica", 4: "not allowed to count", 5: "cannot save"}
            raise StoreError(
                f"the probe was not counted ({reason.get(reply[1], 'refused')})"
                if isinstance(reply, list) and len(reply) > 1
                else "the probe was not counted"
            )

    def _rise(self) -> None:
        self._missing.clear()
        self.hesitating = False
        self.down = False
        self._told = ""
        _log.info("store %s: limits are shared", self.place)
        self._owner.rose(self)

    def _fall(self, error: BaseException) -> None:
        self.errors += 1
        why = _reason(error)
        if not self.down or not self._told:  # once each time, however long it lasts
            _log.warning("store %s: %s; limits are local to each worker", self.place, why)
        self._told = why
        self.down = True
        self._answer_all_here()
        self._owner.fell(self)

    def _answer_all_here(self) -> None:
        calls = [call for call in self._calls if call is not None]
        entries = [entry for call in calls for entry in call.entries] + list(chain(self._apart, self._queue))
        jobs = [call.job for call in calls if call.job is not None] + list(self._jobs)
        for queue in (self._calls, self._queue, self._apart, self._jobs):
            queue.clear()
        for entry in entries:
            self.settle_here(entry)
        for job in jobs:
            job.done(None)

    def settle_here(self, entry: Entry) -> None:
        """Whoever waits for this entry counts for themselves."""
        waiting, entry.waiting = entry.waiting, []
        self.waiting -= len(waiting)
        for future in waiting:
            if not future.done():
                self._owner.settle_here(entry, future)
        self._owner.untold(entry)

    # -- the connection

    async def _serve(self, connection: AbstractConnection) -> None:
        """Read and write until one of the two fails, and raise why; return when `_watch` has had enough."""
        reader = self._reader = asyncio.create_task(self._read(connection), name="guard-store-read")
        writer = asyncio.create_task(self._write(connection), name="guard-store-write")
        try:
            done, _ = await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._reader = None
            for task in (reader, writer):
                task.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
        for task in done:
            if not task.cancelled():
                await task

    async def _write(self, connection: AbstractConnection) -> None:
        while True:
            window = 1 if self.rtt_s < _NEAR_S else _WINDOW
            if not (self._queue or self._apart or self._jobs) or len(self._calls) >= window:
                self._wake = asyncio.get_running_loop().create_future()
                # Whoever asks completes it in this tick; we run in the next one and find all that was asked meanwhile.
                await self._wake
                self._wake = None
                continue
            pieces = [script.load for script in self._missing]
            self._calls.extend([None] * len(pieces))
            self._missing.clear()
            now = self._clock()
            for entries in self._gather():
                self._calls.append(Call(entries, None, now))
                self._owner.scripts += 1
                if entries[0].asking:
                    self._calls.insert(len(self._calls) - 1, None)
                    pieces.append(_ASKING)
                pieces.append(_written([(entry, self._owner.words(entry)) for entry in entries], self._owner.fleet))
            if self._jobs:
                job = self._jobs.popleft()
                self._calls.append(Call([], job, now))
                self._owner.scripts += 1
                pieces.append(command(b"EVALSHA", job.script.sha, b"%d" % len(job.names), *job.names, *job.words))
            self._guard()
            await _send(connection, b"".join(pieces))
            if self._queue or self._apart or self._jobs:
                await asyncio.sleep(0)  # one call a tick

    def _gather(self) -> list[list[Entry]]:
        """What is to go out now, in calls: one for all, in a cluster one for each part."""
        if self._apart:
            apart = list(self._apart)
            self._apart.clear()
            calls = [[entry] for entry in apart]
        else:
            calls = []
        queue = self._queue
        entries: list[Entry] = []
        names, now = 0, self._clock()
        while queue and names < MOST_KEYS:
            entry = queue.popleft()
            if entry.at < self._left and now - entry.at > self._timeout_s and entry.waiting:
                self.settle_here(entry)  # there is more to ask than can be answered
                continue
            names += len(entry.named.names)
            entries.append(entry)
        if queue:
            self._left = now
        if not self._by_part:
            return [*calls, entries] if entries else calls
        parts: dict[int, list[Entry]] = {}
        for entry in entries:
            parts.setdefault(entry.named.tag, []).append(entry)
        return [*calls, *parts.values()]

    async def _read(self, connection: AbstractConnection) -> None:
        calls = self._calls
        read = connection.read_response
        while True:
            # A call leaves `calls` only when it is sure of its answer: `_fall` looks after those that are in it.
            try:
                reply = await read()
            except ResponseError as error:
                if not calls or (call := calls[0]) is None:
                    raise
                calls.popleft()
                if not self._put_right(call, error):
                    raise
                self._stir()
                continue
            if not calls:
                raise StoreError("an answer to no question")
            if (call := calls[0]) is None:
                calls.popleft()
                continue
            if call.job is None and (not isinstance(reply, list) or len(reply) != _NUMBERS * len(call.entries)):
                raise StoreError("an answer that makes no sense")
            calls.popleft()
            now = self._clock()
            if call.job is not None:
                call.job.done(reply)
            else:
                self._learn_rtt(now - call.at)
                self._answer(call, reply, now)
            if self.hesitating and not self._late(now):
                self.hesitating = False
            self._stir()

    def _learn_rtt(self, took_s: float) -> None:
        """What answers usually take: up at once, down slowly, for patience is what spares others a wait."""
        self.rtt_s += (took_s - self.rtt_s) * (0.5 if took_s > self.rtt_s else 0.1)

    def _answer(self, call: Call, reply: Sequence[int], now: float) -> None:
        failed = 0
        left = deque(call.entries)
        try:
            for at in range(0, len(reply), _NUMBERS):
                said = reply[at : at + _NUMBERS]
                if said[0] < 0:
                    self.errors += 1
                    failed = max(failed, said[1])
                    self.settle_here(left.popleft())
                    continue
                self.waiting -= len(left[0].waiting)
                self._owner.told(left[0], said, call.at, now)
                left.popleft()
        finally:
            for entry in left:
                self.settle_here(entry)
        if failed > 1:
            reason = {2: "out of memory", 3: "a read-only replica", 4: "not allowed to count", 5: "cannot save"}
            raise StoreError(reason.get(failed, "the script failed"))
        if failed and self._told != "foreign":
            self._told = "foreign"
            _log.warning("store %s: another program uses one of our names; that key is counted locally", self.place)

    def _put_right(self, call: Call, error: ResponseError) -> bool:
        """Deal with an error that says nothing about the server as a whole; False when it does."""
        if isinstance(error, NoScriptError):
            # After SCRIPT FLUSH, a restart or a failover. It did not run, so it may be asked again.
            if call.job is not None:
                if not call.job.again:
                    call.job.again = True
                    self._missing.add(call.job.script)
                    self._jobs.append(call.job)
                    return True
            elif not any(entry.again for entry in call.entries):
                self._missing.add(LIMITS)
                for entry in call.entries:
                    entry.again = True
                self._queue.extendleft(reversed(call.entries))
                return True
        if call.job is not None:
            call.job.done(None)
            return isinstance(error, (MovedError, AskError, TryAgainError))
        if isinstance(error, (MovedError, AskError, TryAgainError)) and not isinstance(error, ClusterDownError):
            for entry in call.entries:
                self._owner.redirect(self, entry, error)
            return True
        for entry in call.entries:
            self.settle_here(entry)
        return False

    # -- deadlines

    def _oldest(self) -> Call | None:
        """The oldest call that was sent. What has not been sent yet waits for nobody but us."""
        return next((call for call in self._calls if call is not None), None)

    def _late(self, now: float) -> bool:
        oldest = self._oldest()
        return oldest is not None and now - oldest.at >= self.patience_s

    def _guard(self) -> None:
        """See to it that a call which is not answered is noticed, whether anybody waits for it or not."""
        if not self._watching and self._loop is not None:
            self._watching = True
            self._timer = self._loop.call_later(self.patience_s, self._watch, self._clock() + self.patience_s)

    def _watch(self, due: float) -> None:
        self._watching = False
        oldest = self._oldest()
        if self._loop is None or self.down or oldest is None:
            return
        now = self._clock()
        deadline = oldest.at + (self._timeout_s if self.waiting else _UNAWAITED * self._timeout_s)
        patience = oldest.at + self.patience_s
        if now < patience:
            wait, due = patience - now, patience
        elif now - due > _OURS_TO_BLAME_S and self._excused is not oldest:
            # The loop itself was held up; the answers may well lie in the socket, and get one more turn.
            self._excused = oldest
            wait, due = _GRACE_S, now + _GRACE_S
        elif now < deadline:
            self._hesitate(now)
            wait, due = deadline - now, deadline
        else:
            self._fall(StoreError(f"no answer within {self._timeout_s * 1e3:.0f} ms"))
            if self._reader is not None:
                self._reader.cancel()
            return
        self._watching = True
        self._timer = self._loop.call_later(wait, self._watch, due)

    def _hesitate(self, now: float) -> None:
        """An answer is late: a few wait for it, everybody else counts for themselves. A few in a second, for a server
        that answers now and then would else keep them all waiting."""
        if not self.hesitating:
            self._may_wait = MOST_LATE if now - self._hesitated >= _CALM_S else 0
            self._hesitated = now
        self.hesitating = True
        left = self._may_wait
        under_way = [entry for call in self._calls if call is not None for entry in call.entries]
        for entry in chain(under_way, list(self._apart), list(self._queue)):
            keep = min(left, len(entry.waiting))
            left -= keep
            for future in entry.waiting[keep:]:
                if not future.done():
                    self._owner.settle_here(entry, future)


def _written(entries: list[tuple[Entry, tuple[bytes, ...]]], fleet: int) -> bytes:
    """One script call for these entries."""
    names: list[bytes] = []
    words: list[bytes] = []
    for entry, last in entries:
        named = entry.named
        for name in named.names:
            names.append(word(name))
        words += (word(entry.op), word(b"%d" % len(named.names)), word(b"%d" % named.current), *map(word, last))
    head = b"*%d\r\n" % (4 + len(names) + len(entries) * _WORDS)
    count = b"%d" % len(names)
    return b"".join((head, LIMITS.head, word(count), *names, word(b"%d" % fleet), *words))


def _probe(name: bytes) -> bytes:
    entry = Entry(b"r", None, ("", b""), Named((name,), 1, 0), 0.0)
    return _written([(entry, (b"1000", b"0", b"1", b"0", b"1"))], 1)


async def _send(connection: AbstractConnection, commands: bytes) -> None:
    await connection.send_packed_command([commands], check_health=False)


async def _discard(connection: AbstractConnection) -> None:
    try:
        await connection.disconnect(nowait=True)
    except (RedisError, OSError):
        _log.debug("a connection was already gone")


def _reason(error: BaseException) -> str:
    """What went wrong, from closed sets of words: texts of servers and libraries may quote what we sent them."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, StoreError):
            return str(cause)
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno) if cause.errno > 0 else "no such host"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, CancelledError):
        return "closed"
    return type(error).__name__

"""Limits counted together with all other workers, in Valkey or Redis. The only door to the `redis` package.

The law of this file: the server may be slow, wrong or gone, and nobody who asks ever notices more than one deadline.

    take()    a refusal still remembered, or the breaker is open -> answered at once
              else one EVALSHA is queued and a future handed out
    _write()  all that was queued in one tick of the loop goes out in one write
    _read()   replies come in the order of the asks, each completes its future
    _watch()  the oldest ask is past its deadline -> _fall()
    _fall()   everybody waiting is answered by the local store, the breaker opens
    _keep()   connects, proves that the server counts, closes the breaker, reads and writes until something breaks

There is one connection, and only `_keep` and its two children touch it. A caller who goes away takes nothing along
but their own future.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from asyncio import CancelledError, Future, Task
from collections import deque
from collections.abc import Callable
from hashlib import blake2b, sha1
from importlib.resources import files
from itertools import chain
from typing import NamedTuple
from urllib.parse import urlsplit

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AskError, MovedError, NoScriptError, RedisError, ResponseError

from guard.errors import StoreError
from guard.model import Admission, Limit
from guard.stores.memory import MemoryStore, emission_us

MAX_WAITING = 10_000
"""Asks queued or under way; those beyond are answered locally at once."""

PROBE_EVERY_S = 0.5

_log = logging.getLogger("guard.store")

_SCRIPT = files("guard.stores").joinpath("gcra.lua").read_bytes()
_SHA = sha1(_SCRIPT, usedforsecurity=False).hexdigest().encode()
_MARK = b"\0" * 16
_MAX_REFUSALS = 20_000
_KNOWN_LIMITS = 1024
_OURS_TO_BLAME_S = 0.01
_GRACE_S = 0.005


def limit_name(name: str) -> str:
    """The part of a key name that says which limit: at most 57 characters of A-Z a-z 0-9 _ . -"""
    clean = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:48]
    if clean == name:
        return clean
    return f"{clean}-{blake2b(name.encode(), digest_size=4).hexdigest()}"


def place(url: str) -> str:
    """A store's URL as it may be shown to people: without user, password and options."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "unix":
            return f"unix://{parts.path}"
        host = parts.hostname or "localhost"
        return f"{parts.scheme}://{host}:{parts.port or 6379}{parts.path}"
    except ValueError:
        return "(unreadable url)"


class _Plan(NamedTuple):
    """What never changes for one limit: the command but for the 16 characters that name the key."""

    limit: Limit
    head: bytes
    tail: bytes


class _Ask(NamedTuple):
    """One question under way. `at` is when it was put, `again` whether the script was already missing once."""

    answer: Future[Admission]
    limit: Limit
    key: bytes
    command: bytes
    at: float
    again: bool


class RedisStore:
    """GCRA on a shared server: over all workers, at most floor(W / T) + burst admissions in any window of W.

    `url` is redis://, rediss:// or unix://. `workers` is how many workers share the fallback (see `MemoryStore`):
    while the server is away, at most floor(D / T) + max(burst, workers) are admitted in D seconds on top.
    `secret` keys the names under which clients are counted, the same for all workers that share limits; without
    one, whoever can read the server can find out addresses by trying them all.
    `timeout_s` is the deadline of a take, `connect_timeout_s` what connecting may take besides.

    A refusal is remembered until the server would allow again, and answered from memory: exact, because a
    theoretical arrival time only grows. Counters: `calls` takes, `batches` writes to the server, `local` answers
    from this worker alone, `denied_locally` refusals from memory, `errors` failures of the server, `breaker_open`.
    """

    shared = True

    def __init__(
        self,
        url: str,
        *,
        workers: int = 1,
        secret: bytes = b"",
        timeout_s: float = 0.05,
        connect_timeout_s: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.calls = self.batches = self.local = self.errors = self.denied_locally = 0
        self.breaker_open = True
        self._place = place(url)
        try:
            # No timeout on single reads: a hundred replies of 49 ms each would all be in time. One deadline,
            # here in `_watch` and `_connect`, covers the whole of it. RESP2 because every server and every
            # proxy speaks it and our answers are three integers.
            self._pool: ConnectionPool = ConnectionPool.from_url(
                url,
                socket_timeout=None,
                socket_connect_timeout=connect_timeout_s,
                retry=Retry(NoBackoff(), 0),
                health_check_interval=0,
                protocol=2,
            )
        except (ValueError, TypeError, RedisError):
            # The text of these errors quotes parts of the URL, and with a stray character that is the password.
            raise ValueError(f"store url {self._place!r}: not a redis://, rediss:// or unix:// url") from None
        self._timeout_s = timeout_s
        self._connect_s = connect_timeout_s + timeout_s
        self._clock = clock
        self._fallback = MemoryStore(clock, share=workers)
        self._hash = blake2b(digest_size=8, key=blake2b(secret).digest())
        self._plans: dict[str, _Plan] = {}
        self._refused: dict[bytes, tuple[float, float]] = {}
        self._queue: deque[_Ask] = deque()
        self._asked: deque[_Ask | None] = deque()
        self._script_missing = False
        self._wake: Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keeper: Task[None] | None = None
        self._reader: Task[None] | None = None
        self._watching = False
        self._excused = False

    def __repr__(self) -> str:
        return f"RedisStore({self._place}, {'local' if self.breaker_open else 'shared'})"

    # -- asking

    def take(self, limit: Limit, key: bytes) -> Admission | Future[Admission]:
        """Ask for one request under `limit` for `key`: an answer, or a future done within `timeout_s`."""
        self.calls += 1
        if self.breaker_open or self._loop is None:
            return self._here(limit, key)
        plan = self._plans.get(limit.name)
        if plan is None or (plan[0] is not limit and plan[0] != limit):
            plan = self._plan(limit)
        digest = self._hash.copy()
        digest.update(key)
        command = plan[1] + digest.hexdigest().encode() + plan[2]
        at = self._clock()
        refusal = self._refused.get(command)
        if refusal is not None:
            if at < refusal[0]:
                self.denied_locally += 1
                return Admission(False, 0, refusal[1] - at, True)
            del self._refused[command]
        if len(self._queue) + len(self._asked) >= MAX_WAITING:
            return self._here(limit, key)
        answer: Future[Admission] = self._loop.create_future()
        self._queue.append(_Ask(answer, limit, key, command, at, False))
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
        if not self._watching:
            self._watching = True
            self._loop.call_later(self._timeout_s, self._watch, at + self._timeout_s)
        return answer

    def _here(self, limit: Limit, key: bytes) -> Admission:
        self.local += 1
        return self._fallback.take(limit, key)

    def _plan(self, limit: Limit) -> _Plan:
        if len(self._plans) >= _KNOWN_LIMITS:
            self._plans.clear()
        emission = emission_us(limit)
        # The numbers are in the command and the command is what refusals are remembered by: a changed limit has none.
        head, tail = _key_command(_MARK, limit.name, emission, emission * (max(1, limit.burst) - 1)).split(_MARK)
        plan = _Plan(limit, head, tail)
        self._plans[limit.name] = plan
        return plan

    # -- opening and closing

    async def open(self) -> None:
        """Connect, or start trying. Returns after the first attempt, whatever came of it."""
        if self._keeper is not None:
            return
        self._loop = asyncio.get_running_loop()
        tried: Future[None] = self._loop.create_future()
        self._keeper = self._loop.create_task(self._keep(tried), name="guard-store")
        await tried

    async def close(self) -> None:
        """Answer whoever still waits and let go of the connection."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait({keeper})
        self._loop = None
        self._answer_all_here()
        await self._fallback.close()

    async def _keep(self, tried: Future[None]) -> None:
        said = False
        try:
            while True:
                began = self._clock()
                connection: AbstractConnection | None = None
                try:
                    connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
                    await self._connect(connection)
                    self._rise()
                    said = True
                    if not tried.done():
                        tried.set_result(None)
                    await self._serve(connection)
                except Exception as error:  # noqa: BLE001 - whatever the store or its library does, the guard goes on
                    self._fall(error, said)
                    said = True
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
            self.breaker_open = True

    async def _connect(self, connection: AbstractConnection) -> None:
        async with asyncio.timeout(self._connect_s):
            await connection.connect()  # type: ignore[no-untyped-call]
        # PING is no proof: a replica, a full server or a forbidding ACL answers it too. Counting once is.
        name = os.urandom(8).hex().encode()
        async with asyncio.timeout(self._timeout_s):
            await _send(connection, _LOAD + _key_command(name, "probe", 1000, 0))
            await connection.read_response()
            reply = await connection.read_response()
        if not isinstance(reply, list) or reply[:1] != [1]:
            raise StoreError("the probe was not counted")

    def _rise(self) -> None:
        self._script_missing = False
        self.breaker_open = False
        _log.info("store %s: limits are shared", self._place)

    def _fall(self, error: BaseException, said: bool = False) -> None:
        self.errors += 1
        if not said or not self.breaker_open:
            _log.warning("store %s: %s; limits are local to each worker", self._place, _reason(error))
        self.breaker_open = True
        self._answer_all_here()

    def _answer_all_here(self) -> None:
        waiting = [ask for ask in chain(self._asked, self._queue) if ask is not None]
        self._asked.clear()
        self._queue.clear()
        for ask in waiting:
            self._settle_here(ask)

    def _settle_here(self, ask: _Ask) -> None:
        if not ask.answer.done():
            ask.answer.set_result(self._here(ask.limit, ask.key))

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
        queue, asked = self._queue, self._asked
        while True:
            if not queue:
                self._wake = asyncio.get_running_loop().create_future()
                # `take` completes it in this tick; we run in the next one and find all that was asked in between.
                await self._wake
                self._wake = None
            commands: list[bytes] = []
            if self._script_missing:
                self._script_missing = False
                asked.append(None)
                commands.append(_LOAD)
            while queue:
                ask = queue.popleft()
                asked.append(ask)
                commands.append(ask.command)
            if commands:
                self.batches += 1
                await _send(connection, b"".join(commands))

    async def _read(self, connection: AbstractConnection) -> None:
        asked = self._asked
        read = connection.read_response
        while True:
            # An ask leaves `asked` only when it is sure of its answer: `_fall` looks after those that are in it.
            try:
                reply = await read()
            except ResponseError as error:
                if not asked or (ask := asked[0]) is None:
                    raise
                asked.popleft()
                if not self._put_right(ask, error):
                    raise
                continue
            if not asked:
                raise StoreError("an answer to no question")
            ask = asked[0]
            if ask is None:
                asked.popleft()
                continue
            allowed, remaining, retry_after_us = reply
            asked.popleft()
            if allowed:
                admission = Admission(True, remaining, 0.0, True)
            else:
                retry_after_s = retry_after_us / 1e6
                ready = self._clock() + retry_after_s
                # The server said no some time between `ask.at` and now. Counted from `ask.at` we never refuse for
                # longer than it would; counted from now the client is never told to come back too early.
                if len(self._refused) >= _MAX_REFUSALS:
                    self._refused.clear()
                self._refused[ask.command] = (ask.at + retry_after_s, ready)
                admission = Admission(False, 0, retry_after_s, True)
            if not ask.answer.done():
                ask.answer.set_result(admission)

    def _put_right(self, ask: _Ask, error: ResponseError) -> bool:
        """Deal with an error that says nothing about the server as a whole; False when it does."""
        if isinstance(error, NoScriptError) and not ask.again:
            # After SCRIPT FLUSH, a restart or a failover. It did not run, so it may be asked again.
            self._script_missing = True
            self._queue.append(ask._replace(again=True))
            if self._wake is not None and not self._wake.done():
                self._wake.set_result(None)
            return True
        self._settle_here(ask)
        if isinstance(error, (NoScriptError, MovedError, AskError)) or "WRONGTYPE" in str(error):
            self.errors += 1
            return True
        return False

    def _watch(self, due: float) -> None:
        self._watching = False
        oldest = next((ask for ask in chain(self._asked, self._queue) if ask is not None), None)
        if oldest is None or self._loop is None or self.breaker_open:
            self._excused = False
            return
        now = self._clock()
        deadline = oldest.at + self._timeout_s
        if now < deadline:
            self._excused = False
            wait = deadline - now
        elif now - due > _OURS_TO_BLAME_S and not self._excused:
            # The loop itself was held up; the answers may well lie in the socket, and get one more turn.
            self._excused = True
            wait, deadline = _GRACE_S, now + _GRACE_S
        else:
            self._excused = False
            self._fall(StoreError(f"no answer within {self._timeout_s * 1e3:.0f} ms"))
            if self._reader is not None:
                self._reader.cancel()
            return
        self._watching = True
        self._loop.call_later(wait, self._watch, deadline)


def _command(*words: bytes) -> bytes:
    """One command in RESP, https://valkey.io/topics/protocol/."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


_LOAD = _command(b"SCRIPT", b"LOAD", _SCRIPT)


def _key_command(name: bytes, limit: str, emission: int, tolerance: int) -> bytes:
    # The braces are a hash tag: all limits of one client live on one node of a cluster.
    key = b"g1:{" + name + b"}:" + limit_name(limit).encode()
    return _command(b"EVALSHA", _SHA, b"1", key, b"%d" % emission, b"%d" % tolerance)


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

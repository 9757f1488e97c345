"""Many workers and one client who asks for far too much: how much is let through, and what the store is asked.

Each worker is a process of its own with its own connection to one Valkey, as the workers of a web server are. They
offer requests at an even pace, all for one key. What may be let through is known: the burst, and one more for each T
that has gone by. The answer is a count and not a time: each scene runs once, whatever the number of rounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import time
from asyncio import Future
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import floor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from guard.model import Admission, Limit
from loadtests.bench.parties import start_store
from loadtests.bench.processes import BenchError, as_child_on
from loadtests.bench.tables import Bar, Cells, Section
from loadtests.bench.wrk import Store

SECONDS = 4.5
"""Half a second past the last T, so that no scene ends at the very moment when one more may pass."""

READY_WITHIN_S = 60.0
TRIES = 3
TICKS, EACH_TICK = 500, 64
_LOW = Limit("low", 60, 60.0, 60)
_HIGH = Limit("high", 1_000_000, 60.0, 200_000)
_WARM = Limit("warm", 100, 1.0, 100)


class Scene(NamedTuple):
    """What is offered: so many requests a second by all workers together."""

    limit: Limit
    workers: int
    offered: int

    @property
    def name(self) -> str:
        wanted = "never refused" if self.limit.count == _HIGH.count else "60/min"
        return f"{self.workers} workers, {self.offered:,}/s, {wanted}"


SCENES = (
    Scene(_LOW, 16, 2_000),
    Scene(replace(_LOW, precision="exact"), 16, 2_000),
    Scene(_LOW, 16, 50),
    Scene(replace(_LOW, precision="exact"), 16, 50),
    Scene(_HIGH, 4, 4_000),
    Scene(replace(_HIGH, precision="exact"), 4, 4_000),
)


class Told(NamedTuple):
    """What one worker saw. `asked` are the refused that the server was asked for; `us` how long each take took."""

    first: float
    last: float
    admitted: int
    refused: int
    asked: int
    local: int
    errors: int
    us: list[float]


class Found(NamedTuple):
    """What came of a scene. `ideal` is what may be admitted at most; `scripts` were counted by the server.

    `for_refused`: of the refused, the part that the server was asked for; the others were refused from memory.
    """

    scene: Scene
    requests: int
    seconds: float
    admitted: int
    ideal: int
    scripts: int
    for_refused: float
    local: int
    errors: int
    p50_us: float
    p99_us: float
    tries: int

    @property
    def per_request(self) -> float:
        return self.scripts / self.requests

    @property
    def of_ideal(self) -> float:
        return self.admitted / self.ideal


class _Order(NamedTuple):
    limit: Limit
    key: bytes
    begin: float
    every: float
    count: int


# -- a worker ----------------------------------------------------------------------------------------------


def _work(url: str, workers: int, pipe: Connection) -> None:
    as_child_on(None)()
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        asyncio.run(_serve(url, workers, pipe))


async def _serve(url: str, workers: int, pipe: Connection) -> None:
    from guard.stores.redis import RedisStore

    store = RedisStore(url, workers=workers, secret=b"bench")
    await store.open()
    try:
        for _ in range(20):
            answer = store.take(_WARM, b"warm")
            if not isinstance(answer, Admission):
                await answer
        pipe.send("ready")
        while (order := await asyncio.to_thread(pipe.recv)) is not None:
            pipe.send(await _offer(store, order))
    finally:
        await store.close()


async def _offer(store, order: _Order) -> Told:
    clock, count_ns = time.monotonic, time.perf_counter_ns
    local, errors = store.local, store.errors
    told: list[tuple[bool, bool, float]] = []  # admitted, had to wait, us
    waiting: list[Future[Admission]] = []

    def later(at: int, answer: Future[Admission]) -> None:
        told.append((answer.result().allowed, True, (count_ns() - at) / 1e3))

    first = 0.0
    for number in range(order.count):
        # Who is behind does not wait, but lets answers come in.
        await asyncio.sleep(max(0.0, order.begin + number * order.every - clock()))
        first = first or clock()
        at = count_ns()
        answer = store.take(order.limit, order.key)
        if isinstance(answer, Admission):
            told.append((answer.allowed, False, (count_ns() - at) / 1e3))
        else:
            answer.add_done_callback(partial(later, at))
            waiting.append(answer)
    last = clock()
    await asyncio.gather(*waiting)
    await asyncio.sleep(0)
    admitted = sum(allowed for allowed, _, _ in told)
    asked = sum(waited and not allowed for allowed, waited, _ in told)
    us = [taken for _, _, taken in told]
    return Told(first, last, admitted, len(told) - admitted, asked, store.local - local, store.errors - errors, us)


# -- the fleet ---------------------------------------------------------------------------------------------


class _Fleet:
    """So many workers, ready to be told what to offer. A context manager: they end with it."""

    def __init__(self, url: str, size: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for _ in range(size):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(url, size, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def __enter__(self) -> _Fleet:
        return self

    def wait_ready(self) -> None:
        self._hear(READY_WITHIN_S)

    def offer(self, scene: Scene, key: bytes) -> list[Told]:
        """Everybody offers an equal part, one after another in time."""
        size, begin = len(self._pipes), time.monotonic() + 0.2
        count = round(scene.offered * SECONDS / size)
        for number, pipe in enumerate(self._pipes):
            pipe.send(_Order(scene.limit, key, begin + number / scene.offered, size / scene.offered, count))
        return self._hear(SECONDS + 30.0)

    def _hear(self, within_s: float) -> list:
        give_up, heard = time.monotonic() + within_s, []
        for pipe in self._pipes:
            try:
                if not pipe.poll(max(0.0, give_up - time.monotonic())):
                    raise BenchError(f"a worker of the flood said nothing for {within_s:.0f} s")
                heard.append(pipe.recv())
            except (EOFError, OSError):
                raise BenchError("a worker of the flood has ended; its last words are above") from None
        return heard

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.send(None)
        for process in self._processes:
            process.join(5.0)
            if process.is_alive():
                process.kill()
                process.join()


# -- measuring ---------------------------------------------------------------------------------------------


def measure(directory: Path, core: set[int] | None, say: Callable[[str], None]) -> tuple[list[Found], int]:
    """Every scene, and the most scripts that one worker called in one tick of its loop."""
    server, socket, port = start_store(directory, core, "flood")
    store = Store(server, port)
    try:
        found: list[Found] = []
        for size in dict.fromkeys(scene.workers for scene in SCENES):
            with _Fleet(f"unix://{socket}", size) as fleet:
                fleet.wait_ready()
                for scene in (scene for scene in SCENES if scene.workers == size):
                    found.append(_run_undisturbed(fleet, scene, store))
                    say(f"{scene.name}, {scene.limit.precision}: {found[-1].admitted:,} of {found[-1].ideal:,}")
        return found, asyncio.run(_most_in_a_tick(f"unix://{socket}"))
    finally:
        store.close()
        server.stop()


def _run_undisturbed(fleet: _Fleet, scene: Scene, store: Store) -> Found:
    """The scene, again when the server was late for somebody: it is the shared count that is held to what may be."""
    for number in range(1, TRIES + 1):
        found = _run(fleet, scene, f"client {scene.offered} {scene.limit.precision} {number}".encode(), store)
        if not found.local:
            break
    return found._replace(tries=number)


def _run(fleet: _Fleet, scene: Scene, key: bytes, store: Store) -> Found:
    before = store.counts()[1]
    told = fleet.offer(scene, key)
    scripts = store.counts()[1] - before
    seconds = max(one.last for one in told) - min(one.first for one in told)
    admitted, refused = sum(one.admitted for one in told), sum(one.refused for one in told)
    us = sorted(taken for one in told for taken in one.us)
    ideal = scene.limit.burst + floor(seconds / scene.limit.emission_s)
    return Found(
        scene,
        admitted + refused,
        seconds,
        admitted,
        min(ideal, admitted + refused),
        scripts,
        sum(one.asked for one in told) / refused if refused else 0.0,
        sum(one.local for one in told),
        sum(one.errors for one in told),
        us[len(us) // 2],
        us[len(us) * 99 // 100],
        1,
    )


async def _most_in_a_tick(url: str) -> int:
    """64 clients ask in each of 500 ticks, a fourth of them for the first time."""
    from guard.stores.redis import RedisStore

    store, most = RedisStore(url, workers=1, secret=b"bench"), 0
    await store.open()
    waiting: list[Future[Admission]] = []
    for tick in range(TICKS):
        for number in range(EACH_TICK):
            answer = store.take(_HIGH, b"tick %d" % (tick * EACH_TICK // 4 + number))
            if not isinstance(answer, Admission):
                waiting.append(answer)
        before = store.scripts
        await asyncio.sleep(0)
        most = max(most, store.scripts - before)
    await asyncio.gather(*waiting)
    await store.close()
    return most


# -- writing -----------------------------------------------------------------------------------------------


def section(found: list[Found]) -> Section:
    head: Cells = ("flood on one key", "limit", "requests", "admitted", "may be", "admitted/may be")
    head += ("scripts/req", "scripts/refused", "take p50 us", "p99", "local", "tries")
    body: list[Cells] = [
        (
            one.scene.name,
            one.scene.limit.precision,
            f"{one.requests:,}",
            f"{one.admitted:,}",
            f"{one.ideal:,}",
            f"{one.of_ideal:.2f}",
            f"{one.per_request:.4f}",
            f"{one.for_refused:.4f}" if one.admitted < one.requests else "",
            f"{one.p50_us:.1f}",
            f"{one.p99_us:,.0f}",
            f"{one.local:,}",
            f"{one.tries}",
        )
        for one in found
    ]
    return f"Table 8. A flood on one key for {SECONDS} s, each worker a process", head, body


def bars(found: list[Found], most_in_a_tick: int) -> list[Bar]:
    made: list[Bar] = []
    for one in found:
        name, said = f"{one.scene.name}, {one.scene.limit.precision}", f"{one.of_ideal:.2f}"
        if one.scene.limit.count == _HIGH.count:
            made.append(Bar(f"nobody is refused, {name}", "1.00", said, one.admitted == one.requests))
        elif one.scene.offered >= 2_000:
            made.append(Bar(f"admitted of what may be, {name}", "1.00", said, one.admitted == one.ideal))
        else:
            made.append(Bar(f"admitted of what may be, {name}", "<= 1.00", said, one.admitted <= one.ideal))
        if one.scene.offered >= 2_000 and one.admitted < one.requests:
            calls = one.for_refused
            made.append(Bar(f"script calls per refused request, {name}", "< 0.01", f"{calls:.4f}", calls < 0.01))
        if one.scene.limit.count == _HIGH.count and one.scene.limit.precision == "leased":
            calls = one.per_request
            made.append(Bar(f"script calls per request, hot key, {name}", "<= 0.05", f"{calls:.4f}", calls <= 0.05))
    ticks = f"script calls in one tick of a worker, at most, {EACH_TICK} clients a tick"
    made.append(Bar(ticks, "<= 1", str(most_in_a_tick), most_in_a_tick <= 1))
    return made

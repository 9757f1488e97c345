"""Requests at a steady pace while things break, and what became of each. The law of this file: nothing is left out.

Latencies are fair: what this process was itself late by, because the machine is busy, is nobody's fault.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple, Protocol

from guard.model import Admission, Limit

BACK_WITHIN_S = 2.0
"""So soon after its server is well again does a store count there."""


class Taker(Protocol):
    """What we need of a store here."""

    def take(self, limit: Limit, key: bytes) -> Admission | asyncio.Future[Admission]: ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...


class Answer(NamedTuple):
    """One call: when it was made, when it was answered, and how."""

    called: float
    returned: float
    worker: int
    key: bytes
    admission: Admission

    @property
    def shared(self) -> bool:
        return self.admission.shared

    @property
    def allowed(self) -> bool:
        return self.admission.allowed


class Load:
    """`per_s` calls a second, in turn over `stores` and `keys`, from entering to leaving."""

    def __init__(self, stores: Sequence[Taker], limit: Limit, keys: Sequence[bytes], per_s: float) -> None:
        self.answers: list[Answer] = []
        self.raised: list[BaseException] = []
        self._stores = stores
        self._limit = limit
        self._keys = keys
        self._every_s = 1 / per_s
        self._waiting: set[asyncio.Future[Admission]] = set()
        self._late: list[tuple[float, float]] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._pace()), asyncio.create_task(self._beat())]
        return self

    async def __aexit__(self, error: object, *_: object) -> None:
        self._tasks[0].cancel()
        if self._waiting:
            await asyncio.wait(set(self._waiting), timeout=1)
        self._tasks[1].cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if error is None:
            assert not self._waiting, f"{len(self._waiting)} calls were never answered"
            assert not self.raised, self.raised[0]

    async def _pace(self) -> None:
        began, number = time.monotonic(), 0
        while True:
            while began + number * self._every_s <= time.monotonic():
                self._call(number)
                number += 1
            await asyncio.sleep(began + number * self._every_s - time.monotonic())

    async def _beat(self) -> None:
        while True:
            due = time.monotonic() + 0.004
            await asyncio.sleep(0.004)
            now = time.monotonic()
            if now - due > 0.001:
                self._late.append((now, now - due))

    def _call(self, number: int) -> None:
        worker = number % len(self._stores)
        key = self._keys[number // len(self._stores) % len(self._keys)]
        called = time.monotonic()

        def note(admission: Admission) -> None:
            self.answers.append(Answer(called, time.monotonic(), worker, key, admission))

        def done(future: asyncio.Future[Admission]) -> None:
            self._waiting.discard(future)
            if future.cancelled():
                self.raised.append(asyncio.CancelledError("a future of the store"))
            elif error := future.exception():
                self.raised.append(error)
            else:
                note(future.result())

        try:
            answer = self._stores[worker].take(self._limit, key)
        except Exception as error:  # noqa: BLE001 - to be told
            self.raised.append(error)
            return
        if isinstance(answer, Admission):
            note(answer)
        else:
            self._waiting.add(answer)
            answer.add_done_callback(done)

    # -- what became of it

    def since(self, moment: float) -> list[Answer]:
        """Those called from then on."""
        return [one for one in self.answers if one.called >= moment]

    def slow(self, over_s: float) -> list[Answer]:
        """Those who waited longer, this process's own lateness forgiven."""
        found = []
        for one in self.answers:
            if one.returned - one.called > over_s:
                own = [late for at, late in self._late if one.called <= at <= one.returned + 0.01]
                if one.returned - one.called - 2 * max(own, default=0.0) > over_s:
                    found.append(one)
        return found

    def says(self, holds: Callable[[Answer], bool], last: int = 1) -> Callable[[], bool]:
        """Does it hold for the last so many answers that are not there yet? For `eventually`."""
        begun = len(self.answers)

        def now() -> bool:
            return len(self.answers) - begun >= last and all(holds(one) for one in self.answers[-last:])

        return now

    async def more(self, count: int, within_s: float = 5.0) -> list[Answer]:
        """The next so many answers to calls made from now on."""
        moment, give_up = time.monotonic(), time.monotonic() + within_s
        while len(found := self.since(moment)) < count:
            assert time.monotonic() < give_up, f"{len(found)} answers in {within_s} s"
            await asyncio.sleep(0.005)
        return found


async def ask(store: Taker, limit: Limit, key: bytes = b"203.0.113.9") -> Admission:
    answer = store.take(limit, key)
    return answer if isinstance(answer, Admission) else await answer


@asynccontextmanager
async def opened(*stores: Taker) -> AsyncIterator[None]:
    try:
        for store in stores:
            await store.open()
        yield
    finally:
        for store in stores:
            await store.close()


STRAYS = 0.05


def shared_but_strays(answers: Sequence[Answer] | Sequence[Admission]) -> bool:
    """All were counted on the server, but for a few: on a machine that has other things to do, a server in full health
    is late now and then, and who would have to wait for it is answered here."""
    return sum(not one.shared for one in answers) <= STRAYS * len(answers)


def keys(count: int, begin: str = "client") -> list[bytes]:
    return [f"{begin} {number}".encode() for number in range(count)]


def within_bound(answers: Iterable[Answer], limit: Limit, extra: Callable[[float], float] = lambda _: 0) -> None:
    """No window holds more than floor(W / T) + burst + extra(W) admissions for one key.

    A call was decided somewhere between its two times. Whatever was called at or after `start` and had returned by
    `end` was surely decided within the window, so the bound must hold for every such pair.
    """
    by_key: dict[bytes, list[tuple[float, float]]] = {}
    for one in answers:
        if one.allowed:
            by_key.setdefault(one.key, []).append((one.called, one.returned))
    for admitted in by_key.values():
        admitted.sort()
        for first, (start, _) in enumerate(admitted):
            for number, end in enumerate(sorted(returned for _, returned in admitted[first:]), 1):
                width = end - start
                # One microsecond for the sums with floats.
                bound = math.floor((width + 1e-6) / limit.emission_s) + limit.burst + extra(width)
                assert number <= bound, f"{number} admitted in {width:.3f} s, at most {bound}"


def local_share(limit: Limit, workers: int, lasted_s: float, alone: int | None = None) -> int:
    """What `alone` of `workers` workers (all of them, if not said) may admit on top while nobody can be asked."""
    each = math.floor(lasted_s / (limit.emission_s * workers)) + max(1, limit.burst // workers)
    return each * (workers if alone is None else alone)

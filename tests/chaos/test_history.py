"""Eight real workers, one key, one real server, and a bad day: together they admit no more than was promised for it."""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier

import pytest

from guard.model import Limit
from guard.stores.redis import RedisStore
from tests.chaos.fleet import Node, node, wait_until
from tests.chaos.load import Answer, ask, local_share, within_bound
from tests.chaos.proxy import DOWN, Proxy, proxy

WORKERS = 8
CALLS = 250
EVERY_S = 0.006
RATE = Limit("fleet", 100, 1.0, 40)
EXACT = Limit("exact", 100, 1.0, 40, precision="exact")
SCARCE = Limit("scarce", 1, 3600.0, 200, precision="exact")

History = list[Answer]


def work(
    number: int,
    port: int,
    bad_day: bool,
    together: Barrier,
    mailbox: multiprocessing.SimpleQueue[tuple[History, int]],
) -> None:
    """One worker behind a network of its own: 250 paced calls under each limit, with their times on the machine's
    clock. The limit's name stands for the key."""

    async def run() -> tuple[History, int]:
        history: History = []
        # Eight processes on two cores are late by themselves; on a good day that shall not count as a fault.
        async with proxy(port) as network:
            store = RedisStore(network.url, workers=WORKERS, timeout_s=0.05 if bad_day else 1.0)
            await store.open()
            try:
                await asyncio.to_thread(together.wait, 30)
                began = time.monotonic()
                for call in range(CALLS):
                    await asyncio.sleep(max(0.0, began + call * EVERY_S - time.monotonic()))
                    if bad_day:
                        break_something(network, number, call)
                    called = time.monotonic()

                    async def one(limit: Limit, called: float = called) -> Answer:
                        admission = await ask(store, limit, b"one key")
                        return Answer(called, time.monotonic(), number, limit.name.encode(), admission)

                    history += await asyncio.gather(one(RATE), one(EXACT), one(SCARCE))
                return history, store.errors
            finally:
                await store.close()

    mailbox.put(asyncio.run(run()))


def break_something(network: Proxy, number: int, call: int) -> None:
    """Worker 0 is far away, 1 is cut off for a while, 2 hears nothing for a while, 3 loses its connection."""
    later = asyncio.get_running_loop().call_later
    match number, call:
        case 0, 50:
            network.delay(0.010)
        case 1, 100:
            network.blackhole()
            later(0.3, network.passing)
        case 2, 100:
            network.blackhole(DOWN)
            later(0.3, network.passing)
        case 3, 60 | 120 | 180:
            network.reset()
            network.passing()


def live(server: Node, bad_day: bool, meanwhile: Callable[[], None] = lambda: None) -> tuple[History, int]:
    """What all workers saw, by time, and how many errors they counted."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])
    together = processes.Barrier(WORKERS + 1)
    mailbox = processes.SimpleQueue()
    workers = [
        processes.Process(target=work, args=(number, server.port, bad_day, together, mailbox))
        for number in range(WORKERS)
    ]
    try:
        for worker in workers:
            worker.start()
        together.wait(30)
        meanwhile()
        told = [mailbox.get() for _ in workers]
        for worker in workers:
            worker.join(10)
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.kill()
    history = sorted(answer for part, _ in told for answer in part)
    assert len(history) == 3 * WORKERS * CALLS
    return history, sum(errors for _, errors in told)


def under(limit: Limit, history: History) -> History:
    return [one for one in history if one.key == limit.name.encode()]


def alone_s(history: History) -> dict[int, float]:
    """How long each worker was without the server, at most: from the last word of it before to the first after."""
    lasted: dict[int, float] = {}
    for worker in range(WORKERS):
        before: float | None = None
        gone = False
        for one in (one for one in history if one.worker == worker):
            if one.shared:
                if gone and before is not None:
                    lasted[worker] = lasted.get(worker, 0.0) + one.returned - before
                before, gone = one.called, False
            else:
                gone = True
                before = one.called if before is None else before
        if gone and before is not None:
            lasted[worker] = lasted.get(worker, 0.0) + history[-1].returned - before
    return lasted


linux = pytest.mark.skipif(sys.platform != "linux", reason="needs one monotonic clock for all processes")


@linux
def test_on_a_good_day_eight_workers_admit_what_one_limit_admits() -> None:
    with node("valkey") as server:
        history, errors = live(server, bad_day=False)
    assert errors == 0
    assert all(one.shared for one in history)
    for limit in (RATE, EXACT):
        mine = under(limit, history)
        within_bound(mine, limit)
        full = limit.burst + (mine[-1].called - mine[0].called) / limit.emission_s
        assert len([one for one in mine if one.allowed]) >= 0.8 * full
    assert len([one for one in under(SCARCE, history) if one.allowed]) == SCARCE.burst


@linux
def test_on_a_bad_day_no_window_holds_more_than_the_weakened_bound() -> None:
    with node("valkey") as server:

        def hang() -> None:
            passed(0.9)
            server.pause()
            try:
                passed(0.15)
            finally:
                server.resume()

        history, errors = live(server, bad_day=True, meanwhile=hang)
    assert errors > 0
    for limit in (RATE, EXACT):
        mine = under(limit, history)
        within_bound((one for one in mine if one.shared), limit)
        lasted = alone_s(mine)
        assert lasted, "the bad day was a good one"

        def extra(width: float, limit: Limit = limit, lasted: dict[int, float] = lasted) -> int:
            return sum(local_share(limit, WORKERS, min(width, each_s), alone=1) for each_s in lasted.values())

        within_bound(mine, limit, extra)

    scarce = under(SCARCE, history)
    by_all = len([one for one in scarce if one.allowed and one.shared])
    assert SCARCE.burst - 60 <= by_all <= SCARCE.burst  # some were taken by calls whose answer was lost
    for worker in range(WORKERS):
        alone = [one for one in scarce if one.allowed and not one.shared and one.worker == worker]
        assert len(alone) <= SCARCE.burst // WORKERS
    assert max(one.returned - one.called for one in history) < 1.0


def passed(seconds: float) -> None:
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= until, seconds + 5, "time")

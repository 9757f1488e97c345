"""Eight processes, one key, one real Valkey: together they admit what one limit admits, and not nothing."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import sys
import time
from multiprocessing.synchronize import Barrier

import pytest

from guard.model import Admission, Limit
from guard.stores.redis import RedisStore
from tests.servers import server

WORKERS = 8
CALLS = 250
LIMIT = Limit("fleet", 100, 1.0, 20)
EVERY_S = 0.004

History = list[tuple[float, float, bool, bool]]


def work(url: str, together: Barrier, mailbox: multiprocessing.SimpleQueue[History]) -> None:
    """One worker: 250 paced calls, each logged as (t_call, t_return, admitted, shared) on the machine's clock."""

    async def run() -> History:
        store = RedisStore(url, workers=WORKERS, timeout_s=1.0)
        history: History = []
        await store.open()
        try:
            together.wait(30)
            began = time.monotonic()
            for number in range(CALLS):
                await asyncio.sleep(max(0.0, began + number * EVERY_S - time.monotonic()))
                called = time.monotonic()
                answer = store.take(LIMIT, b"one key")
                if not isinstance(answer, Admission):
                    answer = await answer
                history.append((called, time.monotonic(), answer.allowed, answer.shared))
        finally:
            await store.close()
        return history

    mailbox.put(asyncio.run(run()))


@pytest.mark.skipif(sys.platform != "linux", reason="needs one monotonic clock for all processes")
def test_eight_workers_admit_together_what_one_limit_admits() -> None:
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(WORKERS)
    mailbox = spawn.SimpleQueue()
    with server("valkey") as valkey:
        workers = [spawn.Process(target=work, args=(valkey.url, together, mailbox)) for _ in range(WORKERS)]
        for worker in workers:
            worker.start()
        history = sorted(entry for _ in workers for entry in mailbox.get())
        for worker in workers:
            worker.join()

    assert len(history) == WORKERS * CALLS
    assert all(shared for _, _, _, shared in history)

    # A call was decided somewhere between its two times. Whatever was called at or after `start` and had returned
    # by `end` was surely decided within the window, so the bound must hold for every such pair.
    admitted = [(called, returned) for called, returned, allowed, _ in history if allowed]
    for start, _ in admitted:
        ends = sorted(returned for called, returned in admitted if called >= start)
        for number, end in enumerate(ends, 1):
            assert number <= math.floor((end - start) / LIMIT.emission_s) + LIMIT.burst

    # And the limit is used: a demand twenty times the rate leaves at most one interval unused at a time.
    lasted = history[-1][0] - history[0][0]
    full = LIMIT.burst + lasted / LIMIT.emission_s
    assert len(admitted) >= 0.8 * full

"""The primary dies, its replica takes over: limits are local for as long as nobody is the primary, and no longer."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from guard.model import Limit
from guard.stores.redis import RedisStore
from tests.chaos.fleet import DOWN_AFTER_MS, guarded
from tests.chaos.load import BACK_WITHIN_S, Load, ask, keys, local_share, opened, shared_but_strays, within_bound
from tests.servers import eventually

RATE = Limit("rate", 100, 1.0, 20)
EXACT = Limit("exact", 1000, 1.0, 100_000, precision="exact")  # each request asks

ELECTED_WITHIN_S = 3.0
"""A Sentinel waits up to a second before it stands for election, and an election without a winner is repeated."""

LOST_S = 0.2
"""So much of the old primary's last words may not have reached the new one. On loopback, generous."""


@pytest.mark.anyio
async def test_after_a_failover_the_new_primary_counts(caplog: pytest.LogCaptureFixture) -> None:
    with guarded(replicas=2) as house:
        workers = [RedisStore(house.url, workers=2) for _ in range(2)]
        async with (
            opened(*workers),
            Load(workers, RATE, [b"hot"], 400) as hot,
            Load(workers, EXACT, keys(40), 400) as wide,
        ):
            assert shared_but_strays(await hot.more(100))
            caplog.clear()
            old = await asyncio.to_thread(house.kill_primary)
            killed = time.monotonic()
            await eventually(wide.says(lambda one: not one.shared), within_s=0.5)
            elected_s = await asyncio.to_thread(house.wait_failover, old)
            elected = time.monotonic()
            await eventually(wide.says(lambda one: one.shared, last=20), within_s=1.0)
            back_s = time.monotonic() - killed
            assert shared_but_strays(await hot.more(300))
            new = await asyncio.to_thread(house.primary)
            assert new is not old
            assert elected - killed < DOWN_AFTER_MS / 1e3 + ELECTED_WITHIN_S, elected_s

            # The old one comes back as a replica, and nobody takes it for what it was.
            await asyncio.to_thread(old.start)
            assert shared_but_strays(await wide.more(200))

    lost = int(LOST_S / RATE.emission_s) + RATE.burst
    within_bound(hot.answers, RATE, extra=lambda width: lost + local_share(RATE, 2, min(width, back_s)))
    for load in (hot, wide):
        for worker in range(2):
            assert len([one for one in load.slow(0.040) if one.worker == worker]) <= 5
    assert all(one.allowed for one in wide.answers)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) <= 2 * 3, warnings


@pytest.mark.anyio
async def test_a_switch_without_a_death_is_followed() -> None:
    """SENTINEL FAILOVER: the old primary lives on as a replica and refuses to write."""
    with guarded(replicas=1) as house:
        store = RedisStore(house.url)
        async with opened(store), Load([store], EXACT, keys(40), 400) as load:
            assert shared_but_strays(await load.more(100))
            old = house.primary()
            with house.sentinels[0].client() as client:
                client.execute_command("SENTINEL", "FAILOVER", "guard")
            await asyncio.to_thread(house.wait_failover, old)
            with house.primary().client() as client:
                await eventually(lambda: client.dbsize() >= 40, within_s=5)
            await eventually(load.says(lambda one: one.shared, last=20), within_s=BACK_WITHIN_S)
            assert shared_but_strays(await load.more(200))
        assert len(load.slow(0.040)) <= 5


@pytest.mark.anyio
async def test_sentinels_that_are_away_are_not_needed_while_the_primary_lives() -> None:
    with guarded(replicas=1) as house:
        first, *rest = house.sentinels
        first.kill()  # the first one asked does not answer
        store = RedisStore(house.url)
        async with opened(store), Load([store], EXACT, keys(40), 400) as load:
            await eventually(load.says(lambda one: one.shared, last=20), within_s=BACK_WITHIN_S)
            for sentinel in rest:
                sentinel.kill()
            began = time.monotonic()
            await eventually(lambda: time.monotonic() > began + 1.0, within_s=3)
            assert shared_but_strays(load.since(began))
            house.nodes[0].kill()
            await eventually(lambda: store.breaker_open, within_s=0.5)
            assert not any(one.shared for one in await load.more(400))
            assert (await ask(store, EXACT)).allowed
        assert len(load.slow(0.040)) <= 5

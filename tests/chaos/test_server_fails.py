"""The server is gone, hangs, is slow, or refuses us: nobody waits, limits are local, and come back by themselves."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from guard.model import Admission, Limit
from guard.stores.redis import RedisStore
from tests.chaos.fleet import Node, node
from tests.chaos.load import BACK_WITHIN_S, Load, ask, keys, local_share, opened, shared_but_strays
from tests.chaos.proxy import proxy
from tests.chaos.test_fleet import KINDS
from tests.servers import eventually

WIDE = Limit("wide", 1_000_000, 1.0, 100_000)
SCARCE = Limit("scarce", 1, 3600.0, 8)  # nothing comes back within a test
EXACT = Limit("exact", 1000, 1.0, 100_000, precision="exact")  # each request asks

PER_S = 500
A_WHILE = 300
"""So many calls last longer than it takes to be tried again."""

NOTICED_S = 0.05
NOTICED_BY = 5
"""So many requests of each worker may wait longer than NOTICED_S when a server goes away or comes back."""


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Node]:
    with node(request.param) as one:
        yield one


@pytest.fixture
def valkey() -> Iterator[Node]:
    with node("valkey") as one:
        yield one


async def passed(seconds: float) -> None:
    moment = time.monotonic() + seconds
    await eventually(lambda: time.monotonic() >= moment, within_s=seconds + 5)


async def is_shared_again(load: Load) -> None:
    """All is counted on the server, soon, and stays there."""
    await eventually(load.says(lambda one: one.shared), within_s=BACK_WITHIN_S)
    assert shared_but_strays(await load.more(100))


# -- gone


@pytest.mark.anyio
async def test_a_server_that_is_down_at_the_start_is_found_when_it_comes(server: Node) -> None:
    server.kill()
    store = RedisStore(server.url)
    began = time.monotonic()
    async with opened(store), Load([store], WIDE, keys(50), PER_S) as load:
        assert time.monotonic() - began < 0.5
        assert store.breaker_open
        assert not any(one.shared for one in await load.more(100))
        await asyncio.to_thread(server.start)
        await is_shared_again(load)
    assert len(load.slow(NOTICED_S)) <= NOTICED_BY


@pytest.mark.anyio
@pytest.mark.parametrize("limit", [WIDE, EXACT], ids=["leased", "exact"])
async def test_a_server_killed_under_load_is_noticed_by_few_and_missed_by_nobody(server: Node, limit: Limit) -> None:
    workers = [RedisStore(server.url, workers=2) for _ in range(2)]
    async with opened(*workers), Load(workers, limit, keys(40), 2 * PER_S) as load:
        assert shared_but_strays(await load.more(200))
        server.kill()
        await eventually(lambda: all(store.breaker_open for store in workers), within_s=0.5)
        assert not any(one.shared for one in await load.more(300))
        await asyncio.to_thread(server.start)
        await is_shared_again(load)
    for worker in range(2):
        assert len([one for one in load.slow(NOTICED_S) if one.worker == worker]) <= NOTICED_BY
    assert all(one.allowed for one in load.answers)


@pytest.mark.anyio
async def test_a_dead_server_admits_no_more_than_each_workers_share_on_top(valkey: Node) -> None:
    workers = [RedisStore(valkey.url, workers=4, timeout_s=0.5) for _ in range(4)]  # a busy machine is not the matter
    async with opened(*workers):
        for store in workers:
            assert (await ask(store, SCARCE, b"one")).shared
        valkey.kill()
        await eventually(lambda: all(store.breaker_open for store in workers), within_s=0.5)
        async with Load(workers, SCARCE, [b"one"], PER_S) as load:
            await load.more(200)
    assert not any(one.shared for one in load.answers)
    assert len([one for one in load.answers if one.allowed]) == local_share(SCARCE, 4, 0) == 8


# -- hanging, slow


@pytest.mark.anyio
async def test_a_hanging_server_is_noticed_by_few_and_taken_back(server: Node) -> None:
    store = RedisStore(server.url)
    async with opened(store), Load([store], EXACT, keys(40), PER_S) as load:
        assert shared_but_strays(await load.more(100))
        server.pause()
        hung = time.monotonic()
        try:
            await eventually(lambda: store.breaker_open, within_s=0.5)
            alone = await load.more(100)
            assert not any(one.shared for one in alone)
            await passed(hung + 1.0 - time.monotonic())
            assert store.breaker_open
        finally:
            server.resume()
        await is_shared_again(load)
    assert len(load.slow(NOTICED_S)) <= NOTICED_BY
    assert not load.slow(0.075)


@pytest.mark.anyio
async def test_opening_towards_a_server_that_hangs_or_is_full_is_bounded(valkey: Node) -> None:
    valkey.pause()
    try:
        store = RedisStore(valkey.url)
        began = time.monotonic()
        async with opened(store):
            assert time.monotonic() - began < 0.5
            assert not (await ask(store, WIDE)).shared
            valkey.resume()
            await eventually(lambda: not store.breaker_open, within_s=BACK_WITHIN_S)
    finally:
        valkey.resume()


@pytest.mark.anyio
async def test_a_server_20_ms_away_is_used_all_the_same(server: Node) -> None:
    async with proxy(server.port) as network:
        network.delay(0.010)  # each way
        store = RedisStore(network.url)
        async with opened(store), Load([store], EXACT, keys(40), PER_S) as load:
            await eventually(load.says(lambda one: one.shared, last=20), within_s=BACK_WITHIN_S)
            told = await load.more(500)
            assert shared_but_strays(told), f"{sum(not one.shared for one in told)} of {len(told)} are local"
            assert not store.breaker_open
        assert min(one.returned - one.called for one in told if one.shared) >= 0.019
        assert network.connections <= 2


@pytest.mark.anyio
async def test_a_server_200_ms_away_is_not_waited_for(server: Node) -> None:
    async with proxy(server.port) as network:
        store = RedisStore(network.url)
        async with opened(store), Load([store], EXACT, keys(40), PER_S) as load:
            assert shared_but_strays(await load.more(50))
            network.delay(0.200)
            await eventually(lambda: store.breaker_open, within_s=0.5)
            assert not any(one.shared for one in await load.more(A_WHILE))
            network.passing()
            await is_shared_again(load)
        assert len(load.slow(NOTICED_S)) <= NOTICED_BY
        # It is tried a few times a second, not once a request.
        assert network.connections <= 10


@pytest.mark.anyio
@pytest.mark.parametrize("fault", ["reset", "truncate", "half-close", "thin line"])
async def test_a_broken_connection_is_replaced_and_nobody_waits_for_it(server: Node, fault: str) -> None:
    async with proxy(server.port) as network:
        store = RedisStore(network.url)
        async with opened(store), Load([store], EXACT, keys(40), PER_S) as load:
            assert shared_but_strays(await load.more(50))
            match fault:
                case "reset":
                    network.reset()
                case "truncate":
                    network.truncate(7, "down")
                case "half-close":
                    network.half_close("down")
                case "thin line":
                    network.throttle(200, "down")
            await eventually(lambda: store.breaker_open, within_s=1, every_s=0.001)
            network.passing()
            await is_shared_again(load)
        # On a thin line an answer may still come through, and hope with it, and then some more find out.
        assert len(load.slow(NOTICED_S)) <= NOTICED_BY * (2 if fault == "thin line" else 1)


@pytest.mark.anyio
@pytest.mark.parametrize("busy_s", [0.005, 0.010, 0.020, 0.030])
async def test_a_worker_that_is_busy_itself_does_not_blame_its_server(valkey: Node, busy_s: float) -> None:
    """Work of others in the same loop, of a size that happens all the time, right after a request has asked."""
    store = RedisStore(valkey.url)
    async with opened(store):
        answers = []
        for turn in range(20):
            asked = [store.take(EXACT, key) for key in keys(20, f"turn {turn}")]
            until = time.monotonic() + busy_s
            while time.monotonic() < until:
                pass
            await asyncio.sleep(0)
            answers += [one if isinstance(one, Admission) else await one for one in asked]
        assert shared_but_strays(answers), f"{sum(not one.shared for one in answers)} of {len(answers)} are local"
        assert store.errors == 0


# -- there, but not for us


def replica(client: redis.Redis) -> Callable[[], object]:
    client.replicaof("127.0.0.1", "1")
    return lambda: client.replicaof("NO", "ONE")


def full(client: redis.Redis) -> Callable[[], object]:
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1")
    return lambda: client.config_set("maxmemory", "0")


def no_scripts(client: redis.Redis) -> Callable[[], object]:
    client.execute_command("ACL", "SETUSER", "default", "-evalsha", "-eval")
    return lambda: client.execute_command("ACL", "SETUSER", "default", "+@all")


def no_keys(client: redis.Redis) -> Callable[[], object]:
    client.execute_command("ACL", "SETUSER", "default", "resetkeys", "~other:*")
    return lambda: client.execute_command("ACL", "SETUSER", "default", "allkeys")


@pytest.mark.anyio
@pytest.mark.parametrize("forbid", [replica, full, no_scripts, no_keys], ids=lambda one: one.__name__)
async def test_a_server_that_does_not_count_for_us_is_left_with_one_word_and_taken_back(
    server: Node, forbid: Callable[[redis.Redis], Callable[[], object]], caplog: pytest.LogCaptureFixture
) -> None:
    store = RedisStore(server.url)
    with server.client() as client:
        async with opened(store), Load([store], EXACT, keys(40), PER_S) as load:
            assert shared_but_strays(await load.more(50))
            caplog.clear()
            permit = forbid(client)
            await eventually(lambda: store.breaker_open, within_s=0.5)
            assert not any(one.shared for one in await load.more(A_WHILE))
            warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
            assert len(warnings) == 1, [record.getMessage() for record in warnings]
            permit()
            await is_shared_again(load)
    assert len(load.slow(NOTICED_S)) <= NOTICED_BY
    assert all(one.allowed for one in load.answers)


@pytest.mark.anyio
async def test_a_password_that_no_longer_opens_is_not_shown_to_anybody(
    server: Node, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with server.client() as client:
        client.config_set("requirepass", "old-canary")
        store = RedisStore(f"redis://:old-canary@127.0.0.1:{server.port}/0")
        async with opened(store), Load([store], EXACT, keys(40), PER_S) as load:
            assert shared_but_strays(await load.more(50))
            client.config_set("requirepass", "new-canary")
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await eventually(lambda: store.breaker_open, within_s=0.5)
            await eventually(load.says(lambda one: not one.shared, last=A_WHILE), within_s=3)
            assert "canary" not in repr(store)
            client.config_set("requirepass", "old-canary")
            await is_shared_again(load)
    assert "canary" not in caplog.text
    assert any(record.levelno == logging.WARNING for record in caplog.records)
    assert len(load.slow(NOTICED_S)) <= NOTICED_BY


@pytest.mark.anyio
async def test_a_server_with_no_place_left_is_not_waited_for(server: Node) -> None:
    with server.client() as looking:
        looking.ping()
        looking.config_set("maxclients", "1")
        store = RedisStore(server.url)
        async with opened(store):
            began = time.monotonic()
            answers = await asyncio.gather(*(ask(store, WIDE, key) for key in keys(50)))
            assert time.monotonic() - began < 0.2
            assert all(one.allowed and not one.shared for one in answers)
            looking.config_set("maxclients", "10")

            async def all_are_shared() -> bool:  # one late answer, on a busy machine, is all fifty of them
                return shared_but_strays(await asyncio.gather(*(ask(store, WIDE, key) for key in keys(50))))

            await eventually(all_are_shared, within_s=BACK_WITHIN_S)
            # Fifty at once did not make fifty connections.
            assert len(looking.client_list()) <= 4


@pytest.mark.anyio
async def test_a_crowd_before_a_hanging_server_is_answered_by_the_deadline(server: Node) -> None:
    store = RedisStore(server.url)
    async with opened(store):
        await ask(store, EXACT)
        server.pause()
        try:
            for _ in range(3):  # the first crowd opens the breaker, the next ones find it open
                began = time.monotonic()
                asked = [store.take(EXACT, key) for key in keys(12_000)]
                calling = time.monotonic() - began
                answers = [one if isinstance(one, Admission) else await asyncio.wait_for(one, 5) for one in asked]
                assert time.monotonic() - began < 0.1 + 4 * calling
                assert not any(one.shared for one in answers)
                assert all(one.allowed for one in answers)
        finally:
            server.resume()
        await eventually(lambda: not store.breaker_open, within_s=BACK_WITHIN_S)

        async def asked_again() -> bool:
            return (await ask(store, EXACT)).shared

        await eventually(asked_again, within_s=BACK_WITHIN_S)

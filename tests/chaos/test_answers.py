"""Answers that come late, to others, or about something else: nothing is admitted twice, and no answer is mixed up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest

from guard.model import Limit
from guard.stores.redis import RedisStore
from tests.chaos.fleet import Node, node
from tests.chaos.load import BACK_WITHIN_S, Load, ask, keys, opened, shared_but_strays
from tests.chaos.proxy import DOWN, proxy
from tests.chaos.test_fleet import KINDS
from tests.chaos.test_server_fails import EXACT, PER_S, is_shared_again
from tests.servers import eventually

CALM_S = 0.5
"""A deadline for tests that are about something else than time."""

BUDGET = Limit("budget", 1, 3600.0, 60, precision="exact")  # nothing comes back within a test
BURSTS = [Limit(f"burst {burst}", 1, 1.0, burst, precision="exact") for burst in (3, 11, 500, 7_000)]


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Node]:
    with node(request.param) as one:
        yield one


def script_calls(server: Node) -> int:
    with server.client() as client:
        stats = client.info("commandstats")
    return sum(told["calls"] for name, told in stats.items() if name in ("cmdstat_evalsha", "cmdstat_eval"))


@pytest.mark.anyio
async def test_what_ran_on_the_server_but_was_not_answered_admits_nobody_twice(server: Node) -> None:
    async with proxy(server.port) as network:
        store = RedisStore(network.url, workers=10)
        async with opened(store), Load([store], BUDGET, [b"one"], 100) as load:
            await load.more(10)
            network.blackhole(DOWN)
            await eventually(lambda: store.breaker_open, within_s=0.5)
            await eventually(load.says(lambda one: not one.shared, last=5), within_s=1)
            network.passing()
            await eventually(load.says(lambda one: one.shared), within_s=BACK_WITHIN_S)
        by_all = len([one for one in load.answers if one.shared and one.allowed])
        alone = [one for one in load.answers if not one.shared]
        unanswered = len([one for one in alone if one.returned - one.called > 0.001])
        async with opened(store):
            left = (await ask(store, BUDGET, b"one")).remaining
    taken = BUDGET.burst - 1 - left
    assert 0 <= taken - by_all <= unanswered
    assert unanswered >= 1
    assert len([one for one in alone if one.allowed]) <= BUDGET.burst // 10


@pytest.mark.anyio
async def test_a_forgotten_script_costs_one_more_round_trip_and_no_error(server: Node) -> None:
    store = RedisStore(server.url, timeout_s=CALM_S)
    with server.client() as client:
        async with opened(store), Load([store], EXACT, keys(40), PER_S) as load:
            for _ in range(5):
                await load.more(20)
                client.script_flush()
            await load.more(20)
        assert shared_but_strays(load.answers)
        assert store.errors == 0

        async with opened(store):
            await ask(store, EXACT)
            before = script_calls(server)
            client.script_flush()
            assert (await ask(store, EXACT)).shared
            # commandstats counts failed calls, too: the one that missed the script, and the one that ran.
            assert script_calls(server) - before <= 2


@pytest.mark.anyio
async def test_a_server_that_begins_anew_counts_anew(server: Node) -> None:
    few = Limit("few", 1, 3600.0, 5, precision="exact")
    store = RedisStore(server.url)
    async with opened(store):
        assert [(await ask(store, few)).remaining for _ in range(3)] == [4, 3, 2]
        server.kill()
        server.start()
        await eventually(lambda: not store.breaker_open, within_s=BACK_WITHIN_S)

        async def counted_there() -> bool:
            return (await ask(store, few, b"another")).shared

        await eventually(counted_there, within_s=BACK_WITHIN_S)
        answer = await ask(store, few)
        assert (answer.shared, answer.remaining) == (True, 4)


@pytest.mark.anyio
@pytest.mark.parametrize("kind_of_key", ["list", "text", "hash"])
async def test_a_key_of_somebody_else_is_never_touched_and_only_its_limit_is_local(
    server: Node, kind_of_key: str
) -> None:
    others = keys(20, "other")
    store = RedisStore(server.url, timeout_s=CALM_S)
    with server.client() as client:
        async with opened(store):
            await ask(store, EXACT, b"somebody")
            before = set(client.keys("*"))
            assert (await ask(store, EXACT, b"mine")).shared
            (name,) = set(client.keys("*")) - before
            client.delete(name)
            match kind_of_key:
                case "list":
                    client.lpush(name, "theirs")
                case "text":
                    client.set(name, "theirs")
                case "hash":
                    client.hset(name, "theirs", "1")
            theirs = client.dump(name)
            rest = []
            for _ in range(20):
                mine, *more = await asyncio.gather(
                    ask(store, EXACT, b"mine"), *(ask(store, EXACT, key) for key in others)
                )
                assert mine.allowed and not mine.shared
                rest += more
            assert all(one.allowed for one in rest)
            assert shared_but_strays(rest)
            assert not store.breaker_open
            assert client.dump(name) == theirs
            assert client.ttl(name) == -1
            client.delete(name)
            assert (await ask(store, EXACT, b"mine")).shared


@pytest.mark.anyio
@pytest.mark.parametrize("trouble", ["none", "late", "cut", "held"])
async def test_who_leaves_takes_no_answer_along_and_leaves_none_behind(server: Node, trouble: str) -> None:
    """Each call has a key of its own, so what is left of its burst tells whose answer it is."""
    chance = random.Random(7)
    async with proxy(server.port) as network:
        store = RedisStore(network.url)
        async with opened(store):
            number = shared = 0
            for turn in range(40):
                match trouble, turn % 20:
                    case "late", _:
                        network.delay(chance.choice([0.001, 0.005, 0.010]))  # each way
                    case "cut", 10:
                        network.reset()
                        network.passing()
                    case "held", 10:
                        network.blackhole(DOWN)
                    case "held", 12:
                        network.passing()
                asked = []
                for _ in range(20):
                    number += 1
                    limit = chance.choice(BURSTS)
                    asked.append((limit, asyncio.create_task(ask(store, limit, b"%d" % number))))
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(chance.choice([0, 0, 0.001]))
                staying = [(limit, task) for limit, task in asked if chance.random() < 0.5 or not task.cancel()]
                for limit, task in staying:
                    answer = await task
                    assert answer.allowed
                    assert answer.remaining == limit.burst - 1
                    shared += answer.shared
                if turn % 20 == 19:
                    await eventually(lambda: not store.breaker_open, within_s=BACK_WITHIN_S)
            assert shared >= 0.3 * number / 2
            assert not [task for _, task in asked if not task.done()]
            if trouble == "none":
                assert store.errors == 0


@pytest.mark.anyio
async def test_the_future_of_who_left_disturbs_nobody(server: Node) -> None:
    store = RedisStore(server.url, timeout_s=CALM_S)
    async with opened(store), Load([store], EXACT, keys(40), PER_S) as load:
        for number in range(200):
            answer = store.take(BUDGET, b"leaving %d" % number)
            if isinstance(answer, asyncio.Future):
                answer.cancel()
            if number % 10 == 0:
                await asyncio.sleep(0.002)
        await is_shared_again(load)
    assert shared_but_strays(load.answers)
    assert store.errors == 0


# -- what is told behind requests


@pytest.mark.anyio
async def test_places_that_were_asked_for_and_not_answered_are_given_back(server: Node) -> None:
    """The server gave them away, nobody heard of it; whoever came in was counted here, and has left."""
    few = Limit("few at once", 6, 1.0, 6, kind="concurrent")
    async with proxy(server.port) as network:
        store, other = (
            RedisStore(network.url, workers=2, timeout_s=CALM_S),
            RedisStore(server.url, workers=2, timeout_s=CALM_S),
        )
        async with opened(store, other):
            held = [await ask(store, few) for _ in range(2)]
            assert all(one.allowed and one.shared for one in held)
            network.blackhole(DOWN)
            unheard = await asyncio.gather(*(ask(store, few) for _ in range(3)))
            assert not any(one.shared for one in unheard)
            assert sum(one.allowed for one in unheard) <= 1  # half of six, less the two that are held
            for one in [*held, *unheard]:
                if one.allowed:
                    store.leave(few, b"203.0.113.9")
            network.passing()
            await eventually(lambda: not store.breaker_open, within_s=BACK_WITHIN_S)

            async def all_are_free() -> bool:
                answers = [await ask(other, few) for _ in range(7)]
                for one in answers:
                    if one.allowed:
                        other.leave(few, b"203.0.113.9")
                return [one.allowed for one in answers] == [True] * 6 + [False]

            await eventually(all_are_free, within_s=BACK_WITHIN_S, every_s=0.3)
            assert (await ask(store, few)).shared


@pytest.mark.anyio
async def test_what_was_charged_while_nobody_listened_is_told_later(server: Node) -> None:
    budget = Limit("budget", 1024, 3600.0, 200 * 1024, unit="bytes")
    async with proxy(server.port) as network:
        store, other = RedisStore(network.url, workers=2), RedisStore(server.url, workers=2)
        async with opened(store, other):
            assert (await ask(store, budget)).allowed
            assert (await ask(other, budget)).allowed
            network.blackhole()
            store.charge(budget, b"203.0.113.9", 150 * 1024)
            assert not (await ask(store, budget)).shared
            await eventually(lambda: store.breaker_open, within_s=1)
            store.charge(budget, b"203.0.113.9", 150 * 1024)
            assert not (await ask(store, budget)).allowed  # here it counts at once
            network.reset()  # what was held is lost
            network.passing()

            async def refused_by_all() -> bool:
                answers = [await ask(one, budget) for one in (store, other)]
                return all(one.shared and not one.allowed for one in answers)

            await eventually(refused_by_all, within_s=BACK_WITHIN_S + 1.5)

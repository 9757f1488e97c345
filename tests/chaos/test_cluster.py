"""Slots move, nodes die: the store asks where the answer is, and what nobody answers is local."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from guard.model import Limit
from guard.stores.redis import RedisStore
from tests.chaos.fleet import Cluster, Node, cluster, wait_until
from tests.chaos.load import (
    BACK_WITHIN_S,
    Load,
    ask,
    keys,
    local_share,
    opened,
    shared_but_strays,
    within_bound,
)
from tests.chaos.test_fleet import KINDS
from tests.servers import eventually

PLENTY = Limit("plenty", 1, 1.0, 100, precision="exact")  # each request asks, and is written down for a second
RATE = Limit("rate", 200, 1.0, 20, precision="exact")
LEASED = Limit("leased", 200, 1.0, 20)
CALM_S = 0.5


@pytest.fixture(scope="module", params=KINDS)
def three(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with cluster(request.param, "--cluster-require-full-coverage", "no") as one:
        yield one


async def reached(*stores: RedisStore) -> None:
    """Until the links to all nodes are up."""
    for store in stores:

        async def all_shared(store: RedisStore = store) -> bool:
            answers = await asyncio.gather(*(ask(store, PLENTY, key) for key in keys(200, "reached")))
            return shared_but_strays(answers)

        await eventually(all_shared, within_s=BACK_WITHIN_S)


async def where(three: Cluster, store: RedisStore, limit: Limit, key: bytes) -> tuple[int, Node, Node]:
    """The slot that a key is counted in, who has it, and somebody who has not."""
    before = set(three.keys())
    assert (await ask(store, limit, key)).shared
    names = set(three.keys()) - before
    slot = three.slot_of(names.pop())
    source = three.owner(slot)
    return slot, source, next(node for node in three.nodes if node is not source)


@pytest.mark.anyio
async def test_all_nodes_are_used_and_one_is_enough_to_find_them(three: Cluster) -> None:
    first = three.nodes[0]
    for url in (three.url, f"redis+cluster://127.0.0.1:{first.port}"):
        store = RedisStore(url, timeout_s=CALM_S)
        async with opened(store):
            answers = [await ask(store, PLENTY, key) for key in keys(200, url)]
            assert shared_but_strays(answers)
        assert store.errors == 0
    for node in three.nodes:
        with node.client() as client:
            assert client.dbsize() > 30


@pytest.mark.anyio
@pytest.mark.parametrize("limit", [RATE, LEASED], ids=["exact", "leased"])
async def test_a_slot_that_moves_while_it_is_counted_in_is_followed(three: Cluster, limit: Limit) -> None:
    workers = [RedisStore(three.url, workers=2, timeout_s=CALM_S) for _ in range(2)]
    async with opened(*workers):
        await reached(*workers)
        slot, source, target = await where(three, workers[0], PLENTY, b"hot")
        async with Load(workers, limit, [b"hot"], 400) as load:
            await load.more(40)
            for giving, taking in ((source, target), (target, source)):
                await asyncio.to_thread(three.begin_migration, slot, giving, taking)
                await load.more(40)  # it is still there
                await asyncio.to_thread(three.move_keys, slot, giving, taking)
                await load.more(80)  # ASK
                await asyncio.to_thread(three.end_migration, slot, taking)
                await load.more(80)  # MOVED
                assert three.owner(slot) is taking
    assert shared_but_strays(load.answers)
    strays = sum(not one.shared and one.allowed for one in load.answers)
    within_bound(load.answers, limit, extra=lambda width: min(strays, local_share(limit, 2, width)))
    within_bound((one for one in load.answers if one.shared), limit)
    assert sum(store.errors for store in workers) == 0


@pytest.mark.anyio
async def test_new_and_old_keys_of_a_slot_on_its_way_are_counted(three: Cluster) -> None:
    """ASK for those who are not there, TRYAGAIN for calls that have some of both."""
    store = RedisStore(three.url, timeout_s=CALM_S)
    async with opened(store):
        await reached(store)
        slot, source, target = await where(three, store, PLENTY, b"pilot")
        together = []  # who shares the pilot's slot, found by asking for many
        with source.client() as client:
            for key in keys(1500, "crowd"):
                before = client.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot)
                await ask(store, PLENTY, key)
                if client.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot) > before:
                    together.append(key)
                if len(together) == 8:
                    break
            assert len(together) == 8
            await asyncio.gather(*(ask(store, PLENTY, key) for key in together))
            await asyncio.to_thread(three.begin_migration, slot, source, target)
            names = client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 4)
            assert len(names) == 4
            for name in names:  # half of them go
                client.execute_command("MIGRATE", "127.0.0.1", target.port, name, 0, 1000)
        answers = []
        for _ in range(10):
            answers += await asyncio.gather(*(ask(store, PLENTY, key) for key in together))
        await asyncio.to_thread(three.move_keys, slot, source, target)
        await asyncio.to_thread(three.end_migration, slot, target)
        for _ in range(10):
            answers += await asyncio.gather(*(ask(store, PLENTY, key) for key in together))
        assert all(one.allowed for one in answers)
        assert shared_but_strays(answers), [one.shared for one in answers]
        # What was counted before and on the way is still counted: twenty each, in about a second.
        assert all(one.remaining <= PLENTY.burst - 15 for one in answers[-8:] if one.shared)


@pytest.mark.anyio
async def test_a_dead_node_takes_only_its_own_keys_along(three: Cluster) -> None:
    """Unless the cluster demands all its slots: then it stops as a whole (CLUSTERDOWN), and all is local."""
    some_keys = set(keys(150))
    store = RedisStore(three.url)
    dead, *living = three.nodes
    demand_all_slots(living, "yes")
    async with opened(store), Load([store], PLENTY, sorted(some_keys), 400) as load:
        await eventually(load.says(lambda one: one.shared, last=150), within_s=BACK_WITHIN_S)
        dead.kill()

        def lost() -> set[bytes]:
            return {one.key for one in load.answers[-150:] if not one.shared}

        await eventually(lambda: len(lost()) >= 15, within_s=0.5)  # before the others have noticed
        await eventually(lambda: len(lost()) == 150, within_s=5)
        assert not any(one.shared for one in await load.more(150))

        demand_all_slots(living, "no")
        await asyncio.to_thread(wait_until, lambda: all(map(serves, living)), 5, "a cluster in part")
        begun = time.monotonic()

        def apart() -> bool:
            """Some keys are always local now, and all others but strays are shared."""
            late = load.since(begun)[-600:]
            always = some_keys - {one.key for one in late if one.shared}
            return 15 <= len(always) <= 120 and shared_but_strays([one for one in late if one.key not in always])

        await load.more(300)
        await eventually(apart, within_s=BACK_WITHIN_S, every_s=0.05)

        await asyncio.to_thread(dead.start)
        await asyncio.to_thread(wait_until, three.whole, 10, "a whole cluster")
        await eventually(load.says(lambda one: one.shared, last=150), within_s=BACK_WITHIN_S + 0.5)
    assert all(one.allowed for one in load.answers)
    assert len(load.slow(0.040)) <= 5 * len(three.nodes)
    assert not load.slow(0.080)


def serves(node: Node) -> bool:
    with node.client(decode_responses=True) as client:
        told = client.execute_command("CLUSTER", "INFO")
    return "cluster_state:ok" in told if isinstance(told, str) else told["cluster_state"] == "ok"


def demand_all_slots(nodes: list[Node], whether: str) -> None:
    for node in nodes:
        with node.client() as client:
            client.config_set("cluster-require-full-coverage", whether)

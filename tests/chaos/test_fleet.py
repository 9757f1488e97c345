"""The servers that the other tests disturb do themselves what they should."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.chaos.fleet import Cluster, cluster, guarded, node
from tests.servers import DEBIAN_REDIS

KINDS = ["valkey", pytest.param("redis", marks=pytest.mark.skipif(not DEBIAN_REDIS.exists(), reason="no Redis"))]


@pytest.fixture
def three() -> Iterator[Cluster]:
    with cluster("valkey") as one:
        yield one


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_server_comes_back_on_its_port_and_is_empty(kind: str) -> None:
    with node(kind) as one, redis.Redis.from_url(one.url) as client:
        client.set("a", "1")
        port, pid = one.port, one.pid
        one.kill()
        one.start()
        assert (one.port, client.get("a")) == (port, None)
        assert one.pid != pid


def test_the_sentinels_make_the_replica_the_primary() -> None:
    with guarded(replicas=1) as house:
        first = house.primary()
        with first.client() as client:
            client.set("a", "1")
            assert client.wait(1, 1000) == 1
        assert house.kill_primary() is first
        house.wait_failover(first)
        second = house.primary()
        assert second is not first
        with second.client() as client:
            assert client.get("a") == b"1"
            client.set("a", "2")


def test_a_slot_moves_from_node_to_node(three: Cluster) -> None:
    slot = three.slot_of(b"{k}")
    source = three.owner(slot)
    target = next(node for node in three.nodes if node is not source)
    with source.client() as there, target.client() as here:
        there.set("{k}1", "1")
        three.begin_migration(slot, source, target)
        with pytest.raises(redis.exceptions.AskError):
            there.get("{k}2")
        assert three.move_keys(slot, source, target) == 1
        three.end_migration(slot, target)
        assert here.get("{k}1") == b"1"
        with pytest.raises(redis.exceptions.MovedError):
            there.get("{k}1")
    assert three.owner(slot) is target
    assert three.keys() == [b"{k}1"]

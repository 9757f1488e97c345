"""Many workers' meters and real servers: after all is synced, everybody reads what one worker would that saw it all.

The script asks the server for the time; here it is told the time instead, which is the only thing changed in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

import guard
from guard.observe import (
    FOLLOWED,
    Batch,
    Decaying,
    Distinct,
    Few,
    FirstSeen,
    LastSeen,
    Layout,
    Leaky,
    Meters,
    Reading,
    Runs,
    Spec,
    Total,
    digest,
)
from tests.servers import DEBIAN_REDIS, server

SERVERS = ["valkey", pytest.param("redis", marks=pytest.mark.skipif(not DEBIAN_REDIS.exists(), reason="no Redis"))]

SPECS: tuple[Spec, ...] = (
    Decaying("requests", 60.0),
    Leaky("pressure", 2.0),
    Total("events"),
    LastSeen("last"),
    FirstSeen("first"),
    Leaky("slow", 0.1),
    Decaying("media", 600.0),
    Total("pages"),
    Distinct("works", 1),
    Few("shapes", 32, 1),
    Runs("ids", 32, 1),
)
REQUESTS, PRESSURE, EVENTS, LAST, FIRST, SLOW, MEDIA, PAGES, WORKS, SHAPES, IDS = range(len(SPECS))
NUMBERS = (REQUESTS, PRESSURE, EVENTS, LAST, FIRST, SLOW, MEDIA, PAGES)
SETS = (WORKS, SHAPES, IDS)
LATE: tuple[Spec, ...] = (Total("events"), Distinct("works", 10, 64), Few("shapes", 16, 6), Runs("ids", 16, 6))
KEYS = [b"a", b"b", b"c"]

SOURCE = (Path(guard.__file__).parent / "stores" / "meters.lua").read_text()
TIME = "redis.call('TIME')"
TOLD = "{redis.call('GET', 'clock:s'), redis.call('GET', 'clock:us')}"


def seal(key: bytes) -> bytes:
    return b"g2:{%x}" % (key[-1] % 4) + key.rjust(11, b".")


class Fleet:
    """Some workers, each with a clock of its own, one server, and one worker beside it that sees everything."""

    def __init__(self, client: redis.Redis, workers: int, specs: tuple[Spec, ...] = SPECS, start_s: float = 1e6):
        client.flushall()
        assert SOURCE.count(TIME) == 1
        self.client = client
        self.script = client.register_script(SOURCE.replace(TIME, TOLD))
        self.ahead_s = [worker * 777.0 for worker in range(workers)]
        self.workers = [Meters(specs) for _ in range(workers)]
        self.alone = Meters(specs)
        self.under_way: dict[int, tuple[Batch, list[object], float]] = {}
        self.oldest_s: dict[int, float] = {}
        self.waited_s = 0.0
        self.start_s = start_s
        self.now_s = 0.0

    def clock(self, worker: int) -> float:
        return self.now_s + self.ahead_s[worker]

    def add(self, worker: int, key: bytes, index: int, amount: float) -> None:
        self.workers[worker].add(key, index, amount, self.clock(worker))
        self.alone.add(key, index, amount, self.now_s)
        self.oldest_s.setdefault(worker, self.now_s)

    def see(self, worker: int, key: bytes, index: int, element: bytes | int) -> None:
        self.workers[worker].see(key, index, element, self.clock(worker))
        self.alone.see(key, index, element, self.now_s)

    def call(self, batch: Batch) -> list[object]:
        at_s = self.start_s + self.now_s
        self.client.mset({"clock:s": int(at_s), "clock:us": round(at_s % 1 * 1e6)})
        names, arguments = batch.command(seal)
        answer = self.script(names, arguments)
        assert isinstance(answer, list)
        return answer

    def send(self, worker: int, limit: int = 512) -> None:
        """Have it done by the server; the answer is still on its way."""
        if worker in self.under_way:
            return
        batch = self.workers[worker].collect(self.clock(worker), limit)
        if batch is not None:
            oldest_s = self.oldest_s.pop(worker, self.now_s)
            self.waited_s = max(self.waited_s, self.now_s - oldest_s)
            if self.workers[worker].unsent:
                self.oldest_s[worker] = oldest_s
            self.under_way[worker] = (batch, self.call(batch), self.now_s)

    def land(self, worker: int) -> None:
        if worker in self.under_way:
            batch, answer, sent_s = self.under_way.pop(worker)
            self.waited_s = max(self.waited_s, self.now_s - sent_s)
            self.workers[worker].merge(batch, answer, self.clock(worker))

    def sync(self, worker: int, limit: int = 512) -> None:
        self.send(worker, limit)
        self.land(worker)

    def fail(self, worker: int) -> None:
        """The call does not reach the server."""
        if worker not in self.under_way:
            batch = self.workers[worker].collect(self.clock(worker))
            if batch is not None:
                self.workers[worker].restore(batch)

    def settle(self) -> None:
        """Everybody hears everything."""
        for worker in range(len(self.workers)):
            self.land(worker)
            self.sync(worker)
        for _ in range(4):
            for worker, meters in enumerate(self.workers):
                for key in KEYS:
                    meters.ask(key, self.clock(worker))
                self.sync(worker)

    def read(self, worker: int, key: bytes) -> Reading:
        found = self.workers[worker].read(key, self.clock(worker))
        assert found is not None
        return found

    def truth(self, key: bytes) -> Reading:
        found = self.alone.read(key, self.now_s)
        assert found is not None
        return found

    def agrees(self) -> None:
        """Every worker reads what the one that saw everything does."""
        for key in KEYS:
            if self.alone.read(key, self.now_s) is None:
                continue
            truth = self.truth(key)
            for worker in range(len(self.workers)):
                found = self.read(worker, key)
                for index in (REQUESTS, EVENTS, MEDIA, PAGES):
                    # The server's clock has milliseconds.
                    assert found[index] == pytest.approx(truth[index], rel=1e-3, abs=1e-3)
                for index, rate in ((PRESSURE, 2.0), (SLOW, 0.1)):
                    assert truth[index] - 0.01 <= found[index] <= truth[index] + rate * self.waited_s + 0.01
                for index in (LAST, FIRST):
                    expected = truth[index] + self.ahead_s[worker]
                    assert found[index] == expected or abs(found[index] - expected) <= self.waited_s + 0.01
                assert found[WORKS] == pytest.approx(truth[WORKS], rel=0.03, abs=1.0)
                for index in (SHAPES, IDS):
                    assert set(found.elements(index)) == set(truth.elements(index))
                assert found.longest_run(IDS) == truth.longest_run(IDS)


@pytest.fixture(scope="module", params=SERVERS)
def client(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    with server(request.param) as one, one.client() as client:
        yield client


# -- any interleaving

workers = st.integers(0, 2)
keys = st.sampled_from(KEYS)
steps = st.one_of(
    st.tuples(st.just("add"), workers, keys, st.sampled_from(NUMBERS), st.integers(1, 50).map(float)),
    st.tuples(st.just("add"), workers, keys, st.sampled_from(NUMBERS), st.integers(1, 50).map(float)),
    st.tuples(st.just("see"), workers, keys, st.sampled_from(SETS), st.integers(0, 30)),
    st.tuples(st.just("sync"), workers, st.integers(1, 3)),
    st.tuples(st.just("send"), workers),
    st.tuples(st.just("land"), workers),
    st.tuples(st.just("fail"), workers),
    st.tuples(st.just("wait"), st.sampled_from([0.001, 0.05, 0.1, 1.0, 15.0])),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=40), st.sampled_from([1e6, 2.0**32 / 1000 * 400 - 3.0]))
def test_whatever_the_order_all_workers_end_up_reading_the_same(
    client: redis.Redis, story: list[tuple[object, ...]], start_s: float
) -> None:
    fleet = Fleet(client, 3, start_s=start_s)
    for name, *words in story:
        if name == "wait":
            fleet.now_s += words[0]  # type: ignore[operator]
        else:
            getattr(fleet, str(name))(*words)
    fleet.settle()
    fleet.agrees()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("see"), workers, keys, st.integers(1, 3), st.integers(0, 12)),
            st.tuples(st.just("sync"), workers, st.integers(1, 3)),
            st.tuples(st.just("fail"), workers),
        ),
        max_size=60,
    )
)
def test_sets_that_open_late_lose_nothing_by_it(client: redis.Redis, story: list[tuple[object, ...]]) -> None:
    fleet = Fleet(client, 3, LATE)
    for name, *words in story:
        getattr(fleet, str(name))(*words)
    fleet.settle()
    for key in KEYS:
        truth = fleet.alone.read(key, fleet.now_s)
        for index in (1, 2, 3):
            opened = client.exists(seal(key) + Layout(LATE).suffix + b"%d" % (index - 1))
            for worker in range(3):
                found = fleet.read(worker, key)
                if opened:
                    assert truth is not None
                    assert found[index] == pytest.approx(truth[index], abs=0 if index > 1 else 1)
                else:
                    assert found[index] <= (truth[index] if truth else 0.0)


# -- stories


def test_many_workers_see_one_client_as_one(client: redis.Redis) -> None:
    fleet = Fleet(client, 3)
    for turn in range(30):
        fleet.add(turn % 3, b"a", EVENTS, 1.0)
        fleet.see(turn % 3, b"a", IDS, 100 + turn)
        fleet.now_s += 0.03
        if turn % 3 == 2:
            for worker in range(3):
                fleet.sync(worker)
    assert max(fleet.read(worker, b"a").longest_run(IDS) for worker in range(3)) >= 28
    fleet.settle()
    assert [fleet.read(worker, b"a")[EVENTS] for worker in range(3)] == [30.0] * 3
    assert [fleet.read(worker, b"a").longest_run(IDS) for worker in range(3)] == [30] * 3


def test_what_another_has_added_shows_after_its_sync_and_the_next_one_here(client: redis.Redis) -> None:
    fleet = Fleet(client, 2)
    fleet.add(0, b"a", EVENTS, 1.0)
    fleet.add(1, b"a", EVENTS, 10.0)
    assert fleet.read(0, b"a")[EVENTS] == 1.0
    fleet.sync(1)
    assert fleet.read(0, b"a")[EVENTS] == 1.0
    fleet.sync(0)
    assert fleet.read(0, b"a")[EVENTS] == 11.0
    fleet.add(1, b"a", EVENTS, 10.0)
    fleet.sync(1)
    fleet.sync(0)
    assert fleet.read(0, b"a")[EVENTS] == 11.0  # of a key that is not active here nothing is heard
    fleet.workers[0].ask(b"a", fleet.clock(0))
    fleet.sync(0)
    assert fleet.read(0, b"a")[EVENTS] == 21.0


def test_what_was_added_while_the_answer_was_on_its_way_is_neither_lost_nor_counted_twice(client: redis.Redis) -> None:
    fleet = Fleet(client, 1)
    for index in (REQUESTS, PRESSURE, EVENTS):
        fleet.add(0, b"a", index, 5.0)
    fleet.send(0)
    fleet.now_s += 0.05
    for index in (REQUESTS, PRESSURE, EVENTS):
        fleet.add(0, b"a", index, 2.0)
    assert fleet.read(0, b"a")[EVENTS] == 7.0
    fleet.land(0)
    assert fleet.read(0, b"a")[EVENTS] == 7.0
    fleet.agrees()
    fleet.settle()
    fleet.agrees()


def test_a_bucket_drains_on_the_server_too_and_is_exact_for_one_worker(client: redis.Redis) -> None:
    fleet = Fleet(client, 1)
    for amount, wait_s in ((50.0, 10.0), (0.0, 5.0), (7.0, 0.1), (1.0, 60.0), (4.0, 1.0)):
        fleet.add(0, b"a", PRESSURE, amount)
        fleet.now_s += wait_s / 2
        fleet.sync(0)
        fleet.now_s += wait_s / 2
        fleet.workers[0].ask(b"a", fleet.clock(0))
        fleet.sync(0)
        assert fleet.read(0, b"a")[PRESSURE] == pytest.approx(fleet.truth(b"a")[PRESSURE], abs=0.01)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_moments_are_the_newest_and_the_oldest_whoever_speaks_first(
    client: redis.Redis, order: tuple[int, int]
) -> None:
    fleet = Fleet(client, 2)
    for worker in (0, 1):
        fleet.add(worker, b"a", LAST, 0.0)
        fleet.add(worker, b"a", FIRST, 0.0)
        fleet.now_s += 5.0
    for worker in order:
        fleet.sync(worker)
    newcomer = Meters(SPECS)
    newcomer.ask(b"a", 100.0)
    batch = newcomer.collect(100.0)
    assert batch is not None
    newcomer.merge(batch, fleet.call(batch), 100.0)
    found = newcomer.read(b"a", 100.0)
    assert found is not None
    assert (found[LAST], found[FIRST]) == (95.0, 90.0)


def test_an_element_that_lies_across_two_others_is_another_one(client: redis.Redis) -> None:
    fleet = Fleet(client, 1)
    for text in (b"....ABCD", b"EFGH....", b"ABCDEFGH", b"...EFGH."):
        fleet.see(0, b"a", IDS, int.from_bytes(text, "little"))
        fleet.sync(0)
    assert len(fleet.read(0, b"a").elements(IDS)) == 4


def test_an_answer_that_is_lost_counts_once_more_and_no_more(client: redis.Redis) -> None:
    fleet = Fleet(client, 1)
    for index in NUMBERS:
        fleet.add(0, b"a", index, 5.0)
    for number in range(5):
        fleet.see(0, b"a", IDS, number)
        fleet.see(0, b"a", WORKS, number)
    batch = fleet.workers[0].collect(0.0)
    assert batch is not None
    fleet.call(batch)  # done, and nobody knows
    fleet.workers[0].restore(batch)
    fleet.settle()
    found, truth = fleet.read(0, b"a"), fleet.truth(b"a")
    for index in (REQUESTS, PRESSURE, EVENTS):
        assert found[index] == 2 * truth[index]
    for index in (LAST, FIRST, WORKS, IDS):
        assert found[index] == truth[index]


def test_a_long_outage_loses_no_number_and_no_element_within_the_cap(client: redis.Redis) -> None:
    fleet = Fleet(client, 2)
    for turn in range(100):
        fleet.add(turn % 2, b"a", REQUESTS, 1.0)
        fleet.see(turn % 2, b"a", WORKS, b"%d" % turn)
        fleet.fail(turn % 2)
        fleet.now_s += 0.5
    fleet.settle()
    fleet.agrees()
    assert [meters.dropped for meters in fleet.workers] == [0, 0]


def test_elements_above_the_cap_are_counted_as_dropped(client: redis.Redis) -> None:
    fleet = Fleet(client, 1)
    for number in range(400):
        fleet.see(0, b"a", WORKS, b"%d" % number)
    assert fleet.workers[0].dropped == 400 - 256
    fleet.settle()
    assert fleet.read(0, b"a")[WORKS] == pytest.approx(400, rel=0.12)  # it is still counted here


def test_thousands_of_different_elements_are_counted_over_all_workers(client: redis.Redis) -> None:
    fleet = Fleet(client, 3)
    for number in range(6000):
        fleet.see(number % 3, b"a", WORKS, b"track:%d" % (number % 5000))
        if number % 100 < 3:
            fleet.sync(number % 3)
    fleet.settle()
    for worker in range(3):
        assert fleet.read(worker, b"a")[WORKS] == pytest.approx(5000, rel=4 * 0.0081)


def test_a_set_is_opened_only_when_the_fleet_has_sighted_enough(client: redis.Redis) -> None:
    fleet = Fleet(client, 3, LATE)
    for turn in range(9):
        fleet.see(turn % 3, b"a", 1, b"%d" % turn)
        fleet.sync(turn % 3)
    names = {seal(b"a") + Layout(LATE).suffix}
    assert set(client.keys("g2:*")) == names
    fleet.see(0, b"a", 1, b"9")
    fleet.sync(0)  # hears that this was the tenth
    fleet.sync(0)
    assert set(client.keys("g2:*")) == names | {seal(b"a") + Layout(LATE).suffix + b"0"}
    for worker in (1, 2):
        fleet.workers[worker].ask(b"a", fleet.clock(worker))
        fleet.sync(worker)  # hears that it is open
        fleet.sync(worker)  # hands over
    fleet.settle()
    assert fleet.read(0, b"a")[1] == pytest.approx(10.0, abs=1.0)


def test_the_cap_keeps_the_newest_of_the_fleet(client: redis.Redis) -> None:
    fleet = Fleet(client, 2, LATE)
    for number in range(40):
        fleet.see(number % 2, b"a", 3, number)
        fleet.sync(number % 2)
    fleet.settle()
    for worker in (0, 1):
        assert sorted(fleet.read(worker, b"a").elements(3)) == list(range(24, 40))


def test_bytes_are_the_same_element_in_every_worker(client: redis.Redis) -> None:
    fleet = Fleet(client, 2)
    for worker in (0, 1):
        fleet.see(worker, b"a", SHAPES, b"shape")
    fleet.settle()
    assert fleet.read(0, b"a").elements(SHAPES) == (digest(b"shape"),) == fleet.read(1, b"a").elements(SHAPES)


def test_a_foreign_value_spoils_its_own_key_only(client: redis.Redis) -> None:
    fleet = Fleet(client, 1)
    suffix = Layout(SPECS).suffix
    client.rpush(seal(b"a") + suffix, "foreign")
    client.rpush(seal(b"b") + suffix + b"0", "foreign")
    client.rpush(seal(b"b") + suffix + b"2", "foreign")
    for key in KEYS:
        fleet.add(0, key, EVENTS, 2.0)
        for index in SETS:
            fleet.see(0, key, index, 7)
    fleet.sync(0)
    assert fleet.workers[0].failures == 3
    assert [fleet.read(0, key)[EVENTS] for key in KEYS] == [2.0] * 3
    assert fleet.read(0, b"b").elements(SHAPES) == (7,)
    assert client.lrange(seal(b"a") + suffix, 0, -1) == [b"foreign"]
    assert client.ttl(seal(b"b") + suffix + b"0") == -1  # and is not made to run out
    fleet.add(0, b"c", EVENTS, 1.0)
    fleet.sync(0)
    assert fleet.read(0, b"c")[EVENTS] == 3.0


@pytest.mark.parametrize("text", [b"", b"x", b"17", b"\xff" * 60])
def test_a_value_of_another_layout_is_begun_anew(client: redis.Redis, text: bytes) -> None:
    fleet = Fleet(client, 1)
    ours = Layout(SPECS).digest[:2]
    for stored in (text, ours + text):
        client.set(seal(b"a") + Layout(SPECS).suffix, stored)
        fleet.add(0, b"a", EVENTS, 2.0)
        fleet.sync(0)
        assert fleet.read(0, b"a")[EVENTS] == 2.0
        assert fleet.workers[0].failures == 0


def test_a_value_that_looks_like_ours_is_begun_anew(client: redis.Redis) -> None:
    fleet = Fleet(client, 1)
    name = seal(b"a") + Layout(SPECS).suffix
    fleet.add(0, b"a", EVENTS, 2.0)
    fleet.sync(0)
    client.setrange(name, 0, b"??")
    fleet.add(0, b"a", EVENTS, 3.0)
    fleet.sync(0)
    assert fleet.read(0, b"a")[EVENTS] == 3.0


def test_two_layouts_live_side_by_side_while_a_fleet_is_renewed(client: redis.Redis) -> None:
    fleet = Fleet(client, 2)
    renewed = Meters([*SPECS[:-1], Runs("ids", 64, 1)])
    for _ in range(3):
        fleet.add(0, b"a", EVENTS, 1.0)
        fleet.sync(0)
        renewed.add(b"a", EVENTS, 1.0, 0.0)
        batch = renewed.collect(0.0)
        assert batch is not None
        renewed.merge(batch, fleet.call(batch), 0.0)
    found = renewed.read(b"a", 0.0)
    assert found is not None
    assert (fleet.read(0, b"a")[EVENTS], found[EVENTS]) == (3.0, 3.0)


def test_every_name_runs_out_and_each_merge_renews_it(client: redis.Redis) -> None:
    fleet = Fleet(client, 1)
    for index in SETS:
        fleet.see(0, b"a", index, 7)
    fleet.sync(0)
    names = client.keys("g2:*")
    assert len(names) == 4
    for name in names:
        assert 890_000 < client.pttl(name) <= 900_000
        client.pexpire(name, 5000)
    fleet.add(0, b"a", EVENTS, 1.0)
    fleet.sync(0)
    assert all(890_000 < client.pttl(name) <= 900_000 for name in names)


def test_asking_leaves_no_trace(client: redis.Redis) -> None:
    fleet = Fleet(client, 1)
    fleet.settle()
    assert client.keys("g2:*") == []
    assert fleet.read(0, b"a")[EVENTS] == 0.0


def test_when_the_servers_clock_goes_back_nothing_grows(client: redis.Redis) -> None:
    fleet = Fleet(client, 1)
    for index in NUMBERS:
        fleet.add(0, b"a", index, 8.0)
    fleet.sync(0)
    fleet.start_s -= 3600.0
    fleet.settle()
    for index in NUMBERS:
        assert fleet.read(0, b"a")[index] == pytest.approx(fleet.truth(b"a")[index], abs=0.01)


def test_a_server_that_has_forgotten_is_told_the_oldest_moment_again(client: redis.Redis) -> None:
    fleet = Fleet(client, 2)
    fleet.add(0, b"a", FIRST, 0.0)
    fleet.sync(0)
    client.delete(*client.keys("g2:*"))
    fleet.now_s += 60.0
    for _ in range(2):
        fleet.add(0, b"a", EVENTS, 1.0)
        fleet.sync(0)
    fleet.add(1, b"a", FIRST, 0.0)
    fleet.settle()
    assert fleet.read(1, b"a")[FIRST] == pytest.approx(fleet.ahead_s[1], abs=0.01)


def test_large_numbers_are_counted_to_the_last_one(client: redis.Redis) -> None:
    fleet = Fleet(client, 1)
    fleet.add(0, b"a", EVENTS, 2.0**40)
    for _ in range(50):
        fleet.add(0, b"a", EVENTS, 1.0)
        fleet.sync(0)
    assert fleet.read(0, b"a")[EVENTS] == 2.0**40 + 50


def test_the_age_of_an_old_key_does_not_drift(client: redis.Redis) -> None:
    fleet = Fleet(client, 1)
    fleet.add(0, b"a", FIRST, 0.0)
    fleet.sync(0)
    fleet.now_s = 800.0
    for _ in range(500):
        fleet.now_s += 0.1
        fleet.add(0, b"a", EVENTS, 1.0)
        fleet.sync(0)
    newcomer = Meters(SPECS)
    newcomer.ask(b"a", 5000.0)
    batch = newcomer.collect(5000.0)
    assert batch is not None
    newcomer.merge(batch, fleet.call(batch), 5000.0)
    found = newcomer.read(b"a", 5000.0)
    assert found is not None
    assert 5000.0 - found[FIRST] == pytest.approx(fleet.now_s, abs=0.005)


def test_a_client_with_eight_numbers_and_three_sets_in_waiting_is_small(client: redis.Redis) -> None:
    specs = (*SPECS[:8], Distinct("works"), Few("shapes"), Runs("ids"))
    fleet = Fleet(client, 1, specs)
    for turn in range(6):
        for index in NUMBERS:
            fleet.add(0, b"a", index, 1.0)
        for index in SETS:
            fleet.see(0, b"a", index, turn)
        fleet.sync(0)
        fleet.now_s += 1.7
    (name,) = client.keys("g2:*")
    assert client.strlen(name) <= 44  # what Redis keeps in one piece with its header
    assert client.memory_usage(name) <= 140


def test_parts_of_a_batch_are_merged_one_by_one(client: redis.Redis) -> None:
    fleet = Fleet(client, 2)
    for worker in (0, 1):
        for key in KEYS:
            fleet.add(worker, key, EVENTS, 1.0)
            fleet.see(worker, key, IDS, worker)
        batch = fleet.workers[worker].collect(fleet.clock(worker))
        assert batch is not None
        parts = batch.split(lambda key: seal(key)[:6])
        assert len(parts) == 3
        for part in parts[1:]:
            fleet.workers[worker].merge(part, fleet.call(part), fleet.clock(worker))
        fleet.workers[worker].restore(parts[0])
    fleet.settle()
    fleet.agrees()


def test_who_is_followed_is_known_before_it_comes(client: redis.Redis) -> None:
    fleet = Fleet(client, workers=2)
    for meters in fleet.workers:
        meters.hurry = lambda: None  # they share
    here = fleet.workers[1]
    here.follow(b"a", fleet.clock(1) + 10.0)
    fleet.add(0, b"a", EVENTS, 5.0)
    fleet.sync(0)
    assert here.follows_at_s == fleet.clock(1) + 10.0
    fleet.sync(1)
    assert here.read(b"a", fleet.clock(1)) is None  # not yet
    fleet.now_s = 10.0
    fleet.sync(1)
    assert fleet.read(1, b"a")[EVENTS] == 5.0
    fleet.add(0, b"a", EVENTS, 1.0)
    fleet.sync(0)
    fleet.now_s = 10.5
    fleet.sync(1)
    assert fleet.read(1, b"a")[EVENTS] == 5.0  # it asks once a second
    fleet.now_s = 11.0
    fleet.sync(1)
    assert fleet.read(1, b"a")[EVENTS] == 6.0
    fleet.now_s = 41.0
    fleet.sync(1)
    assert here.follows_at_s == inf  # and no longer than half a minute
    assert here.unsent == 0


def test_few_are_followed_and_none_where_nobody_shares() -> None:
    alone = Meters(SPECS)
    alone.follow(b"a", 0.0)
    assert alone.follows_at_s == inf
    alone.hurry = lambda: None
    for number in range(2 * FOLLOWED):
        alone.follow(b"key %d" % number, 0.0)
    batch = alone.collect(1.0)
    assert batch is not None
    assert len(batch.keys) == FOLLOWED

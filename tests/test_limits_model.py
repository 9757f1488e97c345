"""Leases, quotas and places against what they promise, whatever the order of things.

The script is the real one, on a real Valkey; only its clock is ours: it reads the time from its last word, and its keys
do not go by themselves. Workers, the way of questions and answers, and time are moved by hypothesis.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from guard.model import Limit
from guard.stores.leases import Leases
from guard.stores.link import LIMITS
from guard.stores.plans import Plan, gcra, period_of
from tests.servers import DEBIAN_REDIS, server

DAY_US = 86_400_000_000
SLOT = ("l", b"k")
SERVERS = ["valkey", pytest.param("redis", marks=pytest.mark.skipif(not DEBIAN_REDIS.exists(), reason="no Redis"))]


def with_our_clock(script: bytes) -> str:
    text = script.decode()
    for old, new in (
        (
            "local clock = call('TIME')\nlocal now = clock[1] * 1000000 + clock[2]",
            "local now = tonumber(table.remove(ARGV))",
        ),
        (", 'PX', string.format('%.0f', math.ceil(lives / 1000) + 1))", ")"),
        ("if type(said) ~= 'table' then said = pcall_('PEXPIRE', key, lapse) end", ""),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


class Counter:
    """The script with a clock of ours."""

    def __init__(self, client: Redis) -> None:
        self.client = client
        self.script = client.register_script(with_our_clock(LIMITS.text))

    def ask(
        self, now: int, op: str, *words: object, names: tuple[str, ...] = ("k",), current: int = 1, fleet: int = 1
    ) -> list[int]:
        entry = [op, len(names), current, *words]
        found: list[int] = self.script(keys=list(names), args=[fleet, *entry, now])
        return found


@pytest.fixture(scope="module", params=SERVERS)
def counter(request: pytest.FixtureRequest) -> Iterator[Counter]:
    with server(request.param) as one, one.client() as client:
        yield Counter(client)


def most_in_any_window(admitted: list[tuple[int, int]], emission: int, burst: int) -> None:
    """Every window from one admission to a later one holds at most floor(W / T) + burst."""
    admitted.sort()
    for first, (start, _) in enumerate(admitted):
        taken = 0
        for moment, cost in admitted[first:]:
            taken += cost
            assert taken <= (moment - start) // emission + burst, (start, moment, taken)


# -- leases: never more than one counter would admit


class Question:
    def __init__(
        self, worker: int, sent: int, units: int, waiting: int, beside: int, answered: int, arrives: int
    ) -> None:
        self.worker, self.sent, self.units, self.waiting, self.beside = worker, sent, units, waiting, beside
        self.answered, self.arrives = answered, arrives
        self.said: list[int] = []


def flood(
    counter: Counter, plan: Plan, workers: int, load: float, way: int, chance: Random, steps: int = 400
) -> list[tuple[int, int]]:
    """All that is admitted to one key when `workers` are asked `load` times as much as the limit allows, and questions
    and answers are up to `way` emissions under way, overtake each other, and get lost."""
    counter.client.delete("k")
    now = 10**15
    fleet = [Leases() for _ in range(workers)]
    under_way: list[Question] = []
    admitted: list[tuple[int, int]] = []
    for _ in range(steps):
        if chance.random() < 0.02:
            # A pause: the burst is there again, or a part of what is held has gone by.
            now += (
                chance.randrange(1 + chance.choice((plan.burst // 16, plan.burst // 4, 3 * plan.burst))) * plan.emission
            )
        now += int(chance.expovariate(load) * plan.emission)
        for one in sorted(under_way, key=lambda one: one.answered):
            if one.answered <= now and not one.said:
                words = (plan.emission, plan.tolerance, one.waiting, one.beside, one.units)
                one.said = counter.ask(max(one.answered, 0), "r", *words, fleet=workers)
                assert 0 <= one.said[0] <= one.waiting
                assert one.said[2] == 0 if plan.limit.precision == "exact" else one.said[2] <= one.beside
                admitted += [(one.answered, one.units)] * one.said[0]
        for one in [one for one in under_way if one.said and one.arrives <= now]:
            under_way.remove(one)
            if chance.random() > 0.05:
                fleet[one.worker].learn(plan, SLOT, one.units, one.said, one.sent, one.arrives)
            else:
                fleet[one.worker].lose(SLOT)
        worker, units = chance.randrange(workers), chance.choice((1, 1, 1, 2))
        answer = fleet[worker].take(plan, SLOT, units, now)
        if answer is None:
            beside = fleet[worker].worth(plan, SLOT, units, now)
            answered = now + chance.randrange(way * plan.emission + 1)
            arrives = answered + chance.randrange(way * plan.emission + 1)
            under_way.append(Question(worker, now, units, chance.randrange(1, 3), beside, answered, arrives))
        elif answer.allowed:
            admitted.append((now, units))
    return admitted


@given(
    workers=st.integers(1, 5),
    burst=st.integers(1, 60) | st.integers(100, 400),
    emission=st.sampled_from([3, 700, 50_000, 30_000_000]),
    precision=st.sampled_from(["leased", "leased", "leased", "exact"]),
    load=st.sampled_from([0.7, 1.5, 5.0, 40.0]),
    way=st.sampled_from([0, 1, 10]),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_order_of_things_makes_leases_admit_more_than_one_counter(
    counter: Counter, workers: int, burst: int, emission: int, precision: str, load: float, way: int, seed: int
) -> None:
    plan = Plan(Limit("l", 1, emission / 1e6, burst, precision=precision), shared=True)
    assert plan.emission == emission
    most_in_any_window(flood(counter, plan, workers, load, way, Random(seed)), emission, burst)


def test_leases_are_used_in_those_floods(counter: Counter) -> None:
    """Or the law above would hold of nothing."""
    plan = Plan(Limit("l", 1, 0.0007, 60), shared=True)
    asked = counter.client.info("commandstats")["cmdstat_evalsha"]["calls"]
    admitted = flood(counter, plan, 3, 0.9, 1, Random(1), steps=2000)
    asked = counter.client.info("commandstats")["cmdstat_evalsha"]["calls"] - asked
    assert len(admitted) > 1500
    assert asked < 0.8 * len(admitted)


@given(
    gaps=st.lists(st.integers(0, 1_000_000), min_size=20, max_size=200),
    burst=st.integers(1, 40),
    workers=st.integers(1, 4),
    picks=st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_who_stays_under_half_the_rate_is_never_refused_however_much_is_held(
    counter: Counter, gaps: list[int], burst: int, workers: int, picks: object
) -> None:
    """Requests of one client at half the rate, spread over workers that hold what they like."""
    counter.client.delete("k")
    emission, now = 100_000, 10**15
    plan = Plan(Limit("l", 1, emission / 1e6, burst), shared=True)
    fleet = [Leases() for _ in range(workers)]
    for gap in gaps:
        now += 2 * emission + gap
        leases = fleet[picks.randrange(workers)]  # type: ignore[attr-defined]
        answer = leases.take(plan, SLOT, 1, now)
        if answer is not None:
            assert answer.allowed
            continue
        beside = leases.worth(plan, SLOT, 1, now)
        said = counter.ask(now, "r", plan.emission, plan.tolerance, 1, beside, 1, fleet=workers)
        assert said[0] == 1
        leases.learn(plan, SLOT, 1, said, now, now + 300)


@given(
    stored=st.integers(-5_000_000, 20_000_000),
    emission=st.integers(1, 3_000_000),
    burst=st.integers(1, 12),
    cost=st.integers(1, 4),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_script_does_the_same_sums_as_the_function(
    counter: Counter, stored: int, emission: int, burst: int, cost: int
) -> None:
    now, tolerance = 10**15, emission * (burst - 1)
    counter.client.set("k", now + stored)
    admitted, _, _, wait, left = counter.ask(now, "r", emission, tolerance, 1, 0, cost)
    allowed, tat, waits, remaining = gcra(now + stored, now, emission, tolerance, cost)
    assert (bool(admitted), wait) == (allowed, max(waits, 0))
    if allowed:
        assert left == remaining
        assert int(counter.client.get("k")) == tat


def test_what_is_held_is_never_more_than_an_eighth_of_the_burst_and_half_of_the_rest(counter: Counter) -> None:
    counter.client.delete("k")
    emission, burst, fleet, now = 10_000, 800, 4, 10**15
    tolerance = emission * (burst - 1)
    admitted, offset, extra, _, left = counter.ask(now, "r", emission, tolerance, 1, 1000, 1, fleet=fleet)
    assert admitted == 1
    assert extra <= burst // (2 * fleet)
    assert offset + extra * emission <= max((1 + extra) * emission, tolerance // 8 + emission)
    assert left >= burst - burst // 8 - extra - 2
    while True:  # others take all but a few
        said = counter.ask(now, "r", emission, tolerance, 1, 0, 1, fleet=fleet)
        if said[4] < 2 * fleet:
            break
    assert counter.ask(now, "r", emission, tolerance, 1, 1000, 1, fleet=fleet)[2] == 0  # near the limit nobody holds


def test_a_clock_that_goes_back_shuts_nobody_out_for_longer_than_the_burst(counter: Counter) -> None:
    counter.client.delete("k")
    emission, tolerance, now = 1_000_000, 4_000_000, 10**15
    for _ in range(5):
        counter.ask(now, "r", emission, tolerance, 1, 0, 1)
    earlier = now - 3_600_000_000
    admitted, _, _, wait, _ = counter.ask(earlier, "r", emission, tolerance, 1, 0, 1)
    assert admitted == 0
    assert wait <= emission
    assert counter.ask(earlier + wait, "r", emission, tolerance, 1, 0, 1)[0] == 1


# -- names: what was counted under yesterday's is carried over


def test_what_was_counted_yesterday_counts_today(counter: Counter) -> None:
    counter.client.delete("new", "old", "next")
    emission, tolerance, now = 60_000_000, 240_000_000, 10**15
    for _ in range(5):
        assert counter.ask(now, "r", emission, tolerance, 1, 0, 1, names=("old",))[0] == 1
    assert counter.ask(now, "r", emission, tolerance, 1, 0, 1, names=("new", "old"))[0] == 0
    later = now + emission
    assert counter.ask(later, "r", emission, tolerance, 1, 0, 1, names=("new", "old"))[0] == 1
    assert counter.client.exists("old") == 0  # it has moved: both days never count beside each other
    # Whoever's clock is behind asks with tomorrow's name in front, and counts there as well.
    assert counter.ask(later, "r", emission, tolerance, 1, 0, 1, names=("new", "old"), current=2)[0] == 0


# -- quotas


@given(
    now_s=st.integers(1_767_225_600, 2_208_988_800),  # from 2026 to 2039
    steps=st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(1, 3), st.integers(1, 4)), max_size=40),
    count=st.integers(1, 12),
    period=st.sampled_from(["day", "month"]),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_quota_is_never_exceeded_in_a_calendar_period_and_begins_anew(
    counter: Counter, now_s: int, steps: list[tuple[int, int, int]], count: int, period: str
) -> None:
    counter.client.delete("k")
    used: dict[int, int] = {}
    for gap_s, waiting, cost in steps:
        now_s += gap_s
        number, ends_s = period_of(period, now_s)
        admitted, _, _, wait, left = counter.ask(now_s * 1_000_000, "q", count, period, waiting, 0, cost)
        before = used.get(number, 0)
        assert admitted == min(waiting, (count - before) // cost)
        used[number] = before + admitted * cost
        assert used[number] <= count
        assert left == count - used[number]
        assert wait == ((ends_s - now_s) * 1_000_000 if admitted < waiting else 0)
        moment, end = datetime.fromtimestamp(now_s, UTC), datetime.fromtimestamp(ends_s, UTC)
        assert end > moment and (end.hour, end.minute, end.second) == (0, 0, 0)
        assert (end - moment).days <= (1 if period == "day" else 31)
        if period == "month":
            assert end.day == 1


def test_a_budget_that_is_charged_afterwards_refuses_the_next(counter: Counter) -> None:
    counter.client.delete("k")
    now, day = 20_000 * DAY_US + 1, "day"
    assert counter.ask(now, "x", 1000, day, 999, 0, 1)[3] == 0  # charged, and one is left
    assert counter.ask(now, "x", 1000, day, 500, 0, 1)[3] == DAY_US - 1  # the last answer may go over it
    assert counter.ask(now + DAY_US, "x", 1000, day, 0, 0, 1)[3] == 0


# -- places


def placing(counter: Counter) -> type[RuleBasedStateMachine]:
    class Streams(RuleBasedStateMachine):
        lapse_ms = 30_000

        @initialize(count=st.integers(1, 6), workers=st.integers(1, 4))
        def begin(self, count: int, workers: int) -> None:
            counter.client.delete("k")
            self.now_ms = 10**12
            self.count = count
            self.held = dict.fromkeys(range(workers), 0)
            self.told_ms = dict.fromkeys(range(workers), self.now_ms)
            self.dead: dict[int, tuple[int, int]] = {}

        def ask(self, worker: int, waiting: int) -> list[int]:
            words = (self.count, self.lapse_ms, waiting, self.held[worker], f"w{worker}")
            self.told_ms[worker] = self.now_ms
            return counter.ask(self.now_ms * 1000, "c", *words)

        def worker(self, number: int) -> int | None:
            living = [one for one in self.held if one not in self.dead]
            return living[number % len(living)] if living else None

        @rule(ms=st.integers(0, 9_000))
        def time_goes_by(self, ms: int) -> None:
            self.now_ms += ms
            for one in self.held:  # who lives says so in time
                if one not in self.dead and self.now_ms - self.told_ms[one] > self.lapse_ms // 3:
                    self.ask(one, 0)

        @rule(number=st.integers(0, 3), waiting=st.integers(1, 3))
        def somebody_begins_a_stream(self, number: int, waiting: int) -> None:
            if (one := self.worker(number)) is not None:
                kept = sum(held for held, until in self.dead.values() if until > self.now_ms)
                room = self.count - sum(self.held[x] for x in self.held if x not in self.dead) - kept
                admitted = self.ask(one, waiting)[0]
                assert admitted <= max(0, room)
                if not self.dead:
                    assert admitted == min(waiting, room)  # and nothing is lost while all live
                self.held[one] += admitted

        @rule(number=st.integers(0, 3))
        def a_stream_ends(self, number: int) -> None:
            if (one := self.worker(number)) is not None and self.held[one]:
                self.held[one] -= 1
                self.ask(one, 0)

        @rule(number=st.integers(0, 3))
        def a_worker_dies(self, number: int) -> None:
            if (one := self.worker(number)) is not None:
                self.dead[one] = (self.held[one], self.told_ms[one] + self.lapse_ms)

        @invariant()
        def never_more_streams_than_places(self) -> None:
            if hasattr(self, "held"):
                assert sum(self.held[one] for one in self.held if one not in self.dead) <= self.count

        def teardown(self) -> None:
            if hasattr(self, "held"):
                self.now_ms += self.lapse_ms + 1  # what the dead held has lapsed
                living = [one for one in self.held if one not in self.dead]
                for one in living:
                    self.ask(one, 0)
                free = self.count - sum(self.held[one] for one in living)
                words = (self.count, self.lapse_ms, self.count, 0, "newcomer")
                assert counter.ask(self.now_ms * 1000, "c", *words)[0] == free

    return Streams


def test_no_order_of_things_gives_away_more_places_than_there_are(counter: Counter) -> None:
    run_state_machine_as_test(
        placing(counter),
        settings=settings(
            max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_places_taken_before_midnight_count_after_it(counter: Counter) -> None:
    counter.client.delete("old", "new")
    now = 10**15
    assert counter.ask(now, "c", 3, 30_000, 2, 0, "a", names=("old",))[0] == 2
    assert counter.ask(now, "c", 3, 30_000, 2, 0, "b", names=("new", "old"))[0] == 1
    assert counter.ask(now, "c", 3, 30_000, 0, 2, "a", names=("new", "old"))[4] == 0  # told anew, not twice
    assert counter.client.hlen("old") == 0


def test_the_size_of_the_fleet_is_known_and_the_dead_are_forgotten(counter: Counter) -> None:
    counter.client.delete("k")
    now = 10**15
    for number, worker in enumerate(("a", "b", "a", "c")):
        assert counter.ask(now, "w", 0, 15_000, 0, 0, worker)[0] == (1, 2, 2, 3)[number]
    assert counter.ask(now + 16_000_000, "w", 0, 15_000, 0, 0, "a")[0] == 1


def test_the_shared_windows_of_this_file_can_fail() -> None:
    with pytest.raises(AssertionError):
        most_in_any_window([(0, 1), (0, 1), (5, 1)], 10, 2)
    most_in_any_window([(0, 1), (0, 1), (10, 1)], 10, 2)

"""Meters by themselves: what they count, and that they stay within their bounds. No server here."""

from __future__ import annotations

import gc
import math
import random
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.observe import (
    EXACT,
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
    longest_run,
)

SPECS: tuple[Spec, ...] = (
    Decaying("requests", 60.0),
    Leaky("pressure", 2.0),
    Total("events"),
    LastSeen("last"),
    FirstSeen("first"),
    Distinct("works"),
    Few("shapes", 4),
    Runs("ids", 8),
)
REQUESTS, PRESSURE, EVENTS, LAST, FIRST, WORKS, SHAPES, IDS = range(len(SPECS))
KEY = b"203.0.113.9"


def reading(meters: Meters, now_s: float, key: bytes = KEY) -> Reading:
    found = meters.read(key, now_s)
    assert found is not None
    return found


def collected(meters: Meters, now_s: float, limit: int = 512) -> Batch:
    batch = meters.collect(now_s, limit)
    assert batch is not None
    return batch


# -- what is counted


def test_what_is_added_shows_at_once_and_is_half_after_a_half_life() -> None:
    meters = Meters(SPECS)
    meters.add(KEY, REQUESTS, 4.0, 100.0)
    assert reading(meters, 100.0)[REQUESTS] == 4.0
    assert reading(meters, 160.0)[REQUESTS] == pytest.approx(2.0)
    meters.add(KEY, REQUESTS, 1.0, 160.0)
    assert reading(meters, 220.0)[REQUESTS] == pytest.approx(1.5)


def test_a_bucket_drains_at_its_rate_and_never_below_nothing() -> None:
    meters = Meters(SPECS)
    meters.add(KEY, PRESSURE, 5.0, 100.0)
    assert reading(meters, 101.0)[PRESSURE] == 3.0
    assert reading(meters, 109.0)[PRESSURE] == 0.0
    meters.add(KEY, PRESSURE, 5.0, 109.0)
    assert reading(meters, 109.0)[PRESSURE] == 5.0


def test_a_total_stays_and_moments_are_the_newest_and_the_oldest() -> None:
    meters = Meters(SPECS)
    for now_s in (100.0, 300.0, 200.0):
        for index in (EVENTS, LAST, FIRST):
            meters.add(KEY, index, 2.0, now_s)
    found = reading(meters, 310.0)
    assert (found[EVENTS], found[LAST], found[FIRST]) == (6.0, 300.0, 100.0)


def test_an_unknown_key_has_no_reading_and_a_moment_that_never_was_is_endless() -> None:
    meters = Meters(SPECS)
    assert meters.read(KEY, 1.0) is None
    meters.add(KEY, EVENTS, 1.0, 1.0)
    found = reading(meters, 1.0)
    assert (found[LAST], found[FIRST]) == (-math.inf, math.inf)
    assert found.named()["works"] == 0.0


def test_a_reading_stays_what_it_was() -> None:
    meters = Meters(SPECS)
    meters.add(KEY, EVENTS, 1.0, 1.0)
    meters.see(KEY, IDS, 1, 1.0)
    before = reading(meters, 1.0)
    meters.add(KEY, EVENTS, 1.0, 1.0)
    meters.see(KEY, IDS, 2, 1.0)
    assert (before[EVENTS], before.elements(IDS)) == (1.0, (1,))


@pytest.mark.parametrize("kind", [bytes, int])
def test_distinct_elements_are_exact_while_few(kind: type) -> None:
    meters = Meters(SPECS)
    for round_of_all in range(3):
        for number in range(EXACT):
            meters.see(KEY, WORKS, b"%d" % number if kind is bytes else number, float(round_of_all))
    assert reading(meters, 3.0)[WORKS] == EXACT


@given(st.integers(EXACT + 1, 30_000), st.binary(max_size=8))
def test_many_distinct_elements_are_counted_within_four_standard_errors(how_many: int, salt: bytes) -> None:
    meters = Meters(SPECS)
    for number in range(how_many):
        meters.see(KEY, WORKS, salt + b"%d" % number, 1.0)
    for number in range(0, how_many, 7):
        meters.see(KEY, WORKS, salt + b"%d" % number, 1.0)
    assert reading(meters, 1.0)[WORKS] == pytest.approx(how_many, rel=4.5 * 0.026)


def test_the_newest_few_are_kept_and_bytes_are_kept_as_their_digest() -> None:
    meters = Meters(SPECS)
    for name in (b"a", b"b", b"c", b"a", b"d", b"e"):
        meters.see(KEY, SHAPES, name, 1.0)
    assert reading(meters, 1.0).elements(SHAPES) == tuple(map(digest, (b"b", b"c", b"d", b"e")))
    assert reading(meters, 1.0)[SHAPES] == 4.0


def test_integers_beyond_64_bits_are_elements_too() -> None:
    meters = Meters(SPECS)
    for number in (2**63 - 1, -(2**63), 2**63, 2**200):
        meters.see(KEY, IDS, number, 1.0)
    assert reading(meters, 1.0).elements(IDS)[:2] == (2**63 - 1, -(2**63))
    assert reading(meters, 1.0)[IDS] == 4.0


@given(st.lists(st.integers(-20, 20)))
def test_the_longest_run_is_the_longest_stretch_of_consecutive_numbers(numbers: list[int]) -> None:
    there = set(numbers)
    brute = max((n for n in range(42) for a in there if all(a + i in there for i in range(n))), default=0)
    assert longest_run(numbers) == brute


def test_a_walk_is_seen_in_runs() -> None:
    meters = Meters(SPECS)
    for number in (4, 900, 2, 5, 3):
        meters.see(KEY, IDS, number, 1.0)
    assert reading(meters, 1.0).longest_run(IDS) == 4


def test_sets_are_seen_and_numbers_added() -> None:
    meters = Meters(SPECS)
    with pytest.raises(TypeError, match="works is a set"):
        meters.add(KEY, WORKS, 1.0, 1.0)
    with pytest.raises(TypeError, match="events is no set"):
        meters.see(KEY, EVENTS, b"a", 1.0)


@pytest.mark.parametrize(
    "specs",
    [
        [Total("a"), LastSeen("a")],
        [Decaying("a", 0.0)],
        [Leaky("a", math.inf)],
        [Few("a", 0)],
        [Runs("a", 5000)],
        [Distinct("a", 0)],
        [Distinct("a", 300, 200)],
    ],
)
def test_specs_that_cannot_be_kept_are_refused(specs: list[Spec]) -> None:
    with pytest.raises(ValueError):
        Meters(specs)


# -- bounds


def test_a_million_keys_stay_within_the_bounds_and_the_dropped_are_counted() -> None:
    meters = Meters(SPECS, max_keys=50_000, max_bytes=16 << 20)
    most = 0
    for number in range(1_000_000):
        meters.add(b"k%d" % number, REQUESTS, 1.0, number / 1000)
        if number % 1000 == 0:
            most = max(most, meters.memory_bytes)
    assert meters.keys <= 50_000
    assert most <= 16 << 20
    assert meters.evictions >= 950_000
    assert meters.lost == meters.evictions  # nothing was ever sent
    assert reading(meters, 1000.0, b"k999999")[REQUESTS] > 0


def test_sets_stay_within_the_bytes_too() -> None:
    meters = Meters(SPECS, max_bytes=1 << 20)
    chance = random.Random(1)
    for turn in range(60_000):
        key = b"%d" % chance.randrange(500)
        meters.see(key, chance.choice((WORKS, SHAPES, IDS)), chance.randrange(10_000), turn / 1000)
        assert meters.memory_bytes <= 1 << 20
        if turn % 1000 == 0 and (batch := meters.collect(turn / 1000, 300)) is not None and chance.random() < 0.5:
            meters.restore(batch)
            assert meters.memory_bytes <= 1 << 20
    assert meters.evictions > 0


def test_a_key_that_grows_while_the_dropped_are_let_go_is_within_the_bytes() -> None:
    for filled in range(95, 200):
        meters = Meters(SPECS, max_bytes=100_000)
        for number in range(filled):
            meters.add(b"%d" % number, EVENTS, 1.0, 1.0)
        for number in range(200):
            meters.see(KEY, WORKS, number, 1.0)
            assert meters.memory_bytes <= 100_000


@pytest.mark.parametrize("events", [1, 5, 40, 300])
def test_the_estimate_of_bytes_is_near_what_python_takes(events: int) -> None:
    gc.collect()
    tracemalloc.start()
    try:
        meters = Meters(SPECS)
        before = tracemalloc.get_traced_memory()[0]
        for client in range(4000 // events):
            for event in range(events):
                key = b"client:%d" % client
                meters.add(key, REQUESTS, 1.0, 1.0)
                if events > 1:
                    meters.see(key, WORKS, client * 1000 + event, 1.0)
                    meters.see(key, IDS, event, 1.0)
        meters._digests.__init__(1)  # type: ignore[misc]
        gc.collect()
        took = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert took / 1.25 < meters.memory_bytes < took * 1.75


def test_weights_add_up_whatever_was_done() -> None:
    meters = Meters(SPECS, max_keys=64)
    chance = random.Random(2)
    for turn in range(20_000):
        key, now_s = b"%d" % chance.randrange(100), turn / 10
        meters.add(key, EVENTS, 1.0, now_s)
        meters.see(key, chance.choice((WORKS, SHAPES, IDS)), chance.randrange(200), now_s)
        if chance.random() < 0.01 and (batch := meters.collect(now_s)) is not None and chance.random() < 0.5:
            meters.restore(batch)
    for generation in (meters._young, meters._old, meters._dying):
        assert generation.weight == sum(meters._weigh(key, row) for key, row in generation.rows.items())
        assert all(row.dirty == (key in generation.dirty) for key, row in generation.rows.items()) or (
            generation is meters._dying
        )


def test_a_key_that_has_been_idle_starts_anew() -> None:
    meters = Meters(SPECS, ttl_s=900.0)
    meters.add(KEY, EVENTS, 5.0, 100.0)
    assert reading(meters, 1000.0)[EVENTS] == 5.0
    assert meters.read(KEY, 1000.5) is None
    meters.add(KEY, EVENTS, 1.0, 1000.5)
    assert reading(meters, 1000.5)[EVENTS] == 1.0


def test_nothing_of_idle_keys_remains_after_two_times_to_live() -> None:
    meters = Meters(SPECS, ttl_s=900.0)
    for number in range(1500):
        meters.add(b"%d" % number, EVENTS, 1.0, 0.0)
    for now_s in range(0, 2200, 100):
        meters.collect(float(now_s), 2000)
    assert (meters.keys, meters.memory_bytes, meters.unsent) == (0, 0, 0)
    assert meters.evictions == 0  # run out, not pushed out


def test_a_key_in_use_is_not_dropped_when_a_generation_has_had_its_time() -> None:
    meters = Meters(SPECS, max_keys=20, ttl_s=900.0)
    meters.collect(0.0)
    for number in range(11):  # the eleventh makes the rest the old generation
        meters.add(b"%d" % number, EVENTS, 1.0, 901.0)
    meters.collect(901.0, 5)
    assert all(meters.read(b"%d" % number, 901.0) is not None for number in range(11))
    assert meters.unsent == 6


def test_the_key_used_last_outlives_the_others() -> None:
    meters = Meters(SPECS, max_keys=20)
    for number in range(100):
        meters.add(KEY, EVENTS, 1.0, 1.0)
        meters.add(b"%d" % number, EVENTS, 1.0, 1.0)
    assert reading(meters, 1.0)[EVENTS] == 100.0


# -- what is handed over


def test_nothing_new_is_nothing_to_send() -> None:
    meters = Meters(SPECS)
    assert meters.collect(0.0) is None
    meters.add(KEY, EVENTS, 1.0, 1.0)
    assert collected(meters, 1.0).keys == [KEY]
    assert meters.collect(1.0) is None
    meters.see(KEY, WORKS, b"a", 1.0)
    assert collected(meters, 1.0).keys == [KEY]
    meters.see(KEY, WORKS, b"a", 1.0)  # known
    assert meters.collect(1.0) is None


def test_the_oldest_go_first_and_no_more_than_asked_for() -> None:
    meters = Meters(SPECS)
    for number in range(10):
        meters.add(b"%d" % number, EVENTS, 1.0, float(number))
    assert collected(meters, 10.0, 4).keys == [b"0", b"1", b"2", b"3"]
    assert collected(meters, 10.0, 100).keys == [b"4", b"5", b"6", b"7", b"8", b"9"]


def test_what_is_under_way_still_shows() -> None:
    meters = Meters(SPECS)
    meters.add(KEY, REQUESTS, 3.0, 1.0)
    collected(meters, 1.0)
    assert reading(meters, 1.0)[REQUESTS] == 3.0


adding = st.tuples(
    st.sampled_from([b"a", b"b"]),
    st.sampled_from([REQUESTS, PRESSURE, EVENTS, LAST, FIRST, WORKS, SHAPES, IDS]),
    st.integers(1, 9),
    st.integers(0, 3000),
)


def play(meters: Meters, additions: list[tuple[bytes, int, int, int]], now_ms: int) -> int:
    for key, index, amount, wait_ms in additions:
        now_ms += wait_ms
        if index in (WORKS, SHAPES, IDS):
            meters.see(key, index, amount, now_ms / 1000)
        else:
            meters.add(key, index, float(amount), now_ms / 1000)
    return now_ms


def sent(meters: Meters, now_s: float) -> dict[bytes, tuple[list[float], list[tuple[int, set[int]]]]]:
    batch = meters.collect(now_s)
    if batch is None:
        return {}
    return {key: (row, [(i, set(elements)) for i, elements in pushes]) for key, row, pushes in batch}


@given(st.lists(adding), st.lists(adding), st.integers(0, 5000))
def test_a_failed_call_loses_nothing(
    before: list[tuple[bytes, int, int, int]], after: list[tuple[bytes, int, int, int]], pause_ms: int
) -> None:
    calm, failed = Meters(SPECS), Meters(SPECS)
    now_ms = play(calm, before, 0)
    play(failed, before, 0)
    batch = failed.collect(now_ms / 1000)
    play(calm, after, now_ms)
    then_ms = play(failed, after, now_ms)
    if batch is not None:
        failed.restore(batch)
    then_s = (then_ms + pause_ms) / 1000
    for key in (b"a", b"b"):
        one, other = calm.read(key, then_s), failed.read(key, then_s)
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert one.named() == pytest.approx(other.named())
    expected, found = sent(calm, then_s), sent(failed, then_s)
    assert expected.keys() == found.keys()
    for key, (row, pushes) in expected.items():
        assert found[key][0] == pytest.approx(row)
        assert found[key][1] == pushes


def test_what_was_dropped_while_under_way_comes_back_when_the_call_failed() -> None:
    meters = Meters(SPECS, max_keys=4)
    for index in (REQUESTS, PRESSURE, EVENTS, LAST, FIRST):
        meters.add(KEY, index, 3.0, 1.0)
    for number in range(8):
        meters.see(KEY, IDS, number, 1.0)
    before = reading(meters, 1.0).named()
    batch = collected(meters, 1.0)
    for number in range(10):
        meters.add(b"%d" % number, EVENTS, 1.0, 1.0)
    assert meters.read(KEY, 1.0) is None
    meters.restore(batch)
    assert meters.keys <= 4
    assert reading(meters, 1.0).named() == before


def test_a_batch_is_split_by_tag_and_nothing_is_left_out() -> None:
    meters = Meters(SPECS)
    for number in range(50):
        meters.add(b"%d" % number, EVENTS, float(number + 1), 1.0)
    batch = collected(meters, 1.0)
    parts = batch.split(lambda key: key[-1:])
    assert len(parts) == 10
    assert all({key[-1:] for key in part.keys} == {part.keys[0][-1:]} for part in parts)
    assert sorted((key, row[EVENTS]) for part in parts for key, row, _ in part) == sorted(
        (key, row[EVENTS]) for key, row, _ in batch
    )


def test_an_answer_to_something_else_changes_nothing() -> None:
    meters = Meters(SPECS)
    meters.add(KEY, EVENTS, 1.0, 1.0)
    batch = collected(meters, 1.0)
    with pytest.raises(ValueError, match="2 answers to 1"):
        meters.merge(batch, [None, None], 1.0)
    assert reading(meters, 1.0)[EVENTS] == 1.0


@pytest.mark.parametrize("answer", [None, 7, b"", b"x", bytes(6), bytes(9) + b"x", b"\xff" * 40])
def test_an_answer_that_is_no_row_is_counted_and_changes_nothing(answer: object) -> None:
    meters = Meters(SPECS)
    meters.add(KEY, EVENTS, 1.0, 1.0)
    meters.merge(collected(meters, 1.0), [answer], 1.0)
    assert (reading(meters, 1.0)[EVENTS], meters.failures) == (1.0, 1)


numbers = st.one_of(
    st.just(0.0),
    st.integers(0, 70_000).map(float),
    st.floats(1e-6, 1e12),
    st.floats(-1e6, -1e-6),
)


@given(st.lists(numbers, min_size=len(SPECS) + 1, max_size=len(SPECS) + 1))
def test_a_row_comes_back_from_the_wire_as_it_was(row: list[float]) -> None:
    layout = Layout(SPECS)
    for index in (LAST, FIRST):
        row[index] = float(abs(int(row[index])))
    back = layout.decode(b"head" + layout.encode(row), 4)
    assert back == pytest.approx(row, rel=1e-6)
    for index in (LAST, FIRST):
        assert back[index] == row[index]


def test_a_client_of_a_few_requests_is_few_bytes_on_the_wire() -> None:
    meters = Meters(SPECS)
    for index in (REQUESTS, PRESSURE, EVENTS, LAST, FIRST):
        meters.add(KEY, index, 1.0, 1.0)
    meters.see(KEY, WORKS, b"a", 1.0)
    layout = meters.layout
    assert len(layout.encode(collected(meters, 1.05).rows[0])) <= 24


def test_another_layout_has_other_names() -> None:
    layouts = [Layout(SPECS), Layout([*SPECS[:-1], Runs("ids", 9)]), Layout([Decaying("requests", 61.0), *SPECS[1:]])]
    assert len({layout.suffix + layout.digest for layout in layouts}) == 3
    assert Layout(SPECS).digest == layouts[0].digest


def test_all_names_of_a_key_have_its_tag() -> None:
    meters = Meters(SPECS)
    for client in range(20):
        for number in range(20):
            for index in (WORKS, SHAPES, IDS):
                meters.see(b"%d" % client, index, number, 1.0)
    batch = collected(meters, 1.0)
    names, arguments = batch.command(lambda key: b"g2:{%d}" % (int(key) % 3) + key.rjust(11, b"-"))
    assert len(names) == 80 == batch.answers == len(set(names))
    assert len(arguments) == 80 + 4
    for key_at in range(0, 80, 4):
        assert len({name[: name.index(b"}") + 1] for name in names[key_at : key_at + 4]}) == 1
        assert all(name.startswith(names[key_at]) for name in names[key_at : key_at + 4])
        assert struct.unpack_from("<cH", arguments[4 + key_at + 1])[0] == b"d"

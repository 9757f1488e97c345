"""What the meters cost: microseconds an `add`, a `see`, a `read`, a key's way to the server; bytes here and there.

The mix is said in `events_of`: most clients come a few times, some a while, one in a hundred walks the catalogue.
Run it for itself: `python -m loadtests.bench.meters`.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import guard
from guard.observe import Decaying, Distinct, Few, FirstSeen, LastSeen, Leaky, Meters, Runs, Spec, Total
from tests.servers import DEBIAN_REDIS, server

SPECS: tuple[Spec, ...] = (
    Decaying("requests", 60.0),
    Decaying("media", 600.0),
    Decaying("errors", 60.0),
    Leaky("pressure", 1.0),
    Total("events"),
    Total("pages"),
    LastSeen("last"),
    FirstSeen("first"),
    Distinct("works", 32, 512),
    Few("shapes", 8, 8),
    Runs("ids", 64, 16),
)
REQUESTS, MEDIA, ERRORS, PRESSURE, EVENTS, PAGES, LAST, FIRST, WORKS, SHAPES, IDS = range(len(SPECS))
CLIENTS = 100_000
SCRIPT = (Path(guard.__file__).parent / "stores" / "meters.lua").read_text()


def events_of(client: int) -> int:
    """95 % of clients have 1 to 9 events, 4 % have 30, 1 % have 500 over 300 different works."""
    place = client % 100
    return 500 if place == 0 else 30 if place < 5 else 1 + client % 9


def key_of(client: int) -> bytes:
    return b"c:203.0.%d.%d" % (client // 250, client % 250)


def seal(key: bytes) -> bytes:
    """17 bytes a name, as the store makes them."""
    return b"g2:{%x}%011x" % (hash(key) & 15, hash(key) >> 20 & 0xFFF_FFFF_FFFF)


def count(meters: Meters, client: int, event: int, now_s: float) -> None:
    """One request: five or six meters and three sets."""
    key, work = key_of(client), (client * 7919 + event % 300) % 1_000_000
    meters.add(key, REQUESTS, 1.0, now_s)
    meters.add(key, PRESSURE, 1.0, now_s)
    meters.add(key, EVENTS, 1.0, now_s)
    meters.add(key, LAST, 0.0, now_s)
    meters.add(key, FIRST, 0.0, now_s)
    meters.add(key, PAGES if event % 3 else MEDIA, 1.0, now_s)
    meters.see(key, WORKS, b"track:%d" % work, now_s)
    meters.see(key, SHAPES, b"shape", now_s)
    meters.see(key, IDS, work, now_s)


def each_us(act: Callable[[int], None], times: int = 100_000, rounds: int = 5) -> float:
    """Microseconds one call takes: the median of some rounds, less what the loop costs."""

    def seconds(what: Callable[[int], None]) -> float:
        began = time.perf_counter()
        for number in range(times):
            what(number)
        return time.perf_counter() - began

    gc.collect()
    nothing = median(seconds(lambda _: None) for _ in range(rounds))
    return (median(seconds(act) for _ in range(rounds)) - nothing) / times * 1e6


def calls() -> Iterator[tuple[str, float]]:
    """Microseconds by call, over 1,000 keys at 10,000 requests a second, as a busy worker has them."""
    keys = [key_of(client) for client in range(1000)]
    tracks = [b"track:%d" % number for number in range(300)]
    meters = Meters(SPECS)
    for name, index in (("decaying", REQUESTS), ("total", EVENTS), ("leaky", PRESSURE), ("last seen", LAST)):
        yield f"add {name}", each_us(lambda n, i=index: meters.add(keys[n % 1000], i, 1.0, n / 1e4))  # type: ignore[misc]
    yield "see, known", each_us(lambda n: meters.see(keys[n % 1000], SHAPES, tracks[n % 5], n / 1e4))
    yield (
        "see distinct, 300 works",
        each_us(lambda n: meters.see(keys[n % 1000], WORKS, tracks[n // 1000 % 300], n / 1e4)),
    )
    yield "see runs, all new", each_us(lambda n: meters.see(keys[n % 1000], IDS, n, n / 1e4))
    yield "read", each_us(lambda n: meters.read(keys[n % 1000], n / 1e4))  # type: ignore[arg-type, return-value]
    reading = meters.read(keys[0], 1.0)
    assert reading is not None
    yield "one number of a reading", each_us(lambda n: reading[n % 8])  # type: ignore[arg-type, return-value]
    yield "longest run of 64", each_us(lambda n: reading.longest_run(IDS), 10_000)  # type: ignore[arg-type, return-value]
    yield from many()


def many() -> Iterator[tuple[str, float]]:
    """A million keys through one table: the first and the last 100,000 additions, each by medians of a thousand."""
    meters = Meters(SPECS)
    turns: list[float] = []
    worst = 0.0
    for turn in range(1000):
        began = time.perf_counter()
        for number in range(turn * 1000, turn * 1000 + 1000):
            meters.add(b"k%d" % number, REQUESTS, 1.0, number / 1e4)
        turns.append((time.perf_counter() - began) * 1e3)
    for number in range(1_000_000, 1_100_000):
        began = time.perf_counter()
        meters.add(b"k%d" % number, REQUESTS, 1.0, number / 1e4)
        worst = max(worst, time.perf_counter() - began)
    yield "add on a new key, first 100,000", median(turns[:100])
    yield "add on a new key, last 100,000 of a million", median(turns[-100:])
    yield "the longest of 100,000 more", worst * 1e6


def here() -> Iterator[tuple[str, float]]:
    """Bytes a key takes in this process: a number only, and in the mix; and what the estimate says."""
    for name, fill in (("one number", False), ("the mix", True)):
        gc.collect()
        tracemalloc.start()
        meters = Meters(SPECS, max_bytes=1 << 30)
        for client in range(20_000):
            for event in range(events_of(client) if fill else 0):
                count(meters, client, event, 1.0)
            if not fill:
                meters.add(key_of(client), REQUESTS, 1.0, 1.0)
        gc.collect()
        yield f"process, {name}", tracemalloc.get_traced_memory()[0] / 20_000
        yield f"process, {name}, estimate", meters.memory_bytes / 20_000
        tracemalloc.stop()


def there(kind: str) -> Iterator[tuple[str, float]]:
    """Bytes a client takes on a server, and what syncing costs on both sides."""
    with server(kind) as one, one.client() as client:
        client.set("g2:{0}warm", 1, px=900_000)
        script = client.register_script(SCRIPT)
        before = client.info("memory")["used_memory"]
        at_work: dict[str, list[float]] = {"collect": [], "command": [], "call": [], "merge": []}
        keys = 0

        def sync(meters: Meters, now_s: float) -> None:
            nonlocal keys
            while True:
                moments = [time.perf_counter()]
                batch = meters.collect(now_s)
                moments.append(time.perf_counter())
                if batch is None:
                    return
                names, arguments = batch.command(seal)
                moments.append(time.perf_counter())
                answer = script(names, arguments)
                moments.append(time.perf_counter())
                meters.merge(batch, answer, now_s)
                moments.append(time.perf_counter())
                if len(batch) == 512:
                    for took, earlier, later in zip(at_work.values(), moments, moments[1:], strict=False):
                        took.append((later - earlier) / 512 * 1e6)
                keys += len(batch)

        meters = Meters(SPECS, max_keys=20_000)
        for first in range(0, CLIENTS, 1000):
            longest = max(events_of(number) for number in range(first, first + 1000))
            for start in range(0, longest, 10):  # what comes within one interval, and then a sync
                for number in range(first, first + 1000):
                    for event in range(start, min(start + 10, events_of(number))):
                        count(meters, number, event, first / 10)
                sync(meters, first / 10)
        yield f"{kind}, bytes a client", (client.info("memory")["used_memory"] - before) / CLIENTS
        names = client.dbsize()
        yield f"{kind}, names a client", names / CLIENTS
        yield f"{kind}, evicted unsent", meters.lost
        for name, took in at_work.items():
            yield f"{kind}, {name}, us a key in batches of 512", median(took)
        spent = client.info("commandstats")
        script_us = sum(float(spent[c]["usec"]) for c in ("cmdstat_evalsha", "cmdstat_eval") if c in spent)
        yield f"{kind}, on the server, us a key", script_us / keys
        yield from kept(client, kind)


def kept(client: object, kind: str) -> Iterator[tuple[str, float]]:
    """MEMORY USAGE of the names by what they hold, medians of a sample."""
    sizes: dict[str, list[int]] = {}
    for name in client.scan_iter(count=1000):  # type: ignore[attr-defined]
        what = "numbers" if len(name) == 19 else {b"0": "works", b"1": "shapes", b"2": "ids"}.get(name[-1:], "other")
        if len(sizes.setdefault(what, [])) < 2000:
            sizes[what].append(client.memory_usage(name))  # type: ignore[attr-defined]
    for what, all_of in sorted(sizes.items()):
        yield f"{kind}, MEMORY USAGE of {what}", sum(all_of) / len(all_of)


def measure() -> dict[str, float]:
    """All figures by name: microseconds, and bytes where the name says so; printed as they come."""
    figures: dict[str, float] = {}
    servers = ["valkey", *(["redis"] if DEBIAN_REDIS.exists() else [])]
    for part in (calls(), here(), *map(there, servers)):
        for name, figure in part:
            figures[name] = figure
            print(f"{figure:10.3f}  {name}", flush=True)
    return figures


if __name__ == "__main__":
    measure()

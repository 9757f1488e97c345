"""What is kept of clients: bytes on a server and in a worker, what a million strangers do to both, what a take costs.

bytes      the growth of `used_memory` over so many clients who each came once, on Valkey and on Redis
strangers  a million clients who each come once, in a process of its own: its memory, and its CPU for a take
networks   so many networks under a limit of a second: how many keys there are at most, and that all of them go
takes      one take in process, by kind of answer, in turns of a few milliseconds
loading    300 agents and 10,000 rules, until they are read, checked and indexed, and the guard around them
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from asyncio import Future
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stdout
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import NamedTuple

from guard.classify import Catalogue
from guard.engine import Guard
from guard.load import read_policy, shipped_catalogue
from guard.model import Admission, Limit
from guard.stores.memory import MemoryStore
from loadtests.bench.parties import REDIS, start_store
from loadtests.bench.processes import as_child_on
from loadtests.bench.rules import write_policy
from loadtests.bench.tables import Bar, Cells, Section

CLIENTS = 100_000
STRANGERS, QUARTER, SPAN = 1_000_000, 250_000, 100_000
NETWORKS, NETWORKS_PER_S, LIFE_S, GONE_WITHIN_S = 200_000, 40_000, 1.0, 10.0
CHUNK = 200
PATIENCE_S = 5.0
"""The deadline of a take here: what is kept is measured, not how long a server takes when others use the cores."""

TURN = 200
AGENTS, RULES = 300, 10_000

_LASTING = Limit("everybody", 6, 3600.0, 6)  # a key lives for ten minutes after one take
_MINUTE = Limit("everybody", 60, 60.0, 60)
_SECOND = Limit("second", 1, LIFE_S, 1)
_HOT = Limit("hot", 1_000_000, 60.0, 200_000)
_SHUT = Limit("shut", 1, 86_400.0, 1)


class Bytes(NamedTuple):
    server: str
    clients: int
    keys: int
    each: float
    local: int


class Growth(NamedTuple):
    """`mib` is the process's resident memory after each quarter; CPU of it for a take in the first and last 100,000."""

    store: str
    mib: list[float]
    first_us: float
    last_us: float
    local: int

    @property
    def ratio(self) -> float:
        return self.last_us / self.first_us

    @property
    def grown(self) -> float:
        """Memory at the end, as a part of what it was after the first quarter."""
        return self.mib[-1] / self.mib[0]


class Networks(NamedTuple):
    """Keys and bytes on the server before, at most, and in the end; `seconds` of asking, `waited_s` until all went."""

    seconds: float
    keys: tuple[int, int, int]
    bytes: tuple[int, int, int]
    waited_s: float
    local: int


class Takes(NamedTuple):
    """Median microseconds of one take, the clock's own included. `at_once`: how many of the hot ones had a lease."""

    memory_us: float
    leased_us: float
    denied_us: float
    at_once: float


class Loading(NamedTuple):
    """Seconds: names of agents into their automaton; the policy's YAML, its checks and indexes; the guard around it."""

    agents_s: float
    policy_s: float
    guard_s: float

    @property
    def loaded_s(self) -> float:
        return self.agents_s + self.policy_s


class State(NamedTuple):
    bytes: list[Bytes]
    growth: list[Growth]
    networks: Networks
    takes: Takes
    loading: Loading
    meters: dict[str, float]


def measure(directory: Path, core: set[int] | None, rounds: int, say: Callable[[str], None]) -> State:
    loading = _load(rounds)
    say(f"{AGENTS} agents and {RULES:,} rules: {loading.loaded_s:.2f} s")
    sizes: list[Bytes] = []
    for name, binary in (("Valkey", None), ("Redis", REDIS)):
        if binary is None or binary.is_file():
            with _server(directory, core, name.lower(), binary) as (url, client):
                sizes.append(asyncio.run(_bytes(name, url, client)))
                say(f"{name}: {sizes[-1].each:.0f} bytes for a client")
    with _server(directory, core, "state", None) as (url, client):
        growth = [_strangers(store, url) for store in ("memory", url)]
        say(f"{STRANGERS:,} strangers: {', '.join(f'{one.mib[-1]:.0f} MiB' for one in growth)}")
        client.flushall()
        networks = asyncio.run(_networks(url, client))
        say(f"{NETWORKS:,} networks: {networks.keys[1]:,} keys at most, {networks.keys[2]:,} in the end")
        takes = asyncio.run(_takes(url, rounds))
    from loadtests.bench import meters  # here, so that the process of the strangers does not hold it

    say("meters: about a minute")
    with redirect_stdout(sys.stderr):
        figures = meters.measure()
    return State(sizes, growth, networks, takes, loading, figures)


@contextmanager
def _server(directory: Path, core: set[int] | None, name: str, binary: Path | None) -> Iterator:
    """A server of our own: the URL for a store, and a client that looks at it from outside."""
    from redis import Redis

    server, socket, port = start_store(directory, core, f"state-{name}", binary)
    client = Redis(host="127.0.0.1", port=port)
    try:
        yield f"unix://{socket}", client
    finally:
        client.close()
        server.stop()


async def _opened(url: str):
    from guard.stores.redis import RedisStore

    store = RedisStore(url, workers=1, secret=b"bench", timeout_s=PATIENCE_S)
    await store.open()
    await _ask(store, Limit("warm", 100, 1.0, 100), [b"warm"])
    return store


async def _ask(store, limit: Limit, keys: list[bytes]) -> None:
    """All of them in one tick, and then their answers."""
    take = store.take
    answers = [take(limit, key) for key in keys]
    for answer in answers:
        if not isinstance(answer, Admission):
            await answer


def _addresses(start: int, count: int) -> list[bytes]:
    return [b"10.%d.%d.%d" % (number >> 16, number >> 8 & 255, number & 255) for number in range(start, start + count)]


# -- bytes -------------------------------------------------------------------------------------------------


async def _bytes(name: str, url: str, client) -> Bytes:
    store = await _opened(url)
    keys, used = client.dbsize(), _used(client)
    for start in range(0, CLIENTS, CHUNK):
        await _ask(store, _LASTING, _addresses(start, CHUNK))
    seen = [_used(client)]
    while len(seen) < 30 and seen[-5:] != [seen[-1]] * 5:  # the server moves its table of keys bit by bit
        await asyncio.sleep(0.2)
        seen.append(_used(client))
    kept = client.dbsize() - keys
    found = Bytes(name, CLIENTS, kept, (seen[-1] - used) / kept, store.local)
    await store.close()
    return found


def _used(client) -> int:
    return int(client.info("memory")["used_memory"])


# -- strangers ---------------------------------------------------------------------------------------------


def _strangers(store: str, url: str) -> Growth:
    """In a process of its own, so that nothing else is in its memory."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_as_child) as pool:
        return pool.submit(_come, store, url).result(timeout=300)


def _as_child() -> None:
    as_child_on(None)()


def _come(which: str, url: str) -> Growth:
    return asyncio.run(_come_once(which, url))


async def _come_once(which: str, url: str) -> Growth:
    store = MemoryStore() if which == "memory" else await _opened(url)
    mib: list[float] = []
    spans = [0.0] * (STRANGERS // SPAN)
    clock = time.process_time
    for start in range(0, STRANGERS, CHUNK):
        keys = _addresses(start, CHUNK)
        began = clock()
        await _ask(store, _MINUTE, keys)
        spans[start // SPAN] += clock() - began
        if (start + CHUNK) % QUARTER == 0:
            mib.append(_resident_mib())
    local = 0 if isinstance(store, MemoryStore) else store.local
    await store.close()
    name = "in memory" if which == "memory" else "shared, leased"
    return Growth(name, mib, spans[0] / SPAN * 1e6, spans[-1] / SPAN * 1e6, local)


def _resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


# -- networks ----------------------------------------------------------------------------------------------


async def _networks(url: str, client) -> Networks:
    store = await _opened(url)
    await asyncio.sleep(LIFE_S)
    keys, used = client.dbsize(), _used(client)
    most_keys, most_used = keys, used
    clock, began = time.monotonic, time.monotonic()
    for start in range(0, NETWORKS, CHUNK):
        await asyncio.sleep(max(0.0, began + start / NETWORKS_PER_S - clock()))
        numbers = range(start, start + CHUNK)
        await _ask(store, _SECOND, [b"2001:db8:%x:%x::/64" % (number >> 16, number & 65_535) for number in numbers])
        if start % (CHUNK * 10) == 0:
            most_keys, most_used = max(most_keys, client.dbsize()), max(most_used, _used(client))
    asked = clock()
    while clock() - asked < GONE_WITHIN_S and (client.dbsize() > keys or _used(client) > used * 1.05):
        await asyncio.sleep(0.1)
    now_keys, now_used = client.dbsize(), _used(client)
    found = Networks(
        asked - began, (keys, most_keys, now_keys), (used, most_used, now_used), clock() - asked, store.local
    )
    await store.close()
    return found


# -- takes -------------------------------------------------------------------------------------------------


async def _takes(url: str, rounds: int) -> Takes:
    memory, store = MemoryStore(), await _opened(url)
    await _ask(store, _SHUT, [b"client"])
    await _ask(store, _SHUT, [b"client"])  # the refusal is known from here on
    kinds = {"memory": (memory, _HOT), "leased": (store, _HOT), "denied": (store, _SHUT)}
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    asked = 0
    gc.collect()
    gc.freeze()
    try:
        for turn in range(rounds * 20):
            for at in range(len(kinds)):
                kind = list(kinds)[(turn + at) % len(kinds)]
                us, waiting = _turn(*kinds[kind])
                taken[kind] += us
                asked += len(waiting) if kind == "leased" else 0
                for answer in waiting:
                    await answer
                await asyncio.sleep(0)
    finally:
        gc.unfreeze()
    await store.close()
    found = [median(taken[kind]) if taken[kind] else float("nan") for kind in kinds]
    return Takes(*found, len(taken["leased"]) / max(1, len(taken["leased"]) + asked))


def _turn(store, limit: Limit) -> tuple[list[float], list[Future[Admission]]]:
    """The microseconds of those that were answered at once, and those that have to be waited for."""
    us: list[float] = []
    waiting: list[Future[Admission]] = []
    clock, take = time.perf_counter_ns, store.take
    for _ in range(TURN):
        began = clock()
        answer = take(limit, b"client")
        ended = clock()
        if isinstance(answer, Admission):
            us.append((ended - began) / 1e3)
        else:
            waiting.append(answer)
    return us, waiting


# -- loading -----------------------------------------------------------------------------------------------


def _load(rounds: int) -> Loading:
    """The median of at least three times, each part."""
    agents = shipped_catalogue().agents[:AGENTS]
    text = write_policy(RULES, Catalogue(agents))
    found: list[Loading] = []
    for _ in range(max(3, rounds)):
        gc.collect()
        moments = [time.perf_counter()]
        catalogue = Catalogue(agents)
        moments.append(time.perf_counter())
        policy = read_policy(text, catalogue=catalogue)
        moments.append(time.perf_counter())
        Guard(policy)
        moments.append(time.perf_counter())
        found.append(Loading(*(after - before for before, after in pairwise(moments))))
    return Loading(*(median(part) for part in zip(*found, strict=True)))


# -- writing -----------------------------------------------------------------------------------------------


def as_data(state: State) -> dict[str, object]:
    """For JSON."""
    return {
        "bytes": [one._asdict() for one in state.bytes],
        "growth": [one._asdict() for one in state.growth],
        "networks": state.networks._asdict(),
        "takes": state.takes._asdict(),
        "loading": state.loading._asdict(),
        "meters": state.meters,
    }


def sections(state: State) -> list[Section]:
    made = [_bytes_section(state), _strangers_section(state), _networks_section(state), _process_section(state)]
    return [*made, _meters_section(state)]


def _bytes_section(state: State) -> Section:
    head: Cells = ("bytes for a client", "limit", "clients", "keys", "bytes each", "local")
    body: list[Cells] = [
        (one.server, "rate", f"{one.clients:,}", f"{one.keys:,}", f"{one.each:.1f}", f"{one.local:,}")
        for one in state.bytes
    ]
    return "Table 9. What a server keeps of a client", head, body


def _strangers_section(state: State) -> Section:
    head: Cells = (f"{STRANGERS:,} strangers", "", "250k MiB", "500k MiB", "750k MiB", "1M MiB", "grown")
    head += ("first 100k us", "last 100k us", "ratio", "local")
    body: list[Cells] = [
        (
            one.store,
            "",
            *(f"{mib:.1f}" for mib in one.mib),
            f"{one.grown:.3f}",
            f"{one.first_us:.2f}",
            f"{one.last_us:.2f}",
            f"{one.ratio:.2f}",
            f"{one.local:,}",
        )
        for one in state.growth
    ]
    return "Table 10. A million clients who come once each: a worker's memory, its CPU for a take", head, body


def _networks_section(state: State) -> Section:
    found = state.networks
    head: Cells = ("on the server", "", "before", "at most", "in the end", "asked for s", "gone after s", "local")
    times = (f"{found.seconds:.1f}", f"{found.waited_s:.1f}", f"{found.local:,}")
    body: list[Cells] = [
        ("keys", "", *(f"{number:,}" for number in found.keys), *times),
        ("MiB", "", *(f"{number / 2**20:.2f}" for number in found.bytes), "", "", ""),
    ]
    return f"Table 11. {NETWORKS:,} networks (/64) under a limit of a second", head, body


def _process_section(state: State) -> Section:
    takes, loading = state.takes, state.loading
    head: Cells = ("in process", "", "figure")
    body: list[Cells] = [
        ("a take from memory", "us", f"{takes.memory_us:.2f}"),
        ("a take that a lease answers", "us", f"{takes.leased_us:.2f}"),
        ("a take that is known to be refused", "us", f"{takes.denied_us:.2f}"),
        (f"{AGENTS} agents into their automaton", "s", f"{loading.agents_s:.3f}"),
        (f"a policy of {RULES:,} rules read, checked, indexed", "s", f"{loading.policy_s:.3f}"),
        ("a guard around it", "s", f"{loading.guard_s:.3f}"),
    ]
    return "Table 12. What a take costs in process, and loading", head, body


def _meters_section(state: State) -> Section:
    def unit(name: str) -> str:
        if any(word in name for word in ("bytes", "process", "MEMORY")):
            return "bytes"
        return "" if "names" in name else "us"

    head: Cells = ("meters", "", "figure")
    body: list[Cells] = [(name, unit(name), f"{figure:,.2f}") for name, figure in state.meters.items()]
    return "Table 13. Meters: what they cost, here and on a server", head, body


def bars(state: State) -> list[Bar]:
    made = [
        Bar(f"bytes for a client on {one.server}, a rate", "<= 130", f"{one.each:.0f}", one.each <= 130)
        for one in state.bytes
    ]
    for one in state.bytes:
        both = one.each + state.meters.get(f"{one.server.lower()}, bytes a client", float("nan"))
        made.append(Bar(f"bytes for a client on {one.server}, a rate and meters", "<= 250", f"{both:.0f}", both <= 250))
    for one in state.growth:
        name = f"a million strangers, {one.store}"
        made.append(Bar(f"{name}: CPU of a take, last against first", "<= 1.30", f"{one.ratio:.2f}", one.ratio <= 1.3))
        made.append(Bar(f"{name}: memory after 250,000", "<= 5 % more", f"{one.grown - 1:+.1%}", one.grown <= 1.05))
    found = state.networks
    bound = 2 * LIFE_S * NETWORKS / found.seconds
    made += [
        Bar(
            f"{NETWORKS:,} networks, keys at most",
            f"<= {bound:,.0f} (twice those of a key's life)",
            f"{found.keys[1]:,}",
            found.keys[1] <= bound,
        ),
        Bar(
            f"{NETWORKS:,} networks, keys and memory back within {GONE_WITHIN_S:.0f} s",
            "as before",
            f"{found.keys[2] - found.keys[0]:+,} keys, {found.bytes[2] / found.bytes[0] - 1:+.1%}",
            found.keys[2] <= found.keys[0] and found.bytes[2] <= found.bytes[0] * 1.05,
        ),
    ]
    seconds = state.loading.loaded_s
    what = f"loading {AGENTS} agents and {RULES:,} rules: read, checked, indexed"
    return [*made, Bar(what, "<= 0.30 s", f"{seconds:.2f} s", seconds <= 0.3)]

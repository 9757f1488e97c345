"""The server's clock jumps by an hour under load: nobody is shut out, and a jump is worth a burst at most."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest

from guard.model import Limit
from guard.stores.redis import RedisStore
from tests.chaos.fleet import Node, node
from tests.chaos.load import Load, ask, keys, opened, shared_but_strays, within_bound
from tests.chaos.test_server_fails import is_shared_again
from tests.servers import eventually

HOUR_S = 3600
RATE = Limit("rate", 100, 1.0, 20)
EXACT = Limit("rate", 100, 1.0, 20, precision="exact")


def faketime() -> Path | None:
    """libfaketime as a wheel (PyPI: libfaketime) or as Debian's package."""
    spec = find_spec("libfaketime")
    if spec is not None and spec.submodule_search_locations:
        path = Path(spec.submodule_search_locations[0]) / "vendor/libfaketime/src/libfaketime.so.1"
        if path.exists():
            return path
    return next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)


class Clock:
    """The wall clock of one server process; its monotonic clock stays true."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)

    def set(self, ahead_s: int) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead_s:+d}\n")
        new.replace(self._file)


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    library = faketime()
    if library is None:
        pytest.skip("no libfaketime")
    one = Clock(tmp_path / "clock")
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(tmp_path / "clock"))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    monkeypatch.setenv("LD_PRELOAD", str(library))
    return one


@pytest.fixture
def server(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    with node("valkey") as one:
        monkeypatch.delenv("LD_PRELOAD")
        yield one


def ahead_s(server: Node) -> float:
    with server.client() as client:
        return float(client.time()[0]) - time.time()


@pytest.mark.anyio
@pytest.mark.parametrize("limit", [RATE, EXACT], ids=["leased", "exact"])
async def test_a_jump_of_an_hour_shuts_nobody_out_and_gives_one_burst(server: Node, clock: Clock, limit: Limit) -> None:
    jumps = (HOUR_S, 0, -HOUR_S, 0)
    workers = [RedisStore(server.url, workers=2, timeout_s=0.5) for _ in range(2)]
    async with opened(*workers), Load(workers, limit, [b"hot"], 400) as load:
        await load.more(150)
        for ahead in jumps:
            clock.set(ahead)
            assert abs(ahead_s(server) - ahead) < 5
            await load.more(200)
        await is_shared_again(load)
    assert shared_but_strays(load.answers)
    assert sum(store.errors for store in workers) == 0
    within_bound(load.answers, limit, extra=lambda _: len(jumps) * limit.burst)
    admitted = [one.returned for one in load.answers if one.allowed] + [load.answers[-1].returned]
    longest = max(after - before for before, after in pairwise(admitted))
    assert longest <= limit.burst * limit.emission_s + 0.1


@pytest.mark.anyio
async def test_who_was_counted_by_a_clock_that_went_back_waits_one_interval_at_most(server: Node, clock: Clock) -> None:
    """What they had left of their burst is lost with the hour; what they are told is true."""
    store = RedisStore(server.url)
    limit = Limit("tenth", 10, 1.0, 5, precision="exact")
    async with opened(store):
        clock.set(HOUR_S)
        for key in keys(50):
            assert (await ask(store, limit, key)).allowed
        clock.set(0)
        answers = {key: await ask(store, limit, key) for key in keys(50)}
        assert shared_but_strays([*answers.values()])
        refused = {key: one for key, one in answers.items() if not one.allowed}
        assert all(one.retry_after_s <= limit.emission_s + 0.001 for one in refused.values())
        told = time.monotonic() + limit.emission_s + 0.001
        await eventually(lambda: time.monotonic() > told, within_s=1)
        assert all([(await ask(store, limit, key)).allowed for key in refused])

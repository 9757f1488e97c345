"""Valkey is killed under load: no listener notices, directives are served, limits go local, and come back shared."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest

from tests.processes import Running, eventually, get, sidecar, uvicorn
from tests.servers import Server, server
from tests.test_limits_across_workers import BURST, POLICY


@pytest.fixture
def valkey() -> Iterator[Server]:
    with server("valkey") as running:
        yield running


@pytest.fixture
def guard(valkey: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    tmp = tmp_path_factory.mktemp("dies")
    policy = tmp / "policy.yaml"
    policy.write_text(POLICY)
    with uvicorn("starlette_app:site", tmp) as upstream:
        options = ("--workers", "2", "--store", valkey.url, "--trusted-proxies", "127.0.0.1", "--log", "all")
        with sidecar(upstream.url, tmp, *options, policy=policy) as running:
            yield running


class Load:
    """Requests from ever new clients, and now and then for robots.txt, until told to stop."""

    def __init__(self, guard: Running) -> None:
        self.guard = guard
        self.statuses: list[int] = []
        self.robots: list[int] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(3)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        count = 0
        while not self._stop.is_set():
            count += 1
            client = f"10.{number}.{count // 200 % 256}.{count % 200}"
            self.statuses.append(get(self.guard.port, "/track/1", **{"X-Forwarded-For": client})[0])
            if count % 10 == 0:
                self.robots.append(get(self.guard.port, "/robots.txt", "GPTBot")[0])


def counted(guard: Running) -> list[str]:
    """Where each limit was counted so far: shared or local."""
    text = guard.log.read_text().splitlines(keepends=True)
    lines = [json.loads(line) for line in text if line.startswith("{") and line.endswith("\n")]
    return [line["counted"] for line in lines if "counted" in line]


def test_a_killed_store_is_never_the_clients_problem(guard: Running, valkey: Server) -> None:
    with Load(guard) as load:
        assert eventually(lambda: len(load.statuses) > 100)
        assert set(counted(guard)) == {"shared"}
        valkey.kill()
        assert eventually(lambda: counted(guard)[-1] == "local")
        before = len(load.statuses)
        assert eventually(lambda: len(load.statuses) > before + 200)

        flood = [get(guard.port, "/track/1", **{"X-Forwarded-For": "203.0.113.99"})[0] for _ in range(4 * BURST)]
        assert 429 in flood  # limits hold on, each worker with its share

        valkey.start()
        returned = time.monotonic()
        assert eventually(lambda: counted(guard)[-1] == "shared", within_s=2.0), "not shared within 2 s"
        assert time.monotonic() - returned < 2.5
        assert eventually(lambda: len(load.statuses) > before + 400)
    assert set(load.statuses) == {200}
    assert set(load.robots) == {200}

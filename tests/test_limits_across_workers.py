"""Four worker processes, one Valkey: a client never gets more than floor(W / T) + burst in any window."""

from __future__ import annotations

import http.client
import math
import threading
import time
from collections.abc import Iterator

import pytest

from tests.processes import Running, get, sidecar, uvicorn

RATE_PER_S, BURST, FOR_S, THREADS = 3, 12, 4.0, 8

POLICY = f"""
version: 1
site: {{name: limits}}
default: allow
limits:
  - {{name: slow, rate: {RATE_PER_S}/s, burst: {BURST}, key: client}}
rules:
  - {{name: all slow, when: {{path: /track/**}}, then: throttle, limit: slow}}
"""


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    tmp = tmp_path_factory.mktemp("limits")
    policy = tmp / "policy.yaml"
    policy.write_text(POLICY)
    with uvicorn("starlette_app:site", tmp) as upstream:
        options = ("--workers", "4", "--store", "embedded", "--trusted-proxies", "127.0.0.1", "--log", "all")
        with sidecar(upstream.url, tmp, *options, policy=policy) as running:
            yield running


def hammer(guard: Running, client: str) -> list[tuple[float, float, int]]:
    """What THREADS connections at once get in FOR_S seconds: start, end, status of each request."""
    history: list[tuple[float, float, int]] = []
    stop = time.monotonic() + FOR_S

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", guard.port, timeout=10)
        while time.monotonic() < stop:
            started = time.monotonic()
            connection.request("GET", "/track/1", headers={"X-Forwarded-For": client})
            answer = connection.getresponse()
            answer.read()
            history.append((started, time.monotonic(), answer.status))
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return history


def test_no_window_admits_more_than_the_bound(guard: Running) -> None:
    history = hammer(guard, "203.0.113.7")
    admitted = sorted((start, end) for start, end, status in history if status == 200)
    assert {status for _, _, status in history} == {200, 429}
    for first, _ in admitted:  # each decision was made between a start and an end: windows from any start to any end
        for last in (end for _, end in admitted if end >= first):
            inside = sum(1 for start, end in admitted if first <= start and end <= last)
            assert inside <= math.floor((last - first) * RATE_PER_S) + BURST
    assert len(admitted) >= BURST + RATE_PER_S * FOR_S * 0.7  # and it is a rate, not a ban


def test_all_workers_take_part_and_another_client_is_not_touched(guard: Running) -> None:
    assert len(guard.workers()) == 4
    hammer(guard, "203.0.113.8")
    assert get(guard.port, "/track/1", **{"X-Forwarded-For": "203.0.113.9"})[0] == 200
    assert 429 in [get(guard.port, "/track/1", **{"X-Forwarded-For": "203.0.113.8"})[0] for _ in range(3 * BURST)]


def test_the_rest_of_a_64_shares_one_budget(guard: Running) -> None:
    statuses = [
        get(guard.port, "/track/1", **{"X-Forwarded-For": f"2001:db8:1:2::{number:x}"})[0]
        for number in range(BURST + 40)
    ]
    assert 429 in statuses
    assert get(guard.port, "/track/1", **{"X-Forwarded-For": "2001:db8:1:3::1"})[0] == 200

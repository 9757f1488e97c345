"""Limits of all kinds through the real sidecar: two workers, the Valkey that comes with it, a platform that streams."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.processes import Running, eventually, free_port, get, run, sidecar

POLICY = """
version: 1
site:
  name: limits
  trusted_proxies: [127.0.0.1]
  account: {query: u}
default: allow
routes:
- {class: media, paths: [/media/**]}
limits:
- {name: streams, key: account, at_once: 2, when: {path: /media/live}}
- {name: bytes, key: account, rate: 1 MB/hour, burst: 100 kB, when: {path: /media/song}}
- {name: daily, key: account, quota: 3/day}
- {name: agents, key: [operator, site], rate: 1/min, burst: 2, when: {category: search}}
rules:
- {name: downloads, when: {path: /download}, then: throttle, limit: daily}
"""


class Platform(BaseHTTPRequestHandler):
    """Songs of sixty kilobytes, and live streams that go on until told."""

    protocol_version = "HTTP/1.1"
    going_on = threading.Event()
    listeners = 0

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path.startswith("/media/live"):
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nfirst\r\n")
            Platform.listeners += 1
            Platform.going_on.wait(30)
            self.wfile.write(b"4\r\nlast\r\n0\r\n\r\n")
            return
        body = b"x" * (60_000 if self.path.startswith("/media") else 10)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    tmp = tmp_path_factory.mktemp("limits")
    (policy := tmp / "policy.yaml").write_text(POLICY)
    platform = ThreadingHTTPServer(("127.0.0.1", 0), Platform)
    platform.daemon_threads = True
    threading.Thread(target=platform.serve_forever, daemon=True).start()
    options = ("--workers", "2", "--store", "embedded", "--log", "all", "--ignore-robots")
    with sidecar(f"http://127.0.0.1:{platform.server_port}", tmp, *options, policy=policy) as running:
        yield running
    platform.shutdown()
    platform.server_close()


class Stream:
    """A listener who stays."""

    def __init__(self, guard: Running, account: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", guard.port, timeout=10)
        self.connection.request("GET", f"/media/live?u={account}")
        self.answer = self.connection.getresponse()

    def leave(self) -> None:
        self.answer.close()
        self.connection.close()


def test_no_account_has_more_streams_than_its_places_over_all_workers(guard: Running) -> None:
    Platform.going_on.clear()
    streams = [Stream(guard, "ann") for _ in range(6)]
    statuses = [stream.answer.status for stream in streams]
    assert sorted(statuses) == [200, 200, 429, 429, 429, 429]
    refused = next(stream.answer for stream in streams if stream.answer.status == 429)
    assert refused.getheader("ratelimit-policy") == '"streams";q=2;qu="concurrent-requests"'
    assert json.loads(refused.read())["violated-policies"] == ["streams"]
    assert Stream(guard, "bob").answer.status == 200

    next(stream for stream in streams if stream.answer.status == 200).leave()  # a closed tab
    found: list[Stream] = []

    def admitted() -> bool:
        found.append(Stream(guard, "ann"))
        return found[-1].answer.status == 200

    assert eventually(admitted, 5)
    Platform.going_on.set()
    assert found[-1].answer.read() == b"firstlast"
    assert eventually(admitted, 5)  # a stream that has ended gives its place back, too


def test_bytes_are_charged_and_the_one_under_way_is_whole(guard: Running) -> None:
    def song() -> int:
        status, _, body = get(guard.port, "/media/song?u=cat")
        assert status == 429 or len(body) == 60_000
        return status

    assert [song(), song()] == [200, 200]
    assert eventually(lambda: song() == 429, 5)  # what the other worker has sent is known here a moment later
    status, headers, _ = get(guard.port, "/media/song?u=cat")
    assert status == 429
    assert '"bytes";q=100000;w=360;qu="content-bytes"' in headers["ratelimit-policy"]


def test_a_quota_is_one_for_all_workers(guard: Running) -> None:
    statuses = [get(guard.port, "/download?u=dan")[0] for _ in range(12)]
    assert statuses == [200] * 3 + [429] * 9
    assert int(get(guard.port, "/download?u=dan")[1]["retry-after"]) <= 86_400


def test_a_limit_that_names_what_it_is_for_needs_no_rule(guard: Running) -> None:
    agents = [
        "Googlebot/2.1",
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "bingbot/2.0",
    ]
    statuses = [get(guard.port, "/about", agent)[0] for agent in (*agents[:2], agents[0], agents[2])]
    assert statuses == [200, 200, 429, 200]  # one operator's names count together
    assert get(guard.port, "/about")[0] == 200
    assert get(guard.port, "/robots.txt", agents[0])[0] == 200


def test_an_embedded_store_that_ends_is_started_again(guard: Running) -> None:
    children = Path(f"/proc/{guard.process.pid}/task/{guard.process.pid}/children").read_text().split()
    (store,) = (int(pid) for pid in children if "valkey" in Path(f"/proc/{pid}/cmdline").read_text())
    os.kill(store, signal.SIGKILL)

    def counted() -> str:
        get(guard.port, "/about", "bingbot/2.0")
        lines = [line for line in guard.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        told = [json.loads(line) for line in lines if line.startswith("{")]
        return str([line["counted"] for line in told if "counted" in line][-1])

    assert eventually(lambda: counted() == "local", 5)
    assert eventually(lambda: counted() == "shared", 5)
    assert "another was started" in guard.log.read_text()


APP = """
import os
from guard import Guard, GuardMiddleware
from guard.load import read_policy
from guard.stores import open_store

async def hello(scope, receive, send):
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-worker", str(os.getpid()).encode())]})
    await send({"type": "http.response.body", "body": b"hello"})

app = GuardMiddleware(hello, Guard(read_policy('''
version: 1
site: {name: x}
default: allow
limits: [{name: few, rate: 6/hour, burst: 6, precision: exact}]
rules: [{name: all, when: {path: /x}, then: throttle, limit: few}]
'''), store=open_store("embedded", workers=3)), join_robots=False)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes as Linux shows them")
def test_workers_that_a_server_starts_find_one_embedded_store_and_outlive_its_owner(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "shop:app", "--port", str(port), "--no-proxy-headers", "--workers", "3"]
    with run([*command, "--log-level", "warning"], port, tmp_path, {"PYTHONPATH": str(tmp_path)}) as running:
        seen: set[str] = set()

        def all_are_up() -> bool:
            seen.add(get(port, "/y")[1]["x-worker"])
            return len(seen) == 3

        assert eventually(all_are_up, 20)
        statuses = [get(port, "/x")[0] for _ in range(40)]
        assert 6 <= statuses.count(200) <= 8  # one burst; a busy machine may have made one worker count by itself
        workers = {int(pid) for pid in _children(running.process.pid)}
        owners = {worker: stores for worker in workers if (stores := _stores_of(worker))}
        assert len(owners) == 1  # one server for all
        (owner,) = owners
        os.kill(owner, signal.SIGKILL)  # and its server goes with it

        def taken_over() -> bool:
            others = {int(pid) for pid in _children(running.process.pid)} - {owner}
            return len([worker for worker in others if _stores_of(worker)]) == 1

        assert eventually(taken_over, 10)

        def admits_six() -> bool:  # they count together again
            return [get(port, "/x")[0] for _ in range(20)].count(429) > 0

        assert eventually(admits_six, 10)
    assert eventually(lambda: not any(_alive(store) for stores in owners.values() for store in stores), 5)


def _children(pid: int) -> list[str]:
    return subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()


def _stores_of(pid: int) -> list[int]:
    names = ((child, Path(f"/proc/{child}/cmdline")) for child in _children(pid))
    return [int(child) for child, path in names if path.exists() and b"valkey" in path.read_bytes()]


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()

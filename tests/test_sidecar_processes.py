"""`guard serve` as people run it: real processes that are killed, stopped, starved and asked wrongly."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import Running, answers, eventually, free_port, sidecar
from tests.processes import get as fetch
from tests.sidecar import GATED, OK, OPEN, Line, Platform, get

pytestmark = pytest.mark.anyio

SLOW_READERS = 200
BOUND_MIB = 0.75
"""Resident memory that one slow reader of a large answer may cost; measured: see the test."""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    (file := tmp_path / "policy.yaml").write_text(GATED)
    return file


async def ask(port: int, data: bytes = get("/", "Connection: close")) -> bytes:
    """All of one answer; raises ConnectionError when it is cut off before its first byte."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(5):
            got = await reader.read()
        if not got:
            raise ConnectionError
        return got
    finally:
        writer.transport.abort()


def rss_mib(running: Running) -> float:
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in running.workers())
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def test_a_killed_worker_is_replaced_within_a_second_and_others_go_on(tmp_path: Path, policy: Path) -> None:
    async def script(line: Line) -> None:
        """A long answer while it is asked for, short ones otherwise."""
        while (asked := await platform.take(line)).complete:
            if asked.target == b"/long":
                await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
                await asyncio.sleep(60)
            await line.send(OK)

    platform = Platform(script)
    async with platform.running():
        upstream = f"http://127.0.0.1:{platform.port}"
        with sidecar(upstream, tmp_path, "--workers", "2", "--log", "none", policy=policy) as running:
            failed, asked = 0, 0

            async def load() -> None:
                nonlocal failed, asked
                while True:
                    asked += 1
                    try:
                        assert (await ask(running.port)).endswith(b"ok")
                    except ConnectionError:
                        failed += 1
                    await asyncio.sleep(0.005)

            while len(running.workers()) < 2:
                await asyncio.sleep(0.01)
            loads = [asyncio.ensure_future(load()) for _ in range(2)]
            await asyncio.sleep(0.3)
            for _ in range(3):
                before = running.workers()
                assert len(before) == 2
                began = time.monotonic()
                os.kill(before[0], signal.SIGKILL)
                while len(now := running.workers()) < 2 or before[0] in now:
                    await asyncio.sleep(0.01)
                assert time.monotonic() - began < 1.0
                await asyncio.sleep(0.3)
            for one in loads:
                one.cancel()
            results = await asyncio.gather(*loads, return_exceptions=True)
            assert all(isinstance(one, asyncio.CancelledError) for one in results), results
            assert asked > 100 and failed <= 2 * 3  # at most what the killed ones were answering
            assert running.process.poll() is None


async def test_an_api_that_keeps_dying_takes_no_traffic_with_it_and_comes_back(tmp_path: Path) -> None:
    (policy := tmp_path / "policy.yaml").write_text(
        OPEN + "rights: {source: r.sqlite, works: [{path: '/t/{track}'}]}\n"
    )
    (tokens := tmp_path / "tokens").write_text(f"settings: {'s' * 40}\n")
    api_port = free_port()
    options = ["--workers", "1", "--ignore-robots", "--api", f"127.0.0.1:{api_port}", "--api-tokens", str(tokens)]

    def health() -> int:
        try:
            return fetch(api_port, "/guard/api/health")[0]
        except OSError:
            return 0

    async with Platform().running() as platform:
        with sidecar(f"http://127.0.0.1:{platform.port}", tmp_path, *options, policy=policy) as running:
            assert await asyncio.to_thread(eventually, lambda: len(running.workers()) == 2)
            _, worker = running.workers()  # in the order in which they were started
            killed: set[int] = set()
            until = time.monotonic() + 3.5
            while time.monotonic() < until:
                for api in {*running.workers()} - {worker}:
                    with contextlib.suppress(ProcessLookupError):  # gone already, and its parent has just seen it
                        os.kill(api, signal.SIGKILL)
                    killed.add(api)
                assert (await ask(running.port)).endswith(b"ok")
            assert running.process.poll() is None
            assert 2 <= len(killed) <= 4  # each pause is longer than the last one
            assert await asyncio.to_thread(eventually, lambda: health() == 200, 15)
            assert worker in running.workers()
            assert running.log.read_text().count("the process beside the workers ended") == len(killed)
            assert running.stop() == 0
            assert not answers(api_port)


@pytest.mark.parametrize("store", ["memory", "embedded"])
async def test_sigterm_lets_a_running_stream_end_and_exits_0(tmp_path: Path, policy: Path, store: str) -> None:
    async def script(line: Line) -> None:
        await line.message()
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        for _ in range(10):
            await line.send(bytes(100_000))
            await asyncio.sleep(0.1)

    async with Platform(script).running() as platform:
        upstream = f"http://127.0.0.1:{platform.port}"
        options = ["--workers", "2", "--store", store]
        with sidecar(upstream, tmp_path, "--ignore-robots", *options, policy=policy) as running:
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            idle = await asyncio.open_connection("127.0.0.1", running.port)
            writer.write(get("/stream/1"))
            await reader.readuntil(b"\r\n\r\n")
            running.process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(idle[0].read(), 1.0) == b""  # who asks for nothing is not waited for
            body = await asyncio.wait_for(reader.read(), 5.0)
            assert len(body) == 1_000_000
            assert await asyncio.to_thread(running.process.wait, 5.0) == 0
            with pytest.raises(ConnectionError):
                await ask(running.port)
            writer.close()


async def test_slow_readers_cost_a_bounded_amount_of_memory(tmp_path: Path, policy: Path) -> None:
    """200 clients that read nothing of 5 MB each; see BOUND_MIB."""
    piece = bytes(1 << 16)

    async def script(line: Line) -> None:
        await line.message(within_s=60)
        line.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5242880\r\n\r\n")
        for _ in range(80):
            await line.writer.drain()
            if line.writer.is_closing():
                return
            line.writer.write(piece)

    async with Platform(script).running() as platform:
        upstream = f"http://127.0.0.1:{platform.port}"
        with sidecar(upstream, tmp_path, "--log", "none", policy=policy) as running:
            await ask(running.port, get("/private/x", "Connection: close"))
            while not running.workers():
                await asyncio.sleep(0.01)
            before = rss_mib(running)
            clients = []
            for _ in range(SLOW_READERS):
                sock = socket.socket()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)  # else the kernel takes it all
                sock.connect(("127.0.0.1", running.port))
                client = await asyncio.open_connection(sock=sock, limit=1024)
                client[1].write(get("/big"))
                clients.append(client)
            await asyncio.sleep(1.0)
            grown = rss_mib(running) - before
            print(f"{grown:.0f} MiB for {SLOW_READERS} slow readers")
            assert grown < SLOW_READERS * BOUND_MIB

            async def read_on(reader: asyncio.StreamReader) -> int:
                await reader.readuntil(b"\r\n\r\n")
                got = 0
                while got < 5242880:
                    got += len(await reader.read(1 << 20))
                return got

            async with asyncio.timeout(30):
                assert await asyncio.gather(*(read_on(reader) for reader, _ in clients[:20])) == [5242880] * 20
            for _, writer in clients:
                writer.transport.abort()
            assert await asyncio.to_thread(running.stop, 3.0) == 0  # they are gone, so nobody is waited for


async def test_when_the_client_goes_the_platform_is_told_within_a_second(tmp_path: Path, policy: Path) -> None:
    async def script(line: Line) -> None:
        await line.message()
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
        await line.reader.read()

    async with Platform(script).running() as platform:
        with sidecar(f"http://127.0.0.1:{platform.port}", tmp_path, "--ignore-robots", policy=policy) as running:
            _, writer = await asyncio.open_connection("127.0.0.1", running.port)
            writer.write(get("/endless"))
            while not platform.opened:
                await asyncio.sleep(0.005)
            writer.close()
            async with asyncio.timeout(1.0):
                while not platform.ended:
                    await asyncio.sleep(0.005)


async def test_a_head_that_trickles_is_closed_in_time(tmp_path: Path, policy: Path) -> None:
    """With the deadlines as they ship."""
    with sidecar("http://127.0.0.1:1", tmp_path, policy=policy) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        began = time.monotonic()
        ending = asyncio.ensure_future(reader.read())
        for byte in get("/", "X: " + "y" * 100):
            writer.write(bytes([byte]))
            await asyncio.wait([ending], timeout=0.5)
            if ending.done():
                break
        assert time.monotonic() - began < 6.5
        assert not isinstance(ending.exception(), TimeoutError)


def run_serve(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "guard", "serve", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=20)


def test_an_invalid_policy_is_exit_78_with_its_line(tmp_path: Path) -> None:
    (bad := tmp_path / "bad.yaml").write_text(OPEN + "rules:\n  - {name: a, when: {path: /a}, then: bock}\n")
    ended = run_serve("--upstream", "http://127.0.0.1:1", "--policy", str(bad), "--listen", "127.0.0.1:0")
    assert ended.returncode == 78
    assert "bad.yaml:5" in ended.stderr and "block" in ended.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--upstream", "http://127.0.0.1:1", "--listen", "nowhere"],
        ["--upstream", "http://127.0.0.1:1", "--listen", "127.0.0.1:99999"],
        ["--upstream", "http://127.0.0.1:1", "--listen", "192.0.2.1:80"],
        ["--upstream", "ftp://127.0.0.1", "--listen", "127.0.0.1:0"],
        ["--upstream", "http://127.0.0.1/path", "--listen", "127.0.0.1:0"],
        ["--upstream", "http://127.0.0.1:99999", "--listen", "127.0.0.1:0"],
        ["--listen", "127.0.0.1:0"],
    ],
)
def test_wrong_usage_is_exit_2_and_says_what(words: list[str]) -> None:
    ended = run_serve(*words)
    assert ended.returncode == 2
    assert ended.stderr.strip() and "Traceback" not in ended.stderr


def test_help_has_an_example() -> None:
    shown = run_serve("--help")
    assert shown.returncode == 0 and "guard serve --upstream http://127.0.0.1:4533" in shown.stdout

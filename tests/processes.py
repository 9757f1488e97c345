"""Real processes for tests: the demo platform, `guard serve` in front of it, any ASGI app on uvicorn.

Whatever is started here is ended here, by its id, also when a test fails.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/157.0.0.0 Safari/537.36"
)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def eventually(holds: Callable[[], bool], within_s: float = 5.0) -> bool:
    """Ask until it holds; a deadline, not a fixed pause."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.01)
    return holds()


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.2):
        return True
    return False


def heed_ctrl_c() -> None:
    """For `preexec_fn`: SIGINT does what it does at a terminal, also when a shell started us in its background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Running:
    """A process that listens on `port`."""

    def __init__(self, process: subprocess.Popen[str], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log
        self.url = f"http://127.0.0.1:{port}"

    def workers(self) -> list[int]:
        """The process ids of its children, but for a store's server."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        found: list[int] = []
        for pid in children:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it may end while we look
                if "valkey" not in Path(f"/proc/{pid}/cmdline").read_text():
                    found.append(int(pid))
        return found

    def stop(self, timeout_s: float = 15.0) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


@contextlib.contextmanager
def run(command: list[str], port: int, tmp: Path, environment: dict[str, str] | None = None) -> Iterator[Running]:
    log = tmp / f"process-{port}.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **(environment or {})},
        )
    running = Running(process, port, log)
    try:
        if not eventually(lambda: answers(port) or process.poll() is not None, 30.0) or process.poll() is not None:
            raise AssertionError(f"{command}: {log.read_text()[-2000:]}")
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def platform(tmp: Path) -> Iterator[Running]:
    """The demo platform; its audio is made once for all test runs of a machine."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "guard.demo.platform:create_app", "--port", str(port)]
    with run([*command, "--log-level", "warning", "--no-proxy-headers"], port, tmp) as running:
        yield running


@contextlib.contextmanager
def sidecar(upstream: str, tmp: Path, *options: str, policy: str | Path = "no-ai") -> Iterator[Running]:
    port = free_port()
    command = [sys.executable, "-m", "guard", "serve", "--upstream", upstream, "--listen", f"127.0.0.1:{port}"]
    with run([*command, "--policy", str(policy), *options], port, tmp) as running:
        yield running


@contextlib.contextmanager
def uvicorn(app: str, tmp: Path, *options: str) -> Iterator[Running]:
    """`module:app` from docs/mount on uvicorn."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--no-proxy-headers", *options]
    environment = {"PYTHONPATH": f"{ROOT / 'docs' / 'mount'}:{ROOT}"}
    with run([*command, "--log-level", "warning"], port, tmp, environment) as running:
        yield running


def get(
    port: int, path: str, user_agent: str = CHROME, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in lower case) and body of one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers={"User-Agent": user_agent, **headers})
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body
    finally:
        connection.close()

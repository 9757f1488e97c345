"""Programs that we start, each in a group of its own, and end by its id, whatever happens to us."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

STOP_S = 8.0


class RigError(Exception):
    """Something that the rig needs would not start, or a client would not do what it is for."""


class Session:
    """The time that a client has: until its deadline, or until everybody is told to stop."""

    def __init__(self, seconds: float, stop: threading.Event) -> None:
        self.seconds = seconds
        self.stop = stop
        self._deadline_s = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        return 0.0 if self.stop.is_set() else max(0.0, self._deadline_s - time.monotonic())

    @property
    def over(self) -> bool:
        return self.left_s <= 0

    def rest(self, seconds: float) -> None:
        """What a person does between two clicks: nothing."""
        self.stop.wait(min(seconds, self.left_s))

    def await_exit(self, process: subprocess.Popen[bytes]) -> int | None:
        """The exit code, or None when the time was over first."""
        while process.poll() is None and not self.over:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(min(0.2, max(self.left_s, 0.01)))
        return process.poll()


def eventually(holds: Callable[[], bool], within_s: float) -> bool:
    """Ask until it holds; a deadline, not a fixed pause."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.02)
    return holds()


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    unprivileged: bool = False,
    pass_fds: Sequence[int] = (),
    output: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A child; its complaints (and, without `output`, words) go to `log`. `unprivileged`: as nobody, if we are root."""
    setpriv = shutil.which("setpriv")
    words = [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []  # when we die, it is asked to stop
    lowered = unprivileged and os.geteuid() == 0
    with contextlib.ExitStack() as files:
        complaints = files.enter_context(log.open("ab"))
        said = files.enter_context(output.open("ab")) if output else complaints
        process = subprocess.Popen(
            [*words, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=complaints,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            pass_fds=pass_fds,
            user="nobody" if lowered else None,
            group="nogroup" if lowered else None,
            extra_groups=() if lowered else None,
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask the program to stop, then make its whole group."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tail(log: Path, lines: int = 12) -> str:
    """The end of what a program said."""
    if not log.exists():
        return ""
    return "".join(f"    {line}\n" for line in log.read_text("utf-8", "replace").splitlines()[-lines:])


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def await_answer(process: subprocess.Popen[bytes], port: int, path: str, log: Path, within_s: float) -> None:
    """Wait for a 200. Raises RigError."""

    def answers() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except OSError:
            return process.poll() is not None
        finally:
            connection.close()

    if not eventually(answers, within_s) or process.poll() is not None:
        raise RigError(f"nothing answers on port {port}:\n{tail(log)}")

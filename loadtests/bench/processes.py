"""Processes on loopback: where they run, when they answer, what they cost, and that they end with us."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_prctl = getattr(ctypes.CDLL(None), "prctl", None)
_TICKS = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """What the person at the terminal should read; the run ends with exit code 1."""


def cores() -> tuple[set[int] | None, set[int] | None]:
    """The core of what is measured and the core of all else; (None, None) when there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return ({usable[0]}, {usable[1]}) if len(usable) > 1 else (None, None)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def as_child_on(core: set[int] | None) -> Callable[[], None]:
    """For `preexec_fn`: run on that core, and end when we end. Niceness is inherited from us."""

    def before_exec() -> None:
        if _prctl is not None:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if core is not None:
            os.sched_setaffinity(0, core)

    return before_exec


class Server:
    """One started party: its process tree, and how to talk to it."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        port: int,
        directory: Path,
        core: set[int] | None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.port = port
        self.log = directory / f"{name}.log"
        home = directory / f"{name}.home"  # nobody writes into the real home, nobody imports from the real cwd
        home.mkdir(exist_ok=True)
        keep = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "GUARD_", "BENCH_"))}
        own = {"HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=home,
                env={**keep, **own, **(env or {})},
                preexec_fn=as_child_on(core),
                start_new_session=True,
            )

    def wait_ready(self, probe: Callable[[int], bool], within_s: float = 60.0) -> None:
        """Return when `probe(port)` holds; BenchError with the party's last words when it does not."""
        give_up = time.monotonic() + within_s
        while time.monotonic() < give_up and self.process.poll() is None:
            with contextlib.suppress(OSError):
                if probe(self.port):
                    return
            time.sleep(0.05)
        raise BenchError(f"{self.name} does not answer; its last words:\n{self.last_words()}")

    def last_words(self) -> str:
        return "\n".join(self.log.read_text("utf-8", "replace").strip().splitlines()[-15:]) or "(none)"

    def tree(self) -> list[int]:
        """The process and all its descendants."""
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    todo += map(int, task.read_text().split())
        return found

    def cpu_s(self) -> float:
        """utime + stime of the whole tree so far (in ticks of 10 ms, as the kernel counts)."""
        ticks = 0
        for pid in self.tree():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / _TICKS

    def stop(self) -> None:
        """Ask, wait, then kill, by process id and only what we started."""
        if self.process.poll() is None:
            tree = self.tree()
            self.process.terminate()
            try:
                self.process.wait(3.0)
            except subprocess.TimeoutExpired:
                for pid in tree:
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
                self.process.wait()

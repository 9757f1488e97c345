"""Worker processes: started by fork from one loaded policy, replaced when they die, ended together.

The law: the listening socket belongs to the supervisor, so a worker that dies loses only the requests it was
answering; connections that wait in the queue go to the others or to its successor. Workers die with their
supervisor (PR_SET_PDEATHSIG), so none is ever left behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable

_log = logging.getLogger("guard.supervisor")

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_AWAITED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)
RESTART_LIMIT = 20
"""A worker that dies so often within ten seconds will not live: then everything stops."""


class Supervisor:
    def __init__(self, run: Callable[[int], None], workers: int, *, drain_s: float = 120.0) -> None:
        """`run(n)` is worker n's whole life, in its own process; it ends on SIGTERM."""
        self.run = run
        self.workers = workers
        self.drain_s = drain_s
        self._pids: dict[int, int] = {}
        self._stopping = False
        self._deaths: list[float] = []

    def serve(self) -> int:
        """Keep the workers running until SIGTERM or SIGINT. The exit code: 0, or 1 when they would not live."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)  # taken one by one below, so none is missed
        _allow_many_files()
        for slot in range(self.workers):
            self._start(slot)
        deadline_s = float("inf")
        code = 0
        while self._pids:
            arrived = signal.sigtimedwait(_AWAITED, 1.0)
            if arrived is not None and arrived.si_signo in (signal.SIGTERM, signal.SIGINT) and not self._stopping:
                self._stopping = True
                deadline_s = time.monotonic() + self.drain_s + 5.0
                self._signal(signal.SIGTERM)
            if not self._reap():
                _log.error("workers keep dying; giving up")
                code, self._stopping = 1, True
                deadline_s = time.monotonic() + self.drain_s + 5.0
                self._signal(signal.SIGTERM)
            if time.monotonic() > deadline_s:
                self._signal(signal.SIGKILL)
        return code

    def _reap(self) -> bool:
        """Take note of the dead and replace them. False when there is no point in going on."""
        while self._pids:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            slot = self._pids.pop(pid, None)
            if slot is None or self._stopping:
                continue
            _log.warning("worker %d (pid %d) ended with status %d; starting another", slot, pid, status)
            if self._hopeless():
                return False
            self._start(slot)
        return True

    def _start(self, slot: int) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self._pids[pid] = slot
            return
        code = 1
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # it died before we asked to be told
                os._exit(1)
            self.run(slot)
            code = 0
        except BaseException:  # noqa: BLE001  # a forked child must never return into its parent's stack
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError, ValueError):  # a log that nobody reads any more must not keep us here
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _signal(self, number: int) -> None:
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _hopeless(self) -> bool:
        now = time.monotonic()
        self._deaths = [moment for moment in self._deaths if now - moment < 10.0] + [now]
        return len(self._deaths) > RESTART_LIMIT


def _allow_many_files() -> None:
    """A stream takes two sockets, and the usual soft limit is 1024: take what the system grants."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

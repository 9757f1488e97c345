"""Worker processes: started by fork from one loaded policy, replaced when they die, ended together.

The law: the listening socket belongs to the supervisor, so a worker that dies loses only the requests it was
answering; connections that wait in the queue go to the others or to its successor. Workers die with their
supervisor (PR_SET_PDEATHSIG), so none is ever left behind.

The supervisor alone follows policy files. A changed policy is loaded, checked and rendered once, in a process of its
own (`reading.py`), and handed to every worker ready to use; a worker that is started later starts with it. A file that
cannot be used changes nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from math import inf

from guard.proxy.handover import Line, Version
from guard.proxy.reading import UNDER_WAY, Read, Reading, Taken, die_with_parent
from guard.watch import PolicyFile, Swap, tell

_log = logging.getLogger("guard.supervisor")

_AWAITED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
RESTART_LIMIT = 20
"""A worker that dies so often within ten seconds will not live: then everything stops."""
_WAIT_S = 1.0
_BUSY_S = 0.02  # between two looks at a reading, or at workers that have not taken a version yet
_LATE_S = 5.0  # after so long a worker that has not is spoken of
_PAUSE_S = 1.0  # before the process beside the workers is started again; doubles each time
_MAX_PAUSE_S = 30.0
_LIVED_S = 60.0  # who lived so long begins with the short pause again

Work = Callable[[int, Version, socket.socket], None]


class Supervisor:
    def __init__(
        self,
        run: Work,
        workers: int,
        version: Version,
        *,
        file: PolicyFile | None = None,
        polling: bool = True,
        say: Callable[[dict[str, object]], None] = lambda line: None,
        drain_s: float = 120.0,
        beside: Callable[[], None] | None = None,
        tend: Callable[[], object] | None = None,
    ) -> None:
        """`run(n, version, feed)` is worker n's whole life, in its own process; it ends on SIGTERM.

        It begins with `version` and takes later ones from `feed`. They come from `file`: by themselves when `polling`,
        and at SIGHUP. `say` is told what becomes of them, as plain values. `beside` is the whole life of one more
        process that answers something else, and ends on SIGTERM, too. It is started again as often as it dies, and
        never ends the others. `tend` is done every second or so, for what else has to be kept going.
        """
        self.tend = tend
        self.beside = beside
        self._beside_pid = 0
        self._beside_due_s = -inf  # not before this moment is it started
        self._beside_began_s = 0.0
        self._pause_s = _PAUSE_S
        self.run = run
        self.workers = workers
        self.version = version
        self.file = file
        self.polling = polling
        self.say = say
        self.drain_s = drain_s
        self._pids: dict[int, int] = {}
        self._lines: dict[int, Line] = {}
        self._reading: Reading | None = None
        self._asked = False  # by SIGHUP
        self._handed_s: float | None = None  # when the newest version was handed over; None when all have taken it
        self._late = False
        self._stopping = False
        self._deaths: list[float] = []

    def serve(self) -> int:
        """Keep the workers running until SIGTERM or SIGINT. The exit code: 0, or 1 when they would not live."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)  # taken one by one below, so none is missed
        _allow_many_files()
        self._keep_beside()
        for slot in range(self.workers):
            self._start(slot)
        deadline_s = float("inf")
        code = 0
        while self._pids or self._beside_pid:
            arrived = signal.sigtimedwait(_AWAITED, self._patience_s())
            if arrived is not None and arrived.si_signo in (signal.SIGTERM, signal.SIGINT) and not self._stopping:
                self._stopping = True
                deadline_s = time.monotonic() + self.drain_s + 5.0
                self._signal(signal.SIGTERM)
            if not self._reap():
                _log.error("workers keep dying; giving up")
                code, self._stopping = 1, True
                deadline_s = time.monotonic() + self.drain_s + 5.0
                self._signal(signal.SIGTERM)
            self._keep_beside()
            if self.tend is not None and not self._stopping:
                self.tend()
            if time.monotonic() > deadline_s:
                self._signal(signal.SIGKILL)
            self._asked = self._asked or (arrived is not None and arrived.si_signo == signal.SIGHUP)
            if self.file is not None and not self._stopping:
                self._follow(self.file)
        if self._reading is not None:
            self._reading.kill()
        return code

    # -- the policy ------------------------------------------------------------------------------------------

    def _patience_s(self) -> float:
        """How long to wait for a signal before there is something else to do."""
        if self._stopping:
            return _WAIT_S
        if self._reading is not None or (self._handed_s is not None and not self._late):
            return _BUSY_S
        due_s = inf if self.file is None or not self.polling else self.file.due_s
        if self.beside is not None and not self._beside_pid:
            due_s = min(due_s, self._beside_due_s)
        return min(_WAIT_S, max(0.0, due_s - time.monotonic()))

    def _follow(self, file: PolicyFile) -> None:
        """See whether the policy has changed, and whether the workers have what it changed to."""
        now_s = time.monotonic()
        if self._reading is not None:
            outcome = self._reading.finish(file, now_s)
            if outcome is not UNDER_WAY:
                self._reading = None
                self._obey(outcome, file)
        if self._reading is None:
            if self._asked:
                self._asked = False
                self._reading = Reading(file, file.look(now_s), now_s, asked=True)
            elif self.polling and (looks := file.stirred(now_s)) is not None:
                self._reading = Reading(file, looks, now_s, asked=False)
        if self._handed_s is not None:
            self._await_workers(self._handed_s, now_s)

    def _obey(self, outcome: Read, file: PolicyFile) -> None:
        if isinstance(outcome, Taken):
            self.version = outcome.version
            self._handed_s = time.monotonic()
            self._late = False
            for line in self._lines.values():
                line.hand_over(outcome.frame)
            self.say(tell(Swap(*outcome.version, outcome.summary), file))
        elif outcome is not None:
            self.say(tell(outcome, file))

    def _await_workers(self, since_s: float, now_s: float) -> None:
        version, took_s = self.version.policy.version, now_s - since_s
        for line in self._lines.values():
            line.push()
        behind = [slot for slot, line in self._lines.items() if line.taken != version]
        if not behind:
            self._handed_s = None
            _log.info("policy: version %s is in force in %d worker(s) after %.3f s", version, len(self._lines), took_s)
            self.say({"event": "policy", "state": "in_force", "version": version, "workers": len(self._lines)})
        elif took_s > _LATE_S and not self._late:
            self._late = True
            _log.error("policy: worker(s) %s have not taken version %s", ", ".join(map(str, behind)), version)

    # -- the workers -----------------------------------------------------------------------------------------

    def _reap(self) -> bool:
        """Take note of the dead and replace them. False when there is no point in going on."""
        while self._pids or self._beside_pid:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == self._beside_pid:
                self._lose_beside(status)
                continue
            slot = self._pids.pop(pid, None)
            if slot is None:
                if self._reading is not None and self._reading.pid == pid:
                    self._reading.reaped = True
                continue
            self._lines.pop(slot).close()
            if self._stopping:
                continue
            _log.warning("worker %d (pid %d) ended with status %d; starting another", slot, pid, status)
            if self._hopeless():
                return False
            self._start(slot)
        return True

    def _start(self, slot: int) -> None:
        line = Line(self.version.policy.version)

        def work() -> None:
            version, self.file = self.version, None
            self.run(slot, version, line.keep_theirs())

        self._pids[self._fork(work)] = slot
        self._lines[slot] = line
        line.keep_ours()

    def _keep_beside(self) -> None:
        """Start the process beside the workers when it is wanted, not there, and its pause is over."""
        now_s = time.monotonic()
        if self.beside is not None and not (self._beside_pid or self._stopping) and now_s >= self._beside_due_s:
            self._beside_pid = self._fork(self.beside)
            self._beside_began_s = now_s

    def _lose_beside(self, status: int) -> None:
        """It has died: after a pause there is another. What it died of may go on, and must cost the workers nothing."""
        self._beside_pid = 0
        if self._stopping:
            return
        now_s = time.monotonic()
        if now_s - self._beside_began_s >= _LIVED_S:
            self._pause_s = _PAUSE_S
        what = "the process beside the workers ended with status %d; starting another in %.0f s"
        _log.warning(what, status, self._pause_s)
        self._beside_due_s = now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, _MAX_PAUSE_S)

    def _fork(self, work: Callable[[], None]) -> int:
        """A child that does `work` and ends; its process id. It holds nothing of the others, and dies with us."""
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # reading the policy anew is the supervisor's work
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
            die_with_parent(signal.SIGTERM)
            if os.getppid() != parent:  # it died before we asked to be told
                os._exit(1)
            for other in self._lines.values():
                other.close()
            if self._reading is not None:
                self._reading.close()
            work()
            code = 0
        except BaseException:  # noqa: BLE001  # a forked child must never return into its parent's stack
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError, ValueError):  # a log that nobody reads any more must not keep us here
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _signal(self, number: int) -> None:
        for pid in (*self._pids, *([self._beside_pid] if self._beside_pid else [])):
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

"""Policy files read in a process of their own, so that whatever reading costs, nobody waits for it or falls with it.

The law: a reading ends. It has READ_S; one that takes longer, or dies, is a refusal. It changes nothing but through
what it reports, once, at its end.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import pickle
import signal
from enum import Enum
from typing import Final, Literal, NamedTuple

from guard.proxy.handover import Version, pack, unpack
from guard.watch import Look, PolicyFile, Refused, Swap, Unchanged

READ_S = 60.0
"""Seconds after which a reading is ended."""

_PIECE_BYTES = 1 << 20
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class _State(Enum):
    UNDER_WAY = 0


UNDER_WAY: Final = _State.UNDER_WAY


class Taken(NamedTuple):
    """A new version, and the frame that hands it over."""

    version: Version
    frame: bytes
    summary: tuple[str, ...]


Read = Taken | Refused | Unchanged | None


class Reading:
    """One judgement of the policy's files, under way in a child of this process."""

    def __init__(self, file: PolicyFile, looks: tuple[Look, ...], now_s: float, *, asked: bool) -> None:
        """See `PolicyFile.judge`."""
        self._looks = looks
        self._began_s = now_s
        self._got = bytearray()
        self.reaped = False
        self._end, its_end = os.pipe()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                die_with_parent(signal.SIGKILL)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
                if os.getppid() == parent:
                    gc.disable()  # it will not live to see its garbage
                    _report(file, looks, now_s, asked, its_end)
            finally:
                os._exit(0)
        os.close(its_end)
        os.set_blocking(self._end, False)

    def finish(self, file: PolicyFile, now_s: float) -> Read | Literal[_State.UNDER_WAY]:
        """What has come of it, once: `file` has taken note of it. Does not wait. Reap the child as any other."""
        try:
            while piece := os.read(self._end, _PIECE_BYTES):
                self._got += piece
        except BlockingIOError:
            if now_s - self._began_s < READ_S:
                return UNDER_WAY
            self.kill()
            return file.give_up(self._looks, now_s, f"reading it took more than {READ_S:.0f} s")
        self.close()
        try:
            remembered, outcome, frame = pickle.loads(self._got)  # noqa: S301  # from our own child
            version = unpack(frame[4:]) if frame else None
        except Exception:  # noqa: BLE001  # it has died of what it read
            return file.give_up(self._looks, now_s, "the process that read it has died of it")
        file.recall(remembered, version.policy if version else file.policy)
        return Taken(version, frame, outcome) if version else outcome

    def kill(self) -> None:
        """It is not wanted any more."""
        self.close()
        if not self.reaped:  # else the number may be somebody else's by now
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        os.close(self._end)


def _report(file: PolicyFile, looks: tuple[Look, ...], now_s: float, asked: bool, end: int) -> None:
    """In the child: judge, and say what came of it and what is to be remembered."""
    outcome = file.judge(looks, now_s, asked=asked)
    if outcome is None and asked:
        outcome = Unchanged(file.policy.version)
    frame = b""
    told: Refused | Unchanged | tuple[str, ...] | None = None if isinstance(outcome, Swap) else outcome
    if isinstance(outcome, Swap):
        try:
            frame, told = pack(Version(outcome.policy, outcome.rendered)), outcome.summary
        except Exception as error:  # noqa: BLE001  # the last good policy stays in force
            file.loaded_total -= 1
            told = file.give_up(looks, now_s, f"cannot be handed over: {error}")
    data = memoryview(pickle.dumps((file.remembered(), told, frame)))
    while data:
        data = data[os.write(end, data) :]


def die_with_parent(number: signal.Signals) -> None:
    """Have this process get signal `number` when the one that forked it ends (Linux: prctl(2), PR_SET_PDEATHSIG)."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, number)

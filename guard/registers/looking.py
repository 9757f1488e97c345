"""Looking again and again whether a register is different, in the event loop. What registers on disk share.

A look is short and never waits. Nothing runs between `begin` and `end` but one timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable

LOOK_S = 0.5
"""Seconds between two looks: with the look itself, a change is heard of well within two."""

_log = logging.getLogger("guard.rights")


class Looking:
    """Calls `look` every LOOK_S seconds; when it gives True, those who heed are called."""

    def __init__(self, look: Callable[[], bool]) -> None:
        self._look = look
        self._heeding: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pid = 0

    def heed(self, changed: Callable[[], None]) -> None:
        self._heeding.append(changed)

    def begin(self) -> None:
        """Look now, and from now on, in the running loop. In a forked child it begins anew."""
        loop = asyncio.get_running_loop()
        if self._loop is loop and self._pid == os.getpid() and self._timer is not None:
            return
        if self._timer is not None and self._pid == os.getpid():
            self._timer.cancel()
        self._loop, self._pid = loop, os.getpid()
        self._turn()

    def hurry(self) -> None:
        """Look at once, if anybody is looking. May be called from any thread."""
        if self._loop is not None and self._timer is not None and self._pid == os.getpid():
            with contextlib.suppress(RuntimeError):  # a loop that was closed hears nothing any more
                self._loop.call_soon_threadsafe(self._tell)

    def end(self) -> None:
        if self._timer is not None and self._pid == os.getpid():
            self._timer.cancel()
        self._loop = self._timer = None

    def _turn(self) -> None:
        if self._loop is not None:
            self._timer = self._loop.call_later(LOOK_S, self._turn)
            self._tell()

    def _tell(self) -> None:
        if self._loop is None or not self._look():
            return
        for changed in tuple(self._heeding):
            try:
                changed()
            except Exception:  # noqa: BLE001  # who listens badly must not make the others deaf
                _log.exception("a change of the register was heard of badly")

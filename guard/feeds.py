"""What is known of works at this moment, and the sources it comes from.

Guards of a process share a source: they come and go with policies, the source stays. Each is told when works have other
rights than before, and once a second that time has passed.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from typing import NamedTuple, Protocol
from weakref import WeakSet

from guard.model import Said
from guard.protocols import Known, RightsSource
from guard.rights import Choice, Rights, Work

_log = logging.getLogger("guard.rights")

PASS_BY_S = 1.0
"""So often it is seen whether a date has passed at which files say something else."""


class Held:
    """What is known of the work at an address. Compared by identity.

    `work` is the narrowest, None when the address is of none. `until_s` is the moment from which it is to be asked for
    anew. `said` are the headers of answers, by the kinds of content.
    """

    __slots__ = ("kinds", "rights", "said", "spoken", "state", "until_s", "work", "works")

    def __init__(
        self, works: tuple[Work, ...], rights: Rights, kinds: tuple[str, ...], state: str, until_s: float, spoken: bool
    ) -> None:
        """`works` are those that the address names, the narrowest first. `kinds` are those that its readings give,
        "" for that of the route class. `spoken`: somebody in the chain has said something, so that the work has
        documents of its own."""
        self.works = works
        self.work = works[0] if works else None
        self.rights = rights
        self.kinds = kinds
        self.state = state
        self.until_s = until_s
        self.spoken = spoken
        self.said: dict[tuple[str, ...], Said] = {}


class Follower(Protocol):
    """A guard, as its source sees it."""

    def rights_changed(self) -> None:
        """Works have other rights than before."""

    def pass_by(self) -> None:
        """A second has gone by."""

    def retire(self) -> None:
        """Its policy is no longer in force."""


class Layer(NamedTuple):
    """What one layer says of a work, None when it says nothing; `in_force` tells whether its dates hold."""

    work: Work
    choice: Choice | None
    in_force: bool


class Feed:
    """A source of rights and the guards of this process that use it; they come and go, the source stays."""

    def __init__(self, source: RightsSource) -> None:
        self.source = source
        self.tells: bool = getattr(source, "tells", True)
        self.guards: WeakSet[Follower] = WeakSet()
        self._lock = threading.Lock()  # guards come in the thread that builds them
        self._broke = False
        self._timer: asyncio.TimerHandle | None = None
        self.opened = False
        source.heed(self.tell)

    def add(self, guard: Follower) -> None:
        with self._lock:
            self.guards.add(guard)

    def keep_only(self, guards: Sequence[Follower]) -> None:
        """The others are of a policy that is no longer in force: they have nothing to make anew."""
        with self._lock:
            for guard in list(self.guards):
                if guard not in guards:
                    self.guards.discard(guard)
                    guard.retire()

    def tell(self) -> None:
        with self._lock:
            guards = list(self.guards)
        for guard in guards:
            guard.rights_changed()

    def find(self, works: tuple[Work, ...]) -> Known:
        """What the source knows of works, whatever the source does."""
        try:
            return self.source.find(works)
        except Exception:  # noqa: BLE001  # a source may be anybody's; nobody passes because it broke
            if not self._broke:
                self._broke = True
                _log.exception("a source of rights broke; its works count as unknown")
            return Known(tuple((work, None) for work in works), "away")

    async def open(self) -> None:
        if not self.opened:
            self.opened = True
            await self.source.open()
            self._pass_by(asyncio.get_running_loop())

    def _pass_by(self, loop: asyncio.AbstractEventLoop) -> None:
        """Every second, for words that begin or end by their dates."""
        self._timer = loop.call_later(PASS_BY_S, self._pass_by, loop)
        with self._lock:
            guards = list(self.guards)
        for guard in guards:
            guard.pass_by()

    async def close(self) -> None:
        self.opened = False
        if self._timer is not None:
            self._timer.cancel()
        await self.source.close()

"""Limits counted in this process. The law of this file: one number per key, a bounded number of keys, no clean-up.

What the numbers mean is in `plans.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from guard.model import Admission, Limit
from guard.stores.plans import LONGEST_DEBT_US, LONGEST_KEY, READY_ANSWERS, Plan, Plans, Slot, gcra, short

BUSY_S = 1.0
"""What a client is told to wait when all places are taken: nobody knows when one is left."""

_USED_BITS = 44  # of a quota's number; above them stands the period


class MemoryStore:
    """Limits in a dictionary that never holds more than `max_keys` keys. Answers at once, with `shared=False`.

    Keys live in two generations. A key that is used moves to the young one; when the young one is half of `max_keys`
    it becomes the old one and the old one is dropped, whatever is in it. So a key is forgotten only after
    `max_keys / 2` others were seen since its last use, and being forgotten means its limit is full again.
    `evictions` counts the keys dropped, run out or not. Places under concurrent limits are never dropped: there are as
    many as requests under way.

    `share` is the number of workers that divide a limit between them without talking: each takes an interval of
    T * share and a burst of max(1, burst // share), or its part of a quota or of the places. Together they admit at
    most floor(W / T) + max(burst, share) in any window of W, and less than the limit when one worker gets more than
    its part of the requests. `clock` gives seconds that only grow, `wall` seconds since 1970 (for calendar periods).
    """

    shared = False

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        max_keys: int = 100_000,
        share: int = 1,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.evictions = 0
        self._clock = clock
        self._wall = wall
        self._share = max(1, share)
        self._half = max(1, max_keys // 2)
        self._young: dict[Slot, int] = {}
        self._old: dict[Slot, int] = {}
        self._places: dict[Slot, int] = {}
        self._plans = Plans(share=self._share)
        self._by_name = self._plans.by_name

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __repr__(self) -> str:
        return f"MemoryStore({len(self)} keys, share=1/{self._share})"

    def take(self, limit: Limit, key: bytes, cost: int = 1) -> Admission:
        """Ask for one request that costs `cost` under `limit` for `key`; about a microsecond."""
        plan = self._by_name.get(limit.name)
        if plan is None or plan.limit is not limit:
            plan = self._plans.of(limit)
        if len(key) > LONGEST_KEY:
            key = short(key)
        slot = (plan.name, key)
        if plan.kind != "rate":
            return self._take(plan, slot, cost)
        now = int(self._clock() * 1e6)

        young = self._young
        tat = young.get(slot)
        if tat is None:
            tat = self._old.pop(slot, now)
            if len(young) >= self._half:
                young = self._turn()

        # gcra() written out, for calling it is a third of the cost; the tests hold the two together.
        emission = plan.emission
        ahead = tat - now
        if cost == 1:
            if ahead <= 0:
                young[slot] = now + emission
                return plan.ready[-1]
            tolerance = plan.tolerance
            if ahead <= tolerance:
                young[slot] = tat + emission
                remaining = (tolerance - ahead) // emission
                return plan.ready[remaining] if remaining < READY_ANSWERS else plan.answer(remaining)
        allowed, young[slot], wait, remaining = gcra(tat, now, emission, plan.tolerance, plan.units(cost))
        if allowed:
            return plan.answer(remaining)
        # One microsecond more: `now` was cut to a whole one, and adding floats may lose the last digit.
        return Admission(False, 0, (wait + 1) / 1e6, False)

    def peek(self, limit: Limit, key: bytes, cost: int = 1) -> Admission | None:
        """The refusal that `take` would answer with now; None when it would admit. Takes nothing."""
        plan = self._plans.of(limit)
        slot = (plan.name, short(key))
        if plan.kind == "concurrent":
            return self._busy(plan, slot)
        number = self._find(slot)
        if plan.kind == "quota":
            return self._used_up(plan, number, self._wall(), 0 if limit.afterwards else plan.units(cost))[0]
        now = int(self._clock() * 1e6)
        if plan.kind == "afterwards":
            wait = min(number, now + plan.tolerance + LONGEST_DEBT_US) - now - plan.tolerance
        else:
            wait = gcra(number, now, plan.emission, plan.tolerance, plan.units(cost))[2]
        return Admission(False, 0, (wait + 1) / 1e6, False) if wait > 0 else None

    def lease(self, limit: Limit, key: bytes) -> None:
        """Nothing is held of what is counted here."""

    def charge(self, limit: Limit, key: bytes, cost: int) -> None:
        """Take what a request has really cost, room or not."""
        plan = self._plans.past(limit)
        slot, units = (plan.name, short(key)), plan.units(cost)
        number = self._find(slot)
        if plan.kind == "quota":
            period = plan.period(self._wall())
            used = number & ((1 << _USED_BITS) - 1) if number >> _USED_BITS == period else 0
            self._keep(slot, (period << _USED_BITS) + used + units)
        elif plan.kind != "concurrent":
            now = int(self._clock() * 1e6)
            self._keep(slot, min(max(number, now) + units * plan.emission, now + plan.tolerance + LONGEST_DEBT_US))

    def leave(self, limit: Limit, key: bytes) -> None:
        """Give back a place."""
        slot = (self._plans.past(limit).name, short(key))
        held = self._places.get(slot, 0)
        if held > 1:
            self._places[slot] = held - 1
        else:
            self._places.pop(slot, None)

    async def open(self) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Forget everything."""
        self._young = {}
        self._old = {}
        self._places = {}

    # -- what is not a plain rate

    def _take(self, plan: Plan, slot: Slot, cost: int) -> Admission:
        if plan.kind == "concurrent":
            if (busy := self._busy(plan, slot)) is not None:
                return busy
            held = self._places[slot] = self._places.get(slot, 0) + 1
            return plan.answer(plan.count - held)
        if plan.kind == "quota":
            now_s = self._wall()
            number = self._find(slot)
            units = 0 if plan.limit.afterwards else plan.units(cost)
            refusal, used = self._used_up(plan, number, now_s, units)
            if refusal is not None:
                return refusal
            self._keep(slot, (plan.period_number << _USED_BITS) + used + units)
            return plan.answer(plan.count - used - units)
        now = int(self._clock() * 1e6)
        ahead = min(self._find(slot), now + plan.tolerance + LONGEST_DEBT_US) - now
        if ahead > plan.tolerance:
            return Admission(False, 0, (ahead - plan.tolerance + 1) / 1e6, False)
        return plan.answer((plan.tolerance - max(0, ahead)) // plan.emission + 1)

    def _busy(self, plan: Plan, slot: Slot) -> Admission | None:
        return Admission(False, 0, BUSY_S, False) if self._places.get(slot, 0) >= plan.count else None

    def _used_up(self, plan: Plan, number: int, now_s: float, units: int) -> tuple[Admission | None, int]:
        """The refusal of a quota that has no room for so many, and what was used of it in this period."""
        period = plan.period(now_s)
        used = number & ((1 << _USED_BITS) - 1) if number >> _USED_BITS == period else 0
        if used + units > plan.count or used >= plan.count:
            return Admission(False, 0, max(1e-6, plan.period_end - now_s), False), used
        return None, used

    # -- the table

    def _find(self, slot: Slot) -> int:
        number = self._young.get(slot)
        return self._old.get(slot, 0) if number is None else number

    def _keep(self, slot: Slot, number: int) -> None:
        self._old.pop(slot, None)
        if slot not in self._young and len(self._young) >= self._half:
            self._turn()
        self._young[slot] = number

    def _turn(self) -> dict[Slot, int]:
        self.evictions += len(self._old)
        self._old = self._young
        self._young = {}
        return self._young

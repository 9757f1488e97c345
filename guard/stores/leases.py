"""What one worker knows of limits that a server counts. The law of this file: it never says yes to more than the server
has already counted, nor no for longer than the server would.

How a lease keeps the bound exact. In GCRA every admitted request has a slot, a moment of its own, at least T after the
slot before it; a request at t may have a slot tau when t <= tau <= t + tolerance. Any admissions that keep to this are
at most floor(W / T) + burst in every window of W: their slots lie within W + tolerance. The server gives a worker a
row of slots that nobody else has, from `next` to `end`, all of them no later than its own now + tolerance. The worker
uses each of them at or before its moment, and lets those lapse that go by unused. So however late a worker comes to
use what it holds, and however many workers there are, the bound is that of one counter. Moments are counted from just
before the question was sent, which is never later than when the server answered it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from guard.model import Admission
from guard.stores.plans import Plan, Slot

LEASE_US = 5_000_000
"""Of so long a time's requests at most is held; the server says for how much less (limits.lua)."""

MOST_HELD = 1024
GROWTH = 4
LEAST_HELD = 64
PART_HELD = 128
"""Of a burst so large that nobody misses it, one part in so many is held from the first question on, or LEAST_HELD."""
FRESH_US = 250_000
"""So long counts what a server said of a budget that is charged afterwards. What this worker charges counts at once."""

BUSY_US = 250_000
"""So long a refusal for want of a place is believed: somebody may leave at any moment."""


class Known:
    """What is known of one counter, in microseconds of this worker's clock.

    Slots from `next` to `end` are ours; until `until` everybody is refused who wants `price` or more, and told to come
    at `ready`. `uses` were admitted since `asked`, the last question; so many are worth holding. `under_way` questions
    are not answered yet: only one of them may bring a lease.
    """

    __slots__ = ("asked", "clock", "emission", "end", "next", "price", "ready", "under_way", "until", "uses")

    def __init__(self, now: int, emission: int, clock: Callable[[], float]) -> None:
        self.emission = emission
        self.clock = clock
        self.next = self.end = self.until = self.ready = -1
        self.uses = self.price = self.under_way = 0
        self.asked = now

    def spend(self) -> bool:
        """Use one slot, if one is ours now. The road of nearly every limited request: few lines, and nothing else is
        looked at. Only for what counts requests by rate."""
        now = int(self.clock() * 1e6)
        tau = self.next
        if tau < now:
            tau = now
        if tau > self.end:
            return False
        self.next = tau + self.emission
        self.uses += 1
        return True


class Leases:
    """What is known of many counters: never more than `max_keys`, in two generations as in `MemoryStore`. What is
    forgotten was held in vain, or is asked for again. `evictions` counts what was dropped."""

    def __init__(self, max_keys: int = 100_000, clock: Callable[[], float] = time.monotonic) -> None:
        self.evictions = 0
        self._clock = clock
        self._half = max(1, max_keys // 2)
        self._young: dict[Slot, Known] = {}
        self._old: dict[Slot, Known] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def clear(self) -> None:
        self._young, self._old = {}, {}

    def take(self, plan: Plan, slot: Slot, units: int, now: int) -> Admission | None:
        """The answer, if it is known here: one of ours is used, or it is surely refused. None: ask."""
        known = self._young.get(slot)
        if known is None:
            known = self._old.pop(slot, None)
            if known is None:
                return None
            self._keep(slot, known)
        end = known.end
        if now <= end:
            if plan.kind == "rate":
                tau = known.next
                if tau < now:
                    tau = now
                emission = plan.emission
                if units == 1:
                    if tau <= end:
                        known.next = tau + emission
                        known.uses += 1
                        return plan.answer((now + plan.tolerance - tau) // emission)
                else:
                    last = tau + (units - 1) * emission
                    if last <= end:
                        known.next = last + emission
                        known.uses += units
                        return plan.answer((now + plan.tolerance - last) // emission)
            else:
                return plan.answer(known.next)  # a budget that was not used up a moment ago
        if now < known.until and units >= known.price:
            return Admission(False, 0, (known.ready - now) / 1e6, True)
        return None

    def peek(self, slot: Slot, units: int, now: int) -> Admission | None:
        """The refusal, if one is known here."""
        known = self._young.get(slot) or self._old.get(slot)
        if known is None or now >= known.until or units < known.price:
            return None
        return Admission(False, 0, (known.ready - now) / 1e6, True)

    def worth(self, plan: Plan, slot: Slot, units: int, now: int) -> int:
        """How many to ask for beside those that wait: as many as were used while a lease lasts, or four times that when
        they ran out before their time. Called once for each question."""
        known = self._young.get(slot) or self._old.get(slot)
        if known is None:
            known = Known(now, plan.emission, self._clock)
            self._keep(slot, known)
        elapsed = now - known.asked
        if plan.limit.precision == "exact" or plan.kind != "rate":
            return 0
        known.under_way += 1
        if known.under_way > 1:
            known.uses += units
            return 0
        uses, known.uses, known.asked = known.uses, units, now
        least = min(LEAST_HELD, plan.burst // PART_HELD)
        if elapsed >= LEASE_US:
            uses = uses * LEASE_US // elapsed
        elif known.end >= now or uses < 4:  # they were used up, not lapsed
            uses *= GROWTH
        return min(MOST_HELD, max(uses, least))

    def learn(self, plan: Plan, slot: Slot, units: int, said: Sequence[int], sent: int, now: int) -> None:
        """Note what the server said (the five numbers of limits.lua) when it was asked for so many at `sent`."""
        _, offset, extra, wait, left = said
        known = self._young.get(slot) or self._old.get(slot)
        if known is None:
            known = Known(sent, plan.emission, self._clock)
            self._keep(slot, known)
        known.under_way = max(0, known.under_way - 1)
        if wait > 0:
            told = now + wait
            if plan.kind == "concurrent":
                wait, told = BUSY_US, now + 4 * BUSY_US
            # The server said no some time between `sent` and now. Counted from `sent` we never refuse for longer than
            # it would; counted from now the client is never told to come back too early.
            known.until, known.ready, known.price = sent + wait, told, units
            if plan.kind != "rate":  # of a rate, what is held was counted before, and may be used
                known.end = -1
        elif plan.kind == "afterwards" or (plan.kind == "quota" and plan.limit.afterwards):
            known.next, known.end, known.until = left, sent + FRESH_US, -1
        elif extra > 0:
            known.next = sent + offset
            known.end = known.next + (extra - 1) * plan.emission

    def find(self, slot: Slot) -> Known | None:
        """What is known of one counter."""
        return self._young.get(slot) or self._old.get(slot)

    def lose(self, slot: Slot) -> None:
        """A question will not be answered."""
        known = self._young.get(slot) or self._old.get(slot)
        if known is not None:
            known.under_way = max(0, known.under_way - 1)

    def doubt(self, slot: Slot) -> None:
        """Something was charged or given back here: ask before the next answer."""
        known = self._young.get(slot) or self._old.get(slot)
        if known is not None:
            known.end = known.until = -1

    def _keep(self, slot: Slot, known: Known) -> None:
        if len(self._young) >= self._half:
            self.evictions += len(self._old)
            self._old, self._young = self._young, {}
        self._young[slot] = known

"""The arithmetic of limits. The law of this file: whole numbers only, time is an argument, nothing is kept.

The rate limit is GCRA, the Generic Cell Rate Algorithm in its virtual scheduling form (ITU-T I.371, annex A;
ATM Forum Traffic Management 4.0, 4.4.2). All times are whole microseconds, so that nothing is lost to rounding:
the same sums are done by `limits.lua` on the server, and the tests hold the two against each other.
"""

from __future__ import annotations

import math
from calendar import timegm
from hashlib import blake2b
from time import gmtime

from guard.model import Admission, Limit

LONGEST_KEY = 64
"""Bytes of a key that are kept as they are; a longer one is kept as its digest, so memory is bounded in bytes too."""

KIB = 1024
"""Bytes are counted in units of so many, begun ones whole: at 50 MB/s a single one would be too short a time."""

LONGEST_DEBT_US = 86_400_000_000
"""What is charged afterwards shuts nobody out for longer than a day."""

READY_ANSWERS = 1024
KNOWN_LIMITS = 1024

Slot = tuple[str, bytes]
"""What a limit counts under (`Plan.name`), and the key that is counted."""


def gcra(tat: int, now: int, emission: int, tolerance: int, cost: int = 1) -> tuple[bool, int, int, int]:
    """One step of GCRA: `(allowed, new_tat, retry_after, remaining)`, all times in whole microseconds.

    `tat` is the theoretical arrival time of the next request (anything up to `now` for a fresh key), `emission` is
    T, `tolerance` is (burst - 1) * T. Exactly `burst` requests pass at once, and any window of W holds at most
    floor(W / T) + burst. A refused step changes nothing, but for one case: when the clock has gone back, `tat` is
    brought within `burst * T` of `now`, and that must be stored, or the key would be shut until the clock is back.
    A request of `cost` is that many requests at one moment, all or none.
    """
    horizon = now + tolerance + emission
    if tat > horizon:
        tat = horizon
    ahead = tat - now
    if ahead < 0:
        ahead = 0
    last = ahead + (cost - 1) * emission
    if last > tolerance:
        return False, tat, last - tolerance, 0
    return True, now + last + emission, 0, (tolerance - last) // emission


def emission_us(limit: Limit, share: int = 1) -> int:
    """Whole microseconds between two units at the sustained rate, rounded up: never faster than the limit."""
    # The inner rounding takes back what the float product adds: 1.1 s must not become 1,100,001 us.
    return max(1, math.ceil(round(limit.window_s / limit.count * scale(limit) * share * 1e6, 3)))


def scale(limit: Limit) -> int:
    """So many of the limit's units are counted as one."""
    return KIB if limit.unit == "bytes" else 1


def period_of(period: str, now_s: float) -> tuple[int, int]:
    """The calendar period (UTC) that a moment is in: its number, and the moment it ends (seconds since 1970)."""
    if period == "day":
        number = int(now_s // 86_400)
        return number, (number + 1) * 86_400
    moment = gmtime(now_s)
    number = moment.tm_year * 12 + moment.tm_mon - 1
    year, month = divmod(number + 1, 12)
    return number, timegm((year, month + 1, 1, 0, 0, 0))


def short(key: bytes) -> bytes:
    """The key as tables keep it."""
    return key if len(key) <= LONGEST_KEY else blake2b(key, digest_size=32).digest()


class Plan:
    """A limit with its sums done: what never changes from request to request.

    `emission` and `tolerance` in whole microseconds, `count` in counted units; `ready` are answers made beforehand,
    `ready[n]` with n remaining. `share` is the number of workers that divide the limit between them without talking:
    each takes an interval of T * share, and burst // share (but at least one). `name` is the limit's, and what it
    counts where that is not plainly requests: a number of another kind under the same name means something else.
    """

    __slots__ = (
        "burst",
        "count",
        "emission",
        "kind",
        "limit",
        "name",
        "period_end",
        "period_number",
        "ready",
        "tolerance",
    )

    def __init__(self, limit: Limit, *, share: int = 1, shared: bool = False) -> None:
        self.limit = limit
        plain = limit.kind == "rate" and limit.unit == "requests"
        self.name = limit.name if plain else f"{limit.name}\0{limit.kind} {limit.unit} {limit.period}"
        self.kind = limit.kind if not limit.afterwards or limit.kind == "quota" else "afterwards"
        self.burst = max(1, limit.burst // scale(limit) // share)
        self.count = max(1, limit.count // scale(limit) // share)
        self.emission = emission_us(limit, share) if limit.kind == "rate" else 1
        self.tolerance = self.emission * (self.burst - 1)
        most = self.burst if limit.kind == "rate" else self.count
        # The last one is what a fresh key is told, whatever the burst.
        self.ready = tuple(Admission(True, n, 0.0, shared) for n in (*range(min(most, READY_ANSWERS)), most - 1))
        self.period_number = 0
        self.period_end = 0.0

    def answer(self, remaining: int) -> Admission:
        """Admitted, with so many left."""
        ready = self.ready
        if remaining < READY_ANSWERS and remaining < len(ready):
            return ready[remaining]
        return Admission(True, remaining, 0.0, ready[0].shared)

    def units(self, cost: int) -> int:
        """What a cost in the limit's units counts; begun ones whole."""
        each = scale(self.limit)
        return cost if each == 1 else -(-cost // each)

    def period(self, now_s: float) -> int:
        """The number of the calendar period that is now; `period_end` is when it ends."""
        if not 0 < self.period_end - now_s <= 2_678_400:
            self.period_number, self.period_end = period_of(self.limit.period, now_s)
        elif self.limit.period == "day" and self.period_end - now_s > 86_400:  # the clock went back
            self.period_number, self.period_end = period_of("day", now_s)
        return self.period_number


class Plans:
    """The plans of all limits in use, by name. A limit that has changed under its name gets a new one."""

    __slots__ = ("_share", "_shared", "by_name", "renewed")

    def __init__(self, *, share: int = 1, shared: bool = False) -> None:
        self._share = max(1, share)
        self._shared = shared
        self.by_name: dict[str, Plan] = {}
        self.renewed = 0  # how often a limit was another one than before

    def of(self, limit: Limit) -> Plan:
        plan = self.by_name.get(limit.name)
        if plan is None or (plan.limit is not limit and plan.limit != limit):
            if plan is not None:
                self.renewed += 1
            if len(self.by_name) >= KNOWN_LIMITS:
                self.by_name.clear()
            plan = self.by_name[limit.name] = Plan(limit, share=self._share, shared=self._shared)
        return plan

    def past(self, limit: Limit) -> Plan:
        """The plan of a limit that a request was admitted under, which may be another one by now."""
        plan = self.by_name.get(limit.name)
        if plan is not None and (plan.limit is limit or plan.limit == limit):
            return plan
        return Plan(limit, share=self._share, shared=self._shared)

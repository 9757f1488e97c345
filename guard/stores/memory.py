"""Limits counted in this process. The law of this file: one number per key, a bounded number of keys, no clean-up.

The algorithm is GCRA, the Generic Cell Rate Algorithm in its virtual scheduling form (ITU-T I.371, annex A;
ATM Forum Traffic Management 4.0, 4.4.2). All times are whole microseconds, so that nothing is lost to rounding:
the same sums are done by `gcra.lua` on the server, and the tests hold the two against each other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

from guard.model import Admission, Limit

LONGEST_KEY = 64
"""Bytes of a key that are kept as they are; a longer one is kept as its digest, so memory is bounded in bytes too."""

_KNOWN_LIMITS = 1024
_READY_ANSWERS = 1024


def gcra(tat: int, now: int, emission: int, tolerance: int) -> tuple[bool, int, int, int]:
    """One step of GCRA: `(allowed, new_tat, retry_after, remaining)`, all times in whole microseconds.

    `tat` is the theoretical arrival time of the next request (anything up to `now` for a fresh key), `emission` is
    T, `tolerance` is (burst - 1) * T. Exactly `burst` requests pass at once, and any window of W holds at most
    floor(W / T) + burst. A refused step changes nothing, but for one case: when the clock has gone back, `tat` is
    brought within `burst * T` of `now`, and that must be stored, or the key would be shut until the clock is back.
    """
    horizon = now + tolerance + emission
    if tat > horizon:
        tat = horizon
    ahead = tat - now
    if ahead > tolerance:
        return False, tat, ahead - tolerance, 0
    if ahead < 0:
        ahead = 0
    return True, now + ahead + emission, 0, (tolerance - ahead) // emission


def emission_us(limit: Limit, share: int = 1) -> int:
    """Whole microseconds between two requests at the sustained rate, rounded up: never faster than the limit."""
    # The inner rounding takes back what the float product adds: 1.1 s must not become 1,100,001 us.
    return max(1, math.ceil(round(limit.window_s / limit.count * share * 1e6, 3)))


class _Plan(NamedTuple):
    limit: Limit
    emission: int
    tolerance: int
    ready: tuple[Admission, ...]


class MemoryStore:
    """GCRA in a dictionary that never holds more than `max_keys` keys. Answers at once, with `shared=False`.

    Keys live in two generations. A key that is used moves to the young one; when the young one is half of `max_keys`
    it becomes the old one and the old one is dropped, whatever is in it. So a key is forgotten only after
    `max_keys / 2` others were seen since its last use, and being forgotten means its limit is full again.
    `evictions` counts the keys dropped, run out or not.

    `share` is the number of workers that divide a limit between them without talking: each takes an interval of
    T * share and a burst of max(1, burst // share). Together they admit at most floor(W / T) + max(burst, share)
    in any window of W, and less than the limit when one worker gets more than its part of the requests.
    """

    shared = False

    def __init__(self, clock: Callable[[], float] = time.monotonic, max_keys: int = 100_000, share: int = 1) -> None:
        self.evictions = 0
        self._clock = clock
        self._share = max(1, share)
        self._half = max(1, max_keys // 2)
        self._young: dict[tuple[str, bytes], int] = {}
        self._old: dict[tuple[str, bytes], int] = {}
        self._plans: dict[str, _Plan] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __repr__(self) -> str:
        return f"MemoryStore({len(self)} keys, share=1/{self._share})"

    def take(self, limit: Limit, key: bytes) -> Admission:
        """Ask for one request under `limit` for `key`; about a microsecond."""
        plan = self._plans.get(limit.name)
        if plan is None or (plan[0] is not limit and plan[0] != limit):
            plan = self._plan(limit)
        _, emission, tolerance, ready = plan
        if len(key) > LONGEST_KEY:
            key = blake2b(key, digest_size=32).digest()
        slot = (limit.name, key)
        now = int(self._clock() * 1e6)

        young = self._young
        tat = young.get(slot)
        if tat is None:
            tat = self._old.pop(slot, now)
            if len(young) >= self._half:
                young = self._turn()

        # gcra() written out, for calling it is a third of the cost; the tests hold the two together.
        ahead = tat - now
        if ahead <= 0:
            young[slot] = now + emission
            return ready[-1]
        if ahead <= tolerance:
            young[slot] = tat + emission
            remaining = (tolerance - ahead) // emission
            return ready[remaining] if remaining < _READY_ANSWERS else Admission(True, remaining, 0.0, False)
        _, young[slot], wait, _ = gcra(tat, now, emission, tolerance)
        # One microsecond more: `now` was cut to a whole one, and adding floats may lose the last digit.
        return Admission(False, 0, (wait + 1) / 1e6, False)

    async def open(self) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Forget everything."""
        self._young = {}
        self._old = {}

    def _turn(self) -> dict[tuple[str, bytes], int]:
        self.evictions += len(self._old)
        self._old = self._young
        self._young = {}
        return self._young

    def _plan(self, limit: Limit) -> _Plan:
        if len(self._plans) >= _KNOWN_LIMITS:
            self._plans.clear()
        burst = max(1, limit.burst // self._share)
        emission = emission_us(limit, self._share)
        # The last one is what a fresh key is told, whatever the burst.
        ready = tuple(Admission(True, n, 0.0, False) for n in (*range(min(burst, _READY_ANSWERS)), burst - 1))
        plan = _Plan(limit, emission, emission * (burst - 1), ready)
        self._plans[limit.name] = plan
        return plan

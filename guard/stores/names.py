"""The names under which a server counts. The law of this file: who reads the server learns no key.

A name is a keyed hash of the limit and the key, with another key each day (UTC; for monthly quotas: each month), so
nobody can follow anybody from one day to the next. Its first character is a part of an undated hash, one of 64: all
names of one key lie in one slot of a cluster, and what was counted under yesterday's name can be carried over.

    g{x}abcdefghij

Fourteen characters: one more, and a server's allocator takes sixteen bytes more for each.
"""

from __future__ import annotations

import binascii
import time
from base64 import urlsafe_b64encode
from calendar import timegm
from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

from guard.stores.plans import LONGEST_DEBT_US, Plan, period_of

DAY_S = 86_400
SKEW_S = 60
"""So far may the clocks of two workers be apart when a day begins and both still count together."""

MOST_NAMES = 32
"""A limit whose burst takes longer than so many days to come back is full again when its name is forgotten."""

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
TAGS = tuple(b"g{%c}" % character for character in _ALPHABET)
"""How names begin: one for each part of the whole."""

SLOTS = tuple(binascii.crc_hqx(b"%c" % character, 0) % 16_384 for character in _ALPHABET)
"""The slot of a cluster that names with each beginning lie in (https://valkey.io/topics/cluster-spec/)."""


class Named(NamedTuple):
    """A counter's names, the newest first; `current` is the place of today's (from 1), `tag` the part of the whole."""

    names: tuple[bytes, ...]
    current: int
    tag: int


class Names:
    """Names of counters. `secret` keys the hashes, the same for all workers that count together; without one, whoever
    can read the server can find out addresses by trying them all. `wall` gives seconds since 1970."""

    def __init__(self, secret: bytes, wall: Callable[[], float] = time.time) -> None:
        self._secret = blake2b(secret).digest()
        self._wall = wall
        self._undated = blake2b(digest_size=1, key=self._secret)
        self._dated: dict[tuple[str, int], blake2b] = {}

    def of(self, plan: Plan, key: bytes) -> Named:
        """The names that count now for a key under a limit."""
        now_s = self._wall()
        limit = plan.limit
        unit = "month" if limit.period == "month" else "day"
        current, ends = period_of(unit, now_s)
        numbers = [current]
        if ends - now_s <= SKEW_S:
            numbers.insert(0, current + 1)
        begun = current * DAY_S if unit == "day" else timegm((current // 12, current % 12 + 1, 1, 0, 0, 0))
        grace_s = self._grace_s(plan)
        while now_s - begun < grace_s and len(numbers) < MOST_NAMES:
            numbers.append(numbers[-1] - 1)
            if unit == "month":
                break
            begun -= DAY_S
        tag = self.tag_of(key)
        name = plan.name.encode()
        said = b"%d:%b%b" % (len(name), name, key)
        found = [self._name(tag, unit, number, said) for number in numbers]
        return Named(tuple(found), 1 + (numbers[0] > current), tag)

    def seal(self, key: bytes) -> bytes:
        """Today's name of something that is not a limit's; what was under yesterday's is forgotten."""
        return self._name(self.tag_of(key), "day", int(self._wall() // DAY_S), b"0:" + key)

    def tag_of(self, key: bytes) -> int:
        """The part of the whole that a key is in, 0 to 63: always the same."""
        digest = self._undated.copy()
        digest.update(key)
        return digest.digest()[0] & 63

    def _name(self, tag: int, unit: str, number: int, said: bytes) -> bytes:
        keyed = self._dated.get((unit, number))
        if keyed is None:
            if len(self._dated) > 2 * MOST_NAMES:
                self._dated.clear()
            date = f"{unit} {number}".encode()
            keyed = self._dated[unit, number] = blake2b(digest_size=8, key=blake2b(date, key=self._secret).digest())
        digest = keyed.copy()
        digest.update(said)
        return TAGS[tag] + urlsafe_b64encode(digest.digest())[:10]

    @staticmethod
    def _grace_s(plan: Plan) -> float:
        """So long after a day has begun may there be something under the name of the day before."""
        if plan.kind == "quota":
            return SKEW_S
        if plan.kind == "concurrent":
            return SKEW_S * 2
        debt = LONGEST_DEBT_US if plan.kind == "afterwards" else 0
        return (plan.tolerance + plan.emission + debt) / 1e6 + SKEW_S

"""What a detector is asked about: one ear (or one neighbourhood) at one moment, its numbers by name."""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol

from guard.observe import Meters, Reading
from guard.sights import Sight


class Memory(Protocol):
    """What detectors may ask of a lookout beside the numbers of a key; see `guard.lookout.Lookout`."""

    meters: Meters

    @property
    def shows_parts(self) -> bool: ...
    @property
    def shows_pictures(self) -> bool: ...
    @property
    def shows_pages(self) -> bool: ...
    @property
    def keeps_cookies(self) -> bool: ...
    @staticmethod
    def client_key(sight: Sight) -> bytes: ...
    def span(self, serial: int) -> int: ...
    def lanes(self, ear: bytes, work: str) -> tuple[int, int]: ...
    def splits(self, ear: bytes, work: str, now_s: float) -> int: ...
    def deny(self, account: bytes, now_s: float) -> None: ...
    def denied(self, account: bytes, now_s: float) -> bool: ...
    def keeps(self, key: bytes, now_s: float) -> bool: ...
    def day_key(self, account: bytes, now_s: float) -> bytes: ...
    def hour(self, now_s: float, back: int = 0) -> bytes: ...
    def heard_of(self, home: bytes, now_s: float) -> bool: ...
    def cold_music(self, home: bytes, now_s: float) -> float: ...


class Life:
    """The numbers of `key`, as of this request. Reading one costs little; nothing is computed that nobody asks for.

    `known` says whether an account vouches for it, `session` whether it is told apart by more than its address.
    """

    __slots__ = ("_reading", "key", "known", "lookout", "session", "shape", "sight")

    def __init__(self, lookout: Memory, sight: Sight, key: bytes) -> None:
        self.lookout = lookout
        self.sight = sight
        self.shape = sight.shape
        self.key = key
        self.known = key[:1] == b"u"
        self.session = key[:1] in b"us"
        self._reading: Reading | None = lookout.meters.view(key, sight.now_s)

    def __getitem__(self, index: int) -> float:
        return self._reading[index] if self._reading is not None else 0.0

    @property
    def now_s(self) -> float:
        return self.sight.now_s

    def of(self, key: bytes, index: int) -> float:
        """A number of another key."""
        reading = self.lookout.meters.view(key, self.sight.now_s)
        return reading[index] if reading is not None else 0.0

    def chain(self, index: int) -> int:
        """The longest chain of ids in a set in which each is near the one before.

        Near is at most 40, and at most an eighth of how far apart so many ids would lie if they were spread over all
        that there are: in a small catalogue everything is near.
        """
        if self._reading is None:
            return 0
        numbers = sorted(set(self._reading.elements(index)))
        if len(numbers) < 8:
            return 0
        best = length = 1
        spans = {number >> 40: self.lookout.span(number) for number in {n >> 40: n for n in numbers}.values()}
        for before, number in pairwise(numbers):
            near = min(40, max(1, spans[number >> 40] // (8 * len(numbers))))
            length = length + 1 if number - before <= near else 1
            best = max(best, length)
        if max(spans.values()) < 3 * len(numbers):  # most of what there is: runs come by themselves
            best //= 2
        return best

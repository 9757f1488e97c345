"""A bounded table for things worth keeping: two generations of a dict, no bookkeeping on a hit.

What is asked for stays; when the young generation is full, the old one is forgotten whole. At most twice
`capacity` entries live at once, whoever chooses the keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


def make_same(capacity: int) -> Callable[[Any], Any]:
    """A function that gives of equal values always the one that it saw first. Keys that are kept share their parts:
    fewer bytes, and what is compared often stays in the processor's cache."""
    known: Memo[Any, Any] = Memo(capacity)

    def same(value: Any) -> Any:
        found = known.get(value)
        if found is None:
            known.keep(value, value)
            return value
        return found

    return same


class Memo(Generic[K, V]):
    """Hot paths may ask `memo.young.get(key) or memo.get(key)`: the first answers nearly always, at a dict's price."""

    __slots__ = ("_old", "capacity", "evicted", "young")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.evicted = 0
        self.young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        found = self.young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self.keep(key, found)
        return found

    def keep(self, key: K, value: V) -> None:
        if len(self.young) >= self.capacity:
            self.evicted += len(self._old)
            self._old, self.young = self.young, {}
        self.young[key] = value

    def __len__(self) -> int:
        return len(self.young) + len(self._old)

"""Path patterns: what a policy and a works file say of paths.

`*` stands for one segment or a part of one, `**` for any number of segments. Nothing here can backtrack: the work is
below patterns x segments, whatever the path.
"""

from __future__ import annotations

from collections.abc import Iterable


class PathPatterns:
    """Many path patterns, looked up at once in a tree of segments. Immutable after construction.

    `match` gives the positions of all patterns that match, in the order they were given.
    """

    __slots__ = ("_root", "patterns")

    def __init__(self, patterns: Iterable[str], *, case_sensitive: bool = False) -> None:
        self.patterns = tuple(patterns)
        self._root = _Segment()
        for position, pattern in enumerate(self.patterns):
            spelled = pattern if case_sensitive else pattern.encode().lower().decode()
            self._root.add([part for part in spelled.split("/") if part], position)

    def match(self, reading: str) -> tuple[int, ...]:
        """Positions of the patterns that `reading` (see readings.py) falls under."""
        found: set[int] = set()
        self._root.collect([part for part in reading.split("/") if part], 0, found, set())
        return tuple(sorted(found))


class _Segment:
    __slots__ = ("anything", "globs", "here", "literal", "tail")

    def __init__(self) -> None:
        self.literal: dict[str, _Segment] = {}
        self.globs: dict[str, tuple[tuple[str, ...], _Segment]] = {}
        self.anything: _Segment | None = None  # what follows a `**`
        self.tail: list[int] = []  # patterns that end in `**` here
        self.here: list[int] = []  # patterns that end here

    def add(self, parts: list[str], position: int) -> None:
        if not parts:
            self.here.append(position)
        elif parts == ["**"]:
            self.tail.append(position)
        elif parts[0] == "**":
            self.anything = self.anything or _Segment()
            self.anything.add(parts[1:], position)
        elif "*" in parts[0]:
            self.globs.setdefault(parts[0], (tuple(parts[0].split("*")), _Segment()))[1].add(parts[1:], position)
        else:
            self.literal.setdefault(parts[0], _Segment()).add(parts[1:], position)

    def collect(self, parts: list[str], start: int, found: set[int], seen: set[tuple[int, int]]) -> None:
        """Add what matches from `start` on. `seen` keeps the work below nodes x segments, whatever the path."""
        if (id(self), start) in seen:
            return
        seen.add((id(self), start))
        found.update(self.tail)
        if self.anything is not None:
            for skip in range(start, len(parts) + 1):
                if (id(self.anything), skip) in seen:
                    break  # whoever was here has gone, or will go, on to the end
                self.anything.collect(parts, skip, found, seen)
        if start == len(parts):
            found.update(self.here)
            return
        part = parts[start]
        if (literal := self.literal.get(part)) is not None:
            literal.collect(parts, start + 1, found, seen)
        for pieces, following in self.globs.values():
            if glob_matches(pieces, part):
                following.collect(parts, start + 1, found, seen)


def glob_matches(pieces: tuple[str, ...], text: str) -> bool:
    """Does `text` match the glob whose literal pieces (what `*` separates) are `pieces`? Linear: no backtracking."""
    first, last = pieces[0], pieces[-1]
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    at, stop = len(first), len(text) - len(last)
    for piece in pieces[1:-1]:
        at = text.find(piece, at, stop)
        if at < 0:
            return False
        at += len(piece)
    return True


def specimen(pattern: str) -> str:
    """A path that falls under `pattern`."""
    return pattern.replace("**", "x/x").replace("*", "x")

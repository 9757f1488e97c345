"""Nodes to plain values, with every fault collected: what all readers of policy blocks share.

Reading goes on after a problem, so that one run names all of them. Each method notes what is wrong and gives a
harmless value back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import TypeVar

from guard.documents import Mapping, Node, Scalar, Sequence
from guard.errors import Problem
from guard.moments import read_moment

T = TypeVar("T")

NAME = r"[A-Za-z0-9][A-Za-z0-9 ._'-]{0,79}"
"""The form of the names of limits, rules, labels and examples."""

_NAME = re.compile(NAME)
_NAME_IN_WORDS = "letters, digits, spaces, - _ . ', up to 80"
_WHOLE = re.compile(r"[0-9]{1,9}")


class NodeReader:
    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def refuse(self, node: Node, message: str) -> None:
        self.problems.append(Problem(node.file or self.file, node.line, message))

    def warn(self, node: Node, message: str) -> None:
        self.problems.append(Problem(node.file or self.file, node.line, message, level="warning"))

    def keys(self, mapping: Mapping, known: Iterable[str], where: str, cutoff: float = 0.6) -> None:
        """Refuse keys that are not `known`, with a guess at what was meant."""
        for key, _ in mapping.entries:
            if key[0] not in known:
                self.refuse(key, f"{where}unknown key '{key.text}'{guess(key.text, known, cutoff)}")

    def mapping(self, node: Node | None, where: str) -> Mapping | None:
        if node is None or isinstance(node, Mapping):
            return node
        self.refuse(node, f"{where}expected a mapping (key: value)")
        return None

    def text(self, mapping: Mapping, key: str, where: str, default: str = "") -> str:
        node = mapping.get(key)
        return default if node is None else self.words(node, key, where, default)

    def words(self, node: Node, key: str, where: str, default: str = "") -> str:
        """The text that stands under `key`."""
        if isinstance(node, Scalar):
            return node.text
        self.refuse(node, f"{where}'{key}' must be text")
        return default

    def texts(self, node: Node | None, where: str) -> list[Scalar]:
        """A value or a list of values; an empty list is refused."""
        if node is None:
            return []
        if isinstance(node, Scalar):
            return [node]
        found: list[Scalar] = []
        for item in node.items if isinstance(node, Sequence) else ():
            if isinstance(item, Scalar):
                found.append(item)
            else:
                self.refuse(item, f"{where}expected text in this list")
        if isinstance(node, Mapping):
            self.refuse(node, f"{where}expected a value or a list of values")
        elif not found and not node.items:
            self.refuse(node, f"{where}an empty list: it could never match")
        return found

    def one_of(self, node: Node, known: Iterable[str], what: str, where: str) -> str | None:
        if not isinstance(node, Scalar):
            self.refuse(node, f"{where}{what} must be one word")
            return None
        if node.text in known:
            return node.text
        self.refuse(node, f"{where}unknown {what} '{node.text}'{guess(node.text, known)}")
        return None

    def number(self, mapping: Mapping, key: str, where: str, default: int) -> int:
        node = mapping.get(key)
        if node is None:
            return default
        if isinstance(node, Scalar) and _WHOLE.fullmatch(node.text):
            return int(node.text)
        self.refuse(node, f"{where}'{key}' must be a whole number")
        return default

    def flag(self, mapping: Mapping, key: str, where: str) -> bool:
        node = mapping.get(key)
        if node is None:
            return False
        return self.one_of(node, ("true", "false"), f"value for '{key}'", where) == "true"

    def named(self, mapping: Mapping, where: str, seen: dict[str, int]) -> str:
        """The `name` of a rule, limit or example: there, well formed and not used before."""
        node = mapping.get("name")
        if not isinstance(node, Scalar):
            self.refuse(node or mapping, f"{where}needs a 'name' ({_NAME_IN_WORDS})")
            return ""
        if not self.well_named(node, where):
            return ""
        if node.text in seen:
            self.refuse(node, f"{where}name '{node.text}' is used twice (first on line {seen[node.text]})")
        seen[node.text] = node.line
        return node.text

    def well_named(self, node: Scalar, where: str) -> bool:
        """Whether this may be the name of something; it stands in logs and on pages."""
        if _NAME.fullmatch(node.text):
            return True
        self.refuse(node, f"{where}'{node.text}' is no name ({_NAME_IN_WORDS})")
        return False

    def each(self, document: Mapping, key: str, read: Callable[[Mapping], T | None], where: str = "") -> tuple[T, ...]:
        """What `read` makes of each mapping in the list under `key`."""
        node = document.get(key)
        if node is None:
            return ()
        if not isinstance(node, Sequence):
            self.refuse(node, f"{where}'{key}' must be a list")
            return ()
        found: list[T] = []
        for item in node.items:
            if isinstance(item, Mapping):
                if (value := read(item)) is not None:
                    found.append(value)
            else:
                self.refuse(item, f"{where}{key}: expected a mapping (key: value)")
        return tuple(found)

    def moment(self, node: Node | None, where: str, *, end: bool = False) -> float | None:
        """Seconds since 1970 of a day (UTC; its `end` when asked) or of a moment with its zone."""
        if node is None:
            return None
        text = node.text.strip() if isinstance(node, Scalar) else ""
        try:
            return read_moment(text, end=end)
        except ValueError as error:
            self.refuse(node, f"{where}'{text}' is no date: {error}")
            return None


def guess(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """What may have been meant, whatever its case; else all there is, when that is not too much.

    `cutoff` (0 to 1) is how like the two must be.
    """
    choices = {choice.lower(): choice for choice in known}
    if near := get_close_matches(word.lower(), choices, n=1, cutoff=cutoff):
        return f", did you mean '{choices[near[0]]}'?"
    if not choices:
        return " (there is none)"
    return f" (one of: {', '.join(choices.values())})" if len(choices) <= 16 else ""

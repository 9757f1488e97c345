"""`X-Robots-Tag: noai, noimageai`, lower case and on a line of its own: some readers take the text before the first
colon of a line for an agent's name, others compare case-sensitively."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_WITH_VALUE = ("max-snippet", "max-image-preview", "max-video-preview", "unavailable_after")
"""Directives that have a colon of their own; any other name before a colon is an agent's."""

_DAY = re.compile(r"unavailable_after:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*+", re.IGNORECASE)


def state(preferences: Mapping[str, str]) -> str:
    """The value when training is disallowed, else ""; the tag has no way to allow."""
    return "noai, noimageai" if preferences.get("train-ai") == "disallow" else ""


def read(lines: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Each header line as its agent ("*" = all, else in lower case) and its directives, `name` or `name:value`.

    An agent stands before the first directive only. A date in `unavailable_after` keeps the comma after its day.
    """
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        agent, rest = "*", line
        head, colon, tail = line.partition(":")
        name = head.strip().lower()
        if colon and name and "," not in head and name not in _WITH_VALUE:
            agent, rest = name, tail
        directives: list[str] = []
        for item in rest.split(","):
            text = item.strip()
            if directives and _DAY.fullmatch(directives[-1]):
                directives[-1] += f", {text}"
            elif text:
                directives.append(_directive(text))
        if directives:
            found.append((agent, directives))
    return found


def _directive(text: str) -> str:
    name, colon, value = text.partition(":")
    return f"{name.strip().lower()}:{value.strip()}" if colon else name.lower()

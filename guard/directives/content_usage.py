"""IETF AIPREF `Content-Usage` (draft-ietf-aipref-vocab-08, attach-05): a structured-field Dictionary of y and n."""

from __future__ import annotations

import re
from collections.abc import Mapping

LABELS = ("train-ai", "ai-use", "search")
_VALUE = {"allow": "y", "disallow": "n"}

_KEY = re.compile(r"[a-z*][a-z0-9_\-.*]*+")
_ITEM = re.compile(
    r"(?:[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]*+|\"(?:[ !#-\[\]-~]|\\[\"\\])*+\"|\?[01]|-?[0-9]{1,15}(?:\.[0-9]{1,3})?)"
)


def state(preferences: Mapping[str, str]) -> str:
    """`train-ai=n, ai-use=n, search=y`; unstated purposes are left out, "" when none is stated."""
    return ", ".join(f"{label}={_VALUE[preferences[label]]}" for label in LABELS if label in preferences)


def combine(ours: str, theirs: list[str]) -> str:
    """Our statement and those that came with the content (header lines): any `n` wins, else any `y` (attach-05, 5).

    A field that does not parse states nothing (RFC 9651 4.2). Labels that only they use are kept.
    """
    stated = dict(item.split("=", 1) for item in ours.split(", ") if item)
    for label, value in _read(", ".join(theirs)).items():
        if value == "n" or label not in stated:
            stated[label] = value
    return ", ".join(f"{label}={value}" for label, value in stated.items())


def _read(field: str) -> dict[str, str]:
    """The `y` and `n` tokens of a Dictionary (RFC 9651 3.2); {} when any part of it does not parse."""
    found: dict[str, str] = {}
    at, end = 0, len(field.rstrip(" "))
    at += len(field) - len(field.lstrip(" "))
    while at < end:
        key = _KEY.match(field, at, end)
        if key is None:
            return {}
        at, value = key.end(), "?1"
        if field[at : at + 1] == "=":
            item = _ITEM.match(field, at + 1, end)
            if item is None:
                return {}
            at, value = item.end(), item[0]
        while field[at : at + 1] == ";":  # parameters carry nothing that we know, but must be well formed
            at += 1
            while field[at : at + 1] == " ":
                at += 1
            name = _KEY.match(field, at, end)
            if name is None:
                return {}
            at = name.end()
            if field[at : at + 1] == "=":
                item = _ITEM.match(field, at + 1, end)
                if item is None:
                    return {}
                at = item.end()
        found[key[0]] = value
        rest = field[at:end].lstrip(" \t")
        if not rest:
            break
        if rest[0] != "," or not rest[1:].strip(" \t"):
            return {}
        at = end - len(rest[1:].lstrip(" \t"))
    return {label: value for label, value in found.items() if value in ("y", "n")}

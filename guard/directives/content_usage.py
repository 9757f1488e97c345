"""IETF AIPREF `Content-Usage` (draft-ietf-aipref-vocab-08, attach-05): a structured-field Dictionary of y and n."""

from __future__ import annotations

import re
from collections.abc import Mapping

LABELS = ("train-ai", "ai-use", "search")
_VALUE = {"allow": "y", "disallow": "n"}

_KEY = re.compile(r"[a-z*][a-z0-9_\-.*]*+")
_COMMA = re.compile(r",[ \t]*+")
_ITEM = re.compile(  # token, string, boolean, byte sequence, display string, date, decimal, integer
    r"[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]*+|\"(?:[ !#-\[\]-~]|\\[\"\\])*+\"|\?[01]|:[A-Za-z0-9+/=]*+:"
    r"|%\"(?:[ !#$&-~]|%[0-9a-f]{2})*+\"|@-?[0-9]{1,15}|-?[0-9]{1,12}\.[0-9]{1,3}(?![0-9.])|-?[0-9]{1,15}(?![0-9.])"
)


def state(preferences: Mapping[str, str]) -> str:
    """`train-ai=n, ai-use=n, search=y`; unstated purposes are left out, "" when none is stated."""
    return ", ".join(f"{label}={_VALUE[preferences[label]]}" for label in LABELS if label in preferences)


def combine(ours: str, theirs: list[str]) -> str:
    """Our statement and those that came with the content (header lines): any `n` wins, else any `y` (attach-05, 5).

    A field that does not parse states nothing (RFC 9651 4.2). Labels that only they use are kept.
    """
    stated = dict(item.split("=", 1) for item in ours.split(", ") if item)
    for label, value in _read(", ".join(line for line in theirs if line.strip(" \t"))).items():
        if value == "n" or label not in stated:
            stated[label] = value
    return ", ".join(f"{label}={value}" for label, value in stated.items())


def _read(field: str) -> dict[str, str]:
    """The `y` and `n` tokens of a Dictionary (RFC 9651 4.2.2); {} when any part of it does not parse."""
    found: dict[str, str] = {}
    try:
        rest = field.strip(" ")
        while rest:
            key, rest = _take(_KEY, rest)
            value, rest = _value(rest[1:]) if rest.startswith("=") else ("?1", rest)
            rest = _parameters(rest).lstrip(" \t")
            found[key] = value
            if rest:
                _, rest = _take(_COMMA, rest)
                if not rest:
                    raise ValueError("a comma and nothing after it")
    except ValueError:
        return {}
    return {label: value for label, value in found.items() if value in ("y", "n")}


def _take(form: re.Pattern[str], text: str) -> tuple[str, str]:
    match = form.match(text)
    if match is None:
        raise ValueError(f"expected {form.pattern}")
    return match[0], text[match.end() :]


def _value(text: str) -> tuple[str, str]:
    """One item or inner list, as written, and what follows it."""
    if not text.startswith("("):
        return _take(_ITEM, text)
    rest = text[1:].lstrip(" ")
    while not rest.startswith(")"):
        _, rest = _take(_ITEM, rest)
        rest = _parameters(rest)
        if rest[:1] not in (" ", ")"):
            raise ValueError("items of an inner list stand apart")
        rest = rest.lstrip(" ")
    return "()", rest[1:]


def _parameters(text: str) -> str:
    """What follows the parameters: they carry nothing that we know, but must be well formed."""
    while text.startswith(";"):
        _, text = _take(_KEY, text[1:].lstrip(" "))
        if text.startswith("="):
            _, text = _take(_ITEM, text[1:])
    return text

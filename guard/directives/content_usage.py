"""IETF AIPREF `Content-Usage` (draft-ietf-aipref-vocab-08, attach-05): a structured-field Dictionary of y and n.

The law: what does not parse says nothing, all of it; of several statements any `n` wins; the longest path of a group
in robots.txt makes the whole statement, and who may not fetch a path has been told nothing about it.

The drafts still move: `LABELS` is the only place where their words stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from guard.robotstxt import Robots, escape_pattern, path_of, pattern_matches

LABELS: Mapping[str, str] = {"train-ai": "train-ai", "ai-use": "ai-use", "search": "search"}
"""Our purposes, in the order they are stated, and the draft's label for each."""

_VALUE = {"allow": "y", "disallow": "n"}
_WORD = {"y": "allow", "n": "disallow"}

_KEY = re.compile(r"[a-z*][a-z0-9_\-.*]*+")
_COMMA = re.compile(r",[ \t]*+")
_ITEM = re.compile(  # token, string, boolean, byte sequence, display string, date, decimal, integer
    r"[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]*+|\"(?:[ !#-\[\]-~]|\\[\"\\])*+\"|\?[01]|:[A-Za-z0-9+/=]*+:"
    r"|%\"(?:[ !#$&-~]|%[0-9a-f]{2})*+\"|@-?[0-9]{1,15}|-?[0-9]{1,12}\.[0-9]{1,3}(?![0-9.])|-?[0-9]{1,15}(?![0-9.])"
)
_BLANK = re.compile(r"[ \t]")


def state(preferences: Mapping[str, str]) -> str:
    """`train-ai=n, ai-use=n, search=y`; unstated purposes are left out, "" when none is stated."""
    return write({label: _VALUE[preferences[ours]] for ours, label in LABELS.items() if ours in preferences})


def write(stated: Mapping[str, str]) -> str:
    """Labels and their `y` or `n` as a field value."""
    return ", ".join(f"{label}={value}" for label, value in stated.items())


def combine(ours: str, theirs: list[str]) -> str:
    """Our statement and those that came with the content (header lines): any `n` wins, else any `y` (attach-05, 5).

    A field that does not parse states nothing (RFC 9651 4.2). Labels that only they use are kept.
    """
    stated = dict(item.split("=", 1) for item in ours.split(", ") if item)
    return write(strictest((stated, read(theirs))))


def strictest(statements: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Statements of several sources as one: any `n` wins, else any `y` (vocab-08, 5.1)."""
    found: dict[str, str] = {}
    for statement in statements:
        for label, value in statement.items():
            if value == "n" or label not in found:
                found[label] = value
    return found


def read(field_lines: list[str]) -> dict[str, str]:
    """What header lines of one answer say: every label (known or not) with `y` or `n`; {} when they do not parse."""
    return _read(", ".join(line for line in field_lines if line.strip(" \t")))


def meant(stated: Mapping[str, str]) -> dict[str, str]:
    """Labels with `y` or `n` as our purposes with `allow` or `disallow`; labels that we do not know are left out."""
    return {ours: _WORD[stated[label]] for ours, label in LABELS.items() if label in stated}


def split_rule(value: str) -> tuple[str, str] | None:
    """Path pattern and statement of a Content-Usage line in robots.txt (attach-05, 3.2); the path is "" when there is
    none. None for a path without a statement, which the grammar does not have."""
    if not value.startswith("/"):
        return "", value
    found = _BLANK.search(value)
    if found is None:
        return None
    return escape_pattern(value[: found.start()].encode().decode("latin-1")), value[found.end() :].strip(" \t")


def evaluate(robots: Robots, token: str, address: str) -> tuple[bool, dict[str, str] | None]:
    """May an agent fetch an address, and what is said of it there: labels with `y` or `n`; None when it may not.

    Of the rules of the agent's groups the longest one that matches counts alone; of several with the same path, the
    most restrictive (attach-05, 3.1). `address` is a path with its query, or a URL.
    """
    path = escape_pattern(path_of(address).encode().decode("latin-1"))
    if not robots.allowed(token, path):
        return False, None
    longest, said = -1, dict[str, str]()
    for group in robots.groups_of(token):
        for line in group.content:
            rule = split_rule(line.value) if line.key == "content-usage" else None
            if rule is None or len(rule[0]) < longest or not (not rule[0] or pattern_matches(rule[0], path)):
                continue
            stated = read([rule[1]])
            said = strictest((said, stated)) if len(rule[0]) == longest else stated
            longest = len(rule[0])
    return True, said


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

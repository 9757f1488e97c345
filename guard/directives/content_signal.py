"""Cloudflare's Content Signals: `search`, `ai-input`, `ai-train`, each yes or no, in a group of robots.txt.

The law: written strictly, read tolerantly (no grammar was published: any case, a comma between, blanks around), and
of several statements any `no` wins. A key that is absent neither grants nor restricts. A signal knows no paths.

Source: contentsignals.org (2025-09-24), and `use`, which appeared in 2026.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from guard.robotstxt import Robots

_NAMES = (("search", "search"), ("ai-use", "ai-input"), ("train-ai", "ai-train"))
_VALUE = {"allow": "yes", "disallow": "no"}
_VALUES = {
    "search": ("no", "yes"),
    "ai-input": ("no", "yes"),
    "ai-train": ("no", "yes"),
    "use": ("immediate", "reference", "full"),
}
"""What each key may say, the least first. `use`: how much of the content an answer may show; we never state it."""

COMMENT = """\
# What the Content-Signal lines in this file mean. They are a condition for access to this site.
#   yes: what was fetched may be used in this way. no: it may not.
#   A way that is not named is neither granted nor restricted by the line.
# The ways:
#   search    to build an index, and to answer with links and short excerpts; not with summaries made by a model
#   ai-input  to feed a model when it answers: grounding, retrieval, transcription
#   ai-train  to train a model, or to tune one
# Every "no" is an express reservation of rights under Article 4(3) of Directive (EU) 2019/790
# on copyright and related rights in the Digital Single Market.
"""
"""The words that make a signal a reservation, as comment lines for the top of robots.txt."""


def state(preferences: Mapping[str, str]) -> str:
    """`search=yes, ai-input=no, ai-train=no`; an absent key neither grants nor restricts."""
    return _write({name: _VALUE[preferences[ours]] for ours, name in _NAMES if ours in preferences})


def read(value: str) -> dict[str, str]:
    """The keys that are known, with the values that they may have, in lower case; all else says nothing."""
    found: dict[str, str] = {}
    for item in value.split(","):
        key, _, said = item.partition("=")
        name, word = key.strip().lower(), said.strip().lower()
        if word in _VALUES.get(name, ()):
            found[name] = _less(name, word, found.get(name))
    return found


def meant(signals: Mapping[str, str]) -> dict[str, str]:
    """Signals as our purposes with `allow` or `disallow`."""
    words = {value: word for word, value in _VALUE.items()}
    return {ours: words[signals[name]] for ours, name in _NAMES if name in signals}


def combine(ours: str, theirs: Iterable[str]) -> str:
    """Our value and those of others (one a line) as one: any `no` wins. Keys that only they use are kept."""
    stated = read(ours)
    for value in theirs:
        for name, word in read(value).items():
            stated[name] = _less(name, word, stated.get(name))
    return _write(stated)


def of_group(robots: Robots, token: str) -> dict[str, str]:
    """What the groups say that an agent with this token obeys. A group of its own inherits nothing from `*`."""
    lines = [line.value for group in robots.groups_of(token) for line in group.content if line.key == "content-signal"]
    return read(combine("", lines))


def _less(name: str, word: str, other: str | None) -> str:
    return word if other is None else min(word, other, key=_VALUES[name].index)


def _write(signals: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={word}" for name, word in signals.items())

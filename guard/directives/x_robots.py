"""`X-Robots-Tag: noai, noimageai`, lower case and on a line of its own: some readers take the text before the first
colon of a line for an agent's name, others compare case-sensitively."""

from __future__ import annotations

from collections.abc import Mapping


def state(preferences: Mapping[str, str]) -> str:
    """The value when training is disallowed, else ""; the tag has no way to allow."""
    return "noai, noimageai" if preferences.get("train-ai") == "disallow" else ""

"""Cloudflare's Content Signals: `search`, `ai-input`, `ai-train`, each yes or no, in a group of robots.txt."""

from __future__ import annotations

from collections.abc import Mapping

_NAMES = (("search", "search"), ("ai-use", "ai-input"), ("train-ai", "ai-train"))
_VALUE = {"allow": "yes", "disallow": "no"}


def state(preferences: Mapping[str, str]) -> str:
    """`search=yes, ai-input=no, ai-train=no`; an absent key neither grants nor restricts."""
    return ", ".join(f"{name}={_VALUE[preferences[ours]]}" for ours, name in _NAMES if ours in preferences)

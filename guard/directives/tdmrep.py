"""W3C TDMRep (Community Group final report, 2024-05-10): one number, 1 = text and data mining rights are reserved."""

from __future__ import annotations

import json
from collections.abc import Mapping

from guard.classify import Catalogue
from guard.policy import Policy


def state(preferences: Mapping[str, str]) -> str:
    """`1` when training or AI use is disallowed, `0` when both are allowed, "" when nothing is stated."""
    stated = {preferences[purpose] for purpose in ("train-ai", "ai-use") if purpose in preferences}
    if "disallow" in stated:
        return "1"
    return "0" if stated else ""


def render(policy: Policy, catalogue: Catalogue, lines: tuple[str, ...]) -> str:
    """`/.well-known/tdmrep.json` for the whole site: a JSON array, numbers not strings."""
    reservation = state(policy.preferences)
    rules = [{"location": "/", "tdm-reservation": int(reservation)}] if reservation else []
    return json.dumps(rules) + "\n"

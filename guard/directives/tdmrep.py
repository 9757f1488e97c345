"""W3C TDMRep (Community Group final report, 2024-05-10): one number, 1 = text and data mining rights are reserved."""

from __future__ import annotations

import json
from collections.abc import Mapping

from guard.classify import Catalogue
from guard.directives import robots
from guard.policy import Policy


def state(preferences: Mapping[str, str]) -> str:
    """`1` when training or AI use is disallowed, `0` when both are allowed, "" when nothing is stated."""
    stated = {preferences[purpose] for purpose in ("train-ai", "ai-use") if purpose in preferences}
    if "disallow" in stated:
        return "1"
    return "0" if stated else ""


def render(policy: Policy, catalogue: Catalogue, lines: tuple[str, ...]) -> str:
    """`/.well-known/tdmrep.json`: a JSON array, the longer (more specific) locations first, numbers not strings."""
    general = state(policy.preferences)
    said = [(path, state(preferences)) for path, preferences in robots.paths_that_differ(policy) if path != "/"]
    said = [(path, word) for path, word in said if word and not path.endswith("?")]
    said.sort(key=lambda pair: -len(pair[0]))
    fallback = state(policy.stated(policy.route_default)) or general
    rules = [{"location": path, "tdm-reservation": int(word)} for path, word in said]
    rules += [{"location": "/", "tdm-reservation": int(fallback)}] if fallback else []
    return json.dumps(rules) + "\n"

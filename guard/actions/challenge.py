"""Answer a document with a page that asks to come back in a moment, with a cookie. No script, no puzzle.

Who does not come back with it, and asks again, is told how to go on by hand. The pass itself is added by the engine,
which knows who is asked.
"""

from __future__ import annotations

from guard.model import Admission, Decision, Headers, Reply, Site
from guard.replies import challenge


def perform(
    site: Site, decision: Decision, admission: Admission | None, accept: bytes, decision_id: str, headers: Headers
) -> Reply | None:
    return challenge(site, decision, decision_id, headers)

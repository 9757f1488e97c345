"""Note a word on the decision and let the request through; never final."""

from __future__ import annotations

from guard.model import Admission, Decision, Headers, Reply, Site


def perform(
    site: Site, decision: Decision, admission: Admission | None, accept: bytes, decision_id: str, headers: Headers
) -> Reply | None:
    return None

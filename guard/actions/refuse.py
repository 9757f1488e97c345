"""Answer 429 in words for some minutes: it looks like scraping, and may have been another."""

from __future__ import annotations

from guard.model import Admission, Decision, Headers, Reply, Site
from guard.replies import refuse


def perform(
    site: Site, decision: Decision, admission: Admission | None, accept: bytes, decision_id: str, headers: Headers
) -> Reply | None:
    wait = Admission(False, 0, decision.retry_s, True)
    return refuse(site, 429, decision, accept, decision_id, headers, wait)

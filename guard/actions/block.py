"""Answer 403 in words."""

from __future__ import annotations

from guard.model import Admission, Decision, Headers, Reply, Site
from guard.replies import refuse


def perform(
    site: Site, decision: Decision, admission: Admission | None, accept: bytes, decision_id: str, headers: Headers
) -> Reply | None:
    return refuse(site, 403, decision, accept, decision_id, headers)

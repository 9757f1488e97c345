"""Let through what the limit admits; answer the rest 429 with the time to wait."""

from __future__ import annotations

from guard.model import Admission, Decision, Headers, Reply, Site
from guard.replies import refuse


def perform(
    site: Site, decision: Decision, admission: Admission | None, accept: bytes, decision_id: str, headers: Headers
) -> Reply | None:
    if admission is None or admission.allowed:
        return None
    return refuse(site, 429, decision, accept, decision_id, headers, admission)

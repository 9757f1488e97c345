"""Answer 403 in words, and ask for what would make it another answer."""

from __future__ import annotations

from guard.model import Admission, Decision, Headers, Reply, Site
from guard.replies import accept_signature, refuse

_ASKED: dict[str, Headers] = {
    "": (),
    "signature": accept_signature(),
    "signature of the path": accept_signature(path=True),
}
"""By `Decision.ask`."""


def perform(
    site: Site, decision: Decision, admission: Admission | None, accept: bytes, decision_id: str, headers: Headers
) -> Reply | None:
    return refuse(site, 403, decision, accept, decision_id, headers + _ASKED[decision.ask])

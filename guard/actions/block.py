"""Answer 403 in words, and ask for what would make it another answer."""

from __future__ import annotations

from guard.model import Admission, Decision, Headers, Reply, Site
from guard.replies import refuse

ACCEPT_SIGNATURE = b'sig1=("@authority" "signature-agent";key="sig1");created;expires;keyid;tag="web-bot-auth"'
"""What a signature must cover (RFC 9421 5.1, draft-ietf-webbotauth-httpsig-protocol)."""


def perform(
    site: Site, decision: Decision, admission: Admission | None, accept: bytes, decision_id: str, headers: Headers
) -> Reply | None:
    asked = ((b"accept-signature", ACCEPT_SIGNATURE),) if decision.ask == "signature" else ()
    return refuse(site, 403, decision, accept, decision_id, (*headers, *asked))

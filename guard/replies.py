"""Answers the guard makes itself: refusals in words, by what the client can read.

The law: the status says what happened (400, 403, 429, never 200, never a redirect), nothing of the request is
reflected, nothing is stored by any cache, and every refusal carries an id and a contact. Pages get plain HTML
without script; media, manifests, feeds and APIs get a problem document, whatever they accept.

Sources: RFC 9457 (problem details), RFC 6585 (429), RFC 9110 10.2.3 (Retry-After),
draft-ietf-httpapi-ratelimit-headers (RateLimit as structured-field lists).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape

from guard.model import Admission, Decision, Headers, Limit, Reply, Site

NO_STORE: Headers = (
    (b"cache-control", b"no-store"),
    (b"cdn-cache-control", b"no-store"),
    (b"surrogate-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)
_HTML_ROUTES = frozenset(("page", "search"))
_PROBLEMS = "https://iana.org/assignments/http-problem-types#"

RATE = {
    "state field": "ratelimit",
    "policy field": "ratelimit-policy",
    "remaining": "r",
    "reset": "t",
    "quota": "q",
    "window": "w",
    "unit": "qu",
}
"""The names of draft-ietf-httpapi-ratelimit-headers-10. They still move, so they stand here and nowhere else."""

_TYPES = {429: "quota-exceeded", 503: "temporary-reduced-capacity"}
"""The problem types that the draft registers, by status."""

_TITLES = {
    400: "This request could not be read",
    403: "This request was not allowed",
    405: "This method is not served here",
    421: "This host is not served here",
    429: "Too many requests for now",
    503: "Not available for a moment",
}


def refuse(
    site: Site,
    status: int,
    decision: Decision,
    accept: bytes,
    decision_id: str,
    headers: Headers = (),
    admission: Admission | None = None,
) -> Reply:
    """A refusal of `decision`; `accept` is the request's Accept header, `headers` go on every answer of the site."""
    title = _TITLES.get(status, "This request was not answered")
    detail = decision.reason or _why(status)
    own: Headers = (*NO_STORE, (b"x-guard-decision", decision_id.encode()))
    if admission is not None and decision.limits:
        own += rate_headers(decision.limits, admission)
    elif admission is not None:  # nobody's limit: so long and no longer
        own += ((b"retry-after", b"%d" % max(1, math.ceil(admission.retry_after_s))),)
    if decision.route_class in _HTML_ROUTES and _prefers_html(accept):
        body = _page(site, title, detail, decision_id, admission).encode()
        own = ((b"content-type", b"text/html; charset=utf-8"), (b"content-security-policy", _CSP), *own)
    else:
        body = _problem(site, status, title, detail, decision, decision_id, admission)
        own = ((b"content-type", b"application/problem+json"), *own)
    return Reply(status, own + headers, body)


def challenge(site: Site, decision: Decision, decision_id: str, headers: Headers) -> Reply:
    """A page that asks to come back in a moment with the decision's cookie: 429 with Retry-After, and it comes back by
    itself."""
    wait_s = max(1, math.ceil(decision.retry_s))
    own: Headers = (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", _CSP),
        *NO_STORE,
        (b"x-guard-decision", decision_id.encode()),
        (b"retry-after", b"%d" % wait_s),
        *(((b"set-cookie", decision.cookie),) if decision.cookie else ()),
    )
    title = "One moment, please"
    detail = "This site is being copied by programs, so it looks twice at some visits. The page comes by itself."
    refresh = f'<meta http-equiv="refresh" content="{wait_s}">'
    body = _page(site, title, detail, decision_id, Admission(False, 0, decision.retry_s, True), refresh)
    return Reply(429, own + headers, body.encode())


def accept_signature(*, path: bool = False) -> Headers:
    """The field that asks for a signature which would count (RFC 9421 5.1, draft-ietf-webbotauth-httpsig-protocol);
    `path`: one that covers method and path, too."""
    covered = '"@method" "@authority" "@path" "@query"' if path else '"@authority"'
    asked = f'sig1=({covered} "signature-agent";key="sig1");created;expires;keyid;tag="web-bot-auth"'
    return ((b"accept-signature", asked.encode()),)


def rate_headers(limits: Sequence[Limit], admission: Admission) -> Headers:
    """`Retry-After`, `RateLimit` and `RateLimit-Policy`, which agree: seconds are rounded up. All limits that had to
    admit the request are told, and the state of the one that did not."""
    wait_s = max(1, math.ceil(admission.retry_after_s))
    limit = admission.limit or limits[0]
    state = f'"{_plain(limit.name)}";{RATE["remaining"]}={admission.remaining};{RATE["reset"]}={wait_s}'
    policy = ", ".join(map(_written, limits))
    return (
        (b"retry-after", b"%d" % wait_s),
        (RATE["state field"].encode(), state.encode("ascii", "replace")),
        (RATE["policy field"].encode(), policy.encode("ascii", "replace")),
    )


def _plain(name: str) -> str:
    """A name as a String of RFC 9651 may hold it."""
    return name.replace("\\", "").replace('"', "")


_UNITS = {"requests": "requests", "bytes": "content-bytes"}
"""The quota units of the draft; others are told without one."""

_PERIODS_S = {"day": 86_400, "month": 2_592_000}


def _written(limit: Limit) -> str:
    """One limit as the policy field names it: how much at most (`q`), in which time (`w`, seconds)."""
    quota, unit = limit.count, _UNITS.get(limit.unit, "")
    if limit.kind == "concurrent":
        return f'"{_plain(limit.name)}";{RATE["quota"]}={quota};{RATE["unit"]}="concurrent-requests"'
    if limit.kind == "quota":
        window_s = _PERIODS_S[limit.period]
    else:
        quota, window_s = limit.burst, max(1, math.ceil(limit.burst * limit.emission_s))
    said = f'"{_plain(limit.name)}";{RATE["quota"]}={quota};{RATE["window"]}={window_s}'
    return said if unit == "requests" else f'{said};{RATE["unit"]}="{unit}"' if unit else said


def _why(status: int) -> str:
    if status == 429:
        return "More requests came from here than this site answers in such a short time."
    if status == 503:
        return "This site cannot count requests at the moment and answers this kind again in a few seconds."
    if status == 400:
        return "The address or the headers of the request have no single safe meaning."
    return "The site's policy does not allow this client to fetch this address."


def _prefers_html(accept: bytes) -> bool:
    """Only who names HTML gets HTML: `*/*` is what tools and players send."""
    lowered = accept.lower()
    return b"text/html" in lowered or b"application/xhtml+xml" in lowered


def _problem(
    site: Site,
    status: int,
    title: str,
    detail: str,
    decision: Decision,
    decision_id: str,
    admission: Admission | None,
) -> bytes:
    problem: dict[str, object] = {
        "type": f"{_PROBLEMS}{_problem_type(status, decision)}" if status in _TYPES else "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "decision": decision_id,
    }
    if site.contact:
        problem["contact"] = site.contact
    if admission is not None and decision.limits:
        problem["violated-policies"] = [_plain((admission.limit or decision.limits[0]).name)]
    return json.dumps(problem).encode() + b"\n"


def _problem_type(status: int, decision: Decision) -> str:
    return "abnormal-usage-detected" if decision.action == "refuse" else _TYPES[status]


_CSP = b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def _page(site: Site, title: str, detail: str, decision_id: str, admission: Admission | None, head: str = "") -> str:
    wait = ""
    if admission is not None:
        seconds = max(1, math.ceil(admission.retry_after_s))
        wait = f"<p>You can try again in {seconds} second{'s' if seconds != 1 else ''}.</p>"
    contact = f"<p>If you think this is a mistake, tell us: <b>{escape(site.contact)}</b>.</p>" if site.contact else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">'
        f"{head}<title>{escape(title)}</title>"
        "<style>body{font:1.1rem/1.6 system-ui,sans-serif;max-width:36rem;margin:12vh auto;padding:0 1.2rem;"
        "color:#222;background:#fff}code{background:#f2f2f2;padding:.1em .4em}</style></head><body>"
        f"<h1>{escape(title)}</h1><p>{escape(detail)}</p>{wait}"
        f"<p>Please give this number with your message: <code>{escape(decision_id)}</code></p>{contact}"
        f"<p><small>{escape(site.name)}</small></p></body></html>\n"
    )

"""W3C TDMRep (Community Group final report, 2024-05-10): one number, 1 = text and data mining rights are reserved.

The law: the report says "the most specific match" in one sentence and "the first in sequence" in the next. So the
longer location always stands first, and both kinds of readers come to the same word. Numbers are numbers, never
text; a policy is named with a reservation only, and by an absolute URL. The form cannot take back: where nobody says
anything, within a path where somebody does, it reads as what is around it (and 0 reserves as little as silence).

What lies where is worked out in `scopes`, from which the other files with paths are written, too.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from guard.directives.declaration import Declaration, Place, places_of
from guard.directives.paths import stated_by_path
from guard.rights import Rights, Work, strictest_words
from guard.robotstxt import MAX_BYTES, pattern_matches

FILE = "/.well-known/tdmrep.json"
POLICY_FILE = "/.well-known/tdm-policy.json"
CONTEXT = ("http://www.w3.org/ns/odrl.jsonld", "http://www.w3.org/ns/tdmrep.jsonld")
PROFILE = "http://www.w3.org/ns/tdmrep"


def state(preferences: Mapping[str, str]) -> str:
    """`1` when training or AI use is disallowed, `0` when both are allowed, "" when nothing is stated."""
    train, use = preferences.get("train-ai"), preferences.get("ai-use")
    if train == "disallow" or use == "disallow":
        return "1"
    return "0" if train or use else ""


# -- what lies where -----------------------------------------------------------------------------------------


class Scope(NamedTuple):
    """A path pattern as robots.txt writes it, what holds there, and the place it is of (None = the policy's own).

    `word` is the `state` of its preferences, `rank` the place's position in the declaration, where the widest layer
    stands first.
    """

    pattern: str
    preferences: Mapping[str, str]
    word: str
    place: Place | None = None
    rank: int = -1


def scopes(declaration: Declaration) -> tuple[Scope, ...]:
    """Everything that differs by path, the longest pattern first and `/` last.

    Where the path of a kind lies across that of another (`/podcast/` and `/*.mp3`), what they have in common is a
    scope of its own (`/podcast/*.mp3`), as it is a place of its own where a place does.
    """
    found: tuple[Scope, ...] | None = declaration.worked_out.get("scopes")
    if found is None:
        found = declaration.worked_out["scopes"] = _scopes(declaration)
    return found


def _scopes(declaration: Declaration) -> tuple[Scope, ...]:
    found: dict[str, Scope] = {}
    for rank, place in enumerate(declaration.places):
        preferences = place.preferences
        word = state(preferences)
        for pattern in place.spellings:
            _add(found, Scope(pattern, preferences, word, place, rank))
    for pattern, preferences in stated_by_path(declaration.policy).items():
        found.setdefault(pattern, Scope(pattern, preferences, state(preferences)))
    return tuple(sorted(found.values(), key=lambda scope: (-len(scope.pattern), scope.word != "1")))


def _add(found: dict[str, Scope], scope: Scope) -> None:
    """Two works at one address: what both allow."""
    other = found.get(scope.pattern)
    if other is not None and other.preferences != scope.preferences:
        preferences = strictest_words((other.preferences, scope.preferences))
        scope = scope._replace(preferences=preferences, word=state(preferences))
    found[scope.pattern] = scope


def fit(
    found: Sequence[Scope], size: Callable[[Scope], int], room: int = MAX_BYTES
) -> tuple[tuple[Scope, ...], frozenset[Work]]:
    """Those scopes that `room` bytes have place for, in their order, and the works that had to be left out.

    Those of the policy always; then what holders reserve, then what they open, the widest layer first. So what is
    left out is never a reservation within something opened that was named.
    """
    room -= sum(size(scope) for scope in found if scope.place is None)
    theirs = sorted(
        (scope.word != "1", scope.rank, number, scope.place.work)
        for number, scope in enumerate(found)
        if scope.place is not None
    )
    left_out: dict[int, Work] = {}
    for position, (_, _, number, _) in enumerate(theirs):
        room -= size(found[number])
        if room < 0:
            left_out = {number: work for _, _, number, work in theirs[position:]}
            break
    return (
        tuple(scope for number, scope in enumerate(found) if number not in left_out),
        frozenset(left_out.values()),
    )


# -- the file ------------------------------------------------------------------------------------------------


def render(declaration: Declaration) -> str:
    """`/.well-known/tdmrep.json`: a JSON array, one rule a line, the longer (more specific) locations first."""
    return written(declaration)[0]


def written(declaration: Declaration) -> tuple[str, int]:
    """The file, and how many of the named works it has no room for; their own answers state theirs."""
    stated = [scope for scope in scopes(declaration) if scope.word]
    lines: dict[int, str] = {}

    def size(scope: Scope) -> int:
        line = lines[id(scope)] = json.dumps(_rule(declaration, scope))
        return len(line) + 2

    chosen, left_out = fit(stated, size, MAX_BYTES - 4)
    body = ",\n".join(lines[id(scope)] for scope in chosen)
    return (f"[\n{body}\n]\n" if body else "[]\n"), len(left_out)


def _rule(declaration: Declaration, scope: Scope) -> dict[str, str | int]:
    word = scope.word
    rule: dict[str, str | int] = {"location": scope.pattern, "tdm-reservation": int(word)}
    if word == "1" and declaration.policy.site.url:
        place = scope.place
        own = place is not None and (place.rights.licences or place.rights.licence_url)
        rule["tdm-policy"] = policy_address(declaration, place.work if place is not None and own else None)
    return rule


# -- the policy that it names --------------------------------------------------------------------------------


def policy_address(declaration: Declaration, work: Work | None = None) -> str:
    """Where the policy is to be read, that of one work with its name: `/.well-known/tdm-policy.json?work=track%3A1`."""
    named = f"?work={quote(str(work), safe='-._~')}" if work is not None else ""
    return declaration.address(POLICY_FILE) + named


def render_policy(declaration: Declaration, work: Work | None = None, rights: Rights | None = None) -> str:
    """The ODRL offer (JSON-LD): mining is to be had from whom, and what has to be done for it.

    Of one work when it is given with its rights, else of the whole site. Who has a licence is not told.
    """
    policy = declaration.policy
    site = policy.site
    offer: dict[str, Any] = {"@context": list(CONTEXT), "@type": "Offer", "profile": PROFILE}
    address = policy_address(declaration, work)
    offer["uid"] = address if site.url else uuid.uuid5(uuid.NAMESPACE_URL, f"{site.name} {address}").urn
    contact, licence_url = site.contact, ""
    targets = [(declaration.address("/"), state(policy.preferences))]
    if work is not None and rights is not None:
        contact, licence_url = rights.contact or contact, rights.licence_url
        targets = _targets(declaration, work, rights)
    offer["assigner"] = _assigner(site.name, site.url, contact, licence_url)
    duties = [{"action": "obtainConsent"}, *([{"action": "compensate"}] if licence_url else [])]
    offer["permission"] = [
        {
            **({"target": target} if target else {}),
            "action": "tdm:mine",
            **({"duty": duties} if word != "0" else {}),
        }
        for target, word in targets
    ]
    return json.dumps(offer, indent=1) + "\n"


def _targets(declaration: Declaration, work: Work, rights: Rights) -> list[tuple[str, str]]:
    """The addresses of a work, each with its word; "" when the policy does not know where it is."""
    found: dict[str, str] = {}
    for place in places_of(declaration.policy, work, rights):
        if place.across:
            continue
        first = place.spellings[0]
        below = first if first.endswith("/") and "*" not in first else place.address
        found.setdefault(declaration.address(below), state(place.preferences))
    return list(found.items()) or [("", state(rights.stated("")))]


def _assigner(name: str, url: str, contact: str, licence_url: str) -> dict[str, str]:
    """Exactly one; a licence's page goes before a contact's."""
    found = {"uid": url} if url else {}
    found["vcard:fn"] = name
    if contact.startswith("mailto:"):
        found["vcard:hasEmail"] = contact
    elif contact.startswith("tel:"):
        found["vcard:hasTelephone"] = contact
    elif contact.startswith(("https://", "http://")):
        found["vcard:hasURL"] = contact
    elif "@" in contact and " " not in contact:
        found["vcard:hasEmail"] = f"mailto:{contact}"
    if licence_url:
        found["vcard:hasURL"] = licence_url
    return found


# -- as its readers understand it ----------------------------------------------------------------------------


class Reservation(NamedTuple):
    """1, 0 or None (unset), and the policy's URL with a 1 where there is one."""

    reservation: int | None = None
    policy: str | None = None


UNSET = Reservation()


class Rule(NamedTuple):
    """One entry of the file; what does not say 0 or 1 says that nothing is set."""

    location: str
    reservation: Reservation


def read(text: str) -> tuple[Rule, ...]:
    """The rules of a file, in their order; those without a location are passed over. Raises ValueError."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON: {error}") from None
    if not isinstance(said, list):
        raise ValueError("protocol error: must be an array")
    rules = []
    for entry in said:
        if isinstance(entry, dict) and isinstance(location := entry.get("location"), str):
            rules.append(Rule(location, _reservation(entry.get("tdm-reservation"), entry.get("tdm-policy"))))
    return tuple(rules)


def evaluate(rules: Iterable[Rule], address: str, *, longest: bool = False) -> Reservation:
    """What the file says of an address (path and query): by its first rule that fits, or by the `longest` one."""
    path = canonical_address(address)
    fitting = [rule for rule in rules if pattern_matches(canonical(rule.location), path)]
    if not fitting:
        return UNSET
    return (max(fitting, key=lambda rule: len(canonical(rule.location))) if longest else fitting[0]).reservation


def read_headers(headers: Iterable[tuple[str, str]]) -> Reservation:
    """What header lines say; two lines of one name are read as one with a comma, which is no number."""
    said: dict[str, list[str]] = {}
    for name, value in headers:
        said.setdefault(name.lower(), []).append(value.strip(" \t"))
    word = ", ".join(said.get("tdm-reservation", ()))
    return _reservation({"0": 0, "1": 1}.get(word), ", ".join(said.get("tdm-policy", ())) or None)


def combine(*stated: Reservation | None) -> Reservation:
    """File, header, HTML, file itself, in this order: the later supersedes, what is not there resets nothing."""
    word: int | None = None
    policy: str | None = None
    for one in stated:
        if one is not None:
            word = word if one.reservation is None else one.reservation
            policy = one.policy or policy
    return Reservation(word, policy if word == 1 else None)


def _reservation(word: object, policy: object) -> Reservation:
    if type(word) is not int or word not in (0, 1):  # in JSON, true is no number
        return UNSET
    return Reservation(word, policy if word == 1 and isinstance(policy, str) and policy else None)


_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ODD = re.compile(rb"%[0-9A-Fa-f]{2}|[^!-~]")


def canonical(pattern: str) -> str:
    """A path pattern as it is compared (RFC 9309 2.2.2): needless escapes undone, needed ones made, in capitals."""
    return _ODD.sub(_one_octet, pattern.encode("utf-8", "replace")).decode("ascii")


def canonical_address(address: str) -> str:
    """An address as it is compared: what is special in patterns is escaped in it."""
    return canonical(address).replace("*", "%2A").replace("$", "%24")


def _one_octet(match: re.Match[bytes]) -> bytes:
    found = match[0]
    octet = int(found[1:], 16) if len(found) == 3 else found[0]
    return bytes((octet,)) if octet in _UNRESERVED else b"%%%02X" % octet

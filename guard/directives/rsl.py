"""RSL 1.0 (Recommendation, 2025-12-10, errata to 2026-08-07): licences as XML, for a site and for each work.

The law: what is reserved is prohibited, what is allowed is permitted, and what nobody speaks of stands in neither.
One licence in each `content`, for nothing says how several would combine; children in the order of the standard's
Appendix A; nothing from a person or a register reaches the document unescaped. Who has a licence is never named: only
where one is to be had.

A reader takes no document with a fault: then the asset is not licensed. Neither does ours: no DTD (so no entities),
at most MAX_BYTES, everything that the standard's prose asks for checked, and all faults told at once.

`rsl.rng` beside this file is a schema of our own for the same rules; `validate` holds a document against it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from urllib.parse import quote
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from guard.directives import tdmrep
from guard.directives.declaration import Declaration, places_of
from guard.model import KINDS
from guard.rights import Rights, Work, strictest_words
from guard.robotstxt import MAX_BYTES, pattern_matches, read_robots

FILE = "/license.xml"
MEDIA_TYPE = "application/rsl+xml"
NAMESPACE = "https://rslstandard.org/rsl"
MAX_AGE_DAYS = 7
DEFAULT_MAX_AGE_DAYS = 30

USAGES = ("all", "ai-all", "ai-train", "ai-input", "ai-index", "search")
USERS = ("commercial", "non-commercial", "education", "government", "personal")
PAYMENTS = ("purchase", "subscription", "training", "crawl", "use", "contribution", "attribution", "free")
REPORTS = ("telemetry", "provenance", "audit")
WARRANTIES = ("ownership", "authority", "no-infringement", "privacy-consent", "no-malware")
DISCLAIMERS = ("as-is", "no-warranty", "no-liability", "no-indemnity")

EXTENSION = "https://github.com/noai-guard/noai-guard"
"""The namespace of `unstated`, the one thing we permit where nothing is stated. `permits` is a closed list: without it
everything would be permitted."""

OURS = {"ai-train": "train-ai", "ai-input": "ai-use", "search": "search"}
"""Their tokens for what we call otherwise."""

_PARTS = {
    "all": ("ai-train", "ai-input", "ai-index", "search"),
    "ai-all": ("ai-train", "ai-input", "ai-index"),
}


# -- writing -------------------------------------------------------------------------------------------------


def render(declaration: Declaration) -> str:
    """`/license.xml`: a `content` for each path where something else holds, the narrower ones first."""
    return written(declaration)[0]


def written(declaration: Declaration) -> tuple[str, int]:
    """The document, and how many of the named works it has no room for; their own answers link to theirs."""
    contact = declaration.policy.site.contact
    found = [scope for scope in tdmrep.scopes(declaration) if _stated(scope.preferences) or scope.pattern != "/"]
    if not any(_stated(scope.preferences) for scope in found):
        return _document([_content("/", {}, contact, None)]), 0
    texts: dict[int, str] = {}

    def size(scope: tdmrep.Scope) -> int:
        rights = scope.place.rights if scope.place is not None else None
        closing = _copyright(declaration) if rights is None else ""
        text = texts[id(scope)] = _content(scope.pattern, scope.preferences, contact, rights, closing)
        return len(text.encode()) + 1

    frame = len(_document([], _note(len(found) + declaration.left_out)))  # the longest that it can be
    chosen, left_out = tdmrep.fit(found, size, MAX_BYTES - frame)
    others = len(left_out) + declaration.left_out
    return _document([texts[id(scope)] for scope in chosen], _note(others) if others else ""), len(left_out)


def _note(works: int) -> str:
    return f"{works} more works have words of their own: their answers link to them."


def render_work(declaration: Declaration, work: Work, rights: Rights) -> str:
    """The document of one work: a `content` for each of its addresses, the longer patterns first.

    Where the policy does not know them, one with an empty url (of whatever links to it), with the strictest word.
    """
    contact = declaration.policy.site.contact
    found: dict[str, Mapping[str, str]] = {}
    for place in places_of(declaration.policy, work, rights):
        for pattern in place.spellings:
            found.setdefault(pattern, place.preferences)
    if not found:
        kinds = ["", *(kind for kind, classes in KINDS.items() if classes)]
        found[""] = strictest_words([rights.stated(kind) for kind in kinds])
    patterns = sorted(found, key=len, reverse=True)
    return _document([_content(pattern, found[pattern], contact, rights) for pattern in patterns])


def licence_address(declaration: Declaration, work: Work | None = None) -> str:
    """Where the document of the site, or of one work, is to be read."""
    return declaration.address(FILE) + (f"?work={quote(str(work), safe='')}" if work is not None else "")


def link(url: str) -> bytes:
    """The value of a Link header (RFC 8288) that names a document."""
    target = quote(url, safe="!#$%&'()*+,-./:;=?@[]_~")
    return f'<{target}>; rel="license"; type="{MEDIA_TYPE}"'.encode("ascii")


def _document(contents: list[str], note: str = "") -> str:
    lines = ['<?xml version="1.0" encoding="UTF-8"?>']
    if note:
        lines.append(f"<!-- {note} -->")
    lines += [f'<rsl xmlns="{NAMESPACE}" max-age="{MAX_AGE_DAYS}">', *contents, "</rsl>", ""]
    return "\n".join(lines)


def _content(
    url: str,
    preferences: Mapping[str, str],
    contact: str,
    rights: Rights | None,
    closing: str = "",
    prefix: str = "",
) -> str:
    inner = licence_element(preferences, contact, rights, prefix=prefix)
    if (licence_url := _licence_url(rights)) and not _reserved(preferences):
        closing += _element("terms", licence_url, prefix=prefix)
    return f"<{prefix}content url={quoteattr(as_xml(url))}>{inner}{closing}</{prefix}content>"


def content_element(
    url: str, preferences: Mapping[str, str], rights: Rights, *, contact: str = "", prefix: str = ""
) -> str:
    """One `content` with names under a prefix, to be put into another document."""
    return _content(url, preferences, contact, rights, prefix=prefix)


def licence_element(preferences: Mapping[str, str], contact: str, rights: Rights | None, *, prefix: str = "") -> str:
    """`license`, with its children in their order."""
    permitted = [token for token in ("search", "ai-input", "ai-train") if preferences.get(OURS[token]) == "allow"]
    prohibited = [token for token in ("ai-train", "ai-input") if preferences.get(OURS[token]) == "disallow"]
    if len(prohibited) > 1:
        prohibited = ["ai-all"]
    prohibited += ["search"] if preferences.get("search") == "disallow" else []
    licence_url = _licence_url(rights)
    territory = _territory(rights.territory) if rights is not None else ""
    out = []
    if not permitted and not prohibited:
        out.append(_element("permits", "noai:unstated", f'xmlns:noai="{EXTENSION}" type="usage"', prefix=prefix))
    if permitted:
        out.append(_element("permits", " ".join(permitted), 'type="usage"', prefix=prefix))
    if territory and {"ai-input", "ai-train"} & set(permitted) and not _reserved(preferences):
        out.append(_element("permits", territory, 'type="geo"', prefix=prefix))
    if prohibited:
        out.append(_element("prohibits", " ".join(prohibited), 'type="usage"', prefix=prefix))
    if licence_url and (reserved := _reserved(preferences)):
        kind = 'type="training"' if reserved == "train-ai" else 'type="use"'
        inner = _element("custom", licence_url, prefix=prefix)
        out.append(f"<{prefix}payment {kind}>{inner}</{prefix}payment>")
    whom = _contact((rights.contact if rights is not None else "") or contact)
    if whom:
        out.append(_element("legal", whom, 'type="contact"', prefix=prefix))
    return f"<{prefix}license>{''.join(out)}</{prefix}license>"


def _licence_url(rights: Rights | None) -> str:
    """Where a licence is to be had, "" when nobody says; white space alone says nothing."""
    return " ".join(rights.licence_url.split()) if rights is not None else ""


def _stated(preferences: Mapping[str, str]) -> bool:
    return any(ours in preferences for ours in OURS.values())


def _reserved(preferences: Mapping[str, str]) -> str:
    """The first of the uses for AI that is reserved."""
    return next((use for use in ("train-ai", "ai-use") if preferences.get(use) == "disallow"), "")


def _copyright(declaration: Declaration) -> str:
    """Who publishes what is the platform's own to say."""
    site = declaration.policy.site
    if not site.name.strip():
        return ""
    attributes = ['type="organization"']
    if site.contact.startswith("mailto:"):
        attributes.append(f"contactEmail={quoteattr(as_xml(site.contact.removeprefix('mailto:')))}")
    elif site.contact.startswith(("https://", "http://")):
        attributes.append(f"contactUrl={quoteattr(as_xml(site.contact))}")
    return _element("copyright", site.name, " ".join(attributes))


def _contact(said: str) -> str:
    """One URL or address of mail; "" when it is none."""
    return said if re.fullmatch(r"[^\s@:]++@[^\s@]++|[A-Za-z][A-Za-z0-9+.-]*+:\S+", said) else ""


def _territory(said: str) -> str:
    """Countries (or EU), when it names nothing else: `DE, FR`."""
    words = said.replace(",", " ").split()
    return " ".join(dict.fromkeys(words)) if words and all(map(_COUNTRY.fullmatch, words)) else ""


def _element(name: str, text: str, attributes: str = "", *, prefix: str = "") -> str:
    start = f"{prefix}{name} {attributes}" if attributes else f"{prefix}{name}"
    return f"<{start}>{escape(as_xml(' '.join(text.split())))}</{prefix}{name}>"


_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_xml(text: str) -> str:
    """`text` without the characters that XML 1.0 cannot hold, however they are written."""
    return _NOT_XML.sub("\ufffd", text)


# -- reading -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Payment:
    """`type` is one of PAYMENTS; the others "" when they are not there."""

    type: str = "free"
    standard: str = ""
    custom: str = ""
    amount: str = ""
    currency: str = ""
    accepts: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """One `license`: tokens by type ("usage", "user", "geo"), legal texts by type.

    A report is its type, its profile and its endpoint.
    """

    permits: Mapping[str, tuple[str, ...]]
    prohibits: Mapping[str, tuple[str, ...]]
    payment: Payment | None
    reporting: tuple[tuple[str, str, str], ...]
    legal: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Content:
    """One scope. `server` "" = no token has to be fetched first."""

    url: str
    server: str
    encrypted: bool
    lastmod: str
    licences: tuple[Terms, ...]
    copyright: str = ""
    terms: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    max_age_days: int
    contents: tuple[Content, ...]


_COUNTRY = re.compile(r"[A-Z]{2}")
_QNAME = re.compile(r"([A-Za-z_][\w.-]*+):([A-Za-z_][\w.-]*+)")
_AMOUNT = re.compile(r"[0-9]++(\.[0-9]++)?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*+:\S+")
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]++)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_ATTRIBUTES = {
    "rsl": ("max-age",),
    "content": ("url", "server", "encrypted", "lastmod"),
    "permits": ("type",),
    "prohibits": ("type",),
    "payment": ("type",),
    "amount": ("currency",),
    "accepts": ("type",),
    "reporting": ("type", "profile", "endpoint"),
    "legal": ("type",),
    "alternate": ("type",),
    "schema": ("type",),
    "copyright": ("type", "contactEmail", "contactUrl"),
}
_TYPES = ("usage", "user", "geo")
_LEGAL = ("warranty", "disclaimer", "attestation", "contact", "proof")
_IN_RSL = ("content",)
_IN_CONTENT = ("license", "alternate", "schema", "copyright", "terms")
_IN_LICENSE = (
    *(f"{name} {kind}" for name in ("permits", "prohibits") for kind in _TYPES),
    "payment",
    "reporting",
    *(f"legal {kind}" for kind in _LEGAL),
)
_IN_PAYMENT = ("standard", "custom", "amount", "accepts")
_REPEATED = ("content", "license", "alternate", "reporting")
_LEAVES = (*_IN_PAYMENT, "permits", "prohibits", "reporting", "legal", *_IN_CONTENT[1:])
MAX_DEPTH = 16
MAX_FAULTS = 50


@dataclass(slots=True)
class _Node:
    name: str
    attributes: dict[str, str]
    prefixes: Mapping[str, str]
    ours: bool
    text: list[str] = field(default_factory=list)
    children: list[_Node] = field(default_factory=list)

    @property
    def said(self) -> str:
        return "".join(self.text).strip()


def read(text: str) -> Document:
    """A document, all of it checked. Raises ValueError with every fault, one a line: then nothing in it counts."""
    root = _parse(text)
    faults: list[str] = []
    document = _Reader(faults).document(root)
    if faults:
        raise ValueError("\n".join(list(dict.fromkeys(faults))[:MAX_FAULTS]))
    return document


def _parse(text: str) -> _Node:
    """The elements of a text, with their namespaces. No DTD is taken. Raises ValueError."""
    octets = text.encode("utf-8", "replace")
    if len(octets) > MAX_BYTES:
        raise ValueError(f"longer than {MAX_BYTES} bytes")
    builder = _Builder()
    try:
        builder.parser.Parse(octets, True)
    except expat.ExpatError as error:
        raise ValueError(f"no well-formed XML: {error}") from None
    if builder.root is None:
        raise ValueError("no element")
    return builder.root


class _Builder:
    """Takes what the parser finds, and stops it at a DTD and at elements too deep within each other."""

    def __init__(self) -> None:
        self.root: _Node | None = None
        self._open: list[_Node] = []
        self._prefixes: list[Mapping[str, str]] = [{}]
        self._new: dict[str, str] = {}
        self.parser = expat.ParserCreate("utf-8", " ")
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartNamespaceDeclHandler = self._prefix
        self.parser.StartDoctypeDeclHandler = self._doctype

    def _doctype(self, *_: object) -> None:
        raise ValueError("a DTD is not taken")

    def _prefix(self, prefix: str | None, uri: str | None) -> None:
        self._new[prefix or ""] = uri or ""

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise ValueError(f"elements more than {MAX_DEPTH} deep")
        if self._new:
            self._prefixes.append({**self._prefixes[-1], **self._new})
            self._new = {}
        else:
            self._prefixes.append(self._prefixes[-1])
        namespace, space, local = name.rpartition(" ")
        node = _Node(local, attributes, self._prefixes[-1], bool(space) and namespace == NAMESPACE)
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node
        self._open.append(node)

    def _end(self, _: str) -> None:
        self._open.pop()
        self._prefixes.pop()

    def _text(self, text: str) -> None:
        self._open[-1].text.append(text)


class _Reader:
    """Elements -> values; what is wrong is noted and reading goes on."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults

    def document(self, root: _Node) -> Document:
        if not root.ours or root.name != "rsl":
            self.faults.append("root must be rsl in the RSL namespace")
        self._attributes(root)
        age = root.attributes.get("max-age", str(DEFAULT_MAX_AGE_DAYS)).strip()
        if not re.fullmatch(r"\+?0*+[1-9][0-9]{0,8}", age):
            self.faults.append("max-age must be a positive integer (days)")
            age = "1"
        contents = self._children(root, _IN_RSL)
        if not contents:
            self.faults.append("no content")
        return Document(int(age), tuple(self._content(node) for node in contents))

    def _content(self, node: _Node) -> Content:
        attributes = self._attributes(node)
        url, server = attributes.get("url"), attributes.get("server")
        encrypted = attributes.get("encrypted", "false")
        if url is None:
            self.faults.append("content without url")
        elif url and not url.startswith(("/", "https://", "http://")):
            self.faults.append(f"url '{url[:80]}' is no path and no URL")
        if server is not None and not _URI.fullmatch(server):
            self.faults.append("server must be an absolute URL")
        if server is not None and not url:
            self.faults.append("server needs a url")
        if encrypted not in ("true", "false"):
            self.faults.append("encrypted must be true or false")
        if encrypted == "true" and not server:
            self.faults.append("encrypted needs server")
        lastmod = attributes.get("lastmod", "")
        if lastmod and not _is_instant(lastmod):
            self.faults.append(f"lastmod '{lastmod[:40]}' is no date and time of RFC 3339")
        children = self._children(node, _IN_CONTENT)
        licences = [child for child in children if child.name == "license"]
        if not licences:
            self.faults.append("content without license")
        said = {child.name: child.said for child in children}
        for child in children:
            if child.name != "license":
                self._sibling(child)
        return Content(
            url or "",
            server or "",
            encrypted == "true",
            lastmod,
            tuple(self._licence(child) for child in licences),
            said.get("copyright", ""),
            said.get("terms", ""),
        )

    def _sibling(self, node: _Node) -> None:
        kind = self._attributes(node).get("type", "")
        if node.name == "copyright" and kind not in ("", "person", "organization"):
            self.faults.append(f"unknown copyright type '{kind}'")
        elif node.name in ("terms", "alternate") and not node.said:
            self.faults.append(f"{node.name} without a URL")

    def _licence(self, node: _Node) -> Terms:
        self._attributes(node)
        words: dict[str, dict[str, tuple[str, ...]]] = {"permits": {}, "prohibits": {}}
        payment: Payment | None = None
        reporting: list[tuple[str, str, str]] = []
        legal: dict[str, str] = {}
        for child in self._children(node, _IN_LICENSE):
            attributes = self._attributes(child)
            kind = attributes.get("type", "")
            if child.name in words:
                words[child.name][kind] = self._tokens(child, kind)
            elif child.name == "payment":
                payment = self._payment(child)
            elif child.name == "reporting":
                reporting.append((kind, attributes.get("profile", ""), attributes.get("endpoint", "")))
                self._reporting(*reporting[-1])
            elif child.name == "legal":
                legal[kind] = child.said
                self._legal(kind, child.said)
        return Terms(words["permits"], words["prohibits"], payment, tuple(reporting), legal)

    def _tokens(self, node: _Node, kind: str) -> tuple[str, ...]:
        tokens = tuple(node.said.split())
        known: Callable[[str], object] = _COUNTRY.fullmatch
        if kind != "geo":
            listed = USAGES if kind == "usage" else USERS
            known = listed.__contains__
        if not tokens:
            self.faults.append(f"{node.name} without a token")
        for token in tokens:
            if not known(token) and not (kind == "usage" and _is_foreign(token, node.prefixes)):
                self.faults.append(f"unknown {kind} token '{token[:80]}'")
        return tokens

    def _payment(self, node: _Node) -> Payment:
        kind = node.attributes.get("type", "free")
        if kind not in PAYMENTS:
            self.faults.append(f"unknown payment type '{kind[:80]}'")
        said = {}
        for child in self._children(node, _IN_PAYMENT):
            attributes = self._attributes(child)
            said[child.name] = child.said
            if child.name == "amount":
                said["currency"] = attributes.get("currency", "")
                if "currency" not in attributes:
                    self.faults.append("amount without currency")
                elif not _CURRENCY.fullmatch(attributes["currency"]):
                    self.faults.append(f"currency '{attributes['currency'][:20]}' is no code of ISO 4217")
                if not _AMOUNT.fullmatch(child.said):
                    self.faults.append(f"amount '{child.said[:40]}' is no number")
            elif child.name == "accepts" and "/" not in attributes.get("type", ""):
                self.faults.append("accepts without a media type")
            elif child.name == "standard" and not _URI.fullmatch(child.said):
                self.faults.append("standard must be an absolute URI")
            elif child.name == "custom" and not child.said:
                self.faults.append("custom without a URL")
        return Payment(
            kind,
            said.get("standard", ""),
            said.get("custom", ""),
            said.get("amount", ""),
            said.get("currency", ""),
            said.get("accepts", ""),
        )

    def _reporting(self, kind: str, profile: str, endpoint: str) -> None:
        if kind not in REPORTS:
            self.faults.append(f"unknown reporting type '{kind[:80]}'")
        if not _URI.fullmatch(profile):
            self.faults.append("reporting needs a profile (an absolute URI)")
        if endpoint and not endpoint.startswith("https://"):
            self.faults.append("reporting endpoint must be an https URL")

    def _legal(self, kind: str, said: str) -> None:
        listed = {"warranty": WARRANTIES, "disclaimer": DISCLAIMERS, "attestation": ("true", "false")}.get(kind)
        words = said.split()
        if not words:
            self.faults.append(f"legal {kind} says nothing")
        elif listed is not None:
            self.faults += [f"unknown {kind} token '{word[:80]}'" for word in words if word not in listed]
        elif kind == "contact" and not _contact(said):
            self.faults.append("legal contact must be one URL or address")
        elif kind == "proof" and not all(map(_URI.fullmatch, words)):
            self.faults.append("legal proof must be absolute URIs")

    def _attributes(self, node: _Node) -> dict[str, str]:
        """Those of the standard; what stands under a foreign namespace is passed over."""
        known = _ATTRIBUTES.get(node.name, ())
        for name in node.attributes:
            namespace, space, local = name.rpartition(" ")
            if (not space and name not in known) or namespace == NAMESPACE:
                self.faults.append(f"unknown attribute {local} of {node.name}")
        return node.attributes

    def _children(self, node: _Node, known: tuple[str, ...]) -> list[_Node]:
        """The children in the RSL namespace: known ones, in their order, and no more than one where one may be."""
        if "".join(node.text).strip():
            self.faults.append(f"text in {node.name}")
        found: list[_Node] = []
        seen: dict[str, int] = {}
        last = 0
        names = {entry.partition(" ")[0] for entry in known}
        for child in node.children:
            if not child.ours:
                continue
            if child.name not in names:
                self.faults.append(f"unknown RSL element {child.name}")
                continue
            slot = child.name if child.name in known else f"{child.name} {child.attributes.get('type', '')}"
            if slot not in known:
                self.faults.append(f"unknown type '{child.attributes.get('type', '')[:40]}' of {child.name}")
                continue
            place = known.index(slot)
            if place < last:
                self.faults.append(f"{slot} stands too late")
            last = max(place, last)
            seen[slot] = seen.get(slot, 0) + 1
            if seen[slot] > 1 and child.name not in _REPEATED:
                more = "per type" if " " in slot else "in one"
                self.faults.append(f"more than one {child.name} {more}")
            if child.name in _LEAVES:
                self.faults += [f"unknown RSL element {inner.name}" for inner in child.children if inner.ours]
            found.append(child)
        return found


def _is_instant(text: str) -> bool:
    if not _INSTANT.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text.upper())
    except ValueError:
        return False
    return True


def _is_foreign(token: str, prefixes: Mapping[str, str]) -> bool:
    """Is it a name under a prefix of another namespace?"""
    match = _QNAME.fullmatch(token)
    return match is not None and prefixes.get(match[1], NAMESPACE) != NAMESPACE


# -- what follows for an address -----------------------------------------------------------------------------


def content_of(document: Document, address: str) -> tuple[Content, ...]:
    """The scopes that count for an address (path and query): the narrowest that fit, in case of a tie all of them."""
    path = tdmrep.canonical_address(address)
    fitting = [(len(pattern), one) for one in document.contents if (pattern := _fits(one.url, path)) is not None]
    narrowest = max((length for length, _ in fitting), default=0)
    return tuple(one for length, one in fitting if length == narrowest)


def _fits(url: str, path: str) -> str | None:
    """The pattern of a scope when it fits; an empty one is of whatever linked to it."""
    pattern = tdmrep.canonical(re.sub(r"^https?://[^/]*+", "", url)) if url else ""
    return pattern if not url or pattern_matches(pattern or "/", path) else None


def evaluate(document: Document, address: str, usage: str) -> str:
    """`permitted`, `prohibited`, or `unlicensed`: neither is said, or a token has to be fetched first.

    `usage` is one of USAGES; of a wider one all parts must be permitted. Read narrowly: silence permits nothing.
    """
    parts = _PARTS.get(usage, (usage,))
    counting = content_of(document, address)
    found = {_usage(content, part) for content in counting for part in parts}
    if "prohibited" in found:
        return "prohibited"
    return "permitted" if found == {"permitted"} else "unlicensed"


def _usage(content: Content, usage: str) -> str:
    """Of several licences in one scope, what all of them permit."""
    found = set()
    for terms in content.licences:
        if _covers(terms.prohibits.get("usage", ()), usage):
            return "prohibited"
        found.add(_covers(terms.permits.get("usage", ()), usage) and not content.server and not terms.reporting)
    return "permitted" if found == {True} else "unlicensed"


def _covers(tokens: Iterable[str], usage: str) -> bool:
    return any(token == usage or usage in _PARTS.get(token, ()) for token in tokens)


# -- robots.txt ----------------------------------------------------------------------------------------------


def licences_of(robots_text: str, token: str) -> list[str]:
    """The documents that robots.txt names for an agent: those of its groups, else those outside of all groups."""
    robots = read_robots(robots_text)
    lines = [(line.line, line.value) for line in robots.others if line.key == "license" and _is_absolute(line.value)]
    starts = [group.agents[0].line for group in robots.groups]
    theirs = {id(group) for group in robots.groups_of(token)}
    everywhere: list[str] = []
    own: list[str] = []
    for number, url in lines:
        above = sum(start <= number for start in starts)
        if not above:
            everywhere.append(url)
        elif id(robots.groups[above - 1]) in theirs:
            own.append(url)
    return list(dict.fromkeys(own or everywhere))


def _is_absolute(url: str) -> bool:
    return re.fullmatch(r"https?://[^\s/]++\S*+", url, re.IGNORECASE) is not None


# -- the schema ----------------------------------------------------------------------------------------------


def validate(text: str) -> list[str]:
    """What the schema beside this file has against a document; [] = nothing. Needs the package lxml."""
    from lxml import etree

    try:
        _parse(text)  # so that lxml sees no DTD
    except ValueError as error:
        return [str(error)]
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    tree = etree.fromstring(text.encode(), parser)
    schema = etree.RelaxNG(etree.fromstring(_schema(), parser))
    if schema.validate(tree):
        return []
    return [f"line {entry.line}: {entry.message}" for entry in schema.error_log]


@cache
def _schema() -> bytes:
    return Path(__file__).with_name("rsl.rng").read_bytes()

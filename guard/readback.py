"""What was generated, read again by other readers than wrote it, and held against the record.

The law: a file that says something else than the record must never be served. So each is parsed as strangers parse
it, and asked for the address of every policy path and of works sampled evenly over all that are named; what it says
there must be what the record says. A list with anything in it means that the policy must not load.

Bounded: at most MAX_PLACES works' addresses are asked for and at most MAX_PROBLEMS faults told a file. A work that its
file had no room for is passed over there; what is said of it stands on its own answers.

Sources of the readings: RFC 9309 and Google's parser (`guard.robotstxt`), RFC 9651 (http-sf), TDMRep in both readings
of its "most specific" (`guard.directives.tdmrep`), RSL 1.0 (`guard.directives.rsl`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html.parser import HTMLParser
from importlib.util import find_spec
from typing import Any, NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree

import http_sf

from guard.directives import aitxt, content_signal, content_usage, page, rsl, tdmrep, wellknown_ai, x_robots
from guard.directives.declaration import OPEN_PATHS, Declaration, Place
from guard.directives.paths import deeper, specimen_of, starred_paths, stated_at
from guard.directives.words import Terms, hash_of, read_terms, say_purpose, terms_of
from guard.errors import Problem
from guard.model import KINDS, UNKNOWN_AGENT, Agent
from guard.patterns import specimen
from guard.robotstxt import (
    EVERYBODY,
    MAX_BYTES,
    Group,
    Patterns,
    effective,
    escape_pattern,
    path_of,
    read_robots,
)

Decide = Callable[[Agent, str], bool]
"""Is the agent (the real one, where the policy knows its networks) refused at an address of the site?"""

MAX_PLACES = 200
MAX_PROBLEMS = 20
MAX_TRIES = 250_000
"""So many patterns with a `*` are tried at most for one file; with many of them fewer works are asked for."""

MAX_VALIDATED = 64 * 1024
"""A longer license.xml is read strictly, but not held against the schema, too: the policy's part comes in both."""

NEARLY_FULL = MAX_BYTES * 3 // 4
"""Only a file of this size may have had no room for a work."""


class Asked(NamedTuple):
    """One address (path and query, percent-encoded) and what the record says of it. `place` is whose it is.

    `roughly`: no file can tell it from another address, so that the file may be stricter there, but never looser.
    """

    address: str
    preferences: Mapping[str, str]
    place: Place | None = None
    roughly: bool = False

    def among(self, patterns: frozenset[str]) -> bool:
        """Is the work named in a file that has these patterns?"""
        return self.place is None or any(spelling in patterns for spelling in self.place.spellings)


def read_back(declaration: Declaration, texts: Mapping[str, str], decide: Decide) -> list[Problem]:
    """Where the generated files and the headers say something else than the record; [] when they are right.

    `texts`: path -> text, as `render_file` made them (robots.txt before it is joined with the platform's own). Files
    that are not among them are not asked for.
    """
    record = _Record(declaration, decide)
    problems: list[Problem] = []
    for name, check in CHECKS.items():
        if name not in texts:
            continue
        found = _problems(check(record, texts[name]), name)
        problems += found
    return problems + _problems(_headers(record), "headers")


def _problems(faults: Iterator[str], name: str) -> list[Problem]:
    found: list[Problem] = []
    for fault in faults:
        found.append(Problem(name, 0, fault))
        if len(found) == MAX_PROBLEMS:
            break
    return found


class _Record:
    """The declaration, and the addresses that files are asked for."""

    def __init__(self, declaration: Declaration, decide: Decide) -> None:
        self.declaration = declaration
        self.decide = decide
        self._sampled: dict[int, list[Asked]] = {}
        self.places = Patterns((spelling, place) for place in declaration.places for spelling in place.spellings)

    @cached_property
    def paths(self) -> tuple[Asked, ...]:
        """`/` and one address under every path of the policy that is not a named work's."""
        policy = self.declaration.policy
        patterns = dict.fromkeys(path for entry in policy.routes for path in entry.paths)
        found: dict[str, Asked] = {}
        for pattern in ("/", *patterns, *policy.kind_paths, *policy.rule_patterns.patterns):
            path = specimen(pattern)
            address = quote(path, safe="/!$&'()+,;=:@-._~")
            if path in OPEN_PATHS or self.places.matching(address):
                continue
            found[address] = Asked(address, stated_at(policy, address))
        for pattern in starred_paths(policy):
            for address in map(specimen_of, deeper(pattern)):
                if address not in found and not self.places.matching(address):
                    found[address] = Asked(address, stated_at(policy, address), roughly=True)
        return tuple(found.values())

    @cached_property
    def well_known(self) -> dict[str, Any]:
        """What ai.txt and ai.json are meant to say."""
        return wellknown_ai.statement(self.declaration)

    def asked(self, tries: int) -> list[Asked]:
        """The paths of the policy, and works sampled evenly; `tries` is what asking for one address costs."""
        places = self.declaration.places
        count = min(MAX_PLACES, len(places), max(20, MAX_TRIES // max(1, tries, self.places.starred)))
        if count not in self._sampled:
            sampled = [places[number * len(places) // count] for number in range(count)]
            own = [
                Asked(address, place.preferences, place)
                for place in sampled
                for address in _addresses(place)
                if self.owner(address) == place.address
            ]
            self._sampled[count] = [*self.paths, *own]
        return self._sampled[count]

    def owner(self, address: str) -> str:
        """The address of the place that an address is of: the one whose spelling is the longest. "" when two works
        with different words claim it."""
        matching = self.places.matching(address)
        longest = max((len(pattern) for pattern, _ in matching), default=0)
        owners = [place for pattern, place in matching if len(pattern) == longest]
        if any(dict(owner.preferences) != dict(owners[0].preferences) for owner in owners):
            return ""
        return next(
            (owner.address for owner in owners if owner.address == address), owners[0].address if owners else ""
        )


def _addresses(place: Place) -> Iterator[str]:
    """The place's address, and the one that is spelt most unlike it: escaped throughout, with a slash at its end."""
    yield place.address
    exact = [spelling[:-1] for spelling in place.spellings if spelling.endswith("$") and "*" not in spelling]
    if exact:
        yield exact[-1]


# -- robots.txt ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Told:
    """What one agent reads: rules and usage statements, filed by pattern."""

    rules: Patterns[bool]
    usage: Patterns[str]
    patterns: frozenset[str]

    def allowed(self, path: str) -> bool:
        longest = {True: 0, False: 0}
        for pattern, allow in self.rules.matching(path):
            longest[allow] = max(longest[allow], len(pattern))
        return longest[False] <= longest[True]

    def stated(self, path: str) -> dict[str, str]:
        matching = self.usage.matching(path)
        longest = max((len(pattern) for pattern, _ in matching), default=0)
        values = [value for pattern, value in matching if len(pattern) == longest]
        return content_usage.strictest(_by_the_standard(value) for value in values)


def _told(groups: Sequence[Group]) -> _Told:
    rules = [(rule.pattern, rule.allow) for group in groups for rule in effective(group.rules)]
    lines = [line.value for group in groups for line in group.content if line.key == "content-usage"]
    usage = [rule for value in lines if (rule := content_usage.split_rule(value)) is not None]
    patterns = frozenset(pattern for pattern, _ in (*rules, *usage))
    return _Told(Patterns(rules), Patterns(usage), patterns)


def _robots(record: _Record, text: str) -> Iterator[str]:
    octets = text.encode()
    if len(octets) > MAX_BYTES:
        yield f"has {len(octets)} bytes; readers take {MAX_BYTES}"
    if not text.isascii() or "\r" in text or not text.endswith("\n"):
        yield "must be ASCII with lines that end in LF"
    yield from _open_groups(text)
    robots = read_robots(text)
    if not robots.groups_naming((EVERYBODY,)):
        yield "has no group for everybody"
    by_token = {
        agent.robots_token.lower(): agent for agent in record.declaration.catalogue.agents if agent.robots_token
    }
    full = len(octets) > NEARLY_FULL
    for group in robots.groups:
        named = group.agents[0]
        agent = UNKNOWN_AGENT if named.everybody else by_token.get(named.written.lower())
        if agent is None:
            yield f"line {named.line}: the catalogue knows no agent '{named.written}'"
            continue
        told = _told(robots.groups_of(named.token) if named.token else (group,))
        for asked in record.asked(told.rules.starred + told.usage.starred):
            if full and not asked.among(told.patterns):
                continue
            yield from _at(record, agent, named.written, told, asked)
        for path in OPEN_PATHS:
            if not told.allowed(path):
                yield f"{path}: forbidden to {named.written}, but it is served to everybody"


def _at(record: _Record, agent: Agent, name: str, told: _Told, asked: Asked) -> Iterator[str]:
    path = escape_pattern(path_of(asked.address))
    allowed, refused = told.allowed(path), record.decide(agent, asked.address)
    if allowed is refused and (allowed or not asked.roughly):
        says = "allowed" if allowed else "forbidden"
        yield f"{asked.address}: {says} to {name}, who is {'refused' if refused else 'let through'} there"
    if not allowed:
        return
    stated = content_usage.meant(told.stated(path))
    wanted = {purpose: word for purpose, word in asked.preferences.items() if purpose in content_usage.LABELS}
    if stated != wanted and (not asked.roughly or _looser(stated, wanted)):
        yield f"{asked.address}: Content-Usage for {name} says {_words(stated)}, the record {_words(wanted)}"


def _looser(stated: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return any(word == "disallow" != stated.get(purpose) for purpose, word in wanted.items())


def _open_groups(text: str) -> Iterator[str]:
    """Groups that would run into the next for a reader that knows nothing but the standard."""
    opened, begun = 0, False
    for number, line in enumerate(text.split("\n"), 1):
        key = line.partition(":")[0].strip().lower()
        if key == "user-agent":
            if begun and opened:
                yield f"line {opened}: the group has no Allow or Disallow, so it runs into the next"
            opened, begun = number, False
        elif key in ("allow", "disallow"):
            opened, begun = 0, False
        elif key and opened and not key.startswith("#"):
            begun = True
    if opened:
        yield f"line {opened}: the group has no Allow or Disallow"


# -- the other files -----------------------------------------------------------------------------------------


def _tdmrep(record: _Record, text: str) -> Iterator[str]:
    try:
        rules = tdmrep.read(text)
    except ValueError as error:
        yield str(error)
        return
    filed = Patterns((tdmrep.canonical(rule.location), rule) for rule in rules)
    patterns = frozenset(rule.location for rule in rules)
    for asked in record.asked(filed.starred):
        if len(text) > NEARLY_FULL and not asked.among(patterns):
            continue
        fitting = [rule for _, rule in filed.matching(tdmrep.canonical_address(asked.address))]
        wanted = tdmrep.state(asked.preferences)
        for longest in (False, True):
            found = tdmrep.evaluate(fitting, asked.address, longest=longest).reservation
            if asked.roughly and found == 1:
                continue
            if (found == 1) is not (wanted == "1") or (found is None and wanted != ""):
                reading = "longest" if longest else "first"
                yield f"{asked.address}: its {reading} rule says {found}, the record '{wanted}'"


def _tdm_policy(record: _Record, text: str) -> Iterator[str]:
    try:
        offer = json.loads(text)
    except ValueError as error:
        yield f"no JSON: {error}"
        return
    if not isinstance(offer, dict):
        yield "must be an object"
        return
    for key, wanted in (("@context", list(tdmrep.CONTEXT)), ("@type", "Offer"), ("profile", tdmrep.PROFILE)):
        if offer.get(key) != wanted:
            yield f"{key} says {offer.get(key)!r}, the standard {wanted!r}"
    if not isinstance(offer.get("assigner"), dict):
        yield "must have one assigner"
    permissions = offer.get("permission")
    if not isinstance(permissions, list) or any(not isinstance(one, dict) for one in permissions):
        yield "must have an array of permissions"
    elif any(one.get("action") != "tdm:mine" for one in permissions):
        yield "must be about tdm:mine and nothing else"


_SAID = {"allow": "permitted", "disallow": "prohibited", "": "unlicensed"}


def _rsl(record: _Record, text: str) -> Iterator[str]:
    try:
        document = rsl.read(text)
    except ValueError as error:
        yield from str(error).split("\n")
        return
    if len(text) <= MAX_VALIDATED and find_spec("lxml"):  # a second opinion: the reader above checks the same rules
        yield from rsl.validate(text)
    filed = Patterns((tdmrep.canonical(content.url), content) for content in document.contents)
    patterns = frozenset(content.url for content in document.contents)
    for asked in record.asked(filed.starred):
        if len(text) > NEARLY_FULL and not asked.among(patterns):
            continue
        fitting = [content for _, content in filed.matching(tdmrep.canonical_address(asked.address))]
        narrowed = rsl.Document(document.max_age_days, tuple(fitting))
        for usage, purpose in rsl.OURS.items():
            found, wanted = rsl.evaluate(narrowed, asked.address, usage), _SAID[asked.preferences.get(purpose, "")]
            if found != wanted and (not asked.roughly or wanted == "prohibited"):
                yield f"{asked.address}: {usage} is {found}, the record says {wanted}"


def _ai_txt(record: _Record, text: str) -> Iterator[str]:
    stated, policy = aitxt.read(text), record.declaration.policy
    for ending, classes in (
        ("mp3", ("media",)),
        ("flac", ("media",)),
        ("mp4", ("media",)),
        ("jpg", ("artwork",)),
        ("txt", ("lyrics", "page")),
    ):
        allowed = aitxt.evaluate(stated, f"/x.{ending}")
        reserved = any(policy.stated(route_class).get("train-ai") == "disallow" for route_class in classes)
        if allowed is reserved:
            yield f"/x.{ending}: {'allowed' if allowed else 'forbidden'}, the record says otherwise"
    if policy.preferences.get("train-ai") == "disallow":
        for pattern in ("/", "*"):
            if stated.get(pattern) is not False:
                yield f"{pattern}: not forbidden, the record reserves what has no ending"


_WELL_KNOWN = {"allow": ("allow", "conditional"), "disallow": ("deny", "conditional"), "": ("", "conditional")}
"""`conditional` says that there is more to be read elsewhere, so it contradicts nothing."""


def _ai_text(record: _Record, text: str) -> Iterator[str]:
    yield from _well_known(record, wellknown_ai.read_text(text), text)


def _ai_json(record: _Record, text: str) -> Iterator[str]:
    try:
        said = wellknown_ai.read_json(text)
    except ValueError as error:
        yield str(error)
        return
    yield from _well_known(record, said, text)


def _well_known(record: _Record, said: Mapping[str, object], text: str) -> Iterator[str]:
    policy, wanted = record.declaration.policy, record.well_known
    for key in ("specVersion", "site", "policies", "trainingPaths"):
        if said[key] != wanted[key]:
            yield f"{key} is not read as it was meant"
    general = policy.stated(policy.route_default).get("train-ai", "")
    if wanted["policies"].get("training", "") not in _WELL_KNOWN[general]:
        yield f"training says {wanted['policies'].get('training')}, the record '{general}'"
    globs = sum(len(one) for one in wanted["trainingPaths"].values())
    asked_for = [asked for asked in record.asked(globs) if "?" not in asked.address]
    step = max(1, len(asked_for) * globs // 20_000)
    for asked in asked_for[::step]:
        word = asked.preferences.get("train-ai", "")
        found = wellknown_ai.training(said, asked.address)
        if found not in _WELL_KNOWN[word] and not (
            len(text) > NEARLY_FULL
            or (not word and found in _WELL_KNOWN[general])
            or (asked.roughly and word != "disallow")
        ):
            yield f"{asked.address}: training says '{found}', the record '{word}'"


# -- headers -------------------------------------------------------------------------------------------------


def _headers(record: _Record) -> Iterator[str]:
    """The values of every kind and of the sampled works, each read by the standard."""
    policy = record.declaration.policy
    stated = [("everything", policy.preferences)]
    stated += [(kind, policy.platform_rights.stated(kind)) for kind in KINDS]
    stated += [(asked.address, asked.preferences) for asked in record.asked(1) if asked.place is not None]
    seen: set[tuple[tuple[str, str], ...]] = set()
    for name, preferences in stated:
        key = tuple(sorted(preferences.items()))
        if key in seen:
            continue
        seen.add(key)
        wanted = {purpose: word for purpose, word in preferences.items() if purpose in content_usage.LABELS}
        usage = content_usage.meant(_by_the_standard(content_usage.state(preferences)))
        if usage != wanted:
            yield f"{name}: Content-Usage says {_words(usage)}, the record {_words(wanted)}"
        signal = content_signal.meant(content_signal.read(content_signal.state(preferences)))
        if signal != wanted:
            yield f"{name}: Content-Signal says {_words(signal)}, the record {_words(wanted)}"
        tags = [word for agent, words in x_robots.read([x_robots.state(preferences)]) if agent == "*" for word in words]
        if ("noai" in tags) is not (preferences.get("train-ai") == "disallow"):
            yield f"{name}: X-Robots-Tag says {tags}, the record {_words(wanted)}"
        word = tdmrep.state(preferences)
        read = tdmrep.read_headers([("tdm-reservation", word)] if word else []).reservation
        reserved = "disallow" in (preferences.get("train-ai"), preferences.get("ai-use"))
        if (read == 1) is not reserved:
            yield f"{name}: tdm-reservation says {read}, the record {_words(wanted)}"


def _by_the_standard(value: str) -> dict[str, str]:
    """The `y` and `n` tokens of a Dictionary, by a full parser of structured fields; {} when it takes it not."""
    try:
        parsed = http_sf.parse(value.encode("latin-1"), tltype="dictionary")
    except (http_sf.StructuredFieldError, ValueError):
        return {}
    found: dict[str, str] = {}
    if isinstance(parsed, dict):
        for label, member in parsed.items():
            item = member[0] if isinstance(member, tuple) else member
            if isinstance(item, http_sf.Token) and str(item) in ("y", "n"):
                found[str(label)] = str(item)
    return found


def _words(preferences: Mapping[str, str]) -> str:
    return ", ".join(f"{purpose}: {word}" for purpose, word in sorted(preferences.items())) or "nothing"


# -- the pages of terms ---------------------------------------------------------------------------------------


class _Words(HTMLParser):
    """All that a page says, as text."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def _terms(record: _Record) -> Terms:
    declaration = record.declaration
    return terms_of(declaration.policy, declaration.catalogue, declaration.at_s)


def _page(record: _Record, text: str) -> Iterator[str]:
    """Whether people read there what may be done, in the words that stand for the terms."""
    reader = _Words()
    reader.feed(text)
    said = " ".join("".join(reader.said).split())
    for purpose in ("train-ai", "ai-use"):
        if (sentence := say_purpose(_terms(record), purpose)) not in said:
            yield f"does not say: {sentence}"


def _page_json(record: _Record, text: str) -> Iterator[str]:
    """Whether programs read there the terms that hold."""
    terms = _terms(record)
    try:
        told = json.loads(text)
        if told["terms_hash"] != hash_of(terms) or read_terms(told["terms"]) != terms:
            yield "tells other terms than the policy's"
    except (ValueError, KeyError, TypeError) as error:
        yield f"cannot be read: {error}"


def _feed(record: _Record, text: str) -> Iterator[str]:
    """Whether it is a feed, and has an entry for every version it is to tell of."""
    try:
        root = ElementTree.fromstring(text)  # noqa: S314  # our own text, which declares no entities
    except ElementTree.ParseError as error:
        yield f"is no XML: {error}"
        return
    atom = "{http://www.w3.org/2005/Atom}"
    entries = root.findall(f"{atom}entry")
    expected = min(len(record.declaration.versions), page.MAX_SHOWN)
    if root.tag != f"{atom}feed" or len(entries) != expected:
        yield f"has {len(entries)} entries, the record {expected} versions"


CHECKS: dict[str, Callable[[_Record, str], Iterator[str]]] = {
    "/robots.txt": _robots,
    "/ai.txt": _ai_txt,
    "/license.xml": _rsl,
    "/.well-known/tdmrep.json": _tdmrep,
    "/.well-known/tdm-policy.json": _tdm_policy,
    "/.well-known/ai.txt": _ai_text,
    "/.well-known/ai.json": _ai_json,
    page.PAGE: _page,
    page.JSON: _page_json,
    page.FEED: _feed,
}
"""Which file is read back how. A new file is one function and one line here."""

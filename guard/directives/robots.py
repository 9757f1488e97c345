"""robots.txt (RFC 9309) from the same rules that are enforced.

Each agent's verdict is asked for every path pattern of the policy and for every named work; agents with the same
answers share one group, because a named group replaces `*` and rules must then be stated whole. Every group ends in
an Allow or Disallow: readers that do not know Content-Signal or Content-Usage would otherwise merge it with the next.

The file stays below what every reader must take (RFC 9309 2.5): first comes all that the policy says by pattern, then
works by name, those of the widest layers first, as long as there is room. The others say it on their own answers.

The two languages differ in two points, where the file says more than the policy: in robots.txt a `*` crosses
slashes, and nothing tells the end of a path from the end of a glob. In all else what is published is enforced.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import NamedTuple
from urllib.parse import quote, unquote

from guard.conditions import Evidence
from guard.directives import content_signal, content_usage
from guard.directives.declaration import OPEN_PATHS, Declaration, Place
from guard.directives.paths import deeper, kind_of_work, specimen_of, spell_for, starred_paths, stated_by_path
from guard.model import UNKNOWN_AGENT, Agent, Identity
from guard.patterns import PathPatterns, specimen
from guard.policy import Policy, decide
from guard.robotstxt import Patterns, pattern_matches
from guard.verify import genuine

_WHO = ("agent", "operator", "purpose", "category", "identity")
assert Evidence._fields[: len(_WHO)] == _WHO
_PIECES = re.compile(r"([-_])")
MAX_BYTES = 480 * 1024
"""Some room is left below 500 KiB for what the platform's own file adds."""


def render(declaration: Declaration) -> str:
    """The whole file, LF line ends, ASCII."""
    return written(declaration)[0]


def written(declaration: Declaration) -> tuple[str, int]:
    """The whole file, and how many works it had room to name."""
    policy = declaration.policy
    atlas = _Atlas(declaration)
    head = _head(declaration)
    tail = ["", f"Sitemap: {_ascii(policy.site.sitemap)}"] if policy.site.sitemap else []
    everyone = atlas.answer(UNKNOWN_AGENT)
    tokens_of: dict[_Answer, list[str]] = {}
    usual: list[str] = []
    for agent in declaration.catalogue.agents:
        if agent.robots_token and (answer := atlas.answer(agent)) != everyone:
            tokens_of.setdefault(answer, []).append(agent.robots_token)
        elif agent.robots_token:
            usual.append(agent.robots_token)
    if within := _within_others(usual, [token for tokens in tokens_of.values() for token in tokens]):
        tokens_of[everyone] = within
    lines = group_lines(policy)
    groups = [
        _Group(
            [f"User-agent: {token}" for token in sorted(set(tokens), key=str.lower)], [*lines, *answer.rules], answer
        )
        for answer, tokens in sorted(tokens_of.items(), key=lambda pair: len(pair[0].rules))
    ]
    groups.append(_Group(["User-agent: *"], [*lines, *everyone.rules], everyone))
    fixed = sum(len(line) + 1 for line in (*head, *tail)) + sum(group.size for group in groups)
    named = _name_works(declaration, groups, atlas, MAX_BYTES - fixed)
    if declaration.total > named:
        more = declaration.total - named
        head.append(f"# {more} more works have words of their own: each answer says what holds for its work.")
    out = list(head)
    for group in groups:
        out += ["", *group.names, *group.lines]
    return "\n".join([*out, *tail]) + "\n", named


def _within_others(tokens: list[str], named: list[str]) -> list[str]:
    """Those of `tokens` that hold one of `named` in them: some readers take the group of `AcmeBot` for that of
    `AcmeBot-Agent`, too, unless this one is named."""
    spelled = {token.lower() for token in named}
    found = []
    for token in tokens:
        lower = token.lower()
        pieces = _PIECES.split(lower)
        starts = {"".join(pieces[:end]) for end in range(1, len(pieces), 2)}
        if not spelled.isdisjoint(starts) and lower not in spelled:
            found.append(token)
    return found


def group_lines(policy: Policy) -> tuple[str, ...]:
    """The lines for every group: one signal for all, usage preferences by path where they differ.

    Content-Signal knows no paths, so about AI it states the strictest of all kinds; search goes by the general word,
    or reserving the audio would take the pages out of every search engine.
    """
    lines: list[str] = []
    if signal := content_signal.state(_for_all_kinds(policy)):
        lines.append(f"Content-Signal: {signal}")
    if usage := content_usage.state(policy.preferences):
        lines.append(f"Content-Usage: {usage}")
    for path, preferences in stated_by_path(policy).items():
        usage = content_usage.state(preferences)
        if path != "/" or usage != content_usage.state(policy.preferences):
            lines.append(f"Content-Usage: {path} {usage}")
    return tuple(lines)


def _for_all_kinds(policy: Policy) -> dict[str, str]:
    found = dict(policy.preferences)
    kinds = [policy.platform_rights.stated(kind) for kind in policy.kind_paths.values()]
    for stated in (*policy.kind_preferences.values(), *kinds):
        found |= {purpose: word for purpose, word in stated.items() if purpose != "search" and word == "disallow"}
    return found


def _head(declaration: Declaration) -> list[str]:
    """What stands above all groups."""
    policy = declaration.policy
    out = [f"# {_ascii(policy.site.name)}: what automated clients may fetch, and what for."]
    if any(stated.get("train-ai") == "disallow" for stated in (policy.preferences, *policy.kind_preferences.values())):
        what = "of everything here" if policy.preferences.get("train-ai") == "disallow" else "of works here"
        out += [
            f"# The rights holders reserve text and data mining {what}, in the sense of",
            "# Article 4(3) of Directive (EU) 2019/790, as stated below.",
        ]
    if _for_all_kinds(policy):
        out += content_signal.COMMENT.splitlines()
    if policy.site.contact:
        out.append(f"# Contact: {_ascii(policy.site.contact)}")
    if policy.site.url and policy.preferences:
        out += ["", f"License: {declaration.address('/license.xml')}"]
    return out


class _Answer(NamedTuple):
    """What one agent is told: rules by pattern, and for each class of places whether it is refused there."""

    rules: tuple[str, ...]
    refused: tuple[bool, ...]


class _Group:
    def __init__(self, names: list[str], lines: list[str], answer: _Answer) -> None:
        self.names = names
        self.lines = lines
        self.answer = answer

    @property
    def size(self) -> int:
        return 1 + sum(len(line) + 1 for line in (*self.names, *self.lines))


def _name_works(declaration: Declaration, groups: list[_Group], atlas: _Atlas, room: int) -> int:
    """Add the named works to the groups, as long as there is room; how many works that were."""
    named = 0
    added: list[list[str]] = [[] for _ in groups]
    usual = [atlas.usually(group.answer) for group in groups]
    for _, places in groupby(declaration.places, key=lambda place: place.work):
        theirs = list(places)
        new = [list(_lines_of(theirs, group.answer, atlas, by)) for group, by in zip(groups, usual, strict=True)]
        room -= sum(len(line) + 1 for lines in new for line in lines)
        if room < 0:
            break
        named += 1
        for lines, more in zip(added, new, strict=True):
            lines += more
    for group, lines in zip(groups, added, strict=True):
        group.lines += dict.fromkeys(lines)
        if group.lines[-1].startswith("Content-"):  # a reader that knows no such line must still see the group end
            rule = group.answer.rules[0]
            group.lines.remove(rule)
            group.lines.append(rule)
    return named


def _lines_of(places: list[Place], answer: _Answer, atlas: _Atlas, usually: tuple[bool | None, ...]) -> Iterator[str]:
    for place in places:
        number, usual = atlas.class_of(place)
        around = atlas.around(place)
        refused = answer.refused[number]
        if refused is not usually[number] or any(answer.refused[atlas.number_of(one)] is not refused for one in around):
            yield from (f"{'Disallow' if refused else 'Allow'}: {spelling}" for spelling in place.spellings)
        usage = atlas.usage(place.preferences)
        if refused or not usage:
            continue
        if usual is None or usage != atlas.usage(usual) or any(atlas.usage(one.preferences) != usage for one in around):
            yield from (f"Content-Usage: {spelling} {usage}" for spelling in place.spellings)


class _Atlas:
    """The policy's patterns, each with a path that falls under it, its class and its matches, looked up once for all
    agents; agents that no rule tells apart are asked for once. So with named works: those of which the same may
    fetch the same at the same kind of address are one class."""

    def __init__(self, declaration: Declaration) -> None:
        self.policy = policy = declaration.policy
        patterns = dict.fromkeys(path for entry in policy.routes for path in entry.paths)
        patterns |= dict.fromkeys(policy.rule_patterns.patterns)
        patterns |= dict.fromkeys(policy.kind_paths)
        self._places = {path: self._place(specimen(path)) for path in patterns}
        self._beyond = {
            path: tuple(
                (beyond, self._place(unquote(specimen_of(beyond).partition("?")[0])))
                for spelling in spell_for(policy, path)
                for beyond in deeper(spelling)
            )
            for path in patterns
            if "*" in path
        }
        self._patterns = PathPatterns(patterns, case_sensitive=policy.site.case_sensitive)
        self._root = self._place("/-/guard/-")
        self._names, self._operators = policy.asked("agent"), policy.asked("operator")
        licensees = {licence.to for place in declaration.places for licence, _ in place.rights.licences}
        self._names |= {to.partition(":")[2] for to in licensees if to.startswith("agent:")}
        self._operators |= {to.partition(":")[2] for to in licensees if to.startswith("operator:")}
        self._known: dict[tuple[object, ...], _Answer] = {}
        self._classes: dict[tuple[object, ...], int] = {}
        self._class_of: dict[int, int] = {}
        self._keys: dict[int, tuple[object, ...]] = {}  # of rights, by the objects that the declaration holds
        self._specimens: list[tuple[Place, str]] = []
        self._usual: list[Mapping[str, str] | None] = []
        self._starred = Patterns((pattern, True) for pattern in starred_paths(policy))
        self._stated = Patterns(stated_by_path(policy).items())
        self._usage: dict[int, str] = {}  # by the objects that the policy and the declaration hold
        self._below: dict[str, list[tuple[str, Place]]] = {}
        for place in declaration.places:
            self._file(place)
        self._around = {id(place): self._find_around(place) for place in declaration.places}

    def _file(self, place: Place) -> None:
        reading = place.reading(self.policy.site.case_sensitive)
        said = self._keys.get(id(place.rights))
        if said is None:
            said = self._keys[id(place.rights)] = place.rights.standing_key
        lines = tuple(pattern for pattern, _ in self._starred.matching(place.address))
        key = (said, place.kind, place.route_class, self._patterns.match(reading), lines, "?" in place.address)
        number = self._classes.get(key)
        if number is None:
            number = self._classes[key] = len(self._specimens)
            self._specimens.append((place, reading))
            usual = [max(self._stated.matching(address), key=lambda pair: len(pair[0]))[1] for address in _spelt(place)]
            self._usual.append(usual[0] if all(one == usual[0] for one in usual) else None)
        self._class_of[id(place)] = number
        for spelling in place.spellings:
            head, star, _ = spelling.partition("*")
            if head.endswith("/") and "?" not in spelling and (star or spelling == head):
                self._below.setdefault(head, []).append((spelling, place))

    def _find_around(self, place: Place) -> tuple[Place, ...]:
        address = place.address
        found: dict[int, Place] = {}
        at = address.find("/", 1) + 1
        while at:
            for spelling, other in self._below.get(address[:at], ()):
                if other is not place and pattern_matches(spelling, address):
                    found[id(other)] = other
            at = address.find("/", at) + 1
        return tuple(found.values())

    def around(self, place: Place) -> tuple[Place, ...]:
        """Places within which this one lies: what is said of them must be taken back here."""
        return self._around[id(place)]

    def number_of(self, place: Place) -> int:
        """The number of the place's class."""
        return self._class_of[id(place)]

    def usage(self, preferences: Mapping[str, str]) -> str:
        """The statement of preferences that the policy or the declaration holds."""
        found = self._usage.get(id(preferences))
        if found is None:
            found = self._usage[id(preferences)] = content_usage.state(preferences)
        return found

    def class_of(self, place: Place) -> tuple[int, Mapping[str, str] | None]:
        """The number of the place's class, and what the group's lines state there (None: this or that)."""
        number = self._class_of[id(place)]
        return number, self._usual[number]

    def usually(self, answer: _Answer) -> tuple[bool | None, ...]:
        """For each class of places: are they refused by what the group says of patterns? None: here so, there so."""
        found: list[bool | None] = []
        for place, _ in self._specimens:
            refused = {_refused(answer.rules, address) for address in _spelt(place)}
            found.append(refused.pop() if len(refused) == 1 else None)
        return tuple(found)

    def _place(self, path: str) -> tuple[Evidence, str] | None:
        """What is known of a request there, whoever asks, and the kind that it carries. None for what is served before
        any rule is asked."""
        if path in OPEN_PATHS:
            return None
        evidence = self.policy.evidence(UNKNOWN_AGENT, Identity.UNVERIFIED, _reading(self.policy, path), "GET", ())
        kind = kind_of_work(self.policy, quote(path)) or self.policy.kind_of(evidence.route[0])
        return evidence, kind

    def answer(self, agent: Agent) -> _Answer:
        """Allow and Disallow lines for one agent: the default, every pattern that differs from it, and those inside one
        that differs but that do not themselves. Asked for the real one, where the policy knows its networks."""
        name, operator = agent.name.lower(), agent.operator.lower()
        identity = genuine(agent, self.policy.site.published_networks, self.policy.verifying)
        kind = (
            name if name in self._names else "",
            operator if operator in self._operators else "",
            agent.category,
            agent.purposes,
            identity,
        )
        found = self._known.get(kind)
        if found is None:
            refused = tuple(self._refuses(agent, identity, *one) for one in self._specimens)
            found = self._known[kind] = _Answer(self._lines(agent, identity), refused)
        return found

    def _refuses(self, agent: Agent, identity: Identity, place: Place, reading: str) -> bool:
        evidence = self.policy.evidence(agent, identity, reading, "GET", (), (), place.rights, place.kind)
        return decide(self.policy, evidence).action == "block"

    def _lines(self, agent: Agent, identity: Identity) -> tuple[str, ...]:
        policy = self.policy
        who = policy.evidence(agent, identity, "/", "GET", ())[: len(_WHO)]

        def blocked(place: tuple[Evidence, str] | None) -> bool:
            if place is None:
                return False
            evidence = Evidence._make((*who, *place[0][len(_WHO) :]))
            if policy.asks_rights:
                standing = policy.platform_rights.standing(place[1], agent, identity)
                evidence = evidence._replace(rights=(standing,))
            return decide(policy, evidence).action == "block"

        root_blocked = blocked(self._root)
        verdicts = {path: blocked(place) for path, place in self._places.items()}
        unlike = [path for path, refused in verdicts.items() if refused is not root_blocked]
        differing = Patterns((spelling, True) for path in unlike for spelling in spell_for(policy, path))
        lines = ["Disallow: /" if root_blocked else "Allow: /"]
        for path, refused in verdicts.items():
            if refused is not root_blocked or differing.matching(quote(specimen(path))):
                lines += [f"{'Disallow' if refused else 'Allow'}: {spelling}" for spelling in spell_for(policy, path)]
                if not refused:  # what the `*` lets in besides is not let in
                    beyond = self._beyond.get(path, ())
                    lines += [f"Disallow: {pattern}" for pattern, place in beyond if blocked(place)]
        if root_blocked:
            lines += [f"Allow: {path}" for path in OPEN_PATHS]
        return tuple(dict.fromkeys(lines))


def _spelt(place: Place) -> tuple[str, ...]:
    """The place's address, with and without a slash at its end: to the policy they are one."""
    path = place.address.rstrip("/")
    return (place.address,) if "?" in path else tuple(dict.fromkeys((place.address, path, f"{path}/")))


def _refused(rules: tuple[str, ...], address: str) -> bool:
    """Do these lines refuse the address? The longest pattern that matches counts."""
    longest = {"Allow": -1, "Disallow": -1}
    for line in rules:
        word, _, pattern = line.partition(": ")
        if len(pattern) > longest[word] and pattern_matches(pattern, address):
            longest[word] = len(pattern)
    return longest["Disallow"] > longest["Allow"]


def _reading(policy: Policy, path: str) -> str:
    return path if policy.site.case_sensitive else path.encode().lower().decode()


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()

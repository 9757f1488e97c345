"""What changes between two policies: for whom, where, and from what to what.

Every agent of the catalogue, a browser and a client nobody knows are asked for at specimen paths: one under each
pattern that either policy has, one where two patterns meet, one that none holds. Agents whom neither policy tells
apart are decided once. The words of the policies (settings, routes, limits, rules) are compared beside it.

A policy may also ask for a method, a network or a User-Agent: each such word is tried by itself, and
told of where it comes out otherwise than for the plain request: GET, and from the agent's own networks where they are
published. An impostor is tried where they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from difflib import SequenceMatcher, unified_diff
from ipaddress import ip_network
from itertools import combinations
from math import isinf
from typing import NamedTuple

from guard.amounts import write_amount
from guard.classify import BROWSER_AGENT, Catalogue
from guard.conditions import Condition, Evidence, Test
from guard.directives import declare, render_file
from guard.model import UNKNOWN_AGENT, Agent, Detecting, Identity, Limit, Site
from guard.patterns import glob_matches, specimen
from guard.policy import Ladder, Policy, Rule, decide
from guard.verify import can_be_checked, read_published, verify

MAX_MEETINGS = 20_000
MAX_TRIED = 16
"""Of each kind of word (networks, User-Agents), as many are tried by themselves."""

SEVERITY = {"allow": 0, "throttle": 1, "block": 2}
LISTENERS = ("browser", "player", "device", "unknown")
_NOWHERE = "/-/guard/-"


class Outcome(NamedTuple):
    """What is done, by which rule ("default" = by none), under which limit ("" = none)."""

    action: str
    rule: str
    limit: str = ""

    def __str__(self) -> str:
        return f"{self.action}{f' ({self.limit})' if self.limit else ''} by {self.rule}"


class Shift(NamedTuple):
    """The same change for all of `agents`, at `paths` of one route class ("page -> media": the class changed, too).

    `everywhere` says whether that is every specimen of the class; `when` is a word that the policies ask for beside
    the plain request ("" = none).
    """

    route: str
    agents: tuple[Agent, ...]
    before: Outcome
    after: Outcome
    paths: tuple[str, ...]
    everywhere: bool
    when: str = ""

    @property
    def kind(self) -> str:
        """`action`, `limit` (the action is the same, its limit is not) or `rule` (only who decides has changed)."""
        if self.before.action != self.after.action:
            return "action"
        return "limit" if self.before.limit != self.after.limit else "rule"

    @property
    def stricter(self) -> bool:
        return SEVERITY[self.after.action] > SEVERITY[self.before.action]


class Change(NamedTuple):
    """One word of the policy: `before` "" = it is new, `after` "" = it is gone."""

    what: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Changes:
    """All that differs for `hosts` (none named: every host without words of its own). `robots` is a unified diff."""

    hosts: tuple[str, ...] = ()
    settings: tuple[Change, ...] = ()
    routes: tuple[Change, ...] = ()
    limits: tuple[Change, ...] = ()
    rules: tuple[Change, ...] = ()
    shifts: tuple[Shift, ...] = ()
    robots: tuple[str, ...] = ()
    scopes: tuple[Changes, ...] = ()

    @property
    def empty(self) -> bool:
        own = (self.settings, self.routes, self.limits, self.rules, self.shifts, self.robots)
        return not any(own) and all(scope.empty for scope in self.scopes)


def compare(old: Policy, new: Policy, catalogue: Catalogue, now_s: float = 0.0, *, robots: bool = True) -> Changes:
    """What `new` does otherwise than `old`, at a moment (seconds since 1970). Pure."""
    base = _compare(old, new, catalogue, now_s, robots, ())
    pairs: dict[tuple[int, int], list[str]] = {}
    named = dict.fromkeys(host for policy in (*old.scopes, *new.scopes) for host in policy.hosts)
    for host in named:
        found = (_scope_of(old, host), _scope_of(new, host))
        if found != (-1, -1):
            pairs.setdefault(found, []).append(host)
    scopes = []
    for (before, after), hosts in pairs.items():
        one, other = (old.scopes[before] if before >= 0 else old), (new.scopes[after] if after >= 0 else new)
        scopes.append(_compare(one, other, catalogue, now_s, robots, tuple(hosts)))
    return Changes(
        base.hosts, base.settings, base.routes, base.limits, base.rules, base.shifts, base.robots, tuple(scopes)
    )


def _scope_of(policy: Policy, host: str) -> int:
    """The position of the scope that answers for `host`; -1 = the policy itself. Exact names go before wildcards."""
    for number, scope in enumerate(policy.scopes):
        if host in scope.hosts:
            return number
    for number, scope in enumerate(policy.scopes):
        if any(name.startswith("*.") and host.endswith(name[1:]) for name in scope.hosts):
            return number
    return -1


def _compare(
    old: Policy, new: Policy, catalogue: Catalogue, now_s: float, robots: bool, hosts: tuple[str, ...]
) -> Changes:
    paths = specimens(old, new)
    return Changes(
        hosts=hosts,
        settings=tuple(_settings(old, new)),
        routes=tuple(_routes(old, new, paths)),
        limits=tuple(_named(_limits(old), _limits(new))),
        rules=tuple(_rules(old, new)),
        shifts=tuple(_shifts(old, new, catalogue, paths, now_s)),
        robots=_robots(old, new, catalogue) if robots else (),
    )


# -- words -------------------------------------------------------------------------------------------------


def _named(old: Mapping[str, str], new: Mapping[str, str], prefix: str = "") -> Iterator[Change]:
    for name in dict.fromkeys((*old, *new)):
        if old.get(name) != new.get(name):
            yield Change(prefix + name, old.get(name, ""), new.get(name, ""))


def _settings(old: Policy, new: Policy) -> Iterator[Change]:
    for what in ("mode", "default", "route_default"):
        before, after = str(getattr(old, what)), str(getattr(new, what))
        if before != after:
            yield Change(what, before, after)
    yield from _named(old.preferences, new.preferences, "preferences: ")
    kinds = dict.fromkeys((*old.kind_preferences, *new.kind_preferences))
    for kind in kinds:
        before_kind, after_kind = old.kind_preferences.get(kind, {}), new.kind_preferences.get(kind, {})
        yield from _named(before_kind, after_kind, f"preferences: {kind}: ")
    yield from _named(old.on_store_failure, new.on_store_failure, "on_store_failure: ")
    for field in fields(Site):
        before, after = _say(getattr(old.site, field.name)), _say(getattr(new.site, field.name))
        if before != after:
            yield Change(f"site: {field.name}", before, after)
    if set(old.hosts) != set(new.hosts) and (old.scopes or new.scopes):
        yield Change("hosts", _say(old.hosts), _say(new.hosts))


def _say(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_say(item)}" for key, item in sorted(value.items()))
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value))
    return str(value)


def say_limits(limits: Iterable[Limit]) -> str:
    return "; ".join(map(say_limit, limits))


def say_limit(limit: Limit) -> str:
    """`plain tools: 2/s, burst 40, by client`."""
    by = f"by {' and '.join(limit.key)}"
    count, burst = (write_amount(number, limit.unit) for number in (limit.count, limit.burst))
    by += f", {limit.bitrate // 1000}k" if limit.unit == "audio-seconds" else ""
    exact = ", exact" if limit.precision == "exact" and limit.kind == "rate" else ""
    costs = f", each counts {limit.cost}" if limit.cost != 1 else ""
    if limit.kind == "concurrent":
        return f"{limit.name}: {limit.count} at once, {by}"
    if limit.kind == "quota":
        return f"{limit.name}: {count} a calendar {limit.period}{costs}, {by}"
    window = {1: "s", 60: "min", 3600: "h", 86400: "day"}.get(int(limit.window_s), f"{limit.window_s:g} s")
    return f"{limit.name}: {count}/{window}, burst {burst}{exact}{costs}, {by}"


def _limits(policy: Policy) -> dict[str, str]:
    """Each limit by its name, with what it holds for where it says so itself."""
    holding = {rule.name: f"; holds {_say_terms(rule)}" for rule in policy.limiting}
    return {limit.name: f"{say_limit(limit)}{holding.get(limit.name, '')}" for limit in policy.limits}


def _rules(old: Policy, new: Policy) -> Iterator[Change]:
    """Rules and rows by name, then rules that changed places, then the ladders."""
    yield from _named(_by_name(old.rules), _by_name(new.rules))
    yield from _named(_by_name(old.rows), _by_name(new.rows))
    here, there = {rule.name for rule in old.rules}, {rule.name for rule in new.rules}
    before = [rule.name for rule in old.rules if rule.name in there]
    after = [rule.name for rule in new.rules if rule.name in here]
    kept: set[str] = set()
    for block in SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks():
        kept |= set(before[block.a : block.a + block.size])
    for name in after:
        if name not in kept:
            yield Change(f"{name}: place", _place(name, old.rules), _place(name, new.rules))
    yield from _named(_ladders(old.ladder), _ladders(new.ladder))
    yield from _named(_detecting(old.detecting), _detecting(new.detecting))


def _by_name(rules: Iterable[Rule]) -> dict[str, str]:
    return {rule.name: say_rule(rule) for rule in rules}


def _place(name: str, rules: Sequence[Rule]) -> str:
    names = [rule.name for rule in rules]
    number = names.index(name)
    return f"after '{names[number - 1]}'" if number else "first"


def _ladders(ladders: Iterable[Ladder]) -> dict[str, str]:
    said: dict[str, str] = {}
    for ladder in ladders:
        name = f"ladder: {', '.join(ladder.route_classes) or 'all'}"
        said[name] = "; ".join(f"at {rung.at} {say_rule(rung.rule)}" for rung in ladder.rungs)
    return said


def _detecting(detecting: Detecting | None) -> dict[str, str]:
    """How scraping is looked for, word by word."""
    if detecting is None:
        return {}
    said = {"detection": "on"}
    for word in fields(detecting):
        value = getattr(detecting, word.name)
        if word.name == "steps":
            value = "; ".join(
                f"at {step.at:g} {step.then}"
                + (f" on {', '.join(step.routes)}" if step.routes else "")
                + (f" by {step.limit.name}" if step.limit else "")
                for step in value
            )
        said[f"detection: {word.name}"] = ", ".join(value) if isinstance(value, tuple) else str(value)
    return said


def say_rule(rule: Rule) -> str:
    """What a rule does and when, on one line."""
    weighs = rule.then == "weigh"
    parts = [f"weigh {rule.weight:+d}" if weighs else rule.then]
    if rule.limits:
        parts.append(f"limit {' and '.join(limit.name for limit in rule.limits)}")
    if rule.cost != 1:
        parts.append(f"cost {rule.cost}")
    if rule.label:
        parts.append(f"label {rule.label}")
    return ", ".join((*parts, *filter(None, (_say_terms(rule),))))


def _say_terms(rule: Rule) -> str:
    """When a rule holds, how far, and what it says."""
    parts = []
    if rule.mode.value != "enforce":
        parts.append(rule.mode.value)
    if dates := say_dates(rule):
        parts.append(dates)
    if rule.when:
        parts.append(f"when {_say_tests(rule.when)}")
    if rule.reason:
        parts.append(f"reason '{rule.reason}'")
    return ", ".join(parts)


def say_dates(rule: Rule) -> str:
    """`from 2026-12-01 until 2026-12-24`, as a policy says it (UTC, the day `until` included); "" for always."""
    said = []
    if not isinf(rule.from_s):
        said.append(f"from {_say_moment(rule.from_s)}")
    if not isinf(rule.until_s):
        said.append(f"until {_say_moment(rule.until_s, end=True)}")
    return " ".join(said)


def _say_moment(time_s: float, *, end: bool = False) -> str:
    moment = datetime.fromtimestamp(time_s, UTC)
    if (moment.hour, moment.minute, moment.second, moment.microsecond) == (0, 0, 0, 0):
        return (moment - timedelta(days=1 if end else 0)).date().isoformat()
    return (
        moment.isoformat(timespec="auto" if moment.microsecond or moment.second else "minutes")[: -len("+00:00")] + "Z"
    )


def _say_tests(tests: tuple[Test, ...]) -> str:
    said = []
    for test in tests:
        if isinstance(test, Condition):
            said.append(f"{'not ' if test.negated else ''}{test.fact} [{', '.join(sorted(test.values))}]")
        else:
            branches = " | ".join(_say_tests(branch) for branch in test.branches)
            said.append(f"{'not ' if test.negated else ''}{'all' if test.every else 'any'} ({branches})")
    return " and ".join(said)


def _robots(old: Policy, new: Policy, catalogue: Catalogue) -> tuple[str, ...]:
    before, after = (
        render_file("/robots.txt", declare(policy, policy.catalogue or catalogue)).splitlines() for policy in (old, new)
    )
    return tuple(unified_diff(before, after, "old robots.txt", "new robots.txt", lineterm="", n=2))


# -- places ------------------------------------------------------------------------------------------------


def specimens(old: Policy, new: Policy) -> tuple[str, ...]:
    """Paths that stand for all: under each pattern of either policy, where two of them meet, and under none."""
    patterns = dict.fromkeys(
        path
        for policy in (old, new)
        for path in (*(path for entry in policy.routes for path in entry.paths), *policy.rule_patterns.patterns)
    )
    found = dict.fromkeys((_NOWHERE, "/"))
    for pattern in patterns:
        found |= dict.fromkeys((specimen(pattern), pattern.replace("/**", "").replace("*", "x") or "/"))
    split = [tuple(part for part in pattern.split("/") if part) for pattern in patterns]
    globbed = [parts for parts in split if any("*" in part for part in parts)]
    for number, (one, other) in enumerate(combinations(globbed, 2)):
        if number >= MAX_MEETINGS:
            break
        if "*" in one[0] or "*" in other[0] or one[0] == other[0]:
            met = _meet(one, other)
            if met is not None:
                found["/" + "/".join(met)] = None
    return tuple(found)


def _meet(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...] | None:
    """Segments of a path that falls under both patterns; None when there is none. Steps: length times length."""
    dead: set[tuple[int, int]] = set()

    def go(i: int, j: int) -> tuple[str, ...] | None:
        if (i, j) in dead:
            return None
        if i == len(one) and j == len(other):
            return ()
        rest: tuple[str, ...] | None = None
        here, there = one[i] if i < len(one) else "", other[j] if j < len(other) else ""
        if here and there and here != "**" and there != "**":
            both = _meet_segments(here, there)
            if both is not None and (rest := go(i + 1, j + 1)) is not None:
                return (both, *rest)
        if here == "**":
            if there and there != "**" and (rest := go(i, j + 1)) is not None:
                return (there.replace("*", "x"), *rest)
            if (rest := go(i + 1, j)) is not None:
                return rest
        if there == "**":
            if here and here != "**" and (rest := go(i + 1, j)) is not None:
                return (here.replace("*", "x"), *rest)
            if (rest := go(i, j + 1)) is not None:
                return rest
        dead.add((i, j))
        return None

    return go(0, 0)


def _meet_segments(one: str, other: str) -> str | None:
    """Text that both globs match, where it is found easily."""
    pieces = (tuple(one.split("*")), tuple(other.split("*")))
    for text in (
        one.replace("*", "x"),
        other.replace("*", "x"),
        max(pieces[0][0], pieces[1][0], key=len) + "x" + max(pieces[0][-1], pieces[1][-1], key=len),
    ):
        if all(text == part[0] if len(part) == 1 else glob_matches(part, text) for part in pieces):
            return text
    return None


def _routes(old: Policy, new: Policy, paths: Iterable[str]) -> Iterator[Change]:
    for path in paths:
        before, after = old.route_class(_reading(old, path)), new.route_class(_reading(new, path))
        if before != after:
            yield Change(path, before, after)


def _reading(policy: Policy, path: str) -> str:
    return path if policy.site.case_sensitive else path.encode().lower().decode()


# -- decisions ---------------------------------------------------------------------------------------------


class _Tried(NamedTuple):
    """A request; `word` tells how it differs from the plain one."""

    word: str = ""
    method: str = "GET"
    address: str = ""
    user_agent: str = ""
    impostor: bool = False


class _Seen(NamedTuple):
    """All that a policy can tell of a path: its class, and those of its rules' patterns that hold it."""

    route: str
    patterns: tuple[str, ...]


Place = tuple[_Seen, _Seen]
"""A path as the old and as the new policy see it."""


class _Side:
    """One of the two policies, with what it has decided so far."""

    def __init__(self, policy: Policy, now_s: float) -> None:
        self.policy = policy
        self.now_s = now_s
        self.published = read_published(policy.site.published_networks)
        self.agents = policy.asked("agent")
        self.operators = policy.asked("operator")
        self._memo: dict[Evidence, Outcome] = {}

    def see(self, path: str) -> _Seen:
        reading = _reading(self.policy, path)
        patterns = self.policy.rule_patterns
        return _Seen(
            self.policy.route_class(reading), tuple(patterns.patterns[number] for number in patterns.match(reading))
        )

    def knows(self, agent: Agent) -> bool:
        """Is there a way to tell the real one?"""
        return agent.name.lower() in self.published or can_be_checked(agent, self.policy.verifying)

    def identity(self, agent: Agent, tried: _Tried) -> Identity:
        """As the guard would find it: the plain request comes from the real agent, where it can be told."""
        if tried.address or not self.knows(agent):
            return verify(agent, tried.address, self.published).identity
        return Identity.SPOOFED if tried.impostor else Identity.VERIFIED

    def decide(self, agent: Agent, seen: _Seen, tried: _Tried) -> Outcome:
        evidence = Evidence(
            agent=(agent.name.lower(),),
            operator=(agent.operator.lower(),),
            purpose=agent.purposes,
            category=(agent.category,),
            identity=(self.identity(agent, tried).value,),
            route=(seen.route,),
            path=seen.patterns,
            method=(tried.method,),
            network=self.policy.networks_of(tried.address),
            user_agent=(tried.user_agent,) if tried.user_agent else (),
        )
        outcome = self._memo.get(evidence)
        if outcome is None:
            verdict = decide(self.policy, evidence, self.now_s)
            rule = verdict.rule
            outcome = Outcome(verdict.action, rule.name if rule else "default", say_limits(verdict.limits))
            self._memo[evidence] = outcome
        return outcome


def _tries(old: Policy, new: Policy) -> list[_Tried]:
    def asked(fact: str) -> list[str]:
        return sorted(old.asked(fact) | new.asked(fact))

    found = [_Tried(), _Tried("with a name that is not theirs", impostor=True)]
    found += [_Tried(f"with {method}", method=method) for method in asked("method") if method != "GET"]
    for network in asked("network")[:MAX_TRIED]:
        found.append(_Tried(f"from {network}", address=str(ip_network(network).network_address)))
    found += [_Tried(f"with User-Agent {glob}", user_agent=glob) for glob in asked("user_agent")[:MAX_TRIED]]
    return found


def _crowds(sides: tuple[_Side, _Side], catalogue: Catalogue) -> list[list[Agent]]:
    """Agents that neither policy can tell apart stand together."""
    crowds: dict[tuple[object, ...], list[Agent]] = {}
    for agent in (BROWSER_AGENT, UNKNOWN_AGENT, *catalogue.agents):
        name, operator = agent.name.lower(), agent.operator.lower()
        key = (
            name if any(name in side.agents for side in sides) else "",
            operator if any(operator in side.operators for side in sides) else "",
            agent.category,
            agent.purposes,
            *(side.published.get(name) for side in sides),
            *(side.knows(agent) for side in sides),
        )
        crowds.setdefault(key, []).append(agent)
    return list(crowds.values())


def _shifts(old: Policy, new: Policy, catalogue: Catalogue, paths: tuple[str, ...], now_s: float) -> Iterator[Shift]:
    one, other = sides = (_Side(old, now_s), _Side(new, now_s))
    places: dict[Place, str] = {}
    for path in paths:  # paths that both policies see alike are one place
        places.setdefault((one.see(path), other.see(path)), path)
    in_class = Counter(map(_class_of, places))
    tries = _tries(old, new)
    found: dict[tuple[str, Outcome, Outcome, str], dict[tuple[str, ...], list[Agent]]] = {}
    for crowd in _crowds(sides, catalogue):
        agent = crowd[0]
        known = any(side.knows(agent) for side in sides)
        at: dict[tuple[str, Outcome, Outcome, str], list[str]] = {}
        for place, path in places.items():
            plain: tuple[Outcome, Outcome] | None = None
            for tried in tries:
                if tried.impostor and not known:
                    continue
                pair = (one.decide(agent, place[0], tried), other.decide(agent, place[1], tried))
                if pair != plain and pair[0] != pair[1]:
                    at.setdefault((_class_of(place), *pair, tried.word), []).append(path)
                plain = plain or pair
        for what, where in at.items():
            found.setdefault(what, {}).setdefault(tuple(where), []).extend(crowd)
    for (route, before, after, word), by_paths in found.items():
        for everywhere, agents in by_paths.items():
            ordered = tuple(sorted(agents, key=lambda agent: (agent.category, agent.name.lower())))
            yield Shift(route, ordered, before, after, everywhere, len(everywhere) == in_class[route], word)


def _class_of(place: Place) -> str:
    before, after = place[0].route, place[1].route
    return before if before == after else f"{before} -> {after}"


# -- in one line -------------------------------------------------------------------------------------------


def summarise(changes: Changes) -> str:
    """What matters most, in one line."""
    every = (changes, *changes.scopes)
    shifts = [shift for one in every for shift in one.shifts if shift.kind == "action"]
    said = [f"mode {change.before} -> {change.after}" for change in changes.settings if change.what == "mode"]
    stricter = {agent.name: agent for shift in shifts if shift.stricter for agent in shift.agents}
    looser = {agent.name: agent for shift in shifts if not shift.stricter for agent in shift.agents}
    for word, agents in (("treated more strictly", stricter), ("less strictly", looser)):
        if agents:
            said.append(f"{_count(len(agents), 'agent')} {word}")
            if agents is stricter and any(agent.category in LISTENERS for agent in agents.values()):
                said[-1] += " (LISTENERS AMONG THEM)"
    limits = {shift.after.limit for one in every for shift in one.shifts if shift.kind == "limit"}
    if limits:
        said.append(f"{_count(len(limits), 'other limit')}")
    for word, count in (
        ("setting", sum(change.what != "mode" for one in every for change in one.settings)),
        ("rule", sum(len(one.rules) for one in every)),
    ):
        if count:
            said.append(f"{_count(count, word)} changed")
    if any(one.robots for one in every):
        said.append("robots.txt differs")
    if not said:
        return "nothing changes" if changes.empty else "no decision changes"
    return ", ".join(said)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"

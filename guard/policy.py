"""A policy as a value, and the one function that applies it.

The law: rules are read from top to bottom; the first final match wins; `label` and `weigh` are not final; a rule
that only observes is noted and passed over, so that trying a rule out cannot switch off another. What no rule
settles goes to the ladder with the sum of its weights, then to the agents' rows, then to the stated default.
Directive paths are open to everyone whatever is written. With several readings the strictest verdict counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import ip_address, ip_network
from math import inf
from typing import NamedTuple

from guard.asn import AsnTable
from guard.classify import Catalogue
from guard.conditions import POSITION, Condition, Evidence, Test, all_hold, leaves
from guard.errors import Problem
from guard.model import KINDS, UNTOLD_AGENT, Agent, Detecting, Identity, Limit, Mode, RouteClass, Site, Verifying
from guard.patterns import PathPatterns, glob_matches
from guard.rights import Choice, Rights, resolve
from guard.works import WorkPath, WorkPaths

_RESERVED = ("reserved",)
_SEVERITY = {"allow": 0, "throttle": 1, "block": 2}
_KIND_OF = {route_class: kind for kind, classes in KINDS.items() for route_class in classes}


@dataclass(frozen=True, slots=True)
class RoutePatterns:
    """The paths of one route class; ROUTE_CLASSES says which there are."""

    route_class: RouteClass
    paths: tuple[str, ...]
    line: int = field(default=0, compare=False)
    file: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Rule:
    """`when` all hold, `then` do. `then` is one of ACTIONS, or "weigh": then `weight` is added and nothing settled.

    `limits` all have to admit a request that is throttled, each for `cost` times its own. `reason` is said to the
    client in words. In force from `from_s` until before `until_s` (seconds since 1970, UTC). `line` and `file`
    are its place. Steps of a ladder and agents' rows are rules, too; so is a limit that says itself what it is for.
    """

    name: str
    when: tuple[Test, ...]
    then: str
    mode: Mode = Mode.ENFORCE
    reason: str = ""
    limits: tuple[Limit, ...] = ()
    label: str = ""
    line: int = field(default=0, compare=False)
    weight: int = 0
    from_s: float = -inf
    until_s: float = inf
    file: str = field(default="", compare=False)
    ask: str = ""
    cost: int = 1

    def in_force(self, now_s: float) -> bool:
        return self.from_s <= now_s < self.until_s


@dataclass(frozen=True, slots=True)
class Rung:
    """A step of a ladder: from a sum of `at` on, what `rule` says."""

    at: int
    rule: Rule


@dataclass(frozen=True, slots=True)
class Ladder:
    """What sums of weights lead to on these route classes (none named: on all). `rungs` rise."""

    route_classes: tuple[RouteClass, ...]
    rungs: tuple[Rung, ...]
    line: int = field(default=0, compare=False)
    file: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Example:
    """A request and the decision that the policy's author expects for it. `at_s` is when, None = now; `identity` is
    taken as known, None = what the policy's networks say."""

    name: str
    path: str
    expect: str
    method: str = "GET"
    user_agent: str = ""
    ip: str = "192.0.2.1"
    rule: str = ""
    line: int = field(default=0, compare=False)
    labels: tuple[str, ...] | None = None
    weight: int | None = None
    at_s: float | None = None
    identity: Identity | None = None
    file: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Change:
    """What the preferences say otherwise from `from_s` on (seconds since 1970, UTC); what it does not name stays.

    `announced_s` is when it was first announced by the policy's own word, None = it does not say.
    """

    from_s: float
    preferences: Mapping[str, str]
    kind_preferences: Mapping[str, Mapping[str, str]]
    announced_s: float | None = None
    line: int = field(default=0, compare=False)
    file: str = field(default="", compare=False)


TRAP = "trap"
"""The name of the rule that refuses what lies below a trap, which robots.txt forbids, too."""


def trap_rule(traps: tuple[str, ...], mode: Mode = Mode.ENFORCE, file: str = "", line: int = 0) -> Rule:
    """What keeps everybody out of these paths, and says so in robots.txt: only a program finds them."""
    return Rule(
        TRAP,
        (Condition("path", frozenset(traps)),),
        "block",
        mode,
        reason="There is nothing to read here.",
        file=file,
        line=line,
    )


RIGHTS_REASON = "The holders of the rights in this work do not allow this use of it."


@dataclass(frozen=True)
class RightsTerms:
    """The policy's `rights`: where the holders' choices are, which address is of which work, and what follows.

    `source` is a register's location, see `guard.registers`. `mode` observe: what is reserved is said and not refused.
    `header` is the field of the platform's answers that names their works ("" = none). What the source said is good
    for `max_age_s`, where it does not tell of changes itself.
    """

    source: str
    mode: Mode = Mode.ENFORCE
    works: tuple[WorkPath, ...] = ()
    header: str = ""
    reason: str = RIGHTS_REASON
    max_age_s: float = 60.0
    line: int = field(default=0, compare=False)
    file: str = field(default="", compare=False)

    @cached_property
    def rule(self) -> Rule:
        """What refuses a reserved work; stands before all others."""
        return Rule(
            "rights",
            (Condition("rights", frozenset(("reserved",))),),
            "block",
            self.mode,
            self.reason,
            line=self.line,
            file=self.file,
        )


class RuleIndex:
    """Which of many rules can match at all: each is filed under one telling condition and under its route classes.

    A rule is filed by the condition whose values the fewest rules ask for; those without a positive one are asked
    always. The cost of a question is a few look-ups for each word of the evidence, however many rules there are.
    """

    __slots__ = ("_always", "_facts", "_files", "rules")

    _UNTELLING = ("route", "label")  # every rule is filed by route as well; labels are found on the way down

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self._always: dict[str, list[int]] = {}
        self._files: dict[tuple[int, str, str], list[int]] = {}
        positive = [
            {test.fact: test for test in rule.when if isinstance(test, Condition) and not test.negated}
            for rule in self.rules
        ]
        sought = Counter((fact, value) for asked in positive for fact, test in asked.items() for value in test.values)
        facts: set[int] = set()
        for number, asked in enumerate(positive):
            routes: Iterable[str] = asked["route"].values if "route" in asked else ("",)
            crowds = [
                (max((sought[fact, value] for value in test.values), default=0), POSITION[fact], test)
                for fact, test in asked.items()
                if fact not in self._UNTELLING
            ]
            if not crowds:
                for route in routes:
                    self._always.setdefault(route, []).append(number)
                continue
            _, position, telling = min(crowds, key=lambda crowd: crowd[:2])
            facts.add(position)
            for route in routes:
                for value in telling.values:
                    self._files.setdefault((position, value, route), []).append(number)
        self._facts = tuple(sorted(facts))

    def candidates(self, evidence: Evidence) -> Iterator[Rule]:
        """The rules that may match, in their order."""
        route = evidence.route[0]
        found = [self._always[key] for key in (route, "") if key in self._always]
        files = self._files
        for position in self._facts:
            for word in evidence[position] or ():
                if (numbers := files.get((position, word, route))) is not None:
                    found.append(numbers)
                if (numbers := files.get((position, word, ""))) is not None:
                    found.append(numbers)
        rules = self.rules
        if not found:
            return iter(())
        if len(found) == 1:
            return (rules[number] for number in found[0])
        return (rules[number] for number in sorted({number for numbers in found for number in numbers}))


class NetworkTable:
    """Which of many networks hold an address: one look-up for each prefix length that occurs."""

    __slots__ = ("_by_length",)

    def __init__(self, texts: Iterable[str]) -> None:
        """`texts` are networks such as 192.0.2.0/24. Raises ValueError on what is none."""
        self._by_length: dict[tuple[int, int], dict[int, str]] = {}
        for text in texts:
            network = ip_network(text)
            shift = network.max_prefixlen - network.prefixlen
            filed = self._by_length.setdefault((network.version, shift), {})
            filed[int(network.network_address) >> shift] = text

    def __bool__(self) -> bool:
        return bool(self._by_length)

    def holding(self, address: str) -> tuple[str, ...]:
        """The networks that hold `address`, the narrowest first. Raises ValueError on what is no address."""
        if not self._by_length:
            return ()
        parsed = ip_address(address)
        number, version = int(parsed), parsed.version
        found = (filed.get(number >> shift) for (kind, shift), filed in self._by_length.items() if kind == version)
        return tuple(
            sorted((text for text in found if text is not None), key=lambda text: -int(text.rpartition("/")[2]))
        )


@dataclass(frozen=True)
class Policy:
    """Everything a policy file says, checked. `version` is a short hash of all text it was read from.

    `limiting` are the limits that say themselves what they are for, as rules that throttle: they hold for all that is
    let pass. `hosts` are those it is for (none named: any), `scopes` the policies of hosts with words of their own;
    `rows` are the agents' rows, the narrower before the wider; `sources` the files it was read from; `warnings` what is
    allowed and hardly meant. `kind_preferences` go before `preferences` for KINDS of content. `catalogue` are the
    agents with the policy's own facts, None when it has none; `verifying` says how their claims are checked; `asn` is
    the table that the site names; `detecting` says how undeclared scraping is looked for, None = it is not.
    """

    site: Site
    mode: Mode
    default: str
    routes: tuple[RoutePatterns, ...]
    route_default: RouteClass
    preferences: Mapping[str, str]
    limits: tuple[Limit, ...]
    rules: tuple[Rule, ...]
    examples: tuple[Example, ...] = ()
    version: str = ""
    file: str = ""
    rows: tuple[Rule, ...] = ()
    ladder: tuple[Ladder, ...] = ()
    on_store_failure: Mapping[RouteClass, str] = field(default_factory=dict)
    kind_preferences: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    scopes: tuple[Policy, ...] = ()
    sources: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = ()
    rights: RightsTerms | None = None
    notice_days: int = 0
    licence_url: str = ""
    changes: tuple[Change, ...] = ()
    verifying: Verifying = field(default_factory=Verifying)
    catalogue: Catalogue | None = field(default=None, compare=False)
    limiting: tuple[Rule, ...] = ()
    asn: AsnTable | None = field(default=None, compare=False)
    detecting: Detecting | None = None

    # -- made once, at the first question ----------------------------------------------------------------

    @cached_property
    def route_patterns(self) -> PathPatterns:
        """All patterns of `routes`, in order; `route_of` holds the class of each."""
        return PathPatterns(
            (path for entry in self.routes for path in entry.paths), case_sensitive=self.site.case_sensitive
        )

    @cached_property
    def _route_of(self) -> tuple[RouteClass, ...]:
        return tuple(entry.route_class for entry in self.routes for _ in entry.paths)

    @cached_property
    def rule_patterns(self) -> PathPatterns:
        return PathPatterns(sorted(self.asked("path")), case_sensitive=self.site.case_sensitive)

    @cached_property
    def work_paths(self) -> WorkPaths:
        """Which address is of which work."""
        works = self.rights.works if self.rights is not None else ()
        return WorkPaths(works, case_sensitive=self.site.case_sensitive)

    @cached_property
    def networks(self) -> NetworkTable:
        """The networks that some rule asks about."""
        return NetworkTable(self.asked("network"))

    @cached_property
    def user_agent_globs(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The globs that some rule holds against the whole User-Agent: as written, and in pieces."""
        return tuple((text, tuple(text.split("*"))) for text in sorted(self.asked("user_agent")))

    @cached_property
    def index(self) -> RuleIndex:
        return RuleIndex(self.rules)

    @cached_property
    def row_index(self) -> RuleIndex:
        return RuleIndex(self.rows)

    @cached_property
    def limiting_index(self) -> RuleIndex:
        return RuleIndex(self.limiting)

    @cached_property
    def turns(self) -> tuple[float, ...]:
        """The moments at which a rule begins or ends or a preference changes, in order (seconds since 1970, UTC)."""
        rules = (*self.rules, *self.rows, *self.limiting)
        moments = {moment for rule in rules for moment in (rule.from_s, rule.until_s)}
        moments |= {change.from_s for change in self.changes}
        return tuple(sorted(moment for moment in moments if -inf < moment < inf))

    @cached_property
    def _asked(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for rule in (*self.rules, *self.rows, *self.limiting):
            for condition in leaves(rule.when):
                found.setdefault(condition.fact, set()).update(condition.values)
        return found

    @cached_property
    def _asks_labels(self) -> bool:
        return bool(self.asked("label"))

    @cached_property
    def _stated(self) -> Mapping[str, Mapping[str, str]]:
        return {
            kind: {**self.preferences, **self.kind_preferences[kind]}
            if kind in self.kind_preferences
            else self.preferences
            for kind in KINDS
        }

    @cached_property
    def _rungs(self) -> dict[RouteClass, tuple[Rung, ...]]:
        return {}

    @cached_property
    def platform_choice(self) -> Choice:
        """The platform's own word, as the widest layer of rights."""
        kinds = {kind: dict(words) for kind, words in self.kind_preferences.items()}
        return Choice({"": dict(self.preferences), **kinds})

    @cached_property
    def platform_rights(self) -> Rights:
        """What holds for works of which nobody has said anything."""
        return resolve((), self.platform_choice)

    @cached_property
    def kind_paths(self) -> Mapping[str, str]:
        """Paths of works that carry another kind than their route class does: glob -> kind."""
        return {path.glob: path.kind for path in self.work_paths.paths if path.kind and not path.query}

    @cached_property
    def asks_rights(self) -> bool:
        """Does anything depend on how an agent stands to a work?"""
        return self.rights is not None or bool(self.asked("rights"))

    def asked(self, fact: str) -> set[str]:
        """Every value that some rule or row compares `fact` with."""
        return set(self._asked.get(fact, ()))

    def at(self, now_s: float) -> Policy:
        """The policy as it is at a moment: with the rules and preferences that are in force, and with no dates left."""
        if not self.turns and not any(scope.turns for scope in self.scopes):
            return self
        timeless = {"from_s": -inf, "until_s": inf}
        rules, limiting = (
            tuple(replace(rule, **timeless) for rule in rules if rule.in_force(now_s))  # type: ignore[arg-type]
            for rules in (self.rules, self.limiting)
        )
        scopes = tuple(scope.at(now_s) for scope in self.scopes)
        return replace(self.stating(now_s), rules=rules, limiting=limiting, scopes=scopes)

    def stating(self, now_s: float) -> Policy:
        """The policy with the preferences of a moment; its rules keep their dates. Itself when none has a date."""
        if not self.changes:
            return self
        general = dict(self.preferences)
        kinds = {kind: dict(words) for kind, words in self.kind_preferences.items()}
        for change in sorted(self.changes, key=lambda change: change.from_s):
            if change.from_s <= now_s:
                general |= change.preferences
                for kind, words in change.kind_preferences.items():
                    kinds[kind] = {**kinds.get(kind, {}), **words}
        return replace(self, preferences=general, kind_preferences=kinds, changes=())

    # -- questions ---------------------------------------------------------------------------------------

    @staticmethod
    def kind_of(route_class: RouteClass) -> str:
        """The kind of content that a route class carries, "" = none in particular."""
        return _KIND_OF.get(route_class, "")

    def stated(self, route_class: RouteClass) -> Mapping[str, str]:
        """The preferences for what a route class carries: those of its kind before the general ones."""
        kind = _KIND_OF.get(route_class)
        return self._stated[kind] if kind else self.preferences

    def route_class(self, reading: str) -> RouteClass:
        """The class of one reading: the first pattern in the file that matches, else the stated default."""
        found = self.route_patterns.match(reading)
        return self._route_of[found[0]] if found else self.route_default

    def rungs(self, route_class: RouteClass) -> tuple[Rung, ...]:
        """The first ladder that is for this route class."""
        found = self._rungs.get(route_class)
        if found is None:
            fitting = (one.rungs for one in self.ladder if not one.route_classes or route_class in one.route_classes)
            found = self._rungs[route_class] = next(fitting, ())
        return found

    def networks_of(self, address: str) -> tuple[str, ...]:
        """Those of the policy's networks that hold `address` ("" = none do)."""
        return self.networks.holding(address) if address else ()

    def user_agents_of(self, user_agent: bytes) -> tuple[str, ...]:
        """Those of the policy's User-Agent globs that fit, in any case."""
        if not self.user_agent_globs:
            return ()
        text = user_agent.decode("latin-1").lower()
        return tuple(glob for glob, pieces in self.user_agent_globs if _glob_fits(glob, pieces, text))

    def evidence(
        self,
        agent: Agent,
        identity: Identity,
        reading: str,
        method: str,
        networks: tuple[str, ...],
        user_agents: tuple[str, ...] = (),
        rights: Rights | None = None,
        kind: str = "",
        keys: tuple[str, ...] = (),
    ) -> Evidence:
        """The facts of one reading, in the words that conditions compare.

        `rights` are those of the work it is of (None = nobody's in particular), `kind` what it carries of it ("" =
        what its route class does); `keys` are thumbprints of keys that it has proved to hold.
        """
        patterns = self.rule_patterns
        route = (self.route_class(reading),)
        path = tuple(patterns.patterns[position] for position in patterns.match(reading))
        if agent is UNTOLD_AGENT:
            return Evidence(None, None, None, None, None, route, path, (method,), networks, None, (), None)
        standing: tuple[str, ...] = ()
        if self.asks_rights:
            held = rights or self.platform_rights
            standing = (held.standing(kind or self.kind_of(route[0]), agent, identity, keys),)
        return Evidence(
            (agent.name.lower(),),
            (agent.operator.lower(),),
            agent.purposes,
            (agent.category,),
            (identity.value,),
            route,
            path,
            (method,),
            networks,
            user_agents,
            (),
            standing,
        )


def _glob_fits(glob: str, pieces: tuple[str, ...], text: str) -> bool:
    return text == glob if len(pieces) == 1 else glob_matches(pieces, text)


class Step(NamedTuple):
    """One rule as it met one piece of evidence, for `guard explain`. `state` is "", "not yet" or "over"."""

    rule: Rule
    matched: bool
    evidence: Evidence
    state: str = ""
    said: str = ""

    @property
    def why(self) -> tuple[str, ...]:
        """The tests that failed, in words; when none did, all of them."""
        if self.said:
            return (self.said,)
        failed = tuple(test.explain(self.evidence) for test in self.rule.when if not test.holds(self.evidence))
        why = failed or tuple(test.explain(self.evidence) for test in self.rule.when)
        return (f"{self.state}: out of its dates", *why) if self.state else why


class Verdict(NamedTuple):
    """What the rules say of one reading. `rule` is None for the default. `observed` only would have acted.

    `weighed` are the rules whose weights were added. `limits` all have to admit what is throttled.
    """

    action: str
    rule: Rule | None
    labels: tuple[str, ...]
    observed: tuple[Rule, ...]
    route_class: RouteClass
    weighed: tuple[Rule, ...] = ()
    limits: tuple[Limit, ...] = ()

    @property
    def weight(self) -> int:
        return sum(rule.weight for rule in self.weighed)


def decide(policy: Policy, evidence: Evidence, now_s: float = 0.0) -> Verdict:
    """The verdict on one reading at a moment (seconds since 1970). Pure."""
    verdict = _settle(policy, evidence, now_s)
    if verdict.action == "throttle" and verdict.rule is not None:
        verdict = verdict._replace(limits=verdict.rule.limits)
    if policy.limiting and verdict.action in ("allow", "throttle") and verdict.route_class != "directive":
        verdict = _limit(policy, evidence, now_s, verdict)
    return verdict


def _limit(policy: Policy, evidence: Evidence, now_s: float, verdict: Verdict) -> Verdict:
    """The verdict with the limits that hold for whatever is let pass. Who is let pass by default is throttled by the
    first of them; an allowing rule keeps its name."""
    if policy._asks_labels and verdict.labels:
        evidence = evidence._replace(label=_lower(list(verdict.labels)))
    trying = policy.mode is Mode.ENFORCE
    limits = dict.fromkeys(verdict.limits)
    observed = list(verdict.observed)
    first = verdict.rule
    for rule in policy.limiting_index.candidates(evidence):
        if not all_hold(rule.when, evidence) or not rule.in_force(now_s):
            continue
        if trying and rule.mode is Mode.OBSERVE:
            observed.append(rule)
            continue
        first = first or rule
        limits |= dict.fromkeys(rule.limits)
    action = "throttle" if limits else verdict.action
    return verdict._replace(action=action, rule=first, observed=tuple(observed), limits=tuple(limits))


def _settle(policy: Policy, evidence: Evidence, now_s: float) -> Verdict:
    labels: list[str] = []
    observed: list[Rule] = []
    weighed: list[Rule] = []
    route_class = evidence.route[0]
    open_to_all = route_class == "directive"
    trying = policy.mode is Mode.ENFORCE
    if evidence.rights == _RESERVED and policy.rights is not None and not open_to_all:
        gate = policy.rights.rule
        if not trying or gate.mode is Mode.ENFORCE:
            return Verdict(gate.then, gate, (), (), route_class)
        observed.append(gate)
    for rule in policy.index.candidates(evidence):
        if not all_hold(rule.when, evidence) or not rule.from_s <= now_s < rule.until_s:
            continue
        then = rule.then
        if then == "label":
            labels.append(rule.label or rule.name)
            if policy._asks_labels:
                evidence = evidence._replace(label=_lower(labels))
        elif open_to_all and then != "allow":
            continue
        elif trying and rule.mode is Mode.OBSERVE:
            observed.append(rule)
        elif then == "weigh":
            weighed.append(rule)
        else:
            return Verdict(then, rule, tuple(labels), tuple(observed), route_class, tuple(weighed))
    settled: Rule | None = None
    if not open_to_all:
        if weighed:
            total = sum(rule.weight for rule in weighed)
            for rung in policy.rungs(route_class):
                if rung.at <= total:
                    settled = rung.rule
        if settled is None and policy.rows:
            settled = _row(policy, evidence, observed if trying else None)
    action = settled.then if settled else ("allow" if open_to_all else policy.default)
    return Verdict(action, settled, tuple(labels), tuple(observed), route_class, tuple(weighed))


def _lower(labels: list[str]) -> tuple[str, ...]:
    return tuple(label.lower() for label in labels)


def _row(policy: Policy, evidence: Evidence, observed: list[Rule] | None) -> Rule | None:
    """The narrowest row for this agent that is not only on trial; those that are go to `observed`.

    A row has one condition, and is filed under it: what is found there holds.
    """
    for row in policy.row_index.candidates(evidence):
        if observed is None or row.mode is not Mode.OBSERVE:
            return row
        observed.append(row)
    return None


def strictest(verdicts: Iterable[Verdict]) -> Verdict:
    """Of the verdicts on all readings the one that counts: of limits the slower, else the first among equals. What is
    limited in any reading is."""
    every = list(verdicts)
    found = max(every, key=_severity)
    if len(every) > 1 and found.action == "throttle":
        found = found._replace(limits=tuple(dict.fromkeys((*found.limits, *(x for one in every for x in one.limits)))))
    return found


def _severity(verdict: Verdict) -> tuple[int, float]:
    slowest = max((limit.emission_s for limit in verdict.limits), default=0.0)
    return _SEVERITY[verdict.action], slowest


def trace(policy: Policy, evidence: Evidence, now_s: float = 0.0) -> tuple[Step, ...]:
    """Every rule, step of the ladder, row and limit that holds by itself, and why it did or did not match; those below
    the match are traced too.

    A step of the ladder matched when the sum reaches it and no higher one. A limit holds only for what is let pass.
    """
    steps: list[Step] = []
    labels: list[str] = []
    total = 0
    if policy.rights is not None:
        steps.append(_meet(policy.rights.rule, evidence, now_s))
    for rule in policy.rules:
        step = _meet(rule, evidence, now_s)
        steps.append(step)
        if step.matched and rule.then == "label":
            labels.append(rule.label or rule.name)
            evidence = evidence._replace(label=_lower(labels))
        elif step.matched and rule.then == "weigh" and (rule.mode is Mode.ENFORCE or policy.mode is Mode.OBSERVE):
            total += rule.weight
    rungs = () if evidence.route[0] == "directive" else policy.rungs(evidence.route[0])
    reached = max((rung.at for rung in rungs if rung.at <= total), default=None)
    for rung in rungs:
        said = f"the weights add up to {total}, asked for at {rung.at}"
        steps.append(Step(rung.rule, rung.at == reached, evidence, said=said))
    steps += [_meet(row, evidence, now_s) for row in policy.rows]
    if evidence.route[0] != "directive":
        steps += [_meet(rule, evidence, now_s) for rule in policy.limiting]
    return tuple(steps)


def _meet(rule: Rule, evidence: Evidence, now_s: float) -> Step:
    state = "" if rule.in_force(now_s) else ("not yet" if now_s < rule.from_s else "over")
    return Step(rule, not state and all_hold(rule.when, evidence), evidence, state)

"""A policy as a value, and the one function that applies it.

The law: rules are read from top to bottom; the first final match wins; `label` is not final; a rule that only
observes is noted and passed over, so that trying a rule out cannot switch off another. What no rule matches
gets the policy's stated default. When a request has several readings, the strictest verdict counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address, ip_network

from guard.classify import PathPatterns
from guard.conditions import Condition, Evidence, all_hold
from guard.model import Agent, Identity, Limit, Mode, RouteClass, Site

_SEVERITY = {"allow": 0, "throttle": 1, "block": 2}


@dataclass(frozen=True, slots=True)
class RoutePatterns:
    """The paths of one route class; ROUTE_CLASSES says which there are."""

    route_class: RouteClass
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """`when` all hold, `then` do. `reason` is said to the client in words; `line` is its place in the file."""

    name: str
    when: tuple[Condition, ...]
    then: str
    mode: Mode = Mode.ENFORCE
    reason: str = ""
    limit: Limit | None = None
    label: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Example:
    """A request and the decision that the policy's author expects for it."""

    name: str
    path: str
    expect: str
    method: str = "GET"
    user_agent: str = ""
    ip: str = "192.0.2.1"
    rule: str = ""
    line: int = 0


@dataclass(frozen=True)
class Policy:
    """Everything a policy file says, checked. `version` is a short hash of its text."""

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
        return PathPatterns(sorted(self._asked("path")), case_sensitive=self.site.case_sensitive)

    @cached_property
    def networks(self) -> tuple[tuple[str, object], ...]:
        """The networks that some rule asks about, as written and parsed."""
        return tuple((text, ip_network(text)) for text in sorted(self._asked("network")))

    def _asked(self, fact: str) -> set[str]:
        return {
            value
            for rule in self.rules
            for condition in rule.when
            if condition.fact == fact
            for value in condition.values
        }

    def route_class(self, reading: str) -> RouteClass:
        """The class of one reading: the first pattern in the file that matches, else the stated default."""
        found = self.route_patterns.match(reading)
        return self._route_of[found[0]] if found else self.route_default

    def networks_of(self, address: str) -> tuple[str, ...]:
        """Those of the policy's networks that hold `address` ("" = none do)."""
        if not self.networks or not address:
            return ()
        parsed = ip_address(address)
        return tuple(text for text, network in self.networks if parsed in network)  # type: ignore[operator]

    def evidence(
        self, agent: Agent, identity: Identity, reading: str, method: str, networks: tuple[str, ...]
    ) -> Evidence:
        """The facts of one reading, in the words that conditions compare."""
        patterns = self.rule_patterns
        return Evidence(
            agent=(agent.name.lower(),),
            operator=(agent.operator.lower(),),
            purpose=agent.purposes,
            category=(agent.category,),
            identity=(identity.value,),
            route=(self.route_class(reading),),
            path=tuple(patterns.patterns[position] for position in patterns.match(reading)),
            method=(method,),
            network=networks,
        )


@dataclass(frozen=True, slots=True)
class Step:
    """One rule as it met one piece of evidence, for `guard explain`."""

    rule: Rule
    matched: bool
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules say of one reading. `rule` is None for the default. `observed` only would have acted."""

    action: str
    rule: Rule | None
    labels: tuple[str, ...]
    observed: tuple[Rule, ...]
    route_class: RouteClass


def decide(policy: Policy, evidence: Evidence) -> Verdict:
    """The verdict on one reading. Pure; the cost is the number of rules above the match."""
    labels: list[str] = []
    observed: list[Rule] = []
    for rule in policy.rules:
        if not all_hold(rule.when, evidence):
            continue
        if rule.then == "label":
            labels.append(rule.label or rule.name)
        elif rule.mode is Mode.OBSERVE and policy.mode is Mode.ENFORCE:
            observed.append(rule)
        else:
            return Verdict(rule.then, rule, tuple(labels), tuple(observed), evidence.route[0])
    return Verdict(policy.default, None, tuple(labels), tuple(observed), evidence.route[0])


def strictest(verdicts: Iterable[Verdict]) -> Verdict:
    """Of the verdicts on all readings the one that counts; the first among equals."""
    return max(verdicts, key=lambda verdict: _SEVERITY[verdict.action])


def trace(policy: Policy, evidence: Evidence) -> tuple[Step, ...]:
    """Every rule and why it did or did not match; rules below the match are traced too."""
    return tuple(
        Step(
            rule,
            all_hold(rule.when, evidence),
            tuple(condition.explain(evidence) for condition in rule.when if not condition.holds(evidence))
            or tuple(condition.explain(evidence) for condition in rule.when),
        )
        for rule in policy.rules
    )

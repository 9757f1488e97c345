"""A policy's own examples, tried: is each decided as its author expects, and does each rule decide one?

Pure over the policy; limits are not asked, for an example is one request: `throttle` is what its rule says.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from guard.classify import Catalogue
from guard.engine import Guard
from guard.errors import Problem
from guard.model import Decision, Request
from guard.policy import Example, Policy, Rule


class Trial(NamedTuple):
    """One example and what came of it; `fault` says what is not as expected, "" = all is."""

    example: Example
    decision: Decision
    fault: str

    @property
    def problem(self) -> Problem:
        return Problem(self.example.file, self.example.line, f"example '{self.example.name}': {self.fault}")


def try_examples(policy: Policy, catalogue: Catalogue | None = None, now_s: float | None = None) -> tuple[Trial, ...]:
    """Every example of the policy and of its scopes, in the order of the file. `now_s` is for those without `at`."""
    now_s = time.time() if now_s is None else now_s
    found: list[Trial] = []
    for one in (policy, *policy.scopes):
        clock = _Clock(now_s)
        guard = Guard(one, catalogue=catalogue, clock=clock)
        for example in one.examples:
            clock.now_s = now_s if example.at_s is None else example.at_s
            path, _, query = example.path.partition("?")
            target, asked = path.encode("utf-8", "surrogateescape"), query.encode("utf-8", "surrogateescape")
            user_agent = example.user_agent.encode("utf-8", "surrogateescape")
            request = Request(example.method, target, user_agent, example.ip, query=asked)
            known = example.identity
            decision = guard.decide(request) if known is None else guard.decide_as(request, known)
            found.append(Trial(example, decision, _fault(example, decision)))
    return tuple(found)


class _Clock:
    """Stands still until it is set."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def _fault(example: Example, decision: Decision) -> str:
    weight = sum(addend for _, addend in decision.weights)
    if decision.action != example.expect:
        return f"expected {example.expect}, decided {decision.action} (rule '{decision.rule}')"
    if example.rule and decision.rule != example.rule:
        return f"expected rule '{example.rule}', decided by rule '{decision.rule}'"
    if example.labels is not None and sorted(example.labels) != sorted(decision.labels):
        return f"expected labels [{', '.join(example.labels)}], noted [{', '.join(decision.labels)}]"
    if example.weight is not None and example.weight != weight:
        return f"expected weight {example.weight}, the rules add up to {weight}"
    return ""


def uncovered(policy: Policy, trials: tuple[Trial, ...]) -> tuple[Rule, ...]:
    """The rules, steps of the ladder and rows that no example settles, weighs, labels or observes.

    A rule that several hosts share is covered by an example of any of them.
    """
    touched: set[str] = set()
    labels: set[str] = set()
    for trial in trials:
        decision = trial.decision
        touched |= {decision.rule, *decision.observed, *(name for name, _ in decision.weights)}
        labels |= set(decision.labels)
    left: dict[Rule, None] = {}
    for one in (policy, *policy.scopes):
        rungs = [rung.rule for ladder in one.ladder for rung in ladder.rungs]
        for rule in (*one.rules, *rungs, *one.rows):
            noted = rule.then == "label" and (rule.label or rule.name) in labels
            if rule.name not in touched and not noted:
                left[rule] = None
    return tuple(left)

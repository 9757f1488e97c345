"""Where a policy is stricter than what holders have said, or says it in fewer places: for `guard check`. Pure.

The law: what is declared and what is enforced come from one record and cannot contradict one another. But a policy may
refuse what a holder has opened, and files of bounded size cannot name every work. Both are told.
"""

from __future__ import annotations

from collections.abc import Iterator

from guard.conditions import Condition, Test
from guard.directives import Declaration, Place
from guard.errors import Problem
from guard.model import Agent, Identity, Mode
from guard.policy import Policy, decide

MAX_PLACES = 400


def examine_rights(declaration: Declaration) -> tuple[Problem, ...]:
    """Every warning about the rights of works that a policy keeps, and what it makes of them."""
    policy = declaration.policy
    terms = policy.rights
    if terms is None:
        return ()

    def warn(message: str) -> Problem:
        return Problem(terms.file or policy.file, terms.line, message, level="warning")

    found = [warn(message) for message in _stricter(declaration)]
    found += [
        Problem(rule.file or policy.file, rule.line, message, level="warning")
        for rule in policy.rules
        if rule.then == "block" and any(_asks(test, "user_agent") for test in rule.when)
        for message in (f"rule '{rule.name}' refuses by User-Agent: no directive file can say so, only it is enforced",)
    ]
    if terms.mode is Mode.OBSERVE:
        found.append(warn("rights: mode observe: what holders reserve is said and not refused"))
    if not policy.site.url:
        found.append(warn("site: no 'url': robots.txt has no License line, and no TDM policy is named"))
    if declaration.left_out:
        found.append(
            warn(
                f"rights: {declaration.left_out:,} of {declaration.total:,} works with choices of their own are not "
                "named in files: their answers state them, and they are held to all the same"
            )
        )
    return tuple(found)


def _asks(test: Test, fact: str) -> bool:
    if isinstance(test, Condition):
        return test.fact == fact
    return any(_asks(one, fact) for branch in test.branches for one in branch)


def _stricter(declaration: Declaration) -> Iterator[str]:
    """Rules that refuse what holders have opened or licensed: one sentence a rule."""
    policy = declaration.policy
    agents = _one_of_each(declaration)
    seen: dict[str, tuple[int, str]] = {}
    for place in declaration.places[:MAX_PLACES]:
        for agent in agents:
            identity = Identity.VERIFIED
            if place.rights.standing(place.kind, agent, identity) not in ("open", "licensed"):
                continue
            if not place.rights.opened and not place.rights.licences:
                continue
            rule = _refusing(policy, agent, identity, place)
            if rule:
                count, first = seen.get(rule, (0, f"{agent.name} at {place.address} ({place.work})"))
                seen[rule] = (count + 1, first)
    for rule, (_, first) in seen.items():
        yield (
            f"rights: '{rule}' refuses what holders have opened or licensed, such as {first}: say so if it is meant, "
            "else add `not: {rights: [open, licensed]}` to it"
        )


def _refusing(policy: Policy, agent: Agent, identity: Identity, place: Place) -> str:
    """The rule that refuses the agent there, "" when none does."""
    reading = place.reading(policy.site.case_sensitive)
    evidence = policy.evidence(agent, identity, reading, "GET", (), (), place.rights, place.kind)
    verdict = decide(policy, evidence)
    return (verdict.rule.name if verdict.rule else "default") if verdict.action == "block" else ""


def _one_of_each(declaration: Declaration) -> tuple[Agent, ...]:
    """An agent of every kind of AI, and those that hold licences."""
    licensees = {licence.to for place in declaration.places for licence, _ in place.rights.licences}
    found: dict[tuple[str, tuple[str, ...]], Agent] = {}
    named = []
    for agent in declaration.catalogue.agents:
        if {f"agent:{agent.name.lower()}", f"operator:{agent.operator.lower()}"} & licensees:
            named.append(agent)
        if agent.category.startswith("ai-"):
            found.setdefault((agent.category, agent.purposes), agent)
    return (*found.values(), *named)

"""What a rule may ask in `when:`: a fixed list of facts, each compared with a set of values.

All the tests of a rule must hold. A condition holds when any of its values is among the facts; `any:` when one of
its branches holds whole, `all:` when every branch does; under `not:` each is turned round. What nobody has told us
(a log without the header) holds in neither polarity. Nothing here can loop, call out or take long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

Fact = tuple[str, ...] | None
"""The words found for one fact; None when it is not known."""


class Evidence(NamedTuple):
    """What is known about one reading of one request, as sets of lower-case words (methods in upper case).

    `path` and `user_agent` hold the policy's patterns that fit, `network` its networks that hold the client, `label`
    what the rules above have noted, `rights` how the agent stands to the work (`guard.rights.Rights.standing`).
    """

    agent: Fact
    operator: Fact
    purpose: Fact
    category: Fact
    identity: Fact
    route: tuple[str, ...]
    path: Fact
    method: Fact
    network: Fact
    user_agent: Fact = ()
    label: Fact = ()
    rights: Fact = ()


FACTS: tuple[str, ...] = Evidence._fields
POSITION = {fact: position for position, fact in enumerate(FACTS)}


class Condition(NamedTuple):
    """`fact` is one of FACTS; holds when a value is among the evidence (or, negated, when none is)."""

    fact: str
    values: frozenset[str]
    negated: bool = False

    def holds(self, evidence: Evidence) -> bool:
        found = evidence[POSITION[self.fact]]
        return found is not None and (not self.values.isdisjoint(found)) is not self.negated

    def explain(self, evidence: Evidence) -> str:
        """The comparison in words, for `guard explain`."""
        known = evidence[POSITION[self.fact]]
        found = "not known" if known is None else f"found {', '.join(known) or 'nothing'}"
        wanted = ", ".join(sorted(self.values)[:12]) + (", …" if len(self.values) > 12 else "")
        one_of = "is none of" if self.negated else "is one of"
        return f"{self.fact} {one_of} [{wanted}]: {found}"


@dataclass(frozen=True, slots=True)
class Group:
    """Branches, each of tests that must all hold. `every` asks for all branches, else one is enough."""

    branches: tuple[tuple[Test, ...], ...]
    every: bool
    negated: bool = False

    def holds(self, evidence: Evidence) -> bool:
        held = self._known(evidence)
        return held is not None and held is not self.negated

    def _known(self, evidence: Evidence) -> bool | None:
        """Does it hold, before it is turned round? None when that cannot be told."""
        told = [_all_known(branch, evidence) for branch in self.branches]
        if self.every:
            return False if False in told else (None if None in told else True)
        return True if True in told else (None if None in told else False)

    def explain(self, evidence: Evidence) -> str:
        word = "all" if self.every else "any"
        branches = " | ".join("; ".join(test.explain(evidence) for test in branch) for branch in self.branches)
        return f"{'not ' if self.negated else ''}{word} of ({branches})"


Test = Condition | Group


def all_hold(tests: tuple[Test, ...], evidence: Evidence) -> bool:
    for test in tests:  # noqa: SIM110  # it costs half of `all(...)` with a generator
        if not test.holds(evidence):
            return False
    return True


def _all_known(tests: tuple[Test, ...], evidence: Evidence) -> bool | None:
    """Like `all_hold`, with None where something decisive is not known (Kleene's three values)."""
    unsure = False
    for test in tests:
        if isinstance(test, Condition):
            if evidence[POSITION[test.fact]] is None:
                unsure = True
                continue
            held: bool | None = test.holds(evidence)
        else:
            inner = test._known(evidence)
            held = None if inner is None else inner is not test.negated
            if held is None:
                unsure = True
                continue
        if held is False:
            return False
    return None if unsure else True


def leaves(tests: tuple[Test, ...]) -> Iterator[Condition]:
    """Every condition in `tests`, however deep."""
    for test in tests:
        if isinstance(test, Condition):
            yield test
        else:
            for branch in test.branches:
                yield from leaves(branch)

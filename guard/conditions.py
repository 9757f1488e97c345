"""What a rule may ask in `when:`: a fixed list of facts, each compared with a set of values.

All the conditions of a rule must hold; one condition holds when any of its values is among the facts, and
under `not:` when none is. Nothing here can loop, call out or take long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Evidence(NamedTuple):
    """What is known about one reading of one request, as sets of lower-case words (methods in upper case).

    `path` holds the policy's patterns that this reading falls under, `network` its networks that hold the client.
    """

    agent: tuple[str, ...]
    operator: tuple[str, ...]
    purpose: tuple[str, ...]
    category: tuple[str, ...]
    identity: tuple[str, ...]
    route: tuple[str, ...]
    path: tuple[str, ...]
    method: tuple[str, ...]
    network: tuple[str, ...]


FACTS: tuple[str, ...] = Evidence._fields
_POSITION = {fact: position for position, fact in enumerate(FACTS)}


@dataclass(frozen=True, slots=True)
class Condition:
    """`fact` is one of FACTS; holds when a value is among the evidence (or, negated, when none is)."""

    fact: str
    values: frozenset[str]
    negated: bool = False

    def holds(self, evidence: Evidence) -> bool:
        found = evidence[_POSITION[self.fact]]
        return (not self.values.isdisjoint(found)) is not self.negated

    def explain(self, evidence: Evidence) -> str:
        """The comparison in words, for `guard explain`."""
        found = ", ".join(evidence[_POSITION[self.fact]]) or "nothing"
        wanted = ", ".join(sorted(self.values))
        one_of = "is none of" if self.negated else "is one of"
        return f"{self.fact} {one_of} [{wanted}]: found {found}"


def all_hold(conditions: tuple[Condition, ...], evidence: Evidence) -> bool:
    return all(condition.holds(evidence) for condition in conditions)

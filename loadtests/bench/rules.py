"""What the number of rules costs: one decision, and one request's whole way to it, with 10 to 10,000 rules.

The rules are of the kinds that large policies have: an agent on some routes, an artist's paths against a category,
an operator's name on a label's paths, a network. Every question is one that was never asked before, so that no memo
answers. Sizes take turns of a few milliseconds; figures are medians over the rounds, ratios within a round.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from guard.classify import Catalogue
from guard.engine import Guard
from guard.load import read_policy, shipped_catalogue
from guard.model import Identity, Request
from guard.policy import Policy, decide
from loadtests.bench.tables import Bar, Cells, Section

SIZES = (10, 100, 1_000, 10_000)
TURN = 200


class Cost(NamedTuple):
    """One size: seconds to load, then microseconds (medians) and their ratios to the smallest size."""

    rules: int
    load_s: float
    decide_us: float
    decide_ratio: float
    request_us: float
    request_ratio: float
    again_us: float
    unfiled_us: float


def write_policy(rules: int, catalogue: Catalogue, *, unfiled: bool = False) -> str:
    """A policy of that many rules, in the proportions said above. `unfiled`: all of a kind that no index helps."""
    agents = catalogue.agents
    lines = ["version: 1", "site: {name: Many rules}", "default: allow"]
    lines += ["routes: [{class: media, paths: [/media/**]}]", "rules:"]
    for number in range(rules):
        agent = agents[number % len(agents)]
        when = (
            f"{{path: '/artist/{number}/**', category: 'ai-*'}}",
            f"{{agent: '{agent.name}', route: media, path: '/media/{number}/**'}}",
            f"{{operator: '{agent.operator}', path: '/label/{number}/**'}}",
            f"{{network: 10.{number // 250 % 250}.{number % 250}.0/24}}",
        )[number % 4]
        if unfiled:
            when = "{not: {path: '/x', method: POST, route: api}, category: [unknown, ai-train, search]}"
        lines.append(f"  - {{name: rule {number}, when: {when}, then: block, reason: Because.}}")
    return "\n".join(lines) + "\n"


def _evidence(policy: Policy, catalogue: Catalogue, start: int) -> Iterator[Callable[[], object]]:
    agents = catalogue.agents
    for number in range(start, start + TURN):
        agent, path = agents[number * 7 % len(agents)], f"/artist/{number * 37 % 10_000}/{number}"
        evidence = policy.evidence(agent, Identity.UNVERIFIED, path, "GET", ())
        yield lambda evidence=evidence: decide(policy, evidence)  # type: ignore[misc]


def _requests(guard: Guard, catalogue: Catalogue, start: int) -> Iterator[Callable[[], object]]:
    known = [agent.samples[0].encode() for agent in catalogue.agents if agent.samples]
    for number in range(start, start + TURN):
        target = b"/artist/%d/%d" % (number * 37 % 10_000, number)
        request = Request("GET", target, known[number * 7 % len(known)], f"192.0.2.{number % 250}")
        yield lambda request=request: guard.decide(request)  # type: ignore[misc]


def _time(questions: Iterator[Callable[[], object]]) -> float:
    """Median microseconds of one question."""
    taken: list[int] = []
    clock = time.perf_counter_ns
    for question in list(questions):
        began = clock()
        question()
        taken.append(clock() - began)
    return median(taken) / 1e3


def measure(rounds: int, say: Callable[[str], None]) -> list[Cost]:
    """Every size in turns, `rounds` times ten."""
    catalogue = shipped_catalogue()
    policies: dict[int, Policy] = {}
    loads: dict[int, float] = {}
    guards: dict[int, Guard] = {}
    unfiled: dict[int, Guard] = {}
    for size in SIZES:
        text = write_policy(size, catalogue)
        began = time.perf_counter()
        policies[size] = read_policy(text)
        loads[size] = time.perf_counter() - began
        guards[size] = Guard(policies[size])
        unfiled[size] = Guard(read_policy(write_policy(size, catalogue, unfiled=True)))
    for user_agent in (agent.samples[0].encode() for agent in catalogue.agents if agent.samples):
        for guard in guards.values():  # who an agent is costs the same however many rules there are
            guard.name_agent(user_agent)
    decided: dict[int, list[float]] = {size: [] for size in SIZES}
    asked: dict[int, list[float]] = {size: [] for size in SIZES}
    again: dict[int, list[float]] = {size: [] for size in SIZES}
    slow: dict[int, list[float]] = {size: [] for size in SIZES}
    gc.collect()
    gc.freeze()
    for turn in range(rounds * 10):
        for at in range(len(SIZES)):
            size = SIZES[(at + turn) % len(SIZES)]
            start = turn * TURN
            decided[size].append(_time(_evidence(policies[size], catalogue, start)))
            asked[size].append(_time(_requests(guards[size], catalogue, start)))
            again[size].append(_time(_requests(guards[size], catalogue, start)))
            if turn < 10:
                slow[size].append(_time(_requests(unfiled[size], catalogue, start)))
    say(f"{rounds * 10} turns of {TURN} questions for each of {len(SIZES)} sizes")
    base = SIZES[0]

    def ratio(found: dict[int, list[float]], size: int) -> float:
        return median(mine / theirs for mine, theirs in zip(found[size], found[base], strict=True))

    return [
        Cost(
            size,
            loads[size],
            median(decided[size]),
            ratio(decided, size),
            median(asked[size]),
            ratio(asked, size),
            median(again[size]),
            median(slow[size]),
        )
        for size in SIZES
    ]


def explain_seconds(rounds: int) -> tuple[float, int]:
    """Wall seconds (the least of some runs) of `guard explain` on the largest policy, and how many agents it names."""
    catalogue = shipped_catalogue()
    with tempfile.TemporaryDirectory(prefix="guard-bench-") as folder:
        file = Path(folder) / "policy.yaml"
        file.write_text(write_policy(SIZES[-1], catalogue), "utf-8")
        command = [
            sys.executable,
            "-m",
            "guard",
            "explain",
            str(file),
            "--path",
            "/artist/8000/1",
            "--ua",
            "GPTBot/1.3",
        ]
        taken: list[float] = []
        for _ in range(max(3, rounds)):
            began = time.perf_counter()
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            taken.append(time.perf_counter() - began)
            assert "rule 8000" in said
    return min(taken), len(catalogue.agents)


def section(costs: list[Cost]) -> Section:
    head: Cells = ("rules", "", "decision us", "ratio", "request never seen us", "ratio", "seen before us")
    head += ("no index helps us", "load s")
    body: list[Cells] = [
        (
            f"{cost.rules:,}",
            "",
            f"{cost.decide_us:.1f}",
            f"{cost.decide_ratio:.2f}",
            f"{cost.request_us:.1f}",
            f"{cost.request_ratio:.2f}",
            f"{cost.again_us:.2f}",
            f"{cost.unfiled_us:,.1f}",
            f"{cost.load_s:.3f}",
        )
        for cost in costs
    ]
    return "Table 3. Rules: what their number costs, in process", head, body


def bars(costs: list[Cost], explained: tuple[float, int]) -> list[Bar]:
    most, least = costs[-1], costs[0]
    between = f"{most.rules:,} rules against {least.rules}"
    seconds, agents = explained
    return [
        Bar(f"one decision, {between}", "<= 2.00", f"{most.decide_ratio:.2f}", most.decide_ratio <= 2),
        Bar(f"one request never seen, {between}", "<= 2.00", f"{most.request_ratio:.2f}", most.request_ratio <= 2),
        Bar(
            f"guard explain, whole command, {most.rules:,} rules, {agents} agents",
            "< 1.00 s",
            f"{seconds:.2f} s",
            seconds < 1,
        ),
    ]

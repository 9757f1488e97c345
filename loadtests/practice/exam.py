"""The simulator and the marks, imported from where they lie; days made with them; days replayed through a policy.

Nothing of the simulator is copied. It lies in DIR/traffic/, and the real log in DIR/logs/ (`--shared DIR`).
"""

from __future__ import annotations

import gc
import gzip
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from guard.load import load_policy, shipped_policy
from guard.logs import Entry
from guard.logs.trace import read
from guard.policy import Policy
from guard.practice import at_site
from guard.replay import Outcome, Replay

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SHARED = ROOT.parent / "shared"

OURS = "no-ai"
QUIET = "no-ai --no-challenge"
YARDSTICKS = {
    "names only": "names-only.yaml",
    "60 requests a minute": "sixty-a-minute.yaml",
    "CrowdSec's crawl bucket": "crowdsec.yaml",
    "three times real time": "real-time.yaml",
}
"""What else one could do, each as a policy of ours."""

PERSON, MACHINE, SCRAPER = "human", "good_bot", "bot"


class PracticeError(Exception):
    """Something is missing, or is not what it should be; said in one line."""


@cache
def _module(path: Path) -> ModuleType:
    if not path.is_file():
        raise PracticeError(
            f"{path} is not there. The simulator is no part of this repository: "
            "name the folder that holds traffic/simulate.py and traffic/score.py with --shared DIR"
        )
    spec = spec_from_file_location(f"practice_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def simulator(shared: Path) -> ModuleType:
    """Raises PracticeError when it is not there."""
    return _module(shared.resolve() / "traffic" / "simulate.py")


def scorer(shared: Path) -> ModuleType:
    """Raises PracticeError when it is not there."""
    return _module(shared.resolve() / "traffic" / "score.py")


@dataclass(frozen=True)
class Day:
    """One day: its requests with labels, as the guard reads them, and what the owner of the site knows."""

    records: Sequence[Mapping[str, Any]]
    entries: Sequence[Entry]
    site: Mapping[str, Any]

    def keep(self, folder: Path, name: str) -> None:
        """Write it down, for `guard replay` by hand."""
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8", compresslevel=1) as file:
            file.writelines(json.dumps(record) + "\n" for record in self.records)
        (folder / f"{name}.site.json").write_text(json.dumps(self.site, indent=1), encoding="utf-8")


def make_day(
    shared: Path,
    seed: int,
    moved: Mapping[str, Any] | None = None,
    more: Callable[[ModuleType, Any], None] | None = None,
) -> Day:
    """A day of that seed. `moved` are parameters that differ from the plain day, `more` writes further clients."""
    simulate = simulator(shared)
    variant = "A"
    if moved:
        variant = "moved"
        simulate.VARIANTS[variant] = dict(moved)
    trace = simulate.build(variant, seed)
    if more is not None:
        more(simulate, trace)
    records = list(simulate.records(trace))
    entries = [read(json.dumps(record).encode(), number) for number, record in enumerate(records)]
    site = {
        "robots_txt": simulate.ROBOTS,
        "trap_prefix": simulate.TRAP,
        "host": simulate.HOST,
        "segment_s": trace.site.seg,
        "bytes_per_s": trace.site.rate,
        "networks": simulate.NETWORKS,
        "verified": simulate.VERIFIED,
        "first_id": trace.site.first,
        "last_id": trace.site.last,
        "tracks": len(trace.site.ids),
        "current": {"chrome": 157, "firefox": 160, "safari": "27.2"},
    }
    return Day(records, entries, site)


def read_policy(name: str) -> Policy:
    """One of ours, or a yardstick, by its name in the tables."""
    if name in YARDSTICKS:
        return load_policy(HERE / "yardsticks" / YARDSTICKS[name])
    return load_policy(shipped_policy(OURS))


def decide(day: Day, name: str) -> list[Outcome]:
    """What the policy would have done with each request of the day."""
    policy = at_site(read_policy(name), day.site, challenge=name != QUIET)
    if name == "names only":
        policy = replace(policy, detecting=None)  # its file has it look and do nothing: that only costs time
    replay = Replay(policy)
    gc.freeze()
    try:
        return [replay.feed(entry) for entry in day.entries]
    finally:
        gc.unfreeze()


@dataclass
class Marks:
    """What the scorer says of one day under one policy, and the requests that tell why."""

    policy: str
    summary: dict[str, Any]
    offences: list[dict[str, Any]] = field(default_factory=list)
    stops: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def overall(self) -> dict[str, Any]:
        return dict(self.summary["overall"])

    @property
    def bars_met(self) -> int:
        return sum(1 for bar in self.summary["bars"].values() if bar[0])

    def personas(self, truth: str) -> dict[str, dict[str, Any]]:
        found = self.summary["personas"].items()
        return {name: numbers for name, numbers in found if numbers["truth"] == truth}


def mark(shared: Path, day: Day, name: str, outcomes: Sequence[Outcome]) -> Marks:
    """Score the decisions.

    A limit that refuses is `throttle` in a replay. The scorer takes that for slowing down, though the client gets
    nothing. So it counts as a refusal for the yardsticks, and is left as it stands for ours.
    """
    score = scorer(shared)
    refusal = "throttle" if name in (OURS, QUIET) else "block"
    decisions: list[dict[str, Any]] = [
        {
            "i": entry.number,
            "action": {"throttle": refusal, "reject": "block"}.get(outcome.action, outcome.action),
            "reason": "+".join(signal.name for signal in outcome.signals if signal.points >= 6) or None,
        }
        for entry, outcome in zip(day.entries, outcomes, strict=True)
        if outcome.action not in ("allow", "serve")
    ]
    marks = Marks(name, score.summary(*score.mark(day.records, decisions)))
    actions = {decision["i"]: decision["action"] for decision in decisions}
    marks.offences = find_offences(score, day.records, outcomes, actions)
    marks.stops = find_stops(score, day.records, outcomes, actions)
    return marks


def _harms(score: ModuleType, record: Mapping[str, Any], action: str) -> bool:
    """As the scorer has it: a refusal, or a challenge to who cannot take one."""
    if action in score.HARD:
        return True
    person = record["truth"] != SCRAPER
    return action in score.CHALLENGE and (not record["can_js"] or (person and not score.DOC.match(record["path"])))


def find_offences(
    score: ModuleType,
    records: Iterable[Mapping[str, Any]],
    outcomes: Iterable[Outcome],
    actions: Mapping[int, str],
) -> list[dict[str, Any]]:
    """The first request of each sitting of a person or an honest machine that was refused or slowed down."""
    found: dict[tuple[str, bool], dict[str, Any]] = {}
    for record, outcome in zip(records, outcomes, strict=True):
        action = actions.get(record["i"], "allow")
        if record["truth"] not in (PERSON, MACHINE) or action not in score.HARD | score.SOFT:
            continue
        harmed = _harms(score, record, action)
        key = (record["session_label"], harmed)
        if key in found:
            found[key]["requests"] += 1
        else:
            found[key] = {**as_evidence(record, outcome), "harmed": harmed, "requests": 1}
    return list(found.values())


def find_stops(
    score: ModuleType,
    records: Iterable[Mapping[str, Any]],
    outcomes: Iterable[Outcome],
    actions: Mapping[int, str],
) -> dict[str, dict[str, Any]]:
    """For each scraper persona its first request that was stopped."""
    found: dict[str, dict[str, Any]] = {}
    for record, outcome in zip(records, outcomes, strict=True):
        if record["truth"] != SCRAPER or record["persona"] in found or record["path"] == "/robots.txt":
            continue
        if _harms(score, record, actions.get(record["i"], "allow")):
            found[record["persona"]] = as_evidence(record, outcome)
    return found


def as_evidence(record: Mapping[str, Any], outcome: Outcome) -> dict[str, Any]:
    """What there is to see of one request and its decision."""
    agents = [value for name, value in record["headers"] if name.lower() == "user-agent"]
    return {
        "persona": record["persona"],
        "session": record["session_label"],
        "i": record["i"],
        "t": record["t"],
        "ip": record["ip"],
        "request": f"{record['method']} {record['path']}",
        "user_agent": agents[0] if agents else "",
        "action": outcome.action,
        "rule": outcome.rule,
        "signals": {signal.name: round(signal.points, 1) for signal in outcome.signals},
    }

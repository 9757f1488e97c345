"""`log`: a real access log under our policy. Whoever would be refused and is no declared crawler is listed, and argued.

The arguments stand in log_arguments.yaml, written by somebody who looked at the lines of each. A client that nobody has
argued makes the command fail: whoever tunes detection has to look again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import yaml

from guard.load import shipped_catalogue
from guard.logs import Entry, NoRequest, detect, find_reader
from guard.logs.source import Source
from guard.model import Agent
from guard.replay import OF_THE_GUARD, REFUSALS, Outcome, Replay
from loadtests.practice.exam import HERE, OURS, PracticeError, read_policy
from loadtests.practice.showing import Cells, Section

ARGUMENTS = HERE / "log_arguments.yaml"
CRAWLERS = ("ai-*", "search", "seo", "archive", "ads", "security", "monitoring")
"""Categories of agents that say they go through a site."""

VERDICTS = ("right", "wrong", "harmless")
NOT_ARGUED = "not argued"
SAMPLE_LINES = 300


@dataclass
class Visitor:
    """One neighbourhood under one agent's name."""

    client: str
    agent: Agent
    user_agent: str = ""
    requests: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    signals: dict[str, float] = field(default_factory=dict)
    first: str = ""

    @property
    def crawler(self) -> bool:
        return any(fnmatchcase(self.agent.category, glob) for glob in CRAWLERS)

    def note(self, entry: Entry, outcome: Outcome) -> None:
        self.requests += 1
        if outcome.action not in REFUSALS and outcome.action != "challenge":
            return
        if not self.refused:
            self.user_agent = (entry.user_agent or b"").decode("utf-8", "backslashreplace")
            query = b"?" + entry.query if entry.query else b""
            self.first = f"{entry.method} {(entry.target + query).decode('utf-8', 'backslashreplace')}"
        rule = outcome.rule or OF_THE_GUARD.get(outcome.action, "")
        self.refused[f"{outcome.action}: {rule}"] += 1
        for signal in outcome.signals:
            self.signals[signal.name] = max(self.signals.get(signal.name, 0.0), signal.points)


@dataclass(frozen=True)
class Argument:
    verdict: str
    why: str


@dataclass
class Read:
    """What came of all logs."""

    files: list[str]
    requests: int
    unreadable: int
    actions: Counter[str]
    visitors: list[Visitor]
    arguments: dict[tuple[str, str], Argument]

    def argument(self, visitor: Visitor) -> Argument | None:
        return self.arguments.get((visitor.client, visitor.agent.name))

    def refused(self, crawlers: bool) -> list[Visitor]:
        """Those refused anything, the most refused first."""
        rows = [one for one in self.visitors if one.refused and one.crawler is crawlers]
        return sorted(rows, key=lambda one: (-one.refused.total(), one.client))

    @property
    def argued(self) -> bool:
        return all(self.argument(one) for one in self.refused(crawlers=False))


def neighbourhood(text: str | None) -> str:
    """A /24, of IPv6 a /48."""
    try:
        address = ip_address(text or "")
    except ValueError:
        return "unknown"
    return str(ip_network((address, 24 if address.version == 4 else 48), strict=False))


def read_arguments(path: Path = ARGUMENTS) -> dict[tuple[str, str], Argument]:
    """Raises PracticeError when the file cannot be understood."""
    found: dict[tuple[str, str], Argument] = {}
    for row in yaml.safe_load(path.read_text(encoding="utf-8")) or ():
        try:
            key, argument = (str(row["client"]), str(row["agent"])), Argument(row["verdict"], row["why"])
        except (KeyError, TypeError):
            raise PracticeError(f"{path.name}: a row needs client, agent, verdict and why: {row}") from None
        if argument.verdict not in VERDICTS or key in found:
            raise PracticeError(f"{path.name}: {key[0]} {key[1]}: a verdict is one of {', '.join(VERDICTS)}, once")
        found[key] = argument
    return found


def run(folder: Path) -> Read:
    """Replay every log of the folder, in the order of their names."""
    files = sorted(path for path in folder.glob("*") if path.is_file()) if folder.is_dir() else []
    if not files:
        raise PracticeError(
            f"{folder} holds no log. The log is no part of this repository: "
            "name the folder that holds logs/ with --shared DIR"
        )
    replay, catalogue = Replay(read_policy(OURS)), shipped_catalogue()
    visitors: dict[tuple[str, str], Visitor] = {}
    actions: Counter[str] = Counter()
    read = Read([path.name for path in files], 0, 0, actions, [], read_arguments())
    for path in files:
        for entry in _entries(path, read):
            outcome = replay.feed(entry)
            actions[outcome.action] += 1
            agent = catalogue.find(entry.user_agent or b"")
            key = (neighbourhood(entry.ip), agent.name)
            if key not in visitors:
                visitors[key] = Visitor(key[0], agent)
            visitors[key].note(entry, outcome)
    read.requests = actions.total()
    read.visitors = list(visitors.values())
    return read


def _entries(path: Path, read: Read) -> Iterator[Entry]:
    source = Source(str(path))
    try:
        lines = [line for line in source.lines() if line is not None]
    finally:
        source.close()
    form = detect(lines[:SAMPLE_LINES])
    if form is None:
        raise PracticeError(f"{path}: no known format of a log")
    reader = find_reader(form)
    for number, line in enumerate(lines):
        try:
            yield reader(line, number)
        except NoRequest:
            continue
        except ValueError:
            read.unreadable += 1


# -- telling -----------------------------------------------------------------------------------------------


def sections(read: Read) -> list[Section]:
    shown = [
        Section(
            f"What would have been decided, {OURS}",
            ("decided", "requests", "%"),
            [
                (name, f"{number:,}", f"{100 * number / read.requests:.2f}")
                for name, number in read.actions.most_common()
            ],
            notes=(
                f"{', '.join(read.files)}: {read.requests:,} requests, unreadable lines: {read.unreadable}.",
                "A log in the combined format tells of two headers only. Names are not checked: nobody looks anything "
                "up in a replay, so every crawler's identity is unknown.",
            ),
        )
    ]
    head = ("client", "agent", "User-Agent", "requests", "refused", "by", "verdict", "why")
    for crawlers, title in ((False, "Refused, and no declared crawler"), (True, "Refused declared crawlers")):
        if rows := [_row(read, one) for one in read.refused(crawlers)]:
            shown.append(Section(title, head, rows))
    return shown


def _row(read: Read, one: Visitor) -> Cells:
    argument = read.argument(one)
    signals = ", ".join(f"{name} {points:.0f}" for name, points in sorted(one.signals.items(), key=lambda x: -x[1]))
    rules = ", ".join(one.refused)
    return (
        one.client,
        f"{one.agent.name} ({one.agent.category})",
        one.user_agent[:100] or "(none)",
        str(one.requests),
        str(one.refused.total()),
        f"{rules} [{signals}]" if signals else rules,
        argument.verdict if argument else "" if one.crawler else NOT_ARGUED,
        argument.why if argument else f"first: {one.first[:80]}",
    )


def as_data(read: Read) -> dict[str, Any]:
    def row(one: Visitor) -> dict[str, Any]:
        argument = read.argument(one)
        return {
            "client": one.client,
            "agent": one.agent.name,
            "category": one.agent.category,
            "user_agent": one.user_agent,
            "requests": one.requests,
            "refused": one.refused.total(),
            "rules": dict(one.refused),
            "signals": one.signals,
            "first": one.first,
            "verdict": argument.verdict if argument else None,
            "why": argument.why if argument else None,
        }

    return {
        "files": read.files,
        "requests": read.requests,
        "unreadable": read.unreadable,
        "actions": dict(read.actions),
        "refused": [row(one) for one in read.refused(crawlers=False)],
        "refused_crawlers": [row(one) for one in read.refused(crawlers=True)],
    }


def unused(read: Read) -> Sequence[str]:
    """Arguments about somebody who is not refused: perhaps no longer."""
    known = {(one.client, one.agent.name) for one in read.visitors if one.refused}
    return [f"{client} {agent}" for client, agent in read.arguments if (client, agent) not in known]

"""`guard diff`: what changes from one policy to another, for whom and where, before it is put to work."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from guard.classify import Catalogue
from guard.cli.policies import open_console, print_json, print_problems, read_policy_or_problems
from guard.compare import LISTENERS, Change, Changes, Outcome, Shift, compare, summarise
from guard.load import catalogue_of
from guard.model import Agent

MAX_ROWS = 60
MAX_LINES = 200
MAX_NAMES = 6


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n"
        "  guard diff no-ai policy.yaml\n"
        "  guard diff old.yaml new.yaml --no-robots --exit-code && echo nothing changes\n\n"
        "exit codes: 0 compared, 1 something changes (with --exit-code only), 2 a policy has problems, or wrong usage"
    )
    parser.add_argument("old", metavar="OLD", help="a policy file, or the name of a shipped one")
    parser.add_argument("new", metavar="NEW", help="the one that shall take its place")
    parser.add_argument("--no-robots", action="store_true", help="leave out what changes in robots.txt")
    parser.add_argument("--exit-code", action="store_true", help="1 when anything changes, like git diff")
    parser.add_argument("--json", action="store_true", help="as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    old, problems = read_policy_or_problems(arguments.old)
    new, more = read_policy_or_problems(arguments.new)
    if old is None or new is None:
        print_problems(tuple(dict.fromkeys((*problems, *more))), as_json=arguments.json)
        return 2
    catalogue = catalogue_of(new)
    changes = compare(old, new, catalogue, time.time(), robots=not arguments.no_robots)
    if arguments.json:
        print_json({"ok": True, "summary": summarise(changes), "changes": not changes.empty, **_as_values(changes)})
    else:
        _print(changes, catalogue)
    return 1 if arguments.exit_code and not changes.empty else 0


# -- for machines ------------------------------------------------------------------------------------------


def _as_values(changes: Changes) -> dict[str, Any]:
    def words(listed: Iterable[Change]) -> list[dict[str, str]]:
        return [change._asdict() for change in listed]

    return {
        "hosts": list(changes.hosts),
        "settings": words(changes.settings),
        "routes": words(changes.routes),
        "limits": words(changes.limits),
        "rules": words(changes.rules),
        "decisions": [
            {
                "route": shift.route,
                "kind": shift.kind,
                "agents": [agent.name for agent in shift.agents],
                "categories": dict(Counter(agent.category for agent in shift.agents)),
                "before": shift.before._asdict(),
                "after": shift.after._asdict(),
                "paths": list(shift.paths),
                "everywhere": shift.everywhere,
                "when": shift.when,
            }
            for shift in changes.shifts
        ],
        "robots": list(changes.robots),
        "scopes": [_as_values(scope) for scope in changes.scopes],
    }


# -- for people --------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """Shifts of the same agents from the same to the same, on several route classes."""

    agents: tuple[Agent, ...]
    before: str
    after: str
    routes: tuple[str, ...]
    rules: tuple[str, ...]
    when: tuple[str, ...]


def rows(shifts: Iterable[Shift]) -> list[Row]:
    """What changes in action or limit, the stricter and the larger crowds first."""
    grouped: dict[tuple[tuple[Agent, ...], str, str, bool], list[Shift]] = {}
    for shift in shifts:
        if shift.kind != "rule":
            key = (shift.agents, _does(shift.before), _does(shift.after), bool(shift.when))
            grouped.setdefault(key, []).append(shift)
    ordered = sorted(
        grouped.items(), key=lambda item: (item[1][0].kind != "action", not item[1][0].stricter, -len(item[0][0]))
    )
    return [
        Row(
            agents,
            before,
            after,
            tuple(dict.fromkeys(_where(shift) for shift in held)),
            tuple(dict.fromkeys(f"{shift.before.rule} -> {shift.after.rule}" for shift in held)),
            tuple(dict.fromkeys(shift.when for shift in held if shift.when)),
        )
        for (agents, before, after, _), held in ordered
    ]


def _does(outcome: Outcome) -> str:
    return f"{outcome.action} ({outcome.limit})" if outcome.limit else outcome.action


def _where(shift: Shift) -> str:
    """The route class, and examples where it is not the whole of it."""
    if shift.everywhere:
        return shift.route
    more = f" and {len(shift.paths) - 2} more" if len(shift.paths) > 2 else ""
    return f"{shift.route} in part: {', '.join(shift.paths[:2])}{more}"


def _who(agents: tuple[Agent, ...], sizes: Counter[str]) -> str:
    """`all 43 ai-train, 5 search: bingbot, …`; one agent by name."""
    agents = tuple(sorted(agents, key=lambda agent: agent.category not in LISTENERS))
    counts = Counter(agent.category for agent in agents)
    said = [
        f"{'all ' if number == sizes[category] and number > 1 else ''}{number} {category}"
        for category, number in counts.items()
    ]
    names = ", ".join(agent.name for agent in agents[:MAX_NAMES]) + (", …" if len(agents) > MAX_NAMES else "")
    mark = "LISTENERS " if any(category in LISTENERS for category in counts) else ""
    return f"{mark}{', '.join(said)}: {names}"


def _print(changes: Changes, catalogue: Catalogue) -> None:
    console = open_console(highlight=False)
    sizes = Counter(agent.category for agent in catalogue.agents)
    console.print(summarise(changes), style="bold", markup=False)
    _print_one(console, changes, sizes)
    for scope in changes.scopes:
        rest = _beside(changes, scope)
        said = "nothing changes" if scope.empty else ("the same" if rest.empty else "")
        said = said or ("beside that" if rest != scope else "")
        console.print(f"\nhosts {', '.join(scope.hosts)}{': ' if said else ''}{said}", style="bold", markup=False)
        _print_one(console, rest, sizes)


def _beside(base: Changes, scope: Changes) -> Changes:
    """What a scope has beside the changes of its file; all of it, where some of those do not hold there."""
    parts = [
        (base.settings, scope.settings),
        (base.routes, scope.routes),
        (base.limits, scope.limits),
        (base.rules, scope.rules),
    ]
    if not set(base.shifts) <= set(scope.shifts) or not all(set(part) <= set(own) for part, own in parts):
        return scope
    settings, routes, limits, rules = (
        tuple(change for change in own if change not in set(part)) for part, own in parts
    )
    shifts = tuple(shift for shift in scope.shifts if shift not in set(base.shifts))
    robots = () if scope.robots == base.robots else scope.robots
    return Changes(scope.hosts, settings, routes, limits, rules, shifts, robots)


def _print_one(console: Any, changes: Changes, sizes: Counter[str]) -> None:
    from rich.text import Text

    lines = [
        (_who(row.agents, sizes), "\n".join((*row.routes, *row.when)), row.before, row.after, "\n".join(row.rules))
        for row in rows(changes.shifts)
    ]
    _print_table(console, "decisions", ("who", "where", "before", "after", "by rule"), lines)
    if others := sum(shift.kind == "rule" for shift in changes.shifts):
        console.print(f"(by another rule, to the same end: {others} more, see --json)", markup=False)
    for title, listed in (
        ("settings", changes.settings),
        ("limits", changes.limits),
        ("rules", changes.rules),
        ("classes of paths", changes.routes),
    ):
        _print_table(
            console, title, ("what", "before", "after"), [tuple(text or "-" for text in one) for one in listed]
        )
    for line in changes.robots[:MAX_LINES]:
        style = {"+": "green", "-": "red"}.get(line[:1], "")
        console.print(Text(line, style=style), soft_wrap=True)
    if len(changes.robots) > MAX_LINES:
        console.print(f"(and {len(changes.robots) - MAX_LINES} more lines, see --json)", markup=False)


def _print_table(console: Any, title: str, headings: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> None:
    from rich.table import Table
    from rich.text import Text

    if not lines:
        return
    table = Table(title=title, title_justify="left", expand=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for line in lines[:MAX_ROWS]:
        table.add_row(*map(Text, line))
    console.print(table)
    if len(lines) > MAX_ROWS:
        console.print(f"(and {len(lines) - MAX_ROWS} more, see --json)", markup=False)

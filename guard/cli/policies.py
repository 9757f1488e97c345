"""`guard policies`, and how every command reads a policy: by path, or by the name of one that ships.

Problems are printed, not raised.
"""

from __future__ import annotations

import argparse
import json
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from guard.documents import Scalar
from guard.errors import CatalogueError, PolicyError, Problem
from guard.load import load_policy, shipped_policy
from guard.nodes import NodeReader, guess
from guard.policy import Policy
from guard.sources import shipped_folder

SHELVES = {"policies": "", "presets": "routes", "snippets": "snippets"}
"""What ships, and the folder within that of the policies."""

_USES = {"presets": "preset", "snippets": "include"}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n"
        "  guard policies\n"
        "  guard policies no-ai > policy.yaml\n\n"
        "exit codes: 0 listed or printed, 2 nothing of that name ships"
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="print this one; without it, list them all")
    parser.add_argument("--json", action="store_true", help="as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    if arguments.name is not None:
        return _print_one(arguments.name, as_json=arguments.json)
    listed = {shelf: {name: _remarks(_on_shelf(shelf, name)) for name in shipped_names(shelf)} for shelf in SHELVES}
    if arguments.json:
        rows = {
            shelf: [{"name": name, "for": " ".join(lines)} for name, lines in named.items()]
            for shelf, named in listed.items()
        }
        print_json({"ok": True, **rows})
        return 0
    titles = {
        "policies": "policies (guard policies NAME > policy.yaml, or as they are: guard check NAME)",
        "presets": "presets of routes (routes: [{preset: NAME}])",
        "snippets": "snippets (include: [NAME])",
    }
    for shelf, named in listed.items():
        sys.stdout.write(f"{titles[shelf]}\n")
        for name, lines in named.items():
            sys.stdout.write(f"\n  {name}\n" + "".join(f"    {line}\n" for line in lines))
        sys.stdout.write("\n")
    return 0


def _print_one(name: str, *, as_json: bool) -> int:
    for shelf in SHELVES:
        if name in shipped_names(shelf):
            text = _on_shelf(shelf, name).read_text(encoding="utf-8")
            if as_json:
                print_json({"ok": True, "name": name, "kind": shelf, "text": text})
            else:
                print_file(text)
            return 0
    known = [one for shelf in SHELVES for one in shipped_names(shelf)]
    return wrong_usage("policies", f"nothing ships by the name '{name}'{guess(name, known)}", as_json=as_json)


def shipped_names(shelf: str) -> list[str]:
    """The names of what ships on a shelf, in order."""
    return sorted(path.stem for path in (shipped_folder() / SHELVES[shelf]).glob("*.yaml"))


def _on_shelf(shelf: str, name: str) -> Path:
    return shipped_folder() / SHELVES[shelf] / f"{name}.yaml"


def _remarks(path: Path) -> list[str]:
    """The comment in which a file says whom it is for."""
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return lines


# -- reading -----------------------------------------------------------------------------------------------


def find_policy(name: str) -> Path:
    """A file as named, else a shipped policy of that name (`observe`, `no-ai`).

    Raises PolicyError when it is neither; a path that is not there is left to who opens it.
    """
    path = Path(name)
    if path.exists() or "/" in name or name.endswith((".yaml", ".yml")):
        return path
    try:
        return shipped_policy(name)
    except FileNotFoundError:
        raise PolicyError((Problem(name or "POLICY", 0, _no_such(name)),)) from None


def _no_such(name: str) -> str:
    said = "no such file, and no shipped policy of that name"
    ways = [f"`{_USES[shelf]}: {_written(shelf, name)}`" for shelf in _USES if name in shipped_names(shelf)]
    if ways:
        what = " and ".join(_USES_IN_WORDS[shelf] for shelf in _USES if name in shipped_names(shelf))
        return f"{said}; it is {what}: write {' or '.join(ways)} in a policy"
    known = shipped_names("policies")
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    meant = f"; did you mean '{near[0]}'?" if near else ""
    return f"{said}{meant} (shipped: {', '.join(known)})"


_USES_IN_WORDS = {"presets": "a preset of routes", "snippets": "a snippet"}


def _written(shelf: str, name: str) -> str:
    return f"[{name}]" if shelf == "snippets" else name


def read_policy_or_problems(name: str) -> tuple[Policy | None, tuple[Problem, ...]]:
    """The policy, or None and why there is none."""
    try:
        return load_policy(find_policy(name)), ()
    except (PolicyError, CatalogueError) as error:
        return None, error.problems
    except OSError as error:
        return None, (Problem(name, 0, f"cannot be read: {error.strerror}"),)


def read_or_complain(name: str, *, as_json: bool = False) -> Policy | None:
    """The policy, or None after every problem was printed (to stdout as JSON, else to stderr)."""
    policy, problems = read_policy_or_problems(name)
    if policy is None:
        print_problems(problems, as_json=as_json)
    return policy


# -- telling -----------------------------------------------------------------------------------------------


def print_problems(problems: tuple[Problem, ...], *, as_json: bool) -> None:
    if as_json:
        print_json({"ok": False, "problems": [as_row(one) for one in problems]})
    else:
        sys.stderr.write("".join(f"{problem}\n" for problem in problems))


def as_row(problem: Problem) -> dict[str, Any]:
    """A problem as --json shows it."""
    return {"file": problem.file, "line": problem.line, "level": problem.level, "message": problem.message}


def wrong_usage(command: str, message: str, *, as_json: bool) -> int:
    """One line on stderr, with --json also an object on stdout. Gives the exit code."""
    sys.stderr.write(f"guard {command}: {message}\n")
    if as_json:
        print_json({"ok": False, "problems": [{"message": message}]})
    return 2


def print_json(value: dict[str, Any]) -> None:
    """One object on one line, in ASCII: it reads the same whatever the terminal's encoding is."""
    sys.stdout.write(json.dumps(value) + "\n")


def print_file(text: str) -> None:
    """What may become a file: UTF-8, whatever the terminal's encoding is."""
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None:
        sys.stdout.write(text)
    else:
        sys.stdout.flush()
        binary.write(text.encode("utf-8", "surrogateescape"))
        binary.flush()


def counted(number: int, one: str, many: str = "") -> str:
    """`1 limit`, `2 limits`."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def count_rules(policy: Policy) -> int:
    """Rules, rows and steps of ladders, of all hosts; what hosts share counts once."""
    shared: dict[object, None] = {}
    for one in (policy, *policy.scopes):
        rungs = (rung.rule for ladder in one.ladder for rung in ladder.rungs)
        shared |= dict.fromkeys((*one.rules, *rungs, *one.rows))
    return len(shared)


def open_console(**options: Any) -> Any:
    """A rich console that says when its reader has gone away, as any other output does."""
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Output(**options)


def read_moment(text: str | None) -> float | None:
    """Seconds since 1970 of a date as policies write it, None for none. Raises ValueError in words."""
    if text is None:
        return None
    reader = NodeReader("")
    moment = reader.moment(Scalar(text, 0), "")
    if moment is None:
        raise ValueError(reader.problems[0].message)
    return moment

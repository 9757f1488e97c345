"""How every command reads a policy: by path, or by the name of one that ships; problems are printed, not raised."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from guard.errors import CatalogueError, PolicyError, Problem
from guard.load import load_policy, shipped_policy
from guard.policy import Policy


def find_policy(name: str) -> Path:
    """A file as named, else a shipped policy of that name (`observe`, `no-ai`)."""
    path = Path(name)
    if not path.exists() and "/" not in name and not name.endswith((".yaml", ".yml")):
        try:
            return shipped_policy(name)
        except FileNotFoundError:
            return path
    return path


def read_or_complain(name: str, *, as_json: bool = False) -> Policy | None:
    """The policy, or None after every problem was printed (to stdout as JSON, else to stderr)."""
    problems: tuple[Problem, ...]
    try:
        return load_policy(find_policy(name))
    except (PolicyError, CatalogueError) as error:
        problems = error.problems
    except OSError as error:
        problems = (Problem(name, 0, f"cannot be read: {error.strerror}"),)
    print_problems(problems, as_json=as_json)
    return None


def print_problems(problems: tuple[Problem, ...], *, as_json: bool) -> None:
    if as_json:
        rows = [{"file": one.file, "line": one.line, "message": one.message} for one in problems]
        sys.stdout.write(json.dumps({"ok": False, "problems": rows}) + "\n")
    else:
        sys.stderr.write("".join(f"{problem}\n" for problem in problems))

"""`guard check`: every problem of every policy, what is hardly meant, and whether its examples come out as they say."""

from __future__ import annotations

import argparse
import sys
import time

from guard.agreement import examine_rights
from guard.cli.policies import as_row, count_rules, counted, find_policy, print_json
from guard.engine import Guard
from guard.errors import CatalogueError, GuardError, PolicyError, Problem
from guard.examples import try_examples
from guard.lint import lint
from guard.listeners import check_blocks
from guard.load import catalogue_of, load_policy
from guard.policy import Policy


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n  guard check policy.yaml\n  guard check --strict policy.yaml\n"
        "  guard check --json policies/*.yaml\n  guard check no-ai\n\n"
        "An error means that the guard will not use the file; a warning, that it hardly does what was meant.\n\n"
        "exit codes: 0 no error, 1 errors were found (with --strict: or warnings), 2 wrong usage"
    )
    parser.add_argument("policies", nargs="+", metavar="FILE", help="policy files, or names of shipped policies")
    parser.add_argument("--strict", action="store_true", help="exit 1 on warnings, too")
    parser.add_argument("--json", action="store_true", help="problems as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    problems: list[Problem] = []
    lines: list[str] = []
    for name in arguments.policies:
        found, policy = examine(name, time.time())
        problems += found
        if policy is not None and not any(one.level == "error" for one in found):
            lines.append(f"{name}: {_verdict(len(found))} ({_describe(policy)})")
    problems = list(dict.fromkeys(problems))  # several files may include one
    good = not problems if arguments.strict else not any(one.level == "error" for one in problems)
    if arguments.json:
        print_json({"ok": good, "problems": [as_row(one) for one in problems]})
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stderr.write("".join(f"{say(problem)}\n" for problem in problems))
    return 0 if good else 1


def examine(name: str, now_s: float) -> tuple[list[Problem], Policy | None]:
    """Everything there is to say of one policy, and the policy, None when it cannot be used. `now_s`: since 1970."""
    try:
        policy = load_policy(find_policy(name))
    except (PolicyError, CatalogueError) as error:
        return list(error.problems), None
    except OSError as error:
        return [Problem(name, 0, f"cannot be read: {error.strerror}")], None
    catalogue = catalogue_of(policy)
    found = [*policy.warnings, *lint(policy, catalogue, now_s)]
    for one in (policy, *policy.scopes):
        found += check_blocks(one, catalogue, now_s)
        try:
            guard = Guard(one, clock=lambda: now_s)
            found += examine_rights(guard.declaration)
            found += guard.wrong
        except GuardError as error:  # a register with problems of its own
            problems = getattr(error, "problems", ())
            return [*found, *(problems or [Problem(one.file, 0, f"rights: {error}")])], policy
    found += [trial.problem for trial in try_examples(policy, now_s=now_s) if trial.fault]
    found.sort(key=lambda one: (one.file != policy.file, one.file, one.line))
    return list(dict.fromkeys(found)), policy


def say(problem: Problem) -> str:
    """`FILE:LINE: level: message`, as editors and compilers write it."""
    place = f"{problem.file}:{problem.line}" if problem.line else problem.file
    return f"{place}: {problem.level}: {problem.message}"


def _verdict(warnings: int) -> str:
    return f"usable, {counted(warnings, 'warning')}" if warnings else "fine"


def _describe(policy: Policy) -> str:
    return (
        f"{counted(count_rules(policy), 'rule')}, {counted(len(policy.limits), 'limit')}, "
        f"{counted(len(policy.examples), 'example')}, "
        f"mode {policy.mode.value}, version {policy.version}"
    )

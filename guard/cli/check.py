"""`guard check`: every problem of every policy, and whether its examples come out as they say."""

from __future__ import annotations

import argparse
import json
import sys

from guard.cli.policies import find_policy
from guard.engine import Guard
from guard.errors import CatalogueError, PolicyError, Problem
from guard.load import load_policy
from guard.model import Request
from guard.policy import Policy


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n  guard check policy.yaml\n  guard check --json policies/*.yaml\n  guard check no-ai\n\n"
        "exit codes: 0 all fine, 1 problems were found, 2 wrong usage"
    )
    parser.add_argument("policies", nargs="+", metavar="FILE", help="policy files, or names of shipped policies")
    parser.add_argument("--json", action="store_true", help="problems as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    problems: list[Problem] = []
    lines: list[str] = []
    for name in arguments.policies:
        try:
            policy = load_policy(find_policy(name))
        except (PolicyError, CatalogueError) as error:
            problems += error.problems
        except OSError as error:
            problems.append(Problem(name, 0, f"cannot be read: {error.strerror}"))
        else:
            found = try_examples(policy)
            problems += found
            if not found:
                lines.append(
                    f"{name}: fine ({len(policy.rules)} rules, {len(policy.limits)} limits, "
                    f"{len(policy.examples)} examples, mode {policy.mode.value}, version {policy.version})"
                )
    if arguments.json:
        rows = [{"file": one.file, "line": one.line, "message": one.message} for one in problems]
        sys.stdout.write(json.dumps({"ok": not problems, "problems": rows}) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return 1 if problems else 0


def try_examples(policy: Policy) -> list[Problem]:
    """The examples that are decided otherwise than their author expects."""
    guard = Guard(policy)
    problems: list[Problem] = []
    for example in policy.examples:
        target = example.path.partition("?")[0].encode("utf-8")
        _, decision = guard.consider(Request(example.method, target, example.user_agent.encode("utf-8"), example.ip))
        if decision.action != example.expect:
            message = f"expected {example.expect}, decided {decision.action} (rule '{decision.rule}')"
        elif example.rule and decision.rule != example.rule:
            message = f"expected rule '{example.rule}', decided by rule '{decision.rule}'"
        else:
            continue
        problems.append(Problem(policy.file, example.line, f"example '{example.name}': {message}"))
    return problems

"""`guard test`: a policy's own examples, and whether each rule has one."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from guard.cli.policies import (
    as_row,
    count_rules,
    counted,
    print_json,
    print_problems,
    read_moment,
    read_policy_or_problems,
    wrong_usage,
)
from guard.examples import Trial, try_examples, uncovered


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n"
        "  guard test policy.yaml\n"
        "  guard test --strict policies/*.yaml\n"
        "  guard test policy.yaml --at 2027-01-01 --json\n\n"
        "exit codes: 0 every example came out as expected, 1 one did not (with --strict: or a rule has none),\n"
        "            2 wrong usage"
    )
    add = parser.add_argument
    add("policies", nargs="+", metavar="POLICY", help="policy files, or names of shipped ones")
    add("--strict", action="store_true", help="fail when a rule has no example")
    add("--at", metavar="DATE", help="the moment for examples that name none (default: now)")
    add("--json", action="store_true", help="as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    try:
        now_s = read_moment(arguments.at)
    except ValueError as error:
        return wrong_usage("test", str(error), as_json=arguments.json)
    good = True
    rows: list[dict[str, Any]] = []
    for name in arguments.policies:
        policy, problems = read_policy_or_problems(name)
        if policy is None:
            good = False
            rows.append({"policy": name, "ok": False, "loads": False, "problems": [as_row(one) for one in problems]})
            if not arguments.json:
                print_problems(problems, as_json=False)
            continue
        trials = try_examples(policy, now_s=now_s)
        left = uncovered(policy, trials)
        failed = [trial for trial in trials if trial.fault]
        good = good and not failed and not (arguments.strict and left) and (bool(trials) or not arguments.strict)
        row = {
            "policy": name,
            "ok": not failed,
            "loads": True,
            "examples": [_describe(trial) for trial in trials],
            "rules": count_rules(policy),
            "uncovered": [{"rule": rule.name, "file": rule.file, "line": rule.line} for rule in left],
        }
        rows.append(row)
        if not arguments.json:
            _print(name, trials, row)
    if arguments.json:
        print_json({"ok": good, "policies": rows})
    return 0 if good else 1


def _describe(trial: Trial) -> dict[str, Any]:
    example, decision = trial.example, trial.decision
    return {
        "name": example.name,
        "line": example.line,
        "ok": not trial.fault,
        "expected": example.expect,
        "action": decision.action,
        "rule": decision.rule,
        "agent": decision.agent.name,
        "route": decision.route_class,
        "fault": trial.fault,
    }


def _print(name: str, trials: tuple[Trial, ...], row: dict[str, Any]) -> None:
    for trial in trials:
        if trial.fault:
            sys.stdout.write(f"FAILED  {trial.problem}\n")
    for rule in row["uncovered"]:
        sys.stdout.write(f"no example  {rule['file']}:{rule['line']}: rule '{rule['rule']}'\n")
    passed = sum(not trial.fault for trial in trials)
    covered = row["rules"] - len(row["uncovered"])
    sys.stdout.write(f"{name}: {passed} of {counted(len(trials), 'example')} as expected, ")
    sys.stdout.write(f"{covered} of {counted(row['rules'], 'rule')} {'has' if covered == 1 else 'have'} one\n")

"""`guard render`: what a policy publishes, as it would be served."""

from __future__ import annotations

import argparse
import sys
import time

from guard.cli.policies import print_file, print_json, read_moment, read_or_complain, wrong_usage
from guard.directives import FILES, render_file, render_headers
from guard.engine import Guard
from guard.load import shipped_catalogue

_NAMES = {path.rsplit("/", 1)[-1]: path for path in FILES}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n"
        "  guard render no-ai robots.txt\n"
        "  guard render policy.yaml headers --path /media/4711.mp3 --json\n\n"
        "exit codes: 0 rendered, 1 the policy has problems, 2 wrong usage"
    )
    parser.add_argument("policy", metavar="POLICY", help="a policy file, or the name of a shipped one")
    parser.add_argument("what", choices=[*_NAMES, "headers"], help="a directive file, or the headers on every answer")
    parser.add_argument("--path", default="/", metavar="P", help="for headers: whose answer")
    parser.add_argument("--host", default="", metavar="H", help="whose, where a policy has several hosts")
    parser.add_argument("--at", metavar="DATE", help="the moment, for rules with dates (default: now)")
    parser.add_argument("--json", action="store_true", help="as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    policy = read_or_complain(arguments.policy, as_json=arguments.json)
    if policy is None:
        return 1
    try:
        at_s = read_moment(arguments.at)
    except ValueError as error:
        return wrong_usage("render", str(error), as_json=arguments.json)
    guard = Guard(policy).for_host(arguments.host.encode("utf-8", "replace") or None)
    if arguments.what == "headers":
        stated = guard.stated_at(arguments.path)
        headers = {name.decode(): value.decode() for name, value in render_headers(stated)}
        if arguments.json:
            print_json({"ok": True, "path": arguments.path, "headers": headers})
        else:
            sys.stdout.write("".join(f"{name}: {value}\n" for name, value in headers.items()))
        return 0
    path = _NAMES[arguments.what]
    text = render_file(path, guard.policy.at(time.time() if at_s is None else at_s), shipped_catalogue())
    if arguments.json:
        print_json({"ok": True, "path": path, "text": text})
    else:
        print_file(text)
    return 0

"""`guard render`: what a policy publishes, as it would be served."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from urllib.parse import quote

from guard.cli.explain import in_time
from guard.cli.policies import print_file, print_json, read_moment, read_or_complain, wrong_usage
from guard.cli.replay import printable
from guard.directives import FILES, WORK_FILES
from guard.engine import Guard
from guard.errors import ChoiceError
from guard.feeds import Held
from guard.model import Request
from guard.rights import Work, read_work
from guard.works import Found

_NAMES = {path.removeprefix("/").removeprefix(".well-known/"): path for path in FILES if path != "/.well-known/ai.txt"}
_NAMES[".well-known/ai.txt"] = "/.well-known/ai.txt"  # another format than /ai.txt


async def _headers_in_time(guard: Guard, path: str) -> dict[str, str]:
    target, _, query = path.partition("?")
    octets = [text.encode("utf-8", "surrogateescape") for text in (target, query)]
    request = Request("GET", octets[0], b"", None, query=octets[1])
    async with in_time(guard, lambda: guard.held_for(request)):
        return {name.decode(): value.decode() for name, value in guard.headers_at(path)}


async def _document_in_time(guard: Guard, path: str, work: Work) -> tuple[str, Held]:
    """The document of a work, and what is known of it."""

    def look() -> Held:
        return guard.hold_works((Found((work,), ""),))

    async with in_time(guard, look):
        return guard.serve(path, f"work={quote(str(work), safe='')}".encode()).body.decode(), look()


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
    parser.add_argument("--work", metavar="W", help="for license.xml and tdm-policy.json: of one work, like track:4711")
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
    if arguments.work and _NAMES.get(arguments.what) not in WORK_FILES:
        return wrong_usage("render", f"--work: a work has no {arguments.what} of its own", as_json=arguments.json)
    now_s = time.time() if at_s is None else at_s
    guard = Guard(policy, clock=lambda: now_s).for_host(arguments.host.encode("utf-8", "replace") or None)
    if arguments.what == "headers":
        headers = asyncio.run(_headers_in_time(guard, arguments.path))
        if arguments.json:
            print_json({"ok": True, "path": arguments.path, "headers": headers})
        else:
            sys.stdout.write("".join(f"{name}: {value}\n" for name, value in headers.items()))
        return 0
    path = _NAMES[arguments.what]
    if arguments.work is None:
        text = guard.serve(path, b"").body.decode()
    else:
        try:
            work = read_work(arguments.work)
        except ChoiceError as error:
            return wrong_usage("render", f"--work: {error.message}", as_json=arguments.json)
        if guard.feed is None:
            return wrong_usage("render", "--work: this policy keeps no rights of works", as_json=arguments.json)
        text, held = asyncio.run(_document_in_time(guard, path, work))
        if held.state == "away":
            sys.stderr.write(
                f"guard render: the register does not answer: nothing is known of {printable(str(work))}\n"
            )
        elif not held.spoken:
            sys.stderr.write(f"guard render: nobody has spoken of {printable(str(work))}: what holds for all works\n")
    if arguments.json:
        print_json({"ok": True, "path": path, "text": text})
    else:
        print_file(text)
    return 0

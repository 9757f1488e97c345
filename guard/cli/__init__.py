"""The `guard` command: one file a command, one line in the table.

Exit codes: 0 fine, 1 problems found, 2 wrong usage, 78 (EX_CONFIG) refused to start on a bad policy.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from guard.cli import check, demo, explain, render, serve


class Command(NamedTuple):
    help: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


COMMANDS: dict[str, Command] = {
    "serve": Command("stand in front of a platform as a reverse proxy", serve.configure, serve.run),
    "check": Command("read policies and name every problem in them", check.configure, check.run),
    "explain": Command("show how one request would be decided, and why", explain.configure, explain.run),
    "render": Command("print a directive file or the headers of a policy", render.configure, render.run),
    "demo": Command("run a small music platform with the guard in front", demo.configure, demo.run),
}


def build_parser() -> argparse.ArgumentParser:
    from guard import __version__

    parser = argparse.ArgumentParser(
        prog="guard",
        description='The guard that makes "no AI" real for music platforms.',
        epilog="example: guard serve --upstream http://127.0.0.1:4533 --policy policy.yaml",
    )
    parser.add_argument("--version", action="version", version=f"noai-guard {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(
            name, help=command.help, description=command.help, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        command.configure(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    arguments = build_parser().parse_args(argv)
    try:
        return COMMANDS[arguments.command].run(arguments)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130

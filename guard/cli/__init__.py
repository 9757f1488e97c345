"""The `guard` command: one file a command, one line in the table.

Exit codes: 0 fine, 1 problems found, 2 wrong usage, 78 (EX_CONFIG) refused to start on a bad policy.
"""

from __future__ import annotations

import argparse
import errno
import gc
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from guard.errors import RegisterError

LASTING = ("serve", "demo", "replay")
"""Commands that go on for long: there the collector has work to do."""

_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
"""What writing to stdout may end with; no command reads or writes a file without catching them."""


class Command(NamedTuple):
    """`module` is the file in this folder; it is loaded only when the command is asked for."""

    help: str
    module: str

    def load(self) -> Any:
        return import_module(f"guard.cli.{self.module}")


COMMANDS: dict[str, Command] = {
    "serve": Command("stand in front of a platform as a reverse proxy", "serve"),
    "check": Command("read policies and name every problem in them", "check"),
    "test": Command("try a policy's examples, and see which rules have none", "test"),
    "explain": Command("show how one request would be decided, and why", "explain"),
    "diff": Command("show what changes from one policy to another", "diff"),
    "replay": Command("show what a policy would have done to an access log", "replay"),
    "render": Command("print a directive file or the headers of a policy", "render"),
    "policies": Command("list the policies that ship, or print one to start from", "policies"),
    "schema": Command("print the JSON Schema of policies, for editors", "schema"),
    "rights": Command("what artists and labels have said of their works: import, set, show, export", "rights"),
    "agents": Command("whom the guard knows: list, match, take in lists of others", "agents"),
    "robots": Command("turn a robots.txt into rules of a policy", "robots"),
    "demo": Command("run a small music platform with the guard in front", "demo"),
}


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The whole command line; with `only`, the other commands have their names and no options."""
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
        if only in (None, name):
            command.load().configure(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without our letters shows question marks
    try:
        try:
            return _run(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return 0
    except KeyboardInterrupt:
        return 130
    except RegisterError as error:  # whichever command it was that needed the rights of works
        sys.stderr.write(f"guard: {error}\n")
        return 1
    except OSError as error:
        if error.filename is not None or error.errno not in _CANNOT_WRITE:
            raise
        _drop_output()
        sys.stderr.write(f"guard: the output cannot be written: {error.strerror}\n")
        return 1


def _run(words: list[str]) -> int:
    only = words[0] if words and (words[0] in COMMANDS or words[0].startswith("-")) else None
    arguments = build_parser(only).parse_args(words)
    if arguments.command not in LASTING:
        gc.disable()  # nothing here lives long enough to be collected; looking for it takes a third of the time
    code: int = COMMANDS[arguments.command].load().run(arguments)
    return code


def _drop_output() -> None:
    """What is still waiting to be written to stdout goes nowhere: the interpreter would try again at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)

"""`guard schema`: the policy language as a JSON Schema, for editors."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from guard.schema import schema_text


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n"
        "  guard schema > policy.schema.json\n"
        "  guard schema --fragment --out fragment.schema.json\n\n"
        "exit codes: 0 printed or written, 1 it cannot be written, 2 wrong usage"
    )
    parser.add_argument("--fragment", action="store_true", help="of a file that others include: no site, no default")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write it there instead of to stdout")


def run(arguments: argparse.Namespace) -> int:
    text = schema_text(fragment=arguments.fragment)
    if arguments.out is None:
        sys.stdout.write(text)
        return 0
    try:
        arguments.out.write_text(text, encoding="utf-8")
    except OSError as error:
        sys.stderr.write(f"guard schema: {arguments.out} cannot be written: {error.strerror}\n")
        return 1
    return 0

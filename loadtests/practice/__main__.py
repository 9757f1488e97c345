"""`python -m loadtests.practice`: what our policy and others do to simulated days, to moved ones, and to a real log."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from guard.errors import GuardError
from loadtests.practice import days, log, showing, variants
from loadtests.practice.exam import OURS, QUIET, SHARED, YARDSTICKS, PracticeError

EPILOG = """examples:
  python -m loadtests.practice days                        ten days, ours and four yardsticks: three to five minutes
  python -m loadtests.practice days --seeds 1-3 --no-challenge
  python -m loadtests.practice variants                    all personas moved, people and liars of ours: two to three
  python -m loadtests.practice variants --only liars --seeds 4
  python -m loadtests.practice log                         a real access log, each refusal argued
  python -m loadtests.practice days --markdown > figures.md

exit codes: 0 every bar is met and nobody is harmed (log: every refusal is argued), 1 it is not so, 2 something is
missing or wrong usage"""


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.practice",
        description="Try the shipped policy on simulated days of a music platform, beside yardsticks, and on a log.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    add = common.add_argument
    add(
        "--shared", type=Path, default=SHARED, metavar="DIR", help="holds traffic/ and logs/ (default: beside the repo)"
    )
    add("--json", action="store_true", help="everything as one JSON object")
    add("--markdown", action="store_true", help="the tables as Markdown")
    dated = argparse.ArgumentParser(add_help=False)
    dated.add_argument("--workers", type=int, choices=(1, 2), default=2, help="processes side by side (default: 2)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, help_: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=help_,
            description=help_,
            epilog=EPILOG,
            parents=[common, *parents],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    one = command("days", "plain days of several seeds, ours beside the yardsticks", dated)
    one.add_argument("--seeds", type=_seeds, default=_seeds("1-10"), metavar="A-B,C", help="default: 1-10")
    one.add_argument("--ours", action="store_true", help="only our policy, no yardsticks")
    one.add_argument("--no-challenge", action="store_true", help="only our policy, with and without challenges")
    one.add_argument("--keep", type=Path, metavar="DIR", help="write the days there, for `guard replay`")
    two = command("variants", "days with the simulator's parameters moved, and liars with complete headers", dated)
    two.add_argument("--seeds", type=_seeds, default=[11], metavar="A-B,C", help="each day once for each (default: 11)")
    two.add_argument("--only", choices=variants.GROUPS, help="one of the groups of days")
    two.add_argument("--no-challenge", action="store_true", help="ours without challenges")
    command("log", "a real access log: who would have been refused, and why that is right or wrong")
    return parser.parse_args(argv)


def _seeds(text: str) -> list[int]:
    """`1-3,7` as [1, 2, 3, 7]."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        try:
            found += range(int(first), int(last or first) + 1)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{part}' is no seed and no range of seeds, such as 1-10") from None
    if not found or len(found) > 1000:
        raise argparse.ArgumentTypeError("name 1 to 1000 seeds")
    return found


def run_days(arguments: argparse.Namespace) -> int:
    names: tuple[str, ...] = (OURS, QUIET, *YARDSTICKS)
    if arguments.no_challenge:
        names = (OURS, QUIET)
    elif arguments.ours:
        names = (OURS,)
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True, exist_ok=True)
    found = days.run(arguments.shared, arguments.seeds, names, arguments.workers, arguments.keep, _say())
    met = days.all_met(found)
    _show(arguments, days.sections(found, arguments.seeds), {"ok": met, **days.as_data(found, arguments.seeds)})
    return 0 if met else 1


def run_variants(arguments: argparse.Namespace) -> int:
    names = (QUIET,) if arguments.no_challenge else (OURS,)
    shared = arguments.shared
    found = variants.run(shared, arguments.seeds, arguments.only, names, arguments.workers, _say())
    met = variants.all_met(found, shared)
    _show(arguments, variants.sections(found, names, shared), {"ok": met, "days": variants.as_data(found, shared)})
    return 0 if met else 1


def run_log(arguments: argparse.Namespace) -> int:
    read = log.run(arguments.shared / "logs")
    _show(arguments, log.sections(read), {"ok": read.argued, **log.as_data(read)})
    for name in log.unused(read):
        showing.say(f"practice: {name} is argued and no longer refused")
    if not read.argued:
        showing.say(f"practice: somebody is refused and not argued: see the table, and {log.ARGUMENTS.name}")
    return 0 if read.argued else 1


def _say() -> Any:
    began = time.monotonic()
    return lambda text: showing.say(f"[{time.monotonic() - began:4.0f} s] {text}")


def _show(arguments: argparse.Namespace, sections: Sequence[showing.Section], data: dict[str, Any]) -> None:
    if arguments.json:
        json.dump(data, sys.stdout, indent=1)
        sys.stdout.write("\n")
    elif arguments.markdown:
        sys.stdout.write(showing.as_markdown(sections))
    else:
        showing.print_sections(sections)


COMMANDS = {"days": run_days, "variants": run_variants, "log": run_log}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = read_arguments(argv)
    try:
        return COMMANDS[arguments.command](arguments)
    except PracticeError as error:
        sys.stderr.write(f"practice: {error}\n")
    except GuardError as error:
        sys.stderr.write(f"practice: a policy cannot be read: {error}\n")
    except OSError as error:
        sys.stderr.write(f"practice: {error.filename or 'a file'}: {error.strerror or error}\n")
    except KeyboardInterrupt:
        return 130
    return 2


if __name__ == "__main__":
    sys.exit(main())

"""`guard rights`: what holders say of their works, kept in a register: brought in, changed, shown, carried out.

Every change is noted with its time, who made it and why. Nothing that was ever noted is taken out again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import getpass
import gzip
import io
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from math import inf
from pathlib import Path
from typing import Any, BinaryIO

from guard.cli.policies import as_row, counted, open_console, print_json, wrong_usage
from guard.cli.replay import printable
from guard.errors import ChoiceError, Problem, RegisterError
from guard.model import KINDS
from guard.moments import read_moment, write_moment
from guard.nodes import guess
from guard.protocols import Change, Register, RightsSource
from guard.registers import open_register
from guard.registers.plain import PlainRegister
from guard.registers.rows import COLUMNS, Row, Unreadable, read_csv, read_json_lines, write_cells, write_json_row
from guard.registers.sqlite import SqliteRegister
from guard.registers.swap import ImportReport, import_works
from guard.rights import (
    EVERY_KIND,
    PURPOSES,
    Chain,
    Choice,
    Work,
    climb,
    in_order,
    read_choice,
    read_work,
    resolve,
    write_choice,
)

SHOWN_BAD = 20
ASK_S = 5.0
"""So long `show` waits for a register that has to ask somebody."""

_TOLD_EVERY_S = 3.0
_FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_GZIP = b"\x1f\x8b"
_EXIT_CODES = "\n\nexit codes: 0 done, 1 rows or the register have problems and nothing was changed, 2 wrong usage"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Keep what artists, labels and other holders allow, and what stands above what. REGISTER is an SQLite file\n"
        "(rights.sqlite, made when it is not there), a YAML file, or an address: http:// https:// redis:// unix://"
    )
    parser.epilog = (
        "examples:\n"
        "  guard rights import rights.sqlite artists.csv tracks.jsonl.gz --by catalogue\n"
        "  guard rights set rights.sqlite artist:11 --no-ai --reason 'asked by mail'\n"
        "  guard rights set rights.sqlite track:1001 --licence operator:suno --licence-purposes train-ai\n"
        "  guard rights show rights.sqlite track:1001 --at 2026-12-01\n"
        "  guard rights history rights.sqlite artist:11\n"
        "  guard rights export rights.sqlite --format jsonl > rights.jsonl\n"
        "  guard rights stats rights.sqlite --json\n\n"
        "guard rights COMMAND --help says more" + _EXIT_CODES
    )
    commands = parser.add_subparsers(dest="what", metavar="COMMAND", required=True)

    def add(name: str, text: str, epilog: str = "") -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=(epilog + _EXIT_CODES).strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.add_argument("register", metavar="REGISTER", help="a file, or an address")
        sub.add_argument("--json", action="store_true", help="as one JSON object")
        return sub

    _configure_import(add("import", "bring in works and words from files, all or none", _IMPORT_EPILOG))
    _configure_set(add("set", "change what the holder of one work says", _SET_EPILOG))
    one = add("show", "show what each layer above a work says, and what follows from it")
    one.add_argument("work", metavar="WORK", help="LAYER:ID, like track:1001")
    one.add_argument("--at", metavar="DATE", help="what was in force at that moment, like 2026-12-01T18:00Z")
    one = add("history", "list all changes of one work, the oldest first")
    one.add_argument("work", metavar="WORK", help="LAYER:ID, like track:1001")
    one = add("export", "print everything in force, as `guard rights import` reads it", _EXPORT_EPILOG)
    one.add_argument("--format", choices=("csv", "jsonl"), default="csv", help="default: csv")
    add("stats", "count works, choices and changes")


_IMPORT_EPILOG = """\
CSV has a header. Columns: layer and id (or work, like track:1001); parents, like release:5|artist:11; then any of
train-ai, ai-use, search, assistant, agent, archive, preview, seo (allow, disallow, open), the same for one kind
(audio.train-ai), no-ai (yes: train-ai and ai-use disallow), licences (operator:x|agent:y, or none), from, until,
territory, contact, licence, by, at, reason. A row without any word only says where the work stands.
A JSON line is {"work": "track:1001", "parents": ["release:5"], "preferences": {"train-ai": "disallow"}}.
Of several rows for one work the last counts; the same words as before are no change.
--skip-bad passes over rows, never over a file: one with a wrong header or a broken quote, or that ends too soon,
changes nothing. Nor does a --replace after which most works or words would be gone, unless --yes-drop says so.

examples:
  guard rights import rights.sqlite artists.csv tracks.csv.gz --by catalogue --reason 'nightly'
  guard rights import rights.sqlite all.jsonl --replace --dry-run
  psql -c "copy (…) to stdout csv header" | guard rights import rights.sqlite - --format csv"""

_SET_EPILOG = """\
What is not named stays as it was. A word is allow, disallow, open (allow in spite of a wider layer's reservation)
or unstated (no word any more). An empty text takes a text away, as does none for --from and --until.

examples:
  guard rights set rights.sqlite artist:11 --no-ai
  guard rights set rights.sqlite track:1001 --train-ai open --say voice.ai-use=disallow
  guard rights set rights.sqlite track:1001 --licence operator:suno --licence-purposes train-ai
  guard rights set rights.sqlite track:1001 --withdraw --reason 'a mistake'"""

_EXPORT_EPILOG = """\
In CSV, a cell that a spreadsheet would compute (it begins with = + - @, a tab or a carriage return) has an apostrophe
before it. `guard rights import` takes it away again. JSON Lines have every text as it is.

example:
  guard rights export rights.sqlite | gzip > rights.csv.gz"""


def _configure_import(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="*.csv or *.jsonl, plain or gzip; - is standard input")
    add("--format", choices=("csv", "jsonl"), help="the format of all files, instead of by their names")
    add("--replace", action="store_true", help="works that are in no row are gone, choices without words withdrawn")
    add("--yes-drop", type=int, metavar="N", help="with --replace: so many works may go, though they are most of them")
    add("--skip-bad", action="store_true", help="leave out rows that cannot be read, instead of changing nothing")
    add("--dry-run", action="store_true", help="say what would change, and change nothing")
    _add_author(parser)


def _configure_set(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("work", metavar="WORK", help="LAYER:ID, like track:1001")
    add("--no-ai", action="store_true", help="train-ai and ai-use: disallow")
    add("--train-ai", metavar="WORD", help="allow, disallow, open or unstated")
    add("--ai-use", metavar="WORD", help="the same for feeding a model")
    add("--search", metavar="WORD", help="the same for search")
    add("--say", action="append", default=[], metavar="KIND.PURPOSE=WORD", help="for one kind: voice.ai-use=open")
    add("--licence", action="append", default=[], metavar="TO", help="may in spite: operator:X, agent:X or key:X")
    add("--licence-purposes", metavar="P,P", help="only for these purposes; for every --licence here")
    add("--no-licences", action="store_true", help="nobody has a licence, not even by a wider layer")
    add("--from", dest="since", metavar="DATE", help="the words begin then")
    add("--until", metavar="DATE", help="the words end then (a day: at its end)")
    add("--contact", metavar="URL", help="who is to be asked: mailto: or https:")
    add("--licence-url", metavar="URL", help="where the terms of a licence stand")
    add("--territory", metavar="TEXT", help="noted and published, not enforced")
    add("--parent", action="append", metavar="WORK", help="what stands right above; all that do, repeated")
    add("--replace", action="store_true", help="forget what was said before, and say only this")
    add("--withdraw", action="store_true", help="the holder says nothing any more")
    _add_author(parser)


def _add_author(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", metavar="WHO", help="who it comes from (default: your login)")
    parser.add_argument("--reason", default="", metavar="TEXT", help="why")


def run(arguments: argparse.Namespace) -> int:
    command: Callable[[argparse.Namespace], int] = {
        "import": _import,
        "set": _set,
        "show": _show,
        "history": _history,
        "export": _export,
        "stats": _stats,
    }[arguments.what]
    try:
        return command(arguments)
    except _Usage as error:
        return wrong_usage(f"rights {arguments.what}", str(error), as_json=arguments.json)
    except RegisterError as error:
        sys.stderr.write(f"guard rights {arguments.what}: {error}\n")
        if arguments.json:
            print_json({"ok": False, "problems": [{"message": str(error)}]})
        return 1


class _Usage(Exception):
    """What was typed cannot be meant."""


def _open(location: str) -> RightsSource:
    try:
        return open_register(location)
    except ValueError as error:
        raise _Usage(str(error)) from None


def _open_register(arguments: argparse.Namespace) -> Register:
    register = _open(arguments.register)
    if not isinstance(register, Register):
        raise _Usage("this register keeps no history and cannot be changed from here")
    return register


def _work(text: str) -> Work:
    try:
        return read_work(text)
    except ChoiceError as error:
        raise _Usage(error.message) from None


def _author(arguments: argparse.Namespace) -> tuple[str, str]:
    """Who changes something, and why: texts that a register takes."""
    by = arguments.by
    if by is None:
        with contextlib.suppress(OSError, KeyError, ImportError):
            by = getpass.getuser()
    try:
        said = read_choice({"by": by or "", "reason": arguments.reason})
    except ChoiceError as error:
        raise _Usage(f"--{error}") from None
    return said.by, said.reason


# -- import --------------------------------------------------------------------------------------------------


def _import(arguments: argparse.Namespace) -> int:
    register = _open(arguments.register)
    if not isinstance(register, SqliteRegister):
        raise _Usage("import makes SQLite registers only: name a file like rights.sqlite")
    by, reason = _author(arguments)
    if arguments.yes_drop is not None and not arguments.replace:
        raise _Usage("--yes-drop says how much a --replace may take away: it needs one")
    with ExitStack() as stack:
        files = [_File(name, arguments.format, stack) for name in arguments.files]
        reading = _Reading(files, go_on=arguments.skip_bad)
        interrupted = False
        report: ImportReport | None = None
        too_many: _TooMany | None = None
        with _progress(files) as show:
            try:
                report = import_works(
                    register.path,
                    reading.rows(),
                    replace=arguments.replace,
                    by=by,
                    reason=reason,
                    at_s=time.time(),
                    progress=show,
                    approve=None if arguments.dry_run else lambda made: _approve(made, arguments.yes_drop or 0),
                    dry_run=arguments.dry_run,
                )
            except _BadRows:
                pass
            except _TooMany as error:
                too_many = error
            except KeyboardInterrupt:
                interrupted = True
    if interrupted:
        sys.stderr.write("guard rights import: stopped; the register is as it was\n")
        return 130
    _tell_bad(reading, arguments, swapped=report is not None, refused=too_many is not None)
    if too_many is not None:
        raise too_many
    if report is None:
        return 1
    if arguments.json:
        problems = [as_row(problem) for problem in reading.first_bad]
        print_json({"ok": True, **report._asdict(), "bad_rows": reading.bad, "problems": problems})
    else:
        _print_report(report, str(register.path))
    return 0


class _File:
    """One file of rows, opened. `done` is how far it was read, in bytes as it lies there."""

    def __init__(self, name: str, form: str | None, stack: ExitStack) -> None:
        self.name = name
        self.size = 0
        found = form or _FORMATS.get(Path(name.removesuffix(".gz")).suffix.lower(), "")
        if not found:
            raise _Usage(f"{name}: csv or jsonl? --format says which")
        self.format = found
        try:
            self._raw = raw = _open_bytes(name, stack)
            self.size = os.fstat(raw.fileno()).st_size if name != "-" else 0
            start = raw.peek(2)[:2] if isinstance(raw, io.BufferedReader) else b""
        except OSError as error:
            raise _Usage(f"{name}: cannot be read: {error.strerror or error}") from None
        stream: Any = gzip.GzipFile(fileobj=raw) if start == _GZIP else raw
        # Bytes that are no UTF-8 stay in the row they stand in, which is then refused with its line.
        newline = "" if found == "csv" else "\n"
        self._text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline=newline)

    @property
    def done(self) -> int:
        return self._raw.tell() if self.size else 0

    def read(self) -> Iterator[tuple[int, Row | ChoiceError]]:
        yield from (read_csv if self.format == "csv" else read_json_lines)(self._text)


def _open_bytes(name: str, stack: ExitStack) -> BinaryIO:
    return sys.stdin.buffer if name == "-" else stack.enter_context(Path(name).open("rb"))


class _BadRows(Exception):
    """Some rows cannot be read, and nothing is to be changed."""


class _TooMany(RegisterError):
    """More would be gone than anybody has said."""


def _approve(report: ImportReport, allowed: int) -> None:
    """Whether an import may take so much away. Raises _TooMany when it is most of the register, and not asked for."""
    most = 2 * report.gone > report.works_before or 2 * report.withdrawn > report.choices_before
    if most and report.gone > allowed:
        raise _TooMany(
            f"{counted(report.rows, 'row')} would take {report.gone:,} of {report.works_before:,} works, or "
            f"their words, away: nothing was changed (--yes-drop {report.gone} if that is meant)"
        )


class _Reading:
    """Gives the good rows of all files, and notes the bad ones."""

    def __init__(self, files: list[_File], *, go_on: bool) -> None:
        self._files = files
        self._go_on = go_on
        self.bad = 0
        self.first_bad: list[Problem] = []
        self.unreadable = False  # a whole file, or its rest

    def rows(self) -> Iterator[Row]:
        """Raises _BadRows after the last row; once a row is bad, the others are only looked at.

        Whatever is to be left out, a file that cannot be read to its end is not: nobody knows what it lacks.
        """
        for file in self._files:
            line = 0
            try:
                for line, row in file.read():
                    if isinstance(row, ChoiceError):
                        self._note(file, line, row)
                    elif self._go_on or not self.bad:
                        yield row
            except (OSError, EOFError, zlib.error) as error:
                self._note(file, line, Unreadable("", f"cannot be read on: {error}"))
            if self.unreadable:
                break
        if self.unreadable or (self.bad and not self._go_on):
            raise _BadRows

    def _note(self, file: _File, line: int, error: ChoiceError) -> None:
        self.bad += 1
        self.unreadable = self.unreadable or isinstance(error, Unreadable)
        if len(self.first_bad) < SHOWN_BAD:
            self.first_bad.append(Problem(file.name, line, str(error)))


def _tell_bad(reading: _Reading, arguments: argparse.Namespace, *, swapped: bool, refused: bool) -> None:
    if not reading.bad:
        return
    for problem in reading.first_bad:
        sys.stderr.write(printable(f"{problem}") + "\n")
    more = reading.bad - len(reading.first_bad)
    told = f"{counted(reading.bad, 'bad row')}{f' ({more} more than are shown)' if more else ''}"
    end = "nothing was changed (--skip-bad leaves them out)"
    if reading.unreadable:
        told, end = "a file cannot be read to its end", "nothing was changed"
    elif swapped or refused:
        end = "left out"
    sys.stderr.write(f"guard rights import: {told}: {end}\n")
    if arguments.json and not swapped and not refused:
        print_json({"ok": False, "bad_rows": reading.bad, "problems": [as_row(one) for one in reading.first_bad]})


def _print_report(report: ImportReport, path: str) -> None:
    rate = report.rows / report.seconds if report.seconds else 0.0
    size = f"{report.bytes / 1e6:,.1f} MB, {report.bytes / max(1, report.works):.0f} bytes a work"
    end = "" if report.swapped else f"\nnothing was changed: --dry-run{_needed(report)}"
    followed = f", {counted(report.followed, 'change')} came meanwhile" if report.followed else ""
    sys.stdout.write(
        f"{path}: {report.rows:,} rows in {report.seconds:,.1f} s ({rate:,.0f} a second)\n"
        f"works {report.works_before:,} -> {report.works:,}, choices in force {report.choices:,} ({size})\n"
        f"choices new or different {report.changed:,}, withdrawn {report.withdrawn:,}{followed}{end}\n"
    )


def _needed(report: ImportReport) -> str:
    try:
        _approve(report, 0)
    except _TooMany:
        return f"; without it, --yes-drop {report.gone} is needed"
    return ""


@contextmanager
def _progress(files: list[_File]) -> Iterator[Callable[[int], None]]:
    """A bar with rows a second and the time that is left on a terminal; else a line every few seconds."""
    began = told = time.monotonic()
    total = sum(file.size for file in files) if all(file.size for file in files) else None

    def plainly(rows: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= _TOLD_EVERY_S:
            told = now
            done = f", {100 * sum(file.done for file in files) / total:.0f} % read" if total else ""
            sys.stderr.write(f"guard rights import: {rows:,} rows, {rows / (now - began):,.0f} a second{done}\n")
            sys.stderr.flush()

    if not sys.stderr.isatty():
        yield plainly
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    words = TextColumn("{task.fields[rows]} rows, {task.fields[rate]} a second")
    columns = (BarColumn(), TaskProgressColumn(), words, TimeRemainingColumn())
    with Progress(*columns, console=open_console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, rows="0", rate="0")

        def show(rows: int) -> None:
            rate = rows / max(1e-6, time.monotonic() - began)
            bar.update(task, completed=sum(file.done for file in files), rows=f"{rows:,}", rate=f"{rate:,.0f}")

        yield show


# -- set -----------------------------------------------------------------------------------------------------


def _set(arguments: argparse.Namespace) -> int:
    work = _work(arguments.work)
    by, reason = _author(arguments)
    parents = None if arguments.parent is None else tuple(_work(name) for name in arguments.parent)
    if not _says_something(arguments) and parents is None and not arguments.withdraw:
        raise _Usage("what is to be said? name a word like --no-ai, or --withdraw, or --parent")
    if arguments.withdraw and (_says_something(arguments) or arguments.replace):
        raise _Usage("--withdraw takes all words away: it stands without others")
    register = _open_register(arguments)
    before = _entry_or_none(register, work)
    said = before[0] if before else None
    choice: Choice | None
    if arguments.withdraw:
        choice = None
    elif _says_something(arguments):
        choice = _changed(None if arguments.replace else said, arguments)
    elif arguments.replace:
        choice = None
    else:
        choice = said if said is None else _bare(said)
    register.put(Change(time.time(), work, choice, by, reason), parents)
    after = register.entry(work)
    now = after[0] if after else None
    if arguments.json:
        shown = {"before": _as_json(said), "after": _as_json(now)}
        print_json({"ok": True, "work": str(work), **shown, "parents": [str(one) for one in (after or (0, ()))[1]]})
        return 0
    above = f"  under {', '.join(str(one) for one in parents)}\n" if parents else ""
    sys.stdout.write(printable_lines(f"{work}\n{above}  before: {say_choice(said)}\n  after:  {say_choice(now)}\n"))
    return 0


def _entry_or_none(register: Register, work: Work) -> tuple[Choice | None, tuple[Work, ...]] | None:
    if isinstance(register, SqliteRegister) and not (register.path.exists() and register.path.stat().st_size):
        return None  # the first change makes the file
    return register.entry(work)


def _says_something(arguments: argparse.Namespace) -> bool:
    words = (
        "train_ai",
        "ai_use",
        "search",
        "since",
        "until",
        "contact",
        "licence_url",
        "territory",
        "licence_purposes",
    )
    lists = ("no_ai", "say", "licence", "no_licences")
    named = any(getattr(arguments, name) is not None for name in words)
    return named or any(getattr(arguments, name) for name in lists)


def _bare(choice: Choice) -> Choice:
    """What was said, without who said it, when and why: that is noted anew."""
    return Choice(
        choice.preferences,
        choice.licences,
        choice.from_s,
        choice.until_s,
        choice.territory,
        choice.contact,
        choice.licence_url,
    )


def _changed(before: Choice | None, arguments: argparse.Namespace) -> Choice:
    """What was said before with what is said now. Raises _Usage in the words of the command line."""
    table = write_choice(_bare(before)) if before is not None else {}
    preferences: dict[str, Any] = table.setdefault("preferences", {})
    if arguments.no_ai:
        for said in (*_ai_words(arguments), *arguments.say):
            name, _, word = said.removeprefix("--").replace(" ", "=").partition("=")
            if name in ("train-ai", "ai-use") and word != "disallow":
                raise _Usage(f"--no-ai reserves {name}: it does not stand beside {said}")
        preferences |= {"train-ai": "disallow", "ai-use": "disallow"}
    for purpose in ("train-ai", "ai-use", "search"):
        if (word := getattr(arguments, purpose.replace("-", "_"))) is not None:
            _say(preferences, purpose, word)
    for said in arguments.say:
        name, equals, word = said.partition("=")
        kind, dot, purpose = name.partition(".")
        if not equals:
            raise _Usage(f"--say {said}: write KIND.PURPOSE=WORD, like voice.ai-use=open, or PURPOSE=WORD")
        if not dot:
            _say_known(preferences, name, word, PURPOSES, said)
        elif kind not in KINDS:
            raise _Usage(f"--say {said}: unknown kind '{kind}'{guess(kind, KINDS)}")
        else:
            _say_known(preferences.setdefault(kind, {}), purpose, word, PURPOSES, said)
    _change_licences(table, arguments)
    for key, value in (
        ("from", arguments.since),
        ("until", arguments.until),
        ("contact", arguments.contact),
        ("licence", arguments.licence_url),
        ("territory", arguments.territory),
    ):
        if value == "" or (value == "none" and key in ("from", "until")):
            table.pop(key, None)
        elif value is not None:
            table[key] = value
    try:
        return read_choice(table)
    except ChoiceError as error:
        raise _Usage(f"{_option_of(error.key)}: {error.message}") from None


def _ai_words(arguments: argparse.Namespace) -> Iterator[str]:
    for option in ("train-ai", "ai-use"):
        if (word := getattr(arguments, option.replace("-", "_"))) is not None:
            yield f"--{option} {word}"


def _option_of(key: str) -> str:
    """The option that said what stands under a key of a choice."""
    name = key.removeprefix("preferences.")
    if key.startswith("licences"):
        return "--licence-purposes" if key.endswith(".purposes") else "--licence"
    if key == "licence":
        return "--licence-url"
    return (
        f"--{name}"
        if name in ("from", "until", "contact", "territory", "train-ai", "ai-use", "search")
        else f"--say {name}"
    )


def _say_known(preferences: dict[str, Any], purpose: str, word: str, known: Iterable[str], said: str) -> None:
    if purpose not in known:
        raise _Usage(f"--say {said}: unknown purpose '{purpose}'{guess(purpose, known)}")
    _say(preferences, purpose, word)


def _say(preferences: dict[str, Any], purpose: str, word: str) -> None:
    if word == "unstated":
        preferences.pop(purpose, None)
    else:
        preferences[purpose] = word


def _change_licences(table: dict[str, Any], arguments: argparse.Namespace) -> None:
    if arguments.no_licences and arguments.licence:
        raise _Usage("--no-licences takes all licences away: it stands without --licence")
    if arguments.licence_purposes is not None and not arguments.licence:
        raise _Usage("--licence-purposes says what a --licence is for: name one")
    if arguments.no_licences:
        table["licences"] = []
    for to in arguments.licence:
        licence: dict[str, Any] = {"to": to}
        if arguments.licence_purposes is not None:
            licence["purposes"] = [word.strip() for word in arguments.licence_purposes.split(",")]
        same = to if to.startswith("key:") else to.lower()
        others = [one for one in table.get("licences") or [] if one["to"] not in (to, same)]
        table["licences"] = [*others, licence]


# -- show, history, export, stats ------------------------------------------------------------------------------


def _show(arguments: argparse.Namespace) -> int:
    work = _work(arguments.work)
    try:
        moment_s = None if arguments.at is None else read_moment(arguments.at)
    except ValueError as error:
        raise _Usage(f"--at: {error}") from None
    register = _open(arguments.register)
    state = "known"
    if moment_s is not None:
        if not isinstance(register, Register):
            raise _Usage("--at: this register keeps no history")
        chain = register.at((work,), moment_s).chain
    elif isinstance(register, Register):
        chain = climb((work,), register.entry)
    else:
        chain, state = asyncio.run(_ask(register, work))
    if state == "away":
        raise RegisterError("the register does not answer")
    rights = resolve(chain, Choice({}), time.time() if moment_s is None else moment_s)
    follows = {kind: dict(rights.stated(kind)) for kind in EVERY_KIND}
    if arguments.json:
        layers = [{"work": str(one), "says": _as_json(choice)} for one, choice in in_order(chain)]
        print_json({"ok": True, "work": str(work), "state": state, "layers": layers, "follows": follows})
        return 0
    sys.stdout.write(printable_lines("".join(f"{line}\n" for line in _tell_chain(chain, follows, state))))
    return 0


async def _ask(register: RightsSource, work: Work) -> tuple[Chain, str]:
    """What a register says that asks somebody else, as soon as it knows."""
    await register.open()
    try:
        give_up = time.monotonic() + ASK_S
        known = register.find((work,))
        while known.state == "away" and time.monotonic() < give_up:
            await asyncio.sleep(0.02)
            known = register.find((work,))
        return known.chain, known.state
    finally:
        await register.close()


def _tell_chain(chain: Chain, follows: dict[str, dict[str, str]], state: str) -> Iterator[str]:
    width = max(len(str(work)) for work, _ in chain)
    for work, choice in in_order(chain):
        yield f"{work!s:{width}}  {say_choice(choice)}"
    if state == "stale":
        yield "(as it was when the register last answered)"
    general = follows[""]
    yield "follows, where the platform says nothing: " + (_say_words(general) or "nothing is said")
    for kind, words in follows.items():
        if kind and (own := {purpose: word for purpose, word in words.items() if general.get(purpose) != word}):
            yield f"  {kind}: {_say_words(own)}"


def say_choice(choice: Choice | None) -> str:
    """A choice on one line."""
    if choice is None:
        return "(nothing)"
    said = write_choice(choice)
    parts: list[str] = []
    for key, value in said.pop("preferences", {}).items():
        parts.append(f"{key} {value}" if isinstance(value, str) else f"{key} ({_say_words(value)})")
    if (licences := said.pop("licences", None)) is not None:
        parts.append(f"licences: {'; '.join(_say_licence(one) for one in licences) or 'none'}")
    signed = [f"{word} {said.pop(key)}" for key, word in (("by", "by"), ("at", "at")) if key in said]
    why = said.pop("reason", "")
    parts += [f"{key} {value}" for key, value in said.items()]
    told = ", ".join(parts) or "no word"
    behind = " ".join(signed) + (f": {why}" if why else "")
    return f"{told}  ({behind})" if behind else told


def _say_words(words: dict[str, str]) -> str:
    return ", ".join(f"{purpose} {word}" for purpose, word in words.items())


def _say_licence(licence: dict[str, Any]) -> str:
    rest = [f"{key} {'+'.join(value) if isinstance(value, list) else value}" for key, value in licence.items()][1:]
    return f"{licence['to']}{f' ({chr(44).join(rest)})' if rest else ''}"


def _as_json(choice: Choice | None) -> dict[str, Any] | None:
    return None if choice is None else write_choice(choice)


def _history(arguments: argparse.Namespace) -> int:
    work = _work(arguments.work)
    changes = _open_register(arguments).history(work)
    if arguments.json:
        rows = [
            {"at": write_moment(one.at_s), "by": one.by, "reason": one.reason, "says": _as_json(one.choice)}
            for one in changes
        ]
        print_json({"ok": True, "work": str(work), "changes": rows})
        return 0
    if not changes:
        sys.stdout.write(printable_lines(f"{work}: nothing was ever said\n"))
    for one in changes:
        who = f"by {one.by}" if one.by else "by nobody named"
        why = f": {one.reason}" if one.reason else ""
        what = "withdrawn" if one.choice is None else say_choice(_bare(one.choice))
        sys.stdout.write(printable_lines(f"{write_moment(one.at_s)}  {what}  ({who}{why})\n"))
    return 0


def _export(arguments: argparse.Namespace) -> int:
    register = _open(arguments.register)
    if not isinstance(register, Register | PlainRegister):
        raise _Usage("this register cannot be listed")
    out = _Output()
    entries = register.entries()
    if arguments.format == "csv":
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for work, choice, parents in entries:
            writer.writerow(write_cells(work, choice, parents))
    else:
        for work, choice, parents in entries:
            out.write(write_json_row(work, choice, parents) + "\n")
    out.flush()
    return 0


class _Output:
    """Standard output in UTF-8, whatever the terminal's encoding is, in large pieces."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def write(self, text: str) -> None:
        self._parts.append(text)
        if len(self._parts) >= 5_000:
            self.flush()

    def flush(self) -> None:
        text = "".join(self._parts)
        self._parts.clear()
        binary = getattr(sys.stdout, "buffer", None)
        if binary is None:
            sys.stdout.write(text)
        else:
            binary.write(text.encode())
            binary.flush()


def _stats(arguments: argparse.Namespace) -> int:
    register = _open(arguments.register)
    if not isinstance(register, Register | PlainRegister):
        raise _Usage("this register cannot be counted")
    found = register.stats()
    if arguments.json:
        print_json({"ok": True, **found})
        return 0
    works, choices = found.get("works"), found.get("choices")
    assert isinstance(works, dict) and isinstance(choices, dict)
    for layer in works:
        sys.stdout.write(f"{layer:10} {works[layer]:>14,} works {choices.get(layer, 0):>14,} choices\n")
    size, newest = found.get("bytes"), found.get("newest_s")
    told = f", the newest of {write_moment(newest)}" if isinstance(newest, float | int) and abs(newest) < inf else ""
    sys.stdout.write(f"{found.get('changes'):,} changes{told}\n")
    if isinstance(size, int) and size:
        sys.stdout.write(f"{size:,} bytes\n")
    return 0


def printable_lines(text: str) -> str:
    """What stands in a register must not move the cursor of whoever reads it."""
    return "\n".join(printable(line) for line in text.split("\n"))

"""`guard replay`: what a policy would have done to the requests of an access log."""

from __future__ import annotations

import argparse
import gc
import json
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

from guard.cli.policies import counted, open_console, print_json, read_or_complain, wrong_usage
from guard.logs import FORMATS, NoRequest, Reader, detect, find_reader
from guard.logs.source import MAX_LINE_BYTES, Source
from guard.practice import at_site, read_site
from guard.replay import Outcome, Replay

DEFAULT_POLICY = "no-ai"
SAMPLE_LINES = 300
SHOWN_UNREADABLE = 3
STEP_LINES = 4096


def configure(parser: argparse.ArgumentParser) -> None:
    formats = "".join(f"  {name:9} {form.help}\n" for name, form in FORMATS.items())
    parser.description = (
        "Show what a policy would have done to the requests of an access log: who would have been refused, by which "
        "rule, how much\nwould have been saved, and which listeners it would have hurt. Nothing is sent anywhere, and "
        "the policy's mode does not matter."
    )
    parser.epilog = (
        "examples:\n"
        "  guard replay no-ai /var/log/nginx/access.log*\n"
        "  guard replay policy.yaml access.log --json --decisions decisions.jsonl\n"
        "  guard replay policy.yaml haproxy.log --format haproxy:host,user-agent\n"
        "  guard replay no-ai day.jsonl.gz --format trace --site site.json --decisions decisions.jsonl\n"
        "  journalctl -u caddy -o cat | guard replay no-ai -\n"
        f"\nformats (told by the first lines when --format does not say):\n{formats}"
        "\nexit codes: 0 replayed, 1 the policy has problems, 2 wrong usage, or a log that cannot be read"
    )
    add = parser.add_argument
    add("policy", metavar="POLICY", help=f"a policy file, or the name of a shipped one; left out: {DEFAULT_POLICY}")
    add("logs", nargs="*", metavar="LOG", help="access logs, plain or gzip, in any order; - is standard input")
    add("--format", metavar="F", help="the format of all logs, instead of finding out")
    add("--site", metavar="FILE", help="what the site's owner knows beside a trace: networks, browsers of the day, …")
    add("--no-challenge", action="store_true", help="with --site: do without challenges of documents")
    add("--decisions", metavar="FILE", help="write one JSON line for each request: i, action, rule, signals")
    add("--top", type=_number, default=10, metavar="N", help="how many rows of each table (default: 10)")
    add("--lines", type=_number, metavar="N", help="read only the first N lines of each log")
    add("--json", action="store_true", help="everything as one JSON object")


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


@dataclass
class Log:
    """One log: how it is read, and what came of its lines."""

    name: str
    size: int
    format: str
    reader: Reader
    begins_s: float
    lines: Iterator[bytes | None] | None
    source: Source | None = None
    read: int = 0
    requests: int = 0
    without_request: int = 0
    unreadable: int = 0
    first_unreadable: list[tuple[int, str]] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        return {
            "file": self.name,
            "format": self.format,
            "lines": self.read,
            "requests": self.requests,
            "without_request": self.without_request,
            "unreadable": self.unreadable,
            "first_unreadable": [{"line": number, "why": why} for number, why in self.first_unreadable],
            "cut_short": self.source.cut_short if self.source else "",
        }


def run(arguments: argparse.Namespace) -> int:
    name, names = _parted(arguments.policy, arguments.logs)
    if not names:
        return wrong_usage("replay", "which log? Name one, or - for standard input", as_json=arguments.json)
    arguments.logs = names
    policy = read_or_complain(name, as_json=arguments.json)
    if policy is None:
        return 1
    if arguments.site:
        try:
            policy = at_site(policy, read_site(arguments.site), challenge=not arguments.no_challenge)
        except ValueError as error:
            return wrong_usage("replay", str(error), as_json=arguments.json)
        except OSError as error:
            said = f"{arguments.site}: cannot be read: {error.strerror or error}"
            return wrong_usage("replay", said, as_json=arguments.json)
    with ExitStack() as stack:
        try:
            logs = [_look_at(name, arguments.format, stack) for name in arguments.logs]
            decisions = _open_decisions(arguments.decisions, arguments.logs, stack)
        except ValueError as error:
            return wrong_usage("replay", str(error), as_json=arguments.json)
        except OSError as error:
            said = f"{error.filename or 'a log'}: cannot be read: {error.strerror or error}"
            return wrong_usage("replay", said, as_json=arguments.json)
        logs.sort(key=lambda log: log.begins_s)
        replay = Replay(policy)
        interrupted = False
        gc.freeze()  # what is loaded stays: no use in looking through it again and again
        with _progress(logs) as show:
            try:
                _read_all(logs, replay, decisions, arguments.lines, show)
            except KeyboardInterrupt:
                interrupted = True
    report = {**replay.report(arguments.top), "logs": [log.describe() for log in logs]}
    good = bool(report["requests"]) and all(log.requests or not log.unreadable for log in logs)
    if arguments.json:
        print_json({"ok": good and not interrupted, **report})
    elif report["requests"]:
        _print(report, arguments.top)
    _complain(logs, interrupted)
    if interrupted:
        return 130
    return 0 if good else 2


def _parted(first: str, rest: list[str]) -> tuple[str, list[str]]:
    """The policy and the logs: who names one thing, and that is no policy, means a log."""
    looks_like_a_log = first == "-" or (Path(first).is_file() and not first.endswith((".yaml", ".yml")))
    if not rest and looks_like_a_log:
        return DEFAULT_POLICY, [first]
    if rest and looks_like_a_log and first != "-" and _is_log(first):
        return DEFAULT_POLICY, [first, *rest]
    return first, rest


def _is_log(name: str) -> bool:
    """Has a file lines of a known format? A policy may have any name."""
    with suppress(OSError, ValueError), closing(Source(name)) as source:
        return detect([line for line in islice(source.lines(), SAMPLE_LINES) if line is not None]) is not None
    return False


# -- reading -----------------------------------------------------------------------------------------------


def _look_at(name: str, form: str | None, stack: ExitStack) -> Log:
    """Open a log, find out its format and when it begins; a plain file is closed again. Raises ValueError, OSError."""
    if form is not None:
        find_reader(form)
    source = Source(name)
    stack.callback(source.close)
    lines = source.lines()
    sample = list(islice(lines, SAMPLE_LINES))
    told = [line for line in sample if line is not None]
    found = form or detect(told)
    if found is None and any(told):
        raise ValueError(f"{name}: no known format; --format says which ({', '.join(FORMATS)})")
    reader = find_reader(found or "combined")
    log = Log(name, source.size, found or "", reader, _begin(told, reader), chain(sample, lines), source)
    if name != "-" and stat.S_ISREG(Path(name).stat().st_mode):
        source.close()
        log.lines = log.source = None
    return log


def _begin(lines: list[bytes], reader: Reader) -> float:
    for line in lines:
        try:
            return reader(line, 0).time_s
        except ValueError:
            continue
    return float("inf")


def _open_decisions(name: str | None, logs: list[str], stack: ExitStack) -> TextIO | None:
    if name is None:
        return None
    path = Path(name)
    if path.exists() and any(log != "-" and path.samefile(log) for log in logs):
        raise ValueError(f"--decisions {name}: that is one of the logs")
    return stack.enter_context(path.open("w", encoding="ascii"))


def _read_all(
    logs: list[Log],
    replay: Replay,
    decisions: TextIO | None,
    most: int | None,
    show: Callable[[int], None],
) -> None:
    number = 0
    done = 0
    for log in logs:
        opened = log.source is None
        if log.source is None:
            log.source = Source(log.name)
            log.lines = log.source.lines()
        assert log.lines is not None
        try:
            for line in islice(log.lines, most):
                _read_line(line, number, log, replay, decisions)
                number += 1
                if number % STEP_LINES == 0:
                    show(done + log.source.done_bytes)
        finally:
            if opened:
                log.source.close()
        done += log.size
        show(done)


def _read_line(line: bytes | None, number: int, log: Log, replay: Replay, decisions: TextIO | None) -> None:
    log.read += 1
    try:
        if line is None:
            raise ValueError(f"longer than {MAX_LINE_BYTES} bytes")
        entry = log.reader(line, number)
    except NoRequest:
        log.without_request += 1
    except ValueError as error:
        if line is None or line.strip():
            log.unreadable += 1
            if len(log.first_unreadable) < SHOWN_UNREADABLE:
                log.first_unreadable.append((log.read, str(error)))
    else:
        log.requests += 1
        outcome = replay.feed(entry)
        if decisions is not None:
            decisions.write(_as_line(entry.number, outcome))


def _as_line(number: int, outcome: Outcome) -> str:
    line: dict[str, object] = {"i": number, "action": outcome.action, "rule": outcome.rule}
    if outcome.signals:
        line["points"] = round(sum(signal.points for signal in outcome.signals), 1)
        line["signals"] = {signal.name: round(signal.points, 1) for signal in outcome.signals}
        line["reason"] = "+".join(signal.name for signal in outcome.signals if signal.points >= 6)
    return json.dumps(line) + "\n"


@contextmanager
def _progress(logs: list[Log]) -> Iterator[Callable[[int], None]]:
    """A bar by bytes read, where a person is looking; silence elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("replaying"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    total = sum(log.size for log in logs) if all(log.size for log in logs) else None
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda done: progress.update(task, completed=done)


# -- telling -----------------------------------------------------------------------------------------------


def _complain(logs: list[Log], interrupted: bool) -> None:
    for log in logs:
        read_as = f" (read as {log.format})" if log.format else ""
        for number, why in log.first_unreadable:
            sys.stderr.write(f"{log.name}:{number}: {why}{read_as}\n")
        if log.unreadable > len(log.first_unreadable):
            sys.stderr.write(f"{log.name}: {log.unreadable} of {log.read} lines could not be read{read_as}\n")
        if log.source is not None and log.source.cut_short:
            sys.stderr.write(f"{log.name}: {log.source.cut_short}; what came before counts\n")
        if not log.requests and not interrupted:
            sys.stderr.write(f"{log.name}: no request in it\n")
    if interrupted:
        sys.stderr.write("guard replay: stopped early; this is what was read until then\n")


def _print(report: dict[str, Any], top: int) -> None:
    from rich.filesize import decimal
    from rich.table import Table
    from rich.text import Text

    console = open_console()

    def say(text: str, style: str = "") -> None:
        console.print(Text(text, style=style))

    def tabulate(title: str, rows: list[dict[str, Any]], *columns: tuple[str, str]) -> None:
        if not rows:
            return
        table = Table(title=title, title_justify="left", expand=False)
        for heading, key in columns:
            table.add_column(heading, justify="right" if isinstance(rows[0][key], int) else "left", overflow="fold")
        for row in rows[:top]:
            cells = [decimal(row[key]) if "bytes" in key else printable(str(row[key])) for _, key in columns]
            table.add_row(*(Text(cell) for cell in cells))
        if len(rows) > top:
            table.caption = f"{len(rows) - top} more"
        console.print(table)

    requests, refused, untold = report["requests"], report["refused"], report["untold"]
    logs = counted(len(report["logs"]), "log")
    say(f"{counted(requests, 'request')} from {report['from']} to {report['until']}, in {logs}")
    share = f"{100 * refused / requests:.1f} %"
    saved = f"{decimal(report['refused_bytes'])} of {decimal(report['bytes'])} not sent"
    say(f"would have been refused: {refused} ({share}); {saved}", "bold")
    if untold:
        say(f"could not be told: {untold}, because rules ask about the agent and the log has no User-Agent")
    if not report["enforced"]:
        say("the policy only observes: refused is what enforcing it would refuse")
    if report["without_address"]:
        say(f"without an address: {report['without_address']}; they share one budget of each limit")
    if report["out_of_order"]:
        say(f"late by over an hour: {report['out_of_order']} lines; limits are simulated less well there")
    say("actions: " + ", ".join(f"{action} {number}" for action, number in report["actions"].items()))
    columns = (("requests", "requests"), ("refused", "refused"), ("not sent", "refused_bytes"))
    tabulate("rules", report["rules"], ("rule", "rule"), *columns)
    tabulate("agents", report["agents"], ("agent", "agent"), ("category", "category"), *columns)
    tabulate("routes", report["routes"], ("route", "route"), *columns)
    tabulate("rules on trial", report["on_trial"], ("rule", "rule"), ("would have acted", "requests"))
    who = (("client", "client"), ("agent", "agent"))
    tabulate("clients refused most", report["clients_refused"], *who, ("refused", "refused"), ("not sent", "bytes"))
    tabulate("clients passed most", report["clients_passed"], *who, ("passed", "passed"), ("sent", "bytes"))
    tabulate(
        "refused paths",
        report["paths_refused"],
        ("path", "path"),
        ("route", "route"),
        ("refused", "refused"),
        ("not sent", "bytes"),
    )
    hurt = report["listeners"]
    if not hurt["visitors"]:
        if untold < requests:
            say("no likely listener would have been refused anything", "green")
        return
    say(f"likely listeners refused something: {hurt['visitors']}, {hurt['refused']} requests", "bold red")
    tabulate(
        "likely listeners",
        hurt["first"],
        ("client", "client"),
        ("agent", "agent"),
        ("requests", "requests"),
        ("refused", "refused"),
        ("rule", "rule"),
        ("why a listener", "why"),
        ("User-Agent", "user_agent"),
    )


def printable(text: str) -> str:
    """What stands in a log must not move the cursor of whoever reads it."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)

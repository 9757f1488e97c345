"""`python -m loadtests.run`: the demo platform, the guard in front, and everybody who comes there at once.

Exit codes: 0 every promise held, 1 one was broken, 2 could not start or wrong usage, 130 interrupted.
"""

from __future__ import annotations

from loadtests.personas import PERSONAS, AiCrawler, Scraper  # isort: skip  # first: it patches the sockets

import argparse
import contextlib
import ctypes
import json
import logging
import math
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
from locust.env import Environment
from locust.html import get_html_report
from locust.stats import stats_history

REPORTS = Path(__file__).parent / "reports"
PLATFORM_READY_S = 120.0  # the first start makes the audio
GUARD_READY_S = 30.0
DRAIN_S = 5.0
STOP_S = 15.0
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>

_prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)


class StartError(Exception):
    """Something that the test needs would not start."""


# -- what was seen -------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """One persona's requests; `wrong` counts what should not have happened, with the first request it happened to."""

    times_ms: array[float] = field(default_factory=lambda: array("d"))
    body_bytes: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], str] = field(default_factory=dict)

    def __add__(self, other: Row) -> Row:
        return Row(self.times_ms + other.times_ms, self.body_bytes + other.body_bytes, self.statuses + other.statuses)

    def quantile_ms(self, share: float) -> float:
        """By nearest rank; 0 of nothing."""
        ranked = sorted(self.times_ms)
        return ranked[max(0, math.ceil(share * len(ranked)) - 1)] if ranked else 0.0

    def tell(self, seconds: float) -> dict[str, Any]:
        asked = len(self.times_ms) or 1
        return {
            "requests": len(self.times_ms),
            "requests_per_s": round(len(self.times_ms) / seconds, 1),
            "p50_ms": round(self.quantile_ms(0.50), 1),
            "p99_ms": round(self.quantile_ms(0.99), 1),
            "bytes": self.body_bytes,
            "refused_share": round((self.statuses[403] + self.statuses[429]) / asked, 4),
            "throttled_share": round(self.statuses[429] / asked, 4),
            "statuses": {str(status): times for status, times in sorted(self.statuses.items())},
        }


class Tally:
    """Listens to Locust's request events."""

    def __init__(self) -> None:
        self.rows = {each.persona: Row() for each in PERSONAS}

    def total(self) -> Row:
        return sum(self.rows.values(), Row())

    def note(
        self,
        request_type: str,
        name: str,
        response_time: float,
        response_length: int,
        response: Any,
        exception: BaseException | None,
        url: str,
        **_: Any,
    ) -> None:
        row = self.rows[name.partition(": ")[0]]
        row.times_ms.append(response_time)
        row.body_bytes += response_length
        row.statuses[response.status_code] += 1
        if exception:
            kind = (type(exception).__name__, str(exception))
            row.wrong[kind] += 1
            row.examples.setdefault(kind, f"{request_type} {re.sub('^https?://[^/]+', '', url)[:160]}")


VERBS = {"Refused": "was refused", "Admitted": "was let in", "Broken": "got a broken answer"}


def find_problems(tally: Tally, *, policy_known: bool = True) -> list[str]:
    """Every promise that was broken, in words, with one request each; only those to listeners unless `policy_known`."""
    problems = []
    for persona, row in tally.rows.items():
        if not row.times_ms:
            problems.append(f"{persona} made no request, so nothing is known of it: more --users or --seconds")
        for kind, times in row.wrong.most_common():
            what, said = kind
            if persona in (AiCrawler.persona, Scraper.persona) and not policy_known:
                continue  # nobody promised them anything
            example = row.examples[kind]
            problems.append(f"{persona} {VERBS.get(what, what)}: {said}, {times} times, first {example}")
    if policy_known and not tally.rows[Scraper.persona].statuses[429]:
        problems.append(f"{Scraper.persona} was never slowed down")
    return problems


# -- what is tested ------------------------------------------------------------------------------------------------


def follow_into_death() -> None:
    """In a child, before its program starts: when we die, however it happens, it is asked to stop."""
    if _prctl:
        _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class Running:
    """A program of ours and the file it writes its complaints to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def said(self, lines: int = 15) -> str:
        """The end of its log, indented."""
        return "".join(f"    {line}\n" for line in self.log.read_text("utf-8", "replace").splitlines()[-lines:])

    def stop(self) -> str:
        """Ask it to stop, then make it. What was wrong with how it went, if anything."""
        died = self.process.poll()
        if died is not None:
            return f"{self.name} ended by itself with exit code {died}:\n{self.said()}"
        self.process.terminate()
        try:
            code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)  # its own group: it and its workers
            self.process.wait()
            return f"{self.name} did not stop within {STOP_S:.0f} s and was killed:\n{self.said()}"
        return f"{self.name} stopped with exit code {code}:\n{self.said()}" if code not in (0, -signal.SIGTERM) else ""


@contextlib.contextmanager
def running(name: str, command: list[str], folder: Path, problems: list[str]) -> Iterator[Running]:
    """A child in a group of its own (Ctrl-C reaches only us), stopped at the end; `problems` hears how that went."""
    log = folder / f"{name}.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=follow_into_death,
        )
    child = Running(name, process, log)
    try:
        yield child
    finally:
        if problem := child.stop():
            problems.append(problem)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def await_answer(child: Running, url: str, within_s: float) -> bytes:
    """The body of the first 200 from `url`. Raises StartError."""
    deadline = time.monotonic() + within_s
    trouble: Exception | None = None
    while time.monotonic() < deadline:
        if child.process.poll() is not None:
            raise StartError(f"{child.name} ended at once (exit code {child.process.returncode}):\n{child.said()}")
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bytes(answer.read())
        except (OSError, urllib.error.URLError) as error:
            trouble = error
            gevent.sleep(0.05)
    raise StartError(f"{child.name} did not answer within {within_s:.0f} s ({trouble}):\n{child.said()}")


@contextlib.contextmanager
def platform(folder: Path, problems: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Its URL, and the path of every page in its sitemap."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "guard.demo.platform:create_app", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--log-level", "warning", "--no-access-log"]
    with running("platform", command, folder, problems) as child:
        url = f"http://127.0.0.1:{port}"
        sitemap = await_answer(child, f"{url}/sitemap.xml", PLATFORM_READY_S).decode()
        yield url, re.findall(r"<loc>https?://[^/<]+([^<]*)</loc>", sitemap)


@contextlib.contextmanager
def sidecar(upstream: str, policy: str, workers: int, folder: Path, problems: list[str]) -> Iterator[str]:
    """The guard's URL."""
    port = free_port()
    command = [sys.executable, "-m", "guard", "serve", "--upstream", upstream, "--policy", policy]
    command += ["--listen", f"127.0.0.1:{port}", "--store", "embedded", "--workers", str(workers)]
    command += ["--trusted-proxies", "127.0.0.1/32", "--log", "none", "--drain", str(DRAIN_S)]
    with running("guard", command, folder, problems) as child:
        url = f"http://127.0.0.1:{port}"
        await_answer(child, f"{url}/robots.txt", GUARD_READY_S)
        yield url
        log = child.log.read_text("utf-8", "replace")
        if "Traceback" in log:
            problems.append(f"guard raised exceptions:\n{child.said(30)}")
        problems += [f"a worker of the guard died: {line}" for line in log.splitlines() if "ended with status" in line]


def elsewhere(url: str) -> tuple[str, list[str]]:
    """A guard that runs already, and the pages of the demo platform behind it. Raises StartError."""
    try:
        with urllib.request.urlopen(f"{url}/sitemap.xml", timeout=5) as answer:
            sitemap = answer.read().decode()
    except (OSError, urllib.error.URLError) as error:
        raise StartError(f"{url} does not answer: {error}") from None
    return url, re.findall(r"<loc>https?://[^/<]+([^<]*)</loc>", sitemap)


# -- the test ------------------------------------------------------------------------------------------------------


def cast(users: int) -> int:
    """Give every persona its fixed number of users, at least one. How many that is."""
    for each in PERSONAS:
        each.fixed_count = max(1, round(users * each.share / 40))
    return sum(each.fixed_count for each in PERSONAS)


def play(environment: Environment, users: int, seconds: float) -> None:
    """Let everybody in within two seconds, and out after `seconds`."""
    runner = environment.create_local_runner()
    history = gevent.spawn(stats_history, runner)
    try:
        runner.start(users, spawn_rate=max(1, users / 2))
        gevent.sleep(seconds)
    finally:
        runner.stop()
        history.kill()


COLUMNS = (
    ("requests", 8, "requests", "{:d}"),
    ("req/s", 7, "requests_per_s", "{:.1f}"),
    ("p50 ms", 7, "p50_ms", "{:.1f}"),
    ("p99 ms", 7, "p99_ms", "{:.1f}"),
    ("MB", 7, "megabytes", "{:.1f}"),
    ("refused", 8, "refused_share", "{:.1%}"),
    ("throttled", 9, "throttled_share", "{:.1%}"),
)


def draw(tally: Tally, seconds: float) -> str:
    """The table."""
    lines = [f"{'persona':<18}" + "".join(f" {title:>{width}}" for title, width, _, _ in COLUMNS)]
    for name, row in (*tally.rows.items(), ("total", tally.total())):
        told = row.tell(seconds)
        told["megabytes"] = told["bytes"] / 1e6
        cells = (f" {form.format(told[key]):>{width}}" for _, width, key, form in COLUMNS)
        lines.append(f"{name:<18}" + "".join(cells))
    return "\n".join(lines) + "\n"


def test(arguments: argparse.Namespace, tell: Any) -> tuple[dict[str, Any], str]:
    """Everything from start to stop: the outcome for JSON, and the table. Raises StartError."""
    users, tally, problems = cast(arguments.users), Tally(), []
    ended: list[str] = []  # how the programs went
    with tempfile.TemporaryDirectory(prefix="guard-load-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        if arguments.guard:
            url, links = elsewhere(arguments.guard)
            tell(f"{users} users for {arguments.seconds:g} s at {url}\n")
        else:
            upstream, links = stack.enter_context(platform(folder, ended))
            url = stack.enter_context(sidecar(upstream, arguments.policy, arguments.workers, folder, ended))
            tell(f"{users} users for {arguments.seconds:g} s at {url}, policy {arguments.policy}\n")
        environment = Environment(user_classes=list(PERSONAS), host=url, stop_timeout=5)
        environment.links, environment.speed = links, arguments.speed
        environment.events.request.add_listener(tally.note)
        started = time.monotonic()
        play(environment, users, arguments.seconds)
        seconds = time.monotonic() - started
        arguments.report.mkdir(parents=True, exist_ok=True)
        report = arguments.report / "load.html"
        report.write_text(get_html_report(environment, show_download_link=False), "utf-8")
        for trouble in environment.runner.exceptions.values():
            problems.append(
                f"a persona itself failed {trouble['count']} times: {trouble['msg']}\n{trouble['traceback']}"
            )
    problems += find_problems(tally, policy_known=not arguments.guard) + ended
    outcome = {
        "ok": not problems,
        "policy": arguments.guard or arguments.policy,
        "users": users,
        "seconds": round(seconds, 1),
        "personas": {persona: row.tell(seconds) for persona, row in tally.rows.items()},
        "total": tally.total().tell(seconds),
        "problems": problems,
        "report": str(report),
    }
    return outcome, draw(tally, seconds)


def read_arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.run",
        description="Load the demo platform through the guard with everybody who comes to a music platform.",
        epilog="examples:\n  python -m loadtests.run --seconds 30 --users 80 --json\n"
        "  python -m loadtests.run --seconds 60 --guard http://127.0.0.1:8080\n\n"
        "exit codes: 0 every promise held, 1 one was broken, 2 could not start or wrong usage, 130 interrupted",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seconds", type=float, default=60, metavar="S", help="how long (default: 60, at most 3600)")
    add("--users", type=int, default=40, metavar="N", help="how many at once, at least one a persona (default: 40)")
    add("--workers", type=int, default=2, metavar="N", help="processes of the guard (default: 2)")
    add("--policy", default="no-ai", metavar="FILE", help="a policy file or a shipped name (default: no-ai)")
    add(
        "--guard",
        metavar="URL",
        help="a guard that runs already, before the demo platform, on this machine; then only listeners are promised "
        "anything, for its policy is not known here",
    )
    add("--speed", type=float, default=5, metavar="X", help="how much faster than life people act (default: 5)")
    add("--report", type=Path, default=REPORTS, metavar="DIR", help="where load.html goes (default: loadtests/reports)")
    add("--json", action="store_true", help="the outcome as one JSON object instead of a table")
    arguments = parser.parse_args(words)
    if not 1 <= arguments.seconds <= 3600:
        parser.error("--seconds: from 1 to 3600")
    if not 1 <= arguments.users <= 2000:
        parser.error("--users: from 1 to 2000")
    if arguments.workers < 1:
        parser.error("--workers: at least 1")
    if not 0 < arguments.speed <= 100:
        parser.error("--speed: above 0, at most 100")
    if arguments.guard:
        arguments.guard = arguments.guard.rstrip("/")
        if not re.fullmatch(r"http://(?:127\.0\.0\.1|localhost)(?::[0-9]{1,5})?", arguments.guard):
            parser.error("--guard: http://127.0.0.1:PORT, nothing beyond this machine is ever loaded")
    return arguments


def main(words: list[str] | None = None) -> int:
    arguments = read_arguments(words)
    logging.basicConfig(level=logging.ERROR, format="load: %(message)s")
    gevent.signal_handler(signal.SIGTERM, gevent.kill, gevent.getcurrent(), KeyboardInterrupt)
    try:
        outcome, table = test(arguments, lambda words: arguments.json or sys.stderr.write(words))
    except StartError as error:
        sys.stderr.write(f"load: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("load: interrupted; everything was stopped\n")
        return 130
    if arguments.json:
        print(json.dumps(outcome, indent=2))
        return 0 if outcome["ok"] else 1
    print(f"\n{table}\nreport: {outcome['report']}")
    for problem in outcome["problems"]:
        print(f"FAILED: {problem}")
    if outcome["ok"]:
        crawlers = "" if arguments.guard else "no AI crawler was let in, "
        print(f"ok: nobody who listens was refused, {crawlers}nothing broke")
    return 0 if outcome["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())

"""`guard demo`: a small music platform, the guard in front, and a cast of visitors."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from guard.cli.policies import find_policy, open_console, print_json, read_or_complain
from guard.policy import Policy

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from guard.demo.cast import Visit, Visitor
    from guard.demo.choices import Sight, Stage

POLICY = "no-ai"
READY_S = 30.0


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n  guard demo\n  guard demo --once\n  guard demo --once --json\n  guard demo --choices\n"
        "  guard demo --platform --listen 127.0.0.1:4533\n\n"
        "Everything listens on 127.0.0.1 only. Needs the demo extra: pip install 'noai-guard[demo]'\n"
        "exit codes: 0 every decision was as the policy's own examples say, 1 one was not, 2 could not start"
    )
    parser.add_argument("--once", action="store_true", help="stop after the cast, and tell by the exit code")
    parser.add_argument(
        "--listen", default="127.0.0.1:0", metavar="H:P", help="where the guard answers (default: a free port)"
    )
    parser.add_argument(
        "--platform", action="store_true", help="only the platform, at --listen, for a guard of your own in front"
    )
    parser.add_argument(
        "--choices",
        action="store_true",
        help="two artists turn switches through the API: what every surface says before and after, on four workers",
    )
    parser.add_argument("--json", action="store_true", help="the outcome as one JSON object instead of tables")


@dataclass
class Outcome:
    """What happened to one visitor."""

    visitor: Visitor
    expected: set[str] = field(default_factory=set)
    asked: int = 0
    answered: int = 0
    refused: int = 0
    body_bytes: int = 0
    audio_s: float = 0.0
    agent: str = ""
    decided: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    doing: str = ""


def run(arguments: argparse.Namespace) -> int:
    try:
        from guard.demo.audio import open_av

        open_av()
    except ImportError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    from guard.demo.platform import choose_directory, prepare

    policy = read_or_complain(POLICY)
    if policy is None:
        return 2
    quiet = arguments.json
    directory = choose_directory()
    directory.mkdir(parents=True, exist_ok=True)

    def progress(done: int, total: int) -> None:
        if not quiet:
            sys.stderr.write(f"\rmaking the audio: {done} of {total} pieces")
            sys.stderr.flush()
            if done == total:
                sys.stderr.write("\n")

    signal.signal(signal.SIGTERM, _interrupt)  # asked to end in another way, what was started is ended, too
    with ExitStack() as stack:
        try:
            prepare(directory, progress)
            environment = {**os.environ, "GUARD_DEMO_DIR": str(directory)}
            if arguments.platform:
                return _stay_alone(stack, arguments.listen, environment)
            platform_port = free_port()
            stack.enter_context(_platform(platform_port, environment))
            if arguments.choices:
                return _play_choices(stack, platform_port, arguments)
            guard, host, port = stack.enter_context(_guard(platform_port, arguments.listen))
        except (OSError, RuntimeError) as error:
            sys.stderr.write(f"guard demo: {error}\n")
            return 2
        lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=_read_lines, args=(guard, lines), daemon=True).start()
        outcomes = play(policy, host, port, lines, quiet=quiet)
        good = report(outcomes, host, port, as_json=arguments.json)
        if not arguments.once:
            _stay(host, port)
        return 0 if good else 1


def _play_choices(stack: ExitStack, platform_port: int, arguments: argparse.Namespace) -> int:
    """Two switches, and what became of them. 0 when every worker obeyed both in time."""
    from guard.demo import choices

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="guard-demo-")))
    host, _, asked = arguments.listen.rpartition(":")
    if host not in ("127.0.0.1", "localhost") or not asked.isdigit():
        raise OSError(f"'{arguments.listen}': the guard of this demo listens on 127.0.0.1:PORT only")
    stage = choices.set_stage(folder, int(asked) or free_port(), free_port())
    stack.enter_context(guard_with_choices(stage, platform_port))
    quiet = arguments.json

    def tell(line: str) -> None:
        if not quiet:
            sys.stderr.write(f"{line}\n")

    sights = choices.play(stage, tell)
    history = {str(work): choices.tell_history(stage, work) for work in choices.works_of()}
    good = all(sight.good for sight in sights)
    if quiet:
        rows = [{**sight._asdict(), "good": sight.good} for sight in sights]
        print_json({"ok": good, "workers": choices.WORKERS, "sights": rows, "history": history})
    else:
        _print_choices(sights, history, choices.WORKERS)
    if not arguments.once:
        console = _console()
        console.print(f"\nThe guard stays up: http://127.0.0.1:{stage.port}/ai-policy   (stop with Ctrl-C)")
        console.print(f"  guard rights history {stage.register} track:{choices.choose_tracks()[0]}", markup=False)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    return 0 if good else 1


@contextlib.contextmanager
def guard_with_choices(stage: Stage, platform_port: int) -> Iterator[subprocess.Popen[str]]:
    """`guard serve` with four workers and the rights API, until the block ends."""
    from guard.demo.choices import WORKERS

    command = [sys.executable, "-m", "guard", "serve", "--upstream", f"http://127.0.0.1:{platform_port}"]
    command += ["--policy", str(stage.policy), "--listen", f"127.0.0.1:{stage.port}", "--workers", str(WORKERS)]
    command += ["--api", f"127.0.0.1:{stage.api_port}", "--api-tokens", str(stage.tokens)]
    command += ["--log", "none", "--no-lookups"]
    with _running(command, dict(os.environ), stderr=subprocess.PIPE) as process:
        _await_port(process, "127.0.0.1", stage.port, "the guard")
        _await_port(process, "127.0.0.1", stage.api_port, "the rights API")
        yield process


def _print_choices(sights: list[Sight], history: dict[str, list[str]], workers: int) -> None:
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    console = _console()
    table = Table(box=SIMPLE, padding=0, title=f"{workers} workers, before and after", title_justify="left")
    for heading in ("surface", "before", "after", "seen on all workers"):
        table.add_column(heading, overflow="fold")
    for sight in sights:
        took = f"{sight.took_s:.2f} s" if sight.took_s is not None else f"NEVER (expected {sight.expected})"
        style = "green" if sight.good else "bold red"
        table.add_row(Text(sight.surface), Text(sight.before), Text(sight.after), Text(took, style=style))
    console.print(table)
    for work, lines in history.items():
        console.print(Text(f"history of {work}"))
        for line in lines:
            console.print(Text(f"  {line}"))


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _stay_alone(stack: ExitStack, listen: str, environment: dict[str, str]) -> int:
    """The platform without a guard, until Ctrl-C."""
    host, _, asked = listen.rpartition(":")
    if host not in ("127.0.0.1", "localhost") or not asked.isdigit():
        raise OSError(f"'{listen}': the platform listens on 127.0.0.1:PORT only")
    port = int(asked) or free_port()
    stack.enter_context(_platform(port, environment))
    sys.stdout.write(
        f"The platform answers at http://127.0.0.1:{port}, unguarded. Put a guard in front, and stop with Ctrl-C:\n"
        f"  guard serve --upstream http://127.0.0.1:{port} --listen 127.0.0.1:8080 --log all\n"
    )
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
    return 0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def _platform(port: int, environment: dict[str, str]) -> Iterator[None]:
    command = [sys.executable, "-m", "uvicorn", "--factory", "guard.demo.platform:create_app", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--log-level", "warning", "--no-proxy-headers"]
    with _running(command, environment) as process:
        _await_port(process, "127.0.0.1", port, "the platform")
        yield


@contextlib.contextmanager
def _guard(platform_port: int, listen: str) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """`guard serve` itself, with an embedded Valkey; its decisions come out of its stdout."""
    host, _, asked = listen.rpartition(":")
    port = int(asked) or free_port()
    command = [sys.executable, "-m", "guard", "serve", "--upstream", f"http://127.0.0.1:{platform_port}"]
    command += ["--policy", str(find_policy(POLICY)), "--listen", f"{host}:{port}", "--store", "embedded"]
    command += ["--trusted-proxies", "127.0.0.1/32", "--log", "all", "--no-lookups"]  # its visitors are actors
    with _running(command, dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        _await_port(process, host, port, "the guard")
        yield process, host, port


@contextlib.contextmanager
def _running(
    command: list[str], environment: dict[str, str], stdout: int | None = None, stderr: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(  # noqa: S603  # our own interpreter and our own modules
        command, env=environment, stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL, text=True
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_port(process: subprocess.Popen[str], host: str, port: int, who: str) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said = process.stderr.read() if process.stderr else ""
            raise RuntimeError(f"{who} did not start (exit code {process.returncode}) {said}".strip())
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=0.2):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{who} did not answer on {host}:{port} within {READY_S:.0f} s")


def _read_lines(process: subprocess.Popen[str], lines: queue.SimpleQueue[dict[str, Any]]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        with contextlib.suppress(ValueError):
            if "action" in (said := json.loads(line)):  # else it tells of the policy, not of a request
                lines.put(said)


def subsonic_auth() -> str:
    """A Subsonic client's salted token for the demo's password."""
    salt = "c0ffee"
    token = hashlib.md5(f"reed{salt}".encode(), usedforsecurity=False).hexdigest()
    return f"u=demo&t={token}&s={salt}&v=1.16.1&c=demo-client&f=json"


def play(
    policy: Policy, host: str, port: int, lines: queue.SimpleQueue[dict[str, Any]], *, quiet: bool
) -> list[Outcome]:
    """Send the cast, one visitor after another, and hold every decision against the policy's examples."""
    from rich.live import Live

    from guard.demo.cast import CAST, visit

    examples = {example.name: example for example in policy.examples}
    outcomes = [Outcome(visitor) for visitor in CAST]
    auth = subsonic_auth()
    with contextlib.ExitStack() as stack:
        live: Live | None = None
        if not quiet:
            live = stack.enter_context(Live(draw(outcomes), console=_console(), auto_refresh=False, transient=True))
        for outcome in outcomes:
            for got in visit(outcome.visitor, host, port, auth):
                outcome.doing = f"{got.step.method} {got.step.path.partition('?')[0]}"
                _judge(outcome, got, examples[got.step.example].expect if got.step.example else "serve", lines)
                if live is not None and (outcome.asked % 10 == 1 or got.step.times == 1):
                    live.update(draw(outcomes), refresh=True)
            outcome.doing = ""
            _judge_burst(outcome)
    return outcomes


def _judge(outcome: Outcome, got: Visit, expected: str, lines: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Was this step decided as its example says, and did the visitor get what was decided?"""
    outcome.asked += 1
    outcome.expected.add(expected)
    outcome.body_bytes += got.body_bytes
    outcome.audio_s += got.audio_s
    place = f"{got.step.method} {got.step.path.partition('?')[0]}"
    try:
        line = lines.get(timeout=5.0)
    except queue.Empty:
        outcome.wrong.append(f"{place}: no decision was logged")
        return
    action = line["action"]
    reason = f"{action} ({line['rule']})" if line["rule"] else action
    outcome.decided[reason] = outcome.decided.get(reason, 0) + 1
    outcome.agent = line["agent"]
    refused = got.status in (403, 429)
    outcome.refused += refused
    outcome.answered += 100 < got.status < 400
    if action != expected:
        outcome.wrong.append(f"{place}: expected {expected}, decided {reason}")
    fitting = {"allow": (100, 399), "serve": (200, 200), "block": (403, 403)}.get(action)
    if fitting is not None and not fitting[0] <= got.status <= fitting[1]:
        outcome.wrong.append(f"{place}: decided {reason}, but the answer was {got.status or 'broken off'}")
    if action == "throttle" and not (got.status < 400 or got.status == 429):
        outcome.wrong.append(f"{place}: throttled, but the answer was {got.status or 'broken off'}")
    if not got.whole:
        outcome.wrong.append(f"{place}: the answer was not whole")


def _judge_burst(outcome: Outcome) -> None:
    """Who is throttled politely gets everything; who bursts gets the burst and then has to wait."""
    if outcome.expected == {"throttle"} and outcome.asked > 50 and not 0 < outcome.refused < outcome.asked:
        outcome.wrong.append(f"a burst of {outcome.asked}: {outcome.refused} refused, expected some and not all")
    elif "throttle" in outcome.expected and outcome.asked <= 50 and outcome.refused:
        outcome.wrong.append("a polite crawler was refused")


def _console() -> Console:
    """As wide as the terminal; wide enough for the table where there is none."""
    console: Console = open_console() if sys.stdout.isatty() else open_console(width=140)
    return console


def draw(outcomes: list[Outcome]) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title="Who came, what was decided, what they got", title_justify="left", expand=False, box=SIMPLE, padding=0
    )
    for heading, justify in (
        ("visitor", "left"),
        ("known as", "left"),
        ("decided (rule)", "left"),
        ("asked", "right"),
        ("answered", "right"),
        ("refused", "right"),
        ("bytes", "right"),
        ("audio", "right"),
        ("as stated", "left"),
    ):
        table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for one in outcomes:
        if not one.asked:
            continue
        decided = "\n".join(f"{reason} x{count}" for reason, count in one.decided.items())
        mark = Text("NO", style="bold red") if one.wrong else Text(one.doing or "yes", style="green")
        table.add_row(
            one.visitor.name,
            one.agent,
            Text(decided),
            str(one.asked),
            str(one.answered),
            str(one.refused),
            f"{one.body_bytes:,}",
            f"{one.audio_s:.0f} s",
            mark,
        )
    return table


def report(outcomes: list[Outcome], host: str, port: int, *, as_json: bool) -> bool:
    """Print the outcome; True when everything was as stated."""
    wrong = [f"{one.visitor.name}: {what}" for one in outcomes for what in one.wrong]
    if as_json:
        rows = [
            {
                "visitor": one.visitor.name,
                "agent": one.agent,
                "decided": one.decided,
                "asked": one.asked,
                "answered": one.answered,
                "refused": one.refused,
                "bytes": one.body_bytes,
                "audio_s": round(one.audio_s, 1),
                "wrong": one.wrong,
            }
            for one in outcomes
        ]
        sys.stdout.write(json.dumps({"ok": not wrong, "visitors": rows}) + "\n")
        return not wrong
    console = _console()
    console.print(draw(outcomes))
    total = sum(one.asked for one in outcomes)
    if wrong:
        for line in wrong:
            console.print(line, style="red", markup=False)
    else:
        console.print(f"{total} requests by {len(outcomes)} visitors: every decision as the policy's examples say.")
    return not wrong


def _stay(host: str, port: int) -> None:
    from guard.demo.cast import ALBUM, TRACK

    base = f"http://{host}:{port}"
    console = _console()
    console.print(
        f"\nThe guard and the platform stay up. Try, and stop with Ctrl-C:\n  {base}/track/{TRACK}      in a browser"
    )
    for hint in (
        f"curl -i {base}/robots.txt",
        f"curl -i -A GPTBot {base}/track/{TRACK}",
        f"curl -i -A GPTBot -H 'Accept: text/html' {base}/album/{ALBUM}",
        f"curl -r 0-99 -o part.mp3 -D - {base}/media/{TRACK}.mp3",
        f"guard explain no-ai --path /media/{TRACK}.mp3 --ua CCBot/2.0",
    ):
        console.print(f"  {hint}", markup=False, highlight=False)
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()

"""`python -m loadtests.clients`: real browsers, players and rippers through the real sidecar.

Exit codes: 0 all went as expected, 1 one did not, 2 could not start or wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from loadtests.clients.browsers import xvfb
from loadtests.clients.findings import Finding, draw, find, write_capture
from loadtests.clients.gates import Gate, Gates
from loadtests.clients.listeners import LISTENERS, Client, Visit
from loadtests.clients.platform import Sound, compose, read_sound, record
from loadtests.clients.processes import RigError, Session, await_answer, free_port, running, tail
from loadtests.clients.rippers import RIPPERS
from loadtests.clients.tools import ROOT, choose_directory, find_hls, find_python, install, version_of

CLIENTS = (*LISTENERS, *RIPPERS)
PLATFORM_READY_S = 60.0
GUARD_READY_S = 60.0
GRACE_S = 90.0  # for a client to start and to end beside its session


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    names = ", ".join(client.name for client in CLIENTS)
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.clients",
        description="Real clients through the real sidecar: listeners are never refused, rippers are stopped.",
        epilog=f"clients: {names}\n\n"
        "examples:\n"
        "  python -m loadtests.clients                                   all of them, ten minutes\n"
        "  python -m loadtests.clients --seconds 60 --only mpv,yt-dlp    two of them, a minute\n"
        "  python -m loadtests.clients --capture seen.jsonl --json       and everything they sent\n\n"
        "exit codes: 0 all went as expected, 1 one did not, 2 could not start or wrong usage, 130 interrupted",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seconds", type=float, default=600, metavar="S", help="how long each listener stays (default: 600)")
    add("--ripper-seconds", type=float, default=90, metavar="S", help="how long a ripper may try (default: 90)")
    add("--only", metavar="NAME,…", help="some of the clients; `listeners` and `rippers` name all of those")
    add("--policy", default="no-ai", metavar="FILE", help="a policy file or a shipped name (default: no-ai)")
    add("--workers", type=int, default=1, metavar="N", help="the sidecar's processes (default: 1)")
    add("--store", default="memory", metavar="URL", help="the sidecar's store (default: memory)")
    add("--mbit", type=float, default=50, metavar="M", help="speed of each client's line, 0 for none (default: 50)")
    add("--seed", type=int, default=1, metavar="N", help="of what people choose (default: 1)")
    add("--capture", type=Path, metavar="FILE", help="write every request there, one JSON line each")
    add("--logs", type=Path, metavar="FOLDER", help="keep the logs of all programs there")
    add("--json", action="store_true", help="the findings as JSON on stdout")
    arguments = parser.parse_args(argv)
    try:
        arguments.clients = choose(arguments.only)
    except KeyError as error:
        parser.error(f"--only: there is no client {error.args[0]!r}; there are {names}")
    if not arguments.clients:
        parser.error(f"--only: names no client; there are {names}")
    return arguments


def choose(only: str | None) -> tuple[Client, ...]:
    """The clients by name, in their own order. Raises KeyError."""
    if only is None:
        return CLIENTS
    groups = {"listeners": LISTENERS, "rippers": RIPPERS, **{client.name: (client,) for client in CLIENTS}}
    wanted = {client.name for name in only.split(",") if name.strip() for client in groups[name.strip()]}
    return tuple(client for client in CLIENTS if client.name in wanted)


# -- what is tested ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def platform(directory: Path, hls_js: Path, folder: Path) -> Iterator[int]:
    """The platform's port."""
    port, log = free_port(), folder / "platform.log"
    command = [sys.executable, "-m", "uvicorn", "--factory", "loadtests.clients.platform:create_app"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning", "--no-access-log"]
    environment = {"GUARD_CLIENTS_DIR": str(directory), "GUARD_CLIENTS_HLS": str(hls_js), "PYTHONPATH": str(ROOT)}
    with running([*command, "--no-proxy-headers"], log, environment=environment) as process:
        await_answer(process, port, "/robots.txt", log, PLATFORM_READY_S)
        yield port


@contextlib.contextmanager
def sidecar(upstream: int, arguments: argparse.Namespace, folder: Path) -> Iterator[int]:
    """The guard's port; its decisions are in decisions.jsonl."""
    port, log = free_port(), folder / "guard.log"
    command = [sys.executable, "-m", "guard", "serve", "--upstream", f"http://127.0.0.1:{upstream}"]
    command += ["--listen", f"127.0.0.1:{port}", "--policy", arguments.policy, "--store", arguments.store]
    command += ["--workers", str(arguments.workers), "--no-lookups", "--log", "all", "--drain", "3"]
    with running(command, log, output=folder / "decisions.jsonl") as process:
        await_answer(process, port, "/robots.txt", log, GUARD_READY_S)
        yield port
        if process.poll() is not None or "Traceback" in log.read_text("utf-8", "replace"):
            raise RigError(f"the guard broke:\n{tail(log, 30)}")


def seen_clients(decisions: Path) -> set[str]:
    """The networks that the sidecar took for its clients'."""
    text = decisions.read_text("utf-8", "replace")  # other lines are there, too, and a killed worker's last may be half
    return set(re.findall(r'"client": "([^"]+)"', text))


# -- the test ------------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """One client that came, comes or will come."""

    client: Client
    gate: Gate
    visit: Visit
    version: str
    trouble: str = ""


class Rig:
    """Everything between the first program and the last: who comes, through which gate, and when it is over."""

    def __init__(
        self, arguments: argparse.Namespace, folder: Path, stop: threading.Event, prepared: threading.Event
    ) -> None:
        self.arguments, self.folder, self.stop, self.prepared = arguments, folder, stop, prepared
        self.runs: list[Run] = []
        self.sound: Sound | None = None

    def tell(self, line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def test(self) -> list[Finding]:
        """From start to stop. Raises RigError."""
        arguments, clients = self.arguments, self.arguments.clients
        directory = choose_directory()
        install(["npm", *(need for client in clients for need in client.needs)])
        hls_js = find_hls(directory, self.tell)
        ours = any("{python}" in client.version for client in clients)
        python = find_python(directory, self.tell) if ours else Path(sys.executable)
        record(directory, self.tell)
        self.sound = read_sound(directory)
        tracks = tuple(track.id for track in compose().tracks)
        self.prepared.set()  # from here on there are programs to end
        with contextlib.ExitStack() as stack:
            upstream = stack.enter_context(platform(directory, hls_js, self.folder))
            port = stack.enter_context(sidecar(upstream, arguments, self.folder))
            gates = stack.enter_context(Gates(port, arguments.mbit * 1e6))
            windowed = any(client.windowed for client in clients)
            display = stack.enter_context(xvfb(self.folder)) if windowed else None
            for n, client in enumerate(clients):
                own = self.folder / client.name
                own.mkdir()
                version = version_of([word.replace("{python}", str(python)) for word in client.version])
                gate = gates.open(client.name, f"127.{10 + n}.0.2")  # networks of their own, as people have
                seconds = arguments.seconds if client.listener else arguments.ripper_seconds
                rng = Random(f"{arguments.seed} {client.name}")
                visit = Visit(client.name, gate.url, Session(seconds, self.stop), own, rng, tracks, python, display)
                self.runs.append(Run(client, gate, visit, version))
            self.tell(f"{len(clients)} clients, listeners for {arguments.seconds:g} s, policy {arguments.policy}")
            self.everybody()
        return self.judge()

    def everybody(self) -> None:
        """All listeners at the same time, and beside them the rippers, one after the other."""
        listeners = [run for run in self.runs if run.client.listener]
        rippers = [run for run in self.runs if not run.client.listener]
        with ThreadPoolExecutor(len(listeners) + 1, "client") as pool:
            futures: list[Future[None]] = [pool.submit(self.act, run) for run in listeners]
            futures.append(pool.submit(self.act_in_turn, rippers))
            limit_s = max(self.arguments.seconds, len(rippers) * (self.arguments.ripper_seconds + 20)) + GRACE_S
            deadline = time.monotonic() + limit_s
            try:
                while not all(future.done() for future in futures) and not self.stop.is_set():
                    self.stop.wait(0.3)
                    if time.monotonic() > deadline:
                        self.stop.set()
                        raise RigError(f"the clients were not done within {limit_s:.0f} s")
            finally:
                if not all(future.done() for future in futures):
                    self.stop.set()

    def act_in_turn(self, runs: Sequence[Run]) -> None:
        for run in runs:
            self.act(run)

    def act(self, run: Run) -> None:
        """One client's whole stay."""
        if self.stop.is_set():
            return
        seconds = run.visit.session.seconds
        run.visit.session = Session(seconds, self.stop)  # its time begins now
        self.tell(f"  {run.client.name} comes")
        try:
            run.client.act(run.visit)
        except Exception as error:  # noqa: BLE001 - told in the findings; the others go on
            run.trouble = f"{type(error).__name__}: {error}"
        for left in run.visit.folder.iterdir():  # what it took and its profile: only what it said is kept
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
        self.tell(f"  {run.client.name} is done, {len(run.gate.exchanges)} requests")

    def judge(self) -> list[Finding]:
        """After everything has ended, so that every log is whole."""
        assert self.sound is not None
        if self.arguments.capture:
            pairs = [(run.client, run.gate) for run in self.runs]
            count = write_capture(self.arguments.capture, pairs, self.sound)
            self.tell(f"{count} requests in {self.arguments.capture}")
        seen = seen_clients(self.folder / "decisions.jsonl")
        findings = []
        for run in self.runs:
            finding = find(run.client, run.gate, run.visit, run.version, self.sound, run.trouble)
            network = run.gate.address.rpartition(".")[0] + ".0/24"
            if finding.requests and network not in seen:
                finding.ok = False
                finding.problems.append(f"the sidecar took none of its requests as coming from {network}")
            findings.append(finding)
        return findings


def main(argv: Sequence[str] | None = None) -> int:
    arguments = read_arguments(argv)
    stop = threading.Event()

    interrupted, prepared = threading.Event(), threading.Event()

    def heed(number: int, frame: object) -> None:
        interrupted.set()
        stop.set()
        if not prepared.is_set():
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, heed)
    with contextlib.ExitStack() as stack:
        if arguments.logs:
            arguments.logs.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="run-", dir=arguments.logs))
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="guard-clients-")))
        folder.chmod(0o755)
        try:
            findings = Rig(arguments, folder, stop, prepared).test()
        except KeyboardInterrupt:
            return 130
        except RigError as error:
            sys.stderr.write(f"{error}\n")
            return 130 if interrupted.is_set() else 2
    if arguments.json:
        outcome = {
            "ok": all(finding.ok for finding in findings),
            "policy": arguments.policy,
            "seconds": arguments.seconds,
            "workers": arguments.workers,
            "clients": [asdict(finding) for finding in findings],
        }
        sys.stdout.write(json.dumps(outcome, indent=1) + "\n")
    else:
        sys.stdout.write(draw(findings))
    if interrupted.is_set():
        return 130
    return 0 if all(finding.ok for finding in findings) else 1


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())

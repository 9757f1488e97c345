"""One round of load, and what it cost the party that carried it."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from loadtests.bench.processes import BenchError, Server, as_child_on

_SCRIPTS = ("cmdstat_evalsha", "cmdstat_eval", "cmdstat_fcall")
_seeds = itertools.count(int(time.time()) % 1_000_000)


class Round(NamedTuple):
    """What one party did in one round."""

    requests: int
    seconds: float
    bytes: int
    cpu_s: float
    store_cpu_s: float
    store_commands: int
    store_scripts: int
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU of the party's processes for one request, in microseconds."""
        return self.cpu_s / self.requests * 1e6

    @property
    def cpu_s_per_gb(self) -> float:
        return self.cpu_s / (self.bytes / 1e9)

    @property
    def busy(self) -> float:
        """How much of its core the party used: below 0.9 something else was the limit."""
        return self.cpu_s / self.seconds


def together(turns: Sequence[Round]) -> Round:
    """Several turns of one party as one: sums, the mean of the medians, the worst of the tails."""
    sums = [sum(values) for values in zip(*(turn[:7] for turn in turns), strict=True)]
    return Round(*sums, fmean(turn.p50_ms for turn in turns), max(turn.p99_ms for turn in turns))


class Store:
    """The Valkey that parties count in, watched from outside."""

    def __init__(self, server: Server, port: int) -> None:
        from redis import Redis

        self.server = server
        self._client = Redis(host="127.0.0.1", port=port)

    def commands(self) -> int:
        return self.counts()[0]

    def counts(self) -> tuple[int, int]:
        """Commands so far, this asking included, and calls of scripts."""
        found = self._client.info("stats", "commandstats")
        return int(found["total_commands_processed"]), script_calls(found)

    def close(self) -> None:
        self._client.close()


def script_calls(info: dict[str, Any]) -> int:
    """Scripts called so far, from `INFO commandstats`; one that asks for many keys is one."""
    return sum(int(info[name]["calls"]) for name in _SCRIPTS if name in info)


def drive(
    server: Server, script: Path, connections: int, seconds: int, core: set[int] | None, store: Store | None = None
) -> Round:
    """Load for `seconds`; BenchError unless every single answer was good."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "8s", "-s", str(script)]
    command += [f"http://127.0.0.1:{server.port}/", "--", str(next(_seeds))]
    store_cpu, commands, scripts = (store.server.cpu_s(), *store.counts()) if store else (0.0, 0, 0)
    cpu = server.cpu_s()
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
        preexec_fn=as_child_on(core),
    )
    cpu = server.cpu_s() - cpu
    if store:
        commands_then, scripts_then = store.counts()
        store_cpu = store.server.cpu_s() - store_cpu
        commands, scripts = commands_then - commands - 1, scripts_then - scripts
    line = next((line for line in done.stdout.splitlines() if line.startswith("BENCH ")), "")
    if done.returncode or not line:
        raise BenchError(f"wrk failed on {server.name}:\n{done.stdout}\n{done.stderr}")
    report = json.loads(line.removeprefix("BENCH "))
    if report["refused"] or report["broken"] or not report["requests"] or "Non-2xx" in done.stdout:
        raise BenchError(
            f"{server.name}: {report['refused']} answers that are not 2xx and {report['broken']} broken of "
            f"{report['requests']}: no table from such a run. Its last words:\n{server.last_words()}"
        )
    return Round(
        report["requests"],
        report["seconds"],
        report["bytes"],
        cpu,
        store_cpu,
        commands,
        scripts,
        report["p50_ms"],
        report["p99_ms"],
    )

"""What a number of a benchmark is worth nothing without: the machine, the Python, and everybody's version."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import sysconfig
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from loadtests.bench.parties import REDIS, nginx, tool

_OURS = ("noai-guard", "granian", "uvicorn", "uvloop", "httptools", "starlette", "fastapi", "pydantic")
_OURS += ("slowapi", "limits", "throttled-py", "redis", "hiredis")
_PEERS = ("fastapi_guard", "guard-core", "uvicorn", "uvloop", "httptools", "starlette", "fastapi", "pydantic", "redis")


def particulars(which: list[str], peers_python: Path) -> dict[str, str]:
    """Named facts, in the order they are printed."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    flags = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    built = "with" if "--enable-optimizations" in flags else "without"
    found = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "cpu": f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, "
        f"{len(os.sched_getaffinity(0))} usable",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_version()} ({sys.executable}), configured {built} --enable-optimizations",
        "load at start": " ".join(f"{value:.2f}" for value in os.getloadavg()),
        "wrk": _number(_first_line(["wrk", "-v"])),
    }
    if "middleware" in which:
        found["bench environment"] = ", ".join(_versions(_OURS))
        found["peers environment"] = _peers(peers_python)
    if {"middleware", "flood", "state"} & set(which):
        found["valkey"] = _valkey()
    if "state" in which and REDIS.is_file():
        found["redis"] = _first_line([str(REDIS), "--version"])
    if "sidecar" in which:
        found["nginx"] = _number(_first_line([nginx() or "nginx", "-v"]))
        found["caddy"] = _number(_first_line([tool("caddy") or "caddy", "version"]))
        found["envoy"] = _number(_first_line([tool("envoy") or "envoy", "--version"]))
        if "middleware" not in which:
            found["guard"] = ", ".join(_versions(("noai-guard", "uvloop", "httptools")))
    return found


def stolen() -> tuple[int, int]:
    """Ticks of all cores since boot, and those of them that the hypervisor gave to others."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(fields), fields[7]


def _versions(names: tuple[str, ...]) -> list[str]:
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} -")
    return found


def _peers(python: Path) -> str:
    code = "from importlib.metadata import version as v\n"
    code += f"print(', '.join(f'{{n}} {{v(n)}}' for n in {_PEERS!r}))"
    return _first_line([str(python), "-c", code])


def _valkey() -> str:
    from guard.stores.embedded import server_binary

    return _number(_first_line([str(server_binary()), "--version"]))


def _number(words: str) -> str:
    """The version in what a program says of itself."""
    found = re.search(r"\d+\.\d+\.\d+[^\s/]*", words)
    return found[0] if found else words


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, cwd="/")
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"? ({error})"
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[0] if lines else "?"

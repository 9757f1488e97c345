"""`guard demo --once`: the cast comes, every decision is as the shipped policy's own examples say."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from guard.cli.demo import Outcome, _judge_burst
from guard.demo.cast import CAST
from guard.load import load_policy, shipped_policy
from tests.processes import free_port


@pytest.fixture(scope="module")
def outcome() -> dict[str, object]:
    command = [sys.executable, "-m", "guard", "demo", "--once", "--json"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert said.returncode == 0, said.stdout + said.stderr
    return json.loads(said.stdout)


def test_every_decision_is_as_stated(outcome: dict[str, object]) -> None:
    assert outcome["ok"] is True
    visitors = {row["visitor"]: row for row in outcome["visitors"]}
    assert len(visitors) == len(CAST) == 14
    for name in (
        "Chrome listener",
        "Firefox listener",
        "iOS app with a token",
        "podcast app",
        "mpv",
        "Subsonic client",
    ):
        assert visitors[name]["refused"] == 0
        assert visitors[name]["audio_s"] > 10
    for name in ("GPTBot", "ClaudeBot", "CCBot", "Bytespider"):
        assert (visitors[name]["answered"], visitors[name]["refused"]) == (1, 4)  # robots.txt, and nothing else
        assert visitors[name]["audio_s"] == 0
    assert visitors["Googlebot impostor"]["answered"] == 0
    assert 0 < visitors["python-requests burst"]["refused"] < 120


def test_every_step_names_an_example_of_the_shipped_policy() -> None:
    examples = {example.name for example in load_policy(shipped_policy("no-ai")).examples}
    assert {step.example for visitor in CAST for step in visitor.steps} - {""} <= examples


def test_a_burst_that_is_never_slowed_is_told() -> None:
    unslowed = Outcome(CAST[-1], expected={"throttle"}, asked=120, answered=120)
    _judge_burst(unslowed)
    assert unslowed.wrong


def test_the_platform_alone_answers_and_goes_when_it_is_asked_to() -> None:
    port = free_port()
    command = [sys.executable, "-m", "guard", "demo", "--platform", "--listen", f"127.0.0.1:{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert f"http://127.0.0.1:{port}, unguarded" in process.stdout.readline()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/robots.txt", timeout=10) as answer:
            assert answer.status == 200
        process.terminate()
        assert process.wait(30) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_no_processes_are_left_behind(outcome: dict[str, object]) -> None:
    commands = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(file.read_bytes())
        except OSError:
            continue
    assert not [command for command in commands if b"guard.demo.platform" in command and b"pytest" not in command]

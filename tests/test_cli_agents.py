"""`guard agents` as somebody runs it: looking up, naming, and taking in a list, whole or broken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from guard import load_policy
from guard.cli import main
from guard.load import catalogue_of, shipped_catalogue
from guard.model import CATEGORIES, CONFIDENCES

Out = pytest.CaptureFixture[str]

LIST = json.dumps(
    {
        "ZorbHarvestBot": {"operator": "Zorb", "respect": "Yes", "function": "Trains models"},
        "GPTBot": {"operator": "OpenAI", "respect": "Yes", "function": "Trains models"},
        "Slackbot-LinkExpanding": {"function": "AI Assistants"},
    }
)
HEAD = "version: 1\nsite: {name: x}\ndefault: allow\n"


def agents(*words: str | Path) -> int:
    return main(["agents", *map(str, words)])


def told(capsys: Out, *words: str | Path, code: int = 0) -> dict[str, Any]:
    assert agents(*words, "--json") == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["ok"] is (code == 0)
    return found


def piped(*words: str, given: bytes) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "guard", "agents", *words]
    said = subprocess.run(command, input=given, capture_output=True, timeout=60)
    assert b"Traceback" not in said.stderr
    return subprocess.CompletedProcess(command, said.returncode, said.stdout.decode(), said.stderr.decode())


# -- looking -------------------------------------------------------------------------------------------------


def test_all_agents_are_listed_with_what_they_are(capsys: Out) -> None:
    found = told(capsys, "list")["agents"]
    assert len(found) == len(shipped_catalogue().agents)
    for agent in found:
        assert agent["category"] in CATEGORIES
        assert agent["confidence"] in CONFIDENCES


def test_agents_are_listed_by_category_and_operator(capsys: Out) -> None:
    found = told(capsys, "list", "--category", "ai-*", "--operator", "openai")["agents"]
    assert {"GPTBot", "ChatGPT-User"} <= {agent["name"] for agent in found}
    assert {agent["operator"] for agent in found} == {"OpenAI"}
    assert all(agent["category"].startswith("ai-") for agent in found)


def test_a_list_for_people_has_a_line_for_each(capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    assert agents("list", "--category", "ai-train") == 0
    lines = capsys.readouterr().out.splitlines()
    gptbot = next(line for line in lines if line.startswith("GPTBot "))
    assert gptbot.split() == ["GPTBot", "OpenAI", "ai-train", "train-ai", "yes", "ip-json", "high"]
    assert lines[-1] == f"{len(lines) - 2} agents"


def test_a_list_that_is_piped_has_a_whole_line_for_each(capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert agents("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(shipped_catalogue().agents) + 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("list", "--category", "ai-audoi"), "--category: no category 'ai-audoi', did you mean 'ai-audio'?"),
        (("list", "--operator", "OpenAl"), "--operator: nobody is called 'OpenAl', did you mean 'OpenAI'?"),
        (("show", "GPTBto"), "nobody is called 'GPTBto', did you mean 'GPTBot'?"),
        (("match",), "needs either UA or --jsonl FILE"),
        (("match", "x", "--jsonl", "-"), "needs either UA or --jsonl FILE"),
    ],
)
def test_wrong_words_are_answered_with_the_right_ones(capsys: Out, words: tuple[str, ...], message: str) -> None:
    assert agents(*words) == 2
    assert capsys.readouterr().err == f"guard agents {words[0]}: {message}\n"
    assert told(capsys, *words, code=2)["problems"] == [{"message": message}]


@pytest.mark.parametrize("words", [(), ("lst",), ("update",), ("list", "--colour", "red")])
def test_a_command_that_is_none_is_wrong_usage(capsys: Out, words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        agents(*words)
    assert ended.value.code == 2
    assert "usage: guard" in capsys.readouterr().err


def test_one_agent_is_shown_by_any_of_its_names_in_any_case(capsys: Out) -> None:
    agent = told(capsys, "show", "gptbot")["agent"]
    assert (agent["name"], agent["operator"], agent["category"]) == ("GPTBot", "OpenAI", "ai-train")
    assert agent["verification"] == [{"kind": "ip-json", "sources": ["https://openai.com/gptbot.json"]}]
    by_token = next(one for one in shipped_catalogue().agents if one.robots_token.lower() not in ("", one.name.lower()))
    assert agents("show", by_token.robots_token) == 0


def test_who_cannot_be_checked_is_said_to_be(capsys: Out) -> None:
    nobody = next(agent for agent in shipped_catalogue().agents if not agent.verification)
    assert agents("show", nobody.name) == 0
    assert "its operator publishes no way, so its name stays unverified" in capsys.readouterr().out
    assert agents("show", "GPTBot") == 0
    assert "ip-json: https://openai.com/gptbot.json" in capsys.readouterr().out


def test_counts_add_up(capsys: Out) -> None:
    found = told(capsys, "stats")
    assert found["agents"] == sum(found["categories"].values()) == len(shipped_catalogue().agents)
    assert found["ai"] == sum(found["ai_confidence"].values())
    assert found["ai"] == sum(count for name, count in found["categories"].items() if name.startswith("ai-"))
    assert agents("stats") == 0
    assert capsys.readouterr().out.startswith(f"{found['agents']} agents of {found['operators']} operators")


def test_a_policys_own_facts_count(capsys: Out, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        f"{HEAD}catalogue: {{Zorb: {{operator: Zorb, category: ai-audio, purposes: ai-use}}, CCBot: none}}"
    )
    assert told(capsys, "show", "Zorb", "--policy", policy)["agent"]["category"] == "ai-audio"
    assert told(capsys, "match", "Zorb/1", "--policy", policy)["agent"] == "Zorb"
    assert told(capsys, "match", "CCBot/2.0")["agent"] == "CCBot"
    assert told(capsys, "match", "CCBot/2.0", "--policy", policy)["agent"] is None
    assert told(capsys, "stats", "--policy", policy)["agents"] == len(shipped_catalogue().agents)
    assert agents("show", "CCBot", "--policy", policy) == 2


def test_a_policy_that_cannot_be_read_is_a_problem(capsys: Out, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(f"{HEAD}catalogue: {{GPTBot: {{catgory: x}}}}")
    assert told(capsys, "stats", "--policy", policy, code=1)["problems"][0]["line"] == 4
    assert agents("stats", "--policy", tmp_path / "none.yaml") == 1


# -- naming --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user_agent", "agent", "category"),
    [
        ("Mozilla/5.0 (compatible; ClaudeBot/1.0; +claudebot@anthropic.com)", "ClaudeBot", "ai-train"),
        ("AntennaPod/3.9.0", "AntennaPod", "player"),
        ("zorbbot/1.0 (+https://zorb.example)", None, "declared-unknown"),
        ("zorb transcriber bot (+https://zorb.example)", None, "ai-audio"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:160.0) Gecko/20100101 Firefox/160.0", None, "browser"),
        ("", None, "unknown"),
    ],
)
def test_a_user_agent_is_named(capsys: Out, user_agent: str, agent: str | None, category: str) -> None:
    found = told(capsys, "match", user_agent)
    assert (found["ua"], found["agent"], found["category"]) == (user_agent, agent, category)
    assert agents("match", user_agent) == 0
    assert category in capsys.readouterr().out.splitlines()[0]


LINES = (
    b'{"ua": "GPTBot/1.3"}\nnot json\n\n{"ua": 7}\n[]\n{"agent": "x"}\n{"ua": "\xff"}\n'
    + b"[" * 100_000
    + b"\n"
    + b'{"ua": "'
    + b"x" * 600_000
    + b'"}\n{"ua": "a\\ud800", "more": 1}\n{"ua": "CCBot/2.0"}'
)


def test_lines_are_named_one_by_one_and_bad_ones_are_told_with_their_number(capsys: Out, tmp_path: Path) -> None:
    file = tmp_path / "agents.jsonl"
    file.write_bytes(LINES)
    assert agents("match", "--jsonl", file) == 1
    said = capsys.readouterr()
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [row["agent"] for row in rows] == ["GPTBot", None, "CCBot"]
    assert list(rows[0]) == ["ua", "agent", "operator", "category", "purposes", "confidence"]
    assert rows[0]["operator"] == "OpenAI"
    numbers = [
        int(line.removeprefix(f"guard agents match: {file}:").partition(":")[0]) for line in said.err.splitlines()
    ]
    assert numbers == [2, 4, 5, 6, 7, 8, 9]


def test_of_many_bad_lines_ten_are_shown(capsys: Out, tmp_path: Path) -> None:
    file = tmp_path / "agents.jsonl"
    file.write_text("x\n" * 5_000)
    assert agents("match", "--jsonl", file) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[-1].endswith("5000 lines could not be read")


def test_lines_come_from_standard_input_too() -> None:
    said = piped("match", "--jsonl", "-", given=b'{"ua": "GPTBot/1.3"}\n{"ua": "curl/8.0"}\n')
    assert said.returncode == 0
    assert [json.loads(line)["agent"] for line in said.stdout.splitlines()] == ["GPTBot", "curl"]
    assert piped("match", "--jsonl", "-", given=b'x\n{"ua": "curl/8.0"}\n').returncode == 1
    assert piped("match", "--jsonl", "-", given=b"").returncode == 0


@pytest.mark.parametrize("name", ["none.jsonl", "."])
def test_a_file_of_lines_that_cannot_be_read_is_one_line(capsys: Out, tmp_path: Path, name: str) -> None:
    assert agents("match", "--jsonl", tmp_path / name) == 1
    assert "cannot be read" in capsys.readouterr().err


# -- updating ------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A list, and where to write what is new."""
    (tmp_path / "robots.json").write_text(LIST)
    return tmp_path / "robots.json", tmp_path / "agents.local.yaml"


def test_the_difference_is_shown_and_nothing_is_written(capsys: Out, files: tuple[Path, Path]) -> None:
    source, target = files
    assert agents("update", source, "--into", target) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "+ ZorbHarvestBot  (ai-train, train-ai, robots.txt: yes)",
        "= Slackbot-LinkExpanding  stays preview (the list says ai-assistant)",
        "1 new, 0 changed, 1 the same, 1 known as something else",
        f"nothing was written; --apply writes this to {target}",
    ]
    assert sorted(path.name for path in target.parent.iterdir()) == ["robots.json"]


def test_the_difference_is_one_object_too(capsys: Out, files: tuple[Path, Path]) -> None:
    source, target = files
    found = told(capsys, "update", source, "--into", target)
    assert (found["written"], found["same"], found["changed"]) == (None, 1, [])
    assert [agent["name"] for agent in found["new"]] == ["ZorbHarvestBot"]
    assert found["kept"] == [{"agent": "Slackbot-LinkExpanding", "category": "preview", "listed": "ai-assistant"}]
    assert told(capsys, "update", source, "--into", target, "--apply")["written"] == str(target)


def test_what_is_applied_is_taken_in_by_a_policy_and_a_second_run_changes_nothing(
    capsys: Out, files: tuple[Path, Path]
) -> None:
    source, target = files
    assert agents("update", source, "--into", target, "--apply") == 0
    assert f"written to {target}: take it in with include: [agents.local.yaml]" in capsys.readouterr().out
    written = target.read_bytes()
    policy = target.with_name("policy.yaml")
    policy.write_text(f"{HEAD}include: [agents.local.yaml]\n")
    assert catalogue_of(load_policy(policy)).find(b"ZorbHarvestBot/1").operator == "Zorb"
    assert told(capsys, "match", "ZorbHarvestBot/1", "--policy", policy)["agent"] == "ZorbHarvestBot"
    assert agents("update", source, "--into", target, "--apply") == 0
    assert capsys.readouterr().out.startswith("= Slackbot")
    assert target.read_bytes() == written
    assert sorted(path.name for path in target.parent.iterdir()) == ["agents.local.yaml", "policy.yaml", "robots.json"]


def test_a_file_with_remarks_keeps_them(files: tuple[Path, Path]) -> None:
    source, target = files
    before = "# ours\nversion: 1\ncatalogue:\n  # a partner\n  Own: {category: seo, purposes: seo}  # until spring\n"
    target.write_text(before)
    assert agents("update", source, "--into", target, "--apply") == 0
    written = target.read_text()
    assert written.startswith(before)
    assert '"ZorbHarvestBot":' in written


def test_what_the_file_says_of_an_agent_is_not_said_again(capsys: Out, files: tuple[Path, Path]) -> None:
    source, target = files
    before = "version: 1\ncatalogue:\n  ZorbHarvestBot: {category: seo, purposes: seo}\n"
    target.write_text(before)
    assert agents("update", source, "--into", target, "--apply") == 0
    assert "ZorbHarvestBot  stays seo (the list says ai-train)" in capsys.readouterr().out
    assert target.read_text() == before


def test_our_own_format_is_taken_in(files: tuple[Path, Path]) -> None:
    source, target = files
    source.write_text(
        "operator: Zorb\nagents:\n- {name: ZorbBot, product_token: ZorbBot, category: seo, purposes: [seo],\n"
        "   samples: [a]}\n"
    )
    assert agents("update", source, "--into", target, "--apply") == 0
    assert '"ZorbBot":' in target.read_text()


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("version: 1\ncatalogue: {}\nmode: observe\n", "'catalogue:' must be the last block: new agents go to its end"),
        ("version: 1\ncatalogue:\n  GPTBot: {catgory: x}\n", "catalogue: GPTBot: unknown key 'catgory'"),
        ("- 1\n", "expected a file with 'catalogue:'"),
        ("a: [\n", "not valid YAML"),
        (b"\xff\xfe", "cannot be read: not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_take_new_agents_is_named_and_left_alone(
    capsys: Out, files: tuple[Path, Path], before: str | bytes, message: str
) -> None:
    source, target = files
    target.write_bytes(before.encode() if isinstance(before, str) else before)
    assert agents("update", source, "--into", target, "--apply") == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith(str(target))
    assert target.read_bytes() == (before.encode() if isinstance(before, str) else before)
    assert sorted(path.name for path in target.parent.iterdir()) == ["agents.local.yaml", "robots.json"]


def test_a_file_written_in_one_line_is_not_spoilt(capsys: Out, files: tuple[Path, Path]) -> None:
    source, target = files
    target.write_text(before := "version: 1\ncatalogue: {Own: {category: seo, purposes: seo}}\n")
    assert agents("update", source, "--into", target, "--apply") == 1
    assert "was not written" in capsys.readouterr().err
    assert target.read_text() == before
    assert sorted(path.name for path in target.parent.iterdir()) == ["agents.local.yaml", "robots.json"]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ('{\n"a": {},\n"b": 1\n}', ":3: ", "'b': expected an object of facts"),
        ("{\n", ":2: ", "not JSON"),
        ("", ": ", "the file is empty"),
        ("[" * 50_000, ":1: ", "nested deeper"),
        ('{"a":' * 50_000, ": ", "nested too deep"),
        ("x" * 4_200_000, ": ", "larger than 4 MiB"),
    ],
)
def test_a_broken_list_is_told_with_its_line_and_writes_nothing(
    capsys: Out, files: tuple[Path, Path], text: str, place: str, message: str
) -> None:
    source, target = files
    source.write_text(text)
    assert agents("update", source, "--into", target, "--apply") == 1
    error = capsys.readouterr().err
    assert error.startswith(f"{source}{place}")
    assert message in error
    assert not target.exists()
    assert told(capsys, "update", source, "--into", target, code=1)["problems"][0]["file"] == str(source)


def test_a_list_of_other_people_cannot_paint_the_terminal(capsys: Out, files: tuple[Path, Path]) -> None:
    source, target = files
    source.write_text(json.dumps({"ZorbBot": {"operator": "\x1b[31m", "function": "\x1b[2J"}}))
    assert agents("update", source, "--into", target, "--apply") == 0
    source.write_text(json.dumps({"\x1b[31mZorb": {}}))
    assert agents("update", source, "--into", target) == 1
    source.write_text('operator: Z\nagents:\n- {name: "\\e[31m", category: "\\e[2J"}\n')
    assert agents("update", source, "--into", target) == 1
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err + target.read_text()


@pytest.mark.parametrize("name", ["none.json", "."])
def test_a_list_that_cannot_be_read_is_one_line(capsys: Out, tmp_path: Path, name: str) -> None:
    assert agents("update", tmp_path / name, "--into", tmp_path / "x.yaml") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_a_folder_that_is_not_there_is_one_line(capsys: Out, files: tuple[Path, Path]) -> None:
    source, target = files
    assert agents("update", source, "--into", target.parent / "none" / "x.yaml", "--apply") == 1
    assert "was not written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://lists.example/robots.json", "the URL does not begin with https://"),
        ("ftp://lists.example/robots.json", "the URL does not begin with https://"),
        ("file:///etc/passwd", "the URL does not begin with https://"),
        ("https://127.0.0.1/robots.json", "the host is an address, not a name"),
        ("https://[::1]/robots.json", "the URL has no plain host name"),
        ("https://me:secret@lists.example/", "the URL names a user"),
        ("https://", "the URL has no plain host name"),
    ],
)
def test_an_address_where_nothing_is_fetched_from_is_one_clear_error(
    capsys: Out, tmp_path: Path, url: str, message: str
) -> None:
    assert agents("update", url, "--into", tmp_path / "x.yaml", "--apply") == 1
    assert capsys.readouterr().err == f"{url}: {message}\n"
    assert list(tmp_path.iterdir()) == []

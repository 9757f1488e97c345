"""`guard diff` before a policy is put to work: read by a person, by a script, by a pipeline."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from guard.cli import main

OLD = "version: 1\nsite: {name: x}\ndefault: allow\nroutes: [{class: media, paths: [/media/**]}]\n"
NEW = OLD + "rules: [{name: training, when: {category: ai-train, route: media}, then: block}]\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "old.yaml").write_text(OLD)
    (tmp_path / "new.yaml").write_text(NEW)
    return str(tmp_path / "old.yaml"), str(tmp_path / "new.yaml")


def diff(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "guard", "diff", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={"COLUMNS": "150", "PYTHONIOENCODING": "utf-8"}
    )


def test_a_person_sees_who_where_from_what_to_what_and_by_which_rule(files: tuple[str, str]) -> None:
    said = diff(*files)
    assert said.returncode == 0
    lines = said.stdout.splitlines()
    assert "agents treated more strictly" in lines[0]
    assert "LISTENERS" not in said.stdout
    row = next(line for line in lines if "ai-train" in line)
    assert [word in row for word in ("all ", "media", "allow", "block", "default -> training")] == [True] * 5
    assert "+++ new robots.txt" in lines
    assert "+Disallow: /media/" in lines


def test_without_robots_txt(files: tuple[str, str]) -> None:
    assert "robots.txt" not in diff(*files, "--no-robots").stdout


def test_a_script_gets_everything_as_one_object(files: tuple[str, str]) -> None:
    answer = json.loads(diff(*files, "--json").stdout)
    assert answer["changes"] is True
    (decision,) = answer["decisions"]
    assert decision["route"] == "media"
    assert decision["kind"] == "action"
    assert "GPTBot" in decision["agents"]
    assert decision["categories"] == {"ai-train": len(decision["agents"])}
    assert decision["before"] == {"action": "allow", "rule": "default", "limit": ""}
    assert decision["after"] == {"action": "block", "rule": "training", "limit": ""}
    assert decision["paths"] == ["/media/x/x", "/media"] or decision["paths"] == ["/media/x/x"]
    assert decision["everywhere"] is True
    assert [rule["what"] for rule in answer["rules"]] == ["training"]
    assert any(line.startswith("+Disallow") for line in answer["robots"])
    assert answer["scopes"] == []


def test_a_pipeline_gets_an_exit_code_when_it_asks_for_one(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = files
    codes = [
        main(["diff", *words])
        for words in ((old, new), (old, new, "--exit-code"), (old, old), (old, old, "--exit-code"))
    ]
    assert codes == [0, 1, 0, 0]
    assert capsys.readouterr().out.splitlines()[-1] == "nothing changes"


def test_shipped_policies_are_compared_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "observe", "no-ai", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["summary"] == "mode observe -> enforce"
    assert answer["decisions"] == []


def test_a_policy_that_cannot_be_read_is_named(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(files[1]).write_text(NEW.replace("then: block", "then: blok"))
    assert main(["diff", *files, "--exit-code"]) == 2
    assert "unknown action 'blok', did you mean 'block'?" in capsys.readouterr().err
    assert main(["diff", files[0], "/nowhere.yaml"]) == 2
    assert capsys.readouterr().err == "/nowhere.yaml: cannot be read: No such file or directory\n"


def test_a_hosts_own_changes_stand_by_themselves(files: tuple[str, str]) -> None:
    old, new = files
    scope = "hosts: [{names: [radio.example], rules: [{name: radio, when: {agent: curl}, then: block}]}]\n"
    Path(new).write_text(NEW + scope)
    said = diff(old, new, "--no-robots").stdout
    above, below = said.split("hosts radio.example: beside that")
    assert "training" in above
    assert "radio" not in above
    assert "radio" in below
    assert "training" not in below
    Path(new).write_text(NEW + scope)
    Path(old).write_text(OLD + scope)
    assert diff(old, new, "--no-robots").stdout.rstrip().endswith("hosts radio.example: the same")


def test_what_a_policy_is_named_cannot_dress_up_the_terminal(files: tuple[str, str]) -> None:
    Path(files[1]).write_text(NEW.replace("then: block", "then: block, reason: '[red]no[/red]'"))
    assert "[red]no[/red]" in diff(*files, "--no-robots").stdout

"""Content Signals of others are read tolerantly, and combined so that nothing is loosened."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.directives import content_signal
from guard.robotstxt import read_robots

from .conftest import SHARED

ABSENT = "../shared is not here: the project's own cases cover the same rules"
CASES = SHARED / "vectors" / "content_signals_cases.json"


@pytest.mark.parametrize(
    ("value", "stated"),
    [
        ("search=yes, ai-input=no, ai-train=no", {"search": "yes", "ai-input": "no", "ai-train": "no"}),
        ("search=yes,ai-train=no,use=reference", {"search": "yes", "ai-train": "no", "use": "reference"}),
        (" AI-Train = NO ,", {"ai-train": "no"}),
        ("ai-train=yes, ai-train=no", {"ai-train": "no"}),
        ("ai-train=no, ai-train=yes", {"ai-train": "no"}),
        ("use=full, use=immediate", {"use": "immediate"}),
        ("use=no, search=reference", {}),
        ("train-ai=n", {}),
        ("ai-train=n", {}),
        ("ai-train: no", {}),
        ("ai-train=disallow", {}),
        ("search=yes ai-train=no", {}),
        ("ai-train", {}),
        ("", {}),
    ],
)
def test_a_value_is_read_tolerantly_and_never_guessed(value: str, stated: dict[str, str]) -> None:
    assert content_signal.read(value) == stated


@pytest.mark.parametrize(
    ("ours", "theirs", "combined"),
    [
        ("search=yes, ai-train=no", [], "search=yes, ai-train=no"),
        ("search=yes, ai-train=no", ["ai-train=yes, search=no"], "search=no, ai-train=no"),
        ("ai-train=yes", ["ai-input=no", "ai-train=no, use=full"], "ai-train=no, ai-input=no, use=full"),
        ("", ["nonsense"], ""),
    ],
)
def test_any_no_wins_and_keys_of_theirs_are_kept(ours: str, theirs: list[str], combined: str) -> None:
    assert content_signal.combine(ours, theirs) == combined


SIGNALS = st.dictionaries(st.sampled_from(["search", "ai-input", "ai-train"]), st.sampled_from(["yes", "no"])).map(
    lambda said: ", ".join(f"{name}={word}" for name, word in said.items())
)


@given(SIGNALS, st.lists(SIGNALS, max_size=3))
def test_combining_loosens_nobodys_word(ours: str, theirs: list[str]) -> None:
    combined = content_signal.read(content_signal.combine(ours, theirs))
    said = [content_signal.read(value) for value in (ours, *theirs)]
    for name in ("search", "ai-input", "ai-train"):
        words = [one[name] for one in said if name in one]
        assert combined.get(name) == ("no" if "no" in words else "yes" if words else None)


@given(
    st.dictionaries(st.sampled_from(["train-ai", "ai-use", "search"]), st.sampled_from(["allow", "disallow"])),
)
def test_what_we_state_is_read_back_as_it_was_meant(preferences: dict[str, str]) -> None:
    assert content_signal.meant(content_signal.read(content_signal.state(preferences))) == preferences


def test_a_group_says_it_for_its_agents_and_nobody_inherits() -> None:
    text = "User-agent: *\nContent-Signal: ai-train=no\nAllow: /\n\nUser-agent: A\nAllow: /\nUser-agent: a\n"
    robots = read_robots(text + "Content-Signal: search=yes\nContent-Signal: search=no, ai-train=yes\nAllow: /\n")
    assert content_signal.of_group(robots, "Other") == {"ai-train": "no"}
    assert content_signal.of_group(robots, "A") == {"search": "no", "ai-train": "yes"}


def test_the_comment_says_what_the_words_mean_and_reserves_the_rights() -> None:
    lines = content_signal.COMMENT.splitlines()
    assert all(line.startswith("#") and line.isascii() for line in lines)
    for word in ("yes", "no", "neither", "search", "ai-input", "ai-train", "express reservation of rights"):
        assert word in content_signal.COMMENT
    assert "Article 4(3) of Directive (EU) 2019/790" in content_signal.COMMENT
    assert read_robots(content_signal.COMMENT).others == ()


def test_the_published_cases_end_as_they_should() -> None:
    if not CASES.exists():
        pytest.skip(ABSENT)
    cases = json.loads(CASES.read_text())
    assert len(cases["value_cases"]) == 12
    for case in cases["value_cases"]:
        wanted = {key: word for key, word in case["parsed"].items() if key != "ignored" and word}
        assert content_signal.read(case["value"]) == wanted, case
    assert len(cases["robots_cases"]) == 4
    for case in cases["robots_cases"]:
        robots = read_robots(case["robots"])
        assert content_signal.of_group(robots, case["agent"]) == content_signal.read(case["content_signal"] or "")
        assert robots.allowed(case["agent"], "/") is case["expect_root_allowed"]
    for theirs, label in cases["to_aipref"].items():
        if theirs in ("search", "ai-train", "ai-input"):
            assert list(content_signal.meant({theirs: "no"})) == [label]

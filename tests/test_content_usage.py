"""What others say about the use of content is read as the drafts say, in headers and in robots.txt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.directives import content_usage
from guard.robotstxt import read_robots

from .conftest import SHARED

ABSENT = "../shared is not here: the project's own cases cover the same rules"
CASES = SHARED / "vectors" / "aipref_cases.json"


@pytest.fixture
def cases() -> Iterator[dict[str, Any]]:
    if not CASES.exists():
        pytest.skip(ABSENT)
    yield json.loads(CASES.read_text())


def only_known(stated: dict[str, str], labels: list[str]) -> dict[str, str | None]:
    return {label: stated.get(label) for label in labels}


# -- headers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "stated"),
    [
        (["train-ai=n", "ai-use=y"], {"train-ai": "n", "ai-use": "y"}),
        (["train-ai=n", "train-ai=y"], {"train-ai": "y"}),
        (["train-ai=n", "", " \t"], {"train-ai": "n"}),
        (["train-ai=n", "Search=y"], {}),
        (["train-ai=n;x, other=y"], {"train-ai": "n", "other": "y"}),
        ([], {}),
    ],
)
def test_the_lines_of_one_answer_are_one_statement(lines: list[str], stated: dict[str, str]) -> None:
    assert content_usage.read(lines) == stated


def test_the_published_headers_are_read_as_they_should(cases: dict[str, Any]) -> None:
    assert len(cases["header_cases"]) == 42
    for case in cases["header_cases"]:
        found = content_usage.read(case.get("field_lines", [case["value"]]))
        assert only_known(found, cases["labels"]) == case["preferences"], case


def test_the_published_statements_are_combined_as_they_should(cases: dict[str, Any]) -> None:
    assert len(cases["combine_cases"]) == 6
    for case in cases["combine_cases"]:
        found = content_usage.strictest(content_usage.read([statement]) for statement in case["statements"])
        assert only_known(found, cases["labels"]) == case["preferences"], case


def test_labels_of_earlier_drafts_mean_nothing(cases: dict[str, Any]) -> None:
    assert cases["legacy_labels"]["ignored_now"]
    for label in cases["legacy_labels"]["ignored_now"]:
        assert content_usage.meant(content_usage.read([f"{label}=n"])) == {}


@pytest.mark.parametrize("label", ["tdm", "ai", "genai", "all", "bots", "ai-train", "train-genai"])
def test_what_is_no_label_of_ours_is_read_and_means_nothing(label: str) -> None:
    stated = content_usage.read([f"{label}=n, train-ai=n"])
    assert stated[label] == "n"
    assert content_usage.meant(stated) == {"train-ai": "disallow"}


def test_a_label_that_a_draft_renames_is_renamed_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_usage, "LABELS", {"train-ai": "train-genai", "search": "search"})
    stated = content_usage.state({"train-ai": "disallow", "search": "allow", "ai-use": "allow"})
    assert stated == "train-genai=n, search=y"
    assert content_usage.meant(content_usage.read([stated])) == {"train-ai": "disallow", "search": "allow"}


PREFERENCES = st.dictionaries(st.sampled_from(list(content_usage.LABELS)), st.sampled_from(["allow", "disallow"]))


@given(PREFERENCES)
def test_what_we_state_is_read_back_as_it_was_meant(preferences: dict[str, str]) -> None:
    assert content_usage.meant(content_usage.read([content_usage.state(preferences)])) == preferences


# -- robots.txt ----------------------------------------------------------------------------------------------

SITE = """User-agent: *
Allow: /
Disallow: /never/
Content-Usage: train-ai=n, search=y
Content-Usage: /open/ train-ai=y
Content-Usage: /open/\ttrain-ai=n, ai-use=y   # of two, the stricter
content-usage : /open/one$ ai-use=n
Content-Usage: /*mp3 ai-use=n
Content-Usage: /*.ogg train-ai=y, ai-use=n
Content-Usage: /nothing/
Content-Usage: /bj\u00f6rk/ search=n
Content-Usage: /upper/ Train-AI=n

User-agent: Named
Allow: /
"""


@pytest.mark.parametrize(
    ("address", "stated"),
    [
        ("/", {"train-ai": "n", "search": "y"}),
        ("/never/1", None),
        ("/open/1", {"train-ai": "n", "ai-use": "y"}),
        ("/open/one", {"ai-use": "n"}),
        ("/open/one?x", {"train-ai": "n", "ai-use": "y"}),
        ("/a.mp3", {"ai-use": "n"}),
        ("/open/a.mp3", {"train-ai": "n", "ai-use": "y"}),  # the longer pattern, not the closer one
        ("/open/a.ogg", {"train-ai": "n", "ai-use": "n"}),  # two as long as each other
        ("/nothing/1", {"train-ai": "n", "search": "y"}),  # a path alone is no rule
        ("/bj%C3%B6rk/1", {"search": "n"}),
        ("/bj\u00f6rk/1", {"search": "n"}),
        ("/bj%c3%b6rk/1", {"search": "n"}),
        ("/upper/1", {}),
        ("https://x.example/open/one", {"ai-use": "n"}),
    ],
)
def test_the_longest_path_of_a_group_makes_the_whole_statement(address: str, stated: dict[str, str] | None) -> None:
    assert content_usage.evaluate(read_robots(SITE), "Any", address) == (stated is not None, stated)


def test_a_named_group_inherits_nothing() -> None:
    assert content_usage.evaluate(read_robots(SITE), "Named", "/open/1") == (True, {})


def test_the_published_cases_of_robots_txt_end_as_they_should(cases: dict[str, Any]) -> None:
    assert len(cases["robots_cases"]) == 22
    for case in cases["robots_cases"]:
        crawl, stated = content_usage.evaluate(read_robots(case["robots"]), case["agent"], case["path"])
        assert crawl is case["crawl"], case
        wanted = case["preferences"]
        assert (None if stated is None else only_known(stated, cases["labels"])) == wanted, case


STATEMENTS = st.sampled_from(["train-ai=n", "train-ai=y", "ai-use=n", "Broken", ""])
RULES = st.lists(st.tuples(st.sampled_from(["", "/", "/a", "/a/", "/*b", "/a$"]), STATEMENTS), max_size=6)


@settings(max_examples=300)
@given(RULES, st.sampled_from(["/", "/a", "/a/b", "/b"]), st.randoms(use_true_random=False))
def test_the_order_of_lines_says_nothing(rules: list[tuple[str, str]], path: str, chance: Any) -> None:
    def stated(order: list[tuple[str, str]]) -> object:
        lines = [f"Content-Usage: {pattern} {statement}" for pattern, statement in order]
        return content_usage.evaluate(read_robots("\n".join(["User-agent: *", *lines, "Allow: /"])), "x", path)

    assert stated(chance.sample(rules, len(rules))) == stated(rules)

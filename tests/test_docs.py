"""The documentation says what is there: every setting, every command, snippets that are tested files, no dead links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from guard.cli import COMMANDS, build_parser
from guard.conditions import FACTS
from guard.directives import FILES, HEADERS
from guard.load import LIMIT_KEYS, PREFERENCES
from guard.model import ACTIONS, CATEGORIES, PURPOSES, ROUTE_CLASSES

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
POLICIES = (ROOT / "docs" / "policies.md").read_text()
OPERATE = (ROOT / "docs" / "operate.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def test_the_readme_is_for_ten_minutes() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("app", ["starlette_app", "fastapi_app", "django_app"])
def test_mount_snippets_are_lines_of_the_tested_files(app: str) -> None:
    lines = (ROOT / "docs" / "mount" / f"{app}.py").read_text()
    snippet = re.search(rf"<!-- {app} -->\n```python\n(.*?)```", README, re.DOTALL)
    assert snippet is not None, f"README has no snippet of {app}"
    wanted = [line for line in snippet[1].splitlines() if line.strip()]
    assert 3 <= len(wanted) <= 5
    for line in wanted:
        assert line in lines.splitlines(), f"{app}: {line!r} is not in the tested file"


BLOCKS = ["version", "site", "mode", "default", "routes", "route_default", "preferences", "limits", "rules", "examples"]
SITE = [
    "name",
    "contact",
    "trusted_proxies",
    "client_ip_header",
    "trusted_hops",
    "trust_unix",
    "case_sensitive",
    "strip_prefixes",
    "sitemap",
    "published_networks",
]
RULE = ["name", "when", "then", "mode", "reason", "limit", "label", "not"]


@pytest.mark.parametrize("word", [*BLOCKS, *SITE, *RULE, *FACTS, "rate", "burst", "key", "expect"])
def test_every_keyword_has_an_entry(word: str) -> None:
    assert re.search(rf"^#+ .*`{re.escape(word)}`", POLICIES, re.MULTILINE), f"docs/policies.md has no entry for {word}"


@pytest.mark.parametrize(
    "words", [ACTIONS, CATEGORIES, PURPOSES, ROUTE_CLASSES, LIMIT_KEYS, PREFERENCES], ids=lambda words: words[0]
)
def test_every_value_is_named(words: tuple[str, ...]) -> None:
    assert [word for word in words if f"`{word}`" not in POLICIES] == []


def test_every_directive_is_named() -> None:
    for name in (*FILES, *(name.decode() for name, _ in HEADERS)):
        assert name.lower() in OPERATE.lower(), name


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_option_is_documented(command: str) -> None:
    parsers = build_parser()._subparsers
    assert parsers is not None
    choices = parsers._group_actions[0].choices
    assert choices is not None
    for action in choices[command]._actions:
        for option in action.option_strings:
            if option.startswith("--") and option != "--help":
                assert f"`{option}`" in OPERATE, f"docs/operate.md does not tell of guard {command} {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_link_is_dead(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_policies_in_the_documentation_load(page: Path) -> None:
    from guard.load import read_policy

    for number, text in enumerate(re.findall(r"```yaml\n(version: 1\n.*?)```", page.read_text(), re.DOTALL)):
        read_policy(text, f"{page.name}, policy {number + 1}")

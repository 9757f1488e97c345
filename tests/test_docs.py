"""The documentation says what is there: every setting, every command, snippets that are tested files, no dead links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from guard.cli import COMMANDS, build_parser
from guard.directives import FILES, HEADERS
from guard.documents import read_document
from guard.examples import try_examples
from guard.language import (
    BLOCKS,
    FRAGMENT,
    IDENTITIES,
    LIMIT_KEYS,
    MODES,
    POLICY,
    PREFERENCES,
    ROW_ACTIONS,
    Block,
    Either,
    ListOf,
    MapOf,
    OneOrMany,
    See,
    Shape,
)
from guard.load import read_policy
from guard.model import ACTIONS, CATEGORIES, KINDS, ON_STORE_FAILURE, PURPOSES, ROUTE_CLASSES
from guard.schema import json_schema
from tests.test_schema import Lines, seen

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


def blocks_of(shape: Shape) -> Iterator[Block]:
    """Every block of the language within, each once or more."""
    match shape:
        case Block():
            yield shape
            for word in shape.words:
                yield from blocks_of(word.shape)
        case OneOrMany(item) | ListOf(item):
            yield from blocks_of(item)
        case MapOf(_, value):
            yield from blocks_of(value)
        case Either(shapes):
            for one in shapes:
                yield from blocks_of(one)
        case See(name):
            yield BLOCKS[name]


KNOWN = {block.name: block for top in (POLICY, FRAGMENT) for block in blocks_of(top)} | dict(BLOCKS)
SECTIONS = {
    name: section
    for section in re.split(r"^## ", POLICIES, flags=re.MULTILINE)
    for names in re.findall(r"<!-- blocks: (.*?) -->", section)
    for name in names.split(", ")
}
ENTRIES = [(block.name, word.name) for block in KNOWN.values() for word in block.words]


def entry(block: str, word: str) -> str:
    """What stands about a word, in the section of its block."""
    found = re.findall(rf"^### `{re.escape(word)}`\n(.*?)(?=^##|\Z)", SECTIONS[block], re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"docs/policies.md has {len(found)} entries for {word} of {block}"
    return str(found[0])


def test_every_block_has_a_section_and_no_other_has() -> None:
    assert SECTIONS.keys() == KNOWN.keys()


@pytest.mark.parametrize(("block", "word"), ENTRIES, ids=lambda name: name.replace(" ", "-"))
def test_every_keyword_has_an_entry_that_says_when_it_helps_and_when_it_hurts(block: str, word: str) -> None:
    text = entry(block, word)
    marks = ("**Syntax**: ", "*Helps when* ", "*Hurts when* ", "**Example**:")
    places = [text.find(mark) for mark in marks]
    assert -1 not in places, f"{word}: {dict(zip(marks, places, strict=True))}"
    assert places == sorted(places)
    assert places[0] == 0


@pytest.mark.parametrize(("block", "word"), ENTRIES, ids=lambda name: name.replace(" ", "-"))
def test_every_example_of_a_keyword_is_one_that_the_guard_reads(block: str, word: str) -> None:
    written = entry(block, word).partition("**Example**:")[2].strip()
    snippet = re.fullmatch(r"`([^`]*)`|```yaml\n(.*?)```", written, re.DOTALL)
    assert snippet is not None, f"{word}: the example is no snippet"
    node, problems = read_document(snippet[1] or snippet[2], word)
    assert not problems
    lines: Lines = {}
    document = seen(node, lines) if node is not None else {}
    assert list(document) == [word]
    schema = json_schema(fragment=True)
    part = (
        schema
        if block in ("policy", "fragment")
        else schema["$defs"][{"site": "partial-site"}.get(block, block.replace(" ", "-"))]
    )
    whole = {"$defs": schema["$defs"], "properties": part["properties"], "additionalProperties": False}
    assert [error.message for error in Draft202012Validator(whole).iter_errors(document)] == []


def test_no_entry_is_left_of_a_word_that_is_gone() -> None:
    for names in re.findall(r"<!-- blocks: (.*?) -->", POLICIES):
        known = {word for name in names.split(", ") for word in KNOWN[name].names}
        section = SECTIONS[names.split(", ")[0]]
        assert set(re.findall(r"^### `(.*?)`$", section, re.MULTILINE)) == known


def test_every_link_within_the_page_leads_to_a_heading() -> None:
    headings = re.findall(r"^## (.*)$", POLICIES, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#(.*?)\)", POLICIES)) <= anchors
    linked = POLICIES.partition("## ")[0]
    assert all(f"](#{anchor})" in linked for anchor in anchors), "a section is not in the table of contents"


def test_everything_that_ships_is_told() -> None:
    folder = ROOT / "policies"
    for path in [*folder.glob("*.yaml"), *folder.glob("routes/*.yaml"), *folder.glob("snippets/*.yaml")]:
        assert re.search(rf"^\|.*`{re.escape(path.stem)}`.*\|", POLICIES, re.MULTILINE), path.stem


@pytest.mark.parametrize(
    "words",
    [
        *(ACTIONS, ROW_ACTIONS, MODES, CATEGORIES, PURPOSES, ROUTE_CLASSES, LIMIT_KEYS, PREFERENCES, IDENTITIES),
        *(tuple(KINDS), ON_STORE_FAILURE),
    ],
    ids=lambda words: words[0],
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
def test_policies_in_the_documentation_load_and_decide_their_examples(page: Path) -> None:
    for number, text in enumerate(re.findall(r"```yaml\n(version: 1\n.*?)```", page.read_text(), re.DOTALL)):
        policy = read_policy(text, f"{page.name}, policy {number + 1}")
        assert [f"{trial.example.name}: {trial.fault}" for trial in try_examples(policy) if trial.fault] == []
        assert [str(warning) for warning in policy.warnings] == []


def commands_of(page: Path) -> list[str]:
    """Every `guard …` in the page's code blocks, continued lines joined, without redirections."""
    found = []
    for block in re.findall(r"```(?:sh|console)?\n(.*?)```", page.read_text(), re.DOTALL):
        lines = block.replace("\\\n", " ").splitlines()
        found += [line.removeprefix("$ ").partition(" > ")[0] for line in lines if re.match(r"(\$ )?guard [a-z]", line)]
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)], ids=lambda page: page.name)
def test_every_command_in_the_documentation_is_understood(page: Path) -> None:
    parser = build_parser()
    for command in commands_of(page):
        words = shlex.split(command, comments=True)[1:]
        assert parser.parse_args(words).command == words[0], command

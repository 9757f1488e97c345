"""YAML that expands, nests, hides or executes is refused while it is read; what remains is text with lines."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard import PolicyError
from guard.documents import MAX_BYTES, MAX_DEPTH, MAX_NODES, Mapping, Scalar, Sequence, read_document
from guard.load import load_policy, read_policy, shipped_policy

GOOD = """\
version: 1
site:
  name: Tést
default: allow
routes:
  - {class: media, paths: [/media/**, "/*.mp3"]}
preferences: {train-ai: disallow}
limits:
  - {name: slow, rate: 60/min}
rules:
  - name: no AI
    when: {category: "ai-*", not: {route: feed}}
    then: block
    reason: >
      Not here.
  - {name: slow down, when: {path: /x/**}, then: throttle, limit: slow}
"""


def refusals(text: str) -> list[tuple[int, str]]:
    node, problems = read_document(text, "policy.yaml")
    assert (node is None) is bool(problems)
    return [(problem.line, problem.message) for problem in problems]


# -- what is refused -----------------------------------------------------------------------------------------

ALIASES = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 30))
MERGES = "a0: &a0 {k: v}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 28))

BOMBS = {
    "aliases that double": ALIASES,
    "merge keys that double": MERGES,
    "a merge key without an anchor": "a: {<<: {b: c}}\n",
    "200 000 brackets": "[" * 200_000,
    "200 000 braces": "{" * 200_000,
    "200 000 keys in a row": "a: " * 60_000,
    "200 000 dashes": "- " * 100_000,
    "200 000 question marks": "? " * 100_000,
    "a deep mapping": "\n".join(" " * depth + "a:" for depth in range(600)),
    "a huge value": "a: " + "x" * (MAX_BYTES + 1),
    "a huge key": "x" * (MAX_BYTES + 1) + ": a",
    "many values": "[" + "a," * (MAX_NODES + 1) + "]",
    "many keys": "".join(f"k{n}: 1\n" for n in range(MAX_NODES)),
    "a tag that runs": "!!python/object/apply:os.system [id]\n",
    "a tag of its own": "a: !secret x\n",
    "a tag of YAML's": "a: !!binary aGk=\n",
    "a directive": "%TAG ! tag:example.org,2000:\n---\na: !x b\n",
    "an anchor": "a: &x b\n",
    "an alias of nothing": "a: *x\n",
    "a repeated key": "a: 1\nb: 2\na: 3\n",
    "a repeated key, quoted": "a: 1\n'a': 3\n",
    "a key that is a list": "[a]: b\n",
    "a second document": "a: 1\n---\nb: 2\n",
    "a NUL": "a: \0b\n",
    "a control byte": "a: \x1b[2J\n",
    "a lone surrogate": "a: \ud800\n",
    "nothing": "",
    "only a comment": "# nothing\n",
    "only blanks": " \n\t\n",
    "an open quote": 'a: "b\n',
    "an open bracket": "a: [b\n",
    "a TAB as indent": "a:\n\tb: c\n",
    "an unknown escape": 'a: "\\q"\n',
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_document_that_is_no_plain_list_of_facts_is_refused_in_words(bomb: str) -> None:
    found = refusals(bomb)
    assert found and all(message and "\n" not in message for _, message in found)
    with pytest.raises(PolicyError):
        read_policy(bomb)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: &x 2\n", 2, "anchors ('&x') are not allowed: write the value out"),
        ("a: 1\nb: *x\n", 2, "aliases ('*x') are not allowed: write the value out"),
        ("a: 1\nb: {<<: {c: d}}\n", 2, "merge keys ('<<') are not allowed: write the keys out"),
        ("a: 1\nb: !x 2\n", 2, "tags ('!x') are not allowed"),
        ("a: 1\nb: 2\na: 3\n", 3, "key 'a' is repeated (first on line 1)"),
        ("a: 1\n---\nb: 2\n", 2, "a second document ('---') in one file"),
        ("a: " + "[" * 30, 1, f"nested deeper than {MAX_DEPTH} levels"),
        ("a:\n- b\n- [c]: d\n", 3, "a key must be plain text"),
        ("x" * (MAX_BYTES + 1), 0, f"larger than {MAX_BYTES // 1024} KiB"),
        ("", 0, "the file is empty"),
    ],
)
def test_a_refusal_says_what_and_where(text: str, line: int, message: str) -> None:
    assert (line, message) in refusals(text)


def test_all_repeated_keys_are_named_at_once() -> None:
    assert [line for line, _ in refusals("a: 1\na: 2\nb: {c: 1,\n c: 2}\n")] == [2, 4]


def test_size_is_counted_in_bytes() -> None:
    assert refusals("a: " + "é" * (MAX_BYTES // 2)) == [(0, f"larger than {MAX_BYTES // 1024} KiB")]


@pytest.mark.parametrize(
    "name", ["200 000 brackets", "200 000 braces", "merge keys that double", "aliases that double"]
)
def test_the_worst_bombs_cost_a_fresh_process_little(tmp_path: Path, name: str) -> None:
    (tmp_path / "bomb.yaml").write_text(BOMBS[name])
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29));"
        "from guard import PolicyError, load_policy\n"
        "try: load_policy(sys.argv[1])\n"
        "except PolicyError as error: print(len(error.problems))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "bomb.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "1", "")


@pytest.mark.parametrize("raw", [b"a: \xff\n", b"\xff\xfea\x00:\x00 \x00b\x00", b"\xc3", b"a: \xed\xa0\x80"])
def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "policy.yaml").write_bytes(raw)
    with pytest.raises(PolicyError, match="not UTF-8 text"):
        load_policy(tmp_path / "policy.yaml")


# -- what is read --------------------------------------------------------------------------------------------


WORDS = re.findall(r"\S+", "no yes on off y n true null ~ 0123 0x1F 1e3 12:30:45 2026-11-22 .inf 1_000")


@pytest.mark.parametrize("word", WORDS)
def test_a_word_stays_the_word_that_was_typed(word: str) -> None:
    assert read_document(f"country: {word}", "")[0] == Mapping(((Scalar("country", 1), Scalar(word, 1)),), 1)


def test_every_value_remembers_its_line_and_its_quotes() -> None:
    node, problems = read_document("a: 1\nb:\n  - '5'\n  - c: \"x\"\n", "")
    assert problems == []
    assert isinstance(node, Mapping)
    assert node.get("a") == Scalar("1", 1)
    listed = node.get("b")
    assert isinstance(listed, Sequence)
    assert listed.items[0] == Scalar("5", 3, quoted=True)
    assert listed.items[1] == Mapping(((Scalar("c", 4), Scalar("x", 4, quoted=True)),), 4)
    assert node.get("z") is None


@pytest.mark.parametrize("change", [lambda text: text.replace("\n", "\r\n"), lambda text: "\ufeff" + text])
def test_line_ends_and_byte_order_marks_of_other_systems_are_fine(change: object) -> None:
    assert read_policy(change(GOOD)).rules == read_policy(GOOD).rules  # type: ignore[operator]


def test_a_quoted_merge_key_is_a_key() -> None:
    assert refusals("'<<': x\n") == []


# -- for every broken file -----------------------------------------------------------------------------------


def loads_or_is_refused(text: str) -> None:
    try:
        assert read_policy(text).default in ("allow", "block")
    except PolicyError as error:
        assert error.problems
        assert all(problem.message and problem.line >= 0 for problem in error.problems)
        assert list(error.problems) == sorted(error.problems, key=lambda problem: problem.line)


def test_a_policy_cut_off_at_any_byte_loads_or_is_refused(tmp_path: Path) -> None:
    raw = GOOD.encode()
    path = tmp_path / "policy.yaml"
    for end in range(len(raw)):
        path.write_bytes(raw[:end])
        try:
            load_policy(path)
        except PolicyError as error:
            assert error.problems


SHIPPED = shipped_policy("no-ai").read_text("utf-8")


@settings(max_examples=60)
@given(st.integers(0, len(SHIPPED)))
def test_a_shipped_policy_cut_off_anywhere_loads_or_is_refused(end: int) -> None:
    loads_or_is_refused(SHIPPED[:end])


@settings(max_examples=300)
@given(st.integers(0, len(GOOD) - 1), st.one_of(st.characters(), st.sampled_from("[]{}:,-&*!|>'\"%@`#?\n\t \\<")))
def test_a_policy_with_any_character_changed_loads_or_is_refused(at: int, char: str) -> None:
    loads_or_is_refused(GOOD[:at] + char + GOOD[at + 1 :])


@settings(max_examples=200)
@given(st.data())
def test_a_policy_with_its_lines_in_disorder_loads_or_is_refused(data: st.DataObject) -> None:
    lines = GOOD.splitlines(keepends=True)
    loads_or_is_refused("".join(data.draw(st.lists(st.sampled_from(lines), max_size=20))))


@settings(max_examples=200)
@given(st.text(max_size=80))
def test_no_text_is_too_strange_for_an_answer(text: str) -> None:
    loads_or_is_refused(text)

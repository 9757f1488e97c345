"""What the schema refuses, the guard refuses; what it cannot tell is said in the file that shows it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from guard import PolicyError
from guard.cli import main
from guard.documents import Mapping, Node, Scalar, Sequence, read_document
from guard.language import BLOCKS, POLICY, Block, Choice, Either, ListOf, MapOf, Measure, Named, OneOrMany, Shape, Text
from guard.load import read_policy, shipped_catalogue
from guard.schema import json_schema, schema_text

ROOT = Path(__file__).resolve().parents[1]
BAD = sorted((ROOT / "tests" / "bad_policies").glob("*.yaml"))
SHIPPED = sorted((ROOT / "policies").glob("*.yaml"))
PARTS = sorted([*(ROOT / "policies" / "routes").glob("*.yaml"), *(ROOT / "policies" / "snippets").glob("*.yaml")])
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
EXPECT = re.compile(r"# expect: ([0-9]+): ")


def pointed(schema: Any) -> Any:
    """The same schema in words with which the validator tells of the place: for `false` it does not."""
    if isinstance(schema, dict):
        return {
            key: {"not": {}} if part is False and key != "additionalProperties" else pointed(part)
            for key, part in schema.items()
        }
    return [pointed(part) for part in schema] if isinstance(schema, list) else schema


WHOLE = Draft202012Validator(pointed(json_schema()))
PART = Draft202012Validator(pointed(json_schema(fragment=True)))
UNSEEN = re.compile(r"# schema: cannot tell of line ([0-9]+) \(.+\)")

Place = tuple[str | int, ...]
Lines = dict[Place, set[int]]


# -- a document as an editor sees it: YAML 1.2, core schema ------------------------------------------------------

_CORE = (
    (re.compile(r"(?:null|Null|NULL|~|)"), lambda text: None),
    (re.compile(r"(?:true|True|TRUE)"), lambda text: True),
    (re.compile(r"(?:false|False|FALSE)"), lambda text: False),
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+"), lambda text: int(text[2:], 8)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text[2:], 16)),
    (re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"), float),
)


def seen(node: Node, lines: Lines, place: Place = ()) -> Any:
    """The value of a node, and under `lines` where each place in it stands."""
    lines.setdefault(place, set()).add(node.line)
    if isinstance(node, Mapping):
        found = {}
        for key, value in node.entries:
            lines[*place, key.text] = {key.line}
            found[key.text] = seen(value, lines, (*place, key.text))
        return found
    if isinstance(node, Sequence):
        return [seen(item, lines, (*place, number)) for number, item in enumerate(node.items)]
    if not node.quoted:
        for form, read in _CORE:
            if form.fullmatch(node.text):
                return read(node.text)
    return node.text


def read(text: str) -> tuple[Any, Lines]:
    node, problems = read_document(text, "a file")
    assert node is not None, problems
    lines: Lines = {}
    return seen(node, lines), lines


def is_readable(text: str) -> bool:
    return read_document(text, "a file")[0] is not None


def places(error: ValidationError) -> Iterator[Place]:
    """Where the mistake is: the keys that are too many, else what the schema looked at."""
    at = tuple(error.absolute_path)
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        globs = error.schema.get("patternProperties", {})
        for key in error.instance:
            if key not in known and not any(re.search(glob, key) for glob in globs):
                yield (*at, key)
    elif "propertyNames" in error.absolute_schema_path:
        yield (*at, error.instance)
    else:
        yield at


def complaints(text: str, validator: Draft202012Validator = WHOLE) -> list[tuple[set[int], str]]:
    """The lines of each mistake that the schema sees, and what it says."""
    document, lines = read(text)
    return [
        (lines[place], f"{'/'.join(map(str, place))}: {error.message[:200]}")
        for error in validator.iter_errors(document)
        for place in places(error)
    ]


# -- what is right -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fragment", [False, True])
def test_it_is_a_schema(fragment: bool) -> None:
    Draft202012Validator.check_schema(json_schema(fragment=fragment))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_policy_pleases_it(path: Path) -> None:
    assert complaints(path.read_text()) == []


@pytest.mark.parametrize("path", PARTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_presets_and_snippets_are_fragments_and_no_whole_policies(path: Path) -> None:
    assert complaints(path.read_text(), PART) == []
    assert [said.rpartition(": ")[2] for _, said in complaints(path.read_text())] == [
        "'site' is a required property",
        "'default' is a required property",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_policy_in_the_documentation_pleases_it(page: Path) -> None:
    for text in re.findall(r"```yaml\n(version: 1\n.*?)```", page.read_text(), re.DOTALL):
        assert complaints(text) == []


GOOD = {
    "the shortest": "version: 1\nsite: {name: x}\ndefault: allow\n",
    "the version in quotes": 'version: "1"\nsite: {name: x}\ndefault: allow\n',
    "a name that is a number": "version: 1\nsite: {name: 1984}\ndefault: allow\nlimits: [{name: 7, rate: 1/s}]\n",
    "site and default from elsewhere": "version: 1\ninclude: [base.yaml]\n",
    "one file, not in a list": "version: 1\ninclude: base.yml\nsite: {name: x}\ndefault: allow\n",
    "a site that is told in part": "version: 1\ninclude: [base.yaml]\nsite: {contact: 'mailto:a@b.example'}\n",
    "nothing is included": "version: 1\ninclude: []\nsite: {name: x}\ndefault: allow\n",
    "switches": "version: 1\nsite: {name: x, trust_unix: true, case_sensitive: false}\ndefault: allow\n",
    "nobody in front": "version: 1\nsite: {name: x, trusted_proxies: []}\ndefault: allow\n",
    "any case": "version: 1\nsite: {name: x}\ndefault: allow\nrules:\n"
    "- {name: r, when: {agent: gptBOT, operator: oPENai, method: [get, Post]}, then: block}\n",
    "globs": "version: 1\nsite: {name: x}\ndefault: allow\nrules:\n- name: r\n"
    "  when: {agent: 'GPT*', operator: 'Open*', category: 'ai-*', purpose: '*ai*', user_agent: '*bot*'}\n"
    "  then: block\n",
    "requests without a User-Agent": "version: 1\nsite: {name: x}\ndefault: allow\nrules:\n"
    "- {name: r, when: {user_agent: ''}, then: block}\n",
    "weights, with and without a sign": "version: 1\nsite: {name: x}\ndefault: allow\nrules:\n"
    "- {name: a, when: {category: tool}, weigh: +20}\n- {name: b, when: {category: tool}, weigh: -20}\n"
    "- {name: c, when: {category: tool}, weigh: 100}\nladder:\n- steps: [{at: 50, then: block}]\n",
    "days and moments": "version: 1\nsite: {name: x}\ndefault: allow\nrules:\n"
    "- {name: a, when: {agent: GPTBot}, then: block, from: 2026-12-01, until: 2026-12-24}\n"
    "- {name: b, when: {agent: GPTBot}, then: block, from: '2026-12-01T18:00Z', until: 2026-12-01 19:00:30.5+01:00}\n",
    "limits of every kind": "version: 1\nsite: {name: x, account: {query: a}, session: {cookie: sid}}\ndefault: allow\n"
    "limits:\n- {name: a, rate: 500/s, burst: 900, precision: exact, cost: 3}\n"
    "- {name: b, rate: 200 MB/hour, burst: 1 GiB, key: [account, route]}\n- {name: c, quota: 50/day, key: session}\n"
    "- {name: d, quota: 16 h audio / month, bitrate: 320k}\n- {name: e, at_once: 3, key: address, precision: exact}\n"
    "- {name: f, rate: 900/s, when: {category: 'ai-*', not: {path: /x}}, mode: observe, reason: r, until: 2026-12-24}\n"
    "rules:\n- {name: r, when: {agent: GPTBot}, then: throttle, limit: [a, c], cost: 2}\n"
    "agents:\n  seo: {then: throttle, limit: [b], cost: 2}\n",
    "rows": "version: 1\nsite: {name: x}\ndefault: allow\nlimits: [{name: slow, rate: 500/min}]\nagents:\n"
    "  'ai-*':\n    then: block\n    reason: no\n    agents: {GPTBot: inherit, CCBot: {then: throttle, limit: slow}}\n"
    "  ai-search: {then: throttle, limit: slow, mode: observe}\n  search: allow\n  ai-agent: inherit\n",
    "conditions within conditions": "version: 1\nsite: {name: x}\ndefault: allow\nrules:\n- name: r\n  when:\n"
    "    any:\n    - {agent: GPTBot, not: {path: /open/**}}\n    - all: [{network: '2001:db8::/32'}, {method: GET}]\n"
    "    not:\n      any: [{identity: verified}, {route: [feed, directive]}]\n  then: block\n",
    "kinds, hosts and a store": "version: 1\nsite: {name: x, hosts: '*.music.example'}\ndefault: allow\n"
    "preferences: {train-ai: disallow, audio: {ai-use: disallow}}\non_store_failure: {media: closed}\nhosts:\n"
    "- {names: [radio.example, '[::1]'], site: {contact: me}, default: block, on_store_failure: open}\n",
    "a preset below a prefix": "version: 1\nsite: {name: x}\ndefault: allow\nroutes:\n"
    "- {preset: navidrome, under: /m/}\n",
    "an example with everything": "version: 1\nsite: {name: x}\ndefault: allow\nexamples:\n"
    "- {name: e, path: '/a?b', method: post, user_agent: '', ip: '::1', expect: allow, rule: default, labels: [],\n"
    "   weight: -5, at: 2026-12-01}\n",
}


@pytest.mark.parametrize("name", GOOD)
def test_what_the_guard_reads_it_accepts(name: str) -> None:
    if "base.y" not in GOOD[name]:
        read_policy(GOOD[name])
    assert complaints(GOOD[name]) == []


@pytest.mark.parametrize("agent", [agent.name for agent in shipped_catalogue().agents][::37])
def test_every_agent_and_operator_of_the_catalogue_is_offered(agent: str) -> None:
    schema = json_schema()["$defs"]
    assert agent in schema["agents"]["enum"]
    operator = shipped_catalogue().by_name[agent.lower()].operator
    validator = Draft202012Validator(schema["operators"])
    assert validator.is_valid(operator)
    assert validator.is_valid(operator.upper())
    assert not validator.is_valid(f"{operator}x")


# -- what is wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_mistake_is_seen_at_its_place_or_it_is_said_why_not(path: Path) -> None:
    text = path.read_text()
    head = [line for line in text.splitlines() if line.startswith("# ")]
    reasons = [line for line in head if re.fullmatch(r"# schema: (cannot tell|not asked) \(.+\)", line)]
    unseen = {int(match[1]) for match in map(UNSEEN.fullmatch, head) if match}
    if not is_readable(text):
        assert reasons, "say '# schema: not asked (why)'"
        assert reasons[0].startswith("# schema: not asked (")
        return
    found = complaints(text)
    if reasons:
        assert reasons[0].startswith("# schema: cannot tell (")
        assert found == []
        return
    expected = {int(match[1]) for match in map(EXPECT.match, head) if match}
    assert found, "the schema sees nothing: say '# schema: cannot tell (why)'"
    for lines, said in found:
        assert lines & (expected - unseen), f"{said}: is on line {lines}, the mistakes are on {expected}"
    for line in expected - unseen:
        assert any(line in lines for lines, _ in found), f"nothing is said of line {line}: {found}"


@pytest.mark.parametrize(
    "more",
    ["burst: '20'", "name: [a]", "rate: {a: 1}", "key: [client, [agent]]", "burst: 1.5", "burst: true"],
)
def test_a_limit_of_the_wrong_shape_is_marked_within_the_limit(more: str) -> None:
    key = more.partition(":")[0]
    parts = {"name": "name: slow", "rate": "rate: 1/s"} | {key: more}
    document, _ = read(f"version: 1\nsite: {{name: x}}\ndefault: allow\nlimits:\n- {{{', '.join(parts.values())}}}\n")
    (error,) = WHOLE.iter_errors(document)
    assert tuple(error.absolute_path)[:3] == ("limits", 0, key)


ODD = st.sampled_from(
    [
        *(0, 1, -1, 20, 101, 10_001, 1.5, [], {}, [[]], [{}], "", " ", "*", "**", "x", "ai-*", "GPT*"),
        *(
            "/",
            "/x",
            "//x",
            "/x/../y",
            "/a**",
            "/**/x",
            "/x y",
            "/é",
            "x/y",
            "/x?y",
            "block",
            "allow",
            "throttle",
            "label",
        ),
        *(
            "inherit",
            "directive",
            "page",
            "GET",
            "get",
            "Open*",
            "openai",
            "GPTBot",
            "gptbot",
            "192.0.2.0/24",
            "10.0.0.1/8",
        ),
        *(
            "2001:db8::/32",
            "::1",
            "fe80::%1",
            "1.2.3.4",
            "a.example",
            "*.a.example",
            "a.example:80",
            "A.example.",
            "[::1]",
        ),
        *(
            "60/min",
            "16 h audio/day",
            "200 MB/hour",
            "1 GB",
            "50/month",
            "320k",
            "exact",
            "leased",
            "0/s",
            "1 / hour",
            "1/x",
            "2026-12-01",
            "2026-02-30",
            "2026-12-01T18:00",
            "2026-12-01t18:00z",
            "20261201",
        ),
        *(
            "navidrome",
            "fair-use",
            "x.yaml",
            "/x.yaml",
            "https://x/y.yaml",
            "default",
            "a: b",
            "x" * 81,
            "line\nline",
            "é*",
        ),
        *({"then": "block"}, {"agent": "GPTBot"}, {"name": "x"}, ["page", "media"], ["/x", "/y"], "local", "closed"),
    ]
)


def spots(value: Any, place: Place = ()) -> list[Place]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(spot for key, one in inner for spot in spots(one, (*place, key)))]


def changed(value: Any, place: Place, change: str, odd: Any) -> Any:
    """A document with one place replaced, left out, or under another key."""
    if not place:
        return odd
    key, *rest = place
    if isinstance(value, dict):
        entries = [
            (name, changed(one, tuple(rest), change, odd) if name == key else one) for name, one in value.items()
        ]
        if not rest and change != "replace":
            entries = [(odd if isinstance(odd, str) else "x", value[key])] if change == "rename" else []
            entries += [(name, one) for name, one in value.items() if name != key]
        return dict(entries)
    items = list(value)
    items[int(key)] = changed(items[int(key)], tuple(rest), change, odd)
    return items


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_what_it_refuses_the_guard_refuses(data: st.DataObject) -> None:
    document, _ = read(data.draw(st.sampled_from([text for text in GOOD.values() if "base.y" not in text])))
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.sampled_from(spots(document)[1:]))
        document = changed(
            document, place, data.draw(st.sampled_from(["replace", "replace", "rename", "leave out"])), data.draw(ODD)
        )
    text = json.dumps(document, ensure_ascii=False)
    if found := complaints(text):
        with pytest.raises(PolicyError):
            pytest.fail(f"{text}: {found}; the guard reads it as {read_policy(text).site}")


# -- every word --------------------------------------------------------------------------------------------------


def blocks_of(shape: Shape) -> Iterator[Block]:
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


def forms_of(shape: Shape) -> Iterator[str]:
    match shape:
        case Text(form) | Named(_, form) | Measure(_, _, form):
            yield form
        case MapOf(key, _) if isinstance(key, (Text, Named)):
            yield key.form
        case OneOrMany(item) | ListOf(item):
            yield from forms_of(item)


def test_every_word_is_described_and_no_other_is_known() -> None:
    schema = json_schema()
    known = {**schema["$defs"], "policy": schema}
    for block in [*blocks_of(POLICY), *BLOCKS.values()]:
        if block.name == "site":
            continue  # the partial one stands for it
        found = known[block.name.replace(" ", "-")]
        assert found["additionalProperties"] is False
        assert list(found["properties"]) == list(block.names)
        assert all(found["properties"][word.name]["description"] == word.says for word in block.words)


def test_patterns_are_such_as_every_editor_reads() -> None:
    for block in [*blocks_of(POLICY), *BLOCKS.values()]:
        for word in block.words:
            for form in forms_of(word.shape):
                assert re.compile(form)
                assert not re.search(r"\\[^\\.*+?()\[\]{}|^$/uw]|\(\?[<P#imsx]|\+\+|\*\+", form), form


def test_only_words_that_are_lists_of_words_have_globs() -> None:
    assert {
        word.name
        for block in [*blocks_of(POLICY), *BLOCKS.values()]
        for word in block.words
        if isinstance(word.shape, OneOrMany) and isinstance(word.shape.item, Choice) and word.shape.item.globs
    } == {"category", "purpose"}


# -- how it reaches an editor ------------------------------------------------------------------------------------


def test_the_file_that_ships_is_the_schema_of_this_language() -> None:
    renew = "run: guard schema --out guard/policy.schema.json"
    assert (ROOT / "guard" / "policy.schema.json").read_text(encoding="utf-8") == schema_text(), renew


def test_the_command_prints_it_and_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()
    assert main(["schema", "--fragment", "--out", str(tmp_path / "part.json")]) == 0
    assert json.loads((tmp_path / "part.json").read_text(encoding="utf-8")) == json_schema(fragment=True)
    assert capsys.readouterr().out == ""
    assert main(["schema", "--out", str(tmp_path / "none" / "x.json")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_a_wheel_carries_the_policies_and_the_schema_and_works_where_it_is_unpacked(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "unpacked")
    wanted = {str(path.relative_to(ROOT / "policies")) for path in [*SHIPPED, *PARTS]}
    assert {f"guard/_policies/{name}" for name in wanted} <= names
    assert "guard/policy.schema.json" in names
    assert "guard/py.typed" in names
    assert not [name for name in names if name.startswith("tests/") or "__pycache__" in name]

    words = [sys.executable, "-c", "import sys; from guard.cli import main; sys.exit(main(sys.argv[1:]))"]
    surroundings = {**os.environ, "PYTHONPATH": str(tmp_path / "unpacked")}
    where = subprocess.run(
        [sys.executable, "-c", "import guard; print(guard.__file__)"],
        env=surroundings,
        cwd=tmp_path,
        capture_output=True,
    )
    assert str(tmp_path) in where.stdout.decode()
    policy = tmp_path / "own.yaml"
    policy.write_text(
        "version: 1\ninclude: [fair-use]\nsite: {name: x, contact: me}\ndefault: allow\nroute_default: static\n"
        "routes: [{preset: castopod}]\nrules: [{name: apps, when: {route: api}, then: allow}]\n"
    )
    done = subprocess.run(
        [*words, "check", "no-ai", str(policy)], env=surroundings, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run([*words, "schema"], env=surroundings, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == schema_text()


def test_a_scalar_in_quotes_is_text_to_an_editor() -> None:
    assert seen(Scalar("1", 1, True), {}) == "1"
    assert [seen(Scalar(text, 1), {}) for text in ("1", "+20", "no", "2026-12-01", "true", "1e3", "~")] == [
        *(1, 20, "no", "2026-12-01", True, 1000.0, None),
    ]

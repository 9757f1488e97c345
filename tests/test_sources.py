"""A policy in several files, for several hosts, with dates, rows, weights: what is said where, and what counts."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from guard import Guard, PolicyError, Request, load_policy
from guard.conditions import FACTS, Condition, Evidence, Group, Test, all_hold
from guard.load import load_policies, read_policy, shipped_catalogue
from guard.model import Decision, Identity, Mode
from guard.policy import Ladder, Policy, Rule, Rung, Verdict, decide, trace
from guard.sources import MAX_DEPTH, MAX_INCLUDES, join, read_bytes, shipped_folder

HEAD = "version: 1\nsite: {name: x}\ndefault: allow\n"
GPTBOT, CCBOT, GOOGLE, CURL = "GPTBot/1.3", "CCBot/2.0", "Mozilla/5.0 (compatible; Googlebot/2.1)", "curl/8.14"
PERPLEXITY = "PerplexityBot/1.0"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/157.0.0.0 Safari/537.36"


def write(folder: Path, **files: str) -> Path:
    """Files of a folder by their stems; the first is what is loaded."""
    for stem, text in files.items():
        (folder / f"{stem}.yaml").write_text(text)
    return folder / f"{next(iter(files))}.yaml"


def problems_of(path: Path) -> list[tuple[str, int, str]]:
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    return [(Path(problem.file).name, problem.line, problem.message) for problem in caught.value.problems]


def decision(
    policy: Policy, user_agent: str = GPTBOT, path: str = "/x", at_s: float = 0.0, method: str = "GET"
) -> Decision:
    return Guard(policy, clock=lambda: at_s).decide(Request(method, path.encode(), user_agent.encode(), "192.0.2.1"))


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


# -- one rule joins everything: what a file says itself comes first -------------------------------------------


def test_lists_follow_one_another_and_what_a_file_says_itself_comes_first(tmp_path: Path) -> None:
    policy = load_policy(
        write(
            tmp_path,
            main=f"{HEAD}include: [one.yaml, two.yaml]\nrules:\n- {{name: main, when: {{path: /m}}, then: block}}\n"
            "routes: [{class: api, paths: [/main/**]}]\n",
            one="version: 1\nrules:\n- {name: one, when: {path: /1}, then: block}\n"
            "routes: [{class: feed, paths: [/main/one, /one]}]\nlimits: [{name: slow, rate: 500/min}]\n",
            two="version: 1\nrules:\n- {name: two, when: {path: /2}, then: throttle, limit: slow}\n"
            "examples: [{name: e, path: /2, expect: throttle}]\n",
        )
    )
    assert [rule.name for rule in policy.rules] == ["main", "one", "two"]
    assert [entry.route_class for entry in policy.routes] == ["api", "feed"]
    assert policy.route_class("/main/one") == "api"
    assert policy.rules[2].limits[0] is policy.limits[0]
    assert [example.name for example in policy.examples] == ["e"]


def test_an_entry_of_the_same_name_takes_the_place_of_the_included_one(tmp_path: Path) -> None:
    policy = load_policy(
        write(
            tmp_path,
            main=f"{HEAD}include: [base.yaml]\nlimits: [{{name: slow, rate: 900/min}}]\n"
            "rules:\n- {name: no AI, when: {category: 'ai-*'}, then: allow}\n",
            base="version: 1\nlimits: [{name: slow, rate: 500/min}, {name: fast, rate: 10/s}]\n"
            "rules:\n- {name: first, when: {path: /1}, then: block}\n"
            "- {name: no AI, when: {category: 'ai-*'}, then: block}\n",
        )
    )
    assert [(limit.name, limit.count) for limit in policy.limits] == [("slow", 900), ("fast", 10)]
    assert [(rule.name, rule.then) for rule in policy.rules] == [("no AI", "allow"), ("first", "block")]


def test_of_two_included_files_the_first_to_name_a_rule_has_it(tmp_path: Path) -> None:
    policy = load_policy(
        write(
            tmp_path,
            main=f"{HEAD}include: [one.yaml, two.yaml]\n",
            one="version: 1\nrules: [{name: r, when: {path: /1}, then: block}]\n",
            two="version: 1\nrules: [{name: r, when: {path: /2}, then: allow}]\nmode: observe\ndefault: block\n",
        )
    )
    assert [(rule.name, rule.then) for rule in policy.rules] == [("r", "block")]
    assert (policy.mode, policy.default) == (Mode.OBSERVE, "allow")


def test_in_mappings_the_first_word_for_a_key_wins_and_the_others_are_added(tmp_path: Path) -> None:
    policy = load_policy(
        write(
            tmp_path,
            main="version: 1\ninclude: base.yaml\nsite: {name: Mine}\npreferences: {train-ai: allow}\n"
            "agents: {search: block}\non_store_failure: {media: open}\n",
            base="version: 1\nsite: {name: Base, contact: me}\ndefault: block\n"
            "preferences: {train-ai: disallow, ai-use: disallow, audio: {search: disallow}}\n"
            "agents: {search: allow, 'ai-*': block}\non_store_failure: {media: closed, page: closed}\n",
        )
    )
    assert (policy.site.name, policy.site.contact, policy.default) == ("Mine", "me", "block")
    assert policy.preferences == {"train-ai": "allow", "ai-use": "disallow"}
    assert policy.kind_preferences == {"audio": {"search": "disallow"}}
    assert {row.name: row.then for row in policy.rows} == {"agents: search": "block", "agents: ai-*": "block"}
    assert policy.on_store_failure == {"media": "open", "page": "closed"}


def test_a_word_stands_for_the_whole_of_what_is_included_when_one_of_them_is_no_mapping(tmp_path: Path) -> None:
    policy = load_policy(
        write(
            tmp_path,
            main=f"{HEAD}include: base.yaml\non_store_failure: closed\n",
            base="version: 1\non_store_failure: {media: open}\n",
        )
    )
    assert set(policy.on_store_failure.values()) == {"closed"}


LISTS = st.lists(st.sampled_from("abcd"), max_size=4, unique=True)


@given(LISTS, LISTS, LISTS)
def test_joining_is_first_come_first_served(own: list[str], one: list[str], two: list[str]) -> None:
    def document(names: list[str]) -> Any:
        from guard.documents import read_document

        entries = ", ".join(f"{{name: {name}, rate: 1/s}}" for name in names)
        return read_document(f"limits: [{entries}]\n", "f")[0]

    joined = join(document(own), [document(one), document(two)])
    names = [item.get("name").text for item in joined.get("limits").items]  # type: ignore[union-attr]
    assert names == list(dict.fromkeys([*own, *one, *two]))


# -- which files, and which not ----------------------------------------------------------------------------------


def test_a_file_is_sought_beside_the_one_that_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    write(tmp_path / "parts", a="version: 1\ninclude: [b.yaml, ../c.yaml]\n", b="version: 1\nmode: observe\n")
    path = write(tmp_path, main=f"{HEAD}include: [parts/a.yaml]\n", c="version: 1\nroute_default: api\n")
    policy = load_policy(path)
    assert (policy.mode, policy.route_default) == (Mode.OBSERVE, "api")
    assert [Path(source).name for source in policy.sources] == ["main.yaml", "a.yaml", "b.yaml", "c.yaml"]


def test_a_shipped_snippet_is_included_by_its_name(tmp_path: Path) -> None:
    policy = load_policy(
        write(
            tmp_path,
            main=f"{HEAD}include: [fair-use]\nroute_default: static\n"
            "rules: [{name: apps, when: {path: /rest/**}, then: allow}]\n",
        )
    )
    assert policy.rules[0].name == "apps"
    assert len(policy.rules) > 3
    assert policy.sources[-1] == str(shipped_folder() / "snippets" / "fair-use.yaml")
    assert {rule.file for rule in policy.rules[1:]} == {policy.sources[-1]}


def test_a_policy_that_is_no_file_has_nothing_beside_it_but_the_snippets() -> None:
    with pytest.raises(PolicyError, match="this policy is no file"):
        read_policy(f"{HEAD}include: [other.yaml]\n")
    assert read_policy(f"{HEAD}include: [fair-use]\nrules: [{{name: all, when: {{method: GET}}, then: allow}}]\n").rules


def test_what_two_files_include_is_there_once(tmp_path: Path) -> None:
    policy = load_policy(
        write(
            tmp_path,
            main=f"{HEAD}include: [left.yaml, right.yaml]\n",
            left="version: 1\ninclude: [base.yaml]\nrules: [{name: left, when: {path: /l}, then: block}]\n",
            right="version: 1\ninclude: [base.yaml]\nrules: [{name: right, when: {path: /r}, then: block}]\n",
            base="version: 1\nroutes: [{class: api, paths: [/a]}]\n"
            "rules: [{name: base, when: {path: /b}, then: block}]\n",
        )
    )
    assert [rule.name for rule in policy.rules] == ["left", "base", "right"]
    assert len(policy.routes) == 1
    assert len(policy.sources) == 4


def test_a_circle_is_told_with_the_whole_way_round(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        a=f"{HEAD}include: [b.yaml]\n",
        b="version: 1\n# a word\ninclude: [c.yaml]\n",
        c="version: 1\ninclude:\n- b.yaml\n",
    )
    assert problems_of(path) == [
        ("c.yaml", 3, "include: 'b.yaml' includes itself (b.yaml > c.yaml > b.yaml)"),
    ]


@pytest.mark.parametrize(("depth", "fits"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False)])
def test_files_include_files_to_a_depth_that_is_stated(tmp_path: Path, depth: int, fits: bool) -> None:
    path = write(tmp_path, f0=f"{HEAD}include: [f1.yaml]\n")
    for number in range(1, depth + 1):
        more = f"include: [f{number + 1}.yaml]\n" if number < depth else "mode: observe\n"
        write(tmp_path, **{f"f{number}": f"version: 1\n{more}"})
    if fits:
        assert load_policy(path).mode is Mode.OBSERVE
    else:
        assert problems_of(path) == [("f8.yaml", 2, "include: more than 8 deep or 64 files")]


def test_so_many_files_and_no_more(tmp_path: Path) -> None:
    names = [f"n{number}" for number in range(MAX_INCLUDES + 1)]
    write(tmp_path, **dict.fromkeys(names, "version: 1\n"))
    path = write(tmp_path, main=f"{HEAD}include: [{', '.join(f'{name}.yaml' for name in names)}]\n")
    assert problems_of(path) == [("main.yaml", 4, "include: more than 8 deep or 64 files")]


def test_a_problem_in_an_included_file_is_told_with_that_file_and_its_line(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        main=f"{HEAD}include: [part.yaml]\nmode: obsrve\n",
        part="version: 1\n\nlimits:\n- {name: slow, rate: fast}\n"
        "rules:\n- {name: r, when: {agent: GPTBoot}, then: block}\n",
    )
    assert [(file, line) for file, line, _ in problems_of(path)] == [
        ("main.yaml", 5),
        ("part.yaml", 4),
        ("part.yaml", 6),
    ]


def test_an_included_file_that_is_no_yaml_is_told_with_that_file_and_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, main=f"{HEAD}include: [part.yaml]\n", part="version: 1\nrules: [\n")
    assert [(file, line) for file, line, _ in problems_of(path)] == [("part.yaml", 3)]


def test_what_is_no_regular_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "endless.yaml").symlink_to("/dev/zero")
    (tmp_path / "nowhere.yaml").symlink_to(tmp_path / "gone")
    path = write(tmp_path, main=f"{HEAD}include: [pipe.yaml, folder.yaml, endless.yaml, nowhere.yaml]\n")
    found = problems_of(path)
    assert [line for _, line, _ in found] == [4] * 4
    assert [message.partition(",")[0] for _, _, message in found] == [
        "include: 'pipe.yaml' is no regular file",
        "include: 'folder.yaml' is no regular file",
        "include: 'endless.yaml' is no regular file",
        "include: 'nowhere.yaml' is not there",
    ]
    with pytest.raises(OSError, match="not a regular file"):
        load_policy(tmp_path / "pipe.yaml")
    with pytest.raises(OSError, match="not a regular file"):
        read_bytes(tmp_path / "endless.yaml")


def test_a_file_without_bounds_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, main=f"{HEAD}include: [huge.yaml]\n", huge="#" * (4 * 1024 * 1024 + 1))
    assert problems_of(path) == [("huge.yaml", 0, "larger than 4096 KiB")]
    with pytest.raises(ValueError, match="larger than"):
        read_bytes(tmp_path / "huge.yaml")
    (tmp_path / "main.yaml").write_bytes(b"#" * (4 * 1024 * 1024 + 1))
    assert problems_of(path) == [("main.yaml", 0, "larger than 4096 KiB")]


def test_an_included_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, main=f"{HEAD}include: [part.yaml]\n")
    (tmp_path / "part.yaml").write_bytes("version: 1\n# Müsik\n".encode("latin-1"))
    ((file, _, message),) = problems_of(path)
    assert (file, message.partition(":")[0]) == ("part.yaml", "not UTF-8 text")


@pytest.mark.parametrize("name", ["a\\0b.yaml", "x" * 300 + ".yaml", "main.yaml/part.yaml", "no/such/folder.yaml"])
def test_a_name_that_no_file_can_have_is_a_problem_and_no_crash(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, main=f'{HEAD}include: ["{name}"]\n')
    ((file, line, message),) = problems_of(path)
    assert (file, line) == ("main.yaml", 4)
    assert message.startswith("include: '")


def test_what_a_linked_file_includes_is_sought_where_the_link_leads(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    write(shared, part="version: 1\ninclude: [more.yaml]\n", more="version: 1\nmode: observe\n")
    (tmp_path / "part.yaml").symlink_to("shared/part.yaml")
    assert load_policy(write(tmp_path, main=f"{HEAD}include: [part.yaml]\n")).mode is Mode.OBSERVE
    write(shared, more="version: 1\ninclude: [../part.yaml]\n")
    ((file, _, message),) = problems_of(tmp_path / "main.yaml")
    assert (file, message) == (
        "more.yaml",
        "include: '../part.yaml' includes itself (part.yaml > more.yaml > part.yaml)",
    )


def test_in_a_mounted_volume_all_files_come_from_one_snapshot(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap: names lead over `..data` into a folder that is swapped as a whole."""

    def snapshot(number: int) -> None:
        folder = tmp_path / f"..snapshot_{number}"
        folder.mkdir()
        write(
            folder,
            policy=f"{HEAD}include: [part.yaml]\n",
            part=f"version: 1\nroute_default: {'api' if number else 'feed'}\n",
        )
        (tmp_path / "new").symlink_to(folder.name)
        (tmp_path / "new").replace(tmp_path / "..data")

    snapshot(0)
    for name in ("policy.yaml", "part.yaml"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    first = load_policy(tmp_path / "policy.yaml")
    assert first.route_default == "feed"
    assert {Path(source).parent.name for source in first.sources} == {"..snapshot_0"}
    snapshot(1)
    second = load_policy(tmp_path / "policy.yaml")
    assert second.route_default == "api"
    assert {Path(source).parent.name for source in second.sources} == {"..snapshot_1"}
    assert second.version != first.version


@pytest.mark.parametrize("changed", ["main", "one", "deep", "snippet", "preset"])
def test_the_version_follows_every_file_that_is_read(
    tmp_path: Path, changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = tmp_path / "shelf"
    for folder in ("snippets", "routes"):
        (shelf / folder).mkdir(parents=True)
    write(shelf / "snippets", snippet="version: 1\n")
    write(shelf / "routes", preset="version: 1\nroutes: [{class: api, paths: [/a]}]\n")
    monkeypatch.setattr("guard.sources.shipped_folder", lambda: shelf)
    path = write(
        tmp_path,
        main=f"{HEAD}include: [one.yaml, snippet]\nroutes: [{{preset: preset}}]\n",
        one="version: 1\ninclude: [deep.yaml]\n",
        deep="version: 1\n",
    )
    before = load_policy(path)
    (file,) = tmp_path.rglob(f"{changed}.yaml")
    assert str(file) in before.sources
    file.write_text(file.read_text() + "# another word\n")
    after = load_policy(path)
    assert before.version != after.version
    assert replace(before, version="", site=after.site) == replace(after, version="")


# -- presets of routes -------------------------------------------------------------------------------------------


def test_a_preset_stands_where_it_is_written_and_below_its_prefix() -> None:
    policy = read_policy(
        f"{HEAD}routes:\n- {{class: page, paths: [/music/rest/stream/help]}}\n"
        "- {preset: navidrome, under: /music/}\n- {class: embed, paths: [/rest/stream]}\n"
    )
    assert policy.route_class("/music/rest/stream/help") == "page"
    assert policy.route_class("/music/rest/stream") == "media"
    assert policy.route_class("/rest/stream") == "embed"
    assert all(path.startswith("/music/") for entry in policy.routes[1:-1] for path in entry.paths)


@pytest.mark.parametrize("name", sorted(path.stem for path in (shipped_folder() / "routes").glob("*.yaml")))
def test_every_preset_reads_the_same_with_and_without_a_prefix(name: str) -> None:
    plain = read_policy(f"{HEAD}routes: [{{preset: {name}}}]\n").routes
    moved = read_policy(f"{HEAD}routes: [{{preset: {name}, under: /a/b}}]\n").routes
    assert [(entry.route_class, tuple(f"/a/b{path}" for path in entry.paths)) for entry in plain] == [
        (entry.route_class, entry.paths) for entry in moved
    ]
    assert plain[0].file.endswith(f"routes/{name}.yaml")


def test_a_host_may_have_a_preset_of_its_own() -> None:
    policy = read_policy(
        f"{HEAD}routes: [{{preset: navidrome}}]\nhosts:\n- {{names: [a.example], routes: [{{preset: azuracast}}]}}\n"
    )
    (scope,) = policy.scopes
    assert (policy.route_class("/listen/x"), scope.route_class("/listen/x")) == ("page", "media")
    assert scope.route_class("/rest/stream") == "media"


# -- hosts -------------------------------------------------------------------------------------------------------

HOSTS = """\
version: 1
site: {name: x, contact: me, hosts: [music.example]}
default: allow
mode: observe
preferences: {train-ai: disallow}
limits: [{name: slow, rate: 500/min}]
rules:
- {name: no AI, when: {category: 'ai-*'}, then: block}
- {name: tools, when: {category: tool}, then: throttle, limit: slow}
examples: [{name: of the file, path: /x, expect: allow}]
hosts:
- names: [Radio.example., '*.radio.example']
  site: {name: Radio}
  mode: enforce
  preferences: {train-ai: allow}
  rules:
  - {name: open, when: {path: /open/**}, then: allow}
  - {name: tools, when: {category: tool}, then: block}
  examples: [{name: of the host, path: /open/x, expect: allow}]
- names: blog.example
  default: block
"""


def test_what_a_host_says_itself_comes_first_and_the_file_says_the_rest() -> None:
    policy = read_policy(HOSTS)
    radio, blog = policy.scopes
    assert policy.hosts == ("music.example",)
    assert (radio.hosts, blog.hosts) == (("radio.example", "*.radio.example"), ("blog.example",))
    assert (policy.mode, radio.mode, blog.mode) == (Mode.OBSERVE, Mode.ENFORCE, Mode.OBSERVE)
    assert (radio.site.name, radio.site.contact) == ("Radio", "me")
    assert radio.preferences == {"train-ai": "allow"}
    assert [(rule.name, rule.then) for rule in radio.rules] == [
        ("open", "allow"),
        ("tools", "block"),
        ("no AI", "block"),
    ]
    assert (blog.default, blog.rules) == ("block", policy.rules)
    assert [example.name for example in radio.examples] == ["of the host"]
    assert blog.examples == ()
    assert {radio.version, blog.version} == {policy.version}


def test_hosts_count_under_one_limit_when_they_share_it() -> None:
    policy = read_policy(HOSTS)
    assert policy.scopes[1].rules[1].limits[0] is policy.rules[1].limits[0]


def test_every_host_gets_the_guard_that_is_for_it() -> None:
    guard = Guard(read_policy(HOSTS))
    request = Request("GET", b"/x", GPTBOT.encode(), "192.0.2.1")
    found = {
        host: (guard.for_host(host.encode()).decide(request)[:3:2])
        for host in ("music.example", "radio.example", "a.radio.example", "blog.example", "other.example", "")
    }
    assert found == {
        "music.example": ("block", Mode.OBSERVE),
        "radio.example": ("block", Mode.ENFORCE),
        "a.radio.example": ("block", Mode.ENFORCE),
        "blog.example": ("block", Mode.OBSERVE),
        "other.example": ("block", Mode.OBSERVE),
        "": ("block", Mode.OBSERVE),
    }


def test_hosts_may_stand_in_an_included_file(tmp_path: Path) -> None:
    policy = load_policy(
        write(
            tmp_path,
            main=f"{HEAD}include: [hosts.yaml]\nhosts:\n- {{names: [a.example], default: block}}\n",
            hosts="version: 1\nhosts:\n- {names: [b.example], mode: observe}\n",
        )
    )
    assert [(scope.hosts, scope.default, scope.mode) for scope in policy.scopes] == [
        (("a.example",), "block", Mode.ENFORCE),
        (("b.example",), "allow", Mode.OBSERVE),
    ]


# -- several policies in one process -----------------------------------------------------------------------------


def hosted(*hosts: str, more: str = "") -> str:
    return f"version: 1\nsite: {{name: x, hosts: [{', '.join(hosts)}]}}\ndefault: allow\n{more}"


def test_the_first_of_several_policies_is_for_all_that_nobody_names(tmp_path: Path) -> None:
    write(
        tmp_path, a=f"{HEAD}route_default: api\n", b=hosted("b.example", "'*.b.example'", more="route_default: feed\n")
    )
    policy = load_policies([tmp_path / "a.yaml", tmp_path / "b.yaml"])
    guard = Guard(policy)
    found = {
        host: guard.for_host(host.encode()).policy.route_default for host in ("b.example", "x.b.example", "c.example")
    }
    assert found == {"b.example": "feed", "x.b.example": "feed", "c.example": "api"}
    assert [Path(source).name for source in policy.sources] == ["a.yaml", "b.yaml"]


def test_hosts_of_all_files_are_told_apart(tmp_path: Path) -> None:
    write(
        tmp_path,
        a=hosted("a.example", more="hosts: [{names: [a2.example], default: block}]\n"),
        b=hosted("b.example", more="mode: observe\nhosts: [{names: [b2.example], default: block}]\n"),
    )
    policy = load_policies([tmp_path / "a.yaml", tmp_path / "b.yaml"])
    assert [(scope.hosts, scope.default, scope.mode.value) for scope in policy.scopes] == [
        (("a2.example",), "block", "enforce"),
        (("b.example",), "allow", "observe"),
        (("b2.example",), "block", "observe"),
    ]


def test_one_policy_alone_is_itself(tmp_path: Path) -> None:
    path = write(tmp_path, a=HEAD)
    assert load_policies([path]) == load_policy(path)


def problems_together(tmp_path: Path, **files: str) -> list[tuple[str, int, str]]:
    write(tmp_path, **files)
    with pytest.raises(PolicyError) as caught:
        load_policies([tmp_path / f"{name}.yaml" for name in files])
    return [
        (Path(problem.file).name, problem.line, problem.message.replace(f"{tmp_path}/", ""))
        for problem in caught.value.problems
    ]


def test_a_second_policy_must_say_whom_it_is_for(tmp_path: Path) -> None:
    assert problems_together(tmp_path, a=HEAD, b=HEAD) == [
        ("b.yaml", 0, "beside another policy it must say which hosts it is for: 'site: hosts:'"),
    ]


def test_one_host_has_one_policy(tmp_path: Path) -> None:
    found = problems_together(
        tmp_path,
        a=hosted("a.example", more="hosts: [{names: [a2.example]}]\n"),
        b=hosted("b.example", "A.example", more="hosts: [{names: [a2.example]}]\n"),
    )
    assert found == [
        ("b.yaml", 0, "host 'a.example' is also in a.yaml"),
        ("b.yaml", 0, "host 'a2.example' is also in a.yaml"),
    ]


def test_limits_of_one_name_are_one_limit(tmp_path: Path) -> None:
    def limit(rate: str) -> str:
        return f"limits: [{{name: slow, rate: {rate}}}]\n"

    found = problems_together(tmp_path, a=HEAD + limit("500/min"), b=hosted("b.example", more=limit("400/min")))
    assert found == [("b.yaml", 4, "limit 'slow' is another one in a.yaml: give one of them another name")]
    write(tmp_path, b=hosted("b.example", more=limit("500/min")))
    assert load_policies([tmp_path / "a.yaml", tmp_path / "b.yaml"]).scopes[0].limits


def test_the_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    found = problems_together(tmp_path, a="version: 1\n", b="version: 2\nsite: {name: x}\ndefault: allow\n")
    assert [(file, line) for file, line, _ in found] == [("a.yaml", 1), ("a.yaml", 1), ("b.yaml", 1)]


def test_the_version_of_several_policies_follows_each(tmp_path: Path) -> None:
    paths = [write(tmp_path, a=HEAD), write(tmp_path, b=hosted("b.example"))]
    before = load_policies(paths).version
    write(tmp_path, b=hosted("b.example", more="# another word\n"))
    assert load_policies(paths).version != before


# -- dates -------------------------------------------------------------------------------------------------------


def dated(words: str) -> Policy:
    return read_policy(f"{HEAD}rules:\n- {{name: r, when: {{agent: GPTBot}}, then: block, {words}}}\n")


@pytest.mark.parametrize(
    ("words", "first", "last"),
    [
        ("from: 2026-12-01, until: 2026-12-24", "2026-12-01T00:00:00", "2026-12-24T23:59:59.999"),
        ("from: 2026-12-24, until: 2026-12-24", "2026-12-24T00:00:00", "2026-12-24T23:59:59.999"),
        ("from: '2026-12-01T18:00Z', until: 2026-12-02", "2026-12-01T18:00:00", "2026-12-02T23:59:59.999"),
        ("from: 2026-12-01T18:00+01:00, until: 2026-12-02", "2026-12-01T17:00:00", "2026-12-02T23:59:59.999"),
        ("from: 2026-12-01 18:00:30.5-0530, until: 2026-12-02", "2026-12-01T23:30:30.5", "2026-12-02T23:59:59.999"),
        ("from: 2026-12-01, until: '2026-12-01T06:00Z'", "2026-12-01T00:00:00", "2026-12-01T05:59:59.999"),
        ("from: 2028-02-29, until: 2028-02-29", "2028-02-29T00:00:00", "2028-02-29T23:59:59.999"),
    ],
)
def test_a_rule_is_in_force_from_the_first_moment_to_the_last(words: str, first: str, last: str) -> None:
    policy = dated(words)
    begin, end = seconds(first), seconds(last)
    found = [decision(policy, at_s=at).action for at in (begin - 0.001, begin, (begin + end) / 2, end, end + 0.001)]
    assert found == ["allow", "block", "block", "block", "allow"]


def test_a_rule_with_one_date_is_open_to_the_other_side() -> None:
    day = seconds("2026-12-01T00:00:00")
    assert [decision(dated("from: 2026-12-01"), at_s=at).action for at in (0, day, day * 9)] == [
        "allow",
        "block",
        "block",
    ]
    assert [decision(dated("until: 2026-11-30"), at_s=at).action for at in (0, day - 1, day)] == [
        "block",
        "block",
        "allow",
    ]


@pytest.mark.parametrize(
    "date",
    ["20261201", "2026-W49-2", "2026-12-01T18", "2026-12-01T24:00Z", "2026-12-01T18:00:60Z", "1.12.2026", "9999-13-01"],
)
def test_other_forms_of_dates_are_refused(date: str) -> None:
    with pytest.raises(PolicyError, match="is no date"):
        dated(f"from: '{date}'")


def test_the_end_of_the_last_day_of_all_is_a_problem_and_no_crash() -> None:
    with pytest.raises(PolicyError, match="no calendar has it"):
        dated("until: 9999-12-31")


def test_an_example_may_say_when_it_comes() -> None:
    policy = read_policy(f"{HEAD}examples: [{{name: e, path: /x, expect: allow, at: 2026-12-01}}]\n")
    assert policy.examples[0].at_s == seconds("2026-12-01T00:00:00")


# -- agents' rows ------------------------------------------------------------------------------------------------


def rows(text: str, default: str = "allow", more: str = "") -> Policy:
    return read_policy(f"version: 1\nsite: {{name: x}}\ndefault: {default}\n{more}agents:\n{text}")


def found_by(policy: Policy, *user_agents: str) -> list[tuple[str, str]]:
    return [decision(policy, user_agent)[:2] for user_agent in user_agents]


@pytest.mark.parametrize("swap", [False, True])
def test_a_single_agent_goes_before_its_category_and_that_before_globs_the_narrower_first(swap: bool) -> None:
    texts = [
        "  '*a*': allow\n",
        "  'ai-*': {then: block, reason: no}\n",
        "  ai-search: allow\n",
        "  ai-train: {then: block, agents: {GPTBot: allow}}\n",
    ]
    policy = rows("".join(texts[::-1] if swap else texts), "block")
    assert found_by(policy, GPTBOT, CCBOT, PERPLEXITY, GOOGLE, CHROME) == [
        ("allow", "agents: GPTBot"),
        ("block", "agents: ai-*"),
        ("allow", "agents: ai-search"),
        ("allow", "agents: *a*"),
        ("block", "default"),
    ]


@pytest.mark.parametrize(
    ("text", "then", "rule"),
    [
        ("  'ai-*': block\n  ai-train: {then: allow, agents: {GPTBot: inherit}}\n", "allow", "agents: ai-train"),
        ("  'ai-*': block\n  ai-train: {then: inherit, agents: {GPTBot: inherit}}\n", "block", "agents: ai-*"),
        ("  'ai-*': inherit\n  ai-train: {then: inherit, agents: {GPTBot: inherit}}\n", "allow", "default"),
        ("  'ai-*': block\n  ai-train: inherit\n", "block", "agents: ai-*"),
        ("  'ai-*': {then: inherit, agents: {GPTBot: block}}\n", "block", "agents: GPTBot"),
        ("  'ai-*': {then: block, agents: {GPTBot: {then: inherit}}}\n", "block", "agents: ai-*"),
        ("  '*': block\n", "", ""),
    ],
)
def test_what_inherits_is_dealt_with_as_the_wider_row_says(text: str, then: str, rule: str) -> None:
    if not rule:
        with pytest.raises(PolicyError, match="everybody"):
            rows(text)
        return
    assert found_by(rows(text), GPTBOT) == [(then, rule)]


@pytest.mark.parametrize("swap", [False, True])
def test_of_agents_the_one_that_is_named_goes_before_a_glob_wherever_it_stands(swap: bool) -> None:
    agents = ["GPTBot: allow", "'GPT*': block"]
    policy = rows(f"  'ai-*': {{then: inherit, agents: {{{', '.join(agents[::-1] if swap else agents)}}}}}\n")
    assert found_by(policy, GPTBOT) == [("allow", "agents: GPTBot")]


@pytest.mark.parametrize("swap", [False, True])
def test_of_two_rows_that_name_an_agent_the_narrower_counts(swap: bool) -> None:
    texts = [
        "  'ai-*': {then: block, agents: {GPTBot: block}}\n",
        "  ai-train: {then: block, agents: {GPTBot: allow}}\n",
    ]
    assert found_by(rows("".join(texts[::-1] if swap else texts)), GPTBOT) == [("allow", "agents: GPTBot")]


def test_a_glob_of_agents_means_those_of_its_row() -> None:
    policy = rows("  'ai-*': {then: inherit, agents: {'Google*': block}}\n")
    (row,) = policy.rows
    (who,) = row.when
    assert isinstance(who, Condition)
    assert "googlebot" not in who.values
    assert all(shipped_catalogue().by_name[name].category.startswith("ai-") for name in who.values)
    assert found_by(policy, GOOGLE) == [("allow", "default")]


def test_a_row_on_trial_is_noted_and_the_wider_row_decides() -> None:
    policy = rows("  'ai-*': block\n  ai-train: {then: allow, mode: observe}\n")
    found = decision(policy, GPTBOT)
    assert (found.action, found.rule, found.observed) == ("block", "agents: ai-*", ("agents: ai-train",))


def test_rows_are_asked_when_no_rule_settles_it() -> None:
    policy = rows(
        "  'ai-*': {then: block, reason: Not for AI.}\n",
        more="rules:\n- {name: open, when: {path: /open/**}, then: allow}\n"
        "- {name: note, when: {path: /x}, then: label}\n",
    )
    assert decision(policy, path="/open/x").rule == "open"
    found = decision(policy)
    assert (found.action, found.rule, found.reason, found.labels) == ("block", "agents: ai-*", "Not for AI.", ("note",))


def test_a_row_may_throttle() -> None:
    policy = rows("  ai-train: {then: throttle, limit: slow}\n", more="limits: [{name: slow, rate: 1/s}]\n")
    found = decision(policy)
    assert (found.action, found.limits) == ("throttle", policy.limits[:1])


def test_no_row_closes_a_directive_path() -> None:
    policy = rows("  'ai-*': block\n", "block", "routes: [{class: directive, paths: [/terms.txt]}]\n")
    assert decision(policy, path="/terms.txt")[:2] == ("allow", "default")


# -- weights and the ladder --------------------------------------------------------------------------------------

LADDER = """\
limits: [{name: slow, rate: 500/min}]
routes: [{class: api, paths: [/api/**]}, {class: directive, paths: [/terms.txt]}]
rules:
- {name: tool, when: {category: [tool, library]}, weigh: +30}
- {name: nameless, when: {user_agent: ''}, weigh: 40}
- {name: deep, when: {path: /x/**}, weigh: 30}
- {name: on trial, when: {path: /x/**}, weigh: 100, mode: observe}
- {name: known, when: {path: /x/friend}, weigh: -25}
- {name: open, when: {path: /open}, then: allow}
ladder:
- route: api
  steps: [{at: 30, then: block, reason: Too much at once.}]
- steps: [{at: 30, then: throttle, limit: slow}, {at: 60, then: block}, {at: 90, then: block}]
agents: {library: {then: block, reason: row}}
"""


@pytest.mark.parametrize(
    ("path", "user_agent", "then", "rule", "weights"),
    [
        ("/y", CHROME, "allow", "default", ()),
        ("/x/y", CHROME, "throttle", "ladder: all at 30", (("deep", 30),)),
        ("/x/y", CURL, "block", "ladder: all at 60", (("tool", 30), ("deep", 30))),
        ("/x/friend", CURL, "throttle", "ladder: all at 30", (("tool", 30), ("deep", 30), ("known", -25))),
        ("/x/friend", CHROME, "allow", "default", (("deep", 30), ("known", -25))),
        ("/x/y", "", "block", "ladder: all at 60", (("nameless", 40), ("deep", 30))),
        ("/api/x", CURL, "block", "ladder: api at 30", (("tool", 30),)),
        ("/api/x", CHROME, "allow", "default", ()),
        ("/open", CURL, "allow", "open", (("tool", 30),)),
        ("/terms.txt", CURL, "allow", "default", ()),
    ],
)
def test_the_highest_step_that_the_sum_reaches_decides(
    path: str, user_agent: str, then: str, rule: str, weights: tuple[tuple[str, int], ...]
) -> None:
    found = decision(read_policy(HEAD + LADDER), user_agent, path)
    assert (found.action, found.rule, found.weights) == (then, rule, weights)
    assert ("on trial" in found.observed) is path.startswith("/x/")


def test_below_the_first_step_the_rows_are_asked() -> None:
    policy = read_policy(HEAD + LADDER.replace("at: 30, then: throttle", "at: 31, then: throttle"))
    assert decision(policy, CURL, "/y")[:2] == ("block", "agents: library")


def test_nobody_is_unlike_a_client_that_sends_no_user_agent() -> None:
    policy = read_policy(f"{HEAD}rules: [{{name: nameless, when: {{user_agent: ''}}, then: block}}]\n")
    assert [decision(policy, user_agent).action for user_agent in ("", " ", "x", CHROME)] == [
        *("block", "allow", "allow", "allow"),
    ]


# -- labels and globs --------------------------------------------------------------------------------------------


def test_a_rule_may_ask_for_what_a_rule_above_has_noted() -> None:
    policy = read_policy(
        f"{HEAD}rules:\n- {{name: Machine, when: {{category: [library, 'ai-*']}}, then: label}}\n"
        "- {name: r1, when: {path: /x}, then: label, label: Deep}\n"
        "- {name: both, when: {all: [{label: machine}, {label: deep}]}, then: block}\n"
        "- {name: not a machine, when: {path: /x, not: {label: MACHINE}}, then: block}\n"
    )
    assert [decision(policy, user_agent, path).rule for user_agent in (CURL, CHROME) for path in ("/x", "/y")] == [
        *("both", "default", "not a machine", "default"),
    ]
    assert decision(policy, CURL, "/x").labels == ("Machine", "Deep")
    ((_, steps),) = Guard(policy).trace(Request("GET", b"/x", CURL.encode(), "192.0.2.1"))
    assert [step.rule.name for step in steps if step.matched] == ["Machine", "r1", "both"]


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("*bot*", ["GPTBot/1.3", "a bot", "BOT"], ["bo t", ""]),
        ("curl/*", ["curl/8", "CURL/8.14"], ["libcurl/8", "curl"]),
        ("*/1.0", ["x/1.0"], ["x/1.0.1"]),
        ("Exact", ["exact", "EXACT"], ["exact ", "Exactly"]),
        ("a*b*a", ["aba", "a--b--a"], ["ab", "aa", "abba b"]),
        ("*(+http*", ["x (+https://y)"], ["x +http"]),
        ("??", ["??"], ["ab"]),
    ],
)
def test_a_glob_is_held_against_the_whole_user_agent_in_any_case(glob: str, yes: list[str], no: list[str]) -> None:
    policy = read_policy(f"{HEAD}rules: [{{name: r, when: {{user_agent: '{glob}'}}, then: block}}]\n")
    assert [decision(policy, one).action for one in yes] == ["block"] * len(yes)
    assert [decision(policy, one).action for one in no] == ["allow"] * len(no)


# -- conditions: any, all, not -----------------------------------------------------------------------------------

WORDS: dict[str, list[str]] = {
    "agent": ["gptbot", "ccbot", "googlebot"],
    "category": ["ai-train", "search", "tool"],
    "purpose": ["train-ai", "search"],
    "route": ["page", "media"],
    "method": ["GET", "POST"],
    "path": ["/a", "/b"],
    "user_agent": ["*x*", "y"],
}
FACTS_ASKED = st.dictionaries(
    st.sampled_from(sorted(WORDS)), st.integers(1, 7), min_size=1, max_size=3
)  # a number tells which of the words are asked for
WHENS = st.recursive(
    FACTS_ASKED,
    lambda inner: st.builds(
        lambda facts, word, branches: {**facts, word: branches},
        st.one_of(st.just({}), FACTS_ASKED),
        st.sampled_from(["any", "all"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=5,
)


def picked(fact: str, number: int) -> list[str]:
    words = [word for position, word in enumerate(WORDS[fact]) if number >> position & 1]
    return words or WORDS[fact][:1]


def written(when: dict[str, Any]) -> dict[str, Any]:
    """A drawn condition in the words of a policy."""
    return {
        key: [written(branch) for branch in value] if isinstance(value, list) else picked(key, value)
        for key, value in when.items()
    }


def depth_of(when: dict[str, Any]) -> int:
    return 1 + max(
        (depth_of(branch) for value in when.values() if isinstance(value, list) for branch in value), default=0
    )


def judge(when: dict[str, Any], facts: dict[str, set[str] | None], negated: bool = False) -> bool | None:
    """What is written, held against facts by somebody who reads it aloud. None: it cannot be told."""
    held: list[bool | None] = []
    for key, value in when.items():
        if key == "not":
            held.append(judge(value, facts, True))
            continue
        if key in ("any", "all"):
            branches = [judge(branch, facts) for branch in value]
            decisive = key == "any"
            one = decisive if decisive in branches else (None if None in branches else not decisive)
        else:
            known = facts[key]
            one = None if known is None else bool(known & set(value))
        held.append(one if one is None or not negated else not one)
    return False if False in held else (None if None in held else True)


NOTHING: dict[str, set[str] | None] = {fact: set() for fact in WORDS}
KNOWN = st.fixed_dictionaries({fact: st.sets(st.sampled_from(words)) for fact, words in WORDS.items()})
MAYBE = st.fixed_dictionaries(
    {fact: st.one_of(st.none(), st.sets(st.sampled_from(words))) for fact, words in WORDS.items()}
)


def evidence_of(facts: dict[str, set[str] | None]) -> Evidence:
    told = {fact: None if facts.get(fact, set()) is None else tuple(sorted(facts.get(fact) or ())) for fact in FACTS}
    return Evidence(**told)  # type: ignore[arg-type]


def conditions_of(when: dict[str, Any]) -> tuple[Test, ...]:
    text = json.dumps(
        {
            "version": 1,
            "site": {"name": "x"},
            "default": "allow",
            "rules": [{"name": "r", "when": when, "then": "allow"}],
        }
    )
    return read_policy(text).rules[0].when


def with_not(when: dict[str, Any], refused: dict[str, Any] | None) -> dict[str, Any]:
    return written(when) | ({"not": written(refused)} if refused else {})


ASKED = st.builds(with_not, WHENS, st.one_of(st.none(), WHENS)).filter(lambda when: levels(when) <= 4)


def levels(when: dict[str, Any]) -> int:
    inner = [levels(branch) for key, value in when.items() if key in ("any", "all") for branch in value]
    inner += [levels(when["not"])] if "not" in when else []
    return 1 + max(inner, default=0)


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(ASKED, KNOWN)
@example({"not": {"any": [{"agent": ["ccbot"]}, {"path": ["/a"], "method": ["GET"]}]}}, NOTHING)
def test_any_all_and_not_mean_what_they_say(when: dict[str, Any], facts: dict[str, set[str] | None]) -> None:
    assert all_hold(conditions_of(when), evidence_of(facts)) is judge(when, facts)


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(ASKED, MAYBE)
@example({"not": {"agent": ["gptbot"]}}, {**NOTHING, "agent": None})
@example({"not": {"any": [{"agent": ["gptbot"]}]}}, {**NOTHING, "agent": None})
def test_what_nobody_has_told_us_holds_in_neither_polarity(
    when: dict[str, Any], facts: dict[str, set[str] | None]
) -> None:
    assert all_hold(conditions_of(when), evidence_of(facts)) is (judge(when, facts) is True)


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(ASKED, MAYBE, KNOWN)
def test_what_holds_without_knowing_all_holds_whatever_the_rest_is(
    when: dict[str, Any], facts: dict[str, set[str] | None], rest: dict[str, set[str]]
) -> None:
    tests = conditions_of(when)
    if all_hold(tests, evidence_of(facts)):
        assert all_hold(
            tests, evidence_of({fact: rest[fact] if facts[fact] is None else facts[fact] for fact in WORDS})
        )


@given(st.sampled_from(FACTS), st.booleans(), st.frozensets(st.sampled_from("ab"), min_size=1))
def test_a_condition_about_the_unknown_never_holds(fact: str, negated: bool, values: frozenset[str]) -> None:
    unknown = Evidence(*(None for _ in FACTS))  # type: ignore[arg-type]
    condition = Condition(fact, values, negated)
    assert not condition.holds(unknown)
    assert not Group(((condition,),), every=negated, negated=False).holds(unknown)
    assert not Group(((condition,),), every=negated, negated=True).holds(unknown)


# -- many rules: the index is only a shorter way -----------------------------------------------------------------

_FACT_WORDS = {fact: [f"{fact[:2]}{number}" for number in range(4)] for fact in FACTS} | {
    "route": ["page", "media", "directive"],
    "method": ["GET", "POST"],
}


def reference(policy: Policy, evidence: Evidence, now_s: float) -> Verdict:
    """The law of policies as it is told: top to bottom, nothing skipped, nothing remembered."""
    labels: list[str] = []
    observed: list[Rule] = []
    weighed: list[Rule] = []
    route_class = evidence.route[0]
    on_trial = policy.mode is Mode.ENFORCE

    def fits(rule: Rule) -> bool:
        facts = evidence._replace(label=tuple(label.lower() for label in labels))
        return rule.from_s <= now_s < rule.until_s and _every(rule.when, facts) is True

    def verdict(then: str, rule: Rule | None) -> Verdict:
        return Verdict(then, rule, tuple(labels), tuple(observed), route_class, tuple(weighed))

    for rule in policy.rules:
        if not fits(rule):
            continue
        if rule.then == "label":
            labels.append(rule.label or rule.name)
        elif route_class == "directive" and rule.then != "allow":
            continue
        elif rule.mode is Mode.OBSERVE and on_trial:
            observed.append(rule)
        elif rule.then == "weigh":
            weighed.append(rule)
        else:
            return verdict(rule.then, rule)
    if route_class == "directive":
        return verdict("allow", None)
    total = sum(rule.weight for rule in weighed)
    for ladder in policy.ladder:
        if not ladder.route_classes or route_class in ladder.route_classes:
            reached = [rung for rung in ladder.rungs if rung.at <= total]
            if reached:
                highest = max(reached, key=lambda rung: rung.at).rule
                return verdict(highest.then, highest)
            break
    for row in policy.rows:
        if fits(row):
            if row.mode is Mode.OBSERVE and on_trial:
                observed.append(row)
            else:
                return verdict(row.then, row)
    return verdict(policy.default, None)


def _every(tests: tuple[Test, ...], evidence: Evidence) -> bool | None:
    held = [_one(test, evidence) for test in tests]
    return False if False in held else (None if None in held else True)


def _one(test: Test, evidence: Evidence) -> bool | None:
    if isinstance(test, Condition):
        known = getattr(evidence, test.fact)
        held = None if known is None else bool(set(known) & test.values)
    else:
        branches = [_every(branch, evidence) for branch in test.branches]
        decisive = not test.every
        held = decisive if decisive in branches else (None if None in branches else not decisive)
    return held if held is None else held is not test.negated


def a_test(chance: random.Random, depth: int = 0) -> Test:
    if depth < 2 and chance.random() < 0.15:
        branches = tuple(
            tuple(a_test(chance, depth + 1) for _ in range(chance.randint(1, 2))) for _ in range(chance.randint(1, 2))
        )
        return Group(branches, chance.random() < 0.5, chance.random() < 0.3)
    fact = chance.choice(FACTS)
    words = _FACT_WORDS[fact]
    return Condition(fact, frozenset(chance.sample(words, chance.randint(1, 2))), chance.random() < 0.25)


def a_when(chance: random.Random) -> tuple[Test, ...]:
    """As the reader makes it: at most one condition of a fact and polarity, any number of groups."""
    tests: dict[object, Test] = {}
    for number in range(chance.randint(1, 3)):
        test = a_test(chance)
        tests.setdefault((test.fact, test.negated) if isinstance(test, Condition) else number, test)
    return tuple(tests.values())


def a_rule(chance: random.Random, number: int) -> Rule:
    begin, end = sorted(chance.sample([-inf, 0.0, 10.0, 20.0, inf], 2)) if chance.random() < 0.3 else (-inf, inf)
    then = chance.choice(["allow", "label", "label", "throttle", "block", "weigh", "weigh", "weigh"])
    return Rule(
        f"r{number}",
        a_when(chance),
        then,
        chance.choice([Mode.ENFORCE, Mode.ENFORCE, Mode.OBSERVE]),
        label=chance.choice(["", *(word.upper() for word in _FACT_WORDS["label"])]) if then == "label" else "",
        weight=chance.choice([-40, 20, 30, 60]) if then == "weigh" else 0,
        from_s=begin,
        until_s=end,
    )


def a_ladder(chance: random.Random, number: int) -> Ladder:
    classes = chance.choice([(), ("page",), ("media",), ("page", "media")])
    sums = sorted(chance.sample([10, 30, 50, 80, 120], chance.randint(1, 3)))
    return Ladder(
        classes, tuple(Rung(at, Rule(f"l{number} at {at}", (), chance.choice(["throttle", "block"]))) for at in sums)
    )


def a_policy_of_chance(chance: random.Random, rules: int) -> Policy:
    base = read_policy("{version: 1, site: {name: x}, default: block}")
    who = ("agent", "category")
    rows = tuple(
        Rule(
            f"row{number}",
            (Condition(fact := chance.choice(who), frozenset(chance.sample(_FACT_WORDS[fact], 2))),),
            chance.choice(["allow", "throttle", "block"]),
            chance.choice([Mode.ENFORCE, Mode.OBSERVE]),
        )
        for number in range(chance.randint(0, 4))
    )
    return replace(
        base,
        mode=chance.choice([Mode.ENFORCE, Mode.ENFORCE, Mode.OBSERVE]),
        default=chance.choice(["allow", "block"]),
        rules=tuple(a_rule(chance, number) for number in range(rules)),
        rows=rows,
        ladder=tuple(a_ladder(chance, number) for number in range(chance.randint(0, 2))),
    )


def evidence_of_chance(chance: random.Random) -> Evidence:
    facts: dict[str, tuple[str, ...] | None] = {}
    for fact in FACTS:
        words = _FACT_WORDS[fact]
        several = fact in ("purpose", "path", "network", "user_agent")
        facts[fact] = tuple(chance.sample(words, chance.randint(0, 2) if several else 1))
        if fact in ("agent", "operator", "purpose", "category", "identity", "user_agent") and chance.random() < 0.1:
            facts[fact] = None
    facts["label"] = ()
    return Evidence(**facts)  # type: ignore[arg-type]


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.integers(0, 60), st.sampled_from([-1.0, 0.0, 5.0, 10.0, 19.9, 20.0, 25.0]))
def test_deciding_by_the_index_is_deciding_from_top_to_bottom(seed: int, rules: int, now_s: float) -> None:
    chance = random.Random(seed)
    policy = a_policy_of_chance(chance, rules)
    for _ in range(12):
        evidence = evidence_of_chance(chance)
        assert decide(policy, evidence, now_s) == reference(policy, evidence, now_s)


def test_chance_meets_every_kind_of_verdict() -> None:
    """Else the law above would be tested on nothing."""
    chance = random.Random(7)
    met: set[str] = set()
    for _ in range(300):
        policy = a_policy_of_chance(chance, chance.randint(0, 30))
        found = reference(policy, evidence_of_chance(chance), 5.0)
        name = found.rule.name if found.rule else "default"
        met |= {name.rstrip("0123456789 at")[:3] + found.action, *(["label"] if found.labels else [])}
        met |= {"observed"} if found.observed else set()
        met |= {"several weights"} if len(found.weighed) > 1 else set()
        met |= {f"{found.route_class}"}
    assert met >= {
        *("rallow", "rblock", "rthrottle", "lblock", "lthrottle", "rowallow", "rowblock", "defallow", "defblock"),
        *("label", "observed", "several weights", "directive", "page", "media"),
    }


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.integers(0, 30))
def test_what_decides_is_among_what_a_trace_says_has_matched(seed: int, rules: int) -> None:
    chance = random.Random(seed)
    policy = a_policy_of_chance(chance, rules)
    evidence = evidence_of_chance(chance)
    verdict = decide(policy, evidence, 5.0)
    matched = [step.rule for step in trace(policy, evidence, 5.0) if step.matched]
    if verdict.rule is not None:
        assert verdict.rule in matched
        at = matched.index(verdict.rule)
        assert all(rule.then in ("label", "weigh") or rule.mode is Mode.OBSERVE for rule in matched[:at]) or (
            policy.mode is Mode.OBSERVE or verdict.route_class == "directive"
        )


def test_steps_of_a_ladder_rise_and_its_route_classes_are_kept() -> None:
    policy = read_policy(HEAD + LADDER)
    for ladder in policy.ladder:
        assert all(lower.at < higher.at for lower, higher in pairwise(ladder.rungs))
    assert [ladder.route_classes for ladder in policy.ladder] == [("api",), ()]
    assert Identity.UNKNOWN.value == "unknown"


def test_a_null_byte_in_a_name_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text('version: 1\ninclude: ["a\\0/x.yaml"]\nsite: {name: x}\ndefault: allow\n')
    with pytest.raises(PolicyError) as caught:
        load_policy(file)
    (problem,) = caught.value.problems
    assert problem.line == 2
    assert "cannot be read: embedded null byte" in problem.message

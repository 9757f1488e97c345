"""A policy loads whole, or every mistake in it is named at once, with its line and what may have been meant."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from guard import PolicyError, Problem, load_policy, shipped_policy
from guard.examples import try_examples
from guard.load import read_policy
from guard.model import Limit, Mode
from guard.policy import Policy

BAD = sorted((Path(__file__).parent / "bad_policies").glob("*.yaml"))
SHIPPED = sorted((Path(__file__).parents[1] / "policies").glob("*.yaml"))
FOLDER = Path(__file__).parent / "bad_policies"
EXPECT = re.compile(r"# expect: (?:(parts/[a-z_]+\.yaml):)?([0-9]+): (.*)")


def problems_of(text: str) -> list[tuple[int, str]]:
    with pytest.raises(PolicyError) as caught:
        read_policy(text)
    return [(problem.line, problem.message) for problem in caught.value.problems]


def a_policy(more: str = "", site: str = "{name: x}", default: str = "allow") -> Policy:
    return read_policy(f"version: 1\nsite: {site}\ndefault: {default}\n{more}")


# -- mistakes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_each_mistake_is_named_with_its_line_and_a_guess(path: Path) -> None:
    matches = [match for match in map(EXPECT.match, path.read_text().splitlines()) if match]
    assert matches, "say in the first line what is expected"
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    found = [(problem.file, problem.line, problem.message) for problem in caught.value.problems]
    assert [(file, line) for file, line, _ in found] == [
        (str(FOLDER / match[1]) if match[1] else str(path), int(match[2])) for match in matches
    ]
    for (_, _, message), match in zip(found, matches, strict=True):  # figures of others may change: "…" for the rest
        assert message.startswith(match[3][:-1]) if match[3].endswith("…") else message == match[3]


def test_there_is_one_bad_policy_for_each_of_many_mistakes() -> None:
    assert len(BAD) >= 200


def test_no_mistake_is_told_twice_and_every_message_is_a_short_sentence() -> None:
    for path in BAD:
        told = [match[3] for match in map(EXPECT.match, path.read_text().splitlines()) if match]
        assert len(set(told)) == len(told), path.name
        assert all(len(message) <= 280 for message in told), path.name


def test_a_name_that_is_like_no_other_is_only_a_warning() -> None:
    policy = a_policy("rules:\n- {name: r, when: {agent: Zzyzx}, then: block}\n")
    (warning,) = policy.warnings
    assert (warning.line, warning.level) == (5, "warning")
    assert warning.message == "rule 'r': when: agent 'Zzyzx' is not in the catalogue: nobody is known by that name"


def test_what_is_wrong_in_a_file_with_hosts_is_told_once() -> None:
    found = problems_of(
        "version: 1\nrules:\n- {name: r, when: {agent: GPTBoot}, then: block}\nhosts:\n- names: [a.example]\n"
    )
    assert [line for line, _ in found] == [1, 1, 3]
    assert [message[:9] for _, message in found[:2]] == ["'site' is", "'default'"]


def test_five_mistakes_are_reported_at_once_and_in_order() -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(Path(__file__).parent / "bad_policies" / "five_mistakes.yaml")
    lines = [problem.line for problem in caught.value.problems]
    assert len(lines) == 5
    assert lines == sorted(lines)


def test_a_problem_is_a_value_that_reads_as_a_line_of_text() -> None:
    problem = Problem("policy.yaml", 7, "unknown key 'ruels', did you mean 'rules'?")
    assert str(problem) == "policy.yaml:7: unknown key 'ruels', did you mean 'rules'?"
    assert str(Problem("policy.yaml", 0, "the file is empty")) == "policy.yaml: the file is empty"
    assert problem == Problem("policy.yaml", 7, "unknown key 'ruels', did you mean 'rules'?")
    with pytest.raises(FrozenInstanceError):
        problem.line = 8  # type: ignore[misc]


def test_a_policy_error_says_everything_and_holds_it_as_values() -> None:
    with pytest.raises(PolicyError) as caught:
        read_policy("version: 1\n", "p.yaml")
    assert isinstance(caught.value.problems, tuple)
    assert str(caught.value) == "\n".join(str(problem) for problem in caught.value.problems)
    assert len(caught.value.problems) == 2


def test_a_file_that_is_not_there_is_the_callers_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_policy(tmp_path / "none.yaml")
    with pytest.raises(FileNotFoundError):
        shipped_policy("none")


@pytest.mark.parametrize("wrong", ["enforse", "ENFORCE!", "observes"])
def test_a_guess_is_made_in_any_case(wrong: str) -> None:
    assert "did you mean" in problems_of(f"version: 1\nsite: {{name: x}}\ndefault: allow\nmode: {wrong}\n")[0][1]


# -- what a good file says -----------------------------------------------------------------------------------


def test_the_shortest_policy_enforces_its_default() -> None:
    policy = a_policy(default="block")
    assert (policy.mode, policy.default, policy.rules, policy.route_default) == (Mode.ENFORCE, "block", (), "page")
    assert policy.site.trusted_proxies == ()
    assert len(policy.version) == 12


def test_the_version_follows_the_text_and_nothing_else() -> None:
    assert a_policy().version == a_policy().version
    assert a_policy().version != a_policy("# another word\n").version


@pytest.mark.parametrize(
    ("rate", "emission_s"),
    [
        ("60/min", 1.0),
        ("1/s", 1.0),
        ("10 / sec", 0.1),
        ("1/second", 1.0),
        ("30/m", 2.0),
        ("1/minute", 60.0),
        ("6/h", 600.0),
        ("1/hour", 3600.0),
        ("24/day", 3600.0),
    ],
)
def test_a_rate_is_so_many_in_a_time(rate: str, emission_s: float) -> None:
    (limit,) = a_policy(f"limits: [{{name: slow, rate: {rate}}}]\n").limits
    assert limit.emission_s == pytest.approx(emission_s)
    assert limit.burst == limit.count


def test_a_limit_says_what_it_counts_by() -> None:
    policy = a_policy(
        "limits:\n- {name: a, rate: 1/s, burst: 5, key: [client, agent]}\n- {name: b, rate: 1/s, key: site}\n"
    )
    assert policy.limits == (Limit("a", 1, 1.0, 5, ("client", "agent")), Limit("b", 1, 1.0, 1, ("site",)))


def test_a_glob_stands_for_all_that_it_names() -> None:
    (rule,) = a_policy("rules:\n- {name: r, when: {category: 'ai-*'}, then: block}\n").rules
    assert rule.when[0].values == frozenset(
        {"ai-train", "ai-search", "ai-assistant", "ai-agent", "ai-dataset", "ai-audio", "ai-other"}
    )


def test_words_are_taken_in_any_case_where_case_means_nothing() -> None:
    when = "{agent: gptBOT, operator: openai, method: get, network: '2001:DB8::/32'}"
    (rule,) = a_policy(f"rules:\n- {{name: r, when: {when}, then: block}}\n").rules
    assert {condition.fact: set(condition.values) for condition in rule.when} == {
        "agent": {"gptbot"},
        "operator": {"openai"},
        "method": {"GET"},
        "network": {"2001:db8::/32"},
    }


def test_a_rule_remembers_its_line_and_its_reason_in_one_piece() -> None:
    (rule,) = a_policy(
        "rules:\n  - name: r\n    when: {path: /x}\n    then: block\n    reason: >\n      Not\n      here.\n"
    ).rules
    assert (rule.line, rule.reason) == (5, "Not here.")


def test_the_site_says_who_is_in_front_of_it() -> None:
    site = a_policy(
        site="{name: x, contact: a@b.c, trusted_proxies: [10.0.0.0/8], trusted_hops: 2, "
        "client_ip_header: CF-Connecting-IP, strip_prefixes: [/api], case_sensitive: true, trust_unix: true,"
        " published_networks: {Googlebot: 192.0.2.0/24}}"
    ).site
    assert site.client_ip_header == "cf-connecting-ip"
    assert (site.trusted_hops, site.trust_unix, site.case_sensitive) == (2, True, True)
    assert site.strip_prefixes == ("/api",)
    assert site.published_networks == {"googlebot": ("192.0.2.0/24",)}


def test_everybody_may_be_a_hop_where_hops_are_counted() -> None:
    assert a_policy(site="{name: x, trusted_proxies: [0.0.0.0/0], trusted_hops: 1}").site.trusted_hops == 1


# -- the policies that ship ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_policy_loads_and_decides_its_examples_as_it_says(path: Path) -> None:
    trials = try_examples(load_policy(path))
    assert trials
    assert [f"{trial.example.name}: {trial.fault}" for trial in trials if trial.fault] == []


def test_shipped_policies_are_found_by_name() -> None:
    assert {shipped_policy(path.stem).resolve() for path in SHIPPED if path.parent.name == "policies"}
    assert load_policy(shipped_policy("observe")).mode is Mode.OBSERVE
    assert load_policy(shipped_policy("no-ai")).mode is Mode.ENFORCE


def test_observe_differs_from_no_ai_in_its_mode_alone() -> None:
    bodies = [
        re.sub(r"^(#.*|mode:.*)\n", "", shipped_policy(name).read_text(), flags=re.M) for name in ("observe", "no-ai")
    ]
    assert bodies[0] == bodies[1]

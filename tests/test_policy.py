"""The first final match wins, and of several readings the strictest verdict counts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard import Guard, Request
from guard.conditions import FACTS, Condition, Evidence, all_hold
from guard.load import read_policy, shipped_catalogue
from guard.model import Decision, Identity, Mode
from guard.policy import Policy, Rule, Verdict, decide, strictest, trace
from guard.verify import read_published, verify

GPTBOT, CCBOT, GOOGLE, CURL = "GPTBot/1.3", "CCBot/2.0", "Mozilla/5.0 (compatible; Googlebot/2.1)", "curl/8.14"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/157.0.0.0 Safari/537.36"


def a_policy(rules: str, default: str = "allow", more: str = "", site: str = "name: x") -> Policy:
    return read_policy(f"version: 1\nsite: {{{site}}}\ndefault: {default}\n{more}\nrules:\n{rules}")


def decision(
    policy: Policy, path: str = "/x", user_agent: str = "", method: str = "GET", ip: str | None = "192.0.2.1"
) -> Decision:
    return Guard(policy).consider(Request(method, path.encode(), user_agent.encode(), ip))[1]


# -- order ---------------------------------------------------------------------------------------------------


def test_the_first_final_match_wins() -> None:
    policy = a_policy(
        "- {name: friend, when: {agent: GPTBot}, then: allow}\n- {name: no AI, when: {category: ai-*}, then: block}\n"
    )
    assert decision(policy, user_agent=GPTBOT)[:2] == ("allow", "friend")
    assert decision(policy, user_agent=CCBOT)[:2] == ("block", "no AI")


@pytest.mark.parametrize("default", ["allow", "block"])
def test_what_no_rule_matches_gets_the_stated_default(default: str) -> None:
    policy = a_policy("- {name: no AI, when: {category: ai-*}, then: block}\n", default)
    assert decision(policy)[:2] == (default, "default")


def test_a_label_is_noted_and_the_walk_goes_on() -> None:
    policy = a_policy(
        "- {name: seen, when: {path: /x}, then: label, label: ai}\n- {name: nameless, when: {path: /x}, then: label}\n"
        "- {name: no AI, when: {category: ai-*}, then: block}\n- {name: late, when: {path: /x}, then: label}\n"
    )
    assert decision(policy, user_agent=GPTBOT).labels == ("ai", "nameless")
    assert decision(policy, user_agent=GPTBOT).action == "block"
    assert decision(policy).labels == ("ai", "nameless", "late")


def test_a_rule_on_trial_is_noted_and_switches_off_no_other() -> None:
    policy = a_policy(
        "- {name: trial, when: {category: ai-*}, then: allow, mode: observe}\n"
        "- {name: no AI, when: {category: ai-*}, then: block}\n"
    )
    found = decision(policy, user_agent=GPTBOT)
    assert (found.action, found.rule, found.observed, found.mode) == ("block", "no AI", ("trial",), Mode.ENFORCE)
    assert decision(policy).observed == ()


def test_a_policy_that_observes_decides_as_it_would_and_enforces_nothing() -> None:
    policy = a_policy("- {name: no AI, when: {category: ai-*}, then: block}\n", more="mode: observe")
    found = decision(policy, user_agent=GPTBOT)
    assert (found.action, found.mode) == ("block", Mode.OBSERVE)


def test_where_all_is_on_trial_a_rule_on_trial_decides() -> None:
    policy = a_policy("- {name: r, when: {category: ai-*}, then: block, mode: observe}\n", more="mode: observe")
    assert decision(policy, user_agent=GPTBOT)[:3] == ("block", "r", Mode.OBSERVE)


# -- conditions ----------------------------------------------------------------------------------------------


def test_all_the_conditions_of_a_rule_must_hold() -> None:
    policy = a_policy("- {name: r, when: {category: ai-*, path: /media/**}, then: block}\n")
    assert decision(policy, "/media/1", GPTBOT).action == "block"
    assert decision(policy, "/page", GPTBOT).action == "allow"
    assert decision(policy, "/media/1", CURL).action == "allow"


def test_one_of_the_values_of_a_condition_is_enough() -> None:
    policy = a_policy("- {name: r, when: {agent: [GPTBot, CCBot]}, then: block}\n")
    assert [decision(policy, user_agent=agent).action for agent in (GPTBOT, CCBOT, GOOGLE)] == [
        "block",
        "block",
        "allow",
    ]


def test_not_holds_when_none_of_the_values_is_found() -> None:
    policy = a_policy("- {name: r, when: {category: ai-*, not: {agent: GPTBot, path: /open/**}}, then: block}\n")
    assert decision(policy, "/x", CCBOT).action == "block"
    assert decision(policy, "/x", GPTBOT).action == "allow"
    assert decision(policy, "/open/x", CCBOT).action == "allow"


@pytest.mark.parametrize(
    ("when", "hit", "miss"),
    [
        ("{operator: OpenAI}", {"user_agent": GPTBOT}, {"user_agent": CCBOT}),
        ("{purpose: search}", {"user_agent": GOOGLE}, {"user_agent": GPTBOT}),
        ("{purpose: '*ai*'}", {"user_agent": GPTBOT}, {"user_agent": GOOGLE}),
        ("{agent: browser}", {"user_agent": CHROME}, {"user_agent": CURL}),
        ("{agent: unknown}", {"user_agent": ""}, {"user_agent": CHROME}),
        ("{identity: unverified}", {"user_agent": GPTBOT}, {"user_agent": CHROME}),
        ("{route: media}", {"path": "/m/x"}, {"path": "/x"}),
        ("{route: page}", {"path": "/x"}, {"path": "/m/x"}),
        ("{method: [post, put]}", {"method": "POST"}, {"method": "GET"}),
        ("{network: 192.0.2.0/24}", {"ip": "192.0.2.9"}, {"ip": "192.0.3.9"}),
        ("{network: 192.0.2.0/24}", {"ip": "::ffff:192.0.2.9"}, {"ip": None}),
        ("{network: '2001:db8::/32'}", {"ip": "2001:db8::1"}, {"ip": "192.0.2.9"}),
        ("{path: '/*.mp3'}", {"path": "/A.MP3"}, {"path": "/a/b.mp3"}),
    ],
)
def test_each_fact_can_be_asked_for(when: str, hit: dict[str, str], miss: dict[str, str]) -> None:
    policy = a_policy(f"- {{name: r, when: {when}, then: block}}\n", more="routes: [{class: media, paths: [/m/**]}]")
    assert decision(policy, **hit).action == "block"  # type: ignore[arg-type]
    assert decision(policy, **miss).action == "allow"  # type: ignore[arg-type]


def test_a_name_is_true_inside_its_published_networks_and_false_outside() -> None:
    rules = "- {name: fake, when: {identity: spoofed}, then: block}\n"
    rules += "- {name: real, when: {identity: verified}, then: allow}\n"
    policy = a_policy(rules, site="name: x, published_networks: {Googlebot: [192.0.2.0/24, '2001:db8::/32']}")
    assert decision(policy, user_agent=GOOGLE, ip="192.0.2.7").identity is Identity.VERIFIED
    assert decision(policy, user_agent=GOOGLE, ip="2001:db8::7").rule == "real"
    assert decision(policy, user_agent=GOOGLE, ip="198.51.100.7").rule == "fake"
    assert decision(policy, user_agent=GPTBOT, ip="198.51.100.7").identity is Identity.UNVERIFIED
    assert decision(policy, user_agent=GOOGLE, ip=None).identity is Identity.UNVERIFIED
    assert decision(policy, user_agent=CHROME, ip="192.0.2.7").identity is Identity.UNKNOWN


def test_published_networks_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="not-a-network"):
        read_published({"GPTBot": ("not-a-network",)})
    guard = Guard(a_policy("- {name: r, when: {path: /x}, then: block}\n"))
    assert verify(guard.catalogue.by_name["gptbot"], "192.0.2.1", {"gptbot": ()}) is Identity.UNVERIFIED


def test_the_first_route_that_matches_names_the_class() -> None:
    policy = a_policy(
        "- {name: r, when: {path: /z}, then: block}\n",
        more="routes:\n- {class: manifest, paths: ['/hls/**/*.m3u8']}\n- {class: media, paths: [/hls/**]}\n"
        "route_default: api",
    )
    assert [policy.route_class(path) for path in ("/hls/a.m3u8", "/hls/b/a.m3u8", "/hls/a.ts", "/x")] == [
        *("manifest", "manifest", "media", "api"),
    ]


def test_a_condition_explains_itself_in_words() -> None:
    empty = Evidence((), (), (), (), (), ("page",), (), (), ())
    assert Condition("route", frozenset(["api"])).explain(empty) == "route is one of [api]: found page"
    assert Condition("agent", frozenset(["a", "b"]), True).explain(empty) == "agent is none of [a, b]: found nothing"
    assert all_hold((), empty)


def test_a_trace_tells_of_every_rule_whether_it_matched_and_why() -> None:
    policy = a_policy(
        "- {name: a, when: {agent: CCBot}, then: block}\n- {name: b, when: {agent: GPTBot}, then: block}\n"
    )
    guard = Guard(policy)
    ((reading, steps),) = guard.trace(Request("GET", b"/x", GPTBOT.encode(), "192.0.2.1"))
    assert reading == "/x"
    assert [(step.rule.name, step.matched, step.why) for step in steps] == [
        ("a", False, ("agent is one of [ccbot]: found gptbot",)),
        ("b", True, ("agent is one of [gptbot]: found gptbot",)),
    ]


# -- readings ------------------------------------------------------------------------------------------------


def test_the_strictest_reading_counts() -> None:
    policy = a_policy(
        "- {name: slow, when: {path: /a/b}, then: throttle, limit: l}\n- {name: shut, when: {path: /c}, then: block}\n",
        more="limits: [{name: l, rate: 1/s}]",
    )
    assert decision(policy, "/a%2Fb").rule == "slow"
    assert decision(policy, "/a%2Fb/..%2f..%2fc").rule == "shut"
    assert decision(policy, "/c%2f..%2fa%2fb").rule == "slow"


def test_an_exemption_needs_every_reading() -> None:
    policy = a_policy("- {name: open, when: {path: /open/**}, then: allow}\n", "block")
    assert decision(policy, "/open/x").action == "allow"
    assert decision(policy, "/open/%2e%2e/x").action == "block"
    assert decision(policy, "/open/..%252fx").action == "block"


RULES = st.lists(
    st.tuples(
        st.sampled_from(["allow", "block", "throttle", "label"]),
        st.sets(st.sampled_from(["/a", "/b", "/a/b"]), min_size=1),
        st.booleans(),
        st.sampled_from(list(Mode)),
    ),
    max_size=6,
)


def built(rules: list[tuple[str, set[str], bool, Mode]], default: str = "allow") -> Policy:
    found = tuple(
        Rule(f"r{at}", (Condition("path", frozenset(paths), negated),), then, mode)
        for at, (then, paths, negated, mode) in enumerate(rules)
    )
    base = read_policy(f"{{version: 1, site: {{name: x}}, default: {default}}}")
    return Policy(base.site, base.mode, default, (), "page", {}, (), found)


def verdicts(policy: Policy, readings: list[str]) -> list[Verdict]:
    agent = shipped_catalogue().by_name["gptbot"]
    return [decide(policy, policy.evidence(agent, Identity.UNVERIFIED, one, "GET", ())) for one in readings]


READINGS = st.lists(st.sampled_from(["/a", "/b", "/a/b", "/c"]), min_size=1, max_size=5)


@given(RULES, READINGS, st.randoms())
def test_the_order_of_the_readings_does_not_matter(
    rules: list[tuple[str, set[str], bool, Mode]], readings: list[str], chance: random.Random
) -> None:
    found = verdicts(built(rules), readings)
    shuffled = chance.sample(found, len(found))
    assert strictest(found).action == strictest(shuffled).action


@given(RULES, READINGS)
def test_one_more_reading_never_softens_a_verdict(
    rules: list[tuple[str, set[str], bool, Mode]], readings: list[str]
) -> None:
    severity = ["allow", "throttle", "block"].index
    found = verdicts(built(rules), readings)
    assert severity(strictest(found).action) >= max(severity(verdict.action) for verdict in found[:1])
    assert severity(strictest(found).action) == max(severity(verdict.action) for verdict in found)


@given(RULES, st.sampled_from(["/a", "/b", "/c"]), st.sampled_from(["allow", "block"]))
def test_deciding_is_the_first_final_enforced_match_or_the_default(
    rules: list[tuple[str, set[str], bool, Mode]], reading: str, default: str
) -> None:
    (found,) = verdicts(built(rules, default), [reading])
    final = [
        (f"r{at}", then)
        for at, (then, paths, negated, mode) in enumerate(rules)
        if then != "label" and mode is Mode.ENFORCE and (reading in paths) is not negated
    ]
    assert (found.rule.name if found.rule else None, found.action) == (final[0] if final else (None, default))


def test_the_facts_are_a_fixed_list() -> None:
    who = ("agent", "operator", "purpose", "category", "identity")
    assert (*who, "route", "path", "method", "network", "user_agent", "label") == FACTS


def test_tracing_agrees_with_deciding() -> None:
    policy = a_policy("- {name: a, when: {not: {agent: CCBot}}, then: block}\n")
    evidence = policy.evidence(Guard(policy).catalogue.by_name["gptbot"], Identity.UNVERIFIED, "/x", "GET", ())
    assert trace(policy, evidence)[0].matched
    assert decide(policy, evidence).rule == policy.rules[0]

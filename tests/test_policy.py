"""The first final match wins, and of several readings the strictest verdict counts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard import Guard, Request
from guard.conditions import FACTS, Condition, Evidence, Group, all_hold
from guard.load import read_policy, shipped_catalogue
from guard.model import UNTOLD_AGENT, Decision, Identity, Mode
from guard.policy import NetworkTable, Policy, Rule, Verdict, decide, strictest, trace
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
    assert verify(guard.catalogue.by_name["gptbot"], "192.0.2.1", {"gptbot": ()}).identity is Identity.UNVERIFIED


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
    assert (*who, "route", "path", "method", "network", "user_agent", "label", "rights") == FACTS


def test_tracing_agrees_with_deciding() -> None:
    policy = a_policy("- {name: a, when: {not: {agent: CCBot}}, then: block}\n")
    evidence = policy.evidence(Guard(policy).catalogue.by_name["gptbot"], Identity.UNVERIFIED, "/x", "GET", ())
    assert trace(policy, evidence)[0].matched
    assert decide(policy, evidence).rule == policy.rules[0]


NONE = "- {name: nobody, when: {path: /nowhere}, then: allow}\n"

# -- in words ------------------------------------------------------------------------------------------------


def evidence_of(policy: Policy, path: str = "/x", agent: str = "gptbot") -> Evidence:
    return policy.evidence(shipped_catalogue().by_name[agent], Identity.UNVERIFIED, path, "GET", ())


def test_a_condition_says_what_it_wanted_and_what_it_found() -> None:
    evidence = evidence_of(a_policy(NONE), "/x")
    assert Condition("agent", frozenset({"ccbot", "a"})).explain(evidence) == "agent is one of [a, ccbot]: found gptbot"
    assert Condition("route", frozenset({"media"}), True).explain(evidence) == "route is none of [media]: found page"
    assert Condition("path", frozenset({"/y"})).explain(evidence) == "path is one of [/y]: found nothing"
    unknown = evidence._replace(agent=None)
    assert Condition("agent", frozenset({"a"})).explain(unknown) == "agent is one of [a]: not known"
    two = evidence._replace(purpose=("search", "ai-use"))
    assert (
        Condition("purpose", frozenset({"ai-use"})).explain(two) == "purpose is one of [ai-use]: found search, ai-use"
    )


def test_of_many_values_a_dozen_is_shown() -> None:
    evidence = evidence_of(a_policy(NONE))
    dozen = [f"v{n:02}" for n in range(12)]
    said = Condition("agent", frozenset(dozen)).explain(evidence)
    assert said == f"agent is one of [{', '.join(dozen)}]: found gptbot"
    said = Condition("agent", frozenset([*dozen, "v12"])).explain(evidence)
    assert said == f"agent is one of [{', '.join(dozen)}, …]: found gptbot"


def test_a_group_says_its_branches() -> None:
    evidence = evidence_of(a_policy(NONE))
    one, two = Condition("route", frozenset({"page"})), Condition("method", frozenset({"POST"}))
    any_of = Group(((one, two), (two,)), every=False)
    assert any_of.explain(evidence) == (
        "any of (route is one of [page]: found page; method is one of [POST]: found GET"
        " | method is one of [POST]: found GET)"
    )
    assert Group(((one,),), every=True, negated=True).explain(evidence) == (
        "not all of (route is one of [page]: found page)"
    )


WALK = """
- {name: noted, when: {agent: GPTBot}, then: label, label: AI}
- {name: heavy, when: {label: ai}, weigh: +40}
- {name: light, when: {agent: GPTBot}, weigh: +5}
- {name: on trial, when: {agent: GPTBot}, weigh: +50, mode: observe}
- {name: begins, when: {agent: GPTBot}, then: block, from: 1970-01-11}
- {name: ended, when: {agent: GPTBot}, then: block, until: 1970-01-05}
- {name: elsewhere, when: {path: /y}, then: block}
"""
WALK_MORE = """
limits: [{name: slow, rate: 1/s, burst: 9}]
ladder:
  - {route: media, steps: [{at: 1, then: block}]}
  - {steps: [{at: 30, then: throttle, limit: slow}, {at: 40, then: block}, {at: 90, then: block}]}
agents: {ai-train: block, search: allow}
"""
DAY_S = 86_400.0


def test_a_walk_shows_every_rule_step_and_row_and_why() -> None:
    policy = a_policy(WALK, more=WALK_MORE)
    steps = {step.rule.name: step for step in trace(policy, evidence_of(policy), 7 * DAY_S)}
    assert list(steps) == [
        *("noted", "heavy", "light", "on trial", "begins", "ended", "elsewhere"),
        *("ladder: all at 30", "ladder: all at 40", "ladder: all at 90"),
        *("agents: ai-train", "agents: search"),
    ]
    matched = [name for name, step in steps.items() if step.matched]
    assert matched == ["noted", "heavy", "light", "on trial", "ladder: all at 40", "agents: ai-train"]
    assert steps["heavy"].why == ("label is one of [ai]: found ai",)
    assert steps["elsewhere"].why == ("path is one of [/y]: found nothing",)
    assert steps["ladder: all at 40"].why == ("the weights add up to 45, asked for at 40",)
    assert (steps["begins"].state, steps["ended"].state, steps["noted"].state) == ("not yet", "over", "")
    assert steps["ended"].why == ("over: out of its dates", "agent is one of [gptbot]: found gptbot")
    assert steps["agents: search"].why == ("category is one of [search]: found ai-train",)


def test_only_what_failed_is_given_as_the_reason() -> None:
    policy = a_policy("- {name: r, when: {agent: GPTBot, route: media}, then: block}\n")
    (step,) = trace(policy, evidence_of(policy))
    assert step.why == ("route is one of [media]: found page",)


def test_a_rule_is_in_force_from_its_first_moment_to_before_its_last() -> None:
    policy = a_policy("- {name: r, when: {agent: GPTBot}, then: block, from: 1970-01-03, until: 1970-01-04}\n")
    evidence, rule = evidence_of(policy), policy.rules[0]
    for moment, state in ((2 * DAY_S - 1, "not yet"), (2 * DAY_S, ""), (4 * DAY_S - 1, ""), (4 * DAY_S, "over")):
        assert trace(policy, evidence, moment)[0].state == state
        assert (decide(policy, evidence, moment).rule is rule) is (state == "")
        assert rule.in_force(moment) is (state == "")
    assert policy.turns == (2 * DAY_S, 4 * DAY_S)


def test_the_walk_adds_weights_on_trial_where_everything_is_on_trial() -> None:
    policy = a_policy(WALK, more=WALK_MORE + "mode: observe\n")
    matched = [step.rule.name for step in trace(policy, evidence_of(policy), 7 * DAY_S) if step.matched]
    assert "ladder: all at 90" in matched
    assert decide(policy, evidence_of(policy), 7 * DAY_S).weight == 95


def test_at_a_moment_a_policy_has_only_the_rules_in_force_on_every_host() -> None:
    policy = a_policy(WALK, more=WALK_MORE + "hosts: [{names: [h.example], mode: observe}]\n")
    then = policy.at(7 * DAY_S)
    assert [rule.name for rule in then.rules] == ["noted", "heavy", "light", "on trial", "elsewhere"]
    assert [rule.name for rule in then.scopes[0].rules] == [rule.name for rule in then.rules]
    assert (then.turns, then.scopes[0].mode) == ((), Mode.OBSERVE)
    assert then.at(0.0) is then
    assert [rule.name for rule in policy.at(12 * DAY_S).rules if rule.then == "block"] == ["begins", "elsewhere"]


# -- many rules ----------------------------------------------------------------------------------------------


def test_of_ten_thousand_rules_only_those_that_can_match_are_tried() -> None:
    kinds = (
        "agent: GPTBot, path: /a/{n}/**",
        "category: ai-*, route: media, path: /m/{n}",
        "network: 10.{b}.0.0/16",
    )
    rules = [
        f"- {{name: r{n}, when: {{{kinds[n % 3].format(n=n, b=n // 3 % 250)}}}, then: block}}" for n in range(10_000)
    ]
    policy = a_policy("\n".join([*rules, "- {name: odd, when: {not: {path: /z}}, then: block}\n"]))
    evidence = evidence_of(policy, "/a/3000/x")
    tried = [rule.name for rule in policy.index.candidates(evidence)]
    assert tried == ["r3000", "odd"]  # many ask for the agent, one for the path: the path tells more
    assert [rule.name for rule in policy.index.candidates(evidence_of(policy, "/q"))] == ["odd"]


def test_rules_of_other_route_classes_are_not_even_tried() -> None:
    policy = a_policy(
        "- {name: on media, when: {agent: GPTBot, route: media}, then: block}\n"
        "- {name: anybody on media, when: {route: media, not: {agent: CCBot}}, then: block}\n"
        "- {name: on pages, when: {agent: GPTBot, route: [page, search]}, then: block}\n"
    )
    assert [rule.name for rule in policy.index.candidates(evidence_of(policy))] == ["on pages"]


def test_networks_that_hold_an_address_come_the_narrowest_first() -> None:
    table = NetworkTable(["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "192.0.2.0/24", "2001:db8::/32", "::/0"])
    assert table.holding("10.1.2.3") == ("10.1.2.0/24", "10.1.0.0/16", "10.0.0.0/8")
    assert table.holding("10.200.0.1") == ("10.0.0.0/8",)
    assert table.holding("2001:db8::1") == ("2001:db8::/32", "::/0")
    assert table.holding("203.0.113.1") == ()
    assert not NetworkTable([])


def test_what_a_log_does_not_tell_is_unknown_and_the_rest_is_known() -> None:
    policy = a_policy("- {name: r, when: {method: POST, network: 192.0.2.0/24}, then: block}\n")
    evidence = policy.evidence(UNTOLD_AGENT, Identity.UNKNOWN, "/x", "POST", ("192.0.2.0/24",))
    assert evidence[:5] == (None,) * 5
    assert (evidence.method, evidence.network, evidence.user_agent, evidence.label) == (
        ("POST",),
        ("192.0.2.0/24",),
        None,
        (),
    )
    assert decide(policy, evidence).action == "block"


def test_each_route_class_has_the_preferences_of_its_kind() -> None:
    policy = a_policy(NONE, more="preferences: {train-ai: allow, search: allow, audio: {train-ai: disallow}}")
    assert policy.stated("media") == policy.stated("manifest") == {"train-ai": "disallow", "search": "allow"}
    assert policy.stated("artwork") == policy.stated("static") == {"train-ai": "allow", "search": "allow"}


def test_a_row_on_trial_is_noted_and_leaves_it_to_the_wider_row() -> None:
    policy = a_policy(
        NONE, more="agents:\n  ai-*: block\n  ai-train: {then: throttle, limit: slow, mode: observe}\n"
        "limits: [{name: slow, rate: 1/s, burst: 9}]\n"
    )  # fmt: skip
    verdict = decide(policy, evidence_of(policy))
    assert (verdict.action, verdict.rule.name if verdict.rule else "") == ("block", "agents: ai-*")
    assert [rule.name for rule in verdict.observed] == ["agents: ai-train"]

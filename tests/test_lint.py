"""What is allowed and hardly meant is told; what is told is true."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from guard.classify import BROWSER_AGENT
from guard.conditions import Condition, Evidence, Group, Test
from guard.lint import lint, pattern_covers
from guard.load import catalogue_of, load_policy, read_policy, shipped_catalogue, shipped_policy
from guard.model import UNKNOWN_AGENT, UNTOLD_AGENT, Identity, Mode
from guard.patterns import PathPatterns
from guard.policy import Policy, RoutePatterns, Rule, Verdict, decide
from guard.sources import shipped_folder

NOW = 1_800_000_000.0  # January 2027
BASE = """\
version: 1
site: {name: t, contact: "mailto:a@b.example"}
default: allow
routes:
- {class: directive, paths: [/robots.txt]}
- {class: media, paths: [/media/**]}
- {class: api, paths: [/api/**]}
"""


def told(text: str, base: str = BASE) -> list[str]:
    """Everything that is said of a policy, as `line: message`."""
    found = lint(read_policy(base + text), shipped_catalogue(), NOW)
    assert all(problem.level == "warning" for problem in found)
    return [f"{problem.line}: {problem.message}" for problem in found]


def rules(*written: str) -> str:
    return "rules:\n" + "".join(f"- {{{rule}}}\n" for rule in written)


@pytest.mark.parametrize("name", sorted(path.stem for path in shipped_folder().glob("*.yaml")))
def test_of_the_shipped_policies_only_the_contact_is_missing(name: str) -> None:
    found = lint(load_policy(shipped_policy(name)), shipped_catalogue(), NOW)
    assert [problem.message for problem in found] == [
        "site: no 'contact': who is refused by mistake cannot write to anybody"
    ]


# -- rules that are never reached --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("category: ai-*", "agent: GPTBot"),
        ("category: ai-*", "category: ai-train, route: media"),
        ("operator: OpenAI", "agent: [GPTBot, ChatGPT-User]"),
        ("purpose: search", "agent: Googlebot, method: GET"),
        ("path: /media/**", "path: [/media/x/*.mp3, /MEDIA/y]"),
        ("network: 10.0.0.0/8", "network: [10.1.0.0/16, 10.2.0.0/16]"),
        ("user_agent: '*bot*'", "user_agent: 'evilbot/*'"),
        ("route: [media, api]", "route: media"),
        ("not: {category: player}", "agent: GPTBot"),
        ("not: {path: /open/x}", "path: /media/**"),
        ("not: {network: 10.1.0.0/16}", "not: {network: 10.0.0.0/8}"),
        ("not: {network: 10.1.0.0/16}", "network: 10.2.0.0/16"),
        ("any: [{category: ai-*}, {route: media}]", "route: media, method: GET"),
        ("any: [{route: media}, {category: ai-*}]", "route: media, method: GET"),
        ("category: ai-*", "any: [{agent: GPTBot}, {agent: ClaudeBot}]"),
        ("all: [{route: media}, {not: {category: player}}]", "route: media, agent: CCBot"),
        ("any: [{agent: GPTBot}, {path: /x}]", "any: [{agent: GPTBot}, {path: /x}], method: GET"),
    ],
)
def test_a_rule_below_one_that_settles_all_it_fits_is_never_reached(first: str, second: str) -> None:
    block = rules(
        f"name: a, when: {{{first}}}, then: throttle, limit: l", f"name: b, when: {{{second}}}, then: block, reason: r"
    )
    said = told("limits: [{name: l, rate: 1000/s}]\n" + block)
    assert said == [
        "11: rule 'b' is never reached: rule 'a' (line 10) settles all that it fits; "
        "put it above that rule, or take it out"
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("agent: GPTBot", "category: ai-*"),
        ("agent: GPTBot", "operator: OpenAI"),
        ("path: /media/*", "path: /media/**"),
        ("path: /media/**/x", "path: /media/**"),
        ("network: 10.0.0.0/9", "network: 10.0.0.0/8"),
        ("not: {category: player}", "route: media"),
        ("not: {category: player}", "path: /x"),  # a log without User-Agents fits the second and not the first
        ("not: {path: /media/x}", "path: /media/**"),
        ("any: [{category: ai-*, route: api}, {route: media}]", "category: ai-*"),
        ("category: ai-*", "any: [{agent: GPTBot}, {agent: Googlebot}]"),
        ("category: '*'", "path: /x"),  # nor does it fit this one
        ("all: [{route: media}, {category: ai-*}]", "route: media"),
        ("method: GET", "method: [GET, HEAD]"),
        ("user_agent: '*evil*bot*'", "user_agent: '*bot*'"),
    ],
)
def test_a_rule_that_some_request_may_reach_is_not_accused(first: str, second: str) -> None:
    block = rules(
        f"name: a, when: {{{first}}}, then: throttle, limit: l", f"name: b, when: {{{second}}}, then: block, reason: r"
    )
    assert told("limits: [{name: l, rate: 1000/s}]\n" + block) == []


@pytest.mark.parametrize(
    ("first", "second", "reached"),
    [
        ("then: label", "then: block, reason: r", True),
        ("weigh: 10", "then: block, reason: r", True),
        ("then: allow, mode: observe", "then: block, reason: r", True),
        ("then: allow, until: 2027-12-31", "then: block, reason: r", True),
        ("then: allow, until: 2027-12-31", "then: block, reason: r, until: 2027-06-30", False),
        ("then: allow, from: 2027-12-31", "then: block, reason: r", True),
        ("then: allow, from: 2026-01-01", "then: block, reason: r", False),
        ("then: block, reason: r", "then: allow", True),  # on directive paths, which nobody is refused
        ("then: block, reason: r", "then: block, reason: r", False),
        ("then: allow", "weigh: 10", False),
    ],
)
def test_what_counts_above_is_final_enforced_and_in_force(first: str, second: str, reached: bool) -> None:
    ladder = "ladder: [{steps: [{at: 10, then: block, reason: r}]}]\n" if "weigh" in first + second else ""
    block = rules(f"name: a, when: {{agent: GPTBot}}, {first}", f"name: b, when: {{agent: GPTBot}}, {second}")
    shadowed = [line for line in told(block + ladder) if "never reached: rule 'a'" in line]
    assert bool(shadowed) is not reached


def test_in_a_policy_that_only_observes_rules_on_trial_settle_too() -> None:
    block = rules(
        "name: a, when: {agent: GPTBot}, then: allow, mode: observe", "name: b, when: {agent: GPTBot}, weigh: 1"
    )
    assert any("never reached" in line for line in told("mode: observe\n" + block))


def test_a_label_that_is_noted_in_between_keeps_a_rule_alive() -> None:
    block = rules(
        "name: l, when: {path: /a}, then: label, label: seen",
        "name: a, when: {label: seen}, then: allow",
        "name: m, when: {path: /b}, then: label, label: seen",
        "name: b, when: {label: seen}, then: block, reason: r",
    )
    assert told(block) == []


def test_a_row_of_an_agent_that_a_rule_has_settled_is_never_reached() -> None:
    block = rules("name: no AI, when: {category: ai-*}, then: block, reason: r") + "agents:\n  ai-train: allow\n"
    assert told(block) == [
        "11: agents: ai-train is never reached: rule 'no AI' (line 9) settles all that it fits; "
        "put it above that rule, or take it out"
    ]


def test_what_a_file_includes_may_be_overruled_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(
        "version: 1\n" + rules("name: b, when: {agent: GPTBot}, then: block, reason: r")
    )
    own = BASE + "include: other.yaml\n" + rules("name: a, when: {category: ai-*}, then: block, reason: r")
    (tmp_path / "policy.yaml").write_text(own)
    assert lint(load_policy(tmp_path / "policy.yaml"), shipped_catalogue(), NOW) == ()


def test_a_host_may_overrule_its_file_but_not_itself() -> None:
    hosts = """\
hosts:
- names: [radio.example]
  rules:
  - {name: all of it, when: {category: ai-*}, then: block, reason: r}
  - {name: one of it, when: {agent: GPTBot}, then: block, reason: r}
"""
    said = told(rules("name: b, when: {agent: GPTBot}, then: block, reason: r") + hosts)
    assert said == [
        "14: rule 'one of it' is never reached: rule 'all of it' (line 13) settles all that it fits; "
        "put it above that rule, or take it out"
    ]


# -- rules that match nothing ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ("agent: GPTBot, category: player", "no agent of the catalogue is all that it asks (GPTBot is ai-train)"),
        (
            "agent: GPTBot, not: {operator: OpenAI}",
            "no agent of the catalogue is all that it asks (GPTBot is ai-train)",
        ),
        ("route: lyrics", "no path of this policy is of the class lyrics"),
        ("route: media, not: {route: media}", "it asks for route classes that exclude one another"),
        ("path: /media/x, not: {path: /media/**}", "what it asks of 'path' is also excluded"),
        ("network: 10.0.0.0/8, not: {network: 0.0.0.0/0}", "what it asks of 'network' is also excluded"),
        ("all: [{path: /a/**}, {path: /b/**}]", "what it asks of 'path' cannot all be true"),
        ("method: GET, all: [{method: POST}]", "what it asks of 'method' cannot all be true"),
        ("any: [{route: lyrics}, {route: feed}]", "no path of this policy is of the class lyrics"),
    ],
)
def test_a_rule_that_contradicts_itself_or_the_catalogue_can_match_nothing(when: str, why: str) -> None:
    assert told(rules(f"name: x, when: {{{when}}}, then: allow")) == [f"9: rule 'x' can match nothing: {why}"]


@pytest.mark.parametrize(
    "when",
    [
        "agent: GPTBot, category: ai-train",
        "route: page",  # the default class, though no path says so
        "path: /media/**, not: {path: /media/x}",
        "all: [{path: /a/**}, {path: /**/b}]",
        "all: [{path: /a/**}, {path: /a}]",
        "any: [{route: lyrics}, {route: media}]",
        "not: {agent: GPTBot}",
    ],
)
def test_a_rule_that_may_match_is_left_alone(when: str) -> None:
    assert told(rules(f"name: x, when: {{{when}}}, then: allow")) == []


def test_a_rule_that_is_over_is_told_with_its_end() -> None:
    block = rules("name: x, when: {agent: GPTBot}, then: allow, from: 2026-01-01, until: 2026-06-30")
    assert told(block) == ["9: rule 'x' is over since 2026-07-01 (UTC): take it out, or give it a new end"]


# -- weights, limits, words --------------------------------------------------------------------------------

WEIGHS = "name: w, when: {category: library}, weigh: 30"


def test_weights_without_a_ladder_and_a_ladder_without_weights() -> None:
    assert told(rules(WEIGHS)) == ["9: rule 'w' weighs, but there is no 'ladder' to use the sum"]
    ladder = "ladder:\n- steps: [{at: 30, then: block, reason: r}]\n"
    assert told(ladder) == ["9: ladder: no rule weighs anything here: add rules with 'weigh:', or take it out"]
    assert told(rules(WEIGHS) + ladder) == []


def test_a_step_above_all_weights_is_never_reached() -> None:
    ladder = "ladder:\n- steps:\n  - {at: 30, then: block, reason: r}\n  - {at: 31, then: block, reason: r}\n"
    minus = "name: m, when: {category: tool}, weigh: -30"
    assert told(rules(WEIGHS, minus) + ladder) == [
        "14: ladder: the step at 31 is never reached: all weights here add up to 30"
    ]


def test_a_weight_where_no_ladder_stands_and_a_ladder_behind_another() -> None:
    block = rules("name: w, when: {route: media}, weigh: 30", "name: v, when: {route: api}, weigh: 30")
    ladder = "ladder:\n- {route: [api], steps: [{at: 30, then: block, reason: r}]}\n"
    assert told(block + ladder) == ["9: rule 'w' weighs only where there is no ladder (media)"]
    second = "- {route: [api], steps: [{at: 20, then: block, reason: r}]}\n"
    assert "13: ladder: never asked: the ladder on line 12 is for the same route classes" in told(
        block + ladder + second
    )


def test_a_limit_that_nobody_uses() -> None:
    limits = "limits:\n- {name: idle, rate: 1/s}\n"
    assert told(limits) == [
        "9: limit 'idle': no rule uses it; name it in a rule's 'limit:', say 'when:', or take it out"
    ]
    used = "hosts:\n- names: [a.example]\n  agents: {ai-train: {then: throttle, limit: idle}}\n"
    assert told(limits + used) == []


def test_who_is_refused_gets_a_reason_and_somebody_to_write_to() -> None:
    silent = rules("name: x, when: {agent: GPTBot}, then: block")
    assert told(silent) == ["9: rule 'x' refuses without a word why: add 'reason:', it is shown to the refused"]
    base = BASE.replace(', contact: "mailto:a@b.example"', "")
    assert told(silent.replace("block", "block, reason: r"), base) == [
        "0: site: no 'contact': who is refused by mistake cannot write to anybody"
    ]
    assert told("", base) == []


def test_preferences_and_rules_should_say_the_same() -> None:
    said = "preferences: {train-ai: disallow}\n"
    block = "name: x, when: {%s}, then: block, reason: r"
    nothing = (
        "0: preferences: 'train-ai: disallow' is only stated: no rule refuses or slows agents that train AI; "
        "add a rule, or be content to have said it"
    )
    assert told(said) == [nothing]
    assert told(said + rules(block % "category: seo")) == [nothing]
    assert told(said + rules(block % "agent: CCBot, route: media")) == []
    assert told(said + rules(block % "agent: CCBot" + ", from: 2029-01-01")) == []
    every = rules(block % "purpose: train-ai")
    assert told("preferences: {train-ai: allow}\n" + every) == [
        "0: preferences: 'train-ai: allow' is stated, but the rules refuse all agents that train AI everywhere"
    ]
    assert told("preferences: {train-ai: disallow}\n" + every) == []
    assert (
        told(
            "preferences: {search: allow, audio: {search: disallow}}\n"
            + rules(block % "category: search, route: media")
        )
        == []
    )


def test_a_directive_path_that_lets_everybody_to_the_audio() -> None:
    wide = BASE.replace("[/robots.txt]", "[/robots.txt, /media/**]")
    (said,) = told("", wide)
    assert said == "5: routes: '/media/**' is a directive path, open to everyone always, and covers /media/x/x"
    assert told("", BASE.replace("[/robots.txt]", "[/robots.txt, /.well-known/**]")) == []


def test_a_closed_door_that_nobody_can_open() -> None:
    closed = BASE.replace("default: allow", "default: block")
    assert told("", closed) == [
        "0: default: block, and no rule lets browsers or players in: add one with 'then: allow'"
    ]
    assert told(rules("name: x, when: {purpose: player}, then: allow"), closed) == []


def test_whole_countries_by_their_networks() -> None:
    (said,) = told(rules("name: x, when: {network: [1.0.0.0/8, 14.0.0.0/8]}, then: block, reason: r"))
    assert "33,554,432 addresses" in said
    assert told(rules("name: x, when: {network: 1.0.0.0/8}, then: block, reason: r")) == []
    narrowed = "name: x, when: {network: [1.0.0.0/8, 14.0.0.0/8], category: library}, then: block, reason: r"
    assert told(rules(narrowed)) == []


# -- what is told is true ----------------------------------------------------------------------------------

SEGMENTS = st.sampled_from(["a", "b", "ab", "*", "a*", "*b", "**", "a*b", "*a*"])
PATTERNS = st.lists(SEGMENTS, max_size=4).map(lambda parts: "/" + "/".join(parts))
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "aab", "ba", "abb", "c"]), max_size=5).map(
    lambda p: "/" + "/".join(p)
)


@settings(max_examples=300)
@given(PATTERNS, PATTERNS, st.lists(PATHS, min_size=5, max_size=20))
def test_a_pattern_that_covers_another_matches_all_that_it_matches(wide: str, narrow: str, paths: list[str]) -> None:
    covers = pattern_covers(wide, narrow)
    assert pattern_covers(wide, wide)
    assert pattern_covers("/**", wide)
    for path in paths:
        if covers and PathPatterns([narrow]).match(path):
            assert PathPatterns([wide]).match(path), path


CATALOGUE = shipped_catalogue()
NAMES = ("gptbot", "claudebot", "ccbot", "googlebot", "applebot", "mpv", "aiohttp", "yt-dlp", "browser", "unknown")
AGENTS = tuple(
    CATALOGUE.by_name.get(name) or {"browser": BROWSER_AGENT, "unknown": UNKNOWN_AGENT}[name] for name in NAMES
)
VALUES: dict[str, tuple[str, ...]] = {
    "agent": NAMES,
    "operator": tuple({agent.operator.lower() for agent in AGENTS}),
    "purpose": ("train-ai", "search", "player", "tool", "browser"),
    "category": ("ai-train", "search", "player", "library", "ripper", "browser", "unknown"),
    "identity": tuple(identity.value for identity in Identity),
    "route": ("page", "media", "api", "directive"),
    "path": ("/media/**", "/media/x", "/media/*", "/api/**", "/**/x", "/api/v1/x"),
    "method": ("GET", "POST", "HEAD"),
    "network": ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "192.0.2.0/24"),
    "user_agent": ("*bot*", "*gptbot*", "mozilla*", "*"),
    "label": ("seen", "told"),
}


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    fact = draw(st.sampled_from(sorted(VALUES)))
    values = draw(st.sets(st.sampled_from(VALUES[fact]), min_size=1, max_size=3))
    return Condition(fact, frozenset(values), draw(st.booleans()) and draw(st.booleans()))


@st.composite
def groups(draw: st.DrawFn) -> Group:
    branches = draw(st.lists(st.lists(conditions(), min_size=1, max_size=2).map(tuple), min_size=1, max_size=3))
    return Group(tuple(branches), draw(st.booleans()), draw(st.integers(0, 3)) == 0)


TESTS = st.lists(conditions() | conditions() | conditions() | groups(), min_size=1, max_size=3).map(tuple)
DATES = st.sampled_from([-inf, NOW - 10, NOW + 10, NOW + 20, inf])


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    found: list[Rule] = []
    for number in range(draw(st.integers(2, 5))):
        when: tuple[Test, ...] = draw(TESTS)
        if found and draw(st.booleans()):  # often a rule that asks for more than one above
            when = (*draw(st.sampled_from(found)).when, *draw(st.just(()) | TESTS))
        first, last = sorted((draw(DATES), max(NOW - 20, draw(DATES))))
        dated = draw(st.integers(0, 3)) == 0
        found.append(
            Rule(
                f"r{number}",
                when,
                draw(st.sampled_from(["allow", "block", "throttle", "label", "weigh"])),
                draw(st.sampled_from([Mode.ENFORCE, Mode.ENFORCE, Mode.OBSERVE])),
                label=draw(st.sampled_from(VALUES["label"])),
                line=number + 1,
                weight=10,
                from_s=first if dated else -inf,
                until_s=last if dated else inf,
            )
        )
    base = read_policy(BASE)
    routes = (*base.routes, RoutePatterns("page", ("/media/x",)))
    return replace(base, mode=draw(st.sampled_from([Mode.ENFORCE, Mode.OBSERVE])), rules=tuple(found), routes=routes)


WHO = (*AGENTS, UNTOLD_AGENT)
IDENTITIES = tuple(Identity)
WHERE = ("/", "/x", "/media", "/media/x", "/media/y/x", "/api/v1/x", "/api/x", "/robots.txt")
FROM = ("10.1.2.3", "10.1.9.9", "10.9.9.9", "192.0.2.7", "203.0.113.1")
SAID = (b"", b"GPTBot/1.3", b"Mozilla/5.0 Googlebot", b"mpv")
WHEN = (NOW, NOW + 5, NOW + 10, NOW + 15, NOW + 20, NOW + 100)


def some_verdicts(policy: Policy, chance: random.Random, count: int) -> Iterator[tuple[Evidence, Verdict]]:
    for _ in range(count):
        networks = policy.networks_of(chance.choice(FROM))
        user_agents = policy.user_agents_of(chance.choice(SAID))
        method = chance.choice(("GET", "POST", "PUT"))
        agent, identity = chance.choice(WHO), chance.choice(IDENTITIES)
        evidence = policy.evidence(agent, identity, chance.choice(WHERE), method, networks, user_agents)
        yield evidence, decide(policy, evidence, chance.choice(WHEN))


@settings(max_examples=80)
@given(policies(), st.integers(0, 2**32))
def test_a_rule_that_is_said_to_be_out_of_reach_never_does_anything(policy: Policy, seed: int) -> None:
    idle: dict[str, str] = {}
    for problem in lint(policy, CATALOGUE, NOW):
        if any(word in problem.message for word in ("never reached", "match nothing", "over since", "never in force")):
            idle[problem.message.split("'")[1]] = problem.message
    kept = {rule.label for rule in policy.rules if rule.name not in idle and rule.then == "label"}
    silent = {rule.label for rule in policy.rules if rule.name in idle and rule.then == "label"} - kept
    for evidence, verdict in some_verdicts(policy, random.Random(seed), 300 if idle else 0):
        for rule in (*verdict.observed, *verdict.weighed, *([verdict.rule] if verdict.rule else [])):
            assert rule.name not in idle, (idle[rule.name], evidence)
        assert silent.isdisjoint(verdict.labels), evidence


@pytest.mark.parametrize("word", ["never reached", "match nothing", "over since"])
def test_the_law_above_is_tried_on_rules_of_each_kind(word: str) -> None:
    def has(policy: Policy) -> bool:
        return any(word in problem.message for problem in lint(policy, CATALOGUE, NOW))

    find(policies(), has, settings=settings(max_examples=300, phases=[Phase.generate]))  # raises when there is none


# -- names that exempt ---------------------------------------------------------------------------------------

BY_NAME = """version: 1
site: {name: x, contact: "mailto:x@x.example"}
default: allow
routes: [{class: media, paths: [/media/**]}]
limits: [{name: everybody, rate: 100/s, burst: 1000}]
rules:
%s
"""
PLAYERS = "  - {name: players play, when: {purpose: player}, then: allow}"
LIMITED = "  - {name: a pace, when: {path: /media/**}, then: throttle, limit: everybody}"


def exempt(*rules: str) -> list[str]:
    found = lint(read_policy(BY_NAME % "\n".join(rules)), shipped_catalogue(), 0.0)
    return [str(problem) for problem in found if "calls itself a player" in problem.message]


def test_a_players_name_that_goes_past_a_limit_is_pointed_out() -> None:
    (said,) = exempt(PLAYERS, LIMITED)
    assert "policy:7: rule 'players play' lets whoever calls itself a player past the limit 'everybody'" in said


def test_a_players_name_that_buys_nothing_is_fine() -> None:
    assert exempt(LIMITED, PLAYERS) == []
    assert exempt(PLAYERS) == []
    assert exempt(PLAYERS.replace("allow", "throttle, limit: everybody"), LIMITED) == []


@pytest.mark.parametrize("name", [path.stem for path in (Path(__file__).parents[1] / "policies").glob("*.yaml")])
def test_in_no_policy_that_ships_does_a_players_name_go_past_a_limit(name: str) -> None:
    policy = load_policy(shipped_policy(name))
    assert not any("calls itself a player" in one.message for one in lint(policy, catalogue_of(policy), 0.0))


# -- limits that hold by themselves, by account, and at once -------------------------------------------------

READ = (
    BASE.replace('example"}', 'example", session: {cookie: s}, account: {%s}%s}')
    + "- {class: static, paths: [/static/**]}\n"
)


def limits(*written: str, account: str = "query: a", site: str = "") -> list[str]:
    """What is said of limits alone."""
    text = "limits:\n" + "".join(f"- {{{limit}}}\n" for limit in written)
    return [said for said in told(text, READ % (account, site)) if "limit '" in said]


def test_a_limit_that_holds_by_itself_is_used() -> None:
    assert limits("name: l, rate: 900/s, when: {path: /api/**}") == []


def test_a_limit_that_can_hold_for_nothing_is_told_by_its_own_name() -> None:
    assert limits("name: l, rate: 900/s, when: {route: feed}") == [
        "10: limit 'l' can match nothing: no path of this policy is of the class feed"
    ]
    (said,) = limits("name: l, rate: 900/s, when: {path: /api/**}, until: 2020-01-01")
    assert said.startswith("10: limit 'l' is over since 2020-01-02")


@pytest.mark.parametrize("key", ["client", "address", "[client, route]", "site", "account"])
def test_a_browser_needs_six_connections(key: str) -> None:
    header = {"account": "header: x-account", "site": ", trust_unix: true"}  # so that no account is invented
    (said,) = limits(f"name: l, at_once: 5, key: {key}, when: {{route: static}}", **header)
    assert "limit 'l': holds at /static/** (static) for browsers, which open 6 connections to one host" in said
    assert limits(f"name: l, at_once: 6, key: {key}, when: {{route: static}}", **header) == []


@pytest.mark.parametrize(
    "limit",
    [
        "name: l, at_once: 3, when: {route: media}",
        "name: l, at_once: 3, when: {route: static, category: 'ai-*'}",
        "name: l, at_once: 3, when: {route: static}, mode: observe",
    ],
)
def test_places_where_no_browser_asks_side_by_side_may_be_few(limit: str) -> None:
    assert limits(limit) == []


@pytest.mark.parametrize("key", ["session", "account", "[session, route]", "[client, session]"])
def test_a_limit_by_a_name_that_anybody_can_invent_needs_another_beside_it(key: str) -> None:
    word = "account" if key == "account" else "session"
    alone = f"name: l, rate: 900/s, key: {key}, when: {{route: api}}"
    (said,) = limits(alone)
    assert said.startswith(f"10: limit 'l': anybody can invent a new {word} with each request, and is never refused")
    for beside, enough in (
        ("name: m, rate: 999/s, when: {route: [api, media]}", True),
        ("name: m, rate: 999/s, key: prefix, when: {path: /**}", True),
        ("name: m, rate: 999/s, key: agent, when: {route: api}", False),
        ("name: m, rate: 999/s, when: {route: api, agent: curl}", False),
        ("name: m, rate: 999/s, when: {route: api}, mode: observe", False),
        ("name: m, rate: 999/s, when: {route: api}, until: 2030-01-01", False),
    ):
        assert (limits(alone, beside) == []) is enough, beside


def test_an_account_that_a_trusted_hop_writes_is_nobodys_invention() -> None:
    alone = "name: l, rate: 900/s, key: account, when: {route: api}"
    assert limits(alone, account="header: x-account", site=", trust_unix: true") == []


def test_a_rule_may_bring_both_limits_itself() -> None:
    both = "limits:\n- {name: l, rate: 900/s, key: session}\n- {name: m, rate: 900/s}\n"
    rule = "name: r, when: {path: /api/**}, then: throttle, limit: %s"
    assert not any("invent" in said for said in told(both + rules(rule % "[l, m]"), READ % ("query: a", "")))
    assert any("invent" in said for said in told(both + rules(rule % "l"), READ % ("query: a", "")))


def test_a_rule_that_costs_more_than_a_limit_beside_its_own_has_room_for() -> None:
    text = (
        "limits:\n- {name: own, rate: 900/s}\n"
        "- {name: beside, rate: 900/s, burst: 300, cost: 100, when: {category: seo, route: %s}}\n"
        "rules:\n- {name: dear, when: {path: /api/zip}, then: throttle, limit: own, cost: %s}\n"
    )
    (said,) = (one for one in told(text % ("api", 4)) if "costs" in one)
    assert said.startswith(
        "12: rule 'dear' costs 4, and limit 'beside' (line 10), which may hold beside it, has room for 3"
    )
    assert not any("costs" in one for one in told(text % ("api", 3)))
    apart = text.replace("path: /api/zip", "path: /api/zip, route: api") % ("media", 4)
    assert not any("costs" in one for one in told(apart))

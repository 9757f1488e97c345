"""Before a policy is changed: who will be treated otherwise, where, and how. Nobody is forgotten."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard import shipped_policy
from guard.classify import BROWSER_AGENT
from guard.compare import Changes, Shift, compare, specimens, summarise
from guard.load import load_policy, read_policy, shipped_catalogue
from guard.model import UNKNOWN_AGENT, Identity
from guard.policy import Policy, decide

AGENTS = shipped_catalogue()
EVERYBODY = [BROWSER_AGENT, UNKNOWN_AGENT, *AGENTS.agents]
ROUTES = "routes: [{class: media, paths: [/media/**]}, {class: api, paths: [/api/**]}]\n"


def policy_of(rules: str = "", *, default: str = "allow", more: str = "", site: str = "") -> Policy:
    return read_policy(f"version: 1\nsite: {{name: x{site}}}\ndefault: {default}\n{ROUTES}{more}\nrules: [{rules}]\n")


def changes(old: Policy, new: Policy) -> Changes:
    return compare(old, new, AGENTS)


def the_only(found: Changes) -> Shift:
    assert len(found.shifts) == 1, found.shifts
    return found.shifts[0]


BLOCK_TRAINING = "{name: training, when: {category: ai-train, route: media}, then: block}"


def test_who_is_refused_from_now_on_is_told_together_with_where_and_by_which_rule() -> None:
    shift = the_only(changes(policy_of(), policy_of(BLOCK_TRAINING)))
    assert shift.route == "media"
    assert shift.everywhere
    assert set(shift.agents) == {agent for agent in AGENTS.agents if agent.category == "ai-train"}
    assert (shift.before, shift.after) == (("allow", "default", ""), ("block", "training", ""))
    assert shift.kind == "action"
    assert shift.stricter


def test_agents_of_one_category_are_told_apart_by_what_they_fetch_for() -> None:
    new = policy_of("{name: r, when: {category: ai-train, purpose: search, route: media}, then: block}")
    training = {agent for agent in AGENTS.agents if agent.category == "ai-train"}
    searching = {agent for agent in training if "search" in agent.purposes}
    assert searching < training
    assert set(the_only(changes(policy_of(), new)).agents) == searching


def test_a_change_for_one_path_of_a_class_is_told_with_that_path() -> None:
    new = policy_of("{name: t, when: {agent: GPTBot, path: /media/new/**}, then: block}")
    shift = the_only(changes(policy_of(), new))
    assert [agent.name for agent in shift.agents] == ["GPTBot"]
    assert shift.paths == ("/media/new/x/x",)
    assert not shift.everywhere


def test_another_figure_of_a_limit_is_a_change_though_the_action_is_the_same() -> None:
    rule = "{name: slow, when: {agent: curl}, then: throttle, limit: few}"
    old = policy_of(rule, more="limits: [{name: few, rate: 2/s, burst: 10}]")
    new = policy_of(rule, more="limits: [{name: few, rate: 120/min, burst: 20, key: agent}]")
    found = changes(old, new)
    assert {shift.kind for shift in found.shifts} == {"limit"}
    assert found.shifts[0].before.limit == "few: 2/s, burst 10, by client"
    assert found.limits == (("few", "few: 2/s, burst 10, by client", "few: 120/min, burst 20, by agent"),)
    assert "1 other limit" in summarise(found)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("rate: 200 MB/hour, burst: 1 GB", "l: 200 MB/h, burst 1 GB, by client"),
        ("rate: 100/day, cost: 10, precision: exact", "l: 100/day, burst 100, exact, each counts 10, by client"),
        (
            "quota: 16 h audio/day, bitrate: 320k, key: [site, agent]",
            "l: 16 h audio a calendar day, by site and agent, 320k",
        ),
        ("quota: 1536 MiB/month", "l: 1536 MiB a calendar month, by client"),
        ("at_once: 7", "l: 7 at once, by client"),
        (
            "rate: 900/s, when: {path: /x}, mode: observe, until: 2999-12-24, reason: No.",
            "l: 900/s, burst 900, by client; holds observe, until 2999-12-24, when path [/x], reason 'No.'",
        ),
    ],
)
def test_a_limit_of_each_kind_is_told_on_one_line(words: str, said: str) -> None:
    found = changes(policy_of(), policy_of(more=f"limits: [{{name: l, {words}}}]"))
    assert found.limits == (("l", "", said),)


def test_what_a_limit_holds_for_and_what_a_rule_costs_are_words_that_change() -> None:
    limit = "limits: [{name: l, rate: 900/s, when: {path: %s}}]"
    found = changes(policy_of(more=limit % "/x"), policy_of(more=limit % "/y"))
    ((name, before, after),) = found.limits
    assert (name, before.partition("; ")[2], after.partition("; ")[2]) == (
        *("l", "holds when path [/x]", "holds when path [/y]"),
    )
    assert {(shift.before.action, shift.after.action) for shift in found.shifts} == {
        *(("throttle", "allow"), ("allow", "throttle")),
    }
    rule = "{name: r, when: {path: /x}, then: throttle, limit: l%s}"
    plain = "limits: [{name: l, rate: 900/s}]"
    ((_, before, after),) = changes(policy_of(rule % "", more=plain), policy_of(rule % ", cost: 5", more=plain)).rules
    assert "cost" not in before
    assert "limit l, cost 5" in after


def test_where_a_session_is_read_is_a_setting() -> None:
    ((what, before, after),) = changes(policy_of(), policy_of(site=", session: {cookie: sid}")).settings
    assert (what, before, after) == ("site: session", "", "cookie, sid")


def test_the_same_end_by_another_rule_is_not_called_stricter_or_looser() -> None:
    found = changes(policy_of(BLOCK_TRAINING), policy_of(BLOCK_TRAINING.replace("training", "other")))
    assert {shift.kind for shift in found.shifts} == {"rule"}
    assert "strictly" not in summarise(found)
    assert [change.what for change in found.rules] == ["training", "other"]


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ("{name: r, when: {method: POST}, then: block}", "with POST"),
        ("{name: r, when: {network: 198.51.100.0/24}, then: block}", "from 198.51.100.0/24"),
        ("{name: r, when: {user_agent: '*scraper*'}, then: block}", "with User-Agent *scraper*"),
    ],
)
def test_what_is_asked_beside_agent_and_path_is_tried_and_named(rule: str, word: str) -> None:
    found = changes(policy_of(), policy_of(rule))
    assert {shift.when for shift in found.shifts} == {word}
    assert {agent.name for shift in found.shifts for agent in shift.agents} == {agent.name for agent in EVERYBODY}


def test_a_word_that_comes_out_like_the_plain_request_is_not_told_again() -> None:
    posts = "{name: posts, when: {method: POST, agent: VLC}, then: block}"
    shift = the_only(changes(policy_of(posts), policy_of(f"{posts}, {BLOCK_TRAINING}")))
    assert shift.when == ""


def test_the_real_one_and_its_impostors_are_told_apart_where_networks_are_published() -> None:
    site = ", published_networks: {Googlebot: [192.0.2.0/24]}"
    old = policy_of("{name: r, when: {agent: Googlebot}, then: block}", site=site)
    real = "{name: real, when: {agent: Googlebot, identity: verified}, then: allow}, "
    new = policy_of(real + "{name: r, when: {agent: Googlebot}, then: block}", site=site)
    plain = {(shift.route, shift.when, shift.after.action) for shift in changes(old, new).shifts}
    assert plain == {("page", "", "allow"), ("media", "", "allow"), ("api", "", "allow")}
    false = "{name: false, when: {identity: spoofed}, then: block}"
    found = changes(policy_of(site=site), policy_of(false, site=site))
    assert {(shift.when, shift.agents[0].name) for shift in found.shifts} == {
        ("with a name that is not theirs", "Googlebot")
    }


def test_listeners_who_would_be_refused_stand_out_in_the_summary() -> None:
    assert "LISTENERS" in summarise(changes(policy_of(), policy_of(default="block")))
    assert "LISTENERS" not in summarise(changes(policy_of(default="block"), policy_of()))
    assert "LISTENERS" not in summarise(changes(policy_of(), policy_of(BLOCK_TRAINING)))


def test_a_path_that_becomes_something_else_is_told_and_decided_on_both_sides() -> None:
    old = policy_of("{name: r, when: {route: api, agent: GPTBot}, then: block}")
    rules = "rules: [{name: r, when: {route: api, agent: GPTBot}, then: block}]"
    routes = ROUTES.replace("routes: [", "routes: [{class: api, paths: [/media/info]}, ")
    new = read_policy(f"version: 1\nsite: {{name: x}}\ndefault: allow\n{routes}{rules}")
    found = changes(old, new)
    assert found.routes == (("/media/info", "media", "api"),)
    assert [(shift.route, shift.after.action) for shift in found.shifts] == [("media -> api", "block")]


def test_where_two_patterns_meet_is_looked_at_too() -> None:
    old = policy_of("{name: songs, when: {path: '/**/*.flac', agent: GPTBot}, then: block}")
    new = policy_of(
        "{name: open, when: {path: /media/*/open/**}, then: allow},"
        " {name: songs, when: {path: '/**/*.flac', agent: GPTBot}, then: block}"
    )
    shift = next(shift for shift in changes(old, new).shifts if shift.kind == "action")
    assert shift.paths[0].startswith("/media/x/open/")
    assert shift.paths[0].endswith(".flac")


def test_settings_preferences_and_the_store_are_told_word_by_word() -> None:
    old = policy_of(more="preferences: {train-ai: disallow, audio: {search: allow}}\nmode: observe")
    new = policy_of(
        more="preferences: {train-ai: allow, audio: {search: disallow}}\non_store_failure: {api: closed}",
        site=", contact: 'a@b.c'",
    )
    found = changes(old, new)
    assert set(found.settings) == {
        ("mode", "observe", "enforce"),
        ("preferences: train-ai", "disallow", "allow"),
        ("preferences: audio: search", "allow", "disallow"),
        ("on_store_failure: api", "", "closed"),
        ("site: contact", "", "a@b.c"),
    }
    assert summarise(found).startswith("mode observe -> enforce")
    assert any(line.startswith("-") and "Content-Usage" in line for line in found.robots)


def test_rules_that_come_go_change_or_move_are_told() -> None:
    one, two, three = (f"{{name: {name}, when: {{agent: curl}}, then: label}}" for name in ("one", "two", "three"))
    found = changes(policy_of(f"{one}, {two}, {three}"), policy_of(f"{three}, {one}, {two.replace('curl', 'Wget')}"))
    assert found.rules == (
        ("two", "label, when agent [curl]", "label, when agent [wget]"),
        ("three: place", "after 'two'", "first"),
    )
    found = changes(policy_of(f"{one}, {two}"), policy_of(f"{two}, {three}"))
    assert [(change.what, bool(change.before), bool(change.after)) for change in found.rules] == [
        ("one", True, False),
        ("three", False, True),
    ]


def test_rows_weights_and_ladders_are_told() -> None:
    steps = "ladder: [{route: [page], steps: [{at: 40, then: block}]}]"
    new = policy_of("{name: heavy, when: {agent: curl}, weigh: +50}", more=f"agents: {{ai-*: block}}\n{steps}")
    found = changes(policy_of(), new)
    assert ("heavy", "", "weigh +50, when agent [curl]") in found.rules
    assert ("ladder: page", "", "at 40 block") in found.rules
    assert "agents: ai-*" in [change.what for change in found.rules]
    assert ("page", "ladder: page at 40") in {(shift.route, shift.after.rule) for shift in found.shifts}
    assert "agents: ai-*" in {shift.after.rule for shift in found.shifts}


def test_a_dated_rule_counts_on_its_days() -> None:
    day = 86_400
    new = policy_of("{name: d, when: {agent: curl}, then: block, from: 1970-01-03, until: 1970-01-03}")
    counts = [len(compare(policy_of(), new, AGENTS, now_s, robots=False).shifts) for now_s in (day, 2 * day, 3 * day)]
    assert counts == [0, 3, 0]


# -- hosts -----------------------------------------------------------------------------------------------------


def test_hosts_are_compared_with_what_answered_for_them_before() -> None:
    scope = "hosts: [{names: [radio.example], rules: [{name: radio, when: {agent: curl}, then: block}]}]"
    added = changes(policy_of(), policy_of(more=scope))
    assert added.shifts == ()
    (radio,) = added.scopes
    assert radio.hosts == ("radio.example",)
    assert {shift.after.rule for shift in radio.shifts} == {"radio"}
    removed = changes(policy_of(more=scope), policy_of())
    assert {shift.before.rule for shift in removed.scopes[0].shifts} == {"radio"}
    assert changes(policy_of(more=scope), policy_of(more=scope)).empty
    assert not added.empty


def test_a_host_may_leave_a_wildcard_for_a_scope_of_its_own() -> None:
    wild = "{names: ['*.x.example'], rules: [{name: wild, when: {agent: curl}, then: block}]}"
    own = "{names: [radio.x.example], rules: [{name: own, when: {agent: curl}, then: allow}]}"
    found = changes(policy_of(more=f"hosts: [{wild}]"), policy_of(more=f"hosts: [{wild}, {own}]"))
    by_host = {scope.hosts: {(shift.before.rule, shift.after.rule) for shift in scope.shifts} for scope in found.scopes}
    assert by_host == {("*.x.example",): set(), ("radio.x.example",): {("wild", "own")}}


# -- nobody is forgotten ---------------------------------------------------------------------------------------

PATHS = ["/media/**", "/media/*/a", "/**/*.mp3", "/api/**", "/api/v1", "/track/*", "/media/a*", "/*/b"]
FACTS = st.one_of(
    st.sampled_from(["ai-*", "player", "browser", "search"]).map(lambda word: f"category: '{word}'"),
    st.sampled_from(["train-ai", "search", "player"]).map(lambda word: f"purpose: {word}"),
    st.sampled_from(["GPTBot", "curl", "VLC"]).map(lambda word: f"agent: {word}"),
    st.sampled_from(["media", "api", "page"]).map(lambda word: f"route: {word}"),
    st.sampled_from(PATHS).map(lambda word: f"path: '{word}'"),
)
RULES = st.lists(
    st.tuples(
        st.lists(FACTS, min_size=1, max_size=2, unique_by=lambda fact: fact[:4]), st.sampled_from(["allow", "block"])
    ),
    max_size=4,
).map(
    lambda rules: ", ".join(
        f"{{name: r{number}, when: {{{', '.join(facts)}}}, then: {then}}}" for number, (facts, then) in enumerate(rules)
    )
)


@settings(max_examples=25)
@given(RULES, RULES, st.sampled_from(["allow", "block"]))
def test_every_agent_whose_decision_changes_anywhere_is_named_and_nobody_else(
    old_rules: str, new_rules: str, default: str
) -> None:
    old, new = policy_of(old_rules), policy_of(new_rules, default=default)
    found = compare(old, new, AGENTS, robots=False)
    named = {(agent.name, shift.route) for shift in found.shifts if shift.kind == "action" for agent in shift.agents}
    actual = set()
    for path in specimens(old, new):
        for agent in EVERYBODY:
            identity = Identity.UNKNOWN if agent.category in ("browser", "unknown") else Identity.UNVERIFIED
            before, after = (decide(policy, policy.evidence(agent, identity, path, "GET", ())) for policy in (old, new))
            if before.action != after.action:
                actual.add((agent.name, before.route_class))
    assert named == actual


@settings(max_examples=100)
@given(RULES, RULES)
def test_specimens_stand_for_every_path_that_can_be_made_of_two_patterns(old_rules: str, new_rules: str) -> None:
    """Whatever two rules' patterns hold together, some specimen is held by both."""
    old, new = policy_of(old_rules), policy_of(new_rules)
    patterns = set(old.rule_patterns.patterns) | set(new.rule_patterns.patterns)
    both = policy_of(", ".join(f"{{name: r{n}, when: {{path: '{p}'}}, then: label}}" for n, p in enumerate(patterns)))
    seen = [set(both.rule_patterns.match(path)) for path in specimens(old, new)]
    for path in (
        "/media/x/a",
        "/media/a.mp3",
        "/api/v1",
        "/media/b",
        "/track/x.mp3",
        "/api/b",
        "/api/x.mp3",
        "/track/b",
    ):
        held = both.rule_patterns.match(path)
        for one in held:
            for other in held:
                assert any({one, other} <= known for known in seen), (path, patterns)


SHIPPED = ["no-ai", "observe"]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_policy_and_itself_do_not_differ(name: str) -> None:
    policy = load_policy(shipped_policy(name))
    found = changes(policy, load_policy(shipped_policy(name)))
    assert found.empty
    assert summarise(found) == "nothing changes"


@given(RULES)
@settings(max_examples=20)
def test_no_policy_differs_from_itself(rules: str) -> None:
    assert compare(policy_of(rules), policy_of(rules), AGENTS, robots=False).empty


def test_all_agents_on_all_classes_take_less_than_two_seconds() -> None:
    old = load_policy(shipped_policy("no-ai"))
    new = policy_of("{name: a, when: {category: ai-*, not: {route: page}}, then: block}", default="block")
    spent = []
    for _ in range(3):
        started = time.process_time()
        compare(old, new, AGENTS, robots=False)
        spent.append(time.process_time() - started)
    assert min(spent) < 2


def test_a_policy_that_begins_to_check_names_lets_the_real_one_in_and_keeps_the_impostor_out() -> None:
    text = """{version: 1, site: {name: x}, default: allow%s, rules: [
      {name: ours, when: {agent: GPTBot, identity: verified}, then: allow},
      {name: no AI, when: {agent: GPTBot}, then: block}]}"""
    old, new = read_policy(text % ""), read_policy(text % ", verification: {lists: fetch}")
    shifts = compare(old, new, shipped_catalogue(), robots=False).shifts
    real = [shift for shift in shifts if not shift.when]
    assert [agent.name for shift in real for agent in shift.agents] == ["GPTBot"] * len(real) and real
    assert {(shift.before.action, shift.after.action) for shift in real} == {("block", "allow")}
    assert not [shift for shift in shifts if shift.when and shift.after.action == "allow"]

"""No limit of a policy may stop a listener: whom we know, what they ask, and what a policy is told about it."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import PolicyError, Problem
from guard.listeners import MARGIN, PERSONAS, TOGETHER, WINDOWS_S, check_blocks, check_limits
from guard.load import load_policy, read_policy, shipped_catalogue, shipped_policy
from guard.model import ROUTE_CLASSES, Limit
from guard.policy import Policy
from guard.sources import shipped_folder
from guard.stores.plans import gcra
from tests.conftest import SHARED

ABSENT = "../shared is not here"
ROUTES = """
routes:
- {class: manifest, paths: ["/hls/**/*.m3u8"]}
- {class: media, paths: [/media/**, /hls/**, /rest/stream*]}
- {class: artwork, paths: [/img/**, /rest/getCoverArt*]}
- {class: embed, paths: [/embed/**]}
- {class: search, paths: [/search, /api/search/**]}
- {class: api, paths: [/api/**, /rest/**]}
- {class: feed, paths: [/podcast/**]}
- {class: static, paths: [/static/**]}
- {class: page, paths: [/track/**, /login]}
"""


def told(blocks: str, routes: str = ROUTES, now_s: float = 0.0) -> list[Problem]:
    """What is said of a policy made of these blocks; the reader refuses some, so limits come in afterwards."""
    text = f"version: 1\nsite: {{name: t}}\ndefault: allow\n{routes}{blocks}"
    rates = dict(re.findall(r"name: (\w+), rate: (\d+)/", text))
    bursts = dict(re.findall(r"name: (\w+), rate: \d+/\w+, burst: (\d+)", text))
    easy = re.sub(r", burst: \d+", ", burst: 99999999", re.sub(r"rate: \d+/", "rate: 99999999/", text))
    policy = read_policy(easy)
    real = {one.name: replace(one, count=int(rates[one.name]), burst=int(bursts[one.name])) for one in policy.limits}
    return list(check_limits(with_limits(policy, real), shipped_catalogue(), now_s))


def with_limits(policy: Policy, limits: dict[str, Limit]) -> Policy:
    rules = tuple(replace(rule, limits=tuple(limits[one.name] for one in rule.limits)) for rule in policy.rules)
    rows = tuple(replace(row, limits=tuple(limits[one.name] for one in row.limits)) for row in policy.rows)
    ladder = tuple(
        replace(
            one,
            rungs=tuple(
                replace(rung, rule=replace(rung.rule, limits=tuple(limits[x.name] for x in rung.rule.limits)))
                for rung in one.rungs
            ),
        )
        for one in policy.ladder
    )
    return replace(policy, limits=tuple(limits.values()), rules=rules, rows=rows, ladder=ladder)


# -- who they are ------------------------------------------------------------------------------------------


def test_the_personas_are_people_of_many_kinds_with_numbers_that_can_be() -> None:
    assert len(PERSONAS) >= 14
    assert len({persona.name for persona in PERSONAS}) == len(PERSONAS)
    for persona in PERSONAS:
        rows: dict[str, list[int]] = defaultdict(list)
        for burst in persona.asks:
            assert burst.route_class in (*ROUTE_CLASSES, TOGETHER)
            assert burst.route_class != "directive"
            rows[burst.route_class].append(burst.requests)
        assert all(len(row) == len(WINDOWS_S) for row in rows.values())
        assert all(row == sorted(row) and row[0] > 0 for row in rows.values()), persona.name
        together = rows.pop(TOGETHER, None)
        for position in range(len(WINDOWS_S)) if together else ():
            column = [row[position] for row in rows.values()]
            assert max(column) <= together[position] <= sum(column), (persona.name, WINDOWS_S[position])


def test_each_persona_is_taken_for_what_a_request_of_theirs_is_taken_for() -> None:
    from guard.listeners import _agents

    found = _agents(shipped_catalogue())
    assert found == tuple(shipped_catalogue().find(persona.user_agent.encode()) for persona in PERSONAS)


@pytest.mark.parametrize("name", sorted(path.stem for path in shipped_folder().glob("*.yaml")))
def test_the_shipped_policies_stop_no_listener(name: str) -> None:
    policy = load_policy(shipped_policy(name))
    assert check_limits(policy, shipped_catalogue()) == ()
    assert check_blocks(policy, shipped_catalogue()) == ()


# -- what a policy is told ---------------------------------------------------------------------------------

TOOLS = """
limits: [{name: tools, rate: 2/s, burst: 40}]
rules:
- {name: slow tools, when: {category: [tool, library]}, then: throttle, limit: tools}
"""


def test_a_limit_on_tools_that_catches_a_music_app_is_refused_with_a_way_out() -> None:
    with pytest.raises(PolicyError) as caught:
        read_policy(f"version: 1\nsite: {{name: t}}\ndefault: allow{ROUTES}{TOOLS}")
    (problem,) = caught.value.problems
    assert problem.level == "error"
    assert problem.line == 15  # the limit's
    assert problem.message == (
        "limit 'tools': 2/s with burst 40 would stop the listener 'Subsonic client built on a plain library' (240 "
        "requests in 10 s on api, artwork and media; 6/s with burst 300 would not) (rule 'slow tools'), and 1 other "
        "kind of listeners"
    )


def test_the_same_app_is_left_alone_when_its_protocol_is_let_through() -> None:
    free = TOOLS.replace("rules:", "rules:\n- {name: Subsonic, when: {path: /rest/**}, then: allow}")
    problems = told(free.replace("route: x", ""))
    assert not any("Subsonic" in problem.message for problem in problems)


def test_a_protocol_that_the_platform_does_not_speak_brings_nobody() -> None:
    routes = re.sub(r", /rest/\S+?(?=\])", "", ROUTES)
    assert "/rest" not in routes
    (problem,) = told(TOOLS, routes)
    assert "offline download" in problem.message
    assert told(TOOLS.replace("category: [tool, library]", "agent: aiohttp"), routes) == []


def test_a_protocol_is_found_where_it_is_mounted() -> None:
    routes = "routes:\n- {class: api, paths: [/music/rest/**]}\n"
    (problem,) = told(TOOLS.replace("category: [tool, library]", "agent: aiohttp, path: /music/rest/**"), routes)
    assert "Subsonic client built on a plain library" in problem.message


SLOW = "limits: [{{name: slow, rate: {rate}, burst: {burst}, key: {key}}}]\nrules:\n- {rule}\n"


def slow(when: str, rate: str, burst: int, key: str = "client", more: str = "", name: str = "slow down") -> str:
    rule = f"{{name: {name}, when: {when}, then: throttle, limit: slow{more}}}"
    return SLOW.format(rate=rate, burst=burst, key=key, rule=rule)


@pytest.mark.parametrize(
    ("when", "rate", "burst", "whom"),
    [
        ("{route: media, purpose: player}", "60/min", 60, "mpv"),
        ("{route: media, category: browser}", "2/s", 50, "DJ who looks for a tune"),
        ("{route: static, category: browser}", "10/hour", 20, "campus behind one address"),
        ("{route: search}", "10/min", 20, "collector who searches while typing"),
        ("{route: artwork, agent: Sonos}", "1/hour", 5, "smart speaker"),
        ("{route: feed}", "5/hour", 5, "feed reader"),
        ("{agent: AntennaPod}", "1/min", 5, "podcast app"),
        ("{agent: unknown, route: page}", "10/hour", 3, "text browser"),
        ("{user_agent: '*okhttp*'}", "1/s", 60, "offline download that was paid for"),
        ("{path: /hls/**}", "1/s", 20, "DJ who looks for a tune"),
        ("{not: {purpose: search}}", "100/min", 100, "Subsonic client on its first sync"),
    ],
)
def test_whoever_would_be_stopped_is_named(when: str, rate: str, burst: int, whom: str) -> None:
    (problem,) = told(slow(when, rate, burst))
    assert problem.level == "error", problem
    assert f"would stop the listener '{whom}'" in problem.message


@pytest.mark.parametrize(
    ("when", "rate", "burst"),
    [
        ("{purpose: search}", "1/min", 1),
        ("{category: 'ai-*'}", "1/min", 1),
        ("{path: /login}", "5/min", 5),
        ("{path: /login, method: POST}", "5/min", 5),
        ("{network: 198.51.100.0/24}", "1/min", 1),
        ("{identity: spoofed}", "1/min", 1),
        ("{route: media}", "20/s", 300),
    ],
)
def test_limits_that_no_listener_feels_are_left_alone(when: str, rate: str, burst: int) -> None:
    assert told(slow(when, rate, burst)) == []


def test_a_part_of_the_pages_may_be_one_where_nobody_listens() -> None:
    (problem,) = told(slow("{path: /admin/**}", "5/min", 2))
    assert (problem.level, "if they go there" in problem.message) == ("warning", True)
    (problem,) = told(slow("{path: /track/**}", "1/min", 1))
    assert problem.level == "error"


def test_what_is_only_tried_out_is_a_warning() -> None:
    (problem,) = told(slow("{route: media}", "1/s", 5, more=", mode: observe"))
    assert (problem.level, "once the rule is enforced" in problem.message) == ("warning", True)
    (problem,) = told("mode: observe\n" + slow("{route: media}", "1/s", 5))
    assert problem.level == "warning"


def test_a_rule_of_next_year_is_judged_today_and_one_of_last_year_no_more() -> None:
    new_year_2030 = 1893456000.0
    dated = slow("{route: media}", "1/s", 5, more=", from: 2030-06-01, until: 2030-06-30")
    (problem,) = told(dated, now_s=new_year_2030)
    assert problem.level == "error"
    assert told(dated, now_s=new_year_2030 + 366 * 86400) == []


def test_neighbours_share_a_prefix_and_everybody_a_site() -> None:
    assert told(slow("{agent: AndroidXMedia3, route: api}", "20/hour", 20)) == []
    (problem,) = told(slow("{agent: AndroidXMedia3, route: api}", "20/hour", 20, "prefix"))
    assert (problem.level, "'car'" in problem.message) == ("error", True)
    assert told(slow("{route: page, category: browser}", "1/s", 10)) == []
    (problem,) = told(slow("{route: page, category: browser}", "1/s", 10, "site"))
    assert problem.level == "warning"
    assert "'Chrome on a desktop' when 350 of them are there at once (key site)" in problem.message
    (problem,) = told(slow("{route: media}", "1/s", 5, "site"))
    assert problem.level == "error"  # one listener alone is too many for it


def test_a_limit_that_is_almost_too_small_is_a_warning() -> None:
    (problem,) = told(slow("{agent: AntennaPod}", "1/min", 20))
    assert problem.level == "warning"
    assert "leaves little room for the listener 'podcast app'" in problem.message
    assert told(slow("{agent: AntennaPod}", "1/min", 27)) == []


def test_rows_of_agents_and_steps_of_a_ladder_are_asked_too() -> None:
    limits = "limits: [{name: slow, rate: 1/s, burst: 5, key: client}]\n"
    (problem,) = told(limits + "agents:\n  player: {then: throttle, limit: slow}\n")
    assert problem.level == "error"
    ladder = "ladder:\n- steps: [{at: 50, then: throttle, limit: slow}]\n"
    rules = "rules:\n- {name: libraries, when: {category: library}, weigh: 50}\n"
    (problem,) = told(limits + rules + ladder)
    assert (problem.level, "ladder" in problem.message) == ("error", True)
    assert told(limits + rules.replace("50", "49") + ladder) == []


def test_a_policy_without_routes_has_one_class_for_everything() -> None:
    (problem,) = told(slow("{path: /**}", "60/min", 60), "")
    assert problem.level == "error"
    assert "100 requests in 10 s" not in problem.message  # mpv and the download ask more
    assert told(slow("{path: /stream/**}", "60/min", 60), "") == []


def test_who_is_refused_outright_is_named_with_the_rule_and_the_path() -> None:
    def blocks(text: str) -> list[str]:
        policy = read_policy(f"version: 1\nsite: {{name: t}}\n{ROUTES}{text}")
        return [str(problem) for problem in check_blocks(policy, shipped_catalogue())]

    rule = "default: allow\nrules:\n- {name: no tools, when: {category: library, route: media}, then: block%s}\n"
    assert blocks(rule % "") == [
        "policy:16: rule 'no tools': refuses the listener 'offline download that was paid for' on /media/x/x (media), "
        "and 1 other kind of listeners"
    ]
    assert "would refuse, once it is enforced," in blocks(rule % ", mode: observe")[0]
    (said,) = blocks("default: block\n")
    assert said.startswith("policy: default: block: refuses the listener 'Chrome on a desktop' on /")
    assert blocks("default: allow\nrules:\n- {name: private, when: {path: /private/**}, then: block}\n") == []


# -- limits of other kinds ---------------------------------------------------------------------------------

ACCOUNTS = "version: 1\nsite: {name: t, account: {query: a}, session: {cookie: s}}\ndefault: allow\n"


def judged(limit: str, more: str = "") -> list[Problem]:
    """What is said of one limit, that holds by itself unless `more` names it."""
    try:
        return list(read_policy(f"{ACCOUNTS}{ROUTES}limits:\n- {{name: l, {limit}}}\n{more}").warnings)
    except PolicyError as error:
        return list(error.problems)


def test_a_limit_that_holds_by_itself_is_judged_like_the_one_of_a_rule() -> None:
    (problem,) = judged("rate: 1/s, burst: 5, when: {route: media}")
    assert problem.level == "error"
    assert problem.message.startswith("limit 'l': 1/s with burst 5 would stop the listener 'mpv'")
    assert "(its own 'when')" in problem.message
    (trial,) = judged("rate: 1/s, burst: 5, when: {route: media}, mode: observe")
    assert (trial.level, "once the rule is enforced" in trial.message) == ("warning", True)
    allowed = "rules: [{name: all, when: {route: media}, then: allow}]\n"
    (beside,) = judged("rate: 1/s, burst: 5, when: {route: media}", allowed)
    assert "rule 'all'" not in beside.message


def test_a_quota_is_held_against_a_day_of_a_listener() -> None:
    (problem,) = judged("quota: 100/day, when: {route: media}")
    assert problem.level == "error"
    assert problem.message.startswith(
        "limit 'l': 100 a calendar day would stop the listener 'VLC' (6000 requests in a day"
    )
    assert "; 9000 a calendar day would not)" in problem.message
    assert judged("quota: 9000/day, when: {route: media}") == []
    assert judged("quota: 5999/day, when: {route: media}")[0].level == "error"  # it does not fill up as a rate does
    (month,) = judged("quota: 100/month, when: {route: media}")
    assert month.message.startswith("limit 'l': 100 a calendar month would stop")


def test_what_a_request_costs_counts_against_a_listener() -> None:
    assert judged("rate: 20/s, burst: 300, when: {route: media}") == []
    (dear,) = judged("rate: 20/s, burst: 300, cost: 30, when: {route: media}")
    assert ", each counts 30; " in dear.message
    said = re.search(r"; ([0-9]+)/s with burst ([0-9]+) would", dear.message)
    assert said is not None
    assert judged(f"rate: {said[1]}/s, burst: {said[2]}, cost: 30, when: {{route: media}}") == []
    rule = "rules: [{name: r, when: {route: media}, then: throttle, limit: l, cost: 30}]\n"
    (of_rule,) = judged("rate: 20/s, burst: 300", rule)
    assert of_rule.message.replace("(rule 'r')", "(its own 'when')") == dear.message
    assert judged(f"rate: {said[1]}/s, burst: {said[2]}", rule) == []


def test_of_what_personas_do_not_say_nothing_is_claimed() -> None:
    for limit in (
        "rate: 1 kB/day, when: {route: media}",
        "quota: 1 s audio/day, when: {route: media}",
        "at_once: 1, when: {route: media}",
    ):
        assert judged(limit) == []


def test_who_shares_an_account_is_not_known_so_harm_is_not_certain() -> None:
    for key in ("account", "session", "[session, client]"):
        (problem,) = judged(f"quota: 100/day, key: {key}, when: {{route: media}}")
        assert problem.level == "warning"
        assert judged(f"quota: 50/day, key: {key}, when: {{path: /download/**}}") == []
    (problem,) = judged("quota: 50/day, when: {path: /download/**}")
    assert "if they go there" in problem.message
    (problem,) = judged("quota: 100/day, key: address, when: {route: media}")
    assert problem.level == "error"


def test_by_route_each_class_is_counted_for_itself() -> None:
    limit = "rate: 20/s, burst: 100, when: {route: [api, artwork]}"
    assert judged(limit)[0].level == "warning"
    assert judged(f"{limit}, key: [client, route]") == []


def test_a_limit_that_begins_tomorrow_is_judged_today() -> None:
    (problem,) = judged("rate: 1/s, burst: 5, when: {route: media}, from: 2999-01-01")
    assert problem.level == "error"


# -- what is said is true ----------------------------------------------------------------------------------

LIMITS = st.builds(
    Limit,
    st.just("slow"),
    st.integers(1, 2000),
    st.sampled_from([1.0, 60.0, 3600.0, 86400.0]),
    st.integers(1, 3000),
    st.sampled_from([("client",), ("prefix",), ("site",), ("client", "agent")]),
)
WHENS = st.sampled_from(
    [
        "{route: media}",
        "{route: [page, api]}",
        "{path: /**}",
        "{path: [/admin/**, /img/**]}",
        "{category: library}",
        "{category: [browser, unknown]}",
        "{purpose: player, not: {route: media}}",
    ]
)
_bases: dict[tuple[str, str], Policy] = {}


def a_policy(when: str, mode: str) -> Policy:
    if (when, mode) not in _bases:
        rule = slow(when, "99999999/s", 99999999, more=f", mode: {mode}")
        _bases[when, mode] = read_policy(f"version: 1\nsite: {{name: t}}\ndefault: allow\n{ROUTES}{rule}")
    return _bases[when, mode]


@settings(max_examples=150)
@given(LIMITS, WHENS, st.sampled_from(["enforce", "observe"]))
def test_what_is_suggested_is_of_no_trouble_to_anybody(limit: Limit, when: str, mode: str) -> None:
    policy = a_policy(when, mode)
    problems = check_limits(with_limits(policy, {"slow": limit}), shipped_catalogue())
    for problem in problems:
        said = re.search(r"; ([0-9]+)/\w+ with burst ([0-9]+) would", problem.message)
        assert said is not None
        better = replace(limit, count=int(said[1]), burst=int(said[2]))
        assert better.count >= limit.count
        assert better.burst >= limit.burst
        assert better != limit
        assert check_limits(with_limits(policy, {"slow": better}), shipped_catalogue()) == ()


@settings(max_examples=150)
@given(LIMITS, WHENS)
def test_who_is_said_to_be_stopped_is_stopped_by_the_real_limit(limit: Limit, when: str) -> None:
    limit = replace(limit, key=("client",))
    for problem in check_limits(with_limits(a_policy(when, "enforce"), {"slow": limit}), shipped_catalogue()):
        said = re.search(r"\(([0-9]+) requests in (\S+ \S+) on", problem.message)
        if problem.level != "error" or said is None:
            continue
        spans = {"1 s": 1, "10 s": 10, "60 s": 60, "10 min": 600, "an hour": 3600, "a day": 86400}
        window_s, asked = spans[said[2]], int(said[1])
        emission = round(limit.emission_s * 1e9)
        tat, refused = 0, 0
        for number in range(asked):
            now = 10**18 + number * window_s * 10**9 // asked
            allowed, tat, _, _ = gcra(tat, now, emission, emission * (limit.burst - 1))
            refused += not allowed
        assert refused, problem


# -- a day of people that the numbers were not taken from --------------------------------------------------

WHO = {
    "web_chrome_casual": "Chrome on a desktop",
    "web_firefox_casual": "Firefox on a desktop",
    "web_safari_mac": "Safari on a Mac",
    "dj_curator": "DJ who looks for a tune",
    "search_collector": "collector who searches while typing",
    "office_radio": "radio in an office tab",
    "radio_tab_ws": "radio in an office tab",
    "podcast_app": "podcast app",
    "mpv_vlc_fan": "mpv",
    "subsonic_sync": "Subsonic client on its first sync",
    "premium_offline": "offline download that was paid for",
    "smart_speaker": "smart speaker",
    "car_dropouts": "car",
    "university_nat": "campus behind one address",
    "commuter_cgnat": "commuters behind a carrier's address",
    "textmode_accessible": "text browser",
    "embed_viewer": "flash crowd at an embedded player",
    "release_flash_crowd": "flash crowd at an embedded player",
}


def test_nobody_on_a_day_never_seen_before_leaves_their_envelope_by_more_than_the_margin(tmp_path: Path) -> None:
    simulator = SHARED / "traffic" / "simulate.py"
    if not simulator.exists():
        pytest.skip(ABSENT)
    day = tmp_path / "day.jsonl.gz"
    words = ["--variant", "A", "--seed", "777", "--out", str(day), "--site", str(tmp_path / "site.json")]
    subprocess.run([sys.executable, str(simulator), *words], check=True, capture_output=True, timeout=120)
    policy = load_policy(shipped_policy("no-ai"))
    times: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    with gzip.open(day, "rt") as lines:
        for line in lines:
            row = json.loads(line)
            if row["persona"] in WHO:
                address = row["ip"] if "." in row["ip"] else str(ip_network(f"{row['ip']}/64", strict=False))
                route_class = policy.route_class(row["path"].partition("?")[0].lower())
                times[WHO[row["persona"]], route_class, address].append(row["t"])
                times[WHO[row["persona"]], TOGETHER, address].append(row["t"])
    envelopes = {
        (persona.name, burst.route_class, burst.window_s): burst.requests
        for persona in PERSONAS
        for burst in persona.asks
    }
    assert len(times) > 1000
    for (name, route_class, _), moments in times.items():
        for window_s in WINDOWS_S:
            envelope = envelopes.get((name, route_class, window_s), 1)
            assert most_within(moments, window_s) <= envelope * MARGIN, (name, route_class, window_s)


def most_within(moments: list[float], window_s: int) -> int:
    first = most = 0
    for position, moment in enumerate(moments):
        while moment - moments[first] > window_s:
            first += 1
        most = max(most, position - first + 1)
    return most

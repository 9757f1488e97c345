"""What a policy would have done to a log: limits in the log's time, what cannot be told, who would be hurt."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.classify import Catalogue
from guard.load import load_policy, shipped_catalogue, shipped_policy
from guard.logs import Entry
from guard.policy import Policy
from guard.replay import LATE_S, LISTED, Replay, Top, find_user_agent, neighbourhood
from tests.processes import CHROME

FIREFOX = b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
GPTBOT = b"GPTBot/1.3"
REQUESTS = b"python-requests/2.32.5"
NOON = 1_795_000_000.0
POLICY = """\
version: 1
site: {name: test, trusted_proxies: [10.0.0.0/8]}
mode: MODE
default: allow
routes:
  - {class: media, paths: [/media/**]}
  - {class: static, paths: [/static/**]}
  - {class: artwork, paths: [/img/**]}
  - {class: api, paths: [/api/**]}
limits:
  - {name: slow, key: client, rate: 1/s, burst: 5}
rules:
  - {name: private, when: {path: /admin/**}, then: block}
  - {name: no AI, when: {category: "ai-*"}, then: block}
  - {name: no tool in audio, when: {category: [library, tool], route: media}, then: block}
  - {name: tools, when: {category: [library, tool], route: [page, media]}, then: throttle, limit: slow}
  - {name: closed shop, when: {path: /shop/**}, then: block}
"""


def policy(tmp_path: Path, text: str = POLICY, mode: str = "enforce") -> Policy:
    file = tmp_path / "policy.yaml"
    file.write_text(text.replace("MODE", mode))
    return load_policy(file)


def entry(
    target: str = "/track/1",
    user_agent: bytes | None = FIREFOX,
    *,
    at: float = 0.0,
    ip: str = "203.0.113.9",
    host: str | None = None,
    size: int = 1000,
    agent: str = "",
    **headers: bytes,
) -> Entry:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Entry(0, NOON + at, ip, "GET", target.encode(), b"", host, user_agent, 200, size, named, agent)


def test_limits_fill_and_empty_as_the_logs_time_passes(tmp_path: Path) -> None:
    replay = Replay(policy(tmp_path))
    burst = [replay.feed(entry(user_agent=REQUESTS, at=number / 100)).action for number in range(8)]
    assert burst == ["allow"] * 5 + ["throttle"] * 3
    assert [replay.feed(entry(user_agent=REQUESTS, at=second)).action for second in range(2, 6)] == ["allow"] * 4
    an_hour_later = [replay.feed(entry(user_agent=REQUESTS, at=3600)).action for _ in range(6)]
    assert an_hour_later == ["allow"] * 5 + ["throttle"]
    report = replay.report()
    assert report["actions"] == {"allow": 14, "throttle": 4}
    assert (report["requests"], report["refused"], report["bytes"], report["refused_bytes"]) == (18, 4, 18000, 4000)


def test_another_client_has_a_budget_of_its_own(tmp_path: Path) -> None:
    replay = Replay(policy(tmp_path))
    said = [replay.feed(entry(user_agent=REQUESTS, ip=f"203.0.113.{number % 2}")).action for number in range(10)]
    assert said == ["allow"] * 10


def test_a_line_that_comes_late_does_not_turn_the_clock_back(tmp_path: Path) -> None:
    """Apache writes a line when the answer ends, with the time when it began."""
    replay = Replay(policy(tmp_path))
    said = [replay.feed(entry(user_agent=REQUESTS, at=60.0 - 30 * (number % 2))).action for number in range(5)]
    assert said == ["allow"] * 5
    assert replay.feed(entry(user_agent=REQUESTS, at=62.0)).action == "allow"
    assert replay.report()["out_of_order"] == 0
    replay.feed(entry(at=-2 * LATE_S))
    report = replay.report()
    assert report["out_of_order"] == 1
    assert (report["from"], report["until"]) == ("2026-11-18T09:06:40Z", "2026-11-18T11:07:42Z")


@pytest.mark.parametrize("mode", ["observe", "enforce"])
def test_what_enforcing_would_do_is_counted_in_either_mode(tmp_path: Path, mode: str) -> None:
    replay = Replay(policy(tmp_path, mode=mode))
    assert replay.feed(entry(user_agent=GPTBOT))[:2] == ("block", "no AI")
    assert replay.feed(entry())[:2] == ("allow", "default")
    assert replay.feed(entry("/robots.txt", GPTBOT)).action == "serve"
    assert replay.feed(entry("/a%00b")).action == "reject"
    report = replay.report()
    assert report["enforced"] is (mode == "enforce")
    assert report["refused"] == 2
    assert [row["rule"] for row in report["rules"]] == ["(no safe reading)", "no AI", "(a directive file)", "default"]


def test_rules_on_trial_are_told_of_and_refuse_nobody(tmp_path: Path) -> None:
    trial = POLICY.replace(
        '{name: no AI, when: {category: "ai-*"}', '{name: no AI, mode: observe, when: {category: "ai-*"}'
    )
    replay = Replay(policy(tmp_path, trial))
    assert replay.feed(entry(user_agent=GPTBOT)).action == "allow"
    assert replay.report()["on_trial"] == [{"rule": "no AI", "requests": 1}]


def test_dated_rules_act_on_the_days_of_the_log(tmp_path: Path) -> None:
    dated = POLICY.replace("{name: closed shop,", "{name: closed shop, until: 2026-11-18,")
    replay = Replay(policy(tmp_path, dated))
    assert replay.feed(entry("/shop/1")).action == "block"
    assert replay.feed(entry("/shop/1", at=86400.0)).action == "allow"


# -- a log without User-Agent --------------------------------------------------------------------------------


def test_what_hangs_on_an_unknown_agent_is_not_told(tmp_path: Path) -> None:
    replay = Replay(policy(tmp_path))
    assert replay.feed(entry("/track/1", None))[:2] == ("untold", "default")
    assert replay.feed(entry("/admin/1", None))[:2] == ("block", "private")
    assert replay.feed(entry("/shop/1", None))[:2] == ("untold", "closed shop")
    assert replay.feed(entry("/robots.txt", None)).action == "serve"
    report = replay.report()
    assert (report["requests"], report["untold"], report["refused"]) == (4, 2, 1)
    assert report["clients_passed"][0]["passed"] == 1


def test_a_rule_about_agents_elsewhere_does_not_make_a_path_untold(tmp_path: Path) -> None:
    narrow = POLICY.replace('when: {category: "ai-*"}', 'when: {category: "ai-*", route: media}')
    replay = Replay(policy(tmp_path, narrow))
    assert replay.feed(entry("/api/1", None))[:2] == ("allow", "default")
    assert replay.feed(entry("/media/1", None)).action == "untold"
    assert replay.feed(entry("/track/1", None)).action == "untold"


def test_a_log_that_names_the_agent_is_as_good_as_one_with_its_user_agent(tmp_path: Path) -> None:
    replay = Replay(policy(tmp_path))
    assert replay.feed(entry(user_agent=None, agent="GPTBot"))[:2] == ("block", "no AI")
    assert replay.feed(entry(user_agent=None, agent="browser"))[:2] == ("allow", "default")
    assert replay.feed(entry(user_agent=None, agent="unknown"))[:2] == ("allow", "default")
    assert replay.feed(entry(user_agent=None, agent="an agent from another catalogue")).action == "untold"
    assert replay.feed(entry(user_agent=None, agent="untold")).action == "untold"


def test_nearly_every_agent_of_the_catalogue_has_a_user_agent_that_stands_for_it() -> None:
    catalogue = shipped_catalogue()
    for agent in catalogue.agents:
        found = find_user_agent(catalogue, agent.name)
        assert found is None or catalogue.find(found) is agent
        assert found is not None or agent.match == "none", agent.name
    for name in ("browser", "unknown"):
        found = find_user_agent(catalogue, name)
        assert found is not None
        assert catalogue.find(found).name == name


# -- who is who ----------------------------------------------------------------------------------------------


def test_forwarded_addresses_count_where_the_policy_trusts_the_hop(tmp_path: Path) -> None:
    replay = Replay(policy(tmp_path))
    for number in range(10):
        forwarded = f"198.51.{number}.7".encode()
        said = replay.feed(entry(user_agent=REQUESTS, ip="10.0.0.1", x_forwarded_for=forwarded))
        assert said.action == "allow"
    shown = {row["client"] for row in replay.report()["clients_passed"]}
    assert shown == {f"198.51.{number}.0/24" for number in range(10)}
    lied = [
        replay.feed(entry(user_agent=REQUESTS, ip="203.0.113.5", x_forwarded_for=b"10.9.9.%d" % n)) for n in range(6)
    ]
    assert lied[-1].action == "throttle"


def test_hosts_have_their_own_rules(tmp_path: Path) -> None:
    text = (
        POLICY + "hosts:\n  - names: [radio.example]\n    rules:\n      - {name: off, when: {path: /**}, then: block}\n"
    )
    replay = Replay(policy(tmp_path, text))
    assert replay.feed(entry(host="radio.example:443"))[:2] == ("block", "off")
    assert replay.feed(entry(host="RADIO.example."))[:2] == ("block", "off")
    assert replay.feed(entry(host="music.example"))[:2] == ("allow", "default")
    assert replay.feed(entry(host=None))[:2] == ("allow", "default")
    assert replay.feed(entry("/track/1", None, host="radio.example"))[:2] == ("block", "off")


def test_no_full_address_is_shown(tmp_path: Path) -> None:
    replay = Replay(policy(tmp_path))
    for address in ("203.0.113.9", "2001:db8:1:2:3:4:5:6", "not an address", ""):
        replay.feed(entry("/admin/1", ip=address))
    report = replay.report()
    assert {row["client"] for row in report["clients_refused"]} == {"203.0.113.0/24", "2001:db8:1::/48", "unknown"}
    assert report["without_address"] == 2
    assert "203.0.113.9" not in str(report)


# -- listeners -----------------------------------------------------------------------------------------------


def test_a_browser_that_is_refused_is_a_listener_hurt(tmp_path: Path) -> None:
    replay = Replay(policy(tmp_path))
    for target in ("/track/1", "/shop/1", "/shop/2", "/static/a.css"):
        replay.feed(entry(target, CHROME.encode()))
    report = replay.report()
    paths = [(row["path"], row["route"], row["refused"], row["bytes"]) for row in report["paths_refused"]]
    assert paths == [("/shop/1", "page", 1, 1000), ("/shop/2", "page", 1, 1000)]
    assert report["listeners"] == {
        "visitors": 1,
        "refused": 2,
        "first": [
            {
                "client": "203.0.113.0/24",
                "agent": "browser",
                "user_agent": CHROME,
                "requests": 4,
                "refused": 2,
                "bytes": 2000,
                "rule": "closed shop",
                "why": "calls itself a browser",
            }
        ],
    }


def test_a_program_that_reads_pages_as_people_do_is_likely_one(tmp_path: Path) -> None:
    replay = Replay(policy(tmp_path))
    for target in ("/track/1", "/static/a.css", "/static/a.js", "/img/1.jpg"):
        replay.feed(entry(target, REQUESTS))
    replay.feed(entry("/media/1.mp3", REQUESTS))
    (hurt,) = replay.report()["listeners"]["first"]
    assert (hurt["agent"], hurt["refused"], hurt["rule"]) == ("python-requests", 1, "no tool in audio")
    assert hurt["why"] == "asked for pages with what belongs to them (1 pages, 3 parts)"


@pytest.mark.parametrize(
    ("user_agent", "targets"),
    [
        (REQUESTS, ["/track/1", "/track/2", "/static/a.css", "/media/1.mp3"]),  # pages without their parts
        (REQUESTS, ["/img/1.jpg", "/img/2.jpg", "/img/3.jpg", "/media/1.mp3"]),  # parts without pages
        (GPTBOT, ["/track/1", "/static/a.css", "/static/a.js", "/img/1.jpg"]),  # says what it is
        (FIREFOX, ["/track/1", "/static/a.css"]),  # nothing refused
    ],
)
def test_who_only_collects_or_says_so_is_no_listener(tmp_path: Path, user_agent: bytes, targets: list[str]) -> None:
    replay = Replay(policy(tmp_path))
    for target in targets:
        replay.feed(entry(target, user_agent))
    assert replay.report()["listeners"] == {"visitors": 0, "refused": 0, "first": []}


def test_listeners_that_were_long_forgotten_are_still_counted(tmp_path: Path) -> None:
    replay = Replay(policy(tmp_path), visitors=10, places=16)
    for number in range(1000):
        replay.feed(entry("/shop/1", ip=f"198.51.{number // 250}.{number % 250}"))
    replay.feed(entry("/shop/1", ip="192.0.2.1"))
    replay.feed(entry("/shop/1", ip="192.0.2.1"))
    for _ in range(2):  # asking twice changes nothing
        listeners = replay.report(top=5)["listeners"]
        assert (listeners["visitors"], listeners["refused"]) == (1001, 1002)
        assert len(listeners["first"]) == 5
        assert listeners["first"][0]["client"] == "192.0.2.0/24"


# -- tables --------------------------------------------------------------------------------------------------


def test_no_table_grows_with_the_log(tmp_path: Path) -> None:
    replay = Replay(policy(tmp_path), visitors=50, places=64)
    for number in range(3000):
        address = f"{number % 200 + 1}.{number // 200}.7.7"
        replay.feed(entry(f"/shop/{number}", ip=address, agent=f"a{number}", host=f"h{number}.example"))
        replay.feed(entry(f"/track/{number}", None, ip=address, agent=f"a{number}"))
    assert len(replay._visitors) + len(replay._earlier) <= 50
    for table in (replay._refused_clients, replay._passed_clients, replay._refused_paths):
        assert len(table.rows) <= 64
        assert len(table._heap) <= 64
    assert len(replay._hurt._first) <= LISTED
    assert len(replay._stand_ins) <= 4096
    assert len(replay._counts) < 20


@given(st.lists(st.integers(0, 30).map(lambda number: min(number, 31 - number) // 2)), st.integers(1, 12))
def test_the_top_is_within_its_promised_error(keys: list[int], places: int) -> None:
    table = Top(places)
    for key in keys:
        table.add(b"%d" % key, 10, "")
    true = Counter(b"%d" % key for key in keys)
    assert len(table.rows) <= places
    assert sum(row[0] for row in table.rows.values()) == len(keys)
    for key, (count, error, size, _) in table.rows.items():
        assert count - error <= true[key] <= count
        assert error <= len(keys) / places
        assert size <= 10 * true[key]
    for key, number in true.items():
        if number > len(keys) / places:
            assert key in table.rows
    certain = [number for _, number, _, _ in table.first(places)]
    assert certain == sorted(certain, reverse=True)


TEXTS = st.binary(max_size=30) | st.sampled_from([b"/media/1", b"/%2e%2e/a", b"/a%zz", b"/" + b"a" * 3000, b"*"])
ENTRIES = st.builds(
    Entry,
    number=st.integers(0, 10),
    time_s=st.floats(0, 253_402_300_799.0),
    ip=st.text(max_size=10) | st.ip_addresses().map(str),
    method=st.sampled_from(["GET", "POST", "CONNECT", "x" * 50]),
    target=TEXTS,
    query=st.just(b""),
    host=st.none() | st.text(max_size=12),
    user_agent=st.none() | st.binary(max_size=40),
    status=st.integers(0, 999),
    body_bytes=st.integers(0, 1 << 62),
    headers=st.just(()) | st.binary(max_size=30).map(lambda value: (("x-forwarded-for", value),)),
    agent=st.text(max_size=8),
)
SHIPPED = load_policy(shipped_policy("no-ai"))
CATALOGUE: Catalogue = shipped_catalogue()


@given(st.lists(ENTRIES, max_size=20))
def test_whatever_a_log_says_is_decided_and_told(entries: list[Entry]) -> None:
    replay = Replay(SHIPPED, CATALOGUE)
    actions = Counter(replay.feed(one).action for one in entries)
    report = replay.report()
    assert report["actions"] == dict(actions)
    assert sum(row["requests"] for row in report["rules"]) == len(entries) == report["requests"]
    assert sum(row["refused"] for row in report["agents"]) == report["refused"]


def test_neighbourhoods() -> None:
    assert neighbourhood(bytes((203, 0, 113))) == "203.0.113.0/24"
    assert neighbourhood(bytes.fromhex("20010db80001")) == "2001:db8:1::/48"
    assert neighbourhood(b"?") == "unknown"


def test_nobody_is_blamed_for_the_requests_of_another_agent_of_the_same_network() -> None:
    replay = Replay(load_policy(shipped_policy("observe")))
    for user_agent in (CHROME.encode(), b"mpv 0.40.0", b"mpv 0.40.0"):
        replay.feed(Entry(0, 1.0, "192.0.2.1", "GET", b"/", b"", None, user_agent, 200, 1, (), ""))
    passed = [(row["client"], row["agent"], row["passed"]) for row in replay.report()["clients_passed"]]
    assert passed == [("192.0.2.0/24", "mpv", 2), ("192.0.2.0/24", "browser", 1)]

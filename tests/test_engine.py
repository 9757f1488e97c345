"""One policy at work: hosts, dates, weights, and what happens when the shared store cannot be asked."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from guard import Guard, Request
from guard.engine import CLOSED
from guard.load import read_policy
from guard.model import Admission, Decision, Limit
from guard.policy import Policy
from guard.protocols import Change
from guard.registers.plain import MemoryRegister
from guard.rights import Choice, Work

CURL = b"curl/8.14"


def a_policy(more: str, site: str = "{name: x}", default: str = "allow") -> Policy:
    return read_policy(f"version: 1\nsite: {site}\ndefault: {default}\n{more}")


def asked(guard: Guard, path: str = "/x", user_agent: bytes | None = CURL, host: bytes | None = None) -> Decision:
    return guard.for_host(host).decide(Request("GET", path.encode(), user_agent, "192.0.2.1"))


# -- hosts ---------------------------------------------------------------------------------------------------

THREE_HOUSES = a_policy(
    """
rules:
  - {name: for all, when: {category: library}, then: block}
hosts:
  - names: [radio.example, "*.radio.example"]
    rules:
      - {name: radio lets tools in, when: {category: library}, then: allow}
  - names: [archive.radio.example]
    mode: observe
    site: {name: The archive}
""",
    site="{name: Main, hosts: [music.example]}",
)


@pytest.mark.parametrize(
    ("host", "rule"),
    [
        (b"music.example", "for all"),
        (b"radio.example", "radio lets tools in"),
        (b"RADIO.example:8080", "radio lets tools in"),
        (b"radio.example.", "radio lets tools in"),
        (b"live.radio.example", "radio lets tools in"),
        (b"a.b.radio.example", "radio lets tools in"),
        (b"notradio.example", "for all"),
        (b"elsewhere.example", "for all"),
        (b"", "for all"),
        (None, "for all"),
        (b"[2001:db8::1]:80", "for all"),
    ],
)
def test_each_host_has_its_own_rules_and_strangers_get_the_files_own(host: bytes | None, rule: str) -> None:
    assert asked(Guard(THREE_HOUSES), host=host).rule == rule


def test_a_host_that_is_named_goes_before_the_star_above_it() -> None:
    guard = Guard(THREE_HOUSES)
    archive = guard.for_host(b"archive.radio.example")
    assert archive.policy.site.name == "The archive"
    assert asked(guard, host=b"archive.radio.example").rule == "for all"
    assert asked(guard, host=b"archive.radio.example").mode.value == "observe"


def test_where_there_is_one_policy_no_host_is_looked_up() -> None:
    guard = Guard(a_policy(""))
    assert not guard.several
    assert guard.for_host(b"whoever.example") is guard


def test_hosts_that_nobody_knows_do_not_fill_the_memory() -> None:
    guard = Guard(THREE_HOUSES)
    for number in range(5_000):
        assert guard.for_host(b"h%d.example" % number) is guard
    assert len(guard._spelt) <= 2 * guard._spelt.capacity


def test_the_files_of_all_hosts_can_be_handed_to_another_process() -> None:
    made = Guard(THREE_HOUSES)
    other = Guard(THREE_HOUSES, rendered=made.rendered)
    for host in (b"music.example", b"radio.example", b"archive.radio.example"):
        assert other.for_host(host).files == made.for_host(host).files
    assert b"The archive" in other.for_host(b"archive.radio.example").files["/robots.txt"].body
    assert b"Main" in other.files["/robots.txt"].body


# -- dates ---------------------------------------------------------------------------------------------------


def moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


class Clock:
    def __init__(self, text: str) -> None:
        self.now_s = moment(text)

    def __call__(self) -> float:
        return self.now_s


def test_a_rule_begins_and_ends_with_its_days_whatever_was_remembered() -> None:
    policy = a_policy(
        "rules:\n- {name: advent, when: {category: library}, then: block, from: 2026-12-01, until: 2026-12-24}\n"
    )
    clock = Clock("2026-11-30T23:59:59")
    guard = Guard(policy, clock=clock)
    seen = []
    for text in ("2026-11-30T23:59:59", "2026-12-01T00:00:00", "2026-12-24T23:59:59", "2026-12-25T00:00:00"):
        clock.now_s = moment(text)
        seen += [asked(guard).action, asked(guard).action]
    assert seen == ["allow", "allow", "block", "block", "block", "block", "allow", "allow"]


def test_a_clock_that_goes_back_brings_the_old_rules_back() -> None:
    policy = a_policy("rules:\n- {name: later, when: {category: library}, then: block, from: 2026-12-01}\n")
    clock = Clock("2026-12-02T00:00:00")
    guard = Guard(policy, clock=clock)
    assert asked(guard).action == "block"
    clock.now_s = moment("2026-11-02T00:00:00")
    assert asked(guard).action == "allow"


def test_what_is_published_changes_with_the_rules() -> None:
    policy = a_policy("rules:\n- {name: closed, when: {agent: GPTBot}, then: block, from: 2026-12-01}\n")
    clock = Clock("2026-11-30T23:59:59")
    guard = Guard(policy, clock=clock, beside=lambda job: job())
    served = []
    for text in ("2026-11-30T23:59:59", "2026-12-01T00:00:00", "2026-11-30T23:59:59"):
        clock.now_s = moment(text)
        assert asked(guard, "/robots.txt").file == "/robots.txt"
        served.append(b"User-agent: GPTBot\n" in guard.files["/robots.txt"].body)
    assert served == [False, True, False]


# -- weights -------------------------------------------------------------------------------------------------

WEIGHTY = """
limits: [{name: slow, rate: 1/s, burst: 5}]
routes: [{class: media, paths: [/media/**]}]
rules:
  - {name: a tool, when: {agent: curl}, weigh: +30, reason: It is a tool.}
  - {name: deep in, when: {path: /deep/**}, weigh: +40}
  - {name: known friend, when: {user_agent: "*friend*"}, weigh: -20}
  - {name: on trial, when: {agent: curl}, weigh: +90, mode: observe}
ladder:
  - route: page
    steps:
      - {at: 30, then: throttle, limit: slow}
      - {at: 70, then: block, reason: Enough.}
"""


@pytest.mark.parametrize(
    ("path", "user_agent", "action", "weights"),
    [
        ("/x", b"curl/8", "throttle", (("a tool", 30),)),
        ("/deep/x", b"curl/8", "block", (("a tool", 30), ("deep in", 40))),
        ("/deep/x", b"curl/8 friend", "throttle", (("a tool", 30), ("deep in", 40), ("known friend", -20))),
        ("/x", b"curl/8 friend", "allow", (("a tool", 30), ("known friend", -20))),
        ("/media/x", b"curl/8", "allow", (("a tool", 30),)),
        ("/x", b"Mozilla/5.0", "allow", ()),
    ],
)
def test_weights_add_up_and_the_ladder_of_the_route_turns_the_sum_into_an_action(
    path: str, user_agent: bytes, action: str, weights: tuple[tuple[str, int], ...]
) -> None:
    decision = asked(Guard(a_policy(WEIGHTY)), path, user_agent)
    assert (decision.action, decision.weights) == (action, weights)


def test_a_step_of_the_ladder_is_named_like_a_rule_and_says_its_reason() -> None:
    decision = asked(Guard(a_policy(WEIGHTY)), "/deep/x", b"curl/8")
    assert (decision.rule, decision.reason) == ("ladder: page at 70", "Enough.")
    assert decision.observed == ("on trial",)


# -- what is not known ---------------------------------------------------------------------------------------


def test_a_user_agent_that_is_not_known_is_neither_this_nor_not_that() -> None:
    policy = a_policy(
        "rules:\n"
        "- {name: tools, when: {category: library}, then: block}\n"
        "- {name: no browser, when: {not: {category: browser}}, then: block}\n"
        "- {name: nor this, when: {any: [{agent: curl}, {not: {agent: curl}}]}, then: block}\n"
        "- {name: by path, when: {path: /closed/**}, then: block}\n"
    )
    guard = Guard(policy)
    assert asked(guard, "/x", None).action == "allow"
    assert asked(guard, "/closed/x", None).rule == "by path"
    assert asked(guard, "/x", b"").rule == "no browser"  # a request without one is another thing


# -- directive files -----------------------------------------------------------------------------------------


def test_directive_paths_are_open_to_everyone_whatever_the_rules_say() -> None:
    policy = a_policy(
        "routes: [{class: directive, paths: [/.well-known/security.txt, /sitemap.xml]}]\n"
        "rules:\n- {name: nobody, when: {path: /**}, then: block}\n",
        default="block",
    )
    guard = Guard(policy)
    assert asked(guard, "/.well-known/security.txt").action == "allow"
    assert asked(guard, "/robots.txt").action == "serve"
    assert asked(guard, "/track/1").action == "block"
    assert asked(guard, "/sitemap.xml/..;/track/1").action == "block"  # two readings: the strictest counts


# -- the store is away ---------------------------------------------------------------------------------------


class Away:
    """A shared store that cannot be reached and answers from this worker alone."""

    shared = True

    def __init__(self, allowed: bool) -> None:
        self.allowed = allowed

    def take(self, limit: Limit, key: bytes, cost: int = 1) -> Admission | Future[Admission]:
        return Admission(self.allowed, 0, 0.0 if self.allowed else 3.0, False)

    async def open(self) -> None: ...

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    ("word", "local", "status"),
    [
        ("local", True, None),
        ("local", False, 429),
        ("open", True, None),
        ("open", False, None),
        ("closed", True, 503),
        ("closed", False, 503),
    ],
)
def test_each_route_class_says_what_limits_do_without_the_store(word: str, local: bool, status: int | None) -> None:
    policy = a_policy(
        "limits: [{name: slow, rate: 1/s}]\n"
        f"on_store_failure: {{page: {word}}}\n"
        "rules:\n- {name: tools, when: {agent: curl}, then: throttle, limit: slow}\n"
    )
    guard = Guard(policy, store=Away(local))
    request = Request("GET", b"/x", CURL, "192.0.2.1")
    client, decision = guard.consider(request)
    admission = guard.admit(request, client, decision)
    assert isinstance(admission, Admission)
    reply = guard.answer(decision, guard.temper(decision, admission), b"", "id")
    assert (reply.status if reply else None) == status
    if status == 503:
        assert reply is not None
        assert (b"retry-after", b"5") in reply.headers
        assert b"cannot count" in reply.body


def test_one_word_stands_for_every_route_class_and_others_stay_local() -> None:
    every = a_policy("on_store_failure: open\n").on_store_failure
    assert every["media"] == "open"
    assert "directive" not in every
    assert a_policy("on_store_failure: {api: closed, media: local}\n").on_store_failure == {"api": "closed"}


def test_an_answer_from_the_store_itself_is_left_alone() -> None:
    policy = a_policy(
        "limits: [{name: slow, rate: 1/s}]\non_store_failure: closed\n"
        "rules:\n- {name: tools, when: {agent: curl}, then: throttle, limit: slow}\n"
    )
    guard = Guard(policy, store=Away(True))
    decision = asked(guard)
    answer = Admission(True, 3, 0.0, True)
    assert guard.temper(decision, answer) is answer
    assert guard.temper(decision, Admission(True, 3, 0.0, False)) is CLOSED
    alone = Guard(policy)  # its own memory is no failure of anything
    assert alone.temper(decision, Admission(True, 3, 0.0, False)) != CLOSED


# -- what must not be confused -------------------------------------------------------------------------------


def test_no_address_is_not_an_address_outside_the_published_networks() -> None:
    policy = a_policy(
        "rules:\n- {name: liar, when: {identity: spoofed}, then: block}\n",
        site="{name: x, published_networks: {Googlebot: [66.249.64.0/19]}}",
    )
    googlebot = b"Mozilla/5.0 (compatible; Googlebot/2.1)"
    for order in ((None, "203.0.113.9"), ("203.0.113.9", None)):
        guard = Guard(policy)
        found = {peer: guard.decide(Request("GET", b"/x", googlebot, peer)).action for peer in order}
        assert found == {None: "allow", "203.0.113.9": "block"}


def test_of_two_limits_on_readings_of_one_path_the_slower_counts_in_every_process() -> None:
    policy = a_policy(
        "limits: [{name: fast, rate: 100/s}, {name: slow, rate: 1/min}]\n"
        "routes: [{class: media, paths: [/media/**]}, {class: api, paths: [/api/**]}]\n"
        "rules:\n"
        "- {name: m, when: {agent: curl, route: media}, then: throttle, limit: fast}\n"
        "- {name: a, when: {agent: curl, route: api}, then: throttle, limit: slow}\n"
    )
    for path in ("/media/..;/api/x", "/media/..\\..\\api/x", "/api/..;/media/x"):
        assert asked(Guard(policy), path).rule == "a"


def test_a_method_that_nobody_knows_fills_no_memory() -> None:
    guard = Guard(a_policy("rules:\n- {name: r, when: {method: POST}, then: block}\n"))
    for number in range(200):
        request = Request("X" * 2_000 + str(number), b"/x", CURL, "192.0.2.1")
        assert guard.decide(request).action == "allow"
    assert len(guard._decisions) == 0
    assert len(guard._verdicts) == 1
    assert guard.decide(Request("POST", b"/x", CURL, "192.0.2.1")).action == "block"


def test_files_made_before_a_turn_are_not_served_after_it() -> None:
    policy = a_policy(
        "rules:\n- {name: closed, when: {agent: GPTBot}, then: block, from: 2026-12-01}\n"
        "hosts: [{names: [h.example], site: {name: h}}]\n"
    )
    before = Clock("2026-11-20T00:00:00")
    rendered = Guard(policy, clock=before).rendered
    later = Guard(policy, clock=Clock("2026-12-05T00:00:00"), rendered=rendered, beside=lambda job: job())
    for guard in (later, later.for_host(b"h.example")):
        assert asked(guard, "/robots.txt").file == "/robots.txt"
        assert b"User-agent: GPTBot\n" in guard.files["/robots.txt"].body
    sooner = Guard(policy, clock=Clock("2026-11-25T00:00:00"), rendered=rendered, beside=lambda job: job())
    asked(sooner)
    assert sooner.files is rendered.files[0]


def test_while_files_are_made_anew_the_old_ones_are_served() -> None:
    policy = a_policy("rules:\n- {name: closed, when: {agent: GPTBot}, then: block, from: 2026-12-01}\n")
    clock, jobs = Clock("2026-11-30T00:00:00"), []
    guard = Guard(policy, clock=clock, beside=jobs.append)
    asked(guard)
    old = guard.files
    clock.now_s = moment("2026-12-01T00:00:00")
    assert asked(guard, "/x", b"GPTBot/1.3").action == "block"
    assert guard.files is old
    (job,) = jobs
    job()
    assert b"User-agent: GPTBot\n" in guard.files["/robots.txt"].body


def test_who_claims_nothing_is_told_in_robots_txt_what_holds_for_him() -> None:
    guard = Guard(a_policy("rules:\n- {name: claims, when: {identity: [unverified, spoofed]}, then: block}\n"))
    assert asked(guard, "/x", b"Unheard").action == "allow"
    assert guard.files["/robots.txt"].body.decode().endswith("User-agent: *\nAllow: /\n")


# -- works that have other rights -----------------------------------------------------------------------------

WORKS = a_policy(
    'preferences: {train-ai: allow, ai-use: allow}\nrights: {source: r.yaml, works: [{path: "/track/{track}"}]}'
)
RESERVED = Choice({"": {"train-ai": "disallow", "ai-use": "disallow"}})


def test_files_of_a_policy_that_is_no_longer_in_force_are_not_made_anew() -> None:
    register = MemoryRegister({})
    made: list[str] = []

    def beside(who: str) -> Callable[[Callable[[], None]], None]:
        def do(job: Callable[[], None]) -> None:
            made.append(who)
            job()

        return do

    old = Guard(WORKS, rights=register, beside=beside("old"))
    new = Guard(WORKS, rights=register, beside=beside("new"), feeds=old.feeds)
    assert old.files and new.files

    async def swap() -> None:
        await new.open_rights()
        assert made == []  # both have made their files from the register itself
        made.clear()
        register.put(Change(1.0, Work("track", "4711"), RESERVED, "test", ""))
        async with asyncio.timeout(10):
            while "new" not in made:
                await asyncio.sleep(0.01)
        await new.close()

    asyncio.run(swap())
    assert set(made) == {"new"}
    assert b"/track/4711" in new.files["/robots.txt"].body


def test_files_that_another_process_made_are_made_anew_once_the_register_is_open() -> None:
    jobs: list[Callable[[], None]] = []
    guard = Guard(WORKS, rights=MemoryRegister({}), rendered=Guard(WORKS).rendered, beside=jobs.append)

    async def opened() -> None:
        await guard.open_rights()
        await guard.close()

    asyncio.run(opened())
    assert len(jobs) == 1

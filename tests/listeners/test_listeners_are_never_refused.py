"""Listener first: whoever listens, reads or serves listeners is refused nothing by any policy that ships."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from guard import Policy
from guard.load import read_policy
from guard.logs import Entry, trace
from guard.replay import REFUSALS, Outcome, Replay
from tests.listeners.lines import Line, merged
from tests.listeners.personas import PERSONAS, Persona, personas_of
from tests.listeners.platform import (
    FUNKWHALE,
    GENERIC,
    NAVIDROME,
    NO_COOKIES,
    ONE_PAGE,
    PAGES_ONLY,
    SHARING,
    SHOP,
    STATIC_ELSEWHERE,
    Platform,
)
from tests.listeners.policies import PRESETS_OF_ROUTES, SHIPPED, SITES_OF, policy_of

SEEDS = (0, 1, 2, 3, 4)
THOROUGH = ("no-ai", "strict")
"""Crowds are tried alone with one of these, and among everybody with all policies."""
NOON_S = 43_200.0
WEEK_S = 7 * 86_400.0


@lru_cache(maxsize=32)
def lines_of(persona: Persona, seed: int, site: Platform, start_s: float = NOON_S) -> tuple[Line, ...]:
    return tuple(persona.lines(seed, site, start_s))


@lru_cache(maxsize=32)
def entries_of(persona: Persona, seed: int, site: Platform) -> tuple[Entry, ...]:
    return tuple(read(line, number) for number, line in enumerate(lines_of(persona, seed, site)))


def read(line: Line, number: int) -> Entry:
    return trace.read(json.dumps(line).encode(), number)


def why(policy: Policy, outcome: Outcome) -> str:
    """What the policy says with the rule, or what detectors have found."""
    given = [one.reason for one in (*policy.rules, *policy.rows) if one.name == outcome.rule and one.reason]
    found = [f"{signal.name}: {signal.reason}" for signal in outcome.signals if signal.points > 0]
    return "; ".join(given + found) or "none given"


def refused(policy: Policy, persona: str, lines: tuple[Line, ...], entries: tuple[Entry, ...], replay: Replay) -> str:
    """What is said of the first refusal, and how many there were; "" when there was none."""
    first, number = "", 0
    for line, entry in zip(lines, entries, strict=True):
        outcome = replay.feed(entry)
        if outcome.action in REFUSALS:
            number += 1
            first = first or (
                f"'{persona}' is refused: {outcome.action} by rule '{outcome.rule}' "
                f"(reason: {why(policy, outcome)}) "
                f"at request {entry.number + 1} of {len(entries)}: {json.dumps(line)}"
            )
    return f"{first} and {number - 1} more" if number else ""


def fits(policy: Policy, persona: Persona) -> bool:
    """A verified machine is a persona only where the policy itself knows its network."""
    return not persona.verified or "applebot" in policy.site.published_networks


def seeds_of(name: str, site: Platform, persona: Persona) -> tuple[int, ...]:
    """Five seeds in all. Policies with the same platform share them, so that each has another day."""
    policies = [policy for policy, sites in SITES_OF.items() if site in sites]
    if not persona.large:
        return (SEEDS[policies.index(name) % len(SEEDS)],)
    turn = personas_of(site).index(persona) % 2
    alone = name == THOROUGH[turn] and site == GENERIC
    return (SEEDS[0],) if alone or site in (NAVIDROME, PAGES_ONLY) else ()


def everybody() -> Iterator[tuple[str, Platform, Persona]]:
    """Platform by platform and persona by persona, so that what is written once serves all policies."""
    for site in dict.fromkeys(site for sites in SITES_OF.values() for site in sites):
        for persona in personas_of(site):
            for policy, sites in SITES_OF.items():
                if site in sites and seeds_of(policy, site, persona) and fits(policy_of(policy), persona):
                    yield policy, site, persona


# -- one kind at a time ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "site", "persona"),
    [pytest.param(*one, id=f"{one[0]}, {one[1].name}: {one[2].name}") for one in everybody()],
)
def test_nobody_of_this_kind_is_refused_anything(name: str, site: Platform, persona: Persona) -> None:
    policy = policy_of(name)
    for seed in seeds_of(name, site, persona):
        lines = lines_of(persona, seed, site)
        said = refused(policy, persona.name, lines, entries_of(persona, seed, site), Replay(policy))
        assert not said, f"seed {seed}: {said}"


# -- all of them at once -----------------------------------------------------------------------------------


PART_OF_ALL = {
    ("no-ai", GENERIC): slice(0, None, 3),
    ("licensed", GENERIC): slice(1, None, 3),
    ("artists-choice", GENERIC): slice(2, None, 3),
    ("observe", GENERIC): slice(3, None, 4),
    ("no-ai", STATIC_ELSEWHERE): slice(0, None, 2),
    ("strict", NO_COOKIES): slice(1, None, 2),
    ("soundcloud-like", SHARING): slice(0, None, 2),
    ("funkwhale", FUNKWHALE): slice(1, None, 2),
    ("bandcamp-like", SHOP): slice(0, None, 2),
    ("no-ai with the routes of spa", ONE_PAGE): slice(1, None, 2),
}
"""Where others try the same crowd, or everybody would take too long: who comes."""


@lru_cache(maxsize=1)
def day_of(site: Platform) -> tuple[tuple[Persona, Line, Entry], ...]:
    """Everybody who comes to a platform, within the same three hours."""
    day: list[tuple[Persona, Line]] = []
    wanted = [PART_OF_ALL.get((name, site), slice(None)) for name, sites in SITES_OF.items() if site in sites]
    coming = {persona for part in wanted for persona in personas_of(site)[part]}
    coming = {one for one in coming if not (one.large and one.name.endswith("account known"))}  # their twins come
    for place, persona in enumerate(one for one in personas_of(site) if one in coming):
        day += [(persona, line) for line in persona.lines(len(SEEDS), site, NOON_S + place * 7919 % 10_800)]
    day.sort(key=lambda pair: pair[1]["t"])
    return tuple((persona, line, read(line, number)) for number, (persona, line) in enumerate(day))


@pytest.mark.parametrize(
    ("name", "site"),
    [
        pytest.param(name, site, id=f"{name}, {site.name}")
        for site in dict.fromkeys(site for sites in SITES_OF.values() for site in sites)
        for name, sites in SITES_OF.items()
        if site in sites
    ],
)
def test_nobody_is_refused_because_of_all_the_others(name: str, site: Platform) -> None:
    """What one does must not fall upon another."""
    policy = policy_of(name)
    part = PART_OF_ALL.get((name, site), slice(None))
    here = {persona for persona in personas_of(site)[part] if fits(policy, persona)}
    replay, told = Replay(policy), {}
    for persona, line, entry in day_of(site):
        if persona not in here:
            continue
        outcome = replay.feed(entry)
        if outcome.action in REFUSALS and persona.name not in told:
            told[persona.name] = f"{outcome.action} by '{outcome.rule}' ({why(policy, outcome)}): {json.dumps(line)}"
    assert not told, "\n".join(f"'{who}' is refused: {what}" for who, what in told.items())


def test_who_comes_every_day_is_not_refused_on_the_fifth() -> None:
    """The same people at the same hour, five days in a row: what is remembered of them must not add up."""
    policy = policy_of("strict")
    replay = Replay(policy)
    chosen = [one for one in personas_of(GENERIC) if not one.large and one.truth == "human"][::3]
    today = merged(*(persona.lines(7, GENERIC, NOON_S) for persona in chosen))
    for day in range(5):
        lines = tuple({**line, "t": line["t"] + day * 86_400} for line in today)
        entries = tuple(read(line, number) for number, line in enumerate(lines))
        said = refused(policy, "somebody of " + ", ".join(one.name for one in chosen), lines, entries, replay)
        assert not said, f"day {day + 1}: {said}"


# -- any of them -------------------------------------------------------------------------------------------

SMALL = [(policy, site, persona) for policy, site, persona in everybody() if not persona.large]


NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
"""A smaller seed is no simpler day."""


@settings(max_examples=40, phases=NO_SHRINKING)
@given(st.sampled_from(SMALL), st.integers(10, 1_000_000), st.floats(0, WEEK_S))
def test_nobody_is_refused_whatever_chance_makes_of_them(
    who: tuple[str, Platform, Persona], seed: int, start_s: float
) -> None:
    name, site, persona = who
    policy, lines = policy_of(name), tuple(persona.lines(seed, site, start_s))
    entries = tuple(read(line, number) for number, line in enumerate(lines))
    said = refused(policy, persona.name, lines, entries, Replay(policy))
    assert not said, f"{name} on {site.name}: {said}"


@settings(max_examples=12, phases=NO_SHRINKING)
@given(st.sampled_from([name for name in SITES_OF if GENERIC in SITES_OF[name]]), st.integers(10, 1_000_000), st.data())
def test_neighbours_behind_one_address_are_not_refused_for_each_other(
    name: str, seed: int, data: st.DataObject
) -> None:
    """Four kinds of people, however they come, behind one and the same address within an hour."""
    policy = policy_of(name)
    kinds = [one for one in personas_of(GENERIC) if not one.large and one.truth == "human"]
    chosen = data.draw(st.lists(st.sampled_from(kinds), min_size=4, max_size=4, unique_by=lambda one: one.name))
    parts = [one.lines(seed, GENERIC, NOON_S + place * 600) for place, one in enumerate(chosen)]
    lines = tuple({**line, "ip": "198.19.7.7"} for line in merged(*parts))
    entries = tuple(read(line, number) for number, line in enumerate(lines))
    said = refused(policy, " + ".join(one.name for one in chosen), lines, entries, Replay(policy))
    assert not said, said


# -- the suite itself --------------------------------------------------------------------------------------


def test_every_shipped_policy_and_every_preset_of_routes_has_its_platform_here() -> None:
    assert set(SHIPPED) <= set(SITES_OF)
    alone = {*PRESETS_OF_ROUTES} - {*SHIPPED}
    assert {f"no-ai with the routes of {name}" for name in alone} <= set(SITES_OF)
    assert all(personas_of(site) for sites in SITES_OF.values() for site in sites)


def test_every_persona_is_tried() -> None:
    assert {persona for _, _, persona in everybody()} == {*PERSONAS}


def test_the_personas_are_those_that_were_promised() -> None:
    names = {persona.name for persona in PERSONAS}
    promised = (
        "chrome on a desktop,firefox on a desktop,safari on a mac,safari on an iphone,app on an iphone,app on android,"
        "skips without an account,mpv with files,vlc with a list,podcast backlog,dsub,symfonium first sync,"
        "navidrome share with missing covers,nextcloud covers without extension,jellyfin home,dj who is signed in,"
        "offline download that was paid for,family of speakers,car with forty resumes,campus behind one address,"
        "commuters of a carrier,privacy browser,text browser,embed on a popular blog,flash crowd on one track"
    )
    for promise in promised.split(","):
        assert any(name == promise or name.startswith(f"{promise}, account") for name in names), promise
    assert len(names) >= 100


OURS = tuple(map(ip_network, ("198.18.0.0/15", "203.0.113.0/24", "2001:db8::/32", "17.241.0.0/16")))


def test_what_personas_write_is_a_trace_in_order_from_addresses_of_nobody() -> None:
    for persona in PERSONAS:
        written = 0
        for site in persona.sites[:1]:
            lines = persona.lines(0, site, NOON_S)
            written += len(lines)
            assert [line["t"] for line in lines] == sorted(line["t"] for line in lines)
            for number, line in enumerate(lines):
                entry = read(line, number)
                assert any(ip_address(entry.ip) in network for network in OURS), entry.ip
                assert line["path"].startswith("/") and line["t"] >= NOON_S and line["dur"] >= 0, line
                assert line["auth"] is None or line["auth"].split(":")[0] in ("user", "premium")
                assert entry.status and entry.headers
                assert "{" not in line["path"], line["path"]
        assert written, persona.name


def test_a_persona_does_the_same_for_the_same_seed_and_something_else_for_another() -> None:
    for persona in (one for one in PERSONAS if not one.large):
        site = persona.sites[0]
        assert persona.lines(1, site) == persona.lines(1, site)
        assert persona.lines(1, site) != persona.lines(2, site)


def test_the_numbers_that_others_had_to_learn_are_in_what_personas_do() -> None:
    def lines(name: str) -> list[Line]:
        persona = next(one for one in PERSONAS if one.name == name)
        return persona.lines(0, persona.sites[0])

    sync = lines("symfonium first sync, account unknown")
    assert sum("getCoverArt" in line["path"] for line in sync) == 2100
    assert sync[0]["status"] == 401
    home = lines("jellyfin home, account unknown")
    begin = home[0]["t"]
    assert len({line["path"] for line in home if line["t"] - begin <= 10}) >= 46
    share = lines("navidrome share with missing covers")
    assert sum(line["status"] == 404 for line in share) == 60
    assert {line["status"] for line in lines("nextcloud covers without extension, account unknown")} >= {200, 303, 499}
    assert len({line["ip"] for line in lines("embed on a popular blog")}) > 450
    assert len({line["ip"] for line in lines("flash crowd on one track")}) > 250
    assert (
        len({line["path"] for line in lines("offline download that was paid for") if "/media/" in line["path"]}) == 75
    )
    assert sum(line["path"].endswith(".mp3") for line in lines("podcast backlog")) >= 60
    burst = [line for line in lines("skips without an account") if "/seg" in line["path"]]
    assert max(later["t"] - sooner["t"] for sooner, later in zip(burst, burst[8:], strict=False)) > 0
    assert min(later["t"] - sooner["t"] for sooner, later in zip(burst, burst[8:], strict=False)) < 4


def test_a_refusal_is_told_with_who_what_and_why() -> None:
    text = (
        "version: 1\nsite: {name: t}\ndefault: allow\nrules:\n"
        "- {name: no text, when: {user_agent: '*Lynx*'}, then: block, reason: Pictures only.}\n"
    )
    policy = read_policy(text)
    persona = next(one for one in PERSONAS if one.name == "text browser that plays")
    lines, entries = lines_of(persona, 0, GENERIC), entries_of(persona, 0, GENERIC)
    said = refused(policy, persona.name, lines, entries, Replay(policy))
    assert said.startswith("'text browser that plays' is refused: block by rule 'no text' (reason: Pictures only.)")
    assert '"path": "/track/' in said
    assert said.endswith("more")

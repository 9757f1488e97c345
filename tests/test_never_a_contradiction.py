"""What is published and what is enforced agree, for every agent, every kind of address and every work."""

from __future__ import annotations

import json
from dataclasses import replace

import http_sf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard import Guard, PolicyError, Request, load_policy, shipped_policy
from guard.agreement import examine_rights
from guard.classify import Catalogue
from guard.directives import content_signal, content_usage, rsl, tdmrep, wellknown_ai
from guard.directives.declaration import FILE_PATHS
from guard.load import read_policy, shipped_catalogue
from guard.model import KINDS, Agent, Mode
from guard.policy import Policy
from guard.registers.plain import MemoryRegister
from guard.rights import AIPREF, PURPOSES, STRICT_KINDS, WORDS, Choice, Licence, Work
from guard.robotstxt import read_robots

from .processes import CHROME

CATALOGUE = shipped_catalogue()
HOME = "203.0.113.7"
"""Where the agents with published networks come from."""

NETWORKS = "published_networks: {GPTBot: [203.0.113.0/24], Googlebot: [203.0.113.0/24]}"
ROUTES = """
routes:
  - {class: directive, paths: [/robots.txt, /.well-known/security.txt]}
  - {class: media, paths: ["/media/**", "/stems/**", "/rest/stream*"]}
  - {class: artwork, paths: [/img/**]}
  - {class: api, paths: [/api/**]}
rights:
  source: never-opened.sqlite
  works:
    - {path: "/track/{track}"}
    - {path: "/media/{track}.mp3"}
    - {path: "/stems/{track}/**", kind: stems}
    - {path: "/api/tracks/{track}"}
    - {path: "/img/{release}.png"}
    - {path: "/artist/{artist}/**"}
    - {path: "/rest/stream*", query: id, layer: track}
"""


def policy_of(preferences: str, more: str = "") -> Policy:
    return read_policy(
        f"version: 1\nsite: {{name: x, url: 'https://x.example', {NETWORKS}}}\ndefault: allow\n"
        f"preferences: {preferences}\n{more}{ROUTES}"
    )


POLICIES = {
    "closed": policy_of("{train-ai: disallow, ai-use: disallow, search: allow}"),
    "open": policy_of("{train-ai: allow, ai-use: allow, search: allow}"),
    "silent": policy_of("{}"),
    "by kinds": policy_of("{train-ai: disallow, search: allow, audio: {ai-use: disallow}, artwork: {train-ai: allow}}"),
    "with rules of its own": policy_of(
        "{train-ai: disallow, ai-use: allow, search: allow}",
        "rules: [{name: no agents on the API, when: {category: ai-agent, route: api}, then: block},"
        " {name: no archives, when: {purpose: archive}, then: block}]\n",
    ),
}


def kinds_of_agents() -> list[Agent]:
    """One of every sort that a rule or a holder could tell apart, and those with networks of their own."""
    found: dict[object, Agent] = {}
    for agent in CATALOGUE.agents:
        if agent.robots_token and agent.samples:
            found.setdefault((agent.category, agent.purposes), agent)
    named = [CATALOGUE.by_name[name] for name in ("gptbot", "googlebot", "ccbot", "chatgpt-user")]
    return list({agent.name: agent for agent in (*named, *found.values())}.values())


EVERY_SORT = kinds_of_agents()
assert len(EVERY_SORT) >= 20
FIRST = EVERY_SORT[:4]
LISTENERS = [agent for agent in CATALOGUE.agents if agent.category in ("player", "device", "feed") and agent.samples]
FEW = Catalogue([*EVERY_SORT, *LISTENERS])
"""The catalogue without those that are dealt with like one of these: files are made anew for each example."""
AGENTS = st.lists(st.sampled_from(EVERY_SORT[4:]), min_size=3, max_size=3, unique=True).map(
    lambda some: [*FIRST, *some]
)

WORKS = {
    Work("track", "11"): (Work("release", "10"), Work("artist", "100")),
    Work("track", "12"): (Work("release", "10"), Work("artist", "100"), Work("artist", "AC/DC")),
    Work("track", "a b&c"): (Work("artist", "AC/DC"),),
    Work("release", "10"): (Work("artist", "100"), Work("label", "Loud")),
    Work("artist", "100"): (),
    Work("artist", "AC/DC"): (),
    Work("label", "Loud"): (),
}
PREFERENCES = st.dictionaries(
    st.sampled_from(["", *KINDS]),
    st.dictionaries(st.sampled_from(PURPOSES), st.sampled_from(WORDS), min_size=1, max_size=3),
    max_size=3,
)
LICENCES = st.none() | st.lists(
    st.sampled_from(
        [Licence("operator:openai", ("train-ai",)), Licence("agent:gptbot"), Licence("agent:ccbot", proof="claim")]
    ),
    max_size=2,
    unique=True,
).map(tuple)
CHOICES = st.dictionaries(st.sampled_from(list(WORKS)), st.builds(Choice, PREFERENCES, LICENCES), max_size=5)


def guard_of(policy: Policy, choices: dict[Work, Choice]) -> Guard:
    entries = {work: (choices.get(work), parents) for work, parents in WORKS.items()}
    return Guard(policy, catalogue=FEW, rights=MemoryRegister(entries))


def addresses(policy: Policy) -> dict[str, Work | None]:
    """An address of every kind for every work, and some of none; each with the work that it is of."""
    found: dict[str, Work | None] = {"/": None, "/about": None, "/media/other": None, "/api/x": None}
    for work in WORKS:
        for path, address, _ in policy.work_paths.places(work):
            found[address.replace("streamx", "stream")] = work
            assert path.narrowest == work.layer
    return found


def asked(address: str, agent: Agent) -> Request:
    path, _, query = address.partition("?")
    return Request("GET", path.encode(), agent.samples[0].encode(), HOME, query=query.encode())


def by_the_standard(field: str) -> dict[str, str]:
    """A Content-Usage field as another reader of structured fields has it."""
    parsed = http_sf.parse(field.encode(), tltype="dictionary")
    return {key: str(value[0]) for key, value in parsed.items()}  # type: ignore[union-attr, index]


def opens(choices: dict[Work, Choice]) -> bool:
    """Does a holder open anything, or license it? Works below that no file names are then open on their own answers."""
    loosening = ("open", "allow")
    words = [
        (kind, word) for one in choices.values() for kind, said in one.preferences.items() for word in said.values()
    ]
    opened = any(word == "open" or (kind in STRICT_KINDS and word in loosening) for kind, word in words)
    return opened or any(one.licences for one in choices.values())


@settings(max_examples=60)
@given(st.sampled_from(list(POLICIES)), CHOICES, AGENTS)
def test_what_is_published_and_what_is_enforced_agree(
    name: str, choices: dict[Work, Choice], agents: list[Agent]
) -> None:
    policy = POLICIES[name]
    guard = guard_of(policy, choices)
    texts = {path: reply.body.decode() for path, reply in guard.files.items()}
    robots = read_robots(texts["/robots.txt"])
    reservations = tdmrep.read(texts["/.well-known/tdmrep.json"])
    licences = rsl.read(texts["/license.xml"])
    for address, work in addresses(policy).items():
        named = work is None or work in choices
        headers = dict(guard.headers_of(guard.decide(asked(address, CATALOGUE.by_name["gptbot"]))))
        usage = by_the_standard(headers.get(b"content-usage", b"").decode()) if b"content-usage" in headers else {}
        signal = content_signal.read(headers.get(b"content-signal", b"").decode())
        # All headers of one answer say one thing.
        assert {
            purpose: signal.get(key)
            for purpose, key in (("train-ai", "ai-train"), ("ai-use", "ai-input"), ("search", "search"))
        } == {purpose: {"y": "yes", "n": "no"}.get(usage.get(purpose, "")) for purpose in AIPREF}
        assert (b"x-robots-tag" in headers) is (usage.get("train-ai") == "n")
        reserved = {"n"} & {usage.get("train-ai"), usage.get("ai-use")}
        stated = usage.keys() & {"train-ai", "ai-use"}
        assert headers.get(b"tdm-reservation") == (b"1" if reserved else (b"0" if stated else None))
        for agent in agents:
            decision = guard.decide(asked(address, agent))
            refused = decision.action == "block"
            # Who is refused for a work is refused for what its answers state, and the other way round.
            rights = guard.hold(asked(address, agent)).rights
            kind = guard.hold(asked(address, agent)).kinds[0] or policy.kind_of(decision.route_class)
            standing = rights.standing(kind, agent, decision.identity)
            assert (decision.rule == "rights") is (standing == "reserved"), (address, agent.name)
            if named:
                crawlable, told = content_usage.evaluate(robots, agent.robots_token, address)
                assert crawlable is not refused, (address, agent.name, decision.rule)
                if crawlable:
                    assert told == usage, (address, agent.name)
            elif not opens(choices):
                # What files cannot name is refused at least as much as they say: enforcement is only ever stricter.
                assert refused or robots.allowed(agent.robots_token, address), (address, agent.name)
        if named:
            for longest in (False, True):
                told = tdmrep.evaluate(reservations, address, longest=longest)
                expected = headers.get(b"tdm-reservation")
                assert told.reservation == (None if expected is None else int(expected)), (address, longest)
            for purpose, token in (("train-ai", "ai-train"), ("ai-use", "ai-input"), ("search", "search")):
                word = {"y": "permitted", "n": "prohibited"}.get(usage.get(purpose, ""), "unlicensed")
                assert rsl.evaluate(licences, address, token) == word, (address, purpose)
    assert wellknown_ai.read_text(texts["/.well-known/ai.txt"]) == wellknown_ai.read_json(texts["/.well-known/ai.json"])


@settings(max_examples=30)
@given(st.sampled_from(list(POLICIES)), CHOICES)
def test_nobody_who_listens_is_touched_by_any_choice(name: str, choices: dict[Work, Choice]) -> None:
    guard = guard_of(POLICIES[name], choices)
    assert len(LISTENERS) > 100
    for address in addresses(guard.policy):
        path, _, query = address.partition("?")
        for user_agent in (CHROME, "", *(agent.samples[0] for agent in LISTENERS[::17])):
            request = Request("GET", path.encode(), user_agent.encode(), "192.0.2.1", query=query.encode())
            assert guard.decide(request).action == "allow", (address, user_agent)


@settings(max_examples=20)
@given(CHOICES)
def test_directive_files_are_served_to_everybody_whatever_is_said(choices: dict[Work, Choice]) -> None:
    guard = guard_of(POLICIES["closed"], choices)
    for agent in EVERY_SORT:
        for path in guard.files:
            assert path in FILE_PATHS
            assert guard.decide(asked(path, agent)).action == "serve"
        assert guard.decide(asked("/.well-known/security.txt", agent)).action == "allow"


@settings(max_examples=20)
@given(CHOICES)
def test_what_only_observes_says_the_same_and_refuses_nobody(choices: dict[Work, Choice]) -> None:
    policy = POLICIES["closed"]
    assert policy.rights is not None
    watching = replace(policy, rights=replace(policy.rights, mode=Mode.OBSERVE))
    strict, lax = guard_of(policy, choices), guard_of(watching, choices)
    for address in addresses(policy):
        for agent in EVERY_SORT:
            one, other = strict.decide(asked(address, agent)), lax.decide(asked(address, agent))
            assert strict.headers_of(one) == lax.headers_of(other)
            assert other.action != "block"
            assert (one.rule == "rights") is ("rights" in other.observed)


@pytest.mark.parametrize("name", ["no-ai", "strict", "licensed", "artists-choice", "soundcloud-like"])
def test_shipped_policies_say_what_they_do(name: str) -> None:
    guard = Guard(load_policy(shipped_policy(name)))
    robots = read_robots(guard.files["/robots.txt"].body)
    for agent in EVERY_SORT:
        if agent.name.lower() in guard.policy.site.published_networks:
            continue
        for address in ("/track/4711", "/track/4712", "/media/4713.mp3", "/artist/48", "/"):
            refused = guard.decide(asked(address, agent)).action == "block"
            allowed = robots.allowed(agent.robots_token, address)
            assert not (refused and allowed and address == "/"), (agent.name, address)
            assert refused or allowed or address == "/artist/48", (agent.name, address)


def test_a_file_that_is_full_names_the_newest_works_and_counts_the_others() -> None:
    """Five thousand artists reserve: robots.txt stays below 500 KiB, and the page counts what it names."""
    entries: dict[Work, tuple[Choice | None, tuple[Work, ...]]] = {
        Work("artist", f"artist-{number:04}"): (
            Choice({"": {"train-ai": "disallow"}}, at_s=float(number)),
            (),
        )
        for number in range(5_000)
    }
    guard = Guard(POLICIES["open"], catalogue=FEW, rights=MemoryRegister(entries))
    text = guard.files["/robots.txt"].body.decode()
    assert len(text) < 500 * 1024
    named = {line.split("/")[2].rstrip("$?") for line in text.splitlines() if line.startswith("Disallow: /artist/")}
    told = json.loads(guard.files["/ai-policy.json"].body)["works"]
    assert told == {"total": 5_000, "named_in_robots_txt": len(named)}
    assert 500 < len(named) < 5_000
    assert "artist-4999" in named and "artist-0000" not in named
    assert f"# {5_000 - len(named)} more works have words of their own" in text
    robots = read_robots(text)
    assert not robots.allowed("GPTBot", "/artist/artist-4999/x")
    unnamed = guard.decide(asked("/artist/artist-0000/x", CATALOGUE.by_name["gptbot"]))
    assert unnamed.action == "block"
    assert dict(guard.headers_of(unnamed))[b"content-usage"] == b"train-ai=n, ai-use=y, search=y"


def test_a_policy_whose_files_say_something_else_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """One word turned round in one writer, and nothing of it is ever served."""
    monkeypatch.setattr(tdmrep, "state", lambda preferences: "0")
    with pytest.raises(PolicyError, match="tdm-reservation says 0"):
        _ = Guard(POLICIES["closed"], catalogue=FEW, rights=MemoryRegister({})).files


@pytest.mark.parametrize("name", ["robots.txt", "ai-policy", "ai-policy.json", "license.xml", ".well-known"])
def test_nobody_can_call_himself_like_a_file_of_ours_and_silence_it(name: str) -> None:
    policy = read_policy(
        "version: 1\nsite: {name: x}\ndefault: allow\npreferences: {train-ai: allow, ai-use: allow}\n"
        'rights: {source: r.yaml, works: [{path: "/{artist}"}, {path: "/{artist}/**"}]}\n'
    )
    reserved = Choice({"": {"train-ai": "disallow", "ai-use": "disallow"}})
    entries: dict[Work, tuple[Choice | None, tuple[Work, ...]]] = {
        Work("artist", name): (reserved, ()),
        Work("artist", "alice"): (reserved, ()),
    }
    guard = Guard(policy, catalogue=FEW, rights=MemoryRegister(entries))
    robots = read_robots(guard.files["/robots.txt"].body)
    assert guard.wrong == ()
    assert all(robots.allowed("GPTBot", path) for path in FILE_PATHS)
    assert not robots.allowed("GPTBot", "/alice")


RESERVED, OPENED = (Choice({"": {"train-ai": word, "ai-use": word}}) for word in ("disallow", "open"))
CLOSED = "{train-ai: disallow, ai-use: disallow, search: allow}"
OPEN = "{train-ai: allow, ai-use: allow, search: allow}"
STEMS = '[{path: "/track/{track}/stems/**", kind: stems}, {path: "/track/{track}/**"}]'
ACROSS = '[{class: media, paths: ["/track/*/audio", "/track/*/stems/**"]}]'
SINGLE = '[{path: "/track/{track}"}, {path: "/album/{track}/"}, {path: "/rest/stream*", query: id, layer: track}]'


@pytest.mark.parametrize(
    ("preferences", "routes", "works", "name", "choice", "addresses"),
    [
        (CLOSED, ACROSS, STEMS, "4714", OPENED, ["/track/4714/stems/x", "/track/4714/audio", "/track/4714/x/audio"]),
        (OPEN, ACROSS, STEMS, "4714", RESERVED, ["/track/4714/stems/x/y", "/track/4714/audio", "/track/4714/x"]),
        (OPEN, "[]", SINGLE, "A & B", RESERVED, ["/track/A%20%26%20B", "/track/A%20&%20B", "/rest/stream?id=A+%26+B"]),
        (OPEN, "[]", SINGLE, "(x)!", RESERVED, ["/track/(x)!", "/track/%28x%29%21", "/track/%28x%29%21?q=1"]),
        (OPEN, "[]", SINGLE, "77", RESERVED, ["/track/77/", "/track/77/?q=1", "/album/77", "/album/77/"]),
        ("{train-ai: disallow, audio: {train-ai: allow}}", '[{class: media, paths: ["/dl/*"]}]', SINGLE, "77", OPENED,
         ["/dl/b.flac", "/dl/a/b.flac"]),
        ("{train-ai: disallow, audio: {train-ai: allow}}", '[{class: media, paths: ["/*.mp3"]}]', SINGLE, "77", OPENED,
         ["/b.mp3", "/a/b.mp3", "/b.mp3/x"]),
    ],
)  # fmt: skip
def test_files_say_what_answers_say_where_paths_cross_and_names_are_spelt_otherwise(
    preferences: str, routes: str, works: str, name: str, choice: Choice, addresses: list[str]
) -> None:
    policy = read_policy(
        f"version: 1\nsite: {{name: x, url: 'https://x.example'}}\ndefault: allow\npreferences: {preferences}\n"
        f"routes: {routes}\nrights: {{source: never-opened.sqlite, works: {works}}}\n"
    )
    guard = Guard(policy, catalogue=FEW, rights=MemoryRegister({Work("track", name): (choice, ())}))
    texts = {path: reply.body.decode() for path, reply in guard.files.items()}
    assert guard.wrong == ()
    robots, reservations = read_robots(texts["/robots.txt"]), tdmrep.read(texts["/.well-known/tdmrep.json"])
    for address in addresses:
        decision = guard.decide(asked(address, CATALOGUE.by_name["ccbot"]))
        word = dict(guard.headers_of(decision))[b"tdm-reservation"]
        for longest in (False, True):
            assert tdmrep.evaluate(reservations, address, longest=longest).reservation == int(word), address
        assert robots.allowed("CCBot", address) is (decision.action != "block"), address
        reserved = rsl.evaluate(rsl.read(texts["/license.xml"]), address, "ai-train") == "prohibited"
        assert reserved is (word == b"1"), address


def test_a_work_with_an_odd_id_is_left_to_its_own_answers_and_stops_no_start() -> None:
    entries: dict[Work, tuple[Choice | None, tuple[Work, ...]]] = {
        Work("track", name): (RESERVED, ()) for name in ("..", "é" * 500, "%25" * 9, "fine")
    }
    guard = Guard(POLICIES["open"], catalogue=FEW, rights=MemoryRegister(entries))
    text = guard.files["/robots.txt"].body.decode()
    assert guard.wrong == ()
    assert "/track/fine$" in text
    assert "/track/..$" not in text and "/track/%C3%A9%C3%A9" not in text


def test_a_rule_that_no_file_can_say_is_told_by_the_check() -> None:
    rules = (
        "rules:\n"
        '  - {name: no fetchers, when: {user_agent: "*fetch*"}, then: block}\n'
        '  - {name: nor grabbers, when: {any: [{user_agent: "*grab*"}, {category: library}]}, then: block}\n'
        "  - {name: no tools, when: {category: library}, then: block}\n"
    )
    told = [str(one) for one in examine_rights(guard_of(policy_of("{train-ai: disallow}", rules), {}).declaration)]
    assert [one.split("'")[1] for one in told if "no directive file can say so" in one] == [
        "no fetchers",
        "nor grabbers",
    ]


@pytest.mark.parametrize("word", ["disallow", "open"])
def test_a_work_that_makes_the_files_wrong_is_left_out_alone(word: str, caplog: pytest.LogCaptureFixture) -> None:
    policy = read_policy(
        "version: 1\nsite: {name: x}\ndefault: allow\npreferences: {train-ai: allow, ai-use: disallow}\n"
        'routes: [{class: media, paths: ["/*.mp3"]}]\n'
        'rights: {source: never-opened.sqlite, works: [{path: "/{artist}"}, {path: "/{artist}/**"}]}\n'
    )
    entries: dict[Work, tuple[Choice | None, tuple[Work, ...]]] = {
        Work("artist", f"artist-{number}"): (RESERVED, ()) for number in range(40)
    }
    entries[Work("artist", ".mp3")] = (Choice({"metadata": {"train-ai": word, "ai-use": word}}), ())
    guard = Guard(policy, catalogue=FEW, rights=MemoryRegister(entries))
    text = guard.files["/robots.txt"].body.decode()
    assert guard.wrong
    assert "do not name artist:.mp3, for they would be wrong" in caplog.text
    assert all(f"/artist-{number}$" in text or f"/artist-{number}/" in text for number in range(40))
    assert "/.mp3" not in text

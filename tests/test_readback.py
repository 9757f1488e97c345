"""What is published is read again by strangers' eyes before it is served, and a single wrong word is found."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard import load_policy, shipped_policy
from guard.directives import FILES, content_usage, render_file, render_texts
from guard.directives.declaration import Declaration, declare
from guard.load import read_policy, shipped_catalogue
from guard.model import Agent, Identity
from guard.policy import decide
from guard.protocols import Listed
from guard.readback import CHECKS, MAX_PROBLEMS, read_back
from guard.rights import Choice, Work
from guard.robotstxt import Patterns, pattern_matches

AGENTS = shipped_catalogue()

POLICY = """
version: 1
site: {name: Readback, contact: "mailto:rights@radio.example", url: "https://radio.example"}
default: allow
preferences: {train-ai: disallow, ai-use: disallow, search: allow}
rights:
  source: register.yaml
  works:
    - {path: "/track/{track}"}
    - {path: "/media/{track}.mp3"}
    - {path: "/artist/{artist}/**"}
    - {path: "/rest/stream*", query: id, layer: track}
routes:
  - {class: media, paths: [/media/**, /rest/stream*]}
  - {class: lyrics, paths: [/lyrics/**]}
rules:
  - {name: no AI, when: {category: "ai-*", rights: [reserved, unstated]}, then: block}
"""


def choice(said: dict[str, str]) -> Choice:
    return Choice({"": said})


def works(count: int) -> Listed:
    """Works that open, that reserve more, and artists above them."""
    found = []
    for number in range(count):
        work = Work("artist" if number % 3 == 0 else "track", f"w-{number}")
        said = choice({"train-ai": "open", "ai-use": "open"} if number % 2 else {"search": "disallow"})
        found.append((work, ((work, said),)))
    found.sort(key=lambda pair: pair[0].layer != "artist")
    return Listed(tuple(found), count)


def declared(count: int = 6) -> Declaration:
    return declare(read_policy(POLICY), AGENTS, works(count))


def texts_of(declaration: Declaration) -> dict[str, str]:
    return {name: render_file(name, declaration) for name in FILES}


def enforced(declaration: Declaration) -> Callable[[Agent, str], bool]:
    """The verdict of the policy, asked as the engine asks it."""
    policy = declaration.policy
    rights = {place.work: place.rights for place in declaration.places}

    def refused(agent: Agent, address: str) -> bool:
        path, _, query = address.partition("?")
        reading = unquote(path)
        reading = reading if policy.site.case_sensitive else reading.lower()
        found = policy.work_paths.find(path.encode(), query.encode(), ()) if policy.rights else ()
        held = next((rights[work] for one in found for work in one.works if work in rights), None)
        known = policy.site.published_networks.get(agent.name.lower())
        identity = Identity.VERIFIED if known else Identity.UNVERIFIED
        if agent.category in ("browser", "unknown"):
            identity = Identity.UNKNOWN
        kind = found[0].kind if found else ""
        evidence = policy.evidence(agent, identity, reading, "GET", (), (), held, kind)
        return decide(policy, evidence).action == "block"

    return refused


def problems(declaration: Declaration, texts: dict[str, str]) -> list[str]:
    return [str(problem) for problem in read_back(declaration, texts, enforced(declaration))]


# -- what is right passes ----------------------------------------------------------------------------------------

SHIPPED = ["no-ai", "observe", "strict", "licensed", "navidrome", "funkwhale", "soundcloud-like", "bandcamp-like"]


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_reads_back_as_it_was_meant(name: str) -> None:
    declaration = declare(load_policy(shipped_policy(name)), AGENTS)
    assert problems(declaration, texts_of(declaration)) == []


@pytest.mark.parametrize("count", [0, 1, 6, 60])
def test_works_read_back_as_they_were_meant(count: int) -> None:
    declaration = declared(count)
    assert problems(declaration, texts_of(declaration)) == []


def test_every_file_is_read_back() -> None:
    assert set(CHECKS) == set(FILES)


def test_two_thousand_works_are_read_back_in_half_a_second() -> None:
    declaration = declared(2_000)
    texts = texts_of(declaration)
    refused = enforced(declaration)
    took_s = []
    for _ in range(3):
        started = time.process_time()
        assert read_back(declaration, texts, refused) == []
        took_s.append(time.process_time() - started)
    assert min(took_s) < 0.5


def test_two_thousand_works_with_a_contact_each_are_published_in_seconds_and_not_in_ten() -> None:
    """Whom to ask says nothing of who may fetch: works that differ in nothing else are asked of agents once."""
    found = []
    for number, (work, ((_, said), *_)) in enumerate(works(2_000).works):
        assert said is not None
        own = replace(said, contact=f"mailto:{number}@radio.example", licence_url=f"https://radio.example/{number}")
        found.append((work, ((work, replace(own, territory="DE", until_s=2e9 + number)),)))
    declaration = declare(load_policy(shipped_policy("artists-choice")), AGENTS, Listed(tuple(found), len(found)))
    started = time.process_time()
    texts, declaration = render_texts(declaration)
    assert read_back(declaration, texts, enforced(declaration)) == []
    assert time.process_time() - started < 3.0


# -- what is wrong is found --------------------------------------------------------------------------------------


def changed(name: str, old: str, new: str) -> list[str]:
    declaration = declared()
    texts = texts_of(declaration)
    assert old in texts[name], texts[name]
    texts[name] = texts[name].replace(old, new)
    return problems(declaration, texts)


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("/robots.txt", "Disallow: /\n", "Disallow: /x\n", "allowed to"),
        ("/robots.txt", "Content-Usage: train-ai=n, ", "Content-Usage: train-ai=y, ", "Content-Usage for"),
        ("/robots.txt", "Content-Usage: train-ai=n, ", "Content-Usage: Train-ai=n, ", "says nothing"),
        ("/robots.txt", "/artist/w-0/ train-ai=n, ai-use=n, search=n", "/artist/w-0/ search=n", "/artist/w-0/"),
        ("/robots.txt", "Allow: /robots.txt\n", "", "/robots.txt: forbidden to"),
        ("/robots.txt", "User-agent: *", "User-agent: Nobody", "no group for everybody"),
        ("/robots.txt", "User-agent: GPTBot\n", "User-agent: GPTB\u00f6t\n", "ASCII"),
        ("/robots.txt", "\n", "\r\n", "LF"),
        ("/robots.txt", "User-agent: *", "User-agent: Foo\nContent-Usage: train-ai=n\n\nUser-agent: *", "runs into"),
        ("/ai.txt", "Disallow: *.mp3", "Allow: *.mp3", "/x.mp3: allowed"),
        ("/ai.txt", "Disallow: /\n", "Allow: /\n", ""),
        ("/license.xml", "ai-all", "ai-index", "ai-train is unlicensed"),
        ("/license.xml", "<license>", "<license", "no well-formed XML"),
        ("/license.xml", "ai-all", "train-ai", "train-ai"),
        (
            "/.well-known/tdmrep.json",
            '"location": "/", "tdm-reservation": 1',
            '"location": "/", "tdm-reservation": 0',
            "/: ",
        ),
        ("/.well-known/tdmrep.json", '"tdm-reservation": 1', '"tdm-reservation": "1"', "says None"),
        ("/.well-known/tdmrep.json", "[", "", "no JSON"),
        ("/.well-known/tdm-policy.json", "tdm:mine", "tdm:yours", "tdm:mine"),
        ("/.well-known/tdm-policy.json", '"Offer"', '"Set"', "@type says 'Set'"),
        ("/.well-known/ai.txt", "Training-Allow: ", "Training-Deny: ", "trainingPaths"),
        ("/.well-known/ai.json", '"deny"', '"allow"', ""),
        ("/.well-known/ai.json", "{", "[", "no JSON"),
    ],
)
def test_one_wrong_word_is_found_and_told_with_its_file(name: str, old: str, new: str, told: str) -> None:
    found = changed(name, old, new)
    assert found
    assert all(problem.startswith(f"{name}: ") for problem in found)
    assert any(told in problem for problem in found), found
    assert len(found) <= MAX_PROBLEMS


def test_the_first_and_the_longest_rule_must_say_the_same() -> None:
    declaration = declared()
    texts = texts_of(declaration)
    rules = json.loads(texts["/.well-known/tdmrep.json"])
    texts["/.well-known/tdmrep.json"] = json.dumps(rules[::-1])
    found = problems(declaration, texts)
    assert any("its first rule" in problem for problem in found)
    assert not any("its longest rule" in problem for problem in found)


def test_an_engine_that_refuses_others_than_the_file_says_is_found() -> None:
    declaration = declared()
    texts = texts_of(declaration)
    for answer, told in ((True, "who is refused there"), (False, "who is let through there")):
        found = read_back(declaration, texts, lambda agent, address, answer=answer: answer)  # type: ignore[misc]
        assert any(told in str(problem) for problem in found)


def test_a_header_that_says_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    declaration = declared()
    texts = texts_of(declaration)
    monkeypatch.setattr(content_usage, "_VALUE", {"allow": "n", "disallow": "y"})
    assert any(problem.startswith("headers: everything: Content-Usage") for problem in problems(declaration, texts))


def test_an_empty_file_says_nothing_and_that_is_found() -> None:
    declaration = declared()
    for name in FILES:
        assert problems(declaration, {name: ""}), name


# -- finding patterns quickly ------------------------------------------------------------------------------------

PATTERNS = st.text(alphabet="/ab*$", max_size=6)


@settings(max_examples=500)
@given(st.lists(PATTERNS, max_size=8), st.text(alphabet="/ab$", max_size=8))
def test_filed_patterns_match_what_each_of_them_matches(patterns: list[str], path: str) -> None:
    filed = Patterns((pattern, number) for number, pattern in enumerate(patterns))
    wanted = [(pattern, number) for number, pattern in enumerate(patterns) if pattern_matches(pattern, path)]
    assert filed.matching(path) == wanted
    assert filed.starred == sum("*" in pattern for pattern in patterns)

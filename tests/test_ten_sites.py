"""Ten sites of different shape: every reader of their robots.txt that people use comes to the same end as ours."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from urllib.parse import quote

import pytest
from protego import Protego

from guard import load_policy, shipped_policy
from guard.directives import render_file
from guard.directives.declaration import OPEN_PATHS, Declaration, declare
from guard.directives.merge import merge
from guard.load import read_policy, shipped_catalogue
from guard.patterns import specimen
from guard.protocols import Listed
from guard.rights import Choice, Work
from guard.robotstxt import Robots, read_robots

AGENTS = shipped_catalogue()
NO_WHEEL = "fast-robotstxt has no wheel for this Python"

WORKS = """
version: 1
site: {name: Works, url: "https://radio.example", sitemap: "https://radio.example/sitemap.xml"}
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
  - {class: artwork, paths: ["/img/*/cover"]}
rules:
  - {name: no AI, when: {category: "ai-*"}, then: block}
"""

CLOSED = """
version: 1
site: {name: Closed, case_sensitive: true}
default: block
preferences: {train-ai: disallow, audio: {search: disallow}}
routes:
  - {class: media, paths: ["/hls/**", "/**/*.mp3"]}
  - {class: manifest, paths: ["/hls/**/*.m3u8"]}
rules:
  - {name: search, when: {purpose: search, route: [page, manifest]}, then: allow}
  - {name: press, when: {path: ["/presse/büro/**", /press/**]}, then: allow}
"""

OPEN = """
version: 1
site: {name: Open}
default: allow
preferences: {train-ai: allow, ai-use: allow, search: allow}
rules:
  - {name: one, when: {agent: GPTBot, path: /members/**}, then: block}
  - {name: other, when: {agent: CCBot, path: [/members/open/**, /a/b/*.html]}, then: block}
"""

THEIRS = b"""User-agent: *
Disallow: /admin/
Disallow: /*?s=
Allow: /admin/ajax
Disallow: /*.php$
User-agent: Googlebot
User-agent: bingbot
Disallow: /tmp
Crawl-delay: 3

User-agent: AhrefsBot
Disallow: /
"""


def listed(words: str, count: int) -> Listed:
    """Works with one word each, in turn."""
    found = []
    for number in range(count):
        layer = "artist" if number % 4 == 0 else "track"
        work = Work(layer, f"{'ö b' if number % 3 else 'x'}{number}")
        word = words.split()[number % len(words.split())]
        found.append((work, ((work, Choice({"": {"train-ai": word, "ai-use": word}})),)))
    return Listed(tuple(found), count)


def shipped(name: str) -> Declaration:
    return declare(load_policy(shipped_policy(name)), AGENTS)


SITES: dict[str, Callable[[], Declaration]] = {
    "no AI": lambda: shipped("no-ai"),
    "strict": lambda: shipped("strict"),
    "licensed": lambda: shipped("licensed"),
    "navidrome": lambda: shipped("navidrome"),
    "funkwhale": lambda: shipped("funkwhale"),
    "like SoundCloud": lambda: shipped("soundcloud-like"),
    "like Bandcamp": lambda: shipped("bandcamp-like"),
    "works": lambda: declare(read_policy(WORKS), AGENTS, listed("open disallow", 40)),
    "closed": lambda: declare(read_policy(CLOSED), AGENTS),
    "open": lambda: declare(read_policy(OPEN), AGENTS),
}


@cache
def site(name: str) -> tuple[Declaration, str]:
    declaration = SITES[name]()
    return declaration, render_file("/robots.txt", declaration)


def addresses(declaration: Declaration) -> Iterator[str]:
    """Under and beside each path of the policy, with and without a query; of each work; what is never refused."""
    policy = declaration.policy
    patterns = dict.fromkeys(path for entry in policy.routes for path in entry.paths)
    yield from ("/", "/a", "/admin/ajax", "/admin/x", "/x.php", "/tmp", "/a?s=1", *OPEN_PATHS)
    for pattern in (*patterns, *policy.rule_patterns.patterns):
        address = quote(specimen(pattern), safe="/!$&'()+,;=:@-._~")
        yield address
        yield f"{address}?sig=1"
        stem = quote(specimen(pattern.removesuffix("/**")), safe="/!$&'()+,;=:@-._~") or "/"
        yield from (stem, f"{stem}x")  # where a `$` ends the one, and not the other
    for place in declaration.places:
        yield place.address


def tokens_of(robots: Robots) -> list[str]:
    return [*dict.fromkeys(named.written for group in robots.groups for named in group.agents if not named.everybody)]


def asked(robots: Robots, joined: bool) -> list[str]:
    """Every token; in the joined files the first and the last of each group, for the others stand beside them."""
    if not joined:
        return [*tokens_of(robots), "Nobody"]
    ends = [named for group in robots.groups for named in (group.agents[0], group.agents[-1]) if not named.everybody]
    return [*dict.fromkeys(named.written for named in ends), "Nobody"]


def as_named(robots: Robots, token: str, address: str) -> bool:
    """By our matcher, as a reader sees it for whom digits belong to a name (AI2Bot): Google cuts names there."""
    own = [group for group in robots.groups if any(one.written.lower() == token.lower() for one in group.agents)]
    if not own:
        return robots.allowed("Nobody", address)
    return Robots((own[0],), (), ()).allowed(own[0].agents[0].token or "", address)


@pytest.mark.parametrize("joined", [False, True], ids=["alone", "joined with the platform's"])
@pytest.mark.parametrize("name", SITES)
def test_protego_reads_it_as_we_do(name: str, joined: bool) -> None:
    declaration, text = site(name)
    text = merge(text, THEIRS).text if joined else text
    robots, other = read_robots(text), Protego.parse(text)
    for token in asked(robots, joined):
        for address in dict.fromkeys(addresses(declaration)):
            wanted = as_named(robots, token, address)
            assert other.can_fetch(f"https://radio.example{address}", token) is wanted, (token, address)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason=NO_WHEEL)
@pytest.mark.parametrize("joined", [False, True], ids=["alone", "joined with the platform's"])
@pytest.mark.parametrize("name", SITES)
def test_google_reads_it_as_we_do(name: str, joined: bool) -> None:
    google = pytest.importorskip("robotstxt").RobotsMatcher()
    declaration, text = site(name)
    text = merge(text, THEIRS).text if joined else text
    robots = read_robots(text)
    for token in asked(robots, joined):
        for address in dict.fromkeys(addresses(declaration)):
            wanted = robots.allowed(token, address)
            assert google.is_allowed(text, token, f"https://radio.example{address}") is wanted, (token, address)


def test_there_are_ten_and_they_differ() -> None:
    assert len(SITES) == 10
    assert len({site(name)[1] for name in SITES}) == 10

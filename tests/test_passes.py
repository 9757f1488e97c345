"""Challenges: a page that asks to come back in a moment with a cookie, and the cookie that says that somebody did."""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.model import UNKNOWN_AGENT, Client, Identity
from guard.passes import COOKIE, GOOD_S, MAX_PREFIXES, WAIT_S, Passes
from guard.places import read_place
from guard.shape import untold_shape
from guard.sights import Sight
from tests.edges import EDGES, Ask, Through
from tests.visitors import CHROME, CURL, FIREFOX, Fields, Site, by

pytestmark = pytest.mark.anyio

CHROME_UA, FIREFOX_UA = CHROME.user_agent.encode(), FIREFOX.user_agent.encode()
NOON_S = 1_795_000_000.0
PASSES = Passes(b"a secret")


def sight_of(user_agent: bytes = CHROME_UA, wall_s: float = NOON_S, prefix: bytes = b"\xcb\x00\x71") -> Sight:
    place = read_place("/track/1", "", "page", "GET")
    client = Client("203.0.113.9", b"key", prefix)
    shape = untold_shape(UNKNOWN_AGENT, user_agent)
    return Sight(0.0, client, UNKNOWN_AGENT, Identity.UNKNOWN, shape, place, "GET", user_agent, wall_s=wall_s)


def cookie_of(value: bytes) -> bytes:
    return COOKIE + b"=" + value


# -- a pass --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age_s", "good"), [(-1, False), (0, False), (0.9, False), (1, True), (60, True), (3_600, True), (3_601, False)]
)
def test_a_pass_is_good_from_a_second_to_an_hour(age_s: float, good: bool) -> None:
    value = PASSES.make(CHROME_UA, NOON_S)
    assert PASSES.holds(cookie_of(value), sight_of(wall_s=NOON_S + age_s)) is good


def test_a_pass_is_found_among_other_cookies() -> None:
    value = PASSES.make(CHROME_UA, NOON_S)
    later = sight_of(wall_s=NOON_S + 5)
    assert PASSES.holds(b"sid=1; " + cookie_of(value) + b"; theme=dark", later)
    assert PASSES.holds(b"sid=1;" + cookie_of(value), later)
    assert not PASSES.holds(b"", later)
    assert not PASSES.holds(b"my_" + cookie_of(value), later)


def test_a_pass_is_for_one_browser() -> None:
    value = PASSES.make(CHROME_UA, NOON_S)
    assert not PASSES.holds(cookie_of(value), sight_of(FIREFOX_UA, NOON_S + 5))
    assert PASSES.holds(cookie_of(value), sight_of(CHROME_UA, NOON_S + 5))


def test_a_pass_is_for_no_address_but_not_for_everybody() -> None:
    value = cookie_of(PASSES.make(CHROME_UA, NOON_S))
    used = [PASSES.holds(value, sight_of(wall_s=NOON_S + 5 + n, prefix=b"p%d" % n)) for n in range(20)]
    assert used == [True] * MAX_PREFIXES + [False] * (20 - MAX_PREFIXES)
    assert not PASSES.holds(value, sight_of(wall_s=NOON_S + 60, prefix=b"p0"))  # it has been shared around
    other = cookie_of(PASSES.make(CHROME_UA, NOON_S))
    assert all(PASSES.holds(other, sight_of(wall_s=NOON_S + 5 + n)) for n in range(500))  # one place, all day


def test_workers_of_one_secret_know_each_others_passes_and_no_one_elses() -> None:
    value = cookie_of(PASSES.make(CHROME_UA, NOON_S))
    later = sight_of(wall_s=NOON_S + 5)
    assert Passes(b"a secret").holds(value, later)
    assert not Passes(b"another").holds(value, later)
    assert not Passes().holds(value, later)
    own = Passes()
    assert own.holds(cookie_of(own.make(CHROME_UA, NOON_S)), later)


def test_no_two_passes_are_alike() -> None:
    assert len({PASSES.make(CHROME_UA, NOON_S) for _ in range(500)}) == 500


@given(st.binary(max_size=200), st.integers(0, 60), st.integers(0, 255))
def test_no_forged_pass_is_good(forged: bytes, at: int, octet: int) -> None:
    real = PASSES.make(CHROME_UA, NOON_S)
    later = sight_of(wall_s=NOON_S + 5)
    assert not PASSES.holds(cookie_of(forged), later)
    changed = bytearray(real)
    changed[at % len(real)] = octet
    if bytes(changed) != real and b";" not in changed:
        assert not PASSES.holds(cookie_of(bytes(changed)), later) or bytes(changed).strip() == real


@given(st.integers(0, 10**13))
def test_no_pass_is_made_younger(made: int) -> None:
    moment, chance, mac = PASSES.make(CHROME_UA, NOON_S - 2 * GOOD_S).split(b".")
    forged = b".".join((b"%d" % made, chance, mac))
    assert forged == b".".join((moment, chance, mac)) or not PASSES.holds(cookie_of(forged), sight_of())


def test_what_is_too_long_is_not_even_read() -> None:
    value = PASSES.make(CHROME_UA, NOON_S)
    assert len(value) < 128
    later = sight_of(wall_s=NOON_S + 5)
    assert not PASSES.holds(cookie_of(value + b"x" * 200), later)
    assert not PASSES.holds(cookie_of(b"1" * 100_000 + b"." + value), later)
    assert not PASSES.holds(b"a=b; " * 100_000 + cookie_of(value), later)


def test_the_cookie_is_only_for_the_guard() -> None:
    name, _, rest = PASSES.cookie(CHROME_UA, NOON_S, secure=True).partition(b"=")
    assert name == b"guard_pass"
    flags = rest.split(b"; ")[1:]
    assert flags == [b"Path=/", b"Max-Age=3600", b"HttpOnly", b"SameSite=Lax", b"Secure"]
    assert b"Secure" not in PASSES.cookie(CHROME_UA, NOON_S, secure=False)


def test_what_was_used_is_remembered_in_bounds() -> None:
    passes = Passes(os.urandom(8))
    for number in range(12_000):
        passes.holds(cookie_of(passes.make(CHROME_UA, NOON_S)), sight_of(wall_s=NOON_S + 5, prefix=b"%d" % number))
    assert len(passes._used) <= 2 * passes._used.capacity < 12_000


# -- through the middleware and the sidecar ------------------------------------------------------------------


def doubtful(dest: str = "document", **more: str) -> Fields:
    """Chrome without its client hints, and without a language: 22 points."""
    fields = by(CHROME, dest, site="none", **more)
    return {name: value for name, value in fields.items() if not name.startswith((b"sec-ch", b"accept-language"))}


@EDGES
async def test_a_challenge_is_a_page_without_script_that_comes_back_by_itself(through: Through) -> None:
    async def story(ask: Ask) -> None:
        answer = await ask("/track/1", doubtful())
        assert answer.status == 429
        assert answer.fields["retry-after"] == "2"
        assert answer.fields["content-type"] == "text/html; charset=utf-8"
        assert answer.fields["cache-control"] == "no-store"
        assert answer.fields["x-guard-decision"].encode() in answer.body
        assert re.match(r"guard_pass=[0-9]+\.[0-9a-f]{12}\.[0-9a-f]{24}; Path=/; ", answer.fields["set-cookie"])
        assert answer.fields["set-cookie"].endswith("; Secure")
        assert b'<meta http-equiv="refresh" content="2">' in answer.body
        assert b"<script" not in answer.body.lower() and b"javascript:" not in answer.body.lower()
        assert b"us@music.example" in answer.body
        assert "default-src 'none'" in answer.fields["content-security-policy"]

    await through(Site("challenge: true"), story)


@EDGES
async def test_who_comes_back_with_the_cookie_after_a_moment_passes(through: Through) -> None:
    site = Site("challenge: true")

    async def story(ask: Ask) -> None:
        cookie = (await ask("/track/1", doubtful())).cookie
        hurried = await ask("/track/1", doubtful() | {b"cookie": cookie})
        assert hurried.status == 429  # a second has to go by
        site.later(2)
        for number in range(1, 12):
            assert (await ask(f"/track/{number}", doubtful() | {b"cookie": b"a=b; " + cookie})).status == 200
            site.later(240)
        site.later(GOOD_S)
        again = await ask("/track/1", doubtful() | {b"cookie": cookie})
        assert again.status == 429 and again.cookie != cookie  # an hour is over

    await through(site, story)


@EDGES
async def test_a_pass_of_another_browser_is_none(through: Through) -> None:
    site = Site("challenge: true")

    async def story(ask: Ask) -> None:
        cookie = (await ask("/track/1", doubtful())).cookie
        site.later(5)
        other = doubtful() | {b"user-agent": CHROME_UA.replace(b"157", b"156"), b"cookie": cookie}
        assert (await ask("/track/1", other)).status == 429

    await through(site, story)


@EDGES
async def test_who_keeps_no_cookies_is_asked_three_times_and_never_loops(through: Through) -> None:
    site = Site("challenge: true")

    async def story(ask: Ask) -> None:
        statuses = []
        for _ in range(12):
            statuses.append((await ask("/track/1", doubtful())).status)
            site.later(3)
        assert statuses == [429] * 3 + [200] * 9

    await through(site, story)


@EDGES
async def test_only_pages_are_challenged(through: Through) -> None:
    async def story(ask: Ask) -> None:
        for target, dest, method in [
            ("/track/1", "empty", "POST"),
            ("/track/1", "document", "HEAD"),
            ("/media/1.mp3", "audio", "GET"),
            ("/hls/1/index.m3u8", "empty", "GET"),
            ("/hls/1/seg-1.m4s", "empty", "GET"),
            ("/api/tracks/1", "empty", "GET"),
            ("/api/tracks/1", "empty", "HEAD"),
            ("/img/1.jpg", "image", "GET"),
            ("/static/app.css", "style", "GET"),
            ("/feeds/1.xml", "empty", "GET"),
            ("/robots.txt", "document", "GET"),
        ]:
            answer = await ask(target, doubtful(dest), method)
            assert answer.status == 200, target
            assert "set-cookie" not in answer.fields

    await through(Site("challenge: true"), story)


@EDGES
async def test_a_search_page_is_challenged_and_a_search_by_script_is_not(through: Through) -> None:
    async def story(ask: Ask) -> None:
        assert (await ask("/search?q=blue", doubtful("empty"))).status == 200
        assert (await ask("/search?q=blue", doubtful())).status == 429

    await through(Site("challenge: true"), story)


@EDGES
async def test_nobody_is_challenged_where_the_policy_does_not_ask_for_it(through: Through) -> None:
    async def story(ask: Ask) -> None:
        answers = [await ask("/track/1", doubtful()) for _ in range(4)]
        assert [answer.status for answer in answers] == [200] * 4
        assert not any("set-cookie" in answer.fields for answer in answers)

    await through(Site(), story)
    await through(Site("challenge: true, mode: observe"), story)


@EDGES
async def test_whole_browsers_and_honest_programs_are_not_challenged(through: Through) -> None:
    async def story(ask: Ask) -> None:
        for fields in (
            by(CHROME, "document", site="none"),
            by(FIREFOX, "document", site="none"),
            CURL,
            {b"host": b"x"},
        ):
            assert (await ask("/track/1", fields)).status == 200

    await through(Site("challenge: true"), story)


def test_a_wait_is_shorter_than_what_is_told() -> None:
    assert WAIT_S < 2.0

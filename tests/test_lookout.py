"""Who takes the catalogue is stopped within so many requests, its nearest listener is not: a story for each detector.

Each site has had a morning: thirty people were all over its catalogue, so that it is known how pages look here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard import Request, detectors
from guard.load import read_policy
from guard.lookout import LONGEST_S, MAX_IN_FLIGHT, MAX_WAITING, begin
from guard.memo import Memo
from guard.model import UNKNOWN_AGENT, Client, Decision, Identity
from guard.places import read_place
from guard.shape import read_shape
from guard.sights import Sight
from guard.watch import succeed
from guard.watching import Told
from tests.listeners import browsers
from tests.visitors import CHROME, CURL, FIREFOX, HOST, MPV, PYTHON, Fields, Site, by, count_until, names_of, policy_of

HERE = f"https://{HOST}/"
REFUSED = frozenset(("refuse", "block", "challenge"))


def some_id(number: int) -> int:
    """Ids as people ask for them: all over."""
    return 1_000 + number * 9_973 % 900_000


def opens(sid: str = "", site: str = "none", **more: str) -> Fields:
    return by(CHROME, "document", sid, site=site, **more)


def calls(sid: str = "listener") -> Fields:
    """A call as a page makes it."""
    return by(CHROME, "empty", sid, referer=HERE)


GOOGLEBOT: Fields = {
    b"host": HOST.encode(),
    b"user-agent": b"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    b"accept": b"text/html,application/xhtml+xml,application/signed-exchange;v=b3,application/xml;q=0.9,*/*;q=0.8",
    b"accept-encoding": b"gzip, deflate, br",
}
SONOS: Fields = {
    b"host": HOST.encode(),
    b"user-agent": b"Linux UPnP/1.0 Sonos/85.0-64200 (ZPS12)",
    b"accept": b"*/*",
    b"range": b"bytes=0-",
}
GOOGLE = ", published_networks: {googlebot: [66.249.64.0/19]}"
W3M: Fields = {
    b"host": HOST.encode(),
    b"user-agent": b"w3m/0.5.3+git20230121",
    b"accept": b"text/html, text/*;q=0.5, image/*",
    b"accept-encoding": b"gzip, compress, bzip, bzip2, deflate",
    b"accept-language": b"en;q=1.0",
}


# -- one ear -------------------------------------------------------------------------------------------------

Story = Callable[[Site], Iterator[Decision]]


def liar(site: Site) -> Iterator[Decision]:
    yield site.ask("/track/1", GOOGLEBOT, "203.0.113.9")


def the_real_one(site: Site) -> Iterator[Decision]:
    for number in range(300):
        yield site.ask(f"/track/{number}", GOOGLEBOT, "66.249.64.9", after_s=1)


def into_the_trap(site: Site) -> Iterator[Decision]:
    yield site.ask("/trap/of-doors", opens(), "203.0.113.9")


def beside_the_trap(site: Site) -> Iterator[Decision]:
    yield from site.visit(5, "203.0.113.9", sid="listener")
    yield site.ask("/trapped", opens("listener"), "203.0.113.9")


def pages_of_a_library(site: Site) -> Iterator[Decision]:
    for number in range(12):
        yield site.ask(f"/track/{some_id(number)}", PYTHON, after_s=9)


def pages_from_outside(site: Site) -> Iterator[Decision]:
    for number in range(24):
        yield site.ask(f"/track/{some_id(number)}", opens(), after_s=9)


def pages_from_page_to_page(site: Site) -> Iterator[Decision]:
    for number in range(50):
        yield site.ask(f"/track/{some_id(number)}", opens("kept", "same-origin", referer=HERE), after_s=9)


def twenty_pages_in_a_text_browser(site: Site) -> Iterator[Decision]:
    for number in range(20):
        yield site.ask(f"/track/{some_id(number)}", W3M | {b"cookie": b"sid=w3m", b"referer": HERE.encode()}, after_s=9)


def a_reader_with_images_and_styles(site: Site) -> Iterator[Decision]:
    for number in range(60):
        yield from site.visit(some_id(number), "203.0.113.9", sid="listener")
        site.later(60)


def data_opened_as_pages(site: Site) -> Iterator[Decision]:
    for number in range(6):
        yield site.ask(f"/api/tracks/{some_id(number)}", opens(), after_s=9)


def data_opened_as_pages_with_a_cookie(site: Site) -> Iterator[Decision]:
    for number in range(6):
        yield site.ask(f"/api/tracks/{some_id(number)}", opens("kept"), after_s=9)


def a_person_who_sends_forms(site: Site) -> Iterator[Decision]:
    """Without script, and with the styles in the cache."""
    for _ in range(8):
        yield site.ask("/comments", opens("listener", "same-origin", referer=HERE), after_s=30)
        yield site.ask("/comments", opens("listener", "same-origin", referer=HERE), method="POST", after_s=30)


def a_person_who_looks_at_json(site: Site) -> Iterator[Decision]:
    yield from site.visit(5, "203.0.113.9", sid="listener")
    for _ in range(2):
        yield site.ask("/api/tracks/5", opens("listener"), after_s=60)


def music_cold(site: Site) -> Iterator[Decision]:
    """Each from an address of its own, as a swarm does; the first may have it all in its cache."""
    for member in range(4):
        site.ask(f"/track/{some_id(member)}", opens(), f"203.{member}.113.9", after_s=60)
        yield site.ask(f"/hls/{some_id(member)}/index.m3u8", calls(""), f"203.{member}.113.9", after_s=2)


def music_warm(site: Site) -> Iterator[Decision]:
    for member in range(4):
        yield from site.visit(some_id(member), f"203.{member}.113.9", sid=f"warm-{member}")
        yield site.ask(f"/hls/{some_id(member)}/index.m3u8", calls(f"warm-{member}"), f"203.{member}.113.9", after_s=2)


def data_of_a_library(site: Site) -> Iterator[Decision]:
    for number in range(30):
        yield site.ask(f"/api/tracks/{some_id(number)}", PYTHON, after_s=9)


def what_is_playing_now(site: Site) -> Iterator[Decision]:
    for _ in range(120):
        yield site.ask("/api/now", PYTHON, after_s=15)


def an_app_with_a_token(site: Site) -> Iterator[Decision]:
    for number in range(120):
        yield site.ask(f"/api/tracks/{some_id(number)}", PYTHON | {b"authorization": b"Bearer x"}, after_s=9)


def calls_of_no_page(site: Site) -> Iterator[Decision]:
    for number in range(70):
        yield site.ask(f"/api/tracks/{some_id(number)}", calls(), after_s=9)


def calls_of_a_page(site: Site) -> Iterator[Decision]:
    for number in range(120):
        yield site.ask(f"/api/tracks/{some_id(number)}", calls(), after_s=9)
        yield site.ask(f"/img/{some_id(number)}.jpg", by(CHROME, "image", "listener", referer=HERE), after_s=0.3)


def two_hundred_pages_an_hour(site: Site) -> Iterator[Decision]:
    for number in range(220):
        yield site.ask(f"/track/{some_id(number)}", opens("kept", "same-origin", referer=HERE), after_s=14)
        site.ask(f"/img/{some_id(number)}.jpg", by(CHROME, "image", "kept", referer=HERE), after_s=1)


def sixty_pages_an_hour(site: Site) -> Iterator[Decision]:
    for number in range(180):
        yield site.ask(f"/track/{some_id(number)}", opens("kept", "same-origin", referer=HERE), after_s=59)
        site.ask(f"/img/{some_id(number)}.jpg", by(CHROME, "image", "kept", referer=HERE), after_s=1)


def covers_of_a_library(site: Site) -> Iterator[Decision]:
    for number in range(26):
        yield site.ask(f"/img/{some_id(number)}.jpg", CURL, after_s=9)


def covers_of_a_browser(site: Site) -> Iterator[Decision]:
    for number in range(46):
        yield site.ask(f"/img/{some_id(number)}.jpg", by(CHROME, "image"), after_s=9)


def covers_on_a_page_elsewhere(site: Site) -> Iterator[Decision]:
    for number in range(100):
        headers = by(CHROME, "image", site="cross-site", referer="https://blog.example/")
        yield site.ask(f"/img/{some_id(number)}.jpg", headers, after_s=1)


def one_id_after_the_other(site: Site) -> Iterator[Decision]:
    for number in range(40):
        yield site.ask(f"/api/tracks/{500_000 + number}", calls(), after_s=9)


def an_album_of_fourteen(site: Site) -> Iterator[Decision]:
    yield from site.visit(500_000, "203.0.113.9", sid="listener")
    for number in range(14):
        yield site.ask(f"/api/tracks/{500_000 + number}", calls(), after_s=9)


def search_results_page_by_page(site: Site) -> Iterator[Decision]:
    for number in range(30):
        yield site.ask(f"/api/search?q=love&offset={20 * number}", calls(), after_s=9)


def two_letters_at_a_time(site: Site) -> Iterator[Decision]:
    for number in range(30):
        yield site.ask(f"/api/search?q={'abcdef'[number // 6]}{'abcdef'[number % 6]}", calls(), after_s=9)


def searching_as_one_types(site: Site) -> Iterator[Decision]:
    for number in range(90):
        yield site.ask(f"/api/search?q={'blue in green'[: 1 + number % 13]}", calls(), after_s=0.4)


def feed_after_feed(site: Site) -> Iterator[Decision]:
    for number in range(24):
        yield site.ask(f"/feeds/{some_id(number)}.xml", PYTHON, after_s=9)


def a_dozen_feeds_with_bad_manners(site: Site) -> Iterator[Decision]:
    for number in range(48):
        yield site.ask(f"/feeds/{some_id(number % 12)}.xml", PYTHON, after_s=300)


def sizes_of_everything(site: Site) -> Iterator[Decision]:
    for number in range(40):
        yield site.ask(f"/media/{some_id(number)}.mp3", PYTHON, method="HEAD", after_s=9)


def the_size_before_playing(site: Site) -> Iterator[Decision]:
    for number in range(15):
        yield site.ask(f"/media/{some_id(number)}.mp3", MPV, method="HEAD", after_s=240)
        yield site.ask(f"/media/{some_id(number)}.mp3", MPV, size=3_800_000)


def sitemap_after_sitemap(site: Site) -> Iterator[Decision]:
    for number in range(14):
        yield site.ask(f"/sitemap-{number}.xml", opens(), after_s=9)


def one_sitemap(site: Site) -> Iterator[Decision]:
    yield site.ask("/sitemap-0.xml", opens(), after_s=9)
    yield from site.visit(5, "203.0.113.9", sid="listener")


def tracks_nobody_can_hear(site: Site) -> Iterator[Decision]:
    for number in range(20):
        yield site.ask(f"/media/{some_id(number)}.mp3", CURL, size=4_000_000, after_s=5)


def a_player_all_day_long(site: Site) -> Iterator[Decision]:
    for number in range(100):
        yield site.ask(f"/media/{some_id(number)}.mp3", MPV, size=4_000_000, after_s=240)


def a_dj_with_an_account(site: Site) -> Iterator[Decision]:
    for number in range(47):
        headers = by(CHROME, "audio", "dj")
        yield site.ask(f"/media/{some_id(number)}.mp3", headers, size=5_000_000, account=b"dj", after_s=60)


def another_session_for_each_track(site: Site) -> Iterator[Decision]:
    for number in range(60):
        yield site.ask(f"/media/{some_id(number)}.mp3", by(CHROME, "audio", f"s{number}"), size=4_000_000, after_s=5)


def a_class_in_one_room(site: Site) -> Iterator[Decision]:
    """Thirty people behind one address; each hears one track and has the page that plays it."""
    for number in range(30):
        yield from site.visit(some_id(number), "203.0.113.9", sid=f"pupil-{number}")
        headers = by(CHROME, "audio", f"pupil-{number}")
        yield site.ask(f"/media/{some_id(number)}.mp3", headers, size=4_000_000, after_s=5)


def sixty_tracks_an_hour(site: Site) -> Iterator[Decision]:
    """A speaker's name: more of those may be behind one address than of any other."""
    for number in range(70):
        yield site.ask(f"/media/{some_id(number)}.mp3", SONOS, size=2_400_000, after_s=40)


def parts_of_a_track_at_once(site: Site) -> Iterator[Decision]:
    for part in range(6):
        yield site.ask(f"/hls/77/seg-{part}.m4s", calls(), holds=True)


def two_parts_at_once(site: Site) -> Iterator[Decision]:
    yield site.ask("/hls/77/seg-0.m4s", calls(), holds=True)
    for part in range(1, 40):
        yield site.ask(f"/hls/77/seg-{part}.m4s", calls(), after_s=9)


def one_file_in_pieces_at_once(site: Site) -> Iterator[Decision]:
    for part in range(6):
        ranges = {b"range": b"bytes=%d-%d" % (part * 1_000, part * 1_000 + 999)}
        yield site.ask("/media/77.mp3", CURL | ranges, holds=True)


def one_piece_after_the_other(site: Site) -> Iterator[Decision]:
    for part in range(40):
        ranges = {b"range": b"bytes=%d-%d" % (part * 1_000, part * 1_000 + 999)}
        yield site.ask("/media/77.mp3", MPV | ranges, after_s=1)


def more_downloads_than_are_given(site: Site) -> Iterator[Decision]:
    for number in range(50):
        yield site.ask(f"/get/{some_id(number)}", calls(), account=b"ann", after_s=60)


def all_downloads_that_are_given(site: Site) -> Iterator[Decision]:
    for number in range(200):
        yield site.ask(f"/get/{some_id(number % 40)}", calls(), account=b"bob", after_s=60)


WORDS = "traps: [/trap/**], downloads: [/get/**], downloads_a_day: 40"


@pytest.mark.parametrize(
    ("scraper", "within", "finding"),
    [
        (liar, 1, "liar's name"),
        (into_the_trap, 1, "trap"),
        (pages_of_a_library, 8 + 2, "documents without life"),
        (pages_from_outside, 18 + 3, "documents without life"),
        (pages_from_page_to_page, 44 + 4, "documents without life"),
        (data_opened_as_pages, 4, "wrong kind of fetch"),
        (data_opened_as_pages_with_a_cookie, 4, "wrong kind of fetch"),
        (music_cold, 2, "cold music"),
        (data_of_a_library, 24 + 2, "data for nobody"),
        (calls_of_no_page, 60 + 2, "calls without life"),
        (two_hundred_pages_an_hour, 215, "many pages"),
        (covers_of_a_library, 20 + 2, "pictures only"),
        (covers_of_a_browser, 40 + 3, "pictures only"),
        (one_id_after_the_other, 24 + 1, "sequence"),
        (search_results_page_by_page, 22 + 3, "search walk"),
        (two_letters_at_a_time, 22 + 3, "search walk"),
        (feed_after_feed, 20, "feed walk"),
        (sizes_of_everything, 30, "feed walk"),
        (sitemap_after_sitemap, 12, "sitemap walk"),
        (tracks_nobody_can_hear, 16, "tunes per ear"),
        (another_session_for_each_track, 48 + 2, "tunes per address"),
        (sixty_tracks_an_hour, 60 + 3, "coverage"),
        (parts_of_a_track_at_once, 4, "lanes"),
        (one_file_in_pieces_at_once, 4, "split ranges"),
        (more_downloads_than_are_given, 40 + 1, "download quota"),
    ],
)
def test_who_takes_the_catalogue_is_stopped_within(scraper: Story, within: int, finding: str) -> None:
    done = list(scraper(Site(WORDS, GOOGLE).opened()))
    first = next((at for at, decision in enumerate(done, 1) if decision.action in REFUSED), 0)
    assert 0 < first <= within
    assert finding in names_of(done[first - 1])
    assert {decision.action for decision in done[first:]} <= REFUSED | {"throttle"}  # and from then on


@pytest.mark.parametrize(
    "listener",
    [
        the_real_one,
        beside_the_trap,
        twenty_pages_in_a_text_browser,
        a_reader_with_images_and_styles,
        a_person_who_looks_at_json,
        a_person_who_sends_forms,
        music_warm,
        what_is_playing_now,
        an_app_with_a_token,
        calls_of_a_page,
        sixty_pages_an_hour,
        covers_on_a_page_elsewhere,
        an_album_of_fourteen,
        searching_as_one_types,
        a_dozen_feeds_with_bad_manners,
        the_size_before_playing,
        one_sitemap,
        a_player_all_day_long,
        a_dj_with_an_account,
        a_class_in_one_room,
        two_parts_at_once,
        one_piece_after_the_other,
        all_downloads_that_are_given,
    ],
)
def test_its_nearest_listener_is_not(listener: Story) -> None:
    done = list(listener(Site(WORDS + ", challenge: true", GOOGLE).opened()))
    assert {decision.action for decision in done} <= {"allow", "throttle"}
    assert sum(decision.action == "throttle" for decision in done) <= len(done) / 5


def test_nobody_is_refused_for_what_is_only_weak() -> None:
    """A radio in a shop plays day and night, and a plain program plays track after track; both are noted, no more."""
    site = Site("steps: [{at: 5, then: label}, {at: 30, then: refuse}]").opened()
    done = []
    for hour in range(80):
        site.later(900)
        done.append(site.ask(f"/media/{some_id(hour)}.mp3", CURL, "203.0.113.8", size=3_000_000))
        done.append(site.ask("/api/now", CURL, "203.0.113.9"))
    assert {decision.action for decision in done} <= {"allow", "label"}
    assert {signal.name for decision in done for signal in decision.signals} == {"always on", "music without looking"}


# -- neighbourhoods ------------------------------------------------------------------------------------------


def swarm(fields: Callable[[int], Fields], ip: Callable[[int], str], track: Callable[[int], int] = some_id) -> Story:
    def story(site: Site) -> Iterator[Decision]:
        for number in range(90):
            yield site.ask(f"/track/{track(number)}", fields(number), ip(number), after_s=9)

    return story


def half(number: int) -> Fields:
    """A browser's name, and little of what it sends."""
    return {name: value for name, value in opens().items() if not name.startswith(b"sec-")}


def another_name(number: int) -> Fields:
    return by(browsers.chrome(Random(number), version=139 + number % 19), "document", site="none")


@pytest.mark.parametrize(
    ("story", "within", "finding"),
    [
        (swarm(lambda n: opens(), lambda n: f"203.0.113.{n % 40}"), 40, "dead neighbourhood"),
        (swarm(half, lambda n: f"203.{n}.113.9"), 20, "dead shape"),
        (swarm(lambda n: PYTHON, lambda n: f"203.{n}.113.9", lambda n: 500_000 + n), 26, "shared sequence"),
        (swarm(lambda n: opens(), lambda n: f"203.0.113.{n}", lambda n: 500_000 + n), 26, "shared sequence"),
        (swarm(another_name, lambda n: "203.0.113.9"), 20, "lifeless address"),
        (swarm(another_name, lambda n: "203.0.113.9"), 10, "many names"),
    ],
)
def test_a_swarm_of_single_requests_is_stopped_within(story: Story, within: int, finding: str) -> None:
    done = list(story(Site().opened()))
    first = count_until("refuse", done)
    assert 0 < first <= within
    assert any(finding in names_of(decision) for decision in done[: within + 1])


def test_a_swarm_with_whole_headers_from_all_over_is_nobodys_neighbour() -> None:
    done = list(swarm(lambda n: opens(), lambda n: f"203.{n}.113.9")(Site().opened()))
    assert {decision.action for decision in done} == {"allow"}  # these are the headers of many who listen


def test_a_neighbourhood_in_which_somebody_lives_is_not_dead() -> None:
    site, done = Site().opened(), []
    for number in range(80):
        done.append(site.ask(f"/track/{some_id(number)}", opens(), f"203.0.113.{number % 40}", after_s=9))
        if number % 3 == 0:
            done += site.visit(some_id(number), f"203.0.113.{100 + number}", sid=f"neighbour-{number}")
    assert {decision.action for decision in done} == {"allow"}


def test_who_lives_in_a_dead_neighbourhood_is_not_touched() -> None:
    site = Site().opened()
    done = site.visit(5, "203.0.113.200", sid="resident")
    stopped = []
    for number in range(80):
        stopped.append(site.ask(f"/track/{some_id(number)}", opens(), f"203.0.113.{number % 40}", after_s=9))
        done += site.visit(some_id(number), "203.0.113.200", sid="resident")
    assert count_until("refuse", stopped)
    assert {decision.action for decision in done} == {"allow"}


def test_a_campus_under_many_names_is_people() -> None:
    site, done = Site().opened(), []
    for number in range(34):
        browser = browsers.chrome(Random(number), version=140 + number % 17)
        done += site.visit(some_id(number), "203.0.113.9", browser)
        site.later(30)
    assert {decision.action for decision in done} == {"allow"}


def test_a_network_and_a_swarm_that_is_going_on_only_add_to_what_is_odd() -> None:
    for crowd, most in ((detectors.crowds.dead_network, 12), (detectors.crowds.site_pressure, 15)):
        site = Site().opened()
        site.lookout.crowds = (crowd,)
        asn = Client("203.0.113.9", b"x", b"x", 64_500)
        for number in range(200):
            sight = _sight(number, site, asn._replace(key=b"k%d" % number, prefix=b"p%d" % number))
            suspicion = site.lookout.watch(sight)
            site.later(9)
            assert suspicion.points - sight.shape.points <= most
        assert site.lookout._around(_sight(999, site, asn))


def _sight(number: int, site: Site, client: Client, session: bytes = b"", user_agent: bytes = b"") -> Sight:
    """A page opened by someone who says Chrome and sends no client hints."""
    fields = {name: value for name, value in opens().items() if not name.startswith(b"sec-ch")}
    fields[b"user-agent"] = user_agent or fields[b"user-agent"]
    shape = read_shape(fields, UNKNOWN_AGENT, secure=True, newest_s=site.policy.detecting.newest_s)  # type: ignore[union-attr]
    place = read_place(f"/track/{some_id(number)}", "", "page", "GET")
    now_s = site.now_s
    return Sight(
        now_s,
        client,
        UNKNOWN_AGENT,
        Identity.UNKNOWN,
        shape,
        place,
        "GET",
        fields[b"user-agent"],
        session,
        wall_s=now_s,
    )


# -- one address, many people --------------------------------------------------------------------------------


def bare_calls(site: Site, ip: str, count: int, also: Callable[[int], object] = lambda number: None) -> list[Decision]:
    """Calls without cookie, token or page, under Chrome's name."""
    done = []
    for number in range(count):
        done.append(site.ask(f"/api/tracks/{some_id(number)}", by(CHROME, "empty"), ip, after_s=4))
        also(number)
    return done


def test_who_walks_behind_a_shared_address_is_held_and_who_lives_there_goes_on() -> None:
    site = Site("challenge: true").opened()
    ip, living = "203.0.113.50", []
    for listener in range(3):
        living += site.visit(some_id(listener), ip, sid=f"nat-{listener}")

    def somebody_listens(number: int) -> None:
        if number % 8 == 0:
            living.extend(site.visit(some_id(500 + number), ip, sid=f"nat-{number // 8 % 3}"))

    walked = bare_calls(site, ip, 120, somebody_listens)
    held = count_until("throttle", walked)
    assert held > 0
    assert {decision.action for decision in walked} == {"allow", "throttle"}  # many are behind it: nobody is refused
    assert walked[-1].points >= 30 and [limit.name for limit in walked[-1].limits] == ["suspects"]
    assert {decision.action for decision in living} == {"allow"}

    stranger = site.ask("/track/8", opens(), ip)
    assert stranger.action == "challenge"
    assert site.ask("/api/tracks/8", by(CHROME, "empty"), ip).action == "throttle"
    assert site.ask("/track/8", opens("somebody-new"), ip).action == "challenge"
    assert site.ask("/track/8", by(FIREFOX, "document", site="none"), ip).action == "allow"  # another name, another key


def test_who_walks_alone_at_an_address_is_refused_and_who_comes_there_with_a_session_of_old_is_not() -> None:
    site, ip = Site("challenge: true").opened(), "203.0.113.50"
    site.visit(some_id(1), ip, sid="one")
    walked = bare_calls(site, ip, 120)
    assert count_until("refuse", walked)
    assert {decision.action for decision in site.visit(some_id(2), ip, sid="one")} == {"allow"}


# -- time ----------------------------------------------------------------------------------------------------


def until_refused(site: Site) -> Decision:
    for number in range(200):
        decision = site.ask(f"/api/tracks/{some_id(int(site.now_s) + number)}", PYTHON, after_s=5)
        if decision.action == "refuse":
            return decision
    raise AssertionError("never refused")


def test_what_is_held_ends_after_the_minutes_and_doubles_up_to_an_hour() -> None:
    site, lasted = Site("refuse_minutes: 10").opened(), []
    for _ in range(6):
        decision = until_refused(site)
        lasted.append(round(decision.retry_s))
        almost = site.later(decision.retry_s - 1).ask("/api/tracks/1", PYTHON)
        assert almost.action == "refuse"
        assert almost.retry_s == pytest.approx(1)
        after = site.later(1.5).ask("/api/tracks/1", PYTHON)
        assert after.action != "refuse" or after.retry_s > 600  # judged anew
        if after.action == "refuse":
            site.later(after.retry_s)
    assert lasted == sorted(lasted)
    assert {lasted[0], lasted[-1]} == {600, LONGEST_S}


def test_when_the_minutes_are_over_one_worker_lets_it_in_once() -> None:
    here, there = Site("refuse_minutes: 10").opened(), Site("refuse_minutes: 10").opened()
    there.lookout.meters = here.lookout.meters  # what they tell each other arrives at once
    decision = until_refused(here)
    there.now_s = here.now_s
    assert there.ask("/api/tracks/1", PYTHON).action == "refuse"
    for site in (here, there):
        site.later(decision.retry_s + 0.5)
    in_again = [here.ask(f"/api/tracks/{some_id(number)}", PYTHON) for number in range(2)]
    assert [decision.action for decision in in_again] == ["throttle", "throttle"]
    assert in_again[1].points >= here.policy.detecting.refuse_at  # enough to refuse it, but it waited
    assert there.ask("/api/tracks/2", PYTHON).action == "refuse"


def test_evidence_fades() -> None:
    site = Site().opened()
    for number in range(20):
        assert site.ask(f"/api/tracks/{some_id(number)}", PYTHON, after_s=5).action != "refuse"
    before = site.ask("/api/tracks/1", PYTHON).points
    points = []
    for _ in range(6):
        points.append(site.later(3_600).ask("/api/tracks/1", PYTHON).points)
    assert points == sorted(points, reverse=True)
    assert points[0] < 0.7 * before and points[-1] < 6
    again = [site.ask(f"/api/tracks/{some_id(99 + number)}", PYTHON, after_s=5) for number in range(30)]
    assert count_until("refuse", again) > 15  # as if it were new


def test_refuse_minutes_are_the_policys() -> None:
    site = Site("refuse_minutes: 3").opened()
    assert until_refused(site).retry_s == 180


# -- accounts ------------------------------------------------------------------------------------------------


def test_an_account_keeps_its_daily_downloads_and_has_them_again_tomorrow() -> None:
    site = Site("downloads: [/get/**], downloads_a_day: 30")
    midnight_s = 86_400 - site.lookout.wall_s(0) % 86_400

    def gets(account: bytes, count: int, day: int) -> int:
        done = [
            site.ask(f"/get/{some_id(100 * day + number)}", calls(account.decode()), account=account, after_s=30)
            for number in range(count)
        ]
        assert {decision.action for decision in done} <= {"allow", "refuse"}
        return sum(decision.action == "allow" for decision in done)

    assert gets(b"ann", 30, 0) == 30
    assert gets(b"bob", 30, 0) == 30
    assert gets(b"ann", 5, 1) == 0
    site.now_s = midnight_s + 60
    assert gets(b"ann", 30, 2) == 30
    assert gets(b"ann", 1, 3) == 0


def test_the_same_track_twice_is_one_download() -> None:
    site = Site("downloads: [/get/**], downloads_a_day: 5")
    done = [site.ask(f"/get/{number % 5}", calls(), account=b"ann", after_s=10) for number in range(50)]
    assert {decision.action for decision in done} == {"allow"}


def test_an_account_is_one_ear_wherever_it_listens() -> None:
    site = Site("downloads: [/get/**], downloads_a_day: 30")
    done = []
    for number in range(33):
        headers = by(CHROME if number % 2 else FIREFOX, "empty", f"device-{number % 3}")
        done.append(site.ask(f"/get/{number}", headers, f"203.{number}.113.9", account=b"ann", after_s=30))
    assert count_until("refuse", done) == 31


def test_who_has_had_the_days_downloads_goes_on_reading_and_soon_listening() -> None:
    """Where music lies beside the downloads, it might be one: for some minutes nobody can tell."""
    site = Site("downloads: [/get/**], downloads_a_day: 5").opened()
    done = [site.ask(f"/get/{number}", calls(), account=b"ann", after_s=60) for number in range(6)]
    assert count_until("refuse", done) == 6
    assert site.ask("/track/1", opens("listener"), account=b"ann").action == "allow"
    site.later(1_800)
    assert site.ask("/media/1.mp3", by(CHROME, "audio", "listener"), account=b"ann").action == "allow"
    assert site.ask("/get/9", calls(), account=b"ann").action == "refuse"


def test_the_days_downloads_are_given_again_when_they_say() -> None:
    site = Site("downloads: [/get/**], downloads_a_day: 5")
    done = [site.ask(f"/get/{number}", calls(), account=b"ann", after_s=60) for number in range(6)]
    midnight_s = 86_400 - site.lookout.wall_s(site.now_s) % 86_400
    assert done[-1].action == "refuse"
    assert done[-1].retry_s <= midnight_s + 1
    site.later(midnight_s + 1)
    assert site.ask("/get/7", calls(), account=b"ann").action == "allow"


def hears(site: Site, every_s: float) -> list[Decision]:
    """An account takes tracks of five minutes and twelve seconds, so often."""
    return [
        site.ask(f"/media/{number}.mp3", by(CHROME, "audio", "x"), size=5_000_000, account=b"ann", after_s=every_s)
        for number in range(40)
    ]


def test_an_account_that_has_more_music_than_is_given_is_slowed_down_for_the_day() -> None:
    done = hears(Site("audio_hours_a_day: 2"), 320)
    assert {decision.action for decision in done} == {"allow", "throttle"}
    first = count_until("throttle", done)
    assert 7_200 / 312 < first < 7_200 / 312 + 8
    assert {decision.action for decision in done[first - 1 :]} == {"throttle"}


def test_an_account_that_fetches_ahead_and_has_more_than_is_given_is_not_refused() -> None:
    assert {decision.action for decision in hears(Site("audio_hours_a_day: 2"), 200)} == {"allow", "throttle"}


def test_what_one_host_says_holds_for_that_host() -> None:
    policy = read_policy(
        "version: 1\nsite: {name: x, url: 'https://x.example'}\ndefault: allow\n"
        "routes: [{class: api, paths: [/api/**]}]\ndetection: {refuse_minutes: 10}\n"
        "hosts: [{names: [shop.example], detection: {refuse_minutes: 60, steps: [{at: 90, then: refuse}]}}]\n"
    )
    site = Site(policy=policy)
    until_refused(site)
    assert site.later(300).ask("/api/tracks/1", PYTHON).retry_s == pytest.approx(300)  # held since then


# -- who is not looked at ------------------------------------------------------------------------------------


def test_who_is_verified_is_never_looked_at() -> None:
    site = Site(WORDS, GOOGLE).opened()
    ears, waiting = len(site.lookout._ears), len(site.lookout._waiting)
    for number in range(200):
        decision = site.ask(f"/track/{500_000 + number}", GOOGLEBOT, "66.249.64.9", after_s=0.01)
        assert (decision.action, decision.identity, decision.signals) == ("allow", Identity.VERIFIED, ())
    assert (len(site.lookout._ears), len(site.lookout._waiting)) == (ears, waiting)


def test_an_honest_robots_name_that_nobody_can_check_is_never_refused_for_pages() -> None:
    done = []
    site = Site().opened()
    for number in range(400):
        headers = GOOGLEBOT | {b"user-agent": b"Mozilla/5.0 (compatible; SeznamBot/4.0; +https://o-seznam.cz/)"}
        done.append(site.ask(f"/track/{500_000 + number}", headers, after_s=1))
    assert {decision.action for decision in done} <= {"allow", "throttle"}


# -- bounds --------------------------------------------------------------------------------------------------


def tables(thing: Any) -> dict[str, int]:
    """How much is in each table of an object, and in those of what it is made of."""
    found = {}
    for name, table in vars(thing).items():
        if isinstance(table, (Memo, dict, deque, list, set)):
            found[name] = len(table)
            assert len(table) <= (2 * table.capacity if isinstance(table, Memo) else MAX_WAITING + MAX_IN_FLIGHT), name
    return found


def test_tables_stay_bounded_whoever_comes() -> None:
    """Sessions, addresses, ids, words and shapes that never come twice: more than tables a sixteenth as large hold."""
    site = Site("challenge: true, traps: [/trap/**]")
    lookout, watching = site.lookout, site.guard.watching
    for table in (*vars(lookout).values(), *vars(watching).values()):
        if isinstance(table, Memo):
            table.capacity //= 16
    kinds = ("/track/{}", "/media/{}.mp3", "/api/k{}/{}", "/search?q=w{}")
    for number in range(4_500):
        headers = {
            b"user-agent": b"Mozilla/5.0 (X11) AppleWebKit/537.36 Chrome/%d.0" % (number % 30),
            b"x-%d" % number: b"",
            b"cookie": b"sid=%d" % number,
        }
        hints = {b"x-guard-account": b"a%d" % number}
        ip = f"10.{number >> 8}.{number & 255}.9"
        site.ask(kinds[number & 3].format(number, number % 300), headers, ip, hints=hints, after_s=0.01)
    held = tables(lookout) | tables(watching)
    assert min(held["_ears"], held["accounts"], held["_shapes"], held["_places"]) >= 512  # they were full
    assert held["_ids"] <= 256 and max(map(len, lookout._ids.values())) <= 101
    assert lookout.meters.memory_bytes <= 48 << 20


def test_what_waits_or_is_on_its_way_is_bounded() -> None:
    site = Site()
    place = read_place("/media/1.mp3", "", "media", "GET")
    for number in range(25_000):
        site.lookout._wait(0.0, (b"k%d" % number,), False, at_once=False)
        begin(site.lookout.ear(b"k%d" % number), place)
    assert len(site.lookout._waiting) == MAX_WAITING
    site.later(10).ask("/track/1", PYTHON)
    assert len(site.lookout._waiting) == 0
    assert site.lookout.meters.read(b"k19999", site.now_s) is not None  # it was counted, not forgotten


def test_one_ear_in_flight_is_bounded_and_what_has_ended_is_gone() -> None:
    site = Site()
    watched = []
    for number in range(1_000):
        request = Request("GET", b"/media/%d.mp3" % number, CURL[b"user-agent"], "203.0.113.9")
        decision, seen = site.guard.watch(request, site.guard.decide(request), CURL, Told(secure=True))
        if seen is not None:
            watched.append(seen)
        if decision.action == "refuse":
            break
    assert len(watched) >= 4
    flying = watched[0].begun[0].flying
    assert 0 < len(flying) <= MAX_IN_FLIGHT
    for seen in watched:
        site.guard.hear(seen, 200, 1_000)
    assert flying == {}


# -- whatever comes ------------------------------------------------------------------------------------------

LOOKS = [
    PYTHON,
    CURL,
    MPV,
    SONOS,
    W3M,
    GOOGLEBOT,
    half(0),
    opens(),
    opens("a"),
    calls("a"),
    calls(""),
    by(FIREFOX, "image"),
]
TARGETS = [
    "/track/{}", "/track/{}?id=7", "/api/tracks/{}", "/api/search?q={}", "/search?q=ab&page={}", "/hls/7/index.m3u8",
    "/hls/7/{}.m4s", "/media/{}.mp3", "/img/{}.jpg", "/static/{}.css", "/feeds/{}.xml", "/sitemap-{}.xml", "/get/{}",
    "/trap/{}", "/rest/stream?u=x&p=y&id={}", "/", "//{}", "/%2e/{}", "/robots.txt",
]  # fmt: skip
EXTRAS = st.dictionaries(
    st.sampled_from(
        [b"range", b"cookie", b"referer", b"authorization", b"sec-fetch-dest", b"if-none-match", b"x-emby-token"]
    ),
    st.binary(max_size=40)
    | st.sampled_from([b"bytes=0-", b"bytes=5-9", b"bytes=9-5", b"sid=b", b"document", b"guard_pass=1.2.3"]),
    max_size=3,
)
HINTED = st.none() | st.dictionaries(
    st.sampled_from([b"x-guard-account", b"x-guard-entitlement", b"x-guard-audio-seconds", b"x-guard-work"]),
    st.sampled_from([b"", b"ann", b"offline", b"180", b"-1", b"nan", b"inf", b"1e300", b"x" * 900])
    | st.binary(max_size=20),
)
REQUESTS = st.tuples(
    st.sampled_from(TARGETS),
    st.integers(0, 40),
    st.sampled_from(LOOKS),
    EXTRAS,
    st.sampled_from(["203.0.113.9", "203.0.113.77", "2001:db8::1", "66.249.64.9", "", "nonsense"]),
    st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "BREW"]),
    HINTED,
    st.sampled_from([0.0, 0.1, 7.0, 700.0, 90_000.0]),
    st.booleans(),
)


PLAIN, CHALLENGING = policy_of(WORDS, GOOGLE), policy_of(WORDS + ", challenge: true", GOOGLE)


@settings(max_examples=40)
@given(st.lists(REQUESTS, max_size=30), st.booleans())
def test_whatever_comes_there_is_a_decision_and_a_reason_for_it(requests: list[Any], challenge: bool) -> None:
    site = Site(policy=CHALLENGING if challenge else PLAIN)
    for target, number, look, extras, ip, method, hints, after_s, holds in requests:
        size = 1 << 20
        fields = look | extras
        decision = site.ask(
            target.format(number), fields, ip, method=method, size=size, hints=hints, after_s=after_s, holds=holds
        )
        assert decision.action in ("allow", "throttle", "refuse", "challenge", "block", "serve", "reject")
        assert all(-20 < signal.points <= 60 and signal.reason for signal in decision.signals)
        if decision.action in ("refuse", "challenge"):
            assert decision.reason and decision.rule.startswith("detection: ")
            assert 0 < decision.retry_s <= 86_400
            assert decision.route_class != "directive"
        if decision.action == "challenge":
            assert challenge and method == "GET" and decision.route_class in ("page", "search")
        if decision.identity is Identity.VERIFIED:
            assert decision.signals == ()


def test_a_new_policy_forgets_neither_what_is_held_nor_who_has_passed() -> None:
    site = Site("challenge: true").opened()
    doubtful = {name: value for name, value in opens().items() if not name.startswith((b"sec-ch", b"accept-lang"))}
    asked = site.ask("/track/1", doubtful, "203.0.113.7")
    assert asked.action == "challenge"
    assert until_refused(site).action == "refuse"
    site.guard = succeed(site.guard, site.policy, site.guard.rendered)
    site.later(5)
    assert site.ask("/api/tracks/1", PYTHON).action == "refuse"
    passed = doubtful | {b"cookie": asked.cookie.split(b";")[0]}
    assert site.ask("/track/1", passed, "203.0.113.7").action == "allow"


# -- a new session each time


def _calls(site: Site, count: int, ip: str) -> list[Decision]:
    """Calls as the page of each track makes them, each with a cookie that was never seen before."""
    asked = []
    for number in range(count):
        track = 2_000 + number * 7_919 % 90_001
        page = f"https://{HOST}/track/{track}"
        fields = by(CHROME, "empty", f"new-{ip}-{number}", referer=page)
        asked.append(site.ask(f"/api/v1/tracks/{track}", fields, ip, after_s=1.0))
    return asked


def test_who_has_another_cookie_for_each_call_is_one_client() -> None:
    asked = _calls(Site().opened(), 200, "198.51.100.77")
    assert 40 <= count_until("refuse", asked) <= 90
    assert {decision.action for decision in asked[100:]} == {"refuse"}


def test_two_who_listen_at_an_address_keep_the_others_there_from_being_refused() -> None:
    site = Site().opened()
    for visitor in ("anna", "ben"):
        site.visit(5_000, "198.51.100.78", sid=visitor)
        site.visit(6_000, "198.51.100.78", sid=visitor)
    assert {decision.action for decision in _calls(site, 100, "198.51.100.78")} == {"allow"}

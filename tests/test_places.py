"""What an address is to a listener: a table of addresses, and laws that hold for any bytes."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.model import ROUTE_CLASSES, RouteClass
from guard.places import MAX_WORK_CHARS, ROLES, TRAP, read_place

OF_KIND = 1 << 40


@pytest.mark.parametrize(
    ("route_class", "path", "role"),
    [
        ("page", "/", "document"),
        ("page", "/track/4711", "document"),
        ("page", "/album/x.html", "document"),
        ("page", "/covers/9.JPG", "image"),
        ("page", "/favicon.ico", "asset"),
        ("page", "/app.js", "asset"),
        ("page", "/now.json", "data"),
        ("page", "/sitemap-3.xml", "sitemap"),
        ("page", "/sitemap.xml.gz", "sitemap"),
        ("page", "/sitemap-of-us", "document"),
        ("embed", "/embed/9", "embed"),
        ("api", "/api/v1/tracks/9", "data"),
        ("lyrics", "/lyrics/9", "data"),
        ("search", "/search", "document"),
        ("search", "/search?q=bass", "search"),
        ("manifest", "/hls/9/index.m3u8", "playlist"),
        ("media", "/hls/9/index.m3u8", "playlist"),
        ("media", "/hls/9/seg-7.m4s", "segment"),
        ("media", "/hls/9/7.ts", "segment"),
        ("media", "/media/9.mp3", "audio"),
        ("media", "/stream", "audio"),
        ("artwork", "/img/9", "image"),
        ("artwork", "/waveform/9.dat", "data"),
        ("static", "/static/app.css", "asset"),
        ("feed", "/feeds/9.xml", "feed"),
        ("directive", "/sitemap.xml", "sitemap"),
        ("directive", "/robots.txt", "other"),
        ("federation", "/inbox", "other"),
    ],
)
def test_the_route_class_and_the_ending_say_what_it_is(route_class: RouteClass, path: str, role: str) -> None:
    target, _, query = path.partition("?")
    place = read_place(target, query, route_class, "GET")
    assert (ROLES[place.role], place.route_class) == (role, route_class)
    assert ROLES[read_place(target, query, route_class, "HEAD").role] == role
    assert ROLES[read_place(target, query, route_class, "POST").role] == "act"


@pytest.mark.parametrize(
    ("path", "work", "number"),
    [
        ("/track/4711", "4711", 4711),
        ("/track/al-4711", "al", 4711),
        ("/track/4711-of-roses", "track/4711-of-roses", -1),
        ("/track/blue", "track/blue", -1),
        ("/media/4711.mp3", "4711", 4711),
        ("/img/100017-1200.jpg", "100017", 100017),
        ("/rest/stream?id=tr-99&u=x", "tr-99", 99),
        ("/rest/getSong?songId=99", "99", 99),
        ("/track/12345678901234567890", "track/12345678901234567890", -1),
        ("/track/٣", "track/٣", -1),
    ],
)
def test_a_work_has_a_name_and_perhaps_a_number(path: str, work: str, number: int) -> None:
    target, _, query = path.partition("?")
    place = read_place(target, query, "media", "GET")
    assert (place.work, place.number) == (work, number)
    assert (place.serial >= 0) is (number >= 0)


def test_a_works_name_is_cut_where_it_is_long() -> None:
    for path, query in (("/stream", f"id={'x' * 500}"), (f"/track/{'x' * 500}", ""), (f"/track/{'x' * 500}-1", "")):
        assert len(read_place(path, query, "media", "GET").work) == MAX_WORK_CHARS


def test_the_segments_of_a_track_are_one_work() -> None:
    works = {read_place(f"/hls/blue/seg-{part}.m4s", "", "media", "GET").work for part in range(9)}
    assert works == {"hls/blue"}
    numbered = {read_place(f"/hls/4711/{part}.ts", "", "media", "GET").work for part in range(9)}
    assert numbered == {"4711"}


def test_ids_are_only_compared_with_ids_of_their_kind() -> None:
    track, tracks, album = (
        read_place(path, "", "page", "GET").serial for path in ("/track/7", "/api/v1/tracks/7", "/album/7")
    )
    assert track == tracks
    assert track >> 40 != album >> 40
    assert read_place("/track/8", "", "page", "GET").serial == track + 1


@pytest.mark.parametrize(
    ("query", "walked", "asked"),
    [
        ("q=miles+davis", False, "miles+davis"),
        ("q=ab", True, "ab"),
        ("q=", True, ""),
        ("q=miles&offset=40", True, "miles"),
        ("q=miles&page=0", False, "miles"),
        ("Q=miles&Page=3", True, "miles"),
        ("genre=jazz", False, ""),
        ("cursor=xyz", True, ""),
    ],
)
def test_a_search_that_turns_pages_or_asks_for_two_letters_is_a_walk(query: str, walked: bool, asked: str) -> None:
    place = read_place("/search", query, "search", "GET")
    assert (place.walked, place.asked) == (walked, asked)
    assert not read_place("/api/tracks", query, "api", "GET").walked  # a list has pages


@pytest.mark.parametrize(
    ("path", "query", "signed"),
    [
        ("/rest/stream", "u=ann&t=ab&s=cd&id=1", True),
        ("/rest/stream.view", "u=ann&p=secret&id=1", True),
        ("/rest/stream", "apiKey=x&id=1", True),
        ("/rest/stream", "u=ann&id=1", False),
        ("/stream", "u=ann&t=ab&s=cd", False),
        ("/Audio/77/universal", "api_key=x", True),
        ("/track/1", "api_key=x", False),
    ],
)
def test_who_signs_in_by_the_query_is_seen(path: str, query: str, signed: bool) -> None:
    assert read_place(path, query, "media", "GET").signed is signed


def test_what_the_policy_names_comes_first() -> None:
    named = {"/trap/1": "trap", "/get/1": "download"}
    special = lambda path: named.get(path, "")  # noqa: E731
    assert read_place("/trap/1", "", "media", "POST", special).role == TRAP
    assert ROLES[read_place("/get/1", "", "page", "GET", special).role] == "download"
    assert ROLES[read_place("/track/1", "", "page", "GET", special).role] == "document"


def test_an_episode_beside_its_feed_is_handed_out_to_everybody() -> None:
    feeds = frozenset(("podcast",))
    assert read_place("/podcast/3.mp3", "", "media", "GET", None, feeds).public
    assert not read_place("/media/3.mp3", "", "media", "GET", None, feeds).public
    assert not read_place("/podcast/3.jpg", "", "artwork", "GET", None, feeds).public


# -- whatever comes ------------------------------------------------------------------------------------------

ODD = st.text(max_size=200) | st.binary(max_size=200).map(lambda octets: octets.decode("latin-1"))
PATHS = ODD | st.lists(ODD | st.integers(0, 10**30).map(str) | st.just("al-" + "9" * 40), max_size=6).map("/".join)
QUERIES = ODD | st.lists(st.tuples(st.sampled_from(["id", "q", "offset", "u", "p"]), ODD), max_size=6).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)


@given(PATHS, QUERIES, st.sampled_from(ROUTE_CLASSES), st.sampled_from(["GET", "HEAD", "POST", "", "get"]))
def test_any_address_is_a_place_of_bounded_size(path: str, query: str, route_class: RouteClass, method: str) -> None:
    place = read_place(path, query, route_class, method)
    assert 0 <= place.role < len(ROLES)
    assert len(place.work) <= MAX_WORK_CHARS
    assert place.number >= -1
    assert -1 <= place.serial < 1 << 54  # it is kept in 64 bits
    assert place == read_place(path, query, route_class, method)


@given(st.sampled_from(ROUTE_CLASSES), st.integers(0, OF_KIND - 2))
def test_the_next_id_is_the_next_number(route_class: RouteClass, number: int) -> None:
    here, there = (read_place(f"/tracks/{one}", "", route_class, "GET").serial for one in (number, number + 1))
    assert there == here + 1


@pytest.mark.parametrize("piece", ["/a", "/1", "a-", ".", "&id=", "&q", "=", "-9", "%2e"])
def test_a_place_is_read_in_linear_time(piece: str) -> None:
    def seconds(times: int) -> float:
        began = time.perf_counter()
        for route_class in ("page", "media", "search"):
            read_place("/" + piece * times, piece * times, route_class, "GET")
        return time.perf_counter() - began

    short, long = min(seconds(1_000) for _ in range(5)), min(seconds(20_000) for _ in range(5))
    assert long < 100 * max(short, 1e-5)  # 20 x; 400 x if it were quadratic

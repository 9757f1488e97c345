"""Which work an address is of, however it is spelt; and where a work is to be found."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.readings import read_target
from guard.rights import Work
from guard.robotstxt import pattern_matches
from guard.works import MAX_VALUES, WorkPath, WorkPaths

PATHS = WorkPaths(
    [
        WorkPath("/track/{track}"),
        WorkPath("/artist/{artist}/**"),
        WorkPath("/media/{track}.mp3", kind="audio"),
        WorkPath("/hls/{track}/**", kind="audio"),
        WorkPath("/stems/{track}/*", kind="stems"),
        WorkPath("/rest/stream*", query="id", layer="track"),
        WorkPath("/{artist}/{track}", id="{artist}/{track}"),
    ]
)


def works_at(address: str, paths: WorkPaths = PATHS) -> list[str]:
    """The narrowest work of each way to read the address."""
    path, _, query = address.partition("?")
    readings = read_target(path.encode(), case_sensitive=True).all
    return [str(found.works[0]) for found in paths.find(path.encode(), query.encode(), readings)]


@pytest.mark.parametrize(
    ("address", "work"),
    [
        ("/track/1001", "track:1001"),
        ("/artist/11", "artist:11"),
        ("/artist/11/albums/3", "artist:11"),
        ("/artist/AC%2FDC", "artist:AC/DC"),
        ("/artist/Bj%C3%B6rk/top", "artist:Björk"),
        ("/media/12.mp3", "track:12"),
        ("/hls/12/0001.ts", "track:12"),
        ("/rest/stream.view?u=me&id=tr-1&v=1.16.1", "track:tr-1"),
        ("/rest/stream?id=tr%2D1", "track:tr-1"),
        ("/rest/stream?%69d=tr-1", "track:tr-1"),
        ("/alice/song", "track:alice/song"),
    ],
)
def test_an_address_is_of_its_work(address: str, work: str) -> None:
    assert works_at(address)[0] == work


@pytest.mark.parametrize("address", ["/", "/track", "/track/", "/rest/stream", "/rest/stream?di=1", "/a/b/c"])
def test_other_addresses_are_of_none(address: str) -> None:
    assert works_at(address) == []


@pytest.mark.parametrize(
    "spelling",
    [
        *("/track/1001", "/TRACK/1001", "//track//1001", "/./track/1001", "/x/../track/1001", "/track/1001/"),
        *("/%74rack/%31001", "/track;v=1/1001", "/track%2F1001", "/track%5C1001", "/%2574rack/1001"),
    ],
)
def test_no_spelling_of_an_address_escapes_from_its_work(spelling: str) -> None:
    assert "track:1001" in works_at(spelling)


def test_the_parents_that_an_address_names_come_along() -> None:
    (found,) = PATHS.find(b"/alice/song", b"", ())
    assert found.works == (Work("track", "alice/song"), Work("artist", "alice"))


def test_an_address_says_what_it_carries() -> None:
    assert PATHS.find(b"/stems/12/drums", b"", ())[0].kind == "stems"
    assert PATHS.find(b"/track/12", b"", ())[0].kind == ""


def test_several_ids_in_one_query_are_several_works_and_none_lends_its_rights() -> None:
    found = PATHS.find(b"/rest/stream", b"id=1&id=2&id=1", ())
    assert [one.works for one in found] == [(Work("track", "1"),), (Work("track", "2"),)]
    assert all(one.sent for one in found)


def test_a_query_of_more_ids_than_are_looked_up_may_be_of_any_work() -> None:
    some = "&".join(f"id={n}" for n in range(MAX_VALUES)).encode()
    assert len(PATHS.find(b"/rest/stream", some, ())) == MAX_VALUES
    for more in (some + b"&id=666", "&".join(f"id={n}" for n in range(1_000)).encode()):
        (found,) = PATHS.find(b"/rest/stream", more, ())
        assert found.works == ()


@pytest.mark.parametrize(
    "query",
    [
        b"x=1;id=666",
        b"id=5;id=666",
        b"+id=666",
        b"%20id=666",
        b"ID=666",
        b"id[]=666",
        b"id%5B%5D=666",
        b"id[0]=666",
        b"i%64=666",
        b"id=5&id=666",
        b"id=%36%36%36",
    ],
)
def test_however_a_server_may_read_the_parameter_its_work_is_found(query: bytes) -> None:
    found = PATHS.find(b"/rest/stream", query, ())
    assert Work("track", "666") in {work for one in found for work in one.works}


def test_an_id_in_bytes_that_nobody_encoded_is_the_same_id() -> None:
    plain, encoded = "id=Bj\u00f6rk".encode(), b"id=Bj%C3%B6rk"
    assert PATHS.find(b"/rest/stream", plain, ()) == PATHS.find(b"/rest/stream", encoded, ())


def test_an_artist_that_somebody_writes_beside_a_track_is_not_all_that_counts() -> None:
    paths = WorkPaths([WorkPath("/by/{artist}/{track}")])
    assert [one.works for one in paths.find(b"/by/open/victim", b"", ())] == [
        (Work("track", "victim"), Work("artist", "open")),
        (Work("track", "victim"),),
    ]


def test_an_encoded_slash_before_a_dot_segment_hides_no_work() -> None:
    """Some servers remove dot segments first and decode then: there /track/x%2Fy/../victim is /track/victim."""
    target = b"/track/x%2Fy/../victim"
    found = PATHS.find(target, b"", read_target(target, case_sensitive=True).all)
    assert Work("track", "victim") in {work for one in found for work in one.works}


def test_where_the_site_tells_case_apart_so_do_its_works() -> None:
    strict = WorkPaths([WorkPath("/Track/{track}")], case_sensitive=True)
    assert works_at("/Track/a", strict) == ["track:a"]
    assert works_at("/track/a", strict) == []


def test_the_case_of_an_id_is_kept() -> None:
    assert works_at("/TRACK/AbC")[0] == "track:AbC"


IDS = st.text(
    st.characters(min_codepoint=33, exclude_characters="\x7f\\%;?#", exclude_categories=["Cs"]), min_size=1, max_size=20
)


@given(IDS.filter(lambda name: name.strip(".") and not name.endswith((".", " "))))
def test_where_a_work_is_said_to_be_it_is_found(name: str) -> None:
    for layer in ("track", "artist"):
        work = Work(layer, name)
        for path, address, spellings in PATHS.places(work):
            found = PATHS.find(address.partition("?")[0].encode(), address.partition("?")[2].encode(), ())
            if path.narrowest == layer and (path.query or "{artist}/{track}" not in path.path):
                assert work in found[0].works, (address, found)
            assert any(pattern_matches(spelling, address) for spelling in spellings), (address, spellings)


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_what_is_said_of_one_work_is_not_said_of_another(one: int, other: int) -> None:
    if one == other:
        return
    for _, _, spellings in PATHS.places(Work("track", str(one))):
        for _, address, _ in PATHS.places(Work("track", str(other))):
            assert not any(pattern_matches(spelling, address) for spelling in spellings), (spellings, address)


def test_robots_spell_every_address_of_a_work() -> None:
    spelled = {path.path: spellings for path, _, spellings in PATHS.places(Work("track", "AC/DC*"))}
    name = quote("AC/DC*", safe="")
    assert spelled["/track/{track}"] == tuple(f"/track/{name}{end}" for end in ("$", "?", "/$", "/?"))
    assert spelled["/hls/{track}/**"] == (f"/hls/{name}/", f"/hls/{name}$", f"/hls/{name}?")
    assert spelled["/rest/stream*"][0] == f"/rest/stream*?id={name}$"
    assert spelled["/stems/{track}/*"] == (f"/stems/{name}/*",)

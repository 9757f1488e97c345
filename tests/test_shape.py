"""What headers tell of who sends them: a table, laws for any bytes, and the headers of real programs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.load import shipped_catalogue
from guard.model import UNKNOWN_AGENT
from guard.shape import LIBRARIES, QUIET, Shape, read_shape, untold_shape
from guard.watching import newest_of
from tests.conftest import SHARED
from tests.listeners import browsers
from tests.listeners.personas import PERSONAS
from tests.listeners.platform import GENERIC
from tests.visitors import CHROME, CURL, FIREFOX, PYTHON, Fields, by, lines_of

CLIENTS = SHARED / "traffic" / "clients.json"
NOW_S = newest_of({"chrome": 157})
YTDLP: Fields = {
    b"host": b"music.test",
    b"user-agent": b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/151.0.0.0 "
    b"Safari/537.36",
    b"accept": b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    b"accept-language": b"en-us,en;q=0.5",
    b"sec-fetch-mode": b"navigate",
    b"accept-encoding": b"gzip, deflate, br",
}
"""As it was on a wire."""


def shape_of(fields: Fields, **more: Any) -> Shape:
    agent = shipped_catalogue().find(fields.get(b"user-agent", b""))
    return read_shape(fields, agent, **{"secure": True, "newest_s": NOW_S, **more})


def found(fields: Fields, **more: Any) -> dict[str, float]:
    return {signal.name: signal.points for signal in shape_of(fields, **more).signals}


def without(fields: Fields, *beginnings: bytes) -> Fields:
    return {name: value for name, value in fields.items() if not name.startswith(beginnings)}


# -- what does not go together -------------------------------------------------------------------------------


def old(version: int) -> Fields:
    return by(browsers.chrome(Random(0), "windows", version), "document", site="none")


PAGE = by(CHROME, "document", site="none")
GECKO = by(FIREFOX, "document", site="none")


@pytest.mark.parametrize(
    ("fields", "signals"),
    [
        (PAGE, {}),
        (GECKO, {}),
        (YTDLP, {"partial metadata": 34, "other codings": 0}),
        (without(PAGE, b"sec-"), {"half a browser": 22}),
        (without(GECKO, b"sec-"), {"half a browser": 18}),
        (without(PAGE, b"sec-ch"), {"no client hints": 18}),
        (PAGE | {b"sec-ch-ua": b'"Chromium";v="120", "Not?A_Brand";v="24"'}, {"other client hints": 20}),
        (GECKO | {b"sec-ch-ua": b'"Chromium";v="157"'}, {"other client hints": 20}),
        (PAGE | {b"accept-encoding": b"gzip, deflate"}, {"other codings": 6}),
        (without(PAGE, b"accept-encoding"), {"other codings": 6}),
        (without(PAGE, b"accept-language"), {"no language": 4}),
        (old(80), {"old browser": 10, "no client hints": 0}),
        (old(109), {}),
        (old(190), {"future browser": 12}),
        (PYTHON, {}),
        (CURL, {}),
        ({}, {}),
    ],
)
def test_headers_that_do_not_go_together_are_a_signal(fields: Fields, signals: dict[str, float]) -> None:
    wanted = {name: points for name, points in signals.items() if points}
    assert found(fields) == wanted


def test_what_is_not_known_is_not_missing() -> None:
    browser = b"Mozilla/5.0 (X11; Linux x86_64; rv:90.0) Gecko/20100101 Firefox/90.0"
    for user_agent in (browser, b"", None, b"curl/8"):
        shape = untold_shape(UNKNOWN_AGENT, user_agent)
        assert (shape.told, shape.signals, shape.points, shape.bare, shape.rare) == (False, (), 0.0, False, False)


def test_what_is_kept_for_https_is_not_missed_over_http() -> None:
    assert found(without(PAGE, b"sec-") | {b"accept-encoding": b"gzip, deflate"}, secure=False) == {}
    assert found(by(CHROME.over_plain_http(), "document"), secure=False) == {}


@pytest.mark.parametrize("said", [{b"via": b"1.1 proxy.campus.example"}, {b"x-bluecoat-via": b"ab12"}])
@pytest.mark.parametrize("strips", [(b"sec-",), (b"sec-ch",), (b"sec-", b"accept-encoding"), (b"accept-language",)])
def test_who_strips_headers_and_says_so_is_no_fault(said: Fields, strips: tuple[bytes, ...]) -> None:
    for fields in (PAGE, GECKO):
        shape = shape_of(without(fields, *strips) | said, http1=True)
        assert shape.points < 5  # the least that a policy can act on
        assert not shape.rare


def test_media_without_codings_is_no_fault() -> None:
    for browser in (CHROME, FIREFOX):
        audio = by(browser, "audio", byte_range="bytes=0-")
        assert audio[b"accept-encoding"] == b"identity"
        assert found(audio) == {}
        assert found(without(audio, b"accept-encoding")) == {}
        assert found(without(audio, b"accept-encoding", b"range")) == {}
        assert found(by(browser, "empty") | {b"range": b"bytes=0-1"}) == {}


@pytest.mark.parametrize(
    "fields",
    [
        without(PAGE, b"sec-") | {b"upgrade": b"websocket"},
        without(PAGE, b"sec-ch") | {b"sec-fetch-dest": b"manifest"},
        without(PAGE, b"sec-")
        | {b"user-agent": b"Mozilla/5.0 (Linux; Android 13; wv) AppleWebKit/537.36 Chrome/157.0.0.0 FBAV/4"},
        without(PAGE, b"sec-") | {b"user-agent": b"Mozilla/5.0 (SMART-TV; Linux) AppleWebKit/537.36 Chrome/76.0.0.0"},
        without(PAGE, b"sec-") | {b"user-agent": b"Mozilla/5.0 (X11; rv:128.0) Goanna/6 Gecko/2 Firefox/128.0"},
    ],
)
def test_who_honestly_sends_less_is_left_alone(fields: Fields) -> None:
    assert found(fields) == {}


def test_http_1_is_held_against_a_browser_alone_and_only_where_it_is_known() -> None:
    assert found(PAGE, http1=True) == {"protocol": 6}
    assert found(PAGE, http1=False) == found(PAGE, http1=None) == {}
    assert found(PYTHON, http1=True) == found(PAGE, http1=True, secure=False) == {}


def test_the_order_of_headers_counts_where_nobody_changes_it() -> None:
    turned = dict(reversed(PAGE.items()))
    assert found(turned) == {}
    assert found(turned, ordered=True) == {"header order": 6}
    assert (
        found(PAGE, ordered=True) == found(GECKO, ordered=True) == found(dict(reversed(PYTHON.items())), ordered=True)
    )


def test_a_shape_has_one_name_whoever_wears_it() -> None:
    base = shape_of(PYTHON)
    assert shape_of(PYTHON | {b"cookie": b"sid=1", b"referer": b"x", b"range": b"bytes=0-"}).digest == base.digest
    assert shape_of(PYTHON | {b"accept": b"text/html"}).digest != base.digest
    assert shape_of(dict(reversed(PYTHON.items()))).digest != base.digest
    assert shape_of(old(156) | {b"user-agent": PAGE[b"user-agent"]}).digest == shape_of(PAGE).digest


def test_who_is_like_many_is_not_spoken_of_together() -> None:
    assert shape_of(PYTHON).rare and shape_of(without(PAGE, b"sec-")).rare
    assert not shape_of(PAGE).rare and not shape_of(GECKO).rare
    lynx = {b"user-agent": b"Lynx/2.9.2 libwww-FM/2.14", b"accept": b"text/html"}
    assert not shape_of(lynx).rare and shape_of(lynx).text


def test_what_is_read_beside_the_signals() -> None:
    shape = shape_of(PAGE | {b"sec-purpose": b"prefetch;prerender", b"if-none-match": b'"x"'})
    assert (shape.html, shape.bare, shape.prefetch, shape.conditional, shape.dest) == (
        True,
        True,
        True,
        True,
        b"document",
    )
    shape = shape_of(by(CHROME, "empty", "x", referer="https://music.example/"))
    assert (shape.html, shape.bare, shape.cookie, shape.referer, shape.token) == (False, False, True, True, False)
    assert shape_of(PYTHON | {b"authorization": b"Bearer x"}).token
    assert shape_of(PYTHON).library and not shape_of(PAGE).library
    assert LIBRARIES.isdisjoint(QUIET)
    assert shape_of(PAGE, ja4=b"t13d").handshake and not shape_of(PYTHON, ja4=b"t13d").handshake


# -- whatever comes ------------------------------------------------------------------------------------------

NAMES = st.sampled_from(
    b"user-agent accept accept-encoding accept-language sec-fetch-site sec-fetch-mode sec-fetch-dest sec-ch-ua via "
    b"cookie referer authorization range upgrade sec-purpose purpose".split()
)
VALUES = st.binary(max_size=80) | st.sampled_from(
    [
        PAGE[b"user-agent"],
        GECKO[b"user-agent"],
        YTDLP[b"user-agent"],
        b"document",
        b"navigate",
        b"*",
        b"gzip, deflate, br",
    ]
)
FIELDS = st.dictionaries(NAMES | st.binary(min_size=1, max_size=20), VALUES, max_size=14)


@given(FIELDS, st.booleans(), st.sampled_from([None, True, False]), st.booleans(), st.binary(max_size=40))
def test_any_headers_have_a_shape_of_bounded_size(
    fields: Fields, secure: bool, http1: bool | None, ordered: bool, ja4: bytes
) -> None:
    shape = shape_of(fields, secure=secure, http1=http1, ordered=ordered, ja4=ja4)
    assert len(shape.digest) == 8 and len(shape.handshake) in (0, 8)
    assert len(shape.signals) <= 8 and 0 <= shape.points <= 100
    assert shape.points == sum(signal.points for signal in shape.signals)
    assert all(signal.points > 0 and len(signal.reason) < 120 for signal in shape.signals)
    assert shape == shape_of(fields, secure=secure, http1=http1, ordered=ordered, ja4=ja4)


@given(FIELDS)
def test_over_http_nothing_is_missed(fields: Fields) -> None:
    names = {"partial metadata", "old browser", "future browser"}
    assert set(found(fields, secure=False)) <= names


@pytest.mark.parametrize("name", [b"user-agent", b"accept", b"accept-encoding", b"sec-ch-ua", b"cookie", b"x"])
def test_a_shape_is_read_in_linear_time(name: bytes) -> None:
    def seconds(times: int) -> float:
        fields = PAGE | {name: PAGE.get(name, b"") + b"Chrome/1, gzip;q=1 " * times}
        began = time.perf_counter()
        read_shape(fields, UNKNOWN_AGENT, secure=True, newest_s=NOW_S)
        return time.perf_counter() - began

    short, long = min(seconds(1_000) for _ in range(5)), min(seconds(20_000) for _ in range(5))
    assert long < 100 * max(short, 1e-5)  # 20 x; 400 x if it were quadratic


# -- real ones -----------------------------------------------------------------------------------------------


def captured() -> Iterator[tuple[str, Fields]]:
    for program, requests in json.loads(CLIENTS.read_text()).items():
        for request in requests:
            yield program, lines_of(request["headers"])


@pytest.mark.skipif(not CLIENTS.exists(), reason="../shared is not here")
def test_captured_browsers_give_no_signal() -> None:
    seen = set()
    for program, fields in captured():
        if program.startswith(("chromium", "firefox")):
            seen.add(program)
            assert found(fields, secure=False) == {}, fields  # they were captured over HTTP
            if b"sec-fetch-mode" in fields:  # the address was one that they trust
                assert found(fields) == {}, fields
    assert len(seen) >= 5


@pytest.mark.skipif(not CLIENTS.exists(), reason="../shared is not here")
def test_captured_programs_are_what_they_say_or_are_found_out() -> None:
    for program, fields in captured():
        if program.startswith("ytdlp"):
            assert "partial metadata" in found(fields), fields
        elif not program.startswith(("chromium", "firefox")):
            assert found(fields) == {}, fields
            assert not shape_of(fields).browser


def test_listeners_are_found_nothing_but_what_a_person_may_lack() -> None:
    """Headers of everybody who listens in this suite: never as much as leads to a refusal."""
    worst: dict[str, float] = {}
    for persona in PERSONAS[::4]:
        if persona.truth != "human" or persona.large:
            continue
        for line in persona.lines(0, GENERIC, 43_200.0)[:60]:
            shape = shape_of(lines_of(line["headers"]), secure=True)
            worst[persona.name] = max(worst.get(persona.name, 0.0), shape.points)
    assert len(worst) > 10
    assert max(worst.values()) < 30, worst

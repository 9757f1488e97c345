"""What gets by with a glance is counted as what is looked at in full, and is looked at as soon as something changes."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guard import Request
from guard.detectors.counted import ASKED, DOCUMENTS, HEADS, LIFE, NUMBERS, TUNES
from guard.watching import Told
from tests.visitors import CHROME, HOST, Fields, Site, by

HOME = "203.0.113.9"
PAGE = f"https://{HOST}/track/5000"
KINDS = {
    "/track/{}": "document",
    "/static/app.css": "style",
    "/img/{}.jpg": "image",
    "/api/tracks/{}": "empty",
    "/hls/{}/index.m3u8": "empty",
    "/hls/{}/seg1.m4s": "empty",
}


def fields_of(path: str, sid: str = "anna") -> Fields:
    kind = next(kind for form, kind in KINDS.items() if path.split("/")[1] == form.split("/")[1])
    return by(CHROME, kind, sid) if kind == "document" else by(CHROME, kind, sid, referer=PAGE)


def asked(site: Site, path: str, fields: Fields, method: str = "GET") -> Request:
    return Request(method, path.encode(), fields[b"user-agent"], HOME)


class Twin:
    """The same site twice: once with glances, once with every request looked at in full."""

    def __init__(self) -> None:
        self.quick, self.full = Site().opened(), Site().opened()

    def ask(self, path: str, fields: Fields, method: str = "GET") -> bool:
        """Was a glance enough?"""
        guard = self.quick.guard
        request = asked(self.quick, path, fields, method)
        decision = guard.decide(request)
        watched = guard.glimpse(request, decision, fields)
        glanced = watched is not None
        if watched is None:
            decision, watched = guard.look(request, decision, fields, Told(secure=True))
        plain = self.full.guard
        decided, seen = plain.look(request, plain.decide(request), fields, Told(secure=True))
        assert (decision.action, {one.name for one in decision.signals}) == (
            decided.action,
            {one.name for one in decided.signals},
        )
        for where, what in ((guard, watched), (plain, seen)):
            if what is not None:
                where.hear(what, 200, 40_000)
        return glanced

    def later(self, seconds: float) -> None:
        self.quick.later(seconds)
        self.full.later(seconds)

    def numbers(self, site: Site) -> list[float]:
        """What the site's habits and the listener's numbers stand at, with signs of life that are still to be told."""
        lookout = site.lookout
        ears = [ear for key, ear in lookout._ears.young.items() if key[:1] == b"s"]
        own = max(ears, key=lambda ear: ear.note_s)
        reading = lookout.meters.read(own.key, site.now_s)
        assert reading is not None
        habits = [lookout._pages, lookout._parts, lookout._pictures, lookout._cookies]
        told = [reading[index] for index in (ASKED, NUMBERS, TUNES, DOCUMENTS, HEADS)]
        return [*habits, *told, reading[LIFE] + own.lively]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.integers(20, 160))
def test_a_glance_counts_what_a_look_counts(seed: int, requests: int) -> None:
    chance, twin = Random(seed), Twin()
    for path in ("/track/5000", "/static/app.css"):
        twin.ask(path, fields_of(path))
    for _ in range(requests):
        path = chance.choice(list(KINDS)).format(5_000 + chance.randrange(12) * 977)
        twin.ask(path, fields_of(path))
        twin.later(chance.choice((0.1, 0.5, 4.0)))
    twin.later(30)
    for site in (twin.quick, twin.full):  # what waits is settled by the next request that is looked at
        site.ask("/api/me", fields_of("/api/tracks/1"), HOME, method="HEAD")
    assert twin.numbers(twin.quick) == pytest.approx(twin.numbers(twin.full), rel=0.05, abs=0.3)


def test_most_of_what_a_listener_asks_gets_by_with_a_glance() -> None:
    twin = Twin()
    glanced: list[bool] = []
    for track in range(5_000, 25_000, 1_000):
        page = [f"/track/{track}", "/static/app.css", *[f"/img/{track + cover}.jpg" for cover in range(5)]]
        for path in (*page, f"/api/tracks/{track}", f"/api/stream/{track}", f"/hls/{track}/index.m3u8"):
            glanced.append(twin.ask(path, fields_of(path)))
            twin.later(0.05)
        for number in range(8):
            path = f"/hls/{track}/seg{number}.m4s"
            glanced.append(twin.ask(path, fields_of(path)))
            twin.later(6.0)
    assert sum(glanced) > 0.75 * len(glanced)


@pytest.mark.parametrize(
    ("path", "method", "more"),
    [
        ("/track/6000", "GET", {b"sec-purpose": b"prefetch"}),
        ("/track/6000", "HEAD", {}),
        ("/api/tracks/6000", "GET", {b"sec-fetch-dest": b"document"}),
        ("/track/6000", "GET", {b"sec-fetch-dest": b"empty"}),
        ("/api/tracks/6000", "GET", {b"x-emby-token": b"t"}),
        ("/api/tracks/6000", "GET", {b"cookie": b"sid=somebody-new"}),
        ("/api/tracks/%36000", "GET", {}),
    ],
)
def test_what_is_out_of_the_ordinary_is_looked_at(path: str, method: str, more: Fields) -> None:
    twin = Twin()
    for usual in (
        "/track/5000",
        "/static/app.css",
        "/img/5000.jpg",
        "/api/tracks/5000",
        "/track/5977",
        "/api/tracks/1",
    ):
        twin.ask(usual, fields_of(usual))
        twin.later(0.3)
    plain = path.replace("%3", "")
    assert twin.ask(plain, fields_of(plain))
    assert not twin.ask(path, fields_of(path) | more, method)


def test_whose_a_head_is_is_asked_again_when_it_may_be_anothers() -> None:
    site = Site().opened()
    site.visit(5_000, HOME, sid="anna")
    guard, watching = site.guard, site.guard.watching
    assert watching is not None
    fields = fields_of("/api/tracks/5000")
    request = asked(site, "/api/tracks/5000", fields)
    decision = guard.decide(request)
    known = guard.recognise(request, decision, fields)
    assert known is not None
    assert watching.knows(known, HOME, decision)
    assert not watching.knows(known, "203.0.113.10", decision)
    assert not watching.knows(known, HOME, decision._replace(action="throttle"))
    assert not Site().guard.watching.knows(known, HOME, decision)  # type: ignore[union-attr]
    site.lookout.introduce(known.who.session, b"anna@example.org")
    assert not watching.knows(known, HOME, decision)
    again = guard.recognise(request, decision, fields)
    assert again is not None
    assert again.who.key == b"uanna@example.org"

"""Registers over a network keep the contract of guard/protocols.py, whatever becomes of who is asked.

The platform that is asked is a real HTTP server; Valkey and Redis are real ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.errors import RegisterError
from guard.protocols import NOTHING_LISTED, Change, Known, Register, RightsSource
from guard.registers import open_register
from guard.registers.http import HttpRegister
from guard.registers.redis import RedisRegister
from guard.registers.remote import KEPT_S, MAX_WAITING, Answers, Entry, RemoteSource
from guard.rights import Choice, Work, read_choice, read_work
from tests.servers import DEBIAN_REDIS, Server, eventually, server

pytestmark = pytest.mark.anyio

TRACK, RELEASE, ARTIST, LABEL = (read_work(text) for text in ("track:1", "release:2", "artist:3", "label:4"))
NO_AI = read_choice({"preferences": {"train-ai": "disallow", "ai-use": "disallow"}})
OPEN = read_choice({"preferences": {"train-ai": "open"}, "contact": "mailto:anna@example.org"})


@asynccontextmanager
async def opened(source: RightsSource) -> AsyncIterator[None]:
    await source.open()
    try:
        yield
    finally:
        await source.close()


def said_of(source: RightsSource, work: Work) -> Choice | None:
    return dict(source.find((work,)).chain).get(work)


# -- the law of all of them ------------------------------------------------------------------------------------


class Asked(RemoteSource):
    """A source whose clock is turned by hand, and that answers what stands in a table, when it is let."""

    def __init__(self, table: dict[Work, Entry | None], **options: Any) -> None:
        self.now_s = 1000.0
        self.table = table
        self.fails: Exception | None = None
        self.age_s = float("inf")
        self.batches_seen: list[tuple[Work, ...]] = []
        self.under_way = self.most_under_way = 0
        self.gate: asyncio.Event | None = None
        super().__init__("the test", clock=lambda: self.now_s, chance=lambda: 1.0, **options)

    async def fetch(self, works: Sequence[Work]) -> Answers:
        self.batches_seen.append(tuple(works))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.gate is not None:
                await self.gate.wait()
            if self.fails is not None:
                raise self.fails
            return Answers({work: self.table[work] for work in works if work in self.table}, self.age_s)
        finally:
            self.under_way -= 1

    async def settled(self) -> None:
        await eventually(lambda: not self._asked and not self._planned, 5.0)


FAMILY: dict[Work, Entry | None] = {
    TRACK: (NO_AI, (RELEASE, ARTIST)),
    RELEASE: (None, (ARTIST,)),
    ARTIST: (OPEN, (LABEL,)),
    LABEL: None,
}


async def test_what_nobody_asked_for_yet_is_away_and_is_asked_for_beside_the_request() -> None:
    source = Asked(FAMILY)
    async with opened(source):
        first = source.find((TRACK,))
        assert (first.state, dict(first.chain)) == ("away", {TRACK: None})
        await source.settled()
        known = source.find((TRACK,))
    assert known.state == "known"
    assert dict(known.chain) == {TRACK: NO_AI, RELEASE: None, ARTIST: OPEN, LABEL: None}


async def test_whatever_is_remembered_no_question_fails() -> None:
    strange = Work("song", "1")
    source = Asked({strange: (NO_AI, (ARTIST,)), TRACK: FAMILY[TRACK]})
    async with opened(source):
        source.find((strange,))
        source.find((TRACK,))
        await source.settled()
        assert source.find((strange,)) == Known(((strange, None),), "away")
        assert said_of(source, TRACK) == NO_AI


async def test_asks_of_one_tick_go_out_together_and_each_work_once() -> None:
    works = [Work("label", str(number)) for number in range(50)]
    source = Asked(dict.fromkeys(works))
    async with opened(source):
        for work in works * 3:
            source.find((work,))
        await source.settled()
    assert [len(batch) for batch in source.batches_seen] == [50]


async def test_a_work_that_is_being_asked_for_is_not_asked_for_again() -> None:
    source = Asked({LABEL: None})
    source.gate = asyncio.Event()
    async with opened(source):
        source.find((LABEL,))
        await eventually(lambda: source.under_way == 1, 5.0)
        for _ in range(10):
            assert source.find((LABEL,)).state == "away"
            await asyncio.sleep(0)
        source.gate.set()
        await source.settled()
    assert source.batches_seen == [(LABEL,)]


async def test_no_more_asks_than_allowed_are_under_way_and_the_queue_is_bounded() -> None:
    works = [Work("label", str(number)) for number in range(MAX_WAITING + 500)]
    source = Asked(dict.fromkeys(works), at_once=3, batch=100)
    source.gate = asyncio.Event()
    async with opened(source):
        for work in works:
            assert source.find((work,)).state == "away"
        await eventually(lambda: source.under_way == 3, 5.0)
        source.gate.set()
        await source.settled()
        assert (source.most_under_way, source.dropped) == (3, 500)
        assert max(map(len, source.batches_seen)) == 100


async def test_the_same_object_is_given_while_nothing_changed() -> None:
    source = Asked(dict(FAMILY), unknown_age_s=60.0)
    async with opened(source):
        source.find((TRACK,))
        await source.settled()
        known = source.find((TRACK,))
        source.now_s += 50.0  # not yet old, but asked again
        assert source.find((TRACK,)) is known
        await source.settled()
        assert len(source.batches_seen) > 3
        assert source.find((TRACK,)) is known
        source.table[ARTIST] = (None, (LABEL,))
        source.now_s += 50.0
        source.find((TRACK,))
        await source.settled()
        assert dict(source.find((TRACK,)).chain)[ARTIST] is None


async def test_what_is_wanted_all_the_time_never_goes_stale_while_the_source_answers() -> None:
    source = Asked(FAMILY, max_age_s=60.0)
    async with opened(source):
        source.find((TRACK,))
        await source.settled()
        for _ in range(100):
            source.now_s += 3.0
            assert source.find((TRACK,)).state == "known"
            await source.settled()


async def test_a_source_that_fails_leaves_the_last_good_for_a_day() -> None:
    source = Asked(FAMILY, max_age_s=60.0)
    async with opened(source):
        source.find((TRACK,))
        await source.settled()
        good = source.find((TRACK,)).chain
        source.fails = RegisterError("gone")
        source.now_s += 61.0
        for _ in range(20):
            stale = source.find((TRACK,))
            assert (stale.state, stale.chain) == ("stale", good)
            await source.settled()
            source.now_s += 600.0
        source.now_s += KEPT_S
        assert (source.find((TRACK,)).state, said_of(source, TRACK)) == ("away", None)
        source.fails = None
        source.now_s += 31.0
        source.find((TRACK,))
        await source.settled()
        assert source.find((TRACK,)).state == "known"


async def test_a_failing_source_is_asked_ever_less_and_complained_of_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "guard.rights")
    source = Asked(FAMILY)
    source.fails = RegisterError("gone")
    async with opened(source):
        for _ in range(600):  # a minute, in steps of 0.1 s
            for number in range(3):
                source.find((Work("label", str(number)),))
            await source.settled()
            source.now_s += 0.1
        assert 5 <= len(source.batches_seen) <= 9  # 0.25, 0.5, 1, 2, 4, 8, 16, 30 s
        assert [record.getMessage() for record in caplog.records] == [
            "rights from the test: gone; what it said last goes on"
        ]
        source.fails = None
        source.now_s += 31.0
        source.find((LABEL,))
        await source.settled()
        assert caplog.records[-1].getMessage().startswith("rights from the test: it answers again")
    assert len(caplog.records) == 2


async def test_pauses_are_uneven_so_that_workers_do_not_come_back_together() -> None:
    source = Asked({})
    source._chance = lambda: 0.0
    short = [source._pause_s(failures) for failures in range(1, 12)]
    source._chance = lambda: 1.0
    long = [source._pause_s(failures) for failures in range(1, 12)]
    assert long == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0]
    assert short == [pause / 2 for pause in long]


async def test_an_ask_has_one_deadline() -> None:
    source = Asked(FAMILY, timeout_s=0.05)
    source.gate = asyncio.Event()
    async with opened(source):
        source.find((TRACK,))
        await eventually(lambda: source.failures == 1, 2.0)
        assert source.find((TRACK,)).state == "away"


async def test_that_a_work_is_not_known_is_an_answer_and_forgotten_sooner() -> None:
    source = Asked({LABEL: None}, max_age_s=60.0)
    async with opened(source):
        source.find((LABEL,))
        await source.settled()
        known = source.find((LABEL,))
        assert (known.state, known.chain) == ("known", ((LABEL, None),))
        await source.settled()
        assert len(source.batches_seen) == 1
        source.now_s += 16.0
        assert source.find((LABEL,)).state == "stale"
        await source.settled()
        assert len(source.batches_seen) == 2


async def test_a_work_that_is_left_out_of_an_answer_keeps_its_last_good() -> None:
    source = Asked(dict(FAMILY), max_age_s=60.0)
    async with opened(source):
        source.find((TRACK,))
        await source.settled()
        del source.table[TRACK]
        source.now_s += 61.0
        source.find((TRACK,))
        await source.settled()
        again = source.find((TRACK,))
        assert (again.state, dict(again.chain)[TRACK]) == ("stale", NO_AI)
        await source.settled()
        asked = sum(TRACK in batch for batch in source.batches_seen)
        source.find((TRACK,))
        await source.settled()
        assert sum(TRACK in batch for batch in source.batches_seen) == asked == 2  # not for every request
        source.table[TRACK] = (OPEN, ())
        source.now_s += 1.0
        source.find((TRACK,))
        await source.settled()
        assert (source.find((TRACK,)).state, said_of(source, TRACK)) == ("known", OPEN)


async def test_who_heeds_is_told_of_differences_and_only_of_those() -> None:
    source = Asked(dict(FAMILY), max_age_s=60.0)
    told: list[float] = []
    source.heed(_raise)  # who listens badly does not make others deaf
    source.heed(lambda: told.append(source.now_s))
    async with opened(source):
        source.find((TRACK,))
        await source.settled()
        source.now_s += 61.0
        source.find((TRACK,))
        await source.settled()
        source.table[TRACK] = (OPEN, (RELEASE, ARTIST))
        source.table[ARTIST] = (NO_AI, (LABEL,))
        source.now_s += 61.0
        source.find((TRACK,))
        await source.settled()
        await eventually(lambda: bool(told), 2.0)
        assert len(told) == 1


def _raise() -> None:
    raise ValueError("a bad listener")


async def test_what_is_remembered_is_bounded_whoever_chooses_the_works() -> None:
    source = Asked({}, works=100)
    async with opened(source):
        for start in range(0, 2000, 100):
            works = [Work("label", str(number)) for number in range(start, start + 100)]
            source.table.update(dict.fromkeys(works))
            for work in works:
                source.find((work,))
            await source.settled()
        assert len(source._memory) <= 200
        assert len(source._chains) <= 50


async def test_what_is_in_use_is_not_forgotten_while_others_pass_by() -> None:
    source = Asked(dict(FAMILY), works=100, max_age_s=60.0)
    async with opened(source):
        source.find((TRACK,))
        await source.settled()
        for start in range(0, 1000, 20):
            works = [Work("label", str(number)) for number in range(start, start + 20)]
            source.table.update(dict.fromkeys(works))
            for work in works:
                source.find((work,))
                assert source.find((TRACK,)).state == "known"
            await source.settled()
        source.now_s += 61.0
        assert source.find((TRACK,)).state == "stale"  # not away


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("turn"), st.floats(0.0, 100.0)),
            st.tuples(st.just("says"), st.sampled_from([None, (None, ()), (NO_AI, ()), (OPEN, (ARTIST,))])),
            st.tuples(st.just("fails"), st.booleans()),
            st.tuples(st.just("left out"), st.just(None)),
        ),
        max_size=30,
    )
)
def test_what_is_called_known_was_said_within_its_age(steps: list[tuple[str, Any]]) -> None:
    async def live() -> None:
        source = Asked({TRACK: None, ARTIST: None}, max_age_s=60.0)
        lately: list[tuple[float, Entry | None]] = [(source.now_s, None)]
        async with opened(source):
            for step, value in steps:
                if step == "turn":
                    source.now_s += value
                elif step == "fails":
                    source.fails = RegisterError("gone") if value else None
                elif step == "left out":
                    source.table.pop(TRACK, None)
                else:
                    source.table[TRACK] = value
                    lately.append((source.now_s, value))
                known = source.find((TRACK,))
                if known.state == "known":
                    until = [*(at_s for at_s, _ in lately[1:]), source.now_s]
                    so = [entry for (_, entry), end_s in zip(lately, until, strict=True) if end_s >= source.now_s - 60]
                    assert dict(known.chain)[TRACK] in [entry[0] if entry else None for entry in so]
                await source.settled()

    asyncio.run(live())


async def test_before_open_and_after_close_it_finds_what_it_remembers() -> None:
    source = Asked(FAMILY)
    assert source.find((TRACK,)).state == "away"
    async with opened(source):
        source.find((TRACK,))
        await source.settled()
    assert source.find((TRACK,)).state == "known"
    await source.close()
    source.now_s += 61.0
    assert source.find((TRACK,)).state == "stale"
    assert source.listed(10) == NOTHING_LISTED


# -- over HTTP -------------------------------------------------------------------------------------------------


class Platform:
    """A platform's callback on a real socket. `answer` is what it does: bytes to send, or a function of the works."""

    def __init__(self) -> None:
        self.table: dict[str, object] = {}
        self.asks: list[tuple[str, dict[str, str], object]] = []
        self.raw: Callable[[http.server.BaseHTTPRequestHandler], None] | None = None
        self.cache_control = ""
        platform = self

        class Callback(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                platform.asks.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                if platform.raw is not None:
                    platform.raw(self)
                    return
                works = {name: platform.table.get(name) for name in body["works"]}
                said = json.dumps({"works": works}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(said)))
                if platform.cache_control:
                    self.send_header("Cache-Control", platform.cache_control)
                self.end_headers()
                self.wfile.write(said)

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                pass

        self._make = Callback
        self.port = 0
        self.start()

    def start(self) -> None:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), self._make)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/rights?v=1"


@pytest.fixture
def platform() -> Iterator[Platform]:
    one = Platform()
    one.table = {
        "track:1": {"parents": ["artist:3"], "preferences": {"train-ai": "disallow", "ai-use": "disallow"}},
        "artist:3": {"parents": []},
    }
    yield one
    one.stop()


async def until(source: RightsSource, work: Work, state: str, within_s: float = 5.0) -> None:
    await eventually(lambda: source.find((work,)).state == state, within_s)


async def test_a_platform_is_asked_by_post_for_many_works(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUARD_RIGHTS_TOKEN", "a-secret")
    source = open_register(platform.url)
    assert isinstance(source, HttpRegister)
    odd = Work("track", 'AC/DC "x"\u2603&?')
    async with opened(source):
        source.find((TRACK,))
        source.find((odd,))
        await until(source, TRACK, "known")
        assert dict(source.find((TRACK,)).chain) == {TRACK: NO_AI, ARTIST: None}
        assert source.find((odd,)) == (((odd, None),), "known")
    path, headers, body = platform.asks[0]
    assert (path, body) == ("/rights?v=1", {"works": [str(TRACK), str(odd)]})
    assert headers["authorization"] == "Bearer a-secret"
    assert headers["host"] == f"127.0.0.1:{platform.port}"
    assert headers["content-type"] == "application/json"


async def test_a_platform_may_shorten_the_age_of_its_answers_but_not_lengthen_it(platform: Platform) -> None:
    for said, at_most in (("max-age=1", 1.0), ("private, max-age=999999", 60.0), ("no-store", 1.0), ("", 60.0)):
        platform.cache_control = said
        source = HttpRegister(platform.url, max_age_s=60.0)
        async with opened(source):
            source.find((TRACK,))
            await until(source, TRACK, "known")
            held = source._memory.get(TRACK)
            assert held is not None
            assert held.fresh_s - held.good_s == pytest.approx(at_most)


def send(head: str, body: bytes = b"") -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    def do(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        request.close_connection = True

    return do


def _hang(request: http.server.BaseHTTPRequestHandler) -> None:
    request.close_connection = True
    request.connection.settimeout(10)
    request.rfile.read(1)  # until the guard has had enough


def _trickle(request: http.server.BaseHTTPRequestHandler) -> None:
    request.close_connection = True
    request.connection.settimeout(0.02)
    try:
        for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 2000:
            request.wfile.write(bytes([byte]))
            try:
                if not request.connection.recv(1):
                    return
            except TimeoutError:
                pass
    except OSError:
        pass


def _redirect(request: http.server.BaseHTTPRequestHandler) -> None:
    here = f"http://127.0.0.1:{request.server.server_port}/elsewhere"  # type: ignore[attr-defined]
    send(f"HTTP/1.1 307 Temporary Redirect\nLocation: {here}\nContent-Length: 0")(request)


NOT_GOOD: dict[str, Callable[[http.server.BaseHTTPRequestHandler], None]] = {
    "hangs": _hang,
    "trickles": _trickle,
    "hangs up": lambda request: setattr(request, "close_connection", True),
    "no http": send("SSH-2.0-OpenSSH_9.7"),
    "fails in json": send("HTTP/1.1 500 Oops", b'{"works": {"track:1": null}}'),
    "fails": send("HTTP/1.1 500 Oops\nContent-Length: 4", b"oops"),
    "redirects": _redirect,
    "no content": send("HTTP/1.1 204 No Content"),
    "no json": send("HTTP/1.1 200 OK", b"<html>"),
    "not a number": send("HTTP/1.1 200 OK", b'{"works": {"track:1": NaN}}'),
    "other json": send("HTTP/1.1 200 OK", b"[1, 2]"),
    "deep": send("HTTP/1.1 200 OK", b"[" * 100_000),
    "no utf-8": send("HTTP/1.1 200 OK", b'{"works": {"track:1": "\xff"}}'),
    "breaks off": send("HTTP/1.1 200 OK\nContent-Length: 500", b'{"works": {}}'),
    "broken chunks": send("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"5\r\n{}"),
    "too long": send("HTTP/1.1 200 OK", b" " * (1 << 20) + b'{"works": {"track:1": null}}'),
    "endless head": send("HTTP/1.1 200 OK\nX: " + "y" * 200_000, b"{}"),
}


@pytest.mark.parametrize("fault", NOT_GOOD)
async def test_a_broken_platform_leaves_the_last_good_and_nobody_waits(platform: Platform, fault: str) -> None:
    source = HttpRegister(platform.url, max_age_s=0.0, timeout_s=0.3)
    async with opened(source):
        source.find((TRACK,))
        await until(source, TRACK, "known")
        platform.raw = NOT_GOOD[fault]
        await eventually(lambda: source.find((TRACK,)).state == "stale" and source.failures >= 1, 5.0)
        began = time.perf_counter()
        assert said_of(source, TRACK) == NO_AI
        assert time.perf_counter() - began < 0.05
        platform.raw = None
        platform.table["track:1"] = {"preferences": {"train-ai": "open"}, "contact": "mailto:anna@example.org"}
        await eventually(lambda: said_of(source, TRACK) == OPEN, 5.0)
    assert all(path == "/rights?v=1" for path, _, _ in platform.asks)


@pytest.mark.parametrize(
    "said",
    [
        {"preferences": {"train-ai": "maybe"}},
        {"surprise": 1},
        {"parents": "artist:3"},
        {"parents": ["artist"]},
        {"parents": [f"artist:{number}" for number in range(64)]},
        {"preferences": {}, "contact": "x" * 70_000},
        {"preferences": {"train-ai": "allow"}, "until": "soon"},
        [],
        "x",
    ],
    ids=str,
)
async def test_one_work_said_badly_keeps_its_last_good_and_harms_no_other(platform: Platform, said: object) -> None:
    source = HttpRegister(platform.url, max_age_s=0.0, timeout_s=0.5)
    other = Work("label", "9")
    async with opened(source):
        source.find((TRACK,))
        await until(source, TRACK, "known")
        platform.table["track:1"] = said
        await eventually(lambda: source.find((TRACK,)).state == "stale" and source.malformed >= 1, 5.0)
        platform.table["label:9"] = {"preferences": {"search": "allow"}}
        await until(source, other, "known")
        assert said_of(source, TRACK) == NO_AI
        assert source.failures == 0


async def test_a_work_that_the_answer_leaves_out_was_not_answered_for(platform: Platform) -> None:
    platform.raw = send("HTTP/1.1 200 OK", b'{"works": {"label:4": null}}')
    source = HttpRegister(platform.url)
    async with opened(source):
        source.find((TRACK,))
        await until(source, LABEL, "known")
        assert source.find((TRACK,)).state == "away"
        assert (source.malformed, source.failures) == (1, 0)


async def test_an_answer_without_an_end_is_broken_off_long_before_the_deadline(platform: Platform) -> None:
    def flood(request: http.server.BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                request.wfile.write(b" " * 65_536)

    platform.raw = flood
    source = HttpRegister(platform.url, timeout_s=60.0)
    async with opened(source):
        source.find((TRACK,))
        await eventually(lambda: source.failures == 1, 10.0)


async def test_chunks_and_a_body_that_ends_with_the_connection_are_read(platform: Platform) -> None:
    said = b'{"works": {"label:4": {"preferences": {"search": "allow"}}}}'
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(said), said)
    answers = (send("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", chunked), send("HTTP/1.0 200 OK", said))
    for answer in answers:
        platform.raw = answer
        source = HttpRegister(platform.url)
        async with opened(source):
            await until(source, LABEL, "known")
            assert said_of(source, LABEL) == read_choice({"preferences": {"search": "allow"}})


async def test_a_platform_that_is_gone_and_comes_back_is_asked_again(platform: Platform) -> None:
    source = HttpRegister(platform.url, max_age_s=0.0, timeout_s=0.5)
    async with opened(source):
        source.find((TRACK,))
        await until(source, TRACK, "known")
        platform.stop()
        await eventually(lambda: source.find((TRACK,)).state == "stale" and source.failures >= 1, 5.0)
        platform.start()
        await until(source, TRACK, "known")


async def test_an_answer_of_a_mebibyte_is_read_beside_the_loop(platform: Platform) -> None:
    works = [Work("label", f"{number}-{'x' * 400}") for number in range(100)]
    long = {
        "preferences": {"search": "allow"},
        "reason": "y" * 1999,
        "territory": "z" * 1999,
        "contact": f"https://{'w' * 1991}",
    }
    platform.table = {str(work): long for work in works}
    source = HttpRegister(platform.url, timeout_s=10.0)
    async with opened(source):
        for work in works:
            source.find((work,))
        await until(source, works[-1], "known")
        assert all(source.find((work,)).state == "known" for work in works)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/",
        "http:///x",
        "https://user:secret@example.org/",
        "https://example.org/#x",
        "https://example.org/a b",
        "https://example.org/\r\nX: y",
        "https://example.org/é",
        "https://example.org:99999/",
        "file:///etc/passwd",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ValueError) as refused:
        HttpRegister(url)
    assert "secret" not in str(refused.value)


def test_a_token_that_would_break_the_head_is_refused() -> None:
    with pytest.raises(ValueError):
        HttpRegister("https://example.org/", token="a\r\nX: y")


# -- on Redis and Valkey ---------------------------------------------------------------------------------------

SERVERS = ["valkey", pytest.param("redis", marks=pytest.mark.skipif(not DEBIAN_REDIS.exists(), reason="no Redis"))]


@pytest.fixture(params=SERVERS)
def store(request: pytest.FixtureRequest) -> Iterator[Server]:
    with server(request.param) as one:
        yield one


def change(work: Work, choice: Choice | None, at_s: float = 1000.0, reason: str = "asked") -> Change:
    return Change(at_s, work, choice, "anna", reason)


def preferences(choice: Choice | None) -> object:
    return None if choice is None else choice.preferences


async def test_a_change_by_another_process_is_found_within_two_seconds(store: Server) -> None:
    with_it = RedisRegister(store.url)
    with_it.put(change(TRACK, NO_AI), (RELEASE,))
    with_it.put(change(ARTIST, None), (LABEL,))
    with_it.put(change(RELEASE, None), (ARTIST,))
    source = RedisRegister(store.url)
    told: list[float] = []
    source.heed(lambda: told.append(time.monotonic()))
    async with opened(source):
        await until(source, TRACK, "known")
        assert [preferences(choice) for _, choice in source.find((TRACK,)).chain] == [
            NO_AI.preferences,
            None,
            None,
            None,
        ]
        await eventually(lambda: source.listed(10).total == 1, 2.0)
        words = (
            "import sys; from guard.registers.redis import RedisRegister; from guard.protocols import Change;"
            "from guard.rights import Work, read_choice;"
            "RedisRegister(sys.argv[1]).put(Change(2000.0, Work('label', '4'), "
            "read_choice({'preferences': {'search': 'disallow'}}), 'a label', 'contract'))"
        )
        subprocess.run([sys.executable, "-c", words, store.url], check=True)
        noted = time.monotonic()
        await eventually(lambda: preferences(said_of(source, LABEL)) == {"": {"search": "disallow"}}, 2.0)
        await until(source, TRACK, "known", 2.0)
        await eventually(lambda: bool(told) and told[-1] >= noted - 0.5, 2.0)
        await eventually(lambda: [work for work, _ in source.listed(10).works] == [LABEL, TRACK], 2.0)
        assert time.monotonic() - noted < 2.0


async def test_only_what_changed_is_asked_again(store: Server) -> None:
    source = RedisRegister(store.url)
    source.put(change(TRACK, NO_AI))
    source.put(change(LABEL, NO_AI))
    async with opened(source):
        await until(source, TRACK, "known")
        await until(source, LABEL, "known")
        asks = source.asks
        source.put(change(LABEL, OPEN))
        await eventually(lambda: preferences(said_of(source, LABEL)) == OPEN.preferences, 2.0)
        assert source.find((TRACK,)).state == "known"
        assert source.asks == asks + 1


async def test_after_many_changes_at_once_everything_is_asked_again(store: Server) -> None:
    source = RedisRegister(store.url)
    source.put(change(TRACK, NO_AI))
    async with opened(source):
        await until(source, TRACK, "known")
        with store.client() as client:
            client.hset(
                "guard:rights:works:track", "1", '{"parents": [], "said": {"preferences": {"train-ai": "open"}}}'
            )
            client.incrby("guard:rights:version", 5000)
        await eventually(lambda: preferences(said_of(source, TRACK)) == OPEN.preferences, 2.0)


async def test_a_hash_that_somebody_else_filled_is_a_register(store: Server) -> None:
    with store.client() as client:
        client.hset(
            "mine:works:track", "1", '{"said": {"preferences": {"train-ai": "disallow", "ai-use": "disallow"}}}'
        )
    source = RedisRegister(store.url, prefix="mine:")
    async with opened(source):
        await until(source, TRACK, "known")
        assert said_of(source, TRACK) == NO_AI
    assert source.entry(TRACK) == (NO_AI, ())
    assert dict(source.at((TRACK,), 5000.0).chain) == {TRACK: NO_AI}
    assert source.history(TRACK) == ()


async def test_a_killed_server_leaves_the_last_good_and_an_empty_one_is_no_register(store: Server) -> None:
    source = RedisRegister(store.url)
    source.put(change(TRACK, NO_AI))
    async with opened(source):
        await until(source, TRACK, "known")
        store.kill()
        await until(source, TRACK, "stale", 4.0)
        assert preferences(said_of(source, TRACK)) == NO_AI.preferences
        assert source.find((LABEL,)).state == "away"
        with pytest.raises(RegisterError):
            source.put(change(TRACK, OPEN))
        store.start()  # it kept nothing
        failures = source.failures
        await eventually(lambda: source.failures > failures + 1, 4.0)
        assert (source.find((TRACK,)).state, preferences(said_of(source, TRACK))) == ("stale", NO_AI.preferences)
        source.put(change(TRACK, OPEN))
        await eventually(lambda: preferences(said_of(source, TRACK)) == OPEN.preferences, 4.0)
        await until(source, TRACK, "known", 4.0)


async def test_another_register_in_the_place_of_the_old_one_is_read_anew(store: Server) -> None:
    source = RedisRegister(store.url)
    source.put(change(TRACK, NO_AI))
    async with opened(source):
        await until(source, TRACK, "known")
        with store.client() as client:
            client.flushall()
            for work in (TRACK, ARTIST, LABEL):  # more changes than the old one had
                RedisRegister(store.url).put(change(work, OPEN))
        await eventually(lambda: preferences(said_of(source, TRACK)) == OPEN.preferences, 4.0)


async def test_a_hanging_server_holds_nobody_up(store: Server) -> None:
    source = RedisRegister(store.url, write_timeout_s=0.3)
    source.put(change(TRACK, NO_AI))
    async with opened(source):
        await until(source, TRACK, "known")
        store.pause()
        try:
            slowest = 0.0
            while source.find((TRACK,)).state != "stale":
                began = time.perf_counter()
                source.find((TRACK,))
                source.listed(10)
                slowest = max(slowest, time.perf_counter() - began)
                await asyncio.sleep(0.01)
            assert slowest < 0.05
            with pytest.raises(RegisterError):
                source.entry(TRACK)
        finally:
            store.resume()
        await until(source, TRACK, "known", 4.0)


async def test_a_source_opens_while_the_server_is_away_and_finds_it_later() -> None:
    with server("valkey", started=False) as away:
        source = RedisRegister(away.url)
        async with opened(source):
            assert source.find((TRACK,)).state == "away"
            assert source.listed(10) == NOTHING_LISTED
            away.start()
            source.put(change(TRACK, NO_AI))
            await eventually(lambda: preferences(said_of(source, TRACK)) == NO_AI.preferences, 4.0)


async def test_an_entry_that_cannot_be_read_keeps_its_last_good(store: Server) -> None:
    source = RedisRegister(store.url)
    source.put(change(TRACK, NO_AI))
    async with opened(source):
        await until(source, TRACK, "known")
        with store.client() as client:
            client.hset("guard:rights:works:track", "1", b"\xff{")
            client.incr("guard:rights:version")
        await eventually(lambda: source.find((TRACK,)).state == "stale" and source.malformed >= 1, 4.0)
        assert preferences(said_of(source, TRACK)) == NO_AI.preferences
    with pytest.raises(RegisterError):
        source.entry(TRACK)


def test_nothing_is_forgotten(store: Server) -> None:
    register: Register = RedisRegister(store.url)
    assert isinstance(register, Register)
    odd = Work("track", "AC/DC é:☃")
    register.put(change(odd, NO_AI, 1000.0), (ARTIST,))
    register.put(change(odd, OPEN, 2000.0, "licensed"))
    register.put(change(odd, None, 3000.0, "withdrawn"))
    register.put(change(ARTIST, OPEN, 2500.0), ())
    assert register.entry(odd) == (None, (ARTIST,))
    assert register.entry(Work("track", "?")) is None
    told = register.history(odd)
    assert [(one.at_s, preferences(one.choice), one.by, one.reason) for one in told] == [
        (1000.0, NO_AI.preferences, "anna", "asked"),
        (2000.0, OPEN.preferences, "anna", "licensed"),
        (3000.0, None, "anna", "withdrawn"),
    ]
    for moment_s, then in ((999.0, None), (1000.0, NO_AI), (2999.9, OPEN), (3000.0, None)):
        assert preferences(dict(register.at((odd,), moment_s).chain)[odd]) == preferences(then)
    assert [one.at_s for one in register.changes(1000.0, 10)] == [1000.0, 2000.0, 2500.0, 3000.0]
    assert [one.at_s for one in register.changes(1000.1, 2)] == [2000.0, 2500.0]
    in_force = [(work, preferences(choice), parents) for work, choice, parents in register.entries()]
    assert in_force == [(ARTIST, OPEN.preferences, ()), (odd, None, (ARTIST,))]
    stats = register.stats()
    assert (stats["works"], stats["choices"], stats["changes"]) == ({"artist": 1, "track": 1}, {"artist": 1}, 4)
    assert stats["newest_s"] == 3000.0
    assert [work for work, _ in register.listed(10).works] == [ARTIST]


def test_parents_stay_when_a_change_does_not_speak_of_them(store: Server) -> None:
    register = RedisRegister(store.url)
    register.put(change(TRACK, NO_AI), (RELEASE, ARTIST))
    register.put(change(TRACK, OPEN))
    assert (register.entry(TRACK) or ())[1:] == ((RELEASE, ARTIST),)
    register.put(change(TRACK, OPEN), ())
    assert (register.entry(TRACK) or ())[1:] == ((),)
    with pytest.raises(RegisterError):
        register.put(change(ARTIST, OPEN), (TRACK,))


def test_many_works_come_out_in_order(store: Server) -> None:
    register = RedisRegister(store.url)
    for number in range(1200):
        register.put(change(Work("track", str(number)), NO_AI, 1000.0 + number))
    assert [int(work.id) for work, _, _ in register.entries()] == list(range(1200))
    assert len(register.changes(0.0, 5000)) == 1200
    listed = register.listed(3)
    assert ([work.id for work, _ in listed.works], listed.total) == (["1199", "1198", "1197"], 1200)


def test_a_server_that_is_not_there_is_told_without_its_password() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        register = RedisRegister(f"redis://anna:geheim@127.0.0.1:{taken.getsockname()[1]}/0")
        with pytest.raises(RegisterError) as refused:
            register.put(change(TRACK, NO_AI))
    assert "geheim" not in str(refused.value) + repr(register)
    with pytest.raises(ValueError) as unread:
        RedisRegister("redis://:geheim@127.0.0.1:no/0")
    assert "geheim" not in str(unread.value)


def test_a_server_that_lets_nobody_write_is_a_register_error() -> None:
    with server("valkey") as one:
        with one.client() as client:
            client.config_set("requirepass", "geheim")
        with pytest.raises(RegisterError, match="does not let us in"):
            RedisRegister(one.url).entry(TRACK)

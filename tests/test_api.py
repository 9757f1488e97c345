"""The HTTP API over a register: who may ask, what is answered, and that no request makes it fail.

Asked with real clients of a real uvicorn, and mounted in Starlette and FastAPI.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
import uvicorn
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from starlette.applications import Starlette
from starlette.routing import Mount

from guard.api import MAX_FAILURES, Api, Failures, Token, create_api, read_tokens
from guard.errors import RegisterError
from guard.openapi import describe
from guard.protocols import NOTHING_LISTED, Change, Known, Register
from guard.registers.http import HttpRegister
from guard.registers.plain import MemoryRegister
from guard.registers.redis import RedisRegister
from guard.registers.sqlite import SqliteRegister
from guard.rights import HOLDINGS, PURPOSES, WORDS, Choice, Work, read_choice, write_choice
from tests.processes import answers, eventually, free_port
from tests.servers import server

WRITER, READER = "w" * 32, "r" * 40
TOKENS = {
    "settings page": Token(hashlib.sha256(WRITER.encode()).digest()),
    "auditor": Token(hashlib.sha256(READER.encode()).digest(), False),
}
NO_AI = {"preferences": {"train-ai": "disallow", "ai-use": "disallow"}}
DESCRIBED = describe("/guard/api", "1")


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Site:
    """An ASGI application on uvicorn, in a thread."""

    def __init__(self, app: Any, base: str = "/guard/api") -> None:
        self.base = base
        self.port = free_port()
        config = uvicorn.Config(app, port=self.port, log_level="error", lifespan="auto", proxy_headers=False)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self) -> Site:
        self._thread.start()
        give_up = time.monotonic() + 10
        while not self._server.started:
            assert time.monotonic() < give_up
            threading.Event().wait(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = WRITER,
        lines: tuple[tuple[str, str], ...] = (),
    ) -> Answer:
        """`body` is sent as JSON, bytes as they are."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest(method, self.base + path, skip_accept_encoding=True)
            sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
            names = {name.lower() for name, _ in lines}
            if token is not None and "authorization" not in names:
                connection.putheader("Authorization", f"Bearer {token}")
            if body is not None and "content-type" not in names:
                connection.putheader("Content-Type", "application/json")
            if (sent or method in ("PUT", "PATCH")) and not names & {"content-length", "transfer-encoding"}:
                connection.putheader("Content-Length", str(len(sent)))
            for name, value in lines:
                connection.putheader(name, value)
            connection.endheaders(sent)
            answer = connection.getresponse()
            text = answer.read()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, text)
        finally:
            connection.close()


@pytest.fixture
def register() -> MemoryRegister:
    return MemoryRegister()


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        self.now_s += 1.0
        return self.now_s


@pytest.fixture
def site(register: MemoryRegister) -> Iterator[Site]:
    with Site(create_api(register, tokens=TOKENS, clock=Clock())) as one:
        yield one


# -- what holders say ------------------------------------------------------------------------------------------


def test_a_choice_is_put_looked_at_changed_withdrawn_and_remembered(site: Site) -> None:
    put = site.ask("PUT", "/rights/track/1", NO_AI | {"by": "alice", "reason": "asked", "parents": ["artist:7"]})
    assert (put.status, put.json["before"], put.json["changed"]) == (201, None, True)
    assert put.json["after"] == NO_AI | {"by": "settings page/alice", "reason": "asked", "at": put.json["after"]["at"]}
    again = site.ask("PUT", "/rights/track/1", NO_AI)
    assert (again.status, again.json["changed"]) == (200, False)
    assert again.headers["etag"] == put.headers["etag"]
    patch = site.ask("PATCH", "/rights/track/1", {"preferences": {"ai-use": None, "voice": {"ai-use": "open"}}})
    assert patch.status == 200
    assert patch.json["after"]["preferences"] == {"train-ai": "disallow", "voice": {"ai-use": "open"}}
    assert patch.json["parents"] == ["artist:7"]
    look = site.ask("GET", "/rights/track/1")
    assert look.headers["etag"] == patch.headers["etag"] != put.headers["etag"]
    assert look.json["choice"] == patch.json["after"]
    gone = site.ask("DELETE", "/rights/track/1?reason=contract+ended")
    assert (gone.status, gone.json["after"], gone.json["changed"]) == (200, None, True)
    assert site.ask("DELETE", "/rights/track/1", {"reason": "again", "by": "bob"}).json["changed"] is False
    told = site.ask("GET", "/rights/track/1/history").json
    assert [(one["by"], one["reason"]) for one in told["changes"]] == [
        ("settings page/alice", "asked"),
        ("settings page", ""),
        ("settings page", "contract ended"),
    ]
    assert told["total"] == 3
    moments = [one["at"] for one in told["changes"]]
    for at, choice in zip(moments, (put.json["after"], patch.json["after"], None), strict=True):
        assert site.ask("GET", f"/rights/track/1?at={quote(at)}").json["choice"] == choice
    assert site.ask("GET", "/rights/track/1?at=2020-01-01").json["choice"] is None


def test_each_layers_word_and_what_follows_are_told() -> None:
    register = MemoryRegister()
    platform = read_choice({"preferences": {"search": "allow", "train-ai": "disallow"}})
    with Site(create_api(register, tokens=TOKENS, platform=platform)) as site:
        site.ask("PUT", "/rights/label/9", {"preferences": {"ai-use": "disallow"}})
        site.ask(
            "PUT", "/rights/artist/7", {"preferences": {"train-ai": "open", "ai-use": "open"}, "parents": ["label:9"]}
        )
        site.ask("PUT", "/rights/track/1", {"licences": [{"to": "operator:Suno"}], "parents": ["artist:7"]})
        view = site.ask("GET", "/rights/track/1").json
    assert [(layer["layer"], layer["in_force"]) for layer in view["layers"]] == [
        ("platform", True),
        ("label", True),
        ("artist", True),
        ("track", True),
    ]
    assert view["follows"]["preferences"] == {"search": "allow", "train-ai": "allow", "ai-use": "disallow"}
    assert view["follows"]["kinds"]["voice"]["train-ai"] == "disallow"
    assert view["follows"]["licences"] == [{"to": "operator:suno"}]
    assert {"kind": "", "purpose": "train-ai"} in view["follows"]["opened"]


def test_a_work_that_nobody_knows_is_told_as_such(site: Site) -> None:
    view = site.ask("GET", "/rights/track/nobody")
    assert (view.status, view.json["known"], view.json["choice"], view.json["parents"]) == (200, False, None, [])


@pytest.mark.parametrize(
    "name", ["AC/DC", "a b", "é☃", "100%", "..", "history", "a%2Fb", '<script>"', "?x=1&y", "a;b#c"]
)
def test_an_id_is_decoded_once_whatever_is_in_it(site: Site, register: MemoryRegister, name: str) -> None:
    sent = quote(name, safe="") if name != ".." else "%2e%2e"
    assert site.ask("PUT", f"/rights/artist/{sent}", NO_AI).status == 201
    assert [work for work, _, _ in register.entries()] == [Work("artist", name)]
    assert site.ask("GET", f"/rights/artist/{sent}").json["work"] == f"artist:{name}"
    assert site.ask("GET", f"/rights/artist/{sent}/history").json["total"] == 1


def test_a_slash_that_is_not_encoded_is_not_guessed_at(site: Site) -> None:
    answer = site.ask("PUT", "/rights/artist/AC/DC", NO_AI)
    assert (answer.status, "%2F" in answer.json["detail"]) == (404, True)


# -- nobody overwrites what they have not seen -----------------------------------------------------------------


def test_a_change_of_what_was_not_seen_is_refused(site: Site) -> None:
    seen = site.ask("PUT", "/rights/track/1", NO_AI).headers["etag"]
    other = site.ask("PATCH", "/rights/track/1", {"territory": "EU"}, lines=(("If-Match", seen),))
    assert other.status == 200
    for method, body in (("PUT", {}), ("PATCH", {}), ("DELETE", {"reason": "x"})):
        assert site.ask(method, "/rights/track/1", body, lines=(("If-Match", seen),)).status == 412
    assert (
        site.ask("PATCH", "/rights/track/1", {}, lines=(("If-Match", f'"x", {other.headers["etag"]}'),)).status == 200
    )
    assert site.ask("PUT", "/rights/track/1", NO_AI, lines=(("If-None-Match", "*"),)).status == 412
    assert site.ask("PUT", "/rights/track/2", NO_AI, lines=(("If-Match", "*"),)).status == 412
    assert site.ask("PUT", "/rights/track/2", NO_AI, lines=(("If-None-Match", "*"),)).status == 201
    assert site.ask("PUT", "/rights/track/2", NO_AI, lines=(("If-Match", "*"),)).status == 200
    weak = "W/" + site.ask("GET", "/rights/track/2").headers["etag"]
    assert site.ask("PUT", "/rights/track/2", {}, lines=(("If-Match", weak),)).status == 412
    assert site.ask("PUT", "/rights/track/2", {}, lines=(("If-Match", "unquoted"),)).status == 400
    assert site.ask("PUT", "/rights/track/2", {}, lines=(("If-None-Match", '"x"'),)).status == 400


class Meeting(MemoryRegister):
    """Whoever looks at a work waits a moment for somebody else who looks at it too."""

    def __init__(self) -> None:
        super().__init__()
        self.met = threading.Barrier(2)

    def entry(self, work: Work) -> Any:
        found = super().entry(work)
        with contextlib.suppress(threading.BrokenBarrierError):
            self.met.wait(0.2)
        return found


def test_of_two_who_saw_the_same_only_one_writes() -> None:
    register = Meeting()
    statuses: list[int] = []
    with Site(create_api(register, tokens=TOKENS)) as site:

        def write(number: int) -> None:
            line = (("If-None-Match", "*"),)
            statuses.append(site.ask("PUT", "/rights/track/1", {"territory": f"T{number}"}, lines=line).status)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(statuses) == [201, 412]
    assert len(register.history(Work("track", "1"))) == 1


# -- what was said badly ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "key", "word"),
    [
        ({"preferences": {"train-ia": "disallow"}}, "preferences.train-ia", "train-ai"),
        ({"preferences": {"train-ai": "no"}}, "preferences.train-ai", "disallow"),
        ({"preference": {}}, "preference", "preferences"),
        ({"licences": [{"to": "suno"}]}, "licences[0].to", "operator:NAME"),
        ({"until": "soon"}, "until", "2026-12-01"),
        ({"until": "9999-12-31"}, "until", "calendar"),
        ({"until": "9999-12-31T23:59:59.9999Z"}, "until", "calendar"),
        ({"from": "0001-01-01T00:00+23:00"}, "from", "calendar"),
        ({"licence": "javascript:alert(1)"}, "licence", "https://"),
        ({"at": "2026-01-01"}, "at", "leave it out"),
        ({"by": "x" * 201}, "by", "200"),
        ({"parents": ["artist"]}, "parents[0]", "LAYER:ID"),
        ({"parents": ["track:2"]}, "parents", "above"),
        ({"parents": "artist:1"}, "parents", "list"),
        ([], "", "mapping"),
        ("x", "", "mapping"),
        (None, "", "mapping"),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_choice_that_cannot_be_read_is_told_with_its_place(
    site: Site, register: MemoryRegister, method: str, body: object, key: str, word: str
) -> None:
    answer = site.ask(
        method, "/rights/track/1", json.dumps(body).encode(), lines=(("Content-Type", "application/json"),)
    )
    assert (answer.status, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json["key"] == key
    assert word in answer.json["detail"]
    assert list(register.entries()) == []


def test_a_withdrawal_needs_a_reason(site: Site, register: MemoryRegister) -> None:
    site.ask("PUT", "/rights/track/1", NO_AI)
    assert site.ask("DELETE", "/rights/track/1").json["key"] == "reason"
    assert site.ask("DELETE", "/rights/track/1", {"why": "x"}).json["key"] == "why"
    assert site.ask("DELETE", "/rights/track/1?reason=a", {"reason": "b"}).status == 400
    assert len(register.history(Work("track", "1"))) == 1


NO_JSON = [
    b"",
    b"{",
    b"[" * 30_000,
    b'{"preferences": {}, "preferences": {}}',
    b'{"reason": NaN}',
    b'"\xff"',
    b'{"by": "\\ud800"}',
]


@pytest.mark.parametrize("body", NO_JSON, ids=range(len(NO_JSON)))
def test_a_body_that_is_no_json_is_refused(site: Site, body: bytes) -> None:
    assert site.ask("PUT", "/rights/track/1", body).status == 400


def test_a_body_is_bounded_and_of_the_right_kind(site: Site) -> None:
    large = json.dumps({"reason": "x" * 70_000}).encode()
    assert site.ask("PUT", "/rights/track/1", large).status == 413
    chunks = b"10000\r\n" + b" " * 65536 + b"\r\n1\r\n \r\n0\r\n\r\n"
    assert site.ask("PUT", "/rights/track/1", chunks, lines=(("Transfer-Encoding", "chunked"),)).status == 413
    for media in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", ""):
        assert site.ask("PUT", "/rights/track/1", NO_AI, lines=(("Content-Type", media),)).status == 415
    assert site.ask("PUT", "/rights/track/1", NO_AI, lines=(("Content-Encoding", "gzip"),)).status == 415
    good = (("Content-Type", "application/json; charset=utf-8"),)
    assert site.ask("PUT", "/rights/track/1", NO_AI, lines=good).status == 201
    merge = (("Content-Type", "application/merge-patch+json"),)
    assert site.ask("PATCH", "/rights/track/1", {}, lines=merge).status == 200
    assert site.ask("PUT", "/rights/track/1", {}, lines=merge).status == 415


def test_nothing_of_a_request_comes_back_as_markup(site: Site) -> None:
    script = "<script>alert(1)</script>"
    answers = (
        site.ask("PUT", "/rights/track/1", {script: 1}),
        site.ask("PUT", "/rights/track/1", {"preferences": {"train-ai": script}}),
        site.ask("GET", f"/rights/{quote(script, safe='')}/1"),
        site.ask("GET", f"/{quote(script, safe='')}"),
        site.ask("PUT", f"/rights/track/{quote(script, safe='')}", {"reason": script}),
        site.ask("GET", "/rights?limit=<script>"),
    )
    for answer in answers:
        assert b"<" not in answer.body
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers


# -- changes of all works --------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 4), max_size=25), st.integers(1, 7))
@settings(max_examples=25)
def test_pages_hold_every_change_once_also_of_one_moment(moments: list[int], limit: int) -> None:
    register = MemoryRegister()
    for number, moment in enumerate(moments):
        register.put(Change(1000.123 + moment, Work("track", str(number)), Choice({}), "anna", ""))
    app = create_api(register, tokens=TOKENS)
    seen: list[str] = []
    query = f"limit={limit}&since=1970-01-01"
    for _ in range(50):
        page = ask_app(app, "GET", "/guard/api/rights", query=query)
        assert page.status == 200
        assert len(page.json["changes"]) <= limit
        seen += [change["work"] for change in page.json["changes"]]
        if page.json["next"] is None:
            break
        query = f"limit={limit}&page={quote(page.json['next'])}"
    assert seen == [str(change.work) for change in register.changes(0.0, 100)]


class Counted(SqliteRegister):
    rows = 0

    def later(self, after: Any, limit: int) -> Any:
        told = super().later(after, limit)
        self.rows += len(told)
        return told


class Plainly(MemoryRegister):
    """A register of somebody else, who cannot go on from a place."""

    later = None  # type: ignore[assignment]

    def changes(self, since_s: float, limit: int) -> tuple[Change, ...]:
        told = [change for change in self._changes if change.at_s >= since_s]
        return tuple(sorted(told, key=lambda change: change.at_s)[:limit])


@pytest.mark.parametrize("kind", ["memory", "sqlite", "valkey", "plainly"])
def test_pages_of_every_register_hold_every_change_once_and_read_no_more_than_they_hold(
    kind: str, tmp_path: Path
) -> None:
    def turn_over(register: Any) -> None:
        for number, moment in enumerate([3, 1, 2, 2, 2, 2, 2, 9, 2, 1]):
            register.put(Change(1000.123 + moment, Work("track", str(number)), Choice({}), "anna", ""))
        app = create_api(register, tokens=TOKENS)
        pages, query = [], "limit=3&since=1970-01-01"
        while query:
            page = ask_app(app, "GET", "/guard/api/rights", query=query)
            assert page.status == 200, page.body
            pages.append([change["work"].removeprefix("track:") for change in page.json["changes"]])
            following = page.json["next"]
            query = f"limit=3&page={following}" if following else ""
        assert pages == [["1", "9", "2"], ["3", "4", "5"], ["6", "8", "0"], ["7"]]
        if isinstance(register, Counted):
            assert register.rows == 4 + 4 + 4 + 1
            register.rows = 0
        if kind != "plainly":
            assert ask_app(app, "GET", "/guard/api/rights", query="page=0:9999999&limit=1").json["changes"]
        else:
            assert ask_app(app, "GET", "/guard/api/rights", query="page=0:9999999&limit=1").status == 400
        if isinstance(register, Counted):
            assert register.rows == 2

    if kind == "valkey":
        with server("valkey") as store:
            turn_over(RedisRegister(store.url))
    else:
        kinds: dict[str, Any] = {"memory": MemoryRegister, "plainly": Plainly}
        turn_over(kinds[kind]() if kind in kinds else Counted(tmp_path / "rights.sqlite"))


def test_changes_are_told_from_a_moment_on(site: Site) -> None:
    for number in range(3):
        site.ask("PUT", f"/rights/track/{number}", NO_AI)
    every = site.ask("GET", "/rights").json["changes"]
    assert [change["work"] for change in every] == ["track:0", "track:1", "track:2"]
    since = site.ask("GET", f"/rights?since={quote(every[1]['at'])}").json["changes"]
    assert since == every[1:]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=1&limit=2",
        "since=soon",
        "since=2026-01-01T10:00",
        "page=x",
        "page=inf:1",
        "page=1e999:1",
        "page=1.5:1",
        "page=1",
        "page=1:1&since=2026-01-01",
        "surprise=1",
        "a",
        "since=%ff",
        "&".join(["a=1"] * 50),
    ],
)
def test_a_query_that_cannot_be_read_is_refused(site: Site, query: str) -> None:
    assert site.ask("GET", f"/rights?{query}").status == 400


# -- who may ask -----------------------------------------------------------------------------------------------


def test_without_a_token_nothing_is_told_but_that_it_answers(site: Site) -> None:
    health = site.ask("GET", "/health", token=None)
    assert (health.status, health.json) == (200, {"status": "ok"})
    for method, path in (("GET", "/rights"), ("GET", "/openapi.json"), ("PUT", "/rights/track/1"), ("GET", "/x")):
        answer = site.ask(method, path, token=None)
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="guard"'


def test_exactly_one_authorization_line_is_taken(site: Site) -> None:
    both = (("Authorization", f"Bearer {WRITER}"), ("Authorization", f"Bearer {WRITER}"))
    assert site.ask("GET", "/rights", lines=both).status == 400
    assert site.ask("GET", "/rights", lines=(("Authorization", f"bearer  {WRITER}"),)).status == 200
    for wrong in (f"Basic {WRITER}", WRITER, f"Bearer {WRITER}x", "Bearer", f"Bearer {WRITER}, Bearer {WRITER}"):
        answer = site.ask("GET", "/rights", lines=(("Authorization", wrong),))
        assert (answer.status, "invalid_token" in answer.headers["www-authenticate"]) == (401, True)


def test_who_guesses_is_slowed_down_and_who_shares_the_address_is_not(site: Site) -> None:
    for _ in range(MAX_FAILURES):
        assert site.ask("GET", "/rights", token="x" * 32).status == 401
    refused = site.ask("GET", "/rights", token="x" * 32)
    assert refused.status == 429
    assert 0 < int(refused.headers["retry-after"]) <= 61
    assert site.ask("GET", "/rights").status == 200


def test_failures_are_counted_by_address_for_a_minute_in_a_bounded_table() -> None:
    failures = Failures(addresses=10)
    assert [failures.note("2001:db8::1", float(second)) for second in range(5)] == [0.0] * 5
    assert failures.note("2001:db8::ffff", 5.0) == 55.0  # one network
    assert failures.note("2001:db8:0:1::1", 5.0) == 0.0
    assert failures.note("192.0.2.1", 5.0) == 0.0
    assert failures.note("2001:db8::1", 61.0) == 0.0
    for number in range(1000):
        failures.note(f"10.0.{number // 256}.{number % 256}", 100.0)
    assert len(failures._moments) <= 20


def test_a_token_that_reads_does_not_write(site: Site) -> None:
    assert site.ask("GET", "/rights/track/1", token=READER).status == 200
    for method in ("PUT", "PATCH", "DELETE"):
        assert site.ask(method, "/rights/track/1", NO_AI, token=READER).status == 403


def test_tokens_are_read_from_lines(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    hashed = hashlib.sha256(b"x").hexdigest()
    file.write_text(f"# who may\n\nsettings page: {WRITER}\nauditor: {READER} (read)\nother:sha256:{hashed.upper()}\n")
    assert read_tokens(file) == TOKENS | {"other": Token(hashlib.sha256(b"x").digest())}
    assert read_tokens(file) == read_tokens(file.read_text())


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "no token"),
        ("a: " + "x" * 31, "line 1"),
        (f"{WRITER}", "line 1"),
        (f"a/b: {WRITER}", "line 1"),
        (f"a: {WRITER}\nb: {WRITER}", "line 2"),
        (f"a: {WRITER}\na: {READER}", "line 2"),
        ("a: sha256:12", "line 1"),
        (f"a: {'x' * 40} y", "line 1"),
        ("a: " + "é" * 40, "line 1"),
    ],
)
def test_tokens_that_cannot_be_used_are_refused_without_being_shown(text: str, line: str) -> None:
    with pytest.raises(ValueError, match=line) as refused:
        read_tokens(text)
    assert WRITER not in str(refused.value)


# -- the register behind it ------------------------------------------------------------------------------------


class ReadOnly:
    """A source that cannot be written to and keeps no history."""

    state = "known"

    def find(self, works: tuple[Work, ...]) -> Known:
        return Known(tuple((work, read_choice(NO_AI)) for work in works), self.state)

    def listed(self, limit: int) -> object:
        return NOTHING_LISTED

    def heed(self, changed: Callable[[], None]) -> None:
        pass

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass


def test_a_register_that_is_only_read_says_so() -> None:
    source = ReadOnly()
    app = create_api(source, tokens=TOKENS)  # type: ignore[arg-type]
    answer = ask_app(app, "PUT", "/guard/api/rights/track/1", NO_AI)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    assert "only read" in answer.json["detail"]
    assert ask_app(app, "GET", "/guard/api/rights/track/1").json["choice"] == NO_AI
    for path, query in (("/rights/track/1/history", ""), ("/rights", ""), ("/rights/track/1", "at=2020-01-01")):
        assert ask_app(app, "GET", f"/guard/api{path}", query=query).status == 404
    source.state = "away"
    assert ask_app(app, "GET", "/guard/api/rights/track/1").status == 503


class Slow(MemoryRegister):
    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.fault: Exception | None = None

    def entry(self, work: Work) -> Any:
        self.gate.wait(10)
        if self.fault is not None:
            raise self.fault
        return super().entry(work)


def test_a_register_that_does_not_answer_is_waited_for_so_long_and_no_longer() -> None:
    register = Slow()
    with Site(create_api(register, tokens=TOKENS, deadline_s=0.2)) as site:
        try:
            began = time.monotonic()
            answer = site.ask("GET", "/rights/track/1")
            assert time.monotonic() - began < 2.0
            assert (answer.status, "retry-after" in answer.headers) == (503, True)
            assert site.ask("GET", "/health", token=None).status == 200
        finally:
            register.gate.set()
        assert site.ask("GET", "/rights/track/1").status == 200
        register.fault = RegisterError("disk full at /srv/secret")
        broken = site.ask("PUT", "/rights/track/1", NO_AI)
        assert (broken.status, b"secret" in broken.body) == (503, False)


def sqlite_register(directory: Path) -> SqliteRegister:
    """A file with one withdrawn choice of long ago."""
    register = SqliteRegister(directory / "rights.sqlite")
    register.put(Change(-1.0, Work("label", "first"), None, "the test", "made"))
    return register


@pytest.mark.parametrize("kind", ["memory", "sqlite", "valkey"])
def test_every_register_serves_the_same_api(kind: str, tmp_path: Path) -> None:
    def live(register: Register) -> None:
        with Site(create_api(register, tokens=TOKENS)) as site:
            put = site.ask("PUT", "/rights/track/AC%2FDC", NO_AI | {"parents": ["artist:7"], "reason": "asked"})
            assert put.status == 201, put.body
            seen = (("If-Match", put.headers["etag"]),)
            patch = site.ask("PATCH", "/rights/track/AC%2FDC", {"preferences": {"ai-use": "open"}}, lines=seen)
            assert patch.json["after"]["preferences"] == {"train-ai": "disallow", "ai-use": "open"}
            assert patch.json["parents"] == ["artist:7"]
            at = put.json["after"]["at"]
            assert site.ask("GET", f"/rights/track/AC%2FDC?at={quote(at)}").json["choice"] in (
                put.json["after"],
                patch.json["after"],  # when both were of one millisecond
            )
            assert site.ask("DELETE", "/rights/track/AC%2FDC?reason=over").json["after"] is None
            history = site.ask("GET", "/rights/track/AC%2FDC/history").json["changes"]
            assert [change["choice"] for change in history] == [put.json["after"], patch.json["after"], None]
            assert site.ask("GET", "/rights").json["changes"] == history

    if kind == "valkey":
        with server("valkey") as store:
            live(RedisRegister(store.url))
    else:
        live(MemoryRegister() if kind == "memory" else sqlite_register(tmp_path))


# -- where it is mounted ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["", "/internal", "/in ner/é", "/a%2Fb"])
@pytest.mark.parametrize("framework", ["starlette", "fastapi"])
def test_it_works_mounted_under_an_application(framework: str, where: str) -> None:
    api = create_api(MemoryRegister(), tokens=TOKENS)
    if framework == "starlette":
        app: Any = Starlette(routes=[Mount(where or "/", app=api)])
    else:
        app = FastAPI()
        app.mount(where, api)
    with Site(app, quote(where) + "/guard/api") as site:
        assert site.ask("PUT", "/rights/artist/AC%2FDC", NO_AI).json["work"] == "artist:AC/DC"
        assert site.ask("GET", "/rights/artist/AC%2FDC").json["choice"]["preferences"] == NO_AI["preferences"]
        assert site.ask("GET", "/openapi.json").json["servers"] == [{"url": quote(where) + "/guard/api"}]


@pytest.mark.parametrize("outer", ["", "/outer", "/in ner"])
@pytest.mark.parametrize("framework", ["starlette", "fastapi"])
def test_it_may_be_mounted_at_its_prefix(framework: str, outer: str) -> None:
    api = create_api(MemoryRegister(), tokens=TOKENS)
    inner: Any = Starlette(routes=[Mount("/guard/api", app=api)])
    if framework == "fastapi":
        inner = FastAPI()
        inner.mount("/guard/api", api)
    with Site(Starlette(routes=[Mount(outer, app=inner)]) if outer else inner, quote(outer) + "/guard/api") as site:
        assert site.ask("PUT", "/rights/artist/AC%2FDC", NO_AI).status == 201
        assert site.ask("GET", "/rights/artist/AC%2FDC").json["choice"]["preferences"] == NO_AI["preferences"]
        assert site.ask("GET", "/openapi.json").json["servers"] == [{"url": quote(outer) + "/guard/api"}]
        assert site.ask("GET", "/health", token=None).status == 200


class Service(http.server.BaseHTTPRequestHandler):
    """A platform that is asked for rights, and says of every work that it reserves."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["works"]
        body = json.dumps({"works": dict.fromkeys(asked, NO_AI)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_where_nobody_says_that_it_starts_a_register_is_opened_at_the_first_question() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service) as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        try:
            source = HttpRegister(f"http://127.0.0.1:{service.server_port}/rights")
            app = Starlette(routes=[Mount("/guard/api", app=create_api(source, tokens=TOKENS))])
            with Site(app) as site:
                assert site.ask("GET", "/rights/track/1", token=None).status == 401
                assert source.asks == 0
                assert eventually(lambda: site.ask("GET", "/rights/track/1").status == 200)
                assert site.ask("GET", "/rights/track/1").json["choice"] == NO_AI
        finally:
            service.shutdown()
            thread.join()


def test_it_may_be_mounted_without_a_prefix_of_its_own() -> None:
    app = FastAPI()
    app.mount("/settings/rights-api", create_api(MemoryRegister(), tokens=TOKENS, prefix=""))
    with Site(app, "/settings/rights-api") as site:
        assert site.ask("PUT", "/rights/artist/AC%2FDC", NO_AI).status == 201
        assert site.ask("GET", "/openapi.json").json["servers"] == [{"url": "/settings/rights-api"}]


def test_it_works_behind_a_proxy_that_takes_the_root_away() -> None:
    app = create_api(MemoryRegister(), tokens=TOKENS)
    assert ask_app(app, "GET", "/guard/api/health", root="/outer").status == 200
    assert ask_app(app, "GET", "/outer/guard/api/health", root="/outer").status == 200
    assert ask_app(app, "GET", "/guard/api/health", root="/outer/guard/api").status == 200
    assert ask_app(app, "GET", "/health", root="/outer/guard/api").status == 200
    assert ask_app(app, "GET", "/health", root="/outer").status == 404


# -- a process of its own --------------------------------------------------------------------------------------

SERVE = """
import socket, sys
from pathlib import Path
from guard.api import read_tokens, serve_api
sock = socket.socket(); sock.bind(("127.0.0.1", int(sys.argv[1]))); sock.listen(64)
serve_api(sys.argv[2], sock, read_tokens(Path(sys.argv[3])))
"""


POLICY = """\
version: 1
site: {{name: Example, url: "https://music.example"}}
default: allow
preferences: {{search: {search}, train-ai: allow}}
terms:
  changes:
    - {{from: 2020-06-01, preferences: {{ai-use: disallow}}}}
rights: {{source: {source}, works: [{{path: "/track/{{track}}"}}]}}
"""
REGISTER = 'version: 1\nworks: {"track:1": {preferences: {train-ai: %s}}}\n'


@contextlib.contextmanager
def guarded(folder: Path, port: int) -> Iterator[int]:
    """`guard serve` with the API at `port`; gives the process id of the supervisor."""
    (folder / "tokens").write_text(f"settings page: {WRITER}\n")
    words = ["serve", "--upstream", "http://127.0.0.1:9", "--ignore-robots", "--policy", str(folder / "policy.yaml")]
    words += ["--listen", "127.0.0.1:0", "--api", f"127.0.0.1:{port}", "--api-tokens", str(folder / "tokens")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "guard", *words], stdout=log, stderr=log)
    try:
        yield process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, (folder / "log").read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def look_at(port: int, path: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", f"/guard/api{path}", headers={"Authorization": f"Bearer {WRITER}"})
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if "json" in answer.getheader("Content-Type", "") else None
    except (OSError, http.client.HTTPException):
        return 0, None
    finally:
        connection.close()


def test_beside_the_workers_it_says_what_the_policy_in_force_says(tmp_path: Path) -> None:
    policy, port = tmp_path / "policy.yaml", free_port()
    for name, word in (("a", "open"), ("b", "disallow")):
        (tmp_path / f"{name}.yaml").write_text(REGISTER % word)

    def write(search: str, name: str) -> None:
        policy.write_text(POLICY.format(search=search, source=tmp_path / f"{name}.yaml"))

    def platform(query: str = "") -> dict[str, str]:
        status, view = look_at(port, f"/rights/track/4711{query}")
        words: dict[str, str] = view["layers"][0]["choice"]["preferences"] if status == 200 else {}
        return words

    def follows() -> str:
        status, view = look_at(port, "/rights/track/1")
        word: str = view["follows"]["preferences"]["train-ai"] if status == 200 else ""
        return word

    write("allow", "a")
    with guarded(tmp_path, port):
        assert eventually(lambda: platform().get("search") == "allow", 20.0)
        assert platform()["ai-use"] == "disallow"
        write("disallow", "a")
        assert eventually(lambda: platform().get("search") == "disallow", 10.0)
        assert follows() == "allow"
        write("disallow", "b")
        assert eventually(lambda: follows() == "disallow", 10.0)
        policy.write_text("nonsense")
        assert eventually(lambda: "REFUSED" in (tmp_path / "log").read_text(), 10.0)
        assert platform()["search"] == "disallow"


def test_what_the_platform_said_at_a_moment_is_told_of_that_moment() -> None:
    words = {"early": read_choice({"preferences": {"search": "allow"}}), "late": read_choice(NO_AI)}
    app = create_api(
        MemoryRegister(), tokens=TOKENS, platform=lambda now_s: words["late" if now_s > 1.6e9 else "early"]
    )
    path = "/guard/api/rights/track/1"
    assert ask_app(app, "GET", path).json["layers"][0]["choice"] == NO_AI
    early = ask_app(app, "GET", path, query="at=2020-01-01").json
    assert early["layers"][0]["choice"] == {"preferences": {"search": "allow"}}
    assert early["follows"]["preferences"] == {"search": "allow"}


def test_a_register_file_with_problems_is_away_and_the_process_lives(tmp_path: Path) -> None:
    port, source = free_port(), tmp_path / "r.yaml"
    source.write_text(REGISTER % "allow")
    (tmp_path / "policy.yaml").write_text(POLICY.format(search="allow", source=source))
    with guarded(tmp_path, port) as pid:
        assert eventually(lambda: look_at(port, "/rights/track/1")[0] == 200, 20.0)
        source.write_text(REGISTER % "nonsense")
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        assert eventually(lambda: look_at(port, "/rights/track/1")[0] == 503, 10.0)
        assert "cannot be read" in look_at(port, "/rights/track/1")[1]["detail"]
        source.write_text(REGISTER % "allow")
        assert eventually(lambda: look_at(port, "/rights/track/1")[0] == 200, 10.0)
        log = (tmp_path / "log").read_text()
        assert log.count("the process beside the workers ended") == 1
        assert "unknown word 'nonsense'" in log


def test_a_process_serves_it_until_it_is_asked_to_end_and_curl_can_use_it(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f"settings page: {WRITER}\n")
    sqlite_register(tmp_path)
    port = free_port()
    words = [sys.executable, "-c", SERVE, str(port), str(tmp_path / "rights.sqlite"), str(tmp_path / "tokens")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert eventually(lambda: answers(port), 20.0)
        curl = ["curl", "-sS", "--max-time", "20"]
        url = f"http://127.0.0.1:{port}/guard/api"
        assert json.loads(subprocess.check_output([*curl, f"{url}/health"])) == {"status": "ok"}
        bearer = ["-H", f"Authorization: Bearer {WRITER}"]
        put = ["-X", "PUT", "-H", "Content-Type: application/json", "-d", json.dumps(NO_AI)]
        said = json.loads(subprocess.check_output([*curl, *bearer, *put, f"{url}/rights/track/AC%2FDC"]))
        assert (said["work"], said["changed"]) == ("track:AC/DC", True)
        told = json.loads(subprocess.check_output([*curl, *bearer, f"{url}/rights/track/AC%2FDC/history"]))
        assert told["total"] == 1
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=15)
        assert (process.returncode, out, err) == (0, "", "")
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


# -- what is described is what there is ------------------------------------------------------------------------


def test_who_sends_half_a_head_keeps_nobody_out_for_long(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f"settings page: {WRITER}\n")
    sqlite_register(tmp_path)
    port = free_port()
    words = [sys.executable, "-c", SERVE, str(port), str(tmp_path / "rights.sqlite"), str(tmp_path / "tokens")]
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(subprocess.Popen(words, stderr=subprocess.PIPE, text=True))
        stack.callback(process.kill)
        assert eventually(lambda: look_at(port, "/health")[0] == 200, 20.0)

        def connected() -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", port), 20))

        first = connected()  # a whole request, and half of the next
        first.sendall(b"GET /guard/api/health HTTP/1.1\r\nHost: x\r\n\r\n")
        told = b""
        while b'"status":"ok"' not in told:
            told += (piece := first.recv(65536))
            assert piece, told
        halves = [first, *(connected() for _ in range(299))]
        for half in halves:
            half.sendall(b"GET /guard/api/health HTTP/1.1\r\nHo")
        assert eventually(lambda: look_at(port, "/health")[0] == 200, 20.0)
        for half in halves:
            with contextlib.suppress(ConnectionError):
                assert half.recv(65536) == b""
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


def test_the_description_is_valid_openapi(site: Site) -> None:
    described = site.ask("GET", "/openapi.json").json
    validate(described)
    assert described["openapi"].startswith("3.1")
    assert described["paths"] == DESCRIBED["paths"]


def schema_of(method: str, path: str, status: int) -> dict[str, Any] | None:
    """The described schema of an answer; None when the description knows no such answer."""
    parts = path.removeprefix("/guard/api").strip("/").split("/")
    forms = {1: f"/{parts[0]}", 3: "/rights/{layer}/{id}", 4: "/rights/{layer}/{id}/history"}
    operation = DESCRIBED["paths"].get(forms.get(len(parts), ""), {}).get(method.lower().replace("head", "get"))
    if operation is None:
        return None
    answer = operation["responses"].get(str(status))
    if answer is None:
        return None
    if "$ref" in answer:
        answer = DESCRIBED["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    (content,) = answer["content"].values()
    return {**content["schema"], "components": DESCRIBED["components"]}


def ask_app(
    app: Api,
    method: str,
    path: str,
    body: object = None,
    *,
    query: str = "",
    headers: tuple[tuple[bytes, bytes], ...] = (),
    root: str = "",
) -> Answer:
    """One request without a socket, for sweeps; `path` is percent-encoded."""
    sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    names = {name for name, _ in headers}
    lines = list(headers)
    if b"authorization" not in names:
        lines.append((b"authorization", b"Bearer " + WRITER.encode()))
    if sent and b"content-type" not in names:
        lines.append((b"content-type", b"application/json"))
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": root,
        "headers": lines,
        "client": ("192.0.2.1", 1),
    }
    messages: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": sent, "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    asyncio.run(app(scope, receive, send))
    told = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
    return Answer(messages[0]["status"], told, b"".join(message.get("body", b"") for message in messages[1:]))


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([*WORDS, "2026-01-01"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MOMENTS = st.one_of(
    st.dates().map(str),
    st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"),
    st.datetimes().map(lambda moment: f"{moment.isoformat()}+23:59"),
    st.datetimes().map(lambda moment: f"{moment.isoformat()}-23:59"),
    st.text(max_size=12),
)
WORD = st.sampled_from([*WORDS, "no", ""]) | PLAIN
NEARLY_CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "preferences": st.dictionaries(st.sampled_from([*PURPOSES, "voice", "stems", "x"]), WORD, max_size=4)
        | st.fixed_dictionaries({"voice": st.dictionaries(st.sampled_from(PURPOSES), WORD, max_size=2)})
        | PLAIN,
        "licences": st.lists(
            st.fixed_dictionaries(
                {"to": st.sampled_from(["operator:x", "agent:", "key:a", "x"]) | PLAIN},
                optional={"from": MOMENTS, "until": MOMENTS, "purposes": PLAIN, "kinds": PLAIN, "proof": PLAIN},
            ),
            max_size=3,
        )
        | PLAIN,
        "from": MOMENTS | PLAIN,
        "until": MOMENTS | PLAIN,
        "territory": st.text(max_size=20) | PLAIN,
        "contact": PLAIN,
        "licence": st.just("https://example.org/x") | PLAIN,
        "by": st.text(max_size=300) | PLAIN,
        "at": PLAIN,
        "reason": st.text(max_size=20) | PLAIN,
        "parents": st.lists(st.sampled_from(["artist:1", "label:2", "track:3", "x"]), max_size=4) | PLAIN,
    },
)
BODIES = st.one_of(
    NEARLY_CHOICES.map(lambda said: json.dumps(said).encode()),
    PLAIN.map(lambda said: json.dumps(said).encode()),
    st.binary(max_size=40),
)
SEGMENTS = st.one_of(
    st.sampled_from(
        ["rights", "history", "health", "openapi.json", "track", "artist", "%2F", "..", "", "%", "%zz", "%ff"]
    ),
    st.text(max_size=12).map(lambda text: quote(text.encode("utf-8", "surrogatepass"), safe="")),
    st.just("x" * 600),
)
PATHS = st.one_of(
    st.builds(lambda layer, name: f"rights/{layer}/{name}", st.sampled_from(HOLDINGS), SEGMENTS),
    st.builds(lambda name: f"rights/track/{name}/history", SEGMENTS),
    st.just("rights"),
    st.lists(SEGMENTS, max_size=5).map("/".join),
)
QUERIES = st.one_of(
    st.just(""),
    MOMENTS.map(lambda at: f"at={quote(at.encode('utf-8', 'surrogatepass'))}"),
    MOMENTS.map(lambda at: f"since={quote(at.encode('utf-8', 'surrogatepass'))}"),
    st.builds(lambda at, skip: f"page={at}:{skip}", st.floats(), st.integers(-1, 10**8)),
    st.builds(lambda at, number: f"page={at}:{number}", st.integers(), st.integers(-1, 10**16)),
    st.builds(lambda limit: f"limit={limit}", st.integers(-1, 2000)),
    st.text(st.characters(max_codepoint=255), max_size=20),
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [b"if-match", b"if-none-match", b"content-type", b"content-length", b"content-encoding", b"authorization"]
        ),
        st.binary(max_size=20)
        | st.sampled_from([b"*", b'"x"', b"application/json", b"9" * 30, b"Bearer " + READER.encode()]),
    ),
    max_size=2,
).map(tuple)


@settings(max_examples=600)
@given(
    st.sampled_from(["GET", "HEAD", "PUT", "PATCH", "DELETE", "POST", "OPTIONS", "TRACE", "X"]),
    PATHS,
    BODIES,
    QUERIES,
    st.just(()) | HEADERS,
)
def test_no_request_makes_it_fail_and_every_answer_is_as_described(
    method: str, path: str, body: bytes, query: str, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    answer = ask_app(SWEPT, method, f"/guard/api/{path}", body, query=query, headers=headers)
    assert answer.status < 500, answer.body
    assert b"<" not in answer.body
    if method == "HEAD":
        assert answer.body == b""
        return
    schema = schema_of(method, f"/guard/api/{path}", answer.status)
    if answer.status < 400:
        assert schema is not None
    if schema is not None:
        Draft202012Validator(schema).validate(answer.json)
    if answer.status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["status"] == answer.status


SWEPT_REGISTER = MemoryRegister()
SWEPT = create_api(SWEPT_REGISTER, tokens=TOKENS)


@settings(max_examples=300)
@given(NEARLY_CHOICES, NEARLY_CHOICES)
def test_what_was_noted_can_always_be_read_again(first: dict[str, Any], second: dict[str, Any]) -> None:
    register = MemoryRegister()
    app = create_api(register, tokens=TOKENS)
    path = "/guard/api/rights/track/1"
    for method, body in (("PUT", first), ("PATCH", second)):
        before = ask_app(app, "GET", path).json["choice"]
        answer = ask_app(app, method, path, body)
        assert answer.status in (200, 201, 400, 422), answer.body
        after = ask_app(app, "GET", path).json["choice"]
        assert after == (answer.json["after"] if answer.status < 300 else before)
        if after is not None:
            write_choice(read_choice(after))
    assert ask_app(app, "GET", f"{path}/history").status == 200


@given(
    st.dictionaries(st.sampled_from(PURPOSES), st.sampled_from(WORDS)),
    st.dictionaries(st.sampled_from(PURPOSES), st.none() | st.sampled_from(WORDS)),
)
@settings(max_examples=100)
def test_a_patch_replaces_what_it_names_and_nothing_else(said: dict[str, str], patch: dict[str, str | None]) -> None:
    app = create_api(MemoryRegister(), tokens=TOKENS)
    path = "/guard/api/rights/track/1"
    ask_app(app, "PUT", path, {"preferences": said, "territory": "EU"})
    after = ask_app(app, "PATCH", path, {"preferences": patch}).json["after"]
    expected = {purpose: word for purpose, word in {**said, **patch}.items() if word is not None}
    assert (after.get("preferences", {}), after["territory"]) == (expected, "EU")

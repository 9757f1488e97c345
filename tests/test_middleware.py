"""The guard inside an application: everything is judged, nothing that passes is touched but for what is stated."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import anyio
import http_sf
import pytest
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket

from guard import Guard, GuardMiddleware, Record
from guard.load import load_policy, read_policy
from guard.middleware import App, Message, Receive, Scope, Send
from guard.model import Mode
from guard.stores.memory import MemoryStore

BASE = """
version: 1
site: {name: "Øre & <Friends>", contact: "mailto:a@b.example"}
mode: %s
default: allow
routes:
- {class: media, paths: [/media/**]}
- {class: search, paths: [/search]}
- {class: api, paths: [/api/**]}
preferences: {train-ai: disallow, ai-use: disallow, search: allow}
limits: [{name: twice, rate: 2/min, burst: 2}]
rules:
- {name: no AI, when: {category: ai-*}, then: block, reason: No <AI> here.}
- {name: private, when: {path: /private/**}, then: block}
- {name: slow, when: {path: [/slow/**, /api/slow]}, then: throttle, limit: twice}
- {name: seen, when: {path: /seen}, then: label}
"""
STATED = {
    "content-usage": "train-ai=n, ai-use=n, search=y",
    "content-signal": "search=yes, ai-input=no, ai-train=no",
    "x-robots-tag": "noai, noimageai",
    "tdm-reservation": "1",
    "link": '</license.xml>; rel="license"; type="application/rsl+xml"',
}
GPTBOT = {"user-agent": "GPTBot/1.3"}
NO_STORE = {"cache-control": "no-store", "cdn-cache-control": "no-store", "surrogate-control": "no-store"}


def a_guard(mode: str = "enforce", **more: Any) -> Guard:
    return Guard(read_policy(BASE % mode), clock=lambda: 1_000.0, new_id=lambda: "d-1", **more)


def answering(
    status: int = 200, headers: Sequence[tuple[bytes, bytes]] = (), chunks: Sequence[bytes] = (b"hello",)
) -> App:
    """An application that answers everything alike."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        for at, chunk in enumerate(chunks):
            await send({"type": "http.response.body", "body": chunk, "more_body": at + 1 < len(chunks)})

    return app


class Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def named(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def says(self, headers: dict[str, str]) -> bool:
        return all(self.named(name) == [value] for name, value in headers.items())


Lines = dict[str, str] | list[tuple[str, str]]


def scope_of(target: str, method: str = "GET", headers: Lines | None = None, **more: Any) -> Scope:
    """What a server makes of a request; `headers` as a list are all there are, as a dict they come beside a Host."""
    lines = headers if isinstance(headers, list) else list(({"host": "x.example"} | (headers or {})).items())
    raw = [(name.encode(), value.encode("latin-1")) for name, value in lines]
    scope = {"type": "http", "method": method, "path": unquote(target), "raw_path": target.encode(), "headers": raw}
    return scope | {"client": ("192.0.2.1", 4711)} | more


async def nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def run(work: Callable[[], Awaitable[None]]) -> None:
    anyio.run(work)


def ask(app: App, target: str, method: str = "GET", headers: Lines | None = None, **more: Any) -> Answer:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def once() -> None:
        await app(scope_of(target, method, headers, **more), nothing, send)

    run(once)
    assert [message["type"] for message in sent] == ["http.response.start"] + ["http.response.body"] * (len(sent) - 1)
    found = [(name.decode(), value.decode("latin-1")) for name, value in sent[0]["headers"]]
    return Answer(sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:]))


# -- what passes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "method"),
    [(200, "GET"), (200, "HEAD"), (206, "GET"), (304, "GET"), (404, "GET"), (500, "POST"), (302, "GET")],
)
def test_every_answer_states_the_preferences(status: int, method: str) -> None:
    answer = ask(GuardMiddleware(answering(status, [(b"x-own", b"1")]), a_guard()), "/x", method)
    assert answer.status == status
    assert answer.says(STATED | {"x-own": "1"})


def test_what_passes_is_not_touched_otherwise() -> None:
    headers = [(b"set-cookie", b"a=1"), (b"etag", b'"x"'), (b"set-cookie", b"b=2"), (b"content-range", b"bytes 0-4/9")]
    answer = ask(GuardMiddleware(answering(206, headers, [b"\x00", b"", b"\xff"]), a_guard()), "/x")
    assert answer.headers[: len(headers)] == [(name.decode(), value.decode()) for name, value in headers]
    assert {name for name, _ in answer.headers[len(headers) :]} == set(STATED)
    assert answer.body == b"\x00\xff"


def test_the_applications_own_statement_is_combined_and_never_loosened() -> None:
    theirs = [(b"content-usage", b"search=n, other=y"), (b"x-robots-tag", b"noindex"), (b"tdm-reservation", b"1")]
    theirs += [(b"content-signal", b"search=no, use=reference"), (b"link", b'</next>; rel="next"')]
    answer = ask(GuardMiddleware(answering(headers=theirs), a_guard()), "/x")
    assert answer.named("content-usage") == ["train-ai=n, ai-use=n, search=n, other=y"]
    assert answer.named("content-signal") == ["search=no, ai-input=no, ai-train=no, use=reference"]
    assert answer.named("link") == ['</next>; rel="next"', STATED["link"]]
    assert answer.named("x-robots-tag") == ["noindex", "noai, noimageai"]
    assert answer.named("tdm-reservation") == ["1"]


def test_the_applications_headers_are_not_changed_in_its_own_list() -> None:
    headers = [(b"x", b"1")]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    ask(GuardMiddleware(app, a_guard()), "/x")
    assert headers == [(b"x", b"1")]


@pytest.mark.parametrize("recording", [False, True])
def test_a_stream_is_passed_on_as_it_is_made(recording: bool) -> None:
    sent: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for chunk in (b"first", b"second"):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            assert sent[-1] == chunk
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def send(message: Message) -> None:
        sent.append(message.get("body", b""))

    records: list[Record] = []
    guard = a_guard(record=records.append if recording else None)
    run(lambda: GuardMiddleware(app, guard)(scope_of("/media/1"), nothing, send))
    assert sent == [b"", b"first", b"second", b""]
    assert [record.body_bytes for record in records] == [11] * recording


def test_the_body_of_a_request_reaches_the_application_unread() -> None:
    asked: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append((await receive())["type"])

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x"}

    run(lambda: GuardMiddleware(app, a_guard())(scope_of("/x", "POST"), receive, receive))  # type: ignore[arg-type]
    assert asked == ["http.request"]


@pytest.mark.parametrize("recording", [False, True])
def test_an_exception_of_the_application_stays_its_own(recording: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("mine")

    records: list[Record] = []
    guarded = GuardMiddleware(app, a_guard(record=records.append if recording else None))
    with pytest.raises(LookupError, match="mine"):
        ask(guarded, "/x")
    assert len(records) == recording


def test_a_label_lets_through() -> None:
    records: list[Record] = []
    assert ask(GuardMiddleware(answering(), a_guard(record=records.append)), "/seen").status == 200
    assert records[0].decision.labels == ("seen",)


# -- what is refused -----------------------------------------------------------------------------------------


async def unreachable(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("the application was asked")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "PUT", "BREW", "get"])
def test_no_method_gets_past_a_refusal(method: str) -> None:
    answer = ask(GuardMiddleware(unreachable, a_guard()), "/private/x", method)
    assert answer.status == 403
    assert (answer.body == b"") is (method == "HEAD")
    assert int(answer.named("content-length")[0]) > 100


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_tunnels_and_traces_are_not_read_at_all(method: str) -> None:
    assert ask(GuardMiddleware(unreachable, a_guard()), "/x", method).status == 400


@pytest.mark.parametrize(
    ("path", "accept", "html"),
    [
        ("/track/1", "text/html,application/xhtml+xml,*/*;q=0.8", True),
        ("/search", "TEXT/HTML", True),
        ("/track/1", "*/*", False),
        ("/track/1", "", False),
        ("/track/1", "application/json", False),
        ("/media/1", "text/html", False),
        ("/api/1", "text/html", False),
    ],
)
def test_a_refusal_is_a_page_only_where_a_person_asked_for_one(path: str, accept: str, html: bool) -> None:
    answer = ask(GuardMiddleware(unreachable, a_guard()), path, headers=GPTBOT | {"accept": accept})
    assert answer.status == 403
    assert answer.says(STATED | NO_STORE | {"x-content-type-options": "nosniff", "x-guard-decision": "d-1"})
    assert not answer.named("location")
    assert not answer.named("set-cookie")
    if html:
        page = answer.body.decode()
        assert answer.named("content-type") == ["text/html; charset=utf-8"]
        assert "No &lt;AI&gt; here." in page
        assert "Øre &amp; &lt;Friends&gt;" in page
        assert "mailto:a@b.example" in page
        assert "d-1" in page
        assert "<script" not in page
        assert "default-src 'none'" in answer.named("content-security-policy")[0]
    else:
        assert answer.named("content-type") == ["application/problem+json"]
        assert json.loads(answer.body) == {
            "type": "about:blank",
            "title": "This request was not allowed",
            "status": 403,
            "detail": "No <AI> here.",
            "decision": "d-1",
            "contact": "mailto:a@b.example",
        }


def test_nothing_that_was_sent_comes_back() -> None:
    mark = "zzmarkzz"
    headers = {
        "user-agent": f"GPTBot {mark}",
        "accept": f"text/html, {mark}",
        "referer": mark,
        "cookie": mark,
        "x": mark,
    }
    for path in (f"/{mark}", f"/private/{mark}", f"/slow/{mark}", f"/%{mark}"):
        for method in ("GET", "POST", mark):
            answer = ask(GuardMiddleware(unreachable, a_guard()), path, method, headers)
            assert answer.status in (400, 403)
            assert mark not in str(answer)


@pytest.mark.parametrize("path", ["/%00", "/%zz", "/\x7f", "no-slash", "http://x.example/private", "/" + "a" * 3000])
def test_what_cannot_be_read_one_way_is_answered_400_without_a_reason(path: str) -> None:
    answer = ask(GuardMiddleware(unreachable, a_guard()), path)
    assert answer.status == 400
    assert answer.says(NO_STORE)
    assert json.loads(answer.body)["detail"] == "The address or the headers of the request have no single safe meaning."


@pytest.mark.parametrize("host", ["", "a b", "x.example/public?", "x@y", "a,b", "x\\y", "[::1", "x#y", "é", "x" * 300])
def test_a_host_that_is_none_is_answered_400(host: str) -> None:
    assert ask(GuardMiddleware(unreachable, a_guard()), "/x", headers={"host": host}).status == 400


def test_two_hosts_are_answered_400() -> None:
    headers = [("host", "x.example"), ("host", "x.example")]
    assert ask(GuardMiddleware(unreachable, a_guard()), "/x", headers=headers).status == 400


@pytest.mark.parametrize("host", ["x.example", "X.example:8000", "127.0.0.1", "[::1]:80", "localhost", "_x.example."])
def test_a_host_that_is_one_passes(host: str) -> None:
    assert ask(GuardMiddleware(answering(), a_guard()), "/x", headers={"host": host}).status == 200


def test_the_path_is_taken_from_the_scope_whatever_the_host_says() -> None:
    answer = ask(GuardMiddleware(unreachable, a_guard()), "/private/x", headers={"host": "x.example/public?"})
    assert answer.status == 400


@pytest.mark.parametrize(
    ("path", "raw_path"),
    [
        ("/private/x", b"/private/x"),
        ("/private/x", b"/public/x"),
        ("/public/x", b"/private/x"),
        ("/private/x", None),
        ("/private/x", b""),
        ("/app/../private/x", None),
    ],
)
def test_both_spellings_of_the_path_are_judged(path: str, raw_path: bytes | None) -> None:
    assert ask(GuardMiddleware(unreachable, a_guard()), "/", path=path, raw_path=raw_path).status == 403


def test_a_path_without_raw_bytes_is_read_as_the_server_decoded_it() -> None:
    assert ask(GuardMiddleware(answering(), a_guard()), "/", path="/artist/AC/DC 100% é", raw_path=None).status == 200
    assert ask(GuardMiddleware(unreachable, a_guard()), "/", path="/a\x00b", raw_path=None).status == 400


def test_rules_are_about_the_whole_path_wherever_the_application_is_mounted() -> None:
    guard = Guard(
        read_policy(
            "{version: 1, site: {name: x}, default: allow, rules: [{name: p, when: {path: /app/p/**}, then: block}]}"
        )
    )
    assert ask(GuardMiddleware(unreachable, guard), "/app/p/x", root_path="/app").status == 403


@pytest.mark.parametrize("lines", [["curl/8", "GPTBot"], ["GPTBot", "curl/8"]])
def test_of_two_user_agent_lines_either_is_enough_for_a_refusal(lines: list[str]) -> None:
    headers = [("host", "x"), *(("user-agent", line) for line in lines)]
    assert ask(GuardMiddleware(unreachable, a_guard()), "/x", headers=headers).status == 403


# -- limits --------------------------------------------------------------------------------------------------


def test_a_limit_is_answered_429_with_times_that_agree() -> None:
    guarded = GuardMiddleware(answering(), a_guard(store=MemoryStore(clock=lambda: 0.0)))
    assert [ask(guarded, "/slow/x").status for _ in range(2)] == [200, 200]
    answer = ask(guarded, "/slow/x", headers={"accept": "text/html"})
    assert answer.status == 429
    assert answer.says(NO_STORE | STATED)
    (retry,) = answer.named("retry-after")
    ((name, state),) = http_sf.parse(answer.named("ratelimit")[0].encode(), tltype="list")  # type: ignore[misc]
    ((same_name, policy),) = http_sf.parse(answer.named("ratelimit-policy")[0].encode(), tltype="list")  # type: ignore[misc]
    assert (name, same_name) == ("twice", "twice")
    assert (state["r"], str(state["t"])) == (0, retry)
    assert 30 <= state["t"] <= 31
    assert policy == {"q": 2, "w": 60}
    assert f"You can try again in {retry} seconds." in answer.body.decode()
    problem = json.loads(ask(guarded, "/api/slow").body)
    assert problem["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert (problem["status"], problem["violated-policies"]) == (429, ["twice"])


def test_every_spelling_and_every_method_takes_from_one_budget() -> None:
    guarded = GuardMiddleware(answering(), a_guard(store=MemoryStore(clock=lambda: 0.0)))
    statuses = [ask(guarded, path, method).status for path, method in (("/slow/x", "GET"), ("/SLOW//%78", "HEAD"))]
    assert statuses == [200, 200]
    assert [ask(guarded, "/slow/x", method).status for method in ("GET", "OPTIONS", "POST")] == [429] * 3


def test_a_guard_mounted_twice_counts_once() -> None:
    guard = a_guard(store=MemoryStore(clock=lambda: 0.0))
    twice = GuardMiddleware(GuardMiddleware(answering(), guard), guard)
    assert [ask(twice, "/slow/x").status for _ in range(3)] == [200, 200, 429]


# -- what is published ---------------------------------------------------------------------------------------

FILES = ["/robots.txt", "/ai.txt", "/.well-known/tdmrep.json"]


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_the_refused_still_get_the_directives(path: str, mode: str) -> None:
    guarded = GuardMiddleware(unreachable, a_guard(mode))
    answer = ask(guarded, path, headers=GPTBOT)
    assert answer.status == 200
    assert answer.says(STATED | {"cache-control": "public, max-age=3600", "content-length": str(len(answer.body))})
    head = ask(guarded, path, "HEAD", GPTBOT)
    assert (head.status, head.headers, head.body) == (200, answer.headers, b"")
    assert ask(guarded, path, headers={"accept": "nothing/at-all"}).body == answer.body


@pytest.mark.parametrize("path", FILES)
def test_who_has_a_directive_already_is_told_so(path: str) -> None:
    guarded = GuardMiddleware(unreachable, a_guard())
    (etag,) = ask(guarded, path).named("etag")
    for tags in (etag, f'"x", {etag}', f"W/{etag}", "*"):
        answer = ask(guarded, path, headers={"if-none-match": tags})
        assert (answer.status, answer.body, answer.named("etag")) == (304, b"", [etag])
        assert answer.says(STATED)
        assert not answer.named("content-length")
    assert ask(guarded, path, headers={"if-none-match": '"x"'}).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_a_directive_can_only_be_read(method: str) -> None:
    answer = ask(GuardMiddleware(unreachable, a_guard()), "/robots.txt", method)
    assert (answer.status, answer.named("allow")) == (405, ["GET, HEAD"])


@pytest.mark.parametrize("path", ["//robots.txt", "/%72obots.txt", "/x/../robots.txt", "/robots.txt/"])
def test_another_spelling_of_a_directive_is_still_the_directive(path: str) -> None:
    answer = ask(GuardMiddleware(unreachable, a_guard()), path)
    assert answer.status == 200
    assert b"User-agent: GPTBot" in answer.body


# -- observing and recording ---------------------------------------------------------------------------------


def test_who_observes_lets_everybody_through_and_notes_what_would_have_been() -> None:
    records: list[Record] = []
    guard = a_guard("observe", record=records.append, store=MemoryStore(clock=lambda: 0.0))
    guarded = GuardMiddleware(answering(), guard)
    answers = [ask(guarded, "/x", headers=GPTBOT), ask(guarded, "/private/x")] + [
        ask(guarded, "/slow/x") for _ in range(3)
    ]
    assert [answer.status for answer in answers] == [200] * 5
    assert [record.decision.action for record in records] == ["block", "block", "throttle", "throttle", "throttle"]
    assert {record.decision.mode for record in records} == {Mode.OBSERVE}
    assert records[-1].admission is not None
    assert not records[-1].admission.allowed


@pytest.mark.parametrize(
    ("path", "headers", "status", "action", "rule", "size"),
    [
        ("/x", {}, 200, "allow", "default", 5),
        ("/private/x", {}, 403, "block", "private", None),
        ("/x", GPTBOT, 403, "block", "no AI", None),
        ("/%00", {}, 400, "reject", "", None),
        ("/robots.txt", {}, 200, "serve", "", None),
    ],
)
def test_a_record_says_what_happened(
    path: str, headers: Lines, status: int, action: str, rule: str, size: int | None
) -> None:
    records: list[Record] = []
    answer = ask(GuardMiddleware(answering(), a_guard(record=records.append)), path, headers=headers)
    (record,) = records
    assert (record.status, record.decision.action, record.decision.rule) == (status, action, rule)
    assert (record.id, record.client, record.method, record.target) == ("d-1", "192.0.2.1", "GET", path)
    assert record.body_bytes == len(answer.body) == (size or len(answer.body))
    assert (record.time_s, record.duration_s) == (1_000.0, 0.0)


@pytest.mark.parametrize("recording", [False, True])
def test_the_tally_counts_every_request_once(recording: bool) -> None:
    records: list[Record] = []
    guard = a_guard(record=records.append if recording else None, store=MemoryStore(clock=lambda: 0.0))
    guarded = GuardMiddleware(answering(), guard)
    for path in ("/x", "/x", "/private/x", "/slow/x", "/slow/x", "/slow/x", "/%00", "/robots.txt"):
        ask(guarded, path)
    counted = {action: count for (action, _), count in guard.tally.items()}
    counted["allow"] += guard.passed
    counted["throttle"] = counted.get("throttle", 0) + guard.admitted
    assert counted == {"allow": 2, "block": 1, "throttle": 3, "reject": 1, "serve": 1}


# -- another policy ------------------------------------------------------------------------------------------


def another_guard(text: str = "", **more: Any) -> Guard:
    """Allows what the other refuses, states the opposite, and refuses `/x`."""
    base = BASE % "enforce"
    base = base.replace("disallow", "allow").replace("path: /private/**", "path: /x")
    return Guard(read_policy(base + text), **more)


ALLOWED = {"content-usage": "train-ai=y, ai-use=y, search=y", "tdm-reservation": "0"}


def test_another_guard_is_in_force_from_the_next_request_on() -> None:
    guarded = GuardMiddleware(answering(), a_guard())
    for _ in range(3):  # considered, then known to pass
        assert ask(guarded, "/x").says(STATED) and ask(guarded, "/y").says(STATED)
    assert ask(guarded, "/private/x").status == 403
    guarded.guard = another_guard()
    assert ask(guarded, "/x").status == 403
    for _ in range(3):
        assert ask(guarded, "/y").says(ALLOWED) and ask(guarded, "/private/x").says(ALLOWED)
        assert ask(guarded, "/private/x").named("x-robots-tag") == []


@pytest.mark.parametrize("known", [False, True], ids=["considered", "known to pass"])
@pytest.mark.parametrize("recording", [False, True])
def test_a_request_under_way_keeps_the_policy_it_began_with(known: bool, recording: bool) -> None:
    inner = answering()
    records: list[Record] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if swapping:
            guarded.guard = another_guard(record=records.append if recording else None)
        await inner(scope, receive, send)

    swapping = False
    guarded = GuardMiddleware(app, a_guard(record=records.append if recording else None))
    if known:
        ask(guarded, "/x")
    swapping = True
    assert ask(guarded, "/x").says(STATED)
    assert ask(guarded, "/x").says(ALLOWED) and ask(guarded, "/x").status == 403
    if recording:
        assert records[-1].version != records[0].version == records[int(known)].version


def test_what_was_being_considered_at_a_swap_is_not_remembered_for_the_next_policy() -> None:
    class Swapping(MemoryStore):
        async def open(self) -> None:
            guarded.guard = another_guard()

    guarded = GuardMiddleware(answering(), a_guard(store=Swapping()))
    assert ask(guarded, "/x").status == 403  # the store opened first: by then the new policy was in force
    assert ask(guarded, "/y").says(ALLOWED)


def test_a_rule_begins_on_its_day_also_for_requests_that_are_known_to_pass() -> None:
    now_s = 0.0
    rules = "- {name: from 1971, from: 1971-01-01, when: {path: /x}, then: block}\n"
    policy = read_policy((BASE % "enforce").replace("rules:\n", "rules:\n" + rules))
    guarded = GuardMiddleware(answering(), Guard(policy, clock=lambda: now_s))
    assert [ask(guarded, "/x").status for _ in range(3)] == [200] * 3
    now_s = 400 * 86_400.0
    assert ask(guarded, "/x").status == 403


HOSTS = """hosts:
- {names: [open.example], preferences: {train-ai: allow}}
- {names: ["*.shut.example"], default: block}
"""


def test_each_host_has_its_own_rules_and_headers() -> None:
    guarded = GuardMiddleware(answering(), Guard(read_policy(BASE % "enforce" + HOSTS)))
    for _ in range(3):
        assert ask(guarded, "/x").says(STATED)
        answer = ask(guarded, "/x", headers={"host": "OPEN.example:80"})
        assert answer.named("content-usage") == ["train-ai=y, ai-use=n, search=y"]
        assert ask(guarded, "/x", headers={"host": "a.shut.example"}).status == 403
        assert ask(guarded, "/x", headers=[("host", "a.shut.example"), ("host", "x.example")]).status == 400


def test_answers_of_each_kind_carry_the_preferences_of_that_kind() -> None:
    policy = read_policy((BASE % "enforce").replace("search: allow}", "search: allow, audio: {search: disallow}}"))
    guarded = GuardMiddleware(answering(), Guard(policy))
    for _ in range(3):
        assert ask(guarded, "/x").says(STATED)
        assert ask(guarded, "/media/1").named("content-usage") == ["train-ai=n, ai-use=n, search=n"]


@pytest.mark.parametrize(("word", "status"), [("local", 429), ("open", 200), ("closed", 503)])
def test_a_shared_store_that_is_away_is_met_as_the_policy_says(word: str, status: int) -> None:
    class Away(MemoryStore):
        """A store for the fleet whose server is gone: it counts by itself, and says so."""

        shared = True

    policy = read_policy(BASE % "enforce" + f"on_store_failure: {word}\n")
    guarded = GuardMiddleware(answering(), Guard(policy, store=Away(clock=lambda: 0.0)))
    assert [ask(guarded, "/slow/x").status for _ in range(3)][-1] == status


def test_the_file_is_followed_from_startup_to_shutdown_and_no_longer(tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})

    (file := tmp_path / "policy.yaml").write_text(BASE % "enforce")
    guarded = GuardMiddleware(app, Guard(load_policy(file)), reload=True, join_robots=False)
    following: list[int] = []
    messages = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Message:
        following.append(len(asyncio.all_tasks()))
        return {"type": next(messages)}

    async def send(message: Message) -> None:
        following.append(len(asyncio.all_tasks()))

    async def lifespan() -> None:
        await guarded({"type": "lifespan"}, receive, send)
        following.append(len(asyncio.all_tasks()))

    asyncio.run(lifespan())
    assert following == [1, 2, 2, 1, 1]  # asked to start, started, asked to stop, stopped


def test_a_policy_that_came_from_no_file_cannot_be_followed() -> None:
    with pytest.raises(ValueError, match="file"):
        GuardMiddleware(answering(), a_guard(), reload=True)


# -- the other scopes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["webtransport", "", "HTTP"])
def test_a_scope_that_nobody_knows_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="cannot judge"):
        run(lambda: GuardMiddleware(unreachable, a_guard())({"type": kind, "path": "/x"}, nothing, nothing))  # type: ignore[arg-type]


async def greet(socket: WebSocket) -> None:
    await socket.accept(headers=[(b"x-own", b"1")])
    await socket.send_text("hello")
    await socket.close()


def site(guard: Guard) -> TestClient:
    async def page(request: StarletteRequest) -> Response:
        return PlainTextResponse(request.url.path)

    routes = [
        Mount("/app", routes=[Route("/{rest:path}", page)]),
        WebSocketRoute("/ws", greet),
        WebSocketRoute("/private/ws", greet),
        WebSocketRoute("/slow/ws", greet),
        Route("/{rest:path}", page),
    ]
    return TestClient(GuardMiddleware(Starlette(routes=routes), guard), headers={"user-agent": "somebody"})


def test_a_websocket_passes_and_its_head_states_the_preferences() -> None:
    with site(a_guard()).websocket_connect("/ws") as socket:
        assert socket.receive_text() == "hello"
        stated = {name.decode(): value.decode() for name, value in socket.extra_headers or ()}
    assert stated == STATED | {"x-own": "1"}


@pytest.mark.parametrize(("path", "headers"), [("/private/ws", {}), ("/ws", GPTBOT), ("/robots.txt", {})])
def test_a_websocket_is_refused_as_a_page_would_be(path: str, headers: dict[str, str]) -> None:
    with pytest.raises(WebSocketDenialResponse) as caught, site(a_guard()).websocket_connect(path, headers=headers):
        pass
    assert caught.value.status_code == 403


def test_a_websocket_is_closed_where_the_server_cannot_answer_it() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = scope_of("/private/ws") | {"type": "websocket"}
    del scope["method"]
    run(lambda: GuardMiddleware(unreachable, a_guard())(scope, nothing, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_a_websocket_takes_from_the_same_budget_as_a_page() -> None:
    client = site(a_guard(store=MemoryStore(clock=lambda: 0.0)))
    with client.websocket_connect("/slow/ws"):
        pass
    assert client.get("/slow/x").status_code == 200
    assert client.get("/slow/x").status_code == 429
    with pytest.raises(WebSocketDenialResponse) as caught, client.websocket_connect("/slow/ws"):
        pass
    assert caught.value.status_code == 429


def test_a_mounted_application_is_guarded_as_a_whole() -> None:
    client = site(a_guard())
    assert client.get("/app/x").text == "/app/x"
    assert client.get("/app/x", headers=GPTBOT).status_code == 403
    assert client.get("/app/..%2fprivate/x").status_code == 403
    assert client.get("/artist/AC%2FDC").status_code == 200


class Opening(MemoryStore):
    """A store that says when it is opened and closed."""

    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self.said = said

    async def open(self) -> None:
        self.said.append("store open")

    async def close(self) -> None:
        self.said.append("store closed")


def test_the_store_opens_before_the_application_and_closes_after_it() -> None:
    said: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "lifespan"
        for step in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{step}"
            said.append(f"application {step}")
            await send({"type": f"lifespan.{step}.complete"})

    with TestClient(GuardMiddleware(app, a_guard(store=Opening(said)))):
        assert said == ["store open", "application startup"]
    assert said == ["store open", "application startup", "application shutdown", "store closed"]


def test_the_store_that_was_given_is_the_one_that_counts() -> None:
    store = MemoryStore(share=2)
    assert a_guard(store=store).store is store


def test_an_application_without_a_lifespan_has_its_store_opened_by_the_first_request() -> None:
    said: list[str] = []
    guarded = GuardMiddleware(answering(), a_guard(store=Opening(said)))
    for _ in range(3):
        assert ask(guarded, "/x").status == 200
    assert said == ["store open"]


def test_a_decision_id_is_short_and_not_the_same_twice() -> None:
    guard = Guard(read_policy(BASE % "enforce"))
    ids = {ask(GuardMiddleware(unreachable, guard), "/private/x").named("x-guard-decision")[0] for _ in range(20)}
    assert len(ids) == 20
    assert all(re.fullmatch(r"[0-9a-f]{12}", found) for found in ids)


# -- hosts that are none, headers that are any iterable ------------------------------------------------------

ONE_ENFORCES = (
    (BASE % "observe")
    + """
hosts:
  - {names: [radio.example], mode: enforce}
"""
)


@pytest.mark.parametrize(
    "lines",
    [
        [("host", "radio.example")],
        [("host", "radio.example:x")],
        [("host", "radio.example:80:80")],
        [("host", "radio.example/")],
        [("host", "u@radio.example")],
        [("host", "radio.example"), ("host", "other.example")],
    ],
)
def test_no_spelling_of_a_host_leads_past_the_one_that_enforces(lines: list[tuple[str, str]]) -> None:
    app = GuardMiddleware(answering(), Guard(read_policy(ONE_ENFORCES)))
    assert ask(app, "/x", headers=[*lines, ("user-agent", "GPTBot/1.3")]).status in (400, 403)
    assert ask(app, "/x", headers=[("host", "other.example"), ("user-agent", "GPTBot/1.3")]).status == 200


def test_headers_may_be_any_iterable_at_the_first_answer_and_at_the_next() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        lines = iter([(b"content-type", b"audio/mpeg"), (b"x", b"1")])
        await send({"type": "http.response.start", "status": 200, "headers": lines})
        await send({"type": "http.response.body", "body": b""})

    guarded = GuardMiddleware(app, a_guard())
    for _ in range(3):
        assert ask(guarded, "/x").says(STATED | {"content-type": "audio/mpeg", "x": "1"})


def test_a_reservation_in_lists_instead_of_tuples_is_not_loosened() -> None:
    policy = (BASE % "enforce").replace(
        "train-ai: disallow, ai-use: disallow, search: allow", "train-ai: allow, ai-use: allow"
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        lines = [[b"tdm-reservation", b"1"]]
        await send({"type": "http.response.start", "status": 200, "headers": lines})
        await send({"type": "http.response.body", "body": b""})

    assert ask(GuardMiddleware(app, Guard(read_policy(policy))), "/x").named("tdm-reservation") == ["1"]


def test_an_application_that_denies_a_websocket_in_words_states_the_preferences() -> None:
    records: list[Record] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"who are you"})

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def connect() -> Message:
        return {"type": "websocket.connect"}

    async def once() -> None:
        scope = scope_of("/ws") | {"type": "websocket", "extensions": {"websocket.http.response": {}}}
        await GuardMiddleware(app, a_guard(record=records.append))(scope, connect, send)

    run(once)
    assert {name.decode(): value.decode() for name, value in sent[0]["headers"]} == STATED
    assert (records[0].status, records[0].body_bytes) == (401, 11)

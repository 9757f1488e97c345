"""What somebody who takes tracks may try so that a reserved work passes for another, or for none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from guard import Guard, Request
from guard.load import read_policy
from guard.middleware import GuardMiddleware
from guard.model import Decision, Identity
from guard.policy import Policy
from guard.protocols import Known, Listed
from guard.registers.plain import MemoryRegister
from guard.rights import Choice, Licence, Rights, Work, resolve

GPTBOT = b"Mozilla/5.0 AppleWebKit/537.36 (compatible; GPTBot/1.2; +https://openai.com/gptbot)"
FIREFOX = b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

PATHS = """[
    {path: "/track/{track}"},
    {path: "/stems/{track}/**", kind: stems},
    {path: "/by/{artist}/{track}"},
    {path: "/media/{track}.mp3", kind: audio},
    {path: "/rest/stream*", query: id, layer: track},
  ]"""

OPEN = Choice({"": {"train-ai": "open", "ai-use": "open"}})
CLOSED = Choice({"": {"train-ai": "disallow", "ai-use": "disallow"}})
WORKS: dict[Work, tuple[Choice | None, tuple[Work, ...]]] = {
    Work("track", "open"): (OPEN, ()),
    Work("track", "666"): (CLOSED, ()),
    Work("artist", "open"): (OPEN, ()),
}


def a_policy(preferences: str, more: str = "") -> Policy:
    return read_policy(
        f"version: 1\nsite: {{name: x}}\ndefault: allow\npreferences: {preferences}\n"
        f"rights:\n  source: rights.yaml\n  works: {PATHS}\n{more}"
    )


FREE = a_policy("{train-ai: allow, ai-use: allow}")
RESERVED = a_policy("{train-ai: disallow, ai-use: disallow}")
NAMING = a_policy("{train-ai: disallow, ai-use: disallow}", "  header: X-Guard-Work\n")


def a_guard(policy: Policy = FREE, **more: Any) -> Guard:
    more.setdefault("rights", MemoryRegister(WORKS))
    return Guard(policy, **more)


def asked(target: bytes, user_agent: bytes = GPTBOT, method: str = "GET") -> Request:
    path, _, query = target.partition(b"?")
    return Request(method, path, user_agent, "192.0.2.1", query=query)


def usage(guard: Guard, decision: Decision) -> bytes:
    return dict(guard.headers_of(decision)).get(b"content-usage", b"")


# -- at the address ------------------------------------------------------------------------------------------


def test_a_method_that_nobody_may_use_teaches_the_guard_nothing() -> None:
    for method in ("TRACE", "CONNECT"):
        guard = a_guard()
        assert guard.decide(asked(b"/track/666", method=method)).action == "reject"
        assert guard.decide(asked(b"/track/666")).action == "block"


@pytest.mark.parametrize(
    "query",
    [
        b"id=open&id=666",
        b"id=666&id=open",
        b"&".join(b"id=x%d" % n for n in range(8)) + b"&id=666",
        b"id=open;id=666",
        b"id=open&%20id=666",
        b"id=open&id[]=666",
        b"id=open&ID=666",
    ],
)
@pytest.mark.parametrize("policy", [FREE, RESERVED], ids=["free", "reserved"])
def test_whatever_stands_beside_it_in_a_query_a_reserved_track_is_reserved(policy: Policy, query: bytes) -> None:
    guard = a_guard(policy)
    decision = guard.decide(asked(b"/rest/stream?" + query))
    assert decision.action == "block"
    assert usage(guard, decision).startswith(b"train-ai=n")


def test_an_open_track_is_open_in_a_query_too() -> None:
    assert a_guard(RESERVED).decide(asked(b"/rest/stream?id=open")).action == "allow"


def test_no_open_artist_opens_the_tracks_of_others_that_are_asked_for_under_its_name() -> None:
    guard = a_guard(RESERVED)
    assert guard.decide(asked(b"/by/open/unknown")).action == "block"
    assert guard.decide(asked(b"/by/open/666")).action == "block"
    assert guard.decide(asked(b"/by/open/open")).action == "allow"


def test_an_address_that_reads_as_stems_too_is_judged_as_stems() -> None:
    guard = a_guard()
    assert guard.decide(asked(b"/track/open")).action == "allow"
    assert guard.decide(asked(b"/stems/open/drums")).action == "block"
    bent = guard.decide(asked(b"/track/open%5C..%5C..%5Cstems%5Copen%5Cdrums"))
    assert bent.action == "block"
    assert usage(guard, bent).startswith(b"train-ai=n")


# -- in the platform's own answer ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "named"),
    [
        (b"/signed/1", b"track:666"),
        (b"/signed/1", b"track:open, track:666"),
        (b"/signed/1", b"track:open,,track:666,"),
        (b"/signed/1", b"track:open, song:1"),
        (b"/signed/1", b"track:open, nonsense"),
        (b"/signed/1", b",".join(b"track:open%d" % n for n in range(20))),
        (b"/track/666", b"track:open"),
        (b"/stems/open/drums", b"track:open"),
        (b"/signed/" + b"x" * 1_500, b"track:666"),
    ],
)
def test_an_answer_is_withheld_whatever_else_is_named_beside_the_reserved_work(target: bytes, named: bytes) -> None:
    guard = a_guard(NAMING)
    for _ in range(2):
        decision = guard.named(asked(target), guard.decide(asked(target)), named)
        assert decision.action == "block"
        assert usage(guard, decision).startswith(b"train-ai=n")


def test_what_an_answer_names_is_of_the_kind_that_its_address_has() -> None:
    guard = a_guard(NAMING)
    for user_agent in (FIREFOX, GPTBOT):
        asking = asked(b"/stems/open/drums", user_agent)
        guard.named(asking, guard.decide(asking), b"track:open")
    assert guard.decide(asked(b"/stems/open/drums")).action == "block"


def test_an_open_work_that_an_answer_names_goes_out() -> None:
    guard = a_guard(NAMING)
    first = guard.decide(asked(b"/signed/2"))
    assert first.action == "block"
    listener = asked(b"/signed/2", FIREFOX)
    assert guard.named(listener, guard.decide(listener), b" track:open ,").action == "allow"
    assert guard.decide(asked(b"/signed/2")).action == "allow"


def test_directive_files_stay_themselves_whatever_they_are_said_to_be_of() -> None:
    guard = a_guard(NAMING)
    decision = guard.decide(asked(b"/robots.txt"))
    assert guard.named(asked(b"/robots.txt"), decision, b"track:666") is decision


Message = dict[str, Any]


async def conversation(app: Any, scope: Message) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect" if scope["type"] == "websocket" else "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def a_scope(kind: str, path: str, user_agent: bytes = GPTBOT) -> Message:
    headers = [(b"host", b"x.example"), (b"user-agent", user_agent)]
    return {
        "type": kind,
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "client": ("192.0.2.1", 4711),
        "extensions": {},
    }


async def platform(scope: Message, receive: Callable[[], Awaitable[Message]], send: Any) -> None:
    """Names its work in a spelling of its own."""
    named = [(b"X-Guard-Work", b"track:666")]
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept", "headers": named})
        await send({"type": "websocket.send", "bytes": b"audio"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": named})
    await send({"type": "http.response.body", "body": b"audio"})


OPENED = a_policy("{train-ai: allow, ai-use: allow}", "  header: X-Guard-Work\n")


def test_the_header_counts_and_stays_inside_however_it_is_spelt() -> None:
    app = GuardMiddleware(platform, a_guard(OPENED), join_robots=False)
    start, body = asyncio.run(conversation(app, a_scope("http", "/signed/3")))
    assert start["status"] == 403
    assert b"audio" not in body["body"]
    start, body = asyncio.run(conversation(app, a_scope("http", "/signed/4", FIREFOX)))
    assert (start["status"], body["body"]) == (200, b"audio")
    assert b"x-guard-work" not in {name.lower() for name, _ in start["headers"]}


def test_a_websocket_that_turns_out_to_be_of_a_reserved_work_is_not_accepted() -> None:
    app = GuardMiddleware(platform, a_guard(OPENED), join_robots=False)
    sent = asyncio.run(conversation(app, a_scope("websocket", "/live/1")))
    assert sent == [{"type": "websocket.close", "code": 1008}]
    sent = asyncio.run(conversation(app, a_scope("websocket", "/live/1", FIREFOX)))
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send"]


def test_nobody_waits_while_the_files_of_an_application_without_lifespan_are_made() -> None:
    guard = a_guard(OPENED)
    app = GuardMiddleware(platform, guard, join_robots=False)
    order: list[str] = []

    async def ask(name: str, path: str) -> list[Message]:
        sent = await conversation(app, a_scope("http", path, FIREFOX))
        order.append(name)
        return sent

    async def both() -> list[list[Message]]:
        return await asyncio.gather(ask("robots.txt", "/robots.txt"), ask("listener", "/signed/4"))

    robots, listener = asyncio.run(both())
    assert order == ["listener", "robots.txt"]
    assert listener[0]["status"] == 200
    assert robots[1]["body"] == guard.files["/robots.txt"].body


# -- behind the guard's back ---------------------------------------------------------------------------------


class Broken:
    """A source of somebody's own that breaks."""

    tells = True

    def find(self, works: tuple[Work, ...]) -> Known:
        raise RuntimeError("the database is on fire")

    def listed(self, limit: int) -> Listed:
        return Listed((), 0)

    def heed(self, changed: Callable[[], None]) -> None:
        pass

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass


def test_nobody_passes_because_a_source_broke_and_no_listener_notices() -> None:
    guard = a_guard(rights=Broken())
    assert guard.decide(asked(b"/track/open")).action == "block"
    assert guard.decide(asked(b"/track/open", FIREFOX)).action == "allow"


def test_the_document_of_a_work_that_cannot_be_looked_up_says_what_is_enforced_and_is_not_kept() -> None:
    guard = a_guard(rights=Broken())
    reply = guard.serve("/license.xml", b"work=track%3Aopen")
    assert dict(reply.headers)[b"cache-control"] == b"no-store"
    assert b"prohibits" in reply.body


def test_the_document_of_a_work_is_made_once_until_its_rights_change() -> None:
    register = MemoryRegister(WORKS)
    guard = a_guard(rights=register)
    first = guard.serve("/license.xml", b"work=track%3A666")
    assert dict(first.headers)[b"cache-control"] == b"public, max-age=60"
    assert guard.serve("/license.xml", b"work=track%3A666") is first
    assert guard.serve("/license.xml", b"from=mail&work=track%3A666") is first
    assert guard.serve("/license.xml", b"work=track%3Aopen").body != first.body


def test_every_edge_of_a_guard_hears_that_works_have_other_rights() -> None:
    guard = a_guard()
    edges = [GuardMiddleware(platform, guard, join_robots=False) for _ in range(2)]
    remembered = [edge._passing for edge in edges]
    guard.rights_changed()
    assert all(edge._passing is not before for edge, before in zip(edges, remembered, strict=True))


# -- dates ---------------------------------------------------------------------------------------------------


def test_the_files_say_something_else_when_a_word_has_ended() -> None:
    now_s = 1_000.0
    lent = Choice({"": {"train-ai": "open", "ai-use": "open"}}, until_s=2_000.0)
    jobs: list[Callable[[], None]] = []
    guard = a_guard(
        RESERVED,
        rights=MemoryRegister({Work("track", "4711"): (lent, ())}),
        clock=lambda: now_s,
        beside=jobs.append,
    )
    robots = guard.files["/robots.txt"].body
    assert b"Allow: /track/4711" in robots
    guard.pass_by()
    assert not jobs
    now_s = 2_000.0
    guard.pass_by()
    guard.pass_by()
    assert len(jobs) == 1
    jobs.pop()()
    assert b"Allow: /track/4711" not in guard.files["/robots.txt"].body
    assert guard.decide(asked(b"/track/4711")).action == "block"


# -- licences ------------------------------------------------------------------------------------------------


def standing(rights: Rights, identity: Identity, user_agent: bytes) -> str:
    agent = a_guard().name_agent(user_agent)
    return rights.standing("", agent, identity)


CHATGPT = b"Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; ChatGPT-User/1.0; +https://openai.com/bot"


def licensed(*licences: Licence, layer: str = "track", said: Choice = CLOSED) -> Rights:
    chain = (
        (Work("track", "1"), Choice({}, licences=licences)),
        (Work(layer, "2") if layer != "track" else Work("artist", "2"), said),
    )
    return resolve(chain, Choice({}))


def test_a_licence_for_the_wider_purpose_is_one_for_the_finer() -> None:
    rights = licensed(Licence("operator:openai", ("ai-use",)))
    assert standing(rights, Identity.VERIFIED, CHATGPT) == "licensed"
    assert standing(rights, Identity.VERIFIED, GPTBOT) == "reserved"


def test_what_a_labels_contract_binds_no_artist_licenses_not_even_under_a_finer_name() -> None:
    rights = licensed(Licence("operator:openai", ("assistant", "ai-use")), layer="label")
    assert standing(rights, Identity.VERIFIED, CHATGPT) == "reserved"


def test_who_is_caught_lying_holds_no_licence() -> None:
    rights = licensed(Licence("operator:openai", proof="claim"))
    assert standing(rights, Identity.UNVERIFIED, GPTBOT) == "licensed"
    assert standing(rights, Identity.SPOOFED, GPTBOT) == "reserved"

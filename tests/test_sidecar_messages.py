"""What the sidecar does to messages, byte by byte: a raw client in front, a raw platform behind, both scripted."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guard.engine import Guard
from guard.load import read_policy
from guard.proxy.client import MAX_PIPELINED
from guard.proxy.exchange import MAX_WAITING_BYTES, Exchange
from guard.proxy.worker import Timeouts
from guard.stores.memory import MemoryStore
from tests.sidecar import GATED, OK, OPEN, Line, Message, Platform, Script, Side, both, chunks, get, post, side

pytestmark = pytest.mark.anyio

QUICK = Timeouts(head_s=0.6, answer_s=0.6, stall_s=0.6, idle_s=5.0, linger_s=0.3, drain_s=1.0)
GPTBOT = "User-Agent: GPTBot/1.3"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


async def eventually(holds: object, within_s: float = 2.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # type: ignore[operator]
            await asyncio.sleep(0.005)


# -- what goes on, and how -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["AC%2FDC", "100%25", "%231", "R.E.M.", "What%27s%20Up%3F", "!!!", "a;b=c", "50%25%20Off"]
)
async def test_catalogue_names_reach_the_platform_byte_for_byte(name: str) -> None:
    async with both() as (platform, sidecar):
        assert (await sidecar.ask(get(f"/artist/{name}?q={name}&&x=%2e"))).status == 200
        assert platform.seen[0].target == f"/artist/{name}?q={name}&&x=%2e".encode()


async def test_names_order_spelling_and_duplicates_of_request_fields_are_kept() -> None:
    async with both() as (platform, sidecar):
        await sidecar.ask(
            get("/", "X-b: 1", "coOkie: a=1", "X-A:2", "X-b: \t3 ", "cookie: b=2", "Range: bytes=0-1", "TE: gzip")
        )
        assert platform.seen[0].fields == [
            (b"Host", b"a.example"),
            (b"X-b", b"1"),
            (b"coOkie", b"a=1"),
            (b"X-A", b"2"),
            (b"X-b", b"3"),
            (b"cookie", b"b=2"),
            (b"Range", b"bytes=0-1"),
            (b"Via", b"1.1 guard"),
            (b"X-Forwarded-For", b"127.0.0.1"),
            (b"X-Forwarded-Proto", b"http"),
        ]


async def test_answer_lines_go_on_as_they_came() -> None:
    lines = b'sEt-Cookie: a=1\r\nX-A:  two  words \r\nSet-Cookie: b=2\r\nETag: "x"\r\nContent-Range: bytes 0-1/9\r\n'
    async with both() as (platform, sidecar):
        platform.reply = lambda _: b"HTTP/1.1 206 Some Of It\r\n" + lines + b"Content-Length: 2\r\n\r\nok"
        answer = await sidecar.ask(get("/", "Range: bytes=0-1"))
        assert answer.head == b"HTTP/1.1 206 Some Of It\r\n" + lines + b"Content-Length: 2\r\n\r\n"
        assert answer.body == b"ok"


async def test_hop_by_hop_fields_stay_behind_in_both_directions() -> None:
    async with both() as (platform, sidecar):
        platform.reply = lambda _: (
            b"HTTP/1.1 200 OK\r\nConnection: x-hop, keep-alive\r\nX-Hop: 1\r\nx-HOP: 2\r\nX-Kept: 3\r\n"
            b"Keep-Alive: timeout=5\r\nProxy-Authenticate: x\r\nTrailer: y\r\nContent-Length:\t2 \r\n\r\nok"
        )
        hop = [
            "Connection: x-mine, keep-alive",
            "X-Mine: 1",
            "X-Kept: 2",
            "Keep-Alive: 3",
            "TE: trailers",
            "Upgrade: h2",
        ]
        answer = await sidecar.ask(get("/", *hop, "Proxy-Authorization: x", "Trailer: y", "Proxy-Connection: z"))
        assert [name for name, _ in platform.seen[0].fields] == [
            b"Host",
            b"X-Kept",
            b"Via",
            b"X-Forwarded-For",
            b"X-Forwarded-Proto",
        ]
        assert [name for name, _ in answer.fields] == [b"X-Kept", b"Content-Length"]


@pytest.mark.parametrize(
    "framed", [post("/up", b"hello"), get("/up", "Transfer-Encoding: chunked", method="POST") + chunks(b"he", b"llo")]
)
async def test_bodies_are_framed_anew(framed: bytes) -> None:
    async with both() as (platform, sidecar):
        assert (await sidecar.ask(framed)).status == 200
        assert platform.seen[0].body == b"hello"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\n012\r\n7\r\n3456789\r\n0\r\n"
        b"X-Late: 1\r\nConnection: q\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n0123456789",
        b"HTTP/1.0 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
    ],
)
async def test_every_framing_of_an_answer_arrives_whole(answer: bytes) -> None:
    async def script(line: Line) -> None:
        await line.message()
        await line.send(answer)
        if b"Content-Length" not in answer and b"chunked" not in answer:
            line.close()

    async with both(script) as (_, sidecar):
        assert (await sidecar.ask(get())).body == b"0123456789"
        old = b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"
        async with sidecar.client() as client:
            await client.send(old)
            got = await client.rest()
        assert got.endswith(b"\r\n\r\n0123456789") and b"chunked" not in got.lower()


async def test_a_head_answer_has_the_length_and_no_body() -> None:
    async with both() as (platform, sidecar):
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
        platform.reply = lambda asked: head if asked.line.startswith(b"HEAD") else head + b"123456789"
        async with sidecar.client() as client:
            for _ in range(2):  # equal answer heads, with and without a body
                assert (await client.ask(get())).body == b"123456789"
                answer = await client.ask(get(method="HEAD"), no_body=True)
                assert answer.head == head
        assert platform.opened == 1


async def test_a_304_with_the_length_of_what_it_stands_for_ends_with_its_head() -> None:
    async with both() as (platform, sidecar):
        platform.reply = lambda asked: (
            b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 9\r\n\r\n'
            if asked.values(b"if-none-match")
            else b'HTTP/1.1 200 OK\r\nETag: "a"\r\nContent-Length: 9\r\n\r\n123456789'
        )
        async with sidecar.client() as client:
            for _ in range(2):
                assert (await client.ask(get())).body == b"123456789"
                assert (await client.ask(get("/", 'If-None-Match: "a"'))).status == 304
        assert platform.opened == 1


async def test_early_hints_pass_and_100_is_ours_alone() -> None:
    async def script(line: Line) -> None:
        head = await line.head()
        assert b"xpect" not in head
        assert await line.reader.readexactly(5) == b"hello"
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
        await line.send(b"HTTP/1.1 100 Continue\r\n\r\n" + hints, hints + OK)
        await asyncio.sleep(1)

    async with both(script) as (_, sidecar), sidecar.client() as client:
        await client.send(get("/", "Expect: 100-continue", "Content-Length: 5", method="PUT"))
        assert (await client.message()).head == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"hello")
        assert [(await client.message()).status for _ in range(3)] == [103, 103, 200]


async def test_a_refused_upload_gets_no_100_continue() -> None:
    async with both(policy=GATED) as (platform, sidecar), sidecar.client() as client:
        await client.send(get("/private/x", "Expect: 100-continue", "Content-Length: 5", method="PUT"))
        got = await client.rest()
        assert got.startswith(b"HTTP/1.1 403") and b"\r\nConnection: close\r\n" in got
        assert platform.opened == 0


async def test_connections_to_the_platform_are_kept_and_used_again() -> None:
    async with both() as (platform, sidecar):
        for _ in range(5):
            await sidecar.ask(get())
        assert (platform.opened, len(platform.seen)) == (1, 5)


async def test_the_pool_keeps_no_more_than_it_may() -> None:
    async with both() as (platform, sidecar):
        sidecar.worker.pool.max_idle = 2
        await asyncio.gather(*(sidecar.ask(get()) for _ in range(6)))
        await eventually(lambda: platform.ended == platform.opened - 2)


async def test_directive_fields_are_stated_on_answers() -> None:
    policy = OPEN + "preferences: {train-ai: disallow}\n"
    async with both(policy=policy) as (_, sidecar):
        answer = await sidecar.ask(get())
        assert answer.values(b"content-usage") == [b"train-ai=n"] and answer.values(b"tdm-reservation") == [b"1"]


# -- refusals --------------------------------------------------------------------------------------------


async def test_a_refused_request_never_reaches_the_platform_and_nothing_of_it_comes_back() -> None:
    canary = "c4n4ry<script>"
    async with both(policy=GATED) as (platform, sidecar):
        for accept in ("text/html", "*/*"):
            asked = get(
                f"/private/{canary.replace('<', '%3C')}?{canary[:6]}",
                f"Accept: {accept}",
                f"X-A: {canary}",
                f"User-Agent: {canary}",
            )
            answer = await sidecar.ask(asked)
            assert answer.status == 403
            assert b"c4n4ry" not in answer.head + answer.body
            assert answer.values(b"cache-control") == [b"no-store"]
        assert (await sidecar.ask(get(f"/%zz{canary[:6]}"))).status == 400
        assert platform.opened == 0


async def test_a_refused_upload_ends_the_connection_unless_it_was_read() -> None:
    async with both(policy=GATED) as (platform, sidecar):
        async with sidecar.client() as client:
            await client.send(post("/private/b", b"not read") + get("/c"))
            assert re.findall(rb"HTTP/1.1 (\d+)", await client.rest()) == [b"403"]
        async with sidecar.client() as client:
            await client.send(get("/a") + post("/private/b", b"read while it waited") + get("/c"))
            assert [(await client.message()).status for _ in range(3)] == [200, 403, 200]
        assert [one.target for one in platform.seen] == [b"/a", b"/c"]


async def test_the_refused_may_ask_again_on_the_same_connection() -> None:
    async with both(policy=GATED) as (platform, sidecar), sidecar.client() as client:
        for _ in range(3):
            assert (await client.ask(get("/private/a"))).status == 403
            assert (await client.ask(get("/open"))).status == 200
        assert [one.target for one in platform.seen] == [b"/open"] * 3


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (get("/", "Content-Length: 3", "Transfer-Encoding: chunked", method="POST") + b"abc", 400),
        (get("/", "Host: b.example"), 400),
        (b"GET / HTTP/1.1\r\nX: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: y\nZ: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"G\xffT / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (get("http://other.example/"), 400),
        (get("/", "Expect: something"), 417),
        (get("/", "Connection: cookie"), 400),
        (get("/" + "a" * 9000), 414),
        (get("/", "X: " + "a" * 33_000), 431),
        (get("/", *[f"X-{n}: {'a' * 900}" for n in range(40)]), 431),
        (get("/", *["a: b"] * 201), 431),
    ],
)
async def test_what_cannot_be_one_request_is_answered_and_the_connection_closed(sent: bytes, status: int) -> None:
    async with both() as (platform, sidecar):
        for pieces in ([sent], [sent[:10], sent[10:60], sent[60:]]):
            async with sidecar.client() as client:
                await client.send(*pieces)
                got = await client.rest()
                assert got.startswith(b"HTTP/1.1 %d " % status) and got.count(b"HTTP/1.1 ") == 1
                assert b"no-store" in got and b"\r\nConnection: close\r\n" in got
        assert platform.opened == 0


async def test_heads_below_the_limit_pass_with_a_large_body_in_the_same_segment() -> None:
    async with both() as (platform, sidecar):
        head = get("/", "X: " + "a" * 30_000, "Content-Length: 200000", method="POST")
        assert (await sidecar.ask(head + b"b" * 200_000)).status == 200
        assert len(platform.seen[0].body) == 200_000


async def test_directive_files_are_answered_to_the_blocked_while_the_platform_is_down() -> None:
    policy = GATED + "  - {name: no AI, when: {category: 'ai-*'}, then: block}\n"
    async with side(1, policy) as sidecar, sidecar.client() as client:
        for path in ("/robots.txt", "/ai.txt", "/.well-known/tdmrep.json"):
            whole = await client.ask(get(path, GPTBOT))
            assert whole.status == 200 and whole.body
            assert (await client.ask(get(path, GPTBOT, method="HEAD"), no_body=True)).head == whole.head
            known = await client.ask(get(path, GPTBOT, f"If-None-Match: {whole.values(b'etag')[0].decode()}"))
            assert known.status == 304
            assert (await client.ask(get(path, GPTBOT, method="DELETE"))).status == 405
        assert (await client.ask(get("/x", GPTBOT))).status == 403


# -- memoised heads must never mix requests up -----------------------------------------------------------


async def test_a_known_head_behind_one_still_being_answered_waits_its_turn() -> None:
    gate = asyncio.Event()

    async def script(line: Line) -> None:
        while True:
            asked = await platform.take(line)
            if asked.target == b"/slow":
                await gate.wait()
            await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(asked.target), asked.target))

    async with both(script) as (platform, sidecar), sidecar.client() as client:
        assert (await client.ask(get("/known"))).body == b"/known"
        await client.send(get("/slow"), get("/known"), get("/known"))
        await client.silence()
        gate.set()
        assert [(await client.message()).body for _ in range(3)] == [b"/slow", b"/known", b"/known"]


async def test_a_known_head_inside_a_body_is_body() -> None:
    async with both() as (platform, sidecar), sidecar.client() as client:
        known = get("/known")
        await client.ask(known)
        await client.send(get("/up", f"Content-Length: {2 * len(known)}", method="POST"), known, known)
        assert (await client.message()).status == 200
        await client.send(
            get("/up2", "Transfer-Encoding: chunked", method="POST"), b"%x\r\n" % len(known), known, b"\r\n0\r\n\r\n"
        )
        assert (await client.message()).status == 200
        assert [(one.target, one.body) for one in platform.seen[1:]] == [(b"/up", known * 2), (b"/up2", known)]


async def test_a_known_head_behind_part_of_another_is_not_taken_for_itself() -> None:
    async with both() as (platform, sidecar), sidecar.client() as client:
        known = get("/known")
        await client.ask(known)
        await client.send(b"GET /part HTTP/1.1\r\nX: ", known)
        assert (await client.message()).status == 200
        assert platform.seen[1].target == b"/part"
        assert platform.seen[1].values(b"x") == [b"GET /known HTTP/1.1"]


async def test_a_known_head_in_an_open_websocket_is_a_frame() -> None:
    async def script(line: Line) -> None:
        if (await platform.take(line)).values(b"upgrade"):
            await line.send(SWITCH)
            await line.send(b"<" + await line.reader.readexactly(len(known)))
        else:
            await line.send(OK)
            await script(line)

    known = get("/known")
    async with both(script) as (platform, sidecar), sidecar.client() as client:
        await client.ask(known)
        assert (await client.ask(get("/ws", *WEBSOCKET))).status == 101
        await client.send(known)
        assert await client.reader.readexactly(len(known) + 1) == b"<" + known
        assert len(platform.seen) == 2


async def test_the_word_of_a_trusted_hop_is_not_lent_to_others_with_the_same_bytes() -> None:
    asked = get(
        "/",
        "X-Forwarded-Proto: https",
        "X-Forwarded-For: 192.0.2.7",
        "X-Forwarded-Host: b.example",
        "Forwarded: for=_x",
    )
    policy = OPEN.replace("name: test", "name: test, trusted_proxies: [127.0.0.1]")
    async with both(policy=policy) as (platform, sidecar):
        for _ in range(2):
            await sidecar.ask(asked)
        from_elsewhere = await asyncio.open_connection("127.0.0.1", sidecar.port, local_addr=("127.0.0.2", 0))
        for _ in range(2):
            await Line(*from_elsewhere).ask(asked)
        from_elsewhere[1].close()
    trusted, stranger = platform.seen[1], platform.seen[3]
    assert trusted.values(b"x-forwarded-for") == [b"192.0.2.7, 127.0.0.1"]
    assert trusted.values(b"x-forwarded-host") == [b"b.example"] and trusted.values(b"forwarded")
    assert stranger.values(b"x-forwarded-for") == [b"127.0.0.2"]
    assert stranger.values(b"x-forwarded-proto") == [b"http"]
    assert not stranger.values(b"x-forwarded-host") and not stranger.values(b"forwarded")


async def test_heads_are_read_alike_whatever_another_connection_sent_before() -> None:
    """What checks whole heads is shared by all connections of a worker: nothing may stay in it."""
    before = [
        get("/a", "Connection: close"),
        get("/a", "Proxy-Connection: close"),
        get("/a", "Connection: keep-alive, close"),
        get("/a", "Upgrade: websocket", "Connection: upgrade"),
        get("/a", "Transfer-Encoding: chunked", method="POST"),
        get("/a", "Content-Length: 100", method="POST"),
        b"GET /a HTTP/1.1\r\nHost: a\r\nX\x00: y\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\n X: y\r\n\r\n",
    ]
    async with both() as (platform, sidecar):
        for n, odd in enumerate(before):
            async with sidecar.client() as one, sidecar.client() as other:
                await one.send(odd)
                assert (await other.ask(get(f"/{n}", f"X-N: {n}"))).status == 200
        assert [one.target for one in platform.seen if one.target != b"/a"] == [b"/%d" % n for n in range(len(before))]


async def test_empty_lines_before_a_request_do_not_change_it() -> None:
    async with both() as (platform, sidecar), sidecar.client() as client:
        for _ in range(2):
            assert (await client.ask(b"\r\n\r\n" + get("/a"))).status == 200
            await client.send(b"\r\n", get("/b"))
            assert (await client.message()).status == 200
        assert [one.target for one in platform.seen] == [b"/a", b"/b"] * 2


async def test_two_requests_in_one_segment_are_judged_one_by_one() -> None:
    async with both(policy=GATED) as (platform, sidecar), sidecar.client() as client:
        for _ in range(3):
            await client.send(get("/private/a") + get("/b") + get("/private/c") + get("/d"))
            assert [(await client.message()).status for _ in range(4)] == [403, 200, 403, 200]
        assert [one.target for one in platform.seen] == [b"/b", b"/d"] * 3


async def test_pipelined_requests_are_answered_in_order_and_too_many_not_at_all() -> None:
    async with both() as (platform, sidecar), sidecar.client() as client:
        platform.reply = lambda asked: (
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(asked.target), asked.target)
        )
        for start in range(0, 120, 30):
            targets = [f"/{n}" for n in range(start, start + 30)]
            await client.send(b"".join(get(target) for target in targets))
            assert [(await client.message()).body.decode() for _ in range(30)] == targets
        await client.send(b"".join(get(f"/{n}") for n in range(1000)))
        got = await client.rest()
        assert re.findall(rb"\r\n\r\n/(\d+)", got) == [b"%d" % n for n in range(MAX_PIPELINED + 1)]
        assert got.count(b"HTTP/1.1 ") == MAX_PIPELINED + 1


async def test_what_follows_a_last_request_is_not_a_request() -> None:
    async with both(policy=GATED) as (platform, sidecar):
        last = get("/last", "Connection: close")
        for sent in ([last + get("/more")], [last, get("/more")], [get("/%zz") + get("/more")]):
            async with sidecar.client() as client:
                await client.send(*sent)
                assert (await client.rest()).count(b"HTTP/1.1 ") == 1
        assert {one.target for one in platform.seen} == {b"/last"}


async def test_garbage_behind_requests_is_refused_after_their_answers() -> None:
    async with both() as (_, sidecar):
        for sent in ([get("/a") + get("/b") + b"\x00garbage"], [get("/a"), get("/b"), b"\x00garbage"]):
            async with sidecar.client() as client:
                await client.send(*sent)
                assert re.findall(rb"HTTP/1.1 (\d+)", await client.rest()) == [b"200", b"200", b"400"]


async def test_an_upgrade_that_we_do_not_make_is_no_tunnel() -> None:
    async with both(policy=GATED) as (platform, sidecar):
        h2c = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"]
        for target, status in (("/a", b"200"), ("/private/a", b"403")):
            async with sidecar.client() as client:
                await client.send(get(target, *h2c) + get("/more"))
                assert re.findall(rb"HTTP/1.1 (\d+)", await client.rest()) == [status]
            async with sidecar.client() as client:
                await client.send(get(target, *h2c), get("/more"))
                assert re.findall(rb"HTTP/1.1 (\d+)", await client.rest()) == [status]
        assert [one.target for one in platform.seen] == [b"/a", b"/a"]


@pytest.mark.parametrize("cut", [0, 1, 5, 9])
async def test_a_body_behind_an_upgrade_that_we_do_not_make_is_read(cut: int) -> None:
    """As Java's HttpClient sends it on plain http."""
    h2c = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"]
    async with both() as (platform, sidecar):
        for body, framing in ((b"hello", "Content-Length: 5"), (chunks(b"he", b"llo"), "Transfer-Encoding: chunked")):
            sent = get("/up", *h2c, framing, method="POST") + body
            async with sidecar.client() as client:
                await client.send(sent[: len(sent) - cut], sent[len(sent) - cut :])
                assert re.findall(rb"HTTP/1.1 (\d+)", await client.rest()) == [b"200"]
            assert platform.seen[-1].body == b"hello"


# -- splits ----------------------------------------------------------------------------------------------


async def test_a_counted_answer_may_be_split_at_every_byte() -> None:
    answer = b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 12\r\n\r\n\r\n\r\nHTTP/1.1"
    cuts = iter(range(1, len(answer)))

    async def script(line: Line) -> None:
        while True:
            await line.message()
            cut = next(cuts)
            await line.send(answer[:cut], answer[cut:])

    async with both(script) as (_, sidecar), sidecar.client() as client:
        for _ in range(1, len(answer)):
            got = await client.ask(get())
            assert got.head + got.body == answer


async def test_bytes_behind_an_answer_belong_to_nobody() -> None:
    stray = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nSTRAY"
    whole = [
        OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
    ]
    for answer in whole:
        for segments in ((answer + stray,), (answer, stray), (answer[:-1], answer[-1:] + stray), (answer + b"junk",)):

            async def script(line: Line, segments: tuple[bytes, ...] = segments) -> None:
                while (await line.message()).complete:
                    await line.send(*segments)
                    await asyncio.sleep(0.02)

            async with both(script) as (platform, sidecar):
                for _ in range(2):
                    async with sidecar.client() as client:
                        got = await client.ask(get())
                        assert (got.complete, got.body) == (True, b"" if b"304" in answer else b"ok")
                        await client.silence(0.03)
                assert platform.opened == 2  # the doubtful connection was not used again


REQUESTS = [
    get("/a", "X: y") + get("/b") + post("/c", b"\r\n\r\nGET /d HTTP/1.1\r\n\r\n") + get("/e", "Connection: close"),
    get("/a", "Transfer-Encoding: chunked", method="PUT")
    + chunks(b"GET / HTTP/1.1\r\n\r\n", b"\r\n")
    + get("/private/b")
    + get("/c", "Connection: close"),
    b"\r\n" + get("/robots.txt") + get("/a", method="HEAD") + post("/b", b"") + get("/private/x", "Connection: close"),
    get("/a") + get("/b") + b"GET /c HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nZ",
]
ANSWERS = [
    OK,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;a=b\r\n\r\n0\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nX: HTTP/1.1\r\nContent-Length: 19\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
]


HEAD_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner


_guard = Guard(read_policy(GATED), new_id=lambda: "0" * 12)


def _cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted({cut % len(data) for cut in cuts}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places) if start < end]


async def _through(
    requests: bytes, answer: bytes, cuts: list[int], answer_cuts: list[int]
) -> tuple[list[object], bytes]:
    """What the platform got (heads exactly, bodies without their framing), and what the client got likewise."""

    async def script(line: Line) -> None:
        while True:
            asked = await platform.take(line)
            reply = HEAD_OK if asked.line.startswith(b"HEAD") else answer
            await line.send(*_cut(reply, answer_cuts))

    async with (
        Platform(script).running() as platform,
        side(platform.port, guard=_guard) as sidecar,
        sidecar.client() as client,
    ):
        await client.send(*_cut(requests, cuts))
        got = await client.rest()
    return list(platform.seen), got


def _without_chunks(data: bytes) -> bytes:
    """Chunk borders are where the segments happened to end; what they carry is not."""
    out, rest = b"", data
    while match := re.search(rb"Transfer-Encoding: chunked\r\n(?:Connection: close\r\n)?\r\n", rest):
        out, rest = out + rest[: match.end()], rest[match.end() :]
        while size := int(rest.partition(b"\r\n")[0], 16):
            start = rest.index(b"\r\n") + 2
            out, rest = out + rest[start : start + size], rest[start + size + 2 :]
        rest = rest[5:]
    return out + rest


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(REQUESTS),
    st.sampled_from(ANSWERS),
    st.lists(st.integers(0, 2000), max_size=12),
    st.lists(st.integers(0, 300), max_size=5),
)
def test_segments_carry_no_meaning(
    runner: asyncio.Runner, requests: bytes, answer: bytes, cuts: list[int], answer_cuts: list[int]
) -> None:
    whole = runner.run(_through(requests, answer, [], []))
    split = runner.run(_through(requests, answer, cuts, answer_cuts))
    assert split[0] == whole[0]
    assert _without_chunks(split[1]) == _without_chunks(whole[1])


_FRAGMENTS = [
    b"GET /a HTTP/1.1\r\n",
    b"POST / HTTP/1.1\r\n",
    b"Host: a\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"\x00",
    b" ",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"Expect: 100-continue\r\n",
    b"GET /robots.txt HTTP/1.0\r\n",
    b"HEAD /private HTTP/1.1\r\n",
    b"G\xffT / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\n\r\n",
    b"Connection: close\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n",
    b"Host: \xff\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"GET http://a/ HTTP/1.1\r\n",
    b"X: \xe2\x82\xac\r\n",
    b"Upgrade: h2c\r\n",
]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(st.sampled_from(_FRAGMENTS), st.binary(max_size=40)), min_size=1, max_size=12))
def test_no_bytes_make_us_answer_5xx_or_break_the_worker(runner: asyncio.Runner, segments: list[bytes]) -> None:
    faults: list[object] = []

    async def attack() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
        async with Platform().running() as platform, side(platform.port, guard=_guard) as sidecar:
            async with sidecar.client() as client:
                await client.send(*segments)
                client.half_close()
                got = await client.rest()
            statuses = re.findall(rb"HTTP/1.1 (\d+)", got)
            assert all(status < b"500" for status in statuses), got
            assert (await sidecar.ask(get())).status == 200

    runner.run(attack())
    assert not faults


# -- uploads, downloads, back-pressure -------------------------------------------------------------------


async def test_bytes_stream_in_both_directions_as_they_come() -> None:
    async def script(line: Line) -> None:
        await line.head()
        await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            size = int(await line.reader.readuntil(b"\r\n"), 16)
            piece = await line.reader.readexactly(size + 2)
            await line.send(b"%x\r\n%b" % (size, piece))
        assert await line.reader.readuntil(b"\r\n") == b"0\r\n"
        await line.send(b"0\r\n\r\n")

    async with both(script) as (_, sidecar), sidecar.client() as client:
        await client.send(get("/", "Transfer-Encoding: chunked", method="POST"))
        assert (await client.head()).startswith(b"HTTP/1.1 200")  # the answer has begun before the body
        for piece in (b"one", b"two", b"three"):
            await client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            assert await client.reader.readuntil(b"\r\n") == b"%x\r\n" % len(piece)
            assert await client.reader.readexactly(len(piece) + 2) == piece + b"\r\n"
        await client.send(b"0\r\n\r\n")
        assert await client.rest() == b"0\r\n\r\n"


async def test_an_answer_before_the_end_of_the_request_leaves_no_rest_for_the_next() -> None:
    async def script(line: Line) -> None:
        head = await line.head()
        platform.seen.append(Message(head))
        await line.send(OK)
        with contextlib.suppress(asyncio.IncompleteReadError):
            await script(line)

    async with both(script) as (platform, sidecar):
        async with sidecar.client() as client:
            await client.send(get("/up", "Content-Length: 100", method="POST") + b"GET /smuggled HTTP/1.1\r\n")
            assert (await client.rest()).endswith(b"\r\n\r\nok")
            await client.send(b"Host: a\r\n\r\n")
            for _ in range(3):
                assert (await sidecar.ask(get("/next"))).body == b"ok"
        assert {one.target for one in platform.seen} == {b"/up", b"/next"}


async def test_a_slow_reader_makes_the_platform_wait() -> None:
    sent = 0

    async def script(line: Line) -> None:
        nonlocal sent
        await line.message()
        line.writer.transport.set_write_buffer_limits(high=65536)
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while sent < 100_000_000:
            line.writer.write(bytes(100_000))
            sent += 100_000
            await line.writer.drain()

    async with both(script) as (_, sidecar):
        reader, writer = await asyncio.open_connection("127.0.0.1", sidecar.port, limit=1024)
        writer.write(get())
        await eventually(lambda: sent > 0)
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 40_000_000  # what the kernel's buffers and ours hold
        async with asyncio.timeout(10):
            await reader.readuntil(b"\r\n\r\n")
            left = 100_000_000
            while left:
                left -= len(await reader.read(1 << 20))
        writer.close()


async def test_a_connection_whose_reader_was_slow_serves_the_next_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The platform's connection is read again even if the answer's last piece filled its client's buffer."""

    async def script(line: Line) -> None:
        while (await platform.take(line)).complete:
            await line.send(OK[:-1])
            await asyncio.sleep(0.01)
            await line.send(OK[-1:])

    received = Exchange.received

    def fill(exchange: Exchange, data: bytes) -> None:
        received(exchange, data)
        exchange.connection.pause_writing()  # as the transport does when the piece was too much
        asyncio.get_running_loop().call_later(0.02, exchange.connection.resume_writing)

    monkeypatch.setattr(Exchange, "received", fill)
    async with both(script) as (platform, sidecar):
        for _ in range(3):
            assert (await sidecar.ask(get())).body == b"ok"
        assert platform.opened == 1


async def test_a_slow_platform_makes_the_uploader_wait() -> None:
    go_on = asyncio.Event()

    async def script(line: Line) -> None:
        await line.head()
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await go_on.wait()
        line.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await line.reader.readexactly(50_000_000)
        await line.send(OK)

    async with both(script) as (_, sidecar), sidecar.client() as client:
        await client.send(get("/up", "Content-Length: 50000000", method="POST"))
        client.writer.transport.set_write_buffer_limits(high=65536)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 50_000_000:
                client.writer.write(bytes(100_000))
                sent += 100_000
                async with asyncio.timeout(0.3):
                    await client.writer.drain()
        assert sent < 40_000_000
        go_on.set()
        client.writer.write(bytes(50_000_000 - sent))
        assert (await client.message()).status == 200


async def test_a_client_that_reads_nothing_cannot_have_answers_pile_up() -> None:
    """Refusals are small but free to ask for: behind a full buffer they wait, too."""
    async with both(policy=GATED) as (_, sidecar):
        sock = sidecar.small_client()
        asked = get("/robots.txt")
        connection = None
        for _ in range(3000):
            with contextlib.suppress(BlockingIOError):
                sock.send(asked * 100)
            await asyncio.sleep(0)
            connection = next(iter(sidecar.worker.connections), connection)
        assert connection is not None
        assert connection.transport.get_write_buffer_size() < 2_000_000
        sock.close()


async def test_what_waits_for_a_connection_to_the_platform_is_bounded() -> None:
    async with both(policy=GATED) as (platform, sidecar):
        taken: list[object] = []
        sidecar.worker.pool.dial = lambda ready, failed: taken.append(ready)  # type: ignore[method-assign]
        async with sidecar.client() as client:
            await client.send(get("/up", "Content-Length: 5000000", method="POST"))
            for _ in range(50):
                client.writer.write(bytes(100_000))
                await asyncio.sleep(0)
            await asyncio.sleep(0.05)
            exchange = next(iter(sidecar.worker.connections))._exchange
            assert exchange is not None and exchange._waiting_bytes < MAX_WAITING_BYTES + 300_000
        assert taken and platform.opened == 0


# -- ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "begin",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n|zz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n|0\r\nX\r\n",
    ],
)
async def test_an_answer_that_breaks_off_is_never_ended_cleanly(begin: bytes) -> None:
    async def script(line: Line) -> None:
        await line.message()
        await line.send(*begin.split(b"|"))
        await asyncio.sleep(0.05)

    async with both(script) as (_, sidecar):
        async with sidecar.client() as client:
            await client.send(get())
            got = await client.rest()
            assert not got.endswith(b"0\r\n\r\n") and b"12345" in got
        async with sidecar.client() as client:
            await client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
            if b"Content-Length" in begin:
                assert not (await client.message()).complete
            else:  # a clean end would be the only sign that it is whole
                with pytest.raises(ConnectionError):
                    while await client.reader.read(1000):
                        pass


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"garbage\r\n\r\n",
        b"\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 40 + OK,
    ],
)
async def test_what_is_no_answer_becomes_502_and_is_not_stored(answer: bytes) -> None:
    async def script(line: Line) -> None:
        await line.message()
        await line.send(answer)

    async with both(script) as (_, sidecar), sidecar.client() as client:
        await client.send(get())
        answers = [await client.message()]
        while answers[-1].status == 103:
            answers.append(await client.message())
        assert answers[-1].status == 502 and answers[-1].values(b"cache-control") == [b"no-store"]
        assert await client.rest() == b""


async def test_a_platform_that_is_down_is_502_and_one_that_is_silent_504() -> None:
    async with side(1) as sidecar:
        answer = await sidecar.ask(get())
        assert answer.status == 502 and answer.values(b"cache-control") == [b"no-store"]
    silent = asyncio.Event()

    async def script(line: Line) -> None:
        await line.message()
        await silent.wait()

    async with both(script, timeouts=QUICK) as (platform, sidecar):
        answer = await sidecar.ask(get())
        assert answer.status == 504 and answer.values(b"cache-control") == [b"no-store"]
        silent.set()
        await eventually(lambda: platform.ended == 1)


async def test_a_stale_connection_is_tried_once_more_for_what_may_be_repeated() -> None:
    async def script(line: Line) -> None:
        """Answers one request; the second on the same connection finds it closed."""
        await platform.take(line)
        await line.send(OK)
        await platform.take(line)

    async with both(script) as (platform, sidecar):
        for method, status in (("GET", 200), ("HEAD", 200), ("DELETE", 502), ("POST", 502)):
            platform.seen.clear()
            first = await sidecar.ask(get("/first"))
            assert first.status == 200
            again = await sidecar.ask(
                get("/again", *(["Content-Length: 0"] if method == "POST" else []), method=method), no_body=True
            )
            assert again.status == status
            assert [one.target for one in platform.seen].count(b"/again") == (2 if status == 200 else 1)
            for connection in list(sidecar.worker.pool._idle):
                connection.transport.abort()
            await asyncio.sleep(0.01)


async def test_a_new_connection_that_fails_is_not_tried_again() -> None:
    async def script(line: Line) -> None:
        await platform.take(line)

    async with both(script) as (platform, sidecar):
        assert (await sidecar.ask(get())).status == 502
        assert platform.opened == 1


async def test_an_answer_that_has_begun_is_not_asked_for_again() -> None:
    async def script(line: Line) -> None:
        await platform.take(line)
        await line.send(OK)
        await platform.take(line)
        await line.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")

    async with both(script) as (platform, sidecar), sidecar.client() as client:
        await client.ask(get())
        assert (await client.ask(get())).status == 103
        assert (await client.message()).status == 502
        assert platform.opened == 1


@pytest.mark.parametrize("leave", ["close", "reset", "half"])
@pytest.mark.parametrize("answering", [False, True])
async def test_when_the_client_goes_its_upstream_connection_goes(leave: str, answering: bool) -> None:
    async def script(line: Line) -> None:
        await line.message()
        if answering:
            await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n12345")
        await line.reader.read()

    async with both(script) as (platform, sidecar), sidecar.client() as client:
        await client.send(get())
        if answering:
            await client.head()
        else:
            await eventually(lambda: platform.opened == 1)
        {"close": client.close, "reset": client.reset, "half": client.half_close}[leave]()
        await eventually(lambda: platform.ended == 1, within_s=1.0)
        await sidecar.idle()


async def test_an_upload_that_breaks_off_never_reaches_its_end() -> None:
    async with both() as (platform, sidecar):
        for framing, part in (("Content-Length: 9", b"1234"), ("Transfer-Encoding: chunked", b"4\r\n1234\r\n")):
            async with sidecar.client() as client:
                await client.send(get("/up", framing, method="POST"), part)
                await asyncio.sleep(0.02)
            await eventually(lambda: len(platform.seen) and not platform.seen[-1].complete)
            assert platform.seen.pop().body == b"1234"


async def test_a_body_that_goes_wrong_is_400_and_its_upstream_connection_is_cut() -> None:
    async with both() as (platform, sidecar), sidecar.client() as client:
        await client.send(get("/up", "Transfer-Encoding: chunked", method="POST"), b"4\r\n1234\r\n", b"zz\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")
        await eventually(lambda: len(platform.seen) == 1)
        assert not platform.seen[0].complete


@pytest.mark.parametrize("endless", [b"0\r\nX: ", b"5;"])
async def test_trailers_and_chunk_extensions_are_bounded(endless: bytes) -> None:
    async with both() as (platform, sidecar), sidecar.client() as client:
        await client.send(get("/up", "Transfer-Encoding: chunked", method="POST") + endless)
        for _ in range(20):
            await client.send(b"a" * 8000)
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")
        await eventually(lambda: platform.ended == platform.opened)


# -- deadlines -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [b"", get("/a"), get("/a") + get("/a")])
async def test_a_head_that_trickles_is_cut_off_whatever_went_before(before: bytes) -> None:
    async with both(timeouts=QUICK) as (_, sidecar), sidecar.client() as client:
        if before:
            await client.send(before + b"GET ")
            for _ in range(before.count(b"GET")):
                assert (await client.message()).status == 200
        began = asyncio.get_running_loop().time()
        ending = asyncio.ensure_future(client.rest())
        for byte in (b"" if before else b"GET ") + b"/trickle HTTP/1.1\r\nHost: a.example\r\nX-Y: " + b"z" * 300:
            if ending.done():
                break
            with contextlib.suppress(ConnectionError, RuntimeError):
                client.writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
        assert await ending in (b"",) or (await ending).startswith(b"HTTP/1.1 408")
        assert asyncio.get_running_loop().time() - began < QUICK.head_s + 0.9


async def test_part_of_a_next_head_does_not_shorten_the_wait_for_an_answer() -> None:
    timeouts = replace(QUICK, answer_s=3.0)

    async def script(line: Line) -> None:
        await line.message()
        await asyncio.sleep(1.5)
        await line.send(OK)

    async with both(script, timeouts=timeouts) as (_, sidecar), sidecar.client() as client:
        await client.send(get("/slow") + b"GET /par")
        assert (await client.message()).status == 200
        assert (await client.message()).status == 408
        assert await client.rest() == b""


async def test_a_body_that_stalls_is_408_and_a_platform_that_does_not_take_it_504() -> None:
    async def script(line: Line) -> None:
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(5)

    async with both(timeouts=QUICK) as (_, sidecar), sidecar.client() as client:
        await client.send(get("/up", "Content-Length: 10", method="POST"), b"12345")
        assert (await client.rest()).startswith(b"HTTP/1.1 408")
    async with both(script, timeouts=QUICK) as (_, sidecar), sidecar.client() as client:
        client.writer.write(get("/up", "Content-Length: 50000000", method="POST") + bytes(40_000_000))
        assert (await client.message()).status == 504


@pytest.mark.parametrize("fields", [[], ["Connection: close"]])
@pytest.mark.parametrize("size", [200_000, 20_000_000])
async def test_a_client_that_stops_reading_is_let_go(size: int, fields: list[str]) -> None:
    """Whether the rest of the answer waits in our buffer or, behind it, at the platform."""
    platform = Platform()
    platform.reply = lambda asked: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    timeouts = replace(QUICK, idle_s=0.6)
    async with platform.running(), side(platform.port, OPEN, timeouts, send_buffer_bytes=16384) as sidecar:
        sock = sidecar.small_client()
        sock.send(get("/", *fields))
        await eventually(lambda: sidecar.worker.connections)
        await sidecar.idle(within_s=4 * QUICK.stall_s + 1.0)
        sock.close()


async def test_a_client_that_reads_slowly_is_served() -> None:
    """Less than the room between our marks in the time that a stall may last, but never still: progress counts."""
    platform, size = Platform(), 450_000
    platform.reply = lambda asked: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    timeouts = replace(QUICK, idle_s=0.6)
    async with platform.running(), side(platform.port, OPEN, timeouts, send_buffer_bytes=16384) as sidecar:
        sock, got = sidecar.small_client(), 0
        sock.send(get("/", "Connection: close"))
        while piece := await asyncio.get_running_loop().sock_recv(sock, 30_000):
            got += len(piece)
            await asyncio.sleep(0.1)
        assert got > size
        sock.close()


# -- websockets ------------------------------------------------------------------------------------------

WEBSOCKET = [
    "Connection: Upgrade",
    "Upgrade: WebSocket",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
]
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"
)


def tunnel(platform: Platform, answer: bytes = SWITCH) -> Script:
    async def script(line: Line) -> None:
        await platform.take(line)
        await line.send(answer)
        while data := await line.reader.read(100):
            await line.send(b"<" + data)

    return script


@pytest.fixture
async def tunnelled() -> AsyncIterator[tuple[Platform, Side]]:
    platform = Platform()
    platform.script = tunnel(platform)
    async with platform.running(), side(platform.port, GATED, QUICK) as sidecar:
        yield platform, sidecar


async def test_a_websocket_is_a_tunnel_after_101(tunnelled: tuple[Platform, Side]) -> None:
    platform, sidecar = tunnelled
    async with sidecar.client() as client:
        answer = await client.ask(get("/ws", *WEBSOCKET))
        assert answer.status == 101 and answer.values(b"sec-websocket-accept") == [b"x"]
        assert answer.values(b"upgrade") == [b"websocket"] and answer.values(b"connection") == [b"Upgrade"]
        assert platform.seen[0].values(b"connection") == [b"Upgrade"]
        for words in (b"one", b"GET / HTTP/1.1\r\n\r\n", b"\x00\xff"):
            await client.send(words)
            assert await client.reader.readexactly(len(words) + 1) == b"<" + words
        await asyncio.sleep(QUICK.stall_s + 0.8)  # silence is no reason to cut it
        await client.send(b"still")
        assert await client.reader.readexactly(6) == b"<still"
    await eventually(lambda: platform.ended == 1, within_s=1.0)


async def test_a_refused_websocket_is_no_tunnel(tunnelled: tuple[Platform, Side]) -> None:
    platform, sidecar = tunnelled
    async with sidecar.client() as client:
        await client.send(get("/private/ws", *WEBSOCKET) + get("/smuggled"))
        assert re.findall(rb"HTTP/1.1 (\d+)", await client.rest()) == [b"403"]
    assert platform.opened == 0


@pytest.mark.parametrize("early", [b"", b"early"])
async def test_bytes_before_the_101_wait_for_it(early: bytes) -> None:
    """Whether a connection to the platform is at hand or has to be made."""
    platform = Platform()

    async def script(line: Line) -> None:
        if (await platform.take(line)).target == b"/plain":
            await line.send(OK)
            await platform.take(line)
        await line.silence()
        await line.send(SWITCH)
        await line.send(b"<" + await line.reader.readexactly(5))
        await asyncio.sleep(1)

    platform.script = script
    async with platform.running(), side(platform.port) as sidecar:
        for plain in (False, True):
            if plain:
                await sidecar.ask(get("/plain"))
            async with sidecar.client() as client:
                await client.send(get("/ws", *WEBSOCKET) + early, *([] if early else [b"early"]))
                assert (await client.message()).status == 101
                assert await client.reader.readexactly(6) == b"<early"


async def test_bytes_behind_a_handshake_that_the_platform_declines_reach_nobody() -> None:
    async with both() as (platform, sidecar):
        for _ in range(2):
            async with sidecar.client() as client:
                await client.send(get("/ws", *WEBSOCKET) + get("/smuggled"))
                assert re.findall(rb"HTTP/1.1 (\d+)", await client.rest()) == [b"200"]
        assert {one.target for one in platform.seen} == {b"/ws"}


async def test_a_websocket_waits_for_its_turn_behind_another_request() -> None:
    platform = Platform()

    async def script(line: Line) -> None:
        asked = await platform.take(line)
        if asked.target == b"/slow":
            await asyncio.sleep(0.1)
            await line.send(OK)
            asked = await platform.take(line)
        await line.send(SWITCH)
        await line.send(b"<" + await line.reader.readexactly(5))
        await asyncio.sleep(1)

    platform.script = script
    async with platform.running(), side(platform.port) as sidecar, sidecar.client() as client:
        await client.send(get("/slow"), get("/ws", *WEBSOCKET), b"ear", b"ly")
        assert (await client.message()).status == 200
        assert (await client.message()).status == 101
        assert await client.reader.readexactly(6) == b"<early"


async def test_tunnels_do_not_hold_up_the_end(tunnelled: tuple[Platform, Side]) -> None:
    platform, sidecar = tunnelled
    async with sidecar.client() as client:
        assert (await client.ask(get("/ws", *WEBSOCKET))).status == 101
        for connection in list(sidecar.worker.connections):
            connection.drain()
        assert await client.rest(within_s=1.0) == b""
        await eventually(lambda: platform.ended == 1)


# -- faults of others ------------------------------------------------------------------------------------


async def test_a_recorder_that_fails_costs_no_answer() -> None:
    def record(_: object) -> None:
        raise BrokenPipeError

    guard = Guard(read_policy(GATED), record=record)
    async with (
        Platform().running() as platform,
        side(platform.port, guard=guard) as sidecar,
        sidecar.client() as client,
    ):
        for target, status in (("/a", 200), ("/private/a", 403), ("/a", 200)):
            assert (await client.ask(get(target))).status == status


async def test_a_limit_that_is_used_up_is_429_and_the_limit_is_shared_by_all_spellings() -> None:
    guard = Guard(read_policy(GATED), store=MemoryStore())
    async with Platform().running() as platform, side(platform.port, guard=guard) as sidecar:
        targets = ["/stream/t", "/stream//t", "/STREAM/t", "/stream/%74", "/stream/t?x", "/stream/t"]
        answers = [await sidecar.ask(get(target)) for target in targets]
        assert [answer.status for answer in answers] == [200] * 5 + [429]
        assert answers[5].values(b"retry-after") and answers[5].values(b"cache-control") == [b"no-store"]


# -- what is stated on answers of our own, and whom each host's policy trusts --------------------------------

STATING = """
version: 1
site: {name: x}
default: allow
preferences: {train-ai: disallow}
"""


async def test_answers_of_our_own_state_the_preferences_too() -> None:
    async with side(1, STATING) as sidecar:
        for data, status in ((get(), 502), (get("/robots.txt", method="DELETE"), 405), (get("/robots.txt"), 200)):
            answer = await sidecar.ask(data)
            assert answer.status == status
            assert answer.values(b"content-usage") == [b"train-ai=n"], status


TWO_HOUSES = """
version: 1
site: {name: open, hosts: [a.example]%s}
default: allow
hosts:
  - names: [b.example]
    site: {trusted_proxies: [%s]}
"""


@pytest.mark.parametrize(
    ("base", "scope", "host", "told"),
    [
        ("", "127.0.0.1/32", "b.example", b"203.0.113.9, 127.0.0.1"),
        ("", "127.0.0.1/32", "a.example", b"127.0.0.1"),
        (", trusted_proxies: [127.0.0.1/32]", "192.0.2.0/24", "b.example", b"127.0.0.1"),
        (", trusted_proxies: [127.0.0.1/32]", "192.0.2.0/24", "a.example", b"203.0.113.9, 127.0.0.1"),
    ],
)
async def test_each_host_believes_its_own_hops_only(base: str, scope: str, host: str, told: bytes) -> None:
    async with both(policy=TWO_HOUSES % (base, scope)) as (platform, sidecar):
        await sidecar.ask(get("/x", "X-Forwarded-For: 203.0.113.9", host=host))
        assert platform.seen[-1].values(b"x-forwarded-for") == [told]

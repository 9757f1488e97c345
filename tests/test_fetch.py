"""What is fetched was named by others: only public hosts are reached, and only a plain whole answer is taken."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest

from guard.fetch import PUBLIC, Fetched, FetchError, Reach, fetch, read_url
from tests.conftest import SHARED
from tests.publisher import (
    EMPTY,
    HANGING,
    HOST,
    UNAVAILABLE,
    Answer,
    Publisher,
    bomb,
    dripping,
    gzip_bomb,
    redirecting,
)

pytestmark = pytest.mark.anyio

PATH = "/.well-known/keys"
LIMIT_BYTES = 65_536
JSON = ("application/json",)
RIGHT = Answer(b'{"keys": []}')


@pytest.fixture(scope="module")
def host() -> Iterator[Publisher]:
    with Publisher() as publisher:
        yield publisher


@pytest.fixture
def publisher(host: Publisher) -> Publisher:
    host.answers.clear()
    host.requests.clear()
    host.resolved.clear()
    host.connections = 0
    host.answers[PATH] = RIGHT
    return host


async def got(publisher: Publisher, path: str = PATH, deadline_s: float = 5.0, **reach: Any) -> Fetched:
    return await fetch(
        publisher.url(path),
        max_bytes=LIMIT_BYTES,
        deadline_s=deadline_s,
        media_types=JSON,
        reach=publisher.reach(**reach),
    )


async def refused(publisher: Publisher, **options: Any) -> str:
    with pytest.raises(FetchError) as caught:
        await got(publisher, **options)
    reason = caught.value.reason
    assert reason
    assert reason.isascii()
    assert reason.isprintable()
    return reason


async def test_a_right_answer_is_fetched(publisher: Publisher) -> None:
    publisher.answers[PATH] = RIGHT.but(media_type="Application/JSON; charset=utf-8")
    assert await got(publisher) == Fetched(200, "application/json", b'{"keys": []}', "127.0.0.1")
    (asked,) = publisher.requests
    assert asked.headers == {
        "host": f"{HOST}:{publisher.port}",
        "user-agent": "noai-guard",
        "accept": "application/json",
        "accept-encoding": "identity",
        "connection": "close",
    }


@pytest.mark.parametrize("chunk_bytes", [1, 7, 1000])
async def test_chunks_are_put_together(publisher: Publisher, chunk_bytes: int) -> None:
    publisher.answers[PATH] = Answer(b"x" * 5000, chunk_bytes=chunk_bytes)
    assert (await got(publisher)).body == b"x" * 5000


async def test_the_query_is_sent_as_it_stands(publisher: Publisher) -> None:
    publisher.answers["/?a=%0d%0a&b=/../c"] = RIGHT
    assert (await got(publisher, path="/?a=%0d%0a&b=/../c")).status == 200


async def test_an_interim_answer_is_passed_over(publisher: Publisher) -> None:
    publisher.answers[PATH] = Answer(
        raw=b"HTTP/1.1 103 Early Hints\r\nContent-Type: text/html\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"
    )
    assert (await got(publisher)).body == b"{}"


async def test_as_many_bytes_as_are_allowed_are_allowed(publisher: Publisher) -> None:
    for chunk_bytes in (0, 1000):
        publisher.answers[PATH] = Answer(b"x" * LIMIT_BYTES, chunk_bytes=chunk_bytes)
        assert len((await got(publisher)).body) == LIMIT_BYTES
        publisher.answers[PATH] = Answer(b"x" * (LIMIT_BYTES + 1), chunk_bytes=chunk_bytes)
        assert "longer" in await refused(publisher)


# -- the address


@pytest.mark.parametrize(
    "url",
    [
        *("https://127.0.0.1", "https://127.1", "https://2130706433", "https://0x7f.1", "https://0x7f000001"),
        *(
            "https://0177.0.0.1",
            "https://127.0.0.1.",
            "https://[::1]",
            "https://[fd00::1]",
            "https://[::ffff:10.0.0.5]",
        ),
        *("https://169.254.169.254", "https://10.0.0.5", "https://100.64.0.1", "https://0", "https://bot.0x7f"),
        *("https://bot.example:22", "https://bot.example:0443x", "https://bot.example:", "https://bot.example:99999"),
        *(
            "http://bot.example",
            "file:///etc/passwd",
            "gopher://bot.example",
            "//bot.example",
            "bot.example",
            "",
            "https:",
        ),
        *("https://", "https:///x", "https://localhost", "https://bot", "https://bot.example.", "https://.bot.example"),
        *("https://bot..example", "https://-bot.example", "https://bot-.example", "https://b_t.example"),
        *("https://metadata.google.internal", "https://nas.local", "https://a.localhost", "https://router.home.arpa"),
        *("https://db.lan", "https://x.onion", "https://1.0.0.127.in-addr.arpa", "https://A.INTERNAL"),
        *(
            "https://user@bot.example",
            "https://user:pw@bot.example",
            "https://bot.example@10.0.0.5",
            "https://@bot.example",
        ),
        *(
            "https://bot.example#x",
            "https://bot.example/#x",
            "https://bot.example\\@evil.example",
            "https://bot.example\\x",
        ),
        *(
            "https://bot.example\r\nX: y",
            "https://bot.example/\r\nX: y",
            "https://bot.example/ x",
            " https://bot.example",
        ),
        *("https://bot.example/\x00", "https://bot.example/ü", "https://böt.example", "https://bot。example"),
        *(
            "https://①②⑦.⓪.⓪.①",
            "https://bot.example%2eevil.example",
            "https://%31%32%37.0.0.1",
            "https://bot.example;x",
        ),
        *(f"https://{'a' * 300}.example", f"https://{'a.' * 130}example", f"https://{'a' * 64}.example"),
        f"https://bot.example/{'a' * 3000}",
    ],
)
async def test_no_name_is_asked_and_nothing_is_connected_to_for(url: str, publisher: Publisher) -> None:
    with pytest.raises(FetchError) as caught:
        await fetch(url, max_bytes=10, deadline_s=1, reach=publisher.reach(public_only=True))
    assert caught.value.reason.isprintable()
    assert publisher.resolved == []
    assert publisher.connections == 0


async def test_names_that_the_systems_libraries_choke_on_are_only_not_fetched(publisher: Publisher) -> None:
    for host in ("xn--.example.net", "xn--a.xn--b.example", "a--b.example", f"{'a' * 63}.{'b' * 63}.example"):
        with pytest.raises(FetchError):
            await fetch(f"https://{host}:{publisher.port}", max_bytes=10, deadline_s=3, reach=publisher.reach())


def test_names_may_be_in_capitals_and_in_punycode() -> None:
    assert read_url("HTTPS://Bot.EXAMPLE/X?y").host == "bot.example"
    assert read_url("https://xn--80ak6aa92e.com:443").target == "/"
    assert read_url("https://bot.example?x").target == "/?x"


@pytest.mark.parametrize(
    "addresses",
    [
        *(["10.0.0.5"], ["127.0.0.1"], ["169.254.169.254"], ["100.64.0.1"], ["::1"], ["fd00::1"], ["fe80::1%1"]),
        *(["::ffff:10.0.0.5"], ["64:ff9b::a00:5"], ["2002:a00:5::1"], ["2001:0:a00:5::1"], ["224.0.0.1"], ["0.0.0.0"]),
        *(
            ["8.8.8.8", "10.0.0.5"],
            ["2a00::1", "10.0.0.5"],
            ["127.0.0.1", "8.8.8.8"],
            ["localhost"],
            [],
            ["8.8.8.8"] * 2 + ["x"],
        ),
        [f"8.8.8.{number}" for number in range(100)],
    ],
    ids=repr,
)
async def test_an_inner_address_among_the_answers_refuses_them_all(publisher: Publisher, addresses: list[str]) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return addresses

    await refused(publisher, addresses=resolve, allowed=())
    assert publisher.connections == 0


async def test_a_name_without_an_address_is_told(publisher: Publisher) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    assert await refused(publisher, addresses=resolve) == "the name has no address"


async def test_a_name_that_changes_its_address_is_asked_only_once(publisher: Publisher) -> None:
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.5"]

    assert (await got(publisher, addresses=resolve)).address == "127.0.0.1"
    assert asked == [HOST]
    await refused(publisher, addresses=resolve)
    assert publisher.connections == 1


async def test_the_next_address_is_tried_when_one_does_not_answer(publisher: Publisher) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.9", "127.0.0.1"]  # nobody listens at the first

    assert (await got(publisher, addresses=resolve)).address == "127.0.0.1"


async def test_names_take_part_in_the_deadline(publisher: Publisher) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        await asyncio.sleep(3600)
        return []

    assert "within" in await refused(publisher, addresses=resolve, deadline_s=0.1)


async def test_loopback_is_out_of_reach_for_the_public_reach() -> None:
    assert Reach() == PUBLIC

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    with pytest.raises(FetchError, match="loopback"):
        await fetch("https://bot.example", max_bytes=10, deadline_s=1, reach=Reach(addresses=resolve))


# -- the host


async def test_a_host_that_nobody_vouches_for_is_refused(publisher: Publisher) -> None:
    assert "TLS" in await refused(publisher, tls=ssl.create_default_context())
    assert publisher.requests == []


async def test_a_host_that_shows_the_certificate_of_another_is_refused(publisher: Publisher) -> None:
    with pytest.raises(FetchError, match="TLS"):
        await fetch(publisher.url(PATH, "evil.example.net"), max_bytes=10, deadline_s=3, reach=publisher.reach())
    assert publisher.requests == []


async def test_a_host_that_speaks_no_tls_is_refused(publisher: Publisher) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        port = plain.getsockname()[1]
        with pytest.raises(FetchError):
            await fetch(f"https://{HOST}:{port}/", max_bytes=10, deadline_s=0.3, reach=publisher.reach(ports=(port,)))
    with pytest.raises(FetchError):
        await fetch(f"https://{HOST}:{port}/", max_bytes=10, deadline_s=3, reach=publisher.reach(ports=(port,)))


# -- the answer

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

REFUSED: dict[str, tuple[Answer, str]] = {
    "redirect elsewhere": (redirecting("http://169.254.169.254/"), "169.254.169.254"),
    "redirect to itself": (redirecting(PATH, 301), "never followed"),
    "redirect with a body": (RIGHT.but(status=307, headers={"Location": PATH}), "never followed"),
    "no longer there": (Answer(status=404), "404"),
    "unavailable": (UNAVAILABLE, "503"),
    "no content": (Answer(raw=b"HTTP/1.1 204 No Content\r\n\r\n"), "204"),
    "partial": (RIGHT.but(status=206), "206"),
    "html": (RIGHT.but(media_type="text/html"), "text/html"),
    "no type": (RIGHT.but(media_type=""), "no type"),
    "two types": (Answer(raw=HEAD + b"Content-Type: text/html\r\nContent-Length: 2\r\n\r\n{}"), "json"),
    "ten megabytes": (bomb(), "longer"),
    "ten megabytes, told": (Answer(b" " * (10 << 20)), "longer"),
    "a length past all numbers": (Answer(raw=HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n{}"), "HTTP|longer"),
    "packed": (gzip_bomb(), "packed"),
    "packed in a way nobody knows": (RIGHT.but(headers={"Content-Encoding": "x"}), "packed"),
    "no end": (Answer(raw=HEAD + b"\r\n{}"), "where it ends"),
    "cut": (Answer(raw=HEAD + b"Content-Length: 20\r\n\r\n{}"), "broke off"),
    "cut in a chunk": (Answer(raw=HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}"), "broke off"),
    "cut in the head": (Answer(raw=HEAD), "broke off"),
    "nothing": (Answer(raw=b""), "hung up"),
    "no http": (Answer(raw=b"SSH-2.0-OpenSSH_9.6\r\n" * 100), "no HTTP"),
    "an upgrade": (Answer(raw=b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nx"), "HTTP"),
    "two lengths": (Answer(raw=HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x"), "HTTP"),
    "a head without end": (Answer(raw=HEAD + b"X: " + b"y" * 300_000), "headers"),
    "many headers": (Answer(raw=HEAD + b"X: y\r\n" * 50_000), "headers"),
    "interim answers without end": (Answer(raw=b"HTTP/1.1 103 X\r\n\r\n" * 50_000), "headers"),
    "chunks of nothing but extensions": (
        Answer(raw=HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + (b"1;" + b"x" * 900 + b"\r\n{\r\n") * 2000),
        "too long|HTTP",
    ),
    "trailers without end": (
        Answer(raw=HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 300_000),
        "too long|HTTP",
    ),
    "a long location in another script": (redirecting("/\xe9\xff" + "x" * 1000), "redirects"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_an_answer_is_refused_for(name: str, publisher: Publisher) -> None:
    answer, why = REFUSED[name]
    publisher.answers[PATH] = answer
    reason = await refused(publisher)
    assert re.search(why, reason), reason
    assert len(reason) < 1000
    assert publisher.connections == 1


SLOW = {
    "silence": HANGING,
    "silence in the middle": RIGHT.but(hangs="body"),
    "a byte a second": dripping(),
    "a hundred bytes a second": dripping(pace_s=0.01),
}


@pytest.mark.parametrize("answer", SLOW.values(), ids=SLOW.keys())
async def test_one_deadline_covers_it_all(publisher: Publisher, answer: Answer) -> None:
    publisher.answers[PATH] = answer
    began = time.perf_counter()
    assert "within" in await refused(publisher, deadline_s=0.3)
    assert time.perf_counter() - began < 2.0


async def test_an_empty_answer_is_an_answer(publisher: Publisher) -> None:
    publisher.answers[PATH] = EMPTY
    assert (await got(publisher)).body == b""


async def test_other_media_types_are_right_where_none_is_asked_for(publisher: Publisher) -> None:
    publisher.answers[PATH] = Answer(b"<p>", media_type="text/html")
    found = await fetch(publisher.url(PATH), max_bytes=10, deadline_s=5, reach=publisher.reach())
    assert (found.media_type, found.body) == ("text/html", b"<p>")


def agents_refused() -> list[dict[str, Any]]:
    path = SHARED / "security" / "bypass_cases.json"
    if not path.exists():
        return []
    cases = json.loads(path.read_text())["cases"]
    # A path or a query is no matter of reaching, but of what a directory's name may be.
    return [
        case
        for case in cases
        if case["class"] == "web-bot-auth"
        and case["expectation"].get("verdict") == "no_fetch"
        and "signature-agent" in case["request"]
        and not case["request"]["signature-agent"].startswith(("https://bot.example/", "https://bot.example?"))
    ]


@pytest.mark.skipif(not agents_refused(), reason="the shared cases are not here")
@pytest.mark.parametrize("case", agents_refused(), ids=lambda case: str(case["id"]))
async def test_the_shared_addresses_are_not_fetched(case: dict[str, Any], publisher: Publisher) -> None:
    url = case["request"]["signature-agent"].replace("<<REP:a:300>>", "a" * 300)
    with pytest.raises(FetchError):
        await fetch(url, max_bytes=10, deadline_s=1, reach=publisher.reach(ports=(443,)))
    assert publisher.resolved == []
    assert publisher.connections == 0

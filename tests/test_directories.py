"""Directories of keys: asked beside requests, within a budget, and whatever they answer, no request waits or breaks."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from guard.directories import (
    ASKS_PER_CLIENT,
    ASKS_PER_MINUTE,
    FRESH_S,
    KEPT_S,
    MAX_BYTES,
    MAX_ENTRIES,
    MAX_KEYS,
    MEDIA_TYPE,
    Directories,
    read_directory,
)
from guard.fetch import PUBLIC, Fetched, FetchError, Reach
from guard.hosts import WELL_KNOWN
from guard.webbotauth import Key, Proof, Settings, Signed, verify
from tests import test_webbotauth
from tests.conftest import SHARED
from tests.publisher import HANGING, UNAVAILABLE, Answer, Publisher, bomb, dripping, gzip_bomb, redirecting
from tests.signing import DIRECTORY, NOW_S, ORIGIN, Agent

pytestmark = pytest.mark.anyio

CASES_FILE = SHARED / "security" / "bypass_cases.json"
BOT, NEXT = Agent.ed25519(), Agent.ed25519(2)


class Clock:
    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


class Web:
    """Answers without a network, by address; an exception is raised, and while `gate` is shut nothing is answered."""

    def __init__(self, answers: dict[str, bytes | Exception] | None = None) -> None:
        self.answers = answers or {}
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(
        self, url: str, *, max_bytes: int, deadline_s: float, media_types: tuple[str, ...] = (), reach: Reach = PUBLIC
    ) -> Fetched:
        self.asked.append((url, media_types))
        await self.gate.wait()
        answer = self.answers.get(url, FetchError("the answer was 404, not 200"))
        if isinstance(answer, Exception):
            raise answer
        return Fetched(200, media_types[0], answer, "192.0.2.1")


def jwks(*agents: Agent, **more: Any) -> bytes:
    return json.dumps({"keys": [agent.jwk() for agent in agents], **more}).encode()


@asynccontextmanager
async def opened(
    settings: Settings, web: Web | None = None, clock: Clock | None = None, **more: Any
) -> AsyncIterator[Directories]:
    if web is not None:
        more["fetch"] = web
    directories = Directories(settings, clock=clock or Clock(), **more)
    await directories.open()
    try:
        yield directories
    finally:
        await directories.close()


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher() as found:
        yield found


LISTED = Settings((ORIGIN,))
OPEN = Settings(discover=True)


# -- finding


async def test_the_keys_of_listed_directories_are_there_before_the_first_request() -> None:
    web = Web({DIRECTORY: jwks(BOT)})
    async with opened(LISTED, web) as directories:
        assert directories.find(DIRECTORY, BOT.thumbprint, NOW_S) == "pending"
        await directories.quiet()
        found = directories.find(DIRECTORY, BOT.thumbprint, NOW_S)
        assert isinstance(found, Key)
        assert found.thumbprint == BOT.thumbprint
        assert directories.find(DIRECTORY, NEXT.thumbprint, NOW_S) == "missing"
        assert len(web.asked) == 1


async def test_what_is_not_listed_is_never_asked_unless_the_policy_lets_agents_be_discovered() -> None:
    web = Web({DIRECTORY: jwks(BOT)})
    async with opened(Settings(), web) as directories:
        assert directories.find(DIRECTORY, BOT.thumbprint, NOW_S) == "refused"
        await directories.quiet()
    assert web.asked == []
    async with opened(OPEN, web) as directories:
        assert web.asked == []
        assert directories.find(DIRECTORY, BOT.thumbprint, NOW_S, "a") == "pending"
        await directories.quiet()
        assert isinstance(directories.find(DIRECTORY, BOT.thumbprint, NOW_S, "a"), Key)


async def test_before_it_is_opened_and_after_it_is_closed_nothing_is_asked() -> None:
    web = Web({DIRECTORY: jwks(BOT)})
    directories = Directories(LISTED, clock=Clock(), fetch=web)
    assert directories.find(DIRECTORY, BOT.thumbprint, NOW_S) == "unreachable"
    web.gate.clear()
    await directories.open()
    await directories.close()
    await directories.quiet()
    assert directories.find(DIRECTORY, BOT.thumbprint, NOW_S) == "unreachable"
    assert len(web.asked) <= 1
    web.gate.set()
    await directories.open()
    await directories.quiet()
    await directories.close()
    assert isinstance(directories.find(DIRECTORY, BOT.thumbprint, NOW_S + FRESH_S * 2), Key)
    assert len(web.asked) <= 2


async def test_a_hundred_requests_at_once_ask_once() -> None:
    web = Web({DIRECTORY: jwks(BOT)})
    web.gate.clear()
    async with opened(OPEN, web) as directories:
        for _ in range(100):
            assert directories.find(DIRECTORY, BOT.thumbprint, NOW_S, "a") == "pending"
        await asyncio.sleep(0)
        web.gate.set()
        await directories.quiet()
        assert len(web.asked) == 1


async def test_a_key_is_found_only_at_the_address_that_published_it() -> None:
    other = "https://other.example" + WELL_KNOWN
    web = Web({DIRECTORY: jwks(BOT), other: jwks(NEXT)})
    async with opened(Settings((ORIGIN, "https://other.example")), web) as directories:
        await directories.quiet()
        assert directories.find(other, BOT.thumbprint, NOW_S) == "missing"
        assert directories.find(DIRECTORY, NEXT.thumbprint, NOW_S) == "missing"


# -- growing old


async def test_keys_are_asked_for_again_after_an_hour_and_count_meanwhile() -> None:
    web, clock = Web({DIRECTORY: jwks(BOT)}), Clock()
    async with opened(LISTED, web, clock) as directories:
        await directories.quiet()
        clock.now_s += FRESH_S - 1
        assert isinstance(directories.find(DIRECTORY, BOT.thumbprint, clock()), Key)
        await directories.quiet()
        assert len(web.asked) == 1
        clock.now_s += 2
        web.gate.clear()
        for _ in range(5):
            assert isinstance(directories.find(DIRECTORY, BOT.thumbprint, clock()), Key)
        web.gate.set()
        await directories.quiet()
        assert len(web.asked) == 2


async def test_an_outage_takes_nothing_away_for_a_week() -> None:
    web, clock = Web({DIRECTORY: jwks(BOT)}), Clock()
    async with opened(LISTED, web, clock) as directories:
        await directories.quiet()
        for trouble in (FetchError("the answer was 503, not 200"), OSError(), b"{", b"[]", b'{"keys": 1}'):
            web.answers[DIRECTORY] = trouble
            clock.now_s += FRESH_S + 1
            assert isinstance(directories.find(DIRECTORY, BOT.thumbprint, clock()), Key)
            await directories.quiet()
        assert directories.failures == 5
        clock.now_s = NOW_S + KEPT_S - 1
        assert isinstance(directories.find(DIRECTORY, BOT.thumbprint, clock()), Key)
        clock.now_s = NOW_S + KEPT_S + 1
        assert directories.find(DIRECTORY, BOT.thumbprint, clock()) == "unreachable"
        await directories.quiet()
        web.answers[DIRECTORY] = jwks(BOT)
        clock.now_s += 301
        directories.find(DIRECTORY, BOT.thumbprint, clock())
        await directories.quiet()
        assert isinstance(directories.find(DIRECTORY, BOT.thumbprint, clock()), Key)


async def test_a_good_answer_without_the_key_takes_it_away() -> None:
    web, clock = Web({DIRECTORY: jwks(BOT)}), Clock()
    heard: list[float] = []
    async with opened(LISTED, web, clock) as directories:
        directories.heed(lambda: heard.append(clock()))
        directories.heed(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
        await directories.quiet()
        for answer in (jwks(BOT), jwks(NEXT), jwks()):
            web.answers[DIRECTORY] = answer
            clock.now_s += FRESH_S + 1
            directories.find(DIRECTORY, BOT.thumbprint, clock())
            await directories.quiet()
        assert directories.find(DIRECTORY, BOT.thumbprint, clock()) == "missing"
        assert heard == [NOW_S, NOW_S + 2 * (FRESH_S + 1), NOW_S + 3 * (FRESH_S + 1)]


async def test_a_new_key_is_found_within_five_minutes() -> None:
    web, clock = Web({DIRECTORY: jwks(BOT)}), Clock()
    async with opened(LISTED, web, clock) as directories:
        await directories.quiet()
        web.answers[DIRECTORY] = jwks(BOT, NEXT)
        for _ in range(10):
            clock.now_s += 29
            assert directories.find(DIRECTORY, NEXT.thumbprint, clock()) == "missing"
            await directories.quiet()
        assert len(web.asked) == 1
        clock.now_s += 11
        assert directories.find(DIRECTORY, NEXT.thumbprint, clock()) == "missing"
        await directories.quiet()
        assert isinstance(directories.find(DIRECTORY, NEXT.thumbprint, clock()), Key)


async def test_after_a_failure_nobody_asks_before_a_growing_pause_of_five_minutes_at_most() -> None:
    web, clock = Web(), Clock()
    async with opened(LISTED, web, clock) as directories:
        await directories.quiet()
        asked_s = [clock()]
        for _ in range(2000):
            clock.now_s += 1
            assert directories.find(DIRECTORY, BOT.thumbprint, clock()) in ("unreachable", "pending")
            if directories.asks > len(asked_s):
                asked_s.append(clock())
                await directories.quiet()
        pauses = [after - before for before, after in pairwise(asked_s)]
        assert pauses[:5] == [15, 30, 60, 120, 240]
        assert set(pauses[5:]) == {300}


async def test_a_clock_that_was_put_back_makes_keys_due_and_locks_nothing() -> None:
    web, clock = Web({DIRECTORY: jwks(BOT)}), Clock()
    async with opened(LISTED, web, clock) as directories:
        await directories.quiet()
        clock.now_s -= 86_400
        assert isinstance(directories.find(DIRECTORY, BOT.thumbprint, clock()), Key)
        await directories.quiet()
        assert len(web.asked) == 2


# -- the budget


async def test_a_thousand_names_from_one_client_cost_three_asks() -> None:
    web, clock = Web(), Clock()
    async with opened(OPEN, web, clock) as directories:
        for number in range(1000):
            clock.now_s += 0.05
            directories.find(f"https://n{number}.example{WELL_KNOWN}", BOT.thumbprint, clock(), "a")
        await directories.quiet()
        assert len(web.asked) == ASKS_PER_CLIENT
        assert directories.held_back == 1000 - ASKS_PER_CLIENT
        assert len(directories) <= ASKS_PER_CLIENT
        assert directories.find(f"https://n{1}.example{WELL_KNOWN}", BOT.thumbprint, clock(), "b") == "unreachable"


async def test_a_thousand_clients_cost_ten_asks_a_minute_and_listed_directories_are_asked_all_the_same() -> None:
    web, clock = Web({DIRECTORY: jwks(BOT)}), Clock()
    async with opened(Settings((ORIGIN,), discover=True), web, clock) as directories:
        await directories.quiet()
        for minute in range(1, 4):
            for number in range(1000):
                url = f"https://n{minute}-{number}.example{WELL_KNOWN}"
                directories.find(url, BOT.thumbprint, clock(), f"client {number}")
            await directories.quiet()
            assert len(web.asked) == 1 + minute * ASKS_PER_MINUTE
            clock.now_s += 61
        clock.now_s += FRESH_S
        for number in range(20):
            directories.find(f"https://m{number}.example{WELL_KNOWN}", BOT.thumbprint, clock(), f"client {number}")
        assert isinstance(directories.find(DIRECTORY, BOT.thumbprint, clock()), Key)
        await directories.quiet()
        assert web.asked[-1][0] == DIRECTORY


async def test_the_table_is_bounded_and_listed_directories_stay_in_it() -> None:
    web, clock = Web({DIRECTORY: jwks(BOT)}), Clock()
    async with opened(Settings((ORIGIN,), discover=True), web, clock) as directories:
        for number in range(MAX_ENTRIES + 100):
            clock.now_s += 30
            directories.find(f"https://n{number}.example{WELL_KNOWN}", BOT.thumbprint, clock(), f"client {number}")
            await directories.quiet()
        assert len(directories) == MAX_ENTRIES + 1
        assert isinstance(directories.find(DIRECTORY, BOT.thumbprint, clock()), Key)


async def test_which_media_types_are_taken_depends_on_who_chose_the_address() -> None:
    web = Web()
    listed = "https://listed.example"
    async with opened(Settings((listed,), discover=True), web) as directories:
        directories.find(DIRECTORY, BOT.thumbprint, NOW_S, "a")
        directories.find(ORIGIN + "/.well-known/jwks.json", BOT.thumbprint, NOW_S, "a")
        await directories.quiet()
    types = dict(web.asked)
    assert types[DIRECTORY] == (MEDIA_TYPE,)
    for url in (listed + WELL_KNOWN, ORIGIN + "/.well-known/jwks.json"):
        assert types[url] == (MEDIA_TYPE, "application/jwk-set+json", "application/json")


# -- documents


def test_a_set_and_a_bare_key_and_keys_without_names_are_read() -> None:
    key = BOT.jwk(kid=None)
    for document in ({"keys": [key]}, key, {"keys": [key, NEXT.jwk(kid="second")], "purpose": "tdm"}):
        assert BOT.thumbprint in read_directory(json.dumps(document).encode())
    assert set(read_directory(json.dumps({"keys": [NEXT.jwk(kid="second")]}).encode())) == {NEXT.thumbprint, "second"}
    assert read_directory(b'{"keys": []}') == {}


def test_a_key_is_not_found_under_a_name_that_looks_like_the_thumbprint_of_another() -> None:
    text = json.dumps({"keys": [NEXT.jwk(kid=BOT.thumbprint)]}).encode()
    assert set(read_directory(text)) == {NEXT.thumbprint}


@pytest.mark.parametrize(
    "keys",
    [
        [BOT.jwk(kid="a"), NEXT.jwk(kid="a")],
        [BOT.jwk(), NEXT.jwk(kid=BOT.thumbprint)],
        [BOT.jwk(kid="a"), BOT.jwk(kid="b"), NEXT.jwk(kid="b")],
        [BOT.jwk(kid="a"), {"kty": "oct", "k": "AAAA", "kid": "a"}, NEXT.jwk(kid="a")],
    ],
)
def test_keys_that_share_a_name_are_all_refused(keys: list[Any]) -> None:
    assert BOT.thumbprint not in read_directory(json.dumps({"keys": keys}).encode())


def test_a_key_that_cannot_be_used_does_not_harm_the_others() -> None:
    wrong = [None, 7, [], {}, {"kty": "OKP"}, {"kid": ""}, {"kid": ""}, {"kid": []}, {"kty": "AKP", "kid": "pq"}]
    assert set(read_directory(json.dumps({"keys": [*wrong, BOT.jwk(kid="")]}).encode())) == {BOT.thumbprint}


def nested(depth: int) -> bytes:
    inner: Any = []
    for _ in range(depth - 2):
        inner = [inner]
    return json.dumps({"keys": [BOT.jwk()], "more": inner}).encode()


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"{", b"null", b"[]", b"7", b'"text"', b"{}", b'{"keys": {}}', b'{"keys": null}', b"\xff\xfe{", b"NaN"),
        *(b'{"keys": [], "keys": []}', b'{"keys": [], "more": NaN}', b"[" * 60_000, b'{"a":' * 10_000, nested(9)),
        *(b'{"keys": []}' + b" " * MAX_BYTES, json.dumps({"keys": [{}] * (MAX_KEYS + 1)}).encode()),
        b'{"keys": [], "more": ' + b"1" * 5000 + b"}",
    ],
    ids=lambda text: repr(text[:20]) if len(text) < 100 else str(len(text)),
)
def test_a_document_that_is_no_directory_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="the document"):
        read_directory(text)


def test_a_document_may_nest_eight_deep() -> None:
    assert BOT.thumbprint in read_directory(nested(8))


# -- over a real connection


def signed_by(agent: Agent, value: str) -> Signed:
    return agent.signed(agent=f'sig1="{value}"')


async def proofs(
    publisher: Publisher,
    *,
    answer: Answer | None = None,
    value: str = "",
    settings: Settings | None = None,
    reach: Reach | None = None,
    deadline_s: float = 3.0,
) -> tuple[Proof, Proof, Directories]:
    """What a request proves while its directory is asked, and what it proves afterwards."""
    if answer is not None:
        publisher.answers[WELL_KNOWN] = answer
    value = value or publisher.url("")
    settings = settings or Settings((value,), discover=True)
    more: dict[str, Any] = {"reach": reach or publisher.reach(), "deadline_s": deadline_s}
    async with opened(settings, **more) as directories:
        signed = signed_by(BOT, value)
        find = partial(directories.find, now_s=NOW_S, client="a")
        began = time.perf_counter()
        before = verify(signed, find, now_s=NOW_S, settings=settings, client="a")
        assert time.perf_counter() - began < 0.1  # nobody waited
        await directories.quiet()
        assert time.perf_counter() - began < deadline_s + 2
        return before, verify(signed, find, now_s=NOW_S, settings=settings, client="a"), directories


def good(*agents: Agent, **more: Any) -> Answer:
    return Answer(jwks(*(agents or (BOT,))), media_type=MEDIA_TYPE, **more)


async def test_a_request_is_pending_until_its_directory_has_answered_and_then_verified(publisher: Publisher) -> None:
    before, after, _ = await proofs(publisher, answer=good())
    assert before.state == "pending"
    assert before.directory == ""
    assert (after.state, after.directory) == ("verified", publisher.url(WELL_KNOWN))
    (asked,) = publisher.requests
    assert asked.target == WELL_KNOWN
    assert asked.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("media_type", ["application/json", "application/jwk-set+json", f"{MEDIA_TYPE}; charset=utf-8"])
async def test_a_listed_directory_may_say_json(publisher: Publisher, media_type: str) -> None:
    _, after, _ = await proofs(publisher, answer=good().but(media_type=media_type))
    assert after.state == "verified"


async def trouble(publisher: Publisher, answer: Answer, deadline_s: float = 3.0) -> Directories:
    """A directory that answers like this proves nothing, and nothing else is connected to."""
    before, after, directories = await proofs(publisher, answer=answer, deadline_s=deadline_s)
    assert before.state == "pending"
    assert (after.state, after.directory) == ("unverified", "")
    assert publisher.connections == len(publisher.requests) == 1
    assert directories.failures == 1
    return directories


async def wb_044(publisher: Publisher) -> None:
    await trouble(publisher, redirecting("http://169.254.169.254/"))


async def wb_045(publisher: Publisher) -> None:
    publisher.answers["/elsewhere"] = good()
    await trouble(publisher, redirecting(publisher.url("/elsewhere"), 301))


async def wb_046(publisher: Publisher) -> None:
    await trouble(publisher, bomb().but(media_type=MEDIA_TYPE))


async def wb_047(publisher: Publisher) -> None:
    await trouble(publisher, gzip_bomb().but(media_type=MEDIA_TYPE))
    assert publisher.requests[0].headers["accept-encoding"] == "identity"


async def wb_048(publisher: Publisher) -> None:
    await trouble(publisher, dripping(jwks(BOT)).but(media_type=MEDIA_TYPE), deadline_s=0.4)


async def wb_049(publisher: Publisher) -> None:
    await trouble(publisher, HANGING, deadline_s=0.4)


async def wb_050(publisher: Publisher) -> None:
    await trouble(publisher, good().but(media_type="text/html"))


async def wb_052(publisher: Publisher) -> None:
    publisher.answers[WELL_KNOWN] = good()
    clock, settings = Clock(), Settings((publisher.url(""),))
    async with opened(settings, clock=clock, reach=publisher.reach()) as directories:
        await directories.quiet()
        publisher.answers[WELL_KNOWN] = UNAVAILABLE
        url = publisher.url(WELL_KNOWN)
        for later_s, state in ((FRESH_S + 1, Key), (KEPT_S - 1, Key), (KEPT_S + 1, str)):
            clock.now_s = NOW_S + later_s
            assert isinstance(directories.find(url, BOT.thumbprint, clock()), state)
            await directories.quiet()
        assert directories.failures == 2  # the third was within the pause


async def wb_043(publisher: Publisher) -> None:
    async def mixed(host: str, port: int) -> list[str]:
        return ["203.0.113.5", "10.0.0.5"]

    _, after, directories = await proofs(
        publisher, value="https://bot.example", settings=OPEN, reach=publisher.reach(addresses=mixed)
    )
    assert after.state == "unverified"
    assert (directories.asks, directories.failures, publisher.connections) == (1, 1, 0)


async def wb_054(publisher: Publisher) -> None:
    async with opened(OPEN, reach=publisher.reach()) as directories:
        find = partial(directories.find, now_s=NOW_S, client="a")
        for number in range(1000):
            proof = verify(signed_by(BOT, f"https://n{number}.example"), find, now_s=NOW_S, settings=OPEN)
            assert proof.state in ("pending", "unverified")
        await directories.quiet()
        assert directories.asks <= 10
        assert len(directories) <= 1024
        assert publisher.connections <= 10


async def no_fetch(publisher: Publisher, value: str) -> None:
    """Even where agents may be discovered nothing is asked: no name is looked up, no connection is made."""
    before, after, directories = await proofs(publisher, value=value, settings=OPEN)
    for found in (before, after):
        assert found.state in ("unverified", "invalid"), found
        assert found.directory == ""
    assert (directories.asks, publisher.connections, publisher.resolved) == (0, 0, [])


NOWHERE = {
    "WB-019": "https://127.0.0.1",
    "WB-021": "https://[::1]",
    "WB-022": "https://169.254.169.254",
    "WB-025": "https://0x7f.1",
    "WB-026": "https://10.0.0.5",
    "WB-027": "https://[fd00::1]",
    "WB-029": "https://100.64.0.1",
    "WB-030": "https://bot.example:22",
    "WB-032": "https://bot.example/path",
    "WB-033": "https://bot.example?x",
    "WB-035": "file:///etc/passwd",
    "WB-037": "https://xn--80ak6aa92e.com.",
    "WB-038": f"https://{'a' * 300}.example",
    "WB-039": "https://metadata.google.internal",
    "WB-040": "https://bot.example\r\nX: y",
    "plain HTTP": "http://bot.example",
    "a user": "https://bot.example@127.0.0.1",
    "a fragment": "https://bot.example#x",
    "an address as a number": "https://2130706433",
    "an address in an address": "https://[::ffff:127.0.0.1]",
    "no address": "https://0.0.0.0",
    "this machine": "https://localhost",
    "a control character": "https://bot.example\x7f",
}
CASES: dict[str, Callable[[Publisher], Awaitable[None]]] = {
    **{name: partial(no_fetch, value=value) for name, value in NOWHERE.items()},
    "WB-043": wb_043,
    "WB-044": wb_044,
    "WB-045": wb_045,
    "WB-046": wb_046,
    "WB-047": wb_047,
    "WB-048": wb_048,
    "WB-049": wb_049,
    "WB-050": wb_050,
    "WB-052": wb_052,
    "WB-054": wb_054,
}


@pytest.mark.parametrize("case", CASES)
async def test_the_shared_case_holds(publisher: Publisher, case: str) -> None:
    await CASES[case](publisher)


@pytest.mark.skipif(not CASES_FILE.exists(), reason="../shared is not here")
def test_no_shared_case_is_left_out_and_each_is_asked_as_it_stands_there() -> None:
    cases = {case["id"]: case for case in json.loads(CASES_FILE.read_text())["cases"] if case["id"].startswith("WB-")}
    assert cases
    assert cases.keys() == {name for name in (*CASES, *test_webbotauth.CASES) if name.startswith("WB-")}
    for name, case in cases.items():
        if name in NOWHERE:
            value = case["request"]["signature-agent"].replace("<<REP:a:300>>", "a" * 300)
            assert value == NOWHERE[name]
            assert case["expectation"]["verdict"] in ("no_fetch", "fetch_or_unverified")

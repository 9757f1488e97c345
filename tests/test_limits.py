"""One request before several limits: the strictest wins, nothing is taken in vain, and what was taken is given back."""

from __future__ import annotations

import asyncio
import json
from asyncio import Future
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard import Guard, GuardMiddleware
from guard.identify import read_name
from guard.limits import Ask, admit, asks_of, leave
from guard.load import read_policy
from guard.middleware import Message, Receive, Scope, Send
from guard.model import Admission, Client, Limit, Request
from guard.protocols import Store
from guard.stores.memory import MemoryStore
from guard.stores.redis import RedisStore
from tests.servers import Server, eventually, server

POLICY = """
version: 1
site:
  name: limits
  trusted_proxies: [127.0.0.1]
  account: {header: x-account}
  session: {cookie: sid}
mode: enforce
default: allow
routes:
- {class: media, paths: [/media/**]}
limits:
- {name: pages, rate: 6/min, burst: 6}
- {name: dear, key: account, rate: 5/hour, burst: 5}
- {name: daily, key: account, quota: 3/day}
- {name: streams, key: session, at_once: 2, when: {route: media}}
- {name: bytes, rate: 1 MB/hour, burst: 10 kB, when: {path: /media/long}}
rules:
- {name: export, when: {path: /export}, then: throttle, limit: [dear, pages], cost: 4}
- {name: day, when: {path: /day}, then: throttle, limit: [daily, pages]}
- {name: page, when: {path: /page}, then: throttle, limit: pages}
"""


def a_guard(store: Store | None = None) -> Guard:
    return Guard(read_policy(POLICY), store=store or MemoryStore(clock=lambda: 1000.0))


class Site:
    """An application that answers with ten kilobytes, and streams that last until they are told to end."""

    def __init__(self) -> None:
        self.streams: list[Future[None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/media/live":
            self.streams.append(asyncio.get_running_loop().create_future())
            await self.streams[-1]
        await send({"type": "http.response.body", "body": b"x" * 10_000})


async def ask(app: GuardMiddleware, path: str, **headers: str) -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"x"), *fields],
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), body


@pytest.mark.anyio
async def test_the_strictest_of_several_limits_wins_and_names_itself() -> None:
    app = GuardMiddleware(Site(), a_guard())
    assert [(await ask(app, "/export", x_account="ann"))[0] for _ in range(2)] == [200, 429]
    status, headers, body = await ask(app, "/export", x_account="ann")
    assert status == 429
    told = json.loads(body)
    assert told["violated-policies"] == ["dear"]
    assert headers[b"ratelimit-policy"] == b'"dear";q=5;w=3600, "pages";q=6;w=60'
    assert headers[b"ratelimit"].startswith(b'"dear";r=0;t=')
    assert headers[b"ratelimit"].endswith(b"t=" + headers[b"retry-after"])


@pytest.mark.anyio
async def test_who_is_refused_by_one_limit_takes_nothing_of_the_others() -> None:
    app = GuardMiddleware(Site(), a_guard())
    assert (await ask(app, "/export", x_account="ann"))[0] == 200  # four of each
    for _ in range(20):
        assert (await ask(app, "/export", x_account="ann"))[0] == 429
    assert [(await ask(app, "/page"))[0] for _ in range(3)] == [200, 200, 429]  # two were left


@pytest.mark.anyio
async def test_a_quota_loses_nothing_to_a_limit_beside_it() -> None:
    app = GuardMiddleware(Site(), a_guard())
    for _ in range(6):
        await ask(app, "/page")
    for _ in range(5):
        assert (await ask(app, "/day", x_account="ann"))[0] == 429  # the pages are used up
    app.guard.store = MemoryStore(clock=lambda: 1000.0)
    assert [(await ask(app, "/day", x_account="ann"))[0] for _ in range(4)] == [200, 200, 200, 429]


@pytest.mark.anyio
async def test_a_stream_holds_its_place_until_it_ends_and_no_longer() -> None:
    site = Site()
    app = GuardMiddleware(site, a_guard())
    first = [asyncio.create_task(ask(app, "/media/live", cookie="sid=s1")) for _ in range(2)]
    await eventually(lambda: len(site.streams) == 2, within_s=2)
    refused = await ask(app, "/media/short", cookie="sid=s1")
    assert refused[0] == 429
    assert refused[1][b"ratelimit-policy"] == b'"streams";q=2;qu="concurrent-requests"'
    assert (await ask(app, "/media/short", cookie="sid=s2"))[0] == 200
    site.streams[0].set_result(None)
    assert (await first[0])[0] == 200
    assert (await ask(app, "/media/short", cookie="sid=s1"))[0] == 200
    first[1].cancel()  # the listener goes away
    await asyncio.wait(first)
    third = [asyncio.create_task(ask(app, "/media/live", cookie="sid=s1")) for _ in range(2)]
    await eventually(lambda: len(site.streams) == 4, within_s=2)
    for stream in site.streams[2:]:
        stream.set_result(None)
    assert [status for status, _, _ in await asyncio.gather(*third)] == [200, 200]


@pytest.mark.anyio
async def test_an_application_that_fails_keeps_no_place() -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("the application's")

    app = GuardMiddleware(failing, a_guard())
    for _ in range(5):
        with pytest.raises(RuntimeError, match="the application's"):
            await ask(app, "/media/x", cookie="sid=s1")


@pytest.mark.anyio
async def test_who_has_used_up_their_bytes_is_refused_the_next_request() -> None:
    app = GuardMiddleware(Site(), a_guard())
    statuses = [(await ask(app, "/media/long"))[0] for _ in range(3)]
    assert statuses == [200, 429, 429]  # ten kilobytes were sent, and ten are the burst
    _, headers, _ = await ask(app, "/media/long")
    assert b'"bytes";q=10000;w=36;qu="content-bytes"' in headers[b"ratelimit-policy"]
    assert int(headers[b"retry-after"]) > 1


# -- what is counted together

ANN = Client("192.0.2.1", b"\xc0\x00\x02\x01", b"\xc0\x00\x02", 64500)
BOB = Client("192.0.2.2", b"\xc0\x00\x02\x02", b"\xc0\x00\x02", 64500)


def key_of(words: tuple[str, ...], client: Client = ANN, **names: bytes) -> bytes:
    guard = a_guard()
    request = Request("GET", b"/page", b"", client.address, **names)
    decision = guard.decide(request)._replace(limits=(Limit("l", 1, 1.0, 1, words),), work="track:9")
    return asks_of(request, client, decision, "limits")[0].key


def test_each_word_counts_together_what_it_names() -> None:
    assert key_of(("client",)) != key_of(("client",), BOB)
    assert key_of(("address",)) != key_of(("address",), BOB)
    for word in ("prefix", "asn", "agent", "operator", "site", "route", "work"):
        assert key_of((word,)) == key_of((word,), BOB), word
    assert key_of(("account",), account=b"a") == key_of(("account",), BOB, account=b"a")
    assert key_of(("session",), session=b"a") != key_of(("session",), session=b"b")
    assert key_of(("account", "route"), account=b"a") != key_of(("account",), account=b"a")


def test_to_name_nobody_is_no_way_out() -> None:
    assert key_of(("account",)) != key_of(("account",), BOB)  # each for itself
    assert key_of(("account",)) != key_of(("account",), account=ANN.key)  # and nobody can call themselves that
    assert key_of(("asn",), ANN._replace(asn=0)) == key_of(("asn",), BOB._replace(asn=0))  # then the neighbourhood


@given(st.binary(max_size=12), st.binary(max_size=12), st.binary(max_size=12), st.binary(max_size=12))
def test_no_two_names_are_counted_together(account: bytes, session: bytes, other: bytes, another: bytes) -> None:
    one = key_of(("account", "session"), account=account, session=session)
    two = key_of(("account", "session"), account=other, session=another)
    assert (one == two) is ((account, session) == (other, another))


def test_accounts_and_sessions_are_read_where_the_policy_says() -> None:
    cookies = ((b"cookie", b"a=1; sid=s1"), (b"cookie", b'b="2"'))
    assert read_name(("cookie", "sid"), cookies, b"", False) == b"s1"
    assert read_name(("cookie", "b"), cookies, b"", False) == b"2"
    assert read_name(("cookie", "c"), cookies, b"", False) == b""
    assert read_name(("cookie", "sid"), ((b"cookie", b"sid=1; sid=2"),), b"", False) == b""  # two are none
    assert read_name(("query", "u"), (), b"t=1&u=b%6fb+x", False) == b"bob x"
    assert read_name(("query", "u"), (), b"u=bob&%75=ann", False) == b""
    assert read_name(("header", "X-Account"), ((b"x-account", b" ann "),), b"", True) == b"ann"
    assert read_name(("header", "x-account"), ((b"x-account", b"ann"),), b"", False) == b""  # anybody can write it
    assert read_name(None, cookies, b"u=1", True) == b""


@pytest.mark.anyio
async def test_a_header_counts_only_from_a_hop_of_ours() -> None:
    app = GuardMiddleware(Site(), Guard(read_policy(POLICY.replace("[127.0.0.1]", "[10.0.0.1]")), store=MemoryStore()))
    statuses = [(await ask(app, "/export", x_account=f"ann{n}"))[0] for n in range(3)]
    assert statuses == [200, 429, 429]  # all of them are the one address that asks


# -- with a store that has to be asked

RATE = Limit("rate", 1, 3600.0, 5)
QUOTA = Limit("quota", 3, 0.0, 1, kind="quota", period="day", precision="exact")
PLACES = Limit("places", 1, 0.0, 1, kind="concurrent", precision="exact")


@pytest.fixture
def valkey() -> Server:  # type: ignore[misc]
    with server("valkey") as one:
        yield one


async def told(answer: Admission | Future[Admission]) -> Admission:
    return answer if isinstance(answer, Admission) else await answer


@pytest.mark.anyio
async def test_a_shared_quota_loses_nothing_to_a_limit_beside_it(valkey: Server) -> None:
    store = RedisStore(valkey.url, timeout_s=1.0)
    await store.open()
    try:
        asks = [Ask(QUOTA, b"k", 1), Ask(RATE, b"k", 3)]
        first = await told(admit(store, asks))
        assert (first.allowed, first.shared) == (True, True)
        refused = [await told(admit(store, asks)) for _ in range(10)]
        assert {(a.allowed, a.limit and a.limit.name) for a in refused} == {(False, "rate")}
        assert (await told(store.take(QUOTA, b"k"))).remaining == 1  # one was taken, and one now
    finally:
        await store.close()


@pytest.mark.anyio
@pytest.mark.parametrize("leaving", ["refused", "cancelled"])
async def test_a_place_is_given_back_when_another_limit_refuses_or_nobody_waits(valkey: Server, leaving: str) -> None:
    store = RedisStore(valkey.url, timeout_s=1.0)
    await store.open()
    dear = Limit("dear", 1, 3600.0, 1)
    asks = [Ask(PLACES, b"k", 1), Ask(dear, b"other", 1)]
    try:
        if leaving == "refused":
            assert (await told(store.take(dear, b"other"))).allowed
            assert not (await told(admit(store, asks))).allowed
        else:
            asked = admit(store, asks)
            assert isinstance(asked, Future)
            await asyncio.sleep(0)
            asked.cancel()
            await asyncio.wait([asked])

        async def free() -> bool:
            return (await told(store.take(PLACES, b"k"))).allowed

        await eventually(free, within_s=2)
    finally:
        await store.close()


@pytest.mark.anyio
async def test_leaving_gives_back_and_charges_what_was_taken() -> None:
    store = MemoryStore(clock=lambda: 1000.0)
    audio = replace(QUOTA, name="audio", count=10, unit="audio-seconds", bitrate=8_000)
    asks = [Ask(PLACES, b"k", 1), Ask(audio, b"k", 1)]
    assert (await told(admit(store, asks))).allowed
    assert not (await told(admit(store, asks))).allowed
    leave(store, asks, 9_000)  # nine seconds at a kilobyte each
    assert (await told(admit(store, asks))).allowed
    leave(store, asks, 1_000)
    refused = await told(admit(store, asks))
    assert refused.limit is audio


@pytest.mark.anyio
async def test_a_quota_pays_nothing_for_a_place_that_is_taken(valkey: Server) -> None:
    one, two = (RedisStore(valkey.url, timeout_s=1.0) for _ in range(2))
    await one.open()
    await two.open()
    try:
        assert (await told(two.take(PLACES, b"k"))).allowed
        for _ in range(3):
            refused = await told(admit(one, [Ask(QUOTA, b"k", 1), Ask(PLACES, b"k", 1)]))
            assert refused.limit is PLACES
            one._leases.clear()  # as if the refusal were no longer believed
        assert (await told(one.take(QUOTA, b"k"))).remaining == 2
    finally:
        await one.close()
        await two.close()


def test_a_refusal_of_the_fleet_stays_one_beside_a_local_yes() -> None:
    class Answers(MemoryStore):
        shared = True

        def take(self, limit: Limit, key: bytes, cost: int = 1) -> Admission:
            return Admission(False, 0, 5.0, True) if limit is RATE else Admission(True, 3, 0.0, False)

    refused = admit(Answers(), [Ask(RATE, b"k", 1), Ask(replace(RATE, name="other"), b"k", 1)])
    assert isinstance(refused, Admission)
    assert (refused.allowed, refused.shared, refused.limit) == (False, True, RATE)


@pytest.mark.anyio
@pytest.mark.parametrize("several", [False, True])
async def test_who_goes_away_as_the_answer_comes_keeps_no_place(valkey: Server, several: bool) -> None:
    text = POLICY.replace("at_once: 2", "at_once: 1")
    if several:
        text = text.replace("/media/long}}", "/media/**}}")
    store = RedisStore(valkey.url, timeout_s=1.0)
    await store.open()
    try:
        app = GuardMiddleware(Site(), Guard(read_policy(text), store=store))
        for _ in range(3):
            task = asyncio.create_task(ask(app, "/media/live", cookie="sid=s1"))
            while not store._places:  # in the tick of the answer, before the task has heard of it
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert not store._places
    finally:
        await store.close()


@pytest.mark.anyio
async def test_what_clients_are_known_by_is_one_bounded_table() -> None:
    app = GuardMiddleware(Site(), a_guard())
    for path in ("/page", "/page?", "/page"):
        await ask(app, path)
    limited = [passing[2] for passing in app._terms.passing.young.values() if passing[2] is not None]
    assert limited
    assert {id(one.keys) for one in limited} == {id(app.guard.keys)}


@pytest.mark.anyio
async def test_what_a_worker_holds_is_spent_without_asking_and_never_more(valkey: Server) -> None:
    """The road of nearly every limited request: the burst is exact, whoever of the two it is counted by."""
    store = RedisStore(valkey.url, timeout_s=1.0)
    await store.open()
    try:
        text = POLICY.replace("{name: pages, rate: 6/min, burst: 6}", "{name: pages, rate: 6/hour, burst: 400}")
        guard = Guard(read_policy(text), store=store)
        app = GuardMiddleware(Site(), guard)
        statuses = [(await ask(app, "/page", x_forwarded_for=f"2001:db8::{n % 3}"))[0] for n in range(450)]
        assert statuses == [200] * 400 + [429] * 50  # three addresses of one network
        assert guard.admitted > 300
        assert store.calls < 250
        assert store.scripts < 60
        held = guard.leases(guard.policy.limits[0]).young.values()
        (lease,) = {id(lease): lease for _, lease in held}.values()  # one, by whichever address they came
        assert not lease.spend()
    finally:
        await store.close()

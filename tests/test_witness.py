"""Who is asking, with everything that is real: lists and keys from a host that speaks TLS, names from a name server,
requests through the middleware and through the sidecar. Nothing that others do ever makes a request wait.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guard import Guard, GuardMiddleware
from guard.errors import PolicyError
from guard.hosts import WELL_KNOWN
from guard.load import catalogue_of, read_policy, together
from guard.model import Record, Request, Verifying
from guard.protocols import Change
from guard.registers.sqlite import SqliteRegister
from guard.rights import Choice, Work
from guard.verify import suffixes_of
from guard.watch import succeed
from guard.witness import Witness, Words, give_witness, words_of

from .publisher import (
    EMPTY,
    HANGING,
    HOST,
    UNAVAILABLE,
    Answer,
    NameServer,
    Publisher,
    bomb,
    dripping,
    listed,
    redirecting,
)
from .sidecar import Platform, get, side
from .signing import NOW_S, Agent

pytestmark = pytest.mark.anyio

CHROME = b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/157.0.0.0 Safari/537.36"
HOME = "203.0.113.50"
CRAWLER = "198.51.100.9"
CLAIM = b"Mozilla/5.0 (compatible; RadioBot/1.0; +https://radio.example/bot)"
DAY_S = 86_400.0

POLICY = """version: 1
site: {{name: Ada, contact: "mailto:ada@radio.example"}}
default: allow
catalogue:
  RadioBot:
    operator: Radio Ada
    category: ai-search
    purposes: [search, ai-use]
    verification: [{checks}]
  RadioAgent:
    operator: Radio Ada
    category: ai-agent
    purposes: [agent]
    match: none
    verification: [{{kind: web-bot-auth, sources: ["https://{host}{directory}"]}}]
verification: {{lists: shipped, dns: true, signatures: {{directories: ["https://{host}"]}}}}
rules:
  - name: impostors
    when: {{identity: spoofed}}
    then: block
  - name: proven agents stay out of the audio
    when: {{agent: RadioAgent, identity: verified, path: /audio/**}}
    then: block
  - name: names without proof
    when: {{category: "ai-*", identity: unverified, path: /api/**}}
    then: block
    ask: signature
"""


class Clock:
    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


async def says_here(scope: Any, receive: Any, send: Any) -> None:
    """An application."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here"})


class Site:
    """A guard with a witness that reaches nothing but the hosts of this test."""

    def __init__(self, guard: Guard, witness: Witness, clock: Clock, publisher: Publisher, names: NameServer) -> None:
        self.guard, self.witness, self.clock = guard, witness, clock
        self.middleware = GuardMiddleware(says_here, guard, join_robots=False)
        self.publisher, self.names = publisher, names

    def says(self, address: str, user_agent: bytes = CLAIM, path: bytes = b"/track/1") -> tuple[str, str, str]:
        """What is known and done at this moment: identity, action, agent."""
        decision = self.guard.decide(Request("GET", path, user_agent, address))
        return decision.identity.value, decision.action, decision.agent.name

    async def until_named(self, address: str) -> None:
        """Wait until the DNS has said what it says, or that it does not."""
        await self.witness.quiet()
        assert self.witness.known(address).dns not in ("unasked", "pending")


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher() as publisher:
        yield publisher


@pytest.fixture
def names() -> Iterator[NameServer]:
    with NameServer() as names:
        yield names


LISTED = '{{kind: ip-json, sources: ["{url}"]}}'
NAMED = "{{kind: rdns, sources: [.crawl.radio.example]}}"


@asynccontextmanager
async def site(
    publisher: Publisher, names: NameServer, tmp_path: Path, checks: str = LISTED, policy: str = POLICY, **more: Any
) -> AsyncIterator[Site]:
    clock = Clock()
    text = policy.format(checks=checks.format(url=f"https://{HOST}/bots.json"), host=HOST, directory=WELL_KNOWN)
    read = read_policy(text)
    robot = catalogue_of(read).by_name["radiobot"]
    words = Words(
        replace(read.verifying, nameservers=(names.address,)),
        tuple((source, "ip-json") for check in robot.verification for source in check.sources if check.kind != "rdns"),
        tmp_path / "lists",
        suffixes=frozenset(suffixes_of(robot)),
    )
    witness = Witness(words, reach=publisher.reach(), clock=clock)
    guard = Guard(read, clock=clock, **more)
    guard.take(witness)
    await guard.open()
    try:
        yield Site(guard, witness, clock, publisher, names)
    finally:
        await guard.close()


# -- published networks ----------------------------------------------------------------------------------------


async def test_a_name_is_true_inside_its_published_network_and_a_lie_outside(
    publisher: Publisher, names: NameServer, tmp_path: Path
) -> None:
    publisher.answers["/bots.json"] = listed("198.51.100.0/24")
    async with site(publisher, names, tmp_path) as one:
        assert one.says(CRAWLER) == ("unverified", "allow", "RadioBot")  # first sight: nothing has been fetched
        await one.witness.resolver.refresh()
        assert one.says(CRAWLER) == ("verified", "allow", "RadioBot")
        assert one.says(HOME) == ("spoofed", "block", "RadioBot")
        assert one.says(f"::ffff:{CRAWLER}") == ("verified", "allow", "RadioBot")
        assert one.says(HOME, CHROME) == ("unknown", "allow", "browser")


async def test_a_list_that_is_too_old_accuses_nobody(publisher: Publisher, names: NameServer, tmp_path: Path) -> None:
    publisher.answers["/bots.json"] = listed("198.51.100.0/24")
    async with site(publisher, names, tmp_path) as one:
        await one.witness.resolver.refresh()
        assert one.says(HOME)[0] == "spoofed"
        publisher.answers["/bots.json"] = UNAVAILABLE
        one.clock.now_s += 31 * DAY_S
        await one.witness.resolver.refresh()
        assert one.says(HOME) == ("unverified", "allow", "RadioBot")
        assert one.says(CRAWLER)[0] == "unverified"


@pytest.mark.parametrize(
    "hostile",
    [
        bomb(),
        redirecting("https://169.254.169.254/"),
        listed("10.0.0.0/8"),
        listed("0.0.0.0/0"),
        EMPTY,
        UNAVAILABLE,
        Answer(b"[" * 100_000),
        listed(*(f"198.51.{number}.0/24" for number in range(100, 200))),
    ],
    ids=["bomb", "redirect", "private", "everybody", "empty", "away", "nested", "grown"],
)
async def test_whatever_a_publisher_turns_into_the_last_good_list_stays(
    hostile: Answer, publisher: Publisher, names: NameServer, tmp_path: Path
) -> None:
    publisher.answers["/bots.json"] = listed("198.51.100.0/24")
    async with site(publisher, names, tmp_path) as one:
        await one.witness.resolver.refresh()
        publisher.answers["/bots.json"] = hostile
        one.clock.now_s += DAY_S
        await one.witness.resolver.refresh()
        assert one.says(CRAWLER)[0] == "verified"
        assert one.says(HOME)[0] == "spoofed"
        assert one.says("8.8.8.8")[0] == "spoofed"


@pytest.mark.parametrize("slow", [HANGING, dripping()], ids=["hangs", "drips"])
async def test_no_request_waits_for_a_publisher_that_is_slow(
    slow: Answer, publisher: Publisher, names: NameServer, tmp_path: Path
) -> None:
    import asyncio

    publisher.answers["/bots.json"] = slow
    async with site(publisher, names, tmp_path) as one:
        fetching = asyncio.ensure_future(one.witness.resolver.refresh())
        while not publisher.asked("/bots.json"):
            await asyncio.sleep(0.01)
        assert one.says(CRAWLER) == ("unverified", "allow", "RadioBot")
        assert not fetching.done()
        fetching.cancel()


async def test_a_name_that_changes_its_address_between_two_looks_is_looked_up_once(
    publisher: Publisher, names: NameServer, tmp_path: Path
) -> None:
    looks: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        looks.append(host)
        return ["93.184.216.34", "10.0.0.5"] if len(looks) == 1 else ["10.0.0.5"]

    publisher.answers["/bots.json"] = listed("198.51.100.0/24")
    read = read_policy(
        POLICY.format(checks=LISTED.format(url=f"https://{HOST}/bots.json"), host=HOST, directory=WELL_KNOWN)
    )
    sources = ((f"https://{HOST}/bots.json", "ip-json"),)
    reach = publisher.reach(addresses=rebinding, allowed=())
    witness = Witness(Words(Verifying(lists="fetch"), sources, tmp_path), reach=reach)
    guard = Guard(read)
    guard.take(witness)
    await guard.open()
    await witness.resolver.refresh()
    assert guard.decide(Request("GET", b"/", CLAIM, CRAWLER)).identity.value == "unverified"
    await guard.close()
    assert looks == [HOST] and publisher.connections == 0


async def test_what_one_process_fetched_is_there_for_the_next(
    publisher: Publisher, names: NameServer, tmp_path: Path
) -> None:
    publisher.answers["/bots.json"] = listed("198.51.100.0/24")
    async with site(publisher, names, tmp_path) as one:
        await one.witness.resolver.refresh()
    publisher.answers["/bots.json"] = UNAVAILABLE
    async with site(publisher, names, tmp_path) as other:
        assert other.says(CRAWLER)[0] == "verified"
        assert other.says(HOME)[0] == "spoofed"


# -- host names ------------------------------------------------------------------------------------------------


async def test_a_host_name_that_leads_back_proves_the_name(
    publisher: Publisher, names: NameServer, tmp_path: Path
) -> None:
    names.ptr[CRAWLER] = ["c9.CRAWL.radio.example."]
    names.a["c9.crawl.radio.example"] = [CRAWLER]
    names.ptr[HOME] = ["c9.crawl.radio.example.evil.example."]
    async with site(publisher, names, tmp_path, NAMED) as one:
        assert one.says(CRAWLER) == ("unverified", "allow", "RadioBot")  # asked beside the request
        assert one.says(HOME)[0] == "unverified"
        await one.until_named(CRAWLER)
        await one.until_named(HOME)
        assert one.says(CRAWLER) == ("verified", "allow", "RadioBot")
        assert one.says(HOME) == ("spoofed", "block", "RadioBot")


async def test_a_name_server_that_is_silent_makes_nobody_wait_and_nobody_a_liar(
    publisher: Publisher, names: NameServer, tmp_path: Path
) -> None:
    names.silent.add("*")
    async with site(publisher, names, tmp_path, NAMED) as one:
        assert one.says(CRAWLER) == ("unverified", "allow", "RadioBot")
        await one.until_named(CRAWLER)
        assert one.says(CRAWLER) == ("unverified", "allow", "RadioBot")


async def test_a_host_name_speaks_for_who_is_outside_the_list(
    publisher: Publisher, names: NameServer, tmp_path: Path
) -> None:
    publisher.answers["/bots.json"] = listed("192.0.2.0/24")
    names.ptr[CRAWLER] = ["c9.crawl.radio.example."]
    names.a["c9.crawl.radio.example"] = [CRAWLER]
    async with site(publisher, names, tmp_path, f"{LISTED}, {NAMED}") as one:
        await one.witness.resolver.refresh()
        assert one.says("192.0.2.7")[0] == "verified"
        assert ("7.2.0.192.in-addr.arpa", "PTR") not in names.queries  # the list was enough
        assert one.says(CRAWLER)[0] == "unverified"
        assert one.says(HOME)[0] == "unverified"
        await one.until_named(CRAWLER)
        await one.until_named(HOME)
        assert one.says(CRAWLER)[0] == "verified"
        assert one.says(HOME)[0] == "spoofed"


async def test_where_no_names_are_looked_up_the_list_alone_decides_and_is_not_waited_for(
    publisher: Publisher, names: NameServer, tmp_path: Path
) -> None:
    publisher.answers["/bots.json"] = listed("198.51.100.0/24")
    policy = POLICY.replace("dns: true", "dns: false")
    async with site(publisher, names, tmp_path, f"{LISTED}, {NAMED}", policy) as one:
        await one.witness.resolver.refresh()
        assert one.says(CRAWLER)[0] == "verified"
        assert one.says(HOME) == ("spoofed", "block", "RadioBot")
    async with site(publisher, names, tmp_path, NAMED, policy) as one:
        assert one.says(HOME)[0] == "unverified"
        said = one.guard.decide(Request("GET", b"/track/1", CLAIM, HOME)).known_by
        assert said == "the policy does not have this name checked"
    assert names.queries == []


async def test_listeners_are_never_looked_up(publisher: Publisher, names: NameServer, tmp_path: Path) -> None:
    async with site(publisher, names, tmp_path, NAMED) as one:
        for user_agent in (CHROME, b"AntennaPod/3.9.0", b"mpv 0.40.0", b"", b"Something/1.0"):
            assert one.says(HOME, user_agent)[1] == "allow"
        assert one.witness.known(HOME).dns == "unasked"
    assert names.queries == []


# -- signatures ------------------------------------------------------------------------------------------------


def jwks(*agents: Agent) -> Answer:
    body = json.dumps({"keys": [agent.jwk() for agent in agents]}).encode()
    return Answer(body, media_type="application/http-message-signatures-directory+json")


ADA = Agent.ed25519()


def signed_fields(agent: Agent = ADA, nonce: str = "bm9uY2U", **more: Any) -> tuple[tuple[bytes, bytes], ...]:
    """The fields of a signed request to radio.example from somebody who looks like a browser."""
    signed = agent.signed(
        authority=more.pop("authority", "radio.example"), agent=f'sig1="https://{HOST}"', nonce=nonce, **more
    )
    return signed.headers


async def through_middleware(
    one: Site,
    fields: tuple[tuple[bytes, bytes], ...],
    *,
    user_agent: bytes = CHROME,
    path: str = "/track/7",
    **scope: Any,
) -> tuple[int, dict[bytes, bytes]]:
    """Status and headers of the answer."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asked = {
        "type": "http",
        "method": "GET",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"user-agent", user_agent), *fields],
        "client": (HOME, 4711),
        **scope,
    }
    await one.middleware(asked, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"])


def kept(records: list[Record]) -> tuple[str, str, str]:
    decision = records[-1].decision
    return decision.agent.name, decision.identity.value, decision.known_by


async def test_an_agent_that_looks_like_a_browser_is_known_by_its_signature(
    publisher: Publisher, names: NameServer, tmp_path: Path
) -> None:
    publisher.answers[WELL_KNOWN] = jwks(ADA)
    records: list[Record] = []
    async with site(publisher, names, tmp_path, record=records.append) as one:
        await one.witness.quiet()
        status, _ = await through_middleware(one, signed_fields())
        assert (status, *kept(records)[:2]) == (200, "RadioAgent", "verified")
        status, _ = await through_middleware(one, signed_fields(nonce="b3RoZXI"), path="/audio/7")
        assert (status, records[-1].decision.rule) == (403, "proven agents stay out of the audio")
        status, _ = await through_middleware(one, ((b"host", b"radio.example"),), path="/audio/7")
        assert (status, *kept(records)[:2]) == (200, "browser", "unknown")


async def test_the_quick_road_for_requests_that_pass_is_not_for_signed_ones(
    publisher: Publisher, names: NameServer, tmp_path: Path
) -> None:
    publisher.answers[WELL_KNOWN] = jwks(ADA)
    async with site(publisher, names, tmp_path) as one:
        await one.witness.quiet()
        fields = ((b"host", b"radio.example"),)
        for passed in (0, 1):  # the second is known to pass
            assert (await through_middleware(one, fields, path="/audio/7"))[0] == 200
            assert one.guard.passed == passed
        assert (await through_middleware(one, signed_fields(), path="/audio/7"))[0] == 403


async def test_who_passed_under_a_name_opens_no_quick_road_for_who_borrows_it(
    publisher: Publisher, names: NameServer, tmp_path: Path
) -> None:
    publisher.answers["/bots.json"] = listed("198.51.100.0/24")
    async with site(publisher, names, tmp_path) as one:
        await one.witness.resolver.refresh()
        fields = ((b"host", b"radio.example"),)
        for address, status in ((CRAWLER, 200), (CRAWLER, 200), (HOME, 403), (CRAWLER, 200)):
            answer = await through_middleware(one, fields, user_agent=CLAIM, client=(address, 4711))
            assert answer[0] == status


@pytest.mark.parametrize("wrong", ["replayed", "another host", "plain http", "another key", "expired"])
async def test_a_signature_that_proves_nothing_is_none(
    wrong: str, publisher: Publisher, names: NameServer, tmp_path: Path
) -> None:
    publisher.answers[WELL_KNOWN] = jwks(ADA)
    records: list[Record] = []
    async with site(publisher, names, tmp_path, record=records.append) as one:
        await one.witness.quiet()
        fields, scope = signed_fields(), {}
        if wrong == "replayed":
            await through_middleware(one, fields)
            assert kept(records)[1] == "verified"
        elif wrong == "another host":
            fields = signed_fields(signed_for="other.example")
        elif wrong == "plain http":
            scope = {"scheme": "http"}
        elif wrong == "another key":
            fields = signed_fields(Agent.ed25519(2))
        else:
            one.clock.now_s += 3600
        assert (await through_middleware(one, fields, **scope))[0] == 200
        agent, identity, why = kept(records)
        assert (agent, identity) == ("browser", "unknown")
        assert "its signature does not count" in why


async def test_keys_that_are_not_there_yet_make_nobody_wait(
    publisher: Publisher, names: NameServer, tmp_path: Path
) -> None:
    publisher.answers[WELL_KNOWN] = HANGING
    records: list[Record] = []
    async with site(publisher, names, tmp_path, record=records.append) as one:
        assert (await through_middleware(one, signed_fields()))[0] == 200
        assert kept(records)[:2] == ("browser", "unknown")
        assert "its keys are being asked for" in kept(records)[2]


@pytest.mark.parametrize(
    "software", [b"curl/8.14.1", b"AntennaPod/3.9.0", b"HeadlessChrome/150.0", b"Something/1.0", b""]
)
async def test_who_signs_is_known_whatever_program_it_comes_with(
    software: bytes, publisher: Publisher, names: NameServer, tmp_path: Path
) -> None:
    publisher.answers[WELL_KNOWN] = jwks(ADA)
    records: list[Record] = []
    async with site(publisher, names, tmp_path, record=records.append) as one:
        await one.witness.quiet()
        await through_middleware(one, signed_fields(), user_agent=software)
        assert kept(records)[:2] == ("RadioAgent", "verified")


async def test_somebody_elses_name_is_not_proven_by_a_key_of_ones_own(
    publisher: Publisher, names: NameServer, tmp_path: Path
) -> None:
    publisher.answers[WELL_KNOWN] = jwks(ADA)
    records: list[Record] = []
    async with site(publisher, names, tmp_path, record=records.append) as one:
        await one.witness.quiet()
        await through_middleware(one, signed_fields(), user_agent=b"GPTBot/1.3")
        assert kept(records)[:2] == ("GPTBot", "unverified")
        assert "keys of Radio Ada, and calls itself GPTBot" in kept(records)[2]


async def test_a_refusal_asks_for_a_signature_where_the_rule_says_so(
    publisher: Publisher, names: NameServer, tmp_path: Path
) -> None:
    async with site(publisher, names, tmp_path) as one:
        status, headers = await through_middleware(one, (), user_agent=b"GPTBot/1.3", path="/api/1")
        assert status == 403
        assert headers[b"accept-signature"].startswith(b'sig1=("@authority" "signature-agent";key="sig1")')
        status, headers = await through_middleware(one, signed_fields(), path="/audio/7")
        assert b"accept-signature" not in headers
    policy = POLICY.replace('directories: ["https://{host}"]', 'directories: ["https://{host}"], require_path: true')
    async with site(publisher, names, tmp_path, policy=policy) as one:
        _, headers = await through_middleware(one, (), user_agent=b"GPTBot/1.3", path="/api/1")
        assert b'"@path"' in headers[b"accept-signature"]


async def test_a_licence_for_a_key_is_for_who_holds_it(publisher: Publisher, names: NameServer, tmp_path: Path) -> None:
    publisher.answers[WELL_KNOWN] = jwks(ADA)
    register = SqliteRegister(str(tmp_path / "rights.sqlite"))
    reserved = {"": {"train-ai": "disallow", "ai-use": "disallow", "agent": "disallow"}}
    from guard.rights import read_choice

    choice = read_choice(
        {"preferences": reserved[""], "licences": [{"to": f"key:{ADA.thumbprint}", "purposes": ["agent"]}]}
    )
    register.put(Change(NOW_S - 10, Work("track", "7"), choice, "ada", "a contract"))
    policy = POLICY + (
        "rights: {{source: " + str(tmp_path / "rights.sqlite") + ', works: [{{path: "/track/{{track}}"}}]}}\n'
    )
    async with site(publisher, names, tmp_path, policy=policy) as one:
        await one.witness.quiet()
        assert (await through_middleware(one, signed_fields()))[0] == 200
        stranger = Agent.ed25519(3)
        publisher.answers[WELL_KNOWN] = jwks(ADA, stranger)
        one.clock.now_s += 7200
        created = int(one.clock.now_s)
        others = signed_fields(stranger, created=created, expires=created + 60)
        await through_middleware(one, others)  # the keys are an hour old: they are fetched again
        await one.witness.quiet()
        assert (await through_middleware(one, others))[0] == 403
    assert isinstance(choice, Choice)


async def test_the_sidecar_hears_signatures_behind_a_hop_that_speaks_tls(
    publisher: Publisher, names: NameServer, tmp_path: Path
) -> None:
    publisher.answers[WELL_KNOWN] = jwks(ADA)
    policy = POLICY.replace('contact: "mailto:ada@radio.example"', "trusted_proxies: [127.0.0.1/32]")
    records: list[Record] = []
    async with (
        site(publisher, names, tmp_path, policy=policy, record=records.append) as one,
        Platform().running() as platform,
        side(platform.port, guard=one.guard) as sidecar,
    ):
        await one.witness.quiet()
        for proto, path, expected in (("https", "/audio/1", 403), ("http", "/audio/2", 200)):
            fields = signed_fields(nonce=f"bm9uY2U{proto[-1]}", target=path.encode())
            lines = [f"{name.decode()}: {value.decode()}" for name, value in fields if name != b"host"]
            lines += [f"X-Forwarded-Proto: {proto}", f"X-Forwarded-For: {HOME}", f"User-Agent: {CHROME.decode()}"]
            answer = await sidecar.ask(get(path, *lines, host="radio.example"))
            assert (answer.status, records[-1].client) == (expected, HOME)
        assert records[0].decision.agent.name == "RadioAgent"


async def test_what_a_robot_says_it_is_for_counts_whoever_signs(
    publisher: Publisher, names: NameServer, tmp_path: Path
) -> None:
    publisher.answers[WELL_KNOWN] = jwks(ADA)
    policy = POLICY.replace("https://{host}{directory}", "https://other.example.org")
    policy += '  - {{name: no AI, when: {{category: "ai-*"}}, then: block}}\n'
    records: list[Record] = []
    async with site(publisher, names, tmp_path, policy=policy, record=records.append) as one:
        await one.witness.quiet()
        status, _ = await through_middleware(one, signed_fields(), user_agent=b"AcmeTranscriberBot/2 whisper")
        assert (status, *kept(records)[:2]) == (403, HOST, "verified")
        assert records[-1].decision.agent.category == "ai-audio"


async def test_an_agent_whose_keys_are_named_by_their_origin_is_known(
    publisher: Publisher, names: NameServer, tmp_path: Path
) -> None:
    publisher.answers[WELL_KNOWN] = jwks(ADA)
    records: list[Record] = []
    policy = POLICY.replace("https://{host}{directory}", "https://{host}")
    async with site(publisher, names, tmp_path, policy=policy, record=records.append) as one:
        await one.witness.quiet()
        await through_middleware(one, signed_fields())
        assert kept(records)[:2] == ("RadioAgent", "verified")


async def test_who_comes_from_nowhere_opens_nothing_for_who_comes_from_elsewhere(
    publisher: Publisher, names: NameServer, tmp_path: Path
) -> None:
    publisher.answers["/bots.json"] = listed("198.51.100.0/24")
    async with site(publisher, names, tmp_path) as one:
        await one.witness.resolver.refresh()
        for _ in range(2):
            assert one.says("fe80::1%eth0")[:2] == ("unverified", "allow")
            assert one.says(HOME)[:2] == ("spoofed", "block")


# -- with the policy -------------------------------------------------------------------------------------------


async def test_a_witness_goes_on_when_a_policy_says_the_same_and_ends_when_it_does_not() -> None:
    text = "{version: 1, site: {name: x}, default: allow, verification: {lists: %s}}"
    first = give_witness(Guard(read_policy(text % "shipped")))
    await first.open()
    same = give_witness(succeed(first, read_policy((text % "shipped").replace("allow", "block"))), first)
    assert same.witness is first.witness is not None and same.former is None
    other = give_witness(succeed(same, read_policy(text % "off")), same)
    assert other.witness is None and other.former is same.witness
    await other.open()
    assert other.former is None
    await other.close()


async def test_a_guard_that_is_put_in_force_by_hand_checks_names_like_the_one_before() -> None:
    text = "{version: 1, site: {name: x}, default: %s, verification: {lists: shipped}}"
    middleware = GuardMiddleware(says_here, Guard(read_policy(text % "allow")), join_robots=False)
    before = middleware.guard.witness
    middleware.guard = Guard(read_policy(text % "block"))
    assert middleware.guard.witness is before is not None
    await middleware.guard.close()


def test_of_several_policies_any_may_say_how_names_are_checked_and_two_must_agree() -> None:
    plain = "{version: 1, site: {name: a}, default: allow}"
    other = "{version: 1, site: {name: b, hosts: b.example}, default: allow, verification: {lists: %s}}"
    whole = together([read_policy(plain, "a.yaml"), read_policy(other % "shipped", "b.yaml")])
    assert {one.verifying.lists for one in (whole, *whole.scopes)} == {"shipped"}
    assert words_of(whole) is not None
    with pytest.raises(PolicyError, match=r"b\.yaml: 'verification' is for all hosts, and a\.yaml says another"):
        first = plain.replace("default", "verification: {lists: fetch}, default")
        together([read_policy(first, "a.yaml"), read_policy(other % "shipped", "b.yaml")])


def test_a_policy_that_wants_nothing_known_has_no_witness() -> None:
    assert words_of(read_policy("{version: 1, site: {name: x}, default: allow}")) is None
    assert give_witness(Guard(read_policy("{version: 1, site: {name: x}, default: allow}"))).witness is None


async def test_who_runs_at_home_is_no_impostor(publisher: Publisher, names: NameServer, tmp_path: Path) -> None:
    async with site(publisher, names, tmp_path) as one:
        said = one.says(HOME, b"Claude-User (claude-code/2.1.86; +https://support.anthropic.com/)")
        assert said == ("unverified", "allow", "Claude-Code")

"""The client's address comes from the socket, and from one header only where a named hop wrote it."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from guard import Guard, GuardMiddleware, Request
from guard.identify import MAX_HOPS, NO_ADDRESS, TrustedHops, client_of, identify, read_address
from guard.load import read_policy
from guard.middleware import Message, Scope

from .conftest import SHARED

ABSENT = "../shared is not here: the project's own cases cover the same rules"
CASES = SHARED / "security" / "bypass_cases.json"
OURS = TrustedHops(["127.0.0.1/32", "10.0.0.0/8", "::1/128"])
FORWARDED = TrustedHops(["127.0.0.1/32", "10.0.0.0/8", "2001:db8:ffff::/48"], "Forwarded")
NAT64 = ip_network("64:ff9b::/96")
CLOUD = TrustedHops(["127.0.0.1/32"], "CF-Connecting-IP")


def found(peer: str | None, *lines: str, trusted: TrustedHops = OURS) -> str:
    return identify(peer, tuple(line.encode() for line in lines), trusted).address


# -- who is asked --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "lines", "address"),
    [
        ("203.0.113.9", (), "203.0.113.9"),
        ("203.0.113.9", ("1.2.3.4",), "203.0.113.9"),
        ("127.0.0.1", ("203.0.113.9",), "203.0.113.9"),
        ("::ffff:127.0.0.1", ("203.0.113.9",), "203.0.113.9"),
        ("::1", ("203.0.113.9",), "203.0.113.9"),
        ("127.0.0.1", ("1.2.3.4, 203.0.113.9",), "203.0.113.9"),
        ("127.0.0.1", ("1.2.3.4, 203.0.113.9, 10.1.1.1",), "203.0.113.9"),
        ("127.0.0.1", ("1.2.3.4", "203.0.113.9"), "203.0.113.9"),
        ("127.0.0.1", ("203.0.113.9", "10.0.0.5"), "203.0.113.9"),
        ("127.0.0.1", (" , ,203.0.113.9, ",), "203.0.113.9"),
        ("127.0.0.1", ("",), "127.0.0.1"),
        ("127.0.0.1", ("10.0.0.7",), "10.0.0.7"),
        ("127.0.0.1", ("203.0.113.9:51234",), "203.0.113.9"),
        ("127.0.0.1", ("[2001:db8::1]:443",), "2001:db8::1"),
        ("127.0.0.1", ("2001:DB8:0::1",), "2001:db8::1"),
        ("127.0.0.1", ("::ffff:cb00:7109",), "203.0.113.9"),
        ("127.0.0.1", ("64:ff9b::cb00:7109",), "64:ff9b::cb00:7109"),
    ],
)
def test_the_client_is_the_first_address_from_the_right_that_is_not_ours(
    peer: str, lines: tuple[str, ...], address: str
) -> None:
    assert found(peer, *lines) == address


@pytest.mark.parametrize(
    "token",
    [
        "unknown",
        "_hidden",
        "fe80::1%eth0",
        "3405803785",
        "203.113",
        "0xcb.0.113.9",
        "203.0.113.09",
        "２03.0.113.9",
        "203.0.113.9:",
        "203.0.113.9:99999999",
        "203.0.113.9:x",
        "[203.0.113.9]",
        "[2001:db8::1",
        "[2001:db8::1]x",
        "2001:db8::1]:443",
        "203.0.113.9 1.2.3.4",
        '"203.0.113.9"',
        "localhost",
    ],
)
def test_what_is_not_an_address_ends_the_walk_at_the_hop_that_vouched(token: str) -> None:
    assert found("127.0.0.1", f"1.2.3.4, {token}") == "127.0.0.1"
    assert found("127.0.0.1", f"1.2.3.4, {token}, 10.0.0.9") == "10.0.0.9"


def test_who_trusts_nobody_reads_no_header_not_even_from_loopback() -> None:
    assert found("127.0.0.1", "1.2.3.4", trusted=TrustedHops()) == "127.0.0.1"


def test_a_chain_longer_than_any_real_one_is_not_believed() -> None:
    assert found("127.0.0.1", ", ".join(["10.0.0.1"] * MAX_HOPS)) == "10.0.0.1"
    assert found("127.0.0.1", ", ".join(["10.0.0.1"] * (MAX_HOPS + 1))) == "127.0.0.1"
    assert found("127.0.0.1", "203.0.113.9, " + ", ".join(["10.0.0.1"] * MAX_HOPS)) == "127.0.0.1"


def test_hops_can_be_counted_instead_of_named() -> None:
    one, two = (TrustedHops(["127.0.0.1/32"], hops=hops) for hops in (1, 2))
    assert found("127.0.0.1", "1.2.3.4, 5.6.7.8, 203.0.113.9", trusted=one) == "203.0.113.9"
    assert found("127.0.0.1", "1.2.3.4, 203.0.113.9, 10.0.0.2", trusted=two) == "203.0.113.9"
    assert found("127.0.0.1", "203.0.113.9", trusted=two) == "127.0.0.1"
    assert found("127.0.0.1", "unknown, 10.0.0.2", trusted=two) == "127.0.0.1"
    assert found("198.51.100.3", "203.0.113.9", trusted=one) == "198.51.100.3"


def test_a_header_of_one_address_holds_one_or_is_not_believed() -> None:
    assert found("127.0.0.1", "203.0.113.9", trusted=CLOUD) == "203.0.113.9"
    assert found("127.0.0.1", "1.2.3.4", "203.0.113.9", trusted=CLOUD) == "127.0.0.1"
    assert found("127.0.0.1", "1.2.3.4, 203.0.113.9", trusted=CLOUD) == "127.0.0.1"
    assert found("198.51.100.3", "1.2.3.4", trusted=CLOUD) == "198.51.100.3"


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        (("for=203.0.113.9",), "203.0.113.9"),
        (('For="203.0.113.9:80";proto=https;by=10.0.0.1',), "203.0.113.9"),
        (('for="[2001:db8::1]:4711"; proto=https',), "2001:db8::1"),
        (("for=1.2.3.4, for=203.0.113.9",), "203.0.113.9"),
        (("for=1.2.3.4", "for=203.0.113.9, for=10.0.0.2"), "203.0.113.9"),
        (('for=203.0.113.9;host="a,b;for=1.2.3.4"',), "203.0.113.9"),
        (('for=203.0.113.9;host="a\\", for=1.2.3.4;x=\\""',), "203.0.113.9"),
        (('for=1.2.3.4;x=", for=203.0.113.9',), "203.0.113.9"),
        (('for="1.2.3.4, for=203.0.113.9',), "203.0.113.9"),
        (("for=unknown",), "127.0.0.1"),
        (("for=_gazonk",), "127.0.0.1"),
        (("for=",), "127.0.0.1"),
        (('for=""',), "127.0.0.1"),
        (('for="',), "127.0.0.1"),
        (("for=203.0.113.9;for=1.2.3.4",), "127.0.0.1"),
        (("for=203.0.113.9, proto=https",), "127.0.0.1"),
        (("for=203.0.113.9, , ",), "203.0.113.9"),
    ],
)
def test_forwarded_is_read_by_its_standard(lines: tuple[str, ...], address: str) -> None:
    assert found("127.0.0.1", *lines, trusted=FORWARDED) == address


# -- what limits count on ------------------------------------------------------------------------------------


def test_one_subscriber_counts_once() -> None:
    assert client_of(ip_address("2001:db8:1:2::1")).key == client_of(ip_address("2001:db8:1:2:ffff::9")).key
    assert client_of(ip_address("2001:db8:1:2::1")).key != client_of(ip_address("2001:db8:1:3::1")).key
    assert client_of(ip_address("2001:db8:1:2::1")).prefix == client_of(ip_address("2001:db8:1:9::1")).prefix
    assert client_of(ip_address("2001:db8:1:2::1")).prefix != client_of(ip_address("2001:db8:2:2::1")).prefix
    assert client_of(ip_address("203.0.113.9")).key != client_of(ip_address("203.0.113.10")).key
    assert client_of(ip_address("203.0.113.9")).prefix == client_of(ip_address("203.0.113.10")).prefix


def test_those_behind_one_translator_are_told_apart() -> None:
    assert client_of(ip_address("64:ff9b::cb00:7109")).key != client_of(ip_address("64:ff9b::cb00:710a")).key


@pytest.mark.parametrize("peer", [None, "", "unix:/run/x", "testclient", "127.0.0.1%lo"])
def test_whoever_has_no_address_shares_one_budget(peer: str | None) -> None:
    assert identify(peer, (b"203.0.113.9",), OURS) == NO_ADDRESS


def test_a_unix_socket_is_a_hop_only_when_the_operator_says_so() -> None:
    unix = TrustedHops(["10.0.0.0/8"], trust_unix=True)
    assert found(None, "203.0.113.9", trusted=unix) == "203.0.113.9"
    assert found(None, "1.2.3.4, 203.0.113.9, 10.0.0.1", trusted=unix) == "203.0.113.9"
    assert found(None, "unknown", trusted=unix) == ""
    assert found(None, trusted=unix) == ""
    assert found("198.51.100.3", "203.0.113.9", trusted=unix) == "198.51.100.3"


# -- promises for every header -------------------------------------------------------------------------------

V4 = st.ip_addresses(v=4).map(str)
ADDRESS = st.ip_addresses().map(str)
TOKEN = st.one_of(ADDRESS, V4, st.sampled_from(["10.0.0.1", "10.9.9.9", "127.0.0.1", "unknown", "", "x:1"]))
STRANGER = st.ip_addresses().filter(lambda address: read_address(str(address)) not in OURS).map(str)
NOISE = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=60)


@given(st.lists(TOKEN, max_size=20))
def test_the_address_is_the_peer_or_a_token_with_only_our_hops_on_its_right(tokens: list[str]) -> None:
    address = found("127.0.0.1", ", ".join(tokens))
    named = [str(read_address(token) or token) for token in tokens]
    assert address == "127.0.0.1" or any(
        token == address
        and all((other := read_address(right)) and other in OURS for right in tokens[at + 1 :] if right)
        for at, token in enumerate(named)
    )


@given(STRANGER, NOISE)
def test_text_added_on_the_left_changes_nothing(address: str, noise: str) -> None:
    alone = identify("127.0.0.1", (address.encode(),), OURS)
    assert identify("127.0.0.1", (f"{noise}, {address}".encode("latin-1"),), OURS) == alone
    assert identify("127.0.0.1", (noise.encode("latin-1"), address.encode()), OURS) == alone


@given(STRANGER, NOISE, st.sampled_from(["", ';x="a,b"', ';host="q\\""']))
def test_text_added_on_the_left_of_forwarded_changes_nothing(address: str, noise: str, more: str) -> None:
    element = f'for="{f"[{address}]" if ":" in address else address}"{more}'
    expected = identify("127.0.0.1", (element.encode(),), FORWARDED)
    assert identify("127.0.0.1", (f"{noise}, {element}".encode("latin-1"),), FORWARDED) == expected
    assert identify("127.0.0.1", (noise.encode("latin-1"), element.encode()), FORWARDED) == expected


@given(st.ip_addresses(v=4))
def test_every_way_to_write_an_ipv4_address_is_one_client(address: IPv4Address) -> None:
    packed = address.packed.hex()
    ways = {str(address), f"::ffff:{address}", f"::FFFF:{packed[:4]}:{packed[4:]}", f"0:0:0:0:0:ffff:{address}"}
    assert {identify(way, (), OURS) for way in ways} == {client_of(address)}


@given(st.ip_addresses(v=6))
def test_every_way_to_write_an_ipv6_address_is_one_client(address: IPv6Address) -> None:
    ways = {str(address), address.exploded, address.exploded.upper()}
    assert len({identify(way, (), OURS) for way in ways}) == 1


@given(st.ip_addresses(v=6), st.ip_addresses(v=6))
def test_two_networks_never_share_a_budget(one: IPv6Address, other: IPv6Address) -> None:
    assume(not any(address.ipv4_mapped or address in NAT64 for address in (one, other)))
    same_net = int(one) >> 64 == int(other) >> 64
    keys = {identify(str(address), (), OURS).key for address in (one, other)}
    assert (len(keys) == 1) is same_net


@given(st.lists(st.binary(max_size=60), max_size=4), st.sampled_from([OURS, FORWARDED, CLOUD]))
def test_no_header_is_too_strange_for_an_answer(lines: list[bytes], trusted: TrustedHops) -> None:
    assert identify("127.0.0.1", tuple(lines), trusted).address


# -- at the edge ---------------------------------------------------------------------------------------------


def seen_by_middleware(peer: str | None, headers: list[tuple[str, str]], site: str, port: int = 4711) -> str:
    """The address that the whole guard acts on."""
    seen: list[str] = []
    policy = read_policy(f"{{version: 1, site: {{name: x, {site}}}, default: allow}}")
    guard = Guard(policy, record=lambda record: seen.append(record.client))

    async def app(scope: Scope, receive: object, send: object) -> None:
        pass

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        pass

    raw = [(name.encode(), value.encode("utf-8")) for name, value in headers]
    client = None if peer is None else (peer, port)
    scope = {"type": "http", "method": "GET", "path": "/x", "raw_path": b"/x", "headers": raw, "client": client}
    with pytest.raises(StopIteration):
        GuardMiddleware(app, guard)(scope, receive, send).send(None)
    return seen[0]


TRUSTING = "trusted_proxies: [127.0.0.1/32]"


@pytest.mark.parametrize("other", ["cf-connecting-ip", "true-client-ip", "x-real-ip", "forwarded", "x_forwarded_for"])
def test_only_the_configured_header_is_read(other: str) -> None:
    headers = [(other, "1.2.3.4"), ("x-forwarded-for", "203.0.113.9")]
    assert seen_by_middleware("127.0.0.1", headers, TRUSTING) == "203.0.113.9"


def test_the_operator_is_warned_once_when_the_server_rewrote_the_address(caplog: pytest.LogCaptureFixture) -> None:
    policy = read_policy("{version: 1, site: {name: x}, default: allow}")

    async def app(scope: Scope, receive: object, send: object) -> None:
        pass

    middleware = GuardMiddleware(app, Guard(policy))
    scope = {"type": "http", "method": "GET", "headers": []}
    for path, peer in (("/a", ("1.2.3.4", 4711)), ("/b", ("1.2.3.4", 0)), ("/c", ("1.2.3.5", 0))):
        with pytest.raises(StopIteration):
            middleware({**scope, "path": path, "client": peer}, None, None).send(None)  # type: ignore[arg-type]
    assert [record.message[:10] for record in caplog.records] == ["G-PROXYHDR"]


def test_an_unknown_address_does_not_skip_a_limit() -> None:
    guard = Guard(
        read_policy(
            "{version: 1, site: {name: x}, default: allow, limits: [{name: one, rate: 1/day}],"
            " rules: [{name: all, when: {path: /x}, then: throttle, limit: one}]}"
        )
    )
    request = Request("GET", b"/x", b"", None)
    client, decision = guard.consider(request)
    assert [guard.admit(request, client, decision).allowed for _ in range(2)] == [True, False]  # type: ignore[union-attr]


def test_the_client_address_cases_end_as_they_should() -> None:
    if not CASES.exists():
        pytest.skip(ABSENT)
    wrong = []
    cases = [case for case in json.loads(CASES.read_text())["cases"] if case["class"] == "client-ip"]
    for case in (case for case in cases if case["kind"] == "asgi"):
        config, expectation, peer = case["config"], case["expectation"], case["request"]["peer"]
        site = ", ".join(f"{key}: {json.dumps(value)}" for key, value in config.items())
        headers = [tuple(header) for header in case["request"]["headers"]]
        got = seen_by_middleware(peer, headers, site)
        verdict = expectation["verdict"]
        if verdict == "client_ip" and got != expectation["client_ip"]:
            wrong.append((case["id"], got))
        elif verdict == "config_required":
            trusting = seen_by_middleware(peer, headers, f"{site}, trust_unix: true")
            if (got, trusting) != ("", expectation["client_ip_if"]["trust_unix"]):
                wrong.append((case["id"], (got, trusting)))
        elif verdict.endswith("_bucket"):
            one, other = (identify(address, (), OURS) for address in (peer, expectation["with_peer"]))
            shared = one.prefix == other.prefix if verdict == "aggregate_bucket" else one.key == other.key
            if shared is (verdict == "different_bucket"):
                wrong.append((case["id"], (one, other)))
    assert wrong == []
    assert len(cases) > 40

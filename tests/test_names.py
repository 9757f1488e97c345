"""An address is confirmed by its name and that name's address together, in the background, within a budget."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

import pytest

from guard.names import CONFIRMED_S, DENIED_S, FAILED_S, Names, Outcome
from tests.conftest import SHARED
from tests.publisher import NameServer

pytestmark = pytest.mark.anyio

GOOGLE = (".googlebot.com",)
ADDRESS = "198.51.100.9"
HOST = "crawl-198-51-100-9.googlebot.com"


@pytest.fixture
def server() -> Iterator[NameServer]:
    with NameServer() as server:
        yield server


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def names(server: NameServer, **options: object) -> Names:
    return Names([server.address], **options)  # type: ignore[arg-type]


async def learnt(names: Names, address: str = ADDRESS) -> Outcome | None:
    async with asyncio.timeout(10):
        while (found := names.known(address)) is not None and found.state == "pending":
            await asyncio.sleep(0.005)
    return found


async def confirm(server: NameServer, address: str = ADDRESS, **options: object) -> Outcome:
    return await names(server, **options).confirm(address, GOOGLE)


async def test_a_name_that_leads_back_to_the_address_is_confirmed(server: NameServer) -> None:
    server.ptr[ADDRESS] = [f"{HOST}."]
    server.a[HOST] = [ADDRESS]
    assert await confirm(server) == Outcome("confirmed", HOST)


async def test_so_it_is_for_ipv6(server: NameServer) -> None:
    server.ptr["2001:db8::9"] = [f"{HOST}."]
    server.aaaa[HOST] = ["2001:db8::1", "2001:db8::9"]
    assert await confirm(server, "2001:db8:0:0::9") == Outcome("confirmed", HOST)


async def test_an_ipv4_address_in_disguise_is_asked_for_as_what_it_is(server: NameServer) -> None:
    server.ptr[ADDRESS] = [f"{HOST}."]
    server.a[HOST] = [ADDRESS]
    assert (await confirm(server, f"::ffff:{ADDRESS}")).state == "confirmed"


async def test_a_name_that_leads_elsewhere_is_denied(server: NameServer) -> None:
    server.ptr[ADDRESS] = ["crawl.googlebot.com."]
    server.a["crawl.googlebot.com"] = ["203.0.113.1"]
    assert (await confirm(server)).state == "denied"


@pytest.mark.parametrize(
    "host",
    [
        "crawl.googlebot.com.evil.example.",
        "evilgooglebot.com.",
        "googlebot.com.",
        "googlebot.com.evil.example.",
        "crawl.googlebot.com.br.",
        "crawl-googlebot.com.",
    ],
)
async def test_a_name_that_only_resembles_the_operators_is_denied_without_a_forward_lookup(
    server: NameServer, host: str
) -> None:
    server.ptr[ADDRESS] = [host]
    server.a[host.rstrip(".")] = [ADDRESS]
    assert (await confirm(server)).state == "denied"
    assert [kind for _, kind in server.queries] == ["PTR"]


async def test_case_and_a_dot_at_the_end_make_no_difference(server: NameServer) -> None:
    server.ptr[ADDRESS] = ["CRAWL.GoogleBot.COM."]
    server.a["crawl.googlebot.com"] = [ADDRESS]
    assert await confirm(server) == Outcome("confirmed", "crawl.googlebot.com")


async def test_an_address_without_a_name_is_denied(server: NameServer) -> None:
    assert (await confirm(server)).state == "denied"


async def test_a_name_without_an_address_of_the_same_family_is_denied(server: NameServer) -> None:
    server.ptr[ADDRESS] = ["crawl.googlebot.com."]
    server.aaaa["crawl.googlebot.com"] = ["2001:db8::1"]
    assert (await confirm(server)).state == "denied"
    assert ("crawl.googlebot.com", "AAAA") not in server.queries


async def test_of_fifty_names_four_are_followed(server: NameServer) -> None:
    server.ptr[ADDRESS] = [f"h{number}.googlebot.com." for number in range(50)]
    assert (await confirm(server)).state == "denied"
    assert len([kind for _, kind in server.queries if kind == "A"]) == 4


async def test_an_answer_that_nobody_needs_to_be_so_long_is_not_read(server: NameServer) -> None:
    for number_of_names in (200, 2000):
        server.ptr[ADDRESS] = [
            f"{HOST}.",
            *(f"h{number}.{'x' * 60}.evil.example." for number in range(number_of_names)),
        ]
        server.a[HOST] = [ADDRESS]
        assert (await confirm(server)).state == "denied"
    assert {kind for _, kind in server.queries} == {"PTR"}


async def test_foreign_names_beside_the_operators_are_not_followed(server: NameServer) -> None:
    server.ptr[ADDRESS] = [*(f"h{number}.evil.example." for number in range(20)), f"{HOST}."]
    server.a[HOST] = [ADDRESS]
    assert (await confirm(server)).state == "confirmed"
    assert [kind for _, kind in server.queries if kind != "PTR"] == ["A"]


async def test_a_name_with_a_dot_inside_a_label_is_no_name(server: NameServer) -> None:
    from dnslib import DNSLabel

    server.ptr[ADDRESS] = [DNSLabel([b"evil.googlebot", b"com"]), DNSLabel([b"a\x00b", b"googlebot", b"com"])]
    assert (await confirm(server)).state == "denied"
    assert [kind for _, kind in server.queries] == ["PTR"]


async def test_a_reverse_zone_that_was_handed_on_is_followed(server: NameServer) -> None:
    reverse = "9.100.51.198.in-addr.arpa"
    server.cname[reverse] = "9.0-15.100.51.198.in-addr.arpa"
    server.ptr[ADDRESS] = []
    server.a[HOST] = [ADDRESS]
    table = server._ptr_names
    server._ptr_names = lambda: {**table(), "9.0-15.100.51.198.in-addr.arpa": [f"{HOST}."]}  # type: ignore[method-assign]
    assert (await confirm(server)).state == "confirmed"


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "NOTIMP", "FORMERR"])
async def test_a_name_server_in_trouble_accuses_nobody(server: NameServer, rcode: str) -> None:
    server.rcodes["*"] = rcode
    assert (await confirm(server)).state == "failed"
    server.rcodes.clear()
    server.ptr[ADDRESS] = [f"{HOST}."]
    server.rcodes[HOST] = rcode
    assert (await confirm(server)).state == "failed"


async def test_silence_accuses_nobody_and_is_given_up_at_the_deadline(server: NameServer) -> None:
    server.silent.add("*")
    began = time.perf_counter()
    assert (await confirm(server, deadline_s=0.2)).state == "failed"
    assert time.perf_counter() - began < 1.0


async def test_no_name_server_at_all_accuses_nobody() -> None:
    closed = NameServer()
    address = closed.address
    with closed:
        pass
    assert (await Names([address], deadline_s=0.3).confirm(ADDRESS, GOOGLE)).state == "failed"


async def test_another_server_is_asked_when_the_first_is_in_trouble(server: NameServer) -> None:
    server.ptr[ADDRESS] = [f"{HOST}."]
    server.a[HOST] = [ADDRESS]
    with NameServer() as broken:
        broken.rcodes["*"] = "SERVFAIL"
        found = await Names([broken.address, server.address]).confirm(ADDRESS, GOOGLE)
    assert found.state == "confirmed"


async def test_asking_returns_at_once_and_is_answered_later(server: NameServer) -> None:
    server.ptr[ADDRESS] = [f"{HOST}."]
    server.a[HOST] = [ADDRESS]
    told: list[Outcome | None] = []
    asked = names(server, changed=lambda: told.append(asked.known(ADDRESS)))
    assert asked.known(ADDRESS) is None
    began = time.perf_counter()
    assert asked.ask(ADDRESS, GOOGLE)
    assert time.perf_counter() - began < 0.005
    assert asked.known(ADDRESS) == Outcome("pending")
    assert await learnt(asked) == Outcome("confirmed", HOST)
    assert told == [Outcome("confirmed", HOST)]


async def test_who_asks_while_it_is_asked_asks_nobody(server: NameServer) -> None:
    asked = names(server)
    assert [asked.ask(ADDRESS, GOOGLE) for _ in range(50)] == [True] + [False] * 49
    assert (await learnt(asked) or Outcome("")).state == "denied"
    assert not asked.ask(ADDRESS, GOOGLE)
    assert server.queries == [("9.100.51.198.in-addr.arpa", "PTR")]


@pytest.mark.parametrize(("state", "kept_s"), [("confirmed", CONFIRMED_S), ("denied", DENIED_S), ("failed", FAILED_S)])
async def test_an_outcome_is_kept_for_its_time(server: NameServer, state: str, kept_s: float) -> None:
    server.ptr[ADDRESS] = [f"{HOST}."]
    server.a[HOST] = [ADDRESS if state == "confirmed" else "203.0.113.1"]
    if state == "failed":
        server.rcodes["*"] = "SERVFAIL"
    clock = Clock()
    asked = names(server, clock=clock)
    asked.ask(ADDRESS, GOOGLE)
    assert (await learnt(asked) or Outcome("")).state == state
    clock.now_s += kept_s - 1
    assert (asked.known(ADDRESS) or Outcome("")).state == state
    assert not asked.expire()
    clock.now_s += 1
    assert asked.known(ADDRESS) is None
    assert asked.expire()
    assert len(asked) == 0
    assert asked.ask(ADDRESS, GOOGLE)
    await asked.close()


async def test_who_was_denied_for_one_operator_is_asked_again_for_another(server: NameServer) -> None:
    server.ptr[ADDRESS] = ["bot-9.search.msn.com."]
    server.a["bot-9.search.msn.com"] = [ADDRESS]
    asked = names(server)
    asked.ask(ADDRESS, GOOGLE)
    assert (await learnt(asked) or Outcome("")).state == "denied"
    assert asked.ask(ADDRESS, [".search.msn.com"])
    assert (await learnt(asked) or Outcome("")).host == "bot-9.search.msn.com"


async def test_whoever_asks_the_outcome_is_about_all_operators(server: NameServer) -> None:
    server.ptr[ADDRESS] = ["bot-9.search.msn.com."]
    server.a["bot-9.search.msn.com"] = [ADDRESS]
    asked = names(server, suffixes=[".search.msn.com", *GOOGLE])
    asked.ask(ADDRESS, GOOGLE)
    assert (await learnt(asked) or Outcome("")).state == "confirmed"


async def test_ten_thousand_impostors_cost_twenty_queries_a_second_and_no_more(server: NameServer) -> None:
    clock = Clock()
    asked = names(server, clock=clock)
    for second in range(5):
        before = asked.queries
        for number in range(2000):
            asked.ask(
                f"198.18.{second}.{number % 256}" if number < 256 else f"198.19.{number // 256}.{number % 256}", GOOGLE
            )
            if number % 100 == 0:
                await asyncio.sleep(0.002)
        await asyncio.sleep(0.05)
        assert 2 <= asked.queries - before <= 20
        clock.now_s += 1.0
    assert asked.refused > 1000
    await asked.close()


async def test_who_found_no_room_is_not_remembered_and_may_ask_again(server: NameServer) -> None:
    clock = Clock()
    asked = names(server, clock=clock, per_s=2)
    assert asked.ask("198.51.100.1", GOOGLE)
    assert not asked.ask("198.51.100.2", GOOGLE)
    assert asked.known("198.51.100.2") is None
    await learnt(asked, "198.51.100.1")
    clock.now_s += 1.0
    assert asked.ask("198.51.100.2", GOOGLE)
    await asked.close()


async def test_impostors_do_not_push_out_who_was_confirmed(server: NameServer) -> None:
    server.ptr[ADDRESS] = [f"{HOST}."]
    server.a[HOST] = [ADDRESS]
    clock = Clock()
    asked = names(server, clock=clock, capacity=20)
    asked.ask(ADDRESS, GOOGLE)
    await learnt(asked)
    for number in range(40):
        clock.now_s += 1.0
        asked.ask(f"203.0.113.{number}", GOOGLE)
        await learnt(asked, f"203.0.113.{number}")
        assert len(asked) <= 20
    assert asked.known(ADDRESS) == Outcome("confirmed", HOST)


def test_without_a_running_loop_asking_does_nothing() -> None:
    asked = Names(["127.0.0.1:5353"])
    assert not asked.ask(ADDRESS, GOOGLE)
    assert asked.known(ADDRESS) is None


@pytest.mark.parametrize("text", ["ns.example", "127.0.0.1:x", "", "127.0.0.1:0", "[::1", "1.2.3.4:70000"])
def test_what_is_no_name_server_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="no name server"):
        Names([text])


def dns_cases() -> list[dict[str, object]]:
    path = SHARED / "security" / "bypass_cases.json"
    if not path.exists():
        return []
    cases = json.loads(path.read_text())["cases"]
    return [case for case in cases if case["class"] == "crawler-verification" and "ptr" in case["request"]["dns"]]


VERDICTS = {"verified": "confirmed", "impostor": "denied", "unknown": "failed"}


@pytest.mark.skipif(not dns_cases(), reason="the shared cases are not here")
@pytest.mark.parametrize("case", dns_cases(), ids=lambda case: str(case["id"]))
async def test_the_shared_cases_come_out_as_they_say(server: NameServer, case: dict[str, dict[str, object]]) -> None:
    said = case["request"]["dns"]
    assert isinstance(said, dict)
    address = str(case["request"]["ip"])
    if isinstance(said["ptr"], list):
        hosts = [host for host in said["ptr"] if "..." not in host]
        server.ptr[address] = [f"h{n}.evil.example." for n in range(200)] if len(hosts) < len(said["ptr"]) else hosts
        for host in hosts:
            server.a[host.rstrip(".").lower()] = said.get("a", [])
            server.aaaa[host.rstrip(".").lower()] = said.get("aaaa", [])
    else:
        server.silent.add("*")
    found = await confirm(server, address, deadline_s=0.3)
    assert found.state == VERDICTS[str(case["expectation"]["verdict"])]
    assert len([kind for _, kind in server.queries if kind != "PTR"]) <= 4

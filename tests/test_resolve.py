"""What is known of addresses is learnt beside the requests, by one process for all, and outlives whoever told it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from guard.fetch import FetchError
from guard.load import read_policy
from guard.networks import NOTHING_KNOWN, Knowledge
from guard.published import KEPT_S, Kept, Shelf
from guard.resolve import Resolver
from guard.witness import Words, words_of
from tests.publisher import (
    DOCUMENTATION,
    HANGING,
    HOST,
    UNAVAILABLE,
    Answer,
    NameServer,
    Publisher,
    bomb,
    dripping,
    gzip_bomb,
    listed,
    redirecting,
)

pytestmark = pytest.mark.anyio

GOOGLE = (".googlebot.com",)
ADDRESS = "198.51.100.9"
CRAWLER = "crawl-198-51-100-9.googlebot.com"
RIGHT = listed("198.51.100.0/24", "2001:db8::/48")


@pytest.fixture(scope="module")
def host() -> Iterator[Publisher]:
    with Publisher() as publisher:
        yield publisher


@pytest.fixture
def publisher(host: Publisher) -> Publisher:
    host.answers.clear()
    host.requests.clear()
    host.answers["/bots.json"] = RIGHT
    return host


@pytest.fixture
def server() -> Iterator[NameServer]:
    with NameServer() as server:
        yield server


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


def resolver(publisher: Publisher, directory: Path | None, *paths: str, kind: str = "ip-json", **more: Any) -> Resolver:
    sources = {publisher.url(path): kind for path in paths or ("/bots.json",)}
    return Resolver(sources, directory=directory, reach=publisher.reach(), **{"dns": False, **more})


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not done():
            await asyncio.sleep(0.01)


# -- lists


async def test_an_address_is_known_by_the_lists_that_hold_it(publisher: Publisher, tmp_path: Path) -> None:
    publisher.answers["/more.json"] = listed("198.51.100.8/29")
    one = resolver(publisher, tmp_path, "/bots.json", "/more.json")
    bots, more = publisher.url("/bots.json"), publisher.url("/more.json")
    assert one.known(ADDRESS) is NOTHING_KNOWN
    assert [state.state for state in one.states().values()] == ["absent", "absent"]
    before = one.generation
    await one.refresh()
    assert one.generation > before
    assert one.known(ADDRESS) == Knowledge(frozenset((bots, more)), "", "unasked")
    assert one.known("198.51.100.1").lists == {bots}
    assert one.known("::ffff:198.51.100.1").lists == {bots}
    assert one.known("2001:db8::1").lists == {bots}
    assert one.known("203.0.113.1") is NOTHING_KNOWN
    assert one.known("198.51.100.1") is one.known("198.51.100.2")
    assert one.fresh(bots)
    assert one.fresh(more)
    assert not one.fresh("https://elsewhere.example/x")
    state = one.states()[bots]
    assert (state.state, state.networks, state.error, state.origin) == ("fresh", 2, "", "fetched")


async def test_pages_are_read_too(publisher: Publisher, tmp_path: Path) -> None:
    publisher.answers["/ips/"] = Answer(b"<ul><li>198.51.100.7</li></ul>", media_type="text/html")
    one = resolver(publisher, tmp_path, "/ips/", kind="ip-html")
    await one.refresh()
    assert one.known("198.51.100.7").lists == {publisher.url("/ips/")}
    assert one.known("198.51.100.8") is NOTHING_KNOWN


BAD: dict[str, Answer] = {
    "unavailable": UNAVAILABLE,
    "gone": Answer(status=404),
    "silent": HANGING,
    "silent in the middle": RIGHT.but(hangs="body"),
    "dripping": dripping(),
    "ten megabytes": bomb(),
    "packed": gzip_bomb(),
    "elsewhere": redirecting("https://other.example.org/bots.json"),
    "a page": Answer(b"<html>", media_type="text/html"),
    "nothing": Answer(b""),
    "empty": listed(),
    "everything": listed("0.0.0.0/0"),
    "all of IPv6": listed("::/0"),
    "private": listed("198.51.100.0/24", "10.0.0.0/8"),
    "private too": listed("198.51.100.0/24", "192.168.1.0/24"),
    "grown": listed("198.51.100.0/24", "2001:db8::/48", "203.0.113.0/24", *(f"8.8.{n}.0/24" for n in range(8))),
    "shrunk": listed("198.51.100.9/32", "2001:db8::/48"),
    "rubbish": listed("1079/1079"),
}


@pytest.mark.parametrize("name", BAD)
async def test_the_last_good_list_survives_a_publisher_that_is(
    name: str, publisher: Publisher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = publisher.url("/bots.json")
    one = resolver(publisher, tmp_path, fetch_s=0.3)
    await one.refresh()
    good = Shelf(tmp_path, DOCUMENTATION).read(url)
    publisher.answers["/bots.json"] = BAD[name]
    generation = one.generation
    with caplog.at_level(logging.WARNING, "guard.identity"):
        await one.refresh()
        await one.refresh()
    assert one.known(ADDRESS).lists == {url}
    assert one.fresh(url)
    assert one.generation == generation
    assert one.states()[url].error
    assert Shelf(tmp_path, DOCUMENTATION).read(url) == good
    (record,) = [record for record in caplog.records if record.name == "guard.identity"]
    assert url in record.getMessage()
    again = resolver(publisher, tmp_path)
    await again.open()
    assert again.known(ADDRESS).lists == {url}
    await again.close()


@pytest.mark.parametrize("name", [name for name in BAD if name not in ("grown", "shrunk")])
async def test_without_a_last_good_list_there_is_none(name: str, publisher: Publisher, tmp_path: Path) -> None:
    publisher.answers["/bots.json"] = BAD[name]
    one = resolver(publisher, tmp_path, fetch_s=0.3)
    await one.refresh()
    assert one.known(ADDRESS) is NOTHING_KNOWN
    assert not one.fresh(publisher.url("/bots.json"))
    assert one.states()[publisher.url("/bots.json")].state == "absent"


async def test_who_recovers_is_heard_of_again(publisher: Publisher, tmp_path: Path) -> None:
    url = publisher.url("/bots.json")
    one = resolver(publisher, tmp_path)
    publisher.answers["/bots.json"] = UNAVAILABLE
    await one.refresh()
    publisher.answers["/bots.json"] = RIGHT
    await one.refresh()
    assert one.states()[url].error == ""
    assert one.known(ADDRESS).lists == {url}


async def test_a_person_may_accept_what_has_grown(publisher: Publisher, tmp_path: Path) -> None:
    url = publisher.url("/bots.json")
    one = resolver(publisher, tmp_path)
    await one.refresh()
    publisher.answers["/bots.json"] = BAD["grown"]
    await one.refresh()
    assert one.known("203.0.113.1") is NOTHING_KNOWN
    await one.refresh(accept=[url])
    assert one.known("203.0.113.1").lists == {url}


async def test_one_bad_source_spoils_no_other(publisher: Publisher, tmp_path: Path) -> None:
    paths = [f"/{number}.json" for number in range(12)]
    for path in paths:
        publisher.answers[path] = RIGHT
    publisher.answers[paths[3]] = HANGING
    one = resolver(publisher, tmp_path, *paths, fetch_s=0.3)
    await one.refresh()
    assert one.known(ADDRESS).lists == {publisher.url(path) for path in paths if path != paths[3]}


async def test_a_list_of_thirty_days_tells_nothing_any_more(
    publisher: Publisher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = publisher.url("/bots.json")
    clock = Clock()
    one = resolver(publisher, tmp_path, clock=clock)
    changes: list[int] = []
    one.heed(lambda: changes.append(one.generation))
    await one.refresh()
    publisher.answers["/bots.json"] = UNAVAILABLE
    clock.now_s += KEPT_S - 1
    await one.refresh()
    assert one.fresh(url)
    told, generation = len(changes), one.generation
    clock.now_s += 1
    with caplog.at_level(logging.WARNING, "guard.identity"):
        await one.refresh()
    assert not one.fresh(url)
    assert one.states()[url].state == "stale"
    assert one.generation > generation
    assert len(changes) > told
    assert any("30 days" in record.getMessage() for record in caplog.records)
    publisher.answers["/bots.json"] = RIGHT
    await one.refresh()
    assert one.fresh(url)


async def test_a_list_from_the_far_future_tells_nothing(publisher: Publisher, tmp_path: Path) -> None:
    url = publisher.url("/bots.json")
    clock = Clock()
    Shelf(tmp_path).keep(url, Kept((ip_network("198.51.100.0/24"),), clock.now_s + 10 * 86_400))
    one = resolver(publisher, tmp_path, clock=clock, first_s=3600, poll_s=0.02)
    await one.open()
    assert not one.fresh(url)
    Shelf(tmp_path).keep(url, Kept((ip_network("198.51.100.0/24"),), clock.now_s))
    await until(lambda: one.fresh(url))
    await one.close()


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff" * 100])
async def test_a_broken_file_is_told_and_passed_over(
    publisher: Publisher, tmp_path: Path, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    url = publisher.url("/bots.json")
    Shelf(tmp_path).path(url).write_bytes(text)
    one = resolver(publisher, tmp_path)
    with caplog.at_level(logging.WARNING, "guard.identity"):
        await one.open()
    assert any("file" in record.getMessage() for record in caplog.records)
    assert one.known(ADDRESS) is NOTHING_KNOWN
    await one.refresh()
    assert one.known(ADDRESS).lists == {url}
    await one.close()


async def test_what_another_process_fetched_is_taken(publisher: Publisher, tmp_path: Path) -> None:
    url = publisher.url("/bots.json")
    one = resolver(publisher, tmp_path, poll_s=0.02, first_s=3600)
    changes: list[int] = []
    one.heed(lambda: changes.append(1))
    await one.open()
    assert one.known(ADDRESS) is NOTHING_KNOWN
    Shelf(tmp_path).keep(url, Kept((ip_network("198.51.100.0/24"),), time.time()))
    await until(lambda: one.known(ADDRESS).lists)
    assert one.fresh(url)
    assert changes
    await one.close()
    await one.close()
    assert publisher.requests == []


async def test_whoever_is_fresh_can_be_found(publisher: Publisher, tmp_path: Path) -> None:
    """Else an operator's own crawler would be called spoofed, from the fetch to the table."""
    one = resolver(publisher, tmp_path)
    url = publisher.url("/bots.json")
    seen: list[tuple[bool, bool]] = []
    task = asyncio.create_task(one.refresh())
    while not task.done():
        seen.append((one.fresh(url), bool(one.known(ADDRESS).lists)))
        await asyncio.sleep(0)
    assert (True, False) not in seen
    assert one.fresh(url)


async def test_without_a_directory_nothing_is_fetched(publisher: Publisher) -> None:
    one = resolver(publisher, None, poll_s=0.01, first_s=0, elect_s=0.01)
    await one.open()
    await one.refresh()
    await asyncio.sleep(0.1)
    await one.close()
    assert publisher.requests == []
    assert one.known(ADDRESS) is NOTHING_KNOWN


async def test_a_directory_that_cannot_be_written_stops_nothing(
    publisher: Publisher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    one = resolver(publisher, tmp_path / "file" / "lists", poll_s=0.01, first_s=0, elect_s=0.01)
    with caplog.at_level(logging.WARNING, "guard.identity"):
        await one.open()
        await asyncio.sleep(0.1)
        await one.close()
    assert not one.elected
    assert sum("make it writable" in record.getMessage() for record in caplog.records) == 1
    await one.refresh()
    assert one.known(ADDRESS).lists  # in this process, at least


def test_what_came_with_the_package_is_known_before_anything_is_opened() -> None:
    one = Resolver(dict(shipped_words().sources), directory=None, dns=False)
    gptbot = "https://openai.com/gptbot.json"
    assert one.known("132.196.86.1").lists == {gptbot}
    assert one.states()[gptbot].origin == "shipped"
    assert one.states()["https://claude.com/crawling/bots.json"].state == "absent"


def test_shipped_lists_become_stale_like_all_others() -> None:
    url = "https://openai.com/gptbot.json"
    clock = Clock()
    clock.now_s = 1788360065 + 86_400
    assert Resolver({url: "ip-json"}, directory=None, dns=False, clock=clock).fresh(url)
    clock.now_s += KEPT_S
    assert not Resolver({url: "ip-json"}, directory=None, dns=False, clock=clock).fresh(url)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        *(("http://bot.example/ips.json", "ip-json"), ("https://10.0.0.5/ips.json", "ip-json")),
        *(("https://a.internal/x", "ip-json"), ("https://bot.example/x", "rdns"), ("", "ip-json")),
    ],
)
def test_a_source_that_could_never_be_fetched_is_told_at_once(url: str, kind: str) -> None:
    with pytest.raises(FetchError, match="cannot be a published list"):
        Resolver({url: kind}, directory=None)


async def test_two_who_open_at_once_leave_nothing_behind(publisher: Publisher, tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    one = resolver(publisher, tmp_path)
    await asyncio.gather(one.open(), one.open())
    await one.close()
    opening = asyncio.ensure_future(one.open())
    await asyncio.sleep(0)
    await one.close()
    await opening
    assert asyncio.all_tasks() == before


def shipped_words() -> Words:
    text = "{version: 1, site: {name: x}, default: allow, verification: {lists: shipped, dns: true}}"
    words = words_of(read_policy(text))
    assert words is not None
    return words


def test_the_catalogues_sources_are_all_usable() -> None:
    words = shipped_words()
    assert len(words.sources) > 15
    assert ".googlebot.com" in words.suffixes
    Resolver(dict(words.sources), directory=None, suffixes=words.suffixes)


# -- in time


async def test_lists_are_fetched_after_a_while_and_then_again(publisher: Publisher, tmp_path: Path) -> None:
    one = resolver(publisher, tmp_path, first_s=0.0, every_s=0.05)
    await one.open()
    await until(lambda: publisher.asked("/bots.json") >= 3)
    await one.close()
    asked = publisher.asked("/bots.json")
    await asyncio.sleep(0.2)
    assert publisher.asked("/bots.json") == asked


async def test_a_list_that_is_here_is_not_fetched_before_its_time(publisher: Publisher, tmp_path: Path) -> None:
    one = resolver(publisher, tmp_path, first_s=0.0)
    await one.open()
    await until(lambda: one.known(ADDRESS).lists)
    await one.close()
    again = resolver(publisher, tmp_path, first_s=0.0, elect_s=0.01)
    await again.open()
    await until(lambda: again.elected)
    await asyncio.sleep(0.1)
    await again.close()
    assert publisher.asked("/bots.json") == 1


async def test_who_fails_is_asked_less_and_less(publisher: Publisher, tmp_path: Path) -> None:
    clock = Clock()
    publisher.answers["/bots.json"] = UNAVAILABLE
    one = resolver(publisher, tmp_path, first_s=0.0, elect_s=0.01, clock=clock, chance=lambda: 0.5)
    state = lambda: one.states()[publisher.url("/bots.json")]  # noqa: E731
    await one.open()
    for failures, pause_s in enumerate((60, 120, 240, 480, 960, 1920, 3840, 7680, 15360, 21600, 21600), start=1):
        await until(lambda failures=failures: state().failures == failures)  # type: ignore[misc]
        assert state().due_s - clock.now_s == pause_s
        clock.now_s = state().due_s
    publisher.answers["/bots.json"] = RIGHT
    clock.now_s = state().due_s
    await until(lambda: state().state == "fresh")
    assert state().failures == 0
    await one.close()


async def test_one_of_many_fetches_and_another_takes_over(publisher: Publisher, tmp_path: Path) -> None:
    many = [resolver(publisher, tmp_path, first_s=0.0, poll_s=0.02, elect_s=0.05) for _ in range(4)]
    for one in many:
        await one.open()
    await until(lambda: all(one.known(ADDRESS).lists for one in many))
    assert sum(one.elected for one in many) == 1
    assert publisher.asked("/bots.json") == 1
    (elected,) = [one for one in many if one.elected]
    await elected.close()
    await until(lambda: any(one.elected for one in many))
    assert sum(one.elected for one in many) == 1
    for one in many:
        await one.close()


WORKER = """
import asyncio, json, ssl, sys
from ipaddress import ip_network
from pathlib import Path
from guard.fetch import Reach
from guard.resolve import Resolver
from guard.witness import Words, words_of
from guard.load import read_policy

url, port, ca, directory = sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])

async def here(host, port):
    return ["127.0.0.1"]

async def main():
    allowed = (ip_network("127.0.0.0/8"), ip_network("198.51.100.0/24"), ip_network("2001:db8::/32"))
    reach = Reach(tls=ssl.create_default_context(cafile=ca), addresses=here, ports=(port,), allowed=allowed)
    one = Resolver({url: "ip-json"}, directory=directory, reach=reach, dns=False, first_s=0, poll_s=0.05, elect_s=0.05)
    await one.open()
    said = None
    while True:
        now = [one.elected, bool(one.known("198.51.100.9").lists), one.fresh(url)]
        if now != said:
            said = now
            print(json.dumps(now), flush=True)
        await asyncio.sleep(0.01)

asyncio.run(main())
"""


class Worker:
    def __init__(self, publisher: Publisher, tmp: Path, ca: Path) -> None:
        command = [sys.executable, "-c", WORKER, publisher.url("/bots.json"), str(publisher.port), str(ca), str(tmp)]
        self.running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
        assert self.running.stdout is not None
        os.set_blocking(self.running.stdout.fileno(), False)
        self.said: list[bool] = [False, False, False]

    def now(self) -> list[bool]:
        assert self.running.stdout is not None
        for line in self.running.stdout:
            self.said = json.loads(line)
        return self.said


async def test_two_processes_fetch_once_and_the_second_takes_over_when_the_first_is_killed(
    publisher: Publisher, tmp_path: Path
) -> None:
    ca = publisher.write_ca(tmp_path / "ca.pem")
    workers = [Worker(publisher, tmp_path / "lists", ca) for _ in range(2)]
    try:
        await until(lambda: all(worker.now()[1:] == [True, True] for worker in workers))
        assert publisher.asked("/bots.json") == 1
        (elected,) = [worker for worker in workers if worker.now()[0]]
        (other,) = [worker for worker in workers if worker is not elected]
        elected.running.send_signal(signal.SIGKILL)
        elected.running.wait(10)
        await until(lambda: other.now()[0])
        assert publisher.asked("/bots.json") == 1  # what is here is good for hours
    finally:
        for worker in workers:
            worker.running.kill()
            worker.running.wait(10)
            assert worker.running.stdout is not None
            worker.running.stdout.close()


# -- names


async def test_names_are_asked_beside_the_request(server: NameServer) -> None:
    server.ptr[ADDRESS] = [f"{CRAWLER}."]
    server.a[CRAWLER] = [ADDRESS]
    one = Resolver({}, directory=None, nameservers=(server.address,), suffixes=GOOGLE)
    changes: list[Knowledge] = []
    one.heed(lambda: changes.append(one.known(ADDRESS)))
    await one.open()
    assert one.known(ADDRESS) is NOTHING_KNOWN
    before = one.generation
    began = time.perf_counter()
    one.ask(ADDRESS, GOOGLE)
    assert time.perf_counter() - began < 0.005
    assert one.known(ADDRESS).dns == "pending"
    assert one.generation > before
    await until(lambda: one.known(ADDRESS).dns == "confirmed")
    assert one.known(ADDRESS) == Knowledge(frozenset(), CRAWLER, "confirmed") == changes[-1]
    assert one.known(ADDRESS) is one.known(ADDRESS)
    await one.close()


async def test_a_name_server_that_is_away_delays_nobody_and_accuses_nobody(server: NameServer) -> None:
    server.silent.add("*")
    one = Resolver({}, directory=None, nameservers=(server.address,), dns_deadline_s=0.2)
    await one.open()
    worst_s = 0.0
    for number in range(500):
        began = time.perf_counter()
        one.known(f"198.51.100.{number % 256}")
        one.ask(f"198.51.100.{number % 256}", GOOGLE)
        worst_s = max(worst_s, time.perf_counter() - began)
    assert worst_s < 0.005
    await until(lambda: one.known("198.51.100.0").dns == "failed")
    await one.close()


async def test_what_the_dns_said_too_long_ago_is_forgotten_and_that_is_told(server: NameServer) -> None:
    clock = Clock()
    one = Resolver({}, directory=None, nameservers=(server.address,), clock=clock, poll_s=0.02)
    await one.open()
    one.ask(ADDRESS, GOOGLE)
    await until(lambda: one.known(ADDRESS).dns == "denied")
    generation = one.generation
    clock.now_s += 3601
    assert one.known(ADDRESS) is NOTHING_KNOWN
    await until(lambda: one.generation > generation)
    await one.close()


async def test_lists_and_names_can_be_turned_off(publisher: Publisher, tmp_path: Path, server: NameServer) -> None:
    one = resolver(publisher, tmp_path, lists=False, dns=True, nameservers=(server.address,), first_s=0.0)
    await one.open()
    await one.refresh()
    assert one.known(ADDRESS) is NOTHING_KNOWN
    assert one.states() == {}
    await one.close()
    other = resolver(publisher, tmp_path, dns=False, nameservers=(server.address,))
    other.ask(ADDRESS, GOOGLE)
    assert other.known(ADDRESS) is NOTHING_KNOWN
    assert server.queries == []
    assert publisher.requests == []


def test_without_a_running_loop_asking_does_nothing(publisher: Publisher) -> None:
    one = resolver(publisher, None, dns=True, nameservers=("127.0.0.1:5353",))
    one.ask(ADDRESS, GOOGLE)
    assert one.known(ADDRESS) is NOTHING_KNOWN
    assert HOST in next(iter(one.states()))

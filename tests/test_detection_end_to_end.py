"""Detection as it meets people: refusals in words, the application's hints, workers that share what they know."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from guard import Guard, Record
from guard.detectors.counted import DOCUMENTS
from guard.model import Mode
from guard.stores.redis import RedisStore
from tests.edges import EDGES, HERE, HOST, Answer, Ask, Headers, Through, through_the_middleware
from tests.processes import Running, eventually, get, sidecar
from tests.servers import eventually as soon
from tests.servers import server
from tests.sidecar import Platform, Side, side
from tests.sidecar import get as request
from tests.visitors import CHROME, PYTHON, Fields, Site, by, policy_of

pytestmark = pytest.mark.anyio

DATA_BOUND = 24
"""So many calls without cookie, token or page are one too many."""


def some_id(number: int) -> int:
    return 1_000 + number * 9_973 % 900_000


async def scrape(ask: Ask, times: int = DATA_BOUND + 3, fields: Fields = PYTHON) -> Answer:
    """Data that nobody looks at, one after the other; the last answer."""
    answers = [await ask(f"/api/tracks/{some_id(number)}", fields) for number in range(times)]
    assert answers[0].status == 200
    return answers[-1]


# -- refused in words ----------------------------------------------------------------------------------------


@EDGES
async def test_a_scraper_is_refused_in_words_that_say_how_long(through: Through) -> None:
    site = Site("refuse_minutes: 7")

    async def story(ask: Ask) -> None:
        answer = await scrape(ask)
        assert answer.status == 429
        assert answer.fields["content-type"] == "application/problem+json"
        assert answer.fields["cache-control"] == "no-store"
        said = json.loads(answer.body)
        assert said["type"] == "https://iana.org/assignments/http-problem-types#abnormal-usage-detected"
        assert said["status"] == 429
        assert said["decision"] == answer.fields["x-guard-decision"]
        assert said["contact"] == "mailto:us@music.example"
        assert "calls without cookie, token or page" in said["detail"]
        assert int(answer.fields["retry-after"]) == 420
        site.later(300)
        assert int((await ask("/api/tracks/1", PYTHON)).fields["retry-after"]) == 120
        site.later(119)
        assert int((await ask("/api/tracks/1", PYTHON)).fields["retry-after"]) == 1

    await through(site, story)


@EDGES
@pytest.mark.parametrize(
    ("target", "accept", "html"),
    [
        ("/track/1", b"text/html,*/*;q=0.8", True),
        ("/search?q=x", b"text/html", True),
        ("/track/1", b"*/*", False),
        ("/api/tracks/1", b"text/html", False),
        ("/media/1.mp3", b"text/html", False),
        ("/hls/1/index.m3u8", b"*/*", False),
        ("/feeds/1.xml", b"text/html", False),
    ],
)
async def test_pages_are_refused_with_a_page_and_all_else_with_a_problem(
    through: Through, target: str, accept: bytes, html: bool
) -> None:
    async def story(ask: Ask) -> None:
        await scrape(ask)
        answer = await ask(target, PYTHON | {b"accept": accept})
        assert answer.status == 429
        assert answer.fields["content-type"].startswith("text/html" if html else "application/problem+json")
        assert answer.fields["x-guard-decision"].encode() in answer.body
        assert b"<script" not in answer.body
        if not html:
            assert json.loads(answer.body)["type"].endswith("#abnormal-usage-detected")

    await through(Site(), story)


@EDGES
async def test_who_is_refused_may_still_read_what_the_site_allows(through: Through) -> None:
    async def story(ask: Ask) -> None:
        assert (await scrape(ask)).status == 429
        for path in ("/robots.txt", "/ai.txt", "/.well-known/tdmrep.json"):
            assert (await ask(path, PYTHON)).status == 200, path
        assert (await ask("/api/tracks/1", PYTHON, "HEAD")).body == b""

    await through(Site(), story)


@EDGES
async def test_another_client_is_not_touched(through: Through) -> None:
    async def story(ask: Ask) -> None:
        assert (await scrape(ask)).status == 429
        assert (await ask("/track/1", by(CHROME, "document", site="none"))).status == 200
        assert (await ask("/api/tracks/1", by(CHROME, "empty", "x", referer=f"https://{HOST}/"))).status == 200

    await through(Site(), story)


@EDGES
async def test_observing_refuses_nothing_and_says_what_it_would_do(through: Through) -> None:
    records: list[Record] = []

    async def story(ask: Ask) -> None:
        assert (await scrape(ask, 3 * DATA_BOUND)).status == 200

    site = Site("mode: observe")
    site.guard.record = records.append  # type: ignore[assignment]
    await through(site, story)
    decision = records[-1].decision
    assert decision.action == "allow"
    assert decision.observed == ("detection: data for nobody (refuse)",)
    assert {signal.name for signal in decision.signals} == {"data for nobody"}
    assert records[0].decision.observed == ()


@EDGES
async def test_a_policy_that_observes_observes_this_too(through: Through) -> None:
    records: list[Record] = []

    async def story(ask: Ask) -> None:
        assert (await scrape(ask, 3 * DATA_BOUND)).status == 200

    site = Site(more="mode: observe\n")
    assert site.policy.mode is Mode.OBSERVE
    site.guard.record = records.append  # type: ignore[assignment]
    await through(site, story)
    decision = records[-1].decision
    assert (decision.action, decision.mode) == ("refuse", Mode.OBSERVE)
    assert decision.rule == "detection: data for nobody"


@EDGES
async def test_what_was_found_stands_in_the_record(through: Through) -> None:
    records: list[Record] = []

    async def story(ask: Ask) -> None:
        answer = await scrape(ask)
        last = records[-1]
        assert last.id == answer.fields["x-guard-decision"]
        assert (last.decision.action, last.decision.rule, last.status) == ("refuse", "detection: data for nobody", 429)
        assert last.decision.points >= 30
        assert "data for nobody" in last.decision.labels

    site = Site()
    site.guard.record = records.append  # type: ignore[assignment]
    await through(site, story)


@EDGES
async def test_steps_and_limits_are_the_policys(through: Through) -> None:
    limits = "limits: [{name: crawl, rate: 1/min, burst: 2}]\n"
    site = Site(
        "steps: [{at: 10, then: throttle, route: api, limit: crawl}, {at: 15, then: refuse, route: page}]", more=limits
    )

    async def story(ask: Ask) -> None:
        statuses = [(await ask(f"/api/tracks/{some_id(number)}", PYTHON)).status for number in range(20)]
        assert statuses.count(200) < 13  # from ten points on one a minute
        answer = await ask("/api/tracks/5", PYTHON)
        assert answer.status == 429
        assert '"crawl"' in answer.fields["ratelimit-policy"]
        assert json.loads(answer.body)["violated-policies"] == ["crawl"]

    await through(site, story)


async def test_what_a_suspect_met_is_not_remembered_for_others() -> None:
    """The middleware remembers what passes; a suspect's limit is the suspect's."""
    site = Site("steps: [{at: 5, then: throttle}]")
    half = {name: value for name, value in by(CHROME, "document").items() if not name.startswith(b"sec-")}

    async def suspected(ask: Ask) -> None:
        assert (await ask("/track/1", half)).status == 200

    async def listens(ask: Ask) -> None:
        statuses = [(await ask("/track/1", by(CHROME, "document", "x", site="none"))).status for _ in range(70)]
        assert statuses == [200] * 70

    async def both(ask: Ask) -> None:
        await suspected(ask)
        await listens(ask)

    await through_the_middleware(site, both)


async def test_headers_of_any_iterable_pass_a_watched_answer() -> None:
    async def story(ask: Ask) -> None:
        for _ in range(3):
            assert (await ask("/api/now", PYTHON)).fields["x-own"] == "1"

    def once(target: str) -> Any:
        return (pair for pair in [(b"x-own", b"1")])

    await through_the_middleware(Site(), story, once)


# -- the application's words ---------------------------------------------------------------------------------

PAGES = 70


async def read_on(ask: Ask, fields: Fields, site: Site, times: int = PAGES) -> list[int]:
    """From page to page, and nothing that belongs to a page: too much for a stranger."""
    statuses = []
    for number in range(times):
        statuses.append((await ask(f"/track/{some_id(number)}", fields)).status)
        site.later(9)
    return statuses


def reader(sid: str) -> Fields:
    return by(CHROME, "document", sid, site="same-origin", referer=f"https://{HOST}/")


def ann_answers(target: str) -> Headers:
    return [(b"x-guard-account", b"ann"), (b"x-own", b"1")]


@EDGES
async def test_rules_for_pages_are_for_strangers_and_not_for_accounts(through: Through) -> None:
    stranger, known = Site().opened(), Site().opened()

    async def refused(ask: Ask) -> None:
        assert 429 in await read_on(ask, reader("strange"), stranger)

    async def welcome(ask: Ask) -> None:
        assert await read_on(ask, reader("known"), known) == [200] * PAGES

    await through(stranger, refused)
    await through(known, welcome, ann_answers)


@EDGES
async def test_the_words_of_the_application_never_reach_the_client(through: Through) -> None:
    def words(target: str) -> Headers:
        return [
            (b"x-guard-account", b"ann"),
            (b"x-guard-entitlement", b"offline"),
            (b"x-guard-audio-seconds", b"180"),
            (b"x-guard-work", b"track:1"),
            (b"x-own", b"1"),
        ]

    async def story(ask: Ask) -> None:
        for target in ("/track/1", "/track/1", "/media/1.mp3", "/media/1.mp3", "/static/app.css", "/api/tracks/1"):
            for fields in (by(CHROME, "empty", "x"), PYTHON | {b"authorization": b"Basic eDp5"}):
                for method in ("GET", "HEAD", "POST"):
                    answer = await ask(target, fields, method)
                    assert answer.status == 200 and answer.fields["x-own"] == "1"
                    assert not [name for name in answer.fields if name.startswith("x-guard-")]

    await through(Site().opened(), story, words)


@EDGES
async def test_nor_do_they_reach_whom_nobody_looks_at(through: Through) -> None:
    """Who is verified, whom a rule on trial would block, and a site that looks for nothing."""
    google = {b"user-agent": b"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"}
    verified = f", published_networks: {{googlebot: [{HERE}/32, 127.0.0.1/32]}}"
    on_trial = "mode: observe\nrules: [{name: no, when: {path: /api/**}, then: block}]\n"
    blind = Site()
    blind.guard = Guard(replace(blind.policy, detecting=None))

    async def story(ask: Ask) -> None:
        for _ in range(2):
            answer = await ask("/api/tracks/1", google)
            assert answer.status == 200 and answer.fields["x-own"] == "1"
            assert "x-guard-account" not in answer.fields

    for site in (Site(site=verified), Site(more=on_trial), blind):
        await through(site, story, ann_answers)


@EDGES
async def test_words_are_not_heeded_where_the_policy_does_not_want_them(through: Through) -> None:
    site = Site("hints: false").opened()

    async def story(ask: Ask) -> None:
        assert 429 in await read_on(ask, reader("known"), site)
        assert "x-guard-account" not in (await ask("/robots.txt", PYTHON)).fields

    await through(site, story, ann_answers)


@EDGES
async def test_the_words_of_a_client_count_for_nothing(through: Through) -> None:
    site = Site().opened()
    forged = {b"x-guard-account": b"ann", b"x-guard-entitlement": b"offline", b"x-guard-audio-seconds": b"0"}

    async def story(ask: Ask) -> None:
        assert 429 in await read_on(ask, reader("strange") | forged, site)
        assert len(site.lookout.accounts) == 0

    await through(site, story)


@EDGES
async def test_an_account_that_is_told_has_its_downloads_a_day(through: Through) -> None:
    site = Site("downloads: [/get/**], downloads_a_day: 20")

    async def story(ask: Ask) -> None:
        calls = by(CHROME, "empty", "ann-1", referer=f"https://{HOST}/")
        assert (await ask("/track/1", reader("ann-1"))).status == 200  # whose session it is comes with the answer
        statuses = []
        for number in range(23):
            statuses.append((await ask(f"/get/{number}", calls)).status)
            site.later(30)
        assert statuses == [200] * 20 + [429] * 3

    await through(site, story, ann_answers)


@EDGES
async def test_what_is_told_of_a_page_that_is_known_counts_too(through: Through) -> None:
    """The third session at one address of a page, which passes without being considered anew."""
    site = Site("downloads: [/get/**], downloads_a_day: 10")

    async def story(ask: Ask) -> None:
        for sid in ("ann-1", "ann-2", "ann-3"):
            assert (await ask("/track/1", reader(sid))).status == 200
        statuses = []
        for number in range(13):
            statuses.append((await ask(f"/get/{number}", by(CHROME, "empty", "ann-3"))).status)
            site.later(30)
        assert statuses == [200] * 10 + [429] * 3

    def only_of_pages(target: str) -> Headers:
        return ann_answers(target) if target == "/track/1" else []

    await through(site, story, only_of_pages)


@EDGES
async def test_music_is_as_long_as_the_application_says(through: Through) -> None:
    """Tiny files that are said to be long, and large ones that are said to be short."""

    def seconds(told: bytes) -> Any:
        return lambda target: [(b"x-guard-audio-seconds", told)]

    async def takes(ask: Ask) -> None:
        statuses = [(await ask(f"/media/{some_id(number)}.mp3", PYTHON)).status for number in range(20)]
        assert statuses[0] == 200
        assert (429 in statuses) is expected

    expected = True
    await through(Site().opened(), takes, seconds(b"240"))
    expected = False
    await through(Site().opened(), takes, seconds(b"1"), body=b"x" * 60_000)


async def test_what_stands_in_the_state_counts_as_the_answers_headers_do() -> None:
    """Where who signs people in stands before us, and where it is the application itself."""
    for before in (True, False):
        site = Site().opened()

        async def story(ask: Ask, site: Site = site) -> None:
            assert await read_on(ask, reader("known"), site) == [200] * PAGES

        state: dict[str, Any] = {"guard": {"account": "ann"}} if before else {}

        def sign_in(target: str, state: dict[str, Any] = state) -> Headers:
            state["guard"] = {"account": "ann"}
            return []

        await through_the_middleware(site, story, sign_in, state=state)
        assert site.lookout.meters_of(b"u" + b"ann", DOCUMENTS, site.lookout.clock()) > 10


# -- workers -------------------------------------------------------------------------------------------------


async def test_two_workers_with_one_store_see_one_client() -> None:
    """Twenty-three calls at the one worker; the other is asked for one thing over and over, which nobody minds."""
    with server("valkey") as valkey:
        guards = [Guard(policy_of(), store=RedisStore(valkey.url, secret=b"one"), secret=b"one") for _ in range(2)]
        async with (
            Platform().running() as platform,
            side(platform.port, guard=guards[0]) as first,
            side(platform.port, guard=guards[1]) as second,
        ):

            async def ask(worker: Side, path: str) -> int:
                lines = [f"{name.decode()}: {value.decode()}" for name, value in PYTHON.items() if name != b"host"]
                return (await worker.ask(request(path, *lines, host=HOST))).status

            for number in range(DATA_BOUND - 1):
                assert await ask(first, f"/api/tracks/{some_id(number)}") == 200
            assert await ask(second, "/api/tracks/1") == 200

            async def refused() -> bool:
                return await ask(second, "/api/now") == 429

            await soon(refused, 5.0, 0.05)
            assert await ask(second, "/api/tracks/2") == 429


POLICY = """
version: 1
site: {name: real, url: 'https://music.example', trusted_proxies: [127.0.0.1]}
default: allow
routes:
- {class: api, paths: [/api/**]}
detection: {challenge: true, refuse_minutes: 30}
"""


class Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "2")
        self.send_header("x-guard-account", "")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    tmp = tmp_path_factory.mktemp("detection")
    (policy := tmp / "policy.yaml").write_text(POLICY)
    platform = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    platform.daemon_threads = True
    threading.Thread(target=platform.serve_forever, daemon=True).start()
    options = ("--workers", "2", "--store", "embedded", "--log", "all", "--ignore-robots")
    with sidecar(f"http://127.0.0.1:{platform.server_port}", tmp, *options, policy=policy) as running:
        yield running
    platform.shutdown()
    platform.server_close()


def logged(real: Running) -> list[dict[str, Any]]:
    lines = real.log.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}\n")]


async def test_a_scraper_at_real_workers_is_refused_and_the_log_says_why(real: Running) -> None:
    def scraped() -> bool:
        scraped.number += 1  # type: ignore[attr-defined]
        path = f"/api/tracks/{some_id(scraped.number)}"  # type: ignore[attr-defined]
        status, headers, _ = get(real.port, path, "curl/8.14.1", **{"X-Forwarded-For": "203.0.113.9"})
        scraped.last = headers  # type: ignore[attr-defined]
        return status == 429

    scraped.number = 0  # type: ignore[attr-defined]
    assert await asyncio.to_thread(eventually, scraped, 10.0)
    found = scraped.last["x-guard-decision"]  # type: ignore[attr-defined]
    assert 0 < int(scraped.last["retry-after"]) <= 1_800  # type: ignore[attr-defined]
    assert eventually(lambda: any(line["id"] == found for line in logged(real)))
    (line,) = (line for line in logged(real) if line["id"] == found)
    assert (line["action"], line["status"], line["rule"]) == ("refuse", 429, "detection: data for nobody")
    assert line["points"] >= 30
    assert line["signals"]["data for nobody"] >= 30
    assert line["client"] == "203.0.113.0/24"


async def test_a_pass_from_one_real_worker_is_good_at_the_other(real: Running) -> None:
    chrome = {name.decode(): value.decode() for name, value in by(CHROME, "document", site="none").items()}
    doubtful = {
        name: value for name, value in chrome.items() if not name.startswith(("sec-ch", "accept-language", "host"))
    }
    doubtful = {name: value for name, value in doubtful.items() if name != "user-agent"}
    doubtful |= {"X-Forwarded-For": "203.0.113.77"}

    def ask(cookie: str = "") -> tuple[int, dict[str, str]]:
        more = {"Cookie": cookie} if cookie else {}
        status, headers, _ = get(real.port, "/track/1", CHROME.user_agent, **doubtful, **more)
        return status, headers

    status, headers = ask()
    assert (status, headers["retry-after"]) == (429, "2")
    cookie = headers["set-cookie"].partition(";")[0]
    back_s = time.monotonic() + 2
    assert eventually(lambda: time.monotonic() > back_s)  # as the page does
    assert [ask(cookie)[0] for _ in range(12)] == [200] * 12  # connections fall to either worker
    assert 429 in [ask()[0] for _ in range(3)]

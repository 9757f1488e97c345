"""What one does is held against nobody else, whatever they send; and who listens in an odd way is seen to listen."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from guard import Guard, Request
from guard.detectors.counted import LEAD
from guard.errors import PolicyError
from guard.load import read_policy
from guard.model import Decision
from guard.stores.memory import MemoryStore
from guard.watch import succeed
from guard.watching import Told, by_name
from tests.visitors import CHROME, FIREFOX, HOST, NOON_S, PYTHON, Fields, Site, by, names_of, policy_of

HERE = f"https://{HOST}/"
ANNA = "198.51.100.77"
SYMFONIUM: Fields = {b"host": HOST.encode(), b"user-agent": b"Symfonium/12", b"accept": b"*/*"}


def far(number: int) -> int:
    """Ids all over the catalogue."""
    return 3_000 + number * 7_919 % 60_000


def opens(sid: str = "", **more: str) -> Fields:
    return by(CHROME, "document", sid, site="none", **more)


def under(user_agent: bytes, **more: bytes) -> Fields:
    return by(FIREFOX, "document", site="none") | {b"user-agent": user_agent} | {k.encode(): v for k, v in more.items()}


def refused(done: list[Decision]) -> int:
    return sum(decision.action == "refuse" for decision in done)


# -- nobody makes another's key ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("liar", "newcomer"), [("192.0.2.66", "192.0.2.5"), ("2001:db8:7:1::5", "2001:db8:7:9::1")], ids=["/24", "/48"]
)
def test_one_machine_with_many_names_is_no_neighbourhood(liar: str, newcomer: str) -> None:
    site = Site().opened()
    done = [site.ask(f"/track/{far(n)}", under(b"Foo/%d" % n), liar, after_s=3) for n in range(80)]
    site.later(10)
    assert refused(done)
    assert site.ask("/track/77", opens(), newcomer).action == "allow"


def test_ids_in_a_row_from_one_machine_are_no_swarm() -> None:
    site = Site().opened()
    for number in range(40):
        site.ask(f"/track/{5_000 + number}", under(b"Foo/%d" % number), "192.0.2.66", after_s=0.1)
    found = site.ask("/track/77", opens("x"), "192.0.2.5")
    assert found.action == "allow"
    assert "shared sequence" not in names_of(found)


def until_refused(site: Site, fields: Fields, ip: str) -> None:
    for number in range(80):
        if site.ask(f"/track/{far(number)}", fields, ip, after_s=3).action == "refuse":
            return
    raise AssertionError("never refused")


def test_a_cookie_is_never_somebodys_token_or_name() -> None:
    site = Site().opened()
    ping = "/rest/ping?u=anna&t=abc&s=x"
    site.ask(ping, SYMFONIUM, ANNA, hints={b"x-guard-account": b"anna"})
    stolen = by(FIREFOX, "document", site="none") | {b"cookie": b"sid=anna" + ip_address(ANNA).packed}
    until_refused(site, stolen, "203.0.113.200")
    assert site.ask(ping, SYMFONIUM, ANNA).action == "allow"


@pytest.mark.parametrize("cookie", [b"sid=", b"auth_token=", b'theme=1; session=""', b"sid= "])
def test_an_empty_cookie_is_nobodys_session(cookie: bytes) -> None:
    site = Site().opened()
    until_refused(site, by(FIREFOX, "document", site="none") | {b"cookie": cookie}, "203.0.113.200")
    assert site.ask("/track/1", opens() | {b"cookie": cookie}, "192.0.2.21").action == "allow"


def test_who_is_signed_in_is_not_refused_for_who_shares_the_address_and_the_browser() -> None:
    site = Site().opened()
    until_refused(site, opens(), "192.0.2.9")
    assert site.ask("/track/7", opens("new"), "192.0.2.9", account=b"anna").action == "allow"


def test_who_lives_elsewhere_in_the_fleet_is_not_refused_for_a_neighbour() -> None:
    here, there = Site().opened(), Site().opened()
    here.lookout.meters = there.lookout.meters  # what they tell each other arrives at once
    here.visit(far(3), "192.0.2.9", sid="lives")
    there.now_s = here.now_s
    until_refused(there, opens(), "192.0.2.9")
    assert there.ask("/track/7", opens("lives"), "192.0.2.9").action == "allow"


def test_how_far_ids_reach_is_not_told_by_who_is_refused() -> None:
    site = Site()
    for person in range(60):
        for page in range(10):
            site.visit(1 + (person * 10 + page) * 89 % 900, f"198.51.{person}.7", sid=f"early-{person}")
            site.later(2)
    before = spans(site)
    done = [
        site.ask(f"/track/{10**9 + number * 7_919}", by(FIREFOX, "document", site="none"), "192.0.2.66", after_s=0.2)
        for number in range(1_500)
    ]
    assert refused(done) > 1_400
    assert spans(site)[0] < 3 * before[0]


def spans(site: Site) -> list[int]:
    return [site.lookout.span(kind << 40) for kind in site.lookout._ids]


def test_words_that_nobody_asks_for_make_room_for_those_of_the_site() -> None:
    site = Site()
    for number in range(300):
        word = f"{chr(97 + number % 26)}{chr(97 + number // 26)}"
        site.ask(f"/q{word}/1", opens(f"k{number}"), f"203.0.{number % 250}.1")
    for person in range(60):
        site.visit(1_000 + 33_331 * person, f"198.51.{person}.7", sid=f"e{person}")
    assert len(spans(site)) <= 256
    assert max(spans(site)) > 100_000


def test_what_one_upgrades_to_is_not_held_against_the_next() -> None:
    site = Site()
    base = {k: v for k, v in by(CHROME, "empty").items() if not k.startswith(b"sec-")} | {b"upgrade": b"x"}
    assert site.ask("/api/ws", base, "192.0.2.22").points > 0
    assert site.ask("/api/ws", base | {b"upgrade": b"websocket"}, "198.51.100.22").points == 0


# -- who listens in an odd way -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [b"76.0.3809.146", b"79.0.3945.79"])
def test_televisions_of_the_time_before_sec_fetch_dest_are_browsers(version: bytes) -> None:
    name = (
        b"Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%b Safari/537.36" % version
    )
    television = {
        b"host": HOST.encode(),
        b"user-agent": name,
        b"sec-fetch-user": b"?1",
        b"accept": b"text/html,*/*;q=0.8",
        b"sec-fetch-site": b"none",
        b"sec-fetch-mode": b"navigate",
        b"accept-encoding": b"gzip, deflate, br",
        b"accept-language": b"de",
    }
    assert Site().opened().ask("/", television).action == "allow"
    ripper = {k: v for k, v in television.items() if k != b"sec-fetch-site"}
    assert Site().opened().ask("/", ripper).action == "refuse"


def test_who_hears_the_music_of_each_page_lives() -> None:
    """Styles in the cache, covers on a host of their own, pages made by the server."""
    site, done = Site().opened(), []
    for number in range(100):
        page = f"/track/{far(number)}"
        opened = by(CHROME, "document", "warm", site="same-origin", referer=HERE)
        done.append(site.ask(page, opened, after_s=3))
        play = by(CHROME, "audio", "warm", referer=HERE + page[1:]) | {b"range": b"bytes=0-"}
        done.append(site.ask(f"/media/{far(number)}.mp3", play, size=16_000 * 60, after_s=2))
        site.later(55)
    assert {decision.action for decision in done} == {"allow"}


def test_who_comes_back_with_a_full_cache_and_no_cookie_hears_music() -> None:
    site = Site().opened()
    for person in range(4):
        ip, page = f"192.0.{person + 5}.9", f"{HERE}track/{far(person)}"
        site.ask(f"/track/{far(person)}", opens(), ip, after_s=300)
        for kind in ("track", "comments", "related"):
            site.ask(f"/api/{kind}/{far(person)}", by(CHROME, "empty", f"new{person}", referer=page), ip, after_s=0.3)
        play = by(CHROME, "empty", f"new{person}", referer=page)
        assert site.ask(f"/hls/{far(person)}/index.m3u8", play, ip, after_s=2).action == "allow"


@pytest.mark.parametrize(("sid", "tracks"), [("box", 48), ("", 44)])
def test_the_page_of_a_box_set_asks_for_each_of_its_tracks(sid: str, tracks: int) -> None:
    site, page, done = Site().opened(), f"{HERE}album/5", []
    done.append(site.ask("/album/5", opens()))
    done.append(site.ask("/static/app.css", by(CHROME, "style", sid, referer=page), after_s=0.2))
    done.append(site.ask("/img/5.jpg", by(CHROME, "image", sid, referer=page), after_s=0.05))
    for number in range(tracks):
        done.append(site.ask(f"/api/track/{40_000 + number}", by(CHROME, "empty", sid, referer=page), after_s=0.015))
    assert not refused(done)


def test_lists_that_a_page_links_to_are_clicked() -> None:
    site = Site(more="- {class: media, paths: [/listen/**]}\n").opened()
    site.visit(77, "192.0.2.12", sid="radio")
    clicked = by(CHROME, "document", "radio", site="same-origin", referer=f"{HERE}stations")
    done = [site.ask(f"/listen/{name}.m3u", clicked, "192.0.2.12", after_s=60) for name in "abcdefgh"]
    assert {decision.action for decision in done} == {"allow"}


def test_calls_of_a_page_are_no_pages() -> None:
    """Sixty albums an hour, each with its style, covers and three calls, by somebody who keeps no cookies."""
    site, done = Site().opened(), []
    for number in range(70):
        page = f"{HERE}album/{far(number)}"
        opened = by(CHROME, "document", site="same-origin", referer=HERE)
        done.append(site.ask(f"/album/{far(number)}", opened, after_s=55))
        for cover in range(2):
            done.append(site.ask(f"/img/{far(number) + cover}.jpg", by(CHROME, "image", referer=page), after_s=0.5))
        done.append(site.ask("/static/app.css", by(CHROME, "style", referer=page), after_s=0.1))
        for kind in ("album", "comments", "related"):
            done.append(site.ask(f"/api/{kind}/{far(number)}", by(CHROME, "empty", referer=page), after_s=0.1))
    assert {decision.action for decision in done} == {"allow"}


def test_covers_on_a_page_elsewhere_that_sends_no_referer() -> None:
    site = Site().opened()
    done = [site.ask(f"/img/{far(n)}.jpg", by(CHROME, "image", site="cross-site"), after_s=0.3) for n in range(60)]
    assert {decision.action for decision in done} == {"allow"}


@pytest.mark.parametrize("app", [b"AntennaPod/3.4.0", b"Pocket Casts"])
def test_subscribers_behind_one_address_of_a_carrier_follow_a_feed_each(app: bytes) -> None:
    site = Site().opened()
    reader = {b"host": HOST.encode(), b"user-agent": app, b"accept": b"*/*", b"accept-encoding": b"gzip"}
    done = [site.ask(f"/feeds/show-{number}", reader, after_s=1_500) for number in range(160)]
    assert {decision.action for decision in done} == {"allow"}


def test_pages_of_an_application_whose_pictures_are_elsewhere() -> None:
    site = Site()
    for person in range(30):  # here pages have styles, and their covers on another host
        page, ip = f"{HERE}artist/{far(person)}", f"198.51.{person}.7"
        site.ask(f"/artist/{far(person)}", opens(f"e{person}"), ip)
        site.ask("/static/app.css", by(CHROME, "style", f"e{person}", referer=page), ip, after_s=0.2)
        site.later(20)
    site.ask("/", opens("spa"))
    call = by(CHROME, "empty", "spa", referer=HERE)
    done = [site.ask(f"/api/artist/{far(number)}", call, after_s=20) for number in range(120)]
    assert {decision.action for decision in done} == {"allow"}


@pytest.mark.parametrize("version", [92, 106])
def test_an_old_browser_behind_a_hop_that_takes_headers_away_is_not_refused(version: int) -> None:
    name = b"Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36"
    stripped = {
        b"host": HOST.encode(),
        b"user-agent": name % version,
        b"accept": b"text/html",
        b"accept-language": b"de",
        b"accept-encoding": b"gzip",
    }
    assert Site().opened().ask("/", stripped).action == "throttle"


# -- what is read, and what is given back --------------------------------------------------------------------


def test_cookies_may_come_in_several_lines() -> None:
    lines = [(b"accept", b"*/*"), (b"cookie", b"sid=abc"), (b"accept", b"text/html"), (b"cookie", b"theme=dark")]
    assert by_name(lines) == {b"accept": b"text/html", b"cookie": b"sid=abc; theme=dark"}
    assert list(by_name(lines)) == [b"accept", b"cookie"]


def test_who_is_only_slowed_gives_the_place_back() -> None:
    policy = policy_of(
        "steps: [{at: 5, then: throttle, limit: few}]", more="limits: [{name: few, at_once: 3, when: {path: /never}}]\n"
    )
    site = Site(policy=policy).opened()
    store = MemoryStore()
    guard = Guard(policy, store=store, lookout=site.lookout, clock=lambda: NOON_S + site.now_s)
    statuses = []
    for number in range(60):
        request = Request("GET", f"/api/tracks/{far(number)}".encode(), PYTHON[b"user-agent"], "203.0.113.9")
        decision, _ = guard.watch(request, guard.decide(request), PYTHON, Told(b"", None, True))
        admission: Any = guard.admit(request, guard.client(request), decision)
        statuses.append(decision.action)
        if admission is not None:
            assert admission.allowed and decision.settles
            guard.leave(request, guard.client(request), decision, 100)
        site.later(4)
    assert "throttle" in statuses


def test_sizes_that_are_asked_for_are_not_heard() -> None:
    site = Site()
    words = {b"x-guard-audio-seconds": b"200"}
    listener = by(CHROME, "audio", "sid1")
    site.ask("/media/1.mp3", listener, hints=words)
    heard = lead(site)
    assert heard > 100
    for number in range(5):
        site.ask(f"/media/{number}.mp3", listener, method="HEAD", hints=words)
    assert lead(site) == heard


def lead(site: Site) -> float:
    ears = site.lookout._ears.young.values()
    return sum(ear.lead_s + site.lookout.meters_of(ear.key, LEAD, site.now_s) for ear in ears)


def test_the_name_of_a_works_address_counts_from_the_next_request_on() -> None:
    site = Site()
    assert site.guard.watching is not None
    request = Request("GET", b"/media/side-a.mp3", b"x", "203.0.113.9")
    decision = site.guard.decide(request)
    fields = by(CHROME, "audio", "sid1")
    _, watched = site.guard.watch(request, decision, fields, Told(b"", None, True))
    assert watched is not None
    before = watched.place
    site.guard.hear(watched, 200, 2_000, {b"x-guard-work": b"T1"})
    assert site.guard.watching.place(request, decision.route_class).work == "T1"
    assert site.guard.watching.named(before).work == "T1"
    assert site.guard.watching.place(request, decision.route_class, "").path == before.path


def test_passes_hold_when_the_policy_changes_and_at_no_other_site() -> None:
    one = Guard(policy_of())
    two = succeed(one, policy_of("refuse_minutes: 5"))
    assert one.secret == two.secret and len(one.secret) == 32
    assert Guard(policy_of()).secret != one.secret
    here = Guard(policy_of(), secret=b"the same").watching
    there = Guard(read_policy("version: 1\nsite: {name: other}\ndefault: allow\ndetection: {}\n"), secret=b"the same")
    assert here is not None and there.watching is not None
    assert here.passes._secret != there.watching.passes._secret


def test_the_name_of_the_traps_is_taken() -> None:
    with pytest.raises(PolicyError, match="stands for the traps"):
        read_policy(
            "version: 1\nsite: {name: x}\ndefault: allow\nrules:\n- {name: trap, when: {path: /a}, then: allow}\n"
        )


def test_a_token_of_an_app_tells_it_apart_though_it_came_without_one() -> None:
    guard = Guard(policy_of())
    watching = guard.watching
    assert watching is not None
    bare = {b"host": HOST.encode(), b"user-agent": b"Finamp/1"}
    who = watching.who(guard.stand, "203.0.113.9", None, bare)
    assert who is not None and who.key[:1] == b"c"
    for name in (b"x-emby-token", b"x-emby-authorization"):
        assert watching.who(guard.stand, "203.0.113.9", None, bare | {name: b"t"}) is None  # the slower road reads it
        assert watching.cookies(bare | {name: b"t"}, who.client) != b""


def http(path: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "client": ("203.0.113.9", 1),
        "scheme": "https",
        "http_version": "1.1",
    }


def test_the_word_of_a_trusted_hop_on_https_counts_on_every_road() -> None:
    policy = read_policy(
        "version: 1\nsite: {name: x, trusted_proxies: [10.0.0.0/8]}\ndefault: allow\n"
        "routes: [{class: page, paths: [/track/**]}]\ndetection: {}\n"
    )
    watching = Guard(policy).watching
    assert watching is not None and watching.secure is None
    scope = http("/track/1", [(b"x-forwarded-proto", b"https")]) | {"scheme": "http", "client": ("10.0.0.1", 1)}
    assert watching.spoke_https(scope)
    assert not watching.spoke_https(scope | {"client": ("203.0.113.9", 1)})
    half = {k: v for k, v in opens().items() if not k.startswith(b"sec-")} | dict(scope["headers"])
    request = Request("GET", b"/track/1", half[b"user-agent"], "10.0.0.1")
    decision = Guard(policy).decide(request)
    who = watching.who(Guard(policy).stand, "10.0.0.1", None, half)
    assert who is not None
    watching.least = 0.0
    found = watching.gaze(who, half, scope, decision, watching.place(request, decision.route_class))
    assert found is not None
    assert any(signal.name == "half a browser" for signal in found[1].signals)

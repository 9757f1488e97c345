"""Scrapers of our own that lie better than the simulator's: complete headers of a current browser, and the fetch
metadata that belongs to each kind of request.

They are written against the simulator's classes (`Client`, `Browser`), which come as an argument. Each is measured
against the bar of the persona that it resembles most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from types import ModuleType
from typing import Any


@dataclass
class Liars:
    """One simulator and the trace that they write into."""

    simulate: ModuleType
    trace: Any
    site: Any = field(init=False)
    origin: str = field(init=False)

    def __post_init__(self) -> None:
        self.site, self.origin = self.trace.site, self.simulate.ORIGIN

    def client(self, persona: str, number: int = 0, ip: str = "", actor: str = "") -> tuple[Any, Random]:
        """A client at a VPN's or a data centre's address, with the TLS of a browser."""
        rng = self.trace.rng("liar", persona, number)
        client = self.simulate.Client(
            self.trace,
            rng,
            persona,
            number,
            ip or self.simulate.v4(rng, 246),
            "bot",
            actor or f"{persona}@{number}",
            ja4="chrome-tls",
            mbps=(80.0, 0.3),
        )
        return client, rng

    def browser(self, rng: Random, family: str = "chrome") -> Any:
        return self.simulate.Browser(rng, self.trace.p, family, False, 156 if family == "chrome" else None)

    def hour(self, rng: Random) -> float:
        return float(rng.uniform(1, 16) * 3600)

    def home(self, *key: object) -> str:
        return str(self.simulate.home_ip(self.trace.rng("liar", *key, "home")))

    def tracks(self, rng: Random, number: int) -> Iterator[int]:
        yield from rng.sample(self.site.ids, number)

    def segments(self, client: Any, t: float, track: int, headers: list[list[str]]) -> float:
        """A whole track, segment after segment; when it is over."""
        for n in range(self.site.nseg(track)):
            seconds = self.site.seg_s(track, n)
            path = f"/hls/{track}/128k/seg{n:04d}.m4s"
            t = client.req(t, path, headers, 200, seconds * self.site.rate, seconds) + client.rng.uniform(0.004, 0.03)
        return t


def walk_by_fetch(all_: Liars) -> None:
    """Documents fetched as a script of the page would: cors, same-origin, a cookie, the page before as Referer."""
    client, rng = all_.client("walk_by_fetch")
    browser, t, before = all_.browser(rng), all_.hour(rng), "/"
    client.setcookie()
    for track in all_.tracks(rng, 450):
        client.req(t, f"/track/{track}", browser.sub("empty", all_.origin + before, client.cookie), 200, 15000)
        before = f"/track/{track}"
        t += rng.uniform(2, 8)


def walk_with_assets(all_: Liars) -> None:
    """Pages with the headers of a click, each followed by the stylesheet and its cover with right headers: a script
    whose author has read about missing assets."""
    client, rng = all_.client("walk_with_assets")
    browser, t, before = all_.browser(rng), all_.hour(rng), None
    for track in all_.tracks(rng, 400):
        path = f"/track/{track}"
        site = "same-origin" if before else "none"
        client.req(t, path, browser.nav(before and all_.origin + before, site, client.cookie), 200, 15000)
        client.setcookie()
        page = all_.origin + path
        client.req(t + 0.3, "/static/app.8f3c.css", browser.sub("style", page, client.cookie), 200, 41000)
        client.req(t + 0.4, f"/img/cover/{track}-500.jpg", browser.sub("image", page, client.cookie), 200, 52000)
        before = path
        t += rng.uniform(3, 10)


def walk_with_new_cookies(all_: Liars) -> None:
    """Pages with the headers of a click, from page to page, and another session's cookie each time."""
    client, rng = all_.client("walk_with_new_cookies")
    browser, t, before = all_.browser(rng), all_.hour(rng), "/"
    for track in all_.tracks(rng, 450):
        cookie = f"sid={rng.getrandbits(64):016x}"
        client.req(t, f"/track/{track}", browser.nav(all_.origin + before, "same-origin", cookie), 200, 15000)
        before = f"/track/{track}"
        t += rng.uniform(2, 8)


def api_in_order(all_: Liars) -> None:
    """The JSON interface id by id, with cors headers, our page as Referer and a cookie."""
    client, rng = all_.client("api_in_order")
    browser, t = all_.browser(rng), all_.hour(rng)
    client.setcookie()
    for track in range(all_.site.first, all_.site.first + 800):
        headers = browser.sub("empty", f"{all_.origin}/track/{track}", client.cookie)
        client.req(t, f"/api/v1/tracks/{track}", headers, all_.simulate.tid_status(all_.site, track), 2800)
        t += rng.expovariate(1.0)


def api_shuffled(all_: Liars) -> None:
    """The same in no order."""
    client, rng = all_.client("api_shuffled")
    browser, t = all_.browser(rng), all_.hour(rng)
    client.setcookie()
    for track in all_.tracks(rng, 800):
        headers = browser.sub("empty", f"{all_.origin}/track/{track}", client.cookie)
        client.req(t, f"/api/v1/tracks/{track}", headers, 200, 2800)
        t += rng.expovariate(1.0)


def api_new_cookies(all_: Liars) -> None:
    """The same in no order, with another session's cookie each time."""
    client, rng = all_.client("api_new_cookies")
    browser, t = all_.browser(rng), all_.hour(rng)
    for track in all_.tracks(rng, 800):
        cookie = f"sid={rng.getrandbits(64):016x}"
        client.req(
            t, f"/api/v1/tracks/{track}", browser.sub("empty", f"{all_.origin}/track/{track}", cookie), 200, 2800
        )
        t += rng.expovariate(1.0)


def _images(all_: Liars, persona: str, referer: bool, in_order: bool = True) -> None:
    client, rng = all_.client(persona)
    browser, t = all_.browser(rng), all_.hour(rng)
    ids = list(range(all_.site.first, all_.site.first + 800)) if in_order else list(all_.tracks(rng, 800))
    for track in ids:
        page = f"{all_.origin}/track/{track}" if referer else None
        status = all_.simulate.tid_status(all_.site, track)
        client.req(t, f"/img/cover/{track}-1200.jpg", browser.sub("image", page), status, 240000)
        t += rng.expovariate(3.0)


def images_without_referer(all_: Liars) -> None:
    """Covers in order with complete image headers, and no Referer."""
    _images(all_, "images_without_referer", referer=False)


def images_with_referer(all_: Liars) -> None:
    """Covers in order with complete image headers, and our page as Referer."""
    _images(all_, "images_with_referer", referer=True)


def images_shuffled(all_: Liars) -> None:
    """Covers in no order with complete image headers, and our page as Referer."""
    _images(all_, "images_shuffled", referer=True, in_order=False)


def search_pages(all_: Liars) -> None:
    """Two letters and every page of results, with cors headers, our search page as Referer and a cookie."""
    client, rng = all_.client("search_pages")
    browser, t = all_.browser(rng), all_.hour(rng)
    client.setcookie()
    letters = "abcdefghijklmnopqrstuvwxyz"
    for k in range(640):
        word = letters[(k // 4) // 26 % 26] + letters[(k // 4) % 26]
        headers = browser.sub("empty", f"{all_.origin}/search", client.cookie)
        client.req(t, f"/api/v1/search?q={word}&offset={k % 4 * 50}&limit=50", headers, 200, 20000)
        t += rng.expovariate(1.5)


def search_words(all_: Liars) -> None:
    """Three and four letters, the first page of results only: what people look for as they type."""
    client, rng = all_.client("search_words")
    browser, t = all_.browser(rng), all_.hour(rng)
    client.setcookie()
    for _ in range(640):
        word = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 4)))
        headers = browser.sub("empty", f"{all_.origin}/search", client.cookie)
        client.req(t, f"/api/v1/search?q={word}", headers, 200, 20000)
        t += rng.expovariate(1.5)


def _rip(all_: Liars, persona: str, tracks: int, *, beats: bool = False, page: bool = False) -> None:
    client, rng = all_.client(persona)
    browser, t = all_.browser(rng), all_.hour(rng)
    client.setcookie()
    for track in all_.tracks(rng, tracks):
        path = f"/track/{track}"
        headers = browser.sub("empty", all_.origin + path, client.cookie)
        if page:
            t = client.req(t, path, browser.nav(all_.origin + "/", "same-origin", client.cookie), 200, 15000) + 0.4
            client.req(
                t, f"/img/cover/{track}-500.jpg", browser.sub("image", all_.origin + path, client.cookie), 200, 52000
            )
        t = client.req(t, f"/api/v1/stream/{track}", headers, 200, 700)
        t = client.req(t, f"/hls/{track}/master.m3u8", headers, 200, 300)
        t = client.req(t, f"/hls/{track}/128k/index.m3u8", headers, 200, 1500)
        t = all_.segments(client, t, track, headers)
        if beats:
            for _ in range(2):
                post = browser.sub("empty", all_.origin + path, client.cookie, post=True)
                client.req(t, "/api/v1/events/play", post, 204, 60, 0, "POST")
        t += rng.uniform(0.5, 3)


def hls_one_lane(all_: Liars) -> None:
    """Forty whole tracks one after the other, one segment at a time, with complete cors headers and a cookie."""
    _rip(all_, "hls_one_lane", 40)


def hls_one_lane_slow(all_: Liars) -> None:
    """The same with a pause of three minutes after each track, a quarter less than it takes to hear it."""
    client, rng = all_.client("hls_one_lane_slow")
    browser, t = all_.browser(rng), all_.trace.rng("liar", "slow").uniform(1, 6) * 3600
    client.setcookie()
    for track in all_.tracks(rng, 160):
        headers = browser.sub("empty", f"{all_.origin}/track/{track}", client.cookie)
        client.req(t, f"/api/v1/stream/{track}", headers, 200, 700)
        client.req(t + 0.1, f"/hls/{track}/128k/index.m3u8", headers, 200, 1500)
        all_.segments(client, t + 0.2, track, headers)
        t += 0.75 * all_.site.dur[track]


def hls_with_pages_and_beats(all_: Liars) -> None:
    """Forty tracks, each with its page, its cover and two words of a player that nobody listens to."""
    _rip(all_, "hls_with_pages_and_beats", 40, beats=True, page=True)


def progressive(all_: Liars) -> None:
    """Files one after the other as an audio element asks for them: `sec-fetch-dest: audio`, an open range, a cookie."""
    client, rng = all_.client("progressive")
    browser, t = all_.browser(rng), all_.hour(rng)
    client.setcookie()
    for track in all_.tracks(rng, 120):
        headers = browser.sub("audio", f"{all_.origin}/track/{track}", client.cookie, rng_hdr="bytes=0-")
        seconds = all_.site.dur[track]
        t = client.req(t, f"/media/{track}.mp3", headers, 206, seconds * all_.site.rate, seconds) + rng.uniform(0.5, 3)


def progressive_new_cookies(all_: Liars) -> None:
    """The same, with another session's cookie for each file."""
    client, rng = all_.client("progressive_new_cookies")
    browser, t = all_.browser(rng), all_.hour(rng)
    for track in all_.tracks(rng, 120):
        cookie = f"sid={rng.getrandbits(64):016x}"
        headers = browser.sub("audio", f"{all_.origin}/track/{track}", cookie, rng_hdr="bytes=0-")
        seconds = all_.site.dur[track]
        t = client.req(t, f"/media/{track}.mp3", headers, 206, seconds * all_.site.rate, seconds) + rng.uniform(0.5, 3)


def swarm_of_pages(all_: Liars) -> None:
    """A thousand homes, one page each, with all headers of three browsers, over HTTP/2."""
    tracks = list(all_.tracks(all_.trace.rng("liar", "swarm"), 1000))
    for n, track in enumerate(tracks):
        client, rng = all_.client("swarm_of_pages", n, all_.home("swarm", n), "swarm_of_pages")
        family = rng.choices(("chrome", "firefox", "safari"), (70, 15, 15))[0]
        browser = all_.simulate.Browser(rng, all_.trace.p, family, family == "chrome" and rng.random() < 0.4)
        client.ja4 = f"{family}-tls"
        outside = ("https://www.google.com/", "cross-site") if rng.random() < 0.5 else (None, "none")
        client.req(1800 + 20 * 3600 * (n + rng.random()) / 1000, f"/track/{track}", browser.nav(*outside), 200, 15000)


def subnet_of_pages(all_: Liars) -> None:
    """Four /24s of a data centre, 170 addresses, five to nine pages each, with complete headers."""
    t0 = all_.hour(all_.trace.rng("liar", "subnet"))
    for n in range(170):
        place = all_.trace.rng("liar", "subnet", n)
        ip = f"245.99.{place.randrange(4)}.{place.randrange(1, 255)}"
        client, rng = all_.client("subnet_of_pages", n, ip, "subnet_of_pages")
        browser, t = all_.browser(rng), t0 + rng.random() * 6 * 3600
        for track in all_.tracks(rng, rng.randint(5, 9)):
            path = rng.choice((f"/track/{track}", f"/artist/{all_.site.artist[track]}"))
            client.req(t, path, browser.nav("https://www.google.com/", "cross-site"), 200, 15000)
            t += rng.uniform(5, 90)


def swarm_of_media(all_: Liars) -> None:
    """Sixty homes, one track each: a cover and the stylesheet first, then all segments."""
    for n in range(60):
        client, rng = all_.client("swarm_of_media", n, all_.home("media", n), "swarm_of_media")
        browser, track = all_.browser(rng), all_.site.uniform(rng)
        t, path = 1800 + 20 * 3600 * (n + rng.random()) / 60, f"/track/{track}"
        client.req(t, path, browser.nav(None, "none"), 200, 15000)
        client.setcookie()
        page = all_.origin + path
        client.req(t + 0.3, "/static/app.8f3c.css", browser.sub("style", page, client.cookie), 200, 41000)
        client.req(t + 0.4, f"/img/cover/{track}-500.jpg", browser.sub("image", page, client.cookie), 200, 52000)
        headers = browser.sub("empty", page, client.cookie)
        t = client.req(t + 1, f"/api/v1/stream/{track}", headers, 200, 700)
        t = client.req(t, f"/hls/{track}/128k/index.m3u8", headers, 200, 1500)
        all_.segments(client, t, track, headers)


LIARS: dict[str, tuple[Callable[[Liars], None], str]] = {
    "walk_by_fetch": (walk_by_fetch, "cookieless_browser"),
    "walk_with_assets": (walk_with_assets, "headless_chrome_full"),
    "walk_with_new_cookies": (walk_with_new_cookies, "cookieless_browser"),
    "api_in_order": (api_in_order, "api_metadata_harvester"),
    "api_shuffled": (api_shuffled, "api_metadata_harvester"),
    "api_new_cookies": (api_new_cookies, "api_metadata_harvester"),
    "images_without_referer": (images_without_referer, "image_only_harvester"),
    "images_with_referer": (images_with_referer, "image_only_harvester"),
    "images_shuffled": (images_shuffled, "image_only_harvester"),
    "search_pages": (search_pages, "search_enumerator"),
    "search_words": (search_words, "search_enumerator"),
    "hls_one_lane": (hls_one_lane, "headless_chrome_full"),
    "hls_one_lane_slow": (hls_one_lane_slow, "realtime_mimic"),
    "hls_with_pages_and_beats": (hls_with_pages_and_beats, "headless_chrome_full"),
    "progressive": (progressive, "range_splitter"),
    "progressive_new_cookies": (progressive_new_cookies, "range_splitter"),
    "swarm_of_pages": (swarm_of_pages, "residential_swarm_pages"),
    "subnet_of_pages": (subnet_of_pages, "subnet_swarm_dc"),
    "swarm_of_media": (swarm_of_media, "residential_swarm_media"),
}
"""Who they are, and whose bar each is measured against."""


def write_all(simulate: ModuleType, trace: Any) -> None:
    all_ = Liars(simulate, trace)
    for write, _ in LIARS.values():
        write(all_)

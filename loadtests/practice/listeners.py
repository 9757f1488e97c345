"""People of our own, with habits that the simulator's people do not have: whoever tunes detection must not hurt them.

None is signed in: an account would vouch for them. Written against the simulator's classes, as the liars are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from types import ModuleType
from typing import Any


@dataclass
class People:
    """One simulator and the trace that they write into."""

    simulate: ModuleType
    trace: Any
    site: Any = field(init=False)
    origin: str = field(init=False)

    def __post_init__(self) -> None:
        self.site, self.origin = self.trace.site, self.simulate.ORIGIN

    def person(self, persona: str, number: int, family: str = "chrome", ip: str = "") -> tuple[Any, Any, Random]:
        """A client at home, with its browser and its dice."""
        rng = self.trace.rng("people", persona, number)
        browser = self.simulate.Browser(rng, self.trace.p, family)
        address = ip or self.simulate.home_ip(rng)
        client = self.simulate.Client(
            self.trace, rng, persona, number, address, ja4=browser.ja4, can_js=True, mbps=self.trace.p["mbps_home"]
        )
        return client, browser, rng

    def hour(self, rng: Random) -> float:
        return float(rng.uniform(2, 20) * 3600)

    def session(self, client: Any, browser: Any, t: float, tracks: int, **how: Any) -> float:
        """A sitting at the web player."""
        return float(self.simulate.web_session(client, browser, t, tracks, **how))


def any_family(n: int) -> str:
    return ("chrome", "firefox", "safari")[n % 3]


def skips_a_lot(all_: People) -> None:
    """A dozen tracks in ten minutes, each heard for a few seconds, with hls.js: each was fetched whole."""
    for n in range(12):
        client, browser, rng = all_.person("skips_a_lot", n)
        t = all_.hour(rng)
        all_.session(client, browser, t, 12, hls="hlsjs", think=(3, 0.5), skip=lambda r, d: min(d, r.uniform(3, 60)))


def digs_for_hours(all_: People) -> None:
    """Sixty tracks in three hours, half of them skipped, with hls.js."""
    for n in range(6):
        client, browser, rng = all_.person("digs_for_hours", n)
        t = rng.uniform(2, 18) * 3600
        all_.session(client, browser, t, 60, hls="hlsjs", think=(20, 0.8), skip=lambda r, d: d * r.choice((0.2, 1.0)))


def dj_signed_out(all_: People) -> None:
    """As the simulator's DJs: thirty to fifty tracks of 4 to 22 seconds each, but without an account."""
    for n in range(4):
        client, browser, rng = all_.person("dj_signed_out", n)
        tracks, t = rng.randint(30, 50), all_.hour(rng)
        all_.session(client, browser, t, tracks, hls="hlsjs", think=(2.5, 0.6), skip=lambda r, d: r.uniform(4, 22))


def radio_signed_out(all_: People) -> None:
    """A tab in a shop that plays for eight hours, at listening speed."""
    for n in range(3):
        client, browser, rng = all_.person("radio_signed_out", n)
        t = rng.uniform(5, 9) * 3600
        all_.session(client, browser, t, 140, hls="hlsjs", think=(0.5, 0.2), skip=lambda r, d: d, returning=True)


def warm_without_cookie(all_: People) -> None:
    """Whose cache outlived the cookie: a page, a call, and music; styles, script and cover are there already."""
    for n in range(20):
        client, browser, rng = all_.person("warm_without_cookie", n, any_family(n))
        t, track = all_.hour(rng), all_.site.popular(rng)
        path = f"/track/{track}"
        client.req(t, path, browser.nav("https://www.google.com/", "cross-site"), 200, 15000)
        client.setcookie()
        headers = browser.sub("empty", all_.origin + path, client.cookie)
        client.req(t + 0.5, "/api/v1/me", headers, 200, 300)
        t += rng.uniform(3, 20)
        t = client.req(t, f"/api/v1/stream/{track}", headers, 200, 700)
        client.req(t, f"/waveform/{track}.json", headers, 200, 9000)
        t = client.req(t + 0.05, f"/hls/{track}/128k/index.m3u8", headers, 200, 1500)
        for k in range(all_.site.nseg(track)):
            seconds = all_.site.seg_s(track, k)
            piece = f"/hls/{track}/128k/seg{k:04d}.m4s"
            t = client.req(t, piece, headers, 200, seconds * all_.site.rate, seconds) + 0.02


def reads_without_pictures(all_: People) -> None:
    """Pictures and scripts off, cookies refused, no Referer sent: thirty pages in an hour, from page to page."""
    for n in range(6):
        client, browser, rng = all_.person("reads_without_pictures", n, "firefox")
        t = all_.hour(rng)
        for k in range(30):
            path = f"/track/{all_.site.popular(rng)}" if k % 3 else f"/artist/{rng.randint(1, 800)}"
            client.req(t, path, browser.nav(None, "same-origin" if k else "none"), 200, 15000)
            if not k:
                client.req(t + 0.3, "/static/app.8f3c.css", browser.sub("style", None), 200, 41000)
            t += rng.uniform(20, 200)


def reads_in_lynx(all_: People) -> None:
    """A text browser that refuses cookies: twenty pages."""
    for n in range(6):
        client, _, rng = all_.person("reads_in_lynx", n, "firefox")
        client.can_js = False
        t = all_.hour(rng)
        for k in range(20):
            headers = [
                ["Host", all_.simulate.HOST],
                ["Accept", "text/html, text/plain, text/sgml, text/css, application/xhtml+xml, */*;q=0.01"],
                ["Accept-Encoding", "gzip, compress, bzip2"],
                ["Accept-Language", "en"],
                ["User-Agent", "Lynx/2.9.2 libwww-FM/2.14 SSL-MM/1.4.1 OpenSSL/3.5.1"],
                *([["Referer", all_.origin + "/"]] if k else []),
            ]
            client.req(t, f"/track/{all_.site.popular(rng)}" if k else "/", headers, 200, 15000)
            t += rng.uniform(10, 90)


def class_in_private_windows(all_: People) -> None:
    """Thirty pupils with the same computers at one address, all in private windows: a page with its parts, a track."""
    ip, start = all_.simulate.v4(all_.trace.rng("people", "class"), 243), 9.3 * 3600
    for n in range(30):
        client, browser, rng = all_.person("class_in_private_windows", n, ip=ip)
        browser.ua = browser.ua.split(" Edg/")[0]
        all_.session(client, browser, start + rng.uniform(0, 300), rng.randint(1, 3), returning=False)


def scrolls_covers(all_: People) -> None:
    """Scrolls through a wall of four hundred covers, and opens none."""
    for n in range(4):
        client, browser, rng = all_.person("scrolls_covers", n, any_family(n))
        t = all_.simulate.page_load(client, browser, all_.hour(rng), "/", None, "none")
        for k in range(20):
            t = all_.simulate.api(client, browser, t, f"/api/v1/charts?offset={20 * k}", "/", 14000)
            for track in rng.sample(all_.site.ids, 20):
                headers = browser.sub("image", all_.origin + "/", client.cookie)
                client.req(t + rng.uniform(0, 0.3), f"/img/cover/{track}-300.jpg", headers, 200, 30000)
            t += rng.uniform(1, 6)


def comes_by_app_shell(all_: People) -> None:
    """Installed to the home screen: pages come from the service worker, only calls and covers from the site."""
    for n in range(6):
        client, browser, rng = all_.person("comes_by_app_shell", n)
        client.setcookie()
        t = all_.hour(rng)
        for _ in range(80):
            track = all_.site.popular(rng)
            t = all_.simulate.api(client, browser, t, f"/api/v1/tracks/{track}", f"/track/{track}")
            headers = browser.sub("image", f"{all_.origin}/track/{track}", client.cookie)
            client.req(t + 0.1, f"/img/cover/{track}-500.jpg", headers, 200, 52000)
            t += rng.uniform(4, 60)


def types_searches(all_: People) -> None:
    """Looks for a name, letter by letter, thirty times."""
    words = ("ambient tape", "dub siren", "field recording", "lofi piano", "acid 303", "choir", "gamelan", "footwork")
    for n in range(6):
        client, browser, rng = all_.person("types_searches", n, any_family(n))
        t = all_.simulate.page_load(client, browser, all_.hour(rng), "/search", None, "none", first=False)
        for _ in range(30):
            word = f"{rng.choice(words)} {rng.choice(('live', 'ep', 'demo'))}"
            for length in range(1, len(word), 2):
                query = word[:length].replace(" ", "+")
                t = all_.simulate.api(client, browser, t, f"/api/v1/search?q={query}", "/search", 2500)
                t += rng.uniform(0.15, 0.5)
            t += rng.uniform(3, 20)


def hears_albums(all_: People) -> None:
    """Five albums, each from its first to its last track, at listening speed; the album's pages are opened, too."""
    for n in range(6):
        client, browser, rng = all_.person("hears_albums", n)
        t = rng.uniform(1, 12) * 3600
        t = all_.simulate.page_load(client, browser, t, "/", None, "none")
        for _ in range(5):
            album = all_.site.album[all_.site.popular(rng)]
            for track in album:
                t = all_.simulate.api(client, browser, t, f"/api/v1/tracks/{track}", f"/track/{track}")
                t = all_.simulate.play(
                    client, browser, t, track, f"/track/{track}", all_.site.dur[track], "progressive"
                )


LISTENERS: tuple[Callable[[People], None], ...] = (
    skips_a_lot,
    digs_for_hours,
    dj_signed_out,
    radio_signed_out,
    warm_without_cookie,
    reads_without_pictures,
    reads_in_lynx,
    class_in_private_windows,
    scrolls_covers,
    comes_by_app_shell,
    types_searches,
    hears_albums,
)


def write_all(simulate: ModuleType, trace: Any) -> None:
    all_ = People(simulate, trace)
    for write in LISTENERS:
        write(all_)

"""A visit with a browser: pages and their parts, calls of the page's script, tracks as players fetch them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random

from tests.listeners.apps import core_media
from tests.listeners.browsers import Browser
from tests.listeners.lines import ORIGIN, Sitting
from tests.listeners.platform import (
    BYTES_PER_S,
    SEGMENT_S,
    Platform,
    album_of,
    artist_of,
    length_s,
    popular,
    size_of,
    tracks_of,
)

SEARCH_ENGINE = "https://www.google.com/"
SOCIAL = "https://social.example/"


def player_of(browser: Browser) -> str:
    """The name under which the system of this browser plays."""
    found = re.search(r"(iPhone|iPad); CPU (?:iPhone )?OS ([0-9_]+)", browser.user_agent)
    system = f"{found[1]}; U; CPU OS {found[2]}" if found else "iPhone; U; CPU OS 26_6"
    return f"AppleCoreMedia/1.0.0.24A335 ({system} like Mac OS X; en_us)"


def heard_s(rng: Random, length: float) -> float:
    """How long people listen: a quarter skips within 5 s, half hears the end (Lamere, The Skip, 2014)."""
    chance = rng.random()
    for share, low, high in ((0.241, 1.0, 5.0), (0.29, 5.0, 10.0), (0.351, 10.0, 30.0), (0.486, 30.0, length * 0.95)):
        if chance < share:
            return min(length, rng.uniform(low, max(low + 1, high)))
    return length


def pause_s(rng: Random, median: float = 12.0) -> float:
    return rng.lognormvariate(math.log(median), 0.8)


class Visit(Sitting):
    """A person with a browser on a platform. `cookie` is None until the platform has set one."""

    def __init__(
        self,
        rng: Random,
        site: Platform,
        browser: Browser,
        ip: str | None = None,
        *,
        auth: str | None = None,
        returning: bool = False,
        mbps: float = 40.0,
    ) -> None:
        super().__init__(rng, ip, proto=browser.proto, auth=auth, mbps=mbps)
        self.site = site
        self.browser = browser if site.tells_referer else replace(browser, sends_referer=False)
        self.player = player_of(browser)
        self.cookie: str | None = None
        self.cold = not returning
        if returning or auth:
            self.get_cookie()

    def get_cookie(self) -> None:
        if self.site.sets_cookies and self.browser.keeps_cookies and self.cookie is None:
            self.cookie = f"sid={self.rng.getrandbits(64):016x}"

    # -- pages -----------------------------------------------------------------------------------------

    def document(
        self,
        t: float,
        path: str,
        *,
        referer: str | None = None,
        site: str = "none",
        dest: str = "document",
        status: int = 200,
        purpose: str | None = None,
        etag: str | None = None,
    ) -> float:
        third_party = dest == "iframe" and site == "cross-site"
        headers = self.browser.headers(
            dest,
            site=site,
            referer=referer,
            cookie=None if third_party else self.cookie,
            purpose=purpose,
            etag=etag,
            clicked=site != "none" or self.rng.random() < 0.8,
        )
        t = self.ask(t, path, headers, status=status, size=size_of(path, 15_000))
        if not third_party and not purpose:
            self.get_cookie()
        return t

    def part(
        self,
        t: float,
        kind: str,
        path: str,
        dest: str,
        on: str,
        usual: int,
        *,
        status: int = 200,
        cookie: bool = True,
        etag: str | None = None,
    ) -> float:
        """Something that a page made of paths `on` needs. What is of no platform or on another host writes no line."""
        if not path or kind in self.site.elsewhere:
            return t + 0.05
        headers = self.browser.headers(dest, referer=ORIGIN + on, cookie=self.cookie if cookie else None, etag=etag)
        return self.ask(t, path, headers, status=status, size=size_of(path, usual))

    def parts(self, t: float, on: str, covers: Iterable[str] = (), *, cookie: bool = True) -> float:
        """The static files of a cold page, or what a warm cache asks again, and the pictures on it."""
        rng, site = self.rng, self.site
        if self.cold:
            for path, dest, usual in site.static:
                self.part(t + rng.uniform(0, 0.06), "static", path, dest, on, usual, cookie=cookie)
            self.part(t + rng.uniform(0.3, 0.9), "favicon", site.favicon, "image", on, 1400, cookie=cookie)
            if self.browser.brands:
                self.part(t + rng.uniform(0.3, 0.9), "static", site.web_manifest, "manifest", on, 900, cookie=False)
        elif rng.random() < 0.12:
            path, dest, usual = site.static[0]
            self.part(t, "static", path, dest, on, usual, status=304, etag='"8f3c"')
        for path in covers:
            if self.cold or rng.random() < 0.6:
                self.part(t + rng.uniform(0.1, 0.5), "artwork", path, "image", on, 30_000, cookie=cookie)
        self.cold = False
        return t + 0.6

    def page(
        self, t: float, path: str, covers: Iterable[str] = (), *, referer: str | None = None, site: str = "none"
    ) -> float:
        t = self.document(t, path, referer=referer, site=site)
        return self.parts(t + self.rng.uniform(0.05, 0.3), path, covers)

    def call(self, t: float, path: str, on: str, *, usual: int = 3000, method: str = "GET", status: int = 200) -> float:
        """What the script of the page asks."""
        if not path or "api" in self.site.elsewhere:
            return t + 0.05
        posts = "application/json" if method == "POST" else None
        headers = self.browser.headers("empty", referer=ORIGIN + on, cookie=self.cookie, posts=posts)
        return self.ask(t, path, headers, status=status, size=size_of(path, usual), method=method)

    def covers(self, number: int, width: int = 300) -> list[str]:
        return [self.site.at(self.site.cover, popular(self.rng), width) for _ in range(number)]

    # -- playing ---------------------------------------------------------------------------------------

    def play(self, t: float, track: int, on: str, heard: float | None = None, way: str = "hls.js") -> float:
        """One track until the listener moves on.

        `way`: hls.js takes all of it at once, `paced` keeps 50 s ahead, `phone` plays in another process under another
        name, `file` is one open range, `slow` one that lasts as long as the track, `ranges` are closed as Safari's.
        """
        rng, site = self.rng, self.site
        length = length_s(track)
        heard = heard_s(rng, length) if heard is None else min(heard, length)
        way = "ranges" if way == "file" and self.browser.family == "webkit" else way
        t = self.call(t, site.at(site.stream, track), on, usual=700)
        if rng.random() < 0.8:
            self.call(t + 0.02, site.at(site.waveform, track), on, usual=9000)
        if rng.random() < 0.7:
            self.part(t + 0.03, "artwork", site.at(site.cover, track, 500), "image", on, 52_000)
        start = t + 0.05
        if "media" not in site.elsewhere:
            if way in ("file", "slow", "ranges") or not site.segment:
                self._play_file(
                    start, track, on, heard, {"phone": "ranges", "ranges": "ranges", "slow": "slow"}.get(way, "file")
                )
            else:
                self._play_segments(start, track, on, heard, way)
        for beat in range(1, int(heard // 30) + 1):
            if beat <= 2 or beat % 4 == 0:
                self.call(start + beat * 30, site.played, on, usual=60, method="POST", status=204)
        return start + heard

    def _play_segments(self, start: float, track: int, on: str, heard: float, way: str) -> None:
        rng, site = self.rng, self.site
        if way == "phone":
            headers = core_media(rng, cookie=self.cookie, name=self.player)
        else:
            headers = self.browser.headers("empty", referer=ORIGIN + on, cookie=self.cookie)
        if site.master:
            self.ask(start, site.at(site.master, track), headers, size=300)
        self.ask(start + 0.06, site.at(site.variant, track), headers, size=1500)
        length, at, got = length_s(track), start + 0.12, 0.0
        ahead = {"hls.js": 600.0, "paced": 50.0}.get(way, 75.0)
        number = math.ceil(length / SEGMENT_S)
        first = int(number * rng.uniform(0.2, 0.6)) if heard > 40 and rng.random() < 0.1 else 0
        for n in range(first, number):
            at = max(at, start + got - ahead)
            if at > start + heard:
                break
            part_s = min(SEGMENT_S, length - n * SEGMENT_S)
            path = site.at(site.segment, track, n)
            at = self.ask(at, path, headers, size=part_s * BYTES_PER_S, audio_s=part_s) + rng.uniform(0.004, 0.03)
            got += part_s

    def _play_file(self, start: float, track: int, on: str, heard: float, way: str) -> None:
        rng, site = self.rng, self.site
        path, total = site.at(site.file, track), int(length_s(track) * BYTES_PER_S)
        playback = f"{rng.getrandbits(64):X}"

        def take(t: float, byte_range: str, size: float, *, as_player: bool = False, dur: float | None = None) -> float:
            headers = (
                core_media(rng, byte_range, self.cookie, self.player, playback)
                if as_player
                else self.browser.headers("audio", referer=ORIGIN + on, cookie=self.cookie, byte_range=byte_range)
            )
            return self.ask(t, path, headers, status=206, size=size, audio_s=size / BYTES_PER_S, dur=dur)

        if way in ("file", "slow"):
            take(start, "bytes=0-", total, dur=heard if way == "slow" else None)
            if heard > 40 and rng.random() < 0.15:
                offset = int(rng.uniform(0.3, 0.8) * total)
                take(start + heard * 0.4, f"bytes={offset}-", total - offset)
            return
        phone = self.browser.mobile
        at = take(start, "bytes=0-1", 2, as_player=phone) + 0.03
        if rng.random() < 0.5:
            take(at, f"bytes=0-{total - 1}", total, as_player=phone)
            return
        offset = 0
        while offset < total and at < start + heard:
            end = min(total, offset + rng.choice((65_536, 262_144, 1_048_576))) - 1
            at = take(at, f"bytes={offset}-{end}", end - offset + 1, as_player=phone) + rng.uniform(0.05, 0.5)
            offset = end + 1
            if offset > 2_000_000:
                at = max(at, start + offset / BYTES_PER_S - 60)

    # -- whole sittings --------------------------------------------------------------------------------

    def listen(
        self,
        t: float,
        tracks: int,
        *,
        way: str = "",
        think_s: float = 12.0,
        heard: Sequence[float] | None = None,
        first: str = "",
    ) -> float:
        """Come to the platform from somewhere, hear some tracks, look at an artist now and then."""
        rng, site = self.rng, self.site
        track = popular(rng)
        queue = [other for other in tracks_of(album_of(track)) if other >= track]
        here = first or rng.choice(
            (
                site.home,
                site.at(site.track, track),
                site.at(site.track, track),
                site.at(site.artist, artist_of(track)),
                site.at(site.album, album_of(track)),
            )
        )
        chance = rng.random()
        referer = SEARCH_ENGINE if chance < 0.35 else SOCIAL if chance < 0.5 else None
        t = self.page(
            t, here, self.covers(rng.randint(2, 8)), referer=referer, site="cross-site" if referer else "none"
        )
        self.call(t, site.me, here, usual=300)
        way = way or self.usual_way()
        for number in range(tracks):
            t += pause_s(rng, think_s) if number == 0 or rng.random() < 0.35 else 0.3
            if rng.random() < 0.16:
                track = popular(rng)
                here = site.at(site.artist, artist_of(track))
                t = self.call(t, site.at(site.about_artist, artist_of(track)), here, usual=5200)
                for path in self.covers(5):
                    self.part(t + rng.uniform(0, 0.3), "artwork", path, "image", here, 30_000)
                queue = tracks_of(album_of(track))
                t += rng.uniform(2, 15)
            queue = queue or tracks_of(album_of(popular(rng)))
            track = queue.pop(0)
            if rng.random() < 0.5:
                t = self.call(t, site.at(site.about_track, track), here, usual=2800)
            t = self.play(t, track, here, heard[number] if heard else None, way)
        return t

    def usual_way(self) -> str:
        """How this browser plays, where the platform offers both files and segments."""
        if self.browser.family == "webkit":
            if self.browser.mobile:
                return "phone"
            return "paced" if self.rng.random() < 0.5 else "ranges"
        return "hls.js" if self.rng.random() < 0.55 else "file"

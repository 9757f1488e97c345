"""For tests of detection: a site under watch whose clock the test moves, and what comes to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random

from guard import Guard, Policy, Request
from guard.load import read_policy
from guard.lookout import Lookout
from guard.model import Decision
from guard.watching import Told, newest_of
from tests.listeners import browsers

NOON_S = 1_795_000_000.0
HOST = "music.example"
ROUTES = """
routes:
- {class: static, paths: [/static/**]}
- {class: artwork, paths: [/img/**]}
- {class: search, paths: [/search, /api/search]}
- {class: api, paths: [/api/**]}
- {class: manifest, paths: ["/hls/*/index.m3u8"]}
- {class: media, paths: [/hls/**, /media/**]}
- {class: feed, paths: [/feeds/**]}
"""
POLICY = """
version: 1
site: {name: test, url: 'https://music.example', contact: 'mailto:us@music.example'SITE}
default: allow
MOREdetection: {WORDS}
"""

Fields = dict[bytes, bytes]

CHROME = browsers.chrome(Random(0), "windows", 157)
FIREFOX = browsers.firefox(Random(1), 160)
PYTHON: Fields = {
    b"host": HOST.encode(),
    b"user-agent": b"python-requests/2.32.5",
    b"accept-encoding": b"gzip, deflate",
    b"accept": b"*/*",
}
CURL: Fields = {b"host": HOST.encode(), b"user-agent": b"curl/8.14.1", b"accept": b"*/*"}
MPV: Fields = {b"host": HOST.encode(), b"user-agent": b"mpv 0.40.0", b"accept": b"*/*", b"range": b"bytes=0-"}


def lines_of(rows: list[list[str]]) -> Fields:
    """Headers as they are handed to the guard: names in lower case."""
    return {name.lower().encode(): value.encode("latin-1") for name, value in rows}


def by(browser: browsers.Browser, dest: str, sid: str = "", **more: str) -> Fields:
    """What a browser sends for `dest`; `sid` is its cookie of the site, `more` as `Browser.headers` has it."""
    cookie = f"sid={sid}" if sid else None
    return {b"host": HOST.encode()} | lines_of(browser.headers(dest, cookie=cookie, **more))  # type: ignore[arg-type]


def policy_of(words: str = "", site: str = "", more: str = "") -> Policy:
    """A policy that lets all pass, and looks at who asks. All browsers are as old as on the day of Chrome 157."""
    text = POLICY.replace("SITE", site).replace("WORDS", words).replace("MORE", ROUTES.lstrip() + more)
    policy = read_policy(text)
    assert policy.detecting is not None
    return replace(policy, detecting=replace(policy.detecting, newest_s=newest_of({"chrome": 157})))


class Site:
    """A guard and its lookout; no time goes by but what the test lets go by."""

    def __init__(self, words: str = "", site: str = "", more: str = "", policy: Policy | None = None) -> None:
        self.now_s = 0.0
        self.policy = policy or policy_of(words, site, more)
        self.lookout = Lookout(clock=lambda: self.now_s, wall=lambda: NOON_S + self.now_s)
        self.guard = Guard(self.policy, lookout=self.lookout, clock=lambda: NOON_S + self.now_s, secret=b"the same")

    def later(self, seconds: float) -> Site:
        self.now_s += seconds
        return self

    def ask(
        self,
        target: str,
        fields: Mapping[bytes, bytes],
        ip: str = "203.0.113.9",
        *,
        method: str = "GET",
        size: int = 2_000,
        hints: Mapping[bytes, bytes] | None = None,
        account: bytes = b"",
        after_s: float = 0.0,
        holds: bool = False,
    ) -> Decision:
        """One request and its whole answer. With `holds` the answer goes on and on."""
        self.now_s += after_s
        path, _, query = target.partition("?")
        request = Request(method, path.encode(), fields.get(b"user-agent", b""), ip, (), None, query.encode())
        told = Told(account, None, True)
        decision, watched = self.guard.watch(request, self.guard.decide(request), fields, told)
        if watched is not None and not holds:
            self.guard.hear(watched, 206 if b"range" in fields else 200, size, hints)
        return decision

    def visit(self, number: int, ip: str, browser: browsers.Browser = CHROME, sid: str = "") -> list[Decision]:
        """Somebody opens the page of a track, which loads what belongs to it."""
        page = f"https://{HOST}/track/{number}"
        return [
            self.ask(f"/track/{number}", by(browser, "document", sid, site="none"), ip),
            self.ask("/static/app.css", by(browser, "style", sid, referer=page), ip, after_s=0.2),
            self.ask(f"/img/{number}.jpg", by(browser, "image", sid, referer=page), ip, after_s=0.1),
        ]

    def opened(self) -> Site:
        """The site after a morning on which thirty people came, all over the catalogue."""
        for person in range(30):
            done = self.visit(1_000 + 33_331 * person, f"198.51.{person}.7", sid=f"early-{person}")
            assert {decision.action for decision in done} == {"allow"}
            self.later(20)
        return self


def count_until(action: str, decisions: list[Decision]) -> int:
    """The number of the first request that ended so, 0 when none did."""
    return next((at for at, decision in enumerate(decisions, 1) if decision.action == action), 0)


def names_of(decision: Decision) -> set[str]:
    """What was found."""
    return {signal.name for signal in decision.signals}

"""Who listens: browsers with a person at them, players, a podcast app's backlog. None of them may ever be refused."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from loadtests.clients.browsers import Browser, BrowserError, await_page, chromium, firefox
from loadtests.clients.processes import RigError, Session, running, tail

WORDS = ("river", "night", "paper", "glass", "north", "lantern", "salt", "moss", "reed", "harbour")
NOT_AUDIBLE_S = 25.0


@dataclass
class Visit:
    """What a client is given: its way in, its time, its folder; and what it tells afterwards."""

    name: str
    url: str
    session: Session
    folder: Path
    rng: Random
    tracks: tuple[int, ...]
    python: Path
    display: str | None
    heard_s: float = 0.0
    """How far the player's own clock went."""
    told: list[str] = field(default_factory=list)


# -- people at a browser -------------------------------------------------------------------------------------------


def browse_chromium_hls(visit: Visit) -> None:
    with chromium(visit.folder, visit.display) as browser:
        stroll(visit, browser, "hls")


def browse_chromium_audio(visit: Visit) -> None:
    with chromium(visit.folder, visit.display) as browser:
        stroll(visit, browser, "file")


def browse_firefox_hls(visit: Visit) -> None:
    with firefox(visit.folder, visit.display) as browser:
        stroll(visit, browser, "hls")


def browse_firefox_audio(visit: Visit) -> None:
    with firefox(visit.folder, visit.display) as browser:
        stroll(visit, browser, "file")


def stroll(visit: Visit, browser: Browser, player: str) -> None:
    """Home, an album or a playlist or a search, a few tracks of it, some to the end and some skipped, home again."""
    session, rng = visit.session, visit.rng
    browser.open(f"{visit.url}/?player={player}")
    while not session.over:
        session.rest(rng.uniform(1.5, 5))
        if not choose(visit, browser):
            if not click(visit, browser, "a.brand") and not session.over:
                browser.open(f"{visit.url}/")
            continue
        session.rest(rng.uniform(1, 4))
        if not click(visit, browser, 'ol.tracks a[href^="/track/"]'):
            click(visit, browser, "a.brand")
            continue
        for _ in range(rng.randint(1, 6)):
            visit.heard_s += listen(visit, browser)
            if session.over or not click(visit, browser, 'a[rel="next"]'):
                break
        if not session.over:
            click(visit, browser, "a.brand")


def choose(visit: Visit, browser: Browser) -> bool:
    """To a list of tracks. False when there was nothing to click on."""
    way = visit.rng.random()
    if way < 0.55:
        return click(visit, browser, 'ul.covers a[href^="/album/"]')
    if way < 0.8:
        return click(visit, browser, 'ul.pills a[href^="/playlist/"]')
    words = json.dumps(visit.rng.choice(WORDS))
    found = browser.run(
        f"(() => {{ const form = document.querySelector('form[role=search]'); if (!form) return false;"
        f" form.q.value = {words}; form.requestSubmit(); return true; }})()"
    )
    if found:
        await_page(browser, f"{visit.url}/search?q={json.loads(words)}")
    return bool(found)


def click(visit: Visit, browser: Browser, selector: str) -> bool:
    """One of the links that match, and wait for its page. False if there is none or the time is over."""
    if visit.session.over:
        return False
    share = visit.rng.random()
    href = browser.run(
        f"(() => {{ const all = document.querySelectorAll({json.dumps(selector)}); if (!all.length) return null;"
        f" const it = all[Math.floor({share} * all.length)]; it.scrollIntoView(); it.click(); return it.href; }})()"
    )
    if href:
        await_page(browser, href)
    return bool(href)


def listen(visit: Visit, browser: Browser) -> float:
    """Press play and listen as long as people do. How many seconds were heard; raises when it stays silent."""
    session, wanted_s = visit.session, patience_s(visit)
    with contextlib.suppress(BrowserError):  # whether it plays is asked below
        browser.run("(audio => { audio.muted = true; void audio.play(); })(document.querySelector('audio'))")
    silent, heard_s, ended = Session(NOT_AUDIBLE_S, session.stop), 0.0, False
    while not session.over and not ended and heard_s < wanted_s:
        session.rest(0.5)
        heard_s, ended, error = browser.run(
            "(({currentTime, ended, error}) => [currentTime, ended, error && error.message])"
            "(document.querySelector('audio'))"
        )
        if error or (silent.over and not heard_s and not session.over):
            raise BrowserError(f"nothing is heard: {error or 'silence'}")
    return heard_s


def patience_s(visit: Visit) -> float:
    """How long a track is listened to: a quarter is skipped within 5 s, a third within 30, half is heard to its end."""
    rng, fate = visit.rng, visit.rng.random()
    longest_s = 600.0 if visit.session.seconds >= 300 else max(8.0, visit.session.seconds / 4)
    if fate < 0.24:
        return rng.uniform(2, 5)
    if fate < 0.35:
        return min(longest_s, rng.uniform(5, 30))
    if fate < 0.49:
        return min(longest_s, rng.uniform(30, 120))
    return longest_s


# -- players -------------------------------------------------------------------------------------------------------


def pick(visit: Visit) -> Iterator[tuple[str, float]]:
    """Addresses of audio and how long each is listened to, for the session: an album's neighbours, then others."""
    total_s, at = 0.0, 0
    while total_s < visit.session.seconds + 30:
        if at == 0 or visit.rng.random() < 0.25:
            at = visit.rng.randrange(len(visit.tracks) - 20)
        at = (at + 1) % len(visit.tracks)
        track, seconds = visit.tracks[at], min(250.0, patience_s(visit))
        yield f"{visit.url}/{visit.rng.choice((f'hls/{track}/master.m3u8', f'media/{track}.mp3'))}", seconds
        total_s += seconds


def run_player(visit: Visit, command: list[str], unprivileged: bool = False) -> None:
    """A player to its end or to the session's, whichever is first. Raises when it fails."""
    log = visit.folder / "player.log"
    environment = {"HOME": str(visit.folder), "XDG_RUNTIME_DIR": str(visit.folder), "DISPLAY": ""}
    visit.folder.chmod(0o777)
    with running(command, log, environment=environment, unprivileged=unprivileged) as process:
        code = visit.session.await_exit(process)
        if code:
            raise RigError(f"{command[0]} ended with {code}:\n{tail(log)}")


def play_mpv(visit: Visit) -> None:
    command = ["mpv", "--no-config", "--no-terminal", "--no-video", "--ao=null"]
    for url, seconds in pick(visit):
        command += ["--{", f"--length={seconds:.0f}", url, "--}"]
    run_player(visit, command)


def play_vlc(visit: Visit) -> None:
    """VLC refuses to be root."""
    command = ["cvlc", "--intf", "dummy", "--no-video", "--aout", "adummy", "--play-and-exit"]
    command += ["--no-metadata-network-access", "--ignore-config"]
    for url, seconds in pick(visit):
        command += [url, f":stop-time={seconds:.0f}"]
    run_player(visit, command, unprivileged=True)


def play_ffmpeg(visit: Visit) -> None:
    """At the speed of the music, as one who streams it on."""
    for url, seconds in pick(visit):
        if visit.session.over:
            return
        command = ["ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", "-re", "-i", url]
        run_player(visit, [*command, "-t", f"{seconds:.0f}", "-f", "null", "-"])


def fetch_backlog(visit: Visit) -> None:
    """A new subscriber's app: the feed, then every episode, four at a time, then the feed again now and then."""
    feed, etag = visit.folder / "feed.xml", visit.folder / "etag"
    ask = ["curl", "--silent", "--show-error", "--fail", "--output", str(feed), "--etag-save", str(etag)]
    run_player(visit, [*ask, f"{visit.url}/podcast/feed.xml"])
    episodes = dict.fromkeys(re.findall(r'<enclosure[^>]* url="([^"]+)"', feed.read_text("utf-8")))
    if not episodes:
        raise RigError("the feed names no episode")
    command = ["curl", "--silent", "--show-error", "--fail", "--parallel", "--parallel-max", "4"]
    for n, url in enumerate(episodes):
        command += ["--output", str(visit.folder / f"episode-{n}.mp3"), url]
    run_player(visit, command)
    for kept in visit.folder.glob("episode-*.mp3"):
        kept.unlink()
    while not visit.session.over:
        run_player(visit, [*ask, "--etag-compare", str(etag), f"{visit.url}/podcast/feed.xml"])
        visit.session.rest(60)


@dataclass(frozen=True)
class Client:
    """`needs` are commands; `about` is for people."""

    name: str
    about: str
    act: Callable[[Visit], None]
    needs: tuple[str, ...]
    version: tuple[str, ...]
    listener: bool = True
    windowed: bool = False


LISTENERS = (
    Client(
        "chromium-hls",
        "Chromium with hls.js",
        browse_chromium_hls,
        ("chromium", "Xvfb"),
        ("chromium", "--version"),
        windowed=True,
    ),
    Client(
        "chromium-audio",
        "Chromium with <audio>",
        browse_chromium_audio,
        ("chromium", "Xvfb"),
        ("chromium", "--version"),
        windowed=True,
    ),
    Client(
        "firefox-hls",
        "Firefox ESR with hls.js",
        browse_firefox_hls,
        ("firefox-esr", "Xvfb"),
        ("firefox-esr", "--version"),
        windowed=True,
    ),
    Client(
        "firefox-audio",
        "Firefox ESR with <audio>",
        browse_firefox_audio,
        ("firefox-esr", "Xvfb"),
        ("firefox-esr", "--version"),
        windowed=True,
    ),
    Client("mpv", "mpv, files and HLS", play_mpv, ("mpv",), ("mpv", "--version")),
    Client("vlc", "VLC, files and HLS", play_vlc, ("cvlc",), ("dpkg-query", "-W", "-f", "VLC ${Version}", "vlc-bin")),
    Client("ffmpeg", "ffmpeg at the music's pace", play_ffmpeg, ("ffmpeg",), ("ffmpeg", "-version")),
    Client("podcast", "a podcast backlog with curl", fetch_backlog, ("curl",), ("curl", "--version")),
)

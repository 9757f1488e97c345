"""Who comes to a music platform: one Locust user class a persona, each with the header lines its client really sends.

A persona finds its way as its client does: it reads pages, feeds and lists, and follows what stands there. Every
answer is read whole, compared with its Content-Length and, where the ETag is drawn from the bytes, with those.
Every person has an address of their own in X-Forwarded-For, as if a TLS-terminating hop stood in front.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from itertools import count, islice
from random import Random
from typing import Any, ClassVar
from urllib.parse import urlencode, urlsplit
from uuid import UUID

import gevent
from geventhttpclient.response import HTTPParseError
from geventhttpclient.url import URL
from locust import FastHttpUser, task
from locust.exception import StopUser

Headers = dict[str, str]

SITE = "hollow-reed.example"
OK = frozenset({200})
PART = frozenset({206})
FRESH = frozenset({200, 304})
REFUSED = frozenset({403, 429})
PASSWORD = "reed"  # the demo's


class Refused(Exception):
    """Somebody who is welcome was turned away."""


class Admitted(Exception):
    """Somebody who is not welcome was let in."""


class Broken(Exception):
    """An answer nobody should get: an error, a connection that broke, a body that is not whole."""


# -- the lines of each client, in its own order --------------------------------------------------------------------

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/157.0.0.0 Safari/537.36"
)
BRANDS = '"Google Chrome";v="157", "Chromium";v="157", "Not:A-Brand";v="8"'
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:160.0) Gecko/20100101 Firefox/160.0"
DOCUMENT = "text/html,application/xhtml+xml,application/xml;q=0.9,"
CHROME_ACCEPT = {
    "document": DOCUMENT
    + "image/jxl,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
    "style": "text/css,*/*;q=0.1",
    "image": "image/jxl,image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
}
FIREFOX_ACCEPT = {
    "document": DOCUMENT + "*/*;q=0.8",
    "style": "text/css,*/*;q=0.1",
    "image": "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5",
    "audio": "audio/webm,audio/ogg,audio/wav,audio/*;q=0.9,application/ogg;q=0.7,video/*;q=0.6,*/*;q=0.5",
}
FIREFOX_PRIORITY = {"document": "u=0, i", "style": "u=2", "script": "u=2", "image": "u=6", "audio": "u=4"}
MODES = {"document": "navigate", "empty": "cors"}
EVERYTHING = "gzip, deflate, br, zstd"


def written(lines: dict[str, str | None]) -> Headers:
    """The lines that have a value."""
    return {name: value for name, value in lines.items() if value}


def chrome(kind: str, referer: str = "", cookie: str = "", posted: bytes = b"") -> Headers:
    """Chrome 157 over HTTPS; `kind` is its Sec-Fetch-Dest."""
    page = kind == "document"
    first = {"sec-ch-ua": BRANDS, "sec-ch-ua-mobile": "?0", "sec-ch-ua-platform": '"Windows"'}
    first |= {"Upgrade-Insecure-Requests": "1", "User-Agent": CHROME}
    later = {"Content-Length": str(len(posted)) if posted else "", "sec-ch-ua-platform": '"Windows"'}
    later |= {"User-Agent": CHROME, "sec-ch-ua": BRANDS, "Content-Type": "application/json" if posted else ""}
    later |= {"sec-ch-ua-mobile": "?0"}
    return written(
        {"Host": SITE, "Connection": "keep-alive"}
        | (first if page else later)
        | {
            "Accept": CHROME_ACCEPT.get(kind, "*/*"),
            "Origin": f"https://{SITE}" if posted else "",
            "Sec-Fetch-Site": "same-origin" if referer else "none",
            "Sec-Fetch-Mode": MODES.get(kind, "no-cors"),
            "Sec-Fetch-User": "?1" if page else "",
            "Sec-Fetch-Dest": kind,
            "Referer": referer,
            "Accept-Encoding": "identity" if kind == "audio" else EVERYTHING,
            "Accept-Language": "en-US,en;q=0.9",
            "Cookie": cookie,
            "Range": "bytes=0-" if kind == "audio" else "",
        }
    )


def firefox(kind: str, referer: str = "", cookie: str = "", posted: bytes = b"") -> Headers:
    """Firefox 160 over HTTPS; `kind` is its Sec-Fetch-Dest."""
    page, audio = kind == "document", kind == "audio"
    return written(
        {
            "Host": SITE,
            "User-Agent": FIREFOX,
            "Accept": FIREFOX_ACCEPT.get(kind, "*/*"),
            "Accept-Language": "en-US,en;q=0.9",
        }
        | ({"Range": "bytes=0-"} if audio else {"Accept-Encoding": EVERYTHING})
        | {
            "Content-Type": "application/json" if posted else "",
            "Content-Length": str(len(posted)) if posted else "",
            "Origin": f"https://{SITE}" if posted else "",
            "Connection": "keep-alive",
            "Referer": referer,
            "Cookie": cookie,
            "Upgrade-Insecure-Requests": "1" if page else "",
            "Sec-Fetch-Dest": kind,
            "Sec-Fetch-Mode": MODES.get(kind, "no-cors"),
            "Sec-Fetch-Site": "same-origin" if referer else "none",
            "Sec-Fetch-User": "?1" if page else "",
        }
        | ({"Accept-Encoding": "identity"} if audio else {})
        | {"Priority": FIREFOX_PRIORITY.get(kind, "u=4")}
    )


def phone(token: str, posted: bytes = b"") -> Headers:
    """An iOS app's own calls: URLSession, signed in by a token."""
    return written(
        {
            "Host": SITE,
            "Content-Type": "application/json" if posted else "",
            "Accept": "application/json",
            "Authorization": f"Bearer {token}",
            "Accept-Language": "en-GB,en;q=0.9",
            "Accept-Encoding": "gzip, deflate, br",
            "Content-Length": str(len(posted)) if posted else "",
            "User-Agent": "HollowReed/512 CFNetwork/3860.100.1 Darwin/25.0.0",
            "Connection": "keep-alive",
        }
    )


def core_media(token: str, session: str, part: str = "") -> Headers:
    """iOS plays in another process, under another name; the app's token goes with it."""
    return written(
        {
            "Host": SITE,
            "Accept": "*/*",
            "X-Playback-Session-Id": session,
            "Authorization": f"Bearer {token}",
            "Range": part,
            "User-Agent": "AppleCoreMedia/1.0.0.24A335 (iPhone; U; CPU OS 27_0 like Mac OS X; en_gb)",
            "Accept-Language": "en-GB,en;q=0.9",
            "Accept-Encoding": "identity" if part else "gzip",
            "Connection": "keep-alive",
        }
    )


def antenna_pod(held: str = "", part: str = "", audio: bool = False) -> Headers:
    """AntennaPod (OkHttp). `held` is the ETag it has, `part` what it still lacks."""
    return written(
        {
            "User-Agent": "AntennaPod/3.8.0",
            "Accept-Encoding": "identity" if audio else "gzip",
            "If-None-Match": "" if part else held,
            "If-Range": held if part else "",
            "Range": part,
            "Host": SITE,
            "Connection": "Keep-Alive",
        }
    )


def overcast(held: str = "", part: str = "", audio: bool = False) -> Headers:
    """Overcast: its servers read the feed, the phone fetches the episode."""
    crawler = f"Overcast/1.0 Podcast Sync (118 subscribers; feed-id=88121; +http://overcast.fm/; {SITE})"
    return written(
        {
            "Host": SITE,
            "Accept": "*/*",
            "Range": part,
            "If-Range": held if part else "",
            "If-None-Match": "" if part else held,
            "User-Agent": "Overcast/3.0 (+http://overcast.fm/; iOS podcast app)" if audio else crawler,
            "Accept-Language": "en-GB,en;q=0.9" if audio else "",
            "Accept-Encoding": "identity" if audio else "gzip",
            "Connection": "keep-alive",
        }
    )


def library(agent: str, *, keep_alive: bool = True) -> Headers:
    """aiohttp (`keep_alive=False`: it says nothing about it) and requests."""
    if not keep_alive:
        return {"Host": SITE, "Accept": "*/*", "Accept-Encoding": EVERYTHING, "User-Agent": agent}
    lines = {"Host": SITE, "User-Agent": agent, "Accept-Encoding": EVERYTHING, "Accept": "*/*"}
    return lines | {"Connection": "keep-alive"}


def crawler(agent: str, contact: str = "", part: str = "") -> Headers:
    """A crawler that shows its name."""
    return written(
        {
            "Host": SITE,
            "Connection": "keep-alive",
            "Accept": DOCUMENT + "*/*;q=0.8",
            "From": contact,
            "User-Agent": agent,
            "Accept-Encoding": "gzip, deflate, br",
            "Range": part,
        }
    )


# -- what all of them have in common -------------------------------------------------------------------------------


class Persona(FastHttpUser):
    """One client at its own address. The environment carries `links` (the sitemap's paths) and `speed` (see `rest`)."""

    abstract = True
    persona: ClassVar[str]
    share: ClassVar[int]  # of every 40
    network: ClassVar[str] = "198.18"
    _numbers: ClassVar[Iterator[int]] = count()

    concurrency = 1
    connection_timeout = 5.0
    network_timeout = 30.0

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.number = next(Persona._numbers)
        self.chance = Random(f"{self.persona} {self.number}")
        self.move()
        agent = self.client.client
        agent.cookiejar = None  # cookies are ours, to stand where the client writes them
        agent.default_headers.clear()
        agent.valid_response_codes = frozenset(range(100, 600))  # what is good is judged in `ask`
        agent.redirect_response_codes = frozenset()
        connection = agent.clientpool.get_client(URL(self.host))
        connection.default_headers.clear()
        connection.block_size = 64 * 1024
        connection._connection_pool.size = -1  # attempts + 1: a connection that breaks is a failure, not a second try

    def move(self) -> None:
        """A new address: of the benchmark networks, or for one in four IPv6."""
        if self.network == "198.18" and self.chance.random() < 0.25:
            self.address = (
                f"2001:db8:{self.chance.randrange(1, 65536):x}:{self.chance.randrange(65536):x}::{self.number + 1:x}"
            )
        else:
            octets = 4 - len(self.network.split("."))
            tail = ".".join(str(self.chance.randrange(1, 255)) for _ in range(octets))
            self.address = f"{self.network}.{tail}"

    def rest(self, seconds: float) -> None:
        """Life between two requests, `speed` times faster; ends the user when the test ends."""
        gevent.sleep(seconds / self.environment.speed)
        if self.environment.runner.state not in ("spawning", "running"):
            raise StopUser

    def ask(
        self,
        name: str,
        path: str,
        headers: Headers,
        expect: frozenset[int] = OK,
        *,
        posted: bytes = b"",
        held: bytes = b"",
        stop_after: int = 0,
    ) -> Any:
        """One request, judged and reported as `persona: name`.

        `held` is what the client has already of what it asks the rest of; after `stop_after` bytes it hangs up.
        Returns the response, whose `content` is what was read; None, after a pause, when anything was wrong with it.
        """
        headers = headers | {"X-Forwarded-For": self.address, "X-Forwarded-Proto": "https"}
        with self.client.request(
            "POST" if posted else "GET",
            path,
            name=f"{self.persona}: {name}",
            headers=headers,
            data=posted or None,
            catch_response=True,
            stream=bool(stop_after),
        ) as response:
            if stop_after and response.status_code in expect:
                hang_up(response, stop_after)
            wrong = self.judge(response, expect, held, partly=bool(stop_after))
            if wrong:
                response.failure(wrong)
            else:
                response.success()
        if wrong:
            self.rest(2)
            return None
        return response

    def judge(self, response: Any, expect: frozenset[int], held: bytes, *, partly: bool) -> Exception | None:
        """What is wrong with an answer, or None. `partly`: the client did not want all of it."""
        status = response.status_code
        if not status:
            return Broken(f"no answer: {name_error(getattr(response, 'error', None))}")
        if error := response.request_meta["exception"]:
            return Broken(f"{status}, body: {name_error(error)}")
        if not partly and (wrong := find_damage(response, held)):
            return Broken(f"{status} {wrong}")
        if status in expect:
            return None
        if status in REFUSED:
            return Refused(f"got {status}")
        if status < 400 and expect <= REFUSED:
            return Admitted(f"got {status}")
        return Broken(f"got {status}")


def find_damage(response: Any, held: bytes) -> str:
    """How a body differs from what its own head promises; "" if it does not.

    The platform draws its ETags from the bytes (20 hexadecimal digits of SHA-256), so whole files can be compared.
    """
    body, headers = response.content, response.headers
    length = headers.get("content-length")
    if length and int(length) != len(body) and "content-encoding" not in headers:
        return f"with {len(body)} of {length} bytes"
    first, complete = 0, response.status_code == 200
    if response.status_code == 206:
        said = re.fullmatch(r"bytes ([0-9]+)-([0-9]+)/([0-9]+)", headers.get("content-range") or "")
        if not said or int(said[2]) - int(said[1]) + 1 != len(body):
            return f"with {len(body)} bytes for Content-Range: {headers.get('content-range')}"
        first, complete = int(said[1]), int(said[2]) + 1 == int(said[3])
        if response.request.headers.get("range") == "bytes=0-" and (first or not complete):
            return f"not of the whole: Content-Range: {headers.get('content-range')}"
    drawn = re.fullmatch(r'"([0-9a-f]{20})"', headers.get("etag") or "")
    if drawn and complete and first == len(held) and not is_drawn_from(drawn[1], held + body):
        return "with other bytes than the platform's"
    return ""


def hang_up(response: Any, after: int) -> None:
    """Read `after` bytes of a body and close the connection on the rest."""
    answer = response._response
    try:
        response._cached_content = answer.read(after)
    except (HTTPParseError, OSError) as error:
        response._cached_content, response.request_meta["exception"] = b"", error
    if answer._sock is not None:
        answer._pool.release_socket(answer._sock)
        answer._sock = None
    response.request_meta["response_length"] = len(response._cached_content)


def name_error(error: BaseException | None) -> str:
    """Short, and the same for the same trouble: the ports that errors speak of are cut off."""
    return re.sub(r"URL \S+ ", "", f"{type(error).__name__}: {error}")[:200]


def is_drawn_from(tag: str, body: bytes) -> bool:
    return hashlib.sha256(body).hexdigest().startswith(tag)


def links(response: Any, pattern: str) -> list[str]:
    """What a text refers to, in its order, each once; nothing when there is no 200."""
    if response is None or response.status_code != 200:
        return []
    return list(dict.fromkeys(re.findall(pattern, response.content.decode())))


def read_json(response: Any) -> Any:
    """The document of a 200, else {}."""
    return json.loads(response.content) if response is not None and response.status_code == 200 else {}


# -- the welcome ---------------------------------------------------------------------------------------------------


class Listener(Persona):
    """A browser: pages with their parts, whole MP3s in one open range, heartbeats while it plays, many skips."""

    abstract = True
    speak: Callable[..., Headers]

    def on_start(self) -> None:
        self.cookie = ""
        self.session = f"{self.chance.getrandbits(96):024x}"
        self.cached: set[str] = set()

    @task
    def visit(self) -> None:
        home = self.open("page", "/")
        albums = links(home, r'href="(/album/[0-9]+)"')
        if not albums:
            return self.rest(1)
        self.rest(3)
        album = self.open("page", self.chance.choice(albums), referer="/")
        path = urlsplit(album.url).path if album is not None else "/"
        for track in links(album, r'href="(/track/[0-9]+)"')[: self.chance.randint(1, 4)]:
            self.rest(2)
            self.listen(track, path)

    def open(self, name: str, path: str, referer: str = "") -> Any:
        """A document and what belongs to it, as far as it is not in the cache."""
        here = f"https://{SITE}{path}"
        came_from = f"https://{SITE}{referer}" if referer else ""
        page = self.ask(name, path, self.speak("document", came_from, self.cookie))
        if page is not None and (given := re.match(r"reed_session=[^;]+", page.headers.get("set-cookie") or "")):
            self.cookie = given[0]
        parts = [("style", "static", "/static/site.css"), ("script", "static", "/static/player.js")]
        parts += [("image", "cover", cover) for cover in links(page, r'src="(/img/cover/[0-9]+\.png)"')]
        parts.append(("image", "favicon", "/favicon.ico"))
        for kind, what, part in parts:
            if page is not None and part not in self.cached:
                self.cached.add(part)
                self.ask(what, part, self.speak(kind, here, self.cookie))
        return page

    def listen(self, path: str, referer: str) -> None:
        here = f"https://{SITE}{path}"
        page = self.open("page", path, referer)
        for waveform in links(page, r'data-waveform="([^"]+)"'):
            self.ask("waveform", waveform, self.speak("empty", here, self.cookie))
        for media in links(page, r'<audio[^>]* src="([^"]+)"'):
            self.ask("media", media, self.speak("audio", here, self.cookie), PART)
            heard = self.chance.choices((1, 3, 7), (24, 24, 52))[0]  # half of all tracks are skipped
            for beat in range(1, heard + 1):
                self.rest(2)
                self.beat(int(path.rpartition("/")[2]), beat * 2.0, here)

    def beat(self, track: int, position_s: float, here: str) -> None:
        said = json.dumps({"track": track, "position_s": position_s, "session": self.session}).encode()
        headers = self.speak("empty", here, self.cookie, said)
        self.ask("heartbeat", "/api/v1/heartbeat", headers, frozenset({204}), posted=said)


class ChromeListener(Listener):
    persona, share = "listener (Chrome)", 9
    speak = staticmethod(chrome)


class FirefoxListener(Listener):
    persona, share = "listener (Firefox)", 4
    speak = staticmethod(firefox)


class AlbumStreamer(Persona):
    """A phone's app, signed in: album after album over HLS, segment by segment; the first track by ranges."""

    persona, share = "album streamer", 6

    def on_start(self) -> None:
        self.token = f"{self.chance.getrandbits(160):040x}"
        word = self.chance.choice("aeiorst")
        found = read_json(self.ask("api", f"/api/v1/search?q={word}", phone(self.token)))
        self.albums = [album["id"] for album in found.get("albums", [])]
        self.chance.shuffle(self.albums)

    @task
    def play_album(self) -> None:
        if not self.albums:
            self.rest(1)
            return self.on_start()
        album = read_json(self.ask("api", f"/api/v1/albums/{self.albums.pop()}", phone(self.token)))
        if not album:
            return self.rest(1)
        self.ask("cover", album["cover"], phone(self.token))
        first, *others = album["tracks"]
        self.play_file(first)
        for track in others:
            self.rest(1)
            self.play_stream(track)

    def play_file(self, track: dict[str, Any]) -> None:
        """As AVPlayer does: two bytes to learn the length, then the file in two closed ranges."""
        session = str(UUID(int=self.chance.getrandbits(128), version=4)).upper()
        probe = self.ask("media probe", track["media"], core_media(self.token, session, "bytes=0-1"), PART)
        size = re.fullmatch(r"bytes 0-1/([0-9]+)", (probe and probe.headers.get("content-range")) or "")
        if not size:
            return
        middle, end = int(size[1]) // 2, int(size[1]) - 1
        head = self.ask("media part", track["media"], core_media(self.token, session, f"bytes=0-{middle}"), PART)
        part = core_media(self.token, session, f"bytes={middle + 1}-{end}")
        self.ask("media part", track["media"], part, PART, held=head.content if head is not None else b"")

    def play_stream(self, track: dict[str, Any]) -> None:
        session = str(UUID(int=self.chance.getrandbits(128), version=4)).upper()
        folder = track["hls"].rpartition("/")[0]
        playlist = self.ask("playlist", track["hls"], core_media(self.token, session))
        for segment in links(playlist, r"(?m)^(seg[0-9]+\.ts)$"):
            self.ask("segment", f"{folder}/{segment}", core_media(self.token, session))
            self.rest(0.5)
        said = json.dumps({"track": track["id"], "position_s": track["duration_s"], "session": session}).encode()
        self.ask("heartbeat", "/api/v1/heartbeat", phone(self.token, said), frozenset({204}), posted=said)


class PodcastApp(Persona):
    """Reads the feed with If-None-Match and downloads whole episodes; every second one breaks off and is resumed."""

    persona, share = "podcast app", 3

    def on_start(self) -> None:
        self.speak = self.chance.choice((antenna_pod, overcast))
        self.feed_tag, self.episodes = "", []

    @task
    def refresh(self) -> None:
        feed = self.ask("feed", "/podcast/feed.xml", self.speak(self.feed_tag), FRESH)
        if feed is not None and feed.status_code == 200:
            self.feed_tag = feed.headers.get("etag") or ""
            self.episodes = [urlsplit(url).path for url in links(feed, r'<enclosure[^>]* url="([^"]+)"')]
        self.rest(2)
        for episode in self.chance.sample(self.episodes, min(2, len(self.episodes))):
            self.download(episode)
            self.rest(3)

    def download(self, episode: str) -> None:
        if self.chance.random() < 0.5:
            self.ask("episode", episode, self.speak(audio=True))
            return
        broken = self.ask("episode broken off", episode, self.speak(audio=True), stop_after=100_000)
        if broken is None or broken.status_code != 200:
            return
        self.rest(1)
        tag, have = broken.headers.get("etag") or "", broken.content
        rest = self.speak(tag, f"bytes={len(have)}-", audio=True)
        self.ask("episode resumed", episode, rest, PART, held=have)


class SubsonicClient(Persona):
    """A music server's client on aiohttp: all covers of a list at once, some of them missing, then songs."""

    persona, share = "Subsonic client", 3

    @task
    def browse(self) -> None:
        self.call("ping")
        listed = self.call("getAlbumList2", type="newest", size=40, offset=40 * self.chance.randrange(3))
        albums = read_json(listed).get("subsonic-response", {}).get("albumList2", {}).get("album", [])
        for album in albums:
            self.call("getCoverArt", id=album["coverArt"], size=300)
        for missing in (90_001, 90_002, 90_003):
            self.call("getCoverArt", frozenset({200, 404}), id=missing, size=300)  # Subsonic's errors come in a 200
        for album in self.chance.sample(albums, min(2, len(albums))):
            opened = read_json(self.call("getAlbum", id=album["id"])).get("subsonic-response", {})
            for song in opened.get("album", {}).get("song", [])[:3]:
                self.call("stream", id=song["id"])
                self.rest(4)
        self.rest(2)

    def call(self, method: str, expect: frozenset[int] = OK, **asked: Any) -> Any:
        salt = f"{self.chance.getrandbits(48):012x}"
        token = hashlib.md5((PASSWORD + salt).encode()).hexdigest()
        signed = {"u": f"listener{self.number}", "t": token, "s": salt, "v": "1.16.1", "c": "loadtest", "f": "json"}
        path = f"/rest/{method}.view?{urlencode(signed | asked)}"
        return self.ask(f"rest/{method}", path, library("Python/3.13 aiohttp/3.14.5", keep_alive=False), expect)


class SearchCrawler(Persona):
    """Googlebot: robots.txt, the sitemap, then a page a second of its own time, however fast the others live."""

    persona, share, network = "search crawler", 2, "66.249.66"
    speak = staticmethod(
        lambda: crawler(
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "googlebot(at)googlebot.com"
        )
    )

    def on_start(self) -> None:
        self.ask("robots.txt", "/robots.txt", self.speak())
        sitemap = self.ask("sitemap", "/sitemap.xml", self.speak())
        self.pages = [urlsplit(url).path for url in links(sitemap, r"<loc>([^<]+)</loc>")]

    @task
    def crawl(self) -> None:
        if self.pages:
            self.ask("page", self.chance.choice(self.pages), self.speak())
        self.rest(1.0 * self.environment.speed)


class LinkPreview(Persona):
    """Somebody pastes a link in a chat: the page, its picture, sometimes oEmbed. Every link another service."""

    persona, share = "link preview", 3
    services = (
        ("facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", "bytes=0-524287"),
        ("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", "bytes=0-32768"),
        ("Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)", ""),
        ("Twitterbot/1.0", ""),
        ("TelegramBot (like TwitterBot)", ""),
        ("WhatsApp/2.26.40 A", ""),
    )

    @task
    def preview(self) -> None:
        self.move()
        agent, part = self.chance.choice(self.services)
        path = self.chance.choice([path for path in self.environment.links if path.startswith(("/track/", "/album/"))])
        page = self.ask("page", path, crawler(agent, part=part), frozenset({200, 206}))
        for image in links(page, r'property="og:image" content="([^"]+)"'):
            self.ask("cover", urlsplit(image).path, crawler(agent))
        for oembed in links(page, r'type="application/json\+oembed"[^>]* href="([^"]+)"'):
            asked = urlsplit(oembed)
            self.ask("oembed", f"{asked.path}?{asked.query}", crawler(agent))
        self.rest(3)


# -- the others ----------------------------------------------------------------------------------------------------


class AiCrawler(Persona):
    """GPTBot, ClaudeBot, CCBot and Bytespider in turn: robots.txt, then everything all the same."""

    persona, share = "AI crawler", 6
    names = (
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.3; +https://openai.com/gptbot)",
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0; +claudebot@anthropic.com)",
        "CCBot/2.0 (https://commoncrawl.org/faq/)",
        "Mozilla/5.0 (Linux; Android 5.0) AppleWebKit/537.36 (KHTML, like Gecko) Mobile Safari/537.36 "
        "(compatible; Bytespider; spider-feedback@bytedance.com)",
    )
    rounds = count()

    @task
    def crawl(self) -> None:
        self.move()
        headers = crawler(self.names[next(AiCrawler.rounds) % len(self.names)])
        self.ask("robots.txt", "/robots.txt", headers)
        for directive in ("/ai.txt", "/.well-known/tdmrep.json"):
            self.ask("directive", directive, headers)
        pages = self.chance.sample(self.environment.links, min(12, len(self.environment.links)))
        for name, path in (*(("page", page) for page in pages), *self.take()):
            self.ask(name, path, headers, frozenset({403}))
            self.rest(0.25)

    def take(self) -> Iterator[tuple[str, str]]:
        """One of everything else there is about a track."""
        track = self.chance.choice([path for path in self.environment.links if path.startswith("/track/")])
        number = track.rpartition("/")[2]
        yield "api", f"/api/v1/tracks/{number}"
        yield "api", "/api/v1/search?q=a&offset=20"
        yield "media", f"/media/{number}.mp3"
        yield "playlist", f"/hls/{number}/index.m3u8"
        yield "segment", f"/hls/{number}/seg0.ts"
        yield "waveform", f"/waveform/{number}.json"
        yield "embed", f"/embed/{number}"
        yield "feed", "/podcast/feed.xml"
        yield "rest", "/rest/ping.view?u=a&p=reed&v=1.16.1&c=a"
        yield "spelt another way", f"/%6dedia/./x/..//{number}.mp3"


class Scraper(Persona):
    """A script on python-requests that walks the track ids, pages and API, as fast as it is answered."""

    persona, share = "scraper", 4
    burst = 60

    def on_start(self) -> None:
        tracks = [int(path.rpartition("/")[2]) for path in self.environment.links if path.startswith("/track/")]
        first, last = min(tracks), max(tracks)
        self.walk = iter(range(first + 37 * self.number % (last - first), last + 1))

    @task
    def scrape(self) -> None:
        headers = library("python-requests/2.34.2")
        answered = frozenset({200, 404}) | REFUSED
        for number in islice(self.walk, self.burst // 2):
            self.ask("page", f"/track/{number}", headers, answered)
            self.ask("api", f"/api/v1/tracks/{number}", headers, answered)
            if number % 10 == 0:
                self.ask("media", f"/media/{number}.mp3", headers, answered)
        self.rest(10)
        if next(self.walk, None) is None:
            self.on_start()


PERSONAS = (
    ChromeListener,
    FirefoxListener,
    AlbumStreamer,
    PodcastApp,
    SubsonicClient,
    LinkPreview,
    SearchCrawler,
    AiCrawler,
    Scraper,
)

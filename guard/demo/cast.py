"""The visitors of the demo: who they are, what their client sends, what they ask for.

Header sets are as these clients send them on the wire, in their order. Each visitor comes from a network of its
own. Each step names the example of the shipped policy that says what should happen to it.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse

HeaderLines = tuple[tuple[str, str], ...]

TRACK, ALBUM, EPISODE = 1001, 101, 1
MUSIC_BITS_S, SPEECH_BITS_S = 128_000, 64_000
"""The demo's audio, tracks and podcast."""


@dataclass(frozen=True)
class Step:
    """One request. `example` is a name in the policy's `examples`; `times` asks that often."""

    path: str
    example: str
    headers: HeaderLines = ()
    method: str = "GET"
    body: bytes = b""
    times: int = 1
    websocket: bool = False


@dataclass(frozen=True)
class Visitor:
    name: str
    address: str
    headers: HeaderLines
    steps: tuple[Step, ...]


@dataclass
class Visit:
    """What one step got. `status` 0 = the connection broke. `audio_s` seconds of audio, from the bytes of media."""

    visitor: Visitor
    step: Step
    status: int = 0
    body_bytes: int = 0
    audio_s: float = 0.0
    duration_s: float = 0.0
    whole: bool = False
    body: bytes = field(default=b"", repr=False)


_CHROME = (
    ("Connection", "keep-alive"),
    ("sec-ch-ua", '"Chromium";v="157", "Not:A-Brand";v="24", "Google Chrome";v="157"'),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", '"Windows"'),
    (
        "User-Agent",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/157.0.0.0 Safari/537.36",
    ),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Accept-Language", "en-GB,en;q=0.9"),
)
_FIREFOX = (
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:160.0) Gecko/20100101 Firefox/160.0"),
    ("Accept-Language", "de,en-US;q=0.7,en;q=0.3"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Connection", "keep-alive"),
    ("Priority", "u=0, i"),
)
_IOS = (
    ("Accept", "*/*"),
    ("User-Agent", "AppleCoreMedia/1.0.0.23B85 (iPhone; U; CPU OS 26_1 like Mac OS X; en_gb)"),
    ("Accept-Language", "en-GB,en;q=0.9"),
    ("Accept-Encoding", "identity"),
    ("Authorization", "Bearer demo-token-of-a-listener"),
    ("X-Playback-Session-Id", "6B1F1E0C-2B5C-4B0B-9B7E-5C1D4C6E0A11"),
    ("Connection", "keep-alive"),
)
_PAGE = (("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),)
_ANY = (("Accept", "*/*"),)
_NAVIGATE = (
    ("Sec-Fetch-Site", "none"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-User", "?1"),
    ("Sec-Fetch-Dest", "document"),
)


def _fetch(mode: str, dest: str) -> HeaderLines:
    return (
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-Fetch-Mode", mode),
        ("Sec-Fetch-Dest", dest),
        ("Referer", f"http://hollow-reed.example/track/{TRACK}"),
    )


def _browse(page: str, audio: str) -> tuple[Step, ...]:
    """A browser opens a track page and plays it."""
    beat = json.dumps({"track": TRACK, "position_s": 2.0, "session": "demo"}).encode()
    return (
        Step(f"/track/{TRACK}", page, _PAGE + _NAVIGATE),
        Step("/static/site.css", page, (("Accept", "text/css,*/*;q=0.1"), *_fetch("no-cors", "style"))),
        Step("/static/player.js", page, _ANY + _fetch("no-cors", "script")),
        Step(f"/img/cover/{ALBUM}.png", page, (("Accept", "image/avif,image/webp,*/*"), *_fetch("no-cors", "image"))),
        Step(f"/waveform/{TRACK}.json", page, _ANY + _fetch("cors", "empty")),
        Step("/ws/now-playing", page, websocket=True),
        Step(f"/media/{TRACK}.mp3", audio, (*_ANY, ("Range", "bytes=0-"), *_fetch("no-cors", "audio"))),
        Step(
            "/api/v1/heartbeat",
            page,
            (("Content-Type", "application/json"), ("Accept", "*/*"), *_fetch("cors", "empty")),
            "POST",
            beat,
        ),
    )


def _agent(user_agent: str, *more: tuple[str, str]) -> HeaderLines:
    return (("User-Agent", user_agent), *more)


def _declared(name: str, address: str, user_agent: str, example: str) -> Visitor:
    """A crawler that says who it is: robots.txt first, then pages, the API and the audio."""
    headers = _agent(user_agent, ("Accept", "*/*"), ("Accept-Encoding", "gzip, br"), ("Connection", "keep-alive"))
    paths = (f"/track/{TRACK}", f"/api/v1/tracks/{TRACK}", f"/hls/{TRACK}/index.m3u8", f"/media/{TRACK}.mp3")
    return Visitor(name, address, headers, (Step("/robots.txt", ""), *(Step(path, example) for path in paths)))


CAST: tuple[Visitor, ...] = (
    Visitor(
        "Chrome listener",
        "203.0.113.10",
        _CHROME,
        _browse("a Firefox listener opens a page", "a Chrome listener plays a track"),
    ),
    Visitor(
        "Firefox listener",
        "198.51.100.20",
        _FIREFOX,
        _browse("a Firefox listener opens a page", "a Chrome listener plays a track"),
    ),
    Visitor(
        "iOS app with a token",
        "192.0.2.30",
        _IOS,
        (
            Step(f"/api/v1/tracks/{TRACK}", "an iOS app streams"),
            Step(f"/hls/{TRACK}/index.m3u8", "an iOS app streams"),
            *(Step(f"/hls/{TRACK}/seg{number}.ts", "an iOS app streams") for number in range(3)),
        ),
    ),
    Visitor(
        "podcast app",
        "10.1.1.40",
        _agent("AntennaPod/3.9.0", ("Accept-Encoding", "identity"), ("Connection", "Keep-Alive")),
        (
            Step("/podcast/feed.xml", "a podcast app fetches an episode"),
            Step(f"/podcast/{EPISODE}.mp3", "a podcast app fetches an episode"),
        ),
    ),
    Visitor(
        "mpv",
        "10.2.2.50",
        _agent("libmpv", ("Accept", "*/*"), ("Range", "bytes=0-"), ("Connection", "close"), ("Icy-MetaData", "1")),
        (Step(f"/media/{TRACK + 1}.mp3", "mpv streams a track"),),
    ),
    Visitor(
        "Subsonic client",
        "10.3.3.60",
        _agent("Python/3.13 aiohttp/3.14.1", ("Accept", "*/*"), ("Accept-Encoding", "gzip, deflate")),
        tuple(
            Step(f"/rest/{call}", "a Subsonic app built on a plain library")
            for call in ("ping.view?{auth}", "getAlbum.view?id=101&{auth}", "stream.view?id=1002&{auth}")
        ),
    ),
    Visitor(
        "Googlebot",
        "10.4.4.70",
        _agent(
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
            ("From", "googlebot(at)googlebot.com"),
            ("Accept-Encoding", "gzip, deflate, br"),
        ),
        (
            Step("/robots.txt", ""),
            Step(f"/track/{TRACK}", "Googlebot reads a page"),
            Step(f"/album/{ALBUM}", "Googlebot reads a page"),
        ),
    ),
    Visitor(
        "link preview",
        "10.5.5.80",
        _agent(
            "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
            ("Accept", "*/*"),
            ("Accept-Encoding", "deflate, gzip"),
            ("Range", "bytes=0-524287"),
        ),
        (Step(f"/track/{TRACK}", "a link preview"), Step(f"/img/cover/{ALBUM}.png", "a link preview")),
    ),
    _declared(
        "GPTBot",
        "10.6.6.90",
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; GPTBot/1.3; +https://openai.com/gptbot",
        "GPTBot",
    ),
    _declared(
        "ClaudeBot",
        "10.7.7.91",
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0; +claudebot@anthropic.com)",
        "ClaudeBot",
    ),
    _declared("CCBot", "10.8.8.92", "CCBot/2.0 (https://commoncrawl.org/faq/)", "CCBot"),
    _declared(
        "Bytespider",
        "10.9.9.93",
        "Mozilla/5.0 (compatible; Bytespider; spider-feedback@bytedance.com)",
        "Bytespider",
    ),
    Visitor(
        "Googlebot impostor",
        "10.10.10.94",
        _agent("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", ("Accept", "*/*")),
        tuple(
            Step(f"/media/{TRACK + number}.mp3", "somebody with Googlebot's name asks for the audio")
            for number in range(4)
        ),
    ),
    Visitor(
        "python-requests burst",
        "10.11.11.95",
        _agent(
            "python-requests/2.32.5",
            ("Accept-Encoding", "gzip, deflate"),
            ("Accept", "*/*"),
            ("Connection", "keep-alive"),
        ),
        (Step(f"/track/{TRACK}", "a burst of python-requests on pages", times=120),),
    ),
)


def visit(visitor: Visitor, host: str, port: int, auth: str) -> Iterator[Visit]:
    """Send a visitor's steps one after another over one connection; yields what each got."""
    connection = HTTPConnection(host, port, timeout=20)
    try:
        for step in visitor.steps:
            for _ in range(step.times):
                yield _take_step(connection, visitor, step, host, port, auth)
    finally:
        connection.close()


def _take_step(connection: HTTPConnection, visitor: Visitor, step: Step, host: str, port: int, auth: str) -> Visit:
    got = Visit(visitor, step)
    started = time.monotonic()
    try:
        if step.websocket:
            _shake_hands(got, host, port)
        else:
            _ask(got, connection, host, port, auth)
    except (HTTPException, OSError):
        connection.close()
    got.duration_s = time.monotonic() - started
    return got


def _ask(got: Visit, connection: HTTPConnection, host: str, port: int, auth: str) -> None:
    step = got.step
    connection.putrequest(step.method, step.path.replace("{auth}", auth), skip_host=True, skip_accept_encoding=True)
    connection.putheader("Host", f"{host}:{port}")
    own = {name.lower() for name, _ in step.headers}
    for name, value in (*((n, v) for n, v in got.visitor.headers if n.lower() not in own), *step.headers):
        connection.putheader(name, value)
    connection.putheader("X-Forwarded-For", got.visitor.address)
    if step.body:
        connection.putheader("Content-Length", str(len(step.body)))
    connection.endheaders(step.body or None)
    answer = connection.getresponse()
    _read(got, answer)


def _read(got: Visit, answer: HTTPResponse) -> None:
    body = answer.read()
    got.status = answer.status
    got.body_bytes = len(body)
    got.whole = True
    got.body = body[:2048]
    if answer.status in (200, 206) and (answer.getheader("Content-Type") or "").startswith(("audio/", "video/mp2t")):
        speech = got.step.path.startswith("/podcast/")
        got.audio_s = len(body) * 8 / (SPEECH_BITS_S if speech else MUSIC_BITS_S)


def _shake_hands(got: Visit, host: str, port: int) -> None:
    """A WebSocket handshake and the first message."""
    lines = [
        f"GET {got.step.path} HTTP/1.1",
        f"Host: {host}:{port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        f"Origin: http://{host}:{port}",
        *(f"{name}: {value}" for name, value in got.visitor.headers if name == "User-Agent"),
        f"X-Forwarded-For: {got.visitor.address}",
    ]
    with socket.create_connection((host, port), timeout=10) as sock:
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        data = b""
        while b"\r\n\r\n" not in data or (data.startswith(b"HTTP/1.1 101") and data.endswith(b"\r\n\r\n")):
            piece = sock.recv(65536)
            if not piece:
                break
            data += piece
    head, _, message = data.partition(b"\r\n\r\n")
    got.status = int(head.split(b" ", 2)[1])
    got.body_bytes = len(message)
    got.whole = bool(message)

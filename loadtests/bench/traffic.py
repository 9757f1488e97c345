"""What is asked: prepared requests with the User-Agents of browsers and players, and the answers looked at once.

The same requests go to every party of a table. None of them is refused by anybody: refusing is cheaper than
passing on, and would flatter the guard.
"""

from __future__ import annotations

import http.client
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

REQUESTS = 512

AI_CRAWLER = "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; GPTBot/1.3; +https://openai.com/gptbot"


class Prepared(NamedTuple):
    path: str
    headers: tuple[tuple[str, str], ...]

    def raw(self, ending: str = "\r\n") -> str:
        lines = [f"GET {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join(lines) + "\r\n" + ending


def user_agents() -> list[str]:
    """100 of them: browsers of this and last year on desktops and phones, and what people play music with."""
    found: list[str] = []
    windows, mac, linux = "Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7", "X11; Linux x86_64"
    for version in range(146, 158):
        for system in (windows, mac, linux):
            found.append(
                f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0 Safari/537.36"
            )
    for version in range(150, 161):
        found.append(f"Mozilla/5.0 ({windows}; rv:{version}.0) Gecko/20100101 Firefox/{version}.0")
        found.append(f"Mozilla/5.0 (X11; Linux x86_64; rv:{version}.0) Gecko/20100101 Firefox/{version}.0")
    for version in ("18_5", "18_6", "26_0", "26_1"):
        phone = f"iPhone; CPU iPhone OS {version} like Mac OS X"
        short = version.replace("_", ".")
        found.append(
            f"Mozilla/5.0 ({phone}) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{short} Mobile/15E148 Safari/604.1"
        )
        found.append(f"Mozilla/5.0 ({mac}) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{short} Safari/605.1.15")
    for version in range(150, 158):
        found.append(
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
            f"Chrome/{version}.0.0.0 Mobile Safari/537.36"
        )
        found.append(
            f"Mozilla/5.0 ({windows}) AppleWebKit/537.36 (KHTML, like Gecko) "
            f"Chrome/{version}.0.0.0 Safari/537.36 Edg/{version}.0.0.0"
        )
    found += [
        "AppleCoreMedia/1.0.0.23B85 (iPhone; U; CPU OS 26_1 like Mac OS X; en_gb)",
        "AppleCoreMedia/1.0.0.22G86 (iPad; U; CPU OS 18_6 like Mac OS X; de_de)",
        "VLC/3.0.21 LibVLC/3.0.21",
        "VLC/3.0.20 LibVLC/3.0.20",
        "mpv 0.40.0",
        "foobar2000/2.1.5",
        "AntennaPod/3.9.0",
        "AntennaPod/3.8.0",
        "Overcast/2025.9 (+http://overcast.fm/; iOS podcast app)",
        "PocketCasts/1.0 (Pocket Casts Feed Parser; +http://pocketcasts.com/)",
        "Linux UPnP/1.0 Sonos/85.0-64200 (ZPS27)",
        "Linux UPnP/1.0 Sonos/83.1-61210 (ZPS23)",
        "Roku/DVP-14.5 (14.5.0.4215)",
        "Winamp/5.9",
        "MPD/0.24",
        "Clementine 1.4.1",
        "iTunes/12.13 (Windows; Microsoft Windows 10 x64)",
        "Podcasts/4025.600.4 CFNetwork/3826.600.41 Darwin/24.6.0",
    ]
    return found[:100]


def prepare(paths: Sequence[str], *, clients: int = 0) -> list[Prepared]:
    """`REQUESTS` requests over `paths` and all User-Agents; `clients` > 0 adds that many addresses before a hop."""
    chance = random.Random(20261101)
    agents = user_agents()
    languages = ("en-GB,en;q=0.9", "de-DE,de;q=0.9,en;q=0.7", "fr-FR,fr;q=0.9", "pt-BR,pt;q=0.9,en;q=0.8")
    made: list[Prepared] = []
    for number in range(REQUESTS):
        agent = agents[number % len(agents)]
        headers = [
            ("Host", "music.example"),
            ("User-Agent", agent),
            ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
            ("Accept-Language", chance.choice(languages)),
            ("Accept-Encoding", "gzip, deflate, br, zstd"),
            ("Referer", f"https://music.example/album/{chance.randrange(400)}"),
            ("Cookie", f"session={chance.getrandbits(96):024x}"),
        ]
        if clients:
            client = number % clients
            headers.append(("X-Forwarded-For", f"198.51.{client >> 8}.{client & 255}"))
        made.append(Prepared(paths[number % len(paths)], tuple(headers)))
    chance.shuffle(made)
    return made


class Listener(NamedTuple):
    """Somebody with a current browser over HTTPS, and the track that is listened to."""

    hints: tuple[tuple[str, str], ...]
    agent: tuple[str, str]
    session: tuple[str, str]
    address: tuple[str, str]
    track: int

    def asks(self, path: str, mode: str, dest: str, accept: str) -> Prepared:
        document = dest == "document"
        headers = [("Host", "music.example"), *self.hints, self.agent, ("Accept", accept)]
        headers += [("Sec-Fetch-Site", "none" if document else "same-origin"), ("Sec-Fetch-Mode", mode)]
        headers += [("Sec-Fetch-Dest", dest), ("Accept-Encoding", "gzip, deflate, br, zstd")]
        headers += [("Accept-Language", "en-GB,en;q=0.9")]
        headers += [] if document else [("Referer", "https://music.example/track/4711")]
        return Prepared(path, (*headers, self.session, self.address))


def listeners(count: int) -> list[Listener]:
    """The same ones each time, each with a browser, an address and a session of its own."""
    chance = random.Random(20261130)
    made: list[Listener] = []
    for client in range(count):
        version = 154 + client % 4
        firefox = client % 5 == 4
        agent = (
            f"Mozilla/5.0 (X11; Linux x86_64; rv:{version + 3}.0) Gecko/20100101 Firefox/{version + 3}.0"
            if firefox
            else "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
            f"Chrome/{version}.0.0.0 Safari/537.36"
        )
        hints = () if firefox else (("sec-ch-ua", f'"Google Chrome";v="{version}", "Chromium";v="{version}"'),)
        session = ("Cookie", f"sid={chance.getrandbits(64):016x}")
        address = ("X-Forwarded-For", f"198.51.{client >> 8}.{client & 255}")
        made.append(Listener(hints, ("User-Agent", agent), session, address, 4_700 + chance.randrange(200)))
    return made


def visits(*, clients: int = 256) -> list[Prepared]:
    """What so many listeners ask, mixed: a page with its parts and calls, then playlists and segments."""
    made: list[Prepared] = []
    for one in listeners(clients):
        track = one.track
        made.append(one.asks(f"/track/{track}", "navigate", "document", "text/html,*/*;q=0.8"))
        for part in ("app.css", "app.js"):
            made.append(one.asks(f"/static/{part}", "no-cors", "style" if part.endswith("css") else "script", "*/*"))
        for cover in range(5):
            path = f"/img/cover/{track + cover}-300.jpg"
            made.append(one.asks(path, "no-cors", "image", "image/avif,image/webp,*/*;q=0.8"))
        for call in ("me", f"tracks/{track}", f"stream/{track}", f"tracks/{track + 1}"):
            made.append(one.asks(f"/api/v1/{call}", "cors", "empty", "*/*"))
        made.append(one.asks(f"/hls/{track}/index.m3u8", "cors", "empty", "*/*"))
        made += [one.asks(f"/hls/{track}/seg{number:04d}.m4s", "cors", "empty", "*/*") for number in range(3)]
    random.Random(1).shuffle(made)
    return made


def hearing(path: str, *, clients: int = 256) -> list[Prepared]:
    """The same listeners, each asking for this piece of music."""
    return [one.asks(path, "cors", "empty", "*/*") for one in listeners(clients)]


def platform_paths(count: int) -> list[str]:
    """`count` paths: pages, the API and audio in equal parts."""
    shapes = ("/track/{}", "/api/v1/tracks/{}", "/media/{}.mp3")
    return [shapes[number % 3].format(4700 + number) for number in range(count)]


def write_lua(requests: Sequence[Prepared], path: Path, *, new_heads: bool = False) -> Path:
    """The requests as a wrk script that cycles through them, and reports as one JSON line.

    `new_heads` gives every request a header value that was never sent before.
    """
    ending = "X-Request-Nonce: " if new_heads else "\r\n"
    table = ",\n".join(json.dumps(request.raw(ending)) for request in requests)
    asked = 'return found .. string.format("%.0f\\r\\n\\r\\n", nonce + turns)' if new_heads else "return found"
    path.write_text(
        f"""local prepared = {{
{table}
}}
local at, size, turns, nonce = 0, #prepared, 0, 0
function init(args) nonce = (tonumber(args[1]) or 0) * 1e9 end
function request()
  at = at + 1
  if at > size then at = 1 end
  turns = turns + 1
  local found = prepared[at]
  {asked}
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nBENCH {{"requests":%d,"bytes":%d,"seconds":%.6f,"refused":%d,"broken":%d,"p50_ms":%.3f,"p99_ms":%.3f}}\\n',
    summary.requests, summary.bytes, summary.duration / 1e6, e.status,
    e.connect + e.read + e.write + e.timeout, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
""",
        "utf-8",
    )
    return path


def fetch(port: int, requests: Sequence[Prepared]) -> Iterator[tuple[int, bytes]]:
    """Status and body of each request, asked one after the other on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        for request in requests:
            connection.putrequest("GET", request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers:
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            yield answer.status, answer.read()
    finally:
        connection.close()

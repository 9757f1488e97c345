"""Music servers of households and circles of friends, and the apps that speak to them.

Who is signed in shows in the address (Subsonic) or in a header (Jellyfin), and may also be told to the guard by the
platform: every such persona comes with `auth` known and unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from tests.listeners.apps import core_media, mpv
from tests.listeners.browsers import KHTML, any_phone, chrome, firefox, safari
from tests.listeners.lines import HOST, ORIGIN, Headers, Line, Sitting, carrier, home
from tests.listeners.platform import BYTES_PER_S, Platform, album_of, length_s, popular, size_of, tracks_of
from tests.listeners.visits import Visit, heard_s, pause_s

Persona = Callable[[Random, float, Platform], list[Line]]


def _auth(rng: Random, known: bool) -> str | None:
    return f"user:{rng.randrange(1, 9000)}" if known else None


# -- Subsonic ----------------------------------------------------------------------------------------------


class Subsonic(Sitting):
    """An app that signs in with every call. `salted`: a new token for each call, or one for the whole sitting."""

    def __init__(
        self, rng: Random, site: Platform, app: str, headers: Headers, *, known: bool, salted: bool, view: bool = True
    ) -> None:
        super().__init__(rng, proto=rng.choice(("h1", "h2")), auth=_auth(rng, known))
        self.site, self.app, self.headers, self.salted = site, app, headers, salted
        self.end = ".view" if view else ""
        self.token = f"{rng.getrandbits(128):032x}&s={rng.getrandbits(48):x}"

    def call(
        self, t: float, method: str, usual: int = 2000, *, status: int = 200, user: str = "ada", **arguments: object
    ) -> float:
        if self.salted:
            self.token = f"{self.rng.getrandbits(128):032x}&s={self.rng.getrandbits(48):x}"
        query = f"u={user}&t={self.token}&v=1.16.1&c={self.app}&f=json"
        query += "".join(f"&{name}={value}" for name, value in arguments.items())
        path = f"{self.site.subsonic}/{method}{self.end}?{query}"
        return self.ask(t, path, self.headers, status=status, size=size_of(f"{method}{arguments}", usual))

    def stream(
        self, t: float, track: int, *, method: str = "stream", byte_range: str | None = "bytes=0-", **arguments: object
    ) -> float:
        query = f"u=ada&t={self.token}&v=1.16.1&c={self.app}&f=json&id=tr-{track}"
        query += "".join(f"&{name}={value}" for name, value in arguments.items())
        length = length_s(track)
        headers = [*self.headers, *([["range", byte_range]] if byte_range else [])]
        path = f"{self.site.subsonic}/{method}{self.end}?{query}"
        return self.ask(t, path, headers, status=206 if byte_range else 200, size=length * BYTES_PER_S, audio_s=length)

    def plays(self, t: float, tracks: int) -> float:
        for track in (tracks_of(album_of(popular(self.rng))) * 4)[:tracks]:
            self.stream(t, track)
            heard = heard_s(self.rng, length_s(track))
            self.call(t + heard * 0.5, "scrobble", 90, id=f"tr-{track}", submission="false")
            self.call(t + 0.3, "getLyricsBySongId", 1500, id=f"tr-{track}")
            t += heard
        return t


def _okhttp(name: str) -> Headers:
    return [["user-agent", name], ["accept-encoding", "gzip"]]


def symfonium_first_sync(rng: Random, start_s: float, site: Platform, known: bool) -> list[Line]:
    """2,100 songs in 190 albums. It begins with made-up credentials and gets a 401, pages through all songs and albums,
    then asks for each album and for the cover of every song."""
    app = Subsonic(rng, site, "Symfonium", _okhttp("Symfonium/13.4 (Android)"), known=known, salted=True)
    who, app.auth = app.auth, None
    t = app.call(start_s, "ping", 120, user="test", status=401)
    app.auth = who
    for method in (
        "ping",
        "getOpenSubsonicExtensions",
        "getUser",
        "getMusicFolders",
        "getArtists",
        "getGenres",
        "getPlaylists",
        "getStarred2",
    ):
        t = app.call(t, method, 9000) + 0.02
    for offset in range(0, 2100, 500):
        t = (
            app.call(
                t, "search3", 400_000, query="%22%22", songCount=500, songOffset=offset, albumCount=0, artistCount=0
            )
            + 0.05
        )
    for offset in range(0, 200, 100):
        t = app.call(t, "getAlbumList2", 60_000, type="alphabeticalByName", size=100, offset=offset) + 0.05
    for album in range(190):
        t = app.call(t, "getAlbum", 9000, id=f"al-{album}") + rng.uniform(0.005, 0.03)
    lanes = [t, t + 0.01, t + 0.02, t + 0.03]
    for song in range(2100):
        lanes[song % 4] = app.call(lanes[song % 4], "getCoverArt", 40_000, id=f"mf-{song}", size=600) + rng.uniform(
            0.01, 0.08
        )
    app.plays(max(lanes) + 20, 6)
    return app.lines


def dsub(rng: Random, start_s: float, site: Platform, known: bool) -> list[Line]:
    """An old Android app, HTTP/1.1, a new token each call: folders, artists, searches, covers, whole songs ahead."""
    headers = [["User-Agent", "DSub/5.5.4"], ["Host", HOST], ["Connection", "Keep-Alive"], ["Accept-Encoding", "gzip"]]
    app = Subsonic(rng, site, "DSub", headers, known=known, salted=True)
    app.proto = "h1"
    t = start_s
    for method in ("ping", "getMusicFolders", "getIndexes", "getArtists", "getAlbumList2"):
        t = app.call(t, method, 30_000) + 0.1
    for album in range(60):
        app.call(t + rng.uniform(0, 6), "getCoverArt", 30_000, id=f"al-{album}", size=300)
    t += 8
    for word in ("am", "amb", "ambi", "ambient", "du", "dub"):
        t = app.call(t, "search3", 6000, query=word) + rng.uniform(0.3, 1.2)
    for album in (album_of(popular(rng)) for _ in range(4)):
        t = app.call(t + pause_s(rng), "getAlbum", 9000, id=f"al-{album}")
        at = t
        for track in tracks_of(album)[:5]:  # the next five songs are fetched whole while the first one plays
            at = app.stream(at, track, byte_range=None, maxBitRate=0)
            app.call(at, "scrobble", 90, id=f"tr-{track}")
        t += sum(length_s(track) for track in tracks_of(album)[:5])
    return app.lines


def supersonic_with_many_covers(rng: Random, start_s: float, site: Platform, known: bool) -> list[Line]:
    """A collection of 21,000 albums, scrolled through for a while: here 800 of its covers in five minutes."""
    headers = [["User-Agent", "supersonic"], ["Accept-Encoding", "gzip"]]
    app = Subsonic(rng, site, "supersonic", headers, known=known, salted=False, view=False)
    t = app.call(start_s, "ping", 120)
    for page in range(40):
        t = app.call(t, "getAlbumList2", 12_000, type="alphabeticalByName", size=20, offset=page * 20)
        for album in range(page * 20, page * 20 + 20):
            app.call(t + rng.uniform(0, 1.5), "getCoverArt", 30_000, id=f"al-{album}", size=300)
        t += rng.uniform(4, 12)
    app.plays(t, 4)
    return app.lines


def feishin(rng: Random, start_s: float, site: Platform, known: bool) -> list[Line]:
    """A desktop app that is a browser inside: Sec-Fetch says cross-site, covers come as pictures, sound as audio."""
    system, inside = "Windows NT 10.0; Win64; x64", "Chrome/142.0.0.0 Electron/39.2.0 Safari/537.36"
    name = f"Mozilla/5.0 ({system}) {KHTML} feishin/1.0.2 {inside}"
    browser = chrome(rng, "windows", 142)
    sitting = Sitting(rng, auth=_auth(rng, known))
    token = f"u=ada&t={rng.getrandbits(128):032x}&s={rng.getrandbits(48):x}&v=1.13.0&c=Feishin"

    def ask(t: float, method: str, dest: str, more: str, size: float, audio_s: float = 0.0) -> float:
        byte_range = "bytes=0-" if dest == "audio" else None
        headers = browser.headers(dest, site="cross-site", byte_range=byte_range)
        headers = [[key, name if key == "user-agent" else value] for key, value in headers]
        path = f"{site.subsonic}/{method}.view?{token}{more}"
        return sitting.ask(t, path, headers, status=206 if byte_range else 200, size=size, audio_s=audio_s)

    t = ask(start_s, "ping", "empty", "&f=json", 120)
    for kind in ("newest", "recent", "frequent", "random"):
        t = ask(t, "getAlbumList2", "empty", f"&f=json&type={kind}&size=50", 30_000)
        for _ in range(30):
            ask(t + rng.uniform(0, 1), "getCoverArt", "image", f"&id=al-{album_of(popular(rng))}&size=300", 30_000)
        t += rng.uniform(1, 4)
    for page in range(20):
        t = ask(t, "getAlbumList2", "empty", f"&f=json&type=alphabeticalByName&size=50&offset={page * 50}", 30_000)
        for album in range(page * 12, page * 12 + 12):
            ask(t + rng.uniform(0, 1), "getCoverArt", "image", f"&id=al-{album}&size=300", 30_000)
        t += rng.uniform(1, 5)
    for track in tracks_of(album_of(popular(rng))):
        length = length_s(track)
        ask(t, "stream", "audio", f"&id=tr-{track}", length * BYTES_PER_S, length)
        ask(t + length / 2, "scrobble", "empty", f"&f=json&id=tr-{track}", 90)
        t += length
    return sitting.lines


def app_on_a_plain_library(rng: Random, start_s: float, site: Platform, known: bool) -> list[Line]:
    """A plug-in built on a plain HTTP library syncs a playlist of 150 songs and keeps 30 of them."""
    name = rng.choice(
        (
            "Python/3.13 aiohttp/3.14.1",
            "python-requests/2.32.5",
            "Dart/3.5 (dart:io)",
            "okhttp/4.12.0",
            "Go-http-client/2.0",
        )
    )
    app = Subsonic(rng, site, "plugin", [["user-agent", name], ["accept", "*/*"]], known=known, salted=True)
    t = app.call(start_s, "ping", 120)
    t = app.call(t, "getPlaylists", 3000)
    t = app.call(t, "getPlaylist", 60_000, id=3)
    songs: list[int] = []
    while len(songs) < 150:
        songs += tracks_of(album_of(popular(rng)))
    for song in songs[:150]:
        t = app.call(t, "getSong", 900, id=f"tr-{song}") + 0.02
        app.call(t, "getCoverArt", 30_000, id=f"mf-{song}", size=300)
    for _ in range(30):
        t = app.stream(t, popular(rng), method="download", byte_range=None) + 0.05
    return app.lines


def several_subsonic_apps_of_a_family(rng: Random, start_s: float, site: Platform, known: bool) -> list[Line]:
    """Four apps behind one address, each with its own habits, two of them while an album plays in mpv."""
    ip, lines = home(rng), []
    for name in ("substreamer/1.9", "Tempo/4.1", "Ultrasonic/4.8.0", "play:Sub/6.2 CFNetwork/3860.100.1 Darwin/25.0.0"):
        app = Subsonic(rng, site, name.split("/")[0], _okhttp(name), known=known, salted=rng.random() < 0.5)
        app.ip = ip
        t = app.call(start_s + rng.uniform(0, 900), "ping", 120)
        t = app.call(t, "getAlbumList2", 30_000, type="newest", size=50)
        for album in range(40):
            app.call(t + rng.uniform(0, 3), "getCoverArt", 30_000, id=f"al-{album}", size=500)
        app.plays(t + 5, 8)
        lines += app.lines
    player = Sitting(rng, ip, proto="h1", auth=_auth(rng, known))
    t = start_s + 60
    for track in tracks_of(album_of(popular(rng))):
        path = f"{site.subsonic}/stream?u=ada&p=enc:73657361&v=1.16.1&c=mpv&id=tr-{track}"
        player.ask(t, path, mpv(), status=206, size=length_s(track) * BYTES_PER_S, audio_s=length_s(track))
        t += length_s(track)
    return lines + player.lines


def subsonic_on_the_way(rng: Random, start_s: float, site: Platform, known: bool) -> list[Line]:
    """A phone that changes addresses while its app plays and fetches ahead."""
    pool = carrier(rng, 5)
    app = Subsonic(
        rng, site, "Amperfy", _okhttp("Amperfy/2.1.0 CFNetwork/3860.100.1 Darwin/25.0.0"), known=known, salted=True
    )
    t = app.call(start_s, "ping", 120)
    for track in (tracks_of(album_of(popular(rng))) + tracks_of(album_of(popular(rng))))[:16]:
        app.ip = rng.choice(pool)
        app.call(t, "getCoverArt", 30_000, id=f"mf-{track}", size=600)
        total = int(length_s(track) * BYTES_PER_S)
        cut = rng.randrange(total // 3, total)
        app.stream(t + 0.1, track, byte_range=f"bytes=0-{total - 1}")
        app.ip = rng.choice(pool)
        app.stream(t + 40, track, byte_range=f"bytes={cut}-")
        t += length_s(track)
    return app.lines


# -- Navidrome ---------------------------------------------------------------------------------------------


def _token(rng: Random) -> str:
    return f"eyJhbGciOiJIUzI1NiJ9.{rng.getrandbits(160):040x}.{rng.getrandbits(128):032x}"


def navidrome_in_the_browser(rng: Random, start_s: float, site: Platform, known: bool) -> list[Line]:
    """The web player: one page, its parts, then native calls, covers and whole songs."""
    visit = Visit(rng, site, rng.choice((chrome(rng), firefox(rng), safari(rng))), auth=_auth(rng, known))
    here = "/app/"
    t = visit.document(start_s, here)
    for path, dest in (
        ("/app/assets/index-8f3c.js", "script"),
        ("/app/assets/index-77ab.css", "style"),
        ("/app/manifest.webmanifest", "manifest"),
    ):
        visit.part(t + 0.1, "static", path, dest, here, 200_000)
    t = visit.call(t + 0.5, "/auth/login", here, method="POST", usual=900)
    token = f"u=ada&t={rng.getrandbits(128):032x}&s={rng.getrandbits(24):x}&f=json&v=1.8.0&c=NavidromeUI"
    visit.call(t, f"/rest/getScanStatus?{token}", here, usual=300)
    for page in range(rng.randint(3, 9)):
        t = visit.call(
            t, f"/api/album?_end={page * 36 + 36}&_order=ASC&_sort=name&_start={page * 36}", here, usual=40_000
        )
        for album in range(36):
            visit.part(
                t + rng.uniform(0, 0.8),
                "artwork",
                f"/rest/getCoverArt?{token}&id=al-{page * 36 + album}&size=300",
                "image",
                here,
                25_000,
            )
        t += pause_s(rng, 8)
    for track in tracks_of(album_of(popular(rng))):
        length = length_s(track)
        headers = visit.browser.headers("audio", referer=ORIGIN + here, cookie=visit.cookie, byte_range="bytes=0-")
        visit.ask(
            t,
            f"/rest/stream?{token}&id=tr-{track}&_=17",
            headers,
            status=206,
            size=length * BYTES_PER_S,
            audio_s=length,
        )
        visit.call(t + 30, f"/rest/scrobble?{token}&id=tr-{track}&submission=true", here, usual=90)
        t += heard_s(rng, length)
    for _ in range(40):
        visit.call(t, "/api/keepalive", here, usual=60)
        t += 60
    return visit.lines


def navidrome_share_with_missing_covers(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """A guest opens a shared playlist: 60 artists without a picture answer 404 within a second, then songs play."""
    visit = Visit(rng, site, rng.choice((chrome(rng), firefox(rng), any_phone(rng))))
    here = "/share/AbCdEf1234"
    t = visit.document(start_s, here, referer="https://chat.example/", site="cross-site")
    for path, dest in (("/share/assets/index-8f3c.js", "script"), ("/share/assets/index-77ab.css", "style")):
        visit.part(t + 0.1, "static", path, dest, here, 200_000)
    for _ in range(60):
        visit.part(
            t + rng.uniform(0.3, 1.2), "artwork", f"/share/img/{_token(rng)}?size=300", "image", here, 0, status=404
        )
    visit.part(t + 0.5, "artwork", f"/share/img/{_token(rng)}?size=600", "image", here, 50_000)
    t += 4
    for track in tracks_of(album_of(popular(rng))):
        length = length_s(track)
        headers = visit.browser.headers("audio", referer=ORIGIN + here, cookie=visit.cookie, byte_range="bytes=0-")
        visit.ask(t, f"/share/s/{_token(rng)}", headers, status=206, size=length * BYTES_PER_S, audio_s=length)
        t += heard_s(rng, length) + 0.5
    return visit.lines


def navidrome_share_sent_to_a_group(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Twelve friends open the same share within half an hour, some from one household."""
    lines: list[Line] = []
    ip = home(rng)
    for number in range(12):
        part = navidrome_share_with_missing_covers(rng, start_s + rng.uniform(0, 1800), site)
        for line in part if number % 3 == 0 else ():
            line["ip"] = ip
        lines += part
    return lines


# -- Jellyfin ----------------------------------------------------------------------------------------------


def _jellyfin_id(rng: Random) -> str:
    return f"{rng.getrandbits(128):032x}"


def _jellyfin_app(name: str, device: str, token: str) -> Headers:
    signed = f'MediaBrowser Client="{name}", Device="{device}", DeviceId="ab12", Version="0.9.18", Token="{token}"'
    return [
        ["user-agent", f"{name}/0.9.18 (Android 16; {device})"],
        ["authorization", signed],
        ["accept-encoding", "gzip"],
    ]


def jellyfin_home(rng: Random, start_s: float, site: Platform, known: bool, under: str = "") -> list[Line]:
    """The home screen in a browser: 46 different addresses in ten seconds, then an album."""
    visit = Visit(rng, site, rng.choice((chrome(rng), firefox(rng), safari(rng))), auth=_auth(rng, known))
    visit.cookie, here, user = None, "/web/", _jellyfin_id(rng)
    t = visit.document(start_s, here)
    for number in range(8):
        visit.part(t + 0.1 * number, "static", f"/web/main.{number}.bundle.js", "script", here, 90_000, cookie=False)
    for path in (
        "/System/Info/Public",
        f"/Users/{user}",
        f"/UserViews?userId={user}",
        f"/DisplayPreferences/usersettings?userId={user}&client=emby",
        "/Playback/BitrateTest?Size=500000",
        f"/UserItems/Resume?userId={user}&limit=12&mediaTypes=Audio",
        "/Sessions/Capabilities/Full",
        f"/Shows/NextUp?userId={user}&limit=24",
    ):
        t = visit.call(t, under + path, here, usual=4000)
    for _ in range(4):
        t = visit.call(
            t, f"{under}/Items/Latest?userId={user}&parentId={_jellyfin_id(rng)}&limit=16", here, usual=14_000
        )
    for _ in range(26):
        visit.part(
            t + rng.uniform(0, 3),
            "artwork",
            f"{under}/Items/{_jellyfin_id(rng)}/Images/Primary?fillHeight=223&tag=1",
            "image",
            here,
            30_000,
        )
    t += 12
    for track in tracks_of(album_of(popular(rng))):
        length = length_s(track)
        headers = visit.browser.headers("audio", referer=ORIGIN + here, byte_range="bytes=0-")
        path = f"{under}/Audio/{_jellyfin_id(rng)}/universal?UserId={user}&DeviceId=ab12&MaxStreamingBitrate=140000000"
        visit.ask(t, path, headers, status=206, size=length * BYTES_PER_S, audio_s=length)
        for beat in range(0, int(length), 10):
            visit.call(t + beat, f"{under}/Sessions/Playing/Progress", here, method="POST", status=204)
        t += length
    return visit.lines


def jellyfin_first_sync(rng: Random, start_s: float, site: Platform, known: bool, under: str = "") -> list[Line]:
    """An app reads a library of 1,200 songs with its pictures and downloads two albums over three lanes."""
    name, token = rng.choice(("Finamp", "Symfonium", "Jellify")), _jellyfin_id(rng)
    sitting, headers, user = (
        Sitting(rng, auth=_auth(rng, known)),
        _jellyfin_app(name, "Pixel 9", token),
        _jellyfin_id(rng),
    )
    who, sitting.auth = sitting.auth, None
    t = sitting.ask(start_s, f"{under}/Users/AuthenticateByName", headers, method="POST", status=401)
    t = sitting.ask(t + 9, f"{under}/Users/AuthenticateByName", headers, method="POST", size=900)
    sitting.auth = who
    for offset in range(0, 1200, 100):
        path = f"{under}/Users/{user}/Items?IncludeItemTypes=Audio&Recursive=true&Limit=100&StartIndex={offset}"
        t = sitting.ask(t, path, headers, size=120_000) + 0.05
    for _ in range(300):
        t = (
            sitting.ask(t, f"{under}/Items/{_jellyfin_id(rng)}/Images/Primary?maxWidth=300", headers, size=30_000)
            + 0.01
        )
    lanes = [t, t + 0.1, t + 0.2]
    for track in tracks_of(album_of(popular(rng))) + tracks_of(album_of(popular(rng))):
        lane = lanes.index(min(lanes))
        path = f"{under}/Items/{_jellyfin_id(rng)}/Download?api_key={token}"
        lanes[lane] = sitting.ask(
            lanes[lane], path, headers, size=length_s(track) * BYTES_PER_S, audio_s=length_s(track)
        )
    return sitting.lines


def jellyfin_on_an_iphone(rng: Random, start_s: float, site: Platform, known: bool, under: str = "") -> list[Line]:
    """Calls under the app's name, sound under that of the system's player, the key in the address."""
    token, user = _jellyfin_id(rng), _jellyfin_id(rng)
    sitting = Sitting(rng, auth=_auth(rng, known))
    headers = _jellyfin_app("Swiftfin", "iPhone", token)
    t = sitting.ask(start_s, f"{under}/Users/{user}/Items/Latest?limit=20", headers, size=14_000)
    for _ in range(20):
        sitting.ask(t + rng.uniform(0, 1), f"{under}/Items/{_jellyfin_id(rng)}/Images/Primary", headers, size=30_000)
    for track in tracks_of(album_of(popular(rng))):
        path = f"{under}/Audio/{_jellyfin_id(rng)}/stream.mp3?static=true&api_key={token}"
        sitting.ask(t, path, core_media(rng, "bytes=0-1"), status=206, size=2)
        total = int(length_s(track) * BYTES_PER_S)
        sitting.ask(
            t + 0.05, path, core_media(rng, f"bytes=0-{total - 1}"), status=206, size=total, audio_s=length_s(track)
        )
        t += heard_s(rng, length_s(track))
    return sitting.lines


# -- Nextcloud Music ---------------------------------------------------------------------------------------


def nextcloud_covers_without_extension(rng: Random, start_s: float, site: Platform, known: bool) -> list[Line]:
    """Scrolling through albums: 150 covers without an extension, answered with 303, 200 or given up (499)."""
    visit = Visit(rng, site, rng.choice((chrome(rng), firefox(rng))), auth=_auth(rng, known), returning=True)
    here = "/index.php/apps/music/"
    t = visit.document(start_s, here)
    for path, dest in (
        ("/apps/music/dist/webpack.app.js?v=1", "script"),
        ("/apps/music/dist/webpack.app.css?v=1", "style"),
        ("/core/css/server.css?v=1", "style"),
    ):
        visit.part(t + 0.1, "static", path, dest, here, 90_000)
    t = visit.call(t + 0.5, "/index.php/apps/music/api/prepare_collection", here, method="POST")
    t = visit.call(t, "/index.php/apps/music/api/collection?hash=1", here, usual=500_000)
    for album in range(150):
        if album % 15 == 0:
            t += rng.uniform(0.4, 3)
        path = f"/index.php/apps/music/api/albums/{album + 1}/cover"
        chance = rng.random()
        at = t + rng.uniform(0, 0.7)
        if chance < 0.3:
            at = visit.part(at, "artwork", path, "image", here, 0, status=303)
            visit.part(at, "artwork", f"/index.php/apps/music/api/cover/{rng.getrandbits(64):x}", "image", here, 30_000)
        else:
            visit.part(at, "artwork", path, "image", here, 30_000, status=200 if chance < 0.85 else 499)
    for track in tracks_of(album_of(popular(rng))):
        length = length_s(track)
        headers = visit.browser.headers("audio", referer=ORIGIN + here, cookie=visit.cookie, byte_range="bytes=0-")
        visit.ask(
            t,
            f"/index.php/apps/music/api/files/{track}/download",
            headers,
            status=206,
            size=length * BYTES_PER_S,
            audio_s=length,
        )
        t += heard_s(rng, length)
    return visit.lines


# -- Funkwhale ---------------------------------------------------------------------------------------------


def funkwhale_pods(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Other pods read a channel and fetch its tracks, to play them to their own people."""
    lines: list[Line] = []
    for number in range(6):
        headers = [
            ["User-Agent", f"python-requests (funkwhale/1.4.0; +https://pod{number}.example)"],
            ["Accept", "application/activity+json"],
            ["Host", HOST],
        ]
        sitting = Sitting(rng, f"2001:db8:9000:{number:x}::1", proto="h1")
        t = sitting.ask(start_s + rng.uniform(0, 600), f"/federation/music/libraries/{number}", headers, size=3000)
        for page in range(1, 9):
            t = sitting.ask(t, f"/federation/music/libraries/{number}?page={page}", headers, size=30_000) + 0.5
        for _ in range(15):
            track = popular(rng)
            t += pause_s(rng, 60)
            sitting.ask(
                t, site.at(site.file, track), headers, size=length_s(track) * BYTES_PER_S, audio_s=length_s(track)
            )
        lines += sitting.lines
    return lines


def both(persona: Callable[..., list[Line]], **more: object) -> tuple[Persona, Persona]:
    """The persona whose account the platform has told to the guard, and the one of whom it knows nothing."""
    return partial(persona, known=True, **more), partial(persona, known=False, **more)

"""The platforms on which people listen: which paths each has, and a catalogue that is the same everywhere.

An empty path means that the platform has no such thing. `elsewhere` names kinds of fetches that go to another host
(a CDN), so that the guard never sees them. `sets_cookies` is false where visitors get none, `tells_referer` where the
platform asks browsers to send no Referer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from zlib import crc32

TRACKS, FIRST, ARTISTS = 6000, 100_000, 800
BYTES_PER_S = 16_000
SEGMENT_S = 10.0

_starts: list[int] = []
_album_of: dict[int, int] = {}
_rng, _next = Random(7), FIRST
while _next < FIRST + TRACKS:
    _starts.append(_next)
    _length = _rng.randint(3, 14)
    for _track in range(_next, _next + _length):
        _album_of[_track] = len(_starts) - 1
    _next += _length
ALBUMS = len(_starts)


def popular(rng: Random) -> int:
    """A track as people choose them: few are heard often, most hardly ever."""
    return FIRST + (int(TRACKS ** rng.random()) * 2741 + 977) % TRACKS


def unpopular(rng: Random) -> int:
    return FIRST + rng.randrange(TRACKS)


def album_of(track: int) -> int:
    return _album_of[track]


def tracks_of(album: int) -> list[int]:
    """The tracks of an album: neighbours, in their order."""
    first = _starts[album % ALBUMS]
    end = _starts[album % ALBUMS + 1] if album % ALBUMS + 1 < ALBUMS else FIRST + TRACKS
    return list(range(first, end))


def artist_of(track: int) -> int:
    return crc32(b"%d" % album_of(track)) % ARTISTS + 1


def length_s(track: int) -> float:
    return 110.0 + track * 7919 % 230


def size_of(path: str, usual: int) -> int:
    """The same path has the same size for everybody."""
    return int(usual * (0.6 + crc32(path.encode()) % 800 / 1000))


@dataclass(frozen=True)
class Platform:
    """Paths with {id} for a track, album, artist, list or show, and {n} for what is counted within it."""

    name: str
    home: str = "/"
    track: str = "/track/{id}"
    artist: str = "/artist/{id}"
    album: str = "/album/{id}"
    playlist: str = "/playlist/{id}"
    index: str = "/browse/{id}"
    search_page: str = "/search"
    search: str = "/api/v1/search?q={id}"
    me: str = "/api/v1/me"
    about_track: str = "/api/v1/tracks/{id}"
    about_artist: str = "/api/v1/artists/{id}"
    stream: str = "/api/v1/stream/{id}"
    played: str = "/api/v1/events/play"
    master: str = "/hls/{id}/master.m3u8"
    variant: str = "/hls/{id}/128k/index.m3u8"
    segment: str = "/hls/{id}/128k/seg{n:04d}.m4s"
    file: str = "/media/{id}.mp3"
    cover: str = "/img/cover/{id}-{n}.jpg"
    waveform: str = "/waveform/{id}.json"
    static: tuple[tuple[str, str, int], ...] = (
        ("/static/app.8f3c.css", "style", 41_000),
        ("/static/app.77ab.js", "script", 310_000),
        ("/static/hls.1.7.4.js", "script", 150_000),
        ("/static/inter.woff2", "font", 48_000),
    )
    web_manifest: str = "/static/app.webmanifest"
    favicon: str = "/favicon.ico"
    embed: str = "/embed/{id}"
    oembed: str = "/oembed?url=https%3A%2F%2Fmusic.example%2Ftrack%2F{id}&format=json"
    feed: str = "/podcast/{id}/feed.xml"
    episode: str = "/podcast/{id}/ep{n}.mp3"
    download: str = "/api/v1/download/{id}"
    radio_page: str = "/radio"
    radio: str = "/media/radio.mp3"
    now: str = "/api/v1/nowplaying"
    subsonic: str = "/rest"
    elsewhere: frozenset[str] = frozenset()
    sets_cookies: bool = True
    tells_referer: bool = True

    def at_one_of(self, rng: Random, track: int, *kinds: str) -> str:
        """A page of a track, or of its album or artist: each with the id that it has."""
        kind = rng.choice(kinds)
        return self.at(kind, {self.artist: artist_of(track), self.album: album_of(track)}.get(kind, track))

    def at(self, path: str, number: object = 0, n: int = 0) -> str:
        """A path of the platform with its number in it."""
        return path.format(id=number, n=n)


GENERIC = Platform("generic")

STATIC_ELSEWHERE = replace(
    GENERIC, name="generic, parts and covers on another host", elsewhere=frozenset({"static", "artwork"})
)

PAGES_ONLY = replace(
    GENERIC,
    name="generic, only pages on this host",
    elsewhere=frozenset({"static", "artwork", "media", "api", "favicon"}),
)

NO_COOKIES = replace(GENERIC, name="generic, without cookies and referrers", sets_cookies=False, tells_referer=False)

SHOP = Platform(
    "record shop",
    track="/track/song-{id}",
    artist="/music?band={id}",
    album="/album/record-{id}",
    playlist="/tag/list-{id}",
    index="/discover/{id}",
    search_page="/search?q=",
    search="/api/fuzzysearch/1/app_autocomplete?q={id}",
    me="/api/fan/2/collection_summary",
    about_track="/api/mobile/25/tralbum_details?tralbum_id={id}",
    about_artist="/api/mobile/25/band_details?band_id={id}",
    stream="",
    played="/api/stats/2/plays",
    master="",
    variant="",
    segment="",
    file="/stream/{id}/mp3-128/{id}",
    cover="/img/a{id}_{n}.jpg",
    waveform="",
    web_manifest="",
    embed="/EmbeddedPlayer/album={id}/size=large/tracklist=false/",
    feed="/feed/{id}",
    episode="/download/track/{id}-{n}.mp3",
    download="/api/mobile/25/download_url?id={id}",
    radio_page="/discover/weekly",
    radio="/stream/weekly/mp3-128/1",
    now="/api/bcweekly/3/list",
    subsonic="",
)

SHARING = Platform(
    "sharing platform",
    track="/somebody-{id}/a-track",
    artist="/somebody-{id}",
    album="/somebody-{id}/sets/an-album",
    playlist="/somebody-{id}/sets/a-list",
    index="/tags/{id}",
    search_page="/search?q=",
    search="/api/v2/search/queries?q={id}",
    me="/api/v2/me",
    about_track="/api/v2/tracks/{id}",
    about_artist="/api/v2/users/{id}",
    stream="/api/v2/media/{id}",
    played="/api/v2/me/plays",
    master="",
    variant="/playlist/{id}.128.mp3/playlist.m3u8",
    segment="/hls/{id}/{n}.mp3",
    file="/stream/{id}",
    cover="/artworks/{id}-t{n}x{n}.jpg",
    waveform="/waveform/{id}_m.json",
    static=(
        ("/assets/css/app-8f.css", "style", 60_000),
        ("/assets/49-77ab.js", "script", 290_000),
        ("/assets/0-12cd.js", "script", 410_000),
    ),
    web_manifest="/assets/app.webmanifest",
    embed="/player/?url=https%3A//music.example/tracks/{id}&auto_play=false",
    feed="/feeds/users/{id}/sounds.rss",
    episode="/stream/{id}-{n}.mp3",
    download="/api/v2/tracks/{id}/download",
    radio_page="/charts/top",
    radio="/stream/radio",
    now="/api/v2/charts",
    subsonic="",
)

FUNKWHALE = Platform(
    "Funkwhale",
    home="/library",
    track="/library/tracks/{id}",
    artist="/library/artists/{id}",
    album="/library/albums/{id}",
    playlist="/library/playlists/{id}",
    index="/library/artists/?page={id}",
    search_page="/search",
    search="/api/v1/search?query={id}",
    me="/api/v1/users/me/",
    about_track="/api/v1/tracks/{id}/",
    about_artist="/api/v1/artists/{id}/",
    stream="",
    played="/api/v1/history/listenings/",
    master="",
    variant="",
    segment="",
    file="/api/v1/listen/{id}/?to=mp3",
    cover="/media/__sized__/attachments/{id}-crop-c0-5__0-5-{n}x{n}-95.jpg",
    waveform="",
    static=(
        ("/front/assets/index-8f3c.css", "style", 90_000),
        ("/front/assets/index-77ab.js", "script", 900_000),
        ("/front/assets/en-12.js", "script", 70_000),
    ),
    web_manifest="/manifest.json",
    favicon="/favicon.png",
    embed="/front/embed.html?type=track&id={id}",
    oembed="/api/v1/oembed?url=https%3A%2F%2Fmusic.example%2Flibrary%2Ftracks%2F{id}&format=json",
    feed="/api/v1/channels/show-{id}/rss",
    episode="/api/v1/listen/{id}-{n}/?download=false",
    download="/api/v1/listen/{id}/?download=true",
    radio_page="/library/radios/1",
    radio="/api/v1/listen/radio/",
    now="/api/v1/history/listenings/?scope=all",
    subsonic="/api/subsonic/rest",
)

ONE_PAGE = replace(
    GENERIC,
    name="single page",
    track="/tracks/{id}",
    artist="/artists/{id}",
    album="/albums/{id}",
    playlist="/playlists/{id}",
    index="/artists?letter={id}",
    search="/api/search?q={id}",
    me="/api/session",
    about_track="/api/tracks/{id}",
    about_artist="/api/artists/{id}",
    stream="/api/tracks/{id}/url",
    played="/api/plays",
    master="",
    variant="/streams/{id}/index.m3u8",
    segment="/streams/{id}/{n}.ts",
    file="/audio/{id}.mp3",
    cover="/covers/{id}-{n}.webp",
    static=(
        ("/assets/index-8f3c.css", "style", 41_000),
        ("/assets/index-77ab.js", "script", 510_000),
        ("/assets/inter.woff2", "font", 48_000),
    ),
    web_manifest="/manifest.json",
    feed="/shows/{id}/feed.xml",
    episode="/audio/shows/{id}/{n}.mp3",
    download="/api/tracks/{id}/download",
    radio="/streams/radio.mp3",
    now="/api/now",
    subsonic="",
)

CASTOPOD = replace(
    GENERIC,
    name="Castopod",
    track="/@show{id}/episodes/an-episode",
    artist="/@show{id}",
    album="/@show{id}/episodes",
    playlist="/@show{id}/activity",
    index="/?page={id}",
    search_page="/map",
    search="/api/rest/v1/episodes?query={id}",
    me="/api/rest/v1/podcasts",
    about_track="/api/rest/v1/episodes/{id}",
    about_artist="/api/rest/v1/podcasts/{id}",
    stream="",
    played="",
    master="",
    variant="",
    segment="",
    file="/audio/@show/episode-{id}.mp3?_from=web",
    cover="/media/podcasts/show/episode_{id}_{n}.webp",
    waveform="",
    static=(
        ("/assets/index.8f3c.css", "style", 41_000),
        ("/assets/app.77ab.js", "script", 110_000),
        ("/assets/kumbh.woff2", "font", 48_000),
    ),
    web_manifest="/manifest.webmanifest",
    embed="/@show{id}/episodes/an-episode/embed",
    oembed="/@show{id}/episodes/an-episode/oembed.json",
    feed="/@show{id}/feed.xml",
    episode="/audio/@show{id}/episode-{n}.mp3",
    download="",
    radio_page="",
    radio="",
    now="",
    subsonic="",
)

AZURACAST = replace(
    GENERIC,
    name="AzuraCast",
    home="/public/radio1",
    track="/public/radio1/ondemand?track={id}",
    artist="/public/radio{id}",
    album="/public/radio1/podcasts/{id}",
    playlist="/public/radio{id}/schedule",
    index="/public/radio1/history?page={id}",
    search_page="/public/radio1/ondemand",
    search="/api/station/1/ondemand?searchPhrase={id}",
    me="/api/nowplaying/radio1",
    about_track="/api/station/1/ondemand?row={id}",
    about_artist="/api/station/{id}",
    stream="",
    played="",
    master="",
    variant="",
    segment="",
    file="/api/station/1/ondemand/download/{id}",
    cover="/api/station/1/art/{id}-{n}.jpg",
    waveform="",
    static=(
        ("/static/vite_dist/assets/Public-8f3c.css", "style", 41_000),
        ("/static/vite_dist/assets/Public-77ab.js", "script", 310_000),
    ),
    web_manifest="/public/radio1/app.webmanifest",
    embed="/public/radio1/embed?theme={id}",
    oembed="/public/radio1/oembed/json?url={id}",
    feed="/public/radio1/podcast/{id}/feed",
    episode="/api/station/1/public/podcast/{id}/episode/{n}/download.mp3",
    download="",
    radio_page="/public/radio1",
    radio="/listen/radio1/radio.mp3",
    now="/api/nowplaying/radio1",
    subsonic="",
)

NAVIDROME = replace(GENERIC, name="Navidrome", subsonic="/rest", feed="", episode="", radio="", embed="")
JELLYFIN = replace(GENERIC, name="Jellyfin", subsonic="")
SUBSONIC = replace(GENERIC, name="Subsonic", subsonic="/rest")
NEXTCLOUD = replace(
    GENERIC, name="Nextcloud Music behind routes that do not know it", subsonic="/index.php/apps/music/subsonic/rest"
)

SITES = (GENERIC, STATIC_ELSEWHERE, PAGES_ONLY, NO_COOKIES, SHOP, SHARING, FUNKWHALE, ONE_PAGE, CASTOPOD, AZURACAST)
"""Platforms with pages that anybody may read."""

"""What ships: routes of known platforms, and policies to copy. Nobody who listens is refused by any of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard import Guard, Policy, Request, load_policy, shipped_policy
from guard.examples import try_examples, uncovered
from guard.listeners import PERSONAS
from guard.load import read_policy, shipped_catalogue
from guard.model import CATEGORIES, Decision
from guard.patterns import PathPatterns, specimen

POLICIES = Path(__file__).parents[1] / "policies"
PRESETS = tuple(sorted(path.stem for path in POLICIES.glob("*.yaml")))
ROUTES = tuple(sorted(path.stem for path in (POLICIES / "routes").glob("*.yaml")))
SNIPPETS = tuple(sorted(path.stem for path in (POLICIES / "snippets").glob("*.yaml")))
LISTENED = ("media", "manifest", "artwork", "lyrics", "feed", "api")
"""Route classes where nobody with a player, a browser, a device or a feed reader may be refused."""

JELLYFIN_ID = "3f1c2a9be0d84b7e9a5c6d7e8f901234"
UUID = "0f7c4c6e-2a52-4a3c-9f46-6b2f0f3f8d11"
JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpZCI6IjEifQ.c2ln"

ADDRESSES: dict[str, tuple[tuple[str, str], ...]] = {
    # OpenSubsonic: the pages of its endpoints (opensubsonic/open-subsonic-api, content/en/docs/Endpoints), each with
    # and without `.view`; hls.md says /rest/hls.m3u8. Airsonic's HLS playlists name /ext/stream/stream.ts.
    "subsonic": (
        ("/rest/stream", "media"),
        ("/rest/stream.view", "media"),
        ("/rest/download", "media"),
        ("/rest/download.view", "media"),
        ("/rest/getTranscodeStream", "media"),
        ("/rest/getTranscodeStream.view", "media"),
        ("/ext/stream/stream.ts", "media"),
        ("/ext/stream", "media"),
        ("/rest/hls.m3u8", "manifest"),
        ("/rest/hls", "manifest"),
        ("/ext/hls/hls.m3u8", "manifest"),
        ("/rest/getCoverArt", "artwork"),
        ("/rest/getCoverArt.view", "artwork"),
        ("/rest/getAvatar.view", "artwork"),
        ("/ext/coverArt.view", "artwork"),
        ("/rest/getLyrics", "lyrics"),
        ("/rest/getLyricsBySongId.view", "lyrics"),
        ("/rest/getCaptions.view", "lyrics"),
        ("/rest/downloadPodcastEpisode.view", "api"),
        ("/rest/search2.view", "api"),
        ("/rest/search3", "api"),
        ("/rest/ping.view", "api"),
        ("/rest/getTranscodeDecision", "api"),
        ("/rest/getOpenSubsonicExtensions", "api"),
        ("/rest/getPlaylists.view", "api"),
        ("/rest/scrobble.view", "api"),
        ("/rest/getPodcasts.view", "api"),
        ("/share/ABcdE", "page"),
        ("/ext/share/ABcdE", "page"),
    ),
    # Navidrome: navidrome/navidrome, server/{server,subsonic/api,public/public,nativeapi/native_api,jellyfin/api}.go
    # and consts/consts.go.
    "navidrome": (
        ("/rest/stream", "media"),
        ("/rest/stream.view", "media"),
        ("/rest/download.view", "media"),
        ("/rest/getTranscodeStream.view", "media"),
        (f"/share/s/{JWT}", "media"),
        (f"/share/d/{JWT}", "media"),
        (f"/jellyfin/Audio/{JELLYFIN_ID}/stream", "media"),
        (f"/jellyfin/Audio/{JELLYFIN_ID}/stream.mp3", "media"),
        (f"/jellyfin/Audio/{JELLYFIN_ID}/universal", "media"),
        (f"/jellyfin/Items/{JELLYFIN_ID}/File", "media"),
        (f"/jellyfin/Items/{JELLYFIN_ID}/Download", "media"),
        ("/rest/hls.m3u8", "manifest"),
        ("/share/AbCdEf1234/m3u", "manifest"),
        ("/rest/getCoverArt.view", "artwork"),
        ("/rest/getAvatar", "artwork"),
        (f"/share/img/{JWT}", "artwork"),
        (f"/jellyfin/Items/{JELLYFIN_ID}/Images/Primary", "artwork"),
        (f"/jellyfin/items/{JELLYFIN_ID}/images/Primary/0", "artwork"),
        (f"/api/playlist/{UUID}/image", "artwork"),
        ("/rest/getLyricsBySongId.view", "lyrics"),
        ("/rest/getCaptions", "lyrics"),
        (f"/jellyfin/Audio/{JELLYFIN_ID}/Lyrics", "lyrics"),
        ("/share/AbCdEf1234/aplayer", "embed"),
        ("/share/aplayer/APlayer.min.js", "static"),
        ("/app/assets/index-4f2a.js", "static"),
        ("/app/manifest.webmanifest", "static"),
        ("/share/assets/index-4f2a.css", "static"),
        ("/share/index.html", "static"),
        ("/backgrounds", "static"),
        ("/app", "page"),
        ("/app/", "page"),
        ("/share/AbCdEf1234", "page"),
        ("/rest/search3.view", "api"),
        ("/api/song", "api"),
        (f"/api/album/{UUID}", "api"),
        ("/api/keepalive/keepalive", "api"),
        ("/auth/login", "api"),
        ("/jellyfin/Users/AuthenticateByName", "api"),
        ("/jellyfin/socket", "api"),
        ("/ping", "api"),
    ),
    # Jellyfin: the routes of Jellyfin.Api/Controllers (Audio, UniversalAudio, DynamicHls, HlsSegment, Image, Lyrics,
    # Library, Search, Trickplay, Subtitle, LiveTv, System) in jellyfin/jellyfin.
    "jellyfin": (
        (f"/Audio/{JELLYFIN_ID}/stream", "media"),
        (f"/Audio/{JELLYFIN_ID}/stream.flac", "media"),
        (f"/Audio/{JELLYFIN_ID}/universal", "media"),
        (f"/Audio/{JELLYFIN_ID}/hls1/main/0.mp4", "media"),
        (f"/Audio/{JELLYFIN_ID}/hls/17/stream.aac", "media"),
        (f"/Videos/{JELLYFIN_ID}/stream.mkv", "media"),
        (f"/Videos/{JELLYFIN_ID}/hls1/main/0.ts", "media"),
        (f"/Videos/{JELLYFIN_ID}/hls/9f3c/3.ts", "media"),
        (f"/Items/{JELLYFIN_ID}/File", "media"),
        (f"/Items/{JELLYFIN_ID}/Download", "media"),
        ("/LiveTv/LiveStreamFiles/17/stream.ts", "media"),
        ("/LiveTv/LiveRecordings/17/stream", "media"),
        ("/Playback/BitrateTest", "media"),
        (f"/Audio/{JELLYFIN_ID}/master.m3u8", "manifest"),
        (f"/audio/{JELLYFIN_ID}/main.m3u8", "manifest"),
        (f"/Videos/{JELLYFIN_ID}/live.m3u8", "manifest"),
        (f"/Videos/{JELLYFIN_ID}/hls/9f3c/stream.m3u8", "manifest"),
        (f"/Videos/{JELLYFIN_ID}/Trickplay/320/tiles.m3u8", "manifest"),
        (f"/Items/{JELLYFIN_ID}/Images/Primary", "artwork"),
        (f"/Items/{JELLYFIN_ID}/Images/Backdrop/0", "artwork"),
        (f"/Items/{JELLYFIN_ID}/Images/Primary/0/abc/Jpg/300/300/0/0", "artwork"),
        ("/Artists/AC%2FDC/Images/Primary/0", "artwork"),
        ("/Artists/Björk/Images/Primary/0", "artwork"),
        ("/Genres/Jazz/Images/Primary", "artwork"),
        ("/MusicGenres/Jazz/Images/Primary", "artwork"),
        ("/Persons/Bach/Images/Primary", "artwork"),
        ("/Studios/Abbey/Images/Thumb", "artwork"),
        (f"/Users/{JELLYFIN_ID}/Images/Primary", "artwork"),
        ("/UserImage", "artwork"),
        ("/Branding/Splashscreen", "artwork"),
        (f"/Plugins/{JELLYFIN_ID}/1.0.0.0/Image", "artwork"),
        (f"/Videos/{JELLYFIN_ID}/Trickplay/320/0.jpg", "artwork"),
        (f"/Audio/{JELLYFIN_ID}/Lyrics", "lyrics"),
        (f"/Audio/{JELLYFIN_ID}/RemoteSearch/Lyrics", "lyrics"),
        ("/Providers/Lyrics/lrclib_17", "lyrics"),
        (f"/Videos/{JELLYFIN_ID}/{JELLYFIN_ID}/Subtitles/2/0/Stream.vtt", "lyrics"),
        ("/Search/Hints", "search"),
        ("/web/", "page"),
        ("/web/index.html", "page"),
        ("/web/main.jellyfin.bundle.js", "static"),
        ("/Branding/Css.css", "static"),
        ("/web/ConfigurationPages", "api"),
        (f"/Items/{JELLYFIN_ID}/Images", "api"),
        (f"/Items/{JELLYFIN_ID}/PlaybackInfo", "api"),
        ("/Videos/ActiveEncodings", "api"),
        ("/Users/AuthenticateByName", "api"),
        (f"/Users/{JELLYFIN_ID}/Items/Latest", "api"),
        ("/Items", "api"),
        ("/Artists/AlbumArtists", "api"),
        ("/Sessions/Playing/Progress", "api"),
        ("/System/Info/Public", "api"),
        ("/System/Ping", "api"),
        ("/QuickConnect/Enabled", "api"),
        ("/socket", "api"),
        ("/health", "api"),
    ),
    # Funkwhale: api/config/urls/{api,subsonic,spa}.py, api/funkwhale_api/federation/urls.py, api/config/routing.py and
    # deploy/nginx.template of its mirrors (RYGhub/funkwhale, prototypefund/iconet-Foundation-funkwhale).
    "funkwhale": (
        (f"/api/v1/listen/{UUID}/", "media"),
        (f"/api/v2/listen/{UUID}", "media"),
        (f"/api/v1/stream/{UUID}.mp3", "media"),
        ("/rest/stream.view", "media"),
        ("/rest/download", "media"),
        ("/rest/getTranscodeStream", "media"),
        ("/api/subsonic/rest/stream.view", "media"),
        ("/api/subsonic/rest/download.view", "media"),
        ("/media/tracks/2026/11/22/a-song.flac", "media"),
        ("/_protected/media/tracks/a-song.flac", "media"),
        ("/rest/hls.m3u8", "manifest"),
        ("/api/subsonic/rest/hls", "manifest"),
        (f"/api/v1/attachments/{UUID}/proxy", "artwork"),
        ("/media/__sized__/attachments/0f/7c/cover-crop-c0-5__0-5-200x200-95.jpg", "artwork"),
        ("/media/attachments/0f/7c/cover.jpg", "artwork"),
        ("/media/albums/covers/2019/cover.jpg", "artwork"),
        ("/rest/getCoverArt.view", "artwork"),
        ("/rest/getAvatar.view", "artwork"),
        ("/api/subsonic/rest/getCoverArt", "artwork"),
        ("/api/subsonic/rest/getAvatar", "artwork"),
        ("/api/v1/tracks/17/lyrics/", "lyrics"),
        ("/rest/getLyrics.view", "lyrics"),
        ("/api/subsonic/rest/getLyrics", "lyrics"),
        ("/api/v1/channels/a-show/rss", "feed"),
        (f"/api/v1/channels/{UUID}/rss/", "feed"),
        ("/front/embed.html", "embed"),
        ("/embed.html", "embed"),
        ("/api/v1/oembed/", "embed"),
        ("/federation/actors/alice", "federation"),
        ("/federation/actors/alice/inbox", "federation"),
        ("/federation/shared/inbox", "federation"),
        (f"/federation/music/libraries/{UUID}", "federation"),
        ("/.well-known/webfinger", "federation"),
        ("/.well-known/nodeinfo", "federation"),
        ("/api/v1/instance/nodeinfo/2.0/", "federation"),
        ("/api/v1/search", "search"),
        ("/search", "search"),
        ("/api/v1/tracks/17/", "api"),
        ("/api/v1/activity", "api"),
        ("/api/v1/federation/follows/library/", "api"),
        ("/rest/search3.view", "api"),
        ("/front/js/app.4f2a.js", "static"),
        ("/staticfiles/admin/css/base.css", "static"),
        ("/media/dynamic_preferences/banner.png", "static"),
        ("/library/tracks/17", "page"),
        ("/channels/a-show", "page"),
        ("/@alice", "page"),
    ),
    # AzuraCast: backend/config/routes/{public,api_public,api_station}.php, src/Nginx/{ConfigWriter,CustomUrls}.php and
    # util/docker/web/nginx/azuracast.conf.tmpl in AzuraCast/AzuraCast.
    "azuracast": (
        ("/listen/jazz/radio.mp3", "media"),
        ("/listen/jazz/aac", "media"),
        ("/radio/8000/radio.mp3", "media"),
        ("/hls/jazz/aac_hifi_17.ts", "media"),
        (f"/api/station/1/ondemand/download/{UUID}", "media"),
        (f"/api/station/jazz/public/podcast/{UUID}/episode/{UUID}/download.mp3", "media"),
        (f"/api/station/jazz/podcast/{UUID}/episode/{UUID}/download", "media"),
        ("/api/station/1/file/17/play", "media"),
        ("/api/station/1/files/download", "media"),
        ("/hls/jazz/live.m3u8", "manifest"),
        ("/public/jazz/playlist", "manifest"),
        ("/public/jazz/playlist.pls", "manifest"),
        ("/listen/jazz/radio.mp3.m3u", "manifest"),
        ("/listen/jazz/radio.m3u8", "manifest"),
        ("/listen/jazz/listen.pls", "manifest"),
        ("/listen/jazz/radio.mp3.xspf", "manifest"),
        ("/radio/8000/radio.mp3.m3u", "manifest"),
        ("/api/station/jazz/art/4f2a9c-1700000000.jpg", "artwork"),
        ("/api/nowplaying/jazz/art/1700000000.jpg", "artwork"),
        ("/api/nowplaying/jazz/art", "artwork"),
        ("/api/station/jazz/streamer/3/art-1700000000.jpg", "artwork"),
        (f"/api/station/jazz/podcast/{UUID}/art-1700000000.jpg", "artwork"),
        (f"/api/station/jazz/podcast/{UUID}/episode/{UUID}/art", "artwork"),
        (f"/api/station/jazz/public/podcast/{UUID}/art", "artwork"),
        (f"/api/station/jazz/public/podcast/{UUID}/episode/{UUID}/art-1700000000.jpg", "artwork"),
        ("/api/station/jazz/waveform/4f2a9c-1700000000.json", "artwork"),
        ("/static/uploads/jazz/album_art.jpg", "artwork"),
        (f"/public/jazz/podcast/{UUID}/feed", "feed"),
        ("/public/jazz/embed", "embed"),
        ("/public/jazz/social", "embed"),
        ("/public/jazz/ondemand/embed", "embed"),
        ("/public/jazz/embed-requests", "embed"),
        ("/public/jazz/oembed/json", "embed"),
        ("/public/jazz/history", "embed"),
        ("/listen/jazz/status-json.xsl", "api"),
        ("/listen/jazz/7.html", "api"),
        ("/api/nowplaying/jazz", "api"),
        ("/api/nowplaying_static/jazz.json", "api"),
        ("/api/live/nowplaying/websocket", "api"),
        ("/api/station/1/requests", "api"),
        ("/webdj/jazz/", "api"),
        ("/api/status", "api"),
        ("/static/vite_dist/main.js", "static"),
        ("/public/sw.js", "static"),
        ("/public/jazz/app.webmanifest", "static"),
        ("/public/jazz", "page"),
        (f"/public/jazz/podcast/{UUID}/episode/{UUID}", "page"),
        ("/docs/api/", "page"),
    ),
    # Castopod: app/Config/Routes.php and modules/{Fediverse,Analytics,Media,Api/Rest/V1}/Config/Routes.php in
    # ad-aures/castopod.
    "castopod": (
        ("/audio/@a_show/episode-1.mp3", "media"),
        ("/audio/f1WlzuqTDACsjQQAWkzsAA/a_show/episode-1.mp3", "media"),
        ("/media/podcasts/a_show/episode-1.mp3", "media"),
        ("/static/podcasts/a_show/episode-1.m4a", "media"),
        ("/media/podcasts/a_show/cover_feed.jpg", "artwork"),
        ("/media/podcasts/a_show/cover.jpeg", "artwork"),
        ("/media/podcasts/a_show/cover_og.png", "artwork"),
        ("/media/podcasts/a_show/cover_tiny.webp", "artwork"),
        ("/media/site/icon.svg", "artwork"),
        ("/static/podcasts/a_show/banner.jpg", "artwork"),
        ("/static/podcasts/a_show/banner.jpeg", "artwork"),
        ("/static/podcasts/a_show/banner.png", "artwork"),
        ("/static/podcasts/a_show/banner_medium.webp", "artwork"),
        ("/static/persons/a.svg", "artwork"),
        ("/media/podcasts/a_show/episode-1.srt", "lyrics"),
        ("/media/podcasts/a_show/episode-1-chapters.json", "lyrics"),
        ("/media/podcasts/a_show/episode-1.vtt", "lyrics"),
        ("/static/podcasts/a_show/episode-1-transcript.json", "lyrics"),
        ("/static/podcasts/a_show/episode-1.srt", "lyrics"),
        ("/static/podcasts/a_show/episode-1.vtt", "lyrics"),
        ("/@a_show/feed.xml", "feed"),
        ("/@a_show/feed", "feed"),
        ("/@a_show/episodes/episode-1/embed", "embed"),
        ("/@a_show/episodes/episode-1/embed/dark-transparent", "embed"),
        ("/@a_show/episodes/episode-1/oembed.json", "embed"),
        ("/@a_show/inbox", "federation"),
        ("/@a_show/outbox", "federation"),
        ("/@a_show/followers", "federation"),
        (f"/@a_show/activities/{UUID}", "federation"),
        (f"/posts/{UUID}/replies", "federation"),
        ("/.well-known/webfinger", "federation"),
        ("/.well-known/x-nodeinfo2", "federation"),
        ("/api/rest/v1/podcasts", "api"),
        ("/health", "api"),
        ("/assets/js/audio-player.js", "static"),
        ("/@a_show/manifest.webmanifest", "static"),
        ("/@a_show", "page"),
        ("/@a_show/episodes/episode-1", "page"),
        (f"/@a_show/posts/{UUID}", "page"),
        (f"/p/{UUID}", "page"),
        ("/map", "page"),
    ),
    # A platform of one's own: no source but habit. Bundles of Vite and Next.js, files by ending, REST and GraphQL.
    "spa": (
        ("/media/4711.mp3", "media"),
        ("/files/2026/a-song.flac", "media"),
        ("/files/a-song.M4A", "media"),
        ("/books/1.m4b", "media"),
        ("/files/1.aac", "media"),
        ("/files/1.ogg", "media"),
        ("/files/1.oga", "media"),
        ("/files/1.opus", "media"),
        ("/files/1.wav", "media"),
        ("/files/1.weba", "media"),
        ("/v/4711/seg-1.m4s", "media"),
        ("/hls/4711/seg1.ts", "media"),
        ("/api/v1/tracks/4711/stream", "media"),
        ("/api/v1/tracks/4711/download", "media"),
        ("/media/4711", "media"),
        ("/audio/4711", "media"),
        ("/stream/4711", "media"),
        ("/streams/4711", "media"),
        ("/hls/4711/init", "media"),
        ("/download/4711", "media"),
        ("/downloads/4711", "media"),
        ("/hls/4711/index.m3u8", "manifest"),
        ("/dash/4711.mpd", "manifest"),
        ("/radio.m3u", "manifest"),
        ("/radio.pls", "manifest"),
        ("/radio.xspf", "manifest"),
        ("/img/cover/101", "artwork"),
        ("/images/101", "artwork"),
        ("/artwork/101", "artwork"),
        ("/covers/101.jpg", "artwork"),
        ("/waveform/4711.json", "artwork"),
        ("/api/v1/albums/101/artwork", "artwork"),
        ("/api/v1/albums/101/cover", "artwork"),
        ("/u/a.jpg", "artwork"),
        ("/u/a.jpeg", "artwork"),
        ("/u/a.png", "artwork"),
        ("/u/a.webp", "artwork"),
        ("/u/a.avif", "artwork"),
        ("/lyrics/4711", "lyrics"),
        ("/api/v1/tracks/4711/lyrics", "lyrics"),
        ("/files/4711.lrc", "lyrics"),
        ("/files/4711.vtt", "lyrics"),
        ("/files/4711.srt", "lyrics"),
        ("/feed.xml", "feed"),
        ("/shows/1/rss.xml", "feed"),
        ("/shows/1.rss", "feed"),
        ("/news.atom", "feed"),
        ("/artist/somebody/feed", "feed"),
        ("/artist/somebody/rss", "feed"),
        ("/feed/1", "feed"),
        ("/feeds/1", "feed"),
        ("/rss/1", "feed"),
        ("/inbox", "federation"),
        ("/users/alice/inbox", "federation"),
        ("/users/alice/outbox", "federation"),
        ("/federation/actors/alice", "federation"),
        ("/.well-known/webfinger", "federation"),
        ("/.well-known/nodeinfo", "federation"),
        ("/.well-known/host-meta", "federation"),
        ("/nodeinfo/2.1", "federation"),
        ("/embed/4711", "embed"),
        ("/oembed", "embed"),
        ("/search", "search"),
        ("/api/v1/search", "search"),
        ("/api/v1/tracks/4711", "api"),
        ("/graphql", "api"),
        ("/socket.io/", "api"),
        ("/assets/index-4f2a.js", "static"),
        ("/assets/logo.png", "static"),
        ("/_next/static/chunks/main.js", "static"),
        ("/apple-touch-icon.png", "static"),
        ("/favicon.ico", "static"),
        ("/track/4711", "page"),
        ("/", "page"),
    ),
}

ROWS = [
    pytest.param(preset, path, route_class, id=f"{preset} {path}")
    for preset, rows in ADDRESSES.items()
    for path, route_class in rows
]


@cache
def routes_of(preset: str, under: str = "") -> Guard:
    """A guard that knows nothing but a preset of routes."""
    text = f"version: 1\nsite: {{name: x}}\ndefault: allow\nroutes:\n  - preset: {preset}\n"
    return Guard(read_policy(text + (f"    under: {under}\n" if under else ""), "routes"))


@cache
def policy_of(name: str) -> Policy:
    return load_policy(shipped_policy(name))


@cache
def guard_of(name: str, at_s: float | None = None) -> Guard:
    return Guard(policy_of(name), clock=time.time if at_s is None else lambda: at_s)


def decided(guard: Guard, path: str, user_agent: str = "", method: str = "GET", ip: str = "192.0.2.1") -> Decision:
    target = "".join(char if char.isascii() else "".join(f"%{byte:02X}" for byte in char.encode()) for char in path)
    return guard.consider(Request(method, target.encode(), user_agent.encode(), ip))[1]


# -- routes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("preset", "path", "route_class"), ROWS)
def test_an_address_of_a_known_platform_is_what_it_is_there_and_below_a_prefix(
    preset: str, path: str, route_class: str
) -> None:
    assert decided(routes_of(preset), path).route_class == route_class
    assert decided(routes_of(preset, "/music"), f"/music{path}").route_class == route_class


@pytest.mark.parametrize("preset", ROUTES)
def test_a_preset_below_a_prefix_says_nothing_about_what_lies_beside_it(preset: str) -> None:
    beside = {decided(routes_of(preset, "/music"), path).route_class for path, _ in ADDRESSES[preset]}
    assert beside == {"page"}


@pytest.mark.parametrize("preset", ROUTES)
def test_every_pattern_of_a_preset_that_people_hear_see_or_read_by_is_met_by_a_real_address(preset: str) -> None:
    rows = ADDRESSES[preset]
    assert len(rows) >= 15
    policy = routes_of(preset).policy
    assert {route_class for _, route_class in rows} >= {entry.route_class for entry in policy.routes}
    patterns = [(path, entry.route_class) for entry in policy.routes for path in entry.paths]
    tree = PathPatterns(path for path, _ in patterns)
    met = {tree.match(decided_path(path))[0] for path, _ in rows if tree.match(decided_path(path))}
    heard = ("media", "manifest", "artwork", "lyrics", "feed")
    assert [path for at, (path, kind) in enumerate(patterns) if kind in heard and at not in met] == []


def decided_path(path: str) -> str:
    return path.rstrip("/").lower() or "/"


SONGS = (
    ("navidrome", "/share/s/{}", "media"),
    ("navidrome", "/jellyfin/Audio/{}/universal", "media"),
    ("navidrome", "/share/{}/m3u", "manifest"),
    ("jellyfin", "/Audio/{}/stream", "media"),
    ("jellyfin", "/Audio/{}/hls1/{}/0.ts", "media"),
    ("jellyfin", "/Audio/{}/master.m3u8", "manifest"),
    ("jellyfin", "/Items/{}/Images/Primary", "artwork"),
    ("jellyfin", "/Artists/{}/Images/Primary/0", "artwork"),
    ("funkwhale", "/api/v1/listen/{}", "media"),
    ("funkwhale", "/media/tracks/{}", "media"),
    ("azuracast", "/hls/{}/seg_1.ts", "media"),
    ("azuracast", "/api/station/{}/ondemand/download/{}", "media"),
    ("azuracast", "/api/nowplaying/{}/art", "artwork"),
    ("castopod", "/audio/@{}/episode.mp3", "media"),
    ("spa", "/{}/song.mp3", "media"),
    ("spa", "/api/{}/stream", "media"),
)
NAMES = st.text(
    st.characters(codec="utf-8", min_codepoint=32, exclude_characters="/\\%?#;\x7f"), min_size=1, max_size=24
).filter(lambda name: name.strip(" ").strip("."))  # `..` and the like lead elsewhere


@pytest.mark.parametrize(("preset", "shape", "route_class"), SONGS)
@settings(max_examples=60)
@given(name=NAMES)
def test_a_song_stays_a_song_whatever_the_names_in_its_address(
    preset: str, shape: str, route_class: str, name: str
) -> None:
    escaped = "".join(f"%{byte:02X}" for byte in name.encode())
    found = decided(routes_of(preset), shape.replace("{}", escaped))
    assert found.action == "reject" or found.route_class == route_class


FILES = (*PRESETS, *(f"routes/{name}" for name in ROUTES), *(f"snippets/{name}" for name in SNIPPETS))


@pytest.mark.parametrize("name", FILES)
def test_a_shipped_file_opens_with_three_lines_that_say_whom_it_serves(name: str) -> None:
    lines = (POLICIES / f"{name}.yaml").read_text("utf-8").splitlines()
    assert [line.startswith("# ") for line in lines[:4]] == [True, True, True, False]
    assert lines[0].startswith(("# For ", "# Who "))
    assert max(map(len, lines[:3])) <= 120


# -- policies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_a_shipped_policy_loads_with_nothing_to_complain_of(name: str) -> None:
    policy = policy_of(name)
    assert policy.warnings == ()
    assert policy.site.name
    assert policy.default == "allow"


def test_guard_check_finds_nothing_in_what_ships_but_that_a_contact_is_to_be_filled_in() -> None:
    command = [sys.executable, "-m", "guard", "check", "--json", *PRESETS]
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=120).stdout)
    to_be_filled_in = ("no 'contact'", "no 'url'")
    assert [row for row in answer["problems"] if not any(word in row["message"] for word in to_be_filled_in)] == []
    assert answer["ok"]


@pytest.mark.parametrize("name", PRESETS)
def test_every_example_of_a_shipped_policy_comes_out_as_it_says(name: str) -> None:
    trials = try_examples(policy_of(name))
    assert [trial.problem for trial in trials if trial.fault] == []
    assert len(trials) >= 23


@pytest.mark.parametrize("name", PRESETS)
def test_every_rule_row_and_step_of_a_shipped_policy_is_shown_by_an_example(name: str) -> None:
    policy = policy_of(name)
    unshown = [rule.name for rule in uncovered(policy, try_examples(policy))]
    assert unshown == []


@pytest.mark.parametrize("name", PRESETS)
def test_every_shipped_policy_shows_listeners_fans_and_those_who_send_them(name: str) -> None:
    policy = policy_of(name)
    shown = {guard_of(name).catalogue.find(case.user_agent.encode()).category for case in policy.examples}
    assert shown >= {"browser", "player", "preview", "search", "monitoring", "ripper", "library", "ai-train"}


@pytest.mark.parametrize("name", PRESETS)
def test_a_copy_of_one_shipped_file_works_wherever_it_lies(name: str, tmp_path: Path) -> None:
    copied = shutil.copy(shipped_policy(name), tmp_path / "ours.yaml")
    policy = load_policy(copied)
    assert (policy.rules, policy.rows, policy.routes) == (
        policy_of(name).rules,
        policy_of(name).rows,
        policy_of(name).routes,
    )


def test_what_ships_is_found_by_name() -> None:
    assert {"observe", "no-ai", "strict", "licensed", "navidrome", "funkwhale"} < set(PRESETS)
    assert set(ROUTES) == set(ADDRESSES)
    for name in PRESETS:
        assert shipped_policy(name).is_file()


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("path", ["/robots.txt", "/ai.txt", "/.well-known/tdmrep.json", "/.well-known/security.txt"])
def test_what_a_policy_publishes_is_open_to_everybody(name: str, path: str) -> None:
    for user_agent in ("GPTBot/1.3", "yt-dlp/2026.10.26", "Scrapy/2.13.3", "EvilBot/1.0"):
        found = decided(guard_of(name), path, user_agent)
        assert found.route_class == "directive"
        assert found.action in ("allow", "serve")


# -- nobody who listens is refused -------------------------------------------------------------------------

KHTML = "AppleWebKit/537.36 (KHTML, like Gecko)"
SAFARI = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
OWN = (
    "",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {KHTML} Chrome/109.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {SAFARI} Version/26.1 Safari/605.1.15",
    f"Mozilla/5.0 (iPad; CPU OS 12_5_7 like Mac OS X) {SAFARI} Mobile/15E148 Safari/604.1",
    f"Mozilla/5.0 (Linux; Android 13; CUBOT P80) {KHTML} Chrome/150.0.0.0 Mobile Safari/537.36",
    f"Mozilla/5.0 (SMART-TV; LINUX; Tizen 6.0) {KHTML} 76.0.3809.146/6.0 TV Safari/537.36",
    f"Mozilla/5.0 (Web0S; Linux/SmartTV) {KHTML} Chrome/120.0.0.0 Safari/537.36",
    f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {KHTML} Chrome/156.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 6.1; Win64; x64; rv:68.9) Gecko/20100101 Goanna/4.8 Firefox/68.9 PaleMoon/29.1",
    "Opera/9.80 (Android; Opera Mini/36.2/119.132; U; id) Presto/2.12.423 Version/12.16",
    "Lynx/2.9.2 libwww-FM/2.14 SSL-MM/1.4.1 OpenSSL/3.5.1",
    "w3m/0.5.3+git20230121",
    "Links (2.29; Linux x86_64; GNU C 12; text)",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {KHTML} feishin/0.12.3 Chrome/128.0 Electron/31.3 Safari/537.36",
    "AppleCoreMedia/1.0.0.22B83 (Apple TV; U; CPU OS 18_1 like Mac OS X; de_de)",
    "Music/1.0 CFNetwork/1568.200.51 Darwin/24.1.0",
    "Podcasts/1650.20 CFNetwork/1496.0.7 Darwin/23.5.0",
    "Overcast/3.0 (+http://overcast.fm/; iOS podcast app)",
    "PodcastAddict/v5 (+https://podcastaddict.com/; Android podcast app)",
    "Pocket Casts",
    "AntennaPod/3.8.0",
    "gPodder/3.11.4 (+http://gpodder.org/) Linux",
    "Castro 2025.8/1700",
    "Dalvik/2.1.0 (Linux; U; Android 15; Pixel 9 Build/AP4A.250105.002)",
    "stagefright/1.2 (Linux;Android 7.0)",
    "SoundGarden/8.4.1 (Linux;Android 16) AndroidXMedia3/1.9.1",
    "okhttp/4.12.0",
    "Dart/3.5 (dart:io)",
    "Symfonium/13.4 (Android)",
    "DSub/5.5.4",
    "Supersonic",
    "substreamer/1.9",
    "Finamp/0.9.18",
    "Jellyfin-Android/2.6.3",
    "Music Player Daemon 0.24.4",
    "libmpv",
    "VLC/3.0.21 LibVLC/3.0.21",
    "Lavf/61.7.100",
    "foobar2000/2.1",
    "Winamp/5.9",
    "Linux UPnP/1.0 Sonos/86.4-66270 (ZPS38)",
    "AlexaMediaPlayer/2.1.4676.0 (Linux;Android 7.1.2) ExoPlayerLib/1.5.9",
    "Roku/DVP-14.0 (14.0.0.4068-46)",
    "Radio Garden/3.4 (iOS)",
    "NetNewsWire (RSS Reader; https://netnewswire.com/)",
    "Reeder/5.4 CFNetwork/1496.0.7 Darwin/23.5.0",
    "FreshRSS/1.27 (Linux; https://freshrss.org)",
    "Tiny Tiny RSS/25.05 (https://tt-rss.org/)",
    "Mozilla/5.0 (compatible; Miniflux/2.2.13; +https://miniflux.app)",
    "Thunderbird/140.3",
)


@cache
def listeners() -> tuple[str, ...]:
    """User-Agents of everybody who listens, looks or reads: ours, the personas', and the catalogue's samples."""
    kinds = ("player", "device", "browser", "feed")
    samples = [text for agent in shipped_catalogue().agents if agent.category in kinds for text in agent.samples]
    return tuple(dict.fromkeys((*OWN, *(persona.user_agent for persona in PERSONAS), *samples)))


def places(policy: Policy, *route_classes: str) -> Iterator[str]:
    """An address for every pattern of these route classes that is not caught by an earlier one."""
    for entry in policy.routes:
        for pattern in entry.paths:
            path = specimen(pattern)
            if entry.route_class in route_classes and policy.route_class(path.lower()) == entry.route_class:
                yield path


@pytest.mark.parametrize("name", PRESETS)
def test_nobody_who_listens_is_refused_audio_covers_words_feeds_or_the_api(name: str) -> None:
    guard = guard_of(name)
    refused = [
        (user_agent, path, found.rule)
        for path in places(guard.policy, *LISTENED)
        for user_agent in listeners()
        if (found := decided(guard, path, user_agent)).action == "block"
    ]
    assert len(listeners()) > 200
    assert refused == []


@pytest.mark.parametrize("name", PRESETS)
def test_no_browser_and_no_reader_is_refused_a_page(name: str) -> None:
    guard = guard_of(name)
    people = [*OWN, *(persona.user_agent for persona in PERSONAS)]
    people = [text for text in people if guard.catalogue.find(text.encode()).category != "library"]
    for path in ("/", *places(guard.policy, "page", "embed", "search", "static")):
        for user_agent in people:
            assert decided(guard, path, user_agent).action == "allow", (path, user_agent)


@pytest.mark.parametrize("name", PRESETS)
def test_a_feed_is_refused_to_nothing_that_reads_it_for_a_person(name: str) -> None:
    guard = guard_of(name)
    for path in places(guard.policy, "feed"):
        for user_agent in (
            "Zapier",
            "n8n",
            "feedparser/6.0.11",
            "curl/8.15.0",
            "Wget/1.25.0",
            "python-requests/2.32.5",
        ):
            assert decided(guard, path, user_agent).action != "block", (path, user_agent)


@pytest.mark.parametrize("name", PRESETS)
def test_no_listener_s_weight_reaches_a_step_of_the_ladder(name: str) -> None:
    guard = guard_of(name)
    people = [text for text in listeners() if guard.catalogue.find(text.encode()).category != "library"]
    for path in ("/", *places(guard.policy, "page", "embed", "search", *LISTENED)):
        for user_agent in people:
            assert not decided(guard, path, user_agent).rule.startswith("ladder: ")


PEERS = (
    "Mastodon/4.5.0 (http.rb/5.3.1; +https://mastodon.example/)",
    "http.rb/5.2.0 (Mastodon/4.3.0; +https://mastodon.example/)",
    "Pleroma 2.9.1; https://pleroma.example <admin@pleroma.example>",
    "Misskey/2026.1.0 (https://misskey.example)",
    "GoToSocial/0.20.1 (+https://tiny.example)",
    "PixelFed/0.12.5; +https://pixelfed.example",
    "Bridgy Fed (https://fed.brid.gy/)",
    "WordPress/6.8; https://blog.example; ActivityPub/7.3",
    "Castopod/1.13.2; +https://castopod.example/",
    "python-requests (funkwhale/1.4.0; +https://pod.example)",
    "PeerTube/7.3.0 (+https://peertube.example)",
    "Lemmy/0.19.12; +https://lemmy.example",
    "Go-http-client/2.0",
    "python-requests/2.32.5",
)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_fediverse_is_neither_refused_nor_slowed(name: str, method: str) -> None:
    guard = guard_of(name)
    for path in places(guard.policy, "federation"):
        for user_agent in PEERS:
            assert decided(guard, path, user_agent, method).action == "allow", (path, user_agent)


def test_a_pod_plays_what_it_fetches_from_another_pod() -> None:
    for name in sorted({*PRESETS} - {"navidrome"}):
        guard = guard_of(name)
        for path in places(guard.policy, "media"):
            assert decided(guard, path, "python-requests (funkwhale/1.4.0; +https://pod.example)").action == "allow"


# -- and what was promised is kept -------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_no_ai_agent_hears_a_note_under_any_shipped_policy(name: str) -> None:
    guard = guard_of(name)
    kinds = {category for category in CATEGORIES if category.startswith("ai-")}
    agents = [agent for agent in guard.catalogue.agents if agent.category in kinds and agent.samples]
    heard = [
        (agent.name, path)
        for path in places(guard.policy, "media", "manifest")
        for agent in agents
        if decided(guard, path, agent.samples[0]).action != "block"
    ]
    assert len(agents) > 150
    assert heard == []


@pytest.mark.parametrize("name", sorted({*PRESETS} - {"navidrome"}))
def test_search_engines_and_previews_may_read_pages_and_hear_nothing(name: str) -> None:
    guard = guard_of(name)
    for user_agent in (
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
    ):
        assert decided(guard, "/", user_agent).action in ("allow", "throttle")
        for path in places(guard.policy, "artwork"):
            if not path.startswith(("/rest/", "/api/subsonic/")):
                assert decided(guard, path, user_agent).action in ("allow", "throttle")
        for path in places(guard.policy, "media", "manifest"):
            if not path.startswith(("/rest/", "/api/subsonic/")):  # whoever has an account there is let through
                assert decided(guard, path, user_agent).action == "block", path


def test_the_licence_with_a_date_ends_by_itself() -> None:
    ask = ("/track/4711", "GPTBot/1.3", "GET", "203.0.113.7")
    days = {day: decided(guard_of("licensed", at_s), *ask).action for day, at_s in DAYS.items()}
    assert days == {"before": "block", "first": "throttle", "last": "throttle", "after": "block"}
    assert decided(guard_of("licensed", DAYS["first"]), "/track/4711", "GPTBot/1.3", ip="192.0.2.7").action == "block"


DAYS = {"before": 1782863999.0, "first": 1782864000.0, "last": 1846022399.0, "after": 1846022400.0}
"""The edges of 2026-07-01 and 2028-06-30, in UTC."""

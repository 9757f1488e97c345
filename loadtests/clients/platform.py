"""Hollow Reed at full length: the demo's pages over songs of three to four minutes, with hls.js on its pages.

    uvicorn --factory loadtests.clients.platform:create_app

The demo's pieces last 12 to 20 seconds, so that it starts quickly; here each is repeated until it is as long as a
song, and there are thirty podcast episodes of half an hour. GUARD_CLIENTS_DIR names the directory that holds the
sound (made on the first start, some tens of seconds), GUARD_CLIENTS_HLS the file of hls.js.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from guard.demo import audio, pages
from guard.demo.addresses import media_path
from guard.demo.api import Api
from guard.demo.catalogue import Catalogue, Episode, Track, compose_catalogue
from guard.demo.collection import Collection
from guard.demo.media import DAY, M3U8, Media
from guard.demo.platform import SEED, STATIC, Site, base_of, found, refuse, show
from guard.demo.subsonic import Subsonic

EDITION = "songs-1"  # raise when anything here changes what is heard
LENGTHS_S = (184, 198, 207, 220, 231, 240)  # about; each piece is repeated as often as comes nearest
SEGMENT_S = 6
EPISODES = 30
EPISODE_S = 1800
MP3_BYTES_PER_S = audio.MUSIC.bit_rate / 8
SPEECH_BYTES_PER_S = audio.SPEECH.bit_rate / 8
HLS_RULES = "default-src 'self'; media-src 'self' blob:; worker-src 'self' blob:; frame-ancestors 'self'"
MASTER = (
    "#EXTM3U\n#EXT-X-VERSION:3\n"
    '#EXT-X-STREAM-INF:BANDWIDTH=190000,AVERAGE-BANDWIDTH=182000,CODECS="mp4a.40.2"\nindex.m3u8\n'
)
"""With a bit rate in it, hls.js fetches a whole track at line rate; without one, half a minute ahead."""
STREAM_JS = """"use strict";
const streamed = document.querySelector("audio[data-hls]");
if (streamed && Hls.isSupported()) {
  const hls = new Hls();
  hls.loadSource(streamed.dataset.hls);
  hls.attachMedia(streamed);
}
"""

SONGS = tuple(
    replace(piece, rounds=round(length_s / (piece.seconds / piece.rounds)))
    for piece, length_s in zip(audio.PIECES, LENGTHS_S, strict=True)
)
EPISODE = replace(audio.EPISODE, rounds=round(EPISODE_S / (audio.EPISODE.seconds / audio.EPISODE.rounds)))


def create_app() -> Starlette:
    """The platform, for `uvicorn --factory`."""
    return build_platform(Path(os.environ["GUARD_CLIENTS_DIR"]), Path(os.environ["GUARD_CLIENTS_HLS"]))


def build_platform(directory: Path, hls_js: Path) -> Starlette:
    """The ASGI app."""
    folder = record(directory)
    collection = Collection(compose(), directory / "heartbeats.sqlite3")
    media = Media(folder, collection)

    async def library(request: Request) -> Response:
        return FileResponse(hls_js, media_type="text/javascript", headers={"Cache-Control": DAY})

    async def master(request: Request) -> Response:
        found(collection.tracks.get(request.path_params["id"]))
        return Response(MASTER, media_type=M3U8, headers={"Cache-Control": DAY})

    async def stream(request: Request) -> Response:
        return Response(STREAM_JS, media_type="text/javascript", headers={"Cache-Control": DAY})

    routes = [
        Route("/static/hls.min.js", library),
        Route("/static/stream.js", stream),
        Route("/hls/{id:int}/master.m3u8", master),
        *LongSite(collection, media).routes(),
        *Api(collection).routes(),
        *media.routes(),
        *Subsonic(collection, media).routes(),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: refuse})


class LongSite(Site):
    """The demo's pages; who asked for `/?player=hls` once gets hls.js on every track's page from then on."""

    async def home(self, request: Request) -> Response:
        response = await super().home(request)
        if request.query_params.get("player") == "hls":
            response.set_cookie("player", "hls", samesite="lax")
        return response

    async def track(self, request: Request) -> Response:
        if request.cookies.get("player") != "hls":
            return await super().track(request)
        track = found(self.collection.tracks.get(request.path_params["id"]))
        after = next((each for each in self.collection.tracks_on(track.album) if each.number > track.number), None)
        html = stream_in(pages.track_page(track, after, base_of(request), hls=False), track)
        response = show(request, html)
        assert isinstance(response, HTMLResponse)
        response.headers["Content-Security-Policy"] = HLS_RULES
        return response


def master_path(track: int) -> str:
    return f"/hls/{track}/master.m3u8"


def stream_in(html: str, track: Track) -> str:
    """The track's page with hls.js in place of the file."""
    html = html.replace(f'src="{media_path(track)}"></audio>', f'data-hls="{master_path(track.id)}"></audio>')
    scripts = '<script src="/static/hls.min.js" defer></script>\n<script src="/static/stream.js" defer></script>\n'
    return html.replace("</head>", f"{scripts}</head>", 1)


# -- what there is to hear -----------------------------------------------------------------------------------------


def compose() -> Catalogue:
    """The demo's catalogue, some seven hundred tracks, with the true lengths of what is heard here."""
    short = compose_catalogue(SEED)
    tracks = {track.id: replace(track, seconds=SONGS[track.id % len(SONGS)].seconds) for track in short.tracks}
    playlists = tuple(
        replace(playlist, tracks=tuple(tracks[track.id] for track in playlist.tracks)) for playlist in short.playlists
    )
    newest, first = short.episodes[-1].published, short.episodes
    episodes = tuple(
        Episode(n, first[n % len(first)].title, newest - timedelta(weeks=EPISODES - n), EPISODE.seconds)
        for n in range(1, EPISODES + 1)
    )
    return replace(short, tracks=tuple(tracks.values()), playlists=playlists, episodes=episodes)


@dataclass(frozen=True, slots=True)
class Sound:
    """How many seconds of audio a number of bytes is, by its address."""

    segment_bytes_per_s: float

    def seconds(self, target: str, body_bytes: int) -> float:
        """0 for what is not audio."""
        if target.startswith("/media/"):
            return body_bytes / MP3_BYTES_PER_S
        if target.startswith("/hls/") and ".ts" in target:
            return body_bytes / self.segment_bytes_per_s
        if target.startswith("/podcast/") and ".mp3" in target:
            return body_bytes / SPEECH_BYTES_PER_S
        return 0.0

    @staticmethod
    def track(target: str) -> str | None:
        """Which track or episode an address of audio belongs to."""
        heard = re.match(r"/(?:media|hls)/(\d+)[./]|/(podcast/\d+)\.mp3", target)
        return (heard[1] or heard[2]) if heard else None


def read_sound(directory: Path) -> Sound:
    return Sound(**json.loads((record(directory) / "sound.json").read_text("utf-8")))


def record(directory: Path, tell: Callable[[str], None] = lambda line: None) -> Path:
    """The folder with every song, made now if this directory has none; the names in it are those the demo serves."""
    finished = directory / EDITION
    if finished.is_dir():
        return finished
    directory.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{EDITION}-", dir=directory))
    try:
        for piece in (*SONGS, EPISODE):
            tell(f"making {piece.name}, {piece.seconds:.0f} s")
            keep(piece, aside / piece.name)
        total = sum(path.stat().st_size for path in aside.rglob("*.ts"))
        rate = {"segment_bytes_per_s": total / sum(song.seconds for song in SONGS)}
        (aside / "sound.json").write_text(json.dumps(rate), "utf-8")
        aside.chmod(0o755)
        try:
            aside.rename(finished)
        except OSError:
            if not finished.is_dir():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return finished


def keep(piece: audio.Piece, folder: Path) -> None:
    """Write one piece in every form that is served."""
    folder.mkdir()
    left, right = audio.synthesise(piece)
    sound = array("h", bytes(4 * len(left)))
    sound[0::2], sound[1::2] = left, right
    if piece is EPISODE:
        audio.encode(sound, folder / "audio.mp3", audio.SPEECH)
        return
    waveform = {"seconds": piece.seconds, "peaks": audio.measure(left, right)}
    (folder / "waveform.json").write_text(json.dumps(waveform), "utf-8")
    audio.encode(sound, folder / "audio.mp3", audio.MUSIC)
    hls = {
        "hls_time": str(SEGMENT_S),
        "hls_playlist_type": "vod",
        "hls_list_size": "0",
        "hls_segment_filename": os.fspath(folder / "seg%d.ts"),
    }
    audio.encode(sound, folder / "index.m3u8", audio.SEGMENTS, hls)

"""The bytes people come for: audio, segments, waveforms, covers. Ranges and conditional requests are honoured."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time
from email.utils import format_datetime
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from guard.demo.audio import EPISODE, piece_of
from guard.demo.collection import Collection
from guard.demo.cover import draw_cover

MP3, M3U8, TS, JSON, PNG = "audio/mpeg", "application/vnd.apple.mpegurl", "video/mp2t", "application/json", "image/png"
DAY = "public, max-age=86400"
WEEK = "public, max-age=604800"


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that never changes while we run; `etag` is drawn from its bytes, so every process gives the same."""

    path: Path
    stat: os.stat_result
    etag: str


class Media:
    """Serves the folder `audio.record` made."""

    def __init__(self, folder: Path, collection: Collection) -> None:
        self.collection = collection
        self.kept = {path.relative_to(folder).as_posix(): keep(path) for path in folder.rglob("*") if path.is_file()}

    @property
    def episode_bytes(self) -> int:
        """How long a podcast episode's file is."""
        return self.kept[f"{EPISODE.name}/audio.mp3"].stat.st_size

    def track_bytes(self, track: int) -> int:
        """How long a track's file is."""
        return self.kept[f"{piece_of(track).name}/audio.mp3"].stat.st_size

    def routes(self) -> list[Route]:
        return [
            Route("/media/{id:int}.mp3", self.whole),
            Route("/hls/{id:int}/index.m3u8", self.manifest),
            Route("/hls/{id:int}/seg{n:int}.ts", self.segment),
            Route("/waveform/{id:int}.json", self.waveform),
            Route("/podcast/{number:int}.mp3", self.episode),
            Route("/img/cover/{id:int}.png", self.cover),
        ]

    async def whole(self, request: Request) -> Response:
        return self.serve_track(request, request.path_params["id"], "audio.mp3", MP3)

    async def manifest(self, request: Request) -> Response:
        return self.serve_track(request, request.path_params["id"], "index.m3u8", M3U8)

    async def segment(self, request: Request) -> Response:
        return self.serve_track(request, request.path_params["id"], f"seg{request.path_params['n']}.ts", TS)

    async def waveform(self, request: Request) -> Response:
        return self.serve_track(request, request.path_params["id"], "waveform.json", JSON)

    async def episode(self, request: Request) -> Response:
        if request.path_params["number"] not in self.collection.episodes:
            raise HTTPException(404)
        return self.serve(request, f"{EPISODE.name}/audio.mp3", MP3)

    async def cover(self, request: Request) -> Response:
        return self.serve_cover(request, request.path_params["id"])

    def serve_track(self, request: Request, track: int, name: str, media_type: str) -> Response:
        """One of the files of the piece a track plays; 404 if there is no such track or file."""
        if track not in self.collection.tracks:
            raise HTTPException(404)
        return self.serve(request, f"{piece_of(track).name}/{name}", media_type)

    def serve(self, request: Request, name: str, media_type: str) -> Response:
        """A kept file, whole, in part, or 304."""
        kept = self.kept.get(name)
        if kept is None:
            raise HTTPException(404)
        headers = {"ETag": kept.etag, "Cache-Control": DAY}
        response = FileResponse(kept.path, headers=headers, media_type=media_type, stat_result=kept.stat)
        return spare(request, response)

    def serve_cover(self, request: Request, album: int) -> Response:
        """An album's picture, or 304."""
        found = self.collection.albums.get(album)
        if found is None:
            raise HTTPException(404)
        png = draw_cover(album)
        modified = format_datetime(datetime.combine(found.released, time(0), UTC), usegmt=True)
        headers = {"ETag": tag(png), "Last-Modified": modified, "Cache-Control": WEEK}
        return spare(request, Response(png, headers=headers, media_type=PNG))


def keep(path: Path) -> Kept:
    """What must be known of a file to serve it."""
    return Kept(path, path.stat(), tag(path.read_bytes()))


def tag(body: bytes) -> str:
    """A strong ETag."""
    return f'"{hashlib.sha256(body).hexdigest()[:20]}"'


def spare(request: Request, response: Response) -> Response:
    """The response, or 304 in its place if the client has it already (RFC 9110, 13.2.2)."""
    if not unchanged(request.headers, response.headers):
        return response
    names = ("etag", "last-modified", "cache-control")
    return Response(
        status_code=304, headers={name: response.headers[name] for name in names if name in response.headers}
    )


def unchanged(asked: Mapping[str, str], ours: Mapping[str, str]) -> bool:
    """Whether If-None-Match names our ETag or, without one, If-Modified-Since repeats our Last-Modified."""
    held = asked.get("if-none-match")
    if held is not None:
        tags = [entry.strip().removeprefix("W/") for entry in held.split(",")]
        return "*" in tags or ours["etag"] in tags
    return "last-modified" in ours and asked.get("if-modified-since") == ours["last-modified"]

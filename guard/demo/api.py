"""The JSON API, heartbeats, and the socket that tells what is playing."""

from __future__ import annotations

import asyncio
import json
import math
import time
from typing import Any

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from guard.demo.addresses import (
    album_path,
    artist_path,
    cover_path,
    hls_path,
    media_path,
    track_path,
    waveform_path,
)
from guard.demo.catalogue import Album, Artist, Track
from guard.demo.collection import Collection, Heartbeat

PER_PAGE = 20
HEARTBEAT_BYTES = 1024
TELL_S = 5.0  # how long the socket stays silent at most


class Api:
    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.listeners: set[asyncio.Queue[str]] = set()

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/v1/tracks/{id:int}", self.track),
            Route("/api/v1/albums/{id:int}", self.album),
            Route("/api/v1/artists", self.artists),
            Route("/api/v1/search", self.search),
            Route("/api/v1/heartbeat", self.heartbeat, methods=["POST"]),
            WebSocketRoute("/ws/now-playing", self.now_playing),
        ]

    async def track(self, request: Request) -> Response:
        track = self.collection.tracks.get(request.path_params["id"])
        if track is None:
            raise HTTPException(404)
        return JSONResponse(describe_track(track))

    async def album(self, request: Request) -> Response:
        album = self.collection.albums.get(request.path_params["id"])
        if album is None:
            raise HTTPException(404)
        tracks = [describe_track(track) for track in self.collection.tracks_on(album)]
        return JSONResponse({**describe_album(album), "tracks": tracks})

    async def artists(self, request: Request) -> Response:
        """`page` counts from 1."""
        page = read_count(request, "page", 1)
        artists = self.collection.catalogue.artists
        pages = math.ceil(len(artists) / PER_PAGE)
        if not 1 <= page <= pages:
            raise HTTPException(404)
        shown = artists[(page - 1) * PER_PAGE : page * PER_PAGE]
        return JSONResponse({"page": page, "pages": pages, "artists": [describe_artist(artist) for artist in shown]})

    async def search(self, request: Request) -> Response:
        """`q` in any name; `offset` skips that many of each kind."""
        words = request.query_params.get("q", "")
        found = self.collection.search(words, PER_PAGE, read_count(request, "offset", 0))
        return JSONResponse(
            {
                "q": words,
                "artists": [describe_artist(artist) for artist in found.artists],
                "albums": [describe_album(album) for album in found.albums],
                "tracks": [describe_track(track) for track in found.tracks],
            }
        )

    async def heartbeat(self, request: Request) -> Response:
        """204, or 400 for what no player of ours would send."""
        body = await request.body()
        beat = read_heartbeat(body, time.time()) if len(body) <= HEARTBEAT_BYTES else None
        if beat is None or beat.track not in self.collection.tracks:
            raise HTTPException(400, "expected track, position_s and session")
        self.collection.keep_heartbeat(beat)
        message = self.tell()
        for listener in self.listeners:
            if not listener.full():
                listener.put_nowait(message)
        return Response(status_code=204)

    async def now_playing(self, socket: WebSocket) -> None:
        """Says what was heard last: at once, at every heartbeat, and every few seconds. Answers ping with pong."""
        await socket.accept()
        listener: asyncio.Queue[str] = asyncio.Queue(8)
        self.listeners.add(listener)
        try:
            async with anyio.create_task_group() as group:

                async def speak() -> None:
                    try:
                        await socket.send_text(self.tell())
                        while True:
                            try:
                                message = await asyncio.wait_for(listener.get(), TELL_S)
                            except TimeoutError:
                                message = self.tell()
                            await socket.send_text(message)
                    except (WebSocketDisconnect, RuntimeError):
                        group.cancel_scope.cancel()

                group.start_soon(speak)
                while (heard := await socket.receive())["type"] != "websocket.disconnect":
                    if heard.get("text") == "ping":
                        await socket.send_text("pong")
                group.cancel_scope.cancel()
        finally:
            self.listeners.discard(listener)

    def tell(self) -> str:
        """JSON: the last heartbeat's track, or `{"track": null}` before the first."""
        last = self.collection.last_heartbeat()
        track = self.collection.tracks.get(last.track) if last else None
        if last is None or track is None:
            return json.dumps({"track": None})
        artist = track.album.artist.name
        return json.dumps(
            {"track": track.id, "title": track.title, "artist": artist, "position_s": round(last.position_s, 2)}
        )


def describe_artist(artist: Artist) -> dict[str, Any]:
    return {"id": artist.id, "name": artist.name, "genre": artist.genre, "page": artist_path(artist)}


def describe_album(album: Album) -> dict[str, Any]:
    return {
        "id": album.id,
        "title": album.title,
        "artist": describe_artist(album.artist),
        "released": album.released.isoformat(),
        "cover": cover_path(album),
        "page": album_path(album),
    }


def describe_track(track: Track) -> dict[str, Any]:
    return {
        "id": track.id,
        "title": track.title,
        "number": track.number,
        "duration_s": track.seconds,
        "artist": describe_artist(track.album.artist),
        "album": {"id": track.album.id, "title": track.album.title, "page": album_path(track.album)},
        "cover": cover_path(track.album),
        "media": media_path(track),
        "hls": hls_path(track),
        "waveform": waveform_path(track),
        "page": track_path(track),
    }


def read_count(request: Request, name: str, otherwise: int) -> int:
    """A number of zero or more from the query."""
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else otherwise


def read_heartbeat(body: bytes, now: float) -> Heartbeat | None:
    """The heartbeat in a request's body, None if it is not one."""
    try:
        said = json.loads(body)
        track, position_s, session = said["track"], float(said["position_s"]), said["session"]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    plausible = type(track) is int and isinstance(session, str) and 0 < len(session) <= 64
    return Heartbeat(now, track, position_s, session) if plausible and 0 <= position_s < 86_400 else None

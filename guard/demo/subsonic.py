"""A little of the Subsonic API 1.16.1, enough for a client's session: sign in, browse albums, see covers, listen.

Errors come inside a 200, as Subsonic has it. Any user name will do; the password is "reed".
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree as Xml

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from guard.demo.audio import MUSIC
from guard.demo.catalogue import Album, Track
from guard.demo.collection import Collection
from guard.demo.feeds import render
from guard.demo.media import MP3, Media

VERSION = "1.16.1"
PASSWORD = "reed"  # noqa: S105 - a demo's
MISSING, REFUSED, UNKNOWN = 10, 40, 70


class SubsonicError(Exception):
    """An answer of status failed."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


class Subsonic:
    def __init__(self, collection: Collection, media: Media) -> None:
        self.collection = collection
        self.media = media

    def routes(self) -> list[Route]:
        return [Route("/rest/{call}", self.answer, methods=["GET", "POST"])]

    async def answer(self, request: Request) -> Response:
        """Every call; `.view` at the end is optional."""
        asked = dict(request.query_params)
        if request.method == "POST":
            asked |= dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        call = request.path_params["call"].removesuffix(".view")
        try:
            admit(asked)
            if call == "ping":
                return envelop(asked, {})
            if call == "getAlbumList2":
                return envelop(asked, {"albumList2": {"album": self.list_albums(asked)}})
            if call == "getAlbum":
                return envelop(asked, {"album": self.open_album(read_id(asked))})
            if call == "getCoverArt":
                return self.media.serve_cover(request, read_id(asked))
            if call == "stream":
                return self.media.serve_track(request, read_id(asked), "audio.mp3", MP3)
            raise SubsonicError(UNKNOWN, f"{call} is not offered here")
        except SubsonicError as error:
            return envelop(asked, {"error": {"code": error.code, "message": str(error)}}, status="failed")
        except HTTPException:
            return envelop(asked, {"error": {"code": UNKNOWN, "message": "Not found"}}, status="failed")

    def list_albums(self, asked: Mapping[str, str]) -> list[dict[str, Any]]:
        """Newest first, whatever order was asked for."""
        size, offset = min(read_number(asked, "size", 10), 500), read_number(asked, "offset", 0)
        return [self.describe_album(album) for album in self.collection.latest(size, offset)]

    def open_album(self, album: int) -> dict[str, Any]:
        found = self.collection.albums.get(album)
        if found is None:
            raise SubsonicError(UNKNOWN, "Album not found")
        songs = [describe_song(track, self.media) for track in self.collection.tracks_on(found)]
        return {**self.describe_album(found), "song": songs}

    def describe_album(self, album: Album) -> dict[str, Any]:
        tracks = self.collection.tracks_on(album)
        return {
            "id": str(album.id),
            "name": album.title,
            "artist": album.artist.name,
            "artistId": str(album.artist.id),
            "coverArt": str(album.id),
            "songCount": len(tracks),
            "duration": round(sum(track.seconds for track in tracks)),
            "created": f"{album.released.isoformat()}T00:00:00.000Z",
            "year": album.released.year,
            "genre": album.artist.genre,
        }


def describe_song(track: Track, media: Media) -> dict[str, Any]:
    return {
        "id": str(track.id),
        "parent": str(track.album.id),
        "albumId": str(track.album.id),
        "isDir": False,
        "title": track.title,
        "album": track.album.title,
        "artist": track.album.artist.name,
        "artistId": str(track.album.artist.id),
        "track": track.number,
        "coverArt": str(track.album.id),
        "duration": round(track.seconds),
        "size": media.track_bytes(track.id),
        "bitRate": MUSIC.bit_rate // 1000,
        "contentType": MP3,
        "suffix": "mp3",
        "type": "music",
    }


def admit(asked: Mapping[str, str]) -> None:
    """Raise unless the salted token, or the old plain or hexadecimal password, is right."""
    for name in ("u", "v", "c"):
        if not asked.get(name):
            raise SubsonicError(MISSING, f"Required parameter is missing: {name}")
    if "t" in asked and "s" in asked:
        salted = (PASSWORD + asked["s"]).encode()
        given, right = asked["t"].lower(), hashlib.md5(salted, usedforsecurity=False).hexdigest()
    elif "p" in asked:
        given, right = asked["p"], PASSWORD
        if given.startswith("enc:"):
            right = "enc:" + PASSWORD.encode().hex()
    else:
        raise SubsonicError(MISSING, "Required parameter is missing: t and s")
    if not hmac.compare_digest(given.encode(), right.encode()):
        raise SubsonicError(REFUSED, "Wrong username or password")


def read_id(asked: Mapping[str, str]) -> int:
    """The `id` asked for; ours are numbers."""
    if not asked.get("id"):
        raise SubsonicError(MISSING, "Required parameter is missing: id")
    if not (asked["id"].isascii() and asked["id"].isdigit()):
        raise SubsonicError(UNKNOWN, "Not found")
    return int(asked["id"][:9])


def read_number(asked: Mapping[str, str], name: str, otherwise: int) -> int:
    """A count of zero or more."""
    text = asked.get(name, "")
    return int(text[:9]) if text.isascii() and text.isdigit() else otherwise


def envelop(asked: Mapping[str, str], content: dict[str, Any], status: str = "ok") -> Response:
    """JSON if asked for with f=json, else XML."""
    envelope = {
        "status": status,
        "version": VERSION,
        "type": "hollow-reed",
        "serverVersion": "1",
        "openSubsonic": False,
    }
    if asked.get("f") == "json":
        return JSONResponse({"subsonic-response": {**envelope, **content}})
    root = Xml.Element("subsonic-response", xmlns="http://subsonic.org/restapi")
    fill(root, {**envelope, **content})
    return Response(render(root), media_type="text/xml")


def fill(element: Xml.Element, content: Mapping[str, Any]) -> None:
    """Plain values become attributes, mappings children, lists repeated children."""
    for name, value in content.items():
        if isinstance(value, Mapping):
            fill(Xml.SubElement(element, name), value)
        elif isinstance(value, list):
            for each in value:
                fill(Xml.SubElement(element, name), each)
        else:
            element.set(name, str(value).lower() if isinstance(value, bool) else str(value))

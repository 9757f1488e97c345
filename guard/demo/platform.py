"""Hollow Reed, assembled: which address is answered by what.

    uvicorn --factory guard.demo.platform:create_app

The directory holds the audio (made on the first start, some seconds) and the heartbeats; GUARD_DEMO_DIR names another.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from guard.demo import pages
from guard.demo.addresses import FEED
from guard.demo.api import Api
from guard.demo.audio import Progress, record
from guard.demo.catalogue import compose_catalogue
from guard.demo.collection import Collection
from guard.demo.cover import draw_favicon
from guard.demo.feeds import describe_embed, read_oembed, write_podcast, write_sitemap
from guard.demo.media import WEEK, Media, spare, tag
from guard.demo.names import GENRES
from guard.demo.subsonic import Subsonic

SEED = 7
SESSION = "reed_session"
PAGE_RULES = "default-src 'self'; frame-ancestors 'self'"
EMBED_RULES = "default-src 'self'; frame-ancestors *"
STATIC = Path(__file__).parent / "static"

T = TypeVar("T")


def create_app() -> Starlette:
    """The platform in its usual directory, for `uvicorn --factory`."""
    return build_platform(choose_directory())


def choose_directory() -> Path:
    """GUARD_DEMO_DIR, or else a folder in the user's cache."""
    if named := os.environ.get("GUARD_DEMO_DIR"):
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "noai-guard" / "demo"


def prepare(directory: Path, progress: Progress | None = None) -> Path:
    """Make the audio if this directory has none; returns its folder. `progress` hears (pieces done, pieces in all)."""
    return record(directory, progress)


def build_platform(directory: Path, seed: int = SEED) -> Starlette:
    """The ASGI app. The same seed gives the same catalogue; `app.state.collection` opens it to tests."""
    folder = prepare(directory)
    collection = Collection(compose_catalogue(seed), directory / f"heartbeats-{seed}.sqlite3")
    media = Media(folder, collection)
    routes = [
        *Site(collection, media).routes(),
        *Api(collection).routes(),
        *media.routes(),
        *Subsonic(collection, media).routes(),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: refuse})
    app.state.collection = collection
    return app


class Site:
    """The pages, and what programs read about them."""

    def __init__(self, collection: Collection, media: Media) -> None:
        self.collection = collection
        self.media = media

    def routes(self) -> list[Route]:
        return [
            Route("/", self.home),
            Route("/artist/{slug:path}", self.artist),
            Route("/album/{id:int}", self.album),
            Route("/track/{id:int}", self.track),
            Route("/playlist/{id:int}", self.playlist),
            Route("/genre/{name:path}", self.genre),
            Route("/embed/{id:int}", self.embed),
            Route("/search", self.search),
            Route(FEED, self.podcast),
            Route("/oembed", self.oembed),
            Route("/sitemap.xml", self.sitemap),
            Route("/robots.txt", self.robots),
            Route("/favicon.ico", self.favicon),
        ]

    async def home(self, request: Request) -> Response:
        return show(request, pages.home(self.collection.latest(24), self.collection.catalogue.playlists))

    async def artist(self, request: Request) -> Response:
        artist = found(self.collection.artists.get(request.path_params["slug"]))
        return show(request, pages.artist_page(artist, self.collection.albums_by(artist)))

    async def album(self, request: Request) -> Response:
        album = found(self.collection.albums.get(request.path_params["id"]))
        return show(request, pages.album_page(album, self.collection.tracks_on(album), base_of(request)))

    async def track(self, request: Request) -> Response:
        track = found(self.collection.tracks.get(request.path_params["id"]))
        after = next((each for each in self.collection.tracks_on(track.album) if each.number > track.number), None)
        hls = request.query_params.get("hls") == "1"
        return show(request, pages.track_page(track, after, base_of(request), hls=hls))

    async def playlist(self, request: Request) -> Response:
        return show(request, pages.playlist_page(found(self.collection.playlists.get(request.path_params["id"]))))

    async def genre(self, request: Request) -> Response:
        name = found(next((each for each in GENRES if each == request.path_params["name"]), None))
        albums = [album for album in self.collection.catalogue.albums if album.artist.genre == name]
        return show(request, pages.genre_page(name, albums))

    async def embed(self, request: Request) -> Response:
        page = pages.embed_page(found(self.collection.tracks.get(request.path_params["id"])))
        return HTMLResponse(page, headers={"Content-Security-Policy": EMBED_RULES})

    async def search(self, request: Request) -> Response:
        words = request.query_params.get("q", "")[:200]
        return show(request, pages.search_page(words, self.collection.search(words)))

    async def podcast(self, request: Request) -> Response:
        feed = write_podcast(self.collection.catalogue, self.media.episode_bytes, base_of(request))
        headers = {"ETag": tag(feed), "Cache-Control": "public, max-age=300"}
        return spare(request, Response(feed, headers=headers, media_type="application/rss+xml"))

    async def oembed(self, request: Request) -> Response:
        """404 for what cannot be embedded, 501 for XML, as the specification says."""
        asked = request.query_params
        if asked.get("format", "json") != "json":
            raise HTTPException(501)
        track = found(read_oembed(asked.get("url", ""), self.collection.tracks))
        width, height = (
            int(asked[name]) if asked.get(name, "").isdecimal() else 10_000 for name in ("maxwidth", "maxheight")
        )
        return JSONResponse(describe_embed(track, base_of(request), width, height))

    async def sitemap(self, request: Request) -> Response:
        return Response(write_sitemap(self.collection.catalogue, base_of(request)), media_type="application/xml")

    async def robots(self, request: Request) -> Response:
        return PlainTextResponse("User-agent: *\nAllow: /\n")

    async def favicon(self, request: Request) -> Response:
        return Response(draw_favicon(), media_type="image/x-icon", headers={"Cache-Control": WEEK})


def found(thing: T | None) -> T:
    """The thing, or 404."""
    if thing is None:
        raise HTTPException(404)
    return thing


def base_of(request: Request) -> str:
    """Scheme and host as the visitor wrote them."""
    return str(request.base_url).rstrip("/")


def show(request: Request, html: str) -> Response:
    """A page, and a session cookie for a browser that brought none."""
    response = HTMLResponse(html, headers={"Content-Security-Policy": PAGE_RULES, "Cache-Control": "private, no-cache"})
    if SESSION not in request.cookies:
        secure = request.url.scheme == "https"
        response.set_cookie(SESSION, secrets.token_urlsafe(12), httponly=True, samesite="lax", secure=secure)
    return response


async def refuse(request: Request, error: Exception) -> Response:
    """An error as the client reads it: JSON for programs, a page for people."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    if path.startswith(("/api/", "/oembed")):
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)
    if error.status_code == 404 and not path.startswith(("/media/", "/hls/", "/waveform/", "/img/", "/static/")):
        return HTMLResponse(pages.missing_page(), 404, {"Content-Security-Policy": PAGE_RULES})
    return PlainTextResponse(error.detail, error.status_code, error.headers)

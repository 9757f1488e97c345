"""What other programs read about the platform: the podcast's RSS, the sitemap, oEmbed. Pure; `base` as in `pages`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, time
from email.utils import format_datetime
from urllib.parse import urlsplit
from xml.etree import ElementTree as Xml

from guard.demo import names
from guard.demo.addresses import (
    album_path,
    artist_path,
    cover_path,
    embed_path,
    episode_path,
    genre_path,
    playlist_path,
    track_path,
)
from guard.demo.catalogue import Catalogue, Track
from guard.demo.pages import SITE, clock

ITUNES = "http://www.itunes.com/dtds/podcast-1.0.dtd"
Xml.register_namespace("itunes", ITUNES)

EMBED_WIDTH, EMBED_HEIGHT = 480, 170  # pixels


def write_podcast(catalogue: Catalogue, episode_bytes: int, base: str) -> bytes:
    """RSS 2.0, newest episode first. Every episode's file is `episode_bytes` long."""
    rss = Xml.Element("rss", version="2.0")
    channel = Xml.SubElement(rss, "channel")
    put(channel, "title", f"The {SITE} podcast")
    put(channel, "link", f"{base}/")
    put(channel, "description", "Conversations about small music, by a platform that does not exist.")
    put(channel, "language", "en")
    put(channel, f"{{{ITUNES}}}author", SITE)
    Xml.SubElement(channel, f"{{{ITUNES}}}image", href=base + cover_path(catalogue.albums[0]))
    for episode in reversed(catalogue.episodes):
        item = Xml.SubElement(channel, "item")
        put(item, "title", episode.title)
        put(item, "pubDate", format_datetime(datetime.combine(episode.published, time(6), UTC)))
        put(item, "guid", f"hollow-reed-episode-{episode.number}").set("isPermaLink", "false")
        put(item, f"{{{ITUNES}}}duration", clock(episode.seconds))
        url = base + episode_path(episode)
        Xml.SubElement(item, "enclosure", url=url, length=str(episode_bytes), type="audio/mpeg")
    return render(rss)


def write_sitemap(catalogue: Catalogue, base: str) -> bytes:
    """Every page there is, albums with the day they came out."""
    urlset = Xml.Element("urlset", xmlns="http://www.sitemaps.org/schemas/sitemap/0.9")
    paths = ["/", *map(genre_path, names.GENRES), *map(artist_path, catalogue.artists)]
    paths += [*map(playlist_path, catalogue.playlists), *map(track_path, catalogue.tracks)]
    for path in paths:
        put(Xml.SubElement(urlset, "url"), "loc", base + path)
    for album in catalogue.albums:
        url = Xml.SubElement(urlset, "url")
        put(url, "loc", base + album_path(album))
        put(url, "lastmod", album.released.isoformat())
    return render(urlset)


def read_oembed(url: str, tracks: Mapping[int, Track]) -> Track | None:
    """The track a page's URL is about, if it is a track's or an embed's."""
    try:
        found = re.fullmatch(r"/(?:track|embed)/([0-9]{1,9})/?", urlsplit(url).path)
    except ValueError:
        return None
    return tracks.get(int(found[1])) if found else None


def describe_embed(track: Track, base: str, max_width: int, max_height: int) -> dict[str, str | int]:
    """An oEmbed 1.0 answer of type rich, no larger than asked."""
    width, height = min(EMBED_WIDTH, max_width), min(EMBED_HEIGHT, max_height)
    frame = f'<iframe src="{base}{embed_path(track)}" width="{width}" height="{height}" frameborder="0"></iframe>'
    return {
        "version": "1.0",
        "type": "rich",
        "provider_name": SITE,
        "provider_url": f"{base}/",
        "title": track.title,
        "author_name": track.album.artist.name,
        "author_url": base + artist_path(track.album.artist),
        "thumbnail_url": base + cover_path(track.album),
        "thumbnail_width": 300,
        "thumbnail_height": 300,
        "html": frame,
        "width": width,
        "height": height,
    }


def put(parent: Xml.Element, tag: str, text: str) -> Xml.Element:
    """Add `<tag>text</tag>` and return it."""
    child = Xml.SubElement(parent, tag)
    child.text = text
    return child


def render(root: Xml.Element) -> bytes:
    """UTF-8 with its declaration."""
    body: str = Xml.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'.encode()

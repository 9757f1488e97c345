"""The address of everything on the platform, as a path ready to send. Names are encoded whole, slashes too."""

from __future__ import annotations

from urllib.parse import quote

from guard.demo.catalogue import Album, Artist, Episode, Playlist, Track

FEED = "/podcast/feed.xml"


def artist_path(artist: Artist) -> str:
    return f"/artist/{quote(artist.slug, safe='')}"


def album_path(album: Album) -> str:
    return f"/album/{album.id}"


def track_path(track: Track) -> str:
    return f"/track/{track.id}"


def playlist_path(playlist: Playlist) -> str:
    return f"/playlist/{playlist.id}"


def genre_path(name: str) -> str:
    return f"/genre/{quote(name, safe='')}"


def embed_path(track: Track) -> str:
    return f"/embed/{track.id}"


def cover_path(album: Album) -> str:
    return f"/img/cover/{album.id}.png"


def media_path(track: Track) -> str:
    return f"/media/{track.id}.mp3"


def hls_path(track: Track) -> str:
    return f"/hls/{track.id}/index.m3u8"


def waveform_path(track: Track) -> str:
    return f"/waveform/{track.id}.json"


def episode_path(episode: Episode) -> str:
    return f"/podcast/{episode.number}.mp3"


def oembed_path(page: str) -> str:
    """`page` is an absolute URL."""
    return f"/oembed?url={quote(page, safe='')}"

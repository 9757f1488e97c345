"""HTML, by plain functions. Every function that returns HTML has escaped what it was given.

`base` is the scheme and host the visitor used, without a slash at the end, for the addresses others must resolve.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from guard.demo import names
from guard.demo.addresses import (
    FEED,
    album_path,
    artist_path,
    cover_path,
    genre_path,
    hls_path,
    media_path,
    oembed_path,
    playlist_path,
    track_path,
    waveform_path,
)
from guard.demo.catalogue import Album, Artist, Playlist, Track
from guard.demo.collection import Found

SITE = "Hollow Reed"
PLAYER = '<script src="/static/player.js" defer></script>'


def page(title: str, body: str, *, head: str = "", query: str = "") -> str:
    """A whole document; `body` and `head` are HTML, `title` and `query` are text."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/static/site.css">
<link rel="icon" href="/favicon.ico">
<link rel="alternate" type="application/rss+xml" title="The {SITE} podcast" href="{FEED}">
{head}</head>
<body>
<header>
<a class="brand" href="/">{SITE}</a>
<form action="/search" role="search">
<input name="q" type="search" aria-label="Search" placeholder="Search" value="{escape(query)}">
</form>
</header>
<main>
{body}
</main>
<footer>
<p id="now-playing" aria-live="polite"></p>
<p>{SITE} is a fictional platform. Its names are invented and its music is made by a short program.
<a href="{FEED}">Podcast</a></p>
</footer>
</body>
</html>
"""


def home(latest: Iterable[Album], playlists: Iterable[Playlist]) -> str:
    moods = "".join(f'<li><a href="{playlist_path(p)}">{escape(p.title)}</a></li>' for p in playlists)
    genres = "".join(f'<li><a href="{genre_path(g)}">{escape(g)}</a></li>' for g in names.GENRES)
    body = (
        f"<h1>New on {SITE}</h1>{covers(latest)}"
        f'<h2>Playlists</h2><ul class="pills">{moods}</ul><h2>Genres</h2><ul class="pills">{genres}</ul>'
    )
    return page(SITE, body, head=f"{PLAYER}\n")


def artist_page(artist: Artist, albums: Iterable[Album]) -> str:
    genre = f'<p><a href="{genre_path(artist.genre)}">{escape(artist.genre)}</a></p>'
    return page(f"{artist.name} · {SITE}", f"<h1>{escape(artist.name)}</h1>{genre}{covers(albums)}")


def album_page(album: Album, tracks: list[Track], base: str) -> str:
    head = open_graph("music.album", album.title, base + album_path(album), base + cover_path(album))
    body = f"""<div class="top">
{cover(album)}
<div><h1>{escape(album.title)}</h1>
<p><a href="{artist_path(album.artist)}">{escape(album.artist.name)}</a></p>
<p class="soft">{album.released:%d %B %Y} · {len(tracks)} tracks · {clock(sum(t.seconds for t in tracks))}</p></div>
</div>
{listing(tracks)}"""
    return page(f"{album.title} by {album.artist.name} · {SITE}", body, head=head)


def playlist_page(playlist: Playlist) -> str:
    total = clock(sum(track.seconds for track in playlist.tracks))
    body = f"""<h1>{escape(playlist.title)}</h1>
<p class="soft">{len(playlist.tracks)} tracks · {total}</p>
{listing(playlist.tracks, artists=True)}"""
    return page(f"{playlist.title} · {SITE}", body)


def genre_page(name: str, albums: Iterable[Album]) -> str:
    return page(f"{name} · {SITE}", f"<h1>{escape(name)}</h1>{covers(albums)}")


def search_page(words: str, found: Found) -> str:
    artists = "".join(f'<li><a href="{artist_path(a)}">{escape(a.name)}</a></li>' for a in found.artists)
    parts = [f'<h2>Artists</h2><ul class="pills">{artists}</ul>' if found.artists else ""]
    parts += [f"<h2>Albums</h2>{covers(found.albums)}" if found.albums else ""]
    parts += [f"<h2>Tracks</h2>{listing(found.tracks, artists=True)}" if found.tracks else ""]
    if words and not any(parts):
        parts = [f"<p>Nothing here is called “{escape(words)}”.</p>"]
    return page(f"Search · {SITE}", f"<h1>Search</h1>{''.join(parts)}", query=words)


def track_page(track: Track, after: Track | None, base: str, *, hls: bool) -> str:
    """`after` is the next one on the album; `hls` offers the segmented stream before the file."""
    album = track.album
    here = base + track_path(track)
    head = f"""{open_graph("music.song", track.title, here, base + cover_path(album))}<meta property="og:audio" \
content="{escape(base + media_path(track))}">
<meta property="og:audio:type" content="audio/mpeg">
<meta property="music:duration" content="{round(track.seconds)}">
<meta property="music:musician" content="{escape(base + artist_path(album.artist))}">
<link rel="canonical" href="{escape(here)}">
<link rel="alternate" type="application/json+oembed" title="{escape(track.title)}" \
href="{escape(base + oembed_path(here))}">
{PLAYER}
"""
    follow = f'<p>Next: <a rel="next" href="{track_path(after)}">{escape(after.title)}</a></p>' if after else ""
    body = f"""<div class="top">
{cover(album)}
<div><h1>{escape(track.title)}</h1>
<p><a href="{artist_path(album.artist)}">{escape(album.artist.name)}</a></p>
<p class="soft">Track {track.number} of <a href="{album_path(album)}">{escape(album.title)}</a> · \
{clock(track.seconds)}</p></div>
</div>
{player(track, hls=hls)}
{follow}"""
    return page(f"{track.title} by {album.artist.name} · {SITE}", body, head=head)


def embed_page(track: Track) -> str:
    """A small document for other sites' frames."""
    album = track.album
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{escape(track.title)} · {SITE}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/static/site.css">
{PLAYER}
</head>
<body class="embed">
<p><a href="{track_path(track)}" target="_blank" rel="noopener">{escape(track.title)}</a>
<span class="soft">{escape(album.artist.name)} · {SITE}</span></p>
{player(track, hls=False)}
</body>
</html>
"""


def missing_page() -> str:
    return page(f"Not here · {SITE}", "<h1>Not here</h1><p>Nothing is kept at this address.</p>")


def player(track: Track, *, hls: bool) -> str:
    """The audio element works alone; the script adds the waveform and the heartbeats."""
    if hls:
        audio = f"""<audio controls preload="metadata">
<source src="{hls_path(track)}" type="application/vnd.apple.mpegurl">
<source src="{media_path(track)}" type="audio/mpeg">
</audio>"""
    else:
        audio = f'<audio controls preload="metadata" src="{media_path(track)}"></audio>'
    return f"""<div id="player" data-track="{track.id}" data-waveform="{waveform_path(track)}">
<canvas width="720" height="96" role="img" aria-label="Waveform"></canvas>
{audio}
</div>"""


def open_graph(kind: str, title: str, url: str, image: str) -> str:
    tags = (("site_name", SITE), ("type", kind), ("title", title), ("url", url), ("image", image))
    return "".join(f'<meta property="og:{name}" content="{escape(value)}">\n' for name, value in tags)


def cover(album: Album, side: int = 220) -> str:
    return (
        f'<img src="{cover_path(album)}" alt="Cover of {escape(album.title)}" '
        f'width="{side}" height="{side}" loading="lazy">'
    )


def covers(albums: Iterable[Album]) -> str:
    cells = "".join(
        f'<li><a href="{album_path(a)}">{cover(a, 150)}<span>{escape(a.title)}</span></a>'
        f'<a class="soft" href="{artist_path(a.artist)}">{escape(a.artist.name)}</a></li>'
        for a in albums
    )
    return f'<ul class="covers">{cells}</ul>'


def listing(tracks: Iterable[Track], *, artists: bool = False) -> str:
    def credit(track: Track) -> str:
        artist = track.album.artist
        return f'<a class="soft" href="{artist_path(artist)}">{escape(artist.name)}</a>' if artists else ""

    rows = "".join(
        f'<li><a href="{track_path(t)}">{escape(t.title)}</a>{credit(t)}<time>{clock(t.seconds)}</time></li>'
        for t in tracks
    )
    return f'<ol class="tracks">{rows}</ol>'


def clock(seconds: float) -> str:
    """Minutes and seconds, as on a sleeve."""
    return f"{round(seconds) // 60}:{round(seconds) % 60:02}"

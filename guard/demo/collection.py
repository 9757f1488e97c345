"""Where everything is found again: the catalogue by id and name, search and heartbeats in SQLite."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from guard.demo.catalogue import Album, Artist, Catalogue, Track

HEARTBEATS = """
CREATE TABLE IF NOT EXISTS heartbeat (
    at REAL NOT NULL, track INTEGER NOT NULL, position_s REAL NOT NULL, session TEXT NOT NULL
)"""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A player says how far it is: `at` in Unix seconds, `position_s` into the track."""

    at: float
    track: int
    position_s: float
    session: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a search brought up, each kind in catalogue order."""

    artists: tuple[Artist, ...]
    albums: tuple[Album, ...]
    tracks: tuple[Track, ...]


class Collection:
    """One per process. The file may be shared by several."""

    def __init__(self, catalogue: Catalogue, file: Path) -> None:
        self.catalogue = catalogue
        self.artists = {artist.slug: artist for artist in catalogue.artists}
        self.albums = {album.id: album for album in catalogue.albums}
        self.tracks = {track.id: track for track in catalogue.tracks}
        self.playlists = {playlist.id: playlist for playlist in catalogue.playlists}
        self.episodes = {episode.number: episode for episode in catalogue.episodes}
        self._artists = {artist.id: artist for artist in catalogue.artists}
        self._tracks_on: dict[int, list[Track]] = defaultdict(list)
        self._albums_by: dict[int, list[Album]] = defaultdict(list)
        for track in catalogue.tracks:
            self._tracks_on[track.album.id].append(track)
        for album in catalogue.albums:
            self._albums_by[album.artist.id].append(album)
        self._db = sqlite3.connect(file, timeout=10, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("PRAGMA temp_store = MEMORY")
        self._db.execute(HEARTBEATS)
        self._index()

    def _index(self) -> None:
        things: Iterable[tuple[str, int, str]] = (
            *(("artist", artist.id, artist.name) for artist in self.catalogue.artists),
            *(("album", album.id, album.title) for album in self.catalogue.albums),
            *(("track", track.id, track.title) for track in self.catalogue.tracks),
        )
        self._db.execute("CREATE TEMP TABLE name (kind TEXT, id INTEGER, folded TEXT)")
        self._db.execute("BEGIN")
        self._db.executemany(
            "INSERT INTO name VALUES (?, ?, ?)", ((kind, id_, name.casefold()) for kind, id_, name in things)
        )
        self._db.execute("COMMIT")

    def close(self) -> None:
        self._db.close()

    def tracks_on(self, album: Album) -> list[Track]:
        return self._tracks_on[album.id]

    def albums_by(self, artist: Artist) -> list[Album]:
        """Oldest first."""
        return self._albums_by[artist.id]

    def latest(self, limit: int, offset: int = 0) -> list[Album]:
        """Albums, newest first."""
        return list(reversed(self.catalogue.albums))[offset : offset + limit]

    def search(self, words: str, limit: int = 20, offset: int = 0) -> Found:
        """Everything whose name has `words` in it, whatever the case; at most `limit` of each kind."""
        if not words.strip():
            return Found((), (), ())
        pattern = words.strip().casefold()
        for special in "\\%_":
            pattern = pattern.replace(special, "\\" + special)

        def find(kind: str) -> list[int]:
            rows = self._db.execute(
                "SELECT id FROM name WHERE kind = ? AND folded LIKE ? ESCAPE '\\' ORDER BY id LIMIT ? OFFSET ?",
                (kind, f"%{pattern}%", limit, offset),
            )
            return [row[0] for row in rows]

        return Found(
            tuple(self._artists[id_] for id_ in find("artist")),
            tuple(self.albums[id_] for id_ in find("album")),
            tuple(self.tracks[id_] for id_ in find("track")),
        )

    def keep_heartbeat(self, beat: Heartbeat) -> None:
        self._db.execute(
            "INSERT INTO heartbeat VALUES (?, ?, ?, ?)", (beat.at, beat.track, beat.position_s, beat.session)
        )

    def last_heartbeat(self) -> Heartbeat | None:
        """The newest one, whichever process took it."""
        row = self._db.execute(
            "SELECT at, track, position_s, session FROM heartbeat ORDER BY rowid DESC LIMIT 1"
        ).fetchone()
        return Heartbeat(*row) if row else None

    def heartbeats_of(self, session: str) -> list[Heartbeat]:
        """All of one listening session, oldest first."""
        rows = self._db.execute(
            "SELECT at, track, position_s, session FROM heartbeat WHERE session = ? ORDER BY rowid", (session,)
        )
        return [Heartbeat(*row) for row in rows]

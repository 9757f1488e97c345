"""What there is to hear: a catalogue composed from a seed. The same seed gives the same catalogue, everywhere.

Ids are integers, and the tracks of an album are neighbours, with a hole here and there where something was withdrawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import count
from random import Random

from guard.demo import names
from guard.demo.audio import EPISODE, piece_of

FIRST_ARTIST, FIRST_ALBUM, FIRST_TRACK, FIRST_PLAYLIST = 11, 101, 1001, 1
NEWEST = date(2026, 11, 20)  # nothing is released after this day, so the catalogue does not depend on today
ARTISTS = 40


@dataclass(frozen=True, slots=True)
class Artist:
    """`slug` is the name itself: percent-encode all of it, slashes too, to get the page's address."""

    id: int
    name: str
    genre: str

    @property
    def slug(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Album:
    id: int
    title: str
    artist: Artist
    released: date


@dataclass(frozen=True, slots=True)
class Track:
    """`number` counts from 1 on its album; `seconds` is the true length of the audio."""

    id: int
    title: str
    album: Album
    number: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Playlist:
    id: int
    title: str
    tracks: tuple[Track, ...]


@dataclass(frozen=True, slots=True)
class Episode:
    """`number` counts from 1, the oldest; `seconds` is the true length of the audio."""

    number: int
    title: str
    published: date
    seconds: float


@dataclass(frozen=True, slots=True)
class Catalogue:
    artists: tuple[Artist, ...]
    albums: tuple[Album, ...]
    tracks: tuple[Track, ...]
    playlists: tuple[Playlist, ...]
    episodes: tuple[Episode, ...]


def compose_catalogue(seed: int) -> Catalogue:
    """Forty artists, a hundred albums or so, seven hundred tracks or so, twelve playlists, eight podcast episodes."""
    rng = Random(seed)  # noqa: S311 - names, not secrets
    artists = tuple(
        Artist(FIRST_ARTIST + n, name, names.GENRES[n % len(names.GENRES)]) for n, name in enumerate(name_artists(rng))
    )
    albums = tuple(release_albums(rng, artists))
    tracks = tuple(record_tracks(rng, albums))
    playlists = tuple(
        Playlist(FIRST_PLAYLIST + n, mood, tuple(rng.sample(tracks, rng.randint(8, 20))))
        for n, mood in enumerate(names.MOODS)
    )
    episodes = tuple(
        Episode(n, title, NEWEST - timedelta(weeks=len(names.EPISODES) - n), EPISODE.seconds)
        for n, title in enumerate(names.EPISODES, 1)
    )
    return Catalogue(artists, albums, tracks, playlists, episodes)


def name_artists(rng: Random) -> list[str]:
    """ARTISTS different names: the awkward ones, bands and people."""
    found = dict.fromkeys(names.AWKWARD_ARTISTS)
    while len(found) < ARTISTS:
        pair = (names.FIRST, names.SECOND) if rng.random() < 0.6 else (names.GIVEN, names.FAMILY)
        found[f"{rng.choice(pair[0])} {rng.choice(pair[1])}"] = None
    order = list(found)
    rng.shuffle(order)
    return order


def release_albums(rng: Random, artists: tuple[Artist, ...]) -> Iterator[Album]:
    """One to four albums an artist, numbered in the order they came out."""
    owners = [artist for artist in artists for _ in range(rng.choice((1, 2, 2, 3, 3, 4)))]
    days = sorted(NEWEST - timedelta(days=rng.randint(0, 3_000)) for _ in owners)
    rng.shuffle(owners)
    awkward = place(rng, names.AWKWARD_ALBUMS, len(owners))
    for n, (owner, day) in enumerate(zip(owners, days, strict=True)):
        yield Album(FIRST_ALBUM + n, awkward.get(n) or name_thing(rng), owner, day)


def record_tracks(rng: Random, albums: tuple[Album, ...]) -> Iterator[Track]:
    """3 to 14 tracks an album; after one album in ten, a few ids that were withdrawn."""
    lengths = [rng.choice((3, 4, 5, 5, 6, 7, 8, 9, 10, 11, 14)) for _ in albums]
    awkward = place(rng, names.AWKWARD_TITLES, sum(lengths))
    ids, made = count(FIRST_TRACK), count()
    for album, length in zip(albums, lengths, strict=True):
        for number in range(1, length + 1):
            track = next(ids)
            title = awkward.get(next(made)) or name_thing(rng)
            yield Track(track, title, album, number, piece_of(track).seconds)
        if rng.random() < 0.1:
            for _ in range(rng.randint(1, 4)):
                next(ids)


def place(rng: Random, awkward: tuple[str, ...], places: int) -> dict[int, str]:
    """Each awkward name at a place of its own among `places`."""
    return dict(zip(rng.sample(range(places), len(awkward)), awkward, strict=True))


def name_thing(rng: Random) -> str:
    """A title in one of three shapes."""
    shape = rng.randrange(3)
    if shape == 0:
        return f"{rng.choice(names.OPENING)} {rng.choice(names.THING)}"
    if shape == 1:
        return f"{rng.choice(names.THING)} {rng.choice(names.PLACE)}"
    return f"{rng.choice(names.FIRST)} {rng.choice(names.THING)}"

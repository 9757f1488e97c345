"""What is counted of each key: the meters of detection, and their places.

One layout for all keys: what a key never counts costs nothing on the wire. Half-lives are chosen by how long people
sit: pages, calls and feeds two hours, bare calls, searches and pictures one.
"""

from __future__ import annotations

from hashlib import blake2b

from guard.memo import Memo
from guard.observe import Decaying, Distinct, FirstSeen, LastSeen, Leaky, Meters, Runs, Spec, Total

HOUR_S, DAY_S = 3600.0, 86_400.0
IDLE_S = 2 * HOUR_S
"""A key of which nothing is seen for so long is forgotten."""

SPECS: tuple[Spec, ...] = (
    Decaying("documents", 2 * HOUR_S),
    Decaying("cold", HOUR_S / 3),
    Decaying("entrances", 2 * HOUR_S),
    Decaying("life", 2 * HOUR_S),
    Decaying("images", HOUR_S),
    Decaying("calls", 2 * HOUR_S),
    Decaying("bare", HOUR_S),
    Decaying("odd", 2 * HOUR_S),
    Decaying("searches", HOUR_S),
    Decaying("walked", HOUR_S),
    Decaying("beats", HOUR_S),
    Decaying("heads", HOUR_S),
    Decaying("sitemaps", HOUR_S),
    Decaying("fed", 2 * HOUR_S),
    Decaying("parts", 10.0),
    Leaky("lead", 1.0),
    FirstSeen("first"),
    Runs("numbers", 64, 8),
    Distinct("tunes", 8, 256),
    Distinct("feeds", 8, 64),
    Distinct("clients", 8, 256),
    Distinct("living", 8, 256),
    Distinct("names", 8, 64),
    Distinct("hours", 8, 64),
    Distinct("asked", 4, 256),
    Total("audio"),
    Leaky("held", 1.0),
    Leaky("spared", 1.0),
    LastSeen("denied"),
)
(
    DOCUMENTS, COLD, ENTRANCES, LIFE, IMAGES, CALLS, BARE, ODD, SEARCHES, WALKED, BEATS, HEADS, SITEMAPS, FED, PARTS,
    LEAD, FIRST, NUMBERS, TUNES, FEEDS, CLIENTS, LIVING, NAMES, HOURS, ASKED,
    AUDIO_S,
    HELD,
    SPARED,
    DENIED,
) = range(len(SPECS))  # fmt: skip


def make_meters(max_keys: int = 50_000, max_bytes: int = 48 << 20) -> Meters:
    """The meters that a lookout counts with."""
    return Meters(SPECS, max_keys=max_keys, max_bytes=max_bytes, ttl_s=IDLE_S)


shorts: Memo[bytes, bytes] = Memo(8_192)


def short(text: bytes) -> bytes:
    """Eight bytes that stand for a text."""
    found = shorts.get(text)
    if found is None:
        found = blake2b(text, digest_size=8).digest()
        if len(text) <= 1024:
            shorts.keep(text, found)
    return found

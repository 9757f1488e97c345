"""What an address is to somebody who listens: a document, data, a track, a part of it, a picture. Pure.

The route class says most of it; the rest is told from the path alone, so that a policy need not say more. `work` is
what stands for the track (or artist, or feed), `number` the number in it where ids are numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

from guard.model import RouteClass

# What a request is for. A plain number each: they index tables on the hot path.
(OTHER, DOCUMENT, EMBED, DATA, SEARCH, PLAYLIST, SEGMENT, AUDIO, IMAGE, ASSET, FEED, SITEMAP, DOWNLOAD, ACT, TRAP) = (
    range(15)
)

ROLES = (
    "other", "document", "embed", "data", "search", "playlist", "segment", "audio", "image", "asset", "feed", "sitemap",
    "download", "act", "trap",
)  # fmt: skip

_SEGMENTS = (".m4s", ".ts", ".m4f", ".cmfa", ".cmfv")
_PLAYLISTS = (".m3u8", ".mpd", ".m3u", ".pls", ".xspf")
_DATA = (".json", ".dat", ".bin", ".xml")
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".gif", ".svg")
_IDS = ("id", "songid", "track", "itemid", "trackid")
_PAGES = ("offset", "page", "start", "from", "skip", "cursor", "songoffset", "albumoffset", "artistoffset")
_ASKED = ("q", "query", "term", "search", "s")
_ITEMS = frozenset(("items", "audio", "videos", "users", "sessions", "playlists"))
_SHORT = 2
MAX_WORK_CHARS = 64


class Place(NamedTuple):
    """`role` is one of ROLES by number. `number` is -1 where the work's id is no number. `walked` says that a search
    turns pages or asks for one or two letters; `public` that it is an episode of what is handed out by feeds.
    `serial` is the number with what it is of, -1 where there is none. `asked` is
    what a search asks for. `signed` says that the query carries what somebody signs in with.
    """

    role: int
    work: str
    number: int
    route_class: RouteClass
    walked: bool = False
    path: str = ""
    public: bool = False
    signed: bool = False
    serial: int = -1
    asked: str = ""
    user: str = ""


def read_place(
    path: str,
    query: str,
    route_class: RouteClass,
    method: str,
    special: Callable[[str], str] | None = None,
    feeds: frozenset[str] = frozenset(),
) -> Place:
    """The place of a readable path (lower case or as sent, without query). `special` tells "trap" and "download" of
    paths that the policy names, "" for all others; `feeds` are the first parts of the paths of feeds."""
    named = special(path) if special is not None else ""
    parts = [part for part in path.split("/") if part]
    last = parts[-1].lower() if parts else ""
    pairs = _pairs(query) if query else {}
    role = _role(route_class, path, last, pairs, method, named)
    work, number = _work(parts, last, pairs, role)
    walked, asked = False, None
    if role == SEARCH:
        asked = next((pairs[name] for name in _ASKED if name in pairs), None)
        paged = any(pairs.get(name, "") not in ("", "0") for name in _PAGES)
        walked = paged or (asked is not None and len(asked) <= _SHORT)
    public = role == AUDIO and bool(parts) and parts[0] in feeds
    signed = bool(pairs) and _is_signed(parts, pairs)
    serial = (_kind(parts) << 40) + min(number, (1 << 40) - 1) if number >= 0 else -1
    return Place(
        role,
        work,
        number,
        route_class,
        walked,
        path,
        public,
        signed,
        serial,
        asked or "",
        _user(pairs) if signed else "",
    )


def _role(route_class: RouteClass, path: str, last: str, pairs: dict[str, str], method: str, named: str) -> int:
    if named:
        return TRAP if named == "trap" else DOWNLOAD
    if method not in ("GET", "HEAD"):
        return ACT
    match route_class:
        case "page":
            if last.endswith(_PICTURES):
                return IMAGE
            if last.startswith("sitemap") and last.endswith((".xml", ".xml.gz")):
                return SITEMAP
            if last.endswith((".css", ".js", ".ico", ".woff", ".woff2", ".webmanifest", ".map")):
                return ASSET
            return DATA if last.endswith(_DATA) else DOCUMENT
        case "embed":
            return EMBED
        case "api" | "lyrics":
            return DATA
        case "search":
            return SEARCH if pairs else DOCUMENT
        case "manifest":
            return PLAYLIST
        case "media":
            if last.endswith(_SEGMENTS):
                return SEGMENT
            return PLAYLIST if last.endswith(_PLAYLISTS) else AUDIO
        case "artwork":
            return DATA if last.endswith(_DATA) else IMAGE
        case "static":
            return ASSET
        case "feed":
            return FEED
        case "directive":
            return SITEMAP if "sitemap" in path else OTHER
    return OTHER


def _work(parts: list[str], last: str, pairs: dict[str, str], role: int) -> tuple[str, int]:
    """What stands for the work, and its number: an id in the query, else the first part of the path that holds a number
    and is neither a version nor a rendition, else the path without its ending."""
    for name in _IDS:
        if name in pairs:
            return pairs[name][:MAX_WORK_CHARS], _number(pairs[name])
    candidates = parts[:-1] if role == SEGMENT and len(parts) > 1 else parts
    for part in candidates:
        number = _number(part.partition(".")[0])
        if number >= 0:
            return part.partition(".")[0].partition("-")[0][:MAX_WORK_CHARS] if number > 999 else _stem(
                parts, role
            ), number
    return _stem(parts, role), -1


def _stem(parts: list[str], role: int) -> str:
    kept = parts[:-1] if role == SEGMENT and len(parts) > 1 else parts
    text = "/".join(kept)
    head, dot, _ = text.rpartition(".")
    return (head if dot else text)[-MAX_WORK_CHARS:]


def _number(text: str) -> int:
    """The number that an id is, or ends the name of: `4711`, `al-15`, `100017-1200` (an id and a size). -1 for
    others."""
    text = text[:32]
    head, dash, tail = text.partition("-")
    if dash and tail.isascii() and tail.isdigit() and head.isalpha():
        return int(tail)
    if dash and head.isascii() and head.isdigit() and (tail.isdigit() or not tail):
        return int(head)
    if text.isascii() and text.isdigit() and len(text) <= 15:
        return int(text)
    return -1


def _is_signed(parts: list[str], pairs: dict[str, str]) -> bool:
    """Does the query sign in, in a protocol that lets nobody in without: Subsonic's, or Jellyfin's?"""
    if "rest" in parts:
        return "apikey" in pairs or ("u" in pairs and ("p" in pairs or ("t" in pairs and "s" in pairs)))
    key = "api_key" in pairs or "apikey" in pairs
    return key and any(part.lower() in _ITEMS for part in parts)


def _user(pairs: dict[str, str]) -> str:
    """Who signs in with a query."""
    return (pairs.get("u") or pairs.get("apikey") or pairs.get("api_key") or "")[:MAX_WORK_CHARS]


def _pairs(query: str) -> dict[str, str]:
    """The parameters of a query, the first value of each; at most 32 are looked at."""
    found: dict[str, str] = {}
    for pair in query.split("&", 32)[:32]:
        name, _, value = pair.partition("=")
        found.setdefault(name.lower(), value)
    return found


def _kind(parts: list[str]) -> int:
    """A small number for what the ids in a path are of: the word before the id, `tracks` and `track` being one."""
    word = ""
    for part in parts:
        if part[:1].isdigit():
            break
        if part.isalpha() and part not in ("api", "rest"):
            word = part.lower()
    digest = blake2b(word.removesuffix("s").encode("utf-8", "replace"), digest_size=2).digest()
    return int.from_bytes(digest, "big") & 0x3FFF

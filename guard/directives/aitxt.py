"""Spawning's /ai.txt (2023): patterns by file kind, read when a data set's URLs are downloaded.

The law: one group for the whole site and no paths, so it is the policy's word; works cannot be named. Where the
site is open and a work is not, the file says that there is more to read.
"""

from __future__ import annotations

from guard.directives.declaration import Declaration
from guard.policy import Policy

_FILES = (
    ("audio", "media", "aac aif aiff alac flac m4a m4s mp3 oga ogg opus ts wav wma"),
    ("images", "artwork", "avif bmp gif jpeg jpg png svg tiff webp"),
    ("text", "lyrics", "csv html json lrc pdf srt txt vtt xml"),
    ("video", "media", "avi m4v mkv mov mp4 mpeg webm"),
)
"""Its name, the route class whose word counts for it, its endings. Text is metadata, too: the stricter counts."""


def render(declaration: Declaration) -> str:
    """One group for everyone; stream addresses have no ending, so `/` and `*` close it."""
    policy = declaration.policy
    out = [f"# {' '.join(policy.site.name.split())}: what may be used to train AI"]
    closed = policy.preferences.get("train-ai") == "disallow"
    reserved = {route_class: _reserved(policy, route_class) for route_class in ("media", "artwork", "lyrics", "page")}
    reserved["lyrics"] = reserved["lyrics"] or reserved["page"]
    if not closed and _reserves_more(declaration):
        out.append("# Reservations of single works stand on their own answers, in Content-Usage and TDM-Reservation.")
    out.append("User-Agent: *")
    if not closed and not any(reserved.values()):
        return "\n".join([*out, "Allow: /", ""])
    for name, route_class, endings in _FILES:
        out.append(f"# {name}")
        word = "Disallow" if reserved[route_class] else "Allow"
        out += [f"{word}: *.{ending}" for ending in endings.split()]
    return "\n".join([*out, *(("Disallow: /", "Disallow: *") if closed or reserved["media"] else ("Allow: /",)), ""])


def read(text: str) -> dict[str, bool]:
    """What the group for everyone says: pattern -> may it be used to train AI? What cannot be read says nothing."""
    found: dict[str, bool] = {}
    everyone = False
    for line in text.splitlines():
        key, colon, value = line.partition("#")[0].partition(":")
        name, value = key.strip().lower(), value.strip()
        if colon and name == "user-agent":
            everyone = value == "*"
        elif colon and everyone and value and name in ("allow", "disallow"):
            found[value] = found.get(value, True) and name == "allow"
    return found


def evaluate(stated: dict[str, bool], path: str) -> bool:
    """May the file at `path` be used to train AI? An ending counts before `/`; `*` forbids what nothing else names."""
    ending = path.partition("?")[0].rpartition("/")[2].rpartition(".")[2].lower()
    own = stated.get(f"*.{ending}")
    return own if own is not None else stated.get("/", True) and stated.get("*", True)


def _reserved(policy: Policy, route_class: str) -> bool:
    return policy.stated(route_class).get("train-ai") == "disallow"


def _reserves_more(declaration: Declaration) -> bool:
    """Is there a work that reserves what the site does not, or may there be one?"""
    return declaration.left_out > 0 or any(
        place.rights.word(kind, "train-ai") == "disallow"
        for place in declaration.places
        for kind in ("audio", place.kind)
    )

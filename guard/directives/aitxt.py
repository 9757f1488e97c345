"""Spawning's /ai.txt (2023): patterns by file kind, read when a data set's URLs are downloaded."""

from __future__ import annotations

from guard.classify import Catalogue
from guard.policy import Policy

_FILES = (
    ("audio", "media", "aac aif aiff alac flac m4a m4s mp3 oga ogg opus ts wav wma"),
    ("images", "artwork", "avif bmp gif jpeg jpg png svg tiff webp"),
    ("text", "lyrics", "csv html json lrc pdf srt txt vtt xml"),
    ("video", "media", "avi m4v mkv mov mp4 mpeg webm"),
)
"""Its name, the route class whose word counts for it, its endings. Text is metadata, too: the stricter counts."""


def render(policy: Policy, catalogue: Catalogue, lines: tuple[str, ...]) -> str:
    """One group for everyone; stream addresses have no ending, so `/` and `*` close it."""
    out = [f"# {policy.site.name}: what may be used to train AI", "User-Agent: *"]
    closed = policy.preferences.get("train-ai") == "disallow"
    reserved = {route_class: _reserved(policy, route_class) for route_class in ("media", "artwork", "lyrics", "page")}
    reserved["lyrics"] = reserved["lyrics"] or reserved["page"]
    if not closed and not any(reserved.values()):
        return "\n".join([*out, "Allow: /", ""])
    for name, route_class, endings in _FILES:
        out.append(f"# {name}")
        word = "Disallow" if reserved[route_class] else "Allow"
        out += [f"{word}: *.{ending}" for ending in endings.split()]
    return "\n".join([*out, *(("Disallow: /", "Disallow: *") if closed or reserved["media"] else ("Allow: /",)), ""])


def _reserved(policy: Policy, route_class: str) -> bool:
    return policy.stated(route_class).get("train-ai") == "disallow"

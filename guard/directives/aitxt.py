"""Spawning's /ai.txt (2023): patterns by file kind, read when a data set's URLs are downloaded."""

from __future__ import annotations

from guard.classify import Catalogue
from guard.policy import Policy

_KINDS = (
    ("audio", "aac aif aiff alac flac m4a m4s mp3 oga ogg opus ts wav wma"),
    ("images", "avif bmp gif jpeg jpg png svg tiff webp"),
    ("text", "csv html json lrc pdf srt txt vtt xml"),
    ("video", "avi m4v mkv mov mp4 mpeg webm"),
)


def render(policy: Policy, catalogue: Catalogue, lines: tuple[str, ...]) -> str:
    """One group for everyone; stream addresses have no ending, so `/` and `*` close it."""
    out = [f"# {policy.site.name}: what may be used to train AI", "User-Agent: *"]
    if policy.preferences.get("train-ai") != "disallow":
        return "\n".join([*out, "Allow: /", ""])
    for kind, endings in _KINDS:
        out.append(f"# {kind}")
        out += [f"Disallow: *.{ending}" for ending in endings.split()]
    return "\n".join([*out, "Disallow: /", "Disallow: *", ""])

"""Preferences in every published form, all rendered from one policy when it loads.

`FILES` are served from memory to everyone in every state; `HEADERS` go on every answer. A new directive is one
file here and one line in a table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from guard.classify import Catalogue
from guard.directives import aitxt, content_signal, content_usage, robots, tdmrep, x_robots
from guard.model import Headers, Reply
from guard.policy import Policy

FILES: dict[str, tuple[str, Callable[[Policy, Catalogue, tuple[str, ...]], str]]] = {
    "/robots.txt": ("text/plain; charset=utf-8", robots.render),
    "/ai.txt": ("text/plain; charset=utf-8", aitxt.render),
    "/.well-known/tdmrep.json": ("application/json", tdmrep.render),
}

HEADERS: tuple[tuple[bytes, Callable[[Mapping[str, str]], str]], ...] = (
    (b"content-usage", content_usage.state),
    (b"x-robots-tag", x_robots.state),
    (b"tdm-reservation", tdmrep.state),
)


def render_headers(preferences: Mapping[str, str]) -> Headers:
    """The header lines that state `preferences`; an unstated one has no line."""
    return tuple((name, state(preferences).encode()) for name, state in HEADERS if state(preferences))


def render_lines(policy: Policy) -> tuple[str, ...]:
    """The lines for every group of robots.txt: one signal for all, usage preferences by path where they differ.

    Content-Signal knows no paths, so about AI it states the strictest of all kinds; search goes by the general word,
    or reserving the audio would take the pages out of every search engine.
    """
    lines: list[str] = []
    if signal := content_signal.state(_for_all_kinds(policy)):
        lines.append(f"Content-Signal: {signal}")
    if usage := content_usage.state(policy.preferences):
        lines.append(f"Content-Usage: {usage}")
    for path, preferences in robots.paths_that_differ(policy):
        lines.append(f"Content-Usage: {path} {content_usage.state(preferences)}")
    return tuple(lines)


def _for_all_kinds(policy: Policy) -> dict[str, str]:
    found = dict(policy.preferences)
    for stated in policy.kind_preferences.values():
        found |= {purpose: word for purpose, word in stated.items() if purpose != "search" and word == "disallow"}
    return found


def render_file(name: str, policy: Policy, catalogue: Catalogue) -> str:
    """The text of one directive file, by its path. Raises KeyError."""
    _, render = FILES[name]
    return render(policy, catalogue, render_lines(policy))


def render_files(policy: Policy, catalogue: Catalogue) -> dict[str, Reply]:
    """A ready answer for each directive file: strong ETag over the bytes, fresh for an hour (RFC 9309 2.4)."""
    replies: dict[str, Reply] = {}
    for path, (media_type, _) in FILES.items():
        body = render_file(path, policy, catalogue).encode()
        headers: Headers = (
            (b"content-type", media_type.encode()),
            (b"etag", f'"{hashlib.sha256(body).hexdigest()[:32]}"'.encode()),
            (b"cache-control", b"public, max-age=3600"),
            (b"x-content-type-options", b"nosniff"),
        )
        replies[path] = Reply(200, headers + render_headers(policy.preferences), body)
    return replies

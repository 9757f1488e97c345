"""Preferences in every published form, all rendered from one declaration.

`FILES` are served from memory to everyone in every state; `HEADERS` go on every answer. A new directive is one
file here and one line in a table.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from urllib.parse import quote

from guard.directives import (
    aitxt,
    content_signal,
    content_usage,
    merge,
    page,
    robots,
    rsl,
    tdmrep,
    wellknown_ai,
    x_robots,
)
from guard.directives.declaration import FILE_PATHS, OPEN_PATHS, PASSED_PATHS, Declaration, Place, declare
from guard.model import Headers, Reply
from guard.policy import Policy
from guard.rights import Rights, Work

__all__ = [
    "FILES",
    "FILE_PATHS",
    "HEADERS",
    "OPEN_PATHS",
    "PASSED_PATHS",
    "WORK_FILES",
    "Declaration",
    "Place",
    "as_replies",
    "declare",
    "join_robots",
    "render_file",
    "render_headers",
    "render_pages",
    "render_texts",
    "render_work_file",
]

FILES: dict[str, tuple[str, Callable[[Declaration], str]]] = {
    "/robots.txt": ("text/plain; charset=utf-8", robots.render),
    "/ai.txt": ("text/plain; charset=utf-8", aitxt.render),
    "/license.xml": ("application/rsl+xml", rsl.render),
    "/.well-known/tdmrep.json": ("application/json", tdmrep.render),
    "/.well-known/tdm-policy.json": ("application/ld+json", tdmrep.render_policy),
    "/.well-known/ai.txt": ("text/plain; charset=utf-8", wellknown_ai.render_text),
    "/.well-known/ai.json": ("application/json", wellknown_ai.render_json),
    page.PAGE: ("text/html; charset=utf-8", lambda said: page.render_page(said, said.versions, said.at_s)),
    page.JSON: ("application/json", lambda said: page.render_json(said, said.versions, said.at_s)),
    page.FEED: ("application/atom+xml; charset=utf-8", lambda said: page.render_feed(said, said.versions, said.at_s)),
}

WORK_FILES: dict[str, Callable[[Declaration, Work, Rights], str]] = {
    "/license.xml": rsl.render_work,
    "/.well-known/tdm-policy.json": tdmrep.render_policy,
    page.PAGE: page.render_work,
}
"""Documents that a single work has for itself: at `PATH?work=LAYER:ID`."""

HEADERS: tuple[tuple[bytes, Callable[[Mapping[str, str]], str]], ...] = (
    (b"content-usage", content_usage.state),
    (b"content-signal", content_signal.state),
    (b"x-robots-tag", x_robots.state),
    (b"tdm-reservation", tdmrep.state),
)


def render_headers(preferences: Mapping[str, str], url: str = "", work: Work | None = None) -> Headers:
    """The header lines that state `preferences`; an unstated one has no line.

    `url` is the site's (see `Site.url`): then the licence is named by an absolute address, and the TDM policy, which
    needs one, is named. `work` has documents of its own.
    """
    lines = [(name, text.encode()) for name, state in HEADERS if (text := state(preferences))]
    if not lines:
        return ()
    if url and (b"tdm-reservation", b"1") in lines:
        lines.append((b"tdm-policy", document_of("/.well-known/tdm-policy.json", url, work).encode()))
    lines.append((b"link", rsl.link(document_of("/license.xml", url, work))))
    return tuple(lines)


def document_of(path: str, url: str, work: Work | None) -> str:
    """The address of a document, of the whole site or of one work."""
    return f"{url}{path}" + (f"?work={quote(str(work), safe='')}" if work is not None else "")


def render_file(name: str, declaration: Declaration) -> str:
    """The text of one directive file, by its path. Raises KeyError."""
    return FILES[name][1](declaration)


def render_texts(declaration: Declaration) -> tuple[dict[str, str], Declaration]:
    """Every directive file as text, by its path (robots.txt without the platform's own), and the declaration with as
    many works `named` as robots.txt had room for."""
    text, named = robots.written(declaration)
    declaration = dataclasses.replace(declaration, named=named)
    texts = {path: render(declaration) for path, (_, render) in FILES.items() if path != "/robots.txt"}
    return {"/robots.txt": text, **texts}, declaration


def join_robots(text: str, declaration: Declaration, foreign: bytes) -> merge.Merged:
    """Our robots.txt and the platform's own in one file. Where both do not fit, works are left to their own answers:
    what the platform forbids goes before what single works add."""
    merged = merge.merge(text, foreign)
    if declaration.places and (merged.shut or merged.text == text):
        shorter = robots.render(dataclasses.replace(declaration, places=(), named=0))
        merged = merge.merge(shorter, foreign)
    return merged


def as_replies(texts: Mapping[str, str], policy: Policy) -> dict[str, Reply]:
    """A ready answer for each directive file: strong ETag over the bytes, fresh for an hour (RFC 9309 2.4)."""
    stated = render_headers(policy.preferences, policy.site.url)
    return {path: as_reply(text, FILES[path][0], stated) for path, text in texts.items()}


def render_pages(declaration: Declaration) -> dict[str, Reply]:
    """The page of terms for people, its twin and its feed: what changes when a version of the terms is noted."""
    stated = render_headers(declaration.policy.preferences, declaration.policy.site.url)
    return {
        path: as_reply(FILES[path][1](declaration), FILES[path][0], stated)
        for path in (page.PAGE, page.JSON, page.FEED)
    }


def render_work_file(path: str, declaration: Declaration, work: Work, rights: Rights) -> Reply:
    """The document of one work. Raises KeyError when the file has none for works."""
    policy = declaration.policy
    stated = render_headers(policy.preferences, policy.site.url)
    return as_reply(WORK_FILES[path](declaration, work, rights), FILES[path][0], stated)


def as_reply(text: str, media_type: str, stated: Headers) -> Reply:
    """A directive file as it is sent."""
    body = text.encode()
    html = media_type.startswith("text/html")
    headers: Headers = (
        (b"content-type", media_type.encode()),
        *(((b"content-security-policy", page.CSP.encode()),) if html else ()),
        (b"etag", f'"{hashlib.sha256(body).hexdigest()[:32]}"'.encode()),
        (b"cache-control", b"public, max-age=3600"),
        (b"x-content-type-options", b"nosniff"),
    )
    return Reply(200, headers + stated, body)


def state_of(policy: Policy, rights: Rights, kind: str, work: Work | None) -> Headers:
    """The header lines of an answer that carries one kind of a work."""
    return render_headers(rights.stated(kind), policy.site.url, work)

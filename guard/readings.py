"""Every way a request target can be read by what stands behind us.

The law: a request is denied if *any* reading is denied, and exempt only if *all* readings are. A target with
no bounded, well-formed set of readings is refused (`TargetError`, answered with 400). Nothing here rewrites
the target: what is forwarded is always the bytes that came.

A reading is one text of the path after some number of percent-decodings, with backslash taken as slash or
not, `;parameters` kept or cut, trailing dots and spaces of a segment kept or cut, a decoded `?` or `#` kept or
ending the path, configured prefixes kept or cut, and then always: dot segments removed, slashes merged, the
last slash dropped, ASCII lower-cased. Names such as `AC%2FDC` or `R.E.M.` therefore have several readings and
pass untouched unless a rule denies one of them.

Sources: RFC 3986 sections 2.4, 3.3, 5.2.4, 6.2.2; WHATWG URL (backslash); servlet specification (`;` parameters).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from guard.errors import TargetError

MAX_PATH_BYTES = 2048
MAX_QUERY_BYTES = 8192
MAX_DECODINGS = 4
MAX_READINGS = 64

# Possessive quantifiers: these expressions cannot backtrack, whatever is fed to them.
_PLAIN_SEGMENT = rb"[A-Za-z0-9_~\-!$&'()*+,=:@]++"
_PLAIN = re.compile(rb"(?:/" + _PLAIN_SEGMENT + rb"(?:\." + _PLAIN_SEGMENT + rb")*+)++/?+")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_DOTS = re.compile(rb"/\.\.?(?:/|$)")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_FORBIDDEN_RAW = re.compile(rb"[\x00-\x20\x7f-\xff#]")
_OVERLONG = re.compile(rb"[\xc0\xc1]|\xe0[\x80-\x9f]|\xf0[\x80-\x8f]")
_BYTES = {b"%02x" % n: bytes([n]) for n in range(256)}


class Readings(NamedTuple):
    """`canonical` is decoded once, case kept (what a plain server would look up); `all` are for matching."""

    canonical: str
    all: tuple[str, ...]


def read_target(target: bytes, *, case_sensitive: bool = False, strip_prefixes: tuple[str, ...] = ()) -> Readings:
    """All readings of a path as sent (no query). Raises TargetError when it has no safe set of readings."""
    if _PLAIN.fullmatch(target) and len(target) <= MAX_PATH_BYTES and not strip_prefixes:
        text = target.decode("ascii")
        text = text[:-1] if text.endswith("/") else text
        return Readings(text, (text if case_sensitive else text.lower(),))
    target = target.partition(b"?")[0]  # some servers hand over the query, too: a bare "?" begins it for everybody
    if target == b"/":
        return Readings("/", ("/",))
    _refuse_malformed(target)
    found: dict[str, None] = {}
    canonical = ""
    spellings = list(enumerate(_decodings(target)))
    if b";" in target:  # servlet containers cut parameters first and decode then: an encoded ";" stays a letter
        spellings += enumerate(_decodings(_map_segments(target, _cut_parameters)), start=2)
    if _DOTS.search(target):  # some remove dot segments before they decode: an encoded slash parts nothing then
        spellings += enumerate(_decodings(_resolve(target)), start=2)
    for depth, spelling in spellings:
        for variant in _variants(spelling, strip_prefixes):
            reading = _resolve(variant).decode("utf-8", "replace")
            found[reading if case_sensitive else _lower_ascii(reading)] = None
        if len(found) > MAX_READINGS:
            raise TargetError("too many readings")
        if depth <= 1:
            canonical = _resolve(spelling).decode("utf-8")
    return Readings(canonical, tuple(found))


def read_path(path: str, *, case_sensitive: bool = False, strip_prefixes: tuple[str, ...] = ()) -> Readings:
    """Readings of a path that a server already decoded (ASGI `scope["path"]`), for when it may differ."""
    escaped = "".join(
        char if char.isascii() and char > " " and char not in "%#?\x7f" else _percent(char) for char in path
    )
    return read_target(escaped.encode("ascii"), case_sensitive=case_sensitive, strip_prefixes=strip_prefixes)


def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))


def _refuse_malformed(target: bytes) -> None:
    if len(target) > MAX_PATH_BYTES:
        raise TargetError("path too long")
    if not target.startswith(b"/"):
        raise TargetError("target does not start with a slash")
    if _FORBIDDEN_RAW.search(target):
        raise TargetError("raw control, space, hash or non-ASCII byte")
    if _BAD_ESCAPE.search(target):
        raise TargetError("broken percent-escape")


def _decodings(target: bytes) -> list[bytes]:
    """The target and what each further percent-decoding makes of it, until it stands still."""
    spellings = [target]
    for step in range(MAX_DECODINGS + 1):
        decoded = _ESCAPE.sub(lambda match: _BYTES[match[1].lower()], spellings[-1])
        if decoded == spellings[-1]:
            return spellings
        if _CONTROL.search(decoded) or _OVERLONG.search(decoded):
            raise TargetError("control byte or overlong UTF-8 after decoding")
        if step == 0:  # deeper down a title like "100%80" may cease to be text: it is read with U+FFFD there
            try:
                decoded.decode("utf-8")
            except UnicodeDecodeError:
                raise TargetError("not UTF-8 after decoding") from None
        spellings.append(decoded)
    raise TargetError("still encoded after four decodings")


def _variants(spelling: bytes, strip_prefixes: tuple[str, ...]) -> tuple[bytes, ...]:
    """Always in the same order: of readings that are judged alike, the first one names the decision."""
    variants = {spelling: None}

    def add(change: Callable[[bytes], bytes]) -> None:
        for variant in tuple(variants):
            variants[change(variant)] = None

    if b"\\" in spelling:
        add(lambda variant: variant.replace(b"\\", b"/"))
    if b"?" in spelling or b"#" in spelling:
        add(lambda variant: re.split(rb"[?#]", variant, maxsplit=1)[0] or b"/")
    if b";" in spelling:
        add(lambda variant: _map_segments(variant, _cut_parameters))
    if b"." in spelling or b" " in spelling:
        add(lambda variant: _map_segments(variant, _cut_tail))
    if strip_prefixes:  # who strips a prefix may have put the path in order before
        add(_resolve)
    for prefix in strip_prefixes:
        cut = prefix.rstrip("/").encode().lower()
        for variant in tuple(variants):
            if variant.lower().startswith(cut):
                variants[b"/" + variant[len(cut) :].lstrip(b"/")] = None
    return tuple(variants)


def _map_segments(path: bytes, change: Callable[[bytes], bytes]) -> bytes:
    return b"/".join([change(segment) for segment in path.split(b"/")])


def _cut_parameters(segment: bytes) -> bytes:
    return segment.split(b";", 1)[0]


def _cut_tail(segment: bytes) -> bytes:
    """`private.` and `private ` are `private` to some file systems; `.. ` is `..`; `...` stays a name."""
    bare = segment.rstrip(b" ")
    if bare in (b".", b".."):
        return bare
    return segment.rstrip(b" .") or segment


def _resolve(path: bytes) -> bytes:
    """Dot segments removed (RFC 3986 5.2.4, never above the root), slashes merged, no slash at the end."""
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment not in (b"", b"."):
            kept.append(segment)
    return b"/" + b"/".join(kept)


def _lower_ascii(text: str) -> str:
    """Only A-Z: full case folding would turn other letters into ASCII ones (U+212A into k)."""
    return text.encode().lower().decode()

"""Which work an address is of: path patterns with names in braces, and parameters of the query. Pure.

    /track/{track}                 the track with this id
    /artist/{artist}/**            the artist, for everything below
    /{artist}/{track}              the track `ID/ID`, whose parent is the artist before it (see `WorkPath.id`)
    /media/{track}.mp3             a name may be a part of a segment
    /rest/stream* with id          the id stands in the query

The law: ids are taken from the target as it was sent, segment by segment, each decoded once, so that `AC%2FDC` is one
id; and beside that from every other reading of it, so that no spelling of an address escapes from its work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from guard.patterns import PathPatterns
from guard.rights import HOLDINGS, MAX_ID_CHARS, Work

NAMED = re.compile(r"\{([a-z]+)\}")
MAX_VALUES = 8
"""So many values of one parameter are looked up; of a query with more nothing is known but that it may be anybody's."""


@dataclass(frozen=True, slots=True)
class WorkPath:
    """One pattern. `query` is the parameter that holds the id of `layer`; `id` says how the narrowest name's id is
    made of all names ("" = of its own alone); `kind` is one of KINDS, "" = what the route class carries."""

    path: str
    query: str = ""
    layer: str = ""
    id: str = ""
    kind: str = ""
    line: int = field(default=0, compare=False)
    file: str = field(default="", compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The layers named in the path, in their order."""
        return tuple(NAMED.findall(self.path))

    @property
    def narrowest(self) -> str:
        """The layer of the work that the address is of."""
        return self.layer or max(self.names, key=HOLDINGS.index)

    @property
    def glob(self) -> str:
        """The pattern with a `*` for each name."""
        return NAMED.sub("*", self.path)


class Found(NamedTuple):
    """One way to read an address: the works it names, the narrowest first, and the kind of content (or "").

    No works: it may be of any. `sent` is how the bytes read as they came, so that it always counts; other readings may
    be nobody's (see `is_straight`).
    """

    works: tuple[Work, ...]
    kind: str
    sent: bool = True


class WorkPaths:
    """All patterns of a policy, looked up at once. Immutable after construction."""

    def __init__(self, paths: Iterable[WorkPath], *, case_sensitive: bool = False) -> None:
        self.paths = tuple(paths)
        self._case_sensitive = case_sensitive
        self._patterns = PathPatterns((path.glob for path in self.paths), case_sensitive=case_sensitive)
        self._shapes = tuple(tuple(_shape(part) for part in path.path.split("/") if part) for path in self.paths)
        self.asks_query = any(path.query for path in self.paths)

    def __bool__(self) -> bool:
        return bool(self.paths)

    def find(self, target: bytes, query: bytes, readings: Iterable[str]) -> tuple[Found, ...]:
        """Every way to read the address, those of the bytes as sent first. `readings` keep their case.

        Several ways also where it names several works side by side (`id=1&id=2`): none lends its rights to the others.
        """
        sent = tuple(unquote_to_bytes(part).decode("utf-8", "replace") for part in target.split(b"/") if part)
        raw = {part.decode("latin-1") for part in target.split(b"/") if b"%" in part}
        spellings = {sent: True}
        bent = bool(raw) and not is_straight(target)
        for reading in readings:
            parts = tuple(part for part in reading.split("/") if part)
            if raw.isdisjoint(parts):
                spellings.setdefault(parts, False)
                continue
            # Servers part the path before they decode. That one decodes nothing counts at bent addresses alone.
            decoded = (unquote_to_bytes(part).decode("utf-8", "replace") if part in raw else part for part in parts)
            spellings.setdefault(tuple(decoded), False)
            if bent:
                spellings.setdefault(parts, False)
        found: dict[tuple[tuple[Work, ...], str], Found] = {}
        for parts, is_sent in spellings.items():
            for works, kind in self._find(parts, query):
                found.setdefault((works, kind), Found(works, kind, is_sent))
        return tuple(found.values())

    def _find(self, parts: tuple[str, ...], query: bytes) -> tuple[tuple[tuple[Work, ...], str], ...]:
        """The first pattern in the policy that fits. One that asks the query claims its paths: without the parameter
        they are of no work, unless another such pattern finds one."""
        # A slash that was encoded lies within its segment; here it may not part anything.
        flat = [part.replace("/", "\ufffd") for part in parts]
        claimed = False
        text = "/" + "/".join(flat if self._case_sensitive else [_lower(part) for part in flat])
        for position in self._patterns.match(text):
            path = self.paths[position]
            if claimed and not path.query:
                return ()
            named = _names_in(self._shapes[position], parts, self._case_sensitive)
            if named is None or any(len(value) > MAX_ID_CHARS or not value for value in named.values()):
                continue
            if path.query:
                values = _values(query, path.query)
                if len(values) > MAX_VALUES:
                    return (((), path.kind),)
                if values:
                    return tuple(((Work(path.layer, value),), path.kind) for value in values)
                claimed = True
                continue
            works = [Work(layer, value) for layer, value in named.items()]
            works.sort(key=lambda work: -HOLDINGS.index(work.layer))
            if path.id:
                works[0] = Work(works[0].layer, NAMED.sub(lambda name: named[name[1]], path.id))  # noqa: B023
            elif len(works) > 1:
                # Whoever asks writes the artist beside the track: only what a register knows of the track opens it.
                return (tuple(works), path.kind), ((works[0],), path.kind)
            return ((tuple(works), path.kind),)
        return ()

    def places(self, work: Work) -> tuple[tuple[WorkPath, str, tuple[str, ...]], ...]:
        """Where a work is to be found: the pattern, an address under it, and how robots.txt spells all of them.

        Only patterns that the id fills whole: of `/{artist}/{track}` no artist's id makes a track's address.
        """
        found = []
        for path in self.paths:
            if path.narrowest != work.layer or (values := _values_of(path, work)) is None:
                continue
            spellings = dict.fromkeys(_spell(path, values, work))
            if not self._case_sensitive and (lower := _lower(path.path)) != path.path:
                spellings |= dict.fromkeys(_spell(replace(path, path=lower), values, work))
            found.append((path, _address(path, values, work), tuple(spellings)))
        return tuple(found)


_BENT = re.compile(rb"//|[\\;]|%25|(?:^|/)\.{1,2}(?:/|$)")


def is_straight(target: bytes) -> bool:
    """Is there nothing in the address by which one server would find another place than the next: no dot segments,
    no parameters, no backslash, no second encoding? An encoded slash may be."""
    return _BENT.search(target) is None and _BENT.search(unquote_to_bytes(target)) is None


def _shape(part: str) -> tuple[str, str, str] | None:
    """A segment as what stands before its name, the name, and what stands behind; None when it has none."""
    found = NAMED.search(part)
    return (part[: found.start()], found[1], part[found.end() :]) if found else None


def _names_in(
    shapes: tuple[tuple[str, str, str] | None, ...], parts: tuple[str, ...], case_sensitive: bool
) -> dict[str, str] | None:
    named: dict[str, str] = {}
    for shape, part in zip(shapes, parts, strict=False):
        if shape is None:
            continue
        before, name, after = shape
        start, end = part[: len(before)], part[len(part) - len(after) :] if after else ""
        alike = (start, end) == (before, after) or (
            not case_sensitive and (_lower(start), _lower(end)) == (_lower(before), _lower(after))
        )
        if not alike or len(part) < len(before) + len(after):
            return None
        named[name] = part[len(before) : len(part) - len(after)]
    return named


def _values(query: bytes, name: str) -> tuple[str, ...]:
    """The values of one parameter, each once: those that any server could read, at most MAX_VALUES and one more.

    Servers differ in what a key is (PHP drops blanks before it and brackets behind it, some fold its case), in whether
    `;` parts parameters, and in which of several values counts.
    """
    if not query:
        return ()
    wanted = name.encode().lower()
    pairs = query.split(b"&")
    if b";" in query:
        pairs += [piece for pair in pairs if b";" in pair for piece in pair.split(b";")]
    found: dict[str, None] = {}
    for pair in pairs:
        key, _, value = pair.partition(b"=")
        if key != wanted:
            bare = unquote_to_bytes(key.replace(b"+", b" ")).strip().lower()
            if bare != wanted and (b"[" not in bare or bare.partition(b"[")[0] != wanted):
                continue
        text = unquote_to_bytes(value.replace(b"+", b" ")).decode("utf-8", "replace")
        if text and len(text) <= MAX_ID_CHARS:
            found[text] = None
            if len(found) > MAX_VALUES:
                break
    return tuple(found)


def _values_of(path: WorkPath, work: Work) -> dict[str, str] | None:
    """The names of a pattern, filled from one work's id; None when the id cannot fill them all."""
    if path.query:
        return {}
    names = path.names
    if not path.id:
        return {names[0]: work.id} if len(names) == 1 else None
    form = re.escape(path.id)
    for name in names:
        form = form.replace(re.escape(f"{{{name}}}"), f"(?P<{name}>[^/]+)", 1)
    match = re.fullmatch(form, work.id)
    return match.groupdict() if match and set(match.groupdict()) == set(names) else None


def _address(path: WorkPath, values: Mapping[str, str], work: Work) -> str:
    """One address under the pattern, percent-encoded."""
    filled = _fill(path.path, values, wild="x")
    return f"{filled}?{_parameter(path.query, work.id)}" if path.query else filled


_KEPT = ("!&'(),;=:@-._~", "!'()-._~", "-._~")
"""Which characters of an id stay as they are: in a path all that may, in JavaScript's encodeURIComponent, in others.

Readers of robots.txt and its kin take an escaped `&` for another address than a plain one; a server takes both for one.
"""


_PLAIN_ID = re.compile(r"[A-Za-z0-9._~-]++")


def _spell(path: WorkPath, values: Mapping[str, str], work: Work) -> Iterable[str]:
    """All addresses under the pattern, as robots.txt writes them (prefixes, `*`, and `$` for an end)."""
    forms = _KEPT if not _PLAIN_ID.fullmatch(work.id) else _KEPT[:1]
    if path.query:
        stem = _fill(path.path.removesuffix("/**"), {}, wild="*")
        stem += "" if stem.endswith("*") else "*"
        found = [_parameter(path.query, work.id, kept) for kept in ("-._~", *forms[1:])]
        found.append(found[0].replace("%20", "+"))  # as forms have it
        for parameter in dict.fromkeys(found):
            for lead in "?&":
                for end in "$&":
                    yield f"{stem}{lead}{parameter}{end}"
        return
    stem = path.path.removesuffix("/**")
    below = stem != path.path
    for text in dict.fromkeys(_fill(stem.rstrip("/"), values, wild="*", kept=kept) for kept in forms):
        if below:
            yield from (f"{text}/", f"{text}$", f"{text}?")
        elif text.endswith("*"):
            yield text
        else:  # with a slash at the end it is the same place
            yield from (f"{text}$", f"{text}?", f"{text}/$", f"{text}/?")


def _fill(path: str, values: Mapping[str, str], wild: str, kept: str = _KEPT[0]) -> str:
    """The path percent-encoded, with ids in the place of names and `wild` for every `*`; `kept` of ids stays."""
    out = []
    for piece in re.split(r"(\{[a-z]+\}|\*+)", path):
        if piece.startswith("{") and piece[1:-1] in values:
            out.append(quote(values[piece[1:-1]], safe=kept))
        elif piece.startswith("*"):
            out.append(wild)
        else:
            out.append(quote(piece, safe="/!$&'()+,;=:@-._~"))
    return "".join(out)


def _parameter(name: str, value: str, kept: str = _KEPT[2]) -> str:
    return f"{quote(name, safe='')}={quote(value, safe=kept)}"


def _lower(text: str) -> str:
    """Only A-Z, as the readings do."""
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")

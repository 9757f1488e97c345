"""What is declared, as one value: every directive is written from it, and nothing else.

A declaration is a policy and the works with choices of their own that there is room to name. Works that are not named
in files are declared by the headers of their own answers; `left_out` says how many those are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from guard.classify import Catalogue
from guard.directives.paths import across, kind_at, route_class_of, specimen_of, spell_for, starred_paths
from guard.directives.words import Version
from guard.errors import TargetError
from guard.model import RouteClass
from guard.patterns import specimen
from guard.policy import Policy
from guard.protocols import NOTHING_LISTED, Listed
from guard.readings import MAX_QUERY_BYTES, read_target
from guard.rights import Rights, Work, resolve
from guard.robotstxt import pattern_matches
from guard.works import WorkPath

MAX_NAMED = 2_000
"""So many works are named in directive files at most: the widest layers first, and in a layer the newest choice."""


MIN_NAMED_CHARS = 2
"""A name of one character is no longer than the `*` in the policy's own pattern: no reader could tell which counts."""

FILE_PATHS = (
    "/robots.txt",
    "/ai.txt",
    "/license.xml",
    "/ai-policy",
    "/ai-policy.json",
    "/ai-policy/feed.xml",
    "/.well-known/tdmrep.json",
    "/.well-known/tdm-policy.json",
    "/.well-known/ai.txt",
    "/.well-known/ai.json",
)
"""Where the directives are. They are served to everybody, whatever a policy says."""

PASSED_PATHS = ("/.well-known/security.txt",)
"""Files of the platform's own that nobody may be kept from (RFC 9116)."""

OPEN_PATHS = (*FILE_PATHS, *PASSED_PATHS)


class Place(NamedTuple):
    """Where a named work is to be found, and what holds there.

    `address` is one address under it (path and perhaps query, percent-encoded), `spellings` are all of them as
    robots.txt writes them. `kind` is one of EVERY_KIND. `across`: what it has in common with a path of the policy's,
    where another kind may lie, so that no other pattern speaks of it (`/podcast/7/*.mp3`).
    """

    work: Work
    rights: Rights
    kind: str
    route_class: RouteClass
    address: str
    spellings: tuple[str, ...]
    across: bool = False

    @property
    def preferences(self) -> Mapping[str, str]:
        return self.rights.stated(self.kind)

    def reading(self, case_sensitive: bool) -> str:
        """The path of `address`, as rules read it."""
        return _reading(self.address, case_sensitive)


@dataclass(frozen=True)
class Declaration:
    """What is declared at the moment `at_s` (seconds since 1970).

    `policy` has the preferences of that moment. `named` works stand in `places`, of `total` with a choice. `versions`
    are those of the terms, the newest announcement first. `worked_out` is what several files ask for, kept by name.
    """

    policy: Policy
    catalogue: Catalogue
    places: tuple[Place, ...] = ()
    named: int = 0
    total: int = 0
    versions: tuple[Version, ...] = ()
    at_s: float = 0.0
    worked_out: dict[str, Any] = field(init=False, default_factory=dict, compare=False, repr=False)

    @property
    def left_out(self) -> int:
        return self.total - self.named

    def address(self, path: str) -> str:
        """`path` on this site: absolute when the policy knows the site's URL, else from the root."""
        return f"{self.policy.site.url}{path}"


def declare(
    policy: Policy,
    catalogue: Catalogue,
    listed: Listed = NOTHING_LISTED,
    now_s: float = 0.0,
    versions: tuple[Version, ...] = (),
) -> Declaration:
    """The declaration of a policy at a moment. `listed` are the works with choices, see `RightsSource.listed`."""
    policy = policy.at(now_s)
    if policy.rights is None or not listed.works:
        return Declaration(policy, catalogue, total=listed.total, versions=versions, at_s=now_s)
    platform, ground = policy.platform_choice, ground_of(policy)
    places: list[Place] = []
    named = 0
    for work, chain in listed.works[:MAX_NAMED]:
        if len(work.id) < MIN_NAMED_CHARS:
            continue
        found = places_of(policy, work, resolve(chain, platform, now_s), ground)
        named += 1 if found else 0
        places += found
    return Declaration(policy, catalogue, tuple(places), named, listed.total, versions, now_s)


class Ground(NamedTuple):
    """What is the same for all works of a policy: its `starred_paths`; the kind that is found under each pattern of
    works, which an earlier one may hide (None: then the works, too); how each is spelt itself; and the works that the
    addresses of directive files would be of: nobody can ask for the page of an artist called robots.txt."""

    starred: tuple[str, ...]
    kinds: Mapping[WorkPath, str | None]
    own: Mapping[WorkPath, tuple[str, ...]]
    at_files: frozenset[Work]


def ground_of(policy: Policy) -> Ground:
    kinds: dict[WorkPath, str | None] = {}
    for path in policy.work_paths.paths:
        query = f"{path.query}=x".encode() if path.query else b""
        first, *_ = policy.work_paths.find(quote(specimen(path.glob)).encode(), query, ()) or (None,)
        kinds[path] = first.kind if first and first.works[0].layer == path.narrowest else None
    at_files = frozenset(
        work for path in OPEN_PATHS for one in policy.work_paths.find(path.encode(), b"", ()) for work in one.works
    )
    return Ground(starred_paths(policy), kinds, {path: spell_for(policy, path.glob) for path in kinds}, at_files)


def places_of(policy: Policy, work: Work, rights: Rights, ground: Ground | None = None) -> list[Place]:
    """Where a work is to be found. `ground` is the policy's, for who asks for many works."""
    starred, kinds, own, at_files = ground or ground_of(policy)
    found: list[Place] = []
    for path, address, spellings in policy.work_paths.places(work):
        kind = kinds[path]
        if kind is None or not _can_be_asked_for(address):
            continue
        if work in at_files and any(pattern_matches(one, file) for one in spellings for file in OPEN_PATHS):
            continue
        route_class = policy.route_class(_reading(address, policy.site.case_sensitive))
        found.append(Place(work, rights, kind or policy.kind_of(route_class), route_class, address, spellings))
        below = [spelling for spelling in spellings if spelling.endswith("/")]
        others = [pattern for pattern in starred if pattern not in own[path]] if below else ()
        crossings = (one for spelling in below for one in across(spelling, others))
        for crossing in dict.fromkeys(crossings):
            address = specimen_of(crossing)
            route_class = route_class_of(policy, crossing)
            kind = kind_at(policy, address)
            if crossing.endswith("/") and _loosens(rights.stated(kind), rights.stated(kind_at(policy, address[:-2]))):
                continue  # the place without anything below it has a slash at its end, too
            found.append(Place(work, rights, kind, route_class, address, (crossing,), across=True))
    return found


def _loosens(stated: Mapping[str, str], other: Mapping[str, str]) -> bool:
    return any(word == "disallow" != stated.get(purpose) for purpose, word in other.items())


def _can_be_asked_for(address: str) -> bool:
    """Is it an address that is answered, and by this place? A work with an odd id is left to its own answers."""
    target, _, query = address.partition("?")
    if len(query) > MAX_QUERY_BYTES or {".", ".."} & set(unquote(target).split("/")):
        return False
    try:
        read_target(target.encode())
    except TargetError:
        return False
    return True


def _reading(address: str, case_sensitive: bool) -> str:
    path = unquote(address.partition("?")[0]).rstrip("/") or "/"
    return path if case_sensitive else path.encode().lower().decode()

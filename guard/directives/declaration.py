"""What is declared, as one value: every directive is written from it, and nothing else.

A declaration is a policy and the works with choices of their own that there is room to name. Works that are not named
in files are declared by the headers of their own answers; `left_out` says how many those are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import unquote

from guard.classify import Catalogue
from guard.directives.words import Version
from guard.model import RouteClass
from guard.policy import Policy
from guard.protocols import NOTHING_LISTED, Listed
from guard.rights import Rights, Work, resolve

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
    robots.txt writes them. `kind` is one of EVERY_KIND.
    """

    work: Work
    rights: Rights
    kind: str
    route_class: RouteClass
    address: str
    spellings: tuple[str, ...]

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
    platform = policy.platform_choice
    places: list[Place] = []
    named = 0
    for work, chain in listed.works[:MAX_NAMED]:
        found = policy.work_paths.places(work) if len(work.id) >= MIN_NAMED_CHARS else ()
        if not found:
            continue
        named += 1
        rights = resolve(chain, platform, now_s)
        for path, address, spellings in found:
            route_class = policy.route_class(_reading(address, policy.site.case_sensitive))
            kind = path.kind or policy.kind_of(route_class)
            places.append(Place(work, rights, kind, route_class, address, spellings))
    return Declaration(policy, catalogue, tuple(places), named, listed.total, versions, now_s)


def _reading(address: str, case_sensitive: bool) -> str:
    path = unquote(address.partition("?")[0])
    return path if case_sensitive else path.encode().lower().decode()

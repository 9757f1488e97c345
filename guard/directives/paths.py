"""The policy's paths as robots.txt and its kin write them, and what the policy itself states by path.

Readers of those formats go by the longest pattern that matches, the policy by the first in its file: where the two
would differ, a longer pattern is written for what both patterns have in common.

Sources: RFC 9309 2.2.2 and 2.2.3 (patterns), TDMRep 6.2 and attach-05 3 (which take them over).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from urllib.parse import quote, unquote

from guard.model import RouteClass
from guard.policy import Policy
from guard.rights import AIPREF
from guard.robotstxt import pattern_matches


def spell(pattern: str) -> tuple[str, ...]:
    """Our pattern as robots paths, which are prefixes unless `$` ends them.

    `/media/**` is everything below, and the place itself with or without a query: `/media/ /media$ /media?`. An
    exact path ends, too: `/inbox$ /inbox?`. After a glob nothing ends, for signed addresses go on with `?sig=`.
    `**` may be no segment at all: `/hls/**/*.m3u8` is `/hls/*.m3u8`, and `/a/**/b` is `/a/b` and `/a/*/b`.
    """
    stem, below = re.subn(r"(?:/\*\*)+$", "", pattern.rstrip("/"))
    pieces = re.split(r"(?:/\*\*)+(?=/)", stem)
    gaps = [("*",) if piece.startswith("/*") else ("", "/*") for piece in pieces[1:]]
    found: dict[str, None] = {}
    for chosen in product(*gaps):
        text = pieces[0]
        for gap, piece in zip(chosen, pieces[1:], strict=True):
            text += "/*" + piece[2:] if gap == "*" else gap + piece
        text = quote(text, safe="/*!$&'()+,;=:@-._~")
        if below:
            found |= dict.fromkeys((f"{text}/", f"{text}$", f"{text}?") if text else ("/",))
        elif "*" in text.rpartition("/")[2]:
            found[text] = None
        else:
            found |= dict.fromkeys((f"{text or '/'}$", f"{text or '/'}?"))
    return tuple(found)


def spelled_paths(policy: Policy) -> tuple[str, ...]:
    """Every path of the policy's routes, and those of works that carry another kind, as patterns."""
    paths = (*policy.kind_paths, *(path for entry in policy.routes for path in entry.paths))
    return tuple(dict.fromkeys(one for path in paths for one in spell(path) if one != "/"))


def stated_by_path(policy: Policy) -> dict[str, Mapping[str, str]]:
    """What the policy itself states by path, "/" first: those patterns without which the longest match would say
    another thing."""
    found: dict[str, Mapping[str, str]] = {"/": policy.stated(policy.route_default)}
    if not policy.kind_preferences and not policy.kind_paths:
        return found
    spelled = spelled_paths(policy)
    starred = [pattern for pattern in spelled if "*" in pattern]
    crossings = [one for pattern in spelled if pattern.endswith("/") for one in across(pattern, starred)]
    for pattern in sorted(dict.fromkeys((*spelled, *crossings)), key=len):
        specimen = specimen_of(pattern)
        preferences = stated_at(policy, specimen)
        nearest = found[max((one for one in found if pattern_matches(one, specimen)), key=len)]
        if _aipref(preferences) != _aipref(nearest):
            found[pattern] = preferences
    return found


def stated_at(policy: Policy, address: str) -> Mapping[str, str]:
    """What the policy states at an address (percent-encoded) of whose work nobody has spoken."""
    target, _, query = address.partition("?")
    found = policy.work_paths.find(target.encode(), query.encode(), ())
    if found and found[0].kind:
        return policy.platform_rights.stated(found[0].kind)
    return policy.stated(route_class_of(policy, address))


def _aipref(preferences: Mapping[str, str]) -> dict[str, str]:
    return {purpose: preferences[purpose] for purpose in AIPREF if purpose in preferences}


def across(below: str, starred: Iterable[str]) -> Iterator[str]:
    """What everything below a path has in common with each pattern that lies across it."""
    for pattern in starred:
        head, _, rest = pattern.partition("*")
        if below.startswith(head) and len(below) > len(head) and "*" not in below:
            yield f"{below}*{rest}"
            if rest.startswith("/") and len(rest) > 1:
                # The closing star says nothing but makes it longer than the pattern it lies in.
                yield f"{below}{rest[1:]}{'' if rest.endswith('$') else '*'}"


def specimen_of(pattern: str) -> str:
    """An address that falls under a pattern."""
    text = pattern.removesuffix("$").replace("*", "x")
    return f"{text}x" if text.endswith("/") else text


def route_class_of(policy: Policy, pattern: str) -> RouteClass:
    """What lies under a pattern, by the policy's own order."""
    path = unquote(specimen_of(pattern).partition("?")[0])
    return policy.route_class(path if policy.site.case_sensitive else path.encode().lower().decode())

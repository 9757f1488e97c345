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
from guard.rights import AIPREF, strictest_words
from guard.robotstxt import pattern_matches


def spell(pattern: str) -> tuple[str, ...]:
    """Our pattern as robots paths, which are prefixes unless `$` ends them.

    `/media/**` is everything below, and the place itself with or without a query: `/media/ /media$ /media?`. An
    exact path ends, too, with a slash or without: `/inbox$ /inbox? /inbox/$ /inbox/?`. After a glob nothing ends, for
    signed addresses go on with `?sig=`.
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
            found |= dict.fromkeys(f"{text}{end}" for end in (("$", "?", "/$", "/?") if text else ("/$", "/?")))
    return tuple(found)


def spell_for(policy: Policy, pattern: str) -> tuple[str, ...]:
    """`spell` for a site: where case does not count, as written and in lower case, for readers count it."""
    if policy.site.case_sensitive or pattern == (lower := pattern.encode().lower().decode()):
        return spell(pattern)
    return tuple(dict.fromkeys((*spell(pattern), *spell(lower))))


def spelled_paths(policy: Policy) -> tuple[str, ...]:
    """Every path of the policy's routes, and those of works that carry another kind, as patterns."""
    paths = (*policy.kind_paths, *(path for entry in policy.routes for path in entry.paths))
    return tuple(dict.fromkeys(one for path in paths for one in spell_for(policy, path) if one != "/"))


def deeper(pattern: str) -> Iterator[str]:
    """What a pattern with a `*` takes in besides what a glob does, for readers let it cross slashes: `/dl/*/` for
    `/dl/*`, `/*/*.mp3` and `/*.mp3/` for `/*.mp3`."""
    for at, char in enumerate(pattern):
        if char == "*" and pattern[at + 1 :] not in ("", "$"):
            yield f"{pattern[:at]}*/*{pattern[at + 1 :]}"
    if "*" in pattern.rpartition("/")[2] and not pattern.endswith("$"):
        yield f"{pattern}/"


def starred_paths(policy: Policy) -> tuple[str, ...]:
    """All patterns with a `*` by which something could differ, or be refused, at an address of the site."""
    rules = (one for path in policy.rule_patterns.patterns for one in spell_for(policy, path))
    found = dict.fromkeys((*spelled_paths(policy), *rules, *stated_by_path(policy)))
    return tuple(pattern for pattern in found if "*" in pattern)


def stated_by_path(policy: Policy) -> dict[str, Mapping[str, str]]:
    """What the policy itself states by path, "/" first: those patterns without which the longest match would say
    another thing."""
    found: dict[str, Mapping[str, str]] = {"/": policy.stated(policy.route_default)}
    if not policy.kind_preferences and not policy.kind_paths:
        return found
    spelled = spelled_paths(policy)
    starred = [pattern for pattern in spelled if "*" in pattern]
    beyond = [one for pattern in starred for one in deeper(pattern)]
    starred += beyond
    plain = [pattern for pattern in spelled if pattern.endswith("/")]
    crossings = [one for pattern in plain for one in across(pattern, starred)]
    uncertain = {*beyond, *(one for pattern in plain for one in across(pattern, beyond))} - set(spelled)
    for pattern in sorted(dict.fromkeys((*spelled, *crossings, *beyond)), key=len):
        specimen = specimen_of(pattern)
        preferences = stated_at(policy, specimen)
        nearest = found[max((one for one in found if pattern_matches(one, specimen)), key=len)]
        if pattern in uncertain:  # there one writing cannot be exact: neither word may be loosened
            preferences = strictest_words((nearest, preferences))
        if _aipref(preferences) != _aipref(nearest):
            found[pattern] = preferences
    return found


def stated_at(policy: Policy, address: str) -> Mapping[str, str]:
    """What the policy states at an address (percent-encoded) of whose work nobody has spoken."""
    if kind := kind_of_work(policy, address):
        return policy.platform_rights.stated(kind)
    return policy.stated(route_class_at(policy, address))


def kind_at(policy: Policy, address: str) -> str:
    """The kind of content at an address: what the path of its work says, else what its route class carries."""
    return kind_of_work(policy, address) or policy.kind_of(route_class_at(policy, address))


def kind_of_work(policy: Policy, address: str) -> str:
    """The kind that the path of its work gives an address; "" when none does."""
    target, _, query = address.partition("?")
    found = policy.work_paths.find(target.encode(), query.encode(), ())
    return found[0].kind if found else ""


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
    text, ends = pattern.removesuffix("$"), pattern.endswith("/$")
    if text.endswith("*") and not text.endswith("/*"):  # the star that says nothing
        text = text[:-1]
    text = text.replace("*", "x")
    return f"{text}x" if text.endswith("/") and not ends else text


def route_class_of(policy: Policy, pattern: str) -> RouteClass:
    """What lies under a pattern, by the policy's own order."""
    return route_class_at(policy, specimen_of(pattern))


def route_class_at(policy: Policy, address: str) -> RouteClass:
    """What lies at an address (percent-encoded)."""
    return policy.route_class(reading_of(policy, address))


def reading_of(policy: Policy, address: str) -> str:
    """The path of an address as rules read it: decoded, without a slash at its end."""
    path = unquote(address.partition("?")[0]).rstrip("/") or "/"
    return path if policy.site.case_sensitive else path.encode().lower().decode()

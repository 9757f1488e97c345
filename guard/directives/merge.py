"""The platform's own robots.txt joined with ours, so that neither is weakened. Pure.

The law: an agent may fetch what both files let it fetch, and nothing else; only the directive files stay open. With
rules that are plain prefixes the joined file says exactly that. Where a `*` makes it uncertain whether an Allow of one
file reaches into what the other forbids, the stricter side is written: the common ground is forbidden again by a
longer rule, or the Allow is left out.

Why that is right: all Disallows of both files are kept, and of the Allows those that reach nothing which the other
file forbids, unless a longer Disallow takes it back. So whatever one file forbids, no Allow of either overrides.

An agent that either file names gets a group of its own, for a named group replaces `*`; agents that are told the same
share one. Every group ends in an Allow or Disallow, or readers that know no other lines would join it with the next.

Everything is bounded: what is read of their file (500 KiB), the rules looked at, the pairs compared, the file that
comes out. Agents for which there is no room are forbidden everything, and `shut` names them.

Sources: RFC 9309; github.com/google/robotstxt for what it leaves open (length of patterns, `/index.html`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import NamedTuple
from urllib.parse import quote

from guard.directives import content_signal, content_usage
from guard.directives.declaration import OPEN_PATHS
from guard.robotstxt import (
    EVERYBODY,
    MAX_BYTES,
    Group,
    Named,
    PathRule,
    Patterns,
    Robots,
    effective,
    pattern_matches,
    read_robots,
)

MAX_PATTERN_CHARS = 2_000
"""A longer Disallow is shortened (and forbids more), a longer Allow left out."""

MAX_RULES = 60_000
"""So many rules are looked at, over all groups; agents that come after them are forbidden everything."""

PER_GROUP = 64
"""What a group costs besides, in rules."""

MAX_STEPS = 150_000
"""So many pairs of patterns are compared, over all groups; an Allow that comes after them is left out."""

MAX_NEEDS = 8
"""So many Disallows are added to keep one Allow; it is left out when it needs more."""

MAX_SITEMAPS = 1_000

FALLBACK = dict.fromkeys(("applebot", "googlebot-image", "googlebot-news", "googlebot-video"), "googlebot")
"""Agents that obey another's group when none names them, before everybody's, as Apple and Google say of theirs."""

_NOTE = "# Joined with the robots.txt of the platform itself: what either forbids is forbidden."
_WORD = re.compile(r"[!\"$-~]++")
_URL = re.compile(r"https?://[!\"$-~]++")


class Merged(NamedTuple):
    """The joined file (ASCII, LF, at most 500 KiB); what people should know about it, in sentences; and the agents
    that are forbidden everything because there was no room to say more."""

    text: str
    notes: tuple[str, ...] = ()
    shut: tuple[str, ...] = ()


def merge(ours: str, theirs: bytes, open_paths: Sequence[str] = OPEN_PATHS) -> Merged:
    """`ours` (a generated file) joined with `theirs` (whatever the platform serves as its robots.txt).

    `open_paths` are the directive files, which every agent may fetch. Never raises: when theirs cannot be read, or
    not even everybody's rules fit, ours comes back as it is, with a note that says why.
    """
    if why := _no_robots(theirs):
        return Merged(ours, (f"The platform's robots.txt is not joined with ours: {why}.",))
    other = read_robots(theirs)
    if not (other.groups or other.sitemaps or _licences(other)):
        return Merged(ours)
    return _File(ours, read_robots(ours), other, tuple(open_paths)).joined()


def _no_robots(octets: bytes) -> str:
    """Why this is no robots.txt; "" when it may be one."""
    start = octets[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"<"):
        return "it is a web page"
    if octets.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in octets[:MAX_BYTES]:
        return "it is not text in UTF-8"
    return ""


# -- patterns ----------------------------------------------------------------------------------------------


def _head(pattern: str) -> str:
    """What every address under the pattern begins with."""
    head, star, _ = pattern.partition("*")
    return head if star else head.removesuffix("$")


def _is_exact(pattern: str) -> bool:
    """One single address."""
    return pattern.endswith("$") and "*" not in pattern


def covers(wide: str, narrow: str) -> bool:
    """Is every address under `narrow` under `wide`? False when that is not certain."""
    if not wide.endswith("$"):
        return pattern_matches(wide, narrow.removesuffix("$").replace("*", "\0"))
    return narrow.endswith("$") and pattern_matches(wide, narrow[:-1].replace("*", "\0"))


def overlap(one: str, other: str) -> bool:
    """Can an address be under both? True when that is not certain."""
    for single, pattern in ((one, other), (other, one)):
        if _is_exact(single):
            return pattern_matches(pattern, single[:-1])
    heads, tails = (_head(one), _head(other)), (one.rpartition("*")[2], other.rpartition("*")[2])
    if not (heads[0].startswith(heads[1]) or heads[1].startswith(heads[0])):
        return False
    return not (tails[0].endswith("$") and tails[1].endswith("$")) or (
        tails[0].endswith(tails[1]) or tails[1].endswith(tails[0])
    )


def rests(pattern: str, start: str) -> list[str]:
    """What must still follow `start`, each of them a pattern's rest, for an address that begins with it to be under
    `pattern` (one with a `*`). [""] when nothing must, [] when it cannot be."""
    ends = "$" if pattern.endswith("$") else ""
    head, *pieces = pattern.removesuffix("$").split("*")
    if not start.startswith(head):
        return [pattern[len(start) :]] if head.startswith(start) else []
    at = len(head)
    while len(pieces) > 1 or (pieces and not ends):
        found = start.find(pieces[0], at)
        if found < 0:
            break
        at = found + len(pieces.pop(0))
    if not pieces:
        return [""]
    piece, more = pieces[0], "".join(f"*{one}" for one in pieces[1:]) + ends
    found_rests = [f"*{piece}{more}"]
    for length in range(1, min(len(piece), len(start) - at) + 1):
        if start.endswith(piece[:length]):
            found_rests.append(f"{piece[length:]}{more}")
    return found_rests


def _at_most(pattern: str) -> int:
    """How long a pattern is to any reader: there are some that count a `?` as the escape `%3F`."""
    return len(pattern) + 2 * pattern.count("?")


def _longer(pattern: str, chars: int) -> str:
    """The same addresses under a pattern of more than `chars` characters; "" when there is none."""
    missing = max(0, chars + 1 - len(pattern))
    if not missing:
        return pattern
    if "*" in pattern:
        return pattern.replace("*", "*" * (missing + 1), 1)
    return "" if pattern.endswith("$") else pattern + "*" * missing


# -- one agent's rules -------------------------------------------------------------------------------------


class _Budget:
    __slots__ = ("left",)

    def __init__(self, steps: int) -> None:
        self.left = steps

    def take(self, steps: int = 1) -> bool:
        self.left -= steps
        return self.left >= 0


@dataclass(slots=True)
class _Side:
    """What one file says to one agent, in its order, each pattern once. A Disallow that an Allow of the same pattern
    undoes is left out. `implied`: what Google reads beside an Allow (`/x/$` beside `/x/index.html`)."""

    allows: dict[str, None] = field(default_factory=dict)
    disallows: dict[str, None] = field(default_factory=dict)
    implied: dict[str, str] = field(default_factory=dict)
    order: list[tuple[bool, str]] = field(default_factory=list)
    star_allows: list[str] = field(default_factory=list)
    star_disallows: list[str] = field(default_factory=list)
    by_length: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.order)


def _side(groups: Iterable[Group]) -> _Side:
    side = _Side()
    for group in groups:
        for rule in group.rules:
            if not rule.pattern.startswith(("/", "*")):
                continue  # no address is under it
            if not rule.allow:
                side.disallows[_shortened(rule.pattern)] = None
            elif len(rule.pattern) < MAX_PATTERN_CHARS:
                pattern = _without_end(rule)
                side.allows[pattern] = None
                for also in effective((rule,))[1:]:
                    side.implied[pattern] = also.pattern
    side.disallows = {pattern: None for pattern in side.disallows if pattern not in side.allows}
    side.order = [(False, pattern) for pattern in side.disallows] + [(True, pattern) for pattern in side.allows]
    side.star_allows = [pattern for pattern in side.allows if "*" in pattern]
    side.by_length = sorted(side.disallows, key=len)
    side.star_disallows = [pattern for pattern in side.by_length if "*" in pattern]
    return side


def _without_end(rule: PathRule) -> str:
    """An Allow without stars at its end, which make it longer to some readers and are nothing to others."""
    return (rule.pattern.rstrip("*") or rule.pattern[:1]) if rule.allow else rule.pattern


def _shortened(pattern: str) -> str:
    """At most MAX_PATTERN_CHARS of it. A `$` that was none at the end must not become one."""
    if len(pattern) <= MAX_PATTERN_CHARS:
        return pattern
    cut = pattern[:MAX_PATTERN_CHARS]
    return cut[:-1] + "*" if cut.endswith("$") else cut


def _written_order(groups: Iterable[Group]) -> dict[tuple[bool, str], int]:
    rules = [(rule.allow, _without_end(rule)) for group in groups for rule in group.rules]
    return {rule: place for place, rule in reversed(list(enumerate(rules)))}


def _join(ours: _Side, theirs: _Side, open_paths: Sequence[str], budget: _Budget) -> list[tuple[bool, str]]:
    """Rules, as (is it an Allow, pattern), that allow what both allow, and the directive files."""
    kept = {**_kept(ours, theirs, budget), **_kept(theirs, ours, budget)}
    kept = {pattern: needs for pattern, needs in kept.items() if not (needs and pattern in open_paths)}
    needed = dict.fromkeys(need for needs in kept.values() for need in needs)
    disallows = {**ours.disallows, **theirs.disallows, **needed}
    if not kept and "/" in disallows:
        disallows = {"/": None}
    idle = _idle(ours, kept, disallows)
    rules = [(False, pattern) for pattern in disallows if (False, pattern) not in idle]
    rules += [(True, pattern) for pattern in kept if (True, pattern) not in idle]
    rules += [(True, pattern) for pattern in _opened(open_paths, kept, disallows)]
    return rules or [(True, "/")]


def _kept(ours: _Side, theirs: _Side, budget: _Budget) -> dict[str, tuple[str, ...]]:
    """Our Allows that may stay, each with the Disallows that it needs beside it."""
    asked = [*ours.allows, *ours.implied.values()]
    nearest = _nearest([pattern for pattern in asked if "*" not in pattern], theirs)
    found: dict[str, tuple[str, ...]] = {}
    for pattern in ours.allows:
        needs = _needs(pattern, theirs, nearest, budget)
        if needs is not None and (also := ours.implied.get(pattern)) and pattern not in theirs.allows:
            more = _needs(also, theirs, nearest, budget)
            needs = None if more is None else (*needs, *more)
        if needs is not None:
            found[pattern] = needs
    return found


def _nearest(patterns: list[str], theirs: _Side) -> dict[str, tuple[int, int]]:
    """For patterns without `*`: how long their longest Allow and Disallow are that hold for all of it, of those
    without `*`. One walk through all patterns in order of the alphabet, in which prefixes come first."""
    nodes = [(pattern, 0, pattern) for pattern in (*theirs.allows, *theirs.disallows) if "*" not in pattern]
    nodes = [(one.removesuffix("$"), int(one.endswith("$")), one) for _, _, one in nodes]
    walk = [(text, exact, 0, pattern) for text, exact, pattern in nodes]
    walk += [(one.removesuffix("$"), int(one.endswith("$")), 1, one) for one in patterns]
    walk.sort()
    found: dict[str, tuple[int, int]] = {}
    above: list[tuple[str, int, int]] = []
    for text, exact, query, pattern in walk:
        while above and not text.startswith(above[-1][0]):
            above.pop()
        allow, disallow = above[-1][1:] if above else (0, 0)
        if query:
            if exact and pattern in theirs.disallows:
                disallow = len(pattern)
            found[pattern] = (allow, disallow)
        elif not exact:
            length = len(pattern)
            above.append((text, length, disallow) if pattern in theirs.allows else (text, allow, length))
    return found


def _needs(pattern: str, theirs: _Side, nearest: dict[str, tuple[int, int]], budget: _Budget) -> tuple[str, ...] | None:
    """What must be forbidden again beside this Allow of ours; None when it may not stay."""
    if pattern in theirs.allows:
        return ()
    starred = "*" in pattern
    allow, disallow = (0, 0) if starred else nearest[pattern]
    suspects = [
        other
        for other in _up_to(theirs.by_length if starred else theirs.star_disallows, _at_most(pattern), budget)
        if overlap(pattern, other)
    ]
    if budget.left < 0:
        return None
    if not suspects and disallow <= allow:
        return ()
    for other in theirs.allows if starred else theirs.star_allows:
        if not budget.take():
            return None
        if len(other) > allow and covers(other, pattern):
            allow = len(other)
    if disallow > allow:
        return None
    needs: list[str] = []
    for other in suspects:
        if _at_most(other) <= allow:
            continue
        if _is_exact(pattern) or covers(other, pattern):
            return None
        needs += _common(pattern, other)
        if "" in needs or len(needs) > MAX_NEEDS or any(len(need) > MAX_PATTERN_CHARS for need in needs):
            return None
    return tuple(needs)


def _up_to(patterns: Iterable[str], chars: int, budget: _Budget) -> Iterable[str]:
    """Those of at most `chars` characters; sorted by length they come."""
    for pattern in patterns:
        if len(pattern) > chars or not budget.take():
            return
        yield pattern


def _common(allow: str, disallow: str) -> list[str]:
    """Patterns longer than `allow` for all that is under both, and for nothing that is not under `disallow`.
    "" among them when there is none."""
    if "*" not in allow:
        return [allow + rest for rest in rests(disallow, allow)]
    if "*" not in disallow and not disallow.endswith("$"):
        return [_longer(disallow + rest, _at_most(allow)) for rest in rests(allow, disallow)]
    return [_longer(disallow, _at_most(allow))]


def _idle(ours: _Side, allows: Iterable[str], disallows: Iterable[str]) -> set[tuple[bool, str]]:
    """Rules that change nothing: the longest one above them says the same, and no `*` reaches between. Of ours only
    those that lie in theirs: what a file of ours says twice is said on purpose."""
    allowed = dict.fromkeys(allows)
    starred = {True: any("*" in one for one in allowed), False: any("*" in one for one in disallows)}
    walk = [(one.removesuffix("$"), int(one.endswith("$")), True, one) for one in allowed if "*" not in one]
    walk += [
        (one.removesuffix("$"), int(one.endswith("$")), False, one)
        for one in disallows
        if "*" not in one and one not in allowed
    ]
    walk.sort()
    found: set[tuple[bool, str]] = set()
    above: list[tuple[str, bool, bool]] = [("", True, True)]
    for text, exact, allow, pattern in walk:
        while not text.startswith(above[-1][0]):
            above.pop()
        own = pattern in (ours.allows if allow else ours.disallows)
        if not (own and above[-1][2]) and above[-1][1] is allow and not starred[not allow]:
            found.add((allow, pattern))
        if not exact:
            above.append((text, allow, own))
    found |= {(False, one) for one in disallows if one in allowed and one not in ours.disallows}
    return found


def _opened(paths: Sequence[str], allows: Iterable[str], disallows: Iterable[str]) -> list[str]:
    """Allows for the directive files that would be forbidden otherwise, with and without a query."""
    filed = Patterns([*((one, True) for one in allows), *((one, False) for one in disallows)])
    found: list[str] = []
    for path in paths:
        for address, pattern in ((path, f"{path}$"), (f"{path}?", f"{path}?")):
            longest = {True: 0, False: 0}
            for one, allow in filed.matching(address):
                longest[allow] = max(longest[allow], len(one))
            missing = longest[False] - len(pattern)
            if longest[False] > longest[True]:
                middle = path.rfind("/") + 2 if pattern.endswith("$") else len(pattern)
                found.append(f"{pattern[:middle]}{'*' * missing}{pattern[middle:]}")
    return found


_Usage = dict[str, dict[str, str]]
"""Path pattern ("" = none) and what is stated for it: labels with y or n."""


# -- what is said besides rules ------------------------------------------------------------------------------


def _content(
    ours: Sequence[Group], theirs: Sequence[Group], usage: _Usage, their_usage: _Usage, budget: _Budget
) -> list[str]:
    """The Content-Signal and Content-Usage lines: ours as they are, or combined with theirs, the stricter counting."""
    own = [line for group in ours for line in group.content]
    other = [line for group in theirs for line in group.content]
    signals = [line.value for line in own if line.key == "content-signal"]
    their_signals = [line.value for line in other if line.key == "content-signal"]
    lines = [f"Content-Signal: {value}" for value in signals]
    if their_signals and (value := content_signal.combine("", [*signals, *their_signals])):
        lines = [f"Content-Signal: {value}"]
    if not their_usage:
        return lines + [f"Content-Usage: {line.value}" for line in own if line.key == "content-usage"]
    for pattern, stated in _joined_usage(usage, their_usage, budget).items():
        if stated:
            lines.append(f"Content-Usage: {pattern} {content_usage.write(stated)}".replace("  ", " "))
    return lines


def _usage(groups: Iterable[Group]) -> _Usage:
    """What groups state by path. What does not parse states nothing."""
    found: _Usage = {}
    for group in groups:
        for line in group.content:
            rule = content_usage.split_rule(line.value) if line.key == "content-usage" else None
            if rule is None or not (stated := content_usage.read([rule[1]])):
                continue
            pattern = rule[0]
            if len(pattern) > MAX_PATTERN_CHARS:
                pattern, stated = _shortened(pattern), _reserved((stated,))
            found[pattern] = content_usage.strictest((found.get(pattern, {}), stated))
    return found


def _joined_usage(ours: _Usage, theirs: _Usage, budget: _Budget) -> _Usage:
    """For every pattern of either what both say there; what is uncertain is stated only if it reserves."""
    if not budget.take(len(ours) * len(theirs)):
        theirs = {"": _reserved(theirs.values())}
        ours = {"": {}} | ours
        return {one: content_usage.strictest((stated, theirs[""])) for one, stated in ours.items()}
    found: _Usage = {}
    for mine, other in ((ours, theirs), (theirs, ours)):
        for pattern, stated in mine.items():
            found[pattern] = content_usage.strictest((found.get(pattern, {}), stated, _there(pattern, other)))
    return found


def _there(pattern: str, usage: _Usage) -> dict[str, str]:
    """What `usage` says of all addresses under a pattern: `n` when it says so of any, `y` when of all."""
    surely = max((one for one in usage if not one or covers(one, pattern)), key=len, default=None)
    least = -1 if surely is None else len(surely)
    perhaps = [one for one in usage if least < len(one) <= len(pattern) and overlap(one, pattern)]
    statements = [usage[one] for one in perhaps] + [{} if surely is None else usage[surely]]
    always = {label for label in statements[-1] if all(stated.get(label) == "y" for stated in statements)}
    return _reserved(statements) | dict.fromkeys(always, "y")


def _reserved(statements: Iterable[dict[str, str]]) -> dict[str, str]:
    return {label: value for stated in statements for label, value in stated.items() if value == "n"}


def _delay(groups: Iterable[Group]) -> list[str]:
    """The largest of all Crawl-delays, as a line."""
    found: dict[float, str] = {}
    for group in groups:
        text = group.crawl_delay.value if group.crawl_delay else ""
        try:
            seconds = float(text) if len(text) <= 20 else -1.0
        except ValueError:
            continue
        if isfinite(seconds) and seconds > 0 and text.isascii():
            found[seconds] = text
    return [f"Crawl-delay: {found[max(found)]}"] if found else []


# -- the file ------------------------------------------------------------------------------------------------


def _licences(robots: Robots) -> list[str]:
    found = (line.value for line in robots.others if line.key == "license" and len(line.value) <= MAX_PATTERN_CHARS)
    return [value for value in found if _URL.fullmatch(value)]


class _Index:
    """The groups of a file by the agents they name. `fallback`: whether FALLBACK counts; in ours it does not, which
    says to everybody by name what is not for all."""

    def __init__(self, robots: Robots, *, fallback: bool) -> None:
        self._fallback = FALLBACK if fallback else {}
        self.names: dict[str, dict[str, str]] = {}
        self._groups = robots.groups
        self._of: dict[str, dict[int, None]] = {}
        for number, group in enumerate(robots.groups):
            for named in group.agents:
                key, name = _key(named)
                if key:
                    self.names.setdefault(key, {}).setdefault(name.lower(), name)
                    self._of.setdefault(key, {})[number] = None
        self._known: dict[tuple[int, ...], _Side] = {}
        self._stated: dict[tuple[int, ...], _Usage] = {}

    def obeyed(self, key: str) -> tuple[int, ...]:
        """The numbers of the groups that the agent obeys."""
        return tuple(self._of.get(key) or self._of.get(self._fallback.get(key, "")) or self._of.get(EVERYBODY, {}))

    def groups(self, numbers: Iterable[int]) -> list[Group]:
        return [self._groups[number] for number in numbers]

    def side(self, numbers: tuple[int, ...]) -> _Side:
        if numbers not in self._known:
            self._known[numbers] = _side(self.groups(numbers))
        return self._known[numbers]

    def usage(self, numbers: tuple[int, ...]) -> _Usage:
        if numbers not in self._stated:
            self._stated[numbers] = _usage(self.groups(numbers))
        return self._stated[numbers]


def _key(named: Named) -> tuple[str, str]:
    """What tells an agent from others, and how its name is written: readers differ in whether digits belong to it."""
    if named.everybody:
        return EVERYBODY, EVERYBODY
    word = _WORD.match(named.written)
    name = word[0].partition("/")[0] if word else ""
    if not named.token and name in ("", EVERYBODY):
        return "", ""
    return named.token.lower() or f"\0{name.lower()}", name[:MAX_PATTERN_CHARS]


class _File:
    def __init__(self, text: str, ours: Robots, theirs: Robots, open_paths: tuple[str, ...]) -> None:
        self.text = text
        self.robots, self.other = ours, theirs
        self.ours, self.theirs = _Index(ours, fallback=False), _Index(theirs, fallback=True)
        self.open_paths = open_paths
        self.rules, self.steps = _Budget(MAX_RULES), _Budget(MAX_STEPS)

    def joined(self) -> Merged:
        head, tail = self._head(), self._tail()
        notes = (
            ["The platform's robots.txt is longer than 500 KiB: the rest is not read."] if self.other.truncated else []
        )
        names = {key: dict(found) for key, found in self.ours.names.items()}
        for key, found in self.theirs.names.items():
            names[key] = found | names.get(key, {})
        everybody = names.pop(EVERYBODY, {EVERYBODY: EVERYBODY})
        room = MAX_BYTES - sum(len(line) + 1 for line in (*head, *tail)) - 2_000
        room -= sum(len(name) + 13 for found in (everybody, *names.values()) for name in found)
        groups: dict[tuple[str, ...], list[str]] = {}
        told: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[str, ...] | None] = {}
        shut: list[str] = []
        for key, found in ((EVERYBODY, everybody), *names.items()):
            both = self.ours.obeyed(key), self.theirs.obeyed(key)
            if both not in told:
                told[both] = lines = self._lines(*both)
                if lines is not None and lines not in groups:
                    size = 2 + sum(len(line) + 1 for line in lines)
                    told[both] = lines if size <= room else None
                    room -= size if size <= room else 0
            if (lines := told[both]) is not None:
                groups.setdefault(lines, []).extend(found.values())
            elif key == EVERYBODY:
                room = -1
                break
            else:
                shut += found.values()
        if room < 0:
            note = "The platform's robots.txt is not joined with ours: both do not fit into 500 KiB."
            return Merged(self.text, (*notes, note))
        if shut:
            shown = ", ".join(shut[:5]) + (", …" if len(shut) > 5 else "")
            notes.append(f"No room in 500 KiB for the rules of {len(shut)} agents: all is forbidden to them ({shown}).")
            groups.setdefault(self._closed(), []).extend(shut)
        return Merged("\n".join([*head, *_written(groups), *tail]) + "\n", tuple(notes), tuple(shut))

    def _lines(self, ours: tuple[int, ...], theirs: tuple[int, ...]) -> tuple[str, ...] | None:
        """What the groups say together; None when too many rules were looked at."""
        if self.rules.left <= 0:
            return None
        one, other = self.ours.side(ours), self.theirs.side(theirs)
        if not self.rules.take(PER_GROUP + one.size + other.size):
            return None
        own, others = self.ours.groups(ours), self.theirs.groups(theirs)
        rules = _join(one, other, self.open_paths, self.steps)
        place = _written_order(own)
        rules.sort(key=lambda rule: place.get(rule, len(place)))
        usage, their_usage = self.ours.usage(ours), self.theirs.usage(theirs)
        lines = [*_content(own, others, usage, their_usage, self.steps), *_delay((*own, *others))]
        return (*lines, *(f"{'Allow' if allow else 'Disallow'}: {pattern}" for allow, pattern in rules))

    def _closed(self) -> tuple[str, ...]:
        """For agents whose rules have no room."""
        everybody = self.ours.groups(self.ours.obeyed(EVERYBODY))
        lines = [
            line for line in _content(everybody, (), {}, {}, self.steps) if not line.startswith("Content-Usage: /")
        ]
        opened = [f"Allow: {path}{end}" for path in self.open_paths for end in "$?"]
        return (*lines, "Disallow: /", *opened)

    def _first_agent(self) -> int:
        return min((group.agents[0].line for group in self.robots.groups), default=len(self.text))

    def _head(self) -> list[str]:
        """All that stands above our groups, and licences: those of ours that stand below, or theirs if we have none."""
        lines = self.text.split("\n")[: self._first_agent() - 1]
        while lines and not lines[-1].strip():
            lines.pop()
        below = [line for line in self.robots.others if line.line > len(lines) and line.key == "license"]
        licences = [line.value for line in below] if _licences(self.robots) else _licences(self.other)[:8]
        return [*lines, *(f"License: {licence}" for licence in licences), _NOTE]

    def _tail(self) -> list[str]:
        """The sitemaps of both, each once."""
        first = self._first_agent()
        known = {line.value for line in self.robots.sitemaps if line.line < first}
        values = [line.value for line in (*self.robots.sitemaps, *self.other.sitemaps) if "\ufffd" not in line.value]
        short = [value for value in dict.fromkeys(values) if value and len(value) <= MAX_PATTERN_CHARS]
        found = [quote(value, safe="!\"$%&'()*+,/:;<=>?@[\\]^`{|}~") for value in short if value not in known]
        lines = [f"Sitemap: {value}" for value in dict.fromkeys(found[:MAX_SITEMAPS]) if len(value) < MAX_PATTERN_CHARS]
        while sum(map(len, lines)) > MAX_BYTES // 10:
            lines.pop()
        return ["", *lines] if lines else []


def _written(groups: dict[tuple[str, ...], list[str]]) -> list[str]:
    """The groups as lines, the shortest first, everybody's last. Who is told what all are told has no other group."""
    out: list[str] = []
    for lines, names in sorted(groups.items(), key=lambda pair: (EVERYBODY in pair[1], len(pair[0]))):
        named = [EVERYBODY] if EVERYBODY in names else sorted(dict.fromkeys(names), key=str.lower)
        out += ["", *(f"User-agent: {name}" for name in named), *lines]
    return out

"""robots.txt as a crawler reads it: groups, rules with their lines, and what may be fetched.

The law: the longest matching pattern of an agent's groups wins, `Allow` on a tie; groups that name the agent take
the place of `*`, and groups of one name are one. Only `Allow` and `Disallow` close a group: a line nobody knows
does not, so a `User-agent` below it joins the group above. What a person misspelt is read as it was meant.

Everything is bounded: 500 KiB of text, 16 KiB a line; a pattern is matched piece by piece, without going back.

Sources: RFC 9309; where it leaves a choice, the open-source parser of Google (github.com/google/robotstxt).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

MAX_BYTES = 500 * 1024
"""RFC 9309 2.5: a reader must take this much; what follows is not read."""

MAX_LINE_BYTES = 2083 * 8 - 1

_BLANK = " \t\n\v\f\r"
_TOKEN = re.compile(r"[A-Za-z_-]*+")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}|[\x80-\xff]")
_PATH = re.compile(r"[/?;]")
_ALLOW = ("allow",)
_DISALLOW = ("disallow", "dissallow", "dissalow", "disalow", "diasllow", "disallaw")
_AGENT = ("user-agent", "useragent", "user agent")
_SITEMAP = ("sitemap", "site-map")
EVERYBODY = "*"
CONTENT = ("content-signal", "content-usage")
"""Keys of lines that say what may be done with what is fetched."""


@dataclass(frozen=True, slots=True)
class Named:
    """One `User-agent` line. `token` is what readers compare ("*" = everybody), `written` all that stands there."""

    token: str
    written: str
    line: int

    @property
    def everybody(self) -> bool:
        return self.token == EVERYBODY


@dataclass(frozen=True, slots=True)
class PathRule:
    """One `Allow` or `Disallow` line; `pattern` is ASCII, percent-encoded, and may be empty (it says nothing then)."""

    allow: bool
    pattern: str
    line: int

    def matches(self, path: str) -> bool:
        return pattern_matches(self.pattern, path)


@dataclass(frozen=True, slots=True)
class Line:
    """Any other line, key in lower case."""

    key: str
    value: str
    line: int


@dataclass(frozen=True, slots=True)
class Group:
    """Agents and what they are told. `content` holds Content-Signal and Content-Usage lines, all as written."""

    agents: tuple[Named, ...]
    rules: tuple[PathRule, ...]
    crawl_delay: Line | None
    content: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Robots:
    """A whole file. `others` are lines with a key that no rule here reads, and rules that stand above every group."""

    groups: tuple[Group, ...]
    sitemaps: tuple[Line, ...]
    others: tuple[Line, ...]
    truncated: bool = False

    def groups_of(self, token: str) -> tuple[Group, ...]:
        """The groups that an agent with this token obeys: those that name it, else those for everybody."""
        return self.groups_naming((token,)) or self.groups_naming((EVERYBODY,))

    def groups_naming(self, tokens: Iterable[str]) -> tuple[Group, ...]:
        wanted = {token.lower() for token in tokens}
        return tuple(group for group in self.groups if any(named.token.lower() in wanted for named in group.agents))

    def allowed(self, token: str, address: str) -> bool:
        """May the agent fetch it? `address` is a path, with its query if it has one, or a URL; percent-encoded."""
        path = path_of(address)
        longest = {True: 0, False: 0}
        for group in self.groups_of(token):
            for rule in effective(group.rules):
                if len(rule.pattern) > longest[rule.allow] and rule.matches(path):
                    longest[rule.allow] = len(rule.pattern)
        return longest[False] <= longest[True]


def effective(rules: Iterable[PathRule]) -> tuple[PathRule, ...]:
    """The rules that say something, and what they say besides: who allows `/x/index.html` allows `/x/` (Google)."""
    found: list[PathRule] = []
    for rule in rules:
        if rule.pattern:
            found.append(rule)
        folder, slash, last = rule.pattern.rpartition("/")
        if rule.allow and slash and last.startswith("index.htm"):
            found.append(PathRule(True, f"{folder}/$", rule.line))
    return tuple(found)


def pattern_matches(pattern: str, path: str) -> bool:
    """`*` is any run of characters, slashes too; `$` at the end is the end. Each piece is looked for once, in order."""
    ends = pattern.endswith("$")
    pieces = (pattern[:-1] if ends else pattern).split("*")
    if len(pieces) == 1:
        return path == pieces[0] if ends else path.startswith(pieces[0])
    if not path.startswith(pieces[0]):
        return False
    at, last = len(pieces[0]), pieces.pop()
    for piece in pieces[1:]:
        at = path.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return path.endswith(last) and len(path) - len(last) >= at if ends else path.find(last, at) >= 0


T = TypeVar("T")


class Patterns(Generic[T]):
    """Many patterns, each with what it stands for, of which those that match a path are found without trying all:
    only those with a `*` are tried, where the path begins like them. Immutable after construction."""

    def __init__(self, pairs: Iterable[tuple[str, T]]) -> None:
        self._plain: dict[str, list[tuple[int, str, T]]] = {}
        self._starred: dict[str, list[tuple[str, tuple[int, str, T]]]] = {}
        for place, (pattern, value) in enumerate(pairs):
            entry = (place, pattern, value)
            if "*" in pattern:
                head, *pieces = pattern.removesuffix("$").split("*")
                telling = max(pieces, key=len)  # most paths do not hold it
                self._starred.setdefault(head, []).append((telling, entry))
            else:
                self._plain.setdefault(pattern, []).append(entry)
        self._lengths = sorted({len(pattern) for pattern in self._plain})
        self._heads = sorted({len(head) for head in self._starred})

    @property
    def starred(self) -> int:
        """How many have to be tried at most for a path."""
        return sum(map(len, self._starred.values()))

    def matching(self, path: str) -> list[tuple[str, T]]:
        """The patterns that match, with their values, in the order they were given in. An empty pattern always does."""
        found = list(self._plain.get(f"{path}$", ()))
        for length in self._lengths:
            if length > len(path):
                break
            for entry in self._plain.get(path[:length], ()):
                if not entry[1].endswith("$"):
                    found.append(entry)
        for length in self._heads:
            if length > len(path):
                break
            for telling, entry in self._starred.get(path[:length], ()):
                if telling in path and pattern_matches(entry[1], path):
                    found.append(entry)
        return [(pattern, value) for _, pattern, value in sorted(found, key=lambda entry: entry[0])]


def path_of(address: str) -> str:
    """Path, parameters and query of a URL, with or without scheme and host; "/" when there is none."""
    start = 2 if address.startswith("//") else 0
    early = _PATH.search(address, start)
    scheme = address.find("://", start)
    if scheme >= 0 and (early is None or early.start() > scheme):
        start, early = scheme + 3, _PATH.search(address, scheme + 3)
    end = address.find("#")
    if early is None or 0 <= end < early.start():
        return "/"
    path = address[early.start() :] if end < 0 else address[early.start() : end]
    return path if path.startswith("/") else "/" + path


def cut_token(written: str) -> str:
    """The product token at the start of `written` (RFC 9309 2.2.1): letters, `_` and `-`; digits end it."""
    match = _TOKEN.match(written)
    return match[0] if match else ""


def escape_pattern(value: str) -> str:
    """`value` (one character a byte) with bytes above ASCII percent-encoded and all escapes in capitals."""
    return _ESCAPE.sub(lambda match: match[0].upper() if len(match[0]) == 3 else f"%{ord(match[0]):02X}", value)


def read_robots(text: bytes | str) -> Robots:
    """Everything that `text` says. There are no errors: what cannot be read says nothing."""
    octets = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    truncated = len(octets) > MAX_BYTES
    if truncated:  # a rule cut in two could forbid everything: the last line is given up whole
        octets = octets[:MAX_BYTES]
        octets = octets[: max(octets.rfind(b"\n"), octets.rfind(b"\r")) + 1]
    reader = _Reader()
    for number, line in enumerate(_lines(octets), start=1):
        key, value = _split(line)
        if key:
            reader.take(key, value, number)
    return reader.robots(truncated)


def _lines(octets: bytes) -> list[str]:
    """Lines end in CR, LF or CRLF. A byte-order mark, even half of one, is passed over."""
    for length in (3, 2, 1):
        if octets.startswith(b"\xef\xbb\xbf"[:length]):
            octets = octets[length:]
            break
    text = octets.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")
    return [line[:MAX_LINE_BYTES].partition("\0")[0] for line in text.split("\n")]


def _split(line: str) -> tuple[str, str]:
    """Key and value of a line; ("", "") when it has none. A forgotten colon is understood: `disallow /x`."""
    line = line.partition("#")[0].strip(_BLANK)
    key, colon, value = line.partition(":")
    if not colon:
        words = line.replace("\t", " ").split(" ", 1)
        key, value = words[0], words[1].lstrip(" ") if len(words) == 2 else ""
        if not value or " " in value:
            return "", ""
    return key.strip(_BLANK), value.strip(_BLANK)


class _Reader:
    """The group that is open, and those that are done."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.sitemaps: list[Line] = []
        self.others: list[Line] = []
        self._agents: list[Named] = []
        self._rules: list[PathRule] = []
        self._content: list[Line] = []
        self._delay: Line | None = None

    def take(self, key: str, value: str, number: int) -> None:
        name = key.lower()
        line = Line(name, _text(value), number)
        if name.startswith(_AGENT):
            if self._rules:
                self._close()
            self._agents.append(Named(_token(value), _text(value), number))
        elif name.startswith((*_ALLOW, *_DISALLOW)):
            if self._agents:
                self._rules.append(PathRule(name.startswith(_ALLOW), escape_pattern(value), number))
            else:
                self.others.append(line)
        elif name.startswith(_SITEMAP):
            self.sitemaps.append(line)
        elif name in CONTENT and self._agents:
            self._content.append(line)
        elif name == "crawl-delay" and self._agents:
            self._delay = self._delay or line
        else:
            self.others.append(line)

    def _close(self) -> None:
        if self._agents:
            self.groups.append(Group(tuple(self._agents), tuple(self._rules), self._delay, tuple(self._content)))
        self._agents, self._rules, self._content, self._delay = [], [], [], None

    def robots(self, truncated: bool) -> Robots:
        self._close()
        return Robots(tuple(self.groups), tuple(self.sitemaps), tuple(self.others), truncated)


def _token(value: str) -> str:
    """`*` alone or before a blank is everybody."""
    return EVERYBODY if value == "*" or (value[:1] == "*" and value[1:2] in _BLANK) else cut_token(value)


def _text(value: str) -> str:
    """What the bytes say in UTF-8, for people."""
    return value.encode("latin-1").decode("utf-8", "replace")

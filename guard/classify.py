"""What a request says it is, and what it asks for.

Agents: the User-Agent's URLs and e-mail addresses are cut out, then product tokens are looked up at word
boundaries, without regard to case. One pass over the words, one dictionary lookup a word: the cost does not
depend on how many agents are known, only on the length of the text. A token in the middle of another word
(`NotGPTBot`, `GPTBotish`) never matches. What no entry claims is a browser when ua-parser names one, else
unknown: neither is an exemption.

Routes: path patterns from the policy. `*` stands for one segment or a part of one, `**` for any number of
segments. The first pattern that matches wins; without any, the policy's stated default.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from guard.documents import Mapping, Node, Scalar, Sequence, read_document
from guard.errors import CatalogueError, Problem
from guard.model import CATEGORIES, PURPOSES, UNKNOWN_AGENT, Agent, Browser, Verification

BROWSER_AGENT = Agent("browser", "", "", "", "browser", ("browser",))
"""A User-Agent in the shape of a browser, with no catalogue token in it."""

MATCHES = ("token", "token/", "exact", "robots-only", "none")
MAX_USER_AGENT_BYTES = 32 * 1024

# When several tokens stand in one User-Agent, the claim that a rights holder cares most about counts.
PRECEDENCE = [
    "ai-train",
    "ai-audio",
    "ai-dataset",
    "ai-search",
    "ai-assistant",
    "ai-agent",
    "ai-other",
    "ripper",
    "headless",
    "search",
    "seo",
    "archive",
    "preview",
    "feed",
    "monitoring",
    "ads",
    "security",
    "player",
    "device",
    "tool",
    "library",
    "browser",
    "declared-unknown",
    "unknown",
]
_RANK = {category: rank for rank, category in enumerate(PRECEDENCE)}

_WORD = re.compile(r"[a-z0-9]++")
_URL = re.compile(r"https?+://[^\s;,()<>\"']*+")
_MAIL = "abcdefghijklmnopqrstuvwxyz0123456789._%+-"


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    agent: Agent
    rank: tuple[int, int]
    lead: int


class Catalogue:
    """All known agents, indexed by the first word of their product token. Immutable after construction."""

    __slots__ = ("_by_word", "_exact", "agents", "by_name")

    def __init__(self, agents: Iterable[Agent]) -> None:
        self.agents = tuple(agents)
        self.by_name = {agent.name.lower(): agent for agent in self.agents}
        self._by_word: dict[str, list[_Token]] = {}
        self._exact: dict[str, _Token] = {}
        for agent in self.agents:
            text = (agent.product_token or agent.robots_token).lower()
            if agent.match in ("token", "token/", "robots-only"):  # nobody genuine sends a control name: still a claim
                word = _WORD.search(text)
                if word is None:
                    raise ValueError(f"agent '{agent.name}': product token has no letter or digit")
                token = _Token(text, agent, (_RANK[agent.category], -len(text)), word.start())
                self._by_word.setdefault(word[0], []).append(token)
            elif agent.match == "exact":
                self._exact[text] = _Token(text, agent, (_RANK[agent.category], -len(text)), 0)

    def find(self, user_agent: bytes) -> Agent:
        """The agent that `user_agent` claims to be (all header lines, joined by newlines)."""
        claimed = self.claimed(user_agent)
        if claimed is not None:
            return claimed
        return BROWSER_AGENT if _looks_like_browser(user_agent) else UNKNOWN_AGENT

    def claimed(self, user_agent: bytes) -> Agent | None:
        """The entry that has a token in `user_agent`; None when none has, be it a browser or unknown."""
        if len(user_agent) > MAX_USER_AGENT_BYTES:  # no text in front may hide a token at the end
            half = MAX_USER_AGENT_BYTES // 2
            user_agent = user_agent[:half] + b"\n" + user_agent[-half:]
        text = user_agent.decode("latin-1").lower()
        best: _Token | None = None
        for line in text.split("\n"):
            exact = self._exact.get(line.strip(" \t\"'"))
            if exact is not None and (best is None or exact.rank < best.rank):
                best = exact
        for token in self._tokens(cut_addresses(text)):
            if best is None or token.rank < best.rank:
                best = token
        return best.agent if best is not None else None

    def _tokens(self, text: str) -> Iterator[_Token]:
        """Every token in `text`; of several that start with the same word, the longest (AI2Bot-Dolma, not AI2Bot)."""
        for word in _WORD.finditer(text):
            longest: _Token | None = None
            for token in self._by_word.get(word[0], ()):
                if (longest is None or len(token.text) > len(longest.text)) and _stands(token, word.start(), text):
                    longest = token
            if longest is not None:
                yield longest


def _stands(token: _Token, at: int, text: str) -> bool:
    """Does `token` stand in `text` with its first word at `at`, and nothing alphanumeric after it?"""
    start = at - token.lead
    end = start + len(token.text)
    if start < 0 or not text.startswith(token.text, start):
        return False
    if end < len(text) and text[end].isascii() and text[end].isalnum():
        return False
    return token.agent.match != "token/" or start == 0 or _version_follows(text, end)


def _version_follows(text: str, end: int) -> bool:
    return text[end : end + 1] == "/" and text[end + 1 : end + 2].isdigit()


def cut_addresses(text: str) -> str:
    """`text` (lower case) without URLs and e-mail addresses; words keep their distance. Linear time."""
    first, *others = _URL.sub(" ", text).split("@")
    kept = [first]
    for piece in others:
        rest = piece.lstrip(_MAIL)
        if len(rest) < len(piece):  # something that could be a host follows the "@"
            kept[-1] = kept[-1].rstrip(_MAIL)
        kept.append(rest)
    return " ".join(kept)


def _looks_like_browser(user_agent: bytes) -> bool:
    if not user_agent.startswith((b"Mozilla/5.0", b"Opera/")):
        return False
    family = name_browser(user_agent[:512]).family.lower()
    return family != "" and not any(word in family for word in ("bot", "crawler", "spider"))


def warm() -> None:
    """Make ua-parser compile its rules now (half a second, once a process): before workers fork, before requests."""
    name_browser(b"Mozilla/5.0")


@lru_cache(maxsize=2048)
def name_browser(user_agent: bytes) -> Browser:
    """Family and major version as ua-parser names them (its native resolver); empty when it has none."""
    import ua_parser  # a tenth of a second, for those who ask

    found = ua_parser.parse_user_agent(user_agent[:512].decode("latin-1"))
    if found is None or found.family == "Other":
        return Browser("", "")
    return Browser(found.family, found.major or "")


# -- path patterns -----------------------------------------------------------------------------------------


class PathPatterns:
    """Many path patterns, looked up at once in a tree of segments. Immutable after construction.

    `match` gives the positions of all patterns that match, in the order they were given.
    """

    __slots__ = ("_root", "patterns")

    def __init__(self, patterns: Iterable[str], *, case_sensitive: bool = False) -> None:
        self.patterns = tuple(patterns)
        self._root = _Segment()
        for position, pattern in enumerate(self.patterns):
            spelled = pattern if case_sensitive else pattern.encode().lower().decode()
            self._root.add([part for part in spelled.split("/") if part], position)

    def match(self, reading: str) -> tuple[int, ...]:
        """Positions of the patterns that `reading` (see readings.py) falls under."""
        found: set[int] = set()
        self._root.collect([part for part in reading.split("/") if part], 0, found, set())
        return tuple(sorted(found))


class _Segment:
    __slots__ = ("anything", "globs", "here", "literal", "tail")

    def __init__(self) -> None:
        self.literal: dict[str, _Segment] = {}
        self.globs: dict[str, tuple[tuple[str, ...], _Segment]] = {}
        self.anything: _Segment | None = None  # what follows a `**`
        self.tail: list[int] = []  # patterns that end in `**` here
        self.here: list[int] = []  # patterns that end here

    def add(self, parts: list[str], position: int) -> None:
        if not parts:
            self.here.append(position)
        elif parts == ["**"]:
            self.tail.append(position)
        elif parts[0] == "**":
            self.anything = self.anything or _Segment()
            self.anything.add(parts[1:], position)
        elif "*" in parts[0]:
            self.globs.setdefault(parts[0], (tuple(parts[0].split("*")), _Segment()))[1].add(parts[1:], position)
        else:
            self.literal.setdefault(parts[0], _Segment()).add(parts[1:], position)

    def collect(self, parts: list[str], start: int, found: set[int], seen: set[tuple[int, int]]) -> None:
        """Add what matches from `start` on. `seen` keeps the work below nodes x segments, whatever the path."""
        if (id(self), start) in seen:
            return
        seen.add((id(self), start))
        found.update(self.tail)
        if self.anything is not None:
            for skip in range(start, len(parts) + 1):
                if (id(self.anything), skip) in seen:
                    break  # whoever was here has gone, or will go, on to the end
                self.anything.collect(parts, skip, found, seen)
        if start == len(parts):
            found.update(self.here)
            return
        part = parts[start]
        if (literal := self.literal.get(part)) is not None:
            literal.collect(parts, start + 1, found, seen)
        for pieces, following in self.globs.values():
            if glob_matches(pieces, part):
                following.collect(parts, start + 1, found, seen)


def glob_matches(pieces: tuple[str, ...], text: str) -> bool:
    """Does `text` match the glob whose literal pieces (what `*` separates) are `pieces`? Linear: no backtracking."""
    first, last = pieces[0], pieces[-1]
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    at, stop = len(first), len(text) - len(last)
    for piece in pieces[1:-1]:
        at = text.find(piece, at, stop)
        if at < 0:
            return False
        at += len(piece)
    return True


def specimen(pattern: str) -> str:
    """A path that falls under `pattern`."""
    return pattern.replace("**", "x/x").replace("*", "x")


# -- the catalogue's files ---------------------------------------------------------------------------------

_AGENT_KEYS = [
    "name",
    "product_token",
    "robots_token",
    "category",
    "purposes",
    "match",
    "respects_robots",
    "verification",
    "docs",
    "samples",
    "not_samples",
]
_REQUIRED = ("name", "product_token", "category", "purposes")


def load_catalogue(directory: Path | None = None) -> Catalogue:
    """Every agent file in `directory` (default: those that ship). Raises CatalogueError with all problems."""
    folder = directory or Path(__file__).parent / "agents"
    problems: list[Problem] = []
    agents: list[Agent] = []
    for file in sorted(folder.glob("*.yaml")):
        try:
            text = file.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            problems.append(Problem(file.name, 0, f"not UTF-8 text: {error.reason}"))
            continue
        node, found = read_document(text, file.name)
        problems += found
        if isinstance(node, Mapping):
            agents += _read_agents(node, file.name, problems)
        elif not found:
            problems.append(Problem(file.name, 1, "expected 'operator:' and 'agents:'"))
    names: dict[str, str] = {}
    for agent in agents:
        if agent.name.lower() in names:
            problems.append(Problem(folder.name, 0, f"agent '{agent.name}' is described twice"))
        names[agent.name.lower()] = agent.name
    if problems:
        raise CatalogueError(tuple(problems))
    return Catalogue(agents)


def _read_agents(document: Mapping, file: str, problems: list[Problem]) -> list[Agent]:
    for key, _ in document.entries:
        if key.text not in ("operator", "agents"):
            problems.append(Problem(file, key.line, f"unknown key '{key.text}'"))
    operator, entries = document.get("operator"), document.get("agents")
    if not isinstance(operator, Scalar) or not isinstance(entries, Sequence):
        problems.append(Problem(file, document.line, "expected 'operator: NAME' and 'agents: [...]'"))
        return []
    agents: list[Agent] = []
    for entry in entries.items:
        if not isinstance(entry, Mapping):
            problems.append(Problem(file, entry.line, "an agent must be a mapping"))
        elif (agent := _read_agent(entry, operator.text, file, problems)) is not None:
            agents.append(agent)
    return agents


def _read_agent(entry: Mapping, operator: str, file: str, problems: list[Problem]) -> Agent | None:
    before = len(problems)
    for key, _ in entry.entries:
        if key.text not in _AGENT_KEYS:
            problems.append(Problem(file, key.line, f"unknown key '{key.text}' in an agent"))
    for key_name in _REQUIRED:
        if entry.get(key_name) is None:
            problems.append(Problem(file, entry.line, f"an agent without '{key_name}'"))
    name, category = _text(entry, "name"), _text(entry, "category")
    purposes, match = _texts(entry.get("purposes")), _text(entry, "match") or "token"
    samples = _texts(entry.get("samples"))
    if category not in CATEGORIES:
        problems.append(Problem(file, entry.line, f"agent '{name}': unknown category '{category}'"))
    for purpose in purposes:
        if purpose not in PURPOSES:
            problems.append(Problem(file, entry.line, f"agent '{name}': unknown purpose '{purpose}'"))
    if match not in MATCHES:
        problems.append(Problem(file, entry.line, f"agent '{name}': unknown match '{match}'"))
    if match in ("token", "token/") and not _WORD.search(_text(entry, "product_token").lower()):
        problems.append(Problem(file, entry.line, f"agent '{name}': no letter or digit to look for"))
    if match in ("token", "token/", "exact") and not samples:
        problems.append(Problem(file, entry.line, f"agent '{name}': no sample User-Agent"))
    if not re.fullmatch(r"[A-Za-z_-]*+", _text(entry, "robots_token")):
        problems.append(Problem(file, entry.line, f"agent '{name}': not a robots token (RFC 9309 2.2.1)"))
    if len(problems) > before:
        return None
    return Agent(
        name=name,
        product_token=_text(entry, "product_token"),
        robots_token=_text(entry, "robots_token"),
        operator=operator,
        category=category,
        purposes=purposes,
        match=match,
        verification=_read_verification(entry.get("verification")),
        docs=_text(entry, "docs"),
        respects_robots=_text(entry, "respects_robots") or "unknown",
        samples=samples,
        not_samples=_texts(entry.get("not_samples")),
    )


def _read_verification(node: Node | None) -> tuple[Verification, ...]:
    if not isinstance(node, Sequence):
        return ()
    return tuple(
        Verification(_text(item, "kind"), _texts(item.get("sources")))
        for item in node.items
        if isinstance(item, Mapping)
    )


def _text(mapping: Mapping, key: str) -> str:
    node = mapping.get(key)
    return node.text if isinstance(node, Scalar) else ""


def _texts(node: Node | None) -> tuple[str, ...]:
    if isinstance(node, Sequence):
        return tuple(item.text for item in node.items if isinstance(item, Scalar))
    return (node.text,) if isinstance(node, Scalar) else ()

"""What a request says it is.

The text of User-Agent is folded first (compatibility forms and invisible characters, which hide a name from nobody
but machines), then URLs and e-mail addresses are cut out, then product tokens are looked up at word boundaries,
without regard to case. All tokens stand in one automaton over words, so one pass finds them, however many agents are
known and however long the text is. A token in the middle of another word (`NotGPTBot`, `GPTBotish`) never matches.

What no entry claims may still declare that it is a robot (see `declared.py`); else it is a browser when ua-parser
names one; else unknown. None of these is an exemption.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from guard.declared import DECLARED, kind_of_declared
from guard.model import UNKNOWN_AGENT, Agent, Browser

BROWSER_AGENT = Agent("browser", "", "", "", "browser", ("browser",), confidence="medium")
"""A User-Agent in the shape of a browser, with no catalogue token in it."""

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

_PIECE = re.compile(r"[a-z0-9]++|[^a-z0-9]")
_URL = re.compile(r"(?:https?+://|(?<![a-z0-9.])www\.)[^\s;,()<>\"']*+")
_MAIL = "abcdefghijklmnopqrstuvwxyz0123456789._%+-"
_INVISIBLE = dict.fromkeys(
    (
        0x00AD,  # soft hyphen
        0x034F,  # combining grapheme joiner
        0x061C,  # Arabic letter mark
        0x115F,
        0x1160,  # Hangul fillers
        0x17B4,
        0x17B5,  # Khmer inherent vowels
        *range(0x180B, 0x1810),  # Mongolian selectors
        *range(0x200B, 0x2010),  # zero-width spaces, joiners, marks of direction
        *range(0x202A, 0x202F),  # embeddings of direction
        *range(0x2060, 0x2070),  # word joiner, invisible operators
        0x3164,
        *range(0xFE00, 0xFE10),  # variation selectors
        0xFEFF,  # byte order mark
        0xFFA0,
        *range(0xE0000, 0xE0080),  # tags
        *range(0xE0100, 0xE01F0),
    )
)


@dataclass(frozen=True, slots=True)
class _Token:
    """A product token; `words` are its pieces as `_PIECE` cuts them."""

    agent: Agent
    rank: tuple[int, int]
    needs_version: bool


class _Step:
    """A state of the automaton: what may follow, and the token that ends here."""

    __slots__ = ("here", "next")

    def __init__(self) -> None:
        self.next: dict[str, _Step] = {}
        self.here: _Token | None = None


class Catalogue:
    """All known agents, their product tokens in one automaton over words. Immutable after construction."""

    __slots__ = ("_exact", "_start", "agents", "by_name")

    def __init__(self, agents: Iterable[Agent]) -> None:
        """Raises ValueError for a token that begins or ends with anything but a letter or a digit."""
        self.agents = tuple(agents)
        self.by_name = {agent.name.lower(): agent for agent in self.agents}
        self._start = _Step()
        self._exact: dict[str, _Token] = {}
        for agent in self.agents:
            text = (agent.product_token or agent.robots_token).lower()
            token = _Token(agent, (_RANK[agent.category], -len(text)), agent.match == "token/")
            if agent.match in ("token", "token/", "robots-only"):  # nobody genuine sends a control name: still a claim
                pieces = _PIECE.findall(text)
                if not pieces or not pieces[0].isalnum() or not pieces[-1].isalnum():
                    raise ValueError(f"agent '{agent.name}': '{text}' must begin and end with a letter or a digit")
                step = self._start
                for piece in pieces:
                    step = step.next.setdefault(piece, _Step())
                if step.here is None or token.rank < step.here.rank:
                    step.here = token
            elif agent.match == "exact":
                self._exact[text] = token

    def find(self, user_agent: bytes) -> Agent:
        """The agent that `user_agent` claims to be (all header lines, joined by newlines)."""
        text = read_text(user_agent)
        cut = cut_addresses(text)
        pieces = _PIECE.findall(cut)
        claimed = self._claimed(text, pieces)
        if claimed is not None and claimed.category not in ("player", "device", "browser", "library"):
            return claimed
        kind = kind_of_declared(text, cut, claimed.product_token.lower() if claimed is not None else "")
        if kind:
            return DECLARED[kind]
        if claimed is not None:
            return claimed
        return BROWSER_AGENT if _looks_like_browser(user_agent) else UNKNOWN_AGENT

    def claimed(self, user_agent: bytes) -> Agent | None:
        """The entry that has a token in `user_agent`; None when none has, be it a browser or unknown."""
        text = read_text(user_agent)
        return self._claimed(text, _PIECE.findall(cut_addresses(text)))

    def _claimed(self, text: str, pieces: list[str]) -> Agent | None:
        found = list(self._tokens(pieces))
        if self._exact:
            for line in text.split("\n"):
                exact = self._exact.get(line.strip(" \t\"'"))
                if exact is not None:
                    found.append(exact)
        if len(found) < 2:
            return found[0].agent if found else None
        names = {token.agent.name for token in found}
        for token in found:
            if not names.isdisjoint(token.agent.instead_of):
                return token.agent
        return min(found, key=lambda token: token.rank).agent

    def _tokens(self, pieces: list[str]) -> Iterator[_Token]:
        """Every token in the text; of several that start at the same word, the longest (AI2Bot-Dolma, not AI2Bot)."""
        start = self._start.next
        last = len(pieces)
        for at, piece in enumerate(pieces):
            step = start.get(piece)
            if step is None:
                continue
            longest: _Token | None = None
            after = at + 1
            while True:
                token = step.here
                if token is not None and (
                    not token.needs_version
                    or at == 0
                    or pieces[at - 1] == "\n"
                    or (after + 1 < last and pieces[after] == "/" and pieces[after + 1][0].isdigit())
                ):
                    longest = token
                if after >= last:
                    break
                following = step.next.get(pieces[after])
                if following is None:
                    break
                step = following
                after += 1
            if longest is not None:
                yield longest


def read_text(user_agent: bytes) -> str:
    """The text that `user_agent` shows to a reader, in lower case: compatibility forms folded (NFKC), invisible
    characters gone. Bytes that are not UTF-8 are read as latin-1."""
    if len(user_agent) > MAX_USER_AGENT_BYTES:  # no text in front may hide a token at the end
        half = MAX_USER_AGENT_BYTES // 2
        user_agent = user_agent[:half] + b"\n" + user_agent[-half:]
    if user_agent.isascii():
        return user_agent.decode("ascii").lower()
    try:
        text = user_agent.decode("utf-8")
    except UnicodeDecodeError:
        text = user_agent.decode("latin-1")
    return unicodedata.normalize("NFKC", text.translate(_INVISIBLE)).lower()


def cut_addresses(text: str) -> str:
    """`text` (lower case) without URLs and e-mail addresses; words keep their distance. Linear time."""
    if "://" in text or "www." in text:
        text = _URL.sub(" ", text)
    if "@" not in text:
        return text
    first, *others = text.split("@")
    kept = [first]
    for piece in others:
        rest = piece.lstrip(_MAIL)
        if len(rest) < len(piece):  # something that could be a host follows the "@"
            kept[-1] = kept[-1].rstrip(_MAIL)
        kept.append(rest)
    return " ".join(kept)


def _looks_like_browser(user_agent: bytes) -> bool:
    if not user_agent.startswith((b"Mozilla/5.0", b"Mozilla/4.0 (compatible; MSIE", b"Opera/")):
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

"""Whose work it is, and what its holders allow: choices of many layers, and what follows from them. Pure.

The law: of what the layers say, the most restrictive counts; a narrower one lifts a wider one's reservation only
with the explicit word `open`; and while a label's contract lasts, what it reserves nobody below it opens or
licenses. Silence says nothing. Stems and voices are opened only by a word about stems or voices, and where nobody
says anything of them they are reserved for their holder.

Sources: IETF AIPREF vocab-08 (purposes; "any n wins"), TDMRep and RSL 1.0 (narrower scope, contact, licence),
Freesound's panel (a stricter default for voices).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import groupby
from math import inf
from typing import Any, NamedTuple

from guard.errors import ChoiceError
from guard.model import KINDS, Agent, Identity
from guard.moments import read_moment, write_moment

LAYERS = ("platform", "label", "artist", "podcast", "release", "track", "episode")
"""The widest first. A track stands under its release, artists and label; an episode under its podcast."""

HOLDINGS = LAYERS[1:]
"""The layers that a register knows; the platform's word stands in the policy."""

AIPREF = ("train-ai", "ai-use", "search")
FINER = ("assistant", "agent", "archive", "preview", "seo")
PURPOSES = (*AIPREF, *FINER)
"""What a holder may speak of. Nobody can reserve a work against players, feed readers or browsers."""

WITHIN = {"assistant": "ai-use", "agent": "ai-use"}
"""Finer purposes, and the wider one whose word counts where they have none."""

WORDS = ("allow", "disallow", "open")
STRICT_KINDS = ("stems", "voice")
RESERVED_FOR_HOLDERS = ("train-ai", "ai-use")
EVERY_KIND = ("", *KINDS)

PROOFS = ("verified", "claim")
"""What a licensee must show: an identity that was verified, or only the name."""

_RANK = {layer: rank for rank, layer in enumerate(LAYERS)}
_MEANT = {"no": "disallow", "deny": "disallow", "block": "disallow", "yes": "allow", "n": "disallow", "y": "allow"}
MAX_ID_CHARS = 512
MAX_TEXT_CHARS = 2_000
MAX_LICENCES = 64


class Work(NamedTuple):
    """One holding: `layer` is one of LAYERS, `id` what the platform calls it (any text)."""

    layer: str
    id: str

    def __str__(self) -> str:
        return f"{self.layer}:{self.id}" if self.id else self.layer


PLATFORM = Work("platform", "")


class Licence(NamedTuple):
    """Who may in spite of a reservation. `to` is operator:NAME, agent:NAME or key:THUMBPRINT (lower case but for keys).

    No purposes or kinds named: all of them. `proof` is one of PROOFS. In force from `from_s` until before `until_s`.
    """

    to: str
    purposes: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    from_s: float = -inf
    until_s: float = inf
    proof: str = "verified"


@dataclass(frozen=True, slots=True)
class Choice:
    """What one holder has said about one work. `preferences`: kind ("" = every kind) -> purpose -> one of WORDS.

    `licences` None means that nothing was said of them; () that there are none, which also ends those of wider layers.
    `territory` is noted and published, not enforced. `by`, `at_s` and `reason`: who said it, when (seconds since
    1970), and why.
    """

    preferences: Mapping[str, Mapping[str, str]]
    licences: tuple[Licence, ...] | None = None
    from_s: float = -inf
    until_s: float = inf
    territory: str = ""
    contact: str = ""
    licence_url: str = ""
    by: str = ""
    at_s: float = 0.0
    reason: str = ""

    def in_force(self, now_s: float) -> bool:
        return self.from_s <= now_s < self.until_s


Chain = tuple[tuple[Work, Choice | None], ...]
"""A work and all that stands above it, in any order; None for those who have said nothing."""


class Rights:
    """What follows for one work: for every kind, what is allowed and what is not. Compared by identity.

    `preferences`: kind -> purpose -> "allow" or "disallow", for each of EVERY_KIND; a purpose that nobody speaks of
    is missing. `opened` are those that a holder opened against a wider reservation. `until_s` is the moment at which
    some word begins or ends.
    """

    __slots__ = ("_bound", "contact", "licence_url", "licences", "opened", "preferences", "territory", "until_s")

    def __init__(
        self,
        preferences: Mapping[str, Mapping[str, str]],
        *,
        opened: frozenset[tuple[str, str]] = frozenset(),
        bound: frozenset[tuple[str, str]] = frozenset(),
        licences: tuple[tuple[Licence, bool], ...] = (),
        contact: str = "",
        licence_url: str = "",
        territory: str = "",
        until_s: float = inf,
    ) -> None:
        """`licences` come with whether a label's contract stands above who gave them."""
        self.preferences = preferences
        self.opened = opened
        self.licences = licences
        self.contact = contact
        self.licence_url = licence_url
        self.territory = territory
        self.until_s = until_s
        self._bound = bound

    def stated(self, kind: str) -> Mapping[str, str]:
        """The words for one kind ("" = for what has none)."""
        return self.preferences[kind]

    def word(self, kind: str, purpose: str) -> str:
        """allow, disallow or "" (unstated)."""
        said = self.preferences[kind]
        return said.get(purpose) or said.get(WITHIN.get(purpose, ""), "")

    def standing(self, kind: str, agent: Agent, identity: Identity, keys: Iterable[str] = ()) -> str:
        """How `agent` stands to works of this kind: reserved, licensed, open or unstated.

        Open when everything it fetches for is allowed; licensed when all that is reserved is licensed to it. `keys`
        are thumbprints of keys that the request has proved to hold.
        """
        asked = purposes_of(agent)
        words = {purpose: self.word(kind, purpose) for purpose in asked}
        reserved = [purpose for purpose, word in words.items() if word == "disallow"]
        if reserved:
            names = (f"operator:{agent.operator.lower()}", f"agent:{agent.name.lower()}")
            named = {*names, *(f"key:{key}" for key in keys)}
            licensed = all(self._licensed(kind, purpose, named, identity) for purpose in reserved)
            return "licensed" if licensed else "reserved"
        return "open" if asked and all(words.values()) else "unstated"

    def _licensed(self, kind: str, purpose: str, named: set[str], identity: Identity) -> bool:
        wider = WITHIN.get(purpose, purpose)
        said = purpose if purpose in self.preferences[kind] else wider  # the word that reserves it
        bound = (kind, said) in self._bound
        for licence, below in self.licences:
            if licence.to not in named or (bound and below):
                continue
            believed = identity is Identity.VERIFIED or (licence.proof == "claim" and identity is not Identity.SPOOFED)
            if not believed and not licence.to.startswith("key:"):
                continue
            covered = not licence.purposes or purpose in licence.purposes or wider in licence.purposes
            if covered and (not licence.kinds or kind in licence.kinds):
                return True
        return False

    @property
    def standing_key(self) -> tuple[object, ...]:
        """All that `standing` goes by, to be compared: whom to ask and where says nothing of who may."""
        said = tuple((kind, *sorted(words.items())) for kind, words in self.preferences.items())
        return said, self._bound, self.licences

    @property
    def key(self) -> tuple[object, ...]:
        """All that it says, to be compared."""
        said = tuple((kind, *sorted(words.items())) for kind, words in self.preferences.items())
        licences = tuple(self.licences)
        return said, self.opened, self._bound, licences, self.contact, self.licence_url, self.territory, self.until_s


def purposes_of(agent: Agent) -> tuple[str, ...]:
    """What an agent fetches for, of what holders may speak of; the finer word in place of the wider one it lies in.

    An AI agent that names no such purpose is taken to feed a model.
    """
    asked = [purpose for purpose in agent.purposes if purpose in PURPOSES]
    if not asked and agent.category.startswith("ai-"):
        return ("ai-use",)
    wider = {WITHIN[purpose] for purpose in asked if purpose in WITHIN}
    return tuple(purpose for purpose in asked if purpose not in wider)


# -- resolving ---------------------------------------------------------------------------------------------


def resolve(chain: Chain, platform: Choice, now_s: float = 0.0) -> Rights:
    """What follows from the platform's word and those of the chain at a moment (seconds since 1970)."""
    layers = in_order(chain)
    until_s = _next_turn([choice for _, choice in chain if choice is not None], now_s)
    groups = [(PLATFORM.layer, [platform])]
    for layer, members in groupby(layers, key=lambda pair: pair[0].layer):
        groups.append((layer, [_now(choice, now_s) for _, choice in members]))
    preferences: dict[str, dict[str, str]] = {}
    opened: set[tuple[str, str]] = set()
    bound: set[tuple[str, str]] = set()
    spoken = {
        purpose for _, choices in groups for one in choices for said in one.preferences.values() for purpose in said
    }
    asked = [purpose for purpose in PURPOSES if purpose in spoken or purpose not in WITHIN]
    for kind in EVERY_KIND:
        preferences[kind] = {}
        for purpose in asked:
            word = ""
            for layer, choices in groups:
                said = _of_one_layer([_word(choice, kind, purpose) for choice in choices])
                if said == "disallow":
                    word = "disallow"
                    opened.discard((kind, purpose))
                    if layer == "label":
                        bound.add((kind, purpose))
                elif said == "open" and (kind, purpose) not in bound:
                    if word == "disallow":
                        opened.add((kind, purpose))
                    word = "allow"
                elif said == "allow":
                    word = word or "allow"
            if not word and kind in STRICT_KINDS and purpose in RESERVED_FOR_HOLDERS:
                word = "disallow"
            if word:
                preferences[kind][purpose] = word
    licences: tuple[tuple[Licence, bool], ...] = ()
    contact = licence_url = territory = ""
    for layer, choices in groups:
        told = [choice for choice in choices if choice.licences is not None]
        if told:
            below = _RANK[layer] > _RANK["label"]
            licences = tuple((licence, below) for licence in _agreed(told, choices, now_s))
        for choice in choices:
            contact, licence_url = choice.contact or contact, choice.licence_url or licence_url
            territory = choice.territory or territory
    return Rights(
        preferences,
        opened=frozenset(opened),
        bound=frozenset(bound),
        licences=licences,
        contact=contact,
        licence_url=licence_url,
        territory=territory,
        until_s=until_s,
    )


def in_order(chain: Chain) -> list[tuple[Work, Choice | None]]:
    """The chain from the widest layer to the narrowest."""
    return sorted(chain, key=lambda pair: (_RANK[pair[0].layer], pair[0].id))


_SILENCE = Choice({})


def _now(choice: Choice | None, now_s: float) -> Choice:
    return choice if choice is not None and choice.in_force(now_s) else _SILENCE


def _word(choice: Choice, kind: str, purpose: str) -> str:
    """What a choice says of a purpose for a kind; a general word opens no stems and no voices."""
    for sought in (purpose, WITHIN.get(purpose, "")):
        own = choice.preferences.get(kind, {}).get(sought, "") if kind else ""
        said = own or choice.preferences.get("", {}).get(sought, "")
        strict = kind in STRICT_KINDS and WITHIN.get(purpose, purpose) in RESERVED_FOR_HOLDERS
        if said and (own or said == "disallow" or not strict):
            return said
    return ""


def _of_one_layer(words: Sequence[str]) -> str:
    """Of several holders on one layer (two artists of one track), the most restrictive; all must open to open."""
    if "disallow" in words:
        return "disallow"
    if "" in words:
        return "allow" if "allow" in words or "open" in words else ""
    return "allow" if "allow" in words else "open"


def _agreed(told: Sequence[Choice], choices: Sequence[Choice], now_s: float) -> tuple[Licence, ...]:
    """The licences of one layer; of several holders, those that all have given."""
    lists = [choice.licences or () for choice in told]
    if len(told) < len(choices):
        return ()
    common = [licence for licence in lists[0] if all(licence in other for other in lists[1:])]
    return tuple(licence for licence in common if licence.from_s <= now_s < licence.until_s)


def _next_turn(choices: Iterable[Choice], now_s: float) -> float:
    """The next moment at which some word begins or ends; inf when none does."""
    turns: list[float] = []
    for choice in choices:
        turns += [choice.from_s, choice.until_s]
        for licence in choice.licences or ():
            turns += [licence.from_s, licence.until_s]
    return min((turn for turn in turns if turn > now_s), default=inf)


def strictest(rights: Sequence[Rights]) -> Rights:
    """Of several readings of one address, what is allowed in all of them. Licences count where all agree."""
    first, *others = rights
    if all(other.key == first.key for other in others):
        return first
    preferences: dict[str, dict[str, str]] = {}
    for kind in EVERY_KIND:
        words = {purpose: [one.stated(kind).get(purpose, "") for one in rights] for purpose in PURPOSES}
        preferences[kind] = {
            purpose: "disallow" if "disallow" in said else "allow"
            for purpose, said in words.items()
            if "disallow" in said or "" not in said
        }
    return Rights(
        preferences,
        contact=first.contact,
        licence_url=first.licence_url,
        until_s=min(one.until_s for one in rights),
    )


def strictest_words(stated: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What all of several statements allow, and what any of them disallows."""
    purposes = dict.fromkeys(purpose for one in stated for purpose in one)
    words = {purpose: [one.get(purpose, "") for one in stated] for purpose in purposes}
    return {
        purpose: "disallow" if "disallow" in said else "allow"
        for purpose, said in words.items()
        if "disallow" in said or "" not in said
    }


# -- choices as plain values: registers, the API and the command line read and write this form --------------


def read_work(text: str) -> Work:
    """`track:4711` as a Work. Raises ChoiceError."""
    layer, colon, name = text.partition(":")
    if not colon:
        raise ChoiceError("work", f"'{text}' is no work: write LAYER:ID, like track:4711")
    return check_work(layer, name)


def check_work(layer: str, name: str) -> Work:
    """A Work that a register may hold. Raises ChoiceError."""
    if layer not in HOLDINGS:
        raise ChoiceError("layer", f"unknown layer '{layer}'{_guess(layer, HOLDINGS)}")
    if not name or len(name) > MAX_ID_CHARS or any(char < " " or char == "\x7f" for char in name):
        raise ChoiceError("id", f"an id is 1 to {MAX_ID_CHARS} characters without control characters")
    return Work(layer, name)


_KEYS = (
    "preferences",
    "licences",
    "from",
    "until",
    "territory",
    "contact",
    "licence",
    "by",
    "at",
    "reason",
)
_LICENCE_KEYS = ("to", "purposes", "kinds", "from", "until", "proof")


_CONTACT = re.compile(
    r"""(?:mailto:|https?://|tel:)[^\s"<>\\^`{|}]+|[^\s"<>\\^`{|}@:;,()]+@[^\s"<>\\^`{|}@:;,()]+""", re.IGNORECASE
)
"""An address that may stand in a link, or that of a mailbox."""


def read_choice(said: object, *, kept: bool = False) -> Choice:
    """A choice from plain values (as JSON or YAML has them). Raises ChoiceError with the key and what to write.

    `kept`: it stands in a register, from where nobody can be asked to mend it. Then words that are never in force are
    read as they are, and a contact that nobody could follow is left out.

    {"preferences": {"train-ai": "disallow", "voice": {"ai-use": "open"}}, "licences": [{"to": "operator:X"}],
     "from": "2026-12-01", "until": "2027-11-30", "territory": "EU", "contact": "mailto:…", "licence": "https://…",
     "by": "…", "at": "2026-11-30T12:00Z", "reason": "…"}
    """
    table = _table(said, "", _KEYS)
    preferences = _table(table.get("preferences") or {}, "preferences", (*PURPOSES, *KINDS))
    words: dict[str, dict[str, str]] = {}
    for key, value in preferences.items():
        if key in KINDS:
            inner = _table(value, f"preferences.{key}", PURPOSES)
            words[key] = {purpose: _one_word(word, f"preferences.{key}.{purpose}") for purpose, word in inner.items()}
        else:
            words.setdefault("", {})[key] = _one_word(value, f"preferences.{key}")
    licences = table.get("licences")
    from_s, until_s = _span(table, "", kept=kept)
    return Choice(
        preferences={kind: said for kind, said in words.items() if said},
        licences=None if licences is None else _read_licences(licences, kept=kept),
        from_s=from_s,
        until_s=until_s,
        territory=_text(table, "territory"),
        contact=_contact(table, "contact", kept=kept),
        licence_url=_url(table, "licence"),
        by=_text(table, "by"),
        at_s=_moment(table, "at", 0.0),
        reason=_text(table, "reason"),
    )


def write_choice(choice: Choice) -> dict[str, Any]:
    """The plain values that `read_choice` reads; only what was said."""
    out: dict[str, Any] = {}
    preferences: dict[str, Any] = dict(choice.preferences.get("", {}))
    preferences |= {kind: dict(words) for kind, words in choice.preferences.items() if kind}
    if preferences:
        out["preferences"] = preferences
    if choice.licences is not None:
        out["licences"] = [_write_licence(licence) for licence in choice.licences]
    for key, moment_s, unsaid in (("from", choice.from_s, -inf), ("until", choice.until_s, inf)):
        if moment_s != unsaid:
            out[key] = write_moment(moment_s)
    texts = (choice.territory, choice.contact, choice.licence_url, choice.by, choice.reason)
    for key, text in zip(("territory", "contact", "licence", "by", "reason"), texts, strict=True):
        if text:
            out[key] = text
    if choice.at_s:
        out["at"] = write_moment(choice.at_s)
    return out


def _read_licences(said: object, *, kept: bool) -> tuple[Licence, ...]:
    if not isinstance(said, list | tuple):
        raise ChoiceError("licences", "expected a list: an empty one when there are none")
    if len(said) > MAX_LICENCES:
        raise ChoiceError("licences", f"more than {MAX_LICENCES}")
    return tuple(_read_licence(item, f"licences[{number}]", kept=kept) for number, item in enumerate(said))


def _read_licence(said: object, where: str, *, kept: bool) -> Licence:
    table = _table(said, where, _LICENCE_KEYS)
    kind, colon, name = _text(table, "to", where).partition(":")
    if kind not in ("operator", "agent", "key") or not colon or not name.strip():
        raise ChoiceError(f"{where}.to", "write operator:NAME, agent:NAME or key:THUMBPRINT")
    name = name.strip()
    from_s, until_s = _span(table, where, kept=kept)
    return Licence(
        to=f"{kind}:{name if kind == 'key' else name.lower()}",
        purposes=_several(table, "purposes", where, PURPOSES),
        kinds=_several(table, "kinds", where, tuple(KINDS)),
        from_s=from_s,
        until_s=until_s,
        proof=_choose(table.get("proof", "verified"), f"{where}.proof", PROOFS),
    )


def _write_licence(licence: Licence) -> dict[str, Any]:
    out: dict[str, Any] = {"to": licence.to}
    if licence.purposes:
        out["purposes"] = list(licence.purposes)
    if licence.kinds:
        out["kinds"] = list(licence.kinds)
    for key, moment_s, unsaid in (("from", licence.from_s, -inf), ("until", licence.until_s, inf)):
        if moment_s != unsaid:
            out[key] = write_moment(moment_s)
    if licence.proof != "verified":
        out["proof"] = licence.proof
    return out


def _table(said: object, where: str, known: Sequence[str]) -> dict[str, Any]:
    if not isinstance(said, Mapping):
        raise ChoiceError(where, "expected a mapping (key: value)")
    for key in said:
        if key not in known:
            raise ChoiceError(f"{where}.{key}".lstrip("."), f"unknown key{_guess(str(key), known)}")
    return dict(said)


def _one_word(said: object, where: str) -> str:
    if isinstance(said, str) and (meant := _MEANT.get(said.lower())):
        raise ChoiceError(where, f"'{said}' means {meant} here: say so")
    return _choose(said, where, WORDS)


def _choose(said: object, where: str, known: Sequence[str]) -> str:
    if not isinstance(said, str) or said not in known:
        raise ChoiceError(where, f"unknown word '{said}'{_guess(str(said), known)}")
    return said


def _several(table: Mapping[str, Any], key: str, where: str, known: Sequence[str]) -> tuple[str, ...]:
    said = table.get(key, ())
    items = [said] if isinstance(said, str) else said
    if not isinstance(items, list | tuple):
        raise ChoiceError(f"{where}.{key}", "expected a word or a list of words")
    return tuple(dict.fromkeys(_choose(item, f"{where}.{key}", known) for item in items))


def _text(table: Mapping[str, Any], key: str, where: str = "") -> str:
    said = table.get(key, "")
    place = f"{where}.{key}".lstrip(".")
    if not isinstance(said, str):
        raise ChoiceError(place, "expected text")
    if len(said) > MAX_TEXT_CHARS or any(char < " " or char == "\x7f" for char in said):
        raise ChoiceError(place, f"one line of text, at most {MAX_TEXT_CHARS} characters")
    return said.strip()


def _url(table: Mapping[str, Any], key: str) -> str:
    said = _text(table, key)
    if said and (not said.startswith(("https://", "http://")) or any(char in said for char in ' "<>\\^`{|}')):
        raise ChoiceError(key, f"'{said[:80]}' is no URL: write https://…")
    return said


def _contact(table: Mapping[str, Any], key: str, *, kept: bool) -> str:
    said = _text(table, key)
    if said and not _CONTACT.fullmatch(said):
        if kept:
            return ""
        raise ChoiceError(key, f"'{said[:80]}' is no address: write mailto:…, https://…, tel:… or name@host")
    return said


def _span(table: Mapping[str, Any], where: str, *, kept: bool) -> tuple[float, float]:
    """`from` and `until`."""
    from_s, until_s = _moment(table, "from", -inf, where), _moment(table, "until", inf, where)
    if from_s >= until_s and not kept:
        raise ChoiceError(f"{where}.until".lstrip("."), "is not after 'from': this would never be in force")
    return from_s, until_s


def _moment(table: Mapping[str, Any], key: str, default: float, where: str = "") -> float:
    said = table.get(key)
    if said is None:
        return default
    place = f"{where}.{key}".lstrip(".")
    if not isinstance(said, str):
        raise ChoiceError(place, "expected a date as text, like 2026-12-01")
    try:
        return read_moment(said, end=key == "until")
    except ValueError as error:
        raise ChoiceError(place, f"'{said[:40]}' is no date: {error}") from None


def _guess(word: str, known: Iterable[str]) -> str:
    names = list(known)
    near = get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    return f", did you mean '{near[0]}'?" if near else f" (one of: {', '.join(names)})"


# -- climbing ----------------------------------------------------------------------------------------------

MAX_CHAIN = 64
"""So many works stand above one at most; a register that says more is cut off there."""


def climb(works: Iterable[Work], look: Callable[[Work], tuple[Choice | None, Sequence[Work]] | None]) -> Chain:
    """`works` and all that stands above them. `look` gives what a work's holder said and its parents; None = unknown.

    A parent must be of a wider layer, so that no register can lead in circles.
    """
    found: dict[Work, Choice | None] = {}
    waiting = list(works)
    while waiting and len(found) < MAX_CHAIN:
        work = waiting.pop(0)
        if work in found:
            continue
        known = look(work)
        found[work] = known[0] if known else None
        for parent in known[1] if known else ():
            if _RANK.get(parent.layer, len(LAYERS)) < _RANK[work.layer]:
                waiting.append(parent)
    return tuple(found.items())

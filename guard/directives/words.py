"""The terms that a policy gives the public, as one value, and that value in plain English. Pure.

The law: what is said is what is published and enforced. Preferences are those of the policy, resolved as they are for
a work that nobody has spoken of; who is refused is asked of `decide`, agent by agent, at the policy's own paths. Two
values that are equal say the same sentences, and values that differ always say what differs.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

from guard.classify import BROWSER_AGENT, Catalogue
from guard.conditions import Evidence
from guard.model import CATEGORIES, KINDS, UNKNOWN_AGENT, Agent, Identity, Mode
from guard.moments import write_moment
from guard.patterns import specimen
from guard.policy import Policy, decide
from guard.rights import AIPREF, EVERY_KIND, PURPOSES, STRICT_KINDS, WITHIN, Rights
from guard.verify import genuine

DAY_S = 86_400.0
MAX_COMING = 24
"""So many coming changes are announced at most; what is dated later than these is announced when they are over."""
MAX_EXCEPTIONS = 12
"""So many agents that are not dealt with as their category is are named for each."""

AI_CATEGORIES = tuple(category for category in CATEGORIES if category.startswith("ai-"))
TOLD = (*AI_CATEGORIES, "search", "archive", "preview", "seo")
"""The categories of agents that the public is told of."""

SEVERITY = {"let through": 0, "slowed": 1, "partly refused": 2, "refused": 3}
_WHO = ("agent", "operator", "purpose", "category", "identity")


class Treatment(NamedTuple):
    """How agents are dealt with on audio and everywhere else: a word of SEVERITY, "" = there is no such place."""

    audio: str
    elsewhere: str


class Dealt(NamedTuple):
    """How most agents of a category are dealt with. `exceptions` are others by name, and `more` so many not named."""

    category: str
    treatment: Treatment
    exceptions: tuple[tuple[str, Treatment], ...] = ()
    more: int = 0


Stated = tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
"""(kind, ((purpose, word), …)), the general words first under "", then the kinds that differ from them."""


@dataclass(frozen=True)
class Terms:
    """What the public is told. `works` says what single works' own choices are: "" (not asked), "observe" or "enforce".

    `enforced` False: all is stated and noted, nobody is refused. `notice_days` are promised before anything that is
    reserved is opened.
    """

    stated: Stated = ()
    dealt: tuple[Dealt, ...] = ()
    enforced: bool = True
    works: str = ""
    notice_days: int = 0
    contact: str = ""
    licence: str = ""

    def kinds(self) -> tuple[str, ...]:
        """The kinds whose words are not the general ones."""
        return tuple(kind for kind, _ in self.stated if kind)

    def word(self, kind: str, purpose: str) -> str:
        """allow, disallow or "" (unstated) for a kind ("" = in general)."""
        said = {one: dict(words) for one, words in self.stated}
        words = said.get(kind, said.get("", {}))
        return words.get(purpose) or words.get(WITHIN.get(purpose, ""), "")

    def purposes(self) -> tuple[str, ...]:
        """Those that IETF AIPREF has, and the finer ones that are spoken of."""
        spoken = {purpose for _, words in self.stated for purpose, _ in words}
        return tuple(purpose for purpose in PURPOSES if purpose in AIPREF or purpose in spoken)


class Coming(NamedTuple):
    """Terms that will hold from `start_s`. `claimed_s` is when the policy says it was announced, None = it does not."""

    start_s: float
    terms: Terms
    claimed_s: float | None = None


class Version(NamedTuple):
    """One entry of the record of terms: in force from `start_s` until before `end_s` (inf = until another follows).

    `changes` say what differs from the version before, as `differences` does; `loosened` are those of them by which
    something reserved is reserved no longer. An announcement that was taken back has `withdrawn_s`; it never is in
    force. `record` is the hash of its line in the record.
    """

    id: str
    policy_version: str
    terms_hash: str
    announced_s: float
    start_s: float
    end_s: float
    changes: tuple[str, ...]
    loosened: tuple[str, ...]
    terms: Terms
    withdrawn_s: float = inf
    record: str = ""
    scope: str = ""

    @property
    def notice_s(self) -> float:
        """Seconds between the announcement and the start."""
        return self.start_s - self.announced_s

    @property
    def withdrawn(self) -> bool:
        return self.withdrawn_s < inf


def in_force(versions: Iterable[Version], now_s: float) -> Version | None:
    """The version that holds at a moment."""
    return next((one for one in versions if not one.withdrawn and one.start_s <= now_s < one.end_s), None)


def upcoming(versions: Iterable[Version], now_s: float) -> tuple[Version, ...]:
    """Announced versions that do not hold yet, the nearest first."""
    return tuple(sorted((one for one in versions if not one.withdrawn and one.start_s > now_s), key=_start))


def _start(version: Version) -> float:
    return version.start_s


# -- a policy's terms ----------------------------------------------------------------------------------------


def terms_of(policy: Policy, catalogue: Catalogue, now_s: float = 0.0) -> Terms:
    """The terms of a policy at a moment (seconds since 1970). Of one host only: scopes have terms of their own."""
    policy = policy.at(now_s)
    return Terms(
        stated=_stated(policy),
        dealt=_dealt(policy, catalogue, now_s),
        enforced=policy.mode is Mode.ENFORCE,
        works=policy.rights.mode.value if policy.rights is not None else "",
        notice_days=policy.notice_days,
        contact=policy.site.contact,
        licence=policy.licence_url,
    )


def coming(policy: Policy, catalogue: Catalogue, now_s: float) -> tuple[Coming, ...]:
    """What the dates in a policy will change, the nearest first; moments at which no term changes are left out."""
    found: list[Coming] = []
    claims = {change.from_s: change.announced_s for change in policy.changes}
    before = terms_of(policy, catalogue, now_s)
    for moment in [turn for turn in policy.turns if turn > now_s][:MAX_COMING]:
        terms = terms_of(policy, catalogue, moment)
        if terms != before:
            found.append(Coming(moment, terms, claims.get(moment)))
            before = terms
    return tuple(found)


def _stated(policy: Policy) -> Stated:
    return stated_of(policy, policy.platform_rights)


def stated_of(policy: Policy, rights: Rights) -> Stated:
    """What holds for a work with these rights, for the kinds of content that the policy's site carries."""
    resolved = rights.preferences
    kinds = [kind for kind in EVERY_KIND if _carried(policy, kind)]
    said: list[tuple[str, tuple[tuple[str, str], ...]]] = []
    for kind in kinds:
        words = dict(resolved[kind])
        for purpose, wider in WITHIN.items():  # a finer purpose that only follows the wider one needs no word
            if purpose in words and words[purpose] == words.get(wider):
                del words[purpose]
        entry = tuple((purpose, words[purpose]) for purpose in PURPOSES if purpose in words)
        if not kind or entry != said[0][1]:
            said.append((kind, entry))
    return tuple(said)


def _carried(policy: Policy, kind: str) -> bool:
    """Whether there can be content of this kind: some route class or some path of works carries it, or it is named."""
    if not kind or kind in policy.kind_preferences or KINDS[kind]:
        return True
    if policy.rights is None:
        return False
    return any(path.kind == kind for path in policy.rights.works) or kind in STRICT_KINDS


def _dealt(policy: Policy, catalogue: Catalogue, now_s: float) -> tuple[Dealt, ...]:
    places = _places(policy, now_s)
    names, operators = policy.asked("agent"), policy.asked("operator")
    known: dict[tuple[object, ...], Treatment] = {}
    members: dict[str, list[tuple[str, Treatment]]] = {category: [] for category in TOLD}
    for agent in catalogue.agents:
        if agent.category not in members:
            continue
        identity = _identity(policy, agent)
        name, operator = agent.name.lower(), agent.operator.lower()
        key = (
            name if name in names else "",
            operator if operator in operators else "",
            agent.category,
            agent.purposes,
            identity,
        )
        treatment = known.get(key)
        if treatment is None:
            treatment = known[key] = _treat(policy, agent, identity, places, now_s)
        members[agent.category].append((agent.name, treatment))
    return tuple(_most(category, dealt) for category, dealt in members.items() if dealt)


def _most(category: str, members: Sequence[tuple[str, Treatment]]) -> Dealt:
    counts = Counter(treatment for _, treatment in members)
    usual = max(counts, key=lambda treatment: (counts[treatment], _weight(treatment)))
    others = sorted((pair for pair in members if pair[1] != usual), key=lambda pair: pair[0].lower())
    return Dealt(category, usual, tuple(others[:MAX_EXCEPTIONS]), len(others[MAX_EXCEPTIONS:]))


def _weight(treatment: Treatment) -> tuple[int, ...]:
    return tuple(SEVERITY.get(word, -1) for word in treatment)


def _identity(policy: Policy, agent: Agent) -> Identity:
    """The real one is asked for, where it can be told."""
    return genuine(agent, policy.site.published_networks, policy.verifying)


def _places(policy: Policy, now_s: float) -> tuple[Evidence, ...]:
    """All that the policy can tell apart: one place for each class and set of patterns that its paths fall under.

    Directive files are open to everyone, and where no browser may go says nothing of machines.
    """
    paths = dict.fromkeys(path for entry in policy.routes for path in entry.paths)
    paths |= dict.fromkeys(policy.rule_patterns.patterns)
    found: dict[tuple[object, ...], Evidence] = {}
    for path in (*map(specimen, paths), "/-/guard/-"):
        reading = path if policy.site.case_sensitive else path.encode().lower().decode()
        place = policy.evidence(UNKNOWN_AGENT, Identity.UNVERIFIED, reading, "GET", ())
        if place.route[0] != "directive":
            found.setdefault((place.route, place.path), place)
    places = tuple(found.values())
    tried = _actions(policy, BROWSER_AGENT, Identity.UNKNOWN, places, now_s)
    visited = tuple(place for place, action in tried if action != "block")
    return visited or places


def _actions(
    policy: Policy, agent: Agent, identity: Identity, places: Iterable[Evidence], now_s: float
) -> Iterator[tuple[Evidence, str]]:
    """What is done with an agent at places that were looked up for nobody."""
    said = policy.evidence(agent, identity, "/", "GET", ())
    who = {fact: getattr(said, fact) for fact in _WHO}
    for place in places:
        evidence = place._replace(**who)
        if policy.asks_rights:
            held = policy.platform_rights.standing(policy.kind_of(place.route[0]), agent, identity)
            evidence = evidence._replace(rights=(held,))
        yield place, decide(policy, evidence, now_s).action


def _treat(policy: Policy, agent: Agent, identity: Identity, places: Iterable[Evidence], now_s: float) -> Treatment:
    audio: set[str] = set()
    elsewhere: set[str] = set()
    for place, action in _actions(policy, agent, identity, places, now_s):
        (audio if place.route[0] in KINDS["audio"] else elsewhere).add(action)
    return Treatment(_sum_up(audio), _sum_up(elsewhere))


def _sum_up(actions: set[str]) -> str:
    if not actions:
        return ""
    if "block" in actions:
        return "refused" if len(actions) == 1 else "partly refused"
    return "slowed" if "throttle" in actions else "let through"


# -- as JSON ---------------------------------------------------------------------------------------------------


def write_terms(terms: Terms) -> dict[str, Any]:
    """Terms as plain values, for JSON."""
    return {
        "preferences": {kind or "general": dict(words) for kind, words in terms.stated},
        "agents": {
            one.category: {
                **one.treatment._asdict(),
                "except": {name: treatment._asdict() for name, treatment in one.exceptions},
                "and_more": one.more,
            }
            for one in terms.dealt
        },
        "enforced": terms.enforced,
        "works": terms.works,
        "notice_days": terms.notice_days,
        "contact": terms.contact,
        "licence": terms.licence,
    }


def read_terms(said: Mapping[str, Any]) -> Terms:
    """The terms that `write_terms` wrote. Raises ValueError on what it did not write."""
    try:
        terms = Terms(
            stated=tuple(
                ("" if kind == "general" else _known(kind, EVERY_KIND), _words(said["preferences"][kind]))
                for kind in sorted(said["preferences"], key=lambda kind: ("general", *EVERY_KIND[1:]).index(kind))
            ),
            dealt=tuple(
                Dealt(
                    category,
                    _treatment(said["agents"][category]),
                    tuple(
                        sorted(
                            ((name, _treatment(one)) for name, one in said["agents"][category]["except"].items()),
                            key=lambda pair: pair[0].lower(),
                        )
                    ),
                    int(said["agents"][category]["and_more"]),
                )
                for category in TOLD
                if category in said["agents"]
            ),
            enforced=bool(said["enforced"]),
            works=str(said["works"]),
            notice_days=int(said["notice_days"]),
            contact=str(said["contact"]),
            licence=str(said["licence"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no terms: {type(error).__name__} {error}") from None
    return terms


def _words(said: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((purpose, _known(said[purpose], ("allow", "disallow"))) for purpose in PURPOSES if purpose in said)


def _treatment(said: Mapping[str, str]) -> Treatment:
    return Treatment(*(_known(said[place], ("", *SEVERITY)) for place in Treatment._fields))


def _known(word: object, words: Sequence[str]) -> str:
    if not isinstance(word, str) or word not in words:
        raise ValueError(f"no terms: {word!r}")
    return word


def canonical(value: object) -> str:
    """JSON that is the same text for the same value: keys in order, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def hash_of(terms: Terms) -> str:
    """The SHA-256 of the terms' canonical JSON, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(write_terms(terms)).encode("utf-8", "backslashreplace")).hexdigest()


# -- words -----------------------------------------------------------------------------------------------------

TITLES = {
    "train-ai": "Training AI",
    "ai-use": "Feeding AI",
    "search": "Search",
    "assistant": "AI assistants",
    "agent": "AI agents",
    "archive": "Archives",
    "preview": "Link previews",
    "seo": "Marketing crawlers",
}
MEANINGS = {
    "train-ai": "Using works to build or change a model that makes music, speech, pictures or text.",
    "ai-use": "Giving works to an AI that answers, summarises, transcribes or makes something from them.",
    "search": "Finding works, and sending people to where they are.",
    "assistant": "An AI product fetches something because a person asked for it at that moment.",
    "agent": "Software acts in a browser in the place of a person.",
    "archive": "Keeping copies, so that they can be looked at in later years.",
    "preview": "The small card that a chat or a social network shows for a link.",
    "seo": "Crawlers that measure sites for people who sell or advertise.",
}
KIND_TITLES = {
    "": "Everything else",
    "audio": "Recordings",
    "artwork": "Covers and pictures",
    "lyrics": "Lyrics",
    "metadata": "Titles, credits and pages",
    "waveform": "Waveforms",
    "stems": "Stems",
    "voice": "Voices",
}
VERDICTS = {"allow": "allowed", "disallow": "not allowed", "": "nothing said"}
WHO = {
    "ai-train": "AI crawlers that gather works for training",
    "ai-search": "AI search engines",
    "ai-assistant": "AI assistants",
    "ai-agent": "AI agents that act in a browser",
    "ai-dataset": "collectors of data sets for AI",
    "ai-audio": "AI services for music, voice and sound",
    "ai-other": "other AI services",
    "search": "search engines",
    "archive": "web archives",
    "preview": "link previews",
    "seo": "marketing crawlers",
}
_ABOUT = {
    "train-ai": ("Training AI on {} is allowed", "Training AI on {} is not allowed", "training AI on {}"),
    "ai-use": (
        "Feeding {} to AI, for answers, summaries or transcripts, is allowed",
        "Feeding {} to AI, for answers, summaries or transcripts, is not allowed",
        "feeding {} to AI",
    ),
    "search": (
        "Search engines may index {} and send people to it",
        "Search engines may not index {}",
        "search engines and {}",
    ),
    "assistant": (
        "AI assistants may fetch {} for a person who asks",
        "AI assistants may not fetch {}, even for a person who asks",
        "AI assistants and {}",
    ),
    "agent": (
        "AI agents may use {} in the place of a person",
        "AI agents may not use {} in the place of a person",
        "AI agents and {}",
    ),
    "archive": ("Archives may keep copies of {}", "Archives may not keep copies of {}", "archives and {}"),
    "preview": ("Link previews may show {}", "Link previews may not show {}", "link previews and {}"),
    "seo": ("Marketing crawlers may measure {}", "Marketing crawlers may not measure {}", "marketing and {}"),
}


def say(terms: Terms) -> list[str]:
    """The terms in sentences for people, the weightiest first."""
    said = [say_purpose(terms, purpose) for purpose in terms.purposes()]
    said += say_dealt(terms)
    if sentence := say_works(terms):
        said.append(sentence)
    if terms.notice_days:
        said.append(say_promise(terms.notice_days))
    if terms.licence:
        said.append(f"Licences: {terms.licence}")
    if terms.contact:
        said.append(f"Contact: {terms.contact}")
    return said


def say_purpose(terms: Terms, purpose: str, of: str = "") -> str:
    """One sentence about one purpose; kinds for which it is otherwise are named in it. `of`: of what it is said, when
    it is not of everything."""
    word = terms.word("", purpose)
    others: dict[str, list[str]] = {}
    for kind in terms.kinds():
        if terms.word(kind, purpose) != word:
            others.setdefault(VERDICTS[terms.word(kind, purpose)], []).append(_kind(kind))
    allowed, refused, unsaid = _ABOUT[purpose]
    what = of or ("anything here" if word == "disallow" and not others else "what is here")
    if not word:
        sentence = f"Nothing is said about {unsaid.format(what)}"
    else:
        sentence = (allowed if word == "allow" else refused).format(what)
    if others:
        sentence += "; not so for " + ", and for ".join(
            f"{_list(kinds)} ({verdict})" for verdict, kinds in others.items()
        )
    return f"{sentence}."


def say_dealt(terms: Terms) -> list[str]:
    """Who is refused, slowed and let through, a sentence for each way of being dealt with, the strictest first."""
    if not terms.dealt:
        return []
    said = [] if terms.enforced else ["The guard is on trial here: all this is noted, and nobody is refused yet."]
    for treatment, group in by_treatment(terms):
        names = []
        for one in group:
            but = f" ({say_exceptions(one)})" if one.exceptions else ""
            names.append(f"{WHO[one.category]}{but}")
        said.append(f"{_capital(say_treatment(treatment))}: {_list(names)}.")
    return said


def by_treatment(terms: Terms) -> list[tuple[Treatment, list[Dealt]]]:
    """The categories that are dealt with alike, together; the strictest first."""
    groups: dict[Treatment, list[Dealt]] = {}
    for one in terms.dealt:
        groups.setdefault(one.treatment, []).append(one)
    return sorted(groups.items(), key=lambda group: [-weight for weight in _weight(group[0])])


def say_treatment(treatment: Treatment) -> str:
    """`refused everywhere`, `refused on audio, slowed elsewhere`, `let through`…"""
    audio, elsewhere = treatment
    if audio == elsewhere or not audio or not elsewhere:
        return {
            "refused": "refused everywhere",
            "partly refused": "refused in some places",
            "slowed": "let through at a limited pace",
            "let through": "let through",
        }.get(audio or elsewhere, "nothing said")
    if audio == "refused" and elsewhere == "partly refused":
        return "refused on audio and in some other places"
    on_audio = {
        "refused": "refused on audio",
        "partly refused": "refused on some audio",
        "slowed": "slowed on audio",
        "let through": "let through to audio",
    }[audio]
    beside = {
        "refused": "refused elsewhere",
        "partly refused": "refused in some other places",
        "slowed": "let through elsewhere at a limited pace",
        "let through": "let through elsewhere",
    }[elsewhere]
    return f"{on_audio}, {beside}"


def say_exceptions(dealt: Dealt) -> str:
    """`but GPTBot: let through`; those who are treated alike stand together."""
    groups: dict[Treatment, list[str]] = {}
    for name, treatment in dealt.exceptions:
        groups.setdefault(treatment, []).append(name)
    said = [f"{_list(names)}: {say_treatment(treatment)}" for treatment, names in groups.items()]
    more = [f"and {dealt.more} more otherwise"] if dealt.more else []
    return "but " + "; ".join([*said, *more])


def say_works(terms: Terms) -> str:
    """Whether single works have a say of their own, "" = they have not."""
    return {
        "enforce": "What the holders of single works have chosen for them is stated with each work, and kept.",
        "observe": "What the holders of single works have chosen for them is stated with each work; "
        "who does not heed it is noted, and not refused yet.",
    }.get(terms.works, "")


def say_promise(days: int) -> str:
    return f"Before anything that is reserved here is opened, it is announced for at least {_days(days)}."


def say_notice(version: Version) -> str:
    """`30 days' notice`, `5 hours' notice` or `without notice`."""
    notice_s = version.notice_s
    if notice_s >= DAY_S:
        return f"{_days(int(notice_s // DAY_S))}’ notice".replace("day’", "day’s")
    hours = int(notice_s // 3600)
    return "without notice" if hours < 1 else f"{hours} hour{'s’' if hours > 1 else '’s'} notice"


def _days(days: int) -> str:
    return f"{days} day{'' if days == 1 else 's'}"


def _kind(kind: str) -> str:
    title = KIND_TITLES[kind]
    return title[0].lower() + title[1:]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _list(items: Sequence[str]) -> str:
    *others, last = items
    return f"{', '.join(others)} and {last}" if others else last


# -- what differs ----------------------------------------------------------------------------------------------

MARKS = ("tighter", "looser", "neutral")
_STRICT = {"allow": 0, "": 1, "disallow": 2}


class _Difference(NamedTuple):
    mark: str
    text: str
    opens: bool = False

    def __str__(self) -> str:
        return f"{self.mark}: {self.text}"


def differences(old: Terms, new: Terms) -> tuple[str, ...]:
    """All that `new` says otherwise than `old`, in words: `looser: Training AI: allowed (before: not allowed)`.

    Each begins with one of MARKS. Empty exactly when the terms are equal.
    """
    return tuple(str(one) for one in _differences(old, new))


def loosened(old: Terms, new: Terms) -> tuple[str, ...]:
    """Those of the differences by which something that was reserved is reserved no longer.

    These are preferences that no longer disallow, and choices of single works that are no longer kept. Who is
    refused belongs to running a site: it is told as looser, and must be changed at once when a listener is hurt.
    """
    return tuple(str(one) for one in _differences(old, new) if one.opens)


def _differences(old: Terms, new: Terms) -> list[_Difference]:
    found = [*_preferences(old, new), *_treatments(old, new)]
    if old.enforced != new.enforced:
        word = (
            ("Refusals", "enforced (before: on trial)") if new.enforced else ("Refusals", "on trial, nobody is refused")
        )
        found.append(_Difference("tighter" if new.enforced else "looser", ": ".join(word)))
    if old.works != new.works:
        rank = ("", "observe", "enforce")
        said = {"": "not asked", "observe": "stated, not enforced", "enforce": "stated and kept"}
        tighter = rank.index(new.works) > rank.index(old.works)
        text = f"Choices of single works: {said[new.works]} (before: {said[old.works]})"
        found.append(_Difference("tighter" if tighter else "looser", text, not tighter))
    if old.notice_days != new.notice_days:
        said_days = [f"{_days(days)}" if days else "none" for days in (new.notice_days, old.notice_days)]
        text = f"Promised notice: {said_days[0]} (before: {said_days[1]})"
        shorter = new.notice_days < old.notice_days
        found.append(_Difference("looser" if shorter else "tighter", text))
    for title, before, after in (("Licence terms", old.licence, new.licence), ("Contact", old.contact, new.contact)):
        if before != after:
            found.append(_Difference("neutral", f"{title}: {after or 'none'} (before: {before or 'none'})"))
    if not found and old != new:  # only how things are written
        found.append(_Difference("neutral", "The same terms in another form"))
    return found


def _preferences(old: Terms, new: Terms) -> Iterator[_Difference]:
    for purpose in PURPOSES:
        general = (old.word("", purpose), new.word("", purpose))
        groups: dict[tuple[str, str], list[str]] = {}
        for kind in EVERY_KIND:
            pair = (old.word(kind, purpose), new.word(kind, purpose))
            if pair[0] != pair[1] and (not kind or pair != general):
                groups.setdefault(pair, []).append(kind)
            elif kind and pair[0] == pair[1] and general[0] != general[1]:
                groups.setdefault(pair, []).append(kind)  # what stays when the rest moves
        wider = WITHIN.get(purpose, "")
        for (before, after), kinds in groups.items():
            if wider and all((old.word(kind, wider), new.word(kind, wider)) == (before, after) for kind in kinds):
                continue  # it only goes with the wider purpose
            if before == after:
                if not after and not before:
                    continue
                text = f"{TITLES[purpose]}, for {_list([_kind(kind) for kind in kinds])}: still {VERDICTS[after]}"
                yield _Difference("neutral", text)
                continue
            where = "" if kinds == [""] else f", for {_list([_kind(kind) for kind in kinds])}"
            text = f"{TITLES[purpose]}{where}: {VERDICTS[after]} (before: {VERDICTS[before]})"
            mark = "tighter" if _STRICT[after] > _STRICT[before] else "looser"
            yield _Difference(mark, text, before == "disallow")


def _treatments(old: Terms, new: Terms) -> Iterator[_Difference]:
    before, after = {one.category: one for one in old.dealt}, {one.category: one for one in new.dealt}
    groups: dict[tuple[Treatment, Treatment], list[str]] = {}
    for category in TOLD:
        pair = (_of(before, category), _of(after, category))
        if pair[0] != pair[1]:
            groups.setdefault(pair, []).append(WHO[category])
    for pair, names in groups.items():
        yield _shift(_capital(_list(names)), pair)
    for category in TOLD:
        one, other = before.get(category), after.get(category)
        said = [dict(dealt.exceptions) if dealt else {} for dealt in (one, other)]
        if said[0] == said[1] and (one.more if one else 0) == (other.more if other else 0):
            continue
        usual = (_of(before, category), _of(after, category))
        if (one and one.more) or (other and other.more):
            yield _Difference("neutral", f"{_capital(WHO[category])}: other exceptions than before")
            continue
        alike: dict[tuple[Treatment, Treatment], list[str]] = {}
        for name in sorted({*said[0], *said[1]}, key=str.lower):
            pair = (said[0].get(name, usual[0]), said[1].get(name, usual[1]))
            if pair[0] != pair[1] and pair != usual:
                alike.setdefault(pair, []).append(name)
        for pair, names in alike.items():
            yield _shift(_list(names), pair)


_NOWHERE = Treatment("", "")


def _of(dealt: Mapping[str, Dealt], category: str) -> Treatment:
    return dealt[category].treatment if category in dealt else _NOWHERE


def _shift(names: str, pair: tuple[Treatment, Treatment]) -> _Difference:
    steps = {
        (SEVERITY[after] > SEVERITY[before]) - (SEVERITY[after] < SEVERITY[before])
        for before, after in zip(*pair, strict=True)
        if before and after
    } - {0}
    mark = {1: "tighter", -1: "looser"}[steps.pop()] if len(steps) == 1 else "neutral"
    return _Difference(mark, f"{names}: {say_treatment(pair[1])} (before: {say_treatment(pair[0])})")


def plain(difference: str) -> tuple[str, str]:
    """A difference as its mark and its words."""
    mark, colon, text = difference.partition(": ")
    return (mark, text) if colon and mark in MARKS else ("neutral", difference)


# -- the promise -----------------------------------------------------------------------------------------------


def notice_promised(versions: Iterable[Version], now_s: float) -> int:
    """The days of notice that are owed at a moment: the longest promise that is in force, or that ended less than its
    own days ago. So nobody gets rid of a promise faster than it was long."""
    return max(
        (
            one.terms.notice_days
            for one in versions
            if not one.withdrawn and one.start_s <= now_s < one.end_s + one.terms.notice_days * DAY_S
        ),
        default=0,
    )


def too_soon(old: Terms, new: Terms, notice_days: int, announced_s: float, start_s: float) -> str | None:
    """Why `new` may not follow `old` at `start_s` when it is announced at `announced_s`; None = it may.

    One sentence that names what would be opened and the earliest day (UTC).
    """
    lost = loosened(old, new)
    if not lost or not notice_days or start_s - announced_s >= notice_days * DAY_S:
        return None
    earliest_s = -((-(announced_s + notice_days * DAY_S)) // DAY_S) * DAY_S
    what = "; ".join(plain(one)[1] for one in lost)
    when = "at once" if start_s <= announced_s else f"from {write_moment(start_s)} on"
    return (
        f"{_days(notice_days)} of notice are promised before anything reserved is opened, and this would open {when}: "
        f"{what}; announced now (terms: changes), it may begin on {write_moment(earliest_s)[:10]} at the earliest"
    )


def announced_before(pending: Iterable[Version], opens: Sequence[str], start_s: float, now_s: float) -> float:
    """Since when a coming change is announced: since an earlier announcement opened as much, no later than now."""
    return min(
        (one.announced_s for one in pending if opens and one.start_s <= start_s and {*opens} <= {*one.loosened}),
        default=now_s,
    )

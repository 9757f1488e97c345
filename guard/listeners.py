"""The people the guard must never stop, as values, and the question whether a policy would.

Each persona is an envelope: the most that ONE address of such people asks of a route class in any window. A policy is
asked with the real `decide` what it does with them; where the answer is `throttle`, the limit is held against the
envelope by the law of GCRA: in any window of W seconds at most floor(W / T) + burst requests pass.

How the numbers were got. (1) From real players on a wire: a browser with hls.js takes the 41 segments of a track in
1.5 s and 4 requests more, mpv in 0.6 s over two connections, VLC six ahead and then one each 6 s. (2) From eighteen
simulated days of a music platform, 55,000 requests each: for every kind of person the most requests of one address
(one /64) on a route class in windows of 1 s, 10 s, 1 min, 10 min, 1 h and a day. (3) From what other projects had
to learn: 46 requests in 10 s of a Jellyfin home screen, 300 a minute and 2,000 an hour too few for a first sync, a
DJ's 304 a minute, a campus of 48 people behind one address. The larger counts, rounded up to two figures; a day is
at least two sittings where the simulated people sat once. Below the envelope is an error; below half as much again, a
warning.

What is assumed and not measured: how many of a thousand listeners are of a kind (`at_once`), how many addresses of
their neighbourhood are busy with them (`shared_by`), lyrics (once a track) and feed readers (ten feeds an hour).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, inf

from guard.classify import BROWSER_AGENT, Catalogue
from guard.conditions import Evidence, leaves
from guard.errors import Problem
from guard.model import ACTIONS, UNKNOWN_AGENT, Agent, Identity, Limit, Mode, RouteClass
from guard.patterns import specimen
from guard.policy import Policy, Rule, Verdict, decide

WINDOWS_S = (1, 10, 60, 600, 3600, 86400)
"""The windows for which a persona's most is known. Between them it is not, so nothing is claimed."""

TOGETHER = "*"
"""In place of a route class: no more than this on all of them; what peaks on each does not peak at once."""

MARGIN = 1.5
"""A limit below the envelope times this gets a warning, and what is suggested leaves this much room."""

_PACE, _HOUR = WINDOWS_S.index(600), WINDOWS_S.index(3600)
_UNITS = {1.0: "s", 60.0: "min", 3600.0: "hour", 86400.0: "day"}
_NOWHERE = "/-/guard/-"
_OF_ONE = frozenset(("client", "address", "account", "session"))
"""What is counted by one of these is of one party, at most of one address."""
_MAYBE_QUIET = frozenset({"page", "api", "static", "federation"})
"""A part of these may be one where nobody listens (/admin/**, /login): only what the policy's own routes say of them
with a pattern is sure. A part of any other class is listened to."""


@dataclass(frozen=True, slots=True)
class Burst:
    """At most `requests` in any `window_s` seconds on `route_class`, from one address.

    `route_class` may be TOGETHER. `path` is where a protocol prescribes it ("" = wherever the policy has that class).
    """

    route_class: RouteClass
    requests: int
    window_s: int
    path: str = ""


@dataclass(frozen=True, slots=True)
class Persona:
    """A kind of listener. `shared_by` addresses of one /24 or /48 are busy with such people at once; of a thousand
    people who listen at this moment, `at_once` addresses are theirs."""

    name: str
    user_agent: str
    what: str
    asks: tuple[Burst, ...]
    shared_by: int = 4
    at_once: int = 10


def _asks(paths: Mapping[RouteClass, str] | None = None, **most: tuple[int, ...]) -> tuple[Burst, ...]:
    """The bursts of a persona: for each route class, and on all of them `together`, the most in each of WINDOWS_S."""
    return tuple(
        Burst(
            TOGETHER if route_class == "together" else route_class,
            requests,
            window_s,
            (paths or {}).get(route_class, ""),
        )
        for route_class, row in most.items()
        for requests, window_s in zip(row, WINDOWS_S, strict=True)
    )


_SUBSONIC = {"api": "/rest/getAlbum.view", "artwork": "/rest/getCoverArt.view", "media": "/rest/stream.view"}
_JELLYFIN = {"api": "/Items/x", "artwork": "/Items/x/Images/Primary", "media": "/Audio/x/universal"}
_WINDOWS_PC = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
_ANDROID = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "

_SYNC = _asks(
    _SUBSONIC,
    together=(48, 240, 330, 2200, 4400, 5200),
    api=(25, 120, 170, 1100, 2200, 2600),
    artwork=(25, 120, 160, 1100, 2200, 2600),
    media=(1, 2, 3, 10, 30, 200),
)

PERSONAS: tuple[Persona, ...] = (
    Persona(
        "Chrome on a desktop",
        f"{_WINDOWS_PC}Chrome/157.0.0.0 Safari/537.36",
        "the web player with hls.js: whole tracks at line rate, half of them skipped",
        _asks(
            together=(28, 100, 150, 220, 300, 600),
            page=(2, 4, 8, 12, 20, 40),
            static=(10, 10, 10, 10, 10, 20),
            api=(4, 8, 15, 30, 40, 80),
            artwork=(12, 18, 30, 35, 40, 80),
            manifest=(2, 8, 12, 15, 15, 30),
            media=(28, 85, 120, 170, 220, 440),
            lyrics=(1, 4, 6, 8, 8, 16),
            search=(4, 6, 10, 15, 20, 40),
        ),
        at_once=350,
    ),
    Persona(
        "Firefox on a desktop",
        "Mozilla/5.0 (X11; Linux x86_64; rv:160.0) Gecko/20100101 Firefox/160.0",
        "the same player; a whole track in 2.5 s",
        _asks(
            together=(28, 80, 130, 230, 280, 560),
            page=(2, 4, 8, 12, 20, 40),
            static=(10, 10, 10, 10, 10, 20),
            api=(4, 8, 12, 30, 35, 70),
            artwork=(10, 15, 22, 35, 40, 80),
            manifest=(2, 6, 8, 15, 15, 30),
            media=(28, 70, 100, 160, 200, 400),
            search=(4, 6, 10, 15, 20, 40),
        ),
        at_once=100,
    ),
    Persona(
        "Safari on a Mac",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        "Version/27.1 Safari/605.1.15",
        "the web player with the system's own HLS",
        _asks(
            together=(18, 35, 70, 160, 250, 500),
            page=(2, 4, 8, 12, 20, 40),
            static=(10, 10, 10, 10, 10, 20),
            api=(3, 6, 12, 26, 36, 72),
            artwork=(10, 15, 22, 35, 40, 80),
            manifest=(2, 6, 10, 15, 15, 30),
            media=(8, 24, 35, 90, 180, 360),
            search=(4, 6, 10, 15, 20, 40),
        ),
        at_once=100,
    ),
    Persona(
        "iOS app, its calls",
        "HollowReed/512 CFNetwork/3860.100.1 Darwin/25.0.0",
        "an app on the system's library: lists and covers",
        _asks(
            together=(15, 20, 28, 45, 60, 120),
            api=(3, 7, 12, 25, 25, 50),
            artwork=(12, 15, 18, 22, 25, 50),
            search=(4, 6, 10, 15, 20, 40),
        ),
        at_once=130,
    ),
    Persona(
        "iOS app, its player",
        "AppleCoreMedia/1.0.0.24A335 (iPhone; U; CPU OS 27_0 like Mac OS X; en_gb)",
        "the phone plays in another process, under another name",
        _asks(
            together=(8, 26, 50, 140, 250, 500),
            manifest=(2, 6, 6, 12, 12, 24),
            media=(8, 24, 45, 130, 240, 480),
        ),
        at_once=130,
    ),
    Persona(
        "Android app, its calls",
        "SoundGarden/8.4.1 (Android 16; Pixel 9) okhttp/5.3.2",
        "an app on okhttp: lists and covers",
        _asks(
            together=(15, 20, 28, 45, 60, 120),
            api=(3, 6, 15, 25, 25, 50),
            artwork=(12, 15, 15, 20, 25, 50),
            search=(4, 6, 10, 15, 20, 40),
        ),
        at_once=130,
    ),
    Persona(
        "Android app, its player",
        "SoundGarden/8.4.1 (Linux;Android 16) AndroidXMedia3/1.9.1",
        "ExoPlayer: 50 s ahead, then as it plays",
        _asks(
            together=(6, 20, 45, 120, 260, 520),
            manifest=(1, 3, 6, 10, 10, 20),
            media=(6, 18, 40, 110, 250, 500),
        ),
        at_once=130,
    ),
    Persona(
        "offline download that was paid for",
        "SoundGarden/8.4.1 (Android 16) okhttp/5.3.2",
        "75 tracks at line rate over three or four lanes, with their covers",
        _asks(
            together=(52, 180, 220, 220, 220, 440),
            api=(18, 60, 75, 75, 75, 150),
            artwork=(18, 60, 75, 75, 75, 150),
            media=(18, 60, 75, 75, 75, 150),
        ),
        at_once=5,
    ),
    Persona(
        "DJ who looks for a tune",
        f"{_WINDOWS_PC}Chrome/156.0.0.0 Safari/537.36",
        "43 tracks in ten minutes, a few seconds of each",
        _asks(
            together=(26, 110, 310, 1300, 1500, 3000),
            page=(1, 1, 1, 1, 2, 4),
            static=(1, 1, 1, 1, 2, 4),
            api=(3, 6, 20, 90, 100, 200),
            artwork=(8, 15, 35, 130, 140, 280),
            manifest=(2, 6, 20, 90, 100, 200),
            media=(26, 90, 260, 1100, 1200, 2400),
        ),
        at_once=3,
    ),
    Persona(
        "collector who searches while typing",
        f"{_WINDOWS_PC}Chrome/155.0.0.0 Safari/537.36",
        "a search at almost every key",
        _asks(
            together=(4, 15, 40, 140, 290, 580),
            search=(4, 12, 35, 100, 170, 340),
            api=(1, 2, 4, 18, 65, 130),
            artwork=(2, 4, 6, 15, 40, 80),
            media=(1, 2, 4, 10, 26, 52),
            static=(1, 1, 1, 1, 2, 4),
        ),
    ),
    Persona(
        "radio in an office tab",
        f"{_WINDOWS_PC}Chrome/154.0.0.0 Safari/537.36 Edg/154.0.0.0",
        "ten hours without a click, as regular as a machine; what is playing is asked every 10 s",
        _asks(
            together=(13, 24, 26, 80, 420, 4200),
            page=(2, 2, 2, 2, 2, 4),
            static=(10, 10, 10, 10, 10, 20),
            api=(4, 6, 10, 60, 360, 3600),
            artwork=(10, 16, 18, 30, 90, 430),
            media=(2, 2, 3, 9, 30, 190),
        ),
        at_once=40,
    ),
    Persona(
        "podcast app",
        "AntennaPod/3.8.0",
        "up to fourteen episodes of a backlog at once",
        _asks(
            together=(14, 14, 17, 22, 22, 66),
            feed=(1, 2, 2, 2, 4, 48),
            media=(14, 14, 16, 21, 21, 42),
        ),
        at_once=100,
    ),
    Persona(
        "podcast app that resumes",
        "Overcast/3.0 (+http://overcast.fm/; iOS podcast app)",
        "whole episodes at line rate, broken off and resumed",
        _asks(
            together=(2, 5, 16, 22, 22, 44),
            feed=(1, 1, 1, 1, 2, 24),
            media=(2, 5, 16, 21, 21, 42),
        ),
        at_once=100,
    ),
    Persona(
        "feed reader",
        "Mozilla/5.0 (compatible; Miniflux/2.2.13; +https://miniflux.app)",
        "ten feeds of one platform, every hour",
        _asks(
            feed=(4, 10, 10, 10, 20, 240),
        ),
        at_once=100,
    ),
    Persona(
        "mpv",
        "libmpv",
        "a whole HLS track in 0.6 s over two connections",
        _asks(
            together=(43, 86, 130, 340, 650, 1300),
            page=(1, 1, 1, 1, 1, 2),
            manifest=(2, 4, 8, 16, 30, 60),
            media=(41, 82, 125, 330, 620, 1300),
        ),
    ),
    Persona(
        "VLC",
        "VLC/3.0.24 LibVLC/3.0.24",
        "six segments ahead, then one each six seconds",
        _asks(
            together=(8, 10, 20, 118, 624, 6000),
            page=(1, 1, 1, 1, 1, 2),
            manifest=(2, 2, 4, 8, 15, 30),
            media=(7, 9, 18, 110, 610, 6000),
        ),
    ),
    Persona(
        "Subsonic client on its first sync",
        "Symfonium/13.4 (Android)",
        "every album and every cover before the first note",
        _SYNC,
    ),
    Persona(
        "Subsonic client built on a plain library",
        "Python/3.13 aiohttp/3.14.5",
        "the same, by an app that names only the library it is made with",
        _SYNC,
    ),
    Persona(
        "Jellyfin client",
        "Jellyfin-Android/2.6.3",
        "the home screen: 46 requests in ten seconds, most of them covers",
        _asks(
            _JELLYFIN,
            together=(20, 46, 60, 180, 400, 900),
            api=(8, 16, 20, 40, 100, 300),
            artwork=(20, 30, 60, 150, 300, 600),
            media=(1, 2, 3, 10, 30, 200),
        ),
    ),
    Persona(
        "smart speaker",
        "Linux UPnP/1.0 Sonos/86.4-66270 (ZPS38)",
        "an album from the first track to the last, with covers and no cookies",
        _asks(
            together=(1, 4, 10, 16, 40, 320),
            artwork=(1, 2, 5, 8, 20, 160),
            media=(1, 2, 5, 8, 20, 160),
        ),
        at_once=40,
    ),
    Persona(
        "car",
        "SoundGarden/8.4.1 (Linux;Android 14 Automotive) AndroidXMedia3/1.9.1",
        "falls into tunnels and resumes at odd places",
        _asks(
            together=(3, 4, 6, 18, 25, 50),
            api=(1, 1, 1, 5, 6, 12),
            media=(2, 3, 5, 14, 20, 40),
        ),
        shared_by=16,
        at_once=20,
    ),
    Persona(
        "campus behind one address",
        f"{_WINDOWS_PC}Chrome/157.0.0.0 Safari/537.36",
        "48 people, 17 browsers, up to 160 requests a minute",
        _asks(
            together=(26, 82, 190, 380, 610, 3000),
            page=(3, 4, 5, 8, 16, 75),
            static=(10, 10, 10, 20, 36, 170),
            api=(4, 8, 16, 48, 95, 510),
            artwork=(10, 26, 30, 60, 110, 540),
            manifest=(4, 6, 12, 20, 36, 150),
            media=(26, 70, 120, 240, 380, 1700),
            search=(4, 6, 10, 20, 40, 200),
        ),
        at_once=20,
    ),
    Persona(
        "commuters behind a carrier's address",
        f"{_ANDROID}Chrome/157.0.0.0 Mobile Safari/537.36",
        "many phones share a few addresses and change them on the way",
        _asks(
            together=(24, 76, 160, 340, 770, 1180),
            page=(2, 3, 5, 8, 18, 26),
            static=(10, 10, 10, 16, 26, 42),
            api=(4, 9, 14, 50, 110, 190),
            artwork=(10, 20, 26, 60, 120, 200),
            manifest=(4, 6, 12, 22, 50, 70),
            media=(21, 64, 120, 230, 460, 660),
        ),
        shared_by=16,
        at_once=30,
    ),
    Persona(
        "text browser",
        "Lynx/2.9.2 libwww-FM/2.14 SSL-MM/1.4.1 OpenSSL/3.5.1",
        "pages read out or in braille, without pictures or styles",
        _asks(
            together=(2, 3, 7, 24, 30, 60),
            page=(1, 3, 7, 20, 20, 40),
            media=(1, 1, 2, 7, 10, 20),
        ),
        at_once=5,
    ),
    Persona(
        "flash crowd at an embedded player",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        "Version/27.1 Mobile/15E148 Safari/604.1",
        "hundreds of strangers at one track in the minutes after its release",
        _asks(
            together=(10, 12, 14, 18, 18, 36),
            embed=(1, 1, 1, 1, 1, 2),
            page=(2, 2, 2, 2, 2, 4),
            static=(10, 10, 10, 10, 10, 10),
            api=(1, 1, 2, 5, 5, 10),
            artwork=(3, 4, 4, 4, 4, 8),
            media=(2, 2, 3, 3, 3, 6),
        ),
        shared_by=8,
        at_once=1000,
    ),
)


# -- what a policy does with them --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """A path to ask about. `sure`: the persona goes there whenever it uses the class; else only perhaps."""

    path: str
    route_class: RouteClass
    sure: bool


@dataclass(frozen=True, slots=True)
class _Meeting:
    """One rule (None: the default) as a persona meets it. `trial`: it only observes so far."""

    place: _Place
    asks: RouteClass
    action: str
    rule: Rule | None
    trial: bool
    limits: tuple[Limit, ...] = ()

    @property
    def cost(self) -> int:
        return self.rule.cost if self.rule is not None else 1


def check_limits(policy: Policy, catalogue: Catalogue, now_s: float = 0.0) -> tuple[Problem, ...]:
    """Limits that would stop a listener (errors), or nearly, or perhaps (warnings); one a limit, the worst persona
    named. Rules that begin after `now_s` (seconds since 1970) count as if in force, those on trial make warnings.

    An error is only said where harm is certain: the limit is below what one address asks (for the key `prefix`, one
    neighbourhood) on route classes that the persona cannot avoid. Of bytes, of places at once and of single works
    personas say nothing, so limits on these are left out; nor do they say who shares an account.
    """
    if all(rule.then != "throttle" for rule in (*_all_rules(policy), *policy.limiting)):
        return ()
    found: dict[Limit, list[_Shortfall]] = {}
    for persona, meetings in _meet_all(policy, catalogue, now_s, ("throttle", "weigh", "label")):
        by_count: dict[tuple[Limit, RouteClass], list[_Meeting]] = {}
        for meeting in meetings:
            if meeting.action == "throttle":
                for limit in filter(_is_stated, meeting.limits):
                    apart = meeting.place.route_class if "route" in limit.key else TOGETHER
                    by_count.setdefault((limit, apart), []).append(meeting)
        for (limit, _), under in by_count.items():
            if (shortfall := _hold_against(persona, limit, under)) is not None:
                found.setdefault(limit, []).append(shortfall)
    return tuple(_say(policy, limit, shortfalls) for limit, shortfalls in found.items())


def _is_stated(limit: Limit) -> bool:
    """Do personas say how much they ask of what is counted?"""
    return limit.unit == "requests" and limit.kind != "concurrent" and "work" not in limit.key


def check_blocks(policy: Policy, catalogue: Catalogue, now_s: float = 0.0) -> tuple[Problem, ...]:
    """Rules (or the default) that refuse a listener outright: one warning a rule, the personas named."""
    found: dict[tuple[str, bool], tuple[Rule | None, str, list[str]]] = {}
    for persona, meetings in _meet_all(policy, catalogue, now_s):
        for meeting in meetings:
            if meeting.action == "block" and meeting.place.sure:
                name = meeting.rule.name if meeting.rule else "default"
                where = f"{meeting.place.path} ({meeting.place.route_class})"
                _, _, names = found.setdefault((name, meeting.trial), (meeting.rule, where, []))
                if persona.name not in names:
                    names.append(persona.name)
    problems = []
    for (name, trial), (rule, where, names) in found.items():
        what = f"rule '{name}'" if rule else "default: block"
        would = "would refuse, once it is enforced," if trial or policy.mode is Mode.OBSERVE else "refuses"
        message = f"{what}: {would} the listener '{names[0]}' on {where}{_and_others(names)}"
        file, line = (rule.file or policy.file, rule.line) if rule else (policy.file, 0)
        problems.append(Problem(file, line, message, level="warning"))
    return tuple(problems)


def _all_rules(policy: Policy) -> Iterator[Rule]:
    yield from policy.rules
    yield from policy.rows
    for ladder in policy.ladder:
        for rung in ladder.rungs:
            yield rung.rule


def _meet_all(
    policy: Policy, catalogue: Catalogue, now_s: float, actions: tuple[str, ...] = (*ACTIONS, "weigh")
) -> Iterator[tuple[Persona, tuple[_Meeting, ...]]]:
    """Every persona with what the policy says to it, wherever it goes and at every moment at which a rule turns.
    Of the paths that rules ask about, those of rules with these actions are gone to: no other can lead to a limit."""
    places = _places(policy, actions)
    verdicts: dict[Evidence, tuple[Verdict, ...]] = {}
    whereabouts: dict[str, Evidence] = {}
    for persona, agent in zip(PERSONAS, _agents(catalogue), strict=True):
        identity = Identity.UNKNOWN if agent.category in ("browser", "unknown") else Identity.UNVERIFIED
        user_agents = policy.user_agents_of(persona.user_agent.encode())
        who = policy.evidence(agent, identity, _NOWHERE, "GET", (), user_agents)
        meetings: dict[_Meeting, None] = {}
        for asks, place in _visits(policy, persona, places):
            where = whereabouts.get(place.path)
            if where is None:
                where = whereabouts[place.path] = policy.evidence(agent, identity, place.path, "GET", ())
            evidence = who._replace(route=where.route, path=where.path)
            found = verdicts.get(evidence)
            if found is None:
                moments = _moments(policy, evidence, now_s)
                found = verdicts[evidence] = tuple(decide(policy, evidence, moment) for moment in moments)
            for verdict in found:
                trial = policy.mode is Mode.OBSERVE
                meetings[_Meeting(place, asks, verdict.action, verdict.rule, trial, verdict.limits)] = None
                for rule in verdict.observed:
                    meetings[_Meeting(place, asks, rule.then, rule, True, rule.limits)] = None
        yield persona, tuple(meetings)


def _moments(policy: Policy, evidence: Evidence, now_s: float) -> list[float]:
    """Now, and whenever a rule that may match begins or ends."""
    if not policy.turns:
        return [now_s]
    indexes = (policy.index, policy.row_index, policy.limiting_index)
    may_match = (rule for index in indexes for rule in index.candidates(evidence))
    turns = {moment for rule in may_match for moment in (rule.from_s, rule.until_s)}
    return [now_s, *sorted(moment for moment in turns if now_s < moment < inf)]


@lru_cache(maxsize=4)
def _agents(catalogue: Catalogue) -> tuple[Agent, ...]:
    """What each persona claims to be; once a catalogue. That browsers are browsers, ua-parser need not be asked: its
    rules take half a second to compile."""
    claims = (catalogue.claimed(persona.user_agent.encode()) for persona in PERSONAS)
    return tuple(
        claim or (BROWSER_AGENT if persona.user_agent.startswith("Mozilla/5.0") else UNKNOWN_AGENT)
        for claim, persona in zip(claims, PERSONAS, strict=True)
    )


def _places(policy: Policy, actions: tuple[str, ...]) -> dict[RouteClass, tuple[_Place, ...]]:
    """For each route class of the policy, paths that stand for it: one a pattern, and those that rules ask about."""
    found: dict[RouteClass, list[_Place]] = {}

    def add(path: str, sure: bool) -> None:
        reading = path if policy.site.case_sensitive else path.encode().lower().decode()
        route_class = policy.route_class(reading)
        found.setdefault(route_class, []).append(_Place(reading, route_class, sure or route_class not in _MAYBE_QUIET))

    for entry in policy.routes:
        for pattern in entry.paths:
            if "*" in pattern or entry.route_class not in _MAYBE_QUIET:
                add(specimen(pattern), True)
    if policy.route_class(_NOWHERE) == policy.route_default:
        add(_NOWHERE, True)
    rules = (*policy.rules, *policy.limiting)
    asking = (test for rule in rules if rule.then in actions for test in leaves(rule.when))
    for pattern in sorted({value for test in asking if test.fact == "path" for value in test.values}):
        if "*" in pattern:
            add(specimen(pattern), False)
    return {route_class: tuple(dict.fromkeys(places)) for route_class, places in found.items()}


def _visits(
    policy: Policy, persona: Persona, places: Mapping[RouteClass, tuple[_Place, ...]]
) -> Iterator[tuple[RouteClass, _Place]]:
    """What the persona asks, by its own name for it, and where. What the policy has no paths for is its default."""
    for route_class, path in dict.fromkeys((burst.route_class, burst.path) for burst in persona.asks):
        if route_class == TOGETHER:
            continue
        if path:
            for mounted in _mounts(policy, path):
                yield route_class, _Place(mounted, policy.route_class(mounted), True)
            continue
        own = places.get(route_class)
        for place in own or places.get(policy.route_default, ()):
            if own or place.sure:
                yield route_class, place


def _mounts(policy: Policy, path: str) -> tuple[str, ...]:
    """`path` of a protocol wherever the policy knows that protocol: by a pattern with its first segment."""
    if not policy.site.case_sensitive:
        path = path.encode().lower().decode()
    anchor = path.split("/")[1]
    found: dict[str, None] = {}
    patterns: Iterable[str] = (pattern for entry in policy.routes for pattern in entry.paths)
    for pattern in (*patterns, *policy.rule_patterns.patterns):
        parts = pattern.split("/")
        if not policy.site.case_sensitive:
            parts = [part.encode().lower().decode() for part in parts]
        if anchor in parts:
            found[specimen("/".join(parts[: parts.index(anchor)])) + path] = None
    return tuple(found)


# -- limits held against envelopes -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Shortfall:
    """A limit as it meets one persona: `asked` requests in each of WINDOWS_S, the position of the `worst`, and `wanted`
    for the limit to be of no trouble whatever the persona does. `rule` names the limit, None when it holds by itself
    beside another. `but` is on what condition, for the message; `cost` is
    what the dearest rule counts a request as."""

    persona: Persona
    rule: Rule | None
    asked: tuple[int, ...]
    worst: int
    wanted: tuple[int, ...]
    level: str
    stops: bool
    classes: tuple[RouteClass, ...]
    but: str
    cost: int = 1


def _hold_against(persona: Persona, limit: Limit, meetings: list[_Meeting]) -> _Shortfall | None:
    """What a limit does to one persona, given where they meet; None when there is room enough."""
    certain = [meeting for meeting in meetings if meeting.place.sure and not meeting.trial]
    enforced = [meeting for meeting in meetings if not meeting.trial]
    certainly = "error"
    if {"account", "session"} & set(limit.key):  # nobody knows who shares one: only what is sure else is told
        certainly, enforced, meetings = "warning", certain, certain
    near = persona.shared_by - 1 if "prefix" in limit.key and not _OF_ONE & set(limit.key) else 0
    crowd = 0 if {"prefix", *_OF_ONE} & set(limit.key) else persona.at_once - 1
    there = f" when {persona.at_once} of them are there at once (key {', '.join(limit.key)})"
    ways = (
        (certain, _asked(persona, certain, near), 1.0, certainly, ""),
        (certain, _asked(persona, certain, crowd), 1.0, "warning", there),
        (enforced, _asked(persona, enforced, near), 1.0, "warning", " if they go there"),
        (meetings, _asked(persona, meetings, near), 1.0, "warning", " once the rule is enforced"),
        (certain, _asked(persona, certain, near), MARGIN, "warning", ""),
        (enforced, _asked(persona, enforced, near), MARGIN, "warning", " if they go there"),
        (meetings, _asked(persona, meetings, near), MARGIN, "warning", " once the rule is enforced"),
    )
    for met, asked, margin, level, but in ways:
        cost = min((meeting.cost for meeting in met), default=1)
        if (worst := _narrowest(limit, asked, margin, cost)) is not None:
            naming = {meeting.rule for meeting in met if meeting.rule is not None and limit in meeting.rule.limits}
            return _Shortfall(
                persona,
                min(naming, key=lambda rule: (rule.line, rule.name), default=None),
                asked,
                worst,
                tuple(max(column) for column in zip(*(way[1] for way in ways), strict=True)),
                level,
                margin == 1.0,
                tuple(sorted({meeting.asks for meeting in met})),
                but,
                max(meeting.cost for meeting in meetings),
            )
    return None


def _asked(persona: Persona, meetings: list[_Meeting], others: int) -> tuple[int, ...]:
    """The requests in each of WINDOWS_S that fall under one count: the burst of one address, and the hourly pace of
    `others` like it."""
    classes = {meeting.asks for meeting in meetings}
    alone = [0] * len(WINDOWS_S)
    most_of_all = [0] * len(WINDOWS_S)
    for burst in persona.asks:
        if burst.route_class in classes:
            alone[WINDOWS_S.index(burst.window_s)] += burst.requests
        elif burst.route_class == TOGETHER:
            most_of_all[WINDOWS_S.index(burst.window_s)] = burst.requests
    alone = [min(one, most or one) for one, most in zip(alone, most_of_all, strict=True)]
    pace = others * alone[_HOUR] / WINDOWS_S[_HOUR]
    return tuple(most + ceil(pace * window_s) for most, window_s in zip(alone, WINDOWS_S, strict=True))


def _admitted(limit: Limit, window_s: int, cost: int = 1) -> int:
    """The most requests that pass in any window, each for `cost` times the limit's own; of a quota: in one period."""
    room = limit.count if limit.kind == "quota" else int(window_s * limit.count // limit.window_s) + limit.burst
    return room // (limit.cost * cost)


def _narrowest(limit: Limit, asked: tuple[int, ...], margin: float, cost: int = 1) -> int | None:
    """The position of the window that lacks most, or None when every window has room for `margin` times as much."""
    lacking = [
        (most / max(_admitted(limit, window_s, cost), 0.5), -position)
        for position, (most, window_s) in enumerate(zip(asked, WINDOWS_S, strict=True))
        if ceil(most * margin) > _admitted(limit, window_s, cost)
    ]
    return -max(lacking)[1] if lacking else None


def suggest(limit: Limit, asked: Iterable[tuple[int, ...]], cost: int = 1) -> tuple[int, int]:
    """The count (in the limit's window) and the burst that have room for all `asked`, with MARGIN; never less than
    the limit has. The pace of ten minutes and more makes the count, what comes at once the burst. Rows of requests in
    each of WINDOWS_S, each of which counts `cost` times the limit's own."""
    each = limit.cost * cost
    rows = tuple(tuple(ceil(most * MARGIN) * each for most in row) for row in asked)
    count, burst = limit.count, limit.burst
    if limit.kind == "quota":
        most_of_all = max((count, *(max(row) for row in rows)))
        return most_of_all, most_of_all
    for row in rows:
        for most, window_s in zip(row[_PACE:], WINDOWS_S[_PACE:], strict=True):
            count = max(count, ceil(most * limit.window_s / window_s))
    for row in rows:
        for most, window_s in zip(row, WINDOWS_S, strict=True):
            burst = max(burst, most - int(window_s * count // limit.window_s))
    return count, burst


def _pace(limit: Limit, count: int, burst: int) -> str:
    if limit.kind == "quota":
        return f"{count} a calendar {limit.period}"
    unit = _UNITS.get(limit.window_s, f"{limit.window_s:g} s")
    return f"{count}/{unit} with burst {burst}"


def _say(policy: Policy, limit: Limit, shortfalls: list[_Shortfall]) -> Problem:
    """One sentence on one limit, about the persona that it hurts most."""

    def pain(one: _Shortfall) -> tuple[bool, bool, float]:
        room = _admitted(limit, WINDOWS_S[one.worst], one.cost)
        return one.level == "error", one.stops, one.asked[one.worst] / max(room, 0.5)

    worst = max(shortfalls, key=pain)
    count, burst = suggest(limit, (one.wanted for one in shortfalls), max(one.cost for one in shortfalls))
    each = limit.cost * worst.cost
    does = "would stop" if worst.stops else "leaves little room for"
    says = "would not" if worst.stops else "would leave room"
    names = list(dict.fromkeys((worst.persona.name, *(one.persona.name for one in shortfalls))))
    rule = worst.rule if worst.rule not in policy.limiting else None
    by = f"rule '{rule.name}'" if rule is not None else "its own 'when'"
    message = (
        f"limit '{limit.name}': {_pace(limit, limit.count, limit.burst)} {does} the listener "
        f"'{worst.persona.name}'{worst.but} ({worst.asked[worst.worst]} requests in "
        f"{_span(WINDOWS_S[worst.worst])} on {_listed(worst.classes)}{f', each counts {each}' if each > 1 else ''}; "
        f"{_pace(limit, count, burst)} {says}) ({by}){_and_others(names)}"
    )
    file, line = (limit.file, limit.line) if limit.line or rule is None else (rule.file, rule.line)
    return Problem(file or policy.file, line, message, level=worst.level)


def _span(window_s: int) -> str:
    return {600: "10 min", 3600: "an hour", 86400: "a day"}.get(window_s, f"{window_s} s")


def _listed(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _and_others(names: list[str]) -> str:
    """What follows the first of several names."""
    more = len(names) - 1
    return "" if not more else f", and {more} other kind{'s' if more > 1 else ''} of listeners"

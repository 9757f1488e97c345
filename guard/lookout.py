"""What those who ask have been doing, and what that says: requests in, suspicion out.

    watch(sight)   counts one request and says what is held against whoever sends it: before it is decided
    learn(...)     what its answer was: music sent, the account that the application named

The law of this file: no clock, no network, every table bounded whoever sends what. Numbers are kept in meters, which
the store merges among all workers behind the requests (`guard.observe`); what only this worker can see (requests in
flight, parts of one file) stays here. A listener's session, account or address is judged by what it did itself; a
neighbourhood only ever adds to what is held against somebody, and never alone against who is known to listen.

Keys of meters, by their first byte: `c` an address (/64) under one User-Agent, `s` a session, `t` a token at an
address, `u` an account, `a` an address, `p` a /24 or /48, `n` an ASN, `h` a shape of headers, `j` a family of browsers with the JA4 of its connections, `q` an account's day,
`w` the site.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from math import inf
from typing import NamedTuple

from guard.detectors import DETECTORS, OF_CROWDS, Detector
from guard.detectors.counted import (
    ASKED,
    BARE,
    BEATS,
    CLIENTS,
    COLD,
    DATA_CALLS,
    DAY_S,
    DOCUMENTS,
    ENTRANCES,
    FEEDS,
    FIRST,
    HEADS,
    HOUR_S,
    HOURS,
    IMAGES,
    LEAD,
    LIFE,
    LIVING,
    NAMES,
    NUMBERS,
    ODD,
    SEARCHES,
    SITEMAPS,
    TUNES,
    WALKED,
    make_meters,
    short,
)
from guard.detectors.life import Life
from guard.memo import Memo
from guard.model import Agent, Client, Detecting, Identity, Signal
from guard.observe import Meters
from guard.places import (
    ACT,
    ASSET,
    AUDIO,
    DATA,
    DOCUMENT,
    DOWNLOAD,
    EMBED,
    FEED,
    IMAGE,
    PLAYLIST,
    SEARCH,
    SEGMENT,
    SITEMAP,
    TRAP,
    Place,
)
from guard.shape import Shape

SETTLE_S = 6.0
"""A document counts as one that nobody followed up from so long after it on."""

MAX_WAITING = 20_000
MAX_IN_FLIGHT = 64
"""Of one key; more are not counted."""

_EAR_ROLES = frozenset((PLAYLIST, SEGMENT, AUDIO, DOWNLOAD))
_DOCUMENTS = frozenset((DOCUMENT, EMBED, SITEMAP))
_CALLS = frozenset((DATA, SEARCH))
_PARTS_OF_PAGES = frozenset((IMAGE, ASSET))
_NAVIGABLE = frozenset((DOCUMENT, EMBED, IMAGE, AUDIO, FEED, SITEMAP, SEARCH, DOWNLOAD, TRAP))
"""What people open in a tab."""


class Sight(NamedTuple):
    """One request as it is looked at; `now_s` is of the meters' clock, `wall_s` since 1970. `session` and `account` are b"" when unknown; `start` and `end` are of a closed
    range (`bytes=START-END`), -1 when it has none."""

    now_s: float
    client: Client
    agent: Agent
    identity: Identity
    shape: Shape
    place: Place
    method: str
    user_agent: bytes
    session: bytes = b""
    account: bytes = b""
    start: int = -1
    end: int = -1
    own_referer: bool = False
    wall_s: float = 0.0


class Suspicion(NamedTuple):
    """What is held against one request: signals, and their sum in decibans. `until_s` is when what was found before
    ends, 0.0 when it is only of this request. `shared`: others who are known to listen are behind the same address, so
    that nobody can be refused for what it did."""

    points: float
    signals: tuple[Signal, ...]
    until_s: float = 0.0
    shared: bool = False

    @property
    def why(self) -> Signal | None:
        """What speaks loudest against it."""
        return max(self.signals, key=lambda signal: signal.points, default=None)


NOTHING = Suspicion(0.0, ())


class Lookout:
    """Watches requests of one site. `detectors` are asked about each ear, `crowds` about each neighbourhood."""

    def __init__(
        self,
        terms: Detecting = Detecting(),  # noqa: B008  # a value
        meters: Meters | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        detectors: Sequence[Detector] = DETECTORS,
        crowds: Sequence[Detector] = OF_CROWDS,
    ) -> None:
        self.clock = clock
        self._ahead_s = wall() - clock()  # of the wall's clock
        self.take(terms)
        self.meters = make_meters() if meters is None else meters
        self.detectors = tuple(detectors)
        self.crowds = tuple(crowds)
        self.held: Memo[bytes, Suspicion] = Memo(16_384)  # by key: what is held against it
        self.alive: Memo[bytes, bool] = Memo(32_768)  # sessions that were seen to live
        self.accounts: Memo[bytes, bytes] = Memo(32_768)  # what the application told of a session or token
        self._crowds: Memo[bytes, tuple[float, tuple[Signal, ...]]] = Memo(8_192)
        self._waiting: deque[tuple[float, tuple[bytes, ...], bool]] = deque()
        self._flying: dict[bytes, dict[tuple[str, str], int]] = {}
        self._splits: Memo[tuple[bytes, str], list[float]] = Memo(2_048)
        self._low: dict[int, int] = {}  # the numbers of ids seen, by their kind
        self._high: dict[int, int] = {}

    def take(self, terms: Detecting) -> None:
        """From now on these terms hold; what was counted stays."""
        self.terms = terms
        self.refuse_at = min((stage.at for stage in terms.steps if stage.then == "refuse"), default=inf)

    # -- one request -------------------------------------------------------------------------------------

    def watch(self, sight: Sight) -> Suspicion:
        """Count a request, and tell what is held against it."""
        now_s, shape, place = sight.now_s, sight.shape, sight.place
        role = place.role
        if self._waiting and self._waiting[0][0] <= now_s:
            self._settle(now_s)
        client = b"c" + sight.client.key + short(sight.user_agent)
        ear = self._ear(sight, client)
        cold = ear is client or (ear not in self.alive.young and self.alive.get(ear) is None)
        signals: list[Signal] = list(shape.signals)
        held = self.held.young.get(ear) or self.held.get(ear)
        if held is None and cold:
            held = self.held.young.get(client) or self.held.get(client)
        if held is not None and held.until_s > now_s:
            return held
        changed = self._count(sight, role, client, ear, cold)
        points = shape.points
        if changed:
            found = self._judge(sight, ear, client if cold else b"")
            signals += found
            points += sum(signal.points for signal in found)
        if cold and (role in (DOCUMENT, DATA, IMAGE, SITEMAP, PLAYLIST) or role == SEARCH):
            around = self._around(sight)
            if around:
                if shape.quiet:  # it says what it is: half as much is held against it
                    around = tuple([signal._replace(points=signal.points / 2) for signal in around])
                signals += around
                points += sum(signal.points for signal in around)
        if not signals:
            return NOTHING
        suspicion = Suspicion(points, tuple(signals))
        if changed and points >= self.refuse_at:
            shared = cold and self.meters_of(b"a" + sight.client.key, LIVING, now_s) >= 2
            suspicion = suspicion._replace(until_s=now_s + self.terms.refuse_s, shared=shared)
            self.held.keep(ear if not cold else client, suspicion)
        return suspicion

    def _ear(self, sight: Sight, client: bytes) -> bytes:
        if sight.account:
            return b"u" + sight.account
        known = self.accounts.get(sight.session or client) if len(self.accounts) else None
        if known:
            return b"u" + known
        return b"s" + sight.session if sight.session else client

    def _count(self, sight: Sight, role: int, client: bytes, ear: bytes, cold: bool) -> bool:
        """Count a request under its keys. Tells whether it was of a kind that can speak against somebody."""
        now_s, shape, place, meters = sight.now_s, sight.shape, sight.place, self.meters
        add = meters.add
        changed = False
        address = b"a" + sight.client.key
        meters.see(ear, HOURS, int((now_s + self._ahead_s) // HOUR_S), now_s)
        add(ear, FIRST, 1.0, now_s)
        if sight.method == "HEAD":
            add(ear, HEADS, 1.0, now_s)
            changed = True
        if shape.told and shape.dest == b"document" and role not in _NAVIGABLE:
            add(ear, ODD, 1.0, now_s)
            changed = True
        if role in _DOCUMENTS:
            changed = True
            if role == SITEMAP:
                add(ear, SITEMAPS, 1.0, now_s)
            else:
                entrance = shape.told and shape.site not in (b"same-origin", b"same-site") and not sight.own_referer
                if cold and role == DOCUMENT:
                    if ear is client:
                        add(client, COLD, 1.0, now_s)
                    name = short(client)
                    meters.see(b"p" + sight.client.prefix, CLIENTS, name, now_s)
                    meters.see(self.hour(now_s), CLIENTS, name, now_s)
                    if sight.client.asn:
                        meters.see(b"n%d" % sight.client.asn, CLIENTS, name, now_s)
                    meters.see(address, CLIENTS, name, now_s)
                    meters.see(address, NAMES, short(sight.user_agent), now_s)
                    if shape.handshake:
                        meters.see(b"j" + shape.handshake, CLIENTS, short(sight.client.key), now_s)
                    if shape.rare:
                        meters.see(b"h" + shape.digest, CLIENTS, short(sight.client.key), now_s)
                keys = (ear, client) if cold and ear is not client else (ear,)
                asked = place.path.encode("utf-8", "replace")
                if role == DOCUMENT and cold:
                    keys = (*keys, address, b"p" + sight.client.prefix)
                    if sight.client.asn:
                        keys = (*keys, b"n%d" % sight.client.asn)
                    if shape.handshake:
                        keys = (*keys, b"j" + shape.handshake)
                    if shape.rare:
                        keys = (*keys, b"h" + shape.digest)
                for key in keys:
                    meters.see(key, ASKED, asked, now_s)
                self._wait(now_s, keys, entrance, at_once=shape.library)
        elif role in _PARTS_OF_PAGES:
            if role == IMAGE:
                add(ear, IMAGES, 1.0, now_s)
                changed = not (shape.cookie or shape.referer or sight.account)
            if not shape.library:
                self._live(sight, client, ear, 1.0)
        elif role in _CALLS:
            if role == SEARCH:
                add(ear, SEARCHES, 1.0, now_s)
                if place.walked:
                    add(ear, WALKED, 1.0, now_s)
                changed = True
            else:
                add(ear, DATA_CALLS, 1.0, now_s)
            if shape.told and shape.bare and not sight.account:
                add(ear, BARE, 1.0, now_s)
                meters.see(ear, ASKED, place.path.encode("utf-8", "replace"), now_s)
                changed = True
            elif shape.dest == b"empty" or (not shape.dest and (shape.referer or shape.cookie)):
                self._live(sight, client, ear, 0.5)
            if ear[:1] in b"us":
                changed = changed or place.number >= 0
        elif role == ACT:
            add(ear, BEATS, 1.0, now_s)
            self._live(sight, client, ear, 1.0)
        elif role == FEED and not shape.conditional:
            meters.see(ear, FEEDS, place.work.encode("utf-8", "replace"), now_s)
            changed = True
        if role in _EAR_ROLES and not place.public:
            work = place.work.encode("utf-8", "replace")
            meters.see(ear, TUNES, work, now_s)
            if role == DOWNLOAD and sight.account:
                meters.see(self.day(sight), TUNES, work, now_s)
            changed = True
            if sight.start > 0 and sight.end >= 0 and self.side_by_side(ear, place) >= 2:
                self._split(ear, place.work, now_s)
        elif role == TRAP:
            changed = True
        if place.number >= 0 and (
            role in (DOCUMENT, DATA, EMBED)
            or (role == IMAGE and shape.bare and not shape.player and not shape.claim.special)
        ):
            number = self._number(place)
            meters.see(ear, NUMBERS, number, now_s)
            if cold and role in (DOCUMENT, IMAGE, DATA) and not (shape.referer or shape.token or sight.account):
                if shape.rare:
                    meters.see(b"h" + shape.digest, NUMBERS, number, now_s)
                meters.see(b"p" + sight.client.prefix, NUMBERS, number, now_s)
        return changed

    def _live(self, sight: Sight, client: bytes, ear: bytes, amount: float) -> None:
        """A sign of life: what browsers and players ask for because somebody looks or listens."""
        now_s, add = sight.now_s, self.meters.add
        add(client, LIFE, amount, now_s)
        if ear is not client:
            add(ear, LIFE, amount, now_s)
            self.alive.keep(ear, True)
        add(b"a" + sight.client.key, LIFE, amount, now_s)
        if not sight.shape.bare or sight.shape.dest in (b"style", b"script"):
            self.meters.see(b"p" + sight.client.prefix, LIVING, short(client), now_s)
            self.meters.see(self.hour(now_s), LIVING, short(client), now_s)
            if sight.client.asn:
                self.meters.see(b"n%d" % sight.client.asn, LIVING, short(client), now_s)
            self.meters.see(b"a" + sight.client.key, LIVING, short(ear), now_s)
            if sight.shape.handshake:
                self.meters.see(b"j" + sight.shape.handshake, LIVING, short(sight.client.key), now_s)
            if sight.shape.rare:
                self.meters.see(b"h" + sight.shape.digest, LIVING, short(sight.client.key), now_s)

    def _number(self, place: Place) -> int:
        """The number of an id, told apart by what it is of; the range that such ids have is noted."""
        kind = _kind(place.path)
        number = min(place.number, (1 << 40) - 1)
        low = self._low.get(kind)
        if low is None:
            if len(self._low) >= 256:
                return (kind << 40) + number
            self._low[kind] = self._high[kind] = number
        elif number < low:
            self._low[kind] = number
        elif number > self._high[kind]:
            self._high[kind] = number
        return (kind << 40) + number

    def span(self, number: int) -> int:
        """How far the ids of this kind reach, as far as any were seen."""
        kind = number >> 40
        return self._high.get(kind, 0) - self._low.get(kind, 0) + 1

    def _wait(self, now_s: float, keys: tuple[bytes, ...], entrance: bool, *, at_once: bool) -> None:
        """A document is counted when it is clear whether anything follows it: at once for who never asks for more."""
        if at_once or len(self._waiting) >= MAX_WAITING:
            self._add_document(keys, entrance, now_s)
        else:
            self._waiting.append((now_s + SETTLE_S, keys, entrance))

    def _settle(self, now_s: float) -> None:
        while self._waiting and self._waiting[0][0] <= now_s:
            _, keys, entrance = self._waiting.popleft()
            self._add_document(keys, entrance, now_s)

    def _add_document(self, keys: Iterable[bytes], entrance: bool, now_s: float) -> None:
        for key in keys:
            self.meters.add(key, DOCUMENTS, 1.0, now_s)
            if entrance:
                self.meters.add(key, ENTRANCES, 1.0, now_s)

    def _split(self, ear: bytes, work: str, now_s: float) -> None:
        times = self._splits.get((ear, work))
        if times is None:
            times = []
            self._splits.keep((ear, work), times)
        times.append(now_s)
        del times[:-8]

    def side_by_side(self, ear: bytes, place: Place) -> int:
        """How many answers with parts of this file are on their way to an ear."""
        flying = self._flying.get(ear)
        return flying.get((place.work, place.path), 0) if flying else 0

    def splits(self, ear: bytes, work: str, now_s: float) -> int:
        """How many parts of a file, not its beginning, were asked for in the last five seconds."""
        return sum(1 for moment in self._splits.get((ear, work)) or () if now_s - moment <= 5.0)

    def hour(self, now_s: float, back: int = 0) -> bytes:
        """The key of the whole site in one hour, or in one before."""
        return b"w%d" % ((now_s + self._ahead_s) // HOUR_S - back)

    def wall_s(self, now_s: float) -> float:
        """A moment of the meters' clock in seconds since 1970."""
        return now_s + self._ahead_s

    def day(self, sight: Sight) -> bytes:
        """The key of an account's day."""
        return b"q%d/" % ((sight.now_s + self._ahead_s) // DAY_S) + sight.account

    def meters_of(self, key: bytes, index: int, now_s: float) -> float:
        """One number of a key, 0.0 when nothing is known of it."""
        reading = self.meters.read(key, now_s)
        return reading[index] if reading is not None else 0.0

    def introduce(self, sight: Sight, account: bytes) -> None:
        """The application has told whose session (or token) this is."""
        self.accounts.keep(sight.session or b"c" + sight.client.key + short(sight.user_agent), account)

    def download(self, sight: Sight) -> None:
        """The application has told that an account fetched a track to keep."""
        self.meters.see(self.day(sight), TUNES, sight.place.work.encode("utf-8", "replace"), sight.now_s)

    # -- in flight

    def begin(self, sight: Sight) -> tuple[bytes, tuple[str, str]] | None:
        """An answer with music is being sent; hand what this gives to `end`."""
        if sight.place.role not in (SEGMENT, AUDIO):
            return None
        key = self._ear(sight, b"c" + sight.client.key + short(sight.user_agent))
        flying = self._flying.get(key)
        if flying is None:
            if len(self._flying) >= MAX_WAITING:
                return None
            flying = self._flying[key] = {}
        name = (sight.place.work, sight.place.path)
        if name not in flying and len(flying) >= MAX_IN_FLIGHT:
            return None
        flying[name] = flying.get(name, 0) + 1
        return key, name

    def end(self, begun: tuple[bytes, tuple[str, str]]) -> None:
        key, name = begun
        flying = self._flying.get(key)
        if flying is not None and name in flying:
            flying[name] -= 1
            if not flying[name]:
                del flying[name]
            if not flying:
                del self._flying[key]

    def lanes(self, ear: bytes, work: str) -> tuple[int, int]:
        """How many different files or segments are being sent to an ear at once; and how many segments of this work."""
        flying = self._flying.get(ear) or {}
        return len(flying), sum(1 for of, _ in flying if of == work)

    # -- answers -----------------------------------------------------------------------------------------

    def learn(self, sight: Sight, status: int, audio_s: float) -> None:
        """What was answered: so many seconds of music."""
        if audio_s > 0.0 and status < 400:
            ear = self._ear(sight, b"c" + sight.client.key + short(sight.user_agent))
            self.meters.add(ear, LEAD, audio_s, sight.now_s)

    # -- judging -----------------------------------------------------------------------------------------

    def _judge(self, sight: Sight, ear: bytes, client: bytes) -> list[Signal]:
        life = Life(self, sight, ear, client)
        found = []
        for detector in self.detectors:
            signal = detector(life)
            if signal is not None:
                found.append(signal)
        return found

    def _around(self, sight: Sight) -> tuple[Signal, ...]:
        """What is held against the neighbourhoods of a client that is not known to live; looked at now and then."""
        now_s = sight.now_s
        found: tuple[Signal, ...] = ()
        keys = [b"p" + sight.client.prefix, b"a" + sight.client.key]
        if sight.client.asn and sight.place.role == DOCUMENT:
            keys.append(b"n%d" % sight.client.asn)
        if sight.shape.rare:
            keys.append(b"h" + sight.shape.digest)
        if sight.shape.handshake:
            keys.append(b"j" + sight.shape.handshake)
        if sight.shape.points >= 6 and sight.place.role == DOCUMENT:
            keys.append(self.hour(now_s))
        for key in keys:
            known = self._crowds.get(key)
            if known is None or known[0] <= now_s:
                life = Life(self, sight, key, b"")
                signals = tuple([s for s in (detector(life) for detector in self.crowds) if s is not None])
                known = (now_s + 1.0, signals)
                self._crowds.keep(key, known)
            found += known[1]
        return found


_kinds: Memo[str, int] = Memo(1_024)


def _kind(path: str) -> int:
    """A small number for what the ids in a path are of: the word before the id, `tracks` and `track` being one."""
    word = ""
    for part in path.split("/"):
        if part[:1].isdigit():
            break
        if part.isalpha() and part not in ("api", "rest"):
            word = part.lower()
    word = word.removesuffix("s")
    found = _kinds.get(word)
    if found is None:
        found = int.from_bytes(blake2b(word.encode(), digest_size=2).digest(), "big") & 0x3FFF
        _kinds.keep(word, found)
    return found

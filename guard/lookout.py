"""What those who ask have been doing, and what that says: requests in, suspicion out.

    watch(sight)   counts one request and says what is held against whoever sends it: before it is decided
    learn(...)     what its answer was: music sent, the account that the application named

The law of this file: no clock, no network, every table bounded whoever sends what. Numbers are kept in meters, which
the store merges among all workers behind the requests (`guard.observe`); what only this worker can see (requests in
flight, parts of one file) stays here. An account, and a session that was seen to live, are judged by what they did
themselves. A session that has just begun shares what is held against its address under its name; neighbourhoods are
held only against who shows no life.

Keys of meters, by their first byte: `c` an address (/64) under one User-Agent, `s` a session, `t` a token at an
address, `u` an account, `a` an address, `p` a /24 or /48, `n` an ASN, `h` a shape of headers, `j` a family of
browsers with the JA4 of its connections, `q` an account's day, `w` the site in an hour, `m` who took music cold in an
hour.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from math import inf

from guard.detectors import BY_ADDRESS, DETECTORS, OF_CROWDS, ROLES_OF, Detector
from guard.detectors.counted import (
    ASKED,
    AUDIO_S,
    BARE,
    BEATS,
    CALLS,
    CLIENTS,
    COLD,
    DAY_S,
    DENIED,
    DOCUMENTS,
    ENTRANCES,
    FED,
    FEEDS,
    FIRST,
    HEADS,
    HELD,
    HOUR_S,
    HOURS,
    IDLE_S,
    IMAGES,
    LEAD,
    LIFE,
    LIVING,
    NAMES,
    NUMBERS,
    ODD,
    PARTS,
    SEARCHES,
    SITEMAPS,
    SPARED,
    TUNES,
    WALKED,
    make_meters,
    short,
    shorts,
)
from guard.detectors.life import Life
from guard.memo import Memo
from guard.model import Identity, Signal
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
    ROLES,
    SEARCH,
    SEGMENT,
    SITEMAP,
    TRAP,
    Place,
)
from guard.sights import NOTHING, Sight, Suspicion

SETTLE_S = 6.0
"""A document counts as one that nobody followed up from so long after it on."""

MAX_WAITING = 20_000
MAX_IN_FLIGHT = 64
"""Of one key; more are not counted."""

FEW = 2
"""With so much music on its way to it at once nobody draws attention."""

NEAR = 40
"""An id so near to the one before weighs four times as much."""

HURRIED, UNHURRIED = 16, 64
"""Who lives is judged each time so much was asked, by weight: the first when something was held against it the last
time, the second when nothing was."""

HEARD_S = 0.12
"""So long after a question the fleet has told what it knows of a key."""
LONGEST_S = 3600.0
OF_ONE_REQUEST = frozenset(("download quota",))
"""Signals that refuse what was asked for, and are held against nothing else."""

OF_NO_SUM = frozenset(("audio budget",))
"""Signals that lead somewhere by themselves, and add to nothing."""

DENIED_S = 360.0
"""So long an account that has had its downloads, and asks for more, gets no music."""

MERCY_S = 5.0
"""Who comes within so long when the minutes are over is not refused at once: Retry-After is to be true."""

DOUBTED = 12.0
"""Against whom so much is held is judged at each request."""

QUIET_POINTS = 24.0
"""More is not held against an honest robot's name that nobody can check."""

SAMPLE = 100
LEAD_TOLD_S = 2.0
LIVE_S = 1.0
"""Signs of life of one ear are counted so often at most; what comes between goes with the next one."""

NOTED_S = 300.0
_NUMBERED = frozenset((DOCUMENT, DATA, EMBED))
_WALKED = frozenset((DOCUMENT, IMAGE, DATA))
_SUSPECT_ROLES = frozenset((DOCUMENT, DATA, IMAGE, SITEMAP, PLAYLIST, SEARCH))
_EAR_ROLES = frozenset((PLAYLIST, SEGMENT, AUDIO, DOWNLOAD))
_DOCUMENTS = frozenset((DOCUMENT, EMBED, SITEMAP))
_CALLS = frozenset((DATA, SEARCH))
_PARTS_OF_PAGES = frozenset((IMAGE, ASSET))
_NAVIGABLE = frozenset((ACT, DOCUMENT, EMBED, IMAGE, AUDIO, FEED, SITEMAP, SEARCH, DOWNLOAD, TRAP))
"""What people open in a tab."""

_WEIGHT = tuple({DOWNLOAD: 99, AUDIO: 16, PLAYLIST: 8, DOCUMENT: 4}.get(role, 1) for role in range(len(ROLES)))
"""How much a request of each kind brings forward the next judgement; a download is judged each time."""

_LISTS = (".m3u", ".pls", ".xspf")
"""Playlists that pages link to, for a player to open."""


class Ear:
    """What this worker knows of one ear beside its numbers: what is held against it and whether it was seen to live;
    when it has to be noted, and a sign of life counted, next; how many things with an id it asked for, or how much may
    still be asked before it is judged again; which parts of which works are on their way to it, and how many times."""

    __slots__ = (
        "ahead",
        "alive",
        "asked",
        "call_s",
        "called",
        "cold_s",
        "doubted",
        "flying",
        "held",
        "kept_s",
        "key",
        "lead_due_s",
        "lead_s",
        "left",
        "live_s",
        "lively",
        "marked",
        "mercy_s",
        "note_s",
        "paged",
        "recent",
        "signs",
        "times",
        "typed",
        "work",
    )

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.marked = key[:1] != b"c"  # is it told apart by more than its address?
        self.alive = False
        self.held: Suspicion | None = None
        self.live_s = self.call_s = self.note_s = -inf
        self.asked = self.left = 0
        self.lively = 0.0
        self.ahead = 0
        self.called = self.paged = self.doubted = False
        self.cold_s = -inf
        self.typed = ""
        self.times = self.signs = 0
        self.lead_s, self.lead_due_s = 0.0, -inf
        self.kept_s = self.mercy_s = -inf
        self.work = ""
        self.flying: dict[tuple[str, str], int] | None = None
        self.recent: tuple[int, ...] = ()  # ids that were just noted


Begun = tuple[Ear, tuple[str, str]]
"""An ear, and what is on its way to it: a work and a path."""


class Lookout:
    """Watches requests of one site. `detectors` are asked about each ear, `crowds` about each neighbourhood."""

    def __init__(
        self,
        meters: Meters | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        detectors: Sequence[Detector] = DETECTORS,
        crowds: Sequence[Detector] = OF_CROWDS,
    ) -> None:
        self.clock = clock
        self._ahead_s = wall() - clock()  # of the wall's clock
        self.meters = make_meters() if meters is None else meters
        self._asked = _by_role(detectors)
        self._asked_at_home = _by_role(BY_ADDRESS)
        self.crowds = tuple(crowds)
        self._ears: Memo[bytes, Ear] = Memo(16_384)
        self.shared = False  # are the meters merged with those of other workers?
        self.epoch = 0  # how often the application has told whose session something is
        # What the site shows, as far as people asked for it here.
        self._pages = self._parts = self._pictures = self._cookies = 0.0
        self.accounts: Memo[bytes, bytes] = Memo(32_768)  # what the application told of a session or token
        self._crowds: Memo[bytes, tuple[float, tuple[Signal, ...]]] = Memo(8_192)
        self._days: dict[bytes, float] = {}  # accounts' days on which something was kept
        self._days_due_s = -inf
        self._waiting: deque[tuple[float, tuple[bytes, ...], bool]] = deque()
        self._splits: Memo[tuple[bytes, str], list[float]] = Memo(2_048)
        self._ids: dict[int, list[int]] = {}  # of each kind how many were seen, and some of them

    # -- one request -------------------------------------------------------------------------------------

    def glance(self, ear: Ear, place: Place, role: int) -> bool:
        """Count one more request of an ear that is known to live, where a glance is enough. False when it is not; then
        nothing was counted."""
        if not ear.alive or ear.doubted or ear.held is not None:
            return False
        if role == SEGMENT:
            flying = ear.flying
            if ear.work != place.work or ear.left < 1 or (flying is not None and len(flying) > FEW):
                return False
            ear.left -= 1
            return True
        now_s = self.clock()
        if role in _PARTS_OF_PAGES:
            if now_s >= ear.live_s:
                return False
            ear.lively += 1.0
            self._parts += 1.0
            if role == IMAGE:
                self._pictures += 1.0
            if ear.marked:
                self._cookies += 1.0
            return True
        if now_s >= ear.note_s:
            return False
        if role == DATA:
            if place.serial >= 0:
                if ear.left < 1:
                    return False
                ear.left -= 1
                if place.serial not in ear.recent:
                    self._number(ear, place.serial, now_s)
            return True
        if role == PLAYLIST:
            if ear.left < _WEIGHT[PLAYLIST] or place.public:
                return False
            ear.left -= _WEIGHT[PLAYLIST]
            if ear.work != place.work:
                ear.work = place.work
                self.meters.see(ear.key, TUNES, place.work.encode("utf-8", "replace"), now_s)
            return True
        if role == DOCUMENT and ear.left >= _WEIGHT[DOCUMENT]:
            ear.left -= _WEIGHT[DOCUMENT]
            self._pages += 1.0
            self.meters.see(ear.key, ASKED, place.path.encode("utf-8", "replace"), now_s)
            if place.serial >= 0 and place.serial not in ear.recent:
                self._number(ear, place.serial, now_s)
            self._wait(now_s, (ear.key,), entrance=False, at_once=False)
            return True
        return False

    def _number(self, ear: Ear, serial: int, now_s: float) -> None:
        """Note an id that an ear asked for."""
        recent = ear.recent
        if recent and -NEAR <= serial - recent[0] <= NEAR:
            ear.left -= 3
        ear.recent = (serial, *recent[:3])
        self.meters.see(ear.key, NUMBERS, serial, now_s)

    def watch(
        self, sight: Sight, key: bytes | None = None, home: bytes | None = None, ear: Ear | None = None
    ) -> Suspicion:
        """Count a request, and tell what is held against it. `key` and `home` are those of `ear_key` and `client_key`,
        and `ear` that of the key, where they are known."""
        now_s, shape, place = sight.now_s, sight.shape, sight.place
        role = place.role
        if self._waiting and self._waiting[0][0] <= now_s:
            self._settle(now_s)
        if self._days and now_s >= self._days_due_s:
            self._remind(now_s)
        home = self.client_key(sight) if home is None else home
        key = self.ear_key(sight, home) if key is None else key
        if ear is None:
            ear = self.ear(key)
        elif self._ears.young.get(key) is not ear:
            ear = self._again(key, ear)
        if key == home:
            home = ear.key
        key = ear.key
        cold = not ear.alive
        held = self._held(ear, now_s)
        if cold and key[:1] == b"s" and self.meters_of(key, LIFE, now_s) >= 0.4:  # another worker has seen it live
            ear.alive, cold = True, False
        if held is None and cold and key[:1] == b"s":
            client = self._ears.get(home)
            held = self._held(client, now_s) if client is not None else self._held_elsewhere(home, now_s)
        if held is not None:
            return held
        if now_s >= ear.note_s:
            self._note(ear, now_s)
        if role in _PARTS_OF_PAGES and not shape.library and not shape.points:
            self._parts += 1.0
            self._pictures += role == IMAGE
            self._cookies += shape.cookie
        if not cold and role in _PARTS_OF_PAGES and not shape.points and shape.dest != b"document":
            self._live(sight, home, ear)
            return NOTHING
        judged = self._count(sight, role, home, ear, cold) or ear.doubted
        signals = shape.signals
        at_home = shape.points
        if judged:
            if ear.lead_s:
                self._tell_lead(ear, home, now_s)
            found = self._judge(sight, key, self._asked[role])
            if cold and key[:1] == b"s":  # it may come with another cookie each time
                theirs = self._judge(sight, home, self._asked_at_home[role])
                at_home += sum([signal.points for signal in theirs])
                found = _louder(found, theirs)
            signals = (*signals, *found)
        if cold and role in _SUSPECT_ROLES:
            around = self._around(sight)
            if around and shape.quiet:  # it says what it is: half as much is held against it
                around = tuple([signal._replace(points=signal.points / 2) for signal in around])
            at_home += sum([signal.points for signal in around])
            signals = (*signals, *around)
        if not signals:
            ear.doubted = False
            return NOTHING
        points = sum([signal.points for signal in signals if signal.name not in OF_NO_SUM])
        points = max([points, *(signal.points for signal in signals if signal.name in OF_NO_SUM)])
        if shape.quiet and role != TRAP and sight.identity is not Identity.SPOOFED:
            points = min(points, QUIET_POINTS)  # it says what it is, and nobody can say that this is not true
        if now_s < ear.mercy_s and points >= sight.terms.refuse_at:  # it did as it was told, and came back
            ear.mercy_s = -inf
            if self.meters_of(key, SPARED, now_s) < 1.0:  # no other worker has let it in since
                self.meters.add(key, SPARED, sight.terms.refuse_s / 2, now_s)
                self.meters.press()
                points = sight.terms.refuse_at - 1.0
        suspicion = Suspicion(points, signals)
        if judged:
            ear.left = min(ear.left, HURRIED)
            ear.doubted = points >= DOUBTED
            if ear.doubted:
                self.meters.follow(key, now_s)
        if (
            judged
            and points - sum([one.points for one in signals if one.name in OF_ONE_REQUEST]) >= sight.terms.refuse_at
        ):
            suspicion = self._hold(ear, sight, suspicion, cold)
            if cold and key is not home and at_home >= sight.terms.refuse_at:
                self._hold(self.ear(home), sight, suspicion, cold)
        return suspicion

    def _held(self, ear: Ear, now_s: float) -> Suspicion | None:
        """What is held against an ear, here or by another worker."""
        held = ear.held
        if held is not None:
            if held.until_s > now_s:
                return held
            ear.held = None
            ear.mercy_s = now_s + MERCY_S
            return None
        held = self._held_elsewhere(ear.key, now_s)
        if held is not None:
            ear.held = held
            self.meters.follow(ear.key, held.until_s)
        return held

    def _held_elsewhere(self, key: bytes, now_s: float) -> Suspicion | None:
        left_s = self.meters_of(key, HELD, now_s)
        if left_s < 1.0:
            return None
        signal = Signal("held", 40.0, "another worker has just refused it")
        return Suspicion(signal.points, (signal,), now_s + min(left_s, LONGEST_S))

    def _hold(self, ear: Ear, sight: Sight, suspicion: Suspicion, cold: bool) -> Suspicion:
        """Hold it against them for some minutes, and twice as long each time, up to an hour."""
        shared = cold and self._is_shared(sight)
        lasts_s = min(LONGEST_S, sight.terms.refuse_s * 2.0**ear.times)
        ear.times = min(6, ear.times + 1)
        ear.held = suspicion = suspicion._replace(until_s=sight.now_s + lasts_s, shared=shared)
        if not shared:  # what is shared is told apart by each worker for itself
            level_s = self.meters_of(ear.key, HELD, sight.now_s)
            self.meters.add(ear.key, HELD, max(0.0, lasts_s - level_s), sight.now_s)
            self.meters.press()
            self.meters.follow(ear.key, suspicion.until_s)
        return suspicion

    def _is_shared(self, sight: Sight) -> bool:
        """Are others behind this address who are seen to live? Calls of sessions that are never heard of again are no
        sign of others, where next to no picture, style or music goes with them."""
        address = self.meters.view(b"a" + sight.client.key, sight.now_s)
        if address is None or address[LIVING] < 2:
            return False
        home = self.meters.view(self.client_key(sight), sight.now_s)
        return home is None or address[LIFE] + home[TUNES] >= 0.02 * home[ASKED]

    @property
    def shows_parts(self) -> bool:
        """Is it known that pages of this site come with parts of their own? Where styles and pictures come from
        elsewhere, nobody who opens a page is ever seen to live."""
        return self._parts >= 3.0 and self._parts * 50.0 >= self._pages

    @property
    def shows_pictures(self) -> bool:
        """Are the pictures of its pages on this very host?"""
        return self._pictures >= 3.0 and self._pictures * 50.0 >= self._pages

    @property
    def shows_pages(self) -> bool:
        """Are pages and their parts on this very host?"""
        return self._pages >= 10.0 and self._pages * 100.0 >= self._parts

    @property
    def keeps_cookies(self) -> bool:
        """Do people who are here have a cookie of this site?"""
        return self._cookies * 4.0 >= self._parts

    @staticmethod
    def client_key(sight: Sight) -> bytes:
        """An address (a /64) under one User-Agent."""
        return b"c" + sight.client.key + (shorts.young.get(sight.user_agent) or short(sight.user_agent))

    def ear_key(self, sight: Sight, home: bytes) -> bytes:
        """Whose ears these are: an account's, else a session's, else those of an address under one name."""
        if sight.account:
            return b"u" + sight.account
        if self.epoch and sight.session and (known := self.accounts.get(sight.session)):
            return b"u" + known
        return b"s" + sight.session if sight.session else home

    def ear(self, key: bytes) -> Ear:
        """What this worker knows of an ear."""
        return self._ears.young.get(key) or self._ears.get(key) or self._meet(key)

    def _again(self, key: bytes, ear: Ear) -> Ear:
        """One that somebody else has at hand, and that may have been forgotten here."""
        known = self._ears.get(key)
        if known is None:
            self._ears.keep(key, ear)
            return ear
        if known is not ear:
            ear.alive = False  # a glance at the other one is never enough
        return known

    def _meet(self, key: bytes) -> Ear:
        ear = Ear(key)
        self._ears.keep(key, ear)
        return ear

    def _note(self, ear: Ear, now_s: float) -> None:
        """Now and then: when it was seen first, and in which hours it is active."""
        ear.note_s = now_s + NOTED_S
        self.meters.add(ear.key, FIRST, 1.0, now_s)
        self.meters.see(ear.key, HOURS, int((now_s + self._ahead_s) // HOUR_S), now_s)

    def _count(self, sight: Sight, role: int, home: bytes, ear: Ear, cold: bool) -> bool:
        """Count a request under its keys. Tells whether it is time to judge whoever sends it."""
        now_s, shape, place, meters = sight.now_s, sight.shape, sight.place, self.meters
        add, key = meters.add, ear.key
        judged = False
        if sight.method == "HEAD":
            add(key, HEADS, 1.0, now_s)
            judged = True
        if shape.dest == b"document" and role not in _NAVIGABLE and not place.path.endswith(_LISTS):
            add(key, ODD, 1.0, now_s)
            judged = True
        if role in _DOCUMENTS:
            judged = cold or role != DOCUMENT or _is_due(ear, role)
            if role == SITEMAP:
                add(key, SITEMAPS, 1.0, now_s)
            else:
                self._open(sight, role, home, key, cold)
        elif role in _PARTS_OF_PAGES:
            shown = role != IMAGE or self._shows(ear, home, now_s)
            if not shown and not sight.account and not shape.token:
                add(key, IMAGES, 1.0, now_s)
                judged = True
            if shown and not shape.library:
                self._live(sight, home, ear)
        elif role in _CALLS:
            judged = self._call(sight, role, home, ear) or judged
        elif role == ACT:
            add(key, BEATS, 1.0, now_s)
            self._live(sight, home, ear)
        elif role == FEED and not shape.conditional:
            meters.see(key, FEEDS, place.work.encode("utf-8", "replace"), now_s)
            add(key, FED, 1.0, now_s)
            judged = True
        elif role in _EAR_ROLES and not place.public:
            ear.work = place.work
            work = place.work.encode("utf-8", "replace")
            meters.see(key, TUNES, work, now_s)
            if cold and key[:1] == b"s":
                meters.see(home, TUNES, work, now_s)
            if role == DOWNLOAD and sight.account:
                self._keep_today(sight.account, place, now_s)
            judged = cold or _is_due(ear, role) or judged or (ear.flying is not None and len(ear.flying) > FEW)
            if sight.start > 0 and sight.end >= 0 and (beside := _beside(ear, place)):
                add(key, PARTS, 1.0, now_s)
                if beside >= 2:
                    self._split(key, place.work, now_s)
        elif role == TRAP:
            judged = True
        if place.serial >= 0 and (
            role in _NUMBERED or (role == IMAGE and not ear.paged and not shape.player and not shape.claim.special)
        ):
            meters.see(key, NUMBERS, place.serial, now_s)
            if cold and role in _WALKED and not (shape.referer or shape.token or sight.account):
                crowds = [b"p" + sight.client.prefix]
                if shape.rare:
                    crowds.append(b"h" + shape.digest)
                for crowd in crowds:  # there the names are addresses: of those who walk
                    meters.see(crowd, NUMBERS, place.serial, now_s)
                    meters.see(crowd, NAMES, short(sight.client.key), now_s)
        return judged

    def _open(self, sight: Sight, role: int, home: bytes, key: bytes, cold: bool) -> None:
        """A document is opened."""
        now_s, shape, see = sight.now_s, sight.shape, self.meters.see
        self._pages += 1.0
        if self._pages > 10_000.0:
            self._pages, self._parts = self._pages / 2, self._parts / 2
            self._pictures, self._cookies = self._pictures / 2, self._cookies / 2
        entrance = shape.site in (b"none", b"cross-site") and not sight.own_referer
        keys = [key] if key is home or not cold else [key, home]
        if cold and role == DOCUMENT:
            if key is home:
                self.meters.add(home, COLD, 1.0, now_s)
            around = self._neighbours(sight)
            for crowd, member in around:
                see(crowd, CLIENTS, member, now_s)
            see(self.hour(now_s), CLIENTS, short(home), now_s)
            see(b"a" + sight.client.key, NAMES, short(sight.user_agent), now_s)
            keys += [crowd for crowd, _ in around]
        asked = sight.place.path.encode("utf-8", "replace")
        for each in keys:
            see(each, ASKED, asked, now_s)
        if shape.prefetch and self._ahead(key, now_s):
            return
        self._wait(now_s, tuple(keys), entrance, at_once=shape.library)

    def _ahead(self, key: bytes, now_s: float) -> bool:
        """Of the pages that a browser loads ahead, three of four are not held against anybody."""
        ear = self._ears.get(key)
        if ear is None:
            return False
        ear.ahead += 1
        return bool(ear.ahead & 3)

    def _neighbours(self, sight: Sight) -> list[tuple[bytes, bytes]]:
        """The neighbourhoods of a client, each with what it is one of there."""
        client, shape = sight.client, sight.shape
        one = short(self.client_key(sight))
        found = [(b"a" + client.key, one), (b"p" + client.prefix, short(client.key))]
        if client.asn:
            found.append((b"n%d" % client.asn, one))
        if shape.handshake:
            found.append((b"j" + shape.handshake, short(client.key)))
        if shape.rare:
            found.append((b"h" + shape.digest, short(client.key)))
        return found

    def _shows(self, ear: Ear, home: bytes, now_s: float) -> bool:
        """Has somebody who asks for a picture anything to show it on: a page, or a call, that was seen somewhere?"""
        if not ear.paged:
            for key in (ear.key, home):
                known = self.meters.view(key, now_s)
                if known is not None and known[ASKED] + known[CALLS] + known[BEATS] + known[LIFE] > 0.2:
                    ear.paged = True
        return ear.paged

    def _call(self, sight: Sight, role: int, home: bytes, ear: Ear) -> bool:
        """A call of the API."""
        now_s, shape, key = sight.now_s, sight.shape, ear.key
        judged = False
        if role == SEARCH:
            self.meters.add(key, SEARCHES, 1.0, now_s)
            if sight.place.walked:
                self.meters.add(key, WALKED, 1.0, now_s)
                judged = True
        if shape.bare and shape.told and not sight.account:
            self.meters.add(key, BARE, 1.0, now_s)
            self.meters.see(key, ASKED, sight.place.path.encode("utf-8", "replace"), now_s)
            judged = True
        elif sight.place.route_class == "artwork":  # the picture of a track's sound, which its page shows
            self._live(sight, home, ear)
        elif shape.dest == b"empty" or shape.token or (not shape.dest and (shape.referer or shape.cookie)):
            self._call_of_a_page(sight, role, home, ear)
            if not ear.alive:
                self.heard_of(home, now_s)
                ear.asked += 1
                judged = judged or not ear.asked & 7
                if key is not home:  # its session may be another one each time
                    there = self.ear(home)
                    there.asked += 1
                    judged = judged or not there.asked & 7
        if sight.place.serial >= 0:
            if ear.alive:
                judged = _is_due(ear, DATA) or judged
            else:
                ear.asked += 1
                judged = judged or not ear.asked & 7
        return judged

    def _call_of_a_page(self, sight: Sight, role: int, home: bytes, ear: Ear) -> None:
        """A call as pages make them. It is no proof of a page: what is asked for is noted until one is seen to live."""
        now_s, key = sight.now_s, ear.key
        if now_s >= ear.call_s:
            ear.call_s = now_s + LIVE_S
            self.meters.add(key, CALLS, 1.0, now_s)
            if key is not home:
                self.meters.add(home, CALLS, 1.0, now_s)
        if not ear.called:
            ear.called = True
            for crowd, member in self._neighbours(sight):
                self.meters.see(crowd, LIVING, short(key) if crowd[:1] == b"a" else member, now_s)
            self.meters.see(self.hour(now_s), LIVING, short(home), now_s)
        if ear.alive:
            return
        text, before = sight.place.asked, ear.typed
        ear.typed = text
        if role == SEARCH and text and (text.startswith(before) or before.startswith(text)) and before:
            return  # as one types
        asked = short(f"{sight.place.path} {text}".encode("utf-8", "replace"))
        self.meters.see(key, ASKED, asked, now_s)
        if key is not home:
            self.meters.see(home, ASKED, asked, now_s)

    def _live(self, sight: Sight, home: bytes, ear: Ear) -> None:
        """A sign of life: what browsers and players ask for because somebody looks or listens."""
        now_s, add, key = sight.now_s, self.meters.add, ear.key
        if now_s < ear.live_s:
            ear.lively += 1.0
            return
        amount, ear.lively = 1.0 + ear.lively, 0.0
        ear.signs += 1
        ear.live_s = now_s + min(10.0, LIVE_S * (1.0 + ear.signs / 4.0))  # who is known to live is asked seldom
        add(home, LIFE, amount, now_s)
        if key is not home:
            add(key, LIFE, amount, now_s)
            ear.alive = True
        add(b"a" + sight.client.key, LIFE, amount, now_s)
        if not sight.shape.bare or sight.shape.dest in (b"style", b"script"):
            see = self.meters.see
            for crowd, member in self._neighbours(sight):
                see(crowd, LIVING, short(key) if crowd[:1] == b"a" else member, now_s)
            see(self.hour(now_s), LIVING, short(home), now_s)

    def span_with(self, serial: int) -> None:
        """Note an id, so that it is known how far ids of its kind reach: a fair sample of them is kept."""
        kind = serial >> 40
        sample = self._ids.get(kind)
        if sample is None:
            if len(self._ids) >= 256:
                del self._ids[min(self._ids, key=lambda one: self._ids[one][0])]  # words that nobody asks for
            sample = self._ids[kind] = [0]
        sample[0] += 1
        if len(sample) <= SAMPLE:
            sample.append(serial)
        else:  # Vitter's algorithm R, with the id itself for chance
            place = int.from_bytes(blake2b(b"%d" % (serial + sample[0]), digest_size=4).digest(), "big") % sample[0]
            if place < SAMPLE:
                sample[place + 1] = serial

    def span(self, serial: int) -> int:
        """How far the ids of this kind reach: twice as far as the middle half of them, so that odd ones count for
        nothing."""
        sample = sorted(self._ids.get(serial >> 40, (0,))[1:])
        if not sample:
            return 1
        cut = len(sample) // 4
        return (sample[len(sample) - 1 - cut] - sample[cut]) * 2 + 1

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

    def heard_of(self, home: bytes, now_s: float) -> bool:
        """Has the fleet told what it knows of an address? It is asked at the first time; a worker alone knows all."""
        if not self.shared:
            return True
        ear = self.ear(home)
        if ear.cold_s == -inf:
            ear.cold_s = now_s
            self.meters.ask(home, now_s)
            self.meters.ask(self._cold_key(now_s), now_s)
        return now_s - ear.cold_s >= HEARD_S

    def cold_music(self, home: bytes, now_s: float) -> float:
        """Somebody takes music cold. How many did within two hours, on the whole site: one alone may have all that a
        page needs in a cache."""
        key = self._cold_key(now_s)
        self.meters.see(key, CLIENTS, short(home), now_s)
        return self.meters_of(key, CLIENTS, now_s) + self.meters_of(self._cold_key(now_s, 1), CLIENTS, now_s)

    def _cold_key(self, now_s: float, back: int = 0) -> bytes:
        return b"m%d" % ((now_s + self._ahead_s) // HOUR_S - back)

    def splits(self, ear: bytes, work: str, now_s: float) -> int:
        """How many parts of a file, not its beginning, were asked for in the last five seconds."""
        return sum(1 for moment in self._splits.get((ear, work)) or () if now_s - moment <= 5.0)

    def hour(self, now_s: float, back: int = 0) -> bytes:
        """The key of the whole site in one hour, or in one before."""
        return b"w%d" % ((now_s + self._ahead_s) // HOUR_S - back)

    def wall_s(self, now_s: float) -> float:
        """A moment of the meters' clock in seconds since 1970."""
        return now_s + self._ahead_s

    def day_key(self, account: bytes, now_s: float) -> bytes:
        """The key of an account's day."""
        return b"q%d/" % ((now_s + self._ahead_s) // DAY_S) + account

    def meters_of(self, key: bytes, index: int, now_s: float) -> float:
        """One number of a key, 0.0 when nothing is known of it."""
        reading = self.meters.view(key, now_s)
        return reading[index] if reading is not None else 0.0

    def introduce(self, session: bytes, account: bytes) -> None:
        """The application has told whose session or token this is."""
        if self.accounts.get(session) != account:
            self.accounts.keep(session, account)
            self.epoch += 1

    def download(self, account: bytes, place: Place) -> None:
        """The application has told that an account fetched a track to keep."""
        now_s = self.clock()
        self._keep_today(account, place, now_s)
        ear = self._ears.get(b"u" + account)
        if ear is not None:
            ear.kept_s = now_s

    def _keep_today(self, account: bytes, place: Place, now_s: float) -> None:
        """Count a download on the account's day. It lasts until the day is over, however long nobody asks: it is asked
        for now and then."""
        key = self.day_key(account, now_s)
        self.meters.see(key, TUNES, place.work.encode("utf-8", "replace"), now_s)
        if len(self._days) < MAX_WAITING:
            self._days[key] = now_s
        if now_s >= self._days_due_s:
            self._remind(now_s)

    def _remind(self, now_s: float) -> None:
        """Have the days of accounts remembered."""
        self._days_due_s = now_s + IDLE_S / 4
        today = b"q%d/" % ((now_s + self._ahead_s) // DAY_S)
        self._days = {key: told_s for key, told_s in self._days.items() if key.startswith(today)}
        for key in self._days:
            self.meters.ask(key, now_s)

    def deny(self, account: bytes, now_s: float) -> None:
        """An account has had its downloads of the day, and asked for more."""
        self.meters.add(self.day_key(account, now_s), DENIED, 1.0, now_s)

    def denied(self, account: bytes, now_s: float) -> bool:
        """Did an account that has had its downloads ask for more, some minutes ago at most?"""
        return now_s - (self.meters_of(self.day_key(account, now_s), DENIED, now_s) or -inf) < DENIED_S

    def keeps(self, key: bytes, now_s: float) -> bool:
        """Did an ear just now fetch music to keep, as the application told?"""
        ear = self._ears.get(key)
        return ear is not None and now_s - ear.kept_s < DENIED_S

    def lanes(self, ear: bytes, work: str) -> tuple[int, int]:
        """How many different files or segments are being sent to an ear at once; and how many segments of this work."""
        known = self._ears.get(ear)
        flying = (known.flying if known is not None else None) or {}
        return len(flying), sum(1 for of, _ in flying if of == work)

    # -- answers -----------------------------------------------------------------------------------------

    def learn(self, key: bytes, home: bytes, audio_s: float, now_s: float) -> None:
        """So many seconds of music were sent to an ear, at an address."""
        ear = self._ears.young.get(key) or self._ears.get(key)
        if ear is None:
            self.meters.add(key, LEAD, audio_s, now_s)
        else:
            self.gain(ear, home, audio_s, now_s)

    def gain(self, ear: Ear, home: bytes, audio_s: float, now_s: float) -> None:
        """As `learn`, of an ear that is at hand."""
        ear.lead_s += audio_s
        if now_s >= ear.lead_due_s:
            self._tell_lead(ear, home, now_s)

    def _tell_lead(self, ear: Ear, home: bytes, now_s: float) -> None:
        if ear.lead_s > 0.0:
            self.meters.add(ear.key, LEAD, ear.lead_s, now_s)
            if ear.key[:1] == b"u":
                self.meters.add(self.day_key(ear.key[1:], now_s), AUDIO_S, ear.lead_s, now_s)
            if ear.key[:1] == b"s" and not ear.alive:
                self.meters.add(home, LEAD, ear.lead_s, now_s)
        ear.lead_s, ear.lead_due_s = 0.0, now_s + LEAD_TOLD_S

    # -- judging -----------------------------------------------------------------------------------------

    def _judge(self, sight: Sight, key: bytes, detectors: tuple[Detector, ...]) -> list[Signal]:
        """Ask the detectors that have something to say of such a request."""
        life = Life(self, sight, key)
        found = []
        for detector in detectors:
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
                life = Life(self, sight, key)
                signals = tuple([s for s in (detector(life) for detector in self.crowds) if s is not None])
                known = (now_s + 1.0, signals)
                self._crowds.keep(key, known)
            found += known[1]
        return found


def begin(ear: Ear, place: Place) -> Begun | None:
    """An answer with music is being sent to an ear; hand what this gives to `end`."""
    flying = ear.flying
    if flying is None:
        flying = ear.flying = {}
    name = (place.work, place.path)
    if name in flying:
        flying[name] += 1
    elif len(flying) < MAX_IN_FLIGHT:
        flying[name] = 1
    else:
        return None
    return ear, name


def end(begun: Begun) -> None:
    """That answer is over."""
    ear, name = begun
    flying = ear.flying
    if flying is not None and name in flying:
        if flying[name] > 1:
            flying[name] -= 1
        else:
            del flying[name]


def _beside(ear: Ear, place: Place) -> int:
    """How many answers with parts of this file are on their way to an ear."""
    return ear.flying.get((place.work, place.path), 0) if ear.flying else 0


def _is_due(ear: Ear, role: int) -> bool:
    """Is it time to judge an ear that lives? What it asks for weighs, and so much may be asked in between."""
    ear.left -= _WEIGHT[role]
    if ear.left >= 0:
        return False
    ear.left = UNHURRIED
    ear.recent = ()
    return True


def _louder(found: list[Signal], others: list[Signal]) -> list[Signal]:
    """Both, and of two with one name the one that says more."""
    louder = {signal.name: signal for signal in found}
    for signal in others:
        if signal.name not in louder or louder[signal.name].points < signal.points:
            louder[signal.name] = signal
    return list(louder.values())


def _by_role(detectors: Sequence[Detector]) -> tuple[tuple[Detector, ...], ...]:
    """Which of the detectors are asked about each kind of request."""
    return tuple(
        tuple(one for one in detectors if one not in ROLES_OF or role in ROLES_OF[one]) for role in range(len(ROLES))
    )

"""A policy's look at those who ask: from a request's headers to suspicion, and from suspicion to a decision.

    look     before a request is passed on: count it, and make of the decision what suspicion asks for
    hear     the answer is over: what was sent, and what the application told with it

The law: who is refused by the policy is refused, whatever is found here; who is let pass by it may still be refused
here, but nothing that only pages can do (a challenge) is ever asked of anything else, and nobody who is verified is
looked at. What the application tells is believed only from its answers, never from a request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from guard.browsers import Claim
from guard.detectors.counted import DAY_S, short
from guard.identify import TrustedHops, outer_scheme
from guard.lookout import DENIED_S, Begun, Ear, Lookout, begin, end
from guard.memo import Memo, make_same
from guard.model import Agent, Client, Decision, Detecting, Identity, Mode, Request, Signal, Stage
from guard.passes import Passes
from guard.patterns import PathPatterns
from guard.places import (
    ASSET,
    AUDIO,
    DATA,
    DOCUMENT,
    DOWNLOAD,
    IMAGE,
    MAX_WORK_CHARS,
    SEARCH,
    SEGMENT,
    Place,
    read_place,
)
from guard.policy import TRAP, Policy
from guard.shape import Shape, read_shape, untold_shape
from guard.sights import Sight, Suspicion

ACCOUNT, ENTITLEMENT, AUDIO_SECONDS, WORK = (
    b"x-guard-account",
    b"x-guard-entitlement",
    b"x-guard-audio-seconds",
    b"x-guard-work",
)
HINTS = frozenset((ACCOUNT, ENTITLEMENT, AUDIO_SECONDS, WORK))
"""Headers of the application's answers by which it tells what it knows. They never leave the guard."""

SPOKEN = HINTS | {b"x-emby-authorization", b"x-emby-token"}
"""Headers of a request that have to be read before it is known whose it is."""

AHEAD = frozenset((b"sec-purpose", b"purpose"))
"""Headers by which a browser says that it loads ahead what nobody has asked for yet."""

SESSIONS = (
    b"sid", b"session", b"sessionid", b"session_id", b"connect.sid", b"phpsessid", b"jsessionid", b"laravel_session",
    b"_session", b"_session_id", b"nd-session", b"__host-session", b"__secure-session", b"csrftoken", b"auth_token",
)  # fmt: skip
"""Cookies that tell visitors apart, where `site: session` does not name one."""

RANK = {"label": 0, "throttle": 1, "challenge": 2, "refuse": 3}
AUDIBLE = frozenset((SEGMENT, AUDIO))
"""Whose answers are music."""
LONGEST_ACCOUNT = 256
_LONGEST_WHO = 1_024
_LONGEST_SHAPE = 3_072
MAX_ASKED = 3
"""Who was challenged so often and never comes back with a pass keeps no cookies, or does not mind: nobody loops."""

_same = make_same(1_024)

_PASSED = Signal("passed a challenge", -15.0, "it came back from a challenge")


class Who(NamedTuple):
    """Whose request it is: the client, the key of its address under its name, its session, and the key of its ear, as
    of an `epoch` of what the application has told. `ear` is what this worker knows of it."""

    client: Client
    home: bytes
    session: bytes
    key: bytes
    epoch: int
    ear: Ear


class Watched(NamedTuple):
    """A request that was looked at, and what has to be told when its answer is over."""

    who: Who
    place: Place
    account: bytes = b""
    begun: Begun | None = None
    head: bool = False  # nothing is sent but the head


class Recognised(NamedTuple):
    """A request whose sender and purpose are known: what a glance needs."""

    watching: Watching
    peer: str | None
    decision: Decision
    who: Who
    place: Place
    role: int


class Told(NamedTuple):
    """What is known of a request from elsewhere than its headers: the application's word on the account, whether it
    spoke HTTP/1 to the outermost hop (None = not known), whether it spoke HTTPS, and the JA4 of its connection."""

    account: bytes = b""
    http1: bool | None = None
    secure: bool = False
    ja4: bytes = b""


UNTOLD = Told()


def by_name(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers by name, in their order; of several the last, but that cookies may come in several lines (RFC 9113
    8.2.3)."""
    fields = dict(headers)
    if len(fields) != len(headers):
        cookies = [value for name, value in headers if name == b"cookie"]
        if len(cookies) > 1:
            fields[b"cookie"] = b"; ".join(cookies)
    return fields


class Watching:
    """The detection of one policy. `lookout` may be shared with other policies of the same site."""

    def __init__(self, policy: Policy, terms: Detecting, lookout: Lookout, secret: bytes = b"") -> None:
        self.terms = terms
        self.lookout = lookout
        self.mode = terms.mode or policy.mode
        self.secure = terms.secure
        if self.secure is None and policy.site.url:
            self.secure = policy.site.url.startswith("https://")
        self.passes = Passes(secret, policy.site.name)
        self._session = policy.site.session
        self._account = policy.site.account if policy.site.account and policy.site.account[0] == "header" else None
        self._special = PathPatterns((*terms.traps, *terms.downloads), case_sensitive=policy.site.case_sensitive)
        self._traps = len(terms.traps)
        self._feeds = frozenset(
            pattern.split("/")[1]
            for entry in policy.routes
            if entry.route_class == "feed"
            for pattern in entry.paths
            if pattern.count("/") and "*" not in pattern.split("/")[1]
        )
        self._has_special = bool(terms.traps or terms.downloads)
        site = policy.site
        self._trusted = TrustedHops(site.trusted_proxies, site.client_ip_header, site.trusted_hops, site.trust_unix)
        self._lower = not policy.site.case_sensitive
        self._protocol = terms.protocol_header.encode()
        self._ja4 = terms.ja4_header.encode()
        self._stages = sorted(terms.steps, key=lambda stage: stage.at)
        self._challenge_at = min(
            (stage.at for stage in self._stages if stage.then == "challenge"), default=float("inf")
        )
        self.least = min((stage.at for stage in self._stages), default=float("inf"))
        # What else has to be read to tell who asks is read on the slower road.
        self.hop = self._trusted.header if self._trusted.networks or self._trusted.trust_unix else b""
        self.hurries = not (self._protocol or self._ja4 or self._session or self._account)
        self._shapes: Memo[tuple[object, ...], Shape] = Memo(8_192)
        self._places: Memo[tuple[object, ...], Place] = Memo(8_192)
        self._works: Memo[str, str] = Memo(8_192)  # by path: the work that the application named
        self.names_works = False  # did the application name any?
        self._fresh = -1  # the id of the place that was read last, where it had not been seen before
        self.whos: Memo[tuple[object, ...], Who] = Memo(16_384)
        self._asked: Memo[bytes, tuple[float, int]] = Memo(8_192)  # who was challenged: since when, how often

    # -- reading -----------------------------------------------------------------------------------------

    def newest_s(self) -> float:
        """The moment by which the age of a browser is told."""
        return self.terms.newest_s or self.lookout.wall_s(self.lookout.clock())

    def shape(
        self, fields: Mapping[bytes, bytes], agent: Agent, http1: bool | None, secure: bool, ja4: bytes = b""
    ) -> Shape:
        """The shape of these headers; made once for all that look alike."""
        get = fields.get
        key = (
            tuple(fields),
            get(b"user-agent"),
            get(b"accept"),
            get(b"accept-encoding"),
            get(b"accept-language"),
            get(b"sec-fetch-dest"),
            get(b"sec-fetch-mode"),
            get(b"sec-fetch-site"),
            get(b"sec-ch-ua"),
            get(b"sec-purpose"),
            get(b"purpose"),
            get(b"upgrade"),
            http1,
            secure,
            ja4,
        )
        shape = self._shapes.young.get(key) or self._shapes.get(key)
        if shape is None:
            shape = read_shape(
                fields,
                agent,
                secure=secure,
                newest_s=self.newest_s(),
                http1=http1,
                ja4=ja4,
                ordered=self.terms.header_order,
            )
            lengths = sum(map(len, fields)) + sum(len(part) for part in key if part.__class__ is bytes)
            if lengths <= _LONGEST_SHAPE:
                self._shapes.keep(key, shape)
        return shape

    def place(self, request: Request, route_class: str, path: str = "") -> Place:
        """What the request is for. `path` is how its target reads where it has escapes."""
        get = request.method == "GET" or request.method == "HEAD"
        key = (request.target, request.query, route_class, get)
        place = self._places.young.get(key) or self._places.get(key)
        if place is None:
            readable = path or request.target.decode("latin-1")
            query = request.query.decode("latin-1")
            special = self.special if self._has_special else None
            place = read_place(readable, query, route_class, request.method, special, self._feeds)
            self._fresh = place.serial
            if len(request.target) + len(request.query) <= 512:
                self._places.keep(key, place)
        return self.named(place)

    def named(self, place: Place) -> Place:
        """The same, with the work that the application has named for its path, if it has."""
        work = self._works.get(place.path[:_LONGEST_WHO]) if self.names_works else None
        return place if work is None or work == place.work else place._replace(work=work)

    def special(self, path: str) -> str:
        """What the policy says that a path is: "trap", "download" or ""."""
        found = self._special.match(path.lower() if self._lower else path)
        if not found:
            return ""
        return "trap" if found[0] < self._traps else "download"

    def session(self, request: Request, fields: Mapping[bytes, bytes], client: Client) -> bytes:
        """Eight bytes that stand for the session or the token that a request carries, b"" when it carries none."""
        if request.session:
            return short(b"k" + request.session)
        return self.cookies(fields, client)

    def cookies(self, fields: Mapping[bytes, bytes], client: Client) -> bytes:
        """As `session`, from the headers alone."""
        cookie = fields.get(b"cookie")
        if cookie is not None and self._session is None:
            name, _, value = cookie.partition(b"=")
            if name == b"sid" and b";" not in value and len(value) > 2:  # nothing else stands there
                return short(b"k" + value)
            for pair in cookie.split(b";", 32):
                name, _, value = pair.partition(b"=")
                if name.strip().lower() in SESSIONS and value.strip(b' "'):
                    return short(b"k" + value)
        token = fields.get(b"authorization") or fields.get(b"x-emby-authorization") or fields.get(b"x-emby-token")
        if token is not None:
            return short(b"t" + token + client.key)
        return b""

    # -- looking -----------------------------------------------------------------------------------------

    def recognise(
        self,
        request: Request,
        decision: Decision,
        fields: Mapping[bytes, bytes],
        identify: Callable[[str | None, tuple[bytes, ...]], tuple[Client, object, object]],
    ) -> Recognised | None:
        """Whose request it is and what it is for, where a glance may be enough. It holds for all requests with the same
        decision and the same fields from the same peer, while `knows` says so."""
        target, forwarded = request.target, request.forwarded
        if not self.hurries or len(forwarded) > 1 or b"%" in target or b"//" in target:
            return None
        if decision.identity is Identity.VERIFIED or decision.rule == TRAP or request.method == "HEAD":
            return None
        hop = forwarded[0] if forwarded else None
        get = fields.get
        who = self.whos.young.get((request.peer, hop, get(b"user-agent"), get(b"cookie"), get(b"authorization")))
        if who is None or who.epoch != self.lookout.epoch or not fields.keys().isdisjoint(SPOKEN):
            who = self.who(identify, request.peer, hop, fields)
            if who is None:
                return None
        place = self.place(request, decision.route_class)
        paged = place.role == DOCUMENT
        if place.signed or (get(b"sec-fetch-dest") == b"document") is not paged:
            return None
        if paged and not AHEAD.isdisjoint(fields):
            return None
        return Recognised(self, request.peer, decision, who, place, place.role)

    def knows(self, known: Recognised, peer: str | None, decision: Decision) -> bool:
        """Is this still what a request with the same fields is?"""
        return (
            known.watching is self
            and known.decision is decision
            and known.peer == peer
            and known.who.epoch == self.lookout.epoch
        )

    def glimpse(self, known: Recognised) -> bool:
        """Is it an ear that lives and where a glance is enough? Then it is counted, and nothing is held against it.
        False where it has to be looked at; then nothing was counted."""
        _, _, _, who, place, role = known
        if not self.lookout.glance(who.ear, self.named(place) if self.names_works else place, role):
            return False
        if self._fresh >= 0:
            fresh, self._fresh = self._fresh, -1
            self.lookout.span_with(fresh)
        return True

    def start(self, known: Recognised) -> Watched:
        """What has to be told when the answer to a request is over for which a glimpse was enough; if it is music, it
        is on its way now."""
        who, place = known.who, self.named(known.place)
        return Watched(who, place, b"", begin(who.ear, place) if known.role in AUDIBLE else None)

    def look(
        self,
        request: Request,
        client: Client,
        decision: Decision,
        fields: Mapping[bytes, bytes] | None,
        told: Told = UNTOLD,
        path: str = "",
    ) -> tuple[Decision, Watched | None]:
        """Count a request that the policy lets pass, and say what becomes of it. `fields` are its headers (names in
        lower case), None where they were not seen."""
        if decision.identity is Identity.VERIFIED:
            return decision, None
        sight = self.sight(request, client, decision, fields, told, path)
        fresh, self._fresh = self._fresh, -1
        home = self.lookout.client_key(sight)
        key = self.lookout.ear_key(sight, home)
        suspicion = self.lookout.watch(sight, key, home)
        if decision.rule == TRAP:  # refused already; what is held against it from now on is what counts
            return decision._replace(signals=suspicion.signals), None
        if suspicion.points >= self.least:
            decision = self.act(decision, sight, suspicion, fields)
            if decision.action in ("refuse", "challenge") and decision.mode is Mode.ENFORCE:
                return decision, None
        if fresh >= 0:  # what is refused does not say how far ids reach
            self.lookout.span_with(fresh)
        return decision, self.watched(sight, key, home)

    def watched(self, sight: Sight, key: bytes, home: bytes) -> Watched:
        """What is to be told when the answer to this request is over; if it is music, it is on its way now."""
        lookout = self.lookout
        who = Who(sight.client, home, sight.session, key, lookout.epoch, lookout.ear(key))
        begun = begin(who.ear, sight.place) if sight.place.role in AUDIBLE else None
        return Watched(who, sight.place, sight.account, begun, sight.method == "HEAD")

    def who(
        self,
        identify: Callable[[str | None, tuple[bytes, ...]], tuple[Client, object, object]],
        peer: str | None,
        hop: bytes | None,
        fields: Mapping[bytes, bytes],
    ) -> Who | None:
        """Whose request this is; None where more has to be read to tell. `identify` finds the client behind a peer and
        the line of the header that hops write."""
        if not SPOKEN.isdisjoint(fields):
            return None
        get = fields.get
        user_agent, cookie, token = get(b"user-agent"), get(b"cookie"), get(b"authorization")
        known = (peer, hop, user_agent, cookie, token)
        who = self.whos.young.get(known) or self.whos.get(known)
        if who is not None and who.epoch == self.lookout.epoch:
            return who
        client = identify(peer, () if hop is None else (hop,))[0]
        home = b"c" + client.key + short(user_agent or b"")
        session = self.cookies(fields, client)
        account = self.lookout.accounts.get(session) if session else None
        key = b"u" + account if account else b"s" + session if session else home
        who = Who(client, home, session, key, self.lookout.epoch, self.lookout.ear(key))
        if len(cookie or b"") + len(token or b"") + len(user_agent or b"") + len(hop or b"") <= _LONGEST_WHO:
            self.whos.keep((_same(peer), hop, _same(user_agent), cookie, token), who)
        return who

    def gaze(
        self, who: Who, fields: Mapping[bytes, bytes], scope: Mapping[str, Any], decision: Decision, place: Place
    ) -> tuple[Sight, Suspicion] | None:
        """`look` for a kind of request that is known, where a glance was not enough. None when nothing is held against
        it."""
        lookout = self.lookout
        get = fields.get
        secure = self.secure
        if secure is None:
            secure = self.spoke_https(scope)
        shape = self.shape(fields, decision.agent, None, secure)
        if place.role == DOCUMENT and not shape.html:
            place = _as_fetched(place, shape, get(b"accept", b""))
        if place.signed:
            shape = shape._replace(token=True, bare=False, signed=True)
        start = end = -1
        if place.role in AUDIBLE and (asked := get(b"range")) is not None:
            start, end = _closed(asked)
        own = False
        if shape.referer and place.role == DOCUMENT:
            own = _host(fields[b"referer"]) == get(b"host", b"?")
        now_s = lookout.clock()
        account = who.key[1:] if who.key[:1] == b"u" else b""
        sight = Sight(
            now_s, who.client, decision.agent, decision.identity, shape, place, scope["method"],
            get(b"user-agent", b""), who.session, account, start, end, own, lookout.wall_s(now_s), self.terms,
        )  # fmt: skip
        suspicion = lookout.watch(sight, who.key, who.home, who.ear)
        return None if suspicion.points < self.least else (sight, suspicion)

    def spoke_https(self, scope: Mapping[str, Any]) -> bool:
        """Did the client speak HTTPS, as far as the scope and a trusted hop tell?"""
        own, peer = "https" if scope.get("scheme") == "https" else "http", scope.get("client")
        return outer_scheme(own, peer[0] if peer else None, scope["headers"], self._trusted) == "https"

    def sight(
        self,
        request: Request,
        client: Client,
        decision: Decision,
        fields: Mapping[bytes, bytes] | None,
        told: Told = UNTOLD,
        path: str = "",
    ) -> Sight:
        """The request as it is looked at."""
        now_s = self.lookout.clock()
        wall_s = self.lookout.wall_s(now_s)
        place = self.place(request, decision.route_class, path)
        user_agent = request.user_agent or b""
        if fields is None:
            shape = untold_shape(decision.agent, request.user_agent)
            return Sight(
                now_s, client, decision.agent, decision.identity, shape, place, request.method, user_agent,
                b"", told.account, -1, -1, False, wall_s, self.terms,
            )  # fmt: skip
        http1 = told.http1
        hop = self._trusted.trusts(request.peer) if self._protocol or self._ja4 else False
        if self._protocol and hop:
            said = fields.get(self._protocol, b"").upper()
            http1 = said.startswith((b"HTTP/1", b"1", b"H1")) if said else None
        ja4 = fields.get(self._ja4, b"") if self._ja4 and hop else told.ja4
        secure = told.secure if self.secure is None else self.secure
        shape = self.shape(fields, decision.agent, http1, secure, ja4)
        if place.role == DOCUMENT and not shape.html:
            place = _as_fetched(place, shape, fields.get(b"accept", b""))
        if place.signed:
            shape = shape._replace(token=True, bare=False, signed=True)
        start = end = -1
        if place.role in AUDIBLE and (asked := fields.get(b"range")) is not None:
            start, end = _closed(asked)
        own = False
        if place.role == DOCUMENT and shape.referer:
            own = _host(fields[b"referer"]) == fields.get(b"host", b"?")
        account = _bounded(told.account or (request.account if self._account is not None else b""))
        session = self.session(request, fields, client)
        if place.signed and not session:
            session = short(b"q" + place.user.encode("utf-8", "replace") + client.key)
        if not account:
            account = self.lookout.accounts.get(session) or b"" if session else b""
        return Sight(
            now_s, client, decision.agent, decision.identity, shape, place, request.method, user_agent,
            session, account, start, end, own, wall_s, self.terms,
        )  # fmt: skip

    def act(
        self, decision: Decision, sight: Sight, suspicion: Suspicion, fields: Mapping[bytes, bytes] | None
    ) -> Decision:
        """The decision when so much is held against the request."""
        signals, points = suspicion.signals, suspicion.points
        if points >= self._challenge_at and fields is not None and self.passes.holds(fields.get(b"cookie", b""), sight):
            signals, points = (*signals, _PASSED), points + _PASSED.points
        found: Stage | None = None
        for stage in self._stages:
            if stage.at > points or (stage.routes and decision.route_class not in stage.routes):
                continue
            if stage.then == "challenge" and not self._may_challenge(sight, points < suspicion.points):
                continue
            if stage.then == "refuse" and suspicion.shared:
                continue
            if found is None or RANK[stage.then] >= RANK[found.then]:
                found = stage
        decision = decision._replace(signals=signals)
        if found is None:
            return decision
        why = max(signals, key=lambda signal: signal.points)
        name = f"detection: {why.name}"
        if self.mode is Mode.OBSERVE and decision.mode is Mode.ENFORCE:
            observed = (*decision.observed, f"{name} ({found.then})") if found.then != "label" else decision.observed
            return decision._replace(observed=observed, labels=(*decision.labels, why.name))
        labelled = decision._replace(labels=(*decision.labels, why.name))
        if found.then == "label":
            return labelled
        if found.then == "throttle":
            assert found.limit is not None
            limits = (*decision.limits, found.limit) if found.limit not in decision.limits else decision.limits
            settles = decision.settles or found.limit.settles
            return labelled._replace(action="throttle", rule=name, limits=limits, settles=settles)
        reason = f"This looks like a program that takes the catalogue: {why.reason}."
        left_s = suspicion.until_s - sight.now_s
        retry_s = (left_s if left_s > 0 else self.terms.refuse_s) if found.then == "refuse" else 2.0
        if why.name == "download quota":
            left_s = DAY_S - sight.wall_s % DAY_S  # days end at midnight, UTC
            retry_s = left_s if sight.place.role == DOWNLOAD else min(left_s, DENIED_S)
        cookie = b""
        if found.then == "challenge":
            cookie = self.passes.cookie(sight.user_agent, sight.wall_s, secure=bool(self.secure))
            self._note(sight)
        return labelled._replace(
            action=found.then, rule=name, reason=reason, limits=(), settles=False, retry_s=retry_s, cookie=cookie
        )

    def _note(self, sight: Sight) -> None:
        """One more challenge of this client."""
        key = sight.client.key + short(sight.user_agent)
        since_s, count = self._asked.get(key) or (sight.now_s, 0)
        fresh = sight.now_s - since_s > self.terms.refuse_s
        self._asked.keep(key, (sight.now_s, 1) if fresh else (since_s, count + 1))

    def _may_challenge(self, sight: Sight, passed: bool) -> bool:
        """Only a document can be answered with a page, and only somebody who may not have been asked too often."""
        if not self.terms.challenge or passed or sight.method != "GET" or sight.shape.quiet:
            return False
        shape, role = sight.shape, sight.place.role
        if role != DOCUMENT and not (role == SEARCH and shape.html):
            return False
        if not shape.html and shape.told:
            return False
        since_s, count = self._asked.get(sight.client.key + short(sight.user_agent)) or (0.0, 0)
        return count < MAX_ASKED or sight.now_s - since_s > self.terms.refuse_s

    # -- the answer --------------------------------------------------------------------------------------

    def hear(self, watched: Watched, status: int, body_bytes: int, hints: Mapping[bytes, bytes] | None = None) -> None:
        """An answer is over: `body_bytes` of it were sent; a `status` of 0 was not noted. `hints` are the application's
        words (HINTS)."""
        lookout, who, place = self.lookout, watched.who, watched.place
        if watched.begun is not None:
            end(watched.begun)
        audio_s, key = -1.0, who.key
        if hints and self.terms.hints:
            account = _bounded(hints.get(ACCOUNT, b"")) or watched.account
            if account:
                key = b"u" + account
                new = account != watched.account
                if new and who.session:  # an address alone may be many people's
                    lookout.introduce(who.session, account)
                kept = hints.get(ENTITLEMENT) == b"offline" and place.role == AUDIO
                if kept or (new and place.role == DOWNLOAD):
                    lookout.download(account, place)
            audio_s = _seconds(hints.get(AUDIO_SECONDS, b""))
            if (work := hints.get(WORK, b"")[:MAX_WORK_CHARS].decode("utf-8", "replace")) and work != place.work:
                self._works.keep(place.path[:_LONGEST_WHO], work)
                self.names_works = True
        if place.role in AUDIBLE or audio_s >= 0.0:
            if audio_s < 0.0:
                audio_s = self.audio_s(place, status, body_bytes)
            if audio_s > 0.0 and status in (0, 200, 206) and not watched.head:
                lookout.learn(key, who.home, audio_s, lookout.clock())

    def hear_song(self, watched: Watched, status: int, body_bytes: int) -> None:
        """As `hear`, of music that has `begun` and that nothing was told about."""
        who, place, _, begun, head = watched
        if begun is not None:
            end(begun)
            audio_s = self.audio_s(place, status, body_bytes) if not head else 0.0
            if audio_s > 0.0:
                self.lookout.gain(begun[0], who.home, audio_s, self.lookout.clock())

    def audio_s(self, place: Place, status: int, body_bytes: int) -> float:
        """How much music is in so many bytes of an answer, as far as the policy tells."""
        if status not in (200, 206) or body_bytes < 1_024:
            return 0.0
        by_size = body_bytes * 8.0 / self.terms.bitrate
        return min(self.terms.segment_s, by_size) if place.role == SEGMENT else by_size


_BY_DEST = {b"image": IMAGE, b"style": ASSET, b"script": ASSET, b"font": ASSET, b"empty": DATA, b"manifest": ASSET}


def _as_fetched(place: Place, shape: Shape, accept: bytes) -> Place:
    """What a path that no route names is, by how it is fetched: not everything without an ending is a page."""
    if shape.dest:
        role = _BY_DEST.get(shape.dest, place.role)
    elif accept.startswith(b"image/"):
        role = IMAGE
    elif accept.startswith((b"application/json", b"audio/")):
        role = DATA
    else:
        return place
    return place._replace(role=role)


def _bounded(account: bytes) -> bytes:
    """The name of an account, or what stands for a long one."""
    return account if len(account) <= LONGEST_ACCOUNT else blake2b(account, digest_size=32).digest()


def newest_of(browsers: Mapping[str, int]) -> float:
    """The moment when the newest of these browsers came out, by family and major version."""
    return max((Claim(family, version).released_s() for family, version in browsers.items()), default=0.0)


def _closed(asked: bytes) -> tuple[int, int]:
    """Both ends of `bytes=START-END`, (-1, -1) for any other range (RFC 9110 14.1.2)."""
    if not asked.startswith(b"bytes=") or b"," in asked:
        return -1, -1
    start, _, end = asked[6:48].partition(b"-")
    return (int(start), int(end)) if start.isdigit() and end.isdigit() else (-1, -1)


def _host(referer: bytes) -> bytes:
    """The host (and port) of a Referer."""
    _, separator, rest = referer[:512].partition(b"://")
    return rest.split(b"/", 1)[0] if separator else b""


def _seconds(text: bytes) -> float:
    """A number of seconds as the application wrote it; -1.0 when it is none."""
    try:
        seconds = float(text[:24])
    except ValueError:
        return -1.0
    return seconds if 0.0 <= seconds <= 1e6 else -1.0

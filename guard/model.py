"""The nouns. All frozen, none knows how it is made or where it goes.

A `Request` becomes a `Client` and an `Agent`; those become a `Decision`; the edge turns a
decision into a `Reply`, and what happened into a `Record`. Tuples where they are made for every
request (a named tuple costs a third of a frozen dataclass), dataclasses where they are made at load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

RouteClass = str
"""One of ROUTE_CLASSES: what a URL is on a music platform."""

ROUTE_CLASSES: tuple[RouteClass, ...] = (
    "page",
    "api",
    "media",
    "manifest",
    "artwork",
    "lyrics",
    "feed",
    "federation",
    "embed",
    "search",
    "static",
    "directive",
)

PURPOSES: tuple[str, ...] = (
    "train-ai",  # IETF AIPREF vocabulary: change the parameters of a generative model
    "ai-use",  # IETF AIPREF: feed a generative model (answers, grounding, transcription)
    "search",  # IETF AIPREF: find works and send people to them
    "assistant",  # fetches because a person asked an AI product to, at that moment
    "agent",  # acts in a browser for a person
    "archive",
    "preview",  # link cards in chats and social networks
    "feed",  # polls RSS, podcast directories
    "seo",
    "monitoring",
    "ads",
    "security",
    "player",  # plays music or podcasts for somebody
    "browser",
    "tool",  # HTTP libraries, download tools, rippers, headless browsers
)

CATEGORIES: tuple[str, ...] = (
    "ai-train",
    "ai-search",
    "ai-assistant",
    "ai-agent",
    "ai-dataset",
    "ai-audio",
    "ai-other",
    "search",
    "seo",
    "archive",
    "preview",
    "feed",
    "monitoring",
    "ads",
    "security",
    "player",
    "browser",
    "device",
    "library",
    "tool",
    "headless",
    "ripper",
    "declared-unknown",
    "unknown",
)

AGENT_CATEGORIES: tuple[str, ...] = tuple(word for word in CATEGORIES if word not in ("declared-unknown", "unknown"))
"""What an entry of the catalogue can be; the others are for those who stand in none."""

CONFIDENCES: tuple[str, ...] = ("high", "medium", "low")
"""Documented by the operator or in several lists; in one good list or seen; a name in one list alone."""

LOOKS: tuple[str, ...] = (
    "no-cookies",
    "no-referer",
    "no-accept-language",
    "whole-files",  # whole files at the speed of the line
    "many-ranges",
    "parallel",  # several streams or downloads at once
    "icy",  # asks for Icy-MetaData
    "lavf",  # libav fetches under it, with its own User-Agent
    "prefetch",
    "http10",
    "always-on",
    "head-first",
    "artwork-bursts",
)
"""What a player or a device may look like although somebody listens: not evidence against it."""

TOKEN_MATCHES: tuple[str, ...] = ("token", "token/", "exact", "robots-only", "none")
"""How a product token is found: as a word; as a word before a version, or first; as the whole text; only in robots.txt;
not at all."""

RUNS_ON: tuple[str, ...] = ("operator", "user")
VERIFICATIONS: tuple[str, ...] = ("ip-json", "ip-html", "rdns", "web-bot-auth", "none")
LISTS: tuple[str, ...] = ("off", "shipped", "fetch")
"""Which published networks count: none, those that ship with their date, or those that are fetched."""

ACTIONS: tuple[str, ...] = ("allow", "label", "throttle", "block")
"""What a rule may say in `then:`. All but `label` are final."""

KINDS: dict[str, tuple[RouteClass, ...]] = {
    "audio": ("media", "manifest"),
    "artwork": ("artwork",),
    "lyrics": ("lyrics",),
    "metadata": ("page", "api", "feed", "search", "embed", "federation"),
    "waveform": (),
    "stems": (),
    "voice": (),
}
"""Kinds of content that may have preferences of their own, and the route classes that carry them. Those that no
class carries are named by the paths of works, in the policy's `rights`."""

ON_STORE_FAILURE: tuple[str, ...] = ("local", "open", "closed")
"""When the shared store is away: each worker counts alone, lets everybody through, or refuses."""


class Identity(StrEnum):
    """Whether the claim in the User-Agent is true, as far as anybody can know at this moment."""

    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    SPOOFED = "spoofed"
    UNKNOWN = "unknown"


class Mode(StrEnum):
    """`observe` decides and records; `enforce` also acts."""

    OBSERVE = "observe"
    ENFORCE = "enforce"


Headers = tuple[tuple[bytes, bytes], ...]
"""Header lines in the order they came; names in any case, duplicates kept."""


class Said:
    """The directive headers of an answer. Shared by all answers that say the same; the edges keep here what they make
    of them. `lasting` tells whether it may be remembered without asking again: no word in it ends by itself."""

    __slots__ = ("asgi", "headers", "lasting", "wire")

    def __init__(self, headers: Headers, *, lasting: bool = True) -> None:
        self.headers = headers
        self.lasting = lasting
        self.asgi: Any = None
        self.wire: Any = None


class Signed(NamedTuple):
    """What an edge hands over of a request that has a `signature-input` field, before anything is rewritten.

    `scheme` is "https" or "http", of the connection outside; `authority` is Host as sent; `target` is the path as
    sent and `query` what follows its `?` (a path with a bare `?` is handed over with it: b"/p?"); `headers` are all
    lines as sent, names in lower case.
    """

    method: str
    scheme: str
    authority: str
    target: bytes
    query: bytes
    headers: Headers


class Request(NamedTuple):
    """The facts of one HTTP request, as they were on the wire.

    `target` is the path exactly as sent, percent-encoding kept, without query; `query` is what follows its `?`.
    `user_agent` holds every User-Agent line, joined by newlines; `forwarded` the lines of the configured
    client-address header.
    `peer` is the address at the other end of the socket, or None (unix socket). `path` is a second spelling
    of the path, for servers that hand over a decoded one which may differ. A `user_agent` of None is not known
    (a log that lacks it), which is another thing than b"", a request without one. `signed` is there when the request
    carries signatures and somebody wants to know. `account` and `session` are what the policy's `site` reads them from,
    b"" when there is none.
    """

    method: str
    target: bytes
    user_agent: bytes | None
    peer: str | None
    forwarded: tuple[bytes, ...] = ()
    path: str | None = None
    query: bytes = b""
    signed: Signed | None = None
    account: bytes = b""
    session: bytes = b""


class Client(NamedTuple):
    """The party the network lets us tell apart.

    `address` is canonical text ("203.0.113.9", "2001:db8::1"), or "" when there is none to be known.
    `key` is what limits count on: the address for IPv4, the /64 for IPv6, b"?" when unknown, so that
    no missing address ever skips a check. `prefix` is the neighbourhood: /24 or /48, packed. `asn` is the number of the
    network that announces the address, 0 when nobody has told.
    """

    address: str
    key: bytes
    prefix: bytes = b"?"
    asn: int = 0


@dataclass(frozen=True, slots=True)
class Verification:
    """How a claim can be checked. `kind` is one of ip-json, ip-html, rdns, web-bot-auth, none."""

    kind: str
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Agent:
    """What a request claims to be: one entry of the catalogue. Facts only, no verdicts.

    `product_token` is matched in the User-Agent; `robots_token` is the name in robots.txt ("" = it has none).
    `match` says how the token is found, see `classify.py`. `confidence` is one of CONFIDENCES: how sure it is that
    such an agent exists and is what it is said to be. `runs_on` is "operator", or "user" for what fetches from the
    address of whoever uses it, so that no network can prove or disprove it. `instead_of` names agents whose token it
    carries beside its own. `allowed` are words of LOOKS: how it may look and be a listener all the same.
    """

    name: str
    product_token: str
    robots_token: str
    operator: str
    category: str
    purposes: tuple[str, ...]
    match: str = "token"
    verification: tuple[Verification, ...] = ()
    docs: str = ""
    respects_robots: str = "unknown"
    samples: tuple[str, ...] = ()
    not_samples: tuple[str, ...] = ()
    confidence: str = "high"
    runs_on: str = "operator"
    instead_of: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()


UNKNOWN_AGENT = Agent("unknown", "", "", "", "unknown", (), confidence="low")
"""No claim that the catalogue knows. Not an exemption, and not an accusation."""

UNTOLD_AGENT = Agent("untold", "", "", "", "unknown", ())
"""Nobody has told us what the request claimed: rules that ask about it match in neither polarity."""


class Browser(NamedTuple):
    """What ua-parser calls the User-Agent: family and major version, "" when it has no name for it."""

    family: str
    version: str


LIMIT_KINDS: tuple[str, ...] = ("rate", "quota", "concurrent")
"""So much in a time, over and over (GCRA); so much a calendar day or month (UTC); so many at once."""

LIMIT_UNITS: tuple[str, ...] = ("requests", "bytes", "audio-seconds")
"""What a limit counts. Bytes and seconds of audio are known only once they were sent: who has used up a budget is
refused the next request, not cut off in this one."""

PRECISIONS: tuple[str, ...] = ("leased", "exact")
"""Both never admit too many. Leased: a worker may hold some of what is left for itself, and asks the store seldom.
Exact: nothing is held, and each request asks."""

PERIODS: tuple[str, ...] = ("day", "month")

BITRATE = 128_000
"""Bits in a second of audio of which nothing else is said."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How much of something `key` may have. `kind` is one of LIMIT_KINDS.

    rate: `count` per `window_s` seconds sustained, `burst` at once (GCRA). In any window of W seconds at most
    floor(W / emission_s) + burst are admitted. quota: `count` per `period` (one of PERIODS, UTC). concurrent: `count`
    at once. `unit` is what is counted, one of LIMIT_UNITS; `count` and `burst` are in that unit (bytes in bytes).
    A second of audio is taken as `bitrate` / 8 bytes. A request costs `cost`.
    """

    name: str
    count: int
    window_s: float
    burst: int
    key: tuple[str, ...] = ("client",)
    line: int = field(default=0, compare=False)
    file: str = field(default="", compare=False)
    kind: str = "rate"
    period: str = ""
    precision: str = "leased"
    unit: str = "requests"
    cost: int = 1
    bitrate: int = BITRATE

    @property
    def emission_s(self) -> float:
        """Seconds between two units at the sustained rate (GCRA's T)."""
        return self.window_s / self.count

    @property
    def afterwards(self) -> bool:
        """Is its cost known only when the answer was sent?"""
        return self.unit != "requests"

    @property
    def settles(self) -> bool:
        """Does it want to know when an answer is over: to have its place back, or to charge what was sent?"""
        return self.kind == "concurrent" or self.afterwards

    @property
    def room(self) -> int | None:
        """The largest cost that one request may have; None when its cost does not matter beforehand."""
        if self.afterwards or self.kind == "concurrent":
            return None
        return self.count if self.kind == "quota" else self.burst


class Admission(NamedTuple):
    """What a store answered for one request under one limit.

    `remaining` requests could follow at once. `retry_after_s` is 0.0 when allowed, else the time until the
    next request would be. `shared` says whether the whole fleet was asked or only this worker. `limit` is the one that
    refused, of several; None when there was but one.
    """

    allowed: bool
    remaining: int
    retry_after_s: float
    shared: bool
    limit: Limit | None = None


class Signal(NamedTuple):
    """What one detector has found: its name, how much it says in decibans (negative: for the client), why in words."""

    name: str
    points: float
    reason: str


class Decision(NamedTuple):
    """What is to be done with one request, and why. `action` is what enforcing would do.

    Beside the policy's actions there are four of the guard's own: `serve` (a directive file, named in `file`),
    `reject` (no safe reading), and what suspicion leads to: `challenge`, and `refuse` for `retry_s` seconds.
    `signals` are what detectors have found; `cookie` is what a challenge hands out. `observed` names rules on trial
    that would have acted; `weights` are the addends
    of rules that weigh, in their order. `said` is what its answer states of the work, None = what the policy does.
    `limits` all have to admit it; each is asked for `cost` times its own. `known_by` says in words why the identity is
    this one; `work` names the work it is for, `settles` tells that some limit wants to know when it is over; `ask` is
    what a refusal asks for ("signature", "signature of the path"); `keys` are thumbprints of keys that it has proved to
    hold.
    """

    action: str
    rule: str
    mode: Mode
    reason: str
    agent: Agent
    identity: Identity
    route_class: RouteClass
    limits: tuple[Limit, ...] = ()
    labels: tuple[str, ...] = ()
    observed: tuple[str, ...] = ()
    file: str = ""
    weights: tuple[tuple[str, int], ...] = ()
    said: Said | None = None
    known_by: str = ""
    ask: str = ""
    keys: tuple[str, ...] = ()
    cost: int = 1
    work: str = ""
    settles: bool = False
    signals: tuple[Signal, ...] = ()
    retry_s: float = 0.0
    cookie: bytes = b""

    @property
    def points(self) -> float:
        """The sum of what speaks against it, in decibans."""
        return sum(signal.points for signal in self.signals)


class Reply(NamedTuple):
    """An answer the guard makes itself; `headers` are complete but for framing."""

    status: int
    headers: Headers
    body: bytes


class Record(NamedTuple):
    """What happened to one request, for logs and for the live table. Times in seconds; `version` is the policy's."""

    time_s: float
    id: str
    decision: Decision
    client: str
    method: str
    target: str
    status: int
    body_bytes: int
    duration_s: float
    admission: Admission | None
    version: str = ""
    user_agent: bytes | None = None


@dataclass(frozen=True, slots=True)
class Signatures:
    """Which signed requests (Web Bot Auth) count. `directories` are origins or addresses of key sets,
    or "known" for all that the catalogue names."""

    directories: tuple[str, ...] = ()
    discover: bool = False
    require_path: bool = False
    legacy: bool = True
    plain_http: bool = False
    max_validity_s: int = 86_400


@dataclass(frozen=True, slots=True)
class Verifying:
    """How claims of agents are checked. `lists` is one of LISTS; fetched ones are kept in `directory`, "" = where the
    machine keeps such things."""

    lists: str = "off"
    directory: str = ""
    dns: bool = False
    nameservers: tuple[str, ...] = ()
    signatures: Signatures | None = None


STAGES: tuple[str, ...] = ("label", "throttle", "challenge", "refuse")
"""What suspicion leads to, the milder first: a word in the log; a limit; a page that asks to come back (documents
only); no answer for some minutes."""

SUSPECTS = Limit("suspects", 2, 1.0, 60)
"""What holds for who is throttled on suspicion, where the policy names no limit: two requests a second, sixty at
once."""


@dataclass(frozen=True, slots=True)
class Stage:
    """From `at` points of suspicion on (decibans, see `guard.shape`), do what `then` says (one of STAGES), on these
    route classes (none named: on all where it can be done)."""

    at: float
    then: str
    routes: tuple[RouteClass, ...] = ()
    limit: Limit | None = None


DEFAULT_STAGES: tuple[Stage, ...] = (
    Stage(12, "label"),
    Stage(20, "challenge"),
    Stage(24, "throttle", (), SUSPECTS),
    Stage(30, "refuse"),
)


@dataclass(frozen=True, slots=True)
class Detecting:
    """How undeclared scraping is looked for. `mode` None: as the policy. `challenge` lets documents be challenged.

    `traps` and `downloads` are path patterns; of music of which nothing else is told, a segment is `segment_s` long and
    a second has `bitrate` / 8 bytes. Who is refused is refused for `refuse_s`. An account is given `downloads_a_day`
    and `audio_a_day_s`. `hints` says whether the application's X-Guard headers are heeded; `protocol_header` and
    `ja4_header` are headers of a trusted hop, "" = none. `header_order` also holds the order of headers against
    somebody: only where no hop in front changes it. `secure`: clients speak HTTPS, None = as the site's url says.
    `newest_s` is the moment by which a browser's age is told, 0 = now.
    """

    mode: Mode | None = None
    challenge: bool = False
    traps: tuple[str, ...] = ()
    downloads: tuple[str, ...] = ()
    steps: tuple[Stage, ...] = DEFAULT_STAGES
    segment_s: float = 10.0
    bitrate: int = BITRATE
    refuse_s: float = 600.0
    downloads_a_day: int = 100
    audio_a_day_s: float = 86_400.0
    hints: bool = True
    protocol_header: str = ""
    ja4_header: str = ""
    header_order: bool = False
    secure: bool | None = None
    newest_s: float = 0.0

    @property
    def refuse_at(self) -> float:
        """From so many points on somebody is refused; more than there are when nobody is."""
        return min((stage.at for stage in self.steps if stage.then == "refuse"), default=1e9)


@dataclass(frozen=True, slots=True)
class Site:
    """Who publishes, how to reach them, and which hops in front are ours.

    `session` and `account` say where these are read from: ("cookie" | "header" | "query", its name). `asn_table` is the
    path of the file that tells whose network an address is in, "" = none.
    """

    name: str
    contact: str = ""
    trusted_proxies: tuple[str, ...] = ()
    client_ip_header: str = "x-forwarded-for"
    trusted_hops: int = 0
    trust_unix: bool = False
    case_sensitive: bool = False
    strip_prefixes: tuple[str, ...] = ()
    sitemap: str = ""
    published_networks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    url: str = ""
    session: tuple[str, str] | None = None
    account: tuple[str, str] | None = None
    asn_table: str = ""

"""The policy language, version 1, as values: every block, every word in it, and what may stand behind it.

The reader (`load.py`) takes its words from here, the JSON Schema (`schema.py`) is made from here, and the tests hold
the documentation against it. A new word is one line here, its reading in `load.py` and its entry in the docs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from guard.amounts import BITRATE, QUOTA, RATE, SIZED
from guard.conditions import FACTS
from guard.model import (
    ACTIONS,
    AGENT_CATEGORIES,
    CATEGORIES,
    CONFIDENCES,
    KINDS,
    LISTS,
    ON_STORE_FAILURE,
    PRECISIONS,
    PURPOSES,
    ROUTE_CLASSES,
    RUNS_ON,
    STAGES,
    TOKEN_MATCHES,
    VERIFICATIONS,
    Identity,
    Mode,
)
from guard.moments import MOMENT
from guard.nodes import NAME
from guard.rights import HOLDINGS
from guard.rights import PURPOSES as HOLDERS_PURPOSES

PREFERENCES = HOLDERS_PURPOSES
PREFERENCE_WORDS = ("allow", "disallow")
LIMIT_KEYS = (
    *("client", "prefix", "address", "agent", "operator", "site"),
    *("route", "work", "account", "session", "asn"),
)
PACES = ("rate", "quota", "at_once")
PLACES = ("cookie", "header", "query")
FINAL_ACTIONS = tuple(action for action in ACTIONS if action != "label")
ROW_ACTIONS = (*FINAL_ACTIONS, "inherit")
ROW_WORDS = tuple(action for action in ROW_ACTIONS if action != "throttle")
STEP_ACTIONS = ("throttle", "block")
DEFAULTS = ("allow", "block")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
MODES = tuple(mode.value for mode in Mode)
IDENTITIES = tuple(identity.value for identity in Identity)
CLOSABLE = tuple(route_class for route_class in ROUTE_CLASSES if route_class != "directive")
ASKS = ("signature",)
STANDINGS = ("reserved", "licensed", "open", "unstated")
SITE_URL = r"^https?://[-A-Za-z0-9_.:\[\]]+$"
SOURCE = r"^(https?|rediss?|unix|sqlite)://.|^[^:]*\.(sqlite|sqlite3|db|yaml|yml)$"
MAX_WEIGHT = 100
MAX_COST = 1_000_000
MAX_AT_ONCE = 1_000_000
MAX_NESTING = 4


@dataclass(frozen=True, slots=True)
class Text:
    """Text; `form` is a regular expression for editors (ECMA-262, of the kind that Python reads alike), "" = any."""

    form: str = ""


@dataclass(frozen=True, slots=True)
class Named:
    """A name out of what ships: `of` agents, operators (both in any case), presets or snippets.

    With `form`, also any text that has this form; "" = nothing else.
    """

    of: str
    form: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a list of words; with `globs`, also a word with `*` in it; with `any_case`, however it is spelt."""

    words: tuple[str, ...]
    globs: bool = False
    any_case: bool = False


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number, both ends included; `zero` tells whether 0 may be among them."""

    least: int
    most: int
    zero: bool = True


@dataclass(frozen=True, slots=True)
class Measure:
    """A whole number, both ends included, or text of a `form` that names its unit."""

    least: int
    most: int
    form: str


@dataclass(frozen=True, slots=True)
class Flag:
    """`true` or `false`."""


@dataclass(frozen=True, slots=True)
class OneOrMany:
    """A value, or a list of at least `least` values."""

    item: Shape
    least: int = 1


@dataclass(frozen=True, slots=True)
class ListOf:
    item: Shape
    least: int = 0


@dataclass(frozen=True, slots=True)
class MapOf:
    """A mapping from `key` to `value`."""

    key: Text | Choice | Named
    value: Shape


@dataclass(frozen=True, slots=True)
class Either:
    """One of several shapes."""

    shapes: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class See:
    """The block of that name, for blocks that stand in themselves."""

    block: str


@dataclass(frozen=True, slots=True)
class Word:
    """A key of a block. `says` is what an editor shows."""

    name: str
    shape: Shape
    says: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Tie:
    """`key` stands only where `beside` stands (and says `word`, unless that is ""); with `must`, it has to."""

    key: str
    beside: str
    word: str = ""
    must: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """A mapping with known keys. Of `one_of` exactly one key must stand; `least` = so many keys at least."""

    name: str
    words: tuple[Word, ...]
    one_of: tuple[str, ...] = ()
    ties: tuple[Tie, ...] = ()
    least: int = 0

    names: dict[str, None] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", dict.fromkeys(word.name for word in self.words))


Shape = Text | Named | Choice | Number | Measure | Flag | OneOrMany | ListOf | MapOf | Either | See | Block

_NAME = Text(f"^{NAME}$")
_PATH = Text(r"^/(?!/)(?!.*//)(?!(.*/)?\.{1,2}(/|$))(?!.*[^/]\*\*)(?!.*\*\*[^/])[^?#%]*$")
_PREFIX = Text(r"^/(?!/)(?!.*//)(?!(.*/)?\.{1,2}(/|$))[^?#%*]+$")
_HOST = Text(r"^((\*\.)?[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\])$")
_NETWORK = Text(r"^([0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)(/[0-9.]+)?$")
_ADDRESS = Text(r"^([0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)$")
_TITLE = Text(r"^[^\u0000-\u001f\u007f]+$")
_LINE = Text(r"^[^\u0000-\u001f\u007f]*$")
_FREE = Text()
_DATE = Text(f"^ *{MOMENT} *$")
_AGENT = Named("agents", ".")
_METHOD = Choice(METHODS, any_case=True)
_LIMITED = (Tie("limit", "then", "throttle", must=True), Tie("cost", "then", "throttle"))
_MODE = Word("mode", Choice(MODES), "observe: decide and log only; enforce: act")
_REASON = Word("reason", _FREE, "said to the refused, in words")
_LIMIT_NAME = Word("limit", OneOrMany(_NAME), "the limits that throttle asks, of 'limits'; all have to admit")
_COST = Number(1, MAX_COST)
_RULES_COST = Word("cost", _COST, "a request counts as so many under its limits; 1")
_DATES = (
    Word("from", _DATE, "in force from this day (UTC) or moment"),
    Word("until", _DATE, "in force to the end of this day (UTC), or before this moment"),
)

PLACE = Block(
    "place",
    (
        Word("cookie", Text("^[A-Za-z0-9!#$%&'+*.^_`|~-]{1,64}$"), "the cookie that holds it"),
        Word("header", Text("^[A-Za-z0-9-]{1,64}$"), "the header that a trusted hop writes it in"),
        Word("query", Text("^[A-Za-z0-9_.-]{1,64}$"), "the parameter of the query that holds it"),
    ),
    one_of=PLACES,
)

SITE = Block(
    "site",
    (
        Word("name", _TITLE, "who publishes; stands in robots.txt and on refusals", required=True),
        Word("hosts", OneOrMany(_HOST), "the hosts that this file is for; *.example.org means all below"),
        Word("contact", _LINE, "shown on every refusal, best a mailto: or a URL"),
        Word("trusted_proxies", OneOrMany(_NETWORK, 0), "networks of the hops in front that are yours"),
        Word("client_ip_header", Text("^[A-Za-z0-9-]+$"), "the one header that trusted hops write"),
        Word("trusted_hops", Number(0, 999_999_999), "the client is the N-th address from the right"),
        Word("trust_unix", Flag(), "believe the header on unix sockets"),
        Word("case_sensitive", Flag(), "whether /A and /a are different paths"),
        Word("strip_prefixes", OneOrMany(_PREFIX), "prefixes that a proxy behind the guard cuts off"),
        Word("sitemap", _LINE, "written into robots.txt"),
        Word("url", Text(SITE_URL), "where the site is: https://music.example; makes addresses in directives absolute"),
        Word("published_networks", MapOf(_AGENT, OneOrMany(_NETWORK)), "where agents say they come from"),
        Word("session", PLACE, "where the name of a session is read"),
        Word("account", PLACE, "where the name of an account is read"),
        Word(
            "asn_table", Text(r"^(?!.*://)[^\u0000-\u001f\u007f]+$"), "a file: which network announces which addresses"
        ),
    ),
)

FACTS_OF_AGENT = Block(
    "facts of an agent",
    (
        Word("operator", _LINE, "who runs it"),
        Word("product_token", _LINE, "the name in its User-Agent"),
        Word("robots_token", Text("^[A-Za-z_-]*$"), "its name in robots.txt"),
        Word("category", Choice(AGENT_CATEGORIES), "what it is"),
        Word("purposes", OneOrMany(Choice(PURPOSES)), "what it fetches for"),
        Word("match", Choice(TOKEN_MATCHES), "how the token is looked for"),
        Word("respects_robots", Choice(("yes", "no", "partial", "unknown")), "whether it says it obeys robots.txt"),
        Word("confidence", Choice(CONFIDENCES), "how sure it is that it exists and is this"),
        Word("runs_on", Choice(RUNS_ON), "whose network it fetches from"),
        Word(
            "verification",
            ListOf(
                Block(
                    "verification of an agent",
                    (
                        Word("kind", Choice(VERIFICATIONS), "how the claim is checked", required=True),
                        Word("sources", OneOrMany(_LINE), "addresses of lists or keys, or suffixes of host names"),
                    ),
                )
            ),
            "how its claim can be checked",
        ),
        Word("docs", _LINE, "where its operator describes it"),
    ),
    least=1,
)

SIGNATURES = Block(
    "signatures",
    (
        Word(
            "directories",
            OneOrMany(Text("^(known|https://[!-~]+)$"), 0),
            "key directories that may be asked; known: the catalogue's",
        ),
        Word("discover", Flag(), "ask the directories of signers that nobody listed, too"),
        Word("require_path", Flag(), "only signatures that cover the path count"),
        Word("legacy", Flag(), "accept the form of 2025, with a bare string; true"),
        Word("plain_http", Flag(), "accept signatures on requests that came over plain HTTP"),
        Word("max_validity", Number(60, 86_400), "the longest time from created to expires, in seconds; 86400"),
    ),
)

VERIFICATION = Block(
    "verification",
    (
        Word("lists", Choice(LISTS), "published networks: off, those that ship, or fetched from the operators; off"),
        Word(
            "directory",
            Text("^[^\\u0000-\\u001f\\u007f]+$"),
            "where fetched lists are kept; left out: the state folder of the user",
        ),
        Word("dns", Flag(), "confirm host names by reverse and forward DNS"),
        Word("nameservers", OneOrMany(_ADDRESS), "whom to ask; left out: those of the machine"),
        Word("signatures", SIGNATURES, "signed requests (Web Bot Auth)"),
    ),
    ties=(Tie("directory", "lists", "fetch"),),
)

WORK_PATH = Block(
    "work path",
    (
        Word("path", Text(r"^/(?!/)(?!.*//)[^?#%]*$"), "a path pattern with names of layers in braces", required=True),
        Word("query", Text("^[A-Za-z0-9_.-]+$"), "the parameter of the query that holds the id"),
        Word("layer", Choice(HOLDINGS), "whose id the parameter holds"),
        Word(
            "id", Text(r"^[^\u0000-\u001f\u007f]*\{[a-z]+\}[^\u0000-\u001f\u007f]*$"), "how the id is made of all names"
        ),
        Word("kind", Choice(tuple(KINDS)), "what the address carries; left out: what its route class does"),
    ),
    ties=(Tie("query", "layer", must=True), Tie("layer", "query")),
)

RIGHTS = Block(
    "rights",
    (
        Word("source", Text(SOURCE), "the register: a file beside the policy, or a URL", required=True),
        Word("mode", Choice(MODES), "observe: what is reserved is said and not refused; enforce: it is refused"),
        Word("works", ListOf(WORK_PATH, 1), "which address is of which work; the first that fits counts"),
        Word("header", Text("^[A-Za-z0-9-]+$"), "the header by which the platform names an answer's work"),
        Word("reason", _FREE, "said to who is refused for a reserved work"),
        Word("max_age", Number(1, 86_400), "seconds that an answer of an http register is good for"),
    ),
)

ROUTE = Block(
    "route",
    (
        Word("class", Choice(ROUTE_CLASSES), "what these URLs are"),
        Word("paths", OneOrMany(_PATH), "path patterns; * is one segment or a part of one, ** any number"),
        Word("preset", Named("presets"), "the routes of a known platform, in this place"),
        Word("under", _PREFIX, "for a preset: the prefix under which the platform lives"),
    ),
    one_of=("preset", "class"),
    ties=(Tie("paths", "class", must=True), Tie("under", "preset")),
)

_PURPOSE_WORDS = tuple(Word(name, Choice(PREFERENCE_WORDS), "allow or disallow") for name in PREFERENCES)
KIND = Block("kind", _PURPOSE_WORDS, least=1)
PREFERENCE_BLOCK = Block(
    "preferences",
    (*_PURPOSE_WORDS, *(Word(kind, KIND, f"preferences for {kind} alone") for kind in KINDS)),
)

CHANGE = Block(
    "change",
    (
        Word("from", _DATE, "in force from this day (UTC) or moment", required=True),
        Word("announced", _DATE, "when it was first announced, where the record of terms is younger"),
        Word("preferences", PREFERENCE_BLOCK, "what is said otherwise from then on", required=True),
    ),
)
MAX_CHANGES = 24
MAX_NOTICE_DAYS = 3_650
TERMS = Block(
    "terms",
    (
        Word("notice", Number(1, MAX_NOTICE_DAYS), "days of notice before anything reserved is opened"),
        Word("licence", Text(r"^https?://[^ <>\u0022\\^`{|}\u0000-\u001f\u007f]+$"), "where licences are to be had"),
        Word("changes", ListOf(CHANGE, 1), "preferences that change on a day to come"),
    ),
    least=1,
)

LIMIT = Block(
    "limit",
    (
        Word("name", _NAME, "how rules call this limit", required=True),
        Word("rate", Text(f"^ *{RATE} *$"), "the pace that may go on for ever: 60/min, 200 MB/hour, 2 h audio/day"),
        Word("burst", Measure(1, 999_999_999, f"^ *{SIZED} *$"), "how much may come at once after a pause"),
        Word("quota", Text(f"^ *{QUOTA} *$"), "so much a calendar day or month (UTC): 50/day, 20 GB/month"),
        Word("at_once", Number(1, MAX_AT_ONCE), "so many answers under way at the same time"),
        Word("key", OneOrMany(Choice(LIMIT_KEYS)), "what is counted together"),
        Word("precision", Choice(PRECISIONS), "leased: workers hold some of a rate; exact: each request is asked for"),
        Word("cost", _COST, "a request counts as so many; 1"),
        Word("bitrate", Text(f"^ *{BITRATE} *$"), "bits in a second of audio; 128k"),
        Word("when", See("when"), "holds for whatever is let pass and fits, without a rule"),
        _MODE,
        _REASON,
        *_DATES,
    ),
    one_of=PACES,
    ties=(Tie("burst", "rate"), *(Tie(word, "when") for word in ("mode", "reason", "from", "until"))),
)

_WORDS_OF_FACT: dict[str, Shape] = {
    "agent": _AGENT,
    "operator": Named("operators", r"\*"),
    "purpose": Choice(PURPOSES, globs=True),
    "category": Choice(CATEGORIES, globs=True),
    "identity": Choice(IDENTITIES),
    "route": Choice(ROUTE_CLASSES),
    "path": _PATH,
    "method": _METHOD,
    "network": _NETWORK,
    "user_agent": Text(r"^$|^(?=.*[^* ])[\u0000-\u007f]{1,512}$"),
    "label": _NAME,
    "rights": Choice(STANDINGS),
}
_SAYS_OF_FACT = {
    "agent": "names from the catalogue; * is allowed",
    "operator": "who runs the agent; * is allowed",
    "purpose": "what the agent says it fetches for",
    "category": "what kind of agent it is; ai-* means all that begin so",
    "identity": "whether the claim is true",
    "route": "what the URL is",
    "path": "path patterns",
    "method": "HTTP methods",
    "network": "where the client is",
    "user_agent": "the whole User-Agent, in any case; * is allowed",
    "label": "what a rule above has noted",
    "rights": "how the agent stands to the work",
}
_TESTS = See("when")
_CONDITIONS = tuple(Word(fact, OneOrMany(_WORDS_OF_FACT[fact]), _SAYS_OF_FACT[fact]) for fact in FACTS)
_GROUPS = (
    Word("any", ListOf(_TESTS, 1), "one of these must hold"),
    Word("all", ListOf(_TESTS, 1), "each of these must hold"),
)
WHEN = Block("when", (*_CONDITIONS, Word("not", See("not"), "none of these may hold"), *_GROUPS), least=1)
NOT = Block("not", (*_CONDITIONS, *_GROUPS), least=1)

RULE = Block(
    "rule",
    (
        Word("name", Text(f"^(?!default$){NAME}$"), "how logs and refusals call this rule", required=True),
        Word("when", _TESTS, "what the rule applies to: all must hold", required=True),
        Word("then", Choice(ACTIONS), "what is done; all but label are final"),
        Word(
            "weigh", Number(-MAX_WEIGHT, MAX_WEIGHT, zero=False), "added to the sum that the ladder looks at; not final"
        ),
        _MODE,
        _REASON,
        _LIMIT_NAME,
        Word("label", _NAME, "the word that 'then: label' notes"),
        Word("ask", Choice(ASKS), "what a refusal asks for: signature (Accept-Signature, RFC 9421 5)"),
        *_DATES,
        _RULES_COST,
    ),
    one_of=("then", "weigh"),
    ties=(*_LIMITED, Tie("label", "then", "label"), Tie("ask", "then", "block")),
)

AGENT_ROW = Block(
    "agent row",
    (
        Word("then", Choice(ROW_ACTIONS), "what is done, or inherit: as the wider row says", required=True),
        _LIMIT_NAME,
        _RULES_COST,
        _REASON,
        _MODE,
    ),
    ties=_LIMITED,
)
ROW = Block(
    "row",
    (
        *AGENT_ROW.words,
        Word("agents", MapOf(_AGENT, Either((Choice(ROW_WORDS), AGENT_ROW))), "agents that differ from their row"),
    ),
    ties=_LIMITED,
)
ROWS = MapOf(Choice(CATEGORIES, globs=True), Either((Choice(ROW_WORDS), ROW)))

STEP = Block(
    "step",
    (
        Word("at", Number(1, 10_000), "from this sum on", required=True),
        Word("then", Choice(STEP_ACTIONS), "what is done", required=True),
        _LIMIT_NAME,
        _RULES_COST,
        _REASON,
    ),
    ties=_LIMITED,
)
LADDER = Block(
    "ladder",
    (
        Word("route", OneOrMany(Choice(CLOSABLE)), "for these route classes; left out: for all"),
        Word("steps", ListOf(STEP, 1), "what sums lead to, rising", required=True),
    ),
)

ON_FAILURE = Either(
    (Choice(ON_STORE_FAILURE), MapOf(Choice(CLOSABLE), Choice(ON_STORE_FAILURE))),
)

EXAMPLE = Block(
    "example",
    (
        Word("name", _NAME, "what the request is", required=True),
        Word("path", Text("^/"), "as sent, percent-encoding and all", required=True),
        Word("method", _METHOD, "the method; GET"),
        Word("user_agent", _FREE, "the User-Agent"),
        Word("ip", _ADDRESS, "where it comes from"),
        Word("identity", Choice(IDENTITIES), "as if this were known of it; left out: what the policy's networks say"),
        Word("expect", Choice(FINAL_ACTIONS), "the decision you expect", required=True),
        Word("rule", _FREE, "the rule that should decide it; 'default' for none"),
        Word("labels", OneOrMany(_NAME, 0), "what should be noted"),
        Word("weight", Number(-99_999, 99_999), "what the weights should add up to"),
        Word("at", _DATE, "the moment at which it comes; left out: now"),
    ),
)

_MODE_BLOCK = Word("mode", Choice(MODES), "observe refuses nobody; enforce acts")
DETECTION_STEP = Block(
    "step of detection",
    (
        Word("at", Number(5, 100), "from so many points of suspicion on; 10 points are a factor of ten", required=True),
        Word("then", Choice(STAGES), "what is done", required=True),
        Word("route", OneOrMany(Choice(CLOSABLE)), "on these route classes; left out: wherever it can be done"),
        Word("limit", _NAME, "the limit of 'limits' that throttles; left out: 2/s, 60 at once, by client"),
    ),
    ties=(Tie("limit", "then", "throttle"),),
)

DETECTION = Block(
    "detection",
    (
        _MODE,
        Word("challenge", Flag(), "documents may be answered with a page that asks to come back; no script; false"),
        Word("traps", OneOrMany(_PATH, 0), "paths that no reader sees and robots.txt forbids: who asks is a program"),
        Word("downloads", OneOrMany(_PATH, 0), "where signed-in listeners fetch music to keep"),
        Word("steps", ListOf(DETECTION_STEP, 1), "what suspicion leads to, the milder first"),
        Word("segment_seconds", Number(1, 120, False), "seconds of music in a segment of a stream; 10"),
        Word("bitrate", Text(f"^{BITRATE}$"), "how much a second of music is taken to have; 128k"),
        Word("refuse_minutes", Number(1, 60, False), "for so long is refused who is refused; 10"),
        Word("downloads_a_day", Number(1, 1_000_000, False), "what an account may fetch to keep in a day; 100"),
        Word("audio_hours_a_day", Number(1, 1_000, False), "how much music an account is given a day; 24"),
        Word("hints", Flag(), "heed the X-Guard headers of the application's answers; true"),
        Word("https", Flag(), "listeners come over HTTPS; left out: as site url says"),
        Word("protocol_header", Text("^[A-Za-z0-9-]{1,64}$"), "where a trusted hop writes the HTTP version"),
        Word("ja4_header", Text("^[A-Za-z0-9-]{1,64}$"), "where a trusted hop writes the JA4 of the connection"),
        Word("header_order", Flag(), "hold the order of headers against browsers, where no hop changes it; false"),
    ),
)

_SHARED = (
    _MODE_BLOCK,
    Word("default", Choice(DEFAULTS), "what happens when nothing settles a request"),
    Word("routes", ListOf(ROUTE), "what a URL is; the first pattern that matches counts"),
    Word("route_default", Choice(ROUTE_CLASSES), "the class of a path that no pattern names"),
    Word("preferences", PREFERENCE_BLOCK, "what may be done with what is fetched"),
    Word("terms", TERMS, "what is promised about changes, and those that have a date"),
    Word("rights", RIGHTS, "where the choices of artists and labels are kept"),
    Word("agents", ROWS, "who is dealt with how, where no rule settles it"),
    Word("limits", ListOf(LIMIT), "paces, budgets and places, for rules or for all that fits"),
    Word("rules", ListOf(RULE), "read from top to bottom; the first final match wins"),
    Word("ladder", ListOf(LADDER), "what sums of weights lead to"),
    Word("detection", DETECTION, "how scraping that does not declare itself is looked for"),
    Word("on_store_failure", ON_FAILURE, "what limits do while the shared store is away"),
    Word("examples", ListOf(EXAMPLE), "requests with the decision you expect"),
)
SCOPE = Block(
    "scope",
    (
        Word("names", OneOrMany(_HOST), "the hosts that this is for", required=True),
        Word("site", See("scope site"), "what differs from the file's site"),
        *_SHARED,
    ),
)
_SITE_WORDS = tuple(Word(word.name, word.shape, word.says) for word in SITE.words)
PARTIAL_SITE = Block("partial site", _SITE_WORDS)
SCOPE_SITE = Block("scope site", tuple(word for word in _SITE_WORDS if word.name != "hosts"))
_INCLUDE = Word(
    "include",
    OneOrMany(Named("snippets", r"^(?![/~])(?!.*://).*\.ya?ml$"), 0),
    "other files whose blocks follow what this file says",
)
_VERSION = Word("version", Choice(("1",)), "the edition of this language", required=True)
_HOSTS = Word("hosts", ListOf(SCOPE), "hosts with words of their own")
_SITE_SAYS = "who publishes, and what stands in front"
_KNOWN = (
    Word(
        "catalogue",
        MapOf(_AGENT, Either((Choice(("none",)), FACTS_OF_AGENT))),
        "agents of your own, and facts that you know better than what ships",
    ),
    Word("verification", VERIFICATION, "how claims of agents are checked"),
)
"""Of the whole guard, not of a host."""

FRAGMENT = Block(
    "fragment", (_VERSION, _INCLUDE, Word("site", See("partial site"), _SITE_SAYS), _HOSTS, *_KNOWN, *_SHARED)
)
"""An included file; also one that includes: the rest may stand there."""
POLICY = Block(
    "policy",
    (
        _VERSION,
        _INCLUDE,
        Word("site", SITE, _SITE_SAYS, required=True),
        _HOSTS,
        *_KNOWN,
        *(replace(word, required=word.name == "default") for word in _SHARED),
    ),
)
BLOCKS = {block.name: block for block in (WHEN, NOT, PARTIAL_SITE, SCOPE_SITE)}
"""The blocks that `See` names."""

"""The blocks of a policy to values: one method a block, every fault noted with its line and a suggestion.

The words come from `language.py`, what all readers share from `nodes.py`. Nothing here reads a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_network
from itertools import pairwise
from math import inf
from pathlib import Path

from guard import language
from guard.classify import BROWSER_AGENT, Catalogue
from guard.conditions import FACTS, Condition, Group, Test
from guard.detecting import DetectionReader
from guard.directives import OPEN_PATHS
from guard.documents import Mapping, Node, Scalar, Sequence
from guard.errors import Problem
from guard.identify import read_address
from guard.language import FINAL_ACTIONS, MAX_NESTING, MAX_WEIGHT, METHODS, PREFERENCES, Text
from guard.model import (
    ACTIONS,
    CATEGORIES,
    KINDS,
    ON_STORE_FAILURE,
    PURPOSES,
    ROUTE_CLASSES,
    UNKNOWN_AGENT,
    Identity,
    Limit,
    Mode,
    Site,
)
from guard.nodes import guess
from guard.patterns import glob_matches
from guard.policy import (
    RIGHTS_REASON,
    TRAP,
    Change,
    Example,
    Ladder,
    Policy,
    RightsTerms,
    RoutePatterns,
    Rule,
    Rung,
    trap_rule,
)
from guard.rights import HOLDINGS
from guard.sources import join, without
from guard.works import NAMED, WorkPath

_HOST = re.compile(r"(?:\*\.)?[a-z0-9_][a-z0-9_-]*+(?:\.[a-z0-9_-]++)*+|\[[0-9a-f:.]++\]")
_WEB = re.compile(r"https?://[^ <>\"\\^`{|}\x00-\x1f\x7f]++")
_PLACE_NAMES = {word.name: re.compile(word.shape.form) for word in language.PLACE.words if isinstance(word.shape, Text)}
_PLACE_WORDS = {"cookie": "cookie", "header": "header", "query": "parameter"}
_WEIGHT = re.compile(r"[+-]?[0-9]{1,3}")
MAX_SEGMENTS = 64
_ACTIONS_MEANT = {
    **dict.fromkeys(("deny", "reject", "forbid", "refuse", "drop", "403", "disallow"), "block"),
    **dict.fromkeys(("ratelimit", "rate-limit", "rate_limit", "slow", "429"), "throttle"),
    **dict.fromkeys(("pass", "permit", "accept"), "allow"),
}
"""What other guards call it."""
_PREFERENCES_MEANT = {"no": "disallow", "yes": "allow"}
_LIKE_A_REGEX = re.compile(r"\.\*|[\^$\\|\[\]]")  # parentheses stand in many a User-Agent
_MEANT_OTHERWISE = re.compile(
    r"(?:proxy|content|access-control|strict|x-forwarded|sec|tdm)-.+|connection|keep-alive|te|trailer|upgrade"
    r"|transfer-encoding|http2-settings|host|date|server|via|age|vary|allow|location|retry-after|expires|pragma"
    r"|cache-control|warning|accept-ranges|etag|last-modified|set-cookie|www-authenticate|authentication-info"
    r"|ratelimit(?:-.+)?|link|x-robots-tag"
)
"""Headers of answers, in which nobody else's word would be found, or which would be taken away from who needs them."""
_NEVER_PASSED = ("challenge", "captcha", "redirect", "html")

_RULE_WORDS = language.RULE.names.keys()


class PolicyReader(DetectionReader):
    """Turns the blocks of a policy into values; each method reads one."""

    def __init__(self, file: str, catalogue: Catalogue) -> None:
        super().__init__(file)
        self.catalogue = catalogue
        self.labels: set[str] = set()  # noted by the rules read so far
        self.tables: dict[str, Node] = {}  # paths of tables of networks, and where they are named
        self._operators = {agent.operator.lower(): agent.operator for agent in catalogue.agents}
        self._values: dict[tuple[str, str], frozenset[str]] = {}  # of written words that were fine

    # -- the whole ---------------------------------------------------------------------------------------

    def policy(self, document: Mapping) -> Policy:
        self.keys(document, language.POLICY.names, "")
        self.version(document)
        hosts = document.get("hosts")
        base = self.blocks(without(document, "hosts"))
        scopes: list[Policy] = []
        if hosts is not None:
            rest = without(document, "hosts", "examples", "version", "include", "catalogue", "verification")
            site = document.get("site")
            taken = dict.fromkeys(base.site.hosts, site.line if site else 0)
            scopes = list(self.each(document, "hosts", lambda item: self.scope(item, rest, taken)))
        return replace(base, scopes=tuple(scopes), hosts=base.site.hosts)

    def scope(self, item: Mapping, rest: Mapping, taken: dict[str, int]) -> Policy | None:
        """The policy of some hosts: what the scope says, then what the file says."""
        self.keys(item, language.SCOPE.names, "hosts: ")
        names = self.hosts(item.get("names"), "hosts: ")
        if item.get("names") is None:
            self.refuse(item, "hosts: needs 'names' (the hosts that this is for)")
        for name in names:
            if name in taken:
                self.refuse(item.get("names") or item, f"hosts: '{name}' is named twice (first on line {taken[name]})")
            taken[name] = item.line
        site = item.get("site")
        if isinstance(site, Mapping) and (inner := site.get("hosts")) is not None:
            self.refuse(inner, "hosts: site: 'hosts' belongs to the file's site: say 'names' here")
        joined = join(without(item, "names"), [rest])
        policy = self.blocks(Mapping(joined.entries, rest.line, rest.file))
        return replace(policy, hosts=names)

    def blocks(self, document: Mapping) -> Policy:
        site = self.site(document)
        has_rights = document.get("rights") is not None
        limits_seen: dict[str, int] = {}
        limits = self.each(document, "limits", lambda item: self.limit(item, limits_seen, site, has_rights))
        by_name = {limit.name: limit for limit in limits}
        seen: dict[str, int] = {}
        self.labels = set()
        rules = self.each(document, "rules", lambda item: self.rule(item, by_name, seen))
        rows = self.rows(document, by_name)
        ladder = self.each(document, "ladder", lambda item: self.ladder(item, by_name))
        limiting = self.each(document, "limits", lambda item: self.limiting(item, by_name))
        examples_seen: dict[str, int] = {}
        deciding = [*seen, TRAP, *(rule.name for rule in (*rows, *limiting)), *_step_names(ladder), "rights", "default"]
        nameable = dict.fromkeys(deciding, 0)
        preferences, kinds = self.preferences(document)
        notice_days, licence_url, changes = self.terms(document)
        detecting = self.detection(document, by_name)
        if detecting is not None and detecting.traps:
            said = document.get("detection")
            trap = trap_rule(detecting.traps, detecting.mode or Mode.ENFORCE, self.file, said.line if said else 0)
            rules = (trap, *rules)
        policy = Policy(
            site=site,
            mode=self.mode(document, "", Mode.ENFORCE),
            default=self.default(document),
            routes=self.each(document, "routes", self.route),
            route_default=self.route_default(document),
            preferences=preferences,
            kind_preferences=kinds,
            notice_days=notice_days,
            licence_url=licence_url,
            changes=changes,
            rights=self.rights(document),
            limits=limits,
            rules=rules,
            rows=rows,
            ladder=ladder,
            on_store_failure=self.on_store_failure(document),
            detecting=detecting,
            examples=self.each(document, "examples", lambda item: self.example(item, nameable, examples_seen)),
            file=self.file,
            limiting=limiting,
        )
        self.check_directives(policy)
        return policy

    def version(self, document: Mapping) -> None:
        node = document.get("version")
        if node is None:
            self.refuse(document, "'version: 1' is required")
        elif not (isinstance(node, Scalar) and node.text == "1"):
            self.refuse(node, "this guard reads 'version: 1'")

    def mode(self, mapping: Mapping, where: str, default: Mode) -> Mode:
        node = mapping.get("mode")
        if node is None:
            return default
        return Mode(self.one_of(node, language.MODES, "mode", where) or default)

    def default(self, document: Mapping) -> str:
        node = document.get("default")
        if node is None:
            self.refuse(document, "'default' is required: what happens when no rule matches (allow or block)")
            return "allow"
        return self.one_of(node, language.DEFAULTS, "default", "") or "allow"

    # -- the site ----------------------------------------------------------------------------------------

    def site(self, document: Mapping) -> Site:
        node = self.mapping(document.get("site"), "site: ")
        if node is None:
            if document.get("site") is None:
                self.refuse(document, "'site' is required (at least its name)")
            return Site("")
        self.keys(node, language.SITE.names, "site: ")
        if not self.text(node, "name", "site: "):
            self.refuse(node, "site: needs a 'name'")
        for text in ("name", "contact", "sitemap"):
            if re.search(r"[\x00-\x1f\x7f]", self.text(node, text, "site: ")):
                self.refuse(node, f"site: '{text}' must be one line of plain text")
        header = self.text(node, "client_ip_header", "site: ", "x-forwarded-for").lower()
        if not re.fullmatch(r"[a-z0-9-]+", header):
            self.refuse(node.get("client_ip_header") or node, f"site: '{header}' is not a header name")
        proxies = self.texts(node.get("trusted_proxies"), "site: ") if _filled(node, "trusted_proxies") else []
        hops = self.number(node, "trusted_hops", "site: ", 0)
        if hops and not proxies and not self.flag(node, "trust_unix", "site: "):
            self.refuse(
                node.get("trusted_hops") or node, "site: 'trusted_hops' needs 'trusted_proxies': who may be a hop"
            )
        for item in proxies:
            if item.text.endswith("/0") and not hops:
                self.refuse(item, f"site: '{item.text}' would let anybody choose their address")
        return Site(
            name=self.text(node, "name", "site: "),
            contact=self.text(node, "contact", "site: "),
            trusted_proxies=tuple(net for item in proxies if (net := self.network(item, "site: "))),
            client_ip_header=header,
            trusted_hops=hops,
            trust_unix=self.flag(node, "trust_unix", "site: "),
            case_sensitive=self.flag(node, "case_sensitive", "site: "),
            strip_prefixes=tuple(self.prefixes(node)),
            sitemap=self.text(node, "sitemap", "site: "),
            published_networks=self.published(node),
            hosts=self.hosts(node.get("hosts"), "site: "),
            url=self.site_url(node),
            session=self.place(node, "session"),
            account=self.place(node, "account"),
            asn_table=self.asn_table(node),
        )

    def place(self, site: Mapping, word: str) -> tuple[str, str] | None:
        """Where in a request a session or an account is read: what kind of place, and its name."""
        where = f"site: {word}: "
        node = self.mapping(site.get(word), where)
        if node is None:
            return None
        self.keys(node, language.PLACES, where)
        said = [one for one in language.PLACES if node.get(one) is not None]
        if len(said) != 1:
            self.refuse(node, f"{where}exactly one of 'cookie', 'header' and 'query'")
            return None
        kind, name = said[0], self.text(node, said[0], where)
        at = node.get(kind) or node
        if not _PLACE_NAMES[kind].fullmatch(name):
            self.refuse(at, f"{where}'{name[:60]}' is no name of a {_PLACE_WORDS[kind]}")
        trusting = site.get("trusted_proxies") is not None and _filled(site, "trusted_proxies")
        if kind == "header" and not trusting and not self.flag(site, "trust_unix", "site: "):
            message = "a header counts only from a hop that is yours: name it in 'trusted_proxies', or say 'trust_unix'"
            self.refuse(at, f"{where}{message}")
        return kind, name.lower() if kind == "header" else name

    def asn_table(self, site: Mapping) -> str:
        """The path of the table of networks, beside the file that names it."""
        written = self.text(site, "asn_table", "site: ")
        node = site.get("asn_table")
        if node is None:
            return ""
        if "://" in written or not written.strip() or re.search(r"[\x00-\x1f\x7f]", written):
            self.refuse(node, f"site: asn_table: '{written[:60]}' is no file: name one beside this file, like asn.tsv")
            return ""
        path = str(Path(node.file or self.file).parent / written)
        self.tables.setdefault(path, node)
        return path

    def site_url(self, site: Mapping) -> str:
        """Scheme and host under which the site is known, without a slash at the end."""
        url = self.text(site, "url", "site: ").rstrip("/")
        if url and not re.fullmatch(language.SITE_URL, url):
            self.refuse(
                site.get("url") or site, f"site: url '{url}': write scheme and host alone, https://music.example"
            )
            return ""
        return url

    def hosts(self, node: Node | None, where: str) -> tuple[str, ...]:
        """Host names in lower case, without port; `*.` in front means all below."""
        found: list[str] = []
        for item in self.texts(node, where):
            host = item.text.lower().rstrip(".")
            if _HOST.fullmatch(host) and len(host) <= 255:
                found.append(host)
            else:
                self.refuse(item, f"{where}'{item.text}' is not a host: write music.example or *.music.example")
        return tuple(dict.fromkeys(found))

    def prefixes(self, site: Mapping) -> list[str]:
        found = []
        for item in self.texts(site.get("strip_prefixes"), "site: "):
            if (path := self.pattern(item, "site: ")) is None:
                continue
            if "*" in path or path == "/":
                self.refuse(item, f"site: '{path}' is no prefix to strip: write it without '*', like /api")
            else:
                found.append(path)
        return found

    def published(self, site: Mapping) -> dict[str, tuple[str, ...]]:
        node = self.mapping(site.get("published_networks"), "site: published_networks: ")
        found: dict[str, tuple[str, ...]] = {}
        for key, value in node.entries if node else ():
            where = f"site: published_networks: '{key.text}': "
            nets = [self.network(item, where) for item in self.texts(value, where)]
            for name in self.agent_names(key, where):
                found[name] = (*found.get(name, ()), *(net for net in nets if net))
        return found

    # -- routes and preferences --------------------------------------------------------------------------

    def pattern(self, node: Scalar, where: str) -> str | None:
        text = node.text
        parts = text.split("/")
        if not text.startswith("/"):
            self.refuse(node, f"{where}path '{text}' must start with '/'")
        elif "**" in text and any("**" in part and part != "**" for part in parts):
            self.refuse(node, f"{where}path '{text}': '**' must stand alone between slashes")
        elif "?" in text or "#" in text or "%" in text:
            self.refuse(node, f"{where}path '{text}': write it decoded and without a query")
        elif "." in parts or ".." in parts or "//" in text:
            self.refuse(node, f"{where}path '{text}': no dot segments or empty segments")
        elif len(parts) > MAX_SEGMENTS:
            self.refuse(node, f"{where}path '{text[:40]}…': more than {MAX_SEGMENTS} segments")
        else:
            return text
        return None

    def patterns(self, node: Node | None, where: str) -> list[str]:
        return [path for item in self.texts(node, where) if (path := self.pattern(item, where)) is not None]

    def network(self, node: Scalar, where: str) -> str | None:
        if _is_plain_network(node.text):
            return node.text
        try:
            network = ip_network(node.text)
        except ValueError as error:
            reason = "has host bits set" if "host bits" in str(error) else "write it like 192.0.2.0/24 or 2001:db8::/32"
            self.refuse(node, f"{where}'{node.text}' is not a network: {reason}")
            return None
        if "%" in node.text:
            self.refuse(node, f"{where}'{node.text}' is not a network: leave out what follows the '%'")
            return None
        if network.version == 6 and network.network_address.ipv4_mapped:
            self.refuse(node, f"{where}'{node.text}' holds nobody: write IPv4 networks as IPv4")
            return None
        return str(network)

    def route(self, item: Mapping) -> RoutePatterns | None:
        self.keys(item, language.ROUTE.names, "routes: ")
        node = item.get("class")
        if node is None:
            self.refuse(item, "routes: needs a 'class'")
            return None
        route_class = self.one_of(node, ROUTE_CLASSES, "route class", "routes: ")
        if (under := item.get("under")) is not None:
            self.refuse(under, "routes: 'under' goes with 'preset'")
        if item.get("paths") is None:
            self.refuse(item, f"routes: class '{route_class}' needs 'paths'")
        paths = self.patterns(item.get("paths"), f"routes: class '{route_class}': ")
        return RoutePatterns(route_class, tuple(paths), item.line, item.file) if route_class else None

    def route_default(self, document: Mapping) -> str:
        node = document.get("route_default")
        return (self.one_of(node, ROUTE_CLASSES, "route class", "") if node else None) or "page"

    def preferences(self, document: Mapping, place: str = "") -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        """Those for everything, and those for kinds of content."""
        place = f"{place}preferences: "
        node = self.mapping(document.get("preferences"), place)
        general: dict[str, str] = {}
        kinds: dict[str, dict[str, str]] = {}
        for key, value in node.entries if node else ():
            if key.text in KINDS:
                where = f"{place}{key.text}: "
                inner = self.mapping(value, where)
                kinds[key.text] = {}
                for purpose, word in inner.entries if inner else ():
                    self.preference(purpose, word, where, PREFERENCES, kinds[key.text])
                if inner is not None and not inner.entries:
                    self.refuse(inner, f"{where}says nothing: name a purpose, or leave it out")
            else:
                self.preference(key, value, place, (*PREFERENCES, *KINDS), general)
        return general, kinds

    def preference(self, key: Scalar, value: Node, where: str, known: tuple[str, ...], into: dict[str, str]) -> None:
        if key.text not in PREFERENCES:
            self.refuse(key, f"{where}unknown purpose '{key.text}'{guess(key.text, known)}")
        elif isinstance(value, Scalar) and (meant := _PREFERENCES_MEANT.get(value.text.lower())):
            self.refuse(value, f"{where}{key.text}: `{value.text}` means {meant} here: say so")
        elif word := self.one_of(value, language.PREFERENCE_WORDS, "preference", f"{where}{key.text}: "):
            into[key.text] = word

    # -- terms -------------------------------------------------------------------------------------------

    def terms(self, document: Mapping) -> tuple[int, str, tuple[Change, ...]]:
        """The days of notice that are promised (0 = none), where licences are to be had, and what is to change."""
        node = self.mapping(document.get("terms"), "terms: ")
        if node is None:
            return 0, "", ()
        self.keys(node, language.TERMS.names, "terms: ")
        if not node.entries:
            self.refuse(node, "terms: says nothing: name 'notice', 'licence' or 'changes', or leave it out")
        days = self.number(node, "notice", "terms: ", 1)
        if not 1 <= days <= language.MAX_NOTICE_DAYS:
            most = language.MAX_NOTICE_DAYS
            self.refuse(node.get("notice") or node, f"terms: 'notice' is a number of days, from 1 to {most}")
        url = self.text(node, "licence", "terms: ")
        if url and not _WEB.fullmatch(url):
            self.refuse(node.get("licence") or node, f"terms: licence: '{url[:80]}' is no URL: write https://…")
        listed = node.get("changes")
        if isinstance(listed, Sequence) and not listed.items:
            self.refuse(listed, "terms: 'changes' is empty: name a change, or leave it out")
        seen: dict[float, int] = {}
        changes = self.each(node, "changes", lambda item: self.change(item, seen), "terms: ")
        if len(changes) > language.MAX_CHANGES:
            most = language.MAX_CHANGES
            self.refuse(listed or node, f"terms: more than {most} changes: take out those that are over")
        promised = days if node.get("notice") is not None else 0
        return promised, url, tuple(sorted(changes, key=lambda change: change.from_s))

    def change(self, item: Mapping, seen: dict[float, int]) -> Change | None:
        where = "terms: changes: "
        self.keys(item, language.CHANGE.names, where)
        if item.get("from") is None:
            self.refuse(item, f"{where}needs 'from', the day on which it begins")
        from_s = self.moment(item.get("from"), f"{where}from: ")
        announced_s = self.moment(item.get("announced"), f"{where}announced: ")
        if item.get("preferences") is None:
            self.refuse(item, f"{where}needs 'preferences': what is said otherwise from then on")
        general, kinds = self.preferences(item, where)
        if isinstance(said := item.get("preferences"), Mapping) and not said.entries:
            self.refuse(said, f"{where}preferences: says nothing: name a purpose, or leave the change out")
        if from_s is None:
            return None
        if announced_s is not None and announced_s > from_s:
            self.refuse(
                item.get("announced") or item, f"{where}'announced' is after 'from': what begins is announced before"
            )
        if from_s in seen:
            self.refuse(item.get("from") or item, f"{where}two begin at once (first on line {seen[from_s]}): join them")
        seen.setdefault(from_s, item.line)
        return Change(from_s, general, kinds, announced_s, item.line, item.file or self.file)

    # -- rights ------------------------------------------------------------------------------------------

    def rights(self, document: Mapping) -> RightsTerms | None:
        node = self.mapping(document.get("rights"), "rights: ")
        if node is None:
            return None
        self.keys(node, language.RIGHTS.names, "rights: ")
        where = "rights: "
        source = self.text(node, "source", where)
        if not source:
            self.refuse(node, f"{where}needs a 'source': a register's file (rights.sqlite) or URL")
        elif not re.search(language.SOURCE, source):
            self.refuse(
                node.get("source") or node,
                f"{where}'{source[:60]}' is no register: name a file that ends in .sqlite or .yaml, or a URL that "
                "begins with https://, redis://, rediss:// or unix://",
            )
        elif "://" not in source:
            beside = Path((node.get("source") or node).file or self.file).parent
            source = str(beside / source)
        header = self.text(node, "header", where).lower()
        if header and not re.fullmatch(r"[a-z0-9-]+", header):
            self.refuse(node.get("header") or node, f"{where}'{header}' is not a header name")
        elif _MEANT_OTHERWISE.fullmatch(header):
            message = f"{where}the header '{header}' says something else already: take one of your own, X-Guard-Work"
            self.refuse(node.get("header") or node, message)
        works = self.each(node, "works", self.work_path, where)
        written = node.get("works")
        if not header and (written is None or (isinstance(written, Sequence) and not written.items)):
            self.refuse(node, f"{where}needs 'works' (which address is of which work) or 'header'")
        max_age_s = self.number(node, "max_age", where, 60)
        if not 1 <= max_age_s <= 86_400:
            self.refuse(node.get("max_age") or node, f"{where}'max_age' is 1 to 86400 seconds")
        return RightsTerms(
            source=source,
            mode=self.mode(node, where, Mode.ENFORCE),
            works=works,
            header=header,
            reason=self.text(node, "reason", where).strip() or RIGHTS_REASON,
            max_age_s=float(max_age_s),
            line=node.line,
            file=node.file or self.file,
        )

    def work_path(self, item: Mapping) -> WorkPath | None:
        where = "rights: works: "
        self.keys(item, language.WORK_PATH.names, where)
        node = item.get("path")
        if not isinstance(node, Scalar):
            self.refuse(node or item, f"{where}needs a 'path' like /track/{{track}}")
            return None
        where = f"{where}'{node.text}': "
        before = len(self.problems)
        if (
            self.pattern(Scalar(NAMED.sub("x", node.text), node.line, node.quoted, node.file), "rights: works: ")
            is None
        ):
            return None
        names = NAMED.findall(node.text)
        for name in names:
            if name not in HOLDINGS:
                self.refuse(node, f"{where}unknown layer '{name}'{guess(name, HOLDINGS)}")
        parts = [part for part in node.text.split("/") if part]
        if any(len(NAMED.findall(part)) > 1 for part in parts) or len(set(names)) < len(names):
            self.refuse(node, f"{where}one name in a segment, and each name once")
        if "{" in NAMED.sub("", node.text) or "}" in NAMED.sub("", node.text):
            self.refuse(node, f"{where}a brace that holds no layer's name")
        if any("*" in part and "{" in part for part in parts) or ("**" in parts and parts.index("**") < len(parts) - 1):
            self.refuse(node, f"{where}'**' stands last, and '*' in a segment without a name")
        query, layer = self.text(item, "query", where), self.text(item, "layer", where)
        if bool(query) is not bool(layer):
            self.refuse(item, f"{where}'query' and 'layer' go together: the parameter, and whose id it holds")
        if query and names:
            self.refuse(item, f"{where}either names in the path or 'query'")
        elif not query and not names:
            self.refuse(node, f"{where}names no layer: write one in braces, like {{track}}")
        if layer and item.get("layer") is not None:
            self.one_of(item.get("layer") or item, HOLDINGS, "layer", where)
        if query and not re.fullmatch(r"[A-Za-z0-9_.-]+", query):
            self.refuse(item.get("query") or item, f"{where}'{query}' is no parameter's name")
        made_of = self.text(item, "id", where)
        if made_of and (set(NAMED.findall(made_of)) != set(names) or query):
            self.refuse(item.get("id") or item, f"{where}'id' is made of all names of the path, each once")
        kind_node = item.get("kind")
        kind = self.one_of(kind_node, KINDS, "kind", where) if kind_node is not None else ""
        if len(self.problems) > before:
            return None
        return WorkPath(node.text, query, layer, made_of, kind or "", item.line, item.file or self.file)

    # -- limits, and what happens without the store ------------------------------------------------------

    def limiting(self, item: Mapping, limits: dict[str, Limit]) -> Rule | None:
        """The rule of a limit that says itself what it is for; None for one that waits for rules to name it."""
        name = self.text(item, "name", "limits: ")
        where = f"limit '{name}': "
        node = item.get("when")
        when = self.mapping(node, f"{where}when: ")
        if node is None:
            for word in ("mode", "reason", "from", "until"):
                if (said := item.get(word)) is not None:
                    self.refuse(said, f"{where}'{word}' goes with 'when'")
        if when is None:
            return None
        if not when.entries:
            self.refuse(when, f"{where}'when' is empty: say `path: /**` if it is for everything")
            return None
        tests = self.tests(when, where)
        self.check_open(where, when)
        mode, reason = self.mode(item, where, Mode.ENFORCE), self.text(item, "reason", where).strip()
        from_s, until_s = self.dates(item, where)
        limit = limits.get(name)
        if limit is None:
            return None
        return Rule(
            name=name,
            when=tests,
            then="throttle",
            mode=mode,
            reason=reason,
            limits=(limit,),
            line=item.line,
            from_s=from_s,
            until_s=until_s,
            file=item.file or self.file,
        )

    def on_store_failure(self, document: Mapping) -> dict[str, str]:
        """What each route class that does not go on locally does."""
        node = document.get("on_store_failure")
        where = "on_store_failure: "
        found: dict[str, str] = {}
        if isinstance(node, Mapping):
            for key, value in node.entries:
                route_class = self.one_of(key, ROUTE_CLASSES, "route class", where)
                word = self.one_of(value, ON_STORE_FAILURE, "word", f"{where}{key.text}: ")
                if route_class == "directive":
                    self.refuse(key, f"{where}directive files are never limited: leave them out")
                elif route_class and word:
                    found[route_class] = word
        elif isinstance(node, Sequence):
            self.refuse(node, f"{where}expected {', '.join(ON_STORE_FAILURE)}, or one of them for each route class")
        elif node is not None and (word := self.one_of(node, ON_STORE_FAILURE, "word", where)):
            found = dict.fromkeys((route for route in ROUTE_CLASSES if route != "directive"), word)
        return {route_class: word for route_class, word in found.items() if word != "local"}

    # -- rules -------------------------------------------------------------------------------------------

    def rule(self, item: Mapping, limits: dict[str, Limit], seen: dict[str, int]) -> Rule | None:
        name = self.named(item, "rules: ", seen)
        where = f"rule '{name}': " if name else "rules: "
        if name == "default":
            self.refuse(item, f"{where}this name stands for what happens when no rule matches")
        if name == TRAP:
            self.refuse(item, f"{where}this name stands for the traps of 'detection'; call it 'traps' or the like")
        # Of ten thousand rules most say only the most needful: what is not there is not asked for one by one.
        said = {key[0]: node for key, node in item.entries}
        if not said.keys() <= _RULE_WORDS:
            self.keys(item, language.RULE.names, where)
        then_node, weigh_node = said.get("then"), said.get("weigh")
        if then_node is None and weigh_node is None:
            self.refuse(item, f"{where}needs 'then' ({', '.join(ACTIONS)}) or 'weigh'")
            return None
        if then_node is not None and weigh_node is not None:
            self.refuse(weigh_node, f"{where}'weigh' and 'then' exclude each other: make two rules")
        then = self.action(then_node, ACTIONS, where) if then_node is not None else "weigh"
        when_node = said.get("when")
        when = self.mapping(when_node, f"{where}when: ")
        if when_node is None:
            self.refuse(item, f"{where}needs 'when' (what the rule applies to)")
        asked = self.rule_limits(item, then, limits, where) if then == "throttle" or "limit" in said else ()
        label_node = said.get("label")
        if then not in ("label", None) and label_node is not None:
            self.refuse(label_node, f"{where}'label' goes with 'then: label'")
        tests = self.tests(when, where) if when else ()
        label = self.text(item, "label", where) if "label" in said else ""
        if isinstance(label_node, Scalar):
            self.well_named(label_node, f"{where}label: ")
        if then == "label":
            self.labels.add((label or name).lower())
        from_s, until_s = self.dates(item, where) if "from" in said or "until" in said else (-inf, inf)
        rule = Rule(
            name=name,
            when=tests,
            then=then or "allow",
            mode=self.mode(item, where, Mode.ENFORCE) if "mode" in said else Mode.ENFORCE,
            reason=self.words(said["reason"], "reason", where).strip() if "reason" in said else "",
            limits=asked,
            label=label,
            line=item.line,
            weight=self.weight(weigh_node, where) if weigh_node is not None else 0,
            from_s=from_s,
            until_s=until_s,
            file=item.file or self.file,
            ask=self.asking(item, then, where) if "ask" in said else "",
            cost=self.rule_cost(item, then, asked, where) if "cost" in said else 1,
        )
        if rule.then in ("throttle", "block") and when is not None:
            self.check_open(f"rule '{name}': ", when)
        return rule

    def asking(self, item: Mapping, then: str | None, where: str) -> str:
        node = item.get("ask")
        if node is None:
            return ""
        if then != "block":
            self.refuse(node, f"{where}'ask' goes with 'then: block'")
        return self.one_of(node, language.ASKS, "word for 'ask'", where) or ""

    def action(self, node: Node, known: tuple[str, ...], where: str) -> str | None:
        if type(node) is Scalar and node.text in known:
            return node.text
        if isinstance(node, Scalar) and node.text in _NEVER_PASSED:
            self.refuse(
                node,
                f"{where}there is no '{node.text}': a player, an app or a feed reader could never pass it; "
                "use throttle or block",
            )
            return None
        if isinstance(node, Scalar) and (meant := _ACTIONS_MEANT.get(node.text.lower())) in known:
            self.refuse(node, f"{where}unknown action '{node.text}', did you mean '{meant}'?")
            return None
        return self.one_of(node, known, "action", where)

    def weight(self, node: Node, where: str) -> int:
        text = node.text if isinstance(node, Scalar) else ""
        if _WEIGHT.fullmatch(text) and 0 < abs(int(text)) <= MAX_WEIGHT:
            return int(text)
        self.refuse(node, f"{where}'weigh' must be a whole number from -{MAX_WEIGHT} to +{MAX_WEIGHT}, and not 0")
        return 0

    def dates(self, item: Mapping, where: str) -> tuple[float, float]:
        if item.get("from") is None and item.get("until") is None:
            return -inf, inf
        start = self.moment(item.get("from"), f"{where}from: ")
        end = self.moment(item.get("until"), f"{where}until: ", end=True)
        if start is not None and end is not None and end <= start:
            self.refuse(item.get("until") or item, f"{where}'until' is not after 'from': it would never be in force")
        return -inf if start is None else start, inf if end is None else end

    def rule_limits(self, item: Mapping, then: str | None, limits: dict[str, Limit], where: str) -> tuple[Limit, ...]:
        """The limits that all have to admit what is throttled."""
        node = item.get("limit")
        if then == "throttle" and node is None:
            self.refuse(item, f"{where}'throttle' needs 'limit: NAME' (one of 'limits')")
        if node is None:
            return ()
        if then not in ("throttle", None):
            self.refuse(node, f"{where}'limit' goes with 'then: throttle'")
        names = [self.one_of(one, limits, "limit", where) for one in self.texts(node, where)]
        return tuple(dict.fromkeys(limits[name] for name in names if name))

    def rule_cost(self, item: Mapping, then: str | None, limits: tuple[Limit, ...], where: str) -> int:
        """How many times its limits' own cost a request counts; never more than any of them has room for."""
        node = item.get("cost")
        if node is None:
            return 1
        if then not in ("throttle", None):
            self.refuse(node, f"{where}'cost' goes with 'then: throttle'")
        cost = self.cost(item, where)
        for limit in limits:
            if (most := limit.room) is not None and cost * limit.cost > most:
                counts = f"'cost' {cost}" + (f" times {limit.cost}" if limit.cost > 1 else "")
                message = (
                    f"{where}{counts} is more than limit '{limit.name}' has room for, {most}: nothing could ever pass"
                )
                self.refuse(node, message)
        return cost

    def check_open(self, where: str, when: Mapping) -> None:
        """Directive paths stay open to everyone: a rule or limit that says otherwise is refused."""
        for key, node in when.entries:
            if key.text not in ("route", "any", "all"):
                continue
            for item in node.items if isinstance(node, Sequence) else (node,):
                if isinstance(item, Mapping) and key.text != "route":
                    self.check_open(where, item)
                elif isinstance(item, Scalar) and (key.text, item.text) == ("route", "directive"):
                    self.refuse(item, f"{where}directive files are open to everyone, always: take 'directive' out")

    def check_directives(self, policy: Policy) -> None:
        """The same for rules and limits that name the paths of directive files."""
        refusing = [("rule", rule) for rule in policy.rules if rule.then in ("throttle", "block")]
        for what, rule in (*refusing, *(("limit", rule) for rule in policy.limiting)):
            for path in sorted(path for path in _paths_asked(rule.when) if "*" not in path):
                reading = path if policy.site.case_sensitive else path.lower()
                if reading in OPEN_PATHS or policy.route_class(reading) == "directive":
                    message = (
                        f"{what} '{rule.name}': '{path}' is a directive file, open to everyone, always: take it out"
                    )
                    self.problems.append(Problem(rule.file, rule.line, message))

    # -- conditions --------------------------------------------------------------------------------------

    def tests(self, when: Mapping, where: str, negated: bool = False, depth: int = 1) -> tuple[Test, ...]:
        found: list[Test] = []
        inside = f"{where}when: "
        self.keys(when, language.WHEN.names, inside, cutoff=0.75)  # `country` is not `category`
        if not when.entries:
            self.refuse(when, f"{where}'when' is empty: it would match everything; use 'default' for that")
        for key, node in when.entries:
            word = key.text
            if word in ("not", "any", "all") and depth >= MAX_NESTING:
                self.refuse(key, f"{where}when: '{word}' nested deeper than {MAX_NESTING} levels: make two rules")
            elif word == "not":
                if negated:
                    self.refuse(key, f"{where}when: 'not' within 'not': say it plainly")
                elif inner := self.mapping(node, f"{where}when: not: "):
                    found += self.tests(inner, where, True, depth + 1)
            elif word in ("any", "all"):
                found += self.group(word, node, where, negated, depth)
            elif word in FACTS:
                if type(node) is Scalar:
                    found.append(Condition(word, self.values(word, node, inside), negated))
                    continue
                values: set[str] = set()
                for item in self.texts(node, f"{inside}{word}: "):
                    values |= self.values(word, item, inside)
                found.append(Condition(word, frozenset(values), negated))
        return tuple(found)

    def group(self, word: str, node: Node, where: str, negated: bool, depth: int) -> list[Test]:
        if not isinstance(node, Sequence) or not node.items:
            self.refuse(node, f"{where}when: '{word}' must be a list of conditions")
            return []
        branches: list[tuple[Test, ...]] = []
        for item in node.items:
            inner = self.mapping(item, f"{where}when: {word}: ")
            if inner is not None:
                branches.append(self.tests(inner, where, False, depth + 1))
        return [Group(tuple(branches), word == "all", negated)]

    def values(self, fact: str, item: Scalar, where: str) -> frozenset[str]:
        """What one written value stands for: itself, or all that a glob such as `ai-*` names."""
        known = self._values.get((fact, item.text))
        if known is None:
            before = len(self.problems)
            known = frozenset(self._values_of(fact, item, where))
            if len(self.problems) == before and fact != "label":
                self._values[fact, item.text] = known
        return known

    def _values_of(self, fact: str, item: Scalar, where: str) -> set[str]:
        if fact == "path":
            return {path} if (path := self.pattern(item, where)) else set()
        if fact == "network":
            return {network} if (network := self.network(item, where)) else set()
        if fact == "agent":
            return self.agent_names(item, where)
        if fact == "operator":
            return self.operators(item, where)
        if fact == "user_agent":
            return self.user_agent(item, where)
        if fact == "label":
            return self.label(item, where)
        if fact == "method":
            item = item._replace(text=item.text.upper())
        known: Iterable[str] = {
            "method": METHODS,
            "purpose": PURPOSES,
            "category": CATEGORIES,
            "identity": language.IDENTITIES,
            "route": ROUTE_CLASSES,
            "rights": language.STANDINGS,
        }[fact]
        if "*" in item.text and fact in ("category", "purpose"):
            return self.globbed(item, known, fact, where)
        if fact == "category" and item.text.lower() == "ai":
            self.refuse(item, f"{where}unknown category '{item.text}', did you mean 'ai-*'?")
            return set()
        word = self.one_of(item, known, fact, where)
        return {word} if word else set()

    def globbed(self, item: Scalar, known: Iterable[str], what: str, where: str) -> set[str]:
        """The words that a glob names; none is an error."""
        pieces = tuple(item.text.lower().split("*"))
        named = {word for word in known if glob_matches(pieces, word)}
        if not named:
            self.refuse(item, f"{where}no {what} matches '{item.text}'")
        return named

    def agent_names(self, item: Scalar, where: str) -> set[str]:
        """A name of the catalogue in lower case, or all that a glob names. A name that is like none is only odd."""
        name = item.text.lower()
        if "*" in name:
            return self.globbed(item, self.catalogue.by_name, "agent", where)
        if name not in self.catalogue.by_name and name not in ("browser", "unknown"):
            near = guess(item.text, [agent.name for agent in self.catalogue.agents], 0.8)
            if near:
                self.refuse(item, f"{where}unknown agent '{item.text}'{near}")
                return set()
            self.warn(item, f"{where}agent '{item.text}' is not in the catalogue: nobody is known by that name")
        return {name}

    def operators(self, item: Scalar, where: str) -> set[str]:
        name = item.text.lower()
        if "*" in name:
            return self.globbed(item, self._operators, "operator", where)
        if name in self._operators:
            return {name}
        self.refuse(item, f"{where}unknown operator '{item.text}'{guess(item.text, self._operators.values())}")
        return set()

    def user_agent(self, item: Scalar, where: str) -> set[str]:
        text = item.text.lower()
        if text and not text.strip("* "):
            self.refuse(item, f"{where}user_agent '{item.text}' would match everybody")
            return set()
        if len(text) > 512 or not text.isascii():
            self.refuse(item, f"{where}user_agent: up to 512 ASCII characters")
            return set()
        if _LIKE_A_REGEX.search(text):
            self.warn(item, f"{where}user_agent '{item.text}' looks like a regular expression: only '*' means anything")
        elif text and "*" not in text:
            self.warn(item, f"{where}user_agent '{item.text}' fits only exactly this text: '*' stands for any other")
        return {text}

    def label(self, item: Scalar, where: str) -> set[str]:
        if item.text.lower() not in self.labels:
            self.refuse(item, f"{where}no rule above notes the label '{item.text}'{guess(item.text, self.labels)}")
            return set()
        return {item.text.lower()}

    # -- agents' rows ------------------------------------------------------------------------------------

    def rows(self, document: Mapping, limits: dict[str, Limit]) -> tuple[Rule, ...]:
        """Rows as rules, the narrower first: single agents, then categories, then globs by what they cover."""
        node = self.mapping(document.get("agents"), "agents: ")
        single: list[tuple[int, int, Rule]] = []
        exact: list[Rule] = []
        wide: list[tuple[int, Rule]] = []
        for key, value in node.entries if node else ():
            where = f"agents: {key.text}: "
            if not key.text.strip("*"):
                self.refuse(key, f"agents: '{key.text}' is everybody: say 'default' for that")
                continue
            categories = self.row_categories(key)
            row = self.row(key, value, limits, where, language.ROW.names, Condition("category", categories))
            if row is not None:
                if "*" in key.text:
                    wide.append((len(categories), row))
                else:
                    exact.append(row)
            overrides = self.mapping(value.get("agents"), f"{where}agents: ") if isinstance(value, Mapping) else None
            for name, said in overrides.entries if overrides else ():
                single += self.override(name, said, limits, where, categories)
        named = (row for _, _, row in sorted(single, key=lambda one: one[:2]))
        return (*named, *exact, *(row for _, row in sorted(wide, key=lambda pair: pair[0])))

    def row_categories(self, key: Scalar) -> frozenset[str]:
        if "*" in key.text:
            return frozenset(self.globbed(key, CATEGORIES, "category", "agents: "))
        if key.text.lower() == "ai":
            self.refuse(key, f"agents: unknown category '{key.text}', did you mean 'ai-*'?")
            return frozenset()
        agent = self.catalogue.by_name.get(key.text.lower())
        if agent is not None and key.text not in CATEGORIES:
            self.refuse(
                key,
                f"agents: an agent stands under its row: "
                f"`{agent.category}: {{then: inherit, agents: {{{agent.name}: …}}}}`",
            )
            return frozenset()
        word = self.one_of(key, CATEGORIES, "category", "agents: ")
        return frozenset({word} if word else ())

    def override(
        self, name: Scalar, said: Node, limits: dict[str, Limit], where: str, categories: frozenset[str]
    ) -> list[tuple[int, int, Rule]]:
        """One agent that differs from its row, with how many it names in how many categories; nothing for `inherit`.

        A glob means those agents of the row that it fits.
        """
        found = self.agent_names(name, where)
        others = {one: own for one in found if (own := self.category_of(one)) not in (None, *categories)}
        if "*" not in name.text and others:
            self.refuse(name, f"{where}agent '{name.text}' is {others[name.text.lower()]}: put it under that row")
        elif found and len(others) == len(found):
            self.refuse(name, f"{where}no agent of this row matches '{name.text}'")
        found -= others.keys()
        where = f"{where}{name.text}: "
        row = self.row(name, said, limits, where, language.AGENT_ROW.names, Condition("agent", frozenset(found)))
        return [(len(found), len(categories), row)] if row is not None else []

    def category_of(self, name: str) -> str | None:
        """The category of an agent by its name in lower case; None when nobody is known by it."""
        known = (self.catalogue.by_name.get(name), BROWSER_AGENT, UNKNOWN_AGENT)
        return next((agent.category for agent in known if agent is not None and agent.name.lower() == name), None)

    def row(
        self, key: Scalar, value: Node, limits: dict[str, Limit], where: str, known: Iterable[str], who: Condition
    ) -> Rule | None:
        """A row as a rule; None for `inherit`, which leaves it to the wider row."""
        if isinstance(value, Scalar):
            value = Mapping(((Scalar("then", value.line, False, value.file), value),), value.line, value.file)
        item = self.mapping(value, where)
        if item is None:
            return None
        self.keys(item, known, where)
        then_node = item.get("then")
        if then_node is None:
            self.refuse(item, f"{where}needs 'then' ({', '.join(language.ROW_ACTIONS)})")
            return None
        then = self.action(then_node, language.ROW_ACTIONS, where)
        asked = self.rule_limits(item, then, limits, where)
        if then in (None, "inherit"):
            return None
        return Rule(
            name=f"agents: {key.text}",
            when=(who,),
            then=then or "allow",
            mode=self.mode(item, where, Mode.ENFORCE),
            reason=self.text(item, "reason", where).strip(),
            limits=asked,
            cost=self.rule_cost(item, then, asked, where),
            line=key.line,
            file=key.file or self.file,
        )

    # -- the ladder --------------------------------------------------------------------------------------

    def ladder(self, item: Mapping, limits: dict[str, Limit]) -> Ladder | None:
        self.keys(item, language.LADDER.names, "ladder: ")
        classes: list[str] = []
        for node in self.texts(item.get("route"), "ladder: route: "):
            word = self.one_of(node, ROUTE_CLASSES, "route class", "ladder: ")
            if word == "directive":
                self.refuse(node, "ladder: directive files are open to everyone, always: take 'directive' out")
            elif word:
                classes.append(word)
        steps = item.get("steps")
        if steps is None or (isinstance(steps, Sequence) and not steps.items):
            self.refuse(steps or item, "ladder: needs 'steps' (a list of 'at' and 'then')")
        rungs = self.each(item, "steps", lambda step: self.rung(step, limits, classes), "ladder: ")
        for lower, higher in pairwise(rungs):
            if higher.at <= lower.at:
                message = f"ladder: steps must rise: {higher.at} follows {lower.at}"
                self.problems.append(Problem(higher.rule.file, higher.rule.line, message))
        return Ladder(tuple(classes), rungs, item.line, item.file or self.file)

    def rung(self, item: Mapping, limits: dict[str, Limit], classes: list[str]) -> Rung | None:
        self.keys(item, language.STEP.names, "ladder: steps: ")
        at = self.number(item, "at", "ladder: steps: ", 1)
        if item.get("at") is None or not 1 <= at <= 10_000:
            self.refuse(item.get("at") or item, "ladder: steps: needs 'at', a whole number from 1 to 10000")
        where = f"ladder: at {at}: "
        node = item.get("then")
        if node is None:
            self.refuse(item, f"{where}needs 'then' ({', '.join(language.STEP_ACTIONS)})")
            return None
        then = self.action(node, language.STEP_ACTIONS, where)
        asked = self.rule_limits(item, then, limits, where)
        rule = Rule(
            name=f"ladder: {'all' if not classes else ', '.join(classes)} at {at}",
            when=(),
            then=then or "block",
            reason=self.text(item, "reason", where).strip(),
            limits=asked,
            cost=self.rule_cost(item, then, asked, where),
            line=item.line,
            file=item.file or self.file,
        )
        return Rung(at, rule)

    # -- examples ----------------------------------------------------------------------------------------

    def example(self, item: Mapping, rules: dict[str, int], seen: dict[str, int]) -> Example | None:
        name = self.named(item, "examples: ", seen)
        where = f"example '{name}': "
        self.keys(item, language.EXAMPLE.names, where)
        path_node, expect_node, ip_node = item.get("path"), item.get("expect"), item.get("ip")
        if not isinstance(path_node, Scalar) or not path_node.text.startswith("/"):
            self.refuse(path_node or item, f"{where}needs a 'path' that starts with '/'")
            return None
        if expect_node is None:
            self.refuse(item, f"{where}needs 'expect' ({', '.join(FINAL_ACTIONS)})")
            return None
        expect = self.one_of(expect_node, FINAL_ACTIONS, "action", where)
        if isinstance(ip_node, Scalar) and read_address(ip_node.text) is None:
            self.refuse(ip_node, f"{where}'{ip_node.text}' is not an address")
        method = self.text(item, "method", where, "GET").upper()
        if method not in METHODS:
            self.refuse(item.get("method") or item, f"{where}unknown method '{method}'{guess(method, METHODS)}")
        rule_node = item.get("rule")
        if rule_node is not None:
            self.one_of(rule_node, rules, "rule", where)
        return Example(
            name=name,
            path=path_node.text,
            expect=expect or "allow",
            method=method,
            user_agent=self.text(item, "user_agent", where),
            ip=self.text(item, "ip", where, "192.0.2.1"),
            rule=self.text(item, "rule", where),
            line=item.line,
            labels=self.example_labels(item, where),
            weight=self.example_weight(item, where),
            at_s=self.moment(item.get("at"), f"{where}at: "),
            identity=self.example_identity(item, where),
            file=item.file or self.file,
        )

    def example_labels(self, item: Mapping, where: str) -> tuple[str, ...] | None:
        node = item.get("labels")
        if node is None:
            return None
        noted = self.texts(node, f"{where}labels: ") if _filled(item, "labels") else []
        return tuple(label.text for label in noted if self.label(label, f"{where}labels: "))

    def example_identity(self, item: Mapping, where: str) -> Identity | None:
        node = item.get("identity")
        word = self.one_of(node, language.IDENTITIES, "identity", where) if node is not None else None
        return Identity(word) if word else None

    def example_weight(self, item: Mapping, where: str) -> int | None:
        node = item.get("weight")
        if node is None:
            return None
        if isinstance(node, Scalar) and re.fullmatch(r"[+-]?[0-9]{1,5}", node.text):
            return int(node.text)
        self.refuse(node, f"{where}'weight' must be a whole number, up to five digits")
        return None


def _paths_asked(tests: Iterable[Test]) -> set[str]:
    """The paths that `tests` ask for, but for those that must not be."""
    found: set[str] = set()
    for test in tests:
        if test.negated:
            continue
        if isinstance(test, Group):
            found |= _paths_asked(one for branch in test.branches for one in branch)
        elif test.fact == "path":
            found |= test.values
    return found


def _filled(mapping: Mapping, key: str) -> bool:
    """An empty list is a fine way to say that nobody is trusted, and that nothing is noted."""
    node = mapping.get(key)
    return not (isinstance(node, Sequence) and not node.items)


def _step_names(ladder: Iterable[Ladder]) -> list[str]:
    return [rung.rule.name for one in ladder for rung in one.rungs]


def _is_plain_network(text: str) -> bool:
    """Is this an IPv4 network as everybody writes it? Most are, and `ip_network` takes ten times as long to say so."""
    address, _, length = text.partition("/")
    parts = address.split(".")
    if len(parts) != 4 or not (
        length.isascii() and length.isdecimal() and len(length) <= 2 and length == str(int(length))
    ):
        return False
    number = 0
    for part in parts:
        if not (part.isascii() and part.isdecimal() and len(part) <= 3 and part == str(int(part)) and int(part) < 256):
            return False
        number = number << 8 | int(part)
    return int(length) <= 32 and not number & ((1 << 32 - int(length)) - 1)

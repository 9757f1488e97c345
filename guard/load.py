"""A policy file to a Policy, or every problem at once with file, line and a suggestion.

Reading goes on after a problem, so that one run names all of them; nothing is returned unless there are none.
An unknown key is an error: a misspelt rule must not silently not exist.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from ipaddress import ip_network
from pathlib import Path
from typing import TypeVar

from guard.classify import Catalogue, load_catalogue
from guard.conditions import FACTS, Condition
from guard.documents import Mapping, Node, Scalar, Sequence, read_document
from guard.errors import PolicyError, Problem
from guard.identify import read_address
from guard.model import ACTIONS, CATEGORIES, PURPOSES, ROUTE_CLASSES, Identity, Limit, Mode, Site
from guard.policy import Example, Policy, RoutePatterns, Rule

PREFERENCES = ("train-ai", "ai-use", "search")
LIMIT_KEYS = ("client", "prefix", "agent", "operator", "site")
FINAL_ACTIONS = ("allow", "throttle", "block")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_UNITS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "day": 86400}
_RATE = re.compile(r"([0-9]{1,9})\s*+/\s*+([a-z]++)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._'-]{0,79}")

T = TypeVar("T")


def load_policy(path: str | Path, catalogue: Catalogue | None = None) -> Policy:
    """The policy in `path`. Raises PolicyError with every problem; OSError when the file cannot be read."""
    file = Path(path)
    try:
        text = file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise PolicyError((Problem(str(path), 0, f"not UTF-8 text: {error.reason}"),)) from None
    return read_policy(text, str(path), catalogue)


def read_policy(text: str, file: str = "policy", catalogue: Catalogue | None = None) -> Policy:
    """The policy in `text`; `file` is only for messages. Raises PolicyError."""
    node, problems = read_document(text, file)
    if node is None:
        raise PolicyError(tuple(sorted(problems, key=lambda problem: problem.line)))
    reader = _Reader(file, catalogue or shipped_catalogue())
    policy = reader.policy(node)
    if reader.problems or policy is None:
        raise PolicyError(tuple(sorted(reader.problems, key=lambda problem: problem.line)))
    return replace(policy, version=hashlib.sha256(text.encode()).hexdigest()[:12], file=file)


def shipped_policy(name: str) -> Path:
    """The path of a policy that ships with the guard, by name without `.yaml`. Raises FileNotFoundError."""
    here = Path(__file__).parent
    for folder in (here / "_policies", here.parent / "policies"):
        if (path := folder / f"{name}.yaml").is_file():
            return path
    raise FileNotFoundError(f"no shipped policy '{name}'")


_shipped: list[Catalogue] = []


def shipped_catalogue() -> Catalogue:
    """The catalogue that ships with the guard, read once a process."""
    if not _shipped:
        _shipped.append(load_catalogue())
    return _shipped[0]


class _Reader:
    """Collects problems while it turns nodes into values; each method reads one block."""

    def __init__(self, file: str, catalogue: Catalogue) -> None:
        self.file = file
        self.catalogue = catalogue
        self.problems: list[Problem] = []

    # -- small things ------------------------------------------------------------------------------------

    def refuse(self, node: Node, message: str) -> None:
        self.problems.append(Problem(self.file, node.line, message))

    def keys(self, mapping: Mapping, known: Iterable[str], where: str) -> None:
        for key, _ in mapping.entries:
            if key.text not in known:
                self.refuse(key, f"{where}unknown key '{key.text}'{_guess(key.text, known)}")

    def mapping(self, node: Node | None, where: str) -> Mapping | None:
        if node is None or isinstance(node, Mapping):
            return node
        self.refuse(node, f"{where}expected a mapping (key: value)")
        return None

    def text(self, mapping: Mapping, key: str, where: str, default: str = "") -> str:
        node = mapping.get(key)
        if node is None:
            return default
        if isinstance(node, Scalar):
            return node.text
        self.refuse(node, f"{where}'{key}' must be text")
        return default

    def texts(self, node: Node | None, where: str) -> list[Scalar]:
        """A value or a list of values."""
        if node is None:
            return []
        if isinstance(node, Scalar):
            return [node]
        found: list[Scalar] = []
        for item in node.items if isinstance(node, Sequence) else ():
            if isinstance(item, Scalar):
                found.append(item)
            else:
                self.refuse(item, f"{where}expected text in this list")
        if isinstance(node, Mapping):
            self.refuse(node, f"{where}expected a value or a list of values")
        elif not found and not node.items:
            self.refuse(node, f"{where}an empty list: it could never match")
        return found

    def one_of(self, node: Node, known: Iterable[str], what: str, where: str) -> str | None:
        if not isinstance(node, Scalar):
            self.refuse(node, f"{where}{what} must be one word")
            return None
        if node.text in known:
            return node.text
        self.refuse(node, f"{where}unknown {what} '{node.text}'{_guess(node.text, known)}")
        return None

    def number(self, mapping: Mapping, key: str, where: str, default: int) -> int:
        node = mapping.get(key)
        if node is None:
            return default
        if isinstance(node, Scalar) and re.fullmatch(r"[0-9]{1,9}", node.text):
            return int(node.text)
        self.refuse(node, f"{where}'{key}' must be a whole number")
        return default

    def flag(self, mapping: Mapping, key: str, where: str) -> bool:
        node = mapping.get(key)
        if node is None:
            return False
        return self.one_of(node, ("true", "false"), f"value for '{key}'", where) == "true"

    def names(self, mapping: Mapping, where: str, seen: dict[str, int]) -> str:
        """The `name` of a rule, limit or example: there, well formed and not used before."""
        node = mapping.get("name")
        if not isinstance(node, Scalar) or not _NAME.fullmatch(node.text):
            self.refuse(node or mapping, f"{where}needs a 'name' (letters, digits, spaces, - _ . ', up to 80)")
            return ""
        if node.text in seen:
            self.refuse(node, f"{where}name '{node.text}' is used twice (first on line {seen[node.text]})")
        seen[node.text] = node.line
        return node.text

    def each(self, document: Mapping, key: str, read: Callable[[Mapping], T | None]) -> tuple[T, ...]:
        node = document.get(key)
        if node is None:
            return ()
        if not isinstance(node, Sequence):
            self.refuse(node, f"'{key}' must be a list")
            return ()
        found: list[T] = []
        for item in node.items:
            if isinstance(item, Mapping):
                if (value := read(item)) is not None:
                    found.append(value)
            else:
                self.refuse(item, f"{key}: expected a mapping (key: value)")
        return tuple(found)

    def pattern(self, node: Scalar, where: str) -> str | None:
        text = node.text
        parts = text.split("/")
        if not text.startswith("/"):
            self.refuse(node, f"{where}path '{text}' must start with '/'")
        elif any("**" in part and part != "**" for part in parts):
            self.refuse(node, f"{where}path '{text}': '**' must stand alone between slashes")
        elif "?" in text or "#" in text or "%" in text:
            self.refuse(node, f"{where}path '{text}': write it decoded and without a query")
        elif any(part in (".", "..") for part in parts) or "//" in text:
            self.refuse(node, f"{where}path '{text}': no dot segments or empty segments")
        else:
            return text
        return None

    def patterns(self, node: Node | None, where: str) -> list[str]:
        return [path for item in self.texts(node, where) if (path := self.pattern(item, where)) is not None]

    def network(self, node: Scalar, where: str) -> str | None:
        try:
            network = ip_network(node.text)
        except ValueError as error:
            reason = "has host bits set" if "host bits" in str(error) else "write it like 192.0.2.0/24 or 2001:db8::/32"
            self.refuse(node, f"{where}'{node.text}' is not a network: {reason}")
            return None
        if network.version == 6 and network.network_address.ipv4_mapped:
            self.refuse(node, f"{where}'{node.text}' holds nobody: write IPv4 networks as IPv4")
            return None
        return str(network)

    # -- blocks ------------------------------------------------------------------------------------------

    def policy(self, node: Node) -> Policy | None:
        document = self.mapping(node, "")
        if document is None:
            return None
        blocks = [
            "version",
            "site",
            "mode",
            "default",
            "routes",
            "route_default",
            "preferences",
            "limits",
            "rules",
            "examples",
        ]
        self.keys(document, blocks, "")
        self.version(document)
        limits = self.each(document, "limits", self._limit_reader())
        by_name = {limit.name: limit for limit in limits}
        default = self.default(document)
        seen: dict[str, int] = {}
        rules = self.each(document, "rules", lambda item: self.rule(item, by_name, seen))
        examples_seen: dict[str, int] = {}
        return Policy(
            site=self.site(document),
            mode=self.mode(document, "", Mode.ENFORCE),
            default=default,
            routes=self.each(document, "routes", self.route),
            route_default=self.route_default(document),
            preferences=self.preferences(document),
            limits=limits,
            rules=rules,
            examples=self.each(document, "examples", lambda item: self.example(item, seen, examples_seen)),
        )

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
        return Mode(self.one_of(node, [mode.value for mode in Mode], "mode", where) or default)

    def default(self, document: Mapping) -> str:
        node = document.get("default")
        if node is None:
            self.refuse(document, "'default' is required: what happens when no rule matches (allow or block)")
            return "allow"
        return self.one_of(node, ("allow", "block"), "default", "") or "allow"

    def site(self, document: Mapping) -> Site:
        node = self.mapping(document.get("site"), "site: ")
        if node is None:
            if document.get("site") is None:
                self.refuse(document, "'site' is required (at least its name)")
            return Site("")
        known = [
            "name",
            "contact",
            "trusted_proxies",
            "client_ip_header",
            "trusted_hops",
            "trust_unix",
            "case_sensitive",
        ]
        known += ["strip_prefixes", "sitemap", "published_networks"]
        self.keys(node, known, "site: ")
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
        )

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
            self.agent_name(key, where)
            nets = [self.network(item, where) for item in self.texts(value, where)]
            found[key.text.lower()] = tuple(net for net in nets if net)
        return found

    def route(self, item: Mapping) -> RoutePatterns | None:
        self.keys(item, ("class", "paths"), "routes: ")
        node = item.get("class")
        if node is None:
            self.refuse(item, "routes: needs a 'class'")
            return None
        route_class = self.one_of(node, ROUTE_CLASSES, "route class", "routes: ")
        if item.get("paths") is None:
            self.refuse(item, f"routes: class '{route_class}' needs 'paths'")
        paths = self.patterns(item.get("paths"), f"routes: class '{route_class}': ")
        return RoutePatterns(route_class, tuple(paths)) if route_class else None

    def route_default(self, document: Mapping) -> str:
        node = document.get("route_default")
        return (self.one_of(node, ROUTE_CLASSES, "route class", "") if node else None) or "page"

    def preferences(self, document: Mapping) -> dict[str, str]:
        node = self.mapping(document.get("preferences"), "preferences: ")
        found: dict[str, str] = {}
        for key, value in node.entries if node else ():
            if key.text not in PREFERENCES:
                self.refuse(key, f"preferences: unknown purpose '{key.text}'{_guess(key.text, PREFERENCES)}")
            elif word := self.one_of(value, ("allow", "disallow"), "preference", f"preferences: {key.text}: "):
                found[key.text] = word
        return found

    def _limit_reader(self) -> Callable[[Mapping], Limit | None]:
        seen: dict[str, int] = {}

        def limit(item: Mapping) -> Limit | None:
            name = self.names(item, "limits: ", seen)
            where = f"limit '{name}': "
            self.keys(item, ("name", "rate", "burst", "key"), where)
            node = item.get("rate")
            match = _RATE.fullmatch(node.text.strip()) if isinstance(node, Scalar) else None
            if match is None or match[2] not in _UNITS or int(match[1]) == 0:
                self.refuse(node or item, f"{where}'rate' must look like 60/min (units: s, min, hour, day)")
                return None
            count = int(match[1])
            burst = self.number(item, "burst", where, count)
            if burst < 1:
                self.refuse(item.get("burst") or item, f"{where}'burst' must be at least 1")
                burst = 1
            keys = [self.one_of(key, LIMIT_KEYS, "limit key", where) for key in self.texts(item.get("key"), where)]
            return Limit(name, count, float(_UNITS[match[2]]), burst, tuple(k for k in keys if k) or ("client",))

        return limit

    def rule(self, item: Mapping, limits: dict[str, Limit], seen: dict[str, int]) -> Rule | None:
        name = self.names(item, "rules: ", seen)
        where = f"rule '{name}': " if name else "rules: "
        if name == "default":
            self.refuse(item, f"{where}this name stands for what happens when no rule matches")
        self.keys(item, ("name", "when", "then", "mode", "reason", "limit", "label"), where)
        then_node = item.get("then")
        if then_node is None:
            self.refuse(item, f"{where}needs 'then' ({', '.join(ACTIONS)})")
            return None
        then = self.one_of(then_node, ACTIONS, "action", where)
        when = self.mapping(item.get("when"), f"{where}when: ")
        if item.get("when") is None:
            self.refuse(item, f"{where}needs 'when' (what the rule applies to)")
        limit = self.rule_limit(item, then, limits, where)
        if then not in ("label", None) and (label := item.get("label")) is not None:
            self.refuse(label, f"{where}'label' goes with 'then: label'")
        return Rule(
            name=name,
            when=self.conditions(when, where) if when else (),
            then=then or "allow",
            mode=self.mode(item, where, Mode.ENFORCE),
            reason=self.text(item, "reason", where).strip(),
            limit=limit,
            label=self.text(item, "label", where),
            line=item.line,
        )

    def rule_limit(self, item: Mapping, then: str | None, limits: dict[str, Limit], where: str) -> Limit | None:
        node = item.get("limit")
        if then == "throttle" and node is None:
            self.refuse(item, f"{where}'throttle' needs 'limit: NAME' (one of 'limits')")
        if node is None:
            return None
        if then not in ("throttle", None):
            self.refuse(node, f"{where}'limit' goes with 'then: throttle'")
        name = self.one_of(node, limits, "limit", where)
        return limits[name] if name else None

    def conditions(self, when: Mapping, where: str, negated: bool = False) -> tuple[Condition, ...]:
        found: list[Condition] = []
        known = FACTS if negated else (*FACTS, "not")
        self.keys(when, known, f"{where}when: ")
        if not when.entries:
            self.refuse(when, f"{where}'when' is empty: it would match everything; use 'default' for that")
        for key, node in when.entries:
            if key.text == "not" and not negated:
                inner = self.mapping(node, f"{where}when: not: ")
                found += self.conditions(inner, where, negated=True) if inner else ()
            elif key.text in FACTS:
                values: set[str] = set()
                for item in self.texts(node, f"{where}when: {key.text}: "):
                    values |= self.values(key.text, item, f"{where}when: ")
                found.append(Condition(key.text, frozenset(values), negated))
        return tuple(found)

    def values(self, fact: str, item: Scalar, where: str) -> set[str]:
        """What one written value stands for: itself, or all that a glob such as `ai-*` names."""
        if fact == "path":
            return {path} if (path := self.pattern(item, where)) else set()
        if fact == "network":
            return {network} if (network := self.network(item, where)) else set()
        if fact == "agent":
            return {name} if (name := self.agent_name(item, where)) else set()
        known: Iterable[str]
        if fact == "operator":
            known = {agent.operator.lower(): agent.operator for agent in self.catalogue.agents}
            if item.text.lower() in known:
                return {item.text.lower()}
            known = known.values()
        elif fact == "method":
            known = METHODS
            item = Scalar(item.text.upper(), item.line)
        else:
            known = {
                "purpose": PURPOSES,
                "category": CATEGORIES,
                "identity": tuple(identity.value for identity in Identity),
                "route": ROUTE_CLASSES,
            }[fact]
        if "*" in item.text and fact in ("category", "purpose"):
            named = {word for word in known if fnmatchcase(word, item.text)}
            if not named:
                self.refuse(item, f"{where}no {fact} matches '{item.text}'")
            return named
        word = self.one_of(item, known, fact, where)
        return {word} if word else set()

    def agent_name(self, item: Scalar, where: str) -> str | None:
        name = item.text.lower()
        if name in self.catalogue.by_name or name in ("browser", "unknown"):
            return name
        names = [agent.name for agent in self.catalogue.agents]
        self.refuse(item, f"{where}unknown agent '{item.text}'{_guess(item.text, names)}")
        return None

    def example(self, item: Mapping, rules: dict[str, int], seen: dict[str, int]) -> Example | None:
        name = self.names(item, "examples: ", seen)
        where = f"example '{name}': "
        self.keys(item, ("name", "path", "method", "user_agent", "ip", "expect", "rule"), where)
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
            self.refuse(item.get("method") or item, f"{where}unknown method '{method}'{_guess(method, METHODS)}")
        rule_node = item.get("rule")
        if rule_node is not None:
            self.one_of(rule_node, (*rules, "default"), "rule", where)
        return Example(
            name=name,
            path=path_node.text,
            expect=expect or "allow",
            method=method,
            user_agent=self.text(item, "user_agent", where),
            ip=self.text(item, "ip", where, "192.0.2.1"),
            rule=self.text(item, "rule", where),
            line=item.line,
        )


def _filled(mapping: Mapping, key: str) -> bool:
    """An empty list is a fine way to say that nobody is trusted."""
    node = mapping.get(key)
    return not (isinstance(node, Sequence) and not node.items)


def _guess(word: str, known: Iterable[str]) -> str:
    """What may have been meant, whatever its case; else all there is, when that is not too much."""
    choices = {choice.lower(): choice for choice in known}
    if near := get_close_matches(word.lower(), choices, n=1, cutoff=0.6):
        return f", did you mean '{choices[near[0]]}'?"
    if not choices:
        return " (there is none)"
    return f" (one of: {', '.join(choices.values())})" if len(choices) <= 16 else ""

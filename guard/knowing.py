"""The blocks of a policy that say whom the guard knows and how claims are checked: `catalogue` and `verification`."""

from __future__ import annotations

import re
from dataclasses import replace

from guard import language
from guard.classify import Catalogue
from guard.documents import Mapping, Scalar, Sequence
from guard.fetch import FetchError, read_url
from guard.hosts import keys_url
from guard.model import (
    AGENT_CATEGORIES,
    CATEGORIES,
    CONFIDENCES,
    LISTS,
    PURPOSES,
    RUNS_ON,
    TOKEN_MATCHES,
    VERIFICATIONS,
    Agent,
    Signatures,
    Verification,
    Verifying,
)
from guard.nodes import NodeReader, guess

_ONE_OF = {
    "category": AGENT_CATEGORIES,
    "match": TOKEN_MATCHES,
    "respects_robots": ("yes", "no", "partial", "unknown"),
    "confidence": CONFIDENCES,
    "runs_on": RUNS_ON,
}
_IN_WORDS = ("token", "token/", "robots-only")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FREE = ("operator", "product_token", "robots_token", "docs")
_NO_AGENT = ("browser", "unknown", *(category for category in CATEGORIES if category.startswith("declared")))


class KnowingReader(NodeReader):
    """Reads both blocks; problems are collected, never raised."""

    def catalogue(self, document: Mapping, shipped: Catalogue) -> Catalogue | None:
        """What ships with the policy's own facts; None when it has none."""
        node = self.mapping(document.get("catalogue"), "catalogue: ")
        if node is None or not node.entries:
            return None
        agents = dict(shipped.by_name)
        for key, value in node.entries:
            where = f"catalogue: {key.text}: "
            name = key.text.lower()
            if name in _NO_AGENT or _CONTROL.search(name):
                self.refuse(key, f"{where}this is no agent's name")
            elif isinstance(value, Scalar) and value.text == "none":
                if agents.pop(name, None) is None:
                    meant = guess(key.text, [agent.name for agent in shipped.agents])
                    self.refuse(key, f"{where}nobody of this name is known, so nobody can be left out{meant}")
            elif isinstance(value, Mapping):
                agent = self._agent(key, value, agents.get(name), where)
                if agent is not None:
                    agents[name] = agent
            else:
                self.refuse(value, f"{where}expected facts (category: …), or 'none' to forget the agent")
        return Catalogue(agents.values())

    def _agent(self, key: Scalar, node: Mapping, known: Agent | None, where: str) -> Agent | None:
        before = len(self.problems)
        self.keys(node, language.FACTS_OF_AGENT.names, where)
        if not node.entries:
            self.refuse(node, f"{where}says nothing")
        found: dict[str, object] = {}
        for word, choices in _ONE_OF.items():
            if (said := node.get(word)) is not None:
                found[word] = self.one_of(said, choices, word, where) or ""
        for word in _FREE:
            if node.get(word) is not None:
                found[word] = self._line(node, word, where)
        if (said := node.get("purposes")) is not None:
            told = [self.one_of(item, PURPOSES, "purpose", where) for item in self.texts(said, where)]
            found["purposes"] = tuple(purpose for purpose in told if purpose)
        if node.get("verification") is not None:
            found["verification"] = self.each(node, "verification", lambda item: self._check(item, where), where)
        if known is None:
            found = {"product_token": key.text, "operator": "", "robots_token": "", "confidence": "medium"} | found
            for word in ("category", "purposes"):
                if word not in found:
                    self.refuse(key, f"{where}nobody of this name is known: needs '{word}'")
        token = str(found.get("product_token", known.product_token if known else ""))
        match = found.get("match", known.match if known else "token")
        if match in ("exact", "robots-only") and not token:
            self.refuse(key, f"{where}product_token is empty: whoever sends no User-Agent would be this agent")
        elif match in _IN_WORDS and not re.fullmatch(r"[A-Za-z0-9](?:[ -~]*+(?<=[A-Za-z0-9]))?+", token):
            self.refuse(key, f"{where}product_token '{token}': it must begin and end with a letter or a digit")
        if not re.fullmatch(r"[A-Za-z_-]*+", str(found.get("robots_token", ""))):
            self.refuse(key, f"{where}robots_token may only hold letters, '-' and '_' (RFC 9309 2.2.1)")
        if len(self.problems) > before:
            return None
        if known is not None:
            return replace(known, **found)  # type: ignore[arg-type]
        return Agent(name=key.text, **found)  # type: ignore[arg-type]

    def _line(self, node: Mapping, word: str, where: str) -> str:
        """Text that may stand on a terminal and in a log."""
        text = self.text(node, word, where)
        if _CONTROL.search(text):
            self.refuse(node.get(word) or node, f"{where}'{word}' must be one line of text")
        return text

    def _check(self, node: Mapping, where: str) -> Verification | None:
        self.keys(node, ("kind", "sources"), f"{where}verification: ")
        said = node.get("kind")
        if said is None:
            self.refuse(node, f"{where}verification: needs a 'kind'")
            return None
        kind = self.one_of(said, VERIFICATIONS, "kind", f"{where}verification: ")
        sources = tuple(item.text for item in self.texts(node.get("sources"), f"{where}verification: "))
        if kind in ("ip-json", "ip-html", "rdns") and node.get("sources") is None:
            self.refuse(node, f"{where}verification: {kind} needs 'sources'")
        for source in sources:
            if _CONTROL.search(source):
                self.refuse(node, f"{where}verification: a source must be one line of text")
                continue
            why = _why_never_fetched(source) if kind in ("ip-json", "ip-html", "web-bot-auth") else ""
            if kind == "web-bot-auth" and not why and not keys_url(source):
                why = "this is no address of keys"
            if why:
                self.refuse(node, f"{where}verification: '{source}': {why}; write an https:// address")
            elif kind == "rdns" and not re.fullmatch(r"\.?+[A-Za-z0-9_-]++(?:\.[A-Za-z0-9_-]++)++", source):
                self.refuse(node, f"{where}verification: '{source}': write the end of a host name, like .example.org")
        return Verification(kind, sources) if kind else None

    def verifying(self, document: Mapping) -> Verifying:
        where = "verification: "
        node = self.mapping(document.get("verification"), where)
        if node is None:
            return Verifying()
        self.keys(node, language.VERIFICATION.names, where)
        said = node.get("lists")
        lists = (self.one_of(said, LISTS, "word for 'lists'", where) if said else None) or "off"
        directory = self._line(node, "directory", where)
        if node.get("directory") is not None and not directory:
            self.refuse(node.get("directory") or node, f"{where}'directory' is empty")
        if directory and lists != "fetch":
            self.refuse(node.get("directory") or node, f"{where}'directory' is for 'lists: fetch'")
        return Verifying(
            lists=lists,
            directory=directory,
            dns=self.flag(node, "dns", where),
            nameservers=tuple(self._addresses(node, where)),
            signatures=self._signatures(node.get("signatures")),
        )

    def _addresses(self, node: Mapping, where: str) -> list[str]:
        from ipaddress import ip_address

        found = []
        for item in self.texts(node.get("nameservers"), where):
            try:
                found.append(str(ip_address("" if "%" in item.text else item.text)))
            except ValueError:
                self.refuse(item, f"{where}nameservers: '{item.text}' is not an address")
        return found

    def _signatures(self, said: object) -> Signatures | None:
        where = "verification: signatures: "
        if said is None:
            return None
        node = self.mapping(said, where) if isinstance(said, Mapping | Sequence | Scalar) else None
        if node is None:
            return None
        self.keys(node, language.SIGNATURES.names, where)
        directories = []
        nodes = node.get("directories")
        none = isinstance(nodes, Sequence) and not nodes.items
        for item in [] if none else self.texts(nodes, where):
            if item.text == "known":
                directories.append("known")
            elif why := _why_never_fetched(item.text) or ("" if keys_url(item.text) else "this is no address of keys"):
                self.refuse(item, f"{where}'{item.text}': {why}; write 'known', or an address like https://HOST")
            else:
                directories.append(item.text.rstrip("/") if item.text.count("/") == 3 else item.text)
        said_validity = node.get("max_validity")
        validity = self.number(node, "max_validity", where, 86_400)
        if not 60 <= validity <= 86_400:
            self.refuse(said_validity or node, f"{where}'max_validity' is at least 60 and at most 86400 seconds")
        return Signatures(
            directories=tuple(directories),
            discover=self.flag(node, "discover", where),
            require_path=self.flag(node, "require_path", where),
            legacy=node.get("legacy") is None or self.flag(node, "legacy", where),
            plain_http=self.flag(node, "plain_http", where),
            max_validity_s=validity,
        )


def _why_never_fetched(url: str) -> str:
    """Why nobody would ever be asked at this address; "" when one might be."""
    try:
        read_url(url)
    except FetchError as error:
        return error.reason
    return ""

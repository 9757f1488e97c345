"""robots.txt (RFC 9309) from the same rules that are enforced.

Each agent's verdict is asked for every path pattern of the policy; agents with the same answers share one
group, because a named group replaces `*` and rules must then be stated whole. Every group ends in an Allow or
Disallow: readers that do not know Content-Signal or Content-Usage would otherwise merge it with the next.

The two languages differ in two points, where the file says more than the policy: in robots.txt a `*` crosses
slashes, and nothing tells the end of a path from the end of a glob. In all else what is published is enforced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product
from urllib.parse import quote

from guard.classify import Catalogue, PathPatterns, specimen
from guard.conditions import Evidence
from guard.model import UNKNOWN_AGENT, Agent, Identity
from guard.policy import Policy, decide

_WHO = ("agent", "operator", "purpose", "category", "identity")
assert Evidence._fields[: len(_WHO)] == _WHO
_OPEN = ("/robots.txt", "/ai.txt", "/.well-known/tdmrep.json")


def render(policy: Policy, catalogue: Catalogue, lines: tuple[str, ...]) -> str:
    """The whole file, LF line ends, ASCII; `lines` are preference lines for every group."""
    atlas = _Atlas(policy)
    everyone = atlas.rules(UNKNOWN_AGENT)
    groups: dict[tuple[str, ...], list[str]] = {}
    for agent in catalogue.agents:
        if agent.robots_token and (rules := atlas.rules(agent)) != everyone:
            groups.setdefault(rules, []).append(agent.robots_token)
    out = [f"# {_ascii(policy.site.name)}: what automated clients may fetch, and what for."]
    if any(stated.get("train-ai") == "disallow" for stated in (policy.preferences, *policy.kind_preferences.values())):
        what = "of everything here" if policy.preferences.get("train-ai") == "disallow" else "of works here"
        out += [
            f"# The rights holders reserve text and data mining {what}, in the sense of",
            "# Article 4(3) of Directive (EU) 2019/790, as stated below.",
        ]
    if policy.site.contact:
        out.append(f"# Contact: {_ascii(policy.site.contact)}")
    for rules, tokens in sorted(groups.items(), key=lambda group: len(group[0])):
        names = [f"User-agent: {token}" for token in sorted(set(tokens), key=str.lower)]
        out += ["", *names, *lines, *rules]
    out += ["", "User-agent: *", *lines, *everyone]
    if policy.site.sitemap:
        out += ["", f"Sitemap: {_ascii(policy.site.sitemap)}"]
    return "\n".join(out) + "\n"


class _Atlas:
    """The policy's patterns, each with a path that falls under it, its class and its matches, looked up once for all
    agents; agents that no rule tells apart are asked for once."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        patterns = dict.fromkeys(path for entry in policy.routes for path in entry.paths)
        patterns |= dict.fromkeys(policy.rule_patterns.patterns)
        self._places = {path: self._place(specimen(path)) for path in patterns}
        self._root = self._place("/-/guard/-")
        self._names, self._operators = policy.asked("agent"), policy.asked("operator")
        self._known: dict[tuple[object, ...], tuple[str, ...]] = {}

    def _place(self, path: str) -> Evidence | None:
        """What is known of a request there, whoever asks. None for what is served before any rule is asked."""
        if path in _OPEN:
            return None
        return self.policy.evidence(UNKNOWN_AGENT, Identity.UNVERIFIED, _reading(self.policy, path), "GET", ())

    def rules(self, agent: Agent) -> tuple[str, ...]:
        """Allow and Disallow lines for one agent: the default, every pattern that differs from it, and those inside one
        that differs but that do not themselves. Asked for the real one, where the policy knows its networks."""
        name, operator = agent.name.lower(), agent.operator.lower()
        known = self.policy.site.published_networks.get(name)
        identity = Identity.VERIFIED if known else Identity.UNVERIFIED
        if agent.category in ("browser", "unknown"):  # as `verify` says: nothing was claimed
            identity = Identity.UNKNOWN
        kind = (
            name if name in self._names else "",
            operator if operator in self._operators else "",
            agent.category,
            agent.purposes,
            identity,
        )
        found = self._known.get(kind)
        if found is None:
            found = self._known[kind] = self._lines(agent, identity)
        return found

    def _lines(self, agent: Agent, identity: Identity) -> tuple[str, ...]:
        policy = self.policy
        who = policy.evidence(agent, identity, "/", "GET", ())[: len(_WHO)]

        def blocked(place: Evidence | None) -> bool:
            return place is not None and decide(policy, Evidence._make((*who, *place[len(_WHO) :]))).action == "block"

        root_blocked = blocked(self._root)
        verdicts = {path: blocked(place) for path, place in self._places.items()}
        differing = PathPatterns(
            [path for path, refused in verdicts.items() if refused is not root_blocked],
            case_sensitive=policy.site.case_sensitive,
        )
        lines = ["Disallow: /" if root_blocked else "Allow: /"]
        for path, refused in verdicts.items():
            if refused is not root_blocked or differing.match(_reading(policy, specimen(path))):
                lines += [f"{'Disallow' if refused else 'Allow'}: {spelling}" for spelling in spell(path)]
        if root_blocked:
            lines += [f"Allow: {path}" for path in _OPEN]
        return tuple(dict.fromkeys(lines))


def paths_that_differ(policy: Policy) -> tuple[tuple[str, Mapping[str, str]], ...]:
    """Paths in robots spelling whose preferences are not the general ones, and those inside them that are, again.

    The longest match counts for readers, the first in the file for us: what lies inside is said, too.
    """
    if not policy.kind_preferences:
        return ()
    stated = {path: policy.stated(entry.route_class) for entry in policy.routes for path in entry.paths}
    differing = [path for path, preferences in stated.items() if preferences != policy.preferences]
    fallback = policy.stated(policy.route_default)
    everywhere = fallback != policy.preferences
    found: dict[str, Mapping[str, str]] = {"/": fallback} if everywhere else {}
    within = PathPatterns(differing, case_sensitive=policy.site.case_sensitive)
    for path, preferences in stated.items():
        if path in differing or everywhere or within.match(_reading(policy, specimen(path))):
            for spelling in spell(path):
                found.setdefault(spelling, preferences)
    return tuple(found.items())


def _reading(policy: Policy, path: str) -> str:
    return path if policy.site.case_sensitive else path.encode().lower().decode()


def spell(pattern: str) -> tuple[str, ...]:
    """Our pattern as robots paths, which are prefixes unless `$` ends them.

    `/media/**` is everything below, and the place itself with or without a query: `/media/ /media$ /media?`. An
    exact path ends, too: `/inbox$ /inbox?`. After a glob nothing ends, for signed addresses go on with `?sig=`.
    `**` may be no segment at all: `/hls/**/*.m3u8` is `/hls/*.m3u8`, and `/a/**/b` is `/a/b` and `/a/*/b`.
    """
    stem, below = re.subn(r"(?:/\*\*)+$", "", pattern.rstrip("/"))
    pieces = re.split(r"(?:/\*\*)+(?=/)", stem)
    gaps = [("*",) if piece.startswith("/*") else ("", "/*") for piece in pieces[1:]]
    found: dict[str, None] = {}
    for chosen in product(*gaps):
        text = pieces[0]
        for gap, piece in zip(chosen, pieces[1:], strict=True):
            text += "/*" + piece[2:] if gap == "*" else gap + piece
        text = quote(text, safe="/*!$&'()+,;=:@-._~")
        if below:
            found |= dict.fromkeys((f"{text}/", f"{text}$", f"{text}?") if text else ("/",))
        elif "*" in text.rpartition("/")[2]:
            found[text] = None
        else:
            found |= dict.fromkeys((f"{text or '/'}$", f"{text or '/'}?"))
    return tuple(found)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()

"""robots.txt (RFC 9309) from the same rules that are enforced.

Each agent's verdict is asked for every path pattern of the policy; agents with the same answers share one
group, because a named group replaces `*` and rules must then be stated whole. Every group ends in an Allow or
Disallow: readers that do not know Content-Signal or Content-Usage would otherwise merge it with the next.
"""

from __future__ import annotations

from urllib.parse import quote

from guard.classify import Catalogue
from guard.model import UNKNOWN_AGENT, Agent, Identity
from guard.policy import Policy, decide

_CRAWLERS = frozenset(
    "ai-train ai-search ai-assistant ai-agent ai-dataset ai-audio ai-other search seo archive preview feed monitoring "
    "ads security".split()
)
_OPEN = ("/robots.txt", "/ai.txt", "/.well-known/tdmrep.json")


def render(policy: Policy, catalogue: Catalogue, lines: tuple[str, ...]) -> str:
    """The whole file, LF line ends, ASCII; `lines` are preference lines for every group."""
    everyone = _rules(policy, UNKNOWN_AGENT)
    groups: dict[tuple[str, ...], list[str]] = {}
    for agent in catalogue.agents:
        if agent.robots_token and agent.category in _CRAWLERS:
            rules = _rules(policy, agent)
            if rules != everyone:
                groups.setdefault(rules, []).append(agent.robots_token)
    out = [f"# {_ascii(policy.site.name)}: what automated clients may fetch, and what for."]
    if policy.preferences.get("train-ai") == "disallow":
        out += [
            "# The rights holders reserve text and data mining of everything here, in the sense of",
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


def _rules(policy: Policy, agent: Agent) -> tuple[str, ...]:
    """Allow and Disallow lines for one agent: the default, and every pattern that differs from it."""
    root_blocked = _blocked(policy, agent, "/a/b/c")
    patterns = [path for entry in policy.routes for path in entry.paths]
    patterns += [path for path in policy.rule_patterns.patterns if path not in patterns]
    differing = [path for path in patterns if _blocked(policy, agent, _specimen(path)) is not root_blocked]
    lines = [f"{'Allow' if root_blocked else 'Disallow'}: {spell(path)}" for path in differing]
    if root_blocked:
        lines += [f"Allow: {path}" for path in _OPEN if path not in differing]
    return ("Disallow: /" if root_blocked else "Allow: /", *lines)


def _blocked(policy: Policy, agent: Agent, path: str) -> bool:
    reading = path if policy.site.case_sensitive else path.lower()
    return decide(policy, policy.evidence(agent, Identity.UNVERIFIED, reading, "GET", ())).action == "block"


def _specimen(pattern: str) -> str:
    """A path that falls under `pattern`."""
    return pattern.replace("**", "x/x").replace("*", "x")


def spell(pattern: str) -> str:
    """Our pattern as a robots path: a closing `/**` is what a prefix means anyway, `*` is `*`, an exact end is `$`."""
    if pattern.endswith("/**"):
        return quote(pattern[:-2].replace("**/", "*/"), safe="/*!$&'()+,;=:@-._~")
    return quote(pattern.replace("**/", "*/"), safe="/*!$&'()+,;=:@-._~") + "$"


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()

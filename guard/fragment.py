"""What a robots.txt asks for, in the policy language: a fragment to include into a policy.

Only refusals are written. A path is refused when a `Disallow` matches it and no `Allow` at least as long does: so
every rule names its exceptions under `not:`, needs no order, and never lets anybody past a rule of the policy itself.

robots.txt speaks to crawlers. What it tells everybody becomes rules for the categories of crawlers; browsers,
players, devices and HTTP libraries, behind which people listen, are not asked.

Where the two languages differ a `Disallow` becomes the nearest pattern that holds at least as much, and an `Allow`
the nearest that holds at most as much; a Note tells of each. Only paths are compared: the guard does not look at
queries, `/x/` is `/x` to it, and letters' case counts when the site says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise, product
from typing import NamedTuple

from guard.classify import Catalogue
from guard.directives import OPEN_PATHS, content_usage
from guard.model import CATEGORIES, Agent
from guard.robotstxt import EVERYBODY, Group, Line, Named, PathRule, Robots, effective

LISTENERS = ("player", "browser", "device", "unknown")
"""Categories that no fragment ever refuses, whatever the file says."""

PEOPLE_BEHIND = ("library", "tool", "headless", "ripper")
"""Categories that `User-agent: *` does not reach: apps and people use them, too. By name they are reached."""

CRAWLERS = tuple(category for category in CATEGORIES if category not in LISTENERS + PEOPLE_BEHIND)

MAX_PATTERNS = 20_000
MAX_PAIRS = 4_000_000
MAX_STARS = 3
MAX_REMARKS = 20
_REASON = "robots.txt asks crawlers to stay out of this."
_SIGNALS = {"search": "search", "ai-input": "ai-use", "ai-train": "train-ai"}
_WORDS = {"y": "allow", "n": "disallow", "yes": "allow", "no": "disallow"}


class Note(NamedTuple):
    """What a person should know of one line of the robots.txt (0 = of the whole)."""

    line: int
    message: str

    def __str__(self) -> str:
        return plain(f"line {self.line}: {self.message}" if self.line else self.message)


class Globs(NamedTuple):
    """A robots pattern in our language. `why` says how it differs, "" when it does not."""

    patterns: tuple[str, ...]
    why: str = ""


class Origin(NamedTuple):
    """One of our patterns and the line it came from."""

    pattern: str
    rule: PathRule


@dataclass(frozen=True, slots=True)
class Refusal:
    """One rule: these agents (empty = all crawlers) are refused at `paths`, but not at `exceptions`."""

    name: str
    agents: tuple[str, ...]
    categories: tuple[str, ...]
    not_agents: tuple[str, ...]
    paths: tuple[Origin, ...]
    exceptions: tuple[Origin, ...]
    told: tuple[Named, ...]
    trial: bool = False


@dataclass(frozen=True, slots=True)
class Fragment:
    """The parts of a policy that a robots.txt states. `silent` are agents that have a group which refuses nothing."""

    preferences: dict[str, tuple[str, tuple[Line, ...]]]
    rules: tuple[Refusal, ...]
    silent: tuple[str, ...]
    sitemaps: tuple[Line, ...]
    notes: tuple[Note, ...]


class TooMuch(ValueError):
    """The file would become more patterns than a policy should hold."""


def adopt(robots: Robots, catalogue: Catalogue, *, only: Iterable[str] = (), trial: bool = False) -> Fragment:
    """What `robots` asks for. `only` names the agents to look at (default: all). With `trial`, rules that refuse more
    than the file does only observe. Raises TooMuch."""
    notes = _remarks(robots)
    adoption = _Adoption(robots, catalogue, frozenset(name.lower() for name in only), trial, notes)
    rules, silent = adoption.rules()
    preferences = _preferences(robots, notes)
    ordered = tuple(sorted(dict.fromkeys(notes), key=lambda note: note.line))
    return Fragment(preferences, tuple(rules), silent, robots.sitemaps, ordered)


def write(fragment: Fragment, source: str) -> str:
    """The fragment as YAML that a person can read; comments say which line of `source` each part came from."""
    out = [
        f"# What {plain(source)} asks of crawlers, by `guard robots import`. Read it, then include it into a policy.",
        "# robots.txt speaks to crawlers only. What it tells everybody is asked of the categories of crawlers, and",
        "# never of browsers, players, devices or HTTP libraries: nobody who listens is refused.",
        "# Queries are not looked at; /x/ and /x are one place; case counts with `site: {case_sensitive: true}`.",
        "version: 1",
    ]
    if fragment.sitemaps:
        out += ["", *(f"# line {line.line}: Sitemap: {plain(line.value)}" for line in fragment.sitemaps)]
        out += ["# (to publish it, write it as `sitemap` under `site` in the policy itself)"]
    if fragment.preferences:
        out += ["", "preferences:"]
        for purpose, (word, lines) in fragment.preferences.items():
            told = "; ".join(f"line {line.line}: {line.key}: {plain(line.value)}" for line in lines)
            out.append(f"  {purpose}: {word}  # {told}")
    if fragment.rules:
        out += ["", "rules:"]
    for rule in fragment.rules:
        out += _write_rule(rule)
    if fragment.silent:
        out += ["", f"# Named, and nothing forbidden: {plain(', '.join(fragment.silent))}"]
    if not fragment.rules:
        out += ["", "# Nothing is forbidden to anybody whom the guard knows: there is no rule."]
    if fragment.notes:
        out += ["", "# To look at:", *(f"#   {note}" for note in fragment.notes)]
    return "\n".join(out) + "\n"


def _write_rule(rule: Refusal) -> list[str]:
    told = ", ".join(f"{plain(named.written)} (line {named.line})" for named in rule.told[:8])
    told += f" and {len(rule.told) - 8} more" if len(rule.told) > 8 else ""
    out = [f"  # User-agent: {told}", f"  - name: {_quoted(rule.name)}", "    when:"]
    if rule.categories:
        out += ["      any:", f"        - category: [{', '.join(rule.categories)}]"]
        out += [f"        - agent: {_names(rule.agents)}  # these read robots.txt, too"] if rule.agents else []
    else:
        out += [f"      agent: {_names(rule.agents)}"]
    out += ["      path:", *_write_paths(rule.paths, "        ")]
    if rule.not_agents or rule.exceptions:
        out += ["      not:"]
    if rule.not_agents:
        out += [f"        agent: {_names(rule.not_agents)}  # these have a group of their own"]
    if rule.exceptions:
        out += ["        path:", *_write_paths(rule.exceptions, "          ")]
    out += ["    then: block"]
    out += ["    mode: observe  # more than robots.txt says: on trial"] if rule.trial else []
    return [*out, f"    reason: {_REASON}"]


def _write_paths(origins: tuple[Origin, ...], indent: str) -> list[str]:
    """One pattern a line, with the lines of the robots.txt that it came from."""
    lines: dict[str, list[PathRule]] = {}
    for origin in origins:
        lines.setdefault(origin.pattern, []).append(origin.rule)
    return [f"{indent}- {_quoted(pattern)}  # {'; '.join(map(_spelled, rules))}" for pattern, rules in lines.items()]


def _spelled(rule: PathRule) -> str:
    return f"line {rule.line}: {'Allow' if rule.allow else 'Disallow'}: {plain(rule.pattern)}"


def _names(agents: tuple[str, ...]) -> str:
    return f"[{', '.join(map(_quoted, agents))}]"


# -- patterns ----------------------------------------------------------------------------------------------


def disallowed(pattern: str) -> Globs:
    """Our patterns that hold every path `pattern` matches: `/media/` is `/media/**`, `/x$` is `/x`. () = none does."""
    return _translate(pattern, wide=True)


def allowed(pattern: str) -> Globs:
    """Our patterns that hold only paths that `pattern` matches; () when it cannot be said so."""
    return _translate(pattern, wide=False)


def _translate(pattern: str, *, wide: bool) -> Globs:
    ends = pattern.endswith("$")
    body = pattern[:-1] if ends else pattern
    why: list[str] = []
    if "?" in body:
        why.append("the guard does not look at queries")
        body, ends = body.partition("?")[0], True
    if not body.startswith(("/", "*")):
        return Globs((), "no path begins like that: nobody is told anything")
    body, unsaid = _decode(body)
    if unsaid:
        why.append(unsaid)
    body = re.sub(r"\*\*+", "*", body)
    if (resolved := _without_dots(body, ends)) != body:
        why.append("the guard reads slashes that follow each other, and dot segments, as one place")
        body = resolved
    if why and not wide:
        return Globs((), why[0])
    if body.startswith("*"):
        body = "/" + body if body[1:2] != "/" else body
    pieces = body.split("*")
    if len(pieces) > 1 and not pieces[-1]:  # a star at the end: what does not end, anyway
        pieces.pop()
        ends = False
    gaps = [_gap(before, after) for before, after in pairwise(pieces)]
    inside = [number for number, gap in enumerate(gaps) if len(gap) > 1]
    if len(inside) > MAX_STARS:
        if not wide:
            return Globs((), "too many stars")
        why.append("too many stars")
        cut = inside[MAX_STARS]
        pieces, gaps, ends = pieces[: cut + 1], gaps[:cut], False
    found: dict[str, None] = {}
    for chosen in product(*gaps):
        text = pieces[0] + "".join(gap + piece for gap, piece in zip(chosen, pieces[1:], strict=True))
        if (spelled := _end(text, ends, wide)) is not None:
            found[spelled] = None
    if not found:
        return Globs((), "the guard reads a path with and without its last slash as one place")
    return Globs(tuple(found), "; ".join(why))


def _gap(before: str, after: str) -> tuple[str, ...]:
    """What a robots `*` can be between two pieces: a run within a segment, or one that crosses slashes."""
    if after.startswith("/"):
        return ("*/**",) if before else ("/**",)
    return ("**/*",) if before.endswith("/") else ("*", "*/**/*")


def _end(text: str, ends: bool, wide: bool) -> str | None:
    """The end of a pattern: robots patterns are prefixes. None when nothing is held for sure."""
    if text in ("", "/"):
        return "/" if ends else "/**"
    if ends:
        return text.rstrip("/") if wide or not text.endswith("/") else None
    if text.endswith("/"):
        return text + ("**" if wide else "*/**")
    return text + "*/**"


def _decode(body: str) -> tuple[str, str]:
    """`body` without percent-encoding, and what could not be said of it; that became a `*`."""
    unsaid = ""
    octets = bytearray()
    parts = re.split(r"%([0-9A-F]{2})", body)
    for number, part in enumerate(parts):
        octets += bytes([int(part, 16)]) if number % 2 else part.encode("ascii", "replace")
        if number % 2 and octets[-1] in b"/*?#%":
            unsaid = "an encoded character that the guard reads another way"
            octets[-1:] = b"/" if octets[-1] == ord("/") else b"*"
    text = octets.decode("utf-8", "replace")
    kept = "".join(char if char.isprintable() and char not in "\ufffd?#%" else "*" for char in text)
    if kept != text:
        unsaid = unsaid or "a character that a pattern cannot hold"
    return kept, unsaid


def _without_dots(body: str, ends: bool) -> str:
    """No empty segments, `.` or `..`, as the guard reads paths. What does not end may go on: `/.` is `/.git`, too."""
    first, *segments = body.split("/")
    if not segments:
        return body
    last = segments.pop()
    open_end = not (ends and last)
    kept: list[str] = []
    for segment in segments if open_end else (*segments, last):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    return "/".join((first, *kept, last) if open_end else (first, *kept)) or "/"


def _head(rule: PathRule) -> str:
    """What every path that `rule` matches begins with."""
    return _decode(rule.pattern.removesuffix("$"))[0].partition("*")[0]


# -- preferences and remarks -------------------------------------------------------------------------------


def _preferences(robots: Robots, notes: list[Note]) -> dict[str, tuple[str, tuple[Line, ...]]]:
    """What everybody is told, where nobody is told otherwise: a policy states one thing to all. In one party's
    groups, any `no` wins (attach-05, 5)."""
    everybody: dict[str, list[tuple[str, Line]]] = {}
    others: dict[str, list[tuple[str, Line]]] = {}
    for group in robots.groups:
        stated = everybody if any(named.everybody for named in group.agents) else others
        for line in group.content:
            for purpose, word in _stated(line, notes).items():
                stated.setdefault(purpose, []).append((word, line))
    found: dict[str, tuple[str, tuple[Line, ...]]] = {}
    for purpose in content_usage.LABELS:
        words = {word for word, _ in everybody.get(purpose, ())}
        strictest = "disallow" if "disallow" in words else "allow"
        differing = [line for word, line in others.get(purpose, ()) if not words or word != strictest]
        if differing:
            who = "another preference is stated for agents by name" if words else "it is stated for agents by name only"
            notes.append(Note(differing[0].line, f"'{purpose}' is not taken over: {who}"))
        elif words:
            lines = tuple(line for word, line in everybody[purpose] if word == strictest)
            found[purpose] = (strictest, lines)
    return found


def _stated(line: Line, notes: list[Note]) -> dict[str, str]:
    """The purposes that one line states for all that its group may fetch; a note when it does so for a path only."""
    value = line.value
    if line.key == "content-signal":
        pairs = (item.partition("=") for item in value.lower().split(","))
        stated = {
            _SIGNALS.get(key.strip(), ""): _WORDS.get(word.strip(), "") for key, _, word in pairs if len(word) > 1
        }
        return {purpose: word for purpose, word in stated.items() if purpose and word}
    if value.startswith("/"):
        path, _, value = value.replace("\t", " ").partition(" ")
        if path != "/":
            notes.append(
                Note(line.line, f"Content-Usage for {plain(path)} is not taken over: preferences have no paths")
            )
            return {}
    items = (item.partition("=") for item in content_usage.combine("", [value.strip()]).split(", "))
    return {label: _WORDS[word] for label, _, word in items if label in content_usage.LABELS}


def _remarks(robots: Robots) -> list[Note]:
    """What has no place in a fragment, and what may not mean what its author thinks."""
    notes: list[Note] = []
    if robots.truncated:
        notes.append(Note(0, "longer than 500 KiB: the rest was not read"))
    if not robots.groups:
        notes.append(Note(0, "there is no 'User-agent' line: nobody is told anything"))
    for group in robots.groups:
        for named in group.agents:
            open_line = next((line for line in group.content if line.line < named.line), None)
            if open_line is not None:
                message = (
                    f"'{named.written}' joins the group above: no Allow or Disallow stands between (RFC 9309 2.2.1)"
                )
                notes.append(Note(named.line, message))
        if group.crawl_delay is not None:
            notes.append(Note(group.crawl_delay.line, "Crawl-delay is not taken over: write a limit, if you want one"))
    for line in robots.others[:MAX_REMARKS]:
        above = line.key.startswith(("allow", "dis", "content-"))
        why = "stands above every User-agent line" if above else "has no place in a policy"
        notes.append(Note(line.line, f"'{line.key}' is not taken over: it {why}"))
    if len(robots.others) > MAX_REMARKS:
        notes.append(Note(0, f"{len(robots.others) - MAX_REMARKS} more lines say nothing that is known here"))
    return notes


# -- rules -------------------------------------------------------------------------------------------------


class _Exception:
    """An `Allow`, made ready to be held against many rules."""

    __slots__ = ("head", "note", "origins", "rule")

    def __init__(self, rule: PathRule) -> None:
        self.rule = rule
        self.head = _head(rule)
        globs = allowed(rule.pattern)
        self.origins = tuple(Origin(pattern, rule) for pattern in globs.patterns)
        self.note = ""
        if not globs.patterns:
            self.note = f"Allow: {plain(rule.pattern)} is not taken over ({globs.why})"
        elif rule.pattern.endswith("$"):
            self.note = f"Allow: {plain(rule.pattern)} holds with a query after it, too: queries are not looked at"
        elif rule.pattern.endswith("/") and rule.pattern != "/":
            self.note = f"Allow: {plain(rule.pattern)} is taken for what is below it, not for the place itself"


class _Adoption:
    """The groups of a file, on their way to rules; `notes` grows with what a person should know."""

    def __init__(
        self, robots: Robots, catalogue: Catalogue, only: frozenset[str], trial: bool, notes: list[Note]
    ) -> None:
        self.robots = robots
        self.catalogue = catalogue
        self.only = only
        self.trial = trial
        self.notes = notes
        self.names: set[str] = set()
        self.count = 0
        self.by_token: dict[str, list[Agent]] = {}
        for agent in catalogue.agents:
            keys = {agent.robots_token} if agent.robots_token else {agent.name, agent.product_token}
            for key in keys - {""}:
                self.by_token.setdefault(key.lower(), []).append(agent)

    def rules(self) -> tuple[list[Refusal], tuple[str, ...]]:
        """All rules, those for agents by name first; and the agents that are named and refused nothing."""
        told: dict[str, list[Named]] = {}
        agents: dict[str, Agent] = {}
        for group in self.robots.groups:
            for named in group.agents:
                for agent in self.known(named):
                    agents[agent.name] = agent
                    told.setdefault(agent.name, []).append(named)
        parties: dict[tuple[Group, ...], list[str]] = {}
        for name, lines in told.items():
            if not self.only or name.lower() in self.only:
                groups = tuple(group for group in self.robots.groups if not set(lines).isdisjoint(group.agents))
                parties.setdefault(groups, []).append(name)
        found: list[Refusal] = []
        silent: list[str] = []
        for groups, names in parties.items():
            lines = list(dict.fromkeys(named for name in names for named in told[name]))
            made = self.refusals(groups, names, lines)
            found += made
            silent += [] if made else names
        return found + self.for_everybody(list(agents.values())), tuple(silent)

    def known(self, named: Named) -> list[Agent]:
        """Who is meant by one `User-agent` line; a note when nobody known is."""
        if named.everybody:
            return []
        tokens = (named.written.lower(), named.token.lower())
        found = {agent.name: agent for token in tokens for agent in self.by_token.get(token, ())}
        if not found:
            self.note(named.line, f"'{named.written}' is not in the catalogue: no rule is made for it")
        for agent in found.values():
            if agent.category in LISTENERS:
                self.note(named.line, f"'{agent.name}' is how people listen ({agent.category}): no rule is made for it")
            elif agent.category == "library":
                self.note(named.line, f"'{agent.name}' is an HTTP library: apps of listeners may be built on it")
        return [agent for agent in found.values() if agent.category not in LISTENERS]

    def for_everybody(self, named: list[Agent]) -> list[Refusal]:
        """The rules of `User-agent: *`, for all who have no group of their own."""
        groups = self.robots.groups_naming((EVERYBODY,))
        lines = [line for group in groups for line in group.agents if line.everybody]
        taken = {agent.name for agent in named}
        rest = [agent for agent in self.catalogue.agents if agent.name not in taken]
        if self.only:
            chosen = [agent.name for agent in rest if agent.name.lower() in self.only]
            return self.refusals(groups, chosen, lines) if chosen else []
        besides = [agent.name for agent in rest if agent.robots_token and agent.category in PEOPLE_BEHIND]
        without = [agent.name for agent in named if agent.category in CRAWLERS]
        return self.refusals(groups, besides, lines, CRAWLERS, sorted(without, key=str.lower))

    def refusals(
        self,
        groups: Iterable[Group],
        agents: list[str],
        told: list[Named],
        categories: tuple[str, ...] = (),
        not_agents: Iterable[str] = (),
    ) -> list[Refusal]:
        """The rules for one party: longer patterns first; those with the same exceptions share a rule."""
        rules = [rule for group in groups for rule in effective(group.rules)]
        rules.sort(key=lambda rule: -len(rule.pattern))
        allows = [_Exception(rule) for rule in rules if rule.allow]
        if len(allows) * (len(rules) - len(allows)) > MAX_PAIRS:
            raise TooMuch(
                f"{len(rules)} rules for one agent, each to be held against the others: too much for one policy"
            )
        shared: dict[tuple[tuple[Origin, ...], bool], list[Origin]] = {}
        for rule in rules:
            if rule.allow:
                continue
            globs = disallowed(rule.pattern)
            if set(globs.patterns) & set(OPEN_PATHS):
                globs = Globs((), "directive files are open to everyone, always")
            if globs.why:
                self.note(rule.line, _differs(rule, globs))
            if globs.patterns:
                exceptions = tuple(self.exceptions(rule, allows))
                paths = shared.setdefault((exceptions, self.trial and bool(globs.why)), [])
                paths += [Origin(pattern, rule) for pattern in globs.patterns]
                self.count += len(globs.patterns) + (len(exceptions) if len(paths) == len(globs.patterns) else 0)
                if self.count > MAX_PATTERNS:
                    raise TooMuch(f"more than {MAX_PATTERNS} path patterns: too much for one policy")
        who = "crawlers" if categories else agents[0]
        who += f" and {len(agents) - 1} more" if not categories and len(agents) > 1 else ""
        return [
            Refusal(
                name=self.name(f"robots.txt {who}"),
                agents=tuple(agents),
                categories=categories,
                not_agents=tuple(not_agents),
                paths=tuple(paths),
                exceptions=exceptions,
                told=tuple(told),
                trial=trial,
            )
            for (exceptions, trial), paths in shared.items()
        ]

    def exceptions(self, rule: PathRule, allows: Iterable[_Exception]) -> Iterable[Origin]:
        """Where an `Allow` at least as long takes back what `rule` forbids."""
        head = _head(rule)
        for allow in allows:
            if len(allow.rule.pattern) < len(rule.pattern):
                break  # the longer stand first
            if not allow.head.startswith(head) and not head.startswith(allow.head):
                continue  # there is no path that both match
            if allow.note:
                self.note(allow.rule.line, allow.note)
            yield from allow.origins

    def note(self, line: int, message: str) -> None:
        self.notes.append(Note(line, message))

    def name(self, wanted: str) -> str:
        """A name that a rule may have and no other rule here has."""
        wanted = re.sub(r"[^A-Za-z0-9 ._'-]", "", wanted)[:70].strip()
        number, name = 1, wanted
        while name in self.names:
            number += 1
            name = f"{wanted} {number}"
        self.names.add(name)
        return name


def _differs(rule: PathRule, globs: Globs) -> str:
    said = f"Disallow: {plain(rule.pattern)}"
    if not globs.patterns:
        return f"{said} is not taken over ({globs.why})"
    everything = ", which is EVERYTHING" if "/**" in globs.patterns else ""
    return f"{said} becomes {', '.join(globs.patterns[:3])}{everything}: more than it says ({globs.why})"


def plain(text: str) -> str:
    """One line of printable ASCII: what strangers wrote must not break out of a comment or a terminal."""
    kept = "".join(char if " " <= char <= "~" else "?" for char in text[:400])
    return kept if len(kept) <= 240 else kept[:237] + "..."


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)

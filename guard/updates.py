"""Lists of agents that others publish, held against what is known: what is new, what differs, what stays.

Two formats are read: the JSON of the ai.robots.txt project (name -> operator, respect, function, frequency,
description) and ours (a catalogue file, `operator:` and `agents:`). A list is somebody's opinion: what we know of an
agent from its operator is never overwritten by it, a new name comes in at low confidence, and a name that is an
ordinary word is only looked for with a version behind it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from guard.catalogue import read_agents
from guard.classify import Catalogue
from guard.documents import Mapping, read_document
from guard.errors import CatalogueError, Problem
from guard.model import Agent

MAX_LIST_BYTES = 4 * 1024 * 1024
MAX_NAMES = 20_000
_MAX_TEXT_CHARS = 200
_MAX_PROBLEMS = 20

_FUNCTIONS = (
    (("search",), "ai-search", ("search", "ai-use")),
    (("assistant", "user-triggered", "user triggered", "on behalf of"), "ai-assistant", ("assistant", "ai-use")),
    (("agent",), "ai-agent", ("agent", "ai-use")),
    (("train", "llm", "model"), "ai-train", ("train-ai",)),
    (("scrap", "dataset", "data set"), "ai-dataset", ("train-ai",)),
)
_INDENT = re.compile(r"^catalogue:[^\n]*+\n(?:[ \t]*+(?:#[^\n]*+)?\n)*+( ++)[^ #]", re.MULTILINE)
_NAMED_ROBOT = re.compile(r"(?:bot|crawler|spider|scraper|fetcher)$|[0-9]|[^a-z]")


@dataclass(frozen=True, slots=True)
class Change:
    """One fact that a list knows and we did not."""

    agent: Agent
    fact: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a list adds. `kept` are names that are known as something else, with what the list calls them."""

    new: tuple[Agent, ...]
    changes: tuple[Change, ...]
    kept: tuple[tuple[Agent, str], ...]
    same: int

    @property
    def empty(self) -> bool:
        return not self.new and not self.changes


def read_list(text: str, file: str) -> tuple[Agent, ...]:
    """The agents of a list in either format. Raises CatalogueError with what is wrong, where."""
    if text.lstrip("\ufeff \t\r\n").startswith("{"):
        return _read_robots_json(text, file)
    node, problems = read_document(text, file)
    if isinstance(node, Mapping):
        agents = read_agents(node, file, problems)
        if not problems:
            return tuple(agents)
    shown = tuple(Problem(said.file, said.line, _plain(said.message)) for said in problems[:_MAX_PROBLEMS])
    raise CatalogueError(
        shown or (Problem(file, 1, "neither a robots.json nor a catalogue file (operator:, agents:)"),)
    )


def _read_robots_json(text: str, file: str) -> tuple[Agent, ...]:
    try:
        document = json.loads(text.lstrip("\ufeff"))
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 0)
        why = "nested too deep" if isinstance(error, RecursionError) else getattr(error, "msg", "a number is too long")
        raise CatalogueError((Problem(file, line, f"not JSON: {why}"),)) from None
    if not isinstance(document, dict) or len(document) > MAX_NAMES:
        raise CatalogueError((Problem(file, 1, f"expected an object of at most {MAX_NAMES} names"),))
    agents: list[Agent] = []
    problems: list[Problem] = []
    for name, said in document.items():
        if len(problems) >= _MAX_PROBLEMS:
            problems.append(Problem(file, 0, "and perhaps more: the rest was not read"))
            break
        if not isinstance(said, dict):
            problems.append(Problem(file, _line_of(text, name), f"'{_plain(name)}': expected an object of facts"))
        elif not re.fullmatch(r"[A-Za-z0-9][\x20-\x7e]{0,79}", name) or not name[-1].isalnum():
            problems.append(Problem(file, _line_of(text, name), f"'{_plain(name)}' is no name of an agent"))
        else:
            agents.append(_as_agent(name, said))
    if problems:
        raise CatalogueError(tuple(problems))
    return tuple(agents)


def _as_agent(name: str, said: dict[str, object]) -> Agent:
    function = f"{_plain(said.get('function'))} {_plain(said.get('description'))}".lower()
    category, purposes = next(
        ((kind, what) for words, kind, what in _FUNCTIONS if _begins(words, function)),
        ("ai-other", ("ai-use",)),
    )
    respect = _plain(said.get("respect", "")).lower()
    obeys = "yes" if respect.startswith("yes") or ("](" in respect and "yes" in respect) else ""
    obeys = obeys or ("no" if respect.startswith("no") else "unknown")
    token = name if re.fullmatch(r"[A-Za-z_-]++", name) else ""
    return Agent(
        name=name,
        product_token=name,
        robots_token=token,
        operator=re.sub(r"\[([^\]]*+)\]\([^)]*+\)", r"\1", _plain(said.get("operator", ""))),
        category=category,
        purposes=purposes,
        match="token" if _NAMED_ROBOT.search(name.lower()) else "token/",
        respects_robots=obeys,
        confidence="low",
    )


def _begins(words: Iterable[str], text: str) -> bool:
    """Does a word of `text` begin with one of `words`? There is no search in research."""
    return any(re.search(rf"(?<![a-z]){word}", text) for word in words)


def propose(known: Catalogue, listed: Iterable[Agent], own: Collection[str] = ()) -> Proposal:
    """What `listed` adds to `known`: names that nobody has, and facts that nobody knew.

    `own` are names (lower case) that the file to be written speaks of already: that stays as it is.
    """
    by_token = {agent.product_token.lower(): agent for agent in known.agents if agent.product_token}
    by_token |= {agent.robots_token.lower(): agent for agent in known.agents if agent.robots_token}
    new: list[Agent] = []
    changes: list[Change] = []
    kept: list[tuple[Agent, str]] = []
    same = 0
    seen: set[str] = set()
    for agent in listed:
        if agent.name.lower() in seen:
            continue
        seen.add(agent.name.lower())
        ours = next(
            (
                found
                for found in (
                    known.by_name.get(agent.name.lower()),
                    by_token.get(agent.product_token.lower()),
                    by_token.get(agent.robots_token.lower()),
                )
                if found is not None
            ),
            None,
        )
        if ours is None:
            new.append(agent)
            continue
        if ours.respects_robots == "unknown" != agent.respects_robots and ours.name.lower() not in own:
            changes.append(Change(ours, "respects_robots", "unknown", agent.respects_robots))
        if ours.category.startswith("ai-") is not agent.category.startswith("ai-"):
            kept.append((ours, agent.category))
        elif not changes or changes[-1].agent is not ours:
            same += 1
    return Proposal(tuple(new), tuple(changes), tuple(kept), same)


def write_fragment(proposal: Proposal, source: str, day: str, before: str = "") -> str:
    """A file for `include:` of a policy, with what a list adds. `source` and `day` stand in a comment; `before` is what
    the file holds already: it stays, word for word."""
    lines = [
        "# Written by `guard agents update`; yours to edit. A policy takes it in with include: [this file].",
        "version: 1",
        "catalogue:",
    ]
    lines = before.rstrip("\n").split("\n") if before else lines
    deep = _INDENT.search(before)
    indent = deep[1] if deep is not None else "  "
    if not proposal.empty:
        lines.append(f"{indent}# {_plain(source)}, {day}")
    for agent in sorted(proposal.new, key=lambda agent: agent.name.lower()):
        lines.append(f"{indent}{_quoted(agent.name)}:")
        facts: dict[str, object] = {
            "operator": agent.operator,
            "product_token": agent.product_token,
            "robots_token": agent.robots_token,
            "category": agent.category,
            "purposes": list(agent.purposes),
            "match": agent.match,
            "respects_robots": agent.respects_robots,
            "confidence": agent.confidence,
            "docs": agent.docs,
        }
        lines += [f"{indent}  {key}: {_quoted(value)}" for key, value in facts.items() if value]
    for change in sorted(proposal.changes, key=lambda change: change.agent.name.lower()):
        lines += [f"{indent}{_quoted(change.agent.name)}:", f"{indent}  {change.fact}: {_quoted(change.after)}"]
    return "\n".join(lines) + "\n"


def _quoted(value: object) -> str:
    """A value as YAML reads it: JSON, but for pairs of surrogates, which YAML does not know."""
    return json.dumps(_plain(value) if isinstance(value, str) else value, ensure_ascii=False)


def _plain(said: object) -> str:
    text = said if isinstance(said, str) else ""
    return "".join(char if char.isprintable() else " " for char in text[:_MAX_TEXT_CHARS]).strip()


def _line_of(text: str, name: str) -> int:
    at = text.find(json.dumps(name))
    return text.count("\n", 0, at) + 1 if at >= 0 else 0

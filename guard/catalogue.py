"""The catalogue's files: facts about agents, one YAML file an operator. Facts only, no verdicts.

Every problem of every file is told at once, with file and line; nothing is returned unless there are none.
"""

from __future__ import annotations

import re
from pathlib import Path

from guard.classify import Catalogue
from guard.documents import Mapping, Node, Scalar, Sequence, read_document
from guard.errors import CatalogueError, Problem
from guard.model import (
    AGENT_CATEGORIES,
    CONFIDENCES,
    LOOKS,
    PURPOSES,
    RUNS_ON,
    TOKEN_MATCHES,
    VERIFICATIONS,
    Agent,
    Verification,
)

_AGENT_KEYS = [
    "name",
    "product_token",
    "robots_token",
    "category",
    "purposes",
    "match",
    "respects_robots",
    "verification",
    "docs",
    "samples",
    "not_samples",
    "confidence",
    "runs_on",
    "instead_of",
    "allowed",
]
RESPECTS = ("yes", "no", "partial", "unknown")
"""Whether an operator says that its agent obeys robots.txt."""

_REQUIRED = ("name", "product_token", "category", "purposes")


def load_catalogue(directory: Path | None = None) -> Catalogue:
    """Every agent file in `directory` (default: those that ship). Raises CatalogueError with all problems."""
    folder = directory or Path(__file__).parent / "agents"
    problems: list[Problem] = []
    agents: list[Agent] = []
    for file in sorted(folder.glob("*.yaml")):
        try:
            text = file.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            problems.append(Problem(file.name, 0, f"not UTF-8 text: {error.reason}"))
            continue
        node, found = read_document(text, file.name)
        problems += found
        if isinstance(node, Mapping):
            agents += read_agents(node, file.name, problems)
        elif not found:
            problems.append(Problem(file.name, 1, "expected 'operator:' and 'agents:'"))
    names: dict[str, str] = {}
    for agent in agents:
        if agent.name.lower() in names:
            problems.append(Problem(folder.name, 0, f"agent '{agent.name}' is described twice"))
        names[agent.name.lower()] = agent.name
    if problems:
        raise CatalogueError(tuple(problems))
    return Catalogue(agents)


def read_agents(document: Mapping, file: str, problems: list[Problem]) -> list[Agent]:
    """The agents of one catalogue file; what is wrong is added to `problems`."""
    for key, _ in document.entries:
        if key.text not in ("operator", "agents"):
            problems.append(Problem(file, key.line, f"unknown key '{key.text}'"))
    operator, entries = document.get("operator"), document.get("agents")
    if not isinstance(operator, Scalar) or not isinstance(entries, Sequence):
        problems.append(Problem(file, document.line, "expected 'operator: NAME' and 'agents: [...]'"))
        return []
    agents: list[Agent] = []
    for entry in entries.items:
        if not isinstance(entry, Mapping):
            problems.append(Problem(file, entry.line, "an agent must be a mapping"))
        elif (agent := _read_agent(entry, operator.text, file, problems)) is not None:
            agents.append(agent)
    return agents


def _read_agent(entry: Mapping, operator: str, file: str, problems: list[Problem]) -> Agent | None:
    before = len(problems)
    for key, _ in entry.entries:
        if key.text not in _AGENT_KEYS:
            problems.append(Problem(file, key.line, f"unknown key '{key.text}' in an agent"))
    for key_name in _REQUIRED:
        if entry.get(key_name) is None:
            problems.append(Problem(file, entry.line, f"an agent without '{key_name}'"))
    name, category = _text(entry, "name"), _text(entry, "category")
    purposes, match = _texts(entry.get("purposes")), _text(entry, "match") or "token"
    samples = _texts(entry.get("samples"))
    if category not in AGENT_CATEGORIES:
        problems.append(Problem(file, entry.line, f"agent '{name}': unknown category '{category}'"))
    for purpose in purposes:
        if purpose not in PURPOSES:
            problems.append(Problem(file, entry.line, f"agent '{name}': unknown purpose '{purpose}'"))
    confidence, runs_on = _text(entry, "confidence") or "high", _text(entry, "runs_on") or "operator"
    allowed, respects = _texts(entry.get("allowed")), _text(entry, "respects_robots") or "unknown"
    checks = _read_verification(entry.get("verification"))
    for key_name, values, known in (
        ("confidence", (confidence,), CONFIDENCES),
        ("runs_on", (runs_on,), RUNS_ON),
        ("allowed", allowed, LOOKS),
        ("respects_robots", (respects,), RESPECTS),
        ("kind of verification", tuple(check.kind for check in checks), VERIFICATIONS),
    ):
        for value in values:
            if value not in known:
                message = f"agent '{name}': {key_name} '{value}' is none of {', '.join(known)}"
                problems.append(Problem(file, entry.line, message))
    if match not in TOKEN_MATCHES:
        problems.append(Problem(file, entry.line, f"agent '{name}': unknown match '{match}'"))
    token = _text(entry, "product_token") or _text(entry, "robots_token")
    if match in ("token", "token/", "exact", "robots-only") and not any(char.isalnum() for char in token):
        problems.append(Problem(file, entry.line, f"agent '{name}': no letter or digit to look for"))
    elif match in ("token", "token/", "robots-only") and not (token[0] + token[-1]).isalnum():
        message = f"agent '{name}': '{token}' must begin and end with a letter or a digit"
        problems.append(Problem(file, entry.line, message))
    if match in ("token", "token/", "exact") and not samples:
        problems.append(Problem(file, entry.line, f"agent '{name}': no sample User-Agent"))
    if not re.fullmatch(r"[A-Za-z_-]*+", _text(entry, "robots_token")):
        problems.append(Problem(file, entry.line, f"agent '{name}': not a robots token (RFC 9309 2.2.1)"))
    if len(problems) > before:
        return None
    return Agent(
        name=name,
        product_token=_text(entry, "product_token"),
        robots_token=_text(entry, "robots_token"),
        operator=operator,
        category=category,
        purposes=purposes,
        match=match,
        verification=checks,
        docs=_text(entry, "docs"),
        respects_robots=respects,
        samples=samples,
        not_samples=_texts(entry.get("not_samples")),
        confidence=confidence,
        runs_on=runs_on,
        instead_of=_texts(entry.get("instead_of")),
        allowed=allowed,
    )


def _read_verification(node: Node | None) -> tuple[Verification, ...]:
    if not isinstance(node, Sequence):
        return ()
    return tuple(
        Verification(_text(item, "kind"), _texts(item.get("sources")))
        for item in node.items
        if isinstance(item, Mapping)
    )


def _text(mapping: Mapping, key: str) -> str:
    node = mapping.get(key)
    return node.text if isinstance(node, Scalar) else ""


def _texts(node: Node | None) -> tuple[str, ...]:
    if isinstance(node, Sequence):
        return tuple(item.text for item in node.items if isinstance(item, Scalar))
    return (node.text,) if isinstance(node, Scalar) else ()

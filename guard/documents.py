"""YAML text to nodes that remember their lines. The only door to PyYAML.

The law: nothing is ever built from YAML by a loader. Events are read one by one, with limits on bytes, depth
and nodes, and with anchors, aliases, merge keys, tags and repeated keys refused, so that a bomb is refused
while it is read. Every scalar stays text: `no`, `on`, `0123` and `12:30:45` are what the author typed.

Sources: YAML 1.2.2 chapter 3 (serialisation events); the refused features are those that expand or execute.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from guard.errors import Problem

MAX_BYTES = 256 * 1024
MAX_DEPTH = 24
MAX_NODES = 20_000

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value as written; `quoted` tells `"5"` from `5`. Lines count from 1."""

    text: str
    line: int
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Sequence:
    items: tuple[Node, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Mapping:
    entries: tuple[tuple[Scalar, Node], ...]
    line: int

    def get(self, key: str) -> Node | None:
        return next((node for name, node in self.entries if name.text == key), None)


Node = Scalar | Sequence | Mapping


class _Refused(Exception):
    def __init__(self, line: int, message: str) -> None:
        self.line = line
        self.message = message


def read_document(text: str, file: str) -> tuple[Node | None, list[Problem]]:
    """The one document in `text`. With problems, the node is None: a half-read file is not a policy."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        return None, [Problem(file, 0, f"larger than {MAX_BYTES // 1024} KiB")]
    problems: list[Problem] = []
    try:
        events = _events(text)
        node = _read_node(next(events), events, problems, file, 0) if text.strip() else None
        for _ in events:  # to the end: what stands after the first document must be refused, too
            pass
    except _Refused as refusal:
        return None, [*problems, Problem(file, refusal.line, refusal.message)]
    except StopIteration:
        node = None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"not valid YAML: {error.problem or error.context}"
        if error.problem and error.context and error.context_mark:
            message += f" {error.context} (from line {error.context_mark.line + 1})"
        return None, [*problems, Problem(file, mark.line + 1 if mark else 0, message)]
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        return None, [*problems, Problem(file, 0, f"not valid YAML: {str(error).splitlines()[0]}")]
    if node is None and not problems:
        problems.append(Problem(file, 0, "the file is empty"))
    return (None if problems else node), problems


def _events(text: str) -> Iterator[yaml.Event]:
    """Content events only, each checked; a second document is refused."""
    documents = nodes = depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = _line(event)
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _Refused(line, "a second document ('---') in one file")
            continue
        if isinstance(event, yaml.AliasEvent):
            raise _Refused(line, f"aliases ('*{event.anchor}') are not allowed: write the value out")
        if isinstance(event, yaml.NodeEvent):
            nodes += 1
            if event.anchor:
                raise _Refused(line, f"anchors ('&{event.anchor}') are not allowed: write the value out")
            tag = getattr(event, "tag", None)
            if tag not in (None, "!"):
                raise _Refused(line, f"tags ('{tag}') are not allowed")
            if nodes > MAX_NODES:
                raise _Refused(line, f"more than {MAX_NODES} values")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _Refused(line, f"nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
            yield event


def _read_node(event: yaml.Event, events: Iterator[yaml.Event], problems: list[Problem], file: str, depth: int) -> Node:
    line = _line(event)
    if isinstance(event, yaml.ScalarEvent):
        return Scalar(event.value, line, event.style in ("'", '"'))
    if isinstance(event, yaml.SequenceStartEvent):
        items: list[Node] = []
        while not isinstance(item := next(events), yaml.SequenceEndEvent):
            items.append(_read_node(item, events, problems, file, depth + 1))
        return Sequence(tuple(items), line)
    entries: list[tuple[Scalar, Node]] = []
    seen: dict[str, int] = {}
    while not isinstance(name := next(events), yaml.MappingEndEvent):
        key = _read_node(name, events, problems, file, depth + 1)
        value = _read_node(next(events), events, problems, file, depth + 1)
        if not isinstance(key, Scalar):
            problems.append(Problem(file, key.line, "a key must be plain text"))
        elif key.text == "<<" and not key.quoted:
            problems.append(Problem(file, key.line, "merge keys ('<<') are not allowed: write the keys out"))
        elif key.text in seen:
            problems.append(Problem(file, key.line, f"key '{key.text}' is repeated (first on line {seen[key.text]})"))
        else:
            seen[key.text] = key.line
            entries.append((key, value))
    return Mapping(tuple(entries), line)


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0

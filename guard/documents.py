"""YAML text to nodes that remember their lines. The only door to PyYAML.

The law: nothing is ever built from YAML by a loader. Events are read one by one, with limits on bytes, depth
and nodes, and with anchors, aliases, merge keys, tags and repeated keys refused, so that a bomb is refused
while it is read. Every scalar stays text: `no`, `on`, `0123` and `12:30:45` are what the author typed.

Sources: YAML 1.2.2 chapter 3 (serialisation events); the refused features are those that expand or execute.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import yaml

from guard.errors import Problem

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 24
MAX_NODES = 400_000

QUOTES = ("'", '"')
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Scalar(NamedTuple):
    """One value as written; `quoted` tells `"5"` from `5`. Lines count from 1; `file` is where it stands."""

    text: str
    line: int
    quoted: bool = False
    file: str = ""


class Sequence(NamedTuple):
    items: tuple[Node, ...]
    line: int
    file: str = ""


class Mapping(NamedTuple):
    entries: tuple[tuple[Scalar, Node], ...]
    line: int
    file: str = ""

    def get(self, key: str) -> Node | None:
        for name, node in self.entries:  # a loop: asked ten times for every rule, half the price of a generator
            if name[0] == key:
                return node
        return None


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
    node: Node | None = None
    try:
        if text.strip():
            node = _Builder(file, problems).build(text)
    except _Refused as refusal:
        return None, [*problems, Problem(file, refusal.line, refusal.message)]
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


class _Builder:
    """One pass over the events, with a stack of its own: neither depth nor length can exhaust Python's."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file = file
        self.problems = problems

    def build(self, text: str) -> Node | None:
        """The root node, after every event to the end of the text was checked."""
        root: Node | None = None
        # What is open: its line, what it holds so far, its keys with their lines (None: a list), and a key without its
        # value. The innermost stands in variables of its own, for each of a hundred thousand events asks for it.
        stack: list[tuple[int, list[Any], dict[str, int] | None, Node | None]] = []
        held: list[Any] = []
        began, seen, key = 0, cast("dict[str, int] | None", None), cast("Node | None", None)
        within = False
        documents = nodes = 0
        file = self.file
        next_event = _Loader(text).get_event
        make: Any = tuple.__new__  # a named tuple's own constructor costs twice as much
        scalar, mapping, mapping_end = yaml.ScalarEvent, yaml.MappingStartEvent, yaml.MappingEndEvent
        sequence, sequence_end = yaml.SequenceStartEvent, yaml.SequenceEndEvent
        node: Node
        while (event := next_event()) is not None:
            kind = type(event)
            if kind is scalar or kind is mapping or kind is sequence:
                nodes += 1
                line = event.start_mark.line + 1
                tag = event.tag
                if event.anchor or (tag is not None and tag != "!") or nodes > MAX_NODES:
                    self._refuse(event, line)
                if kind is not scalar:
                    if len(stack) >= MAX_DEPTH:
                        raise _Refused(line, f"nested deeper than {MAX_DEPTH} levels")
                    stack.append((began, held, seen, key))
                    began, held, seen, key = line, [], ({} if kind is mapping else None), None
                    within = True
                    continue
                node = make(Scalar, (event.value, line, event.style in QUOTES, file))
            elif kind is mapping_end or kind is sequence_end:
                node = make(Sequence if seen is None else Mapping, (tuple(held), began, file))
                began, held, seen, key = stack.pop()
                within = bool(stack)
            elif kind is yaml.AliasEvent:
                raise _Refused(_line(event), f"aliases ('*{event.anchor}') are not allowed: write the value out")
            else:
                if kind is yaml.DocumentStartEvent:
                    documents += 1
                    if documents > 1:
                        raise _Refused(_line(event), "a second document ('---') in one file")
                continue
            if not within:
                root = node
            elif seen is None:
                held.append(node)
            elif key is None:
                key = node
            else:
                if type(key) is Scalar and (text := key[0]) not in seen and text != "<<":
                    seen[text] = key[1]
                    held.append((key, node))
                else:
                    self._refuse_key(seen, key, held, node)
                key = None
        return root

    def _refuse_key(self, seen: dict[str, int], key: Node, held: list[Any], node: Node) -> None:
        """A key that may not stand where it stands; a quoted `<<` is a word like any other."""
        if not isinstance(key, Scalar):
            self._problem(key, "a key must be plain text")
        elif key.text in seen:
            self._problem(key, f"key '{key.text}' is repeated (first on line {seen[key.text]})")
        elif not key.quoted:
            self._problem(key, "merge keys ('<<') are not allowed: write the keys out")
        else:
            seen[key.text] = key.line
            held.append((key, node))

    def _problem(self, node: Node, message: str) -> None:
        self.problems.append(Problem(self.file, node.line, message))

    def _refuse(self, event: yaml.NodeEvent, line: int) -> None:
        if event.anchor:
            raise _Refused(line, f"anchors ('&{event.anchor}') are not allowed: write the value out")
        tag = getattr(event, "tag", None)
        if tag not in (None, "!"):
            raise _Refused(line, f"tags ('{tag}') are not allowed")
        raise _Refused(line, f"more than {MAX_NODES} values")


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0

"""The policy language as a JSON Schema, for editors: draft 2020-12, made from `language.py` and what ships.

The law: what the schema refuses, the guard refuses. The other way round it cannot be: a schema sees one file, knows no
arithmetic and no neighbours, so `guard check` has the last word. Only in one thing an editor is stricter: numbers and
switches are written without quotes, and a name that reads `true`, `false` or `null` is written with them.

Choices of shape are written as if/then/else, not anyOf, so that an editor marks the word that is wrong and not the
whole block. Patterns are of the kind that ECMA-262 (with or without `u`) and Python read alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from guard.language import (
    BLOCKS,
    FRAGMENT,
    POLICY,
    Block,
    Choice,
    Either,
    Flag,
    ListOf,
    MapOf,
    Measure,
    Named,
    Number,
    OneOrMany,
    See,
    Shape,
    Text,
)
from guard.load import shipped_catalogue
from guard.sources import shipped_folder

Schema = dict[str, Any]

ID = "urn:noai-guard:policy:1"
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_SPECIAL = re.compile(r"[\^$\\.*+?()\[\]{}|/]")
_GLOB, _GLOB_OF_SOME = r"\*", r"^(?=.*\*).*[^*]"


def json_schema(*, fragment: bool = False) -> Schema:
    """The schema of a policy; with `fragment`, of a file that others include, where the site and the default may lack.

    A policy that includes others may lack them, too: they can stand there.
    """
    schema: Schema = {
        "$schema": _DRAFT,
        "$id": f"{ID}:fragment" if fragment else ID,
        **_block(FRAGMENT),
        "title": "noai-guard policy, a file to include" if fragment else "noai-guard policy",
        "description": "What a music platform lets in, at what pace, and what it refuses.",
    }
    if not fragment:
        needed = [word for word in POLICY.words if word.required]
        parts = {word.name: {"required": _required(word.shape)} for word in needed if isinstance(word.shape, Block)}
        schema["if"] = {"required": ["include"]}
        schema["else"] = {"required": [word.name for word in needed], "properties": parts}
    within = (block for top in (FRAGMENT, *BLOCKS.values()) for block in _blocks(top))
    blocks = {block.name: block for block in within if block is not FRAGMENT}
    schema["$defs"] = {_slug(name): _block(block) for name, block in blocks.items()} | {
        "agents": {"enum": [*(agent.name for agent in shipped_catalogue().agents), "browser", "unknown"]},
        "operators": _operators(),
        "presets": {"enum": _shelf("routes")},
        "snippets": {"enum": _shelf("snippets")},
    }
    return schema


def schema_text(*, fragment: bool = False) -> str:
    """The schema as it is printed and as it ships."""
    return json.dumps(json_schema(fragment=fragment), indent=1, ensure_ascii=False) + "\n"


def _shelf(folder: str) -> list[str]:
    return sorted(path.stem for path in (shipped_folder() / folder).glob("*.yaml"))


def _operators() -> Schema:
    """Every operator as it is written, for completion, and in any case."""
    names = sorted({agent.operator for agent in shipped_catalogue().agents if agent.operator}, key=str.lower)
    return {"anyOf": [{"enum": names}, {"type": "string", "pattern": _any_case(names)}]}


def _any_case(words: Iterable[str]) -> str:
    """A pattern for these words, however they are spelt."""
    return f"^({'|'.join(''.join(_letter(letter) for letter in word) for word in words)})$"


def _letter(letter: str) -> str:
    both = {letter.lower(), letter.upper()}
    if len(both) == 2 and all(len(one) == 1 for one in both):
        return f"[{letter.upper()}{letter.lower()}]"
    return _SPECIAL.sub(r"\\\g<0>", letter)


def _slug(name: str) -> str:
    return name.replace(" ", "-")


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{_slug(name)}"}


# -- shapes --------------------------------------------------------------------------------------------------


def _shape(shape: Shape) -> Schema:
    match shape:
        case Text(form):
            return _text(form)
        case Named(of, form):
            return {"anyOf": [_ref(of), _text(form)]} if form else _ref(of)
        case Choice():
            return _choice(shape)
        case Number(least, most, zero):
            found: Schema = {"type": "integer", "minimum": least, "maximum": most}
            return found if zero else {**found, "not": {"const": 0}}
        case Measure(least, most, form):
            number: Schema = {"type": "integer", "minimum": least, "maximum": most}
            return _when("string", {"pattern": form}, number)
        case Flag():
            return {"type": "boolean"}
        case OneOrMany(item, least):
            return _when("array", {"items": _shape(item), **_least("minItems", least)}, _shape(item))
        case ListOf(item, least):
            return {"type": "array", "items": _shape(item), **_least("minItems", least)}
        case MapOf():
            return _map(shape)
        case Either((word, mapping)):
            return _when("object", _shape(mapping), _shape(word))
        case See(block):
            return _ref(block)
        case Block():
            return _ref(shape.name)
    raise AssertionError(shape)


def _blocks(shape: Shape) -> Iterator[Block]:
    """Every block within, the outer ones first."""
    match shape:
        case Block():
            yield shape
            for word in shape.words:
                yield from _blocks(word.shape)
        case OneOrMany(item) | ListOf(item):
            yield from _blocks(item)
        case MapOf(_, value):
            yield from _blocks(value)
        case Either(shapes):
            for one in shapes:
                yield from _blocks(one)


def _required(block: Block) -> list[str]:
    return [word.name for word in block.words if word.required]


def _when(kind: str, then: Schema, otherwise: Schema) -> Schema:
    return {"if": {"type": kind}, "then": then, "else": otherwise}


def _least(word: str, least: int) -> Schema:
    return {word: least} if least else {}


def _text(form: str) -> Schema:
    """Text of a form. A number is text, too, where the form allows it: `name: 1984` is a fine name."""
    if form and re.search(form, "7") is None:
        return {"type": "string", "pattern": form}
    return {"type": ["string", "number"], **({"pattern": form} if form not in ("", ".") else {})}


def _choice(shape: Choice) -> Schema:
    words: list[str | int] = []
    for word in shape.words:
        words += [int(word), word] if word.isdecimal() else [word]
    ways: list[Schema] = [{"enum": words}]
    if shape.globs:
        ways.append({"type": "string", "pattern": _GLOB})
    if shape.any_case:
        ways.append({"type": "string", "pattern": _any_case(shape.words)})
    return ways[0] if len(ways) == 1 else {"anyOf": ways}


def _map(shape: MapOf) -> Schema:
    """A mapping; known keys are listed, so that editors offer them."""
    value = _shape(shape.value)
    if isinstance(shape.key, Choice):
        found: Schema = {"type": "object", "properties": dict.fromkeys(shape.key.words, value)}
        if shape.key.globs:
            found["patternProperties"] = {_GLOB_OF_SOME: value}
        return {**found, "additionalProperties": False}
    return {"type": "object", "propertyNames": _shape(shape.key), "additionalProperties": value}


def _block(block: Block) -> Schema:
    properties = {word.name: {"description": word.says, **_shape(word.shape)} for word in block.words}
    found: Schema = {"title": block.name, "type": "object", "properties": properties, "additionalProperties": False}
    if required := _required(block):
        found["required"] = required
    found |= _least("minProperties", block.least)
    if block.one_of:
        found["anyOf"] = [{"required": [key]} for key in block.one_of]
    laws: list[Schema] = [
        {"if": {"required": [key]}, "then": {"properties": dict.fromkeys(block.one_of[place:], False)}}
        for place, key in enumerate(block.one_of[:-1], 1)
    ]
    for tie in block.ties:
        beside: Schema = {"required": [tie.beside]}
        if tie.word:
            beside["properties"] = {tie.beside: {"const": tie.word}}
        law: Schema = {"if": beside, "else": {"properties": {tie.key: False}}}
        laws.append({**law, "then": {"required": [tie.key]}} if tie.must else law)
    if laws:
        found["allOf"] = laws
    return found

"""The HTTP API over a register of rights, described as an OpenAPI 3.1 document. Pure.

The law: its words come from `guard.rights`, and whatever `guard.api` answers is in here; tests/test_api.py holds the
two against each other.
"""

from __future__ import annotations

from typing import Any

from guard.model import KINDS
from guard.rights import HOLDINGS, LAYERS, MAX_ID_CHARS, MAX_LICENCES, MAX_TEXT_CHARS, PROOFS, PURPOSES, WORDS

Schema = dict[str, Any]

_WORK_PATTERN = f"^({'|'.join(HOLDINGS)}):.+$"


def describe(prefix: str, version: str) -> Schema:
    """The document for an API whose paths begin with `prefix`."""
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Rights of works",
            "version": version,
            "description": "What the holders of works allow, read and changed by a platform's settings page.",
        },
        "servers": [{"url": prefix or "/"}],
        "security": [{"token": []}],
        "paths": {
            "/health": {"get": _health()},
            "/openapi.json": {"get": _described()},
            "/rights": {"get": _changes()},
            "/rights/{layer}/{id}": {
                "parameters": [_LAYER, _ID],
                "get": _look(),
                "put": _write("putRights", "Say what the holder of a work allows", "ChoiceToPut"),
                "patch": _write("patchRights", "Say some words anew; null takes one back", "ChoiceToPatch"),
                "delete": _withdraw(),
            },
            "/rights/{layer}/{id}/history": {"parameters": [_LAYER, _ID], "get": _history()},
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(),
            "responses": _problems(),
            "headers": {
                "ETag": {
                    "description": "Names this state of the work; send it as If-Match",
                    "required": True,
                    "schema": {"type": "string"},
                }
            },
        },
    }


_LAYER: Schema = {"name": "layer", "in": "path", "required": True, "schema": {"enum": list(HOLDINGS)}}
_ID: Schema = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "What the platform calls the work; a slash in it is written %2F",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS},
}
_IF_MATCH: Schema = {
    "name": "If-Match",
    "in": "header",
    "description": "The ETag that was seen last: nothing is written when the work is different by now",
    "schema": {"type": "string"},
}
_IF_NONE_MATCH: Schema = {
    "name": "If-None-Match",
    "in": "header",
    "description": "Only `*`: nothing is written when the work has a choice",
    "schema": {"const": "*"},
}
_AT: Schema = {
    "name": "at",
    "in": "query",
    "description": "What was so at this past day or moment",
    "schema": {"$ref": "#/components/schemas/Moment"},
}


def _limit(default: int) -> Schema:
    schema = {"type": "integer", "minimum": 1, "maximum": 1000, "default": default}
    return {"name": "limit", "in": "query", "schema": schema}


def _answer(schema: str, description: str, *, etag: bool = False) -> Schema:
    answer: Schema = {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }
    if etag:
        answer["headers"] = {"ETag": {"$ref": "#/components/headers/ETag"}}
    return answer


_ALWAYS = ("400", "401", "404", "405", "429", "503")
_WRITES = ("403", "408", "412", "413", "415", "422")


def _answers(good: Schema, *more: str) -> Schema:
    return good | {status: {"$ref": f"#/components/responses/{status}"} for status in sorted({*_ALWAYS, *more})}


def _health() -> Schema:
    said = {"type": "object", "properties": {"status": {"const": "ok"}}, "required": ["status"]}
    answer = {"description": "It answers", "content": {"application/json": {"schema": said}}}
    return {
        "operationId": "health",
        "summary": "Whether this answers; nothing else",
        "security": [],
        "responses": {"200": answer, "405": {"$ref": "#/components/responses/405"}},
    }


def _described() -> Schema:
    answer = {"description": "This document", "content": {"application/json": {"schema": {"type": "object"}}}}
    return {"operationId": "describe", "summary": "This document", "responses": _answers({"200": answer})}


def _look() -> Schema:
    return {
        "operationId": "getRights",
        "summary": "What is said of a work, by whom, and what follows",
        "parameters": [_AT],
        "responses": _answers({"200": _answer("Rights", "Also for a work that nobody knows", etag=True)}),
    }


def _write(name: str, summary: str, schema: str) -> Schema:
    medias = ["application/json"] + ["application/merge-patch+json"] * (name == "patchRights")
    content = {media: {"schema": {"$ref": f"#/components/schemas/{schema}"}} for media in medias}
    good = {
        "200": _answer("Written", "Noted, or already so", etag=True),
        "201": _answer("Written", "Noted; the work had no choice before", etag=True),
    }
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [_IF_MATCH, _IF_NONE_MATCH],
        "requestBody": {"required": True, "content": content},
        "responses": _answers(good, *_WRITES),
    }


def _withdraw() -> Schema:
    said = {"application/json": {"schema": {"$ref": "#/components/schemas/Withdrawal"}}}
    why = {
        "name": "reason",
        "in": "query",
        "description": "Why; needed here or in the body",
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_TEXT_CHARS},
    }
    return {
        "operationId": "withdrawRights",
        "summary": "Withdraw what the holder of a work said",
        "parameters": [why, _IF_MATCH],
        "requestBody": {"required": False, "content": said},
        "responses": _answers({"200": _answer("Written", "Noted, or already so", etag=True)}, *_WRITES),
    }


def _history() -> Schema:
    return {
        "operationId": "history",
        "summary": "All changes of one work, the oldest first; of more than `limit` the newest",
        "parameters": [_limit(1000)],
        "responses": _answers({"200": _answer("History", "The changes")}),
    }


def _changes() -> Schema:
    since = {
        "name": "since",
        "in": "query",
        "description": "From this day or moment on",
        "schema": {"$ref": "#/components/schemas/Moment"},
    }
    page = {
        "name": "page",
        "in": "query",
        "description": "`next` of the page before, in place of `since`",
        "schema": {"type": "string"},
    }
    return {
        "operationId": "changes",
        "summary": "Changes of all works, the oldest first",
        "parameters": [since, page, _limit(100)],
        "responses": _answers({"200": _answer("Changes", "The changes")}),
    }


def _object(properties: Schema, *required: str, closed: bool = True) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = list(required)
    if closed:
        schema["additionalProperties"] = False
    return schema


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(schema: Schema, **bounds: int) -> Schema:
    return {"type": "array", "items": schema, **bounds}


def _schemas() -> Schema:
    text: Schema = {"type": "string", "maxLength": MAX_TEXT_CHARS}
    word: Schema = {"enum": list(WORDS)}
    stated: Schema = {"enum": ["allow", "disallow"]}
    preferences = _object(
        dict.fromkeys(PURPOSES, word) | {kind: _object(dict.fromkeys(PURPOSES, word)) for kind in KINDS}
    )
    patched = _object(
        {purpose: _or_null(word) for purpose in PURPOSES}
        | {kind: _or_null(_object({purpose: _or_null(word) for purpose in PURPOSES})) for kind in KINDS}
    )
    said: Schema = {
        "preferences": _ref("Preferences"),
        "licences": _list(_ref("Licence"), maxItems=MAX_LICENCES),
        "from": _ref("Moment"),
        "until": _ref("Moment"),
        "territory": text,
        "contact": text,
        "licence": text | {"format": "uri"},
        "by": text,
        "reason": text,
    }
    parents: Schema = _list(_ref("Work"))
    follows = _object(dict.fromkeys(PURPOSES, stated))
    return {
        "Work": {"type": "string", "pattern": _WORK_PATTERN, "examples": ["track:1001"]},
        "Moment": {
            "type": "string",
            "description": "A day in UTC, or a moment with its zone (RFC 3339)",
            "examples": ["2026-12-01", "2026-12-01T18:00:00Z"],
        },
        "Preferences": preferences,
        "Licence": _object(
            {
                "to": {"type": "string", "pattern": "^(operator|agent|key):.+$"},
                "purposes": _list({"enum": list(PURPOSES)}),
                "kinds": _list({"enum": list(KINDS)}),
                "from": _ref("Moment"),
                "until": _ref("Moment"),
                "proof": {"enum": list(PROOFS)},
            },
            "to",
        ),
        "Choice": _object(said | {"at": _ref("Moment")}),
        "ChoiceToPut": _object(said | {"parents": parents}),
        "ChoiceToPatch": _object(
            {key: _or_null(value) for key, value in said.items()}
            | {"preferences": _or_null(patched), "parents": _or_null(parents)}
        ),
        "Withdrawal": _object({"reason": text, "by": text}),
        "Rights": _object(
            {
                "work": _ref("Work"),
                "known": {"type": "boolean"},
                "choice": _or_null(_ref("Choice")),
                "parents": _list(_ref("Work")),
                "layers": _list(
                    _object(
                        {
                            "layer": {"enum": list(LAYERS)},
                            "work": {"type": "string"},
                            "choice": _or_null(_ref("Choice")),
                            "in_force": {"type": "boolean"},
                        },
                        "layer",
                        "work",
                        "choice",
                        "in_force",
                    )
                ),
                "follows": _object(
                    {
                        "preferences": follows,
                        "kinds": _object(dict.fromkeys(KINDS, follows), *KINDS),
                        "opened": _list(_object({"kind": {"type": "string"}, "purpose": {"enum": list(PURPOSES)}})),
                        "licences": _list(_ref("Licence")),
                        "contact": text,
                        "licence": text,
                        "territory": text,
                        "until": _or_null(_ref("Moment")),
                    },
                    "preferences",
                    "kinds",
                    "opened",
                    "licences",
                    "until",
                ),
            },
            "work",
            "known",
            "choice",
            "parents",
            "layers",
            "follows",
        ),
        "Written": _object(
            {
                "work": _ref("Work"),
                "changed": {"type": "boolean"},
                "before": _or_null(_ref("Choice")),
                "after": _or_null(_ref("Choice")),
                "parents": _list(_ref("Work")),
            },
            "work",
            "changed",
            "before",
            "after",
            "parents",
        ),
        "Change": _object(
            {
                "at": _ref("Moment"),
                "work": _ref("Work"),
                "choice": _or_null(_ref("Choice")),
                "by": {"type": "string"},
                "reason": {"type": "string"},
            },
            "at",
            "work",
            "choice",
            "by",
            "reason",
        ),
        "History": _object(
            {"work": _ref("Work"), "changes": _list(_ref("Change")), "total": {"type": "integer"}},
            "work",
            "changes",
            "total",
        ),
        "Changes": _object({"changes": _list(_ref("Change")), "next": _or_null({"type": "string"})}, "changes", "next"),
        "Problem": _object(
            {
                "type": {"type": "string", "format": "uri-reference"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
                "key": {"type": "string", "description": "The place in the body that the problem is about"},
            },
            "title",
            "status",
            closed=False,
        ),
    }


PROBLEMS = {
    400: "The request cannot be read",
    401: "A token is needed",
    403: "This token only reads",
    404: "There is nothing at this address",
    405: "This cannot be done here",
    408: "The body took too long",
    412: "The work is different by now",
    413: "The body is too large",
    415: "The body is not JSON",
    422: "The choice cannot be read",
    429: "Too many wrong tokens",
    500: "Something went wrong here",
    503: "The register does not answer",
}
"""What a problem is called (RFC 9457 `title`), by its status."""


def _problems() -> Schema:
    content = {"application/problem+json": {"schema": _ref("Problem")}}
    told = {status: title for status, title in PROBLEMS.items() if status != 500}
    return {str(status): {"description": title, "content": content} for status, title in told.items()}

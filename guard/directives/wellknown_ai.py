"""`/.well-known/ai.txt` and `/.well-known/ai.json` (draft-car-ai-txt-wellknown-00, 2026-06-12; an individual draft).

The law: both are written from one statement, so that they cannot differ. The draft does not say how its globs combine;
we say what lies inside something else, too, and read the one with the most letters as the one that counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from guard.directives import tdmrep
from guard.directives.declaration import Declaration
from guard.robotstxt import MAX_BYTES, pattern_matches

TEXT_FILE = "/.well-known/ai.txt"
JSON_FILE = "/.well-known/ai.json"
SPEC_VERSION = "1.0"
WORDS = ("allow", "deny", "conditional")
_WORD = {"allow": "allow", "disallow": "deny"}
_POLICIES = ("training", "scraping", "indexing", "caching")
_PER_GLOB = len('   "",\n') + len("Training-Allow: \n")


def statement(declaration: Declaration) -> dict[str, Any]:
    """What both files say, as the JSON has it: specVersion, site, policies, trainingPaths."""
    return written(declaration)[0]


def written(declaration: Declaration) -> tuple[dict[str, Any], int]:
    """The statement, and how many of the named works it has no room for. A query cannot be named in a glob."""
    found: tuple[dict[str, Any], int] | None = declaration.worked_out.get("well-known")
    if found is None:
        found = declaration.worked_out["well-known"] = _written(declaration)
    return found


def _written(declaration: Declaration) -> tuple[dict[str, Any], int]:
    policy = declaration.policy
    globs, left_out = _globs(declaration)
    root = policy.stated(policy.route_default)
    general = _WORD.get(root.get("train-ai", ""), "")
    on_terms = any(
        place.rights.licences or place.rights.licence_url or place.rights.opened for place in declaration.places
    )
    kinds = (policy.preferences, *policy.kind_preferences.values())
    partly = general == "allow" and any(stated.get("train-ai") == "disallow" for stated in kinds)
    if general and (on_terms or partly or left_out or declaration.left_out):
        general = "conditional"  # somebody's word differs, and who reads no further must not take it for all
    for_ai = {root[purpose] for purpose in ("train-ai", "ai-use") if purpose in root}
    use = "deny" if "disallow" in for_ai else "allow" if for_ai else ""
    search = _WORD.get(root.get("search", ""), "")
    site = {"name": " ".join(policy.site.name.split()), **({"url": policy.site.url} if policy.site.url else {})}
    words = dict(zip(_POLICIES, (general, use, search, use), strict=True))
    return {
        "specVersion": SPEC_VERSION,
        "site": site,
        "policies": {name: word for name, word in words.items() if word},
        "trainingPaths": {word: [glob for glob, said in globs.items() if said == word] for word in ("allow", "deny")},
    }, left_out


def render_text(declaration: Declaration) -> str:
    """`/.well-known/ai.txt`: a line for each word."""
    said = statement(declaration)
    out = [f"Spec-Version: {said['specVersion']}", f"Site-Name: {said['site']['name']}"]
    if "url" in said["site"]:
        out.append(f"Site-URL: {said['site']['url']}")
    out.append("")
    out += [f"{name.capitalize()}: {word}" for name, word in said["policies"].items()]
    for word, globs in said["trainingPaths"].items():
        out += [f"Training-{word.capitalize()}: {glob}" for glob in globs]
    return "\n".join([*out, "", f"AI-JSON: {declaration.address(JSON_FILE)}", ""])


def render_json(declaration: Declaration) -> str:
    """`/.well-known/ai.json`."""
    return json.dumps(statement(declaration), indent=1, ensure_ascii=False) + "\n"


class _Glob(NamedTuple):
    text: str
    scope: tdmrep.Scope


def _globs(declaration: Declaration) -> tuple[dict[str, str], int]:
    """Globs whose word on training is not the general one, or that lie in such a one; and works without room."""
    policy = declaration.policy
    general = policy.stated(policy.route_default).get("train-ai", "")
    found: dict[str, _Glob] = {}
    for scope in tdmrep.scopes(declaration):
        glob = _as_glob(scope.pattern)
        if glob and scope.pattern != "/" and "train-ai" in scope.preferences and glob not in found:
            found[glob] = _Glob(glob, scope)
    if all(one.scope.preferences["train-ai"] == general for one in found.values()):
        return {}, 0
    by_scope = {id(one.scope): one.text for one in found.values()}
    room = MAX_BYTES - 4_000
    chosen, left_out = tdmrep.fit(
        [one.scope for one in found.values()], lambda scope: len(by_scope[id(scope)].encode()) + _PER_GLOB, room
    )
    return {by_scope[id(scope)]: _WORD[scope.preferences["train-ai"]] for scope in chosen}, len(left_out)


def _as_glob(pattern: str) -> str:
    """A robots pattern as a glob: `/a/` is `/a/**`, `/a$` is `/a`, `/*.mp3` is `/**.mp3`. "" when it is of queries."""
    if "?" in pattern:
        return ""
    stem = pattern.removesuffix("$").replace("*", "**")
    return f"{stem}**" if pattern.endswith("/") else stem


# -- as its readers understand it ----------------------------------------------------------------------------


def read_text(text: str) -> dict[str, Any]:
    """The statement of an ai.txt; lines of agents' blocks (indented) and unknown keys are passed over."""
    said = _empty()
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        name, value = key.lower(), value.strip()
        if not colon or not value or line[:1] in (" ", "\t", "#"):
            continue
        if name == "spec-version":
            said["specVersion"] = value
        elif name in ("site-name", "site-url"):
            said["site"][name.removeprefix("site-")] = value
        elif name in _POLICIES and value.lower() in WORDS:
            said["policies"][name] = value.lower()
        elif name in ("training-allow", "training-deny"):
            said["trainingPaths"][name.removeprefix("training-")].append(value)
    return said


def read_json(text: str) -> dict[str, Any]:
    """The statement of an ai.json. Raises ValueError when it is no JSON object."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError("must be an object")
    said = _empty()
    if isinstance(found.get("specVersion"), str):
        said["specVersion"] = found["specVersion"]
    said["site"] = {name: word for name, word in _texts(found.get("site")) if name in ("name", "url")}
    said["policies"] = {
        name: word.lower()
        for name, word in _texts(found.get("policies"))
        if name in _POLICIES and word.lower() in WORDS
    }
    paths: object = found.get("trainingPaths")
    for word in ("allow", "deny"):
        globs: object = paths.get(word) if isinstance(paths, dict) else None
        said["trainingPaths"][word] = [one for one in globs if isinstance(one, str)] if isinstance(globs, list) else []
    return said


def training(said: Mapping[str, Any], path: str) -> str:
    """May what is at `path` be used to train AI: one of WORDS, or "" when nothing is said.

    The glob with the most letters counts, deny in case of a tie; stars are any run of characters. The draft leaves
    both open.
    """
    canonical = tdmrep.canonical_address(path.partition("?")[0])
    most, word = -1, str(said["policies"].get("training", ""))
    for stated in ("deny", "allow"):
        for glob in said["trainingPaths"][stated]:
            letters = len(glob.replace("*", ""))
            if letters > most and pattern_matches(f"{tdmrep.canonical(glob)}$", canonical):
                most, word = letters, stated
    return word


def _empty() -> dict[str, Any]:
    return {"specVersion": "", "site": {}, "policies": {}, "trainingPaths": {"allow": [], "deny": []}}


def _texts(table: object) -> Iterable[tuple[str, str]]:
    if isinstance(table, dict):
        yield from ((name, word) for name, word in table.items() if isinstance(name, str) and isinstance(word, str))

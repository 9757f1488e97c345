"""The files that make a policy, read and joined into one document of nodes.

One rule joins everything: what a file says itself comes first, then what it includes, in order. Lists follow one
another, an entry with a name takes the place of a later one of that name; in mappings the first word for a key wins.
A host's scope is to its file as a file is to what it includes.

The law: only regular files of bounded size are read, relative ones beside the file that asks (where symlinks lead,
so that all come from one snapshot of a mounted volume), shipped ones by name; nothing remote, nothing in circles.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from guard.documents import MAX_BYTES, Mapping, Node, Scalar, Sequence, read_document
from guard.errors import Problem

MAX_INCLUDES = 64
MAX_DEPTH = 8
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[^/?#%*]++)++")

_LISTS = ("routes", "limits", "rules", "ladder", "examples", "hosts")
_MAPPINGS = (
    "site",
    "preferences",
    "agents",
    "on_store_failure",
    "rights",
    "terms",
    "catalogue",
    "verification",
    "detection",
)


@dataclass
class Sources:
    """What was read: the joined document (None when it could not be), every problem, every file, and a digest."""

    document: Mapping | None = None
    problems: list[Problem] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    digest: str = ""


def shipped_folder() -> Path:
    """Where the policies that ship with the guard are."""
    here = Path(__file__).parent
    return here / "_policies" if (here / "_policies").is_dir() else here.parent / "policies"


def read_bytes(path: Path) -> bytes:
    """A regular file of bounded size, without ever waiting for it. Raises OSError, ValueError when it is too large."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(22, "not a regular file", str(path))
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES // 1024} KiB")
    return content


def read_sources(text: str, file: str, path: Path | None = None) -> Sources:
    """The document in `text` with all that it includes. `file` is for messages; `path` is where the text came from,
    with symlinks resolved: relative files are sought beside it."""
    reader = _Reader()
    if path is not None:
        reader.sources.files.append(str(path))
    document = reader.document(text, file, path, ())
    sources = reader.sources
    if document is not None:
        sources.document = document
    sources.digest = reader.hash.hexdigest()[:12]
    return sources


def join(own: Mapping, others: Iterable[Mapping]) -> Mapping:
    """`own`, then what the others add to it."""
    blocks: dict[str, tuple[Scalar, Node]] = {key.text: (key, node) for key, node in own.entries}
    for other in others:
        for key, node in other.entries:
            if key.text not in blocks:
                blocks[key.text] = (key, node)
            else:
                first, said = blocks[key.text]
                blocks[key.text] = (first, _join_block(key.text, said, node))
    return Mapping(tuple(blocks.values()), own.line, own.file)


def _join_block(name: str, own: Node, other: Node) -> Node:
    if name in _LISTS and isinstance(own, Sequence) and isinstance(other, Sequence):
        taken = {named for item in own.items if (named := _name_of(item))}
        rest = tuple(item for item in other.items if _name_of(item) not in taken)
        return Sequence(own.items + rest, own.line, own.file)
    if name in _MAPPINGS and isinstance(own, Mapping) and isinstance(other, Mapping):
        said = {key.text for key, _ in own.entries}
        rest_of = tuple(entry for entry in other.entries if entry[0].text not in said)
        return Mapping(own.entries + rest_of, own.line, own.file)
    return own


def _name_of(item: Node) -> str | None:
    named = item.get("name") if isinstance(item, Mapping) else None
    return named.text if isinstance(named, Scalar) else None


def without(document: Mapping, *names: str) -> Mapping:
    """The document without these blocks."""
    kept = tuple(entry for entry in document.entries if entry[0].text not in names)
    return Mapping(kept, document.line, document.file)


class _Reader:
    def __init__(self) -> None:
        self.sources = Sources()
        self.hash = hashlib.sha256()
        self._seen: set[str] = set()

    def refuse(self, node: Node, message: str) -> None:
        self.sources.problems.append(Problem(node.file, node.line, message))

    def document(self, text: str, file: str, path: Path | None, chain: tuple[str, ...]) -> Mapping | None:
        """One file and all that it includes, joined. None when it is no mapping: the problem is noted."""
        self.hash.update(text.encode("utf-8", "surrogatepass"))
        node, problems = read_document(text, file)
        self.sources.problems += problems
        if node is None:
            return None
        if not isinstance(node, Mapping):
            self.refuse(node, "expected a mapping (key: value)")
            return None
        included: list[Mapping] = []
        for item in self._names(node.get("include")):
            found = self._include(item, path, (*chain, str(path)))
            if found is not None:
                included.append(without(found, "version"))
        return join(self._expanded(without(node, "include")), included)

    def _names(self, node: Node | None) -> list[Scalar]:
        if node is None:
            return []
        items = node.items if isinstance(node, Sequence) else (node,)
        for item in items:
            if not isinstance(item, Scalar):
                self.refuse(item, "include: expected the name of a file or of a shipped snippet")
        return [item for item in items if isinstance(item, Scalar)]

    def _include(self, item: Scalar, within: Path | None, chain: tuple[str, ...]) -> Mapping | None:
        path = self._find(item, within.parent if within else None)
        if path is None:
            return None
        key = str(path)
        if key in chain:
            round_trip = " > ".join(Path(one).name for one in (*chain[chain.index(key) :], key))
            self.refuse(item, f"include: '{item.text}' includes itself ({round_trip})")
            return None
        if key in self._seen:  # by two ways: once is enough
            return None
        if len(chain) > MAX_DEPTH or len(self._seen) >= MAX_INCLUDES:
            self.refuse(item, f"include: more than {MAX_DEPTH} deep or {MAX_INCLUDES} files")
            return None
        self._seen.add(key)
        text = self._text(path, item)
        if text is None:
            return None
        found = self.document(text, key, path, chain)
        if found is not None:
            edition = found.get("version")
            if not (isinstance(edition, Scalar) and edition.text == "1"):
                self.refuse(edition or found, "'version: 1' is required in an included file, too")
        return found

    def _find(self, item: Scalar, beside: Path | None) -> Path | None:
        """The file that an entry of `include` names."""
        name = item.text
        if "://" in name:
            self.refuse(item, f"include: '{name}' is remote: only files beside this one and shipped snippets are read")
        elif name.startswith(("/", "~")):
            self.refuse(item, f"include: '{name}': write it relative to this file")
        elif not name.endswith((".yaml", ".yml")):
            return self._shipped("snippets", name, "snippet", item, "include: ")
        elif beside is None:
            self.refuse(item, f"include: '{name}': this policy is no file, so nothing stands beside it")
        else:
            path = beside / name
            try:
                if path.is_file():
                    return path.resolve()
                known = [file.name for file in path.parent.iterdir() if file.suffix == path.suffix]
                what = "is no regular file" if path.exists() else f"is not there{_near(path.name, known)}"
            except (OSError, ValueError) as error:
                what = f"cannot be read: {getattr(error, 'strerror', None) or error}"
            self.refuse(item, f"include: '{name}' {what}")
        return None

    def _shipped(self, folder: str, name: str, what: str, item: Node, where: str) -> Path | None:
        shelf = shipped_folder() / folder
        known = sorted(path.stem for path in shelf.glob("*.yaml"))
        if name in known:
            return shelf / f"{name}.yaml"
        meant = _near(name, known) or f" (one of: {', '.join(known)})"
        self.refuse(item, f"{where}unknown {what} '{name}'{meant}")
        return None

    def _text(self, path: Path, item: Node) -> str | None:
        self.sources.files.append(str(path))
        try:
            return read_bytes(path).decode("utf-8")
        except UnicodeDecodeError as error:
            self.sources.problems.append(Problem(str(path), 0, f"not UTF-8 text: {error.reason}"))
        except ValueError as error:
            self.sources.problems.append(Problem(str(path), 0, str(error)))
        except OSError as error:
            self.refuse(item, f"'{path}' cannot be read: {error.strerror}")
        return None

    # -- presets of routes -------------------------------------------------------------------------------

    def _expanded(self, document: Mapping) -> Mapping:
        """The document with each `preset:` among its routes, and among those of its hosts, written out."""
        entries: list[tuple[Scalar, Node]] = []
        for key, node in document.entries:
            if key.text == "routes" and isinstance(node, Sequence):
                node = self._routes(node)
            elif key.text == "hosts" and isinstance(node, Sequence):
                scopes = tuple(self._expanded(item) if isinstance(item, Mapping) else item for item in node.items)
                node = Sequence(scopes, node.line, node.file)
            entries.append((key, node))
        return Mapping(tuple(entries), document.line, document.file)

    def _routes(self, routes: Sequence) -> Sequence:
        items: list[Node] = []
        for item in routes.items:
            preset = item.get("preset") if isinstance(item, Mapping) else None
            if not isinstance(item, Mapping) or preset is None:
                items.append(item)
                continue
            for key, _ in item.entries:
                if key.text not in ("preset", "under"):
                    self.refuse(key, f"routes: '{key.text}' does not go with 'preset'")
            under = item.get("under")
            if not isinstance(preset, Scalar) or (under is not None and not isinstance(under, Scalar)):
                self.refuse(item, "routes: 'preset' and 'under' must each be one word")
                continue
            prefix = under.text.rstrip("/") if isinstance(under, Scalar) else ""
            if under is not None and not _PREFIX.fullmatch(prefix):
                self.refuse(under, f"routes: under '{under.text}': write the prefix like /music")
                continue
            path = self._shipped("routes", preset.text, "preset", preset, "routes: ")
            if path is not None:
                items += self._preset(path, prefix, preset)
        return Sequence(tuple(items), routes.line, routes.file)

    def _preset(self, path: Path, prefix: str, item: Scalar) -> list[Node]:
        text = self._text(path, item)
        if text is None:
            return []
        self.hash.update(text.encode())
        node, problems = read_document(text, str(path))
        self.sources.problems += problems
        routes = node.get("routes") if isinstance(node, Mapping) else None
        if not isinstance(routes, Sequence):
            return []
        return [_under(entry, prefix) for entry in routes.items] if prefix else list(routes.items)


def _near(word: str, known: Iterable[str]) -> str:
    """A guess at which of the known was meant; "" when none is near."""
    near = get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return f", did you mean '{near[0]}'?" if near else ""


def _under(entry: Node, prefix: str) -> Node:
    """A route with `prefix` before each of its paths."""
    if not isinstance(entry, Mapping):
        return entry
    entries: list[tuple[Scalar, Node]] = []
    for key, node in entry.entries:
        if key.text == "paths" and isinstance(node, Sequence):
            node = Sequence(tuple(_moved(item, prefix) for item in node.items), node.line, node.file)
        elif key.text == "paths":
            node = _moved(node, prefix)
        entries.append((key, node))
    return Mapping(tuple(entries), entry.line, entry.file)


def _moved(node: Node, prefix: str) -> Node:
    return node._replace(text=prefix + node.text) if isinstance(node, Scalar) else node

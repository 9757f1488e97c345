"""Registers for few works: a YAML file that people write, and one in memory.

The law: a file is taken whole or not at all. All its problems are told at once, with line, key and what was meant;
a changed file with problems changes nothing.

    version: 1
    works:
      artist:11: {preferences: {train-ai: disallow}, contact: "mailto:rights@label.example"}
      release:5: {parents: [artist:11]}
      track:1001: {parents: [release:5, artist:11], preferences: {voice: {ai-use: open}}}
"""

from __future__ import annotations

import logging
import os
from bisect import bisect_right, insort
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from guard.documents import MAX_BYTES, Node, Scalar, Sequence, read_document
from guard.documents import Mapping as Table
from guard.errors import ChoiceError, Problem, RegisterError
from guard.nodes import guess
from guard.protocols import Change, Known, Listed
from guard.registers.looking import Looking
from guard.registers.rows import RANK, check_parents, path_of, problems_of, read_parents
from guard.registers.sqlite import Moment, from_ms, nothing_known, signed, to_ms, until_ms
from guard.rights import HOLDINGS, Choice, Work, check_work, climb, read_choice, read_work

Entry = tuple[Choice | None, tuple[Work, ...]]

_log = logging.getLogger("guard.rights")
_KEYS = ("version", "works")


class PlainRegisterError(RegisterError):
    """A register file was refused. `problems` is never empty and is sorted by line."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class _Entries:
    """Works in memory, asked as a source is."""

    def __init__(self, entries: Mapping[Work, Entry]) -> None:
        self._entries: dict[Work, Entry] = dict(entries)

    def find(self, works: tuple[Work, ...]) -> Known:
        return Known(climb(works, self._entries.get))

    def entry(self, work: Work) -> Entry | None:
        """What is in force for the work itself, and its parents; None when it is not known."""
        return self._entries.get(work)

    def listed(self, limit: int) -> Listed:
        told = [(work, choice) for work, (choice, _) in self._entries.items() if choice is not None]
        told.sort(key=lambda pair: (RANK[pair[0].layer], -pair[1].at_s, _order(pair[0])))
        works = tuple((work, climb((work,), self._entries.get)) for work, _ in told[: max(0, limit)])
        return Listed(works, len(told))

    def entries(self) -> Iterator[tuple[Work, Choice | None, tuple[Work, ...]]]:
        """Everything in force, in the order of layers and ids."""
        for work in sorted(self._entries, key=_order):
            yield (work, *self._entries[work])

    def stats(self) -> dict[str, object]:
        """Keys: works and choices (by layer), changes, bytes, newest_s (None when nothing was ever noted)."""
        works = {layer: sum(work.layer == layer for work in self._entries) for layer in HOLDINGS}
        told = [work for work, (choice, _) in self._entries.items() if choice is not None]
        choices = {layer: sum(work.layer == layer for work in told) for layer in HOLDINGS}
        newest = max((choice.at_s for choice, _ in self._entries.values() if choice is not None), default=None)
        return {
            "works": {layer: number for layer, number in works.items() if number},
            "choices": {layer: number for layer, number in choices.items() if number},
            "changes": 0,
            "bytes": 0,
            "newest_s": newest,
        }


def _order(work: Work) -> tuple[int, bool, int, str]:
    """As the SQLite register orders them: the widest layer first, numbers before other ids."""
    name = work.id
    number = name.isdigit() and name.isascii() and len(name) <= 18 and (name[0] != "0" or len(name) == 1)
    return RANK[work.layer], not number, int(name) if number else 0, name


class MemoryRegister(_Entries):
    """A register of one process, for tests and small applications; it implements `Register`.

    `entries`: work -> what its holder said (None: nothing) and what stands above it.
    """

    def __init__(self, entries: Mapping[Work, Entry] | None = None) -> None:
        super().__init__(entries or {})
        self._changes: list[Change] = []
        self._moments: list[Moment] = []
        self._noting = Lock()
        self._different = False
        self._looking = Looking(self._look)
        for work, (choice, parents) in self._entries.items():
            check_parents(check_work(*work), parents)
            if choice is not None:
                self._note(Change(choice.at_s, work, choice, choice.by, choice.reason))

    def heed(self, changed: Callable[[], None]) -> None:
        self._looking.heed(changed)

    async def open(self) -> None:
        self._looking.begin()

    async def close(self) -> None:
        self._looking.end()

    def _look(self) -> bool:
        different, self._different = self._different, False
        return different

    def put(self, change: Change, parents: tuple[Work, ...] | None = None) -> None:
        try:
            work = check_work(*change.work)
            check_parents(work, parents or ())
        except ChoiceError as error:
            raise RegisterError(f"{change.work} cannot be noted: {error}") from None
        change = change._replace(at_s=to_ms(change.at_s) / 1000)
        change = change._replace(choice=signed(change))
        _, before = self._entries.get(work, (None, ()))
        self._note(change)
        self._entries[work] = (change.choice, before if parents is None else parents)
        self._different = True
        self._looking.hurry()

    def _note(self, change: Change) -> None:
        with self._noting:
            self._changes.append(change)
            insort(self._moments, (to_ms(change.at_s), len(self._changes)))

    def at(self, works: tuple[Work, ...], moment_s: float) -> Known:
        def look(work: Work) -> Entry | None:
            now = self._entries.get(work)
            if now is None:
                return None
            told = [change for change in self.history(work) if to_ms(change.at_s) <= until_ms(moment_s)]
            return (told[-1].choice if told else None), now[1]

        return Known(climb(works, look))

    def history(self, work: Work) -> tuple[Change, ...]:
        return tuple(change for change in self._changes if change.work == work)

    def changes(self, since_s: float, limit: int) -> tuple[Change, ...]:
        return tuple(change for _, change in self.later((from_ms(since_s), 0), limit))

    def later(self, after: Moment, limit: int) -> tuple[tuple[Moment, Change], ...]:
        start = bisect_right(self._moments, after)
        return tuple((moment, self._changes[moment[1] - 1]) for moment in self._moments[start : start + max(0, limit)])

    def stats(self) -> dict[str, object]:
        newest = max((change.at_s for change in self._changes), default=None)
        return {**super().stats(), "changes": len(self._changes), "newest_s": newest}


class PlainRegister(_Entries):
    """The YAML file at `path`, which may come later. Raises PlainRegisterError when it is there and has problems.

    `lenient`: then it is away until they are mended, for a process that is started anew must live with what it finds.
    """

    def __init__(self, path: str | os.PathLike[str], *, lenient: bool = False) -> None:
        super().__init__({})
        self.path = Path(path).absolute()
        self._name = os.fspath(path)
        self._state = "away"
        self._looking = Looking(self._look)
        self._seen = _stamp(self.path)
        try:
            self._take()
        except OSError:
            pass
        except PlainRegisterError as error:
            if not lenient:
                raise
            _log.error("the register: REFUSED, it is away until this is mended\n  %s", _cut(error.problems))

    def __repr__(self) -> str:
        return f"PlainRegister({str(self.path)!r})"

    def find(self, works: tuple[Work, ...]) -> Known:
        try:
            return Known(climb(works, self._entries.get), self._state)
        except Exception:  # noqa: BLE001  # whatever is asked for, a request goes on
            return nothing_known(works)

    def entry(self, work: Work) -> Entry | None:
        """What is in force for the work itself, and its parents. Raises RegisterError when there is no file."""
        self._need()
        return super().entry(work)

    def entries(self) -> Iterator[tuple[Work, Choice | None, tuple[Work, ...]]]:
        """Everything in force, in the order of layers and ids. Raises RegisterError when there is no file."""
        self._need()
        return super().entries()

    def stats(self) -> dict[str, object]:
        """See `MemoryRegister.stats`. Raises RegisterError when there is no file."""
        self._need()
        return super().stats()

    def _need(self) -> None:
        if self._state == "away":
            raise RegisterError(f"{self.path}: no such file, or it cannot be read, or it has problems")

    def heed(self, changed: Callable[[], None]) -> None:
        self._looking.heed(changed)

    async def open(self) -> None:
        if self._state == "away":
            _log.warning("the register is away: %s", self.path)
        self._looking.begin()

    async def close(self) -> None:
        self._looking.end()

    def _take(self) -> None:
        with self.path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw[: error.start].count(b"\n") + 1
            raise PlainRegisterError((Problem(self._name, line, "not valid UTF-8"),)) from None
        self._entries = read_entries(text, self._name)
        self._state = "known"

    def _look(self) -> bool:
        """Whether the file says something else now. A file that is away or has problems changes nothing."""
        seen = _stamp(self.path)
        if seen == self._seen:
            return False
        self._seen = seen
        before, state = self._entries, self._state
        try:
            self._take()
        except PlainRegisterError as error:
            _log.error("the register: REFUSED, what was read before stays in force\n  %s", _cut(error.problems))
        except OSError as error:
            self._state = "stale" if state != "away" else "away"
            _log.warning("the register is away: %s (%s)", error.strerror or error, self.path)
        return (self._entries, self._state) != (before, state)


def _stamp(path: Path) -> tuple[int, ...]:
    """What tells one content of a file from another."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _cut(problems: tuple[Problem, ...]) -> str:
    more = [f"and {len(problems) - 100} more"] if len(problems) > 100 else []
    return "\n  ".join([*(str(one) for one in problems[:100]), *more])


# -- reading -----------------------------------------------------------------------------------------------


def read_entries(text: str, file: str) -> dict[Work, Entry]:
    """What the text of a register file says. Raises PlainRegisterError with all its problems."""
    document, found = read_document(text, file)
    problems = [problem for problem in found if problem.level == "error"]
    entries: dict[Work, Entry] = {}
    if document is not None:
        entries = _read_document(document, file, problems)
    if problems:
        raise PlainRegisterError(tuple(sorted(problems, key=lambda one: one.line)))
    return entries


def _read_document(document: Node, file: str, problems: list[Problem]) -> dict[Work, Entry]:
    def refuse(node: Node, message: str) -> None:
        problems.append(Problem(file, node.line, message))

    if not isinstance(document, Table):
        refuse(document, "expected a mapping: version: 1, works: {…}")
        return {}
    for key, _ in document.entries:
        if key.text not in _KEYS:
            refuse(key, f"unknown key '{key.text}'{guess(key.text, _KEYS)}")
    version = document.get("version")
    if not isinstance(version, Scalar) or version.text != "1":
        refuse(version or document, "needs 'version: 1'")
    works = document.get("works")
    if works is None or (isinstance(works, Scalar) and _is_nothing(works)):
        return {}
    if not isinstance(works, Table):
        refuse(works, "works: expected a mapping, like track:1001: {preferences: {train-ai: disallow}}")
        return {}
    entries: dict[Work, Entry] = {}
    for name, node in works.entries:
        try:
            work = read_work(name.text)
        except ChoiceError as error:
            refuse(name, f"{name.text}: {error.message}")
            continue
        entries[work] = _read_entry(work, node, file, problems)
    return entries


def _read_entry(work: Work, node: Node, file: str, problems: list[Problem]) -> Entry:
    said = plain_value(node)
    if said is None:
        return None, ()
    parents: tuple[Work, ...] = ()
    found: list[ChoiceError] = []
    if isinstance(said, dict) and "parents" in said:
        names = said.pop("parents")
        try:
            parents = read_parents([names] if isinstance(names, str) else names or [])
            check_parents(work, parents)
        except ChoiceError as error:
            found.append(ChoiceError("parents", error.message))
        if not said and not found:
            return None, parents
    if said:
        found += problems_of(said)
    for one in found:
        where = f"{work}: {one.key}" if one.key else str(work)
        problems.append(Problem(file, _line_of(node, one.key), f"{where}: {one.message}"))
    return (read_choice(said) if said and not found else None), parents


def plain_value(node: Node) -> Any:
    """Dicts, lists and text; what is written as nothing, ~ or null is None."""
    if isinstance(node, Scalar):
        return None if _is_nothing(node) else node.text
    if isinstance(node, Sequence):
        return [plain_value(item) for item in node.items]
    return {key.text: plain_value(value) for key, value in node.entries}


def _is_nothing(node: Scalar) -> bool:
    return not node.quoted and node.text in ("", "~", "null")


def _line_of(node: Node, key: str) -> int:
    """The line of what a problem names, or of the nearest that encloses it."""
    line = node.line
    for step in path_of(key) if key else ():
        found: list[tuple[int, Node]] = []
        if isinstance(node, Table):
            found = [(name.line, value) for name, value in node.entries if name.text == step]
        elif isinstance(node, Sequence) and isinstance(step, int):
            found = [(item.line, item) for item in node.items[step : step + 1]]
        if not found:
            return line
        line, node = found[0]
    return line

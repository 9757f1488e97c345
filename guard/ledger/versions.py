"""The record of terms: which terms a policy gave the public, from when until when, and since when that was announced.

The law: nothing is ever taken out or written over. The file holds JSON Lines; one line is one write, flushed to the
disk while the file is locked (flock), and carries its own hash and that of the line before it: a past that somebody
has rewritten is noticed by `verify`. A last line that was cut off by a crash never counted; the next writer takes it
away. What was read once is not forgotten: a file that vanishes or loses its end is written again from memory, and one
that tells another past is refused. Time is an argument, and in the record it only goes forward: what comes with an
earlier moment than the last line is noted at the last line's.

Many processes may read one file, each with `poll`; those that write lock it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

from guard.classify import Catalogue
from guard.directives.words import (
    Coming,
    Terms,
    Version,
    announced_before,
    canonical,
    coming,
    differences,
    hash_of,
    in_force,
    loosened,
    notice_promised,
    read_terms,
    terms_of,
    too_soon,
    upcoming,
    write_terms,
)
from guard.errors import RegisterError
from guard.moments import read_moment, write_moment
from guard.policy import Policy

MAX_VERSIONS = 10_000
"""So many lines a record has at most; then the guard must be stopped, the record put aside and a new one begun."""
MAX_LINE_BYTES = 256 * 1024
MAX_FILE_BYTES = 512 * 1024 * 1024
MAX_NOTES = 100
_START = "0" * 64
"""What stands before the first line."""

Entry = dict[str, Any]


class _Line(NamedTuple):
    """One line that can be used; `version` is what it adds, None = it takes the version called `id` back."""

    scope: str
    id: str
    at_s: float
    version: Version | None
    hash: str
    text: bytes


class Versions:
    """The record at `path`; None keeps it in memory, for who has no place to keep it. Not for several threads at once.

    `notes` say what was found wrong in the file, in words; what can be read is used all the same.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self.path = None if path is None else Path(path)
        self.notes: list[str] = []
        self._descriptor: int | None = None  # of the file, while it is locked
        self._file = (0, 0)
        self._seen_bytes = 0
        self._offset = 0  # behind the last whole line
        self._number = 0
        self._lines: deque[_Line] = deque(maxlen=MAX_VERSIONS)
        self._missing: tuple[_Line, ...] = ()  # the last of them, which the file does not hold any more
        self._head = _START
        self._last_s = -inf
        self._made: dict[str, tuple[Version, ...]] = {}

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None) -> Versions:
        """The record in a file, which need not be there yet. Raises RegisterError when it cannot be read."""
        versions = cls(path)
        versions.poll()
        return versions

    # -- reading -----------------------------------------------------------------------------------------

    def poll(self) -> bool:
        """See whether somebody has written; True when there is something new. Raises RegisterError.

        What was read before stays known, also when the file is gone.
        """
        if self.path is None:
            return False
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._lose()
            return False
        except OSError as error:
            raise RegisterError(f"{self.path}: cannot be read: {error.strerror}") from None
        file = (found.st_dev, found.st_ino)
        if (file, found.st_size) == (self._file, self._seen_bytes):
            return False
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise RegisterError(f"{self.path}: cannot be read: {error.strerror}") from None
        try:
            return self._read(descriptor)
        finally:
            os.close(descriptor)

    def all(self, scope: str = "") -> tuple[Version, ...]:
        """Every version of a host (see `scope_of`), the newest announcement first."""
        found = self._made.get(scope)
        if found is None:
            found = self._made[scope] = _versions(line for line in self._lines if line.scope == scope)
        return found

    def scopes(self) -> tuple[str, ...]:
        """The hosts with versions of their own, "" = all others."""
        return tuple(dict.fromkeys(line.scope for line in self._lines))

    def in_force(self, now_s: float, scope: str = "") -> Version | None:
        return in_force(self.all(scope), now_s)

    def promised(self, now_s: float) -> bool:
        """Whether some notice is owed by what is known, for any host."""
        return any(notice_promised(self.all(scope), max(now_s, self._last_s)) for scope in self.scopes())

    @property
    def head(self) -> str:
        """The hash of the newest line: who has kept it can tell later whether everything up to it is still so."""
        return self._head

    def too_soon(self, policy: Policy, catalogue: Catalogue, now_s: float) -> str | None:
        """Why a policy may not be taken now: it opens something reserved earlier than was promised. None = it may."""
        for scope, one in _scopes(policy):
            now = max(now_s, self._last_s)
            why = judge(self.all(scope), terms_of(one, catalogue, now), coming(one, catalogue, now), now)
            if why is not None:
                return f"{scope}: {why}" if scope else why
        return None

    # -- writing -----------------------------------------------------------------------------------------

    def uphold(self, now_s: float) -> None:
        """See to it that the file is there, can be written and holds all that is known. Raises RegisterError."""
        with self._writing(now_s):
            pass

    def keep(self, policy: Policy, catalogue: Catalogue, now_s: float) -> tuple[Version, ...]:
        """Note what a policy says now and what its dates announce, for each of its hosts; what was new of it.

        Raises RegisterError when the file cannot be written; then what was written before stays.
        """
        said = [
            (scope, one, terms_of(one, catalogue, now_s), coming(one, catalogue, now_s))
            for scope, one in _scopes(policy)
        ]
        found: list[Version] = []
        for scope, one, terms, ahead in said:
            noted = self.note(one, terms, now_s, scope)
            found += [noted] if noted else []
            found += self.announce(one, ahead, now_s, scope)
        return tuple(found)

    def note(self, policy: Policy, terms: Terms, now_s: float, scope: str = "") -> Version | None:
        """Note the terms in force now; None when they are those that are in force by the record already."""
        with self._writing(now_s) as now:
            current = in_force(self.all(scope), now)
            if current is not None and current.terms_hash == hash_of(terms):
                return None
            before = current.terms if current else None
            return self._add_version(policy, Coming(now, terms), before, now, now, scope)

    def announce(self, policy: Policy, ahead: Sequence[Coming], now_s: float, scope: str = "") -> tuple[Version, ...]:
        """Note what is coming, and take back what was announced and is not coming any more.

        An announcement keeps its first date while it opens nothing more and nothing earlier. Call `note` first.
        """
        with self._writing(now_s) as now:
            versions = self.all(scope)
            current = in_force(versions, now)
            pending = list(upcoming(versions, now))
            steps = _steps(current.terms if current else None, ahead, now)
            wanted = {(round(step.start_s, 3), hash_of(step.terms), step.changes) for step in steps}
            kept = {(one.start_s, one.terms_hash, one.changes) for one in pending} & wanted
            for one in pending:
                if (one.start_s, one.terms_hash, one.changes) not in kept:
                    self._add({"kind": "withdrawal", "id": one.id, "at": write_moment(now)}, scope)
            fresh = all(one.start_s >= now for one in versions)  # what a record begins with was announced elsewhere
            found = []
            for step in steps:
                if (round(step.start_s, 3), hash_of(step.terms), step.changes) in kept:
                    continue
                announced_s = announced_before(pending, step.opens, step.start_s, now)
                if fresh and step.claimed_s is not None:
                    announced_s = min(announced_s, step.claimed_s)
                known = Coming(step.start_s, step.terms)
                found.append(self._add_version(policy, known, step.before, announced_s, now, scope))
            return tuple(found)

    def _add_version(
        self, policy: Policy, known: Coming, before: Terms | None, announced_s: float, now_s: float, scope: str
    ) -> Version:
        count = sum(line.version is not None for line in self._lines if line.scope == scope)
        name = f"v{count + 1}"
        self._add(
            {
                "kind": "version",
                "id": name,
                "at": write_moment(now_s),
                "policy": policy.version,
                "announced": write_moment(announced_s),
                "start": write_moment(known.start_s),
                "changes": list(differences(before, known.terms)) if before else [],
                "loosened": list(loosened(before, known.terms)) if before else [],
                "terms_hash": hash_of(known.terms),
                "terms": write_terms(known.terms),
            },
            scope,
        )
        return next(one for one in self.all(scope) if one.id == name)

    @contextmanager
    def _writing(self, now_s: float) -> Iterator[float]:
        """The file locked and read to its end; gives the moment to note. Within, `_add` writes."""
        if self._descriptor is not None:
            raise RegisterError("the record is being written already")
        if self.path is None:
            yield max(round(now_s, 3), self._last_s)
            return
        try:
            self._descriptor = self._lock()
            self._read(self._descriptor)
            self._mend(self._descriptor)
            self._put_back()
            yield max(round(now_s, 3), self._last_s)
        except OSError as error:
            raise RegisterError(f"{self.path}: cannot be written: {error.strerror or error}") from None
        finally:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _lock(self) -> int:
        """The file, made when it is not there, with the lock on it; it is still the one under this name."""
        assert self.path is not None
        while True:
            there = self.path.exists()
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = os.open(self.path, flags, 0o644)
            try:
                ours = os.fstat(descriptor)
                if not stat.S_ISREG(ours.st_mode):
                    raise RegisterError(f"{self.path}: is not a regular file")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                with suppress(FileNotFoundError):
                    if os.path.samestat(ours, self.path.stat()):
                        if not there:
                            _sync_folder(self.path.parent)
                        return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _mend(self, descriptor: int) -> None:
        """Take away what stands behind the last whole line: a write that never came to its end."""
        end = os.fstat(descriptor).st_size
        if end > self._offset:
            os.ftruncate(descriptor, self._offset)
            os.fsync(descriptor)
            self._tell(f"{end - self._offset} bytes of a write that was cut off were taken away from the end")
            self._seen_bytes = self._offset

    def _add(self, entry: Entry, scope: str) -> None:
        """One line, on the disk when this comes back."""
        if len(self._lines) >= MAX_VERSIONS:
            raise RegisterError(
                f"{self.path or 'the record'}: is full ({MAX_VERSIONS} lines): stop the guard and put it aside"
            )
        whole = {**entry, "scope": scope, "before": self._head}
        whole["hash"] = _hash(whole)
        line = (canonical(whole) + "\n").encode("utf-8", "backslashreplace")
        if len(line) > MAX_LINE_BYTES:
            raise RegisterError(f"{self.path or 'the record'}: these terms are too long to be noted")
        if self._descriptor is not None:
            self._append(self._descriptor, line)
        self._take(whole, line)

    def _append(self, descriptor: int, line: bytes) -> None:
        written = os.write(descriptor, line)
        if written != len(line):
            os.ftruncate(descriptor, self._offset)
            raise RegisterError(f"{self.path}: cannot be written: no room for a whole line")
        os.fsync(descriptor)
        self._offset += written
        self._seen_bytes = self._offset

    def _put_back(self) -> None:
        """Write what the file has lost, from memory."""
        if not self._missing or self._descriptor is None:
            return
        count = len(self._missing)
        while self._missing:
            self._append(self._descriptor, self._missing[0].text)
            self._missing = self._missing[1:]
        self._tell(f"the file was gone or cut short: {count} lines were written again from memory")

    # -- lines -------------------------------------------------------------------------------------------

    def _lose(self) -> None:
        """The file is gone; what it held is not."""
        self._file = (0, 0)
        self._seen_bytes = self._offset = self._number = 0
        self._missing = tuple(self._lines)

    def _forget(self) -> None:
        self._lose()
        self._missing = ()
        self._lines.clear()
        self._head, self._last_s = _START, -inf
        self._made = {}

    def _read(self, descriptor: int) -> bool:
        """Read what was added since the last time; everything, when it is another file. True when there was any."""
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise RegisterError(f"{self.path}: is not a regular file")
        if found.st_size > MAX_FILE_BYTES:
            raise RegisterError(f"{self.path}: is too large for a record")
        file = (found.st_dev, found.st_ino)
        anew = file != self._file or found.st_size < self._offset or bool(self._missing)
        known = tuple(self._lines)
        if anew:
            self._forget()
            self._file = file
        self._seen_bytes = found.st_size
        before = self._offset
        while self._offset < found.st_size:
            chunk = os.pread(descriptor, MAX_LINE_BYTES, self._offset)
            whole = chunk.rfind(b"\n") + 1
            if not whole:
                break  # torn, or still being written
            for line in chunk[:whole].splitlines(keepends=True):
                self._number += 1
                try:
                    self._take(_read_line(line), line)
                except ValueError as error:
                    self._tell(f"line {self._number} is passed over: {error}")
            self._offset += whole
        if anew:
            self._recall(known)
        return (anew and known != tuple(self._lines)) or self._offset > before

    def _recall(self, known: tuple[_Line, ...]) -> None:
        """Another file was read than the one from which `known` is: it may go on from there, or have lost its end."""
        found = tuple(self._lines)
        if any(one.hash != other.hash for one, other in zip(known, found, strict=False)):
            self._forget()  # the next look reads it again: the right one may come back
            for line in known:
                self._know(line)
            self._missing = known
            raise RegisterError(
                f"{self.path}: tells another past than it did: put the right file back, "
                "or take this one away and it is written again as it was"
            )
        self._missing = known[len(found) :]
        for line in self._missing:
            self._know(line)

    def _take(self, entry: Entry, text: bytes) -> None:
        if entry["before"] != self._head:
            self._tell(f"line {self._number or len(self._lines) + 1} does not follow the line before it")
        version = _version(entry) if entry["kind"] == "version" else None
        self._know(_Line(entry["scope"], entry["id"], _moment(entry, "at"), version, entry["hash"], text))

    def _know(self, line: _Line) -> None:
        self._head = line.hash
        self._last_s = max(self._last_s, line.at_s)
        self._lines.append(line)
        self._made.pop(line.scope, None)

    def _tell(self, note: str) -> None:
        if len(self.notes) < MAX_NOTES:
            self.notes.append(note)


# -- what follows from the lines -----------------------------------------------------------------------------


class _Step(NamedTuple):
    """One coming change beside what holds before it."""

    start_s: float
    before: Terms | None
    terms: Terms
    changes: tuple[str, ...]
    opens: tuple[str, ...]
    claimed_s: float | None


def _steps(current: Terms | None, ahead: Iterable[Coming], now_s: float) -> list[_Step]:
    found = []
    for one in sorted(ahead, key=lambda one: one.start_s):
        if one.start_s > now_s and one.terms != current:
            changes = differences(current, one.terms) if current else ()
            opens = loosened(current, one.terms) if current else ()
            found.append(_Step(one.start_s, current, one.terms, changes, opens, one.claimed_s))
            current = one.terms
    return found


def judge(versions: Sequence[Version], terms: Terms, ahead: Sequence[Coming], now_s: float) -> str | None:
    """Why these terms, and those ahead of them, may not follow what the record holds; None = they may.

    The notice that is owed is the longest that was promised, or is promised now. See `too_soon`.
    """
    current = in_force(versions, now_s)
    days = max(notice_promised(versions, now_s), terms.notice_days)
    if current is not None and (why := too_soon(current.terms, terms, days, now_s, now_s)) is not None:
        return why
    pending = upcoming(versions, now_s)
    for step in _steps(terms, ahead, now_s):
        announced_s = announced_before(pending, step.opens, step.start_s, now_s)
        if not versions and step.claimed_s is not None:
            announced_s = min(announced_s, step.claimed_s)
        if (why := too_soon(step.before or terms, step.terms, days, announced_s, step.start_s)) is not None:
            return why
    return None


def scope_of(policy: Policy) -> str:
    """What the record calls the host of a scope: the first of its names."""
    return policy.hosts[0] if policy.hosts else ""


def _scopes(policy: Policy) -> list[tuple[str, Policy]]:
    """A policy and those of hosts with words of their own, each with its name in the record."""
    return [("", policy), *((scope_of(scope), scope) for scope in policy.scopes)]


def _versions(lines: Iterable[_Line]) -> tuple[Version, ...]:
    """The lines of one scope as versions, the newest announcement first, each with its end."""
    made: list[Version] = []
    withdrawn: dict[str, float] = {}
    for line in lines:
        if line.version is None:
            withdrawn.setdefault(line.id, line.at_s)
        else:
            made.append(line.version)
    live = sorted((one for one in made if one.id not in withdrawn), key=lambda one: one.start_s)
    ends = {one.id: after.start_s for one, after in pairwise(live)}
    return tuple(
        one._replace(withdrawn_s=withdrawn[one.id], end_s=one.start_s)
        if one.id in withdrawn
        else one._replace(end_s=ends.get(one.id, inf))
        for one in reversed(made)
    )


def _version(entry: Entry) -> Version:
    return Version(
        id=entry["id"],
        policy_version=entry["policy"],
        terms_hash=entry["terms_hash"],
        announced_s=_moment(entry, "announced"),
        start_s=_moment(entry, "start"),
        end_s=inf,
        changes=tuple(entry["changes"]),
        loosened=tuple(entry["loosened"]),
        terms=read_terms(entry["terms"]),
        record=entry["hash"],
        scope=entry["scope"],
    )


# -- one line ------------------------------------------------------------------------------------------------

_TEXTS = {
    "version": ("id", "at", "policy", "announced", "start", "terms_hash"),
    "withdrawal": ("id", "at"),
}


def _read_line(line: bytes) -> Entry:
    """What one line says. Raises ValueError on what is none, or is not what was written."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(entry, dict) or entry.get("kind") not in _TEXTS:
        raise ValueError("it is no entry of this record")
    texts = (*_TEXTS[entry["kind"]], "scope", "before", "hash")
    if not all(isinstance(entry.get(key), str) for key in texts):
        raise ValueError("it is no entry of this record")
    if entry["hash"] != _hash(entry):
        raise ValueError("it was rewritten, or is damaged: its hash is another")
    _moment(entry, "at")
    if entry["kind"] == "version":
        lists = [entry.get("changes"), entry.get("loosened")]
        if not all(isinstance(one, list) and all(isinstance(text, str) for text in one) for one in lists):
            raise ValueError("it is no entry of this record")
        if not isinstance(entry.get("terms"), dict) or hash_of(_version(entry).terms) != entry["terms_hash"]:
            raise ValueError("its terms are not those of their hash")
    return entry


def _hash(entry: Entry) -> str:
    said = {key: value for key, value in entry.items() if key != "hash"}
    return hashlib.sha256(canonical(said).encode("utf-8", "backslashreplace")).hexdigest()


def _moment(entry: Entry, key: str) -> float:
    return read_moment(entry[key])


def _sync_folder(folder: Path) -> None:
    """So that a new file is still there after a crash."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def verify(path: str | os.PathLike[str]) -> list[str]:
    """All that is wrong with the record in a file, in words; [] = every line is as it was written, and none is missing.

    That lines were taken away from its end can only be seen with an older `head`. Raises RegisterError when the file
    cannot be read.
    """
    found: list[str] = []
    before, last_s, number = _START, -inf, 0
    counts: dict[str, int] = {}
    try:
        with Path(path).open("rb") as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if not line.endswith(b"\n"):
                    found.append(f"line {number} is cut off")
                    continue
                try:
                    entry = _read_line(line)
                except ValueError as error:
                    found.append(f"line {number}: {error}")
                    before = ""
                    continue
                if (canonical(entry) + "\n").encode("utf-8", "backslashreplace") != line:
                    found.append(f"line {number}: it says the same as it did, in another form")
                if before and entry["before"] != before:
                    found.append(f"line {number} does not follow the line before it: one was rewritten or taken out")
                if _moment(entry, "at") < last_s:
                    found.append(f"line {number} is older than the line before it")
                if entry["kind"] == "version":
                    name = f"v{counts.get(entry['scope'], 0) + 1}"
                    if before and entry["id"] != name:
                        found.append(f"line {number} is called {entry['id']} and should be {name}")
                    number_said = entry["id"][1:]  # after a line that says nothing, one goes on from the next
                    counts[entry["scope"]] = int(number_said) if number_said.isdecimal() else 0
                before, last_s = entry["hash"], max(last_s, _moment(entry, "at"))
    except OSError as error:
        raise RegisterError(f"{path}: cannot be read: {error.strerror or error}") from None
    return found

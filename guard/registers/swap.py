"""Many rows into a register at once: a new file beside the old one, which then takes its place.

The law of this file: until the moment of the swap the old file is what it was, whatever happens here; at no moment is
there none; and no change that was put while the new file was being built is lost.

    copy     the old file as it is, in short steps: who writes meanwhile is not kept waiting
    fill     all rows; what is different goes into the history
    swap     stop writers (SQLite's reserved lock), note what they have put meanwhile, sync, rename

`PATH.new-PID` is the file being built. One that nobody builds any more is removed by the next import.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import sqlite3
from collections.abc import Callable, Iterable
from operator import itemgetter
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from guard.errors import ChoiceError, RegisterError
from guard.protocols import Change
from guard.registers.rows import Row, check_parents
from guard.registers.sqlite import (
    Key,
    Place,
    Reader,
    add_note,
    find_saying,
    key_of,
    make_indexes,
    open_to_read,
    open_to_write,
    prepare,
    telling,
    to_ms,
    write_above,
    write_change,
    write_words,
)
from guard.rights import Choice, Work

BATCH = 20_000
_STEP_PAGES = 4_096
_MAX_RESTARTS = 3
_CACHE_KIB = 262_144
_KEPT = 50_000
_WASTE = 0.2
"""A file with a larger part of unused pages is written anew before it is put in place."""

_SCRATCH = ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", "secure_delete = OFF")
"""For a file that is thrown away when anything goes wrong."""

_FILL = (  # a row without words leaves those that are there, and so does one with the same words
    "INSERT INTO works (layer, id, parents, said, at, noted) VALUES (?1, ?2, coalesce(?3, ''), ?4, ?5, ?6) "
    "ON CONFLICT (layer, id) DO UPDATE SET parents = coalesce(?3, parents), said = coalesce(?4, said), "
    "at = CASE WHEN ?4 IS NULL OR said IS ?4 THEN at ELSE ?5 END, "
    "noted = CASE WHEN ?4 IS NULL OR said IS ?4 THEN noted ELSE ?6 END"
)
_NOW = "SELECT said, at, noted FROM works WHERE layer = ? AND id = ?"
_NOW_BEFORE = "SELECT said, at, noted FROM before WHERE layer = ? AND id = ?"
_KEEP_UNCHANGED = (
    "UPDATE works SET at = old.at, noted = old.noted FROM before AS old "
    "WHERE works.said IS NOT NULL AND works.layer = old.layer AND works.id = old.id AND works.said = old.said"
)
_ADD_CHANGED = (
    "INSERT INTO changes (at, layer, id, said, noted) "
    "SELECT at, layer, id, said, noted FROM works WHERE noted = ? ORDER BY layer, id"
)
_ADD_WITHDRAWN = (
    "INSERT INTO changes (at, layer, id, said, noted) SELECT ?, old.layer, old.id, NULL, ? FROM before AS old "
    "WHERE old.said IS NOT NULL AND NOT EXISTS (SELECT 1 FROM works "
    "WHERE works.layer = old.layer AND works.id = old.id AND works.said IS NOT NULL) ORDER BY old.layer, old.id"
)
_COUNT_GONE = (
    "SELECT count(*) FROM before AS old LEFT JOIN works AS new ON new.layer = old.layer AND new.id = old.id "
    "WHERE new.layer IS NULL OR (old.said IS NOT NULL AND new.said IS NULL)"
)
_COUNT_ALL = "INSERT INTO counts SELECT layer, count(*), count(said) FROM works GROUP BY layer"
_LATER = (
    "SELECT changes.at, changes.layer, changes.id, sayings.text, notes.by, notes.reason, changes.parents FROM changes "
    "JOIN notes ON notes.n = changes.noted LEFT JOIN sayings ON sayings.n = changes.said "
    "WHERE changes.seq > ? ORDER BY changes.seq"
)


class ImportReport(NamedTuple):
    """What an import did, or with `swapped` False would have done.

    `rows` were read; `works` and `choices` are in the register now, `works_before` were in it; `changed` choices are
    new or different, `withdrawn` are gone (only when all is replaced); `followed` changes were put meanwhile. Of the
    `choices_before`, and of all works, `gone` have lost their words or are not there any more.
    """

    rows: int
    works: int
    choices: int
    works_before: int
    changed: int
    withdrawn: int
    followed: int
    bytes: int
    seconds: float
    swapped: bool
    choices_before: int = 0
    gone: int = 0


def import_works(
    path: str | os.PathLike[str],
    rows: Iterable[Row],
    *,
    replace: bool = False,
    by: str = "",
    reason: str = "",
    at_s: float,
    progress: Callable[[int], None] | None = None,
    approve: Callable[[ImportReport], None] | None = None,
    dry_run: bool = False,
) -> ImportReport:
    """Bring rows into the register at `path`, all or none; the file is made when there is none.

    Of several rows for one work the last word counts, and the last that says what stands above it. `replace`: works
    without a row are gone, and so are choices without words; the history stays. A choice with the same words as
    before keeps its date. `at_s` (since 1970), `by` and `reason` are noted with each change. `progress` is called
    with the number of rows, now and then, and `approve` with what would become of the register. Raises RegisterError,
    and whatever `rows` or `approve` raises: then nothing is changed.
    """
    began = perf_counter()
    target = Path(path).resolve()
    with telling(target):
        _clean(target)
        new = target.with_name(f"{target.name}.new-{os.getpid()}")
        try:
            build = _Build(target, new, replace=replace, by=by, reason=reason, at_ms=to_ms(at_s))
            with contextlib.closing(build.connection):
                count = build.fill(rows, progress)
                report = build.finish(count)
            if approve is not None:
                approve(report)
            _sync(new)
            followed = 0
            if not dry_run:
                followed = _swap(target, new, build.copied, build.last_seq)
            size = (new if dry_run else target).stat().st_size
        finally:
            for left in (new, new.with_name(f"{new.name}-journal")):
                left.unlink(missing_ok=True)
    return report._replace(followed=followed, bytes=size, seconds=perf_counter() - began, swapped=not dry_run)


_Filled = tuple[int, "int | str", "str | None", "int | None", "int | None", "int | None"]


class _Build:
    """The new file while it is made. `copied` is the old file (None: there was none), `last_seq` its last change."""

    def __init__(self, target: Path, new: Path, *, replace: bool, by: str, reason: str, at_ms: int) -> None:
        self._replace, self._by, self._reason, self._at = replace, by, reason, at_ms
        # Whoever has the file open, only this process knows its name; when it is lost, nothing is.
        connection = sqlite3.connect(f"{new.as_uri()}?mode=rwc", uri=True, isolation_level=None)
        self.connection = connection
        self.copied: Place | None = None
        self.last_seq = 0
        try:
            if _is_there(target):
                self.copied = _copy(target, connection)
            for pragma in _SCRATCH:
                connection.execute(f"PRAGMA {pragma}").fetchone()
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            connection.execute("BEGIN")
            prepare(connection, new, indexes=False)
            self.last_seq = connection.execute("SELECT coalesce(max(seq), 0) FROM changes").fetchone()[0]
            counted = "SELECT coalesce(sum(works), 0), coalesce(sum(choices), 0) FROM counts"
            self._before, self._choices_before = connection.execute(counted).fetchone()
            self._noted = add_note(connection, by, reason)
            self._reader = Reader(connection)
            if replace:
                connection.execute("DROP INDEX IF EXISTS works_listed")
                columns = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'works'").fetchone()[0]
                connection.execute("ALTER TABLE works RENAME TO before")
                connection.execute(columns)
        except BaseException:
            connection.close()
            raise

    def fill(self, rows: Iterable[Row], progress: Callable[[int], None] | None) -> int:
        """All rows into `works`; gives how many there were."""
        count = 0
        batch: list[_Filled] = []
        kept: dict[int, tuple[Choice, int]] = {}  # the choice is kept, too, so that its id stays its own
        above: dict[tuple[str, tuple[Work, ...]], str] = {}
        pending: set[Key] = set()
        at, noted = self._at, self._noted
        for work, parents, choice in rows:
            count += 1
            written: str | None = None
            if parents is not None:
                written = above.get((work.layer, parents))
                if written is None:
                    check_parents(work, parents)
                    if len(above) >= _KEPT:
                        above.clear()
                    written = above[work.layer, parents] = write_above(parents)
            layer, name = key_of(work)
            if not layer:
                raise ChoiceError("layer", f"no register holds '{work.layer}'")
            if choice is None:
                batch.append((layer, name, written, None, None, None))
            else:
                if choice.by or choice.at_s or choice.reason:  # as an export writes it: perhaps it is so already
                    if (layer, name) in pending:
                        self._write(batch)
                        pending.clear()
                    pending.add((layer, name))
                    same = self._said_already((layer, name), choice)
                    if same is not None:
                        batch.append((layer, name, written, *same))
                        continue
                known = kept.get(id(choice))
                if known is None:
                    words = write_words(Change(at / 1000, work, choice, self._by, self._reason))
                    known = (choice, find_saying(self.connection, words))
                    if len(kept) >= _KEPT:
                        kept.clear()
                    kept[id(choice)] = known
                batch.append((layer, name, written, known[1], at, noted))
            if len(batch) >= BATCH:
                self._write(batch)
                pending.clear()
                if progress is not None:
                    progress(count)
        self._write(batch)
        if progress is not None:
            progress(count)
        return count

    def _said_already(self, key: Key, choice: Choice) -> tuple[int, int, int] | None:
        """Words, date and note of the work, when they are to the letter what is to be imported."""
        row = self.connection.execute(_NOW, key).fetchone()
        if row is None and self._replace:
            row = self.connection.execute(_NOW_BEFORE, key).fetchone()
        if row is None or row[0] is None:
            return None
        said, at, noted = row
        now = self._reader.choice(said, at, noted)
        by, reason = choice.by or now.by, choice.reason or now.reason
        at_s = round(choice.at_s, 3) or now.at_s
        return (said, at, noted) if now == dataclasses.replace(choice, by=by, at_s=at_s, reason=reason) else None

    def _write(self, batch: list[_Filled]) -> None:
        try:  # near each other in the file; of one work, the order stays
            batch.sort(key=itemgetter(0, 1))
        except TypeError:
            batch.sort(key=_order)
        self.connection.executemany(_FILL, batch)
        batch.clear()

    def finish(self, count: int) -> ImportReport:
        """History, counts and indexes; then the file is whole."""
        execute = self.connection.execute
        withdrawn = gone = 0
        if self._replace:
            execute(_KEEP_UNCHANGED)
            withdrawn = execute(_ADD_WITHDRAWN, (self._at, self._noted)).rowcount
            gone = execute(_COUNT_GONE).fetchone()[0]
            execute("DROP TABLE before")
        changed = execute(_ADD_CHANGED, (self._noted,)).rowcount
        execute("DELETE FROM counts")
        execute(_COUNT_ALL)
        make_indexes(self.connection)
        works, choices = execute("SELECT coalesce(sum(works), 0), coalesce(sum(choices), 0) FROM counts").fetchone()
        execute("COMMIT")
        free, pages = execute("PRAGMA freelist_count").fetchone()[0], execute("PRAGMA page_count").fetchone()[0]
        if free > _WASTE * pages:
            execute("VACUUM")
        numbers = (count, works, choices, self._before, changed, withdrawn)
        return ImportReport(*numbers, 0, 0, 0.0, False, self._choices_before, gone)


def _order(row: _Filled) -> tuple[int, bool, int | str]:
    return row[0], isinstance(row[1], str), row[1]


def _copy(target: Path, new: sqlite3.Connection) -> Place:
    """The old register into the new file; gives which file it was."""
    old, place = open_to_read(target, wait_s=2.0)
    restarts, last = 0, -1

    def watch(_status: int, remaining: int, _total: int) -> None:
        nonlocal restarts, last
        restarts += last >= 0 and remaining > last
        last = remaining
        if restarts > _MAX_RESTARTS:
            raise _Restless

    with contextlib.closing(old):
        try:
            old.backup(new, pages=_STEP_PAGES, progress=watch, sleep=0)
        except _Restless:  # somebody writes all the time: then they wait for once
            old.backup(new, pages=-1)
    return place


class _Restless(Exception):
    pass


def _swap(target: Path, new: Path, copied: Place | None, last_seq: int) -> int:
    """Put the new file in the place of the old one; gives how many changes were put meanwhile, and taken over."""
    if copied is None:
        if not _is_there(target):
            return _move_to_nobodys_place(target, new)
        raise RegisterError(f"{target}: somebody made a register there meanwhile; nothing was changed, import again")
    old, place = open_to_write(target)
    with contextlib.closing(old):
        old.execute("BEGIN IMMEDIATE")
        if place != copied or _place(target) != copied:
            raise RegisterError(f"{target}: another import came first; nothing was changed, import again")
        later = old.execute(_LATER, (last_seq,)).fetchall()
        if later:
            _follow(new, later)
        was = target.stat()
        new.chmod(was.st_mode & 0o7777)
        with contextlib.suppress(PermissionError):
            os.chown(new, was.st_uid, was.st_gid)
        _sync(new)
        new.replace(target)
        _sync_folder(target)
        old.execute("ROLLBACK")
    return len(later)


def _move_to_nobodys_place(target: Path, new: Path) -> int:
    """Where no register is; never over one that comes at the same moment."""
    if not _is_there(target):
        target.unlink(missing_ok=True)
    try:
        target.hardlink_to(new)
        new.unlink()
    except FileExistsError:
        raise RegisterError(f"{target}: somebody made a register there meanwhile; import again") from None
    except OSError:  # a file system without links
        new.replace(target)
    _sync_folder(target)
    return 0


def _follow(new: Path, later: list[tuple[int, int, int | str, str | None, str, str, str | None]]) -> None:
    """Changes that came while the file was built, in their order, after all that was imported."""
    connection, _ = open_to_write(new)
    with contextlib.closing(connection):
        connection.execute("BEGIN IMMEDIATE")
        for at, layer, name, text, by, reason, parents in later:
            said = None if text is None else find_saying(connection, text)
            key: Key = (layer, name)
            write_change(connection, at, key, said, add_note(connection, by, reason), parents)
        connection.execute("COMMIT")


def _clean(target: Path) -> None:
    """Remove what imports that were killed have left. Raises RegisterError when one is under way."""
    for left in target.parent.iterdir():
        match = re.fullmatch(re.escape(target.name) + r"\.new-([0-9]{1,10})(-journal)?", left.name)
        if match is None:
            continue
        if int(match[1]) != os.getpid() and _is_alive(int(match[1])):
            raise RegisterError(
                f"{target}: another import is under way (process {match[1]}); if it is none, remove {left}"
            )
        left.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _is_there(path: Path) -> bool:
    """Whether there is a file with something in it."""
    return path.exists() and path.stat().st_size > 0


def _place(path: Path) -> Place:
    found = path.stat()
    return found.st_dev, found.st_ino


def _sync(path: Path) -> None:
    """What is in the file is on disk. Only for a file that no connection has open."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system can
        _sync(path.parent)

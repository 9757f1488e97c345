"""A register in one SQLite file: millions of works, what their holders say, and all that they ever said.

The law of this file: whoever asks on a request's path gets an answer at once, whoever writes knows that it is on
disk, and at every moment the path leads to a whole register.

    find      one short read transaction on this process's own read-only connection; no lock is waited for
    look      twice a second: is the path another file, has somebody written (`PRAGMA data_version`)
    put       one transaction on a connection of its own, which must still be the file at the path
    import    builds a new file beside the old one and moves it to its place (see guard/registers/swap.py)

Only SQLite's locks are taken, in rollback-journal mode: a file with a write-ahead log could not be moved. Nothing here
opens the file but SQLite, for closing any other descriptor would let go of the locks (SQLite, "How To Corrupt An
SQLite Database File", section 2.2). It is not mapped into memory: somebody who copies a backup over it would end all
workers with SIGBUS, and at ten million works there is nothing to gain.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any

from guard.errors import ChoiceError, RegisterError
from guard.memo import Memo
from guard.protocols import NOTHING_LISTED, Change, Known, Listed
from guard.registers.looking import Looking
from guard.registers.rows import check_parents
from guard.rights import Chain, Choice, Work, check_work, climb, read_choice, write_choice

APPLICATION_ID = 0x4E4F4149
"""Says in the file's header that it is a register (SQLite, "Database File Format", 1.3.13)."""

FORMAT = 1
LAYER_NUMBERS = {"label": 1, "artist": 2, "podcast": 3, "release": 4, "track": 5, "episode": 6}
"""How a file names the layers; a number never changes its meaning."""

WRITE_WAIT_S = 2.0
TRUSTED_S = 1.5
"""So long after the last look what was found before still counts."""

_LAYERS = {number: layer for layer, number in LAYER_NUMBERS.items()}
_CACHE_KIB = 16_384
_ANSWERS = 20_000
_CHOICES = 20_000
_PAGE = 4_000
_MAX_ID_DIGITS = 18
_ATTEMPTS = 5
_SEPARATOR = "\x1f"
_MAX_MS = 2**53

_SCHEMA = files("guard.registers").joinpath("sqlite.sql").read_text("utf-8")
_INDEXES = files("guard.registers").joinpath("sqlite_indexes.sql").read_text("utf-8")

_FIND = "SELECT parents, said, at, noted FROM works WHERE layer = ? AND id = ?"
_PAST = (
    "SELECT said, at, noted FROM changes INDEXED BY changes_by_work WHERE layer = ? AND id = ? AND at <= ? "
    "ORDER BY seq DESC LIMIT 1"
)
_WRITE = (
    "INSERT INTO works (layer, id, parents, said, at, noted) VALUES (?1, ?2, coalesce(?3, ''), ?4, ?5, ?6) "
    "ON CONFLICT (layer, id) DO UPDATE SET parents = coalesce(?3, parents), said = ?4, at = ?5, noted = ?6"
)
_CHANGE = "INSERT INTO changes (at, layer, id, said, noted, parents) VALUES (?, ?, ?, ?, ?, ?)"
_COUNT = (
    "INSERT INTO counts VALUES (?, ?, ?) "
    "ON CONFLICT (layer) DO UPDATE SET works = works + excluded.works, choices = choices + excluded.choices"
)

_log = logging.getLogger("guard.rights")

Key = tuple[int, "int | str"]
Place = tuple[int, int]
"""Device and inode: which file a path leads to."""

Moment = tuple[int, int]
"""Where a change stands among all: milliseconds since 1970, and its number among those of that moment (from 1)."""


class SqliteRegister:
    """The register at `path`, which need not be there yet: the first `put` makes it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._looking = Looking(self._look)
        self._answers: Memo[tuple[Work, ...], tuple[int, Known]] = Memo(_ANSWERS)
        self._turn = 0
        self._looked_s = -math.inf
        self._last_listed = NOTHING_LISTED
        self._inherited: list[sqlite3.Connection] = []
        self._told = ""
        self._begin()

    def __repr__(self) -> str:
        return f"SqliteRegister({str(self.path)!r})"

    def _begin(self) -> None:
        """Nothing of this process is open yet."""
        self._pid = os.getpid()
        self._lock = Lock()
        self._reader: Reader | None = None
        self._place: Place | None = None
        self._version = -1

    # -- asking ------------------------------------------------------------------------------------------------

    def find(self, works: tuple[Work, ...]) -> Known:
        kept = self._answers.young.get(works) or self._answers.get(works)
        if kept is not None and kept[0] == self._turn and monotonic() - self._looked_s < TRUSTED_S:
            return kept[1]
        turn = self._turn
        try:
            with self._own_lock():
                chain = self._chain(works)
        except Exception:  # noqa: BLE001  # whatever stands in a file, a request goes on
            return nothing_known(works) if kept is None else Known(kept[1].chain, "stale")
        known = Known(chain)
        self._answers.keep(works, (turn, known))
        return known

    def _own_lock(self) -> Lock:
        """The lock of this process. A connection that came through a fork is neither used nor closed."""
        if self._pid != os.getpid():
            if self._reader is not None:
                self._inherited.append(self._reader.connection)
            self._looked_s = -math.inf
            self._begin()
        return self._lock

    def _chain(self, works: tuple[Work, ...]) -> Chain:
        watched = monotonic() - self._looked_s < TRUSTED_S
        if not watched and self._reader is not None and self._place != _place_of(self.path):
            self._let_go()
        reader = self._reader or self._read_anew()
        try:
            return reader.chain(works)
        except sqlite3.Error:
            if self._place == _place_of(self.path):
                raise
        self._let_go()  # moved away under us: ask the one that took its place
        return self._read_anew().chain(works)

    def _read_anew(self) -> Reader:
        """Open the file at the path. Raises RegisterError, sqlite3.Error or OSError."""
        connection, place = open_to_read(self.path)
        self._version = _data_version(connection)
        self._reader, self._place = Reader(connection), place
        return self._reader

    def _let_go(self) -> None:
        if self._reader is not None:
            self._reader.connection.close()
        self._reader = self._place = None

    def listed(self, limit: int) -> Listed:
        try:
            with self._reading() as reader:
                self._last_listed = reader.listed(limit)
        except (RegisterError, ChoiceError):
            _log.warning("the works with choices of their own cannot be listed now: %s", self.path)
        return self._last_listed

    # -- looking -----------------------------------------------------------------------------------------------

    def heed(self, changed: Callable[[], None]) -> None:
        self._looking.heed(changed)

    async def open(self) -> None:
        self._looking.begin()

    async def close(self) -> None:
        self._looking.end()
        self._looked_s = -math.inf
        with self._own_lock():
            self._let_go()

    def _look(self) -> bool:
        """Whether the register is another than at the last look. Never raises."""
        with self._own_lock():
            different = self._differs()
        if different:
            self._turn += 1
        return different

    def _differs(self) -> bool:
        before, version = self._place, self._version
        try:
            place = _place_of(self.path)
            if self._reader is None or place != before:
                self._let_go()
                self._read_anew()
                self._say("")
                self._looked_s = monotonic()
                return True
            assert self._reader is not None
            self._version = _data_version(self._reader.connection)
        except (OSError, RegisterError) as error:  # there is none, or none that can be read
            self._let_go()
            self._looked_s = -math.inf
            self._say(f"the register is away: {_in_words(error)}")
            return before is not None
        except sqlite3.Error as error:  # somebody is writing this very moment: the next look tells
            if _is_left_behind(error):
                _clear_up(self.path)
            return False
        self._looked_s = monotonic()
        return self._version != version

    def _say(self, text: str) -> None:
        if text != self._told:
            self._told = text
            _log.log(logging.WARNING if text else logging.INFO, "%s (%s)", text or "the register is there", self.path)

    # -- writing -----------------------------------------------------------------------------------------------

    def create(self) -> None:
        """Make an empty register where there is no file yet. Raises RegisterError."""
        with telling(self.path):
            if self.path.exists():
                return
            connection, _ = open_to_write(self.path)
            try:
                connection.execute("BEGIN IMMEDIATE")
                prepare(connection, self.path)
                connection.execute("COMMIT")
            finally:
                connection.close()

    def put(self, change: Change, parents: tuple[Work, ...] | None = None) -> None:
        try:
            work = check_work(*change.work)
            check_parents(work, parents or ())
        except ChoiceError as error:
            raise RegisterError(f"{change.work} cannot be noted: {error}") from None
        with telling(self.path):
            for _ in range(_ATTEMPTS):
                connection, place = open_to_write(self.path)
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    if place != _place_of(self.path):
                        continue  # an import has put another file in its place while we waited
                    prepare(connection, self.path)
                    note(connection, change, parents)
                    connection.execute("COMMIT")
                    break
                finally:
                    connection.close()
            else:
                raise RegisterError(f"{self.path}: the file is being replaced again and again")
        self._turn += 1
        self._looking.hurry()

    # -- telling -----------------------------------------------------------------------------------------------

    def entry(self, work: Work) -> tuple[Choice | None, tuple[Work, ...]] | None:
        with self._reading() as reader:
            return reader.look(work)

    def at(self, works: tuple[Work, ...], moment_s: float) -> Known:
        with self._reading() as reader:
            return Known(reader.past(works, until_ms(moment_s)))

    def history(self, work: Work) -> tuple[Change, ...]:
        with self._reading() as reader:
            return tuple(reader.changes("layer = ? AND id = ? ORDER BY seq", key_of(work)))

    def changes(self, since_s: float, limit: int) -> tuple[Change, ...]:
        return tuple(change for _, change in self.later((from_ms(since_s), 0), limit))

    def later(self, after: Moment, limit: int) -> tuple[tuple[Moment, Change], ...]:
        """At most `limit` changes that stand behind `after`, each with its place; no more rows are read than that."""
        at, seq = (max(-_MAX_MS, min(_MAX_MS, number)) for number in after)
        with self._reading() as reader:
            told = list(reader.placed("at = ? AND seq > ? ORDER BY seq LIMIT ?", (at, seq, max(0, limit))))
            if len(told) < limit:
                told += reader.placed("at > ? ORDER BY at, seq LIMIT ?", (at, limit - len(told)))
        return tuple(told)

    def entries(self) -> Iterator[tuple[Work, Choice | None, tuple[Work, ...]]]:
        """A page at a time, so that nobody who writes waits for it. What is put meanwhile may be in it or not."""
        after: tuple[int, int | str] = (0, 0)
        connection, _ = self._open_patiently()
        try:
            while True:
                with telling(self.path):
                    reader = Reader(connection)
                    page = list(reader.page(after))
                    after = (LAYER_NUMBERS[page[-1][0].layer], key_of(page[-1][0])[1]) if page else after
                yield from page
                if len(page) < _PAGE:
                    return
        finally:
            connection.close()

    def stats(self) -> dict[str, object]:
        """Keys: works and choices (by layer), changes, bytes, newest_s (None when nothing was ever noted)."""
        with self._reading() as reader:
            told = reader.connection.execute
            rows = told("SELECT layer, works, choices FROM counts ORDER BY layer").fetchall()
            changes, newest = told("SELECT max(seq), max(at) FROM changes").fetchone()
            pages, size = told("PRAGMA page_count").fetchone()[0], told("PRAGMA page_size").fetchone()[0]
        return {
            "works": {_LAYERS[layer]: works for layer, works, _ in rows if works},
            "choices": {_LAYERS[layer]: choices for layer, _, choices in rows if choices},
            "changes": changes or 0,
            "bytes": pages * size,
            "newest_s": None if newest is None else newest / 1000,
        }

    def _open_patiently(self) -> tuple[sqlite3.Connection, Place]:
        with telling(self.path):
            try:
                return open_to_read(self.path, wait_s=WRITE_WAIT_S)
            except sqlite3.OperationalError as error:
                if not _is_left_behind(error):
                    raise
            _clear_up(self.path)
            return open_to_read(self.path, wait_s=WRITE_WAIT_S)

    @contextmanager
    def _reading(self) -> Iterator[Reader]:
        """One read transaction on a connection of its own, which may wait. Foreign errors become RegisterError."""
        connection, _ = self._open_patiently()
        try:
            with telling(self.path):
                connection.execute("BEGIN")
                yield Reader(connection)
        finally:
            connection.close()


class Reader:
    """Reads a register through one connection, and remembers what it made of words, which never change in one file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._cursor = connection.cursor()
        self._cursor.row_factory = None
        self._choices: Memo[tuple[int, int, int], Choice] = Memo(_CHOICES)

    def chain(self, works: tuple[Work, ...]) -> Chain:
        """The works and those above them, as they are at one moment."""
        execute = self._cursor.execute
        execute("BEGIN")
        try:
            return climb(works, self.look)
        finally:
            self.connection.rollback()

    def look(self, work: Work) -> tuple[Choice | None, tuple[Work, ...]] | None:
        try:
            row = self._cursor.execute(_FIND, key_of(work)).fetchone()
        except UnicodeEncodeError:  # no text that could be in a register
            return None
        if row is None:
            return None
        parents, said, at, noted = row
        return (None if said is None else self.choice(said, at, noted)), (read_above(parents) if parents else ())

    def past(self, works: tuple[Work, ...], moment_ms: int) -> Chain:
        def look(work: Work) -> tuple[Choice | None, tuple[Work, ...]] | None:
            now = self.look(work)
            if now is None:
                return None
            row = self._cursor.execute(_PAST, (*key_of(work), moment_ms)).fetchone()
            return (None if row is None or row[0] is None else self.choice(*row)), now[1]

        return climb(works, look)

    def choice(self, said: int, at: int, noted: int) -> Choice:
        """What was said, with who noted it, when and why, where the words do not say so themselves."""
        key = (said, at, noted)
        choice = self._choices.young.get(key) or self._choices.get(key)
        if choice is None:
            (text,) = self.connection.execute("SELECT text FROM sayings WHERE n = ?", (said,)).fetchone()
            by, reason = self.connection.execute("SELECT by, reason FROM notes WHERE n = ?", (noted,)).fetchone()
            bare = read_choice(json.loads(text), kept=True)
            choice = signed(Change(at / 1000, Work("", ""), bare, by, reason)) or bare
            self._choices.keep(key, choice)
        return choice

    def listed(self, limit: int) -> Listed:
        (total,) = self.connection.execute("SELECT coalesce(sum(choices), 0) FROM counts").fetchone()
        query = (
            "SELECT layer, id FROM works INDEXED BY works_listed WHERE said IS NOT NULL "
            "ORDER BY layer, at DESC, id LIMIT ?"
        )
        works = [work_of(*row) for row in self.connection.execute(query, (max(0, limit),))]
        return Listed(tuple((work, climb((work,), self.look)) for work in works), total)

    def changes(self, which: str, values: tuple[Any, ...]) -> Iterator[Change]:
        for _, change in self.placed(which, values):
            yield change

    def placed(self, which: str, values: tuple[Any, ...]) -> Iterator[tuple[Moment, Change]]:
        query = f"SELECT at, seq, layer, id, said, noted FROM changes WHERE {which}"  # noqa: S608 - words of this file
        for at, seq, layer, name, said, noted in self.connection.execute(query, values).fetchall():
            choice = None if said is None else self.choice(said, at, noted)
            by, reason = self.connection.execute("SELECT by, reason FROM notes WHERE n = ?", (noted,)).fetchone()
            yield (at, seq), Change(at / 1000, work_of(layer, name), choice, by, reason)

    def page(self, after: Key) -> Iterator[tuple[Work, Choice | None, tuple[Work, ...]]]:
        query = (
            "SELECT layer, id, parents, said, at, noted FROM works WHERE (layer, id) > (?, ?) "
            "ORDER BY layer, id LIMIT ?"
        )
        for layer, name, parents, said, at, noted in self.connection.execute(query, (*after, _PAGE)).fetchall():
            choice = None if said is None else self.choice(said, at, noted)
            yield work_of(layer, name), choice, read_above(parents)


# -- how things are written ----------------------------------------------------------------------------------


def key_of(work: Work) -> Key:
    """Layer and id as they stand in the file; 0 for a layer that no register holds."""
    name = work.id
    if name.isdigit() and name.isascii() and len(name) <= _MAX_ID_DIGITS and (name[0] != "0" or len(name) == 1):
        return LAYER_NUMBERS.get(work.layer, 0), int(name)
    return LAYER_NUMBERS.get(work.layer, 0), name


def work_of(layer: int, name: int | str) -> Work:
    return Work(_LAYERS[layer], str(name))


def write_above(parents: Iterable[Work]) -> str:
    return _SEPARATOR.join(f"{LAYER_NUMBERS[layer]}:{name}" for layer, name in parents)


def read_above(text: str) -> tuple[Work, ...]:
    """What `write_above` was given; layers have one digit."""
    if not text:
        return ()
    return tuple(Work(_LAYERS[int(one[0])], one[2:]) for one in text.split(_SEPARATOR))


def to_ms(moment_s: float) -> int:
    """Milliseconds since 1970. Raises RegisterError for a moment that no calendar has."""
    if not -_MAX_MS < moment_s * 1000 < _MAX_MS:
        raise RegisterError("a change needs a moment in seconds since 1970")
    return round(moment_s * 1000)


def until_ms(moment_s: float) -> int:
    """The last millisecond that a moment includes; any float will do."""
    return math.floor(round(max(-_MAX_MS, min(_MAX_MS, moment_s * 1000)), 3))


def from_ms(moment_s: float) -> int:
    """The first millisecond that is not before a moment; any float will do."""
    return math.ceil(round(max(-_MAX_MS, min(_MAX_MS, moment_s * 1000)), 3))


def nothing_known(works: Iterable[Work]) -> Known:
    """The answer of who can say nothing."""
    return Known(tuple((work, None) for work in dict.fromkeys(works)), "away")


def signed(change: Change) -> Choice | None:
    """The choice of a change with who said it, when and why, where it does not say so itself."""
    choice = change.choice
    if choice is None:
        return None
    return Choice(
        choice.preferences,
        choice.licences,
        choice.from_s,
        choice.until_s,
        choice.territory,
        choice.contact,
        choice.licence_url,
        choice.by or change.by,
        choice.at_s or change.at_s,
        choice.reason or change.reason,
    )


def write_words(change: Change) -> str:
    """The JSON of a change's choice without what the change itself says, so that the same words are the same text."""
    assert change.choice is not None
    said = write_choice(change.choice)
    for key, same in (
        ("by", change.choice.by == change.by),
        ("at", round(change.choice.at_s * 1000) == to_ms(change.at_s)),
        ("reason", change.choice.reason == change.reason),
    ):
        if same:
            said.pop(key, None)
    return json.dumps(said, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def find_saying(connection: sqlite3.Connection, text: str) -> int:
    """The number of a text in `sayings`, which is added when it is new."""
    digest = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)
    query = "SELECT n FROM sayings WHERE hash = ? AND text = ?"
    row = connection.execute(query, (digest, text)).fetchone()
    if row is None:
        added = connection.execute("INSERT INTO sayings (hash, text) VALUES (?, ?)", (digest, text))
        return int(added.lastrowid or 0)
    return int(row[0])


def add_note(connection: sqlite3.Connection, by: str, reason: str) -> int:
    return int(connection.execute("INSERT INTO notes (by, reason) VALUES (?, ?)", (by, reason)).lastrowid or 0)


def note(connection: sqlite3.Connection, change: Change, parents: tuple[Work, ...] | None) -> None:
    """Write one change, within a transaction."""
    said = None if change.choice is None else find_saying(connection, write_words(change))
    noted = add_note(connection, change.by, change.reason)
    above = None if parents is None else write_above(parents)
    write_change(connection, to_ms(change.at_s), key_of(change.work), said, noted, above)


def write_change(
    connection: sqlite3.Connection, at: int, key: Key, said: int | None, noted: int, above: str | None
) -> None:
    """Add to the history, and put in force. `said` and `noted` are numbers in this file."""
    before = connection.execute(_FIND, key).fetchone()
    had = before is not None and before[1] is not None
    connection.execute(_CHANGE, (at, *key, said, noted, above))
    in_force = (None, None, None) if said is None else (said, at, noted)
    connection.execute(_WRITE, (*key, above, *in_force))
    connection.execute(_COUNT, (key[0], int(before is None), int(said is not None) - int(had)))


# -- the file ------------------------------------------------------------------------------------------------


def open_to_read(path: Path, wait_s: float = 0.0) -> tuple[sqlite3.Connection, Place]:
    """A connection that cannot write, and which file it reads. Raises RegisterError, sqlite3.Error or OSError."""
    connection, place = _open(path, "ro", wait_s)
    try:
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute("PRAGMA mmap_size = 0")
        if not _is_register(connection, path):
            raise RegisterError(f"{path}: the file is empty")
    except BaseException:
        connection.close()
        raise
    return connection, place


def open_to_write(path: Path) -> tuple[sqlite3.Connection, Place]:
    """A connection that writes durably; the file is made when there is none. Raises as `open_to_read` does."""
    connection, place = _open(path, "rwc", WRITE_WAIT_S)
    connection.execute("PRAGMA synchronous = FULL")
    return connection, place


def _open(path: Path, mode: str, wait_s: float) -> tuple[sqlite3.Connection, Place]:
    for _ in range(_ATTEMPTS):
        before = None if mode == "rwc" and not path.exists() else _place_of(path)
        # Opened without a question to the file: SQLite reads nothing of it before the first statement.
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode={mode}",
            uri=True,
            timeout=wait_s,
            isolation_level=None,
            check_same_thread=False,
        )
        after = _place_of(path)
        if before in (None, after):
            return connection, after
        connection.close()
    raise RegisterError(f"{path}: the file is being replaced again and again")


def _is_register(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether there is a register in the file; False when it is empty. Raises RegisterError when it is another's."""
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (form,) = connection.execute("PRAGMA user_version").fetchone()
    if owner != APPLICATION_ID:
        if owner or form or connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise RegisterError(f"{path}: an SQLite file, but no register of rights")
        return False
    if form != FORMAT:
        made = "a newer version made it" if form > FORMAT else "no version ever made such a file"
        raise RegisterError(f"{path}: a register of format {form}, this version reads {FORMAT}: {made}")
    return True


def prepare(connection: sqlite3.Connection, path: Path, *, indexes: bool = True) -> None:
    """Make the tables in an empty file, within a transaction. Raises RegisterError when the file is another's."""
    if _is_register(connection, path):
        return
    for script in (_SCHEMA, _INDEXES) if indexes else (_SCHEMA,):
        run_script(connection, script)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def make_indexes(connection: sqlite3.Connection) -> None:
    run_script(connection, _INDEXES)


def run_script(connection: sqlite3.Connection, script: str) -> None:
    """Statement by statement: `executescript` would end the transaction."""
    for statement in script.split(";\n"):
        if statement.strip():
            connection.execute(statement)


def _is_left_behind(error: sqlite3.Error) -> bool:
    """Whether a writer died in the middle: then nobody who only reads may take back what it began."""
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_READONLY_ROLLBACK


def _clear_up(path: Path) -> None:
    """Take back what a dead writer began. Where this process may not write, the next writer does it."""
    with contextlib.suppress(sqlite3.Error, OSError):
        connection, _ = _open(path, "rw", 0.0)
        with contextlib.closing(connection):
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()


def _data_version(connection: sqlite3.Connection) -> int:
    """A number that is another one after somebody else has written (SQLite, PRAGMA data_version)."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _place_of(path: Path) -> Place:
    found = path.stat()
    return found.st_dev, found.st_ino


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Foreign errors as RegisterError, in words."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise RegisterError(f"{path}: somebody else is writing (waited {WRITE_WAIT_S:g} s)") from None
        raise RegisterError(f"{path}: {_in_words(error)}") from None
    except (sqlite3.Error, OSError) as error:
        raise RegisterError(f"{path}: {_in_words(error)}") from None
    except UnicodeEncodeError:
        raise RegisterError(f"{path}: an id or a text is not valid Unicode") from None
    except ChoiceError as error:
        raise RegisterError(f"{path}: holds words that this version cannot read: {error}") from None


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)

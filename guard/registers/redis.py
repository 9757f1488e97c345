"""A register of rights on Redis or Valkey 7 or newer, for a fleet. The other door to the `redis` package.

    {prefix}works:{layer}         hash      id -> {"parents": ["artist:7"], "said": {a choice} or null}
    {prefix}listed:{layer}        sorted    ids with a choice, by the moment it was made
    {prefix}version               counter   one more with every change
    {prefix}name                  text      made by chance with the first change: tells this register from a later one
    {prefix}log                   hash      version -> {"at", "work", "choice", "by", "reason"}
    {prefix}changes               sorted    versions, by the moment of their change
    {prefix}history:{layer}:{id}  list      versions of one work

The law of this file: a change and its version are written in one script, so nobody sees one without the other. Readers
look at the version twice a second. An empty server is no register: where there was one, its last word stays.

Whoever writes without this file writes the first hash and adds one to the version; history is then not kept. On a
cluster the prefix needs a hash tag, like `{guard}:rights:`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from asyncio import Task
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from math import inf
from typing import Any, NamedTuple

import redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from guard.errors import ChoiceError, RegisterError
from guard.protocols import NOTHING_LISTED, Change, Known, Listed
from guard.registers.remote import MAX_ENTRY_CHARS, Answers, Entry, RemoteSource, read_json, read_parents
from guard.registers.rows import check_parents
from guard.registers.sqlite import Moment, from_ms, signed, to_ms, until_ms
from guard.rights import HOLDINGS, Choice, Work, check_work, climb, read_choice, read_work, write_choice
from guard.stores.topology import shown

POLL_EVERY_S = 0.5
SURE_FOR_S = 2.0
"""So long after a look at the version what is remembered counts as known."""

MAX_LISTED = 10_000
MAX_NAMED_CHANGES = 1_000
"""After more changes than this between two looks everything that is remembered is asked again."""

LISTED_EVERY_S = 1.0
_CHUNK = 500

_log = logging.getLogger("guard.rights")

_PUT = """
local parents = ARGV[3]
if parents == '' then
  parents = '[]'
  local before = redis.call('HGET', KEYS[1], ARGV[1])
  if before then
    local read, entry = pcall(cjson.decode, before)
    if read and type(entry) == 'table' and type(entry.parents) == 'table' and #entry.parents > 0 then
      parents = cjson.encode(entry.parents)
    end
  end
end
redis.call('SET', KEYS[7], ARGV[6], 'NX')
local version = redis.call('INCR', KEYS[2])
redis.call('HSET', KEYS[1], ARGV[1], '{"parents":' .. parents .. ',"said":' .. ARGV[2] .. '}')
redis.call('HSET', KEYS[3], version, ARGV[4])
redis.call('ZADD', KEYS[4], ARGV[5], string.format('%016d', version))
redis.call('RPUSH', KEYS[5], version)
if ARGV[2] == 'null' then
  redis.call('ZREM', KEYS[6], ARGV[1])
else
  redis.call('ZADD', KEYS[6], ARGV[5], ARGV[1])
end
return version
"""

_Command = tuple[str | bytes | int | float, ...]


class _Version(NamedTuple):
    """Which register, and how many changes it has had."""

    name: bytes
    number: int


class RedisRegister(RemoteSource):
    """A `Register` on the server at `url` (redis://, rediss:// or unix://), under names that begin with `prefix`.

    `timeout_s` is the deadline of one ask beside a request, `write_timeout_s` that of everything that may block.
    Raises ValueError for an address that cannot be read.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "guard:rights:",
        max_age_s: float = 300.0,
        timeout_s: float = 0.25,
        write_timeout_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(
            shown(url), max_age_s=max_age_s, unknown_age_s=max_age_s, timeout_s=timeout_s, at_once=2, clock=clock
        )
        self._prefix = prefix
        self._sure_until_s = -inf  # nobody has looked yet
        self._version = _Version(b"", 0)
        self._listed: Listed | None = None
        self._listed_version = _Version(b"", -1)
        self._ask_version: _Command = ("MGET", self._key("name"), self._key("version"))
        self._poller: Task[None] | None = None
        self._lister: Task[None] | None = None
        try:
            self._reader: Any = AsyncRedis.from_url(
                url,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=AsyncRetry(NoBackoff(), 0),
                max_connections=8,
                protocol=2,
            )
            self._client: Any = redis.Redis.from_url(
                url,
                socket_timeout=write_timeout_s,
                socket_connect_timeout=write_timeout_s,
                retry=Retry(NoBackoff(), 0),
                protocol=2,
            )
        except (ValueError, TypeError, RedisError):
            # The text of these errors quotes parts of the URL, and with a stray character that is the password.
            raise ValueError(f"register url {shown(url)!r}: not a redis://, rediss:// or unix:// url") from None
        for client in (self._reader, self._client):
            client.response_callbacks.clear()  # answers as the server gives them, whatever the library's version

    # -- beside requests

    async def open(self) -> None:
        """Look once, and from then on twice a second. Does not fail when the server is away."""
        if self._poller is not None:
            return
        await super().open()
        await self._look()
        self._poller = asyncio.get_running_loop().create_task(self._poll(), name="guard-rights-poll")

    async def close(self) -> None:
        """Let go of the server. What is remembered stays."""
        tasks = [task for task in (self._poller, self._lister) if task is not None]
        self._poller = self._lister = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await super().close()
        await self._reader.aclose()
        self._client.close()

    async def fetch(self, works: Sequence[Work]) -> Answers:
        layers = _by_layer(works)
        commands: list[_Command] = [self._ask_version]
        commands += [("HMGET", self._key("works", layer), *ids) for layer, ids in layers.items()]
        version, *rows = await self._read(commands)
        self._read_version(version)
        answers: dict[Work, Entry | None] = {}
        for (layer, ids), values in zip(layers.items(), rows, strict=True):
            for name, value in zip(ids, values, strict=True):
                work = Work(layer, name)
                try:
                    answers[work] = _read_entry(value)
                except ChoiceError as error:
                    self.complain(work, error)
        return Answers(answers)

    async def _poll(self) -> None:
        while True:
            began_s = self._clock()
            await self._look()
            await asyncio.sleep(max(0.05, began_s + POLL_EVERY_S - self._clock()))

    async def _look(self) -> None:
        """One look at the version, and at what has changed since the last one."""
        began_s = self._clock()
        try:
            async with asyncio.timeout(self._timeout_s):
                (said,) = await self._read([self._ask_version])
                version = self._read_version(said)
                changed = await self._changed_works(version) if version != self._version else ()
        except (RedisError, OSError, ValueError, RegisterError) as error:
            self._fell(error)
            return
        self._rose()
        self._sure_until_s = began_s + SURE_FOR_S
        if version != self._version:
            self._version = version
            self._void(changed)
            self._tell()
        if self._listed_version != version and (self._lister is None or self._lister.done()):
            self._lister = asyncio.get_running_loop().create_task(self._list(), name="guard-rights-list")

    async def _changed_works(self, version: _Version) -> Iterable[Work] | None:
        """The works that changed between the version we know and this one; None when that is not known."""
        name, number = self._version
        if version.name != name or not 0 < number < version.number <= number + MAX_NAMED_CHANGES:
            return None
        (rows,) = await self._read([("HMGET", self._key("log"), *range(number + 1, version.number + 1))])
        try:
            return [_read_change(row).work for row in rows]
        except ChoiceError:
            return None

    def _read_version(self, said: Sequence[bytes | None]) -> _Version:
        """The server's version. Raises RegisterError when it has none any more, or one that is no number."""
        name, number = said
        if number is None:
            if self._version.number:
                raise RegisterError("the register is empty, and was not")
            return _Version(b"", 0)
        if not number.isdigit():
            raise RegisterError("the version is no number")
        return _Version(name or b"", int(number))

    async def _read(self, commands: Sequence[_Command]) -> list[Any]:
        async with self._reader.pipeline(transaction=True) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            try:
                answers: list[Any] = await pipeline.execute()
            except RedisError as error:
                raise RegisterError(_why(error)) from error
            return answers

    # -- what is listed

    def listed(self, limit: int) -> Listed:
        """The works with a choice, as they were when somebody last looked; before `open`, as they are."""
        listed = self._listed
        if listed is None:
            if self._loop is not None:
                return NOTHING_LISTED
            try:
                listed = self._read_listed()
            except RegisterError as error:
                _log.warning("rights from %s: %s; nothing is listed", self.name, error)
                return NOTHING_LISTED
        return Listed(listed.works[: max(0, limit)], listed.total)

    async def _list(self) -> None:
        """Read again what is listed until that is of the version we know."""
        while (version := self._version) != self._listed_version:
            try:
                listed = await asyncio.to_thread(self._read_listed)
            except RegisterError:
                return  # the poller has said so, and comes again
            self._listed_version = version
            if listed != self._listed:
                self._listed = listed
                self._tell()
            await asyncio.sleep(LISTED_EVERY_S)

    def _read_listed(self) -> Listed:
        works: list[Work] = []
        counts = self._send([("ZCARD", self._key("listed", layer)) for layer in HOLDINGS])
        for layer in HOLDINGS:
            if (room := MAX_LISTED - len(works)) > 0:
                (ids,) = self._send([("ZREVRANGE", self._key("listed", layer), 0, room - 1)])
                works += [Work(layer, name.decode("utf-8", "replace")) for name in ids]
        look = self._entries_above(works)
        return Listed(tuple((work, climb((work,), look.get)) for work in works), sum(counts))

    def _entries_above(self, works: Sequence[Work]) -> dict[Work, Entry]:
        """The entries of these works and of all that stands above them."""
        found: dict[Work, Entry | None] = {}
        missing = list(dict.fromkeys(works))
        while missing:
            for start in range(0, len(missing), _CHUNK):
                found.update(self._entries(missing[start : start + _CHUNK]))
            above = (parent for work in missing for parent in (found[work] or (None, ()))[1])
            missing = [parent for parent in dict.fromkeys(above) if parent not in found]
        return {work: entry for work, entry in found.items() if entry is not None}

    def _entries(self, works: Sequence[Work]) -> Iterator[tuple[Work, Entry | None]]:
        layers = _by_layer(works)
        rows = self._send([("HMGET", self._key("works", layer), *ids) for layer, ids in layers.items()])
        for (layer, ids), values in zip(layers.items(), rows, strict=True):
            for name, value in zip(ids, values, strict=True):
                try:
                    yield Work(layer, name), _read_entry(value)
                except ChoiceError as error:
                    raise RegisterError(f"the entry of {Work(layer, name)} cannot be read: {error}") from None

    # -- the register: all of this may block

    def put(self, change: Change, parents: tuple[Work, ...] | None = None) -> None:
        """Note a change, durably as the server is. Raises RegisterError."""
        try:
            work = check_work(*change.work)
            check_parents(work, parents or ())
        except ChoiceError as error:
            raise RegisterError(f"{change.work} cannot be noted: {error}") from None
        change = change._replace(at_s=to_ms(change.at_s) / 1000)
        change = change._replace(choice=signed(change))
        choice = change.choice
        said = "null" if choice is None else _json(write_choice(choice))
        above = "" if parents is None else _json([str(parent) for parent in parents])
        names = (("works", work.layer), ("version",), ("log",), ("changes",), ("history", work.layer, work.id))
        keys = [self._key(*name) for name in (*names, ("listed", work.layer), ("name",))]
        arguments = (work.id, said, above, _write_change(change), repr(change.at_s), os.urandom(8).hex())
        self._send([("EVAL", _PUT, len(keys), *keys, *arguments)])

    def entry(self, work: Work) -> Entry | None:
        """What is in force for the work itself, and its parents; None when it is not known. Raises RegisterError."""
        ((_, entry),) = self._entries((work,))
        return entry

    def at(self, works: tuple[Work, ...], moment_s: float) -> Known:
        """What was in force at a moment; of parents, those of today. Raises RegisterError."""
        entries = self._entries_above(works)
        chain = climb(works, entries.get)
        told = self._send([("LRANGE", self._history_key(work), 0, -1) for work, _ in chain])
        pairs = zip(chain, told, strict=True)
        return Known(tuple(self._then(*now, versions, moment_s) for now, versions in pairs))

    def _then(
        self, work: Work, today: Choice | None, versions: Sequence[bytes], moment_s: float
    ) -> tuple[Work, Choice | None]:
        if not versions:  # written by somebody who keeps no history
            return work, today if today is not None and today.at_s <= moment_s else None
        told = [change for change in self._changes_of(versions) if to_ms(change.at_s) <= until_ms(moment_s)]
        return work, told[-1].choice if told else None

    def history(self, work: Work) -> tuple[Change, ...]:
        """All changes of one work, the oldest first. Raises RegisterError."""
        (versions,) = self._send([("LRANGE", self._history_key(work), 0, -1)])
        return tuple(self._changes_of(versions))

    def changes(self, since_s: float, limit: int) -> tuple[Change, ...]:
        """At most `limit` changes of all works from a moment on, the oldest first. Raises RegisterError."""
        return tuple(change for _, change in self.later((from_ms(since_s), 0), limit))

    def later(self, after: Moment, limit: int) -> tuple[tuple[Moment, Change], ...]:
        """At most `limit` changes that stand behind `after`, each with its place. Raises RegisterError."""
        if limit < 1:
            return ()
        key, (at, version) = self._key("changes"), after
        before, rank = self._send([("ZCOUNT", key, "-inf", f"({at / 1000!r}"), ("ZRANK", key, f"{version:016d}")])
        start = before if rank is None else rank + 1
        (versions,) = self._send([("ZRANGE", key, start, start + limit - 1)])
        told = zip(versions, self._changes_of(versions), strict=True)
        return tuple(((to_ms(change.at_s), int(number)), change) for number, change in told)

    def _changes_of(self, versions: Sequence[bytes]) -> Iterator[Change]:
        for start in range(0, len(versions), _CHUNK):
            chunk = [int(version) for version in versions[start : start + _CHUNK]]
            (rows,) = self._send([("HMGET", self._key("log"), *chunk)])
            try:
                yield from [_read_change(row) for row in rows]
            except ChoiceError as error:
                raise RegisterError(f"a change cannot be read: {error}") from None

    def entries(self) -> Iterable[tuple[Work, Choice | None, tuple[Work, ...]]]:
        """Everything in force, in the order of layers and ids. Raises RegisterError while it is read."""
        for layer in HOLDINGS:
            ids: set[str] = set()
            cursor = 0
            while True:
                ((said, row),) = self._send([("HSCAN", self._key("works", layer), cursor, "COUNT", 1_000)])
                ids.update(name.decode("utf-8", "replace") for name in row[::2])
                if not (cursor := int(said)):
                    break
            waiting = iter(sorted(ids, key=_order))
            while works := [Work(layer, name) for name in islice(waiting, _CHUNK)]:
                for work, entry in self._entries(works):
                    if entry is not None:  # gone since it was named
                        yield work, *entry

    def stats(self) -> dict[str, object]:
        """Keys: works and choices (by layer), changes, bytes (None: the server does not say), newest_s (or None)."""
        works = self._send([("HLEN", self._key("works", layer)) for layer in HOLDINGS])
        choices = self._send([("ZCARD", self._key("listed", layer)) for layer in HOLDINGS])
        changes, newest = self._send(
            [
                ("HLEN", self._key("log")),
                ("ZREVRANGE", self._key("changes"), 0, 0, "WITHSCORES"),
            ]
        )
        return {
            "works": {layer: number for layer, number in zip(HOLDINGS, works, strict=True) if number},
            "choices": {layer: number for layer, number in zip(HOLDINGS, choices, strict=True) if number},
            "changes": changes,
            "bytes": self._bytes(),
            "newest_s": float(newest[1]) if newest else None,
        }

    def _bytes(self) -> int | None:
        keys = [self._key(*name) for layer in HOLDINGS for name in (("works", layer), ("listed", layer))]
        try:
            sizes = self._send([("MEMORY", "USAGE", key) for key in (*keys, self._key("log"), self._key("changes"))])
        except RegisterError:
            return None  # the command is often forbidden
        return sum(size or 0 for size in sizes)

    def _send(self, commands: Sequence[_Command]) -> list[Any]:
        """The answers to some commands. Raises RegisterError."""
        if not commands:
            return []
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                answers: list[Any] = pipeline.execute()
                return answers
        except (RedisError, OSError, ValueError) as error:
            raise RegisterError(f"register {self.name}: {_why(error)}") from error

    def _key(self, *name: str) -> str:
        return self._prefix + ":".join(name)

    def _history_key(self, work: Work) -> str:
        return self._key("history", work.layer, work.id)


def _by_layer(works: Iterable[Work]) -> dict[str, list[str]]:
    ordered = sorted(works, key=lambda work: work.layer)
    return {layer: [work.id for work in group] for layer, group in groupby(ordered, key=lambda work: work.layer)}


def _order(name: str) -> tuple[bool, int, str]:
    """Numbers first and by their size, as all registers have them."""
    number = name.isascii() and name.isdigit() and len(name) <= 18 and str(int(name)) == name
    return not number, int(name) if number else 0, name


def _read_entry(value: bytes | None) -> Entry | None:
    """One field of a hash. Raises ChoiceError."""
    if value is None:
        return None
    table = _read_table(value)
    said = table.get("said")
    return None if said is None else read_choice(said, kept=True), read_parents(table.get("parents"))


def _read_table(value: bytes | None) -> dict[str, Any]:
    if value is None:
        raise ChoiceError("", "it is not there")
    if len(value) > MAX_ENTRY_CHARS:
        raise ChoiceError("", f"more than {MAX_ENTRY_CHARS} bytes")
    try:
        table = read_json(value)
    except ValueError as error:
        raise ChoiceError("", f"no JSON: {error}") from None
    if not isinstance(table, dict):
        raise ChoiceError("", "expected a mapping (key: value)")
    return table


def _write_change(change: Change) -> str:
    choice = None if change.choice is None else write_choice(change.choice)
    return _json(
        {
            "at": change.at_s,
            "work": str(change.work),
            "choice": choice,
            "by": change.by,
            "reason": change.reason,
        }
    )


def _read_change(value: bytes | None) -> Change:
    table = _read_table(value)
    at_s, choice = table.get("at"), table.get("choice")
    if not isinstance(at_s, int | float):
        raise ChoiceError("at", "expected seconds since 1970")
    read = None if choice is None else read_choice(choice, kept=True)
    return Change(float(at_s), read_work(str(table.get("work"))), read, str(table.get("by")), str(table.get("reason")))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _why(error: BaseException) -> str:
    """What went wrong, without texts of the server, which may quote what was sent."""
    if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError):
        return "it does not let us in"
    if isinstance(error, redis.ReadOnlyError):
        return "it is a replica that takes no changes"
    if isinstance(error, redis.TimeoutError | TimeoutError):
        return "it did not answer in time"
    if isinstance(error, redis.ConnectionError | OSError):
        return "it is not there"
    if isinstance(error, redis.ResponseError):
        return f"it refused: {str(error).split(' ', 1)[0][:20]!r}"
    return type(error).__name__

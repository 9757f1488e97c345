"""What is known of addresses: the lists that operators publish, and what the DNS confirms. Never on a request's path.

    known()      two looks into memory
    ask()        the DNS is asked, beside the request that wants it
    _follow()    the shelf is looked at, again and again: what any process fetched is taken by all
    _gather()    one process of all that share the directory fetches, each source in its time

The law: a source that is away, late, hostile or broken changes nothing that was learned before; and what is known
too long tells nothing any more, instead of something false.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import random
import time
from asyncio import Task
from collections.abc import Callable, Collection, Iterable, Mapping
from math import inf
from pathlib import Path
from typing import NamedTuple

from guard.fetch import PUBLIC, FetchError, Reach, fetch, read_url
from guard.memo import Memo
from guard.names import Names
from guard.networks import NO_LABELS, NOTHING_KNOWN, Knowledge, Network, PrefixTable
from guard.published import (
    KEPT_S,
    KINDS,
    MAX_LIST_BYTES,
    GrowthError,
    Kept,
    PublishedError,
    Shelf,
    judge_growth,
    read_published,
    shipped,
)

FETCH_S = 30.0
"""One list has to be here within this time."""

_AT_ONCE = 4
_FIRST_PAUSE_S = 60.0
_LONGEST_PAUSE_S = 6 * 3600.0
_SWEEP_S = 30.0
_TOLD_EVERY_S = 600.0
_AHEAD_S = 86_400.0  # so far in the future a list may have been fetched, for clocks differ
_MAX_SUMMARIES = 4096
_STALE = "it was not fetched for 30 days, and verifies nobody until it is"
NO_NEWS: Mapping[str, Kept] = {}

_log = logging.getLogger("guard.identity")


class ListState(NamedTuple):
    """How one source stands. `state` is "fresh", "stale" or "absent"; `error` is what went wrong last, "" = nothing.

    `origin` is "fetched" or "shipped", "" when absent. In the process that fetches, `failures` is how often it failed
    in a row, and `due_s` when it is fetched next (0.0 elsewhere).
    """

    state: str
    fetched_s: float = 0.0
    networks: int = 0
    error: str = ""
    origin: str = ""
    failures: int = 0
    due_s: float = 0.0


class _Source:
    """One list: what it holds, and when it is fetched next. Moments are of the resolver's clock."""

    __slots__ = ("due_s", "error", "failures", "kept", "kind", "look", "origin", "said", "url")

    def __init__(self, url: str, kind: str) -> None:
        self.url = url
        self.kind = kind
        self.kept: Kept | None = None
        self.origin = ""
        self.look: tuple[int, ...] = ()
        self.due_s = -inf
        self.failures = 0
        self.error = ""
        self.said = ""  # what was logged last


class Resolver:
    """What is known of addresses, for `verify`.

    `sources` are the URLs of published lists and their kinds (one of KINDS). `directory` keeps what was fetched and is
    shared by all processes on the machine; without one nothing is fetched, and what came with the package is all there
    is. `suffixes` are the names' ends of all operators, see Names. `reach.allowed` may also stand in lists.
    `lists` and `dns` turn a half off. `clock` gives seconds since 1970.

    `generation` goes up whenever an answer of `known` or `fresh` may have changed.
    """

    def __init__(
        self,
        sources: Mapping[str, str],
        *,
        directory: Path | None,
        reach: Reach = PUBLIC,
        nameservers: tuple[str, ...] = (),
        suffixes: Iterable[str] = (),
        lists: bool = True,
        dns: bool = True,
        clock: Callable[[], float] = time.time,
        every_s: float = 12 * 3600.0,
        chance: Callable[[], float] = random.random,
        first_s: float = 30.0,
        poll_s: float = 5.0,
        elect_s: float = 30.0,
        fetch_s: float = FETCH_S,
        dns_deadline_s: float = 1.0,
    ) -> None:
        """Raises FetchError for a source that could never be fetched, and ValueError for what is no name server."""
        self.generation = 0
        self.elected = False  # this process is the one that fetches
        self._sources: dict[str, _Source] = {}
        for url, kind in (sources if lists else {}).items():
            try:
                read_url(url, reach)
            except FetchError as error:
                raise FetchError(f"{url!a} cannot be a published list: {error.reason}") from None
            if kind not in KINDS:
                raise FetchError(f"{url!a} cannot be a published list: no list is of the kind {kind!a}")
            self._sources[url] = _Source(url, kind)
        self._directory = directory
        self._shelf = Shelf(directory, reach.allowed) if directory is not None else None
        self._reach = reach
        self._clock = clock
        self._chance = chance
        self._every_s, self._first_s, self._poll_s, self._elect_s = every_s, first_s, poll_s, elect_s
        self._fetch_s = fetch_s
        self._names = (
            Names(nameservers, suffixes=suffixes, clock=clock, changed=self._named, deadline_s=dns_deadline_s)
            if dns
            else None
        )
        self._table = PrefixTable({})
        self._summaries: Memo[tuple[frozenset[str], str, str], Knowledge] = Memo(_MAX_SUMMARIES)
        self._of_lists: dict[frozenset[str], Knowledge] = {NO_LABELS: NOTHING_KNOWN}
        self._fresh: frozenset[str] = NO_LABELS
        self._heeding: list[Callable[[], None]] = []
        self._fallen: list[tuple[str, str]] = []
        self._told_s = -inf
        self._heeding_names: list[Callable[[], None]] = []
        self._tasks: list[Task[None]] = []
        self._open = False
        self._lock: int | None = None
        self._shelf_said = ""
        self._taking = asyncio.Lock()
        self._swept_s = -inf
        self._take_shipped()

    # -- asked by requests

    def known(self, address: str) -> Knowledge:
        """What is known of `address` at this moment. Never waits, never raises."""
        lists = self._table.find(address)
        outcome = self._names.known(address) if self._names is not None else None
        if outcome is None:
            return self._of_lists.get(lists) or self._summary(lists, "", "unasked")
        return self._summary(lists, outcome.host, outcome.state)

    def ask(self, address: str, suffixes: tuple[str, ...]) -> None:
        """Begin to ask the DNS whether `address` has a name that ends in one of `suffixes`. Returns at once."""
        if self._names is not None and address and self._names.ask(address, suffixes):
            self.generation += 1

    def fresh(self, source: str) -> bool:
        """Whether the list of `source` still tells true from false: it was fetched within 30 days."""
        return source in self._fresh

    def states(self) -> dict[str, ListState]:
        """How each source stands, for people."""
        found: dict[str, ListState] = {}
        for url, source in self._sources.items():
            kept = source.kept or Kept((), 0.0)
            state = "absent" if source.kept is None else "fresh" if self._is_fresh(source) else "stale"
            due_s = source.due_s if self.elected else 0.0
            found[url] = ListState(
                state, kept.fetched_s, len(kept.networks), source.error, source.origin, source.failures, due_s
            )
        return found

    def heed(self, changed: Callable[[], None], *, names: bool = True) -> None:
        """From now on call `changed`, in the event loop that `open` ran in, whenever something is different; without
        `names`, only when lists are: what the DNS says of an address shows in what `known` answers for it."""
        self._heeding.append(changed)
        if names:
            self._heeding_names.append(changed)

    def _summary(self, lists: frozenset[str], host: str, state: str) -> Knowledge:
        key = (lists, host, state)
        found = self._summaries.get(key)
        if found is None:
            found = Knowledge(*key)
            self._summaries.keep(key, found)
        return found

    def _is_fresh(self, source: _Source) -> bool:
        return source.kept is not None and -_AHEAD_S <= self._clock() - source.kept.fetched_s < KEPT_S

    # -- life

    async def open(self) -> None:
        """Take what lies on the shelf, and begin to look for more. Never fails because a source is away."""
        if self._open:
            return
        self._open = True
        if self._shelf is None or not self._sources:
            if self._sources or self._names is not None:
                self._tasks = [asyncio.create_task(self._follow())]
            return
        await self._look()
        if not self._open:  # closed meanwhile
            return
        for source in self._sources.values():
            if source.origin == "fetched" and not self._is_fresh(source):
                self._warn(source, _STALE)
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._gather())]

    async def close(self) -> None:
        """Stop, and let another process fetch. Safe to call twice."""
        self._open = False
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._names is not None:
            await self._names.close()
        self._resign()

    async def quiet(self) -> None:
        """Wait until no name is being looked up."""
        if self._names is not None:
            await self._names.quiet()

    async def refresh(self, accept: Collection[str] = ()) -> None:
        """Fetch every source now, whoever is elected; what has grown or shrunk too much is taken from `accept` only.

        Without a directory nothing is fetched. Never raises: `states` tells what came of it.
        """
        if self._shelf is None:
            return
        await self._look()
        await self._fetch_all(list(self._sources.values()), accept)

    async def look(self) -> None:
        """Take what lies on the shelf, once, and fetch nothing."""
        await self._look()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                await self._look()
            except Exception:  # noqa: BLE001 - whatever lies on a disk, it is looked at again
                _log.exception("published lists: looking for new ones failed")

    async def _look(self) -> None:
        """Take what others fetched, notice what became stale, and forget what the DNS said too long ago."""
        changed = False
        if self._shelf is not None and self._sources:
            found = await asyncio.to_thread(self._unread, self._shelf)
            news: dict[str, Kept] = {}
            for source, look, kept, why in found:
                source.look = look
                if why:
                    self._warn(source, f"{why}; the list that was there before goes on")
                elif kept is not None and self._is_newer(kept, source):
                    news[source.url] = kept
            changed = await self._take(news)
        now_s = self._clock()
        if self._names is not None and (now_s - self._swept_s >= _SWEEP_S or now_s < self._swept_s):
            self._swept_s = now_s
            changed |= self._names.expire()
        changed |= self._freshen()
        if changed:
            self._tell()

    def _unread(self, shelf: Shelf) -> list[tuple[_Source, tuple[int, ...], Kept | None, str]]:
        """What has changed on the shelf, read. Runs in a thread."""
        found: list[tuple[_Source, tuple[int, ...], Kept | None, str]] = []
        for source in self._sources.values():
            look = shelf.look(source.url)
            if look == source.look:
                continue
            try:
                found.append((source, look, shelf.read(source.url), ""))
            except PublishedError as error:
                found.append((source, look, None, error.reason))
        return found

    def _is_newer(self, kept: Kept, source: _Source) -> bool:
        if source.kept is None or not self._is_fresh(source):  # it may be of a day that has not come yet
            return kept != source.kept
        return kept != source.kept and kept.fetched_s >= source.kept.fetched_s

    def _take_shipped(self) -> None:
        for url, kept in shipped().items() if self._sources else ():
            if url in self._sources:
                self._sources[url].kept, self._sources[url].origin = kept, "shipped"
        self._put(PrefixTable(self._networks({})))

    async def _take(self, news: Mapping[str, Kept]) -> bool:
        """Let new lists take the place of old ones; whether there were any.

        A source never counts as fresh before its networks can be found: what is outside of a fresh list is spoofed.
        """
        if not news:
            return False
        async with self._taking:
            self._put(await asyncio.to_thread(PrefixTable, self._networks(news)), news)
        return True

    def _networks(self, news: Mapping[str, Kept]) -> dict[str, tuple[Network, ...]]:
        held = {url: source.kept for url, source in self._sources.items() if source.kept is not None}
        return {url: kept.networks for url, kept in {**held, **news}.items()}

    def _put(self, table: PrefixTable, news: Mapping[str, Kept] = NO_NEWS) -> None:
        for url, kept in news.items():
            self._sources[url].kept, self._sources[url].origin = kept, "fetched"
        self._table = table
        self._of_lists = {labels: Knowledge(labels, "", "unasked") for labels in table.label_sets()}
        self._of_lists[NO_LABELS] = NOTHING_KNOWN
        self._summaries = Memo(_MAX_SUMMARIES)
        self._freshen()
        self.generation += 1

    def _freshen(self) -> bool:
        """Whether some list became fresh or stale since the last time."""
        fresh = frozenset(url for url, source in self._sources.items() if self._is_fresh(source))
        if fresh == self._fresh:
            return False
        for url in self._fresh - fresh:
            source = self._sources[url]
            self._warn(source, _STALE)
        self._fresh = fresh
        self.generation += 1
        return True

    def _tell(self) -> None:
        self._say(self._heeding)

    def _named(self) -> None:
        self._say(self._heeding_names)

    def _say(self, heeding: Iterable[Callable[[], None]]) -> None:
        self.generation += 1
        for changed in tuple(heeding):
            try:
                changed()
            except Exception:  # noqa: BLE001 - who listens badly must not make the others deaf
                _log.exception("a change of what is known was heard of badly")

    # -- fetching

    async def _gather(self) -> None:
        while True:
            try:
                if not self.elected and not await self._stands():
                    await asyncio.sleep(self._elect_s)
                    continue
                if not self.elected:
                    self.elected = True
                    self._plan()
                now_s = self._clock()
                due = [source for source in self._sources.values() if source.due_s <= now_s]
                if due:
                    await self._fetch_all(due)
                wait_s = min(source.due_s for source in self._sources.values()) - self._clock()
                await asyncio.sleep(max(0.05, min(wait_s, self._elect_s)))
            except Exception:  # noqa: BLE001 - one bad round is not the last
                _log.exception("published lists: fetching failed")
                await asyncio.sleep(self._elect_s)

    async def _stands(self) -> bool:
        standing = asyncio.ensure_future(asyncio.to_thread(self._stand))
        try:
            return await asyncio.shield(standing)
        except asyncio.CancelledError:
            await asyncio.wait([standing])  # so that a lock that was just taken is given back
            raise

    def _stand(self) -> bool:
        """Be the one process of this directory that fetches, if there is no other. Runs in a thread."""
        assert self._directory is not None
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._warn_of_shelf(error)
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def _resign(self) -> None:
        self.elected = False
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _plan(self) -> None:
        """When each source is fetched first: soon, or when what is here has had its time."""
        now_s = self._clock()
        for source in self._sources.values():
            soon_s = now_s + self._chance() * self._first_s
            kept = source.kept
            known = kept is not None and source.origin == "fetched" and kept.fetched_s <= now_s
            source.due_s = max(soon_s, kept.fetched_s + self._jittered(self._every_s)) if known and kept else soon_s

    def _jittered(self, span_s: float) -> float:
        return span_s * (0.8 + 0.4 * self._chance())

    async def _fetch_all(self, sources: list[_Source], accept: Collection[str] = ()) -> None:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(source: _Source) -> Kept | None:
            async with gate:
                return await self._fetch_one(source, source.url in accept)

        self._fallen = []
        found = await asyncio.gather(*(one(source) for source in sources))
        self._tell_of_fallen(len(sources))
        if await self._take({source.url: kept for source, kept in zip(sources, found, strict=True) if kept}):
            self._tell()

    async def _fetch_one(self, source: _Source, accepted: bool) -> Kept | None:
        """The list of `source` as it is now, put on the shelf. Whatever goes wrong is told, and tried again later."""
        assert self._shelf is not None
        try:
            answer = await fetch(source.url, max_bytes=MAX_LIST_BYTES, deadline_s=self._fetch_s, reach=self._reach)
            kept = await asyncio.to_thread(self._judged, source, answer.body, accepted)
        except FetchError as error:
            self._failed(source, f"it could not be fetched: {error.reason}", "the last good list goes on", away=True)
            return None
        except PublishedError as error:
            grew = isinstance(error, GrowthError)
            advice = "look at it, and accept it if it is right" if grew else "if that lasts, tell its operator"
            self._failed(source, f"it was refused: {error.reason}", f"the last good list goes on; {advice}")
            return None
        except Exception as error:  # noqa: BLE001 - one source must not stop the others
            self._failed(source, f"it could not be used: {type(error).__name__}", "the last good list goes on")
            return None
        if source.error:
            _log.info("published list %s: it is fetched again", source.url)
        source.error = source.said = ""
        source.failures = 0
        source.due_s = self._clock() + self._jittered(self._every_s)
        try:
            await asyncio.to_thread(self._shelf.keep, source.url, kept)
        except OSError as error:
            self._warn_of_shelf(error)
        return kept

    def _judged(self, source: _Source, body: bytes, accepted: bool) -> Kept:
        """The list, when it may take the place of the one before. Runs in a thread. Raises PublishedError."""
        published = read_published(source.kind, body, self._reach.allowed)
        for warning in published.warnings:
            _log.info("published list %s: %s", source.url, warning)
        # What came with the package and is too old protects nobody, and the list may well have grown since.
        if source.kept is not None and not accepted and (source.origin == "fetched" or self._is_fresh(source)):
            judge_growth(source.kept.networks, published.networks)
        return Kept(published.networks, self._clock(), published.created_s)

    def _failed(self, source: _Source, why: str, advice: str, *, away: bool = False) -> None:
        source.failures += 1
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(source.failures - 1, 20))
        source.due_s = self._clock() + self._jittered(pause_s)
        text = f"{why}; {advice}"
        if not away:
            self._warn(source, text)
        elif source.said != text:
            source.said = text
            self._fallen.append((source.url, text))
        source.error = why

    def _tell_of_fallen(self, asked: int) -> None:
        """Say who could not be reached, now and then: where the way out is closed, that is everybody."""
        fallen, self._fallen = self._fallen, []
        if not fallen:
            return
        (url, text), others = fallen[0], len(fallen) - 1
        more = f" ({others} more of {asked} could not be fetched either)" if others else ""
        now_s = self._clock()
        level = logging.WARNING if now_s >= self._told_s + _TOLD_EVERY_S else logging.DEBUG
        if level == logging.WARNING:
            self._told_s = now_s
        _log.log(level, "published list %s: %s%s", url, text, more)

    def _warn(self, source: _Source, text: str) -> None:
        """Say what is wrong with a source, once for each reason."""
        source.error = text
        if source.said != text:
            source.said = text
            _log.warning("published list %s: %s", source.url, text)

    def _warn_of_shelf(self, error: OSError) -> None:
        text = error.strerror or type(error).__name__
        if self._shelf_said != text:
            self._shelf_said = text
            _log.warning("published lists cannot be kept in %s: %s; make it writable", self._directory, text)

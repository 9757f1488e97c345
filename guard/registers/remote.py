"""Sources of rights that must be asked over a network: what they said is remembered, and asked again beside requests.

The law of this file: `find` answers from memory, never waits and never raises. Whatever a source does, its last good
answer stays until a better one comes, for a day at most.

    find()    all is remembered and not due -> the very object that was given last time
              else what is remembered, and the rest is put into the queue of this tick of the loop
    _start()  the queue is shared out in batches, few at once
    _ask()    one batch: fetch, remember, climb to the parents that are not remembered, fetch those
    _fell()   nothing was answered -> nobody asks again before a growing, uneven pause is over
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from abc import ABC, abstractmethod
from asyncio import AbstractEventLoop, Task, TimerHandle
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from guard.errors import ChoiceError, RegisterError
from guard.memo import Memo
from guard.protocols import NOTHING_LISTED, Known, Listed
from guard.registers.sqlite import nothing_known
from guard.rights import MAX_CHAIN, Choice, Work, climb, read_choice, read_work

MAX_WORKS = 65_536
"""So many works are remembered at least (twice as many at most)."""

MAX_WAITING = 10_000
"""Works that wait to be asked for; those beyond are asked for when somebody wants them again."""

KEPT_S = 86_400.0
"""So long a last good answer stands in for a source that does not answer."""

TOLD_EVERY_S = 0.2
SHORTEST_AGE_S = 1.0
MAX_ENTRY_CHARS = 65_536
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 30.0
_COMPLAIN_EVERY_S = 10.0
_AHEAD = 0.75  # of its age, after which an answer is asked again while it still counts

_log = logging.getLogger("guard.rights")

Entry = tuple[Choice | None, tuple[Work, ...]]
"""What a work's holder said, and its parents."""


class Answers(NamedTuple):
    """What a source said of the works it was asked for: an Entry, or None for a work that it does not know.

    A work that is missing was not answered for. `age_s` bounds how long this may be remembered.
    """

    said: Mapping[Work, Entry | None]
    age_s: float = inf


class _Held:
    """One remembered answer. `good_s` is when it came, -inf when none ever did.

    It counts until `fresh_s`, is looked at again from `due_s` on, and then asked for again, after `tries` answers that
    could not be read not before `pause_until_s`. All are moments of the source's clock.
    """

    __slots__ = ("due_s", "entry", "fresh_s", "good_s", "pause_until_s", "tries", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.entry: Entry | None = None
        self.good_s = self.fresh_s = self.due_s = self.pause_until_s = -inf
        self.tries = 0


class _Chain(NamedTuple):
    """One answer of `find` as a whole, and what it was made from."""

    known: Known
    made_of: tuple[_Held, ...]


class RemoteSource(ABC):
    """What all sources over a network have in common; a member gives `fetch`.

    `max_age_s` is how long an answer counts, `unknown_age_s` how long it counts that a work is not known (a quarter
    of that by default), `timeout_s` the deadline of one ask, `at_once` how many asks may be under way, `batch` how
    many works are in one. `name` stands in logs.

    `find` gives the same `Known` object again while nothing changed, so that what was made of it can be kept.
    Counters: `asks` works asked for, `batches` asks, `failures` asks without an answer, `malformed` works whose
    answer could not be read, `dropped` works that found the queue full.
    """

    def __init__(
        self,
        name: str,
        *,
        max_age_s: float = 60.0,
        unknown_age_s: float | None = None,
        timeout_s: float = 1.0,
        at_once: int = 4,
        batch: int = 100,
        works: int = MAX_WORKS,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.asks = self.batches = self.failures = self.malformed = self.dropped = 0
        self._max_age_s = max_age_s
        self._unknown_age_s = max_age_s / 4 if unknown_age_s is None else unknown_age_s
        self._timeout_s = timeout_s
        self._at_once = at_once
        self._batch = batch
        self._clock = clock
        self._chance = chance
        self._memory: Memo[Work, _Held] = Memo(works)
        self._chains: Memo[tuple[Work, ...], _Chain] = Memo(max(1, works // 4))
        self._queue: dict[Work, None] = {}
        self._asked: set[Work] = set()
        self._tasks: set[Task[None]] = set()
        self._loop: AbstractEventLoop | None = None
        self._planned = False
        self._outage = 0
        self._quiet_until_s = -inf
        self._void_before_s = -inf
        self._voided: dict[Work, float] = {}
        self._fell_said_s = -inf
        self._sure_until_s = inf
        self._complained_s = -inf
        self._changed: list[Callable[[], None]] = []
        self._telling: TimerHandle | None = None
        self._told_s = -inf

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    @abstractmethod
    async def fetch(self, works: Sequence[Work]) -> Answers:
        """Ask the source for some works. Raises RegisterError or OSError when it did not answer."""

    # -- finding

    def find(self, works: tuple[Work, ...]) -> Known:
        """What is remembered of the works and of those above them; the rest is asked for beside this."""
        chains = self._chains
        chain = chains.young.get(works) or chains.get(works)
        try:
            now_s = self._clock()
            if chain is not None and now_s < self._sure_until_s:
                for held in chain.made_of:
                    if now_s >= held.due_s:
                        break
                else:
                    return chain.known
            return self._find(works, chain, now_s)
        except Exception:  # noqa: BLE001  # whatever is remembered, a request goes on
            return nothing_known(works) if chain is None else Known(chain.known.chain, "stale")

    def _find(self, works: tuple[Work, ...], before: _Chain | None, now_s: float) -> Known:
        memory = self._memory
        if before is not None:  # what is wanted all the time must not be forgotten because it was found too quickly
            for held in before.made_of:
                if held.good_s > -inf and memory.get(held.work) is None:
                    memory.keep(held.work, held)
        made_of: list[_Held] = []
        away = False
        stale = due = now_s >= self._sure_until_s

        def look(work: Work) -> Entry | None:
            nonlocal away, stale, due
            held = memory.young.get(work) or memory.get(work)
            if held is None or now_s >= held.due_s or held.good_s < self._void_before_s:
                due = True
                self._want(work, held, now_s)
            if held is None or now_s - held.good_s > KEPT_S:
                away = True
                return None
            if now_s >= held.fresh_s or held.good_s < self._void_before_s:
                stale = True
            made_of.append(held)
            return held.entry

        chain = climb(works, look)
        state = "away" if away else "stale" if stale else "known"
        if before is not None and before.known.state == state and before.known.chain == chain:
            known = before.known
        else:
            known = Known(chain, state)
        if not away:
            # Kept also when it is due: it is looked at each time then, but stays the same object.
            self._chains.keep(works, _Chain(known, (*made_of, _DUE) if due else tuple(made_of)))
        return known

    def listed(self, limit: int) -> Listed:
        """Nothing: a source that is asked work by work cannot say what it holds."""
        return NOTHING_LISTED

    def heed(self, changed: Callable[[], None]) -> None:
        """Call `changed` in the loop of `open`, at most every 0.2 s, when an answer differs from the one before."""
        self._changed.append(changed)

    async def open(self) -> None:
        """From now on what is missing is asked for, in the running event loop."""
        self._loop = asyncio.get_running_loop()

    async def close(self) -> None:
        """End what is under way. What is remembered stays."""
        self._loop = None
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._queue.clear()
        self._asked.clear()
        self._planned = False
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None

    # -- asking

    def _want(self, work: Work, held: _Held | None, now_s: float) -> None:
        """Put one work into the queue of this tick, unless it is under way or the source needs its pause."""
        loop = self._loop
        if loop is None or work in self._asked or now_s < self._quiet_until_s:
            return
        if held is not None and now_s < held.pause_until_s:
            return
        if len(self._asked) >= MAX_WAITING:
            self.dropped += 1
            return
        self._asked.add(work)
        self._queue[work] = None
        if not self._planned:
            self._planned = True
            try:
                loop.call_soon_threadsafe(self._start)
            except RuntimeError:  # the loop was closed, and nobody told us
                self._loop = None

    def _start(self) -> None:
        """Share the queue out, to one asker while the source is failing."""
        self._planned = False
        loop = self._loop
        if loop is None:
            return
        wanted = -(-len(self._queue) // self._batch)
        room = (1 if self._outage else self._at_once) - sum(not task.done() for task in self._tasks)
        for _ in range(min(wanted, room)):
            task = loop.create_task(self._empty_queue(), name="guard-rights")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _empty_queue(self) -> None:
        while self._queue:
            works: list[Work] = []
            while self._queue and len(works) < self._batch:
                works.append(work := next(iter(self._queue)))
                del self._queue[work]
            try:
                await self._ask(works)
            except Exception as error:  # noqa: BLE001 - whatever a source or its library does, requests go on
                self._fell(error)
            finally:
                self._asked.difference_update(works)

    async def _ask(self, works: Sequence[Work]) -> None:
        """Fetch some works and whatever stands above them and is not remembered."""
        asked: set[Work] = set()
        missing = list(works)
        while missing:
            asked.update(missing)
            for start in range(0, len(missing), self._batch):
                await self._ask_once(missing[start : start + self._batch])
            missing = [work for work in self._unknown_above(works) if work not in asked]

    def _unknown_above(self, works: Iterable[Work]) -> Iterable[Work]:
        missing: dict[Work, None] = {}
        now_s = self._clock()

        def look(work: Work) -> Entry | None:
            held = self._memory.get(work)
            if held is None or (now_s - held.good_s > KEPT_S and now_s >= held.pause_until_s):
                missing[work] = None
            return held.entry if held is not None else None

        for work in works:
            climb((work,), look)
        return missing

    async def _ask_once(self, works: Sequence[Work]) -> None:
        self.batches += 1
        self.asks += len(works)
        began_s = self._clock()
        async with asyncio.timeout(self._timeout_s):
            answers = await self.fetch(works)
        self._rose()
        for work in works:
            if work in answers.said:
                self._remember(work, answers.said[work], answers.age_s, began_s)
            else:
                self._missed(work)

    def _remember(self, work: Work, entry: Entry | None, age_s: float, now_s: float) -> None:
        held = self._memory.get(work)
        if held is None or held.entry != entry or held.good_s == -inf:
            new = _Held(work)
            if held is not None and held.good_s > -inf:
                self._tell()
            if held is not None:
                held.due_s = held.good_s = -inf  # what was made of it is made again
            held = new
        held.entry = entry
        held.tries = 0
        held.pause_until_s = -inf
        age_s = max(SHORTEST_AGE_S, min(age_s, self._max_age_s if entry is not None else self._unknown_age_s))
        held.good_s = now_s
        held.fresh_s = now_s + age_s
        held.due_s = now_s + age_s * _AHEAD
        if self._voided.get(work, -inf) >= now_s:  # it changed while it was asked for
            held.fresh_s = now_s
            held.due_s = -inf
        self._memory.keep(work, held)

    def _missed(self, work: Work) -> None:
        """The source answered, but not for this work: what it said before stays, and it is asked again later."""
        held = self._memory.get(work)
        if held is None:
            held = _Held(work)
            self._memory.keep(work, held)
        held.tries += 1
        held.pause_until_s = self._clock() + self._pause_s(held.tries)

    def _void(self, works: Iterable[Work] | None = None) -> None:
        """What is remembered of these works (None: of all) is due at once, and does not count as known any more."""
        now_s = self._clock()
        self._chains = Memo(self._chains.capacity)
        named = None if works is None else tuple(works)
        if not self._tasks or named is None:
            self._voided.clear()  # what is under way is all that this is kept for
        if named is None or len(self._voided) + len(named) > MAX_WAITING:
            self._void_before_s = now_s
            return
        for work in named:
            self._voided[work] = now_s
            if (held := self._memory.get(work)) is not None:
                held.due_s = -inf
                held.fresh_s = min(held.fresh_s, now_s)
                held.pause_until_s = -inf
                self._want(work, held, now_s)

    def complain(self, work: Work, error: Exception) -> None:
        """Note that the answer for one work could not be read. Members call this and leave the work out."""
        self.malformed += 1
        now_s = self._clock()
        if now_s - self._complained_s >= _COMPLAIN_EVERY_S:
            self._complained_s = now_s
            _log.warning(
                "rights from %s: what it says of %.80r cannot be read: %.200s (%d so far)",
                self.name,
                str(work),
                str(error).encode("unicode_escape").decode(),
                self.malformed,
            )

    # -- outages

    def _fell(self, error: BaseException) -> None:
        self.failures += 1
        self._asked.difference_update(self._queue)
        self._queue.clear()
        now_s = self._clock()
        if now_s < self._quiet_until_s:
            return  # another ask of the same moment
        self._outage += 1
        self._quiet_until_s = now_s + self._pause_s(self._outage)
        if self._outage == 1 and now_s - self._fell_said_s >= _COMPLAIN_EVERY_S:
            self._fell_said_s = now_s
            _log.warning("rights from %s: %s; what it said last goes on", self.name, reason(error, self._timeout_s))

    def _rose(self) -> None:
        if self._outage:
            _log.info("rights from %s: it answers again, after %d failures", self.name, self._outage)
        self._outage = 0
        self._quiet_until_s = -inf

    def _pause_s(self, failures: int) -> float:
        """Twice as long each time, and never the same for two workers."""
        longest_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(failures - 1, 20))
        return longest_s * (0.5 + 0.5 * self._chance())

    # -- telling

    def _tell(self) -> None:
        if self._telling is None and self._loop is not None:
            wait_s = max(0.0, self._told_s + TOLD_EVERY_S - self._clock())
            self._telling = self._loop.call_later(wait_s, self._tell_now)

    def _tell_now(self) -> None:
        self._telling = None
        self._told_s = self._clock()
        for changed in tuple(self._changed):
            try:
                changed()
            except Exception:  # noqa: BLE001 - who listens badly must not make the others deaf
                _log.exception("a change of rights was heard of badly")


_DUE = _Held(Work("", ""))
"""Always due: a chain with it is looked at again each time."""


def read_entry(said: object) -> Entry | None:
    """{"parents": ["artist:7"], ...a choice} as an Entry; null is a work that is not known.

    No word of a choice at all: nobody said anything. Raises ChoiceError.
    """
    if said is None:
        return None
    if not isinstance(said, Mapping):
        raise ChoiceError("", "expected a mapping (key: value) or null")
    choice = {key: value for key, value in said.items() if key != "parents"}
    return read_choice(choice) if choice else None, read_parents(said.get("parents"))


def read_parents(said: object) -> tuple[Work, ...]:
    """["artist:7", "release:12"] as works, each once; None are none. Raises ChoiceError."""
    if said is None:
        return ()
    if not isinstance(said, list | tuple) or len(said) >= MAX_CHAIN:
        raise ChoiceError("parents", f"expected a list of fewer than {MAX_CHAIN} works, like artist:7")
    parents: dict[Work, None] = {}
    for number, text in enumerate(said):
        if not isinstance(text, str):
            raise ChoiceError(f"parents[{number}]", "expected text, like artist:7")
        try:
            parents[read_work(text)] = None
        except ChoiceError as error:
            raise ChoiceError(f"parents[{number}]", str(error)) from None
    return tuple(parents)


def read_json(text: bytes | str) -> Any:
    """JSON as RFC 8259 has it: no NaN, no lone surrogates, no key twice. Raises ValueError."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_each_once)
        # A lone surrogate is text that cannot be written down anywhere.
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeError:
        raise ValueError("text that is no Unicode") from None
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a key stands there twice")
    return table


def reason(error: BaseException, timeout_s: float) -> str:
    """What went wrong, in words that quote nothing of what was sent or received."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RegisterError):
            return str(cause)
        if isinstance(cause, TimeoutError):
            return f"no answer within {timeout_s * 1e3:.0f} ms"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__

"""`fleet`: one day whose requests are spread at random over several worker processes that share one Valkey.

Each worker is a process with its own guard; what their lookouts count is merged through a real server, by the store's
own calls and the scripts as they are. What is not real is time: a day is played in minutes, so every clock is the
day's. Three things follow, and nothing else is changed:

- The store's timer is real time. Here it is due on the day's clock: after the same interval with the same scatter. A
  worker with nothing to tell is passed over; when it has something, its timer stands at any point of its interval.
- The scripts ask the server for the time, and names run out by it. A few lines before each script give it the day's
  time instead, and let names run out by that (PROLOGUE).
- A call to the server takes no time of the day, nor does telling: what a worker spends on it is not bounded here.

What a worker knows for itself (answers on their way, who was seen to live or is refused for now) stays in it.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import random
import sys
import time
from asyncio import Future
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from heapq import heappop, heappush
from itertools import count
from math import inf
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, NamedTuple

import redis

import guard.stores.redis as redis_store
from guard.engine import Guard
from guard.errors import GuardError
from guard.logs import Entry
from guard.logs.trace import read
from guard.lookout import Lookout
from guard.model import Admission, Request, Signal
from guard.observe import Batch, Meters
from guard.practice import at_site
from guard.replay import LogClock, Outcome
from guard.stores.embedded import EmbeddedValkey
from guard.stores.link import LIMITS, Script, command
from guard.stores.redis import SYNC_S, RedisStore
from guard.watching import AUDIO_SECONDS, Told, Watched
from loadtests.practice.exam import OURS, SHARED, Day, Marks, PracticeError, decide, make_day, mark, read_policy
from loadtests.practice.showing import Cells, Section, print_sections, say

PATIENCE_S = 30.0
"""Of real time: nothing here takes so long."""

SECRET = b"the workers of one exam"
NOW = "day:now"
PASSED = frozenset(("allow", "serve"))
LABELS = frozenset(("persona", "truth", "actor", "session_label", "can_js"))
"""What a trace says of its requests and no guard is told."""

PROLOGUE = b"""\
local redis = (function(server)
  local micros = tonumber(server.call('GET', 'day:now') or '0')
  local millis = math.floor(micros / 1000)
  for _, name in ipairs(server.call('ZRANGEBYSCORE', 'day:ends', '-inf', millis)) do
    server.call('DEL', name)
    server.call('ZREM', 'day:ends', name)
  end
  local function with(ask)
    return function(word, name, ...)
      local rest = {...}
      if word == 'TIME' then
        return {string.format('%d', math.floor(micros / 1000000)), string.format('%d', micros % 1000000)}
      elseif word == 'SET' and rest[2] == 'PX' then
        server.call('ZADD', 'day:ends', millis + tonumber(rest[3]), name)
        return ask('SET', name, rest[1])
      elseif word == 'PEXPIRE' then
        local there = server.call('EXISTS', name)
        if there == 1 then server.call('ZADD', 'day:ends', millis + tonumber(rest[1]), name) end
        return there
      end
      return ask(word, name, ...)
    end
  end
  return {call = with(server.call), pcall = with(server.pcall)}
end)(redis)
"""
"""Before a script: the day's clock in the place of the server's, and names that run out by it."""


def tell_time(script: Script) -> None:
    """Have a script run by the day's clock."""
    script.text = PROLOGUE + script.text
    script.sha = sha1(script.text, usedforsecurity=False).hexdigest().encode()
    script.load = command(b"SCRIPT", b"LOAD", script.text)
    script.head = b"$7\r\nEVALSHA\r\n$40\r\n%b\r\n" % script.sha


# -- one worker ------------------------------------------------------------------------------------------------


class Setup(NamedTuple):
    """What a worker is told when it begins."""

    number: int
    workers: int
    url: str
    policy: str
    site: Mapping[str, Any]
    interval_s: float
    seed: int


class DayStore(RedisStore):
    """A store whose timer is due on the day's clock. `due_s` is when it fires, inf when it is not set."""

    due_s = inf
    chance: random.Random

    def _sync_soon(self) -> None:
        if self.due_s == inf:
            wait_s = self._sync_s / 5 if self._hurried else self._sync_s
            self.due_s = self._clock() + wait_s * self.chance.uniform(0.8, 1.2)

    def _beat(self) -> None:
        """How many workers there are is told to each of them."""

    def _hurry(self) -> None:
        self.due_s = min(self._due_s(), self._clock() + self._sync_s / 5)

    def _due_s(self) -> float:
        """When its timer fires next. While there was nothing to tell it has fired again and again."""
        now_s = self._clock()
        if self.due_s < now_s:
            self.due_s = now_s + self._sync_s * self.chance.random()
        return self.due_s

    def next_s(self) -> float:
        """When it has something to tell or to ask next; inf when it has nothing."""
        if self.meters is None:
            return inf
        return self._due_s() if self.meters.unsent else max(self._due_s(), self.meters.follows_at_s)

    async def fire(self) -> None:
        """What the timer does, to the end."""
        self._heard: Future[None] = asyncio.get_running_loop().create_future()
        self.due_s = inf
        self._sync()
        if self._metering:
            async with asyncio.timeout(PATIENCE_S):
                await self._heard

    def _merger(self, meters: Meters, batch: Batch, sent: float) -> Callable[[object], None]:
        merge = super()._merger(meters, batch, sent)

        def done(reply: object) -> None:
            merge(reply)
            if not self._metering and not self._heard.done():
                self._heard.set_result(None)

        return done


def looks_of(entry: Entry) -> tuple[dict[bytes, bytes], Told]:
    """The headers of an entry as a guard sees them, and what else it knows."""
    http1 = entry.protocol.startswith("h1") if entry.protocol else None
    fields = {name.encode("latin-1", "replace"): value for name, value in entry.headers}
    return fields, Told(entry.account.encode("utf-8", "replace"), http1, ja4=entry.ja4.encode("latin-1", "replace"))


class Worker:
    """A guard with the day's clock, and the answers that it is sending."""

    def __init__(self, setup: Setup) -> None:
        redis_store.SYNC_S = setup.interval_s
        self.clock = clock = LogClock()
        policy = at_site(read_policy(setup.policy), setup.site)
        self.store = DayStore(
            setup.url,
            workers=setup.workers,
            secret=SECRET,
            timeout_s=2.0,  # deadlines are another exam's
            connect_timeout_s=5.0,
            clock=clock,
            wall=clock,
        )
        self.store.chance = random.Random(f"{setup.seed}:{setup.number}")
        self.store._sync_s = setup.interval_s
        lookout = Lookout(clock=clock, wall=clock)
        self.guard = Guard(policy, store=self.store, clock=clock, lookout=lookout, secret=SECRET)
        for script in (LIMITS, self.store._script):
            if script is not None:
                tell_time(script)
        self._answers: list[tuple[float, int, Watched, Entry]] = []
        self._songs: list[float] = []  # when answers with music end: there is something to tell then
        self.syncs = 0

    async def ask(self, time_s: float, line: bytes) -> tuple[str, str, list[tuple[str, float]]]:
        """Decide one request."""
        self._hear_until(time_s)
        entry = read(line, 0)
        request = Request(entry.method, entry.target, entry.user_agent, entry.ip or None, (), None, entry.query)
        guard = self.guard
        client, decision = guard.consider(request)
        decision, watched = guard.watch(request, decision, *looks_of(entry))
        action = decision.action
        if action == "throttle":
            asked = guard.admit(request, client, decision)
            if asked is not None and not isinstance(asked, Admission):
                async with asyncio.timeout(PATIENCE_S):
                    asked = await asked
            if asked is not None and asked.allowed:
                action = "allow"
        if watched is not None and action == "throttle":
            guard.hear(watched, 429, 0)
        elif watched is not None:
            ends_s = time_s + entry.duration_s
            heappush(self._answers, (ends_s, entry.number, watched, entry))
            if entry.audio_s > 0.0:
                heappush(self._songs, ends_s)
        return action, decision.rule, [(signal.name, signal.points) for signal in decision.signals]

    async def wake(self, time_s: float) -> None:
        """Do what is due by then."""
        self._hear_until(time_s)
        if self.store.next_s() <= time_s:
            self.syncs += 1
            await self.store.fire()

    def _hear_until(self, time_s: float) -> None:
        """Answers that are over by then are heard, each in its moment."""
        clock = self.clock
        while self._answers and self._answers[0][0] <= time_s:
            ends_s, _, watched, entry = heappop(self._answers)
            clock.now_s = max(clock.now_s, ends_s)
            hints = {AUDIO_SECONDS: b"%.2f" % entry.audio_s} if entry.audio_s >= 0.0 else None
            self.guard.hear(watched, entry.status, entry.body_bytes, hints)
        while self._songs and self._songs[0] <= time_s:
            heappop(self._songs)
        clock.now_s = time_s

    def next_s(self) -> float:
        """When it has something to do by itself."""
        return min(self.store.next_s(), self._songs[0] if self._songs else inf)

    def numbers(self) -> dict[str, int]:
        """What must be nothing for the exam to be one, and how often was told what."""
        store, meters = self.store, self.store.meters
        found = {"syncs": self.syncs, "calls": store.scripts, "errors": store.errors, "local": store.local}
        if meters is not None:
            found |= {name: getattr(meters, name) for name in ("failures", "lost", "dropped", "evictions", "keys")}
        return found


def work(pipe: Connection, setup: Setup) -> None:
    """A worker process: one command after another, each answered, until the pipe ends."""
    asyncio.run(_work(pipe, setup))


async def _work(pipe: Connection, setup: Setup) -> None:
    worker = Worker(setup)
    await worker.store.open()
    pipe.send(not worker.store.breaker_open)
    try:
        while True:
            await _readable(pipe)
            what, time_s, line = pipe.recv()
            said: Any = None
            if what == "ask":
                said = await worker.ask(time_s, line)
            elif what == "wake":
                await worker.wake(time_s)
            else:
                said = worker.numbers()
            pipe.send((said, worker.next_s()))
    except EOFError:
        pass
    finally:
        pipe.close()


async def _readable(pipe: Connection) -> None:
    """Wait for something to read, while the store's connection is looked after."""
    loop = asyncio.get_running_loop()
    ready: Future[None] = loop.create_future()

    def tell() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(pipe.fileno(), tell)
    try:
        await ready
    finally:
        loop.remove_reader(pipe.fileno())


# -- all of them -----------------------------------------------------------------------------------------------


class Fleet:
    """Some workers and their server; a context manager. `play` hands them a day, in the order of its time."""

    def __init__(
        self,
        site: Mapping[str, Any],
        *,
        workers: int = 4,
        interval_s: float = SYNC_S,
        seed: int = 1,
        policy: str = OURS,
    ) -> None:
        self.numbers: list[dict[str, int]] = []
        self._site = dict(site)
        self._policy = policy
        self._interval_s = interval_s
        self._seed = seed
        self._valkey = EmbeddedValkey()
        self._count = workers
        self._members: list[tuple[SpawnProcess, Connection]] = []
        self._due: list[tuple[float, int, int]] = []  # when, which of its promises, whose
        self._promised: list[int] = [0] * workers
        self._order = count(1)
        self._now_s = -1.0

    def __enter__(self) -> Fleet:
        try:
            self._valkey.start()
            self._server = redis.Redis(unix_socket_path=str(self._valkey.socket_path), socket_timeout=PATIENCE_S)
            context = get_context("spawn")
            for number in range(self._count):
                ours, theirs = context.Pipe()
                setup = Setup(
                    number, self._count, self._valkey.url, self._policy, self._site, self._interval_s, self._seed
                )
                process = context.Process(target=work, args=(theirs, setup), name=f"exam-{number}", daemon=True)
                process.start()
                theirs.close()
                self._members.append((process, ours))
            for number in range(self._count):
                if self._read(number) is not True:
                    raise PracticeError(f"worker {number} has no server to share with")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for _process, pipe in self._members:
            pipe.close()
        for process, _pipe in self._members:
            process.join(5.0)
            if process.is_alive():
                process.kill()
                process.join(5.0)
        self._members = []
        self._valkey.stop()

    def play(self, records: Iterable[Mapping[str, Any]]) -> list[Outcome]:
        """What each request would have come to. Raises PracticeError when the workers did not share all the time."""
        chance = random.Random(f"spread {self._seed}")
        outcomes: list[Outcome] = []
        for record in records:
            time_s = float(record["t"])
            self._wake_until(time_s)
            told = {name: value for name, value in record.items() if name not in LABELS}
            action, rule, signals = self._tell(chance.randrange(self._count), "ask", time_s, json.dumps(told).encode())
            outcomes.append(Outcome(action, rule, tuple(Signal(name, points, "") for name, points in signals)))
        self.numbers = [self._tell(number, "end", self._now_s) for number in range(self._count)]
        for number, found in enumerate(self.numbers):
            if broken := {name: found[name] for name in ("errors", "local", "failures", "lost") if found.get(name)}:
                raise PracticeError(f"worker {number} did not share all that it counted: {broken}")
        return outcomes

    def _wake_until(self, time_s: float) -> None:
        """Have done what is due before that moment, in the order of time."""
        while self._due and self._due[0][0] <= time_s:
            due_s, promise, number = heappop(self._due)
            if self._promised[number] == promise:
                self._tell(number, "wake", due_s)

    def _tell(self, number: int, what: str, time_s: float, line: bytes = b"") -> Any:
        if time_s != self._now_s:
            self._now_s = time_s
            self._server.set(NOW, round(time_s * 1e6))
        try:
            self._members[number][1].send((what, time_s, line))
        except OSError:
            raise self._ended(number) from None
        said, next_s = self._read(number)
        self._promised[number] = promise = next(self._order)
        if next_s < inf:
            heappush(self._due, (max(next_s, time_s), promise, number))
        return said

    def _read(self, number: int) -> Any:
        pipe = self._members[number][1]
        try:
            if pipe.poll(PATIENCE_S):
                return pipe.recv()
        except (EOFError, OSError):
            raise self._ended(number) from None
        raise PracticeError(f"worker {number} did not answer within {PATIENCE_S:.0f} s")

    def _ended(self, number: int) -> PracticeError:
        process = self._members[number][0]
        process.join(5.0)
        return PracticeError(f"worker {number} has ended ({process.exitcode})")


# -- days and marks, for both exams ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Exam:
    """One day under two ways of running the guard: played in one process, and as the exam has it."""

    title: str
    alone: Marks
    other: Marks
    same: float
    """The share of requests that came to the same."""

    only_alone: int
    only_here: int
    """Requests that were refused, slowed or challenged in one way of running only."""

    @property
    def met(self) -> bool:
        return self.other.bars_met == len(self.other.summary["bars"])


def load_day(day: Path, site: Path, first: int | None = None) -> Day:
    """A day that simulate.py has written, or the beginning of one."""
    records: list[dict[str, Any]] = []
    with gzip.open(day, "rt", encoding="utf-8") if day.suffix == ".gz" else day.open(encoding="utf-8") as file:
        for line in file:
            if first is not None and len(records) >= first:
                break
            records.append(json.loads(line))
    return as_day(records, json.loads(site.read_text(encoding="utf-8")))


def as_day(records: Sequence[Mapping[str, Any]], site: Mapping[str, Any]) -> Day:
    """A day of these requests."""
    return Day(records, [read(json.dumps(record).encode(), number) for number, record in enumerate(records)], site)


def compare(shared: Path, day: Day, title: str, outcomes: Sequence[Outcome]) -> Exam:
    """Marks of these outcomes beside those of one process that is played the day."""
    alone = decide(day, OURS)
    pairs = [(one.action, other.action) for one, other in zip(alone, outcomes, strict=True)]
    same = sum(one == other for one, other in pairs) / max(1, len(pairs))
    only_alone = sum(one not in PASSED and other in PASSED for one, other in pairs)
    only_here = sum(one in PASSED and other not in PASSED for one, other in pairs)
    marks = mark(shared, day, OURS, alone), mark(shared, day, OURS, outcomes)
    return Exam(title, *marks, same, only_alone, only_here)


def sections(exam: Exam, notes: Sequence[str] = ()) -> list[Section]:
    """Each persona and each bar, both ways side by side."""
    alone, other = exam.alone.summary, exam.other.summary
    rows: list[Cells] = []
    for truth in ("human", "good_bot", "agent", "bot"):
        for name, ours in sorted(other["personas"].items()):
            if ours["truth"] == truth:
                bar = other["bars"].get(name)
                word = "" if bar is None else ("met" if bar[0] else "MISSED")
                theirs = alone["personas"][name]
                cells = [cell for one in (theirs, ours) for cell in _cells(one)]
                rows.append((name, truth, str(ours["requests"]), *cells, bar[2] if bar else "", word))
    head = ("persona", "truth", "requests", "one: refused %", "slowed %", "before 1st", "exam: refused %", "slowed %")
    personas = Section(f"{exam.title}: personas", (*head, "before 1st", "bar", ""), rows)
    bars = [
        (name, str(alone["bars"][name][1]), str(said), str(limit), "met" if good else "MISSED")
        for name, (good, said, limit) in other["bars"].items()
        if name.startswith("people:")
    ]
    met = f"{exam.other.bars_met} of {len(other['bars'])} bars met, in one process {exam.alone.bars_met}"
    agreed = (
        f"{100 * exam.same:.2f} % of requests came to the same as in one process; "
        f"{exam.only_alone} were refused there only, {exam.only_here} here only"
    )
    people = Section(f"{exam.title}: people", ("bar", "one", "exam", "at most", ""), bars, [met, agreed, *notes])
    found = [personas, people]
    if exam.other.offences:
        found.append(
            Section(
                f"{exam.title}: who was refused or slowed and is a person or an honest machine",
                ("persona", "session", "i", "request", "action", "signals"),
                [
                    (one["persona"], one["session"], str(one["i"]), one["request"], one["action"], str(one["signals"]))
                    for one in exam.other.offences
                ],
            )
        )
    return found


def _cells(numbers: Mapping[str, Any]) -> Cells:
    before = str(numbers["before_first"]) if numbers["truth"] == "bot" else ""
    return f"{100 * numbers['hard']:.2f}", f"{100 * numbers['soft']:.2f}", before


def as_data(exam: Exam, **more: Any) -> dict[str, Any]:
    """All numbers, for programs."""
    return {
        "ok": exam.met,
        "same": exam.same,
        "refused_only_alone": exam.only_alone,
        "refused_only_here": exam.only_here,
        "alone": exam.alone.summary,
        "exam": exam.other.summary,
        "offences": exam.other.offences,
        **more,
    }


def parser_of(name: str, description: str) -> argparse.ArgumentParser:
    """The arguments that both exams have."""
    parser = argparse.ArgumentParser(
        prog=f"python -m loadtests.practice.{name}",
        description=description,
        epilog="Exit status: 0 when all bars are met, 1 when not, 2 when the exam could not be held.",
    )
    parser.add_argument("--shared", type=Path, default=SHARED, metavar="DIR", help="holds traffic/")
    parser.add_argument(
        "--seed", type=int, default=1, help="of the day, where none is named, and of all chance here (default: 1)"
    )
    parser.add_argument("--day", type=Path, metavar="FILE", help="a day written by simulate.py, in place of a new one")
    parser.add_argument("--site", type=Path, metavar="FILE", help="what is known of the day's site; comes with --day")
    parser.add_argument("--first", type=int, metavar="N", help="only the day's first requests")
    parser.add_argument("--json", action="store_true", help="all numbers as one JSON object")
    return parser


def day_of(arguments: argparse.Namespace) -> Day:
    """The day that the arguments name."""
    if (arguments.day is None) != (arguments.site is None):
        raise PracticeError("--day and --site come together")
    if arguments.day is not None:
        return load_day(arguments.day, arguments.site, arguments.first)
    day = make_day(arguments.shared, arguments.seed)
    return as_day(day.records[: arguments.first], day.site) if arguments.first is not None else day


def hold(name: str, run: Callable[[], bool]) -> int:
    """Run an exam, and say in one line what keeps it from being held."""
    try:
        return 0 if run() else 1
    except PracticeError as error:
        say(f"{name}: {error}")
    except GuardError as error:
        say(f"{name}: {error}")
    except OSError as error:
        say(f"{name}: {error.filename or 'a file'}: {error.strerror or error}")
    except KeyboardInterrupt:
        return 130
    return 2


def show(arguments: argparse.Namespace, exam: Exam, notes: Sequence[str], **more: Any) -> None:
    """Tables, or one JSON object."""
    if arguments.json:
        json.dump(as_data(exam, **more), sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        print_sections(sections(exam, notes))


def run(arguments: argparse.Namespace) -> bool:
    """Hold the exam and show what came of it."""
    day = day_of(arguments)
    began = time.monotonic()
    with Fleet(day.site, workers=arguments.workers, interval_s=arguments.interval, seed=arguments.seed) as fleet:
        outcomes = fleet.play(day.records)
    took_s = time.monotonic() - began
    exam = compare(arguments.shared, day, f"{arguments.workers} workers, seed {arguments.seed}", outcomes)
    total = {name: sum(found[name] for found in fleet.numbers) for name in fleet.numbers[0]}
    notes = [
        f"what a worker counts is told after {arguments.interval:g} s of the day (give or take a fifth)",
        f"{total['syncs']} times something was told; {total['calls']} calls; {took_s:.0f} s",
    ]
    show(arguments, exam, notes, workers=fleet.numbers, interval_s=arguments.interval, took_s=round(took_s, 1))
    return exam.met


def main(argv: Sequence[str] | None = None) -> int:
    description = "One day spread at random over several worker processes that share one Valkey, and its marks."
    parser = parser_of("fleet", description)
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="worker processes (default: 4)")
    parser.add_argument(
        "--interval", type=float, default=SYNC_S, metavar="S", help="of what workers tell (default: %(default)s)"
    )
    arguments = parser.parse_args(argv)
    if arguments.workers < 1 or arguments.interval <= 0:
        parser.error("needs a worker, and an interval above nothing")
    return hold("fleet", lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())

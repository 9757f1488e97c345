"""Limits counted together with all other workers, in Valkey or Redis: alone, behind Sentinels, or as a cluster.

The law of this file: the server may be slow, wrong or gone, and nobody who asks ever notices more than one deadline.

    take()     one that is held here is used, or a refusal is still known -> answered at once (`leases.py`)
               nobody can be asked -> counted here
               else an entry is queued, together with all who want the same in this tick, and a future handed out
    charge()   noted, and told behind the request; so is leave()
    told()     the server's word: some who waited are admitted, and perhaps some more are held

What a server counts under is in `names.py`, how it counts in `limits.lua`, how it is reached in `link.py`, which one it
is in `topology.py`.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from asyncio import Future
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from guard.model import Admission, Limit
from guard.protocols import LAPSE_S
from guard.stores.leases import Known, Leases
from guard.stores.link import Entry, Job, Link, Script, Times
from guard.stores.memory import BUSY_S, MemoryStore
from guard.stores.names import TAGS, Named, Names
from guard.stores.plans import LONGEST_KEY, Plan, Plans, Slot, short
from guard.stores.topology import Address, Cluster, Dialler, Single, read_address

if TYPE_CHECKING:
    from guard.observe import Batch, Meters

SYNC_S = 0.1
"""What is told behind requests is told so often."""

SYNC_AT_MOST_S = 0.4
WORKERS_S = 5.0
MAX_CHARGES = 50_000
METERED_SHARE = 0.0125
"""So much of a worker's time at most goes into telling meters: under a flood of keys the fleet is told later."""

METERED = 128
"""So many keys at most are metered in one call: the server does nothing else meanwhile, about a millisecond."""

_OPS = {"rate": b"r", "quota": b"q", "concurrent": b"c", "afterwards": b"p"}
_LAPSE_MS = b"%d" % (LAPSE_S * 1000)
_WORKERS_MS = b"%d" % (WORKERS_S * 3000)


class RedisStore:
    """Limits on a shared server, see `guard.protocols.Store`.

    `url` is redis://, rediss:// or unix://; redis+sentinel://HOST:PORT,…/SERVICE; redis+cluster://HOST:PORT,…
    `workers` is how many workers share the fallback (see `MemoryStore`): while the server is away, at most
    floor(D / T) + max(burst, workers) are admitted in D seconds on top. `secret` keys the names under which clients are
    counted, the same for all workers that share limits (see `Names`). `timeout_s` is the deadline of a take,
    `connect_timeout_s` what connecting may take besides. `meters` are synced behind requests.

    Counters: `calls` takes (not what an edge spends of a lease by itself, see `lease`), `scripts` script calls, `local`
    answers from this worker alone, `denied_locally` refusals from memory, `errors` failures of servers, `breaker_open`
    when no server can be asked. `fleet` is how many workers count together.
    """

    shared = True

    def __init__(
        self,
        url: str,
        *,
        workers: int = 1,
        secret: bytes = b"",
        timeout_s: float = 0.05,
        connect_timeout_s: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        max_keys: int = 100_000,
        meters: Meters | None = None,
    ) -> None:
        self.calls = self.local = self.denied_locally = self.scripts = 0
        self.fleet = self._workers = max(1, workers)
        self.meters = meters
        self._script = Script("meters.lua") if meters is not None else None
        if meters is not None:
            meters.hurry = self._hurry
        self._clock = clock
        self._fallback = MemoryStore(clock, share=workers, wall=wall)
        self._names = Names(secret, wall)
        self._plans = Plans(shared=True)
        self._by_name = self._plans.by_name
        self._renewed = 0
        self._leases = Leases(max_keys, clock)
        self._known = self._leases.take
        self._queued: dict[tuple[Slot, int], Entry] = {}
        self._charges: dict[Slot, tuple[Plan, int]] = {}
        self._places: dict[Slot, int] = {}
        self._asked_places: dict[Slot, int] = {}
        self._dirty: dict[Slot, Plan] = {}  # places of which the server has another number
        self._holding: dict[Slot, Plan] = {}  # the plans of `_places`
        self._telling = False
        self._worker = b""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._syncing: asyncio.TimerHandle | None = None
        self._beating: asyncio.TimerHandle | None = None
        self._sync_s = SYNC_S
        self._metering = 0
        self._hurried = False  # more was metered than one call tells
        self._metered_s = 0.0  # what telling it takes of this worker's time
        address = read_address(url)
        self._shown = address.shown
        dialler = Dialler(address, connect_timeout_s)
        self._reach = partial(_reach, self, address, dialler, Times(timeout_s, connect_timeout_s, clock))
        self._servers = self._reach()

    def __repr__(self) -> str:
        return f"RedisStore({self._shown}, {'local' if self.breaker_open else 'shared'})"

    def observe(self, meters: Meters) -> None:
        """Sync these meters behind requests, too. Before `open`, or between two requests."""
        self.meters = meters
        meters.hurry = self._hurry
        if self._script is None:
            self._script = Script("meters.lua")
        if self._loop is not None:
            self._sync_soon()

    @property
    def errors(self) -> int:
        """Failures of servers so far."""
        return sum(link.errors for link in self._servers.links)

    @property
    def breaker_open(self) -> bool:
        """Is there no server that can be asked?"""
        return self._loop is None or all(link.down for link in self._servers.links)

    # -- asking

    def take(self, limit: Limit, key: bytes, cost: int = 1) -> Admission | Future[Admission]:
        """Ask for one request that costs `cost` under `limit` for `key`: an answer, or a future done in time."""
        self.calls += 1
        plan = self._by_name.get(limit.name)
        if plan is None or plan.limit is not limit:
            plan = self._plan(limit)
        if len(key) > LONGEST_KEY:
            key = short(key)
        slot = (plan.name, key)
        units = 1 if cost == 1 or plan.kind in ("concurrent", "afterwards") or limit.afterwards else plan.units(cost)
        now = int(self._clock() * 1e6)
        known = self._known(plan, slot, units, now)
        if known is not None:
            if not known.allowed:
                self.denied_locally += 1
            return known
        return self._ask(plan, slot, units, now)

    def peek(self, limit: Limit, key: bytes, cost: int = 1) -> Admission | None:
        """The refusal that `take` would answer with, where it is known."""
        plan = self._plan(limit)
        units = 1 if limit.afterwards or plan.kind == "concurrent" else plan.units(cost)
        return self._leases.peek((plan.name, short(key)), units, int(self._clock() * 1e6))

    def lease(self, limit: Limit, key: bytes) -> Known | None:
        """What is held here of a leased rate for `key`."""
        plan = self._plan(limit)
        if plan.kind != "rate" or limit.precision == "exact":
            return None
        return self._leases.find((plan.name, short(key)))

    def charge(self, limit: Limit, key: bytes, cost: int) -> None:
        """Note what a request has really cost; it is told to the server behind requests."""
        plan = self._plans.past(limit)
        slot = (plan.name, short(key))
        if self.breaker_open:
            self._fallback.charge(limit, slot[1], cost)
        self._charge(plan, slot, plan.units(cost))
        self._leases.doubt(slot)

    def _charge(self, plan: Plan, slot: Slot, units: int) -> None:
        if slot in self._charges or len(self._charges) < MAX_CHARGES:
            _, before = self._charges.get(slot, (plan, 0))
            self._charges[slot] = (plan, before + units)
            self._sync_soon()

    def leave(self, limit: Limit, key: bytes) -> None:
        """Give back a place."""
        plan = self._plans.past(limit)
        slot = (plan.name, short(key))
        held = self._places.get(slot, 0)
        if held > 1:
            self._places[slot] = held - 1
        else:
            self._places.pop(slot, None)
            self._holding.pop(slot, None)
        self._leases.doubt(slot)
        self._tell_places(plan, slot)

    def _tell_places(self, plan: Plan, slot: Slot) -> None:
        """In the next tick: the server's number of this worker's places is another one than ours."""
        if len(self._dirty) < MAX_CHARGES:
            self._dirty[slot] = plan
        if not self._telling and self._loop is not None and not self._loop.is_closed():
            self._telling = True
            self._loop.call_soon(self._sync_places)

    def _ask(self, plan: Plan, slot: Slot, units: int, now: int) -> Admission | Future[Admission]:
        queued = self._queued.get((slot, units))
        if queued is None or queued.plan is not plan:
            named = self._names.of(plan, slot[1])
            open_ = self._loop is not None and not self._loop.is_closed()
            link = self._servers.link_of(named.tag) if open_ else None
            if link is None or not link.may_wait():
                return self._here(plan.limit, slot[1], units)
            queued = self._entry(plan, slot, named, now / 1e6, units)
            queued.beside = self._leases.worth(plan, slot, units, now)
            self._queued[slot, units] = queued
            answer = self._join(queued, link)
            link.send(queued)
            return answer
        link = self._servers.link_of(queued.named.tag)
        if link is None or not link.may_wait():
            return self._here(plan.limit, slot[1], units)
        return self._join(queued, link)

    def _join(self, entry: Entry, link: Link) -> Future[Admission]:
        assert self._loop is not None
        answer: Future[Admission] = self._loop.create_future()
        entry.waiting.append(answer)
        link.waiting += 1
        return answer

    def _entry(self, plan: Plan, slot: Slot, named: Named, at: float, units: int = 1) -> Entry:
        """An entry for the next call. What is to be charged goes with it."""
        op = b"x" if plan.kind == "quota" and plan.limit.afterwards else _OPS[plan.kind]
        entry = Entry(op, plan, slot, named, at, units)
        if plan.limit.afterwards:
            entry.charge = self._charges.pop(slot, (plan, 0))[1]
        return entry

    def _here(self, limit: Limit, key: bytes, units: int) -> Admission:
        """Count without the server."""
        self.local += 1
        if limit.kind != "concurrent":
            cost = units if limit.unit == "requests" else 1
            return self._fallback.take(limit, key, cost)
        plan = self._plans.past(limit)
        slot = (plan.name, key)
        held, most = self._places.get(slot, 0), max(1, limit.count // self._workers)
        if held >= most:
            return Admission(False, 0, BUSY_S, False)
        self._places[slot] = held + 1
        self._holding[slot] = plan
        self._tell_places(plan, slot)
        return Admission(True, most - held - 1, 0.0, False)

    def _plan(self, limit: Limit) -> Plan:
        plan = self._plans.of(limit)
        if self._plans.renewed != self._renewed:  # what is known was of another limit under the same name
            self._renewed = self._plans.renewed
            self._leases.clear()
        return plan

    # -- what a link asks of its owner

    def words(self, entry: Entry) -> tuple[bytes, ...]:
        """The last five words of an entry (see limits.lua); from now on nobody joins it."""
        plan = entry.plan
        if plan is None:
            return (b"0", _WORKERS_MS, b"0", b"0", self._worker)
        waiting = len(entry.waiting)
        self._unqueue(entry)
        if entry.op == b"r":
            cost = b"%d" % entry.cost
            return (b"%d" % plan.emission, b"%d" % plan.tolerance, b"%d" % waiting, b"%d" % entry.beside, cost)
        if entry.op == b"p":
            return (b"%d" % plan.emission, b"%d" % plan.tolerance, b"%d" % entry.charge, b"0", b"0")
        if entry.op == b"c":
            # Places that were asked for and not answered yet may be ours: a little too many rather than too few.
            self._unask(entry)
            asked = self._asked_places.get(entry.slot, 0)
            held = self._places.get(entry.slot, 0) + asked
            if waiting:
                self._asked_places[entry.slot] = asked + waiting
            entry.held, entry.said = waiting, held
            return (b"%d" % plan.count, _LAPSE_MS, b"%d" % waiting, b"%d" % held, self._worker)
        counted = entry.charge if entry.op == b"x" else waiting
        return (b"%d" % plan.count, plan.limit.period.encode(), b"%d" % counted, b"0", b"%d" % entry.cost)

    def told(self, entry: Entry, said: Sequence[int], sent: float, now: float) -> None:
        """The server's word on an entry that was sent at `sent`."""
        plan = entry.plan
        if plan is None:
            self.fleet = max(self._workers, said[0])
            return
        admitted, _, extra, wait, left = said
        at = int(now * 1e6)
        if self._by_name.get(plan.limit.name) is plan and (entry.waiting or entry.op != b"c"):
            self._leases.learn(plan, entry.slot, entry.cost, said, int(sent * 1e6), at)
            if entry.slot in self._charges:  # of which the server did not know yet
                self._leases.doubt(entry.slot)
        if entry.op == b"c":
            self._told_places(entry, admitted, left)
            return
        waiting, entry.waiting = entry.waiting, []
        if entry.op in (b"p", b"x"):
            admitted = len(waiting) if wait == 0 else 0
        for number, future in enumerate(waiting):
            if not future.done():
                if number < admitted:
                    future.set_result(plan.answer(left + extra + (admitted - 1 - number) * entry.cost))
                else:
                    future.set_result(Admission(False, 0, max(wait, 1) / 1e6, True))

    def _told_places(self, entry: Entry, admitted: int, left: int) -> None:
        assert entry.plan is not None
        slot = entry.slot
        self._unask(entry)
        waiting, entry.waiting = entry.waiting, []
        for number, future in enumerate(waiting):
            if future.done():  # who asked has gone, or counted without the server
                continue
            if number < admitted:
                self._places[slot] = self._places.get(slot, 0) + 1
                self._holding[slot] = entry.plan
                future.set_result(entry.plan.answer(left + admitted - 1 - number))
            else:
                future.set_result(Admission(False, 0, BUSY_S, True))
        if entry.said + admitted != self._places.get(slot, 0) and slot not in self._asked_places:
            self._tell_places(entry.plan, slot)

    def _unask(self, entry: Entry) -> None:
        """Places asked for with this entry are asked for no more."""
        if entry.held:
            left = self._asked_places.get(entry.slot, 0) - entry.held
            entry.held = 0
            if left > 0:
                self._asked_places[entry.slot] = left
            else:
                self._asked_places.pop(entry.slot, None)

    def settle_here(self, entry: Entry, future: Future[Admission]) -> None:
        """Nobody will answer this one: count without the server."""
        if entry.plan is not None and not future.done():
            future.set_result(self._here(entry.plan.limit, entry.slot[1], entry.cost))

    def untold(self, entry: Entry) -> None:
        """Nobody knows whether this was counted: charges are told again, places are told as they are."""
        self._unqueue(entry)
        self._leases.lose(entry.slot)
        if entry.plan is None:
            return
        if entry.op == b"c":
            self._unask(entry)
            if len(self._dirty) < MAX_CHARGES:
                self._dirty[entry.slot] = entry.plan
            self._sync_soon()  # not at once: a server that answers so may go on answering so
        elif entry.charge:
            charge, entry.charge = entry.charge, 0
            self._charge(entry.plan, entry.slot, charge)

    def _unqueue(self, entry: Entry) -> None:
        """From now on nobody joins this entry."""
        if self._queued.get((entry.slot, entry.cost)) is entry:
            del self._queued[entry.slot, entry.cost]

    def redirect(self, link: Link, entry: Entry, error: Exception) -> None:
        """It is counted elsewhere."""
        self._servers.redirect(link, entry, error)

    def fell(self, link: Link) -> None:
        """A server is away."""
        self._servers.fell(link)

    def rose(self, link: Link) -> None:
        """A server is there, and may know nothing any more: it is told what is held here."""
        for slot, plan in [*self._dirty.items(), *self._holding.items()]:
            self._tell_places(plan, slot)
        self._sync_soon()

    # -- behind requests

    def _sync_soon(self) -> None:
        if self._syncing is None and self._loop is not None and not self._loop.is_closed():
            wait_s = self._sync_s / 5 if self._hurried else self._sync_s
            wait_s = max(wait_s, self._metered_s / METERED_SHARE)
            self._syncing = self._loop.call_later(wait_s * random.uniform(0.8, 1.2), self._sync)  # noqa: S311

    def _hurry(self) -> None:
        """Somebody waits for the fleet's word on a key: sync sooner, as far as there is time for it."""
        syncing = self._syncing
        if syncing is not None and self._loop is not None:
            wait_s = max(self._sync_s / 5, self._metered_s / METERED_SHARE)
            if syncing.when() - self._loop.time() > wait_s:
                syncing.cancel()
                self._syncing = self._loop.call_later(wait_s, self._sync)

    def _sync(self) -> None:
        """Tell what was charged, left and metered since the last time."""
        self._syncing = None
        now = self._clock()
        for slot, (plan, _) in list(self._charges.items()):
            named = self._names.of(plan, slot[1])
            link = self._servers.link_of(named.tag)
            if link is not None and not link.down:
                link.send(self._entry(plan, slot, named, now))
        self._sync_places()
        if self.meters is not None and not self._metering:
            self._sync_meters(self.meters, now)
        if self.meters is not None or self._charges:
            self._sync_soon()

    def _sync_places(self) -> None:
        """Tell how many places are held here, where the server has another number. What cannot be told now is told when
        the server is there again."""
        now = self._clock()
        self._telling = False
        dirty, self._dirty = self._dirty, {}
        for slot, plan in dirty.items():
            named = self._names.of(plan, slot[1])
            link = self._servers.link_of(named.tag)
            if link is not None and not link.down:
                link.send(self._entry(plan, slot, named, now))
            else:
                self._dirty[slot] = plan

    def _sync_meters(self, meters: Meters, now: float) -> None:
        """One call for what was metered; the next only when it was answered. A server that is slow is asked seldom."""
        link = next((link for link in self._servers.links if not link.down), None)
        began_s = time.perf_counter()
        if link is None or (batch := meters.collect(now, METERED)) is None:
            self._metered_s = 0.0
            return
        self._hurried = len(batch.keys) == METERED
        parts = batch.split(lambda key: TAGS[self._names.tag_of(key)]) if len(self._servers.links) > 1 else [batch]
        for part in parts:
            where = self._servers.link_of(self._names.tag_of(part.keys[0]))
            if where is None or where.down:
                meters.restore(part)
                continue
            self._metering += 1
            names, words = part.command(self._names.seal)
            assert self._script is not None
            where.do(Job(self._script, names, words, now, self._merger(meters, part, now)))
        self._metered_s = time.perf_counter() - began_s

    def _merger(self, meters: Meters, batch: Batch, sent: float) -> Callable[[object], None]:
        def merge(reply: object) -> None:
            self._metering -= 1
            if not isinstance(reply, list):
                meters.restore(batch)
                return
            now = self._clock()
            began_s = time.perf_counter()
            try:
                meters.merge(batch, reply, now)
            except ValueError:  # another program's answer, or another version's
                meters.restore(batch)
                return
            self._sync_s = min(SYNC_AT_MOST_S, max(SYNC_S, 4 * (now - sent)))
            self._metered_s += time.perf_counter() - began_s

        return merge

    def _beat(self) -> None:
        """Now and then: say that this worker lives, and what it holds."""
        assert self._loop is not None
        self._beating = self._loop.call_later(WORKERS_S * random.uniform(0.8, 1.2), self._beat)  # noqa: S311
        link = self._servers.link_of(0)
        if link is not None and not link.down:
            named = Named((TAGS[0] + b"workers",), 1, 0)
            link.send(Entry(b"w", None, ("", b""), named, self._clock()))
        for slot, plan in self._holding.items():
            self._tell_places(plan, slot)

    # -- opening and closing

    async def open(self) -> None:
        """Connect, or start trying. Returns after the first attempt, whatever came of it."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        if self._loop is not None:  # the loop that it was opened in has gone without a word
            self._forget()
            self._servers = self._reach()
        self._loop = loop
        self._worker = os.urandom(6).hex().encode()
        await self._servers.open()
        self._beat()
        self._sync_soon()

    async def close(self) -> None:
        """Tell what is still to be told, answer whoever still waits, and let go of the connection."""
        if self._loop is not None:
            for timer in (self._syncing, self._beating):
                if timer is not None:
                    timer.cancel()
            self._dirty |= self._holding
            self._places, self._holding = {}, {}
            self._sync()
            if self._syncing is not None:
                self._syncing.cancel()
            for link in self._servers.links:
                await link.flush()
        await self._servers.close()
        self._forget()
        await self._fallback.close()

    def _forget(self) -> None:
        self._loop = self._syncing = self._beating = None
        self._telling = False
        self._leases.clear()
        for table in (self._queued, self._dirty, self._holding, self._places, self._asked_places):
            table.clear()


def _reach(store: RedisStore, address: Address, dialler: Dialler, times: Times) -> Single | Cluster:
    """What connects to the servers that an address names."""
    if address.kind == "cluster":
        return Cluster(store, address, dialler, times)
    dial = dialler.dial_primary if address.kind == "sentinel" else dialler.dial
    return Single(Link(store, address.shown, dial, times))

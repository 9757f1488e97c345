"""What a policy would have done to the requests of a log.

The law: no clock but the log's. Each entry goes through a Guard whose time, and whose limits' time, is that of the
log, in the order of the log, so limits fill and empty as they would have on that day. What is counted is what
enforcing would have done, also when the policy only observes. `throttle` is counted where the limit would have
refused; where it would have admitted, the request is counted as allowed.

Every table here has a fixed size: the length of the log does not matter.
"""

from __future__ import annotations

import itertools
from asyncio import Future
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from heapq import heappop, heappush, heappushpop, heapreplace
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Generic, NamedTuple, TypeVar

from guard.classify import Catalogue
from guard.conditions import Condition, leaves
from guard.engine import Guard
from guard.logs import Entry
from guard.lookout import Lookout
from guard.model import Decision, Mode, Request, Signal
from guard.policy import Policy
from guard.stores.memory import MemoryStore
from guard.watching import AUDIO_SECONDS, UNTOLD, Told, Watched

REFUSALS = frozenset({"block", "throttle", "reject", "refuse", "challenge"})
"""Actions after which the client gets nothing of the platform's."""

LISTENERS = frozenset({"browser", "player", "device"})
"""Categories of agents behind which a person listens."""

UNDECLARED = frozenset({"unknown", "declared-unknown", "tool", "library", "headless"})
"""Categories that say nothing of who is behind them: there, behaviour may speak for a listener."""

ABOUT_THE_AGENT = frozenset({"agent", "operator", "purpose", "category", "identity", "user_agent"})
"""Facts that nobody knows when the log has no User-Agent."""

BROWSER = b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
"""Stands for any browser where a log only says that it was one."""

OF_THE_GUARD = {"reject": "(no safe reading)", "serve": "(a directive file)"}
"""What stands for the rule where the guard itself decides."""

PLACES = 4096
"""Of each table of clients or paths."""

VISITORS = 20_000
LISTED = 256
MAX_PATH_BYTES = 256
MAX_USER_AGENT_BYTES = 200
LATE_S = 3600.0


def _looks_of(entry: Entry) -> tuple[dict[bytes, bytes] | None, Told]:
    """The headers of an entry, where the log tells them all, and what else it tells."""
    if not entry.whole:
        return None, UNTOLD
    http1 = entry.protocol.startswith("h1") if entry.protocol else None
    fields = {name.encode("latin-1", "replace"): value for name, value in entry.headers}
    return fields, Told(entry.account.encode("utf-8", "replace"), http1, ja4=entry.ja4.encode("latin-1", "replace"))


Key = TypeVar("Key", bytes, tuple[bytes, str])


class Top(Generic[Key]):
    """The most frequent of any number of keys, in a fixed number of places (the Space-Saving algorithm).

    A key that finds no place takes that of the key counted least, and inherits that count as its possible error. So
    for each key shown: count - error <= true count <= count; the error is at most N / places after N keys, and every
    key that came more often than N / places is in the table. Bytes are counted from when a key got its place.

    Source: Metwally, Agrawal, El Abbadi, Efficient Computation of Frequent and Top-k Elements in Data Streams, 2005.
    """

    __slots__ = ("_heap", "_places", "rows")

    def __init__(self, places: int = PLACES) -> None:
        self._places = places
        self._heap: list[tuple[int, Key]] = []
        self.rows: dict[Key, list[Any]] = {}

    def add(self, key: Key, size: int, note: str = "") -> None:
        row = self.rows.get(key)
        if row is not None:
            row[0] += 1
            row[2] += size
        elif len(self.rows) < self._places:
            self.rows[key] = [1, 0, size, note]
            heappush(self._heap, (1, key))
        else:
            while True:  # the heap learns of higher counts only when they matter
                count, least = self._heap[0]
                if (now := self.rows[least][0]) == count:
                    break
                heapreplace(self._heap, (now, least))
            del self.rows[least]
            self.rows[key] = [count + 1, count, size, note]
            heapreplace(self._heap, (count + 1, key))

    def first(self, number: int) -> list[tuple[Key, int, int, str]]:
        """Key, count that is certain, bytes, and the note of the key's first request; most frequent first."""
        rows = [(key, count - error, size, note) for key, (count, error, size, note) in self.rows.items()]
        return sorted(rows, key=lambda row: (-row[1], row[0]))[:number]


class Visitor:
    """One client under one agent's name, and how it behaves in the log."""

    __slots__ = (
        "category",
        "pages",
        "parts",
        "prefix",
        "refused",
        "refused_bytes",
        "requests",
        "rule",
        "suspected",
        "user_agent",
    )

    def __init__(self, prefix: bytes, category: str) -> None:
        self.prefix = prefix
        self.category = category
        self.requests = 0
        self.refused = 0
        self.refused_bytes = 0
        self.pages = 0
        self.parts = 0
        self.rule = ""
        self.user_agent = b""
        self.suspected = False

    @property
    def why_a_listener(self) -> str:
        """Why this is likely a person who listens, in words; "" when nothing says so.

        The agent is a browser, a player or a device, and that was not doubted; or it says nothing of who is behind it
        (or was doubted), and pages were asked for with what belongs to them: at least two static files or pictures, and
        no fewer of them than pages.
        """
        if self.category in LISTENERS and not self.suspected:
            return f"calls itself a {self.category}"
        if (self.category in UNDECLARED or self.suspected) and self.pages and self.parts >= max(2, self.pages):
            return f"asked for pages with what belongs to them ({self.pages} pages, {self.parts} parts)"
        return ""


class Outcome(NamedTuple):
    """What would have been done with one entry: an action (`untold`: it cannot be known), the rule, and what detectors
    found."""

    action: str
    rule: str
    signals: tuple[Signal, ...] = ()


class LogClock:
    """The time of the entry that is being looked at, in seconds since 1970."""

    __slots__ = ("now_s",)

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Replay:
    """One policy, and what it would have done so far. Feed it entries in the order of the log.

    `places` bounds each table of clients and paths, `visitors` the clients whose behaviour is kept in mind. A visitor
    who is not seen while so many others come is judged and forgotten, and counts as another one when coming back.
    """

    def __init__(
        self,
        policy: Policy,
        catalogue: Catalogue | None = None,
        *,
        places: int = PLACES,
        visitors: int = VISITORS,
    ) -> None:
        self.policy = policy
        self._clock = LogClock()
        detecting = next((one.detecting for one in (policy, *policy.scopes) if one.detecting is not None), None)
        lookout = Lookout(clock=self._clock, wall=self._clock) if detecting is not None else None
        self._guard = Guard(
            policy,
            store=MemoryStore(clock=self._clock, wall=self._clock),
            catalogue=catalogue,
            clock=self._clock,
            lookout=lookout,
        )
        self._order = itertools.count()
        self._answers: list[tuple[float, int, Guard, Watched, Entry]] = []  # on their way, the first to end first
        sites = [one.site for one in (policy, *policy.scopes)]
        self._trusts_hops = any(site.trusted_proxies or site.trust_unix for site in sites)
        self._stand_ins: dict[str, bytes | None] = {}
        self._asking: dict[int, Asking] = {}
        self._counts: dict[tuple[str, str, str, str, str], list[int]] = {}
        self._visitors: dict[tuple[bytes, str], Visitor] = {}
        self._earlier: dict[tuple[bytes, str], Visitor] = {}
        self._most_visitors = visitors
        self._hurt = Hurt()
        self._refused_clients: Top[tuple[bytes, str]] = Top(places)
        self._passed_clients: Top[tuple[bytes, str]] = Top(places)
        self._refused_paths: Top[bytes] = Top(places)
        self._observed: Counter[str] = Counter()
        self._no_address = 0
        self._late = 0
        self._first_s: float | None = None
        self._last_s = 0.0

    def feed(self, entry: Entry) -> Outcome:
        """Decide one entry and count it."""
        self._set_clock(entry.time_s)
        guard = self._guard
        if guard.several and entry.host is not None:
            guard = guard.for_host(entry.host.encode("latin-1", "replace"))
        user_agent = entry.user_agent
        if user_agent is None and entry.agent:
            user_agent = self._stand_in(entry.agent)
        forwarded: tuple[bytes, ...] = ()
        if self._trusts_hops and entry.headers:
            wanted = guard.policy.site.client_ip_header.lower()
            forwarded = tuple([value for name, value in entry.headers if name == wanted])
        request = Request(entry.method, entry.target, user_agent, entry.ip or None, forwarded, None, entry.query)
        client, decision = guard.consider(request)
        watched = None
        if user_agent is None and self._asks(guard, decision):
            decision = decision._replace(action="untold")
        elif guard.watching is not None:
            while self._answers and self._answers[0][0] <= self._clock.now_s:
                self._hear(heappop(self._answers))
            decision, watched = guard.watch(request, decision, *_looks_of(entry))
        action = decision.action
        if action == "untold":
            pass
        elif action == "throttle":
            admission = guard.admit(request, client, decision)
            if admission is not None and not isinstance(admission, Future) and admission.allowed:
                action = "allow"
                if decision.settles:  # how long an answer took is in no log: it is over at once
                    guard.leave(request, client, decision, entry.body_bytes)
        if watched is not None:
            if action == "throttle":
                guard.hear(watched, 429, 0)
            else:
                ends_s = self._clock.now_s + entry.duration_s
                heappush(self._answers, (ends_s, next(self._order), guard, watched, entry))
                if len(self._answers) > VISITORS:
                    self._hear(heappop(self._answers))
        self._count(entry, client.key, client.prefix, decision, action)
        return Outcome(action, decision.rule, decision.signals)

    @staticmethod
    def _hear(answer: tuple[float, int, Guard, Watched, Entry]) -> None:
        """An answer is over: what the log tells of it is known from now on."""
        _, _, guard, watched, entry = answer
        hints = {AUDIO_SECONDS: b"%.2f" % entry.audio_s} if entry.audio_s >= 0.0 else None
        guard.hear(watched, entry.status, entry.body_bytes, hints)

    # -- deciding ----------------------------------------------------------------------------------------

    def _set_clock(self, time_s: float) -> None:
        """Time does not go back: a server writes a line when an answer ends, often with the time when it began.

        A line that is over LATE_S late is not part of that order, and has its own time.
        """
        if self._first_s is None:
            self._first_s = self._last_s = time_s
        if time_s >= self._last_s:
            self._last_s = self._clock.now_s = time_s
        elif time_s >= self._last_s - LATE_S:
            self._clock.now_s = self._last_s
        else:
            self._late += 1
            self._first_s = min(self._first_s, time_s)
            self._clock.now_s = time_s

    def _stand_in(self, name: str) -> bytes | None:
        """A User-Agent that the catalogue reads as `name`, for a log that has only the name; None if there is none."""
        if name not in self._stand_ins:
            if len(self._stand_ins) >= PLACES:
                self._stand_ins.clear()
            self._stand_ins[name] = find_user_agent(self._guard.catalogue, name)
        return self._stand_ins[name]

    def _asks(self, guard: Guard, decision: Decision) -> bool:
        asking = self._asking.get(id(guard))
        if asking is None:
            asking = self._asking[id(guard)] = Asking(guard.policy)
        return asking.before(decision)

    # -- counting ----------------------------------------------------------------------------------------

    def _count(self, entry: Entry, key: bytes, prefix: bytes, decision: Decision, action: str) -> None:
        agent, size, route_class = decision.agent, entry.body_bytes, decision.route_class
        slot = (agent.name, agent.category, route_class, decision.rule, action)
        count = self._counts.get(slot)
        if count is None:
            count = self._counts[slot] = [0, 0]
        count[0] += 1
        count[1] += size
        if decision.observed:
            self._observed.update(decision.observed)
        if key == b"?":
            self._no_address += 1
        visitor = self._visitors.get((key, agent.name))
        if visitor is None:
            visitor = self._meet((key, agent.name), prefix, agent.category)
        visitor.requests += 1
        if route_class == "page":
            visitor.pages += 1
        elif route_class in ("static", "artwork"):
            visitor.parts += 1
        if action not in REFUSALS:
            if action != "untold":
                self._passed_clients.add((prefix, agent.name), size)
            return
        visitor.refused += 1
        visitor.suspected = visitor.suspected or action in ("refuse", "challenge")
        visitor.refused_bytes += size
        visitor.rule = decision.rule
        visitor.user_agent = entry.user_agent[:MAX_USER_AGENT_BYTES] if entry.user_agent else b""
        self._refused_clients.add((prefix, agent.name), size)
        self._refused_paths.add(entry.target[:MAX_PATH_BYTES], size, route_class)

    def _meet(self, key: tuple[bytes, str], prefix: bytes, category: str) -> Visitor:
        """The visitor of that key, from the older generation or new; a full young generation becomes the old one."""
        if len(self._visitors) >= max(1, self._most_visitors // 2):
            self._hurt.judge(self._earlier)
            self._earlier, self._visitors = self._visitors, {}
        visitor = self._visitors[key] = self._earlier.pop(key) if key in self._earlier else Visitor(prefix, category)
        return visitor

    # -- telling -----------------------------------------------------------------------------------------

    def report(self, top: int = 10) -> dict[str, Any]:
        """Everything counted, as plain values. Lists are cut to `top`, but for agents, rules, routes and actions."""
        hurt = self._hurt.copy()
        hurt.judge(self._earlier)
        hurt.judge(self._visitors)
        actions: Counter[str] = Counter()
        for slot, (requests, _) in self._counts.items():
            actions[slot[4]] += requests
        return {
            "policy": {"file": self.policy.file, "version": self.policy.version, "mode": self.policy.mode.value},
            "enforced": self.policy.mode is Mode.ENFORCE,
            "from": as_date(self._first_s),
            "until": as_date(self._last_s if self._first_s is not None else None),
            **self._sum(self._counts),
            "actions": dict(actions.most_common()),
            "rules": self._by(lambda slot: slot[3] or OF_THE_GUARD.get(slot[4], ""), "rule"),
            "agents": self._by(lambda slot: slot[0], "agent", category=lambda slot: slot[1]),
            "routes": self._by(lambda slot: slot[2], "route"),
            "on_trial": [{"rule": name, "requests": number} for name, number in self._observed.most_common()],
            "clients_refused": self._clients(self._refused_clients, top, "refused"),
            "clients_passed": self._clients(self._passed_clients, top, "passed"),
            "paths_refused": [
                {"path": key.decode("utf-8", "backslashreplace"), "route": note, "refused": number, "bytes": size}
                for key, number, size, note in self._refused_paths.first(top)
                if number
            ],
            "listeners": hurt.report(top),
            "without_address": self._no_address,
            "out_of_order": self._late,
        }

    def _by(self, name: Callable[[Slot], str], heading: str, **more: Callable[[Slot], str]) -> list[dict[str, Any]]:
        groups: dict[str, dict[Slot, list[int]]] = {}
        for slot, count in self._counts.items():
            groups.setdefault(name(slot), {})[slot] = count
        rows = [
            {heading: key, **{word: say(next(iter(slots))) for word, say in more.items()}, **self._sum(slots)}
            for key, slots in groups.items()
        ]
        return sorted(rows, key=lambda row: (-row["refused"], -row["requests"], row[heading]))

    @staticmethod
    def _sum(counts: dict[Slot, list[int]]) -> dict[str, int]:
        refused = [count for slot, count in counts.items() if slot[4] in REFUSALS]
        return {
            "requests": sum(number for number, _ in counts.values()),
            "refused": sum(number for number, _ in refused),
            "untold": sum(number for slot, (number, _) in counts.items() if slot[4] == "untold"),
            "bytes": sum(size for _, size in counts.values()),
            "refused_bytes": sum(size for _, size in refused),
        }

    @staticmethod
    def _clients(table: Top[tuple[bytes, str]], top: int, counted: str) -> list[dict[str, Any]]:
        return [
            {"client": neighbourhood(prefix), "agent": agent, counted: number, "bytes": size}
            for (prefix, agent), number, size, _ in table.first(top)
            if number
        ]


Slot = tuple[str, str, str, str, str]
"""Agent, its category, route class, rule, action: what is counted together."""


class Hurt:
    """Visitors who were refused something and are likely listeners: how many, and the most refused of them."""

    def __init__(self) -> None:
        self._first: list[tuple[int, int, dict[str, Any]]] = []
        self._visitors = 0
        self._requests = 0

    def copy(self) -> Hurt:
        other = Hurt()
        other._first, other._visitors, other._requests = list(self._first), self._visitors, self._requests
        return other

    def judge(self, visitors: dict[tuple[bytes, str], Visitor]) -> None:
        """Count those who were hurt."""
        for (_, agent), visitor in visitors.items():
            if not visitor.refused or not (why := visitor.why_a_listener):
                continue
            self._visitors += 1
            self._requests += visitor.refused
            row = {
                "client": neighbourhood(visitor.prefix),
                "agent": agent,
                "user_agent": visitor.user_agent.decode("utf-8", "backslashreplace"),
                "requests": visitor.requests,
                "refused": visitor.refused,
                "bytes": visitor.refused_bytes,
                "rule": visitor.rule or OF_THE_GUARD["reject"],
                "why": why,
            }
            ranked = (visitor.refused, self._visitors, row)  # the number keeps equals apart
            if len(self._first) < LISTED:
                heappush(self._first, ranked)
            else:
                heappushpop(self._first, ranked)

    def report(self, top: int) -> dict[str, Any]:
        rows = [row for _, _, row in sorted(self._first, key=lambda ranked: (-ranked[0], ranked[1]))]
        return {"visitors": self._visitors, "refused": self._requests, "first": rows[:top]}


class Asking:
    """Where a policy asks about the agent: what stands below cannot be told without a User-Agent.

    A rule that asks about the agent is passed over for route classes that it does not name.
    """

    def __init__(self, policy: Policy) -> None:
        self._order = {rule.name: position for position, rule in enumerate(policy.rules)}
        self._asking: list[tuple[int, frozenset[str] | None]] = []
        for position, rule in enumerate(policy.rules):
            if rule.then != "label" and any(leaf.fact in ABOUT_THE_AGENT for leaf in leaves(rule.when)):
                named = [test for test in rule.when if isinstance(test, Condition) and test.fact == "route"]
                self._asking.append((position, next((test.values for test in named if not test.negated), None)))
        if any(leaf.fact in ABOUT_THE_AGENT for row in policy.rows for leaf in leaves(row.when)):
            self._asking.append((len(policy.rules), None))
        self._known: dict[tuple[str, str], bool] = {}

    def before(self, decision: Decision) -> bool:
        """Was the agent asked about above what decided? Then nobody can tell what would have been decided."""
        if decision.action in ("reject", "serve") or decision.route_class == "directive":
            return False
        key = (decision.rule, decision.route_class)
        known = self._known.get(key)
        if known is None:
            place = self._order.get(decision.rule, len(self._order) + 1)
            known = self._known[key] = any(
                position < place and (classes is None or decision.route_class in classes)
                for position, classes in self._asking
            )
        return known


def find_user_agent(catalogue: Catalogue, name: str) -> bytes | None:
    """A User-Agent that the catalogue reads as the agent `name`: one of its samples, or its product token."""
    if name == "unknown":
        return b""
    if name == "browser":
        return BROWSER
    agent = catalogue.by_name.get(name.lower())
    for text in (*agent.samples, agent.product_token, agent.robots_token) if agent else ():
        if text and catalogue.find(text.encode()).name == name:
            return text.encode()
    return None


def neighbourhood(prefix: bytes) -> str:
    """A packed /24 or /48 in words; "unknown" for no address."""
    if len(prefix) == 3:
        return str(IPv4Network((prefix + bytes(1), 24)))
    if len(prefix) == 6:
        return str(IPv6Network((prefix + bytes(10), 48)))
    return "unknown"


def as_date(time_s: float | None) -> str | None:
    """ISO 8601 in UTC, to the second."""
    return None if time_s is None else datetime.fromtimestamp(int(time_s), UTC).isoformat().replace("+00:00", "Z")

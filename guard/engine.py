"""The walk of a request. Read this first.

    identify  -> Client      whose request it is          memoised by peer and forwarded lines
    classify  -> Agent       what it says it is           memoised by User-Agent
    readings  -> all ways     the path could be read      memoised with the decision
    verify    -> Identity    whether the claim is true
    decide    -> Decision    what the policy says         memoised by everything it can depend on
    admit     -> Admission   whether a limit has room     the store, only for `throttle`
    refuse    -> Reply       the answer instead of the site's
    settle                   what happened, for whoever records

No clock, network or chance here but those handed in; the edges (`middleware.py`, `proxy/`) do the I/O.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from guard.actions import TABLE
from guard.classify import Catalogue
from guard.conditions import Evidence
from guard.directives import FILES, render_files, render_headers
from guard.errors import TargetError
from guard.identify import TrustedHops, identify
from guard.language import METHODS
from guard.load import shipped_catalogue
from guard.memo import Memo
from guard.model import (
    ROUTE_CLASSES,
    UNKNOWN_AGENT,
    UNTOLD_AGENT,
    Admission,
    Agent,
    Client,
    Decision,
    Headers,
    Identity,
    Limit,
    Mode,
    Record,
    Reply,
    Request,
    RouteClass,
)
from guard.policy import Policy, Step, Verdict, decide, strictest, trace
from guard.protocols import Recorder, Store
from guard.readings import Readings, read_path, read_target
from guard.replies import refuse
from guard.stores.memory import MemoryStore
from guard.verify import read_published, verify

if TYPE_CHECKING:
    from asyncio import Future

MEMO_METHOD_CHARS = 32
MEMO_BYTES = 1024
"""Longer targets and User-Agents are decided anew each time: a table of them would be an attacker's to fill."""

CLOSED = Admission(False, 0, 5.0, False)
"""What `on_store_failure: closed` makes of a limit that cannot be asked: nobody passes, and is told to come again."""


class Rendered(NamedTuple):
    """The directive files of a guard, then those of each of its scopes, as they were at a moment."""

    made_s: float
    files: tuple[dict[str, Reply], ...]


Standing = tuple[Client, tuple[str, ...], tuple[str, ...]]
"""A client, the policy's networks that hold it, and the agents whose published networks do."""


def _beside(job: Callable[[], None]) -> None:
    """Do it in a thread of its own: no request waits."""
    threading.Thread(target=job, name="guard-render", daemon=True).start()


def _new_id() -> str:
    return os.urandom(6).hex()


class Guard:
    """One policy at work. Share one among all requests of a process; replace it whole to change the policy.

    A policy with scopes makes one guard for each beside the one for all other hosts; `for_host` tells which.
    `rendered` are the directive files of another guard with the same policy (its own `rendered`), so that several
    processes need to make them only once. `beside` does a longer job without keeping requests waiting: rendering
    them anew when a rule begins or ends.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        store: Store | None = None,
        catalogue: Catalogue | None = None,
        record: Recorder | None = None,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = _new_id,
        rendered: Rendered | None = None,
        beside: Callable[[Callable[[], None]], None] = _beside,
    ) -> None:
        self.policy = policy
        self.catalogue = catalogue or shipped_catalogue()
        self.store: Store = MemoryStore() if store is None else store
        self.record = record
        self.clock = clock
        self.new_id = new_id
        self.trusted = TrustedHops(
            policy.site.trusted_proxies,
            policy.site.client_ip_header,
            policy.site.trusted_hops,
            policy.site.trust_unix,
        )
        self.headers: Headers = render_headers(policy.preferences)
        stated = {route_class: render_headers(policy.stated(route_class)) for route_class in ROUTE_CLASSES}
        self._headers = {
            route: headers if headers != self.headers else self.headers for route, headers in stated.items()
        }
        self.passed = 0  # requests that an edge let through without asking again
        self.tally: dict[tuple[str, Mode], int] = {}
        self._published = read_published(policy.site.published_networks)
        self.asks_where = bool(policy.networks or self._published)
        self.dated = bool(policy.turns)
        self._turn_s = -inf if self.dated else inf  # the moment from which all that is remembered is stale
        self._now_s = 0.0
        self._beside = beside
        self._files: dict[str, Reply] | None = None
        self._files_s = inf  # the moment that the files are of
        if rendered is not None:
            self._files, self._files_s = rendered.files[0], rendered.made_s
        self._standings: Memo[tuple[str | None, tuple[bytes, ...]], Standing] = Memo(16_384)
        self._agents: Memo[bytes | None, tuple[Agent, tuple[str, ...]]] = Memo(4_096)
        self._decisions: Memo[tuple[object, ...], Decision] = Memo(8_192)
        self._verdicts: Memo[Evidence, Verdict] = Memo(4_096)
        self._hosts: dict[bytes, int] = {}
        self._wild: list[tuple[bytes, int]] = []
        self._spelt: Memo[bytes, int] = Memo(1_024)
        self.scopes = self._add_scopes(rendered)
        self.several = bool(policy.scopes)

    def _add_scopes(self, rendered: Rendered | None) -> tuple[Guard, ...]:
        """A guard for each scope of the policy, in their order. Hosts are filed by its number; ours is 0, so that no
        guard holds itself and the last one to let go of it frees it."""
        guards: list[Guard] = []
        hosts = [(host, 0) for host in (self.policy.hosts if self.policy.scopes else ())]
        for number, scope in enumerate(self.policy.scopes, 1):
            guard = Guard(
                scope,
                store=self.store,
                catalogue=self.catalogue,
                record=self.record,
                clock=self.clock,
                new_id=self.new_id,
                rendered=Rendered(rendered.made_s, rendered.files[number : number + 1]) if rendered else None,
                beside=self._beside,
            )
            guards.append(guard)
            hosts += [(host, number) for host in scope.hosts]
        for host, number in hosts:
            if host.startswith("*."):
                self._wild.append((host[1:].encode(), number))
            else:
                self._hosts[host.encode()] = number
        self._wild.sort(key=lambda pair: -len(pair[0]))  # the longest, which is the narrowest, first
        return tuple(guards)

    def for_host(self, host: bytes | None) -> Guard:
        """The guard of a Host header's value: one that names it, else the longest `*.` above it, else this one."""
        if not self.several or host is None:
            return self
        number = self._spelt.get(host)
        if number is None:
            number = self._find_host(host)
            if len(host) <= 255:
                self._spelt.keep(host, number)
        return self.scopes[number - 1] if number else self

    def _find_host(self, host: bytes) -> int:
        name = host.lower()
        if not name.endswith(b"]"):
            before, colon, port = name.rpartition(b":")
            if colon and (not port or port.isdigit()):
                name = before
        name = name.rstrip(b".")
        exact = self._hosts.get(name)
        if exact is not None:
            return exact
        return next((number for suffix, number in self._wild if name.endswith(suffix)), 0)

    @property
    def files(self) -> dict[str, Reply]:
        """The directive files by path, ready to be sent."""
        if self._files is None:
            self._render()
        assert self._files is not None
        return self._files

    def _render(self) -> None:
        now_s = self.clock()
        self._files, self._files_s = render_files(self.policy.at(now_s), self.catalogue), now_s

    @property
    def rendered(self) -> Rendered:
        """The files of this guard and of its scopes, for a guard with the same policy in another process."""
        files = (self.files, *(guard.files for guard in self.scopes))
        return Rendered(min(guard._files_s for guard in (self, *self.scopes)), files)

    def headers_of(self, route_class: RouteClass) -> Headers:
        """The directive headers of an answer from this route class; the same object for the same headers."""
        return self._headers.get(route_class, self.headers)

    def stated_at(self, path: str) -> Mapping[str, str]:
        """The preferences for what stands at `path` (as sent); the general ones when it cannot be read."""
        try:
            readings = self.read(Request("GET", path.partition("?")[0].encode("utf-8", "surrogateescape"), b"", None))
        except TargetError:
            return self.policy.preferences
        return self.policy.stated(self.policy.route_class(readings.canonical))

    # -- the steps ---------------------------------------------------------------------------------------

    def stand(self, peer: str | None, forwarded: tuple[bytes, ...]) -> Standing:
        """Who the client is and which known networks hold it."""
        key = (peer, forwarded)
        standing = self._standings.young.get(key) or self._standings.get(key)
        if standing is None:
            client = identify(peer, forwarded, self.trusted)
            nowhere = self._published and not client.address
            inside: tuple[str, ...] = ("",) if nowhere else ()  # to be told apart from being outside of all
            inside += tuple(
                name
                for name, networks in self._published.items()
                if networks and verify(_named(name), client.address, self._published) is Identity.VERIFIED
            )
            standing = (client, self.policy.networks_of(client.address), inside)
            if len(forwarded) <= 4 and sum(map(len, forwarded)) <= 256:
                self._standings.keep(key, standing)
        return standing

    def name_agent(self, user_agent: bytes | None) -> Agent:
        return self._name_agent(user_agent)[0]

    def _name_agent(self, user_agent: bytes | None) -> tuple[Agent, tuple[str, ...]]:
        """The agent, and the policy's globs that its User-Agent fits."""
        if user_agent is None:
            return UNTOLD_AGENT, ()
        named = self._agents.get(user_agent)
        if named is None:
            named = self.catalogue.find(user_agent), self.policy.user_agents_of(user_agent)
            if len(user_agent) <= MEMO_BYTES:
                self._agents.keep(user_agent, named)
        return named

    def consider(self, request: Request) -> tuple[Client, Decision]:
        """The client and the decision on one request. Never raises: what cannot be read is a decision, too."""
        return self.client(request), self.decide(request)

    def client(self, request: Request) -> Client:
        return self.stand(request.peer, request.forwarded)[0]

    def decide(self, request: Request) -> Decision:
        """The decision alone: it depends on the client only where the policy asks for networks."""
        if self.dated and not self._now_s <= self.clock() < self._turn_s:
            self._turn()
        if self.asks_where:
            _, networks, inside = self.stand(request.peer, request.forwarded)
            key: tuple[object, ...] = (
                request.target,
                request.user_agent,
                request.method,
                request.path,
                networks,
                inside,
            )
        else:
            networks = ()
            key = (request.target, request.user_agent, request.method, request.path)
        decision = self._decisions.young.get(key) or self._decisions.get(key)
        if decision is None:
            decision = self._decide(request, networks)
            if may_keep(request):
                self._decisions.keep(key, decision)
        return decision

    def _turn(self) -> None:
        """Some rule begins or ends: forget what was decided, and note when that happens next."""
        self._now_s = now_s = self.clock()
        low_s, high_s = sorted((self._files_s, now_s))
        if self._files is not None and any(low_s < moment <= high_s for moment in self.policy.turns):
            self._beside(self._render)  # until it is done, the old ones are served
        self._turn_s = next((moment for moment in self.policy.turns if moment > now_s), inf)
        self._decisions = Memo(self._decisions.capacity)
        self._verdicts = Memo(self._verdicts.capacity)

    def decide_as(self, request: Request, identity: Identity) -> Decision:
        """The decision as if `identity` were known of who asks: for examples, nothing is remembered."""
        if self.dated:
            self._turn()
        return self._decide(request, self.stand(request.peer, request.forwarded)[1], identity)

    def _decide(self, request: Request, networks: tuple[str, ...], identity: Identity | None = None) -> Decision:
        agent, user_agents = self._name_agent(request.user_agent)
        if identity is None:
            address = self.client(request).address if self._published else ""
            identity = verify(agent, address, self._published)
        try:
            readings = self.read(request)
        except TargetError as error:
            return Decision("reject", "", self.policy.mode, error.reason, agent, identity, "page")
        if readings.canonical in FILES:
            return Decision("serve", "", Mode.ENFORCE, "", agent, identity, "directive", file=readings.canonical)
        policy = self.policy
        method = request.method if request.method in METHODS else ""  # no rule can ask for another
        verdicts: list[Verdict] = []
        for reading in readings.all:
            evidence = policy.evidence(agent, identity, reading, method, networks, user_agents)
            verdict = self._verdicts.get(evidence)
            if verdict is None:
                verdict = decide(policy, evidence, self._now_s)
                self._verdicts.keep(evidence, verdict)
            verdicts.append(verdict)
        return self._as_decision(strictest(verdicts), agent, identity)

    def read(self, request: Request) -> Readings:
        """All readings of the request's target, and of the server's own spelling of it. Raises TargetError."""
        site = self.policy.site
        reader = partial(read_target, case_sensitive=site.case_sensitive, strip_prefixes=site.strip_prefixes)
        if request.method in ("CONNECT", "TRACE"):
            raise TargetError(f"method {request.method}")
        readings = reader(request.target)
        if request.path is None:
            return readings
        other = read_path(request.path, case_sensitive=site.case_sensitive, strip_prefixes=site.strip_prefixes)
        both = dict.fromkeys((*readings.all, *other.all))
        return Readings(readings.canonical if readings.canonical == other.canonical else "", tuple(both))

    def _as_decision(self, verdict: Verdict, agent: Agent, identity: Identity) -> Decision:
        rule = verdict.rule
        return Decision(
            action=verdict.action,
            rule=rule.name if rule else "default",
            mode=self.policy.mode,
            reason=rule.reason if rule else "",
            agent=agent,
            identity=identity,
            route_class=verdict.route_class,
            limit=rule.limit if rule else None,
            labels=verdict.labels,
            observed=tuple(watching.name for watching in verdict.observed),
            weights=tuple((heavy.name, heavy.weight) for heavy in verdict.weighed),
        )

    def admit(self, client: Client, decision: Decision) -> Admission | Future[Admission] | None:
        """Ask the limit of a `throttle` decision for one request; None when there is none to ask."""
        limit = decision.limit
        if limit is None:
            return None
        return self.store.take(limit, limit_key(limit, client, decision.agent, self.policy.site.name))

    def temper(self, decision: Decision, admission: Admission) -> Admission:
        """What the policy makes of an answer that the shared store could not give: `on_store_failure`."""
        if admission.shared or not self.store.shared:
            return admission
        word = self.policy.on_store_failure.get(decision.route_class)
        if word is None:
            return admission
        if word == "open":
            return Admission(True, admission.remaining, 0.0, False)
        return CLOSED

    def answer(self, decision: Decision, admission: Admission | None, accept: bytes, decision_id: str) -> Reply | None:
        """The guard's own answer, or None to let the request through."""
        if decision.action == "serve":
            return self.files[decision.file]
        if decision.mode is Mode.OBSERVE:
            return None
        if decision.action == "reject":
            return self.reject(400, decision_id, decision)
        headers = self.headers_of(decision.route_class)
        if admission is CLOSED:
            plain = decision._replace(reason="", limit=None)
            return refuse(self.policy.site, 503, plain, accept, decision_id, headers, admission)
        return TABLE[decision.action](self.policy.site, decision, admission, accept, decision_id, headers)

    def reject(self, status: int, decision_id: str, decision: Decision | None = None) -> Reply:
        """A refusal of what cannot be read; says nothing of the request, nor of what was wrong with it."""
        plain = (decision or REJECTED)._replace(reason="", route_class="api")
        return refuse(self.policy.site, status, plain, b"", decision_id, self.headers)

    def count(self, decision: Decision) -> None:
        """The whole of settling when nobody records: one number for each action and mode."""
        slot = (decision.action, decision.mode)
        self.tally[slot] = self.tally.get(slot, 0) + 1

    def settle(
        self,
        request: Request,
        client: Client,
        decision: Decision,
        admission: Admission | None,
        decision_id: str,
        status: int,
        body_bytes: int,
        duration_s: float,
    ) -> None:
        """Count and record what happened."""
        self.count(decision)
        if self.record is not None:
            target = request.target.decode("latin-1")
            self.record(
                Record(
                    self.clock(),
                    decision_id,
                    decision,
                    client.address,
                    request.method,
                    target,
                    status,
                    body_bytes,
                    duration_s,
                    admission,
                    self.policy.version,
                    request.user_agent,
                )
            )

    # -- for people --------------------------------------------------------------------------------------

    def trace(self, request: Request) -> tuple[tuple[str, tuple[Step, ...]], ...]:
        """Each reading with every rule and why it matched or not, for `guard explain`. Raises TargetError."""
        client, networks, _ = self.stand(request.peer, request.forwarded)
        agent, user_agents = self._name_agent(request.user_agent)
        identity = verify(agent, client.address, self._published)
        policy = self.policy
        return tuple(
            (
                reading,
                trace(
                    policy,
                    policy.evidence(agent, identity, reading, request.method, networks, user_agents),
                    self.clock(),
                ),
            )
            for reading in self.read(request).all
        )


def may_keep(request: Request) -> bool:
    """Is it short enough that remembering what came of it cannot be used to fill the memory?"""
    if len(request.target) > MEMO_BYTES or len(request.method) > MEMO_METHOD_CHARS:
        return False
    return len(request.user_agent or b"") <= MEMO_BYTES


REJECTED = Decision("reject", "", Mode.ENFORCE, "", UNKNOWN_AGENT, Identity.UNKNOWN, "api")
"""What the edges use for a request that never became one."""


def limit_key(limit: Limit, client: Client, agent: Agent, site: str) -> bytes:
    """What one request counts under: the parts that the limit names, each with its length, so none can be forged."""
    if limit.key == ("client",):
        return client.key
    parts = {
        "client": client.key,
        "prefix": client.prefix,
        "agent": agent.name.encode(),
        "operator": agent.operator.encode(),
        "site": site.encode(),
    }
    return b"".join(b"%d:%b" % (len(parts[name]), parts[name]) for name in limit.key)


def _named(name: str) -> Agent:
    return Agent(name, "", "", "", "search", ())

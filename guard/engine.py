"""The walk of a request. Read this first.

    identify  -> Client      whose request it is          memoised by peer and forwarded lines
    classify  -> Agent       what it says it is           memoised by User-Agent
    readings  -> all ways     the path could be read      memoised with the decision
    hold      -> Held         whose work it is, and what they allow; memoised by target
    verify    -> Checked     whether the claim is true, by what the witness knows already
    decide    -> Decision    what the policy says         memoised by everything it can depend on
    watch     -> Decision    what it looks like and has been doing: counted, and perhaps held against it
    admit     -> Admission   whether a limit has room     the store, only for `throttle`
    refuse    -> Reply       the answer instead of the site's
    settle                   what happened, for whoever records

No clock, network or chance here but those handed in; the edges (`middleware.py`, `proxy/`) do the I/O.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import unquote_plus, urlsplit
from weakref import WeakSet

from guard.actions import TABLE
from guard.classify import Catalogue
from guard.conditions import Evidence
from guard.directives import (
    FILE_PATHS,
    PASSED_PATHS,
    WORK_FILES,
    Declaration,
    as_replies,
    declare,
    join_robots,
    render_headers,
    render_pages,
    render_texts,
    render_work_file,
)
from guard.directives.declaration import MAX_NAMED
from guard.directives.words import Version
from guard.errors import ChoiceError, PolicyError, Problem, TargetError
from guard.feeds import Feed, Held, Layer
from guard.hosts import keys_url
from guard.identify import TrustedHops, identify, read_name
from guard.language import METHODS
from guard.ledger.versions import scope_of
from guard.limits import admit, asks_of, leave
from guard.load import shipped_catalogue
from guard.lookout import Lookout
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
    Said,
)
from guard.networks import NOTHING_KNOWN, Knowledge
from guard.policy import TRAP, Policy, Rule, Step, Verdict, decide, trace
from guard.policy import strictest as strictest_verdict
from guard.protocols import NOTHING_LISTED, Lease, Listed, Recorder, RightsSource, Store, Witness
from guard.readback import read_back
from guard.readings import Readings, read_path, read_target
from guard.registers import open_register
from guard.replies import refuse
from guard.rights import (
    PLATFORM,
    RESERVED_FOR_HOLDERS,
    Chain,
    Choice,
    Rights,
    Work,
    in_order,
    read_work,
    resolve,
    strictest,
    strictest_words,
)
from guard.stores.memory import MemoryStore
from guard.verify import (
    NOTHING_CLAIMED,
    SOFTWARE,
    UNCHECKED,
    Checked,
    claims_nothing,
    genuine,
    nothing_fresh,
    read_published,
    suffixes_of,
    verify,
)
from guard.watching import UNTOLD, Recognised, Told, Watched, Watching
from guard.works import Found, is_straight

if TYPE_CHECKING:
    from asyncio import Future

_log = logging.getLogger("guard.rights")

MEMO_METHOD_CHARS = 32
MEMO_BYTES = 1024
"""Longer targets and User-Agents are decided anew each time: a table of them would be an attacker's to fill."""

CLOSED = Admission(False, 0, 5.0, False)
"""What `on_store_failure: closed` makes of a limit that cannot be asked: nobody passes, and is told to come again."""


STALE_S = 1.0
"""So long a last good word of a source that is away is gone by before it is asked again."""

MAX_TRIES = 64
"""So often files are written at most to find the works that make them wrong."""

RENDER_EVERY_S = 1.0
"""Directive files are made anew at most so often, however often choices change."""

DOCUMENT_AGE_S = 60
"""So long others may keep the document of one work."""

STRICTER = Choice({"": dict.fromkeys(RESERVED_FOR_HOLDERS, "disallow")})
"""What holds for a work of which nothing can be known: its holder may have reserved it."""


_ANYBODYS = Work("label", "?")
"""What stands for a work that cannot be told."""

MAX_TOLD = 8
"""So many works may one answer name; one that names more may be of anybody's."""


class Rendered(NamedTuple):
    """The directive files of a guard, then those of each of its scopes, as they were at a moment.

    `foreign` is the platform's own robots.txt that was joined to ours, `versions` are those of the terms, by host (see
    `guard.ledger.versions.scope_of`).
    """

    made_s: float
    files: tuple[dict[str, Reply], ...]
    foreign: bytes = b""
    versions: Mapping[str, tuple[Version, ...]] = {}


class Listener(Protocol):
    """An edge that remembers what passes."""

    def forget(self) -> None:
        """Works have other rights than before."""


HeldKey = tuple[bytes, bytes, "str | None"]
"""Target, query (where it matters) and the server's own spelling of the path."""

Hop = tuple["str | None", "bytes | None"]
"""A peer, and the line of the header that hops write: what an edge can know a client by, before all else."""

HeldBy = tuple["str | None", Lease]
"""A peer, and what is held for a client that comes by it."""

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
    them anew when a rule begins or ends. `feeds` are the sources of rights that other guards of this process have
    open, by how long an answer counts and location; `rights` is one to use whatever the policy names. `foreign` is
    the platform's own robots.txt. `witness` knows who is asking (see `protocols.py`); without one, only the
    policy's own networks speak. `lookout` remembers what clients have been doing, where the policy looks for scraping;
    `secret` is what passes of challenges are made with, the same for all workers (b"" = one of this process's own).
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
        rights: RightsSource | None = None,
        feeds: dict[str, Feed] | None = None,
        foreign: bytes = b"",
        witness: Witness | None = None,
        lookout: Lookout | None = None,
        secret: bytes = b"",
    ) -> None:
        self.policy = policy
        self.secret = secret or os.urandom(32)  # handed on to the next version of the policy
        self.witness: Witness | None = None
        self.former: Witness | None = None  # of the guard before, to be let go of
        self.feeds: dict[str, Feed] = {} if feeds is None else feeds
        self.listeners: WeakSet[Listener] = WeakSet()  # the edges to be told when works have other rights
        self.catalogue = policy.catalogue or catalogue or shipped_catalogue()
        self._signers = _by_directory(self.catalogue)
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
        self._stating = policy.stating(clock())  # the policy with the preferences of this moment
        self._state(self._stating)
        self.passed = 0  # requests that an edge let through without asking again
        self.keys: Memo[Hop, bytes] = Memo(16_384)  # what an edge knows clients by
        self._leases: dict[str, Memo[str | bytes | None, HeldBy]] = {}
        self.admitted = 0  # and those for which it asked nothing but the limit
        self.tally: dict[tuple[str, Mode], int] = {}
        self._published = read_published(policy.site.published_networks)
        self.asks_where = bool(policy.networks or self._published)
        self.dated = bool(policy.turns)
        self._turn_s = -inf if self.dated else inf  # the moment from which all that is remembered is stale
        self._now_s = 0.0
        self._beside = beside
        self._files: dict[str, Reply] | None = None
        self._files_s = inf  # the moment that the files are of
        self._files_turn_s = inf  # the moment from which a work that they name has other rights
        self.wrong: tuple[Problem, ...] = ()  # what kept works from being named in the files
        self._outdated = False  # something has changed since the files were made
        self._declaration: Declaration | None = None
        self._rendering = threading.Lock()
        self.feed = self._find_feed(rights, lenient=rendered is not None)
        self._works = policy.work_paths
        self.work_header = policy.rights.header.encode().lower() if policy.rights is not None else b""
        self.asks_query = self._works.asks_query or bool(self.work_header)
        counted = {name for limit in policy.limits for name in limit.key}
        watched = policy.detecting is not None
        self._account = policy.site.account if watched or "account" in counted else None
        self._session = policy.site.session if watched or "session" in counted else None
        self.asks_name = self._account is not None or self._session is not None
        self._held: Memo[HeldKey, Held] = Memo(8_192)
        self._same: Memo[tuple[object, ...], Rights] = Memo(4_096)  # rights that say the same are one object
        self._learned: Memo[HeldKey, tuple[Found, ...]] = Memo(8_192)  # from the platform's answers
        self._documents: Memo[tuple[str, Work], tuple[Rights, Reply]] = Memo(256)
        self._nobodys = Held((), self._stating.platform_rights, ("",), "known", inf, False)
        self.versions: Mapping[str, tuple[Version, ...]] = {} if rendered is None else rendered.versions
        self.foreign = foreign
        self.notes: tuple[str, ...] = ()  # what people should know of the joined robots.txt
        if rendered is not None:
            self._files, self._files_s = rendered.files[0], rendered.made_s
            if rendered.foreign != foreign:
                self._outdated = True
        self.lookout = lookout
        self.watching = self._find_watching()
        self._standings: Memo[tuple[str | None, tuple[bytes, ...]], Standing] = Memo(16_384)
        self._agents: Memo[bytes | None, tuple[Agent, tuple[str, ...]]] = Memo(4_096)
        self._decisions: Memo[tuple[object, ...], Decision] = Memo(8_192)
        self._verdicts: Memo[Evidence, Verdict] = Memo(4_096)
        self._hosts: dict[bytes, int] = {}
        self._wild: list[tuple[bytes, int]] = []
        self._spelt: Memo[bytes, int] = Memo(1_024)
        self.scopes = self._add_scopes(rendered)
        self.several = bool(policy.scopes)
        if witness is not None:
            self.take(witness)

    def _find_watching(self) -> Watching | None:
        """The policy's look at those who ask, None when it has none. One lookout serves all hosts; its meters are
        merged among all workers by a store that can."""
        terms = self.policy.detecting
        wanted = [one.detecting for one in (self.policy, *self.policy.scopes) if one.detecting is not None]
        if wanted and self.lookout is None:
            self.lookout = Lookout(wall=self.clock)
        if self.lookout is not None and terms is not None:
            observe = getattr(self.store, "observe", None)
            if observe is not None:
                observe(self.lookout.meters)
                self.lookout.shared = self.store.shared
        if terms is None or self.lookout is None:
            return None
        return Watching(self.policy, terms, self.lookout, self.secret)

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
                rendered=rendered._replace(files=rendered.files[number : number + 1]) if rendered else None,
                beside=self._beside,
                rights=self.rights,
                feeds=self.feeds,
                foreign=self.foreign,
                lookout=self.lookout,
                secret=self.secret,
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
    def declaration(self) -> Declaration:
        """What the directive files declare now."""
        if self._declaration is None:
            self._render()
        assert self._declaration is not None
        return self._declaration

    @property
    def made(self) -> bool:
        """Are the directive files ready? If not, the first to ask for one waits until they are."""
        return self._files is not None

    @property
    def files(self) -> dict[str, Reply]:
        """The directive files by path, ready to be sent."""
        if self._files is None:
            self._render()
        assert self._files is not None
        return self._files

    def _render(self) -> None:
        """Make the directive files, and hold them against the record, as other readers read them: files that say
        anything else are never served.

        What holders say keeps no policy from being taken: works that make the files come out wrong are left out, and
        `wrong` says what it was. Raises PolicyError when the policy alone comes out wrong.
        """
        now_s = self.clock()
        listed = self.feed.source.listed(MAX_NAMED) if self.feed is not None else NOTHING_LISTED
        texts, declaration, wrong = self._write(listed, now_s)
        self.wrong = ()
        if wrong and declaration.places:
            self.wrong = wrong
            right = self._sort_out(listed, now_s)
            left = [str(work) for work, _ in listed.works if work not in {kept for kept, _ in right.works}]
            texts, declaration, wrong = self._write(right, now_s)
            if wrong:  # only together are they wrong
                left = []
                texts, declaration, wrong = self._write(Listed((), listed.total), now_s)
            more = f" and {len(left) - 5} more" if len(left) > 5 else ""
            names = f"{', '.join(left[:5])}{more}" if left else "any work"
            _log.error("the directive files do not name %s, for they would be wrong: %s", names, self.wrong[0])
        if wrong:
            raise PolicyError(wrong)
        if self.foreign:
            merged = join_robots(texts["/robots.txt"], declaration, self.foreign)
            texts["/robots.txt"] = merged.text
            self.notes = merged.notes
        self._declaration = declaration
        self._documents = Memo(self._documents.capacity)
        self._files, self._files_s = as_replies(texts, declaration.policy), now_s
        self._files_turn_s = min((place.rights.until_s for place in declaration.places), default=inf)

    def _write(self, listed: Listed, now_s: float) -> tuple[dict[str, str], Declaration, tuple[Problem, ...]]:
        """The files that name these works, and what another reader finds wrong in them."""
        texts, declaration = render_texts(self.declare(listed, now_s))
        return texts, declaration, tuple(read_back(declaration, texts, refuser(declaration)))

    def _sort_out(self, listed: Listed, now_s: float) -> Listed:
        """The works, without those that make the files come out wrong: halves are tried, and halves of what is wrong.

        None when the policy alone is wrong. What could not be tried in MAX_TRIES is left out, too.
        """
        kept: list[tuple[Work, Chain]] = []
        waiting = [listed.works] if not self._write(Listed((), listed.total), now_s)[2] else []
        tries = MAX_TRIES
        while waiting and tries:
            works = waiting.pop()
            tries -= 1
            if not self._write(Listed(works, listed.total), now_s)[2]:
                kept += works
            elif len(works) > 1:
                middle = len(works) // 2
                waiting += [works[middle:], works[:middle]]
        return Listed(tuple(kept), listed.total)

    def declare(self, listed: Listed = NOTHING_LISTED, now_s: float | None = None) -> Declaration:
        """What this guard declares at a moment (now)."""
        now_s = self.clock() if now_s is None else now_s
        return declare(self.policy, self.catalogue, listed, now_s, self.versions.get(scope_of(self.policy), ()))

    def keep(self, versions: Mapping[str, tuple[Version, ...]]) -> None:
        """Have the pages of terms tell of these versions: they are made anew, the other files are not."""
        for guard in (self, *self.scopes):
            guard.versions = versions
            if guard._files is not None and guard._declaration is not None:
                guard._documents = Memo(guard._documents.capacity)
                said = replace(guard._declaration, versions=versions.get(scope_of(guard.policy), ()))
                guard._declaration = said
                guard._files = {**guard._files, **render_pages(said)}

    @property
    def rendered(self) -> Rendered:
        """The files of this guard and of its scopes, for a guard with the same policy in another process."""
        files = (self.files, *(guard.files for guard in self.scopes))
        made_s = min(guard._files_s for guard in (self, *self.scopes))
        return Rendered(made_s, files, self.foreign, self.versions)

    def join_robots(self, foreign: bytes) -> None:
        """Have what the platform's own robots.txt says in ours, too, from the next rendering on, which begins now."""
        for guard in (self, *self.scopes):
            if guard.foreign != foreign:
                guard.foreign = foreign
                guard._outdated = True
            if guard._outdated and guard._files is not None:
                guard._beside(guard._render_again)

    def _state(self, policy: Policy) -> None:
        """What is said on answers that are of no work in particular; the same object for the same headers."""
        self.headers: Headers = render_headers(policy.preferences, policy.site.url)
        made: dict[Headers, Said] = {}
        self._said: dict[RouteClass, Said] = {}
        for route_class in ROUTE_CLASSES:
            headers = render_headers(policy.stated(route_class), policy.site.url)
            self._said[route_class] = made.setdefault(headers, Said(headers))

    def said_of(self, decision: Decision) -> Said:
        """What the answer to this decision states."""
        return decision.said or self._said[decision.route_class]

    def headers_of(self, decision: Decision) -> Headers:
        """The directive headers of the answer to this decision."""
        return self.said_of(decision).headers

    # -- rights ------------------------------------------------------------------------------------------

    def _find_feed(self, rights: RightsSource | None, *, lenient: bool) -> Feed | None:
        """The source of this policy's rights, shared with all guards that have the same. `lenient`: what it holds was
        sound when the files were rendered; if it is not so now, the guard begins without it."""
        terms = self.policy.rights
        self.rights = rights
        if terms is None:
            return None
        name = f"{terms.max_age_s:g} {terms.source}"
        feed = self.feeds.get(name)
        if feed is None:
            source = rights or open_register(terms.source, max_age_s=terms.max_age_s, lenient=lenient)
            feed = self.feeds[name] = Feed(source)
        feed.add(self)
        return feed

    async def open(self) -> None:
        """Get the store, the witness and the sources of rights ready in the running event loop."""
        await self.store.open()
        await self.open_rights()

    async def open_rights(self) -> None:
        """Get the sources of rights ready, and let go of those that an older policy had. Files that another process
        made may be older than what the sources say: they are made anew. Ours were made from the sources themselves,
        which tell what changes."""
        former, self.former = self.former, None
        if former is not None:
            await former.close()
        if self.witness is not None:
            await self.witness.open()
        used = [guard.feed for guard in (self, *self.scopes)]
        for name, feed in list(self.feeds.items()):
            if feed in used:
                feed.keep_only([self, *self.scopes])
                await feed.open()
            else:
                del self.feeds[name]
                await feed.close()
        for guard in (self, *self.scopes):
            if guard.feed is not None and guard._declaration is None:
                guard.make_anew()

    async def close(self) -> None:
        """Let go of the store, the witness and the sources of rights."""
        if self.witness is not None:
            await self.witness.close()
        for feed in self.feeds.values():
            await feed.close()
        await self.store.close()

    def rights_changed(self) -> None:
        """Works have other rights than before: forget what was known of them, and make the files anew beside."""
        self._held = Memo(self._held.capacity)
        for listener in tuple(self.listeners):
            listener.forget()
        self.make_anew()

    def pass_by(self) -> None:
        """Now and then: make the files anew when a word of a work that they name has begun or ended."""
        if self._files_turn_s <= self.clock():
            self._files_turn_s = inf
            self.make_anew()

    def make_anew(self) -> None:
        """Have the directive files, if they are made, made once more beside."""
        self._outdated = True
        if self._files is not None:
            self._beside(self._render_again)

    def retire(self) -> None:
        """Another policy is in force: nobody asks for these files any more."""
        self._outdated = False

    def _render_again(self) -> None:
        """In a thread of its own: the files once more, until nothing has changed meanwhile. One thread does."""
        while self._outdated and self._rendering.acquire(blocking=False):
            try:
                while self._outdated:
                    self._outdated = False
                    began_s = time.monotonic()
                    try:
                        self._render()
                    except PolicyError as error:
                        _log.error("the directive files stay as they were: %s", error)
                    if self._outdated:
                        took_s = time.monotonic() - began_s
                        time.sleep(max(RENDER_EVERY_S - took_s, took_s))
            finally:
                self._rendering.release()

    def hold(self, request: Request) -> Held:
        """What is known of the work that the request is for. Never raises, never waits."""
        key = (request.target, request.query if self.asks_query else b"", request.path)
        held = self._held.young.get(key) or self._held.get(key)
        if held is None or (held.until_s < inf and held.until_s <= self.clock()):
            try:
                held = self._hold(request, key)
            except TargetError:  # it is refused whatever it is of
                return self._nobodys
            if held.state != "away":
                self._keep_held(key, held)
        return held

    def _keep_held(self, key: HeldKey, held: Held) -> None:
        if len(key[0]) <= MEMO_BYTES and len(key[1]) <= MEMO_BYTES:
            self._held.keep(key, held)

    def _hold(self, request: Request, key: HeldKey) -> Held:
        """Raises TargetError."""
        found = self._find_works(request)
        learned = self._learned.young.get(key) or self._learned.get(key)
        if learned:
            return self.hold_works(_named_beside(found, learned))
        return self.hold_works(found, is_straight(request.target)) if found else self._nobodys

    def _find_works(self, request: Request) -> tuple[Found, ...]:
        """The works that the address is of, by the policy's patterns, whatever the method. Raises TargetError."""
        if not self._works:
            return ()
        readings = self.read(request._replace(method="GET"), case_sensitive=True)
        return self._works.find(request.target, request.query, readings.all)

    def hold_works(self, found: tuple[Found, ...], straight: bool = True) -> Held:
        """What is known of works; of several ways to read an address, what is allowed in all of them.

        At a `straight` address, works that only another reading names and nobody has spoken of do not count: an artist
        called AC/DC is not the artist AC. At any other they do, or an opened work would lend its rights to its
        neighbours.
        """
        assert self.feed is not None
        now_s = self.clock()
        platform = self._stating.platform_choice
        all_rights: list[Rights] = []
        kinds: dict[str, None] = {}
        works: dict[Work, None] = {}
        state, until_s, spoken = "known", inf if self.feed.tells else now_s + STALE_S, False
        for number, one in enumerate(found):
            known = self.feed.find(one.works)
            chain = known.chain
            idle = number and not one.sent and straight
            if idle and known.state == "known" and not any(choice for _, choice in chain):
                continue
            if known.state != "known":
                state = "away" if "away" in (state, known.state) else known.state
                until_s = min(until_s, now_s + STALE_S)
            if known.state == "away" or not one.works:
                chain = (*chain, (_ANYBODYS, STRICTER))
            spoken = spoken or any(choice is not None for _, choice in known.chain)
            rights = resolve(chain, platform, now_s)
            all_rights.append(rights)
            until_s = min(until_s, rights.until_s)
            kinds[one.kind] = None
            works.update(dict.fromkeys(one.works))
        rights = strictest(all_rights)
        same = self._same.get(rights.key)
        if same is None:
            self._same.keep(rights.key, rights)
            same = rights
        return Held(tuple(works) or (_ANYBODYS,), same, tuple(kinds), state, until_s, spoken and state != "away")

    def _said_of(self, held: Held, route_class: RouteClass) -> Said | None:
        """What answers of this work state; None when that is what the policy says of all."""
        if held.work is None:
            return None
        kinds = tuple(kind or self.policy.kind_of(route_class) for kind in held.kinds)
        said = held.said.get(kinds)
        if said is None:
            work = held.work if held.spoken and held.work is not _ANYBODYS else None
            words = strictest_words([held.rights.stated(kind) for kind in kinds])
            headers = render_headers(words, self.policy.site.url, work)
            said = held.said[kinds] = Said(headers, lasting=held.until_s == inf and held.state == "known")
        return said

    def named(self, request: Request, decision: Decision, value: bytes) -> Decision:
        """The decision once the platform's answer has named its work (`rights: header:`), as `LAYER:ID`; of several,
        parted by commas, the strictest counts.

        What cannot be read may be anybody's. It is remembered, so that the next request is decided before it is passed
        on.
        """
        if decision.action in ("serve", "reject"):
            return decision
        told = _read_named(value)
        if not told:
            return decision
        key = (request.target, request.query if self.asks_query else b"", request.path)
        if self._learned.get(key) == told and request.signed is None:
            return self.decide(request)
        try:
            held = self.hold_works(_named_beside(self._find_works(request), told))
        except TargetError:
            return decision
        if may_keep(request) and len(key[1]) <= MEMO_BYTES:
            self._learned.keep(key, told)
            self._held.keep(key, held)
        networks = self.stand(request.peer, request.forwarded)[1] if self.asks_where else ()
        checked = Checked(decision.identity, decision.known_by, decision.keys)  # a signature counts but once
        return self._decide(request, networks, held, decision.agent, checked)

    def headers_at(self, path: str) -> Headers:
        """The directive headers of what stands at `path` (as sent, perhaps with a query)."""
        target, _, query = path.partition("?")
        request = Request("GET", _octets(target), b"", None, query=_octets(query))
        return self.headers_of(self.decide(request))

    def layers(self, request: Request) -> tuple[Layer, ...]:
        """What each layer says of the work that the request is for, the widest first; () when it is of none."""
        if self.feed is None:
            return ()
        held = self.hold(request)
        if held.work is None:
            return ()
        known = self.feed.find(held.works)
        now_s = self.clock()
        platform = Layer(PLATFORM, self._stating.platform_choice, True)
        rest = (Layer(work, choice, choice is None or choice.in_force(now_s)) for work, choice in in_order(known.chain))
        return (platform, *rest)

    def held_for(self, request: Request) -> Held | None:
        """What is known of the work that the request is for; None when the policy keeps no rights of works."""
        return None if self.feed is None else self.hold(request)

    # -- the steps ---------------------------------------------------------------------------------------

    def stand(self, peer: str | None, forwarded: tuple[bytes, ...]) -> Standing:
        """Who the client is and which known networks hold it."""
        key = (peer, forwarded)
        standing = self._standings.young.get(key) or self._standings.get(key)
        if standing is None:
            client = identify(peer, forwarded, self.trusted)
            if self.policy.asn is not None:
                client = client._replace(asn=self.policy.asn.of(client.address))
            nowhere = self._published and not client.address
            inside: tuple[str, ...] = ("",) if nowhere else ()  # to be told apart from being outside of all
            inside += tuple(
                name
                for name, networks in self._published.items()
                if networks and verify(_named(name), client.address, self._published).identity is Identity.VERIFIED
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

    def name(self, request: Request, headers: Headers, query: bytes) -> Request:
        """The request with the account and the session that it names, where limits count by them (`asks_name`).
        `headers` have names in lower case."""
        hop = self.trusted.trusts(request.peer)
        account = read_name(self._account, headers, query, hop)
        session = read_name(self._session, headers, query, hop)
        return request._replace(account=account, session=session)

    def client(self, request: Request) -> Client:
        return self.stand(request.peer, request.forwarded)[0]

    def decide(self, request: Request) -> Decision:
        """The decision alone: it depends on the client only where the policy asks for networks."""
        if self.dated and not self._now_s <= self.clock() < self._turn_s:
            self._turn()
        held = self._nobodys if self.feed is None else self.hold(request)
        if self.asks_where:
            _, networks, inside = self.stand(request.peer, request.forwarded)
            key: tuple[object, ...] = (
                request.target,
                request.user_agent,
                request.method,
                request.path,
                held,
                networks,
                inside,
            )
        else:
            networks = ()
            key = (request.target, request.user_agent, request.method, request.path, held)
        decision = self._decisions.young.get(key) or self._decisions.get(key)
        if decision is None or decision is ASK_WHO or request.signed is not None:
            decision = self._decide_anew(request, networks, held, key)
        return decision

    def _decide_anew(
        self, request: Request, networks: tuple[str, ...], held: Held, key: tuple[object, ...]
    ) -> Decision:
        """Decide on what is not remembered under `key`, or depends on more than that holds: where the claim of an agent
        can be checked, on what is known of the address; where it is signed, on the signature."""
        keeping = held.state != "away" and may_keep(request)
        if request.signed is not None and self.witness is not None:
            return self._decide(request, networks, held, *self._examine(request))
        agent = self.name_agent(request.user_agent)
        if not self.checks(agent):
            decision = self._decide(request, networks, held, agent, self.check(agent, request))
            if keeping:
                self._decisions.keep(key, decision)
            return decision
        address = self.client(request).address
        known = self._known(agent, address)
        longer = (*key, known, not address)  # to come from nowhere is not to come from elsewhere
        found = self._decisions.young.get(longer) or self._decisions.get(longer)
        if found is None:
            found = self._decide(request, networks, held, agent, self.check(agent, request, known))
            waiting = self.policy.verifying.dns and known.dns in ("unasked", "pending") and bool(suffixes_of(agent))
            if keeping and not waiting:
                self._decisions.keep(key, ASK_WHO)
                self._decisions.keep(longer, found)
        return found

    # -- who it is ---------------------------------------------------------------------------------------

    def checks(self, agent: Agent) -> bool:
        """Is there a witness that may know something of this agent's addresses?"""
        return self.witness is not None and bool(agent.verification)

    def _known(self, agent: Agent, address: str) -> Knowledge:
        """What is known of an address; what is not known yet is asked beside the request."""
        witness = self.witness
        if witness is None or not address:
            return NOTHING_KNOWN
        known = witness.known(address)
        if self.policy.verifying.dns and known.dns == "unasked" and (suffixes := suffixes_of(agent)):
            lists = [source for check in agent.verification for source in check.sources if check.kind != "rdns"]
            if not any(source in known.lists and witness.fresh(source) for source in lists):
                witness.ask(address, suffixes)
        return known

    def check(self, agent: Agent, request: Request, known: Knowledge | None = None) -> Checked:
        """The identity of who claims to be `agent`, and why."""
        if self.witness is None and agent.name.lower() not in self._published:
            return NOTHING_CLAIMED if claims_nothing(agent) else UNCHECKED
        address = self.client(request).address
        if known is None:
            known = self._known(agent, address) if self.checks(agent) else NOTHING_KNOWN
        fresh = nothing_fresh if self.witness is None else self.witness.fresh
        return verify(agent, address, self._published, known, fresh, self.policy.verifying.dns)

    def _examine(self, request: Request) -> tuple[Agent, Checked]:
        """Who a signed request is from: the agent whose keys signed it, unless it calls itself somebody else's. A name
        of mere software is no such claim."""
        claimed = self.name_agent(request.user_agent)
        checked = self.check(claimed, request)
        witness = self.witness
        if witness is None or request.signed is None:
            return claimed, checked
        proof = witness.prove(request.signed, self.client(request).key, self.clock())
        if proof.state == "absent":
            return claimed, checked
        if proof.state != "verified":
            return claimed, checked._replace(reason=f"{checked.reason}; its signature does not count: {proof.reason}")
        signers = self._signers.get(proof.directory, ())
        signer = claimed if claimed in signers else signers[0] if signers else _signer_of(proof.directory, claimed)
        anonymous = claims_nothing(claimed) or claimed.category in SOFTWARE
        if not anonymous and claimed.operator.lower() != signer.operator.lower():
            why = f"it is signed with keys of {signer.operator}, and calls itself {claimed.name}"
            return claimed, checked._replace(reason=f"{checked.reason}; {why}")
        return signer, Checked(Identity.VERIFIED, f"signed with a key of {proof.directory}", (proof.keyid,))

    def take(self, witness: Witness) -> None:
        """From now on this witness speaks, for our hosts, too."""
        for guard in (self, *self.scopes):
            guard.witness = witness
            guard.identities_changed()
            witness.heed(guard.identities_changed)

    def identities_changed(self) -> None:
        """Lists or keys are other ones than before: forget what was decided by them."""
        self._decisions = Memo(self._decisions.capacity)

    def _turn(self) -> None:
        """Some rule begins or ends: forget what was decided, and note when that happens next."""
        self._now_s = now_s = self.clock()
        low_s, high_s = sorted((self._files_s, now_s))
        if self._files is not None and any(low_s < moment <= high_s for moment in self.policy.turns):
            self.make_anew()  # until it is done, the old ones are served
        self._turn_s = next((moment for moment in self.policy.turns if moment > now_s), inf)
        if self.policy.changes:
            self._stating = self.policy.stating(now_s)
            self._state(self._stating)
            self._held = Memo(self._held.capacity)
            self._documents = Memo(self._documents.capacity)
            self._nobodys = Held((), self._stating.platform_rights, ("",), "known", inf, False)
        self._decisions = Memo(self._decisions.capacity)
        self._verdicts = Memo(self._verdicts.capacity)

    def decide_as(self, request: Request, identity: Identity | None) -> Decision:
        """The decision as if `identity` were known of who asks: for examples, nothing is remembered."""
        if self.dated:
            self._turn()
        held = self._nobodys if self.feed is None else self.hold(request)
        agent = self.name_agent(request.user_agent)
        checked = self.check(agent, request) if identity is None else Checked(identity, "as the question says")
        return self._decide(request, self.stand(request.peer, request.forwarded)[1], held, agent, checked)

    def _decide(
        self, request: Request, networks: tuple[str, ...], held: Held, agent: Agent, checked: Checked
    ) -> Decision:
        identity, keys = checked.identity, checked.keys
        user_agents = self._name_agent(request.user_agent)[1]
        try:
            readings = self.read(request)
        except TargetError as error:
            return Decision("reject", "", self.policy.mode, error.reason, agent, identity, "page")
        if readings.canonical in FILE_PATHS:
            return Decision("serve", "", Mode.ENFORCE, "", agent, identity, "directive", file=readings.canonical)
        if readings.canonical in PASSED_PATHS:
            return Decision("allow", "default", Mode.ENFORCE, "", agent, identity, "directive")
        policy = self._stating
        method = request.method if request.method in METHODS else ""  # no rule can ask for another
        verdicts: list[Verdict] = []
        for reading in readings.all:
            for kind in held.kinds:
                evidence = policy.evidence(
                    agent, identity, reading, method, networks, user_agents, held.rights, kind, keys
                )
                verdict = self._verdicts.get(evidence)
                if verdict is None:
                    verdict = decide(policy, evidence, self._now_s)
                    self._verdicts.keep(evidence, verdict)
                verdicts.append(verdict)
        return self._as_decision(strictest_verdict(verdicts), agent, checked, held)

    def read(self, request: Request, *, case_sensitive: bool | None = None) -> Readings:
        """All readings of the request's target, and of the server's own spelling of it. Raises TargetError.

        `case_sensitive` None: as the policy says.
        """
        site = self.policy.site
        keep_case = site.case_sensitive if case_sensitive is None else case_sensitive
        reader = partial(read_target, case_sensitive=keep_case, strip_prefixes=site.strip_prefixes)
        if request.method in ("CONNECT", "TRACE"):
            raise TargetError(f"method {request.method}")
        readings = reader(request.target)
        if request.path is None:
            return readings
        other = read_path(request.path, case_sensitive=keep_case, strip_prefixes=site.strip_prefixes)
        both = dict.fromkeys((*readings.all, *other.all))
        return Readings(readings.canonical if readings.canonical == other.canonical else "", tuple(both))

    def _as_decision(self, verdict: Verdict, agent: Agent, checked: Checked, held: Held) -> Decision:
        rule = verdict.rule
        return Decision(
            action=verdict.action,
            rule=rule.name if rule else "default",
            mode=self.policy.mode,
            reason=rule.reason if rule else "",
            agent=agent,
            identity=checked.identity,
            route_class=verdict.route_class,
            limits=verdict.limits,
            cost=rule.cost if rule else 1,
            work=str(held.work) if held.work is not None and held.work is not _ANYBODYS else "",
            settles=any(limit.settles for limit in verdict.limits),
            labels=verdict.labels,
            observed=tuple(watching.name for watching in verdict.observed),
            weights=tuple((heavy.name, heavy.weight) for heavy in verdict.weighed),
            said=self._said_of(held, verdict.route_class),
            known_by=checked.reason,
            keys=checked.keys,
            ask=self._asks(rule) if rule is not None and rule.ask else "",
        )

    def _asks(self, rule: Rule) -> str:
        """What a refusal by this rule asks for: only what would count."""
        signatures = self.policy.verifying.signatures
        return "signature of the path" if signatures is not None and signatures.require_path else rule.ask

    def recognise(self, request: Request, decision: Decision, fields: Mapping[bytes, bytes]) -> Recognised | None:
        """Whose request it is and what for, where a glance may be enough (`guard.watching`); else None."""
        if self.watching is None or decision.action not in ("allow", "throttle"):
            return None
        return self.watching.recognise(request, decision, fields, self.stand)

    def glimpse(self, request: Request, decision: Decision, fields: Mapping[bytes, bytes]) -> Watched | None:
        """As `look`, where a glance is enough: the decision stands. None where it is not enough, or not known to be;
        then nothing was counted."""
        known = self.recognise(request, decision, fields)
        if known is None or not known.watching.glimpse(known):
            return None
        return known.watching.start(known)

    def watch(
        self,
        request: Request,
        decision: Decision,
        fields: Mapping[bytes, bytes] | None,
        told: Told = UNTOLD,
    ) -> tuple[Decision, Watched | None]:
        """Count a request that was decided, and say what becomes of the decision; see `guard.watching`. `fields` are
        the headers, names in lower case; None where they were not seen. Edges that learn what is `told` only when they
        have to `glimpse` first, and `look` where that is not enough."""
        if fields is not None and not told.account:
            watched = self.glimpse(request, decision, fields)
            if watched is not None:
                return decision, watched
        return self.look(request, decision, fields, told)

    def look(
        self,
        request: Request,
        decision: Decision,
        fields: Mapping[bytes, bytes] | None,
        told: Told = UNTOLD,
    ) -> tuple[Decision, Watched | None]:
        """As `watch`, with no glimpse before."""
        if self.watching is None or (decision.action not in ("allow", "throttle") and decision.rule != TRAP):
            return decision, None
        path = ""
        if b"%" in request.target or b"//" in request.target:
            with contextlib.suppress(TargetError):
                path = self.read(request).canonical
        return self.watching.look(request, self.client(request), decision, fields, told, path)

    def hear(self, watched: Watched, status: int, body_bytes: int, hints: Mapping[bytes, bytes] | None = None) -> None:
        """The answer to a request that was watched is over."""
        if self.watching is not None:
            self.watching.hear(watched, status, body_bytes, hints)

    def admit(self, request: Request, client: Client, decision: Decision) -> Admission | Future[Admission] | None:
        """Ask the limits of a `throttle` decision for one request; None when there is none to ask."""
        limits = decision.limits
        if not limits:
            return None
        if len(limits) == 1 and (limit := limits[0]).key == ("client",):
            return self.store.take(limit, client.key, limit.cost * decision.cost)
        return admit(self.store, asks_of(request, client, decision, self.policy.site.name))

    def leases(self, limit: Limit) -> Memo[str | bytes | None, HeldBy]:
        """What edges know to be held of a limit, by the line that hops wrote, or by the peer where there is none: one
        bounded table for each limit. It holds for that peer alone; who comes by two of them is asked about oftener."""
        return self._leases.setdefault(limit.name, Memo(16_384))

    def leave(self, request: Request, client: Client, decision: Decision, body_bytes: int) -> None:
        """The answer to an admitted request whose decision `settles` is over. Call it once."""
        leave(self.store, asks_of(request, client, decision, self.policy.site.name), body_bytes)

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

    def serve(self, file: str, query: bytes) -> Reply:
        """A directive file; with `work=LAYER:ID` in the query, the document of that work where there is one."""
        if self._files_turn_s < inf:
            self.pass_by()
        asked = next((pair for pair in query.split(b"&") if pair.startswith(b"work=")), b"") if query else b""
        if asked and self.feed is not None and file in WORK_FILES:
            try:
                work = read_work(unquote_plus(asked[5:].decode("latin-1"), "utf-8", "replace"))
            except ChoiceError:
                return self.files[file]
            held = self.hold_works((Found((work,), ""),))
            if held.spoken or held.state == "away":
                return self._document(file, work, held)
        return self.files[file]

    def _document(self, file: str, work: Work, held: Held) -> Reply:
        """The document of one work; made once for the same rights. While nothing is known of the work it says what is
        enforced, and nobody keeps it."""
        made = self._documents.get((file, work))
        if made is not None and made[0] is held.rights:
            return made[1]
        reply = render_work_file(file, self._declaration or self.declare(), work, held.rights)
        age = b"public, max-age=%d" % DOCUMENT_AGE_S if held.state == "known" else b"no-store"
        headers = tuple((name, age if name == b"cache-control" else value) for name, value in reply.headers)
        reply = reply._replace(headers=headers)
        if held.state == "known":
            self._documents.keep((file, work), (held.rights, reply))
        return reply

    def answer(
        self,
        decision: Decision,
        admission: Admission | None,
        accept: bytes,
        decision_id: str,
        query: bytes = b"",
    ) -> Reply | None:
        """The guard's own answer, or None to let the request through. `query` is the request's, without its `?`."""
        if decision.action == "serve":
            return self.serve(decision.file, query)
        if decision.mode is Mode.OBSERVE:
            return None
        if decision.action == "reject":
            return self.reject(400, decision_id, decision)
        headers = self.headers_of(decision)
        if admission is CLOSED:
            plain = decision._replace(reason="", limits=())
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
        networks = self.stand(request.peer, request.forwarded)[1]
        agent, user_agents = self._name_agent(request.user_agent)
        if request.signed is not None:
            agent, checked = self._examine(request)
        else:
            checked = self.check(agent, request)
        identity = checked.identity
        policy = self._stating
        held = self._nobodys if self.feed is None else self.hold(request)
        return tuple(
            (
                reading,
                trace(
                    policy,
                    policy.evidence(
                        agent, identity, reading, request.method, networks, user_agents, held.rights, kind, checked.keys
                    ),
                    self.clock(),
                ),
            )
            for reading in self.read(request).all
            for kind in held.kinds
        )


def refuser(declaration: Declaration) -> Callable[[Agent, str], bool]:
    """Whether an agent (the real one, where the policy knows its networks) is refused at an address (path and query,
    percent-encoded), as a request is: for who holds files against what is enforced."""
    policy = declaration.policy
    rights = {place.work: place.rights for place in declaration.places}

    def refuses(agent: Agent, address: str) -> bool:
        target, _, query = address.partition("?")
        found = policy.work_paths.find(target.encode(), query.encode(), ())
        held = next((rights[work] for one in found for work in one.works if work in rights), None)
        identity = genuine(agent, policy.site.published_networks, policy.verifying)
        try:
            reading = read_target(target.encode(), case_sensitive=policy.site.case_sensitive).canonical
        except TargetError:
            return True
        reading = reading if policy.site.case_sensitive else reading.lower()
        kind = found[0].kind if found else ""
        return decide(policy, policy.evidence(agent, identity, reading, "GET", (), (), held, kind)).action == "block"

    return refuses


def may_keep(request: Request) -> bool:
    """Is it short enough that remembering what came of it cannot be used to fill the memory?"""
    if len(request.target) > MEMO_BYTES or len(request.method) > MEMO_METHOD_CHARS:
        return False
    return len(request.user_agent or b"") <= MEMO_BYTES


ASK_WHO = Decision("reject", "", Mode.ENFORCE, "", UNKNOWN_AGENT, Identity.UNKNOWN, "api")
"""Stands in the table of decisions where the answer depends on whether the claim is true."""

REJECTED = Decision("reject", "", Mode.ENFORCE, "", UNKNOWN_AGENT, Identity.UNKNOWN, "api")
"""What the edges use for a request that never became one."""


def _read_named(value: bytes) -> tuple[Found, ...]:
    """What the platform's answer names, each for itself; () when it names nothing."""
    told: dict[Found, None] = {}
    for part in value.decode("utf-8", "replace").split(","):
        if text := part.strip():
            if len(told) >= MAX_TOLD:
                return (Found((), ""),)
            try:
                told[Found((read_work(text),), "")] = None
            except ChoiceError:
                return (Found((), ""),)
    return tuple(told)


def _named_beside(found: tuple[Found, ...], told: tuple[Found, ...]) -> tuple[Found, ...]:
    """What the platform named, of the kinds that the address has, beside what the address itself names."""
    kinds = tuple(dict.fromkeys(one.kind for one in found)) or ("",)
    return (*(one._replace(kind=kind) for one in told for kind in kinds), *found)


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _by_directory(catalogue: Catalogue) -> dict[str, tuple[Agent, ...]]:
    """Whose keys are in a directory."""
    found: dict[str, tuple[Agent, ...]] = {}
    for agent in catalogue.agents:
        for check in agent.verification:
            if check.kind == "web-bot-auth":
                for source in check.sources:
                    url = keys_url(source) or source
                    found[url] = (*found.get(url, ()), agent)
    return found


def _signer_of(directory: str, claimed: Agent) -> Agent:
    """Somebody who signs and whom the catalogue does not know, by the name of the host where the keys are. What a robot
    says that it is for still counts."""
    host = urlsplit(directory).hostname or directory
    told = claimed.category not in SOFTWARE and claimed.category != "unknown"
    category, purposes = (claimed.category, claimed.purposes) if told else ("declared-unknown", ())
    return Agent(host, "", "", host, category, purposes, match="none")


def _named(name: str) -> Agent:
    return Agent(name, "", "", "", "search", ())

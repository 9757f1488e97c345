"""What may be added from outside. This file is the extension guide: implement one of these, hand it to `Guard`.

Time is always an argument or the store's own clock; nothing here may sleep or block the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from guard.model import Admission, Limit, Record, Signed
from guard.rights import Chain, Choice, Work

if TYPE_CHECKING:
    from asyncio import Future

    from guard.networks import Knowledge
    from guard.webbotauth import Proof


LAG_S = 0.5
"""So old may a shared store's word be on what was charged or metered elsewhere, while it can be reached: an interval of
the sync, a round trip, and a worker that was busy."""

LAPSE_S = 30.0
"""So long the places of a worker that died are kept."""


class Lease(Protocol):
    """Some requests that a store has counted already, for this worker."""

    def spend(self) -> bool:
        """Use one; False when none is left, and `Store.take` has to be asked."""
        ...


@runtime_checkable
class Store(Protocol):
    """Counts requests against limits.

    Contract (tests/test_stores.py runs it over every store):

    - rate: in any window of W seconds, calls for one (limit, key) that cost at most floor(W / T) + burst are allowed;
    - quota: in each calendar period (UTC, by the store's clock), calls that cost at most `count`;
    - concurrent: at most `count` calls that were allowed and not yet left; who dies has left after LAPSE_S at most;
    - a refused call takes nothing; `retry_after_s` is honest: a call made after it is allowed if no one else took it;
    - a leased limit may refuse early, by what a worker holds and nobody asks it for: never more than an eighth of the
      burst and half of what was left, and nothing once less than two tokens a worker are left;
    - what is charged afterwards may be LAG_S old when a request is held against it;
    - state for a key is gone by itself once the limit would be full again;
    - nothing raises and nothing blocks. `take` answers at once when it can, else with a future that is
      done within the store's deadline, whatever happens to the server.

    `shared` says whether it counts for the whole fleet; an answer with `shared=False` from such a store was made
    without it, and the policy's `on_store_failure` has its say.
    """

    shared: bool

    def take(self, limit: Limit, key: bytes, cost: int = 1) -> Admission | Future[Admission]:
        """Ask for one request that costs `cost` under `limit` for `key` (any bytes; a store must not keep them
        readable). A limit that is charged afterwards takes nothing now; a concurrent one takes a place."""
        ...

    def peek(self, limit: Limit, key: bytes, cost: int = 1) -> Admission | None:
        """The refusal that `take` would answer with, where that is known without asking; else None. Takes nothing."""
        ...

    def lease(self, limit: Limit, key: bytes) -> Lease | None:
        """What this worker holds of a rate for `key`, to be used without asking; None where nothing ever is. It may be
        kept as long as one likes: what has lapsed is never spent."""
        ...

    def charge(self, limit: Limit, key: bytes, cost: int) -> None:
        """Take what a request has really cost, room or not: of limits that are charged afterwards."""
        ...

    def leave(self, limit: Limit, key: bytes) -> None:
        """Give back the place that `take` gave under a concurrent limit. Call it once for each."""
        ...

    async def open(self) -> None:
        """Get ready in the running event loop. Must not fail because a server is away."""
        ...

    async def close(self) -> None:
        """Let go of connections and processes. Safe to call twice."""
        ...


class Witness(Protocol):
    """Knows what can be known of who is asking: published networks, host names, keys.

    Contract: nothing here waits. What is not known yet is found out beside the request, and the request is judged by
    what is known now. All of it is bounded, whoever sends what.
    """

    def known(self, address: str) -> Knowledge:
        """What is known of an address (canonical text) at this moment."""
        ...

    def fresh(self, source: str) -> bool:
        """Is the published list at this address there, and new enough to speak against somebody?"""
        ...

    def ask(self, address: str, suffixes: tuple[str, ...]) -> None:
        """Find out, beside the request, whether the address has a host name under one of `suffixes`."""
        ...

    def prove(self, signed: Signed, client: bytes, now_s: float) -> Proof:
        """What the signatures of a request prove. `client` is the key of who sent it (`Client.key`)."""
        ...

    def heed(self, changed: Callable[[], None]) -> None:
        """From now on call `changed` (in the event loop) when lists or keys are other ones than before."""
        ...

    async def open(self) -> None:
        """Begin to look in the running event loop. Must not fail because somebody is away. Safe to call twice."""
        ...

    async def close(self) -> None:
        """Let go of everything. Safe to call twice."""
        ...


class Recorder(Protocol):
    """Receives each settled request. Called on the event loop after the answer: be quick, never raise."""

    def __call__(self, record: Record) -> None: ...


# -- rights --------------------------------------------------------------------------------------------------


class Known(NamedTuple):
    """What a source can say of some works at this moment.

    `state`: "known" (this is so), "stale" (it was so when it was last asked; it cannot be asked now) or "away"
    (nothing is known, the source has not answered yet or cannot be asked).
    """

    chain: Chain
    state: str = "known"


class Listed(NamedTuple):
    """The works with a choice of their own, widest layer first and the newest choice first within one layer.

    Each with its chain (itself included). `total` counts all there are, `works` may be fewer.
    """

    works: tuple[tuple[Work, Chain], ...]
    total: int


NOTHING_LISTED = Listed((), 0)


@runtime_checkable
class RightsSource(Protocol):
    """Knows what the holders of works have said.

    Contract (tests/test_registers.py and tests/test_registers_remote.py hold every source to it):

    - `find` never raises and never waits: a source that has to ask somebody answers from what it remembers, asks
      beside the request, and says "stale" or "away" meanwhile;
    - it gives each of the works asked for and all that stands above them (`guard.rights.climb`); a work that it does
      not know is in the chain with None;
    - what was changed is found at most two seconds later in every process, after `changed` (see `heed`) was called;
    - a source that does not hear of changes by itself has `tells = False`: then works are asked for anew each second;
    - `find` and `listed` work before `open` and in a forked child, too, as far as the source needs no event loop.
    """

    def find(self, works: tuple[Work, ...]) -> Known:
        """What the holders of these works, and of those above them, have said."""
        ...

    def listed(self, limit: int) -> Listed:
        """At most `limit` works with a choice of their own. May take long: never called on a request's path."""
        ...

    def heed(self, changed: Callable[[], None]) -> None:
        """From now on call `changed` (in the event loop that `open` ran in) whenever something is different."""
        ...

    async def open(self) -> None:
        """Begin to look for changes in the running event loop. Must not fail because a source is away."""
        ...

    async def close(self) -> None:
        """Let go of everything. Safe to call twice."""
        ...


class Change(NamedTuple):
    """One entry of a register's history: from `at_s` on, `choice` was what `by` had said (None = withdrawn)."""

    at_s: float
    work: Work
    choice: Choice | None
    by: str
    reason: str


@runtime_checkable
class Register(RightsSource, Protocol):
    """A source that can be written to, and that forgets nothing. All of these may block: not on a request's path.

    They raise RegisterError when the register cannot be read or written.
    """

    def put(self, change: Change, parents: tuple[Work, ...] | None = None) -> None:
        """Note a change, durably. `parents` None leaves what stands above the work as it is."""
        ...

    def entry(self, work: Work) -> tuple[Choice | None, tuple[Work, ...]] | None:
        """What is in force for the work itself, and its parents; None when it is not known."""
        ...

    def at(self, works: tuple[Work, ...], moment_s: float) -> Known:
        """What `find` would have said at a past moment (of parents, those of today are taken)."""
        ...

    def history(self, work: Work) -> tuple[Change, ...]:
        """All changes of one work, the oldest first."""
        ...

    def changes(self, since_s: float, limit: int) -> tuple[Change, ...]:
        """Changes of all works from a moment on, the oldest first."""
        ...

    def entries(self) -> Iterable[tuple[Work, Choice | None, tuple[Work, ...]]]:
        """Everything in force, in the order of layers and ids."""
        ...

    def stats(self) -> dict[str, object]:
        """Counts: works and choices a layer, changes, size in bytes, and the newest change's moment."""
        ...

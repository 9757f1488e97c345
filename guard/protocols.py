"""What may be added from outside. This file is the extension guide: implement one of these, hand it to `Guard`.

Time is always an argument or the store's own clock; nothing here may sleep or block the event loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from guard.model import Admission, Limit, Record

if TYPE_CHECKING:
    from asyncio import Future


@runtime_checkable
class Store(Protocol):
    """Counts requests against limits.

    Contract (tests/test_stores.py runs it over every store):

    - in any window of W seconds, at most floor(W / T) + burst calls for one (limit, key) are allowed;
    - a refused call takes nothing; `retry_after_s` is honest: a call made after it is allowed if no one else took it;
    - state for a key is gone by itself once the limit would be full again;
    - `take` never raises and never blocks. It answers at once when it can, else with a future that is
      done within the store's deadline, whatever happens to the server.

    `shared` says whether it counts for the whole fleet; an answer with `shared=False` from such a store was made
    without it, and the policy's `on_store_failure` has its say.
    """

    shared: bool

    def take(self, limit: Limit, key: bytes) -> Admission | Future[Admission]:
        """Ask for one request under `limit` for `key` (any bytes; a store must not keep them readable)."""
        ...

    async def open(self) -> None:
        """Get ready in the running event loop. Must not fail because a server is away."""
        ...

    async def close(self) -> None:
        """Let go of connections and processes. Safe to call twice."""
        ...


class Recorder(Protocol):
    """Receives each settled request. Called on the event loop after the answer: be quick, never raise."""

    def __call__(self, record: Record) -> None: ...

"""Where limits are counted. The law of this family: `take` never raises, never blocks, and answers by its deadline.

    memory                      this process only
    embedded                    a Valkey that comes with the package and lives as long as the store
    redis:// rediss:// unix://  a Redis or Valkey that is already there

What each of them promises is in `guard.protocols.Store`; tests/test_stores.py holds all of them to it.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from guard.model import Admission, Limit
from guard.protocols import Store
from guard.stores.memory import MemoryStore

if TYPE_CHECKING:
    from asyncio import Future

SCHEMES = ("memory", "embedded", "redis://", "rediss://", "unix://")


def open_store(url: str, *, workers: int = 1, secret: bytes = b"") -> Store:
    """The store that `url` names, not yet opened; ValueError when it names none.

    `workers` is how many workers divide a limit between them when they cannot ask each other. `secret` keys the
    names under which clients are counted on a server (see `RedisStore`).
    """
    scheme, separator, _ = url.partition("://")
    scheme = scheme.lower()
    if scheme in ("memory", "embedded") and url[len(scheme) :] in ("", "://"):
        if scheme == "memory":
            return MemoryStore(share=workers)
        return _EmbeddedStore(workers, secret)
    if scheme in ("redis", "rediss", "unix") and separator:
        # Here, so that who counts in memory does not load a client for a server.
        from guard.stores.redis import RedisStore

        return RedisStore(url, workers=workers, secret=secret)
    # Nothing after the scheme is repeated: it may hold a password.
    near = get_close_matches(scheme, [name.removesuffix("://") for name in SCHEMES], 1, 0.6)
    shown = scheme if separator or near else "this"
    meant = f" Did you mean {next(name for name in SCHEMES if name.removesuffix('://') == near[0])}?" if near else ""
    raise ValueError(f"{shown!r} is no store: use one of {', '.join(SCHEMES)}.{meant}")


class _EmbeddedStore:
    """A shared store that brings its own server: started by `open()`, ended by `close()`."""

    shared = True

    def __init__(self, workers: int, secret: bytes) -> None:
        from guard.stores.embedded import EmbeddedValkey

        self._workers = workers
        self._secret = secret
        self._server = EmbeddedValkey()
        self._store: Store = MemoryStore(share=workers)

    def __repr__(self) -> str:
        return f"EmbeddedStore({self._store!r})"

    def take(self, limit: Limit, key: bytes) -> Admission | Future[Admission]:
        return self._store.take(limit, key)

    async def open(self) -> None:
        import asyncio

        from guard.stores.redis import RedisStore

        # Started from the loop's own thread, for the server dies with the thread that starts it; only the wait is
        # handed to another one.
        self._server.launch()
        await asyncio.to_thread(self._server.wait_ready)
        self._store = RedisStore(self._server.url, workers=self._workers, secret=self._secret)
        await self._store.open()

    async def close(self) -> None:
        import asyncio

        await self._store.close()
        await asyncio.to_thread(self._server.stop)

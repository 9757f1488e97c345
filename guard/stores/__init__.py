"""Where limits are counted. The law of this family: `take` never raises, never blocks, and answers by its deadline.

    memory                                          this process only
    embedded                                        a Valkey that comes with the package, shared by a server's workers
    redis:// rediss:// unix://                      a Redis or Valkey that is already there
    redis+sentinel://HOST:PORT,HOST:PORT/SERVICE    the primary that Sentinels name
    redis+cluster://HOST:PORT,HOST:PORT             a cluster

What each of them promises is in `guard.protocols.Store`; tests/test_stores.py holds all of them to it.
"""

from __future__ import annotations

from difflib import get_close_matches

from guard.protocols import Store
from guard.stores.memory import MemoryStore

SCHEMES = (
    "memory",
    "embedded",
    "redis://",
    "rediss://",
    "unix://",
    "redis+sentinel://",
    "rediss+sentinel://",
    "redis+cluster://",
    "rediss+cluster://",
)
_SERVERS = tuple(scheme.removesuffix("://") for scheme in SCHEMES if scheme.endswith("://"))


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
        from guard.stores.embedded import EmbeddedStore

        return EmbeddedStore(workers, secret)
    if scheme in _SERVERS and separator:
        # Here, so that who counts in memory does not load a client for a server.
        from guard.stores.redis import RedisStore

        return RedisStore(url, workers=workers, secret=secret)
    # Nothing after the scheme is repeated: it may hold a password.
    near = get_close_matches(scheme, [name.removesuffix("://") for name in SCHEMES], 1, 0.6)
    shown = scheme if separator or near else "this"
    meant = f" Did you mean {next(name for name in SCHEMES if name.removesuffix('://') == near[0])}?" if near else ""
    raise ValueError(f"{shown!r} is no store: use one of {', '.join(SCHEMES)}.{meant}")

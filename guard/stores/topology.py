"""Which server counts what: one, the primary that Sentinels name, or the nodes of a cluster.

The law of this file: the library does what is rare (addresses, TLS, passwords, Sentinels), a link does what is
frequent, and what is not known yet is asked beside requests.
"""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import AskError, MovedError, RedisError

from guard.errors import StoreError
from guard.stores.link import PROBE_EVERY_S, Entry, Link, Owner, Times
from guard.stores.names import SLOTS

KINDS = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")

MOST_NODES = 256
MOST_ASKED = 4
"""So many known nodes, and so many of those named at the start, are asked for the others."""

MOST_TRIES = 5

_log = logging.getLogger("guard.store")


class Address(NamedTuple):
    """A store's URL, read. `places` are hosts and ports (of the Sentinels, or of nodes that know the others), `service`
    is the name that Sentinels know the primary by, `url` what the library makes connections from."""

    kind: str
    places: tuple[tuple[str, int], ...]
    service: str
    url: str
    shown: str


def read_address(url: str) -> Address:
    """What a store's URL says. Raises ValueError with a text that holds no password."""
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    base, _, kind = scheme.partition("+")
    if scheme not in KINDS or not rest:
        raise ValueError(f"store url {scheme!r}: use one of {', '.join(f'{kind}://' for kind in KINDS)}")
    if not kind:
        return Address("", (), "", url, shown(url))
    parts = urlsplit(f"{base}://{rest}")
    user, at, hosts = parts.netloc.rpartition("@")
    port = 26379 if kind == "sentinel" else 6379
    try:
        places = tuple(_read_place(place, port) for place in hosts.split(",") if place)
    except ValueError:
        raise ValueError(f"store url {scheme}://…: a host is HOST or HOST:PORT, several are parted by commas") from None
    if not places:
        raise ValueError(f"store url {scheme}://…: names no host")
    path = [step for step in parts.path.split("/") if step]
    service = path.pop(0) if kind == "sentinel" and path else ""
    if kind == "sentinel" and not service:
        raise ValueError(f"store url {scheme}://…: needs the name of the service, as in …:26379/mymaster")
    host, first = places[0]
    first_host = f"[{host}]" if ":" in host else host
    netloc = f"{user}{at}{first_host}:{first}"
    own = urlunsplit((base, netloc, "/" + "/".join(path), parts.query, ""))
    said = ",".join(f"{host}:{port}" for host, port in places)
    return Address(kind, places, service, own, f"{scheme}://{said}{f'/{service}' if service else ''}")


def _read_place(text: str, port: int) -> tuple[str, int]:
    """Raises ValueError."""
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.path or parts.query:
        raise ValueError(text)
    return parts.hostname, parts.port or port


def shown(url: str) -> str:
    """A store's URL as it may be shown to people: without user, password and options."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "unix":
            return f"unix://{parts.path}"
        host = parts.hostname or "localhost"
        return f"{parts.scheme}://{host}:{parts.port or 6379}{parts.path}"
    except ValueError:
        return "(unreadable url)"


class Dialler:
    """Makes connections that have yet to be connected."""

    def __init__(self, address: Address, connect_timeout_s: float) -> None:
        """Raises ValueError when the library cannot read the URL."""
        try:
            # No timeout on single reads: a hundred replies of 49 ms each would all be in time. One deadline, that of
            # the link, covers the whole of it. RESP2 because every server and every proxy speaks it and our answers
            # are whole numbers.
            self._pool: ConnectionPool = ConnectionPool.from_url(
                address.url,
                socket_timeout=None,
                socket_connect_timeout=connect_timeout_s,
                retry=Retry(NoBackoff(), 0),
                health_check_interval=0,
                protocol=2,
            )
        except (ValueError, TypeError, RedisError):
            # The text of these errors quotes parts of the URL, and with a stray character that is the password.
            raise ValueError(f"store url {address.shown!r}: not a url that can be read") from None
        self._address = address
        self._timeout_s = connect_timeout_s

    async def dial(self) -> AbstractConnection:
        """To the one server."""
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        return connection

    async def dial_at(self, host: str, port: int) -> AbstractConnection:
        """To a certain server, with the same words for user, password and TLS."""
        words = {**self._pool.connection_kwargs, "host": host, "port": port}
        connection: AbstractConnection = self._pool.connection_class(**words)
        return connection

    async def dial_primary(self) -> AbstractConnection:
        """To whom the Sentinels name."""
        times = {"socket_timeout": self._timeout_s, "socket_connect_timeout": self._timeout_s, "protocol": 2}
        sentinel = Sentinel(  # type: ignore[no-untyped-call]
            list(self._address.places), sentinel_kwargs={**times, "retry": Retry(NoBackoff(), 0)}
        )
        try:
            host, port = await sentinel.discover_master(self._address.service)
        finally:
            for one in sentinel.sentinels:
                await one.aclose()
        return await self.dial_at(host, port)


class Single:
    """One server, or the primary of several: everything is counted there."""

    def __init__(self, link: Link) -> None:
        self.links = (link,)

    def link_of(self, tag: int) -> Link | None:
        return self.links[0]

    async def open(self) -> None:
        await self.links[0].open()

    async def close(self) -> None:
        await self.links[0].close()

    def fell(self, link: Link) -> None:
        """The link itself tries again."""

    def redirect(self, link: Link, entry: Entry, error: Exception) -> None:
        """A single server has nobody to send us to; one that is part of a cluster does."""
        link.settle_here(entry)


class Cluster:
    """The nodes of a cluster, found and kept up to date beside requests."""

    def __init__(
        self,
        owner: Owner,
        address: Address,
        dialler: Dialler,
        times: Times,
    ) -> None:
        self._owner = owner
        self._address = address
        self._dialler = dialler
        self._times = times
        self._clock = times.clock
        self._nodes: dict[tuple[str, int], Link] = {}
        self._by_tag: list[Link | None] = [None] * len(SLOTS)
        self._keeper: asyncio.Task[None] | None = None
        self._wanted: asyncio.Event | None = None
        self._opened: asyncio.Future[None] | None = None

    @property
    def links(self) -> tuple[Link, ...]:
        return tuple(self._nodes.values())

    def link_of(self, tag: int) -> Link | None:
        return self._by_tag[tag]

    async def open(self) -> None:
        if self._keeper is None:
            loop = asyncio.get_running_loop()
            self._wanted = asyncio.Event()
            self._opened = loop.create_future()
            self._keeper = loop.create_task(self._keep(), name="guard-store-cluster")
            await self._opened

    async def close(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait({keeper})
        for link in self.links:
            await link.close()
        self._nodes = {}
        self._by_tag = [None] * len(SLOTS)

    def fell(self, link: Link) -> None:
        self._look_again()

    def _look_again(self) -> None:
        if self._wanted is not None:
            self._wanted.set()

    def redirect(self, link: Link, entry: Entry, error: Exception) -> None:
        """Ask where the server says; what is being moved is asked for in a call of its own."""
        waiting = len(entry.waiting)
        entry.tries += 1
        if entry.tries > MOST_TRIES or self._clock() - entry.at > self._times.timeout_s:
            link.settle_here(entry)
            return
        link.waiting -= waiting
        other: Link | None = link
        entry.asking = False
        if isinstance(error, (MovedError, AskError)):
            if isinstance(error, MovedError):
                self._look_again()
            else:
                entry.asking = True
            other = self._node(error.host or self._address.places[0][0], int(error.port))
        entry.apart = True
        if other is None or other.down:
            link.waiting += waiting
            link.settle_here(entry)
            return
        other.waiting += waiting
        other.send(entry)

    # -- finding the nodes

    async def _keep(self) -> None:
        """Find the nodes, then whenever something says that they are others."""
        assert self._opened is not None and self._wanted is not None
        try:
            while True:
                self._wanted.clear()
                began = self._clock()
                found = await self._find()
                if found is not None:
                    await self._take(found)
                else:
                    self._wanted.set()
                if not self._opened.done():
                    self._opened.set_result(None)
                await asyncio.sleep(max(0.0, began + PROBE_EVERY_S - self._clock()))
                await self._wanted.wait()
        finally:
            if not self._opened.done():
                self._opened.set_result(None)

    async def _find(self) -> list[tuple[int, int, str, int]] | None:
        """Ranges of slots and who has them, from the first node that answers; None when none does."""
        known = [*list(self._nodes)[:MOST_ASKED], *self._address.places[:MOST_ASKED]]
        for host, port in dict.fromkeys(known):
            connection: AbstractConnection | None = None
            try:
                async with asyncio.timeout(self._times.connect_timeout_s + self._times.timeout_s):
                    connection = await self._dialler.dial_at(host, port)
                    await connection.connect()  # type: ignore[no-untyped-call]
                    await connection.send_command("CLUSTER", "SLOTS")
                    return _read_slots(await connection.read_response(), host)
            except Exception as error:  # noqa: BLE001 - whatever the library makes of a host, the next is asked
                _log.debug("store %s: a node does not tell the others: %s", self._address.shown, type(error).__name__)
            finally:
                if connection is not None:
                    try:
                        await connection.disconnect(nowait=True)
                    except (RedisError, OSError):
                        _log.debug("a connection was already gone")
        if self._opened is not None and not self._opened.done():
            _log.warning("store %s: no node answers; limits are local to each worker", self._address.shown)
        return None

    async def _take(self, found: list[tuple[int, int, str, int]]) -> None:
        named = {(host, port) for _, _, host, port in found}
        links = [self._node(host, port) for host, port in sorted(named)]
        by_tag: list[Link | None] = [None] * len(SLOTS)
        for tag, slot in enumerate(SLOTS):
            owner = next(((host, port) for low, high, host, port in found if low <= slot <= high), None)
            by_tag[tag] = self._nodes.get(owner) if owner is not None else None
        self._by_tag = by_tag
        fresh = [link for link in links if link is not None]
        await asyncio.gather(*(link.open() for link in fresh))
        for place in [place for place in self._nodes if place not in named]:
            await self._nodes.pop(place).close()

    def _node(self, host: str, port: int) -> Link | None:
        """The link to a node; a new one is being connected. None where there are too many."""
        place = (host, port)
        link = self._nodes.get(place)
        if link is None and len(self._nodes) < MOST_NODES:
            link = self._nodes[place] = Link(
                self._owner,
                f"{self._address.kind and 'redis'}://{host}:{port}",
                lambda: self._dialler.dial_at(host, port),
                self._times,
                by_part=True,
            )
            link.start()
        return link


def _read_slots(reply: object, asked: str) -> list[tuple[int, int, str, int]]:
    """CLUSTER SLOTS (https://valkey.io/commands/cluster-slots/). Raises StoreError."""
    found: list[tuple[int, int, str, int]] = []
    try:
        for low, high, primary, *_ in reply:  # type: ignore[attr-defined]
            host = primary[0].decode() if isinstance(primary[0], bytes) else primary[0]
            found.append((int(low), int(high), host or asked, int(primary[1])))
    except (TypeError, ValueError, AttributeError, UnicodeError):
        raise StoreError("the cluster's map cannot be read") from None
    return found

"""The keys of those who sign requests, asked for at their own addresses, beside all requests.

    find()   the key that is remembered, or a word why there is none; may start an ask, never waits for it
    _ask()   one address, once at a time: fetch, read, remember
    _fell()  no usable answer -> what was said before goes on, and nobody asks again before a growing pause is over

The law of this file: an address that nobody listed costs at most a share of ten asks a minute, whoever names how many.
An outage takes nothing away; a good answer without a key takes that key away (draft-ietf-webbotauth-httpsig-protocol).
A key is known by the pair of its address and its name: who publishes another's key at his own address is himself.

The signature over a directory's answer is not read: TLS says whose it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from asyncio import AbstractEventLoop, Task
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Protocol

from guard.fetch import PUBLIC, Fetched, FetchError, Reach, fetch
from guard.hosts import WELL_KNOWN
from guard.memo import Memo
from guard.registers.remote import read_json
from guard.webbotauth import Key, Settings, read_jwk

MEDIA_TYPE = "application/http-message-signatures-directory+json"
JWKS_TYPES = (MEDIA_TYPE, "application/jwk-set+json", "application/json")
"""What may be said at an address that was listed, or is one of a JWK Set itself."""

MAX_BYTES = 65_536
MAX_KEYS = 32
MAX_DEPTH = 8
MAX_ENTRIES = 1024
"""Addresses that nobody listed."""

DEADLINE_S = 3.0
FRESH_S = 3600.0
KEPT_S = 7 * 86_400.0
"""So long the last good answer stands in for a directory that does not answer."""

ASKS_PER_MINUTE = 10
ASKS_PER_CLIENT = 3
AT_ONCE = 8
_FIRST_PAUSE_S = 15.0
_LONGEST_PAUSE_S = 300.0
_CLIENTS = 4096

_log = logging.getLogger("guard.webbotauth")


class Fetch(Protocol):
    """What `guard.fetch.fetch` is."""

    def __call__(
        self, url: str, *, max_bytes: int, deadline_s: float, media_types: tuple[str, ...] = (), reach: Reach = PUBLIC
    ) -> Awaitable[Fetched]: ...


class _Directory:
    """What is known of one address. Times are of the clock; `good_s` is when it last answered, None when never."""

    __slots__ = ("failures", "good_s", "keys", "pause_until_s", "task", "used_s")

    def __init__(self, now_s: float) -> None:
        self.keys: dict[str, Key] = {}
        self.good_s: float | None = None
        self.pause_until_s: float | None = None
        self.failures = 0
        self.used_s = now_s
        self.task: Task[None] | None = None

    def due(self, now_s: float, age_s: float) -> bool:
        """Was it not asked for `age_s`? A clock that was put back makes everything due."""
        return self.good_s is None or not self.good_s <= now_s < self.good_s + age_s

    def resting(self, now_s: float) -> bool:
        """Must it be left alone after a failure?"""
        end_s = self.pause_until_s
        return end_s is not None and end_s - _LONGEST_PAUSE_S <= now_s < end_s


class Directories:
    """Keys by (address, keyid), of the directories that `settings` allow.

    `clock` gives seconds since 1970, like the `now_s` of `find`. Counters: `asks`, `failures`, and `held_back`, asks
    that the budget did not allow.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        reach: Reach = PUBLIC,
        fetch: Fetch = fetch,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.asks = self.failures = self.held_back = 0
        self._settings = settings
        self._clock = clock
        self._reach = reach
        self._fetch = fetch
        self._deadline_s = deadline_s
        self._known: dict[str, _Directory] = {}
        self._loop: AbstractEventLoop | None = None
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[Task[None]] = set()
        self._recent: deque[float] = deque()
        self._by_client: Memo[str, deque[float]] = Memo(_CLIENTS)
        self._changed: list[Callable[[], None]] = []
        self._opening = False
        self._fallen: list[tuple[str, str]] = []

    def __len__(self) -> int:
        return len(self._known)

    def heed(self, changed: Callable[[], None]) -> None:
        """Call `changed` in the loop of `open` whenever the keys of a directory are others than before."""
        self._changed.append(changed)

    async def open(self) -> None:
        """From now on keys are asked for, in the running event loop; those of listed directories at once."""
        self._loop = asyncio.get_running_loop()
        self._at_once = asyncio.Semaphore(AT_ONCE)
        now_s = self._clock()
        for url in self._settings.urls:
            self._want(url, self._known.get(url), now_s, "")
        if self._tasks:
            self._opening = True
            first = asyncio.create_task(self._first_look(tuple(self._tasks)))
            self._tasks.add(first)
            first.add_done_callback(self._tasks.discard)

    async def _first_look(self, tasks: tuple[Task[None], ...]) -> None:
        """Say once who of the listed could not be reached: where the way out is closed, that is everybody."""
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self._opening = False
        fallen, self._fallen = self._fallen, []
        if fallen:
            url, why = fallen[0]
            more = f" ({len(fallen) - 1} more of {len(tasks)} neither)" if len(fallen) > 1 else ""
            _log.warning("keys of %.200s: not there: %.200s%s; asked again later", url, why, more)

    async def close(self) -> None:
        """End what is under way. What is remembered stays."""
        self._loop = None
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def quiet(self) -> None:
        """Wait until nothing is under way: for a start that wants listed keys first. Takes a deadline's time or two."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def find(self, url: str, keyid: str, now_s: float, client: str = "") -> Key | str:
        """The key, or why there is none: "pending", "missing", "unreachable" or "refused". Never waits or raises.

        `url` is one that `guard.webbotauth` let pass; `client` is who asks, for its share of what may be asked.
        """
        if url not in self._settings.urls and not self._settings.discover:
            return "refused"
        held = self._known.get(url)
        if held is None:
            held = self._want(url, None, now_s, client)
            return "unreachable" if held is None else "pending"
        held.used_s = now_s
        key = held.keys.get(keyid)
        # Whoever names a key that is not there may be the first to use a new one.
        if held.due(now_s, FRESH_S if key is not None else _LONGEST_PAUSE_S):
            self._want(url, held, now_s, client)
        if held.good_s is None:
            return "pending" if held.task is not None else "unreachable"
        if now_s - held.good_s > KEPT_S:
            return "unreachable"
        return "missing" if key is None else key

    # -- asking

    def _want(self, url: str, held: _Directory | None, now_s: float, client: str) -> _Directory | None:
        """Start an ask unless one is under way, a pause is on, or the budget is spent. Gives what is known then."""
        loop = self._loop
        if loop is None or (held is not None and (held.task is not None or held.resting(now_s))):
            return held
        if url not in self._settings.urls and not self._afford(now_s, client):
            self.held_back += 1
            return held
        if held is None:
            held = _Directory(now_s)
            self._make_room()
            self._known[url] = held
        self.asks += 1
        held.task = loop.create_task(self._ask(url, held))
        self._tasks.add(held.task)
        held.task.add_done_callback(partial(self._ended, held))
        return held

    def _ended(self, held: _Directory, task: Task[None]) -> None:
        """Also of a task that was cancelled before its first step."""
        held.task = None
        self._tasks.discard(task)

    def _afford(self, now_s: float, client: str) -> bool:
        """Take one ask from the budget of all and from the client's."""
        own = self._by_client.get(client)
        if own is None:
            own = deque(maxlen=ASKS_PER_CLIENT)
            self._by_client.keep(client, own)
        for times in (self._recent, own):
            while times and not now_s - 60.0 < times[0] <= now_s:
                times.popleft()
        if len(self._recent) >= ASKS_PER_MINUTE or len(own) >= ASKS_PER_CLIENT:
            return False
        self._recent.append(now_s)
        own.append(now_s)
        return True

    def _make_room(self) -> None:
        """Forget the address that was unused for longest, when there are too many. Listed ones stay."""
        others = [url for url in self._known if url not in self._settings.urls]
        if len(others) >= MAX_ENTRIES:
            oldest = self._known.pop(min(others, key=lambda url: self._known[url].used_s))
            if oldest.task is not None:
                oldest.task.cancel()

    async def _ask(self, url: str, held: _Directory) -> None:
        try:
            async with self._at_once:
                fetched = await self._fetch(
                    url,
                    max_bytes=MAX_BYTES,
                    deadline_s=self._deadline_s,
                    media_types=self._media_types(url),
                    reach=self._reach,
                )
            if fetched.status != 200:
                raise FetchError(f"the answer was {fetched.status}, not 200")
            keys = read_directory(fetched.body)
        except (FetchError, ValueError) as error:
            self._fell(url, held, str(error))
        except Exception as error:  # noqa: BLE001  # a task that died would leave this address pending for ever
            self._fell(url, held, type(error).__name__)
        else:
            self._rose(held, keys)

    def _media_types(self, url: str) -> tuple[str, ...]:
        if url in self._settings.urls or not url.endswith(WELL_KNOWN):
            return JWKS_TYPES
        return (MEDIA_TYPE,)

    def _fell(self, url: str, held: _Directory, why: str) -> None:
        self.failures += 1
        held.failures += 1
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(held.failures - 1, 10))
        held.pause_until_s = self._clock() + pause_s
        if self._opening:
            self._fallen.append((url, why))
        elif held.failures == 1:
            _log.warning("keys of %.200s: %.200s; what it said last goes on", url, why)

    def _rose(self, held: _Directory, keys: dict[str, Key]) -> None:
        changed = {name: key.thumbprint for name, key in keys.items()} != {
            name: key.thumbprint for name, key in held.keys.items()
        }
        held.keys = keys
        held.good_s = self._clock()
        held.pause_until_s = None
        held.failures = 0
        if not changed:
            return
        for heeding in tuple(self._changed):
            try:
                heeding()
            except Exception:  # noqa: BLE001  # who listens badly must not make the others deaf
                _log.exception("a change of keys was heard of badly")


def read_directory(text: bytes) -> dict[str, Key]:
    """The keys of a JWK Set (RFC 7517, section 5), or of a single JWK, by the name they are found under.

    Raises ValueError for what is no such document, nests deeper than 8 or holds more than 32 keys. A key that cannot
    be used is passed over, and so are all that share a name or a thumbprint: nobody could say which is meant.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"the document is longer than {MAX_BYTES} bytes")
    try:
        said = read_json(text)
    except ValueError:
        raise ValueError("the document is no JSON") from None
    _refuse_depth(said)
    if not isinstance(said, Mapping):
        raise ValueError("the document is no JWK Set")
    listed: Any = said.get("keys") if "keys" in said or "kty" not in said else [said]
    if not isinstance(listed, list):
        raise ValueError("the document is no JWK Set")
    if len(listed) > MAX_KEYS:
        raise ValueError(f"the document holds more than {MAX_KEYS} keys")
    usable: list[Key] = []
    seen: dict[str, int] = {}
    for jwk in listed:
        kid = jwk.get("kid") if isinstance(jwk, Mapping) else None
        try:
            key = read_jwk(jwk)
        except ValueError:
            names = {kid} if isinstance(kid, str) and kid else set()
        else:
            usable.append(key)
            names = {key.thumbprint, kid or key.thumbprint}
        for name in names:
            seen[name] = seen.get(name, 0) + 1
    found: dict[str, Key] = {}
    for key in usable:
        if seen[key.thumbprint] == 1 and seen.get(key.kid, 1) == 1:
            found[key.thumbprint] = found[key.keyid] = key
    return found


def _refuse_depth(said: object) -> None:
    """Raises ValueError for what nests deeper than 8."""
    level: list[object] = [said]
    for _ in range(MAX_DEPTH):
        inside: list[object] = []
        for value in level:
            if isinstance(value, Mapping):
                inside += value.values()
            elif isinstance(value, list):
                inside += value
        if not inside:
            return
        level = inside
    if any(isinstance(value, Mapping | list) for value in level):
        raise ValueError(f"the document nests deeper than {MAX_DEPTH}")

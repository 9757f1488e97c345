"""What this process can know of who is asking, put together from what the policy allows: published networks, host names
and keys. It is asked on the path of requests and never waits there; all finding out is done beside.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakMethod

from guard.engine import Guard
from guard.fetch import PUBLIC, Reach
from guard.load import catalogue_of
from guard.model import Agent, Signed, Verifying
from guard.policy import Policy
from guard.verify import LIST_KINDS, suffixes_of

if TYPE_CHECKING:
    from guard.directories import Directories
    from guard.webbotauth import Key, Proof, Settings


class Words(NamedTuple):
    """What a witness is to know. `sources` are the addresses of published lists with their kind, ip-json or ip-html;
    `directory` is where fetched lists are kept; `directories` are those of keys beside the policy's own; `suffixes` the
    ends of host names that operators publish."""

    verifying: Verifying
    sources: tuple[tuple[str, str], ...] = ()
    directory: Path | None = None
    directories: tuple[str, ...] = ()
    suffixes: frozenset[str] = frozenset()


class Witness:
    """Knows what `words` allow. Two guards of a process with the same words share one. `reach` says where may be
    connected to.
    """

    def __init__(
        self,
        words: Words,
        *,
        reach: Reach = PUBLIC,
        clock: Callable[[], float] = time.time,
        still: bool = False,
    ) -> None:
        """`still`: it asks nobody, and knows what was fetched by others. Raises FetchError for a source that could
        never be fetched, ValueError for a directory that is none."""
        # A fifth of a second, for policies that ask for it.
        from guard.directories import Directories
        from guard.resolve import Resolver
        from guard.webbotauth import Replays, Settings

        self.words = words
        self.still = still
        verifying = replace(words.verifying, dns=False, signatures=None) if still else words.verifying
        self.resolver = Resolver(
            dict(words.sources),
            directory=words.directory,
            reach=reach,
            nameservers=verifying.nameservers,
            suffixes=words.suffixes,
            dns=verifying.dns,
            clock=clock,
        )
        self.known = self.resolver.known
        self.fresh = self.resolver.fresh
        self.ask = self.resolver.ask
        self._settings: Settings | None = None
        self._directories: Directories | None = None
        self._replays = Replays()
        self._heeding: list[WeakMethod[Callable[[], None]]] = []
        signatures = verifying.signatures
        if signatures is not None:
            self._settings = Settings(
                directories=(*(one for one in signatures.directories if one != "known"), *words.directories),
                discover=signatures.discover,
                require_path=signatures.require_path,
                legacy=signatures.legacy,
                max_validity_s=signatures.max_validity_s,
                allow_http=signatures.plain_http,
            )
            self._directories = Directories(self._settings, reach=reach, clock=clock)
            self._directories.heed(self._tell)
        self.resolver.heed(self._tell, names=False)

    def prove(self, signed: Signed, client: bytes, now_s: float) -> Proof:
        """What the signatures of a request prove."""
        from guard.webbotauth import ABSENT, verify

        settings, directories = self._settings, self._directories
        if settings is None or directories is None:
            return ABSENT
        name = client.hex()

        def find(url: str, keyid: str) -> Key | str:
            return directories.find(url, keyid, now_s, name)

        return verify(signed, find, now_s=now_s, settings=settings, client=name, replays=self._replays)

    def heed(self, changed: Callable[[], None]) -> None:
        """`changed` is a method; who it belongs to may go at any time."""
        self._heeding = [held for held in self._heeding if held() is not None]
        self._heeding.append(WeakMethod(changed))

    def _tell(self) -> None:
        for held in tuple(self._heeding):
            if (changed := held()) is not None:
                changed()

    async def open(self) -> None:
        if self.still:
            await self.resolver.look()
            return
        await self.resolver.open()
        if self._directories is not None:
            await self._directories.open()

    async def quiet(self) -> None:
        """Wait until no name is being looked up and no key is being fetched: for commands, never for requests."""
        await self.resolver.quiet()
        if self._directories is not None:
            await self._directories.quiet()

    async def close(self) -> None:
        await self.resolver.close()
        if self._directories is not None:
            await self._directories.close()


def state_folder(policy: Policy) -> Path | None:
    """Where fetched lists are kept: as the policy says, beside it; else in the user's folder for such things (the XDG
    base directory specification), GUARD_STATE going before it. None where the user has no home: nothing is fetched."""
    if policy.verifying.directory:
        beside = Path(policy.sources[0]).parent if policy.sources else Path()
        return beside / policy.verifying.directory
    if given := os.environ.get("GUARD_STATE", ""):
        return Path(given)
    home = os.environ.get("XDG_STATE_HOME", "")
    if home.startswith("/"):
        return Path(home) / "noai-guard"
    try:
        return Path.home() / ".local" / "state" / "noai-guard"
    except RuntimeError:
        return None


def words_of(policy: Policy) -> Words | None:
    """What the policy wants to be known; None when that is nothing."""
    verifying = policy.verifying
    if verifying.lists == "off" and not verifying.dns and verifying.signatures is None:
        return None
    agents = tuple(dict.fromkeys(agent for one in (policy, *policy.scopes) for agent in catalogue_of(one).agents))
    known = verifying.signatures is not None and "known" in verifying.signatures.directories
    return Words(
        verifying,
        _sources(agents, LIST_KINDS) if verifying.lists != "off" else (),
        state_folder(policy) if verifying.lists == "fetch" else None,
        tuple(source for source, _ in _sources(agents, ("web-bot-auth",))) if known else (),
        frozenset(suffix for agent in agents for suffix in suffixes_of(agent)) if verifying.dns else frozenset(),
    )


def _sources(agents: Iterable[Agent], kinds: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Where agents can be checked in these ways, with the way."""
    checks = [check for agent in agents for check in agent.verification if check.kind in kinds]
    return tuple({source: check.kind for check in checks for source in check.sources}.items())


def give_witness(guard: Guard, before: Guard | None = None, *, reach: Reach = PUBLIC) -> Guard:
    """The guard, with a witness for its policy where it has none: that of the guard `before` it goes on when the words
    are the same."""
    if guard.witness is None:
        held = before.witness if before is not None else None
        words = words_of(guard.policy)
        if words is not None:
            same = isinstance(held, Witness) and held.words == words
            guard.take(held if held is not None and same else Witness(words, reach=reach))
        if held is not guard.witness:
            guard.former = held
    return guard

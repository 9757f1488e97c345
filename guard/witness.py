"""What this process can know of who is asking, put together from what the policy allows: published networks, host names
and keys. It is asked on the path of requests and never waits there; all finding out is done beside.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from weakref import WeakMethod

from guard.directories import Directories
from guard.engine import Guard
from guard.fetch import PUBLIC, Reach
from guard.load import catalogue_of
from guard.model import Agent, Signed, Verifying
from guard.policy import Policy
from guard.resolve import Resolver, sources_of, suffixes_of
from guard.webbotauth import ABSENT, Key, Proof, Replays, Settings, verify


class Witness:
    """Knows by what `verifying` of a policy allows; `directory` is where fetched lists are kept.

    Two guards of a process with the same words share one. `reach` says where may be connected to.
    """

    def __init__(
        self,
        verifying: Verifying,
        sources: dict[str, str],
        directory: Path | None,
        *,
        directories: tuple[str, ...] = (),
        suffixes: frozenset[str] = frozenset(),
        reach: Reach = PUBLIC,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`sources` are the addresses of published lists with their kind, ip-json or ip-html; `directories` those of
        keys beside the policy's own; `suffixes` the ends of host names that operators publish."""
        self.words = (verifying, sources, directory, directories, suffixes)
        self.resolver = Resolver(
            sources if verifying.lists != "off" else {},
            directory=directory if verifying.lists == "fetch" else None,
            reach=reach,
            nameservers=verifying.nameservers,
            suffixes=suffixes,
            lists=verifying.lists != "off",
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
                directories=(*(one for one in signatures.directories if one != "known"), *directories),
                discover=signatures.discover,
                require_path=signatures.require_path,
                legacy=signatures.legacy,
                max_validity_s=signatures.max_validity_s,
                allow_http=signatures.plain_http,
            )
            self._directories = Directories(self._settings, reach=reach, clock=clock)
            self._directories.heed(self._tell)
        self.resolver.heed(self._tell)

    def prove(self, signed: Signed, client: bytes, now_s: float) -> Proof:
        """What the signatures of a request prove."""
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


def call_witness(policy: Policy, before: Witness | None = None, *, reach: Reach = PUBLIC) -> Witness | None:
    """Who knows what the policy wants to be known, None when it wants nothing. `before` goes on if it is the same."""
    verifying = policy.verifying
    if verifying.lists == "off" and not verifying.dns and verifying.signatures is None:
        return None
    agents = catalogue_of(policy).agents
    known = verifying.signatures is not None and "known" in verifying.signatures.directories
    witness = Witness(
        verifying,
        sources_of(agents) if verifying.lists != "off" else {},
        state_folder(policy) if verifying.lists == "fetch" else None,
        directories=_directories_of(agents) if known else (),
        suffixes=suffixes_of(agents) if verifying.dns else frozenset(),
        reach=reach,
    )
    return before if before is not None and before.words == witness.words else witness


def _directories_of(agents: Iterable[Agent]) -> tuple[str, ...]:
    """Where the catalogue says that agents have their keys."""
    checks = [check for agent in agents for check in agent.verification if check.kind == "web-bot-auth"]
    return tuple(dict.fromkeys(source for check in checks for source in check.sources))


def give_witness(guard: Guard, before: Guard | None = None, *, reach: Reach = PUBLIC) -> Guard:
    """The guard, with a witness for its policy where it has none; that of the guard `before` it goes on if it can."""
    if guard.witness is None:
        held = before.witness if before is not None else None
        witness = call_witness(guard.policy, held if isinstance(held, Witness) else None, reach=reach)
        if witness is not None:
            guard.take(witness)
        if held is not witness:
            guard.former = held
    return guard

"""Whether what a request says it is can be true, over what is already known. Never waits, never guesses.

The law: proof verifies, absence of proof accuses nobody. A name is `verified` by a signature, by the network that its
operator publishes, or by a host name that leads back to the address. It is `spoofed` only against knowledge: from
outside a list that is fresh and complete, or from an address whose host name is known not to be the operator's. A list
that is too old, a name server that does not answer, an operator that publishes nothing, a tool that runs at its user's
own address: all `unverified`. What two agents share cannot tell them apart: GPTBot and OAI-SearchBot come from the same
networks, so the network proves OpenAI and the name stays a claim.

Sources: the operators' pages named in the catalogue (`docs`); Google's "verify requests from crawlers" for reverse and
forward DNS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from guard.hosts import keys_url
from guard.model import Agent, Identity, Verifying
from guard.networks import NOTHING_KNOWN, Knowledge

Networks = tuple[IPv4Network | IPv6Network, ...]

LIST_KINDS = ("ip-json", "ip-html")


class Checked(NamedTuple):
    """An identity, and in words why it is this one. `keys` are thumbprints of keys that it has proved to hold."""

    identity: Identity
    reason: str
    keys: tuple[str, ...] = ()


NOTHING_CLAIMED = Checked(Identity.UNKNOWN, "it claims to be nobody in particular")
NO_WAY = Checked(Identity.UNVERIFIED, "its operator publishes no way to check the name")
NO_ADDRESS = Checked(Identity.UNVERIFIED, "the address it comes from is not known")
USERS_OWN = Checked(Identity.UNVERIFIED, "it runs at the address of whoever uses it, which proves nothing")
UNCHECKED = Checked(Identity.UNVERIFIED, "the policy does not have this name checked")
_INSIDE_OURS = Checked(Identity.VERIFIED, "the address is in the networks that the policy gives it")
_OUTSIDE_OURS = Checked(Identity.SPOOFED, "the address is outside the networks that the policy gives it")


SOFTWARE = frozenset(("player", "device", "browser", "library", "tool", "headless"))
"""What says with which program somebody comes, and not who."""


def read_published(published: Mapping[str, tuple[str, ...]]) -> dict[str, Networks]:
    """Published prefixes by lower-case agent name, parsed once. Raises ValueError on what is no network."""
    return {name.lower(): tuple(ip_network(text) for text in texts) for name, texts in published.items()}


def claims_nothing(agent: Agent) -> bool:
    """Is it no entry of the catalogue, so that there is no claim to be checked?"""
    return agent.category in ("browser", "unknown") or (agent.match == "none" and not agent.operator)


def nothing_fresh(source: str) -> bool:
    """For who has no lists."""
    return False


def verify(
    agent: Agent,
    address: str,
    published: Mapping[str, Networks],
    known: Knowledge = NOTHING_KNOWN,
    fresh: Callable[[str], bool] = nothing_fresh,
    names: bool = True,
) -> Checked:
    """The identity of a request that claims to be `agent` and comes from `address` ("" = not known).

    `published` are the policy's own networks, which go before all else; `known` is what a resolver knows of the address
    and `fresh` tells of each source of a list whether it is new enough to speak against somebody. Without `names`
    nobody looks up host names, so nothing is waited for from there.
    """
    if claims_nothing(agent):
        return NOTHING_CLAIMED
    networks = published.get(agent.name.lower())
    if networks:
        if not address:
            return NO_ADDRESS
        parsed = ip_address(address)
        return _INSIDE_OURS if any(parsed in network for network in networks) else _OUTSIDE_OURS
    if agent.runs_on == "user":
        return USERS_OWN
    lists = [source for check in agent.verification if check.kind in LIST_KINDS for source in check.sources]
    suffixes = suffixes_of(agent) if names else ()
    if not lists and not suffixes:
        return NO_WAY if names or not suffixes_of(agent) else UNCHECKED
    if not address:
        return NO_ADDRESS
    for source in lists:
        if source in known.lists and fresh(source):
            return Checked(Identity.VERIFIED, f"the address is in {source}")
    if suffixes and known.dns == "confirmed" and ends_in(known.host, suffixes):
        return Checked(Identity.VERIFIED, f"the address is {known.host}, and that name leads back to it")
    outside = bool(lists) and all(fresh(source) for source in lists)
    if outside and (not suffixes or known.dns in ("denied", "confirmed", "failed")):
        return Checked(Identity.SPOOFED, f"the address is outside {' and '.join(lists)}")
    if suffixes and known.dns in ("denied", "confirmed") and known.lists.isdisjoint(lists):
        return Checked(Identity.SPOOFED, f"the address has no host name under {' or '.join(suffixes)}")
    if suffixes and known.dns in ("unasked", "pending"):
        return Checked(Identity.UNVERIFIED, "its host name is not known yet")
    if suffixes and known.dns == "failed":
        return Checked(Identity.UNVERIFIED, "its host name could not be found out")
    return Checked(Identity.UNVERIFIED, "the list of its networks is not there or too old to be believed")


def suffixes_of(agent: Agent) -> tuple[str, ...]:
    """The suffixes of host names that its operator publishes."""
    return tuple(source for check in agent.verification if check.kind == "rdns" for source in check.sources)


def ends_in(host: str, suffixes: tuple[str, ...]) -> bool:
    """Does `host` stand under one of the suffixes, at the boundary of a label? Case and a last dot do not matter."""
    name = f".{host.lower().rstrip('.')}"
    return any(name.endswith(f".{suffix.lower().strip('.')}") for suffix in suffixes if suffix.strip("."))


def genuine(agent: Agent, published: Mapping[str, object], verifying: Verifying) -> Identity:
    """What the real one is found to be where all goes well: for who states what it may do."""
    if claims_nothing(agent):
        return Identity.UNKNOWN
    if published.get(agent.name.lower()):
        return Identity.VERIFIED
    return Identity.VERIFIED if can_be_checked(agent, verifying) else Identity.UNVERIFIED


def can_be_checked(agent: Agent, verifying: Verifying) -> bool:
    """Is there a way by which the policy may find this agent to be itself?"""
    for check in agent.verification:
        if check.kind in LIST_KINDS and verifying.lists == "fetch" and agent.runs_on != "user":
            return True
        if check.kind == "rdns" and verifying.dns and agent.runs_on != "user":
            return True
        if check.kind == "web-bot-auth" and verifying.signatures is not None:
            signatures = verifying.signatures
            if signatures.discover or "known" in signatures.directories:
                return True
            listed = {keys_url(directory) for directory in signatures.directories}
            if any(keys_url(source) in listed for source in check.sources):
                return True
    return False

"""Whether what a request says it is can be true, over what is already known. Never waits, never guesses.

A name from inside the networks that its operator publishes is verified, from outside them spoofed; without
such a list it stays unverified. Failing to verify is never counted as an attack.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from guard.model import Agent, Identity

Networks = tuple[IPv4Network | IPv6Network, ...]


def read_published(published: Mapping[str, tuple[str, ...]]) -> dict[str, Networks]:
    """Published prefixes by lower-case agent name, parsed once. Raises ValueError on what is no network."""
    return {name.lower(): tuple(ip_network(text) for text in texts) for name, texts in published.items()}


def verify(agent: Agent, address: str, published: Mapping[str, Networks]) -> Identity:
    """The identity of a request that claims to be `agent` and comes from `address` ("" = not known)."""
    if agent.category in ("browser", "unknown"):
        return Identity.UNKNOWN
    networks = published.get(agent.name.lower())
    if not networks or not address:
        return Identity.UNVERIFIED
    parsed = ip_address(address)
    return Identity.VERIFIED if any(parsed in network for network in networks) else Identity.SPOOFED

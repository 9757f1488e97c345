"""What a site's owner knows, beside a trace of its traffic: for replaying days that were recorded or made up elsewhere.

The file is one JSON object; every key may be missing:

    host            where the site is; its listeners come over HTTPS
    trap_prefix     below it lies nothing that a reader sees
    segment_s, bytes_per_s    of music in a segment; of bytes in a second of music
    networks        rows of [PREFIX, ASN, …]: who announces which addresses
    verified        by an agent's name: the networks that it comes from
    current         by family of browsers: the newest version of that day
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from guard.asn import make_asn_table
from guard.model import Detecting
from guard.policy import TRAP, Policy, trap_rule
from guard.watching import newest_of

DOWNLOADS = ("/api/*/download/**", "/rest/download*")
"""Where the applications of such sites fetch what their listeners keep."""

MAX_BYTES = 16 << 20


def read_site(path: str) -> dict[str, Any]:
    """Raises ValueError with what is wrong, OSError when it cannot be read."""
    with Path(path).open("rb") as file:
        text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise ValueError(f"{path}: larger than {MAX_BYTES >> 20} MiB")
    try:
        site = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path}: no JSON: {error}") from None
    if not isinstance(site, dict):
        raise ValueError(f"{path}: not a JSON object")
    return site


def at_site(policy: Policy, site: Mapping[str, Any], *, challenge: bool = True) -> Policy:
    """The policy with what the owner of the site knows. A policy that looks for nothing still does not; one that does
    may challenge documents, as the owner of a site that is being copied would have it. Raises ValueError."""
    try:
        published = dict(policy.site.published_networks)
        for agent, networks in dict(site.get("verified") or {}).items():
            listed = [networks] if isinstance(networks, str) else list(networks)
            published[str(agent).lower()] = tuple(str(ip_network(network)) for network in listed)
        host = str(site.get("host") or "")
        known = replace(policy.site, published_networks=published, url=f"https://{host}" if host else policy.site.url)
        asn = policy.asn
        if rows := site.get("networks"):
            asn = make_asn_table(f"{row[0]},{row[1]}" for row in rows)
        detecting = policy.detecting
        if detecting is not None:
            detecting = _detecting(detecting, site, challenge)
        rules = policy.rules
        if detecting is not None and detecting.traps:
            rules = (trap_rule(detecting.traps), *(rule for rule in rules if rule.name != TRAP))
        return replace(policy, site=known, asn=asn, detecting=detecting, rules=rules)
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"not what is known of a site: {error}") from None


def _detecting(detecting: Detecting, site: Mapping[str, Any], challenge: bool) -> Detecting:
    trap = str(site.get("trap_prefix") or "").rstrip("/")
    found = replace(
        detecting,
        challenge=challenge,
        secure=True if site.get("host") else detecting.secure,
        newest_s=newest_of(
            {family: int(str(version).split(".")[0]) for family, version in dict(site.get("current") or {}).items()}
        ),
        downloads=detecting.downloads or DOWNLOADS,
    )
    if trap:
        found = replace(found, traps=(*found.traps, f"{trap}/**"))
    if site.get("segment_s"):
        found = replace(found, segment_s=float(site["segment_s"]))
    if site.get("bytes_per_s"):
        found = replace(found, bitrate=int(8 * float(site["bytes_per_s"])))
    return found

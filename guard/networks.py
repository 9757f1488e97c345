"""Which labels hold an address, and which addresses belong to nobody in particular.

    PrefixTable({"https://a.example/bots.json": [ip_network("198.18.0.0/15"), …], …}).find("198.18.0.1")

The nets of all labels are laid out once as disjoint intervals on a line of numbers, each with the set of the labels
that cover it; finding is a parse, one bisection and one look. Only what is in use is kept: no trie, nothing to tune.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from socket import AF_INET, AF_INET6, inet_pton
from typing import NamedTuple

Network = IPv4Network | IPv6Network

NO_LABELS: frozenset[str] = frozenset()


class Knowledge(NamedTuple):
    """What is known of an address at a moment, whoever it claims to be.

    `lists` are the sources whose published list holds it. `dns` is "unasked", "pending", "confirmed", "denied" or
    "failed"; `host` is the name that was confirmed, "" otherwise.
    """

    lists: frozenset[str]
    host: str
    dns: str


NOTHING_KNOWN = Knowledge(NO_LABELS, "", "unasked")
"""One object for nearly every client there is."""


class PrefixTable:
    """Networks by label, to be asked for one address. Frozen once made; a new one takes its place.

    Making it takes about 1.5 s for 100,000 networks, so it is made in a thread where there may be many.
    """

    __slots__ = ("_starts_4", "_starts_6", "_values_4", "_values_6", "size")

    def __init__(self, labelled: Mapping[str, Iterable[Network]]) -> None:
        """`size` is how many networks it was made from. An IPv4-mapped network counts as the IPv4 one."""
        spans_4: list[tuple[int, int, str]] = []
        spans_6: list[tuple[int, int, str]] = []
        self.size = 0
        for label, networks in labelled.items():
            for network in networks:
                self.size += 1
                first = int(network.network_address)
                last = first | (1 << (network.max_prefixlen - network.prefixlen)) - 1
                if network.version == 4:
                    spans_4.append((first, last, label))
                elif first >> 32 == 0xFFFF and network.prefixlen >= 96:
                    spans_4.append((first & 0xFFFFFFFF, last & 0xFFFFFFFF, label))
                else:
                    spans_6.append((first, last, label))
        interned: dict[frozenset[str], frozenset[str]] = {NO_LABELS: NO_LABELS}
        self._starts_4, self._values_4 = _flattened(spans_4, interned, 4)
        self._starts_6, self._values_6 = _flattened(spans_6, interned, 16)

    def find(self, address: str) -> frozenset[str]:
        """The labels of all networks that hold `address`; none for what is no address. Never raises."""
        try:
            if ":" not in address:
                return self._values_4[bisect_right(self._starts_4, inet_pton(AF_INET, address))]
            packed = inet_pton(AF_INET6, address)
        except (OSError, ValueError):
            return NO_LABELS
        if packed.startswith(_MAPPED):
            return self._values_4[bisect_right(self._starts_4, packed[12:])]
        return self._values_6[bisect_right(self._starts_6, packed)]

    def label_sets(self) -> frozenset[frozenset[str]]:
        """All answers that `find` can give, as the very objects that it gives."""
        return frozenset((*self._values_4, *self._values_6))


_MAPPED = bytes(10) + b"\xff\xff"


def _flattened(
    spans: list[tuple[int, int, str]], interned: dict[frozenset[str], frozenset[str]], width: int
) -> tuple[list[bytes], list[frozenset[str]]]:
    """Where on the line the labels change, packed, and what is true from there on.

    `values[bisect_right(starts, x)]` is the answer for x: `values` has one more entry, for what lies before all.
    """
    steps: dict[int, list[tuple[str, int]]] = {}
    for first, last, label in spans:
        steps.setdefault(first, []).append((label, 1))
        steps.setdefault(last + 1, []).append((label, -1))
    starts: list[bytes] = []
    values: list[frozenset[str]] = [NO_LABELS]
    depth: dict[str, int] = {}
    end = 1 << (8 * width)
    for place in sorted(steps):
        for label, change in steps[place]:
            depth[label] = depth.get(label, 0) + change
            if not depth[label]:
                del depth[label]
        if place == end:
            break
        labels = frozenset(depth)
        labels = interned.setdefault(labels, labels)
        if labels is not values[-1]:
            starts.append(place.to_bytes(width, "big"))
            values.append(labels)
    return starts, values


# -- addresses that no operator has (IANA special-purpose registries, RFC 6890 and its successors) ---------------

_SPECIAL_4 = tuple(
    (IPv4Network(text), why)
    for text, why in (
        ("0.0.0.0/8", "unspecified"),  # RFC 791
        ("10.0.0.0/8", "private"),  # RFC 1918
        ("100.64.0.0/10", "shared by carriers"),  # RFC 6598
        ("127.0.0.0/8", "loopback"),  # RFC 1122
        ("169.254.0.0/16", "link-local"),  # RFC 3927
        ("172.16.0.0/12", "private"),  # RFC 1918
        ("192.0.0.0/24", "for protocols"),  # RFC 6890
        ("192.0.2.0/24", "for documentation"),  # RFC 5737
        ("192.31.196.0/24", "for protocols"),  # RFC 7535
        ("192.52.193.0/24", "for protocols"),  # RFC 7450
        ("192.88.99.0/24", "a relay"),  # RFC 7526
        ("192.168.0.0/16", "private"),  # RFC 1918
        ("192.175.48.0/24", "for protocols"),  # RFC 7534
        ("198.18.0.0/15", "for benchmarks"),  # RFC 2544
        ("198.51.100.0/24", "for documentation"),  # RFC 5737
        ("203.0.113.0/24", "for documentation"),  # RFC 5737
        ("224.0.0.0/4", "multicast"),  # RFC 5771
        ("240.0.0.0/4", "reserved"),  # RFC 1112
    )
)

_UNICAST_6 = IPv6Network("2000::/3")

_SPECIAL_6 = tuple(
    (IPv6Network(text), why)
    for text, why in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4 in disguise"),  # RFC 4291
        ("64:ff9b::/96", "IPv4 in disguise"),  # RFC 6052
        ("64:ff9b:1::/48", "IPv4 in disguise"),  # RFC 8215
        ("fc00::/7", "private"),  # RFC 4193
        ("fe80::/10", "link-local"),  # RFC 4291
        ("ff00::/8", "multicast"),  # RFC 4291
        ("2001::/32", "IPv4 in disguise"),  # Teredo, RFC 4380
        ("2001:db8::/32", "for documentation"),  # RFC 3849
        ("2001::/23", "for protocols"),  # RFC 2928
        ("2002::/16", "IPv4 in disguise"),  # 6to4, RFC 3056
        ("3fff::/20", "for documentation"),  # RFC 9637
    )
)


def why_special(network: Network, allowed: Iterable[Network] = ()) -> str:
    """Why some of `network` cannot be an operator's own public unicast addresses; "" when all of it can.

    What lies whole in one of `allowed` passes.
    """
    if any(one.version == network.version and network.subnet_of(one) for one in allowed):  # type: ignore[arg-type]
        return ""
    if isinstance(network, IPv4Network):
        return next((why for special, why in _SPECIAL_4 if special.overlaps(network)), "")
    if why := next((why for special, why in _SPECIAL_6 if special.overlaps(network)), ""):
        return why
    return "" if network.subnet_of(_UNICAST_6) else "not in use"


def why_not_public(address: str, allowed: Iterable[Network] = ()) -> str:
    """Why `address` is none of the public Internet's unicast ones; "" when it is one, or in one of `allowed`."""
    try:
        parsed: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return "no address"
    if isinstance(parsed, IPv6Address) and parsed.scope_id is not None:
        return "link-local"
    return why_special(ip_network(parsed), allowed)

"""Whose request it is, as far as the network lets us tell parties apart.

The law: the address comes from the socket, unless the socket's peer is a hop the operator named. Only then is
one configured header read, all its lines as one list, from the right, past named hops only. Text added on the
left changes nothing. What is not an address ends the walk at the last hop that vouched for it.

Keys: an IPv4 address, the /64 of an IPv6 one (one subscriber), a single address inside NAT64 (RFC 6052: many
subscribers). The wider prefix (/24, /48) is kept beside it for limits on neighbourhoods.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import unquote_to_bytes

from guard.model import Client

MAX_HOPS = 16
MAX_NAMES = 200
"""So many cookies, or parameters of a query, are looked through."""

NO_ADDRESS = Client("", b"?", b"?")
"""Nobody knows who this is: everyone like it shares one, strictest, budget."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAT64 = ip_network("64:ff9b::/96")


class TrustedHops:
    """The hops in front of us: their networks and the one header they write."""

    __slots__ = ("header", "hops", "networks", "trust_unix")

    def __init__(
        self,
        networks: Iterable[str] = (),
        header: str = "x-forwarded-for",
        hops: int = 0,
        trust_unix: bool = False,
    ) -> None:
        """`hops` > 0 counts hops from the right instead of asking who each one is. Raises ValueError."""
        self.networks: tuple[Network, ...] = tuple(ip_network(text) for text in networks)
        self.header = header.lower().encode("ascii")
        self.hops = hops
        self.trust_unix = trust_unix

    def __contains__(self, address: Address) -> bool:
        return any(address in network for network in self.networks)

    def trusts(self, peer: str | None) -> bool:
        """Is the other end of this socket (None: a unix socket) a hop that the operator named?"""
        if peer is None:
            return self.trust_unix
        address = read_address(peer)
        return address is not None and address in self


def outer_scheme(own: str, peer: str | None, headers: Iterable[tuple[bytes, bytes]], trusted: TrustedHops) -> str:
    """The scheme that the client spoke: `own` is ours; a trusted hop's X-Forwarded-Proto goes before it (the word of
    the hop next to us, which is the last), or its Forwarded where that is the header that hops write. `headers` have
    names in lower case."""
    if not trusted.trusts(peer):
        return own
    said = own.encode()
    standard = trusted.header == b"forwarded"
    for name, value in headers:
        if name == b"x-forwarded-proto" and not standard:
            said = value.rpartition(b",")[2].strip(b" \t").lower()
        elif name == b"forwarded" and standard:
            last = _split_quoted(value.decode("latin-1"), ",")[-1]
            for pair in _split_quoted(last, ";"):
                key, _, text = pair.strip(" \t").partition("=")
                if key.lower() == "proto":
                    said = text.strip('"').lower().encode("latin-1")
    return "https" if said in (b"https", b"wss") else "http"


def read_name(source: tuple[str, str] | None, headers: Iterable[tuple[bytes, bytes]], query: bytes, hop: bool) -> bytes:
    """The account or session that a request names, where `source` says (("cookie" | "header" | "query", its name)); b""
    when it names none, or two. A header counts only when it came through a hop of ours (`hop`). Field names are in
    lower case."""
    if source is None:
        return b""
    kind, name = source[0], source[1].encode()
    found: set[bytes] = set()
    if kind == "header":
        wanted = name.lower()
        lines = [value.strip() for field, value in headers if field == wanted] if hop else []
        return lines[0] if len(lines) == 1 else b""
    if kind == "query":
        for pair in query.split(b"&", MAX_NAMES):
            key, _, value = pair.partition(b"=")
            if unquote_to_bytes(key) == name:
                found.add(unquote_to_bytes(value.replace(b"+", b" ")))
    else:
        for field, line in headers:
            if field == b"cookie":
                for pair in line.split(b";", MAX_NAMES):
                    key, _, value = pair.strip(b" \t").partition(b"=")
                    if key == name:
                        found.add(value.strip(b'"'))
    return found.pop() if len(found) == 1 else b""


def identify(peer: str | None, forwarded: tuple[bytes, ...], trusted: TrustedHops) -> Client:
    """The client behind `peer`. `forwarded` are the configured header's lines, in order, as bytes."""
    address = read_address(peer) if peer is not None else None
    if address is None:
        if peer is None and trusted.trust_unix and forwarded:
            behind = _walk(forwarded, None, trusted)
            return NO_ADDRESS if behind is None else client_of(behind)
        return NO_ADDRESS
    if forwarded and address in trusted:
        address = _walk(forwarded, address, trusted) or address
    return client_of(address)


def client_of(address: Address) -> Client:
    """The client and its keys for one address."""
    if isinstance(address, IPv4Address):
        packed = address.packed
        return Client(str(address), packed, packed[:3])
    packed = address.packed
    return Client(str(address), packed if address in _NAT64 else packed[:8], packed[:6])


def read_address(text: str) -> Address | None:
    """An address in canonical form, IPv4-mapped unwrapped; None for anything else (zones, short forms, …)."""
    if "%" in text or not text.isascii():
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _walk(lines: tuple[bytes, ...], peer: Address | None, trusted: TrustedHops) -> Address | None:
    """From the right to the first address that no named hop owns. None = use the peer."""
    text = b",".join(lines).decode("latin-1")
    if trusted.header == b"x-forwarded-for":
        tokens = [token.strip(" \t") for token in text.split(",")]
    elif trusted.header == b"forwarded":
        tokens = [_forwarded_for(element) for element in _split_quoted(text, ",")]
    else:  # a header that carries one address: exactly one line with exactly one, or it is not believed
        return _hop(text.strip(" \t")) if len(lines) == 1 else None
    tokens = [token for token in tokens if token]
    if trusted.hops:
        return _hop(tokens[-trusted.hops]) if len(tokens) >= trusted.hops else None
    nearest = peer
    for count, token in enumerate(reversed(tokens)):
        if count == MAX_HOPS:
            return peer
        address = _hop(token)
        if address is None:
            return nearest
        nearest = address
        if address not in trusted:
            return address
    return nearest


def _hop(token: str) -> Address | None:
    """One list member: an address, `v4:port` or `[v6]:port` (RFC 7239 section 6 allows ports)."""
    if token.startswith("["):
        inner, bracket, port = token[1:].partition("]")
        if not bracket or (port and not (port[0] == ":" and _is_port(port[1:]))) or ":" not in inner:
            return None
        return read_address(inner)
    if token.count(":") == 1:
        host, _, port = token.partition(":")
        return read_address(host) if _is_port(port) and "." in host else None
    return read_address(token)


def _is_port(text: str) -> bool:
    return 0 < len(text) <= 5 and text.isascii() and text.isdigit()


def _forwarded_for(element: str) -> str:
    """The `for` parameter of one Forwarded element (RFC 7239 section 4); "?" when it has none, or several."""
    found = []
    for pair in _split_quoted(element, ";"):
        name, _, value = pair.strip(" \t").partition("=")
        if name.lower() == "for":
            found.append(value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value)
    if len(found) == 1 and found[0]:
        return found[0]
    return "?" if element.strip(" \t") else ""


def _split_quoted(text: str, separator: str) -> list[str]:
    """Split outside quoted strings (RFC 9110 5.6.4), read from the right: an odd quote on the left, where anybody
    can write, spoils no element that a hop of ours added to the right of it."""
    parts: list[str] = []
    end = at = len(text)
    quoted = False
    while at > 0:
        at -= 1
        if text[at] == '"':
            before = at
            while before > 0 and text[before - 1] == "\\":
                before -= 1
            if (at - before) % 2 == 0:
                quoted = not quoted
            at = before
        elif text[at] == separator and not quoted:
            parts.append(text[at + 1 : end])
            end = at
    parts.append(text[:end])
    return parts[::-1]

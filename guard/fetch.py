"""The one way out to the web: a GET over https of what an operator publishes about itself.

    fetch(url)  the URL is read strictly -> the name is asked for once -> every address must be public
                -> one of exactly those is connected to -> 200, the right media type, not too long

The law of this file: what is fetched was named by others, so nothing may be reached with it that a stranger could not
reach himself. No redirect is followed, nothing is unpacked, and one deadline covers it all, to the last byte.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import httptools

from guard.errors import GuardError
from guard.networks import Network, why_not_public

MAX_HEAD_BYTES = 32_768
MAX_URL_CHARS = 2048
_PIECE_BYTES = 16_384
_MAX_ADDRESSES = 32
_TRIED = 4  # addresses, when connecting fails
_CHUNK_COST = 8  # bytes on the wire for one byte of body, at the very worst that is put up with

# RFC 6761, 6762, 7686, 8375, 9476, ICANN's .internal, and what people use for their own networks.
_INWARD = frozenset(
    (
        *("arpa", "alt", "corp", "home", "internal", "intranet", "invalid", "lan"),
        *("local", "localdomain", "localhost", "onion", "private"),
    )
)

_URL = re.compile(r"https://([a-z0-9.-]++)(?::([0-9]{1,5}+))?+(/[^?]*+)?+(\?.*+)?+", re.IGNORECASE | re.DOTALL)
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}+(?<!-)")


class FetchError(GuardError):
    """Nothing usable was fetched. `reason` is one line of text, with nothing unprintable in it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Fetched(NamedTuple):
    """A whole answer. `media_type` is in lower case and without parameters; `address` the one connected to."""

    status: int
    media_type: str
    body: bytes
    address: str


Addresses = Callable[[str, int], Awaitable[list[str]]]
"""From a name and a port to all its addresses, as text. Raises OSError."""


@dataclass(frozen=True)
class Reach:
    """Which addresses may be connected to, and how.

    `tls` None is the system's own trust; `addresses` None the system's own names. `allowed` are networks that may be
    reached although they are not public; `instead_of_443` is the port where the hosts of tests stand. Without
    `public_only` any address may, and any name, but never a literal one.
    """

    public_only: bool = True
    tls: ssl.SSLContext | None = None
    addresses: Addresses | None = None
    ports: tuple[int, ...] = (443,)
    allowed: tuple[Network, ...] = ()
    instead_of_443: int = 0


PUBLIC = Reach()


class Place(NamedTuple):
    """An https URL, read. `target` is what stands in the request line."""

    host: str
    port: int
    target: str


def read_url(url: str, reach: Reach = PUBLIC) -> Place:
    """The place that `url` names. Raises FetchError for whatever `fetch` would not go to, without asking anybody."""
    if len(url) > MAX_URL_CHARS or any(not "!" <= char <= "~" or char == "\\" for char in url):
        raise FetchError("the URL is too long or holds characters that no URL has")
    if url[:8].lower() != "https://":
        raise FetchError("the URL does not begin with https://")
    authority = re.split("[/?#]", url[8:], maxsplit=1)[0]
    if "@" in authority:
        raise FetchError("the URL names a user")
    if "#" in url:
        raise FetchError("the URL has a fragment")
    found = _URL.fullmatch(url)
    if found is None:
        raise FetchError("the URL has no plain host name")
    host, port_text, path, query = found.groups()
    host = host.lower()
    labels = host.split(".")
    if len(host) > 253 or len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        raise FetchError("the host is no full name of the DNS")
    # Whatever ends in a number is read as an IPv4 address by somebody (WHATWG URL, "ends in a number").
    if not labels[-1][0].isalpha() or len(labels[-1]) < 2:
        raise FetchError("the host is an address, not a name")
    if reach.public_only and labels[-1] in _INWARD:
        raise FetchError("the host is a name of inner networks")
    port = int(port_text) if port_text else 443
    if port not in reach.ports:
        raise FetchError(f"port {port} is not to be reached")
    return Place(host, port, (path or "/") + (query or ""))


async def fetch(
    url: str,
    *,
    max_bytes: int,
    deadline_s: float,
    media_types: tuple[str, ...] = (),
    reach: Reach = PUBLIC,
) -> Fetched:
    """What `url` answers, when that is a 200 of one of `media_types` (none = any) and at most `max_bytes` long.

    Raises FetchError for everything else, `deadline_s` seconds from now at the latest.
    """
    place = read_url(url, reach)
    try:
        async with asyncio.timeout(deadline_s) as limit:
            answer = _Answer(max_bytes, media_types)
            return await _fetched(place, answer, media_types, reach, limit.when() or 0.0)
    except TimeoutError:
        raise FetchError(f"no whole answer within {deadline_s:g} s") from None
    except ssl.SSLError as error:
        why = getattr(error, "verify_message", "") or error.reason or "no handshake"
        raise FetchError(f"TLS failed: {_plain(why)}") from None
    except (OSError, EOFError, ValueError) as error:  # the last is what some names are to the system's libraries
        raise FetchError(_plain(getattr(error, "strerror", None) or type(error).__name__)) from None


async def _fetched(place: Place, answer: _Answer, media_types: tuple[str, ...], reach: Reach, end_s: float) -> Fetched:
    addresses = await _addresses(place, reach)
    tls = await asyncio.to_thread(_default_tls) if reach.tls is None else reach.tls
    address, reader, writer = await _connected(_placed(place, reach), addresses, tls, end_s)
    try:
        writer.write(_request(place, media_types))
        while not answer.done:
            piece = await reader.read(_PIECE_BYTES)
            if not piece:
                raise FetchError("the answer broke off" if answer.began else "it hung up")
            answer.feed(piece)
        return Fetched(answer.status, answer.media_type, bytes(answer.body), address)
    finally:
        writer.transport.abort()  # nothing is left to be said, and nobody waits for a slow farewell


def _placed(place: Place, reach: Reach) -> Place:
    return place._replace(port=reach.instead_of_443) if place.port == 443 and reach.instead_of_443 else place


async def _addresses(place: Place, reach: Reach) -> tuple[str, ...]:
    """All addresses of the name, asked for once. One that is not public refuses them all."""
    try:
        found = await (reach.addresses or _system_addresses)(place.host, place.port)
    except OSError:
        raise FetchError("the name has no address") from None
    addresses = tuple(dict.fromkeys(found))
    if not addresses:
        raise FetchError("the name has no address")
    if len(addresses) > _MAX_ADDRESSES:
        raise FetchError("the name has too many addresses")
    if reach.public_only:
        for address in addresses:
            if why := why_not_public(address, reach.allowed):
                raise FetchError(f"the name leads to an address that is {why}, not public")
    return addresses


async def _system_addresses(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    # The dot at the end keeps the system from trying the name inside its own domains.
    found = await loop.getaddrinfo(f"{host}.", port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for _, _, _, _, sockaddr in found]


async def _connected(
    place: Place, addresses: tuple[str, ...], tls: ssl.SSLContext, end_s: float
) -> tuple[str, asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first address that takes one. Numbers only: no name is looked up a second time.

    `end_s` is the end of it all, by the loop's clock; each address may use its share of what is left.
    """
    loop = asyncio.get_running_loop()
    tried = addresses[:_TRIED]
    failed: OSError = TimeoutError()
    for number, address in enumerate(tried):
        share_s = (end_s - loop.time()) / (len(tried) - number)
        try:
            async with asyncio.timeout(share_s):
                reader, writer = await asyncio.open_connection(
                    address, place.port, ssl=tls, server_hostname=place.host, limit=_PIECE_BYTES
                )
            return address, reader, writer
        except ssl.SSLError:
            raise
        except OSError as error:  # a timeout is one, too
            failed = error
    raise failed


@cache
def _default_tls() -> ssl.SSLContext:
    """Reads the system's certificates, which takes long enough to be done in a thread, once."""
    return ssl.create_default_context()


def _request(place: Place, media_types: tuple[str, ...]) -> bytes:
    host = place.host if place.port == 443 else f"{place.host}:{place.port}"
    head = (
        f"GET {place.target} HTTP/1.1",
        f"Host: {host}",
        "User-Agent: noai-guard",
        f"Accept: {', '.join(media_types) or '*/*'}",
        "Accept-Encoding: identity",
        "Connection: close",
    )
    return ("\r\n".join(head) + "\r\n\r\n").encode("ascii")


class _Answer:
    """One HTTP/1 answer while it comes in. httptools calls the `on_…`; none of them raises: `feed` does."""

    def __init__(self, max_bytes: int, media_types: tuple[str, ...]) -> None:
        self.began = self.done = False
        self.status = 0
        self.media_type = ""
        self.body = bytearray()
        self._max_bytes = max_bytes
        self._media_types = media_types
        self._parser = httptools.HttpResponseParser(self)
        self._wrong = ""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._body_begun = False
        self._left_bytes = MAX_HEAD_BYTES + _PIECE_BYTES + _CHUNK_COST * max_bytes

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the answer. Raises FetchError as soon as it is known to be unusable."""
        self.began = True
        self._left_bytes -= len(piece)
        if not self._body_begun:
            self._head_bytes += len(piece)
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            raise FetchError("the answer is no HTTP") from None
        except httptools.HttpParserError:
            if not self._wrong and not self.done:  # what comes after a whole answer is nobody's concern
                raise FetchError("the answer is no HTTP") from None
        if self._wrong:
            raise FetchError(self._wrong)
        if self.done:
            return
        if not self._body_begun and self._head_bytes > MAX_HEAD_BYTES:
            raise FetchError("the headers are too long")
        if self._left_bytes < 0:
            raise FetchError("the answer is too long for what is in it")

    def on_message_begin(self) -> None:
        if not self.done:
            self._headers = []  # of an interim answer (1xx)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._body_begun:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self.done or self._wrong:
            return
        self.status = self._parser.get_status_code()
        if 100 <= self.status < 200:
            return
        self._body_begun = True
        self._wrong = self._refusal()

    def on_body(self, piece: bytes) -> None:
        if self.done or self._wrong:
            return
        if len(self.body) + len(piece) > self._max_bytes:
            self._wrong = f"the answer is longer than {self._max_bytes} bytes"
            return
        self.body += piece

    def on_message_complete(self) -> None:
        self.done = self._body_begun

    def _refusal(self) -> str:
        """Why an answer with these headers is not wanted; "" when it is."""
        if sum(len(name) + len(value) + 4 for name, value in self._headers) > MAX_HEAD_BYTES:
            return "the headers are too long"
        if self.status != 200:
            place = next((value for name, value in self._headers if name == b"location"), None)
            if place is not None and 300 <= self.status < 400:
                return f"it redirects to {_plain(place.decode('latin-1'))} ({self.status}), which is never followed"
            return f"the answer was {self.status}, not 200"
        types = [value for name, value in self._headers if name == b"content-type"]
        self.media_type = types[0].split(b";")[0].strip().lower().decode("latin-1") if types else ""
        if self._media_types and (len(types) != 1 or self.media_type not in self._media_types):
            return f"the answer is {_plain(self.media_type) or 'of no type'}, not {' or '.join(self._media_types)}"
        codings = [value.strip().lower() for name, value in self._headers if name == b"content-encoding"]
        if any(coding not in (b"", b"identity") for coding in codings):
            return "the answer is packed, although that was not asked for"
        lengths = [value.strip() for name, value in self._headers if name == b"content-length"]
        if any(not length.isdigit() or len(length) > 18 or int(length) > self._max_bytes for length in lengths):
            return f"the answer is longer than {self._max_bytes} bytes"
        if not lengths and not any(name == b"transfer-encoding" for name, _ in self._headers):
            return "the answer does not say where it ends"  # so nobody could tell that it was cut off
        return ""


def _plain(text: str, most: int = 200) -> str:
    """Text from elsewhere for one line of a log: visible ASCII, and not much of it."""
    return text[:most].encode("unicode_escape").decode("ascii")

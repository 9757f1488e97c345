"""The platform's own robots.txt, asked for beside all requests: what it forbids stays forbidden.

The law: nobody waits for it. It has one deadline and one size, it is never followed anywhere else, and what was
learned last is good until something else is learned.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from guard.robotstxt import MAX_BYTES

if TYPE_CHECKING:
    from guard.proxy.worker import Upstream

_log = logging.getLogger("guard.proxy")

DEADLINE_S = 5.0
START_S = 2.0
"""So long a start waits for it; a platform that is not up yet is asked again later."""
AGAIN_S = 900.0
"""Seconds until it is asked for again."""
RETRY_S = 15.0
"""Seconds until that, when there was no answer."""


def fetch_robots(upstream: Upstream, host: str, deadline_s: float = DEADLINE_S) -> bytes | None:
    """The platform's robots.txt: b"" when it has none, None when that cannot be learned now. May block until then.

    RFC 9309 2.3.1: a 4xx answer means that there is none; anything else but 200 tells nothing.
    """
    end_s = time.monotonic() + deadline_s
    try:
        with _connect(upstream, end_s) as sock, _ended(sock, end_s) as late:
            found = _ask(_secured(sock, upstream, end_s) if upstream.tls else sock, host)
        if not late.is_set():  # else what was read was cut off by us
            return found
        why = "it takes too long"
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = type(error).__name__
    _log.info("the platform's robots.txt could not be read: %s", why)
    return None


def _ask(sock: socket.socket, host: str) -> bytes | None:
    connection = http.client.HTTPConnection(host)
    connection.sock = sock
    with contextlib.closing(connection):
        connection.request(
            "GET", "/robots.txt", headers={"Host": host, "User-Agent": "noai-guard", "Connection": "close"}
        )
        answer = connection.getresponse()
        if 400 <= answer.status < 500 and answer.status != 429:
            return b""
        if answer.status != 200:
            return None
        found = b""
        while len(found) <= MAX_BYTES and (piece := answer.read1(65_536)):
            found += piece
        if len(found) <= MAX_BYTES and answer.length:
            return None  # it ended before its length: what is missing may forbid something
        return found[:MAX_BYTES]


def _connect(upstream: Upstream, end_s: float) -> socket.socket:
    """A connection to the platform, by whichever of its addresses. Raises OSError."""
    if upstream.path:
        return _connect_to(socket.AF_UNIX, upstream.path, end_s)
    failed: OSError = TimeoutError()
    for family, _, _, _, address in socket.getaddrinfo(upstream.host, upstream.port, type=socket.SOCK_STREAM):
        try:
            return _connect_to(family, address, end_s)
        except OSError as error:
            failed = error
    raise failed


def _connect_to(family: int, address: object, end_s: float) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(_left_s(end_s))
        sock.connect(address)  # type: ignore[arg-type]  # it is of this family
    except BaseException:
        sock.close()
        raise
    return sock


def _secured(sock: socket.socket, upstream: Upstream, end_s: float) -> ssl.SSLSocket:
    sock.settimeout(_left_s(end_s))
    return ssl.create_default_context().wrap_socket(sock, server_hostname=upstream.host)


@contextlib.contextmanager
def _ended(sock: socket.socket, end_s: float) -> Iterator[threading.Event]:
    """Shut the connection down at its end, whatever is being read from it; the event tells that this was done.

    A timeout of the socket is one for each piece: a platform that sends a byte now and then would never meet it.
    """
    late = threading.Event()
    with sock.dup() as same:  # TLS takes the socket itself away

        def end() -> None:
            late.set()
            with contextlib.suppress(OSError):
                same.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(max(0.0, end_s - time.monotonic()), end)
        timer.daemon = True
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()
            timer.join()  # it must not meet another socket of the same number


def _left_s(end_s: float) -> float:
    left_s = end_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s

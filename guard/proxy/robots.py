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
import time
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
    connection = _connect(upstream, host, deadline_s)
    try:
        connection.request(
            "GET", "/robots.txt", headers={"Host": host, "User-Agent": "noai-guard", "Connection": "close"}
        )
        answer = connection.getresponse()
        if 400 <= answer.status < 500 and answer.status != 429:
            return b""
        if answer.status != 200:
            return None
        found = b""
        while len(found) <= MAX_BYTES:
            if (left_s := end_s - time.monotonic()) <= 0:
                return None
            if connection.sock is not None:
                connection.sock.settimeout(left_s)
            piece = answer.read1(65_536)
            if not piece:
                return found
            found += piece
        return found[:MAX_BYTES]
    except (OSError, http.client.HTTPException, ValueError) as error:
        _log.info("the platform's robots.txt could not be read: %s", type(error).__name__)
        return None
    finally:
        with contextlib.suppress(OSError):
            connection.close()


def _connect(upstream: Upstream, host: str, deadline_s: float) -> http.client.HTTPConnection:
    if upstream.path:
        return _UnixConnection(upstream.path, deadline_s)
    if upstream.tls:
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(upstream.host, upstream.port, timeout=deadline_s, context=context)
    return http.client.HTTPConnection(upstream.host, upstream.port, timeout=deadline_s)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, deadline_s: float) -> None:
        super().__init__("localhost", timeout=deadline_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

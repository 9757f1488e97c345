"""Passes: a cookie that says that somebody came back from a challenge.

A pass is a moment, a number and a keyed hash over both, the site's name and the User-Agent. It is good for an hour, and
only once a second has gone by since it was handed out. It is bound to no address: phones change theirs. Who shares one
around is found by the addresses that use it.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from hmac import compare_digest
from math import ceil

from guard.memo import Memo
from guard.sights import Sight

COOKIE = b"guard_pass"
GOOD_S = 3600
WAIT_S = 1.0
MAX_PREFIXES = 8
"""From more neighbourhoods than this nobody comes within an hour."""


class Passes:
    """Hands out passes of a site and looks at them. `secret` is the same for all workers; b"" = one of its own."""

    def __init__(self, secret: bytes = b"", site: str = "") -> None:
        sum_ = blake2b(secret or os.urandom(32), digest_size=32, person=b"guard pass")
        sum_.update(b"\0" + site.encode())
        self._secret = sum_.digest()
        self._used: Memo[bytes, set[bytes]] = Memo(4_096)

    def make(self, user_agent: bytes, wall_s: float) -> bytes:
        """The value of a new pass."""
        body = b"%d.%s" % (ceil(wall_s), os.urandom(6).hex().encode())
        return body + b"." + self._mac(body, user_agent)

    def cookie(self, user_agent: bytes, wall_s: float, *, secure: bool) -> bytes:
        """The value of a Set-Cookie field (RFC 6265bis) that hands out a new pass."""
        flags = b"; Secure" if secure else b""
        value = self.make(user_agent, wall_s)
        return b"%b=%b; Path=/; Max-Age=%d; HttpOnly; SameSite=Lax%b" % (COOKIE, value, GOOD_S, flags)

    def holds(self, cookies: bytes, sight: Sight) -> bool:
        """Does a request carry a pass that is good now?"""
        for pair in cookies.split(b";", 32):
            name, _, value = pair.strip().partition(b"=")
            if name == COOKIE and len(value) <= 128:
                return self._good(value, sight)
        return False

    def _good(self, value: bytes, sight: Sight) -> bool:
        body, _, mac = value.rpartition(b".")
        made, _, _ = body.partition(b".")
        if not made.isdigit() or len(made) > 12 or not compare_digest(mac, self._mac(body, sight.user_agent)):
            return False
        if not WAIT_S <= sight.wall_s - int(made) <= GOOD_S:
            return False
        prefixes = self._used.get(value)
        if prefixes is None:
            prefixes = set()
            self._used.keep(value, prefixes)
        if len(prefixes) <= MAX_PREFIXES:
            prefixes.add(sight.client.prefix)
        return len(prefixes) <= MAX_PREFIXES

    def _mac(self, body: bytes, user_agent: bytes) -> bytes:
        sum_ = blake2b(digest_size=12, key=self._secret)
        sum_.update(body + b"\0" + user_agent[:512])
        return sum_.hexdigest().encode()

"""Hosts, and addresses of keys.

A Host header holds (RFC 9110 7.2: uri-host [":" port]) a name, an IPv4 address or a bracketed IPv6.
"""

from __future__ import annotations

import re

_HOST = re.compile(rb"(?:[A-Za-z0-9_]++(?:[.\-][A-Za-z0-9_\-]*+)*+|\[[0-9A-Fa-f:.]{2,45}+\])(?::[0-9]{0,5}+)?+")


def is_host(value: bytes) -> bool:
    """True for one well-formed host; no path, userinfo, comma, space or control byte passes."""
    return len(value) <= 255 and _HOST.fullmatch(value) is not None


# -- where keys are --------------------------------------------------------------------------------------------

WELL_KNOWN = "/.well-known/http-message-signatures-directory"
_AUTHORITY = re.compile(r"[a-z0-9.-]++(?::[0-9]{1,5}+)?+|\[[0-9a-f:.]++\](?::[0-9]{1,5}+)?+")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]++)++/?+")


def keys_url(text: str) -> str:
    """Where the keys of an agent are: below its origin (-00), or at the very address (-01). "" when it is neither.

    One spelling for each: the host in lower case, no default port, nothing escaped, no query, no fragment, no user.
    """
    if not text.startswith("https://") or len(text) > 2048:
        return ""
    authority, slash, path = text[8:].partition("/")
    authority = authority.lower().removesuffix(":443")
    if not authority.isascii() or not _AUTHORITY.fullmatch(authority):
        return ""
    path = slash + path
    if path in ("", "/"):
        path = WELL_KNOWN
    elif not _PATH.fullmatch(path) or not {".", ".."}.isdisjoint(path.split("/")):
        return ""
    return f"https://{authority}{path}"

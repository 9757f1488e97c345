"""What may stand in a Host header (RFC 9110 7.2: uri-host [":" port]): a name, an IPv4 address or a bracketed IPv6."""

from __future__ import annotations

import re

_HOST = re.compile(rb"(?:[A-Za-z0-9_]++(?:[.\-][A-Za-z0-9_\-]*+)*+|\[[0-9A-Fa-f:.]{2,45}+\])(?::[0-9]{0,5}+)?+")


def is_host(value: bytes) -> bool:
    """True for one well-formed host; no path, userinfo, comma, space or control byte passes."""
    return len(value) <= 255 and _HOST.fullmatch(value) is not None

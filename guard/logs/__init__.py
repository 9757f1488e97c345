"""Access logs of the usual servers, read line by line. One file a format, one line in the table.

The law: a reader never fails on what it is fed. A line is an Entry, or it says why it is none (`guard.logs.entry`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from guard.logs import caddy, combined, haproxy, nginx, ours, trace, traefik
from guard.logs.entry import Entry, NoRequest, Reader

__all__ = ["FORMATS", "Entry", "Format", "NoRequest", "Reader", "detect", "find_reader"]


class Format(NamedTuple):
    help: str
    read: Reader


# The order decides between formats that read the same number of lines: the particular ones first.
FORMATS: dict[str, Format] = {
    "trace": Format("traces of traffic, JSON with all headers", trace.read),
    "guard": Format("the guard's own log (guard serve --log all)", ours.read),
    "caddy": Format("Caddy, JSON", caddy.read),
    "traefik": Format("Traefik, JSON or its common form", traefik.read),
    "haproxy": Format("HAProxy, option httplog; haproxy:host,user-agent names the captured headers", haproxy.read),
    "nginx": Format("nginx, a log_format in JSON", nginx.read),
    "combined": Format("Apache and nginx, common, combined, vhost_combined", combined.read),
}


def find_reader(name: str) -> Reader:
    """The reader of a format by its name, with captured headers for HAProxy. Raises ValueError."""
    kind, colon, names = name.partition(":")
    if kind not in FORMATS or (colon and kind != "haproxy"):
        raise ValueError(f"unknown format '{name}'; known: {', '.join(FORMATS)}")
    return haproxy.with_names(names) if colon else FORMATS[kind].read


def detect(lines: Iterable[bytes]) -> str | None:
    """The format that reads most of `lines` (give it the first few hundred); None when none reads any."""
    best, found = (0, 0), None
    sample = list(lines)
    for name, form in FORMATS.items():
        entries = others = 0
        for line in sample:
            try:
                form.read(line, 0)
            except NoRequest:
                others += 1
            except ValueError:
                continue
            else:
                entries += 1
        if (entries, others) > best:
            best, found = (entries, others), name
    return found

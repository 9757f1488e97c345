"""The lists of networks that operators publish, read as strictly as something that a stranger could have written.

    read_published(kind, body)   the bytes of a list -> Published, or PublishedError for the whole of it
    judge_growth(before, after)  a list that suddenly holds far more, or far less, needs a person
    Shelf(directory)             the last good list of each source, on disk
    shipped()                    those that came with the package, with the date they are of

A list decides who is let in under an operator's name, so one entry that cannot be right condemns all of it: the last
good list stays. Nothing here knows the network or the clock.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses, ip_address, ip_network
from pathlib import Path
from typing import Any, NamedTuple

from guard.errors import GuardError
from guard.networks import Network, why_special

KINDS = ("ip-json", "ip-html")
MAX_LIST_BYTES = 4 << 20
MAX_ENTRIES = 50_000
KEPT_S = 30 * 86_400.0
"""So long a last good list tells true from false; after that it only tells nothing."""

_WIDEST_4, _WIDEST_6 = 8, 19  # prefix lengths
_MOST_4, _MOST_6 = 1 << 26, 1 << 111  # addresses, in all of a list
_TIMES = 4
_MAX_FILE_BYTES = 16 << 20
_MAX_WARNINGS = 20


class PublishedError(GuardError):
    """A published list is refused as a whole. `reason` is one line of text, with nothing unprintable in it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class GrowthError(PublishedError):
    """A list is well-formed, but so unlike the one before that a person has to look at it."""


class Published(NamedTuple):
    """What a list says: its networks, each once and in order, and when it says it was made (since 1970; 0.0 unsaid).

    `warnings` are what was put up with.
    """

    networks: tuple[Network, ...]
    created_s: float = 0.0
    warnings: tuple[str, ...] = ()


class Kept(NamedTuple):
    """A last good list, and when it was fetched (seconds since 1970)."""

    networks: tuple[Network, ...]
    fetched_s: float
    created_s: float = 0.0


# -- reading -----------------------------------------------------------------------------------------------------


def read_published(kind: str, body: bytes, allowed: Iterable[Network] = ()) -> Published:
    """The list in `body`, which is of one of KINDS. Raises PublishedError.

    `allowed` are networks that may be listed although they are not public.
    """
    if len(body) > MAX_LIST_BYTES:
        raise PublishedError(f"the list is longer than {MAX_LIST_BYTES} bytes")
    allowed = tuple(allowed)
    return _read_html(body, allowed) if kind == "ip-html" else _read_json(body, allowed)


def _read_json(body: bytes, allowed: tuple[Network, ...]) -> Published:
    try:
        said: Any = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise PublishedError("the list is no JSON") from None
    entries = said.get("prefixes") if isinstance(said, dict) else None
    if not isinstance(entries, list):
        raise PublishedError('the list is not {"prefixes": […]}')
    if len(entries) > MAX_ENTRIES:
        raise PublishedError(f"the list has more than {MAX_ENTRIES} entries")
    texts: list[tuple[str, int]] = []
    for number, entry in enumerate(entries, 1):
        found = [
            (entry[key], version)
            for key, version in (("ipv4Prefix", 4), ("ipv6Prefix", 6))
            if isinstance(entry, dict) and key in entry
        ]
        if not found or any(not isinstance(text, str) for text, _ in found):
            raise PublishedError(f"entry {number} has neither ipv4Prefix nor ipv6Prefix")
        texts += found
    warnings: list[str] = []
    created = said.get("creationTime")
    created_s = _moment_s(created)
    if created is not None and not created_s:
        warnings.append("its creationTime cannot be read")
    return _published((_network(text, version) for text, version in texts), created_s, warnings, allowed)


_TOKEN = re.compile(r"[0-9A-Za-z.:/_%-]++")
_DOTTED = re.compile(r"[0-9]{1,3}+(?:\.[0-9]{1,3}+){3}+(?:/[0-9]{1,3}+)?+")


def _read_html(body: bytes, allowed: tuple[Network, ...]) -> Published:
    """The prefixes and the single IPv4 addresses in the text of a page; what only looks like one is passed over."""
    found: list[tuple[Network, str]] = []
    for run in _TOKEN.finditer(_text_of(body.decode("utf-8", "replace"))):
        token = run.group().rstrip(".:-/")
        with contextlib.suppress(PublishedError):
            if _DOTTED.fullmatch(token):
                found.append(_network(token, 4))
            elif "/" in token and token.count(":") >= 2:
                found.append(_network(token, 6))
        if len(found) > MAX_ENTRIES:
            raise PublishedError(f"the list has more than {MAX_ENTRIES} entries")
    return _published(found, 0.0, [], allowed)


def _text_of(page: str) -> str:
    """What a reader of an HTML page would see, in one pass: no tags, comments, scripts and styles."""
    small = page.lower()
    if len(small) != len(page):  # letters that grow when they are made small
        page = small
    pieces: list[str] = []
    place = 0
    while (tag := small.find("<", place)) >= 0:
        pieces.append(page[place:tag])
        if small.startswith("<!--", tag):
            end, skip = small.find("-->", tag + 4), 3
        elif small.startswith(("<script", "<style"), tag):
            name = "</script" if small.startswith("<script", tag) else "</style"
            end = small.find(name, tag)
            end, skip = (small.find(">", end), 1) if end >= 0 else (-1, 0)
        else:
            end, skip = small.find(">", tag), 1
        if end < 0:
            return " ".join(pieces)
        place = end + skip
    pieces.append(page[place:])
    return " ".join(pieces)


def _network(text: str, version: int) -> tuple[Network, str]:
    """The network, and a warning ("" = none). Raises PublishedError."""
    address_text, slash, length_text = text.strip().partition("/")
    wrong = PublishedError(f"{_quoted(text)} is no IPv{version} network")
    if slash and not (length_text.isascii() and length_text.isdigit() and len(length_text) <= 3):
        raise wrong
    if "%" in address_text:
        raise wrong
    try:
        address: IPv4Address | IPv6Address = ip_address(address_text)
        if address.version != version:
            raise wrong
        network = ip_network(f"{address}/{int(length_text)}" if slash else str(address), strict=False)
    except ValueError:
        raise wrong from None
    warning = "" if network.network_address == address else f"{_quoted(text)} was taken as {network}"
    return network, warning


def _published(
    found: Iterable[tuple[Network, str]], created_s: float, warnings: list[str], allowed: tuple[Network, ...]
) -> Published:
    networks: set[Network] = set()
    for network, warning in found:
        if network.prefixlen < (_WIDEST_4 if network.version == 4 else _WIDEST_6):
            raise PublishedError(f"{network} is wider than any operator")
        if why := why_special(network, allowed):
            raise PublishedError(f"{network} is {why}, not public")
        networks.add(network)
        if warning:
            warnings.append(warning)
    if not networks:
        raise PublishedError("the list is empty")
    covered = _Covered.by(networks)
    if covered.v4 > _MOST_4 or covered.v6 > _MOST_6:
        raise PublishedError("the list holds more addresses than any operator")
    if len(warnings) > _MAX_WARNINGS:
        warnings[_MAX_WARNINGS:] = [f"and {len(warnings) - _MAX_WARNINGS} more"]
    return Published(_in_order(networks), created_s, tuple(warnings))


def _in_order(networks: Iterable[Network]) -> tuple[Network, ...]:
    return tuple(sorted(networks, key=lambda one: (one.version, int(one.network_address), one.prefixlen)))


def _moment_s(text: object) -> float:
    """ISO 8601 as seconds since 1970, UTC where no zone is said; 0.0 for what is none."""
    if not isinstance(text, str) or len(text) > 64:
        return 0.0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    try:
        return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (OverflowError, ValueError):
        return 0.0


def _quoted(text: str) -> str:
    return '"' + text[:60].encode("unicode_escape").decode("ascii") + '"'


# -- judging -----------------------------------------------------------------------------------------------------


class _Covered(NamedTuple):
    """How many addresses some networks hold, none counted twice."""

    v4: int
    v6: int

    @classmethod
    def by(cls, networks: Iterable[Network]) -> _Covered:
        networks = tuple(networks)
        return cls(
            sum(one.num_addresses for one in collapse_addresses(n for n in networks if isinstance(n, IPv4Network))),
            sum(one.num_addresses for one in collapse_addresses(n for n in networks if isinstance(n, IPv6Network))),
        )


def judge_growth(before: Iterable[Network], after: Iterable[Network]) -> None:
    """Raises GrowthError when `after` holds more than four times what `before` did, or less than a quarter.

    Judged are the addresses of each family, and the number of networks where the addresses changed the same way: the
    same addresses in other pieces are the same list. A family that was not there before is judged by the number.
    """
    old, new = tuple(before), tuple(after)
    was, now = _Covered.by(old), _Covered.by(new)
    for name, had, has in (("IPv4", was.v4, now.v4), ("IPv6", was.v6, now.v6)):
        if had and has > _TIMES * had:
            raise GrowthError(f"it holds {_times(has, had)} times the {name} addresses that it held")
        if had and has * _TIMES < had:
            raise GrowthError(f"it holds {has} of the {had} {name} addresses that it held")
    if len(new) > _TIMES * len(old) and (now.v4 > was.v4 or now.v6 > was.v6):
        raise GrowthError(f"it grew from {len(old)} networks to {len(new)}")
    if len(new) * _TIMES < len(old) and (now.v4 < was.v4 or now.v6 < was.v6):
        raise GrowthError(f"it shrank from {len(old)} networks to {len(new)}")


def _times(has: int, had: int) -> str:
    return f"{has / had:.1f}" if has < 1000 * had else "more than 1000"


# -- keeping -----------------------------------------------------------------------------------------------------


class Shelf:
    """A directory with the last good list of each source, one file each. Several processes may use it at once.

    Nothing in it is trusted more than the web is: a file is read by the same rules.
    """

    def __init__(self, directory: Path, allowed: Iterable[Network] = ()) -> None:
        self.directory = directory
        self._allowed = tuple(allowed)

    def path(self, source: str) -> Path:
        return self.directory / f"{hashlib.sha256(source.encode()).hexdigest()}.json"

    def look(self, source: str) -> tuple[int, ...]:
        """What tells this version of the file from another; () when there is none. Never raises."""
        try:
            found = self.path(source).stat()
        except OSError:
            return ()
        return (found.st_ino, found.st_mtime_ns, found.st_size)

    def read(self, source: str) -> Kept | None:
        """The list of `source`; None when there is none. Raises PublishedError when the file is broken."""
        try:
            with self.path(source).open("rb") as file:
                text = file.read(_MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PublishedError(f"its file cannot be read: {error.strerror}") from None
        if len(text) > _MAX_FILE_BYTES:
            raise PublishedError("its file is too long")
        try:
            said: Any = json.loads(text)
        except (ValueError, RecursionError):
            raise PublishedError("its file is broken") from None
        if not isinstance(said, dict) or said.get("source") != source:
            raise PublishedError("its file is of another source")
        return _kept(said, self._allowed)

    def keep(self, source: str, kept: Kept) -> None:
        """Put a list in its place, whole or not at all, and on the disk before it counts. Raises OSError."""
        said = {"source": source, **_said(kept)}
        text = json.dumps(said, indent=1).encode() + b"\n"
        self.directory.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=self.directory)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path(source))
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
        folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _said(kept: Kept) -> dict[str, object]:
    return {
        "fetched_s": kept.fetched_s,
        "created_s": kept.created_s,
        "networks": [str(network) for network in kept.networks],
    }


def _kept(said: Mapping[str, Any], allowed: tuple[Network, ...]) -> Kept:
    texts, fetched_s, created_s = said.get("networks"), said.get("fetched_s"), said.get("created_s")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts) or len(texts) > MAX_ENTRIES:
        raise PublishedError("its file holds no networks")
    if not all(isinstance(moment, int | float) and 0 <= moment < 1e12 for moment in (fetched_s, created_s)):
        raise PublishedError("its file holds no moments")
    found = (_network(text, 6 if ":" in text else 4) for text in texts)
    published = _published(found, 0.0, [], allowed)
    return Kept(published.networks, float(fetched_s or 0.0), float(created_s or 0.0))


@cache
def shipped() -> Mapping[str, Kept]:
    """By source, the lists that came with the package. They are as old as `fetched_s` says."""
    said = json.loads((files("guard") / "published_networks.json").read_bytes())
    return {source: _kept(table, ()) for source, table in said["sources"].items()}

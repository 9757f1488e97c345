"""One line of an access log as a value, and what all readers of logs share: request lines, times, texts.

A reader is a function `read(line, number) -> Entry`. `line` is one line without its newline, `number` is what
the entry gets when the log has none of its own. It raises NoRequest for a line that tells of no request, and
ValueError, with the reason in words, for a line that it cannot read; nothing else. It takes time in proportion to
the line, whatever stands in it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

LAST_TIME_S = 253_402_300_799.0  # the end of the year 9999
_MONTHS = {
    name: number for number, name in enumerate((b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec").split(), start=1)
}
_METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND")}
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++")  # RFC 9110 5.6.2
_HEX_ESCAPE = re.compile(rb"\\x([0-9A-Fa-f]{2})")


class NoRequest(ValueError):
    """The line is sound, but no request is told of in it: a broken handshake, a message of the server's own."""


class Entry(NamedTuple):
    """One request as a log tells it.

    `time_s` is in seconds since 1970 (a trace may begin at 0). `target` is the path as logged, percent-encoding kept,
    without the `query`. `user_agent` is None when the log does not carry it, b"" when the log says that the client
    sent none; then `agent` may hold a name of the catalogue that the log carries instead. `status` and `body_bytes`
    are 0 when the log has none. `headers` are those that the log carries, names in lower case; `whole` says that these
    are all that there were. `duration_s` is how long the answer took, `audio_s` how much music was in it (-1.0 = not
    told), `account` whose session the application knew it to be, `protocol` "h1" or "h2" where it is told.
    """

    number: int
    time_s: float
    ip: str
    method: str
    target: bytes
    query: bytes
    host: str | None
    user_agent: bytes | None
    status: int
    body_bytes: int
    headers: tuple[tuple[str, bytes], ...] = ()
    agent: str = ""
    whole: bool = False
    duration_s: float = 0.0
    audio_s: float = -1.0
    account: str = ""
    protocol: str = ""
    ja4: str = ""


Reader = Callable[[bytes, int], Entry]


def split_request(request: bytes) -> tuple[str, bytes, bytes, str | None]:
    """Method, path, query and host (None but for `GET http://host/path`) of a request line. Raises NoRequest."""
    words = request.split(b" ")
    if len(words) == 3 and words[1].startswith(b"/") and words[2].startswith(b"HTTP/") and words[0] in _METHODS:
        path, _, query = words[1].partition(b"?")
        return _METHODS[words[0]], path, query, None
    method, _, rest = request.partition(b" ")
    target, space, protocol = rest.rpartition(b" ")
    if not space or not protocol.startswith(b"HTTP/"):
        target = rest  # HTTP/0.9, or cut off
    if not target or not _TOKEN.fullmatch(method):
        raise NoRequest("no request in it")
    return method.decode("ascii"), *split_target(target)


def split_target(target: bytes) -> tuple[bytes, bytes, str | None]:
    """Path, query and, for the absolute form (RFC 9112 3.2.2), the host."""
    host = None
    if not target.startswith(b"/"):
        scheme, separator, rest = target[:2048].partition(b"://")
        if separator and scheme.lower() in (b"http", b"https"):
            name = re.split(rb"[/?]", rest, maxsplit=1)[0]
            host = name.decode("latin-1")
            target = target[len(scheme) + 3 + len(name) :]
            if not target.startswith(b"/"):
                target = b"/" + target
    path, _, query = target.partition(b"?")
    return path, query, host


# -- times -------------------------------------------------------------------------------------------------

_TWO_DIGITS = {b"%02d" % number: number for number in range(100)}
_last_minute: tuple[bytes, bytes, float] = (b"", b"", 0.0)


def read_clf_time(text: bytes) -> float:
    """`17/May/2015:10:05:03 +0000`, as Apache and nginx write it; without a zone it is taken as UTC."""
    global _last_minute  # consecutive lines share the minute: no table to bound, and most of the cost is saved
    minute, zone, start = _last_minute
    try:
        if text[:18] != minute or text[20:] != zone:
            minute, zone = text[:18], text[20:]
            if minute[2:3] != b"/" or minute[6:7] != b"/" or minute[11:12] != b":" or minute[17:] != b":":
                raise ValueError
            start = _start_of_minute(minute) - _zone_s(zone.strip())
            _last_minute = minute, zone, start
        return start + _TWO_DIGITS[text[18:20]]
    except (KeyError, ValueError, OverflowError):
        raise ValueError("no time in it") from None


def _start_of_minute(text: bytes) -> float:
    year = _TWO_DIGITS[text[7:9]] * 100 + _TWO_DIGITS[text[9:11]]
    day, hour, minutes = _TWO_DIGITS[text[:2]], _TWO_DIGITS[text[12:14]], _TWO_DIGITS[text[15:17]]
    return datetime(year, _MONTHS[text[3:6]], day, hour, minutes, tzinfo=UTC).timestamp()


def _zone_s(zone: bytes) -> int:
    if not zone:
        return 0
    seconds = _TWO_DIGITS[zone[1:3]] * 3600 + _TWO_DIGITS[zone[3:]] * 60
    return {b"+": seconds, b"-": -seconds}[zone[:1]]


def read_time(value: object) -> float:
    """Seconds since 1970 from what JSON logs write: numbers or digits of seconds, milli- or microseconds, ISO 8601,
    or Apache's form. A time without a zone is taken as UTC. Raises ValueError."""
    if isinstance(value, str):
        text = value.strip("[]")
        try:
            value = float(text)
        except ValueError:
            if text[2:3] == "/":
                return read_clf_time(text.encode("ascii", "replace"))
            try:
                moment = datetime.fromisoformat(text)
            except ValueError:
                raise ValueError("no time in it") from None
            value = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("no time in it")
    try:
        seconds = float(value)
    except OverflowError:
        raise ValueError("no time in it") from None
    if seconds > 1e14:
        seconds /= 1e6
    elif seconds > 1e11:
        seconds /= 1e3
    if not math.isfinite(seconds) or not 0 <= seconds <= LAST_TIME_S:
        raise ValueError("no time in it")
    return seconds


# -- JSON --------------------------------------------------------------------------------------------------


def read_object(line: bytes) -> dict[str, Any]:
    """One JSON object. Bytes that are not UTF-8 survive (`as_bytes` gives them back). Raises ValueError."""
    if not line.lstrip()[:1] == b"{":
        raise ValueError("not a JSON object")
    try:
        try:
            found = json.loads(line.decode("utf-8", "surrogateescape"))
        except json.JSONDecodeError:
            if b"\\x" not in line:
                raise
            # nginx without `escape=json` writes \xHH, which is no JSON.
            found = json.loads(_HEX_ESCAPE.sub(_as_json_escape, line).decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        raise ValueError("not a JSON object") from None
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def _as_json_escape(match: re.Match[bytes]) -> bytes:
    byte = int(match[1], 16)
    return b"\\u%04x" % (byte if byte < 128 else 0xDC00 + byte)


def as_bytes(value: object) -> bytes:
    """The bytes of a JSON string as they were before the log's writer; what is no string has none."""
    if not isinstance(value, str):
        return b""
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")


def as_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def as_count(value: object) -> int:
    """A status or a number of bytes; 0 for anything that is none."""
    if isinstance(value, str | bytes) and len(value) < 20 and value.isdigit() and value.isascii():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63 else 0


def first_of(found: Mapping[str, Any], names: tuple[str, ...]) -> object:
    """The value of the first of `names` that is there, else None."""
    for name in names:
        value = found.get(name)
        if value is not None:
            return value
    return None


# -- text with escapes -------------------------------------------------------------------------------------

_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{2}|[\"\\ntrbv])")
_NAMED = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b", b"v": b"\v", b'"': b'"', b"\\": b"\\"}


def unescape(text: bytes) -> bytes:
    """What Apache (`\\"`, `\\n`, `\\xhh`) and nginx (`\\xHH`) put for bytes that cannot stand in a quoted field."""
    if b"\\" not in text:
        return text
    return _ESCAPE.sub(lambda match: _NAMED.get(match[1]) or bytes((int(match[1][1:], 16),)), text)

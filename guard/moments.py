"""Days and moments as people write them, in policies, in registers of rights and on the command line.

A day is meant in UTC; a moment names its zone (RFC 3339, seconds may be left out).
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

MOMENT = (
    r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"([Tt ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?([Zz]|[+-]([01][0-9]|2[0-3]):?[0-5][0-9]))?"
)
"""The form of a day, or of a moment with its zone."""

_MOMENT = re.compile(MOMENT)
_DAY_CHARS = len("2026-12-01")


def read_moment(text: str, *, end: bool = False) -> float:
    """Seconds since 1970 of a day (its `end`, when asked) or of a moment. Raises ValueError with what to write."""
    text = text.strip()
    if _MOMENT.fullmatch(text):
        try:
            if len(text) > _DAY_CHARS:
                moment_s = datetime.fromisoformat(text.upper()).timestamp()
                write_moment(moment_s)  # in UTC it may lie before the first year, or after the last
                return moment_s
            day = date.fromisoformat(text) + timedelta(days=1 if end else 0)
            return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
        except (ValueError, OverflowError):
            raise ValueError("no calendar has it") from None
    if _MOMENT.fullmatch(f"{text}Z"):
        raise ValueError("say the zone, like 2026-12-01T18:00Z")
    raise ValueError("write a day like 2026-12-01, or a moment like 2026-12-01T18:00Z")


def write_moment(moment_s: float) -> str:
    """A moment as RFC 3339 in UTC, to the millisecond where there is a fraction: 2026-12-01T18:00:00Z."""
    moment = datetime.fromtimestamp(round(moment_s, 3), UTC)
    spec = "milliseconds" if moment.microsecond else "seconds"
    return moment.isoformat(timespec=spec).replace("+00:00", "Z")

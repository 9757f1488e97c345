"""Which browser a User-Agent claims to be, when that came out, and what such a browser sends.

Releases are told by rule, not by list: Chrome came every four weeks up to 153 (8 September 2026) and comes every two
weeks since, Firefox likewise up to 153; Safari's number is its year. Off by a few weeks at most from 2021 on, which is
nothing to somebody who counts in months.

Source: release calendars as kept by caniuse; Fetch Metadata (W3C) and User-Agent Client Hints (WICG): Chrome 76 and
89, Firefox 90, Safari 16.4 for the former, Chromium 89 for the latter; zstd from Chrome 123 and Firefox 126.
"""

from __future__ import annotations

from typing import NamedTuple

_DAY_S = 86_400.0
MONTH_S = 30.44 * _DAY_S
_CHROME_153_S = 1_788_825_600.0  # 8 September 2026
_FIREFOX_153_S = 1_785_801_600.0  # 4 August 2026
_SAFARI_26_S = 1_757_894_400.0  # 15 September 2025
_LAST_YEARLESS = 18  # Safari 18 came in 2024, 26 in 2025

LONG_LIVED = {"chrome": frozenset((109,)), "firefox": frozenset((115, 128, 140, 153))}
"""Versions in which people are honestly left behind: the last for an old system, and long-term support."""

SPECIAL = (
    b"Goanna/", b"PaleMoon/", b"SMART-TV", b"SmartTV", b"Tizen", b"Web0S", b"webOS", b"HbbTV", b"CrKey", b"AFT",
    b"BRAVIA", b"Roku", b"PlayStation", b"Xbox", b"Nintendo", b"AppleCoreMedia", b"CFNetwork", b"Opera Mini",
    b"UCBrowser",
    b"KAIOS", b"Silk/", b"SamsungBrowser/", b"MiuiBrowser", b"YaBrowser/", b"Whale/", b"QtWebEngine/", b"Electron/",
    b"; wv)", b"Instagram", b"FBAN/", b"FBAV/", b"Line/", b"Trident/", b"MSIE ", b"Seamonkey", b"Waterfox", b"Basilisk",
    b"K-Meleon", b"Konqueror", b"Epiphany", b"Dillo", b"NetFront", b"Kindle", b"Sonos/", b"Silk-", b"GSA/",
    b"DuckDuckGo/",
)  # fmt: skip
"""Names of honest clients that call themselves a browser beside their own name and send less than that browser does:
televisions, views inside of other apps, forks, proxies that render for others."""


class Claim(NamedTuple):
    """A browser that somebody says to be: "chrome", "firefox", "safari" or "" (none, or one of which nothing is known),
    its major version, 0 when it has none, and whether it is one that honestly sends less (`SPECIAL`)."""

    family: str
    version: int
    minor: int = 0
    special: bool = False

    def released_s(self) -> float:
        """About when it came out, in seconds since 1970."""
        version = self.version
        if self.family == "chrome":
            return _CHROME_153_S + (version - 153) * (14 if version > 153 else 28) * _DAY_S
        if self.family == "firefox":
            return _FIREFOX_153_S + (version - 153) * (14 if version > 153 else 28) * _DAY_S
        year = version if version >= 26 else version - _LAST_YEARLESS + 25
        return _SAFARI_26_S + (year - 26) * 365.25 * _DAY_S

    @property
    def has_fetch_metadata(self) -> bool:
        """Does it send Sec-Fetch-* over HTTPS?"""
        since = {"chrome": 80, "firefox": 90}.get(self.family)
        if since is not None:
            return self.version >= since
        return self.family == "safari" and (self.version, self.minor) >= (16, 4)

    @property
    def has_client_hints(self) -> bool:
        """Does it send sec-ch-ua over HTTPS?"""
        return self.family == "chrome" and self.version >= 89

    @property
    def codings(self) -> tuple[bytes, ...]:
        """Content codings that it offers over HTTPS for what is no media."""
        if (self.family, self.version >= 123) == ("chrome", True) or (self.family, self.version >= 126) == (
            "firefox",
            True,
        ):
            return (b"gzip", b"br", b"zstd")
        return (b"gzip", b"br")

    @property
    def long_lived(self) -> bool:
        return self.version in LONG_LIVED.get(self.family, ())


NO_CLAIM = Claim("", 0)


def read_claim(user_agent: bytes) -> Claim:
    """The browser that a User-Agent claims to be. Linear in its length."""
    if not user_agent.startswith(b"Mozilla/5.0 ("):
        return NO_CLAIM
    special = any(name in user_agent for name in SPECIAL)
    if b"Chrome/" in user_agent and b"AppleWebKit/" in user_agent:
        return Claim("chrome", _number(user_agent, b"Chrome/"), 0, special)
    if b"CriOS/" in user_agent or b"FxiOS/" in user_agent or b"EdgiOS/" in user_agent:
        return Claim("safari", _number(user_agent, b"OS "), 0, True)
    if b"Firefox/" in user_agent and b"Gecko/" in user_agent:
        return Claim("firefox", _number(user_agent, b"Firefox/"), 0, special)
    if b"Version/" in user_agent and b"Safari/" in user_agent:
        at = user_agent.find(b"Version/") + 8
        major, _, rest = user_agent[at : at + 12].partition(b".")
        return Claim("safari", _digits(major), _digits(rest), special)
    return NO_CLAIM


def _number(text: bytes, before: bytes) -> int:
    at = text.find(before) + len(before)
    return _digits(text[at : at + 8])


def _digits(text: bytes) -> int:
    """The number that a text begins with, 0 when it begins with none."""
    number = 0
    for byte in text[:6]:
        if not 48 <= byte <= 57:
            break
        number = number * 10 + byte - 48
    return number

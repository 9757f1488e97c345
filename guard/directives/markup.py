"""What an application puts into its own pages, feeds and playlists, in its own templates: the guard rewrites no bodies.

The law: the same words as on the answers (`render_headers`), every value escaped for where it stands, and no value
that could end its line, its tag or its quotes. Whatever cannot be written so raises ValueError.

Sources: HTML Living Standard; TDMRep 6.3; RSL 1.0, 4.6 (HTML) and 4.7 (RSS); RFC 8216, 4.1 and 4.3.4.4 (HLS).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from urllib.parse import urlsplit

from guard.directives import content_usage, rsl, tdmrep, x_robots
from guard.rights import Rights

DATA_ID = "io.github.noai-guard"
"""Under this name, in reverse DNS, stand the words in playlists."""

_UNFIT = re.compile(r'[\s"<>\\^`{|}\x00-\x20\x7f]')


def meta_tags(preferences: Mapping[str, str], *, licence: str = "", tdm_policy: str = "") -> str:
    """Lines for the `head` of a page. `licence` is the URL of an RSL document, `tdm_policy` that of an ODRL one.

    Raises ValueError when one of them is no absolute URL. "" when nothing is stated.
    """
    robots, reservation = x_robots.state(preferences), tdmrep.state(preferences)
    tags = []
    if robots:
        tags.append(f'<meta name="robots" content="{escape(robots)}">')
    if reservation:
        tags.append(f'<meta name="tdm-reservation" content="{escape(reservation)}">')
    if reservation == "1" and tdm_policy:
        tags.append(f'<meta name="tdm-policy" content="{escape(_absolute(tdm_policy))}">')
    if licence:
        tags.append(f'<link rel="license" type="{rsl.MEDIA_TYPE}" href="{escape(_absolute(licence))}">')
    return "".join(f"{tag}\n" for tag in tags)


def rss_namespace() -> str:
    """The attribute for the feed's `rss` element, without which no reader knows what `rsl:` is."""
    return f'xmlns:rsl="{rsl.NAMESPACE}"'


def rss_item(rights: Rights, url: str, feed_url: str, *, kind: str = "audio", contact: str = "") -> str:
    """The `rsl:content` element for the `item` of a feed: what holds for the file (or page) at `url`.

    `kind` is one of EVERY_KIND. Raises ValueError unless `url` has the origin of the feed (RSL 1.0, 4.7): a feed says
    nothing of what others serve.
    """
    if _origin(_absolute(url)) != _origin(_absolute(feed_url)):
        raise ValueError(f"'{url[:80]}' is of another origin than the feed")
    return rsl.content_element(url, rights.stated(kind), rights, contact=contact, prefix="rsl:")


def hls_tags(preferences: Mapping[str, str], licence: str = "", *, multivariant: bool) -> str:
    """Lines for a playlist, behind its `#EXTM3U`: session data in a multivariant one, else comments (RFC 8216).

    Raises ValueError when `licence` is no absolute URL.
    """
    words = {
        "content-usage": content_usage.state(preferences),
        "tdm-reservation": tdmrep.state(preferences),
        "license": _absolute(licence) if licence else "",
    }
    said = {name: word for name, word in words.items() if word}
    if multivariant:
        lines = [f'#EXT-X-SESSION-DATA:DATA-ID="{DATA_ID}.{name}",VALUE="{word}"' for name, word in said.items()]
    else:
        lines = [f"# {name.title()}: {word}" for name, word in said.items()]
    return "".join(f"{line}\n" for line in lines)


def _absolute(url: str) -> str:
    """An http or https URL as it came, or ValueError."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("https", "http") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, half an address in brackets
        whole = False
    if not whole or _UNFIT.search(url):
        raise ValueError(f"'{url[:80]}' is no absolute URL: write https://…")
    return url


def _origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port (RFC 6454)."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}[parts.scheme]

"""What the headers of a request tell of the program that sent it: read once for all requests that look alike.

The law: what is not known is not missing. Headers that an edge cannot see (a log, a proxy that drops them) are no
fault; nor is what people honestly lack: behind proxies that strip Sec-* (they say so in Via), in old tablets and
televisions, in views inside of other apps.

Points are decibans, tenths of a factor of ten: 10 points say "ten times more likely a program than a person".
Source: what real programs sent on a wire (browsers, yt-dlp, HTTP libraries); Fetch Metadata (W3C), User-Agent Client
Hints (WICG), RFC 9110 12.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import NamedTuple

from guard.browsers import MONTH_S, NO_CLAIM, Claim, read_claim
from guard.model import Agent, Signal

LIBRARIES = frozenset(("library", "tool", "headless", "ripper"))
"""Categories of programs without a person in front."""

QUIET = frozenset(("search", "preview", "feed", "monitoring", "archive", "ads", "security", "seo"))
"""Categories of robots that say what they are: held to what they may do by the policy, and to wider bounds here."""

_MEDIA = frozenset((b"audio", b"video"))
_SINCE_S = 1.5e9
"""A clock that says less (a trace that begins at nothing) does not tell anybody's age."""

_OLD_MONTHS, _ANCIENT_MONTHS = 36, 60


class Shape(NamedTuple):
    """How a request looks. `told` says whether all headers were seen; where not, the rest is what little is known.

    `claim` is the browser it says to be; `library` whether it says to be a program; `quiet` one of the honest robots.
    `dest` and `site` are its fetch metadata, b"" = none. `signals` speak of the headers alone, `points` is
    their sum. `digest` names the shape: header names in their order, family, codings;
    `handshake` a browser's family with the JA4 of its connection; `prefetch` is for pages that a browser loads
    ahead; `text` for browsers that show nothing but text; `signed` for who signs in, in a protocol that asks for it
    everywhere. `bare` is for no cookie, no token and no Referer.
    """

    told: bool
    claim: Claim
    library: bool
    quiet: bool
    player: bool
    site: bytes
    dest: bytes
    html: bool
    bare: bool
    cookie: bool
    referer: bool
    token: bool
    conditional: bool
    signals: tuple[Signal, ...]
    points: float
    digest: bytes
    handshake: bytes = b""
    prefetch: bool = False
    signed: bool = False
    text: bool = False

    @property
    def browser(self) -> bool:
        return bool(self.claim.family)

    @property
    def rare(self) -> bool:
        """May who looks like this be spoken of together? Not where the headers are those of a browser that many
        have."""
        return self.told and not self.text and (not self.claim.family or self.points >= 5)


def read_shape(
    fields: Mapping[bytes, bytes],
    agent: Agent,
    *,
    secure: bool,
    newest_s: float,
    http1: bool | None = None,
    ja4: bytes = b"",
    ordered: bool = False,
) -> Shape:
    """The shape of a request with these headers (names in lower case, in their order).

    `secure`: the client spoke HTTPS, so that browsers send what they keep for it. `newest_s` is the moment by which
    the age of a browser is told. `http1`: it spoke HTTP/1 to the outermost hop, None = not known. `ja4` is what that
    hop says of its TLS; `ordered` that no hop changes the order of headers.
    """
    user_agent = fields.get(b"user-agent", b"")[:512]
    claim = read_claim(user_agent)
    site, dest = fields.get(b"sec-fetch-site", b""), fields.get(b"sec-fetch-dest", b"")
    accept = fields.get(b"accept", b"")
    proxied = b"via" in fields or b"x-bluecoat-via" in fields
    cookie, referer, token = b"cookie" in fields, b"referer" in fields, b"authorization" in fields
    library = agent.category in LIBRARIES
    signals: list[Signal] = []
    if claim.family and not library and not agent.category.startswith("ai") and agent.category not in QUIET:
        signals += _consistency(fields, claim, secure, proxied, newest_s, dest)
        half = any(signal.name == "half a browser" for signal in signals)  # what strips headers speaks HTTP/1, too
        if http1 and not half and secure and not proxied and claim.has_fetch_metadata and not claim.special:
            signals.append(Signal("protocol", 6, "the browser that it claims to be speaks HTTP/2 over HTTPS"))
        if ordered and not proxied and (wrong := _out_of_order(fields, claim)):
            signals.append(Signal("header order", 6, wrong))
    digest = blake2b(digest_size=8)
    digest.update(b"\n".join(name for name in fields if name not in _VARYING))
    digest.update(b"\0%b\0%b" % (claim.family.encode() or user_agent[:64], fields.get(b"accept-encoding", b"")))
    digest.update(b"\0%b\0%b" % (accept, fields.get(b"accept-language", b"")))
    return Shape(
        True,
        claim,
        library,
        agent.category in QUIET,
        agent.category in ("player", "device"),
        site,
        dest,
        dest == b"document" or (not dest and b"text/html" in accept),
        not (cookie or referer or token),
        cookie,
        referer,
        token,
        b"if-none-match" in fields or b"if-modified-since" in fields,
        tuple(signals),
        sum(signal.points for signal in signals),
        digest.digest(),
        blake2b(ja4 + b"\0" + claim.family.encode(), digest_size=8).digest() if ja4 and claim.family else b"",
        b"prefetch" in fields.get(b"sec-purpose", b"") or fields.get(b"purpose") == b"prefetch",
        b"x-emby-token" in fields or b"x-emby-authorization" in fields,
        user_agent.lower().startswith(_TEXT),
    )


_TEXT = (b"lynx/", b"w3m/", b"links (", b"elinks", b"links/", b"emacs-w3m", b"netsurf")
_VARYING = frozenset((b"cookie", b"referer", b"range", b"if-none-match", b"if-modified-since", b"content-length"))


def untold_shape(agent: Agent, user_agent: bytes | None) -> Shape:
    """The shape of a request of which only the User-Agent was seen."""
    claim = NO_CLAIM if user_agent is None else read_claim(user_agent[:512])
    library = agent.category in LIBRARIES
    quiet, player = agent.category in QUIET, agent.category in ("player", "device")
    nothing = b""
    return Shape(
        False, claim, library, quiet, player, nothing, nothing, False, False, False, False, False, False, (), 0.0,
        nothing,
    )  # fmt: skip


_ORDER = {
    "chrome": (b"user-agent", b"accept", b"accept-encoding", b"accept-language"),
    "firefox": (b"user-agent", b"accept", b"accept-language"),
}
"""The order in which browsers send what they send with every request (RFC 9110 5.3 leaves it to them)."""


def _out_of_order(fields: Mapping[bytes, bytes], claim: Claim) -> str:
    wanted = _ORDER.get(claim.family)
    if wanted is None or claim.special:
        return ""
    sent = [name for name in fields if name in wanted]
    if sent != [name for name in wanted if name in fields]:
        return f"{claim.family.title()} sends its headers in another order"
    return ""


def _consistency(
    fields: Mapping[bytes, bytes], claim: Claim, secure: bool, proxied: bool, newest_s: float, dest: bytes
) -> list[Signal]:
    """What does not go together with the browser that is claimed."""
    found: list[Signal] = []
    mode, site = b"sec-fetch-mode" in fields, b"sec-fetch-site" in fields
    whole = b"sec-fetch-dest" in fields or (claim.family == "chrome" and 76 <= claim.version < 80)  # it came with 80
    if mode and not (site and whole):
        return [Signal("partial metadata", 34, "it sends Sec-Fetch-Mode without Site and Dest, as no browser does")]
    age_months = (newest_s - claim.released_s()) / MONTH_S if newest_s > _SINCE_S else 0.0
    half = secure and claim.has_fetch_metadata and not mode  # a hop that takes them away is as old as nobody
    if not claim.long_lived and not claim.special and not half and age_months > _OLD_MONTHS:
        age_points = 10 if age_months > _ANCIENT_MONTHS and claim.family != "safari" else 5
        found.append(
            Signal("old browser", age_points, f"the browser that it claims to be is {age_months / 12:.0f} years old")
        )
    if age_months < -3:
        found.append(Signal("future browser", 12, "the browser that it claims to be is not out yet"))
    if not secure:
        return found
    name = f"{claim.family.title()} {claim.version}"
    upgraded = fields.get(b"upgrade", b"").lower() == b"websocket"
    if claim.has_fetch_metadata and not mode and not claim.special and not upgraded:
        if proxied:
            found.append(Signal("half a browser", 3, f"no Sec-Fetch headers for {name}, behind a proxy that says so"))
        else:
            points = 18.0
            why = f"{name} sends Sec-Fetch headers, this does not"
            if claim.has_client_hints and b"sec-ch-ua" not in fields:
                points += 4
                why += ", nor client hints"
            found.append(Signal("half a browser", points, why))
    elif claim.has_client_hints and mode and not claim.special:
        hints = fields.get(b"sec-ch-ua")
        if hints is None:
            if dest not in (b"manifest", b"report", b"serviceworker") and not proxied:
                found.append(Signal("no client hints", 18, f"{name} sends client hints, this does not"))
        elif b'v="%d"' % claim.version not in hints:
            found.append(Signal("other client hints", 20, f"its client hints are not those of {name}"))
    coding = fields.get(b"accept-encoding")
    if dest not in _MEDIA and not proxied and not claim.special and coding != b"identity" and not upgraded:
        offered = coding or b""
        lacking = [word for word in claim.codings if word not in offered]
        if lacking and b"range" not in fields and coding != b"*":
            what = b", ".join(lacking).decode()
            found.append(Signal("other codings", 6, f"{name} offers {what}, this does not"))
    if b"accept-language" not in fields and not proxied and not upgraded and dest != b"report":
        found.append(Signal("no language", 4, f"{name} names the languages of its reader, this does not"))
    if claim.family == "firefox" and b"sec-ch-ua" in fields:
        found.append(Signal("other client hints", 20, "Firefox sends no client hints"))
    return found

"""Browsers as their headers: one set for each kind of fetch, in the order in which the browser writes it.

Chromium's and Firefox's sets follow what the real programs sent; those of Safari, phones, televisions and built-in
browsers are modelled on what is documented. Over HTTP/2 names are in lower case, over HTTP/1.1 as the browser has them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from tests.listeners.lines import HOST, ORIGIN, Headers

LANGUAGES = ("en-US,en;q=0.9", "en-GB,en;q=0.9", "de-DE,de;q=0.9,en;q=0.8", "fr-FR,fr;q=0.9,en;q=0.8", "ja,en-US;q=0.9")
KHTML = "AppleWebKit/537.36 (KHTML, like Gecko)"
WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"

MODES = {"document": "navigate", "iframe": "navigate", "font": "cors", "empty": "cors", "manifest": "cors"}
"""Sec-Fetch-Mode by destination; what is not here is `no-cors`."""

ACCEPT = {
    "chromium": {
        "document": "text/html,application/xhtml+xml,application/xml;q=0.9,image/jxl,image/avif,image/webp,image/apng,"
        "*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
        "image": "image/jxl,image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
        "style": "text/css,*/*;q=0.1",
    },
    "gecko": {
        "document": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "image": "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5",
        "style": "text/css,*/*;q=0.1",
        "audio": "audio/webm,audio/ogg,audio/wav,audio/*;q=0.9,application/ogg;q=0.7,video/*;q=0.6,*/*;q=0.5",
    },
    "webkit": {
        "document": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "image": "image/webp,image/avif,image/jxl,image/heic,image/heic-sequence,video/*;q=0.8,image/png,"
        "image/svg+xml,image/*;q=0.8,*/*;q=0.5",
        "style": "text/css,*/*;q=0.1",
    },
}

ORDER = {
    "navigation": {
        "chromium": "sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform cache-control upgrade-insecure-requests user-agent "
        "accept x-requested-with sec-purpose sec-fetch-site sec-fetch-mode sec-fetch-user sec-fetch-dest referer "
        "accept-encoding accept-language cookie if-none-match range priority",
        "gecko": "user-agent accept accept-language accept-encoding referer cookie upgrade-insecure-requests "
        "sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user sec-gpc sec-purpose if-none-match priority "
        "cache-control te",
        "webkit": "sec-fetch-dest user-agent accept sec-fetch-site sec-fetch-mode accept-language referer priority "
        "accept-encoding cookie if-none-match cache-control",
    },
    "part": {
        "chromium": "sec-ch-ua-platform user-agent sec-ch-ua content-type sec-ch-ua-mobile accept origin "
        "x-requested-with sec-purpose service-worker sec-fetch-site sec-fetch-mode sec-fetch-dest referer "
        "accept-encoding accept-language cookie if-none-match range priority",
        "gecko": "user-agent accept accept-language range accept-encoding content-type referer origin cookie "
        "sec-fetch-dest sec-fetch-mode sec-fetch-site sec-gpc sec-purpose if-none-match priority te",
        "webkit": "sec-fetch-dest user-agent accept content-type origin referer x-playback-session-id sec-fetch-site "
        "sec-fetch-mode accept-language range priority accept-encoding cookie if-none-match",
    },
}
_ORDER = {kind: {family: text.split() for family, text in rows.items()} for kind, rows in ORDER.items()}
_AS_THEY_ARE = {"sec-ch-ua", "sec-ch-ua-mobile", "sec-ch-ua-platform"}
_SPELT = {"te": "TE", "dnt": "DNT", "x-playback-session-id": "X-Playback-Session-Id"}


@dataclass(frozen=True)
class Browser:
    """A browser of some make. `strips` are beginnings of names that it, or a proxy before it, does not send."""

    family: str
    user_agent: str
    languages: str = "en-US,en;q=0.9"
    encodings: str = "gzip, deflate, br, zstd"
    brands: str = ""
    system: str = '"Windows"'
    mobile: bool = False
    proto: str = "h2"
    strips: tuple[str, ...] = ()
    adds: tuple[tuple[str, str], ...] = ()
    keeps_cookies: bool = True
    sends_referer: bool = True
    secure: bool = True

    def headers(
        self,
        dest: str,
        *,
        site: str = "same-origin",
        referer: str | None = None,
        cookie: str | None = None,
        mode: str | None = None,
        byte_range: str | None = None,
        etag: str | None = None,
        posts: str | None = None,
        purpose: str | None = None,
        clicked: bool = True,
    ) -> Headers:
        """What is sent with a fetch for `dest` ("document", "style", "image", "audio", "empty", ...)."""
        mode = mode or MODES.get(dest, "no-cors")
        navigates = mode == "navigate"
        media = dest in ("audio", "video")
        accepts = ACCEPT[self.family]
        found = {
            "sec-ch-ua": self.brands,
            "sec-ch-ua-mobile": ("?1" if self.mobile else "?0") if self.brands else "",
            "sec-ch-ua-platform": self.system if self.brands else "",
            "upgrade-insecure-requests": "1" if navigates else "",
            "user-agent": self.user_agent,
            "accept": accepts.get("document" if navigates else dest, "*/*"),
            "accept-language": self.languages,
            "accept-encoding": "identity" if media or byte_range else self.encodings,
            "sec-fetch-site": site,
            "sec-fetch-mode": mode,
            "sec-fetch-dest": dest,
            "sec-fetch-user": "?1" if navigates and dest == "document" and clicked and not purpose else "",
            "sec-purpose": purpose or "",
            "content-type": posts or "",
            "origin": ORIGIN if posts else "",
            "referer": (referer or "") if self.sends_referer else "",
            "cookie": (cookie or "") if self.keeps_cookies else "",
            "if-none-match": etag or "",
            "range": byte_range or "",
            "priority": "u=0, i" if navigates else "u=4" if self.family == "gecko" else "u=1, i",
            "te": "trailers",
        }
        order = _ORDER["navigation" if navigates else "part"][self.family]
        rows = [[name, found[name]] for name in order if found.get(name)]
        rows = [row for row in rows if not row[0].startswith(self.strips)] if self.strips else rows
        if self.proto == "h1":
            rows = [row for row in rows if row[0] != "te" and (row[0] != "priority" or self.family == "gecko")]
            rows = [["Host", HOST], ["Connection", "keep-alive"], *([_spell(name), value] for name, value in rows)]
        if not self.secure:
            rows = [[name, value.replace(ORIGIN, f"http://{HOST}")] for name, value in rows]
        return [*rows, *([name, value] for name, value in self.adds)]

    def over_plain_http(self) -> Browser:
        """The same browser where there is no TLS: nothing of Sec-*, no newer encodings, HTTP/1.1."""
        return replace(self.behind(), encodings="gzip, deflate", secure=False)

    def behind(self, *adds: tuple[str, str], strips: tuple[str, ...] = ("sec-", "priority")) -> Browser:
        """The same browser behind a proxy that speaks HTTP/1.1, drops some headers and adds others."""
        return replace(self, proto="h1", strips=self.strips + strips, adds=self.adds + adds)


def _spell(name: str) -> str:
    if name in _AS_THEY_ARE:
        return name
    return _SPELT.get(name) or "-".join(word.capitalize() for word in name.split("-"))


# -- makes -------------------------------------------------------------------------------------------------

SYSTEMS = {
    "windows": ("Windows NT 10.0; Win64; x64", '"Windows"'),
    "mac": ("Macintosh; Intel Mac OS X 10_15_7", '"macOS"'),
    "linux": ("X11; Linux x86_64", '"Linux"'),
    "chromeos": ("X11; CrOS x86_64 14541.0.0", '"Chrome OS"'),
    "android": ("Linux; Android 10; K", '"Android"'),
}


def chrome(
    rng: Random, system: str = "", version: int = 0, brand: str = "Google Chrome", suffix: str = "", proto: str = "h2"
) -> Browser:
    """Chrome, or a browser made of it: `suffix` is what that one adds to the User-Agent."""
    system = system or rng.choices(("windows", "mac", "linux", "chromeos"), (65, 22, 9, 4))[0]
    version = version or rng.choices((157, 156, 155, 154, 149), (45, 25, 20, 6, 4))[0]
    place, hint = SYSTEMS[system]
    mobile = system == "android"
    grease = ('"Not?A_Brand";v="24"', '"Not:A-Brand";v="8"', '"Not_A Brand";v="99"')[version % 3]
    brands = [f'"{brand}";v="{version}"', grease, f'"Chromium";v="{version}"']
    brands = brands[version % 2 :] + brands[: version % 2]
    return Browser(
        "chromium",
        f"Mozilla/5.0 ({place}) {KHTML} Chrome/{version}.0.0.0 {'Mobile ' if mobile else ''}Safari/537.36{suffix}",
        rng.choice(LANGUAGES),
        "gzip, deflate, br, zstd" if version >= 123 else "gzip, deflate, br",
        ", ".join(brands),
        hint,
        mobile,
        proto,
    )


def firefox(rng: Random, version: int = 0, system: str = "", proto: str = "h2") -> Browser:
    version = version or rng.choices((160, 159, 153, 140, 115), (55, 20, 13, 6, 6))[0]
    system = system or rng.choice(
        (
            "Windows NT 10.0; Win64; x64",
            "Windows NT 10.0; Win64; x64",
            "X11; Linux x86_64",
            "Macintosh; Intel Mac OS X 10.15",
        )
    )
    return Browser(
        "gecko",
        f"Mozilla/5.0 ({system}; rv:{version}.0) Gecko/20100101 Firefox/{version}.0",
        rng.choice(("en-US,en;q=0.5", "de,en-US;q=0.7,en;q=0.3", "fr,fr-FR;q=0.8,en-US;q=0.5,en;q=0.3")),
        "gzip, deflate, br, zstd" if version >= 126 else "gzip, deflate, br",
        proto=proto,
    )


def safari(rng: Random, device: str = "mac") -> Browser:
    version = rng.choice(("27.1", "26.6", "26.6", "18.5"))
    places = {
        "mac": ("Macintosh; Intel Mac OS X 10_15_7", "Safari/605.1.15"),
        "iphone": ("iPhone; CPU iPhone OS 18_7 like Mac OS X", "Mobile/15E148 Safari/604.1"),
    }
    place, end = places[device]
    return Browser(
        "webkit",
        f"Mozilla/5.0 ({place}) {WEBKIT} Version/{version} {end}",
        rng.choice(("en-GB,en;q=0.9", "en-US,en;q=0.9", "de-DE,de;q=0.9")),
        "gzip, deflate, br",
        mobile=device != "mac",
    )


def any_desktop(rng: Random) -> Browser:
    kind = rng.random()
    return chrome(rng) if kind < 0.6 else firefox(rng) if kind < 0.82 else safari(rng)


def any_phone(rng: Random) -> Browser:
    return chrome(rng, "android") if rng.random() < 0.55 else safari(rng, "iphone")


def anybody(rng: Random) -> Browser:
    return any_desktop(rng) if rng.random() < 0.5 else any_phone(rng)


def other_make(rng: Random) -> Browser:
    """One of the browsers that are Chromium under another name."""
    system, version, brand, suffix = rng.choice(
        (
            ("windows", 157, "Microsoft Edge", " Edg/157.0.0.0"),
            ("windows", 155, "Opera", " OPR/139.0.0.0"),
            ("linux", 156, "Brave", ""),
            ("windows", 156, "Vivaldi", ""),
            ("android", 149, "Samsung Internet", ""),
            ("android", 157, "DuckDuckGo", " DuckDuckGo/5"),
            ("windows", 155, "YaBrowser", " YaBrowser/26.9.0.0"),
        )
    )
    made = chrome(rng, system, version, brand, suffix)
    if brand == "Samsung Internet":
        name = made.user_agent.replace(" Chrome/", " SamsungBrowser/31.0 Chrome/")
        return replace(made, user_agent=name)
    return made


def old_browser(rng: Random) -> Browser:
    """What still runs where nothing newer does: the last Chrome and Firefox of Windows 7, ESR releases, a quiet LTS."""
    kind = rng.randrange(4)
    if kind == 0:
        return chrome(rng, "windows", 109)
    if kind == 1:
        return firefox(rng, 115, "Windows NT 6.1; Win64; x64")
    if kind == 2:
        return firefox(rng, 140, "X11; Linux x86_64")
    return replace(firefox(rng, 78, "X11; Linux i686"), strips=("sec-", "priority"), encodings="gzip, deflate, br")


def old_tablet(rng: Random) -> Browser:
    """An iPad that gets no updates: Safari before Sec-Fetch."""
    system, version, end = rng.choice(
        (("12_5_7", "12.1.2", "604.1"), ("15_8", "15.6.6", "604.1"), ("10_3_3", "10.0", "602.1"))
    )
    name = f"Mozilla/5.0 (iPad; CPU OS {system} like Mac OS X) {WEBKIT} Version/{version} Mobile/15E148 Safari/{end}"
    return Browser("webkit", name, "de-de", "br, gzip, deflate", strips=("sec-", "priority"))


def television(rng: Random) -> Browser:
    """A browser in a television set, a stick or a console: Chromium of years ago, few hints."""
    name, strips = rng.choice(
        (
            (
                f"Mozilla/5.0 (SMART-TV; Linux; Tizen 7.0) {KHTML} Version/7.0 Chrome/94.0.4606.31 TV Safari/537.36",
                ("sec-ch",),
            ),
            (f"Mozilla/5.0 (SMART-TV; LINUX; Tizen 4.0) {KHTML} Version/4.0 TV Safari/538.1", ("sec-",)),
            (
                f"Mozilla/5.0 (Web0S; Linux/SmartTV) {KHTML} Chrome/79.0.3945.79 Safari/537.36 WebAppManager",
                ("sec-ch", "sec-fetch-user"),
            ),
            (f"Mozilla/5.0 (PlayStation; PlayStation 5/9.40) {WEBKIT} Version/17.0 Safari/605.1.15", ("sec-",)),
            (
                f"Mozilla/5.0 (Linux; Android 9; AFTSSS) {KHTML} Silk/120.4.1 like Chrome/120.0.6099.230 Safari/537.36",
                ("sec-ch",),
            ),
        )
    )
    return Browser("chromium", name, "en-GB", "gzip, deflate, br", strips=(*strips, "priority"))


def built_in(rng: Random) -> Browser:
    """The browser inside a social app, on Android or on an iPhone."""
    if rng.random() < 0.5:
        app, name = rng.choice(
            (
                ("com.instagram.android", "Instagram 401.0.0.31.86 Android"),
                ("com.facebook.katana", "[FB_IAB/FB4A;FBAV/540.0.0.40.77;]"),
            )
        )
        system = "Linux; Android 16; Pixel 9 Build/BP3A; wv"
        chromium = "Version/4.0 Chrome/156.0.8078.79 Mobile Safari/537.36"
        user_agent = f"Mozilla/5.0 ({system}) {KHTML} {chromium} {name}"
        brands = '"Not:A-Brand";v="8", "Android WebView";v="156", "Chromium";v="156"'
        return Browser(
            "chromium", user_agent, brands=brands, system='"Android"', mobile=True, adds=(("x-requested-with", app),)
        )
    name = rng.choice(
        (
            "Instagram 401.1.0.30.85 (iPhone16,2; iOS 26_1; en_US)",
            "[FBAN/FBIOS;FBAV/540.0.0.39.75;FBDV/iPhone16,2]",
            "LinkedInApp",
        )
    )
    user_agent = f"Mozilla/5.0 (iPhone; CPU iPhone OS 26_1 like Mac OS X) {WEBKIT} Mobile/15E148 {name}"
    return Browser("webkit", user_agent, encodings="gzip, deflate, br", mobile=True)


def pale_moon(rng: Random) -> Browser:
    name = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Goanna/6.8 Firefox/128.0 PaleMoon/33.8.0"
    return Browser("gecko", name, "en-US,en;q=0.5", "gzip, deflate, br", strips=("sec-", "priority", "te"))


def resists_fingerprinting(rng: Random, keeps_cookies: bool = False) -> Browser:
    """Firefox with resistFingerprinting, Mullvad Browser or the Tor Browser: everybody looks the same."""
    name = "Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0"
    return Browser(
        "gecko", name, "en-US,en;q=0.5", adds=(("sec-gpc", "1"),), keeps_cookies=keeps_cookies, sends_referer=False
    )


TEXT_BROWSERS: tuple[tuple[str, Headers], ...] = (
    (
        "lynx",
        [
            ["Host", HOST],
            ["Accept", "text/html, text/plain, text/sgml, text/css, application/xhtml+xml, */*;q=0.01"],
            ["Accept-Encoding", "gzip, compress, bzip2"],
            ["Accept-Language", "en"],
            ["User-Agent", "Lynx/2.9.2 libwww-FM/2.14 SSL-MM/1.4.1 OpenSSL/3.5.1"],
        ],
    ),
    (
        "w3m",
        [
            ["User-Agent", "w3m/0.5.3+git20230121"],
            ["Accept", "text/html, text/*;q=0.5, image/*, application/*"],
            ["Accept-Encoding", "gzip, compress, bzip, bzip2, deflate"],
            ["Accept-Language", "en;q=1.0"],
            ["Host", HOST],
        ],
    ),
    (
        "links",
        [
            ["Host", HOST],
            ["User-Agent", "Links (2.29; Linux x86_64; GNU C 12; text)"],
            ["Accept", "*/*"],
            ["Accept-Language", "en,*;q=0.1"],
            ["Accept-Encoding", "gzip, deflate, br, zstd, bzip2, lzma, lzma2, lzip"],
            ["Accept-Charset", "us-ascii,ISO-8859-1,utf-8"],
            ["Connection", "keep-alive"],
        ],
    ),
    (
        "dillo",
        [
            ["Host", HOST],
            ["User-Agent", "Dillo/3.2.0"],
            ["Accept", "text/*,image/*,*/*;q=0.2"],
            ["Accept-Encoding", "gzip, deflate"],
            ["Connection", "keep-alive"],
        ],
    ),
)
"""Browsers that show text only, with what they send."""

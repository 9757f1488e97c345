"""Programs that are no browsers, as their headers: players, apps, speakers, podcast apps, readers, honest machines."""

from __future__ import annotations

from random import Random

from tests.listeners.lines import HOST, Headers

ANDROID_APP = "SoundGarden/8.4.1 (Android 16; Pixel 9) okhttp/5.3.2"
ANDROID_PLAYER = "SoundGarden/8.4.1 (Linux;Android 16) AndroidXMedia3/1.9.1"
IOS_APP = "HollowReed/512 CFNetwork/3860.100.1 Darwin/25.0.0"
CORE_MEDIA = "AppleCoreMedia/1.0.0.24A335 (iPhone; U; CPU OS 27_0 like Mac OS X; en_us)"
SONOS = "Linux UPnP/1.0 Sonos/86.4-66270 (ZPS38)"
ALEXA = "AlexaMediaPlayer/2.1.4676.0 (Linux;Android 9) ExoPlayerLib/2.18.1"
CAST = (
    "Mozilla/5.0 (X11; Linux armv7l) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 "
    "CrKey/1.56.500000 DeviceType/SmartSpeaker"
)


def core_media(
    rng: Random,
    byte_range: str | None = None,
    cookie: str | None = None,
    name: str = CORE_MEDIA,
    playback: str = "",
) -> Headers:
    """Apple's player: another process, so another name in the middle of a visit with Safari or an app."""
    rows = [
        ["accept", "*/*"],
        ["x-playback-session-id", playback or f"{rng.getrandbits(64):X}"],
        *([["range", byte_range]] if byte_range else []),
        ["user-agent", name],
        ["accept-language", "en-us"],
        ["accept-encoding", "identity" if byte_range else "gzip"],
    ]
    return [*rows, *([["cookie", cookie]] if cookie else [])]


def mpv(byte_range: str = "bytes=0-") -> Headers:
    return [
        ["User-Agent", "libmpv"],
        ["Accept", "*/*"],
        ["Range", byte_range],
        ["Connection", "close"],
        ["Host", HOST],
        ["Icy-MetaData", "1"],
    ]


def ffmpeg_player(name: str, byte_range: str = "bytes=0-") -> Headers:
    """A player on libavformat: mpd, moc, cmus, many a desktop app."""
    return [
        ["User-Agent", name],
        ["Accept", "*/*"],
        ["Range", byte_range],
        ["Connection", "keep-alive"],
        ["Host", HOST],
        ["Icy-MetaData", "1"],
    ]


def vlc(byte_range: str | None = "bytes=0-", cookie: str | None = None) -> Headers:
    rows = [["Host", HOST], ["Accept", "*/*"], ["Accept-Language", "en_US"], ["User-Agent", "VLC/3.0.24 LibVLC/3.0.24"]]
    if cookie:
        rows.append(["Cookie", cookie])
    if byte_range is None:
        return [*rows, ["Accept-Encoding", "deflate, gzip"], ["Cache-Control", "no-cache"]]
    return [*rows, ["Range", byte_range]]


def app(name: str, token: str | None = None, *, encoding: str = "gzip", byte_range: str | None = None) -> Headers:
    """An app built on its system's library: no cookies, no Referer, a token when somebody is signed in."""
    return [
        *([["authorization", f"Bearer {token}"]] if token else []),
        *([["range", byte_range]] if byte_range else []),
        ["accept-encoding", encoding],
        ["user-agent", name],
    ]


def device(name: str, byte_range: str | None = "bytes=0-") -> Headers:
    rows = [["user-agent", name], ["accept", "*/*"]]
    return [*rows, *([["range", byte_range], ["icy-metadata", "1"]] if byte_range else []), ["connection", "close"]]


def reader(name: str, etag: str | None = None, since: str | None = None) -> Headers:
    """A feed reader. Without `etag` and `since` it asks for all of it again."""
    return [
        ["Host", HOST],
        ["User-Agent", name],
        ["Accept", "application/rss+xml, application/rdf+xml;q=0.8, application/atom+xml;q=0.6, application/xml;q=0.4"],
        ["Accept-Encoding", "gzip"],
        *([["If-None-Match", etag]] if etag else []),
        *([["If-Modified-Since", since]] if since else []),
        ["Connection", "keep-alive"],
    ]


def machine(name: str, accept: str = "*/*", **more: str) -> Headers:
    """A server that says who it is."""
    return [
        ["Host", HOST],
        ["Connection", "keep-alive"],
        ["Accept", accept],
        ["User-Agent", name],
        ["Accept-Encoding", "gzip, deflate, br"],
        *([key.replace("_", "-"), value] for key, value in more.items()),
    ]

"""Players, apps, speakers, cars and podcast apps, one sitting each."""

from __future__ import annotations

import math
from random import Random

from tests.listeners.apps import (
    ALEXA,
    ANDROID_APP,
    ANDROID_PLAYER,
    CAST,
    IOS_APP,
    SONOS,
    app,
    core_media,
    device,
    ffmpeg_player,
    mpv,
    reader,
    vlc,
)
from tests.listeners.lines import Headers, Line, Sitting, carrier, home, merged
from tests.listeners.platform import (
    BYTES_PER_S,
    SEGMENT_S,
    Platform,
    album_of,
    length_s,
    popular,
    tracks_of,
)
from tests.listeners.visits import heard_s, pause_s

SHOW_BYTES_PER_S = 12_000


def _whole(
    sitting: Sitting,
    t: float,
    path: str,
    headers: Headers,
    track: int,
    *,
    status: int = 206,
    lane_s: float | None = None,
) -> float:
    length = length_s(track)
    return sitting.ask(t, path, headers, status=status, size=length * BYTES_PER_S, audio_s=length, dur=lane_s)


# -- players of files --------------------------------------------------------------------------------------


def mpv_with_files(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """A list of addresses in mpv: every file whole at once, some skipped, 14 in an hour at most."""
    if "media" in site.elsewhere:
        return []
    sitting, t = Sitting(rng, proto="h1"), start_s
    for _ in range(rng.randint(4, 14)):
        track = popular(rng)
        _whole(sitting, t, site.at(site.file, track), mpv(), track)
        t += length_s(track) if rng.random() < 0.7 else rng.uniform(3, 60)
    return sitting.lines


def mpv_with_segments(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """HLS in mpv: the playlist twice, then all segments over two connections that leap-frog, in under a second."""
    if "media" in site.elsewhere or not site.segment:
        return []
    sitting, t = Sitting(rng, proto="h1"), start_s
    for _ in range(rng.randint(2, 6)):
        track = popular(rng)
        first = site.at(site.master or site.variant, track)
        sitting.ask(t, first, mpv(), size=300)
        sitting.ask(t + 0.018, first, mpv(), size=300)
        sitting.ask(t + 0.02, site.at(site.variant, track), mpv(), status=206, size=1500)
        lanes, length = [t + 0.03, t + 0.04], length_s(track)
        for n in range(math.ceil(length / SEGMENT_S)):
            part_s = min(SEGMENT_S, length - n * SEGMENT_S)
            path = site.at(site.segment, track, n)
            at = lanes[n % 2]
            lanes[n % 2] = sitting.ask(at, path, mpv(), status=206, size=part_s * BYTES_PER_S, audio_s=part_s) + 0.002
        t += heard_s(rng, length) + 1
    return sitting.lines


def vlc_with_a_list(rng: Random, start_s: float, site: Platform) -> list[Line]:
    if "media" in site.elsewhere:
        return []
    sitting, t = Sitting(rng, proto="h1"), start_s
    for _ in range(rng.randint(3, 12)):
        track = popular(rng)
        _whole(sitting, t, site.at(site.file, track), vlc(), track)
        if rng.random() < 0.3:
            offset = int(length_s(track) * BYTES_PER_S * rng.uniform(0.2, 0.9))
            rest = length_s(track) * BYTES_PER_S - offset
            sitting.ask(
                t + 20,
                site.at(site.file, track),
                vlc(f"bytes={offset}-"),
                status=206,
                size=rest,
                audio_s=rest / BYTES_PER_S,
            )
        t += length_s(track) if rng.random() < 0.8 else rng.uniform(3, 60)
    return sitting.lines


def vlc_with_segments(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """HLS in VLC: six segments ahead, then one each ten seconds."""
    if "media" in site.elsewhere or not site.segment:
        return []
    sitting, t = Sitting(rng, proto="h1"), start_s
    track = popular(rng)
    cookie = f"sid={rng.getrandbits(64):016x}"
    sitting.ask(t, site.at(site.master or site.variant, track), vlc(), size=300)
    sitting.ask(t + 0.02, site.at(site.variant, track), vlc(None, cookie), size=1500)
    length, at = length_s(track), t + 0.03
    for n in range(math.ceil(length / SEGMENT_S)):
        at = max(at, t + (n - 6) * SEGMENT_S)
        part_s = min(SEGMENT_S, length - n * SEGMENT_S)
        at = sitting.ask(
            at, site.at(site.segment, track, n), vlc(None, cookie), size=part_s * BYTES_PER_S, audio_s=part_s
        )
    return sitting.lines


def other_desktop_players(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """mpd, foobar2000, Winamp and the like: an evening of whole files in a list."""
    if "media" in site.elsewhere:
        return []
    sitting, t = Sitting(rng, proto="h1"), start_s
    headers = rng.choice(
        (
            ffmpeg_player("Music Player Daemon 0.24.4"),
            ffmpeg_player("Lavf/61.7.100"),
            device("foobar2000/2.1", "bytes=0-"),
            device("WinampMPEG/5.9, Ultravox/2.1", None),
            device("Music Player Daemon 0.23.16", None),
        )
    )
    for track in tracks_of(album_of(popular(rng))) + tracks_of(album_of(popular(rng))):
        _whole(sitting, t, site.at(site.file, track), headers, track, status=200)
        t += length_s(track)
    return sitting.lines


def gapless_player_that_fetches_ahead(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Whole albums, each next track fetched while the last one still plays; two answers overlap."""
    if "media" in site.elsewhere:
        return []
    sitting, t = Sitting(rng, auth=f"user:{rng.randrange(1, 9000)}" if rng.random() < 0.5 else None), start_s
    for track in tracks_of(album_of(popular(rng))):
        path, length = site.at(site.file, track), length_s(track)
        headers = [["user-agent", ANDROID_PLAYER], ["accept-encoding", "identity"], ["range", "bytes=0-"]]
        _whole(sitting, t - rng.uniform(15, 40), path, headers, track, lane_s=length * 0.9)
        t += length
    return sitting.lines


# -- native apps -------------------------------------------------------------------------------------------


def _app_sitting(rng: Random, start_s: float, site: Platform, ios: bool, auth: str | None) -> list[Line]:
    mobile = rng.random() < 0.5
    sitting = Sitting(rng, carrier(rng, 1)[0] if mobile else home(rng), auth=auth, mbps=12 if mobile else 40)
    token = f"{rng.getrandbits(64):x}" if auth else None
    calls = app(IOS_APP if ios else ANDROID_APP, token, encoding="gzip, deflate, br" if ios else "gzip")
    plays = core_media(rng) if ios else app(ANDROID_PLAYER, token, encoding="identity")
    seen = "api" not in site.elsewhere
    t = start_s
    if seen:
        t = sitting.ask(t, site.me, calls, size=400)
        t = sitting.ask(t + 0.1, site.at(site.about_artist, 7), calls, size=5000)
    if "artwork" not in site.elsewhere:
        for _ in range(12):
            sitting.ask(t + rng.uniform(0, 0.5), site.at(site.cover, popular(rng), 300), calls, size=30_000)
    if "media" in site.elsewhere:
        return sitting.lines
    t += rng.uniform(2, 10)
    for track in (tracks_of(album_of(popular(rng))) + tracks_of(album_of(popular(rng))))[: rng.randint(3, 10)]:
        length = length_s(track)
        heard = heard_s(rng, length)
        if site.stream and seen:
            t = sitting.ask(t, site.at(site.stream, track), calls, size=700)
        if site.segment:
            sitting.ask(t, site.at(site.variant, track), plays, size=1500)
            at = t + 0.1
            for n in range(math.ceil(length / SEGMENT_S)):
                at = max(at, t + n * SEGMENT_S - (75 if ios else 50))
                if at > t + heard:
                    break
                part_s = min(SEGMENT_S, length - n * SEGMENT_S)
                path = site.at(site.segment, track, n)
                at = sitting.ask(at, path, plays, size=part_s * BYTES_PER_S, audio_s=part_s) + 0.02
        else:
            headers = core_media(rng, "bytes=0-1") if ios else [*plays, ["range", "bytes=0-"]]
            path = site.at(site.file, track)
            if ios:
                sitting.ask(t, path, headers, status=206, size=2)
                headers = core_media(rng, f"bytes=0-{int(length * BYTES_PER_S) - 1}")
            _whole(sitting, t + 0.1, path, headers, track)
        if site.played and seen:
            sitting.ask(t + heard, site.played, calls, status=204, method="POST")
        t += heard + rng.uniform(0.3, 5)
    return sitting.lines


def app_on_an_iphone(rng: Random, start_s: float, site: Platform) -> list[Line]:
    return _app_sitting(rng, start_s, site, True, f"user:{rng.randrange(1, 9000)}")


def app_on_android(rng: Random, start_s: float, site: Platform) -> list[Line]:
    return _app_sitting(rng, start_s, site, False, f"premium:{rng.randrange(1, 9000)}")


def apps_of_guests(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """The same apps, nobody signed in: no cookie, no token, no Referer, no page."""
    return _app_sitting(rng, start_s, site, rng.random() < 0.5, None)


def offline_download_that_was_paid_for(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """75 tracks over four lanes as fast as the line goes; only the account tells that they may."""
    sitting = Sitting(rng, auth=f"premium:{rng.randrange(1, 9000)}", mbps=100)
    token = f"{rng.getrandbits(64):x}"
    tracks: list[int] = []
    while len(tracks) < 75:
        tracks += tracks_of(album_of(popular(rng)))
    lanes = [start_s] * 4
    for track in tracks[:75]:
        lane = lanes.index(min(lanes))
        t = lanes[lane]
        if site.download and "api" not in site.elsewhere:
            t = sitting.ask(t, site.at(site.download, track), app(ANDROID_APP, token), size=800)
        if "artwork" not in site.elsewhere:
            sitting.ask(t, site.at(site.cover, track, 500), app(ANDROID_APP), size=52_000)
        if "media" not in site.elsewhere:
            path = site.at(site.file, track)
            path += f"{'&' if '?' in path else '?'}sig={rng.getrandbits(48):x}"
            t = _whole(sitting, t + 0.02, path, app(ANDROID_APP, token, encoding="identity"), track, status=200)
        lanes[lane] = t + 0.01
    return sitting.lines


def car_with_forty_resumes(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Tunnels cut the answers; the player asks again from where it was, often from another address. Ten tracks."""
    if "media" in site.elsewhere:
        return []
    pool = carrier(rng, 6)
    sitting = Sitting(rng, pool[0], auth=f"premium:{rng.randrange(1, 9000)}" if rng.random() < 0.5 else None, mbps=8)
    t = start_s
    for _ in range(10):
        track = popular(rng)
        total = int(length_s(track) * BYTES_PER_S)
        offset = 0
        for cut in [*sorted(rng.randrange(1, total) for _ in range(4)), total]:
            headers = [["user-agent", ANDROID_PLAYER], ["accept-encoding", "identity"], ["range", f"bytes={offset}-"]]
            size = cut - offset
            sitting.ask(
                t + offset / BYTES_PER_S,
                site.at(site.file, track),
                headers,
                status=206,
                size=size,
                audio_s=size / BYTES_PER_S,
            )
            offset = cut
            if rng.random() < 0.35:
                sitting.ip = rng.choice(pool)
        t += length_s(track)
    return sitting.lines


# -- speakers ----------------------------------------------------------------------------------------------


def _speaker(
    rng: Random, start_s: float, site: Platform, name: str, ip: str, albums: int, auth: str | None
) -> list[Line]:
    sitting, t = Sitting(rng, ip, proto="h1", auth=auth), start_s
    for _ in range(albums):
        for track in tracks_of(album_of(popular(rng))):
            path = site.at(site.file, track)
            if name == SONOS:
                sitting.ask(t - 9, path, device(name, None), method="HEAD")
            _whole(sitting, t - 8, path, device(name), track)
            if "artwork" not in site.elsewhere:
                sitting.ask(t - 6, site.at(site.cover, track, 500), device(name, None), size=52_000)
            t += length_s(track)
    return sitting.lines


def sonos_that_plays_albums(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Three albums in the order of their ids, the next track asked for before the last one ends."""
    if "media" in site.elsewhere:
        return []
    return _speaker(
        rng, start_s, site, SONOS, home(rng), 3, f"premium:{rng.randrange(1, 9000)}" if rng.random() < 0.5 else None
    )


def family_of_speakers(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Four speakers of three makes in one household, each with its own album."""
    if "media" in site.elsewhere:
        return []
    ip = home(rng)
    names = (SONOS, SONOS, ALEXA, CAST)
    auth = f"premium:{rng.randrange(1, 9000)}" if rng.random() < 0.5 else None
    return merged(*(_speaker(rng, start_s + rng.uniform(0, 900), site, name, ip, 1, auth) for name in names))


# -- podcasts ----------------------------------------------------------------------------------------------

PODCAST_APPS = (
    ("AntennaPod/3.9.0", "AntennaPod/3.9.0"),
    ("Podcasts/4025.1 CFNetwork/3860.100.1 Darwin/25.0.0", ""),
    ("Overcast/3.0 (+http://overcast.fm/; iOS podcast app)", "Overcast/3.0 (+http://overcast.fm/; iOS podcast app)"),
    (
        "PodcastAddict/v5 (+https://podcastaddict.com/; Android podcast app)",
        "PodcastAddict/v5 (+https://podcastaddict.com/; Android podcast app)",
    ),
    ("PocketCasts/1.0 (Pocket Casts Feed Parser; +http://pocketcasts.com/)", "Pocket Casts"),
    ("gPodder/3.11.4 (+http://gpodder.org/) Linux", "gPodder/3.11.4 (+http://gpodder.org/) Linux"),
    ("Castro 2025.8/1700", "Castro 2025.8/1700"),
)
"""How they ask for feeds, and for sound; "" where the system's player does."""


def podcast_backlog(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """A new subscription: 60 episodes at line rate, two at a time, some asked for their first bytes before."""
    if not site.feed or "media" in site.elsewhere:
        return []
    name, plays = rng.choice(PODCAST_APPS)
    sitting, show = Sitting(rng, proto="h1", mbps=80), rng.randrange(1, 48)
    t = sitting.ask(start_s, site.at(site.feed, show), reader(name), size=150_000)
    if "artwork" not in site.elsewhere:
        sitting.ask(t + 0.2, site.at(site.cover, show, 500), app(name), size=90_000)
    lanes = [t + 1, t + 1.2]
    for episode in range(60):
        path, length = site.at(site.episode, show, episode), 1200.0 + episode * 7919 % 3000
        lane = lanes.index(min(lanes))
        at = lanes[lane]
        if not plays:
            at = sitting.ask(at, path, core_media(rng, "bytes=0-1"), status=206, size=2)
        headers = (
            core_media(rng, f"bytes=0-{int(length * SHOW_BYTES_PER_S) - 1}")
            if not plays
            else app(plays, encoding="identity")
        )
        lanes[lane] = sitting.ask(
            at, path, headers, status=206 if not plays else 200, size=length * SHOW_BYTES_PER_S, audio_s=length
        ) + rng.uniform(0.05, 0.6)
    return sitting.lines


def podcast_app_with_many_subscriptions(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """A refresh of 40 feeds at once, most of them unchanged, and three new episodes; again an hour later."""
    if not site.feed:
        return []
    name, plays = rng.choice(PODCAST_APPS)
    sitting, shows = Sitting(rng, proto="h1"), rng.sample(range(1, 200), 40)
    for turn in range(2):
        t = start_s + turn * 3600
        for show in shows:
            new = rng.random() < 0.07
            etag = f'"{show}"' if rng.random() < 0.9 else None
            status = 304 if etag and not new else 200
            sitting.ask(t + rng.uniform(0, 4), site.at(site.feed, show), reader(name, etag), status=status, size=90_000)
        for episode in range(3 if "media" not in site.elsewhere else 0):
            headers = app(plays, encoding="identity") if plays else core_media(rng, "bytes=0-1")
            path = site.at(site.episode, shows[episode], 0)
            size = 20_000_000 if plays else 2
            t = sitting.ask(
                t + 6, path, headers, status=200 if plays else 206, size=size, audio_s=size / SHOW_BYTES_PER_S
            )
    return sitting.lines


def podcast_while_walking(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """One episode streamed on the way: paused, resumed at odd offsets, from home and from the carrier."""
    if not site.feed or "media" in site.elsewhere:
        return []
    name, plays = rng.choice(PODCAST_APPS)
    sitting, show = Sitting(rng, proto="h1", mbps=12), rng.randrange(1, 48)
    pool = [sitting.ip, *carrier(rng, 3)]
    t = sitting.ask(start_s, site.at(site.feed, show), reader(name, '"x"'), status=304)
    path, offset = site.at(site.episode, show, 3), 0
    for _ in range(9):
        headers = (
            app(plays, encoding="identity", byte_range=f"bytes={offset}-")
            if plays
            else core_media(rng, f"bytes={offset}-")
        )
        size = rng.randrange(400_000, 4_000_000)
        sitting.ask(t, path, headers, status=206, size=size, audio_s=size / SHOW_BYTES_PER_S)
        offset += size
        t += size / SHOW_BYTES_PER_S + pause_s(rng, 30)
        sitting.ip = rng.choice(pool)
    return sitting.lines

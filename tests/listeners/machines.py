"""Honest machines that serve listeners: feed readers, directories, monitors, previews, the Fediverse."""

from __future__ import annotations

from random import Random

from tests.listeners.apps import machine, reader
from tests.listeners.lines import HOST, Line, Sitting, home, hoster
from tests.listeners.platform import Platform, popular, unpopular


def feed_readers_that_ask_well(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Readers on people's own servers and services for many: conditional, every half hour, a few feeds each."""
    if not site.feed:
        return []
    lines: list[Line] = []
    for name in (
        "Mozilla/5.0 (compatible; Miniflux/2.2.13; +https://miniflux.app)",
        "FreshRSS/1.27 (Linux; https://freshrss.org)",
        "Feedly/1.0 (+https://feedly.com/poller.html; 412 subscribers; like FeedFetcher-Google)",
        "Feedbin feed-id:1234 - 87 subscribers",
        "NetNewsWire (RSS Reader; https://netnewswire.com/)",
        "Tiny Tiny RSS/25.05 (https://tt-rss.org/)",
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.3.0",
    ):
        sitting = Sitting(rng, hoster(rng), proto="h1")
        shows = rng.sample(range(1, 200), rng.randint(3, 12))
        for turn in range(8):
            for show in shows:
                new = rng.random() < 0.03
                t = start_s + turn * 1800 + rng.uniform(0, 60)
                headers = reader(name, f'"{show}"', "Sat, 21 Nov 2026 08:00:00 GMT")
                sitting.ask(t, site.at(site.feed, show), headers, status=200 if new else 304, size=90_000)
        lines += sitting.lines
    return lines


def private_readers_that_ask_badly(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Scripts of single people: the whole feed every 15 minutes, no condition, names of libraries, from home."""
    if not site.feed:
        return []
    lines: list[Line] = []
    for name in (
        "feedparser/6.0.11 +https://github.com/kurtmckee/feedparser/",
        "python-requests/2.32.5",
        "curl/8.15.0",
        "Go-http-client/2.0",
        "",
    ):
        sitting = Sitting(rng, home(rng), proto="h1")
        shows = rng.sample(range(1, 200), rng.randint(1, 5))
        headers = [
            row for row in reader(name) if row[0] not in ("Accept", "User-Agent") or (row[0] == "User-Agent" and name)
        ]
        for turn in range(24):
            for show in shows:
                sitting.ask(start_s + turn * 900 + rng.uniform(0, 5), site.at(site.feed, show), headers, size=90_000)
        lines += sitting.lines
    return lines


def podcast_directories(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Directories poll all feeds each two hours, conditionally, and look at new pictures and new episodes."""
    if not site.feed:
        return []
    lines: list[Line] = []
    for name in (
        "Overcast/3.0 (+http://overcast.fm/; 118 subscribers; feed-id=88121)",
        "PocketCasts/1.0 (Pocket Casts Feed Parser; +http://pocketcasts.com/)",
        "iTMS",
        "Spotify/1.0",
        "Podcastindex.org/v1.0 (https://podcastindex.org)",
    ):
        sitting, t = Sitting(rng, hoster(rng), proto="h1"), start_s + rng.uniform(0, 600)
        for turn in range(2):
            at = t + turn * 7200
            for show in range(1, 49):
                new = rng.random() < 0.04
                path = site.at(site.feed, show)
                sitting.ask(at, path, reader(name, f'"p{show}"'), status=200 if new else 304, size=90_000)
                if new and "artwork" not in site.elsewhere:
                    sitting.ask(at + 0.5, site.at(site.cover, show, 500), machine(name), size=90_000)
                if new and "media" not in site.elsewhere:
                    sitting.ask(at + 0.8, site.at(site.episode, show, 0), machine(name), method="HEAD")
                at += rng.uniform(0.2, 1.5)
        lines += sitting.lines
    return lines


def uptime_monitors(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Several services look every minute or five whether the site is up, from a few places each."""
    lines: list[Line] = []
    for name, every_s, method in (
        ("Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)", 300, "HEAD"),
        ("Better Stack Better Uptime Bot Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)", 180, "GET"),
        ("Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)", 60, "GET"),
        ("Blackbox Exporter/0.25.0", 30, "GET"),
    ):
        sitting, places = Sitting(rng, proto="h1"), [hoster(rng) for _ in range(3)]
        for turn in range(int(5400 / every_s)):
            sitting.ip = rng.choice(places)
            sitting.ask(start_s + turn * every_s, site.home, machine(name), size=15_000, method=method)
        lines += sitting.lines
    return lines


def link_previews(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Sixty links shared in chats within an hour: the page and its picture, sometimes a card of the player."""
    lines: list[Line] = []
    for _ in range(60):
        name = rng.choice(
            (
                "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
                "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
                "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
                "TelegramBot (like TwitterBot)",
                "WhatsApp/2.26.40 A",
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 (KHTML, like Gecko) Version/9.0.1 "
                "Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0",
            )
        )
        sitting, track = Sitting(rng, home(rng) if "Facebot" in name else hoster(rng), proto="h1"), popular(rng)
        t = sitting.ask(start_s + rng.uniform(0, 3600), site.at(site.track, track), machine(name), size=15_000)
        if "artwork" not in site.elsewhere:
            sitting.ask(t + 0.2, site.at(site.cover, track, 500), machine(name), size=52_000)
        if rng.random() < 0.4 and site.oembed:
            sitting.ask(t + 0.1, site.at(site.oembed, track), machine(name), size=900)
        lines += sitting.lines
    return lines


def fediverse_after_a_post(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """A link is posted: 150 servers make their card of it within two minutes, each from a page and a picture."""
    lines, track = [], popular(rng)
    for _ in range(150):
        name = rng.choice(
            (
                "Mastodon/4.5.0 (http.rb/5.3.1; +https://social.example/)",
                "http.rb/5.2.0 (Mastodon/4.3.0; +https://tiny.example/)",
                "Misskey/2026.1.0 (https://misskey.example)",
                "Pleroma 2.9.1; https://pleroma.example <admin@pleroma.example>",
                "Friendica 'Interrupted Fern' 2025.07; https://friendica.example",
            )
        )
        sitting = Sitting(rng, hoster(rng), proto="h1")
        path = site.at(site.track, track)
        t = sitting.ask(start_s + rng.expovariate(1 / 30), path, machine(name, "text/html"), size=15_000)
        if "artwork" not in site.elsewhere:
            sitting.ask(t + 0.3, site.at(site.cover, track, 500), machine(name), size=52_000)
        lines += sitting.lines
    return lines


def home_automation(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """A house that shows what is playing: a library's name, every 20 s, for hours, with the cover when it changes."""
    if not site.now or "api" in site.elsewhere:
        return []
    sitting = Sitting(rng, home(rng), proto="h1")
    name = "HomeAssistant/2026.11.1 aiohttp/3.14.1 Python/3.13"
    headers = [["Host", HOST], ["Accept", "*/*"], ["Accept-Encoding", "gzip, deflate, br, zstd"], ["User-Agent", name]]
    for turn in range(2 * 180):
        sitting.ask(start_s + turn * 20, site.now, headers, size=400)
        if turn % 12 == 0 and "artwork" not in site.elsewhere:
            sitting.ask(start_s + turn * 20 + 0.3, site.at(site.cover, popular(rng), 300), headers, size=30_000)
    return sitting.lines


def search_engine_that_is_verified(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Applebot from the network that its operator publishes: pages, parts and pictures, at its own pace."""
    name = (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/13.1.1 "
        "Safari/605.1.15 (Applebot/0.1; +http://www.apple.com/go/applebot)"
    )
    sitting, t = Sitting(rng, "17.241.75.1"), start_s
    sitting.ask(t, "/robots.txt", machine(name), size=800)
    for _ in range(200):
        t += rng.expovariate(1 / 6)
        sitting.ip = f"17.241.{rng.randrange(64, 80)}.{rng.randrange(1, 255)}"
        track = unpopular(rng)
        path = site.at_one_of(rng, track, site.track, site.track, site.artist, site.album)
        sitting.ask(
            t,
            path,
            machine(name, "text/html,application/xhtml+xml"),
            size=15_000,
            status=404 if track % 9 == 0 else 200,
        )
        if rng.random() < 0.15 and "static" not in site.elsewhere:
            sitting.ask(t + 2, rng.choice(site.static)[0], machine(name), size=40_000)
    return sitting.lines

"""People with a browser, one sitting each. Every function is a persona: (rng, start_s, site) -> lines."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from tests.listeners.apps import core_media, mpv
from tests.listeners.browsers import (
    TEXT_BROWSERS,
    Browser,
    any_desktop,
    any_phone,
    built_in,
    chrome,
    firefox,
    old_browser,
    old_tablet,
    other_make,
    pale_moon,
    resists_fingerprinting,
    safari,
    television,
)
from tests.listeners.lines import HOST, ORIGIN, Line, exit_node, home, shared, v6
from tests.listeners.platform import (
    ARTISTS,
    BYTES_PER_S,
    Platform,
    album_of,
    artist_of,
    length_s,
    popular,
    size_of,
    tracks_of,
    unpopular,
)
from tests.listeners.visits import SEARCH_ENGINE, Visit, pause_s


def _user(rng: Random, share: float = 0.4) -> str | None:
    return f"user:{rng.randrange(1, 9000)}" if rng.random() < share else None


def _usual(rng: Random, site: Platform, browser: Browser, start_s: float, most: int = 7) -> list[Line]:
    visit = Visit(rng, site, browser, auth=_user(rng), returning=rng.random() < 0.42)
    visit.listen(start_s, rng.randint(1, most))
    return visit.lines


# -- usual browsers ----------------------------------------------------------------------------------------


def chrome_on_a_desktop(rng: Random, start_s: float, site: Platform) -> list[Line]:
    return _usual(rng, site, chrome(rng), start_s)


def firefox_on_a_desktop(rng: Random, start_s: float, site: Platform) -> list[Line]:
    return _usual(rng, site, firefox(rng), start_s)


def safari_on_a_mac(rng: Random, start_s: float, site: Platform) -> list[Line]:
    return _usual(rng, site, safari(rng), start_s)


def safari_on_an_iphone(rng: Random, start_s: float, site: Platform) -> list[Line]:
    return _usual(rng, site, safari(rng, "iphone"), start_s, 4)


def chrome_on_android(rng: Random, start_s: float, site: Platform) -> list[Line]:
    return _usual(rng, site, chrome(rng, "android"), start_s, 4)


def browsers_of_other_makes(rng: Random, start_s: float, site: Platform) -> list[Line]:
    return _usual(rng, site, other_make(rng), start_s)


def old_browsers(rng: Random, start_s: float, site: Platform) -> list[Line]:
    return _usual(rng, site, old_browser(rng), start_s)


def old_tablets(rng: Random, start_s: float, site: Platform) -> list[Line]:
    return _usual(rng, site, old_tablet(rng), start_s, 4)


def televisions(rng: Random, start_s: float, site: Platform) -> list[Line]:
    visit = Visit(rng, site, television(rng))
    visit.listen(start_s, rng.randint(2, 8), way="file", think_s=25)
    return visit.lines


def browsers_inside_apps(rng: Random, start_s: float, site: Platform) -> list[Line]:
    browser = built_in(rng)
    visit = Visit(rng, site, browser, mbps=12)
    track = popular(rng)
    here = site.at(site.track, track)
    t = visit.page(start_s, here, visit.covers(4), referer="https://l.instagram.com/", site="cross-site")
    visit.call(t, site.me, here, usual=300)
    visit.play(t + 3, track, here)
    return visit.lines


def pale_moon_on_linux(rng: Random, start_s: float, site: Platform) -> list[Line]:
    return _usual(rng, site, pale_moon(rng), start_s)


# -- many tracks -------------------------------------------------------------------------------------------


def skips_without_an_account(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """15 tracks in 20 minutes; the player has fetched each whole before it is skipped."""
    visit = Visit(rng, site, chrome(rng), returning=rng.random() < 0.5)
    visit.listen(start_s, 15, way="hls.js", think_s=3, heard=[rng.uniform(5, 140) for _ in range(15)])
    return visit.lines


def skips_through_files_without_an_account(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """The same with a Firefox that fetches whole files."""
    visit = Visit(rng, site, firefox(rng), returning=rng.random() < 0.5)
    visit.listen(start_s, 15, way="file", think_s=3, heard=[rng.uniform(5, 140) for _ in range(15)])
    return visit.lines


def dj_who_is_signed_in(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """43 tracks in ten minutes at worst, a few seconds of each."""
    visit = Visit(rng, site, chrome(rng), auth=f"user:{rng.randrange(1, 9000)}", returning=True)
    visit.listen(start_s, 45, way="hls.js", think_s=2.5, heard=[rng.uniform(4, 22) for _ in range(45)])
    return visit.lines


def hears_albums_in_order(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Two whole albums, not signed in: neighbours in the catalogue, one after the other."""
    visit = Visit(rng, site, any_desktop(rng))
    t = start_s
    for album in (album_of(popular(rng)), album_of(popular(rng))):
        here = site.at(site.album, album)
        t = visit.page(t, here, visit.covers(1, 500))
        for track in tracks_of(album):
            t = visit.play(t + 0.4, track, here, 999.0, visit.usual_way())
        t += pause_s(rng)
    return visit.lines


def radio_in_an_office_tab(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """A tab that plays one track after the other for eight hours, as regular as a machine, never a click."""
    visit = Visit(rng, site, chrome(rng), shared(rng), auth=f"premium:{rng.randrange(1, 9000)}", returning=True)
    visit.listen(start_s, 125, way="file", think_s=0.5, heard=[999.0] * 125)
    return visit.lines


def cafe_tab_without_an_account(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """A cafe whose tablet plays a list for an hour and a half; nobody has signed in."""
    visit = Visit(rng, site, safari(rng, "iphone") if rng.random() < 0.5 else chrome(rng, "android"), shared(rng))
    visit.listen(start_s, 24, think_s=0.5, heard=[999.0] * 24)
    return visit.lines


def radio_stream_of_eight_hours(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """One answer that lasts eight hours, and what is playing asked every 15 s."""
    if not site.radio:
        return []
    visit = Visit(rng, site, rng.choice((chrome(rng), firefox(rng))))
    here, hours_s = site.radio_page, 8 * 3600.0
    t = visit.page(start_s, here, visit.covers(1))
    if "media" not in site.elsewhere:
        headers = visit.browser.headers("audio", referer=ORIGIN + here, cookie=visit.cookie)
        visit.ask(t + 0.4, site.radio, headers, size=hours_s * BYTES_PER_S, audio_s=hours_s, dur=hours_s)
    for poll in range(int(hours_s / 15)):
        visit.call(t + poll * 15 + rng.gauss(0, 0.05), site.now, here, usual=400)
    return visit.lines


def audiobook_of_a_hundred_ranges(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """A long file on a phone: Safari's player asks for closed ranges as it goes, jumps back, comes back later."""
    if "media" in site.elsewhere:
        return []
    visit = Visit(rng, site, safari(rng, "iphone"))
    track = popular(rng)
    here = site.at(site.track, track)
    t = visit.page(start_s, here, visit.covers(1))
    browser = safari(rng)
    path, offset, total = site.at(site.file, track), 0, 180_000_000
    for number in range(100):
        size = rng.choice((1_048_576, 1_048_576, 2_097_152, 524_288))
        byte_range = "bytes=0-1" if number == 0 else f"bytes={offset}-{offset + size - 1}"
        headers = (
            core_media(rng, byte_range, visit.cookie)
            if number % 10
            else browser.headers("audio", referer=ORIGIN + here, cookie=visit.cookie, byte_range=byte_range)
        )
        t = visit.ask(t, path, headers, status=206, size=2 if number == 0 else size, audio_s=size / 8000)
        t += rng.uniform(0.02, 0.2) if number < 12 else rng.uniform(5, 90)
        offset = (offset + size if number else 0) % total
        if rng.random() < 0.06:
            offset = max(0, offset - 3_000_000)
    return visit.lines


def files_that_wait_for_the_listener(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Lossless files: the browser stops reading when it has enough, so each answer lasts as long as the music."""
    visit = Visit(rng, site, rng.choice((chrome(rng), firefox(rng))))
    visit.listen(start_s, rng.randint(3, 9), way="slow")
    return visit.lines


def pages_with_twelve_players(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Pages with an <audio preload="metadata"> for each of twelve tracks: the browser looks into all at once."""
    visit = Visit(rng, site, any_desktop(rng))
    t = start_s
    for _ in range(3):
        track = popular(rng)
        here = site.at(site.album, album_of(track))
        t = visit.page(t, here, visit.covers(2))
        tracks = (tracks_of(album_of(track)) + tracks_of(album_of(popular(rng))) + tracks_of(album_of(popular(rng))))[
            :12
        ]
        for one in tracks if "media" not in site.elsewhere else ():
            closed = visit.browser.family == "webkit"
            byte_range, size = ("bytes=0-1", 2) if closed else ("bytes=0-", rng.randrange(65_536, 400_000))
            headers = visit.browser.headers("audio", referer=ORIGIN + here, cookie=visit.cookie, byte_range=byte_range)
            at = t + rng.uniform(0, 0.4)
            visit.ask(at, site.at(site.file, one), headers, status=206, size=size, audio_s=size / BYTES_PER_S)
        t = visit.play(t + pause_s(rng), tracks[0], here, way="file") + pause_s(rng, 20)
    return visit.lines


def clicks_to_download_an_album(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """A free album, track by track: every click is a navigation of the browser to a file, with no account."""
    visit = Visit(rng, site, rng.choice((chrome(rng), firefox(rng), other_make(rng))))
    here = site.at(site.album, album_of(popular(rng)))
    t = visit.page(start_s, here, visit.covers(1))
    for track in (tracks_of(album_of(popular(rng))) + tracks_of(album_of(popular(rng))))[:10]:
        if "media" in site.elsewhere:
            break
        t += rng.uniform(1.5, 8)
        headers = visit.browser.headers("document", site="same-origin", referer=ORIGIN + here, cookie=visit.cookie)
        length = length_s(track)
        visit.ask(t, site.at(site.file, track), headers, size=length * BYTES_PER_S, audio_s=length)
    return visit.lines


def web_player_with_a_token(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """A player that signs in with a token of its own: no cookie, but an Authorization in what its script asks."""
    browser = replace(chrome(rng), keeps_cookies=False, sends_referer=False)
    visit = Visit(rng, site, browser)
    visit.listen(start_s, rng.randint(3, 8), way="hls.js")
    for line in visit.lines:
        if ["sec-fetch-dest", "empty"] in line["headers"]:
            line["headers"] = [*line["headers"], ["authorization", "Bearer 5f2c9e"]]
    return visit.lines


def browser_over_plain_http(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """A server in the house without TLS: browsers send nothing of Sec-* then."""
    visit = Visit(rng, site, rng.choice((chrome(rng), firefox(rng), safari(rng))).over_plain_http())
    visit.listen(start_s, rng.randint(2, 7))
    return visit.lines


# -- reading -----------------------------------------------------------------------------------------------


def text_browser(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """20 pages of an index of artists in Lynx, w3m, Links or Dillo: no parts, quick steps, forward and back."""
    name, headers = rng.choice(TEXT_BROWSERS)
    visit = Visit(rng, site, firefox(rng))
    visit.proto = "h1"
    cookie = f"sid={rng.getrandbits(64):016x}"
    last, t = "", start_s
    first_letter = rng.randrange(1, 30)
    for number in range(20):
        path = (
            site.at(site.index, first_letter + number // 4)
            if number % 4 == 0
            else site.at(site.artist, rng.randrange(1, ARTISTS))
        )
        more = [["Referer", ORIGIN + last]] if last and name != "w3m" else []
        more += [["Cookie", cookie]] if number and name in ("lynx", "w3m") else []
        visit.ask(t, path, [*headers, *more], size=size_of(path, 15_000))
        last = path
        t += pause_s(rng, 11)
    return visit.lines


def text_browser_that_plays(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Lynx for the pages, mpv for the sound."""
    _, headers = TEXT_BROWSERS[0]
    visit = Visit(rng, site, firefox(rng))
    visit.proto = "h1"
    t = start_s
    for _ in range(rng.randint(6, 12)):
        track = popular(rng)
        path = site.at(site.track, track)
        visit.ask(t, path, headers, size=size_of(path, 15_000))
        if "media" not in site.elsewhere and rng.random() < 0.5:
            length = length_s(track)
            visit.ask(t + 6, site.at(site.file, track), mpv(), status=206, size=length * BYTES_PER_S, audio_s=length)
            t += length * rng.random()
        t += pause_s(rng, 20)
    return visit.lines


def opera_mini(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """A phone that reads through its maker's servers: those fetch documents and pictures, from several addresses."""
    name = "Opera/9.80 (Android; Opera Mini/36.2/119.132; U; id) Presto/2.12.423 Version/12.16"
    phone = f"100.64.{rng.randrange(256)}.{rng.randrange(1, 255)}"
    headers = [
        ["Host", HOST],
        ["User-Agent", name],
        ["Accept", "text/html, application/xml;q=0.9, application/xhtml+xml, image/png, image/webp, */*;q=0.1"],
        ["Accept-Language", "id,en;q=0.9"],
        ["Accept-Encoding", "gzip, deflate"],
        ["X-Forwarded-For", phone],
        ["X-OperaMini-Phone-UA", "Mozilla/5.0 (Linux; Android 9; CPH1909)"],
        ["X-OperaMini-Features", "advanced, camera, file_system, folding"],
        ["Cookie", f"sid={rng.getrandbits(64):016x}"],
    ]
    visit = Visit(rng, site, firefox(rng))
    visit.proto, servers, t = "h1", [shared(rng) for _ in range(3)], start_s
    for number in range(9):
        visit.ip = rng.choice(servers)
        track = popular(rng)
        path = site.at(site.track, track) if number else site.home
        visit.ask(t, path, headers if number else headers[:-1], size=size_of(path, 15_000))
        if "artwork" not in site.elsewhere and rng.random() < 0.4:
            visit.ask(t + 0.4, site.at(site.cover, track, 300), headers, size=30_000)
        t += pause_s(rng, 25)
    return visit.lines


def images_off(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """20 artists' pages in a usual browser that loads no pictures; style and script come once, then from the cache."""
    visit = Visit(rng, site, rng.choice((chrome(rng), firefox(rng))))
    t, last = start_s, ""
    for number in range(20):
        path = site.at(site.index, number) if number % 5 == 0 else site.at(site.artist, rng.randrange(1, ARTISTS))
        site_word = "same-origin" if last else "none"
        t = visit.document(t, path, referer=ORIGIN + last if last else None, site=site_word)
        visit.parts(t, path)
        last = path
        t += pause_s(rng, 15)
    return visit.lines


def scripts_and_pictures_off(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """A strict content blocker: documents and their style, no script, no picture, no call, no cookie."""
    visit = Visit(rng, site, replace(firefox(rng), keeps_cookies=False))
    t, last = start_s, ""
    for number in range(14):
        path = site.at(site.artist, rng.randrange(1, ARTISTS)) if number else site.home
        t = visit.document(t, path, referer=ORIGIN + last if last else None, site="same-origin" if last else "none")
        if number == 0:
            for part, dest, usual in site.static:
                if dest == "style":
                    visit.part(t, "static", part, dest, path, usual)
        last = path
        t += pause_s(rng, 25)
    return visit.lines


def screen_reader(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """A full browser read aloud: long stays, every page with its parts, the player by keyboard."""
    visit = Visit(rng, site, rng.choice((firefox(rng), chrome(rng, "windows"))), returning=rng.random() < 0.5)
    t, last = start_s, ""
    for _ in range(12):
        track = popular(rng)
        path = site.at(site.track, track) if rng.random() < 0.5 else site.at(site.album, album_of(track))
        t = visit.page(
            t, path, visit.covers(3), referer=ORIGIN + last if last else None, site="same-origin" if last else "none"
        )
        last = path
        if rng.random() < 0.4:
            t = visit.play(t + pause_s(rng, 30), track, path, way="file")
        t += pause_s(rng, 60)
    return visit.lines


def collector_who_compares_sixty_albums(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Opens albums in background tabs, six at a time, and reads them: 60 pages in an hour and a half."""
    visit = Visit(rng, site, any_desktop(rng), auth=_user(rng), returning=rng.random() < 0.6)
    here = site.at(site.artist, artist_of(popular(rng)))
    t = visit.page(start_s, here, visit.covers(8))
    for _ in range(10):
        for _ in range(6):
            album = album_of(unpopular(rng))
            path = site.at(site.album, album)
            end = visit.document(t, path, referer=ORIGIN + here, site="same-origin")
            visit.parts(end + rng.uniform(0.1, 0.3), path, [site.at(site.cover, tracks_of(album)[0], 500)])
            t += rng.uniform(0.4, 2.5)
        t += rng.uniform(200, 700)
    return visit.lines


def reads_many_pages_with_a_warm_cache(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """A regular: everything static is in the cache, 25 pages in 40 minutes, hardly anything else."""
    visit = Visit(rng, site, chrome(rng), returning=True)
    t, last = start_s, ""
    for _ in range(25):
        path = site.at_one_of(rng, unpopular(rng), site.artist, site.track, site.album)
        t = visit.document(t, path, referer=ORIGIN + last if last else None, site="same-origin" if last else "none")
        if rng.random() < 0.5:
            visit.part(t + 0.2, "artwork", site.at(site.cover, unpopular(rng), 500), "image", path, 50_000)
        last = path
        t += pause_s(rng, 70)
    return visit.lines


def returns_with_a_warm_cache_and_no_cookie(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """The cookie has expired, the cache has not: the first document looks cold and nothing static follows."""
    visit = Visit(rng, site, rng.choice((chrome(rng), firefox(rng), safari(rng))))
    visit.cold = False
    track = popular(rng)
    here = site.at(site.track, track)
    t = visit.document(start_s, here, referer=SEARCH_ENGINE if rng.random() < 0.5 else None, site="cross-site")
    visit.call(t + 0.2, site.me, here, usual=300)
    for number in range(rng.randint(1, 6)):
        t = visit.play(t + pause_s(rng, 6), track if number == 0 else popular(rng), here, way=visit.usual_way())
    return visit.lines


def returns_and_plays_at_once(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """A bookmark with autoplay, cache warm, cookie gone, and the page's own call blocked: document, then audio."""
    visit = Visit(rng, site, rng.choice((chrome(rng), firefox(rng))))
    visit.cold = False
    track = popular(rng)
    here = site.at(site.track, track)
    t = visit.document(start_s, here)
    visit.play(t + 0.3, track, here, 999.0, visit.usual_way())
    return visit.lines


def bounces(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Thirty people who land from a search somewhere in the long tail and leave."""
    lines: list[Line] = []
    for _ in range(30):
        visit = Visit(
            rng, site, any_desktop(rng) if rng.random() < 0.5 else any_phone(rng), returning=rng.random() < 0.2
        )
        track = unpopular(rng) if rng.random() < 0.5 else popular(rng)
        path = site.at(site.track, track)
        t = start_s + rng.uniform(0, 7200)
        t = visit.page(t, path, [site.at(site.cover, track, 500)], referer=SEARCH_ENGINE, site="cross-site")
        if rng.random() < 0.5:
            visit.call(t, site.me, path, usual=300)
        lines += visit.lines
    return lines


# -- habits ------------------------------------------------------------------------------------------------


def opens_things_by_hand(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Opens a picture, a sound file and an address of the API in tabs of their own: navigations to what is no page."""
    visit = Visit(rng, site, rng.choice((chrome(rng), firefox(rng))))
    track = popular(rng)
    here = site.at(site.track, track)
    t = visit.page(start_s, here, visit.covers(3)) + 10
    for kind, path in (
        ("artwork", site.at(site.cover, track, 500)),
        ("api", site.at(site.about_track, track)),
        ("media", site.at(site.file, track)),
    ):
        if not path or kind in site.elsewhere:
            continue
        size = length_s(track) * BYTES_PER_S if kind == "media" else size_of(path, 20_000)
        audio_s = length_s(track) if kind == "media" else 0.0
        headers = visit.browser.headers("document", cookie=visit.cookie)
        if kind == "media":
            visit.ask(t, path, headers, size=200_000, audio_s=12.5)
            headers = visit.browser.headers("video", referer=ORIGIN + path, cookie=visit.cookie, byte_range="bytes=0-")
            visit.ask(t + 0.2, path, headers, status=206, size=size, audio_s=audio_s)
        else:
            visit.ask(t, path, headers, size=size)
            visit.part(t + 0.2, "favicon", site.favicon, "image", path, 1400)
        t += pause_s(rng, 25)
    return visit.lines


def only_opens_a_sound_file(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Somebody was sent the address of an mp3 and opens it, with no page before."""
    if "media" in site.elsewhere:
        return []
    visit = Visit(rng, site, rng.choice((chrome(rng), firefox(rng), chrome(rng, "android"))))
    track = popular(rng)
    path, length = site.at(site.file, track), length_s(track)
    visit.ask(start_s, path, visit.browser.headers("document"), size=200_000, audio_s=12.5)
    headers = visit.browser.headers("video", referer=ORIGIN + path, byte_range="bytes=0-")
    visit.ask(start_s + 0.2, path, headers, status=206, size=length * BYTES_PER_S, audio_s=length)
    visit.part(start_s + 0.5, "favicon", site.favicon, "image", path, 1400, cookie=False)
    return visit.lines


def link_prefetch(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """A page that fetches ahead what one may click: 24 documents in a few seconds, of which one is opened."""
    visit = Visit(rng, site, chrome(rng))
    here = site.home
    t = visit.page(start_s, here, visit.covers(6))
    for number in range(24):
        path = site.at(site.track, popular(rng))
        purpose = "prefetch;prerender" if number % 6 == 0 else "prefetch"
        visit.document(
            t + number * rng.uniform(0.1, 0.4), path, referer=ORIGIN + here, site="same-origin", purpose=purpose
        )
    t += pause_s(rng, 12) + 10
    visit.page(t, site.at(site.track, popular(rng)), visit.covers(1), referer=ORIGIN + here, site="same-origin")
    return visit.lines


def service_worker(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """A worker fills its cache with parts and covers; from then on the pages themselves are never asked again."""
    visit = Visit(rng, site, chrome(rng))
    here = site.home
    t = visit.page(start_s, here, visit.covers(4))
    if "static" not in site.elsewhere:
        rows = [*visit.browser.headers("serviceworker", mode="same-origin", referer=ORIGIN + here, cookie=visit.cookie)]
        visit.ask(t, site.static[0][0].rsplit("/", 1)[0] + "/sw.js", [*rows, ["service-worker", "script"]], size=9000)
        for path, _, usual in (
            *site.static,
            *((f"{site.static[0][0]}.{n}.chunk.js", "script", 20_000) for n in range(30)),
        ):
            headers = visit.browser.headers("empty", referer=f"{ORIGIN}/sw.js", cookie=visit.cookie)
            visit.ask(t + rng.uniform(0.1, 1.5), path, headers, size=size_of(path, usual))
    t += 5
    for _ in range(4):
        track = popular(rng)
        here = site.at(site.track, track)
        visit.call(t, site.at(site.about_track, track), here)
        t = visit.play(t + 1, track, here, way="hls.js") + pause_s(rng)
    return visit.lines


def tabs_restored_after_a_crash(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Twenty pages asked at once by a browser that comes back, all parts from the cache."""
    with_cookie = rng.random() < 0.5
    visit = Visit(rng, site, rng.choice((chrome(rng), firefox(rng))), returning=with_cookie)
    visit.cold = False
    for _ in range(20):
        path = site.at_one_of(rng, popular(rng), site.track, site.album, site.artist)
        headers = visit.browser.headers("document", cookie=visit.cookie if with_cookie else None, clicked=False)
        t = visit.ask(start_s + rng.uniform(0, 2.5), path, headers, size=size_of(path, 15_000))
        if rng.random() < 0.3:
            visit.call(t + 0.3, site.me, path, usual=300)
    return visit.lines


def developer_who_reloads(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Somebody with the developer tools open and the cache off reloads a page 20 times."""
    visit = Visit(
        rng, site, replace(chrome(rng, "linux"), adds=(("cache-control", "no-cache"), ("pragma", "no-cache")))
    )
    path, t = site.at(site.track, popular(rng)), start_s
    for _ in range(20):
        visit.cold = True
        visit.page(t, path, visit.covers(1))
        t += pause_s(rng, 20)
    return visit.lines


def searches_while_typing(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """An hour of looking for records, a search at almost every key, now and then a track."""
    visit = Visit(rng, site, rng.choice((chrome(rng), firefox(rng))), auth=_user(rng, 0.5), returning=True)
    here = site.search_page
    t = visit.page(start_s, here)
    words = (
        "ambient tape",
        "dub siren",
        "krautrock",
        "field recording",
        "lofi piano",
        "acid 303",
        "gamelan",
        "footwork",
    )
    for _ in range(35):
        word = f"{rng.choice(words)} {rng.choice(('1979', 'live', 'ep', 'demo', 'vol 2'))}"
        for length in range(2, len(word) + 1, rng.randint(1, 4)):
            t = visit.call(t, site.at(site.search, word[:length].replace(" ", "+")), here, usual=2500) + rng.uniform(
                0.15, 0.7
            )
        for path in visit.covers(3):
            visit.part(t, "artwork", path, "image", here, 20_000)
        t += pause_s(rng, 40)
        if rng.random() < 0.3:
            t = visit.play(t, unpopular(rng), here, way="file")
    return visit.lines


# -- privacy and proxies -----------------------------------------------------------------------------------


def privacy_browser(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Firefox with resistFingerprinting behind a VPN: no cookie, no Referer, reads and plays."""
    visit = Visit(rng, site, resists_fingerprinting(rng), exit_node(rng))
    t = start_s
    for _ in range(rng.randint(4, 12)):
        track = popular(rng)
        path = rng.choice((site.at(site.track, track), site.at(site.artist, artist_of(track)), site.home))
        visit.cold = visit.cold or rng.random() < 0.2
        t = visit.page(t, path, [site.at(site.cover, track, 300)])
        if rng.random() < 0.5:
            t = visit.play(t + 3, track, path, way="file")
        t += pause_s(rng, 40)
    return visit.lines


def no_cookies_and_no_referer(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Chrome with an extension that drops cookies and Referer."""
    browser = replace(chrome(rng), keeps_cookies=False, sends_referer=False)
    visit = Visit(rng, site, browser)
    visit.listen(start_s, rng.randint(2, 6))
    return visit.lines


def proxy_that_strips_and_says_so(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """A company's inspecting proxy: HTTP/1.1, no Sec-*, a Via."""
    browser = rng.choice((chrome(rng), firefox(rng))).behind(("Via", "1.1 proxy01.corp.example"))
    visit = Visit(rng, site, browser, shared(rng))
    visit.listen(start_s, rng.randint(1, 6))
    return visit.lines


def proxy_that_strips_in_silence(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """An antivirus on the machine itself: HTTP/1.1, no Sec-*, and nothing that tells of it."""
    browser = rng.choice((chrome(rng), firefox(rng), chrome(rng, "mac"))).behind()
    visit = Visit(rng, site, browser)
    visit.listen(start_s, rng.randint(1, 6))
    return visit.lines


def proxy_that_only_downgrades(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """A campus cache: HTTP/1.1 and a Via, all other headers as they were."""
    browser = rng.choice((chrome(rng), firefox(rng))).behind(
        ("Via", "1.1 wwwcache.campus.example (squid/6.14)"), strips=()
    )
    visit = Visit(rng, site, browser, shared(rng))
    visit.listen(start_s, rng.randint(1, 6))
    return visit.lines


def reads_behind_a_stripping_proxy(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Twelve pages read at work, no Sec-*, parts from the proxy's own cache: documents are all that is seen."""
    visit = Visit(rng, site, chrome(rng, "windows").behind(), shared(rng))
    visit.cold = False
    t, last = start_s, ""
    for _ in range(12):
        path = site.at(site.artist, rng.randrange(1, ARTISTS))
        visit.document(t, path, referer=ORIGIN + last if last else None)
        last = path
        t += pause_s(rng, 40)
    return visit.lines


def relay_of_a_phone(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Safari behind a private relay: its address changes between a page and its parts, others share each of them."""
    visit = Visit(rng, site, safari(rng, rng.choice(("mac", "iphone"))), exit_node(rng))
    visit.listen(start_s, rng.randint(2, 5))
    for line in visit.lines:
        if rng.random() < 0.3:
            line["ip"] = exit_node(rng)
    return visit.lines


def both_kinds_of_addresses(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """One visit over IPv4 and IPv6, and a new suffix within the /64 in the middle of it."""
    prefix = f"2001:db8:{0x2000 + rng.randrange(4096):x}:{rng.randrange(65536):x}"
    places = [home(rng), v6(rng, prefix), v6(rng, prefix)]
    visit = Visit(rng, site, any_desktop(rng), places[1])
    visit.listen(start_s, rng.randint(3, 6))
    half = start_s + (visit.lines[-1]["t"] - start_s) / 2
    for line in visit.lines:
        line["ip"] = places[0] if rng.random() < 0.35 else places[2] if line["t"] > half else places[1]
    return visit.lines

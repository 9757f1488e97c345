"""Many people at once: behind one address, on one page, in one room. Each persona is a whole crowd."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from tests.listeners.browsers import any_desktop, any_phone, anybody, chrome, firefox, resists_fingerprinting, safari
from tests.listeners.lines import Line, carrier, exit_node, home, merged, shared, v6
from tests.listeners.platform import Platform, popular, unpopular
from tests.listeners.visits import SOCIAL, Visit, pause_s


def campus_behind_one_address(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """48 people in two hours behind one address, a few of them behind its cache as well."""
    ip, parts = shared(rng), []
    for number in range(48):
        browser = any_desktop(rng)
        if number % 16 == 5:
            browser = browser.behind(("Via", "1.1 wwwcache.campus.example (squid/6.14)"), strips=())
        auth = f"user:{rng.randrange(1, 9000)}" if rng.random() < 0.4 else None
        visit = Visit(rng, site, browser, ip, auth=auth, returning=rng.random() < 0.42)
        visit.listen(start_s + rng.uniform(0, 7200), rng.randint(1, 2))
        parts.append(visit.lines)
    return merged(*parts)


def commuters_of_a_carrier(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """34 phones in a pool of four addresses, which they change on the way."""
    pool, parts = carrier(rng, 4), []
    for _ in range(34):
        visit = Visit(rng, site, any_phone(rng), rng.choice(pool), returning=rng.random() < 0.5, mbps=12)
        visit.listen(start_s + rng.uniform(0, 3600), rng.randint(1, 2))
        if rng.random() < 0.5 and visit.lines:
            half = visit.lines[len(visit.lines) // 2]["t"]
            other = rng.choice(pool)
            for line in visit.lines:
                line["ip"] = other if line["t"] > half else line["ip"]
        parts.append(visit.lines)
    return merged(*parts)


def thirty_behind_one_vpn_exit(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """30 people of all makes behind one exit of a VPN, most of them without cookies from before."""
    ip, parts = exit_node(rng), []
    for _ in range(30):
        visit = Visit(rng, site, anybody(rng), ip, returning=rng.random() < 0.4)
        visit.listen(start_s + rng.uniform(0, 3600), rng.randint(1, 2))
        parts.append(visit.lines)
    return merged(*parts)


def exit_of_tor(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """14 people with the same browser to the letter behind one exit: new identities, no cookies kept, slow."""
    ip, parts = exit_node(rng), []
    for _ in range(14):
        visit = Visit(rng, site, resists_fingerprinting(rng, keeps_cookies=True), ip, mbps=4)
        t = start_s + rng.uniform(0, 3600)
        for _ in range(rng.randint(1, 5)):
            track = popular(rng)
            path = site.at(site.track, track)
            t = visit.page(t, path, [site.at(site.cover, track, 300)])
            if rng.random() < 0.4:
                t = visit.play(t + 4, track, path, way="file")
            t += pause_s(rng, 40)
        parts.append(visit.lines)
    return merged(*parts)


def school_class(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """30 identical machines behind one address open the same page within two minutes, then the same track."""
    ip, track = shared(rng), popular(rng)
    browser = replace(chrome(rng, "chromeos", 157), languages="de-DE,de;q=0.9,en;q=0.8")
    parts = []
    for _ in range(30):
        visit = Visit(rng, site, browser, ip)
        path = site.at(site.track, track)
        t = visit.page(start_s + rng.uniform(0, 120), path, [site.at(site.cover, track, 500)])
        visit.call(t, site.me, path, usual=300)
        if rng.random() < 0.7:
            visit.play(t + rng.uniform(1, 60), track, path, way="file")
        parts.append(visit.lines)
    return merged(*parts)


def school_class_that_plays_segments(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """12 of them with the player that takes whole tracks, all at once."""
    ip, track = shared(rng), popular(rng)
    browser = chrome(rng, "windows", 156)
    parts = []
    for _ in range(12):
        visit = Visit(rng, site, browser, ip)
        path = site.at(site.track, track)
        t = visit.page(start_s + rng.uniform(0, 20), path, [site.at(site.cover, track, 500)])
        visit.play(t + rng.uniform(0, 3), track, path, way="hls.js")
        parts.append(visit.lines)
    return merged(*parts)


def household_of_five(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Five people, seven devices, one address or one /64."""
    prefix = f"2001:db8:{0x3000 + rng.randrange(4096):x}:{rng.randrange(65536):x}"
    old = rng.random() < 0.5
    ip = home(rng)
    parts = []
    for number in range(7):
        browser = any_desktop(rng) if number % 2 else any_phone(rng)
        visit = Visit(rng, site, browser, ip if old else v6(rng, prefix), returning=rng.random() < 0.6)
        visit.listen(start_s + rng.uniform(0, 5400), rng.randint(2, 7))
        parts.append(visit.lines)
    return merged(*parts)


def flash_crowd_on_one_track(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """300 people on one track in ten minutes; half of them play it."""
    track, parts = popular(rng), []
    for _ in range(300):
        visit = Visit(rng, site, anybody(rng), returning=rng.random() < 0.3)
        path = site.at(site.track, track)
        t = start_s + min(600.0, rng.expovariate(1 / 200))
        t = visit.page(t, path, [site.at(site.cover, track, 500)], referer=SOCIAL, site="cross-site")
        if rng.random() < 0.5:
            visit.play(t + rng.uniform(0.5, 6), track, path, way="file")
        parts.append(visit.lines)
    return merged(*parts)


def embed_on_a_popular_blog(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """500 readers of a blog see the player in its frame: no cookies, a stranger's Referer; every seventh plays it."""
    if not site.embed:
        return []
    track, parts = popular(rng), []
    for _ in range(500):
        browser = replace(anybody(rng), keeps_cookies=False)
        visit = Visit(rng, site, browser)
        path = site.at(site.embed, track)
        t = start_s + rng.uniform(0, 5400)
        warm = rng.random() < 0.3
        visit.document(t, path, referer="https://blog.example/", site="cross-site", dest="iframe")
        visit.cold = False
        for part, dest, usual in site.static[:2] if not warm else ():
            visit.part(t + 0.2, "static", part, dest, path, usual, cookie=False)
        visit.part(t + 0.4, "artwork", site.at(site.cover, track, 300), "image", path, 30_000, cookie=False)
        if rng.random() < 0.15:
            visit.play(t + rng.uniform(2, 30), track, path, way="file")
        parts.append(visit.lines)
    return merged(*parts)


def links_in_a_newsletter(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """120 subscribers open one of ten albums within an hour; their mail apps have loaded the pictures before."""
    albums, parts = [unpopular(rng) for _ in range(10)], []
    for _ in range(120):
        visit = Visit(rng, site, anybody(rng), returning=rng.random() < 0.5)
        album = rng.choice(albums)
        t = start_s + rng.expovariate(1 / 1500)
        mail = replace(safari(rng, "iphone"), keeps_cookies=False, sends_referer=False)
        if "artwork" not in site.elsewhere and rng.random() < 0.4:
            headers = mail.headers("image", site="cross-site")
            visit.ask(t - 60, site.at(site.cover, album, 300), headers, size=30_000)
        visit.page(t, site.at(site.album, album), [site.at(site.cover, album, 500)], site="cross-site")
        parts.append(visit.lines)
    return merged(*parts)


def office_of_one_company(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """25 people behind one address and one proxy that strips Sec-*, all with the same version of one browser."""
    ip, parts = shared(rng), []
    browser = chrome(rng, "windows", 155).behind(
        ("Via", "1.1 proxy01.corp.example"), ("X-Forwarded-For", "10.20.30.40")
    )
    for _ in range(25):
        visit = Visit(rng, site, browser, ip, returning=rng.random() < 0.5)
        visit.listen(start_s + rng.uniform(0, 5400), rng.randint(1, 3), way="file")
        parts.append(visit.lines)
    return merged(*parts)


def readers_of_one_prefix(rng: Random, start_s: float, site: Platform) -> list[Line]:
    """Nine neighbours in one /24 whose caches are warm each open one or two pages in an hour: nothing but documents."""
    block, parts = rng.randrange(128), []
    for last in rng.sample(range(1, 255), 9):
        visit = Visit(rng, site, rng.choice((chrome(rng), firefox(rng))), f"198.19.{block}.{last}")
        visit.cold = False
        t = start_s + rng.uniform(0, 3600)
        for _ in range(rng.randint(1, 2)):
            t = visit.document(t, site.at(site.track, unpopular(rng))) + pause_s(rng, 60)
        parts.append(visit.lines)
    return merged(*parts)

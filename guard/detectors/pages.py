"""Pages without anybody who reads them, data without a page."""

from __future__ import annotations

from guard.detectors import counted as of
from guard.detectors.life import Life
from guard.model import Signal
from guard.places import AUDIO, PLAYLIST, SEARCH, SEGMENT


def lifeless_documents(life: Life) -> Signal | None:
    """Documents that no stylesheet, picture, call or beacon ever follows.

    People: 16 to 20 pages of a text browser, which keeps its cookie and comes from our own pages. Hence the bound: 24
    for who does neither (18 if each comes from outside), 44 for who does one of them; 8 for programs that say they are.
    """
    count = min(life[of.DOCUMENTS], life[of.ASKED]) + life[of.SITEMAPS]
    alive = life[of.LIFE] + 0.5 * life[of.CALLS] + life[of.TUNES]
    shape = life.shape
    if life.known or count < 4 or alive > 0.12 * count or not (shape.library or life.lookout.shows_parts):
        return None
    entrances = life[of.ENTRANCES]
    if shape.library and not shape.text:
        bound = 8.0
    elif shape.quiet:
        bound = 300.0
    elif shape.told and entrances > 0.8 * count:
        bound = 18.0
    elif shape.text or (shape.told and (shape.cookie or life.sight.own_referer or shape.site == b"same-origin")):
        bound = 44.0
    else:
        bound = 24.0
    said = "each from outside" if entrances > 0.8 * count else "from page to page"
    reason = f"{count:.0f} documents, {said}, and nothing that belongs to a page"
    return Signal("documents without life", min(40.0, 30.0 * count / bound), reason)


def wrong_fetch(life: Life) -> Signal | None:
    """Fetch metadata of a person who opens a page, on what no person opens. People: one or two JSON files by hand."""
    count = life[of.ODD]
    if count < 1 or life.shape.dest != b"document":
        return None
    points = min(40.0, 8.0 * count) if life[of.LIFE] < 2 * count else min(20.0, 2.0 * count)
    return Signal("wrong kind of fetch", points, f"{count:.0f} times it opened as a page what pages only load")


def cold_audio(life: Life) -> Signal | None:
    """A page opened for the first time, and music after it, with nothing that a page needs in between. People: none:
    they have the styles or a picture of it loaded, or a cookie of an earlier visit."""
    shape, role = life.shape, life.sight.place.role
    if life.known or not shape.browser or role not in (PLAYLIST, SEGMENT):
        return None
    client = life.lookout.client_key(life.sight)
    if not life.lookout.shows_parts or not life.lookout.keeps_cookies:
        return None
    if not life.lookout.heard_of(client, life.now_s):
        return None
    if life.of(client, of.COLD) > 0.4 and not _lives(life, client):
        several = life.lookout.cold_music(client, life.now_s)
        return Signal(
            "cold music",
            34 if several >= 2 else 10,
            "it opened a page and took the music, and nothing that such a page needs",
        )
    return None


def _lives(life: Life, client: bytes) -> bool:
    """Has an ear, or its address under its name, shown what a page needs even if all its parts are in a cache? A player
    alone asks once where the music is; a page has more to ask."""
    return any(
        life.of(key, of.LIFE) >= 0.4 or (life.of(key, of.CALLS) >= 0.4 and life.of(key, of.ASKED) >= 4)
        for key in (life.key, client)
    )


def data_for_nobody(life: Life) -> Signal | None:
    """Calls of the API without cookie, token and page, for one thing after the other. People: none; programs get a
    key. Asking the same over and over (what is playing now) is no harvest."""
    count = min(life[of.BARE], life[of.ASKED])
    if life.known or count < 4 or not life.shape.bare:
        return None
    pages = life[of.DOCUMENTS]
    if life[of.LIFE] > 0.5 * count:
        return None
    bound = 24.0 if pages < 1 else 30.0
    return Signal(
        "data for nobody", min(40.0, 30.0 * count / bound), f"{count:.0f} calls without cookie, token or page"
    )


def calls_without_life(life: Life) -> Signal | None:
    """Calls as pages make them, for one thing after the other, and no page, style, picture or music with them.

    People: those who have the application in their cache still load the pictures of what they look at. What is typed
    into a search counts once.
    """
    count = life[of.ASKED]
    if life.known or life.shape.signed or count < 12 or life.shape.bare:
        return None
    if not (life.lookout.shows_parts and life.lookout.shows_pictures):
        return None
    if life[of.LIFE] > 0.02 * count or life[of.TUNES] > 0.1 * count or life[of.DOCUMENTS] > 0.3 * count:
        return None
    bound = 150.0 if life.sight.place.role == SEARCH else 60.0
    if life.shape.token:  # an app: it has its pictures from elsewhere, perhaps
        bound = 300.0
    return Signal(
        "calls without life", min(36.0, 30.0 * count / bound), f"{count:.0f} calls, and no page that shows them"
    )


def many_pages(life: Life) -> Signal | None:
    """More different pages an hour than anybody reads. People: 60 albums compared in one sitting."""
    count = min(life[of.ASKED], life[of.DOCUMENTS])
    if life.known or life.shape.quiet or count < 90 or life[of.TUNES] > 0.02 * count:
        return None
    an_hour = count / max(1.0, (life.now_s - life[of.FIRST]) / of.HOUR_S)
    if an_hour < 90 or not (life.session or life.of(b"a" + life.sight.client.key, of.LIVING) <= 1):
        return None
    return Signal(
        "many pages", min(36.0, 30.0 * an_hour / 180.0), f"{an_hour:.0f} different pages an hour, and no music"
    )


def images_only(life: Life) -> Signal | None:
    """Covers, and no page or call that shows them. People: pages elsewhere that show our covers send their address, and
    where pictures have a host of their own nobody is seen to open a page."""
    count = life[of.IMAGES]
    shape = life.shape
    if life.known or count < 6 or life[of.CALLS] + life[of.BARE] + life[of.DOCUMENTS] + life[of.LIFE] > 0.2:
        return None
    if life[of.TUNES] > 0 or life.of(b"a" + life.sight.client.key, of.DOCUMENTS) > 0.5:
        return None
    if shape.referer or shape.cookie or shape.site == b"cross-site":
        if not life.lookout.shows_pages:
            return None
        bound = 150.0
    else:
        bound = 20.0 if shape.library or shape.points >= 8 else 40.0
    return Signal("pictures only", min(36.0, 30.0 * count / bound), f"{count:.0f} pictures and no page that shows them")


def audio_without_looking(life: Life) -> Signal | None:
    """Many tracks and no page, call, picture or word of a player. Weak: speakers and players do this."""
    if life.known or life.sight.place.role != AUDIO or life[of.TUNES] < 10 or life.shape.player or life.shape.browser:
        return None
    if life[of.DOCUMENTS] + life[of.CALLS] + life[of.IMAGES] + life[of.LIFE] < 1:
        return Signal("music without looking", 6, f"{life[of.TUNES]:.0f} tracks, and never a page, picture or call")
    return None

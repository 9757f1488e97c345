"""Who goes through a catalogue rather than to something in it."""

from __future__ import annotations

from guard.detectors import counted as of
from guard.detectors.ears import LONG_S
from guard.detectors.life import Life
from guard.model import Signal
from guard.places import DATA, DOCUMENT, FEED, IMAGE, SEARCH, SITEMAP


def sequence(life: Life) -> Signal | None:
    """Ids one after the other. People: 13 or 14 in a row, the tracks of an album."""
    chain = life.chain(of.NUMBERS)
    if chain < 8 or (life.known and life[of.BEATS] > 0):
        return None
    points = min(40.0, 30.0 * (chain - 2) / 22.0)
    if life.shape.token and not life.known:  # an app that syncs looks just so: whether it may, its server knows
        return Signal("sequence", min(18.0, points), f"{chain} ids one after the other, with a token")
    if life.known or (life.session and life[of.LIFE] > 0.5):
        points /= 2.5
    elif life[of.LIFE] > 0.5 or life.sight.place.role not in (DOCUMENT, DATA, IMAGE):
        points /= 1.5
    return Signal("sequence", points, f"{chain} ids one after the other")


def search_walk(life: Life) -> Signal | None:
    """Searches that turn pages or ask for two letters. People: a quarter of what is searched for as one types."""
    walked, searches = life[of.WALKED], life[of.SEARCHES]
    if life.sight.place.role != SEARCH or walked < 5 or walked < 0.6 * searches or life.known:
        return None
    reason = f"{walked:.0f} of {searches:.0f} searches turn pages or ask for one or two letters"
    return Signal("search walk", min(40.0, 30.0 * walked / 22.0), reason)


def feeds(life: Life) -> Signal | None:
    """Feed after feed, without asking whether anything is new, and the sizes of episodes nobody plays.

    People: a reader with bad manners and a dozen feeds. Directories ask whether there is news.
    """
    if life.sight.place.role != FEED and life.sight.method != "HEAD":
        return None
    found, heads = min(life[of.FEEDS], life[of.FED]), life[of.HEADS]
    if (found < 2 and heads < 8) or life.known:
        return None
    points = 1.8 * found + 1.05 * heads
    if life.shape.quiet or life.shape.player:
        points /= 4
    return Signal("feed walk", min(40.0, points), f"{found:.0f} feeds unconditionally, {heads:.0f} questions for sizes")


def sitemap(life: Life) -> Signal | None:
    """The files that list everything, by somebody that does not say who it is."""
    count = life[of.SITEMAPS]
    if count < 2 or life.shape.quiet or life.known:
        return None
    points = min(30.0, (4.0 if life.shape.library else 2.5) * count)
    if life.sight.place.role not in (SITEMAP, DOCUMENT):
        return None
    return Signal("sitemap walk", points, f"{count:.0f} sitemaps, by somebody that does not say who it is")


def coverage(life: Life) -> Signal | None:
    """So many different tracks in so little time. People not signed in: 20 an hour."""
    if life.known:
        return None
    if life.sight.place.public or life.shape.token:
        return None
    tunes = life[of.TUNES]
    if life[of.LEAD] > LONG_S * tunes:
        return None
    hours = max(1.0, (life.now_s - life[of.FIRST]) / of.HOUR_S)
    if tunes / hours >= 45 and life[of.LEAD] > 3600:
        return Signal(
            "coverage", min(36.0, 30.0 * tunes / hours / 60.0), f"{tunes / hours:.0f} different tracks an hour"
        )
    return None

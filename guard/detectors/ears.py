"""How much music one pair of ears can take. Fetching faster than one hears is what every player does; fetching what
nobody can hear is not."""

from __future__ import annotations

from guard.detectors import counted as of
from guard.detectors.life import Life
from guard.model import Signal
from guard.places import AUDIO, DOWNLOAD, SEGMENT

TUNES, LEAD_S = 16.0, 2600.0
LONG_S = 900.0
"""So many different tracks, and so much music that nobody can have heard yet. People not signed in: 14 tracks, or
1,327 s ahead, never both; signed in: 48 tracks and 9,367 s."""

KNOWN_TUNES, KNOWN_LEAD_S = 120.0, 14_400.0


def tunes_per_ear(life: Life) -> Signal | None:
    """More different tracks than one hears, far ahead of the clock."""
    tunes, lead_s = life[of.TUNES], life[of.LEAD]
    if tunes < 6 or lead_s < 900 or life.sight.place.public or (lead_s > LONG_S * tunes and tunes < 100):
        return None
    known = life.known or life.shape.signed
    enough, ahead_s = (KNOWN_TUNES, KNOWN_LEAD_S) if known else (TUNES, LEAD_S)
    times = 1.0
    if not known:
        if life.shape.library:  # nobody's ears, by its own word
            times *= 0.75
        elif not life.session and life[of.LIFE] > 4:  # several people, whom nothing tells apart
            times *= 2.0
        if life.shape.player:  # several may play behind one address, all under one name
            times *= 3.0 if life.sight.agent.category == "device" else 1.5
        if _in_step(life):
            times *= 1.8
    points = min(40.0, 30.0 * min(tunes / enough, lead_s / ahead_s) / times)
    if known:
        points = min(24.0, points)
    return Signal("tunes per ear", points, f"{tunes:.0f} tracks, {lead_s / 60:.0f} minutes ahead of any listener")


def tunes_per_ear_at_home(life: Life) -> Signal | None:
    """The same for an address under one name, whose sessions were never seen to live: there may be many people."""
    tunes, lead_s = life[of.TUNES], life[of.LEAD]
    if tunes < 3 * TUNES / 2 or life.shape.signed or life.sight.place.public or lead_s > LONG_S * tunes:
        return None
    points = min(36.0, 10.0 * min(tunes / TUNES, lead_s / LEAD_S))
    return Signal("tunes per address", points, f"{tunes:.0f} tracks, {lead_s / 60:.0f} minutes ahead of one listener")


def _in_step(life: Life) -> bool:
    """Does a player tell of playing, about as often as one plays: not less than every other track, and not faster than
    time goes by?"""
    beats, minutes = life[of.BEATS], (life.now_s - life[of.FIRST]) / 60.0
    return beats >= 0.4 * life[of.TUNES] and beats <= 4.0 * minutes + 4.0


def lanes(life: Life) -> Signal | None:
    """Parts of one track side by side. Players: two at once; people who download, four different files."""
    if life.sight.place.role not in (SEGMENT, AUDIO) or life.known:
        return None
    files, of_track = life.lookout.lanes(life.key, life.sight.place.work)
    if life.sight.place.role == SEGMENT and of_track >= 3:
        return Signal("lanes", min(44.0, 11.0 * of_track), f"{of_track + 1} parts of one track at once")
    if files >= 4 and not life.shape.browser and not life.shape.signed:
        points = min(36.0, 6.0 * files) if life.shape.library else min(24.0, 4.0 * files)
        return Signal("lanes", points, f"{files + 1} files at once")
    return None


def split_ranges(life: Life) -> Signal | None:
    """One file in several closed ranges side by side. Players ask with an open end, for two bytes, or for one part
    after the other."""
    if life.known:
        return None
    count, parts = life.lookout.splits(life.key, life.sight.place.work, life.now_s), life[of.PARTS]
    points = max(16.0 * count if count >= 2 else 0.0, 11.0 * parts if parts >= 2.8 else 0.0)
    if points:
        return Signal(
            "split ranges", min(44.0, points), f"{max(count + 2, parts + 1):.0f} parts of one file side by side"
        )
    return None


def quota(life: Life) -> Signal | None:
    """More downloads a day than an account is given. The only bound for who pays and takes everything. What is counted
    is known to a few per cent: nobody is refused who may have stayed within. Only downloads are refused, and for some
    minutes the music that they would have been."""
    sight, given, lookout = life.sight, life.sight.terms.downloads_a_day, life.lookout
    account, now_s = sight.account, life.now_s
    if not account:
        return None
    count = life.of(lookout.day_key(account, now_s), of.TUNES)
    if count <= given * (1.08 if given > 60 else 1.0):
        return None
    if sight.place.role == DOWNLOAD:
        lookout.deny(account, now_s)
    elif not (lookout.keeps(life.key, now_s) or lookout.denied(account, now_s)):
        return None
    return Signal("download quota", 40, f"{count:.0f} downloads today, {given} are given")


def audio_budget(life: Life) -> Signal | None:
    """More music a day than an account is given: more than a day has hours. Slows down, and refuses nothing."""
    sight, given_s = life.sight, life.sight.terms.audio_a_day_s
    if not sight.account:
        return None
    audio_s = life.of(life.lookout.day_key(sight.account, life.now_s), of.AUDIO_S)
    if audio_s <= given_s:
        return None
    return Signal("audio budget", 24, f"{audio_s / 3600:.0f} hours of music today, {given_s / 3600:.0f} are given")

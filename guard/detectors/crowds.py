"""What a neighbourhood shows that none of its members does: swarms of one request an address.

Each is asked about a /24 or /48, an address, or a shape of headers. What it finds is added to what is held against
those of it who show no life; who listens there is not touched.
"""

from __future__ import annotations

from guard.detectors import counted as of
from guard.detectors.life import Life
from guard.model import Signal


def dead_prefix(life: Life) -> Signal | None:
    """A /24 or /48 where page after page is opened and nobody lives. At least four addresses and ten documents."""
    if life.key[:1] != b"p" or not life.lookout.shows_parts:
        return None
    documents = min(life[of.DOCUMENTS], life[of.ASKED])
    clients, living = life[of.CLIENTS], life[of.LIVING]
    if documents < 10 or clients < 4 or living > 0.2 * clients:
        return None
    points = min(36.0, 16.0 + 0.4 * documents)
    return Signal(
        "dead neighbourhood", points, f"{documents:.0f} pages from {clients:.0f} neighbours, {living:.0f} of them live"
    )


def dead_network(life: Life) -> Signal | None:
    """A whole network (ASN) from which nobody has ever listened, and page after page is opened: a hoster's. Adds to
    what else is odd, and never suffices: people come out of such networks, too (VPNs, relays)."""
    if life.key[:1] != b"n" or not life.lookout.shows_parts:
        return None
    documents = min(life[of.DOCUMENTS], life[of.ASKED])
    clients, living = life[of.CLIENTS], life[of.LIVING]
    if documents < 100 or clients < 40 or living > 0.02 * clients:
        return None
    return Signal("dead network", 12, f"{clients:.0f} addresses of one network open pages, {living:.0f} of them live")


def dead_shape(life: Life) -> Signal | None:
    """The same headers from address after address, and none of them lives. Headers of a real browser are those of many
    who do."""
    if life.key[:1] not in b"hj" or not life.lookout.shows_parts:
        return None
    documents = min(life[of.DOCUMENTS], life[of.ASKED])
    clients, living = life[of.CLIENTS], life[of.LIVING]
    if documents < 16 or clients < 6 or living > 0.05 * clients:
        return None
    return Signal(
        "dead shape", min(24.0, 12.0 + documents / 6.0), f"{clients:.0f} addresses with just these headers, none lives"
    )


def shared_sequence(life: Life) -> Signal | None:
    """Ids one after the other, spread over addresses that look alike or lie side by side."""
    if life.key[:1] not in b"hp" or life[of.LIVING] > 0 or life[of.NAMES] < 4:
        return None
    chain = life.chain(of.NUMBERS)
    if chain < 12:
        return None
    return Signal(
        "shared sequence", min(36.0, 30.0 * chain / 24.0), f"{chain} ids one after the other, from several addresses"
    )


def lifeless_address(life: Life) -> Signal | None:
    """An address from which pages are opened under name after name, and nothing lives."""
    if life.key[:1] != b"a" or not life.lookout.shows_parts:
        return None
    documents = min(life[of.DOCUMENTS], life[of.ASKED])
    if documents < 8 or life[of.LIFE] > 0.1 * documents or life[of.CLIENTS] < 4:
        return None
    return Signal(
        "lifeless address",
        min(36.0, 30.0 * documents / 20.0),
        f"{documents:.0f} pages under {life[of.NAMES]:.0f} names, no life",
    )


def site_pressure(life: Life) -> Signal | None:
    """An hour in which most who open a first page are never seen again: a swarm is going on. Adds to what is held
    against a document that is odd already, and to nothing else. People's own share of such visits is small: what they
    have in their cache they do not ask for, but they come with a cookie."""
    if life.key[:1] != b"w" or not life.lookout.shows_parts:
        return None
    share, clients = _unseen(life, 0)
    if clients < 40:
        share, clients = _unseen(life, 1)
    if clients < 40 or share < 0.4:
        return None
    return Signal(
        "site under pressure", 15, f"{100 * share:.0f} % of {clients:.0f} first visits this hour showed no life"
    )


def _unseen(life: Life, back: int) -> tuple[float, float]:
    key = life.lookout.hour(life.now_s, back)
    clients, living = life.of(key, of.CLIENTS), life.of(key, of.LIVING)
    return (max(0.0, 1.0 - living / clients) if clients else 0.0), clients

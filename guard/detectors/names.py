"""Who is not who it says to be."""

from __future__ import annotations

from guard.detectors import counted as of
from guard.detectors.life import Life
from guard.model import Identity, Signal
from guard.places import TRAP


def liar(life: Life) -> Signal | None:
    """A crawler's name from an address that is none of that crawler's. Decisive."""
    if life.sight.identity is Identity.SPOOFED:
        return Signal("liar's name", 60, f"it calls itself {life.sight.agent.name} and does not come from there")
    return None


def trap(life: Life) -> Signal | None:
    """A link that nobody sees and robots.txt forbids. Decisive. People never met it."""
    if life.sight.place.role == TRAP:
        return Signal("trap", 60, "it followed a link that no reader sees and that robots.txt forbids")
    return None


def many_names(life: Life) -> Signal | None:
    """One address that calls itself by another name each time, and shows no life under any of them.

    People: 17 names on one address of a campus, with all that pages need.
    """
    names = life[of.NAMES]
    if life.key[:1] == b"a" and names >= 6 and life.lookout.shows_parts and life[of.LIFE] < 0.5 * life[of.DOCUMENTS]:
        return Signal(
            "many names", min(36.0, 3.5 * names), f"{names:.0f} browsers' names from one address, and no life"
        )
    return None


def always_on(life: Life) -> Signal | None:
    """Active in twenty hours of a day. Weak: a tab in a shop is, too."""
    hours = life[of.HOURS]
    if hours >= 20 and life[of.BEATS] < 1 and not life.known:
        return Signal("always on", 6, f"active in {hours:.0f} hours")
    return None

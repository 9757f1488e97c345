"""The detectors: each looks at one ear, or at one neighbourhood, and says what it finds, or nothing.

A detector is a function of a `Life` that gives a `Signal` or None. It is pure and quick, and asks for numbers only.
To add one: write it in the file of its family and put it into a table here, or hand `Lookout` a table of your own.
"""

from __future__ import annotations

from collections.abc import Callable

from guard.detectors.life import Life
from guard.model import Signal

Detector = Callable[[Life], Signal | None]

from guard.detectors import crowds, ears, names, pages, walks  # noqa: E402
from guard.places import (  # noqa: E402
    AUDIO,
    DATA,
    DOCUMENT,
    DOWNLOAD,
    EMBED,
    IMAGE,
    PLAYLIST,
    SEARCH,
    SEGMENT,
    SITEMAP,
    TRAP,
)

DETECTORS: tuple[Detector, ...] = (
    names.liar,
    names.trap,
    names.always_on,
    pages.lifeless_documents,
    pages.wrong_fetch,
    pages.cold_audio,
    pages.data_for_nobody,
    pages.calls_without_life,
    pages.many_pages,
    pages.images_only,
    pages.audio_without_looking,
    walks.sequence,
    walks.search_walk,
    walks.feeds,
    walks.sitemap,
    walks.coverage,
    ears.tunes_per_ear,
    ears.lanes,
    ears.split_ranges,
    ears.quota,
    ears.audio_budget,
)
"""Asked about each ear."""

_MUSIC = frozenset((PLAYLIST, SEGMENT, AUDIO))
_PAGES = frozenset((DOCUMENT, EMBED, SITEMAP))

ROLES_OF: dict[Detector, frozenset[int]] = {
    names.trap: frozenset((TRAP,)),
    names.always_on: frozenset((DOCUMENT, DATA, SEARCH)),
    pages.lifeless_documents: _PAGES | {DATA, SEARCH},
    pages.cold_audio: frozenset((PLAYLIST, SEGMENT)),
    pages.data_for_nobody: frozenset((DATA, SEARCH)),
    pages.calls_without_life: frozenset((DATA, SEARCH)),
    pages.many_pages: frozenset((DOCUMENT,)),
    pages.images_only: frozenset((IMAGE,)),
    pages.audio_without_looking: frozenset((AUDIO,)),
    walks.sequence: frozenset((DOCUMENT, EMBED, DATA, IMAGE)),
    walks.search_walk: frozenset((SEARCH,)),
    walks.sitemap: frozenset((SITEMAP, DOCUMENT)),
    walks.coverage: _MUSIC,
    ears.tunes_per_ear: _MUSIC,
    ears.lanes: frozenset((SEGMENT, AUDIO)),
    ears.split_ranges: frozenset((AUDIO,)),
    ears.quota: frozenset((DOWNLOAD, AUDIO)),
    ears.audio_budget: _MUSIC | {DOWNLOAD},
}
"""The kinds of requests that a detector is asked about; one that does not stand here is asked about all."""

OF_CROWDS: tuple[Detector, ...] = (
    crowds.dead_prefix,
    crowds.dead_network,
    crowds.dead_shape,
    crowds.shared_sequence,
    crowds.lifeless_address,
    crowds.site_pressure,
    names.many_names,
)
"""Asked about neighbourhoods."""

ROLES_OF[ears.tunes_per_ear_at_home] = _MUSIC
BY_ADDRESS: tuple[Detector, ...] = (
    pages.lifeless_documents,
    pages.calls_without_life,
    ears.tunes_per_ear_at_home,
)
"""Asked about an address under one name, too, when a session was never seen to live: it may be another one each
time."""

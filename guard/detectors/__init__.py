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

DETECTORS: tuple[Detector, ...] = (
    names.liar,
    names.trap,
    names.always_on,
    pages.lifeless_documents,
    pages.wrong_fetch,
    pages.cold_audio,
    pages.data_for_nobody,
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
)
"""Asked about each ear."""

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

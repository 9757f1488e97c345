"""`variants`: days on which the simulator's numbers are moved, and days with liars of our own.

Each scraper persona has its moves, one parameter at a time. The first move of every persona makes one day, the second
another, and so on: they hardly touch each other, and a day costs the same with one move or with twenty. People are
moved on days of their own, with all scrapers as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from loadtests.practice import liars, listeners
from loadtests.practice.days import OFFENCE, offence_cells
from loadtests.practice.exam import SCRAPER, Marks, decide, make_day, mark, scorer, simulator
from loadtests.practice.jobs import run_jobs
from loadtests.practice.liars import LIARS
from loadtests.practice.showing import Cells, Section

GROUPS = ("scrapers", "people", "liars")


class Variant(NamedTuple):
    """One day. `said` tells for each persona what was moved; `more` writes further clients."""

    name: str
    group: str
    moved: Mapping[str, Any]
    said: Mapping[str, str]
    more: Callable[[ModuleType, Any], None] | None = None


SPECIAL: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "seq_walker_browser_ua": [("stride 2", {"stride": 2}), ("stride 7", {"stride": 7})],
    "headless_chrome_full": [
        ("three tabs", {"parallel_tabs": 3}),
        ("60-90 s between tracks", {"gap": (60, 90)}),
        ("0.3-1 s between tracks", {"gap": (0.3, 1)}),
    ],
    "residential_swarm_pages": [
        ("complete headers, none stale, 600 homes", {"impersonate": 1.0, "stale_ua": 0.0, "ips": 600}),
        ("two or three pages a home", {"per_ip": (2, 3)}),
        ("half of them with complete headers", {"impersonate": 0.5}),
    ],
    "subnet_swarm_dc": [
        ("complete headers, 40 addresses", {"impersonate": 1.0, "ips": 40}),
        ("two pages an address", {"per_ip": (2, 2)}),
    ],
    "image_only_harvester": [("forty addresses", {"ips": 40})],
    "search_enumerator": [("complete headers, a request each five seconds", {"impersonate": 1.0, "rps": 0.2})],
    "api_metadata_harvester": [("shuffled, a request each five seconds", {"shuffle": True, "rps": 0.2})],
    "hls_parallel_ripper": [("two lanes", {"workers": 2}), ("four lanes", {"workers": 4})],
    "range_splitter": [("two parts", {"parts": 2}), ("three parts", {"parts": 3})],
    "ytdlp_like": [("eight lanes", {"workers": 8})],
    "spotdl_threads": [
        ("one thread", {"workers": 1}),
        ("complete headers, one thread", {"workers": 1, "impersonate": 1}),
    ],
    "rotating_ua": [("complete headers, slow", {"impersonate": 1.0, "gap": (20, 60)})],
    "cookieless_browser": [("30-90 s between pages", {"gap": (30, 90)})],
    "waveform_dataset": [("30-60 s between tracks", {"gap": (30, 60)})],
    "account_ripper": [("99 tracks, below the quota", {"tracks": 99})],
}
"""Moves beside halving and doubling."""

LEFT = frozenset({("image_only_harvester", "ips"), ("seq_walker_browser_ua", "stride"), ("range_splitter", "parts")})
"""Where halving and doubling says nothing, or is said above."""

PEOPLE: list[tuple[str, dict[str, Any]]] = [
    (
        "a fuller NAT: 132 on one campus address, 102 commuters on two",
        {"human": {"university_nat": {"n": 132, "pool": 1}, "commuter_cgnat": {"n": 102, "pool": 2}}},
    ),
    (
        "six DJs with 60-100 tracks, eight offline syncs, nine Subsonic apps",
        {
            "human": {
                "dj_curator": {"n": 6, "tracks": (60, 100)},
                "premium_offline": {"n": 8, "tracks": (50, 95), "parallel": 6},
                "subsonic_sync": {"n": 9, "albums": (120, 250)},
            }
        },
    ),
    ("85 % come back with warm caches", {"returning": 0.85}),
    ("nobody comes back", {"returning": 0.0}),
    ("all play HLS", {"hls_share": 1.0}),
    ("nobody plays HLS", {"hls_share": 0.0}),
    (
        "60 odd browsers, 24 text readers with 15-30 pages, 60 hardened ones with 10-30",
        {
            "human": {
                "odd_browser": {"n": 60},
                "textmode_accessible": {"n": 24, "pages": (15, 30)},
                "privacy_hardened": {"n": 60, "pages": (10, 30)},
            }
        },
    ),
    (
        "long sittings: 20-60 tracks each, more skipped",
        {
            "skip_scale": 0.6,
            "human": {
                "web_chrome_casual": {"tracks": (20, 60)},
                "web_firefox_casual": {"tracks": (20, 60)},
                "web_safari_mac": {"tracks": (20, 60)},
                "ios_safari": {"tracks": (15, 40)},
                "mpv_vlc_fan": {"n": 20, "tracks": (15, 40)},
                "smart_speaker": {"n": 20, "tracks": (20, 60)},
            },
        },
    ),
    (
        "podcasts: 150 listeners, half with a backlog; 40 collectors searching",
        {
            "human": {
                "podcast_app": {"n": 150, "backlog": 0.5},
                "search_collector": {"n": 40, "queries": (60, 120)},
                "embed_viewer": {"n": 600, "play": 0.5},
                "release_flash_crowd": {"n": 500, "minutes": 6},
            }
        },
    ),
    (
        "a small catalogue: 900 tracks, segments of 4 s, 256 kbit/s",
        {"site": {"tracks": 900, "segment_s": 4.0, "kbps": 256, "artists": 120}},
    ),
    ("a large catalogue: 30,000 tracks, a third missing", {"site": {"tracks": 30_000, "missing": 0.33}}),
]


def make_variants(simulate: ModuleType) -> list[Variant]:
    """All days, from the parameters that the simulator has."""
    moves = {persona: _moves(persona, numbers) for persona, numbers in simulate.BASE["bot"].items()}
    found = []
    for number in range(max(map(len, moves.values()))):
        moved = {persona: of[number][1] for persona, of in moves.items() if number < len(of)}
        said = {persona: of[number][0] for persona, of in moves.items() if number < len(of)}
        found.append(Variant(f"scrapers {number + 1}", "scrapers", {"bot": moved}, said))
    found += [
        Variant(f"people {number}", "people", moved, {"": what}) for number, (what, moved) in enumerate(PEOPLE, 1)
    ]
    own = {"": "people of our own, none signed in: loadtests/practice/listeners.py"}
    found.append(Variant("people of ours", "people", {}, own, listeners.write_all))
    found.append(Variant("liars", "liars", {}, {}, liars.write_all))
    return found


def _moves(persona: str, numbers: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Each parameter halved and doubled, a share at its ends, a choice the other way; then what is special."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name, value in numbers.items():
        if (persona, name) in LEFT:
            continue
        if isinstance(value, bool):
            found.append((f"{name} {not value}", {name: not value}))
        elif name in ("impersonate", "stale_ua"):
            found += [(f"{name} {end:g}", {name: end}) for end in (0.0, 1.0) if end != value]
        else:
            found += [
                (f"{name} {_said(moved)}", {name: moved})
                for times in (0.5, 2.0)
                if (moved := _times(value, times)) != value
            ]
    return found + SPECIAL.get(persona, [])


def _times(value: Any, times: float) -> Any:
    if isinstance(value, tuple):
        return tuple(_times(one, times) for one in value)
    if isinstance(value, int):
        return max(1, int(value * times))
    return value * times


def _said(value: Any) -> str:
    return "-".join(_said(one) for one in value) if isinstance(value, tuple) else f"{value:g}"


def judge(shared: Path, seed: int, variant: Variant, names: Sequence[str]) -> dict[str, Marks]:
    day = make_day(shared, seed, variant.moved, variant.more)
    return {name: mark(shared, day, name, decide(day, name)) for name in names}


class Judged(NamedTuple):
    variant: Variant
    seed: int
    marks: dict[str, Marks]


def run(
    shared: Path,
    seeds: Sequence[int],
    only: str | None,
    names: Sequence[str],
    workers: int,
    say: Callable[[str], None],
) -> list[Judged]:
    simulate = simulator(shared)
    bars = scorer(shared).BARS
    days = [(seed, variant) for variant in make_variants(simulate) if only in (None, variant.group) for seed in seeds]
    say(f"days to judge: {len(days)}")

    def tell(at: int, found: dict[str, Marks]) -> None:
        one = Judged(days[at][1], days[at][0], found)
        for name, marks in found.items():
            low = [f"{row.persona} ({row.moved}) {row.said}" for row in _rows(one, name, bars) if row.low]
            overall = marks.overall
            say(
                f"{one.variant.name}, seed {one.seed}, {name}: {1000 * overall['harm_sessions']:.1f} of 1,000 sittings "
                f"harmed, {1000 * overall['annoy_sessions']:.1f} harmed or annoyed"
                + (f"; LOW {'; '.join(low)}" if low else "")
            )

    found = run_jobs(judge, [(shared, seed, variant, names) for seed, variant in days], workers, tell)
    return [Judged(variant, seed, marks) for (seed, variant), marks in zip(days, found, strict=True)]


# -- telling -----------------------------------------------------------------------------------------------


class Row(NamedTuple):
    persona: str
    moved: str
    stopped: float
    before: int
    audio_s: float
    audio_lost: float
    requests: int
    bar: tuple[float, int | None] | None
    first: str

    @property
    def said(self) -> str:
        return f"{self.stopped:.3f}/{self.before}"

    @property
    def low(self) -> bool:
        if self.bar is None:
            return False
        stop, first = self.bar
        return self.stopped < stop or (first is not None and self.before > first)


def _rows(one: Judged, name: str, bars: Mapping[str, tuple[float, int | None]]) -> list[Row]:
    """What was moved on a day of scrapers; all of them on a day of people, if they are low."""
    rows = []
    marks = one.marks[name]
    for persona, numbers in sorted(marks.personas(SCRAPER).items()):
        like = LIARS[persona][1] if persona in LIARS else persona
        moved = one.variant.said.get(persona, "")
        if persona in LIARS:
            moved = f"as {like}"
        stop = marks.stops.get(persona)
        first = ", ".join(f"{signal} {points:g}" for signal, points in stop["signals"].items()) if stop else ""
        row = Row(
            persona,
            moved,
            numbers["hard"],
            numbers["before_first"],
            numbers["audio_before_first_s"],
            numbers["audio_leak"],
            numbers["requests"],
            bars.get(like),
            first or (stop["rule"] if stop else "never"),
        )
        if moved or row.low:
            rows.append(row)
    return rows


def sections(found: Sequence[Judged], names: Sequence[str], shared: Path) -> list[Section]:
    bars = scorer(shared).BARS
    shown = []
    for name in names:
        shown.append(_days(found, name, bars))
        for group in GROUPS:
            if section := _group([one for one in found if one.variant.group == group], name, group, bars):
                shown.append(section)
    offences = [
        (one.variant.name, str(one.seed), name, *offence_cells(offence))
        for one in found
        for name in names
        for offence in one.marks[name].offences
    ]
    if offences:
        head = ("day", "seed", "policy", *OFFENCE)
        shown.append(Section("People and honest machines that were turned away or slowed down", head, offences))
    return shown


def _days(found: Sequence[Judged], name: str, bars: Mapping[str, Any]) -> Section:
    head: Cells = ("day", "what was moved", "seed", "harmed, per 1,000", "harmed or annoyed, per 1,000")
    head += ("honest machines refused, %", "scraping stopped, %", "low")
    rows: list[Cells] = []
    for one in found:
        overall = one.marks[name].overall
        rows.append(
            (
                one.variant.name,
                one.variant.said.get("", "parameters of scrapers" if one.variant.said else "liars of our own"),
                str(one.seed),
                f"{1000 * overall['harm_sessions']:.2f}",
                f"{1000 * overall['annoy_sessions']:.2f}",
                f"{100 * overall['good_bot_requests']:.2f}",
                f"{100 * overall['bot_stop_micro']:.1f}",
                str(sum(1 for row in _rows(one, name, bars) if row.low)),
            )
        )
    return Section(f"Moved days, {name}", head, rows)


TITLES = {
    "scrapers": "Scrapers with their parameters moved",
    "people": "Scrapers that are low where people were moved",
    "liars": "Liars with complete headers",
}


def _group(found: Sequence[Judged], name: str, group: str, bars: Mapping[str, Any]) -> Section | None:
    head: Cells = ("scraper", "moved", "seed", "requests", "stopped, %", "before the first stop", "audio before it, s")
    head += ("audio lost, %", "to meet", "", "first stopped by")
    every = sorted(
        ((row, one) for one in found for row in _rows(one, name, bars)),
        key=lambda pair: (pair[0].persona, pair[1].seed),
    )
    rows: list[Cells] = [
        (
            row.persona,
            row.moved or one.variant.name,
            str(one.seed),
            f"{row.requests:,}",
            f"{100 * row.stopped:.1f}",
            f"{row.before:,}",
            f"{row.audio_s:,.0f}",
            f"{100 * row.audio_lost:.0f}",
            f"{100 * row.bar[0]:.0f} / {row.bar[1] if row.bar[1] is not None else 'any'}" if row.bar else "",
            "LOW" if row.low else "ok",
            row.first,
        )
        for row, one in every
    ]
    if not rows:
        return None
    notes = ["To meet: % of requests to stop / requests before the first stop, the scorer's own bar."]
    if group == "scrapers":
        notes.append(
            "The bars are for the plain numbers: a scraper with half the requests has lost more of them, as a "
            "share, when it is stopped as early as before."
        )
    if group == "liars":
        notes.append("Who they are: loadtests/practice/liars.py. Each is held against the bar of the persona named.")
    return Section(f"{TITLES[group]}, {name}", head, rows, notes)


def as_data(found: Sequence[Judged], shared: Path) -> list[dict[str, Any]]:
    bars = scorer(shared).BARS
    return [
        {
            "day": one.variant.name,
            "group": one.variant.group,
            "moved": one.variant.moved,
            "seed": one.seed,
            "policy": name,
            "overall": marks.overall,
            "personas": [{**row._asdict(), "low": row.low} for row in _rows(one, name, bars)],
            "offences": marks.offences,
        }
        for one in found
        for name, marks in one.marks.items()
    ]


def all_met(found: Sequence[Judged], shared: Path) -> bool:
    """Nobody harmed, no honest machine refused, no scraper low, under our policy."""
    bars = scorer(shared).BARS
    return all(
        not one.marks[name].overall["harm_sessions"]
        and not one.marks[name].overall["good_bot_requests"]
        and not any(row.low for row in _rows(one, name, bars))
        for one in found
        for name in one.marks
    )

"""`days`: plain days of several seeds, under our policy and under each yardstick."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from loadtests.practice.exam import (
    OURS,
    QUIET,
    SCRAPER,
    YARDSTICKS,
    Marks,
    decide,
    make_day,
    mark,
    scorer,
)
from loadtests.practice.jobs import run_jobs
from loadtests.practice.showing import Cells, Section

Seed = dict[str, Marks]
"""The marks of one seed, by policy."""

NAMES = (OURS, QUIET, *YARDSTICKS)


def judge_seed(shared: Path, seed: int, names: Sequence[str], keep: Path | None) -> Seed:
    """One day of that seed under each policy."""
    day = make_day(shared, seed)
    if keep is not None:
        day.keep(keep, f"day-{seed}")
    return {name: mark(shared, day, name, decide(day, name)) for name in names}


def run(
    shared: Path,
    seeds: Sequence[int],
    names: Sequence[str],
    workers: int,
    keep: Path | None,
    say: Callable[[str], None],
) -> list[Seed]:
    """All seeds, in their order."""
    scorer(shared)  # complain before anything is started

    def tell(seed: int, found: Seed) -> None:
        for name in (name for name in (OURS, QUIET) if name in found):
            say(f"seed {seed}, {name}: {_in_words(found[name])}")

    return run_jobs(
        judge_seed, [(shared, seed, names, keep) for seed in seeds], workers, lambda at, f: tell(seeds[at], f)
    )


def _in_words(marks: Marks) -> str:
    overall, bars = marks.overall, marks.summary["bars"]
    low = [f"{name} {found} against {wanted}" for name, (met, found, wanted) in bars.items() if not met]
    return (
        f"{1000 * overall['harm_sessions']:.1f} of 1,000 sittings harmed, "
        f"{100 * overall['bot_stop_micro']:.1f} % of scraping stopped, bars {marks.bars_met} of {len(bars)}"
        + (f"; LOW {'; '.join(low)}" if low else "")
    )


# -- telling -----------------------------------------------------------------------------------------------


def sections(found: Sequence[Seed], seeds: Sequence[int]) -> list[Section]:
    names = [name for name in NAMES if name in found[0]]
    shown = [_policies(found, names, seeds), _scrapers(found, [name for name in names if name != QUIET])]
    if offences := _offences(found, seeds):
        shown.append(offences)
    return shown


def _policies(found: Sequence[Seed], names: Sequence[str], seeds: Sequence[int]) -> Section:
    head: Cells = (
        "policy",
        "sittings of people harmed, per 1,000",
        "worst seed",
        "harmed or annoyed, per 1,000",
        "worst seed",
        "honest machines refused, % of requests",
        "scraping stopped, % of requests",
        "mean over personas",
        "bars met, lowest seed",
    )
    rows: list[Cells] = []
    for name in names:
        all_ = [seed[name].overall for seed in found]
        sessions = sum(one["human_sessions"] for one in all_)
        harmed = sum(one["harm_sessions"] * one["human_sessions"] for one in all_)
        annoyed = sum(one["annoy_sessions"] * one["human_sessions"] for one in all_)
        bars = len(found[0][name].summary["bars"])
        rows.append(
            (
                name,
                f"{1000 * harmed / sessions:.2f}",
                f"{1000 * max(one['harm_sessions'] for one in all_):.1f}",
                f"{1000 * annoyed / sessions:.2f}",
                f"{1000 * max(one['annoy_sessions'] for one in all_):.1f}",
                f"{100 * mean(one['good_bot_requests'] for one in all_):.2f}",
                f"{100 * mean(one['bot_stop_micro'] for one in all_):.1f}",
                f"{100 * mean(one['bot_stop_macro'] for one in all_):.1f}",
                f"{min(seed[name].bars_met for seed in found)} of {bars}",
            )
        )
    first = found[0][names[0]].overall
    notes = (
        f"Seeds {', '.join(map(str, seeds))}. A day has about {first['human_requests']:,} requests of people in "
        f"{first['human_sessions']} sittings, and {first['bot_requests']:,} of scrapers. Simulated traffic: no figure "
        "for the field.",
        "Harmed: refused, or challenged where no challenge can be passed. Annoyed: slowed down, or asked to prove "
        "themselves.",
        "The yardsticks are policies of ours (loadtests/practice/yardsticks). What their limits refuse counts as "
        "refused; the scorer would take `throttle` for slowing down, and is left to do so for ours.",
        "CrowdSec's bucket counts distinct names of files, ours counts requests, and is harder on both sides; theirs "
        "then bans for hours, ours refuses what is too much. Its scenario for probing is missing.",
    )
    return Section(f"Policies, {len(found)} days", head, rows, notes=notes)


def _scrapers(found: Sequence[Seed], names: Sequence[str]) -> Section:
    head: Cells = ("scraper", "to stop, %", "stopped, %", "lowest", "requests before the first stop", "most")
    head += ("audio lost before it, s", *names[1:])
    rows: list[Cells] = []
    ours = names[0]
    for persona in sorted(found[0][ours].personas(SCRAPER)):
        bar = found[0][ours].summary["bars"].get(persona)
        of = [seed[ours].personas(SCRAPER)[persona] for seed in found]
        rows.append(
            (
                persona,
                f"{100 * float(str(bar[2]).split('/')[0]):.0f}" if bar else "",
                f"{100 * median(one['hard'] for one in of):.1f}",
                f"{100 * min(one['hard'] for one in of):.1f}",
                f"{median(one['before_first'] for one in of):.0f}",
                f"{max(one['before_first'] for one in of)}",
                f"{median(one['audio_before_first_s'] for one in of):,.0f}",
                *(_short([seed[name].personas(SCRAPER)[persona] for seed in found]) for name in names[1:]),
            )
        )
    notes = (
        f"Medians over the seeds, of {ours}. Of the yardsticks: % stopped / requests before the first stop / seconds "
        "of audio lost before it; who is never stopped has all of its requests before it.",
        "An operator with several clients counts as one, requests before the first stop are those of its worst; a "
        "stopped scraper goes on asking, so what is stopped is what it did not get.",
    )
    return Section("Scrapers", head, rows, notes=notes)


def _short(of: Sequence[dict[str, Any]]) -> str:
    stopped = 100 * median(one["hard"] for one in of)
    before = median(one["before_first"] for one in of)
    return f"{stopped:.0f} / {before:,.0f} / {median(one['audio_before_first_s'] for one in of):,.0f}"


def _offences(found: Sequence[Seed], seeds: Sequence[int]) -> Section | None:
    rows: list[Cells] = []
    for seed, marks in zip(seeds, found, strict=True):
        for name in (name for name in (OURS, QUIET) if name in marks):
            for one in marks[name].offences:
                rows.append((str(seed), name, *offence_cells(one)))
    if not rows:
        return None
    return Section(
        "People and honest machines that ours turned away or slowed down", ("seed", "policy", *OFFENCE), rows
    )


OFFENCE = ("who", "", "first request", "rule or signals", "requests", "User-Agent")


def offence_cells(one: dict[str, Any]) -> Cells:
    said = ", ".join(f"{name} {points:g}" for name, points in one["signals"].items())
    return (
        one["session"],
        "harmed" if one["harmed"] else "annoyed",
        f"{one['request'][:60]} ({one['ip']}, request {one['i']})",
        said or one["rule"],
        str(one["requests"]),
        one["user_agent"][:80],
    )


def as_data(found: Sequence[Seed], seeds: Sequence[int]) -> dict[str, Any]:
    return {
        "seeds": {
            str(seed): {
                name: {
                    "overall": one.overall,
                    "bars": one.summary["bars"],
                    "personas": one.summary["personas"],
                    "offences": one.offences,
                    "first_stops": one.stops,
                }
                for name, one in marks.items()
            }
            for seed, marks in zip(seeds, found, strict=True)
        }
    }


def all_met(found: Sequence[Seed]) -> bool:
    """Did ours meet every bar on every day?"""
    ours = [marks for seed in found for name, marks in seed.items() if name in (OURS, QUIET)]
    return all(bar[0] for marks in ours for bar in marks.summary["bars"].values())

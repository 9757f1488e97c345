"""From rounds to rows: medians of per-round ratios, the bars, and three ways to write them down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from rich.console import Console
from rich.table import Table

from loadtests.bench.parties import BIG_BYTES, Party
from loadtests.bench.wrk import Round

BUSY_ENOUGH = 0.90


@dataclass(frozen=True)
class Row:
    """One party's line, compared with its base in the same rounds.

    `ratio` is of requests a second. `cpu_ratio` is the same by CPU: what the base spends on a request through what
    this party spends. `gb_ratio` is of CPU for a GB, so that less is better.
    """

    key: str
    group: str
    label: str
    per_second: float
    ratio: float
    ratio_low: float
    ratio_high: float
    cpu_us: float
    cpu_us_low: float
    cpu_ratio: float
    gb_ratio: float
    cpu_s_per_gb: float
    mb_per_second: float
    p50_ms: float
    p99_ms: float
    busy: float
    sound: bool
    store_us: float | None
    store_commands: float | None
    store_scripts: float | None
    base: str
    rounds: tuple[Round, ...]


@dataclass(frozen=True)
class Bar:
    """One promise and what this run says of it."""

    name: str
    wanted: str
    measured: str
    passed: bool


def rows(parties: Sequence[Party], measured: dict[str, list[Round]]) -> list[Row]:
    return [_row(party, measured[party.key], measured[party.base or party.key]) for party in parties]


def _row(party: Party, own: list[Round], base: list[Round]) -> Row:
    ratios = [mine.per_second / theirs.per_second for mine, theirs in zip(own, base, strict=True)]
    costs = [theirs.cpu_us / mine.cpu_us for mine, theirs in zip(own, base, strict=True)]
    gb_costs = [mine.cpu_s_per_gb / theirs.cpu_s_per_gb for mine, theirs in zip(own, base, strict=True)]
    store = party.counts_in_store

    def middle(value: Callable[[Round], float]) -> float:
        return median(value(one) for one in own)

    return Row(
        key=party.key,
        group=party.group,
        label=party.label,
        per_second=middle(lambda one: one.per_second),
        ratio=median(ratios),
        ratio_low=min(ratios),
        ratio_high=max(ratios),
        cpu_us=middle(lambda one: one.cpu_us),
        cpu_us_low=min(one.cpu_us for one in own),
        cpu_ratio=median(costs),
        gb_ratio=median(gb_costs),
        cpu_s_per_gb=middle(lambda one: one.cpu_s_per_gb),
        mb_per_second=middle(lambda one: one.bytes / one.seconds / 1e6),
        p50_ms=middle(lambda one: one.p50_ms),
        p99_ms=middle(lambda one: one.p99_ms),
        busy=middle(lambda one: one.busy),
        sound=min(median(one.busy for one in rounds) for rounds in (own, base)) >= BUSY_ENOUGH,
        store_us=middle(lambda one: one.store_cpu_s / one.requests * 1e6) if store else None,
        store_commands=middle(lambda one: one.store_commands / one.requests) if store else None,
        store_scripts=middle(lambda one: one.store_scripts / one.requests) if store else None,
        base=party.base,
        rounds=tuple(own),
    )


# -- bars --------------------------------------------------------------------------------------------------


def middleware_bars(found: Sequence[Row]) -> list[Bar]:
    by_key = {row.key: row for row in found}
    groups = (("granian", "granian"), ("uvicorn", "uvicorn"), ("FastAPI", "fastapi"))
    bars = [
        _at_least(f"guard in process, {what}, {name}", by_key[f"{short}-{key}"], wanted[short], "of bare")
        for what, key, wanted in (
            ("no store", "guard", {"granian": 0.80, "uvicorn": 0.70, "fastapi": 0.95}),
            (
                "shared limit, leased",
                "guard-leased",
                {"granian": 0.70, "uvicorn": 0.65, "fastapi": 0.93},
            ),
        )
        for name, short in groups
    ]
    ours = by_key["fastapi-guard-leased"]
    bars += [
        _times(ours, by_key[f"fastapi-{key}"], name, wanted, waits=key.startswith("slowapi"))
        for name, key, wanted in (
            ("fastapi-guard (README)", "fastapi-guard-base", 10),
            ("fastapi-guard (its fastest)", "fastapi-guard", 1.5),
            ("slowapi (SlowAPIMiddleware)", "slowapi-base", 4),
            ("slowapi (its fastest)", "slowapi", 1.5),
            ("limits", "limits", 1.5),
            ("throttled-py", "throttled", 1.5),
        )
    ]
    for name, short in groups:
        calls = by_key[f"{short}-guard-leased"].store_scripts or 0.0
        bars.append(Bar(f"script calls per request, leased, {name}", "<= 0.05", f"{calls:.4f}", calls <= 0.05))
    return bars


def detection_bars(found: Sequence[Row]) -> list[Bar]:
    by_key = {row.key: row for row in found}
    return [
        _at_least(f"detection for listeners, {name}", by_key[f"{short}-watched"], 0.85, "of the guard without")
        for name, short in (("granian", "granian"), ("uvicorn", "uvicorn"), ("FastAPI", "fastapi"))
    ]


def _times(ours: Row, theirs: Row, name: str, wanted: float, waits: bool) -> Bar:
    """`waits`: their loop stands still while their store answers, so that a core not in use is their own doing."""
    sound = ours.sound and (theirs.sound or waits)

    def ratio(mine: Round, other: Round) -> float:
        return mine.per_second / other.per_second if sound else other.cpu_us / mine.cpu_us

    value = median(ratio(*both) for both in zip(ours.rounds, theirs.rounds, strict=True))
    said = f"{value:.1f}" if sound else f"{value:.1f} by CPU *"
    return Bar(f"guard with a shared limit (leased) against {name}, FastAPI", f">= {wanted:g} x", said, value >= wanted)


def sidecar_bars(found: dict[str, list[Row]]) -> list[Bar]:
    small = {row.key: row for row in found["small"]}
    big = {row.key: row for row in found["big"]}
    bars = [_at_least("sidecar with no-ai, small answers", small["ours"], 0.60, "of nginx proxy_pass")]
    for name, key in (("Caddy", "caddy"), ("Envoy", "envoy")):
        sound = small["ours"].sound and small[key].sound
        ours, theirs = (_judged(small[which], sound) for which in ("ours", key))
        wanted = f"> {theirs:.2f} of nginx proxy_pass"
        bars.append(
            Bar(f"sidecar with no-ai ahead of {name}, small answers", wanted, _said(ours, sound), ours > theirs)
        )
    cost = big["ours"].gb_ratio
    bars.append(Bar("sidecar with no-ai, CPU per GB at 5 MB", "<= 1.20 of tuned nginx", f"{cost:.2f}", cost <= 1.2))
    return bars


def _at_least(name: str, row: Row, wanted: float, of: str) -> Bar:
    value = _judged(row, row.sound)
    return Bar(name, f">= {wanted:.2f} {of}", _said(value, row.sound), value >= wanted)


def _judged(row: Row, sound: bool) -> float:
    """Throughput when both parties had a core to themselves; else it says who was disturbed, and CPU counts."""
    return row.ratio if sound else row.cpu_ratio


def _said(value: float, sound: bool) -> str:
    return f"{value:.2f}" if sound else f"{value:.2f} by CPU *"


# -- writing -----------------------------------------------------------------------------------------------

Cells = tuple[str, ...]
Section = tuple[str, Cells, list[Cells]]
"""Title, column heads, rows."""


def middleware_section(found: Sequence[Row], connections: int) -> Section:
    head = (
        "server, app",
        "guarded by",
        "requests/s",
        "ratio to bare",
        "low-high",
        "CPU us/req (min)",
        "ratio by CPU",
        "p50 ms",
        "p99 ms",
    )
    head += ("Valkey us/req", "scripts/req", "commands/req", "core busy")
    body = [
        (
            row.group,
            row.label,
            f"{row.per_second:,.0f}",
            f"{row.ratio:.2f}",
            f"{row.ratio_low:.2f}-{row.ratio_high:.2f}" if row.base else "",
            f"{row.cpu_us:.1f} ({row.cpu_us_low:.1f})",
            f"{row.cpu_ratio:.2f}",
            f"{row.p50_ms:.1f}",
            f"{row.p99_ms:.1f}",
            "" if row.store_us is None else f"{row.store_us:.1f}",
            "" if row.store_scripts is None else f"{row.store_scripts:.3f}",
            "" if row.store_commands is None else f"{row.store_commands:.2f}",
            _busy(row),
        )
        for row in found
    ]
    return f"Table 1. Middleware: {connections} connections, one worker, one core", head, body


def sidecar_sections(found: dict[str, list[Row]], connections: dict[str, int]) -> list[Section]:
    sections: list[Section] = []
    sizes = {"small": "a small JSON answer", "segment": "a 64 KiB segment", "big": f"a {BIG_BYTES / 1e6:.0f} MB file"}
    for kind, size in sizes.items():
        head: Cells = ("proxy", "requests/s", "ratio to nginx", "low-high", "CPU us/req (min)", "ratio by CPU")
        head += ("p50 ms", "p99 ms", "core busy") if kind == "small" else ("MB/s", "CPU s/GB", "core busy")
        body: list[Cells] = []
        for row in found[kind]:
            cells: Cells = (
                row.label,
                f"{row.per_second:,.0f}",
                f"{row.ratio:.2f}",
                f"{row.ratio_low:.2f}-{row.ratio_high:.2f}" if row.base else "",
                f"{row.cpu_us:,.1f} ({row.cpu_us_low:,.1f})",
                f"{row.cpu_ratio:.2f}",
            )
            if kind == "small":
                cells += (f"{row.p50_ms:.1f}", f"{row.p99_ms:.1f}")
            else:
                cells += (f"{row.mb_per_second:,.0f}", f"{row.cpu_s_per_gb:.2f}")
            body.append((*cells, _busy(row)))
        title = f"Table 2. Sidecar: {size}, {connections[kind]} connections, one worker, one core"
        sections.append((title, head, body))
    return sections


def _busy(row: Row) -> str:
    """A mark where the party was not the limit: its ratio then says less than its CPU."""
    return f"{row.busy * 100:.0f} %" + (" *" if row.busy < BUSY_ENOUGH else "")


def bars_section(bars: Sequence[Bar]) -> Section:
    body = [("PASS" if bar.passed else "MISS", bar.name, bar.wanted, bar.measured) for bar in bars]
    return "Bars", ("", "what", "wanted", "measured"), body


FOOTNOTE = (
    "Ratios are medians of per-round ratios; low-high are their extremes; by CPU: what the base spends on a request "
    "through what this party spends. "
    f"* = less than {BUSY_ENOUGH * 100:.0f} % of the core in use: the load generator, the upstream, the store or a "
    "neighbour was the limit. Bars are judged by throughput, and by CPU where a * makes throughput say nothing."
)


def print_all(machine: dict[str, str], sections: Sequence[Section], notes: Sequence[str]) -> None:
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=200)
    for name, fact in machine.items():
        console.print(f"{name + ':':<20} {fact}", soft_wrap=True)
    console.print()
    for title, head, body in sections:
        table = Table(title=title, title_justify="left", title_style="bold")
        for position, name in enumerate(head):
            text = position < (2 if head[0] != "proxy" else 1) or name in ("what", "wanted")
            table.add_column(name, justify="left" if text else "right", no_wrap=text)
        previous = ""
        for cells in body:
            if head[0] == "server, app" and previous and cells[0] != previous:
                table.add_section()
            shown = ("", *cells[1:]) if head[0] == "server, app" and cells[0] == previous else cells
            previous = cells[0]
            table.add_row(*shown)
        console.print(table)
        console.print()
    for note in (FOOTNOTE, *notes):
        console.print(f"- {note}", soft_wrap=True)


def as_markdown(machine: dict[str, str], sections: Sequence[Section], notes: Sequence[str]) -> str:
    lines = ["# Benchmark", "", *(f"- **{name}**: {fact}" for name, fact in machine.items())]
    for title, head, body in sections:
        text = 2 if head[0] != "proxy" else 1
        lines += ["", f"## {title}", "", f"| {' | '.join(head)} |"]
        lines.append("|" + "|".join("---" if position < text else "---:" for position in range(len(head))) + "|")
        lines += [f"| {' | '.join(cells)} |" for cells in body]
    lines += ["", *(f"- {note}" for note in (FOOTNOTE.replace("*", "\\*"), *notes)), ""]
    return "\n".join(lines)


def as_data(row: Row) -> dict[str, object]:
    """A row for JSON, with every round."""
    return {**asdict(row), "rounds": [one._asdict() for one in row.rounds]}

"""What is told of each client: how much it asked, whether and when it was refused, and what it had got by then."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from loadtests.clients.gates import Exchange, Gate
from loadtests.clients.listeners import Client, Visit
from loadtests.clients.platform import Sound

MOST_TRACKS = 50
"""Who has more of them before the first refusal was not stopped: that is a quarter of the catalogue."""

STOPPED_SHARE = 0.9
AROUND = ("/static/", "/img/", "/waveform/", "/favicon.ico", "/robots.txt", "/ws/", "/api/v1/heartbeat")
"""What is answered to anybody: no ripper comes for it."""


@dataclass
class Finding:
    client: str
    about: str
    expected: str
    """`never refused` or `stopped`."""
    address: str
    version: str
    ok: bool = False
    problems: list[str] = field(default_factory=list)
    requests: int = 0
    connections: int = 0
    refused: int = 0
    first_refusal: int | None = None
    """Which of its requests, counted from 1."""
    seconds_to_refusal: float | None = None
    audio_s: float = 0.0
    """Seconds of audio received in all."""
    audio_before_s: float = 0.0
    """Of those, what had been asked for before the first refusal. All that a ripper received is lost, this included."""
    tracks: int = 0
    """Different tracks or episodes of which audio was received."""
    tracks_before: int = 0
    refused_after: float | None = None
    """Of the content asked for after the first refusal, the share that was refused, too."""
    heard_s: float = 0.0
    """How far the clocks of the browser's players went; the other players have none we can see."""
    statuses: dict[str, int] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)


def find(client: Client, gate: Gate, visit: Visit, version: str, sound: Sound, trouble: str) -> Finding:
    """Judge one client by what passed its gate; `trouble` is what went wrong with the program itself."""
    exchanges = gate.exchanges
    refusals = [n for n, exchange in enumerate(exchanges) if exchange.refused]
    first = refusals[0] if refusals else None
    before = exchanges if first is None else exchanges[:first]
    end_s = inf if first is None else exchanges[first].ended_s
    after = [each for each in exchanges if each.asked_s > end_s and is_content(each.target)]
    finding = Finding(
        client.name,
        client.about,
        "never refused" if client.listener else "stopped",
        gate.address,
        version,
        requests=len(exchanges),
        connections=gate.connections,
        refused=len(refusals),
        first_refusal=None if first is None else first + 1,
        seconds_to_refusal=None if first is None else round(exchanges[first].asked_s - exchanges[0].asked_s, 2),
        audio_s=round(sum(heard(sound, each) for each in exchanges), 1),
        audio_before_s=round(sum(heard(sound, each) for each in before), 1),
        tracks=len(tracks_of(sound, exchanges)),
        tracks_before=len(tracks_of(sound, before)),
        refused_after=round(sum(each.refused for each in after) / len(after), 3) if after else None,
        heard_s=round(visit.heard_s, 1),
        statuses={str(status): n for status, n in sorted(Counter(each.status for each in exchanges).items())},
        told=visit.told,
    )
    finding.problems = list(judge(client, finding, trouble))
    finding.ok = not finding.problems
    return finding


def judge(client: Client, finding: Finding, trouble: str) -> Iterable[str]:
    """What is not as it should be."""
    if trouble:
        yield trouble
    if not finding.requests:
        yield "asked for nothing, so nothing is known of it"
    elif client.listener:
        if finding.refused:
            yield f"was refused {finding.refused} times, first at request {finding.first_refusal}"
        if not finding.audio_s:
            yield "received no audio"
        if broken := sum(number for status, number in finding.statuses.items() if status >= "500"):
            yield f"had {broken} answers that are errors of the server"
    elif not finding.refused:
        yield "was never refused"
    elif finding.tracks_before > MOST_TRACKS:
        yield f"was refused only when it had {finding.tracks_before} tracks"
    elif finding.refused_after is not None and finding.refused_after < STOPPED_SHARE:
        yield f"was let in again: only {finding.refused_after:.0%} of what it asked after its first refusal was refused"


def is_content(target: str) -> bool:
    """Pages, the API, playlists, audio: what a ripper is after."""
    return not target.startswith(AROUND)


def heard(sound: Sound, exchange: Exchange) -> float:
    """Seconds of audio in an answer."""
    return sound.seconds(exchange.target, exchange.body_bytes) if exchange.status in (200, 206) else 0.0


def tracks_of(sound: Sound, exchanges: Iterable[Exchange]) -> set[str]:
    found = {sound.track(each.target) for each in exchanges if heard(sound, each)}
    return {track for track in found if track is not None}


COLUMNS = (
    ("client", "client", 15),
    ("expected", "expected", 14),
    ("requests", "requests", 9),
    ("refused", "refused", 8),
    ("first", "first_refusal", 6),
    ("after s", "seconds_to_refusal", 8),
    ("audio s till then", "audio_before_s", 18),
    ("tracks", "tracks_before", 8),
    ("audio s in all", "audio_s", 15),
    ("heard s", "heard_s", 8),
)


def draw(findings: Iterable[Finding]) -> str:
    """The table for people, with what was wrong below each line."""
    lines = ["".join(f"{title:<{w}}" if n < 2 else f"{title:>{w}}" for n, (title, _, w) in enumerate(COLUMNS))]
    for finding in findings:
        told = asdict(finding)
        if finding.first_refusal is None and finding.expected == "never refused":
            told |= {"audio_before_s": None, "tracks_before": None}
        cells = ["-" if told[key] is None else str(told[key]) for _, key, _ in COLUMNS]
        row = "".join(
            f"{cell:<{w}}" if n < 2 else f"{cell:>{w}}"
            for n, (cell, (_, _, w)) in enumerate(zip(cells, COLUMNS, strict=True))
        )
        lines.append(f"{row}  {'PASS' if finding.ok else 'FAIL'}")
        lines += [f"    {problem}" for problem in finding.problems]
    return "\n".join(lines) + "\n"


def write_capture(file: Path, gates: Iterable[tuple[Client, Gate]], sound: Sound) -> int:
    """Every request as a JSON line, in the order of time. How many."""
    rows: list[dict[str, Any]] = []
    for client, gate in gates:
        for each in gate.exchanges:
            rows.append(
                {
                    "i": 0,
                    "t": round(each.asked_s, 4),
                    "dur": round(max(0.0, each.ended_s - each.asked_s), 4),
                    "ip": gate.address,
                    "proto": "h1",
                    "method": each.method,
                    "path": each.target,
                    "headers": each.headers,
                    "status": each.status,
                    "bytes": each.body_bytes,
                    "audio_s": round(heard(sound, each), 2),
                    "auth": None,
                    "ja4": None,
                    "persona": client.name,
                    "truth": "human" if client.listener else "bot",
                    "actor": client.name,
                    "session_label": f"{client.name}#0",
                    "can_js": client.windowed,
                    "connection": each.connection,
                    "refused": each.refused,
                }
            )
    rows.sort(key=lambda row: row["t"])
    with file.open("w", encoding="utf-8") as out:
        for n, row in enumerate(rows):
            out.write(json.dumps({**row, "i": n}, separators=(",", ":")) + "\n")
    return len(rows)

"""What the number of works costs: bringing a catalogue into a register, and asking for the rights of one track.

The catalogue is made up: tracks on releases of artists of labels, a tenth as many artists as tracks, and every artist
has opted out (at ten million tracks: a million choices). Rows stream straight into the import. Questions are for
tracks picked at random, so that SQLite's own cache helps as little as it will in service; the operating system has
the file in memory. Sizes take turns of a few milliseconds; figures are medians over all turns, ratios within a turn.
"""

from __future__ import annotations

import gc
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from guard.engine import Guard
from guard.load import read_policy
from guard.model import Request
from guard.registers.rows import Row
from guard.registers.sqlite import SqliteRegister
from guard.registers.swap import ImportReport, import_works
from guard.rights import Choice, Work
from loadtests.bench.tables import Bar, Cells, Section

SIZES = (1_000, 1_000_000, 10_000_000)
TURN = 200
_STEP = 7
_CHROME = (
    b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/157.0.0.0 Safari/537.36"
)
_POLICY = """version: 1
site: {{name: bench, url: "https://music.example"}}
default: allow
preferences: {{train-ai: allow, ai-use: allow, search: allow}}
routes: [{{class: media, paths: [/media/**]}}]
rights:
  source: {path}
  works: [{{path: "/media/{{track}}.mp3"}}, {{path: "/track/{{track}}"}}, {{path: "/artist/{{artist}}/**"}}]
"""
_OPTED_OUT = Choice({"": {"train-ai": "disallow", "ai-use": "disallow"}})


class Cost(NamedTuple):
    """One size. Import: seconds, rows a second, bytes for a work. Asking, in microseconds: from SQLite and from memory.

    Ratios are to the smallest register that has works (of memory: to one without). `answer`: deciding a request for a
    work that is often asked for and finding the header lines of its answer, by the whole guard; ratio to a register
    without works. `robots_kib` and `render_s`: robots.txt as it is served, and the seconds that all files take.
    """

    tracks: int
    works: int
    choices: int
    import_s: float
    rows_per_s: float
    bytes_per_work: float
    sqlite_us: float
    sqlite_p99_us: float
    sqlite_ratio: float
    memo_us: float
    memo_p99_us: float
    memo_ratio: float
    answer_us: float
    answer_ratio: float
    robots_kib: float
    render_s: float


def make_rows(tracks: int) -> Iterator[Row]:
    """The catalogue, the widest layer first. A track stands under its release and its artist."""
    artists, releases, labels = _parts(tracks)
    for number in range(labels):
        yield Row(Work("label", str(number)))
    for number in range(artists):
        yield Row(Work("artist", str(number)), (Work("label", str(number % labels)),), _OPTED_OUT)
    for number in range(releases):
        yield Row(Work("release", str(number)), (Work("artist", str(number % artists)),))
    for number in range(tracks):
        release = number * releases // tracks
        above = (Work("release", str(release)), Work("artist", str(release % artists)))
        yield Row(Work("track", str(_STEP * number)), above)


def _parts(tracks: int) -> tuple[int, int, int]:
    return max(1, tracks // 10), max(1, tracks // 12), max(1, tracks // 1_000)


def make_register(folder: Path, tracks: int) -> tuple[Path, ImportReport, float]:
    """A register of that many tracks, how it was made, and the CPU seconds of that.

    It is made in a process of its own, so that what that allocates does not slow down the questions.
    """
    path = folder / f"{tracks}.sqlite"
    words = [sys.executable, "-m", "loadtests.bench.rights", str(path), str(tracks)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    numbers = [float(word) for word in said.split()]
    report = ImportReport(*(int(one) for one in numbers[:8]), numbers[8], swapped=True)
    return path, report, numbers[9]


class _Asked:
    """One register, and the times of its answers in nanoseconds, turn by turn."""

    def __init__(self, path: Path, tracks: int) -> None:
        self.register = SqliteRegister(path)
        self.tracks = tracks
        self.sqlite: list[list[int]] = []
        self.memo: list[list[int]] = []
        self.answers: list[list[int]] = []
        self._random = random.Random(tracks)
        policy = read_policy(_POLICY.format(path=path))
        self.guard = Guard(policy, beside=lambda job: None)
        began = time.perf_counter()
        files = self.guard.files
        self.render_s = time.perf_counter() - began
        self.robots_kib = len(files["/robots.txt"].body) / 1024
        popular = [_STEP * number for number in range(0, 5 * TURN, 5)]  # the same for every size
        self._popular = [Request("GET", b"/media/%d.mp3" % number, _CHROME, "192.0.2.1") for number in popular]
        for request in self._popular:
            self.guard.headers_of(self.guard.decide(request))

    def turn(self) -> None:
        """A turn of questions never asked before, and then of the same ones, which are remembered."""
        numbers = [self._random.randrange(max(1, self.tracks)) for _ in range(TURN)]
        asked = [(Work("track", str(_STEP * number)),) for number in dict.fromkeys(numbers)]
        register = self.register
        # As an open register does twice a second: from here on, what is remembered counts for a while.
        register._look()
        register._answers.young.clear()
        register._answers._old.clear()
        self.sqlite.append(_time(register, asked))
        self.memo.append(_time(register, asked))
        _time_answers(self.guard, self._popular)  # the questions above have emptied the processor's caches
        self.answers.append(_time_answers(self.guard, self._popular))


def _time_answers(guard: Guard, requests: list[Request]) -> list[int]:
    taken: list[int] = []
    clock = time.perf_counter_ns
    for request in requests:
        began = clock()
        headers = guard.headers_of(guard.decide(request))
        taken.append(clock() - began)
        assert headers
    return taken


def _time(register: SqliteRegister, questions: list[tuple[Work, ...]]) -> list[int]:
    taken: list[int] = []
    clock, find = time.perf_counter_ns, register.find
    for question in questions:
        began = clock()
        known = find(question)
        taken.append(clock() - began)
        assert known.state == "known"
    return taken


def measure(rounds: int, say: Callable[[str], None], sizes: tuple[int, ...] = SIZES) -> list[Cost]:
    """Every size in turns, `rounds` times forty; the first row is a register without works."""
    with tempfile.TemporaryDirectory(prefix="guard-bench-") as folder:
        reports: dict[int, ImportReport] = {}
        paths: dict[int, Path] = {}
        for tracks in (0, *sizes):
            paths[tracks], reports[tracks], cpu_s = make_register(Path(folder), tracks)
            if (report := reports[tracks]).rows:
                rate = report.rows / report.seconds
                size = f"{report.bytes / 1e6:,.0f} MB"
                say(
                    f"{report.rows:,} rows in {report.seconds:.1f} s ({cpu_s:.1f} of CPU), {rate:,.0f} a second, {size}"
                )
        for path in paths.values():
            with path.open("rb") as file:  # no register is open yet, so no lock is lost
                while file.read(1 << 24):
                    pass
        asked = [_Asked(paths[tracks], tracks) for tracks in (0, *sizes)]
        gc.collect()
        gc.freeze()
        for turn in range(rounds * 40):
            for at in range(len(asked)):
                asked[(at + turn) % len(asked)].turn()
        say(f"{rounds * 40} turns of {TURN} questions for each of {len(asked)} sizes")
        return [_cost(one, asked, reports[one.tracks]) for one in asked]


def _cost(one: _Asked, asked: list[_Asked], report: ImportReport) -> Cost:
    smallest = next((other for other in asked if other.tracks), asked[0])

    def ratio(mine: list[list[int]], base: list[list[int]]) -> float:
        return median(median(own) / median(other) for own, other in zip(mine, base, strict=True))

    return Cost(
        one.tracks,
        report.works,
        report.choices,
        report.seconds,
        report.rows / report.seconds,
        report.bytes / report.works if report.works else 0.0,
        *_figures(one.sqlite),
        ratio(one.sqlite, smallest.sqlite),
        *_figures(one.memo),
        ratio(one.memo, asked[0].memo),
        _figures(one.answers)[0],
        ratio(one.answers, asked[0].answers),
        one.robots_kib,
        one.render_s,
    )


def _figures(turns: list[list[int]]) -> tuple[float, float]:
    """Median and 99th percentile of all answers, in microseconds."""
    taken = sorted(one for turn in turns for one in turn)
    return median(taken) / 1e3, taken[len(taken) * 99 // 100] / 1e3


def section(costs: list[Cost]) -> Section:
    head: Cells = ("tracks", "", "works", "choices", "import s", "rows/s", "bytes/work")
    head += ("find, SQLite us", "p99", "ratio", "find, memory us", "p99", "ratio")
    head += ("decide and headers us", "ratio", "robots.txt KiB", "all files s")
    body: list[Cells] = [
        (
            f"{cost.tracks:,}",
            "",
            f"{cost.works:,}",
            f"{cost.choices:,}",
            f"{cost.import_s:,.1f}",
            f"{cost.rows_per_s:,.0f}",
            f"{cost.bytes_per_work:.0f}",
            f"{cost.sqlite_us:.1f}",
            f"{cost.sqlite_p99_us:.1f}",
            f"{cost.sqlite_ratio:.2f}",
            f"{cost.memo_us:.2f}",
            f"{cost.memo_p99_us:.2f}",
            f"{cost.memo_ratio:.2f}",
            f"{cost.answer_us:.2f}",
            f"{cost.answer_ratio:.2f}",
            f"{cost.robots_kib:.0f}",
            f"{cost.render_s:.2f}",
        )
        for cost in costs
    ]
    return "Table 4. Rights: what the number of works costs, in process", head, body


def bars(costs: list[Cost]) -> list[Bar]:
    most = costs[-1]
    tracks = f"{most.tracks:,} tracks"
    return [
        Bar(
            f"rights of a track never asked for, {tracks}, median",
            "<= 50 us",
            f"{most.sqlite_us:.1f} us",
            most.sqlite_us <= 50,
        ),
        Bar(
            f"rights of a track asked for before, {tracks}, median",
            "<= 5 us",
            f"{most.memo_us:.2f} us",
            most.memo_us <= 5,
        ),
        Bar(
            f"deciding and stating, {tracks}, of a register without works",
            "<= 1.10",
            f"{max(cost.answer_ratio for cost in costs):.2f}",
            all(cost.answer_ratio <= 1.10 for cost in costs),
        ),
        Bar(
            f"robots.txt, {tracks}",
            "<= 500 KiB",
            f"{max(cost.robots_kib for cost in costs):.0f} KiB",
            all(cost.robots_kib <= 500 for cost in costs),
        ),
        Bar(
            f"import, {tracks}",
            ">= 150,000 rows/s",
            f"{most.rows_per_s:,.0f} rows/s",
            most.rows_per_s >= 150_000,
        ),
    ]


def _import(path: str, tracks: int) -> None:
    gc.disable()  # as the command does
    report = import_works(path, make_rows(tracks) if tracks else (), by="bench", at_s=time.time())
    numbers = (*report[:9], time.process_time())
    sys.stdout.write(" ".join(str(number) for number in numbers) + "\n")


if __name__ == "__main__":
    _import(sys.argv[1], int(sys.argv[2]))

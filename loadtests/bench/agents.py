"""Naming agents: how many are found, how few listeners are hit, and what a User-Agent costs, beside others who do it.

Quality needs a labelled corpus (JSON Lines: ua, label, group, conf, weight). Labels: `ai` is to be found, `human` is
never to be called anything but a player, a device or a browser, `negative_token` never AI. Cost is that of
User-Agents never seen before, each once, in a fresh table; everybody gets the same ones, in turns; medians.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from guard.classify import Catalogue, name_browser, warm
from guard.engine import Guard
from guard.load import read_policy, shipped_catalogue
from guard.model import Agent
from guard.networks import PrefixTable
from loadtests.bench.processes import BenchError
from loadtests.bench.tables import Bar, Cells, Section

SIZES = (100, 2_000)
SAMPLE = 2_000
_TURN = 100
_BROWSERS = ("browser", "car", "console", "peripheral", "smart_speaker", "tv", "wearable", "portable_player")
_MUSIC = ("music", "podcast", "subsonic", "network_player")
_SPARED = frozenset(("browser", "player", "device", "unknown"))
ISBOT = "isbot@5.2.3"


class Row(NamedTuple):
    """One line of a corpus."""

    ua: str
    label: str
    group: str
    high: bool
    synthetic: bool


class Found(NamedTuple):
    """What somebody makes of a corpus: shares of 1, and of listeners a count. `ai`: called AI, not only a robot."""

    who: str
    ai: float
    high: float
    audio: float
    tricky: float
    evasion: float
    glued: int
    others: int
    browsers: int
    music: int
    humans: int


class Cost(NamedTuple):
    """Microseconds for a User-Agent: never seen (median, p99), and seen before."""

    who: str
    cold_us: float
    cold_p99_us: float
    warm_us: float


def read_corpus(path: Path) -> list[Row]:
    rows = []
    for line in path.read_text("utf-8").splitlines():
        said = json.loads(line)
        high = said.get("conf") == "high"
        rows.append(Row(said["ua"], said["label"], said["group"], high, bool(said.get("synthetic"))))
    return rows


# -- quality -----------------------------------------------------------------------------------------------


Naming = Callable[[str], tuple[bool, bool]]
"""Is it AI, and is it anything else than somebody's browser, player or device?"""


def judge(who: str, name: Naming, rows: Iterable[Row]) -> Found:
    """`who` on a corpus, scored as its labels ask."""
    plain: list[bool] = []
    high: list[bool] = []
    audio: list[bool] = []
    tricky: list[bool] = []
    evasion: list[bool] = []
    glued = others = browsers = music = humans = 0
    for row in rows:
        ai, robot = name(row.ua)
        if row.label == "ai" and row.group.startswith("tricky_"):
            tricky.append(ai)
        elif row.label == "ai" and not row.synthetic:
            plain.append(ai)
            if row.high:
                high.append(ai)
            if row.group == "audio_ai":
                audio.append(ai)
        elif row.label == "evasion":
            evasion.append(ai)
        elif row.label == "negative_token":
            glued += ai
        elif row.label == "bot" and row.group in ("search", "preview"):
            others += ai
        elif row.label == "human" and robot:
            humans += 1
            browsers += row.group.startswith(_BROWSERS)
            music += row.group.startswith(_MUSIC)
    shares = (_share(plain), _share(high), _share(audio), _share(tricky), _share(evasion))
    return Found(who, *shares, glued, others, browsers, music, humans)


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits) if hits else 1.0


def ours(catalogue: Catalogue) -> Naming:
    def name(user_agent: str) -> tuple[bool, bool]:
        category = catalogue.find(user_agent.encode()).category
        return category.startswith("ai-"), category not in _SPARED

    return name


# -- peers: each knows robots, some know AI among them ------------------------------------------------------


def peers() -> dict[str, tuple[Naming, Callable[[str], object]]]:
    """By name: what they call AI and robots, and the call that is timed."""
    import crawleruseragents
    import ua_parser
    from device_detector import DeviceDetector

    tagged = {
        number
        for number, entry in enumerate(crawleruseragents.CRAWLER_USER_AGENTS_DATA)
        if "ai-crawler" in entry.get("tags", ())
    }

    def crawler_user_agents(user_agent: str) -> tuple[bool, bool]:
        found = crawleruseragents.matching_crawlers(user_agent)
        return not tagged.isdisjoint(found), bool(found)

    def spider(user_agent: str) -> tuple[bool, bool]:
        device = ua_parser.parse_device(user_agent)
        robot = device is not None and device.family == "Spider"
        return robot, robot

    def detector(user_agent: str) -> tuple[bool, bool]:
        found = DeviceDetector(user_agent).parse()
        category = str((found.all_details.get("bot") or {}).get("category", ""))
        return category.startswith("AI "), bool(found.is_bot())

    return {
        "crawler-user-agents, tag ai-crawler": (crawler_user_agents, crawleruseragents.is_crawler),
        "ua-parser, device Spider": (spider, ua_parser.parse),
        "device_detector, AI categories": (detector, lambda text: DeviceDetector(text).parse()),
    }


_NODE = """
import { isbot } from 'isbot';
import { readFileSync } from 'node:fs';
const { all, some } = JSON.parse(readFileSync(process.argv[2], 'utf8'));
for (const ua of all.slice(0, 50)) isbot(ua);
const times = some.map((ua) => {
  const start = process.hrtime.bigint();
  isbot(ua);
  return Number(process.hrtime.bigint() - start) / 1000;
});
console.log(JSON.stringify({ found: all.map((ua) => isbot(ua)), times }));
"""


def ask_isbot(all_of_them: Sequence[str], some: Sequence[str]) -> tuple[list[bool], list[float]]:
    """What isbot (npm) says of each, and microseconds for each of `some`. Raises BenchError."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise BenchError("isbot needs node and npm (Debian: nodejs npm)")
    with tempfile.TemporaryDirectory(prefix="guard-bench-") as name:
        folder = Path(name)
        install = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", name, ISBOT]
        done = subprocess.run(install, capture_output=True, text=True, timeout=180, check=False)
        if done.returncode:
            raise BenchError(f"npm cannot install {ISBOT}:\n{done.stderr[-500:]}")
        (folder / "ask.mjs").write_text(_NODE, "utf-8")
        (folder / "asked.json").write_text(json.dumps({"all": list(all_of_them), "some": list(some)}), "utf-8")
        asked = subprocess.run(
            [node, "ask.mjs", "asked.json"], cwd=folder, capture_output=True, text=True, timeout=180, check=False
        )
        if asked.returncode:
            raise BenchError(f"isbot: {asked.stderr[-500:]}")
        said = json.loads(asked.stdout)
        return said["found"], said["times"]


# -- cost --------------------------------------------------------------------------------------------------


def sized(count: int) -> Catalogue:
    """A catalogue of `count` agents: those that ship, cut off or filled up with names that begin alike."""
    agents = list(shipped_catalogue().agents[:count])
    for number in range(len(agents), count):
        name = f"acme-{number}-collector" if number % 2 else f"Collector{number}"
        agents.append(Agent(name, name, "", "Acme", "ai-train", ("train-ai",), samples=(name,)))
    return Catalogue(agents)


def time_each(call: Callable[[str], object], texts: Sequence[str]) -> list[float]:
    """Microseconds of each call."""
    clock = time.perf_counter
    taken = []
    for text in texts:
        start = clock()
        call(text)
        taken.append((clock() - start) * 1e6)
    return taken


def measure_cost(rounds: int, texts: Sequence[str], say: Callable[[str], None]) -> tuple[list[Cost], float]:
    """What each costs, and the ratio of the largest catalogue to the smallest."""
    warm()
    calls: dict[str, Callable[[str], object]] = {}
    catalogues = {size: sized(size) for size in SIZES}

    def finder(catalogue: Catalogue) -> Callable[[str], object]:
        return lambda text: catalogue.find(text.encode())

    calls["guard, as it ships"] = finder(shipped_catalogue())
    for size, catalogue in catalogues.items():
        calls[f"guard, {size:,} agents"] = finder(catalogue)
    calls |= {who: timed for who, (_, timed) in peers().items()}
    taken: dict[str, list[float]] = {who: [] for who in calls}
    ratios: list[float] = []
    for number in range(rounds):
        say(f"naming: round {number + 1} of {rounds}")
        for start in range(0, len(texts), _TURN):
            turn = texts[start : start + _TURN]
            medians: dict[str, float] = {}
            for who, call in calls.items():
                if number and who.startswith(("device", "ua-parser")):
                    continue  # they remember what they have seen
                if who.startswith("device") and start >= 2 * _TURN:
                    continue  # ten milliseconds each: a few hundred tell it as well
                name_browser.cache_clear()
                times = time_each(call, turn)
                taken[who] += times
                medians[who] = median(times)
            names = [f"guard, {size:,} agents" for size in SIZES]
            ratios.append(medians[names[-1]] / medians[names[0]])
    guard = Guard(read_policy("{version: 1, site: {name: bench}, default: allow}"))
    octets = [text.encode() for text in texts[:_TURN]]
    for one in octets:
        guard.name_agent(one)
    again: list[float] = []
    for _ in range(50 * rounds):
        start_s = time.perf_counter()
        for one in octets:
            guard.name_agent(one)
        again.append((time.perf_counter() - start_s) * 1e6 / len(octets))
    costs = [
        Cost(who, median(times), sorted(times)[int(len(times) * 0.99)], median(again) if "ships" in who else 0.0)
        for who, times in taken.items()
    ]
    return costs, median(ratios)


def measure_table(nets: int = 100_000, asked: int = 20_000) -> float:
    """Microseconds to find an address among `nets` networks, median over turns."""
    from ipaddress import IPv4Network, ip_address

    chance = random.Random(7)
    table = PrefixTable(
        {
            f"list {number % 40}": [IPv4Network((chance.getrandbits(32) & ~0xFF, 24)) for _ in range(nets // 40)]
            for number in range(40)
        }
    )
    addresses = [str(ip_address(chance.getrandbits(32))) for _ in range(asked)]
    turns = []
    for start in range(0, asked, 500):
        turn = addresses[start : start + 500]
        start_s = time.perf_counter()
        for address in turn:
            table.find(address)
        turns.append((time.perf_counter() - start_s) * 1e6 / len(turn))
    return median(turns)


# -- all of it ---------------------------------------------------------------------------------------------


class Measured(NamedTuple):
    """`found` is empty where no corpus was at hand."""

    found: list[Found]
    costs: list[Cost]
    growth: float
    table_us: float
    corpus: str


def measure(rounds: int, say: Callable[[str], None], corpus: Path | None) -> Measured:
    rows = read_corpus(corpus) if corpus is not None and corpus.is_file() else []
    texts = [row.ua for row in rows] or [sample for agent in shipped_catalogue().agents for sample in agent.samples]
    texts = list(dict.fromkeys(texts))
    random.Random(11).shuffle(texts)
    some = texts[:SAMPLE]
    found: list[Found] = []
    said, isbot_times = ask_isbot([row.ua for row in rows], some)
    if rows:
        say(f"naming: {len(rows):,} User-Agents with labels")
        found.append(judge("guard", ours(shipped_catalogue()), rows))
        found += [judge(who, naming, rows) for who, (naming, _) in peers().items()]
        answers = dict(zip((row.ua for row in rows), said, strict=True))
        found.append(judge("isbot (npm), any robot", lambda ua: (answers[ua], answers[ua]), rows))
    costs, growth = measure_cost(rounds, some, say)
    costs.append(Cost(ISBOT, median(isbot_times), sorted(isbot_times)[int(len(isbot_times) * 0.99)], 0.0))
    return Measured(found, costs, growth, measure_table(), corpus.name if rows and corpus else "")


def sections(measured: Measured) -> list[Section]:
    made: list[Section] = []
    if measured.found:
        head: Cells = ("who", "AI found", "of high confidence", "audio pipelines", "tricky", "hidden")
        head += ("glued words", "search or preview as AI", "browsers, devices hit", "music, podcasts hit", "people hit")
        body: list[Cells] = [
            (
                one.who,
                f"{one.ai:.3f}",
                f"{one.high:.3f}",
                f"{one.audio:.3f}",
                f"{one.tricky:.3f}",
                f"{one.evasion:.2f}",
                *(str(count) for count in one[6:]),
            )
            for one in measured.found
        ]
        made.append((f"Table 5. Who is found, and who is hit, on {measured.corpus}", head, body))
    head = ("who", "", "never seen us", "p99", "seen before us")
    cells: list[Cells] = [
        (
            cost.who,
            "",
            f"{cost.cold_us:,.1f}",
            f"{cost.cold_p99_us:,.0f}",
            f"{cost.warm_us:.2f}" if cost.warm_us else "",
        )
        for cost in measured.costs
    ]
    made.append(("Table 6. What a User-Agent costs, in process", head, cells))
    return made


def bars(measured: Measured) -> list[Bar]:
    made: list[Bar] = []
    if measured.found:
        mine = measured.found[0]
        made += [
            Bar("AI found", ">= 0.98", f"{mine.ai:.3f}", mine.ai >= 0.98),
            Bar("AI of high confidence found", "1.00", f"{mine.high:.3f}", mine.high == 1),
            Bar("audio pipelines found", ">= 0.95", f"{mine.audio:.3f}", mine.audio >= 0.95),
            Bar("tricky ones found", ">= 0.98", f"{mine.tricky:.3f}", mine.tricky >= 0.98),
            Bar("glued words taken for AI", "0", str(mine.glued), mine.glued == 0),
            Bar("search or preview called AI", "0", str(mine.others), mine.others == 0),
            Bar("people's programs called a machine", "0", str(mine.humans), mine.humans == 0),
        ]
    cost = measured.costs[0]
    made += [
        Bar("naming a User-Agent never seen, median", "<= 60 us", f"{cost.cold_us:.1f} us", cost.cold_us <= 60),
        Bar("naming one seen before, median", "<= 1 us", f"{cost.warm_us:.2f} us", cost.warm_us <= 1),
        Bar("naming, 2,000 agents to 100", "<= 1.10", f"{measured.growth:.2f}", measured.growth <= 1.10),
        Bar("address among 100,000 networks, median", "<= 2 us", f"{measured.table_us:.2f} us", measured.table_us <= 2),
    ]
    return made

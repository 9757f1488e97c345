"""Two artists choose: one withdraws a track from all AI, another licenses one to a single company.

Both do it as they would on a platform's settings page, through the rights API. What every surface says is looked at
before and after: headers, robots.txt, the licence, the page for people, and who is let in.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from guard.demo.catalogue import compose_catalogue
from guard.moments import write_moment
from guard.protocols import Change
from guard.registers.rows import Row
from guard.registers.sqlite import SqliteRegister
from guard.registers.swap import import_works
from guard.rights import Choice, Work, read_choice, write_choice
from guard.sources import shipped_folder

SEED = 7
WORKERS = 4
WITHIN_S = 3.0
"""So long a switch may take until every worker obeys it."""
ASKED = 32
"""So many new connections must agree; the kernel deals them out to the workers."""

GPTBOT = "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; GPTBot/1.3; +https://openai.com/gptbot"
CCBOT = "CCBot/2.0 (https://commoncrawl.org/faq/)"
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/157.0.0.0 Safari/537.36"
)
HOME, ELSEWHERE = "203.0.113.7", "192.0.2.66"
"""Where the policy says that GPTBot comes from, and where it does not."""

NOT_ALLOWED = (
    "Training AI on this track is not allowed. "
    "Feeding this track to AI, for answers, summaries or transcripts, is not allowed."
)
LICENCE = "https://label.example/licences/demo"


@dataclass(frozen=True)
class Stage:
    """Everything that stands for the two: where the guard and its API answer, the register, and a token."""

    folder: Path
    port: int
    api_port: int
    token: str

    @property
    def register(self) -> Path:
        return self.folder / "rights.sqlite"

    @property
    def policy(self) -> Path:
        return self.folder / "policy.yaml"

    @property
    def tokens(self) -> Path:
        return self.folder / "tokens"


class Sight(NamedTuple):
    """What one surface says before and after a switch. `took_s`: seconds from the switch until all
    workers had been seen to say so (surfaces are looked at one after another); None = never."""

    surface: str
    before: str
    after: str
    expected: str
    took_s: float | None

    @property
    def good(self) -> bool:
        return self.took_s is not None and self.took_s <= WITHIN_S


def set_stage(folder: Path, port: int, api_port: int) -> Stage:
    """A policy, a register of the demo's whole catalogue and a token, in a folder of their own."""
    stage = Stage(folder, port, api_port, secrets.token_urlsafe(32))
    text = (shipped_folder() / "artists-choice.yaml").read_text(encoding="utf-8")
    text = text.partition("\nexamples:")[0] + "\n"
    for old, new in (
        ("source: registers/artists-choice.yaml", "source: rights.sqlite"),
        ("  name: This music platform\n", f"  name: Hollow Reed\n  url: http://127.0.0.1:{port}\n"),
        ("  # contact: mailto:rights@your-platform.example", "  contact: mailto:rights@hollow-reed.example"),
        ("  published_networks:", "  trusted_proxies: [127.0.0.1/32]\n  published_networks:"),
    ):
        assert old in text, old
        text = text.replace(old, new, 1)
    stage.policy.write_text(text, encoding="utf-8")
    stage.tokens.write_text(f"settings page: {stage.token}\n", encoding="utf-8")
    stage.tokens.chmod(0o600)
    import_works(stage.register, list_works(), by="the platform", reason="catalogue", at_s=time.time())
    opened = read_choice({"preferences": {"train-ai": "open", "ai-use": "open"}})
    first = Work("track", str(choose_tracks()[0]))
    SqliteRegister(stage.register).put(
        Change(time.time(), first, opened, "the artist", "may be heard by everybody, machines too")
    )
    return stage


def list_works() -> Iterator[Row]:
    """Every artist, release and track of the demo, and what stands above each."""
    catalogue = compose_catalogue(SEED)
    for artist in catalogue.artists:
        yield Row(Work("artist", artist.name), (), None)
    for album in catalogue.albums:
        yield Row(Work("release", str(album.id)), (Work("artist", album.artist.name),), None)
    for track in catalogue.tracks:
        above = (Work("release", str(track.album.id)), Work("artist", track.album.artist.name))
        yield Row(Work("track", str(track.id)), above, None)


def choose_tracks() -> tuple[int, int]:
    """The track that its artist had opened, and one of another artist."""
    tracks = compose_catalogue(SEED).tracks
    first = tracks[0]
    other = next(track for track in tracks if track.album.artist is not first.album.artist)
    return first.id, other.id


def works_of() -> tuple[Work, ...]:
    """The two tracks whose switches are turned."""
    return tuple(Work("track", str(number)) for number in choose_tracks())


def tell_history(stage: Stage, work: Work) -> list[str]:
    """Every word about a work, the oldest first: when, by whom, why, and what."""
    return [
        f"{write_moment(change.at_s)}  {change.by}: {change.reason or '-'}  {_words(change.choice)}"
        for change in SqliteRegister(stage.register).history(work)
    ]


def _words(choice: Choice | None) -> str:
    said = {} if choice is None else write_choice(choice)
    return json.dumps({key: value for key, value in said.items() if key not in ("by", "at", "reason")}) if said else "-"


# -- asking ------------------------------------------------------------------------------------------------


def ask(
    stage: Stage, path: str, user_agent: str = CHROME, address: str = "192.0.2.9"
) -> tuple[int, dict[str, str], str]:
    """Status, headers (names in lower case) and body of one request on a connection of its own."""
    connection = HTTPConnection("127.0.0.1", stage.port, timeout=10)
    try:
        headers = {"User-Agent": user_agent, "X-Forwarded-For": address, "Accept": "*/*"}
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read().decode("utf-8", "replace")
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body
    finally:
        connection.close()


def put(stage: Stage, work: Work, said: dict[str, Any]) -> None:
    """What the settings page does when an artist turns a switch. Raises RuntimeError when it is not accepted."""
    connection = HTTPConnection("127.0.0.1", stage.api_port, timeout=10)
    try:
        headers = {"Authorization": f"Bearer {stage.token}", "Content-Type": "application/json"}
        path = f"/guard/api/rights/{work.layer}/{quote(work.id, safe='')}"
        connection.request("PUT", path, json.dumps(said), headers)
        answer = connection.getresponse()
        body = answer.read().decode("utf-8", "replace")
        if answer.status not in (200, 201):
            raise RuntimeError(f"the API answered {answer.status}: {body}")
    finally:
        connection.close()


Look = Callable[[], str]


def status(stage: Stage, path: str, user_agent: str, address: str) -> Look:
    return lambda: str(ask(stage, path, user_agent, address)[0])


def header(stage: Stage, path: str, name: str) -> Look:
    return lambda: ask(stage, path)[1].get(name, "nothing")


def robots_for(stage: Stage, token: str, path: str) -> Look:
    """What robots.txt tells one crawler of one address."""

    def look() -> str:
        from guard.robotstxt import read_robots

        return "may fetch" if read_robots(ask(stage, "/robots.txt")[2]).allowed(token, path) else "may not"

    return look


def licence(stage: Stage, work: Work, usage: str) -> Look:
    """What the work's own licence document says of a use, and whether a licence is to be had."""

    def look() -> str:
        from guard.directives import rsl

        text = ask(stage, f"/license.xml?work={quote(str(work), safe='')}")[2]
        address = f"/track/{work.id}"
        return rsl.evaluate(rsl.read(text), address, usage) + (", licence offered" if LICENCE in text else "")

    return look


def page_of(stage: Stage, work: Work) -> Look:
    """The first sentences of the work's own page for people."""

    def look() -> str:
        text = ask(stage, f"/ai-policy?work={quote(str(work), safe='')}")[2]
        return " ".join(re.findall(r'<p class="lead">([^<]*)</p>', text))

    return look


def works_told(stage: Stage) -> Look:
    """What the page for people says of works with choices of their own."""

    def look() -> str:
        told = json.loads(ask(stage, "/ai-policy.json")[2])
        return f"{told['works']['total']} works have a word of their own"

    return look


def explained(stage: Stage, path: str) -> Look:
    """What `guard explain` says of the decision, from the same files that the guard reads."""

    def look() -> str:
        from guard.cli.explain import explain
        from guard.engine import Guard
        from guard.load import load_policy
        from guard.model import Request

        guard = Guard(load_policy(stage.policy))
        request = Request("GET", path.encode(), GPTBOT.encode(), HOME)
        told = explain(guard, request)
        return f"{told['standing']}: {told['decision']['action']}"

    return look


# -- the two switches --------------------------------------------------------------------------------------


def play(stage: Stage, tell: Callable[[str], None] = lambda line: None) -> list[Sight]:
    """Both switches, one after the other; what each surface said before and after."""
    withdrawn, licensed = (Work("track", str(number)) for number in choose_tracks())
    page, audio = f"/track/{withdrawn.id}", f"/media/{withdrawn.id}.mp3"
    tell(f"{withdrawn}: its artist had opened it to AI; now it is withdrawn from all AI")
    first = [
        ("GPTBot, verified, asks for the audio", status(stage, audio, GPTBOT, HOME), "403"),
        ("CCBot asks for the page", status(stage, page, CCBOT, ELSEWHERE), "403"),
        ("a listener asks for the audio", status(stage, audio, CHROME, ELSEWHERE), "200"),
        ("Content-Usage of the audio", header(stage, audio, "content-usage"), "train-ai=n, ai-use=n, search=y"),
        ("TDM-Reservation of the page", header(stage, page, "tdm-reservation"), "1"),
        ("robots.txt to GPTBot, the page", robots_for(stage, "GPTBot", page), "may not"),
        ("RSL, to train", licence(stage, withdrawn, "ai-train"), "prohibited"),
        (
            "the work's page for people",
            page_of(stage, withdrawn),
            NOT_ALLOWED,
        ),
        ("guard explain, GPTBot", explained(stage, audio), "reserved: block"),
    ]
    no_ai = {"preferences": {"train-ai": "disallow", "ai-use": "disallow"}, "licences": [], "reason": "no AI at all"}
    sights = switch(first, lambda: put(stage, withdrawn, no_ai))
    page, audio = f"/track/{licensed.id}", f"/media/{licensed.id}.mp3"
    tell(f"{licensed}: reserved as the platform is; now its training is licensed to OpenAI alone")
    second = [
        ("GPTBot, verified, asks for the audio", status(stage, audio, GPTBOT, HOME), "200"),
        ("GPTBot's name from elsewhere", status(stage, audio, GPTBOT, ELSEWHERE), "403"),
        ("CCBot asks for the audio", status(stage, audio, CCBOT, ELSEWHERE), "403"),
        ("Content-Usage of the audio", header(stage, audio, "content-usage"), "train-ai=n, ai-use=n, search=y"),
        (
            "Link of the page",
            header(stage, page, "link"),
            f'<http://127.0.0.1:{stage.port}/license.xml?work=track%3A{licensed.id}>; rel="license"; '
            'type="application/rsl+xml"',
        ),
        ("robots.txt to GPTBot, the page", robots_for(stage, "GPTBot", page), "may fetch"),
        ("robots.txt to CCBot, the page", robots_for(stage, "CCBot", page), "may not"),
        ("RSL, to train", licence(stage, licensed, "ai-train"), "prohibited, licence offered"),
        (
            "the work's page for people",
            page_of(stage, licensed),
            f"{NOT_ALLOWED} 1 licence for it has been given.",
        ),
        ("the page for people", works_told(stage), "2 works have a word of their own"),
        ("guard explain, GPTBot", explained(stage, audio), "licensed: allow"),
    ]
    contract = {
        "licences": [{"to": "operator:OpenAI", "purposes": ["train-ai"]}],
        "licence": LICENCE,
        "reason": "contract of 2026-11-30",
    }
    return [*sights, *switch(second, lambda: put(stage, licensed, contract))]


def switch(surfaces: list[tuple[str, Look, str]], turn: Callable[[], None]) -> list[Sight]:
    """Look at every surface, turn the switch, and look until all workers say what is expected."""
    before = [look() for _, look, _ in surfaces]
    turned_s = time.monotonic()
    turn()
    sights = []
    for (name, look, expected), old in zip(surfaces, before, strict=True):
        took_s = await_all(look, expected, turned_s, 1 if name.startswith("guard explain") else ASKED)
        sights.append(Sight(name, old, expected if took_s is not None else look(), expected, took_s))
    return sights


def await_all(look: Look, expected: str, since_s: float, looks: int) -> float | None:
    """Seconds until so many looks in a row have seen what is expected; None when that does not come."""
    while time.monotonic() - since_s < 3 * WITHIN_S:
        if all(look() == expected for _ in range(looks)):
            return time.monotonic() - since_s
        time.sleep(0.05)
    return None

"""What is found of a crawler while those who could tell are right, late, hostile or away, and how long a request takes.

One host on loopback publishes a list and keys over TLS, a name server on loopback answers for its host names. In each
scene requests with the crawler's name come from inside and from outside its network, one after another, while the
fetching goes on; the slowest decision among them is the answer to whether a request waited.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from guard.engine import Guard
from guard.load import read_policy
from guard.model import Request, Verifying
from guard.witness import Witness, Words
from loadtests.bench.tables import Bar, Cells, Section
from tests.publisher import (
    EMPTY,
    HANGING,
    HOST,
    UNAVAILABLE,
    Answer,
    NameServer,
    Publisher,
    bomb,
    dripping,
    gzip_bomb,
    listed,
    redirecting,
)

INSIDE, OUTSIDE = "198.51.100.9", "203.0.113.50"
CLAIM = b"Mozilla/5.0 (compatible; RadioBot/1.0; +https://radio.example/bot)"
URL = f"https://{HOST}/bots.json"
RIGHT = listed("198.51.100.0/24")
NO_WAIT_S = 0.05
"""A decision that waited for anybody would take a network's time; the slowest one here is far below."""

_POLICY = """version: 1
site: {{name: bench}}
default: allow
catalogue:
  RadioBot: {{operator: Ada, category: search, purposes: search, verification: [{checks}]}}
rules: [{{name: impostors, when: {{identity: spoofed}}, then: block}}]
"""
_BY_LIST = f'{{kind: ip-json, sources: ["{URL}"]}}'
_BY_NAME = "{kind: rdns, sources: [.crawl.radio.example]}"


class Scene(NamedTuple):
    """`first` is fetched, then `then` is what the host answers, `age_s` later. `names`: by host names, not by a list.
    `inside` and `outside` say what is to be found there."""

    name: str
    inside: str
    outside: str
    first: Answer | None = RIGHT
    then: Answer | None = None
    names: str = ""
    age_s: float = 0.0


SCENES = (
    Scene("the list is right", "verified", "spoofed"),
    Scene("before anything is fetched", "unverified", "unverified", first=None),
    Scene("the list is 31 days old, its host is away", "unverified", "unverified", then=UNAVAILABLE, age_s=31 * 86_400),
    Scene("its host hangs, nothing known yet", "unverified", "unverified", first=None, then=HANGING),
    Scene("its host hangs afterwards", "verified", "spoofed", then=HANGING),
    Scene("its host sends a byte a second", "verified", "spoofed", then=dripping()),
    Scene("ten megabytes", "verified", "spoofed", then=bomb()),
    Scene("a bomb in gzip", "verified", "spoofed", then=gzip_bomb()),
    Scene("a redirect to an inner address", "verified", "spoofed", then=redirecting("https://169.254.169.254/")),
    Scene("a list of private networks", "verified", "spoofed", then=listed("10.0.0.0/8")),
    Scene("a list of everybody", "verified", "spoofed", then=listed("0.0.0.0/0")),
    Scene("an empty list", "verified", "spoofed", then=EMPTY),
    Scene("host names lead back, or do not", "verified", "spoofed", names="right"),
    Scene("the name server is silent", "unverified", "unverified", names="silent"),
    Scene("the name server fails", "unverified", "unverified", names="SERVFAIL"),
)


class Seen(NamedTuple):
    """What was found, and the slowest of the decisions meanwhile, in microseconds."""

    scene: Scene
    inside: str
    outside: str
    slowest_us: float
    decisions: int


def measure(say: Callable[[str], None]) -> list[Seen]:
    say(f"identity: {len(SCENES)} scenes with a publisher and a name server on loopback")
    return [asyncio.run(_play(scene)) for scene in SCENES]


async def _play(scene: Scene) -> Seen:
    now_s = time.time()
    shift_s = 0.0
    with Publisher() as publisher, NameServer() as names, tempfile.TemporaryDirectory() as folder:
        names.ptr = {INSIDE: ["c9.crawl.radio.example."], OUTSIDE: ["c9.crawl.radio.example.evil.example."]}
        names.a["c9.crawl.radio.example"] = [INSIDE]
        if scene.names == "silent":
            names.silent.add("*")
        elif scene.names == "SERVFAIL":
            names.rcodes["*"] = "SERVFAIL"
        words = Words(
            Verifying(lists="fetch", dns=bool(scene.names), nameservers=(names.address,)),
            () if scene.names else ((URL, "ip-json"),),
            Path(folder),
            suffixes=frozenset((".crawl.radio.example",)) if scene.names else frozenset(),
        )
        witness = Witness(words, reach=publisher.reach(), clock=lambda: now_s + shift_s)
        guard = Guard(read_policy(_POLICY.format(checks=_BY_NAME if scene.names else _BY_LIST)))
        guard.take(witness)
        await guard.open()
        if scene.first is not None and not scene.names:
            publisher.answers["/bots.json"] = scene.first
            await witness.resolver.refresh()
        shift_s = scene.age_s
        fetching: asyncio.Future[None] | None = None
        if scene.then is not None:
            publisher.answers["/bots.json"] = scene.then
            fetching = asyncio.ensure_future(witness.resolver.refresh())
        slowest_s, decisions = 0.0, 0
        found: dict[str, str] = {}
        until_s = time.monotonic() + 1.6  # longer than the name server has, shorter than a host that hangs
        while time.monotonic() < until_s and not (decisions > 400 and fetching is None and not scene.names):
            for address in (INSIDE, OUTSIDE):
                request = Request("GET", b"/track/%d" % (decisions % 50), CLAIM, address)
                start_s = time.perf_counter()
                found[address] = guard.decide(request).identity.value
                slowest_s = max(slowest_s, time.perf_counter() - start_s)
                decisions += 1
            await asyncio.sleep(0.001)
            if fetching is not None and fetching.done():
                break
        if fetching is not None:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)
        for address in (INSIDE, OUTSIDE):
            found[address] = guard.decide(Request("GET", b"/", CLAIM, address)).identity.value
        await guard.close()
        return Seen(scene, found[INSIDE], found[OUTSIDE], slowest_s * 1e6, decisions)


def section(seen: list[Seen]) -> Section:
    head: Cells = ("while", "", "from inside", "from outside", "decisions", "slowest us")
    body: list[Cells] = [
        (one.scene.name, "", one.inside, one.outside, f"{one.decisions:,}", f"{one.slowest_us:,.0f}") for one in seen
    ]
    return "Table 7. What is found of a crawler, and whether a request waits", head, body


def bars(seen: list[Seen]) -> list[Bar]:
    wrong = [one for one in seen if (one.inside, one.outside) != (one.scene.inside, one.scene.outside)]
    slowest = max(one.slowest_us for one in seen)
    names = ", ".join(one.scene.name for one in wrong) or "all"
    return [
        Bar(f"scenes that end with the stated identity, of {len(seen)}", "all", names, not wrong),
        Bar("slowest decision in any scene", "< 50 ms", f"{slowest / 1000:.1f} ms", slowest < NO_WAIT_S * 1e6),
    ]

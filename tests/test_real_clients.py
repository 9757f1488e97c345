"""Real browsers, players and rippers through the real sidecar: who listens is never refused, who takes all is stopped.

A short session of each; `python -m loadtests.clients` is the long one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from loadtests.clients.__main__ import read_arguments
from loadtests.clients.findings import Finding, find
from loadtests.clients.gates import Exchange, Gate, Gates
from loadtests.clients.listeners import LISTENERS, Visit
from loadtests.clients.platform import SONGS, Sound, compose
from loadtests.clients.processes import Session
from loadtests.clients.rippers import RIPPERS
from tests.processes import ROOT, eventually

POLICY = "no-ai"
SOUND = Sound(segment_bytes_per_s=20_000)
REFUSAL = b"HTTP/1.1 403 Forbidden\r\nX-Guard-Decision: 7a\r\nContent-Length: 2\r\n\r\nno"


def run_rig(*options: str, within_s: float) -> dict[str, Any]:
    """The rig's own account of a short run."""
    command = [sys.executable, "-m", "loadtests.clients", "--json", "--policy", POLICY, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=within_s, check=False)
    assert done.returncode in (0, 1), done.stderr
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


@pytest.mark.timeout(600)
def test_real_listeners_are_never_refused(tmp_path: Path) -> None:
    capture = tmp_path / "seen.jsonl"
    outcome = run_rig("--only", "listeners", "--seconds", "45", "--capture", str(capture), within_s=580)
    assert [client["client"] for client in outcome["clients"]] == [client.name for client in LISTENERS]
    assert {client["client"]: client["problems"] for client in outcome["clients"] if not client["ok"]} == {}
    lines = [json.loads(line) for line in capture.read_text().splitlines()]
    assert len({line["ip"] for line in lines}) == len(LISTENERS)
    assert any(name == "Range" for line in lines for name, _ in line["headers"])


@pytest.mark.timeout(600)
def test_real_rippers_are_stopped_with_the_count_lost() -> None:
    outcome = run_rig("--only", "rippers", "--ripper-seconds", "30", within_s=580)
    assert [client["client"] for client in outcome["clients"]] == [client.name for client in RIPPERS]
    assert {client["client"]: client["problems"] for client in outcome["clients"] if not client["ok"]} == {}
    assert all(client["first_refusal"] for client in outcome["clients"])


@pytest.mark.timeout(200)
def test_an_interrupted_rig_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtests.clients", "--only", "ffmpeg,podcast", "--seconds", "120"]
    told = tmp_path / "told.txt"
    with told.open("w") as out:
        rig = subprocess.Popen(
            [*command, "--logs", str(tmp_path)], cwd=ROOT, stdout=out, stderr=out, start_new_session=True
        )
    try:
        assert eventually(lambda: "podcast comes" in told.read_text() and len(family(rig.pid)) >= 4, 150), (
            told.read_text()
        )
        started = family(rig.pid)
        rig.send_signal(signal.SIGINT)
        assert rig.wait(30) == 130
    finally:
        if rig.poll() is None:
            os.killpg(rig.pid, signal.SIGKILL)
            rig.wait()
    assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started), 5)


def family(pid: int) -> set[int]:
    """Every process that descends from one."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found |= {child, *family(child)}
    return found


# -- the gate ------------------------------------------------------------------------------------------------------

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def gated(script: Script, address: str = "127.99.0.2") -> AsyncIterator[Gate]:
    """A server that follows `script`, and a gate before it."""
    server = await asyncio.start_server(script, "127.0.0.1", 0)
    with Gates(server.sockets[0].getsockname()[1], 0) as gates:
        yield await asyncio.to_thread(gates.open, "one", address)
    server.close()


def answering(*answers: bytes) -> Script:
    """One answer for each request's head."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            for answer in answers:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)
                await writer.drain()
            await reader.read()
        writer.close()

    return script


def test_a_gate_alters_no_byte_and_gives_the_client_an_address_of_its_own() -> None:
    peers: list[str] = []
    asked: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername")[0])
        asked.append(await reader.readexactly(len(odd)))
        writer.write(bytes(range(256)) * 4096 + b"end")
        await writer.drain()
        writer.close()

    odd = b"GET /a%20b?x=\xff HTTP/1.1\r\nhOST: x\r\nx-Odd:   two  spaces \r\n\r\n"

    async def run() -> bytes:
        async with gated(script) as gate, asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
            writer.write(odd)
            got = await reader.read(-1)
            writer.close()
            return got

    assert asyncio.run(run()) == bytes(range(256)) * 4096 + b"end"
    assert (peers, asked) == (["127.99.0.2"], [odd])


def test_a_gate_reads_requests_and_answers_as_they_pass() -> None:
    whole = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 16000\r\n\r\n" + b"m" * 15_997 + b"end"
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\nX-Is: end"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nend\r\n"

    async def run() -> Gate:
        script = answering(whole, head + b"\r\n\r\n", REFUSAL, chunked + b"0\r\n\r\n")
        async with gated(script) as gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
            async with asyncio.timeout(5):
                writer.write(b"GET /media/7.mp3 HTTP/1.1\r\nHost: a\r\nRange: bytes=0-\r\nuser-agent: me\r\n\r\n")
                await reader.readexactly(len(whole))
                writer.write(b"HEAD /media/8.mp3 HTTP/1.1\r\nHost: a\r\n\r\n")
                await reader.readexactly(len(head) + 4)
                writer.write(b"GET /media/9.mp3 HTTP/1.1\r\nHost: a\r\n\r\n")
                await reader.readexactly(len(REFUSAL))
                writer.write(b"GET /track/9 HTTP/1.1\r\nHost: a\r\n\r\n")
                await reader.readexactly(len(chunked) + 5)
            writer.close()
            return gate

    gate = asyncio.run(run())
    seen = [(each.method, each.target, each.status, each.body_bytes, each.refused) for each in gate.exchanges]
    assert seen == [
        ("GET", "/media/7.mp3", 206, 16_000, False),
        ("HEAD", "/media/8.mp3", 200, 0, False),
        ("GET", "/media/9.mp3", 403, 2, True),
        ("GET", "/track/9", 200, 3, False),
    ]
    assert gate.exchanges[0].headers == [("Host", "a"), ("Range", "bytes=0-"), ("user-agent", "me")]
    assert all(each.ended_s >= each.asked_s for each in gate.exchanges)


# -- what is told of a client --------------------------------------------------------------------------------------


def passed(name: str, *exchanges: Exchange) -> Finding:
    """The finding on a client by what passed its gate."""
    client = next(client for client in (*LISTENERS, *RIPPERS) if client.name == name)
    session = Session(1, threading.Event())
    visit = Visit(name, "http://127.0.0.1:1", session, Path("/nowhere"), Random(1), (), Path("/nowhere"), None)
    return find(client, Gate(name, "127.10.0.2", exchanges=list(exchanges)), visit, "1", SOUND, "")


def exchange(at_s: float, target: str, status: int = 200, body_bytes: int = 16_000, decision: str = "") -> Exchange:
    return Exchange(1, at_s, "GET", target, [], status, body_bytes, at_s + 0.1, decision)


def test_a_ripper_that_is_refused_and_stays_refused_is_stopped_and_its_booty_is_counted() -> None:
    taken = [exchange(n, f"/media/{n}.mp3") for n in range(4)]
    finding = passed(
        "aria2",
        *taken,
        exchange(5, "/media/5.mp3", 403, 200, "7a"),
        exchange(5.01, "/media/6.mp3"),  # was under way
        exchange(6, "/static/site.css"),
        exchange(7, "/media/7.mp3", 429, 200, "7b"),
    )
    assert (finding.ok, finding.refused, finding.first_refusal, finding.refused_after) == (True, 2, 5, 1.0)
    assert (finding.audio_before_s, finding.tracks_before, finding.audio_s, finding.tracks) == (4.0, 4, 5.0, 5)


def test_a_ripper_that_is_let_in_again_is_not_stopped() -> None:
    finding = passed("aria2", exchange(0, "/media/1.mp3", 403, 9, "7a"), exchange(1, "/media/2.mp3"))
    assert finding.problems == [
        "was let in again: only 0% of what it asked after its first refusal was refused",
    ]


def test_a_listener_that_is_refused_once_or_hears_nothing_fails() -> None:
    assert passed("mpv", exchange(0, "/hls/7/seg0.ts", 206)).ok
    assert not passed("mpv", exchange(0, "/hls/7/seg0.ts"), exchange(1, "/hls/7/seg1.ts", 403, 9, "7a")).ok
    assert passed("mpv", exchange(0, "/hls/7/index.m3u8")).problems == ["received no audio"]
    assert not passed("mpv").ok


def test_a_ripper_that_has_a_quarter_of_the_catalogue_was_not_stopped() -> None:
    taken = [exchange(n, f"/media/{n}.mp3") for n in range(80)]
    finding = passed("aria2", *taken, exchange(80, "/media/80.mp3", 403, 200, "7a"))
    assert finding.problems == ["was refused only when it had 80 tracks"]


def test_an_error_of_the_platform_is_no_refusal_and_one_of_the_server_is_told() -> None:
    missed = passed("mpv", exchange(0, "/media/7.mp3"), exchange(1, "/track/1", 404))
    assert (missed.ok, missed.refused) == (True, 0)
    broken = passed("mpv", exchange(0, "/media/7.mp3"), exchange(1, "/media/8.mp3", 502))
    assert broken.problems == ["had 1 answers that are errors of the server"]


def test_a_run_of_nobody_is_a_mistake() -> None:
    with pytest.raises(SystemExit, match="2"):
        read_arguments(["--only", ","])


def test_the_catalogue_is_long_enough_to_be_walked() -> None:
    catalogue = compose()
    assert len(catalogue.tracks) >= 200
    assert all(180 <= track.seconds <= 240 for track in catalogue.tracks)
    assert {track.seconds for playlist in catalogue.playlists for track in playlist.tracks} <= {
        song.seconds for song in SONGS
    }

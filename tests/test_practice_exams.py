"""The exams of detection in small: a morning spread over worker processes, and a part of it through the sidecar."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import redis

from guard.replay import Outcome
from guard.stores.link import Script
from loadtests.practice import fleet, sidecar
from loadtests.practice.exam import OURS, Day, decide
from loadtests.practice.fleet import PROLOGUE, Fleet, compare, load_day, tell_time
from tests.conftest import SHARED
from tests.servers import server

TRAFFIC = SHARED / "traffic"
FIRST = 4_000
TOLERANCE = 0.05
"""So many requests of the morning may come to something else in a fleet: whoever is refused by one worker gets some
answers of the others first."""


@pytest.fixture(scope="module")
def morning() -> Day:
    if not (TRAFFIC / "A_dev.jsonl.gz").exists():
        pytest.skip("../shared is not here")
    return load_day(TRAFFIC / "A_dev.jsonl.gz", TRAFFIC / "A_site.json", FIRST)


def refusals(day: Day, outcomes: Iterable[Outcome]) -> set[int]:
    pairs = zip(day.records, outcomes, strict=True)
    return {record["i"] for record, outcome in pairs if outcome.action not in ("allow", "serve")}


def test_a_fleet_does_to_a_morning_what_one_process_does(morning: Day) -> None:
    with Fleet(morning.site, workers=2) as workers:
        outcomes = workers.play(morning.records)
    assert sum(found["syncs"] for found in workers.numbers) > 100  # it was shared indeed
    exam = compare(SHARED, morning, "a morning", outcomes)
    assert exam.same >= 1.0 - TOLERANCE
    assert [offence for offence in exam.other.offences if offence["harmed"]] == []
    assert exam.other.summary["overall"]["good_bot_requests"] == 0.0
    assert "a morning: personas" in [section.title for section in fleet.sections(exam)]
    json.dumps(fleet.as_data(exam))


def test_one_worker_with_a_server_refuses_what_one_without_does_and_nobody_else(morning: Day) -> None:
    day = Day(morning.records[:1_500], morning.entries[:1_500], morning.site)
    with Fleet(day.site, workers=1) as workers:
        found = refusals(day, workers.play(day.records))
    alone = refusals(day, decide(day, OURS))
    assert found <= alone
    assert len(alone - found) <= 0.01 * len(day.records)  # it waits for the fleet's word before some refusals


def test_the_sidecar_does_to_a_morning_what_a_replay_does(morning: Day) -> None:
    day = Day(morning.records[:2_000], morning.entries[:2_000], morning.site)
    outcomes, told = asyncio.run(sidecar.play(day.site, day.records))
    assert told["leaks"] == 0
    assert told["at_once"] > 1
    assert refusals(day, outcomes) == refusals(day, decide(day, OURS))


def test_a_websocket_goes_through_the_sidecar(morning: Day) -> None:
    record = {**morning.records[0], "status": 101, "dur": 60.0, "method": "GET", "path": "/ws/nowplaying"}
    record["headers"] = [
        ["host", "music.example"],
        ["connection", "Upgrade"],
        ["upgrade", "websocket"],
        ["sec-websocket-version", "13"],
        ["user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:160.0) Gecko/20100101 Firefox/160.0"],
    ]
    outcomes, _ = asyncio.run(sidecar.play(morning.site, [record]))
    assert [outcome.action for outcome in outcomes] == ["allow"]


def test_a_worker_that_ends_is_noticed(morning: Day) -> None:
    with Fleet(morning.site, workers=1) as workers:
        process, _ = workers._members[0]
        process.kill()
        process.join(5.0)
        with pytest.raises(fleet.PracticeError, match="worker 0 has ended"):
            workers.play(morning.records[:1])


def test_names_run_out_by_the_days_clock() -> None:
    with server("valkey") as one, one.client() as client:
        script = PROLOGUE.decode() + (
            "if ARGV[1] == 'set' then redis.call('SET', KEYS[1], 'x', 'PX', 5000) end "
            "if ARGV[1] == 'longer' then redis.call('PEXPIRE', KEYS[1], '60000') end "
            "local now = redis.call('TIME') return {redis.call('GET', KEYS[1]), now[1], now[2]}"
        )

        def at(time_s: float, what: str) -> Any:
            client.set(fleet.NOW, round(time_s * 1e6))
            return client.eval(script, 1, "name", what)

        assert at(100.25, "set") == [b"x", b"100", b"250000"]
        assert at(105.2, "get")[0] == b"x"
        assert at(105.25, "get")[0] is None
        at(110.0, "set")
        at(114.0, "longer")
        assert at(170.0, "get")[0] == b"x"
        assert at(174.0, "get")[0] is None
        assert client.zcard("day:ends") == 0


def test_the_scripts_are_as_they_are_behind_the_clock() -> None:
    for name in ("meters.lua", "limits.lua"):
        script, plain = Script(name), Script(name)
        tell_time(script)
        assert script.text == PROLOGUE + plain.text
        assert script.sha != plain.sha
        assert script.sha in script.head
        with server("valkey") as one, one.client() as client:
            assert isinstance(client, redis.Redis)
            assert client.script_load(script.text.decode()).encode() == script.sha


def test_what_cannot_be_held_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "day.jsonl")
    assert fleet.main(["--day", missing]) == 2
    assert "--day and --site come together" in capsys.readouterr().err
    assert sidecar.main(["--day", missing, "--site", missing]) == 2
    assert "No such file" in capsys.readouterr().err
    assert fleet.main(["--shared", str(tmp_path)]) == 2
    assert "--shared DIR" in capsys.readouterr().err

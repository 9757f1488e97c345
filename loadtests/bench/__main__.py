"""`python -m loadtests.bench`: the guard, its peers and bare applications, measured side by side."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from loadtests.bench import agents, flood, identity, machine, parties, rights, rules, state, tables, traffic
from loadtests.bench.parties import Party, Place
from loadtests.bench.processes import BenchError, Server, cores
from loadtests.bench.wrk import Round, Store, drive, together

ROOT = Path(__file__).parents[2]
PARTS = ("middleware", "sidecar", "rules", "rights", "agents", "flood", "state", "detection")
CONNECTIONS = {"middleware": 64, "small": 64, "segment": 32, "big": 8}


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.bench",
        description="Measure the guard next to bare applications and to its peers, interleaved, on this machine.",
        epilog="examples:\n"
        "  python -m loadtests.bench                                     everything, about 16 minutes\n"
        "  python -m loadtests.bench --only sidecar --rounds 3           about 2 minutes\n"
        "  python -m loadtests.bench --only rules                        about half a minute\n"
        "  python -m loadtests.bench --only rights                       about 3 minutes, 1 GB of disk\n"
        "  python -m loadtests.bench --only agents --corpus uas.jsonl    about 2 minutes\n"
        "  python -m loadtests.bench --only detection                    about two minutes\n"
        "  python -m loadtests.bench --only flood                        about half a minute\n"
        "  python -m loadtests.bench --only state                        about two and a half minutes\n"
        "  python -m loadtests.bench --markdown bench.md --json bench.json --strict\n\n"
        "exit codes: 0 measured (bars passed or, without --strict, not), 1 a party failed or a bar was missed\n"
        "with --strict, 2 something is missing or wrong usage",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--rounds", type=int, default=5, metavar="N", help="interleaved rounds (default: 5)")
    add("--seconds", type=int, default=2, metavar="S", help="seconds of load for each party and round (default: 2)")
    add("--only", choices=PARTS, help="one of the tables")
    add(
        "--corpus",
        type=Path,
        metavar="FILE",
        default=ROOT.parent / "shared" / "agents" / "ua_dev.jsonl",
        help="labelled User-Agents for the table of agents; without them only cost is measured",
    )
    add("--json", type=Path, metavar="FILE", help="also write every round there")
    add("--markdown", type=Path, metavar="FILE", help="also write the tables there")
    add("--nice", type=int, default=0, metavar="N", help="niceness of all processes; below 0 needs root (default: 0)")
    add("--strict", action="store_true", help="exit with 1 when a bar is missed")
    add(
        "--peers-python",
        type=Path,
        default=ROOT / ".venv-peers" / "bin" / "python",
        metavar="FILE",
        help="the Python of the environment with fastapi-guard (default: .venv-peers/bin/python)",
    )
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1 or not 1 <= arguments.seconds <= 60:
        parser.error("--rounds must be at least 1 and --seconds between 1 and 60")
    if not -20 <= arguments.nice <= 19:
        parser.error("--nice goes from -20 to 19")
    for file in (arguments.json, arguments.markdown):
        if file is not None and not file.resolve().parent.is_dir():
            parser.error(f"there is no folder for {file}")
    return arguments


class Run:
    """One run: its directory, its processes, its cores."""

    def __init__(self, arguments: argparse.Namespace, stack: ExitStack) -> None:
        self.rounds, self.seconds = arguments.rounds, arguments.seconds
        self.peers_python = arguments.peers_python.absolute()
        self.core, self.others = cores()
        self.directory = Path(tempfile.mkdtemp(prefix="guard-bench-"))
        self.stack = stack
        stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.began = time.monotonic()

    def say(self, text: str) -> None:
        sys.stderr.write(f"[{time.monotonic() - self.began:5.0f} s] {text}\n")
        sys.stderr.flush()

    def start(self, rows: Sequence[Party], place: Place) -> dict[str, Server]:
        """All parties at once; those that share a process get the same one."""
        servers: dict[str, Server] = {}
        for party in rows:
            if not party.shares and party.key not in servers:
                servers[party.key] = server = party.start(place, party.key)
                self.stack.callback(server.stop)
        for server in servers.values():
            server.wait_ready(parties.answers_http)
        return servers | {party.key: servers[party.shares] for party in rows if party.shares}

    def interleave(
        self,
        rows: Sequence[Party],
        servers: dict[str, Server],
        script: Callable[[Party], Path],
        connections: int,
        store: Store | None = None,
    ) -> dict[str, list[Round]]:
        """A warm-up, then the rounds. A round of S seconds is S turns of one second for everybody, one after another.

        The machine changes its speed within seconds, as neighbours come and go: short turns put the parties of a
        group close together. Each turn begins one row further on, so that nobody always comes first.
        """
        measured: dict[str, list[Round]] = {party.key: [] for party in rows}

        def once(party: Party) -> Round:
            watched = store if party.counts_in_store else None
            return drive(servers[party.key], script(party), connections, 1, self.others, watched)

        for party in rows:
            once(party)
        for number in range(self.rounds):
            turns: dict[str, list[Round]] = {party.key: [] for party in rows}
            for turn in range(self.seconds):
                for party in _turned(rows, number * self.seconds + turn):
                    turns[party.key].append(once(party))
            for key, taken in turns.items():
                measured[key].append(together(taken))
            words = ", ".join(f"{key} {found[-1].per_second:,.0f}" for key, found in measured.items())
            self.say(f"round {number + 1} of {self.rounds}: {words}")
        return measured


def _turned(rows: Sequence[Party], by: int) -> list[Party]:
    """The groups in order, and within each the rows turned by `by`, so that nobody always comes first."""
    groups: dict[str, list[Party]] = {}
    for party in rows:
        groups.setdefault(party.group, []).append(party)
    turned: list[Party] = []
    for members in groups.values():
        at = by % len(members)
        turned += members[at:] + members[:at]
    return turned


def measure_middleware(run: Run) -> list[tables.Row]:
    rows = parties.middleware()
    run.say(f"middleware: starting {len(rows)} parties and a Valkey")
    valkey, socket, port = parties.start_store(run.directory, run.others)
    run.stack.callback(valkey.stop)
    run.say(f"fastapi-guard gets {parties.write_agents(run.directory)} AI agents as one pattern")
    place = Place(run.directory, run.core, run.peers_python, store_socket=socket, store_port=port)
    servers = run.start(rows, place)
    store = Store(valkey, port)
    run.stack.callback(store.close)
    requests = traffic.prepare(traffic.platform_paths(192), clients=traffic.REQUESTS)
    script = traffic.write_lua(requests, run.directory / "middleware.lua")
    run.say(f"each of {len(requests)} requests once to everybody: same answers as the bare application?")
    wanted: dict[str, list[tuple[int, bytes]]] = {}
    for party in rows:
        server, commands = servers[party.key], store.commands()
        if not party.base:
            wanted[party.key] = list(traffic.fetch(server.port, requests))
        parties.check_bodies(server, requests, wanted[party.base or party.key])
        if party.refuses_ai:
            parties.check_refusal(server)
        if party.counts_in_store and store.commands() - commands < len(requests) // 10:
            raise BenchError(f"{party.key} does not count in the store:\n{server.last_words()}")
    measured = run.interleave(rows, servers, lambda _: script, CONNECTIONS["middleware"], store)
    for party in rows:
        servers[party.key].stop()
    valkey.stop()
    return tables.rows(rows, measured)


def measure_detection(run: Run) -> list[tables.Row]:
    rows = parties.detection()
    run.say(f"detection: {len(rows)} parties and a Valkey")
    valkey, socket, port = parties.start_store(run.directory, run.others)
    run.stack.callback(valkey.stop)
    place = Place(run.directory, run.core, run.peers_python, store_socket=socket, store_port=port)
    store = Store(valkey, port)
    run.stack.callback(store.close)
    requests = traffic.visits()
    script = traffic.write_lua(requests, run.directory / "detection.lua")
    measured: dict[str, list[Round]] = {}
    for group in dict.fromkeys(party.group for party in rows):  # one after the other: a core is one application's
        members = [party for party in rows if party.group == group]
        servers = run.start(members, place)
        run.say(f"{group}: each of {len(requests)} requests once to everybody: same answers as the bare application?")
        wanted = list(traffic.fetch(servers[members[0].key].port, requests))
        for party in members:
            parties.check_bodies(servers[party.key], requests, wanted)
        measured |= run.interleave(members, servers, lambda _: script, CONNECTIONS["middleware"], store)
        for party in members:  # after the load, too: nobody was held for a scraper
            parties.check_bodies(servers[party.key], requests[:64], wanted[:64])
            servers[party.key].stop()
    valkey.stop()
    return tables.rows(rows, measured)


def measure_sidecar(run: Run) -> dict[str, list[tables.Row]]:
    kinds = parties.sidecar()
    everybody = list({party.key: party for rows in kinds.values() for party in rows}.values())
    run.say(f"sidecar: starting the upstream and {sum(not party.shares for party in everybody)} proxies")
    upstream = parties.start_upstream(run.directory, run.others)
    run.stack.callback(upstream.stop)
    place = Place(run.directory, run.core, run.peers_python, upstream_port=upstream.port)
    servers = run.start(everybody, place)
    small = traffic.visits(clients=64)
    requests = {
        "small": small,
        "segment": traffic.hearing("/media/segment.m4s", clients=64),
        "big": traffic.hearing("/media/big.flac", clients=64),
    }
    run.say("16 requests of each kind through every proxy: same bytes as from the upstream?")
    for kind, rows in kinds.items():
        some = requests[kind][:16]
        wanted = list(traffic.fetch(upstream.port, some))
        for party in rows:
            parties.check_bodies(servers[party.key], some, wanted)
            if party.refuses_ai:
                parties.check_refusal(servers[party.key])
    wanted = list(traffic.fetch(upstream.port, small))
    for server in {id(server): server for server in servers.values()}.values():  # all of them, so that none is refused
        parties.check_bodies(server, small, wanted)
    found: dict[str, list[tables.Row]] = {}
    for kind, rows in kinds.items():
        run.say(f"sidecar, {kind} answers")
        same = traffic.write_lua(requests[kind], run.directory / f"{kind}.lua")
        new = traffic.write_lua(requests[kind], run.directory / f"{kind}-new.lua", new_heads=True)
        scripts = {False: same, True: new}
        measured = run.interleave(rows, servers, lambda party, by=scripts: by[party.new_heads], CONNECTIONS[kind])
        found[kind] = tables.rows(rows, measured)
    return found


def _method(arguments: argparse.Namespace) -> str:
    pinned = "party on one core, load generator, upstream and Valkey on another" if cores()[0] else "ALL ON ONE CORE"
    nice = f", niceness {arguments.nice}" if arguments.nice else ""
    rounds = f"{arguments.rounds} interleaved rounds of {arguments.seconds} s in turns of 1 s"
    return f"{rounds}, all parties of a table up at once (of the last: of a group), {pinned}{nice}"


def main(argv: Sequence[str] | None = None) -> int:
    arguments = read_arguments(argv)
    which = [arguments.only] if arguments.only else list(PARTS)
    missing = parties.find_missing(which, arguments.peers_python)
    if missing:
        sys.stderr.write("bench: this is missing:\n" + "".join(f"  - {thing}\n" for thing in missing))
        return 2
    try:
        os.nice(arguments.nice)
    except PermissionError:
        sys.stderr.write("bench: --nice below 0 is for root\n")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    facts = machine.particulars(which, arguments.peers_python)
    facts["method"] = _method(arguments)
    ticks, stolen = machine.stolen()
    sections: list[tables.Section] = []
    bars: list[tables.Bar] = []
    data: dict[str, object] = {"machine": facts}
    try:
        with ExitStack() as stack:
            run = Run(arguments, stack)
            if os.getloadavg()[0] > 0.5:
                run.say(f"others are using this machine (load {facts['load at start']}): expect noise")
            if "middleware" in which:
                rows = measure_middleware(run)
                bars += tables.middleware_bars(rows)
                sections.append(tables.middleware_section(rows, CONNECTIONS["middleware"]))
                data["middleware"] = [tables.as_data(row) for row in rows]
            if "sidecar" in which:
                kinds = measure_sidecar(run)
                bars += tables.sidecar_bars(kinds)
                sections += tables.sidecar_sections(kinds, CONNECTIONS)
                data["sidecar"] = {kind: [tables.as_data(row) for row in rows] for kind, rows in kinds.items()}
            if "detection" in which:
                rows = measure_detection(run)
                bars += tables.detection_bars(rows)
                sections.append(tables.middleware_section(rows, CONNECTIONS["middleware"]))
                data["detection"] = [tables.as_data(row) for row in rows]
            if "rules" in which:
                run.say("rules: loading policies of 10 to 10,000")
                costs = rules.measure(run.rounds, run.say)
                explained = rules.explain_seconds(run.rounds)
                bars += rules.bars(costs, explained)
                sections.append(rules.section(costs))
                data["rules"] = [cost._asdict() for cost in costs]
                data["explain_s"] = explained[0]
            if "rights" in which:
                run.say("rights: registers of up to 10 million tracks")
                asked = rights.measure(run.rounds, run.say)
                bars += rights.bars(asked)
                sections.append(rights.section(asked))
                data["rights"] = [cost._asdict() for cost in asked]
            if "agents" in which:
                named = agents.measure(run.rounds, run.say, arguments.corpus)
                bars += agents.bars(named)
                sections += agents.sections(named)
                seen = identity.measure(run.say)
                bars += identity.bars(seen)
                sections.append(identity.section(seen))
                data["agents"] = {
                    "found": [one._asdict() for one in named.found],
                    "costs": [one._asdict() for one in named.costs],
                    "growth": named.growth,
                    "table_us": named.table_us,
                    "identity": [one._replace(scene=one.scene.name)._asdict() for one in seen],
                }
            if "flood" in which:
                run.say("flood: 16 workers and one client")
                floods, most = flood.measure(run.directory, run.others, run.say)
                bars += flood.bars(floods, most)
                sections.append(flood.section(floods))
                data["flood"] = [one._replace(scene=one.scene.name)._asdict() for one in floods]
                data["most_scripts_in_a_tick"] = most
            if "state" in which:
                run.say("state: what is kept of clients")
                kept = state.measure(run.directory, run.others, run.rounds, run.say)
                bars += state.bars(kept)
                sections += state.sections(kept)
                data["state"] = state.as_data(kept)
            run.say("done")
    except BenchError as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    ticks, stolen = machine.stolen()[0] - ticks, machine.stolen()[1] - stolen
    facts["stolen"] = f"{stolen / max(1, ticks):.0%} of the time of all cores went to other virtual machines meanwhile"
    sections.append(tables.bars_section(bars))
    notes = [note for part in which for note in parties.NOTES[part]]
    tables.print_all(facts, sections, notes)
    data |= {"bars": [vars(bar) for bar in bars], "notes": notes}
    if arguments.json:
        arguments.json.write_text(json.dumps(data, indent=1) + "\n", "utf-8")
    if arguments.markdown:
        arguments.markdown.write_text(tables.as_markdown(facts, sections, notes), "utf-8")
    return 1 if arguments.strict and not all(bar.passed for bar in bars) else 0


if __name__ == "__main__":
    sys.exit(main())

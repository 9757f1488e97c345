"""Every register keeps one contract (guard/protocols.py), and what was ever said in one can be asked for again.

The files are real, and so are the other processes.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import ChoiceError, RegisterError
from guard.protocols import NOTHING_LISTED, Change, Known, Register, RightsSource
from guard.registers import open_register
from guard.registers.plain import MemoryRegister, PlainRegister, PlainRegisterError, read_entries
from guard.registers.rows import Row, read_csv, read_json_lines, write_cells, write_json_row
from guard.registers.sqlite import SqliteRegister
from guard.registers.swap import import_works
from guard.rights import HOLDINGS, KINDS, PURPOSES, WORDS, Choice, Licence, Work, read_choice, write_choice

ROOT = Path(__file__).resolve().parents[1]
NO_AI = Choice({"": {"train-ai": "disallow", "ai-use": "disallow"}})
OPEN = Choice(
    {"": {"train-ai": "open"}}, licences=(Licence("operator:x", ("train-ai",)),), contact="mailto:a@b.example"
)
LABEL, ARTIST, RELEASE = Work("label", "L 1"), Work("artist", "AC/DC"), Work("release", "5")
TRACK, OTHER, UNKNOWN = Work("track", "1001"), Work("track", "трек"), Work("track", "nobody knows")

Said = dict[Work, tuple[Choice | None, tuple[Work, ...]]]
CATALOGUE: Said = {
    LABEL: (None, ()),
    ARTIST: (replace(NO_AI, by="the band", at_s=1_700_000_000.0), (LABEL,)),
    RELEASE: (None, (ARTIST,)),
    TRACK: (replace(OPEN, by="the band", at_s=1_700_000_001.5, reason="a wish"), (RELEASE, ARTIST)),
    OTHER: (None, (RELEASE,)),
}


class Place(NamedTuple):
    """Where a register of one kind is, and what opens it as another process would."""

    open: Callable[[], RightsSource]
    change: Callable[[Work, Choice], None]
    """Say something of a work that is known, from outside."""
    take_away: Callable[[], Callable[[], None]] | None = None
    """Make it unreachable; gives what makes it reachable again."""


# -- the kinds of registers: one line each -------------------------------------------------------------------


def _plain(folder: Path) -> Iterator[Place]:
    path = folder / "rights.yaml"
    entries = dict(CATALOGUE)

    def write() -> None:
        works = {
            str(work): {**write_choice(said or Choice({})), "parents": [*map(str, above)]}
            for work, (said, above) in entries.items()
        }
        lines = [f"  {json.dumps(name, ensure_ascii=False)}: {json.dumps(row)}" for name, row in works.items()]
        lines = [line.replace('"parents": []', '"parents": ~') for line in lines]
        fresh = path.with_suffix(".new")
        fresh.write_text("version: 1\nworks:\n" + "\n".join(lines) + "\n", "utf-8")
        fresh.replace(path)

    def change(work: Work, choice: Choice) -> None:
        entries[work] = (choice, entries[work][1])
        write()

    write()
    yield Place(lambda: PlainRegister(path), change, _by_renaming(path))


def _memory(folder: Path) -> Iterator[Place]:
    register = MemoryRegister(CATALOGUE)

    def change(work: Work, choice: Choice) -> None:
        register.put(Change(choice.at_s, work, choice, choice.by, choice.reason))

    yield Place(lambda: register, change)


def _sqlite(folder: Path) -> Iterator[Place]:
    path = folder / "a ?%#register.sqlite"
    import_works(path, catalogue_rows(), at_s=1.0, by="import")

    def change(work: Work, choice: Choice) -> None:
        put_elsewhere(path, work, choice)

    yield Place(lambda: SqliteRegister(path), change, _by_renaming(path))


def _by_renaming(path: Path) -> Callable[[], Callable[[], None]]:
    def take_away() -> Callable[[], None]:
        away = path.with_name("away")
        path.rename(away)
        return lambda: void(away.rename(path))

    return take_away


KINDS_OF_REGISTERS: dict[str, Callable[[Path], Iterator[Place]]] = {
    "yaml": _plain,
    "memory": _memory,
    "sqlite": _sqlite,
}
"""kind -> a generator that makes a register holding CATALOGUE in a folder, yields where it is, and clears up."""


@pytest.fixture(params=sorted(KINDS_OF_REGISTERS))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    yield from KINDS_OF_REGISTERS[request.param](tmp_path)


def void(_: object) -> None:
    """For a statement where an expression is wanted."""


def catalogue_rows() -> list[Row]:
    return [Row(work, parents, choice) for work, (choice, parents) in CATALOGUE.items()]


def put_elsewhere(path: Path, work: Work, choice: Choice | None, at_s: float = 1_800_000_000.0) -> None:
    """A change by a process of its own."""
    code = (
        "import json, sys; from guard.registers.sqlite import SqliteRegister; from guard.protocols import Change\n"
        "from guard.rights import Work, read_choice\n"
        "path, layer, name, said, at = json.loads(sys.argv[1])\n"
        "SqliteRegister(path).put(Change(at, Work(layer, name), said and read_choice(said), 'elsewhere', ''))\n"
    )
    said = None if choice is None else write_choice(choice)
    subprocess.run([sys.executable, "-c", code, json.dumps([str(path), *work, said, at_s])], check=True, cwd=ROOT)


async def holds(question: Callable[[], bool], within_s: float = 5.0) -> bool:
    give_up = time.monotonic() + within_s
    while time.monotonic() < give_up:
        if question():
            return True
        await asyncio.sleep(0.005)
    return question()


def words(source: RightsSource, work: Work) -> Choice | None:
    return dict(source.find((work,)).chain).get(work)


def in_a_fork(says: Callable[[], object]) -> Any:
    """What a forked child answers."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, json.dumps(says()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(said)


# -- the contract ----------------------------------------------------------------------------------------------


async def warmed(source: RightsSource) -> RightsSource:
    """A source that has to ask somebody has asked."""
    every = tuple(CATALOGUE)
    assert await holds(lambda: source.find(every).state == "known")
    return source


@pytest.mark.anyio
async def test_find_gives_a_work_and_all_that_stands_above_it(place: Place) -> None:
    source = place.open()
    await source.open()
    try:
        await warmed(source)
        found = source.find((TRACK,))
        assert found.state == "known"
        said = dict(found.chain)
        assert set(said) == {TRACK, RELEASE, ARTIST, LABEL}
        assert said[ARTIST] == CATALOGUE[ARTIST][0]
        assert said[TRACK] == CATALOGUE[TRACK][0]
        assert len(found.chain) == 4
        assert set(dict(source.find((TRACK, OTHER)).chain)) == {TRACK, OTHER, RELEASE, ARTIST, LABEL}
    finally:
        await source.close()


@pytest.mark.anyio
async def test_who_is_not_known_is_in_the_chain_without_a_word(place: Place) -> None:
    source = place.open()
    await source.open()
    try:
        await warmed(source)
        strange = (UNKNOWN, Work("track", "\ud800"), Work("track", "a\x00b"), Work("track", "9" * 400))
        for work in strange:
            assert await holds(lambda work=work: source.find((work,)).state != "away")
            assert source.find((work,)).chain == ((work, None),)
    finally:
        await source.close()


@pytest.mark.anyio
async def test_the_listed_are_those_with_a_choice_widest_first(place: Place) -> None:
    source = place.open()
    await source.open()
    try:
        await warmed(source)
        if source.listed(10) == NOTHING_LISTED:
            return  # a source that cannot list lists nothing
        listed = source.listed(10)
        spoken = [work for work, _ in listed.works if CATALOGUE[work][0] and CATALOGUE[work][0].preferences]  # type: ignore[union-attr]
        assert spoken == [ARTIST, TRACK]
        assert listed.total == len(listed.works)
        assert set(dict(dict(listed.works)[TRACK])) == {TRACK, RELEASE, ARTIST, LABEL}
        assert len(source.listed(1).works) == 1
        assert source.listed(1).total == listed.total
    finally:
        await source.close()


@pytest.mark.anyio
async def test_a_change_is_heard_of_and_found_within_two_seconds(place: Place) -> None:
    source = place.open()
    heard: list[float] = []
    source.heed(lambda: heard.append(time.monotonic()))
    await source.open()
    try:
        await warmed(source)
        assert words(source, TRACK) == CATALOGUE[TRACK][0]
        heard.clear()
        said = replace(NO_AI, by="somebody", at_s=1_800_000_000.0, reason="changed")
        await asyncio.to_thread(place.change, TRACK, said)
        changed_at = time.monotonic()
        assert await holds(
            lambda: (
                bool(heard)
                and words(source, TRACK) is not None
                and words(source, TRACK).preferences == NO_AI.preferences
            )
        )  # type: ignore[union-attr]
        assert max(heard) - changed_at < 2.0
    finally:
        await source.close()


@pytest.mark.anyio
async def test_a_source_that_is_away_answers_with_what_it_was_and_comes_back(place: Place) -> None:
    if place.take_away is None:
        return
    source = place.open()
    await source.open()
    try:
        await warmed(source)
        before = source.find((TRACK,)).chain
        come_back = place.take_away()
        assert await holds(lambda: source.find((TRACK,)).state == "stale")
        assert source.find((TRACK,)).chain == before
        assert source.find((UNKNOWN,)).chain == ((UNKNOWN, None),)
        come_back()
        assert await holds(lambda: source.find((TRACK,)).state == "known")
        assert source.find((TRACK,)).chain == before
    finally:
        await source.close()


@pytest.mark.anyio
async def test_open_and_close_may_be_called_twice_and_find_works_after_them(place: Place) -> None:
    source = place.open()
    await source.open()
    await source.open()
    await warmed(source)
    await source.close()
    await source.close()
    assert words(source, ARTIST) == CATALOGUE[ARTIST][0]


def test_a_forked_child_finds_what_its_parent_finds(place: Place) -> None:
    source = place.open()
    if source.find((TRACK,)).state != "known":
        return  # it needs an event loop
    assert in_a_fork(lambda: len(source.find((TRACK,)).chain)) == 4
    assert in_a_fork(lambda: len(in_a_fork(lambda: len(source.find((TRACK,)).chain)) * [0])) == 4
    assert words(source, TRACK) == CATALOGUE[TRACK][0]


@pytest.mark.anyio
async def test_who_listens_badly_does_not_make_the_others_deaf(place: Place) -> None:
    source = place.open()
    heard: list[int] = []

    def badly() -> None:
        raise ZeroDivisionError

    source.heed(badly)
    source.heed(lambda: heard.append(1))
    await source.open()
    try:
        await warmed(source)
        heard.clear()
        await asyncio.to_thread(place.change, TRACK, replace(NO_AI, at_s=1_800_000_000.0))
        assert await holds(lambda: bool(heard))
    finally:
        await source.close()


# -- which register ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("rights.yaml", PlainRegister),
        ("x/rights.YML", PlainRegister),
        ("rights.sqlite", SqliteRegister),
        ("rights.sqlite3", SqliteRegister),
        ("rights.db", SqliteRegister),
        ("sqlite:///srv/a%20b/rights", SqliteRegister),
    ],
)
def test_a_location_names_its_kind_of_register(location: str, kind: type) -> None:
    assert isinstance(open_register(location), kind)


def test_a_whole_path_stands_behind_sqlite() -> None:
    found = open_register("sqlite:///srv/a%20b/rights")
    assert isinstance(found, SqliteRegister)
    assert found.path == Path("/srv/a b/rights")


@pytest.mark.parametrize(
    ("location", "meant"),
    [
        ("rights.sqllite", "Did you mean .sqlite?"),
        ("rights.yamll", "Did you mean .yaml?"),
        ("reddis://:secret@host/0", "Did you mean redis://?"),
        ("htps://user:secret@host/", "Did you mean https://?"),
        ("rights", "use a file *.yaml"),
        ("", "use a file *.yaml"),
        ("sqlite://secret", "sqlite:///srv"),
        (".sqlite", "use a file"),
    ],
)
def test_a_location_that_names_none_is_refused_with_what_was_meant(location: str, meant: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        open_register(location)
    assert meant in str(error.value)
    assert "secret" not in str(error.value)


# -- YAML ------------------------------------------------------------------------------------------------------


def test_all_problems_of_a_register_file_are_told_at_once_with_their_lines() -> None:
    text = """\
version: 1
works:
  trak:1: {preferences: {train-ai: disallow}}
  track:2:
    preferences:
      train-ai: no
      voice:
        ai-use: opne
    contct: x
    licences:
      - to: somebody
        proof: verifed
  track:3:
    parents: [artist:1, track:2]
  artist:4:
    until: 2026-13-01
"""
    with pytest.raises(PlainRegisterError) as error:
        read_entries(text, "r.yaml")
    told = {(problem.line, problem.message.split(":")[0]): problem.message for problem in error.value.problems}
    assert sorted(line for line, _ in told) == [3, 6, 8, 9, 11, 12, 14, 16]
    said = str(error.value)
    assert "did you mean 'track'?" in said
    assert "'no' means disallow" in said
    assert "did you mean 'open'?" in said
    assert "did you mean 'contact'?" in said
    assert "did you mean 'verified'?" in said
    assert all(problem.file == "r.yaml" for problem in error.value.problems)


@pytest.mark.anyio
async def test_a_bad_new_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text('version: 1\nworks: {"track:1": {preferences: {train-ai: disallow}}}\n')
    register, heard = PlainRegister(path), []
    await register.open()
    try:
        register.heed(lambda: heard.append(1))
        path.write_text('version: 1\nworks: {"trac:1": {preferences: {train-ai: allow}}}\n')
        os.utime(path, ns=(1, 1))
        assert register._look() is False
        assert words(register, Work("track", "1")) == Choice({"": {"train-ai": "disallow"}})
        assert register.find((Work("track", "1"),)).state == "known"
    finally:
        await register.close()


@pytest.mark.anyio
async def test_who_must_live_with_a_file_that_has_problems_is_away_until_they_are_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, track = tmp_path / "r.yaml", Work("track", "1")
    path.write_text('version: 1\nworks: {"trac:1": {}}\n')
    with pytest.raises(PlainRegisterError):
        open_register(str(path))
    register = open_register(str(path), lenient=True)
    assert isinstance(register, PlainRegister)
    assert caplog.text.count("did you mean 'track'?") == 1
    await register.open()
    try:
        assert register.find((track,)) == Known(((track, None),), "away")
        for ask in (lambda: register.entry(track), register.stats, lambda: list(register.entries())):
            with pytest.raises(RegisterError):
                ask()
        path.write_text('version: 1\nworks: {"track:1": {preferences: {train-ai: disallow}}}\n')
        assert register._look() is True
        assert words(register, track) == Choice({"": {"train-ai": "disallow"}})
        assert register.find((track,)).state == "known"
    finally:
        await register.close()
    assert caplog.text.count("did you mean 'track'?") == 1


def test_a_file_with_nonsense_in_it_makes_no_question_fail(path: Path) -> None:
    register, track, artist = SqliteRegister(path), Work("track", "1"), Work("artist", "1")
    register.put(Change(1.0, track, Choice({}), "", ""), (artist,))
    register.put(Change(1.0, artist, Choice({}), "", ""))
    good = register.find((track,)).chain
    with sqlite3.connect(path) as file:
        file.execute("UPDATE works SET parents = '9:1'")  # no layer has this number
    register._turn += 1
    assert register.find((track,)) == Known(good, "stale")
    assert SqliteRegister(path).find((track,)) == Known(((track, None),), "away")
    with sqlite3.connect(path) as file:
        file.execute("UPDATE works SET parents = '', said = 77")  # and no saying this one
    assert SqliteRegister(path).find((track,)) == Known(((track, None),), "away")


def test_a_work_of_no_layer_makes_no_question_fail() -> None:
    strange = Work("song", "1")
    register = PlainRegister("/nowhere/rights.yaml")
    register._entries[strange] = (None, (Work("artist", "1"),))
    assert register.find((strange,)) == Known(((strange, None),), "away")


@pytest.mark.parametrize(
    "text", ["", "works: {}", "version: 2", "version: 1\nworks: [a]", "version: 1\nwork: {}", "- a"]
)
def test_what_is_no_register_file_is_refused(text: str) -> None:
    with pytest.raises(PlainRegisterError):
        read_entries(text, "r.yaml")


# -- SQLite: writing ---------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rights.sqlite"


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_register_implements_all_of_register(kind: str, path: Path) -> None:
    register = MemoryRegister() if kind == "memory" else SqliteRegister(path)
    assert isinstance(register, Register)


def test_ids_that_look_alike_stay_apart(path: Path) -> None:
    register = SqliteRegister(path)
    names = [
        "1",
        "01",
        "007",
        "7",
        "+7",
        "7.0",
        " 7",
        "7 ",
        "٧",
        "AC/DC",
        "ac/dc",
        "трек",
        "9" * 18,
        "9" * 19,
        "0",
        "00",
        "-1",
    ]
    for number, name in enumerate(names):
        register.put(Change(float(number + 1), Work("track", name), NO_AI, name, ""), (Work("artist", name),))
    for name in names:
        entry = register.entry(Work("track", name))
        assert entry is not None
        assert entry[0] == replace(NO_AI, by=name, at_s=float(names.index(name) + 1))
        assert entry[1] == (Work("artist", name),)
    assert {work.id for work, _, _ in register.entries()} == set(names)


def test_a_change_is_found_at_once_by_who_made_it(path: Path) -> None:
    register = SqliteRegister(path)
    assert register.find((TRACK,)).state == "away"
    register.put(Change(1.0, TRACK, NO_AI, "me", "why"), (ARTIST,))
    found = register.find((TRACK,))
    assert found.state == "known"
    assert dict(found.chain) == {TRACK: replace(NO_AI, by="me", at_s=1.0, reason="why"), ARTIST: None}
    register.put(Change(2.0, TRACK, None, "me", ""))
    assert dict(register.find((TRACK,)).chain) == {TRACK: None, ARTIST: None}


def test_only_what_is_wider_stands_above_a_work(path: Path) -> None:
    register = SqliteRegister(path)
    for work, parent in ((ARTIST, TRACK), (TRACK, OTHER), (LABEL, LABEL)):
        with pytest.raises(RegisterError, match="cannot stand above"):
            register.put(Change(1.0, work, None, "", ""), (parent,))
    with pytest.raises(RegisterError):
        register.put(Change(1.0, Work("trak", "1"), None, "", ""))
    assert not path.exists()


@pytest.mark.parametrize("kind", ["foreign", "newer", "no database"])
def test_a_file_of_somebody_else_is_refused_and_left_alone(kind: str, path: Path) -> None:
    if kind == "no database":
        path.write_bytes(b"this is no database, however long it may be " * 100)
    elif kind == "newer":
        SqliteRegister(path).put(Change(1.0, TRACK, NO_AI, "", ""))
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
    else:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE songs (name)")
        connection.close()
    before = path.read_bytes()
    register = SqliteRegister(path)
    assert register.find((TRACK,)).state == "away"
    assert register.listed(5) == NOTHING_LISTED
    for act in (
        lambda: register.put(Change(1.0, TRACK, NO_AI, "", "")),
        lambda: register.entry(TRACK),
        lambda: void(import_works(path, [Row(TRACK)], at_s=1.0)),
    ):
        with pytest.raises(RegisterError, match=str(path)):
            act()
    assert path.read_bytes() == before


def test_who_is_locked_out_is_answered_at_once_with_what_was(path: Path) -> None:
    register = SqliteRegister(path)
    register.put(Change(1.0, TRACK, NO_AI, "", ""), (ARTIST,))
    before = register.find((TRACK,)).chain
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    assert register.find((TRACK,)) == (before, "stale")
    assert register.find((OTHER,)) == (((OTHER, None),), "away")
    assert time.monotonic() - began < 0.5
    with pytest.raises(RegisterError, match="somebody else is writing"):
        register.put(Change(2.0, TRACK, OPEN, "", ""))
    writer.execute("ROLLBACK")
    writer.close()
    assert register.find((TRACK,)) == (before, "known")


def test_what_a_killed_writer_began_is_taken_back_by_who_looks_next(path: Path) -> None:
    register = SqliteRegister(path)
    for number in range(300):
        register.put(Change(1.0, Work("track", str(number)), NO_AI, "", ""))
        if number == 40:
            break
    code = (
        "import os, sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('PRAGMA cache_size = 1'); c.execute('PRAGMA cache_spill = 1'); c.execute('BEGIN IMMEDIATE')\n"
        "c.execute('UPDATE works SET said = NULL')\n"
        "rows = ((f'x{n}', 'y' * 900) for n in range(900))\n"
        "c.executemany('INSERT INTO works VALUES (5, ?, ?, NULL, NULL, NULL)', rows)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT)
    assert path.with_name(path.name + "-journal").exists()
    fresh = SqliteRegister(path)
    asyncio.run(_opened_and_closed(fresh))
    found = fresh.find((Work("track", "3"),))
    assert (found.state, dict(found.chain)[Work("track", "3")] is not None) == ("known", True)


async def _opened_and_closed(register: SqliteRegister) -> None:
    await register.open()
    assert await holds(lambda: register.find((Work("track", "3"),)).state == "known")
    await register.close()


def test_questions_from_many_threads_are_all_answered(path: Path) -> None:
    import_works(path, catalogue_rows(), at_s=1.0)
    register = SqliteRegister(path)
    states: list[str] = []

    def ask() -> None:
        for number in range(200):
            states.append(register.find((TRACK, Work("track", str(number)))).state)
            if number % 50 == 0:
                register.listed(5)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states == ["known"] * 1_200


def test_a_connection_that_came_through_a_fork_is_neither_used_nor_closed(path: Path) -> None:
    import_works(path, catalogue_rows(), at_s=1.0)
    register = SqliteRegister(path)
    assert register.find((TRACK,)).state == "known"
    assert register._reader is not None
    inherited = register._reader.connection

    def in_the_child() -> list[bool]:
        known = register.find((TRACK,)).state == "known"
        assert register._reader is not None
        return [known, register._reader.connection is not inherited, inherited.total_changes == 0]

    assert in_a_fork(in_the_child) == [True, True, True]
    assert register.find((TRACK,)).state == "known"


# -- SQLite: history -----------------------------------------------------------------------------------------------

some_words = st.dictionaries(st.sampled_from(PURPOSES), st.sampled_from(WORDS), min_size=1, max_size=2)
kinds = st.sampled_from(["", *KINDS])
texts = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=12).map(str.strip)
moments = st.integers(1, 4_000_000_000_000).map(lambda ms: ms / 1000)
early = st.one_of(st.just(-float("inf")), st.integers(1, 1_999_999_999_999).map(lambda ms: ms / 1000))
late = st.one_of(st.just(float("inf")), st.integers(2_000_000_000_000, 4_000_000_000_000).map(lambda ms: ms / 1000))
licences = st.builds(
    Licence,
    to=st.one_of(
        st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=8)
        .map(lambda name: name.strip().lower())
        .filter(lambda name: bool(name) and name == name.strip().lower())
        .map(lambda name: f"operator:{name}"),
        st.sampled_from(["agent:gptbot", "key:aBc-_=", "operator:a|b"]),
    ),
    purposes=st.lists(st.sampled_from(PURPOSES), max_size=2, unique=True).map(tuple),
    kinds=st.lists(st.sampled_from(sorted(KINDS)), max_size=2, unique=True).map(tuple),
    from_s=early,
    until_s=late,
    proof=st.sampled_from(["verified", "claim"]),
)
choices = st.builds(
    Choice,
    preferences=st.dictionaries(kinds, some_words, max_size=2),
    licences=st.one_of(st.none(), st.lists(licences, max_size=2).map(tuple)),
    from_s=early,
    until_s=late,
    territory=texts,
    contact=st.sampled_from(["", "mailto:a@b.example?subject=x,y", "=a+b@c.example", "tel:+493012345"]),
    licence_url=st.sampled_from(["", "https://a.example/l?x=1"]),
    by=texts,
    at_s=st.one_of(st.just(0.0), moments),
    reason=texts,
)
ids = st.one_of(
    st.sampled_from(["1", "01", "=1", "@x", "'=1", "'", "''", "-1", "a|b", "\u2028", '"', ",", "[", "none", "AC/DC"]),
    st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=6),
)
some_works = st.builds(Work, st.sampled_from(HOLDINGS), ids)


@settings(max_examples=60)
@given(
    puts=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 2), st.one_of(st.none(), choices)), max_size=12),
    asked=st.lists(st.integers(-1, 52), min_size=1, max_size=6),
)
def test_what_was_in_force_at_any_past_moment_can_be_asked(
    puts: list[tuple[int, int, Choice | None]], asked: list[int]
) -> None:
    """Against a list: the last change that was noted, of those from before the moment. Clocks may go backwards."""
    works = [TRACK, ARTIST, Work("track", "01")]
    with tempfile.TemporaryDirectory() as folder:
        register = SqliteRegister(Path(folder) / "r.sqlite")
        noted: list[tuple[int, Work, Choice | None]] = []
        for number, (at, which, choice) in enumerate(puts):
            register.put(Change(float(at), works[which], choice, f"who {number}", "why"))
            said = choice and replace(
                choice, by=choice.by or f"who {number}", at_s=choice.at_s or float(at), reason=choice.reason or "why"
            )
            noted.append((at, works[which], said))
        for work in works:
            mine = [(at, said) for at, one, said in noted if one == work]
            for moment in asked if puts else ():
                told = [said for at, said in mine if at <= moment]
                assert dict(register.at((work,), moment).chain)[work] == (told[-1] if told else None)
            if puts:
                assert [(change.at_s, change.choice) for change in register.history(work)] == mine
                entry = register.entry(work)
                assert entry == ((mine[-1][1], ()) if mine else None)
                assert dict(register.find((work,)).chain)[work] == (mine[-1][1] if mine else None)
        if puts:
            assert register.stats()["changes"] == len(puts)
            every = register.changes(0.0, 100)
            assert [change.at_s for change in every] == sorted(at for at, _, _ in noted)
            spoken = [work for work in works if (entry := register.entry(work)) and entry[0]]
            assert register.listed(10).total == len(spoken)
            assert {work for work, _ in register.listed(10).works} == set(spoken)


# -- SQLite: import ------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    st.lists(st.tuples(some_works, st.one_of(st.none(), choices), st.lists(ids, max_size=2)), max_size=8), st.booleans()
)
def test_what_is_exported_is_imported_the_same(rows: list[tuple[Work, Choice | None, list[str]]], as_csv: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "a.sqlite", Path(folder) / "b.sqlite"
        given_rows = [
            Row(
                work,
                () if work.layer == "label" else tuple(dict.fromkeys(Work("label", name) for name in above)),
                choice,
            )
            for work, choice, above in rows
        ]
        import_works(first, given_rows, at_s=5.0, by="first", reason="r")
        entries = list(SqliteRegister(first).entries())
        if as_csv:
            again = csv_of(entries)
            read = list(read_csv(again.splitlines(keepends=True) if "\u2028" not in again else csv_lines(again)))
        else:
            read = list(read_json_lines([write_json_row(*entry) for entry in entries]))
        assert not [row for _, row in read if isinstance(row, ChoiceError)]
        import_works(second, [row for _, row in read if isinstance(row, Row)], at_s=9.0, by="second", reason="s")
        found = list(SqliteRegister(second).entries())
        assert [(work, choice and replace(choice, by="", reason=""), above) for work, choice, above in found] == [
            (work, choice and replace(choice, by="", reason=""), above) for work, choice, above in entries
        ]
        for (_, mine, _), (_, theirs, _) in zip(found, entries, strict=True):
            if mine and theirs:
                assert (mine.by, mine.reason) == (theirs.by or "second", theirs.reason or "s")
        # And brought into the register that they come from, they change nothing.
        report = import_works(first, [row for _, row in read if isinstance(row, Row)], at_s=9.0, by="again")
        assert (report.changed, report.withdrawn) == (0, 0)
        assert list(SqliteRegister(first).entries()) == entries
        report = import_works(first, [row for _, row in read if isinstance(row, Row)], replace=True, at_s=9.0)
        assert (report.changed, report.withdrawn) == (0, 0)
        assert list(SqliteRegister(first).entries()) == entries


def csv_of(entries: list[tuple[Work, Choice | None, tuple[Work, ...]]]) -> str:
    import csv
    import io

    from guard.registers.rows import COLUMNS

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(write_cells(*entry) for entry in entries)
    return out.getvalue()


def csv_lines(text: str) -> list[str]:
    return [f"{line}\n" for line in text.split("\n")[:-1]]


def test_the_same_words_again_are_no_change_and_other_words_are(path: Path) -> None:
    rows = [Row(ARTIST, (), NO_AI), Row(TRACK, (ARTIST,), OPEN), Row(OTHER, (ARTIST,), NO_AI)]
    assert import_works(path, rows, at_s=1.0, by="one").changed == 3
    assert import_works(path, rows, at_s=2.0, by="two", reason="nightly").changed == 0
    assert SqliteRegister(path).entry(ARTIST) == (replace(NO_AI, by="one", at_s=1.0), ())
    report = import_works(path, [Row(ARTIST, None, OPEN), Row(TRACK)], at_s=3.0, by="three", replace=True)
    assert (report.changed, report.withdrawn, report.works, report.choices) == (1, 2, 2, 1)
    register = SqliteRegister(path)
    assert [(change.at_s, change.by, change.choice is None) for change in register.history(TRACK)] == [
        (1.0, "one", False),
        (3.0, "three", True),
    ]
    assert [change.at_s for change in register.history(OTHER)] == [1.0, 3.0]
    assert register.entry(OTHER) is None
    assert dict(register.at((ARTIST,), 2.5).chain)[ARTIST] == replace(NO_AI, by="one", at_s=1.0)
    assert register.stats()["works"] == {"artist": 1, "track": 1}


def test_of_several_rows_for_one_work_the_last_counts(path: Path) -> None:
    rows = [Row(TRACK, (ARTIST,), NO_AI), Row(TRACK, None, OPEN), Row(TRACK, (LABEL,), None), Row(TRACK, None, None)]
    import_works(path, rows, at_s=1.0, by="me")
    assert SqliteRegister(path).entry(TRACK) == (replace(OPEN, by="me", at_s=1.0), (LABEL,))


def test_a_change_that_is_put_during_an_import_is_not_lost(path: Path) -> None:
    import_works(path, catalogue_rows(), at_s=1.0)

    def rows() -> Iterator[Row]:
        yield Row(TRACK, (ARTIST,), NO_AI)
        SqliteRegister(path).put(Change(5.0, TRACK, OPEN, "the artist", "meanwhile"), (LABEL,))
        SqliteRegister(path).put(Change(6.0, UNKNOWN, NO_AI, "the artist", ""))
        yield Row(OTHER, (ARTIST,), NO_AI)

    for replace_all in (False, True):
        report = import_works(path, rows(), at_s=4.0, by="import", replace=replace_all)
        assert report.followed == 2
        register = SqliteRegister(path)
        assert register.entry(TRACK) == (replace(OPEN, by="the artist", at_s=5.0, reason="meanwhile"), (LABEL,))
        assert register.entry(UNKNOWN) == (replace(NO_AI, by="the artist", at_s=6.0), ())
        assert register.history(TRACK)[-1].by == "the artist"
        assert register.listed(1).total == sum(choice is not None for _, choice, _ in register.entries())


def test_of_two_imports_at_once_one_is_refused_and_nothing_is_lost(path: Path) -> None:
    import_works(path, [Row(TRACK, (), NO_AI)], at_s=1.0)
    other = path.with_name("other.sqlite")
    import_works(other, [Row(OTHER, (), NO_AI)], at_s=1.0)

    def rows() -> Iterator[Row]:
        other.replace(path)  # as the other import does at its end
        yield Row(ARTIST)

    with pytest.raises(RegisterError, match="another import came first"):
        import_works(path, rows(), at_s=2.0)
    assert [work for work, _, _ in SqliteRegister(path).entries()] == [OTHER]


def test_a_failed_import_leaves_the_old_file_and_nothing_else(path: Path) -> None:
    import_works(path, catalogue_rows(), at_s=1.0)
    before = path.read_bytes()

    def rows() -> Iterator[Row]:
        yield Row(UNKNOWN, (), NO_AI)
        raise KeyboardInterrupt

    for bad in (rows(), [Row(Work("trak", "1"))], [Row(Work("track", "\ud800"))], [Row(ARTIST, (TRACK,))]):
        with pytest.raises((RegisterError, KeyboardInterrupt)):
            import_works(path, bad, at_s=2.0)
        assert path.read_bytes() == before
        assert [one.name for one in path.parent.iterdir()] == [path.name]
    report = import_works(path, [Row(UNKNOWN, (), NO_AI)], at_s=2.0, dry_run=True)
    assert (report.changed, report.swapped) == (1, False)
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == [path.name]


SLOW_IMPORT = """
import sys
from guard.registers.rows import Row
from guard.registers.swap import import_works
from guard.rights import Work

def rows():
    for number in range(10**9):
        if number == 100_000:
            print("under way", flush=True)
        yield Row(Work("track", str(number)))

import_works(sys.argv[1], rows(), at_s=1.0)
"""


def test_an_import_that_is_killed_leaves_the_old_file_and_the_next_one_clears_up(path: Path) -> None:
    import_works(path, catalogue_rows(), at_s=1.0)
    before = path.read_bytes()
    command = [sys.executable, "-c", SLOW_IMPORT, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None and process.stdout.readline()
            with pytest.raises(RegisterError, match=f"under way .process {process.pid}"):
                import_works(path, [Row(UNKNOWN)], at_s=2.0)
            process.send_signal(signal.SIGKILL)
        finally:
            process.kill()
    assert path.read_bytes() == before
    left = path.with_name(f"{path.name}.new-{process.pid}")
    assert left.exists()
    import_works(path, [Row(UNKNOWN)], at_s=2.0)
    assert not left.exists()
    assert SqliteRegister(path).entry(UNKNOWN) == (None, ())


READER = """
import asyncio, sys, time
from guard.registers.sqlite import SqliteRegister
from guard.rights import Work

async def main():
    register, heard = SqliteRegister(sys.argv[1]), []
    register.heed(lambda: heard.append(1))
    await register.open()
    asked, bad, last = 0, 0, None
    loop = asyncio.get_running_loop()
    line = loop.run_in_executor(None, sys.stdin.readline)
    print("ready", flush=True)
    while not line.done():
        for number in range(50):
            found = register.find((Work("track", str(number)),))
            asked += 1
            bad += found.state == "away" or len(found.chain) != 2
        last = dict(register.find((Work("track", "1"),)).chain)[Work("artist", "1")]
        if last is not None and last.territory == line_wanted:
            print("seen", flush=True)
            break
        await asyncio.sleep(0)
    print(asked, bad, len(heard), flush=True)
    await register.close()

line_wanted = sys.argv[2]
asyncio.run(main())
"""


def test_a_swap_breaks_no_read_of_another_process_and_is_seen_by_it(path: Path) -> None:
    artist = Work("artist", "1")

    def rows(territory: str) -> list[Row]:
        above = Row(artist, (), replace(NO_AI, territory=territory))
        return [above, *(Row(Work("track", str(number)), (artist,)) for number in range(50))]

    import_works(path, rows("c0"), at_s=1.0)
    command = [sys.executable, "-c", READER, str(path), "c9"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            for number in range(1, 10):
                import_works(path, rows(f"c{number}"), at_s=float(number), replace=number % 2 == 0)
            swapped = time.monotonic()
            assert process.stdout.readline() == "seen\n"
            assert time.monotonic() - swapped < 2.0
            asked, bad, heard = map(int, process.stdout.readline().split())
        finally:
            process.kill()
    assert asked > 100
    assert bad == 0
    assert heard > 0


def test_the_new_file_has_the_rights_of_the_old_one_and_a_link_still_leads_to_it(path: Path) -> None:
    import_works(path, catalogue_rows(), at_s=1.0)
    path.chmod(0o640)
    link = path.with_name("link.sqlite")
    link.symlink_to(path)
    import_works(link, [Row(UNKNOWN)], at_s=2.0)
    assert path.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert SqliteRegister(path).entry(UNKNOWN) == (None, ())


# -- rows --------------------------------------------------------------------------------------------------------


def one_csv(header: str, row: str) -> Row | ChoiceError:
    ((_, read),) = read_csv([f"{header}\n", f"{row}\n"])
    return read


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        ("layer,id,no-ai", "artist,1,yes", NO_AI),
        ("work,no-ai", "artist:1,YES", NO_AI),
        ("layer,id,no-ai", "artist,1,no", None),
        ("layer,id,no-ai,train-ai", "artist,1,yes,disallow", NO_AI),
        ("layer,id,audio.train-ai", "artist,1,open", Choice({"audio": {"train-ai": "open"}})),
        (
            "layer,id,kinds",
            "artist,1,audio.train-ai=open|voice.search=allow",
            Choice({"audio": {"train-ai": "open"}, "voice": {"search": "allow"}}),
        ),
        (
            "layer,id,licences",
            "artist,1,operator:Big|agent:X",
            Choice({}, (Licence("operator:big"), Licence("agent:x"))),
        ),
        ("layer,id,licences", "artist,1,none", Choice({}, ())),
        ("layer,id,until", "artist,1,2026-12-01", read_choice({"until": "2026-12-01"})),
        ("layer,id,contact", "artist,1,'=x@y", Choice({}, contact="=x@y")),
        ("ID, Layer ", "1,artist", None),
    ],
)
def test_a_row_of_csv_says(header: str, row: str, said: Choice | None) -> None:
    assert one_csv(header, row) == Row(Work("artist", "1"), None, said)


@pytest.mark.parametrize(
    ("header", "row", "key", "message"),
    [
        ("layer,id", "artst,1", "layer", "did you mean 'artist'?"),
        ("layer,id", "artist,", "id", "1 to 512"),
        ("layer,id", "platform,x", "layer", "unknown layer"),
        ("layer,id", "artist,1,2", "", "3 cells under 2 columns"),
        ("layer,id,train-ai", "artist,1,no", "preferences.train-ai", "'no' means disallow"),
        ("layer,id,no-ai,train-ai", "artist,1,yes,allow", "no-ai", "train-ai says allow"),
        ("layer,id,no-ai", "artist,1,maybe", "no-ai", "neither yes nor no"),
        ("layer,id,parents", "artist,1,track:2", "parents", "cannot stand above"),
        ("layer,id,parents", "track,1,artit:2", "parents.layer", "did you mean 'artist'?"),
        ("layer,id,parents", "track,1,artist", "parents.work", "is no work"),
        ("layer,id,kinds", "artist,1,audo.train-ai=open", "kinds", "did you mean 'audio.train-ai'?"),
        ("layer,id,licences", "artist,1,suno", "licences[0].to", "operator:NAME"),
        ("layer,id,licences", "artist,1,[", "licences", "no JSON"),
        ("layer,id,until", "artist,1,soon", "until", "is no date"),
        ("layer,id,licence", "artist,1,ftp://x", "licence", "is no URL"),
        ("layer,id", "artist,\udcff", "id", "not valid UTF-8"),
        ("layer,id,territory", "artist,1,\udcff", "territory", "not valid UTF-8"),
    ],
)
def test_a_bad_row_is_named_with_its_key_and_what_to_write(header: str, row: str, key: str, message: str) -> None:
    read = one_csv(header, row)
    assert isinstance(read, ChoiceError)
    assert read.key == key
    assert message in read.message


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("", "no header"),
        ("layer;id", "separated by commas"),
        ("layer,id,train-a", "did you mean 'train-ai'?"),
        ("layer,id,id", "twice"),
        ("work,layer,id", "either 'work'"),
    ],
)
def test_a_header_that_says_nothing_is_refused(header: str, message: str) -> None:
    problems = [row for _, row in read_csv([f"{header}\n", "a,b,c\n"] if header else [])]
    assert any(isinstance(one, ChoiceError) and message in one.message for one in problems)
    assert not any(isinstance(one, Row) for one in problems)


@pytest.mark.parametrize(
    ("line", "key", "message"),
    [
        ("[]", "", "expected an object"),
        ("{", "", "no JSON"),
        ("{}", "work", "needs the work"),
        ('{"work": 7}', "work", "needs the work"),
        (
            '{"work": "track:1", "preferences": {"train_ai": "allow"}}',
            "preferences.train_ai",
            "did you mean 'train-ai'?",
        ),
        ('{"work": "track:1", "parents": "artist:1"}', "parents", "expected a list"),
        ('{"work": "track:1", "work": "track:2"}', "", "repeated"),
        ('{"work": "track:\\ud800"}', "id", "not valid UTF-8"),
        ('{"work": "track:1", "territory": "\\ud800"}', "territory", "not valid UTF-8"),
        ('{"work": "track:1", "at": NaN}', "", "NaN"),
        ("[" * 100_000, "", "no JSON"),
    ],
)
def test_a_bad_json_line_is_named_with_its_key_and_what_to_write(line: str, key: str, message: str) -> None:
    ((number, read),) = read_json_lines([line])
    assert number == 1
    assert isinstance(read, ChoiceError)
    assert (read.key, message in read.message) == (key, True), read


def test_bringing_in_holds_no_more_than_a_batch(path: Path) -> None:
    """A million rows are streamed: what is alive at once does not grow with their number."""
    gc.collect()
    alive: list[int] = []

    def rows() -> Iterator[Row]:
        for number in range(90_000):
            if number % 30_000 == 29_999:
                alive.append(len([one for one in gc.get_objects() if isinstance(one, Row)]))
            yield Row(Work("track", str(number)), (ARTIST,))

    report = import_works(path, rows(), at_s=1.0)
    assert report.works == 90_000
    assert max(alive) < 30_000

"""`guard rights` as a rights team runs it: on files as they come from a catalogue, whole, piped, packed or wrong."""

from __future__ import annotations

import gzip
import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.registers.sqlite import SqliteRegister
from guard.registers.swap import import_works
from guard.rights import Choice, Work
from tests.processes import heed_ctrl_c
from tests.test_registers import choices, some_works

ARTISTS = "layer,id,parents,no-ai,contact\nlabel,L1,,,\nartist,11,label:L1,yes,'=mail@x\n"
TRACKS = (
    '{"work": "release:5", "parents": ["artist:11"]}\n'
    '{"work": "track:1001", "parents": ["release:5", "artist:11"], "preferences": {"voice": {"ai-use": "open"}}}\n'
)


def rights(*words: str | Path, given: bytes = b"") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "guard", "rights", *map(str, words)]
    said = subprocess.run(command, input=given, capture_output=True, timeout=60)
    out, err = said.stdout.decode(), said.stderr.decode()
    assert "Traceback" not in err, err
    return subprocess.CompletedProcess(command, said.returncode, out, err)


def told(*words: str | Path, given: bytes = b"") -> dict[str, Any]:
    said = rights(*words, "--json", given=given)
    assert said.returncode == 0, said.stderr
    found: dict[str, Any] = json.loads(said.stdout)
    assert found["ok"] is True
    return found


@pytest.fixture
def register(tmp_path: Path) -> Path:
    """A register that was brought in from a CSV file and packed JSON Lines."""
    path = tmp_path / "rights.sqlite"
    (tmp_path / "artists.csv").write_text(ARTISTS)
    (tmp_path / "tracks.jsonl.gz").write_bytes(gzip.compress(TRACKS.encode()))
    said = rights("import", path, tmp_path / "artists.csv", tmp_path / "tracks.jsonl.gz", "--by", "catalogue")
    assert said.returncode == 0, said.stderr
    assert "works 0 -> 4, choices in force 2" in said.stdout
    return path


def test_a_catalogue_is_brought_in_from_csv_and_json_lines(register: Path) -> None:
    assert told("stats", register)["works"] == {"label": 1, "artist": 1, "release": 1, "track": 1}
    shown = told("show", register, "track:1001")
    assert [layer["work"] for layer in shown["layers"]] == ["label:L1", "artist:11", "release:5", "track:1001"]
    artist = shown["layers"][1]["says"]
    assert artist["preferences"] == {"train-ai": "disallow", "ai-use": "disallow"}
    assert (artist["contact"], artist["by"]) == ("=mail@x", "catalogue")
    assert shown["follows"][""] == {"train-ai": "disallow", "ai-use": "disallow"}
    assert shown["follows"]["voice"]["ai-use"] == "allow"


def test_each_layer_has_a_line_for_people(register: Path) -> None:
    lines = rights("show", register, "track:1001").stdout.splitlines()
    assert lines[0].split() == ["label:L1", "(nothing)"]
    assert "train-ai disallow" in lines[1]
    assert "voice (ai-use open)" in lines[3]
    assert lines[4] == "follows, where the platform says nothing: train-ai disallow, ai-use disallow"
    assert lines[5] == "  voice: ai-use allow"


def test_a_change_says_what_was_and_what_is(register: Path) -> None:
    words = ("set", register, "track:1001", "--train-ai", "open", "--licence", "operator:Suno")
    said = rights(*words, "--licence-purposes", "train-ai,ai-use", "--reason", "asked", "--by", "the artist")
    assert said.returncode == 0
    before, after = said.stdout.splitlines()[1:]
    assert "before: voice (ai-use open)" in before
    assert "train-ai open" in after
    assert "voice (ai-use open)" in after
    assert "licences: operator:suno (purposes train-ai+ai-use)" in after
    assert "by the artist" in after
    assert after.endswith(": asked)")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--no-ai",), {"preferences": {"ai-use": "disallow", "train-ai": "disallow", "voice": {"ai-use": "open"}}}),
        (("--replace", "--search", "allow"), {"preferences": {"search": "allow"}}),
        (("--say", "voice.ai-use=unstated", "--say", "search=open"), {"preferences": {"search": "open"}}),
        (("--replace", "--no-licences"), {"licences": []}),
        (("--replace", "--until", "2026-12-01"), {"until": "2026-12-02T00:00:00Z"}),
        (("--replace", "--from", "2026-12-01"), {"from": "2026-12-01T00:00:00Z"}),
        (("--contact", "mailto:a@b.example", "--territory", "EU"), {
            "preferences": {"voice": {"ai-use": "open"}}, "contact": "mailto:a@b.example", "territory": "EU"
        }),
        (("--replace", "--licence-url", "https://l.example/"), {"licence": "https://l.example/"}),
        (("--replace", "--licence", "key:AbC"), {"licences": [{"to": "key:AbC"}]}),
    ],
)  # fmt: skip
def test_what_is_named_is_said_and_the_rest_stays(register: Path, words: tuple[str, ...], says: dict[str, Any]) -> None:
    after = told("set", register, "track:1001", *words, "--by", "x")["after"]
    assert after.pop("by") == "x"
    assert after.pop("at").startswith("20")
    assert after == says


def test_a_text_or_a_date_is_taken_away_again(register: Path) -> None:
    rights("set", register, "artist:11", "--until", "2026-12-01", "--licence", "agent:x", "--licence", "agent:y")
    told("set", register, "artist:11", "--licence", "agent:X", "--licence-purposes", "search")
    after = told("set", register, "artist:11", "--until", "none", "--contact", "")["after"]
    assert "until" not in after
    assert "contact" not in after
    assert after["licences"] == [{"to": "agent:y"}, {"to": "agent:x", "purposes": ["search"]}]


def test_a_withdrawn_word_is_gone_and_stays_in_the_history(register: Path) -> None:
    assert told("set", register, "artist:11", "--withdraw", "--by", "a", "--reason", "r")["after"] is None
    first, second = told("history", register, "artist:11")["changes"]
    assert (first["says"]["contact"], first["by"]) == ("=mail@x", "catalogue")
    assert (second["says"], second["by"], second["reason"]) == (None, "a", "r")
    assert told("show", register, "artist:11")["layers"][-1]["says"] is None
    then = told("show", register, "artist:11", "--at", first["at"])["layers"][-1]["says"]
    assert then["preferences"] == first["says"]["preferences"]
    assert told("show", register, "artist:11", "--at", "2020-01-01")["layers"][-1]["says"] is None
    lines = rights("history", register, "artist:11").stdout.splitlines()
    assert lines[0].endswith("(by catalogue)")
    assert lines[1].endswith("withdrawn  (by a: r)")


def test_where_a_work_stands_can_be_said_alone(register: Path) -> None:
    said = told("set", register, "track:1001", "--parent", "label:L1")
    assert said["before"]["preferences"] == said["after"]["preferences"]
    assert said["parents"] == ["label:L1"]
    assert [layer["work"] for layer in told("show", register, "track:1001")["layers"]] == ["label:L1", "track:1001"]


def test_the_first_change_makes_the_register(tmp_path: Path) -> None:
    path = tmp_path / "new.sqlite"
    assert told("set", path, "artist:1", "--no-ai")["before"] is None
    assert told("stats", path)["choices"] == {"artist": 1}


def test_all_bad_rows_are_named_and_nothing_is_changed(register: Path, tmp_path: Path) -> None:
    rows = [f"track,{number},,{'no' if number % 2 else 'disallow'}\n" for number in range(60)]
    file = tmp_path / "bad.csv"
    file.write_text("layer,id,parents,train-ai\ntrak,x,,\n" + "".join(rows))
    before = register.read_bytes()
    said = rights("import", register, file)
    assert said.returncode == 1
    lines = said.stderr.splitlines()
    assert len(lines) == 21
    assert lines[0] == f"{file}:2: layer: unknown layer 'trak', did you mean 'track'?"
    assert lines[1] == f"{file}:4: preferences.train-ai: 'no' means disallow here: say so"
    assert "31 bad rows (11 more than are shown): nothing was changed" in lines[20]
    assert register.read_bytes() == before
    assert sorted(one.name for one in tmp_path.glob("rights.sqlite*")) == ["rights.sqlite"]
    shown = json.loads(rights("import", register, file, "--json").stdout)
    assert (shown["ok"], shown["bad_rows"], len(shown["problems"])) == (False, 31, 20)
    said = rights("import", register, file, "--skip-bad")
    assert said.returncode == 0
    assert "left out" in said.stderr
    assert told("stats", register)["works"]["track"] == 31


@pytest.fixture
def thousand(tmp_path: Path) -> Path:
    """A register of a thousand artists who reserve."""
    path = tmp_path / "rights.sqlite"
    assert rights("import", path, "-", "--format", "csv", given=rows_of(range(1000))).returncode == 0
    return path


def rows_of(numbers: range, header: str = "layer,id,no-ai", stray: int = -1) -> bytes:
    rows = [f"artist,{number},{chr(34) if number == stray else ''}yes" for number in numbers]
    return "\n".join([header, *rows, ""]).encode()


@pytest.mark.parametrize("words", [(), ("--replace", "--yes-drop", "1000")], ids=["", "replace"])
@pytest.mark.parametrize(
    ("form", "given", "message"),
    [
        ("csv", rows_of(range(1000), stray=3), "-:5: no CSV: unexpected end of data at line 1001"),
        ("csv", rows_of(range(1000)).replace(b"artist,3,", b'"artist"x,3,'), "-:5: no CSV"),
        ("csv", rows_of(range(1000)).replace(b"artist,3,", b'artist,"3,') + b'artist,4,yes"\n', "a cell of 998 lines"),
        ("csv", rows_of(range(1000), header="layer,id,trian-ai"), "did you mean 'train-ai'?"),
        ("csv", b"", "no header"),
        ("csv", gzip.compress(rows_of(range(1000)), mtime=0)[:-900], "cannot be read on"),
        ("jsonl", gzip.compress(b'{"work": "artist:1"}\n' * 1000)[:-9], "cannot be read on"),
        ("csv", gzip.compress(rows_of(range(9)))[:12] + b"\xff" * 40, "cannot be read on"),
    ],
    ids=["open quote", "stray quote", "closed quote", "header", "empty", "cut", "cut json", "corrupt"],
)
def test_a_file_that_cannot_be_read_to_its_end_changes_nothing_whatever_is_skipped(
    thousand: Path, words: tuple[str, ...], form: str, given: bytes, message: str
) -> None:
    before = thousand.read_bytes()
    said = rights("import", thousand, "-", "--format", form, "--skip-bad", *words, given=given)
    assert said.returncode == 1, said
    assert message in said.stderr
    assert said.stderr.splitlines()[-1].endswith("a file cannot be read to its end: nothing was changed")
    assert thousand.read_bytes() == before


@pytest.mark.parametrize(
    ("form", "given", "gone"),
    [
        ("jsonl", b"", 1000),
        ("csv", b"layer,id,no-ai\n", 1000),
        ("csv", b"layer,id,no-ai\nartst,1,yes\n", 1000),
        ("csv", rows_of(range(499)), 501),
        ("csv", rows_of(range(1000)).replace(b"yes", b""), 1000),
    ],
)
def test_most_of_a_register_goes_only_when_somebody_says_how_much(
    thousand: Path, form: str, given: bytes, gone: int
) -> None:
    before = thousand.read_bytes()
    words = ("import", thousand, "-", "--format", form, "--skip-bad", "--replace")
    for more in ((), ("--yes-drop", str(gone - 1))):
        said = rights(*words, *more, given=given)
        assert said.returncode == 1, said
        assert f"would take {gone:,} of 1,000 works, or their words, away: nothing was changed" in said.stderr
        assert f"--yes-drop {gone} " in said.stderr
        assert thousand.read_bytes() == before
    assert told(*words, "--yes-drop", gone, given=given)["gone"] == gone
    assert SqliteRegister(thousand).stats()["choices"] == ({"artist": 1000 - gone} if gone < 1000 else {})


def test_half_of_a_register_goes_without_a_word(thousand: Path) -> None:
    report = told("import", thousand, "-", "--format", "csv", "--replace", given=rows_of(range(500)))
    assert (report["works"], report["withdrawn"], report["gone"]) == (500, 500, 500)


def test_a_moment_that_no_calendar_has_in_utc_is_refused_like_any_other(thousand: Path) -> None:
    for moment in ("0001-01-01T00:00+23:59", "9999-12-31T23:59-00:01", "9999-12-31T23:59:59.9999Z"):
        said = rights("set", thousand, "artist:1", "--from", moment)
        assert (said.returncode, said.stderr.count("no calendar has it")) == (2, 1), said
        row = json.dumps({"work": "artist:1", "from": moment}).encode()
        said = rights("import", thousand, "-", "--format", "jsonl", given=row)
        assert said.returncode == 1
        assert "-:1: from:" in said.stderr


def test_a_dry_run_counts_and_changes_nothing(register: Path) -> None:
    before = register.read_bytes()
    given = b"layer,id,no-ai\nartist,12,yes\n"
    said = rights("import", register, "-", "--format", "csv", "--replace", "--dry-run", given=given)
    assert said.returncode == 0
    assert "works 4 -> 1" in said.stdout
    assert "new or different 1, withdrawn 2" in said.stdout
    assert "nothing was changed: --dry-run; without it, --yes-drop 4 is needed" in said.stdout
    assert register.read_bytes() == before


def test_what_stands_in_no_row_is_withdrawn_by_replace_alone(register: Path) -> None:
    given = b"layer,id,no-ai\nartist,12,yes\n"
    report = told("import", register, "-", "--format", "csv", given=given)
    assert (report["works"], report["changed"], report["withdrawn"]) == (5, 1, 0)
    words = ("--format", "csv", "--replace", "--yes-drop", "4", "--reason", "anew")
    report = told("import", register, "-", *words, given=given)
    assert (report["works"], report["changed"], report["withdrawn"]) == (1, 0, 2)
    assert told("history", register, "artist:11")["changes"][-1]["reason"] == "anew"


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_what_is_exported_comes_back_through_a_pipe(register: Path, form: str, tmp_path: Path) -> None:
    first = rights("export", register, "--format", form)
    assert first.returncode == 0
    again = tmp_path / "again.sqlite"
    told("import", again, "-", "--format", form, given=first.stdout.encode())
    assert rights("export", again, "--format", form).stdout == first.stdout
    assert told("import", register, "-", "--format", form, "--replace", given=first.stdout.encode())["changed"] == 0
    if form == "csv":
        assert "''=mail@x" not in first.stdout
        assert ",'=mail@x," in first.stdout


@settings(max_examples=5)
@given(st.dictionaries(some_works, choices, max_size=5), st.sampled_from(["csv", "jsonl"]))
def test_any_choice_comes_back_through_the_command(said: dict[Work, Choice], form: str) -> None:
    from guard.registers.rows import Row

    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "a.sqlite", Path(folder) / "b.sqlite"
        import_works(first, [Row(work, None, choice) for work, choice in said.items()], at_s=7.0, by="x", reason="y")
        text = rights("export", first, "--format", form).stdout
        assert rights("import", second, "-", "--format", form, given=text.encode()).returncode == 0
        assert list(SqliteRegister(first).entries()) == list(SqliteRegister(second).entries())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("set", "r.sqlite", "artist:1"), "what is to be said?"),
        (("set", "r.sqlite", "artis:1", "--no-ai"), "did you mean 'artist'?"),
        (("set", "r.sqlite", "artist:1", "--train-ai", "no"), "--train-ai: 'no' means disallow"),
        (("set", "r.sqlite", "artist:1", "--say", "voic.ai-use=open"), "did you mean 'voice'?"),
        (("set", "r.sqlite", "artist:1", "--say", "voice.ai-usee=open"), "did you mean 'ai-use'?"),
        (("set", "r.sqlite", "artist:1", "--say", "voice.ai-use"), "write KIND.PURPOSE=WORD"),
        (("set", "r.sqlite", "artist:1", "--licence", "suno"), "--licence: write operator:NAME"),
        (("set", "r.sqlite", "artist:1", "--licence", "agent:x", "--licence-purposes", "serch"), "mean 'search'?"),
        (("set", "r.sqlite", "artist:1", "--say", "voice.ai-use=opn"), "--say voice.ai-use: unknown word 'opn'"),
        (("set", "r.sqlite", "artist:1", "--licence-url", "ftp://x"), "--licence-url: 'ftp://x' is no URL"),
        (("set", "r.sqlite", "artist:1", "--licence-purposes", "search"), "name one"),
        (("set", "r.sqlite", "artist:1", "--licence", "agent:x", "--no-licences"), "stands without --licence"),
        (("set", "r.sqlite", "artist:1", "--withdraw", "--no-ai"), "stands without others"),
        (("set", "r.sqlite", "artist:1", "--from", "2026-12-02", "--until", "2026-12-01"), "never be in force"),
        (("set", "r.sqlite", "artist:1", "--no-ai", "--train-ai", "open"), "does not stand beside --train-ai open"),
        (("set", "r.sqlite", "artist:1", "--no-ai", "--say", "ai-use=allow"), "does not stand beside ai-use=allow"),
        (("set", "r.sqlite", "artist:1", "--contact", "javascript:x"), "--contact: 'javascript:x' is no address"),
        (("set", "r.sqlite", "artist:1", "--from", "soon"), "--from: 'soon' is no date"),
        (("set", "r.sqlite", "artist:1", "--no-ai", "--by", "a\nb"), "one line of text"),
        (("set", "r.sqlit", "artist:1", "--no-ai"), "Did you mean .sqlite?"),
        (("set", "r.yaml", "artist:1", "--no-ai"), "cannot be changed from here"),
        (("history", "r.yaml", "artist:1"), "keeps no history"),
        (("show", "r.sqlite", "1001"), "write LAYER:ID"),
        (("show", "r.sqlite", "track:1", "--at", "yesterday"), "write a day like"),
        (("import", "r.sqlite", "x.csv", "--yes-drop", "3"), "it needs one"),
        (("import", "r.yaml", "x.csv"), "SQLite registers only"),
        (("import", "r.sqlite", "x.csv"), "cannot be read"),
        (("import", "r.sqlite", "x.txt"), "--format says which"),
        (("import", "redis://:secret@x/", "x.csv"), "SQLite registers only"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_line_and_exits_with_2(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
    said = rights(*words)
    assert said.returncode == 2, said
    assert message in said.stderr
    assert len(said.stderr.splitlines()) == 1
    assert "secret" not in said.stderr
    assert list(tmp_path.iterdir()) == []
    shown = rights(*words, "--json")
    assert json.loads(shown.stdout)["ok"] is False


@pytest.mark.parametrize("command", [("show", "track:1"), ("history", "track:1"), ("stats",), ("export",)])
def test_a_register_that_cannot_be_read_is_one_line_and_exits_with_1(command: tuple[str, ...], tmp_path: Path) -> None:
    what, *rest = command
    for name, content, message in (
        ("gone.sqlite", None, "No such file"),
        ("no.sqlite", b"no database" * 500, "file is not a database"),
        ("empty.sqlite", b"", "the file is empty"),
    ):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        said = rights(what, path, *rest)
        assert said.returncode == 1, said
        assert message in said.stderr
        assert len(said.stderr.splitlines()) == 1


def test_a_yaml_register_is_shown_counted_and_exported(tmp_path: Path) -> None:
    path = tmp_path / "rights.yaml"
    path.write_text(
        "version: 1\nworks:\n  artist:11: {preferences: {train-ai: disallow}}\n  track:1: {parents: artist:11}\n"
    )
    assert told("show", path, "track:1")["follows"][""] == {"train-ai": "disallow"}
    assert told("stats", path)["works"] == {"artist": 1, "track": 1}
    rows = [json.loads(line) for line in rights("export", path, "--format", "jsonl").stdout.splitlines()]
    assert rows == [
        {"work": "artist:11", "parents": [], "preferences": {"train-ai": "disallow"}},
        {"work": "track:1", "parents": ["artist:11"]},
    ]
    path.write_text("version: 1\nworks:\n  artst:11: {}\n  track:1: {preferences: {train-ai: nope}}\n")
    said = rights("show", path, "track:1")
    assert said.returncode == 1
    assert len(said.stderr.splitlines()) == 2


def test_bytes_that_are_no_text_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    said = rights("import", path, "-", "--format", "csv", given=b"\xef\xbb\xbflayer,id\ntrack,1\ntrack,\xff\n")
    assert said.returncode == 1
    assert "-:3: id: not valid UTF-8" in said.stderr
    damaged = tmp_path / "cut.csv.gz"
    damaged.write_bytes(
        gzip.compress(b"layer,id\n" + b"".join(b"track,%d\n" % number for number in range(9999)))[:-900]
    )
    said = rights("import", path, damaged)
    assert said.returncode == 1
    assert "cannot be read on" in said.stderr
    assert not path.exists()


def test_what_stands_in_a_register_does_not_move_the_cursor(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    told("set", path, "track:a\u202eb", "--territory", "x\u009by")
    for command in (("show",), ("history",)):
        out = rights(*command, path, "track:a\u202eb").stdout
        assert "\u202e" not in out
        assert "\u009b" not in out


def test_ctrl_c_leaves_the_register_as_it_was(register: Path) -> None:
    before = register.read_bytes()
    command = [sys.executable, "-m", "guard", "rights", "import", str(register), "-", "--format", "csv"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stderr=pipe, preexec_fn=heed_ctrl_c) as process:
        try:
            assert process.stdin is not None and process.stderr is not None
            process.stdin.write(b"layer,id\n" + b"".join(b"track,%d\n" % number for number in range(50_000)))
            process.stdin.flush()  # a pipe holds far less: most of it has been read
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
            err = process.stderr.read()
        finally:
            process.kill()
    assert b"the register is as it was" in err
    assert b"Traceback" not in err
    assert register.read_bytes() == before
    assert [one.name for one in register.parent.glob("rights.sqlite*")] == ["rights.sqlite"]


def test_on_a_terminal_there_is_a_bar_with_rows_a_second(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("layer,id\n" + "".join(f"track,{number}\n" for number in range(60_000)))
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "guard", "rights", "import", str(tmp_path / "r.sqlite"), str(file)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        try:
            while piece := os.read(ours, 65536):
                seen += piece
        except OSError:  # a terminal ends so
            pass
        assert process.wait() == 0
    os.close(ours)
    assert b"rows," in seen
    assert b"a second" in seen

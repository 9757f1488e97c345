"""Terms never change silently: what a policy tells the public stands in a record, with its dates, and stays there."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.directives import words
from guard.directives.words import (
    DAY_S,
    Coming,
    Dealt,
    Terms,
    Treatment,
    Version,
    coming,
    differences,
    hash_of,
    loosened,
    notice_promised,
    plain,
    read_terms,
    say,
    terms_of,
    too_soon,
    upcoming,
    write_terms,
)
from guard.errors import RegisterError
from guard.ledger import versions as ledger
from guard.ledger.versions import Versions, judge, verify
from guard.load import load_policy, read_policy, shipped_catalogue, shipped_policy
from guard.model import KINDS
from guard.moments import read_moment
from guard.policy import Policy
from guard.rights import PURPOSES

CATALOGUE = shipped_catalogue()
HEAD = 'version: 1\nsite: {name: Radio, contact: "mailto:rights@radio.example"}\ndefault: allow\n'
RESERVED = "preferences: {train-ai: disallow, ai-use: disallow, search: allow}\n"
NOON_S = read_moment("2026-11-30T12:00Z")


def a_policy(rest: str = RESERVED) -> Policy:
    return read_policy(HEAD + rest)


def terms(rest: str = RESERVED) -> Terms:
    return terms_of(a_policy(rest), CATALOGUE)


def opened(purpose: str = "train-ai", base: Terms | None = None) -> Terms:
    """The terms in which one purpose is allowed, and all else is as it was."""
    base = base or terms()
    return replace(
        base,
        stated=tuple(
            (kind, tuple((one, "allow" if one == purpose else word) for one, word in said))
            for kind, said in base.stated
        ),
    )


POLICY = a_policy()
TERMS = terms()
OPEN = opened()


# -- words -----------------------------------------------------------------------------------------------------


def test_the_terms_of_the_no_ai_preset_say_what_it_does() -> None:
    said = say(terms_of(load_policy(shipped_policy("no-ai")), CATALOGUE, NOON_S))
    assert "Training AI on anything here is not allowed." in said
    assert "Search engines may index what is here and send people to it." in said
    (refused,) = [sentence for sentence in said if sentence.startswith("Refused everywhere: ")]
    for who in ("gather works for training", "AI assistants", "data sets", "music, voice and sound"):
        assert who in refused
    assert "search engines." not in refused


def test_a_kind_that_differs_is_named_in_the_sentence() -> None:
    said = say(terms("preferences: {train-ai: disallow, search: allow, lyrics: {search: disallow}}\n"))
    assert "Search engines may index what is here and send people to it; not so for lyrics (not allowed)." in said
    assert "Nothing is said about feeding what is here to AI." in said


def test_an_agent_that_is_dealt_with_otherwise_is_named() -> None:
    found = terms("agents: {'ai-train': {then: block, agents: {GPTBot: allow}}}\n")
    dealt = {one.category: one for one in found.dealt}
    assert dealt["ai-train"].treatment == Treatment("", "refused")
    assert dealt["ai-train"].exceptions == (("GPTBot", Treatment("", "let through")),)
    assert any("but GPTBot: let through" in sentence for sentence in say(found))


def test_where_no_browser_may_go_says_nothing_of_machines() -> None:
    rules = (
        "rules:\n- {name: no AI, when: {category: 'ai-*'}, then: block}\n"
        "- {name: nobody, when: {path: /admin/**}, then: block}\n"
    )
    dealt = {one.category: one.treatment for one in terms(rules).dealt}
    assert dealt["search"] == Treatment("", "let through")
    assert dealt["ai-train"] == Treatment("", "refused")


def test_what_is_on_trial_is_not_told_as_done() -> None:
    found = terms("mode: observe\nagents: {'ai-*': block}\n")
    assert not found.enforced
    assert any("nobody is refused yet" in sentence for sentence in say(found))


@pytest.mark.parametrize("name", ["no-ai", "strict", "soundcloud-like"])
def test_terms_survive_json_and_pickle(name: str) -> None:
    found = terms_of(load_policy(shipped_policy(name)), CATALOGUE, NOON_S)
    assert read_terms(json.loads(json.dumps(write_terms(found)))) == found
    assert pickle.loads(pickle.dumps(found)) == found
    assert hash_of(read_terms(write_terms(found))) == hash_of(found)


def test_another_text_with_the_same_terms_has_the_same_hash() -> None:
    other = a_policy(RESERVED + "# another word\n")
    assert other.version != POLICY.version
    assert hash_of(terms_of(other, CATALOGUE)) == hash_of(TERMS)


WORDS = st.sampled_from(["allow", "disallow", ""])
SAID = st.dictionaries(st.sampled_from(PURPOSES), WORDS).map(
    lambda said: tuple((purpose, said[purpose]) for purpose in PURPOSES if said.get(purpose))
)
TREATMENTS = st.builds(Treatment, *[st.sampled_from(["", *words.SEVERITY])] * 2)
ALL_TERMS = st.builds(
    Terms,
    stated=st.tuples(SAID, st.dictionaries(st.sampled_from(sorted(KINDS)), SAID)).map(
        lambda both: (("", both[0]), *((kind, both[1][kind]) for kind in KINDS if kind in both[1]))
    ),
    dealt=st.lists(st.sampled_from(words.TOLD), unique=True).flatmap(
        lambda found: st.tuples(
            *(
                st.builds(
                    Dealt,
                    st.just(category),
                    TREATMENTS,
                    st.dictionaries(st.sampled_from("abc"), TREATMENTS).map(lambda one: tuple(sorted(one.items()))),
                    st.integers(0, 2),
                )
                for category in words.TOLD
                if category in found
            )
        )
    ),
    enforced=st.booleans(),
    works=st.sampled_from(["", "observe", "enforce"]),
    notice_days=st.integers(0, 400),
    contact=st.text(max_size=5),
    licence=st.text(max_size=5),
)


RANK = ("", "observe", "enforce")


@given(ALL_TERMS, ALL_TERMS)
def test_terms_that_differ_always_say_so_and_those_that_do_not_never(old: Terms, new: Terms) -> None:
    assert bool(differences(old, new)) == (old != new)
    assert {*loosened(old, new)} <= {*differences(old, new)}
    assert all(plain(one)[0] == one.partition(":")[0] for one in differences(old, new))
    assert read_terms(json.loads(json.dumps(write_terms(new)))) == new
    say(new)


@given(ALL_TERMS, ALL_TERMS)
def test_nothing_reserved_is_opened_without_a_word(old: Terms, new: Terms) -> None:
    lost = [
        (kind, purpose)
        for kind in ("", *KINDS)
        for purpose in PURPOSES
        if old.word(kind, purpose) == "disallow" != new.word(kind, purpose)
    ]
    assert bool(loosened(old, new)) == bool(lost or RANK.index(new.works) < RANK.index(old.works))


def test_differences_say_what_is_tighter_and_what_is_looser() -> None:
    assert differences(TERMS, OPEN) == ("looser: Training AI: allowed (before: not allowed)",)
    assert differences(OPEN, TERMS) == ("tighter: Training AI: not allowed (before: allowed)",)
    assert loosened(OPEN, TERMS) == ()
    refused = terms(RESERVED + "agents: {ai-train: block}\n")
    (difference,) = differences(TERMS, refused)
    assert difference == "tighter: AI crawlers that gather works for training: refused everywhere (before: let through)"
    assert loosened(refused, TERMS) == ()  # refusing belongs to running a site, and reserves nothing


# -- the record ------------------------------------------------------------------------------------------------


def test_a_term_that_loosens_cannot_appear_without_an_entry(tmp_path: Path) -> None:
    record = Versions.open(tmp_path / "terms.jsonl")
    assert record.note(POLICY, TERMS, NOON_S) is not None
    entry = record.note(POLICY, OPEN, NOON_S + 60)
    assert entry is not None
    assert (entry.id, entry.start_s, entry.loosened) == (
        "v2",
        NOON_S + 60,
        ("looser: Training AI: allowed (before: not allowed)",),
    )
    newest, first = Versions.open(tmp_path / "terms.jsonl").all()
    assert (first.id, first.end_s, newest.end_s) == ("v1", NOON_S + 60, inf)
    assert (newest.notice_s, first.changes) == (0.0, ())
    assert newest.terms == OPEN
    assert verify(tmp_path / "terms.jsonl") == []


def test_a_policy_that_says_the_same_in_other_words_is_no_new_version(tmp_path: Path) -> None:
    record = Versions.open(tmp_path / "terms.jsonl")
    assert record.keep(POLICY, CATALOGUE, NOON_S)
    before = (tmp_path / "terms.jsonl").read_bytes()
    assert record.keep(a_policy(RESERVED + "# a comment\n"), CATALOGUE, NOON_S + 60) == ()
    assert (tmp_path / "terms.jsonl").read_bytes() == before


def test_a_coming_change_is_announced_and_then_holds_without_another_entry(tmp_path: Path) -> None:
    record = Versions.open(tmp_path / "terms.jsonl")
    start_s = NOON_S + 40 * DAY_S
    record.note(POLICY, TERMS, NOON_S)
    (announced,) = record.announce(POLICY, [Coming(start_s, OPEN)], NOON_S)
    assert (announced.id, announced.announced_s, announced.start_s) == ("v2", NOON_S, start_s)
    assert [one.id for one in upcoming(record.all(), NOON_S)] == ["v2"]
    held = record.in_force(start_s - 1)
    assert held is not None
    assert (held.id, held.end_s) == ("v1", start_s)
    holds = record.in_force(start_s)
    assert holds is not None
    assert holds.id == "v2"
    assert record.note(POLICY, OPEN, start_s) is None
    assert record.announce(POLICY, [], start_s) == ()


def test_dates_of_rules_are_announced_from_the_policy_itself(tmp_path: Path) -> None:
    policy = a_policy(
        RESERVED + "rules:\n- {name: no AI, when: {category: ai-train}, then: block, until: 2026-12-31}\n"
    )
    record = Versions.open(None)
    now, ahead = record.keep(policy, CATALOGUE, NOON_S)
    assert (now.start_s, ahead.start_s) == (NOON_S, read_moment("2027-01-01"))
    assert plain(ahead.changes[0])[0] == "looser"
    assert record.keep(policy, CATALOGUE, NOON_S + DAY_S) == ()
    assert record.keep(policy, CATALOGUE, read_moment("2027-02-01")) == ()
    assert [one.start_s for one in coming(policy, CATALOGUE, NOON_S)] == [read_moment("2027-01-01")]


def test_what_was_announced_and_does_not_come_is_withdrawn_and_stays_on_record(tmp_path: Path) -> None:
    record = Versions.open(tmp_path / "terms.jsonl")
    record.note(POLICY, TERMS, NOON_S)
    record.announce(POLICY, [Coming(NOON_S + 40 * DAY_S, OPEN)], NOON_S)
    assert record.announce(POLICY, [], NOON_S + DAY_S) == ()
    newest, first = record.all()
    assert (newest.id, newest.withdrawn, newest.withdrawn_s) == ("v2", True, NOON_S + DAY_S)
    assert first.end_s == inf
    assert upcoming(record.all(), NOON_S + DAY_S) == ()
    assert Versions.open(tmp_path / "terms.jsonl").all() == record.all()
    assert verify(tmp_path / "terms.jsonl") == []


def test_an_announcement_keeps_its_date_while_it_opens_nothing_more_and_nothing_earlier(tmp_path: Path) -> None:
    record = Versions.open(None)
    record.note(POLICY, TERMS, NOON_S)
    record.announce(POLICY, [Coming(NOON_S + 40 * DAY_S, OPEN)], NOON_S)
    (later,) = record.announce(POLICY, [Coming(NOON_S + 50 * DAY_S, OPEN)], NOON_S + DAY_S)
    assert later.announced_s == NOON_S
    (earlier,) = record.announce(POLICY, [Coming(NOON_S + 45 * DAY_S, OPEN)], NOON_S + 2 * DAY_S)
    assert earlier.announced_s == NOON_S + 2 * DAY_S
    both = opened("ai-use", OPEN)
    (more,) = record.announce(POLICY, [Coming(NOON_S + 60 * DAY_S, both)], NOON_S + 3 * DAY_S)
    assert more.announced_s == NOON_S + 3 * DAY_S


def test_a_clock_that_steps_back_does_not_step_back_in_the_record(tmp_path: Path) -> None:
    record = Versions.open(tmp_path / "terms.jsonl")
    record.note(POLICY, TERMS, NOON_S)
    entry = record.note(POLICY, OPEN, NOON_S - 3600)
    assert entry is not None
    assert entry.start_s == NOON_S
    assert record.note(POLICY, OPEN, NOON_S - 7200) is None
    assert verify(tmp_path / "terms.jsonl") == []


def test_each_host_with_words_of_its_own_has_a_record_of_its_own(tmp_path: Path) -> None:
    policy = a_policy(
        RESERVED + "hosts:\n- {names: [open.example], preferences: {train-ai: allow}}\n"
        "- {names: [shut.example], preferences: {search: disallow}}\n"
    )
    record = Versions.open(tmp_path / "terms.jsonl")
    assert [(one.scope, one.id) for one in record.keep(policy, CATALOGUE, NOON_S)] == [
        ("", "v1"),
        ("open.example", "v1"),
        ("shut.example", "v1"),
    ]
    assert record.all("open.example")[0].terms.word("", "train-ai") == "allow"
    assert record.scopes() == ("", "open.example", "shut.example")
    assert record.keep(policy, CATALOGUE, NOON_S + 1) == ()


def test_a_write_that_was_cut_off_never_counted_and_the_next_one_mends_it(tmp_path: Path) -> None:
    path = tmp_path / "terms.jsonl"
    record = Versions.open(path)
    record.note(POLICY, TERMS, NOON_S)
    whole = path.read_bytes()
    record.note(POLICY, OPEN, NOON_S + 60)
    second = path.read_bytes()[len(whole) :]
    for cut in (1, len(second) // 2, len(second) - 1):
        path.write_bytes(whole + second[:cut])
        reader = Versions.open(path)
        assert [one.id for one in reader.all()] == ["v1"]
        assert verify(path) == ["line 2 is cut off"]
        writer = Versions.open(path)
        assert writer.note(POLICY, OPEN, NOON_S + 60) is not None
        assert "cut off" in writer.notes[0]
        assert path.read_bytes() == whole + second
        assert reader.poll()
        assert [one.id for one in reader.all()] == ["v2", "v1"]


def test_a_writer_that_is_killed_at_any_moment_leaves_a_record_that_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "terms.jsonl"
    program = (
        "import sys; from tests.test_versions import *\n"
        "record = Versions.open(sys.argv[1]); print('ready', flush=True)\n"
        "for number in range(100_000):\n"
        "    record.note(POLICY, TERMS if number % 2 else OPEN, NOON_S + len(record.all()))\n"
    )
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        reader = Versions.open(path)
        reached = len(reader.all()) + 5
        while len(reader.all()) < reached:
            reader.poll()
        writer.kill()
        writer.wait()
        writer.stdout.close()
    Versions.open(path).note(POLICY, replace(TERMS, contact="x"), NOON_S)
    assert verify(path) == []


def test_a_rewritten_line_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "terms.jsonl"
    record = Versions.open(path)
    for number in range(4):
        record.note(POLICY, TERMS if number % 2 else OPEN, NOON_S + number)
    lines = path.read_text().splitlines(keepends=True)
    forged = lines[1].replace('"train-ai":"disallow"', '"train-ai":"allow"')
    assert forged != lines[1]
    path.write_text("".join([lines[0], forged, *lines[2:]]))
    assert verify(path) == ["line 2: it was rewritten, or is damaged: its hash is another"]
    entry = json.loads(lines[1])
    entry["start"] = "2020-01-01T00:00:00Z"
    entry["hash"] = ledger._hash(entry)  # by somebody who knows how it is made
    path.write_text("".join([lines[0], words.canonical(entry) + "\n", *lines[2:]]))
    assert verify(path) == ["line 3 does not follow the line before it: one was rewritten or taken out"]
    path.write_text("".join([lines[0], *lines[2:]]))
    assert any("does not follow" in said for said in verify(path))
    path.write_text("".join([lines[1], lines[0], *lines[2:]]))
    assert verify(path)
    path.write_text("".join([lines[0].replace(":", ": ", 1), *lines[1:]]))
    assert verify(path) == ["line 1: it says the same as it did, in another form"]


def test_a_damaged_line_takes_nothing_else_with_it(tmp_path: Path) -> None:
    path = tmp_path / "terms.jsonl"
    record = Versions.open(path)
    for number in range(3):
        record.note(POLICY, TERMS if number % 2 else OPEN, NOON_S + number)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\x00\xff nonsense [[[\n" + b"[" * 5000 + b"\n" + lines[2])
    found = Versions.open(path)
    assert [one.id for one in found.all()] == ["v3", "v1"]
    assert len(found.notes) == 3
    assert found.note(POLICY, replace(TERMS, contact="new"), NOON_S + 9) is not None


@given(st.binary(max_size=400))
def test_no_bytes_in_the_file_break_a_reader(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("record") / "terms.jsonl"
    path.write_bytes(content)
    assert Versions.open(path).all() == ()
    verify(path)


def test_two_readers_follow_one_writer_each_in_a_process_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "terms.jsonl"
    reader = (
        "import sys, time; from guard.ledger.versions import Versions\n"
        "record = Versions.open(sys.argv[1]); end = time.monotonic() + 30\n"
        "while len(record.all()) < 21 and time.monotonic() < end: record.poll()\n"
        "print([one.id for one in record.all()] == [f'v{n}' for n in range(21, 0, -1)], record.notes, record.head)\n"
    )
    readers = [
        subprocess.Popen([sys.executable, "-c", reader, str(path)], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    writer = Versions.open(path)
    for number in range(21):
        writer.note(POLICY, TERMS if number % 2 else OPEN, NOON_S + number)
    for process in readers:
        assert process.communicate(timeout=60)[0] == f"True [] {writer.head}\n"


def test_two_that_write_at_once_leave_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "terms.jsonl"
    program = (
        "import sys; from tests.test_versions import *\n"
        "record = Versions.open(sys.argv[1])\n"
        "for number in range(20): record.note(POLICY, replace(TERMS, contact=f'{sys.argv[2]} {number}'), NOON_S)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(path), name]) for name in ("one", "other")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert verify(path) == []
    assert len(Versions.open(path).all()) == 40


def lose_all(path: Path) -> None:
    path.unlink()


def lose_its_content(path: Path) -> None:
    path.write_bytes(b"")


def lose_its_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def go_back_to_a_copy(path: Path) -> None:
    (copy := path.with_suffix(".copy")).write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    copy.replace(path)


@pytest.mark.parametrize("lose", [lose_all, lose_its_content, lose_its_end, go_back_to_a_copy])
def test_what_the_file_loses_is_written_again_by_who_has_read_it(lose: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "terms.jsonl"
    record = Versions.open(path)
    record.note(POLICY, TERMS, NOON_S)
    record.note(POLICY, OPEN, NOON_S + 1)
    before, known = path.read_bytes(), record.all()
    reader, other = Versions.open(path), Versions.open(path)
    lose(path)
    reader.poll()
    assert reader.all() == known  # what was read is not forgotten
    other.uphold(NOON_S + 2)
    assert path.read_bytes() == before
    assert any("written again from memory" in note for note in other.notes)
    assert record.note(POLICY, TERMS, NOON_S + 3) is not None
    assert [one.id for one in record.all()] == ["v3", "v2", "v1"]
    assert verify(path) == []
    assert reader.poll()
    assert reader.all() == record.all() == Versions.open(path).all()


def test_a_file_that_tells_another_past_is_refused_until_it_is_gone(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "terms.jsonl", tmp_path / "elsewhere.jsonl"
    record = Versions.open(path)
    record.note(POLICY, TERMS, NOON_S)
    before, known = path.read_bytes(), record.all()
    Versions.open(elsewhere).note(POLICY, OPEN, NOON_S)
    elsewhere.replace(path)
    for _ in range(2):
        with pytest.raises(RegisterError, match="tells another past"):
            record.poll()
        with pytest.raises(RegisterError, match="tells another past"):
            record.note(POLICY, OPEN, NOON_S + 1)
        assert record.all() == known
    path.unlink()
    assert record.note(POLICY, OPEN, NOON_S + 1) is not None
    assert path.read_bytes().startswith(before)
    assert verify(path) == []


def test_what_cannot_be_written_is_told_and_the_record_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RegisterError, match="cannot be written: No such file"):
        Versions.open(tmp_path / "nowhere" / "terms.jsonl").note(POLICY, TERMS, NOON_S)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RegisterError, match="not a regular file"):
        Versions(tmp_path / "pipe").note(POLICY, TERMS, NOON_S)
    monkeypatch.setattr(ledger, "MAX_VERSIONS", 2)
    record = Versions.open(tmp_path / "terms.jsonl")
    record.note(POLICY, TERMS, NOON_S)
    record.note(POLICY, OPEN, NOON_S)
    with pytest.raises(RegisterError, match="is full"):
        record.note(POLICY, TERMS, NOON_S)
    assert [one.id for one in record.all()] == ["v2", "v1"]
    assert verify(tmp_path / "terms.jsonl") == []


def test_a_disk_with_no_room_leaves_no_half_line(tmp_path: Path) -> None:
    program = (
        "import resource, signal, sys; from tests.test_versions import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "record = Versions.open(sys.argv[1]); record.note(POLICY, TERMS, NOON_S)\n"
        "size = record.path.stat().st_size; resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, size + 100))\n"
        "try: record.note(POLICY, OPEN, NOON_S)\n"
        "except RegisterError as error: print(error)\n"
        "print([one.id for one in record.all()], verify(record.path))\n"
    )
    path = tmp_path / "terms.jsonl"
    told = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert told.stdout == f"{path}: cannot be written: no room for a whole line\n['v1'] []\n"


# -- the promise -----------------------------------------------------------------------------------------------


def promised(days: int, base: Terms = TERMS) -> Terms:
    return replace(base, notice_days=days)


def record_of(*steps: tuple[Terms, float]) -> tuple[Version, ...]:
    record = Versions.open(None)
    for one, moment in steps:
        record.note(POLICY, one, moment)
    return record.all()


def test_what_loosens_at_once_is_refused_in_one_sentence_with_the_earliest_day() -> None:
    why = judge(record_of((promised(30), NOON_S)), promised(30, OPEN), (), NOON_S + DAY_S)
    assert why == (
        "30 days of notice are promised before anything reserved is opened, and this would open at once: "
        "Training AI: allowed (before: not allowed); announced now (terms: changes), it may begin on 2027-01-01 "
        "at the earliest"
    )
    assert too_soon(TERMS, OPEN, 30, NOON_S, read_moment("2026-12-31")) is None
    assert too_soon(TERMS, OPEN, 30, NOON_S, read_moment("2026-12-30")) is not None


def test_what_was_announced_in_time_is_taken_and_what_was_not_is_not() -> None:
    record = Versions.open(None)
    record.note(POLICY, promised(30), NOON_S)
    soon, late = Coming(NOON_S + 20 * DAY_S, promised(30, OPEN)), Coming(NOON_S + 40 * DAY_S, promised(30, OPEN))
    assert "this would open from 2026-12-20" in (judge(record.all(), promised(30), [soon], NOON_S) or "")
    assert judge(record.all(), promised(30), [late], NOON_S) is None
    record.announce(POLICY, [late], NOON_S)
    assert judge(record.all(), promised(30), [late], NOON_S + 39 * DAY_S) is None
    assert judge(record.all(), promised(30, OPEN), (), NOON_S + 39 * DAY_S) is not None
    assert judge(record.all(), promised(30, OPEN), (), NOON_S + 40 * DAY_S) is None
    put_off = Coming(NOON_S + 45 * DAY_S, promised(30, OPEN))
    assert judge(record.all(), promised(30), [put_off], NOON_S + 39 * DAY_S) is None


def test_tightening_and_refusing_less_need_no_notice() -> None:
    versions = record_of((promised(30, OPEN), NOON_S))
    assert judge(versions, promised(30), (), NOON_S) is None
    assert judge(versions, replace(promised(30, OPEN), enforced=False), (), NOON_S) is None


def test_nobody_gets_rid_of_a_promise_faster_than_it_was_long() -> None:
    versions = record_of((promised(30), NOON_S), (promised(0), NOON_S + DAY_S))
    assert notice_promised(versions, NOON_S + 2 * DAY_S) == 30
    assert judge(versions, promised(0, OPEN), (), NOON_S + 2 * DAY_S) is not None
    assert notice_promised(versions, NOON_S + 31 * DAY_S) == 0
    assert judge(versions, promised(0, OPEN), (), NOON_S + 31 * DAY_S) is None


def test_without_a_promise_nothing_is_refused_and_all_is_dated() -> None:
    assert judge(record_of((TERMS, NOON_S)), OPEN, (), NOON_S) is None


def test_a_claim_of_an_earlier_announcement_counts_only_where_a_record_begins() -> None:
    claimed = Coming(NOON_S + 10 * DAY_S, promised(30, OPEN), NOON_S - 30 * DAY_S)
    assert judge((), promised(30), [claimed], NOON_S) is None
    assert judge(record_of((promised(30), NOON_S - DAY_S)), promised(30), [claimed], NOON_S) is not None
    record = Versions.open(None)
    record.note(POLICY, promised(30), NOON_S)
    (entry,) = record.announce(POLICY, [claimed], NOON_S)
    assert entry.announced_s == NOON_S - 30 * DAY_S


def test_a_whole_policy_is_judged_by_the_record_as_it_is_reloaded() -> None:
    record = Versions.open(None)
    record.keep(POLICY, CATALOGUE, NOON_S)
    loose = a_policy("preferences: {train-ai: allow, ai-use: disallow, search: allow}\n")
    assert record.too_soon(loose, CATALOGUE, NOON_S) is None
    held = Versions.open(None)
    held.note(POLICY, promised(30), NOON_S)
    assert "Training AI: allowed" in (held.too_soon(loose, CATALOGUE, NOON_S) or "")


# -- dates in the policy itself --------------------------------------------------------------------------------

DATED = RESERVED + "terms: {notice: 30, changes: [{from: 2027-03-01, preferences: {metadata: {ai-use: allow}}}]}\n"


def test_a_preference_with_a_date_is_announced_when_the_policy_is_read_and_begins_by_itself() -> None:
    policy, record = a_policy(DATED), Versions.open(None)
    assert record.too_soon(policy, CATALOGUE, NOON_S) is None
    now, ahead = record.keep(policy, CATALOGUE, NOON_S)
    assert now.terms.word("metadata", "ai-use") == "disallow"
    assert ahead.start_s == read_moment("2027-03-01")
    assert ahead.loosened == ("looser: Feeding AI, for titles, credits and pages: allowed (before: not allowed)",)
    assert policy.at(read_moment("2027-02-28")).stated("page")["ai-use"] == "disallow"
    assert policy.at(read_moment("2027-03-01")).stated("page")["ai-use"] == "allow"
    written_in = a_policy(RESERVED.replace("search", "metadata: {ai-use: allow}, search") + "terms: {notice: 30}\n")
    assert record.too_soon(written_in, CATALOGUE, read_moment("2027-03-02")) is None
    assert record.keep(written_in, CATALOGUE, read_moment("2027-03-02")) == ()


def test_a_date_that_is_nearer_than_the_promise_is_refused() -> None:
    record = Versions.open(None)
    record.keep(a_policy(DATED), CATALOGUE, NOON_S)
    nearer = a_policy(DATED.replace("2027-03-01", "2026-12-15"))
    assert "may begin on 2026-12-31 at the earliest" in (record.too_soon(nearer, CATALOGUE, NOON_S) or "")


def test_changes_lie_one_over_the_other_in_the_order_of_their_dates() -> None:
    policy = a_policy(
        RESERVED + "terms:\n  changes:\n  - {from: 2027-06-01, preferences: {search: disallow}}\n"
        "  - {from: 2027-03-01, preferences: {search: allow, lyrics: {ai-use: allow}}}\n"
    )
    assert policy.turns == (read_moment("2027-03-01"), read_moment("2027-06-01"))
    late = policy.at(read_moment("2027-07-01"))
    assert (late.stated("lyrics")["ai-use"], late.preferences["search"], late.turns) == ("allow", "disallow", ())

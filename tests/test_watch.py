"""Policy files that change, break, vanish and come back; time is an argument, so nothing here waits."""

from __future__ import annotations

import gc
import json
import os
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guard import Guard, Request
from guard.errors import PolicyError
from guard.load import load_policies, load_policy, read_policy
from guard.model import Mode
from guard.policy import Policy
from guard.watch import (
    MAX_RESTLESS,
    POLL_S,
    RETRY_S,
    SETTLE_S,
    Outcome,
    PolicyFile,
    Refused,
    Swap,
    Unchanged,
    carry_on,
    files_of,
    render,
    succeed,
    summarise,
    tell,
)

FIRST = """version: 1
site: {name: first, contact: 'mailto:us@example.org'}
default: allow
preferences: {train-ai: disallow}
limits:
  - {name: slow, rate: 5/min, burst: 5, key: client}
rules:
  - {name: nobody, when: {path: /private/**}, then: block, reason: not for anybody}
  - {name: streams, when: {path: /stream/**}, then: throttle, limit: slow}
"""
SECOND = FIRST.replace("first", "second").replace("train-ai: disallow", "train-ai: allow")


class Followed:
    """A policy file and the clock it is looked at with."""

    def __init__(self, *paths: Path, adapt: Callable[[Policy], Policy] | None = None) -> None:
        policy = load_policies(paths)
        self.file = PolicyFile(paths, adapt(policy) if adapt else policy, adapt=adapt)
        self.now_s = 100.0
        assert self.later() == []  # what is on disk is what was loaded

    def later(self, seconds: float = POLL_S + 2 * SETTLE_S) -> list[Outcome]:
        """What is said in the next seconds, asked eight times a second."""
        said = []
        for _ in range(int(seconds * 8)):
            self.now_s += 0.125
            if (outcome := self.file.poll(self.now_s)) is not None:
                said.append(outcome)
        return said

    @property
    def name(self) -> str:
        return self.file.policy.site.name


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (file := tmp_path / "policy.yaml").write_text(FIRST)
    return file


# -- changes -------------------------------------------------------------------------------------------------


def test_a_changed_file_is_taken_once_with_what_has_changed(path: Path) -> None:
    followed = Followed(path)
    path.write_text(SECOND)
    (swap,) = followed.later()
    assert isinstance(swap, Swap)
    assert swap.policy == load_policy(path) == followed.file.policy
    assert swap.rendered.files == Guard(swap.policy).rendered.files
    assert any("preferences: changed train-ai" in line for line in swap.summary)
    assert (followed.file.loaded_total, followed.file.refused_total, followed.file.differs) == (1, 0, False)
    assert followed.later(60) == []


def test_a_change_is_in_force_within_two_seconds(path: Path) -> None:
    followed = Followed(path)
    path.write_text(SECOND)
    assert followed.later(2.0)


def test_a_file_that_is_still_being_written_is_not_read_until_it_rests(path: Path) -> None:
    followed = Followed(path)
    followed.now_s = followed.file.due_s - 0.125
    path.write_text(FIRST[:200])
    assert followed.later(0.125) == []
    path.write_text(FIRST[:300])
    assert followed.later(SETTLE_S) == []
    path.write_text(SECOND)
    assert followed.later(SETTLE_S) == []
    (swap,) = followed.later(SETTLE_S)
    assert isinstance(swap, Swap)


def test_a_file_that_never_rests_is_read_all_the_same(path: Path) -> None:
    followed = Followed(path)
    outcome: Outcome | None = None
    followed.now_s = followed.file.due_s
    for number in range(MAX_RESTLESS + 1):
        assert outcome is None
        path.write_text(SECOND + "#" * number)
        outcome = followed.file.poll(followed.now_s)
        followed.now_s += SETTLE_S
    assert isinstance(outcome, Swap)


def test_a_touched_file_is_not_loaded_again(path: Path) -> None:
    loaded: list[Policy] = []
    followed = Followed(path, adapt=lambda policy: loaded.append(policy) or policy)  # type: ignore[func-returns-value]
    before = len(loaded)
    os.utime(path, ns=(1, 1))
    (other := path.with_name("same.yaml")).write_text(FIRST)
    assert followed.later() == []
    other.replace(path)  # another inode
    assert followed.later() == []
    assert len(loaded) == before


def test_same_size_and_same_time_do_not_hide_a_change(path: Path) -> None:
    """As `rsync --times` and archives leave files."""
    followed = Followed(path)
    times = path.stat()
    path.write_text(FIRST.replace("name: first", "name: other"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size and path.stat().st_mtime_ns == times.st_mtime_ns
    (swap,) = followed.later()
    assert isinstance(swap, Swap) and followed.name == "other"


def test_every_policy_that_is_read_is_adapted(path: Path) -> None:
    from dataclasses import replace

    followed = Followed(path, adapt=lambda policy: replace(policy, mode=Mode.OBSERVE))
    path.write_text(SECOND)
    (swap,) = followed.later()
    assert isinstance(swap, Swap) and swap.policy.mode is Mode.OBSERVE


def test_asking_reads_at_once_and_says_when_nothing_is_new(path: Path) -> None:
    followed = Followed(path)
    assert followed.file.reload(followed.now_s) == Unchanged(followed.file.policy.version)
    path.write_text(SECOND)
    assert isinstance(followed.file.reload(followed.now_s), Swap)
    path.write_text("[")
    assert isinstance(followed.file.reload(followed.now_s), Refused)
    assert isinstance(followed.file.reload(followed.now_s), Refused)  # whoever asks is told, however often
    assert followed.later(60) == []


# -- several files -------------------------------------------------------------------------------------------


def test_included_files_are_followed_and_so_are_those_that_come_and_go(path: Path) -> None:
    (rules := path.with_name("rules.yaml")).write_text(
        "version: 1\nrules: [{name: a, when: {path: /a}, then: block}]\n"
    )
    path.write_text(FIRST + "include: [rules.yaml]\n")
    followed = Followed(path)
    rules.write_text("version: 1\nrules: [{name: b, when: {path: /b}, then: block}]\n")
    (swap,) = followed.later()
    assert isinstance(swap, Swap) and "rules: added b" in swap.summary and "rules: removed a" in swap.summary
    path.write_text(FIRST)
    (swap,) = followed.later()
    assert isinstance(swap, Swap)
    rules.write_text("nobody reads this any more")
    assert followed.later(60) == []
    (other := path.with_name("other.yaml")).write_text("version: 1\nrules: []\n")
    path.write_text(FIRST + "include: [other.yaml]\n")
    assert len(followed.later()) == 1
    other.write_text("version: 1\nrules: [{name: c, when: {path: /c}, then: block}]\n")
    (swap,) = followed.later()
    assert isinstance(swap, Swap) and "rules: added c" in swap.summary


def test_an_included_file_that_breaks_and_heals_is_noticed_also_when_it_was_never_part_of_a_policy(path: Path) -> None:
    followed = Followed(path)
    (more := path.with_name("more.yaml")).write_text("version: 1\nrules: [")
    path.write_text(FIRST + "include: [more.yaml]\n")
    (refused,) = followed.later()
    assert isinstance(refused, Refused) and any("more.yaml" in str(problem) for problem in refused.problems)
    more.write_text("version: 1\nrules: []\n")
    (swap,) = followed.later()
    assert isinstance(swap, Swap)


def test_a_missing_included_file_is_found_when_it_comes(path: Path) -> None:
    followed = Followed(path)
    path.write_text(FIRST + "include: [later.yaml]\n")
    (refused,) = followed.later()
    assert isinstance(refused, Refused)
    assert followed.later(60) == []  # said once, however often it is tried
    path.with_name("later.yaml").write_text("version: 1\nrules: []\n")
    (swap,) = followed.later(RETRY_S + POLL_S)
    assert isinstance(swap, Swap)


def test_several_policies_are_followed_as_one(tmp_path: Path) -> None:
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    a.write_text(FIRST.replace("{name: first,", "{name: a, hosts: [a.example],"))
    b.write_text("version: 1\nsite: {name: b, hosts: [b.example]}\ndefault: allow\n")
    followed = Followed(a, b)
    assert files_of(followed.file.policy) == (str(a), str(b))
    b.write_text("version: 1\nsite: {name: b, hosts: [b.example]}\ndefault: block\n")
    (swap,) = followed.later()
    assert isinstance(swap, Swap) and "b.example: default: allow -> block" in swap.summary
    b.write_text("version: 1\nsite: {name: b, hosts: [a.example]}\ndefault: block\n")
    (refused,) = followed.later()
    assert isinstance(refused, Refused)


def test_a_policy_that_came_from_no_file_cannot_be_followed() -> None:
    with pytest.raises(ValueError, match="file"):
        files_of(read_policy(FIRST))


# -- a mounted volume that changes its files all at once -----------------------------------------------------


class Volume:
    """As Kubernetes mounts a ConfigMap: policy.yaml -> ..data/policy.yaml, ..data -> ..2026_N."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        for name in ("policy.yaml", "rules.yaml"):
            (folder / name).symlink_to(f"..data/{name}")

    def show(self, name: str, *, title: str = "", keep: bool = False) -> None:
        """Everything of `name`, at once; the old directory goes afterwards, as the kubelet does it."""
        self.count += 1
        (new := self.folder / f"..2026_{self.count}").mkdir()
        (new / "policy.yaml").write_text(FIRST.replace("first", title or name) + "include: [rules.yaml]\n")
        (new / "rules.yaml").write_text(
            f"version: 1\nrules: [{{name: of {name}, when: {{path: /x}}, then: block, reason: {name}}}]\n"
        )
        (link := self.folder / "..data_tmp").symlink_to(new.name)
        link.replace(self.folder / "..data")
        if not keep and self.count > 1:
            for file in (old := self.folder / f"..2026_{self.count - 1}").iterdir():
                file.unlink()
            old.rmdir()


def test_a_mounted_volume_is_read_from_before_or_after_and_never_from_both(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    volume.show("one")
    turns = iter(["two", "three"])

    def turn(policy: Policy) -> Policy:
        """Called when a policy was read: that is when the volume turns again."""
        if volume.count > 1 and (name := next(turns, None)) is not None:
            volume.show(name)
        return policy

    followed = Followed(tmp_path / "policy.yaml", adapt=turn)
    volume.show("zero")
    (swap,) = followed.later()
    assert isinstance(swap, Swap)
    assert (followed.name, swap.policy.rules[-1].reason) == ("three", "three")
    assert followed.later(60) == []


@pytest.mark.parametrize("keep", [True, False], ids=["the old directory stays", "the old directory goes"])
def test_every_turn_of_a_mounted_volume_is_noticed(tmp_path: Path, keep: bool) -> None:
    volume = Volume(tmp_path)
    volume.show("one", title="one")
    followed = Followed(tmp_path / "policy.yaml")
    for name, title in (("two", "one"), ("three", "three"), ("four", "three")):
        volume.show(name, title=title, keep=keep)
        (swap,) = followed.later()
        assert isinstance(swap, Swap) and swap.policy.site.name == title
        assert [rule.reason for rule in swap.policy.rules][-1] == name


def test_a_turn_that_changes_nothing_is_no_news_and_the_next_one_is(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    volume.show("one")
    followed = Followed(tmp_path / "policy.yaml")
    volume.show("one")
    assert followed.later() == []
    volume.show("two")
    assert len(followed.later()) == 1


# -- files that cannot be used -------------------------------------------------------------------------------


def _vanish(path: Path) -> None:
    path.unlink()


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link(target: str) -> Callable[[Path], None]:
    def link(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return link


def _says(content: bytes | str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return write


def _sparse(path: Path) -> None:
    os.truncate(path, 1 << 40)


BOMB = "a: &a [" + "x," * 9 + "x]\n" + "".join(f"b{n}: &b{n} [" + "*a," * 9 + "*a]\n" for n in range(9))

DISASTERS: dict[str, Callable[[Path], None]] = {
    "deleted": _vanish,
    "a directory": _directory,
    "a fifo": _fifo,
    "a device": _link("/dev/zero"),
    "the terminal": _link("/dev/tty"),
    "a loop of links": _link("policy.yaml"),
    "a link to nowhere": _link("nowhere.yaml"),
    "a process's memory": _link("/proc/self/mem"),
    "empty": _says(""),
    "truncated": _says(FIRST[: FIRST.index("block")]),
    "binary": _says(bytes(range(256)) * 64),
    "zeros": _says(bytes(5000)),
    "latin-1": _says("version: 1\nsite: {name: é}\ndefault: allow\n".encode("latin-1")),
    "a bomb": _says(BOMB),
    "deep": _says("[" * 100_000),
    "deep mappings": _says("{a: " * 100_000),
    "a terabyte": _sparse,
    "another version": _says(FIRST.replace("version: 1", "version: 2")),
    "a misspelt rule": _says(FIRST.replace("block", "bock")),
    "includes itself": _says(FIRST + "include: [policy.yaml]\n"),
    "includes a directory": _says(FIRST + "include: [d.yaml]\n"),
    "includes a fifo": _says(FIRST + "include: [f.yaml]\n"),
    "two documents": _says(FIRST + "---\n" + FIRST),
    "a tag": _says(FIRST + "examples: !!python/object/apply:os.abort []\n"),
}


@pytest.mark.parametrize("disaster", DISASTERS)
def test_whatever_becomes_of_the_file_the_last_good_policy_stays_and_the_next_good_one_is_taken(
    path: Path, disaster: str, caplog: pytest.LogCaptureFixture
) -> None:
    path.with_name("d.yaml").mkdir()
    os.mkfifo(path.with_name("f.yaml"))
    followed = Followed(path)
    DISASTERS[disaster](path)
    (refused,) = followed.later()
    assert isinstance(refused, Refused) and refused.problems
    assert followed.name == "first"
    assert (followed.file.loaded_total, followed.file.refused_total, followed.file.differs) == (0, 1, True)
    line = tell(refused, followed.file)
    assert (line["state"], line["version"], line["differs"]) == ("refused", followed.file.policy.version, True)
    assert any(record.levelname == "ERROR" and "stays in force" in record.message for record in caplog.records)
    assert followed.later(60) == []  # said once
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    path.write_text(SECOND)
    (swap,) = followed.later()
    assert isinstance(swap, Swap) and followed.name == "second" and not followed.file.differs


def test_each_bad_content_is_said_once_and_that_all_is_well_again_too(path: Path) -> None:
    followed = Followed(path)
    said = []
    for content in ("[", "[", "{", FIRST, "[", SECOND):
        path.write_text(content)
        said += [type(outcome) for outcome in followed.later()]
    assert said == [Refused, Refused, Unchanged, Refused, Swap]
    assert (followed.file.loaded_total, followed.file.refused_total) == (1, 3)


def test_what_reading_raises_is_a_problem_and_no_end(path: Path) -> None:
    """Whatever it is: of the files, of our own code, of the machine."""
    errors: list[type[Exception]] = [RecursionError, MemoryError, KeyError, OSError, ValueError]

    def adapt(policy: Policy) -> Policy:
        if policy.site.name != "first":
            raise errors[-1]("on purpose")
        return policy

    followed = Followed(path, adapt=adapt)
    for number in range(len(errors)):
        path.write_text(SECOND + "#" * number)
        (refused,) = followed.later()
        assert isinstance(refused, Refused) and "on purpose" in str(refused.problems[0])
        assert errors.pop().__name__ in str(refused.problems[0]) or "cannot be read" in str(refused.problems[0])


def test_files_that_were_given_up_are_left_alone_until_they_look_different(path: Path) -> None:
    followed = Followed(path)
    old = followed.file.policy
    path.write_text(SECOND)
    refused = followed.file.give_up(followed.file.look(followed.now_s), followed.now_s, "took too long")
    assert refused.problems[0].message == "took too long"
    assert (followed.file.policy, followed.file.refused_total, followed.file.differs) == (old, 1, True)
    assert followed.later(600) == []
    path.write_text(SECOND + "#")
    (swap,) = followed.later()
    assert isinstance(swap, Swap)


def test_a_judgement_made_elsewhere_is_as_good_as_one_made_here(path: Path) -> None:
    here, elsewhere = Followed(path), Followed(path)
    for content in ("[", SECOND, FIRST):
        path.write_text(content)
        (outcome,) = elsewhere.later()
        here.file.recall(elsewhere.file.remembered(), elsewhere.file.policy)
        assert here.later(60) == [] and here.file.differs is isinstance(outcome, Refused)
    assert (here.file.loaded_total, here.file.refused_total) == (2, 1)


def test_what_changes_while_the_first_policy_is_loaded_is_noticed(tmp_path: Path) -> None:
    (path := tmp_path / "policy.yaml").write_text(FIRST + "include: [more.yaml]\n")
    (more := tmp_path / "more.yaml").write_text("version: 1\nrules: []\n")
    turns = iter(["a", "b"])

    def adapt(policy: Policy) -> Policy:
        if (name := next(turns, None)) is not None:
            more.write_text(f"version: 1\nrules: [{{name: {name}, when: {{path: /x}}, then: block}}]\n")
        return policy

    file = PolicyFile.load([path], adapt=adapt)
    assert file.policy.rules[-1].name == "b"
    assert file.poll(0.0) is None and file.poll(POLL_S + 1) is None


# -- every way in which a file can be half written -----------------------------------------------------------


def usable(path: Path) -> bool:
    try:
        load_policy(path)
    except (PolicyError, OSError):
        return False
    return True


def step(followed: Followed, path: Path, content: bytes) -> None:
    """After `content` has come, either it or what was there before is in force, and which is known."""
    before = followed.file.policy
    path.write_bytes(content)
    outcome = followed.file.reload(followed.now_s)
    after = followed.file.policy
    if usable(path):
        assert after == load_policy(path) and not followed.file.differs
        assert isinstance(outcome, Unchanged if after.version == before.version else Swap)
    else:
        assert after is before and followed.file.differs
        assert isinstance(outcome, Refused) and outcome.problems
    json.dumps(tell(outcome, followed.file))


def test_cut_at_every_byte_a_policy_loads_or_is_refused(path: Path) -> None:
    followed = Followed(path)
    content = SECOND.encode()
    for end in range(len(content) + 1):
        step(followed, path, content[:end])
    assert followed.name == "second"


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_changed_at_random_a_policy_loads_or_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    (path := tmp_path / "random.yaml").write_text(FIRST)
    followed = Followed(path)
    for _ in range(3):
        content = bytearray(data.draw(st.sampled_from((FIRST, SECOND))).encode())
        for _ in range(data.draw(st.integers(1, 6))):
            at = data.draw(st.integers(0, len(content)))
            content[at : at + data.draw(st.integers(0, 8))] = data.draw(
                st.binary(max_size=8) | st.sampled_from([b"\n", b"  ", b": ", b"- ", b"*a", b"&a ", b"{", b"]", b"\t"])
            )
        step(followed, path, bytes(content))
    step(followed, path, SECOND.encode())
    assert followed.name == "second"


# -- what is told --------------------------------------------------------------------------------------------


def test_a_summary_names_what_is_different_by_name() -> None:
    old = read_policy(FIRST)
    new = read_policy(
        FIRST.replace("mode", "mode")
        .replace("default: allow", "default: block\nmode: observe")
        .replace("rate: 5/min", "rate: 6/min")
        .replace("name: nobody", "name: nobody at all")
        .replace("preferences: {train-ai: disallow}", "preferences: {train-ai: disallow, audio: {search: disallow}}")
        + "agents: {ai-*: block}\n"
    )
    assert summarise(old, new) == [
        f"version {old.version} -> {new.version}",
        "mode: enforce -> observe",
        "default: allow -> block",
        "preferences: added audio search",
        "limits: changed slow",
        "rules: added nobody at all",
        "rules: removed nobody",
        "rules: changed streams",
        "agents: added agents: ai-*",
    ]
    assert len(summarise(old, old)) == 1


def test_rules_in_another_order_are_a_difference() -> None:
    *head, first, second = FIRST.splitlines()
    new = read_policy("\n".join([*head, second, first]))
    assert summarise(read_policy(FIRST), new)[1:] == ["rules: another order"]


def test_a_line_fits_into_a_pipe_whatever_it_has_to_tell(path: Path) -> None:
    followed = Followed(path)
    path.write_text(FIRST + "".join(f"  - {{name: 'é\U0001f3b5\"{n}', {'x' * 300}: 1}}\n" for n in range(500)))
    (refused,) = followed.later()
    assert isinstance(refused, Refused) and len(refused.problems) >= 500
    line = json.dumps(tell(refused, followed.file))
    assert len(line) < 4096
    assert "more" in json.loads(line)["problems"][-1]


# -- what is left of the old one -----------------------------------------------------------------------------


def a_request(path: str = "/x", host: str = "") -> Request:
    return Request("GET", path.encode(), b"somebody", "192.0.2.1")


def test_a_successor_counts_on_and_uses_the_same_store(path: Path) -> None:
    old = Guard(load_policy(path))
    old.count(old.decide(a_request()))
    old.passed = 3
    path.write_text(SECOND)
    policy = load_policy(path)
    new = succeed(old, policy, render(policy))
    carry_on(old, new)
    assert new.store is old.store and new.catalogue is old.catalogue and new.clock is old.clock
    old.count(old.decide(a_request()))  # a request that is still under way
    new.count(new.decide(a_request()))
    assert sum(new.tally.values()) == 3 and new.passed == 3
    assert new.files == Guard(policy).files


SCOPED = """version: 1
site: {name: several, hosts: [a.example]}
default: allow
hosts:
  - {names: [b.example], default: block}
"""


@pytest.mark.parametrize("text", [FIRST, SCOPED], ids=["one host", "several hosts"])
def test_nothing_is_left_of_the_guards_before(tmp_path: Path, text: str) -> None:
    """Counted references alone must free them: a worker's collector hardly ever runs."""
    (path := tmp_path / "p.yaml").write_text(text)
    guard = Guard(load_policy(path))
    old = []
    gc.collect()
    gc.disable()
    try:
        for number in range(50):
            for host in (b"a.example", b"b.example", b"other"):
                guard.for_host(host).decide(a_request())
            path.write_text(text + "#" * number)
            policy = load_policy(path)
            after = succeed(guard, policy, render(policy))
            carry_on(guard, after)
            old += [weakref.ref(guard), weakref.ref(guard.policy)]
            guard = after
            del after, policy
        assert [one() for one in old] == [None] * 100
    finally:
        gc.enable()

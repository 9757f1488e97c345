"""Policy files that change while the guard runs: noticed, read whole, checked, and only then taken.

The law: whatever becomes of a file, the last good policy stays in force. Time is an argument: nothing here waits, and
no file can make it wait. A change is read once it has been still for a moment, so that half of a file that is still
being written is seldom even tried. Files are told apart by what stat(2) says of them, and then by their content.

A path is followed anew each time, to where its symlinks lead: a mounted volume that changes its files all at once
(Kubernetes turns one symlink, `..data`) is read from before or from after, never from both.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from math import inf
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from guard.classify import Catalogue
from guard.engine import Guard, Rendered
from guard.errors import CatalogueError, GuardError, PolicyError, Problem
from guard.ledger.versions import Versions
from guard.load import load_policies, shipped_catalogue
from guard.model import Limit
from guard.policy import Policy, Rule
from guard.sources import read_bytes, read_sources

POLL_S = 1.5
"""Seconds between two looks at the files: with the rest and the reading, a change is in force within three."""
SETTLE_S = 0.25
"""A changed file is read when two looks this far apart have found the same."""
MAX_RESTLESS = 4
"""So often reading is put off for a file that does not come to rest."""
RETRY_S = 10.0
"""A refused policy is tried again so often, for what it lacked may be a file that nobody could name."""

_ATTEMPTS = 3
_MAX_TOLD = 100
_MAX_LINE_CHARS = 3500  # below what a pipe takes in one piece

_log = logging.getLogger("guard.watch")

Look = tuple[str, str, tuple[int, ...]]
"""A path, where it leads, and what tells its content from another: device, inode, times and size; or the error."""


class Swap(NamedTuple):
    """A new policy is to take the place of the old one. `rendered` are its directive files."""

    policy: Policy
    rendered: Rendered
    summary: tuple[str, ...]


class Refused(NamedTuple):
    """What the files say now cannot be used. `problems` is never empty."""

    problems: tuple[Problem, ...]


class Unchanged(NamedTuple):
    """The files say what is in force: somebody asked, or they did not before."""

    version: str


Outcome = Swap | Refused | Unchanged


class PolicyFile:
    """The files of the policy in force, and what has become of them. Not for several threads at once."""

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        policy: Policy,
        *,
        adapt: Callable[[Policy], Policy] | None = None,
        catalogue: Catalogue | None = None,
    ) -> None:
        """`policy` was read from `paths` and is in force. `adapt` is done to every policy that is read."""
        self.paths = tuple(dict.fromkeys(os.fspath(path) for path in paths))
        self.policy = policy
        self.adapt = adapt
        self.catalogue = catalogue
        self.foreign = b""  # the platform's own robots.txt
        self.record: Versions | None = None  # of the terms, where one is kept
        self.wall = time.time
        self.loaded_total = 0
        self.refused_total = 0
        self.differs = False  # what is in force is not what the files say
        self.due_s = -inf  # before this moment a poll does nothing
        self._sources = policy.sources
        self._named: tuple[str, ...] = ()  # files from which what was refused was read
        self._judged: tuple[Look, ...] = ()
        self._digest = b""
        self._refused: tuple[bytes, tuple[Problem, ...]] | None = None
        self._retry_s = inf
        self._last: tuple[Look, ...] = ()
        self._restless = 0

    @classmethod
    def load(
        cls,
        paths: Sequence[str | os.PathLike[str]],
        *,
        adapt: Callable[[Policy], Policy] | None = None,
        catalogue: Catalogue | None = None,
    ) -> PolicyFile:
        """Read the policy in `paths`, to be followed from this moment. Raises what `load_policies` raises."""
        looks: tuple[Look, ...] = tuple(_look_at(path) for path in dict.fromkeys(os.fspath(path) for path in paths))
        for _ in range(_ATTEMPTS):
            digest = _digest(looks)
            policy = load_policies([os.fspath(path) for path in paths], catalogue)
            file = cls(paths, adapt(policy) if adapt else policy, adapt=adapt, catalogue=catalogue)
            if (after := file._look()) == looks:
                file._judged, file._digest = looks, digest
                break
            looks = after
        return file

    def poll(self, now_s: float) -> Outcome | None:
        """What has become of the files; None when that was said before, or it is too early. Never raises.

        `now_s` is any clock that only goes forward, in seconds.
        """
        looks = self.stirred(now_s)
        return None if looks is None else self.judge(looks, now_s, asked=False)

    def reload(self, now_s: float) -> Outcome:
        """Read the files now, whether they seem changed or not. Never raises."""
        return self.judge(self.look(now_s), now_s, asked=True) or Unchanged(self.policy.version)

    # `poll` in its two halves, for who reads in another process than it looks: what a look costs is next to nothing,
    # what reading costs is up to the files.

    def look(self, now_s: float) -> tuple[Look, ...]:
        """How the files look now."""
        self.due_s = now_s + POLL_S
        return self._look()

    def stirred(self, now_s: float) -> tuple[Look, ...] | None:
        """How the files look, when they are to be judged now; else None."""
        if now_s < self.due_s:
            return None
        looks = self.look(now_s)
        last, self._last = self._last, looks
        if looks == self._judged:
            self._restless = 0
            return looks if now_s >= self._retry_s else None
        if looks == last or self._restless >= MAX_RESTLESS:
            self._restless = 0
            return looks
        self._restless += 1
        self.due_s = now_s + SETTLE_S
        return None

    def remembered(self) -> dict[str, object]:
        """All that a judgement may change but the policy, for `recall` in another process."""
        kept = {name: vars(self)[name] for name in _REMEMBERED}
        if self.record is not None and self.record.path is None:
            kept["record"] = self.record  # there is no file from which it could be learned
        return kept

    def recall(self, remembered: Mapping[str, object], policy: Policy) -> None:
        """Go on as if the judgement after which `remembered` was taken had been made here."""
        vars(self).update(remembered)
        self.policy = policy
        if self.record is not None:
            with contextlib.suppress(GuardError):  # it was told there; here it is only not to be forgotten
                self.record.poll()

    def give_up(self, looks: tuple[Look, ...], now_s: float, why: str) -> Refused:
        """Files that look so could not be judged: they are refused, until they look different or somebody asks."""
        self._judged, self._digest, self._retry_s = looks, b"", inf
        self.differs = True
        self.refused_total += 1
        problems = (Problem(self.paths[0], 0, why),)
        self._refused = (b"", problems)
        return Refused(problems)

    def _look(self) -> tuple[Look, ...]:
        return tuple(_look_at(path) for path in dict.fromkeys((*self.paths, *self._sources, *self._named)))

    def judge(self, looks: tuple[Look, ...], now_s: float, *, asked: bool) -> Outcome | None:
        """Read, check and compare; what was read is what `looks` and the look afterwards agree on. Never raises."""
        began = perf_counter()
        read: Policy | tuple[Problem, ...] = ()
        for attempt in range(_ATTEMPTS):
            digest = _digest(looks)
            if attempt == 0 and digest == self._digest and not asked and now_s < self._retry_s:
                self._judged = looks  # touched, and the same
                return None
            self._judged, self._digest = looks, digest
            read = self._read(looks)
            if isinstance(read, Policy):
                self._sources, self._named = read.sources, ()
            else:
                self._named = tuple(_sources_of(self.paths))
            after = self._look()
            if after == looks:  # nothing has moved while we read, and there was nothing to read but what we looked at
                break
            looks = after
        if isinstance(read, Policy):
            self._retry_s = inf
            return self._take(read, asked)
        # However long reading takes, it takes at most a fiftieth of the time.
        self._retry_s = now_s + max(RETRY_S, 50 * (perf_counter() - began))
        return self._refuse(read, asked)

    def _read(self, looks: tuple[Look, ...]) -> Policy | tuple[Problem, ...]:
        for path, _, found in looks[: len(self.paths)]:
            if len(found) == 1:
                return (Problem(path, 0, f"cannot be read: {_ERRORS.get(found[0]) or os.strerror(found[0])}"),)
        try:
            policy = load_policies(self.paths, self.catalogue)
            return self.adapt(policy) if self.adapt else policy
        except (PolicyError, CatalogueError) as error:
            return error.problems
        except OSError as error:
            return (Problem(str(error.filename or self.paths[0]), 0, f"cannot be read: {error.strerror or error}"),)
        except Exception as error:  # noqa: BLE001  # whatever stands in a file, the guard goes on
            return (Problem(self.paths[0], 0, f"cannot be used: {type(error).__name__}: {str(error)[:500]}"),)

    def _take(self, policy: Policy, asked: bool) -> Outcome | None:
        differed, old = self.differs, self.policy
        self._refused = None
        if policy.version == old.version:
            self.differs = False
            return Unchanged(old.version) if asked or differed else None
        now_s = self.wall()
        if (why := self._too_soon(policy, now_s)) is not None:
            return self._refuse((Problem(self.paths[0], 0, why),), asked)
        try:
            rendered = render(policy, self.catalogue, self.foreign, self.record, now_s)
            summary = tuple(summarise(old, policy))
        except Exception as error:  # noqa: BLE001  # what cannot be rendered is refused, and the last good policy stays
            why = f"cannot be rendered: {type(error).__name__}: {str(error)[:500]}"
            return self._refuse((Problem(self.paths[0], 0, why),), asked)
        self.policy = policy
        self.differs = False
        self.loaded_total += 1
        return Swap(policy, rendered, summary)

    def _too_soon(self, policy: Policy, now_s: float) -> str | None:
        """Why the policy may not be taken yet: it opens what is reserved before the notice that was promised."""
        record = self.record
        if record is None:
            return None
        told = len(record.notes)
        try:
            record.uphold(now_s)
        except GuardError as error:
            promises = any(one.notice_days for both in (self.policy, policy) for one in (both, *both.scopes))
            if promises or record.promised(now_s):
                return f"notice is promised, and the record of terms by which it is counted is not in order: {error}"
            _log.error("terms: %s", error)
        for note in record.notes[told:]:
            _log.warning("terms: %s: %s", record.path, note)
        return record.too_soon(policy, policy.catalogue or self.catalogue or shipped_catalogue(), now_s)

    def _refuse(self, problems: tuple[Problem, ...], asked: bool) -> Refused | None:
        self.differs = True
        told, self._refused = self._refused, (self._digest, problems)
        if told == self._refused and not asked:
            return None
        self.refused_total += 1
        return Refused(problems)


_REMEMBERED = (
    *("loaded_total", "refused_total", "differs"),
    *("_sources", "_named", "_judged", "_digest", "_refused", "_retry_s"),
)

_ERRORS = {0: "not a regular file", errno.EINVAL: "not a path"}


def _look_at(path: str) -> Look:
    try:
        found = Path(path).stat()
        if not stat.S_ISREG(found.st_mode):
            return path, "", (0,)
        at = os.path.realpath(path)
        return path, at, (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
    except OSError as error:
        return path, "", (error.errno or errno.EIO,)
    except ValueError:
        return path, "", (errno.EINVAL,)


def _sources_of(paths: Iterable[str]) -> Iterator[str]:
    """The files that a refused policy was read from, as far as they can be found."""
    for path in paths:
        with contextlib.suppress(Exception):  # it is refused already: now it is only a matter of knowing where to look
            resolved = Path(path).resolve(strict=True)
            yield from read_sources(read_bytes(resolved).decode("utf-8"), path, resolved).files


def _digest(looks: Iterable[Look]) -> bytes:
    """Where the files are and what stands in them."""
    digest = hashlib.sha256()
    for path, at, found in looks:
        digest.update(repr((path, at, len(found) == 1 and found)).encode("utf-8", "surrogatepass"))
        if len(found) > 1:
            try:
                digest.update(hashlib.sha256(read_bytes(Path(path))).digest())
            except (OSError, ValueError, MemoryError) as error:
                # Too large for a policy, as a table of networks may be: its size and dates have to do.
                digest.update(repr((type(error).__name__, found)).encode())
    return digest.digest()


# -- a policy, ready to be taken -----------------------------------------------------------------------------


def render(
    policy: Policy,
    catalogue: Catalogue | None = None,
    foreign: bytes = b"",
    record: Versions | None = None,
    now_s: float = 0.0,
) -> Rendered:
    """The directive files of `policy`, and everything in it that is otherwise made at the first request.

    `foreign` is the platform's own robots.txt. What can be rendered is noted in the `record` of terms, at `now_s`
    (seconds since 1970). Raises what rendering raises; a record that cannot be written is only spoken of.
    """
    guard = Guard(policy, catalogue=catalogue, foreign=foreign)
    rendered = guard.rendered
    if record is not None:
        try:
            for version in record.keep(policy, guard.catalogue, now_s):
                _log.info("terms: %s, %s", version.id, "; ".join(version.changes) or "the first that are kept")
        except GuardError as error:
            _log.error("terms: %s", error)
        guard.keep({scope: record.all(scope) for scope in record.scopes()})
        rendered = guard.rendered
    for one in (policy, *policy.scopes):
        for name, value in vars(Policy).items():
            if isinstance(value, cached_property):
                getattr(one, name)
    return rendered


def files_of(policy: Policy) -> tuple[str, ...]:
    """The files that were named to read `policy`. Raises ValueError when it was not read from files."""
    if not policy.sources:
        raise ValueError("this policy did not come from a file, so no file can be followed")
    return tuple(dict.fromkeys((policy.file, *(scope.file for scope in policy.scopes))))


def carry_on(old: Guard, new: Guard) -> None:
    """`new` counts on from where `old` is, each of its hosts by itself; who still holds `old` counts along."""
    new.tally, new.passed, new.admitted = old.tally, old.passed, old.admitted
    scopes = {scope.policy.hosts: scope for scope in old.scopes}
    for scope in new.scopes:
        if (before := scopes.get(scope.policy.hosts)) is not None:
            scope.tally, scope.passed, scope.admitted = before.tally, before.passed, before.admitted


def succeed(guard: Guard, policy: Policy, rendered: Rendered | None = None) -> Guard:
    """A guard for `policy` with the store, the recorder and the clock of `guard`; see `carry_on`."""
    return Guard(
        policy,
        store=guard.store,
        catalogue=guard.catalogue,
        record=guard.record,
        clock=guard.clock,
        new_id=guard.new_id,
        rendered=rendered,
        rights=guard.rights,
        feeds=guard.feeds,
        foreign=guard.foreign,
        lookout=guard.lookout,
        secret=guard.secret,
    )


# -- for people ----------------------------------------------------------------------------------------------


def tell(outcome: Outcome, file: PolicyFile) -> dict[str, object]:
    """Log what has happened, and give it as plain values: one line of JSON that is short enough for a pipe."""
    version = file.policy.version
    line: dict[str, object] = {
        "event": "policy",
        "state": "unchanged",
        "version": version,
        "differs": file.differs,
        "loaded_total": file.loaded_total,
        "refused_total": file.refused_total,
        "problems": [],
    }
    if isinstance(outcome, Swap):
        line["state"] = "loaded"
        line["changes"] = _cut(outcome.summary)
        _log.info("policy: %s", "\n  ".join(outcome.summary))
    elif isinstance(outcome, Refused):
        line["state"] = "refused"
        told = [str(problem) for problem in outcome.problems]
        line["problems"] = _cut(told)
        more = [f"and {len(told) - _MAX_TOLD} more problems"] if len(told) > _MAX_TOLD else []
        shown = "\n  ".join([*told[:_MAX_TOLD], *more])
        _log.error("policy: REFUSED, version %s stays in force\n  %s", version, shown)
    else:
        _log.info("policy: unchanged, version %s is in force and on disk", version)
    return line


def _cut(texts: Sequence[str]) -> list[str]:
    """As many as fit into one line, each cut to length."""
    kept: list[str] = []
    room = _MAX_LINE_CHARS
    for text in texts:
        text = text.encode("ascii", "backslashreplace").decode()[:400]
        room -= 2 * len(text) + 4  # a quote or a backslash takes two
        if room < 0:
            return [*kept, f"and {len(texts) - len(kept)} more"]
        kept.append(text)
    return kept


def summarise(old: Policy, new: Policy) -> list[str]:
    """What is different, in a few lines: versions, modes, entries by name. For the log of a reload."""
    lines = [f"version {old.version or '?'} -> {new.version}", *_differences(old, new)]
    scopes = {_host_of(scope): scope for scope in old.scopes}
    for scope in new.scopes:
        before = scopes.pop(_host_of(scope), None)
        changes = ["new"] if before is None else _differences(before, scope)
        lines += [f"{_host_of(scope)}: {change}" for change in changes]
    return lines + [f"{host}: gone" for host in scopes]


def _differences(old: Policy, new: Policy) -> list[str]:
    lines = []
    for word, before, after in (
        ("mode", old.mode.value, new.mode.value),
        ("default", old.default, new.default),
        ("hosts", ", ".join(old.hosts) or "any", ", ".join(new.hosts) or "any"),
    ):
        if before != after:
            lines.append(f"{word}: {before} -> {after}")
    for word, entries, others in (
        ("preferences", _preferences(old), _preferences(new)),
        ("limits", _by_name(old.limits), _by_name(new.limits)),
        ("rules", _by_name(old.rules), _by_name(new.rules)),
        ("agents", _by_name(old.rows), _by_name(new.rows)),
        ("limits that hold by themselves", _by_name(old.limiting), _by_name(new.limiting)),
        ("on_store_failure", dict(old.on_store_failure), dict(new.on_store_failure)),
    ):
        lines += [f"{word}: {change}" for change in _changes(entries, others)]
    if old.rules != new.rules and _by_name(old.rules) == _by_name(new.rules):
        lines.append("rules: another order")
    for word, before_block, after_block in (
        ("site", old.site, new.site),
        ("routes", (old.routes, old.route_default), (new.routes, new.route_default)),
        ("ladder", old.ladder, new.ladder),
    ):
        if before_block != after_block:
            lines.append(f"{word}: changed")
    return lines


def _preferences(policy: Policy) -> dict[str, object]:
    kinds = policy.kind_preferences.items()
    return {**policy.preferences, **{f"{kind} {one}": word for kind, said in kinds for one, word in said.items()}}


def _by_name(entries: Iterable[Rule | Limit]) -> dict[str, object]:
    return {entry.name: entry for entry in entries}


def _host_of(scope: Policy) -> str:
    return ", ".join(scope.hosts)


def _changes(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """By name, at most a dozen of each kind."""
    changes = []
    for word, names in (
        ("added", [name for name in new if name not in old]),
        ("removed", [name for name in old if name not in new]),
        ("changed", [name for name in new if name in old and new[name] != old[name]]),
    ):
        if names:
            more = f" and {len(names) - 12} more" if len(names) > 12 else ""
            changes.append(f"{word} {', '.join(names[:12])}{more}")
    return changes

"""Works and choices as rows of CSV and JSON Lines: what `guard rights` imports and exports. Pure.

CSV has a header. `layer` and `id` (or `work`, as LAYER:ID) say which work; `parents` what stands above it, like
`release:5|artist:11`. All other columns are words: a purpose (`train-ai`), a kind and a purpose (`audio.train-ai`),
`kinds` (several of those in one cell: `voice.ai-use=open|stems.search=allow`), `no-ai` (yes = train-ai and ai-use
disallow), `licences` (`operator:x|agent:y`, or `none`), `from until territory contact licence by at reason`. Where
an id or a licence holds a `|`, or a licence says more than to whom, the cell is a JSON list. An empty cell says
nothing, and a row without any word only says where the work stands.

A spreadsheet would compute cells that begin with = + - @, a tab or a carriage return. They are written with an
apostrophe before them, which reading takes away again; so is one that stands before such a character by itself.

A JSON line is `{"work": "track:1001", "parents": ["release:5"], …}` with the keys of `guard.rights.read_choice`,
and `"no-ai": true`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

from guard.errors import ChoiceError
from guard.memo import Memo
from guard.model import KINDS
from guard.nodes import guess
from guard.rights import (
    HOLDINGS,
    LAYERS,
    MAX_ID_CHARS,
    PURPOSES,
    Choice,
    Work,
    check_work,
    read_choice,
    read_work,
    write_choice,
)

MAX_LINE_CHARS = 256 * 1024
MAX_PARENTS = 32
"""So many works may stand right above one."""

RANK = {layer: rank for rank, layer in enumerate(LAYERS)}

_TEXTS = ("from", "until", "territory", "contact", "licence", "by", "at", "reason")
COLUMNS = ("layer", "id", "parents", *PURPOSES, "kinds", "licences", *_TEXTS)
"""What is written; a row is read with any of these, in any order, and `work`, `no-ai` and KIND.PURPOSE."""

_KIND_WORDS = tuple(f"{kind}.{purpose}" for kind in KINDS for purpose in PURPOSES)
READABLE = ("work", *COLUMNS, "no-ai", *_KIND_WORDS)
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0")
_COMPUTED = ("=", "+", "-", "@", "\t", "\r")
_KEPT = 20_000


class Row(NamedTuple):
    """What one row says. `parents` None: nothing of what stands above; `choice` None: no word."""

    work: Work
    parents: tuple[Work, ...] | None = None
    choice: Choice | None = None


class Unreadable(ChoiceError):
    """Not a row but the file is wrong: what stands behind this place is not read, and nobody knows what it says."""


Read = tuple[int, "Row | ChoiceError"]
"""The number of a line (from 1), and what it says or why it cannot be read. After Unreadable nothing more comes."""


# -- reading -----------------------------------------------------------------------------------------------


def read_csv(lines: Iterable[str]) -> Iterator[Read]:
    """The rows of a CSV file; lines keep their ends. A header that cannot be read is the only thing that is given."""
    reader = csv.reader(lines, strict=True)
    line = 0
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
        if problems := list(_header_problems(header)):
            for problem in problems:
                yield 1, Unreadable(problem.key, problem.message)
            return
        read = _CsvRows(header).read
        line = reader.line_num
        for cells in reader:
            before, line = line, reader.line_num
            if not cells:
                continue
            row = read(cells)
            if line - before > 1 and isinstance(row, ChoiceError):
                # A stray quote makes one cell of many rows: to leave this one out would leave all of them out.
                yield before + 1, Unreadable(row.key, f"{row.message} (a quote opens a cell of {line - before} lines)")
                return
            yield line, row
    except csv.Error as error:
        until = f" at line {reader.line_num}" if reader.line_num > line + 1 else ""
        yield line + 1, Unreadable("", f"no CSV: {error}{until}")


def _header_problems(header: list[str]) -> Iterator[ChoiceError]:
    if not header:
        yield ChoiceError("", "no header: the first line names the columns, like layer,id,parents,train-ai")
        return
    if "work" not in header and not {"layer", "id"} <= set(header):
        ends = " (columns are separated by commas)" if len(header) == 1 else ""
        yield ChoiceError("", f"the header needs 'layer' and 'id', or 'work'{ends}")
    for number, name in enumerate(header):
        if name not in READABLE:
            yield ChoiceError(name[:80], f"unknown column{guess(name, READABLE)}")
        elif name in header[:number]:
            yield ChoiceError(name, "this column is there twice")
    if "work" in header and ("layer" in header or "id" in header):
        yield ChoiceError("work", "either 'work', or 'layer' and 'id'")


class _CsvRows:
    """Reads cells under one header; what repeats from row to row is read once."""

    def __init__(self, header: list[str]) -> None:
        self._header = header
        places = {name: at for at, name in enumerate(header)}
        self._work = places.get("work", -1)
        self._layer, self._id = places.get("layer", -1), places.get("id", -1)
        self._parents = places.get("parents", -1)
        said = [at for name, at in places.items() if name not in ("work", "layer", "id", "parents")]
        self._names = [header[at] for at in said]
        self._said = _pick(said)
        self._choices: Memo[tuple[str, ...], tuple[Choice | None]] = Memo(_KEPT)
        self._above: Memo[str, tuple[tuple[Work, ...], int]] = Memo(_KEPT)

    def read(self, cells: list[str]) -> Row | ChoiceError:
        if len(cells) != len(self._header):
            return ChoiceError("", f"{len(cells)} cells under {len(self._header)} columns")
        try:
            work = self._read_work(cells)
            parents = None
            if self._parents >= 0 and (cell := cells[self._parents]):
                above = self._above.young.get(cell) or self._above.get(cell)
                if above is None:
                    above = _parents_in(cell)
                    self._above.keep(cell, above)
                parents, narrowest = above
                if narrowest >= RANK[work.layer]:
                    check_parents(work, parents)
            said = self._said(cells) if self._said is not None else (cells[self._only],) if self._only >= 0 else ()
            if not any(said):
                return Row(work, parents, None)
            kept = self._choices.young.get(said) or self._choices.get(said)
            if kept is None:
                kept = (_choice_in(dict(zip(self._names, said, strict=True))),)
                self._choices.keep(said, kept)
            return Row(work, parents, kept[0])
        except ChoiceError as error:
            return error

    def _read_work(self, cells: list[str]) -> Work:
        if self._work >= 0:
            return _valid(read_work(_plain(cells[self._work])))
        layer, name = cells[self._layer], cells[self._id]
        if name.isalnum() and name.isascii() and len(name) <= MAX_ID_CHARS and layer in RANK and layer != "platform":
            return Work(layer, name)
        return _valid(check_work(layer, _plain(name)))


def _pick(places: list[int]) -> Callable[[list[str]], tuple[str, ...]]:
    """What gives the cells at these places."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda cells: tuple(cells[at] for at in places)


def _parents_in(cell: str) -> tuple[tuple[Work, ...], int]:
    """What a cell names, and the rank of the narrowest."""
    names = _json(cell, "parents") if cell.startswith("[") else [] if cell == "none" else _plain(cell).split("|")
    works = read_parents(names)
    return works, max((RANK[work.layer] for work in works), default=-1)


def read_parents(names: object) -> tuple[Work, ...]:
    """Works from a list of LAYER:ID. Raises ChoiceError."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ChoiceError("parents", "expected a list of LAYER:ID")
    if len(names) > MAX_PARENTS:
        raise ChoiceError("parents", f"more than {MAX_PARENTS}")
    try:
        return tuple(dict.fromkeys(_valid(read_work(name)) for name in names))
    except ChoiceError as error:
        raise ChoiceError(f"parents.{error.key}", error.message) from None


def check_parents(work: Work, parents: tuple[Work, ...]) -> None:
    """Whether these may stand above the work: only what is of a wider layer. Raises ChoiceError."""
    if len(parents) > MAX_PARENTS:
        raise ChoiceError("parents", f"more than {MAX_PARENTS}")
    for parent in parents:
        if RANK.get(parent.layer, len(LAYERS)) >= RANK[work.layer]:
            wider = ", ".join(HOLDINGS[: RANK[work.layer] - 1]) or "nothing"
            raise ChoiceError("parents", f"{parent} cannot stand above {work}: only {wider} can")


def _choice_in(cells: Mapping[str, str]) -> Choice | None:
    """A choice from the cells of a row that are words, by column; None when the only one is `no-ai` with no."""
    preferences: dict[str, Any] = {}
    table: dict[str, Any] = {"preferences": preferences}
    for name, cell in cells.items():
        if not cell:
            continue
        if name in PURPOSES:
            preferences[name] = cell
        elif name == "licences":
            table[name] = _licences_in(cell)
        elif name == "kinds":
            for one in cell.split("|"):
                _say_of_kind(preferences, *one.partition("=")[::2], place="kinds")
        elif "." in name:
            _say_of_kind(preferences, name, cell, place=name)
        elif name != "no-ai":
            table[name] = _plain(cell)
    if cell := cells.get("no-ai", ""):
        _say_no_ai(preferences, cell.lower())
        if not preferences and len(table) == 1:
            return None
    return _read_valid(table)


def _say_of_kind(preferences: dict[str, Any], name: str, word: str, *, place: str) -> None:
    kind, dot, purpose = name.partition(".")
    if not dot or kind not in KINDS or purpose not in PURPOSES:
        raise ChoiceError(
            place, f"'{name[:80]}' is no kind and purpose{guess(name, _KIND_WORDS) or ', like voice.ai-use'}"
        )
    if purpose in preferences.setdefault(kind, {}):
        raise ChoiceError(place, f"{name} is said twice")
    preferences[kind][purpose] = word


def _say_no_ai(preferences: dict[str, Any], said: object) -> None:
    """`no-ai`: both AI purposes are disallowed, unless the row says the opposite of one."""
    if said is True or said in _YES:
        for purpose in ("train-ai", "ai-use"):
            if preferences.setdefault(purpose, "disallow") != "disallow":
                raise ChoiceError("no-ai", f"says yes, but {purpose} says {preferences[purpose]}")
    elif said is not False and said not in _NO:
        raise ChoiceError("no-ai", f"'{str(said)[:40]}' is neither yes nor no")


def _licences_in(cell: str) -> object:
    if cell.startswith("["):
        return _json(cell, "licences")
    return [] if cell == "none" else [{"to": to} for to in cell.split("|")]


def read_json_lines(lines: Iterable[str]) -> Iterator[Read]:
    """The rows of JSON Lines; empty lines are passed over."""
    choices: Memo[str, Choice] = Memo(_KEPT)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield number, _read_json_row(line, choices)
        except ChoiceError as error:
            yield number, error


def _read_json_row(line: str, choices: Memo[str, Choice]) -> Row:
    if len(line) > MAX_LINE_CHARS:
        raise ChoiceError("", f"longer than {MAX_LINE_CHARS // 1024} KiB")
    table = _json(line, "")
    if not isinstance(table, dict):
        raise ChoiceError("", 'expected an object, like {"work": "track:1001"}')
    name = table.pop("work", None)
    if not isinstance(name, str):
        raise ChoiceError("work", 'needs the work as text, like "work": "track:1001"')
    work = _valid(read_work(name))
    parents = None
    if (names := table.pop("parents", None)) is not None:
        parents = read_parents(names)
        check_parents(work, parents)
    if not table:
        return Row(work, parents, None)
    key = repr(table)
    choice = choices.get(key)
    if choice is None:
        if (no_ai := table.pop("no-ai", None)) is not None:
            preferences = table.get("preferences", {})
            if isinstance(preferences, dict):
                _say_no_ai(preferences, no_ai)
                if preferences:
                    table["preferences"] = preferences
            if not table:
                return Row(work, parents, None)
        choice = _read_valid(table)
        choices.keep(key, choice)
    return Row(work, parents, choice)


class _Repeated(ValueError):
    pass


def _json(text: str, key: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_refuse_constant)
    except _Repeated as error:
        raise ChoiceError(key, f"key '{str(error)[:80]}' is repeated") from None
    except RecursionError:
        raise ChoiceError(key, "no JSON: nested too deeply") from None
    except ValueError as error:
        raise ChoiceError(key, f"no JSON: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        seen: set[str] = set()
        raise _Repeated(next(name for name, _ in pairs if name in seen or seen.add(name)))  # type: ignore[func-returns-value]
    return table


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _read_valid(table: object) -> Choice:
    choice = read_choice(table)
    for key, text in (
        ("territory", choice.territory),
        ("contact", choice.contact),
        ("licence", choice.licence_url),
        ("by", choice.by),
        ("reason", choice.reason),
        *(("licences", licence.to) for licence in choice.licences or ()),
    ):
        _check_unicode(key, text)
    return choice


def _valid(work: Work) -> Work:
    _check_unicode("id", work.id)
    return work


def _check_unicode(key: str, text: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ChoiceError(key, "not valid UTF-8") from None


def problems_of(table: object) -> list[ChoiceError]:
    """Everything that `read_choice` has against plain values, not only the first. They are not changed."""
    rest = json.loads(json.dumps(table)) if isinstance(table, dict) else table
    found: list[ChoiceError] = []
    while len(found) < 200:
        try:
            read_choice(rest)
            return found
        except ChoiceError as error:
            found.append(error)
            if not isinstance(rest, dict) or not _take_out(rest, error.key):
                return found
    return found


def path_of(key: str) -> list[str | int]:
    """The key of a ChoiceError as steps into plain values: `licences[0].to` is licences, 0, to."""
    steps: list[str | int] = []
    for step in key.split("."):
        name, _, index = step.partition("[")
        steps.append(name)
        if index[:-1].isdigit():
            steps.append(int(index[:-1]))
    return steps


def _take_out(table: dict[str, Any], key: str) -> bool:
    """Put something harmless in the place of what a problem names."""
    *way, last = path_of(key) if key else [""]
    within: Any = table
    for step in way:
        try:
            within = within[step]
        except (LookupError, TypeError):
            return False
    if last == "to" and isinstance(within, dict):
        within[last] = "operator:x"
    elif isinstance(within, list) and isinstance(last, int):
        within[last] = {"to": "operator:x"}
    elif isinstance(within, dict) and last in within:
        del within[last]
    elif isinstance(within, dict) and (stray := [name for name in within if "." in str(name) and key.endswith(name)]):
        del within[stray[0]]
    else:
        return False
    return True


# -- writing -----------------------------------------------------------------------------------------------


def write_cells(work: Work, choice: Choice | None, parents: tuple[Work, ...]) -> list[str]:
    """One row of CSV under COLUMNS."""
    out = dict.fromkeys(COLUMNS, "")
    out["layer"], out["id"] = work.layer, _inert(work.id)
    names = [str(parent) for parent in parents]
    out["parents"] = _dumps(names) if any("|" in name for name in names) else "|".join(names)
    if choice is not None:
        said = write_choice(choice)
        preferences: Mapping[str, Any] = said.get("preferences", {})
        kinds = []
        for key, value in preferences.items():
            if isinstance(value, str):
                out[key] = value
            else:
                kinds += [f"{key}.{purpose}={word}" for purpose, word in value.items()]
        out["kinds"] = "|".join(kinds)
        if choice.licences is not None:
            out["licences"] = _licence_cell(said["licences"])
        for key in _TEXTS:
            out[key] = _inert(said.get(key, ""))
        if not any(out[key] for key in COLUMNS[3:]):
            out["at"] = "1970-01-01T00:00:00Z"  # a choice that says nothing is a choice
    return list(out.values())


def _licence_cell(licences: list[dict[str, Any]]) -> str:
    if not licences:
        return "none"
    plain = all(set(one) == {"to"} and "|" not in one["to"] for one in licences)
    return "|".join(one["to"] for one in licences) if plain else _dumps(licences)


def write_json_row(work: Work, choice: Choice | None, parents: tuple[Work, ...]) -> str:
    """One JSON line, without its end."""
    out: dict[str, Any] = {"work": str(work), "parents": [str(parent) for parent in parents]}
    if choice is not None:
        out |= {"preferences": {}, **write_choice(choice)}
    return _dumps(out)


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _inert(text: str) -> str:
    """The text as a cell that no spreadsheet computes."""
    return f"'{text}" if text.startswith(_COMPUTED) or (text[:1] == "'" and text[1:2] in ("'", *_COMPUTED)) else text


def _plain(cell: str) -> str:
    """What `_inert` was given."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in ("'", *_COMPUTED) and len(cell) > 1 else cell

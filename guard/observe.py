"""What has been going on: meters per key, counted here and merged with the fleet's behind the requests.

The law of this file: no clock, no network, and bounded in keys and bytes whoever chooses the keys.

A meter is a number or a small set on a key (a client, a /24, an ASN, a work, the site). What is added here shows here
at once. `collect` hands over what was added since the last time, `stores/meters.lua` merges it into the fleet's
values, `merge` takes the fleet's values back. So of a key that is active here, what another worker has added shows
after at most two intervals (until theirs is sent, until ours is) and a round trip; elements of a set need one interval
more when the set has just been opened. Of a key that is not active here nothing is heard, unless one `ask`s.

Times are seconds of a clock that this process chooses; between processes only ages travel.
"""

from __future__ import annotations

import struct
import sys
from array import array
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import compress, count, islice
from math import exp2, inf
from operator import itemgetter, sub
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from guard.memo import Memo

if TYPE_CHECKING:
    Floats: TypeAlias = array[float]
    Numbers: TypeAlias = array[int]
else:
    Floats = Numbers = array

# -- what can be metered


@dataclass(frozen=True, slots=True)
class Decaying:
    """A sum in which everything counts half as much after each half-life."""

    name: str
    half_life_s: float


@dataclass(frozen=True, slots=True)
class Leaky:
    """The level of a leaky bucket: it drains at a rate and is never below nothing.

    The fleet's level is never less than that of one bucket that saw everything, and more by at most what drains
    within the time that an addition waited to be sent.
    """

    name: str
    rate_per_s: float


@dataclass(frozen=True, slots=True)
class Total:
    """A sum over the key's life: from its first addition until it has been idle for the time to live."""

    name: str


@dataclass(frozen=True, slots=True)
class LastSeen:
    """The newest moment something was added; -inf when never, so `now - it` is endless."""

    name: str


@dataclass(frozen=True, slots=True)
class FirstSeen:
    """The oldest moment something was added; inf when never, so `now - it` is less than any age."""

    name: str


@dataclass(frozen=True, slots=True)
class Distinct:
    """How many different elements; on the server a HyperLogLog, opened when the fleet has sighted `opens_at`.

    A sighting is an element that is new to its worker. Until then every worker keeps its elements, and hands them all
    over at the opening. Workers that never meet the key again keep theirs: fewer than `opens_at` of them all together.
    Here it is exact up to 64 elements, then a sketch of 1 KB with a standard error of 2.6 %; the server's is 0.81 %.
    At most `cap` elements wait for the server; what comes above (a long outage) is counted here only.
    """

    name: str
    opens_at: int = 16
    cap: int = 256


@dataclass(frozen=True, slots=True)
class Few:
    """The `cap` elements that came in last, not counting again what is in it; opened as `Distinct` is.

    Elements are kept as 8 bytes: integers of 64 bits as they are, bytes (and longer integers) as their `digest`.
    """

    name: str
    cap: int = 16
    opens_at: int = 8


@dataclass(frozen=True, slots=True)
class Runs(Few):
    """A `Few` of integers in which one looks for consecutive ones, `Reading.longest_run`."""


Spec: TypeAlias = Decaying | Leaky | Total | LastSeen | FirstSeen | Distinct | Few | Runs

LARGEST_CAP = 4096
"""Elements of one set: they travel as the arguments of one command."""

FOLLOWED, FOLLOWED_S, FOLLOW_S = 256, 30.0, 1.0
"""So many keys are asked after at most, each for so many seconds, and so many seconds apart."""

EXACT = 64
"""Elements that are counted one by one before the sketch begins."""


def digest(element: bytes) -> int:
    """The 64 bits (signed) that a set keeps of a bytes element; the same in every process."""
    return int.from_bytes(blake2b(element, digest_size=8).digest(), "little", signed=True)


def longest_run(numbers: Sequence[int]) -> int:
    """The length of the longest stretch of consecutive numbers."""
    # Of numbers in order, those of one stretch have the same distance to their place.
    return max(Counter(map(sub, sorted(set(numbers)), count())).values(), default=0)


# -- how the numbers of a key lie in memory and on the wire

_DECAYING, _TOTAL, _LEAKY, _LAST, _FIRST, _FEW, _DISTINCT = range(7)
_CELLS = {_DECAYING: 3, _TOTAL: 2, _LEAKY: 4, _LAST: 2, _FIRST: 2, _FEW: 3, _DISTINCT: 6}
_FRESH: dict[int, tuple[float, ...]] = {
    # The first is what is known (the fleet's, and what is here and not sent), the second what is not sent.
    _DECAYING: (0.0, 0.0, -inf),  # ..., both as of this moment
    _TOTAL: (0.0, 0.0),
    _LEAKY: (0.0, 0.0, 0.0, -inf),  # level, sum not sent, level that this sum alone makes, moment
    _LAST: (-inf, -inf),
    _FIRST: (inf, inf),
    _FEW: (0.0, 0.0, 0.0),  # sightings, not sent, how many of the last elements the server lacks
    _DISTINCT: (0.0, 0.0, 0.0, 0.0, 1.0, 0.0),  # ..., estimate, chance that a new one changes it, the server's count
}
_LETTERS = {_DECAYING: "d", _TOTAL: "t", _LEAKY: "l", _LAST: "n", _FIRST: "o", _FEW: "t", _DISTINCT: "t"}

_KINDS: dict[type, int] = {
    Decaying: _DECAYING,
    Total: _TOTAL,
    Leaky: _LEAKY,
    LastSeen: _LAST,
    FirstSeen: _FIRST,
    Distinct: _DISTINCT,
    Few: _FEW,
    Runs: _FEW,
}
_AGES = "no"
_MOMENTS = (_LAST, _FIRST)
_FORMAT = b"1"  # of the value on the server
_HEAD = 6  # bytes of a value before its numbers: the layout's digest, the server's milliseconds
_LONGEST_ELEMENT = 64  # bytes whose digest is worth remembering
_REGISTERS = 1024  # of the sketch
_WORD = (1 << 64) - 1


class _Plan(NamedTuple):
    """A set's spec, and where it lies: its first cell, its place among the sets, its sketch's place."""

    at: int
    slot: int
    sketch: int
    cap: int
    opens_at: int
    distinct: bool
    letter: bytes


class Layout:
    """Where every meter of a key lies, and how it travels. Raises ValueError for specs that cannot be kept.

    On the wire a key's numbers are one column a meter (of a set: its sightings), then one more for each leaky bucket:
    two bits a column say how wide it is (absent, 2, 4 or 8 bytes), then follow those that are there.
    """

    __slots__ = (
        "_shapes",
        "buckets",
        "columns",
        "constants",
        "digest",
        "fresh",
        "letters",
        "moments",
        "opened",
        "plans",
        "position",
        "sets",
        "slots",
        "specs",
        "told_of",
        "unsent_of",
    )

    def __init__(self, specs: Sequence[Spec]) -> None:
        self.specs = tuple(specs)
        self.position = {spec.name: index for index, spec in enumerate(self.specs)}
        if len(self.position) != len(self.specs):
            raise ValueError("two meters of one name")
        plans: list[tuple[int, int, float]] = []
        sets: dict[int, _Plan] = {}
        cells = [-inf]  # when the key was last touched
        for spec in self.specs:
            _check(spec)
            kind, at = _KINDS[type(spec)], len(cells)
            plans.append((kind, at, _constant(spec)))
            cells += _FRESH[kind]
            if isinstance(spec, (Distinct, Few)):
                distinct = isinstance(spec, Distinct)
                letter = bytes([48 + len(sets)])
                place = 2 * len(sets)
                sets[plans.index(plans[-1])] = _Plan(at, place, place + 1, spec.cap, spec.opens_at, distinct, letter)
        self.plans = tuple(plans)
        self.sets = sets
        self.slots = 2 * len(sets)
        self.fresh = array("d", cells)
        # Of most keys most meters stand at nothing: what does not is picked out of all its cells at once.
        self.columns = range(len(plans))
        self.moments = tuple(column for column, plan in enumerate(plans) if plan[0] in _MOMENTS)
        self.told_of, self.unsent_of = _picker([at for _, at, _ in plans]), _picker([at + 1 for _, at, _ in plans])
        self.opened = tuple((index, plan, plan.at, plan.opens_at) for index, plan in sets.items())
        leaky = [plan for plan in plans if plan[0] == _LEAKY]
        self.buckets = {plans.index(plan): number for number, plan in enumerate(leaky)}
        self.letters = "".join(_LETTERS[plan[0]] for plan in plans) + "m" * len(leaky)
        self.constants = [abs(plan[2]) for plan in plans] + [0.0] * len(leaky)
        self.digest = blake2b(_FORMAT + repr(self.specs).encode(), digest_size=4).digest()
        self._shapes: dict[bytes, tuple[struct.Struct, tuple[int, ...]]] = {}

    @property
    def suffix(self) -> bytes:
        """What stands behind a key's sealed name: two layouts live side by side while a fleet is being renewed."""
        return urlsafe_b64encode(self.digest[2:])[:2]

    def configuration(self, ttl_s: float) -> list[bytes]:
        """What the script must know of the meters: digest, milliseconds to live, a letter and a constant a column."""
        constants = struct.pack(f"<{len(self.constants)}d", *self.constants)
        return [self.digest[:2], b"%d" % max(1, int(ttl_s * 1000)), self.letters.encode(), constants]

    def encode(self, row: Sequence[float]) -> bytes:
        """One key's columns as they travel; ages are whole milliseconds and one."""
        bits = 0
        present: list[float] = []
        for column in compress(range(len(row)), row):
            value = row[column]
            if 0.0 < value <= 65535.0 and value.is_integer():
                width, value = 1, int(value)
            elif self.letters[column] in _AGES:
                width, value = 2 if value < 4294967296.0 else 3, int(value)
            else:
                width = 2 if -65536.0 < value < 65536.0 else 3
            bits |= width << 2 * column
            present.append(value)
        tags = bits.to_bytes((len(self.letters) + 3) // 4, "little")
        return tags + self._shape(tags)[0].pack(*present)

    def decode(self, value: bytes, at: int = 0) -> list[float]:
        """The columns again. Raises ValueError when these are not such."""
        begin = at + (len(self.letters) + 3) // 4
        shape, columns = self._shape(value[at:begin])
        if len(value) != begin + shape.size:
            raise ValueError("not a row of this layout")
        row = [0.0] * len(self.letters)
        for column, number in zip(columns, shape.unpack_from(value, begin), strict=True):
            row[column] = number
        return row

    def _shape(self, tags: bytes) -> tuple[struct.Struct, tuple[int, ...]]:
        found = self._shapes.get(tags)
        if found is None:
            bits = int.from_bytes(tags, "little")
            widths = [bits >> (2 * column) & 3 for column in range(len(self.letters))]
            columns = tuple(column for column, width in enumerate(widths) if width)
            letters = ["H" if widths[c] == 1 else ("I" if self.letters[c] in _AGES else "f") for c in columns]
            letters = ["d" if widths[c] == 3 else letter for c, letter in zip(columns, letters, strict=True)]
            if len(self._shapes) >= 1024:
                self._shapes.clear()
            found = self._shapes[tags] = (struct.Struct("<" + "".join(letters)), columns)
        return found


def _picker(cells: Sequence[int]) -> Callable[[Sequence[float]], tuple[float, ...]]:
    """Picks these cells of a row."""
    if len(cells) == 1:
        (only,) = cells
        return lambda row: (row[only],)
    return itemgetter(*cells) if cells else lambda row: ()


def _check(spec: Spec) -> None:
    if isinstance(spec, Decaying) and not 0.0 < spec.half_life_s < inf:
        raise ValueError(f"{spec.name}: the half-life must be above 0 s")
    if isinstance(spec, Leaky) and not 0.0 < spec.rate_per_s < inf:
        raise ValueError(f"{spec.name}: the rate must be above 0 a second")
    if isinstance(spec, (Distinct, Few)) and not (1 <= spec.cap <= LARGEST_CAP and spec.opens_at >= 1):
        raise ValueError(f"{spec.name}: cap must be 1 to {LARGEST_CAP}, opens_at 1 or more")
    if isinstance(spec, Distinct) and spec.cap < max(EXACT, spec.opens_at):
        raise ValueError(f"{spec.name}: cap must be {EXACT} and opens_at or more, or elements would be lost unopened")


def _constant(spec: Spec) -> float:
    if isinstance(spec, Decaying):
        return -1.0 / spec.half_life_s
    return spec.rate_per_s if isinstance(spec, Leaky) else 0.0


# -- one key's numbers, and the table


class _Row(Floats):
    """A key's cells; the first is when it was touched. `sets` holds elements and sketches once there are some."""

    __slots__ = ("dirty", "sets")
    dirty: bool
    sets: list[Numbers | bytearray | None] | None


class _Generation:
    """Half of the table, with what is not sent of it, oldest first."""

    __slots__ = ("dirty", "rows", "weight")

    def __init__(self) -> None:
        self.rows: dict[bytes, _Row] = {}
        self.dirty: dict[bytes, _Row] = {}
        self.weight = 0


_ROW_WEIGHT = sys.getsizeof(b"") + 16 + 112 + 64 + 110 + 48  # key, cells' object and block, two dict entries
_SETS_WEIGHT = 96
_ARRAY_WEIGHT = 112
_SKETCH_WEIGHT = _REGISTERS + 80


class Reading:
    """What a key's meters stood at in one moment: by index, as `meters.position` has them."""

    __slots__ = ("_layout", "_numbers", "_sets", "at_s")

    def __init__(self, layout: Layout, numbers: Floats, sets: tuple[Numbers | None, ...], at_s: float) -> None:
        self._layout = layout
        self._numbers = numbers
        self._sets = sets
        self.at_s = at_s

    def __getitem__(self, index: int) -> float:
        """The number; of a moment the seconds of this process's clock, of a set how many there are in it."""
        kind, at, constant = self._layout.plans[index]
        numbers = self._numbers
        if kind == _DECAYING:
            elapsed = self.at_s - numbers[at + 2]
            return numbers[at] * exp2(elapsed * constant) if elapsed > 0.0 else numbers[at]
        if kind == _LEAKY:
            elapsed = self.at_s - numbers[at + 3]
            return max(0.0, numbers[at] - elapsed * constant) if elapsed > 0.0 else numbers[at]
        if kind == _DISTINCT:
            return max(numbers[at + 3], numbers[at + 5])
        if kind == _FEW:
            return float(len(self.elements(index)))
        return numbers[at]

    def elements(self, index: int) -> tuple[int, ...]:
        """What is in a `Few` or `Runs`, newest last; bytes as their `digest`."""
        plan = self._layout.sets[index]
        found = self._sets[plan.slot] if self._sets and not plan.distinct else None
        return tuple(found) if found is not None else ()

    def longest_run(self, index: int) -> int:
        """The longest stretch of consecutive numbers in a `Runs`."""
        return longest_run(self.elements(index))

    def named(self) -> dict[str, float]:
        """All numbers by name, for people."""
        return {name: self[index] for name, index in self._layout.position.items()}

    def __repr__(self) -> str:
        return f"Reading({', '.join(f'{name}={value:g}' for name, value in self.named().items())})"


Pushes: TypeAlias = list[tuple[int, Numbers]]


@dataclass(slots=True)
class Batch:
    """What was added to some keys and not sent, as of one moment. It is merged or restored once, and then over."""

    layout: Layout
    ttl_s: float
    at_s: float
    keys: list[bytes] = field(default_factory=list)
    rows: list[list[float]] = field(default_factory=list)
    pushes: list[Pushes] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[tuple[bytes, list[float], Pushes]]:
        return zip(self.keys, self.rows, self.pushes, strict=True)

    @property
    def answers(self) -> int:
        """How many answers the server gives: one a key, one a set."""
        return len(self.keys) + sum(map(len, self.pushes))

    def split(self, tag_of: Callable[[bytes], bytes]) -> list[Batch]:
        """One batch for each tag (each is merged or restored for itself)."""
        parts: dict[bytes, Batch] = {}
        for key, row, pushes in self:
            tag = tag_of(key)
            part = parts.get(tag)
            if part is None:
                part = parts[tag] = Batch(self.layout, self.ttl_s, self.at_s)
            part.keys.append(key)
            part.rows.append(row)
            part.pushes.append(pushes)
        return list(parts.values())

    def command(self, seal: Callable[[bytes], bytes]) -> tuple[list[bytes], list[bytes]]:
        """KEYS and ARGV for meters.lua. All names of a key begin with `seal(key)`, so they have its hash tag."""
        layout, suffix = self.layout, self.layout.suffix
        names: list[bytes] = []
        arguments = layout.configuration(self.ttl_s)
        for key, row, pushes in self:
            name = seal(key) + suffix
            names.append(name)
            arguments.append(bytes((len(pushes),)) + layout.encode(row))
            for index, elements in pushes:
                plan = layout.sets[index]
                names.append(name + plan.letter)
                head = struct.pack("<cH", b"d" if plan.distinct else b"f", plan.cap)
                arguments.append(head + struct.pack(f"<{len(elements)}q", *elements))
        return names, arguments


class Meters:
    """The meters of at most `max_keys` keys in at most `max_bytes` (an estimate), gone `ttl_s` after their last use.

    Keys live in two generations: one that is added to moves to the young one, and when that holds half of what there
    may be, it becomes the old one and the old one is dropped, a few keys at each new key so that nobody waits for it.
    `evictions` counts the keys dropped for room, `lost` those of them that had something not sent. `failures` counts
    the answers that were an error (another program's value under our name), `dropped` the elements of distinct
    counters that the server was not told because too many waited.
    """

    def __init__(
        self, specs: Sequence[Spec], *, max_keys: int = 50_000, max_bytes: int = 32 << 20, ttl_s: float = 900.0
    ) -> None:
        self.layout = Layout(specs)
        self.position = self.layout.position
        self.ttl_s = ttl_s
        self.urgent = False  # somebody waits for the fleet's word on a key
        self.hurry: Callable[[], None] | None = None  # what a store wants to be called then
        self.evictions = self.lost = self.failures = self.dropped = 0
        self._followed: dict[bytes, float] = {}  # key: from when on it is followed
        self._follow_due_s = -inf
        self._plans = self.layout.plans
        self._slots = tuple(
            (self.layout.sets[i].slot, self.layout.sets[i].distinct) if i in self.layout.sets else (-1, False)
            for i in range(len(specs))
        )
        self._digests: Memo[bytes, int] = Memo(2048)
        self._base = _ROW_WEIGHT + 8 * len(self.layout.fresh)
        self._half_keys = max(1, max_keys // 2)
        self._max_bytes = max_bytes
        self._half_bytes = max_bytes // 2
        self._young, self._old, self._dying = _Generation(), _Generation(), _Generation()
        self._rows, self._dirty = self._young.rows, self._young.dirty
        self._turned_s: float | None = None  # unknown until the next collect

    @property
    def keys(self) -> int:
        return len(self._young.rows) + len(self._old.rows) + len(self._dying.rows)

    @property
    def memory_bytes(self) -> int:
        """About how much memory the keys take."""
        return self._young.weight + self._old.weight + self._dying.weight

    @property
    def unsent(self) -> int:
        """How many keys wait for `collect`."""
        return len(self._young.dirty) + len(self._old.dirty)

    def __repr__(self) -> str:
        return f"Meters({self.keys} keys, {self.memory_bytes} bytes, {self.unsent} unsent)"

    # -- on the request's path

    def add(self, key: bytes, index: int, amount: float, now_s: float) -> None:
        """Count `amount` (not negative) on a meter that is no set; for a moment the amount does not matter."""
        row = self._rows.get(key)
        if row is None or now_s - row[0] > self.ttl_s:
            row = self._enter(key, now_s)
        row[0] = now_s
        if not row.dirty:
            row.dirty = True
            self._dirty[key] = row
        kind, at, constant = self._plans[index]
        if kind == _DECAYING:
            elapsed = now_s - row[at + 2]
            if elapsed > 0.0:
                kept = exp2(elapsed * constant)
                row[at] = row[at] * kept + amount
                row[at + 1] = row[at + 1] * kept + amount
                row[at + 2] = now_s
            else:
                row[at] += amount
                row[at + 1] += amount
        elif kind == _TOTAL:
            row[at] += amount
            row[at + 1] += amount
        elif kind == _LEAKY:
            _leak(row, at, constant, now_s)
            row[at] += amount
            row[at + 1] += amount
            row[at + 2] += amount
        elif kind == _LAST:
            if now_s > row[at]:
                row[at] = now_s
            if now_s > row[at + 1]:
                row[at + 1] = now_s
        elif kind == _FIRST:
            if now_s < row[at]:
                row[at] = row[at + 1] = now_s
        else:
            raise TypeError(f"{self.layout.specs[index].name} is a set: see() an element")

    def see(self, key: bytes, index: int, element: bytes | int, now_s: float) -> None:
        """Note an element in a set."""
        row = self._rows.get(key)
        if row is None or now_s - row[0] > self.ttl_s:
            row = self._enter(key, now_s)
        row[0] = now_s
        slot, distinct = self._slots[index]
        if isinstance(element, bytes):
            number = self._digests.young.get(element) or self._digest(element)
        elif distinct or not -0x8000_0000_0000_0000 <= element <= 0x7FFF_FFFF_FFFF_FFFF:
            number = self._digest(b"%d" % element)
        else:
            number = element
        sets = row.sets
        if sets is not None:
            known = sets[slot]
            if known is not None and number in known:
                return
        self._enlist(key, row, index, number)

    def read(self, key: bytes, now_s: float) -> Reading | None:
        """The fleet's values as last heard, with what was added here since, as of now; None for an unknown key."""
        row = self._rows.get(key) or self._old.rows.get(key)
        if row is None or now_s - row[0] > self.ttl_s:
            return None
        sets = tuple([s[:] if s.__class__ is array else None for s in row.sets]) if row.sets else ()
        return Reading(self.layout, row[:], sets, now_s)

    def view(self, key: bytes, now_s: float) -> Reading | None:
        """As `read`, for who asks at once and keeps nothing: it changes with the key's numbers."""
        row = self._rows.get(key) or self._old.rows.get(key)
        if row is None or now_s - row[0] > self.ttl_s:
            return None
        return Reading(self.layout, row, row.sets or (), now_s)  # type: ignore[arg-type]

    def ask(self, key: bytes, now_s: float) -> None:
        """Have the fleet's values of a key brought at the next sync, without adding anything; it is hurried."""
        self._want(key, now_s)
        self.press()

    def press(self) -> None:
        """What waits is urgent: somebody waits for the fleet's word, or the fleet should hear of something soon."""
        if not self.urgent:
            self.urgent = True
            if self.hurry is not None:
                self.hurry()

    def follow(self, key: bytes, from_s: float) -> None:
        """Have the fleet's values of a key brought each FOLLOW_S, for FOLLOWED_S from a moment on, seen here or not.
        Where nobody shares, this is nothing."""
        if self.hurry is None:
            return
        followed = self._followed
        followed.pop(key, None)
        if len(followed) >= FOLLOWED:
            del followed[next(iter(followed))]
        followed[key] = from_s

    @property
    def follows_at_s(self) -> float:
        """When somebody is to be asked after next; inf when nobody is."""
        return max(self._follow_due_s, min(self._followed.values(), default=inf))

    # -- behind the requests

    def _follow(self, now_s: float) -> None:
        self._follow_due_s = now_s + FOLLOW_S
        for key, from_s in list(self._followed.items()):
            if from_s + FOLLOWED_S < now_s:
                del self._followed[key]
            elif from_s <= now_s:
                self._want(key, now_s)

    def collect(self, now_s: float, limit: int = 512) -> Batch | None:
        """What waits of at most `limit` keys, oldest first; None when nothing does."""
        self._expire(now_s)
        self.urgent = False
        if self._followed and now_s >= self._follow_due_s:
            self._follow(now_s)
        batch = Batch(self.layout, self.ttl_s, now_s)
        for generation in (self._old, self._young):
            for key in list(islice(generation.dirty, limit - len(batch))):
                row = generation.dirty.pop(key)
                row.dirty = False
                batch.keys.append(key)
                batch.rows.append(self._take(row, now_s))
                batch.pushes.append(self._push(generation, row))
        return batch if batch.keys else None

    def merge(self, batch: Batch, reply: Sequence[object], now_s: float) -> None:
        """Take in the server's answer. Raises ValueError, with nothing changed, when it answers something else."""
        if len(reply) != batch.answers:
            raise ValueError(f"{len(reply)} answers to {batch.answers} questions")
        answers = iter(reply)
        for key, _, pushes in batch:
            told = next(answers)
            of_sets = [next(answers) for _ in pushes]
            generation = self._young if key in self._young.rows else self._old
            row = generation.rows.get(key)
            if row is None:
                continue
            try:
                if not isinstance(told, bytes):
                    raise ValueError("an error")
                self._hear(row, self.layout.decode(told, _HEAD), now_s)
            except ValueError:
                self.failures += 1
            for (index, _), answer in zip(pushes, of_sets, strict=True):
                self._hear_set(generation, row, self.layout.sets[index], answer)
            told_of = [index for index, _ in pushes]
            for index, _, at, opens_at in self.layout.opened:
                if row[at] >= opens_at and index not in told_of:
                    self._mark(generation, key, row)  # it has been opened: what waits here can go, next time
        self._fit()

    def restore(self, batch: Batch) -> None:
        """The call failed: all of it waits again. If the server had done it after all, it will count twice."""
        for key, deltas, pushes in batch:
            row = self._rows.get(key)
            if row is None:
                row = self._enter(key, batch.at_s)
            new = row[0] == -inf
            if new:
                row[0] = batch.at_s
            self._give_back(row, deltas, batch.at_s, known=new)
            for index, elements in pushes:
                plan = self.layout.sets[index]
                if row.sets is None:
                    row.sets = [None] * self.layout.slots
                    self._young.weight += _SETS_WEIGHT
                kept = row.sets[plan.slot]
                mine = list(kept) if kept is not None else []
                fresh = int(row[plan.at + 2])
                known, waiting = (mine[:-fresh], mine[-fresh:]) if fresh else (mine, [])
                sent = [element for element in elements if element not in waiting]
                known = [element for element in known if element not in sent]
                self._replace(self._young, row, plan, known + sent + waiting, len(sent) + len(waiting))
            self._mark(self._young, key, row)
            self._fit()

    # -- numbers

    def _take(self, row: _Row, now_s: float) -> list[float]:
        """The columns of what is not sent, as of now; afterwards all is."""
        columns = list(self.layout.unsent_of(row))
        levels = [0.0] * len(self.layout.buckets)
        for column in compress(self.layout.columns, columns):
            kind, at, constant = self._plans[column]
            unsent = columns[column]
            if kind == _DECAYING:
                elapsed = now_s - row[at + 2]
                if elapsed > 0.0:
                    columns[column] = unsent * exp2(elapsed * constant)
                row[at + 1] = 0.0
            elif kind not in _MOMENTS:
                row[at + 1] = 0.0
                if kind == _LEAKY:
                    _leak(row, at, constant, now_s)
                    levels[self.layout.buckets[column]] = row[at + 2]
                    row[at + 2] = 0.0
        for column in self.layout.moments:  # any number may be a moment
            kind, at, _ = self._plans[column]
            unsent, columns[column] = columns[column], 0.0
            if -inf < unsent < inf:
                columns[column] = float(max(0, round((now_s - unsent) * 1000.0)) + 1)
                row[at + 1] = -inf if kind == _LAST else inf
        return columns + levels

    def _hear(self, row: _Row, columns: list[float], now_s: float) -> None:
        """Put the fleet's values in place, and on top what was added here since they were asked for."""
        layout = self.layout
        standing = compress(layout.columns, layout.told_of(row))
        for column in {*layout.moments, *compress(layout.columns, columns), *standing}:
            kind, at, constant = self._plans[column]
            value = columns[column]
            if kind == _DECAYING:
                elapsed = now_s - row[at + 2]
                if elapsed > 0.0:
                    row[at + 1] *= exp2(elapsed * constant)
                    row[at + 2] = now_s
                row[at] = value + row[at + 1]
            elif kind == _LEAKY:
                _leak(row, at, constant, now_s)
                row[at] = value + row[at + 1]
            elif kind == _LAST:
                if value:
                    row[at] = max(row[at], now_s - (value - 1.0) / 1000.0)
            elif kind == _FIRST:
                moment = now_s - (value - 1.0) / 1000.0 if value else inf
                if moment > row[at] + 1.0:
                    row[at + 1] = row[at]  # the server has forgotten
                row[at] = min(row[at], moment)
            else:
                row[at] = value + row[at + 1]

    def _give_back(self, row: _Row, columns: list[float], at_s: float, *, known: bool) -> None:
        """Columns of a moment are not sent again; `known` when they are all that is known of the key."""
        levels = iter(columns[len(self._plans) :])
        for (kind, at, constant), value in zip(self._plans, columns, strict=False):
            if kind == _DECAYING:
                elapsed = at_s - row[at + 2]
                if elapsed > 0.0:
                    kept = exp2(elapsed * constant)
                    row[at] *= kept
                    row[at + 1] *= kept
                    row[at + 2] = at_s
                else:
                    value *= exp2(-elapsed * constant)
                row[at + 1] += value
            elif kind == _LEAKY:
                _leak(row, at, constant, at_s)
                level = next(levels) - (row[at + 3] - at_s) * constant
                row[at + 2] = max(row[at + 2], level + row[at + 1])
                row[at + 1] += value
                value = row[at + 2]
            elif kind in (_LAST, _FIRST):
                if value:
                    moment = at_s - (value - 1.0) / 1000.0
                    pick = max if kind == _LAST else min
                    row[at] = pick(row[at], moment)
                    row[at + 1] = pick(row[at + 1], moment)
                continue
            else:
                row[at + 1] += value
            if known:
                row[at] += value

    # -- sets

    def _enlist(self, key: bytes, row: _Row, index: int, element: int) -> None:
        """An element that is new here, or that nobody remembers."""
        plan = self.layout.sets.get(index)
        if plan is None:
            raise TypeError(f"{self.layout.specs[index].name} is no set: add() to it")
        young = self._young
        self._mark(young, key, row)
        at = plan.at
        if row[at] < plan.opens_at:
            row[at] += 1.0
            row[at + 1] += 1.0
        sets = row.sets
        if sets is None:
            sets = row.sets = [None] * self.layout.slots
            young.weight += _SETS_WEIGHT
        elements = sets[plan.slot]
        if elements is None:
            elements = sets[plan.slot] = array("q")
            young.weight += _ARRAY_WEIGHT
        sketch = sets[plan.sketch]
        if sketch is not None:
            _sketch(row, at, sketch, element)  # type: ignore[arg-type]
            if len(elements) >= plan.cap:
                self.dropped += 1
                return
        elements.append(element)
        young.weight += 8
        row[at + 2] += 1.0
        if plan.distinct:
            if sketch is None:
                row[at + 3] += 1.0
                if len(elements) > EXACT:
                    self._begin_sketch(young, row, plan)
        elif len(elements) > plan.cap:
            del elements[0]
            young.weight -= 8
            row[at + 2] = min(row[at + 2], plan.cap)
        if young.weight > self._half_bytes:
            self._turn()
        if self._dying.rows:
            self._bury(2)

    def _begin_sketch(self, generation: _Generation, row: _Row, plan: _Plan) -> None:
        """From now on elements are only kept until they are sent."""
        assert row.sets is not None
        elements: Numbers = row.sets[plan.slot]  # type: ignore[assignment]
        sketch = row.sets[plan.sketch] = bytearray(_REGISTERS)
        generation.weight += _SKETCH_WEIGHT
        for element in elements:
            _sketch(row, plan.at, sketch, element)
        row[plan.at + 3] = len(elements)
        fresh = int(row[plan.at + 2])
        self._replace(generation, row, plan, list(elements)[-fresh:] if fresh else [], fresh)

    def _push(self, generation: _Generation, row: _Row) -> Pushes:
        """The open sets, each with what the server lacks of it."""
        pushes: Pushes = []
        if row.sets is None:
            # Others may have opened a set in which this worker has put nothing.
            return [(index, array("q")) for index, _, at, opens_at in self.layout.opened if row[at] >= opens_at]
        for index, plan, at, opens_at in self.layout.opened:
            if row[at] < opens_at:
                continue
            elements = row.sets[plan.slot]
            fresh = int(row[plan.at + 2])
            pushes.append((index, elements[-fresh:] if fresh and elements is not None else array("q")))  # type: ignore[arg-type]
            row[plan.at + 2] = 0.0
            if row.sets[plan.sketch] is not None:
                self._replace(generation, row, plan, [], 0)
        return pushes

    def _hear_set(self, generation: _Generation, row: _Row, plan: _Plan, answer: object) -> None:
        if plan.distinct and isinstance(answer, int):
            row[plan.at + 5] = answer
        elif not plan.distinct and isinstance(answer, bytes) and len(answer) % 8 == 0:
            theirs = list(struct.unpack(f"<{len(answer) // 8}q", answer))
            if row.sets is None:
                row.sets = [None] * self.layout.slots
                generation.weight += _SETS_WEIGHT
            mine = row.sets[plan.slot]
            fresh = int(row[plan.at + 2])
            waiting = [e for e in mine[-fresh:] if e not in theirs] if fresh and mine is not None else []
            self._replace(generation, row, plan, theirs + waiting, len(waiting))
        else:
            self.failures += 1

    def _replace(self, generation: _Generation, row: _Row, plan: _Plan, elements: list[int], fresh: int) -> None:
        """Put these elements in the place of those that were; the newest are kept, `fresh` at the end are not sent."""
        assert row.sets is not None
        before = row.sets[plan.slot]
        generation.weight -= _ARRAY_WEIGHT + 8 * len(before) if before is not None else 0
        if plan.distinct and row.sets[plan.sketch] is not None:
            self.dropped += max(0, len(elements) - plan.cap)
        kept = array("q", elements[-plan.cap :])
        row.sets[plan.slot] = kept
        generation.weight += _ARRAY_WEIGHT + 8 * len(kept)
        row[plan.at + 2] = min(fresh, len(kept))
        if plan.distinct and row.sets[plan.sketch] is None:
            row[plan.at + 3] = len(kept)
            if len(kept) > EXACT:
                self._begin_sketch(generation, row, plan)

    def _digest(self, element: bytes) -> int:
        found = self._digests.get(element)
        if found is None:
            found = digest(element)
            if len(element) <= _LONGEST_ELEMENT:
                self._digests.keep(element, found)
        return found

    # -- the table

    def _want(self, key: bytes, now_s: float) -> None:
        row = self._rows.get(key)
        if row is None or now_s - row[0] > self.ttl_s:
            row = self._enter(key, now_s)
        row[0] = now_s
        self._mark(self._young, key, row)

    def _mark(self, generation: _Generation, key: bytes, row: _Row) -> None:
        if not row.dirty:
            row.dirty = True
            generation.dirty[key] = row

    def _weigh(self, key: bytes, row: _Row) -> int:
        weight = self._base + len(key)
        if row.sets is not None:
            weight += _SETS_WEIGHT
            for each in row.sets:
                if each is not None:
                    weight += _ARRAY_WEIGHT + 8 * len(each) if isinstance(each, array) else _SKETCH_WEIGHT
        return weight

    def _enter(self, key: bytes, now_s: float) -> _Row:
        """The key's row in the young generation: moved there, or new."""
        row = self._rows.get(key)
        if row is not None:
            self._forget(self._young, key, row)
        elif (row := self._old.rows.get(key)) is not None:
            self._forget(self._old, key, row)
        if row is None or now_s - row[0] > self.ttl_s:
            row = _Row("d", self.layout.fresh)
            row.sets = None
            row.dirty = False
        weight = self._weigh(key, row)
        if len(self._rows) >= self._half_keys or self._young.weight + weight > self._half_bytes:
            self._turn()
        self._rows[key] = row
        self._young.weight += weight
        if row.dirty:
            self._dirty[key] = row
        self._bury(2)
        return row

    def _forget(self, generation: _Generation, key: bytes, row: _Row) -> None:
        del generation.rows[key]
        generation.dirty.pop(key, None)
        generation.weight -= self._weigh(key, row)

    def _turn(self) -> None:
        self.evictions += len(self._old.rows)
        self.lost += len(self._old.dirty)
        self._dying, self._old, self._young = self._old, self._young, _Generation()
        self._dying.dirty = {}
        self._turned_s = None
        self._rows, self._dirty = self._young.rows, self._young.dirty

    def _bury(self, keys: int) -> None:
        """Let go of so many of the dropped keys, and of more while there is too little room."""
        dying = self._dying
        while dying.rows and (keys > 0 or self.memory_bytes > self._max_bytes):
            key, row = dying.rows.popitem()
            dying.weight -= self._weigh(key, row)
            keys -= 1

    def _fit(self) -> None:
        """After growth behind the requests."""
        if self._young.weight > self._half_bytes:
            self._turn()
        self._bury(0)
        while self.memory_bytes > self._max_bytes:
            self._turn()

    def _expire(self, now_s: float) -> None:
        """Turn also when a generation has had its time, so that what is idle goes; each call costs little."""
        if self._turned_s is None or now_s < self._turned_s:
            self._turned_s = now_s
        elif now_s - self._turned_s > self.ttl_s:
            evictions = self.evictions
            self._turn()
            self.evictions, self._turned_s = evictions, now_s
        self._bury(1000)


def _leak(row: _Row, at: int, rate: float, now_s: float) -> None:
    """Let a bucket drain until now, in the fleet and as far as it is not sent."""
    elapsed = now_s - row[at + 3]
    if elapsed > 0.0:
        drained = elapsed * rate
        level, unsent = row[at] - drained, row[at + 2] - drained
        row[at] = level if level > 0.0 else 0.0
        row[at + 2] = unsent if unsent > 0.0 else 0.0
        row[at + 3] = now_s


def _sketch(row: _Row, at: int, registers: bytearray, element: int) -> None:
    """Count an element in the sketch: HyperLogLog's registers, read by the historic inverse probability.

    Flajolet et al. 2007 for the registers; Cohen 2014 and Ting 2014 for the estimate: each change counts for as many
    elements as its chance was rare. Unbiased at any size, standard error sqrt(ln 2 / 1024) = 2.6 %, read for nothing.
    """
    word = element & _WORD
    register = word & (_REGISTERS - 1)
    rank = 55 - (word >> 10).bit_length()
    before = registers[register]
    if rank > before:
        registers[register] = rank
        chance = row[at + 4]
        row[at + 3] += 1.0 / chance
        row[at + 4] = chance - (exp2(-before) - exp2(-rank)) / _REGISTERS

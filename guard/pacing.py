"""The limits of a policy to values: one method a word, every fault noted with its line and a way out.

What a limit is for, its `when`, is read where all conditions are, in `blocks.py`. Nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from guard import language
from guard.amounts import Amount, read_amount, read_bitrate, read_quota, read_rate, write_amount
from guard.documents import Mapping, Scalar
from guard.model import BITRATE, PRECISIONS, Limit, Site
from guard.nodes import NodeReader

T = TypeVar("T")

PERIODS_S = {"day": 86_400.0, "month": 2_592_000.0}
LONGEST_BURST_S = 100 * 366 * 86_400
"""What comes back only in more than a hundred years is no burst, and too long for the sums of a store."""

_NEEDS = {
    "account": "needs 'site: account', where it is read from: {header: x-account}",
    "session": "needs 'site: session', where it is read from: {cookie: sid}",
    "asn": "needs 'site: asn_table', the file that tells whose network an address is in",
    "work": "needs 'rights', which tell what address is of which work",
}


class Pace(NamedTuple):
    """How much, of what, over which time: the words that exclude one another, read."""

    kind: str
    amount: Amount
    window_s: float
    burst: int
    period: str = ""


class LimitReader(NodeReader):
    """Reads one entry of `limits` after the other."""

    def __init__(self, file: str) -> None:
        super().__init__(file)
        self._limits: dict[str, Limit] = {}  # of the file and of all its hosts

    def limit(self, item: Mapping, seen: dict[str, int], site: Site, has_rights: bool) -> Limit | None:
        taken = len(seen)
        name = self.named(item, "limits: ", seen)
        where = f"limit '{name}': "
        self.keys(item, language.LIMIT.names, where)
        pace = self.pace(item, where)
        key = self.limit_key(item, site, has_rights, where)
        if pace is None:
            return None
        made = Limit(
            name=name,
            count=pace.amount.number,
            window_s=pace.window_s,
            burst=pace.burst,
            key=key,
            line=item.line,
            file=item.file or self.file,
            kind=pace.kind,
            period=pace.period,
            precision=self.precision(item, pace, where),
            unit=pace.amount.unit,
            cost=self.limit_cost(item, pace, where),
            bitrate=self.bitrate(item, pace, where),
        )
        known = self._limits.setdefault(name, made)
        if known != made and len(seen) > taken:  # else it is named twice, which was said
            self.refuse(
                item,
                f"{where}another one on line {known.line} has this name, and what is counted is one for all hosts: "
                "give it a name of its own",
            )
        return known if known == made else made

    # -- how much ----------------------------------------------------------------------------------------

    def pace(self, item: Mapping, where: str) -> Pace | None:
        """What exactly one of `rate`, `quota` and `at_once` says."""
        said = [word for word in language.PACES if item.get(word) is not None]
        if len(said) != 1:
            if not said:
                self.refuse(item, f"{where}needs 'rate' (60/min), 'quota' (50/day) or 'at_once' (3)")
            for word in said[1:]:
                node = item.get(word) or item
                self.refuse(node, f"{where}'{word}' and '{said[0]}' exclude each other: make two limits")
            return None
        if said != ["rate"] and (burst := item.get("burst")) is not None:
            self.refuse(burst, f"{where}'burst' goes with 'rate'")
        read = {"rate": self.rate, "quota": self.quota, "at_once": self.at_once}[said[0]]
        return read(item, where)

    def rate(self, item: Mapping, where: str) -> Pace | None:
        read = self.written(item, "rate", read_rate, where)
        if read is None:
            return None
        amount, window_s = read
        burst = self.burst(item, amount, where)
        if burst * window_s / amount.number > LONGEST_BURST_S:
            self.refuse(item.get("burst") or item, f"{where}'burst' is more than the rate gives in a hundred years")
        return Pace("rate", amount, window_s, burst)

    def burst(self, item: Mapping, amount: Amount, where: str) -> int:
        """In the unit of the rate; what the rate gives in its time, when nothing is said."""
        node = item.get("burst")
        if node is None:
            return amount.number
        if amount.unit == "requests":
            number = self.number(item, "burst", where, amount.number)
            if number < 1:
                self.refuse(node, f"{where}'burst' must be at least 1")
            return max(1, number)
        read = self.written(item, "burst", read_amount, where)
        if read is not None and read.unit != amount.unit:
            like = write_amount(amount.number, amount.unit)
            self.refuse(node, f"{where}'burst' is in the unit of 'rate': write it like {like}")
        return read.number if read is not None else amount.number

    def quota(self, item: Mapping, where: str) -> Pace | None:
        read = self.written(item, "quota", read_quota, where)
        if read is None:
            return None
        amount, period = read
        return Pace("quota", amount, PERIODS_S[period], amount.number, period)

    def at_once(self, item: Mapping, where: str) -> Pace | None:
        number = self.number(item, "at_once", where, 1)
        if not 1 <= number <= language.MAX_AT_ONCE:
            self.refuse(item.get("at_once") or item, f"{where}'at_once' is from 1 to {language.MAX_AT_ONCE}")
        return Pace("concurrent", Amount(max(1, number)), 0.0, max(1, number))

    def written(self, item: Mapping, word: str, read: Callable[[str], T], where: str) -> T | None:
        """What `read` makes of the text behind a word; None, and a problem, when it makes nothing of it."""
        node = item.get(word)
        try:
            return read(node.text if isinstance(node, Scalar) else "")
        except ValueError as error:
            self.refuse(node or item, f"{where}'{word}' {error}")
            return None

    # -- how it is counted -------------------------------------------------------------------------------

    def limit_key(self, item: Mapping, site: Site, has_rights: bool, where: str) -> tuple[str, ...]:
        """What is counted together. A part that could never be told is refused, for it would count nobody apart."""
        there = {
            "account": site.account is not None,
            "session": site.session is not None,
            "asn": bool(site.asn_table),
            "work": has_rights,
        }
        found: list[str] = []
        for node in self.texts(item.get("key"), where):
            word = self.one_of(node, language.LIMIT_KEYS, "limit key", where)
            if word is not None and not there.get(word, True):
                self.refuse(node, f"{where}key '{word}' {_NEEDS[word]}")
            if word is not None:
                found.append(word)
        return tuple(found) or ("client",)

    def precision(self, item: Mapping, pace: Pace, where: str) -> str:
        node = item.get("precision")
        word = self.one_of(node, PRECISIONS, "precision", where) if node is not None else None
        if pace.kind == "rate":
            return word or "leased"
        if node is not None and word == "leased":
            what = "a quota loses nothing by being" if pace.kind == "quota" else "places can only be"
            self.refuse(node, f"{where}{what} counted exactly: leave 'precision' out")
        return "exact"

    def limit_cost(self, item: Mapping, pace: Pace, where: str) -> int:
        node = item.get("cost")
        if node is None:
            return 1
        cost = self.cost(item, where)
        if pace.kind == "concurrent":
            self.refuse(node, f"{where}'cost' does not go with 'at_once': each answer takes one place")
        elif pace.amount.unit != "requests":
            self.refuse(node, f"{where}'cost' is for requests: bytes and audio cost what was sent")
        elif cost > pace.burst:
            word = "quota" if pace.kind == "quota" else "burst"
            self.refuse(node, f"{where}'cost' {cost} is more than '{word}' {pace.burst}: nothing could ever pass")
        return cost

    def cost(self, item: Mapping, where: str) -> int:
        """A cost of a limit or of a rule."""
        cost = self.number(item, "cost", where, 1)
        if 1 <= cost <= language.MAX_COST:
            return cost
        self.refuse(item.get("cost") or item, f"{where}'cost' is from 1 to {language.MAX_COST}")
        return 1

    def bitrate(self, item: Mapping, pace: Pace, where: str) -> int:
        node = item.get("bitrate")
        if node is None:
            return BITRATE
        if pace.amount.unit != "audio-seconds":
            self.refuse(node, f"{where}'bitrate' goes with a limit on audio: write '16 h audio/day'")
        return self.written(item, "bitrate", read_bitrate, where) or 1

"""The policy's `detection` to values: how undeclared scraping is looked for, and what suspicion leads to."""

from __future__ import annotations

import re
from itertools import pairwise

from guard import language
from guard.amounts import read_bitrate
from guard.documents import Mapping, Node, Scalar, Sequence
from guard.errors import Problem
from guard.model import BITRATE, DEFAULT_STAGES, ROUTE_CLASSES, STAGES, SUSPECTS, Detecting, Limit, Mode, Stage
from guard.pacing import LimitReader

_FIELD = re.compile(r"[A-Za-z0-9-]{1,64}")
_DOCUMENTS = ("page", "search")
_WHERE = "detection: "


class DetectionReader(LimitReader):
    """Reads the block `detection`."""

    def pattern(self, node: Scalar, where: str) -> str | None:
        """A path pattern, read as everywhere in a policy."""
        raise NotImplementedError

    def detection(self, document: Mapping, limits: dict[str, Limit]) -> Detecting | None:
        """None when the policy does not say that it looks for any."""
        node = self.mapping(document.get("detection"), _WHERE)
        if node is None:
            return None
        self.keys(node, language.DETECTION.names, _WHERE)
        mode = node.get("mode")
        said = self.one_of(mode, language.MODES, "mode", _WHERE) if mode is not None else None
        site = self.mapping(document.get("site"), "site: ")
        return Detecting(
            mode=Mode(said) if said else None,
            challenge=self.flag(node, "challenge", _WHERE),
            traps=self._paths(node.get("traps"), f"{_WHERE}traps: "),
            downloads=self._paths(node.get("downloads"), f"{_WHERE}downloads: "),
            steps=self._steps(node, limits),
            segment_s=float(self._within(node, "segment_seconds", 10, 1, 120)),
            bitrate=self._bitrate(node),
            refuse_s=60.0 * self._within(node, "refuse_minutes", 10, 1, 60),
            downloads_a_day=self._within(node, "downloads_a_day", 100, 1, 1_000_000),
            audio_a_day_s=3600.0 * self._within(node, "audio_hours_a_day", 24, 1, 1_000),
            hints=node.get("hints") is None or self.flag(node, "hints", _WHERE),
            protocol_header=self._field(node, site, "protocol_header"),
            ja4_header=self._field(node, site, "ja4_header"),
            header_order=self.flag(node, "header_order", _WHERE),
            secure=self.flag(node, "https", _WHERE) if node.get("https") is not None else None,
        )

    def _paths(self, node: Node | None, where: str) -> tuple[str, ...]:
        if node is None or (isinstance(node, Sequence) and not node.items):
            return ()
        found = (self.pattern(item, where) for item in self.texts(node, where))
        return tuple(path for path in found if path)

    def _within(self, node: Mapping, word: str, default: int, least: int, most: int) -> int:
        number = self.number(node, word, _WHERE, default)
        if not least <= number <= most:
            self.refuse(node.get(word) or node, f"{_WHERE}'{word}' is a whole number from {least} to {most}")
        return number

    def _bitrate(self, node: Mapping) -> int:
        said = node.get("bitrate")
        if said is None:
            return BITRATE
        try:
            return read_bitrate(self.text(node, "bitrate", _WHERE))
        except ValueError as error:
            self.refuse(said, f"{_WHERE}bitrate: {error}")
            return BITRATE

    def _field(self, node: Mapping, site: Mapping | None, word: str) -> str:
        """The name of a header that only a trusted hop may write."""
        name = self.text(node, word, _WHERE)
        if not name:
            return ""
        at = node.get(word) or node
        if not _FIELD.fullmatch(name):
            self.refuse(at, f"{_WHERE}{word}: '{name[:60]}' is no name of a header")
        if site is None or (site.get("trusted_proxies") is None and site.get("trust_unix") is None):
            said = "a header counts only from a hop that is yours: name it in 'site: trusted_proxies'"
            self.refuse(at, f"{_WHERE}{word}: {said}")
        return name.lower()

    def _steps(self, node: Mapping, limits: dict[str, Limit]) -> tuple[Stage, ...]:
        steps = node.get("steps")
        if steps is None:
            return DEFAULT_STAGES
        if isinstance(steps, Sequence) and not steps.items:
            self.refuse(steps, f"{_WHERE}steps: write at least one, or leave the word out")
        stages = self.each(node, "steps", lambda item: self._stage(item, limits), _WHERE)
        for milder, harder in pairwise(stages):
            if harder.at < milder.at:
                message = f"{_WHERE}steps must rise: {harder.at:g} follows {milder.at:g}"
                self.problems.append(Problem(steps.file or self.file, steps.line, message))
        return stages

    def _stage(self, item: Mapping, limits: dict[str, Limit]) -> Stage | None:
        where = f"{_WHERE}steps: "
        self.keys(item, language.DETECTION_STEP.names, where)
        at = self.number(item, "at", where, 0)
        if not 5 <= at <= 100:
            self.refuse(
                item.get("at") or item, f"{where}needs 'at', a whole number from 5 to 100 (points of suspicion)"
            )
        said = item.get("then")
        if said is None:
            self.refuse(item, f"{where}needs 'then' ({', '.join(STAGES)})")
            return None
        then = self.one_of(said, STAGES, "step", where)
        routes = []
        for node in self.texts(item.get("route"), f"{where}route: ") if item.get("route") is not None else ():
            word = self.one_of(node, ROUTE_CLASSES, "route class", where)
            if word == "directive":
                self.refuse(node, f"{where}directive files are open to everyone, always: take 'directive' out")
            elif then == "challenge" and word and word not in _DOCUMENTS:
                allowed = " and ".join(_DOCUMENTS)
                self.refuse(
                    node, f"{where}only documents can be challenged ({allowed}): anything else would just break"
                )
            elif word:
                routes.append(word)
        limit = None
        if then == "throttle":
            limit = SUSPECTS
            if item.get("limit") is not None:
                name = self.text(item, "limit", where)
                limit = limits.get(name)
                if limit is None:
                    known = ", ".join(limits) or "none"
                    self.refuse(item.get("limit") or item, f"{where}no limit is named '{name}' ({known})")
        elif item.get("limit") is not None:
            self.refuse(item.get("limit") or item, f"{where}'limit' belongs to 'then: throttle'")
        return Stage(float(at), then or "label", tuple(routes), limit)

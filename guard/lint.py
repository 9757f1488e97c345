"""What a policy allows and its author hardly means: rules that cannot decide, weights that lead nowhere, words that
say one thing where the rules do another. Warnings only, each with the lines and a way out. Pure.

The law: nothing false is said. That a rule is never reached is claimed only when it can be shown: each request that it
fits is fitted, whatever else is true of it, by one earlier rule that settles. What cannot be shown is not claimed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import product

from guard.classify import BROWSER_AGENT, Catalogue
from guard.conditions import Condition, Group, Test, leaves
from guard.errors import Problem
from guard.model import ROUTE_CLASSES, UNKNOWN_AGENT, Agent, Identity, Limit, Mode, RouteClass
from guard.patterns import glob_matches, specimen
from guard.policy import Ladder, Policy, Rule, decide

MAX_CASES = 16
"""Alternatives (`any:`) of one rule that are looked at one by one; a rule with more is taken as it stands."""

WIDE = 2**24
"""More addresses (of IPv6: /64 networks) than this, refused by network alone, hold whole countries."""

_TOLD = ("agent", "operator", "purpose", "category")
_UNTOLD = (*_TOLD, "identity", "user_agent")
"""Facts that are not known of a request whose User-Agent nobody has told us: no test of them holds then."""

_LISTENED = (
    "/media/x.mp3",
    "/media/x/x.flac",
    "/audio/x/x.ogg",
    "/hls/x/seg0.ts",
    "/hls/x/index.m3u8",
    "/stream/x",
    "/download/x.zip",
    "/rest/stream.view",
    "/x/x.mp3",
    "/x.mp3",
)
CONNECTIONS = 6
"""So many a browser opens to one host (HTTP/1.1; more with HTTP/2)."""

_SIDE_BY_SIDE = ("page", "static", "artwork", "api")
_SURE_KEYS = frozenset(("client", "prefix", "address", "asn", "site"))
"""What is counted by one of these cannot be got round by a name that one gives oneself."""

_SAYS = {
    "train-ai": "agents that train AI",
    "ai-use": "agents that feed AI with what they fetch",
    "search": "search engines",
}


def lint(policy: Policy, catalogue: Catalogue, now_s: float) -> tuple[Problem, ...]:
    """Every warning about `policy` and its scopes, by file and line. `now_s`: seconds since 1970. Of a scope, only
    what it says itself is looked at: that it differs from its file is its purpose."""
    known = {(rule.file, rule.line) for rule in (*policy.rules, *policy.rows, *policy.limiting)}
    problems = _Lint(policy, catalogue, now_s).all()
    for scope in policy.scopes:
        found = _Lint(scope, catalogue, now_s)
        own = [rule for rule in (*scope.rules, *scope.rows) if (rule.file, rule.line) not in known]
        problems += [*found.never_reached(own), *found.never_match(own), *found.reasons(own)]
        problems += found.never_match([rule for rule in scope.limiting if (rule.file, rule.line) not in known])
        problems += found.limits()
    problems += _unused_limits(policy)
    order = {policy.file: 0}
    problems.sort(key=lambda one: (order.get(one.file, 1), one.file, one.line, one.message))
    return tuple(dict.fromkeys(problems))


class _Lint:
    """One policy under the eye; each method is one question and gives its warnings."""

    def __init__(self, policy: Policy, catalogue: Catalogue, now_s: float) -> None:
        self.policy = policy
        self.now_s = now_s
        self.agents = (*catalogue.agents, BROWSER_AGENT, UNKNOWN_AGENT)
        self.logic = _Logic(self.agents, policy.site.case_sensitive)
        self.classes = frozenset((policy.route_default, *(entry.route_class for entry in policy.routes if entry.paths)))
        self.places = {self._reading(specimen(path)): path for entry in policy.routes for path in entry.paths}
        self.places.setdefault("/-/guard/-", "/")

    def all(self) -> list[Problem]:
        rules = (*self.policy.rules, *self.policy.rows)
        return [
            *self.never_reached(rules),
            *self.never_match((*rules, *self.policy.limiting)),
            *self.reasons(rules),
            *self.reasons([rung.rule for ladder in self.policy.ladder for rung in ladder.rungs]),
            *self.weights(),
            *self.contact(),
            *self.statements(),
            *self.open_audio(),
            *self.closed_to_all(),
            *self.wide_networks(),
            *self.exempt_by_name(),
            *self.limits(),
        ]

    # -- limits ------------------------------------------------------------------------------------------

    def limits(self) -> Iterator[Problem]:
        yield from self.too_few_at_once()
        yield from self.invented()
        yield from self.too_dear()

    def too_few_at_once(self) -> Iterator[Problem]:
        """Places of which a browser needs more than there are: it asks for the parts of a page side by side."""
        told: set[str] = set()
        for reading, path in self.places.items():
            evidence = self.policy.evidence(BROWSER_AGENT, Identity.UNKNOWN, reading, "GET", ())
            route_class = evidence.route[0]
            if route_class not in _SIDE_BY_SIDE:
                continue
            verdict = decide(self.policy, evidence, self.now_s)
            for limit in verdict.limits:
                few = limit.kind == "concurrent" and limit.count < CONNECTIONS and "work" not in limit.key
                if few and limit.name not in told:
                    told.add(limit.name)
                    yield self._warn_limit(
                        limit,
                        f"holds at {path} ({route_class}) for browsers, which open {CONNECTIONS} connections to one "
                        f"host: give it 'at_once: {CONNECTIONS}' or more, or keep it to media",
                    )

    def invented(self) -> Iterator[Problem]:
        """Limits that whoever invents an account or a session at each request is never refused by."""
        told: set[str] = set()
        for rule in (*_all_rules(self.policy), *self.policy.limiting):
            beside = [limit for other in self._holding_beside(rule) for limit in other.limits]
            if any(self._invented(limit) == "" and _SURE_KEYS & set(limit.key) for limit in beside):
                continue
            for limit in rule.limits:
                if (word := self._invented(limit)) and limit.name not in told:
                    told.add(limit.name)
                    yield self._warn_limit(
                        limit,
                        f"anybody can invent a new {word} with each request, and is never refused: "
                        f"let a limit by client hold beside it",
                    )

    def _invented(self, limit: Limit) -> str:
        """The part of its key that the client itself makes up, "" = none."""
        site = self.policy.site
        read = {"account": site.account, "session": site.session}
        return next((word for word in limit.key if (place := read.get(word)) and place[0] != "header"), "")

    def _holding_beside(self, rule: Rule) -> Iterator[Rule]:
        """The rule, and the limits that hold by themselves wherever it does."""
        yield rule
        cases = self.logic.cases(rule.when)
        for other in self.policy.limiting:
            acts = other.mode is Mode.ENFORCE or self.policy.mode is Mode.OBSERVE
            lasts = other.from_s <= max(rule.from_s, self.now_s) and other.until_s >= rule.until_s
            if acts and lasts and all(self.logic.implies(case, test) for case in cases for test in other.when):
                yield other

    def too_dear(self) -> Iterator[Problem]:
        """Rules that cost more than a limit which may hold beside their own has room for."""
        for rule in _all_rules(self.policy):
            for other in self.policy.limiting if rule.cost > 1 else ():
                (limit,) = other.limits
                both = self.logic.cases((*rule.when, *other.when))
                if limit.room is None or rule.cost * limit.cost <= limit.room:
                    continue
                if any(not self.logic.contradiction(case, self.classes) for case in both):
                    yield self._warn(
                        rule,
                        f"{_called(rule)} costs {rule.cost}, and limit '{limit.name}' ({_line(other)}), which may hold "
                        f"beside it, has room for {limit.room // limit.cost}: where both hold nothing could ever pass",
                    )

    def _warn_limit(self, limit: Limit, message: str) -> Problem:
        place = (limit.file or self.policy.file, limit.line)
        return Problem(*place, f"limit '{limit.name}': {message}", level="warning")

    # -- names -------------------------------------------------------------------------------------------

    def exempt_by_name(self) -> Iterator[Problem]:
        """Rules by which the mere name of a player goes past a limit that holds for browsers: anybody can take it."""
        player = next((agent for agent in self.agents if agent.category == "player"), None)
        told: set[str] = set()
        for reading, path in self.places.items() if player is not None else ():
            verdicts = [
                decide(self.policy, self.policy.evidence(agent, identity, reading, "GET", ()), self.now_s)
                for agent, identity in ((BROWSER_AGENT, Identity.UNKNOWN), (player, Identity.UNVERIFIED))
                if agent is not None
            ]
            limited, named = verdicts
            rule = named.rule
            if limited.action != "throttle" or named.action != "allow" or rule is None or rule.name in told:
                continue
            limit = limited.limits[0].name if limited.limits else ""
            told.add(rule.name)
            yield self._warn(
                rule,
                f"{_called(rule)} lets whoever calls itself a player past the limit '{limit}' (at {path}), and anybody "
                f"can call itself that: put it below the limit's rule, or give it a limit of its own",
            )

    def _warn(self, rule: Rule | Ladder | None, message: str) -> Problem:
        file, line = (rule.file or self.policy.file, rule.line) if rule else (self.policy.file, 0)
        return Problem(file, line, message, level="warning")

    def _reading(self, path: str) -> str:
        return path if self.policy.site.case_sensitive else path.encode().lower().decode()

    # -- rules -------------------------------------------------------------------------------------------

    def never_reached(self, rules: Sequence[Rule]) -> Iterator[Problem]:
        """Rules and rows that an earlier rule always settles before."""
        wanted = {id(rule) for rule in rules}
        earlier: list[tuple[Rule, int]] = []
        for rule in (*self.policy.rules, *self.policy.rows):
            if id(rule) in wanted and not self._over(rule) and not self._contradiction(rule):
                agents = self.logic.agents_of(rule.when)
                for first, settled in earlier:
                    if agents & ~settled:
                        continue  # most pairs end here
                    if first.file != rule.file and rule.file != self.policy.file:
                        continue  # what a file says goes before what it includes: that is what including is for
                    if self._settles_before(first, rule):
                        where = _line(first) if first.file == rule.file else f"{first.file}:{first.line}"
                        yield self._warn(
                            rule,
                            f"{_called(rule)} is never reached: rule '{first.name}' ({where}) settles all that it "
                            f"fits; put it above that rule, or take it out",
                        )
                        break
            if rule.then in ("allow", "throttle", "block") and not _is_row(rule):
                earlier.append((rule, self.logic.agents_of(rule.when)))

    def _settles_before(self, first: Rule, rule: Rule) -> bool:
        """Does `first` settle every request that `rule` fits, whenever that is in force?"""
        if first.mode is Mode.OBSERVE and self.policy.mode is Mode.ENFORCE:
            return False
        if first.from_s > max(rule.from_s, self.now_s) or first.until_s < rule.until_s:
            return False
        cases = self.logic.cases(rule.when)
        acts_on_directives = rule.then in ("allow", "label") and not _is_row(rule)
        if first.then != "allow" and acts_on_directives and any("directive" in self.logic.routes(one) for one in cases):
            return False  # directive files are open to everyone: `first` is passed over there
        return all(self.logic.implies(case, test) for case in cases for test in first.when)

    def never_match(self, rules: Sequence[Rule]) -> Iterator[Problem]:
        """Rules that no request can fit, or none any more."""
        for rule in rules:
            if self._over(rule):
                day = datetime.fromtimestamp(rule.until_s, UTC).strftime("%Y-%m-%d %H:%M").removesuffix(" 00:00")
                yield self._warn(rule, f"{_called(rule)} is over since {day} (UTC): take it out, or give it a new end")
            elif rule.from_s >= rule.until_s:
                yield self._warn(rule, f"{_called(rule)} is never in force: it ends before it begins")
            elif why := self._contradiction(rule):
                yield self._warn(rule, f"{_called(rule)} can match nothing: {why}")

    def _contradiction(self, rule: Rule) -> str:
        """Why no request can fit the rule, "" when one may."""
        reasons = [self.logic.contradiction(case, self.classes) for case in self.logic.cases(rule.when)]
        return reasons[0] if reasons and all(reasons) else ""

    def _over(self, rule: Rule) -> bool:
        return rule.until_s <= self.now_s

    def reasons(self, rules: Sequence[Rule]) -> Iterator[Problem]:
        for rule in rules:
            if rule.then == "block" and not rule.reason and not self._over(rule):
                yield self._warn(
                    rule, f"{_called(rule)} refuses without a word why: add 'reason:', it is shown to the refused"
                )

    # -- weights -----------------------------------------------------------------------------------------

    def weights(self) -> Iterator[Problem]:
        weighing = [rule for rule in self.policy.rules if rule.then == "weigh" and not self._over(rule)]
        if not self.policy.ladder:
            if weighing:
                yield self._warn(weighing[0], f"{_called(weighing[0])} weighs, but there is no 'ladder' to use the sum")
            return
        taken: dict[RouteClass, Ladder] = {}
        for ladder in self.policy.ladder:
            classes = self._classes_of(ladder)
            asked = [name for name in classes if name not in taken]
            if not asked:
                other = taken[classes[0]]
                message = f"ladder: never asked: the ladder on {_line(other)} is for the same route classes"
                yield self._warn(ladder, message)
                continue
            taken |= dict.fromkeys(asked, ladder)
            most = max((self._most(weighing, name) for name in asked), default=0)
            if most == 0:
                yield self._warn(
                    ladder, "ladder: no rule weighs anything here: add rules with 'weigh:', or take it out"
                )
                continue
            for rung in ladder.rungs:
                if rung.at > most:
                    message = f"ladder: the step at {rung.at} is never reached: all weights here add up to {most}"
                    yield self._warn(rung.rule, message)
        for rule in weighing:
            weighed = [name for name in ROUTE_CLASSES if name != "directive" and self._may_be(rule, name)]
            if weighed and not any(self.policy.rungs(name) for name in weighed):
                message = f"{_called(rule)} weighs only where there is no ladder ({', '.join(weighed)})"
                yield self._warn(rule, message)

    def _classes_of(self, ladder: Ladder) -> tuple[RouteClass, ...]:
        return ladder.route_classes or tuple(name for name in ROUTE_CLASSES if name != "directive")

    def _may_be(self, rule: Rule, route_class: RouteClass) -> bool:
        return any(route_class in self.logic.routes(case) for case in self.logic.cases(rule.when))

    def _most(self, weighing: Sequence[Rule], route_class: RouteClass) -> int:
        """No sum on this route class can be larger."""
        return sum(rule.weight for rule in weighing if rule.weight > 0 and self._may_be(rule, route_class))

    # -- the whole ---------------------------------------------------------------------------------------

    def contact(self) -> Iterator[Problem]:
        every = (*_all_rules(self.policy), *self.policy.limiting)
        refusing = any(rule.then in ("block", "throttle") for rule in every)
        if not self.policy.site.contact and (refusing or self.policy.default == "block"):
            yield self._warn(None, "site: no 'contact': who is refused by mistake cannot write to anybody")

    def statements(self) -> Iterator[Problem]:
        """Preferences that the rules do not bear out, and rules that the preferences do not."""
        for purpose, who in _SAYS.items():
            agents = [agent for agent in self.agents if purpose in agent.purposes and agent.category != "browser"]
            stated = {name: self.policy.stated(name).get(purpose) for name in sorted(self.classes - {"directive"})}
            closed = [name for name, word in stated.items() if word == "disallow"]
            open_to = [name for name, word in stated.items() if word == "allow"]
            if closed and not any(self._refused(agent, closed, every=False) for agent in agents):
                yield self._warn(
                    None,
                    f"preferences: '{purpose}: disallow' is only stated: no rule refuses or slows {who}; "
                    f"add a rule, or be content to have said it",
                )
            if open_to and agents and all(self._refused(agent, open_to, every=True) for agent in agents):
                yield self._warn(
                    None, f"preferences: '{purpose}: allow' is stated, but the rules refuse all {who} everywhere"
                )

    def _refused(self, agent: Agent, classes: Sequence[RouteClass], *, every: bool) -> bool:
        """Is the agent refused (`every`: blocked everywhere; else: blocked or throttled somewhere) on these classes?"""
        found = False
        for place in self.places:
            evidence = self.policy.evidence(agent, Identity.UNVERIFIED, place, "GET", ())
            if evidence.route[0] not in classes:
                continue
            for moment in (self.now_s, *(turn for turn in self.policy.turns if turn > self.now_s)):
                action = decide(self.policy, evidence, moment).action
                if every and action != "block":
                    return False
                if not every and action != "allow":
                    return True
                found = True
        return every and found

    def open_audio(self) -> Iterator[Problem]:
        """Directive patterns that let everybody to the audio."""
        said: set[str] = set()
        audio = [
            path for entry in self.policy.routes if entry.route_class in ("media", "manifest") for path in entry.paths
        ]
        for path in (*(specimen(pattern) for pattern in audio), *_LISTENED):
            found = self.policy.route_patterns.match(self._reading(path))
            if not found or self.policy.route_class(self._reading(path)) != "directive":
                continue
            pattern = self.policy.route_patterns.patterns[found[0]]
            if pattern not in said:
                said.add(pattern)
                entry = next(entry for entry in self.policy.routes if pattern in entry.paths)
                message = f"routes: '{pattern}' is a directive path, open to everyone always, and covers {path}"
                yield Problem(entry.file or self.policy.file, entry.line, message, level="warning")

    def closed_to_all(self) -> Iterator[Problem]:
        """`default: block`, and nobody is let in."""
        if self.policy.default != "block":
            return
        players = [agent for agent in self.agents if "player" in agent.purposes or agent is BROWSER_AGENT]
        closed = sorted(self.classes - {"directive"})
        if all(self._refused(agent, closed, every=True) for agent in players):
            message = "default: block, and no rule lets browsers or players in: add one with 'then: allow'"
            yield self._warn(None, message)

    def wide_networks(self) -> Iterator[Problem]:
        for rule in self.policy.rules:
            if rule.then == "block" or (rule.then == "weigh" and rule.weight > 0):
                asked = [test for test in rule.when if isinstance(test, Condition) and not test.negated]
                networks = [value for test in asked if test.fact == "network" for value in test.values]
                size = sum(_size(value) for value in networks)
                if size > WIDE and not any(test.fact in (*_UNTOLD, "path", "route") for test in asked):
                    yield self._warn(
                        rule,
                        f"{_called(rule)} asks only for networks, and {size:,} addresses (of IPv6: /64 networks) are "
                        f"in them: whole countries of listeners; ask for an agent, a category or a path too",
                    )


def _unused_limits(policy: Policy) -> list[Problem]:
    used: set[str] = set()
    limits: dict[tuple[str, int], Limit] = {}
    for one in (policy, *policy.scopes):
        used |= {limit.name for rule in (*_all_rules(one), *one.limiting) for limit in rule.limits}
        limits |= {(limit.file, limit.line): limit for limit in one.limits}
    return [
        Problem(
            limit.file or policy.file,
            limit.line,
            f"limit '{limit.name}': no rule uses it; name it in a rule's 'limit:', say 'when:', or take it out",
            level="warning",
        )
        for limit in limits.values()
        if limit.name not in used and (limit.file or policy.file) == policy.file
    ]


def _all_rules(policy: Policy) -> Iterator[Rule]:
    yield from policy.rules
    yield from policy.rows
    for ladder in policy.ladder:
        for rung in ladder.rungs:
            yield rung.rule


def _is_row(rule: Rule) -> bool:
    return rule.name.startswith("agents: ")  # no rule can have a colon in its name


def _is_own(rule: Rule) -> bool:
    """Is it the rule of a limit that says itself what it is for? Then they stand at one place."""
    return any((limit.name, limit.file, limit.line) == (rule.name, rule.file, rule.line) for limit in rule.limits)


def _called(rule: Rule) -> str:
    if rule.name.startswith(("agents: ", "ladder: ")):
        return rule.name
    return f"{'limit' if _is_own(rule) else 'rule'} '{rule.name}'"


def _line(place: Rule | Ladder) -> str:
    return f"line {place.line}"


def _size(network: str) -> int:
    parsed = ip_network(network)
    return parsed.num_addresses if parsed.version == 4 else 2 ** max(0, 64 - parsed.prefixlen)


# -- what follows from what --------------------------------------------------------------------------------

Case = tuple[Test, ...]
"""Tests that all hold; groups in it are left as they are."""


@dataclass
class _Logic:
    """Sound, not complete: True and a reason are proofs, False and "" mean that none was found."""

    agents: tuple[Agent, ...]
    case_sensitive: bool

    def __post_init__(self) -> None:
        self.by_name = {agent.name.lower(): agent for agent in self.agents}
        self._everybody = (1 << len(self.agents)) - 1
        self._masks: dict[Condition, int] = {}
        self._cases: dict[tuple[Test, ...], tuple[Case, ...]] = {}

    def cases(self, tests: tuple[Test, ...]) -> tuple[Case, ...]:
        """`tests` as alternatives of which one holds whenever they do: `all:` opened, `any:` multiplied out."""
        found = self._cases.get(tests)
        if found is None:
            found = self._cases[tests] = tuple(self._expand(tests))
        return found

    def _expand(self, tests: tuple[Test, ...]) -> list[Case]:
        cases: list[Case] = [()]
        for test in tests:
            alternatives: list[Case]
            if isinstance(test, Condition) or test.negated:
                alternatives = [(test,)]
            elif test.every:
                alternatives = self._expand(tuple(inner for branch in test.branches for inner in branch))
            else:
                alternatives = [case for branch in test.branches for case in self._expand(branch)]
            if len(cases) * len(alternatives) > MAX_CASES:
                alternatives = [(test,)]
            cases = [(*case, *alternative) for case, alternative in product(cases, alternatives)]
        return cases

    def implies(self, case: Case, test: Test) -> bool:
        """Does `test` hold wherever all of `case` do?"""
        if test in case and all(leaf.fact != "label" for leaf in leaves((test,))):
            return True
        if isinstance(test, Group):
            if test.negated:
                return False
            held = (all(self.implies(case, inner) for inner in branch) for branch in test.branches)
            return all(held) if test.every else any(held)
        if test.fact in _TOLD:
            told = any(isinstance(one, Condition) and one.fact in _UNTOLD for one in case)
            return told and not self._mask_of(case) & ~self._mask(test)
        if test.fact == "route":
            return self.routes(case) <= _passing(test, frozenset(ROUTE_CLASSES))
        if test.fact == "path" and not test.negated and "/**" in test.values:
            return True
        asked = [one for one in case if isinstance(one, Condition) and one.fact == test.fact]
        if test.fact == "label":  # labels are only added on the way down: what is lacking below was lacking above
            return test.negated and any(one.negated and test.values <= one.values for one in asked)
        if not test.negated:
            return any(not one.negated and self._within(one, test) for one in asked)
        return any(self._within(test, one) if one.negated else self._apart(one, test) for one in asked)

    def contradiction(self, case: Case, classes: frozenset[RouteClass]) -> str:
        """Why `case` can hold of no request under a policy that knows these route classes; "" when it may."""
        asked = [one for one in case if isinstance(one, Condition)]
        named = {value for one in asked if one.fact == "agent" and not one.negated for value in one.values}
        if not named - self.by_name.keys() and not self._mask_of(case):
            are = (f"{self.by_name[name].name} is {self.by_name[name].category}" for name in sorted(named)[:3])
            return f"no agent of the catalogue is all that it asks{_in_brackets(', '.join(are))}"
        routes = self.routes(case)
        if not routes:
            return "it asks for route classes that exclude one another"
        if not routes & classes:
            return f"no path of this policy is of the class {', '.join(sorted(routes))}"
        for fact in ("method", "identity", "path", "network", "user_agent"):
            mine = [one for one in asked if one.fact == fact]
            for one in mine:
                for other in mine:
                    if not one.negated and other.negated and self._within(one, other):
                        return f"what it asks of '{fact}' is also excluded"
                    if not one.negated and not other.negated and self._apart(one, other):
                        return f"what it asks of '{fact}' cannot all be true"
        return ""

    def routes(self, case: Case) -> frozenset[RouteClass]:
        """The route classes on which `case` can hold."""
        found = frozenset(ROUTE_CLASSES)
        for one in case:
            if isinstance(one, Condition) and one.fact == "route":
                found = _passing(one, found)
        return found

    # -- agents: what a name implies is in the catalogue ---------------------------------------------------

    def agents_of(self, tests: tuple[Test, ...]) -> int:
        """The agents of which `tests` may hold, a bit each."""
        found = 0
        for case in self.cases(tests):
            found |= self._mask_of(case)
        return found

    def _mask_of(self, case: Case) -> int:
        found = self._everybody
        for one in case:
            if isinstance(one, Condition) and one.fact in _TOLD:
                found &= self._mask(one)
        return found

    def _mask(self, condition: Condition) -> int:
        """The agents of which the condition holds, a bit each."""
        found = self._masks.get(condition)
        if found is None:
            found = 0
            for position, agent in enumerate(self.agents):
                words = _words(agent, condition.fact)
                if condition.values.isdisjoint(words) is condition.negated:
                    found |= 1 << position
            self._masks[condition] = found
        return found

    # -- values of one fact --------------------------------------------------------------------------------

    def _within(self, narrow: Condition, wide: Condition) -> bool:
        """Is every value of `narrow` inside one of `wide`?"""
        if narrow.values <= wide.values:
            return True
        return all(any(self._covers(wide.fact, outer, inner) for outer in wide.values) for inner in narrow.values)

    def _covers(self, fact: str, wide: str, narrow: str) -> bool:
        if wide == narrow:
            return True
        if fact == "path":
            return pattern_covers(self._spelled(wide), self._spelled(narrow))
        if fact == "user_agent":
            return _glob_covers(wide, narrow)
        if fact == "network":
            return _network_covers(wide, narrow)
        return False

    def _apart(self, one: Condition, other: Condition) -> bool:
        """Can no value of one be true together with one of the other?"""
        if one.fact in ("method", "identity"):
            return not one.values & other.values
        if one.fact == "network":
            return not any(_networks_overlap(mine, theirs) for mine in one.values for theirs in other.values)
        if one.fact == "path":
            return all(
                _patterns_apart(self._spelled(mine), self._spelled(theirs))
                for mine in one.values
                for theirs in other.values
            )
        return False

    def _spelled(self, pattern: str) -> str:
        return pattern if self.case_sensitive else pattern.encode().lower().decode()


def _words(agent: Agent, fact: str) -> tuple[str, ...]:
    if fact == "agent":
        return (agent.name.lower(),)
    if fact == "operator":
        return (agent.operator.lower(),)
    return agent.purposes if fact == "purpose" else (agent.category,)


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def _passing(condition: Condition, words: frozenset[str]) -> frozenset[str]:
    return words - condition.values if condition.negated else words & condition.values


# -- patterns in patterns ----------------------------------------------------------------------------------


@lru_cache(maxsize=65536)
def pattern_covers(wide: str, narrow: str) -> bool:
    """Does every path that falls under `narrow` fall under `wide`? True is a proof; False may be ignorance."""
    return _parts_cover(_parts(wide), _parts(narrow))


def _parts(pattern: str) -> tuple[str, ...]:
    return tuple(part for part in pattern.split("/") if part)


@lru_cache(maxsize=65536)
def _parts_cover(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    if not wide or not narrow:
        return not narrow and all(part == "**" for part in wide)
    if wide[0] == "**":
        return _parts_cover(wide[1:], narrow) or _parts_cover(wide, narrow[1:])
    return narrow[0] != "**" and _glob_covers(wide[0], narrow[0]) and _parts_cover(wide[1:], narrow[1:])


def _glob_covers(wide: str, narrow: str) -> bool:
    """The same for globs where `*` is any text: a `*` of `narrow` has to fall to one of `wide`."""
    if "*" not in wide:
        return wide == narrow
    return glob_matches(tuple(wide.split("*")), narrow)


def _patterns_apart(one: str, other: str) -> bool:
    """Can no path fall under both? Looks at the literal segments before the first `**`."""
    mine, theirs = _parts(one), _parts(other)
    for first, second in zip(mine, theirs, strict=False):
        if "**" in (first, second):
            return False
        if "*" not in first and "*" not in second:
            if first != second:
                return True
        elif "*" not in first or "*" not in second:
            glob, text = (first, second) if "*" in first else (second, first)
            if not glob_matches(tuple(glob.split("*")), text):
                return True
    longer = mine if len(mine) > len(theirs) else theirs
    rest = longer[min(len(mine), len(theirs)) :]
    return any(part != "**" for part in rest)


def _network_covers(wide: str, narrow: str) -> bool:
    outer, inner = ip_network(wide), ip_network(narrow)
    if isinstance(outer, IPv4Network) and isinstance(inner, IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(outer, IPv6Network) and isinstance(inner, IPv6Network):
        return inner.subnet_of(outer)
    return False


def _networks_overlap(one: str, other: str) -> bool:
    first, second = ip_network(one), ip_network(other)
    return first.version == second.version and first.overlaps(second)

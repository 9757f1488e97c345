"""Every block of a policy says what it means: each value with its place, each mistake in its own words."""

from __future__ import annotations

import gc
from dataclasses import replace
from ipaddress import ip_network
from math import inf
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from guard import Guard, PolicyError, Request, load_policy, shipped_policy
from guard.blocks import _is_plain_network
from guard.classify import Catalogue
from guard.conditions import Condition, Evidence, Group
from guard.language import (
    AGENT_ROW,
    DETECTION,
    DETECTION_STEP,
    EXAMPLE,
    LADDER,
    LIMIT,
    PLACE,
    POLICY,
    RIGHTS,
    ROUTE,
    ROW,
    RULE,
    SCOPE,
    SIGNATURES,
    SITE,
    STEP,
    VERIFICATION,
    WHEN,
    WORK_PATH,
)
from guard.load import load_policies, read_policy
from guard.model import ROUTE_CLASSES, Agent, Detecting, Identity, Limit, Mode, Signatures, Site, Stage, Verifying
from guard.policy import Example, Ladder, Policy, RightsTerms, RoutePatterns, Rule, Rung, decide, trace, trap_rule
from guard.works import WorkPath

HEAD = "version: 1\nsite: {name: x}\ndefault: allow\n"

WHOLE = """version: 1
include: more.yaml
site:
  name: Radio Ada
  hosts: [Radio.example., "*.radio.example", "[::1]", radio.example]
  contact: mailto:ada@radio.example
  trusted_proxies: [10.0.0.0/8, "2001:DB8::/32"]
  client_ip_header: X-Real-IP
  trusted_hops: 2
  trust_unix: true
  case_sensitive: true
  strip_prefixes: [/api, /v1]
  sitemap: https://radio.example/sitemap.xml
  url: https://radio.example/
  published_networks:
    GPTBot: [192.0.2.0/25, 192.0.2.128/25]
    CC*: 198.51.100.0/24
    ccbot: 203.0.113.0/24
  session: {cookie: sid}
  account: {header: X-Account}
  asn_table: asn.tsv
catalogue:
  RadioBot: {operator: Radio Ada, category: monitoring, purposes: monitoring}
  GPTBot: {confidence: medium}
  Claude-Web: none
verification:
  lists: fetch
  directory: lists
  dns: true
  nameservers: [192.0.2.53, "2001:db8::53"]
  signatures:
    directories: [https://chatgpt.com]
    discover: true
    require_path: true
    legacy: false
    plain_http: true
    max_validity: 3600
mode: observe
default: block
routes:
  - class: media
    paths: [/stream/**, "/*.mp3"]
  - {preset: spa, under: /app/}
route_default: api
terms:
  notice: 30
  licence: https://radio.example/licences
  changes: [{from: 2027-03-01, announced: 2026-12-01, preferences: {search: disallow}}]
preferences:
  train-ai: disallow
  ai-use: allow
  search: allow
  audio: {search: disallow}
  metadata: {train-ai: allow, ai-use: disallow}
limits:
  - name: slow
    rate: 1200 / min
    burst: 240
    key: [prefix, agent]
  - name: exports
    rate: 100/day
    precision: exact
    cost: 10
    key: account
  - {name: hours, quota: 16 h audio / day, bitrate: 320k, key: [session, asn]}
  - {name: side by side, at_once: 7, key: work, precision: exact}
  - name: volume
    rate: 200 MB/hour
    burst: 1 GB
    when: {route: media, not: {label: machine}}
    mode: observe
    reason: " A lot. "
    from: 2026-12-01
    until: 2026-12-24
rules:
  - name: office
    when: {network: 192.0.2.0/24}
    then: allow
    mode: observe
    reason: "  Ours.  "
  - name: note it
    when:
      agent: [GPTBot, unknown, browser]
      not: {operator: openai}
    then: label
    label: Machine
  - name: mark it
    when: {purpose: train-ai}
    then: label
  - name: count it
    when: {label: machine, identity: [spoofed, unverified], user_agent: "*Bot*", category: ai-se*}
    weigh: -100
    from: 2026-12-01
    until: 2026-12-24
  - name: slow it
    when:
      any: [{path: /x}, {method: post, route: page}]
      all: [{label: [mark it]}]
      not:
        any: [{path: /y}]
    then: throttle
    limit: [slow, exports, slow]
    cost: 2
    reason: Too fast.
    from: 2026-12-01T18:00Z
  - {name: weigh a little, when: {path: /a, rights: [open, licensed]}, weigh: 1}
  - {name: weigh a lot, when: {path: /b}, weigh: +100}
rights:
  source: registers/rights.sqlite
  mode: observe
  works:
    - {path: "/{artist}/{track}", id: "{artist}/{track}"}
    - {path: "/stems/{track}/**", kind: stems}
    - {path: /rest/stream*, query: id, layer: track}
  header: X-Guard-Work
  reason: " Ask the holder. "
  max_age: 5
agents:
  ai-se*:
    then: block
    mode: observe
    reason: " No search. "
    agents:
      PerplexityBot: inherit
      Zzyzx: {then: throttle, limit: slow, reason: Slowly., mode: observe}
  ai-train: allow
  search: inherit
ladder:
  - route: [page, search]
    steps:
      - {at: 1, then: throttle, limit: slow}
      - at: 10000
        then: block
        reason: " Far too much. "
  - steps: [{at: 7, then: block}]
on_store_failure: {media: open, page: closed, api: local}
hosts:
  - names: [Two.radio.example]
    mode: enforce
    site: {name: Two}
    rules:
      - {name: two, when: {path: /two}, then: block}
    examples:
      - {name: a page of two, path: /two, expect: block}
detection:
  mode: observe
  challenge: true
  traps: [/browse-all/**]
  downloads: [/keep/*]
  segment_seconds: 6
  bitrate: 192k
  refuse_minutes: 20
  downloads_a_day: 50
  audio_hours_a_day: 30
  hints: false
  https: true
  protocol_header: X-Protocol
  ja4_header: X-JA4
  header_order: true
  steps:
  - {at: 15, then: label}
  - {at: 20, then: challenge, route: page}
  - {at: 25, then: throttle, limit: slow}
  - {at: 35, then: refuse, route: [page, media]}
examples:
  - name: everything
    path: /x?y
    method: post
    user_agent: PerplexityBot/1.0
    ip: 198.51.100.7
    identity: spoofed
    expect: throttle
    rule: slow it
    labels: [machine, mark it]
    weight: -12345
    at: 2026-12-05
  - {name: of a row, path: /x, expect: allow, rule: "agents: ai-train", labels: []}
  - {name: of a step, path: /x, expect: block, rule: "ladder: page, search at 10000", weight: +99999}
  - {name: of nothing, path: /x, expect: block, rule: default}
  - {name: of a limit, path: /stream/x, expect: block, rule: volume}
"""
MORE = """version: 1
routes:
- {class: artwork, paths: /covers/**}
limits:
- {name: fast, rate: 10/s}
rules:
- {name: more, when: {path: /more}, then: block, ask: signature}
agents:
  headless: block
ladder:
- {steps: [{at: 9, then: block}]}
examples:
- {name: more, path: /more, expect: block}
"""
DECEMBER, CHRISTMAS = 1796083200.0, 1798156800.0  # 2026-12-01 and 2026-12-25, both at midnight


def problems_of(text: str, catalogue: Catalogue | None = None) -> list[tuple[int, str]]:
    with pytest.raises(PolicyError) as caught:
        read_policy(text, "p.yaml", catalogue)
    assert {problem.file for problem in caught.value.problems} == {"p.yaml"}
    return [(problem.line, problem.message) for problem in caught.value.problems]


def line_of(text: str, start: str) -> int:
    """The line on which `start` stands, the one time that it does."""
    assert text.count(start) == 1, start
    return text[: text.index(start)].count("\n") + 1


@pytest.fixture
def whole(tmp_path: Path) -> Policy:
    (tmp_path / "whole.yaml").write_text(WHOLE)
    (tmp_path / "more.yaml").write_text(MORE)
    (tmp_path / "asn.tsv").write_text("192.0.2.0/24\tAS64500\n")
    return load_policy(tmp_path / "whole.yaml")


# -- a policy with everything in it ---------------------------------------------------------------------------


def test_every_word_of_the_language_stands_in_the_policy_that_has_everything() -> None:
    def keys(node: Any) -> set[str]:
        if isinstance(node, dict):
            return set(map(str, node)) | {key for value in node.values() for key in keys(value)}
        return {key for item in node for key in keys(item)} if isinstance(node, list) else set()

    blocks = (POLICY, SCOPE, SITE, RIGHTS, WORK_PATH, ROUTE, LIMIT, RULE, WHEN, ROW, AGENT_ROW, LADDER, STEP, EXAMPLE)
    blocks += (VERIFICATION, SIGNATURES, PLACE, DETECTION, DETECTION_STEP)
    assert {name for block in blocks for name in block.names} - keys(yaml.safe_load(WHOLE)) - keys(
        yaml.safe_load(MORE)
    ) == set()


def test_the_site_is_read_word_by_word(whole: Policy, tmp_path: Path) -> None:
    assert whole.site == Site(
        name="Radio Ada",
        contact="mailto:ada@radio.example",
        trusted_proxies=("10.0.0.0/8", "2001:db8::/32"),
        client_ip_header="x-real-ip",
        trusted_hops=2,
        trust_unix=True,
        case_sensitive=True,
        strip_prefixes=("/api", "/v1"),
        sitemap="https://radio.example/sitemap.xml",
        published_networks={
            "gptbot": ("192.0.2.0/25", "192.0.2.128/25"),
            "ccbot": ("198.51.100.0/24", "203.0.113.0/24"),
        },
        hosts=("radio.example", "*.radio.example", "[::1]"),
        url="https://radio.example",
        session=("cookie", "sid"),
        account=("header", "x-account"),
        asn_table=str(tmp_path / "asn.tsv"),
    )
    assert whole.asn is not None
    assert whole.asn.of("192.0.2.1") == 64500
    assert {scope.asn for scope in whole.scopes} == {whole.asn}


def test_where_the_rights_are_is_read_word_by_word(whole: Policy, tmp_path: Path) -> None:
    assert whole.rights == RightsTerms(
        source=str(tmp_path / "registers" / "rights.sqlite"),
        mode=Mode.OBSERVE,
        works=(
            WorkPath("/{artist}/{track}", id="{artist}/{track}"),
            WorkPath("/stems/{track}/**", kind="stems"),
            WorkPath("/rest/stream*", "id", "track"),
        ),
        header="x-guard-work",
        reason="Ask the holder.",
        max_age_s=5.0,
    )
    assert {scope.rights for scope in whole.scopes} == {whole.rights}


def test_how_claims_are_checked_is_read_word_by_word(whole: Policy) -> None:
    assert whole.verifying == Verifying(
        lists="fetch",
        directory="lists",
        dns=True,
        nameservers=("192.0.2.53", "2001:db8::53"),
        signatures=Signatures(
            ("https://chatgpt.com",),
            discover=True,
            require_path=True,
            legacy=False,
            plain_http=True,
            max_validity_s=3600,
        ),
    )
    assert {scope.verifying for scope in whole.scopes} == {whole.verifying}


def test_what_a_policy_knows_of_agents_goes_before_what_ships(whole: Policy) -> None:
    assert whole.catalogue is not None
    assert whole.catalogue.find(b"RadioBot/1.0").operator == "Radio Ada"
    assert whole.catalogue.by_name["gptbot"].confidence == "medium"
    assert whole.catalogue.find(b"Claude-Web/1.0").category == "unknown"
    assert {scope.catalogue for scope in whole.scopes} == {whole.catalogue}


SLOWLY = Limit("slow", 1200, 60.0, 240, ("prefix", "agent"))
EXPORTS = Limit("exports", 100, 86400.0, 100, ("account",), precision="exact", cost=10)
HOURS = Limit(
    *("hours", 57_600, 86_400.0, 57_600, ("session", "asn")),
    kind="quota",
    period="day",
    precision="exact",
    unit="audio-seconds",
    bitrate=320_000,
)
SIDE_BY_SIDE = Limit("side by side", 7, 0.0, 7, ("work",), kind="concurrent", precision="exact")
VOLUME = Limit("volume", 200_000_000, 3600.0, 1_000_000_000, unit="bytes")
FAST = Limit("fast", 10, 1.0, 10, ("client",))
LIMITS = (SLOWLY, EXPORTS, HOURS, SIDE_BY_SIDE, VOLUME, FAST)
LIMITING = (
    Rule(
        "volume",
        (Condition("route", frozenset({"media"})), Condition("label", frozenset({"machine"}), negated=True)),
        "throttle",
        Mode.OBSERVE,
        "A lot.",
        (VOLUME,),
        from_s=DECEMBER,
        until_s=CHRISTMAS,
    ),
)
AI_SEARCH = Condition("category", frozenset({"ai-search"}))
TRAP_RULE = trap_rule(("/browse-all/**",), Mode.OBSERVE)
RULES = (
    Rule("office", (Condition("network", frozenset({"192.0.2.0/24"})),), "allow", Mode.OBSERVE, "Ours."),
    Rule(
        "note it",
        (
            Condition("agent", frozenset({"gptbot", "unknown", "browser"})),
            Condition("operator", frozenset({"openai"}), negated=True),
        ),
        "label",
        label="Machine",
    ),
    Rule("mark it", (Condition("purpose", frozenset({"train-ai"})),), "label"),
    Rule(
        "count it",
        (
            Condition("label", frozenset({"machine"})),
            Condition("identity", frozenset({"spoofed", "unverified"})),
            Condition("user_agent", frozenset({"*bot*"})),
            AI_SEARCH,
        ),
        "weigh",
        weight=-100,
        from_s=DECEMBER,
        until_s=CHRISTMAS,
    ),
    Rule(
        "slow it",
        (
            Group(
                (
                    (Condition("path", frozenset({"/x"})),),
                    (Condition("method", frozenset({"POST"})), Condition("route", frozenset({"page"}))),
                ),
                every=False,
            ),
            Group(((Condition("label", frozenset({"mark it"})),),), every=True),
            Group(((Condition("path", frozenset({"/y"})),),), every=False, negated=True),
        ),
        "throttle",
        reason="Too fast.",
        limits=(SLOWLY, EXPORTS),
        from_s=DECEMBER + 18 * 3600,
        until_s=inf,
        cost=2,
    ),
    Rule(
        "weigh a little",
        (Condition("path", frozenset({"/a"})), Condition("rights", frozenset({"open", "licensed"}))),
        "weigh",
        weight=1,
    ),
    Rule("weigh a lot", (Condition("path", frozenset({"/b"})),), "weigh", weight=100),
    Rule("more", (Condition("path", frozenset({"/more"})),), "block", ask="signature"),
)
ROWS = (
    Rule(
        "agents: Zzyzx",
        (Condition("agent", frozenset({"zzyzx"})),),
        "throttle",
        Mode.OBSERVE,
        "Slowly.",
        (SLOWLY,),
    ),
    Rule("agents: ai-train", (Condition("category", frozenset({"ai-train"})),), "allow"),
    Rule("agents: headless", (Condition("category", frozenset({"headless"})),), "block"),
    Rule("agents: ai-se*", (AI_SEARCH,), "block", Mode.OBSERVE, "No search."),
)
LADDERS = (
    Ladder(
        ("page", "search"),
        (
            Rung(1, Rule("ladder: page, search at 1", (), "throttle", limits=(SLOWLY,))),
            Rung(10_000, Rule("ladder: page, search at 10000", (), "block", reason="Far too much.")),
        ),
    ),
    Ladder((), (Rung(7, Rule("ladder: all at 7", (), "block")),)),
    Ladder((), (Rung(9, Rule("ladder: all at 9", (), "block")),)),
)
EXAMPLES = (
    Example(
        name="everything",
        path="/x?y",
        expect="throttle",
        method="POST",
        user_agent="PerplexityBot/1.0",
        ip="198.51.100.7",
        rule="slow it",
        labels=("machine", "mark it"),
        weight=-12345,
        at_s=DECEMBER + 4 * 86400,
        identity=Identity.SPOOFED,
    ),
    Example("of a row", "/x", "allow", rule="agents: ai-train", labels=()),
    Example("of a step", "/x", "block", rule="ladder: page, search at 10000", weight=99_999),
    Example("of nothing", "/x", "block", rule="default"),
    Example("of a limit", "/stream/x", "block", rule="volume"),
    Example("more", "/more", "block", "GET", "", "192.0.2.1", "", labels=None, weight=None, at_s=None, identity=None),
)


def test_every_block_is_read_word_by_word(whole: Policy) -> None:
    assert (whole.mode, whole.default, whole.route_default) == (Mode.OBSERVE, "block", "api")
    assert whole.routes[0] == RoutePatterns("media", ("/stream/**", "/*.mp3"))
    assert whole.routes[-1] == RoutePatterns("artwork", ("/covers/**",))
    assert {path[:4] for entry in whole.routes[1:-1] for path in entry.paths} == {"/app"}
    assert whole.preferences == {"train-ai": "disallow", "ai-use": "allow", "search": "allow"}
    assert whole.kind_preferences == {
        "audio": {"search": "disallow"},
        "metadata": {"train-ai": "allow", "ai-use": "disallow"},
    }
    assert whole.limits == LIMITS
    assert whole.limiting == LIMITING
    assert whole.rules == (TRAP_RULE, *RULES)
    assert whole.detecting == Detecting(
        mode=Mode.OBSERVE,
        challenge=True,
        traps=("/browse-all/**",),
        downloads=("/keep/*",),
        steps=(
            Stage(15, "label"),
            Stage(20, "challenge", ("page",)),
            Stage(25, "throttle", (), whole.limits[0]),
            Stage(35, "refuse", ("page", "media")),
        ),
        segment_s=6.0,
        bitrate=192_000,
        refuse_s=1200.0,
        downloads_a_day=50,
        audio_a_day_s=108_000.0,
        hints=False,
        protocol_header="x-protocol",
        ja4_header="x-ja4",
        header_order=True,
        secure=True,
    )
    assert whole.rows == ROWS
    assert whole.ladder == LADDERS
    assert whole.examples == EXAMPLES
    assert whole.on_store_failure == {"media": "open", "page": "closed"}
    assert whole.hosts == whole.site.hosts


def test_every_entry_remembers_its_file_and_its_line(whole: Policy, tmp_path: Path) -> None:
    more = str((tmp_path / "more.yaml").resolve())
    assert [(rule.file, rule.line) for rule in whole.limiting] == [(whole.limits[4].file, whole.limits[4].line)]
    named = [*whole.limits, *whole.rules, *whole.examples, *whole.rows]
    found = {(type(one).__name__, one.name): (one.file, one.line) for one in named}
    found |= {("Rung", str(rung.at)): (rung.rule.file, rung.rule.line) for one in whole.ladder for rung in one.rungs}
    found |= {("Ladder", str(one.rungs[0].at)): (one.file, one.line) for one in whole.ladder}
    found |= {("Route", one.route_class): (one.file, one.line) for one in (whole.routes[0], whole.routes[-1])}
    starts = {
        **{("Rule", rule.name): f"name: {rule.name}" for rule in RULES[:-1]},
        **{("Example", one.name): f"name: {one.name}" + ("," if "of" in one.name else "") for one in EXAMPLES[:-1]},
        ("Rule", "trap"): "  mode: observe\n  challenge",
        ("Limit", "slow"): "name: slow\n",
        ("Limit", "exports"): "name: exports\n",
        ("Limit", "hours"): "name: hours,",
        ("Limit", "side by side"): "name: side by side,",
        ("Limit", "volume"): "name: volume\n",
        ("Rule", "agents: Zzyzx"): "Zzyzx:",
        ("Rule", "agents: ai-train"): "ai-train: allow",
        ("Rule", "agents: ai-se*"): "ai-se*:",
        ("Rung", "1"): "{at: 1,",
        ("Rung", "10000"): "at: 10000\n",
        ("Rung", "7"): "{at: 7",
        ("Ladder", "1"): "route: [page, search]",
        ("Ladder", "7"): "{at: 7",
        ("Route", "media"): "class: media",
    }
    included = {
        ("Rule", "more"): 7,
        ("Example", "more"): 13,
        ("Limit", "fast"): 5,
        ("Rule", "agents: headless"): 9,
        ("Rung", "9"): 11,
        ("Ladder", "9"): 11,
        ("Route", "artwork"): 3,
    }
    expected = {key: (str(tmp_path / "whole.yaml"), line_of(WHOLE, start)) for key, start in starts.items()}
    assert found == expected | {key: (more, line) for key, line in included.items()}


def test_a_policy_is_named_by_its_file_and_by_a_dozen_characters_of_hash(whole: Policy, tmp_path: Path) -> None:
    assert whole.file == str(tmp_path / "whole.yaml")
    assert [Path(source).name for source in whole.sources] == ["whole.yaml", "more.yaml", "spa.yaml", "asn.tsv"]
    assert len(whole.version) == 12
    assert int(whole.version, 16)
    (warning,) = whole.warnings
    line = line_of(WHOLE, "Zzyzx:")
    assert (warning.file, warning.line, warning.level) == (whole.file, line, "warning")


def test_a_host_says_what_it_says_and_the_rest_is_the_files(whole: Policy) -> None:
    (two,) = whole.scopes
    assert two == replace(
        whole,
        site=replace(whole.site, name="Two"),
        mode=Mode.ENFORCE,
        rules=(TRAP_RULE, Rule("two", (Condition("path", frozenset({"/two"})),), "block"), *RULES),
        examples=(Example("a page of two", "/two", "block"),),
        hosts=("two.radio.example",),
        scopes=(),
        warnings=(),
    )
    assert two.rules[1].line == line_of(WHOLE, "name: two,")
    assert (two.rules[2].line, two.rules[-1].line) == (whole.rules[1].line, 7)


def test_what_a_policy_leaves_out_has_a_stated_meaning() -> None:
    policy = read_policy(HEAD)
    assert replace(policy, version="", sources=()) == Policy(
        Site("x"), Mode.ENFORCE, "allow", (), "page", {}, (), (), file="policy"
    )


def test_the_policy_of_many_hosts_has_none_within_its_hosts(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        files.append(tmp_path / f"{name}.yaml")
        text = HEAD.replace("x}", f"{name}, hosts: {name}.example}}")
        rules = f"rules: [{{name: r, when: {{agent: Zzyzx-{name}}}, then: block}}]\n"
        files[-1].write_text(f"{text}{rules}hosts: [{{names: {name}2.example}}]\n")
    policy = load_policies(files)
    assert [scope.hosts for scope in policy.scopes] == [("a2.example",), ("b.example",), ("b2.example",)]
    assert [scope.scopes for scope in policy.scopes] == [(), (), ()]
    assert [Path(warning.file).name for warning in policy.warnings] == ["a.yaml", "b.yaml"]
    assert len(policy.version) == 12
    assert policy.version not in {scope.version for scope in policy.scopes}


def test_of_three_policies_the_last_two_must_not_disagree_either(tmp_path: Path) -> None:
    def limit(rate: str) -> str:
        return f"version: 1\nlimits:\n\n- {{name: slow, rate: {rate}}}\n"

    (tmp_path / "a.yaml").write_text(HEAD)
    for name, rate in (("b", "600/min"), ("c", "700/min")):
        (tmp_path / f"{name}_limits.yaml").write_text(limit(rate))
        host = f"version: 1\nsite: {{name: x, hosts: [{name}.example, b2.example]}}\n"
        (tmp_path / f"{name}.yaml").write_text(f"{host}default: allow\ninclude: {name}_limits.yaml\n")
    with pytest.raises(PolicyError) as caught:
        load_policies([tmp_path / f"{name}.yaml" for name in "abc"])
    found = {(problem.file, problem.line, problem.message) for problem in caught.value.problems}
    first = tmp_path / "b.yaml"
    assert found == {
        (str(tmp_path / "c.yaml"), 0, f"host 'b2.example' is also in {first}"),
        (
            str((tmp_path / "c_limits.yaml").resolve()),
            4,
            f"limit 'slow' is another one in {first}: give one of them another name",
        ),
    }


# -- what is around the reading -------------------------------------------------------------------------------


def test_names_are_those_of_the_catalogue_that_is_given(tmp_path: Path) -> None:
    ours = Catalogue([Agent("OurBot", "ourbot", "OurBot", "Us", "ai-train", ("train-ai",))])
    text = HEAD + "rules: [{name: r, when: {agent: OurBot, operator: Us}, then: block}]\n"
    (tmp_path / "p.yaml").write_text(text)
    paths = [tmp_path / "p.yaml"]
    for policy in (load_policy(paths[0], ours), load_policies(paths, ours), read_policy(text, "p.yaml", ours)):
        assert (policy.warnings, policy.rules[0].when[1]) == ((), Condition("operator", frozenset({"us"})))
    with pytest.raises(PolicyError, match="unknown operator 'Us'"):
        load_policy(paths[0])
    ((line, message),) = problems_of(text.replace("OurBot", "OrBot"), ours)
    assert (line, message) == (4, "rule 'r': when: unknown agent 'OrBot', did you mean 'OurBot'?")


def test_a_file_that_is_no_text_or_has_no_end_is_one_problem_of_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    for content, message in (
        (b"version: 1 # \xff\n", "not UTF-8 text: invalid start byte"),
        (b"#" * (4 * 1024 * 1024 + 1), "larger than 4096 KiB"),
    ):
        path.write_bytes(content)
        with pytest.raises(PolicyError) as caught:
            load_policy(path)
        (problem,) = caught.value.problems
        assert (problem.file, problem.line, problem.message) == (str(path), 0, message)


@pytest.mark.parametrize("name", ["none", "routes/navidrome", "../policies/no-ai"])
def test_a_policy_that_does_not_ship_is_told_by_its_name(name: str) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        shipped_policy(name)
    assert str(caught.value) == f"no shipped policy '{name}'"


@pytest.mark.parametrize("text", [HEAD, "version: 2\n"])
def test_reading_leaves_the_collector_of_rubbish_as_it_was(text: str) -> None:
    before = gc.isenabled()
    try:
        for turn, expected in ((gc.enable, True), (gc.disable, False)):
            turn()
            try:
                read_policy(text)
            except PolicyError:
                assert text != HEAD
            assert gc.isenabled() is expected
    finally:
        (gc.enable if before else gc.disable)()


# -- limits ---------------------------------------------------------------------------------------------------

SITE_OF_ALL = "version: 1\nsite: {name: x, account: {query: a}, session: {cookie: s}}\ndefault: allow\n"


def limit_of(words: str) -> Limit:
    (limit,) = read_policy(f"{SITE_OF_ALL}limits:\n- {{name: l, {words}}}\n").limits
    return limit


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        ("rate: 60/min", Limit("l", 60, 60.0, 60)),
        ("rate: 2/s, burst: 1, precision: leased", Limit("l", 2, 1.0, 1)),
        ("rate: 1 kB/s", Limit("l", 1000, 1.0, 1000, unit="bytes")),
        ("rate: 3GiB/day, burst: 512 MiB", Limit("l", 3 * 2**30, 86400.0, 2**29, unit="bytes")),
        ("rate: 1000 TB/day", Limit("l", 10**15, 86400.0, 10**15, unit="bytes")),
        ("rate: 90 min audio/hour, burst: 3 h audio", Limit("l", 5400, 3600.0, 10_800, unit="audio-seconds")),
        ("quota: 50/day", Limit("l", 50, 86400.0, 50, kind="quota", period="day", precision="exact")),
        (
            "quota: 20 GB / month, precision: exact",
            Limit(
                "l", 20 * 10**9, 2592000.0, 20 * 10**9, kind="quota", period="month", precision="exact", unit="bytes"
            ),
        ),
        ("at_once: 3, key: [account]", Limit("l", 3, 0.0, 3, ("account",), kind="concurrent", precision="exact")),
        ("rate: 10/s, cost: 10", Limit("l", 10, 1.0, 10, cost=10)),
        ("rate: 1/day, burst: 36600", Limit("l", 1, 86400.0, 36600)),
        (
            "rate: 1/s, key: [client, prefix, address, agent, operator, site, route]",
            Limit("l", 1, 1.0, 1, ("client", "prefix", "address", "agent", "operator", "site", "route")),
        ),
    ],
)
def test_a_limit_is_read_with_its_kind_its_unit_and_its_key(words: str, limit: Limit) -> None:
    assert limit_of(words) == limit


@pytest.mark.parametrize(
    "words",
    [
        "rate: 16 h/day",
        "rate: 1 gb/s",
        "rate: 1.5 GB/s",
        "rate: 0 MB/s",
        "rate: 5 m audio/s",
        "quota: 5/week",
        "quota: /day",
    ],
)
def test_what_is_no_amount_is_not_guessed_at(words: str) -> None:
    (problem,) = problems_of(f"{HEAD}limits:\n- {{name: l, {words}}}\n")
    assert "must look like" in problem[1]


def test_a_limit_with_when_holds_for_whatever_is_let_pass() -> None:
    policy = read_policy(
        f"{HEAD}limits:\n- {{name: l, rate: 500/s, when: {{path: /x/**}}, reason: A lot.}}\n"
        "rules:\n- {name: shut, when: {path: /x/shut}, then: block}\n"
        "- {name: open, when: {path: /x/open}, then: allow}\n"
    )
    (rule,) = policy.limiting
    assert rule.limits == policy.limits

    def decided(path: str) -> tuple[str, str, tuple[Limit, ...]]:
        evidence = policy.evidence(Agent("a", "", "", "", "tool", ()), Identity.UNKNOWN, path, "GET", ())
        verdict = decide(policy, evidence)
        return verdict.action, verdict.rule.name if verdict.rule else "", verdict.limits

    assert decided("/x/y") == ("throttle", "l", policy.limits)
    assert decided("/x/open") == ("throttle", "open", policy.limits)
    assert decided("/x/shut") == ("block", "shut", ())
    assert decided("/y") == ("allow", "", ())
    steps = {
        step.rule.name: step.matched
        for step in trace(
            policy, policy.evidence(Agent("a", "", "", "", "tool", ()), Identity.UNKNOWN, "/x/y", "GET", ())
        )
    }
    assert steps == {"shut": False, "open": False, "l": True}


def test_hosts_and_included_files_bring_limits_that_hold_by_themselves(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text(
        "version: 1\nlimits:\n- {name: more, rate: 900/s, when: {path: /more}}\n"
        "- {name: own, rate: 1/s, when: {path: /no}}\n"
    )
    (tmp_path / "p.yaml").write_text(
        f"{HEAD}include: more.yaml\nlimits: [{{name: own, rate: 800/s, when: {{path: /own}}}}]\n"
        "hosts:\n- names: a.example\n  limits: [{name: a, rate: 700/s, when: {path: /a}}]\n- names: b.example\n"
    )
    policy = load_policy(tmp_path / "p.yaml")
    names = {one.hosts: [rule.name for rule in one.limiting] for one in (policy, *policy.scopes)}
    assert names == {(): ["own", "more"], ("a.example",): ["a", "own", "more"], ("b.example",): ["own", "more"]}
    assert policy.limiting[0].when == (Condition("path", frozenset({"/own"})),)


def test_a_limit_with_dates_holds_on_its_days() -> None:
    policy = read_policy(f"{HEAD}limits: [{{name: l, rate: 900/s, when: {{path: /x}}, from: 2026-12-01}}]\n")
    assert policy.turns == (DECEMBER,)
    assert policy.at(DECEMBER - 1).limiting == ()
    assert policy.at(DECEMBER).limiting == (replace(policy.limiting[0], from_s=-inf),)


def test_a_limit_may_ask_for_labels_that_rules_note() -> None:
    text = (
        "limits: [{name: l, rate: 900/s, when: {label: %s}}]\nrules: [{name: odd, when: {agent: curl}, then: label}]\n"
    )
    assert read_policy(HEAD + text % "odd").limiting[0].when == (Condition("label", frozenset({"odd"})),)
    assert problems_of(HEAD + text % "od") == [
        (4, "limit 'l': when: no rule above notes the label 'od', did you mean 'odd'?")
    ]


def test_the_cost_of_a_row_and_of_a_step_is_read_and_held_against_the_limit() -> None:
    text = (
        "limits: [{name: l, rate: 900/s, burst: %s}]\nagents:\n  seo: {then: throttle, limit: l, cost: 7}\n"
        "ladder:\n- steps: [{at: 5, then: throttle, limit: l, cost: 8}]\n"
    )
    policy = read_policy(HEAD + text % 8)
    assert (policy.rows[0].cost, policy.ladder[0].rungs[0].rule.cost) == (7, 8)
    assert [line for line, _ in problems_of(HEAD + text % 6)] == [6, 8]


# -- the table of networks ------------------------------------------------------------------------------------


def with_table(folder: Path, rows: str, more: str = "") -> Policy:
    (folder / "asn.tsv").write_text(rows)
    (folder / "p.yaml").write_text(HEAD.replace("x}", "x, asn_table: asn.tsv}") + more)
    return load_policy(folder / "p.yaml")


def test_another_table_is_another_version_of_the_policy(tmp_path: Path) -> None:
    before, same, after = (with_table(tmp_path, f"192.0.2.0/24,{number}\n") for number in (1, 1, 2))
    assert before.version == same.version != after.version
    assert len(after.version) == 12
    assert str(tmp_path / "asn.tsv") in after.sources


def test_what_is_wrong_in_the_table_is_told_there(tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as caught:
        with_table(tmp_path, "192.0.2.0/24,1\nnothing\n")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (str(tmp_path / "asn.tsv"), 2)


def test_a_host_may_have_a_table_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "other.tsv").write_text("192.0.2.0/24,2\n")
    hosts = "hosts:\n- {names: a.example, site: {asn_table: other.tsv}}\n- {names: b.example}\n"
    policy = with_table(tmp_path, "192.0.2.0/24,1\n", hosts)
    found = [one.asn.of("192.0.2.1") for one in (policy, *policy.scopes) if one.asn is not None]
    assert found == [1, 2, 1]
    assert Guard(policy).client(Request("GET", b"/", b"", "192.0.2.9")).asn == 1
    assert Guard(policy).client(Request("GET", b"/", b"", "192.0.3.9")).asn == 0


# -- mistakes that no file of bad policies has ----------------------------------------------------------------

FORM = "expected a mapping (key: value)"
RULED = "rules:\n- name: r\n  when: {path: /x}\n"
CLASSES = f"(one of: {', '.join(ROUTE_CLASSES)})"
EXAMPLED = "examples:\n- name: e\n  path: /x\n  expect: allow\n"
TEXTS_FORM = "expected a value or a list of values"
AT = "ladder: steps: needs 'at', a whole number from 1 to 10000"
WEIGH = "rule 'r': 'weigh' must be a whole number from -100 to +100, and not 0"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        # hosts
        (
            "hosts:\n- mode: observe\n  names: [a.example]\n- mode: observe\n\n  names: A.example\n",
            [(9, "hosts: 'a.example' is named twice (first on line 5)")],
        ),
        ("hosts: [a.example]\n", [(4, f"hosts: {FORM}")]),
        ("hosts:\n- names: {a: b}\n", [(5, f"hosts: {TEXTS_FORM}")]),
        ("hosts:\n- names: a.example\n  site: text\n", [(6, f"site: {FORM}")]),
        (f"hosts:\n- names: {'a' * 256}\n", [(5, f"hosts: '{'a' * 256}' is not a host: write music.example or …")]),
        # routes
        (
            "routes:\n- class: page\n  paths:\n  - /a#b\n  - /a/./b\n  - /./a\n  - /b/..\n",
            [
                (7, "routes: class 'page': path '/a#b': write it decoded and without a query"),
                (8, "routes: class 'page': path '/a/./b': no dot segments or empty segments"),
                (9, "routes: class 'page': path '/./a': no dot segments or empty segments"),
                (10, "routes: class 'page': path '/b/..': no dot segments or empty segments"),
            ],
        ),
        ("routes:\n- paths: /x\n  class: [page]\n", [(6, "routes: route class must be one word")]),
        # preferences, limits
        (
            "preferences: {search: allow, audio: {search: [a]}, lyrics: b}\n",
            [(4, "preferences: audio: search: preference must be one word"), (4, f"preferences: lyrics: {FORM}")],
        ),
        ("preferences:\n  audio: [search]\n", [(5, f"preferences: audio: {FORM}")]),
        ("preferences:\n  audio:\n    search: maybe\n", [(6, "preferences: audio: search: unknown preference…")]),
        (
            "limits:\n- name: slow\n  rate: [1/s]\n- name: fast\n  rate: 1/s\n  burst: 0\n  key: {a: b}\n",
            [
                (6, "limit 'slow': 'rate' must look like 60/min, 200 MB/hour or 2 h audio/day (times: …"),
                (9, "limit 'fast': 'burst' must be at least 1"),
                (10, f"limit 'fast': {TEXTS_FORM}"),
            ],
        ),
        ("on_store_failure:\n  page: [open]\n", [(5, "on_store_failure: page: word must be one word")]),
        # rules
        *(
            (f"rules:\n- name: r\n  when: {{path: /x}}\n  weigh: {word}\n", [(7, WEIGH)])
            for word in ("[1]", "{a: b}", "0", "-101", "101", "+-1", "1.5")
        ),
        (
            "rules:\n- when: {path: /x}\n  raeson: a\n",
            [
                (5, "rules: needs a 'name'…"),
                (5, "rules: needs 'then' (allow, label, throttle, block) or 'weigh'"),
                (6, "rules: unknown key 'raeson', did you mean 'reason'?"),
            ],
        ),
        *(
            (
                f"limits: [{{name: a, rate: 10/s}}]\nrules:\n- {{name: r, when: {when}, then: throttle, limit: a}}\n",
                [(6, f"rule 'r': {what} open to everyone, always: {out} out")],
            )
            for when, what, out in (
                ("{route: directive}", "directive files are", "take 'directive'"),
                ("{path: /robots.txt}", "'/robots.txt' is a directive file,", "take it"),
            )
        ),
        (RULED + "  then: block\n  mode: [observe]\n", [(8, "rule 'r': mode must be one word")]),
        (RULED + "  then: label\n  label: [a]\n", [(8, "rule 'r': 'label' must be text")]),
        (RULED + "  then: throttle\n  limit: [a]\n", [(8, "rule 'r': unknown limit 'a' (there is none)")]),
        (RULED + "  then: block\n  from: [a]\n", [(8, "rule 'r': from: '' is no date: write a day like …")]),
        (
            "rules:\n- name: r\n  when: {path: x}\n  then: block\n",
            [(6, "rule 'r': when: path 'x' must start with '/'")],
        ),
        ("rules:\n- name: r\n  when: {not: agent}\n  then: block\n", [(6, f"rule 'r': when: not: {FORM}")]),
        (
            "rules:\n- name: r\n  when: {all: [{path: /x},\n   {route: [page, directive]}]}\n  then: block\n",
            [(7, "rule 'r': directive files are open to everyone, always: take 'directive' out")],
        ),
        *(
            (f"rules:\n- name: r\n  when: {when}\n  then: block\n", [(5, f"rule 'r': '{path}' is a directive file…")])
            for when, path in (
                ("{not: {path: /y}, path: /robots.txt}", "/robots.txt"),
                ("{path: /robots.txt, any: [{path: /x}]}", "/robots.txt"),
                ("{any: [{agent: GPTBot}, {path: /ROBOTS.txt}], path: /x}", "/ROBOTS.txt"),
            )
        ),
        *(
            (
                f"rules:\n- name: r\n  when: {when}\n  then: block\n",
                [(6, f"rule 'r': when: '{word}' nested deeper than 4 levels: make two rules")],
            )
            for word, when in (
                ("not", "{any: [{all: [{any: [{not: {path: /x}}]}]}]}"),
                ("any", "{any: [{all: [{any: [{any: [{path: /x}]}]}]}]}"),
                ("all", "{not: {any: [{any: [{all: [{path: /x}]}]}]}}"),
            )
        ),
        (
            "".join(["rules:\n", *(f"- {{name: {name}, when: {{agent: GPTBoot}}, then: block}}\n" for name in "rs")]),
            [
                (5, "rule 'r': when: unknown agent 'GPTBoot', did you mean 'GPTBot'?"),
                (6, "rule 's': when: unknown agent 'GPTBoot', did you mean 'GPTBot'?"),
            ],
        ),
        (
            "hosts:\n- names: a.example\n  rules:\n  - {name: n, when: {path: /x}, then: label}\n"
            "  - {name: r, when: {label: n}, then: block}\n"
            "- names: b.example\n  rules:\n  - {name: s, when: {label: n}, then: block}\n",
            [(11, "rule 's': when: no rule above notes the label 'n' (there is none)")],
        ),
        (
            f"rules:\n- {{name: r, when: {{user_agent: '{'a' * 513}'}}, then: block}}\n",
            [(5, "rule 'r': when: user_agent: up to 512 ASCII characters")],
        ),
        (
            "rules:\n- {name: r, when: {user_agent: ' * *'}, then: block}\n",
            [(5, "rule 'r': when: user_agent ' * *' would match everybody")],
        ),
        # agents' rows
        ("agents:\n  search: [block]\n", [(5, f"agents: search: {FORM}")]),
        ("agents:\n  search:\n    then: block\n    mode: [a]\n", [(7, "agents: search: mode must be one word")]),
        ("agents:\n  search:\n    then: block\n    reason: [a]\n", [(7, "agents: search: 'reason' must be text")]),
        ("agents:\n  search:\n    then: block\n    agents: a\n", [(7, f"agents: search: agents: {FORM}")]),
        (
            "agents:\n  search:\n    then: block\n    agents:\n      Googlebot: [a]\n      Bingbot: {mode: observe}\n",
            [
                (8, f"agents: search: Googlebot: {FORM}"),
                (9, "agents: search: Bingbot: needs 'then' (allow, throttle, block, inherit)"),
            ],
        ),
        # ladders
        ("ladder:\n- steps: [{at: 1, then: block}]\n  route: {a: b}\n", [(6, f"ladder: route: {TEXTS_FORM}")]),
        ("ladder:\n- steps: [{at: 1, then: block}]\n  route: []\n", [(6, "ladder: route: an empty list: it could…")]),
        (
            "ladder:\n- steps: [{at: 1, then: block}]\n  route: audio\n",
            [(6, f"ladder: unknown route class 'audio' {CLASSES}")],
        ),
        ("ladder:\n- route: page\n  steps: {at: 1}\n", [(6, "ladder: 'steps' must be a list")]),
        ("ladder:\n- route: page\n  steps: [block]\n", [(6, f"ladder: steps: {FORM}")]),
        (
            "ladder:\n- steps:\n  - {at: 5, then: block}\n  - {at: 5, then: block}\n",
            [(7, "ladder: steps must rise: 5 follows 5")],
        ),
        (
            "ladder:\n- steps:\n  - then: block\n    at: 10001\n  - then: block\n",
            [(7, AT), (8, AT), (8, "ladder: steps must rise: 1 follows 10001")],
        ),
        ("ladder:\n- steps:\n  - then: block\n    at: 0\n", [(7, AT)]),
        (
            "ladder:\n- steps:\n  - {at: 1, then: block, raeson: a}\n  - {mode: a, at: 2, then: [a], reason: [a]}\n",
            [
                (6, "ladder: steps: unknown key 'raeson', did you mean 'reason'?"),
                (7, "ladder: steps: unknown key 'mode'…"),
                (7, "ladder: at 2: action must be one word"),
                (7, "ladder: at 2: 'reason' must be text"),
            ],
        ),
        ("ladder:\n- steps: [{}]\n", [(5, AT), (5, "ladder: at 1: needs 'then' (throttle, block)")]),
        # examples
        (EXAMPLED + "  method: [GET]\n", [(8, "example 'e': 'method' must be text")]),
        (EXAMPLED + "  method: BREW\n", [(8, "example 'e': unknown method 'BREW' (one of: GET, HEAD, …")]),
        (EXAMPLED + "  user_agent: [a]\n", [(8, "example 'e': 'user_agent' must be text")]),
        (EXAMPLED + "  ip: [a]\n", [(8, "example 'e': 'ip' must be text")]),
        (
            EXAMPLED + "  rule: [a]\n",
            [(8, "example 'e': rule must be one word"), (8, "example 'e': 'rule' must be text")],
        ),
        (EXAMPLED + "  identity: [spoofed]\n", [(8, "example 'e': identity must be one word")]),
        (EXAMPLED + "  identity: spoofd\n", [(8, "example 'e': unknown identity 'spoofd', did you mean 'spoofed'?")]),
        (EXAMPLED + "  labels: [[a]]\n", [(8, "example 'e': labels: expected text in this list")]),
        (EXAMPLED + "  weight: [5]\n", [(8, "example 'e': 'weight' must be a whole number, up to five digits")]),
        (EXAMPLED + "  weight: 100000\n", [(8, "example 'e': 'weight' must be a whole number, up to five digits")]),
        ("examples:\n- name: e\n  expect: [a]\n  path: /x\n", [(6, "example 'e': action must be one word")]),
        ("examples:\n- name: e\n  path: [a]\n", [(6, "example 'e': needs a 'path' that starts with '/'")]),
    ],
)
def test_each_mistake_is_told_on_its_own_line_and_in_these_words(text: str, problems: list[tuple[int, str]]) -> None:
    found = problems_of(HEAD + text)
    assert [line for line, _ in found] == [line for line, _ in problems]
    for (_, message), (_, expected) in zip(found, problems, strict=True):  # "…" for the rest
        assert message.startswith(expected[:-1]) if expected.endswith("…") else message == expected


SITED = "version: 1\ndefault: allow\nsite:\n  name: x\n"
PLAIN = "must be one line of plain text"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("  contact: [a]\n", 5, "'contact' must be text"),
        ("  sitemap: {a: b}\n", 5, "'sitemap' must be text"),
        ('  contact: "a\\x1fb"\n', 4, f"'contact' {PLAIN}"),
        ('  sitemap: "a\\x7fb"\n', 4, f"'sitemap' {PLAIN}"),
        ('  sitemap: "a\\0b"\n', 4, f"'sitemap' {PLAIN}"),
        ("  client_ip_header: x y\n", 5, "'x y' is not a header name"),
        ("  client_ip_header: [a]\n", 5, "'client_ip_header' must be text"),
        ("  trusted_hops: 1\n", 5, "'trusted_hops' needs 'trusted_proxies': who may be a hop"),
        ("  trusted_hops: -1\n", 5, "'trusted_hops' must be a whole number"),
        ("  trusted_proxies: {a: b}\n", 5, TEXTS_FORM),
        ("  trusted_proxies:\n  - 10.0.0.0/8\n  - ::/0\n", 7, "'::/0' would let anybody choose their address"),
        ("  trusted_proxies:\n  - 10.0.0.0/8\n  - 10.0.0.1/8\n", 7, "'10.0.0.1/8' is not a network: has host bits set"),
        ("  trust_unix: [a]\n", 5, "value for 'trust_unix' must be one word"),
        ("  case_sensitive: [a]\n", 5, "value for 'case_sensitive' must be one word"),
        ("  strip_prefixes: {a: b}\n", 5, TEXTS_FORM),
        ("  strip_prefixes:\n  - //b\n  - /c\n", 6, "path '//b': no dot segments or empty segments"),
        ("  hosts: []\n", 5, "an empty list: it could never match"),
        ("  hosts:\n  - [a]\n", 6, "expected text in this list"),
        ("  published_networks:\n    GPTBot: {a: b}\n", 6, f"published_networks: 'GPTBot': {TEXTS_FORM}"),
        ("  published_networks:\n    GPTBot: [[a]]\n", 6, "published_networks: 'GPTBot': expected text in this list"),
        (
            "  published_networks:\n    GPTBoot: 10.0.0.0/8\n",
            6,
            "published_networks: 'GPTBoot': unknown agent 'GPTBoot', did you mean 'GPTBot'?",
        ),
    ],
)
def test_each_mistake_about_the_site_is_told_on_its_own_line(text: str, line: int, message: str) -> None:
    assert problems_of(SITED + text) == [(line, f"site: {message}")]


def test_one_mistake_about_the_site_does_not_hide_another() -> None:
    assert problems_of("version: 1\ndefault: allow\nsite:\n  trust_unix: [a]\n  trusted_hops: 1\n  name: [a]\n") == [
        (4, "site: needs a 'name'"),
        (4, "site: value for 'trust_unix' must be one word"),
        (5, "site: 'trusted_hops' needs 'trusted_proxies': who may be a hop"),
        (6, "site: 'name' must be text"),
    ]


def test_what_is_just_within_the_bounds_is_taken() -> None:
    (rule,) = read_policy(f"{HEAD}rules:\n- {{name: r, when: {{user_agent: '{'a' * 512}'}}, then: block}}\n").rules
    assert rule.when == (Condition("user_agent", frozenset({"a" * 512})),)
    (deep,) = read_policy(
        f"{HEAD}rules:\n- {{name: r, when: {{not: {{any: [{{any: [{{path: /x}}]}}]}}}}, then: block}}\n"
    ).rules
    assert len(deep.when) == 1
    (limit,) = read_policy(f"{HEAD}limits: [{{name: slow, rate: 600/min, burst: 1}}]\n").limits
    assert limit.burst == 1
    nobody = read_policy(f"{SITED}  trusted_proxies: []\n  trust_unix: true\n  trusted_hops: 1\n").site
    assert (nobody.trusted_proxies, nobody.trusted_hops) == ((), 1)
    host = f"{'a' * 251}.org"
    assert read_policy(HEAD.replace("x}", f"x, hosts: {host}}}")).hosts == (host,)


IN_EVERY_BLOCK = [
    ("site:\n  name: [a]\n", 3, "site: 'name' must be text"),
    ("mode: [a]\n", 2, "mode must be one word"),
    ("default: maybe\n", 2, "unknown default 'maybe' (one of: allow, block)"),
    ("route_default: [a]\n", 2, "route class must be one word"),
    ("preferences:\n  search: [a]\n", 3, "preferences: search: preference must be one word"),
    ("routes:\n- {class: page}\n", 3, "routes: class 'page' needs 'paths'"),
    ("limits:\n- {name: a}\n", 3, "limit 'a': needs 'rate' (60/min), 'quota' (50/day) or 'at_once' (3)"),
    ("rules:\n- {name: r, when: {path: /x}}\n", 3, "rule 'r': needs 'then' (allow, label, throttle, block) or 'weigh'"),
    ("agents:\n  search: throttle\n", 3, "agents: search: 'throttle' needs 'limit: NAME' (one of 'limits')"),
    ("agents:\n  search:\n    mode: observe\n", 4, "agents: search: needs 'then' (allow, throttle, block, inherit)"),
    ("ladder:\n- {route: page}\n", 3, "ladder: needs 'steps' (a list of 'at' and 'then')"),
    (
        "ladder:\n- steps:\n  - {at: 2, then: block}\n  - {at: 1, then: block}\n",
        5,
        "ladder: steps must rise: 1 follows 2",
    ),
    ("on_store_failure: maybe\n", 2, "on_store_failure: unknown word 'maybe' (one of: local, open, closed)"),
    ("examples:\n- {name: e, path: /x}\n", 3, "example 'e': needs 'expect' (allow, throttle, block)"),
    (
        "rules:\n- {name: r, when: {path: /robots.txt}, then: block}\n",
        3,
        "rule 'r': '/robots.txt' is a directive file, open to everyone, always: take it out",
    ),
    ("hosts:\n- {mode: observe}\n", 3, "hosts: needs 'names' (the hosts that this is for)"),
]


@pytest.mark.parametrize(("block", "line", "message"), IN_EVERY_BLOCK, ids=[row[2][:30] for row in IN_EVERY_BLOCK])
def test_a_mistake_in_an_included_file_is_told_there(tmp_path: Path, block: str, line: int, message: str) -> None:
    (tmp_path / "part.yaml").write_text(f"version: 1\n{block}")
    said = "\n".join(one for one in HEAD.splitlines() if not block.startswith(one[:5]))
    (tmp_path / "p.yaml").write_text(f"{said}\ninclude: part.yaml\n")
    with pytest.raises(PolicyError) as caught:
        load_policy(tmp_path / "p.yaml")
    found = [(problem.file, problem.line, problem.message) for problem in caught.value.problems]
    assert (str((tmp_path / "part.yaml").resolve()), line, message) in found
    assert {file for file, _, said in found if said == message} == {str((tmp_path / "part.yaml").resolve())}


def test_an_agent_that_nobody_knows_may_stand_under_any_row() -> None:
    policy = read_policy(f"{HEAD}agents:\n  search:\n    then: block\n    agents: {{Zzyzx: allow}}\n")
    assert [(row.name, row.then) for row in policy.rows] == [("agents: Zzyzx", "allow"), ("agents: search", "block")]
    assert [warning.message for warning in policy.warnings] == [
        "agents: search: agent 'Zzyzx' is not in the catalogue: nobody is known by that name"
    ]


def test_two_rules_that_name_a_stranger_are_two_warnings() -> None:
    rules = "".join(f"- {{name: {name}, when: {{agent: Zzyzx}}, then: block}}\n" for name in "rs")
    warnings = read_policy(f"{HEAD}rules:\n{rules}").warnings
    assert [(warning.line, warning.message[:8]) for warning in warnings] == [(5, "rule 'r'"), (6, "rule 's'")]


# -- what was read, at its very edge --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "weight", "reached"),
    [
        ("page", 49, [False, False]),
        ("page", 50, [True, False]),
        ("page", 79, [True, False]),
        ("page", 80, [False, True]),
        ("directive", 80, []),  # open to everyone: no step is even asked
    ],
)
def test_a_step_of_the_ladder_is_reached_with_just_its_sum(route: str, weight: int, reached: list[bool]) -> None:
    policy = read_policy(
        f"{HEAD}rules:\n- {{name: r, when: {{method: GET}}, weigh: {weight}}}\n"
        "ladder:\n- steps: [{at: 50, then: block}, {at: 80, then: block}]\n"
    )
    evidence = Evidence((), (), (), (), (), (route,), (), ("GET",), ())
    _, *steps = trace(policy, evidence)
    assert [step.matched for step in steps] == reached
    assert [step.rule for step in steps if step.matched] == [
        rule for rule in (decide(policy, evidence).rule,) if rule is not None
    ]


def test_a_condition_without_any_value_holds_for_nobody() -> None:
    nothing = Condition("agent", frozenset())
    never = Rule("never", (nothing, Condition("operator", frozenset({"us"}))), "block")
    policy = replace(read_policy(HEAD), rules=(never, Rule("alone", (nothing,), "block")))
    evidence = Evidence(("ourbot",), ("us",), (), (), (), ("page",), (), ("GET",), ())
    assert decide(policy, evidence).action == "allow"


# -- what one mistake must not hide --------------------------------------------------------------------------


def test_a_block_of_robots_txt_is_seen_below_a_rule_that_allows_it() -> None:
    found = problems_of(
        "version: 1\nsite: {name: x}\ndefault: allow\nrules:\n"
        "- {name: fine, when: {path: /robots.txt}, then: allow}\n"
        "- {name: wrong, when: {path: /robots.txt}, then: block}\n"
    )
    assert [line for line, _ in found] == [6]


def test_where_case_counts_another_spelling_is_another_path() -> None:
    policy = read_policy(
        "version: 1\nsite: {name: x, case_sensitive: true}\ndefault: allow\n"
        "rules: [{name: r, when: {path: /ROBOTS.TXT}, then: block}]\n"
    )
    assert policy.rules[0].then == "block"


def test_rows_of_equal_width_stand_side_by_side() -> None:
    policy = read_policy(
        "version: 1\nsite: {name: x}\ndefault: allow\nagents:\n"
        "  ai-train: {then: block, agents: {GPTBot: allow, ClaudeBot: allow}}\n"
        '  "ai-a*": block\n  "ai-d*": block\n'
    )
    assert [row.name for row in policy.rows][:2] == ["agents: GPTBot", "agents: ClaudeBot"]


def test_after_a_row_for_everybody_the_next_mistake_is_named_too() -> None:
    found = problems_of('version: 1\nsite: {name: x}\ndefault: allow\nagents:\n  "*": block\n  ai-tain: block\n')
    assert [line for line, _ in found] == [5, 6]


def test_a_warning_does_not_keep_listeners_from_being_asked_about() -> None:
    found = problems_of(
        "version: 1\nsite: {name: x}\ndefault: allow\nlimits: [{name: slow, rate: 1/min}]\nrules:\n"
        "- {name: partner, when: {agent: Xq7zWvPartnerBot}, then: allow}\n"
        "- {name: all, when: {route: page}, then: throttle, limit: slow}\n"
    )
    assert any("would stop the listener" in message for _, message in found)


@given(st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){2,4}(/[0-9]{0,3})?", fullmatch=True) | st.ip_addresses(v=4).map(str))
def test_plain_networks_are_those_that_the_library_takes_as_they_are(text: str) -> None:
    def as_it_is(text: str) -> bool:
        try:
            return "/" in text and str(ip_network(text)) == text
        except ValueError:
            return False

    for length in ("", "/0", "/8", "/24", "/32", "/033"):
        assert _is_plain_network(text + length) is as_it_is(text + length)
    if text.count(".") == 3 and "/" not in text and as_it_is(f"{text}/32"):
        whole = str(ip_network(f"{text}/20", strict=False))
        assert _is_plain_network(whole)

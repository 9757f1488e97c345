"""A policy's own facts on agents, and how it wants claims checked: read whole, or refused with file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from guard import Guard, PolicyError, Request, load_policy
from guard.load import catalogue_of, read_policy, shipped_catalogue
from guard.model import Decision, Signatures, Verification, Verifying

HEAD = "version: 1\nsite: {name: x}\ndefault: allow\n"
NO_AI = f'{HEAD}agents: {{"ai-*": block}}\n'


def decision(guard: Guard, user_agent: str) -> Decision:
    return guard.decide(Request("GET", b"/x", user_agent.encode(), "192.0.2.1"))


def action(text: str, user_agent: str) -> str:
    return decision(Guard(read_policy(text)), user_agent).action


def refusals(text: str) -> list[tuple[str, int, str]]:
    with pytest.raises(PolicyError) as caught:
        read_policy(text, "own.yaml")
    return [(problem.file, problem.line, problem.message) for problem in caught.value.problems]


# -- catalogue -----------------------------------------------------------------------------------------------


def test_an_agent_of_ones_own_is_matched_and_dealt_with() -> None:
    own = "catalogue:\n  ZorbHarvest: {operator: Zorb, category: ai-train, purposes: train-ai}\n"
    guard = Guard(read_policy(NO_AI + own))
    found = decision(guard, "Mozilla/5.0 (compatible; zorbharvest/2.1)")
    assert (found.agent.name, found.action, found.rule) == ("ZorbHarvest", "block", "agents: ai-*")
    assert decision(guard, "GPTBot/1.3").action == "block"
    assert action(NO_AI, "ZorbHarvest/2.1") == "allow"


def test_an_agent_of_ones_own_is_cautious_in_what_is_not_said() -> None:
    policy = read_policy(f"{HEAD}catalogue: {{Zorb: {{category: seo, purposes: [seo]}}}}")
    agent = catalogue_of(policy).by_name["zorb"]
    assert (agent.name, agent.product_token, agent.robots_token, agent.operator) == ("Zorb", "Zorb", "", "")
    assert (agent.match, agent.confidence, agent.respects_robots, agent.runs_on) == (
        "token",
        "medium",
        "unknown",
        "operator",
    )
    assert agent.verification == ()


def test_rules_may_name_an_agent_of_ones_own() -> None:
    text = (
        f"{HEAD}catalogue: {{Zorb: {{operator: Zorb Ltd, category: seo, purposes: [seo]}}}}\n"
        "rules:\n- {name: a, when: {agent: Zorb}, then: block}\n- {name: b, when: {operator: Zorb Ltd}, then: block}\n"
    )
    policy = read_policy(text)
    assert policy.warnings == ()
    assert decision(Guard(policy), "Zorb/1").rule == "a"


def test_a_fact_goes_before_what_ships_and_leaves_the_others() -> None:
    shipped = shipped_catalogue().by_name["googlebot"]
    policy = read_policy(f"{HEAD}catalogue: {{googlebot: {{respects_robots: 'no', category: ai-search}}}}")
    ours = catalogue_of(policy).by_name["googlebot"]
    assert (ours.respects_robots, ours.category) == ("no", "ai-search")
    assert (ours.name, ours.operator, ours.purposes, ours.verification) == (
        shipped.name,
        shipped.operator,
        shipped.purposes,
        shipped.verification,
    )
    assert shipped_catalogue().by_name["googlebot"] is shipped


def test_a_fact_that_is_changed_changes_what_is_decided() -> None:
    assert action(NO_AI, "Googlebot/2.1") == "allow"
    assert action(f"{NO_AI}catalogue: {{Googlebot: {{category: ai-search}}}}", "Googlebot/2.1") == "block"


def test_none_forgets_an_agent() -> None:
    text = f"{NO_AI}catalogue: {{CCBot: none}}"
    assert action(NO_AI, "CCBot/2.0") == "block"
    assert action(text, "CCBot/2.0") == "allow"
    assert "ccbot" not in catalogue_of(read_policy(text)).by_name
    assert action(text, "GPTBot/1.3") == "block"


def test_ways_to_check_are_read() -> None:
    text = (
        f"{HEAD}catalogue:\n  Zorb:\n    category: seo\n    purposes: seo\n    verification:\n"
        "      - {kind: ip-json, sources: https://zorb.example/bots.json}\n"
        "      - {kind: rdns, sources: [.crawl.zorb.example, zorb.example]}\n      - {kind: none}\n"
    )
    assert catalogue_of(read_policy(text)).by_name["zorb"].verification == (
        Verification("ip-json", ("https://zorb.example/bots.json",)),
        Verification("rdns", (".crawl.zorb.example", "zorb.example")),
        Verification("none", ()),
    )


@pytest.mark.parametrize("name", ["Zorb Search Bot", "zorb.bot-2", "9Zorb"])
def test_a_name_may_have_spaces_and_signs_inside(name: str) -> None:
    assert action(f"{NO_AI}catalogue: {{'{name}': {{category: ai-train, purposes: train-ai}}}}", f"{name}/1") == "block"


def test_an_included_fragment_adds_and_the_nearer_word_wins(tmp_path: Path) -> None:
    main = tmp_path / "main.yaml"
    main.write_text(f"{NO_AI}include: [agents.local.yaml]\ncatalogue: {{Both: {{category: seo, purposes: seo}}}}\n")
    (tmp_path / "agents.local.yaml").write_text(
        "version: 1\ncatalogue:\n  Both: {category: ai-train, purposes: train-ai}\n"
        "  Only: {category: ai-train, purposes: train-ai}\n"
    )
    guard = Guard(load_policy(main))
    assert [decision(guard, f"{name}/1").action for name in ("Both", "Only", "GPTBot")] == ["allow", "block", "block"]


def test_what_is_wrong_in_an_included_fragment_is_told_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "main.yaml").write_text(f"{HEAD}include: [agents.local.yaml]\n")
    (tmp_path / "agents.local.yaml").write_text("version: 1\ncatalogue:\n  Only: {category: ai-trian, purposes: seo}\n")
    with pytest.raises(PolicyError) as caught:
        load_policy(tmp_path / "main.yaml")
    problem = caught.value.problems[0]
    assert (Path(problem.file).name, problem.line) == ("agents.local.yaml", 3)
    assert "did you mean 'ai-train'?" in problem.message


def test_hosts_share_the_facts_of_their_file() -> None:
    text = f"{NO_AI}catalogue: {{Zorb: {{category: ai-train, purposes: train-ai}}}}\nhosts: [{{names: [a.example]}}]\n"
    policy = read_policy(text)
    assert catalogue_of(policy.scopes[0]) is catalogue_of(policy)


def test_a_policy_without_facts_knows_who_ships() -> None:
    assert read_policy(HEAD).catalogue is None
    assert read_policy(f"{HEAD}catalogue: {{}}").catalogue is None
    assert catalogue_of(read_policy(HEAD)) is shipped_catalogue()


ZORB = "{category: seo, purposes: seo"


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("[]", "catalogue: expected a mapping (key: value)"),
        ("{GPTBot: nome}", "catalogue: GPTBot: expected facts (category: …), or 'none' to forget the agent"),
        ("{GPTBot: [none]}", "catalogue: GPTBot: expected facts (category: …), or 'none' to forget the agent"),
        (
            "{GPTBut: none}",
            "catalogue: GPTBut: nobody of this name is known, so nobody can be left out, did you mean 'GPTBot'?",
        ),
        ("{browser: none}", "catalogue: browser: this is no agent's name"),
        (f"{{Unknown: {ZORB}}}}}", "catalogue: Unknown: this is no agent's name"),
        (f"{{declared-unknown: {ZORB}}}}}", "catalogue: declared-unknown: this is no agent's name"),
        (f'{{"a\\nb": {ZORB}, match: none}}}}', "catalogue: a\nb: this is no agent's name"),
        ("{GPTBot: {}}", "catalogue: GPTBot: says nothing"),
        ("{Zorb: {category: seo}}", "catalogue: Zorb: nobody of this name is known: needs 'purposes'"),
        ("{Zorb: {purposes: seo}}", "catalogue: Zorb: nobody of this name is known: needs 'category'"),
        ("{GPTBot: {catgory: seo}}", "catalogue: GPTBot: unknown key 'catgory', did you mean 'category'?"),
        (
            "{GPTBot: {samples: [x]}}",
            "catalogue: GPTBot: unknown key 'samples' ("
            "one of: operator, product_token, robots_token, category, purposes, match, respects_robots, confidence, "
            "runs_on, verification, docs)",
        ),
        (
            "{GPTBot: {category: ai-trian}}",
            "catalogue: GPTBot: unknown category 'ai-trian', did you mean 'ai-train'?",
        ),
        ("{GPTBot: {purposes: [tain-ai]}}", "catalogue: GPTBot: unknown purpose 'tain-ai', did you mean 'train-ai'?"),
        ("{GPTBot: {purposes: []}}", "catalogue: GPTBot: an empty list: it could never match"),
        (
            "{GPTBot: {match: regex}}",
            "catalogue: GPTBot: unknown match 'regex' (one of: token, token/, exact, robots-only, none)",
        ),
        (
            "{GPTBot: {confidence: sure}}",
            "catalogue: GPTBot: unknown confidence 'sure' (one of: high, medium, low)",
        ),
        ("{GPTBot: {runs_on: usr}}", "catalogue: GPTBot: unknown runs_on 'usr', did you mean 'user'?"),
        (
            "{GPTBot: {respects_robots: maybe}}",
            "catalogue: GPTBot: unknown respects_robots 'maybe' (one of: yes, no, partial, unknown)",
        ),
        (
            f"{{Zorb: {ZORB}, robots_token: Zorb2}}}}",
            "catalogue: Zorb: robots_token may only hold letters, '-' and '_' (RFC 9309 2.2.1)",
        ),
        (
            f"{{Zorb: {ZORB}, product_token: -zorb}}}}",
            "catalogue: Zorb: product_token '-zorb': it must begin and end with a letter or a digit",
        ),
        (
            f"{{'Zorb!': {ZORB}, match: robots-only}}}}",
            "catalogue: Zorb!: product_token 'Zorb!': it must begin and end with a letter or a digit",
        ),
        (
            f"{{Zorb: {ZORB}, match: exact, product_token: ''}}}}",
            "catalogue: Zorb: product_token is empty: whoever sends no User-Agent would be this agent",
        ),
        ('{GPTBot: {operator: "a\\u001b[31m"}}', "catalogue: GPTBot: 'operator' must be one line of text"),
        ('{GPTBot: {docs: "a\\nb"}}', "catalogue: GPTBot: 'docs' must be one line of text"),
        (
            '{GPTBot: {verification: [{kind: none, sources: "a\\nb"}]}}',
            "catalogue: GPTBot: verification: a source must be one line of text",
        ),
        ("{GPTBot: {product_token: [a]}}", "catalogue: GPTBot: 'product_token' must be text"),
        ("{GPTBot: {verification: none}}", "catalogue: GPTBot: 'verification' must be a list"),
        ("{GPTBot: {verification: [none]}}", "catalogue: GPTBot: verification: expected a mapping (key: value)"),
        ("{GPTBot: {verification: [{sources: [x]}]}}", "catalogue: GPTBot: verification: needs a 'kind'"),
        (
            "{GPTBot: {verification: [{kind: ip-jsn, sources: [x]}]}}",
            "catalogue: GPTBot: verification: unknown kind 'ip-jsn', did you mean 'ip-json'?",
        ),
        ("{GPTBot: {verification: [{kind: ip-json}]}}", "catalogue: GPTBot: verification: ip-json needs 'sources'"),
        (
            "{GPTBot: {verification: [{kind: ip-json, sources: ['http://a.example/x']}]}}",
            "catalogue: GPTBot: verification: 'http://a.example/x': the URL does not begin with https://; "
            "write an https:// address",
        ),
        (
            "{GPTBot: {verification: [{kind: rdns, sources: ['*.a.example']}]}}",
            "catalogue: GPTBot: verification: '*.a.example': write the end of a host name, like .example.org",
        ),
        (
            "{GPTBot: {verification: [{kind: rdns, sources: [com]}]}}",
            "catalogue: GPTBot: verification: 'com': write the end of a host name, like .example.org",
        ),
    ],
)
def test_what_is_no_fact_is_refused_with_file_line_and_key(block: str, message: str) -> None:
    assert ("own.yaml", 5, message) in refusals(f"{HEAD}\ncatalogue: {block}\n")


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = f"{HEAD}catalogue:\n  GPTBot: {{category: x}}\n  Zorb: {{category: seo}}\nverification: {{dns: maybe}}\n"
    assert [line for _, line, _ in refusals(text)] == [5, 6, 7]


# -- verification --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", ["", "verification: {}\n"])
def test_without_a_word_nothing_is_asked_of_anybody(block: str) -> None:
    verifying = read_policy(HEAD + block).verifying
    assert verifying == Verifying("off", "", dns=False, nameservers=(), signatures=None)


def test_every_word_is_read() -> None:
    text = (
        f"{HEAD}verification:\n  lists: fetch\n  directory: state/lists\n  dns: true\n"
        "  nameservers: [192.0.2.53, '2001:DB8::53']\n  signatures:\n"
        "    directories: [https://a.example/, https://b.example/keys]\n    discover: true\n    require_path: true\n"
        "    legacy: false\n    plain_http: true\n    max_validity: 600\n"
    )
    assert read_policy(text).verifying == Verifying(
        "fetch",
        "state/lists",
        dns=True,
        nameservers=("192.0.2.53", "2001:db8::53"),
        signatures=Signatures(("https://a.example", "https://b.example/keys"), True, True, False, True, 600),
    )


def test_known_stands_for_all_directories_of_the_catalogue() -> None:
    signatures = read_policy(f"{HEAD}verification: {{signatures: {{directories: known}}}}").verifying.signatures
    assert signatures is not None
    assert signatures.directories == ("known",)


def test_signatures_are_asked_for_cautiously() -> None:
    signatures = read_policy(f"{HEAD}verification: {{signatures: {{}}}}").verifying.signatures
    assert signatures == Signatures((), False, False, True, False, 86_400)
    assert read_policy(f"{HEAD}verification: {{signatures: {{directories: []}}}}").verifying.signatures == signatures


def test_hosts_are_checked_as_their_file_says() -> None:
    policy = read_policy(f"{HEAD}verification: {{dns: true}}\nhosts: [{{names: [a.example]}}]\n")
    assert policy.scopes[0].verifying == policy.verifying == Verifying(dns=True)


SIGNED = "verification: signatures: "


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("true", "verification: expected a mapping (key: value)"),
        ("{list: fetch}", "verification: unknown key 'list', did you mean 'lists'?"),
        ("{lists: fetched}", "verification: unknown word for 'lists' 'fetched', did you mean 'fetch'?"),
        ("{lists: [fetch]}", "verification: word for 'lists' must be one word"),
        ("{directory: x}", "verification: 'directory' is for 'lists: fetch'"),
        ("{lists: shipped, directory: x}", "verification: 'directory' is for 'lists: fetch'"),
        ('{lists: fetch, directory: ""}', "verification: 'directory' is empty"),
        ('{lists: fetch, directory: "a\\nb"}', "verification: 'directory' must be one line of text"),
        ("{nameservers: 'fe80::1%eth0'}", "verification: nameservers: 'fe80::1%eth0' is not an address"),
        ("{dns: yes}", "verification: unknown value for 'dns' 'yes' (one of: true, false)"),
        ("{nameservers: dns.example}", "verification: nameservers: 'dns.example' is not an address"),
        ("{nameservers: []}", "verification: an empty list: it could never match"),
        ("{signatures: true}", f"{SIGNED}expected a mapping (key: value)"),
        ("{signatures: [a]}", f"{SIGNED}expected a mapping (key: value)"),
        ("{signatures: {directory: x}}", f"{SIGNED}unknown key 'directory', did you mean 'directories'?"),
        ("{signatures: {directories: {a: b}}}", f"{SIGNED}expected a value or a list of values"),
        (
            "{signatures: {directories: ['http://a.example']}}",
            f"{SIGNED}'http://a.example': the URL does not begin with https://; "
            "write 'known', or an address like https://HOST",
        ),
        (
            "{signatures: {directories: ['https://u@a.example']}}",
            f"{SIGNED}'https://u@a.example': the URL names a user; write 'known', or an address like https://HOST",
        ),
        ("{signatures: {discover: 1}}", f"{SIGNED}unknown value for 'discover' '1' (one of: true, false)"),
        ("{signatures: {max_validity: 59}}", f"{SIGNED}'max_validity' is at least 60 and at most 86400 seconds"),
        ("{signatures: {max_validity: 86401}}", f"{SIGNED}'max_validity' is at least 60 and at most 86400 seconds"),
        ("{signatures: {max_validity: 1h}}", f"{SIGNED}'max_validity' must be a whole number"),
    ],
)
def test_what_is_no_way_to_check_is_refused_with_file_line_and_key(block: str, message: str) -> None:
    assert ("own.yaml", 5, message) in refusals(f"{HEAD}\nverification: {block}\n")


@pytest.mark.parametrize("url", ["https://bot.example.com/keys?v=1", "https://bot.example.com/a//b"])
def test_what_is_no_address_of_keys_is_refused_before_anything_starts(url: str) -> None:
    block = f'{{signatures: {{directories: ["{url}"]}}}}'
    (found,) = refusals(f"{HEAD}\nverification: {block}\n")
    assert "this is no address of keys; write 'known', or an address like https://HOST" in found[2]

"""Lists that others publish: what is new comes in at low confidence, what we know stays, what is broken is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard import CatalogueError, Guard, Request, load_policy
from guard.classify import Catalogue
from guard.load import catalogue_of, read_policy, shipped_catalogue
from guard.model import Agent
from guard.updates import MAX_NAMES, Proposal, propose, read_list, write_fragment

SHIPPED = shipped_catalogue()
HEAD = "version: 1\nsite: {name: x}\ndefault: allow\n"

ROBOTS_JSON = json.dumps(
    {
        "ZorbHarvestBot": {
            "operator": "[Zorb](https://zorb.example/about)",
            "respect": "[Yes](https://zorb.example/bot)",
            "function": "AI Data Scrapers",
            "frequency": "Unclear.",
            "description": "Collects pages.",
        },
        "Zorbling": {"operator": "Zorb", "respect": "No", "function": "AI Assistants", "description": ""},
        "GPTBot": {"operator": "[OpenAI](https://openai.com)", "respect": "Yes", "function": "Trains LLMs"},
        "Slackbot-LinkExpanding": {"operator": "Slack", "respect": "Unclear", "function": "AI Assistants"},
    },
    indent=2,
)
OURS = (
    "operator: Zorb\nagents:\n"
    "- {name: ZorbBot, product_token: ZorbBot, robots_token: ZorbBot, category: ai-train, purposes: [train-ai],\n"
    "   respects_robots: 'no', docs: https://zorb.example/, samples: [ZorbBot/1]}\n"
)


def listed(text: str) -> dict[str, Agent]:
    return {agent.name: agent for agent in read_list(text, "list")}


def refusals(text: str) -> list[tuple[str, int, str]]:
    with pytest.raises(CatalogueError) as caught:
        read_list(text, "list.json")
    return [(problem.file, problem.line, problem.message) for problem in caught.value.problems]


def fragment_of(proposal: Proposal) -> str:
    """What is written of it, without the line that says which edition it is; {} where nothing is."""
    text = write_fragment(proposal, "list", "2026-01-01").partition("version: 1\n")[2]
    return "" if proposal.empty else text


def one(**said: object) -> Agent:
    return listed(json.dumps({"Zorbling": said}))["Zorbling"]


# -- reading -------------------------------------------------------------------------------------------------


def test_the_list_of_ai_robots_txt_is_read() -> None:
    found = listed(ROBOTS_JSON)
    assert list(found) == ["ZorbHarvestBot", "Zorbling", "GPTBot", "Slackbot-LinkExpanding"]
    agent = found["ZorbHarvestBot"]
    assert (agent.operator, agent.category, agent.purposes) == ("Zorb", "ai-dataset", ("train-ai",))
    assert (agent.product_token, agent.robots_token, agent.respects_robots) == (
        "ZorbHarvestBot",
        "ZorbHarvestBot",
        "yes",
    )
    assert {agent.confidence for agent in found.values()} == {"low"}


def test_our_own_format_is_read() -> None:
    agent = listed(OURS)["ZorbBot"]
    assert (agent.operator, agent.respects_robots, agent.docs) == ("Zorb", "no", "https://zorb.example/")


def test_a_byte_order_mark_and_space_in_front_do_not_matter() -> None:
    assert listed("\ufeff\n " + ROBOTS_JSON).keys() == listed(ROBOTS_JSON).keys()


@pytest.mark.parametrize(
    ("function", "description", "category"),
    [
        ("AI Search Crawlers", "", "ai-search"),
        ("AI Assistants", "", "ai-assistant"),
        ("", "Fetches on behalf of a user.", "ai-assistant"),
        ("AI Agents", "", "ai-agent"),
        ("Trains models.", "", "ai-train"),
        ("", "Used for pre-training.", "ai-train"),
        ("AI Data Scrapers", "", "ai-dataset"),
        ("Collects research papers", "", "ai-other"),
        ("", "", "ai-other"),
        ("No information.", "Unclear at this time.", "ai-other"),
    ],
)
def test_what_a_list_says_of_its_purpose_becomes_a_category(function: str, description: str, category: str) -> None:
    assert one(function=function, description=description).category == category


@pytest.mark.parametrize(
    ("respect", "obeys"),
    [
        ("Yes", "yes"),
        ("yes.", "yes"),
        ("[Yes](https://zorb.example)", "yes"),
        ("No", "no"),
        ("no, never", "no"),
        ("Unclear at this time.", "unknown"),
        ("", "unknown"),
        (True, "unknown"),
    ],
)
def test_what_a_list_says_of_obedience_is_read_when_it_is_clear(respect: object, obeys: str) -> None:
    assert one(respect=respect).respects_robots == obeys


def test_an_ordinary_word_is_only_looked_for_with_a_version() -> None:
    found = listed(json.dumps({"Operator": {}, "OperatorBot": {}, "operator-user": {}, "Operator2": {}}))
    assert [agent.match for agent in found.values()] == ["token/", "token", "token", "token"]
    assert Catalogue(found.values()).find(b"Phone Operator App").name == "unknown"


def test_a_name_with_spaces_is_no_name_for_robots_txt() -> None:
    agent = listed('{"Zorb Search Bot": {}}')["Zorb Search Bot"]
    assert (agent.product_token, agent.robots_token) == ("Zorb Search Bot", "")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('{\n"a": {},\n"b": 1\n}', 3, "'b': expected an object of facts"),
        ('{\n"a": {},\n"b"}', 3, "not JSON: Expecting ':' delimiter"),
        ('{"-bad": {}}', 1, "'-bad' is no name of an agent"),
        ('{"bad-": {}}', 1, "'bad-' is no name of an agent"),
        ('{"b\\u001b[31md": {}}', 1, "'b [31md' is no name of an agent"),
        (json.dumps({"b" * 81: {}}), 1, f"'{'b' * 81}' is no name of an agent"),
        ("{" * 100_000, 1, "not JSON: Expecting property name enclosed in double quotes"),
        ('{"a":' * 100_000, 0, "not JSON: nested too deep"),
        ('{"a": ' + "1" * 5_000 + "}", 0, "not JSON: a number is too long"),
        ("[" * 100_000, 1, "nested deeper than 24 levels"),
        ("[1]", 1, "neither a robots.json nor a catalogue file (operator:, agents:)"),
        ("<html></html>", 1, "neither a robots.json nor a catalogue file (operator:, agents:)"),
        ("", 0, "the file is empty"),
        ("operator: Zorb\nagents:\n- {name: Zorb}\n", 3, "an agent without 'product_token'"),
        (
            OURS.replace("'no'", "maybe"),
            3,
            "agent 'ZorbBot': respects_robots 'maybe' is none of yes, no, partial, unknown",
        ),
        (
            OURS.replace("seo", "x").replace("ai-train,", '"\\e[31mred",'),
            3,
            "agent 'ZorbBot': unknown category ' [31mred'",
        ),
    ],
)
def test_a_broken_list_is_refused_with_its_line(text: str, line: int, message: str) -> None:
    assert ("list.json", line, message) in refusals(text)


def test_a_list_of_nothing_but_faults_names_some_and_stops() -> None:
    problems = refusals(json.dumps({f"-bad {number}": {} for number in range(MAX_NAMES)}))
    assert len(problems) <= 21
    assert problems[-1][2] == "and perhaps more: the rest was not read"


def test_a_list_of_too_many_names_is_refused() -> None:
    many = json.dumps({f"n{number}": {} for number in range(MAX_NAMES + 1)})
    assert refusals(many) == [("list.json", 1, f"expected an object of at most {MAX_NAMES} names")]


@pytest.mark.parametrize("value", [None, 1, [], {}, "x" * 100_000, "\x1b[2J\r\n", [[[[]]]], {"a": {"b": []}}, "\ud800"])
def test_facts_of_any_shape_and_size_become_short_plain_text(value: object) -> None:
    agent = one(operator=value, respect=value, function=value, description=value)
    assert len(agent.operator) <= 200
    assert agent.operator.isprintable()
    assert agent.respects_robots == "unknown"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=12), JSON, max_size=4))
def test_a_list_is_read_or_refused_and_nothing_else(document: dict[str, object]) -> None:
    try:
        found = read_list(json.dumps(document), "list")
    except CatalogueError as error:
        assert error.problems
    else:
        read_policy(HEAD + fragment_of(propose(SHIPPED, found)))


# -- holding against what is known ---------------------------------------------------------------------------


def proposed(text: str, known: Catalogue = SHIPPED) -> Proposal:
    return propose(known, read_list(text, "list"))


def test_a_new_name_is_new_and_a_known_one_is_known_by_any_of_its_names() -> None:
    by_token = next(
        agent for agent in SHIPPED.agents if agent.robots_token and agent.robots_token.lower() != agent.name.lower()
    )
    proposal = proposed(json.dumps({"ZorbHarvestBot": {}, "gptbot": {}, by_token.robots_token: {}}))
    assert [agent.name for agent in proposal.new] == ["ZorbHarvestBot"]


def test_a_preview_that_a_list_calls_ai_stays_a_preview() -> None:
    proposal = proposed(ROBOTS_JSON)
    assert [(agent.name, agent.category, other) for agent, other in proposal.kept] == [
        ("Slackbot-LinkExpanding", "preview", "ai-assistant")
    ]
    assert "Slackbot" not in write_fragment(proposal, "list", "2026-01-01")


def test_only_what_nobody_knew_is_changed() -> None:
    known = Catalogue(
        [
            Agent("AlphaBot", "AlphaBot", "", "A", "ai-train", ("train-ai",), respects_robots="unknown"),
            Agent("BetaBot", "BetaBot", "", "B", "ai-train", ("train-ai",), respects_robots="yes"),
        ]
    )
    proposal = proposed('{"AlphaBot": {"respect": "No"}, "BetaBot": {"respect": "No", "operator": "Else"}}', known)
    assert [(change.agent.name, change.fact, change.before, change.after) for change in proposal.changes] == [
        ("AlphaBot", "respects_robots", "unknown", "no")
    ]
    assert (proposal.new, proposal.same) == ((), 1)


def test_a_name_that_a_list_says_twice_counts_once() -> None:
    known = Catalogue([Agent("AlphaBot", "AlphaBot", "", "A", "ai-train", ("train-ai",))])
    said = '{"AlphaBot": {"respect": "No"}, "alphabot": {"respect": "Yes"}, "ZorbBot": {}, "zorbbot": {}}'
    proposal = proposed(said, known)
    assert [agent.name for agent in proposal.new] == ["ZorbBot"]
    assert [change.after for change in proposal.changes] == ["no"]


def test_what_a_file_says_of_an_agent_itself_is_not_changed() -> None:
    known = Catalogue([Agent("AlphaBot", "AlphaBot", "", "A", "ai-train", ("train-ai",))])
    agents = read_list('{"AlphaBot": {"respect": "No"}}', "list")
    assert propose(known, agents, {"alphabot"}).empty


# -- writing -------------------------------------------------------------------------------------------------


def test_what_is_written_is_a_fragment_that_a_policy_takes_in(tmp_path: Path) -> None:
    (tmp_path / "agents.local.yaml").write_text(write_fragment(proposed(ROBOTS_JSON), "robots.json", "2026-01-01"))
    (tmp_path / "main.yaml").write_text(f'{HEAD}include: [agents.local.yaml]\nagents: {{"ai-*": block}}\n')
    policy = load_policy(tmp_path / "main.yaml")
    agent = catalogue_of(policy).by_name["zorbharvestbot"]
    assert (agent.operator, agent.confidence, agent.respects_robots) == ("Zorb", "low", "yes")
    guard = Guard(policy)
    for user_agent, action in ((b"ZorbHarvestBot/1", "block"), (b"Slackbot-LinkExpanding 1.0", "allow")):
        assert guard.decide(Request("GET", b"/", user_agent, "192.0.2.1")).action == action


def test_what_was_taken_in_is_not_new_again(tmp_path: Path) -> None:
    text = write_fragment(proposed(ROBOTS_JSON), "robots.json", "2026-01-01")
    known = catalogue_of(read_policy(HEAD + text.partition("version: 1\n")[2]))
    assert propose(known, read_list(ROBOTS_JSON, "list")).empty


def test_a_file_that_is_there_stays_word_for_word_and_keeps_its_own_indentation() -> None:
    before = "# ours\nversion: 1\ncatalogue:\n\n    # why\n    Own: {category: seo, purposes: seo}  # because\n\n"
    written = write_fragment(proposed(ROBOTS_JSON), "robots.json", "2026-01-01", before)
    assert written.startswith(before.rstrip("\n") + "\n")
    known = catalogue_of(read_policy(HEAD + written.partition("version: 1\n")[2])).by_name
    assert {"own", "zorbharvestbot", "zorbling"} <= known.keys()


@pytest.mark.parametrize(
    "operator", ["Zorb \U0001f600 Ltd", "Zörb", '"quoted" \\ back', "a: b # c", "- x", "\x1b[31mred"]
)
def test_an_operator_of_any_name_is_written_so_that_it_is_read_again(operator: str) -> None:
    agents = read_list(json.dumps({"ZorbBot": {"operator": operator}}), "list")
    text = write_fragment(propose(SHIPPED, agents), "list", "2026-01-01")
    agent = catalogue_of(read_policy(HEAD + text.partition("version: 1\n")[2])).by_name["zorbbot"]
    assert agent.operator == agents[0].operator
    assert agent.operator.isprintable()


def test_a_source_of_any_name_stays_in_its_comment() -> None:
    text = write_fragment(proposed(OURS), "a\nversion: 2\r\x85b", "2026-01-01")
    assert "\nversion: 2" not in text
    read_policy(HEAD + text.partition("version: 1\n")[2])

"""A robots.txt is read as the crawlers read it that people write it for."""

from __future__ import annotations

import base64
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from protego import Protego

from guard.robotstxt import (
    MAX_BYTES,
    PathRule,
    cut_token,
    escape_pattern,
    path_of,
    pattern_matches,
    read_robots,
)

from .conftest import SHARED

ABSENT = "../shared is not here: the project's own cases cover the same rules"
VECTORS = SHARED / "vectors"


def allowed(text: str | bytes, agent: str, address: str) -> bool:
    return read_robots(text).allowed(agent, address)


# -- whose rules -----------------------------------------------------------------------------------------------

TWO_GROUPS = "User-agent: *\nDisallow: /secret/\n\nUser-agent: ABot\nUser-agent: BBot\nDisallow: /b/\n"


def test_a_group_of_ones_own_takes_the_place_of_everybodys() -> None:
    assert not allowed(TWO_GROUPS, "Other", "/secret/x")
    assert allowed(TWO_GROUPS, "Other", "/b/x")
    for agent in ("ABot", "abot", "BBOT"):
        assert allowed(TWO_GROUPS, agent, "/secret/x")
        assert not allowed(TWO_GROUPS, agent, "/b/x")


def test_groups_of_one_name_are_one_wherever_they_stand() -> None:
    text = "User-agent: A\nDisallow: /1\nUser-agent: B\nDisallow: /2\nuser-agent: a\nDisallow: /3\n"
    assert [allowed(text, "A", path) for path in ("/1", "/2", "/3")] == [False, True, False]
    assert [group.rules[0].line for group in read_robots(text).groups_of("a")] == [2, 6]


def test_who_has_an_empty_group_may_do_everything() -> None:
    assert allowed("User-agent: A\nDisallow:\n\nUser-agent: *\nDisallow: /\n", "A", "/x")
    assert allowed("User-agent: *\nDisallow: /\n\nUser-agent: A\n", "A", "/x")


@pytest.mark.parametrize(
    "between", ["", "Content-Signal: ai-train=no", "Crawl-delay: 5", "Sitemap: /s", "nobody: knows"]
)
def test_nothing_but_a_rule_closes_a_group(between: str) -> None:
    joined = f"User-agent: *\n{between}\nUser-agent: CCBot\nDisallow: /\n"
    assert not allowed(joined, "Googlebot", "/")
    apart = f"User-agent: *\n{between}\nAllow: /\nUser-agent: CCBot\nDisallow: /\n"
    assert allowed(apart, "Googlebot", "/")
    assert not allowed(apart, "CCBot", "/")


@pytest.mark.parametrize(
    "line", ["User-agent: FooBot/2.1", "User-agent: FooBot 2.1 (x)", "useragent: foobot", "user agent FooBot"]
)
def test_a_token_ends_where_letters_end(line: str) -> None:
    if line == "user agent FooBot":  # three words without a colon: nobody can tell
        assert read_robots(f"{line}\nDisallow: /").groups == ()
    else:
        assert not allowed(f"{line}\nDisallow: /", "FooBot", "/")


def test_digits_end_a_token_too_so_some_names_never_match() -> None:
    assert cut_token("AI2Bot") == "AI"
    assert allowed("User-agent: AI2Bot\nDisallow: /", "AI2Bot", "/")
    assert read_robots("User-agent: AI2Bot\nDisallow: /").groups[0].agents[0].written == "AI2Bot"


def test_a_star_before_a_blank_is_still_everybody() -> None:
    assert not allowed("User-agent: * (all)\nDisallow: /", "A", "/")
    assert allowed("User-agent: *bot\nDisallow: /", "Abot", "/")


def test_rules_above_all_groups_are_for_nobody() -> None:
    robots = read_robots("Disallow: /\nUser-agent: A\nAllow: /x\n")
    assert robots.allowed("A", "/y")
    assert [(line.key, line.value, line.line) for line in robots.others] == [("disallow", "/", 1)]


# -- which rule ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "path", "may"),
    [
        ("Disallow: /a\nAllow: /ab", "/abc", True),
        ("Allow: /a\nDisallow: /ab", "/abc", False),
        ("Disallow: /ab\nAllow: /ab", "/ab", True),
        ("Disallow: /*.mp3\nAllow: /demo", "/demo/1.mp3", False),
        ("Disallow: /x", "/X", True),
        ("Disallow: /*.mp3$", "/a/b.mp3", False),
        ("Disallow: /*.mp3$", "/a/b.mp3?sig=1", True),
        ("Disallow: /*.mp3", "/a/b.mp3?sig=1", False),
        ("Disallow: /a$b", "/a$bc", False),
        ("Disallow: /a*b*c", "/axxbyyc/d", False),
        ("Disallow: /a*b*c$", "/axxbyycx", True),
        ("Disallow: /a*b*c$", "/axxbyycxc", False),
        ("Disallow: /ab*b$", "/ab", True),
        ("Disallow: *.mp3", "/a.mp3", False),
        ("Disallow: a", "/a", True),
        ("Disallow: /$", "/", False),
        ("Disallow: /$", "/a", True),
        ("Disallow: /\nAllow: /x/index.html", "/x/", True),
        ("Disallow: /\nAllow: /x/index.html", "/x/y", False),
        ("Disallow: /künstler", "/k%C3%BCnstler", False),
        ("Disallow: /a%c3%bc", "/a%C3%BC", False),
        ("Disallow: /%73ecret", "/secret", True),
        ("Disallow: /a%2fb", "/a/b", True),
        ("Disallow: /a # a comment", "/a", False),
        ("disalow: /a", "/a", False),
        ("Disallow /a", "/a", False),
        ("Disallow\t/a", "/a", False),
        ("Disallow /a b", "/a", True),
        ("  DisAllow  :  /a  ", "/a", False),
        ("DisallowAITraining: /", "/", False),
        ("Dis: /", "/", True),
    ],
)
def test_the_longest_pattern_counts_and_patterns_mean_what_the_standard_says(rules: str, path: str, may: bool) -> None:
    assert allowed(f"User-agent: *\n{rules}\n", "A", path) is may


def test_the_path_of_an_address() -> None:
    addresses = [
        "",
        "/a",
        "https://x.example",
        "https://x.example/a?b#c",
        "x.example?a",
        "//x/y",
        "https://x.example#/a",
    ]
    assert [path_of(address) for address in addresses] == ["/", "/a", "/", "/a?b", "/?a", "/y", "/"]


PIECE = st.text(alphabet="ab/*", max_size=8)


@given(PIECE, st.booleans(), st.text(alphabet="ab/", max_size=10))
def test_a_pattern_is_matched_as_if_every_way_were_tried(body: str, ends: bool, path: str) -> None:
    """Against the definition: a state for each place in the pattern."""
    states = {0}
    for char in [*path, None]:
        reached: set[int] = set()
        todo = list(states)
        while todo:
            at = todo.pop()
            if at in reached:
                continue
            reached.add(at)
            if at < len(body) and body[at] == "*":
                todo.append(at + 1)
        if char is None:
            expected = len(body) in reached
            break
        if not ends and len(body) in reached:
            expected = True
            break
        states = {at + 1 for at in reached if at < len(body) and body[at] == char}
        states |= {at for at in reached if at < len(body) and body[at] == "*"}
    assert pattern_matches(body + "$" * ends, path) is expected


def test_a_hostile_pattern_costs_no_more_than_its_length() -> None:
    pattern = "/" + "*a" * 8000 + "*b"
    started = time.process_time()
    assert not PathRule(False, pattern, 1).matches("/" + "a" * 8000)
    assert time.process_time() - started < 1


TOKENS = ["Alpha", "Bravo", "Charlie"]
RULES = st.lists(
    st.tuples(
        st.sampled_from(["Allow", "Disallow"]), st.text(alphabet="ab/*.", max_size=6), st.sampled_from(["", "", "$"])
    ),
    min_size=1,
    max_size=5,
)
GROUPS = st.lists(st.tuples(st.lists(st.sampled_from([*TOKENS, "*"]), min_size=1, max_size=2), RULES), max_size=4)


@settings(max_examples=300)
@given(
    GROUPS, st.sampled_from([*TOKENS, "Nobody"]), st.text(alphabet="ab/.", max_size=8), st.sampled_from(["\n", "\r\n"])
)
def test_another_reader_comes_to_the_same_end(
    groups: list[tuple[list[str], list[tuple[str, str, str]]]], agent: str, path: str, end: str
) -> None:
    lines: list[str] = []
    for tokens, rules in groups:
        lines += [f"User-agent: {token}" for token in tokens]
        lines += [f"{word}: /{pattern}{dollar}" for word, pattern, dollar in rules]
    text = end.join(lines)
    address = "/" + path.lstrip("/")  # two slashes would begin a host
    assert allowed(text, agent, address) is Protego.parse(text).can_fetch(f"https://x.example{address}", agent)


# -- lines and bytes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_every_rule_knows_its_line_however_lines_end(start: str, end: str) -> None:
    text = start + end.join(["# hello", "User-agent: A", "", "Disallow: /x", "Sitemap: https://x.example/s.xml"])
    robots = read_robots(text)
    assert robots.groups[0].agents[0].line == 2
    assert robots.groups[0].rules == (PathRule(False, "/x", 4),)
    assert [(line.value, line.line) for line in robots.sitemaps] == [("https://x.example/s.xml", 5)]


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b"\xef\xbb", b"\xef"])
def test_half_a_byte_order_mark_hides_nothing(start: bytes) -> None:
    assert not allowed(start + b"User-agent: A\nDisallow: /", "A", "/")


def test_what_a_group_states_besides_rules_is_kept_with_its_lines() -> None:
    text = "User-agent: *\nContent-Signal: ai-train=no\nCrawl-delay: 2.5\nCrawl-delay: 9\nAllow: /\n"
    text += "Content-Usage: /a ai-use=n\n"
    group = read_robots(text).groups[0]
    assert [(line.key, line.value, line.line) for line in group.content] == [
        ("content-signal", "ai-train=no", 2),
        ("content-usage", "/a ai-use=n", 6),
    ]
    assert group.crawl_delay is not None
    assert (group.crawl_delay.value, group.crawl_delay.line) == ("2.5", 3)


def test_what_is_longer_than_half_a_megabyte_is_not_read_and_no_rule_is_cut_in_two() -> None:
    head = "User-agent: *\nDisallow: /a\n"
    filler = "#" * 99 + "\n"
    text = head + filler * ((MAX_BYTES - len(head)) // 100)
    text += "#" * (MAX_BYTES - len(text) - 12) + "\nDisallow: /everything/else\nDisallow: /b\n"
    robots = read_robots(text)
    assert robots.truncated
    assert not robots.allowed("A", "/a")
    assert robots.allowed("A", "/b")
    assert robots.allowed("A", "/everything/else")
    assert robots.allowed("A", "/x")
    assert not read_robots(head).truncated


def test_the_rest_of_an_overlong_line_is_cut_off() -> None:
    line = "Disallow: /" + "a" * 20_000
    assert not allowed(f"User-agent: *\n{line}", "A", "/" + "a" * 16_700)
    assert allowed(f"User-agent: *\n{line}", "A", "/" + "a" * 16_600)


@given(st.binary(max_size=200))
def test_no_bytes_whatever_break_the_reader(octets: bytes) -> None:
    robots = read_robots(b"User-agent: *\n" + octets)
    robots.allowed("A", "/x")
    assert all(rule.pattern.isascii() for group in robots.groups for rule in group.rules)


# -- the published cases ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["robots_google_cases", "robots_pitfall_cases"])
def test_the_published_cases_end_as_they_should(name: str) -> None:
    path = VECTORS / f"{name}.json"
    if not path.exists():
        pytest.skip(ABSENT)
    cases = json.loads(path.read_text())
    assert len(cases) >= 20
    for case in cases:
        text = base64.b64decode(case["robots_b64"]) if case.get("robots") is None else case["robots"]
        assert allowed(text, case["agent"], case["url"]) is case["allowed"], case["name"]


def test_the_published_cases_of_single_steps_end_as_they_should() -> None:
    path = VECTORS / "robots_google_extra.json"
    if not path.exists():
        pytest.skip(ABSENT)
    cases = json.loads(path.read_text())
    for case in cases["agents_valid"]:
        assert (case["value"] != "" and cut_token(case["value"]) == case["value"]) is case["valid"], case
    for case in cases["path_params_query"]:
        assert path_of(case["url"]) == case["path"], case
    for case in cases["escape_pattern"]:
        assert escape_pattern(case["value"].encode().decode("latin-1")) == case["escaped"], case
    for case in [*cases["line_counting"], *cases["bom"]]:
        robots = read_robots(case["robots"] if "robots" in case else bytes.fromhex(case["robots_hex"]))
        lines = [item.line for group in robots.groups for item in (*group.agents, *group.rules)]
        above = [line.line for line in robots.others if line.key in ("allow", "disallow")]
        assert len(lines) + len(above) + len(robots.sitemaps) == case["valid_directives"], case
        if "last_line_seen" in case:
            assert max(lines) == case["last_line_seen"], case
        else:
            assert len(robots.others) - len(above) == case["unknown_directives"], case
    for case in cases["sitemap"]:
        assert [line.value for line in read_robots(case["robots"]).sitemaps] == [case["sitemap"]], case

"""The platform's own robots.txt and ours are one file to the crawler, and it weakens neither."""

from __future__ import annotations

import sys
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from protego import Protego

from guard import load_policy, shipped_policy
from guard.directives import content_signal, content_usage, render_file
from guard.directives.declaration import OPEN_PATHS, declare
from guard.directives.merge import Merged, covers, merge, overlap, rests
from guard.load import shipped_catalogue
from guard.robotstxt import MAX_BYTES, Robots, pattern_matches, read_robots

NO_WHEEL = "fast-robotstxt has no wheel for this Python"

OURS = """# Radio
License: https://radio.example/license.xml

User-agent: GPTBot
User-agent: ClaudeBot
Content-Signal: search=yes, ai-train=no
Content-Usage: train-ai=n, search=y
Disallow: /
Allow: /robots.txt
Allow: /ai.txt

User-agent: *
Content-Signal: search=yes, ai-train=no
Content-Usage: train-ai=n, search=y
Content-Usage: /open/ train-ai=y, search=y
Allow: /
Disallow: /media/
Allow: /media/press/

Sitemap: https://radio.example/sitemap.xml
"""


def joined(theirs: str, ours: str = OURS) -> Merged:
    return merge(ours, theirs.encode())


def is_open(path: str) -> bool:
    return path.partition("?")[0] in OPEN_PATHS


# -- neither is weakened ---------------------------------------------------------------------------------------

TOKENS = ["*", "GPTBot", "Googlebot", "Other"]
PLAIN = st.text(alphabet="ab/", max_size=5).map(lambda text: "/" + text.lstrip("/"))
PIECE = st.sampled_from(["a", "b", "/", "*", "*a", "ab", "a*", "?", "."])
WILD = st.tuples(st.lists(PIECE, max_size=5), st.sampled_from(["", "", "$"])).map(
    lambda parts: "/" + "".join(parts[0]).lstrip("/") + parts[1]
)
PATHS = st.text(alphabet="ab/?.", max_size=9).map(lambda text: "/" + text.lstrip("/"))


FINAL_PATHS = PATHS.map(lambda path: path.replace(".", "c").rstrip("?"))
"""Addresses that no URL library rewrites: the binding of Google's parser resolves dots and drops an empty query."""


def files(pattern: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    rule = st.tuples(st.sampled_from(["Allow", "Disallow"]), pattern)
    group = st.tuples(st.lists(st.sampled_from(TOKENS), min_size=1, max_size=2), st.lists(rule, max_size=6))

    def written(groups: list[tuple[list[str], list[tuple[str, str]]]]) -> str:
        lines: list[str] = []
        for tokens, rules in groups:
            lines += [f"User-agent: {token}" for token in tokens]
            lines += [f"{word}: {path}" for word, path in rules] or ["Disallow:"]
        return "\n".join(lines) + "\n"

    return st.lists(group, min_size=1, max_size=3).map(written)


@settings(max_examples=400)
@given(files(PLAIN), files(PLAIN), st.lists(PATHS, min_size=1, max_size=8))
def test_with_plain_prefixes_the_joined_file_allows_what_both_allow_and_nothing_else(
    ours: str, theirs: str, paths: list[str]
) -> None:
    text = joined(theirs, ours).text
    one, other, both = read_robots(ours), read_robots(theirs), read_robots(text)
    for token in [*TOKENS[1:], "Nobody"]:
        for path in paths:
            may = one.allowed(token, path) and other.allowed(token, path)
            assert both.allowed(token, path) is may, (token, path, text)


def assert_not_weaker(one: Robots, other: Robots, both: Robots, path: str, text: str) -> None:
    for token in [*TOKENS[1:], "Nobody"]:
        if both.allowed(token, path) and not is_open(path):
            assert one.allowed(token, path), (token, path, text)
            assert other.allowed(token, path), (token, path, text)


@settings(max_examples=1_000)
@given(files(WILD), files(WILD), st.lists(PATHS, min_size=1, max_size=12))
@example("User-agent: *\nDisallow: /\nAllow: /a*b\n", "User-agent: *\nDisallow: /ab\n", ["/ab", "/acb", "/a"])
@example("User-agent: *\nDisallow: /\nAllow: /a*\n", "User-agent: *\nDisallow: /abb\n", ["/abb", "/abc"])
@example("User-agent: *\nDisallow: /\nAllow: /a/index.html\n", "User-agent: *\nDisallow: /a/$\n", ["/a/"])
@example("User-agent: *\nDisallow: /a*\n", "User-agent: *\nDisallow: /\nAllow: /ab*b$\n", ["/abb", "/b"])
def test_no_wildcard_of_one_opens_what_the_other_closes(ours: str, theirs: str, paths: list[str]) -> None:
    text = joined(theirs, ours).text
    one, other, both = read_robots(ours), read_robots(theirs), read_robots(text)
    for path in paths:
        assert_not_weaker(one, other, both, path, text)


@settings(max_examples=300)
@given(files(WILD), files(WILD), st.lists(PATHS, min_size=1, max_size=8))
@example("User-agent: *\nAllow: /?\n", "User-agent: *\nAllow: /*\nDisallow: /?\n", ["/?"])
@example("User-agent: *\nAllow: /*?\n", "User-agent: *\nDisallow: /a*\n", ["/a?"])
def test_another_reader_finds_neither_weakened(ours: str, theirs: str, paths: list[str]) -> None:
    text = joined(theirs, ours).text
    one, other, both = Protego.parse(ours), Protego.parse(theirs), Protego.parse(text)
    for token in [*TOKENS[1:], "Nobody"]:
        for path in paths:
            if both.can_fetch(f"https://x.example{path}", token) and not is_open(path):
                assert one.can_fetch(f"https://x.example{path}", token), (token, path, text)
                assert other.can_fetch(f"https://x.example{path}", token), (token, path, text)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason=NO_WHEEL)
@settings(max_examples=300)
@given(files(WILD), files(WILD), st.lists(FINAL_PATHS, min_size=1, max_size=8))
def test_google_finds_neither_weakened(ours: str, theirs: str, paths: list[str]) -> None:
    google = pytest.importorskip("robotstxt").RobotsMatcher()
    text = joined(theirs, ours).text

    def allowed(robots: str, token: str, path: str) -> bool:
        return bool(google.is_allowed(robots, token, f"https://x.example{path}"))

    for token in ["GPTBot", "Nobody"]:
        for path in paths:
            may = allowed(text, token, path)
            assert may is read_robots(text).allowed(token, path)
            if may and not is_open(path):
                assert allowed(ours, token, path)
                assert allowed(theirs, token, path)


@given(files(WILD), files(WILD))
def test_the_directive_files_stay_open_whatever_the_platform_says(ours: str, theirs: str) -> None:
    ours = f"User-agent: *\nDisallow: /\n{''.join(f'Allow: {path}{chr(10)}' for path in OPEN_PATHS)}"
    for more in ("", "Disallow: /*.txt\nDisallow: /*robots****************.txt\nDisallow: /*?\n"):
        both = read_robots(joined(theirs + more, ours).text)
        for path in OPEN_PATHS:
            assert both.allowed("Nobody", path)
            assert both.allowed("Nobody", f"{path}?x=1") or more


def without_last_stars(text: str) -> str:
    """Stars at the end of an Allow make it longer to some readers and are nothing to others: they do not count."""
    lines = []
    for line in text.splitlines():
        name, _, pattern = line.partition(": ")
        lines.append(f"{name}: {pattern.rstrip('*') or pattern[:1]}" if name == "Allow" else line)
    return "".join(f"{line}\n" for line in lines)


@example("User-agent: *\nDisallow: /$\nAllow: /*\n")
@given(files(WILD))
def test_who_joins_the_same_file_twice_gets_what_it_says(ours: str) -> None:
    both, one = read_robots(joined(ours, ours).text), read_robots(without_last_stars(ours))
    for token in [*TOKENS[1:], "Nobody"]:
        for path in ("/", "/a", "/ab", "/a/b", "/b?a", "/aab.b"):
            assert both.allowed(token, path) is one.allowed(token, path)


@pytest.mark.parametrize("name", ["no-ai", "soundcloud-like", "bandcamp-like", "navidrome", "strict"])
def test_a_shipped_policy_joined_with_an_ordinary_file_weakens_neither(name: str) -> None:
    ours = render_file("/robots.txt", declare(load_policy(shipped_policy(name)), shipped_catalogue()))
    theirs = (
        "User-agent: *\nDisallow: /admin/\nAllow: /admin/ajax\nDisallow: /*?s=\nDisallow: /*.php$\n"
        "User-agent: Googlebot\nDisallow: /tmp\n\nUser-agent: AhrefsBot\nCrawl-delay: 10\nDisallow: /\n"
    )
    merged = joined(theirs, ours)
    assert merged.notes == ()
    one, other, both = read_robots(ours), read_robots(theirs), read_robots(merged.text)
    for token in ("Nobody", "Googlebot", "GPTBot", "AhrefsBot"):
        for path in ("/", "/admin/x", "/admin/ajax", "/a?s=1", "/x.php", "/tmp/1", "/track/1", "/media/1.mp3"):
            may = one.allowed(token, path) and other.allowed(token, path)
            assert both.allowed(token, path) is may, (token, path)


# -- what patterns have in common --------------------------------------------------------------------------------


@settings(max_examples=1_500)
@given(WILD, WILD, PATHS)
def test_what_is_said_of_two_patterns_is_true_of_every_address(one: str, other: str, path: str) -> None:
    if pattern_matches(one, path) and pattern_matches(other, path):
        assert overlap(one, other)
    if covers(one, other) and pattern_matches(other, path):
        assert pattern_matches(one, path)


@settings(max_examples=1_500)
@given(WILD.filter(lambda pattern: "*" in pattern), PLAIN, PATHS)
def test_a_prefix_and_a_pattern_have_in_common_what_is_written_and_nothing_else(
    pattern: str, start: str, path: str
) -> None:
    path = start + path
    found = any(pattern_matches(start + rest, path) for rest in rests(pattern, start))
    assert found is pattern_matches(pattern, path)


# -- what the file is like -------------------------------------------------------------------------------------


def test_an_agent_that_only_the_platform_names_keeps_our_words_too() -> None:
    both = read_robots(joined("User-agent: AhrefsBot\nDisallow: /slow/\n").text)
    assert not both.allowed("AhrefsBot", "/slow/1")
    assert not both.allowed("AhrefsBot", "/media/1")
    assert both.allowed("AhrefsBot", "/media/press/1")
    assert content_usage.evaluate(both, "AhrefsBot", "/open/1") == (True, {"train-ai": "y", "search": "y"})
    assert content_signal.of_group(both, "AhrefsBot") == {"search": "yes", "ai-train": "no"}


@pytest.mark.parametrize("name", ["Applebot", "Googlebot-Image", "Googlebot-News", "Googlebot-Video"])
def test_who_obeys_the_group_of_another_is_held_to_it_when_the_platform_names_only_that_one(name: str) -> None:
    theirs = "User-agent: Googlebot\nDisallow: /private/\n\nUser-agent: *\nDisallow: /slow/\n"
    ours = OURS.replace("User-agent: ClaudeBot\n", f"User-agent: {name}\n").replace("Disallow: /\n", "Disallow: /x/\n")
    both = read_robots(joined(theirs, ours).text)
    assert not both.allowed(name, "/private/1")
    assert not both.allowed(name, "/x/1")
    assert both.allowed(name, "/slow/1")
    named = read_robots(joined(f"{theirs}User-agent: {name}\nDisallow: /own/\n", ours).text)
    assert named.allowed(name, "/private/1")
    assert not named.allowed(name, "/own/1")


def test_what_the_platform_states_is_combined_and_never_appended() -> None:
    theirs = (
        "User-agent: *\nContent-Signal: search=no, ai-input=no, use=reference\nContent-Usage: ai-use=n\nDisallow:\n"
    )
    text = joined(theirs + "Content-Usage: /open/a/ train-ai=n\n").text
    both = read_robots(text)
    assert content_signal.of_group(both, "x") == {
        "search": "no",
        "ai-train": "no",
        "ai-input": "no",
        "use": "reference",
    }
    assert content_usage.evaluate(both, "x", "/a")[1] == {"train-ai": "n", "search": "y", "ai-use": "n"}
    assert content_usage.evaluate(both, "x", "/open/b")[1] == {"train-ai": "y", "search": "y", "ai-use": "n"}
    assert content_usage.evaluate(both, "x", "/open/a/1")[1] == {"train-ai": "n", "search": "y"}
    everybody = text.partition("User-agent: *")[2]
    assert everybody.count("Content-Signal") == 1


STATED = st.dictionaries(st.sampled_from(["train-ai", "ai-use"]), st.sampled_from("yn"), min_size=1)


@settings(max_examples=400)
@given(
    st.lists(st.tuples(st.one_of(st.just(""), WILD), STATED), max_size=4),
    st.lists(st.tuples(st.one_of(st.just(""), WILD), STATED), max_size=4),
    st.lists(PATHS, min_size=1, max_size=8),
)
@example([("/a/long/", {"train-ai": "y"})], [("/*b", {"train-ai": "n"})], ["/a/long/b"])
@example([("/a/long/", {"ai-use": "y"})], [("", {"train-ai": "y"}), ("/*b", {"ai-use": "y"})], ["/a/long/b"])
def test_no_preference_of_either_file_is_loosened(
    ours: list[tuple[str, dict[str, str]]], theirs: list[tuple[str, dict[str, str]]], paths: list[str]
) -> None:
    def written(rules: list[tuple[str, dict[str, str]]]) -> str:
        lines = [f"Content-Usage: {pattern} {content_usage.write(stated)}" for pattern, stated in rules]
        return "\n".join(["User-agent: *", *lines, "Allow: /", ""])

    text = joined(written(theirs), written(ours)).text
    robots = [read_robots(one) for one in (written(ours), written(theirs), text)]
    for path in paths:
        one, other, both = (content_usage.evaluate(each, "x", path)[1] or {} for each in robots)
        wanted = content_usage.strictest((one, other))
        for label in ("train-ai", "ai-use"):
            found = both.get(label)
            assert found == "n" or found == wanted.get(label) or found is None, (path, text)
            assert wanted.get(label) != "n" or found == "n", (path, text)


def test_comments_licence_and_sitemaps_stay_and_the_larger_delay_counts() -> None:
    theirs = (
        "Sitemap: https://radio.example/sitemap.xml\nUser-agent: *\nCrawl-delay: 10\nDisallow:\n"
        "Host: radio.example\nClean-param: s\nSitemap: https://radio.example/ü.xml\nLicense: https://other.example/l.xml\n"
    )
    text = joined(theirs, OURS.replace("Allow: /media/press/", "Allow: /media/press/\nCrawl-delay: 2")).text
    assert text.startswith("# Radio\nLicense: https://radio.example/license.xml\n# Joined")
    assert text.count("License:") == 1
    assert text.count("Crawl-delay: 10\n") == 2  # for those with a group of their own, too
    assert "Crawl-delay: 2" not in text
    assert text.endswith("\n\nSitemap: https://radio.example/sitemap.xml\nSitemap: https://radio.example/%C3%BC.xml\n")
    assert "Host" not in text
    assert "Clean" not in text
    assert "License: https://other.example/l.xml\n" in joined(theirs, "User-agent: *\nAllow: /\n").text


def test_agents_that_are_told_the_same_share_a_group_and_a_name_stands_once() -> None:
    text = joined("User-agent: gptbot\nDisallow: /x\n\nUser-agent: *\nDisallow: /y\n").text
    assert text.lower().count("user-agent: gptbot") == 1
    assert text.count("Disallow: /\n") == 1  # GPTBot and ClaudeBot are told the same
    assert "User-agent: ClaudeBot\nUser-agent: GPTBot\n" in text


def test_a_group_without_rules_is_closed_by_one() -> None:
    text = joined("User-agent: A\nDisallow:\n\nUser-agent: *\nDisallow: /\n", "User-agent: *\nDisallow:\n").text
    assert "User-agent: A\nAllow: /\n" in text


def test_a_name_with_digits_is_written_whole() -> None:
    both = joined("User-agent: 360Spider\nUser-agent: AI2Bot/1.0\nDisallow: /\n").text
    assert "User-agent: 360Spider\n" in both
    assert "User-agent: AI2Bot\n" in both


BYTES = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.sampled_from([b"User-agent: *\n", b"user-agent: A1\n", b"Disallow: /", b"Allow: /*$", b"\n", b"\r", b"# "]),
        st.sampled_from(
            [b"Content-Usage: /x train-ai=n\n", b"Crawl-delay: nan\n", b"Sitemap: \xff\n", b"License: http://x\n"]
        ),
    ),
    max_size=20,
).map(b"".join)


@settings(max_examples=400)
@given(BYTES)
def test_no_bytes_whatever_break_it_and_no_group_runs_into_the_next(theirs: bytes) -> None:
    text = merge(OURS, theirs).text
    assert text.isascii()
    assert "\r" not in text
    assert len(text) <= MAX_BYTES
    names: list[str] = []
    closed = True
    for line in text.splitlines():
        key = line.partition(":")[0]
        if key == "User-agent":
            names = [*names, line] if not closed else [line]
            closed = False
        closed = closed or key in ("Allow", "Disallow")
        assert not (line == "" and not closed)
    assert closed
    one, both = read_robots(OURS), read_robots(text)
    for path in ("/", "/media/1", "/media/press/1", "/x"):
        assert one.allowed("GPTBot", path) or not both.allowed("GPTBot", path)
        assert one.allowed("x", path) or not both.allowed("x", path)


@pytest.mark.parametrize(
    ("theirs", "why"),
    [
        (b"<!doctype html><html>User-agent: *\nDisallow: /", "a web page"),
        (b"\xef\xbb\xbf\n  <html>", "a web page"),
        ("User-agent: *\nDisallow: /".encode("utf-16"), "not text"),
        (b"User-agent: *\nDisallow: /\0", "not text"),
    ],
)
def test_what_is_no_robots_txt_leaves_ours_as_it_is_and_that_is_said(theirs: bytes, why: str) -> None:
    merged = merge(OURS, theirs)
    assert merged.text == OURS
    assert why in merged.notes[0]


def test_a_platform_without_rules_changes_nothing() -> None:
    assert joined("") == Merged(OURS)
    assert joined("# hello\n") == Merged(OURS)


# -- bounds ----------------------------------------------------------------------------------------------------

FULL = MAX_BYTES


def repeated(line: str, head: str = "User-agent: *\n") -> bytes:
    """`line` with a number in it, until the file is full."""
    lines, size, number = [head], len(head), 0
    while size < FULL:
        lines.append(line.format(number))
        size += len(lines[-1])
        number += 1
    return "".join(lines[:-1]).encode()


HOSTILE = {
    "plain rules": repeated("Disallow: /a{}\n"),
    "allows": repeated("Allow: /a{}\n"),
    "wildcards": repeated("Disallow: /*{}\n"),
    "allowed wildcards": repeated("Allow: /a*{}*\n"),
    "both": repeated("Allow: /a*{0}\nDisallow: /*{0}a\n"),
    "agents": repeated("User-agent: a{}\n"),
    "groups": repeated("User-agent: a-{0}\nDisallow: /{0}\n").replace(b"0", b"q").replace(b"1", b"z"),
    "groups of letters": b"".join(
        b"User-agent: %s\nDisallow: /%d\n" % (bytes([97 + n // 676 % 26, 97 + n // 26 % 26, 97 + n % 26]), n)
        for n in range(15_000)
    ),
    "nested": "".join(
        ["User-agent: *\n", *(f"{'Disallow' if n % 2 else 'Allow'}: /{'a' * n}\n" for n in range(990))]
    ).encode(),
    "long lines": ("User-agent: *\n" + ("Disallow: /" + "*a" * 8_000 + "\n") * 31).encode(),
    "stars": ("User-agent: *\n" + ("Allow: /" + "*a" * 900 + "\n") * 290).encode(),
    "sitemaps": repeated("Sitemap: https://x.example/{}.xml\n"),
    "usage": repeated("Content-Usage: /*{} train-ai=n\n") + b"Disallow:\n",
    "signals": repeated("Content-Signal: a{}=no, ai-train=no\n") + b"Disallow:\n",
    "blank": b"\n" * FULL,
    "too long": b"User-agent: *\nDisallow: /x\n" + b"#\n" * FULL,
}
MANY = "\n".join(
    [
        *(
            "User-agent: GPTBot\nContent-Usage: train-ai=n\nDisallow: /\n"
            + "\n".join(f"Allow: /{n}/*a" for n in range(500))
        ).split("\n"),
        "",
        "User-agent: *",
        *(f"Content-Usage: /track/{n}{end} train-ai=n" for n in range(500) for end in ("/", "$", "?")),
        "Allow: /",
        *(f"Disallow: /track/{n}{end}" for n in range(500) for end in ("/", "$", "?")),
        *(f"Allow: /track/{n}/open*{n}" for n in range(500)),
        "",
    ]
)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("ours", [OURS, MANY], ids=["short", "long"])
def test_half_a_megabyte_of_anything_is_joined_in_a_second_and_fits(name: str, ours: str) -> None:
    started = time.process_time()
    merged = merge(ours, HOSTILE[name])
    took_s = time.process_time() - started
    assert len(merged.text) <= MAX_BYTES
    assert took_s < 1.0
    both, one = read_robots(merged.text), read_robots(ours)
    assert not both.allowed("GPTBot", "/x")
    assert not both.truncated
    for path in ("/track/4/", "/track/4/open4", "/media/1"):
        assert one.allowed("Nobody", path) or not both.allowed("Nobody", path)
    if not merged.notes:
        other = read_robots(HOSTILE[name])
        for path in ("/track/4/", "/track/4/open4", "/a77", "/b77a", "/77", "/aaaaa", "/aaaaaa"):
            assert other.allowed("Nobody", path) or not both.allowed("Nobody", path)


def test_agents_without_room_are_forbidden_everything_and_named() -> None:
    theirs = "".join(f"User-agent: {'abcdefghij'[n // 10]}{'abcdefghij'[n % 10]}\nDisallow: /{n}\n" for n in range(100))
    ours = MANY + "".join(f"Disallow: /more/{'x' * 200}/{n}\n" for n in range(60))
    merged = joined(theirs, ours)
    assert 0 < len(merged.shut) < 100
    assert f"the rules of {len(merged.shut)} agents" in merged.notes[0]
    both = read_robots(merged.text)
    for token in merged.shut:
        assert not both.allowed(token, "/")
        assert both.allowed(token, "/robots.txt")
    assert both.allowed("Nobody", "/")
    assert both.allowed("aa", "/1")
    assert not both.allowed("aa", "/0")

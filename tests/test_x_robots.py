"""X-Robots-Tag: what others send is read with all its traps, and what we send is understood by those who read it."""

from __future__ import annotations

import json

import pytest

from guard.directives import x_robots

from .conftest import SHARED

ABSENT = "../shared is not here: the project's own cases cover the same rules"
CASES = SHARED / "vectors" / "x_robots_tag_cases.json"
NO_AI = {"train-ai": "disallow", "ai-use": "disallow", "search": "allow"}


def skipped_by_img2dataset(lines: list[str], agent: str = "examplebot") -> bool:
    """Its reading: what stands before the first colon of a line is an agent's name, whatever it is."""
    for line in lines:
        head, colon, tail = line.partition(":")
        if colon and head.strip().lower() != agent:
            continue
        words = {word.strip().lower() for word in (tail if colon else line).split(",")}
        if words & {"noai", "noimageai", "noindex", "noimageindex"}:
            return True
    return False


def skipped_by_datadiligence(lines: list[str], agent: str = "ExampleBot") -> bool:
    """Its reading: all lines as one list; a word counts if no agent stands before it or just ours; case matters."""
    for item in ",".join(lines).split(","):
        head, colon, tail = item.partition(":")
        word = (tail if head.strip() == agent else "") if colon else item
        if word.strip() in ("noai", "noimageai"):
            return True
    return False


@pytest.mark.parametrize(
    ("lines", "read"),
    [
        (["noai, noimageai"], [("*", ["noai", "noimageai"])]),
        (["NOAI", "noimageai"], [("*", ["noai"]), ("*", ["noimageai"])]),
        (["GoogleBot: noindex, noai", "noai"], [("googlebot", ["noindex", "noai"]), ("*", ["noai"])]),
        (["noai, googlebot: noindex"], [("*", ["noai", "googlebot:noindex"])]),
        (["max-snippet:0, noai"], [("*", ["max-snippet:0", "noai"])]),
        (["otherbot: Max-Snippet: 0"], [("otherbot", ["max-snippet:0"])]),
        (
            ["unavailable_after: Fri, 25 Jun 2027 15:00:00 GMT, noai"],
            [("*", ["unavailable_after:Fri, 25 Jun 2027 15:00:00 GMT", "noai"])],
        ),
        (
            ["noai, unavailable_after: Friday, 25-Jun-27 15:00:00 GMT"],
            [("*", ["noai", "unavailable_after:Friday, 25-Jun-27 15:00:00 GMT"])],
        ),
        (["unavailable_after: 2027-06-25T15:00:00+00:00"], [("*", ["unavailable_after:2027-06-25T15:00:00+00:00"])]),
        (["noai;noimageai"], [("*", ["noai;noimageai"])]),
        (["", " , "], []),
        (["googlebot:"], []),
        ([], []),
    ],
)
def test_a_line_is_an_agent_and_what_it_is_told(lines: list[str], read: list[tuple[str, list[str]]]) -> None:
    assert x_robots.read(lines) == read


def test_who_reads_the_tag_understands_ours() -> None:
    ours = x_robots.state(NO_AI)
    for lines in ([ours], [ours, "max-snippet:0"], ["googlebot: noindex", ours]):
        assert skipped_by_img2dataset(lines)
        assert skipped_by_datadiligence(lines)
    assert x_robots.read([ours]) == [("*", ["noai", "noimageai"])]
    assert not skipped_by_img2dataset([f"max-snippet:0, {ours}"])  # why it has a line of its own
    assert x_robots.state({"train-ai": "allow"}) == ""
    assert x_robots.state({}) == ""


def test_the_published_cases_end_as_they_should() -> None:
    if not CASES.exists():
        pytest.skip(ABSENT)
    cases = json.loads(CASES.read_text())["cases"]
    assert len(cases) == 20
    for case in cases:
        lines = case["header_lines"]
        assert [[agent, said] for agent, said in x_robots.read(lines)] == case["parsed"], case
        assert skipped_by_img2dataset(lines) is case["blocked_img2dataset"], case
        assert skipped_by_datadiligence(lines) is case["blocked_datadiligence"], case

"""Refusals in words: the numbers agree, nothing runs, nothing is kept."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.actions import TABLE
from guard.model import ACTIONS, STAGES, UNKNOWN_AGENT, Admission, Decision, Identity, Limit, Mode, Site
from guard.replies import rate_headers, refuse

SITE = Site("Site", "mailto:a@b.example")
LIMITS = st.builds(
    Limit,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 ._'-]{0,79}", fullmatch=True),
    count=st.integers(1, 999_999_999),
    window_s=st.sampled_from([1.0, 60.0, 3600.0, 86400.0]),
    burst=st.integers(1, 999_999_999),
)


def decided(action: str, reason: str = "", route: str = "page", limits: tuple[Limit, ...] = ()) -> Decision:
    return Decision(action, "r", Mode.ENFORCE, reason, UNKNOWN_AGENT, Identity.UNKNOWN, route, limits)


@given(LIMITS, st.integers(0, 10**9), st.floats(0, 1e9, allow_nan=False))
def test_the_time_to_wait_is_rounded_up_and_said_alike_everywhere(limit: Limit, remaining: int, wait_s: float) -> None:
    headers = dict(rate_headers((limit,), Admission(False, remaining, wait_s, True)))
    ((name, state),) = http_sf.parse(headers[b"ratelimit"], tltype="list")  # type: ignore[misc]
    ((policy_name, policy),) = http_sf.parse(headers[b"ratelimit-policy"], tltype="list")  # type: ignore[misc]
    assert name == policy_name == limit.name
    assert int(headers[b"retry-after"]) == state["t"]
    assert 1 <= state["t"] < wait_s + 1.0 or state["t"] == 1
    assert state["t"] >= wait_s
    assert state["r"] == remaining
    assert policy["q"] == limit.burst
    assert policy["w"] >= 1
    assert policy["w"] >= limit.burst * limit.emission_s
    assert policy["w"] - 1 < max(1, math.ceil(limit.burst * limit.emission_s))


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, list[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, [name for name, _ in attrs]))


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_a_page_holds_no_tag_but_its_own(name: str, contact: str, reason: str) -> None:
    def tags(site: Site, why: str) -> list[tuple[str, list[str]]]:
        parser = Tags()
        parser.feed(refuse(site, 403, decided("block", why), b"text/html", "id").body.decode())
        return parser.found

    assert tags(Site(name, contact or "x"), reason or "x") == tags(Site("x", "x"), "x")
    assert not {"script", "a", "form", "img", "link"} & {tag for tag, _ in tags(SITE, "")}


@given(st.text(max_size=60), st.text(max_size=60))
def test_a_problem_is_json_whatever_the_operator_wrote(contact: str, reason: str) -> None:
    reply = refuse(Site("x", contact), 403, decided("block", reason, "api"), b"text/html", "id")
    problem = json.loads(reply.body)
    assert reply.body.isascii()
    assert problem.get("contact", "") == contact
    assert problem["detail"] == (reason or "The site's policy does not allow this client to fetch this address.")


@pytest.mark.parametrize("status", [400, 403, 405, 421, 429, 418])
def test_a_refusal_says_what_happened_and_is_kept_by_nobody(status: int) -> None:
    reply = refuse(SITE, status, decided("block"), b"", "id", ((b"x-site", b"1"),))
    headers = dict(reply.headers)
    assert reply.status == status == json.loads(reply.body)["status"]
    assert headers[b"cache-control"] == headers[b"cdn-cache-control"] == headers[b"surrogate-control"] == b"no-store"
    assert headers[b"x-guard-decision"] == b"id"
    assert headers[b"x-site"] == b"1"
    assert b"location" not in headers
    assert len(headers) == len(reply.headers)


def test_one_second_is_not_called_seconds() -> None:
    limit = Limit("l", 1, 1.0, 1)
    for wait_s, words in ((0.2, "in 1 second."), (1.0, "in 1 second."), (1.1, "in 2 seconds.")):
        reply = refuse(
            SITE, 429, decided("throttle", limits=(limit,)), b"text/html", "id", (), Admission(False, 0, wait_s, True)
        )
        assert words in reply.body.decode()


def test_every_action_of_a_policy_is_in_the_table() -> None:
    assert set(TABLE) == {*ACTIONS, *STAGES}


@pytest.mark.parametrize(
    ("action", "admission", "status"),
    [
        ("allow", None, None),
        ("label", None, None),
        ("block", None, 403),
        ("throttle", None, None),
        ("throttle", Admission(True, 1, 0.0, True), None),
        ("throttle", Admission(False, 0, 3.0, True), 429),
        ("refuse", None, 429),
        ("challenge", None, 429),
    ],
)
def test_each_action_does_what_its_name_says(action: str, admission: Admission | None, status: int | None) -> None:
    limits = (Limit("l", 1, 1.0, 1),) if action == "throttle" else ()
    reply = TABLE[action](SITE, decided(action, limits=limits), admission, b"", "id", ())
    assert (reply.status if reply else None) == status


@pytest.mark.parametrize(
    ("status", "kind"), [(429, "quota-exceeded"), (503, "temporary-reduced-capacity"), (403, "about:blank")]
)
def test_a_problem_is_of_the_type_that_is_registered_for_it(status: int, kind: str) -> None:
    problem = json.loads(refuse(SITE, status, decided("block", route="api"), b"", "id").body)
    assert problem["type"].rpartition("#")[2] == kind


KINDS = st.builds(
    Limit,
    name=st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=20),
    count=st.integers(1, 10**9),
    window_s=st.sampled_from([1.0, 60.0, 3600.0]),
    burst=st.integers(1, 10**6),
    kind=st.sampled_from(["rate", "quota", "concurrent"]),
    period=st.sampled_from(["day", "month"]),
    unit=st.sampled_from(["requests", "bytes", "audio-seconds"]),
)


@given(st.lists(KINDS, min_size=1, max_size=4), st.integers(0, 3), st.floats(0, 1e6))
def test_limits_of_all_kinds_are_told_so_that_strict_readers_understand(
    limits: list[Limit], which: int, wait_s: float
) -> None:
    refusing = limits[which % len(limits)]
    headers = dict(rate_headers(limits, Admission(False, 0, wait_s, True, refusing)))
    told = http_sf.parse(headers[b"ratelimit-policy"], tltype="list")
    ((name, state),) = http_sf.parse(headers[b"ratelimit"], tltype="list")  # type: ignore[misc]
    assert len(told) == len(limits)
    for (said, words), limit in zip(told, limits, strict=True):  # type: ignore[misc]
        assert said == limit.name.replace('"', "").replace("\\", "")
        assert words["q"] == (limit.burst if limit.kind == "rate" else limit.count)
        assert ("w" in words) is (limit.kind != "concurrent")
        assert words.get("qu", "requests") in ("requests", "content-bytes", "concurrent-requests")
    assert name in [said for said, _ in told]  # type: ignore[misc]
    assert state["t"] == int(headers[b"retry-after"]) >= wait_s

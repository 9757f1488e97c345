"""The RateLimit fields of our refusals are those that strict readers take, and they agree with one another."""

from __future__ import annotations

import json

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.model import Admission, Limit
from guard.replies import rate_headers

from .conftest import SHARED

ABSENT = "../shared is not here: the project's own cases cover the same rules"
CASES = SHARED / "vectors" / "ratelimit_examples.json"
NEEDED = {"RateLimit": "r", "RateLimit-Policy": "q"}
"""The parameter that every item must have."""


def strict(field: str, value: str) -> list[tuple[str, dict[str, object]]]:
    """Names and parameters. Raises ValueError for what a strict reader refuses."""
    try:
        items = http_sf.parse(value.encode(), tltype="list")
    except http_sf.StructuredFieldError as error:
        raise ValueError(str(error)) from None
    found: list[tuple[str, dict[str, object]]] = []
    for item in items:
        name, parameters = item  # type: ignore[misc]  # the library's own types are those of any field
        if not isinstance(name, str) or isinstance(name, http_sf.Token):
            raise ValueError("a name is a String")
        if type(parameters.get(NEEDED[field])) is not int:
            raise ValueError(f"{name} has no {NEEDED[field]}")
        for key in ("q", "w", "r", "t"):
            if key in parameters and (type(parameters[key]) is not int or parameters[key] < 0):
                raise ValueError(f"{key} is no count")
        found.append((name, dict(parameters)))
    return found


LIMITS = st.builds(
    Limit,
    name=st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=12),
    count=st.integers(1, 10_000),
    window_s=st.floats(0.1, 86_400),
    burst=st.integers(1, 10_000),
)


@given(LIMITS, st.integers(0, 1_000), st.floats(0, 100_000))
def test_our_fields_are_read_by_strict_readers_and_agree(limit: Limit, remaining: int, retry_after_s: float) -> None:
    headers = dict(rate_headers((limit,), Admission(False, remaining, retry_after_s, True)))
    ((name, state),) = strict("RateLimit", headers[b"ratelimit"].decode())
    ((same, policy),) = strict("RateLimit-Policy", headers[b"ratelimit-policy"].decode())
    assert name == same
    assert set(state) == {"r", "t"}
    assert set(policy) == {"q", "w"}
    assert state["t"] == int(headers[b"retry-after"])
    assert int(headers[b"retry-after"]) >= retry_after_s
    assert policy["q"] == limit.burst


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("RateLimit-Policy", "burst;q=20;w=1"),
        ("RateLimit", "limit=100, remaining=50, reset=30"),
        ("RateLimit-Policy", '"burst";w=60'),
        ("RateLimit-Policy", "100;w=60"),
        ("RateLimit", '"burst";t=1'),
        ("RateLimit", '"burst";r=-1'),
        ("RateLimit", '"burst";r=1,'),
    ],
)
def test_what_earlier_drafts_wrote_is_told_apart(field: str, value: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        strict(field, value)


def test_the_published_examples_are_read_as_they_should() -> None:
    if not CASES.exists():
        pytest.skip(ABSENT)
    cases = json.loads(CASES.read_text())
    assert len(cases["valid"]) == 5
    for case in cases["valid"]:
        found = [[name, parameters] for name, parameters in strict(case["header"], case["value"])]
        wanted = [
            [name, {key: b"guard" if word == "b'guard'" else word for key, word in parameters.items()}]
            for name, parameters in case["items"]
        ]
        assert found == wanted, case
    assert len(cases["invalid"]) == 4
    for case in cases["invalid"]:
        for field in NEEDED:
            with pytest.raises(ValueError, match=r".+"):
                strict(field, case["value"])
    refusal = next(case for case in cases["responses"] if case["name"] == "429")
    ours = dict(rate_headers((Limit("ai", 10, 60.0, 10),), Admission(False, 0, 30.0, True)))
    for name in ("Retry-After", "RateLimit", "RateLimit-Policy"):
        assert ours[name.lower().encode()].decode() == refusal["headers"][name]

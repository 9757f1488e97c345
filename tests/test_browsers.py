"""Browsers as their User-Agents claim them: which, how old, and what such a one sends."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.browsers import LONG_LIVED, MONTH_S, NO_CLAIM, SPECIAL, Claim, read_claim
from tests.listeners import browsers

KHTML = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "claim"),
    [
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {KHTML} Chrome/157.0.0.0 Safari/537.36", Claim("chrome", 157)),
        (f"Mozilla/5.0 (Linux; Android 10; K) {KHTML} Chrome/157.0.0.0 Mobile Safari/537.36", Claim("chrome", 157)),
        (f"Mozilla/5.0 (X11; Linux x86_64) {KHTML} HeadlessChrome/120.0.0.0 Safari/537.36", Claim("chrome", 120)),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0", Claim("firefox", 153)),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4.1 "
            "Safari/605.1.15",
            Claim("safari", 17, 4),
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "CriOS/157.0.0.0 Mobile/15E148 Safari/604.1",
            Claim("safari", 18, 0, True),
        ),
        (
            f"Mozilla/5.0 (SMART-TV; Linux; Tizen 7.0) {KHTML} Chrome/94.0.0.0 Safari/537.36",
            Claim("chrome", 94, 0, True),
        ),
        (f"Mozilla/5.0 (Linux; Android 13; x; wv) {KHTML} Version/4.0 Chrome/157.0.0.0", Claim("chrome", 157, 0, True)),
        ("Mozilla/5.0 (X11; rv:128.0) Goanna/6.7 Gecko/20100101 Firefox/128.0", Claim("firefox", 128, 0, True)),
        (f"Mozilla/5.0 (X11) {KHTML} Chrome/ Safari/537.36", Claim("chrome", 0)),
        (f"Mozilla/5.0 (X11) {KHTML} Chrome/99999999999999.0", Claim("chrome", 999999)),
    ],
)
def test_a_user_agent_claims_a_browser(user_agent: str, claim: Claim) -> None:
    assert read_claim(user_agent.encode()) == claim


@pytest.mark.parametrize(
    "user_agent",
    [
        "",
        "mpv 0.40.0",
        "python-requests/2.32.5",
        "curl/8.14.1",
        "Lynx/2.9.2 libwww-FM/2.14",
        "Googlebot/2.1",
        "Chrome/157.0.0.0",
        "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)",
        "Mozilla/5.0 (compatible; Miniflux/2.2.13; +https://miniflux.app)",
        "Mozilla/5.0 Chrome/157.0.0.0 AppleWebKit/537.36",
    ],
)
def test_who_names_no_browser_claims_none(user_agent: str) -> None:
    assert read_claim(user_agent.encode()) == NO_CLAIM


@given(st.binary(max_size=600) | st.binary(max_size=300).map(lambda rest: b"Mozilla/5.0 (" + rest))
def test_whatever_bytes_come_a_claim_is_read(user_agent: bytes) -> None:
    claim = read_claim(user_agent)
    assert claim.family in ("", "chrome", "firefox", "safari")
    assert 0 <= claim.version <= 999_999 and 0 <= claim.minor <= 999_999
    assert -1e12 < claim.released_s() < 1e12 or claim.family == ""
    assert (claim.has_fetch_metadata, claim.has_client_hints, claim.long_lived) <= (True, True, True)
    assert claim.codings[:2] == (b"gzip", b"br")


@given(
    st.lists(
        st.sampled_from([*SPECIAL, b"Chrome/", b"AppleWebKit/", b"Firefox/", b"Gecko/", b"Version/", b"OS ", b"7."])
    )
)
def test_words_of_browsers_in_any_order_are_read(words: list[bytes]) -> None:
    claim = read_claim(b"Mozilla/5.0 (" + b" ".join(words))
    assert not claim.special or any(word in SPECIAL for word in words) or claim.family == "safari"


def test_a_claim_is_read_in_linear_time() -> None:
    def seconds(times: int) -> float:
        text = b"Mozilla/5.0 (" + b"Chrome/Chrom AppleWebKit Firefox/ Version/9" * times
        began = time.perf_counter()
        read_claim(text)
        return time.perf_counter() - began

    short, long = min(seconds(1_000) for _ in range(5)), min(seconds(20_000) for _ in range(5))
    assert long < 100 * max(short, 1e-5)  # 20 x; 400 x if it were quadratic


@pytest.mark.parametrize(
    ("claim", "day"),
    [
        (Claim("chrome", 90), datetime(2021, 4, 14, tzinfo=UTC)),
        (Claim("chrome", 100), datetime(2022, 3, 29, tzinfo=UTC)),
        (Claim("chrome", 109), datetime(2023, 1, 10, tzinfo=UTC)),
        (Claim("chrome", 120), datetime(2023, 12, 5, tzinfo=UTC)),
        (Claim("chrome", 140), datetime(2025, 9, 2, tzinfo=UTC)),
        (Claim("firefox", 115), datetime(2023, 7, 4, tzinfo=UTC)),
        (Claim("firefox", 140), datetime(2025, 6, 24, tzinfo=UTC)),
        (Claim("safari", 17), datetime(2023, 9, 18, tzinfo=UTC)),
        (Claim("safari", 18), datetime(2024, 9, 16, tzinfo=UTC)),
        (Claim("safari", 26), datetime(2025, 9, 15, tzinfo=UTC)),
    ],
)
def test_no_browser_is_held_to_be_older_than_it_is(claim: Claim, day: datetime) -> None:
    months_too_young = (claim.released_s() - day.timestamp()) / MONTH_S
    assert -1 < months_too_young < 8


@given(st.sampled_from(["chrome", "firefox", "safari"]), st.integers(60, 400))
def test_a_newer_version_never_came_out_earlier(family: str, version: int) -> None:
    assert Claim(family, version).released_s() < Claim(family, version + 1).released_s()


@pytest.mark.parametrize(
    ("claim", "metadata", "hints", "zstd"),
    [
        (Claim("chrome", 79), False, False, False),
        (Claim("chrome", 88), True, False, False),
        (Claim("chrome", 89), True, True, False),
        (Claim("chrome", 122), True, True, False),
        (Claim("chrome", 123), True, True, True),
        (Claim("firefox", 89), False, False, False),
        (Claim("firefox", 90), True, False, False),
        (Claim("firefox", 126), True, False, True),
        (Claim("safari", 16, 3), False, False, False),
        (Claim("safari", 16, 4), True, False, False),
        (Claim("safari", 26), True, False, False),
        (NO_CLAIM, False, False, False),
    ],
)
def test_what_a_browser_sends_it_sends_from_a_version_on(claim: Claim, metadata: bool, hints: bool, zstd: bool) -> None:
    assert (claim.has_fetch_metadata, claim.has_client_hints) == (metadata, hints)
    assert (b"zstd" in claim.codings) is zstd


@pytest.mark.parametrize(("family", "version"), [(family, one) for family, all_ in LONG_LIVED.items() for one in all_])
def test_the_last_version_for_an_old_system_is_known(family: str, version: int) -> None:
    assert Claim(family, version).long_lived
    assert not Claim(family, version + 1).long_lived
    assert not Claim("safari", version).long_lived


def test_listeners_browsers_are_what_they_are() -> None:
    for seed in range(20):
        chrome, firefox = browsers.chrome(Random(seed)), browsers.firefox(Random(seed))
        for browser, family in ((chrome, "chrome"), (firefox, "firefox")):
            claim = read_claim(browser.user_agent.encode())
            assert (claim.family, claim.special) == (family, False)
            assert claim.has_fetch_metadata

"""Lists that operators publish are taken whole or not at all, and the last good one survives what comes after it."""

from __future__ import annotations

import json
import time
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.load import shipped_catalogue
from guard.networks import Network
from guard.published import (
    MAX_ENTRIES,
    MAX_LIST_BYTES,
    Kept,
    PublishedError,
    Shelf,
    judge_growth,
    read_published,
    shipped,
)
from tests.conftest import SHARED
from tests.publisher import DOCUMENTATION, listed

SOURCE = "https://bot.example.net/bots.json"


def read(*prefixes: str, allowed: tuple[Network, ...] = ()) -> tuple[str, ...]:
    return tuple(map(str, read_published("ip-json", listed(*prefixes).body, allowed).networks))


def refused(*prefixes: str) -> str:
    with pytest.raises(PublishedError) as caught:
        read(*prefixes)
    return caught.value.reason


def nets(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


def test_a_list_is_read() -> None:
    body = listed("132.196.86.0/24", "2600:1f28:365:80b0::/60", created="2026-08-20T14:46:05.000000").body
    published = read_published("ip-json", body)
    assert published.networks == nets("132.196.86.0/24", "2600:1f28:365:80b0::/60")
    assert published.created_s == 1787237165.0
    assert published.warnings == ()


def test_single_addresses_and_repetitions_are_right() -> None:
    assert read("8.8.8.8", "8.8.8.0/24", "8.8.8.8/32", "2a00::1") == ("8.8.8.0/24", "8.8.8.8/32", "2a00::1/128")


def test_only_the_two_keys_count() -> None:
    body = json.dumps({"prefixes": [{"ipv4Prefix": "8.8.8.0/24", "service": "x", "ip": "10.0.0.0/8"}], "more": 1})
    assert read_published("ip-json", body.encode()).networks == nets("8.8.8.0/24")


@pytest.mark.parametrize(
    "prefix",
    [
        *("0.0.0.0/0", "::/0", "10.0.0.0/8", "192.168.1.0/24", "172.16.0.0/12", "127.0.0.0/8", "169.254.0.0/16"),
        *("100.64.0.0/10", "224.0.0.0/4", "240.0.0.0/4", "0.0.0.0/32", "255.255.255.255", "192.0.2.0/24"),
        *("198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15", "::1", "::/128", "fe80::/64", "fc00::/7", "ff00::/8"),
        *(
            "2001:db8::/32",
            "2002::/16",
            "64:ff9b::/96",
            "::ffff:0:0/96",
            "::ffff:8.8.8.0/120",
            "8.0.0.0/7",
            "2a00::/18",
        ),
        *("1079/1079", "000/0", "8.8.8.0/33", "8.8.8.0/-1", "8.8.8.0/24/24", "8.8.8.0/255.255.255.0", "08.8.8.0/24"),
        *("8.8.8", "x", "", "2a00::1%eth0/128", "8.8.8.0/٢٤", "8.8.8.0/ 24", "134744072"),
    ],
)
def test_one_entry_that_cannot_be_right_condemns_the_list(prefix: str) -> None:
    assert refused("8.8.4.0/24", prefix)


def test_the_reason_has_nothing_unprintable_in_it() -> None:
    reason = refused("\x1b[31m\r\nWARNING all is well" + "x" * 1000)
    assert reason.isascii()
    assert reason.isprintable()
    assert len(reason) < 300


def test_an_address_of_the_wrong_family_is_refused() -> None:
    for entry in (
        {"ipv4Prefix": "2a00::/32"},
        {"ipv6Prefix": "8.8.8.0/24"},
        {"ipv4Prefix": 134744072},
        {},
        "8.8.8.8",
        None,
    ):
        with pytest.raises(PublishedError):
            read_published("ip-json", json.dumps({"prefixes": [{"ipv4Prefix": "8.8.4.0/24"}, entry]}).encode())


def test_host_bits_are_put_up_with_and_told() -> None:
    published = read_published("ip-json", listed("66.249.66.1/24").body)
    assert published.networks == nets("66.249.66.0/24")
    assert published.warnings == ('"66.249.66.1/24" was taken as 66.249.66.0/24',)


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"{}",
            b"[]",
            b"null",
            b'{"prefixes": []}',
            b'{"prefixes": {}}',
            b'{"prefixes": null}',
            b"<html>",
            b"\xff",
        ),
        *(
            b'{"prefixes": [',
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b'{"prefixes": [1]}',
            b'{"prefixes": [[]]}',
            b"1" * 9999,
        ),
    ],
    ids=repr,
)
def test_what_is_no_list_is_refused(body: bytes) -> None:
    with pytest.raises(PublishedError):
        read_published("ip-json", body)


def test_a_list_that_is_too_long_is_refused() -> None:
    with pytest.raises(PublishedError, match="longer"):
        read_published("ip-json", b" " * (MAX_LIST_BYTES + 1))
    entries = [{"ipv4Prefix": "8.8.8.8"}] * (MAX_ENTRIES + 1)
    with pytest.raises(PublishedError, match="entries"):
        read_published("ip-json", json.dumps({"prefixes": entries}).encode())


def test_a_list_of_half_the_world_is_refused() -> None:
    assert "more addresses" in refused("8.0.0.0/8", "9.0.0.0/8", "11.0.0.0/8", "12.0.0.0/8", "13.0.0.0/8")


def test_networks_for_documentation_may_be_allowed() -> None:
    assert read("198.51.100.0/25", allowed=DOCUMENTATION) == ("198.51.100.0/25",)


@pytest.mark.parametrize("created", [None, "", "yesterday", 5, {}, "9999-99-99", "2026-08-20" * 100])
def test_a_time_that_cannot_be_read_refuses_nothing(created: Any) -> None:
    body = json.dumps({"creationTime": created, "prefixes": [{"ipv4Prefix": "8.8.8.0/24"}]}).encode()
    assert read_published("ip-json", body).created_s == 0.0


# -- pages


def page(body: str) -> tuple[str, ...]:
    return tuple(map(str, read_published("ip-html", body.encode()).networks))


def test_prefixes_are_found_inside_markup() -> None:
    assert page(
        """<!doctype html><html><head><title>IPs 1.2</title><style>a{margin:1.2.3.4}</style>
        <script>var version = "5.6.7.8";</script></head><body data-ip="9.9.9.9"><!-- 7.7.7.7/24 -->
        <h1>Amazonbot</h1><p>Version 3.1.4, updated 12:30:45 on 11/30/2026. Use std::vector.</p>
        <ul><li>52.70.240.171</li><li><code>3.208.0.0/16</code></li><li>Also 2600:1f18::/33.</li></ul>
        <pre>{"ip_prefix":"18.97.14.80/29"},&quot;23.21.0.0/24&quot;</pre>, 44.192.0.0/24, (54.1.2.3).</body>"""
    ) == (
        *("3.208.0.0/16", "18.97.14.80/29", "23.21.0.0/24", "44.192.0.0/24", "52.70.240.171/32", "54.1.2.3/32"),
        "2600:1f18::/33",
    )


@pytest.mark.parametrize(
    "body", ["", "<html>", "no addresses", "<p>10.0.0.0/8 and 52.70.240.171", "0.0.0.0/0", "<script>52.70.240.171"]
)
def test_a_page_without_prefixes_or_with_inner_ones_is_refused(body: str) -> None:
    with pytest.raises(PublishedError):
        page(body)


@pytest.mark.parametrize(
    "unit",
    ["<", "<!--", "<script>", "</script", "<a ", "1.", "1.1.1.1", "1.1.1.1/", ":", "/", "::/", "<style", "İ<", "é"],
)
def test_a_hostile_page_takes_no_longer_than_its_length(unit: str) -> None:
    body = (unit * (MAX_LIST_BYTES // len(unit.encode()))).encode()[:MAX_LIST_BYTES]
    began = time.process_time()
    with pytest.raises(PublishedError):
        read_published("ip-html", body)
    assert time.process_time() - began < 5.0


@given(st.binary(max_size=300), st.sampled_from(["ip-json", "ip-html"]))
def test_whatever_is_read_is_read_or_refused(body: bytes, kind: str) -> None:
    try:
        assert read_published(kind, body).networks
    except PublishedError as error:
        assert error.reason.isprintable()


# -- growth


def test_a_list_that_grew_fivefold_is_refused() -> None:
    before = nets("8.8.0.0/24")
    with pytest.raises(PublishedError, match=r"5\.0 times"):
        judge_growth(before, nets("8.8.0.0/24", "8.8.1.0/24", "8.8.2.0/24", "8.8.3.0/24", "8.8.4.0/24"))
    with pytest.raises(PublishedError, match="from 1 networks to 5"):
        judge_growth(before, nets("8.8.0.0/24", *(f"8.9.{n}.0/32" for n in range(4))))
    with pytest.raises(PublishedError, match="IPv4"):
        judge_growth(before, nets("8.8.0.0/16"))
    judge_growth(before, nets("8.8.0.0/22"))


def test_a_list_that_shrank_to_a_fifth_is_refused() -> None:
    before = nets(*(f"8.8.{n}.0/24" for n in range(5)))
    with pytest.raises(PublishedError):
        judge_growth(before, nets("8.8.0.0/24"))
    with pytest.raises(PublishedError, match="0 of the"):
        judge_growth(nets("8.8.0.0/24", "2a00::/32"), nets("8.8.0.0/24"))
    judge_growth(before, nets("8.8.0.0/24", "8.8.1.0/24"))


def test_the_same_addresses_in_other_pieces_are_the_same_list() -> None:
    whole, pieces = nets("8.8.0.0/24"), tuple(ip_network("8.8.0.0/24").subnets(new_prefix=32))
    judge_growth(whole, pieces)
    judge_growth(pieces, whole)


def test_a_first_ipv6_prefix_is_no_growth_without_measure() -> None:
    judge_growth(nets("8.8.0.0/24"), nets("8.8.0.0/24", "2a00::/32"))


# -- the shelf


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "lists")
    kept = Kept(nets("8.8.0.0/24", "2a00::/32"), 1000.5, 900.0)
    assert shelf.read(SOURCE) is None
    assert shelf.look(SOURCE) == ()
    shelf.keep(SOURCE, kept)
    assert shelf.read(SOURCE) == kept
    first = shelf.look(SOURCE)
    shelf.keep(SOURCE, kept)
    assert shelf.look(SOURCE) != first
    assert [path.name for path in (tmp_path / "lists").iterdir()] == [shelf.path(SOURCE).name]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) // 2],
        lambda text: b"",
        lambda text: b"[" * 100_000,
        lambda text: text.replace(b"8.8.0.0/24", b"0.0.0.0/0"),
        lambda text: text.replace(b"8.8.0.0/24", b"10.0.0.0/8"),
        lambda text: text.replace(b"bot.example.net", b"evil.example.net"),
        lambda text: text.replace(b"1000.5", b'"soon"'),
        lambda text: text.replace(b"1000.5", b"NaN"),
        lambda text: text.replace(b"1000.5", b"-1"),
        lambda text: text + b" " * (17 << 20),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, change: Any) -> None:
    shelf = Shelf(tmp_path)
    shelf.keep(SOURCE, Kept(nets("8.8.0.0/24"), 1000.5))
    path = shelf.path(SOURCE)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(PublishedError, match=r"its file|wider|private"):
        shelf.read(SOURCE)


def test_what_cannot_be_kept_leaves_what_was_there(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    kept = Kept(nets("8.8.0.0/24"), 1000.5)
    shelf.keep(SOURCE, kept)
    with pytest.raises(AttributeError):
        shelf.keep(SOURCE, None)  # type: ignore[arg-type]
    assert shelf.read(SOURCE) == kept


def test_the_shipped_lists_are_of_our_sources_and_pass_our_own_rules() -> None:
    ours = {url for agent in shipped_catalogue().agents for one in agent.verification for url in one.sources}
    lists = shipped()
    assert lists
    assert set(lists) <= ours
    assert all(1_700_000_000 < kept.fetched_s < time.time() for kept in lists.values())


def feed_cases() -> list[dict[str, Any]]:
    path = SHARED / "security" / "bypass_cases.json"
    if not path.exists():
        return []
    cases = json.loads(path.read_text())["cases"]
    return [case for case in cases if case["class"] == "crawler-verification" and "feed" in case["request"]["dns"]]


@pytest.mark.skipif(not feed_cases(), reason="the shared cases are not here")
@pytest.mark.parametrize("case", [case for case in feed_cases() if isinstance(case["request"]["dns"]["feed"], list)])
def test_the_shared_lists_are_refused(case: dict[str, Any]) -> None:
    assert refused(*case["request"]["dns"]["feed"])

"""A table of networks answers as a search through all its rows would, is read quickly, and says where it is wrong."""

from __future__ import annotations

import os
import time
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from guard import asn
from guard.asn import AsnTable, read_asn_table
from guard.errors import PolicyError, Problem


def table(tmp_path: Path, text: str) -> AsnTable:
    (tmp_path / "asn.tsv").write_text(text)
    return read_asn_table(tmp_path / "asn.tsv")


def problems_of(tmp_path: Path, text: str) -> list[tuple[int, str]]:
    with pytest.raises(PolicyError) as caught:
        table(tmp_path, text)
    assert {problem.file for problem in caught.value.problems} == {str(tmp_path / "asn.tsv")}
    return [(problem.line, problem.message) for problem in caught.value.problems]


@pytest.mark.parametrize(
    "row",
    [
        "192.0.2.0/24\t64500",
        "192.0.2.0/24,AS64500",
        "192.0.2.0/24 , as64500 ",
        "192.0.2.0\t192.0.2.255\t64500\tZZ\tEXAMPLE, a network",
        "192.0.2.0,192.0.2.255,AS64500,ZZ,an example",
        "192.0.2.0/24\tAS64500\tmore\tand more\r",
    ],
)
def test_a_row_is_a_prefix_or_a_range(tmp_path: Path, row: str) -> None:
    found = table(tmp_path, f"# networks\n\n{row}\n")
    assert [found.of(one) for one in ("192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0")] == [0, 64500, 64500, 0]
    assert found.rows == 1


def test_both_families_stand_in_one_table(tmp_path: Path) -> None:
    found = table(tmp_path, "2001:db8::/32\t64501\n192.0.2.0/24\t64500\n2001:db8:1::\t2001:db8:1::ff\t4294967295\n")
    assert found.of("2001:db8::7") == 64501
    assert found.of("2001:db8:1::ff") == 4294967295
    assert found.of("2001:db8:1::100") == 64501
    assert found.of("2001:db9::") == 0
    assert found.of("::ffff:192.0.2.7") == found.of("192.0.2.7") == 64500


def test_the_ends_of_all_addresses_have_networks_too(tmp_path: Path) -> None:
    found = table(tmp_path, "0.0.0.0/0\t1\n255.255.255.255/32\t2\n::/0\t3\n")
    assert [found.of(one) for one in ("0.0.0.0", "255.255.255.254", "255.255.255.255", "::", "f" * 4 + ":" * 2)] == [
        *(1, 1, 2, 3, 3),
    ]


@pytest.mark.parametrize("text", ["", "nobody", "192.0.2", "192.0.2.0/24", "fe80::1%eth0", "\0", "192.0.2.07"])
def test_what_is_no_address_is_in_no_network(tmp_path: Path, text: str) -> None:
    assert table(tmp_path, "0.0.0.0/0\t1\n::/0\t2\n").of(text) == 0


def test_a_narrower_network_that_is_nobodys_stands_out_of_a_wider_one(tmp_path: Path) -> None:
    found = table(tmp_path, "10.0.0.0/8\t1\n10.1.0.0\t10.1.255.255\t0\tNone\tNot routed\n")
    assert (found.of("10.0.0.1"), found.of("10.1.0.1"), found.of("10.2.0.1")) == (1, 0, 1)


def naive(rows: list[tuple[int, int, int]], number: int) -> int:
    """The narrowest row that holds the number, the first of those that are as narrow."""
    holding = [(last - first, order, asn) for order, (first, last, asn) in enumerate(rows) if first <= number <= last]
    return min(holding)[2] if holding else 0


ROWS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 4)).map(
        lambda one: (min(one[:2]), max(one[:2]), one[2])
    ),
    max_size=14,
)


@given(ROWS, st.sampled_from(["middle", "end"]))
def test_it_answers_as_a_search_through_all_rows_would(rows: list[tuple[int, int, int]], where: str) -> None:
    for bits in (32, 128):
        base = {"middle": 1 << (bits - 1), "end": (1 << bits) - 61}[where]
        moved = [(base + first, base + last, number) for first, last, number in rows]
        found = AsnTable(moved, []) if bits == 32 else AsnTable([], moved)
        make = IPv4Address if bits == 32 else IPv6Address
        for number in range(base - 2, min(base + 63, 1 << bits)):
            assert found.of(str(make(number))) == naive(moved, number)


@given(st.lists(st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128), st.integers(1, 9)), max_size=12), st.data())
def test_prefixes_within_prefixes_answer_as_the_longest_match(
    rows: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    nets = [(IPv6Network((number, length), strict=False), asn_of) for number, length, asn_of in rows]
    found = AsnTable([], [(int(net[0]), int(net[-1]), asn_of) for net, asn_of in nets])
    near = [int(net[0]) for net, _ in nets] + [int(net[-1]) for net, _ in nets] + [0]
    asked = IPv6Address((data.draw(st.sampled_from(near)) + data.draw(st.integers(-1, 1))) % 2**128)
    assume(asked.ipv4_mapped is None)
    holding = [(-net.prefixlen, order, asn_of) for order, (net, asn_of) in enumerate(nets) if asked in net]
    assert found.of(str(asked)) == (min(holding)[2] if holding else 0)


def test_what_is_wrong_is_told_with_its_line(tmp_path: Path) -> None:
    assert problems_of(
        tmp_path,
        "# fine\n192.0.2.0/24\t1\nasn,network\n192.0.2.1/24,1\n192.0.2.0/33,1\n192.0.2.9,192.0.2.1,1\n"
        "192.0.2.9,2001:db8::,1\n192.0.2.0/24,ASX\n192.0.2.0/24,4294967296\n192.0.2.0/24\n1.2.3,1.2.3.4,5\n",
    ) == [
        (3, "'asn,network' is no row: write PREFIX,ASN or FIRST,LAST,ASN with commas or tabs"),
        (4, "'192.0.2.1/24' is not a prefix: it has host bits set"),
        (5, "'192.0.2.0/33' is not a prefix: write it like 192.0.2.0/24 or 2001:db8::/32"),
        (6, "'192.0.2.9,192.0.2.1,1': the last address is before the first"),
        (7, "'192.0.2.9,2001:db8::,1': from IPv4 to IPv6 there is no range"),
        (8, "'ASX' is no number of a network: write AS64500 or 64500"),
        (9, "'4294967296' is no number of a network: write AS64500 or 64500"),
        (10, "'' is no number of a network: write AS64500 or 64500"),
        (11, "'1.2.3' is not an address"),
    ]


def test_a_file_of_another_kind_is_not_told_line_by_line(tmp_path: Path) -> None:
    assert len(problems_of(tmp_path, "nothing\n" * 1000)) == asn.MAX_PROBLEMS


def test_a_table_without_rows_is_a_mistake(tmp_path: Path) -> None:
    assert problems_of(tmp_path, "# nothing\n") == [(0, "no row: it would tell nobody's network")]


def test_a_table_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asn, "MAX_ROWS", 2)
    assert table(tmp_path, "1.0.0.0/8,1\n2.0.0.0/8,1\n").rows == 2
    assert problems_of(tmp_path, "1.0.0.0/8,1\n2.0.0.0/8,1\n\n3.0.0.0/8,1\n") == [(4, "more than 2 rows")]
    with (tmp_path / "asn.tsv").open("wb") as file:
        file.truncate(asn.MAX_FILE_BYTES + 1)
    with pytest.raises(PolicyError) as caught:
        read_asn_table(tmp_path / "asn.tsv")
    assert caught.value.problems == (Problem(str(tmp_path / "asn.tsv"), 0, "larger than 256 MiB"),)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("none", "pipe", "."):
        with pytest.raises((FileNotFoundError, IsADirectoryError, OSError)):
            read_asn_table(tmp_path / name)


def test_two_tables_are_told_apart_by_their_text(tmp_path: Path) -> None:
    first, same, other = (table(tmp_path, f"1.0.0.0/8,{number}\n").digest for number in (1, 1, 2))
    assert first == same
    assert first != other


def test_half_a_million_rows_are_read_in_seconds_and_kept_in_little_memory(tmp_path: Path) -> None:
    count = 500_000
    nets = ((n, f"{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}") for n in range(count))
    lines = (f"{net}.0\t{net}.255\t{n % 90_000}\tZZ\tx\n" for n, net in nets)
    (tmp_path / "asn.tsv").write_text("".join(lines))
    began = time.perf_counter()
    found = read_asn_table(tmp_path / "asn.tsv")
    took_s = time.perf_counter() - began
    assert found.rows == count
    assert found.of("1.2.3.4") == (1 << 16 | 2 << 8 | 3) % 90_000
    assert took_s < 6, "twice what a slow machine needs"
    starts, asns = found._narrow._starts, found._narrow._asns
    assert len(starts) * starts.itemsize + len(asns) * asns.itemsize <= 16 * count  # type: ignore[attr-defined]

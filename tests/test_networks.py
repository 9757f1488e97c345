"""A table of prefixes answers as ipaddress does, and knows which addresses can be no operator's."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guard.networks import NO_LABELS, NOTHING_KNOWN, Network, PrefixTable, why_not_public, why_special

# Few addresses, so that nets lie inside, beside and on top of each other.
NARROW_4 = st.integers(0x0A000000, 0x0A0000FF)
NARROW_6 = st.integers(0x20010000 << 96, (0x20010000 << 96) + 0xFF)
ADDRESSES = st.one_of(
    NARROW_4.map(IPv4Address),
    NARROW_6.map(IPv6Address),
    st.sampled_from([0, 0xFFFFFFFF, 0x0A0000FF + 1]).map(IPv4Address),
    st.sampled_from([0, (1 << 128) - 1]).map(IPv6Address),
    st.ip_addresses(),
)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    address = draw(ADDRESSES)
    length = draw(st.integers(0, address.max_prefixlen))
    return ip_network((address, length), strict=False)


def as_ipv4(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def as_ipv4_net(net: Network) -> Network:
    if net.version == 4 or not net.subnet_of(ip_network("::ffff:0:0/96")):
        return net
    return ip_network((as_ipv4(net.network_address), net.prefixlen - 96))


@example({"a": [ip_network("::ffff:0:0/96")]}, [ip_address("10.0.0.0")])
@example({"a": [ip_network("::/0")], "b": [ip_network("0.0.0.0/0")]}, [ip_address("::ffff:10.0.0.0")])
@given(st.dictionaries(st.sampled_from("abcd"), st.lists(networks(), max_size=8)), st.lists(ADDRESSES, min_size=1))
def test_every_address_has_the_labels_of_all_nets_that_hold_it(
    labelled: dict[str, list[Network]], asked: list[IPv4Address | IPv6Address]
) -> None:
    table = PrefixTable(labelled)
    edges = [net[place] for nets in labelled.values() for net in nets for place in (0, -1)]
    assert table.size == sum(len(nets) for nets in labelled.values())
    for address in (*asked, *edges):
        plain = as_ipv4(address)
        expected = {label for label, nets in labelled.items() if any(plain in as_ipv4_net(net) for net in nets)}
        found = table.find(str(address))
        assert found == expected
        assert any(found is one for one in table.label_sets())


@pytest.mark.parametrize("address", ["::ffff:66.249.66.1", "::ffff:42f9:4201", "0:0:0:0:0:ffff:66.249.66.1"])
def test_an_ipv4_address_in_disguise_is_found_as_what_it_is(address: str) -> None:
    assert PrefixTable({"google": [ip_network("66.249.66.0/24")]}).find(address) == {"google"}
    assert PrefixTable({"google": [ip_network("::ffff:66.249.66.0/120")]}).find("66.249.66.1") == {"google"}


@pytest.mark.parametrize(
    "text", ["", "x", "1.2.3", "1.2.3.4.5", "1.2.3.4/32", "::g", "fe80::1%eth0", "\0", "1.2.3.4\0"]
)
def test_what_is_no_address_is_nowhere(text: str) -> None:
    table = PrefixTable({"all": [ip_network("0.0.0.0/0"), ip_network("::/0")]})
    assert table.find(text) is NO_LABELS


def test_the_same_labels_are_the_same_object() -> None:
    table = PrefixTable({"a": [ip_network("10.0.0.0/24"), ip_network("10.0.9.0/24")], "b": [ip_network("10.0.5.0/24")]})
    assert table.find("10.0.0.1") is table.find("10.0.9.1")
    assert table.find("10.0.4.1") is NO_LABELS is NOTHING_KNOWN.lists


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "10.0.0.5", "100.64.0.1", "127.0.0.1", "127.9.9.9", "169.254.169.254", "172.16.0.1"),
        *("172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1"),
        *("203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:8.8.8.8", "::8.8.8.8"),
        *("64:ff9b::a00:5", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:a00:5::1", "3fff::1", "5f00::1"),
        *("fc00::1", "fd00::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "4000::1", "2a00::1%x", "", "x"),
    ],
)
def test_no_inner_address_is_public(address: str) -> None:
    assert why_not_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "100.63.0.1", "172.32.0.1", "192.0.1.1", "2a00:1450::1", "2606:4700::1"]
)
def test_public_addresses_are(address: str) -> None:
    assert why_not_public(address) == ""
    assert ip_address(address).is_global


@given(st.ip_addresses())
def test_nothing_that_ipaddress_knows_as_inner_is_public(address: IPv4Address | IPv6Address) -> None:
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert why_not_public(str(address))


def test_a_net_that_only_touches_an_inner_one_is_special_too() -> None:
    assert why_special(ip_network("172.0.0.0/8")) == "private"
    assert why_special(ip_network("2000::/3"))
    assert why_special(ip_network("198.51.100.0/25"), [ip_network("198.51.100.0/24")]) == ""
    assert why_special(ip_network("198.51.0.0/16"), [ip_network("198.51.100.0/24")])

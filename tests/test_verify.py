"""Proof verifies, absence of proof accuses nobody: what becomes of a claim, whatever is known and whatever is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.classify import BROWSER_AGENT
from guard.declared import DECLARED
from guard.hosts import WELL_KNOWN
from guard.load import shipped_catalogue
from guard.model import UNKNOWN_AGENT, Agent, Identity, Signatures, Verification, Verifying
from guard.networks import NO_LABELS, NOTHING_KNOWN, Knowledge
from guard.verify import (
    Checked,
    can_be_checked,
    claims_nothing,
    ends_in,
    genuine,
    read_published,
    suffixes_of,
    verify,
)

ADDRESS = "192.0.2.7"
LIST = "https://acme.example/bots.json"
PAGE = "https://acme.example/bots.html"
BY_LIST = Verification("ip-json", (LIST,))
BY_PAGE = Verification("ip-html", (PAGE,))
BY_NAME = Verification("rdns", (".crawl.acme.example", "acme.test"))
BY_KEY = Verification("web-bot-auth", ("https://acme.example" + WELL_KNOWN,))
HOST = "7.crawl.acme.example"
VERIFIED, UNVERIFIED, SPOOFED, UNKNOWN = Identity.VERIFIED, Identity.UNVERIFIED, Identity.SPOOFED, Identity.UNKNOWN
DNS = ("unasked", "pending", "confirmed", "denied", "failed")


def bot(*checks: Verification, runs_on: str = "operator") -> Agent:
    return Agent("AcmeBot", "AcmeBot", "", "Acme", "ai-train", ("train-ai",), verification=checks, runs_on=runs_on)


def known(*lists: str, dns: str = "unasked", host: str = "") -> Knowledge:
    return Knowledge(frozenset(lists), host, dns)


def fresh(*sources: str) -> Callable[[str], bool]:
    return lambda source: source in sources


def found(agent: Agent, knowledge: Knowledge = NOTHING_KNOWN, *new: str, address: str = ADDRESS) -> Checked:
    return verify(agent, address, {}, knowledge, fresh(*new))


# -- by list -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lists", "new", "identity"),
    [
        ((LIST,), (LIST,), VERIFIED),
        ((), (LIST,), SPOOFED),
        ((LIST,), (), UNVERIFIED),
        ((), (), UNVERIFIED),
        (("https://other.example/bots.json",), (LIST,), SPOOFED),
        (("https://other.example/bots.json",), (), UNVERIFIED),
    ],
    ids=[
        "inside",
        "outside",
        "inside a stale one",
        "outside a stale one",
        "inside another's",
        "another's, own is stale",
    ],
)
def test_a_list_verifies_and_accuses_only_while_it_is_fresh(
    lists: tuple[str, ...], new: tuple[str, ...], identity: Identity
) -> None:
    assert found(bot(BY_LIST), known(*lists), *new).identity is identity


def test_of_two_lists_one_is_enough_to_verify_and_both_are_needed_to_accuse() -> None:
    agent = bot(BY_LIST, BY_PAGE)
    assert found(agent, known(PAGE), PAGE).identity is VERIFIED
    assert found(agent, known(), PAGE).identity is UNVERIFIED
    assert found(agent, known(LIST), PAGE).identity is UNVERIFIED
    assert found(agent, known(), LIST, PAGE).identity is SPOOFED


def test_what_was_found_is_told_in_words_with_the_source() -> None:
    assert found(bot(BY_LIST), known(LIST), LIST).reason == f"the address is in {LIST}"
    assert found(bot(BY_LIST), known(), LIST).reason == f"the address is outside {LIST}"
    assert "too old" in found(bot(BY_LIST), known(LIST)).reason
    assert HOST in found(bot(BY_NAME), known(dns="confirmed", host=HOST)).reason


# -- by name -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dns", "host", "identity"),
    [
        ("confirmed", HOST, VERIFIED),
        ("confirmed", "crawler.acme.test", VERIFIED),
        ("confirmed", "dialin.example.net", SPOOFED),
        ("confirmed", "notacme.test", SPOOFED),
        ("denied", "", SPOOFED),
        ("unasked", "", UNVERIFIED),
        ("pending", "", UNVERIFIED),
        ("failed", "", UNVERIFIED),
    ],
)
def test_a_host_name_verifies_when_it_leads_back_and_accuses_when_it_is_known(
    dns: str, host: str, identity: Identity
) -> None:
    assert found(bot(BY_NAME), known(dns=dns, host=host)).identity is identity


@pytest.mark.parametrize(
    ("dns", "host", "inside", "new", "identity"),
    [
        ("confirmed", HOST, False, True, VERIFIED),
        ("confirmed", HOST, False, False, VERIFIED),
        ("unasked", "", True, True, VERIFIED),
        ("denied", "", True, True, VERIFIED),
        ("unasked", "", False, True, UNVERIFIED),
        ("pending", "", False, True, UNVERIFIED),
        ("failed", "", False, True, SPOOFED),
        ("denied", "", False, True, SPOOFED),
        ("confirmed", "dialin.example.net", False, True, SPOOFED),
        ("denied", "", False, False, SPOOFED),
        ("confirmed", "dialin.example.net", False, False, SPOOFED),
        ("failed", "", False, False, UNVERIFIED),
        ("unasked", "", False, False, UNVERIFIED),
    ],
)
def test_where_there_are_both_either_verifies_and_a_list_or_a_name_that_is_known_accuses(
    dns: str, host: str, inside: bool, new: bool, identity: Identity
) -> None:
    lists = (LIST,) if inside else ()
    assert (
        found(bot(BY_LIST, BY_NAME), known(*lists, dns=dns, host=host), *((LIST,) if new else ())).identity is identity
    )


def test_a_list_that_is_old_still_speaks_for_whom_it_holds() -> None:
    assert found(bot(BY_LIST, BY_NAME), known(LIST, dns="denied")).identity is UNVERIFIED
    assert found(bot(BY_LIST, BY_NAME), known(dns="denied")).identity is SPOOFED


# -- nothing to go by ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("checks", [(), (Verification("none"),), (BY_KEY,)], ids=["nothing", "none", "only a key"])
def test_who_publishes_no_network_is_unverified_and_never_spoofed(checks: tuple[Verification, ...]) -> None:
    for dns in DNS:
        checked = found(bot(*checks), known(LIST, dns=dns, host=HOST if dns == "confirmed" else ""), LIST)
        assert checked.identity is UNVERIFIED
        assert "no way" in checked.reason


@pytest.mark.parametrize("checks", [(), (BY_LIST,), (BY_NAME,), (BY_LIST, BY_NAME)])
def test_what_runs_at_its_users_own_address_is_neither_proved_nor_disproved_by_it(
    checks: tuple[Verification, ...],
) -> None:
    for knowledge in (known(), known(LIST), known(dns="denied"), known(dns="confirmed", host=HOST)):
        checked = found(bot(*checks, runs_on="user"), knowledge, LIST)
        assert checked.identity is UNVERIFIED
        assert "whoever uses it" in checked.reason


def test_without_an_address_nothing_is_proved() -> None:
    checked = found(bot(BY_LIST, BY_NAME), known(), LIST, address="")
    assert checked.identity is UNVERIFIED
    assert "not known" in checked.reason


@pytest.mark.parametrize("agent", [BROWSER_AGENT, UNKNOWN_AGENT, *DECLARED.values()], ids=lambda agent: agent.name)
def test_who_claims_no_name_is_unknown(agent: Agent) -> None:
    assert claims_nothing(agent)
    assert found(agent, known(LIST, dns="denied"), LIST).identity is UNKNOWN
    assert genuine(agent, {}, Verifying("fetch", dns=True)) is UNKNOWN


# -- the policy's own networks -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "identity"),
    [("198.51.100.9", VERIFIED), ("192.0.2.7", SPOOFED), ("2001:db8::1", VERIFIED), ("", UNVERIFIED)],
)
def test_the_policys_own_networks_go_before_all_else(address: str, identity: Identity) -> None:
    ours = read_published({"AcmeBot": ("198.51.100.0/24", "2001:db8::/32")})
    for agent in (bot(), bot(BY_LIST), bot(BY_LIST, runs_on="user")):
        for knowledge in (known(), known(LIST), known(dns="confirmed", host=HOST)):
            assert verify(agent, address, ours, knowledge, fresh(LIST)).identity is identity


def test_the_networks_of_one_agent_say_nothing_of_another() -> None:
    ours = read_published({"OtherBot": ("198.51.100.0/24",)})
    assert verify(bot(), "198.51.100.9", ours).identity is UNVERIFIED


def test_networks_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="host bits"):
        read_published({"AcmeBot": ("198.51.100.1/24",)})


def test_neighbours_in_the_same_networks_are_not_told_apart_by_them() -> None:
    """GPTBot and OAI-SearchBot share networks: each is found in whichever list holds the address."""
    other = Agent("AcmeSearch", "AcmeSearch", "", "Acme", "ai-search", ("search",), verification=(BY_LIST,))
    assert found(bot(BY_LIST), known(LIST), LIST).identity is found(other, known(LIST), LIST).identity is VERIFIED


# -- laws ----------------------------------------------------------------------------------------------------

CHECKS = st.lists(st.sampled_from([BY_LIST, BY_PAGE, BY_NAME, BY_KEY]), max_size=3).map(tuple)
SOURCES = st.sets(st.sampled_from([LIST, PAGE, "https://other.example/x"]))


@given(
    CHECKS,
    SOURCES,
    st.sampled_from(DNS),
    st.sampled_from([HOST, "x.example.net"]),
    st.sampled_from(["operator", "user"]),
)
def test_without_a_fresh_list_and_without_an_answer_nobody_is_accused(
    checks: tuple[Verification, ...], lists: set[str], dns: str, host: str, runs_on: str
) -> None:
    knowledge = known(*lists, dns=dns, host=host if dns == "confirmed" else "")
    checked = found(bot(*checks, runs_on=runs_on), knowledge)
    if dns not in ("confirmed", "denied"):
        assert checked.identity is UNVERIFIED
    assert checked.reason
    assert checked.keys == ()


@given(CHECKS, SOURCES, SOURCES, st.sampled_from(DNS))
def test_who_is_in_a_fresh_list_of_its_own_is_never_accused(
    checks: tuple[Verification, ...], lists: set[str], new: set[str], dns: str
) -> None:
    own = {
        source for check in checks if check.kind != "rdns" for source in check.sources if check.kind != "web-bot-auth"
    }
    checked = found(bot(*checks), known(*lists, dns=dns, host="x.example.net" if dns == "confirmed" else ""), *new)
    if own & lists & new:
        assert checked.identity is VERIFIED
    elif checked.identity is SPOOFED:
        assert (own and own <= new) or dns in ("denied", "confirmed")


LABEL = st.text("abz09-", min_size=1, max_size=6)


@given(st.lists(LABEL, min_size=1, max_size=4), st.lists(LABEL, min_size=1, max_size=3), st.booleans(), st.booleans())
def test_a_suffix_ends_at_the_boundary_of_a_label(
    host: list[str], suffix: list[str], dotted: bool, upper: bool
) -> None:
    said = "." * dotted + ".".join(suffix)
    name = ".".join(host)
    expected = host[-len(suffix) :] == suffix
    assert ends_in(name.upper() if upper else name, (said,)) is expected
    assert ends_in(name + ".", (said.upper(),)) is expected
    assert ends_in(f"{name}.{'.'.join(suffix)}", (said,))
    assert not ends_in(f"{name}.{'.'.join(suffix)}.evil", (said,)) or suffix[-1] == "evil"


@given(LABEL)
def test_letters_glued_to_a_suffix_are_another_name(label: str) -> None:
    assert not ends_in(f"{label}acme.test", ("acme.test",))
    assert not ends_in(f"{label}acme.test", (".acme.test",))


@pytest.mark.parametrize("suffixes", [(), ("",), (".",), ("..",)])
def test_an_empty_suffix_holds_no_name(suffixes: tuple[str, ...]) -> None:
    assert not ends_in("anything.example", suffixes)
    assert not ends_in("", suffixes)


# -- what a policy can check ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verifying", "checks", "expected"),
    [
        (Verifying(), (BY_LIST, BY_NAME, BY_KEY), False),
        (Verifying("fetch"), (BY_LIST,), True),
        (Verifying("fetch"), (BY_NAME, BY_KEY), False),
        (Verifying(dns=True), (BY_NAME,), True),
        (Verifying(dns=True), (BY_LIST,), False),
        (Verifying(signatures=Signatures()), (BY_KEY,), False),
        (Verifying(signatures=Signatures(directories=("https://acme.example",))), (BY_KEY,), True),
        (Verifying(signatures=Signatures(discover=True)), (BY_KEY,), True),
        (Verifying("fetch", dns=True, signatures=Signatures(discover=True)), (), False),
    ],
)
def test_an_agent_can_be_checked_where_its_way_and_the_policys_meet(
    verifying: Verifying, checks: tuple[Verification, ...], expected: bool
) -> None:
    assert can_be_checked(bot(*checks), verifying) is expected
    assert (genuine(bot(*checks), {}, verifying) is VERIFIED) is expected


def test_only_a_signature_proves_what_runs_at_its_users_address() -> None:
    everything = Verifying("fetch", dns=True, signatures=Signatures(discover=True))
    assert not can_be_checked(bot(BY_LIST, BY_NAME, runs_on="user"), everything)
    assert can_be_checked(bot(BY_KEY, runs_on="user"), everything)


def test_every_shipped_agent_is_unverified_where_nothing_is_known() -> None:
    for agent in shipped_catalogue().agents:
        expected = UNKNOWN if claims_nothing(agent) else UNVERIFIED
        assert verify(agent, ADDRESS, {}, Knowledge(NO_LABELS, "", "unasked")).identity is expected


def test_the_shipped_suffixes_are_ends_of_host_names() -> None:
    suffixes = [suffix for agent in shipped_catalogue().agents for suffix in suffixes_of(agent)]
    assert suffixes
    assert [suffix for suffix in suffixes if not ends_in(f"a.{suffix.lstrip('.')}", (suffix,)) or "*" in suffix] == []
    assert [suffix for suffix in suffixes if suffix.strip(".").count(".") < 1] == []

"""RSL 1.0: what is reserved is prohibited, every document is conformant, and no text of others breaks out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.directives import rsl
from guard.directives.declaration import declare
from guard.load import shipped_catalogue
from guard.rights import Choice, Licence, Work, resolve

from .conftest import SHARED
from .test_tdmrep import (
    CHOICE,
    GENERAL,
    KNOWN,
    NO_AI,
    OPEN,
    RESERVED,
    SHELVES,
    SITES,
    WORK,
    Shelf,
    policy_of,
)

ABSENT = "../shared is not here: the project's own cases cover the same rules"
VECTORS = SHARED / "vectors" / "rsl_examples.json"
ONE = Work("track", "1")
TAGS = {"rsl", "content", "license", "permits", "prohibits", "payment", "custom", "legal", "copyright", "terms"}
SAID = {"allow": "permitted", "disallow": "prohibited", "": "unlicensed"}


def vectors() -> Any:
    if not VECTORS.exists():
        pytest.skip(ABSENT)
    return json.loads(VECTORS.read_text())


def document(contents: str, attributes: str = "") -> str:
    return f'<rsl xmlns="https://rslstandard.org/rsl"{attributes}>{contents}</rsl>'


def licensed(inner: str, attributes: str = ' url="/"') -> str:
    return document(f"<content{attributes}><license>{inner}</license></content>")


NO = '<prohibits type="usage">ai-all</prohibits>'


# -- what we write -------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(SHELVES)
def test_the_document_says_of_every_address_what_is_declared(shelf: Shelf) -> None:
    text = rsl.render(shelf.declaration)
    assert rsl.validate(text) == []
    read = rsl.read(text)
    for address in shelf.addresses():
        stated = shelf.stated(address)
        told = {usage: rsl.evaluate(read, address, usage) for usage in rsl.OURS}
        if any(purpose in stated for purpose in rsl.OURS.values()):
            assert told == {usage: SAID[stated.get(ours, "")] for usage, ours in rsl.OURS.items()}, (address, text)
        else:
            assert "prohibited" not in told.values() and "permitted" not in told.values(), (address, text)


@given(WORK, CHOICE, GENERAL, SITES)
def test_the_document_of_a_work_says_what_its_holders_say(
    work: Work, choice: Choice, general: dict[str, Any], site: str
) -> None:
    policy = policy_of(general, site)
    rights = resolve(((work, choice),), policy.platform_choice)
    declaration = declare(policy, shipped_catalogue())
    text = rsl.render_work(declaration, work, rights)
    assert rsl.validate(text) == []
    read = rsl.read(text)
    for path, address, _ in policy.work_paths.places(work):
        reading = address.partition("?")[0]
        stated = rights.stated(path.kind or policy.kind_of(policy.route_class(reading.lower())))
        for usage, ours in rsl.OURS.items():
            assert rsl.evaluate(read, address, usage) == SAID[stated.get(ours, "")], (address, text)


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_no_text_of_others_gets_out_of_its_place(contact: str, url: str, territory: str, name: str) -> None:
    policy = policy_of(NO_AI)
    policy = replace(policy, site=replace(policy.site, name=name))
    choice = Choice(
        {"": {"train-ai": "open"}, "audio": {"ai-use": "disallow"}},
        contact=contact,
        licence_url=url,
        territory=territory,
    )
    shelf = Shelf(policy, {Work("artist", "1"): choice, Work("track", "&<\"'>]]>"): choice})
    for text in (
        rsl.render(shelf.declaration),
        rsl.render_work(
            shelf.declaration, Work("track", "1"), resolve(((Work("track", "1"), choice),), policy.platform_choice)
        ),
    ):
        rsl.read(text)
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(text).iter()}
        assert tags <= {
            "rsl",
            "content",
            "license",
            "permits",
            "prohibits",
            "payment",
            "custom",
            "legal",
            "copyright",
            "terms",
        }


def test_a_site_without_ai_is_one_scope_that_permits_search() -> None:
    text = rsl.render(Shelf(policy_of(NO_AI, KNOWN), {}).declaration)
    (content,) = rsl.read(text).contents
    (terms,) = content.licences
    assert content.url == "/"
    assert terms.permits == {"usage": ("search",)}
    assert terms.prohibits == {"usage": ("ai-all",)}
    assert terms.legal == {"contact": "mailto:rights@music.example"}
    assert content.copyright == "Example Music"
    assert rsl.read(text).max_age_days <= 7


def test_a_work_with_a_licence_page_names_the_page_and_never_the_licensee() -> None:
    choice = Choice(
        {},
        licences=(Licence("operator:secret partner"), Licence("key:secret-key")),
        licence_url="https://label.example/?a=1&b=2",
        contact="mailto:a&b@label.example",
    )
    shelf = Shelf(policy_of(NO_AI, KNOWN), {Work("track", "1001"): choice})
    text = rsl.render(shelf.declaration)
    assert "secret" not in text
    (content,) = rsl.content_of(rsl.read(text), "/track/1001")
    (terms,) = content.licences
    assert terms.payment == rsl.Payment("training", custom="https://label.example/?a=1&b=2")
    assert terms.legal == {"contact": "mailto:a&b@label.example"}
    assert rsl.evaluate(rsl.read(text), "/track/1001", "ai-train") == "prohibited"
    assert rsl.evaluate(rsl.read(text), "/track/1001", "search") == "permitted"


def test_an_opened_work_is_permitted_where_its_holder_opened_it() -> None:
    choice = Choice({"": {"train-ai": "open", "ai-use": "open"}}, territory="DE, FR", licence_url="https://x.example/l")
    read = rsl.read(rsl.render(Shelf(policy_of(NO_AI), {Work("artist", "77"): choice}).declaration))
    (content,) = rsl.content_of(read, "/artist/77/about")
    assert content.licences[0].permits == {"usage": ("search", "ai-input", "ai-train"), "geo": ("DE", "FR")}
    assert content.terms == "https://x.example/l"
    assert rsl.evaluate(read, "/artist/88", "ai-train") == "prohibited"


def test_where_nothing_is_stated_nothing_is_permitted_and_nothing_prohibited() -> None:
    text = rsl.render(Shelf(replace(policy_of({}), rights=None), {}).declaration)
    assert rsl.validate(text) == []
    assert {rsl.evaluate(rsl.read(text), "/x", usage) for usage in rsl.USAGES} == {"unlicensed"}
    (terms,) = rsl.read(text).contents[0].licences
    assert terms.permits["usage"] == ("noai:unstated",)  # without a closed list, some would read: all is permitted


def test_a_work_without_an_address_is_described_for_whatever_links_to_it() -> None:
    policy = policy_of(NO_AI)
    work = Work("release", "1")
    text = rsl.render_work(declare(policy, shipped_catalogue()), work, resolve(((work, OPEN),), policy.platform_choice))
    read = rsl.read(text)
    assert [content.url for content in read.contents] == [""]
    assert rsl.evaluate(read, "/anything", "ai-train") == "permitted"
    closed = Choice({"": {"train-ai": "open"}, "lyrics": {"train-ai": "disallow"}})
    text = rsl.render_work(
        declare(policy, shipped_catalogue()), work, resolve(((work, closed),), policy.platform_choice)
    )
    assert rsl.evaluate(rsl.read(text), "/anything", "ai-train") == "prohibited"  # it may be the lyrics


def test_the_document_stays_below_its_bound_and_says_how_many_works_it_leaves_out() -> None:
    choices = {Work("track", f"{number:0>150}"): OPEN for number in range(1_000)}
    choices |= {Work("artist", f"{number:0>150}"): RESERVED for number in range(200)}
    text, left_out = rsl.written(Shelf(policy_of(NO_AI, KNOWN), choices).declaration)
    assert len(text.encode()) <= 500 * 1024
    assert left_out > 0
    assert f"<!-- {left_out} more works" in text
    read = rsl.read(text)
    assert all(
        rsl.content_of(read, f"/artist/{number:0>150}")[0].url != "/" for number in range(200)
    )  # the widest layer, and what is reserved, first


def test_a_link_names_the_document_and_its_type() -> None:
    value = '<https://music.example/license.xml>; rel="license"; type="application/rsl+xml"'
    assert rsl.link("https://music.example/license.xml") == value.encode()
    assert rsl.link('https://x.example/é>; rel="evil"').count(b">") == 1
    policy = policy_of(NO_AI, KNOWN)
    address = rsl.licence_address(declare(policy, shipped_catalogue()), Work("track", "AC/DC"))
    assert address == "https://music.example/license.xml?work=track%3AAC%2FDC"


# -- how we read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (licensed('<prohibits type="usage">ai-train,ai-input</prohibits>'), "unknown usage token 'ai-train,ai-input'"),
        (licensed('<prohibits type="usage">train-ai</prohibits>'), "unknown usage token"),
        (licensed('<prohibits type="usage"></prohibits>'), "without a token"),
        (licensed('<permits type="user">robots</permits>'), "unknown user token"),
        (licensed('<permits type="geo">eu</permits>'), "unknown geo token"),
        (licensed('<permits type="place">EU</permits>'), "unknown type 'place'"),
        (licensed('<permits>search</permits>'), "unknown type ''"),
        (licensed('<prohibits type="usage">x:y</prohibits>'), "unknown usage token 'x:y'"),
        (licensed(f"{NO}{NO}"), "more than one prohibits per type"),
        (licensed(f'{NO}<permits type="usage">search</permits>'), "stands too late"),
        (licensed(f'<legal type="contact">mailto:a@b.example</legal>{NO}'), "stands too late"),
        (licensed(f"{NO}<deny/>"), "unknown RSL element deny"),
        (licensed('<prohibits type="usage">ai-all<b/></prohibits>'), "unknown RSL element b"),
        (licensed(f"{NO} and so on"), "text in license"),
        (licensed(NO, ""), "content without url"),
        (licensed(NO, ' url="license"'), "no path and no URL"),
        (licensed(NO, ' url="/" price="1"'), "unknown attribute price"),
        (licensed(NO, ' url="/" encrypted="true"'), "encrypted needs server"),
        (licensed(NO, ' url="/" encrypted="TRUE" server="https://x.example"'), "encrypted must be true or false"),
        (licensed(NO, ' url="" server="https://x.example"'), "server needs a url"),
        (licensed(NO, ' url="/" server="/rsl"'), "server must be an absolute URL"),
        (licensed(NO, ' url="/" lastmod="yesterday"'), "RFC 3339"),
        (licensed(NO, ' url="/" lastmod="2026-13-01T00:00:00Z"'), "RFC 3339"),
        (document('<content url="/"/>'), "content without license"),
        (document("", ' max-age="7"'), "no content"),
        (document(f'<content url="/"><license>{NO}</license></content>', ' max-age="0"'), "max-age"),
        (document(f'<content url="/"><license>{NO}</license></content>', ' max-age="soon"'), "max-age"),
        (document(f'<content url="/"><terms>https://x.example/</terms><license>{NO}</license></content>'), "too late"),
        (licensed(f'{NO}<payment type="gold"/>'), "unknown payment type"),
        (licensed(f'{NO}<payment><amount>1</amount></payment>'), "amount without currency"),
        (licensed(f'{NO}<payment><amount currency="USD">a lot</amount></payment>'), "is no number"),
        (licensed(f'{NO}<payment><standard>x</standard></payment>'), "absolute URI"),
        (licensed(f'{NO}<payment><accepts>x</accepts></payment>'), "media type"),
        (licensed(f'{NO}<reporting type="audit"/>'), "needs a profile"),
        (licensed(f'{NO}<reporting type="gossip" profile="https://x.example/p"/>'), "unknown reporting type"),
        (licensed(f'{NO}<reporting type="audit" profile="urn:x" endpoint="http://x.example/"/>'), "https"),
        (licensed(f'{NO}<legal type="warranty">none</legal>'), "unknown warranty token"),
        (licensed(f'{NO}<legal type="attestation">TRUE</legal>'), "unknown attestation token"),
        (licensed(f'{NO}<legal type="contact">call us</legal>'), "one URL or address"),
        (licensed(f'{NO}<legal type="proof">trust me</legal>'), "absolute URIs"),
        ('<rsl><content url="/"/></rsl>', "root must be rsl in the RSL namespace"),
        ("<rsl", "no well-formed XML"),
        ("", "no well-formed XML"),
        ('<!DOCTYPE rsl [<!ENTITY a "b">]><rsl xmlns="https://rslstandard.org/rsl"/>', "DTD"),
        ("<a>" * 100 + "</a>" * 100, "deep"),
        (licensed(f"{NO}<legal type='contact'>mailto:{'x' * 600_000}@y</legal>"), "longer than"),
    ],
)  # fmt: skip
def test_a_document_with_a_fault_is_refused_and_the_fault_is_told(text: str, fault: str) -> None:
    with pytest.raises(ValueError) as refused:
        rsl.read(text)
    assert fault in str(refused.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ValueError) as refused:
        rsl.read(document('<content encrypted="true"><license><deny/></license></content>', ' max-age="0"'))
    assert len(str(refused.value).splitlines()) == 4


@pytest.mark.parametrize(
    "text",
    [
        licensed('<prohibits xmlns:m="urn:m" type="usage">ai-all m:voice-clone</prohibits><m:x xmlns:m="urn:m"/>'),
        licensed(NO, ' url="/x/*.flac$" server="https://l.example/" encrypted="true" lastmod="2026-11-01T00:00:00Z"'),
        licensed(NO, ' url="" xmlns:m="urn:m" m:note="1"'),
        licensed(f'{NO}<payment type="crawl"><amount currency="USD">0.001</amount></payment>'),
        licensed(f'{NO}<legal type="warranty">ownership authority</legal><legal type="attestation">true</legal>'),
        f'<r:rsl xmlns:r="{rsl.NAMESPACE}"><r:content url="/"><r:license/></r:content></r:rsl>',
    ],
)
def test_what_is_conformant_is_read_and_the_schema_agrees(text: str) -> None:
    assert rsl.read(text).contents
    assert rsl.validate(text) == []


def test_the_narrower_scope_counts_and_among_equals_the_stricter() -> None:
    read = rsl.read(
        document(
            '<content url="/"><license><permits type="usage">all</permits></license></content>'
            '<content url="/a/*"><license><prohibits type="usage">ai-train</prohibits></license></content>'
            '<content url="/a/bc"><license><permits type="usage">ai-all</permits></license></content>'
            '<content url="/a/bc"><license><prohibits type="usage">search</prohibits></license></content>'
        )
    )
    assert rsl.evaluate(read, "/x", "ai-index") == "permitted"
    assert rsl.evaluate(read, "/a/x", "ai-train") == "prohibited"
    assert rsl.evaluate(read, "/a/x", "search") == "unlicensed"
    assert rsl.evaluate(read, "/a/bc", "search") == "prohibited"
    assert rsl.evaluate(read, "/a/bc", "ai-train") == "unlicensed"  # one of two says nothing
    assert rsl.evaluate(read, "/a/bc", "all") == "prohibited"


@pytest.mark.parametrize("inner", ["", '<permits type="usage">search</permits>'])
def test_a_licence_is_no_permission_before_its_token_or_its_reports(inner: str) -> None:
    allowed = '<permits type="usage">ai-train</permits>'
    served = rsl.read(licensed(allowed, ' url="/" server="https://l.example/"'))
    assert rsl.evaluate(served, "/", "ai-train") == "unlicensed"
    reported = rsl.read(licensed(f'{allowed}<reporting type="audit" profile="urn:x"/>'))
    assert rsl.evaluate(reported, "/", "ai-train") == "unlicensed"
    assert rsl.evaluate(rsl.read(licensed(inner)), "/", "ai-train") == "unlicensed"


@given(st.text(max_size=200))
def test_no_text_makes_the_reader_fail_in_another_way(text: str) -> None:
    for written in (text, licensed(text), document(text)):
        try:
            rsl.read(written)
        except ValueError as refused:
            assert str(refused)


# -- robots.txt ----------------------------------------------------------------------------------------------

GLOBAL = "License: https://x.example/all.xml\n\n"
GROUP = "User-agent: ExampleBot\nAllow: /\nLicense: https://x.example/one.xml\n\nUser-agent: *\nAllow: /\n"


@pytest.mark.parametrize(
    ("robots", "agent", "licences"),
    [
        (f"{GLOBAL}User-agent: *\nAllow: /\n", "AnyBot", ["https://x.example/all.xml"]),
        (GLOBAL + GROUP, "ExampleBot", ["https://x.example/one.xml"]),
        (GLOBAL + GROUP, "OtherBot", ["https://x.example/all.xml"]),
        (GROUP, "OtherBot", []),
        ("License: /license.xml\nUser-agent: *\nAllow: /\n", "AnyBot", []),
        (
            "License: https://a.example/1.xml\nLICENSE: https://a.example/2.xml\nUser-agent: *\nAllow: /\n",
            "AnyBot",
            ["https://a.example/1.xml", "https://a.example/2.xml"],
        ),
        (
            "User-agent: *\nLicense: https://x.example/all.xml\n\nUser-agent: CCBot\nDisallow: /\n",
            "CCBot",
            ["https://x.example/all.xml"],
        ),
        ("", "AnyBot", []),
    ],
)
def test_the_licences_of_a_group_take_the_place_of_the_others(robots: str, agent: str, licences: list[str]) -> None:
    assert rsl.licences_of(robots, agent) == licences


# -- the published cases -------------------------------------------------------------------------------------


def test_the_published_documents_are_taken_or_refused_for_the_same_reasons() -> None:
    documents = vectors()["documents"]
    assert len(documents) == 19
    for case in documents:
        faults: list[str] = []
        try:
            rsl.read(case["xml"])
        except ValueError as refused:
            faults = str(refused).splitlines()
        assert sorted(faults) == sorted(case["own_errors"]), case["name"]
        assert (rsl.validate(case["xml"]) == []) is case["conformant"], case["name"]


def test_the_published_evaluations_come_out_the_same() -> None:
    cases = vectors()
    texts = {case["name"]: case["xml"] for case in cases["documents"]}
    ours = {"permitted-with-attribution": "permitted", "not-licensed": "unlicensed", "token-required": "unlicensed"}
    for case in cases["evaluations"]:
        read = rsl.read(texts[case["document"]])
        assert rsl.evaluate(read, case["path"], case["usage"]) == ours.get(case["result"], case["result"]), case
        contents: tuple[rsl.Content, ...] = rsl.content_of(read, case["path"])
        if case["result"] == "token-required":
            assert contents[0].server
        if case["result"] == "permitted-with-attribution":
            assert contents[0].licences[0].payment == rsl.Payment("attribution")


def test_the_published_robots_and_link_cases_come_out_the_same() -> None:
    cases = vectors()
    for case in cases["robots_license"]:
        assert rsl.licences_of(case["robots"], case["agent"]) == case["licenses"], case["name"]
    links: list[Mapping[str, str]] = [case["response_headers"] for case in cases["http"] if "response_headers" in case]
    assert links
    for headers in links:
        assert rsl.link("https://music.example/license.xml").decode() == headers["Link"]

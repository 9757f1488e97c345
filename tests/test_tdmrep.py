"""TDMRep: one number by path, which both kinds of readers read alike, and an offer of whom to ask."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.directives import tdmrep
from guard.directives.declaration import declare
from guard.load import read_policy, shipped_catalogue
from guard.policy import Policy
from guard.protocols import Listed
from guard.rights import Choice, Licence, Rights, Work, climb, resolve

from .conftest import SHARED

ABSENT = "../shared is not here: the project's own cases cover the same rules"
VECTORS = SHARED / "vectors" / "tdmrep_examples.json"

# -- a declaration to try every file with (other tests of directives use it, too) ----------------------------

ROUTES = """
routes:
  - {class: manifest, paths: ["/hls/**/*.m3u8"]}
  - {class: media, paths: ["/**/*.mp3", /media/**, /rest/stream*]}
  - {class: artwork, paths: [/img/**]}
  - {class: feed, paths: [/podcast/**]}
  - {class: page, paths: [/track/**, /artist/**]}
rights:
  source: rights.sqlite
  works:
    - {path: "/stems/{track}/**", kind: stems}
    - {path: "/artist/{artist}/track/{track}", id: "{artist}/{track}"}
    - {path: "/artist/{artist}/**"}
    - {path: "/podcast/{podcast}/**"}
    - {path: "/track/{track}"}
    - {path: "/media/{track}.mp3"}
    - {path: /rest/stream*, query: id, layer: track}
"""


def policy_of(preferences: Mapping[str, Any], site: str = "name: Example Music") -> Policy:
    return read_policy(
        f"version: 1\nsite: {{{site}}}\ndefault: allow\npreferences: {json.dumps(dict(preferences))}\n{ROUTES}"
    )


class Shelf:
    """The holders' choices, and a declaration of them."""

    def __init__(self, policy: Policy, choices: Mapping[Work, Choice]) -> None:
        self.policy = policy
        self.choices = choices
        layers = ("label", "artist", "podcast", "release", "track")
        works = sorted(choices, key=lambda work: layers.index(work.layer))
        listed = Listed(tuple((work, climb([work], self.look)) for work in works), len(works))
        self.declaration = declare(policy, shipped_catalogue(), listed)

    def look(self, work: Work) -> tuple[Choice | None, tuple[Work, ...]] | None:
        artist = work.id.rpartition("/")[0]
        parents = (Work("artist", artist),) if work.layer == "track" and artist else ()
        return self.choices.get(work), parents

    def stated(self, address: str) -> Mapping[str, str]:
        """What the holders and the policy say of an address, worked out without any file."""
        path, _, query = address.partition("?")
        reading = tdmrep_reading(path)
        route_class = self.policy.route_class(reading)
        found = self.policy.work_paths.find(path.encode(), query.encode(), ())
        if not found:
            return self.policy.stated(route_class)
        kind = found[0].kind or self.policy.kind_of(route_class)
        return resolve(climb(found[0].works, self.look), self.policy.platform_choice).stated(kind)

    def addresses(self) -> Iterator[str]:
        yield from ("/", "/about", "/img/1.png", "/track/-nobody-", "/media/-nobody-.mp3", "/artist/-nobody-/x.mp3")
        yield from ("/rest/stream.view?id=-nobody-", "/hls/-/a.m3u8", "/podcast/-nobody-/1.mp3?sig=1")
        for place in self.declaration.places:
            path, mark, query = place.address.partition("?")
            yield place.address
            if mark:
                yield f"{path}.view?v=1&{query}&c=x"
                yield f"{place.address}0"
            else:
                yield f"{path}?q=/x"
                if not path.endswith(".mp3"):  # after a glob nothing ends in these forms
                    yield f"{path}-"
            if place.spellings[0].endswith("/") and not place.across:
                below = place.spellings[0]
                yield from (below, f"{below}a/b.mp3", f"{below}1.mp3?sig=x", below[:-1], f"{below[:-1]}?x=1")
                yield f"{below}track/-nobody-"


def tdmrep_reading(path: str) -> str:
    from urllib.parse import unquote

    return unquote(path).encode().lower().decode()


WORDS = st.sampled_from(("allow", "disallow"))
STATED = st.dictionaries(st.sampled_from(("train-ai", "ai-use", "search")), WORDS)
OPENED = st.dictionaries(
    st.sampled_from(("train-ai", "ai-use", "search")), st.sampled_from(("allow", "disallow", "open"))
)
GENERAL = st.builds(
    lambda general, kinds: {**general, **{kind: words for kind, words in kinds.items() if words}},
    STATED,
    st.dictionaries(st.sampled_from(("audio", "artwork", "metadata")), STATED, max_size=2),
)
IDS = st.one_of(
    st.sampled_from(
        ("1", "42", "AC/DC", "50% off", "a*b", "$", "ends$", "*", "&<>\"'", "日本語", "ñ é", "x.mp3", "?id=1", "#")
    ),
    st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=8),
).filter(lambda name: name not in (".", "..") and name.strip("/") == name and "//" not in name)
WORK = st.builds(Work, st.sampled_from(("artist", "podcast", "track", "track")), IDS).filter(
    lambda work: work.layer == "track" or not work.id.lower().endswith(".mp3")
)
CHOICE = st.builds(
    lambda general, audio, url, contact: Choice(
        {kind: words for kind, words in (("", general), ("audio", audio)) if words}, licence_url=url, contact=contact
    ),
    OPENED,
    OPENED,
    st.sampled_from(("", "https://licence.example/?a=1&b=<2>")),
    st.sampled_from(("", "mailto:r&d@label.example", "https://label.example/", "call us")),
)
SITES = st.sampled_from(
    ("name: Example Music", 'name: "A & B <C>", url: "https://music.example", contact: "mailto:a@b.example"')
)
SHELVES = st.builds(
    lambda general, site, choices: Shelf(policy_of(general, site), choices),
    GENERAL,
    SITES,
    st.dictionaries(WORK, CHOICE, max_size=5),
)

NO_AI = {"train-ai": "disallow", "ai-use": "disallow", "search": "allow"}
OPEN = Choice({"": {"train-ai": "open", "ai-use": "open"}})
RESERVED = Choice({"": {"train-ai": "disallow", "ai-use": "disallow"}})
KNOWN = "name: Example Music, url: 'https://music.example', contact: 'mailto:rights@music.example'"


# -- the file ------------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(SHELVES)
def test_both_readings_of_the_file_are_what_is_declared(shelf: Shelf) -> None:
    text = tdmrep.render(shelf.declaration)
    rules = tdmrep.read(text)
    for address in shelf.addresses():
        expected = tdmrep.state(shelf.stated(address))
        first, longest = (tdmrep.evaluate(rules, address, longest=reading) for reading in (False, True))
        assert first == longest, (address, text)
        # Where nothing is stated, the form can only leave what is around it.
        assert not expected or first.reservation == int(expected), (address, text)


def test_a_track_is_reserved_within_an_open_artist() -> None:
    choices = {Work("artist", "open"): OPEN, Work("track", "open/9"): RESERVED}
    rules = tdmrep.read(tdmrep.render(Shelf(policy_of(NO_AI), choices).declaration))
    told = {
        address: tdmrep.evaluate(rules, address).reservation
        for address in ("/artist/open", "/artist/open/track/9", "/artist/open/track/8", "/artist/other", "/about")
    }
    assert list(told.values()) == [0, 1, 0, 1, 1]


def test_the_numbers_are_numbers_and_the_longest_location_stands_first() -> None:
    choices = {Work("artist", "AC/DC"): OPEN, Work("track", "a*b$"): RESERVED}
    entries = json.loads(
        tdmrep.render(Shelf(policy_of({**NO_AI, "artwork": {"train-ai": "allow"}}), choices).declaration)
    )
    assert {type(entry["tdm-reservation"]) for entry in entries} == {int}
    lengths = [len(entry["location"]) for entry in entries]
    assert lengths == sorted(lengths, reverse=True)
    assert entries[-1]["location"] == "/"
    assert "/track/a%2Ab%24$" in {entry["location"] for entry in entries}


def test_what_a_podcast_says_of_its_audio_counts_for_its_audio_alone() -> None:
    choices = {Work("podcast", "77"): Choice({"audio": {"train-ai": "disallow"}})}
    rules = tdmrep.read(tdmrep.render(Shelf(policy_of({"train-ai": "allow"}), choices).declaration))
    for longest in (False, True):
        assert tdmrep.evaluate(rules, "/podcast/77/1.mp3?sig=1", longest=longest).reservation == 1
        assert tdmrep.evaluate(rules, "/podcast/77/about", longest=longest).reservation == 0
        assert tdmrep.evaluate(rules, "/podcast/8/1.mp3", longest=longest).reservation == 0


def test_a_policy_is_named_by_an_absolute_url_and_only_with_a_reservation() -> None:
    licensed = Choice({}, licences=(Licence("operator:x"),))
    choices = {
        Work("track", "1001"): Choice({}, licence_url="https://label.example/l"),
        Work("track", "22"): licensed,
        Work("track", "33"): Choice({"": {"search": "allow"}}),
        Work("artist", "open"): OPEN,
    }
    entries = json.loads(tdmrep.render(Shelf(policy_of(NO_AI, KNOWN), choices).declaration))
    policies = {entry["location"]: entry.get("tdm-policy") for entry in entries}
    assert policies["/"] == policies["/track/33$"] == "https://music.example/.well-known/tdm-policy.json"
    assert policies["/track/1001$"] == "https://music.example/.well-known/tdm-policy.json?work=track%3A1001"
    assert policies["/track/22$"] == "https://music.example/.well-known/tdm-policy.json?work=track%3A22"
    assert policies["/artist/open/"] is None
    unknown = json.loads(tdmrep.render(Shelf(policy_of(NO_AI), choices).declaration))
    assert not any("tdm-policy" in entry for entry in unknown)


def test_nothing_stated_is_an_empty_array() -> None:
    silent = replace(policy_of({}), rights=None)
    assert json.loads(tdmrep.render(Shelf(silent, {}).declaration)) == []


def test_stems_are_reserved_where_nobody_says_anything() -> None:
    entries = json.loads(tdmrep.render(Shelf(policy_of({}), {}).declaration))
    assert {entry["location"] for entry in entries} == {"/stems/*/", "/stems/*$"}
    assert {entry["tdm-reservation"] for entry in entries} == {1}


def test_the_file_stays_below_its_bound_and_no_opening_is_kept_where_a_reservation_had_no_room() -> None:
    choices = {Work("artist", f"{number:0>200}"): OPEN for number in range(900)}
    choices |= {Work("track", f"{number:0>200}/1"): RESERVED for number in range(900)}
    shelf = Shelf(policy_of(NO_AI, KNOWN), choices)
    text, left_out = tdmrep.written(shelf.declaration)
    assert len(text.encode()) <= 500 * 1024
    assert left_out > 0
    rules = tdmrep.read(text)
    kept = {rule.location for rule in rules}
    assert "/" in kept
    for number in range(900):
        if f"/artist/{number:0>200}/" in kept:
            assert tdmrep.evaluate(rules, f"/artist/{number:0>200}/track/1").reservation == 1


# -- the policy ----------------------------------------------------------------------------------------------


def rights_of(choice: Choice, work: Work, policy: Policy) -> Rights:
    return resolve(((work, choice),), policy.platform_choice)


def test_the_offer_of_the_site_has_the_form_that_the_report_asks_for() -> None:
    offer = json.loads(tdmrep.render_policy(Shelf(policy_of(NO_AI, KNOWN), {}).declaration))
    assert offer["@context"] == ["http://www.w3.org/ns/odrl.jsonld", "http://www.w3.org/ns/tdmrep.jsonld"]
    assert (offer["@type"], offer["profile"]) == ("Offer", "http://www.w3.org/ns/tdmrep")
    assert offer["uid"] == "https://music.example/.well-known/tdm-policy.json"
    assert offer["assigner"] == {
        "uid": "https://music.example",
        "vcard:fn": "Example Music",
        "vcard:hasEmail": "mailto:rights@music.example",
    }
    assert offer["permission"] == [
        {"target": "https://music.example/", "action": "tdm:mine", "duty": [{"action": "obtainConsent"}]}
    ]
    assert not {"obligation", "prohibition"} & set(offer)


def test_the_offer_of_a_work_names_its_addresses_and_where_a_licence_is_to_be_had_but_no_licensee() -> None:
    policy = policy_of(NO_AI, KNOWN)
    work = Work("track", "AC/DC")
    choice = Choice(
        {},
        licences=(Licence("operator:secret partner"),),
        licence_url="https://label.example/licences",
        contact="mailto:legal@label.example",
    )
    text = tdmrep.render_policy(declare(policy, shipped_catalogue()), work, rights_of(choice, work, policy))
    offer = json.loads(text)
    assert "secret partner" not in text
    assert offer["uid"] == "https://music.example/.well-known/tdm-policy.json?work=track%3AAC%2FDC"
    assert offer["assigner"]["vcard:hasURL"] == "https://label.example/licences"
    assert offer["assigner"]["vcard:hasEmail"] == "mailto:legal@label.example"
    targets = {permission["target"] for permission in offer["permission"]}
    assert {"https://music.example/track/AC%2FDC", "https://music.example/artist/AC/track/DC"} <= targets
    assert all(
        permission["duty"] == [{"action": "obtainConsent"}, {"action": "compensate"}]
        for permission in offer["permission"]
    )


def test_an_open_work_asks_for_nothing() -> None:
    policy = policy_of(NO_AI, KNOWN)
    work = Work("artist", "open")
    offer = json.loads(tdmrep.render_policy(declare(policy, shipped_catalogue()), work, rights_of(OPEN, work, policy)))
    assert offer["permission"] == [{"target": "https://music.example/artist/open/", "action": "tdm:mine"}]


@given(st.one_of(st.none(), WORK), CHOICE, GENERAL, SITES)
def test_every_offer_has_a_uri_one_assigner_and_one_list_of_permissions(
    work: Work | None, choice: Choice, general: dict[str, Any], site: str
) -> None:
    policy = policy_of(general, site)
    rights = rights_of(choice, work, policy) if work else None
    offer = json.loads(tdmrep.render_policy(declare(policy, shipped_catalogue()), work, rights))
    assert urlsplit(offer["uid"]).scheme in ("https", "urn")
    allowed = {
        "uid",
        "vcard:fn",
        "vcard:nickname",
        "vcard:hasEmail",
        "vcard:hasAddress",
        "vcard:hasTelephone",
        "vcard:hasURL",
    }
    assert {"vcard:fn"} <= set(offer["assigner"]) <= allowed
    assert offer["permission"] and {entry["action"] for entry in offer["permission"]} == {"tdm:mine"}
    assert set(offer) == {"@context", "@type", "profile", "uid", "assigner", "permission"}


# -- its readers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([{"location": "/", "tdm-reservation": 1}], (1, None)),
        ([{"location": "/", "tdm-reservation": 2}], (None, None)),
        ([{"location": "/", "tdm-reservation": "1"}], (None, None)),
        ([{"location": "/", "tdm-reservation": True}], (None, None)),
        ([{"location": "/X/", "tdm-reservation": 1}], (None, None)),
        ([{"tdm-reservation": 1}], (None, None)),
        ([{"location": "/%78/", "tdm-reservation": 1}], (1, None)),
        ([{"location": "/", "tdm-reservation": 0, "tdm-policy": "https://x.example/"}], (0, None)),
        ([{"location": "/*/y$", "tdm-reservation": 1, "tdm-policy": "https://x.example/"}], (1, "https://x.example/")),
    ],
)
def test_only_the_numbers_0_and_1_set_anything(said: object, expected: tuple[object, object]) -> None:
    assert tdmrep.evaluate(tdmrep.read(json.dumps(said)), "/x/y") == expected


@pytest.mark.parametrize("text", ['{"location": "/", "tdm-reservation": 1}', "", "[", "[" * 100_000, "1"])
def test_what_is_no_array_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"array|JSON"):
        tdmrep.read(text)


@pytest.mark.parametrize(
    ("pattern", "address", "fits"),
    [
        ("/a%2Ab", "/a*b", True),
        ("/a%2Ab", "/axb", False),
        ("/a*b", "/axb", True),
        ("/%24$", "/$", True),
        ("/%7euser", "/~user", True),
        ("/日本", "/%e6%97%a5%E6%9C%AC", True),
        ("/AC%2FDC", "/AC/DC", False),
        ("/x$", "/x?y", False),
    ],
)
def test_patterns_and_addresses_are_compared_in_one_spelling(pattern: str, address: str, fits: bool) -> None:
    rules = tdmrep.read(json.dumps([{"location": pattern, "tdm-reservation": 1}]))
    assert (tdmrep.evaluate(rules, address).reservation == 1) is fits


def test_a_file_with_the_broad_rule_first_is_read_in_two_ways() -> None:
    rules = tdmrep.read('[{"location":"/","tdm-reservation":1},{"location":"/open/","tdm-reservation":0}]')
    assert tdmrep.evaluate(rules, "/open/x").reservation == 1
    assert tdmrep.evaluate(rules, "/open/x", longest=True).reservation == 0


def test_two_header_lines_are_no_number() -> None:
    assert tdmrep.read_headers([("TDM-Reservation", " 1 ")]) == (1, None)
    assert tdmrep.read_headers([("tdm-reservation", "1"), ("tdm-reservation", "1")]) == tdmrep.UNSET
    assert tdmrep.read_headers([("tdm-reservation", "true"), ("tdm-policy", "https://x.example/")]) == tdmrep.UNSET
    assert tdmrep.read_headers([]) == tdmrep.UNSET


def test_the_later_channel_supersedes_and_silence_resets_nothing() -> None:
    one, zero = tdmrep.Reservation(1, "https://x.example/"), tdmrep.Reservation(0)
    assert tdmrep.combine(one, zero) == zero
    assert tdmrep.combine(one, tdmrep.Reservation(1)) == one
    assert tdmrep.combine(one, None, tdmrep.UNSET) == one
    assert tdmrep.combine(zero, None, tdmrep.Reservation(1)) == (1, None)


def vectors() -> Any:
    if not VECTORS.exists():
        pytest.skip(ABSENT)
    return json.loads(VECTORS.read_text())


def as_pair(said: Mapping[str, Any] | None) -> tdmrep.Reservation | None:
    return None if said is None else tdmrep.Reservation(said["tdm-reservation"], said["tdm-policy"])


def test_the_published_cases_of_files_are_read_as_they_should() -> None:
    file = vectors()["file"]
    assert len(file["cases"]) > 10
    for case in file["cases"]:
        rules = tdmrep.read(json.dumps(case["rules"]))
        assert tdmrep.evaluate(rules, case["path"]) == as_pair(case["first_in_sequence"]), case
        assert tdmrep.evaluate(rules, case["path"], longest=True) == as_pair(case["longest_match"]), case
    array, nameless = file["malformed"]
    with pytest.raises(ValueError, match=array["result"]):
        tdmrep.read(array["body"])
    assert tdmrep.read(nameless["body"]) == ()


def test_the_published_cases_of_headers_and_precedence_are_read_as_they_should() -> None:
    cases = vectors()
    for case in cases["header_cases"]:
        assert tdmrep.read_headers(case["headers"].items()) == as_pair(case["result"]), case
    for case in cases["precedence_cases"]:
        stated = [as_pair(case[name]) for name in ("file", "header", "html_meta")]
        assert tdmrep.combine(*stated) == as_pair(case["result"]), case


def test_our_offer_has_the_keys_of_the_published_one() -> None:
    example = vectors()["policy_example"]["json"]
    offer = json.loads(tdmrep.render_policy(Shelf(policy_of(NO_AI, KNOWN), {}).declaration))
    assert set(offer) == set(example)
    assert [offer[key] for key in ("@context", "@type", "profile")] == [
        example[key] for key in ("@context", "@type", "profile")
    ]
    assert set(offer["assigner"]) <= set(example["assigner"])
    assert set(offer["permission"][0]) <= set(example["permission"][0])

"""The two files that are called ai.txt: Spawning's by ending, and the well-known one with its twin in JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from guard.directives import aitxt, wellknown_ai
from guard.rights import Choice, Licence, Work

from .conftest import SHARED
from .test_tdmrep import KNOWN, NO_AI, OPEN, RESERVED, SHELVES, Shelf, policy_of

ABSENT = "../shared is not here: the project's own cases cover the same rules"
VECTORS = SHARED / "vectors" / "ai_txt_examples.json"
NOTHING: dict[Work, Choice] = {}
WORD = {"allow": "allow", "disallow": "deny"}


def vectors() -> Any:
    if not VECTORS.exists():
        pytest.skip(ABSENT)
    return json.loads(VECTORS.read_text())


# -- /ai.txt -------------------------------------------------------------------------------------------------


def test_a_closed_site_closes_every_ending_and_what_has_none() -> None:
    text = aitxt.render(Shelf(policy_of(NO_AI), NOTHING).declaration)
    said = aitxt.read(text)
    assert not any(said.values())
    assert {"*.mp3", "*.flac", "*.jpg", "*.txt", "/", "*"} <= set(said)
    for path in ("/a.mp3", "/stream/1", "/x.unheard", "/img/1.PNG?x=1"):
        assert not aitxt.evaluate(said, path)


@pytest.mark.parametrize("preferences", [{}, {"search": "allow"}, {"train-ai": "allow"}])
def test_an_open_site_says_so_in_one_line(preferences: dict[str, str]) -> None:
    text = aitxt.render(Shelf(policy_of(preferences), NOTHING).declaration)
    assert aitxt.read(text) == {"/": True}
    assert aitxt.evaluate(aitxt.read(text), "/a.mp3")


def test_reserved_audio_closes_audio_and_leaves_pictures_open() -> None:
    said = aitxt.read(aitxt.render(Shelf(policy_of({"audio": {"train-ai": "disallow"}}), NOTHING).declaration))
    assert not aitxt.evaluate(said, "/a.mp3")
    assert not aitxt.evaluate(said, "/stream/1")  # a stream has no ending
    assert aitxt.evaluate(said, "/img/1.jpg")


def test_a_reserved_work_on_an_open_site_is_hinted_at_and_changes_no_rule() -> None:
    hint = "# Reservations of single works"
    opened = policy_of({"train-ai": "allow"})
    plain = aitxt.render(Shelf(opened, NOTHING).declaration)
    hinted = aitxt.render(Shelf(opened, {Work("track", "11"): RESERVED}).declaration)
    assert hint not in plain and hint in hinted
    assert aitxt.read(hinted) == aitxt.read(plain)
    assert hint not in aitxt.render(Shelf(policy_of(NO_AI), {Work("track", "11"): RESERVED}).declaration)
    assert hint not in aitxt.render(Shelf(opened, {Work("artist", "11"): OPEN}).declaration)
    unseen = replace(Shelf(opened, NOTHING).declaration, total=1)
    assert hint in aitxt.render(unseen)


def test_an_opened_work_opens_nothing_on_a_closed_site() -> None:
    said = aitxt.read(aitxt.render(Shelf(policy_of(NO_AI), {Work("artist", "11"): OPEN}).declaration))
    assert not any(said.values())


def test_a_name_of_several_lines_adds_no_line() -> None:
    policy = policy_of({"train-ai": "disallow"})
    policy = replace(policy, site=replace(policy.site, name="x\nUser-Agent: *\nAllow: /"))
    declaration = Shelf(policy, NOTHING).declaration
    assert not any(aitxt.read(aitxt.render(declaration)).values())
    assert wellknown_ai.read_text(wellknown_ai.render_text(declaration))["policies"]["training"] == "deny"


@settings(max_examples=60)
@given(SHELVES)
def test_ai_txt_never_opens_what_the_policy_reserves(shelf: Shelf) -> None:
    said = aitxt.read(aitxt.render(shelf.declaration))
    policy = shelf.policy
    endings = {"media": "/x.mp3", "artwork": "/x.png", "lyrics": "/x.lrc", "page": "/x.html"}
    for route_class, path in endings.items():
        if policy.stated(route_class).get("train-ai") == "disallow":
            assert not aitxt.evaluate(said, path)
    if policy.preferences.get("train-ai") != "disallow" and policy.stated("media").get("train-ai") != "disallow":
        assert aitxt.evaluate(said, "/x.mp3")


def test_the_published_examples_of_ai_txt_are_read_as_they_are_meant() -> None:
    cases = vectors()["spawning"]
    out = aitxt.read(cases["all_out"])
    assert out and not any(out.values())
    partly = aitxt.read(cases["audio_out_text_in"])
    assert not aitxt.evaluate(partly, "/a.flac")
    assert aitxt.evaluate(partly, "/a.txt") and aitxt.evaluate(partly, "/about")


# -- /.well-known/ai.txt and ai.json -------------------------------------------------------------------------


@settings(max_examples=150)
@given(SHELVES)
def test_both_well_known_files_say_the_same_and_what_is_declared_of_training(shelf: Shelf) -> None:
    said = wellknown_ai.read_json(wellknown_ai.render_json(shelf.declaration))
    assert wellknown_ai.read_text(wellknown_ai.render_text(shelf.declaration)) == said
    assert said == wellknown_ai.statement(shelf.declaration)
    for address in shelf.addresses():
        if "?" in address:
            continue  # globs are of paths
        stated = shelf.stated(address).get("train-ai")
        told = wellknown_ai.training(said, address)
        if stated is not None and told != "conditional":
            assert told == WORD[stated], (address, said)


def test_a_closed_site_says_deny_and_names_its_twin() -> None:
    text = wellknown_ai.render_text(Shelf(policy_of(NO_AI, KNOWN), NOTHING).declaration)
    assert text.splitlines()[:3] == [
        "Spec-Version: 1.0",
        "Site-Name: Example Music",
        "Site-URL: https://music.example",
    ]
    assert {"Training: deny", "Scraping: deny", "Indexing: allow", "Caching: deny"} <= set(text.splitlines())
    assert text.splitlines()[-1] == "AI-JSON: https://music.example/.well-known/ai.json"
    unknown = wellknown_ai.render_text(Shelf(policy_of(NO_AI), NOTHING).declaration)
    assert "Site-URL" not in unknown
    assert unknown.splitlines()[-1] == "AI-JSON: /.well-known/ai.json"


def test_what_nobody_states_is_left_out() -> None:
    said = wellknown_ai.statement(Shelf(policy_of({"search": "disallow"}), NOTHING).declaration)
    assert said["policies"] == {"indexing": "deny"}
    assert said["trainingPaths"] == {"allow": [], "deny": ["/stems/**/**", "/stems/**"]}  # those are their holders'


@pytest.mark.parametrize(
    ("choice", "word"),
    [
        (OPEN, "conditional"),
        (Choice({}, licences=(Licence("operator:x"),)), "conditional"),
        (Choice({}, licence_url="https://x.example/"), "conditional"),
        (RESERVED, "deny"),
    ],
)
def test_training_is_conditional_where_a_holder_has_opened_or_licensed(choice: Choice, word: str) -> None:
    shelf = Shelf(policy_of(NO_AI), {Work("artist", "77"): choice})
    assert wellknown_ai.statement(shelf.declaration)["policies"]["training"] == word


def test_training_is_conditional_where_the_pages_are_open_and_the_audio_is_not() -> None:
    shelf = Shelf(policy_of({"train-ai": "allow", "audio": {"train-ai": "disallow"}}), NOTHING)
    said = wellknown_ai.statement(shelf.declaration)
    assert said["policies"]["training"] == "conditional"
    assert wellknown_ai.training(said, "/media/1") == "deny"


def test_a_reserved_track_of_an_open_artist_is_denied_by_its_own_glob() -> None:
    choices = {Work("artist", "open"): OPEN, Work("track", "open/9"): RESERVED}
    said = wellknown_ai.statement(Shelf(policy_of(NO_AI), choices).declaration)
    assert "/artist/open/**" in said["trainingPaths"]["allow"]
    assert "/artist/open/track/9" in said["trainingPaths"]["deny"]
    told = [wellknown_ai.training(said, f"/artist/open/track/{number}") for number in (8, 9)]
    assert told == ["allow", "deny"]
    assert wellknown_ai.training(said, "/artist/other") == "conditional"
    assert not any("?" in glob for globs in said["trainingPaths"].values() for glob in globs)


def test_the_well_known_files_stay_below_their_bound_and_are_conditional_when_they_leave_out() -> None:
    choices = {Work("track", f"{number:0>250}"): RESERVED for number in range(1_500)}
    shelf = Shelf(policy_of({"train-ai": "allow"}), choices)
    said, left_out = wellknown_ai.written(shelf.declaration)
    assert left_out > 0
    assert said["policies"]["training"] == "conditional"
    for render in (wellknown_ai.render_text, wellknown_ai.render_json):
        assert len(render(shelf.declaration).encode()) <= 500 * 1024


@pytest.mark.parametrize("text", ["[]", "", "{", '"x"', "[" * 100_000])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"object|JSON"):
        wellknown_ai.read_json(text)


def test_what_cannot_be_read_says_nothing() -> None:
    odd = {"site": [], "policies": {"training": "perhaps", "caching": 1}, "trainingPaths": {"allow": "x", "deny": [1]}}
    nothing = wellknown_ai.read_json("{}")
    assert wellknown_ai.read_json(json.dumps(odd)) == nothing
    assert wellknown_ai.read_text("Training: perhaps\nTraining-Deny\n  Training: deny\nnonsense\n") == nothing


def test_the_published_twins_are_read_alike() -> None:
    case = vectors()["well_known_car"]
    said = wellknown_ai.read_text(case["txt"])
    assert said == wellknown_ai.read_json(json.dumps(case["json"]))
    assert said["policies"] == {"training": "deny", "scraping": "deny", "indexing": "allow", "caching": "deny"}
    assert wellknown_ai.training(said, "/press/kit.zip") == "allow"
    assert wellknown_ai.training(said, "/stream/1") == "deny"

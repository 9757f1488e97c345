"""What follows when a platform, a label, an artist and a track each have their say."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.errors import ChoiceError
from guard.load import shipped_catalogue
from guard.model import KINDS, Agent, Identity
from guard.rights import (
    EVERY_KIND,
    HOLDINGS,
    LAYERS,
    MAX_CHAIN,
    PURPOSES,
    STRICT_KINDS,
    WITHIN,
    WORDS,
    Choice,
    Licence,
    Work,
    climb,
    purposes_of,
    read_choice,
    read_work,
    resolve,
    strictest,
    write_choice,
)

CLOSED = read_choice({"preferences": {"train-ai": "disallow", "ai-use": "disallow", "search": "allow"}})
OPEN_HOUSE = read_choice({"preferences": {"train-ai": "allow", "ai-use": "allow", "search": "allow"}})
AGENTS = shipped_catalogue().by_name
GPTBOT, GOOGLEBOT, ASSISTANT = AGENTS["gptbot"], AGENTS["googlebot"], AGENTS["chatgpt-user"]
DAY = 86_400.0


def said(**words: object) -> Choice:
    return read_choice({"preferences": {key.replace("_", "-"): value for key, value in words.items()}})


def chain(**layers: Choice | None) -> tuple[tuple[Work, Choice | None], ...]:
    """One work a layer, in whatever order they are named."""
    return tuple((Work(layer, "1"), choice) for layer, choice in layers.items())


def training(platform: Choice, now_s: float = 0.0, **layers: Choice | None) -> str:
    return resolve(chain(**layers), platform, now_s).word("audio", "train-ai")


# -- who wins ------------------------------------------------------------------------------------------------


def test_an_artist_closes_what_the_platform_leaves_open() -> None:
    assert training(OPEN_HOUSE, artist=said(train_ai="disallow"), track=None) == "disallow"


def test_allowing_does_not_lift_what_somebody_else_reserves_and_opening_does() -> None:
    assert training(CLOSED, track=said(train_ai="allow")) == "disallow"
    assert training(CLOSED, track=said(train_ai="open")) == "allow"


def test_a_track_can_be_opened_on_an_artist_who_reserves_and_closed_on_one_who_opens() -> None:
    assert training(CLOSED, artist=said(train_ai="disallow"), track=said(train_ai="open")) == "allow"
    assert training(CLOSED, artist=said(train_ai="open"), track=said(train_ai="disallow")) == "disallow"


def test_the_contract_of_a_label_binds_its_artists_while_it_lasts() -> None:
    contract = read_choice({"preferences": {"train-ai": "disallow"}, "from": "1970-01-02", "until": "1970-01-03"})
    layers = {"label": contract, "artist": said(train_ai="open"), "track": said(train_ai="open")}
    assert training(OPEN_HOUSE, 0.5 * DAY, **layers) == "allow"
    assert training(OPEN_HOUSE, 1.5 * DAY, **layers) == "disallow"
    assert training(OPEN_HOUSE, 3.5 * DAY, **layers) == "allow"


def test_a_label_that_opens_does_not_open_an_artist_who_reserves() -> None:
    assert training(CLOSED, label=said(train_ai="open")) == "allow"
    assert training(CLOSED, label=said(train_ai="open"), artist=said(train_ai="disallow")) == "disallow"


def test_of_two_artists_on_one_track_both_must_open() -> None:
    two = ((Work("artist", "1"), said(train_ai="open")), (Work("artist", "2"), None))
    assert resolve(two, CLOSED).word("audio", "train-ai") == "disallow"
    both = ((Work("artist", "1"), said(train_ai="open")), (Work("artist", "2"), said(train_ai="open")))
    assert resolve(both, CLOSED).word("audio", "train-ai") == "allow"
    one_closes = ((Work("artist", "1"), said(train_ai="open")), (Work("artist", "2"), said(train_ai="disallow")))
    assert resolve(one_closes, OPEN_HOUSE).word("audio", "train-ai") == "disallow"


def test_silence_says_nothing() -> None:
    assert resolve(chain(artist=None, track=None), Choice({})).word("audio", "train-ai") == ""
    assert resolve((), CLOSED).word("audio", "search") == "allow"


def test_stems_and_voices_are_reserved_until_somebody_speaks_of_them() -> None:
    for kind in STRICT_KINDS:
        assert resolve((), OPEN_HOUSE).word(kind, "train-ai") == "disallow"
        assert resolve(chain(artist=said(train_ai="open")), OPEN_HOUSE).word(kind, "train-ai") == "disallow"
        opened = said(**{kind: {"train-ai": "open"}})
        assert resolve(chain(track=opened), OPEN_HOUSE).word(kind, "train-ai") == "allow"
        assert resolve(chain(track=opened), OPEN_HOUSE).word(kind, "ai-use") == "disallow"


def test_a_kind_has_its_own_word_and_what_it_does_not_say_is_said_in_general() -> None:
    rights = resolve(
        chain(artist=said(train_ai="disallow", lyrics={"train-ai": "allow", "search": "disallow"})), OPEN_HOUSE
    )
    assert rights.word("audio", "train-ai") == "disallow"
    assert rights.word("lyrics", "train-ai") == "allow"
    assert rights.word("lyrics", "search") == "disallow"
    assert rights.word("audio", "search") == "allow"


def test_the_next_turn_is_the_nearest_of_all_dates_still_to_come() -> None:
    dated = read_choice(
        {
            "preferences": {"train-ai": "disallow"},
            "from": "1970-01-02",
            "until": "1970-01-09",
            "licences": [{"to": "agent:GPTBot", "until": "1970-01-04"}],
        }
    )
    assert resolve(chain(track=dated), CLOSED, 0.0).until_s == DAY
    assert resolve(chain(track=dated), CLOSED, DAY).until_s == 4 * DAY
    assert resolve(chain(track=dated), CLOSED, 5 * DAY).until_s == 9 * DAY
    assert resolve(chain(track=dated), CLOSED, 10 * DAY).until_s == inf


# -- how an agent stands to it -------------------------------------------------------------------------------


def test_who_trains_is_reserved_who_searches_is_not_and_who_plays_is_never_asked() -> None:
    rights = resolve((), CLOSED)
    assert rights.standing("audio", GPTBOT, Identity.UNVERIFIED) == "reserved"
    assert rights.standing("audio", GOOGLEBOT, Identity.UNVERIFIED) == "open"
    everything = resolve(chain(track=said(**{purpose.replace("-", "_"): "disallow" for purpose in PURPOSES})), CLOSED)
    listeners = [agent for agent in AGENTS.values() if agent.category in ("player", "device", "browser", "feed")]
    assert len(listeners) > 100
    for agent in listeners:
        assert everything.standing("audio", agent, Identity.UNVERIFIED) == "unstated", agent.name


def test_a_finer_word_takes_the_place_of_the_wider_one() -> None:
    assert purposes_of(ASSISTANT) == ("assistant",)
    rights = resolve(chain(artist=said(assistant="open")), CLOSED)
    assert rights.standing("audio", ASSISTANT, Identity.UNVERIFIED) == "open"
    assert rights.standing("audio", AGENTS["oai-searchbot"], Identity.UNVERIFIED) == "reserved"


def test_an_ai_agent_that_does_not_say_what_for_is_taken_to_feed_a_model() -> None:
    vague = Agent("x", "x", "", "x", "ai-other", ("ads",))
    assert resolve((), CLOSED).standing("audio", vague, Identity.UNVERIFIED) == "reserved"


LICENSED = {"preferences": {"train-ai": "disallow"}, "licences": [{"to": "operator:OpenAI", "purposes": ["train-ai"]}]}


def test_a_licensee_may_in_spite_of_a_reservation_once_it_is_verified() -> None:
    rights = resolve(chain(track=read_choice(LICENSED)), CLOSED)
    assert rights.standing("audio", GPTBOT, Identity.VERIFIED) == "licensed"
    for identity in (Identity.UNVERIFIED, Identity.SPOOFED, Identity.UNKNOWN):
        assert rights.standing("audio", GPTBOT, identity) == "reserved"
    assert rights.standing("audio", AGENTS["ccbot"], Identity.VERIFIED) == "reserved"


def test_a_licence_is_for_its_purposes_and_kinds_alone() -> None:
    rights = resolve(chain(track=read_choice(LICENSED)), CLOSED)
    assert rights.standing("audio", AGENTS["chatgpt-user"], Identity.VERIFIED) == "reserved"
    narrow = {"licences": [{"to": "agent:GPTBot", "kinds": ["lyrics"], "proof": "claim"}]}
    rights = resolve(chain(track=read_choice(narrow)), CLOSED)
    assert rights.standing("lyrics", GPTBOT, Identity.UNVERIFIED) == "licensed"
    assert rights.standing("audio", GPTBOT, Identity.UNVERIFIED) == "reserved"


def test_a_key_is_a_proof_in_itself() -> None:
    rights = resolve(chain(track=read_choice({"licences": [{"to": "key:AbC"}]})), CLOSED)
    assert rights.standing("audio", GPTBOT, Identity.UNVERIFIED, ("AbC",)) == "licensed"
    assert rights.standing("audio", GPTBOT, Identity.UNVERIFIED, ("abc",)) == "reserved"


def test_a_narrower_layer_ends_the_licences_of_a_wider_one() -> None:
    artist = read_choice(LICENSED)
    assert resolve(chain(artist=artist, track=None), CLOSED).standing("audio", GPTBOT, Identity.VERIFIED) == "licensed"
    no_ai_at_all = read_choice({"preferences": {"train-ai": "disallow"}, "licences": []})
    ended = resolve(chain(artist=artist, track=no_ai_at_all), CLOSED)
    assert ended.standing("audio", GPTBOT, Identity.VERIFIED) == "reserved"


def test_nobody_below_a_label_licenses_what_its_contract_reserves() -> None:
    contract = said(train_ai="disallow")
    rights = resolve(chain(label=contract, artist=read_choice(LICENSED)), OPEN_HOUSE)
    assert rights.standing("audio", GPTBOT, Identity.VERIFIED) == "reserved"
    rights = resolve(chain(label=read_choice(LICENSED), artist=said(train_ai="disallow")), OPEN_HOUSE)
    assert rights.standing("audio", GPTBOT, Identity.VERIFIED) == "licensed"


def test_a_licence_that_is_over_is_none() -> None:
    over = read_choice({**LICENSED, "licences": [{"to": "operator:OpenAI", "until": "1970-01-02"}]})
    assert resolve(chain(track=over), CLOSED, DAY).standing("audio", GPTBOT, Identity.VERIFIED) == "licensed"
    assert resolve(chain(track=over), CLOSED, 3 * DAY).standing("audio", GPTBOT, Identity.VERIFIED) == "reserved"


# -- rules that hold whatever is said ------------------------------------------------------------------------

WORD = st.sampled_from(WORDS)
PREFERENCES = st.dictionaries(
    st.sampled_from(["", *KINDS]), st.dictionaries(st.sampled_from(PURPOSES), WORD, max_size=4), max_size=4
)
CHOICES = st.builds(Choice, PREFERENCES)
CHAINS = st.lists(
    st.tuples(st.builds(Work, st.sampled_from(HOLDINGS), st.sampled_from("12")), st.none() | CHOICES), max_size=6
).map(tuple)
PLATFORMS = st.builds(
    Choice,
    st.dictionaries(
        st.sampled_from(["", *KINDS]),
        st.dictionaries(st.sampled_from(PURPOSES), st.sampled_from(["allow", "disallow"]), max_size=4),
        max_size=4,
    ),
)


@given(CHAINS, PLATFORMS)
def test_without_the_word_open_every_reservation_stands(
    layers: tuple[tuple[Work, Choice | None], ...], platform: Choice
) -> None:
    rights = resolve(layers, platform)
    everyone = [platform, *(choice for _, choice in layers if choice is not None)]
    words = [word for choice in everyone for table in choice.preferences.values() for word in table.values()]
    if "open" in words:
        return
    for choice in everyone:
        for purpose, word in choice.preferences.get("", {}).items():
            # A kind may have its own word, and a finer purpose its own.
            if word == "disallow" and purpose not in WITHIN:
                assert rights.word("", purpose) == "disallow"


@given(CHAINS, PLATFORMS, st.sampled_from(EVERY_KIND), st.sampled_from(PURPOSES))
def test_one_more_reservation_never_allows_anything(
    layers: tuple[tuple[Work, Choice | None], ...], platform: Choice, kind: str, purpose: str
) -> None:
    before = resolve(layers, platform)
    narrowest = Work(LAYERS[-1], "last")
    after = resolve((*layers, (narrowest, Choice({kind: {purpose: "disallow"}}))), platform)
    assert after.word(kind, purpose) == "disallow"
    for one in EVERY_KIND:
        for other in PURPOSES:
            if before.word(one, other) == "disallow":
                assert after.word(one, other) == "disallow"


@given(CHAINS, PLATFORMS)
def test_the_order_in_which_layers_are_told_does_not_matter(
    layers: tuple[tuple[Work, Choice | None], ...], platform: Choice
) -> None:
    assert resolve(layers, platform).key == resolve(layers[::-1], platform).key


@given(
    st.lists(st.builds(lambda layers, platform: resolve(layers, platform), CHAINS, PLATFORMS), min_size=1, max_size=3)
)
def test_of_several_readings_only_what_all_allow_is_allowed(readings: list) -> None:  # type: ignore[type-arg]
    together = strictest(readings)
    for kind in EVERY_KIND:
        for purpose in PURPOSES:
            if together.word(kind, purpose) == "allow":
                assert all(one.word(kind, purpose) == "allow" for one in readings)
            if any(one.stated(kind).get(purpose) == "disallow" for one in readings):
                assert together.word(kind, purpose) == "disallow"


# -- choices as plain values ---------------------------------------------------------------------------------

LICENCES = st.builds(
    Licence,
    st.sampled_from(["operator:x", "agent:gptbot", "key:AbC"]),
    st.lists(st.sampled_from(PURPOSES), unique=True, max_size=3).map(tuple),
    st.lists(st.sampled_from(list(KINDS)), unique=True, max_size=3).map(tuple),
    st.just(-inf) | st.integers(0, 10**8).map(float),
    st.just(inf) | st.integers(10**8 + 1, 10**9).map(float),
    st.sampled_from(["verified", "claim"]),
)
TEXT = st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]), max_size=20).map(
    str.strip
)


@given(
    st.builds(
        Choice,
        PREFERENCES.map(lambda said: {kind: words for kind, words in said.items() if words}),
        st.none() | st.lists(LICENCES, max_size=3).map(tuple),
        st.just(-inf) | st.integers(0, 10**8).map(float),
        st.just(inf) | st.integers(10**8 + 1, 10**9).map(float),
        TEXT,
        st.sampled_from(["", "mailto:a@b.example", "HTTPS://x.example/?a=b", "tel:+4930123", "rights@b.example"]),
        st.sampled_from(["", "https://music.example/licence"]),
        TEXT,
        st.just(0.0) | st.integers(1, 10**9).map(float),
        TEXT,
    )
)
def test_what_is_written_is_read_again(choice: Choice) -> None:
    assert read_choice(write_choice(choice)) == choice


@pytest.mark.parametrize(
    ("value", "key", "words"),
    [
        ("no", "", "expected a mapping"),
        ({"preference": {}}, "preference", "did you mean 'preferences'?"),
        ({"preferences": {"train": "disallow"}}, "preferences.train", "did you mean 'train-ai'?"),
        ({"preferences": {"train-ai": "no"}}, "preferences.train-ai", "'no' means disallow here: say so"),
        ({"preferences": {"train-ai": "opened"}}, "preferences.train-ai", "did you mean 'open'?"),
        ({"preferences": {"train-ai": True}}, "preferences.train-ai", "unknown word 'True'"),
        ({"preferences": {"audio": "disallow"}}, "preferences.audio", "expected a mapping"),
        ({"preferences": {"audio": {"sing": "allow"}}}, "preferences.audio.sing", "unknown key"),
        ({"licences": {"to": "x"}}, "licences", "expected a list"),
        ({"licences": [{"to": "OpenAI"}]}, "licences[0].to", "write operator:NAME"),
        ({"licences": [{"to": "operator:x", "purposes": ["listen"]}]}, "licences[0].purposes", "unknown word"),
        ({"licences": [{"to": "operator:x", "proof": "hope"}]}, "licences[0].proof", "unknown word"),
        ({"licences": [{"to": "operator:x"}] * 65}, "licences", "more than 64"),
        ({"from": "tomorrow"}, "from", "write a day like 2026-12-01"),
        ({"until": "2026-12-01T18:00"}, "until", "say the zone"),
        ({"from": 20261201}, "from", "expected a date as text"),
        ({"licence": "javascript:alert(1)"}, "licence", "is no URL"),
        ({"licence": 'https://x.example/"><b>'}, "licence", "is no URL"),
        ({"contact": "a\nb"}, "contact", "one line of text"),
        ({"contact": "javascript:alert(1)"}, "contact", "is no address: write mailto:"),
        ({"contact": "javascript:a@b"}, "contact", "is no address"),
        ({"contact": 'mailto:a@b"><b>'}, "contact", "is no address"),
        ({"contact": "our office"}, "contact", "is no address"),
        ({"from": "2026-12-02", "until": "2026-12-01"}, "until", "never be in force"),
        ({"from": "2026-12-01T12:00Z", "until": "2026-12-01T12:00Z"}, "until", "never be in force"),
        (
            {"licences": [{"to": "operator:x", "from": "2026-12-02", "until": "2026-12-01"}]},
            "licences[0].until",
            "never be in force",
        ),
        ({"reason": "x" * 2001}, "reason", "at most 2000"),
    ],
)
def test_what_cannot_be_read_is_named_with_what_to_write(value: object, key: str, words: str) -> None:
    with pytest.raises(ChoiceError) as caught:
        read_choice(value)
    assert caught.value.key == key
    assert words in caught.value.message


@pytest.mark.parametrize("text", ["track", "track:", "song:1", "platform:1", "track:a\nb", f"track:{'x' * 513}"])
def test_no_work(text: str) -> None:
    with pytest.raises(ChoiceError):
        read_work(text)


def test_an_id_may_be_any_text() -> None:
    assert read_work("artist:AC/DC: live: 1") == Work("artist", "AC/DC: live: 1")


# -- climbing ------------------------------------------------------------------------------------------------


def test_everything_above_a_work_is_found_once() -> None:
    above = {
        Work("track", "1"): (None, [Work("release", "5"), Work("artist", "1"), Work("artist", "2")]),
        Work("release", "5"): (CLOSED, [Work("artist", "1"), Work("label", "9")]),
    }
    found = dict(climb([Work("track", "1")], above.get))
    assert list(found) == [
        Work("track", "1"),
        Work("release", "5"),
        Work("artist", "1"),
        Work("artist", "2"),
        Work("label", "9"),
    ]
    assert found[Work("release", "5")] is CLOSED


def test_a_register_cannot_lead_in_circles_or_for_ever() -> None:
    circle = {Work("artist", "1"): (None, [Work("track", "1"), Work("artist", "1")])}
    assert climb([Work("artist", "1")], circle.get) == ((Work("artist", "1"), None),)
    wide = {Work("track", "1"): (None, [Work("artist", str(n)) for n in range(1_000)])}
    assert len(climb([Work("track", "1")], wide.get)) == MAX_CHAIN


def test_what_a_register_has_kept_is_read_though_nobody_would_take_it_now() -> None:
    over = {"from": "2026-12-02T00:00:00Z", "until": "2026-12-01T00:00:00Z"}
    said = {"preferences": {"search": "allow"}, "licences": [{"to": "operator:x", **over}], **over}
    choice = read_choice({**said, "contact": "javascript:alert(1)"}, kept=True)
    assert write_choice(choice) == said
    assert not choice.in_force(1_796_083_200.0)

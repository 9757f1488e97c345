"""The policy's `detection`: every word is read, and every mistake is named with its file, its line and a way out."""

from __future__ import annotations

from typing import Any

import pytest

from guard import Guard, PolicyError
from guard.load import load_policy, read_policy, shipped_policy
from guard.model import BITRATE, DEFAULT_STAGES, STAGES, SUSPECTS, Detecting, Mode, Stage
from guard.policy import Policy
from guard.sources import shipped_folder

BASE = """\
version: 1
site: {{name: x{site}}}
default: allow
limits:
- {{name: slow, rate: 1/s, burst: 5}}
detection:
  {words}
"""
HOP = ", trusted_proxies: [10.0.0.0/8]"


def a_policy(*words: str, site: str = "") -> Policy:
    return read_policy(BASE.format(site=site, words="\n  ".join(words)), "shop.yaml")


def read(*words: str, site: str = "") -> Detecting:
    detecting = a_policy(*words, site=site).detecting
    assert detecting is not None
    return detecting


def problems(*words: str, site: str = "") -> list[str]:
    with pytest.raises(PolicyError) as caught:
        a_policy(*words, site=site)
    return [str(problem) for problem in caught.value.problems]


# -- words ---------------------------------------------------------------------------------------------------


def test_without_the_block_nobody_is_looked_at() -> None:
    policy = read_policy("version: 1\nsite: {name: x}\ndefault: allow\n")
    assert policy.detecting is None
    assert Guard(policy).watching is None


def test_an_empty_block_looks_and_says_what_it_looks_for() -> None:
    detecting = read("{}")
    assert detecting == Detecting()
    assert detecting.steps == DEFAULT_STAGES
    assert [stage.then for stage in DEFAULT_STAGES] == ["label", "challenge", "throttle", "refuse"]
    assert [stage.at for stage in DEFAULT_STAGES] == sorted(stage.at for stage in DEFAULT_STAGES)
    assert not detecting.challenge  # nobody is asked for anything unless the policy wants it
    assert Guard(a_policy("{}")).watching is not None


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("mode: observe", {"mode": Mode.OBSERVE}),
        ("mode: enforce", {"mode": Mode.ENFORCE}),
        ("challenge: true", {"challenge": True}),
        ("traps: [/trap/**, /browse-all/]", {"traps": ("/trap/**", "/browse-all/")}),
        ("traps: /trap/**", {"traps": ("/trap/**",)}),
        ("traps: []", {"traps": ()}),
        ("downloads: [/get/**]", {"downloads": ("/get/**",)}),
        ("segment_seconds: 6", {"segment_s": 6.0}),
        ("bitrate: 320k", {"bitrate": 320_000}),
        ("refuse_minutes: 30", {"refuse_s": 1_800.0}),
        ("downloads_a_day: 1", {"downloads_a_day": 1}),
        ("audio_hours_a_day: 30", {"audio_a_day_s": 108_000.0}),
        ("hints: false", {"hints": False}),
        ("https: true", {"secure": True}),
        ("https: false", {"secure": False}),
        ("header_order: true", {"header_order": True}),
        ("protocol_header: X-Http-Version", {"protocol_header": "x-http-version"}),
        ("ja4_header: X-JA4", {"ja4_header": "x-ja4"}),
        ("steps: [{at: 30, then: refuse}]", {"steps": (Stage(30, "refuse"),)}),
    ],
)
def test_each_word_is_read_and_changes_nothing_else(words: str, named: dict[str, Any]) -> None:
    plain = Detecting()
    detecting = read(words, site=HOP)
    for name in Detecting.__slots__:
        assert getattr(detecting, name) == named.get(name, getattr(plain, name)), name


def test_every_step_is_read_with_its_routes_and_its_limit() -> None:
    detecting = read(
        "steps:",
        "- {at: 5, then: label}",
        "- {at: 20, then: challenge, route: [page, search]}",
        "- {at: 20, then: throttle, route: media, limit: slow}",
        "- {at: 24, then: throttle}",
        "- {at: 100, then: refuse, route: [api, media, artwork]}",
    )
    assert [(stage.at, stage.then, stage.routes) for stage in detecting.steps] == [
        (5, "label", ()),
        (20, "challenge", ("page", "search")),
        (20, "throttle", ("media",)),
        (24, "throttle", ()),
        (100, "refuse", ("api", "media", "artwork")),
    ]
    named, unnamed = (stage.limit for stage in detecting.steps if stage.then == "throttle")
    assert named is not None and (named.name, named.burst) == ("slow", 5)
    assert unnamed == SUSPECTS
    assert {stage.then for stage in detecting.steps} == set(STAGES)


def test_what_a_policy_does_not_say_is_as_for_others() -> None:
    detecting = read("challenge: true")
    assert (detecting.bitrate, detecting.refuse_s, detecting.downloads_a_day) == (BITRATE, 600.0, 100)
    assert detecting.mode is None and detecting.secure is None  # as the policy; as the site's url says


def test_https_is_what_the_url_says_unless_the_block_does() -> None:
    def secure(url: str, words: str = "{}") -> bool | None:
        watching = Guard(a_policy(words, site=f", url: '{url}'")).watching
        assert watching is not None
        return watching.secure

    assert secure("https://x.example") is True
    assert secure("http://x.example") is False
    assert secure("http://x.example", "https: true") is True
    assert Guard(a_policy("{}")).watching.secure is None  # type: ignore[union-attr]  # as each request came


def test_a_host_has_a_block_of_its_own_or_that_of_the_site() -> None:
    policy = read_policy(
        "version: 1\nsite: {name: x}\ndefault: allow\ndetection: {refuse_minutes: 5}\n"
        "hosts:\n- {names: [shop.example], detection: {challenge: true}}\n- {names: [api.example]}\n"
    )
    shop, api = policy.scopes
    assert shop.detecting is not None and shop.detecting.challenge
    assert policy.detecting is not None and not policy.detecting.challenge
    assert api.detecting == policy.detecting


# -- mistakes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("true", "detection: expected a mapping"),
        ("chalenge: true", "detection: unknown key 'chalenge', did you mean 'challenge'?"),
        ("mode: enforse", "detection: unknown mode 'enforse', did you mean 'enforce'?"),
        ("challenge: maybe", "'challenge' 'maybe' (one of: true, false)"),
        ("traps: [trap]", "detection: traps: path 'trap' must start with '/'"),
        ("traps: [/robots.txt]", "'/robots.txt' is a directive file, open to everyone, always: take it out"),
        ("downloads: [get/**]", "detection: downloads: path 'get/**' must start with '/'"),
        ("segment_seconds: 0", "detection: 'segment_seconds' is a whole number from 1 to 120"),
        ("segment_seconds: long", "detection: 'segment_seconds' must be a whole number"),
        ("bitrate: fast", "detection: bitrate: must look like 320k"),
        ("refuse_minutes: 0", "detection: 'refuse_minutes' is a whole number from 1 to 60"),
        ("refuse_minutes: 61", "detection: 'refuse_minutes' is a whole number from 1 to 60"),
        ("downloads_a_day: 0", "detection: 'downloads_a_day' is a whole number from 1 to 1000000"),
        ("audio_hours_a_day: 0", "detection: 'audio_hours_a_day' is a whole number from 1 to 1000"),
        ("protocol_header: X-Proto", "protocol_header: a header counts only from a hop that is yours: name it in"),
        ("ja4_header: X-JA4", "ja4_header: a header counts only from a hop that is yours: name it in 'site: trusted_p"),
        ("steps: []", "detection: steps: write at least one, or leave the word out"),
        ("steps: {at: 12, then: refuse}", "detection: 'steps' must be a list"),
        ("steps: [{att: 12, then: refuse}]", "steps: unknown key 'att', did you mean 'at'?"),
        ("steps: [{at: 4, then: refuse}]", "steps: needs 'at', a whole number from 5 to 100 (points of suspicion)"),
        ("steps: [{at: 101, then: refuse}]", "steps: needs 'at', a whole number from 5 to 100 (points of suspicion)"),
        ("steps: [{then: refuse}]", "steps: needs 'at', a whole number from 5 to 100 (points of suspicion)"),
        ("steps: [{at: 30}]", "steps: needs 'then' (label, throttle, challenge, refuse)"),
        ("steps: [{at: 30, then: block}]", "steps: unknown step 'block' (one of: label, throttle, challenge, refuse)"),
        ("steps: [{at: 30, then: refuze}]", "steps: unknown step 'refuze', did you mean 'refuse'?"),
        ("steps: [{at: 30, then: refuse}, {at: 20, then: label}]", "steps must rise: 20 follows 30"),
        ("steps: [{at: 30, then: refuse, route: medai}]", "unknown route class 'medai', did you mean 'media'?"),
        ("steps: [{at: 30, then: refuse, route: directive}]", "open to everyone, always: take 'directive' out"),
        ("steps: [{at: 30, then: challenge, route: [page, directive]}]", "always: take 'directive' out"),
        ("steps: [{at: 30, then: throttle, limit: sloww}]", "steps: no limit is named 'sloww' (slow)"),
        ("steps: [{at: 30, then: refuse, limit: slow}]", "steps: 'limit' belongs to 'then: throttle'"),
    ],
)
def test_each_mistake_is_named_with_its_file_its_line_and_a_way_out(words: str, said: str) -> None:
    found = problems(words)
    assert len(found) <= 2
    assert found[0].startswith("shop.yaml:7: ")
    assert said in found[0]


@pytest.mark.parametrize("route", ["media", "manifest", "api", "artwork", "lyrics", "feed", "static", "embed"])
def test_only_documents_can_be_challenged(route: str) -> None:
    (found,) = problems(f"steps: [{{at: 30, then: challenge, route: [page, {route}]}}]")
    assert found == (
        "shop.yaml:7: detection: steps: only documents can be challenged (page and search): anything else would just "
        "break"
    )


def test_a_header_is_a_name_and_counts_from_a_hop_only() -> None:
    (found,) = problems("ja4_header: 'a b'", site=HOP)
    assert found == "shop.yaml:7: detection: ja4_header: 'a b' is no name of a header"
    assert read("ja4_header: X-JA4", site=", trust_unix: true").ja4_header == "x-ja4"


def test_mistakes_are_told_together_each_with_its_own_line() -> None:
    found = problems(
        "chalenge: true",
        "refuse_minutes: 99",
        "traps: [trap]",
        "steps:",
        "- {at: 30, then: refuse}",
        "- {at: 20, then: challenge, route: media}",
        "- {at: 40, then: throttle, limit: fast}",
    )
    lines = sorted(int(one.split(":")[1]) for one in found)
    assert {7, 8, 9, 12, 13} <= set(lines)
    assert len(found) == 6


def test_no_mistake_is_found_in_what_ships() -> None:
    looking = [
        path.stem
        for path in shipped_folder().glob("*.yaml")
        if load_policy(shipped_policy(path.stem)).detecting is not None
    ]
    assert {"no-ai", "strict"} <= set(looking)

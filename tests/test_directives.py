"""What is published and what is enforced come from the same rules, so they cannot differ."""

from __future__ import annotations

import json
import re
from ipaddress import ip_network

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from protego import Protego

from guard import Guard, Request, load_policy, shipped_policy
from guard.directives import (
    FILES,
    HEADERS,
    aitxt,
    content_signal,
    content_usage,
    declare,
    render_file,
    render_headers,
    tdmrep,
    x_robots,
)
from guard.directives.paths import spell
from guard.load import read_policy, shipped_catalogue
from guard.model import Agent
from guard.policy import Policy

from .conftest import SHARED

ABSENT = "../shared is not here: the project's own cases cover the same rules"
VECTORS = SHARED / "vectors"
AGENTS = shipped_catalogue()
NO_AI = {"train-ai": "disallow", "ai-use": "disallow", "search": "allow"}


def policy_of(rules: str, default: str = "allow", routes: str = "", site: str = "", more: str = "") -> Policy:
    return read_policy(
        f"version: 1\nsite: {{name: x{site}}}\ndefault: {default}\n{more}\nroutes: [{routes}]\nrules: [{rules}]\n"
    )


POLICIES = {
    "no-ai": load_policy(shipped_policy("no-ai")),
    "nothing is forbidden": policy_of("{name: ai, when: {category: ai-*}, then: allow}"),
    "only search": policy_of(
        "{name: s, when: {purpose: search, route: [page, manifest]}, then: allow}",
        "block",
        "{class: manifest, paths: ['/m/**/*.mpd']}, {class: media, paths: [/m/**, /inbox, '/**/*.mp3', '/a/**/b']}",
    ),
    "an open room in a closed house": policy_of(
        "{name: open, when: {path: /press/kit/**}, then: allow},"
        " {name: ai, when: {category: ai-*, path: /press/**}, then: block}"
    ),
    "a closed room in an open one": policy_of(
        "{name: no, when: {path: [/open/closed/**, /open/door]}, then: block},"
        " {name: yes, when: {path: /open/**}, then: allow}",
        "block",
    ),
    "manifests but no media": policy_of(
        "{name: no, when: {category: [search, ai-train], route: media}, then: block}",
        routes="{class: manifest, paths: ['/hls/**/*.m3u8']}, {class: media, paths: [/hls/**]}",
    ),
    "letters of other alphabets, in any case": policy_of(
        "{name: no, when: {path: ['/künstler/**', /Media/**]}, then: block}", site=", case_sensitive: true"
    ),
    "the real one may": policy_of(
        "{name: real, when: {identity: verified, agent: Googlebot}, then: allow},"
        " {name: no, when: {purpose: search}, then: block}",
        site=", published_networks: {Googlebot: [192.0.2.0/24]}",
    ),
    "closed but for what it publishes": policy_of(
        "{name: no, when: {path: /**}, then: block}",
        routes="{class: directive, paths: [/robots.txt, /ai.txt, /.well-known/security.txt]}",
    ),
}


def robots(policy: Policy) -> str:
    return render_file("/robots.txt", declare(policy, AGENTS))


def specimens(policy: Policy) -> list[str]:
    """Some addresses under each of the policy's patterns, and some under none."""
    patterns = [path for entry in policy.routes for path in entry.paths] + list(policy.rule_patterns.patterns)
    found = {"/": None, "/track/4711": None, "/a": None}
    for pattern in patterns:
        for below in ("", "/q", "/q/r"):
            path = re.sub(r"/\*\*", below, pattern).replace("*", "q") or "/"
            found |= {path: None, f"{path}?sig=1&x=/": None}
    return list(found)


def test_who_only_observes_publishes_the_same() -> None:
    assert robots(load_policy(shipped_policy("observe"))) == robots(POLICIES["no-ai"])


# -- robots.txt and the decisions ----------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_what_robots_txt_forbids_is_refused_and_what_is_refused_is_forbidden(policy: Policy) -> None:
    guard, published = Guard(policy), Protego.parse(robots(policy))
    crawlers = [agent for agent in AGENTS.agents if agent.robots_token and agent.samples]
    assert len(crawlers) > 150
    differing = []
    for agent in crawlers:
        for address in specimens(policy):
            target = address.partition("?")[0].encode().decode("latin-1").encode("unicode_escape").replace(b"\\x", b"%")
            known = policy.site.published_networks.get(agent.name.lower(), ("192.0.2.0/24",))
            home = str(ip_network(known[0])[1])  # robots.txt speaks to the real one
            decision = guard.consider(Request("GET", target, agent.samples[0].encode(), home))[1]
            if published.can_fetch(f"https://x.example{address}", agent.robots_token) is (decision.action == "block"):
                differing.append((agent.name, address, decision.action))
    assert differing == []


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_who_has_no_group_is_told_what_everybody_is_told(policy: Policy) -> None:
    guard, published = Guard(policy), Protego.parse(robots(policy))
    for address in specimens(policy):
        target = address.partition("?")[0].encode().decode("latin-1").encode("unicode_escape").replace(b"\\x", b"%")
        decision = guard.consider(Request("GET", target, b"Unheard", "192.0.2.1"))[1]
        assert published.can_fetch(f"https://x.example{address}", "unheard") is (decision.action != "block"), address


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_the_directives_themselves_may_always_be_fetched(policy: Policy) -> None:
    published = Protego.parse(robots(policy))
    for agent in ("GPTBot", "Googlebot", "unheard"):
        assert all(published.can_fetch(f"https://x.example{path}", agent) for path in FILES)


def groups_of(text: str) -> list[list[tuple[str, str]]]:
    """Groups as they are for a reader that knows nothing but the standard: rules close one, nothing else does."""
    groups: list[list[tuple[str, str]]] = [[]]
    closed = True
    for line in text.splitlines():
        key, colon, value = line.partition("#")[0].partition(":")
        if not colon:
            continue
        key = key.strip().lower()
        if key == "user-agent" and closed:
            groups.append([])
        if key in ("user-agent", "allow", "disallow"):
            closed = key != "user-agent"
        groups[-1].append((key, value.strip()))
    return groups[1:]


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_robots_txt_keeps_to_the_standard(policy: Policy) -> None:
    text = robots(policy)
    assert text.isascii()
    assert "\r" not in text
    assert text.endswith("\n")
    assert len(text) < 500 * 1024
    assert max(map(len, text.splitlines())) < 500
    keys = {line.partition(":")[0] for line in text.splitlines() if line and not line.startswith("#")}
    assert keys <= {"User-agent", "Allow", "Disallow", "Content-Signal", "Content-Usage", "Sitemap"}
    for line in text.splitlines():
        assert re.fullmatch(r"(?:#.*|[A-Za-z-]+: \S.*|)", line), line


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_no_group_runs_into_the_next(policy: Policy) -> None:
    text = robots(policy)
    groups = groups_of(text)
    assert len(groups) == len(re.findall(r"(?:^|\n)\n(?:User-agent)", text))
    for group in groups:
        keys = [key for key, _ in group if key != "sitemap"]
        assert keys[-1] in ("allow", "disallow")
        agents = [key for key in keys if key == "user-agent"]
        assert keys[: len(agents)] == agents
    tokens = [value.lower() for group in groups for key, value in group if key == "user-agent"]
    assert len(tokens) == len(set(tokens))
    assert tokens[-1] == "*"


def test_every_group_states_the_preferences_for_itself() -> None:
    for group in groups_of(robots(POLICIES["no-ai"])):
        stated = dict(pair for pair in group if pair[0].startswith("content"))
        assert stated == {
            "content-signal": "search=yes, ai-input=no, ai-train=no",
            "content-usage": "train-ai=n, ai-use=n, search=y",
        }


def test_an_agent_that_is_treated_like_everybody_has_no_group_of_its_own() -> None:
    assert "User-agent: GPTBot" in robots(POLICIES["no-ai"])
    assert robots(POLICIES["nothing is forbidden"]).count("User-agent") == 1


def test_the_reservation_of_rights_stands_in_the_file_when_training_is_disallowed() -> None:
    assert "Article 4(3) of Directive (EU) 2019/790" in robots(POLICIES["no-ai"])
    assert "Article" not in robots(POLICIES["nothing is forbidden"])


def test_who_publishes_is_said_in_ascii_and_so_is_the_sitemap() -> None:
    text = robots(policy_of("", site="é, contact: 'a@b.c', sitemap: https://x.example/sitemap.xml"))
    assert text.startswith("# x?: what automated clients may fetch")
    assert "# Contact: a@b.c\n" in text
    assert text.endswith("\nSitemap: https://x.example/sitemap.xml\n")


@pytest.mark.parametrize(
    ("pattern", "spellings"),
    [
        ("/media/**", ("/media/", "/media$", "/media?")),
        ("/inbox", ("/inbox$", "/inbox?", "/inbox/$", "/inbox/?")),
        ("/inbox/", ("/inbox$", "/inbox?", "/inbox/$", "/inbox/?")),
        ("/", ("/$", "/?")),
        ("/**", ("/",)),
        ("/hls/**/*.m3u8", ("/hls/*.m3u8",)),
        ("/**/*.mp3", ("/*.mp3",)),
        ("/rest/stream*", ("/rest/stream*",)),
        ("/users/*/inbox", tuple(f"/users/*/inbox{end}" for end in ("$", "?", "/$", "/?"))),
        ("/a/**/b", tuple(f"{path}{end}" for path in ("/a/b", "/a/*/b") for end in ("$", "?", "/$", "/?"))),
        ("/a/**/**/b/**", ("/a/b/", "/a/b$", "/a/b?", "/a/*/b/", "/a/*/b$", "/a/*/b?")),
        ("/künstler/a b", tuple(f"/k%C3%BCnstler/a%20b{end}" for end in ("$", "?", "/$", "/?"))),
    ],
)
def test_a_pattern_is_spelled_so_that_robots_txt_means_the_same(pattern: str, spellings: tuple[str, ...]) -> None:
    assert spell(pattern) == spellings


# -- Content-Usage -------------------------------------------------------------------------------------------

PREFERENCES = st.dictionaries(st.sampled_from(["train-ai", "ai-use", "search"]), st.sampled_from(["allow", "disallow"]))


def by_the_standard(field: str) -> dict[str, str]:
    """What a full parser of structured fields makes of it."""
    try:
        parsed = http_sf.parse(field.encode("latin-1"), tltype="dictionary")
    except (http_sf.StructuredFieldError, ValueError, UnicodeError):
        return {}
    found = {key: value[0] for key, value in parsed.items() if isinstance(value, tuple)}  # type: ignore[union-attr]
    return {key: str(value) for key, value in found.items() if isinstance(value, http_sf.Token) and str(value) in "yn"}


@given(PREFERENCES)
def test_content_usage_is_a_structured_field_that_says_what_the_policy_says(preferences: dict[str, str]) -> None:
    expected = {label: {"allow": "y", "disallow": "n"}[word] for label, word in preferences.items()}
    assert by_the_standard(content_usage.state(preferences)) == expected


@pytest.mark.parametrize(
    ("field", "read"),
    [
        ("train-ai=n, ai-use=n, search=y", {"train-ai": "n", "ai-use": "n", "search": "y"}),
        ("train-ai=n,\tai-use=n", {"train-ai": "n", "ai-use": "n"}),
        ("train-ai=n;ai-use=n", {"train-ai": "n"}),
        ('train-ai=n;x;y="a,b";z=:aGk=:, ai-use=y', {"train-ai": "n", "ai-use": "y"}),
        ("train-ai=y, train-ai=n", {"train-ai": "n"}),
        ("train-ai=n, train-ai", {}),
        ("train-ai=(n y), ai-use=n", {"ai-use": "n"}),
        ('train-ai=(a;b=1 "c";d);e, ai-use=n', {"ai-use": "n"}),
        ('x=@1659578233, y=:aGk=:, z=%"%c3%bc", q=-1.5, ai-use=n', {"ai-use": "n"}),
        ("train-ai=n,", {}),
        ("train-ai=n ai-use=n", {}),
        ("Train-AI=n", {}),
        ("train-ai = n", {}),
        ("train-ai=n, ai-use=(n", {}),
        ("train-ai=n, ai-use=1.2.3", {}),
        ('train-ai=n, ai-use="', {}),
        ("", {}),
    ],
)
def test_a_field_that_came_with_the_content_is_read_by_the_standard(field: str, read: dict[str, str]) -> None:
    combined = content_usage.combine("", [field])
    assert dict(item.split("=") for item in combined.split(", ") if item) == read
    assert by_the_standard(field) == read


MEMBERS = """train-ai=n ai-use=y search x=?0 x="n" x=(n) x=(a|b;c) x=1 x=1.25 A=n x= x;y=n y=:aGk=: x=n|;y x=() x=(n)n
*=n x=@1 x=%"a" x=(n x=1.2345 x=- x=12345678901234567""".replace("|", "\0").split()
MEMBER = st.sampled_from(["", " ", *(member.replace("\0", " ") for member in MEMBERS)])


@given(st.lists(st.tuples(MEMBER, st.sampled_from([", ", ",", " , ", ",\t", ";", " "])), max_size=5))
def test_no_field_is_read_another_way_than_a_full_parser_does(parts: list[tuple[str, str]]) -> None:
    field = "".join(member + separator for member, separator in parts)
    ours = content_usage.combine("", [field])
    assert dict(item.split("=") for item in ours.split(", ") if item) == by_the_standard(field)


@given(
    PREFERENCES, st.lists(st.sampled_from(["train-ai=n", "train-ai=y, search=n", "", "broken,", "other=y"]), max_size=3)
)
def test_combining_never_loosens_either_statement(preferences: dict[str, str], theirs: list[str]) -> None:
    ours = content_usage.state(preferences)
    combined = by_the_standard(content_usage.combine(ours, theirs))
    for label, value in by_the_standard(ours).items():
        assert combined[label] == "n" or value == "y"
    for label, value in by_the_standard(", ".join(filter(None, theirs))).items():
        assert combined[label] == "n" or value == "y"


def test_the_published_cases_of_content_usage_are_read_as_they_should() -> None:
    path = VECTORS / "aipref_cases.json"
    if not path.exists():
        pytest.skip(ABSENT)
    cases = json.loads(path.read_text())
    for case in cases["header_cases"]:
        combined = content_usage.combine("", case.get("field_lines", [case["value"]]))
        read = dict(item.split("=") for item in combined.split(", ") if item)
        assert {label: read.get(label) for label in cases["labels"]} == case["preferences"], case
    for case in cases["combine_cases"]:
        combined = ""
        for statement in case["statements"]:
            combined = content_usage.combine(combined, [statement])
        read = dict(item.split("=") for item in combined.split(", ") if item)
        assert {label: read.get(label) for label in cases["labels"]} == case["preferences"], case


# -- the other forms -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preferences", "headers"),
    [
        ({}, {}),
        (
            NO_AI,
            {
                "content-usage": "train-ai=n, ai-use=n, search=y",
                "x-robots-tag": "noai, noimageai",
                "tdm-reservation": "1",
            },
        ),
        ({"search": "allow"}, {"content-usage": "search=y"}),
        ({"train-ai": "allow"}, {"content-usage": "train-ai=y", "tdm-reservation": "0"}),
        (
            {"train-ai": "allow", "ai-use": "disallow"},
            {"content-usage": "train-ai=y, ai-use=n", "tdm-reservation": "1"},
        ),
        (
            {"train-ai": "disallow", "ai-use": "allow"},
            {"content-usage": "train-ai=n, ai-use=y", "x-robots-tag": "noai, noimageai", "tdm-reservation": "1"},
        ),
    ],
)
def test_every_answer_states_what_is_stated_and_nothing_else(
    preferences: dict[str, str], headers: dict[str, str]
) -> None:
    stated = {name.decode(): value.decode() for name, value in render_headers(preferences)}
    assert ("link" in stated) is bool(headers)  # where nothing is stated, no document tells of it
    signal = stated.pop("content-signal", "")
    assert content_signal.state(preferences) == signal
    stated.pop("link", None)
    assert stated == headers


@given(PREFERENCES)
def test_no_form_says_more_or_less_than_another(preferences: dict[str, str]) -> None:
    usage = by_the_standard(content_usage.state(preferences))
    signal = dict(item.split("=") for item in content_signal.state(preferences).split(", ") if item)
    assert {
        {"search": "search", "ai-input": "ai-use", "ai-train": "train-ai"}[name]: {"yes": "y", "no": "n"}[value]
        for name, value in signal.items()
    } == usage
    assert (x_robots.state(preferences) != "") is (usage.get("train-ai") == "n")
    assert (tdmrep.state(preferences) == "1") is ("n" in (usage.get("train-ai"), usage.get("ai-use")))


def with_preferences(preferences: dict[str, str]) -> Policy:
    return policy_of("", more=f"preferences: {json.dumps(preferences)}" if preferences else "")


def test_ai_txt_closes_addresses_without_an_ending_too() -> None:
    lines = render_file("/ai.txt", declare(with_preferences(NO_AI), AGENTS)).splitlines()
    assert lines[1] == "User-Agent: *"
    assert {"Disallow: *.mp3", "Disallow: *.flac", "Disallow: *.txt", "Disallow: *.jpg"} <= set(lines)
    assert lines[-2:] == ["Disallow: /", "Disallow: *"]
    assert not any(line.startswith("Allow") for line in lines)
    assert render_file("/ai.txt", declare(with_preferences({"search": "allow"}), AGENTS)).splitlines()[-1] == "Allow: /"
    assert aitxt.render(declare(with_preferences({}), AGENTS)).endswith("Allow: /\n")


def test_tdmrep_is_an_array_of_numbers() -> None:
    assert json.loads(render_file("/.well-known/tdmrep.json", declare(with_preferences(NO_AI), AGENTS))) == [
        {"location": "/", "tdm-reservation": 1}
    ]
    assert json.loads(
        render_file("/.well-known/tdmrep.json", declare(with_preferences({"train-ai": "allow"}), AGENTS))
    ) == [{"location": "/", "tdm-reservation": 0}]
    assert json.loads(render_file("/.well-known/tdmrep.json", declare(with_preferences({}), AGENTS))) == []


def test_our_forms_are_those_that_the_readers_of_others_understand() -> None:
    if not VECTORS.exists():
        pytest.skip(ABSENT)
    tags = json.loads((VECTORS / "x_robots_tag_cases.json").read_text())["cases"]
    (ours,) = (case for case in tags if case["header_lines"] == [x_robots.state(NO_AI)])
    assert ours["blocked_img2dataset"] and ours["blocked_datadiligence"]
    signals = json.loads((VECTORS / "content_signals_cases.json").read_text())["value_cases"]
    (meant,) = (case["parsed"] for case in signals if case["value"] == content_signal.state(NO_AI))
    assert (meant["search"], meant["ai-input"], meant["ai-train"]) == ("yes", "no", "no")
    spawning = json.loads((VECTORS / "ai_txt_examples.json").read_text())["spawning"]["all_out"]
    ours_too = set(render_file("/ai.txt", declare(with_preferences(NO_AI), AGENTS)).splitlines())
    missing = {line for line in spawning.splitlines() if line.startswith("Disallow")} - ours_too
    assert missing <= {"Disallow: *.m3u8"}


@pytest.mark.parametrize(("path", "media_type"), [(path, media_type) for path, (media_type, _) in FILES.items()])
def test_each_file_is_ready_with_a_strong_etag_and_an_hour_of_freshness(path: str, media_type: str) -> None:
    reply = Guard(POLICIES["no-ai"]).files[path]
    headers = dict(reply.headers)
    assert reply.status == 200
    assert headers[b"content-type"].decode() == media_type
    assert re.fullmatch(rb'"[0-9a-f]{32}"', headers[b"etag"])
    assert headers[b"cache-control"] == b"public, max-age=3600"
    assert {name for name, _ in HEADERS} <= set(headers)
    assert Guard(POLICIES["only search"]).files[path].headers != reply.headers


def test_an_agents_networks_decide_what_the_real_one_is_told() -> None:
    published = Protego.parse(robots(POLICIES["the real one may"]))
    assert published.can_fetch("https://x.example/a", "Googlebot")
    assert not published.can_fetch("https://x.example/a", "bingbot")


def test_a_crawler_of_any_kind_finds_its_name_in_the_file() -> None:
    tool = Agent("Grabber", "Grabber", "Grabber", "", "tool", ("tool",), samples=("Grabber/1",))
    policy = policy_of("{name: no, when: {category: tool}, then: block}")
    text = render_file("/robots.txt", declare(policy, type(AGENTS)([tool])))
    assert "User-agent: Grabber\n" in text


# -- preferences of kinds ------------------------------------------------------------------------------------

KINDS = read_policy(
    """
version: 1
site: {name: Kinds}
default: allow
routes:
  - {class: manifest, paths: ["/hls/**/*.m3u8"]}
  - {class: media, paths: [/hls/**, /media/**]}
  - {class: static, paths: [/media/player.js]}
  - {class: artwork, paths: [/img/**]}
  - {class: lyrics, paths: [/lyrics/**]}
preferences:
  train-ai: allow
  search: allow
  audio: {train-ai: disallow, ai-use: disallow}
  lyrics: {search: disallow}
"""
)


RESERVED = {
    "content-usage": "train-ai=n, ai-use=n, search=y",
    "tdm-reservation": "1",
    "x-robots-tag": "noai, noimageai",
}


@pytest.mark.parametrize(
    ("path", "stated"),
    [
        ("/media/1.mp3", RESERVED),
        ("/hls/1/index.m3u8", RESERVED),
        ("/lyrics/1", {"content-usage": "train-ai=y, search=n", "tdm-reservation": "0"}),
        ("/img/1.jpg", {"content-usage": "train-ai=y, search=y", "tdm-reservation": "0"}),
        ("/track/1", {"content-usage": "train-ai=y, search=y", "tdm-reservation": "0"}),
    ],
)
def test_each_kind_of_content_says_its_own_word(path: str, stated: dict[str, str]) -> None:
    guard = Guard(KINDS)
    decision = guard.consider(Request("GET", path.encode(), b"", "192.0.2.1"))[1]
    headers = {name.decode(): value.decode() for name, value in guard.headers_of(decision)}
    assert {name: value for name, value in headers.items() if name not in ("link", "content-signal")} == stated


def test_robots_txt_says_by_path_what_differs() -> None:
    lines = robots(KINDS).splitlines()
    assert "Content-Usage: train-ai=y, search=y" in lines
    assert "Content-Usage: /media/ train-ai=n, ai-use=n, search=y" in lines
    assert "Content-Usage: /hls/ train-ai=n, ai-use=n, search=y" in lines  # and with it the manifests below
    assert "Content-Usage: /lyrics/ train-ai=y, search=n" in lines
    assert not [line for line in lines if line.startswith("Content-Usage: /img/")]  # says nothing else than all


def test_readers_that_know_no_paths_get_the_strictest_word_on_ai_and_may_still_search() -> None:
    assert "Content-Signal: search=yes, ai-input=no, ai-train=no" in robots(KINDS).splitlines()


def test_tdmrep_reserves_the_audio_and_not_the_pages() -> None:
    rules = json.loads(render_file("/.well-known/tdmrep.json", declare(KINDS, AGENTS)))
    assert {"location": "/media/", "tdm-reservation": 1} in rules
    assert rules[-1] == {"location": "/", "tdm-reservation": 0}
    lengths = [len(rule["location"]) for rule in rules]
    assert lengths == sorted(lengths, reverse=True)


def test_ai_txt_closes_audio_files_and_leaves_pictures_open() -> None:
    lines = render_file("/ai.txt", declare(KINDS, AGENTS)).splitlines()
    assert "Disallow: *.mp3" in lines
    assert "Allow: *.jpg" in lines
    assert lines[-1] == "Disallow: *"  # a stream has no ending

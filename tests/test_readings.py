"""Every spelling of a denied path is denied, every name in a catalogue passes, and both at a bounded cost."""

from __future__ import annotations

import json
import posixpath
import re
from contextlib import suppress
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from guard import Guard, Request, TargetError
from guard.load import read_policy
from guard.readings import MAX_PATH_BYTES, MAX_READINGS, Readings, read_path, read_target

from .conftest import SHARED

ABSENT = "../shared is not here: the project's own cases cover the same rules"
CASES = SHARED / "security" / "bypass_cases.json"


def guard_of(site: str = "name: x") -> Guard:
    return Guard(
        read_policy(
            f"{{version: 1, site: {{{site}}}, default: allow, rules: ["
            "{name: private, when: {path: /private/**}, then: block}]}"
        )
    )


EXEMPTING = Guard(
    read_policy(
        "{version: 1, site: {name: x}, default: block, rules: [{name: open, when: {path: /public/**}, then: allow}]}"
    )
)
PLAIN, STRIPPING = guard_of(), guard_of("name: x, strip_prefixes: [/api]")


def decide(target: bytes, guard: Guard = PLAIN) -> str:
    return guard.consider(Request("GET", target, b"", "192.0.2.1"))[1].action


# -- what each spelling means --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "canonical", "everything"),
    [
        (b"/", "/", {"/"}),
        (b"/track/4711", "/track/4711", {"/track/4711"}),
        (b"/Track/4711/", "/Track/4711", {"/track/4711"}),
        (b"//a///b", "/a/b", {"/a/b"}),
        (b"/a/./b/../c", "/a/c", {"/a/c"}),
        (b"/../../a", "/a", {"/a"}),
        (b"/artist/AC%2FDC", "/artist/AC/DC", {"/artist/ac%2fdc", "/artist/ac/dc"}),
        (b"/%2570", "/%70", {"/%2570", "/%70", "/p"}),
        (b"/%25252570", "/%252570", {"/%25252570", "/%252570", "/%2570", "/%70", "/p"}),
        (b"/a%5Cb", "/a\\b", {"/a%5cb", "/a\\b", "/a/b"}),
        (b"/a;v=1/b", "/a;v=1/b", {"/a;v=1/b", "/a/b"}),
        (b"/a%3Bb;v/c", "/a;b;v/c", {"/a%3bb;v/c", "/a%3bb/c", "/a;b;v/c", "/a/c", "/a;b/c"}),
        (b"/R.E.M.", "/R.E.M.", {"/r.e.m.", "/r.e.m"}),
        (b"/...", "/...", {"/..."}),
        (b"/a%20/b", "/a /b", {"/a%20/b", "/a /b", "/a/b"}),
        (b"/a%3Fb", "/a?b", {"/a%3fb", "/a?b", "/a"}),
        (b"/%3f?/private", "/?", {"/%3f", "/?", "/"}),
        (b"/%23", "/#", {"/%23", "/#", "/"}),
        ("/fé".encode().replace(b"\xc3\xa9", b"%C3%A9"), "/fé", {"/f%c3%a9", "/fé"}),
        (b"/pr%C4%B1vate", "/prıvate", {"/pr%c4%b1vate", "/prıvate"}),
        (b"/%E2%84%AAey", "/\u212aey", {"/%e2%84%aaey", "/\u212aey"}),  # KELVIN SIGN is no k,
    ],
)
def test_a_target_has_these_readings_and_no_others(target: bytes, canonical: str, everything: set[str]) -> None:
    readings = read_target(target)
    assert (readings.canonical, set(readings.all)) == (canonical, everything)


@pytest.mark.parametrize(
    "target",
    [
        b"",
        b"private",
        b"*",
        b"http://media.example/private",
        b"@internal/x",
        b"/a\x00b",
        b"/a%00b",
        b"/a%2500b",
        b"/a%0d%0ab",
        b"/a%09",
        b"/a%7f",
        b"/a b",
        b"/a#b",
        b"/caf\xc3\xa9",
        b"/%",
        b"/%zz",
        b"/%u002f",
        b"/%80",
        b"/%c0%ae%c0%ae/private",
        b"/%e0%80%af",
        b"/%f0%80%80%af",
        b"/%ed%a0%80",
        b"/%2525252570rivate",
        b"/" + b"a" * MAX_PATH_BYTES,
        b"/%41" + b"a" * MAX_PATH_BYTES,
    ],
)
def test_a_target_without_one_safe_set_of_readings_is_refused(target: bytes) -> None:
    with pytest.raises(TargetError):
        read_target(target)


def test_the_reason_of_a_refusal_names_nothing_that_the_client_sent() -> None:
    with pytest.raises(TargetError) as caught:
        read_target(b"/<script>%00")
    assert "script" not in caught.value.reason


@pytest.mark.parametrize(
    "name",
    [
        "AC/DC",
        "R.E.M.",
        "...",
        "!!!",
        "100%",
        "50% Off",
        "#1 Crush",
        "What's Up?",
        "Florence + & the Machine",
        "a;b",
        "~dj",
        "P!nk",
        "$uicideboy$",
        "M.I.A.",
        "Sunn O)))",
        "¥€$",
        "فيروز",
        "坂本龍一",
        "Sigur Rós",
        "100%80",
        "C:\\Music",
        "Mr. & Mrs.",
    ],
)
def test_the_names_in_a_catalogue_pass(name: str) -> None:
    assert decide(f"/artist/{quote(name, safe='')}".encode()) == "allow"


@pytest.mark.parametrize("name", ["Florence+&+the+Machine", "album;id=7", "(What's", "a,b", "@home", "a:b", "x=y"])
def test_names_that_need_no_escape_pass_as_they_are(name: str) -> None:
    assert decide(f"/artist/{name}".encode()) == "allow"


@pytest.mark.parametrize("target", [b"/private-press/notes", b"/private.json", b"/%20/private/x", b"/x/private/y"])
def test_a_denied_prefix_ends_at_a_segment(target: bytes) -> None:
    assert decide(target) == "allow"


def test_case_counts_only_where_the_site_says_so() -> None:
    assert read_target(b"/Private", case_sensitive=True).all == ("/Private",)
    assert read_target(b"/Priv%61te", case_sensitive=True).all == ("/Priv%61te", "/Private")


# -- prefixes that something behind us strips ----------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        b"/api/private/x",
        b"/API/private/x",
        b"/%61pi/private/x",
        b"//api/private/x",
        b"/./api/private/x",
        b"/y/../api/private/x",
        b"/api../private/x",
        b"/api/./../api/private/x",
        b"/api;v=1/private/x",
    ],
)
def test_a_prefix_stripped_behind_us_hides_nothing(target: bytes) -> None:
    assert decide(target, STRIPPING) in ("block", "reject")
    assert decide(b"/api/public", STRIPPING) == "allow"


# -- paths that a server decoded already ---------------------------------------------------------------------


def test_a_path_that_the_server_decoded_reads_as_it_was_sent() -> None:
    assert read_path("/artist/AC/DC").canonical == "/artist/AC/DC"
    assert read_path("/fé x").canonical == "/fé x"
    assert set(read_path("/100%").all) == {"/100%25", "/100%"}
    assert "/p" in read_path("/%70").all


@pytest.mark.parametrize("path", ["/a\x00b", "/a\nb", "/a\x7f", "/\ud800", "/\udc80", "", "a"])
def test_a_decoded_path_that_is_no_text_is_refused_and_breaks_nothing(path: str) -> None:
    with pytest.raises(TargetError):
        read_path(path)


# -- promises for every target -------------------------------------------------------------------------------

SEGMENT = st.text("abcdefgz0123456789-_~", min_size=1, max_size=6)
DENIED = st.lists(SEGMENT, max_size=4).map(lambda segments: "/".join(["/private", *segments]))
PIECES = re.findall(
    r"\S+",
    r"/ // . .. %2e %2E %2f %5c \ ; ;a=b %3b %20 %3f %23 %25 %2525 a B private %70 api x.y é %C3%A9 %80 %00 ? * "
    "/private/ /public/ /../",
)
WILD = st.lists(st.sampled_from(PIECES), max_size=14).map(lambda parts: ("/" + "".join(parts)).encode("latin-1"))


def disguise(path: str, draw: st.DrawFn) -> str:
    """The same place, spelled another way."""
    segments = path.split("/")[1:]
    spelled = ""
    for segment in segments:
        text = "".join(
            draw(st.sampled_from([char, char.upper(), f"%{ord(char):02x}", f"%{ord(char):02X}", f"%25{ord(char):02x}"]))
            for char in segment
        )
        slash = draw(st.sampled_from(["/", "//", "/./", "/%2e/", "%2f", "\\", "%5c", "/x/../", "/x/%2e%2E/", "/.;a/"]))
        spelled += slash + text + draw(st.sampled_from(["", "", ";p", ";p=1", "%3b", ".", "%20"]))
    return spelled if spelled.startswith("/") else "/" + spelled


@st.composite
def disguised(draw: st.DrawFn) -> bytes:
    return disguise(draw(DENIED), draw).encode()


@given(disguised())
@example(b"/%2570rivate/100%25ff")
@example(b"/%2570rivate/%25ff")
def test_no_disguise_removes_a_denial(target: bytes) -> None:
    assume(len(target) <= MAX_PATH_BYTES)
    assert decide(target) in ("block", "reject")


@given(disguised())
def test_no_disguise_removes_a_denial_behind_a_stripped_prefix(target: bytes) -> None:
    assert decide(b"/api" + target, STRIPPING) in ("block", "reject")
    assert decide(target, STRIPPING) in ("block", "reject")


@given(st.lists(st.text("abcz019-_~", min_size=1), max_size=6))
def test_a_canonical_path_reads_as_itself(segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    assert read_target(path.encode()) == Readings(path, (path,))


@given(WILD)
def test_every_target_is_refused_or_read_in_a_bounded_number_of_ways(target: bytes) -> None:
    try:
        readings = read_target(target, strip_prefixes=("/api", "/x"))
    except TargetError:
        return
    assert 1 <= len(readings.all) <= MAX_READINGS
    for reading in readings.all:
        assert reading.startswith("/")
        assert "//" not in reading
        assert not {".", ".."} & set(reading.split("/"))


@given(st.binary(max_size=64))
def test_no_bytes_are_too_strange_for_an_answer(noise: bytes) -> None:
    for target in (noise, b"/" + noise):
        try:
            assert read_target(target).all
        except TargetError as error:
            assert error.reason


@given(st.text(max_size=40))
def test_no_decoded_path_is_too_strange_for_an_answer(path: str) -> None:
    try:
        assert read_path("/" + path).all
    except TargetError as error:
        assert error.reason


@given(WILD)
def test_a_path_counts_as_exempt_only_when_all_its_readings_do(target: bytes) -> None:
    if decide(target, EXEMPTING) == "allow":
        assert all(re.match(r"/public(/|$)", reading) for reading in read_target(target).all)


def as_nginx(target: bytes) -> bytes:
    return posixpath.normpath(b"/" + unquote_to_bytes(target).lstrip(b"/"))


def as_go(target: bytes) -> bytes:
    return posixpath.normpath(b"/" + unquote_to_bytes(target).lstrip(b"/"))


def as_tomcat(target: bytes) -> bytes:
    bare = b"/".join(segment.split(b";")[0] for segment in target.split(b"/"))
    return posixpath.normpath(b"/" + unquote_to_bytes(bare).lstrip(b"/"))


def as_windows(target: bytes) -> bytes:
    return posixpath.normpath(b"/" + unquote_to_bytes(target).replace(b"\\", b"/").lstrip(b"/"))


@pytest.mark.parametrize("server", [as_nginx, as_go, as_tomcat, as_windows])
@given(target=WILD)
def test_what_a_server_behind_us_would_open_is_among_the_readings(server: object, target: bytes) -> None:
    try:
        readings = read_target(target)
    except TargetError:
        return
    opened = server(target.partition(b"?")[0]).decode()  # type: ignore[operator]
    assert "".join(char.lower() if char.isascii() else char for char in opened) in readings.all


# -- the worst, counted --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        b"/public" + b"/.." * 600 + b"/private/x",
        b"/" + b"%2525252e" * 200,
        b"/" + b"%252e%252e;/" * 160,
        b"/" + b";" * 2000,
        b"/" + b"\\" * 2000,
        b"/" + b"a.;b%20\\%253f" * 150,
        b"/" + b"%25" * 680,
    ],
)
def test_the_worst_of_targets_has_few_readings(target: bytes) -> None:
    assert len(target) <= MAX_PATH_BYTES
    with suppress(TargetError):
        assert len(read_target(target, strip_prefixes=("/a", "/b", "/c")).all) <= MAX_READINGS


# -- the cases of others -------------------------------------------------------------------------------------


def path_cases() -> list[dict[str, object]]:
    if not CASES.exists():
        return []
    cases = json.loads(CASES.read_text())["cases"]
    return [case for case in cases if case["class"] in ("path-confusion", "path-false-positive")]


ACTIONS = {
    "deny": {"block"},
    "reject": {"reject"},
    "reject_or_deny": {"block", "reject"},
    "allow": {"allow"},
    "one_of": {"allow", "block", "reject"},
}


def test_the_bypass_cases_end_as_they_should() -> None:
    if not CASES.exists():
        pytest.skip(ABSENT)
    wrong = []
    for case in path_cases():
        line = re.sub(r"<<REP:(.*?):(\d+)>>", lambda m: m[1] * int(m[2]), str(case["raw_request"]), flags=re.S)
        target = line.split("\r\n")[0][4:].rsplit(" HTTP", 1)[0].encode("latin-1").split(b"?")[0]
        guard = STRIPPING if "strip_prefix" in case.get("config", {}) else PLAIN  # type: ignore[operator]
        verdict = case["expectation"]["verdict"]  # type: ignore[index]
        if verdict == "same_bucket":
            if "/stream/t1" not in read_target(target).all:
                wrong.append((case["id"], target))
        elif decide(target, guard) not in ACTIONS[verdict]:
            wrong.append((case["id"], verdict, decide(target, guard)))
    assert wrong == []

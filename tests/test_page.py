"""The page for people, its data and its feed: plain words, every change with its date, and no name breaks out."""

from __future__ import annotations

import json
import re
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page, sync_playwright

from guard.directives.declaration import Declaration
from guard.directives.page import CSP, MAX_SHOWN, STYLE, render_feed, render_json, render_page
from guard.directives.words import DAY_S, Coming, Terms, Version, hash_of, terms_of
from guard.ledger.versions import Versions
from guard.load import read_policy, shipped_catalogue
from guard.model import Mode
from guard.moments import read_moment
from guard.policy import Policy, RightsTerms

CATALOGUE = shipped_catalogue()
NOON_S = read_moment("2026-11-30T12:00Z")
ATOM = "{http://www.w3.org/2005/Atom}"
RESERVED = "preferences: {train-ai: disallow, ai-use: disallow, search: allow}\nagents: {'ai-*': block}\n"
HOSTILE = (
    "</title><script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>'",
    "]]></content></feed><!--",
    "&amp;&lt;&#x3c;script&#62;",
    "\x00\x1b\ud800\ufffe\u202egniht",
    "javascript:alert(1)",
    "mailto:x@y.example\"onclick='alert(1)'",
)


def a_policy(rest: str = RESERVED, name: str = "Example Radio", contact: str = "mailto:rights@radio.example") -> Policy:
    policy = read_policy(f"version: 1\nsite: {{name: x}}\ndefault: allow\n{rest}")
    return replace(policy, site=replace(policy.site, name=name, contact=contact))


def declared(policy: Policy, total: int = 0, named: int = 0) -> Declaration:
    return Declaration(policy, CATALOGUE, named=named, total=total)


def allowing(terms: Terms, purpose: str) -> Terms:
    return replace(
        terms,
        stated=tuple(
            (kind, tuple((one, "allow" if one == purpose else word) for one, word in said))
            for kind, said in terms.stated
        ),
    )


POLICY = a_policy()
TERMS = terms_of(POLICY, CATALOGUE, NOON_S)


def a_record() -> tuple[Version, ...]:
    """Three versions, the last of them announced for the new year."""
    record = Versions.open(None)
    record.note(POLICY, allowing(TERMS, "ai-use"), NOON_S - 90 * DAY_S)
    record.note(POLICY, TERMS, NOON_S - 30 * DAY_S)
    record.announce(POLICY, [Coming(read_moment("2027-01-01"), allowing(TERMS, "train-ai"))], NOON_S - DAY_S)
    return record.all()


RECORD = a_record()
VOID = {"meta", "link", "br"}


class Outline(HTMLParser):
    """What a page is made of; a tag that is not closed where it should be is a fault."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.texts.setdefault(tag, []).append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(tag, tuple(attributes)) for tag, attributes in self.tags]


# -- the page ------------------------------------------------------------------------------------------------


def test_the_page_says_first_what_an_artist_wants_to_know() -> None:
    page = Outline(render_page(declared(POLICY), RECORD, NOON_S))
    assert page.texts["title"] == ["AI policy · Example Radio"]
    assert page.texts["h1"] == ["AI policy"]
    assert page.texts["p"][1] == "Training AI on anything here is not allowed."
    assert page.tags[0] == ("html", {"lang": "en"})
    (description,) = [tag["content"] for name, tag in page.tags if tag.get("name") == "description"]
    assert "Training AI on anything here is not allowed." in (description or "")
    links = {tag.get("href") for name, tag in page.tags if name in ("a", "link")}
    assert links >= {
        *("/robots.txt", "/license.xml", "/.well-known/tdmrep.json", "/ai-policy.json", "/ai-policy/feed.xml"),
        *("mailto:rights@radio.example", "#v3", "#v2", "#v1"),
    }


def test_what_is_coming_stands_before_what_holds_with_its_day_and_its_notice() -> None:
    text = render_page(declared(POLICY), RECORD, NOON_S)
    assert text.index("This will change") < text.index("What may be done") < text.index("Every change")
    coming = text[text.index("This will change") : text.index("What may be done")]
    assert '<time datetime="2027-01-01T00:00:00Z">1 January 2027</time>' in coming
    assert "Training AI: allowed (before: not allowed)" in coming
    assert "32 days’ notice" in coming
    assert "This will change" not in render_page(declared(POLICY), RECORD, read_moment("2027-01-01"))


def test_every_version_has_a_place_a_hash_and_its_dates() -> None:
    text = render_page(declared(POLICY), RECORD, NOON_S)
    page = Outline(text)
    assert [tag["id"] for name, tag in page.tags if name == "li" and "id" in tag] == ["v3", "v2", "v1"]
    for version in RECORD:
        assert version.terms_hash in text
    assert [said.split()[0] for said in page.texts["h3"][1:]] == ["v3", "v2", "v1"]
    assert [said for said in page.texts["span"] if said in ("announced", "in force", "ended")] == [
        "announced",
        "in force",
        "ended",
    ]
    assert (
        'In force from <time datetime="2026-10-31T12:00:00Z">31 October 2026, 12:00</time> until '
        '<time datetime="2027-01-01T00:00:00Z">1 January 2027</time>, without notice.' in text
    )
    assert 'Version <a href="#v2">v2</a>, in force since' in text


def test_the_page_never_hides_that_the_record_is_behind() -> None:
    other = a_policy("preferences: {train-ai: allow}\n")
    text = render_page(declared(other), RECORD, NOON_S)
    assert "Training AI on what is here is allowed." in text
    assert "not in the record below yet" in text
    assert "No record of earlier terms is kept here." in render_page(declared(POLICY), (), NOON_S)


def test_kinds_have_a_table_only_where_they_differ() -> None:
    assert "<table>" not in render_page(declared(POLICY), RECORD, NOON_S)
    other = a_policy("preferences: {search: allow, lyrics: {search: disallow}}\n")
    page = Outline(render_page(declared(other), (), NOON_S))
    assert page.texts["th"] == ["What", "Training AI", "Feeding AI", "Search", "Lyrics", "Everything else"]
    assert page.texts["td"] == [
        "Nothing said",
        "Nothing said",
        "Not allowed",
        "Nothing said",
        "Nothing said",
        "Allowed",
    ]


def test_works_with_rights_of_their_own_are_counted() -> None:
    policy = replace(POLICY, rights=RightsTerms("register.db"))
    text = render_page(declared(policy, total=18342, named=2000), (), NOON_S)
    assert "Works with rights of their own: 18,342; 2,000 of them are named in" in text
    assert "Works with rights of their own" not in render_page(declared(POLICY), (), NOON_S)


def test_what_is_on_trial_is_told_on_the_page() -> None:
    text = render_page(declared(replace(POLICY, mode=Mode.OBSERVE)), (), NOON_S)
    assert "<strong>On trial.</strong>" in text


def test_the_same_input_makes_the_same_bytes_at_any_moment_between_two_changes() -> None:
    for render in (render_page, render_json, render_feed):
        assert render(declared(POLICY), RECORD, NOON_S) == render(declared(POLICY), RECORD, NOON_S + 12_345.6)


def test_a_long_record_is_cut_on_the_page_and_whole_in_the_data() -> None:
    many = tuple(
        RECORD[-1]._replace(id=f"v{number}", start_s=float(number), end_s=inf if number == 250 else number + 1.0)
        for number in range(250, 0, -1)
    )
    page = render_page(declared(POLICY), many, NOON_S)
    assert page.count('<li id="v') == MAX_SHOWN
    assert "150 older versions" in page
    assert len(json.loads(render_json(declared(POLICY), many, NOON_S))["versions"]) == 250
    assert len(ElementTree.fromstring(render_feed(declared(POLICY), many, NOON_S)).findall(f"{ATOM}entry")) == MAX_SHOWN


# -- data and feed -------------------------------------------------------------------------------------------


def test_the_data_are_the_page_for_programs() -> None:
    said = json.loads(render_json(declared(POLICY), RECORD, NOON_S))
    assert said["version"] == "v2"
    assert said["terms_hash"] == hash_of(TERMS)
    assert said["terms"]["preferences"]["general"]["train-ai"] == "disallow"
    assert [(one["id"], one["state"]) for one in said["versions"]] == [
        ("v3", "announced"),
        ("v2", "in force"),
        ("v1", "ended"),
    ]
    coming = said["versions"][0]
    assert (coming["start"], coming["end"], coming["loosened"]) == ("2027-01-01T00:00:00Z", None, True)
    assert coming["notice_days"] == 32
    assert coming["changes"] == [
        {"direction": "looser", "text": "Training AI: allowed (before: not allowed)", "opens": True}
    ]


RFC3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z")


def check_atom(text: str) -> ElementTree.Element:
    """What RFC 4287 demands: 4.1.1 and 4.1.2 (elements), 3.3 (dates), 4.2.6 (ids)."""
    feed = ElementTree.fromstring(text.encode())
    assert feed.tag == f"{ATOM}feed"
    ids = []
    for element in (feed, *feed.findall(f"{ATOM}entry")):
        for required in ("id", "title", "updated"):
            (found,) = element.findall(f"{ATOM}{required}")
            assert found.text
        ids.append(element.findtext(f"{ATOM}id"))
        assert RFC3339.fullmatch(element.findtext(f"{ATOM}updated") or "")
        assert re.match("(urn:uuid:|https?://)", ids[-1] or "")
    assert len(set(ids)) == len(ids)
    (author,) = feed.findall(f"{ATOM}author")
    assert author.findtext(f"{ATOM}name") is not None
    assert [link.get("rel") for link in feed.findall(f"{ATOM}link")] == ["self", "alternate"]
    for entry in feed.findall(f"{ATOM}entry"):
        (content,) = entry.findall(f"{ATOM}content")
        assert content.get("type") == "html"
        Outline(content.text or "")
        assert entry.find(f"{ATOM}link[@rel='alternate']") is not None
    return feed


def test_the_feed_is_atom_and_announces_the_newest_first() -> None:
    feed = check_atom(render_feed(declared(POLICY), RECORD, NOON_S))
    titles = [entry.findtext(f"{ATOM}title") or "" for entry in feed.findall(f"{ATOM}entry")]
    assert [title.split(",")[0] for title in titles] == ["v3", "v2", "v1"]
    assert "1 January 2027" in titles[0]
    assert "Something reserved is opened" in titles[0]
    assert feed.findtext(f"{ATOM}updated") == "2026-11-29T12:00:00Z"
    check_atom(render_feed(declared(POLICY), (), NOON_S))


def test_ids_in_the_feed_stay_when_versions_follow() -> None:
    def ids(versions: tuple[Version, ...], policy: Policy = POLICY) -> list[str]:
        feed = check_atom(render_feed(declared(policy), versions, NOON_S))
        return [element.findtext(f"{ATOM}id") or "" for element in (feed, *feed.findall(f"{ATOM}entry"))]

    whole, older = ids(RECORD), ids(RECORD[1:])
    assert [whole[0], *whole[2:]] == older
    named = replace(POLICY, site=replace(POLICY.site, url="https://radio.example"))
    assert ids(RECORD, named)[:2] == ["https://radio.example/ai-policy", "https://radio.example/ai-policy#v3"]


# -- hostile names -------------------------------------------------------------------------------------------


def hostile(text: str) -> tuple[Declaration, tuple[Version, ...]]:
    """A declaration and a record with `text` wherever text can stand."""
    policy = replace(a_policy(name=text, contact=text), rights=RightsTerms("r"))
    terms = replace(TERMS, contact=text, licence=text)
    version = RECORD[0]._replace(
        policy_version=text, terms_hash=text, changes=(text, f"looser: {text}"), loosened=(text,), terms=terms
    )
    return declared(policy), (version, version._replace(id="v9", withdrawn_s=NOON_S, start_s=NOON_S + 9, end_s=inf))


NOBODY = "nobody"
PLAIN_SHAPE = Outline(render_page(*hostile(NOBODY), NOON_S)).shape()


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_stay_text(text: str) -> None:
    check_hostile(text)


@settings(max_examples=60)
@given(st.text(alphabet=st.sampled_from("<>&\"'/=- \n\x00\x0b\ud800\ufffeaé\u202e]!;#x"), max_size=40).filter(bool))
def test_no_name_breaks_out_of_html_xml_or_json(text: str) -> None:
    check_hostile(text)


def check_hostile(text: str) -> None:
    declaration, versions = hostile(text)
    page = render_page(declaration, versions, NOON_S)
    shape = [entry for entry in Outline(page).shape() if entry != ("a", ("href", "rel"))]
    assert shape == PLAIN_SHAPE
    assert "<script" not in page
    for name, tag in Outline(page).tags:
        assert name != "a" or re.match(r"(/|#|https?://|mailto:)", tag["href"] or "", re.IGNORECASE)
    page.encode()
    check_atom(render_feed(declaration, versions, NOON_S))
    assert json.loads(render_json(declaration, versions, NOON_S))["site"] == text
    render_json(declaration, versions, NOON_S).encode()


@pytest.mark.parametrize(
    ("contact", "href"),
    [
        ("mailto:rights@radio.example", "mailto:rights@radio.example"),
        ("rights@radio.example", "mailto:rights@radio.example"),
        ("https://radio.example/a?b=1&c", "https://radio.example/a?b=1&amp;c"),
        ("javascript:alert(1)", ""),
        ("data:text/html,x", ""),
        ("Ask at the desk", ""),
    ],
)
def test_a_contact_is_a_link_only_where_it_is_safe(contact: str, href: str) -> None:
    page = render_page(declared(a_policy(contact=contact)), (), NOON_S)
    assert (f'<a href="{href}" ' in page or f'<a href="{href}">' in page) == bool(href)
    assert "Ask us" in page


# -- in a browser --------------------------------------------------------------------------------------------


@contextmanager
def served(page: str) -> Iterator[tuple[str, list[str]]]:
    """The page under its own Content-Security-Policy; the paths that were asked for."""
    asked: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if self.path == "/ai-policy" else 404)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-security-policy", CSP)
            self.end_headers()
            self.wfile.write(page.encode() if self.path == "/ai-policy" else b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/ai-policy", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"],
        )
        yield chromium
        chromium.close()


def watched(page: Page) -> list[str]:
    """Everything that a page complains of, or asks for beyond itself."""
    seen: list[str] = []
    page.on("console", lambda message: seen.append(message.text))
    page.on("pageerror", lambda error: seen.append(str(error)))
    page.on("request", lambda request: seen.append(request.url) if not request.url.endswith("/ai-policy") else None)
    return seen


@pytest.mark.parametrize("script", [True, False], ids=["with scripts", "without scripts"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_chromium_shows_the_page_as_it_is_meant(browser: Browser, script: bool, width: int, scheme: str) -> None:
    policy = a_policy("preferences: {train-ai: disallow, search: allow, lyrics: {search: disallow}}\n")
    with served(render_page(declared(policy), RECORD, NOON_S)) as (url, asked):
        page = browser.new_page(
            java_script_enabled=script,
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        seen = watched(page)
        page.goto(url)
        assert page.title() == "AI policy · Example Radio"
        assert [one.inner_text() for one in page.get_by_role("heading", level=1).all()] == ["AI policy"]
        headings = [one.inner_text() for one in page.get_by_role("heading", level=2).all()]
        assert headings[:2] == ["This will change", "What may be done"]
        assert page.get_by_role("table").count() == 1
        box = page.locator("body").bounding_box()
        assert box is not None
        assert box["width"] == width
        page.get_by_role("link", name="v3 in the record").click()
        assert page.url.endswith("#v3")
        if script:
            assert page.evaluate("document.documentElement.scrollWidth") == width  # nothing sticks out
            paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert paper == ("rgb(22, 21, 19)" if scheme == "dark" else "rgb(251, 250, 246)")
        page.close()
    assert [line for line in seen if "favicon" not in line] == []
    assert {path for path in asked if path != "/favicon.ico"} == {"/ai-policy"}


def test_chromium_runs_nothing_that_a_name_brings_along(browser: Browser) -> None:
    for text in HOSTILE[:2]:
        with served(render_page(*hostile(text), NOON_S)) as (url, _):
            page = browser.new_page()
            seen = watched(page)
            page.goto(url)
            assert page.locator("script, img").count() == 0
            assert page.locator(".label").first.inner_text() == text
            page.close()
        assert [line for line in seen if "favicon" not in line] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_the_paper(scheme: str) -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 to 1."""
    block = STYLE.split("@media(prefers-color-scheme:dark)")[0 if scheme == "light" else 1]
    colours = dict(re.findall(r"--([a-z]+):(#[0-9a-f]{6})", block[: block.index("}")]))

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    for ink in ("ink", "soft", "no", "yes", "mark"):
        for paper in ("paper", "tint"):
            low, high = sorted((luminance(colours[ink]), luminance(colours[paper])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper)

"""What applications put into their own pages, feeds and playlists is well formed, whatever they put in."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.directives import content_usage, markup, rsl, tdmrep, x_robots
from guard.rights import EVERY_KIND, Choice, Work, resolve

from .test_tdmrep import CHOICE, NO_AI, STATED, policy_of

LICENCE = "https://music.example/license.xml?work=track%3A1&x=2"
URLS = st.one_of(st.just(LICENCE), st.text(max_size=20), st.text(max_size=20).map("https://x.example/{}".format))
FEED = "https://music.example/podcast/7.xml"


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rest = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.rest += data


# -- HTML ----------------------------------------------------------------------------------------------------


def test_a_page_states_what_its_answer_states() -> None:
    tags = Tags(markup.meta_tags(NO_AI, licence=LICENCE, tdm_policy="https://music.example/p?a=1&b=2")).tags
    assert tags == [
        ("meta", {"name": "robots", "content": "noai, noimageai"}),
        ("meta", {"name": "tdm-reservation", "content": "1"}),
        ("meta", {"name": "tdm-policy", "content": "https://music.example/p?a=1&b=2"}),
        ("link", {"rel": "license", "type": "application/rsl+xml", "href": LICENCE}),
    ]


def test_what_stands_in_an_attribute_is_escaped() -> None:
    assert 'href="https://x.example/?a=1&amp;lt=&#x27;"' in markup.meta_tags({}, licence="https://x.example/?a=1&lt='")


def test_a_page_of_which_nothing_is_stated_has_no_tags() -> None:
    assert markup.meta_tags({}) == ""
    assert "tdm-policy" not in markup.meta_tags({"train-ai": "allow"}, tdm_policy=LICENCE)


@given(STATED, URLS, URLS)
def test_no_value_opens_or_closes_a_tag(preferences: dict[str, str], licence: str, policy: str) -> None:
    try:
        text = markup.meta_tags(preferences, licence=licence, tdm_policy=policy)
    except ValueError:
        return
    page = Tags(text)
    assert page.rest.strip() == ""
    said = {tag[1].get("name") or tag[1].get("rel"): tag[1].get("content") or tag[1].get("href") for tag in page.tags}
    expected = {
        "robots": x_robots.state(preferences),
        "tdm-reservation": tdmrep.state(preferences),
        "tdm-policy": policy if tdmrep.state(preferences) == "1" else "",
        "license": licence,
    }
    assert said == {name: value for name, value in expected.items() if value}


@pytest.mark.parametrize(
    "url",
    [
        "/license.xml",
        "javascript:alert(1)",
        "https://",
        "https://x.example/\n",
        'https://x.example/"',
        "//x.example/",
        "https://x.example:port/",
        "https://[x/",
    ],
)
def test_what_is_no_absolute_url_is_refused(url: str) -> None:
    for make in (
        lambda: markup.meta_tags(NO_AI, licence=url),
        lambda: markup.meta_tags(NO_AI, tdm_policy=url),
        lambda: markup.hls_tags(NO_AI, url, multivariant=True),
        lambda: markup.rss_item(resolve((), Choice({})), url, FEED),
    ):
        with pytest.raises(ValueError, match="no absolute URL"):
            make()


# -- RSS -----------------------------------------------------------------------------------------------------


def in_a_feed(item: str) -> ElementTree.Element:
    feed = f'<rss version="2.0" {markup.rss_namespace()}><channel><item><title>x</title>{item}</item></channel></rss>'
    return ElementTree.fromstring(feed)


@given(CHOICE, STATED, st.sampled_from(EVERY_KIND), st.text(st.characters(exclude_categories=("Cs",)), max_size=20))
def test_an_item_says_of_its_file_what_the_holders_say(
    choice: Choice, general: dict[str, str], kind: str, contact: str
) -> None:
    rights = resolve(((Work("episode", "1"), choice),), policy_of(general).platform_choice)
    url = "https://music.example/podcast/7/1.mp3?a=1&b=2"
    item = markup.rss_item(rights, url, FEED, kind=kind, contact=contact)
    feed = in_a_feed(item)
    contents = list(feed.iter(f"{{{rsl.NAMESPACE}}}content"))
    assert [content.get("url") for content in contents] == [url]
    alone = f'<rsl xmlns="{rsl.NAMESPACE}" {markup.rss_namespace()}>{item}</rsl>'
    assert rsl.validate(alone) == []
    read = rsl.read(alone)
    word: Any = {"allow": "permitted", "disallow": "prohibited", None: "unlicensed"}
    for usage, ours in rsl.OURS.items():
        address = "/podcast/7/1.mp3?a=1&b=2"
        assert rsl.evaluate(read, address, usage) == word[rights.stated(kind).get(ours)], alone


@pytest.mark.parametrize(
    "url", ["https://cdn.example/1.mp3", "http://music.example/1.mp3", "https://music.example:8443/1.mp3"]
)
def test_a_feed_says_nothing_of_what_others_serve(url: str) -> None:
    with pytest.raises(ValueError, match="another origin"):
        markup.rss_item(resolve((), Choice({"": NO_AI})), url, FEED)
    assert markup.rss_item(resolve((), Choice({"": NO_AI})), "https://MUSIC.example:443/1.mp3", FEED)


# -- HLS -----------------------------------------------------------------------------------------------------

SESSION_DATA = re.compile(r'#EXT-X-SESSION-DATA:DATA-ID="([a-z.-]+(?:\.[a-z-]+)+)",VALUE="([^"\r\n]*)"')


def test_a_multivariant_playlist_carries_session_data() -> None:
    lines = markup.hls_tags(NO_AI, LICENCE, multivariant=True).splitlines()
    said = dict(match.groups() for line in lines if (match := SESSION_DATA.fullmatch(line)))
    assert said == {
        "io.github.noai-guard.content-usage": "train-ai=n, ai-use=n, search=y",
        "io.github.noai-guard.tdm-reservation": "1",
        "io.github.noai-guard.license": LICENCE,
    }


def test_a_media_playlist_carries_comments() -> None:
    assert markup.hls_tags(NO_AI, LICENCE, multivariant=False).splitlines() == [
        "# Content-Usage: train-ai=n, ai-use=n, search=y",
        "# Tdm-Reservation: 1",
        f"# License: {LICENCE}",
    ]
    assert markup.hls_tags({}, multivariant=False) == markup.hls_tags({}, multivariant=True) == ""


@given(STATED, URLS, st.booleans())
def test_every_line_is_one_that_a_player_may_pass_over(
    preferences: dict[str, str], licence: str, multivariant: bool
) -> None:
    try:
        text = markup.hls_tags(preferences, licence, multivariant=multivariant)
    except ValueError:
        return
    lines = text.splitlines()
    assert text == "".join(f"{line}\n" for line in lines)
    if multivariant:
        names = [match[1] for line in lines if (match := SESSION_DATA.fullmatch(line))]
        assert len(names) == len(lines) == len(set(names))
    else:
        assert all(re.fullmatch(r"# [A-Z][A-Za-z-]+: [^\r\n]+", line) for line in lines)
    assert (content_usage.state(preferences) in text) and (licence in text)

"""Who says of itself that it is a robot is taken at its word; who plays music is never called one."""

from __future__ import annotations

import sys
from types import FrameType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guard.classify import cut_addresses, read_text
from guard.declared import DECLARED, kind_of_declared
from guard.load import shipped_catalogue
from guard.model import CATEGORIES, CONFIDENCES, PURPOSES, Agent

AGENTS = shipped_catalogue()
WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/157.0.0.0 Mobile Safari/537.36"


def who(user_agent: str) -> Agent:
    return AGENTS.find(user_agent.encode("utf-8", "surrogatepass"))


def is_called(user_agent: str) -> str:
    return who(user_agent).category


def test_what_is_declared_has_words_that_policies_know() -> None:
    for category, agent in DECLARED.items():
        assert category == agent.category == agent.name
        assert category in CATEGORIES
        assert set(agent.purposes) <= set(PURPOSES)
        assert agent.confidence == CONFIDENCES[-1]
        assert (agent.operator, agent.match) == ("", "none")


# -- who declares --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "user_agent",
    [
        "zorbbot/1.0; +https://zorb.example/bot",
        "zorbbot/1.0 (+https://zorb.example/)",
        "Mozilla/5.0 (compatible; zorbbot/1.0; +https://zorb.example/bot)",
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; zorbbot/1.0; +https://zorb.example) Chrome/1.0",
        "Mozilla/5.0 (compatible; zorbbot/1.0)",
        "Mozilla/5.0 (zorbbot/1.0; +https://zorb.example/)",
        "zorbbot",
        "zorb-crawler/2",
        "the zorb spider",
        "zorbspider2",
        "ZorbScraper/0.1",
        "zorbfetcher/7",
        "Zorb Robot 3",
    ],
)
def test_a_word_of_its_own_that_ends_like_a_robot_declares(user_agent: str) -> None:
    assert is_called(user_agent) == "declared-unknown"


@pytest.mark.parametrize(
    "user_agent",
    [
        "Zorb/1.0 (+https://zorb.example/about)",
        "Zorb/1.0 +https://zorb.example/",
        "Zorb/1.0 (https://zorb.example)",
        "Zorb/1.0 (abuse@zorb.example)",
        "Zorb/1.0 (mailto:abuse@zorb.example)",
        "Zorb/1.0 (+www.zorb.example)",
        "Mozilla/5.0 (compatible; Zorb/1.0; +https://zorb.example)",
    ],
)
def test_somebody_to_complain_to_declares(user_agent: str) -> None:
    assert is_called(user_agent) == "declared-unknown"


@pytest.mark.parametrize(
    "user_agent",
    ["Robotics/1.0", "Botany/2.0", "Zorbots9a/1.0", "Crawlerish/1", "Spiderman/3", "fetchmusic", "bots.example"],
)
def test_only_whole_words_and_their_ends_count(user_agent: str) -> None:
    text = read_text(user_agent.encode())
    assert kind_of_declared(text, cut_addresses(text)) in ("", "declared-unknown")
    if "." not in user_agent:
        assert is_called(user_agent) == "unknown"


def test_an_address_alone_makes_no_robot_of_a_browser() -> None:
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:160.0) Gecko/20100101 Firefox/160.0"
    assert is_called(f"{firefox} https://bot.example") in ("browser", "unknown")


# -- who listens ---------------------------------------------------------------------------------------------

PHONES = [
    f"Mozilla/5.0 (Linux; Android 13; CUBOT NOTE 20) {WEBKIT}",
    f"Mozilla/5.0 (Linux; Android 9; CUBOT_X18_Plus Build/O11019; wv) {WEBKIT}",
    f"Mozilla/5.0 (Linux; Android 13; M bot 60) {WEBKIT}",
    f"Mozilla/5.0 (Linux; Android 13; M bot 60 (2021)) {WEBKIT}",
    f"Mozilla/5.0 (Linux; Android 13; KINGKONG MINI(2) bot) {WEBKIT}",
    f"Mozilla/5.0 (Linux; Android 13; M bot 60( Build/R) {WEBKIT}",
    f"Mozilla/5.0 (Linux; Android 4.4.2; Spider 8 Build/KOT49H) {WEBKIT}",
    "Dalvik/2.1.0 (Linux; U; Android 9; CUBOT POWER Build/O11019)",
    "Dalvik/2.1.0 (Linux; U; Android 13; M bot 60 Build/T)",
    "Tunetap/4.1 (Linux; Android 13; M bot 60)",
    "Tunetap/4.1 (Android 13; CUBOT P80; en_GB) okhttp",
]


@pytest.mark.parametrize("user_agent", PHONES)
def test_a_telephone_is_no_robot_whatever_it_is_called(user_agent: str) -> None:
    assert is_called(user_agent) in ("browser", "device", "player", "library", "unknown")


@pytest.mark.parametrize(
    "user_agent",
    [
        "Podcast Crawler Lite/2.1.4 CFNetwork/1410.0.3 Darwin/22.6.0",
        "Podcast%20Crawler%20Lite/14 CFNetwork/1410.0.3 Darwin/22.6.0",
        "SongFetcher/3 CFNetwork/1410.0.3 Darwin/22.6.0",
        "Podzorb/1.0 (+https://podzorb.example)",
        "Zorbcast/2.3 +https://zorbcast.example/",
        "Zorb FM/1.1 (+https://zorb.example/)",
        "RadioZorb/5 (+https://zorb.example/; iOS 18.1)",
        "Zorb/1.0 (iPhone; iOS 18.1; +https://zorb.example/)",
        "Zorb Music Player/1.0 (+https://zorb.example)",
        "Spider Podcasts/1.0",
    ],
)
def test_an_app_that_plays_may_give_its_home_page(user_agent: str) -> None:
    assert is_called(user_agent) in ("player", "device", "unknown")


@pytest.mark.parametrize(
    "user_agent",
    [
        "ZorbNews/3.1 (Macintosh; Intel Mac OS X 15_0; https://zorbnews.example)",
        "ZorbNews/0.19 (Windows NT 10.0; https://zorbnews.example)",
        "ZorbNews/2.0 (Linux x86_64; https://zorbnews.example)",
        "RSSOwl/2.2.1 (Windows; U; en) https://www.rssowl.example",
    ],
)
def test_a_reader_on_a_desk_may_give_its_home_page(user_agent: str) -> None:
    assert is_called(user_agent) in ("player", "feed", "unknown")


MODEL = st.lists(
    st.one_of(
        st.sampled_from(
            ["bot", "M bot 60", "CUBOT", "Spider", "Crawler", "robot", "KINGKONG", "fetch", "(2)", "bot(5)", "Build/O"]
        ),
        st.text("abotBOT012_-", min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=4,
).map(" ".join)


@given(MODEL, st.integers(4, 17), st.sampled_from(["", "; wv", " Build/TP1A.220624"]))
@example("Robot/9", 13, "")
@example("bot/2", 13, "; wv")
def test_no_model_of_a_telephone_makes_a_robot_of_a_browser(model: str, version: int, end: str) -> None:
    for head, tail in (("Mozilla/5.0 (Linux; ", f" {WEBKIT}"), ("Dalvik/2.1.0 (Linux; U; ", "")):
        category = is_called(f"{head}Android {version}; {model}{end}){tail}")
        assert category != "declared-unknown"
        assert not category.startswith("ai-")


@pytest.mark.parametrize("user_agent", ["NVDA TTS/2024", "Voice Dream TTS/4.1", "AI DJ/1.0 (Windows NT 10.0)"])
def test_what_reads_aloud_for_somebody_is_no_robot(user_agent: str) -> None:
    assert who(user_agent).category == "unknown"


def test_no_text_takes_longer_for_the_number_of_its_words_than_for_its_length() -> None:
    """Counted in calls, not in time: a word again costs nothing, four times as many words about four times as much."""

    def steps(text: str) -> int:
        counted = 0

        def count(frame: FrameType, event: str, arg: object) -> None:
            nonlocal counted
            counted += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            kind_of_declared(text, text)
        finally:
            sys.setprofile(None)
        return counted

    for piece in (".ai", " gpt", " bot zzplayer", " a{}bot zzplayer", " word{}"):
        small, large = (steps("".join(piece.format(number) for number in range(count))) for count in (500, 2000))
        assert large < (6 * small if "{}" in piece else small + 50), piece


# -- what it collects for ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user_agent", "category"),
    [
        ("Zorb transcriber bot/1.0 (+https://zorb.example)", "ai-audio"),
        ("zorb-transcription-fetcher/0.3", "ai-audio"),
        ("zorb-whisper/0.1", "ai-audio"),
        ("TranscriberBot/1.0", "ai-audio"),
        ("zorb-speech-bot/1.0", "ai-audio"),
        ("LLMCrawler/1.0 (+https://zorb.example)", "ai-other"),
        ("zorb-training-bot/1.0", "ai-dataset"),
        ("Mozilla/5.0 (compatible; zorb-asr-bot/1.0)", "ai-audio"),
        ("zorb-dataset-builder/1.0", "ai-dataset"),
        ("ZorbBot/1.0 (dataset; +https://zorb.example)", "ai-dataset"),
        ("zorb-llm-scraper/1.0", "ai-other"),
        ("zorb rag indexer (+https://zorb.example)", "ai-other"),
    ],
)
def test_a_declared_robot_or_a_bare_tool_is_believed_what_it_collects_for(user_agent: str, category: str) -> None:
    found = who(user_agent)
    assert (found.category, found.confidence) == (category, "low")
    assert found is DECLARED[category]


@pytest.mark.parametrize(
    "user_agent",
    [
        "NotGPTBot/1.0",
        "GPTBotish/1.0",
        "MyGPT2Bot/1.0",
        "Whisperer/1.0",
        "Datasets4you/1.0",
        "zorb.ai/1.0",
        "llmnop/1.0",
        "Mozilla/5.0 (compatible; chatgptbotter/1.0)",
    ],
)
def test_a_word_within_a_word_or_the_end_of_a_host_says_nothing_of_ai(user_agent: str) -> None:
    assert is_called(user_agent) in ("unknown", "declared-unknown")


@pytest.mark.parametrize(
    "user_agent",
    [
        "Rag Tag Radio/1.0",
        "AI Radio/2.0",
        "GPT Podcast Player/1.0",
        "tts-player/1.0",
        "Zorb TTS Reader/4",
        "Notes on AI/1.0 (iPhone; iOS 18.1)",
        "Whisper/1 CFNetwork/1410.0.3 Darwin/22.6.0",
        f"Mozilla/5.0 (Linux; Android 13; llm) {WEBKIT}",
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} whisper/1.0",
        "AntennaPod/3.4.0 dataset",
    ],
)
def test_who_listens_may_be_called_after_ai(user_agent: str) -> None:
    assert not is_called(user_agent).startswith("ai-")
    assert is_called(user_agent) != "declared-unknown"


# -- beside a known name -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "player", ["AntennaPod/3.4.0", "VLC/3.0.20 LibVLC/3.0.20", "python-requests/2.32.3", "Lavf/61.1.100"]
)
def test_the_name_of_a_player_does_not_hide_a_robot_that_gives_its_address(player: str) -> None:
    assert is_called(player) in ("player", "library", "device", "ripper")
    assert is_called(f"{player} SomeBot/1.0 (+https://some.example)") == "declared-unknown"


@pytest.mark.parametrize("player", ["AntennaPod/3.4.0", "VLC/3.0.20 LibVLC/3.0.20", "python-requests/2.32.3"])
def test_a_known_player_stays_one_with_its_own_address_or_a_robots_word_alone(player: str) -> None:
    plain = who(player)
    assert who(f"{player} (+https://home.example)") is plain
    assert who(f"{player} SomeBot/1.0") is plain


# -- whatever comes ------------------------------------------------------------------------------------------


@given(st.text(max_size=200), st.sampled_from(["", "vlc", "+", "a b"]))
def test_no_text_is_too_strange_for_an_answer(text: str, known: str) -> None:
    lower = text.lower()
    assert kind_of_declared(lower, cut_addresses(lower), known) in ("", *DECLARED)


@given(st.text("()/;+. abotx@:", max_size=120))
def test_no_order_of_signs_is_too_strange_for_an_answer(text: str) -> None:
    assert is_called(f"Mozilla/5.0 ({text}") in CATEGORIES
    assert is_called(f"x/1 android {text}") in CATEGORIES

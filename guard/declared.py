"""Robots that say they are robots and stand in no catalogue.

A robot that means well names itself: a word that ends in `bot`, `crawler` or `spider`, a URL or an address of a person
to complain to. Listeners' apps do that, too (podcast apps give their home page), and there are phones called CUBOT and
a tablet called Spider 8: what a device says of itself in its own comment does not count, nor does the address of
something that says it plays or runs on a phone. Missing a robot here costs little; calling a listener one costs much.

Some say besides what they collect for. A declared robot, or a bare tool, that calls itself a transcriber or a dataset
builder is taken at its word.
"""

from __future__ import annotations

import re

from guard.model import Agent

DECLARED: dict[str, Agent] = {
    category: Agent(category, "", "", "", category, purposes, match="none", confidence="low")
    for category, purposes in (
        ("declared-unknown", ()),
        ("ai-audio", ("ai-use", "train-ai")),
        ("ai-dataset", ("train-ai",)),
        ("ai-other", ("ai-use",)),
    )
}
"""Who declares without an entry, by what it says it is for."""

_ENDINGS = ("bot", "bots", "crawler", "spider", "scraper", "fetcher")
_ROBOTS = frozenset(
    [
        "bot",
        "robot",
        "robots",
        "crawl",
        "crawler",
        "crawlers",
        "crawling",
        "spider",
        "spiders",
        "scrap",
        "scrape",
        "scraper",
        "scrapers",
        "scraping",
        "fetch",
        "fetcher",
        "fetching",
        "harvester",
        "indexer",
        "archiver",
        "slurp",
    ]
)
_DEVICES = frozenset(("cubot",))
_PHONES = frozenset(
    [
        "cfnetwork",
        "darwin",
        "dalvik",
        "iphone",
        "ipad",
        "ipod",
        "ios",
        "ipados",
        "tvos",
        "watchos",
        "android",
        "watch",
        "mobile",
        "tv",
        "kodi",
        "xbmc",
    ]
)
_DESKS = frozenset(["windows", "winnt", "linux", "mac", "macos", "macintosh", "x11", "clr"])
_PLAYS = frozenset(
    [
        "app",
        "podcast",
        "podcasts",
        "podcatcher",
        "audio",
        "fm",
        "tunes",
        "cast",
        "casts",
        "song",
        "songs",
        "subscribers",
    ]
)
_PLAY_STARTS = ("pod", "listen", "radio", "audio", "music", "stream")
_PLAY_STEMS = ("podcast", "listen", "audio", "radio", "music")
_PLAY_ENDS = ("fm", "cast", "casts", "pod", "pods", "player", "radio", "tunes", "music", "reader", "browser")
_HEARD = ("player", "reader", "radio", "browser")

_COLLECTS = {
    **dict.fromkeys(
        [
            "whisper",
            "whisperx",
            "transcribe",
            "transcriber",
            "transcribers",
            "transcription",
            "transcriptions",
            "transcript",
            "transcripts",
            "diarization",
            "diarisation",
            "diarize",
            "asr",
            "stt",
            "speech2text",
            "speechtotext",
        ],
        "ai-audio",
    ),
    **dict.fromkeys(["dataset", "datasets", "webdataset"], "ai-dataset"),
    **dict.fromkeys(["gpt", "llm", "llms", "genai"], "ai-other"),
}

_COLLECTS_AS_ROBOT = {
    **dict.fromkeys(["speech", "tts", "voice", "voices", "subtitles", "captions"], "ai-audio"),
    **dict.fromkeys(["training", "pretraining", "finetuning", "trainingdata", "corpus"], "ai-dataset"),
    **dict.fromkeys(
        ["ai", "rag", "embedding", "embeddings", "summarizer", "summariser", "summarization", "copilot"], "ai-other"
    ),
}
"""Words that many use: said by a declared robot they tell what it is for, said by anything else nothing."""

_WORD = re.compile(r"[a-z0-9]++")
_COMMENT = r"\([^()]*+(?:\([^()]*+\)[^()]*+)*+\)"  # the name of a device may have parentheses of its own
_PLATFORM = re.compile(rf"(?:mozilla/\d\.\d|dalvik/[\d.]++) ?(?:{_COMMENT}|\([^\n]*?\)(?= applewebkit/))")
_IN_PARENTHESES = re.compile(_COMMENT)
_CONTACT = re.compile(r"\+ ?(?:https?+://|www\.)|[(;] ?(?:https?+://|www\.|mailto:)|@[a-z0-9-]++\.[a-z]")


def kind_of_declared(text: str, cut: str, known: str = "") -> str:
    """A key of DECLARED, or "" for what does not declare itself. `text` is lower case, `cut` the same without
    addresses. `known` is the product token (lower case) by which the catalogue knows it as a player, a device or a
    library: then only the name of a robot beside that, with an address, speaks louder."""
    browser = cut.startswith(("mozilla/", "opera/", "dalvik/"))
    said = _without_device(cut, browser)
    words = _WORD.findall(said)
    among = set(words)
    contact = _CONTACT.search(text) if "://" in text or "@" in text or "www." in text else None
    if known:
        own = _WORD.findall(known)
        if contact is None or not among.isdisjoint(_PHONES):
            return ""
        return "declared-unknown" if _names_robot([word for word in words if word not in own], among, True) else ""
    robot = _names_robot(words, among, contact is not None)
    declared = robot or (contact is not None and _is_no_app(text, said, contact[0], browser))
    if not declared and (browser or not among.isdisjoint(_PHONES)):
        return ""
    for word in dict.fromkeys(words):
        kind = _COLLECTS.get(word)
        if kind is None and declared:
            kind = _COLLECTS_AS_ROBOT.get(word)
            if kind is None and (rest := _without_ending(word)):
                kind = _COLLECTS.get(rest) or _COLLECTS_AS_ROBOT.get(rest)
        if kind is not None and (declared or not _is_heard(kind, among)) and not _is_domain(said, word):
            return kind
    return "declared-unknown" if declared else ""


def _without_ending(word: str) -> str:
    """What a robot's name says before it says that it is one: `llm` of `llmcrawler`."""
    return next((word[: -len(ending)] for ending in _ENDINGS if word.endswith(ending)), "")


def _without_device(cut: str, browser: bool) -> str:
    """What is left when a device's own comment is gone: the first of a browser, those of apps that name Android."""
    if browser:
        platform = _PLATFORM.match(cut)
        if platform is None or "compatible;" in platform[0] or ("bot/" in platform[0] and "android" not in platform[0]):
            return cut
        return cut[platform.end() :]
    if "android" not in cut:
        return cut
    return _IN_PARENTHESES.sub(
        lambda said: " " if "android" in said[0] and "compatible;" not in said[0] else said[0], cut
    )


def _is_heard(kind: str, among: set[str]) -> bool:
    """Is it somebody's player or reader rather than a tool? Who works on podcasts has their name in its own."""
    if kind == "ai-audio":
        return any(word.endswith(_HEARD) for word in among)
    return _plays(among)


def _names_robot(words: list[str], among: set[str], reachable: bool) -> bool:
    if not among.isdisjoint(("cfnetwork", "dalvik")):  # the system of a phone sends this under an app's own name
        return False
    players = -1
    for word in dict.fromkeys(words):
        named = word in _ROBOTS
        if not named and (word in _DEVICES or not word.rstrip("0123456789").endswith(_ENDINGS)):
            continue
        if reachable:
            return True
        if players < 0:
            players = sum(map(_is_played, among))
        if players == 0 or (players == 1 and not named and _is_played(word)):
            return True
    return False


def _is_no_app(text: str, said: str, contact: str, browser: bool) -> bool:
    """Is there nothing of a listener's app in it, its address included? `compatible;` beside an address in the shape
    of a browser is a robot's; programs for a desk give their address, too, but without the plus that robots set."""
    if browser:
        return "compatible;" in said and "msie" not in said
    among = set(_WORD.findall(text))
    if not among.isdisjoint(_PHONES) or _plays(among):
        return False
    return contact.startswith("+") or among.isdisjoint(_DESKS)


def _plays(among: set[str]) -> bool:
    return any(map(_is_played, among))


def _is_played(word: str) -> bool:
    """Is it a word of somebody's app?"""
    return (
        word in _PLAYS
        or word.startswith(_PLAY_STARTS)
        or word.endswith(_PLAY_ENDS)
        or any(stem in word for stem in _PLAY_STEMS)
    )


def _is_domain(said: str, word: str) -> bool:
    """Does `word` stand behind a dot everywhere, as the end of a host name?"""
    return said.count(word) == said.count("." + word)

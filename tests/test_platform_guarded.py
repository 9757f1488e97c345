"""Real clients, the real sidecar, the real platform: listeners listen, declared AI agents do not get in."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from playwright.sync_api import sync_playwright

from tests.processes import CHROME, Running, get, platform, sidecar

GPTBOT = "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; GPTBot/1.3; +https://openai.com/gptbot"
STATEMENTS = {
    "content-usage": "train-ai=n, ai-use=n, search=y",
    "x-robots-tag": "noai, noimageai",
    "tdm-reservation": "1",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    tmp = tmp_path_factory.mktemp("site")
    with platform(tmp) as upstream, sidecar(upstream.url, tmp, "--store", "embedded", "--workers", "2") as guard:
        yield guard


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with platform(tmp_path_factory.mktemp("behind")) as upstream:
        yield upstream


@pytest.mark.parametrize("page", ["/track/1001", "/track/1001?hls=1"])
def test_chromium_plays_a_track_to_its_end_with_heartbeats_and_websocket(site: Running, page: str) -> None:
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--autoplay-policy=no-user-gesture-required",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                "--disable-quic",
            ],
        )
        try:
            tab = browser.new_page()
            tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
            tab.on("pageerror", lambda error: complaints.append(str(error)))
            tab.on("response", lambda r: complaints.append(f"{r.status} {r.url}") if r.status >= 400 else None)
            tab.goto(f"{site.url}{page}")
            tab.evaluate("document.querySelector('audio').play()")
            tab.wait_for_selector("body[data-state=ended]", state="attached", timeout=60_000)
            heartbeats = int(tab.evaluate("document.body.dataset.heartbeats"))
            websocket = tab.evaluate("document.body.dataset.ws")
        finally:
            browser.close()
    assert complaints == []
    assert heartbeats >= 3
    assert websocket == "open"


def test_curl_resumes_a_download_with_range(site: Running, tmp_path: Path) -> None:
    def curl(*words: str) -> bytes:
        command = ["curl", "-s", "-S", "-f", "--max-time", "20", *words, f"{site.url}/media/1001.mp3"]
        return subprocess.run(command, check=True, capture_output=True).stdout

    whole = curl()
    assert whole[:1000] + curl("-r", "1000-") == whole
    part = tmp_path / "part.mp3"
    part.write_bytes(whole[:5000])
    curl("-C", "-", "-o", str(part))
    assert part.read_bytes() == whole


@pytest.mark.parametrize("path", ["/media/1001.mp3", "/hls/1001/index.m3u8", "/podcast/1.mp3"])
def test_ffmpeg_streams_and_decodes_through_the_guard(site: Running, path: str) -> None:
    with av.open(f"{site.url}{path}", timeout=20) as stream:
        seconds = sum(frame.samples / frame.sample_rate for frame in stream.decode(audio=0))
    assert seconds > 10


@pytest.mark.parametrize(
    "path", ["/track/1001", "/api/v1/tracks/1001", "/hls/1001/index.m3u8", "/hls/1001/seg0.ts", "/media/1001.mp3"]
)
def test_gptbot_gets_403_on_every_surface(site: Running, path: str) -> None:
    status, headers, body = get(site.port, path, GPTBOT)
    assert status == 403
    assert headers["cache-control"] == "no-store"
    assert json.loads(body)["decision"] == headers["x-guard-decision"]
    assert b"promised its artists" in body


@pytest.mark.parametrize("path", ["/robots.txt", "/ai.txt", "/.well-known/tdmrep.json"])
def test_the_blocked_still_get_the_directives(site: Running, path: str) -> None:
    status, headers, body = get(site.port, path, GPTBOT)
    assert status == 200
    assert headers["etag"].startswith('"')
    assert body == get(site.port, path, CHROME)[2]
    assert get(site.port, path, GPTBOT, "HEAD")[::2] == (200, b"")
    assert get(site.port, path, GPTBOT, **{"If-None-Match": headers["etag"]})[::2] == (304, b"")


@pytest.mark.parametrize("path", ["/track/1001", "/media/1001.mp3", "/nothing/here", "/api/v1/tracks/1001"])
def test_the_reservation_stands_on_every_answer(site: Running, path: str) -> None:
    _, headers, _ = get(site.port, path)
    assert {name: headers[name] for name in STATEMENTS} == STATEMENTS


def test_what_a_listener_gets_is_what_the_platform_sends(site: Running, behind: Running) -> None:
    for path in ("/media/1002.mp3", "/waveform/1002.json", "/img/cover/101.png", "/hls/1002/seg1.ts"):
        assert get(site.port, path)[::2] == get(behind.port, path)[::2]
    asked = {"Range": "bytes=100-299"}
    status, headers, body = get(site.port, "/media/1002.mp3", **asked)
    assert (status, headers["content-range"], body) == (
        206,
        get(behind.port, "/media/1002.mp3", **asked)[1]["content-range"],
        get(behind.port, "/media/1002.mp3")[2][100:300],
    )


def test_names_with_slashes_and_percents_reach_the_platform(site: Running, behind: Running) -> None:
    for path in ("/artist/Low%2FHigh", "/artist/100%25", "/search?q=%231%20Echo", "/artist/R.E.S.T."):
        assert get(site.port, path)[0] == get(behind.port, path)[0]
    assert any(get(behind.port, path)[0] == 200 for path in ("/artist/Low%2FHigh", "/artist/100%25"))

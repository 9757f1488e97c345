"""Artists turn switches on a real platform behind four workers, and everything that speaks of their works obeys."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import sync_playwright

from guard.cli.demo import guard_with_choices
from guard.demo import choices
from guard.directives import rsl
from guard.registers.sqlite import SqliteRegister
from guard.rights import Work
from guard.robotstxt import read_robots

from .processes import eventually, free_port, get, platform, sidecar
from .servers import server

GPTBOT = "GPTBot/1.3"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[choices.Stage, list[choices.Sight]]]:
    """The stage after both switches, and what was seen."""
    folder = tmp_path_factory.mktemp("choices")
    with platform(folder) as upstream:
        stage = choices.set_stage(folder, free_port(), free_port())
        with guard_with_choices(stage, upstream.port):
            yield stage, choices.play(stage)


def test_both_switches_take_effect_everywhere_within_three_seconds(
    played: tuple[choices.Stage, list[choices.Sight]],
) -> None:
    _, sights = played
    assert [(sight.surface, sight.after, sight.took_s) for sight in sights if not sight.good] == []
    changed = [sight.surface for sight in sights if sight.before != sight.after]
    # Headers, robots.txt, licence, explain, enforcement and the page for people: each has moved.
    for word in ("GPTBot, verified", "Content-Usage", "robots.txt", "RSL", "page for people", "explain", "Link"):
        assert any(word in surface for surface in changed), word


def test_history_tells_both_states_and_what_held_before(played: tuple[choices.Stage, list[choices.Sight]]) -> None:
    stage, _ = played
    work, _ = choices.works_of()
    told = subprocess.run(
        [sys.executable, "-m", "guard", "rights", "history", str(stage.register), str(work), "--json"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    changes = json.loads(told.stdout)["changes"]
    assert [change["by"] for change in changes] == ["the artist", "settings page"]
    assert [change["reason"] for change in changes] == ["may be heard by everybody, machines too", "no AI at all"]
    register = SqliteRegister(stage.register)
    opened, closed = register.history(work)
    between = dict(register.at((work,), (opened.at_s + closed.at_s) / 2).chain)[work]
    assert between is not None and between.preferences[""]["train-ai"] == "open"
    before = dict(register.at((work,), opened.at_s - 60).chain)[work]
    assert before is None


def test_curl_sees_the_reservation_on_every_kind_of_answer(played: tuple[choices.Stage, list[choices.Sight]]) -> None:
    stage, _ = played
    work, _ = choices.works_of()
    audio = f"http://127.0.0.1:{stage.port}/media/{work.id}.mp3"

    def curl(*options: str) -> tuple[int, dict[str, str]]:
        command = ["curl", "-s", "-o", "/dev/null", "-D", "-", "-A", choices.CHROME, *options]
        lines = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()
        fields = [line.split(": ", 1) for line in lines[1:] if ": " in line]
        return int(lines[0].split()[1]), {name.lower(): value for name, value in fields}

    status, whole = curl(audio)
    assert status == 200
    etag = whole["etag"]
    answers = {
        206: curl("-r", "0-99", audio),
        304: curl("-H", f"If-None-Match: {etag}", audio),
        404: curl(f"http://127.0.0.1:{stage.port}/media/{work.id}0000.mp3"),
        200: curl("-I", audio),
    }
    for expected, (status, headers) in answers.items():
        assert status == expected
        assert headers["content-usage"] == "train-ai=n, ai-use=n, search=y"
        assert headers["x-robots-tag"] == "noai, noimageai"
        assert headers["tdm-reservation"] == "1"
    assert answers[206][1]["content-range"].startswith("bytes 0-99/")
    refused, headers = curl("-A", GPTBOT, audio)
    assert refused == 403
    assert headers["content-usage"] == "train-ai=n, ai-use=n, search=y"


def test_directive_files_are_the_same_bytes_for_everybody_on_every_host(
    played: tuple[choices.Stage, list[choices.Sight]],
) -> None:
    stage, _ = played
    for path in ("/robots.txt", "/ai.txt", "/license.xml", "/ai-policy", "/.well-known/tdmrep.json"):
        seen = {
            get(stage.port, path, agent, Host=host)[2]
            for agent in (GPTBOT, choices.CHROME, "curl/8")
            for host in ("127.0.0.1", "cdn.hollow-reed.example")
        }
        assert len(seen) == 1, path
        status, headers, body = get(stage.port, path, GPTBOT, "HEAD")
        assert (status, body) == (200, b"")
        assert headers["etag"].startswith('"')
        assert get(stage.port, path, GPTBOT, **{"If-None-Match": headers["etag"]})[0] == 304


def test_chromium_shows_people_what_may_be_done(played: tuple[choices.Stage, list[choices.Sight]]) -> None:
    stage, _ = played
    withdrawn, licensed = choices.works_of()
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"],
        )
        try:
            tab = browser.new_page()
            tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
            tab.goto(f"http://127.0.0.1:{stage.port}/ai-policy")
            assert tab.locator("h1").inner_text() == "AI policy"
            assert "Training AI on" in tab.locator(".lead").first.inner_text()
            assert tab.locator("#v1").count() == 1  # the version in force, with its date
            tab.goto(f"http://127.0.0.1:{stage.port}/ai-policy?work={quote(str(withdrawn), safe='')}")
            assert tab.locator("h1").inner_text() == f"Track {withdrawn.id}"
            assert "Training AI on this track is not allowed." in tab.locator("header").inner_text()
            tab.goto(f"http://127.0.0.1:{stage.port}/ai-policy?work={quote(str(licensed), safe='')}")
            assert "1 licence for it has been given." in tab.locator("header").inner_text()
            tab.get_by_role("link", name="What holds for all works here").click()
            assert tab.locator("h1").inner_text() == "AI policy"
        finally:
            browser.close()
    assert [one for one in complaints if "favicon" not in one] == []


def test_a_works_own_documents_are_there_and_name_no_licensee(
    played: tuple[choices.Stage, list[choices.Sight]],
) -> None:
    stage, _ = played
    _, licensed = choices.works_of()
    for path in ("/license.xml", "/.well-known/tdm-policy.json", "/ai-policy"):
        status, _, body = get(stage.port, f"{path}?work={quote(str(licensed), safe='')}", GPTBOT)
        assert status == 200
        assert choices.LICENCE.encode() in body, path
        assert b"openai" not in body.lower()
    # What nobody has spoken of, and what is no work, gets the site's own.
    general = get(stage.port, "/license.xml", GPTBOT)[2]
    for other in ("track%3A999999", "track", "%FF", "label%3A" + "x" * 600):
        assert get(stage.port, f"/license.xml?work={other}", GPTBOT)[2] == general


def test_a_register_that_goes_away_leaves_the_last_word_and_then_the_stricter_one(tmp_path: Path) -> None:
    with platform(tmp_path) as upstream:
        stage = choices.set_stage(tmp_path, free_port(), free_port())
        withdrawn, other = choices.works_of()
        with sidecar(upstream.url, tmp_path, policy=stage.policy) as guard:
            opened = f"/track/{withdrawn.id}"
            assert eventually(lambda: get(guard.port, opened, GPTBOT, **{"X-Forwarded-For": choices.HOME})[0] == 200)
            stage.register.rename(tmp_path / "elsewhere.sqlite")
            unseen = f"/track/{other.id}"
            assert eventually(lambda: get(guard.port, unseen, GPTBOT, **{"X-Forwarded-For": choices.HOME})[0] == 403)
            assert get(guard.port, unseen)[0] == 200  # a listener hears nothing of it
            (tmp_path / "elsewhere.sqlite").rename(stage.register)
            assert eventually(lambda: get(guard.port, opened, GPTBOT, **{"X-Forwarded-For": choices.HOME})[0] == 200)


def test_a_settings_page_may_begin_with_nothing(tmp_path: Path) -> None:
    stage = choices.set_stage(tmp_path, free_port(), free_port())
    stage.register.unlink()
    with platform(tmp_path) as upstream, guard_with_choices(stage, upstream.port):
        choices.put(stage, Work("artist", "AC/DC"), {"preferences": {"train-ai": "open", "ai-use": "open"}})
        assert eventually(lambda: choices.ask(stage, "/artist/AC%2FDC", GPTBOT, choices.HOME)[0] in (200, 404))
        assert choices.ask(stage, "/artist/AC%2FD", GPTBOT, choices.HOME)[0] == 403
        listed = read_robots(choices.ask(stage, "/robots.txt")[2])
        assert eventually(
            lambda: read_robots(choices.ask(stage, "/robots.txt")[2]).allowed("GPTBot", "/artist/AC%2FDC")
        )
        assert not listed.allowed("GPTBot", "/artist/AC%2FD")


@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_a_fleet_shares_a_register_and_people_can_ask_it_too(kind: str, tmp_path: Path) -> None:
    def guard_says(*words: str) -> str:
        command = [sys.executable, "-m", "guard", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout

    with server(kind) as shared:
        policy = tmp_path / "policy.yaml"
        policy.write_text(
            "version: 1\nsite: {name: Fleet}\ndefault: allow\npreferences: {train-ai: disallow, ai-use: disallow}\n"
            f"rights: {{source: '{shared.url}', works: [{{path: '/track/{{track}}'}}]}}\n"
        )
        guard_says("rights", "set", shared.url, "track:77", "--train-ai", "open", "--ai-use", "open", "--by", "me")
        told = json.loads(guard_says("explain", str(policy), "--path", "/track/77", "--ua", "GPTBot/1.0", "--json"))
        assert (told["source"], told["standing"], told["decision"]["action"]) == ("known", "open", "allow")
        with sidecar("http://127.0.0.1:9", tmp_path, "--ignore-robots", policy=policy) as one:
            assert eventually(lambda: get(one.port, "/track/77", GPTBOT)[0] == 502)  # let in, and nobody is there
            assert eventually(lambda: read_robots(get(one.port, "/robots.txt")[2]).allowed("GPTBot", "/track/77"))
            guard_says("rights", "set", shared.url, "track:77", "--no-ai", "--reason", "another mind")
            assert eventually(lambda: get(one.port, "/track/77", GPTBOT)[0] == 403, 3.0)
            shared.kill()
            assert get(one.port, "/track/77", GPTBOT)[0] == 403  # its last word goes on
            assert get(one.port, "/track/78", GPTBOT)[0] == 403  # and of others the stricter one holds
            assert get(one.port, "/track/78")[0] == 502  # who listens hears nothing of it


# -- what the platform itself says ---------------------------------------------------------------------------


class _Platform(http.server.BaseHTTPRequestHandler):
    """A platform with a robots.txt and headers of its own, which names the works of its answers."""

    protocol_version = "HTTP/1.1"
    robots = b"User-agent: *\nDisallow: /private/\nCrawl-delay: 5\n\nSitemap: https://music.example/sitemap.xml\n"

    def do_GET(self) -> None:
        body, fields = b"hello", {"Content-Type": "text/plain"}
        if self.path == "/robots.txt":
            body = self.robots
        elif self.path.startswith("/signed/"):
            fields["X-Guard-Work"] = "track:" + self.path.rpartition("/")[2]
        elif self.path == "/stricter":
            fields |= {"Content-Usage": "search=n", "TDM-Reservation": "1", "Link": '</next>; rel="next"'}
        elif self.path == "/.well-known/security.txt":
            body = b"Contact: mailto:security@music.example\n"
        self.send_response(500 if self.path == "/broken" else 200)
        for name, value in {**fields, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


POLICY = """version: 1
site: {name: Signed, url: "https://music.example"}
default: allow
preferences: {train-ai: allow, ai-use: allow, search: allow}
rights: {source: rights.yaml, works: [{path: "/track/{track}"}], header: X-Guard-Work}
"""
REGISTER = """version: 1
works:
  "track:closed": {preferences: {train-ai: disallow, ai-use: disallow}}
  "artist:loud": {preferences: {train-ai: disallow}}
"""


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("signed")
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "rights.yaml").write_text(REGISTER)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Platform)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        upstream = f"http://127.0.0.1:{server.server_address[1]}"
        with sidecar(upstream, folder, policy=folder / "policy.yaml") as guard:
            yield guard.port
    finally:
        server.shutdown()
        server.server_close()


def test_the_platforms_answer_names_the_work_of_an_address_that_does_not(signed: int) -> None:
    status, headers, body = get(signed, "/signed/abc/closed")
    assert (status, body) == (200, b"hello")
    assert headers["content-usage"] == "train-ai=n, ai-use=n, search=y"
    assert "x-guard-work" not in headers
    assert get(signed, "/signed/abc/other")[1]["content-usage"] == "train-ai=y, ai-use=y, search=y"
    # The first request is passed on before the work is known; the answer is withheld all the same, and every later one.
    for _ in range(3):
        status, headers, body = get(signed, "/signed/first-time/closed", GPTBOT)
        assert status == 403
        assert b"hello" not in body
        assert headers["content-usage"] == "train-ai=n, ai-use=n, search=y"
    assert get(signed, "/signed/first-time/other", GPTBOT)[0] == 200


def test_what_the_platform_says_itself_is_never_loosened(signed: int) -> None:
    _, headers, _ = get(signed, "/stricter")
    assert headers["content-usage"] == "train-ai=y, ai-use=y, search=n"
    assert headers["tdm-reservation"] == "1"
    status, headers, _ = get(signed, "/broken")
    assert status == 500
    assert headers["content-usage"] == "train-ai=y, ai-use=y, search=y"


def test_the_platforms_robots_txt_is_joined_and_neither_is_weakened(signed: int) -> None:
    assert eventually(lambda: b"/private/" in get(signed, "/robots.txt")[2])
    text = get(signed, "/robots.txt")[2].decode()
    robots = read_robots(text)
    for token in ("GPTBot", "unheard"):
        assert not robots.allowed(token, "/private/x")
        assert robots.allowed(token, "/public")
        assert robots.allowed(token, "/license.xml")
    assert not robots.allowed("GPTBot", "/track/closed")
    assert robots.allowed("unheard", "/track/closed")
    assert "Sitemap: https://music.example/sitemap.xml" in text
    assert rsl.licences_of(text, "GPTBot") == ["https://music.example/license.xml"]


def test_security_txt_is_the_platforms_own_and_open_to_everybody(signed: int) -> None:
    status, _, body = get(signed, "/.well-known/security.txt", GPTBOT)
    assert (status, body) == (200, b"Contact: mailto:security@music.example\n")


def test_who_listens_at_a_closed_work_listens(signed: int) -> None:
    for path in ("/track/closed", "/signed/abc/closed"):
        assert get(signed, path)[0] == 200
        assert get(signed, path, GPTBOT)[0] == 403


# -- terms ---------------------------------------------------------------------------------------------------


def test_a_changed_policy_appears_in_the_record_and_a_loosening_waits_for_its_notice(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    base = "version: 1\nsite: {name: Dated}\ndefault: allow\nterms: {notice: 30}\n"
    policy.write_text(base + "preferences: {train-ai: disallow, search: allow}\n")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Platform)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def versions(port: int) -> list[dict[str, object]]:
        told: list[dict[str, object]] = json.loads(get(port, "/ai-policy.json")[2])["versions"]
        return told

    try:
        with sidecar(f"http://127.0.0.1:{server.server_address[1]}", tmp_path, policy=policy) as guard:
            assert [one["id"] for one in versions(guard.port)] == ["v1"]
            policy.write_text(base + "preferences: {train-ai: disallow, ai-use: disallow, search: allow}\n")
            assert eventually(lambda: len(versions(guard.port)) == 2, 8.0)
            policy.write_text(base + "preferences: {train-ai: allow, ai-use: disallow, search: allow}\n")
            assert eventually(lambda: "30 days" in guard.log.read_text(), 8.0), guard.log.read_text()
            assert get(guard.port, "/")[1]["content-usage"] == "train-ai=n, ai-use=n, search=y"
            assert len(versions(guard.port)) == 2
        # Nor is it got round by a stop and a start.
        command = [sys.executable, "-m", "guard", "serve", "--upstream", "http://127.0.0.1:9", "--ignore-robots"]
        command += ["--listen", "127.0.0.1:0", "--policy", str(policy)]
        again = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert again.returncode == 78
        assert "30 days" in again.stderr
    finally:
        server.shutdown()
        server.server_close()


def test_a_promised_notice_holds_when_the_record_is_taken_away(tmp_path: Path) -> None:
    policy, record = tmp_path / "policy.yaml", tmp_path / "policy.terms.jsonl"
    base = "version: 1\nsite: {name: Dated}\ndefault: allow\nterms: {notice: 30}\n"
    tight = base + "preferences: {train-ai: disallow, ai-use: disallow}\n"
    loose = base + "preferences: {train-ai: disallow, ai-use: allow}\n"
    policy.write_text(loose)

    def refused(count: int, words: str) -> bool:
        """The refusal of that number says so, and what was in force still is."""
        lines = [line for line in guard.log.read_text().splitlines() if '"state": "refused"' in line]
        return len(lines) == count and words in lines[-1] and usage() == "train-ai=n, ai-use=n"

    def usage() -> str:
        return get(guard.port, "/")[1]["content-usage"]

    with sidecar("http://127.0.0.1:9", tmp_path, "--ignore-robots", policy=policy) as guard:
        policy.write_text(tight)  # noted by who reads the policy; it must be known to who reads it next
        assert eventually(lambda: usage() == "train-ai=n, ai-use=n", 8.0)
        before = record.read_bytes()
        assert before.count(b"\n") == 2
        record.unlink()
        policy.write_text(loose)
        assert eventually(lambda: refused(1, "30 days"), 8.0), guard.log.read_text()
        assert record.read_bytes() == before
        assert "written again from memory" in guard.log.read_text()
        record.write_bytes(b"")
        policy.write_text(loose + "# once more\n")
        assert eventually(lambda: refused(2, "30 days"), 8.0), guard.log.read_text()
        assert record.read_bytes() == before
        record.unlink()
        record.mkdir()
        policy.write_text(loose + "# and once more\n")
        assert eventually(lambda: refused(3, "policy.terms.jsonl: cannot be written"), 8.0), guard.log.read_text()
        policy.write_text(loose.replace("terms: {notice: 30}\n", ""))  # nor is the promise itself taken back so
        assert eventually(lambda: refused(4, "policy.terms.jsonl: cannot be written"), 8.0), guard.log.read_text()
        record.rmdir()
        policy.write_text(tight.replace("ai-use", "search: disallow, ai-use"))
        assert eventually(lambda: "search=n" in usage(), 8.0)
        assert record.read_bytes().startswith(before)
        assert record.read_bytes().count(b"\n") == 3


def test_the_demo_of_choices_says_that_all_is_well() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "guard", "demo", "--choices", "--once", "--json"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    told = json.loads(done.stdout)
    assert done.returncode == 0, told
    assert told["ok"] and told["workers"] == 4
    assert len(told["history"][str(Work("track", "1001"))]) == 2

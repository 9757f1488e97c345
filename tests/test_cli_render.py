"""`guard render` of one work, and of an address, whatever register knows whose it is."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

POLICY = """\
version: 1
site: {{name: Example, contact: "mailto:us@music.example", url: "https://music.example"}}
default: allow
preferences: {{train-ai: allow, ai-use: allow, search: allow}}
rights: {{source: "{source}", works: [{{path: "/track/{{track}}"}}]}}
"""
SAID = {"track:7": {"preferences": {"train-ai": "disallow", "ai-use": "disallow"}}, "artist:AC/DC & co": {}}


class Service(http.server.BaseHTTPRequestHandler):
    """A platform that is asked for rights."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["works"]
        body = json.dumps({"works": {work: SAID.get(work) for work in asked}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=["yaml", "http"])
def policy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A policy whose register knows one track, in a file or over a network."""
    path = tmp_path / "policy.yaml"
    if request.param == "yaml":
        (tmp_path / "rights.yaml").write_text(json.dumps({"version": 1, "works": SAID}))
        path.write_text(POLICY.format(source=tmp_path / "rights.yaml"))
        yield path
        return
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service) as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        path.write_text(POLICY.format(source=f"http://127.0.0.1:{service.server_port}/"))
        try:
            yield path
        finally:
            service.shutdown()
            thread.join()


def render(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "guard", "render", *map(str, words)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in said.stderr, said.stderr
    return said


def test_headers_are_those_of_the_work_wherever_its_words_are_kept(policy: Path) -> None:
    lines = render(policy, "headers", "--path", "/track/7").stdout.splitlines()
    assert lines[0] == "content-usage: train-ai=n, ai-use=n, search=y"
    lines = render(policy, "headers", "--path", "/track/8").stdout.splitlines()
    assert lines[0] == "content-usage: train-ai=y, ai-use=y, search=y"


def test_the_document_of_a_work_is_printed_wherever_its_words_are_kept(policy: Path) -> None:
    own = render(policy, "license.xml", "--work", "track:7")
    assert (own.returncode, own.stderr) == (0, "")
    assert "<prohibits" in own.stdout
    assert "track/7" in own.stdout


def test_of_a_work_that_nobody_has_spoken_of_that_is_said(policy: Path) -> None:
    said = render(policy, "license.xml", "--work", "artist:AC/DC & co")
    assert said.returncode == 0
    assert said.stderr == "guard render: nobody has spoken of artist:AC/DC & co: what holds for all works\n"
    assert said.stdout.startswith("<")


def test_a_register_that_does_not_answer_is_said_to(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.format(source="http://127.0.0.1:9/"))
    said = render(policy, "license.xml", "--work", "track:7")
    assert said.returncode == 0
    assert "the register does not answer: nothing is known of track:7" in said.stderr


@pytest.mark.parametrize("work", ["nonsense", "song:1", "track:", "track:a\nb", ""])
def test_what_is_no_work_is_refused(work: str, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    (tmp_path / "rights.yaml").write_text("version: 1\n")
    policy.write_text(POLICY.format(source=tmp_path / "rights.yaml"))
    said = render(policy, "license.xml", "--work", work)
    assert (said.returncode, said.stdout) == (2, "")
    assert "guard render: --work: " in said.stderr
    assert json.loads(render(policy, "license.xml", "--work", work, "--json").stdout)["ok"] is False


def test_a_policy_without_rights_of_works_has_no_document_of_one() -> None:
    said = render("no-ai", "license.xml", "--work", "track:1")
    assert (said.returncode, said.stdout) == (2, "")
    assert "this policy keeps no rights of works" in said.stderr

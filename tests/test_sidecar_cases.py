"""The published bypass cases, each against a real worker with a recording platform behind it.

The cases and the meaning of their expectations (`replay.check`) are the study's; they lie beside the repository.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import pytest

from tests.conftest import SHARED
from tests.sidecar import Message, Platform, get, side

FOLDER = SHARED / "security"
if not (FOLDER / "bypass_cases.json").is_file():
    pytest.skip("the bypass cases (../shared/security) are not on this machine", allow_module_level=True)

pytestmark = pytest.mark.anyio

CLASSES = frozenset(
    [
        "path-confusion",
        "path-false-positive",
        "target-form",
        "host-header",
        "path-override-header",
        "hop-by-hop",
        "smuggling",
        "method",
        "header-abuse",
        "robots",
        "cache",
        "user-agent",
        "client-ip",
        "asgi-wiring",
    ]
)
WAIVED = {
    "CA-003": "challenges come with a later version",
    "CA-008": "an invariant over several answers: the guard sends no agent-dependent answer that may be stored",
    "CA-013": "an invariant over two hosts: one sidecar stands before one site",
    "HD-005": "the guard has no admin API",
    "RB-014": "an invariant over the whole policy: tested with the directives",
    "SM-062": "one sidecar stands before one site and answers for every Host",
}
POLICY = """
version: 1
site:
  name: media.example
SITE  published_networks: {googlebot: [66.249.64.0/19]}
default: allow
preferences: {train-ai: disallow}
limits:
  - {name: streams, rate: 5/min, burst: 5, key: client}
rules:
  - {name: private, when: {path: /private/**}, then: block}
  - {name: no training, when: {path: /audio/**, category: "ai-*"}, then: block}
  - {name: impostors, when: {identity: spoofed}, then: block}
  - {name: streams, when: {path: /stream/**}, then: throttle, limit: streams}
"""


def _load_replay() -> ModuleType:
    spec = importlib.util.spec_from_file_location("replay", FOLDER / "replay.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


replay = _load_replay()
CASES = [
    case
    for case in json.loads((FOLDER / "bypass_cases.json").read_text())["cases"]
    if case["kind"] == "h1" and case["class"] in CLASSES
]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


def _policy(config: dict[str, Any]) -> str:
    site = "" if "peer" in config else "  trusted_proxies: [127.0.0.1/32]\n"
    if prefix := config.get("strip_prefix"):
        site += f"  strip_prefixes: [{prefix}]\n"
    return POLICY.replace("SITE", site)


def _seen(message: Message) -> dict[str, Any]:
    """As replay.py wants it: the path that this platform would serve, the fields, and whether all of it came."""
    return {
        "path": unquote(message.target.partition(b"?")[0].decode("latin-1")),
        "target": message.target,
        "headers": [[name.decode("latin-1").lower(), value.decode("latin-1")] for name, value in message.fields],
        "complete": message.complete,
    }


async def _exchange(port: int, raw: bytes, quiet_s: float) -> tuple[bytes, bool, float]:
    """What came, whether the connection was closed, and the seconds to the first byte."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    loop = asyncio.get_running_loop()
    began, first_s, got = loop.time(), 9.0, b""
    try:
        writer.write(raw)
        while True:
            async with asyncio.timeout(quiet_s if got else 2.0):
                piece = await reader.read(65536)
            first_s = first_s if got else loop.time() - began
            got += piece
            if not piece:
                return got, True, first_s
    except TimeoutError:
        return got, False, first_s
    except ConnectionError:
        return got + bytes(reader._buffer), True, first_s  # type: ignore[attr-defined]
    finally:
        writer.transport.abort()


def test_every_case_is_run_or_waived_by_name() -> None:
    assert len(CASES) == len({case["id"] for case in CASES}) > 180
    assert WAIVED.keys() <= {case["id"] for case in CASES}


@pytest.mark.parametrize("case", [case for case in CASES if case["id"] not in WAIVED], ids=lambda case: case["id"])
async def test_case(case: dict[str, Any]) -> None:
    expected, config = case["expectation"], case.get("config") or {}
    raw = replay.expand(case["raw_request"]).encode("latin-1")
    if address := config.get("client_ip"):
        raw = raw.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: %b\r\n\r\n" % address.encode(), 1)
    spent = config.get("client_over_limit") or "bucket_as" in expected or expected["verdict"] == "rate_limited_after_n"
    platform = Platform()
    async with platform.running():
        port = 1 if config.get("fault") == "upstream_down" else platform.port
        async with side(port, _policy(config)) as sidecar:
            for _ in range(6 if spent else 0):
                last = await sidecar.ask(get("/stream/t1", host="media.example"))
                assert last.status in (200, 429)
            platform.seen.clear()
            got, closed, first_s = await _exchange(sidecar.port, raw, quiet_s=0.1)
            await asyncio.sleep(0.005)
            assert (await sidecar.ask(get("/robots.txt"))).status == 200  # and the worker lives
    seen = [_seen(message) for message in platform.seen]
    answers = replay.responses(got, raw.split(b" ", 1)[0].decode("latin-1"))
    assert replay.check(case, answers, closed, seen) == []
    _check_more(expected, raw, answers, closed, seen, first_s)


def _check_more(
    expected: dict[str, Any],
    raw: bytes,
    answers: list[tuple[int, dict[str, str], bytes]],
    closed: bool,
    seen: list[dict[str, Any]],
    first_s: float,
) -> None:
    """What replay.check leaves to others."""
    statuses = [answer[0] for answer in answers]
    assert all(status < 500 for status in statuses)
    verdict = expected["verdict"]
    if expected.get("conn_closed"):
        assert closed
    if verdict in ("reject", "reject_or_deny", "deny", "impostor") and expected.get("upstream_max") == 0:
        assert seen == [] and statuses and 400 <= statuses[0] < 500
        assert "no-store" in answers[0][1]["cache-control"]
    if verdict == "same_bucket":
        assert statuses == [429] or (expected.get("or_reject") and statuses == [400])
    if verdict == "policy_unknown_agent":
        named = b"/private/" in raw or b"Google-Extended" in raw  # a token of the catalogue, if no crawler's name
        named = named or "GPT\N{ZERO WIDTH JOINER}Bot".encode() in raw  # which hides a name from nobody
        assert statuses == ([403] if named else [200])
    if verdict in ("policy_default", "signal"):
        assert statuses == [200] and len(seen) == 1
    if verdict == "sequence":
        assert len(statuses) == len(expected["statuses"])
        assert all(status in allowed for status, allowed in zip(statuses, expected["statuses"], strict=True))
    if (verdict in ("allow", "allow_stripped") and statuses == [200]) or expected.get("upstream_bytes_unchanged"):
        assert [one["target"] for one in seen] == [raw.split(b" ")[1]]
    for name in expected.get("upstream_headers_absent_or_overwritten", ()):
        assert seen and all(name != key for one in seen for key, _ in one["headers"])
    for name, value in (expected.get("refusal_headers") or {}).items():
        assert statuses[0] < 400 or answers[0][1][name] == value
    if "content_type" in expected:
        assert answers[0][1]["content-type"] == expected["content_type"]
    if "body_len" in expected:
        assert len(answers[0][2]) == expected["body_len"]
    if "max_body" in expected:
        body = answers[0][2]
        assert 0 < len(body) <= expected["max_body"] and not body.startswith(b"\xef\xbb\xbf") and b"\r" not in body
    if "max_seconds" in expected and not expected.get("silent_ok_until_body_timeout"):
        assert first_s < expected["max_seconds"]

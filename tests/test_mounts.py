"""The middleware in the three frameworks of the README, each the very file that the documentation shows, on uvicorn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.processes import Running, get, uvicorn

APPS = {
    "starlette": ("starlette_app:app", ()),
    "fastapi": ("fastapi_app:app", ()),
    "django": ("django_app:application", ("--lifespan", "off")),
}


@pytest.fixture(scope="module", params=list(APPS))
def mounted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    app, options = APPS[request.param]
    with uvicorn(app, tmp_path_factory.mktemp("mount"), *options) as running:
        yield running


def test_a_listener_gets_the_track_and_the_reservation(mounted: Running) -> None:
    status, headers, body = get(mounted.port, "/track/7")
    assert status == 200
    assert b"7" in body
    assert headers["content-usage"] == "train-ai=n, ai-use=n, search=y"
    assert headers["tdm-reservation"] == "1"


def test_gptbot_is_refused_and_still_reads_robots_txt(mounted: Running) -> None:
    status, headers, _ = get(mounted.port, "/track/7", "GPTBot/1.3")
    assert (status, headers["cache-control"]) == (403, "no-store")
    status, headers, body = get(mounted.port, "/robots.txt", "GPTBot/1.3")
    assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert b"User-agent: GPTBot\n" in body


def test_a_disguised_path_is_refused_too(mounted: Running) -> None:
    assert get(mounted.port, "/x/..%2ftrack//7", "GPTBot/1.3")[0] in (400, 403)


def test_a_tool_that_bursts_is_told_to_wait(mounted: Running) -> None:
    answers = [get(mounted.port, "/track/7", "python-requests/2.32.5") for _ in range(60)]
    assert {status for status, _, _ in answers} == {200, 429}
    _, headers, _ = next(answer for answer in answers if answer[0] == 429)
    assert int(headers["retry-after"]) >= 1
    assert headers["ratelimit"].startswith('"plain tools";r=0;t=')

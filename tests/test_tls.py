"""Https on both sides: the guard answers it, and speaks it to a platform whose certificate it checks."""

from __future__ import annotations

import http.client
import os
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Running, get, sidecar, uvicorn


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost that signs itself, and its key, in one PEM file."""
    tmp = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", tmp / "key.pem", "-out", tmp / "cert.pem"], check=True, capture_output=True)
    return tmp


@pytest.fixture(scope="module")
def secured(certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    tmp = tmp_path_factory.mktemp("secured")
    options = ("--tls-cert", str(certificate / "cert.pem"), "--tls-key", str(certificate / "key.pem"), "--log", "none")
    with uvicorn("starlette_app:site", tmp) as upstream, sidecar(upstream.url, tmp, *options) as guard:
        yield guard


def ask(port: int, certificate: Path, user_agent: str) -> int:
    context = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    connection = http.client.HTTPSConnection("localhost", port, timeout=10, context=context)
    try:
        connection.request("GET", "/track/1", headers={"User-Agent": user_agent})
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_guard_answers_https(secured: Running, certificate: Path) -> None:
    assert ask(secured.port, certificate, "Mozilla/5.0") == 200
    assert ask(secured.port, certificate, "GPTBot/1.3") == 403


def test_the_guard_speaks_https_to_the_platform_and_checks_its_certificate(
    secured: Running, certificate: Path, tmp_path: Path
) -> None:
    upstream = f"https://localhost:{secured.port}"
    with sidecar(upstream, tmp_path, "--log", "none") as distrusting:
        assert get(distrusting.port, "/track/1")[0] == 502
    os.environ["SSL_CERT_FILE"] = str(certificate / "cert.pem")
    try:
        with sidecar(upstream, tmp_path, "--log", "none") as trusting:
            assert get(trusting.port, "/track/1")[0] == 200
    finally:
        del os.environ["SSL_CERT_FILE"]

"""The platform's own robots.txt is learned whole and in time, or not at all, whatever the platform sends."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from guard.proxy.robots import fetch_robots
from guard.proxy.worker import Upstream

from .processes import get, sidecar

HEAD = b"HTTP/1.1 200 OK\r\nServer: slow\r\n"
RULES = b"User-agent: *\nDisallow: /private/\n"
DEADLINE_S = 0.6

TRICKLES = {
    "a status line": (b"HTTP/1.1 200 ", b"O"),
    "a head": (HEAD, b"X-More: 1\r\n"),
    "a body of any length": (HEAD + b"\r\n" + RULES, b"#"),
    "a body of a length": (HEAD + b"Content-Length: 9000\r\n\r\n" + RULES, b"#"),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n#\r\n"),
    "the head of a refusal": (b"HTTP/1.1 404 Not Found\r\n", b"X-More: 1\r\n"),
    "a handshake": (b"\x16\x03\x03\x3f\xff", b"\x02\x00\x00"),
}


@contextlib.contextmanager
def sending(begin: bytes, again: bytes = b"", *, listener: socket.socket | None = None) -> Iterator[int]:
    """A platform that sends `begin` to each who connects, then `again`, a byte every 20 ms. Its port."""
    server = listener or socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def trickle(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            sock.recv(65_536)
            sock.sendall(begin)
            if not again:
                sock.shutdown(socket.SHUT_WR)
            for byte in itertools.cycle(again):
                if over.wait(0.02):
                    return
                sock.sendall(bytes([byte]))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=trickle, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server.getsockname()[1] if server.family == socket.AF_INET else 0
    finally:
        over.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()


@pytest.mark.parametrize("what", TRICKLES)
def test_a_platform_that_trickles_holds_nobody_beyond_the_deadline(what: str) -> None:
    with sending(*TRICKLES[what]) as port:
        began = time.monotonic()
        upstream = Upstream("127.0.0.1", port, tls=what == "a handshake")
        assert fetch_robots(upstream, "a.example", DEADLINE_S) is None
        assert time.monotonic() - began < DEADLINE_S + 0.5
    assert not [one for one in threading.enumerate() if isinstance(one, threading.Timer)]


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (HEAD + b"\r\n" + RULES, RULES),
        (HEAD + b"Content-Length: %d\r\n\r\n" % len(RULES) + RULES, RULES),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(RULES), RULES), RULES),
        (HEAD + b"Content-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n", None),
        (HEAD + b"Content-Length: 900\r\n\r\n" + RULES, None),  # cut off: who knows what else it forbids
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(RULES), RULES), None),
        (b"what is this", None),
    ],
)
def test_an_answer_is_believed_when_it_is_whole(tmp_path: Path, answer: bytes, found: bytes | None) -> None:
    with sending(answer) as port:
        assert fetch_robots(Upstream("127.0.0.1", port), "a.example", 5.0) == found
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "platform.sock"))
    listener.listen()
    with sending(answer, listener=listener):
        assert fetch_robots(Upstream("", 0, str(tmp_path / "platform.sock")), "a.example", 5.0) == found


def test_where_nobody_listens_nothing_is_learned() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    assert fetch_robots(Upstream("localhost", port), "a.example") is None


def test_a_guard_starts_and_answers_in_front_of_a_platform_that_trickles(tmp_path: Path) -> None:
    with sending(HEAD, b"X-More: 1\r\n") as port:
        began = time.monotonic()
        with sidecar(f"http://127.0.0.1:{port}", tmp_path) as running:
            assert get(running.port, "/robots.txt")[0] == 200
            assert time.monotonic() - began < 15.0

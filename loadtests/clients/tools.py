"""The programs the clients are: Debian's by tests/tools.sh, PyPI's in an environment of their own, hls.js by npm."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from loadtests.clients.processes import RigError

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("yt-dlp", "scrapy", "aiohttp")
INSTALL_S = 600
PAIRS = {
    "chromium": "chromium",
    "firefox-esr": "firefox-esr",
    "Xvfb": "xvfb",
    "mpv": "mpv",
    "cvlc": "vlc-bin vlc-plugin-base",
    "ffmpeg": "ffmpeg",
    "aria2c": "aria2",
    "curl": "curl",
    "npm": "npm",
    "setpriv": "util-linux",
}
"""The Debian package of each command."""

Tell = Callable[[str], None]


def choose_directory() -> Path:
    """GUARD_CLIENTS_DIR, or else a folder in the user's cache."""
    if named := os.environ.get("GUARD_CLIENTS_DIR"):
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "noai-guard" / "clients"


def install(commands: Iterable[str]) -> None:
    """See that each command is there. Raises RigError."""
    pairs = [f"{command}:{PAIRS[command]}" for command in sorted(set(commands))]
    call(["sh", str(ROOT / "tests" / "tools.sh"), *pairs])


def find_python(directory: Path, tell: Tell) -> Path:
    """The interpreter that has yt-dlp, Scrapy and aiohttp as PyPI gives them."""
    home = directory / "python"
    python, finished = home / "bin" / "python", home / "finished"
    if not finished.exists():
        tell(f"installing {', '.join(PACKAGES)}")
        shutil.rmtree(home, ignore_errors=True)
        call([sys.executable, "-m", "venv", str(home)])
        call([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES])
        finished.touch()
    return python


def find_hls(directory: Path, tell: Tell) -> Path:
    """The file of hls.js as npm gives it."""
    file = directory / "hls.min.js"
    if not file.exists():
        tell("fetching hls.js")
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory) as name:
            call(["npm", "pack", "--silent", "hls.js@1"], Path(name))
            archive = next(Path(name).glob("*.tgz"))
            with tarfile.open(archive) as tar:
                source = tar.extractfile("package/dist/hls.min.js")
                assert source is not None
                (Path(name) / file.name).write_bytes(source.read())
            (Path(name) / file.name).rename(file)
    return file


def version_of(command: list[str]) -> str:
    """The first line a program says of itself."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.strip().splitlines()[0][:80] if said.strip() else ""


def call(command: list[str], folder: Path | None = None) -> None:
    """Run it to its end. Raises RigError with what it said."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RigError(f"{command[0]}: {error}") from None
    if done.returncode:
        raise RigError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-800:]}")

"""Who takes the catalogue: programs as installed, with their own header lines. Each of them must be stopped."""

from __future__ import annotations

from pathlib import Path

from loadtests.clients.browsers import BrowserError, chromium
from loadtests.clients.listeners import Client, Visit
from loadtests.clients.processes import running

PROGRAMS = Path(__file__).parent / "programs"
FIRST = 100  # where in the catalogue they begin
WANTED = 80  # tracks


def wanted(visit: Visit) -> tuple[int, ...]:
    return visit.tracks[FIRST : FIRST + WANTED]


def rip(visit: Visit, command: list[str]) -> None:
    """Let it work until it gives up or its time is over; that it fails is what is hoped for."""
    visit.folder.joinpath("taken").mkdir(exist_ok=True)
    environment = {"HOME": str(visit.folder), "XDG_CACHE_HOME": str(visit.folder / "cache")}
    with running(command, visit.folder / "ripper.log", environment=environment) as process:
        code = visit.session.await_exit(process)
        visit.told.append("ran out of its time" if code is None else f"ended with exit code {code}")


def write_list(visit: Visit, form: str) -> Path:
    """A file of addresses, one a line."""
    file = visit.folder / "list.txt"
    file.write_text("".join(f"{visit.url}{form.format(track)}\n" for track in wanted(visit)), "utf-8")
    return file


def rip_ytdlp(visit: Visit) -> None:
    """From the pages of tracks, one after another."""
    ytdlp(visit, "/track/{}")


def rip_ytdlp_hls(visit: Visit) -> None:
    """From HLS playlists, eight segments at a time."""
    ytdlp(visit, "/hls/{}/master.m3u8", "-N", "8")


def ytdlp(visit: Visit, form: str, *options: str) -> None:
    command = [str(visit.python), "-m", "yt_dlp", "--ignore-config", "--no-progress", *options]
    command += ["-o", str(visit.folder / "taken" / "%(autonumber)s-%(id)s.%(ext)s")]
    rip(visit, [*command, "-a", str(write_list(visit, form))])


def rip_aria2(visit: Visit) -> None:
    """Eight lanes to the server."""
    listed = write_list(visit, "/media/{}.mp3")
    command = ["aria2c", "--no-conf", "-x8", "-s8", "-j8", "-k1M", "-d", str(visit.folder / "taken"), "-i", str(listed)]
    rip(visit, [*command, "--summary-interval=0", "--console-log-level=warn"])


def crawl_scrapy(visit: Visit) -> None:
    """Every page from the home page on, and the audio that they name."""
    command = [str(visit.python), "-m", "scrapy", "runspider", str(PROGRAMS / "spider.py"), "-a", f"start={visit.url}/"]
    rip(visit, [*command, "-s", f"CLOSESPIDER_TIMEOUT={visit.session.seconds:.0f}"])


def burst_aiohttp(visit: Visit) -> None:
    """The API by number, and the audio it names, as many at a time as aiohttp lets."""
    tracks = [str(track) for track in visit.tracks[FIRST : FIRST + 3 * WANTED]]
    rip(visit, [str(visit.python), str(PROGRAMS / "burst.py"), visit.url, tracks[0], str(len(tracks))])


def walk_headless(visit: Visit) -> None:
    """Headless Chromium, under its own name, from track page to track page; the page's own fetch takes the audio."""
    taken = 0
    with chromium(visit.folder, None) as browser:
        for track in wanted(visit):
            if visit.session.over:
                break
            try:
                browser.open(f"{visit.url}/track/{track}")
                got = browser.run(
                    "(async () => { const audio = document.querySelector('audio'); if (!audio) return 0;"
                    " const answer = await fetch(audio.src); if (!answer.ok) return 0;"
                    " return (await answer.arrayBuffer()).byteLength; })()"
                )
            except BrowserError as error:
                visit.told.append(f"track {track}: {error}"[:120])
                continue
            taken += bool(got)
    visit.told.append(f"took {taken} of {WANTED}")


RIPPERS = (
    Client(
        "yt-dlp",
        "yt-dlp on track pages",
        rip_ytdlp,
        ("ffmpeg",),
        ("{python}", "-m", "yt_dlp", "--version"),
        listener=False,
    ),
    Client(
        "yt-dlp-hls",
        "yt-dlp -N 8 on HLS",
        rip_ytdlp_hls,
        ("ffmpeg",),
        ("{python}", "-m", "yt_dlp", "--version"),
        listener=False,
    ),
    Client("aria2", "aria2 with eight lanes", rip_aria2, ("aria2c",), ("aria2c", "--version"), listener=False),
    Client("scrapy", "a Scrapy spider", crawl_scrapy, (), ("{python}", "-m", "scrapy", "version"), listener=False),
    Client(
        "aiohttp",
        "a burst of aiohttp",
        burst_aiohttp,
        (),
        ("{python}", "-c", "import aiohttp; print('aiohttp', aiohttp.__version__)"),
        listener=False,
    ),
    Client(
        "headless",
        "headless Chromium walking tracks",
        walk_headless,
        ("chromium",),
        ("chromium", "--version"),
        listener=False,
    ),
)

"""Real browsers, driven from outside: Chromium by the DevTools protocol, Firefox by WebDriver BiDi. No other library.

Each opens only what stands on 127.0.0.1: for all else its names resolve to nothing or its proxy is a closed port.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from loadtests.clients.processes import RigError, eventually, running, tail

START_S = 60.0
CALL_S = 30.0
CHROMIUM = (
    "--no-sandbox",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-backgrounding-occluded-windows",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-port=0",
)
FIREFOX: dict[str, bool | int | str] = {
    "app.update.enabled": False,
    "browser.aboutwelcome.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage": "about:blank",
    "browser.startup.homepage_override.mstone": "ignore",
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "media.autoplay.default": 0,
    "media.volume_scale": "0.0",  # no sound card is needed for silence
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.proxy.type": 1,  # what is not on this machine goes to a closed port
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
    "trailhead.firstrun.didSeeAboutWelcome": True,
}


class BrowserError(RigError):
    """The browser, or a script in the page, did not do what it was told."""


class Browser(Protocol):
    def open(self, url: str) -> None:
        """Go to an address, as one who types it."""

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited if it is a promise; as if the user had just clicked."""


class Wire:
    """Numbered commands and their answers on a WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    def call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Raises BrowserError."""
        number, deadline = next(self._ids), time.monotonic() + CALL_S
        try:
            self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
            while True:
                said = json.loads(self._socket.recv(timeout=max(0.01, deadline - time.monotonic())))
                if said.get("id") == number:
                    break
        except (TimeoutError, OSError, WebSocketException) as error:
            raise BrowserError(f"{method}: {type(error).__name__} {error}") from None
        if "error" in said:
            raise BrowserError(f"{method}: {said.get('message') or said['error']}")
        result: dict[str, Any] = said["result"]
        return result


def awaited(script: str) -> str:
    return f"Promise.resolve({script}).then((it) => JSON.stringify(it ?? null))"


class Chromium:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def open(self, url: str) -> None:
        self._wire.call("Page.navigate", {"url": url})
        await_page(self, None)

    def run(self, script: str) -> Any:
        told = self._wire.call(
            "Runtime.evaluate",
            {"expression": awaited(script), "awaitPromise": True, "returnByValue": True, "userGesture": True},
        )
        if "exceptionDetails" in told:
            said = told["exceptionDetails"]
            raise BrowserError(str(said.get("exception", {}).get("description") or said.get("text"))[:300])
        return json.loads(told["result"].get("value") or "null")


class Firefox:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        wire.call("session.new", {"capabilities": {}})
        self._page = wire.call("browsingContext.getTree", {})["contexts"][0]["context"]

    def open(self, url: str) -> None:
        self._wire.call("browsingContext.navigate", {"context": self._page, "url": url, "wait": "complete"})

    def run(self, script: str) -> Any:
        told = self._wire.call(
            "script.evaluate",
            {
                "expression": awaited(script),
                "target": {"context": self._page},
                "awaitPromise": True,
                "userActivation": True,
            },
        )
        if told["type"] != "success":
            raise BrowserError(str(told.get("exceptionDetails", {}).get("text"))[:300])
        return json.loads(told["result"].get("value") or "null")


def await_page(browser: Browser, url: str | None, within_s: float = CALL_S) -> None:
    """Wait until the page at `url` (or whichever it is) has loaded. Raises BrowserError."""
    seen: list[Any] = [None]

    def loaded() -> bool:
        try:
            where, state = browser.run("[location.href, document.readyState]")
        except BrowserError:
            return False  # between two pages
        seen[0] = where
        return state == "complete" and where != "about:blank" and (url is None or where.partition("#")[0] == url)

    if not eventually(loaded, within_s):
        raise BrowserError(f"{url or 'the page'} did not load; the browser is at {seen[0]}")


# -- starting them -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def xvfb(folder: Path) -> Iterator[str]:
    """A display without a screen: people's browsers have a window."""
    log = folder / "xvfb.log"
    reading, writing = os.pipe()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, reading)
        try:
            command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x900x24", "-nolisten", "tcp"]
            process = stack.enter_context(running(command, log, pass_fds=(writing,)))
        finally:
            os.close(writing)
        os.set_blocking(reading, False)
        said = b""

        def named() -> bool:
            nonlocal said
            with contextlib.suppress(BlockingIOError):
                said += os.read(reading, 100)
            return b"\n" in said or process.poll() is not None

        if not eventually(named, START_S) or b"\n" not in said:
            raise RigError(f"Xvfb would not start:\n{tail(log)}")
        yield f":{int(said)}"


@contextlib.contextmanager
def chromium(folder: Path, display: str | None) -> Iterator[Chromium]:
    """Chromium on a display, or headless and with the name it has then."""
    profile, log = folder / "chromium", folder / "chromium.log"
    command = ["chromium", *CHROMIUM, f"--user-data-dir={profile}", "--window-size=1200,850"]
    command += ["about:blank"] if display else ["--headless=new", "about:blank"]
    with running(command, log, environment=at(folder, display)) as process:
        note = profile / "DevToolsActivePort"
        await_note(process, note, log)
        port = int(note.read_text().split()[0])
        address: list[str] = []

        def listed() -> bool:
            address[:] = [page["webSocketDebuggerUrl"] for page in read_list(port) if page["type"] == "page"]
            return bool(address)

        if not eventually(listed, START_S):
            raise BrowserError(f"Chromium shows no page:\n{tail(log)}")
        with connect(address[0], max_size=None, proxy=None, compression=None, open_timeout=CALL_S) as socket:
            yield Chromium(Wire(socket))


@contextlib.contextmanager
def firefox(folder: Path, display: str | None) -> Iterator[Firefox]:
    """Firefox ESR on a display, or without one."""
    profile, log = folder / "firefox", folder / "firefox.log"
    profile.mkdir()
    lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in FIREFOX.items())
    (profile / "user.js").write_text("".join(lines), "utf-8")
    command = ["firefox-esr", "--profile", str(profile), "--no-remote", "--remote-debugging-port", "0"]
    command += [] if display else ["--headless"]
    with running([*command, "about:blank"], log, environment=at(folder, display)) as process:
        note = profile / "WebDriverBiDiServer.json"
        await_note(process, note, log)
        server = json.loads(note.read_text("utf-8"))
        url = f"ws://127.0.0.1:{server['ws_port']}/session"
        with connect(url, max_size=None, proxy=None, compression=None, open_timeout=CALL_S) as socket:
            yield Firefox(Wire(socket))


def at(folder: Path, display: str | None) -> dict[str, str]:
    """The environment of a browser that must not find anything of its user's."""
    return {"HOME": str(folder), "DISPLAY": display or "", "XDG_CACHE_HOME": str(folder / "cache")}


def await_note(process: subprocess.Popen[bytes], note: Path, log: Path) -> None:
    """The file in which a browser says where it listens. Raises BrowserError."""
    written = eventually(
        lambda: process.poll() is not None or (note.exists() and note.stat().st_size > 0), within_s=START_S
    )
    if not written or process.poll() is not None:
        raise BrowserError(f"the browser would not start:\n{tail(log)}")


def read_list(port: int) -> list[dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/json/list")
        told: list[dict[str, Any]] = json.loads(connection.getresponse().read())
    except OSError:
        return []
    finally:
        connection.close()
    return told

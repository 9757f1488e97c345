"""`guard robots import`: a robots.txt, from a file or a site, as a fragment to include into a policy."""

from __future__ import annotations

import argparse
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import replace
from difflib import get_close_matches
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from guard.classify import Catalogue
from guard.cli.policies import print_file, print_json, wrong_usage
from guard.fragment import Fragment, Note, Origin, TooMuch, adopt, plain, write
from guard.load import shipped_catalogue
from guard.robotstxt import MAX_BYTES, read_robots

DEADLINE_S = 10.0
MAX_REDIRECTS = 5


class Fetched(NamedTuple):
    """What was read, whence at last, and what is odd about it."""

    body: bytes
    source: str
    notes: tuple[Note, ...] = ()


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n"
        "  guard robots import https://music.example > from-robots.yaml\n"
        "  guard robots import robots.txt --agent GPTBot --agent CCBot\n\n"
        "then, in the policy: `include: [from-robots.yaml]`, and `guard diff` shows what it changes.\n"
        "exit codes: 0 written to stdout (what to look at: stderr), 2 wrong usage, or the file could not be had"
    )
    parser.add_argument("what", choices=["import"], help="turn a robots.txt into rules")
    parser.add_argument(
        "source", metavar="URL-or-FILE", help="http(s)://HOST, the URL of the file, a file, or - for stdin"
    )
    parser.add_argument(
        "--agent", action="append", default=[], metavar="A", help="only for this agent; may be repeated"
    )
    parser.add_argument("--strict", action="store_true", help="enforce also rules that refuse more than the file says")
    parser.add_argument("--json", action="store_true", help="as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    catalogue = shipped_catalogue()
    try:
        _check_agents(arguments.agent, catalogue)
        fetched = _read(arguments.source)
        robots = read_robots(fetched.body)
        if not robots.groups and not robots.sitemaps and _says_anything(fetched.body):
            also = "".join(f" ({note.message})" for note in fetched.notes)
            raise ValueError(f"{arguments.source}: no User-agent line in it: this is no robots.txt{also}")
        fragment = adopt(robots, catalogue, only=arguments.agent, trial=not arguments.strict)
    except OSError as error:
        return _refuse(f"{arguments.source}: {error.strerror or error}{_as_url(arguments.source)}", arguments.json)
    except (ValueError, TooMuch) as error:
        return _refuse(str(error), arguments.json)
    fragment = replace(fragment, notes=(*fetched.notes, *fragment.notes))
    text = write(fragment, fetched.source)
    if arguments.json:
        print_json({"ok": True, **_as_values(fragment, fetched.source, text)})
    else:
        print_file(text)
        sys.stderr.write("".join(f"guard robots: {note}\n" for note in fragment.notes))
    return 0


def _refuse(message: str, as_json: bool) -> int:
    return wrong_usage("robots", plain(message), as_json=as_json)


def _says_anything(body: bytes) -> bool:
    """Whether there is more in it than comments."""
    return any(line.strip() and not line.lstrip().startswith(b"#") for line in body.splitlines())


def _as_url(source: str) -> str:
    """A hint for who wrote a host and meant its robots.txt."""
    like_a_host = "." in source and not source.startswith((".", "/")) and not source.endswith((".txt", ".yaml"))
    return f"; did you mean https://{source}?" if like_a_host else ""


def _check_agents(names: list[str], catalogue: Catalogue) -> None:
    known = {agent.name.lower(): agent.name for agent in catalogue.agents}
    for name in names:
        if name.lower() not in known:
            near = get_close_matches(name.lower(), known, n=1)
            raise ValueError(f"unknown agent '{name}'" + (f", did you mean '{known[near[0]]}'?" if near else ""))


def _as_values(fragment: Fragment, source: str, text: str) -> dict[str, Any]:
    def paths(origins: tuple[Origin, ...]) -> list[dict[str, Any]]:
        return [{"path": origin.pattern, "line": origin.rule.line} for origin in origins]

    return {
        "source": source,
        "preferences": {purpose: word for purpose, (word, _) in fragment.preferences.items()},
        "rules": [
            {
                "name": rule.name,
                "categories": list(rule.categories),
                "agents": list(rule.agents),
                "not_agents": list(rule.not_agents),
                "paths": paths(rule.paths),
                "exceptions": paths(rule.exceptions),
                "mode": "observe" if rule.trial else "enforce",
            }
            for rule in fragment.rules
        ],
        "nothing_forbidden": list(fragment.silent),
        "sitemaps": [line.value for line in fragment.sitemaps],
        "notes": [{"line": note.line, "message": note.message} for note in fragment.notes],
        "fragment": text,
    }


# -- where it comes from -----------------------------------------------------------------------------------


def _read(source: str) -> Fetched:
    """The bytes of a file or a URL. Raises OSError or ValueError with one line to say."""
    if source == "-":
        return Fetched(sys.stdin.buffer.read(MAX_BYTES + 1), "standard input")
    if "://" in source:
        return fetch(source)
    with Path(source).open("rb") as file:
        return Fetched(file.read(MAX_BYTES + 1), source)


def fetch(url: str, deadline_s: float = DEADLINE_S) -> Fetched:
    """robots.txt over HTTP as RFC 9309 2.3.1 wants it: 4xx means that everything is allowed, 5xx that nobody knows.

    `deadline_s` is for all of it, names, redirects and body. Raises ValueError with one line to say.
    """
    outcome: list[Fetched | Exception] = []

    def work() -> None:
        try:
            outcome.append(_follow(url, deadline_s))
        except Exception as error:  # noqa: BLE001 - handed to who waits, raised there
            outcome.append(error)

    worker = threading.Thread(target=work, daemon=True)  # the name of a host may take as long as it likes
    worker.start()
    worker.join(deadline_s)
    if not outcome:
        raise ValueError(f"{url}: no answer within {deadline_s:g} s")
    found = outcome[0]
    if isinstance(found, Fetched):
        return found
    if isinstance(found, urllib.error.URLError) and not isinstance(found, urllib.error.HTTPError):
        raise ValueError(f"{url}: {getattr(found.reason, 'strerror', None) or found.reason}")
    if isinstance(found, (OSError, HTTPException)):
        raise ValueError(f"{url}: {found or type(found).__name__}")
    raise found


def _follow(url: str, deadline_s: float) -> Fetched:
    for _ in range(MAX_REDIRECTS + 1):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url}: only http:// and https:// addresses are fetched")
        if parts.username is not None:
            raise ValueError(f"{parts.hostname}: an address with a name or password in it is not fetched")
        if parts.path in ("", "/") and not parts.query:
            url = urljoin(url, "/robots.txt")
        wanted = {"User-Agent": "noai-guard", "Accept": "text/plain, */*;q=0.5", "Accept-Encoding": "identity"}
        request = urllib.request.Request(url, headers=wanted)  # noqa: S310 - the scheme was looked at
        with _opener().open(request, timeout=deadline_s) as answer:
            status, headers = answer.status, answer.headers
            if status in (301, 302, 303, 307, 308) and headers.get("location"):
                url = urljoin(url, headers["location"])
                continue
            return _judge(url, status, headers, answer.read(MAX_BYTES + 1) if status == 200 else b"")
    raise ValueError(f"{url}: more than {MAX_REDIRECTS} redirects")


def _opener() -> urllib.request.OpenerDirector:
    """HTTP and the proxies of the environment, nothing else: no files, no FTP; redirects and errors come back."""
    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler()):
        opener.add_handler(handler)
    return opener


def _judge(url: str, status: int, headers: Any, body: bytes) -> Fetched:
    if 400 <= status < 500 and status != 429:
        said = f"the answer was {status}: to a crawler everything is allowed then (RFC 9309 2.3.1.3)"
        return Fetched(b"", url, (Note(0, said),))
    if status != 200:
        raise ValueError(f"{url}: the answer was {status}: what crawlers may do is not known (RFC 9309 2.3.1.4)")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise ValueError(f"{url}: came compressed, which was not asked for")
    kind = headers.get_content_type()
    odd = () if kind == "text/plain" else (Note(0, f"it came as {kind}, not as text/plain: is it the file you mean?"),)
    return Fetched(body, url, odd)

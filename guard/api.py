"""The HTTP API over a register of rights, for a platform's settings page: an ASGI application.

    GET PUT PATCH DELETE  /guard/api/rights/{layer}/{id}           ?at= a past moment
    GET                   /guard/api/rights/{layer}/{id}/history
    GET                   /guard/api/rights                        ?since= &limit= &page=
    GET                   /guard/api/openapi.json
    GET                   /guard/api/health                        without a token

The law of this file: nothing is told and nothing is done before a token was seen; every body, table, queue and wait is
bounded; the register runs in threads. An id is taken from the path as it was sent and decoded once, so that `AC%2FDC`
is one id. Answers are never cached and hold nothing of the request that a browser could take for markup.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import logging
import re
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from math import ceil, inf
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from guard.errors import ChoiceError, RegisterError
from guard.memo import Memo
from guard.moments import read_moment, write_moment
from guard.openapi import PROBLEMS, describe
from guard.protocols import Change, RightsSource
from guard.registers import open_register
from guard.registers.remote import Entry, read_json, read_parents
from guard.registers.rows import check_parents
from guard.rights import (
    EVERY_KIND,
    PLATFORM,
    Chain,
    Choice,
    Rights,
    Work,
    check_work,
    climb,
    in_order,
    read_choice,
    resolve,
    write_choice,
)

MAX_BODY_BYTES = 64 * 1024
MAX_FAILURES = 5
"""Wrong tokens in a minute from one address; those that follow are answered 429."""

_FAILURES_PER_S = 60.0
_HEAD_WITHIN_S = 5.0
_BODY_WITHIN_S = 10.0
_FOLLOW_EVERY_S = 0.25
_MAX_JOBS = 64
_THREADS = 8
_MAX_BY_CHARS = 200
_MAX_DETAIL_CHARS = 300
_MIN_TOKEN_CHARS = 32

_BEARER = re.compile(rb"bearer {1,8}([A-Za-z0-9._~+/-]{1,512}={0,2})", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,512}={0,2}")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,62}[A-Za-z0-9])?")
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"')
_PAGE = re.compile(r"(-?[0-9]{1,15}):([0-9]{1,15})")
_MAX_SKIP = 10_000
"""Of a register that cannot go on from a place, this many changes of one moment are told at most."""

_log = logging.getLogger("guard.api")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


# -- tokens ------------------------------------------------------------------------------------------------


class Token(NamedTuple):
    """Who holds it is in the table's key. `digest` is the SHA-256 of the token, 32 bytes."""

    digest: bytes
    writes: bool = True


def read_tokens(source: Path | str) -> dict[str, Token]:
    """Tokens by their name, from a file or from text: a line `NAME: TOKEN` or `NAME: sha256:HEX` for each.

    `(read)` at the end of a line makes a token that may not write. Empty lines and those that begin with # say
    nothing. Raises ValueError with the line's number, and never with a token; OSError when there is no such file.
    """
    text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
    tokens: dict[str, Token] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, colon, said = line.partition(":")
        name, said = name.strip(), said.strip()
        if not colon or not _NAME.fullmatch(name):
            raise ValueError(f"line {number}: write NAME: TOKEN; a name has letters, digits, spaces and . _ -")
        writes = not said.endswith("(read)")
        token = Token(_digest(said.removesuffix("(read)").strip(), number), writes)
        if name in tokens or token.digest in [other.digest for other in tokens.values()]:
            raise ValueError(f"line {number}: this name or this token is there already")
        tokens[name] = token
    if not tokens:
        raise ValueError("no token: write a line NAME: TOKEN for each")
    return tokens


def _digest(said: str, number: int) -> bytes:
    if said.startswith("sha256:"):
        digest = said.removeprefix("sha256:")
        if not re.fullmatch(r"[0-9A-Fa-f]{64}", digest):
            raise ValueError(f"line {number}: sha256: takes 64 hexadecimal digits")
        return bytes.fromhex(digest)
    if len(said) < _MIN_TOKEN_CHARS:
        raise ValueError(f"line {number}: a token has at least {_MIN_TOKEN_CHARS} characters")
    if not _TOKEN.fullmatch(said):
        raise ValueError(f"line {number}: a token has letters, digits and - . _ ~ + / (RFC 6750)")
    return hashlib.sha256(said.encode()).digest()


class Failures:
    """Wrong tokens of the last minute by address, in a bounded table. Moments are arguments."""

    def __init__(self, addresses: int = 4096) -> None:
        self._moments: Memo[str, tuple[float, ...]] = Memo(addresses)

    def note(self, address: str, now_s: float) -> float:
        """Count one, and say how many seconds to wait: 0 while there were few enough."""
        key = _neighbours(address)
        recent = tuple(at_s for at_s in self._moments.get(key) or () if at_s > now_s - _FAILURES_PER_S)
        if len(recent) >= MAX_FAILURES:
            return recent[0] + _FAILURES_PER_S - now_s
        self._moments.keep(key, (*recent, now_s))
        return 0.0


def _neighbours(address: str) -> str:
    """What is counted together: an address, of IPv6 its /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "?"
    return address if parsed.version == 4 else str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))


# -- the application ---------------------------------------------------------------------------------------


class _Problem(Exception):
    """An answer that is a refusal (RFC 9457)."""

    def __init__(self, status: int, detail: str, *headers: tuple[str, str], key: str | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.key = status, detail, headers, key


class _Gone(Exception):
    """The client hung up."""


class _Answer(NamedTuple):
    status: int
    body: object
    headers: tuple[tuple[str, str], ...] = ()


class _Caller(NamedTuple):
    name: str
    writes: bool


PlatformWord = Callable[[float], Choice]
"""The platform's own word at a moment (seconds since 1970)."""


class Terms(NamedTuple):
    """What is in force: where the holders' words are (None: the policy keeps none), and the platform's own word."""

    register: Any
    platform: PlatformWord


class _Conditions(NamedTuple):
    """`match` None: no If-Match; "*": any; else the strong tags. `create`: If-None-Match: *."""

    match: frozenset[str] | None
    create: bool


_Make = Callable[[Entry | None], tuple[Choice | None, tuple[Work, ...] | None, str, str]]
"""From what is in force: the new choice, its parents (None: as they are), who says it, and why."""


def create_api(
    register: RightsSource | None,
    *,
    tokens: Mapping[str, Token | str],
    platform: Choice | PlatformWord | None = None,
    prefix: str = "/guard/api",
    deadline_s: float = 5.0,
    clock: Callable[[], float] = time.time,
) -> Api:
    """The API over `register` (None: there is none for now), to be served, or mounted: at `prefix`, or above it.

    `tokens`: name -> Token, or the SHA-256 of a token that may write, in hexadecimal. `platform` is the word that the
    policy has for all works, or what gives that of a moment. `deadline_s` bounds every question to the register.
    `clock` gives seconds since 1970.
    """
    read = {name: Token(bytes.fromhex(token)) if isinstance(token, str) else token for name, token in tokens.items()}
    if not read or any(len(token.digest) != 32 for token in read.values()):
        raise ValueError("the API needs at least one token, each a SHA-256 digest")
    word = platform if callable(platform) else _always(platform or Choice({}))
    return Api(Terms(register, word), read, prefix.rstrip("/"), deadline_s, clock)


def _always(choice: Choice) -> PlatformWord:
    return lambda _now_s: choice


class Api:
    """An ASGI application; see `create_api`. It opens the register when the server says that it starts, or when it is
    first asked: nobody tells an application that is mounted."""

    def __init__(
        self,
        terms: Terms,
        tokens: Mapping[str, Token],
        prefix: str,
        deadline_s: float,
        clock: Callable[[], float],
    ) -> None:
        self.terms = terms
        """May be put in the place of the old at any time: a request takes what is here when it comes."""
        self._tokens = tokens
        self._open: tuple[Any, asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None
        self._prefix = prefix
        self._deadline_s = deadline_s
        self._clock = clock
        self._failures = Failures()
        self._described = describe(prefix, _version())
        self._threads: ThreadPoolExecutor | None = None
        self._jobs = 0
        self._counting = threading.Lock()
        self._locks = tuple(threading.Lock() for _ in range(64))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            try:
                answer = await self._consider(scope, receive)
            except _Gone:
                return
            await _send_answer(answer, scope["method"], send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                if self.terms.register is not None:
                    await self._opened()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                if self._open is not None:
                    await self._open[0].close()
                    self._open = None
                if self._threads is not None:
                    self._threads.shutdown(wait=False, cancel_futures=True)
                    self._threads = None
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _opened(self) -> Terms:
        """What is in force, with its register open in the running loop, and no other."""
        terms, loop = self.terms, asyncio.get_running_loop()
        if terms.register is None:
            raise _Problem(503, "The policy in force keeps no rights of works.")
        before = self._open
        if before is None or before[:2] != (terms.register, loop):
            old = before[0] if before is not None and before[1] is loop else None
            self._open = before = (terms.register, loop, loop.create_task(_exchange(old, terms.register)))
        await asyncio.shield(before[2])
        return terms

    async def _consider(self, scope: Scope, receive: Receive) -> _Answer:
        """The answer to one request, whatever it is."""
        try:
            return await self._route(scope, receive)
        except _Problem as problem:
            return _refusal(problem)
        except ChoiceError as error:
            return _refusal(_Problem(422, error.message, key=error.key))
        except RegisterError as error:
            _log.warning("the register: %s", error)
            return _refusal(_Problem(503, "The register cannot be read or written now.", ("retry-after", "5")))
        except _Gone:
            raise
        except Exception:  # noqa: BLE001 - a fault of ours is told as one, in the same form as all others
            _log.exception("a request to the API failed")
            return _refusal(_Problem(500, "Please tell who runs this."))

    async def _route(self, scope: Scope, receive: Receive) -> _Answer:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        base, parts = _path_parts(scope, self._prefix)
        if parts == ["health"]:
            _allow(method, "GET")
            return _Answer(200, {"status": "ok"})
        caller = self._authorize(scope)
        match parts:
            case ["openapi.json"]:
                _allow(method, "GET")
                return _Answer(200, self._described | {"servers": [{"url": quote(base) or "/"}]})
            case ["rights"]:
                _allow(method, "GET")
                query = _read_query(scope, "since", "limit", "page")
                return await self._in_thread(self._changes, await self._opened(), query)
            case ["rights", layer, name, "history"]:
                _allow(method, "GET")
                limit = _read_limit(_read_query(scope, "limit"), 1000)
                work = _read_work(layer, name)
                return await self._in_thread(self._history, await self._opened(), work, limit)
            case ["rights", layer, name]:
                _allow(method, "GET", "PUT", "PATCH", "DELETE")
                work = _read_work(layer, name)
                if method == "GET":
                    query = _read_query(scope, "at")
                    at_s = _read_moment(query["at"], "at") if "at" in query else None
                    return await self._in_thread(self._look, await self._opened(), work, at_s)
                return await self._change(scope, receive, method, work, caller)
            case ["rights", *_] if len(parts) > 3:
                raise _Problem(404, "Write a slash within an id as %2F.")
        raise _Problem(404, "The addresses that there are stand in openapi.json.")

    def _authorize(self, scope: Scope) -> _Caller:
        lines = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(lines) > 1:
            raise _Problem(400, "Send one Authorization header.")
        if not lines:
            raise _Problem(401, "Send Authorization: Bearer TOKEN.", ("www-authenticate", 'Bearer realm="guard"'))
        found = None
        if sent := _BEARER.fullmatch(lines[0].strip()):
            digest = hashlib.sha256(sent[1]).digest()
            for name, token in self._tokens.items():  # all of them, so that time tells nothing
                if hmac.compare_digest(token.digest, digest):
                    found = _Caller(name, token.writes)
        if found is not None:
            # Also from an address with many failures: who shares it with a guesser must not be locked out, and
            # 32 characters are not guessed.
            return found
        wait_s = self._failures.note(str((scope.get("client") or ("",))[0]), self._clock())
        if wait_s > 0:
            raise _Problem(429, "Wait before you try another token.", ("retry-after", str(int(wait_s) + 1)))
        challenge = 'Bearer realm="guard", error="invalid_token"'
        raise _Problem(401, "This token is not known.", ("www-authenticate", challenge))

    async def _in_thread(self, ask: Callable[..., _Answer], *arguments: object) -> _Answer:
        """What the register says, within the deadline."""
        with self._counting:
            if self._jobs >= _MAX_JOBS:
                raise _Problem(503, "Too many questions wait for the register.", ("retry-after", "1"))
            self._jobs += 1
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, "guard-api")
        job = self._threads.submit(ask, *arguments)
        job.add_done_callback(self._finished)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job), self._deadline_s)
        except TimeoutError:
            detail = "The register did not answer in time. What was sent may still be noted; sending it again is safe."
            raise _Problem(503, detail, ("retry-after", "5")) from None

    def _finished(self, _job: Future[_Answer]) -> None:
        with self._counting:
            self._jobs -= 1

    # -- reading; all of this runs in threads

    def _look(self, terms: Terms, work: Work, at_s: float | None) -> _Answer:
        view = self._view(terms, work, at_s)
        return _Answer(200, view, (("etag", _etag(view)),))

    def _view(self, terms: Terms, work: Work, at_s: float | None = None) -> dict[str, Any]:
        """Everything about one work, now or at a past moment."""
        chain, entry = _chain(terms.register, work, at_s)
        now_s = self._clock() if at_s is None else at_s
        platform = terms.platform(now_s)
        rights = resolve(chain, platform, now_s)
        layers = [(PLATFORM, platform), *in_order(chain)]
        return {
            "work": str(work),
            "known": entry is not None,
            "choice": _written(dict(chain).get(work)),
            "parents": [str(parent) for parent in entry[1]] if entry else [],
            "layers": [
                {
                    "layer": one.layer,
                    "work": str(one),
                    "choice": _written(choice),
                    "in_force": choice is not None and choice.in_force(now_s),
                }
                for one, choice in layers
            ],
            "follows": _written_rights(rights),
        }

    def _history(self, terms: Terms, work: Work, limit: int) -> _Answer:
        changes: tuple[Change, ...] = _kept(terms.register, "history")(work)
        told = [_written_change(change) for change in changes[-limit:]]
        return _Answer(200, {"work": str(work), "changes": told, "total": len(changes)})

    def _changes(self, terms: Terms, query: Mapping[str, str]) -> _Answer:
        limit = _read_limit(query, 100)
        after = (0, 0)
        if "page" in query:
            if "since" in query:
                raise _Problem(400, "Send page or since, not both.")
            after = _read_page(query["page"])
        elif "since" in query:
            after = (ceil(round(_read_moment(query["since"], "since") * 1000, 3)), 0)
        told = _later(terms.register, after, limit + 1)
        following = None
        if len(told) > limit:
            at_ms, number = told[limit - 1][0]
            following = f"{at_ms}:{number}"
        changes = [_written_change(change) for _, change in told[:limit]]
        return _Answer(200, {"changes": changes, "next": following})

    # -- writing

    async def _change(self, scope: Scope, receive: Receive, method: str, work: Work, caller: _Caller) -> _Answer:
        terms = await self._opened()
        if not hasattr(terms.register, "put"):
            sentence = "This register is only read here: change it where it is kept."
            raise _Problem(405, sentence, ("allow", "GET, HEAD"))
        if not caller.writes:
            raise _Problem(403, "Use a token without (read).")
        conditions = _read_conditions(scope)
        query = _read_query(scope, *(("reason",) if method == "DELETE" else ()))
        body = await _read_body(scope, receive, patch=method == "PATCH", needed=method != "DELETE")
        make = {"PUT": _put, "PATCH": _patch, "DELETE": _withdraw}[method](work, body, query, caller.name)
        return await self._in_thread(self._write, terms, work, make, conditions)

    def _write(self, terms: Terms, work: Work, make: _Make, conditions: _Conditions) -> _Answer:
        lock = self._locks[hash(work) % len(self._locks)]
        if not lock.acquire(timeout=self._deadline_s):
            raise RegisterError("another change of this work is still under way")
        try:
            before: Entry | None = terms.register.entry(work)
            own = before[0] if before else None
            if conditions.create and own is not None:
                raise _Problem(412, "The work has a choice already.")
            if conditions.match is not None and not self._matches(terms, work, own, conditions.match):
                raise _Problem(412, "Look at the work again: it is not what If-Match names.")
            choice, parents, by, why = make(before)
            moved = parents is not None and parents != (before[1] if before else ())
            changed = moved or _words(own) != _words(choice)
            if changed:
                now_s = round(self._clock(), 3)
                if choice is not None:
                    choice = replace(choice, by=by, at_s=now_s, reason=why)
                terms.register.put(Change(now_s, work, choice, by, why), parents)
            view = self._view(terms, work)
        finally:
            lock.release()
        said = {
            "work": str(work),
            "changed": changed,
            "before": _written(own),
            "after": view["choice"],
            "parents": view["parents"],
        }
        status = 201 if changed and own is None and choice is not None else 200
        return _Answer(status, said, (("etag", _etag(view)),))

    def _matches(self, terms: Terms, work: Work, own: Choice | None, tags: frozenset[str]) -> bool:
        return own is not None if "*" in tags else _etag(self._view(terms, work)) in tags


# -- what a register tells


async def _exchange(old: Any, new: Any) -> None:
    """Open a register in the place of another. Neither may fail because it is away; if one does, it is away."""
    for step in (new.open, *(() if old is None else (old.close,))):
        try:
            await step()
        except Exception:  # noqa: BLE001 - the next question shows whether it answers
            _log.exception("a register could not be opened or closed")


def _chain(register: Any, work: Work, at_s: float | None) -> tuple[Chain, Entry | None]:
    if not hasattr(register, "entry"):
        if at_s is not None:
            _kept(register, "at")
        known = register.find((work,))
        if known.state == "away":
            raise _Problem(503, "The source of rights was asked and has not answered yet.", ("retry-after", "1"))
        own = dict(known.chain).get(work)
        return known.chain, (own, ()) if own is not None else None
    if at_s is not None:
        past: Chain = _kept(register, "at")((work,), at_s).chain
        known_now: Entry | None = register.entry(work)
        return past, known_now
    entries: dict[Work, Entry | None] = {}

    def look(one: Work) -> Entry | None:
        entry: Entry | None = register.entry(one)
        entries[one] = entry
        return entry

    chain = climb((work,), look)
    return chain, entries[work]


def _later(register: Any, after: tuple[int, int], limit: int) -> Sequence[tuple[tuple[int, int], Change]]:
    """At most `limit` changes behind a place, each with its own: its moment in milliseconds, and a number there."""
    ask = getattr(register, "later", None)
    if ask is not None:
        found: Sequence[tuple[tuple[int, int], Change]] = ask(after, limit)
        return found
    changes = _kept(register, "changes")  # it cannot go on from a place: within one moment they are counted
    at_ms, given = after
    if given > _MAX_SKIP:
        raise _Problem(400, "page is what stood in `next`.", key="page")
    numbers: dict[int, int] = {}
    told: list[tuple[tuple[int, int], Change]] = []
    for change in changes(at_ms / 1000, given + limit):
        at = round(change.at_s * 1000)
        numbers[at] = numbers.get(at, 0) + 1
        if (at, numbers[at]) > after:
            told.append(((at, numbers[at]), change))
    return told


def _kept(register: Any, name: str) -> Callable[..., Any]:
    """What the register tells of the past. Raises _Problem when it keeps none."""
    ask: Callable[..., Any] | None = getattr(register, name, None)
    if ask is None:
        raise _Problem(404, "This source of rights keeps no history.")
    return ask


# -- what is to be written


def _put(work: Work, body: Any, _query: Mapping[str, str], name: str) -> _Make:
    said, parents = _read_said(work, body, body)
    return lambda _before: (said, parents, _author(name, said), said.reason)


def _patch(work: Work, body: Any, _query: Mapping[str, str], name: str) -> _Make:
    def make(before: Entry | None) -> tuple[Choice | None, tuple[Work, ...] | None, str, str]:
        written = _words(before[0] if before else None) or {}
        said, parents = _read_said(work, _merge(written, body), body)
        return said, parents, _author(name, said), said.reason

    return make


def _withdraw(work: Work, body: Any, query: Mapping[str, str], name: str) -> _Make:
    body = {} if body is None else body
    if not isinstance(body, dict):
        raise ChoiceError("", "expected a mapping (key: value)")
    for key in body:
        if key not in ("reason", "by"):
            raise ChoiceError(str(key), "unknown key (one of: reason, by)")
    if "reason" in query and "reason" in body:
        raise _Problem(400, "Say the reason once, in the query or in the body.")
    said = _read_valid({**query, **body})
    if not said.reason:
        raise ChoiceError("reason", "say why it is withdrawn, like ?reason=contract+ended")
    return lambda _before: (None, None, _author(name, said), said.reason)


def _read_said(work: Work, said: Any, body: Any) -> tuple[Choice, tuple[Work, ...] | None]:
    """The choice in `said`, which is `body` or was made with it, and the parents in `body`. Raises ChoiceError."""
    if not isinstance(body, dict):
        raise ChoiceError("", "expected a mapping (key: value)")
    if "at" in said:
        raise ChoiceError("at", "the register notes the moment itself: leave it out")
    parents: tuple[Work, ...] | None = None
    if "parents" in body:
        parents = read_parents(body["parents"])
        check_parents(work, parents)
    return _read_valid({key: value for key, value in said.items() if key != "parents"}), parents


def _merge(written: Any, patch: Any) -> Any:
    """RFC 7396, section 2. Bodies are at most 16 deep."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(written) if isinstance(written, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged


def _read_valid(said: object) -> Choice:
    """A choice whose author has a name of bearable length. Raises ChoiceError."""
    choice = read_choice(said)
    if len(choice.by) > _MAX_BY_CHARS:
        raise ChoiceError("by", f"at most {_MAX_BY_CHARS} characters")
    return choice


def _author(name: str, said: Choice) -> str:
    return f"{name}/{said.by}" if said.by else name


def _words(choice: Choice | None) -> dict[str, Any] | None:
    """What a choice says, without who said it, when and why."""
    return None if choice is None else write_choice(replace(choice, by="", at_s=0.0, reason=""))


def _written(choice: Choice | None) -> dict[str, Any] | None:
    return None if choice is None else write_choice(choice)


def _written_change(change: Change) -> dict[str, Any]:
    return {
        "at": write_moment(change.at_s),
        "work": str(change.work),
        "choice": _written(change.choice),
        "by": change.by,
        "reason": change.reason,
    }


def _written_rights(rights: Rights) -> dict[str, Any]:
    licences = tuple(licence for licence, _ in rights.licences)
    out: dict[str, Any] = {
        "preferences": dict(rights.stated("")),
        "kinds": {kind: dict(rights.stated(kind)) for kind in EVERY_KIND if kind},
        "opened": [{"kind": kind, "purpose": purpose} for kind, purpose in sorted(rights.opened)],
        "licences": write_choice(Choice({}, licences=licences))["licences"],
        "until": None if rights.until_s == inf else write_moment(rights.until_s),
    }
    texts = {"contact": rights.contact, "licence": rights.licence_url, "territory": rights.territory}
    return out | {key: text for key, text in texts.items() if text}


# -- requests ----------------------------------------------------------------------------------------------


def _path_parts(scope: Scope, prefix: str) -> tuple[str, list[str]]:
    """Where the API begins, and the segments behind that, each decoded once. Raises _Problem.

    The prefix stands in the address, or where the application is mounted ends with it.
    """
    raw = scope.get("raw_path")
    root = scope.get("root_path", "").rstrip("/")
    path: bytes = quote(scope["path"]).encode() if raw is None else raw.partition(b"?")[0]
    path = _below(path, root)
    if prefix and path.startswith(f"{prefix}/".encode()):
        path, root = path[len(prefix) :], root + prefix
    elif prefix and not root.endswith(prefix):
        raise _Problem(404, "The addresses that there are stand in openapi.json.")
    try:
        return root, [unquote_to_bytes(part).decode() for part in path.split(b"/")[1:]]
    except UnicodeDecodeError:
        raise _Problem(400, "The address is no UTF-8.") from None


def _below(path: bytes, root: str) -> bytes:
    """What of a path lies below where the application is mounted, as it was sent."""
    wanted = root.encode("utf-8", "surrogatepass")
    if not wanted:
        return path
    end = path.find(b"/", 1)
    while True:
        start = path if end < 0 else path[:end]
        seen = unquote_to_bytes(start)
        if seen == wanted:
            return path[len(start) :]
        if end < 0 or len(seen) > len(wanted):
            return path  # a proxy took the root away
        end = path.find(b"/", end + 1)


def _allow(method: str, *methods: str) -> None:
    if method not in methods:
        allowed = ", ".join(dict.fromkeys((*methods[:1], "HEAD", *methods[1:])))
        raise _Problem(405, f"Here one can {allowed}.", ("allow", allowed))


def _read_work(layer: str, name: str) -> Work:
    try:
        return check_work(layer, name)
    except ChoiceError as error:
        raise _Problem(404, error.message, key=error.key) from None


def _read_query(scope: Scope, *known: str) -> dict[str, str]:
    """The parameters, each of them known and there once. Raises _Problem."""
    text = scope.get("query_string", b"").decode("latin-1")
    if not text:
        return {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, max_num_fields=16, errors="strict")
    except ValueError:
        raise _Problem(400, "The query cannot be read.") from None
    query = dict(pairs)
    if len(query) < len(pairs) or not set(query) <= set(known):
        said = f"Of these, each once: {', '.join(known)}." if known else "Nothing is asked in a query here."
        raise _Problem(400, said)
    return query


def _read_limit(query: Mapping[str, str], default: int) -> int:
    text = query.get("limit", str(default))
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= 1000:
        raise _Problem(400, "limit is a number from 1 to 1000.", key="limit")
    return int(text)


def _read_moment(text: str, key: str) -> float:
    try:
        moment_s = read_moment(text)
        write_moment(moment_s)
    except (ValueError, OverflowError) as error:
        raise _Problem(400, f"{key}: {error}", key=key) from None
    return moment_s


def _read_page(text: str) -> tuple[int, int]:
    """Milliseconds since 1970, and the number of the last change that was told. Raises _Problem."""
    match = _PAGE.fullmatch(text)
    if match is None:
        raise _Problem(400, "page is what stood in `next`.", key="page")
    return int(match[1]), int(match[2])


def _read_conditions(scope: Scope) -> _Conditions:
    """If-Match and If-None-Match (RFC 9110, section 13.1). Raises _Problem."""
    lines = _header(scope, b"if-match")
    none = _header(scope, b"if-none-match")
    if none not in (None, "*"):
        raise _Problem(400, "If-None-Match can only be * here.")
    if lines is None:
        return _Conditions(None, none is not None)
    tags = [tag.strip() for tag in lines.split(",")]
    if tags != ["*"] and not all(_ETAG.fullmatch(tag) for tag in tags):
        raise _Problem(400, "If-Match takes entity tags in quotes, or *.")
    return _Conditions(frozenset(tags), none is not None)


def _header(scope: Scope, name: bytes) -> str | None:
    lines = [value.decode("latin-1").strip() for key, value in scope["headers"] if key == name]
    return ", ".join(lines) if lines else None


async def _read_body(scope: Scope, receive: Receive, *, patch: bool, needed: bool) -> Any:
    """The JSON of a body; None where there may be none and is none. Raises _Problem."""
    length = _header(scope, b"content-length") or "0"
    if length.isascii() and length.isdigit() and (len(length) > 9 or int(length) > MAX_BODY_BYTES):
        raise _Problem(413, f"At most {MAX_BODY_BYTES} bytes.")
    try:
        async with asyncio.timeout(_BODY_WITHIN_S):
            body = await _receive_body(receive)
    except TimeoutError:
        raise _Problem(408, f"The body has to be here within {_BODY_WITHIN_S:.0f} seconds.") from None
    if not body and not needed:
        return None
    media = (_header(scope, b"content-type") or "").lower().replace(" ", "")
    kinds = ("application/json", "application/merge-patch+json") if patch else ("application/json",)
    name, _, parameters = media.partition(";")
    if name not in kinds or parameters not in ("", "charset=utf-8", 'charset="utf-8"'):
        raise _Problem(415, f"Send Content-Type: {kinds[0]}.", ("accept", ", ".join(kinds)))
    if (_header(scope, b"content-encoding") or "identity").lower() != "identity":
        raise _Problem(415, "Send the body as it is, without Content-Encoding.")
    try:
        value = read_json(body)
    except ValueError as error:
        what = f"at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else str(error)[:80]
        raise _Problem(400, f"The body is no JSON: {what}.") from None
    if _deeper_than(value, 16):
        raise _Problem(400, "The body is nested too deeply.")
    return value


async def _receive_body(receive: Receive) -> bytes:
    pieces: list[bytes] = []
    room = MAX_BODY_BYTES
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        piece: bytes = message.get("body", b"")
        room -= len(piece)
        if room < 0:
            raise _Problem(413, f"At most {MAX_BODY_BYTES} bytes.")
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)


def _deeper_than(value: object, levels: int) -> bool:
    below: Iterable[object]
    if isinstance(value, dict):
        below = value.values()
    elif isinstance(value, list):
        below = value
    else:
        return False
    return levels == 0 or any(_deeper_than(one, levels - 1) for one in below)


# -- answers -----------------------------------------------------------------------------------------------


def _dump(value: object) -> bytes:
    """JSON in ASCII in which no reader finds markup."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode()


def _etag(view: object) -> str:
    return f'"{hashlib.sha256(_dump(view)).hexdigest()[:32]}"'


def _refusal(problem: _Problem) -> _Answer:
    detail = problem.detail
    if len(detail) > _MAX_DETAIL_CHARS:
        detail = detail[: _MAX_DETAIL_CHARS - 1] + "…"
    said: dict[str, object] = {"title": PROBLEMS[problem.status], "status": problem.status, "detail": detail}
    if problem.key is not None:
        said["key"] = problem.key[:_MAX_DETAIL_CHARS]
    return _Answer(problem.status, said, problem.headers)


async def _send_answer(answer: _Answer, method: str, send: Send) -> None:
    body = _dump(answer.body)
    media = "application/problem+json" if answer.status >= 400 else "application/json"
    headers = (
        ("content-type", media),
        ("content-length", str(len(body))),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        *answer.headers,
    )
    pairs = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": pairs})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})


def _version() -> str:
    try:
        return version("noai-guard")
    except PackageNotFoundError:
        return "0"


# -- a process of its own ----------------------------------------------------------------------------------


def serve_api(
    register_location: str | None,
    sock: socket.socket,
    tokens: Mapping[str, Token | str],
    *,
    platform: Choice | PlatformWord | None = None,
    follow: Callable[[], tuple[str | None, PlatformWord] | None] | None = None,
) -> None:
    """Answer on a listening socket until SIGTERM or SIGINT, then return when what is under way is done (5 s at most).

    `follow` is asked again and again, in a thread, what is in force now: where the register is (None: there is none
    any more) and the platform's word, or None while nothing has changed. A register with problems is away until they
    are mended. To be called in the main thread of a process. Raises ValueError when the location names no register.
    """
    import uvicorn

    register = _open_leniently(register_location)
    api = create_api(register, tokens=tokens, platform=platform)
    ended = threading.Event()
    if follow is not None:
        threading.Thread(target=_follow, args=(api, register_location, follow, ended), daemon=True).start()
    config = uvicorn.Config(
        api,
        http=_hurrying(),
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_config=None,
        lifespan="on",
        ws="none",
        limit_concurrency=256,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,
    )
    # uvicorn sends the signal that ended it once more to whoever was there before; here that is nobody.
    before = {number: signal.signal(number, _ignore) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        uvicorn.Server(config).run(sockets=[sock])
    finally:
        ended.set()
        for number, previous in before.items():
            signal.signal(number, previous)


def _ignore(_number: int, _frame: object) -> None:
    """The end was asked for, and has come."""


def _hurrying() -> type[asyncio.Protocol]:
    """uvicorn's protocol for a connection that is closed when a request's head takes long: otherwise a few hundred who
    send half of one would keep everybody else out."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class Hurrying(HttpToolsProtocol):
        _too_late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self._wait_no_more()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            if self._too_late is None:
                self._wait()
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._wait_no_more()
            super().on_headers_complete()

        def _wait(self) -> None:
            self._too_late = self.loop.call_later(_HEAD_WITHIN_S, self._give_up)

        def _wait_no_more(self) -> None:
            if self._too_late is not None:
                self._too_late.cancel()
                self._too_late = None

        def _give_up(self) -> None:
            if self.cycle is not None and not self.cycle.response_complete:
                self._wait()  # the answer to the request before is still under way
            elif not self.transport.is_closing():
                self.transport.close()

    return Hurrying


def _open_leniently(location: str | None) -> RightsSource | None:
    return None if location is None else open_register(location, lenient=True)


def _follow(
    api: Api,
    location: str | None,
    ask: Callable[[], tuple[str | None, PlatformWord] | None],
    ended: threading.Event,
) -> None:
    """Put what is in force into the API, until the end."""
    while not ended.wait(_FOLLOW_EVERY_S):
        try:
            found = ask()
            if found is None:
                continue
            there, platform = found
            register = api.terms.register if there == location else _open_leniently(there)
            location = there
            api.terms = Terms(register, platform)
            _log.info("the API follows the policy that is in force now")
        except Exception:  # noqa: BLE001 - what was in force goes on
            _log.exception("the policy cannot be followed")

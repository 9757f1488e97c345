"""Rights asked from a platform's own address: one POST for many works, beside the requests that want them.

    POST URL    {"works": ["track:1001", "artist:7"]}
    200         {"works": {"track:1001": {"parents": ["artist:7"], "preferences": {"train-ai": "disallow"}},
                           "artist:7": null}}

The law of this file: one deadline covers connecting, sending and the last byte; an answer is bounded before it is
read; no redirect is followed; and the address never holds anything that a client sent.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
from collections.abc import Sequence
from http.client import HTTPException, HTTPResponse
from io import BytesIO
from math import inf
from socket import socket
from typing import cast
from urllib.parse import SplitResult, urlsplit

from guard.errors import ChoiceError, RegisterError
from guard.registers.remote import MAX_ENTRY_CHARS, Answers, Entry, RemoteSource, read_entry, read_json
from guard.rights import Work

MAX_ANSWER_BYTES = 1 << 20
_MAX_HEAD_BYTES = 65_536
_READ_AT_ONCE_BYTES = 65_536
"""Longer answers are read in a thread, so that no request waits for that."""

_MAX_AGE = re.compile(r'(?:^|[\s,])max-age="?([0-9]{1,9})"?(?=[\s,]|$)', re.IGNORECASE)
_NO_AGE = re.compile(r"(?:^|[\s,])(?:no-store|no-cache)(?=[\s,=]|$)", re.IGNORECASE)


class HttpRegister(RemoteSource):
    """Rights from `url` (http or https), asked for at most 100 works at a time and remembered for `max_age_s`.

    `Cache-Control: max-age` of an answer shortens that, to a second at least. `token` is sent as `Authorization:
    Bearer`; without one, GUARD_RIGHTS_TOKEN of the environment is. Raises ValueError for an address or a token that
    cannot be used. It is a source, not a register: nothing is written to it.
    """

    tells = False  # the platform is asked again when its answers are old

    def __init__(self, url: str, *, max_age_s: float = 60.0, timeout_s: float = 1.0, token: str = "") -> None:
        parts, host, port = _read_url(url)
        super().__init__(f"{parts.scheme}://{parts.netloc}", max_age_s=max_age_s, timeout_s=timeout_s)
        self._host, self._port = host, port
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        token = token or os.environ.get("GUARD_RIGHTS_TOKEN", "")
        if any(not "!" <= char <= "~" for char in token):
            raise ValueError("the token of the rights callback may only hold visible ASCII characters")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        head = [
            f"POST {target} HTTP/1.1",
            f"Host: {parts.netloc}",
            "User-Agent: noai-guard",
            "Content-Type: application/json",
            "Accept: application/json",
            "Accept-Encoding: identity",
            "Connection: close",
            *([f"Authorization: Bearer {token}"] if token else []),
        ]
        self._head = "\r\n".join(head).encode("ascii")

    async def fetch(self, works: Sequence[Work]) -> Answers:
        body = json.dumps({"works": [str(work) for work in works]}).encode()
        head = b"%b\r\nContent-Length: %d\r\n\r\n" % (self._head, len(body))
        answer = await self._exchange(head + body)
        if len(answer) > _READ_AT_ONCE_BYTES:
            return await asyncio.to_thread(self._read, works, answer)
        return self._read(works, answer)

    def _read(self, works: Sequence[Work], answer: bytes) -> Answers:
        response, text = _read_response(answer)
        if response.status != 200:
            raise RegisterError(f"the answer was {response.status}, not 200")
        try:
            said = read_json(text)
        except ValueError:
            raise RegisterError("the answer is no JSON") from None
        table = said.get("works") if isinstance(said, dict) else None
        if not isinstance(table, dict):
            raise RegisterError('the answer is not {"works": {…}}')
        answers: dict[Work, Entry | None] = {}
        for work in works:
            if str(work) not in table:
                self.complain(work, ChoiceError("", "it is not in the answer"))
                continue
            value = table[str(work)]
            try:
                if value is not None and len(json.dumps(value)) > MAX_ENTRY_CHARS:
                    raise ChoiceError("", f"more than {MAX_ENTRY_CHARS} characters")
                answers[work] = read_entry(value)
            except ChoiceError as error:
                self.complain(work, error)
        return Answers(answers, _age_s(response.headers.get_all("Cache-Control") or ()))

    async def _exchange(self, request: bytes) -> bytes:
        """Everything that the server sends until it closes. The caller has set the deadline."""
        reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        try:
            writer.write(request)
            await writer.drain()
            pieces: list[bytes] = []
            room = MAX_ANSWER_BYTES + _MAX_HEAD_BYTES
            while room > 0 and (piece := await reader.read(65_536)):
                pieces.append(piece)
                room -= len(piece)
            if room <= 0:
                raise RegisterError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
            return b"".join(pieces)
        finally:
            writer.transport.abort()  # nothing is left to be said, and nobody waits for a slow farewell


def _read_url(url: str) -> tuple[SplitResult, str, int]:
    """The parts of a callback's address, its host and its port. Raises ValueError without quoting it."""
    wrong = "the rights callback must be an address like https://HOST[:PORT]/PATH"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(wrong) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or any(not "!" <= char <= "~" for char in url):
        raise ValueError(wrong)
    if "@" in parts.netloc or parts.fragment:
        raise ValueError(f"{wrong}, without user, password and fragment; a token stands in GUARD_RIGHTS_TOKEN")
    return parts, parts.hostname, port or (443 if parts.scheme == "https" else 80)


class _Bytes:
    """What the standard library takes for a socket: an answer that is here already."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, _mode: str) -> BytesIO:
        return BytesIO(self._answer)


def _read_response(answer: bytes) -> tuple[HTTPResponse, bytes]:
    """Status and headers, and the body. Raises RegisterError."""
    try:
        response = HTTPResponse(cast(socket, _Bytes(answer)), method="POST")
        response.begin()
        body = response.read(MAX_ANSWER_BYTES + 1)
    except (HTTPException, ValueError, OSError):
        raise RegisterError("the answer is no HTTP, or it broke off" if answer else "it hung up") from None
    if len(body) > MAX_ANSWER_BYTES:
        raise RegisterError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
    if response.length:
        raise RegisterError("the answer broke off")
    return response, body


def _age_s(lines: Sequence[str]) -> float:
    """How long an answer may be remembered (RFC 9111, section 5.2.2); inf when it does not say."""
    said = ",".join(lines)
    ages = [float(age) for age in _MAX_AGE.findall(said)]
    return 0.0 if _NO_AGE.search(said) else min(ages, default=inf)

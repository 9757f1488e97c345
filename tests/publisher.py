"""A host on loopback that publishes what it is told to, over TLS, and a name server that answers what it is told to.

    with Publisher() as publisher:
        publisher.answers["/bots.json"] = listed("198.51.100.0/24")
        await fetch(publisher.url("/bots.json"), max_bytes=65_536, deadline_s=3, reach=publisher.reach())

Both live in threads of their own, so a test may block, and count every connection that is made to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import dnslib
import trustme

from guard.fetch import Reach

HOST = "bot.example.net"
HOSTS = (HOST, "lists.example.net", "other.example.org")
DOCUMENTATION = tuple(ip_network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"))
DOCUMENTATION += (ip_network("2001:db8::/32"),)
LOOPBACK = ip_network("127.0.0.0/8")


@dataclass(frozen=True)
class Answer:
    """What one path says. `headers` come in addition; a Content-Length there takes the place of the right one.

    `pace_s` is the pause before each byte of the body; `hangs` is when nothing more comes: "" never, "head" before
    the status line, "body" after half of the body. `chunk_bytes` sends the body in chunks of that size.
    `raw` is sent instead of everything.
    """

    body: bytes = b""
    status: int = 200
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    pace_s: float = 0.0
    hangs: str = ""
    chunk_bytes: int = 0
    raw: bytes | None = None

    def but(self, **changes: Any) -> Answer:
        return replace(self, **changes)


def listed(*prefixes: str, created: str = "2026-11-01T00:00:00.000000", **more: Any) -> Answer:
    """A right list of prefixes, in the shape that most operators use."""
    entries = [{"ipv6Prefix" if ":" in prefix else "ipv4Prefix": prefix} for prefix in prefixes]
    return Answer(json.dumps({"creationTime": created, "prefixes": entries}).encode(), **more)


HANGING = Answer(hangs="head")
EMPTY = Answer()
UNAVAILABLE = Answer(b"later", status=503, media_type="text/plain")


def dripping(body: bytes = b"{}" * 500, pace_s: float = 1.0) -> Answer:
    """One byte a second."""
    return Answer(body, pace_s=pace_s)


def bomb(size_bytes: int = 10 << 20) -> Answer:
    """Ten megabytes, and their length is not told beforehand."""
    return Answer(b" " * size_bytes, chunk_bytes=65_536)


def gzip_bomb(size_bytes: int = 10 << 20) -> Answer:
    return Answer(gzip.compress(b" " * size_bytes), headers={"Content-Encoding": "gzip"})


def redirecting(to: str, status: int = 302) -> Answer:
    return Answer(status=status, headers={"Location": to})


class Asked(NamedTuple):
    """A request as it came in; header names in lower case."""

    host: str
    target: str
    headers: dict[str, str]


class Publisher:
    """An https host with a CA of its own. `answers` go by path, or by "host/path" first; what is not there is a 404.

    `connections` counts what was accepted, before TLS; `requests` are those that were read.
    """

    def __init__(self, hosts: Iterable[str] = HOSTS) -> None:
        self.answers: dict[str, Answer] = {}
        self.connections = 0
        self.requests: list[Asked] = []
        self.resolved: list[str] = []
        self._ca = trustme.CA()
        self._server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._ca.issue_cert(*hosts).configure_cert(self._server_tls)
        self.tls = ssl.create_default_context()
        self._ca.configure_trust(self.tls)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.port = int(self._socket.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Publisher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._socket.close()

    def url(self, path: str = "/bots.json", host: str = HOST) -> str:
        return f"https://{host}:{self.port}{path}"

    def reach(self, **changes: Any) -> Reach:
        """All names lead here, loopback and the networks for documentation are as good as public."""
        reach = Reach(tls=self.tls, addresses=self.here, ports=(443, self.port), allowed=(LOOPBACK, *DOCUMENTATION))
        reach = replace(reach, instead_of_443=self.port)
        return replace(reach, **changes)

    def write_ca(self, path: Path) -> Path:
        """The CA's certificate as a PEM file, for another process."""
        self._ca.cert_pem.write_to_path(str(path))
        return path

    async def here(self, host: str, port: int) -> list[str]:
        self.resolved.append(host)
        return ["127.0.0.1"]

    def asked(self, path: str) -> int:
        """How many requests there were for a path."""
        return sum(request.target == path for request in self.requests)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda _loop, _what: None)
        self._loop.create_task(self._accept())
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _accept(self) -> None:
        tasks = set()
        while True:
            connection, _ = await self._loop.sock_accept(self._socket)
            self.connections += 1
            task = self._loop.create_task(self._serve(connection))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _serve(self, connection: socket.socket) -> None:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await self._loop.connect_accepted_socket(lambda: protocol, connection, ssl=self._server_tls)
        except (OSError, ssl.SSLError):
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
        try:
            await self._answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        target = head[0].split(" ")[1]
        host = headers.get("host", "").partition(":")[0]
        self.requests.append(Asked(host, target, headers))
        missing = Answer(b"none", status=404)
        answer = self.answers.get(host + target) or self.answers.get(target) or missing
        if answer.raw is not None:
            writer.write(answer.raw)
            await writer.drain()
            return
        if answer.hangs == "head":
            await asyncio.sleep(3600)
        fields = {"Content-Type": answer.media_type} if answer.media_type else {}
        if answer.chunk_bytes:
            fields["Transfer-Encoding"] = "chunked"
        else:
            fields["Content-Length"] = str(len(answer.body))
        fields.update(answer.headers)
        lines = [f"HTTP/1.1 {answer.status} X", *(f"{name}: {value}" for name, value in fields.items())]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        if answer.hangs == "body":
            writer.write(answer.body[: len(answer.body) // 2])
            await writer.drain()
            await asyncio.sleep(3600)
        if answer.pace_s:
            for byte in answer.body:
                if writer.is_closing():
                    return
                await asyncio.sleep(answer.pace_s)
                writer.write(bytes([byte]))
                await writer.drain()
        elif answer.chunk_bytes:
            for start in range(0, len(answer.body), answer.chunk_bytes):
                if writer.is_closing():
                    return
                piece = answer.body[start : start + answer.chunk_bytes]
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
        else:
            writer.write(answer.body)
        await writer.drain()


class NameServer:
    """A name server on loopback, over UDP and TCP. What nobody wrote down does not exist (NXDOMAIN).

    `ptr` goes by address, `a` and `aaaa` by name without the dot at its end; a list of lists is one answer after the
    other, the last of them for ever. Names in `silent` get no answer, those in `rcodes` that one; "*" is every name.
    `queries` are all that came, as (name, type).
    """

    def __init__(self) -> None:
        self.ptr: dict[str, list[Any]] = {}
        self.a: dict[str, list[Any]] = {}
        self.aaaa: dict[str, list[Any]] = {}
        self.cname: dict[str, str] = {}
        self.silent: set[str] = set()
        self.rcodes: dict[str, str] = {}
        self.queries: list[tuple[str, str]] = []
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._bind()
        self._tcp.listen()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._run_udp, self._run_tcp)]

    @property
    def address(self) -> str:
        """For a list of name servers: "127.0.0.1:PORT"."""
        host, port = self._udp.getsockname()
        return f"{host}:{port}"

    def __enter__(self) -> NameServer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in (self._udp, self._tcp):
            shut(one)

    def _bind(self) -> None:
        for _ in range(20):
            self._udp.bind(("127.0.0.1", 0))
            try:
                self._tcp.bind(("127.0.0.1", self._udp.getsockname()[1]))
                return
            except OSError:
                self._udp.close()
                self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        raise OSError("no port for both UDP and TCP")

    def _run_udp(self) -> None:
        while True:
            try:
                message, peer = self._udp.recvfrom(4096)
            except OSError:
                return
            if not message:  # it was shut
                return
            reply = self._reply(message)
            if reply is None:
                continue
            packed = reply.pack()
            if len(packed) > 1232:
                short = dnslib.DNSRecord(reply.header, q=reply.q)
                short.header.tc = 1
                packed = short.pack()
            with contextlib.suppress(OSError):  # it was shut meanwhile
                self._udp.sendto(packed, peer)

    def _run_tcp(self) -> None:
        while True:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    (length,) = struct.unpack("!H", connection.recv(2, socket.MSG_WAITALL))
                    reply = self._reply(connection.recv(length, socket.MSG_WAITALL))
                    if reply is not None:
                        packed = reply.pack()
                        connection.sendall(struct.pack("!H", len(packed)) + packed)
                except (OSError, struct.error):
                    continue

    def _reply(self, message: bytes) -> dnslib.DNSRecord | None:
        asked = dnslib.DNSRecord.parse(message)
        name = str(asked.q.qname).rstrip(".").lower()
        kind = dnslib.QTYPE[asked.q.qtype]
        self.queries.append((name, kind))
        if name in self.silent or "*" in self.silent:
            return None
        reply = asked.reply()
        rcode = self.rcodes.get(name) or self.rcodes.get("*")
        if rcode:
            reply.header.rcode = getattr(dnslib.RCODE, rcode)
            return reply
        if name in self.cname:
            target = self.cname[name]
            reply.add_answer(dnslib.RR(name, dnslib.QTYPE.CNAME, rdata=dnslib.CNAME(target), ttl=60))
            name = target.rstrip(".").lower()
        make = {"PTR": dnslib.PTR, "A": dnslib.A, "AAAA": dnslib.AAAA}.get(kind)
        found = self._turn({"PTR": self._ptr_names(), "A": self.a, "AAAA": self.aaaa}.get(kind, {}), name)
        for value in found if make else ():
            reply.add_answer(dnslib.RR(name, getattr(dnslib.QTYPE, kind), rdata=make(value), ttl=60))
        if not found and name not in self.a and name not in self.aaaa:
            reply.header.rcode = dnslib.RCODE.NXDOMAIN
        return reply

    def _ptr_names(self) -> dict[str, list[Any]]:
        return {ip_address(address).reverse_pointer: names for address, names in self.ptr.items()}

    @staticmethod
    def _turn(table: Mapping[str, list[Any]], name: str) -> list[str]:
        values = table.get(name, [])
        if values and isinstance(values[0], list):
            return values.pop(0) if len(values) > 1 else values[0]
        return values


def shut(one: socket.socket) -> None:
    """Close a socket that a thread is waiting at."""
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()

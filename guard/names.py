"""Whether the DNS confirms an address: its name, by reverse lookup, and that name's addresses, by forward lookup.

Either alone proves nothing: whoever holds an address writes its reverse name, and whoever holds a name writes its
addresses. Both together are what operators tell people to check. This is the only door to `dns`.

    ask()       room in the budget? -> one task for the address, whoever else asks meanwhile
    confirm()   PTR -> names below a wanted suffix -> A or AAAA holds the address again?
    known()     what came of it: confirmed for a day, denied for an hour, failed for half a minute

The law: nothing here waits for a request or raises into one, a name server that does not answer accuses nobody, and
in no second are more than `per_s` queries sent.
"""

from __future__ import annotations

import asyncio
import re
import time
from asyncio import Task
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

import dns.asyncbackend
import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.reversename

DEADLINE_S = 1.0
QUERIES_PER_S = 20
MAX_ADDRESSES = 10_000
MAX_NAMES = 4
"""So many names of one address are looked up; whoever has more is not waited for."""

CONFIRMED_S = 86_400.0
DENIED_S = 3_600.0
FAILED_S = 30.0
_MAX_SERVERS = 3
_TRY_S = 0.4  # then the next server is asked, or the same again
_MAX_HOST_CHARS = 253
_MAX_ANSWER_BYTES = 1232  # reading them takes 5 ms at most

_HOST = re.compile(r"[a-z0-9_-]{1,63}+(?:\.[a-z0-9_-]{1,63}+)*+")
_KEPT_S = {"confirmed": CONFIRMED_S, "denied": DENIED_S, "failed": FAILED_S}


class Outcome(NamedTuple):
    """What the DNS says of an address. `state` is "pending", "confirmed", "denied" or "failed".

    `host` is the confirmed name in lower case, without the dot at its end; `why` is for people, of the other states.
    """

    state: str
    host: str = ""
    why: str = ""


_PENDING = Outcome("pending")
_BACKEND = dns.asyncbackend.get_backend("asyncio")  # imported now, not at the first question


class _Failed(Exception):
    """No answer that says anything."""


class _TooLong(Exception):
    """An answer that nobody needs to be this long, and that takes too long to read on the event loop."""


class _Spent(Exception):
    """The budget is spent: nothing was learned, and nothing is to be remembered."""


class _Held(NamedTuple):
    outcome: Outcome
    until_s: float
    suffixes: frozenset[str]


class Names:
    """What the DNS says of addresses, asked in the background and remembered, for at most `capacity` addresses.

    `nameservers` are "ADDRESS" or "ADDRESS:PORT" ("[::1]:53"), those of the system when there are none. An address is
    looked up for all `suffixes` known by then, so that what is denied is denied to every operator there is. `changed`
    is called in the event loop whenever an outcome came or went. Counters: `queries` sent, `refused` asks over budget.
    """

    def __init__(
        self,
        nameservers: Iterable[str] = (),
        *,
        suffixes: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
        changed: Callable[[], None] = lambda: None,
        deadline_s: float = DEADLINE_S,
        per_s: int = QUERIES_PER_S,
        capacity: int = MAX_ADDRESSES,
    ) -> None:
        """Raises ValueError for what is no name server."""
        self.queries = self.refused = 0
        self.suffixes = _read_suffixes(suffixes)
        self._given = tuple(_read_server(text) for text in nameservers)
        self._servers: tuple[tuple[str, int], ...] | None = self._given or None
        self._clock = clock
        self._changed = changed
        self._deadline_s = deadline_s
        self._sent: deque[float] = deque(maxlen=max(2, per_s))
        self._capacity = max(2, capacity)
        # Kept apart, so that a crowd of impostors pushes out no one who was confirmed.
        self._confirmed: OrderedDict[str, _Held] = OrderedDict()
        self._others: OrderedDict[str, _Held] = OrderedDict()
        self._tasks: dict[str, Task[None]] = {}

    def __len__(self) -> int:
        return len(self._confirmed) + len(self._others) + len(self._tasks)

    def known(self, address: str) -> Outcome | None:
        """What is remembered of an address; None when nothing is, or nothing any more. Never waits."""
        if self._tasks and address in self._tasks:
            return _PENDING
        held = self._confirmed.get(address) or self._others.get(address)
        if held is None:
            return None
        return held.outcome if self._clock() < held.until_s else None

    def ask(self, address: str, suffixes: Collection[str]) -> bool:
        """Begin to confirm `address` for names that end in one of `suffixes`; whether that was begun.

        Nothing happens without a running event loop, while it is under way or remembered, or over the budget: then
        whoever comes next from there asks again.
        """
        if not self.suffixes.issuperset(suffixes):
            suffixes = _read_suffixes(suffixes)
            self.suffixes |= suffixes
        if address in self._tasks:
            return False
        held = self._confirmed.get(address) or self._others.get(address)
        if held is not None and self._clock() < held.until_s and held.suffixes.issuperset(suffixes):
            return False
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        # Those that are under way need a query or two more, each.
        if self._room() - 2 * len(self._tasks) < min(2, self._sent.maxlen or 0):
            self.refused += 1
            return False
        self._tasks[address] = loop.create_task(self._learn(address))
        return True

    def expire(self) -> bool:
        """Forget what is too old; whether there was any. Takes about a millisecond for a full table."""
        now_s = self._clock()
        gone = False
        for table in (self._confirmed, self._others):
            for address in [address for address, held in table.items() if now_s >= held.until_s]:
                del table[address]
                gone = True
        return gone

    async def quiet(self) -> None:
        """Wait until nothing is under way; takes a deadline's time at most, unless more is asked meanwhile."""
        while self._tasks:
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def close(self) -> None:
        """Stop asking. What is remembered stays."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()

    async def confirm(self, address: str, suffixes: Iterable[str]) -> Outcome:
        """Ask now, whatever is remembered, and remember nothing. Takes at most the deadline; never raises."""
        try:
            return await self._confirmed_by_dns(address, _read_suffixes(suffixes))
        except _Spent:
            return Outcome("failed", why="too many queries at once")

    # -- asking

    async def _learn(self, address: str) -> None:
        suffixes = self.suffixes
        try:
            outcome = await self._confirmed_by_dns(address, suffixes)
            self._keep(address, _Held(outcome, self._clock() + _KEPT_S[outcome.state], suffixes))
        except _Spent:
            self.refused += 1
        finally:
            self._tasks.pop(address, None)
        self._changed()

    def _keep(self, address: str, held: _Held) -> None:
        self._confirmed.pop(address, None)
        self._others.pop(address, None)
        table = self._confirmed if held.outcome.state == "confirmed" else self._others
        while len(table) >= self._capacity // 2:
            table.popitem(last=False)
        table[address] = held

    async def _confirmed_by_dns(self, address: str, suffixes: frozenset[str]) -> Outcome:
        try:
            async with asyncio.timeout(self._deadline_s) as limit:
                return await self._looked_up(address, suffixes, limit.when() or 0.0)
        except TimeoutError:
            return Outcome("failed", why=f"no answer within {self._deadline_s:g} s")
        except _Failed as error:
            return Outcome("failed", why=str(error))
        except _TooLong:
            return Outcome("denied", why="the DNS says more of it than anybody needs")
        except _Spent:
            raise
        except Exception as error:  # noqa: BLE001 - what a stranger's name server says must not stop anything
            return Outcome("failed", why=type(error).__name__)

    async def _looked_up(self, address: str, suffixes: frozenset[str], end_s: float) -> Outcome:
        try:
            parsed = ip_address(address)
        except ValueError:
            return Outcome("denied", why="it is no address")
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        reverse = dns.name.from_text(parsed.reverse_pointer + ".")
        hosts = [_host(text) for text in await self._answers(reverse, "PTR", end_s)]
        if not hosts:
            return Outcome("denied", why="the address has no name")
        wanted = [host for host in dict.fromkeys(hosts) if host and host.endswith(tuple(suffixes))]
        if not wanted:
            return Outcome("denied", why="the name of the address is of nobody that is known")
        kind = "A" if parsed.version == 4 else "AAAA"
        failed: _Failed | None = None
        for host in wanted[:MAX_NAMES]:
            try:
                found = await self._answers(dns.name.from_text(host + "."), kind, end_s)
            except _Failed as error:
                failed = error
                continue
            if any(ip_address(text) == parsed for text in found):
                return Outcome("confirmed", host)
        if failed is not None:
            raise failed
        return Outcome("denied", why="the name of the address leads elsewhere")

    async def _answers(self, name: dns.name.Name, kind: str, end_s: float) -> tuple[str, ...]:
        """What the DNS says, () when it says that there is nothing. Raises _Failed and _Spent.

        `end_s` is when all must be over, by the loop's clock.
        """
        query = dns.message.make_query(name, kind)
        servers = await self._system_servers()
        if not servers:
            raise _Failed("there is no name server to ask")
        number = 0
        failed = ""
        while True:
            server = servers[number % len(servers)]
            number += 1
            try:
                reply = await self._sent_to(server, query, end_s)
            except (OSError, dns.exception.DNSException) as error:
                # One that refuses at once is not asked for ever.
                failed = failed or type(error).__name__
                if number >= 2 * len(servers) and not isinstance(error, dns.exception.Timeout):
                    raise _Failed(failed) from None
                continue
            code = reply.rcode()
            if code == dns.rcode.NXDOMAIN:
                return ()
            if code == dns.rcode.NOERROR:
                assert isinstance(reply, dns.message.QueryMessage)  # for what was asked is a query
                chain = reply.resolve_chaining()
                if chain.answer is not None:
                    return tuple(rdata.to_text() for rdata in chain.answer)
                if not chain.cnames and reply.flags & (dns.flags.RA | dns.flags.AA):
                    return ()
                failed = failed or "an answer without an end"
            else:
                failed = failed or dns.rcode.to_text(code)
            if number >= len(servers):
                raise _Failed(failed)

    async def _sent_to(self, server: tuple[str, int], query: dns.message.Message, end_s: float) -> dns.message.Message:
        await self._take(end_s)
        address, port = server
        try:
            return await dns.asyncquery.udp(
                query,
                address,
                timeout=_TRY_S,
                port=port,
                ignore_unexpected=True,
                ignore_errors=True,
                raise_on_truncation=True,
                backend=_BACKEND,
            )
        except dns.message.Truncated:
            await self._take(end_s)
            return await _by_tcp(query, address, port)

    async def _system_servers(self) -> tuple[tuple[str, int], ...]:
        if self._servers is None:
            self._servers = await asyncio.to_thread(_servers_of_the_system)
        return self._servers

    # -- the budget

    def _room(self) -> int:
        """How many queries may be sent at this moment, so that none of the seconds around it has too many."""
        sent, now_s = self._sent, self._clock()
        if sent and sent[-1] > now_s:
            sent.clear()  # the clock was set back
        while sent and now_s - sent[0] >= 1.0:
            sent.popleft()
        return (sent.maxlen or 0) - len(sent)

    async def _take(self, end_s: float) -> None:
        """Wait until one more query may be sent. Raises _Spent at once when that is not before `end_s`."""
        loop = asyncio.get_running_loop()
        while self._room() < 1:
            wait_s = max(0.001, self._sent[0] + 1.0 - self._clock())
            if loop.time() + wait_s >= end_s:
                raise _Spent
            await asyncio.sleep(wait_s)
        self._sent.append(self._clock())
        self.queries += 1


async def _by_tcp(query: dns.message.Message, address: str, port: int) -> dns.message.Message:
    """The answer, when it is a short one (RFC 1035, section 4.2.2). Raises _TooLong, OSError and DNSException."""
    reader, writer = await asyncio.open_connection(address, port)
    try:
        wire = query.to_wire()
        writer.write(len(wire).to_bytes(2, "big") + wire)
        length = int.from_bytes(await reader.readexactly(2), "big")
        if length > _MAX_ANSWER_BYTES:
            raise _TooLong
        reply = dns.message.from_wire(await reader.readexactly(length))
    except EOFError:
        raise ConnectionError from None
    finally:
        writer.transport.abort()
    if not query.is_response(reply):
        raise dns.exception.DNSException
    return reply


def _host(text: str) -> str:
    """A name as it is compared: lower case, no dot at its end; "" for one that no operator has."""
    host = text.lower().removesuffix(".")
    return host if len(host) <= _MAX_HOST_CHARS and _HOST.fullmatch(host) else ""


def _read_suffixes(suffixes: Iterable[str]) -> frozenset[str]:
    return frozenset("." + suffix.strip(".").lower() for suffix in suffixes if suffix.strip("."))


def _read_server(text: str) -> tuple[str, int]:
    address, port = text, "53"
    if text.startswith("["):
        address, end, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or "53" if end else ""
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    try:
        number = int(port)
        return str(ip_address(address)), number if 0 < number < 65_536 else int("")
    except ValueError:
        raise ValueError(f"{text!r} is no name server: expected ADDRESS or ADDRESS:PORT") from None


def _servers_of_the_system() -> tuple[tuple[str, int], ...]:
    """Those of /etc/resolv.conf; none when it cannot be read."""
    try:
        found = dns.resolver.Resolver(configure=True)
    except (dns.exception.DNSException, OSError):
        return ()
    return tuple((str(server), found.port) for server in found.nameservers[:_MAX_SERVERS])

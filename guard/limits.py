"""One request before all the limits that hold for it. The law of this file: the strictest wins, and who is refused
has taken nothing that could be known beforehand.

    asks_of   what is asked of the store: each limit, the key it counts on, what the request costs
    admit     refused where any limit is known to refuse; else all are taken, those that must not lose one last
    leave     the answer was sent: give back a place, charge what it really cost

Where an answer has to be waited for, a limit that refuses while another has already admitted loses that other one token
for the moment; the refusal is remembered, so it is one and not one a request. Exact limits are asked after all others
admitted, places before quotas, and so a quota loses nothing but to a quota after it.
"""

from __future__ import annotations

import asyncio
import math
from asyncio import Future
from collections.abc import Sequence
from typing import NamedTuple

from guard.model import Admission, Client, Decision, Limit, Request
from guard.protocols import Store


class Ask(NamedTuple):
    """What one request wants of one limit."""

    limit: Limit
    key: bytes
    cost: int


def asks_of(request: Request, client: Client, decision: Decision, site: str) -> list[Ask]:
    """Everything that has to be asked for a request, in the order of the policy. What a rule says that a request costs
    is in requests: bytes and audio cost what they are."""
    cost = decision.cost
    return [
        Ask(limit, limit_key(limit, request, client, decision, site), limit.cost * (1 if limit.afterwards else cost))
        for limit in decision.limits
    ]


def limit_key(limit: Limit, request: Request, client: Client, decision: Decision, site: str) -> bytes:
    """What one request counts under: the parts that the limit names, each with its length, so none can be forged.

    Who names no account or session counts as the client that it is, and a network of unknown number as its prefix: to
    leave something out is no way out.
    """
    if limit.key == ("client",):
        return client.key
    parts = []
    for name in limit.key:
        match name:
            case "client":
                part = client.key
            case "prefix":
                part = client.prefix
            case "address":
                part = client.address.encode() or client.key
            case "agent":
                part = decision.agent.name.encode()
            case "operator":
                part = decision.agent.operator.encode()
            case "route":
                part = decision.route_class.encode()
            case "work":
                part = decision.work.encode("utf-8", "surrogateescape")
            case "account":
                part = b"a" + request.account if request.account else b"c" + client.key
            case "session":
                part = b"s" + request.session if request.session else b"c" + client.key
            case "asn":
                part = b"AS%d" % client.asn if client.asn else b"p" + client.prefix
            case _:
                part = site.encode()
        parts.append(b"%d:%b" % (len(part), part))
    return b"".join(parts)


def admit(store: Store, asks: Sequence[Ask]) -> Admission | Future[Admission]:
    """What all limits together say: an answer, or a future of one. Never raises, never blocks."""
    if len(asks) == 1:
        return store.take(*asks[0])
    refusals = [(ask, known) for ask in asks if (known := store.peek(*ask)) is not None]
    if refusals:
        return _strictest(refusals)
    at_once = [ask for ask in asks if ask.limit.precision != "exact"]
    answers = [(ask, store.take(*ask)) for ask in at_once]
    told = [(ask, answer) for ask, answer in answers if isinstance(answer, Admission)]
    # Places before quotas: what was taken of them can be given back.
    exact = sorted((ask for ask in asks if ask.limit.precision == "exact"), key=lambda ask: ask.limit.kind == "quota")
    if not all(answer.allowed for _, answer in told):
        return _refuse(store, answers, told)
    if len(told) < len(answers) or (exact and store.shared):
        return asyncio.get_running_loop().create_task(_wait(store, answers, exact))
    while exact and all(answer.allowed for _, answer in told):
        answer = store.take(*(ask := exact.pop(0)))
        assert isinstance(answer, Admission)
        told.append((ask, answer))
    return _refuse(store, [], told) if not all(answer.allowed for _, answer in told) else _strictest(told)


def _refuse(
    store: Store, answers: Sequence[tuple[Ask, Admission | Future[Admission]]], told: Sequence[tuple[Ask, Admission]]
) -> Admission:
    """Some limit refuses: nobody waits for the others, and places are given back."""
    _let_go(store, answers, told)
    _give_back(store, told)
    return _strictest(told)


async def _wait(store: Store, answers: list[tuple[Ask, Admission | Future[Admission]]], exact: list[Ask]) -> Admission:
    told: list[tuple[Ask, Admission]] = []
    admitted = False
    try:
        for ask, answer in answers:
            told.append((ask, answer if isinstance(answer, Admission) else await answer))
        for ask in exact:
            if not all(answer.allowed for _, answer in told):
                break
            answer = store.take(*ask)
            answers.append((ask, answer))
            told.append((ask, answer if isinstance(answer, Admission) else await answer))
        found = _strictest(told)
        admitted = found.allowed
        return found
    finally:  # also when whoever asked has gone away
        if not admitted:
            _let_go(store, answers, told)
            _give_back(store, told)


def _let_go(
    store: Store, answers: Sequence[tuple[Ask, Admission | Future[Admission]]], told: Sequence[tuple[Ask, Admission]]
) -> None:
    """Nobody waits any more for what has not been told. What was answered in this very moment is given back."""
    heard = {id(ask) for ask, _ in told}
    for ask, answer in answers:
        if isinstance(answer, Admission) or id(ask) in heard:
            continue
        if (
            not answer.cancel()
            and not answer.cancelled()
            and ask.limit.kind == "concurrent"
            and answer.result().allowed
        ):
            store.leave(ask.limit, ask.key)


def _give_back(store: Store, told: Sequence[tuple[Ask, Admission]]) -> None:
    """The places that a refused request has been given."""
    for ask, answer in told:
        if answer.allowed and ask.limit.kind == "concurrent":
            store.leave(ask.limit, ask.key)


def _strictest(answers: Sequence[tuple[Ask, Admission]]) -> Admission:
    """Of several answers: the refusal with the longest wait, one of the whole fleet before one of this worker, else the
    one with the least left; that was made by the whole fleet only if each of them was."""
    refused = [pair for pair in answers if not pair[1].allowed]
    if refused:
        ask, answer = max(refused, key=lambda pair: (pair[1].shared, pair[1].retry_after_s))
        return answer._replace(limit=ask.limit)
    ask, answer = min(answers, key=lambda pair: pair[1].remaining)
    return answer._replace(limit=ask.limit, shared=all(answer.shared for _, answer in answers))


def leave(store: Store, asks: Sequence[Ask], body_bytes: int) -> None:
    """The answer to a request that was admitted is over: `body_bytes` were sent."""
    for limit, key, cost in asks:
        if limit.kind == "concurrent":
            store.leave(limit, key)
        elif limit.afterwards and body_bytes:
            store.charge(limit, key, cost * spent(limit, body_bytes))


def spent(limit: Limit, body_bytes: int) -> int:
    """What an answer of so many bytes uses up, in the limit's units."""
    if limit.unit == "audio-seconds":
        return math.ceil(body_bytes * 8 / limit.bitrate)
    return body_bytes

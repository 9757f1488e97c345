"""What the lookout is shown, and what it answers."""

from __future__ import annotations

from typing import NamedTuple

from guard.model import Agent, Client, Detecting, Identity, Signal
from guard.places import Place
from guard.shape import Shape


class Sight(NamedTuple):
    """One request as it is looked at; `now_s` is of the meters' clock, `wall_s` since 1970. `session` and `account`
    are b"" when unknown; `start` and `end` are of a closed
    range (`bytes=START-END`), -1 when it has none."""

    now_s: float
    client: Client
    agent: Agent
    identity: Identity
    shape: Shape
    place: Place
    method: str
    user_agent: bytes
    session: bytes = b""
    account: bytes = b""
    start: int = -1
    end: int = -1
    own_referer: bool = False
    wall_s: float = 0.0
    terms: Detecting = Detecting()  # a value


class Suspicion(NamedTuple):
    """What is held against one request: signals, and their sum in decibans. `until_s` is when what was found before
    ends, 0.0 when it is only of this request. `shared`: others who are known to listen are behind the same address, so
    that nobody can be refused for what it did."""

    points: float
    signals: tuple[Signal, ...]
    until_s: float = 0.0
    shared: bool = False


NOTHING = Suspicion(0.0, ())

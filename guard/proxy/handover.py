"""A version of the policy on its way from the supervisor to its workers: one frame over a socket pair, one line back.

The law: neither side ever waits for the other. What a worker has not begun to take is replaced by what is newer. The
frames are pickles, for the two ends of a pair are held by one process and its own child, and by nobody else.
"""

from __future__ import annotations

import contextlib
import pickle
import socket
import struct
import time
from typing import NamedTuple

from guard.engine import Rendered
from guard.policy import Policy

MAX_FRAME_BYTES = 64 << 20
_LENGTH = struct.Struct("!I")
_PIECE_BYTES = 1 << 16


class Version(NamedTuple):
    """A policy, and its directive files ready to be served."""

    policy: Policy
    rendered: Rendered


def pack(version: Version) -> bytes:
    """One frame. Raises ValueError when it is too large to be sent."""
    payload = pickle.dumps(version, pickle.HIGHEST_PROTOCOL)
    if len(payload) > MAX_FRAME_BYTES:
        raise ValueError(f"a policy of {len(payload) >> 20} MiB cannot be handed over")
    return _LENGTH.pack(len(payload)) + payload


def unpack(payload: bytes | memoryview) -> Version:
    """What `pack` has packed, without its length. In a thread, it leaves the others their turns."""
    return Version(*pickle.Unpickler(_ByTurns(payload)).load())  # noqa: S301  # see the law


class _ByTurns:
    """Bytes as a file that lets other threads run at every read.

    Unpickling keeps the interpreter to itself from one read to the next: 64 KiB, some milliseconds. From bytes in
    memory that would be the whole policy.
    """

    def __init__(self, payload: bytes | memoryview) -> None:
        self._rest = memoryview(payload)

    def read(self, size: int, /) -> bytes:
        time.sleep(0)
        piece, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return piece

    def readline(self) -> bytes:
        raise pickle.UnpicklingError("not one of ours")  # our protocol has no lines


class Line:
    """The supervisor's end of the line to one worker."""

    def __init__(self, taken: str) -> None:
        """A worker begins with the version that is in force when it is forked: `taken`."""
        self.taken = taken
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._begun = memoryview(b"")
        self._next = b""
        self._heard = b""

    def hand_over(self, frame: bytes) -> None:
        """The newest version; `push` does the rest."""
        self._next = frame
        self.push()

    def push(self) -> bool:
        """Send what can be sent, hear what was said. False when the worker is gone."""
        try:
            while self._begun or self._next:
                if not self._begun:
                    self._begun, self._next = memoryview(self._next), b""
                self._begun = self._begun[self._ours.send(self._begun) :]
        except BlockingIOError:
            pass
        except OSError:
            return False
        try:
            while said := self._ours.recv(4096):
                *lines, self._heard = (self._heard + said).split(b"\n")
                if lines:
                    self.taken = lines[-1].decode("ascii", "replace")
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def keep_theirs(self) -> socket.socket:
        """In the worker: its end, and ours no more."""
        self._ours.close()
        self._theirs.setblocking(False)
        return self._theirs

    def keep_ours(self) -> None:
        """In the supervisor, after the fork."""
        self._theirs.close()

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()


class Inbox:
    """The worker's end: bytes as they come, frames as they are whole."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._got = bytearray()

    def read(self) -> bytes | None:
        """The payload of the newest whole frame; None when there is none yet. Raises EOFError at the end."""
        try:
            got = self.sock.recv(_PIECE_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            got = b""
        if not got:
            raise EOFError
        self._got += got
        newest = None
        while len(self._got) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._got)
            if size > MAX_FRAME_BYTES:
                raise EOFError
            if len(self._got) < _LENGTH.size + size:
                break
            newest = bytes(self._got[_LENGTH.size : _LENGTH.size + size])
            del self._got[: _LENGTH.size + size]
        return newest

    def took(self, version: str) -> None:
        """Tell the supervisor what is in force here. It is a few bytes: when they do not fit, nobody is listening."""
        with contextlib.suppress(OSError):
            self.sock.send(version.encode("ascii", "replace") + b"\n")

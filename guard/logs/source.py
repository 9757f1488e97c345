"""Where the lines of a log come from: a file, plain or gzip (told by its first bytes), or standard input.

Nothing here holds more than one chunk and one line, however long the file or the line is.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

MAX_LINE_BYTES = 64 * 1024
CHUNK_BYTES = 256 * 1024
_GZIP = b"\x1f\x8b"


class Source:
    """One log, opened. `size` is the length of the file in bytes as it lies there, 0 for a stream of unknown length."""

    def __init__(self, name: str) -> None:
        """`-` is standard input. Raises OSError."""
        self.name = name
        self.size = 0
        self.cut_short = ""  # why the log ended before its end
        if name == "-":
            self._raw: BufferedReader = sys.stdin.buffer if isinstance(sys.stdin.buffer, BufferedReader) else _never()
        else:
            path = Path(name)
            self._raw = path.open("rb")
            self.size = path.stat().st_size if path.is_file() else 0
        self._stream: BufferedReader | gzip.GzipFile = self._raw
        if self._raw.peek(2)[:2] == _GZIP:
            self._stream = gzip.GzipFile(fileobj=self._raw)

    @property
    def done_bytes(self) -> int:
        """How far the file has been read, in bytes as it lies there; for showing progress."""
        return self._raw.tell() if self.size else 0

    def lines(self) -> Iterator[bytes | None]:
        """Every line without its newline; None for one longer than MAX_LINE_BYTES."""
        rest = b""
        skipping = False
        while chunk := self._read():
            *whole, tail = chunk.split(b"\n")
            if not whole:
                rest += tail
            else:
                whole[0] = rest + whole[0]
                if skipping:
                    whole[0] = bytes(MAX_LINE_BYTES + 1)
                    skipping = False
                for line in whole:
                    yield line if len(line) <= MAX_LINE_BYTES else None
                rest = tail
            if len(rest) > MAX_LINE_BYTES:
                rest, skipping = b"", True
        if skipping:
            yield None
        elif rest:
            yield rest

    def _read(self) -> bytes:
        try:
            return self._stream.read1(CHUNK_BYTES)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self.cut_short = f"the compressed file is damaged or cut off: {error}"
        except OSError as error:
            self.cut_short = f"cannot be read on: {error.strerror or error}"
        return b""

    def close(self) -> None:
        if self.name != "-":
            self._raw.close()


def _never() -> BufferedReader:
    raise OSError("standard input is not there")

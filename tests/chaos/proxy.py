"""A bad network between a store and its server: a TCP proxy whose faults are switched while connections live.

The vocabulary is Toxiproxy's (https://github.com/Shopify/toxiproxy#toxics). Each fault is put on one way, `UP` (from
the store to the server) or `DOWN`, or on both; a new fault on a way takes the place of the one before. What a blackhole
swallowed is held, not lost, and delivered when the way is passing again: as TCP does after a hole in the network.

The law of this file: whatever was accepted or connected here is closed by the end of `proxy()`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

UP, DOWN = "up", "down"
BOTH = (UP, DOWN)
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of no seconds: RST instead of FIN


class Way:
    """What happens to the bytes of one direction, on all connections."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.passed = 0
        self.clear()

    def clear(self) -> None:
        self.delay_s = 0.0
        self.bytes_per_s = 0
        self.left: int | None = None
        self.half_close = False
        self.open.set()


class Proxy:
    """Listens on 127.0.0.1, passes on to `port` there. `connections` were accepted so far, `live` are open now."""

    def __init__(self, port: int) -> None:
        self.connections = 0
        self.ways = {UP: Way(), DOWN: Way()}
        self._target = port
        self._resetting = False
        self._live: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def live(self) -> int:
        return len(self._live)

    # -- faults

    def passing(self, *ways: str) -> None:
        """No fault; what was held is delivered."""
        self._resetting = False
        for way in ways or BOTH:
            self.ways[way].clear()

    def delay(self, seconds: float, *ways: str) -> None:
        """Every byte is late by so much; many may be under way at once."""
        self.passing(*ways)
        for way in ways or BOTH:
            self.ways[way].delay_s = seconds

    def throttle(self, bytes_per_s: int, *ways: str) -> None:
        """A thin line."""
        self.passing(*ways)
        for way in ways or BOTH:
            self.ways[way].bytes_per_s = bytes_per_s

    def blackhole(self, *ways: str) -> None:
        """Nothing arrives and nobody says so. New connections are accepted all the same."""
        self.passing(*ways)
        for way in ways or BOTH:
            self.ways[way].open.clear()

    def truncate(self, after_bytes: int, *ways: str) -> None:
        """So many bytes more, over all connections, then the connection that has the next one ends."""
        self.passing(*ways)
        for way in ways or BOTH:
            self.ways[way].left = after_bytes

    def half_close(self, *ways: str) -> None:
        """FIN at the next byte on this way, while the other way goes on."""
        self.passing(*ways)
        for way in ways or BOTH:
            self.ways[way].half_close = True

    def reset(self) -> None:
        """RST for all who are connected and, until `passing()`, for all who come."""
        self._resetting = True
        for writers in self._live.values():
            for writer in writers:
                _abort(writer)

    # -- the wire

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._live)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._resetting:
            _abort(writer)
            return
        task = asyncio.current_task()
        assert task is not None
        writers = self._live[task] = [writer]
        try:
            behind, beyond = await asyncio.open_connection("127.0.0.1", self._target)
            writers.append(beyond)
            pumps = [
                asyncio.create_task(self._pump(reader, beyond, self.ways[UP])),
                asyncio.create_task(self._pump(behind, writer, self.ways[DOWN])),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_EXCEPTION)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass  # nobody listens behind us: ours goes the same way
        except asyncio.CancelledError:
            pass  # the proxy is stopped
        finally:
            for each in writers:
                _abort(each)
            del self._live[task]

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(1000)

        async def read() -> None:
            data = b"-"
            while data:
                try:
                    data = await reader.read(65536)
                except OSError:
                    data = b""
                await under_way.put((loop.time() + way.delay_s, data))

        reading = asyncio.create_task(read())
        try:
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                await way.open.wait()
                if way.half_close:
                    data = b""
                if not data:
                    with contextlib.suppress(OSError, RuntimeError):
                        writer.write_eof()
                    if way.half_close:
                        await asyncio.Event().wait()  # until the other way ends the connection
                    return
                await self._write(writer, data, way)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _write(self, writer: asyncio.StreamWriter, data: bytes, way: Way) -> None:
        while data:
            piece = data[: max(1, way.bytes_per_s // 100)] if way.bytes_per_s else data
            if way.left is not None:
                piece = piece[: way.left]
                way.left -= len(piece)
            writer.write(piece)
            await writer.drain()
            way.passed += len(piece)
            data = data[len(piece) :]
            if data and way.left == 0:
                writer.close()
                raise ConnectionAbortedError
            if way.bytes_per_s:
                await asyncio.sleep(len(piece) / way.bytes_per_s)


def _abort(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None and not writer.transport.is_closing():
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()


@asynccontextmanager
async def proxy(port: int) -> AsyncIterator[Proxy]:
    """A proxy to `port` on 127.0.0.1."""
    one = Proxy(port)
    await one.start()
    try:
        yield one
    finally:
        await one.stop()

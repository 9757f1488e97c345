"""The bad network is as bad as it says, and no worse."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.chaos.proxy import DOWN, UP, Proxy, proxy
from tests.servers import eventually


@pytest.fixture
async def echo() -> AsyncIterator[Proxy]:
    """A proxy in front of somebody who says everything back."""

    async def say_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    behind = await asyncio.start_server(say_back, "127.0.0.1", 0)
    async with behind, proxy(behind.sockets[0].getsockname()[1]) as one:
        yield one


class Caller:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def hears(self, words: bytes) -> float:
        """Say it, hear it again; the seconds in between."""
        began = time.monotonic()
        self.writer.write(words)
        assert await self.reader.readexactly(len(words)) == words
        return time.monotonic() - began


@pytest.fixture
async def caller(echo: Proxy) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection("127.0.0.1", echo.port)
    yield Caller(reader, writer)
    writer.close()


@pytest.mark.anyio
async def test_bytes_pass_late_or_slowly_or_not_until_the_way_is_free(echo: Proxy, caller: Caller) -> None:
    assert await caller.hears(b"at once") < 0.05
    echo.delay(0.03)
    assert 0.06 <= await caller.hears(b"late") < 0.2
    echo.throttle(1000, DOWN)
    assert 0.09 <= await caller.hears(b"x" * 100) < 0.3
    for way in (UP, DOWN):
        echo.blackhole(way)
        waiting = asyncio.create_task(caller.hears(b"held"))
        passed = echo.ways[UP].passed
        await eventually(lambda before=passed, way=way: way == UP or echo.ways[UP].passed == before + 4, within_s=1)
        done, _ = await asyncio.wait({waiting}, timeout=0.05)
        assert not done
        echo.passing()
        await asyncio.wait_for(waiting, 1)
    assert (echo.connections, echo.live) == (1, 1)


@pytest.mark.anyio
async def test_a_truncated_answer_ends_where_it_should(echo: Proxy, caller: Caller) -> None:
    echo.truncate(3, DOWN)
    caller.writer.write(b"12345")
    assert await asyncio.wait_for(caller.reader.read(), 1) == b"123"
    await eventually(lambda: echo.live == 0, within_s=1)


@pytest.mark.anyio
async def test_one_way_closes_and_the_other_goes_on(echo: Proxy, caller: Caller) -> None:
    await caller.hears(b"hello")
    echo.half_close(DOWN)
    caller.writer.write(b"still")
    assert await asyncio.wait_for(caller.reader.read(), 1) == b""
    before = echo.ways[UP].passed
    caller.writer.write(b"there")
    await eventually(lambda: echo.ways[UP].passed == before + 5, within_s=1)
    assert echo.live == 1


@pytest.mark.anyio
async def test_a_reset_is_for_those_who_are_there_and_those_who_come(echo: Proxy, caller: Caller) -> None:
    await caller.hears(b"hello")
    echo.reset()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(caller.reader.read(), 1)
    with pytest.raises(ConnectionResetError):
        reader, _ = await asyncio.open_connection("127.0.0.1", echo.port)
        await asyncio.wait_for(reader.read(), 1)
    echo.passing()
    reader, writer = await asyncio.open_connection("127.0.0.1", echo.port)
    await Caller(reader, writer).hears(b"again")
    writer.close()
    assert echo.connections == 3


@pytest.mark.anyio
async def test_nobody_behind_the_proxy_is_nobody_for_the_caller() -> None:
    with_nobody = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = with_nobody.sockets[0].getsockname()[1]
    with_nobody.close()
    async with proxy(port) as one:
        with pytest.raises(ConnectionResetError):
            reader, _ = await asyncio.open_connection("127.0.0.1", one.port)
            await asyncio.wait_for(reader.read(), 1)

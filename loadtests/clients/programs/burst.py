"""A burst of aiohttp: `burst.py URL FIRST COUNT` asks the API for each track and takes the audio it names."""

from __future__ import annotations

import asyncio
import sys

import aiohttp  # type: ignore[import-not-found]

LANES = 32


async def take(session: aiohttp.ClientSession, lanes: asyncio.Semaphore, url: str, track: int) -> int:
    """The bytes of one track, 0 when there is none to be had."""
    async with lanes:
        try:
            async with session.get(f"{url}/api/v1/tracks/{track}") as answer:
                if answer.status != 200:
                    return 0
                media = (await answer.json())["media"]
            async with session.get(f"{url}{media}") as answer:
                return len(await answer.read()) if answer.status == 200 else 0
        except aiohttp.ClientError:
            return 0


async def main(url: str, first: int, count: int) -> None:
    lanes = asyncio.Semaphore(LANES)
    async with aiohttp.ClientSession() as session:
        taken = await asyncio.gather(*(take(session, lanes, url, track) for track in range(first, first + count)))
    print(f"{sum(map(bool, taken))} tracks, {sum(taken)} bytes")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))

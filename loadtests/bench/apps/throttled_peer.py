"""The FastAPI application behind throttled-py: the same limit by GCRA in the same store, no look at agents."""

from __future__ import annotations

import os

from peer import LIMIT, Limited
from plain import make_fastapi
from throttled.asyncio import RateLimiterType, RedisStore, Throttled, rate_limiter


def app():
    # Its factory of clients, one pool; a unix socket, as ours has.
    throttled = Throttled(
        using=RateLimiterType.GCRA.value,
        quota=rate_limiter.per_min(LIMIT, burst=LIMIT),
        store=RedisStore(server=f"unix://{os.environ['BENCH_SOCKET']}"),
    )

    async def admits(who):
        return not (await throttled.limit(who)).limited

    return Limited(make_fastapi(), admits)

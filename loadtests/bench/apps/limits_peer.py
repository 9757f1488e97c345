"""The FastAPI application behind limits: the same limit in the same store, no look at agents.

Its sliding window counter: the cheapest of its strategies that does not admit twice the limit around the turn of a
window. Over redis-py, which is faster than its default coredis.
"""

from __future__ import annotations

import os

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from peer import LIMIT, Limited
from plain import make_fastapi


def app():
    # A unix socket, as ours has.
    storage = RedisStorage(f"async+redis+unix://{os.environ['BENCH_SOCKET']}", implementation="redispy")
    limiter = SlidingWindowCounterRateLimiter(storage)
    item = RateLimitItemPerMinute(LIMIT)

    async def admits(who):
        return await limiter.hit(item, who)

    return Limited(make_fastapi(), admits)

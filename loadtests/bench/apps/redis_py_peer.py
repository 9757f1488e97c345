"""The same applications behind what one would write by hand: redis-py, and one GCRA script for each request."""

from __future__ import annotations

import os
from hashlib import sha1

from peer import LIMIT, Limited
from plain import hello, make_fastapi
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local tat = math.max(tonumber(redis.call('GET', KEYS[1])) or 0, now)
local wait = tat - now - ARGV[2]
if wait > 0 then return wait end
tat = tat + ARGV[1]
redis.call('SET', KEYS[1], string.format('%.0f', tat), 'PX', string.format('%.0f', math.ceil((tat - now) / 1000) + 1))
return 0
"""
_SHA = sha1(_SCRIPT.encode()).hexdigest()
_EMISSION = 60_000_000 // LIMIT
_TOLERANCE = _EMISSION * (LIMIT - 1)


def _limited(app):
    # hiredis parses, for it is installed; a unix socket, as ours has.
    client = Redis(unix_socket_path=os.environ["BENCH_SOCKET"])

    async def admits(who):
        words = (1, f"redis-py:{who}", _EMISSION, _TOLERANCE)
        try:
            return await client.evalsha(_SHA, *words) == 0
        except NoScriptError:
            await client.script_load(_SCRIPT)
            return await client.evalsha(_SHA, *words) == 0

    return Limited(app, admits)


def hello_limited():
    return _limited(hello)


def fastapi_limited():
    return _limited(make_fastapi())

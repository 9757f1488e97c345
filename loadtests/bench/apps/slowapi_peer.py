"""The FastAPI application behind slowapi: the same limit in the same store, no look at agents."""

from __future__ import annotations

import os

from fastapi import Request
from plain import make_fastapi
from slowapi import Limiter
from slowapi.middleware import SlowAPIASGIMiddleware, SlowAPIMiddleware


def _client(request: Request) -> str:
    """The address from the one hop in front, as the others read it."""
    return request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip() or "?"


def app():
    fastapi = make_fastapi()
    fastapi.state.limiter = Limiter(
        key_func=_client, application_limits=["100000/minute"], storage_uri=os.environ["BENCH_REDIS"]
    )
    fastapi.add_middleware(SlowAPIMiddleware if os.environ.get("BENCH_CLASS") == "base" else SlowAPIASGIMiddleware)
    return fastapi

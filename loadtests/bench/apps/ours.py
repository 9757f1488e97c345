"""The same applications behind our middleware. BENCH_POLICY and BENCH_STORE say how."""

from __future__ import annotations

import gc
import os

from plain import hello, make_fastapi

from guard import Guard, GuardMiddleware, load_policy
from guard.stores import open_store


def _wrap(app):
    guard = Guard(
        load_policy(os.environ["BENCH_POLICY"]),
        store=open_store(os.environ["BENCH_STORE"], workers=1, secret=b"bench"),
    )
    gc.collect()
    gc.freeze()
    return GuardMiddleware(app, guard)


def hello_guarded():
    return _wrap(hello)


def fastapi_guarded():
    return _wrap(make_fastapi())

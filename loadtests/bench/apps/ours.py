"""The same applications behind our middleware. BENCH_POLICY and BENCH_STORE say how.

Detection is measured in a table of its own; elsewhere it is left out, for what is asked there looks like no listener.
"""

from __future__ import annotations

import gc
import os
from dataclasses import replace

from plain import hello, make_fastapi

from guard import Guard, GuardMiddleware, load_policy
from guard.stores import open_store


def _wrap(app):
    policy = load_policy(os.environ["BENCH_POLICY"])
    if not os.environ["BENCH_POLICY"].endswith("policy-detection.yaml"):
        policy = replace(policy, detecting=None)
    guard = Guard(
        policy,
        store=open_store(os.environ["BENCH_STORE"], workers=1, secret=b"bench"),
    )
    gc.collect()
    gc.freeze()
    return GuardMiddleware(app, guard)


def hello_guarded():
    return _wrap(hello)


def fastapi_guarded():
    return _wrap(make_fastapi())

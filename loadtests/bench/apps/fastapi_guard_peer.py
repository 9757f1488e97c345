"""The FastAPI application behind fastapi-guard, which installs a package that is called `guard`, too.

BENCH_CLASS=base: as its README has it, with the class `SecurityMiddleware` and a list of names.

Runs in an environment of its own. Its favourable settings: the pure ASGI class, one alternation for all agents,
no detection, no banning, no CORS, no security headers, no request log.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from plain import make_fastapi

from guard import PureASGISecurityMiddleware, SecurityConfig, SecurityMiddleware

logging.disable(logging.CRITICAL)
NAMES = 300


def app():
    base = os.environ.get("BENCH_CLASS") == "base"
    pattern = Path(os.environ["BENCH_AGENTS"]).read_text("utf-8").strip()
    names = pattern.removeprefix(r"\b(?:").removesuffix(r")\b").split("|")
    config = SecurityConfig(
        blocked_user_agents=names[:NAMES] if base else [pattern],
        enable_redis=True,
        redis_url=os.environ["BENCH_REDIS"],
        trusted_proxies=("127.0.0.1",),
        enable_rate_limiting=True,
        rate_limit=100_000,
        rate_limit_window=60,
        enable_penetration_detection=False,
        enable_ip_banning=False,
        enable_cors=False,
        security_headers={"enabled": False},
        log_request_level=None,
        log_suspicious_level=None,
        log_country_check_level=None,
    )
    fastapi = make_fastapi()
    fastapi.add_middleware(SecurityMiddleware if base else PureASGISecurityMiddleware, config=config)
    return fastapi

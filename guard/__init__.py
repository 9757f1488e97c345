"""The guard that makes "no AI" real for music platforms.

from guard import Guard, GuardMiddleware, load_policy

app = GuardMiddleware(app, Guard(load_policy("policy.yaml")))
"""

from __future__ import annotations

from guard.engine import Guard
from guard.errors import CatalogueError, GuardError, PolicyError, Problem, StoreError, TargetError
from guard.load import load_policy, shipped_policy
from guard.middleware import GuardMiddleware
from guard.model import Decision, Record, Request
from guard.policy import Policy
from guard.records import json_lines

__all__ = [
    "CatalogueError",
    "Decision",
    "Guard",
    "GuardError",
    "GuardMiddleware",
    "Policy",
    "PolicyError",
    "Problem",
    "Record",
    "Request",
    "StoreError",
    "TargetError",
    "json_lines",
    "load_policy",
    "shipped_policy",
]
__version__ = "0.1.0"

"""The guard that makes "no AI" real for music platforms.

from guard import Guard, GuardMiddleware, load_policy

app = GuardMiddleware(app, Guard(load_policy("policy.yaml")))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guard.engine import Guard
    from guard.errors import CatalogueError, GuardError, PolicyError, Problem, StoreError, TargetError
    from guard.load import load_policies, load_policy, shipped_policy
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
    "load_policies",
    "load_policy",
    "shipped_policy",
]
__version__ = "0.1.0"

_PLACES = {
    "engine": ("Guard",),
    "errors": ("CatalogueError", "GuardError", "PolicyError", "Problem", "StoreError", "TargetError"),
    "load": ("load_policies", "load_policy", "shipped_policy"),
    "middleware": ("GuardMiddleware",),
    "model": ("Decision", "Record", "Request"),
    "policy": ("Policy",),
    "records": ("json_lines",),
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}


def __getattr__(name: str) -> object:
    """Public names, loaded when they are asked for: a command that needs no server should not wait for one."""
    place = _PLACE_OF.get(name)
    if place is None:
        raise AttributeError(f"module 'guard' has no attribute {name!r}")
    found: object = getattr(import_module(f"guard.{place}"), name)
    globals()[name] = found
    return found

"""What a decision does to a request. A new action is one file here and one line in the table.

`perform` gives the answer that the guard makes instead of the site's, or None to let the request through.
"""

from __future__ import annotations

from collections.abc import Callable

from guard.actions import allow, block, challenge, label, refuse, throttle
from guard.model import Admission, Decision, Headers, Reply, Site

Perform = Callable[[Site, Decision, Admission | None, bytes, str, Headers], Reply | None]

TABLE: dict[str, Perform] = {
    "allow": allow.perform,
    "label": label.perform,
    "throttle": throttle.perform,
    "block": block.perform,
    "challenge": challenge.perform,
    "refuse": refuse.perform,
}

"""What happened, one JSON object a line: for logs, and for whoever reads them.

The law: each line is one whole object in ASCII, written at once; no query and no full address stands in it, and of the
headers only the User-Agent, so that a log can be decided again; fields are cut to length.
"""

from __future__ import annotations

import ipaddress
import json
from typing import TextIO

from guard.memo import Memo
from guard.model import Record
from guard.protocols import Recorder

MAX_PATH_CHARS = 1024
MAX_USER_AGENT_BYTES = 256


def json_lines(stream: TextIO, *, refusals_only: bool = True) -> Recorder:
    """A recorder for `Guard(record=...)`. In observe mode, what would have been refused counts as refused."""
    neighbourhoods: Memo[str, str] = Memo(4_096)

    def record(record: Record) -> None:
        if refusals_only and not is_refusal(record):
            return
        neighbourhood = neighbourhoods.get(record.client)
        if neighbourhood is None:
            neighbourhood = _neighbourhood(record.client)
            neighbourhoods.keep(record.client, neighbourhood)
        stream.write(json.dumps(describe(record, neighbourhood)) + "\n")
        stream.flush()

    return record


def is_refusal(record: Record) -> bool:
    """Was it refused, or would it have been?"""
    admission = record.admission
    if any(name.startswith("detection: ") for name in record.decision.observed):
        return True
    return record.decision.action in ("block", "reject", "refuse", "challenge") or (
        admission is not None and not admission.allowed
    )


def describe(record: Record, neighbourhood: str) -> dict[str, object]:
    """The record as plain values; `neighbourhood` stands for the client."""
    decision = record.decision
    line: dict[str, object] = {
        "time": round(record.time_s, 3),
        "id": record.id,
        "action": decision.action,
        "mode": decision.mode.value,
        "rule": decision.rule,
        "agent": decision.agent.name,
        "identity": decision.identity.value,
        "known_by": decision.known_by,
        "route": decision.route_class,
        "client": neighbourhood,
        "method": record.method[:32],
        "path": record.target[:MAX_PATH_CHARS],
        "status": record.status,
        "bytes": record.body_bytes,
        "seconds": round(record.duration_s, 4),
    }
    if record.user_agent is not None:
        line["user_agent"] = record.user_agent[:MAX_USER_AGENT_BYTES].decode("latin-1")
    if record.version:
        line["version"] = record.version
    if decision.weights:
        line["weight"] = sum(addend for _, addend in decision.weights)
    if decision.labels:
        line["labels"] = list(decision.labels)
    if decision.observed:
        line["observed"] = list(decision.observed)
    if decision.signals:
        line["points"] = round(decision.points, 1)
        line["signals"] = {signal.name: round(signal.points, 1) for signal in decision.signals}
    if record.admission is not None:
        line["counted"] = "shared" if record.admission.shared else "local"
    return line


def _neighbourhood(address: str) -> str:
    """The client's /24 or /48: logs do not keep full addresses."""
    if not address:
        return ""
    width = 48 if ":" in address else 24
    return str(ipaddress.ip_network(f"{address}/{width}", strict=False))

"""`guard explain`: one request, walked through a policy, with every rule and why it did or did not match."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from guard.classify import name_browser
from guard.cli.policies import read_or_complain
from guard.engine import Guard
from guard.errors import TargetError
from guard.identify import read_address
from guard.model import Request
from guard.policy import Policy


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n"
        "  guard explain no-ai --path /track/4711 --ua 'GPTBot/1.3'\n"
        "  guard explain policy.yaml --path /media/1.mp3 --ip 10.0.0.1 --header 'X-Forwarded-For: 192.0.2.7' --json\n"
        "\nexit codes: 0 explained, 1 the policy has problems, 2 wrong usage"
    )
    add = parser.add_argument
    add("policy", metavar="POLICY", help="a policy file, or the name of a shipped one")
    add("--path", required=True, metavar="P", help="the path as sent, percent-encoding and all")
    add("--ua", default="", metavar="U", help="the User-Agent")
    add("--ip", default="192.0.2.1", metavar="I", help="the address at the other end (default: 192.0.2.1)")
    add("--method", default="GET", metavar="M", help="the method (default: GET)")
    add("--header", action="append", default=[], metavar="'K: V'", help="a further header; may be given again")
    add("--json", action="store_true", help="as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    policy = read_or_complain(arguments.policy, as_json=arguments.json)
    if policy is None:
        return 1
    try:
        request = _read_request(policy, arguments)
    except ValueError as error:
        sys.stderr.write(f"guard explain: {error}\n")
        return 2
    explained = explain(Guard(policy), request)
    if arguments.json:
        sys.stdout.write(json.dumps(explained, ensure_ascii=False) + "\n")
    else:
        _print(explained)
    return 0


def _read_request(policy: Policy, arguments: argparse.Namespace) -> Request:
    if read_address(arguments.ip) is None:
        raise ValueError(f"'{arguments.ip}' is not an address")
    user_agents = [arguments.ua] if arguments.ua else []
    forwarded: list[bytes] = []
    for line in arguments.header:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise ValueError(f"'{line}': a header looks like 'Name: value'")
        if name.strip().lower() == "user-agent":
            user_agents.append(value.strip())
        elif name.strip().lower() == policy.site.client_ip_header:
            forwarded.append(value.strip().encode())
    target = arguments.path.partition("?")[0].encode("utf-8", "surrogateescape")
    user_agent = "\n".join(user_agents).encode("utf-8", "surrogateescape")
    return Request(arguments.method.upper(), target, user_agent, arguments.ip, tuple(forwarded))


def explain(guard: Guard, request: Request) -> dict[str, Any]:
    """The whole walk as plain values, for people and for machines."""
    client, decision = guard.consider(request)
    agent = decision.agent
    browser = name_browser(request.user_agent)
    try:
        traced = guard.trace(request)
    except TargetError:
        traced = ()
    final = decision.rule
    rules: list[dict[str, Any]] = []
    for reading, steps in traced:
        for step in steps:
            rules.append(
                {
                    "reading": reading,
                    "rule": step.rule.name,
                    "line": step.rule.line,
                    "matched": step.matched,
                    "decided": step.matched and step.rule.name == final,
                    "then": step.rule.then,
                    "mode": step.rule.mode.value,
                    "why": list(step.why),
                }
            )
    return {
        "client": {"address": client.address, "key": client.key.hex(), "prefix": client.prefix.hex()},
        "agent": {
            "name": agent.name,
            "operator": agent.operator,
            "category": agent.category,
            "purposes": list(agent.purposes),
            "browser": f"{browser.family} {browser.version}".strip(),
        },
        "identity": decision.identity.value,
        "route": decision.route_class,
        "readings": [reading for reading, _ in traced],
        "rules": rules,
        "decision": {
            "action": decision.action,
            "rule": decision.rule,
            "mode": decision.mode.value,
            "reason": decision.reason,
            "limit": decision.limit.name if decision.limit else None,
            "labels": list(decision.labels),
            "observed": list(decision.observed),
        },
        "headers": {name.decode(): value.decode() for name, value in guard.headers},
    }


def _print(explained: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    agent, decision = explained["agent"], explained["decision"]
    facts = Table(box=None, show_header=False, pad_edge=False)
    who = ", ".join(part for part in (agent["operator"], agent["category"], *agent["purposes"]) if part)
    facts.add_row("client", explained["client"]["address"] or "unknown")
    facts.add_row("agent", Text(f"{agent['name']} ({who})"))
    if agent["browser"]:
        facts.add_row("browser", Text(agent["browser"]))
    facts.add_row("identity", explained["identity"])
    facts.add_row("route", explained["route"])
    facts.add_row("read as", Text("\n".join(explained["readings"]) or "no safe reading"))
    console.print(facts)
    table = Table(title="rules, in order", title_justify="left", expand=False)
    for heading in ("", "rule", "then", "why"):
        table.add_column(heading, overflow="fold")
    several = len(explained["readings"]) > 1
    for step in explained["rules"]:
        mark = "=>" if step["decided"] else ("yes" if step["matched"] else "-")
        name = f"{step['rule']}\n{step['reading']}" if several else step["rule"]
        table.add_row(mark, Text(name), step["then"], Text("\n".join(step["why"])))
    console.print(table)
    acts = (
        ""
        if decision["mode"] == "enforce" or decision["action"] == "allow"
        else " (observed only: the request goes through)"
    )
    by = f"rule '{decision['rule']}'" if decision["rule"] else "the guard itself"
    console.print(Text(f"decision: {decision['action']} by {by}{acts}", style="bold"))
    if decision["limit"]:
        console.print(Text(f"limit: {decision['limit']}"))
    if decision["reason"]:
        console.print(Text(f"reason: {decision['reason']}"))

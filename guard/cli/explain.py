"""`guard explain`: one request, walked through a policy, with every rule and why it did or did not match."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from guard.classify import name_browser
from guard.cli.policies import open_console, print_json, read_moment, read_or_complain, wrong_usage
from guard.compare import say_dates, say_limit
from guard.engine import Guard
from guard.errors import TargetError
from guard.feeds import Held, Layer
from guard.identify import read_address
from guard.model import Browser, Decision, Limit, Request
from guard.policy import Policy, Step
from guard.rights import strictest_words, write_choice
from guard.witness import Witness, words_of

ANSWER_S = 2.0
"""So long a register over a network is waited for."""

MANY = 30
"""With more rules than this, those that did not match are left out of the table (not out of --json)."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n"
        "  guard explain no-ai --path /track/4711 --ua 'GPTBot/1.3'\n"
        "  guard explain policy.yaml --path /media/1.mp3 --ip 10.0.0.1 --header 'X-Forwarded-For: 192.0.2.7' --json\n"
        "  guard explain policy.yaml --path /api/v1/tracks/1 --ua 'Mozilla/5.0 …' --header 'Accept: */*'\n"
        "  guard explain policy.yaml --path / --host radio.example --at 2027-01-01\n"
        "\nexit codes: 0 explained, 1 the policy has problems, 2 wrong usage"
    )
    add = parser.add_argument
    add("policy", metavar="POLICY", help="a policy file, or the name of a shipped one")
    add("--path", required=True, metavar="P", help="the path as sent, percent-encoding and all")
    add("--ua", default="", metavar="U", help="the User-Agent")
    add("--ip", default="192.0.2.1", metavar="I", help="the address at the other end (default: 192.0.2.1)")
    add("--method", default="GET", metavar="M", help="the method (default: GET)")
    add("--host", default="", metavar="H", help="the host that is asked, where a policy has several")
    add("--at", metavar="DATE", help="the moment, for rules with dates (default: now)")
    add(
        "--header",
        action="append",
        default=[],
        metavar="'K: V'",
        help="a further header; may be given again: with one, detection takes those named for all that there are",
    )
    add("--all", action="store_true", help="every rule in the table, however many there are")
    add("--json", action="store_true", help="as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    policy = read_or_complain(arguments.policy, as_json=arguments.json)
    if policy is None:
        return 1
    try:
        at_s = read_moment(arguments.at)
        request = _read_request(policy, arguments)
    except ValueError as error:
        return wrong_usage("explain", str(error), as_json=arguments.json)
    now_s = time.time() if at_s is None else at_s
    whole = Guard(policy, clock=lambda: now_s)
    guard = whole.for_host(arguments.host.encode("utf-8", "replace") or None)
    words = words_of(policy)
    if words is not None:
        whole.take(Witness(words, clock=lambda: now_s, still=True))
    fields = _read_fields(arguments) if arguments.header else None
    explained = asyncio.run(_explain_in_time(guard, request, fields, everything=arguments.json or arguments.all))
    explained["policy"]["file"] = arguments.policy
    explained["host"] = {"asked": arguments.host, "named": _is_named(policy, arguments.host)}
    if arguments.json:
        print_json({"ok": True, **explained})
    else:
        _print(explained)
    return 0


async def _explain_in_time(
    guard: Guard, request: Request, fields: dict[bytes, bytes] | None, *, everything: bool
) -> dict[str, Any]:
    """As `explain`, once the register has answered."""
    if guard.witness is not None:
        await guard.witness.open()
    async with in_time(guard, lambda: guard.held_for(request)):
        return explain(guard, request, fields, everything=everything)


@asynccontextmanager
async def in_time(guard: Guard, look: Callable[[], Held | None]) -> AsyncIterator[None]:
    """Within this, a register that has to be asked over a network has said what it knows of what `look` gives, or was
    given the time to."""
    held = look()
    if held is None or held.state == "known":
        yield
        return
    await guard.open_rights()
    try:
        give_up_s = time.monotonic() + ANSWER_S
        while held is not None and held.state != "known" and time.monotonic() < give_up_s:
            await asyncio.sleep(0.02)  # a first answer tells nobody that it has come
            held = look()
        yield
    finally:
        for feed in guard.feeds.values():
            await feed.close()


def _read_request(policy: Policy, arguments: argparse.Namespace) -> Request:
    if not arguments.path.startswith("/"):
        raise ValueError(f"--path '{arguments.path}': write what follows the host, from its '/' on")
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
    path, _, query = arguments.path.partition("?")
    target = path.encode("utf-8", "surrogateescape")
    user_agent = "\n".join(user_agents).encode("utf-8", "surrogateescape")
    asked = query.encode("utf-8", "surrogateescape")
    return Request(arguments.method.upper(), target, user_agent, arguments.ip, tuple(forwarded), None, asked)


def _is_named(policy: Policy, host: str) -> bool:
    """Whether the policy, or one of its scopes, says that it is for this host."""
    host = host.lower().rstrip(".")
    name, _, port = host.rpartition(":")
    host = name if name and port.isdigit() and not name.endswith(":") else host
    names = [one for policy in (policy, *policy.scopes) for one in policy.hosts]
    return any(host.endswith(one[1:]) if one.startswith("*.") else host == one for one in names)


def _read_fields(arguments: argparse.Namespace) -> dict[bytes, bytes]:
    """All headers that were named, in their order, names in lower case: taken as all that the request has."""
    fields = {b"host": (arguments.host or "music.example").encode("utf-8", "replace")}
    if arguments.ua:
        fields[b"user-agent"] = arguments.ua.encode("utf-8", "surrogateescape")
    for line in arguments.header:
        name, _, value = line.partition(":")
        fields[name.strip().lower().encode("utf-8", "replace")] = value.strip().encode("utf-8", "surrogateescape")
    return fields


def explain(
    guard: Guard, request: Request, fields: dict[bytes, bytes] | None = None, *, everything: bool = True
) -> dict[str, Any]:
    """The whole walk as plain values. `fields` are all headers of the request, None when they are not known. Without
    `everything`, of many rules only those that matched (or are out of
    their dates); `left_out` counts the others."""
    client, decision = guard.consider(request)
    agent = decision.agent
    decided = decision
    decision, _ = guard.watch(request, decision, fields)
    # ua-parser takes a quarter of a second to get ready: only who looks like a browser or like nobody is worth it.
    plain = agent.category in ("browser", "unknown") and request.user_agent
    browser = name_browser(request.user_agent or b"") if plain else Browser("", "")
    try:
        traced = guard.trace(request)
    except TargetError:
        traced = ()
    steps = [(reading, step) for reading, met in traced for step in met]
    shown = steps if everything or len(steps) <= MANY else [pair for pair in steps if pair[1].matched or pair[1].state]
    rules = [_describe(reading, step, decision) for reading, step in shown]
    policy = guard.policy
    held = guard.held_for(request)
    work = held.work if held is not None else None
    kinds = [one or policy.kind_of(decision.route_class) for one in (held.kinds if held is not None else ("",))]
    kind = kinds[0]
    stated = policy.stated(decision.route_class)
    if held is not None and work:
        stated = strictest_words([held.rights.stated(one) for one in kinds])
    weight = sum(addend for _, addend in decision.weights)
    return {
        "policy": {
            "file": policy.file,
            "site": policy.site.name,
            "hosts": list(policy.hosts),
            "mode": policy.mode.value,
            "version": policy.version,
        },
        "user_agent": (request.user_agent or b"").decode("utf-8", "replace"),
        "client": {
            "address": client.address,
            "key": client.key.hex(),
            "prefix": client.prefix.hex(),
            "asn": client.asn,
        },
        "agent": {
            "name": agent.name,
            "operator": agent.operator,
            "category": agent.category,
            "purposes": list(agent.purposes),
            "browser": f"{browser.family} {browser.version}".strip(),
        },
        "identity": decision.identity.value,
        "known_by": decision.known_by,
        "route": decision.route_class,
        "readings": [reading for reading, _ in traced],
        "rules": rules,
        "left_out": len(steps) - len(shown),
        "weights": [{"rule": name, "weight": addend} for name, addend in decision.weights],
        "weight": weight,
        "work": str(work) if work else None,
        "kind": kind,
        "source": held.state if held is not None else None,
        "layers": [_layer(layer) for layer in guard.layers(request)],
        "rights": dict(stated),
        "standing": _standing(guard, held, kind, decision),
        "decision": {
            "action": decision.action,
            "rule": decision.rule,
            "mode": decision.mode.value,
            "reason": decision.reason,
            "limits": [limit.name for limit in decision.limits],
            "cost": decision.cost,
            "labels": list(decision.labels),
            "observed": list(decision.observed),
        },
        "detection": _detection(guard, decided, decision, fields is not None),
        "limits": [_limit(limit, policy, decision.route_class) for limit in decision.limits],
        "headers": {name.decode(): value.decode() for name, value in guard.headers_of(decision)},
    }


def _detection(guard: Guard, before: Decision, after: Decision, told: bool) -> dict[str, Any] | None:
    """What is held against the request by how it looks, as the first of its client, and what follows; None where the
    policy does not look."""
    if guard.watching is None:
        return None
    looked_at = before.action in ("allow", "throttle") and before.identity.value != "verified"
    return {
        "looked_at": looked_at,
        "headers_known": told,
        "mode": guard.watching.mode.value,
        "signals": [{"name": one.name, "points": one.points, "reason": one.reason} for one in after.signals],
        "points": round(after.points, 1),
        "steps": [
            {"at": stage.at, "then": stage.then}
            for stage in guard.watching.terms.steps
            if stage.then != "challenge" or guard.watching.terms.challenge
        ],
    }


def _layer(layer: Layer) -> dict[str, Any]:
    """What one layer says, in its own words."""
    choice = layer.choice
    said = write_choice(choice) if choice is not None else {}
    return {"work": str(layer.work), "in_force": layer.in_force, "says": said}


def _standing(guard: Guard, held: Held | None, kind: str, decision: Decision) -> str | None:
    """How the agent stands to the work; None where the policy does not ask."""
    if not guard.policy.asks_rights:
        return None
    rights = held.rights if held is not None else guard.policy.platform_rights
    return rights.standing(kind, decision.agent, decision.identity)


def _describe(reading: str, step: Step, decision: Decision) -> dict[str, Any]:
    rule = step.rule
    return {
        "reading": reading,
        "rule": rule.name,
        "line": rule.line,
        "file": rule.file,
        "matched": step.matched,
        "decided": step.matched and rule.name == decision.rule,
        "then": f"weigh {rule.weight:+d}" if rule.then == "weigh" else rule.then,
        "mode": rule.mode.value,
        "state": step.state,
        "reason": rule.reason,
        "why": _why(step),
    }


def _why(step: Step) -> list[str]:
    """Why a rule did or did not match; for one out of its dates, with them."""
    mark = "out of its dates"
    return [
        f"{line} ({say_dates(step.rule)})" if step.state and line == f"{step.state}: {mark}" else line
        for line in step.why
    ]


def _limit(limit: Limit, policy: Policy, route_class: str) -> dict[str, Any]:
    return {
        "name": limit.name,
        "kind": limit.kind,
        "said": say_limit(limit).partition(": ")[2],
        "unit": limit.unit,
        "count": limit.count,
        "window_s": limit.window_s,
        "period": limit.period,
        "burst": limit.burst,
        "precision": limit.precision,
        "cost": limit.cost,
        "bitrate": limit.bitrate,
        "key": list(limit.key),
        "on_store_failure": policy.on_store_failure.get(route_class, "local"),
    }


def _layers(layers: list[dict[str, Any]]) -> Any:
    """Each layer's word, the widest first."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="what the holders say, widest first", title_justify="left", expand=False)
    for heading in ("layer", "says", "by, when, why"):
        table.add_column(heading, overflow="fold")
    for layer in layers:
        says = dict(layer["says"])
        told = [str(says.pop(key)) for key in ("by", "at", "reason") if key in says]
        words = [f"{key}: {value}" for key, value in says.pop("preferences", {}).items()]
        words += [f"{key}: {json.dumps(value) if key == 'licences' else value}" for key, value in says.items()]
        if not layer["in_force"]:
            words.append("(out of its dates)")
        table.add_row(layer["work"], Text("\n".join(words) or "nothing"), Text("\n".join(told)))
    return table


def _print_detection(detection: dict[str, Any], console: Any) -> None:
    """The sum of what is held against the request."""
    from rich.text import Text

    if not detection["looked_at"]:
        console.print(Text("detection: not looked at (verified, or settled above)"))
        return
    known = "" if detection["headers_known"] else " by its User-Agent alone (--header tells more)"
    found = detection["signals"]
    if not found:
        console.print(Text(f"detection: nothing is held against a first request that looks like this{known}"))
        return
    for signal in found:
        console.print(Text(f"detection: {signal['points']:+5.1f}  {signal['name']}: {signal['reason']}"))
    steps = ", ".join(f"{step['then']} at {step['at']:g}" for step in detection["steps"])
    console.print(Text(f"detection: {detection['points']:5.1f} points in all; {steps}"))


def _print(explained: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    console = open_console()
    agent, decision = explained["agent"], explained["decision"]
    facts = Table(box=None, show_header=False, pad_edge=False)
    who = ", ".join(part for part in (agent["operator"], agent["category"], *agent["purposes"]) if part)
    policy, host = explained["policy"], explained["host"]
    facts.add_row("policy", Text(f"{policy['file']} (version {policy['version']}, mode {policy['mode']})"))
    facts.add_row("site", Text(policy["site"]))
    if host["asked"]:
        named = "" if host["named"] else " (no host of the policy names it: the file's own)"
        facts.add_row("host", Text(f"{host['asked']}{named}"))
    network = f" (AS{explained['client']['asn']})" if explained["client"]["asn"] else ""
    facts.add_row("client", f"{explained['client']['address'] or 'unknown'}{network}")
    facts.add_row("agent", Text(f"{agent['name']} ({who})"))
    facts.add_row("user agent", Text(explained["user_agent"] or "(none)"))
    if agent["browser"]:
        facts.add_row("browser", Text(agent["browser"]))
    facts.add_row("identity", Text(f"{explained['identity']}: {explained['known_by']}"))
    facts.add_row("route", explained["route"])
    rights = ", ".join(f"{purpose}: {word}" for purpose, word in explained["rights"].items())
    if explained["work"]:
        away = "" if explained["source"] == "known" else f" (its register is {explained['source']})"
        facts.add_row("work", Text(f"{explained['work']}{away}"))
    facts.add_row("rights", Text(rights or "nothing stated"))
    if explained["standing"]:
        facts.add_row("standing", Text(explained["standing"]))
    facts.add_row("read as", Text("\n".join(explained["readings"]) or "no safe reading"))
    console.print(facts)
    if explained["layers"]:
        console.print(_layers(explained["layers"]))
    table = Table(title="rules, in order", title_justify="left", expand=False)
    for heading in ("", "rule", "then", "why"):
        table.add_column(heading, overflow="fold")
    several = len(explained["readings"]) > 1
    for step in explained["rules"]:
        mark = "=>" if step["decided"] else ("yes" if step["matched"] else "-")
        name = f"{step['rule']}\n{step['reading']}" if several else step["rule"]
        then = step["then"] if step["mode"] == "enforce" else f"{step['then']}\n(observe)"
        table.add_row(mark, Text(name), Text(then), Text("\n".join(step["why"])))
    console.print(table)
    if explained["left_out"]:
        console.print(f"{explained['left_out']:,} more did not match (--all shows them)", highlight=False)
    if explained["weights"]:
        sums = " ".join(f"{one['weight']:+d} ({one['rule']})" for one in explained["weights"])
        console.print(Text(f"weights: {sums} = {explained['weight']}"))
    if explained["detection"]:
        _print_detection(explained["detection"], console)
    acts = (
        ""
        if decision["mode"] == "enforce" or decision["action"] == "allow"
        else " (observed only: the request goes through)"
    )
    by = f"rule '{decision['rule']}'" if decision["rule"] else "the guard itself"
    console.print(Text(f"decision: {decision['action']} by {by}{acts}", style="bold"))
    for limit in explained["limits"]:
        costs = f"; this request counts {decision['cost']} times" if decision["cost"] > 1 else ""
        away = f"without the store: {limit['on_store_failure']}"
        console.print(Text(f"limit: {limit['name']} ({limit['said']}{costs}; {away})"))
    for word in ("labels", "observed"):
        if decision[word]:
            console.print(Text(f"{word}: {', '.join(decision[word])}"))
    if decision["reason"]:
        console.print(Text(f"reason: {decision['reason']}"))

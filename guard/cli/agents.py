"""`guard agents`: whom the guard knows, what a User-Agent says it is, and lists of others held against that."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO

from guard.classify import Catalogue
from guard.cli.policies import counted, open_console, print_json, print_problems, read_or_complain, wrong_usage
from guard.cli.replay import printable
from guard.declared import DECLARED
from guard.documents import Mapping, read_document
from guard.errors import CatalogueError, Problem
from guard.fetch import FetchError, fetch
from guard.knowing import KnowingReader
from guard.load import catalogue_of, read_policy, shipped_catalogue
from guard.model import CATEGORIES, Agent
from guard.nodes import guess
from guard.policy import Policy
from guard.updates import MAX_LIST_BYTES, Proposal, propose, read_list, write_fragment

FETCH_S = 20.0
_MAX_LINE_BYTES = 256 * 1024
_PIPED_COLUMNS = 250  # what is searched by lines must not be folded into several
_CODES = "\n\nexit codes: 0 done, 1 something could not be read, 2 wrong usage or nobody of that name"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = "Look up agents, name User-Agents, and take in lists that others publish."
    parser.epilog = (
        "examples:\n"
        "  guard agents list --category 'ai-*'\n"
        "  guard agents show GPTBot\n"
        "  guard agents match 'Mozilla/5.0 (compatible; ClaudeBot/1.0; +claudebot@anthropic.com)'\n"
        "  zcat agents.jsonl.gz | guard agents match --jsonl -\n"
        "  guard agents update robots.json --into agents.local.yaml --apply\n"
        "  guard agents stats --json" + _CODES
    )
    commands = parser.add_subparsers(dest="what", metavar="COMMAND", required=True)

    def add(name: str, text: str, epilog: str = "") -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=(epilog + _CODES).strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.add_argument("--policy", metavar="POLICY", help="with the facts of this policy's catalogue")
        sub.add_argument("--json", action="store_true", help="as one JSON object")
        return sub

    one = add("list", "list agents, their operators and what they are")
    one.add_argument("--category", metavar="C", help="only these, like ai-train or 'ai-*'")
    one.add_argument("--operator", metavar="O", help="only those of one operator")
    one = add("show", "show all that is known of one agent")
    one.add_argument("name", metavar="NAME", help="an agent's name or product token")
    one = add("match", "say who a User-Agent claims to be", _MATCH_EPILOG)
    one.add_argument("ua", nargs="?", metavar="UA", help="the User-Agent")
    one.add_argument("--jsonl", metavar="FILE", help="read {\"ua\": …} lines from FILE ('-': stdin)")
    add("stats", "count agents by category, confidence, and how they can be checked")
    one = add("lists", "show the lists of networks by which a policy checks names, and fetch them", _LISTS_EPILOG)
    one.add_argument("--fetch", action="store_true", help="fetch every list now, whoever else does")
    one.add_argument(
        "--accept",
        metavar="URL",
        action="append",
        default=[],
        help="with --fetch: take this list although it has grown or shrunk too much; may be repeated",
    )
    one = add("update", "hold a list of agents against the catalogue, and take in what is new", _UPDATE_EPILOG)
    one.add_argument("source", metavar="FILE|URL", help="robots.json of ai.robots.txt, or a catalogue file")
    one.add_argument("--into", metavar="FILE", default="agents.local.yaml", help="default: agents.local.yaml")
    one.add_argument("--apply", action="store_true", help="write the file; without it, only the difference is shown")


_MATCH_EPILOG = """\
With --jsonl every line becomes one: {"ua", "agent", "operator", "category", "purposes", "confidence"}. "agent" is null
for what no entry of the catalogue claims.

examples:
  guard agents match "$UA" --json
  guard agents match --jsonl agents.jsonl > named.jsonl"""

_LISTS_EPILOG = """\
Without --policy, the lists that ship. A list is fresh for 30 days after it was fetched; then it verifies nobody and
accuses nobody. One that covers more than four times, or less than a quarter, of the addresses it did is not taken
until a person has looked at it and says --accept.

examples:
  guard agents lists --policy policy.yaml
  guard agents lists --policy policy.yaml --fetch
  guard agents lists --policy policy.yaml --fetch --accept https://openai.com/gptbot.json"""

_UPDATE_EPILOG = """\
The difference is shown first; nothing is written without --apply. What is written is a file for `include:` of a policy:
new names at low confidence, never another word for an agent that is known. A file that is there keeps what it says.

examples:
  guard agents update robots.json
  guard agents update https://example.org/robots.json --into agents.local.yaml --apply"""


def run(arguments: argparse.Namespace) -> int:
    catalogue = shipped_catalogue()
    policy: Policy | None = None
    if arguments.policy is not None:
        policy = read_or_complain(arguments.policy, as_json=arguments.json)
        if policy is None:
            return 1
        catalogue = catalogue_of(policy)
    if arguments.what == "lists":
        return _lists(policy, arguments)
    if arguments.what == "list":
        return _list(catalogue, arguments)
    if arguments.what == "show":
        return _show(catalogue, arguments)
    if arguments.what == "match":
        return _match(catalogue, arguments)
    if arguments.what == "stats":
        return _stats(catalogue, arguments)
    return _update(catalogue, arguments)


# -- looking -----------------------------------------------------------------------------------------------


def _list(catalogue: Catalogue, arguments: argparse.Namespace) -> int:
    wanted = arguments.category
    if wanted and not any(fnmatchcase(category, wanted) for category in CATEGORIES):
        message = f"--category: no category '{wanted}'{guess(wanted, CATEGORIES)}"
        return wrong_usage("agents list", message, as_json=arguments.json)
    operator = (arguments.operator or "").lower()
    operators = {agent.operator for agent in catalogue.agents}
    if operator and operator not in {name.lower() for name in operators}:
        message = f"--operator: nobody is called '{arguments.operator}'{guess(arguments.operator, operators)}"
        return wrong_usage("agents list", message, as_json=arguments.json)
    found = [
        agent
        for agent in sorted(catalogue.agents, key=lambda agent: (agent.category, agent.name.lower()))
        if (not wanted or fnmatchcase(agent.category, wanted)) and (not operator or agent.operator.lower() == operator)
    ]
    if arguments.json:
        print_json({"ok": True, "agents": [_as_value(agent) for agent in found]})
        return 0
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("agent", "operator", "category", "purposes", "robots.txt", "checked by", "confidence"):
        table.add_column(column, overflow="fold")
    for agent in found:
        checks = ", ".join(dict.fromkeys(check.kind for check in agent.verification))
        table.add_row(
            *(
                Text(text)
                for text in (
                    agent.name,
                    agent.operator,
                    agent.category,
                    ", ".join(agent.purposes),
                    agent.respects_robots,
                    checks or "nothing",
                    agent.confidence,
                )
            )
        )
    read_by_people = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = open_console(highlight=False, **({} if read_by_people else {"width": _PIPED_COLUMNS}))
    console.print(table)
    console.print(counted(len(found), "agent"), style="dim")
    return 0


def _show(catalogue: Catalogue, arguments: argparse.Namespace) -> int:
    wanted = arguments.name.lower()
    agent = catalogue.by_name.get(wanted) or next(
        (one for one in catalogue.agents if wanted in (one.product_token.lower(), one.robots_token.lower())), None
    )
    if agent is None:
        near = guess(arguments.name, [one.name for one in catalogue.agents])
        return wrong_usage("agents show", f"nobody is called '{arguments.name}'{near}", as_json=arguments.json)
    if arguments.json:
        print_json({"ok": True, "agent": _as_value(agent)})
        return 0
    value = _as_value(agent)
    samples, checks = value.pop("samples"), value.pop("verification")
    lines = [f"{key.replace('_', ' '):16} {_in_words(said)}" for key, said in value.items() if said]
    for check in checks:
        lines.append(f"{'checked by':16} {check['kind']}: {' '.join(check['sources'])}")
    if not checks:
        lines.append(f"{'checked by':16} nothing: its operator publishes no way, so its name stays unverified")
    lines += [f"{'sample':16} {sample}" for sample in samples]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _in_words(said: object) -> str:
    return ", ".join(said) if isinstance(said, list) else str(said)


def _as_value(agent: Agent) -> dict[str, Any]:
    return {
        "name": agent.name,
        "operator": agent.operator,
        "category": agent.category,
        "purposes": list(agent.purposes),
        "product_token": agent.product_token,
        "robots_token": agent.robots_token,
        "match": agent.match,
        "respects_robots": agent.respects_robots,
        "confidence": agent.confidence,
        "runs_on": agent.runs_on,
        "allowed": list(agent.allowed),
        "docs": agent.docs,
        "verification": [{"kind": check.kind, "sources": list(check.sources)} for check in agent.verification],
        "samples": list(agent.samples),
    }


def _stats(catalogue: Catalogue, arguments: argparse.Namespace) -> int:
    counts = Counter(agent.category for agent in catalogue.agents)
    sure = Counter(agent.confidence for agent in catalogue.agents if agent.category.startswith("ai-"))
    checks = Counter(kind for agent in catalogue.agents for kind in {check.kind for check in agent.verification})
    ai = sum(count for category, count in counts.items() if category.startswith("ai-"))
    ordered = {category: counts[category] for category in CATEGORIES if counts[category]}
    operators = len({agent.operator for agent in catalogue.agents})
    if arguments.json:
        print_json(
            {
                "ok": True,
                "agents": len(catalogue.agents),
                "operators": operators,
                "ai": ai,
                "categories": ordered,
                "ai_confidence": dict(sure),
                "checks": dict(checks),
            }
        )
        return 0
    lines = [f"{counted(len(catalogue.agents), 'agent')} of {counted(operators, 'operator')}, {ai} of them for AI", ""]
    lines += [f"  {category:18}{count:5}" for category, count in ordered.items()]
    lines += ["", "how sure it is of those for AI"]
    lines += [f"  {word:18}{sure[word]:5}" for word in ("high", "medium", "low")]
    lines += ["", "how claims can be checked"]
    lines += [f"  {kind:18}{count:5}" for kind, count in sorted(checks.items())]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


# -- naming ------------------------------------------------------------------------------------------------


def name_user_agent(catalogue: Catalogue, user_agent: str) -> dict[str, Any]:
    """Who `user_agent` claims to be, as `--jsonl` writes it."""
    agent = catalogue.find(user_agent.encode("utf-8", "surrogatepass"))
    nobody = agent.category in ("browser", "unknown") or agent is DECLARED.get(agent.category)
    return {
        "ua": user_agent,
        "agent": None if nobody else agent.name,
        "operator": agent.operator or None,
        "category": agent.category,
        "purposes": list(agent.purposes),
        "confidence": agent.confidence,
    }


def _match(catalogue: Catalogue, arguments: argparse.Namespace) -> int:
    if (arguments.ua is None) is (arguments.jsonl is None):
        return wrong_usage("agents match", "needs either UA or --jsonl FILE", as_json=arguments.json)
    if arguments.jsonl is not None:
        return _match_lines(catalogue, arguments.jsonl)
    named = name_user_agent(catalogue, arguments.ua)
    if arguments.json:
        print_json({"ok": True, **named})
        return 0
    who = named["agent"] or "nobody that the catalogue knows"
    sys.stdout.write(f"{who}{' of ' + named['operator'] if named['operator'] else ''}: {named['category']}\n")
    if named["purposes"]:
        sys.stdout.write(f"fetches for: {', '.join(named['purposes'])}\n")
    sys.stdout.write(f"confidence: {named['confidence']}\n")
    return 0


def _whole_lines(lines: BinaryIO) -> Iterator[bytes]:
    """Each line; of one that is too long only the beginning, so that it is no JSON and the next keeps its number."""
    while line := lines.readline(_MAX_LINE_BYTES):
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = lines.readline(_MAX_LINE_BYTES)
        yield line


def _match_lines(catalogue: Catalogue, name: str) -> int:
    try:
        lines: BinaryIO = sys.stdin.buffer if name == "-" else Path(name).open("rb")  # noqa: SIM115
    except OSError as error:
        sys.stderr.write(f"guard agents match: {name}: cannot be read: {error.strerror}\n")
        return 1
    bad = 0
    with lines:
        for number, line in enumerate(_whole_lines(lines), 1):
            if not line.strip():
                continue
            try:
                said = json.loads(line)
                user_agent = said["ua"]
                if not isinstance(user_agent, str):
                    raise TypeError
            except (ValueError, KeyError, TypeError, RecursionError):
                bad += 1
                if bad <= 10:
                    sys.stderr.write(f'guard agents match: {name}:{number}: expected {{"ua": "…"}} on one line\n')
                continue
            sys.stdout.write(json.dumps(name_user_agent(catalogue, user_agent)) + "\n")
    if bad > 10:
        sys.stderr.write(f"guard agents match: {name}: {bad} lines could not be read\n")
    return 1 if bad else 0


# -- published networks --------------------------------------------------------------------------------------


def _lists(policy: Policy | None, arguments: argparse.Namespace) -> int:
    from guard.witness import Witness, Words, words_of

    if policy is None:
        policy = read_policy("{version: 1, site: {name: shipped}, default: allow, verification: {lists: shipped}}")
    words = words_of(policy)
    if words is None or not words.sources:
        message = "this policy checks nobody by lists: say `verification: {lists: fetch}` in it"
        return wrong_usage("agents lists", message, as_json=arguments.json)
    if arguments.fetch and words.directory is None:
        message = "--fetch: fetched lists need `verification: {lists: fetch}` in the policy, and a folder to be kept in"
        return wrong_usage("agents lists", message, as_json=arguments.json)
    unknown = [url for url in arguments.accept if url not in dict(words.sources)]
    if unknown:
        near = guess(unknown[0], [url for url, _ in words.sources])
        return wrong_usage("agents lists", f"--accept: no list at '{unknown[0]}'{near}", as_json=arguments.json)

    async def states(words: Words) -> dict[str, Any]:
        resolver = Witness(words, still=True).resolver
        await resolver.look()
        if arguments.fetch:
            await resolver.refresh(arguments.accept)
        return resolver.states()

    found = asyncio.run(states(words))
    failed = arguments.fetch and any(state.error for state in found.values())
    if arguments.json:
        rows = [{"source": url, **state._asdict()} for url, state in sorted(found.items())]
        for row in rows:
            row["due_s"] = None
        print_json({"ok": not failed, "directory": str(words.directory or ""), "lists": rows})
        return 1 if failed else 0
    for url, state in sorted(found.items()):
        day = time.strftime("%Y-%m-%d", time.gmtime(state.fetched_s)) if state.fetched_s else ""
        sys.stdout.write(f"{state.state:7}{state.networks or '':>6}  {day:10} {state.origin:8} {url}\n")
        if state.error:
            sys.stdout.write(f"{'':13}  {printable(state.error)}\n")
    fresh = sum(state.state == "fresh" for state in found.values())
    kept = f"; kept in {words.directory}" if words.directory else ""
    sys.stdout.write(f"{counted(len(found), 'list')}, {fresh} fresh{kept}\n")
    return 1 if failed else 0


# -- updating ----------------------------------------------------------------------------------------------


def _update(catalogue: Catalogue, arguments: argparse.Namespace) -> int:
    target = Path(arguments.into)
    read, known, own = str(target), catalogue, frozenset[str]()
    try:
        before = target.read_text(encoding="utf-8") if target.exists() else ""
        if before:
            known, own = _with_fragment(before, str(target), catalogue)
        read = arguments.source
        proposal = propose(known, read_list(_read_source(read), read), own)
    except CatalogueError as error:
        print_problems(error.problems, as_json=arguments.json)
        return 1
    except FetchError as error:
        print_problems((Problem(arguments.source, 0, error.reason),), as_json=arguments.json)
        return 1
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8 text"
        print_problems((Problem(read, 0, f"cannot be read: {why}"),), as_json=arguments.json)
        return 1
    written = arguments.apply and not proposal.empty
    if written:
        day = time.strftime("%Y-%m-%d", time.gmtime())
        beside = target.with_name(f".{target.name}.new")
        try:
            beside.write_text(write_fragment(proposal, arguments.source, day, before), encoding="utf-8")
            _with_fragment(beside.read_text(encoding="utf-8"), str(target), catalogue)
            beside.replace(target)
        except (OSError, CatalogueError) as error:
            beside.unlink(missing_ok=True)
            print_problems((Problem(str(target), 0, f"was not written: {error}"),), as_json=arguments.json)
            return 1
    if arguments.json:
        print_json({"ok": True, "written": str(target) if written else None, **_as_difference(proposal)})
    else:
        sys.stdout.write("".join(f"{line}\n" for line in _in_lines(proposal)))
        if written:
            sys.stdout.write(f"written to {target}: take it in with include: [{target.name}]\n")
        elif not proposal.empty:
            sys.stdout.write(f"nothing was written; --apply writes this to {target}\n")
    return 0


def _read_source(source: str) -> str:
    if "://" in source:
        found = asyncio.run(fetch(source, max_bytes=MAX_LIST_BYTES, deadline_s=FETCH_S))
        return found.body.decode("utf-8")
    path = Path(source)
    if path.stat().st_size > MAX_LIST_BYTES:
        raise CatalogueError((Problem(source, 0, f"larger than {MAX_LIST_BYTES // 1024 // 1024} MiB"),))
    return path.read_text(encoding="utf-8")


def _with_fragment(text: str, file: str, catalogue: Catalogue) -> tuple[Catalogue, frozenset[str]]:
    """The catalogue with what a file of local agents says, and the names (lower case) that it speaks of. Raises
    CatalogueError when it is no such file."""
    node, problems = read_document(text, file)
    if not isinstance(node, Mapping):
        raise CatalogueError(tuple(problems) or (Problem(file, 1, "expected a file with 'catalogue:'"),))
    if not node.entries or node.entries[-1][0].text != "catalogue":
        raise CatalogueError(
            (Problem(file, node.line, "'catalogue:' must be the last block: new agents go to its end"),)
        )
    reader = KnowingReader(file)
    found = reader.catalogue(node, catalogue)
    if reader.problems or problems:
        raise CatalogueError((*problems, *reader.problems))
    entries = node.entries[-1][1]
    own = (key.text.lower() for key, _ in entries.entries) if isinstance(entries, Mapping) else ()
    return found or catalogue, frozenset(own)


def _in_lines(proposal: Proposal) -> Iterator[str]:
    for agent in proposal.new:
        about = f"{agent.category}, {', '.join(agent.purposes)}, robots.txt: {agent.respects_robots}"
        yield f"+ {printable(agent.name)}  ({about})"
    for change in proposal.changes:
        yield f"~ {printable(change.agent.name)}  {change.fact}: {change.before} -> {change.after}"
    for agent, other in proposal.kept:
        yield f"= {printable(agent.name)}  stays {agent.category} (the list says {other})"
    yield (
        f"{len(proposal.new)} new, {len(proposal.changes)} changed, {proposal.same} the same, "
        f"{len(proposal.kept)} known as something else"
    )


def _as_difference(proposal: Proposal) -> dict[str, Any]:
    return {
        "new": [_as_value(agent) for agent in proposal.new],
        "changed": [
            {"agent": change.agent.name, "fact": change.fact, "before": change.before, "after": change.after}
            for change in proposal.changes
        ],
        "kept": [{"agent": agent.name, "category": agent.category, "listed": other} for agent, other in proposal.kept],
        "same": proposal.same,
    }

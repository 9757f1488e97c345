"""Policy files to a Policy, or every problem at once with file, line and a suggestion.

Reading goes on after a problem, so that one run names all of them; nothing is returned unless there are none.
An unknown key is an error: a misspelt rule must not silently not exist. So is what would stop a listener.
What the blocks mean is read in `blocks.py`, from the files that `sources.py` has joined.
"""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from guard.asn import AsnTable, read_asn_table
from guard.blocks import PolicyReader
from guard.catalogue import load_catalogue
from guard.classify import Catalogue
from guard.documents import Node
from guard.errors import PolicyError, Problem
from guard.knowing import KnowingReader
from guard.listeners import check_limits
from guard.model import Verifying
from guard.policy import Policy
from guard.sources import read_bytes, read_sources, shipped_folder


def load_policy(path: str | Path, catalogue: Catalogue | None = None) -> Policy:
    """The policy in `path`. Raises PolicyError with every problem; OSError when the file cannot be read."""
    resolved = Path(path).resolve(strict=True)
    try:
        text = read_bytes(resolved).decode("utf-8")
    except UnicodeDecodeError as error:
        raise PolicyError((Problem(str(path), 0, f"not UTF-8 text: {error.reason}"),)) from None
    except ValueError as error:
        raise PolicyError((Problem(str(path), 0, str(error)),)) from None
    return _read(text, str(path), resolved, catalogue)


def load_policies(paths: Iterable[str | Path], catalogue: Catalogue | None = None) -> Policy:
    """Several files as one policy: each says in `site: hosts:` which hosts it is for; the first is for all others.

    Raises PolicyError with the problems of all files; OSError when one cannot be read.
    """
    policies: list[Policy] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            policies.append(load_policy(path, catalogue))
        except PolicyError as error:
            problems += error.problems
    if problems:
        raise PolicyError(tuple(problems))
    return together(policies)


def together(policies: list[Policy]) -> Policy:
    """Several policies in one process, told apart by host. Raises PolicyError when they cannot be."""
    first, *others = policies
    if not others:
        return first
    problems: list[Problem] = []
    scopes = list(first.scopes)
    limits = {limit.name: (limit, first) for policy in (first, *first.scopes) for limit in policy.limits}
    taken = dict.fromkeys(first.site.hosts, first.file)
    taken |= {host: first.file for scope in first.scopes for host in scope.hosts}
    for policy in others:
        if not policy.site.hosts:
            message = "beside another policy it must say which hosts it is for: 'site: hosts:'"
            problems.append(Problem(policy.file, 0, message))
        for one in (policy, *policy.scopes):
            for host in one.hosts:
                if host in taken:
                    problems.append(Problem(policy.file, 0, f"host '{host}' is also in {taken[host]}"))
                taken[host] = policy.file
            for limit in one.limits:
                known, where = limits.setdefault(limit.name, (limit, policy))
                if known != limit:
                    message = f"limit '{limit.name}' is another one in {where.file}: give one of them another name"
                    problems.append(Problem(limit.file or policy.file, limit.line, message))
        scopes += [replace(policy, scopes=()), *policy.scopes]
    saying = [policy for policy in policies if policy.verifying != Verifying()]
    problems += [
        Problem(policy.file, 0, f"'verification' is for all hosts, and {saying[0].file} says another: say it once")
        for policy in saying[1:]
        if policy.verifying != saying[0].verifying
    ]
    verifying = saying[0].verifying if saying else first.verifying
    if problems:
        raise PolicyError(tuple(dict.fromkeys(problems)))
    version = hashlib.sha256(" ".join(policy.version for policy in policies).encode()).hexdigest()[:12]
    return replace(
        first,
        scopes=tuple(replace(scope, verifying=verifying) for scope in scopes),
        verifying=verifying,
        version=version,
        sources=tuple(source for policy in policies for source in policy.sources),
        warnings=tuple(warning for policy in policies for warning in policy.warnings),
    )


def read_policy(text: str, file: str = "policy", catalogue: Catalogue | None = None) -> Policy:
    """The policy in `text`; `file` is only for messages. Raises PolicyError."""
    return _read(text, file, None, catalogue)


def _read(text: str, file: str, path: Path | None, catalogue: Catalogue | None) -> Policy:
    collecting = gc.isenabled()
    gc.disable()  # nothing here is rubbish, and looking for it doubles the time of a large policy
    try:
        return _build(text, file, path, catalogue or shipped_catalogue())
    finally:
        if collecting:
            gc.enable()


def _build(text: str, file: str, path: Path | None, catalogue: Catalogue) -> Policy:
    sources = read_sources(text, file, path)
    problems = list(sources.problems)
    policy: Policy | None = None
    own: Catalogue | None = None
    tables: dict[str, AsnTable] = {}
    if sources.document is not None:
        knowing = KnowingReader(file)
        own = knowing.catalogue(sources.document, catalogue)
        catalogue = own or catalogue
        verifying = knowing.verifying(sources.document)
        reader = PolicyReader(file, catalogue)
        policy = replace(reader.policy(sources.document), verifying=verifying, catalogue=own)
        problems += knowing.problems + reader.problems
        tables, wrong = _read_tables(reader.tables)
        problems += wrong
    if policy is not None and not any(problem.level == "error" for problem in problems):
        for one in (policy, *policy.scopes):
            problems += check_limits(one, catalogue, time.time())
    problems = sorted(dict.fromkeys(problems), key=lambda problem: (problem.file != file, problem.file, problem.line))
    errors = tuple(problem for problem in problems if problem.level == "error")
    if errors or policy is None:
        raise PolicyError(errors)
    version = _version(sources.digest, tables)
    found = {"version": version, "file": file, "sources": tuple(dict.fromkeys((*sources.files, *tables)))}
    scopes = tuple(
        replace(scope, verifying=policy.verifying, catalogue=own, asn=tables.get(scope.site.asn_table), **found)  # type: ignore[arg-type]
        for scope in policy.scopes
    )
    asn = tables.get(policy.site.asn_table)
    return replace(policy, scopes=scopes, warnings=tuple(problems), asn=asn, **found)  # type: ignore[arg-type]


def _read_tables(named: Mapping[str, Node]) -> tuple[dict[str, AsnTable], list[Problem]]:
    """The tables of networks by their paths, and what is wrong with them or with how they are named."""
    tables: dict[str, AsnTable] = {}
    problems: list[Problem] = []
    for path, node in named.items():
        try:
            tables[path] = read_asn_table(path)
        except PolicyError as error:
            problems += error.problems
        except OSError as error:
            message = f"site: asn_table: '{path}' cannot be read: {error.strerror}"
            problems.append(Problem(node.file, node.line, message))
    return tables, problems


def _version(digest: str, tables: Mapping[str, AsnTable]) -> str:
    """One table in place of another is another version of the policy."""
    if not tables:
        return digest
    return hashlib.sha256(" ".join((digest, *(table.digest for table in tables.values()))).encode()).hexdigest()[:12]


def shipped_policy(name: str) -> Path:
    """The path of a policy that ships with the guard, by name without `.yaml`. Raises FileNotFoundError."""
    path = shipped_folder() / f"{name}.yaml"
    if "/" in name or not path.is_file():
        raise FileNotFoundError(f"no shipped policy '{name}'")
    return path


def catalogue_of(policy: Policy) -> Catalogue:
    """The agents that a policy knows: those that ship, with its own facts where it has some."""
    return policy.catalogue or shipped_catalogue()


_shipped: list[Catalogue] = []


def shipped_catalogue() -> Catalogue:
    """The catalogue that ships with the guard, read once a process."""
    if not _shipped:
        _shipped.append(load_catalogue())
    return _shipped[0]

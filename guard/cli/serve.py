"""`guard serve`: the sidecar."""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import ipaddress
import json
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from guard.classify import warm
from guard.cli.policies import counted, find_policy, print_problems
from guard.engine import Guard
from guard.errors import CatalogueError, GuardError, PolicyError, Problem, StoreError
from guard.ledger.versions import Versions
from guard.load import catalogue_of, shipped_catalogue
from guard.model import Verifying
from guard.policy import Policy
from guard.protocols import Recorder
from guard.proxy.handover import Version
from guard.proxy.robots import START_S, fetch_robots
from guard.proxy.supervisor import Supervisor
from guard.proxy.worker import Timeouts, Upstream, Worker, platform_host
from guard.records import json_lines
from guard.registers import open_register
from guard.registers.sqlite import SqliteRegister
from guard.rights import Choice
from guard.sources import shipped_folder
from guard.stores import open_store
from guard.watch import PolicyFile, Swap, render

if TYPE_CHECKING:
    from guard.stores.embedded import EmbeddedValkey

EX_CONFIG = 78
_TURNS_S = 0.0005
"""So long a request waits at most for a thread that makes directive files anew."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n"
        "  guard serve --upstream http://127.0.0.1:4533\n"
        "  guard serve --upstream http://127.0.0.1:4533 --policy no-ai --listen 0.0.0.0:8080 \\\n"
        "              --store embedded --workers 2 --trusted-proxies 127.0.0.1,10.0.0.0/8\n"
        "\n"
        "exit codes: 0 stopped as asked, 1 workers would not live, 2 wrong usage, 78 the policy was refused"
    )
    add = parser.add_argument
    add("--upstream", required=True, metavar="URL", help="the platform: http://HOST:PORT, https://HOST or unix:///PATH")
    add(
        "--policy",
        action="append",
        metavar="FILE",
        help="a policy file or a shipped name (default: observe); again for other hosts' policies: what no host "
        "of theirs claims goes to the first",
    )
    add("--no-reload", action="store_true", help="leave changed policy files alone until SIGHUP")
    add(
        "--terms",
        metavar="FILE",
        help="the record of the terms' versions (default: beside the policy file, as NAME.terms.jsonl)",
    )
    add("--ignore-robots", action="store_true", help="do not join the platform's own robots.txt to the one served")
    add("--listen", default="127.0.0.1:8080", metavar="H:P", help="address to answer on (default: 127.0.0.1:8080)")
    add(
        "--store",
        default="memory",
        metavar="URL",
        help="where limits are counted: memory, embedded, redis://…, rediss://…, unix://…, redis+sentinel://…, "
        "redis+cluster://… (default: memory)",
    )
    add("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")
    add(
        "--trusted-proxies",
        metavar="CIDR,…",
        help="hops whose X-Forwarded-For is believed; takes the place of the policy's list",
    )
    add(
        "--no-lookups",
        action="store_true",
        help="ask nobody outside: no published lists, host names or keys, whatever the policy's 'verification' says",
    )
    add(
        "--log", choices=("refusals", "all", "none"), default="refusals", help="decisions on stdout, one JSON line each"
    )
    add("--drain", type=float, default=120.0, metavar="S", help="seconds for running answers at SIGTERM (default: 120)")
    add("--api", metavar="H:P", help="answer the rights API here, for a settings page; needs --api-tokens")
    add("--api-tokens", metavar="FILE", help="who may use it: a line NAME: TOKEN for each (or GUARD_API_TOKENS)")
    add("--tls-cert", metavar="FILE", help="certificate chain (PEM), to answer https")
    add("--tls-key", metavar="FILE", help="its private key (PEM)")


def run(arguments: argparse.Namespace) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))  # it waits for the supervisor, however early it comes
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="guard: %(message)s")
    names = arguments.policy or ["observe"]
    try:
        file = _read(names, arguments.trusted_proxies, not arguments.no_lookups)
        if file is None:
            sys.stderr.write("guard: refused to start on an invalid policy\n")
            return EX_CONFIG
        policy = file.policy
        upstream = Upstream.parse(arguments.upstream)
        tls = _tls(arguments.tls_cert, arguments.tls_key)
        api = _api(arguments.api, arguments.api_tokens, file, polling=not arguments.no_reload)
        sock = listen(arguments.listen)
    except (ValueError, OSError, GuardError) as error:
        sys.stderr.write(f"guard: {error}\n")
        return 2
    if arguments.workers < 1:
        sys.stderr.write("guard: --workers must be at least 1\n")
        return 2
    with ExitStack() as stack:
        try:
            store_url, tend = _resolve_store(arguments.store, stack)
            open_store(store_url)  # not opened here, only understood: a wrong address must not reach the workers
        except (ValueError, ImportError, OSError, StoreError) as error:
            sys.stderr.write(f"guard: --store: {error}\n")
            return 2
        shipped_catalogue()
        warm()
        # Once for all workers, now and at every change.
        if not arguments.ignore_robots:
            file.foreign = fetch_robots(upstream, platform_host(policy, upstream), START_S) or b""
        try:
            file.record = _open_record(arguments.terms, policy)
            now_s = file.wall()
            if (why := file.record.too_soon(policy, catalogue_of(policy), now_s)) is not None:
                sys.stderr.write(f"{policy.file}: {why}\nguard: refused to start\n")
                return EX_CONFIG
            version = Version(policy, render(policy, None, file.foreign, file.record, now_s))
        except GuardError as error:
            sys.stderr.write(f"guard: {error}\nguard: refused to start\n")
            return EX_CONFIG
        host, port = sock.getsockname()[:2]
        sys.stderr.write(
            f"guard: {policy.site.name!r}, policy {', '.join(names)} (version {policy.version}, {policy.mode.value}), "
            f"http{'s' if tls else ''}://{host}:{port} -> {arguments.upstream}, "
            f"{counted(arguments.workers, 'worker')}, store {arguments.store.split('@')[-1]}, "
            f"{'reloaded at SIGHUP only' if arguments.no_reload else 'reloaded when a policy file changes'}\n"
        )
        sys.stderr.flush()

        # Passes are nobody's to make: without a secret of their own they last as long as this process.
        passes = secret_of(policy) if os.environ.get("GUARD_SECRET") else os.urandom(32)
        secret = secret_of(policy)  # the first one's for good: workers of one site must count under the same keys

        def work(slot: int, version: Version, feed: socket.socket) -> None:
            _work(version, feed, upstream, sock, tls, store_url, secret, passes, arguments)

        supervisor = Supervisor(
            work,
            arguments.workers,
            version,
            file=file,
            polling=not arguments.no_reload,
            say=_sayer(arguments.log),
            drain_s=arguments.drain,
            beside=api,
            tend=tend,
        )
        return supervisor.serve()


def _read(names: list[str], networks: str | None, lookups: bool) -> PolicyFile | None:
    """The policies as one, or None after every problem was printed. Raises ValueError on `networks`."""

    def adapt(read: Policy) -> Policy:
        return trusting(read if lookups else without_lookups(read), networks)

    try:
        return PolicyFile.load([find_policy(name) for name in names], adapt=adapt)
    except (PolicyError, CatalogueError) as error:
        print_problems(error.problems, as_json=False)
    except OSError as error:
        print_problems((Problem(str(error.filename), 0, f"cannot be read: {error.strerror}"),), as_json=False)
    return None


def _work(
    version: Version,
    feed: socket.socket,
    upstream: Upstream,
    sock: socket.socket,
    tls: ssl.SSLContext | None,
    store_url: str,
    secret: bytes,
    passes: bytes,
    arguments: argparse.Namespace,
) -> None:
    """One worker's whole life."""
    import gc

    import uvloop

    store = open_store(store_url, workers=arguments.workers, secret=secret)
    record = _recorder(arguments.log)
    guard = Guard(version.policy, store=store, record=record, rendered=version.rendered, secret=passes)
    worker = Worker(guard, upstream, Timeouts(drain_s=arguments.drain), ask_robots=not arguments.ignore_robots)
    gc.collect()
    gc.freeze()  # what was loaded stays: no collector needs to look at it again
    gc.set_threshold(50_000, 20, 100)
    sys.setswitchinterval(_TURNS_S)
    uvloop.run(worker.serve(sock, tls, feed=feed))


def _open_record(named: str | None, policy: Policy) -> Versions:
    """The record of terms: as named, else beside the policy's file; of a shipped policy it lasts as long as we do."""
    if named is None:
        beside = Path(policy.file)
        if beside.resolve().is_relative_to(shipped_folder().resolve()) or not os.access(beside.parent, os.W_OK):
            sys.stderr.write(
                "guard: the versions of these terms are not kept beyond this run: name a file with --terms\n"
            )
            return Versions.open(None)
        named = str(beside.with_suffix(".terms.jsonl"))
    record = Versions.open(named)
    for note in record.notes:
        sys.stderr.write(f"guard: {named}: {note}\n")
    return record


def _api(address: str | None, tokens_file: str | None, file: PolicyFile, *, polling: bool) -> Callable[[], None] | None:
    """What the process of the rights API does; None when none is wanted. Raises ValueError or OSError in words."""
    if address is None:
        if tokens_file is not None:
            raise ValueError("--api-tokens needs --api: where is it to answer?")
        return None
    if file.policy.rights is None:
        raise ValueError("--api: this policy keeps no rights of works: it needs a block 'rights'")
    from guard.api import read_tokens, serve_api

    said = os.environ.get("GUARD_API_TOKENS", "")
    if tokens_file is None and not said:
        raise ValueError("--api needs --api-tokens FILE: a line NAME: TOKEN for each who may use it")
    try:
        tokens = read_tokens(Path(tokens_file) if tokens_file is not None else said)
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"--api-tokens {tokens_file or '(GUARD_API_TOKENS)'}: {error}") from None
    sock = listen(address)
    register = open_register(file.policy.rights.source)
    if isinstance(register, SqliteRegister):
        register.create()  # where a settings page is about to write, nobody has said anything yet

    def serve() -> None:  # in a fork of the supervisor: `file` holds what is in force at that moment
        source, platform = _in_force(file.policy)
        serve_api(source, sock, tokens, platform=platform, follow=_following(file) if polling else None)

    return serve


def _in_force(policy: Policy) -> tuple[str | None, Callable[[float], Choice]]:
    """Where the holders' words are, and the platform's own word at a moment."""
    source = None if policy.rights is None else policy.rights.source
    return source, lambda now_s: policy.stating(now_s).platform_choice


def _following(file: PolicyFile) -> Callable[[], tuple[str | None, Callable[[float], Choice]] | None]:
    """What gives a changed policy once, in a process that serves no files: it judges as the supervisor does, and notes
    nothing."""
    record, file.record, adapt = file.record, None, file.adapt

    def judge(policy: Policy) -> Policy:
        policy = policy if adapt is None else adapt(policy)
        why = None
        if record is not None:
            with contextlib.suppress(GuardError):  # the supervisor says so
                record.poll()
                why = record.too_soon(policy, catalogue_of(policy), file.wall())
        if why is not None:
            raise PolicyError((Problem(policy.file, 0, why),))
        return policy

    file.adapt = judge

    def look() -> tuple[str | None, Callable[[float], Choice]] | None:
        outcome = file.poll(time.monotonic())
        return _in_force(outcome.policy) if isinstance(outcome, Swap) else None

    return look


def secret_of(policy: Policy) -> bytes:
    """The key under which the store hides clients: GUARD_SECRET, else one made from the site's name."""
    chosen = os.environ.get("GUARD_SECRET", "")
    return hashlib.sha256((chosen or f"noai-guard:{policy.site.name}").encode()).digest()


def without_lookups(policy: Policy) -> Policy:
    """The policy with nobody to ask, for every host."""
    return replace(policy, verifying=Verifying(), scopes=tuple(without_lookups(scope) for scope in policy.scopes))


def trusting(policy: Policy, networks: str | None) -> Policy:
    """The policy with the command line's trusted proxies in place of its own, for every host. Raises ValueError."""
    if networks is None:
        return policy
    named = tuple(str(ipaddress.ip_network(text.strip())) for text in networks.split(",") if text.strip())
    scopes = tuple(trusting(scope, networks) for scope in policy.scopes)
    return replace(policy, site=replace(policy.site, trusted_proxies=named), scopes=scopes)


def listen(address: str) -> socket.socket:
    """A listening socket on HOST:PORT or [V6]:PORT. Raises ValueError or OSError with the address in the message."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"'{address}': --listen takes HOST:PORT")
    host = host.strip("[]") or "127.0.0.1"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, int(port)))
    except OSError as error:
        sock.close()
        raise OSError(f"cannot listen on {address}: {error.strerror}") from None
    sock.listen(2048)
    sock.set_inheritable(True)
    return sock


def _tls(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    """What to answer https with, None for http. Raises ValueError with the option and the file in the message."""
    if cert is None:
        if key is not None:
            raise ValueError("--tls-key needs --tls-cert")
        return None
    for option, file in (("--tls-cert", cert), ("--tls-key", key)):
        if file is not None:
            try:
                Path(file).read_bytes()
            except OSError as error:
                raise ValueError(f"{option} {file}: cannot be read: {error.strerror}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    said = f"--tls-cert {cert}" if key is None else f"--tls-cert {cert}, --tls-key {key}"
    try:
        context.load_cert_chain(cert, key)
    except ssl.SSLError as error:
        what = (
            "do not belong together" if error.reason == "KEY_VALUES_MISMATCH" else "no certificate with its key in PEM"
        )
        raise ValueError(f"{said}: {what} ({error.reason or 'not readable'})") from None
    return context


def _resolve_store(url: str, stack: ExitStack) -> tuple[str, Callable[[], object] | None]:
    """`embedded` becomes the address of a Valkey that lives as long as this command, and what keeps it going."""
    if url != "embedded":
        return url, None
    from guard.stores.embedded import EmbeddedValkey

    server = EmbeddedValkey()
    server.start()
    stack.callback(server.stop)
    return server.url, functools.partial(_revive, server)


def _revive(server: EmbeddedValkey) -> None:
    try:
        if server.revive():
            sys.stderr.write(
                "guard: the embedded store had ended; another was started, and every limit is full again\n"
            )
    except (StoreError, OSError) as error:
        sys.stderr.write(f"guard: --store: {error}\n")


def _recorder(which: str) -> Recorder | None:
    return None if which == "none" else json_lines(sys.stdout, refusals_only=which == "refusals")


def _sayer(which: str) -> Callable[[dict[str, object]], None]:
    """What becomes of the policy, on stdout beside the decisions. A log that nobody reads any more stops nothing."""

    def say(line: dict[str, object]) -> None:
        if which != "none":
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.write(json.dumps(line) + "\n")
                sys.stdout.flush()

    return say

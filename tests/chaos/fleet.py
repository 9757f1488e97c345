"""Servers as they stand in real houses: one alone, a primary with replicas and Sentinels, a Cluster. All on loopback.

The law of this file: whoever starts servers here has them ended here, also when the test fails.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from guard.stores.embedded import server_binary
from tests.servers import DEBIAN_REDIS, Server

SERVICE = "guard"
DOWN_AFTER_MS = 500
SLOTS = 16384


def choose_port() -> int:
    """A free port that no outgoing connection is given by chance, and whose cluster port (+ 10000) is none either."""
    while True:
        port = random.randrange(18400, 22700)
        with contextlib.suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10_000))
            return port


def wait_until(holds: Callable[[], bool], within_s: float, what: str) -> float:
    """Seconds until it held. Blocks; from a running loop, call it in a thread."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(redis.RedisError):
            if holds():
                return time.monotonic() - began
        assert time.monotonic() < began + within_s, f"not within {within_s} s: {what}"
        time.sleep(0.01)


class Node(Server):
    """A server on a port that stays its own when it is killed and started again."""

    def __init__(self, binary: Path, directory: Path, *options: str) -> None:
        self.port = choose_port()
        super().__init__(binary, directory, "--port", str(self.port), "--bind", "127.0.0.1", *options)
        self.url = f"redis://127.0.0.1:{self.port}/0"


class Sentinel:
    """One Sentinel process: the server's binary with another hat on."""

    def __init__(self, binary: Path, directory: Path, primary: Node) -> None:
        self.port = choose_port()
        self._directory = directory
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None
        (directory / "sentinel.conf").write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {directory}\nloglevel notice\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {SERVICE} 3000\n"
        )

    def start(self) -> None:
        with (self._directory / "log").open("ab") as log:
            words = [str(self._binary), str(self._directory / "sentinel.conf"), "--sentinel"]
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        with self.client() as client:
            wait_until(lambda: bool(client.ping()), 5, f"Sentinel on {self.port}")
            # Sentinels greet each other every 2 s and look at the servers every 10; a test has not that long. Much
            # quicker greetings, and the others take back a promotion that its leader has not yet told them of.
            client.execute_command("SENTINEL", "DEBUG", "INFO-PERIOD", "100", "PUBLISH-PERIOD", "500")

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, retry=Retry(NoBackoff(), 0), socket_timeout=1, decode_responses=True)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Guarded:
    """A primary, its replicas, and three Sentinels that watch them."""

    def __init__(self, nodes: list[Node], sentinels: list[Sentinel]) -> None:
        self.nodes = nodes
        self.sentinels = sentinels

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{one.port}' for one in self.sentinels)}/{SERVICE}"

    def primary(self) -> Node:
        """Who is it, by the word of most Sentinels."""
        ports = []
        for sentinel in self.sentinels:
            with contextlib.suppress(redis.RedisError), sentinel.client() as client:
                ports.append(int(client.sentinel_get_master_addr_by_name(SERVICE)[1]))
        most = max(set(ports), key=ports.count)
        return next(node for node in self.nodes if node.port == most)

    def kill_primary(self) -> Node:
        """kill -9; who it was."""
        node = self.primary()
        node.kill()
        return node

    def wait_failover(self, old: Node, within_s: float = 15.0) -> float:
        """Seconds until another one is the primary and takes writes."""

        def taken_over() -> bool:
            new = self.primary()
            if new is old:
                return False
            with new.client() as client:
                return bool(client.info("replication")["role"] == "master")

        return wait_until(taken_over, within_s, "a failover")

    def _ready(self) -> bool:
        replicas = len(self.nodes) - 1
        with self.nodes[0].client() as client:
            if client.info("replication")["connected_slaves"] != replicas:
                return False
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                seen = client.sentinel_master(SERVICE)
                if seen["num-slaves"] != replicas or seen["num-other-sentinels"] != len(self.sentinels) - 1:
                    return False
                for replica in client.sentinel_slaves(SERVICE):
                    if replica["master-link-status"] != "ok" or replica["is_sdown"]:
                        return False
        return True


class Cluster:
    """Primaries that share the slots between them, without replicas: a node that is gone takes its slots along."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.ids: dict[int, str] = {}

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes)}"

    def form(self) -> None:
        first = self.nodes[0]
        for number, node in enumerate(self.nodes):
            with node.client() as client:
                self.ids[node.port] = client.execute_command("CLUSTER", "MYID").decode()
                begin, end = SLOTS * number // len(self.nodes), SLOTS * (number + 1) // len(self.nodes) - 1
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", begin, end)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port)
        wait_until(self.whole, 15, "a whole cluster")

    def whole(self) -> bool:
        """Do all nodes know all nodes, and serve all slots?"""
        for node in self.nodes:
            with node.client(decode_responses=True) as client:
                told = client.execute_command("CLUSTER", "INFO")
                told = told if isinstance(told, dict) else dict(line.split(":") for line in told.split())
                if (told["cluster_state"], int(told["cluster_known_nodes"])) != ("ok", len(self.nodes)):
                    return False
                if int(told["cluster_slots_ok"]) != SLOTS:
                    return False
        return True

    def owner(self, slot: int) -> Node:
        """Whose slot it is, by the word of whoever answers first."""
        for node in self.nodes:
            with contextlib.suppress(redis.RedisError), node.client() as client:
                for begin, end, primary, *_ in _slots(client):
                    if begin <= slot <= end:
                        return next(node for node in self.nodes if node.port == primary[1])
        raise AssertionError(f"nobody knows slot {slot}")

    def slot_of(self, key: bytes) -> int:
        with self.nodes[0].client() as client:
            return int(client.execute_command("CLUSTER", "KEYSLOT", key))

    def keys(self) -> list[bytes]:
        """All keys of all nodes that are there."""
        names: list[bytes] = []
        for node in self.nodes:
            with contextlib.suppress(redis.RedisError), node.client() as client:
                names += client.execute_command("KEYS", "*")
        return names

    def begin_migration(self, slot: int, source: Node, target: Node) -> None:
        """From now on the source answers ASK for keys of the slot that it does not have."""
        with source.client() as giving, target.client() as taking:
            taking.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.ids[source.port])
            giving.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.ids[target.port])

    def move_keys(self, slot: int, source: Node, target: Node) -> int:
        """The keys of the slot that are there now; how many."""
        with source.client() as giving:
            names = giving.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1000)
            for name in names:
                giving.execute_command("MIGRATE", "127.0.0.1", target.port, name, 0, 1000)
            return len(names)

    def end_migration(self, slot: int, target: Node) -> None:
        """The target owns it; the source, and then the others, answer MOVED."""
        for node in sorted(self.nodes, key=lambda node: node is not target):
            with node.client() as client:
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", self.ids[target.port])


def _slots(client: redis.Redis) -> list[list[object]]:
    told = client.execute_command("CLUSTER", "SLOTS")
    if isinstance(told, dict):  # redis-py reads it for us: {(begin, end): {"primary": (host, port), ...}}
        return [[begin, end, told[begin, end]["primary"]] for begin, end in told]
    return list(told)


def _binary(kind: str) -> Path:
    return server_binary() if kind == "valkey" else DEBIAN_REDIS


@contextmanager
def _directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="guard-chaos-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def node(kind: str, *options: str, started: bool = True) -> Iterator[Node]:
    """One server on a TCP port."""
    with _directory() as directory:
        one = Node(_binary(kind), directory, *options)
        try:
            if started:
                one.start()
            yield one
        finally:
            one.kill()


@contextmanager
def guarded(kind: str = "valkey", replicas: int = 1) -> Iterator[Guarded]:
    """A primary, `replicas` replicas and three Sentinels, all of one mind."""
    with ExitStack() as stack:
        fast = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
        primary = stack.enter_context(node(kind, *fast))
        nodes = [primary]
        for _ in range(replicas):
            follow = ("--replicaof", f"127.0.0.1 {primary.port}")
            nodes.append(stack.enter_context(node(kind, *fast, *follow)))
        sentinels = []
        for _ in range(3):
            sentinel = Sentinel(_binary(kind), stack.enter_context(_directory()), primary)
            stack.callback(sentinel.kill)
            sentinel.start()
            sentinels.append(sentinel)
        one = Guarded(nodes, sentinels)
        wait_until(one._ready, 15, "Sentinels that know each other")
        yield one


@contextmanager
def cluster(kind: str = "valkey", *options: str) -> Iterator[Cluster]:
    """Three primaries that own a third of the slots each."""
    with ExitStack() as stack:
        words = ("--cluster-enabled", "yes", "--cluster-node-timeout", "500", *options)
        one = Cluster([stack.enter_context(node(kind, *words)) for _ in range(3)])
        one.form()
        yield one

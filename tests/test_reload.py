"""Policies that change under load: real processes whose files are rewritten, broken, turned and signalled."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import threading
import time
from asyncio import Future
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from guard import Guard
from guard.ledger.versions import Versions
from guard.load import load_policies, load_policy, read_policy
from guard.model import Admission, Limit
from guard.policy import Policy
from guard.proxy.handover import MAX_FRAME_BYTES, Inbox, Line, Version, pack, unpack
from guard.proxy.reading import UNDER_WAY, Read, Reading, Taken
from guard.watch import PolicyFile, Refused, Unchanged, render, succeed
from tests.processes import Running, eventually, sidecar, uvicorn
from tests.processes import get as ask
from tests.sidecar import OK, Message, Platform, Side, get, side
from tests.sidecar import Line as Wire
from tests.test_watch import DISASTERS, Volume

pytestmark = pytest.mark.anyio

IN_FORCE_S = 3.0
"""From the change of a file to the last worker."""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


def policy_of(number: int, more: str = "") -> str:
    """Each version says in every answer which it is: the odd ones reserve, the even ones do not."""
    word = "disallow" if number % 2 else "allow"
    return f"""version: 1
site: {{name: "v{number}", contact: "mailto:v{number}@example.org"}}
default: allow
preferences: {{train-ai: {word}, ai-use: {word}}}
limits:
  - {{name: slow, rate: 1/hour, burst: 3, key: client}}
rules:
  - {{name: nobody, when: {{path: /private/**}}, then: block, reason: "refused by v{number}."}}
  - {{name: streams, when: {{path: /stream/**}}, then: throttle, limit: slow}}
{more}"""


def policy_file(folder: Path, number: int = 1, name: str = "policy.yaml") -> Path:
    (path := folder / name).write_text(policy_of(number))
    return path


def rewrite(path: Path, text: str) -> float:
    """As editors and deployments do it: a new file takes the old one's place. The moment it did."""
    (new := path.with_suffix(".new")).write_text(text)
    new.replace(path)
    return time.monotonic()


def lines_of(running: Running) -> list[dict[str, object]]:
    """What was said about the policy on stdout so far."""
    lines = running.log.read_text().splitlines(keepends=True)
    # What is being written at this moment may end in the middle of a line.
    said = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]
    return [line for line in said if line.get("event") == "policy"]


def states(running: Running) -> list[object]:
    return [line["state"] for line in lines_of(running)]


def in_force(running: Running, version: str, within_s: float = IN_FORCE_S + 2) -> bool:
    """Do all workers say so?"""
    return eventually(
        lambda: any(line["state"] == "in_force" and line["version"] == version for line in lines_of(running)), within_s
    )


def reason(running: Running, path: str, **headers: str) -> str:
    """What a refused client is told."""
    status, _, body = ask(running.port, path, **headers)
    assert status == 403, (status, body)
    return str(json.loads(body)["detail"])


def usage(headers: dict[str, str]) -> str:
    return headers["content-usage"]


ODD, EVEN = "train-ai=n, ai-use=n", "train-ai=y, ai-use=y"


# -- one worker, in this loop --------------------------------------------------------------------------------


@asynccontextmanager
async def guarded(platform: Platform, number: int, more: str = "", **options: object) -> AsyncIterator[Side]:
    guard = Guard(read_policy(policy_of(number, more)), **options)  # type: ignore[arg-type]
    async with side(platform.port, guard=guard) as one:
        yield one


async def test_an_answer_under_way_keeps_the_version_it_began_with() -> None:
    release = asyncio.Event()

    async def script(line: Wire) -> None:
        while (await platform.take(line)).complete:
            await release.wait()
            await line.send(OK)

    platform = Platform(script)
    async with platform.running(), guarded(platform, 1) as sidecar, sidecar.client() as client:
        await client.send(get("/x"))
        while not platform.seen:
            await asyncio.sleep(0)
        sidecar.worker.swap(Guard(read_policy(policy_of(2))))
        release.set()
        assert (await client.message()).values(b"content-usage") == [ODD.encode()]
        assert (await client.ask(get("/x"))).values(b"content-usage") == [EVEN.encode()]
        assert (await client.ask(get("/private/x"))).values(b"content-usage") == [EVEN.encode()]


class Slow:
    """A store that answers when it is told to."""

    shared = True

    def __init__(self) -> None:
        self.asked: list[Future[Admission]] = []

    def take(self, limit: Limit, key: bytes, cost: int = 1) -> Future[Admission]:
        self.asked.append(future := asyncio.get_running_loop().create_future())
        return future

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""


async def test_who_waits_for_a_limit_is_answered_by_the_version_that_asked() -> None:
    store = Slow()
    async with (
        Platform().running() as platform,
        guarded(platform, 1, store=store) as sidecar,
        sidecar.client() as client,
    ):
        await client.send(get("/stream/x"))
        while not store.asked:
            await asyncio.sleep(0)
        sidecar.worker.swap(Guard(read_policy(policy_of(2)), store=store))
        store.asked[0].set_result(Admission(False, 0, 1.0, True))
        answer = await client.message()
        assert (answer.status, answer.values(b"content-usage")) == (429, [ODD.encode()])
        assert b"v1@example.org" in answer.body


@pytest.mark.parametrize(("word", "status"), [("closed", 503), ("open", 200), ("local", 429)])
async def test_a_store_that_is_away_is_met_as_the_policy_says(word: str, status: int) -> None:
    store = Slow()
    more = f"on_store_failure: {word}\n"
    async with (
        Platform().running() as platform,
        guarded(platform, 1, more, store=store) as sidecar,
        sidecar.client() as client,
    ):
        await client.send(get("/stream/x"))
        while not store.asked:
            await asyncio.sleep(0)
        store.asked[0].set_result(Admission(False, 0, 1.0, False))  # not shared: the worker's own count
        assert (await client.message()).status == status


async def test_limits_and_counts_go_on_across_a_swap() -> None:
    async with Platform().running() as platform, guarded(platform, 1) as sidecar, sidecar.client() as client:
        worker = sidecar.worker
        statuses = []
        for number in range(2, 7):
            statuses.append((await client.ask(get("/stream/x"))).status)
            policy = read_policy(policy_of(number))
            worker.swap(Guard(policy, store=worker.guard.store))
        assert statuses == [200, 200, 200, 429, 429]
        assert sum(worker.guard.tally.values()) == 5 and worker.swapped_total == 5


async def test_a_hop_that_is_trusted_no_more_is_believed_no_more_on_its_old_connection() -> None:
    trusting = policy_of(1).replace("site: {", "site: {trusted_proxies: [127.0.0.1], ")
    rule = "  - {name: neighbours, when: {network: 192.0.2.0/24}, then: block}\n"
    async with (
        Platform().running() as platform,
        side(platform.port, trusting + rule) as sidecar,
        sidecar.client() as client,
    ):
        request = get("/x", "X-Forwarded-For: 192.0.2.7")
        assert (await client.ask(request)).status == 403
        sidecar.worker.swap(Guard(read_policy(policy_of(1) + rule)))
        assert (await client.ask(request)).status == 200
        assert b"192.0.2.7" not in platform.seen[-1].head
        sidecar.worker.swap(Guard(read_policy(trusting + rule)))
        assert (await client.ask(request)).status == 403


HOSTS = """hosts:
  - {names: [open.example], preferences: {train-ai: allow}}
  - {names: ["*.shut.example"], default: block}
"""


async def test_each_host_has_its_own_rules_and_headers() -> None:
    more = "rules: []\n"
    async with Platform().running() as platform, guarded(platform, 1, HOSTS.replace("rules", more)) as sidecar:
        assert (await sidecar.ask(get(host="a.example"))).values(b"tdm-reservation") == [b"1"]
        answer = await sidecar.ask(get(host="open.example:8080"))
        assert answer.status == 200 and answer.values(b"content-usage") == [b"train-ai=y, ai-use=n"]
        assert (await sidecar.ask(get(host="a.shut.example"))).status == 403
        robots = [(await sidecar.ask(get("/robots.txt", host=host))).body for host in ("a.example", "open.example")]
        assert robots[0] != robots[1]


async def test_each_host_believes_the_hops_and_the_header_of_its_own_policy(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    rule = "  - {name: neighbours, when: {network: 192.0.2.0/24}, then: block}\n"
    text = policy_of(1) + rule
    first.write_text(text.replace("site: {", "site: {trusted_proxies: [127.0.0.1], "))
    second.write_text(
        text.replace("site: {", "site: {hosts: [b.example], trusted_proxies: [127.0.0.1], client_ip_header: x-real, ")
    )
    guard = Guard(load_policies([first, second]))
    async with Platform().running() as platform, side(platform.port, guard=guard) as sidecar:

        async def status(host: str, header: str) -> int:
            return (await sidecar.ask(get("/x", f"{header}: 192.0.2.7", host=host))).status

        assert [await status("a.example", name) for name in ("X-Forwarded-For", "X-Real")] == [403, 200]
        assert [await status("b.example", name) for name in ("X-Forwarded-For", "X-Real")] == [200, 403]


async def test_answers_of_each_kind_carry_the_preferences_of_that_kind() -> None:
    more = "routes: [{class: media, paths: [/media/**]}]\n"
    text = policy_of(2, more).replace("ai-use: allow}", "ai-use: allow, audio: {train-ai: disallow}}")
    async with Platform().running() as platform, side(platform.port, text) as sidecar, sidecar.client() as client:
        for _ in range(2):  # read, then known by its bytes
            assert (await client.ask(get("/media/1"))).values(b"content-usage") == [b"train-ai=n, ai-use=y"]
            assert (await client.ask(get("/page"))).values(b"content-usage") == [EVEN.encode()]


# -- from the supervisor to a worker -------------------------------------------------------------------------


@pytest.fixture
def ends() -> Iterator[tuple[Line, Inbox]]:
    line = Line("0")
    yield line, Inbox(socket.fromfd(line._theirs.fileno(), socket.AF_UNIX, socket.SOCK_STREAM))
    line.close()


def version(number: int) -> Version:
    policy = read_policy(policy_of(number))
    return Version(policy, render(policy))


def newest(inbox: Inbox) -> bytes | None:
    """The last whole frame of all that has arrived."""
    inbox.sock.setblocking(False)
    found = None
    for _ in range(10_000):
        found = inbox.read() or found
    return found


def test_a_version_arrives_as_it_was_sent_and_is_acknowledged(ends: tuple[Line, Inbox]) -> None:
    line, inbox = ends
    sent = version(1)
    line.hand_over(pack(sent))
    payload = newest(inbox)
    assert payload is not None
    got = unpack(payload)
    assert got == sent and Guard(got.policy, rendered=got.rendered).files == sent.rendered.files[0]
    assert line.taken == "0"
    inbox.took(got.policy.version)
    assert line.push() and line.taken == sent.policy.version


def test_what_a_worker_has_not_begun_to_take_is_replaced_by_what_is_newer(ends: tuple[Line, Inbox]) -> None:
    line, inbox = ends
    frames = [struct.pack("!I", 400_000) + bytes([number]) * 400_000 for number in range(9)]
    for frame in frames:
        line.hand_over(frame)  # never waits, however little the other side reads
    got = []
    inbox.sock.setblocking(False)
    while frames[-1][4:] not in got:
        line.push()
        if (payload := inbox.read()) is not None:
            got.append(payload)
    assert got == [frames[0][4:], frames[-1][4:]]


def test_a_frame_that_is_too_large_is_not_waited_for(ends: tuple[Line, Inbox]) -> None:
    line, inbox = ends
    line.hand_over(struct.pack("!I", MAX_FRAME_BYTES + 1))
    inbox.sock.setblocking(False)
    with pytest.raises(EOFError):
        inbox.read()


def test_an_end_that_is_gone_is_noticed_on_both_sides(ends: tuple[Line, Inbox]) -> None:
    line, inbox = ends
    line._theirs.close()
    inbox.sock.close()
    line.hand_over(pack(version(1)))
    assert not line.push()
    other = Line("0")
    inbox = Inbox(other._theirs)
    other._ours.close()
    with pytest.raises(EOFError):
        inbox.read()


async def test_a_version_that_cannot_be_taken_leaves_the_last_one(caplog: pytest.LogCaptureFixture) -> None:
    async with Platform().running() as platform, guarded(platform, 1) as sidecar:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        sidecar.worker.follow(theirs)
        ours.sendall(struct.pack("!I", 5) + b"trash")
        async with asyncio.timeout(5):
            while not sidecar.worker.failed_total:
                await asyncio.sleep(0.005)
            assert (await sidecar.ask(get())).values(b"content-usage") == [ODD.encode()]
            ours.sendall(pack(version(2)))
            while not sidecar.worker.swapped_total:
                await asyncio.sleep(0.005)
            assert (await sidecar.ask(get())).values(b"content-usage") == [EVEN.encode()]
        ours.close()


async def test_the_header_that_names_a_work_is_heard_by_each_version_and_never_goes_on(tmp_path: Path) -> None:
    (tmp_path / "rights.yaml").write_text("version: 1\nworks: {'track:closed': {preferences: {train-ai: disallow}}}\n")

    def a_policy(header: str) -> Policy:
        rights = f"rights: {{source: '{tmp_path}/rights.yaml', header: {header}}}\n"
        return read_policy(f"version: 1\nsite: {{name: x}}\ndefault: allow\npreferences: {{train-ai: allow}}\n{rights}")

    heads = {
        b"/plain": b"x-work: track:closed\r\nX-GUARD-WORK: track:closed\r\n",
        b"/twice": b"X-Work: track:1\r\nX-Guard-Work: track:1\r\n"
        b"x-WORK: track:closed\r\nx-guard-worK: track:closed\r\n",
        b"/hop": b"X-Work: track:closed\r\nX-Guard-Work: track:closed\r\nConnection: X-Work, x-guard-work\r\n",
    }
    hint = b"HTTP/1.1 103 Early Hints\r\nX-Work: track:closed\r\nX-Guard-Work: track:closed\r\nServer: x\r\n\r\n"
    async with Platform().running() as platform:
        platform.reply = lambda asked: OK.replace(b"\r\n", b"\r\n" + heads.get(asked.target, b""), 1)
        async with side(platform.port, guard=Guard(a_policy("X-Guard-Work"))) as sidecar:
            worker = sidecar.worker
            for header in (b"X-Guard-Work", b"X-Work", b"X-Guard-Work", b"X-Work"):
                worker.swap(succeed(worker.guard, a_policy(header.decode())))
                await worker.guard.open_rights()
                for target in (*heads, *heads, b"/silent"):
                    answer = await sidecar.ask(get(target.decode()))
                    word = b"y" if target == b"/silent" else b"n"
                    assert answer.values(b"content-usage") == [b"train-ai=" + word], (header, target)
                    assert answer.values(header) == []
                    assert answer.values(b"content-length") == [b"2"]
            platform.reply = lambda asked: hint + OK
            async with sidecar.client() as client:
                early, answer = await client.ask(get()), await client.message()
            assert (early.status, answer.status) == (103, 200)
            assert (early.values(b"server"), early.values(b"x-work")) == ([b"x"], [])


async def test_a_robots_txt_that_is_learned_while_the_next_version_is_built_is_not_forgotten() -> None:
    loop_thread, learned = threading.current_thread(), b"User-agent: *\nDisallow: /learned/\n"

    def clock() -> float:
        """Asked for the time where the next guard is built: meanwhile the platform has answered."""
        if threading.current_thread() is not loop_thread and not guard.foreign:
            guard.join_robots(learned)
        return time.time()

    guard = Guard(read_policy(policy_of(1)), clock=clock)
    async with Platform().running() as platform, side(platform.port, guard=guard) as sidecar:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        sidecar.worker.follow(theirs)
        ours.sendall(pack(version(2)))
        async with asyncio.timeout(5):
            while sidecar.worker.guard is guard:
                await asyncio.sleep(0.005)
            assert guard.foreign == learned
            while b"Disallow: /learned/" not in (await sidecar.ask(get("/robots.txt"))).body:
                await asyncio.sleep(0.01)
        ours.close()


# -- reading in a process of its own -------------------------------------------------------------------------


def read(file: PolicyFile, within_s: float = 10.0) -> Read:
    """A reading from its beginning to its end."""
    reading = Reading(file, file.look(0.0), time.monotonic(), asked=True)
    outcomes: list[Read] = []

    def ended() -> bool:
        if (outcome := reading.finish(file, time.monotonic())) is not UNDER_WAY:
            outcomes.append(outcome)
        return bool(outcomes)

    assert eventually(ended, within_s)
    os.waitpid(reading.pid, 0)
    return outcomes[0]


def test_a_reading_tells_what_a_judgement_here_would_have_told(tmp_path: Path) -> None:
    path = policy_file(tmp_path)
    file = PolicyFile.load([path])
    assert isinstance(read(file), Unchanged)
    path.write_text("[")
    assert isinstance(refused := read(file), Refused) and refused.problems and file.differs
    rewrite(path, policy_of(2))
    taken = read(file)
    assert isinstance(taken, Taken) and taken.version.policy == load_policy(path)
    assert taken.version.rendered.files == render(load_policy(path)).files
    assert unpack(taken.frame[4:]) == taken.version and file.policy is taken.version.policy
    assert (file.loaded_total, file.refused_total, file.differs) == (1, 1, False)
    assert file.poll(file.due_s) is None


def _die(policy: Policy) -> Policy:
    os.kill(os.getpid(), signal.SIGKILL)
    return policy


def _hang(policy: Policy) -> Policy:
    time.sleep(600)
    return policy


@pytest.mark.parametrize("name", ["terms.jsonl", None], ids=["in a file", "in memory"])
def test_what_one_reading_notes_of_the_terms_is_known_to_the_next(tmp_path: Path, name: str | None) -> None:
    promise = "terms: {notice: 30}\n"
    path = tmp_path / "policy.yaml"
    path.write_text(policy_of(2, promise))
    file = PolicyFile.load([path])
    file.record = Versions.open(tmp_path / name if name else None)
    render(file.policy, record=file.record, now_s=time.time())
    path.write_text(policy_of(1, promise))  # it reserves
    assert isinstance(read(file), Taken)
    assert [one.id for one in file.record.all()] == ["v2", "v1"]
    path.write_text(policy_of(2, promise))
    outcome = read(file)
    assert isinstance(outcome, Refused) and "30 days" in str(outcome.problems[0])


@pytest.mark.parametrize(("fate", "said"), [(_die, "died"), (_hang, "took more than")])
def test_a_reading_that_dies_or_does_not_end_is_a_refusal(
    tmp_path: Path, fate: Callable[[Policy], Policy], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guard.proxy.reading.READ_S", 0.3)
    path = policy_file(tmp_path)
    policy = load_policy(path)
    file = PolicyFile([path], policy, adapt=fate)
    refused = read(file)
    assert isinstance(refused, Refused) and said in refused.problems[0].message
    assert file.policy is policy and file.differs and file.refused_total == 1
    assert file.stirred(1e9) is None  # and is not tried again and again


def test_a_policy_that_is_too_large_to_be_handed_over_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = policy_file(tmp_path)
    file = PolicyFile.load([path])
    old = file.policy
    rewrite(path, policy_of(2))
    monkeypatch.setattr("guard.proxy.handover.MAX_FRAME_BYTES", 1000)
    refused = read(file)
    assert isinstance(refused, Refused) and "handed over" in refused.problems[0].message
    assert (file.policy, file.loaded_total, file.refused_total, file.differs) == (old, 0, 1, True)


# -- guard serve ---------------------------------------------------------------------------------------------


@pytest.fixture
async def upstream() -> AsyncIterator[str]:
    async with Platform().running() as platform:
        yield f"http://127.0.0.1:{platform.port}"


class Load:
    """Clients that ask on connections that stay, as fast as they are answered."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: list[tuple[float, float, Message]] = []  # begun, ended, answer
        self.failed: list[BaseException] = []
        self._going = True

    async def _client(self, number: int) -> None:
        requests = [get("/x", "User-Agent: somebody"), get("/private/x"), get("/robots.txt"), get(f"/y{number}")]
        while self._going:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
                line = Wire(reader, writer)
                for turn in range(200):
                    began = time.monotonic()
                    writer.write(requests[turn % len(requests)])
                    answer = await line.message()
                    self.answers.append((began, time.monotonic(), answer))
                    if not self._going:
                        break
                line.close()
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                self.failed.append(error)

    @asynccontextmanager
    async def running(self, clients: int = 8) -> AsyncIterator[Load]:
        tasks = [asyncio.ensure_future(self._client(number)) for number in range(clients)]
        try:
            yield self
        finally:
            self._going = False
            await asyncio.gather(*tasks)


def version_of(answer: Message) -> int:
    """1 for the odd versions, 2 for the even: which all of this answer belongs to; fails when it belongs to both."""
    odd = answer.values(b"content-usage") == [ODD.encode()]
    assert odd or answer.values(b"content-usage") == [EVEN.encode()], answer
    assert answer.values(b"tdm-reservation") == [b"1" if odd else b"0"]
    assert (answer.values(b"x-robots-tag") == [b"noai, noimageai"]) is odd
    if answer.status == 403:
        said = json.loads(answer.body)
        number = int(said["detail"].removeprefix("refused by v").removesuffix("."))
        assert said["contact"] == f"mailto:v{number}@example.org" and number % 2 == odd
    elif answer.values(b"etag"):
        assert answer.status == 200 and (b"train-ai=n" in answer.body) is odd
    else:
        assert answer.status == 200 and answer.body == b"ok"
    return 1 if odd else 2


async def test_a_swap_under_load_loses_nothing_and_mixes_nothing(tmp_path: Path, upstream: str) -> None:
    path = policy_file(tmp_path)
    with sidecar(upstream, tmp_path, "--workers", "2", policy=path) as running:
        versions = [read_policy(policy_of(number)).version for number in range(5)]
        async with Load(running.port).running() as load:
            spans = []
            for number in (2, 3, 4):
                changed_s = rewrite(path, policy_of(number))
                assert await asyncio.to_thread(in_force, running, versions[number])
                done_s = time.monotonic()
                spans.append((number, changed_s, done_s))
                asked = len(load.answers)
                while len(load.answers) < asked + 300:
                    await asyncio.sleep(0.01)
    assert load.failed == []
    assert {version_of(answer) for _, _, answer in load.answers} == {1, 2}
    for (number, changed_s, done_s), (_, until_s, _) in zip(spans, [*spans[1:], (0, time.monotonic(), 0)], strict=True):
        assert done_s - changed_s < IN_FORCE_S
        after = [answer for began, ended, answer in load.answers if began > done_s and ended < until_s]
        assert len(after) >= 200 and {version_of(answer) for answer in after} == {2 - number % 2}
    slowest_s = max(ended - began for began, ended, _ in load.answers)
    print(f"{len(load.answers)} answers, in force after {[round(done - at, 2) for _, at, done in spans]} s,", end=" ")
    print(f"slowest answer {slowest_s * 1000:.0f} ms")


def test_each_way_to_break_a_file_is_loud_and_changes_nothing(tmp_path: Path) -> None:
    """Nothing listens behind this one: a refusal is all that is asked for."""
    path = policy_file(tmp_path)
    os.mkfifo(tmp_path / "f.yaml")
    (tmp_path / "d.yaml").mkdir()
    with sidecar("http://127.0.0.1:1", tmp_path, "--workers", "2", policy=path) as running:
        for count, (name, disaster) in enumerate(DISASTERS.items(), 1):
            disaster(path)
            if count > 1:  # the first is found by looking, the others by asking, which is faster
                running.process.send_signal(signal.SIGHUP)
            assert eventually(lambda: states(running).count("refused") == count), (name, states(running))  # noqa: B023
            line = lines_of(running)[-1]
            assert line["problems"] and line["differs"] and line["refused_total"] == count
            assert reason(running, "/private/x") == "refused by v1."
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
            path.write_text(policy_of(1))
        assert running.log.read_text().count("REFUSED") == len(DISASTERS)
        rewrite(path, policy_of(2))
        assert in_force(running, load_policy(path).version)
        assert reason(running, "/private/x") == "refused by v2."
        line = next(line for line in lines_of(running) if line["state"] == "loaded")
        assert line["changes"] and not line["differs"] and line["loaded_total"] == 1


def test_sighup_reloads_at_once_and_says_when_nothing_is_new(tmp_path: Path) -> None:
    path = policy_file(tmp_path)
    with sidecar("http://127.0.0.1:1", tmp_path, "--no-reload", policy=path) as running:
        running.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: states(running) == ["unchanged"])
        rewrite(path, policy_of(2))
        began = time.monotonic()
        running.process.send_signal(signal.SIGHUP)
        assert in_force(running, load_policy(path).version)
        assert time.monotonic() - began < 2.0
        assert reason(running, "/private/x") == "refused by v2."
        assert running.stop() == 0


def test_without_reload_a_changed_file_is_left_alone(tmp_path: Path) -> None:
    path = policy_file(tmp_path)
    with (
        sidecar("http://127.0.0.1:1", tmp_path, "--no-reload", policy=path) as still,
        sidecar("http://127.0.0.1:1", tmp_path, policy=path) as following,
    ):
        for number in (2, 3):  # the second one is seen two seconds after the first
            rewrite(path, policy_of(number))
            assert in_force(following, load_policy(path).version)
        assert states(still) == []
        assert reason(still, "/private/x") == "refused by v1."


def test_sighup_to_a_worker_ends_nothing(tmp_path: Path) -> None:
    path = policy_file(tmp_path)
    with sidecar("http://127.0.0.1:1", tmp_path, "--workers", "2", policy=path) as running:
        assert eventually(lambda: len(running.workers()) == 2)
        ask(running.port, "/private/x")
        before = running.workers()
        for _ in range(20):
            for pid in before:
                os.kill(pid, signal.SIGHUP)
            assert ask(running.port, "/private/x")[0] == 403
        assert running.workers() == before


def test_a_worker_that_dies_after_a_swap_comes_back_with_what_is_in_force(tmp_path: Path) -> None:
    path = policy_file(tmp_path)
    with sidecar("http://127.0.0.1:1", tmp_path, policy=path) as running:
        rewrite(path, policy_of(2))
        assert in_force(running, load_policy(path).version)
        (pid,) = running.workers()
        path.write_text("[")  # and what is on disk by then is not what it comes back with
        os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: running.workers() not in ([pid], []))
        assert reason(running, "/private/x") == "refused by v2."
        rewrite(path, policy_of(3))
        assert in_force(running, load_policy(path).version)
        assert reason(running, "/private/x") == "refused by v3."


def test_a_worker_that_dies_while_the_register_is_broken_comes_back_and_lets_no_reserved_work_go(
    tmp_path: Path,
) -> None:
    path, register = policy_file(tmp_path), tmp_path / "rights.yaml"
    register.write_text("version: 1\nworks: {track:666: {preferences: {ai-use: disallow, train-ai: disallow}}}\n")
    path.write_text(policy_of(2, 'rights: {source: rights.yaml, works: [{path: "/track/{track}"}]}\n'))

    def seen(target: str, user_agent: str) -> int:
        return ask(running.port, target, **{"User-Agent": user_agent})[0]

    with sidecar("http://127.0.0.1:1", tmp_path, policy=path) as running:
        assert seen("/track/666", "GPTBot/1.3") == 403
        register.write_text("version: 1\nworks: [")
        for _ in range(2):
            (pid,) = running.workers()
            os.kill(pid, signal.SIGKILL)
            assert eventually(lambda: running.workers() not in ([pid], []))  # noqa: B023
            assert seen("/track/666", "GPTBot/1.3") == 403
            assert seen("/track/1", "GPTBot/1.3") == 403  # it may be reserved: nobody can tell now
            assert seen("/track/1", "Firefox/140.0") == 502  # let through, to a platform that is not there
        register.write_text("version: 1\nworks: {track:667: {preferences: {train-ai: disallow}}}\n")
        assert eventually(lambda: seen("/track/1", "GPTBot/1.3") == 502)
        assert seen("/track/667", "GPTBot/1.3") == 403


def test_a_mounted_volume_that_turns_is_followed(tmp_path: Path) -> None:
    (folder := tmp_path / "mounted").mkdir()
    volume = Volume(folder)
    volume.show("one")
    with sidecar("http://127.0.0.1:1", tmp_path, policy=folder / "policy.yaml") as running:
        assert reason(running, "/x") == "one"
        for name in ("two", "three"):
            volume.show(name)
            began = time.monotonic()
            assert eventually(lambda: reason(running, "/x") == name)  # noqa: B023
            assert time.monotonic() - began < IN_FORCE_S
        assert eventually(lambda: states(running) == ["loaded", "in_force"] * 2)


def test_an_included_file_is_followed(tmp_path: Path) -> None:
    path = policy_file(tmp_path)
    (more := tmp_path / "more.yaml").write_text("version: 1\nrules: []\n")
    path.write_text(policy_of(1, "include: [more.yaml]\n"))
    with sidecar("http://127.0.0.1:1", tmp_path, policy=path) as running:
        rewrite(more, "version: 1\nrules: [{name: more, when: {path: /more}, then: block, reason: more}]\n")
        assert in_force(running, load_policy(path).version)
        assert reason(running, "/more") == "more"


def test_several_policies_are_served_by_host_and_each_is_followed(tmp_path: Path) -> None:
    a, b = policy_file(tmp_path, 1, "a.yaml"), tmp_path / "b.yaml"
    other = policy_of(3).replace("site: {", "site: {hosts: [b.example], ")
    b.write_text(other)
    options = ("--policy", str(b), "--trusted-proxies", "10.0.0.0/8")
    with sidecar("http://127.0.0.1:1", tmp_path, *options, policy=a) as running:
        assert reason(running, "/private/x", Host="a.example") == "refused by v1."
        assert reason(running, "/private/x", Host="b.example") == "refused by v3."
        rewrite(b, other.replace("v3", "v4"))
        assert in_force(running, load_policies([a, b]).version)
        assert reason(running, "/private/x", Host="a.example") == "refused by v1."
        assert reason(running, "/private/x", Host="b.example") == "refused by v4."


def memory_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_fifty_swaps_leave_no_memory_behind(tmp_path: Path) -> None:
    """A policy that asks about 1,500 networks is worth half a megabyte: fifty that stayed would be seen."""
    path = policy_file(tmp_path)
    nets = ", ".join(f"10.{n // 250}.{n % 250}.0/24" for n in range(1500))
    many = f"  - {{name: many, when: {{network: [{nets}]}}, then: block}}\n"
    with sidecar("http://127.0.0.1:1", tmp_path, "--no-reload", policy=path) as running:
        assert eventually(lambda: len(running.workers()) == 1)
        pids = [running.process.pid, *running.workers()]
        used: list[list[float]] = []
        for number in range(60):
            rewrite(path, policy_of(number, many))
            running.process.send_signal(signal.SIGHUP)
            assert eventually(lambda: states(running).count("in_force") == number + 1), number  # noqa: B023
            ask(running.port, "/private/x")
            used.append([memory_mib(pid) for pid in pids])
    grown = [after - before for before, after in zip(used[10], used[-1], strict=True)]
    print(f"supervisor and worker have grown by {grown[0]:.1f} and {grown[1]:.1f} MiB in 50 swaps")
    assert max(grown) < 10


# -- the middleware ------------------------------------------------------------------------------------------

APP = """
from guard import Guard, GuardMiddleware, load_policy


async def site(scope, receive, send):
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        return await send({"type": "lifespan.shutdown.complete"})
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


app = GuardMiddleware(site, Guard(load_policy(%r)), reload=%r)
"""


@pytest.mark.parametrize("lifespan", ["on", "off"])
async def test_the_middleware_follows_its_file_while_it_answers(tmp_path: Path, lifespan: str) -> None:
    path = policy_file(tmp_path)
    (tmp_path / "reloading.py").write_text(APP % (str(path), True))
    with uvicorn("reloading:app", tmp_path, "--app-dir", str(tmp_path), "--lifespan", lifespan) as running:
        async with Load(running.port).running(4) as load:
            for number in (2, 1):
                asked = len(load.answers)
                while len(load.answers) < asked + 100:
                    await asyncio.sleep(0.01)
                changed_s = rewrite(path, policy_of(number))
                while version_of(load.answers[-1][2]) != number:
                    await asyncio.sleep(0.01)
                    assert time.monotonic() - changed_s < IN_FORCE_S
            path.write_text("[")
            assert await asyncio.to_thread(eventually, lambda: "REFUSED" in running.log.read_text())
        assert load.failed == []
        assert {version_of(answer) for _, _, answer in load.answers} == {1, 2}
        assert version_of(load.answers[-1][2]) == 1
        slowest_s = max(ended - began for began, ended, _ in load.answers)
        print(f"{len(load.answers)} answers, slowest {slowest_s * 1000:.0f} ms")
        began = time.monotonic()
        running.stop()
        assert time.monotonic() - began < 2.0


async def test_a_middleware_that_was_not_told_to_follow_leaves_its_file_alone(tmp_path: Path) -> None:
    path = policy_file(tmp_path)
    for name, following in (("still", False), ("following", True)):
        (tmp_path / f"{name}.py").write_text(APP % (str(path), following))
    options = ("--app-dir", str(tmp_path))
    with uvicorn("still:app", tmp_path, *options) as still, uvicorn("following:app", tmp_path, *options) as following_:
        for number, said in ((2, EVEN), (3, ODD), (4, EVEN)):
            rewrite(path, policy_of(number))
            assert eventually(lambda: usage(ask(following_.port, "/x")[1]) == said)  # noqa: B023
        assert usage(ask(still.port, "/x")[1]) == ODD

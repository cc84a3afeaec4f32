"""`sidestream broker move`, typed beside a running system: real sidecars, a real broker on either side, votes under way.

Clients meet 202 or 503 (or nobody, while the apps start again), and every accepted vote is counted exactly once on the other
broker. Killed at any moment the move is run again.
"""

import asyncio
import json
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
import httpx
import pytest
import redis

from sidestream.launcher.folder import SystemFolder
from sidestream.launcher.network import free_ports
from sidestream.logs.verifying import entries_of
from sidestream.publishing.standstill import moving, switches_in
from tests.brokers.chosen import with_a_log
from tests.brokers.servers import Server, running_server
from tests.brokers.written import open_written
from tests.contract.test_event_log import Server as Valkey
from tests.integration.sidestream_program import sidestream
from tests.integration.test_whole_line import ballots, expected_tally, tally_of
from tests.parts import REPOSITORY
from tests.unit.test_moving import counted, stranger
from tests.waiting import until

PROGRAM = str(REPOSITORY / ".venv/bin/sidestream")
MOST_VOTES = 100_000
BEFORE, AFTERWARDS = 500, 500
"""Votes accepted before the move begins, and at least so many on the other broker."""
CLIENTS = 20

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(params=with_a_log())
def broker(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def server(broker: str, tmp_path: Path) -> Iterator[Server]:
    """The other broker, empty."""
    with running_server(broker, tmp_path / broker) as running:
        yield running


class Tree:
    """A folder with a run file of votes and tally, and components of its own."""

    def __init__(self, folder: Path) -> None:
        self.place = SystemFolder(folder.parent / "system")  # the apps' own folder is the repository, whose secrets are not ours
        self.where = ("-f", str(folder / "dapr.yaml"), "--data", str(self.place.path))
        shutil.copytree(REPOSITORY / "components", folder / "components")
        text = (REPOSITORY / "tests" / "apps" / "voting.yaml").read_text()
        text = text.replace("../../components", str(folder / "components")).replace("../..", str(REPOSITORY))
        ports = [str(port) for port in free_ports(8)]
        for old, new in zip(["18101", "13601", "15601", "19101", "18201", "13611", "15611", "19111"], ports, strict=True):
            text = text.replace(old, new)
        (folder / "dapr.yaml").write_text(text)
        self.votes, self.tally = f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[4]}"
        self.in_force = folder / "components" / "pubsub.yaml"

    def move(self, target: str, address: str, *more: str) -> tuple[str, ...]:
        return ("broker", "move", "--from", "redis", "--to", target, "--address", address, *self.where, *more)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "tree")


# ── beside a running system ──────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def running(tree: Tree) -> AsyncIterator[None]:
    """`sidestream up` on the tree."""
    with (tree.place.path.parent / "up.log").open("wb") as output:
        up = await asyncio.create_subprocess_exec(PROGRAM, "up", *tree.where, stdout=output, stderr=output)
    try:
        for url in (tree.tally, tree.votes):
            await until(partial(answers, url), 60, (tree.place.path.parent / "up.log").read_text)
        yield
    finally:
        up.send_signal(signal.SIGTERM)
        await up.wait()


async def answers(url: str) -> bool:
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as door, door.get(f"{url}/readyz") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


class Voters:
    """Clients that post each vote until it is accepted, until it is over, and remember what they were answered."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting = iter(ballots(MOST_VOTES, seed=31))
        self.over = False
        self.posted: list[dict[str, str]] = []
        self.accepted = 0
        self.statuses: Counter[int] = Counter()
        self.reasons: set[str] = set()

    async def post(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(CLIENTS)))

    async def _client(self) -> None:
        async with aiohttp.ClientSession(self._url, timeout=aiohttp.ClientTimeout(total=15)) as door:
            while not self.over:
                vote = next(self._waiting)
                self.posted.append(vote)
                await until(partial(self._accepted, door, vote), 90)
                self.accepted += 1

    async def _accepted(self, door: aiohttp.ClientSession, vote: dict[str, str]) -> bool:
        try:
            async with door.post("/votes", json=vote) as answer:
                self.statuses[answer.status] += 1
                if answer.status == 503:
                    assert "Retry-After" in answer.headers
                    self.reasons.add((await answer.json(content_type=None))["type"])
                return answer.status == 202
        except (aiohttp.ClientError, TimeoutError):
            return False


async def test_votes_go_on_while_the_log_moves_and_each_is_counted_once(tree: Tree, broker: str, server: Server) -> None:
    voters = Voters(tree.votes)
    async with running(tree):
        posting = asyncio.create_task(voters.post())
        await until(lambda: voters.accepted > BEFORE, 60)
        begun = time.monotonic()
        done = json.loads((await sidestream(*tree.move(broker, server.address, "--json"))).out)
        at_the_switch = voters.accepted
        await until(lambda: voters.accepted > at_the_switch + AFTERWARDS, 60)
        went_on = time.monotonic() - begun
        voters.over = True
        await posting

        async def is_right() -> bool:
            try:
                return await tally_of(tree.tally) == expected_tally(voters.posted)
            except (httpx.TransportError, KeyError):
                return False

        await until(is_right, 60, lambda: "the tally of all votes")
        listed = json.loads((await sidestream("dead-letters", "list", "tally", "--json", *tree.where)).out)
    assert set(voters.statuses) == {202, 503}
    assert "urn:sidestream:problem:standstill" in voters.reasons
    assert done["standstill_seconds"] < 10
    assert went_on < 60
    assert not listed
    assert f"type: pubsub.{broker}" in tree.in_force.read_text()


# ── killed and run again ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def old_log(tree: Tree, tmp_path: Path) -> Iterator[redis.Redis]:
    """Thirty thousand events in a Valkey, and nobody who writes."""
    (tmp_path / "valkey").mkdir()
    valkey = Valkey(tmp_path / "valkey")
    tree.place.write_secrets(f"127.0.0.1:{valkey.port}")
    with redis.Redis(port=valkey.port) as client:
        pipeline = client.pipeline(transaction=False)
        for wire in [*counted(30_000, "votes"), stranger(1), b"no event"]:
            pipeline.xadd("votes", {"data": wire})
        pipeline.execute()
        yield client
    valkey.kill()


def start(tree: Tree, broker: str, address: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([PROGRAM, *tree.move(broker, address)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def killed_when(program: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    """Kill it with SIGKILL in the moment that a condition holds; it must not have ended by itself."""
    try:
        await until(lambda: program.poll() is not None or condition(), 60)
    finally:
        program.kill()
    assert program.wait() == -signal.SIGKILL


async def test_killed_in_the_copy_and_in_the_standstill_it_is_run_again(
    tree: Tree, broker: str, server: Server, old_log: "redis.Redis"
) -> None:
    written = open_written(broker, server.address)
    mark = tree.place.data / "moving" / "mark.json"
    await killed_when(start(tree, broker, server.address), lambda: 1_000 < written.log.extent("votes").length < 25_000)
    assert not mark.exists()
    assert 1_000 < written.log.extent("votes").length < 30_000
    await killed_when(start(tree, broker, server.address), mark.exists)
    assert "type: pubsub.redis" in tree.in_force.read_text()
    old_log.xadd("votes", {"data": stranger(2)})

    done = json.loads((await sidestream(*tree.move(broker, server.address, "--json"))).out)

    votes = next(topic for topic in done["topics"] if topic["topic"] == "votes")
    assert (votes["summed"]["events"], votes["summed"]["unreadable"], votes["entries"]) == (30_002, 1, 1)
    entries: list[tuple[bytes, dict[bytes, bytes]]] = old_log.xrange("votes")  # type: ignore[assignment]
    assert [entry.data for entry in entries_of(written.log, "votes")] == [fields[b"data"] for _, fields in entries]
    assert f"type: pubsub.{broker}" in tree.in_force.read_text()
    written.log.close()
    written.close()


async def test_killed_in_the_switch_it_is_completed(tree: Tree, broker: str, server: Server, old_log: "redis.Redis") -> None:
    with moving(tree.place.data, "redis", broker) as mover, mover.standstill(5):
        mover.switching()
    shutil.copyfile(tree.in_force.parent / "brokers" / broker / "pubsub.yaml", tree.in_force)
    await sidestream(*tree.move(broker, server.address))
    assert switches_in(tree.place.data) == (1, broker)


async def test_a_broker_that_holds_something_else_is_refused_and_nothing_changes(
    tree: Tree, broker: str, server: Server, old_log: "redis.Redis"
) -> None:
    written = open_written(broker, server.address)
    written.record("votes", [stranger(9)])
    ended = await sidestream(*tree.move(broker, server.address), code=2)
    assert "expected it empty in the other broker" in " ".join(ended.err.split())
    assert "type: pubsub.redis" in tree.in_force.read_text()
    written.close()


async def test_a_source_that_is_away_is_one_sentence(tree: Tree, broker: str, server: Server) -> None:
    tree.place.write_secrets("127.0.0.1:1")
    ended = await sidestream(*tree.move(broker, server.address), code=1)
    assert "redis at 127.0.0.1:1" in ended.err
    assert "Traceback" not in ended.err

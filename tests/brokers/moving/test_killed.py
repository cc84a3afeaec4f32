"""`sidestream broker move` killed with -9 in each of its phases, and what it refuses: nothing is lost, and it is run again."""

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from sidestream.logs.verifying import entries_of
from sidestream.publishing.standstill import FOLDER, moving, switches_in
from tests.brokers.moving.tree import PROGRAM, Tree, assert_counted, running, voting
from tests.brokers.servers import Server
from tests.brokers.written import open_written
from tests.contract.valkey import Server as Valkey
from tests.door import held_after
from tests.integration.sidestream_program import sidestream
from tests.unit.test_moving import counted, stranger
from tests.waiting import until

EVENTS = 30_000
HELD_BYTES = 6_000_000
"""What the old broker says of its log, about 13 MB, before it falls silent."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def old_log(tree: Tree, tmp_path: Path) -> Iterator[redis.Redis]:
    """So many events in a Valkey, and nobody who writes."""
    (tmp_path / "valkey").mkdir()
    valkey = Valkey(tmp_path / "valkey")
    tree.place.write_secrets(f"127.0.0.1:{valkey.port}")
    with redis.Redis(port=valkey.port) as client:
        pipeline = client.pipeline(transaction=False)
        for wire in [*counted(EVENTS, "votes"), stranger(1), b"no event"]:
            pipeline.xadd("votes", {"data": wire})
        pipeline.execute()
        yield client
    valkey.kill()


def start(tree: Tree, broker: str, address: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([PROGRAM, *tree.move(broker, address)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def killed_when(program: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    """Kill it with SIGKILL when a condition holds. Whoever calls holds it there; it may have given up, and must not have ended well."""
    try:
        await until(lambda: program.poll() is not None or condition(), 60)
    finally:
        program.kill()
    assert program.wait() != 0


@contextmanager
def a_call_under_way(tree: Tree) -> Iterator[None]:
    """As a publisher has one: a mover in the standstill waits for its end."""
    folder = tree.place.data / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "writers").open("a+b") as lock:
        fcntl.flock(lock.fileno(), fcntl.LOCK_SH)
        yield


async def test_killed_in_the_copy_and_in_the_standstill_it_is_run_again(
    tree: Tree, broker: str, server: Server, old_log: "redis.Redis"
) -> None:
    written, source = open_written(broker, server.address), tree.place.read_secrets()["redisHost"]
    with held_after(int(source.rpartition(":")[2]), HELD_BYTES) as door:
        tree.place.write_secrets(f"127.0.0.1:{door}")
        await killed_when(start(tree, broker, server.address), lambda: written.log.extent("votes").length > 1_000)
    assert not state_in(tree)
    assert 1_000 < written.log.extent("votes").length < EVENTS
    tree.place.write_secrets(source)
    with a_call_under_way(tree):
        await killed_when(start(tree, broker, server.address), lambda: state_in(tree) == "moving")
    assert "type: pubsub.redis" in tree.in_force.read_text()
    old_log.xadd("votes", {"data": stranger(2)})

    done = json.loads((await sidestream(*tree.move(broker, server.address, "--json"))).out)

    votes = next(topic for topic in done["topics"] if topic["topic"] == "votes")
    assert (votes["summed"]["events"], votes["summed"]["unreadable"], votes["entries"]) == (EVENTS + 2, 1, 1)
    entries: list[tuple[bytes, dict[bytes, bytes]]] = old_log.xrange("votes")  # type: ignore[assignment]
    assert [entry.data for entry in entries_of(written.log, "votes")] == [fields[b"data"] for _, fields in entries]
    assert f"type: pubsub.{broker}" in tree.in_force.read_text()
    written.log.close()
    written.close()


async def test_killed_when_the_other_broker_is_in_force_already_it_is_completed(
    tree: Tree, broker: str, server: Server, old_log: "redis.Redis"
) -> None:
    with moving(tree.place.data, "redis", broker) as mover, mover.standstill(5):
        mover.switching()
    shutil.copyfile(tree.in_force.parent / "brokers" / broker / "pubsub.yaml", tree.in_force)
    await sidestream(*tree.move(broker, server.address))
    assert switches_in(tree.place.data) == (1, broker)


async def test_killed_in_the_switch_beside_a_running_system_everybody_stands_still_until_it_is_completed(
    tree: Tree, broker: str, server: Server
) -> None:
    draft = tree.place.secrets.with_suffix(".draft")
    async with running(tree):
        async with voting(tree) as voters:
            await voters.more(100)
            with a_call_under_way(tree):
                move = start(tree, broker, server.address)
                await until(lambda: state_in(tree) == "moving", 60)
                os.mkfifo(draft)  # nobody reads it: the mover hangs where it notes the address, having said that it switches
            await killed_when(move, lambda: state_in(tree) == "switching")
            draft.unlink()
            voters.details.clear()
            await until(lambda: any(command(broker) in detail for detail in voters.details), 60)
            assert "type: pubsub.redis" in tree.in_force.read_text()
            accepted = voters.accepted

            await sidestream(*tree.move(broker, server.address))
            await voters.more(100)
        assert accepted < voters.accepted
        await assert_counted(tree, voters)
    assert switches_in(tree.place.data) == (1, broker)


def state_in(tree: Tree) -> str:
    mark = tree.place.data / FOLDER / "mark.json"
    return str(json.loads(mark.read_text())["state"]) if mark.exists() else ""


def command(broker: str) -> str:
    return f"sidestream broker move --from redis --to {broker}"


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

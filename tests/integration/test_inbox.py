"""An app that follows its own inbox log, behind real sidecars: a delivery is the truth, and whatever is killed, nothing is lost or doubled.

The expected tally is worked out from what was posted (`test_whole_line.py`). The tally's process never opens the broker.
"""

import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
import redis

from sidestream.adapters.redis_log import RedisAddress, RedisLog
from sidestream.adapters.sqlite_inbox import SqliteInbox
from sidestream.launcher.system import System
from tests.integration.sidestream_program import sidestream
from tests.integration.test_whole_line import assert_tally, ballots, during, post_all
from tests.parts import REPOSITORY, running_system
from tests.waiting import until

APPS = REPOSITORY / "tests" / "apps"
RUN_FILE = APPS / "voting-inbox.yaml"
VOTES = 3_000
SHORT = "4s"
"""A processing timeout for tests, so that an outage outlives it."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with running_system(tmp_path / "system", RUN_FILE) as running:
        yield running


@pytest.fixture
async def impatient(tmp_path: Path) -> AsyncIterator[System]:
    """The same, but its sidecar gives up a delivery after 4 s."""
    async with running_system(tmp_path / "system", _impatient_run_file(tmp_path / "apps")) as running:
        yield running


def _impatient_run_file(folder: Path) -> Path:
    resources = folder / "inbox"
    shutil.copytree(REPOSITORY / "components" / "inbox", resources)
    pubsub = resources / "pubsub.yaml"
    text = pubsub.read_text()
    assert 'value: "30s"' in text
    pubsub.write_text(text.replace('value: "30s"', f'value: "{SHORT}"'))
    text = RUN_FILE.read_text().replace("./components/inbox", str(resources)).replace("../..", str(REPOSITORY))
    (folder / "dapr.yaml").write_text(text)
    return folder / "dapr.yaml"


def inbox_file(system: System) -> Path:
    return system.folder.path / "data" / "read-models" / "tally" / "inbox.sqlite"


def kept(system: System) -> list[bytes]:
    with closing(SqliteInbox(inbox_file(system))) as inbox:
        return [entry.data for entry in inbox.read("votes", None, 1_000_000)]


def published(system: System) -> list[bytes]:
    with closing(RedisLog(RedisAddress(host="127.0.0.1", port=system.broker.port))) as log:
        return [entry.data for entry in log.read("votes", None, 1_000_000)]


async def assert_each_event_once(system: System) -> None:
    """What the broker got is in the inbox, to the byte, each event once."""
    wires = kept(system)
    ids = [json.loads(wire)["id"] for wire in wires]
    assert len(ids) == len(set(ids))
    assert set(wires) <= set(published(system))
    assert set(ids) == {json.loads(wire)["id"] for wire in published(system)}


async def test_votes_are_kept_to_the_byte_and_counted_exactly(system: System) -> None:
    votes = ballots(VOTES, seed=11)
    await post_all(system["votes"].url, votes)
    await assert_tally(system, votes)
    await assert_each_event_once(system)
    arguments = ("projections", "rebuild", "tally", "--json", "--data", str(system.folder.path), "-f", str(RUN_FILE))
    assert json.loads((await sidestream(*arguments)).out)["rebuilt"]["generation"] == "g2"
    await assert_tally(system, votes)


async def test_an_app_killed_twice_loses_and_doubles_nothing(system: System) -> None:
    async def kill() -> None:
        await system["tally"].app.kill()
        await system["tally"].app.start()

    votes = ballots(VOTES, seed=12)
    await during(votes, system, {800: kill, 2000: kill})
    await assert_tally(system, votes)
    await assert_each_event_once(system)


async def test_a_sidecar_killed_twice_loses_and_doubles_nothing(system: System) -> None:
    """What was in flight comes again after the processing timeout of 30 s."""

    async def kill() -> None:
        await system["tally"].sidecar.kill()
        await system["tally"].sidecar.start()

    votes = ballots(VOTES, seed=13)
    await during(votes, system, {800: kill, 2000: kill})
    await assert_tally(system, votes)
    await assert_each_event_once(system)


async def test_both_killed_at_once_lose_and_double_nothing(system: System) -> None:
    async def kill() -> None:
        await system["tally"].sidecar.kill()
        await system["tally"].app.kill()
        await system["tally"].app.start()
        await system["tally"].sidecar.start()

    votes = ballots(VOTES, seed=14)
    await during(votes, system, {1500: kill})
    await assert_tally(system, votes)
    await assert_each_event_once(system)


async def test_a_disk_that_is_away_longer_than_the_sidecar_waits_loses_nothing(impatient: System) -> None:
    """The endless retry goes on with the same batch; what has waited longer than the 4 s is delivered again beside it."""
    votes = ballots(1_000, seed=15)
    await post_all(impatient["votes"].url, votes[:200])
    await assert_tally(impatient, votes[:200])
    with locked(inbox_file(impatient)):
        await post_all(impatient["votes"].url, votes[200:])
        await until(lambda: held_back(impatient) >= 2, 90, what=lambda: "two batches that were not kept")
    await assert_tally(impatient, votes)
    await assert_each_event_once(impatient)


def held_back(system: System) -> float:
    """How many deliveries the app answered with 500; each waited 10 s for the file's lock."""
    text = httpx.get(f"{system['tally'].url}/metrics", timeout=30).text
    lines = [line for line in text.splitlines() if line.startswith("sidestream_http_requests_total{") and 'status="500"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines if "/inbox/votes" in line)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file's one write lock, as a disk would that does not answer."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def test_what_is_no_event_is_a_dead_letter_and_numbers_stay_what_they_are(system: System) -> None:
    """What the sidecar gave up earlier, and put into the dead-letter topic, is collected too."""
    exact = (
        b'{"specversion":"1.0","id":"1","source":"/s","type":"vote.cast","data":{"poll":"p","option":"o","voter":"v","n":9007199254740993}}'
    )
    given_up = exact.replace(b'"1"', b'"2"').replace(b'"v"', b'"w"')
    with closing(redis.Redis(port=system.broker.port)) as client:
        for data in (b"no json", b"\xff\xfe", exact, exact):
            client.xadd("votes", {"data": data})
        client.xadd("votes.undelivered.tally", {"data": given_up})

    await until(lambda: inbox_file(system).exists() and len(kept(system)) == 4, 30)
    assert sorted(kept(system)) == sorted([b"no json", b"\xff\xfe", exact, given_up])

    async def shown() -> bool:
        async with httpx.AsyncClient(base_url=system["tally"].url, timeout=30) as door:
            answer = await door.get("/polls/p")
            return answer.status_code == 200 and answer.json()["votes"] == 2

    await until(shown)
    listed = await sidestream("dead-letters", "list", "tally", "--json", "--data", str(system.folder.path), "-f", str(RUN_FILE))
    assert [letter["reason"] for letter in json.loads(listed.out)] == ["unreadable-entry"] * 2

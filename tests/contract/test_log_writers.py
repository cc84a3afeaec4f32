"""Writing to a log in order, on every broker whose log can be written to: what was confirmed stands there, as it came."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from sidestream.adapters.log_writers import writer_of
from sidestream.adapters.memory_log import MemoryLog
from sidestream.adapters.redis_log import RedisAddress, RedisLog
from sidestream.errors import LogUnavailable
from sidestream.logs.moving import LogWriter
from sidestream.logs.verifying import entries_of
from sidestream.ports import EventLog
from tests.brokers.chosen import with_a_log
from tests.brokers.servers import Server as BrokerServer
from tests.brokers.servers import running_server
from tests.brokers.written import open_written
from tests.contract.logs import DATA_AS_IT_CAME
from tests.contract.valkey import Server
from tests.unit.test_moving import counted


class Place(Protocol):
    """A log, and whoever else writes to it."""

    @property
    def log(self) -> EventLog: ...

    def record(self, topic: str, wires: Sequence[bytes]) -> None: ...


class InMemory:
    def __init__(self) -> None:
        self.log = MemoryLog()
        self.record = self.log.record


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("valkey"))
    yield server
    server.kill()


@pytest.fixture(params=["memory", "redis", *with_a_log()])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """An empty topic `votes`."""
    if request.param == "memory":
        yield InMemory()
        return
    if request.param == "redis":
        from tests.contract.valkey import InRedis

        in_redis = InRedis(request.getfixturevalue("valkey").port)
        in_redis.client.flushall()
        yield in_redis
        in_redis.close()
        return
    broker_server: Callable[[str], BrokerServer] = request.getfixturevalue("broker_server")
    written = open_written(request.param, broker_server(request.param).address)
    written.record("votes", [])
    yield written
    written.close()


@pytest.fixture
def writer(place: Place) -> Iterator[LogWriter]:
    made = writer_of(place.log)
    yield made
    made.close()


def wires(place: Place) -> list[bytes]:
    return [entry.data for entry in entries_of(place.log, "votes")]


def test_entries_stand_in_the_log_in_the_order_they_were_given(place: Place, writer: LogWriter) -> None:
    events = counted(1200, "votes")
    for begin in range(0, 1200, 500):
        writer.append("votes", events[begin : begin + 500])
    assert wires(place) == events


def test_entries_stand_there_as_they_came_whatever_they_are(place: Place, writer: LogWriter) -> None:
    writer.append("votes", DATA_AS_IT_CAME)
    assert wires(place) == DATA_AS_IT_CAME


def test_a_repeat_stands_there_twice(place: Place, writer: LogWriter) -> None:
    (event,) = counted(1, "votes")
    writer.append("votes", [event, event])
    writer.append("votes", [event])
    assert wires(place) == [event] * 3


def test_what_others_wrote_before_stays_before(place: Place, writer: LogWriter) -> None:
    place.record("votes", [b"theirs"])
    writer.append("votes", [b"ours"])
    assert wires(place) == [b"theirs", b"ours"]


def test_the_largest_events_are_taken(place: Place, writer: LogWriter) -> None:
    large = b'"' + b"x" * (4 * 1024 * 1024 - 64 * 1024) + b'"'
    writer.append("votes", [large, b"small"])
    assert wires(place) == [large, b"small"]


def test_a_redis_that_is_away_is_said(tmp_path: Path) -> None:
    gone = Server(tmp_path)
    gone.kill()
    writer = writer_of(RedisLog(RedisAddress(host="127.0.0.1", port=gone.port)))
    with pytest.raises(LogUnavailable, match="votes: not written"):
        writer.append("votes", [b"1"])
    writer.close()


@pytest.mark.parametrize("broker", with_a_log())
def test_a_broker_that_goes_is_said_and_no_entry_stands_behind_a_missing_one(broker: str, tmp_path: Path) -> None:
    events = counted(500, "votes")
    with running_server(broker, tmp_path) as server:
        written = open_written(broker, server.address)
        written.record("votes", [])
        writer = writer_of(written.log)
        writer.append("votes", events[:100])
        server.kill()
        with pytest.raises(LogUnavailable):
            writer.append("votes", events[100:])
        writer.close()
        server.start()
        found = [entry.data for entry in entries_of(written.log, "votes")]
        assert found == events[: len(found)]
        assert len(found) >= 100
        written.close()

"""The promises of the event log port, kept by every adapter: memory is the specification; brokers, inboxes, event stores do the same."""

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import pytest
import redis

from sidestream.adapters.memory_log import MemoryLog
from sidestream.adapters.redis_log import RedisAddress, RedisLog
from sidestream.errors import LogUnavailable
from sidestream.launcher.broker import _server
from sidestream.ports import EventLog, ReadsAhead
from tests.brokers.chosen import with_a_log
from tests.brokers.written import open_written
from tests.contract.inboxes import ADAPTERS, WrittenInbox
from tests.contract.store_logs import STORES, WrittenStore

EVENTS = [b'{"n":%d}' % number for number in range(25)]
DATA_AS_IT_CAME = [
    b'{"n":9007199254740993}',
    b'{"n":0.12345678901234567}',
    b'{"n":1.0}',
    rb'{"s":"\u0000"}',
    '{"s":"🎈"}'.encode(),
    b"\xff\xfe",
    b"no json\r\n",
    b"",
]


# ── what is tested: a log, and whoever writes to it ──────────────────────────────────────────────────────────────────


class Written(Protocol):
    """A log together with its broker's hand."""

    @property
    def log(self) -> EventLog: ...

    def record(self, topic: str, wires: Sequence[bytes]) -> None: ...

    def trim(self, topic: str, upto: str) -> None: ...

    def flush(self, topic: str) -> None: ...


class InMemory:
    def __init__(self) -> None:
        self.log = MemoryLog()
        self.record = self.log.record
        self.trim = self.log.trim
        self.flush = self.log.flush


class Server:
    """A valkey-server with an append-only file, to be killed, paused and started again."""

    def __init__(self, folder: Path) -> None:
        self.port = _free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        options = {"port": self.port, "bind": "127.0.0.1", "dir": self._folder, "appendonly": "yes", "appendfsync": "always", "save": ""}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen([_server(), *words], stdout=subprocess.DEVNULL)
        until(self._answers)

    def _answers(self) -> bool:
        try:
            with closing(redis.Redis(port=self.port)) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def send(self, signal_number: int) -> None:
        assert self._process is not None
        self._process.send_signal(signal_number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()


class InRedis:
    def __init__(self, port: int) -> None:
        self.log = RedisLog(RedisAddress(host="127.0.0.1", port=port))
        self.client = redis.Redis(port=port)

    def record(self, topic: str, wires: Sequence[bytes]) -> None:
        for wire in wires:
            self.client.xadd(topic, {"data": wire, "metadata": b'{"rawPayload":"false"}'})

    def trim(self, topic: str, upto: str) -> None:
        milliseconds, number = upto.split("-")
        self.client.xtrim(topic, minid=f"{milliseconds}-{int(number) + 1}", approximate=False)

    def flush(self, topic: str) -> None:
        self.client.delete(topic)

    def close(self) -> None:
        self.log.close()
        self.client.close()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until(condition: object, seconds: float = 10.0) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {condition}"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("valkey"))
    yield server
    server.kill()


@pytest.fixture
def in_redis(server: Server) -> Iterator[InRedis]:
    written = InRedis(server.port)
    written.client.flushall()
    yield written
    written.close()


TRIMMED = ("memory", "redis", *with_a_log(), *(f"inbox in {adapter}" for adapter in ADAPTERS))
"""Logs that somebody may trim; an event store forgets nothing."""


@pytest.fixture(params=[*TRIMMED, *(f"store in {adapter}" for adapter in STORES)])
def written(request: pytest.FixtureRequest) -> Iterator[Written]:
    yield from _written(request)


@pytest.fixture(params=TRIMMED)
def trimmed(request: pytest.FixtureRequest) -> Iterator[Written]:
    yield from _written(request)


def _written(request: pytest.FixtureRequest) -> Iterator[Written]:
    if request.param.startswith("store in "):
        kept = WrittenStore(request.param.removeprefix("store in "), request)
        yield kept
        kept.log.close()
        return
    if request.param.startswith("inbox in "):
        inbox = WrittenInbox(request.param.removeprefix("inbox in "), request)
        yield inbox
        inbox.log.close()
        return
    if request.param == "memory":
        yield InMemory()
        return
    if request.param in with_a_log():
        on_broker = open_written(request.param, request.getfixturevalue("broker_server")(request.param).address)
        yield on_broker
        on_broker.close()
        return
    found: Written = request.getfixturevalue("in_redis")
    yield found


def positions(written: Written, topic: str = "votes") -> list[str]:
    return [entry.position for entry in written.log.read(topic, None, 1000)]


def data(entries: Sequence[object]) -> list[bytes]:
    return [entry.data for entry in entries]  # type: ignore[attr-defined]


# ── promises ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_topic_nobody_has_written_to_is_an_empty_one(written: Written) -> None:
    assert list(written.log.read("votes", None, 10)) == []
    assert list(written.log.read_back("votes", None, 10)) == []
    extent = written.log.extent("votes")
    assert (extent.first, extent.last, extent.trimmed_to, extent.length) == (None, None, None, 0)


def test_events_are_read_in_recorded_order(written: Written) -> None:
    written.record("votes", EVENTS)
    assert data(written.log.read("votes", None, 1000)) == EVENTS


def test_no_more_than_the_limit_is_read(written: Written) -> None:
    written.record("votes", EVENTS)
    assert data(written.log.read("votes", None, 7)) == EVENTS[:7]
    assert data(written.log.read_back("votes", None, 7)) == EVENTS[:-8:-1]
    assert list(written.log.read("votes", None, 0)) == []


def test_reading_from_a_position_includes_it(written: Written) -> None:
    written.record("votes", EVENTS)
    third = positions(written)[2]
    assert data(written.log.read("votes", third, 3)) == EVENTS[2:5]


def test_reading_back_from_a_position_leaves_it_out(written: Written) -> None:
    written.record("votes", EVENTS)
    third = positions(written)[2]
    assert data(written.log.read_back("votes", third, 10)) == [EVENTS[1], EVENTS[0]]


def test_reading_on_page_by_page_meets_every_event_once(written: Written) -> None:
    written.record("votes", EVENTS)
    found = list(written.log.read("votes", None, 4))
    while page := written.log.read("votes", found[-1].position, 5)[1:]:
        found += page
    assert data(found) == EVENTS


def test_reading_back_page_by_page_meets_every_event_once(written: Written) -> None:
    written.record("votes", EVENTS)
    found = list(written.log.read_back("votes", None, 4))
    while page := written.log.read_back("votes", found[-1].position, 4):
        found += page
    assert data(found) == EVENTS[::-1]


def test_at_the_end_only_the_last_event_is_read_until_another_is_recorded(written: Written) -> None:
    written.record("votes", EVENTS[:3])
    last = positions(written)[-1]
    assert data(written.log.read("votes", last, 10)) == [EVENTS[2]]
    written.record("votes", EVENTS[3:4])
    assert data(written.log.read("votes", last, 10)) == EVENTS[2:4]


def test_topics_do_not_mix(written: Written) -> None:
    written.record("votes", EVENTS[:2])
    written.record("orders.0", EVENTS[2:5])
    assert data(written.log.read("votes", None, 10)) == EVENTS[:2]
    assert data(written.log.read("orders.0", None, 10)) == EVENTS[2:5]
    assert written.log.extent("orders.0").length == 3


def test_data_comes_as_it_went_in(written: Written) -> None:
    written.record("votes", DATA_AS_IT_CAME)
    assert data(written.log.read("votes", None, 100)) == DATA_AS_IT_CAME


def test_an_entry_says_when_it_was_recorded(written: Written) -> None:
    before = time.time_ns() // 1_000_000
    written.record("votes", EVENTS[:1])
    assert before <= written.log.read("votes", None, 1)[0].recorded_ms <= time.time_ns() // 1_000_000


def test_the_extent_names_both_ends(written: Written) -> None:
    written.record("votes", EVENTS)
    extent = written.log.extent("votes")
    assert (extent.first, extent.last) == (positions(written)[0], positions(written)[-1])
    assert (extent.length, extent.trimmed_to) == (25, None)


def test_positions_are_compared_as_numbers(written: Written) -> None:
    written.record("votes", EVENTS)
    found = positions(written)
    for left, right in pairwise(found):
        assert written.log.compare(left, right) < 0 < written.log.compare(right, left)
        assert written.log.compare(left, left) == 0


def test_after_a_trim_the_rest_is_read_and_the_extent_says_what_is_gone(trimmed: Written) -> None:
    trimmed.record("votes", EVENTS)
    found = positions(trimmed)
    trimmed.trim("votes", found[9])
    assert data(trimmed.log.read("votes", None, 100)) == EVENTS[10:]
    assert data(trimmed.log.read("votes", found[3], 100)) == EVENTS[10:]
    assert data(trimmed.log.read_back("votes", None, 100)) == EVENTS[:9:-1]
    extent = trimmed.log.extent("votes")
    assert (extent.first, extent.last, extent.length) == (found[10], found[-1], 15)
    assert extent.trimmed_to is not None
    assert trimmed.log.compare(found[9], extent.trimmed_to) <= 0 < trimmed.log.compare(found[10], extent.trimmed_to)


def test_a_log_trimmed_to_nothing_still_knows_how_far_it_had_come(trimmed: Written) -> None:
    trimmed.record("votes", EVENTS)
    last = positions(trimmed)[-1]
    trimmed.trim("votes", last)
    extent = trimmed.log.extent("votes")
    assert (extent.first, extent.last, extent.length, extent.trimmed_to) == (None, None, 0, last)
    assert list(trimmed.log.read("votes", last, 10)) == []


def test_a_flushed_topic_is_another_log_of_which_nothing_was_trimmed(written: Written) -> None:
    written.record("votes", EVENTS)
    written.flush("votes")
    assert written.log.extent("votes").trimmed_to is None
    written.record("votes", EVENTS[:1])
    assert data(written.log.read("votes", None, 10)) == EVENTS[:1]
    assert written.log.extent("votes").trimmed_to is None


def test_many_threads_read_at_once(written: Written) -> None:
    written.record("votes", EVENTS)
    with ThreadPoolExecutor(8) as threads:
        found = [threads.submit(lambda: data(written.log.read("votes", None, 100))) for _ in range(200)]
        assert all(each.result() == EVENTS for each in found)


# ── Redis alone: its ids, strange entries, and a server that is away ─────────────────────────────────────────────────


def test_an_entry_without_data_does_not_stop_the_reading(in_redis: InRedis) -> None:
    in_redis.client.xadd("votes", {"other": b"x"})
    in_redis.client.xadd("votes", {"metadata": b"{}", "data": EVENTS[0]})
    in_redis.client.xadd("votes", {"metadata": b"data", "other": b"data"})
    assert data(in_redis.log.read("votes", None, 10)) == [b"", EVENTS[0], b""]
    assert in_redis.log.extent("votes").length == 3


def test_ids_are_numbers_not_text(in_redis: InRedis) -> None:
    for position in ("9-9", "9-10", "10-2"):
        in_redis.client.xadd("votes", {"data": position}, id=position)
    assert positions(in_redis) == ["9-9", "9-10", "10-2"]
    assert in_redis.log.compare("9-9", "9-10") < 0
    assert in_redis.log.compare("10-2", "9-10") > 0
    assert in_redis.log.compare("9", "9-0") == 0


def test_a_position_of_another_kind_of_log_is_refused(in_redis: InRedis) -> None:
    with pytest.raises(LogUnavailable, match="another kind of log"):
        in_redis.log.compare("partition 0", "1-1")
    with pytest.raises(LogUnavailable, match="XRANGE votes"):
        in_redis.log.read("votes", "partition 0", 1)


def test_an_event_deleted_from_the_middle_counts_as_removed(in_redis: InRedis) -> None:
    in_redis.record("votes", EVENTS[:5])
    found = [entry.position for entry in in_redis.log.read("votes", None, 10)]
    in_redis.client.xdel("votes", found[2])
    assert in_redis.log.extent("votes").trimmed_to == found[2]
    assert in_redis.log.extent("votes").length == 4


def test_a_key_that_is_no_stream_is_said(in_redis: InRedis) -> None:
    in_redis.client.set("votes", "1")
    for ask in (lambda: in_redis.log.read("votes", None, 1), lambda: in_redis.log.extent("votes")):
        with pytest.raises(LogUnavailable, match="votes: .*wrong kind"):
            ask()
    in_redis.client.delete("votes")
    assert list(in_redis.log.read("votes", None, 1)) == []


def test_a_server_that_is_not_there_is_said_at_once() -> None:
    log = RedisLog(RedisAddress(host="127.0.0.1", port=_free_port(), connect_seconds=0.5))
    begin = time.monotonic()
    with pytest.raises(LogUnavailable, match=r"redis at 127\.0\.0\.1:\d+/0: XRANGE votes: .*refused"):
        log.read("votes", None, 1)
    assert time.monotonic() - begin < 0.5


def test_a_host_that_has_no_address_is_said() -> None:
    with pytest.raises(LogUnavailable, match="nowhere.invalid"):
        RedisLog(RedisAddress(host="nowhere.invalid")).extent("votes")


def test_a_wrong_password_is_said_and_not_told(server: Server) -> None:
    with pytest.raises(LogUnavailable, match="AUTH|WRONGPASS") as raised:
        RedisLog(RedisAddress(host="127.0.0.1", port=server.port, password="s3cret")).read("votes", None, 1)
    assert "s3cret" not in str(raised.value)


def test_a_database_that_is_not_there_is_said(server: Server) -> None:
    with pytest.raises(LogUnavailable, match="DB index"):
        RedisLog(RedisAddress(host="127.0.0.1", port=server.port, database=4711)).read("votes", None, 1)


def test_a_server_that_does_not_answer_is_not_waited_for_and_answers_do_not_mix(server: Server, in_redis: InRedis) -> None:
    in_redis.record("votes", EVENTS[:1])
    in_redis.record("orders", EVENTS[1:2])
    log = RedisLog(RedisAddress(host="127.0.0.1", port=server.port, answer_seconds=0.2))
    assert data(log.read("votes", None, 1)) == EVENTS[:1]
    server.send(signal.SIGSTOP)
    try:
        with pytest.raises(LogUnavailable, match=r"(?i)timeout"):
            log.read("votes", None, 1)
    finally:
        server.send(signal.SIGCONT)
    assert data(log.read("orders", None, 1)) == EVENTS[1:2]
    log.close()


def test_a_server_that_was_killed_is_read_on_when_it_is_back(server: Server, in_redis: InRedis) -> None:
    in_redis.record("votes", EVENTS)
    server.kill()
    with pytest.raises(LogUnavailable):
        in_redis.log.read("votes", None, 100)
    server.start()
    assert data(in_redis.log.read("votes", None, 100)) == EVENTS


def test_every_pooled_connection_survives_a_restart(server: Server, in_redis: InRedis) -> None:
    in_redis.record("votes", EVENTS)
    meeting = threading.Barrier(4)

    def together() -> list[bytes]:
        meeting.wait()
        return data(in_redis.log.read("votes", None, 100))

    with ThreadPoolExecutor(4) as threads:
        assert all(each.result() == EVENTS for each in [threads.submit(together) for _ in range(4)])
        server.kill()
        server.start()
        assert all(each.result() == EVENTS for each in [threads.submit(together) for _ in range(4)])


def test_what_was_announced_is_read_as_it_stands_now(written: Written) -> None:
    if not isinstance(written.log, ReadsAhead):
        return  # it may do nothing, and most do not even have the verb
    written.record("t", EVENTS[:3])
    for _ in range(20):  # more than it keeps: the others are read as if nothing had been announced
        for limit in range(1, 6):
            written.log.announce("t", None, limit)
    written.record("t", EVENTS[3:5])
    for limit in range(1, 6):
        assert [entry.data for entry in written.log.read("t", None, limit)] == EVENTS[:limit]
        assert [entry.data for entry in written.log.read("t", None, limit)] == EVENTS[:limit]

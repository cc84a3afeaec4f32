"""Topics written anew, in memory and on every real broker with a log: readers find another log, and nothing that others add is lost."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from sidestream.adapters.memory_log import MemoryLog
from sidestream.adapters.no_log import NoLog
from sidestream.adapters.redis_log import RedisAddress, RedisLog
from sidestream.adapters.rewriters import can_be_rewritten, rewriter_of
from sidestream.errors import ConfigurationError, LeaseLost, LogUnavailable
from sidestream.logs.rewriting import LogRewriter
from sidestream.logs.verifying import entries_of
from sidestream.ports import EventLog
from tests.brokers.chosen import with_a_log
from tests.brokers.servers import Server as BrokerServer
from tests.brokers.servers import running_server
from tests.brokers.written import open_written
from tests.contract.valkey import InRedis, Server

TOPIC = "orders"

pytestmark = pytest.mark.timeout(120)


class Written(Protocol):
    """A log with a way to write to it as a sidecar would, and to take from it as a bad day does."""

    @property
    def log(self) -> EventLog: ...

    def record(self, topic: str, wires: Sequence[bytes]) -> None: ...

    def trim(self, topic: str, upto: str) -> None: ...

    def flush(self, topic: str) -> None: ...


class InMemory:
    def __init__(self) -> None:
        self.log = MemoryLog()
        self.record, self.trim, self.flush = self.log.record, self.log.trim, self.log.flush


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("valkey"))
    yield server
    server.kill()


@pytest.fixture
def on_redis(server: Server) -> Iterator[InRedis]:
    written = InRedis(server.port)
    written.client.flushall()
    yield written
    written.close()


@contextlib.contextmanager
def on(broker: str, request: pytest.FixtureRequest) -> Iterator[Written]:
    """An empty log."""
    if broker == "memory":
        yield InMemory()
    elif broker == "redis":
        yield request.getfixturevalue("on_redis")
    else:
        broker_server: Callable[[str], BrokerServer] = request.getfixturevalue("broker_server")
        with contextlib.closing(open_written(broker, broker_server(broker).address)) as written:
            yield written
            written.record(TOPIC, [])  # so that it is taken away again


@pytest.fixture(params=["memory", "redis", *with_a_log()])
def written(request: pytest.FixtureRequest) -> Iterator[Written]:
    with on(request.param, request) as made:
        yield made


@pytest.fixture(params=["redis", *with_a_log()])
def on_a_broker(request: pytest.FixtureRequest) -> Iterator[Written]:
    with on(request.param, request) as made:
        yield made


@contextlib.contextmanager
def rewriter_for(written: Written) -> Iterator[LogRewriter]:
    with contextlib.closing(rewriter_of(written.log)) as rewriter:
        yield rewriter


def rewrite(written: Written, wires: "Sequence[bytes] | Anew", keep: Callable[[bytes], bool] = lambda wire: False) -> None:
    with rewriter_for(written) as rewriter:
        rewriter.rewrite(TOPIC, wires, keep)


class Anew:
    """Wires with something that happens in between, the first time they are asked for."""

    def __init__(self, wires: Sequence[bytes], happens: Callable[[], None]) -> None:
        self._wires = wires
        self._happens = happens
        self._happened = False

    def __iter__(self) -> Iterator[bytes]:
        for at, wire in enumerate(self._wires):
            if at == len(self._wires) // 2 and not self._happened:
                self._happened = True
                self._happens()
            yield wire


def is_theirs(wire: bytes) -> bool:
    return b"theirs" in wire


def theirs(number: int, subject: str) -> bytes:
    event = {"specversion": "1.0", "id": str(number), "source": "/theirs", "type": "noted", "subject": subject}
    return json.dumps(event).encode()


def in_subjects(found: Sequence[bytes]) -> dict[str, list[str]]:
    """The ids of each subject in order."""
    subjects: dict[str, list[str]] = {}
    for event in map(json.loads, found):
        subjects.setdefault(event["subject"], []).append(event["id"])
    return subjects


def wires(written: Written) -> list[bytes]:
    return [entry.data for entry in entries_of(written.log, TOPIC)]


def firsts(written: Written) -> list[bytes]:
    """The entries, each where it stands first: a log may hold repeats."""
    return list(dict.fromkeys(wires(written)))


def test_a_topic_has_the_new_entries_in_order_and_no_others(written: Written) -> None:
    written.record(TOPIC, [b"old 1", b"old 2"])
    anew = [f"new {number}".encode() for number in range(1234)]

    rewrite(written, anew)

    assert firsts(written) == anew
    extent = written.log.extent(TOPIC)
    assert extent.trimmed_to is None, "nothing is known to be gone: it is another log"
    assert extent.first == written.log.read(TOPIC, None, 1)[0].position


def test_a_topic_can_be_made_that_was_not_there(written: Written) -> None:
    rewrite(written, [b"1"])
    assert firsts(written) == [b"1"]
    assert written.log.extent(TOPIC).trimmed_to is None


def test_a_topic_can_be_made_anew_that_was_flushed(written: Written) -> None:
    written.record(TOPIC, [b"1", b"2", b"3"])
    written.flush(TOPIC)
    rewrite(written, [b"1", b"2", b"3"])
    assert firsts(written) == [b"1", b"2", b"3"]


@pytest.mark.parametrize("stands_there", [False, True], ids=["nothing-is-left", "something-stands-there"])
def test_what_is_written_anew_was_recorded_now_its_first_entry_too(written: Written, stands_there: bool) -> None:
    a_minute_ago = time.time() * 1000 - 60_000  # clocks need not agree to the second
    written.record(TOPIC, [b"1"] if stands_there else [])

    rewrite(written, [b"1", b"2"])

    assert [entry.data for entry in entries_of(written.log, TOPIC) if entry.recorded_ms < a_minute_ago] == []


def test_on_redis_it_was_recorded_now_however_old_the_entry_is_that_stood_last(on_redis: InRedis) -> None:
    a_minute_ago = time.time() * 1000 - 60_000
    on_redis.client.xadd(TOPIC, {"data": b"1"}, id="1000-0")

    rewrite(on_redis, [b"1", b"2"])

    assert [entry.data for entry in entries_of(on_redis.log, TOPIC) if entry.recorded_ms < a_minute_ago] == []


def test_on_redis_no_position_is_given_twice_although_its_clock_was_set_back(on_redis: InRedis) -> None:
    in_a_day = int(time.time() * 1000) + 86_400_000
    on_redis.client.xadd(TOPIC, {"data": b"1"}, id=f"{in_a_day}-7")

    rewrite(on_redis, [b"1"])

    assert [entry.position for entry in entries_of(on_redis.log, TOPIC)] == [f"{in_a_day + 1}-0"]


def test_a_topic_whose_beginning_was_taken_is_whole_again(written: Written) -> None:
    written.record(TOPIC, [b"1", b"2", b"3"])
    written.trim(TOPIC, written.log.read(TOPIC, None, 3)[1].position)
    assert written.log.extent(TOPIC).trimmed_to is not None

    rewrite(written, [b"1", b"2", b"3"])

    assert firsts(written) == [b"1", b"2", b"3"]
    assert written.log.extent(TOPIC).trimmed_to is None


def test_what_is_taken_from_a_topic_that_was_written_anew_is_known_to_be_gone(written: Written) -> None:
    written.record(TOPIC, [b"old"])
    rewrite(written, [b"1", b"2", b"3"])
    second = next(entry.position for entry in entries_of(written.log, TOPIC) if entry.data == b"2")

    written.trim(TOPIC, second)

    assert written.log.extent(TOPIC).trimmed_to == second
    assert firsts(written) == [b"3"]


def test_a_topic_can_be_written_anew_again_and_again(written: Written) -> None:
    for round_ in range(3):
        anew = [f"{round_} {number}".encode() for number in range(20)]
        rewrite(written, anew)
        assert firsts(written) == anew
        assert written.log.extent(TOPIC).trimmed_to is None


def test_what_others_wrote_stays_in_its_order_beside_it(written: Written) -> None:
    theirs = [f"theirs {number}".encode() for number in range(700)]
    written.record(TOPIC, [b"old 1", *theirs[:350], b"old 2", *theirs[350:], theirs[3]])
    anew = [f"new {number}".encode() for number in range(1200)]

    rewrite(written, anew, is_theirs)

    found = firsts(written)
    assert [wire for wire in found if is_theirs(wire)] == theirs
    assert [wire for wire in found if not is_theirs(wire)] == anew


def test_what_others_add_meanwhile_is_kept(on_a_broker: Written) -> None:
    on_a_broker.record(TOPIC, [b"old", b"theirs 0"])
    anew = [f"new {number}".encode() for number in range(1000)]

    rewrite(on_a_broker, Anew(anew, lambda: on_a_broker.record(TOPIC, [b"theirs 1", b"theirs 2"])), is_theirs)

    found = firsts(on_a_broker)
    assert [wire for wire in found if is_theirs(wire)] == [b"theirs 0", b"theirs 1", b"theirs 2"]
    assert [wire for wire in found if not is_theirs(wire)] == anew


def test_no_position_of_before_is_one_of_it(on_a_broker: Written) -> None:
    on_a_broker.record(TOPIC, [b"1", b"2"])
    before = {entry.position for entry in on_a_broker.log.read(TOPIC, None, 10)}
    rewrite(on_a_broker, [b"1", b"2"])
    assert before.isdisjoint(entry.position for entry in entries_of(on_a_broker.log, TOPIC))


def test_under_a_stranger_that_never_pauses_nothing_of_it_is_lost_and_its_subjects_keep_their_order(on_a_broker: Written) -> None:
    """Where nobody can say that it stood still for a moment it may be refused: then the log is as it was, with repeats."""
    ended, added = threading.Event(), list[bytes]()
    on_a_broker.record(TOPIC, [b"old"])

    def add() -> None:
        while not ended.is_set():
            added.append(theirs(len(added), subject=f"their-{len(added) % 7}"))
            on_a_broker.record(TOPIC, [added[-1]])

    stranger = threading.Thread(target=add)
    stranger.start()
    try:
        for _ in range(2):
            with contextlib.suppress(LogUnavailable):
                rewrite(on_a_broker, [b"new 1", b"new 2"], is_theirs)
    finally:
        ended.set()
        stranger.join()
    found = [wire for wire in firsts(on_a_broker) if is_theirs(wire)]
    assert set(found) == set(added)
    assert in_subjects(found) == in_subjects(added)


def test_one_that_fails_half_way_leaves_all_that_stood_there_and_can_be_repeated(on_a_broker: Written) -> None:
    on_a_broker.record(TOPIC, [b"old", b"theirs"])
    anew = [f"new {number}".encode() for number in range(2000)]

    def fail() -> None:
        raise LogUnavailable("the store is away")

    with pytest.raises(LogUnavailable):
        rewrite(on_a_broker, Anew(anew, fail), is_theirs)
    assert wires(on_a_broker)[:2] == [b"old", b"theirs"]
    assert on_a_broker.log.extent(TOPIC).trimmed_to is None

    rewrite(on_a_broker, anew, is_theirs)
    assert sorted(set(wires(on_a_broker))) == sorted([*anew, b"theirs"])
    assert [wire for wire in firsts(on_a_broker) if wire != b"theirs"] == anew


def test_on_redis_nothing_else_is_left_of_one_that_fails_half_way(on_redis: InRedis) -> None:
    on_redis.record(TOPIC, [b"old"])

    def fail() -> None:
        raise LogUnavailable("the store is away")

    with pytest.raises(LogUnavailable):
        rewrite(on_redis, Anew([b"new"] * 2000, fail))
    assert wires(on_redis) == [b"old"]
    assert list(on_redis.client.scan_iter()) == [TOPIC.encode()]


class Lost:
    """Wires on whose way the right to write is lost, for good."""

    def __init__(self, wires: Sequence[bytes], after: int, happens: Callable[[], object] = lambda: None) -> None:
        self._wires = wires
        self._after = after
        self._happens = happens
        self._is_lost = False

    def __iter__(self) -> Iterator[bytes]:
        yield from self._wires[: self._after]
        if not self._is_lost:
            self._happens()
        self._is_lost = True
        yield from self._wires[self._after :]

    def may_write(self) -> None:
        if self._is_lost:
            raise LeaseLost("somebody else may be at it")


@pytest.mark.parametrize("after", [0, 700, 1000], ids=["before-the-first", "half-way", "before-the-last-step"])
def test_who_has_lost_the_right_stops_before_the_next_write_and_the_topic_is_as_it_was(written: Written, after: int) -> None:
    written.record(TOPIC, [b"old", b"theirs"])
    anew = [f"new {number}".encode() for number in range(1000)]
    lost = Lost(anew, after)

    with rewriter_for(written) as rewriter, pytest.raises(LeaseLost):
        rewriter.rewrite(TOPIC, lost, is_theirs, lost.may_write)
    assert wires(written)[:2] == [b"old", b"theirs"]
    assert written.log.extent(TOPIC).trimmed_to is None

    rewrite(written, anew, is_theirs)
    assert [wire for wire in firsts(written) if wire != b"theirs"] == anew


def test_on_redis_who_has_lost_the_right_leaves_what_another_one_fills_beside_it(on_redis: InRedis) -> None:
    on_redis.record(TOPIC, [b"old"])
    lost = Lost([b"new"] * 1000, 1000, lambda: on_redis.client.set("orders:anew", "another's"))

    with rewriter_for(on_redis) as rewriter, pytest.raises(LeaseLost):
        rewriter.rewrite(TOPIC, lost, is_theirs, lost.may_write)
    assert on_redis.client.get("orders:anew") == b"another's"

    rewrite(on_redis, [b"new"])
    assert list(on_redis.client.scan_iter()) == [TOPIC.encode()]


def test_a_redis_that_is_away_is_said(tmp_path: Path) -> None:
    gone = Server(tmp_path)
    gone.kill()
    log = RedisLog(RedisAddress(host="127.0.0.1", port=gone.port))
    with contextlib.closing(rewriter_of(log)) as rewriter, pytest.raises(LogUnavailable, match="orders was not written anew"):
        rewriter.rewrite(TOPIC, [b"1"], is_theirs)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("broker", with_a_log())
def test_a_broker_that_goes_meanwhile_is_said_and_it_can_be_repeated(broker: str, tmp_path: Path) -> None:
    anew = [f"new {number}".encode() for number in range(2000)]
    with running_server(broker, tmp_path) as server, contextlib.closing(open_written(broker, server.address)) as written:
        written.record(TOPIC, [b"old", b"theirs"])
        with pytest.raises(LogUnavailable):
            rewrite(written, Anew(anew, server.kill), is_theirs)
        server.start()
        assert wires(written)[:2] == [b"old", b"theirs"]

        rewrite(written, anew, is_theirs)

        assert [wire for wire in firsts(written) if wire != b"theirs"] == anew
        assert b"theirs" in wires(written)


def test_a_log_that_nothing_replaces_is_said() -> None:
    log = NoLog("there is none")
    assert not can_be_rewritten(log)
    with pytest.raises(ConfigurationError, match="in Kafka or in JetStream to write a topic anew, found NoLog"):
        rewriter_of(log)

"""Topics written anew, in memory and on a real broker: one step for readers, and nothing that others add is lost."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidestream.adapters.memory_log import MemoryLog
from sidestream.adapters.redis_log import RedisAddress
from sidestream.adapters.redis_rewriter import RedisRewriter
from sidestream.errors import LogUnavailable
from sidestream.logs.verifying import entries_of
from sidestream.ports import EventLog
from tests.contract.test_event_log import InRedis, Server


class InMemory:
    def __init__(self) -> None:
        self.log = self.rewriter = MemoryLog()
        self.record = self.log.record


class OnRedis(InRedis):
    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.rewriter = RedisRewriter(self.log.address)

    def close(self) -> None:
        self.rewriter.close()
        super().close()


Written = InMemory | OnRedis
"""A log with a way to write to it as a sidecar would, and one to write a topic anew."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("valkey"))
    yield server
    server.kill()


@pytest.fixture
def on_redis(server: Server) -> Iterator[OnRedis]:
    written = OnRedis(server.port)
    written.client.flushall()
    yield written
    written.close()


@pytest.fixture(params=["memory", "redis"])
def written(request: pytest.FixtureRequest) -> Written:
    if request.param == "memory":
        return InMemory()
    found: OnRedis = request.getfixturevalue("on_redis")
    return found


def wires(log: EventLog) -> list[bytes]:
    return [entry.data for entry in log.read("orders", None, 10_000)]


def test_a_topic_has_the_new_entries_in_order_and_no_others(written: Written) -> None:
    written.record("orders", [b"old 1", b"old 2"])
    anew = [f"new {number}".encode() for number in range(1234)]

    written.rewriter.rewrite("orders", anew)

    assert wires(written.log) == anew
    assert written.log.extent("orders").trimmed_to is None, "nothing is known to be gone: it is another log"


def test_a_topic_can_be_made_that_was_not_there(written: Written) -> None:
    written.rewriter.rewrite("orders", [b"1"])
    assert wires(written.log) == [b"1"]


def test_a_topic_can_be_emptied(written: Written) -> None:
    written.record("orders", [b"old"])
    written.rewriter.rewrite("orders", [])
    assert wires(written.log) == []


def test_entries_get_other_positions_than_they_had(on_redis: OnRedis) -> None:
    on_redis.record("orders", [b"1", b"2"])
    before = {entry.position for entry in on_redis.log.read("orders", None, 10)}
    on_redis.rewriter.rewrite("orders", [b"1", b"2"])
    assert before.isdisjoint(entry.position for entry in on_redis.log.read("orders", None, 10))


def test_what_others_add_meanwhile_stands_behind_it(on_redis: OnRedis) -> None:
    on_redis.record("orders", [b"old"])

    def anew() -> Iterator[bytes]:
        yield b"new"
        on_redis.record("orders", [b"theirs 1", b"theirs 2"])

    on_redis.rewriter.rewrite("orders", anew())

    assert wires(on_redis.log) == [b"new", b"theirs 1", b"theirs 2"]


def test_under_a_stranger_that_never_pauses_nothing_of_it_is_lost(on_redis: OnRedis) -> None:
    ended, added = threading.Event(), list[bytes]()

    def add() -> None:
        while not ended.is_set():
            added.append(f"theirs {len(added)}".encode())
            on_redis.record("orders", [added[-1]])

    stranger = threading.Thread(target=add)
    stranger.start()
    try:
        for _ in range(2):
            on_redis.rewriter.rewrite("orders", (entry.data for entry in entries_of(on_redis.log, "orders")))
    finally:
        ended.set()
        stranger.join()
    assert {entry.data for entry in entries_of(on_redis.log, "orders")} == set(added)


def test_a_rewrite_that_fails_half_way_leaves_the_topic_as_it_was(on_redis: OnRedis) -> None:
    on_redis.record("orders", [b"old"])

    def anew() -> Iterator[bytes]:
        yield from (b"new" for _ in range(2000))
        raise LogUnavailable("the store is away")

    with pytest.raises(LogUnavailable):
        on_redis.rewriter.rewrite("orders", anew())
    assert wires(on_redis.log) == [b"old"]
    assert list(on_redis.client.scan_iter()) == [b"orders"]


def test_a_server_that_is_away_is_said(tmp_path: Path) -> None:
    gone = Server(tmp_path)
    gone.kill()
    rewriter = RedisRewriter(RedisAddress(host="127.0.0.1", port=gone.port))
    with pytest.raises(LogUnavailable, match="orders was not written anew"):
        rewriter.rewrite("orders", [b"1"])
    rewriter.close()

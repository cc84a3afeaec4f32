"""The log in Redis alone: its ids, strange entries, and a server that is away."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from sidestream.adapters.redis_log import RedisAddress, RedisLog
from sidestream.errors import LogUnavailable
from tests.contract.logs import EVENTS, data, positions
from tests.contract.valkey import InRedis, Server, free_port


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
    log = RedisLog(RedisAddress(host="127.0.0.1", port=free_port(), connect_seconds=0.5))
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

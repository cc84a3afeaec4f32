"""Streams that move between servers: a cluster of two, and a master that sentinels replace."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from sidestream.adapters.components import open_log
from sidestream.errors import LogUnavailable
from sidestream.launcher.broker import _server
from sidestream.launcher.network import LOOPBACK, free_ports
from sidestream.ports import EventLog
from tests.brokers.waiting import wait_until

EVENTS = [b'{"n":%d}' % number for number in range(25)]
TOPICS = [f"topic-{number}" for number in range(12)]
COMPONENT = """
kind: Component
metadata: {{name: pubsub}}
spec:
  type: pubsub.redis
  version: v1
  metadata: [{items}]
"""


@contextmanager
def valkey(folder: Path, port: int, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    folder.mkdir(parents=True)
    bus = ("--cluster-port", str(free_ports(1)[0])) if "--cluster-enabled" in options else ()
    words = ["--port", str(port), "--bind", LOOPBACK, "--dir", str(folder), "--save", "", *bus, *options]
    process = subprocess.Popen([_server(), *words], stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(port))
        yield process
    finally:
        process.kill()
        process.wait()


def ask(port: int, *words: Any) -> Any:
    with closing(redis.Redis(port=port, socket_timeout=5, protocol=2)) as client:
        client.response_callbacks.clear()  # as the server says it
        return client.execute_command(*words)  # type: ignore[no-untyped-call]


def answers(port: int) -> bool:
    try:
        return bool(ask(port, "PING"))
    except redis.RedisError:
        return False


def opened(folder: Path, **metadata: str) -> EventLog:
    items = ", ".join(f"{{name: {name}, value: '{value}'}}" for name, value in metadata.items())
    (folder / "pubsub.yaml").write_text(COMPONENT.format(items=items))
    return open_log(folder, "pubsub")


def data(log: EventLog, topic: str) -> list[bytes]:
    return [entry.data for entry in log.read(topic, None, 100)]


def test_a_cluster_is_read_on_whichever_node_holds_a_topic_also_after_it_moved(tmp_path: Path) -> None:
    ports = free_ports(2)
    with ExitStack() as stack:
        for port in ports:
            stack.enter_context(valkey(tmp_path / str(port), port, "--cluster-enabled", "yes"))
        ask(ports[0], "CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        ask(ports[1], "CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        bus = [int(str(ask(port, "CONFIG", "GET", "cluster-port")[1], "ascii")) for port in ports]
        ask(ports[0], "CLUSTER", "MEET", LOOPBACK, ports[1], bus[1])
        wait_until(lambda: all(b"cluster_state:ok" in ask(port, "CLUSTER", "INFO") for port in ports), 30)
        log = stack.enter_context(closing(opened(tmp_path, redisHost=f"{LOOPBACK}:{ports[0]},{LOOPBACK}:{ports[1]}", redisType="cluster")))
        writer = stack.enter_context(closing(redis.RedisCluster(host=LOOPBACK, port=ports[0])))
        for topic in TOPICS:
            for event in EVENTS:
                writer.xadd(topic, {"data": event})
        held = {port: [topic for topic in TOPICS if ask(port, "CLUSTER", "COUNTKEYSINSLOT", _slot(port, topic))] for port in ports}
        assert all(held.values()), "both nodes hold some"
        assert all(data(log, topic) == EVENTS and log.extent(topic).length == 25 for topic in TOPICS)
        assert [entry.data for entry in log.read_back(TOPICS[0], None, 2)] == EVENTS[:-3:-1]

        _move(ports, held[ports[0]][0])
        assert all(data(log, topic) == EVENTS for topic in TOPICS)


def _slot(port: int, topic: str) -> int:
    return int(ask(port, "CLUSTER", "KEYSLOT", topic))


def _move(ports: list[int], topic: str) -> None:
    """Move the slot of a topic from the first node to the second, with what is in it."""
    first, second = (str(ask(port, "CLUSTER", "MYID"), "ascii") for port in ports)
    slot = _slot(ports[0], topic)
    ask(ports[1], "CLUSTER", "SETSLOT", slot, "IMPORTING", first)
    ask(ports[0], "CLUSTER", "SETSLOT", slot, "MIGRATING", second)
    ask(ports[0], "MIGRATE", LOOPBACK, ports[1], topic, 0, 5000)
    for port in (ports[1], ports[0]):
        ask(port, "CLUSTER", "SETSLOT", slot, "NODE", second)


def test_the_master_that_sentinels_name_is_read_also_after_another_took_over(tmp_path: Path) -> None:
    master, replica, sentinel = free_ports(3)
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(
        f"sentinel monitor events {LOOPBACK} {master} 1\n"
        "sentinel down-after-milliseconds events 1000\nsentinel failover-timeout events 5000\n"
    )
    with ExitStack() as stack:
        leading = stack.enter_context(valkey(tmp_path / "master", master))
        stack.enter_context(valkey(tmp_path / "replica", replica, "--replicaof", f"{LOOPBACK} {master}"))
        watching = subprocess.Popen(
            [_server(), str(configuration), "--sentinel", "--port", str(sentinel), "--bind", LOOPBACK], stdout=subprocess.DEVNULL
        )
        stack.callback(watching.wait)
        stack.callback(watching.kill)
        wait_until(lambda: answers(sentinel))
        log = stack.enter_context(
            closing(opened(tmp_path, redisHost=f"{LOOPBACK}:{sentinel}", failover="true", sentinelMasterName="events"))
        )
        with closing(redis.Redis(port=master)) as writer:
            for event in EVENTS:
                writer.xadd("votes", {"data": event})
            wait_until(lambda: writer.wait(1, 100) == 1)
        assert data(log, "votes") == EVENTS
        wait_until(lambda: len(ask(sentinel, "SENTINEL", "REPLICAS", "events")) == 1, 30)

        leading.kill()
        wait_until(lambda: _is_read(log), 60)
        with closing(redis.Redis(port=replica)) as writer:
            writer.xadd("votes", {"data": b"later"})
        assert data(log, "votes") == [*EVENTS, b"later"]


def _is_read(log: EventLog) -> bool:
    try:
        return data(log, "votes") == EVENTS
    except LogUnavailable:
        return False


def test_nobody_who_knows_the_server_is_said(tmp_path: Path) -> None:
    for metadata in ({"redisType": "cluster"}, {"failover": "true", "sentinelMasterName": "events"}):
        with (
            closing(opened(tmp_path, redisHost="127.0.0.1:1", **metadata)) as log,
            pytest.raises(LogUnavailable, match="which server holds"),
        ):
            log.read("votes", None, 1)

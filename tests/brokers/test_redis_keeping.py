"""What Redis says of its own safety where several servers hold the topics: each is asked, and the forgetful one is named."""

import subprocess
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from sidestream.adapters.redis_keeping import Forgetful, keeping_of
from sidestream.adapters.redis_servers import MovingRedisLog
from sidestream.errors import LogUnavailable
from sidestream.launcher.broker import _server
from sidestream.launcher.network import LOOPBACK, free_ports
from tests.brokers.test_redis_servers import answers, ask, opened, valkey
from tests.brokers.waiting import wait_until


def test_every_node_of_a_cluster_is_asked_and_the_forgetful_one_is_named(tmp_path: Path) -> None:
    ports = free_ports(2)
    with ExitStack() as stack:
        for port, appendonly in zip(ports, ("yes", "no"), strict=True):
            options = ("--cluster-enabled", "yes", "--appendonly", appendonly)
            stack.enter_context(valkey(tmp_path / str(port), port, *options))
        ask(ports[0], "CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        ask(ports[1], "CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        bus = int(str(ask(ports[1], "CONFIG", "GET", "cluster-port")[1], "ascii"))
        ask(ports[0], "CLUSTER", "MEET", LOOPBACK, ports[1], bus)
        wait_until(lambda: all(b"cluster_state:ok" in ask(port, "CLUSTER", "INFO") for port in ports), 30)
        log = stack.enter_context(closing(opened(tmp_path, redisHost=f"{LOOPBACK}:{ports[0]}", redisType="cluster")))
        assert isinstance(log, MovingRedisLog)

        kept = {each.server: each for each in keeping_of(log)}

        assert kept.keys() == {f"{LOOPBACK}:{port}" for port in ports}
        kept[f"{LOOPBACK}:{ports[0]}"].refuse_forgetful()
        with pytest.raises(Forgetful, match=f"broker {LOOPBACK}:{ports[1]}: expected appendonly yes, found no"):
            kept[f"{LOOPBACK}:{ports[1]}"].refuse_forgetful()


def test_behind_sentinels_the_master_is_asked(tmp_path: Path) -> None:
    master, sentinel = free_ports(2)
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(f"sentinel monitor events {LOOPBACK} {master} 1\n")
    with ExitStack() as stack:
        stack.enter_context(valkey(tmp_path / "master", master, "--maxmemory-policy", "allkeys-lru", "--appendonly", "yes"))
        words = [str(_server()), str(configuration), "--sentinel", "--port", str(sentinel), "--bind", LOOPBACK]
        watching = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        stack.callback(watching.wait)
        stack.callback(watching.kill)
        wait_until(lambda: answers(sentinel))
        metadata = {"redisHost": f"{LOOPBACK}:{sentinel}", "failover": "true", "sentinelMasterName": "events"}
        log = stack.enter_context(closing(opened(tmp_path, **metadata)))
        assert isinstance(log, MovingRedisLog)
        (kept,) = keeping_of(log)
    with pytest.raises(Forgetful, match=f"broker {LOOPBACK}:{master}: expected maxmemory-policy noeviction, found allkeys-lru"):
        kept.refuse_forgetful()


def test_a_cluster_that_is_away_is_said(tmp_path: Path) -> None:
    with closing(opened(tmp_path, redisHost=f"{LOOPBACK}:1", redisType="cluster")) as log:
        assert isinstance(log, MovingRedisLog)
        with pytest.raises(LogUnavailable, match="which servers hold the topics"):
            keeping_of(log)

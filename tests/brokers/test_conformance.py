"""A quick conformance run on the brokers that need nothing but set-up: what must hold for event sourcing on them holds, and
nothing of the check is left in the broker or on the machine. The full run on every broker is `sidestream broker check`.
"""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil  # type: ignore[import-untyped]  # carries no types

from sidestream.adapters.nats_requests import NatsAddress, NatsRequests
from sidestream.conformance.results import Run
from tests.brokers.servers import Server
from tests.integration.sidestream_program import sidestream
from tests.parts import REPOSITORY
from tests.waiting import until

MUST_HOLD = ("log-order-one", "log-order-key", "attributes-log", "replay-log", "delivered-all")
RUN_FILE = ("-f", str(REPOSITORY / "dapr.yaml"))


async def test_valkey_keeps_what_event_sourcing_needs() -> None:
    ended = await sidestream("broker", "check", "redis", "--quick", "--json", *RUN_FILE, SIDESTREAM_BROKER="")
    assert_holds(msgspec.json.decode(ended.out, type=Run), "redis")


async def test_jetstream_keeps_what_event_sourcing_needs_and_is_left_as_it_was(broker_server: Callable[[str], Server]) -> None:
    address = broker_server("jetstream").address
    before = streams_of(address)
    ended = await sidestream("broker", "check", "jetstream", "--address", address, "--quick", "--json", *RUN_FILE)
    assert_holds(msgspec.json.decode(ended.out, type=Run), "jetstream")
    assert streams_of(address) == before


async def test_an_interrupted_check_leaves_nothing_behind(broker_server: Callable[[str], Server], tmp_path: Path) -> None:
    address = broker_server("jetstream").address
    before = streams_of(address)
    words = ("broker", "check", "jetstream", "--address", address, *RUN_FILE)
    said = tmp_path / "said"
    with said.open("wb") as output:
        check = await asyncio.create_subprocess_exec(
            str(REPOSITORY / ".venv/bin/sidestream"), *words, stdout=output, stderr=output, env={**os.environ, "TMPDIR": str(tmp_path)}
        )
    try:
        await until(lambda: "answer with errors" in said.read_text(), 60)
        assert streams_of(address) > before
        started = psutil.Process(check.pid).children(recursive=True)
        assert len(started) >= 2
        check.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(check.wait(), 60) == 1
    finally:
        if check.returncode is None:
            check.kill()
    assert "Interrupted" in said.read_text()
    assert not [process for process in started if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert streams_of(address) == before
    assert [path.name for path in tmp_path.iterdir()] == ["said"]


async def test_a_check_of_a_broker_that_does_not_answer_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    words = ("broker", "check", "jetstream", "--address", "nats://u:s3cret@127.0.0.1:1", "--quick", *RUN_FILE)
    ended = await sidestream(*words, code=2, TMPDIR=str(tmp_path))
    assert not list(tmp_path.iterdir())
    assert "no usable jetstream at 127.0.0.1:1" in " ".join(ended.err.split())
    assert "s3cret" not in ended.err
    assert "Traceback" not in ended.err


def assert_holds(found: Run, broker: str) -> None:
    assert (found.broker, found.follow, found.scope) == (broker, "log", "quick")
    results = {name: found.result(name) for name in MUST_HOLD}
    assert {name: result.verdict if result else "not asked" for name, result in results.items()} == dict.fromkeys(MUST_HOLD, "good")
    assert not found.is_bad, found.results


def streams_of(address: str) -> set[str]:
    requests = NatsRequests(NatsAddress(url=address))
    try:
        return set(json.loads(requests.ask("STREAM.NAMES"))["streams"] or ())
    finally:
        requests.close()

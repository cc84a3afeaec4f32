"""The broker is flushed while everything runs: the tool says what is missing, repairs it, and no read model goes back."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis

from sidestream.event import decode_event
from tests.brokers.run_files import run_file_on
from tests.integration.cataloguing import Cataloguing, write
from tests.integration.sidestream_program import sidestream
from tests.parts import REPOSITORY, running_system
from tests.waiting import until

RUN_FILE = REPOSITORY / "tests" / "apps" / "catalogue.yaml"
VOTING = REPOSITORY / "tests" / "apps" / "voting.yaml"

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def assets(tmp_path: Path) -> AsyncIterator[Cataloguing]:
    """The assets service and the catalogue, each with a sidecar, and forty small files."""
    root = tmp_path / "root"
    write(root, range(40))
    async with running_system(tmp_path / "system", RUN_FILE, environment={"SIDESTREAM_ASSET_ROOTS": str(root)}) as running:
        yield Cataloguing(running, root, RUN_FILE)


def server(assets: Cataloguing) -> "redis.Redis":
    return redis.Redis(port=assets.system.broker.port)


def numbers(client: Any) -> set[int]:
    """Return the store's numbers that stand in the log."""
    return {decode_event(fields[b"data"]).number for _, fields in client.xrange("assets")}


def texts(client: Any) -> dict[int, bytes]:
    """Return the data of each of the store's events as it stands in the log."""
    found = (decode_event(fields[b"data"]) for _, fields in client.xrange("assets"))
    return {event.number: bytes(event.data) for event in found}


async def test_after_a_flush_the_topic_is_written_anew_in_order_and_the_read_model_stays(assets: Cataloguing) -> None:
    await assets.scan()
    await assets.until_exact()
    before = await assets.verify()
    server(assets).flushall()
    assets.write(range(40, 50))
    (assets.root / "000.txt").write_text("its stream goes on in the log without its beginning")
    await assets.scan()
    await assets.until_exact()

    missing = await assets.verify(code=1)
    assert missing["assets"]["missing"] == [[1, 40]]
    assert not missing["assets"]["only_the_end"]
    assert (await assets.verify("--repair"))["assets"]["remedy"] == "written anew"
    repaired = await assets.until_whole(assets=51, scans=before["scans"]["stored"] + 1)

    assert repaired["assets"]["found"] == 51
    assert before["scans"]["stored"] < repaired["scans"]["found"]
    assert await assets.rows() == assets.on_disk()
    (assets.root / "001.txt").unlink()
    await assets.scan()
    await assets.until_exact()


async def test_a_rebuild_from_what_was_written_anew_equals_the_live_model(assets: Cataloguing) -> None:
    await assets.scan()
    await assets.until_exact()
    server(assets).flushall()
    (assets.root / "001.txt").write_text("changed")
    await assets.scan()
    await assets.until_exact()
    await assets.verify("--repair")

    rebuilt = json.loads((await assets.program("projections", "rebuild", "asset_catalog", "--json")).out)["rebuilt"]

    assert rebuilt["comparison"]["differing"] == 0
    assert await assets.rows() == assets.on_disk()


async def test_events_written_anew_read_as_the_sidecar_wrote_them(assets: Cataloguing) -> None:
    """A read model may keep their text; a rebuild must find the same one."""
    (assets.root / "a <b> & c\u2028d \u00e9 \U0001f600 \x01.txt").write_text("a name with everything in it")
    await assets.scan()
    await assets.until_exact()
    client: Any = server(assets)
    before = texts(client)
    client.flushall()

    assert (await assets.verify("--repair"))["assets"]["remedy"] == "written anew"

    assert len(before) == 41
    assert texts(client) == before


async def test_a_lost_end_is_sent_again_by_the_running_relay(assets: Cataloguing) -> None:
    """As a broker loses it whose last writes never reached the disk: it knows nothing of them."""
    await assets.scan()
    await assets.until_exact()
    client: Any = server(assets)
    kept = client.xrange("assets", count=25)
    with client.pipeline(transaction=True) as pipe:
        pipe.delete("assets")
        for position, fields in kept:
            pipe.xadd("assets", fields, id=position)
        pipe.execute()

    missing = await assets.verify(code=1)
    assert (missing["assets"]["found"], missing["assets"]["only_the_end"]) == (25, True)
    assert (await assets.verify("--repair"))["assets"]["remedy"] == "sent again"

    await until(lambda: len(numbers(client)) == 40)
    assert (await assets.until_whole(assets=40))["assets"]["found"] == 40


async def test_where_the_log_knows_that_its_end_was_deleted_it_is_written_anew(assets: Cataloguing) -> None:
    """A reader that stands among what was deleted would go no further, however often the end is sent again."""
    await assets.scan()
    await assets.until_exact()
    client: Any = server(assets)
    for position, _ in client.xrevrange("assets", count=15):
        client.xdel("assets", position)

    missing = await assets.verify(code=1)
    assert (missing["assets"]["found"], missing["assets"]["only_the_end"]) == (25, True)
    assert (await assets.verify("--repair"))["assets"]["remedy"] == "written anew"

    assert (await assets.until_whole(assets=40))["assets"]["found"] == 40
    assert (await assets.verify())["assets"]["gone_upto"] is None


async def test_events_that_are_appended_while_the_topic_is_written_anew_follow_behind(assets: Cataloguing) -> None:
    await assets.scan()
    await assets.until_exact()
    server(assets).flushall()
    assets.write(range(40, 60))

    await asyncio.gather(assets.scan(), assets.verify("--repair"))
    await assets.until_exact()
    await assets.verify("--repair")

    assert (await assets.until_whole(assets=60))["assets"]["found"] == 60


async def test_a_store_that_is_not_there_is_said(tmp_path: Path) -> None:
    ended = await sidestream("log", "verify", "tally", "-f", str(RUN_FILE), "--data", str(tmp_path), code=2)
    assert "expected an event store of dapr.yaml, which has assets; found 'tally'" in " ".join(ended.err.split())


async def test_a_projection_that_keeps_no_store_is_none_that_can_be_named(tmp_path: Path) -> None:
    ended = await sidestream("log", "verify", "asset-catalog", "-f", str(RUN_FILE), "--data", str(tmp_path), code=2)
    assert "expected an event store of dapr.yaml, which has assets; found 'asset-catalog'" in " ".join(ended.err.split())


async def test_a_system_without_a_store_is_told_so(tmp_path: Path) -> None:
    ended = await sidestream("log", "verify", "-f", str(VOTING), "--data", str(tmp_path))
    assert "No service of dapr.yaml keeps an event store" in ended.out
    assert "votes: published directly, not compared" in ended.out


async def test_a_store_that_has_published_nothing_is_told_so(assets: Cataloguing) -> None:
    assert (await assets.program("log", "verify")).out == "assets: has published nothing yet.\n"


@pytest.mark.parametrize("broker", ["rabbitmq", "in-memory"])
async def test_a_broker_that_keeps_no_log_is_said_with_what_can_be_done(tmp_path: Path, broker: str) -> None:
    run_file = run_file_on(broker, RUN_FILE, tmp_path)
    ended = await sidestream("log", "verify", "-f", str(run_file), "--data", str(tmp_path), code=2)
    assert " ".join(ended.err.split()) == (
        "assets: expected a broker with a log to hold the store against, found one that keeps none, so that nobody can say here what its "
        "inboxes lack. `sidestream log verify --repair` sends everything again, and every inbox keeps what it has not."
    )

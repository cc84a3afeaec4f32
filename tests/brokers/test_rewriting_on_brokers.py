"""A bad day on every broker with a log: it lost everything, its beginning or its end, and `log verify --repair` brings it back.

The real program beside a running system. The read model never differs from what is on disk once it had caught up; writers
append meanwhile, the repair is killed and run again, and the sidecars need nobody's hand.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from sidestream.launcher.plan import Wishes
from sidestream.launcher.settings import LauncherSettings
from sidestream.launcher.system import System
from sidestream.logs.verifying import entries_of
from tests.brokers.chosen import with_a_log
from tests.brokers.run_files import run_file_on
from tests.brokers.servers import Server, running_server
from tests.brokers.written import InJetStream, InKafka, open_written
from tests.integration.cataloguing import Cataloguing, write
from tests.integration.test_whole_line import APPS
from tests.parts import REPOSITORY
from tests.waiting import until

PROGRAM = str(REPOSITORY / ".venv/bin/sidestream")
TOPICS = ("assets", "scans")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(params=with_a_log())
def broker(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def server(broker: str, tmp_path: Path) -> Iterator[Server]:
    """A broker of the test's own."""
    with running_server(broker, tmp_path / broker) as running:
        yield running


@pytest.fixture
async def assets(broker: str, server: Server, tmp_path: Path) -> AsyncIterator[Cataloguing]:
    """The assets service and the catalogue, each with a sidecar; forty small files that both know."""
    root = tmp_path / "root"
    write(root, range(40))
    wishes = Wishes(free_ports=True, topics=TOPICS, environment={"SIDESTREAM_ASSET_ROOTS": str(root)})
    run_file = run_file_on(broker, APPS / "catalogue.yaml", tmp_path)
    settings = LauncherSettings(broker=server.address)
    async with System.start(run_file, folder=tmp_path / "system", wishes=wishes, settings=settings) as running:
        assets = Cataloguing(running, root, run_file)
        await assets.scan()
        await assets.until_exact()
        yield assets


@pytest.fixture
def hand(broker: str, server: Server) -> Iterator[InKafka | InJetStream]:
    """What is done to the broker."""
    with closing(open_written(broker, server.address)) as written:
        yield written


def purge(hand: InKafka | InJetStream) -> None:
    """Take everything that stands in the topics now; the topics stay."""
    for topic in TOPICS:
        last = hand.log.extent(topic).last
        assert last is not None
        hand.trim(topic, last)


async def goes_on(assets: Cataloguing, *, name: str) -> None:
    """Everything is as it should be: the next change comes through, and a rebuild from the log equals the live model."""
    (assets.root / name).write_text(f"written after all: {name}")
    (assets.root / "002.txt").unlink()
    await assets.scan()
    await assets.until_exact()
    rebuilt = json.loads((await assets.program("projections", "rebuild", "asset_catalog", "--json")).out)["rebuilt"]
    assert rebuilt["comparison"]["differing"] == 0
    assert await assets.rows() == assets.on_disk()


async def test_after_a_purge_the_topic_is_written_anew_and_bells_go_on_ringing(assets: Cataloguing, hand: InKafka | InJetStream) -> None:
    purge(hand)
    (assets.root / "000.txt").write_text("its stream goes on in the log without its beginning")
    await assets.scan()
    await assets.until_exact()
    missing = await assets.verify(code=1)
    assert missing["assets"]["missing"] == [[1, 40]]

    repaired = await assets.verify("--repair")

    assert repaired["assets"]["remedy"] == "written anew"
    whole = await assets.verify()
    assert (whole["assets"]["found"], whole["assets"]["gone_upto"]) == (41, None)
    assert await assets.rows() == assets.on_disk()
    heard = (await assets.health())["bells"]
    await goes_on(assets, name="bells.txt")

    async def rang() -> bool:
        return bool((await assets.health())["bells"] > heard)

    await until(rang, 30)


async def test_a_projection_that_was_behind_when_the_log_was_purged_has_everything_after_the_repair(
    assets: Cataloguing, hand: InKafka | InJetStream
) -> None:
    await assets.system["asset-catalog"].app.kill()
    assets.write(range(40, 60))
    await assets.scan()
    await until(lambda: len(list(entries_of(hand.log, "assets"))) >= 60, 30)
    purge(hand)
    await assets.system["asset-catalog"].app.start()

    async def says_that_it_is_gone() -> bool:
        try:
            return "trimmed" in json.dumps(await assets.health())
        except httpx.TransportError:  # it is about to start
            return False

    await until(says_that_it_is_gone, 30)
    assert (await assets.verify("--repair"))["assets"]["remedy"] == "written anew", "sent again, it would stand behind what is gone"

    await assets.until_exact()
    await goes_on(assets, name="behind.txt")


async def test_topics_that_were_deleted_are_made_and_written_anew(assets: Cataloguing, hand: InKafka | InJetStream) -> None:
    for topic in TOPICS:
        hand.flush(topic)
    assets.write(range(40, 50))
    await assets.scan()
    missing = await assets.verify(code=1)
    assert missing["assets"]["found"] == 0

    await assets.verify("--repair")

    await assets.until_exact()
    assert (await assets.until_whole(assets=50))["assets"]["found"] == 50
    await goes_on(assets, name="deleted.txt")


async def test_a_lost_end_is_sent_again_by_the_running_relay(assets: Cataloguing, hand: InKafka | InJetStream) -> None:
    """As of a broker that was put back to an older copy of its log: it knows nothing of the end."""
    kept = [entry.data for entry in entries_of(hand.log, "assets")][:25]
    hand.flush("assets")
    hand.record("assets", kept)

    missing = await assets.verify(code=1)
    assert (missing["assets"]["found"], missing["assets"]["only_the_end"]) == (25, True)
    assert (await assets.verify("--repair"))["assets"]["remedy"] == "sent again"

    assert (await assets.until_whole(assets=40))["assets"]["found"] == 40
    await goes_on(assets, name="end.txt")


async def test_a_repair_that_is_killed_while_the_service_appends_is_run_again(assets: Cataloguing, hand: InKafka | InJetStream) -> None:
    purge(hand)
    (assets.root / "000.txt").write_text("its stream goes on in the log without its beginning")
    await assets.scan()
    await assets.until_exact()
    length = hand.log.extent("assets").length
    killed = await asyncio.create_subprocess_exec(PROGRAM, "log", "verify", "--repair", *assets.where)
    try:
        await until(lambda: killed.returncode is not None or hand.log.extent("assets").length != length, 60)
    finally:
        if killed.returncode is None:
            killed.kill()
        await killed.wait()
    assets.write(range(40, 60))
    await assets.scan()

    async def repaired() -> bool:  # the dead one's wish that relays stand back holds for some seconds
        return (await assets.program("log", "verify", "--repair", "--json", code=None)).code == 0

    await until(repaired, 60)
    await assets.until_exact()
    assert (await assets.until_whole(assets=61))["assets"]["found"] == 61
    await goes_on(assets, name="killed.txt")


async def test_a_stranger_that_stands_only_in_the_log_is_kept(assets: Cataloguing, hand: InKafka | InJetStream) -> None:
    purge(hand)
    strangers = [stranger(number) for number in range(5)]
    hand.record("assets", strangers)
    (assets.root / "000.txt").write_text("its stream goes on in the log without its beginning")
    await assets.scan()
    await assets.until_exact()

    await assets.verify("--repair")

    found = list(dict.fromkeys(entry.data for entry in entries_of(hand.log, "assets") if b"/elsewhere" in entry.data))
    assert found == strangers
    await goes_on(assets, name="stranger.txt")


def stranger(number: int) -> bytes:
    event: dict[str, Any] = {"specversion": "1.0", "id": f"theirs-{number}", "source": "/elsewhere", "type": "noted", "data": {}}
    return json.dumps(event).encode()

"""`log verify` where the broker keeps no log: everything is sent again, and a projection whose inbox was lost has all of it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidestream.launcher.plan import Wishes
from sidestream.launcher.settings import LauncherSettings
from sidestream.launcher.system import System
from tests.brokers.run_files import run_file_on
from tests.brokers.servers import Server, running_server
from tests.integration.cataloguing import Cataloguing, write
from tests.integration.test_whole_line import APPS

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running_server("rabbitmq", tmp_path / "rabbitmq") as running:
        yield running


async def test_a_lost_inbox_is_filled_again_from_the_store(server: Server, tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root, range(40))
    wishes = Wishes(free_ports=True, topics=("assets", "scans"), environment={"SIDESTREAM_ASSET_ROOTS": str(root)})
    run_file = run_file_on("rabbitmq", APPS / "catalogue.yaml", tmp_path)
    settings = LauncherSettings(broker=server.address)
    async with System.start(run_file, folder=tmp_path / "system", wishes=wishes, settings=settings) as system:
        assets = Cataloguing(system, root, run_file)
        await assets.scan()
        await assets.until_exact()
        await system["asset-catalog"].app.kill()
        (inbox,) = system.folder.path.rglob("asset*catalog*/inbox.sqlite")
        shutil.rmtree(inbox.parent)
        await system["asset-catalog"].app.start()

        sent = await assets.verify("--repair")

        assert sent["assets"]["remedy"] == "sent to every inbox"
        assert sent["assets"]["stored"] == 40
        await assets.until_exact()

"""The demonstration of `make run`, from the first scan to the last table, on the memory backbone."""

import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from projections.activity import bootstrap as activity
from projections.asset_catalog import bootstrap as asset_catalog
from projections.order_book import bootstrap as order_book
from projections.tally import bootstrap as tally
from services.assets import bootstrap as assets
from services.bridge import bootstrap as bridge
from services.demo.doors import DemoFailed, Doors
from services.demo.playing import catch_up, play
from services.demo.script import write_script
from services.demo.showing import say_what_next, show
from services.orders import bootstrap as orders
from services.shipping import bootstrap as shipping
from services.votes import bootstrap as votes
from sidestream.backbone import MemoryBackbone
from sidestream.settings import Settings

APPS = {
    "votes": votes,
    "assets": assets,
    "bridge": bridge,
    "orders": orders,
    "shipping": shipping,
    "tally": tally,
    "asset_catalog": asset_catalog,
    "activity": activity,
    "order_book": order_book,
}


@pytest.fixture
async def doors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Doors]:
    """Every app in this process, behind its door."""
    monkeypatch.setenv("SIDESTREAM_ASSET_ROOTS", str(tmp_path))
    backbone = MemoryBackbone()
    async with AsyncExitStack() as stack:
        transports = {}
        for name, module in APPS.items():
            app = module.create_app(Settings(data=tmp_path / "data"), backbone)
            await stack.enter_async_context(app.router.lifespan_context(app))
            transports[name] = httpx.ASGITransport(app)
        yield await stack.enter_async_context(Doors({name: f"http://{name.replace('_', '-')}" for name in APPS}, transports.__getitem__))


async def test_the_demonstration_ends_with_what_was_worked_out_without_it(doors: Doors, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(20):
        (tree / f"{number}.py").write_text(str(number // 2))
    printed = Console(file=io.StringIO(), width=110)
    script = write_script()
    for _ in range(2):  # a second run finds everything done
        played = await play(doors, script, [(tree, ["*.tmp"])], printed.print)
        await catch_up(doors, script, played)
        right = await show(printed, doors, script, played)
        say_what_next(printed, doors)

        assert right
    assert played.votes == 300
    assert len(played.orders) == 20
    assert played.strangers == {"stored": 0, "duplicates": 3}
    assert played.scans[0]["result"]["unchanged"] == 20
    text = printed.file.getvalue()  # type: ignore[attr-defined]
    for expected in (
        "20 files",
        "text/x-python",
        "vote.cast",
        "till.opened",
        "shipped",
        "EUR",
        "projections rebuild tally",
        "http://activity/docs",
        "http://shipping/docs",
    ):
        assert expected in text


async def test_an_app_that_refuses_is_named(doors: Doors) -> None:
    with pytest.raises(DemoFailed, match=r"assets: POST http://assets/scans: 403: /etc"):
        await doors.post("assets", "/scans", {"path": "/etc"})

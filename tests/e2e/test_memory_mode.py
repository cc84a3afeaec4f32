"""`sidestream up --memory`, as somebody types it: all apps in one process, through their public doors, and nothing on disk."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]  # carries no types
import pytest

from sidestream.launcher.network import free_ports
from tests.parts import REPOSITORY
from tests.waiting import until

ORDER = {"customer": "ada", "currency": "EUR", "lines": [{"article": "tea", "quantity": 3, "unit_minor": 450}]}
PAYMENT = {"amount_minor": 1350, "currency": "EUR", "reference": "pay-1"}


class Running:
    """The process, and a client for each app."""

    def __init__(self, process: asyncio.subprocess.Process, doors: dict[str, httpx.AsyncClient], said_before: list[bytes]) -> None:
        self.process = process
        self.said_before = said_before
        self._doors = doors

    def __getitem__(self, app: str) -> httpx.AsyncClient:
        return self._doors[app]

    async def interrupt(self) -> tuple[int | None, str, str]:
        """Press Ctrl-C; return the exit code, and what it wrote to standard output since the addresses and to standard error."""
        self.process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(self.process.communicate(), 20)
        return self.process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def in_memory(folder: Path, roots: Path) -> AsyncIterator[Running]:
    """The apps of dapr.yaml on free ports, in one process that was started in an empty folder."""
    run_file, pipe = folder / "dapr.yaml", asyncio.subprocess.PIPE
    folder.mkdir()
    run_file.write_text(on_free_ports((REPOSITORY / "dapr.yaml").read_text()))
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).parent / "sidestream"), "up", "--memory", "--json", "-f", str(run_file)),
        cwd=folder,
        # Whatever it might want to keep at home or for a moment would be kept in the folder.
        env={**os.environ, "SIDESTREAM_ASSET_ROOTS": str(roots), "HOME": str(folder), "TMPDIR": str(folder)},
        stdout=pipe,
        stderr=pipe,
    )
    assert process.stdout is not None
    try:
        said = [await asyncio.wait_for(process.stdout.readline(), 60)]
        while said[-1] and not said[-1].startswith(b"{"):
            said.append(await asyncio.wait_for(process.stdout.readline(), 60))
        doors = {app["app"]: httpx.AsyncClient(base_url=app["url"], timeout=20) for app in json.loads(said[-1])["apps"]}
        yield Running(process, doors, said[:-1])
        for door in doors.values():
            await door.aclose()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def on_free_ports(text: str) -> str:
    ports = iter(free_ports(text.count("Port: ") + text.count("PPort: ")))
    text = re.sub(r"(Port): \d+", lambda found: f"{found[1]}: {next(ports)}", text)
    return (
        text.replace("appDirPath: .", f"appDirPath: {REPOSITORY}")
        .replace(": ./components", f": {REPOSITORY}/components")
        .replace("[./components]", f"[{REPOSITORY}/components]")
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A few files to be scanned."""
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    for number in range(30):
        (tree / "below" / f"{number}.py").write_text("x" * (number // 2))
    return tree


@pytest.fixture
async def running(tmp_path: Path, tree: Path) -> AsyncIterator[Running]:
    """Everything in one process."""
    async with in_memory(tmp_path / "started-here", tree) as running:
        yield running


async def answers(door: httpx.AsyncClient, path: str, expected: Any) -> None:
    """Wait until an answer is this."""
    found: Any = None

    async def is_right() -> bool:
        nonlocal found
        found = (await door.get(path)).json()
        return bool(found == expected)

    await until(is_right, what=lambda: f"{expected} at {path}, found {found};")


def everything_below(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


async def test_services_and_read_models_work_in_one_process_that_writes_nothing_and_ends_on_ctrl_c(
    running: Running, tmp_path: Path, tree: Path
) -> None:
    before = everything_below(tmp_path)
    for voter, option in (("ann", "cats"), ("bob", "dogs"), ("cid", "cats"), ("ann", "dogs")):
        assert (await running["votes"].post("/votes", json={"poll": "pets", "option": option, "voter": voter})).status_code == 202
    assert (await running["assets"].post("/scans", json={"path": str(tree)})).status_code == 202
    for _ in range(2):
        event = {"type": "till.opened", "source": "/till", "id": "1", "payload": {"float": 100}}
        assert (await running["bridge"].post("/events", json=event)).status_code == 202

    placed = await running["orders"].post("/orders", json=ORDER, headers={"x-correlation-id": "talk"})
    order = f"/orders/{placed.json()['order']}"
    assert (await running["orders"].post(f"{order}/payment", json=PAYMENT)).status_code == 200

    async def is_shipped() -> bool:
        return bool((await running["order-book"].get(order)).json().get("state") == "shipped")

    await until(is_shipped)
    pets = {"poll": "pets", "votes": 3, "options": [{"option": "cats", "votes": 2}, {"option": "dogs", "votes": 1}]}
    await answers(running["tally"], "/polls/pets", pets)
    sizes = [number // 2 for number in range(30)]
    summary = {"assets": 30, "bytes": sum(sizes), "duplicates": 15, "wasted": sum(sizes) // 2}
    await answers(running["asset-catalog"], "/summary", summary)
    await answers(running["asset-catalog"], "/types", {"types": [{"media_type": "text/x-python", "assets": 30, "bytes": sum(sizes)}]})

    async def activity_shows_all() -> bool:
        shown = (await running["activity"].get("/events", params={"limit": 1000})).json()["events"]
        kinds = [event["type"] for event in shown]
        return (kinds.count("vote.cast"), kinds.count("till.opened"), kinds.count("asset.discovered")) == (4, 1, 30)

    await until(activity_shows_all)
    assert files_open_for_writing(running.process.pid) == []
    code, _, err = await running.interrupt()
    assert (code, err.splitlines()[-1]) == (0, "Stopped.")
    assert "Traceback" not in err
    assert everything_below(tmp_path) == before


async def test_with_json_nothing_but_the_addresses_stands_on_standard_output(running: Running) -> None:
    assert running.said_before == []
    assert (await running.interrupt())[1] == ""


def files_open_for_writing(pid: int) -> list[str]:
    return [file.path for file in psutil.Process(pid).open_files() if getattr(file, "mode", "r") != "r"]


async def test_what_is_no_http_and_what_has_no_end_is_turned_away_and_the_apps_live_on(running: Running) -> None:
    for app in ("votes", "assets", "bridge", "orders", "shipping", "tally", "asset-catalog", "activity", "order-book"):
        url = running[app].base_url
        for garbage in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"GET / HTTP/9.9\r\n\r\n",
            b"POST /votes HTTP/1.1\r\ncontent-length: -5\r\n\r\n",
        ):
            assert b" 400 " in (await raw_answer(url.port, garbage)).split(b"\r\n")[0] + b" ", (app, garbage)
        assert (await running[app].get("/healthz")).status_code == 200
    endless = await running["votes"].post("/votes", content=five_megabytes(), headers={"content-type": "application/json"})
    assert (endless.status_code, endless.headers["content-type"]) == (413, "application/problem+json")
    assert (await running["activity"].get("/events")).json() == {"events": []}


async def raw_answer(port: int | None, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


async def five_megabytes() -> AsyncIterator[bytes]:
    """A body that does not say how long it will be."""
    for _ in range(80):
        yield b"[" * 65_536

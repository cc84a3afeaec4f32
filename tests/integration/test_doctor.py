"""`sidestream doctor` beside a real system: what it says when all is well, and what when somebody spoiled it."""

import json
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import yaml

from sidestream.doctor.broker_probes import probe_broker
from sidestream.doctor.probing import database_of
from sidestream.launcher.network import LOOPBACK, free_ports
from sidestream.launcher.plan import Wishes
from sidestream.launcher.settings import LauncherSettings
from sidestream.launcher.system import System
from tests.integration.sidestream_program import sidestream
from tests.parts import REPOSITORY
from tests.postgres import running_postgres
from tests.waiting import until

pytestmark = pytest.mark.timeout(300)
TOLD = {"PYTHONPATH": str(REPOSITORY), "SIDESTREAM_TOKENS": "on"}
KEYS = ("appPort", "daprHTTPPort", "daprGRPCPort", "metricsPort")


def run_file(folder: Path) -> Path:
    """Votes and tally on ports that stand in the file, so that the doctor knows them."""
    told = yaml.safe_load((REPOSITORY / "tests" / "apps" / "voting.yaml").read_text())
    ports = iter(free_ports(8))
    for app in told["apps"]:
        app |= {"appDirPath": str(REPOSITORY), **{key: next(ports) for key in KEYS}}
    told["common"] |= {
        "resourcesPath": str(REPOSITORY / "components"),
        "configFilePath": str(REPOSITORY / "components" / "configuration.yaml"),
    }
    file = folder / "dapr.yaml"
    file.write_text(yaml.safe_dump(told))
    return file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return run_file(tmp_path)


@pytest.fixture
async def system(file: Path, tmp_path: Path) -> AsyncIterator[System]:
    async with System.start(file, folder=tmp_path / "system", settings=LauncherSettings(broker="", tokens="on")) as running:
        yield running


async def findings(file: Path, code: int = 0) -> dict[str, dict[str, Any]]:
    """Ask the doctor, as somebody types it in the repository; return what it found by code."""
    ended = await sidestream("doctor", "--json", "-f", str(file), "--data", str(file.parent / "system"), code=code, **TOLD)
    return {each["code"]: each for each in json.loads(ended.out)["findings"]}


async def test_a_system_that_runs_as_it_should_has_no_findings(system: System, file: Path) -> None:
    assert await findings(file) == {}


async def test_a_broker_that_forgets_is_found_while_it_runs(system: System, file: Path) -> None:
    with redis.Redis(port=system.broker.port) as client:
        client.config_set("appendonly", "no", "maxmemory-policy", "allkeys-lru")
        found = await findings(file, code=1)
        assert found.keys() == {"SD601", "SD602"}
        assert "allkeys-lru" in found["SD602"]["found"]
        client.config_set("appendonly", "yes", "maxmemory-policy", "noeviction")
    assert await findings(file) == {}


async def test_a_log_that_somebody_trimmed_is_found(system: System, file: Path) -> None:
    with redis.Redis(port=system.broker.port) as client:
        for number in range(3):
            client.xadd("votes", {"data": b"{}"}, id=f"{number + 1}-0")
        client.xtrim("votes", maxlen=1, approximate=False)
    assert "up to 2-" in (await findings(file, code=1))["SD608"]["found"]


async def test_a_dead_sidecar_is_found_and_so_is_its_silence(system: System, file: Path) -> None:
    await system["tally"].sidecar.kill()
    found = await findings(file, code=1)
    assert (list(found), found["SD503"]["place"]) == (["SD503"], "app tally")
    with redis.Redis(port=system.broker.port) as client:
        async with httpx.AsyncClient(base_url=system["tally"].url, timeout=20) as door:

            async def silent() -> bool:
                """Add to the log until the projection has found enough events that nobody rang for."""
                client.xadd("votes", {"data": b"{}"})
                return bool((await door.get("/generations")).json()["health"]["sidecar_silent"])

            await until(silent, 60)
    assert "SD506" in await findings(file, code=1)


async def test_a_sidecar_that_hangs_counts_as_away(system: System, file: Path) -> None:
    system["votes"].sidecar.pause()
    try:
        found = await findings(file, code=1)
    finally:
        system["votes"].sidecar.resume()
    assert (found["SD510"]["place"], "timed out" in found["SD510"]["found"]) == ("sidecar of votes", True)


async def test_a_dead_app_and_a_frozen_one_are_told_apart_with_the_lines_that_start_them(system: System, file: Path) -> None:
    await system["tally"].app.kill()
    system["votes"].app.pause()
    try:
        found = await findings(file, code=1)
    finally:
        system["votes"].app.resume()
    assert {code: each["place"] for code, each in found.items()} == {"SD508": "app tally", "SD510": "app votes"}
    assert found["SD508"]["remedy"] == system["tally"].app.program.line()
    assert system["votes"].app.program.line() in found["SD510"]["remedy"]


async def test_an_app_that_was_left_out_is_no_dead_one(file: Path, tmp_path: Path) -> None:
    wishes = Wishes(leave_out=("tally",))
    async with System.start(file, folder=tmp_path / "system", wishes=wishes, settings=LauncherSettings(broker="", tokens="on")) as system:
        found = await findings(file)
        assert (found["SD508"]["severity"], found["SD508"]["place"]) == ("note", "app tally")
        assert found["SD508"]["remedy"] == system["tally"].app.program.line()
        assert "SD505" not in found
        await system["votes"].app.kill()
        await findings(file, code=1)  # an error beside the note: this one is dead


async def test_a_dead_broker_is_an_error_with_the_line_that_starts_it(system: System, file: Path) -> None:
    await system.broker.kill()
    assert (await findings(file, code=1))["SD609"]["remedy"] == system.broker.program.line()


async def test_a_live_generation_that_cannot_be_read_is_found_and_nothing_is_made_in_its_place(system: System, file: Path) -> None:
    await system["tally"].app.kill()
    rows = next((file.parent / "system").rglob("tally/g1.sqlite"))
    for suffix in ("-wal", "-shm"):
        rows.with_name(rows.name + suffix).unlink(missing_ok=True)
    rows.write_bytes(b"garbage " * 2000)
    assert (await findings(file, code=1))["SD703"]["remedy"].startswith("sidestream projections rebuild tally")
    rows.unlink()
    assert "g1" in (await findings(file, code=1))["SD703"]["found"]
    assert not rows.exists()


async def test_a_generation_older_than_its_code_is_found(system: System, file: Path) -> None:
    with closing(sqlite3.connect(next((file.parent / "system").rglob("tally/catalog.sqlite")))) as database, database:
        database.execute("UPDATE generations SET version = version - 1")
    found = await findings(file, code=1)
    assert found["SD701"]["remedy"] == "sidestream projections rebuild tally"


async def test_nothing_that_runs_is_a_note_and_makes_nothing(file: Path) -> None:
    before = sorted(file.parent.rglob("*"))
    found = await findings(file)
    assert found.keys() == {"SD702", "SD901"}
    assert {each["severity"] for each in found.values()} == {"note"}
    assert sorted(file.parent.rglob("*")) == before


async def test_a_projection_that_cannot_be_imported_is_said(file: Path) -> None:
    broken = file.parent / "projections_broken"
    broken.mkdir()
    (broken / "__init__.py").touch()
    (broken / "bootstrap.py").write_text("def (")
    file.write_text(file.read_text().replace("projections.tally", "projections_broken"))
    ended = await sidestream("doctor", "-f", str(file), "--data", str(file.parent / "system"))
    assert "read models: not looked at: " in ended.out
    assert "invalid syntax" in ended.out


async def test_a_port_that_somebody_else_has_is_found(file: Path) -> None:
    port = yaml.safe_load(file.read_text())["apps"][0]["appPort"]
    with socket.socket() as listening:
        listening.bind((LOOPBACK, port))
        listening.listen()
        found = await findings(file, code=1)
    assert (found["SD801"]["place"], str(port) in found["SD801"]["found"]) == ("app votes", True)


async def test_an_old_daprd_is_passed_over_and_said(file: Path, tmp_path: Path) -> None:
    program = tmp_path / "old" / ".dapr" / "bin" / "daprd"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho 1.15.3\n")
    program.chmod(0o755)
    told = {"DAPR_RUNTIME_PATH": str(tmp_path / "old"), "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    ended = await sidestream("doctor", "--offline", "--only", "SD502", "-f", str(file), code=1, **told)
    assert "found 1.15.3" in ended.out


def test_the_clock_of_a_database_is_asked() -> None:
    with running_postgres() as postgres:
        seen = database_of(postgres.url)
    assert (seen.problem, abs(seen.skew) < 1.0) == ("", True)


def test_a_database_that_is_away_is_said_without_who_logs_in() -> None:
    seen = database_of(f"postgresql://ada:secret@127.0.0.1:{free_ports(1)[0]}/models")
    assert "does not answer" in seen.problem
    assert "secret" not in seen.where + seen.problem


def test_a_broker_whose_address_is_not_written_yet_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "sidestream up" in probe_broker(REPOSITORY / "components", "pubsub", ["votes"], {}).problem
    assert list(tmp_path.iterdir()) == []

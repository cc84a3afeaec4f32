"""A system of two tiny apps with real sidecars and a real broker: it starts, survives its parts, stops, leaves nothing."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import redis

from sidestream.launcher.plan import Wishes
from sidestream.launcher.problem import CannotStart
from sidestream.launcher.system import System
from tests.parts import REPOSITORY, TWO_APPS, running_system
from tests.waiting import until


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with running_system(tmp_path_factory.mktemp("system")) as system:
        yield system


in_one_loop = pytest.mark.asyncio(loop_scope="module")


def told(system: System, app: str) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(f"{system[app].url}/told", timeout=30).json()
    return answer


def publish(system: System, text: str) -> int:
    url, headers = f"{system['left'].sidecar_url}/v1.0/publish/pubsub/probe", {"dapr-api-token": system["left"].api_token}
    return httpx.post(url, json={"text": text}, headers=headers, timeout=20).status_code


def entries(system: System) -> int:
    with redis.Redis(port=system.broker.port) as client:
        return int(client.xlen("probe"))


@in_one_loop
async def test_an_app_is_told_who_it_is_and_what_dapr_yaml_adds(system: System) -> None:
    assert told(system, "right") == told(system, "right") | {"app_id": "right", "greeting": "hello"}


@in_one_loop
async def test_a_publish_through_the_sidecar_stands_in_the_broker(system: System) -> None:
    before = entries(system)

    assert publish(system, "one") == 204
    assert entries(system) == before + 1


@in_one_loop
async def test_an_app_that_dies_is_named_once_and_can_be_started_again(system: System) -> None:
    pair = system["left"]
    os.kill(pair.app.pid, 9)
    await until(lambda: system.deaths == ["left was ended by SIGKILL"])
    assert not pair.app.alive
    assert pair.sidecar.alive

    await pair.app.start()
    await pair.ready()

    assert told(system, "left")["app_id"] == "left"
    assert "APP_ID=left" in (system.folder.logs / "launcher.log").read_text()


@in_one_loop
async def test_a_part_that_a_test_kills_is_no_death(system: System) -> None:
    before = list(system.deaths)

    await system["right"].sidecar.kill()
    await system["right"].sidecar.start()
    await system["right"].ready()

    assert system.deaths == before


@in_one_loop
async def test_a_killed_broker_comes_back_with_its_log_on_its_port(system: System) -> None:
    publish(system, "kept")
    before = entries(system)

    await system.broker.kill()
    await system.broker.start()
    await system.broker.ready()

    assert entries(system) == before
    await until(lambda: publish(system, "after") == 204)


async def test_a_stop_leaves_no_process_not_even_a_child_of_an_app(tmp_path: Path) -> None:
    async with running_system(tmp_path, environment={"ECHO_CHILD": "1"}) as system:
        groups = [part.pid for pair in system for part in (pair.app, pair.sidecar)]
    await until(lambda: [group for group in groups if group_exists(group)] == [])


async def test_a_second_start_finds_log_and_port_again(tmp_path: Path) -> None:
    async with running_system(tmp_path) as system:
        publish(system, "first")
        port = system.broker.port
    async with running_system(tmp_path) as system:
        assert (entries(system), system.broker.port) == (1, port)


async def test_a_left_out_app_is_not_started_and_its_sidecar_can_publish(tmp_path: Path) -> None:
    async with running_system(tmp_path, leave_out=("left",)) as system:
        assert not system["left"].app.alive
        assert publish(system, "by hand") == 204


async def test_a_sidecar_that_ends_at_start_is_started_again_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sidestream.launcher.plan import find_daprd

    program = tmp_path / "runtime" / ".dapr" / "bin" / "daprd"
    program.parent.mkdir(parents=True)
    program.write_text(
        "#!/bin/sh\n# components-contrib/nameresolution/nameformat.\n"
        'if [ "$1" = --version ]; then echo 1.18.1; exit; fi\n'
        f'if [ ! -e "{tmp_path}/tried-$2" ]; then touch "{tmp_path}/tried-$2"; echo no broker; exit 1; fi\n'
        f'exec "{find_daprd(REPOSITORY).path}" "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("DAPR_RUNTIME_PATH", str(tmp_path / "runtime"))

    async with running_system(tmp_path / "system") as system:
        assert [pair.sidecar.starts for pair in system] == [2, 2]
        assert "Its last words: `no broker`. It is started again (2 of 3)" in (system.folder.logs / "launcher.log").read_text()


async def test_an_app_that_crashes_at_start_is_one_sentence_and_nothing_is_left(tmp_path: Path) -> None:
    run_file = tmp_path / "dapr.yaml"
    run_file.write_text(TWO_APPS.read_text().replace("tests.apps.echo", "tests.apps.crash").replace("../..", str(REPOSITORY)))
    wishes = Wishes(free_ports=True)

    with pytest.raises(
        CannotStart, match="it ended with exit code 1 before it was healthy. Its last words: `crash: this app never starts`"
    ):
        async with System.start(run_file, folder=tmp_path / "system", wishes=wishes):
            pytest.fail("it started")


def group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True

"""`sidestream reset` deletes nothing while anybody who was started by hand still uses the folder."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sidestream.cli.main import root
from sidestream.launcher.folder import SystemFolder
from sidestream.launcher.holding import holders
from sidestream.launcher.network import LOOPBACK, free_ports
from sidestream.launcher.problem import CannotStart

HOLD = "import sys; held = open(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
RUN_FILE = """
version: 1
apps:
  - appID: till
    appDirPath: .
    command: [python, -m, services.till]
    appPort: {}
    daprHTTPPort: {}
    daprGRPCPort: {}
    metricsPort: {}
"""
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has a file open")


@pytest.fixture
def place(tmp_path: Path) -> SystemFolder:
    """A folder with a store and a broker's file."""
    place = SystemFolder(tmp_path / ".sidestream")
    for file in (place.data / "stores" / "orders.sqlite", place.broker / "appendonly.aof"):
        file.parent.mkdir(parents=True)
        file.write_text("what must not be lost")
    return place


@contextmanager
def somebody_with(file: Path) -> "Iterator[subprocess.Popen[str]]":
    """Start a process by hand that has the file open."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


def reset(place: SystemFolder, *options: str, answer: str = "") -> tuple[int, str]:
    """Run the verb; return its exit code and all that it says."""
    done = CliRunner().invoke(
        root, ["reset", "--data", str(place.path), "-f", str(place.path.parent / "dapr.yaml"), *options], input=answer
    )
    problem = done.exception if isinstance(done.exception, CannotStart) else ""
    return done.exit_code, f"{done.output}{problem}"


@needs_proc
@pytest.mark.parametrize("held", ["data/stores/orders.sqlite", "broker/appendonly.aof"])
@pytest.mark.parametrize("options", [["--yes"], []])
def test_files_that_a_process_has_open_are_not_deleted_and_the_process_is_named(place: SystemFolder, held: str, options: list[str]) -> None:
    with somebody_with(place.path / held) as process:
        code, said = reset(place, *options, answer="y\n")
        assert code != 0
        assert f"process {process.pid} (" in said
        assert f"has {held} open: end it with `kill {process.pid}`" in said
        assert "Nothing was deleted." in said
        assert "Delete every event" not in said, "nobody is asked before it is known that it can be done"
        assert (place.data / "stores" / "orders.sqlite").read_text() == "what must not be lost"
    assert reset(place, "--yes")[0] == 0
    assert not place.data.exists()


@needs_proc
def test_files_beside_the_folder_and_of_this_process_hold_nothing_back(place: SystemFolder, tmp_path: Path) -> None:
    beside = tmp_path / ".sidestream-other"
    beside.write_text("")
    with somebody_with(beside), (place.data / "stores" / "orders.sqlite").open():
        assert holders(place) == []


def test_an_app_of_the_run_file_that_answers_is_named_and_nothing_is_deleted(place: SystemFolder, tmp_path: Path) -> None:
    ports = free_ports(4)
    (tmp_path / "dapr.yaml").write_text(RUN_FILE.format(*ports))
    with socket.create_server((LOOPBACK, ports[0])):
        code, said = reset(place, "--yes")
        assert code != 0
        assert f"app till of dapr.yaml answers at {LOOPBACK}:{ports[0]}: end it with Ctrl-C where it runs" in said
        assert place.data.exists()
    assert reset(place, "--yes")[0] == 0


def test_another_folder_is_not_held_by_the_apps_of_this_run_file(tmp_path: Path) -> None:
    ports = free_ports(4)
    (tmp_path / "dapr.yaml").write_text(RUN_FILE.format(*ports))
    other = SystemFolder(tmp_path / "elsewhere")
    other.data.mkdir(parents=True)
    with socket.create_server((LOOPBACK, ports[0])):
        done = CliRunner().invoke(root, ["reset", "--yes", "--data", str(other.path), "-f", str(tmp_path / "dapr.yaml")])
    assert done.exit_code == 0
    assert not other.data.exists()


def test_who_says_no_keeps_everything(place: SystemFolder) -> None:
    assert reset(place, answer="n\n")[0] == 0
    assert (place.data / "stores" / "orders.sqlite").exists()

"""`sidestream up` as somebody types it: what it prints, how it ends, with which exit code."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from sidestream.launcher.network import free_ports
from tests.brokers.waiting import wait_until
from tests.parts import REPOSITORY, TWO_APPS

# Never somebody else's broker, whatever the environment names.
ENVIRONMENT = {**os.environ, "SIDESTREAM_BROKER": ""}
SIDESTREAM = [str(Path(sys.executable).parent / "sidestream")]


def on_free_ports(source: Path, folder: Path) -> Path:
    """Write a run file of the tests' apps again, into a folder, on ports that are free."""
    text = source.read_text().replace("../..", str(REPOSITORY))
    wanted = [line.split(": ")[1] for line in text.splitlines() if "Port: " in line]
    for port, free in zip(wanted, free_ports(len(wanted)), strict=True):
        text = text.replace(f": {port}\n", f": {free}\n")
    path = folder / "dapr.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    """The two tiny apps."""
    return on_free_ports(TWO_APPS, tmp_path)


@contextmanager
def up(run_file: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    command = [*SIDESTREAM, "up", "-f", str(run_file), "--json", *options]
    # Errors go to a file: a pipe that nobody reads would stop the program when it is full.
    with (run_file.parent / "stderr").open("w") as stderr:
        process = subprocess.Popen(command, cwd=REPOSITORY, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def addresses(process: "subprocess.Popen[str]") -> list[dict[str, Any]]:
    assert process.stdout is not None
    apps: list[dict[str, Any]] = json.loads(process.stdout.readline())["apps"]
    return apps


def refused(run_file: Path, *options: str) -> str:
    done = subprocess.run(
        [*SIDESTREAM, "up", "-f", str(run_file), *options], cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2, done.stderr
    return " ".join(done.stderr.split())


def processes_below(folder: Path) -> list[str]:
    """Return the command lines of processes that name the folder, which every daprd and the broker do."""
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout.splitlines()
    return [line for line in found if f"{folder}/.sidestream" in line]


def gone(folder: Path, seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while processes_below(folder) and time.monotonic() < end:
        time.sleep(0.05)
    return not processes_below(folder)


def test_a_system_is_one_at_a_time_in_its_folder_and_stops_in_order(run_file: Path) -> None:
    with up(run_file) as process:
        for app in addresses(process):
            assert httpx.get(f"{app['url']}/docs", timeout=30).status_code == 200
            assert httpx.get(f"{app['sidecar']}/v1.0/healthz", timeout=30).status_code == 204
        assert f"a system runs on this folder already (process {process.pid})" in refused(run_file)
        reset = subprocess.run([*SIDESTREAM, "reset", "--yes", "--data", run_file.parent / ".sidestream"], capture_output=True, text=True)
        assert (reset.returncode, "so a reset is refused" in " ".join(reset.stderr.split())) == (2, True)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert gone(run_file.parent, seconds=0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends the children of a process that was killed")
def test_a_launcher_that_is_killed_leaves_no_process(run_file: Path) -> None:
    with up(run_file) as process:
        urls = [app["url"] for app in addresses(process)]
        process.kill()
        process.wait()
        assert gone(run_file.parent)
    for url in urls:
        with pytest.raises(httpx.TransportError):
            httpx.get(url, timeout=30)


def test_a_part_that_died_is_said_and_shows_in_the_exit_code(run_file: Path) -> None:
    with up(run_file, "--except", "right") as process:
        addresses(process)
        [pid] = subprocess.run(["pgrep", "-P", str(process.pid), "-f", "tests.apps.echo"], capture_output=True, text=True).stdout.split()
        os.kill(int(pid), signal.SIGKILL)
        log = run_file.parent / ".sidestream" / "logs" / "launcher.log"
        wait_until(lambda: "left was ended by SIGKILL" in log.read_text(), 30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 1
    said = log.read_text()
    assert "right is left to you. Start it with:" in said
    assert said.index("APP_ID=right") < said.index("left was ended by SIGKILL") < said.index("APP_ID=left")


def test_a_command_runs_when_everything_is_healthy_and_finds_the_addresses(run_file: Path) -> None:
    command = f"{sys.executable} -c 'import os; print(os.environ[\"SIDESTREAM_URL_LEFT\"])'"
    with up(run_file, "--memory", "--then", command) as process:
        left, _ = addresses(process)
        assert process.stdout is not None
        assert process.stdout.readline().strip() == left["url"]


def test_in_one_process_all_apps_share_one_backbone_and_nothing_is_written(run_file: Path) -> None:
    with up(run_file, "--memory") as process:
        left, right = (httpx.get(f"{app['url']}/told", timeout=30).json() for app in addresses(process))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert (left["app_id"], right["app_id"]) == ("left", "right")
    assert left["backbone"] == right["backbone"]
    assert not (run_file.parent / ".sidestream").exists()


def test_a_port_in_use_is_one_sentence_that_names_who_wants_it(run_file: Path) -> None:
    port = int(next(line for line in run_file.read_text().splitlines() if "daprHTTPPort" in line).split(": ")[1])
    with socket.socket() as holder:
        # As servers do: otherwise a connection of an earlier test that lingers on the port is in the way.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", port))
        holder.listen()
        assert f"port {port}: expected it free for daprHTTPPort of app left" in refused(run_file)


def test_a_missing_component_is_one_sentence(run_file: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    run_file.write_text(run_file.read_text().replace(f"resourcesPath: {REPOSITORY}/tests/apps/components", f"resourcesPath: {empty}"))
    assert "app left: expected a component `pubsub`" in refused(run_file)


def test_an_unknown_app_is_refused_with_those_that_there_are(run_file: Path) -> None:
    assert "--except middle: expected an app of" in refused(run_file, "--except", "middle")


def test_an_error_can_be_had_as_json(tmp_path: Path) -> None:
    answer = json.loads(refused(tmp_path / "dapr.yaml", "--json"))

    assert answer["error"]["code"] == "cannot-start"
    assert "no such file" in answer["error"]["message"]


def test_a_broker_alone_writes_its_address_where_components_look(tmp_path: Path) -> None:
    data = tmp_path / ".sidestream"
    process = subprocess.Popen([*SIDESTREAM, "broker", "start", "--json", "--data", str(data)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())["broker"]
        assert json.loads((data / "secrets.json").read_text()) == {"redisHost": address}
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        process.communicate()
    assert gone(tmp_path, seconds=0)
    assert json.loads(
        subprocess.run([*SIDESTREAM, "reset", "--yes", "--json", "--data", str(data)], capture_output=True, text=True).stdout
    ) == {"deleted": ["broker", "logs", "secrets.json"]}

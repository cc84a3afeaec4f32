"""The system of docs/adopting.md, written out into an empty folder and run: in one process, and beside real sidecars."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from sidestream.launcher.network import free_ports
from tests.brokers.waiting import wait_until
from tests.parts import REPOSITORY

_BLOCK = re.compile(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", re.DOTALL)
_PROGRAMS = Path(sys.executable).parent
ENVIRONMENT = {**os.environ, "SIDESTREAM_BROKER": "", "PATH": f"{_PROGRAMS}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of the page, on free ports."""
    files = dict(_BLOCK.findall((REPOSITORY / "docs" / "adopting.md").read_text()))
    files["hits/__main__.py"] = files["web/__main__.py"].replace("web.bootstrap", "hits.bootstrap")
    ports = iter(free_ports(files["dapr.yaml"].count("Port: ")))
    files["dapr.yaml"] = re.sub(r"Port: \d+", lambda _: f"Port: {next(ports)}", files["dapr.yaml"])
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@contextmanager
def up(folder: Path, *options: str) -> Iterator[dict[str, str]]:
    """Run the system; yield where each app answers."""
    command = [str(_PROGRAMS / "sidestream"), "up", "--json", *options]
    with (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        assert process.stdout is not None
        said = next((line for line in process.stdout if line.startswith("{")), "")
        assert said, (folder / "stderr").read_text()
        apps: list[dict[str, Any]] = json.loads(said)["apps"]
        yield {app["app"]: app["url"] for app in apps}
    finally:
        process.terminate()
        process.communicate(timeout=60)


def seen(urls: dict[str, str], page: str) -> dict[str, int]:
    """Look at a page, and ask how often it was seen, as somebody who waits for the own view."""
    posted = httpx.post(f"{urls['web']}/views/{page}", timeout=30)
    assert posted.status_code == 202, posted.text
    asked = {"Sidestream-Consistency": posted.headers["Sidestream-Consistency"], "Sidestream-Wait": "30s"}
    found: dict[str, int] = httpx.get(f"{urls['hits']}/pages/{page}", headers=asked, timeout=60).json()
    return found


def sidestream(folder: Path, *words: str) -> str:
    done = subprocess.run([_PROGRAMS / "sidestream", *words], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_system_of_the_page_runs_in_one_process(folder: Path) -> None:
    with up(folder, "--memory") as urls:
        assert [seen(urls, "home") for _ in range(2)] == [{"views": 1}, {"views": 2}]
    assert not (folder / ".sidestream").exists()


def test_the_system_of_the_page_runs_beside_sidecars_is_rebuilt_and_found_without_errors(folder: Path) -> None:
    with up(folder) as urls:
        assert [seen(urls, "home") for _ in range(2)] == [{"views": 1}, {"views": 2}]
        assert "g2" in sidestream(folder, "projections", "rebuild", "hits")
        wait_until(lambda: httpx.get(f"{urls['hits']}/pages/home", timeout=30).headers["Sidestream-Generation"] == "g2", 60)
        assert seen(urls, "home") == {"views": 3}
        found = json.loads(sidestream(folder, "doctor", "--json"))
        assert [finding for finding in found["findings"] if finding["severity"] == "error"] == []

"""`python -m services.assets scan DIR` against a running service: what it prints and its exit codes."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from services.assets.bootstrap import create_app
from sidestream.backbone import MemoryBackbone
from sidestream.settings import Settings
from tests.brokers.waiting import wait_until

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A service on a free port."""
    monkeypatch.setenv("SIDESTREAM_ASSET_ROOTS", str(tmp_path))
    server = uvicorn.Server(uvicorn.Config(create_app(Settings(data=tmp_path / "data"), MemoryBackbone()), port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started, 30)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def scan(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.assets", "scan", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_scan_is_followed_to_its_end(url: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.py").write_text("a")
    (tree / "b.tmp").write_text("b")
    shown = scan(str(tree), "--url", url, "--exclude", "*.tmp")
    as_json = scan(str(tree), "--url", url, "--json")

    assert (shown.returncode, shown.stdout) == (0, f"{tree}: 1 discovered, 0 changed, 0 moved, 0 deleted, 0 unchanged, 0 skipped\n")
    assert as_json.returncode == 0
    assert json.loads(as_json.stdout)["result"]["discovered"] == 1


def test_what_was_asked_wrongly_is_told_from_a_service_that_is_away(url: str, tmp_path: Path) -> None:
    outside, nothing = scan("/etc", "--url", url), scan(str(tmp_path / "nothing"), "--url", url)
    away = scan(str(tmp_path), "--url", "http://127.0.0.1:1")

    assert (outside.returncode, nothing.returncode, away.returncode) == (2, 2, 1)
    assert "SIDESTREAM_ASSET_ROOTS" in outside.stderr
    assert "found nothing at this path" in nothing.stderr
    assert "make run" in away.stderr
    assert "Traceback" not in outside.stderr + nothing.stderr + away.stderr

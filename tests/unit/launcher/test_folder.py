"""The folder of a system belongs to one process at a time."""

import json
import os
from pathlib import Path

import pytest

from sidestream.launcher.folder import SystemFolder
from sidestream.launcher.problem import CannotStart


def test_a_folder_in_use_is_refused_with_the_holder_s_process_id(tmp_path: Path) -> None:
    expected = pytest.raises(CannotStart, match=f"process {os.getpid()}.*so a reset is refused")
    with SystemFolder(tmp_path).claimed("a start"), expected, SystemFolder(tmp_path).claimed("a reset"):
        pytest.fail("both hold it")


def test_a_folder_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with SystemFolder(tmp_path).claimed("a start"):
            pass


def test_which_apps_are_left_to_somebody_else_is_known_as_long_as_the_system_runs(tmp_path: Path) -> None:
    place, expected = SystemFolder(tmp_path), pytest.raises(CannotStart, match=f"process {os.getpid()}\\)")
    assert place.left_out == frozenset()
    with place.claimed("a start", ("tally", "votes")):
        assert SystemFolder(tmp_path).left_out == {"tally", "votes"}
        with expected, SystemFolder(tmp_path).claimed("a reset"):
            pytest.fail("both hold it")
    assert place.left_out == frozenset()
    (tmp_path / "running").write_text("4711\ntally\n")
    assert place.left_out == frozenset(), "killed: nobody holds the folder"


def test_secrets_are_readable_by_the_owner_only(tmp_path: Path) -> None:
    place = SystemFolder(tmp_path)

    place.write_secrets("127.0.0.1:7000")

    assert json.loads(place.secrets.read_text()) == {"redisHost": "127.0.0.1:7000"}
    assert place.secrets.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["secrets.json"]


def test_a_server_of_somebody_else_is_remembered_until_the_embedded_one_is_named(tmp_path: Path) -> None:
    place = SystemFolder(tmp_path)
    assert not SystemFolder(tmp_path).named_server

    place.name_server("elsewhere:6379")
    assert SystemFolder(tmp_path).named_server == "elsewhere:6379"

    place.broker.mkdir()
    (place.broker / "port").write_text("7000\n")
    place.name_server("127.0.0.1:7000")
    assert not SystemFolder(tmp_path).named_server


def test_a_wipe_takes_log_stores_and_read_models_and_nothing_else(tmp_path: Path) -> None:
    for name in ("broker", "data", "logs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    (tmp_path / "mine.txt").write_text("kept")

    assert SystemFolder(tmp_path).wipe() == ["broker", "data", "logs"]
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]

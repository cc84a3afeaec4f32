"""dapr.yaml is read as Dapr's own CLI reads it, and what it cannot mean is said in one sentence."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sidestream.launcher.problem import CannotStart
from sidestream.launcher.runfile import read

REPOSITORY = Path(__file__).parents[3]


def app(**changes: Any) -> dict[str, Any]:
    entry = {
        "appID": "tally",
        "appDirPath": ".",
        "command": ["python", "-m", "projections.tally"],
        "appPort": 8201,
        "daprHTTPPort": 3611,
        "daprGRPCPort": 50111,
        "metricsPort": 9111,
    }
    return {**entry, **changes}


def written(folder: Path, content: Any) -> Path:
    path = folder / "dapr.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_an_app_inherits_what_is_common_and_its_own_values_win(tmp_path: Path) -> None:
    common = {"env": {"A": "common", "B": 2, "C": True}, "logLevel": "error", "resourcesPath": "./components", "configFilePath": "c.yaml"}
    path = written(tmp_path, {"version": 1, "common": common, "apps": [app(env={"A": "own"}, logLevel="info")]})

    [tally] = read(path).apps

    assert tally.environment == {"A": "own", "B": "2", "C": "true"}
    assert tally.log_level == "info"
    assert tally.resource_folders == [tmp_path / "components"]
    assert tally.config == tmp_path / "c.yaml"
    assert tally.folder == tmp_path


def test_an_apps_own_paths_start_at_its_folder(tmp_path: Path) -> None:
    path = written(tmp_path, {"version": 1, "apps": [app(appDirPath="tally", resourcesPath="res", configFilePath="../c.yaml")]})

    [tally] = read(path).apps

    assert tally.resource_folders == [tmp_path / "tally" / "res"]
    assert tally.config == tmp_path / "c.yaml"


def test_the_repositorys_own_file_can_be_read_and_every_app_can_run_in_one_process() -> None:
    modules = {entry.name: entry.module for entry in read(REPOSITORY / "dapr.yaml").apps}

    assert modules["votes"] == "services.votes"
    assert modules["asset-catalog"] == "projections.asset_catalog"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param("apps: [", "not YAML", id="not YAML"),
        pytest.param("", "the file: ", id="empty"),
        pytest.param({"version": 1, "apps": []}, "apps: ", id="no apps"),
        pytest.param({"apps": [app()]}, "version: expected a value, found none", id="no version"),
        pytest.param({"version": 1, "apps": [app(appPort="http")]}, "app tally › appPort", id="a port that is a word"),
        pytest.param({"version": 1, "apps": [app(appPort=99999)]}, "found 99999", id="a port that is too large"),
        pytest.param({"version": 1, "apps": [app(appID="Tally_1")]}, "found 'Tally_1'", id="a name that is no DNS name"),
        pytest.param(
            {"version": 1, "apps": [app(), app(appID="second")]}, "appPort 8201 of app second is taken by appPort of app tally", id="twin"
        ),
        pytest.param({"version": 1, "apps": [app(appHealthProbe=3)]}, "this key is not understood", id="an unknown key"),
        pytest.param({"version": 1, "apps": ["tally"]}, "app number 1", id="an app that is a word"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_with_its_place(tmp_path: Path, content: Any, sentence: str) -> None:
    path = written(tmp_path, content)

    with pytest.raises(CannotStart) as refused:
        read(path)

    assert sentence in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_missing_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="no such file. Start in the folder that holds dapr.yaml"):
        read(tmp_path / "dapr.yaml")


def test_an_app_that_is_no_python_module_cannot_run_in_one_process(tmp_path: Path) -> None:
    [node] = read(written(tmp_path, {"version": 1, "apps": [app(command=["node", "index.js"])]})).apps

    with pytest.raises(CannotStart, match="found `node index.js`"):
        _ = node.module

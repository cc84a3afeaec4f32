"""Finding projections by the string in dapr.yaml."""

from pathlib import Path

import pytest
import structlog

from sidestream.cli.declared import declared, named
from sidestream.errors import ConfigurationError
from tests.unit.cli.run_files import a_run_file, same_path

__all__ = ["same_path"]


def test_projections_are_found_and_services_are_not(tmp_path: Path) -> None:
    with declared(a_run_file(tmp_path, "services.votes", "projections.tally", "projections.asset_catalog"), None) as found:
        assert [each.projection.name for each in found] == ["tally", "asset_catalog"]


def test_a_service_that_follows_the_log_is_found_too(tmp_path: Path) -> None:
    with declared(a_run_file(tmp_path, "services.orders", "services.shipping", "services.nowhere"), None) as found:
        assert [each.projection.name for each in found] == ["shipping"]


def test_a_projection_is_named_by_itself_or_by_its_app(tmp_path: Path) -> None:
    with declared(a_run_file(tmp_path, "projections.asset_catalog"), None) as found:
        assert named(found, "asset_catalog") is named(found, "asset-catalog")
        with pytest.raises(ConfigurationError, match=r"which has asset_catalog; found 'tally'"):
            named(found, "tally")


def test_read_models_lie_where_the_apps_keep_them(tmp_path: Path) -> None:
    with declared(a_run_file(tmp_path, "projections.tally"), None) as found, found[0].read_models() as read_models:
        assert read_models.generations() == ()
    assert (tmp_path / ".sidestream/data/read-models").is_dir()


def test_a_variable_of_the_process_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDESTREAM_DATA", str(tmp_path / "elsewhere"))
    with declared(a_run_file(tmp_path, "projections.tally"), None) as found, found[0].read_models():
        assert (tmp_path / "elsewhere/read-models").is_dir()


def test_the_working_folder_is_as_before_in_the_end(tmp_path: Path) -> None:
    before = Path.cwd()
    with declared(a_run_file(tmp_path, "projections.tally"), None):
        assert Path.cwd() == tmp_path
    assert Path.cwd() == before


def test_a_missing_run_file_or_module_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"dapr\.yaml: no such file"), declared(tmp_path / "dapr.yaml", None):
        pass
    file = a_run_file(tmp_path, "projections.nowhere")
    with pytest.raises(ConfigurationError, match=r"projections\.nowhere.*Correct the command"), declared(file, None):
        pass


def test_what_is_logged_meanwhile_is_not_mixed_into_what_a_verb_prints(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], same_path: None
) -> None:
    with declared(a_run_file(tmp_path, "projections.tally"), None):
        structlog.get_logger().info("folding given up")
    out, err = capfd.readouterr()
    assert (out, "folding given up" in err) == ("", True)

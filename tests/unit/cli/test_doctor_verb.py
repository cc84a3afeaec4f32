"""`sidestream doctor` as a verb: what it prints, how it ends, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sidestream.cli.main import root
from sidestream.doctor.checks import known
from sidestream.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[3]
BROKEN = ROOT / "tests" / "doctor" / "broken"


def run(*words: str, code: int) -> str:
    result = CliRunner().invoke(root, ["doctor", *words])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout


def refusal(*words: str) -> str:
    """An error that ends the program with 2."""
    result = CliRunner().invoke(root, ["doctor", *words])
    assert isinstance(result.exception, ConfigurationError), result.output
    return str(result.exception)


def test_a_finding_is_three_lines_under_its_severity_and_ends_with_1() -> None:
    said = run("--offline", "--only", "sd201", "-f", str(BROKEN / "sd201-trimmed-by-length" / "dapr.yaml"), code=1)
    assert said.splitlines() == [
        "errors",
        "  SD201  components/pubsub.yaml:11: maxLenApprox is 100000: the sidecar deletes old events of the log, "
        "and no rebuild can have them back.",
        "         fix: Remove the item maxLenApprox.",
        "         docs/doctor.md#sd201",
    ]


def test_without_findings_it_says_so_and_ends_with_0() -> None:
    assert run("--offline", "--only", "SD201", "-f", str(ROOT / "dapr.yaml"), code=0) == "Nothing is set up wrongly.\n"


def test_offline_says_that_nothing_was_asked_which_runs_and_ends_with_0() -> None:
    said = run("--offline", "--only", "SD901", "-f", str(ROOT / "dapr.yaml"), code=0)
    assert said.startswith("notes\n  SD901  everything that runs: not looked at: --offline was given.")


def test_a_warning_alone_ends_with_1() -> None:
    run("--offline", "--only", "SD202", "-f", str(BROKEN / "sd202-interval-as-text" / "dapr.yaml"), code=1)


def test_findings_as_json_say_all_that_is_known() -> None:
    said = run("--offline", "--json", "--only", "SD206", "-f", str(BROKEN / "sd206-small-queue" / "dapr.yaml"), code=1)
    (finding,) = json.loads(said)["findings"]
    assert finding.keys() == {"code", "severity", "place", "found", "remedy", "page"}
    assert (finding["severity"], finding["page"]) == ("warning", "docs/doctor.md#sd206")


def test_a_code_that_is_none_is_refused() -> None:
    assert "expected a code of docs/doctor.md, such as SD101, found SD000" in refusal("--only", "SD000")
    assert known(["sd101"]) == {"SD101"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        ("", "empty file"),
        ("apps: [", "dapr.yaml:1: expected YAML"),
        ("version: 1\napps: 5\n", "apps: input should be a valid list"),
        ("- 1\n", "dapr.yaml"),
    ],
)
def test_a_run_file_that_cannot_be_read_is_refused_with_its_name(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "dapr.yaml").write_text(content)
    assert said in refusal("-f", str(tmp_path / "dapr.yaml"))


@pytest.mark.parametrize("name", ["components/pubsub.yaml", "configuration.yaml"])
def test_a_resource_that_is_not_yaml_is_refused_with_its_line(tmp_path: Path, name: str) -> None:
    shutil.copytree(BROKEN / "sd403-not-named", tmp_path / "copy")
    (tmp_path / "copy" / name).write_text("kind: Component\nmetadata: {name: [}\n")
    assert f"{name}:2: expected YAML" in refusal("--offline", "-f", str(tmp_path / "copy" / "dapr.yaml"))

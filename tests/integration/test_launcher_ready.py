"""`sidestream up` names an app that runs and cannot work: its queries get 503, and nobody has to find that out by asking."""

from contextlib import closing
from pathlib import Path

import httpx
import pytest

from projections.tally.bootstrap import projection
from sidestream.adapters.sqlite_read_model import SqliteReadModels
from sidestream.applying.applied import BOOKKEEPING
from tests.integration.test_launcher_command import addresses, on_free_ports, up
from tests.parts import REPOSITORY


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    """Votes and tally."""
    return on_free_ports(REPOSITORY / "tests" / "apps" / "voting.yaml", tmp_path)


def of_a_newer_version(folder: Path) -> None:
    """Leave what a program of version 9 would have left: a live generation, and none of ours."""
    with closing(SqliteReadModels(folder)) as read_models:
        name = read_models.create(9, (*BOOKKEEPING, *projection().tables), "2026-11-20T09:00:00Z")
        read_models.mark_ready(name)
        read_models.switch(name)


def test_an_app_that_answers_nobody_is_named_with_its_reason_and_the_start_goes_on(run_file: Path) -> None:
    system = run_file.parent / "system"
    of_a_newer_version(system / "data" / "read-models" / "tally")
    with up(run_file, "--data", str(system)) as process:
        urls = {app["app"]: app["url"] for app in addresses(process)}
        assert httpx.get(f"{urls['tally']}/polls", timeout=30).status_code == 503
        said = (system / "logs" / "launcher.log").read_text()
    assert "Everything is healthy" not in said
    assert "tally is not ready: tally: generation g1 was built by version 9, this program is version 1" in said
    assert "Deploy version 9." in said

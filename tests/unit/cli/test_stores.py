"""Finding the event stores of a system, and what is published without one."""

from pathlib import Path

from sidestream.cli.stores import kept, published_directly
from tests.unit.cli.run_files import a_run_file, same_path

__all__ = ["same_path"]


def test_what_a_service_without_a_store_publishes_is_told_and_what_stands_in_a_store_is_not(tmp_path: Path) -> None:
    file = a_run_file(tmp_path, "services.votes", "services.orders", "services.bridge", "projections.tally")
    assert published_directly(file, None) == ["votes"]
    with kept(file, None) as found:
        assert [each.name for each in found] == ["orders", "bridge"]


def test_a_system_that_publishes_nothing_directly_tells_nothing(tmp_path: Path) -> None:
    assert published_directly(a_run_file(tmp_path, "services.orders", "projections.tally"), None) == []

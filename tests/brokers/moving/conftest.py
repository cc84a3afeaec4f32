"""The other broker of a move, empty, and the system whose log is moved."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers.chosen import with_a_log
from tests.brokers.moving.tree import Tree
from tests.brokers.servers import Server, running_server


@pytest.fixture(params=with_a_log())
def broker(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def server(broker: str, tmp_path: Path) -> Iterator[Server]:
    """The other broker, empty."""
    with running_server(broker, tmp_path / broker) as running:
        yield running


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Votes and tally."""
    return Tree(tmp_path / "tree")

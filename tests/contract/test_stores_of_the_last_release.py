"""Event stores that a release left on disk: they open, hold what they held, and answer what was answered before.

The files in tests/golden/files were made by the releases they are named after; the tests open copies, at the time they were made.
"""

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

import msgspec
import pytest

from events import registry
from services.orders.order import ORDER, Order
from sidestream.adapters.sqlite_events import SqliteEventStore
from sidestream.adapters.sqlite_inbox import SqliteInbox
from sidestream.errors import CommandRunning
from sidestream.event import decode_event
from sidestream.identifiers import new_id, now
from sidestream.writing.repository import Loaded, Repository
from tests.golden.storing import CLAIM, KEY, LEASE, SHAPE, VOTE, Answered, asked, layout, store_at

FILES = Path(__file__).parents[1] / "golden" / "files"
RELEASES = sorted(path.parent for path in FILES.glob("*/store.sqlite"))
REPLAYED = "idempotency-replayed"


class Kept(msgspec.Struct, frozen=True):
    """A copy of the store of a release, and what was answered into it."""

    path: Path
    answered: Answered

    @property
    def stream(self) -> str:
        return f"order-{self.answered.order}"


@pytest.fixture(params=RELEASES, ids=lambda path: path.name)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    copied = Path(shutil.copy(request.param / "store.sqlite", tmp_path / "store.sqlite"))
    return Kept(copied, msgspec.json.decode((request.param / "answered.json").read_bytes(), type=Answered))


@pytest.fixture
def store(kept: Kept) -> Iterator[SqliteEventStore]:
    with closing(store_at(kept.path)) as opened:
        yield opened


def test_there_is_a_store_of_a_release() -> None:
    assert RELEASES
    assert all(path.stat().st_size < 100_000 for path in FILES.rglob("*") if path.is_file())


def test_a_store_holds_the_events_that_it_held(store: SqliteEventStore, kept: Kept) -> None:
    events = store.follow(0)
    assert [(e.topic, e.sequence, e.stream, e.version, e.ordered) for e in events] == [
        ("orders", 1, kept.stream, 1, True),
        ("orders", 2, kept.stream, 2, True),
        ("votes", 1, None, None, False),
    ]
    assert [decode_event(e.wire).type for e in events] == ["order.placed", "order.line-added", "vote.cast"]
    assert [type(registry().read(decode_event(e.wire))).__name__ for e in events] == ["OrderPlaced", "LineAdded", "VoteCast"]
    assert bytes(decode_event(events[2].wire).data or b"") == VOTE.data
    assert [e.event_id for e in store.read_stream(kept.stream)] == [e.event_id for e in events[:2]]
    assert (store.backlog(), store.unpublished("orders")) == ({"orders": 1, "votes": 1}, events[1:2])


def test_a_command_that_ran_and_a_lease_that_was_held_are_still_so(store: SqliteEventStore) -> None:
    with pytest.raises(CommandRunning):
        store.claim(*CLAIM, 60)
    name, holder = LEASE
    assert (store.lease(name, "another", 60), store.lease(name, holder, 60)) == (False, True)


def test_a_snapshot_spares_the_events_that_it_was_taken_after_and_says_the_same(store: SqliteEventStore, kept: Kept) -> None:
    assert store.snapshot(kept.stream, SHAPE)
    with_it, without = loaded(store, kept, cached=True), loaded(store, kept, cached=False)
    assert (with_it.state, with_it.version) == (without.state, without.version)
    assert (with_it.folded, without.folded) == ((0 if ORDER.shape == SHAPE else 2), 2)


def loaded(store: SqliteEventStore, kept: Kept, *, cached: bool) -> Loaded[Order]:
    snapshots = store if cached else None
    orders = Repository(ORDER, store, registry(), ring=lambda: None, new_id=new_id, now=now, snapshots=snapshots)
    return orders.load(kept.answered.order)


async def test_a_repeated_command_is_answered_to_the_byte_as_the_release_answered_it(kept: Kept) -> None:
    answered_lately(kept.path)
    answer = await asked(kept.path)
    assert (answer.status_code, answer.text) == (kept.answered.status, kept.answered.body)
    assert answer.headers[REPLAYED] == "true"
    assert {name: answer.headers.get(name) for name in kept.answered.headers} == kept.answered.headers
    with closing(store_at(kept.path)) as store:
        assert len(store.follow(0)) == 3


async def test_a_new_command_goes_on_where_the_release_was(kept: Kept) -> None:
    answer = await asked(kept.path, "another")
    assert (answer.status_code, REPLAYED in answer.headers) == (201, False)
    assert answer.json()["order"] != kept.answered.order
    assert answer.json()["consistency"][0]["sequence"] == 3


def answered_lately(path: Path) -> None:
    """A service forgets what was answered a month ago, by the clock of the machine."""
    with closing(sqlite3.connect(path)) as connection, connection:
        changed = connection.execute("UPDATE answers SET answered_ms = ? WHERE key LIKE ?", (time.time_ns() // 1_000_000, f"% {KEY}"))
        assert changed.rowcount == 1


# ── layout ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Closes(Protocol):
    def close(self) -> None: ...


OPENED: list[tuple[str, Callable[[Path], Closes], str]] = [
    ("store.sqlite", SqliteEventStore, "sidestream/adapters/sqlite_store_file.py"),
    ("inbox.sqlite", SqliteInbox, "sidestream/adapters/sqlite_inbox.py"),
]


@pytest.mark.parametrize(("name", "opened", "where"), OPENED, ids=["store", "inbox"])
def test_tables_are_those_that_their_version_was_released_with(
    name: str, opened: Callable[[Path], Closes], where: str, tmp_path: Path
) -> None:
    opened(tmp_path / name).close()
    version, today = layout(tmp_path / name)
    released = dict(layout(Path(shutil.copy(path, tmp_path / "released"))) for path in sorted(FILES.glob(f"*/{name}")))
    assert version in released, (
        f"{where}: schema version {version} is in no golden file. Make it with the code that is to be released, "
        "`python -m tests.golden.making FOLDER`, and put it into tests/golden/files/<release>."
    )
    assert today == released[version], (
        f"{where}: the tables are not those that schema version {version} was released with, so that a {name} of the release would be "
        "opened and fail later. Raise SCHEMA_VERSION and add a migration from the version before, or undo the change."
    )


def test_a_store_of_a_release_is_laid_out_as_a_new_one_once_it_is_opened(kept: Kept, tmp_path: Path) -> None:
    store_at(kept.path).close()
    store_at(tmp_path / "new.sqlite").close()
    assert layout(kept.path) == layout(tmp_path / "new.sqlite")

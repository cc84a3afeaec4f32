"""What keeps read models: generations and their transactions."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from sidestream.projection import Column, Key, Table

Row = TypeVar("Row", bound=msgspec.Struct)


class Condition(msgspec.Struct, frozen=True):
    """One condition of a query: column, comparison, value."""

    column: str
    comparison: Literal["=", "<", "<=", ">", ">="]
    value: Any


class Query(msgspec.Struct, frozen=True):
    """A page of rows: all conditions hold, ordered by columns, after the given values of these columns.

    Attributes:
        order_by: columns; end with the key so that the order is total.
        after: values of `order_by` of the last row of the page before, or None for the first page.
    """

    where: tuple[Condition, ...] = ()
    order_by: tuple[str, ...] = ()
    descending: bool = False
    after: tuple[Any, ...] | None = None
    limit: int = 100


class Reader(Protocol):
    """Reads of one consistent moment."""

    def read(self, table: Table[Row], keys: Iterable[Key]) -> Mapping[Key, Row]:
        """Return the rows that exist among these keys."""
        ...

    def select(self, table: Table[Row], query: Query) -> Sequence[Row]:
        """Return a page of rows."""
        ...

    def count(self, table: Table[Any], where: Sequence[Condition] = ()) -> int:
        """Return how many rows fulfil all conditions."""
        ...


class Unit(Reader, Protocol):
    """One transaction: it holds the generation's write lock, sees its own writes, and commits when its block ends well."""

    def write(self, table: Table[Row], rows: Sequence[Row]) -> None:
        """Insert rows, or replace those with the same key."""
        ...

    def delete(self, table: Table[Any], keys: Sequence[Key]) -> None:
        """Remove rows; missing ones are no error."""
        ...

    def keep_newest(self, table: Table[Any]) -> None:
        """Forget what the table's `keep` says."""
        ...


GenerationState = Literal["building", "ready", "held", "scratch"]
"""building: unfinished · ready: follows the log, may be live · held: differs from the live one, waits for somebody to
accept it · scratch: as of some moment in the past. Only *ready* ones are followed."""


class GenerationInfo(msgspec.Struct, frozen=True):
    """One built copy of a read model: its name, the projection's version it was built by, and whether queries use it.

    Attributes:
        switched: counts the moves of the pointer, the highest is live; 0: never live, or rolled back from since.
        stale_since: live although no program follows it: time of its last event; empty otherwise.
        built_events, built_seconds: what building it took, 0 where it was built live or is unfinished.
    """

    name: str
    version: int
    state: GenerationState
    created_at: str
    live: bool
    switched: int = 0
    stale_since: str = ""
    built_events: int = 0
    built_seconds: float = 0.0


class TableShape(msgspec.Struct, frozen=True):
    """What a generation's database knows of a table: enough to read it without the code that made it."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]


def shape_of(table: Table[Any]) -> TableShape:
    """Return the shape of a declared table."""
    return TableShape(table.name, table.key, table.columns)


class Generation(Protocol):
    """A SQLite file, a PostgreSQL schema, or a dictionary. Safe to call from threads.

    Raises StoreAway, TryAgain, RefusedByStore or UnreadableGeneration, at entering, inside, or at leaving a block.
    """

    @property
    def name(self) -> str:
        """Its name, unique among the generations of its projection: `g1`, `g2` and so on."""
        ...

    def unit(self) -> AbstractContextManager[Unit]:
        """Begin a transaction that holds the generation's write lock; commits at the end, rolls back on any exception."""
        ...

    def snapshot(self) -> AbstractContextManager[Reader]:
        """Begin a consistent read that waits for no writer."""
        ...

    def check(self) -> None:
        """Raise UnreadableGeneration where what was opened is gone, or another stands in its place. Cheap: asked again and again."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...


class ReadModels(Protocol):
    """All generations of one projection and the pointer to the live one. Every process sees the same."""

    def beside(self, tables: Sequence[Table[Any]]) -> Generation:
        """Open the place beside the generations, made with these tables when it is missing. It outlives every generation."""
        ...

    def generations(self) -> Sequence[GenerationInfo]:
        """Return all generations, oldest first."""
        ...

    def create(self, version: int, tables: Sequence[Table[Any]], created_at: str) -> str:
        """Make an empty generation in state *building* with these tables and return its name."""
        ...

    def shapes(self, name: str) -> Sequence[TableShape]:
        """Return the tables it was made with, none where an older release made it; raises UnknownGeneration."""
        ...

    def size(self, name: str) -> int:
        """Return how many bytes it takes in the database, 0 in memory; raises UnknownGeneration."""
        ...

    def open(self, name: str) -> Generation:
        """Open a generation that is there; makes none. Raises UnknownGeneration, UnreadableGeneration."""
        ...

    def mark_ready(self, name: str) -> None:
        """Note that it is complete enough to serve; raises UnknownGeneration."""
        ...

    def set_aside(self, name: str, state: Literal["held", "scratch"]) -> None:
        """Note that it is complete and that nobody shall follow it; raises UnknownGeneration."""
        ...

    def note_built(self, name: str, events: int, seconds: float) -> None:
        """Add to what building it took; raises UnknownGeneration."""
        ...

    def switch(self, name: str, stale_since: str = "") -> None:
        """Move the pointer: queries use this generation from now on. Raises UnknownGeneration, or ReadModelError if it is not ready.

        `stale_since` where nobody will follow it: the time of its last event.
        """
        ...

    def roll_back(self, name: str, stale_since: str = "") -> None:
        """Move the pointer as `switch` does, and forget that the generation it leaves was ever live."""
        ...

    def drop(self, name: str) -> None:
        """Remove a generation for good; raises UnknownGeneration, or ReadModelError if it is live."""
        ...

    def exclusively(self, who: str = "") -> AbstractContextManager[None]:
        """Hold the right to build, move and drop generations. Ends with the process.

        Raises:
            ReadModelError: another process holds it; the message holds its `who`.
        """
        ...

    def close(self) -> None:
        """Release connections."""
        ...

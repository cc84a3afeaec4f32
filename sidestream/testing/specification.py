"""`ProjectionSpecification`: given these events, when those happen, then the read model is exactly this.

Every form of delivery that the house promises to survive is one word: `.delivered(times=2)`, `.shuffled(seed)`. The
history is cut into batches of varying size, played through the kernel's projector into one generation, and played again
in one go into another: live and rebuild must agree before either is compared with what was expected.
"""

import random
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from sidestream.adapters.memory_log import MemoryLog
from sidestream.adapters.memory_read_model import MemoryGeneration
from sidestream.applying.applied import BOOKKEEPING, PARKED_EVENTS, ParkedEvent
from sidestream.applying.decoding import Rule
from sidestream.applying.projector import Projector
from sidestream.errors import ConfigurationError
from sidestream.ports import Query
from sidestream.projection import Key, Projection, Table
from sidestream.registry import Registry
from sidestream.testing.differences import differences
from sidestream.testing.history import Happened, Recorded, record, repeated, shuffled

Row = TypeVar("Row", bound=msgspec.Struct)
Model = dict[Table[Any], dict[Key, Any]]

_NOW: Final = "2026-01-01T00:00:00.000000Z"
_CLOCK_MS: Final = 1_767_225_600_000
_MOST_ENTRIES: Final = 7
"""Batches have one to so many entries, so that a short history has several."""
_ALL: Final = 1_000_000_000


class ProjectionSpecification(msgspec.Struct, frozen=True):
    """What a projection promises. Each call returns a new specification; `then…` plays it and compares.

    Attributes:
        projection: the rule.
        registry: the language it is written in.
        before: the events given, applied and committed before the others stand in the log.
        after: the events that happen.
        times: how often each of them stands in the log.
        seed: the order they stand in; None: as they were written.
    """

    projection: Projection
    registry: Registry
    before: tuple[Happened, ...] = ()
    after: tuple[Happened, ...] = ()
    times: int = 1
    seed: int | None = None

    def given(self, *events: Happened) -> "ProjectionSpecification":
        """Begin with these events, applied and committed."""
        return msgspec.structs.replace(self, before=(*self.before, *events))

    def when(self, *events: Happened) -> "ProjectionSpecification":
        """Then these events happen."""
        return msgspec.structs.replace(self, after=(*self.after, *events))

    def delivered(self, *, times: int) -> "ProjectionSpecification":
        """Let every event stand in the log so many times."""
        return msgspec.structs.replace(self, times=times)

    def shuffled(self, seed: int = 0) -> "ProjectionSpecification":
        """Let all events, given ones too, stand in another order that is allowed; batches are cut elsewhere too."""
        return msgspec.structs.replace(self, seed=seed)

    # ── what must be true then ───────────────────────────────────────────────────────────────────────────────────────

    def then(self, *rows: msgspec.Struct) -> None:
        """The whole read model is exactly these rows, and no event is parked."""
        outcome = self._play()
        self._expect_nothing_parked(outcome)
        self._compare(outcome, {table: _rows_of(table, rows) for table in self.projection.tables}, rows)

    def then_in(self, table: Table[Row], *rows: Row) -> None:
        """This table has exactly these rows, and no event is parked; other tables are not looked at."""
        outcome = self._play()
        self._expect_nothing_parked(outcome)
        self._compare(outcome, {table: _rows_of(table, rows)}, rows)

    def then_parked(self, *names: str) -> None:
        """Exactly these events are parked, by their ids; an entry that cannot be read has no id and is named by nothing."""
        outcome = self._play()
        found = sorted(event.event_id for event in outcome.parked)
        if found != sorted(names):
            raise AssertionError(f"{self._title(outcome)}: expected parked {sorted(names)}, found\n{_reasons(outcome.parked)}")

    def rows(self, table: Table[Row]) -> list[Row]:
        """Return the rows of a table, in order of their keys, to be compared with a value worked out elsewhere."""
        outcome = self._play()
        self._expect_nothing_parked(outcome)
        return list(outcome.model[table].values())

    # ── playing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _play(self) -> "_Outcome":
        """Play the history live, in many batches, and again as a rebuild, in one; they must agree."""
        parts = self._parts()
        log = MemoryLog(clock_ms=lambda: _CLOCK_MS)
        live = _Played(self.projection, self.registry, log)
        for part in parts:
            for event in part:
                log.record(event.topic, [event.wire])
            live.projector.catch_up()
        rebuilt = _Played(self.projection, self.registry, log)
        rebuilt.projector.catch_up()
        order = [event.name for part in parts for event in part]
        outcome = _Outcome(live.model(), live.parked(), order)
        self._expect_same(outcome, rebuilt.model())
        return outcome

    def _parts(self) -> list[list[Recorded]]:
        everything = record((*self.before, *self.after), self.registry, ordered=self.projection.ordered)
        if self.seed is not None:
            return _cut(shuffled(repeated(everything, self.times), self.seed), self.seed)
        before, after = everything[: len(self.before)], everything[len(self.before) :]
        return [repeated(before, self.times), repeated(after, self.times)]

    # ── comparing ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _compare(self, outcome: "_Outcome", expected: Model, rows: Sequence[msgspec.Struct]) -> None:
        self._expect_known(rows)
        found = {table: outcome.model[table] for table in expected}
        if lines := differences(expected, found):
            raise AssertionError(f"{self._title(outcome)}:\n" + "\n".join(lines))

    def _expect_same(self, outcome: "_Outcome", rebuilt: Model) -> None:
        if lines := differences(outcome.model, rebuilt):
            raise AssertionError(f"{self._title(outcome)}: a rebuild (found) differs from live (expected):\n" + "\n".join(lines))

    def _expect_nothing_parked(self, outcome: "_Outcome") -> None:
        if outcome.parked:
            raise AssertionError(f"{self._title(outcome)}: expected nothing parked, found\n{_reasons(outcome.parked)}")

    def _expect_known(self, rows: Sequence[msgspec.Struct]) -> None:
        models = {table.model for table in self.projection.tables}
        for row in rows:
            if type(row) not in models:
                names = ", ".join(sorted(model.__name__ for model in models))
                raise ConfigurationError(f"{self.projection.name}: expected rows of {names}, found {row!r}")

    def _title(self, outcome: "_Outcome") -> str:
        often = f", each {self.times} times" if self.times > 1 else ""
        order = f", shuffled with seed {self.seed}" if self.seed is not None else ""
        return f"{self.projection.name}{often}{order}, log: {' '.join(outcome.order) or 'empty'}"


class _Outcome(msgspec.Struct, frozen=True):
    model: Model
    parked: Sequence[ParkedEvent]
    order: Sequence[str]


class _Played:
    """One generation in memory and its projector."""

    def __init__(self, projection: Projection, registry: Registry, log: MemoryLog) -> None:
        self._tables = projection.tables
        self._generation = MemoryGeneration("g1", (*BOOKKEEPING, *projection.tables))
        self.projector = Projector(Rule(projection, registry), log, self._generation, lambda: _NOW)

    def model(self) -> Model:
        """Return all rows by table and key."""
        with self._generation.snapshot() as reader:
            return {table: _by_key(table, reader.select(table, Query(order_by=table.key, limit=_ALL))) for table in self._tables}

    def parked(self) -> Sequence[ParkedEvent]:
        """Return the events that were not applied."""
        with self._generation.snapshot() as reader:
            return reader.select(PARKED_EVENTS, Query(order_by=PARKED_EVENTS.key, limit=_ALL))


def _by_key(table: Table[Any], rows: Iterable[Any]) -> dict[Key, Any]:
    return {table.key_of(row): row for row in rows}


def _rows_of(table: Table[Any], rows: Iterable[msgspec.Struct]) -> dict[Key, Any]:
    return _by_key(table, (row for row in rows if type(row) is table.model))


def _cut(events: Sequence[Recorded], seed: int) -> list[list[Recorded]]:
    """Cut into batches of one to a few entries."""
    sizes = random.Random(seed)  # noqa: S311 - a seed that is printed, no secret
    parts: list[list[Recorded]] = []
    begin = 0
    while begin < len(events):
        end = begin + sizes.randint(1, _MOST_ENTRIES)
        parts.append(list(events[begin:end]))
        begin = end
    return parts


def _reasons(parked: Sequence[ParkedEvent]) -> str:
    return "\n".join(f"  {event.event_id or 'entry ' + event.position} ({event.reason}): {event.detail}" for event in parked) or "  nothing"

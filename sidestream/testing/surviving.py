"""`survives_any_schedule`: whatever is repeated, reordered, lost, killed or overtaken, the read model is the fold.

    survives_any_schedule(Tally(), registry(), st.lists(votes))

The projection is played through the kernel's projector over the memory adapters, and compared with a fold that knows
nothing of either (`folding.py`). A schedule that fails is shrunk to the smallest one and printed step by step.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sidestream.adapters.memory_log import MemoryLog
from sidestream.adapters.memory_read_model import MemoryGeneration
from sidestream.applying.applied import BOOKKEEPING
from sidestream.applying.dead_letters import parked_events, retry
from sidestream.applying.decoding import Rule
from sidestream.applying.projector import Projector
from sidestream.event import Envelope
from sidestream.ports import LogEntry, LogExtent, Query, Reader, Unit
from sidestream.projection import Projection, Rows
from sidestream.registry import Registry
from sidestream.testing.differences import differences
from sidestream.testing.folding import Model, fold
from sidestream.testing.history import Happened
from sidestream.testing.schedule import PROJECTORS, Arrive, Killed, Moment, Overtaken, Rung, Schedule, schedules

SCHEDULES: Final = 100
_ALL: Final = 1_000_000_000
_QUIET: Final = settings(
    deadline=None,
    database=None,
    print_blob=False,
    phases=(Phase.generate, Phase.shrink),  # its explanations name lines of ours, and take longer than the shrinking
    suppress_health_check=list(HealthCheck),
)


def survives_any_schedule(
    projection: Projection, registry: Registry, events: st.SearchStrategy[Sequence[Happened]], *, count: int = SCHEDULES
) -> None:
    """Play histories under random schedules; raise AssertionError with the smallest schedule that gives another read model.

    Args:
        projection: the rule.
        registry: the language it is written in.
        events: a Hypothesis strategy of histories: lists of `happened(…)` and `stranger(…)`.
        count: how many schedules to try.
    """

    @settings(_QUIET, max_examples=count)
    @given(schedule=schedules(projection, registry, events))
    def survive(schedule: Schedule) -> None:
        if problem := _problem(projection, registry, schedule):
            raise AssertionError(f"{projection.name} does not survive this schedule:\n{schedule}\n{problem}")

    survive()


def _problem(projection: Projection, registry: Registry, schedule: Schedule) -> str:
    """Play a schedule and return what is wrong in the end, or nothing."""
    played = _Played(projection, registry, schedule)
    for step in schedule.steps:
        played.take(step)
    if problem := played.settle():
        return problem
    expected = fold(copy.copy(projection), registry, schedule.history)
    for name, model in (("the read model", played.model()), ("a rebuild", played.rebuilt())):
        if lines := differences(expected, model):
            return f"{name} (found) is not the fold of the history (expected):\n" + "\n".join(lines)
    return ""


# ── faults ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Crashed(BaseException):
    """The process is killed here; no `except Exception` may see it."""


class _Poison(Exception):
    """What a rule raises for a poisoned event."""


def _poisoned(projection: Projection, poison: set[str]) -> Projection:
    """Return the projection with a rule that does its work and then raises, for events of these ids, as long as they are in the set."""
    kind: Any = type(projection)

    def evolve(self: Projection, rows: Rows, event: Any, envelope: Envelope) -> None:
        kind.evolve(self, rows, event, envelope)
        if envelope.id in poison:
            raise _Poison(f"poison {envelope.id}")

    found = copy.copy(projection)
    found.__class__ = type(kind.__name__, (kind,), {"evolve": evolve})
    return found


class _Log:
    """The log as one projector sees it: something may happen after a read."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.after_reading: Callable[[], None] = _nothing
        self.read_back = log.read_back
        self.compare: Callable[[str, str], int] = log.compare
        self.close: Callable[[], None] = log.close

    def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
        found = self._log.read(topic, start, limit)
        happens, self.after_reading = self.after_reading, _nothing
        happens()
        return found

    def extent(self, topic: str) -> LogExtent:
        return self._log.extent(topic)


class _Generation:
    """The generation as one projector sees it: something may happen before and after a commit."""

    def __init__(self, generation: MemoryGeneration) -> None:
        self._generation = generation
        self.name = generation.name
        self.before_commit: Callable[[], None] = _nothing
        self.after_commit: Callable[[], None] = _nothing

    @contextmanager
    def unit(self) -> Iterator[Unit]:
        with self._generation.unit() as unit:
            yield unit
            self.before_commit()
        self.after_commit()

    def snapshot(self) -> AbstractContextManager[Reader]:
        return self._generation.snapshot()

    def check(self) -> None:
        self._generation.check()

    def close(self) -> None:
        """The rows stay."""


def _nothing() -> None:
    """Nothing happens."""


def _crash() -> None:
    raise _Crashed


# ── playing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Process:
    """One projector process with everything it holds in memory."""

    def __init__(self, rule: Rule, log: MemoryLog, generation: MemoryGeneration, batch: int) -> None:
        self.log = _Log(log)
        self.generation = _Generation(generation)
        self.projector = Projector(rule, self.log, self.generation, _now, batch)

    def fail_at(self, moment: Moment) -> None:
        if moment is Moment.AFTER_READING:
            self.log.after_reading = _crash
        elif moment is Moment.BEFORE_COMMIT:
            self.generation.before_commit = _crash
        else:
            self.generation.after_commit = _crash


class _Played:
    """A log, one generation, and two projectors over them."""

    def __init__(self, projection: Projection, registry: Registry, schedule: Schedule) -> None:
        self._poison = set(schedule.poison)
        self._rule = Rule(_poisoned(projection, self._poison), registry)
        self._schedule = schedule
        self._log = MemoryLog(clock_ms=lambda: 0)
        self._arrived = 0
        self._generation = self._new_generation()
        self._processes = {name: self._new_process() for name in PROJECTORS}

    def _new_generation(self) -> MemoryGeneration:
        return MemoryGeneration("g1", (*BOOKKEEPING, *self._rule.projection.tables))

    def _new_process(self) -> _Process:
        return _Process(self._rule, self._log, self._generation, self._schedule.batch)

    def take(self, step: object) -> None:
        """Let one step happen."""
        match step:
            case Arrive(entries):
                self._arrive(entries)
            case Rung(projector):
                self._processes[projector].projector.step()
            case Killed(projector, moment):
                self._kill(projector, moment)
            case Overtaken(projector):
                self._overtake(projector)
            case _:
                self._retry()

    def _arrive(self, entries: int) -> None:
        for entry in self._schedule.log[self._arrived : self._arrived + entries]:
            self._log.record(entry.topic, [entry.wire])
        self._arrived += entries

    def _kill(self, name: str, moment: Moment) -> None:
        process = self._processes[name]
        process.fail_at(moment)
        with suppress(_Crashed):
            process.projector.step()
        self._processes[name] = self._new_process()

    def _overtake(self, name: str) -> None:
        (other,) = (process for each, process in self._processes.items() if each != name)
        process = self._processes[name]
        process.log.after_reading = lambda: _step(other)
        process.projector.step()
        process.log.after_reading = _nothing

    def _retry(self) -> None:
        retry(self._rule, self._generation, _now)

    def settle(self) -> str:
        """Let the rest arrive and be applied; mend the rule; return which event was parked without a reason of its own."""
        self._arrive(len(self._schedule.log))
        self._catch_up()
        if problem := self._held_up():
            return problem
        self._poison.clear()
        self._retry()
        self._catch_up()
        return ""

    def _catch_up(self) -> None:
        for process in self._processes.values():
            process.projector.catch_up()

    def _held_up(self) -> str:
        """Every parked stream holds an event that failed by itself; no other is held up."""
        parked = parked_events(self._generation, limit=_ALL)
        failed = {(event.topic, event.stream) for event in parked if event.attempts}
        held = [event for event in parked if (event.topic, event.stream) not in failed]
        return "\n".join(f"  {event.event_id} is parked ({event.reason}): {event.detail}" for event in held)

    def model(self) -> Model:
        """Return all rows by table and key."""
        return _model(self._rule.projection, self._generation)

    def rebuilt(self) -> Model:
        """Return the rows of a new generation, built from the same log by the mended rule as a rebuild does it: folded, then followed."""
        generation = self._new_generation()
        projector = Projector(self._rule, self._log, generation, _now)
        projector.fold()
        projector.catch_up()
        return _model(self._rule.projection, generation)


def _step(process: _Process) -> None:
    process.projector.step()


def _now() -> str:
    return "2026-01-01T00:00:00.000000Z"


def _model(projection: Projection, generation: MemoryGeneration) -> Model:
    with generation.snapshot() as reader:
        return {
            table: {table.key_of(row): row for row in reader.select(table, Query(order_by=table.key, limit=_ALL))}
            for table in projection.tables
        }

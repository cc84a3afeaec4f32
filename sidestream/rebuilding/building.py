"""What every verb of generations stands on: a projection, its log and its read models; making and filling a generation."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from time import perf_counter
from typing import Any, Final

import msgspec

from sidestream.applying.applied import BOOKKEEPING, CHECKPOINTS, COUNTS, PARKED_EVENTS, Checkpoint
from sidestream.applying.batch import Outcome
from sidestream.applying.corrections import BESIDE, Correction, Corrections, InForce
from sidestream.applying.dead_letters import drain
from sidestream.applying.decoding import Rule
from sidestream.applying.intervals import Intervals
from sidestream.applying.projector import FOLD_BYTES, Projector
from sidestream.applying.table_shapes import check_shapes
from sidestream.errors import ForeignPosition, HistoryTrimmed, OtherTables, ReadModelError, StoreAway, TryAgain, UnknownGeneration
from sidestream.ports import EventLog, Generation, GenerationInfo, Query, Reader, ReadModels, shape_of
from sidestream.projection import Projection, Table
from sidestream.rebuilding.late_decisions import LateDecisions
from sidestream.rebuilding.log_until import Later, LogUntil, after_positions
from sidestream.registry import Registry

REBUILD_BATCH: Final = 50_000
_CLOSE_SECONDS: Final = 1.0
"""Close behind: the last stretch took less than this."""
_MOST_STRETCHES: Final = 50

Progress = Callable[[int, int], None]
"""Called now and then with how many are done, and of how many."""
Vector = Mapping[str, Checkpoint | None]
"""How far a generation has applied each topic, None: nothing of it."""


def silent(done: int, total: int) -> None:
    """Be the progress that nobody watches."""


class Begun(msgspec.Struct, frozen=True):
    """A generation to fill: whether a process that died had written something of it, and what was removed for it."""

    name: str
    resumed: bool
    dropped: tuple[str, ...]


class Site:
    """Where generations of one projection are built.

    Args:
        projection, registry: the rule and its language.
        log: whole; nothing but its topics is read.
        read_models: all generations.
        now: the clock for what is written down.
        who: says to another process who is building, while this one is.
        clock: seconds, for rates.
    """

    def __init__(
        self,
        projection: Projection,
        registry: Registry,
        log: EventLog,
        read_models: ReadModels,
        now: Callable[[], str],
        *,
        who: str = "",
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.projection = projection
        self.registry = registry
        self.log = log
        self.read_models = read_models
        self.now = now
        self.who = who
        self.clock = clock
        self.late: LateDecisions | None = None
        """Decisions that come too late for what is being built; None while nothing is."""

    @property
    def tables(self) -> tuple[Table[Any], ...]:
        """What a generation holds: what has been applied, and the projection's rows."""
        return (*BOOKKEEPING, *self.projection.tables)

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def live(self) -> GenerationInfo | None:
        """Return what queries use now."""
        return next((info for info in self.read_models.generations() if info.live), None)

    def named(self, name: str) -> GenerationInfo:
        """Return the generation of this name; raises UnknownGeneration."""
        infos = {info.name: info for info in self.read_models.generations()}
        if name not in infos:
            what = self.projection.name
            raise UnknownGeneration(
                f"{what}: expected one of {', '.join(infos) or 'no generation'}, found {name!r}. "
                f"Correct the name: `sidestream projections list {what}` shows what there is."
            )
        return infos[name]

    def length(self) -> int:
        """Return how many entries the log holds of all topics."""
        return sum(self.log.extent(topic).length for topic in self.projection.topics)

    def vector(self, reader: Reader) -> Vector:
        """Return how far a generation is, in the reader's moment."""
        found = reader.read(CHECKPOINTS, [(topic,) for topic in self.projection.topics])
        return {topic: found.get((topic,)) for topic in self.projection.topics}

    def vector_of(self, generation: Generation) -> Vector:
        """Return how far a generation is now."""
        with generation.snapshot() as reader:
            return self.vector(reader)

    def is_beyond(self, one: Vector, other: Vector) -> bool:
        """Return whether one generation has applied more of some topic than another."""
        return any(one[topic] is not None and _is_after(self.log, one[topic], other[topic]) for topic in self.projection.topics)

    def refuse_trimmed(self) -> None:
        """Raise HistoryTrimmed where the log does not begin at its beginning."""
        for topic in self.projection.topics:
            trimmed_to = self.log.extent(topic).trimmed_to
            if trimmed_to is not None:
                raise HistoryTrimmed(
                    f"{self.projection.name}: topic {topic} was trimmed up to {trimmed_to}: a rebuild would forget these events. "
                    "Restore the log first; the live generation stays as it is."
                )

    def refuse_other_tables(self, info: GenerationInfo) -> None:
        """Raise OtherTables where a generation of the code's version was made with other tables than the code declares."""
        try:
            check_shapes(self.projection, info, self.read_models)
        except OtherTables as error:
            raise OtherTables(f"{self.projection.name}: generation {info.name}: {error}") from None

    def refuse_foreign(self, live: GenerationInfo | None) -> None:
        """Raise ReadModelError where the live generation stands at a place that another kind of broker gave."""
        if live is None:
            return
        for topic, at in self._place_of(live).items():
            try:
                self.log.compare(at, at)
            except ForeignPosition as error:
                raise ReadModelError(
                    f"{self.projection.name}: generation {live.name} stands at its place on the broker before, topic {topic}: {error} "
                    f"Start its app of version {live.version} once: it finds its place in this log by what it has counted. Then try again."
                ) from None

    def _place_of(self, live: GenerationInfo) -> dict[str, str]:
        """Return the positions of a generation, none of one that cannot be read."""
        try:
            with closing(self.read_models.open(live.name)) as generation:
                return {topic: at.position for topic, at in self.vector_of(generation).items() if at is not None}
        except (StoreAway, TryAgain):
            raise
        except ReadModelError:
            return {}

    def refuse_unfit(self) -> None:
        """Refuse to build from a log that lacks its beginning, or beside a followed generation that this code cannot write."""
        self.refuse_trimmed()
        for info in self.read_models.generations():
            if info.state == "ready":
                self.refuse_other_tables(info)

    # ── making and filling ───────────────────────────────────────────────────────────────────────────────────────────

    def begin(self) -> Begun:
        """Return a generation to fill: one that was left unfinished if it fits, else a new one. Under the exclusive right.

        Nobody else is building now: what is unfinished was left by one that died. It fits if the same version was to fill
        the same tables, if it is not beyond the live one, and if nothing was decided since it was made. Of several the one
        that has come furthest is taken. Its checkpoint tells where to go on.
        """
        unfinished = [info for info in self.read_models.generations() if info.state == "building"]
        done = {info.name: self._done(info.name) for info in unfinished if self._fits(info)}
        fits = max(done, key=lambda name: done[name], default=None)
        dropped = tuple(info.name for info in unfinished if info.name != fits)
        for name in dropped:
            self.read_models.drop(name)
        name = fits or self.create()
        self.late = LateDecisions(self.log, self.projection.topics)
        return Begun(name, done.get(name, 0) > 0, dropped)

    def create(self) -> str:
        """Make a generation to fill, beside what was left unfinished."""
        return self.read_models.create(self.projection.version, self.tables, self.now())

    def _done(self, name: str) -> int:
        with closing(self.read_models.open(name)) as generation:
            return _counted(generation) + any(self.vector_of(generation).values())  # one of strangers only has begun too

    def _decided(self) -> Sequence[Correction]:
        with closing(Corrections(self.read_models.beside(BESIDE))) as corrections:
            return corrections.after(0)

    def _fits(self, info: GenerationInfo) -> bool:
        expected = tuple(map(shape_of, self.tables))
        if info.version != self.projection.version or tuple(self.read_models.shapes(info.name)) != expected:
            return False
        if any(each.at >= info.created_at for each in self._decided()):  # it may have done without that already
            return False
        live = self.live()
        try:
            with closing(self.read_models.open(info.name)) as generation:
                place = self.vector_of(generation)
            if live is None:
                return True
            with closing(self.read_models.open(live.name)) as generation:
                return not self.is_beyond(place, self.vector_of(generation))
        except (StoreAway, TryAgain):
            raise
        except (ReadModelError, ForeignPosition):  # one of them cannot be read, or was filled from another broker: begin anew
            return False

    @contextmanager
    def decisions(self) -> Iterator[InForce]:
        """What operators decide about dead letters, as they decide it."""
        with closing(Corrections(self.read_models.beside(BESIDE))) as corrections:
            yield InForce(corrections)

    def fill(self, generation: Generation, later: Later | None = None, progress: Progress = silent, met: InForce | None = None) -> Outcome:
        """Apply the log until its end, or until the first entry that is later; note how long it took.

        Args:
            generation: the one to fill.
            later: where to stop.
            progress: is told how many events are done.
            met: decisions about dead letters that are met; None: all of them, as they are made.
        """
        log = self.log if later is None else LogUntil(self.log, later)
        with nullcontext(met) if met is not None else self.decisions() as in_force:
            rule = Rule(self.projection, self.registry, in_force)
            projector = Projector(rule, log, generation, self.now, REBUILD_BATCH, keep_bytes=FOLD_BYTES)
            return self._follow(projector, progress)

    def meet(self, generation: Generation) -> None:
        """Let a generation meet every decision: some may have been made after it had parked what they are about."""
        with self.decisions() as in_force:
            self._look(generation, in_force)
            drain(Rule(self.projection, self.registry, in_force), generation, self.now, in_force.since(0))

    def come_close(self, stretch: Callable[[], Outcome]) -> Outcome:
        """Fill one stretch after another, up to a place that moves on meanwhile, until close behind it. Ends whatever the traffic."""
        total = Outcome()
        for _ in range(_MOST_STRETCHES):
            begin = self.clock()
            total.add(stretch())
            if self.clock() - begin < _CLOSE_SECONDS:
                break
        return total

    def end_of_log(self) -> Later:
        """Stop where the log ends now."""
        return after_positions(self.log, {topic: self.log.extent(topic).last for topic in self.projection.topics})

    def _follow(self, projector: Projector, progress: Progress) -> Outcome:
        """Apply what there is; what operators decide meanwhile is met as the live generation meets it."""
        total = max(self.length() - _counted(projector.generation), 0)
        outcome, begin = Outcome(), self.clock()
        self._refresh(projector)
        outcome.add(projector.fold(lambda folded: progress(folded, total)))
        self._refresh(projector)
        while (step := projector.step()) is not None:
            outcome.add(step)
            progress(outcome.counted, total)
            self._refresh(projector)
        if outcome.counted:
            self.read_models.note_built(projector.generation.name, outcome.counted, self.clock() - begin)
        return outcome

    def _refresh(self, projector: Projector) -> None:
        """Take over what was decided, and note what comes too late: before anything more is applied."""
        projector.rule.corrections.refresh()
        self._look(projector.generation, projector.rule.corrections)

    def _look(self, generation: Generation, in_force: InForce) -> None:
        if self.late is not None:
            self.late.look(generation, in_force)


def parked_in(generation: Generation) -> int:
    """Return how many events are parked in a generation."""
    with generation.snapshot() as reader:
        return reader.count(PARKED_EVENTS)


def _is_after(log: EventLog, one: Checkpoint | None, other: Checkpoint | None) -> bool:
    return one is not None and (other is None or log.compare(one.position, other.position) > 0)


def _counted(generation: Generation) -> int:
    """Return about how many events a generation has applied already."""
    with generation.snapshot() as reader:
        return sum(len(Intervals.parse(row.intervals)) for row in reader.select(COUNTS, Query(limit=1_000_000)))

"""What a projector remembers between two transactions on a generation, and what it works with inside one.

Memory is right as long as nobody else wrote to the generation. Every transaction counts up the generation's head, and
reads it first, under the lock: where it is not the one this memory belongs to, everything is forgotten and read again.
So whatever writes to a generation must count up its head. After a rollback everything is forgotten too.
"""

from typing import Final

from sidestream.applying.applied import BOOKKEEPING, CHECKPOINTS, HEAD_KEY, HEADS, PARKED_STREAMS, Checkpoint, Head, ParkedStream
from sidestream.applying.batch import Outcome
from sidestream.applying.decoding import Rule
from sidestream.applying.intervals import Intervals
from sidestream.applying.working_rows import Known, WorkingRows
from sidestream.event import Envelope
from sidestream.ports import Query, Unit

KEEP_BYTES: Final = 32 * 1024 * 1024
"""About how many bytes of rows are kept from one transaction to the next."""
_ALL: Final = Query(order_by=("topic", "stream"), limit=1_000_000_000)


class Remembered:
    """What a projector remembers between transactions, valid as long as nobody else wrote to the generation.

    Args:
        keep_bytes: about how many bytes of rows are kept; above that they are read again.
    """

    def __init__(self, keep_bytes: int = KEEP_BYTES) -> None:
        self.revision = 0
        self.counts: dict[tuple[str, str], Intervals] = {}
        self.parked: dict[tuple[str, str], ParkedStream] = {}
        self.known = Known()
        self._keep_bytes = keep_bytes

    def clear(self) -> None:
        """Forget everything: somebody else wrote, or a transaction was rolled back."""
        self.revision = 0
        self.counts.clear()
        self.parked.clear()
        self.known.clear()

    def limit(self) -> None:
        """Forget the rows where they have become too many."""
        if self.known.weight > self._keep_bytes:
            self.known.clear()


class Work:
    """One transaction's work: the rule, the rows, what is remembered, and what has become of the events so far.

    Args:
        rule: what is applied.
        unit: the transaction, or NOTHING for a fold.
        remembered: belongs to the generation, and is brought up to date by entering here.
        now: the time that is noted with parked events.
        whole: the generation is empty, and stays so until the rows are written into it.
    """

    def __init__(self, rule: Rule, unit: Unit, remembered: Remembered, now: str, *, whole: bool = False) -> None:
        self.rule = rule
        self.unit = unit
        self.remembered = remembered
        self.now = now
        self.outcome = Outcome()
        self._refresh()
        self.rows = WorkingRows(unit, remembered.known, whole=whole, declared=(*BOOKKEEPING, *rule.projection.tables))
        self._moved: dict[str, Checkpoint] = {}

    def _refresh(self) -> None:
        head = self.unit.read(HEADS, (HEAD_KEY,)).get(HEAD_KEY) or Head("head", 0)
        if not head.revision or head.revision != self.remembered.revision:
            self.remembered.clear()
            self.remembered.parked.update(((row.topic, row.stream), row) for row in self.unit.select(PARKED_STREAMS, _ALL))
        self._revision = head.revision + 1

    @property
    def parked(self) -> dict[tuple[str, str], ParkedStream]:
        """Every stream that waits, by topic and name."""
        return self.remembered.parked

    def checkpoint(self, topic: str) -> Checkpoint | None:
        """Return how far a topic has been applied: what this work has moved it to, else what the transaction finds, not memory."""
        return self._moved.get(topic) or self.unit.read(CHECKPOINTS, ((topic,),)).get((topic,))

    def move(self, checkpoint: Checkpoint) -> None:
        """Note how far a topic has been applied now."""
        self._moved[checkpoint.topic] = checkpoint
        self.rows.put(CHECKPOINTS, checkpoint)

    def stream_of(self, envelope: Envelope) -> str:
        """Return what an event is parked under: its stream, or a name of its own where order does not matter."""
        return envelope.stream if self.rule.projection.ordered else f"{envelope.source} {envelope.id}"

    def write(self, unit: Unit | None = None) -> None:
        """Write everything into the transaction, or into another one of the same state."""
        self.rows.put(HEADS, Head("head", self._revision))
        self.rows.flush(unit or self.unit)
        self.remembered.revision = self._revision

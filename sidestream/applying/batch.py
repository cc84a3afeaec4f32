"""What goes into one transaction and what comes out of it: stretches of entries, reasons to park, an outcome."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from sidestream.applying.applied import Checkpoint
from sidestream.applying.decoding import Decoded
from sidestream.applying.regular import Run
from sidestream.event import Envelope
from sidestream.projection import Key, Table

BEHIND: Final = "behind"
WAITING: Final = "waiting"
NUMBER_REUSED: Final = "number-reused"
VERSION_REUSED: Final = "version-reused"
VERSION_GIVEN_UP: Final = "version-given-up"


class SomebodyFaster(Exception):
    """Another process applied this batch; read the checkpoint again."""


class Stretch(msgspec.Struct, frozen=True):
    """Entries that stand together: as a run, where all of them are regular, and one by one, decoded when asked for."""

    entries: Sequence[Decoded]
    run: Run | None = None


class Batch(msgspec.Struct, frozen=True):
    """Entries of one topic after a checkpoint, in stretches, and the checkpoint they lead to.

    The stretches may be decoded one after another while they are applied; they can be gone through only once then.
    """

    topic: str
    read_from: Checkpoint | None
    stretches: Iterable[Stretch]
    leads_to: Checkpoint

    def held(self) -> "Batch":
        """Return it with all stretches decoded, to be applied in a transaction, perhaps again."""
        return msgspec.structs.replace(self, stretches=list(self.stretches))

    @property
    def keys(self) -> Iterable[tuple[Table[Any], Key]]:
        """The rows that its runs will look at, where they are held."""
        runs = [stretch.run for stretch in self.stretches if stretch.run] if isinstance(self.stretches, list) else []
        return chain.from_iterable(run.keys for run in runs)

    @property
    def traces(self) -> Sequence[str]:
        """The traceparent of every event, empty where it has none; where the batch is held."""
        envelopes = chain.from_iterable(map(_envelopes, self.stretches))
        return [envelope.traceparent or "" if envelope else "" for envelope in envelopes]


def _envelopes(stretch: Stretch) -> Iterable[Envelope | None]:
    """Return what is known of the events of a stretch; what a run has read is not read again."""
    return stretch.run.envelopes if stretch.run else [decoded.envelope for decoded in stretch.entries]


class Reason(msgspec.Struct, frozen=True):
    """Why an event is parked: a stable code, a sentence, and the version that its stream waits for, if it does."""

    code: str
    detail: str
    waiting_for: int = 0


class Outcome(msgspec.Struct):
    """What became of the events of one transaction."""

    applied: int = 0
    unhandled: int = 0
    duplicates: int = 0
    parked: int = 0
    released: int = 0

    @property
    def counted(self) -> int:
        """How many entries of the log it stands for."""
        return self.applied + self.unhandled + self.duplicates + self.parked

    def add(self, other: "Outcome") -> None:
        """Add the numbers of another transaction."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

"""What the probe app was delivered: it writes a line before it answers, so that a kill takes nothing back, and this reads them."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import msgspec

from sidestream.conformance.events import OK

_LOOK_AGAIN: Final = 0.02
_MOST_SECONDS: Final = 300.0
"""The longest wait for a label of which something comes all the time."""
_MOST_A_LOOK: Final = 0.1
"""Seconds of silence that one look can add."""


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One event of one delivery.

    Attributes:
        attempt: how often it had been delivered to this topic before.
        answer: what the app answered, or was about to.
        batch: the delivery's number in this run of the app; events of a bulk share it.
        at: seconds since 1970.
        event: as it came, where the event asked for it.
    """

    topic: str
    label: str
    n: int
    attempt: int
    answer: str
    batch: int
    at: float
    event: str = ""


_decode: Final = msgspec.json.Decoder(Delivery).decode


def disturbing(record: Path) -> Path:
    """Return the file that is there as long as the check disturbs the app of this record."""
    return record.with_name("disturbing")


class Deliveries:
    """Reads the record of a probe app as it grows."""

    def __init__(self, record: Path) -> None:
        self._record = record
        self._offset = 0
        self._rest = b""
        self._by_label: dict[str, list[Delivery]] = defaultdict(list)

    def disturb(self) -> None:
        """Let the app answer as events ask it to meanwhile."""
        disturbing(self._record).touch()

    def calm(self) -> None:
        """Let the app answer as usual, also what it had held."""
        disturbing(self._record).unlink(missing_ok=True)

    def of(self, label: str, topic: str = "") -> list[Delivery]:
        """Return what came of a label, in the order of arrival, on one topic or on all."""
        self._read()
        found = self._by_label[label]
        return [each for each in found if each.topic == topic] if topic else list(found)

    def taken(self, label: str) -> list[int]:
        """Return the numbers that were answered OK, in the order of arrival."""
        return [each.n for each in self.of(label) if each.answer == OK]

    async def settle(self, label: str, expected: Collection[int], quiet: float) -> set[int]:
        """Wait until all of these were taken, or nothing came for so many seconds; return those that are missing.

        The wait counts from the last arrival, so that a slow machine is given its time and a lost event is still one. Of a
        moment in which the machine stood still only a little counts.
        """
        missing, heard, silent = set(expected), 0, 0.0
        begun = looked = time.monotonic()
        while True:
            # One read a look: what came between two reads would be heard and never taken.
            now = self.of(label)
            missing -= {each.n for each in now[heard:] if each.answer == OK}
            silent = 0.0 if len(now) > heard else silent + min(time.monotonic() - looked, _MOST_A_LOOK)
            heard, looked = len(now), time.monotonic()
            if not missing or silent >= quiet or looked - begun >= _MOST_SECONDS:
                return missing
            await asyncio.sleep(_LOOK_AGAIN)

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until a condition on what came holds; tell whether it did in time."""
        end = time.monotonic() + seconds
        while True:
            is_last = time.monotonic() > end  # asked before the condition: a pause between the two is nobody's fault
            if condition():
                return True
            if is_last:
                return False
            await asyncio.sleep(_LOOK_AGAIN)

    def _read(self) -> None:
        if not self._record.exists():
            return
        with self._record.open("rb") as file:
            file.seek(self._offset)
            chunk = file.read()
        self._offset += len(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            delivery = _decode(line)
            self._by_label[delivery.label].append(delivery)

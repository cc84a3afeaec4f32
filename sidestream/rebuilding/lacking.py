"""What one generation has counted that another lacks, though the log was asked for it: events that may be nowhere else.

A log can come back from a backup without its last events. A generation that has counted them is then their only copy, so
nothing is dropped or left for one that lacks them, unless somebody says so. Topics that the code does not follow are given up.
"""

from collections.abc import Collection, Iterator
from contextlib import closing
from typing import Any

import msgspec

from sidestream.applying.applied import COUNTS, STRANGERS
from sidestream.applying.intervals import Intervals
from sidestream.errors import ForeignPosition, SidestreamError
from sidestream.ports import Generation, Query, Reader
from sidestream.projection import Key, Table
from sidestream.rebuilding.building import Site, Vector
from sidestream.rebuilding.comparing import PAGE
from sidestream.rebuilding.verifying import up_to


class Held(msgspec.Struct, frozen=True):
    """What a generation holds and another lacks: so many events; or nobody can say, and why."""

    events: int
    unreadable: str = ""

    def __bool__(self) -> bool:
        """Whether it holds anything, for all that is known."""
        return bool(self.events or self.unreadable)


def held_by(site: Site, name: str, other: str) -> Held:
    """Return what this generation holds that the other one lacks; one that cannot be looked at may hold anything."""
    try:
        with closing(site.read_models.open(name)) as has, closing(site.read_models.open(other)) as lacks:
            return Held(count_lacking(site, lacks, has))
    except SidestreamError as error:
        return Held(0, str(error))


def count_lacking(site: Site, lacks: Generation, has: Generation) -> int:
    """Return how many events one generation lacks that another has counted, once it has read the log as far as that one.

    Raises:
        LogUnavailable, ReadModelError: one of them cannot be read.
    """
    with has.snapshot() as ours:
        _read_as_far(site, lacks, site.vector(ours))
        with lacks.snapshot() as theirs:
            return _count(ours, theirs, site.projection.topics)


def _read_as_far(site: Site, generation: Generation, vector: Vector) -> None:
    """An app may have taken the other one further. What stands at a place of another kind of broker is held against all of the log."""
    try:
        site.fill(generation, up_to(site, vector))
    except ForeignPosition:
        site.fill(generation, site.end_of_log())


def _count(ours: Reader, theirs: Reader, topics: Collection[str]) -> int:
    strangers = sum(there is None for _, there in _beside(ours, theirs, STRANGERS, topics))
    numbers = (
        Intervals.parse(here.intervals).without(Intervals.parse(there.intervals if there else ""))
        for here, there in _beside(ours, theirs, COUNTS, topics)
    )
    return strangers + sum(map(len, numbers))


def _beside(ours: Reader, theirs: Reader, table: Table[Any], topics: Collection[str]) -> Iterator[tuple[Any, Any]]:
    """Go through the rows of one side that are about these topics, each with that of the other side, None where it has none."""
    after: Key | None = None
    while page := ours.select(table, Query(order_by=table.key, after=after, limit=PAGE)):
        wanted = [row for row in page if row.topic in topics]
        found = theirs.read(table, map(table.key_of, wanted))
        yield from ((row, found.get(table.key_of(row))) for row in wanted)
        after = table.key_of(page[-1])


def why_it_stays(projection: str, name: str, live: str, held: Held) -> str:
    """Say why a generation was not dropped, and what ends it."""
    end = f"sidestream projections drop {projection} {name}"
    if held.unreadable:
        return f"{projection}: {name} stays, because nobody can say what it has counted: {held.unreadable} End it: {end}"
    return (
        f"{projection}: {name} stays: {name} has counted {held.events:,} events that {live} lacks, and may be their only copy. "
        f"Restore the log and rebuild; or give these events up for good: {end}"
    )

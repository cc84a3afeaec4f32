"""The append of a process that is alone with its store: one statement, one round trip.

A process that appended last knows the last position and the counts, and a writer says what version it expects. So it gives
places first, and one statement stores them on condition that nothing was appended since: position and producer are what they
were, each stream has the version its writer expects, and the unique indexes find no event that is there already. Where the condition does
not hold, nothing happened, and the append goes the long way (`postgres_append_transaction`), which says why.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import psycopg

from sidestream.adapters.postgres_append_transaction import ARRAYED, ARRAYS, INSERTED, NOW_MS, Session, columns_of
from sidestream.adapters.postgres_columns import bigints, integers, texts
from sidestream.adapters.postgres_database import escaped
from sidestream.adapters.postgres_places import Places
from sidestream.adapters.shared_turns import FULL, Call
from sidestream.errors import AppendRefused
from sidestream.event import MAX_NUMBER
from sidestream.ports import Append, Expected, StoredEvent

_APPEND: Final = (
    f"WITH alone AS (UPDATE store SET position = %b WHERE position = %b AND producer = %b AND NOT EXISTS (SELECT FROM "  # noqa: S608 - all our own text
    "unnest(%b::text[], %b::bigint[]) AS k(stream, version) "
    "WHERE k.version <> (SELECT coalesce(max(e.version), 0) FROM events e WHERE e.stream = k.stream)) "
    f"RETURNING position, producer, {NOW_MS} AS now_ms), "
    f"kept AS (INSERT INTO events ({INSERTED}) "
    "SELECT %b::bigint + k.n, k.topic, a.producer, k.sequence, k.source, k.event_id, k.stream, k.version, k.ordered, a.now_ms, k.digest, "
    "k.wire "
    f"FROM alone a, unnest({ARRAYS}) WITH ORDINALITY AS k({ARRAYED}, n)), "
    "counted AS (UPDATE counters c SET count = k.count FROM alone a, unnest(%b::int[], %b::bigint[]) AS k(topic, count) "
    "WHERE c.topic = k.topic AND c.producer = a.producer) "
    "SELECT a.now_ms, pg_notify(%b, a.position::text) FROM alone a"
).encode()


def append_alone(session: Session, calls: Sequence[Call], channel: str) -> list[tuple[StoredEvent, ...]] | None:
    """Store the calls if all of them can be stored without looking; None, and nothing happened, if not."""
    versions = _beliefs(calls)
    if session.seen is None or versions is None:
        return None
    places = session.seen.places(versions)
    try:
        stored = [places.take(*call) for call in calls]
    except AppendRefused:
        return None
    if not 0 < len(places.fresh) < FULL or not places.counts.keys() <= session.seen.counts.keys():
        return None
    now_ms = _stored_at(session, places, versions, channel)
    if now_ms is None:
        session.seen = None
        return None
    session.saw(places)
    return [tuple(msgspec.structs.replace(event, recorded_ms=now_ms) for event in events) for events in stored]


def _beliefs(calls: Sequence[Call]) -> Mapping[str, int] | None:
    """Return the version that the first writer of each stream expects; None where one expects nothing, or there is an answer."""
    versions: dict[str, int] = {}
    for appends, answer in calls:
        if answer is not None or not all(_believes(append, versions) for append in appends):
            return None
    return versions


def _believes(append: Append, versions: dict[str, int]) -> bool:
    if append.stream is not None and append.stream not in versions:
        if append.expected is Expected.ANY:
            return False
        expected = 0 if append.expected is Expected.NO_STREAM else append.expected
        if not 0 <= expected <= MAX_NUMBER:
            return False
        versions[append.stream] = expected
    return True


def _stored_at(session: Session, places: Places, versions: Mapping[str, int], channel: str) -> int | None:
    """Return when it was stored, None if the condition did not hold."""
    assert session.seen is not None
    topics = {session.topics[event.topic] for event, _ in places.fresh}
    counts = {session.topics[topic]: count for topic, count in places.counts.items() if session.topics[topic] in topics}
    seen, expected = session.seen, (texts(list(map(escaped, versions))), bigints(list(versions.values())))
    condition = (places.position, seen.position, seen.number, *expected)
    counted = (integers(list(counts)), bigints(list(counts.values())))
    values: Sequence[Any] = (*condition, seen.position, *columns_of(session, places), *counted, channel)
    try:
        row = session.connection.execute(_APPEND, values, binary=True).fetchone()
    except psycopg.errors.UniqueViolation:
        return None
    return None if row is None else int(row[0])

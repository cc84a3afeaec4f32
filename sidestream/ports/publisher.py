"""What hands events to the sidecar."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """One event ready for the wire: its bytes, its key for partitioned brokers, and what to call it in errors."""

    wire: bytes
    partition_key: str
    event_id: str


class Publisher(Protocol):
    """Hands events to the broker. No order is kept within one call; the caller sends waves."""

    async def publish(self, topic: str, events: Sequence[Outgoing]) -> Mapping[int, str]:
        """Publish a bulk and return what was not confirmed: index in `events` → reason. Empty: all stand in the log.

        What is named may stand in the log nevertheless. A call that failed altogether names every index.
        At most one call may hold 4 MiB; larger bulks are cut by the adapter.
        """
        ...

    async def close(self) -> None:
        """Release the connection."""
        ...

"""The events that every measurement of a rebuild reads, and the rule that folds them.

316 bytes an event on the wire, with a count and a key; so many keys in random order; one producer who counts: what daprd
writes for a cooperative publisher. Written into a real broker the way daprd writes (fields `data`
and `metadata`), by a loader that is not measured.
"""

import random
import socket
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from sidestream.event import Counted, Envelope, NewEvent, encode_event
from sidestream.projection import Key, Projection, Rows, Table
from sidestream.registry import Category, EventType, Registry

TOPIC: Final = "payments"
WIRE_BYTES: Final = 316
_SEED: Final = 4711
_PRODUCER: Final = "0192f0c1-7d2e-7000-8000-00000000abcd.1"


class Paid(msgspec.Struct, frozen=True):
    """Somebody paid into an account."""

    amount: int


class Balance(msgspec.Struct, frozen=True):
    """One row per account: at most 200 bytes."""

    account: str
    balance: int
    payments: int
    last: str


BALANCES: Final = Table(Balance, key=("account",))
REGISTRY: Final = Registry([Category("a", TOPIC, "/bank", (EventType("paid", Paid, ordered=False),))])


class Balances(Projection):
    """Adds up what was paid into each account."""

    name = "balances"
    topics = (TOPIC,)
    handles = (Paid,)
    tables = (BALANCES,)

    def keys(self, event: Paid, envelope: Envelope) -> tuple[tuple[Table[Any], Key], ...]:
        return ((BALANCES, (envelope.stream,)),)

    def evolve(self, rows: Rows, event: Paid, envelope: Envelope) -> None:
        account = envelope.stream
        row = rows.get(BALANCES, (account,))
        if row is None:
            rows.put(BALANCES, Balance(account, event.amount, 1, envelope.id))
        else:
            rows.put(BALANCES, Balance(account, row.balance + event.amount, row.payments + 1, envelope.id))


def payments(events: int, keys: int) -> Iterator[tuple[str, Paid]]:
    """Return who is paid how much, the same sequence every time."""
    dice = random.Random(_SEED)
    for _ in range(events):
        yield f"a-{dice.randrange(keys):05d}", Paid(dice.randrange(100, 1000))


def wires(events: int, keys: int) -> Iterator[bytes]:
    """Return the events as a publisher hands them to the sidecar: WIRE_BYTES each."""
    for number, (account, paid) in enumerate(payments(events, keys), 1):
        yield _wire(number, account, paid)


def _wire(number: int, account: str, paid: Paid) -> bytes:
    event = NewEvent(
        topic=TOPIC,
        id=f"0192f0c1-7d2e-7000-8000-{number:012x}",
        source="/bank",
        type="paid",
        data=msgspec.json.encode(paid),
        subject=account,
        time="2026-11-21T10:00:00Z",
    )
    return encode_event(event, Counted(_PRODUCER, number))


def load(port: int, topic: str, events: Iterable[bytes]) -> int:
    """Write events into a stream as daprd does; return how many."""
    count = 0
    with socket.create_connection(("127.0.0.1", port)) as connection:
        pending: list[bytes] = []
        for wire in events:
            parts = (b"XADD", topic.encode(), b"*", b"data", wire, b"metadata", b"null")
            pending.append(b"*7\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
            if len(pending) == 1000:
                count += _send(connection, pending)
        count += _send(connection, pending)
    return count


def _send(connection: socket.socket, pending: list[bytes]) -> int:
    """Send what is pending and read as many answers, `$15\\r\\n1763719200000-0\\r\\n` each."""
    connection.sendall(b"".join(pending))
    lines = 0
    while lines < 2 * len(pending):
        found = connection.recv(1 << 16)
        if not found or b"-ERR" in found or b"-OOM" in found:
            raise RuntimeError(f"broker: {found[:200]!r}")
        lines += found.count(b"\n")
    sent = len(pending)
    pending.clear()
    return sent

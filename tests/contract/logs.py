"""What every log is asked to hold, and how a test looks at it."""

from collections.abc import Sequence
from typing import Protocol

from sidestream.ports import EventLog

EVENTS = [b'{"n":%d}' % number for number in range(25)]
DATA_AS_IT_CAME = [
    b'{"n":9007199254740993}',
    b'{"n":0.12345678901234567}',
    b'{"n":1.0}',
    rb'{"s":"\u0000"}',
    '{"s":"🎈"}'.encode(),
    b"\xff\xfe",
    b"no json\r\n",
    b"",
]


class Written(Protocol):
    """A log together with its broker's hand."""

    @property
    def log(self) -> EventLog: ...

    def record(self, topic: str, wires: Sequence[bytes]) -> None: ...

    def trim(self, topic: str, upto: str) -> None: ...

    def flush(self, topic: str) -> None: ...


def positions(written: Written, topic: str = "votes") -> list[str]:
    return [entry.position for entry in written.log.read(topic, None, 1000)]


def data(entries: Sequence[object]) -> list[bytes]:
    return [entry.data for entry in entries]  # type: ignore[attr-defined]

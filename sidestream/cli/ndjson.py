"""Reads a file of CloudEvents, one a line, plain or gzipped, and checks each as far as it can be checked without the bridge.

Line by line, so that memory stays what it is however long the file, or a line, may be.
"""

import gzip
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, cast

import msgspec

from sidestream.errors import ConfigurationError, InvalidEvent
from sidestream.event import MAX_EVENT_BYTES

_GZIP: Final = b"\x1f\x8b"
_SPECVERSION: Final = "1.0"
_MAX_PIECE: Final = MAX_EVENT_BYTES + 2
"""The longest line that may hold an event: itself and its end, \\r\\n."""


class Line(msgspec.Struct, frozen=True, gc=False):
    """One event: its number in the file from 1, its bytes, and what its order is kept by."""

    number: int
    event: bytes
    stream: str


class Refused(msgspec.Struct, frozen=True):
    """A line that did not go in, and why."""

    line: int
    reason: str


class _Required(msgspec.Struct, gc=False):
    specversion: str
    id: str
    source: str
    type: str
    subject: str | None = None


_decode: Final = msgspec.json.Decoder(_Required).decode


class NdjsonFile:
    """An open file; `-` is standard input. Use it as a context manager."""

    def __init__(self, name: str) -> None:
        self._raw = _open(name)
        self._lines = _unpacked(self._raw)
        self.size = Path(name).stat().st_size if name != "-" and Path(name).is_file() else None

    @property
    def position(self) -> int:
        """How many bytes of the file have been read."""
        return self._raw.tell() if self.size is not None else 0

    def __iter__(self) -> Iterator[Line | Refused]:
        """Go through the lines; empty ones are passed over.

        Raises:
            ConfigurationError: the file cannot be read on.
        """
        number = 0
        try:
            while piece := self._lines.readline(_MAX_PIECE + 1):
                number += 1
                found = self._line(number, piece)
                if found is not None:
                    yield found
        except (OSError, EOFError, zlib.error) as error:
            raise ConfigurationError(f"line {number + 1}: the file cannot be read on: {error}") from None

    def _line(self, number: int, piece: bytes) -> Line | Refused | None:
        if len(piece) > _MAX_PIECE and not piece.endswith(b"\n"):
            self._skip_line()
        event = piece.strip()
        if len(event) > MAX_EVENT_BYTES:
            return Refused(number, f"expected at most {MAX_EVENT_BYTES} bytes, found more")
        if not event:
            return None
        try:
            return Line(number, event, _check(event))
        except InvalidEvent as error:
            return Refused(number, str(error))

    def _skip_line(self) -> None:
        while piece := self._lines.readline(64 * 1024):
            if piece.endswith(b"\n"):
                return

    def __enter__(self) -> "NdjsonFile":
        return self

    def __exit__(self, *_: object) -> None:
        """Close it; standard input stays open for whoever comes after us."""
        if self._raw is not sys.stdin.buffer:
            self._lines.close()
            self._raw.close()


def _open(name: str) -> IO[bytes]:
    if name == "-":
        return sys.stdin.buffer
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise ConfigurationError(f"{name}: expected a file of CloudEvents, one a line: {error.strerror}. Check the name.") from None


def _unpacked(raw: IO[bytes]) -> IO[bytes]:
    peeked: bytes = raw.peek(2)[:2]  # type: ignore[attr-defined]  # both kinds of file are buffered readers
    return cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if peeked == _GZIP else raw


def _check(event: bytes) -> str:
    """Return the stream of an event.

    Raises:
        InvalidEvent: it is no CloudEvent.
    """
    try:
        event.decode()
        found = _decode(event)
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"expected UTF-8, found byte 0x{event[error.start]:02x} at {error.start}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidEvent(f"expected a CloudEvent as JSON: {error}") from None
    if found.specversion != _SPECVERSION:
        raise InvalidEvent(f"expected specversion {_SPECVERSION}, found {found.specversion!r}")
    missing = [name for name in ("id", "source", "type") if not getattr(found, name)]
    if missing:
        raise InvalidEvent(f"expected {', '.join(missing)} not to be empty")
    return found.subject or f"{found.source} {found.id}"

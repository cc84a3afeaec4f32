"""Entries cut into portions that are small enough to be held in memory and written at once."""

from collections.abc import Iterable, Iterator
from typing import Final

_ENTRIES: Final = 500
_BYTES: Final = 4 * 1024 * 1024


def portions(wires: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield them in order, up to 500 or about 4 MiB at a time."""
    portion: list[bytes] = []
    weight = 0
    for wire in wires:
        portion.append(wire)
        weight += len(wire)
        if len(portion) == _ENTRIES or weight >= _BYTES:
            yield portion
            portion, weight = [], 0
    if portion:
        yield portion

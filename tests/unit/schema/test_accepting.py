"""Whether a reader of one model takes what a writer of another writes."""

from typing import Annotated, Any, Literal

import msgspec
import pytest

from sidestream.schema.accepting import accepts

SHORT = Annotated[str, msgspec.Meta(max_length=10)]
LONG = Annotated[str, msgspec.Meta(max_length=20)]


class Tree(msgspec.Struct, frozen=True):
    value: int
    children: "tuple[Tree, ...]" = ()


class Bush(msgspec.Struct, frozen=True):
    value: float
    children: "tuple[Bush, ...]" = ()


class Strange(msgspec.Struct, frozen=True):
    value: str
    children: "tuple[Strange, ...]" = ()


class Place(msgspec.Struct, frozen=True, array_like=True):
    x: int
    y: int = 0


class Corner(msgspec.Struct, frozen=True, array_like=True):
    x: int
    y: int = 1


class Spot(msgspec.Struct, frozen=True, array_like=True):
    x: float
    y: int = 0


def takes(reader: Any, writer: Any) -> bool:
    reads, writes = msgspec.json.schema(reader), msgspec.json.schema(writer)
    return accepts(reads, writes, reads, writes)


@pytest.mark.parametrize(
    ("reader", "writer", "yes", "back"),
    [
        (Bush, Tree, True, False),
        (Strange, Tree, False, False),
        (tuple[int, str], tuple[int, str], True, True),
        (tuple[float, Tree], tuple[int, Tree], True, False),
        (tuple[int, Bush], tuple[int, Tree], True, False),
        (tuple[int, ...], tuple[int, int], False, False),
        (Place, Place, True, True),
        (Spot, Place, True, False),
        (Place, Corner, False, False),  # what is left out would be another
        (dict[str, Bush], dict[str, Tree], True, False),
        (int | str | None, int, True, False),
        (int | str, str | int, True, True),
        (LONG, SHORT, True, False),
        (Literal[1, 2], Literal[1], True, False),
        (int, Literal[1, 2], True, False),
        (float, Literal[1, 2], True, False),
        (Literal["a"], Literal["b"], False, False),
        (Any, Literal["a"], True, False),
        (Any, int, True, False),
        (Annotated[str, msgspec.Meta(pattern="^a")], Annotated[str, msgspec.Meta(pattern="^a")], True, True),
        (Annotated[str, msgspec.Meta(pattern="^a")], Annotated[str, msgspec.Meta(pattern="^b")], False, False),
        (Annotated[int, msgspec.Meta(ge=0)], Annotated[int, msgspec.Meta(ge=1)], True, False),
    ],
    ids=str,
)
def test_a_reader_takes_what_a_writer_writes_or_not(reader: Any, writer: Any, yes: bool, back: bool) -> None:
    assert (takes(reader, writer), takes(writer, reader)) == (yes, back)


def test_what_is_not_understood_is_accepted_only_as_it_is() -> None:
    odd: dict[str, Any] = {"type": "string", "not": {"type": "null"}}
    assert accepts(odd, odd, {}, {})
    assert not accepts(odd, {"type": "string"}, {}, {})
    assert not accepts({"type": "string"}, odd, {}, {})

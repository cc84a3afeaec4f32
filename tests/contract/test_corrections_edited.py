"""The event that an operator gives to be used instead: the same one, with other data, and no number changed."""

import pytest

from sidestream.applying.corrections import checked, with_data, with_fields
from sidestream.errors import InvalidEvent

WIRE = b'{"id":"1","source":"/s","type":"t","producer":"p","sequence":"01","data":{"a":1.0,"b":9007199254740993},"own":12.50}'


def test_no_number_changes_in_what_is_not_edited() -> None:
    assert with_fields(WIRE, b'{"c":1.0}') == WIRE.replace(b"740993}", b'740993,"c":1.0}')
    assert with_data(WIRE, b"0.10") == WIRE.replace(b'{"a":1.0,"b":9007199254740993}', b"0.10")


@pytest.mark.parametrize(
    "instead",
    [
        WIRE.replace(b'"1"', b'"2"'),
        WIRE.replace(b'"/s"', b'"/t"'),
        WIRE.replace(b'"p"', b'"q"'),
        WIRE.replace(b'"01"', b'"02"'),
        WIRE[:-1] + b',"subject":"x"}',
        WIRE[:-1] + b',"streamversion":4}',
        b"{",
        WIRE[:-1] + b',"x":"' + b"x" * 4 * 1024 * 1024 + b'"}',
    ],
)
def test_an_event_that_is_another_one_cannot_be_used_instead(instead: bytes) -> None:
    with pytest.raises(InvalidEvent, match="edit: "):
        checked(WIRE, instead)


@pytest.mark.parametrize(("original", "data"), [(WIRE, b"{"), (WIRE, b"\xff"), (b"{", b"{}"), (b"[]", b"{}")])
def test_what_is_no_json_is_refused(original: bytes, data: bytes) -> None:
    with pytest.raises(InvalidEvent, match="edit: expected"):
        with_data(original, data)


def test_fields_are_set_in_an_object_only() -> None:
    with pytest.raises(InvalidEvent, match="edit: expected --set"):
        with_fields(WIRE, b"[]")
    with pytest.raises(InvalidEvent, match="edit: expected the event's data"):
        with_fields(WIRE.replace(b'{"a":1.0,"b":9007199254740993}', b"5"), b"{}")

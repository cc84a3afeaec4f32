"""The wire format: strict when written, tolerant when read, and no number is ever changed."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.errors import InvalidEvent, UnreadableEvent
from sidestream.event import MAX_EVENT_BYTES, Counted, Envelope, NewEvent, decode_event, encode_event

COUNTED = Counted("0190-writer.1", 7)


def new_event(**changes: object) -> NewEvent:
    event = NewEvent(topic="orders", id="e1", source="/services/orders", type="order.placed", data=b'{"n":1}', subject="order-7f3a")
    return msgspec.structs.replace(event, **changes)


def test_an_event_on_the_wire_is_a_cloud_event_with_a_count() -> None:
    wire = msgspec.json.decode(encode_event(new_event(time="2026-11-21T00:00:00Z"), Counted("w.1", 7, 3)))
    assert wire == {
        "specversion": "1.0",
        "id": "e1",
        "source": "/services/orders",
        "type": "order.placed",
        "subject": "order-7f3a",
        "time": "2026-11-21T00:00:00Z",
        "partitionkey": "order-7f3a",
        "datacontenttype": "application/json",
        "data": {"n": 1},
        "producer": "w.1",
        "sequence": "00000000000000000007",
        "streamversion": 3,
    }


def test_a_trace_stands_where_the_sidecar_looks_before_it_writes_its_own() -> None:
    wire = msgspec.json.decode(encode_event(new_event(traceparent="00-1-2-01"), COUNTED))
    assert (wire["traceparent"], wire["traceid"]) == ("00-1-2-01", "00-1-2-01")
    assert "traceid" not in msgspec.json.decode(encode_event(new_event(), COUNTED))


@pytest.mark.parametrize("data", [b"9007199254740993", b"0.12345678901234567", b"1.0", b'"\\u0000"', '"🎈"'.encode(), b"null", b"1e400"])
def test_data_keeps_its_bytes(data: bytes) -> None:
    assert bytes(decode_event(encode_event(new_event(data=data), COUNTED)).data) == data


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40), st.integers(1, 2**63 - 1))
def test_names_and_numbers_come_back(event_id: str, subject: str, number: int) -> None:
    envelope = decode_event(encode_event(new_event(id=event_id, subject=subject), Counted("w.1", number)))
    assert (envelope.id, envelope.subject, envelope.number) == (event_id, subject, number)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": ""}, "expected id, source and type"),
        ({"type": ""}, "expected id, source and type"),
        ({"topic": ""}, "expected a topic"),
        ({"subject": "\ud800"}, "valid Unicode"),
        ({"subject": "x" * 513}, "at most 512 bytes"),
        ({"extensions": {"producer": "me"}}, "set by the writer"),
        ({"extensions": {"Upper": "x"}}, "lower-case letters and digits"),
        ({"extensions": {"type": "x"}}, "lower-case letters and digits"),
        ({"extensions": {"list": []}}, "expected text, integer or boolean"),
        ({"data": b'"' + b"x" * MAX_EVENT_BYTES + b'"'}, "expected at most"),
    ],
)
def test_what_must_not_enter_the_log_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidEvent, match=message):
        encode_event(new_event(**changes), COUNTED)


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"id":"1","source":"s"}',
        b'{"id":1,"source":"s","type":"t"}',
        b'{"id":"","source":"s","type":"t"}',
        b'{"id":"1","source":"s","type":"t","producer":"p"}',
        b'{"id":"1","source":"s","type":"t","producer":"p","sequence":"-1"}',
        b'{"id":"1","source":"s","type":"t","producer":"p","sequence":"99999999999999999999"}',
        b'{"id":"1","source":"s","type":"t","producer":"p","sequence":"1","streamversion":"x"}',
        b'{"id":"1","source":"s","type":"t","producer":"p","sequence":"1","streamversion":0}',
        b'{"id":"\\ud800","source":"s","type":"t"}',
        b'{"id":"1","source":"s","type":"t","data":"\xff"}',
        b'{"id":"1","source":"s","type":"t","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_an_entry_that_is_no_event_is_unreadable(wire: bytes) -> None:
    with pytest.raises(UnreadableEvent):
        decode_event(wire)


def test_a_stranger_needs_nothing_but_the_required_attributes() -> None:
    envelope = decode_event(b'{"specversion":"1.0","id":"1","source":"/curl","type":"t","traceparent":"","unknown":[1]}')
    assert (envelope.number, envelope.stream) == (0, "/curl 1")


def test_a_strangers_own_numbers_and_types_do_not_count_here() -> None:
    envelope = decode_event(
        b'{"id":"1","source":"s","type":"t","subject":"a","streamversion":9,"sequence":"x","correlationid":5,"dataschema":"urn:x","data":1.0}'
    )
    assert isinstance(envelope, Envelope)
    assert (envelope.correlationid, envelope.dataschema) == (None, "urn:x")
    assert (envelope.number, envelope.streamversion, envelope.subject, bytes(envelope.data)) == (0, None, "a", b"1.0")


def test_a_repeat_has_the_same_digest_and_another_event_has_another() -> None:
    assert new_event().content_digest() == new_event(time="later").content_digest()
    assert new_event().content_digest() != new_event(data=b'{"n":2}').content_digest()
    assert new_event(fingerprint=b"a").content_digest() != new_event(fingerprint=b"b").content_digest()

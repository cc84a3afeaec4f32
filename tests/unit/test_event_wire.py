"""The bytes of the wire, attribute by attribute: stored once, they are compared and sent again for ever, so that they must not change.

The encoder is quick; the one here is plain, and says what it has to write.
"""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestream.errors import InvalidEvent
from sidestream.event import Counted, NewEvent, encode_event

texts = st.none() | st.text(max_size=8)
names = st.text(min_size=1, max_size=8)
json_texts = st.sampled_from([b"{}", b'{"n":1.0}', b' {"n": 9007199254740993} ', '"é🎈"'.encode(), b"null"])
extensions = st.dictionaries(
    st.sampled_from(["correlationid", "traceid", "partitionkey", "tenant", "x1"]), st.text(max_size=4) | st.integers(0, 9) | st.booleans()
)
events = st.builds(
    NewEvent,
    topic=names,
    id=names,
    source=names,
    type=names,
    data=st.none() | json_texts,
    data_base64=st.sampled_from([None, "", "AAE="]),
    datacontenttype=texts,
    dataschema=texts,
    subject=texts,
    time=texts,
    correlationid=texts,
    causationid=texts,
    traceparent=texts,
    extensions=st.just({}) | extensions,
)
places = st.builds(Counted, st.text(max_size=8), st.integers(1, 2**63 - 1), st.none() | st.integers(1, 2**63 - 1))


def plainly(event: NewEvent, counted: Counted) -> bytes:
    wire: dict[str, object] = {"specversion": "1.0", "id": event.id, "source": event.source, "type": event.type}
    named = {name: getattr(event, name) for name in ("subject", "time", "dataschema")} | {"partitionkey": event.subject}
    named |= {name: getattr(event, name) for name in ("correlationid", "causationid", "traceparent")} | {"traceid": event.traceparent}
    wire |= {name: value for name, value in named.items() if value} | dict(event.extensions)
    if event.data_base64 is not None:
        wire |= {"data_base64": event.data_base64, "datacontenttype": event.datacontenttype or "application/octet-stream"}
    elif event.data is not None:
        wire |= {"datacontenttype": event.datacontenttype or "application/json", "data": msgspec.Raw(event.data.strip())}
    wire |= {"producer": counted.producer, "sequence": str(counted.sequence).rjust(20, "0")}
    return msgspec.json.encode(wire if counted.streamversion is None else wire | {"streamversion": counted.streamversion})


@given(events, places)
def test_the_wire_is_what_is_given_in_the_order_it_is_given(event: NewEvent, counted: Counted) -> None:
    assert encode_event(event, counted) == plainly(event, counted)


def test_an_event_with_everything_has_these_bytes() -> None:
    event = NewEvent(
        topic="orders",
        id="e1",
        source="/orders",
        type="order.placed",
        data=b'{"n":1.0}',
        dataschema="urn:o:2",
        subject="order-7",
        time="2026-11-21T00:00:00Z",
        correlationid="c",
        causationid="b",
        traceparent="00-1-2-01",
        extensions={"tenant": "t", "correlationid": "d", "vip": True},
    )
    assert encode_event(event, Counted("w.1", 7, 3)) == (
        b'{"specversion":"1.0","id":"e1","source":"/orders","type":"order.placed","subject":"order-7","time":"2026-11-21T00:00:00Z",'
        b'"dataschema":"urn:o:2","partitionkey":"order-7","correlationid":"d","causationid":"b","traceparent":"00-1-2-01",'
        b'"traceid":"00-1-2-01","tenant":"t","vip":true,"datacontenttype":"application/json","data":{"n":1.0},'
        b'"producer":"w.1","sequence":"00000000000000000007","streamversion":3}'
    )


def test_an_event_with_nothing_but_its_names_has_these_bytes() -> None:
    wire = encode_event(NewEvent(topic="t", id="e", source="s", type="y"), Counted("w.1", 12))
    assert wire == b'{"specversion":"1.0","id":"e","source":"s","type":"y","producer":"w.1","sequence":"00000000000000000012"}'


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"a":"\xff"}', b"1 2"])
def test_data_that_is_no_json_in_utf_8_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidEvent, match="expected data as JSON text in UTF-8"):
        encode_event(NewEvent(topic="t", id="e", source="s", type="y", data=data), Counted("w.1", 1))

"""Events of strangers: what is taken, what is refused, and what a repeat is."""

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bridge.cloudevents import is_json, is_rfc3339, read_binary, read_plain, read_structured
from sidestream.errors import InvalidEvent
from sidestream.event import MAX_EVENT_BYTES, Counted, NewEvent, decode_event, encode_event

NOW = "2026-11-20T09:30:00.000000Z"


def structured(data: str | None = None, **changes: Any) -> NewEvent:
    """Read an event with these attributes; None leaves one out; `data` is put in as it stands."""
    attributes = {"specversion": "1.0", "id": "1", "source": "/till", "type": "opened", **changes}
    text = json.dumps({name: value for name, value in attributes.items() if value is not None})
    if data is not None:
        text = f'{text[:-1]}, "data": {data}}}'
    return read_structured(text.encode(), NOW)


def wire_of(event: NewEvent) -> Any:
    return msgspec.json.decode(encode_event(event, Counted("p.1", 7)))


# ── taken ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "data", ["9007199254740993", "1.0", "0.12345678901234567", '"\\u0000"', '"🐈"', "null", '{"a": [ 1 , 2 ]}', '{"a":1,"a":2}']
)
def test_data_is_kept_byte_by_byte(data: str) -> None:
    event = structured(data)

    assert event.data == data.encode()
    assert bytes(decode_event(encode_event(event, Counted("p.1", 7))).data) == data.encode()


def test_four_attributes_are_enough() -> None:
    event = structured()

    assert (event.id, event.source, event.type, event.topic) == ("1", "/till", "opened", "external")
    assert event.time == NOW
    assert event.data is None


def test_extension_attributes_are_kept_as_they_are() -> None:
    event = structured(tenant="a", retries=3, urgent=True, traceparent="00-1-2-3", correlationid="c", partitionkey="p", nothing=None)
    wire = wire_of(event)

    assert {name: wire[name] for name in ("tenant", "retries", "urgent", "traceparent", "correlationid", "partitionkey")} == {
        "tenant": "a",
        "retries": 3,
        "urgent": True,
        "traceparent": "00-1-2-3",
        "correlationid": "c",
        "partitionkey": "p",
    }
    assert "nothing" not in wire


def test_a_strangers_own_count_is_kept_under_another_name() -> None:
    wire = wire_of(structured(producer="theirs", sequence="00007", streamversion=3))

    assert (wire["originproducer"], wire["originsequence"], wire["originstreamversion"]) == ("theirs", "00007", 3)
    assert (wire["producer"], wire["sequence"]) == ("p.1", "00000000000000000007")
    assert "streamversion" not in wire


def test_an_event_that_was_bridged_before_keeps_its_first_origin() -> None:
    assert wire_of(structured(producer="second", originproducer="first"))["originproducer"] == "first"


def test_only_events_with_a_subject_have_an_order() -> None:
    assert structured(subject="till-1").ordered
    assert not structured().ordered


def test_base64_stays_base64() -> None:
    encoded = base64.b64encode(b"\0\xff").decode()
    wire = wire_of(structured(data_base64=encoded, datacontenttype="image/png"))

    assert (wire["data_base64"], wire["datacontenttype"]) == (encoded, "image/png")
    assert "data" not in wire


def test_the_plain_form_is_an_event_too() -> None:
    event = read_plain(b'{"type": "opened", "source": "/till", "payload": 1.0, "subject": "till-1"}', NOW, lambda: "new")

    assert (event.id, event.type, event.source, event.subject, event.data, event.time) == ("new", "opened", "/till", "till-1", b"1.0", NOW)


# ── refused ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"specversion": None}, "specversion: expected text"),
        ({"specversion": "0.3"}, "specversion: expected 1.0, found '0.3'"),
        ({"specversion": 1.0}, "specversion: expected text, found a number"),
        ({"id": None}, "id: expected text that is not empty, found nothing"),
        ({"id": ""}, "id: expected text that is not empty, found empty text"),
        ({"id": 5}, "id: expected text, found a number"),
        ({"id": "x" * 513}, "id: expected at most 512 bytes"),
        ({"source": "a b"}, "source: expected a URI reference"),
        ({"source": "a\nb"}, "source: expected text without control characters"),
        ({"type": []}, "type: expected text that is not empty, found a list"),
        ({"type": {"a": 1}}, "type: expected text, found an object"),
        ({"subject": ""}, "subject: expected text that is not empty"),
        ({"subject": "a\x00"}, "subject: expected text without control"),
        ({"time": "yesterday"}, "time: expected RFC 3339"),
        ({"time": "2026-13-20T09:30:00Z"}, "time: expected RFC 3339"),
        ({"dataschema": "not a uri"}, "dataschema: expected a URI"),
        ({"correlationid": 5}, "correlationid: expected text"),
        ({"Tenant": "a"}, "expected a name of lower-case letters"),
        ({"ten_ant": "a"}, "expected a name of lower-case letters"),
        ({"é": "a"}, "expected a name of lower-case letters"),
        ({"x" * 41: "a"}, "expected lower-case letters and digits"),
        ({"tenant": 1.5}, "tenant: expected text, a boolean or an integer"),
        ({"tenant": 2**31}, "tenant: expected text, a boolean or an integer"),
        ({"tenant": {"a": 1}}, "found an object"),
        ({"data_base64": "no base64!"}, "data_base64: expected base64"),
        ({"data_base64": "é"}, "data_base64: expected base64"),
        ({"data_base64": 1}, "data_base64: expected text"),
        ({"data_base64": "", "data": None}, None),
    ],
)
def test_what_cloudevents_does_not_allow_is_refused_with_a_reason(changes: dict[str, Any], reason: str | None) -> None:
    if reason is None:
        structured(**changes)
        return
    with pytest.raises(InvalidEvent) as caught:
        structured(**changes)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"specversion": "1.0", "id": "\\ud800", "source": "s", "type": "t"}',
        b'{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": "\\udc00 lone"}',
        b'{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": {"\\ud800": 1}}',
        b'{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": "\xff"}',
        b'{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": 1e999}',
        b'{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": NaN}',
        b'{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"specversion": "1.0", "id": "1", "source": "s", "type": "t"} {}',
    ],
)
def test_what_could_not_be_read_later_is_refused_now(body: bytes) -> None:
    with pytest.raises(InvalidEvent):
        read_structured(body, NOW)


def test_data_and_base64_exclude_each_other() -> None:
    with pytest.raises(InvalidEvent, match="found both"):
        structured("1", data_base64="AA==")


def test_an_event_that_is_too_large_for_the_sidecar_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="at most"):
        structured(json.dumps("x" * MAX_EVENT_BYTES))
    assert structured(json.dumps("x" * (MAX_EVENT_BYTES - 1000))).data


@pytest.mark.parametrize(
    "body",
    [
        {"type": "a", "source": "b"},
        {"source": "b", "payload": 1},
        {"type": "a", "payload": 1},
        {"type": "a", "source": "b", "payload": 1, "tenant": "x"},
        {"type": "a", "source": "b", "payload": 1, "id": ""},
        {"type": "a", "source": "b", "payload": 1, "id": 5},
        {"type": "a", "source": "b", "payload": 1, "time": 5},
        {"specversion": "1.0", "type": "a", "source": "b", "id": "1"},
        [],
    ],
)
def test_a_plain_form_with_more_or_less_is_refused(body: Any) -> None:
    with pytest.raises(InvalidEvent):
        read_plain(json.dumps(body).encode(), NOW, lambda: "new")


# ── binary mode ──────────────────────────────────────────────────────────────────────────────────────────────────────

CE = [(b"ce-specversion", b"1.0"), (b"ce-id", b"1"), (b"ce-source", b"/till"), (b"ce-type", b"opened")]


def test_binary_mode_keeps_json_and_encodes_the_rest() -> None:
    as_json = read_binary(CE, "application/json; charset=utf-8", b' {"a": 1.0}', NOW)
    as_bytes = read_binary(CE, "image/png", b"\x89PNG", NOW)
    nothing = read_binary(CE, "", b"", NOW)

    assert (as_json.data, as_json.datacontenttype) == (b' {"a": 1.0}', "application/json; charset=utf-8")
    assert (as_bytes.data_base64, as_bytes.datacontenttype) == (base64.b64encode(b"\x89PNG").decode(), "image/png")
    assert nothing.data is None
    assert nothing.data_base64 is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(b"Euro%20%E2%82%AC", "Euro €"), (b"100%25", "100%"), (b'"a \\"b\\""', 'a "b"'), ("é".encode(), "é"), (b"50%", "50%")],
)
def test_header_values_are_decoded_as_the_binding_says(value: bytes, text: str) -> None:
    assert read_binary([*CE, (b"ce-subject", value)], "", b"", NOW).subject == text


@pytest.mark.parametrize(
    "headers",
    [
        CE[1:],
        [*CE, (b"ce-id", b"2")],
        [*CE, (b"ce-subject", b"%ff")],
        [*CE, (b"ce-subject", b"%0a")],
        [*CE, (b"ce-datacontenttype", b"text/plain")],
        [*CE, (b"ce-data", b"1")],
        [*CE, (b"ce-data_base64", b"AA==")],
        [*CE, (b"ce-Ten-ant", b"1")],
        [*CE, (b"ce-", b"1")],
    ],
)
def test_headers_that_are_no_attributes_are_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(InvalidEvent):
        read_binary(headers, "", b"", NOW)


def test_a_body_that_says_json_and_is_not_is_refused() -> None:
    with pytest.raises(InvalidEvent):
        read_binary(CE, "application/json", b"{", NOW)


@pytest.mark.parametrize(
    ("content_type", "yes"),
    [
        ("application/json", True),
        ("Application/JSON ; charset=UTF-8", True),
        ("text/json", True),
        ("application/problem+json", True),
        ("application/json; charset=latin-1", False),
        ("text/plain", False),
        ("", False),
    ],
)
def test_json_is_told_by_the_content_type(content_type: str, *, yes: bool) -> None:
    assert is_json(content_type) == yes


# ── repeats ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_event_is_the_same_whenever_and_in_whatever_mode_it_comes() -> None:
    later = read_structured(b'{"type":"opened","source":"/till","id":"1","specversion":"1.0","data":{"a":1}}', "2027-01-01T00:00:00Z")
    binary = read_binary([*CE], "application/json", b'{"a":1}', NOW)
    plain = read_plain(b'{"id":"1","type":"opened","source":"/till","payload":{"a":1}}', NOW, lambda: "new")

    assert structured('{"a":1}').fingerprint == later.fingerprint == binary.fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    ("data", "changes"),
    [
        ('{"a": 1}', {}),
        ('{"a":1.0}', {}),
        (None, {}),
        ("null", {}),
        ('{"a":1}', {"time": NOW}),
        ('{"a":1}', {"tenant": "a"}),
        ('{"a":1}', {"subject": "s"}),
        ('{"a":1}', {"datacontenttype": "text/json"}),
    ],
)
def test_whatever_is_not_the_same_is_another_event(data: str | None, changes: dict[str, Any]) -> None:
    assert structured(data, **changes).fingerprint != structured('{"a":1}').fingerprint


# ── times ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "time",
    ["2026-11-20T09:30:00Z", "2026-11-20t09:30:00z", "2026-11-20T09:30:00.123456789+05:30", "2016-12-31T23:59:60Z", "0001-01-01T00:00:00Z"],
)
def test_rfc3339_times_are_known(time: str) -> None:
    assert is_rfc3339(time)


@pytest.mark.parametrize(
    "time",
    [
        "2026-11-20",
        "2026-11-20T09:30Z",
        "2026-11-20 09:30:00Z",
        "2026-11-20T09:30:00",
        "2026-02-30T09:30:00Z",
        "2026-11-20T24:30:00Z",
        "٢٠٢٦-11-20T09:30:00Z",
    ],
)
def test_other_times_are_not(time: str) -> None:
    assert not is_rfc3339(time)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    max_leaves=10,
)


@given(json_values)
def test_any_json_goes_through_unchanged(value: Any) -> None:
    data = json.dumps(value)

    assert bytes(decode_event(encode_event(structured(data), Counted("p.1", 1))).data) == data.encode()


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_never_breaks_anything(body: bytes) -> None:
    with pytest.raises(InvalidEvent):
        read_structured(body, NOW)


@pytest.mark.parametrize("mark", [b"true", b'"true"'])
def test_an_event_that_is_handed_over_again_is_not_recorded_again(mark: bytes) -> None:
    with pytest.raises(InvalidEvent, match="replayed: expected a new event"):
        read_structured(b'{"specversion":"1.0","id":"1","source":"/s","type":"t","replayed":%s}' % mark, "2026-11-20T09:30:00Z")

"""The activity through its doors: anybody's events in, the newest of all topics out."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from events.assets import AssetDiscovered, asset_stream
from events.scans import ScanFailed, scan_stream
from events.votes import VoteCast, vote_stream
from projections.activity import bootstrap
from sidestream.testing import Happened, happened, stranger
from tests.e2e.read_side import ReadSide, reading

VOTE = happened(VoteCast("lunch", "soup", "ann"), subject=vote_stream("lunch", "ann"), time="2026-01-01T00:00:03Z")
ASSET = happened(AssetDiscovered("/a", 2**53 + 1, 1, "", "aa", "1"), subject=asset_stream("1"), time="2026-01-01T00:00:02Z")
SCAN = happened(ScanFailed("no such directory"), subject=scan_stream("1"), time="2026-01-01T00:00:01Z")


@pytest.fixture
def activity() -> Iterator[ReadSide]:
    with reading(bootstrap) as side:
        yield side


def foreign(event_id: str, topic: str = "external", **attributes: Any) -> Happened:
    wire = {"specversion": "1.0", "id": event_id, "source": "/elsewhere", "type": "thing.happened", **attributes}
    return stranger(topic, msgspec.json.encode(wire))


def types(side: ReadSide, **params: object) -> list[str]:
    return [line["type"] for line in side.get("/events", **params)["events"]]


def test_the_newest_of_all_topics_come_first_and_those_without_time_last(activity: ReadSide) -> None:
    activity.tell(foreign("1"), SCAN, ASSET, VOTE, foreign("2", time="2026-01-01T02:00:01.5+02:00"))
    assert types(activity) == ["vote.cast", "asset.discovered", "thing.happened", "scan.failed", "thing.happened"]


def test_an_event_is_shown_as_it_came(activity: ReadSide) -> None:
    activity.tell(ASSET)
    (line,) = activity.get("/events")["events"]
    assert line == {
        "source": "/services/assets",
        "id": "e-001",
        "type": "asset.discovered",
        "subject": "asset-1",
        "time": "2026-01-01T00:00:02.000000000Z",
        "time_given": "2026-01-01T00:00:02Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:sidestream:asset.discovered:1",
        "data": {"path": "/a", "size": 2**53 + 1, "modified_ns": 1, "media_type": "", "sha256": "aa", "scan": "1"},
    }


def test_a_strangers_event_is_shown_once_however_often_it_comes(activity: ReadSide) -> None:
    activity.tell(foreign("1"), foreign("1"))
    assert activity.get("/events") == {"events": [{"source": "/elsewhere", "id": "1", "type": "thing.happened"}]}


@pytest.mark.parametrize(
    "data",
    ["9007199254740993", "0.12345678901234567", "1.0", "1e999", '"\\u0000"', '"\N{PILE OF POO}"', "null", '{"b":1,"a":[{}]}', "[[[[]]]]"],
)
def test_data_leaves_as_it_came_byte_for_byte(activity: ReadSide, data: str) -> None:
    wire = f'{{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{data}}}'
    activity.tell(stranger("external", wire.encode()))
    assert f'"data":{data}}}' in activity.client.get("/events").text


@pytest.mark.parametrize("text", ["x\x00y", "\N{PILE OF POO}", "a/b?c#d", " ", "'; DROP TABLE timed; --", "\ufdd0\ufdd01"])
def test_any_attribute_can_be_asked_for(activity: ReadSide, text: str) -> None:
    activity.tell(foreign(text, source=text, type=text, subject=text), SCAN)
    for name in ("source", "type", "subject"):
        assert types(activity, **{name: text}) == [text]
    (line,) = activity.get("/events/by-id", source=text, id=text)["events"]
    assert (line["source"], line["id"], line["type"], line["subject"]) == (text, text, text, text)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"type": "vote.cast"}, ["vote.cast"]),
        ({"source": "/services/assets"}, ["asset.discovered", "scan.failed"]),
        ({"subject": "asset-1"}, ["asset.discovered"]),
        ({"subject": "asset-1", "type": "vote.cast"}, []),
        ({"since": "2026-01-01T00:00:02Z"}, ["vote.cast", "asset.discovered"]),
        ({"since": "2026-01-01T01:00:02.000000001+01:00"}, ["vote.cast"]),
    ],
)
def test_events_are_found_by_type_source_subject_and_time(activity: ReadSide, params: dict[str, str], expected: list[str]) -> None:
    activity.tell(SCAN, ASSET, VOTE, foreign("1"))
    assert types(activity, **params) == expected


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 7])
def test_pages_lead_through_events_with_a_time_to_those_without(activity: ReadSide, limit: int) -> None:
    timed = [foreign(f"t{at}", time=f"2026-01-01T00:00:0{at}Z") for at in range(3)]
    activity.tell(*(foreign(f"u{at}") for at in range(3)), *timed)
    pages = activity.pages("/events", "events", limit=limit)
    assert [line["id"] for page in pages for line in page] == ["t2", "t1", "t0", "u2", "u1", "u0"]
    assert all(len(page) == limit for page in pages[:-1])
    assert pages[-1]


def test_an_unknown_event_is_a_problem(activity: ReadSide) -> None:
    assert activity.problem("/events/by-id", source="/elsewhere", id="1") == (404, "unknown-event")
    assert activity.problem("/events/by-id", source="/elsewhere")[0] == 400


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"limit": 1001},
        {"since": "yesterday"},
        {"since": "2026-01-01T00:00:00 02:00"},
        {"since": "2026" * 50},
        {"cursor": "forged"},
        {"cursor": "WzEsMiwzLDRd"},
        {"cursor": "WyIiLDEsMiwzXQ"},
    ],
)
def test_a_bad_question_is_refused(activity: ReadSide, params: dict[str, object]) -> None:
    assert activity.problem("/events", **params)[0] == 400


def test_every_topic_is_followed_and_named_in_the_header(activity: ReadSide) -> None:
    activity.tell(SCAN, ASSET, VOTE)
    applied = activity.client.get("/events").headers["sidestream-applied"]
    assert applied == "votes=1, assets=1, scans=1, orders=start, shipments=start, external=start"
    assert {each["topic"] for each in activity.get("/dapr/subscribe")} == {"votes", "assets", "scans", "orders", "shipments", "external"}


def test_what_the_document_declares_is_what_is_sent(activity: ReadSide) -> None:
    activity.tell(SCAN, foreign("1", data_base64="AA==", causationid="c", correlationid="d", time="soon"))
    declared = activity.get("/openapi.json")["components"]["schemas"]["EventLine"]
    for line in activity.get("/events")["events"]:
        assert set(declared["required"]) <= set(line) <= set(declared["properties"])

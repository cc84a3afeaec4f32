"""The activity's rule: every event that can be read is shown as it came, and what is kept does not depend on when it came."""

import random
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

import events
from events.votes import VoteCast
from projections.activity.projection import KEY, ORDER, TIMED, UNTIMED, Activity, Happening
from projections.activity.times import utc_text
from sidestream.projection import Newest, Table
from sidestream.testing import Happened, ProjectionSpecification, happened, stranger

REGISTRY = events.registry()
TIMED_OF_THREE = Table(Happening, key=KEY, keep=Newest(3, ORDER), name="timed")


def activity() -> ProjectionSpecification:
    return ProjectionSpecification(Activity(), REGISTRY)


def wire(**attributes: Any) -> bytes:
    return msgspec.json.encode({"specversion": "1.0", "id": "1", "source": "/elsewhere", "type": "thing.happened", **attributes})


def foreign(**attributes: Any) -> Happened:
    return stranger("external", wire(**attributes))


def only(specification: ProjectionSpecification, table: Table[Happening] = TIMED) -> Happening:
    (found,) = specification.rows(table)
    return found


def test_an_event_of_ours_is_shown_with_its_attributes() -> None:
    event = happened(VoteCast("lunch", "soup", "ann"), subject="vote-1", id="e-1", time="2026-01-02T03:04:05.000006Z", correlationid="c-1")
    found = only(activity().when(event).delivered(times=2))
    assert msgspec.structs.replace(found, digest="") == Happening(
        source="/services/votes",
        event_id="e-1",
        digest="",
        type="vote.cast",
        subject="vote-1",
        time="2026-01-02T03:04:05.000006000Z",
        time_given="2026-01-02T03:04:05.000006Z",
        datacontenttype="application/json",
        dataschema="urn:sidestream:vote.cast:1",
        data='{"poll":"lunch","option":"soup","voter":"ann"}',
        data_base64=None,
        correlationid="c-1",
        causationid=None,
    )


def test_a_strangers_event_with_four_attributes_is_shown_among_those_without_time() -> None:
    found = only(activity().when(foreign()).delivered(times=2), UNTIMED)
    assert (found.source, found.event_id, found.type, found.time, found.data) == ("/elsewhere", "1", "thing.happened", "", None)


@pytest.mark.parametrize(
    "data",
    [
        b"9007199254740993",
        b"1.0",
        b"0.12345678901234567",
        b"1e999",
        b"123456789012345678901234567890",
        b'"\\u0000"',
        '"\N{PILE OF POO}"'.encode(),
        b"null",
        b'{"a":1,"a":2}',
        b"[" * 300 + b"]" * 300,
    ],
)
def test_data_is_kept_as_it_came(data: bytes) -> None:
    event = b'{"specversion":"1.0","id":"1","source":"/s","type":"t","time":"2026-01-01T00:00:00Z","data":' + data + b"}"
    assert only(activity().when(stranger("external", event))).data == data.decode()


def test_data_that_is_not_json_is_kept_in_base64() -> None:
    found = only(activity().when(foreign(time="2026-01-01T00:00:00Z", data_base64="AAEC/w==", datacontenttype="image/png")))
    assert (found.data, found.data_base64, found.datacontenttype) == (None, "AAEC/w==", "image/png")


@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_any_text_in_an_attribute_arrives_unchanged(text: str) -> None:
    found = only(activity().when(foreign(id=text, source=text, type=text, subject=text, time=text)), UNTIMED)
    assert (found.event_id, found.source, found.type, found.subject, found.time_given) == (text,) * 5


def test_two_events_of_one_source_and_id_that_differ_are_both_shown() -> None:
    first, other = foreign(time="2026-01-01T00:00:00Z", data=1), stranger("votes", wire(time="2026-01-01T00:00:00Z", data=2))
    assert sorted(found.data or "" for found in activity().when(first, other).rows(TIMED)) == ["1", "2"]
    assert len({found.digest for found in activity().when(other, first).shuffled(1).rows(TIMED)}) == 2


def test_one_event_on_two_topics_is_shown_once() -> None:
    event = wire(time="2026-01-01T00:00:00Z")
    only(activity().when(stranger("external", event), stranger("votes", event)))


class ActivityOfThree(Activity):
    """Keeps three, so that forgetting is tested without ten thousand events."""

    tables = (TIMED_OF_THREE, UNTIMED)

    def evolve(self, rows: Any, event: Any, envelope: Any) -> None:
        class Into:
            def put(self, table: Table[Happening], row: Happening) -> None:
                rows.put(TIMED_OF_THREE if table is TIMED else table, row)

        super().evolve(Into(), event, envelope)  # type: ignore[arg-type]


@given(seconds=st.lists(st.integers(0, 59), max_size=20), seed=st.integers(0, 1000))
def test_the_newest_are_kept_whatever_the_order(seconds: list[int], seed: int) -> None:
    history = [foreign(id=f"{at:02}", time=f"2026-01-01T00:00:{second:02}Z") for at, second in enumerate(seconds)]
    found = ProjectionSpecification(ActivityOfThree(), REGISTRY).when(*history).shuffled(seed).rows(TIMED_OF_THREE)
    newest = sorted(((second, f"{at:02}") for at, second in enumerate(seconds)), reverse=True)[:3]
    assert sorted((int(row.time[17:19]), row.event_id) for row in found) == sorted(newest)


# ── times ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000000000Z"),
        ("2026-01-01t00:00:00z", "2026-01-01T00:00:00.000000000Z"),
        ("2026-01-01 00:00:00.5+00:00", "2026-01-01T00:00:00.500000000Z"),
        ("2026-01-01T00:30:00+02:00", "2025-12-31T22:30:00.000000000Z"),
        ("2025-12-31T23:30:00-01:30", "2026-01-01T01:00:00.000000000Z"),
        ("2026-01-01T00:00:00.1234567891234Z", "2026-01-01T00:00:00.123456789Z"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999999Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000000Z"),
        ("", None),
        ("yesterday", None),
        ("2026-01-01", None),
        ("2026-01-01T00:00:00", None),
        ("2026-13-01T00:00:00Z", None),
        ("2026-02-30T00:00:00Z", None),
        ("2026-01-01T24:00:00Z", None),
        ("2026-01-01T00:00:61Z", None),
        ("2026-01-01T00:00:00+24:00", None),
        ("2026-01-01T00:00:00+00:60", None),
        ("0001-01-01T00:00:00+01:00", None),
        ("9999-12-31T23:59:59-00:01", None),
        ("２０２６-01-01T00:00:00Z", None),
        ("2026-01-01T00:00:00Z\n", None),
    ],
)
def test_a_time_is_written_in_utc_or_not_at_all(given: str, expected: str | None) -> None:
    assert utc_text(given) == expected


@given(moments=st.lists(st.datetimes(timezones=st.timezones()), max_size=5))
def test_text_order_is_order_in_time(moments: list[Any]) -> None:
    pairs = [(moment, text) for moment in moments if (text := utc_text(moment.isoformat(timespec="microseconds")))]
    random.Random(0).shuffle(pairs)
    assert [text for _, text in sorted(pairs, key=lambda pair: pair[1])] == [text for _, text in sorted(pairs, key=lambda pair: pair[0])]

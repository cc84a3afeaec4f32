"""Replay: what is handed over, how it is marked, and where it stops."""

import json

import pytest

from sidestream.errors import UnreadableEvent
from sidestream.logs.finding import Standing, Wanted
from sidestream.logs.replaying import Marked, NotTaken, Replay, ReplayStopped, is_replayed, marked, traced
from sidestream.ports import LogEntry

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def wire(number: int, kind: str = "t") -> bytes:
    return b'{"specversion":"1.0","id":"%d","source":"/s","type":"%s"}' % (number, kind.encode())


def standings(*wires: bytes) -> list[Standing]:
    return [("a", LogEntry(str(at), each, at)) for at, each in enumerate(wires, start=1)]


class Subscriber:
    """Takes events, but not those with this id."""

    def __init__(self, refused: str = "") -> None:
        self.ids: list[str] = []
        self._refused = refused

    def __call__(self, event: Marked) -> None:
        found = json.loads(event.wire)
        assert found["replayed"] is True
        if found["id"] == self._refused:
            raise NotTaken("it was tried")
        self.ids.append(found["id"])


def test_every_value_is_handed_on_to_the_digit() -> None:
    data = b'{"big":9007199254740993,"float":1.0,"huge":1e400,"text":"\\u0061\xf0\x9f\xa7\xbe"}'
    event = marked(b'{"specversion":"1.0","id":"1","source":"/s","type":"t","own":7,"data":' + data + b"}", "r-1")
    assert data in event.wire
    assert b'"own":7' in event.wire
    assert b'"replayed":true' in event.wire
    assert b'"replayid":"r-1"' in event.wire


def test_the_recorded_trace_is_linked_and_not_extended() -> None:
    event = marked(b'{"id":"1","traceparent":"%s","traceid":"x","tracestate":"a=b"}' % TRACE.encode(), "r")
    anew = json.loads(traced(event.wire, "00-new"))
    assert (event.recorded_trace, anew["replayof"], anew["traceparent"]) == (TRACE, TRACE, "00-new")
    assert not {"tracestate", "traceid"} & set(anew)


def test_a_replay_of_a_replay_has_one_mark() -> None:
    once = marked(b'{"id":"1"}', "first").wire
    assert json.loads(marked(once, "second").wire) == {"id": "1", "replayed": True, "replayid": "second"}


@pytest.mark.parametrize("data", [b"", b"[]", b"7", b"\xff", b'{"a":', b"[" * 5000])
def test_what_is_no_event_cannot_be_marked(data: bytes) -> None:
    with pytest.raises(UnreadableEvent, match="expected a CloudEvent"):
        marked(data, "r")


@pytest.mark.parametrize("mark", [b'{"replayed":true}', b'{"id":"1", "replayed" : true}', b'{"replayed":"true"}'])
def test_a_mark_is_seen(mark: bytes) -> None:
    assert is_replayed(mark)


NO_MARKS = [
    b"",
    b"{}",
    b'{"replayed":false}',
    b'{"replayed":1}',
    b'{"data":{"replayed":true}}',
    b'[{"replayed":true}]',
    b'{"replayed":{}}',
    b"replayed",
]


@pytest.mark.parametrize("data", NO_MARKS)
def test_what_is_no_mark_is_none(data: bytes) -> None:
    assert not is_replayed(data)


def test_what_is_wanted_is_handed_over_in_order() -> None:
    subscriber = Subscriber()
    replay = Replay(Wanted(types=frozenset({"t"})), subscriber, "r")
    replay.run(standings(wire(1), wire(2, "other"), b"no event", wire(3)))
    assert subscriber.ids == ["1", "3"]
    found = replay.replayed
    assert (found.read, found.handed, found.unreadable, found.done) == (4, 2, 1, {"a": "4"})


def test_it_ends_after_the_count_and_looks_no_further() -> None:
    replay = Replay(Wanted(), subscriber := Subscriber(), "r", count=2)
    replay.run(standings(*map(wire, range(1, 6))))
    assert (subscriber.ids, replay.replayed.done) == (["1", "2"], {"a": "2"})


def test_it_stops_where_an_event_is_not_taken_and_says_what_was_done() -> None:
    replay = Replay(Wanted(), subscriber := Subscriber(refused="3"), "r")
    with pytest.raises(ReplayStopped, match=r"stopped at a=3: it was tried"):
        replay.run(standings(*map(wire, range(1, 6))))
    assert (subscriber.ids, replay.replayed.done, replay.replayed.handed) == (["1", "2"], {"a": "2"}, 2)

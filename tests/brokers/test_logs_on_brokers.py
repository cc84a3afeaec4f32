"""What the contract of the event log leaves open, on real brokers: a broker that is away, topics that forget, foreign positions."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from nats.js.api import RetentionPolicy, StreamConfig

from sidestream.adapters.jetstream_log import JetStreamLog
from sidestream.adapters.kafka_log import KafkaLog
from sidestream.adapters.kafka_topics import KafkaAddress
from sidestream.adapters.nats_requests import NatsAddress
from sidestream.errors import ConfigurationError, LogUnavailable
from sidestream.ports import EventLog, LogEntry
from tests.brokers.chosen import with_a_log
from tests.brokers.servers import Nats, Server, running_server
from tests.brokers.waiting import wait_until
from tests.brokers.written import InJetStream, InKafka, open_written

EVENTS = [b'{"n":%d}' % number for number in range(25)]
Written = InKafka | InJetStream


@pytest.fixture(params=with_a_log())
def broker(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def written(broker: str, broker_server: Callable[[str], Server]) -> Iterator[Written]:
    found = open_written(broker, broker_server(broker).address)
    yield found
    found.close()


@pytest.fixture
def own(broker: str, tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, to be killed."""
    with running_server(broker, tmp_path) as server:
        yield server


def impatient(written: Written) -> EventLog:
    """A reader of the same log that waits no longer than a second."""
    if isinstance(written, InKafka):
        return KafkaLog(msgspec.structs.replace(written.address, answer_seconds=1.0))
    return JetStreamLog(msgspec.structs.replace(written.address, connect_seconds=0.5, answer_seconds=1.0))


def data(entries: object) -> list[bytes]:
    return [entry.data for entry in entries]  # type: ignore[attr-defined]


def readable(log: EventLog) -> bool:
    try:
        return data(log.read("votes", None, 100)) == EVENTS
    except LogUnavailable:
        return False


def test_a_server_that_was_killed_is_said_and_read_on_when_it_is_back(broker: str, own: Server) -> None:
    written = open_written(broker, own.address)
    written.record("votes", EVENTS)
    log = impatient(written)
    assert readable(log)
    own.kill()
    begin = time.monotonic()
    for ask in (lambda: log.read("votes", None, 1), lambda: log.read_back("votes", None, 1), lambda: log.extent("votes")):
        with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1"):
            ask()
    assert time.monotonic() - begin < 20
    own.start()
    wait_until(lambda: readable(log), 30)
    log.close()
    written.close()


def test_a_server_that_does_not_answer_is_not_waited_for_and_answers_do_not_mix(broker: str, own: Server) -> None:
    written = open_written(broker, own.address)
    written.record("votes", EVENTS)
    written.record("orders", EVENTS[:3])
    log = impatient(written)
    assert readable(log)
    own.send(signal.SIGSTOP)
    try:
        with pytest.raises(LogUnavailable):
            log.read("votes", None, 1)
    finally:
        own.send(signal.SIGCONT)
    wait_until(lambda: readable(log))
    assert data(log.read("orders", None, 100)) == EVENTS[:3]
    log.close()
    written.close()


def test_the_newest_come_first_although_an_answer_is_cut_where_it_is_too_long(written: Written) -> None:
    large = b'{"n":%d,"text":"' + b"x" * 4_000_000 + b'"}'
    for number in range(24):  # more than the 64 MiB that one answer may have
        written.record("votes", [large % number])
    found = [entry.data[:8] for entry in written.log.read_back("votes", None, 24)]
    assert found == [(large % number)[:8] for number in reversed(range(24))]


def test_reading_while_somebody_writes_meets_every_event_once(written: Written) -> None:
    wires = [b'{"n":%d}' % number for number in range(3000)]
    written.record("votes", wires[:1])

    def write() -> None:
        for at in range(1, 3000, 100):
            written.record("votes", wires[at : at + 100])

    writer = threading.Thread(target=write)
    writer.start()
    found: list[LogEntry] = list(written.log.read("votes", None, 1))
    while len(found) < len(wires):
        found += written.log.read("votes", found[-1].position, 501)[1:]
    writer.join()
    assert data(found) == wires


def test_another_topic_of_the_same_name_has_another_identity(written: Written) -> None:
    written.record("votes", EVENTS)
    before = written.log.extent("votes").identity
    assert before
    assert written.log.extent("votes").identity == before
    written.flush("votes")
    written.record("votes", EVENTS)
    assert written.log.extent("votes").identity not in {"", before}


@pytest.mark.parametrize("position", ["1763712000000-0", "partition 0", "-1", "²"])
def test_a_position_of_another_kind_of_log_is_refused(written: Written, position: str) -> None:
    written.record("votes", EVENTS[:1])
    with pytest.raises(LogUnavailable, match="another kind of log"):
        written.log.read("votes", position, 1)
    with pytest.raises(LogUnavailable, match="another kind of log"):
        written.log.read_back("votes", position, 1)


def test_a_position_beyond_the_end_is_an_empty_read(written: Written) -> None:
    written.record("votes", EVENTS)
    assert list(written.log.read("votes", "1000000", 10)) == []
    assert data(written.log.read_back("votes", "1000000", 2)) == [EVENTS[24], EVENTS[23]]


def test_large_events_come_as_they_went_in(written: Written) -> None:
    wires = [bytes([65 + at]) * 4_000_000 for at in range(5)]
    written.record("votes", wires)
    assert data(written.log.read("votes", None, 100)) == wires


def test_making_topics_twice_makes_them_once_and_loses_nothing(written: Written) -> None:
    made = written.topics if isinstance(written, InKafka) else written.streams
    written.record("votes", EVENTS)
    assert made.make(["votes"]) == []
    assert data(written.log.read("votes", None, 100)) == EVENTS


def test_nobody_at_the_address_is_said_and_no_password_told(broker: str) -> None:
    log: EventLog = KafkaLog(KafkaAddress(brokers="127.0.0.1:1", answer_seconds=1.0))
    if broker == "jetstream":
        log = JetStreamLog(NatsAddress(url="nats://secret:word@127.0.0.1:1", connect_seconds=1.0))
    begin = time.monotonic()
    with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1:1") as raised:
        log.read("votes", None, 1)
    assert time.monotonic() - begin < 4
    assert "word" not in str(raised.value)
    log.close()


# ── JetStream alone ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def in_jetstream(broker_server: Callable[[str], Server]) -> Iterator[InJetStream]:
    found = InJetStream(broker_server("jetstream").address)
    yield found
    found.close()


SOUND = {"subjects": ["forgetful"], "duplicate_window": 0.1, "allow_direct": True}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"retention": RetentionPolicy.WORK_QUEUE}, "retention=workqueue"),
        ({"retention": RetentionPolicy.INTEREST}, "retention=interest"),
        ({"max_age": 60}, "max_age=60000000000"),
        ({"max_msgs": 10}, "max_msgs=10"),
        ({"max_bytes": 1_000_000}, "max_bytes=1000000"),
        ({"max_msgs_per_subject": 5}, "max_msgs_per_subject=5"),
        ({"duplicate_window": 120}, "duplicate_window=120000000000"),
        ({"allow_direct": False}, "allow_direct=False"),
        ({"storage": "memory"}, "storage=memory"),
    ],
)
def test_a_stream_that_forgets_is_refused_with_the_remedy(in_jetstream: InJetStream, setting: dict[str, object], said: str) -> None:
    in_jetstream.add(StreamConfig(name="forgetful", **{**SOUND, **setting}))  # type: ignore[arg-type]
    try:
        for ask in (lambda: in_jetstream.log.read("forgetful", None, 1), lambda: in_jetstream.streams.make(["forgetful"])):
            with pytest.raises(ConfigurationError, match="nats stream edit forgetful") as raised:
                ask()
            assert said in str(raised.value)
    finally:
        in_jetstream.run(in_jetstream.js.delete_stream("forgetful"))


def test_several_topics_in_one_stream_do_not_mix(in_jetstream: InJetStream) -> None:
    in_jetstream.add(StreamConfig(name="all", **{**SOUND, "subjects": ["all.>"]}))  # type: ignore[arg-type]
    try:
        for wire in EVENTS[:6]:
            in_jetstream.run(in_jetstream.js.publish("all.a" if wire in EVENTS[:6:2] else "all.b", wire))
        for topic, expected in (("all.a", EVENTS[:6:2]), ("all.b", EVENTS[1:6:2])):
            assert data(in_jetstream.log.read(topic, None, 10)) == expected
            assert data(in_jetstream.log.read_back(topic, None, 10)) == expected[::-1]
            extent = in_jetstream.log.extent(topic)
            assert (extent.length, extent.trimmed_to) == (3, None)
            assert (extent.first, extent.last) == (("1", "5") if topic == "all.a" else ("2", "6"))
    finally:
        in_jetstream.run(in_jetstream.js.delete_stream("all"))


def test_an_event_deleted_from_the_middle_counts_as_removed(in_jetstream: InJetStream) -> None:
    in_jetstream.record("votes", EVENTS[:5])
    in_jetstream.run(in_jetstream.js.delete_msg("votes", 3))
    assert data(in_jetstream.log.read("votes", None, 10)) == [*EVENTS[:2], *EVENTS[3:5]]
    assert data(in_jetstream.log.read_back("votes", None, 10)) == [*EVENTS[3:5][::-1], *EVENTS[:2][::-1]]
    extent = in_jetstream.log.extent("votes")
    assert (extent.trimmed_to, extent.length) == ("3", 4)


def test_headers_of_a_publisher_do_not_pass_for_the_server_s(in_jetstream: InJetStream) -> None:
    in_jetstream.record("votes", EVENTS[:1])
    forged = {"Nats-Sequence": "999", "Nats-Time-Stamp": "1970-01-01T00:00:00Z"}
    in_jetstream.run(in_jetstream.js.publish("votes", EVENTS[1], headers=forged))
    last = in_jetstream.log.read("votes", None, 10)[1]
    assert last.position == "2"
    assert last.recorded_ms > 1_700_000_000_000


def test_a_server_that_takes_small_messages_only_is_refused(tmp_path: Path) -> None:
    server = Nats(tmp_path, max_payload="1MB")
    server.start()
    try:
        written = InJetStream(server.address)
        with pytest.raises(ConfigurationError, match="max_payload: 8MB"):
            written.streams.examine()
        written.close()
    finally:
        server.kill()

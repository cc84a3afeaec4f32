"""What the doctor sees in a real JetStream: streams that are missing, that forget, that hold their own dead letters."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sidestream.adapters.jetstream_rewriter import JetStreamEnds
from sidestream.adapters.jetstream_streams import address_of, open_streams
from sidestream.adapters.nats_requests import NatsRequests
from sidestream.doctor.broker_probes import probe_broker
from sidestream.doctor.patient import BrokerSeen
from tests.brokers.servers import Server

COMPONENT = """
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: pubsub}
spec:
  type: pubsub.jetstream
  version: v1
  metadata:
    - {name: natsURL, value: "%s"}
"""


@pytest.fixture
def server(broker_server: Callable[[str], Server]) -> Server:
    return broker_server("jetstream")


@pytest.fixture
def requests(server: Server) -> Iterator[NatsRequests]:
    asking = NatsRequests(address_of({"natsurl": server.address}, "test"))
    yield asking
    asking.close()


def seen(server: Server, folder: Path, topic: str, app: str = "") -> BrokerSeen:
    (folder / "pubsub.yaml").write_text(COMPONENT % server.address)
    return probe_broker(folder, "pubsub", [topic], {topic: [app]} if app else {})


def made(requests: NatsRequests, name: str, settings: str) -> None:
    answer = requests.ask(f"STREAM.CREATE.{name}", f'{{"name": "{name}", {settings}}}'.encode())
    assert b'"error"' not in answer, answer


def test_a_stream_that_is_missing_is_seen(server: Server, tmp_path: Path) -> None:
    (topic,) = seen(server, tmp_path, "doctor-none").topics
    assert not topic.exists


def test_a_stream_as_it_is_made_here_is_sound(server: Server, tmp_path: Path) -> None:
    streams = open_streams("test", {"natsurl": server.address})
    streams.make(["doctor-sound"])
    streams.close()
    (topic,) = seen(server, tmp_path, "doctor-sound").topics
    assert (topic.exists, topic.expires, topic.retention, topic.gone_to) == (True, (), "limits", "")


def test_a_work_queue_that_expires_is_seen(server: Server, requests: NatsRequests, tmp_path: Path) -> None:
    made(requests, "doctor_queue", '"subjects": ["doctor-queue"], "retention": "workqueue", "max_age": 60000000000')
    (topic,) = seen(server, tmp_path, "doctor-queue").topics
    assert (topic.retention, topic.expires, topic.stream) == ("workqueue", ("max_age=60000000000",), "doctor_queue")


def test_dead_letters_in_the_same_stream_are_seen(server: Server, requests: NatsRequests, tmp_path: Path) -> None:
    made(requests, "doctor_all", '"subjects": ["doctor-all", "doctor-all.>"]')
    (topic,) = seen(server, tmp_path, "doctor-all", "tally").topics
    assert topic.undelivered == {"doctor-all.undelivered.tally": topic.stream}


def test_a_topic_whose_beginning_is_gone_is_seen_until_it_is_written_anew(server: Server, tmp_path: Path) -> None:
    address = address_of({"natsurl": server.address}, "test")
    with closing(JetStreamEnds(address)) as ends:
        ends.begin("doctor-anew", b"1")
        ends.append("doctor-anew", [b"2", b"3"])
        ends.forget_before("doctor-anew", "3")
        (gone,) = seen(server, tmp_path, "doctor-anew").topics
        ends.forget_before("doctor-anew", ends.begin("doctor-anew", b"1"))
        ends.append("doctor-anew", [b"2", b"3"])
        (anew,) = seen(server, tmp_path, "doctor-anew").topics
    assert (gone.gone_to, anew.gone_to) == ("2", "")


def test_a_server_that_is_away_is_said(tmp_path: Path) -> None:
    (tmp_path / "pubsub.yaml").write_text(COMPONENT % "nats://127.0.0.1:9")
    assert "nats at 127.0.0.1:9" in probe_broker(tmp_path, "pubsub", ["votes"], {}).problem

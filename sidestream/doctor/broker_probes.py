"""Asks a broker how it keeps topics: Redis and Valkey, Kafka, JetStream. Reads only; a broker without a log has nothing to ask."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from sidestream.adapters.broker_kinds import JETSTREAM, KAFKA, REDIS, in_force
from sidestream.adapters.components import Component, metadata_of, open_log
from sidestream.doctor.patient import BrokerSeen, TopicSeen
from sidestream.errors import ConfigurationError, LogUnavailable, NoLogKept, SidestreamError
from sidestream.ports import EventLog
from sidestream.web.inbox import UNDELIVERED

_KAFKA_AS_A_LOG: Final = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
_STREAM_AS_A_LOG: Final = {"max_age": 0, "max_msgs": -1, "max_bytes": -1, "max_msgs_per_subject": -1, "storage": "file"}

Inboxes = Mapping[str, Sequence[str]]
"""Topic → apps that keep an inbox of it."""


def probe_broker(folder: Path, pubsub: str, topics: Sequence[str], inboxes: Inboxes) -> BrokerSeen:
    """Return what the broker of a component says about these topics."""
    try:
        found = in_force(folder, pubsub)
        if found.component.type not in _PROBES:
            why = "it keeps no log that could be looked at" if not found.kind.has_log else "nothing is known to ask"
            return BrokerSeen(found.component.type, found.component.type, problem=f"{why}.")
        return _PROBES[found.component.type](found.component, topics, inboxes)
    except (ConfigurationError, LogUnavailable) as problem:
        return BrokerSeen(f"component {pubsub}", "", problem=str(problem), away=_is_away(problem))


def _is_away(problem: SidestreamError) -> bool:
    """Whether a broker does not answer; one that refuses a login does, and so does one that keeps no log."""
    from redis import AuthenticationError, ResponseError

    refused = isinstance(problem.__cause__, AuthenticationError | ResponseError)
    return isinstance(problem, LogUnavailable) and not isinstance(problem, NoLogKept) and not refused


# ── Redis and Valkey ─────────────────────────────────────────────────────────────────────────────────────────────────


def _redis(component: Component, topics: Sequence[str], _: Inboxes) -> BrokerSeen:
    from sidestream.adapters.redis_keeping import logged_in, settings_of
    from sidestream.adapters.redis_log import RedisLog

    with closing(open_log(component.file.parent, component.name)) as log:
        if not isinstance(log, RedisLog):
            return BrokerSeen("redis", REDIS, problem="its servers change places; ask each with CONFIG GET appendonly maxmemory-policy.")
        with logged_in(log.address) as client:
            settings, _untold = settings_of(client)  # a hosted one refuses CONFIG
            skew = _redis_skew(client)
        seen = [TopicSeen(topic, gone_to=_gone_to(log, topic)) for topic in topics]
        return BrokerSeen(str(log.address), REDIS, settings=settings, skew=skew, topics=seen)


def _redis_skew(client: Any) -> float:
    asked = time.time()
    seconds, micros = client.time()
    return float(int(seconds) + int(micros) / 1e6 - (asked + time.time()) / 2)


# ── Kafka ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _kafka(component: Component, topics: Sequence[str], _: Inboxes) -> BrokerSeen:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    from sidestream.adapters.kafka_topics import address_of

    address = address_of(metadata_of(component), str(component))
    admin = AdminClient(address.options)
    try:
        known = admin.list_topics(timeout=address.answer_seconds).topics
        seen = [_kafka_topic(admin, known, topic, address.answer_seconds) for topic in topics]
    except KafkaException as problem:
        raise LogUnavailable(f"{address}: {problem.args[0].str()}") from problem
    with closing(open_log(component.file.parent, component.name)) as log:
        return BrokerSeen(str(address), KAFKA, topics=[_with_beginning(log, each) for each in seen])


def _kafka_topic(admin: Any, known: Mapping[str, Any], topic: str, seconds: float) -> TopicSeen:
    from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]  # its documented door

    if topic not in known:
        return TopicSeen(topic, exists=False)
    asked = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)], request_timeout=seconds)
    config = next(iter(asked.values())).result()
    expires = tuple(f"{name}={config[name].value}" for name, right in _KAFKA_AS_A_LOG.items() if config[name].value != right)
    return TopicSeen(topic, partitions=len(known[topic].partitions), expires=expires)


def _with_beginning(log: EventLog, topic: TopicSeen) -> TopicSeen:
    """Add how far a topic's beginning is gone; one that the reader refuses is not read."""
    sound = topic.exists and topic.partitions == 1 and not topic.expires
    return TopicSeen(**{**topic.__dict__, "gone_to": _gone_to(log, topic.name)}) if sound else topic


# ── JetStream ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _jetstream(component: Component, topics: Sequence[str], inboxes: Inboxes) -> BrokerSeen:
    from sidestream.adapters.jetstream_streams import address_of, open_streams

    metadata = metadata_of(component)
    with closing(open_streams(str(component), metadata)) as streams:
        seen = [_stream(streams, topic, inboxes.get(topic, ())) for topic in topics]
    with closing(open_log(component.file.parent, component.name)) as log:
        return BrokerSeen(str(address_of(metadata, str(component))), JETSTREAM, topics=[_with_beginning(log, each) for each in seen])


def _stream(streams: Any, topic: str, apps: Sequence[str]) -> TopicSeen:
    name = streams.name(topic)
    stream = streams.describe(name, topic) if name else None
    if stream is None:
        return TopicSeen(topic, exists=False)
    config = stream.config
    undelivered = {wanted: streams.name(wanted) for wanted in (f"{topic}{UNDELIVERED}{app}" for app in apps)}
    return TopicSeen(
        topic,
        expires=tuple(f"{key}={config.get(key)}" for key, right in _STREAM_AS_A_LOG.items() if config.get(key, right) != right),
        retention=str(config.get("retention", "limits")),
        stream=name,
        undelivered=undelivered,
    )


def _gone_to(log: EventLog, topic: str) -> str:
    try:
        return log.extent(topic).trimmed_to or ""
    except SidestreamError:
        return ""


_PROBES: Final[dict[str, Callable[[Component, Sequence[str], Inboxes], BrokerSeen]]] = {
    REDIS: _redis,
    KAFKA: _kafka,
    JETSTREAM: _jetstream,
}

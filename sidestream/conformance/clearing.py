"""Removes what a check has left in a broker that others use: its topics and its consumers, by the type of the component.

Every name begins with the prefix of the check, so that nothing of the system is ever touched.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final

from sidestream.adapters.broker_kinds import JETSTREAM, KAFKA, RABBITMQ, REDIS, in_force
from sidestream.adapters.components import metadata_of, open_log
from sidestream.conformance import amqp
from sidestream.errors import LogUnavailable

PREFIX: Final = "sidestream-check-"


async def clear(folder: Path, pubsub: str, topics: Collection[str], consumers: Collection[str]) -> None:
    """Remove these topics and consumers; what is not there is passed over.

    Raises:
        LogUnavailable: the broker does not answer; the message names what is left.
    """
    assert all(name.startswith(PREFIX) for name in (*topics, *consumers)), "only what a check has made"
    component = in_force(folder, pubsub).component
    if component.type not in _CLEAR:
        return
    try:
        await asyncio.to_thread(_CLEAR[component.type], _Place(folder, pubsub, metadata_of(component)), topics, consumers)
    except Exception as problem:  # each driver has errors of its own; all of them mean the same here
        left = ", ".join(sorted(topics))
        raise LogUnavailable(f"{component}: the check's topics could not be removed: {problem}. Remove by hand: {left}.") from problem


class _Place:
    """Where to clear."""

    def __init__(self, folder: Path, pubsub: str, metadata: Mapping[str, str]) -> None:
        self.folder = folder
        self.pubsub = pubsub
        self.metadata = metadata


def _clear_redis(place: _Place, topics: Collection[str], _: Collection[str]) -> None:
    import redis

    from sidestream.adapters.redis_log import RedisLog, connection_options

    log = open_log(place.folder, place.pubsub)
    assert isinstance(log, RedisLog)
    with redis.Redis(connection_pool=redis.ConnectionPool(**connection_options(log.address))) as client:
        client.unlink(*topics)
    log.close()


def _clear_kafka(place: _Place, topics: Collection[str], consumers: Collection[str]) -> None:
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient

    from sidestream.adapters.kafka_topics import NO_SUCH_TOPIC, address_of

    client = AdminClient(address_of(place.metadata, "").options)
    gone = {*NO_SUCH_TOPIC, KafkaError.GROUP_ID_NOT_FOUND}
    for future in [*client.delete_topics(list(topics)).values(), *client.delete_consumer_groups(list(consumers)).values()]:
        try:
            future.result()
        except KafkaException as problem:
            if problem.args[0].code() not in gone:
                raise


def _clear_jetstream(place: _Place, topics: Collection[str], _: Collection[str]) -> None:
    from sidestream.adapters.jetstream_streams import JetStreamStreams, address_of
    from sidestream.adapters.nats_requests import NatsRequests

    requests = NatsRequests(address_of(place.metadata, ""))
    try:
        streams = JetStreamStreams(requests)
        for topic in topics:
            if name := streams.name(topic):
                requests.ask(f"STREAM.DELETE.{name}")
    finally:
        requests.close()


def _clear_rabbitmq(place: _Place, topics: Collection[str], consumers: Collection[str]) -> None:
    # Dapr names a queue by its reader and its topic.
    queues = [f"{consumer}-{topic}" for consumer in consumers for topic in topics]
    amqp.delete(place.metadata["connectionstring"], queues, topics)


_CLEAR: Final[Mapping[str, Callable[[_Place, Collection[str], Collection[str]], None]]] = {
    REDIS: _clear_redis,
    KAFKA: _clear_kafka,
    JETSTREAM: _clear_jetstream,
    RABBITMQ: _clear_rabbitmq,
}

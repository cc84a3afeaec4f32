"""What is known of a broker by the type of its Dapr component: its address, whether it has a log, what it needs first.

One line per broker. Whoever reads its log is chosen in `components.py`, from the same YAML.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, Protocol

import msgspec

from sidestream.adapters.components import Component, metadata_of, named, read_components


class BrokerKind(msgspec.Struct, frozen=True):
    """One kind of broker.

    Attributes:
        name: its folder below components/brokers.
        address: the metadata item that says where it is, in lower case; empty where there is nothing to reach.
        example: what an address looks like.
        has_log: whether what it keeps can be read by position.
    """

    name: str
    address: str
    example: str
    has_log: bool


REDIS: Final = "pubsub.redis"
KAFKA: Final = "pubsub.kafka"
JETSTREAM: Final = "pubsub.jetstream"
RABBITMQ: Final = "pubsub.rabbitmq"
IN_MEMORY: Final = "pubsub.in-memory"
BROKERS: Final[Mapping[str, BrokerKind]] = {
    REDIS: BrokerKind("redis", "redishost", "host:6379", has_log=True),
    KAFKA: BrokerKind("kafka", "brokers", "host:9092", has_log=True),
    JETSTREAM: BrokerKind("jetstream", "natsurl", "nats://host:4222", has_log=True),
    RABBITMQ: BrokerKind("rabbitmq", "connectionstring", "amqp://user:password@host:5672", has_log=False),
    IN_MEMORY: BrokerKind("in-memory", "", "", has_log=False),
}
WITHOUT_A_LOG: Final = (
    "keeps no log that can be read, so every projection keeps what is delivered to it in an inbox log of its own: "
    "the sidecar's losses are real there, and what was published before its first start it never sees (docs/inbox.md)."
)


class InForce(msgspec.Struct, frozen=True):
    """The pub/sub component of a folder and what its type is known for."""

    component: Component
    kind: BrokerKind

    @property
    def secret(self) -> str:
        """The secret that holds the address, empty where the component says the address itself."""
        for item in self.component.items:
            reference = item.get("secretKeyRef")
            if item["name"].lower() == self.kind.address and isinstance(reference, dict):
                return str(reference.get("key") or reference.get("name") or "")
        return ""

    @property
    def needs_topics(self) -> bool:
        """Whether topics or streams must be made before anything is published to them."""
        return self.component.type in {KAFKA, JETSTREAM}

    @property
    def follow(self) -> str:
        """What a projection follows here: `log` or `inbox`."""
        return "log" if self.kind.has_log else "inbox"


class Preparing(Protocol):
    """What makes topics or streams in a broker before anything is published to them."""

    def examine(self) -> None:
        """Make sure that it answers and takes what there is to publish. Raises ConfigurationError, LogUnavailable."""
        ...

    def make(self, topics: Collection[str]) -> list[str]:
        """Make those that are not there; return the new ones. Raises ConfigurationError, LogUnavailable."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


def in_force(folder: Path, pubsub: str) -> InForce:
    """Return what a folder of resources says about its broker. One that is not known has no log and an address of its own.

    Raises:
        ConfigurationError: there is no such component.
    """
    component = named(read_components(folder), pubsub, folder)
    return InForce(component, BROKERS.get(component.type) or BrokerKind(component.type.removeprefix("pubsub."), "", "", has_log=False))


def preparing(found: InForce, base: Path = Path()) -> Preparing | None:
    """Return what makes topics or streams in this broker, None for one that needs nothing first.

    Args:
        found: the component in force.
        base: where relative paths of secrets begin.

    Raises:
        ConfigurationError: its metadata or a secret cannot be followed.
    """
    component = found.component
    if component.type == KAFKA:
        from sidestream.adapters.kafka_topics import KafkaTopics, address_of

        return KafkaTopics(address_of(metadata_of(component, base), str(component)))
    if component.type == JETSTREAM:
        from sidestream.adapters.jetstream_streams import open_streams

        return open_streams(str(component), metadata_of(component, base))
    return None


def address_of(found: InForce, base: Path = Path()) -> str:
    """Return the broker's address with its secret resolved, read as in `preparing`; empty where there is nothing to reach.

    Raises:
        ConfigurationError: the secret is missing.
    """
    return metadata_of(found.component, base).get(found.kind.address, "") if found.kind.address else ""

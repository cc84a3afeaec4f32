"""Kafka topics as logs of record: where they are, how they must be made, making them, and refusing those that forget.

A topic has one partition, because order within a topic is what a projection is promised; nothing expires and nothing is
compacted. Dapr's connection metadata is translated into librdkafka's here, for the reader and for whoever makes topics.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # they are its documented door
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from sidestream.errors import ConfigurationError, LogUnavailable

LARGEST_MESSAGE: Final = 8 * 1024 * 1024
"""What a topic takes: the largest event that a sidecar takes is half of it."""
_AS_A_LOG: Final = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    # when an event was recorded is the broker's word, not the publisher's
    "message.timestamp.type": "LogAppendTime",
    "max.message.bytes": str(LARGEST_MESSAGE),
}
_MUST_BE: Final = ("cleanup.policy", "retention.ms", "retention.bytes")
# librdkafka's own errors begin with an underscore
NO_SUCH_TOPIC: Final = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}  # noqa: SLF001
)
TIMED_OUT: Final = KafkaError._TIMED_OUT  # noqa: SLF001
PARTITION_EOF: Final = KafkaError._PARTITION_EOF  # noqa: SLF001
_SASL: Final = {"": "PLAIN", "plaintext": "PLAIN", "sha-256": "SCRAM-SHA-256", "sha-512": "SCRAM-SHA-512"}


class KafkaAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where the brokers are and how to get in.

    Attributes:
        brokers: host:port, several with commas.
        security: librdkafka's settings for TLS and SASL.
        answer_seconds: how long to wait before they count as away.
    """

    brokers: str
    security: Mapping[str, Any] = {}
    answer_seconds: float = 5.0

    def __str__(self) -> str:
        return f"kafka at {self.brokers}"

    @property
    def options(self) -> dict[str, Any]:
        """What every client is made with. Its log lines would go to standard error; what matters is raised."""
        quick = {"reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 500, "socket.timeout.ms": int(self.answer_seconds * 1000)}
        return {"bootstrap.servers": self.brokers, "log_level": 0, **quick, **self.security}


def address_of(metadata: Mapping[str, str], where: str) -> KafkaAddress:
    """Translate the metadata of a pubsub.kafka component, names in lower case.

    Raises:
        ConfigurationError: there is no address, or a way in that the log cannot be read by.
    """
    brokers = metadata.get("brokers", "").strip()
    if not brokers:
        raise ConfigurationError(f"{where}: expected brokers as host:port, found nothing. Add it.")
    if "@" in brokers:
        raise ConfigurationError(
            f"{where}: expected brokers as host:port, found who logs in, too. Say that in saslUsername and saslPassword."
        )
    return KafkaAddress(brokers=brokers, security=_security(metadata, where))


def _security(metadata: Mapping[str, str], where: str) -> Mapping[str, Any]:
    kind = metadata.get("authtype", "").lower()
    if kind == "none":
        return {}
    if kind not in {"password", "mtls", "certificate"}:
        raise ConfigurationError(
            f"{where}: authType: expected none, password, mtls or certificate, found {kind!r}: no log is read this way."
        )
    tls = metadata.get("disabletls", "").lower() not in {"1", "true", "t", "y", "yes", "on"}
    return {**(_transport(metadata) if tls else {}), **_login(metadata, kind, where, tls=tls)}


def _login(metadata: Mapping[str, str], kind: str, where: str, *, tls: bool) -> Mapping[str, Any]:
    if kind != "password":
        return {"security.protocol": "SSL" if tls else "PLAINTEXT"}
    mechanism = _SASL.get(metadata.get("saslmechanism", "").lower())
    if mechanism is None:
        raise ConfigurationError(f"{where}: saslMechanism: expected SHA-256, SHA-512 or PLAINTEXT, found {metadata['saslmechanism']!r}.")
    return {
        "security.protocol": "SASL_SSL" if tls else "SASL_PLAINTEXT",
        "sasl.mechanisms": mechanism,
        "sasl.username": metadata.get("saslusername", ""),
        "sasl.password": metadata.get("saslpassword", ""),
    }


def _transport(metadata: Mapping[str, str]) -> Mapping[str, Any]:
    names = {"ssl.ca.pem": "cacert", "ssl.certificate.pem": "clientcert", "ssl.key.pem": "clientkey"}
    found: dict[str, Any] = {option: metadata[name] for option, name in names.items() if metadata.get(name)}
    if metadata.get("skipverify", "").lower() == "true":
        found["enable.ssl.certificate.verification"] = False
    return found


class KafkaTopics:
    """Asks about topics and makes them. Connects when first asked; safe to call from threads."""

    def __init__(self, address: KafkaAddress) -> None:
        self.address = address
        self._client: AdminClient | None = None

    def identity(self, topic: str) -> str:
        """Return the topic's id, which another topic of this name would not have; empty where there is no such topic.

        Raises:
            LogUnavailable: the brokers do not answer.
        """
        found = self._described(topic)
        return "" if found is None else str(found.topic_id)

    def check(self, topic: str) -> bool:
        """Make sure that the topic keeps order and forgets nothing; return whether there is one.

        Raises:
            ConfigurationError: it has several partitions, expires or is compacted.
            LogUnavailable: the brokers do not answer.
        """
        found = self._described(topic)
        if found is None:
            return False
        if len(found.partitions) != 1:
            raise ConfigurationError(
                f"{self.address}: topic {topic}: expected one partition, found {len(found.partitions)}, which keep no order. "
                "Make the topic anew with one; a category that must scale has slots, each a topic of its own."
            )
        config = self._asked(self.admin().describe_configs, ConfigResource(ResourceType.TOPIC, topic), topic)
        wrong = [f"{name}={config[name].value}" for name in _MUST_BE if config and config[name].value != _AS_A_LOG[name]]
        if wrong:
            raise ConfigurationError(
                f"{self.address}: topic {topic}: expected {', '.join(f'{name}={_AS_A_LOG[name]}' for name in _MUST_BE)}, "
                f"found {', '.join(wrong)}: the log of record would forget events. Set it with kafka-configs --alter --topic {topic}."
            )
        return True

    def examine(self) -> None:
        """Make sure that the brokers answer; raises LogUnavailable."""
        try:
            self.admin().list_topics(timeout=self.address.answer_seconds)
        except KafkaException as error:
            raise LogUnavailable(f"{self.address}: {error.args[0].str()}") from error

    def make(self, topics: Collection[str]) -> list[str]:
        """Make those that are not there, and check the others; return the new ones.

        Raises:
            ConfigurationError: one that is there forgets, or cannot be made.
            LogUnavailable: the brokers do not answer.
        """
        missing = [topic for topic in topics if not self.identity(topic)]
        for topic in set(topics) - set(missing):
            self.check(topic)
        wanted = [NewTopic(topic, num_partitions=1, config=dict(_AS_A_LOG)) for topic in missing]
        made = self.admin().create_topics(wanted, request_timeout=self.address.answer_seconds) if wanted else {}
        for topic, future in made.items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # somebody else made it meanwhile
                    raise ConfigurationError(f"{self.address}: topic {topic} cannot be made: {error.args[0].str()}") from None
        return missing

    def close(self) -> None:
        """Disconnect."""
        self._client = None

    def _described(self, topic: str) -> Any:
        return self._asked(lambda topics, **how: self.admin().describe_topics(TopicCollection(topics), **how), topic, topic)

    def _asked(self, ask: Callable[..., Mapping[Any, Any]], about: Any, topic: str) -> Any:
        """Return what the brokers say about one thing, nothing where the topic is not there."""
        try:
            return next(iter(ask([about], request_timeout=self.address.answer_seconds).values())).result()
        except KafkaException as error:
            if error.args[0].code() in NO_SUCH_TOPIC:
                return None
            raise LogUnavailable(f"{self.address}: describe {topic}: {error.args[0].str()}") from error

    def admin(self) -> AdminClient:
        """Return the driver's own client, connected when first asked for."""
        if self._client is None:
            self._client = AdminClient(self.address.options)
        return self._client

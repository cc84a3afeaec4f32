"""The broker that runs: does it keep what it has confirmed, is every topic there, in order, and whole?"""

from collections.abc import Iterator
from typing import Final

from sidestream.adapters.broker_kinds import JETSTREAM, KAFKA
from sidestream.doctor.finding import Finding, error, note, warning
from sidestream.doctor.patient import BrokerSeen, Live, Patient, TopicSeen
from sidestream.doctor.starting import BROKER

SKEW_SECONDS: Final = 1.0
_FORGETTING: Final = ("workqueue", "interest")


def append_only(patient: Patient) -> Iterator[Finding]:
    """Without the file an acknowledged event ends with the process."""
    for broker in _brokers(patient):
        found = broker.settings.get("appendonly", "yes")
        if found != "yes":
            said = f"appendonly is {found}: a crash of the broker loses events that it has acknowledged."
            yield error("SD601", broker.address, said, "CONFIG SET appendonly yes  # and in its configuration file")


def flushing(patient: Patient) -> Iterator[Finding]:
    """What is confirmed before it is flushed may end with the process while the disk is busy."""
    for broker in _brokers(patient):
        found = broker.settings.get("appendfsync", "always")
        if found != "always" and broker.settings.get("appendonly") == "yes":
            said = f"appendfsync is {found}: killed while its disk is busy, it loses the last moments of what it has confirmed."
            yield note("SD610", broker.address, said, "CONFIG SET appendfsync always  # and in its configuration file")


def eviction(patient: Patient) -> Iterator[Finding]:
    """A full broker must refuse."""
    for broker in _brokers(patient):
        found = broker.settings.get("maxmemory-policy", "noeviction")
        if found != "noeviction":
            yield error(
                "SD602",
                broker.address,
                f"maxmemory-policy is {found}: when full it deletes events and reports success (2,997 of 3,599 lost, without a signal).",
                "CONFIG SET maxmemory-policy noeviction  # and in its configuration file",
            )


def partitions(patient: Patient) -> Iterator[Finding]:
    """Order within a topic is what a projection is promised."""
    for broker, topic in _topics(patient):
        if topic.exists and topic.partitions != 1:
            yield error(
                "SD603",
                _place(broker, topic),
                f"it has {topic.partitions} partitions: there is no order between them, and the log cannot be read as one.",
                "Make the topic anew with one partition; a category that must scale has slots, each a topic of its own.",
            )


def expiry(patient: Patient) -> Iterator[Finding]:
    """Nothing expires and nothing is compacted in a log of record."""
    for broker, topic in _topics(patient):
        if topic.expires:
            said = f"{', '.join(topic.expires)}: the log of record forgets events."
            yield error("SD604", _place(broker, topic), said, _endless(broker, topic))


def missing_topics(patient: Patient) -> Iterator[Finding]:
    """Kafka and JetStream make nothing by themselves here."""
    for broker, topic in _topics(patient):
        if not topic.exists:
            name = "kafka" if broker.kind == KAFKA else "jetstream"
            said = "it is not there: whatever is published to it fails."
            yield error("SD605", _place(broker, topic), said, f"sidestream broker use {name}")


def retention(patient: Patient) -> Iterator[Finding]:
    """A stream that gives up what is acknowledged is a queue."""
    for broker, topic in _topics(patient):
        if topic.retention in _FORGETTING:
            yield error(
                "SD606",
                _place(broker, topic),
                f"stream {topic.stream} has retention {topic.retention}: an event that was acknowledged is deleted from the log.",
                f"Make the stream {topic.stream} anew with retention limits; the retention of one that is there cannot be changed to it.",
            )


def dead_letters_in_the_stream(patient: Patient) -> Iterator[Finding]:
    """JetStream drops a dead letter that lands where its event stands."""
    for broker, topic in _topics(patient):
        for name, stream in topic.undelivered.items():
            if topic.stream and stream == topic.stream:
                yield error(
                    "SD205",
                    _place(broker, topic),
                    f"stream {stream} holds its dead letters ({name}) too: the server drops a second event of the same id.",
                    f"nats stream add dead_letters --subjects '{name}', and take that subject from {stream}",
                )


def broker_clock(patient: Patient) -> Iterator[Finding]:
    """Ages and lags are worked out from the broker's time."""
    for broker in _brokers(patient):
        if broker.skew is not None and abs(broker.skew) > SKEW_SECONDS:
            yield warning("SD607", broker.address, skewed(broker.skew), "timedatectl set-ntp true  # on both machines")


def beginning(patient: Patient) -> Iterator[Finding]:
    """A log that was trimmed by hand cannot be rebuilt from its beginning."""
    for broker, topic in _topics(patient):
        if topic.gone_to:
            yield warning(
                "SD608",
                _place(broker, topic),
                f"entries up to {topic.gone_to} are gone from the log: no rebuild can have them back.",
                "sidestream log verify --repair  # writes back what an event store has; the rest is in backups only",
            )


def broker_away(patient: Patient) -> Iterator[Finding]:
    """While apps run, a broker that is dead stops everything but queries."""
    for broker in patient.live.brokers if patient.live else ():
        if patient.live and _stops(patient.live, broker):
            yield error(
                "SD609",
                broker.address,
                f"the system runs and its broker does not answer: nothing is published or applied. {broker.problem}",
                patient.live.starts.get(BROKER) or "Start it where it runs, or correct its address; apps and sidecars go on by themselves.",
            )


def broker_unknown(patient: Patient) -> Iterator[Finding]:
    """What could not be asked is said."""
    for broker in patient.live.brokers if patient.live else ():
        if broker.problem and not (patient.live and _stops(patient.live, broker)):
            yield note("SD901", broker.address, f"the broker was not looked at: {broker.problem}", "sidestream up")


def skewed(seconds: float) -> str:
    """Say how far a clock is away from ours."""
    way = "ahead of" if seconds > 0 else "behind"
    return f"its clock is {abs(seconds):.1f} s {way} this machine's: ages, lags and `--until` are wrong by that."


def _stops(live: Live, broker: BrokerSeen) -> bool:
    """Whether apps that run miss it; those in one process have none."""
    return broker.away and live.speaks and not live.is_in_one_process


def _endless(broker: BrokerSeen, topic: TopicSeen) -> str:
    if broker.kind == JETSTREAM:
        return f"nats stream edit {topic.stream} --max-age=0 --max-msgs=-1 --max-bytes=-1"
    settings = "cleanup.policy=delete,retention.ms=-1,retention.bytes=-1"
    return f"kafka-configs --alter --entity-type topics --entity-name {topic.name} --add-config {settings}"


def _place(broker: BrokerSeen, topic: TopicSeen) -> str:
    return f"topic {topic.name} ({broker.address})"


def _brokers(patient: Patient) -> Iterator[BrokerSeen]:
    return (each for each in (patient.live.brokers if patient.live else ()) if not each.problem)


def _topics(patient: Patient) -> Iterator[tuple[BrokerSeen, TopicSeen]]:
    return ((broker, topic) for broker in _brokers(patient) for topic in broker.topics)

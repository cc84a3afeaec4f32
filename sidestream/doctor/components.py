"""What a pub/sub component says about the log and the deliveries, before anything runs."""

from collections.abc import Iterator, Sequence
from typing import Final

from sidestream.adapters.broker_kinds import IN_MEMORY, JETSTREAM, KAFKA, RABBITMQ, REDIS
from sidestream.doctor.finding import Finding, Severity, error, warning
from sidestream.doctor.pages import Item, Resource
from sidestream.doctor.patient import AppSeen, Patient, any_keeps_an_inbox

_CONSUMER_NAMES: Final = ("consumerid", "consumergroup", "durablename", "queuegroupname")
_OF_ITS_OWN: Final = ("{appid}", "{uuid}", "{podname}")
_RABBITMQ: Final = {
    "deletedwhenunused": ("deletedWhenUnused", "false", "true", "a queue is deleted with its last reader, and what comes then is gone"),
    "deliverymode": ("deliveryMode", "2", "0", "events in a queue are gone when the broker restarts"),
    "publisherconfirm": ("publisherConfirm", "true", "false", "a publish counts as done before the broker has the event"),
}
"""Item → its name, what it must be, what it is by default, and what follows from anything else."""


def trimming(patient: Patient) -> Iterator[Finding]:
    """The stream is the log of record."""
    for resource, _ in patient.logs(REDIS):
        for name in ("maxlenapprox", "streamttl"):
            item = resource.items.get(name)
            if item and item.text not in {"", "0", "0s"}:
                yield error(
                    "SD201",
                    _place(patient, resource, item),
                    f"{item.name} is {item.text}: the sidecar deletes old events of the log, and no rebuild can have them back.",
                    f"Remove the item {item.name}.",
                )


def redelivery(patient: Patient) -> Iterator[Finding]:
    """An interval with a unit is ignored without a word."""
    for resource, _ in patient.logs(REDIS):
        item = resource.items.get("redeliverinterval")
        if item and item.text and not item.text.isdecimal():
            yield warning(
                "SD202",
                _place(patient, resource, item),
                f'redeliverInterval is "{item.text}": Dapr ignores a text with a unit without a word, and takes 15 s.',
                'value: "5000"  # milliseconds, a bare number',
            )


def consumers(patient: Patient) -> Iterator[Finding]:
    """Apps under one consumer id share the events among them."""
    for resource, apps in patient.logs():
        hearing = [each for each in apps if each.hears]
        for item in (resource.items[name] for name in _CONSUMER_NAMES if name in resource.items):
            if len(hearing) < 2 or not item.text or any(part in item.text.lower() for part in _OF_ITS_OWN):
                continue
            yield _by_truth(
                "SD203",
                _place(patient, resource, item),
                f"{item.name} is `{item.text}` for {_names(hearing)}: each event is delivered to one of them, and not to the others.",
                'value: "{appID}"',
                hearing,
            )


def initial_offset(patient: Patient) -> Iterator[Finding]:
    """Kafka's default lets a new reader miss what is there."""
    for resource, apps in patient.logs(KAFKA):
        item = resource.items.get("initialoffset")
        found = item.text if item else "not set, which means newest"
        if found != "oldest":
            yield _by_truth(
                "SD204",
                _place(patient, resource, item),
                f"initialOffset is {found}: an app that starts for the first time is delivered nothing of what was published before.",
                '- {name: initialOffset, value: "oldest"}',
                apps,
            )


def dead_letters_in_the_stream(patient: Patient) -> Iterator[Finding]:
    """JetStream takes a dead letter for a repetition of its event, by their common id."""
    for resource, apps in patient.logs(JETSTREAM):
        item = resource.items.get("streamname")
        if item and item.text and (any_keeps_an_inbox(apps) or _dead_letters_declared(patient, apps)):
            yield error(
                "SD205",
                _place(patient, resource, item),
                f"streamName puts every topic into the stream `{item.text}`, dead letters too: the server drops a second event of the "
                "same id, so each dead letter vanishes.",
                "Remove the item streamName, and give dead-letter topics a stream of their own.",
            )


def queue_depth(patient: Patient) -> Iterator[Finding]:
    """Workers that the queue cannot feed stand idle."""
    for resource, _ in patient.logs(REDIS):
        depth, workers = resource.text("queuedepth", "100"), resource.text("concurrency", "10")
        if depth.isdecimal() and workers.isdecimal() and int(depth) < int(workers):
            yield warning(
                "SD206",
                _place(patient, resource, resource.items.get("queuedepth") or resource.items["concurrency"]),
                f"queueDepth is {depth} and concurrency {workers}: workers stand idle, and a delivery waits for its timer.",
                f'- {{name: queueDepth, value: "{workers}"}}',
            )


def acknowledging(patient: Patient) -> Iterator[Finding]:
    """JetStream may forget a delivery before the app has answered."""
    for resource, apps in patient.logs(JETSTREAM):
        if not any_keeps_an_inbox(apps):
            continue
        for name, wrong, right in (("ackpolicy", "none", "explicit"), ("concurrency", "parallel", "single")):
            item = resource.items.get(name)
            if item and item.text == wrong:
                yield error(
                    "SD207",
                    _place(patient, resource, item),
                    f"{item.name} is {wrong}: a delivery counts as done before the inbox has kept it, and is lost with its app.",
                    f"value: {right}",
                )


def forgetful_queues(patient: Patient) -> Iterator[Finding]:
    """RabbitMQ's defaults lose events."""
    for resource, _ in patient.logs(RABBITMQ):
        for key, (name, right, default, consequence) in _RABBITMQ.items():
            found = resource.text(key, default)
            if found != right:
                place = _place(patient, resource, resource.items.get(key))
                yield error("SD208", place, f"{name} is {found}: {consequence}.", f'- {{name: {name}, value: "{right}"}}')


def in_memory(patient: Patient) -> Iterator[Finding]:
    """Each sidecar has a broker of its own in its memory."""
    for resource, apps in patient.logs(IN_MEMORY):
        if len(apps) > 1:
            yield error(
                "SD209",
                patient.place(resource.document, "spec", "type"),
                f"{_names(apps)} use an in-memory broker: each sidecar has its own, so that no event reaches another app.",
                "sidestream broker use redis",
            )


def _dead_letters_declared(patient: Patient, apps: Sequence[AppSeen]) -> bool:
    declared = [each for app in apps for each in patient.loaded_by(app, "Subscription")]
    return any(each.document.at("spec", "deadLetterTopic") for each in declared)


def _by_truth(code: str, place: str, found: str, remedy: str, apps: Sequence[AppSeen]) -> Finding:
    """An error where a delivery is the truth; where it is a bell, events wait for a sweep."""
    if any_keeps_an_inbox(apps):
        return error(code, place, found, remedy)
    return Finding(code, Severity.WARNING, place, f"{found} Here deliveries are bells: those events wait for a sweep.", remedy)


def _place(patient: Patient, resource: Resource, item: Item | None) -> str:
    return patient.line(resource.file, item.line) if item else patient.place(resource.document, "spec", "metadata")


def _names(apps: Sequence[AppSeen]) -> str:
    return " and ".join(each.name for each in apps) if len(apps) < 4 else f"{len(apps)} apps"

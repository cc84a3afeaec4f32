"""JetStream streams as logs of record: where they are, how they must be made, making them, and refusing those that forget.

One stream per topic: it may then be given back, counted and trimmed by itself, and an id that two topics share is not
taken for a repetition. Nothing expires, and acknowledging removes nothing.
"""

import time
from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from sidestream.adapters.nats_requests import NatsAddress, NatsRequests
from sidestream.errors import ConfigurationError, LogUnavailable

_SMALLEST_WINDOW: Final = 100_000_000
"""Nanoseconds. The server drops what comes twice under one id within it, and a stranger's id may be another stranger's too."""
_AS_A_LOG: Final[dict[str, Any]] = {
    "retention": "limits",
    "storage": "file",
    "max_age": 0,
    "max_msgs": -1,
    "max_bytes": -1,
    "max_msgs_per_subject": -1,
    "duplicate_window": _SMALLEST_WINDOW,
    "allow_direct": True,
}
_LARGEST_EVENT: Final = 4 * 1024 * 1024
_STREAM_NOT_FOUND: Final = 10059
_NO_FOLDER: Final = 10049
_FOLDER_SECONDS: Final = 0.05


class State(msgspec.Struct, frozen=True):
    """What a stream holds: numbers and how many entries of each subject."""

    messages: int
    first_seq: int
    last_seq: int
    num_deleted: int = 0
    deleted: list[int] | None = None
    subjects: dict[str, int] | None = None


class Stream(msgspec.Struct, frozen=True):
    """What the server says about a stream."""

    config: dict[str, Any]
    created: str
    state: State


class _Problem(msgspec.Struct, frozen=True):
    description: str = ""
    err_code: int = 0


class _Found(msgspec.Struct, frozen=True):
    error: _Problem | None = None
    streams: list[str] | None = None
    config: dict[str, Any] | None = None
    created: str = ""
    state: State | None = None


def address_of(metadata: Mapping[str, str], where: str) -> NatsAddress:
    """Translate the metadata of a pubsub.jetstream component, names in lower case.

    Raises:
        ConfigurationError: there is no address, or a way in that the log cannot be read by.
    """
    url = metadata.get("natsurl", "").strip()
    if not url:
        raise ConfigurationError(f"{where}: expected natsURL as nats://host:port, found nothing. Add it.")
    if metadata.get("jwt"):
        raise ConfigurationError(f"{where}: jwt: the log cannot be read this way. Give the log's reader a user, a token or a certificate.")
    domain = metadata.get("domain", "")
    return NatsAddress(
        url=url,
        token=metadata.get("token", ""),
        certificate=metadata.get("tls_client_cert", ""),
        key=metadata.get("tls_client_key", ""),
        prefix=metadata.get("apiprefix", "") or (f"$JS.{domain}.API" if domain else "$JS.API"),
        stream=metadata.get("streamname", ""),
    )


class JetStreamStreams:
    """Asks about the streams of topics and makes them."""

    def __init__(self, requests: NatsRequests) -> None:
        self._requests = requests
        self._address = requests.address

    def name(self, topic: str) -> str:
        """Return the stream that holds a topic, empty where there is none."""
        if self._address.stream:
            return self._address.stream
        found = self._api("STREAM.NAMES", {"subject": topic})
        return found.streams[0] if found.streams else ""

    def describe(self, name: str, topic: str, *, deleted: bool = False) -> Stream | None:
        """Return what the server knows of a stream, counting the entries of this topic; None where there is none."""
        found = self._api(f"STREAM.INFO.{name}", {"subjects_filter": topic, "deleted_details": deleted})
        if found.config is None or found.state is None:
            return None
        return Stream(found.config, found.created, found.state)

    def check(self, name: str, topic: str) -> bool:
        """Make sure that the stream forgets nothing; return whether there is one.

        Raises:
            ConfigurationError: it expires, is limited, gives up what is acknowledged, or drops one id's second event for long.
        """
        stream = self.describe(name, topic)
        if stream is None:
            return False
        wrong = [f"{setting}={stream.config.get(setting)}" for setting in _AS_A_LOG if not _is_sound(setting, stream.config)]
        if wrong:
            settings = ", ".join(f"{setting}={value}" for setting, value in _AS_A_LOG.items())
            raise ConfigurationError(
                f"{self._address}: stream {name} of topic {topic}: expected {settings}; found {', '.join(wrong)}: the log of record would "
                f"forget events or could not be read. Set it with `nats stream edit {name}`, or make the stream anew where that is refused."
            )
        return True

    def examine(self) -> None:
        """Make sure that the server answers, has JetStream, and takes every event that a store takes.

        Raises:
            ConfigurationError: its messages are too small, or it has no JetStream.
            LogUnavailable: it does not answer.
        """
        found = self._requests.largest_message()
        if found < _LARGEST_EVENT:
            raise ConfigurationError(
                f"{self._address}: expected max_payload of at least {_LARGEST_EVENT}, found {found}: an event that a store took "
                "would never be published. Set `max_payload: 8MB` in the server's configuration."
            )
        self._requests.ask("INFO")

    def make(self, topics: Collection[str]) -> list[str]:
        """Make those that are not there, and check the others; return the topics that got one.

        Raises:
            ConfigurationError: one that is there forgets or one cannot be made.
        """
        made = []
        for topic in topics:
            name = self.name(topic)
            if name and self.check(name, topic):
                continue
            self._make(topic)
            made.append(topic)
        return made

    def forget_before(self, name: str, number: int) -> None:
        """Give up, in one step, everything in a stream that stands before a number; raises LogUnavailable."""
        found = self._api(f"STREAM.PURGE.{name}", {"seq": number})
        if found.error is not None:
            raise LogUnavailable(f"{self._address}: stream {name}: what stands before {number} was not given up: {found.error.description}")

    def close(self) -> None:
        """Disconnect."""
        self._requests.close()

    def _make(self, topic: str) -> None:
        name = topic.replace(".", "_")  # a stream's name has no dots
        found = self._create(name, topic)
        until = time.monotonic() + self._address.answer_seconds
        # the server is still removing the folder of a stream that was its last one
        while found.error is not None and found.error.err_code == _NO_FOLDER and time.monotonic() < until:
            time.sleep(_FOLDER_SECONDS)
            found = self._create(name, topic)
        if found.error is not None:
            raise ConfigurationError(f"{self._address}: topic {topic}: stream {name} cannot be made: {found.error.description}")

    def _create(self, name: str, topic: str) -> _Found:
        return self._api(f"STREAM.CREATE.{name}", {"name": name, "subjects": [topic], **_AS_A_LOG})

    def _api(self, subject: str, question: Mapping[str, Any]) -> _Found:
        answer = self._requests.ask(subject, msgspec.json.encode(question))
        found = msgspec.json.decode(answer, type=_Found)
        if found.error is not None and found.error.err_code != _STREAM_NOT_FOUND and not subject.startswith("STREAM.CREATE"):
            raise LogUnavailable(f"{self._address}: {subject}: {found.error.description}")
        return found


def _is_sound(setting: str, config: Mapping[str, Any]) -> bool:
    expected, found = _AS_A_LOG[setting], config.get(setting, 0)
    return bool(found <= expected if setting == "duplicate_window" else found == expected)


def open_streams(where: str, metadata: Mapping[str, str]) -> JetStreamStreams:
    """Open the streams behind a pubsub.jetstream component; raises ConfigurationError where its metadata cannot be followed."""
    return JetStreamStreams(NatsRequests(address_of(metadata, where)))

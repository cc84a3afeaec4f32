"""The rules of an append that every event store keeps, whatever it is built on.

Pure: a store asks here whether an append is well-formed, whether the writer's belief holds, and whether a repeat is one.
"""

from collections.abc import Sequence

from sidestream.errors import EventConflict, InvalidEvent, WrongExpectedVersion
from sidestream.event import NewEvent
from sidestream.ports import Append, Expected, ExpectedVersion
from sidestream.writing.restoring import ADOPTED, repeats

Identity = tuple[str, str]
"""Source and id: what makes an event the same one."""


def identity_of(event: NewEvent) -> Identity:
    """Return source and id of an event."""
    return event.source, event.id


def check_appends(appends: Sequence[Append]) -> None:
    """Refuse what could not be stored under its own name.

    Raises:
        InvalidEvent: no events, a stream without a name, a subject that is not the stream, or text that is not valid Unicode.
    """
    for append in appends:
        if append.stream == "":
            raise InvalidEvent("append: expected the name of a stream, or None for facts; found empty text")
        if not append.events:
            raise InvalidEvent(f"append to {append.stream}: expected at least one event, found none")
        for event in append.events:
            _check_event(event, append.stream)


def _check_event(event: NewEvent, stream: str | None) -> None:
    if stream is not None and event.subject != stream:
        raise InvalidEvent(f"event {event.id!a} of {event.source!a}: expected its stream {stream!a} as subject, found {event.subject!a}")
    try:
        f"{event.topic}{event.source}{event.id}{event.type}{event.subject}{event.dataschema}{event.data_base64}".encode()
    except UnicodeEncodeError as error:
        raise InvalidEvent(f"event {event.id!a} of {event.source!a}: expected valid Unicode text: {error}") from None


def check_version(stream: str, expected: ExpectedVersion, found: int) -> None:
    """Raise WrongExpectedVersion unless the stream stands where the writer believes it to stand."""
    if expected is Expected.ANY:
        return
    if expected is Expected.NO_STREAM:
        if found:
            raise WrongExpectedVersion(stream, expected.name, found)
    elif expected != found:
        raise WrongExpectedVersion(stream, expected, found)


def check_repeat(event: NewEvent, digest: bytes, stored_digest: bytes, stored_wire: bytes) -> None:
    """Raise EventConflict unless an event whose source and id are stored already is that very event."""
    if digest != stored_digest and not (stored_digest == ADOPTED and repeats(event, stored_wire)):
        raise EventConflict(event.source, event.id)

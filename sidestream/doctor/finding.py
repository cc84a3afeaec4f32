"""A finding: what was found where, how bad it is, and the line that fixes it. And the list of every code there is."""

from enum import IntEnum
from typing import Final

import msgspec

PAGE: Final = "docs/doctor.md"

CODES: Final = {
    "SD101": "The sidecar checks the app's health",
    "SD102": "A file or folder that the run file names is missing",
    "SD103": "An app has no pub/sub component",
    "SD104": "An app is outside a component's scopes",
    "SD105": "Hot reload is on",
    "SD201": "The log is trimmed",
    "SD202": "A redelivery interval is written as text",
    "SD203": "Apps share one consumer id",
    "SD204": "Kafka begins at the newest event",
    "SD205": "Dead letters go into the stream they come from",
    "SD206": "The queue is smaller than the number of workers",
    "SD207": "Deliveries are acknowledged before they are kept",
    "SD208": "RabbitMQ forgets",
    "SD209": "Several apps share an in-memory broker",
    "SD301": "An inbox has no retry policy",
    "SD302": "An inbox's retry policy ends",
    "SD303": "An inbox's dead-letter topic is closed to it",
    "SD304": "A subscription has no dead-letter topic",
    "SD401": "Tokens are off",
    "SD402": "A component is open to every app",
    "SD403": "An app may publish to every topic",
    "SD501": "daprd is of a version that was not tested",
    "SD502": "No usable daprd is installed",
    "SD503": "A sidecar is not there",
    "SD504": "A sidecar has not loaded the pub/sub component",
    "SD505": "A sidecar has no subscription for a topic",
    "SD506": "A sidecar rings no bell",
    "SD507": "A relay does not publish",
    "SD508": "An app is not there",
    "SD509": "An app is not ready",
    "SD510": "An app or a sidecar is frozen",
    "SD601": "The broker keeps no append-only file",
    "SD602": "The broker evicts events when it is full",
    "SD603": "A topic has several partitions",
    "SD604": "A topic forgets events",
    "SD605": "A topic or stream is missing",
    "SD606": "A stream forgets what is acknowledged",
    "SD607": "The broker's clock is not this machine's",
    "SD608": "The beginning of a log is gone",
    "SD609": "The broker is not there",
    "SD610": "The broker confirms before it flushes",
    "SD701": "A generation is older than its code",
    "SD702": "No generation is live",
    "SD703": "A read model cannot be read",
    "SD704": "The database's clock is not this machine's",
    "SD801": "A port is taken",
    "SD901": "Something could not be looked at",
}
"""Code → what it says. Hundreds are areas: run file, components, deliveries, security, sidecars and apps, broker, read models, machine."""


class Severity(IntEnum):
    """How bad a finding is; a note asks for nothing to be done."""

    ERROR = 0
    WARNING = 1
    NOTE = 2

    @property
    def word(self) -> str:
        """The word that is printed."""
        return self.name.lower()


class Finding(msgspec.Struct, frozen=True):
    """One thing that is set up wrongly.

    Attributes:
        code: one of CODES.
        place: file:line, or what was asked: an app, a broker.
        found: a sentence: what was found, and what follows from it.
        remedy: the line that fixes it.
    """

    code: str
    severity: Severity
    place: str
    found: str
    remedy: str

    @property
    def page(self) -> str:
        """Where the code is explained."""
        return f"{PAGE}#{self.code.lower()}"


def error(code: str, place: str, found: str, remedy: str) -> Finding:
    """Return a finding that loses events, or stops something."""
    return Finding(code, Severity.ERROR, place, found, remedy)


def warning(code: str, place: str, found: str, remedy: str) -> Finding:
    """Return a finding that will hurt under conditions that are not met now."""
    return Finding(code, Severity.WARNING, place, found, remedy)


def note(code: str, place: str, found: str, remedy: str) -> Finding:
    """Return a finding that is right as it stands on a development machine, and is worth knowing."""
    return Finding(code, Severity.NOTE, place, found, remedy)

"""How a relay is doing, for whoever operates it: what waits on each topic, for how long, why, and what was done so far.

Plain values, and the one judgement that the doors and the doctor share: when waiting has become being stuck.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

STUCK_SECONDS: Final = 30.0
"""An event that is stored for so long and stands in no log is worth somebody's attention."""
_CODE: Final = re.compile(r"\b([A-Z]+(?:_[A-Z]+)*): ")
"""The sidecar's answer as the publisher quotes it, `PERMISSION_DENIED: …`."""
_NAME: Final = re.compile(r"([A-Z][a-z]+(?:[A-Z][a-z]+)*): ")
"""What was raised, `StoreAway: …`."""
_KINDS: Final = frozenset(
    (
        "UNAVAILABLE",
        "DEADLINE_EXCEEDED",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "NOT_FOUND",
        "INVALID_ARGUMENT",
        "FAILED_PRECONDITION",
        "RESOURCE_EXHAUSTED",
        "CANCELLED",
        "INTERNAL",
        "UNKNOWN",
    )
)


def kind_of(error: str) -> str:
    """Return one word of a few for an error, fit to be a label: `permission-denied`, `store-away`; `unconfirmed` for any other."""
    for code in _CODE.findall(error):
        if code in _KINDS:
            return str(code).lower().replace("_", "-")
    named = _NAME.match(error)
    if named:
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", named[1]).lower()
    return "unconfirmed" if error else ""


class TopicStatus(msgspec.Struct, frozen=True):
    """What waits on a topic, and what this process has done about it.

    Attributes:
        backlog: events that are not marked as published, by the last look.
        oldest_seconds: how long the oldest of them has been stored; 0 where nothing waits.
        last_error: why the first of those that wait was not confirmed; empty where none was refused.
        published: events that were confirmed since this process began.
        repeats: events that had to be sent more than once, each counted once, however often that was.
    """

    backlog: int = 0
    oldest_seconds: float = 0.0
    last_error: str = ""
    published: int = 0
    repeats: int = 0


class RelayStatus(msgspec.Struct, frozen=True):
    """How a relay is doing.

    Attributes:
        topics: by name.
        store_error: why the store did not answer when it was last asked; empty: it did.
        leads: whether this relay publishes, and not another one of the same store.
    """

    topics: Mapping[str, TopicStatus]
    store_error: str
    leads: bool

    @property
    def backlog(self) -> Mapping[str, int]:
        """Events per topic that are not marked as published."""
        return {topic: found.backlog for topic, found in self.topics.items()}

    @property
    def last_error(self) -> str:
        """Why something is not done; empty: nothing stands in the way."""
        return self.store_error or next((found.last_error for found in self.topics.values() if found.last_error), "")

    def stuck(self, seconds: float = STUCK_SECONDS) -> str:
        """Return what has waited for too long and why, or nothing."""
        return " ".join(self._sentence(topic, found) for topic, found in self.topics.items() if found.oldest_seconds >= seconds)

    def _sentence(self, topic: str, found: TopicStatus) -> str:
        why = found.last_error or self.store_error
        if not why:
            why = "it publishes, and does not keep up" if self.leads else "another process of this store leads; look at its status"
        return f"{topic}: {found.backlog:,} events are stored and not published, the oldest for {found.oldest_seconds:.0f} s: {why}"

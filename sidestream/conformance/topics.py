"""The topics of a check: one for each way of publishing and failing, so that no probe hears another's events."""

from typing import Final

from sidestream.conformance.app import Subscribed

ONE: Final = "one"
BULK: Final = "bulk"
KEYS: Final = "keys"
ATTRIBUTES: Final = "attributes"
SAME: Final = "same"
RATE: Final = "rate"
REPLAY: Final = "replay"
FAIL_ONE: Final = "fail-one"
FAIL_BULK: Final = "fail-bulk"
GIVEN_UP: Final = "given-up"
DEAD: Final = "dead"
APP_KILLED: Final = "app-killed"
SIDECAR_KILLED: Final = "sidecar-killed"
BROKER_AWAY: Final = "broker-away"

_SINGLE: Final = {ONE, FAIL_ONE, GIVEN_UP, DEAD}
_QUICK: Final = (ONE, BULK, KEYS, ATTRIBUTES, SAME, RATE)
_FULL: Final = (*_QUICK, FAIL_ONE, FAIL_BULK, GIVEN_UP, DEAD, APP_KILLED, SIDECAR_KILLED, BROKER_AWAY)


class Topics:
    """Full names below one prefix."""

    def __init__(self, prefix: str, *, quick: bool) -> None:
        self.prefix = prefix
        self._subscribed = _QUICK if quick else _FULL

    def __getitem__(self, topic: str) -> str:
        return f"{self.prefix}-{topic}"

    @property
    def every(self) -> list[str]:
        """All that may be written to; the last one nobody hears at first."""
        return [self[topic] for topic in (*self._subscribed, REPLAY)]

    def subscribed(self, *, raw: bool) -> tuple[Subscribed, ...]:
        """Return what the app takes; `raw` as the inbox does."""
        return tuple(self._subscription(topic, raw=raw) for topic in self._subscribed)

    def _subscription(self, topic: str, *, raw: bool) -> Subscribed:
        bulk = topic not in _SINGLE
        dead_letter = self[DEAD] if topic == GIVEN_UP else ""
        return Subscribed(self[topic], bulk=bulk, raw=raw and bulk, dead_letter=dead_letter, answers_ok=topic == DEAD)

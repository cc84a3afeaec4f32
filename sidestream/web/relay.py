"""What a service with an event store tells of its relay: `GET /relay`, metrics, and a note beside /readyz.

    tell_relay(app, "orders")        # and in the lifespan: app.state.relay = parts.relay

A relay that cannot publish is no reason for /readyz to say no: commands are still decided and stored, and what is stored is
published when the way is free again. Red would take the service away from its clients and mend nothing. So it is said
elsewhere, and loudly: here, in the metrics, and by `sidestream doctor` (SD507).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec
from fastapi import FastAPI
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from sidestream.errors import StoreAway
from sidestream.publishing.relay import Relay
from sidestream.publishing.relay_status import RelayStatus, TopicStatus, kind_of

PATH: Final = "/relay"
_GAUGES: Final[dict[str, tuple[str, Callable[[TopicStatus], float]]]] = {
    "backlog": ("Events that are stored and not known to stand in the log", lambda topic: topic.backlog),
    "oldest_seconds": ("How long the oldest of them has been stored", lambda topic: topic.oldest_seconds),
}
_COUNTERS: Final[dict[str, tuple[str, Callable[[TopicStatus], float]]]] = {
    "published": ("Events that this process has published", lambda topic: topic.published),
    "repeats": ("Events that this process had to send more than once, each counted once", lambda topic: topic.repeats),
}


def tell_relay(app: FastAPI, store: str) -> None:
    """Add the door, the metrics and the note; `store` is the name of the event store."""

    def status() -> RelayStatus | None:
        relay: Relay | None = getattr(app.state, "relay", None)
        return relay.status if relay is not None else None

    def note() -> str:
        found = status()
        return found.stuck() if found is not None else ""

    app.state.relay_store = store
    app.state.metrics.register(RelayMetrics(store, status))
    app.state.notes["relay"] = note
    app.add_api_route(PATH, show_relay, methods=["GET"], response_model=None, tags=["relay"])


async def show_relay(request: Request) -> Response:
    """Show what the relay has still to publish, for how long, and what stands in its way.

    `stuck` is a sentence where something has waited for more than half a minute. The counts are of this process.
    """
    relay: Relay | None = getattr(request.app.state, "relay", None)
    if relay is None:
        raise StoreAway(f"{request.app.state.relay_store}: not started yet. Try again.")
    status = relay.status
    answer = {
        "store": request.app.state.relay_store,
        "leads": status.leads,
        "stuck": status.stuck(),
        "last_error": status.last_error,
        "error_kind": kind_of(status.last_error),
        "topics": status.topics,
    }
    return Response(msgspec.json.encode(answer), media_type="application/json")


class RelayMetrics(Collector):
    """Collects what the relay knows whenever somebody asks; nothing is looked up for it.

    Args:
        store: the name of the event store.
        status: returns how its relay is doing, None while the app does not run.
    """

    def __init__(self, store: str, status: Callable[[], RelayStatus | None]) -> None:
        self._store = store
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        found = self._status()
        if found is None:
            return
        leads = GaugeMetricFamily("sidestream_relay_leads", "1 while this process publishes for the store", labels=("store",))
        leads.add_metric((self._store,), float(found.leads))
        yield leads
        yield self._failing(found)
        for name, (help_text, value) in _GAUGES.items():
            gauge = GaugeMetricFamily(f"sidestream_relay_{name}", help_text, labels=("store", "topic"))
            yield self._filled(gauge, found, value)
        for name, (help_text, value) in _COUNTERS.items():
            counter = CounterMetricFamily(f"sidestream_relay_{name}", help_text, labels=("store", "topic"))
            yield self._filled(counter, found, value)

    def _filled(self, family: GaugeMetricFamily | CounterMetricFamily, found: RelayStatus, value: Callable[[TopicStatus], float]) -> Metric:
        for topic, status in found.topics.items():
            family.add_metric((self._store, topic), value(status))
        return family

    def _failing(self, found: RelayStatus) -> Metric:
        """One line per topic that something stands in the way of, named by its kind; no topic: it is the store."""
        help_text = "1 while events of the topic are not confirmed, by the kind of the error; without a topic: the store does not answer"
        gauge = GaugeMetricFamily("sidestream_relay_failing", help_text, labels=("store", "topic", "kind"))
        for topic, error in _errors(found):
            gauge.add_metric((self._store, topic, kind_of(error)), 1.0)
        return gauge


def _errors(found: RelayStatus) -> Iterable[tuple[str, str]]:
    all_of_them = [("", found.store_error), *((topic, status.last_error) for topic, status in found.topics.items())]
    return [(topic, error) for topic, error in all_of_them if error]

"""What a projection's app tells Prometheus of its generations, read from the host whenever somebody asks."""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sidestream.hosting import ProjectionHost

_COUNTED = {
    "applied": "Events that the rule was applied to",
    "unhandled": "Events that were counted and are none of the rule's",
    "duplicates": "Events that were counted before",
    "parked": "Events that could not be applied when they came",
    "released": "Parked events that were applied later",
}


class ProjectionMetrics(Collector):
    """Collects what became of events since the start, by generation; bells and sweeps; whether it follows the log.

    Args:
        projection: its name.
        running: returns the host, or None while the app does not run.
    """

    def __init__(self, projection: str, running: Callable[[], ProjectionHost | None]) -> None:
        self._projection = projection
        self._running = running

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        host = self._running()
        if host is None:
            return
        yield from self._events(host)
        for name, help_text, value in (
            ("bells", "Deliveries by the sidecar", host.bells),
            ("sweeps", "Looks at the log without a bell", host.sweeps),
        ):
            counter = CounterMetricFamily(f"sidestream_{name}", help_text, labels=("projection",))
            counter.add_metric((self._projection,), value)
            yield counter
        following = GaugeMetricFamily("sidestream_following", "1 while the live generation follows the log", labels=("projection",))
        following.add_metric((self._projection,), float(not host.not_following()))
        yield following

    def _events(self, host: ProjectionHost) -> Iterator[Metric]:
        totals = host.totals()
        for name, help_text in _COUNTED.items():
            counter = CounterMetricFamily(f"sidestream_events_{name}", help_text, labels=("projection", "generation"))
            for generation, outcome in totals.items():
                counter.add_metric((self._projection, generation), getattr(outcome, name))
            yield counter

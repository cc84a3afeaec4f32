"""What a projection's app tells Prometheus of its generations, read from the host whenever somebody asks.

Nothing is looked up for it: the host measures once a sweep, and a scrape reads what was seen last.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sidestream.hosting.health import Measured
from sidestream.hosting.host import ProjectionHost

_COUNTED: Final = {
    "applied": "Events that the rule was applied to",
    "unhandled": "Events that were counted and are none of the rule's, or are skipped",
    "duplicates": "Events that were counted before",
    "parked": "Events that could not be applied when they came",
    "released": "Parked events that were applied later",
}
_MEASURED: Final[dict[str, tuple[str, Callable[[Measured], float]]]] = {
    "lag_events": ("Entries of the log that are not applied; counted up to 1,000 a topic", lambda seen: seen.lag.events),
    "lag_seconds": ("Time in the log between the oldest entry not applied and the newest", lambda seen: seen.lag.seconds),
    "oldest_unapplied_seconds": ("Age of the oldest entry not applied", lambda seen: seen.lag.oldest_seconds),
    "checkpoint_still_seconds": ("How long the checkpoint has not moved although the log is ahead", lambda seen: seen.still_seconds),
    "parked_events": ("Events that are parked now", lambda seen: seen.parked_events),
    "parked_streams": ("Streams that are parked now", lambda seen: seen.parked_streams),
}


class ProjectionMetrics(Collector):
    """Collects what became of events since the start and how far each generation is; bells and sweeps; what is wrong.

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
        yield from self._lag(host)
        yield from self._versions(host)
        for name, help_text, value in (
            ("bells", "Deliveries by the sidecar", host.bells),
            ("sweeps", "Looks at the log without a bell", host.sweeps),
        ):
            counter = CounterMetricFamily(f"sidestream_{name}", help_text, labels=("projection",))
            counter.add_metric((self._projection,), value)
            yield counter
        for name, help_text, gauge in (
            ("following", "1 while the live generation follows the log", not host.not_following()),
            ("wedged", "1 while the log is ahead and the live checkpoint stands still", bool(host.wedged())),
            ("sidecar_silent", "1 while the log moves and the sidecar does not ring", host.sidecar_silent),
            ("log_away", "1 while the log cannot be read", bool(host.log_away())),
            ("waiting_queries", "Queries that wait for what their client wrote", host.waiting),
        ):
            yield self._gauge(name, help_text, ("projection",), [((self._projection,), float(gauge))])

    def _events(self, host: ProjectionHost) -> Iterator[Metric]:
        totals = host.totals()
        for name, help_text in _COUNTED.items():
            counter = CounterMetricFamily(f"sidestream_events_{name}", help_text, labels=("projection", "generation"))
            for generation, outcome in totals.items():
                counter.add_metric((self._projection, generation), getattr(outcome, name))
            yield counter

    def _lag(self, host: ProjectionHost) -> Iterator[Metric]:
        measured = host.measured()
        for name, (help_text, value) in _MEASURED.items():
            found = [((self._projection, generation), float(value(seen))) for generation, seen in measured.items()]
            yield self._gauge(name, help_text, ("projection", "generation"), found)

    def _versions(self, host: ProjectionHost) -> Iterator[Metric]:
        """A generation's version below the program's: it was built by older code."""
        built = [((self._projection, generation), float(version)) for generation, version in host.versions().items()]
        yield self._gauge("generation_version", "Version of the rule that built a generation", ("projection", "generation"), built)
        own = [((self._projection,), float(host.projection.version))]
        yield self._gauge("program_version", "Version of the rule in this program", ("projection",), own)

    def _gauge(self, name: str, help_text: str, labels: tuple[str, ...], found: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
        gauge = GaugeMetricFamily(f"sidestream_{name}", help_text, labels=labels)
        for values, value in found:
            gauge.add_metric(values, value)
        return gauge

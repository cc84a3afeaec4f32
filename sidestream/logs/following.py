"""Follows a log without applying anything: what has come since the last look. Pure but for the port."""

from collections.abc import Iterator, Sequence

from sidestream.logs.finding import Standing, Stretch, recorded_order
from sidestream.ports import EventLog


class Follower:
    """Gives each entry of some topics once, as long as it is asked.

    Args:
        log: what to follow.
        topics: which topics.
        stretch: where to begin; None: behind what stands there when it is made.
    """

    def __init__(self, log: EventLog, topics: Sequence[str], stretch: Stretch | None = None) -> None:
        self._log = log
        self._topics = topics
        self._stretch = stretch or Stretch()
        self._seen: dict[str, str] = {}
        if stretch is None:
            self._seen = {topic: last for topic in topics if (last := log.extent(topic).last)}

    def fresh(self) -> Iterator[Standing]:
        """Give what has come since; a topic that has lost its end is another log, and is given from its beginning.

        Raises:
            LogUnavailable: what was given stays given; ask again later.
        """
        self._forget_what_is_gone()
        stretch = Stretch(since_ms=self._stretch.since_ms, since=self._stretch.since, after=dict(self._seen))
        for topic, entry in recorded_order(self._log, self._topics, stretch):
            self._seen[topic] = entry.position
            yield topic, entry

    def _forget_what_is_gone(self) -> None:
        for topic, position in tuple(self._seen.items()):
            last = self._log.extent(topic).last
            if last is None or self._log.compare(last, position) < 0:
                del self._seen[topic]

"""Rebuilds that die, meet each other or find a trimmed log: nothing half-built serves. On every read model adapter."""

from contextlib import closing

import pytest

from sidestream.adapters.memory_log import MemoryLog
from sidestream.applying.applied import BOOKKEEPING
from sidestream.errors import HistoryTrimmed, LogUnavailable, ReadModelError
from sidestream.ports import LogEntry, ReadModels
from sidestream.rebuilding.log_until import after_positions
from sidestream.rebuilding.switching import drop, roll_back
from tests.contract.rebuilt import PAGES, SameInNextVersion, Web, built, now, pages, site_of, states


def test_the_second_is_refused_with_the_name_of_the_first(web: Web, read_models: ReadModels) -> None:
    built(web, read_models)
    with read_models.exclusively("host a, process 7, since noon"):
        for verb in (built, lambda *_: roll_back(site_of(web, read_models)), lambda *_: drop(site_of(web, read_models), "g1")):
            with pytest.raises(ReadModelError, match="host a, process 7, since noon"):
                verb(web, read_models)
    assert not built(web, read_models).resumed


class Dying(MemoryLog):
    """Stops answering after so many reads."""

    reads = 1_000_000

    def read(self, topic: str, start: str | None, limit: int) -> list[LogEntry]:
        self.reads -= 1
        if self.reads < 0:
            raise LogUnavailable("gone")
        return list(super().read(topic, start, min(limit, 200)))


def dying() -> Web:
    web = Web()
    web.log = Dying()
    web.record("hits", *(f"/{at % 50}" for at in range(3000)))
    return web


def test_a_rebuild_that_died_never_serves_and_the_next_one_is_whole(read_models: ReadModels) -> None:
    web = dying()
    assert isinstance(web.log, Dying)
    first = built(web, read_models)
    web.log.reads = 12
    with pytest.raises(LogUnavailable):
        built(web, read_models)
    assert states(read_models) == {first.generation: "live", "g2": "building"}
    web.log.reads = 1_000_000
    done = built(web, read_models)
    assert (done.generation, done.live) == ("g2", True)
    assert pages(read_models, done.generation) == web.counted


def test_what_one_that_died_had_written_is_gone_on_with(web: Web, read_models: ReadModels) -> None:
    built(web, read_models)
    left = read_models.create(1, (*BOOKKEEPING, PAGES), now())
    with closing(read_models.open(left)) as generation:
        site_of(web, read_models).fill(generation, after_positions(web.log, {"hits": "1000", "clicks": "100"}))
    done = built(web, read_models)
    assert (done.generation, done.resumed, done.live, done.outcome.applied) == (left, True, True, 700)
    assert pages(read_models, done.generation) == web.counted


def test_what_another_version_left_is_not_gone_on_with(read_models: ReadModels) -> None:
    web = dying()
    assert isinstance(web.log, Dying)
    web.log.reads = 10
    with pytest.raises(LogUnavailable):
        built(web, read_models)
    web.log.reads = 1_000_000
    done = built(web, read_models, SameInNextVersion())
    assert (done.resumed, done.dropped) == (False, ("g1",))


def test_what_is_beyond_the_live_one_is_not_gone_on_with(web: Web, read_models: ReadModels) -> None:
    built(web, read_models)
    web.record("hits", "/new")
    beyond = read_models.create(1, (*BOOKKEEPING, PAGES), now())
    with closing(read_models.open(beyond)) as generation:
        site_of(web, read_models).fill(generation)
    done = built(web, read_models)
    assert (done.resumed, done.dropped, done.live) == (False, (beyond,), True)


def test_a_trimmed_log_is_refused_before_anything_is_made(web: Web, read_models: ReadModels) -> None:
    web.log.trim("hits", "5")
    with pytest.raises(HistoryTrimmed, match="trimmed up to 5"):
        built(web, read_models)
    assert not read_models.generations()

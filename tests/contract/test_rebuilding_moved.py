"""The log is moved to another kind of broker: positions that it never gave end no rebuild for good. On every read model adapter."""

from contextlib import closing

import pytest

from sidestream.adapters.memory_log import MemoryLog
from sidestream.adapters.numbered_positions import compare
from sidestream.applying.applied import CHECKPOINTS, Checkpoint
from sidestream.applying.decoding import Rule
from sidestream.applying.projector import Projector
from sidestream.errors import ForeignPosition, ReadModelError
from sidestream.ports import LogEntry, ReadModels
from sidestream.rebuilding.rebuild import verify
from sidestream.rebuilding.switching import switch
from tests.contract.rebuilt import REGISTRY, UNWATCHED, Hits, SameInNextVersion, Web, built, now, pages, site_of, states

ON_REDIS = "1732093200000-0"


class Moved(MemoryLog):
    """Knows its own positions only, as the log of a broker does."""

    def read(self, topic: str, start: str | None, limit: int) -> list[LogEntry]:
        if start is not None:
            self.compare(start, start)
        return list(super().read(topic, start, limit))

    def compare(self, left: str, right: str) -> int:
        return compare(left, right)


@pytest.fixture
def web() -> Web:
    web = Web()
    web.log = Moved()
    web.record("hits", "/a", "/b", "/a")
    return web


def left_on_redis(read_models: ReadModels, name: str) -> None:
    """Let a generation stand where it stood on the broker before."""
    with closing(read_models.open(name)) as generation, generation.unit() as unit:
        unit.write(CHECKPOINTS, [Checkpoint("hits", ON_REDIS, "/services/web", "hits-3")])


def start_the_app(web: Web, read_models: ReadModels, name: str) -> None:
    with closing(read_models.open(name)) as generation:
        Projector(Rule(Hits(), REGISTRY), web.log, generation, now).catch_up()


def test_the_log_that_was_moved_does_not_know_the_place() -> None:
    with pytest.raises(ForeignPosition):
        Moved().read("hits", ON_REDIS, 1)


def test_what_was_left_unfinished_on_the_other_broker_is_begun_anew(web: Web, read_models: ReadModels) -> None:
    built(web, read_models)
    site = site_of(web, read_models)
    left = site.create()
    with closing(read_models.open(left)) as generation:
        site.fill(generation)
    left_on_redis(read_models, left)
    done = built(web, read_models)
    assert (done.resumed, done.dropped, done.live) == (False, (left,), True)
    assert pages(read_models, done.generation) == web.counted


def test_a_live_one_at_its_place_on_the_other_broker_is_refused_with_the_remedy_before_anything_is_made(
    web: Web, read_models: ReadModels
) -> None:
    built(web, read_models)
    built(web, read_models)
    left_on_redis(read_models, "g2")
    site = site_of(web, read_models)
    for verb in (lambda: built(web, read_models), lambda: verify(site, UNWATCHED), lambda: switch(site, "g1")):
        with pytest.raises(ReadModelError, match=rf"g2 .*hits.*{ON_REDIS}.* Start its app of version 1 once"):
            verb()
    assert states(read_models) == {"g1": "ready", "g2": "live"}
    start_the_app(web, read_models, "g2")
    assert built(web, read_models).live


def test_an_older_one_that_nobody_follows_is_swept_though_its_place_is_foreign(web: Web, read_models: ReadModels) -> None:
    built(web, read_models)
    built(web, read_models)
    left_on_redis(read_models, "g1")
    done = built(web, read_models)
    assert (done.dropped, done.staying) == (("g1",), {})


def test_an_older_one_that_holds_more_than_the_moved_log_stays(web: Web, read_models: ReadModels) -> None:
    built(web, read_models)
    built(web, read_models)
    web.record("hits", "/only in g1")
    start_the_app(web, read_models, "g1")
    left_on_redis(read_models, "g1")
    web.log.flush("hits")
    web = Web()
    web.log = Moved()
    web.record("hits", "/a", "/b", "/a")
    done = built(web, read_models)
    assert (done.live, done.dropped, done.staying["g1"].events) == (True, (), 1)


def test_a_new_version_is_refused_alike(web: Web, read_models: ReadModels) -> None:
    built(web, read_models)
    left_on_redis(read_models, "g1")
    with pytest.raises(ReadModelError, match="Start its app of version 1 once"):
        built(web, read_models, SameInNextVersion())

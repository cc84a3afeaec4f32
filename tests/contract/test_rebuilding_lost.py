"""What the log has lost and a generation still holds is never dropped in passing, and no verb leaves it in silence.

On every read model adapter.
"""

from collections.abc import Iterable
from contextlib import closing
from typing import Any

import pytest

from sidestream.applying.decoding import Rule
from sidestream.applying.projector import Projector
from sidestream.errors import ReadModelError, StoreAway
from sidestream.ports import ReadModels
from sidestream.rebuilding.lacking import why_it_stays
from sidestream.rebuilding.rebuild import rebuild_at
from sidestream.rebuilding.switching import drop, roll_back, switch
from tests.contract.rebuilt import REGISTRY, UNWATCHED, Hits, SameInNextVersion, Web, built, now, pages, site_of, states, wire
from tests.contract.taking_away import Take, everywhere

CLICKS = ("/a", "/b", "/a", *["/only in g2"] * 50, "/later")
STRANGER = b'{"specversion":"1.0","id":"%d","source":"/x","type":"hit.made","data":{"page":"/plain"}}'


@pytest.fixture
def web() -> Web:
    web = Web()
    web.record("hits", "/a", "/b")
    web.record("clicks", *CLICKS[:3])
    return web


def follow(web: Web, read_models: ReadModels, name: str, projection: Hits) -> None:
    """What an app of this version does."""
    with closing(read_models.open(name)) as generation:
        Projector(Rule(projection, REGISTRY), web.log, generation, now).catch_up()


def restored(web: Web, numbers: Iterable[int]) -> None:
    """The topic of clicks comes back with these only."""
    web.log.flush("clicks")
    web.log.record("clicks", [wire("clicks", number, CLICKS[number - 1]) for number in numbers])


def lost_by_the_next_version(web: Web, read_models: ReadModels) -> dict[str, int]:
    """Version 2 is live as g2 and has counted clicks 4 to 53, which the log loses; nobody has followed with g1. What g2 holds."""
    built(web, read_models)
    built(web, read_models, SameInNextVersion())
    web.record("clicks", *CLICKS[3:53])
    follow(web, read_models, "g2", SameInNextVersion())
    restored(web, (1, 2, 3, 54))
    follow(web, read_models, "g2", SameInNextVersion())
    return pages(read_models, "g2")


@pytest.mark.parametrize("back", [roll_back, lambda site: switch(site, "g1")], ids=["rollback", "switch"])
def test_nobody_goes_back_in_passing_to_what_lacks_counted_events(back: Any, web: Web, read_models: ReadModels) -> None:
    held = lost_by_the_next_version(web, read_models)
    refused = r"g1 lacks 50 events that g2 has counted.* sidestream projections switch hits g1 --accept"
    with pytest.raises(ReadModelError, match=refused):
        back(site_of(web, read_models))
    assert states(read_models) == {"g1": "ready", "g2": "live"}
    assert pages(read_models, "g2") == held


def test_whoever_goes_back_all_the_same_keeps_what_only_the_other_one_holds(web: Web, read_models: ReadModels) -> None:
    held = lost_by_the_next_version(web, read_models)
    switch(site_of(web, read_models), "g1", accept=True)
    for _ in range(2):
        done = built(web, read_models)
        assert done.live
        assert done.staying["g2"].events == 50
        assert "g2" not in done.dropped
    assert states(read_models) == {"g2": "ready", "g3": "ready", "g4": "live"}
    assert pages(read_models, "g2") == held
    drop(site_of(web, read_models), "g2")
    assert built(web, read_models).staying == {}


def test_when_the_log_is_restored_what_held_it_goes_as_ever(web: Web, read_models: ReadModels) -> None:
    lost_by_the_next_version(web, read_models)
    switch(site_of(web, read_models), "g1", accept=True)
    assert "g2" in built(web, read_models).staying
    restored(web, range(1, 55))
    follow(web, read_models, "g3", Hits())
    done = built(web, read_models)
    assert (done.live, done.staying) == (True, {})
    assert "g2" in done.dropped


def test_what_was_accepted_though_it_lacks_events_does_not_drop_the_fuller_one_with_the_next_rebuild(
    web: Web, read_models: ReadModels
) -> None:
    web.log.record("hits", [STRANGER % 1, STRANGER % 2])
    built(web, read_models)
    full = pages(read_models, "g1")
    web.log.flush("hits")
    web.log.record("hits", [*(wire("hits", number, "/a") for number in (1, 2)), STRANGER % 2])
    web.record("hits", "/after")
    assert not built(web, read_models).live
    switch(site_of(web, read_models), "g2", accept=True)
    done = built(web, read_models)
    assert done.live
    assert (done.staying["g1"].events, done.staying["g1"].unreadable) == (1, "")
    assert pages(read_models, "g1") == full


def test_what_the_other_one_has_only_read_before_is_no_loss(web: Web, read_models: ReadModels) -> None:
    """An app follows it, and it is further than the one that was just built."""
    for _ in range(2):
        built(web, read_models)
    site = site_of(web, read_models)
    switched = read_models.switch

    def watched(name: str, stale_since: str = "") -> None:
        switched(name, stale_since)
        web.record("clicks", "/after the switch")
        follow(web, read_models, "g1", Hits())

    site.read_models = _With(read_models, switch=watched)
    done = rebuild_at(site, UNWATCHED)
    assert (done.dropped, done.staying) == (("g1",), {})
    assert pages(read_models, "g3")["/after the switch"] == 1


def test_what_is_unreachable_while_older_ones_are_swept_stays(web: Web, read_models: ReadModels) -> None:
    for _ in range(2):
        built(web, read_models)
    site = site_of(web, read_models)

    def opened(name: str) -> Any:
        if name == "g1":
            raise StoreAway("the disk sleeps")
        return read_models.open(name)

    site.read_models = _With(read_models, open=opened)
    done = rebuild_at(site, UNWATCHED)
    assert (done.live, done.dropped) == (True, ())
    assert done.staying["g1"].unreadable == "the disk sleeps"


class _With:
    """Read models of which one method is another."""

    def __init__(self, read_models: ReadModels, **methods: Any) -> None:
        self._read_models = read_models
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._read_models, name)


@everywhere
def test_what_was_live_and_rolled_back_from_is_not_forgotten_where_nothing_can_be_compared(kept: tuple[ReadModels, Take], web: Web) -> None:
    read_models, take = kept
    for _ in range(2):
        built(web, read_models)
    roll_back(site_of(web, read_models))
    full = pages(read_models, "g2")
    web.log.flush("clicks")
    take("g1")
    done = built(web, read_models)
    assert (done.live, done.dropped) == (True, ())
    again = built(web, read_models)
    assert (again.live, again.dropped) == (True, ())
    assert again.staying["g2"].events == 3
    assert again.staying["g1"].unreadable
    assert pages(read_models, "g2") == full


def test_what_stays_is_said_with_the_number_and_the_verb_that_ends_it(web: Web, read_models: ReadModels) -> None:
    lost_by_the_next_version(web, read_models)
    switch(site_of(web, read_models), "g1", accept=True)
    done = built(web, read_models)
    said = why_it_stays("hits", "g2", done.generation, done.staying["g2"])
    assert "g2 has counted 50 events that g3 lacks" in said
    assert said.endswith("sidestream projections drop hits g2")

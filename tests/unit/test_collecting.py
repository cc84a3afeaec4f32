"""The collector is held back while any block runs, and no longer."""

import gc

from sidestream.applying.collecting import no_cyclic_collection


def test_the_collector_is_back_when_the_last_block_ends() -> None:
    first, second = no_cyclic_collection(), no_cyclic_collection()
    with first:
        assert not gc.isenabled()
        with second:
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with no_cyclic_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()

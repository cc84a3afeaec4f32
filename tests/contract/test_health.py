"""A wedged sidecar, a wedged projection and a log that is away are told apart. On every read model adapter."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from sidestream.adapters.memory_log import MemoryLog
from sidestream.errors import StoreAway
from sidestream.event import Envelope
from sidestream.hosting.health import SILENT_SWEEPS, Bells
from sidestream.hosting.host import ProjectionHost
from sidestream.hosting.lag import MOST_COUNTED, Lag, measure
from sidestream.ports import LogEntry, ReadModels
from sidestream.projection import Rows
from sidestream.rebuilding.rebuild import rebuild
from tests.contract.kept_open import kept_open
from tests.contract.test_hosting import REGISTRY, AwayNowAndThen, Hits, HitsOfNextVersion, hits, host_of, now, wires
from tests.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # a sqlite3 connection of a thread pool's thread is closed with it


# ── the sidecar ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_sidecar_that_does_not_ring_while_the_log_moves_is_said_and_queries_go_on(read_models: ReadModels) -> None:
    log = MemoryLog()
    async with host_of(log, read_models, sweep_seconds=0.02) as host:
        for number in range(1, 500):
            log.record("hits", wires(number, 1))
            await until(lambda at=number: hits(host) == at)
            if host.sidecar_silent:
                break
        assert host.sidecar_silent
        assert host.not_ready() == ""
        host.ring("hits")
        assert not host.sidecar_silent


def test_a_sidecar_is_silent_only_after_several_sweeps_that_found_something() -> None:
    bells = Bells(sweep_seconds=1.0)
    for second in range(SILENT_SWEEPS):
        bells.found(float(second))
        assert not bells.silent
    bells.found(SILENT_SWEEPS + 0.5)
    assert bells.silent


def test_a_bell_now_and_then_is_enough() -> None:
    bells = Bells(sweep_seconds=1.0)
    for second in range(100):
        if second % 3 == 0:
            bells.ring()
        bells.found(float(second))
        assert not bells.silent


def test_many_finds_in_a_moment_are_no_silence() -> None:
    bells = Bells(sweep_seconds=1.0)
    for step in range(1000):
        bells.found(step / 1000)
    assert not bells.silent


# ── the projection ───────────────────────────────────────────────────────────────────────────────────────────────────


class Stuck(Hits):
    """A rule that does not return until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def evolve(self, rows: Rows, event: Any, envelope: Envelope) -> None:
        if envelope.id == "4":
            self.go.wait(30)
        super().evolve(rows, event, envelope)


async def test_a_checkpoint_that_stands_still_while_the_log_is_ahead_is_red(
    read_models: ReadModels, request: pytest.FixtureRequest
) -> None:
    if "memory" in request.node.name:
        return  # there a reader waits for the writer, and queries with it: nothing can be measured
    log, rule = MemoryLog(), Stuck()
    host = ProjectionHost(rule, REGISTRY, log, read_models, now=now, sweep_seconds=0.02, still_seconds=0.3)
    async with host:
        log.record("hits", wires(1, 3))
        await until(lambda: hits(host) == 3 and host.not_ready() == "")
        log.record("hits", wires(4, 2))
        await until(lambda: "wedged: 2 events behind" in host.not_ready())
        assert hits(host) == 3  # queries go on
        assert host.measured()["g1"].lag.events == 2
        rule.go.set()
        await until(lambda: hits(host) == 5 and host.not_ready() == "")


async def test_a_projection_with_nothing_to_do_is_not_wedged(read_models: ReadModels) -> None:
    log = MemoryLog()
    log.record("hits", wires(1, 3))
    host = ProjectionHost(Hits(), REGISTRY, log, read_models, now=now, sweep_seconds=0.02, still_seconds=0.05)
    async with host:
        await until(lambda: host.measured()["g1"].begun)
        first = host.measured()["g1"].at
        await until(lambda: host.measured()["g1"].at > first + 0.2)
        assert (host.wedged(), host.not_ready(), host.measured()["g1"].lag) == ("", "", Lag())


# ── the log ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_log_that_goes_away_is_said_and_the_app_stays_ready(read_models: ReadModels) -> None:
    log = AwayNowAndThen()
    log.record("hits", wires(1, 3))
    async with host_of(log, read_models, sweep_seconds=0.02) as host:
        await until(lambda: host.caught_up)
        log.away = True
        await until(lambda: "nobody answers" in host.log_away())
        assert host.not_ready() == ""
        assert "nobody answers" in host.not_following()
        assert hits(host) == 3
        log.away = False
        await until(lambda: host.log_away() == "")


async def test_an_app_that_starts_without_its_log_serves_what_was_built_before(read_models: ReadModels) -> None:
    read_models = kept_open(read_models)  # for the second run
    log = AwayNowAndThen()
    log.away = True
    async with host_of(log, read_models, sweep_seconds=0.02) as host:
        await until(lambda: host.log_away() != "")
        assert "nobody answers" in host.not_ready()  # nothing was ever applied: an empty answer would be a lie
        log.record("hits", wires(1, 3))
        log.away = False
        await until(lambda: host.not_ready() == "")
    log.away = True
    async with host_of(log, read_models, sweep_seconds=0.02) as host:
        await until(lambda: host.log_away() != "" and host.not_ready() == "")
        assert hits(host) == 3


class DatabaseAway:
    """A generation whose transactions cannot begin."""

    def __init__(self, generation: Any) -> None:
        self._generation = generation

    def unit(self) -> Any:
        raise StoreAway("disk full")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generation, name)


async def test_a_database_that_is_away_is_red(read_models: ReadModels, monkeypatch: pytest.MonkeyPatch) -> None:
    log = MemoryLog()
    log.record("hits", wires(1, 3))
    opened = read_models.open
    monkeypatch.setattr(read_models, "open", lambda name: DatabaseAway(opened(name)))
    async with host_of(log, read_models, sweep_seconds=0.02) as host:
        await until(lambda: "disk full" in host.not_ready())
        assert host.log_away() == ""
    monkeypatch.undo()


async def test_a_generation_older_than_its_code_is_said(read_models: ReadModels) -> None:
    log = MemoryLog()
    await asyncio.to_thread(rebuild, Hits(), REGISTRY, log, read_models, now)
    async with host_of(log, read_models, projection=HitsOfNextVersion(), sweep_seconds=0.02) as host:
        assert "was built by version 1, this program is version 2" in host.not_ready()
        assert host.versions() == {"g1": 1}


# ── how far behind ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_lag_is_in_events_in_the_logs_time_and_in_the_age_of_the_oldest() -> None:
    at = iter([1_000, 2_000, 5_000])
    log = MemoryLog(clock_ms=lambda: next(at))
    for number in (1, 2, 3):
        log.record("hits", wires(number, 1))
    assert measure(log, "hits", "", now_ms=11_000) == Lag(3, False, 4.0, 10.0)
    assert measure(log, "hits", "1", now_ms=11_000) == Lag(2, False, 3.0, 9.0)
    assert measure(log, "hits", "1", now_ms=11_000, most=1) == Lag(1, True, 3.0, 9.0)
    assert measure(log, "hits", "3", now_ms=11_000) == Lag()
    assert measure(log, "nothing", "", now_ms=11_000) == Lag()


class Noting(MemoryLog):
    """Notes how many entries it was asked for."""

    most_asked = 0

    def read(self, topic: str, start: str | None, limit: int) -> Sequence[LogEntry]:
        self.most_asked = max(self.most_asked, limit)
        return super().read(topic, start, limit)


def test_looking_how_far_behind_reads_no_more_than_a_thousand_and_a_few() -> None:
    log = Noting()
    log.record("hits", wires(1, 1_500))
    found = measure(log, "hits", "", now_ms=0)
    assert (found.events, found.more, MOST_COUNTED) == (1_000, True, 1_000)
    assert log.most_asked <= 1_010

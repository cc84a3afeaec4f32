"""What a rebuild would take, before anything is written: events, time, space."""

from contextlib import closing
from typing import Final

import msgspec

from sidestream.applying.decoding import Rule
from sidestream.applying.projector import Projector
from sidestream.ports import Query, Reader, ReadModels
from sidestream.rebuilding.building import Site

_SAMPLE: Final = 10_000
_SAMPLE_SECONDS: Final = 3.0


class Estimate(msgspec.Struct, frozen=True):
    """What to expect.

    Attributes:
        events: entries of the log.
        per_second, seconds: about how fast, and how long; 0 for an empty log.
        rate_from: where the rate comes from.
        bytes: about how much space the new generation takes, beside the ones that are there.
        bytes_from: where that comes from.
    """

    events: int
    per_second: float
    seconds: float
    rate_from: str
    bytes: int
    bytes_from: str


def estimate(site: Site, scratch: ReadModels) -> Estimate:
    """Estimate a rebuild by the last one, or by applying the first events into `scratch`, which is in memory.

    Raises:
        HistoryTrimmed: the log does not begin at its beginning, so that a rebuild would be refused.
    """
    site.refuse_unfit()
    events, live = site.length(), site.live()
    infos = [info for info in site.read_models.generations() if info.built_events and info.built_seconds]
    sampled, rate, volume = _sample(site, scratch) if not infos or live is None else (0, 0.0, 0)
    if infos:
        last = infos[-1]
        rate, rate_from = last.built_events / last.built_seconds, f"building {last.name}"
    else:
        rate_from = f"a sample of {sampled} events in memory; a database takes longer"
    if live is not None:
        volume, bytes_from = site.read_models.size(live.name), f"the size of {live.name}"
    else:
        volume, bytes_from = round(volume * events / max(sampled, 1)), f"a sample of {sampled} events; at most, if keys come again"
    return Estimate(events, rate, events / rate if rate else 0.0, rate_from, volume, bytes_from)


def _sample(site: Site, scratch: ReadModels) -> tuple[int, float, int]:
    """Return how many events were applied, how many a second, and how many bytes their rows have."""
    with closing(scratch.open(scratch.create(site.projection.version, site.tables, ""))) as generation:
        projector = Projector(Rule(site.projection, site.registry), site.log, generation, site.now)
        begin, done = site.clock(), 0
        while done < _SAMPLE and site.clock() - begin < _SAMPLE_SECONDS and (step := projector.step()) is not None:
            done += step.counted
        elapsed = site.clock() - begin
        with generation.snapshot() as reader:
            return done, done / elapsed if done and elapsed else 0.0, _volume(reader, site)


def _volume(reader: Reader, site: Site) -> int:
    encode = msgspec.msgpack.encode
    return sum(len(encode(row)) for table in site.tables for row in reader.select(table, Query(limit=10 * _SAMPLE)))

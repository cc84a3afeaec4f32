"""Which generations a rebuild leaves beside the live one, and which it drops.

The one before is the way back. What holds events that the new one lacks may be their only copy (`lacking.py`). Of every
older version the one stays that its programs answer from: a new version is rebuilt before it is deployed, perhaps several
times, and nobody here can know whether a program of an older one still runs, or comes back. That is at most one generation
a version; it goes on following only while such a program runs, and stays until somebody drops it.
"""

from collections.abc import Collection

import msgspec

from sidestream.hosting.serving import served_by
from sidestream.ports import GenerationInfo
from sidestream.rebuilding.building import Site
from sidestream.rebuilding.lacking import Held, held_by


def kept_for_programs(infos: Collection[GenerationInfo]) -> dict[str, int]:
    """Return what programs of an older version than the live one answer from: name → that version."""
    answering = {info.version: served_by(info.version, infos) for info in infos}
    return {found.name: version for version, found in answering.items() if found is not None and not found.live}


def why_kept(projection: str, name: str, version: int) -> str:
    """Say why such a generation is there, and what ends it."""
    return (
        f"{projection}: {name} is kept for programs of version {version}, which answer from it. "
        f"When none of them runs any more: sidestream projections drop {projection} {name}"
    )


def once_live(site: Site) -> tuple[str, ...]:
    """Return the generations that queries were answered from, or may have been: they may hold what the log has lost."""
    return tuple(info.name for info in site.read_models.generations() if info.switched or info.state == "ready")


class Swept(msgspec.Struct, frozen=True):
    """What became of older generations: which were dropped, and which stay for what the new one lacks."""

    dropped: tuple[str, ...] = ()
    staying: dict[str, Held] = {}


def drop_older(site: Site, live: str, keep: Collection[str]) -> Swept:
    """Drop what is neither named nor needed by a program, and holds nothing that the live one lacks.

    What somebody asked for by --until is his to drop.
    """
    infos = site.read_models.generations()
    wanted = {live, *keep, *kept_for_programs(infos)}
    older = [info for info in infos if info.name not in wanted and info.state != "scratch"]
    complete = [info.name for info in older if info.state != "building"]
    staying = {name: held for name in complete if (held := held_by(site, name, live))}
    dropped = tuple(info.name for info in older if info.name not in staying)
    for name in dropped:
        site.read_models.drop(name)
    return Swept(dropped, staying)

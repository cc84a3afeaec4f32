"""Which generations a rebuild leaves beside the live one, and which it drops.

The one before is the way back. Of every older version the one stays that its programs answer from: a new version is rebuilt
before it is deployed, perhaps several times, and nobody here can know whether a program of an older one still runs, or
comes back. That is at most one generation a version; it goes on following only while such a program runs, and stays until
somebody drops it.
"""

from collections.abc import Collection

from sidestream.hosting.serving import served_by
from sidestream.ports import GenerationInfo
from sidestream.rebuilding.building import Site


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
    """Return the generations that queries were ever answered from: they may hold what the log has lost."""
    return tuple(info.name for info in site.read_models.generations() if info.switched)


def drop_older(site: Site, keep: Collection[str]) -> tuple[str, ...]:
    """Drop what is neither named nor needed by a program; what somebody asked for by --until is his to drop."""
    infos = site.read_models.generations()
    wanted = {*keep, *kept_for_programs(infos)}
    names = tuple(info.name for info in infos if info.name not in wanted and info.state != "scratch")
    for name in names:
        site.read_models.drop(name)
    return names

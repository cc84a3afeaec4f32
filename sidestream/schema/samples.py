"""Golden samples: one event of every type and schema version, as it stood in a log, kept for ever and never edited."""

from collections.abc import Iterator, Mapping, Sequence

from sidestream.errors import SidestreamError
from sidestream.event import decode_event
from sidestream.registry import Registry
from sidestream.schema.catalogue import Catalogue
from sidestream.schema.comparing import Finding
from sidestream.schema.models import fields_of, root_of
from sidestream.schema.readings import readings


def check_samples(released: Catalogue, now: Catalogue, registry: Registry, samples: Mapping[str, bytes]) -> Sequence[Finding]:
    """Return what is wrong with the samples: edited, gone, missing, not to be read by this program, or read otherwise."""
    still_declared = {name: wire for name, wire in samples.items() if not _was_removed(name, released, now)}
    changed = [*_kept(released, now), *_read_otherwise(released, now, registry, still_declared)]
    return [*changed, *_missing(now), *_unreadable(now, registry, still_declared)]


def _was_removed(sample: str, released: Catalogue, now: Catalogue) -> bool:
    """Whether a released event type is not declared any more; the comparison says that, not each of its samples."""
    event_type = sample.rpartition(".")[0]
    return event_type in released.events and event_type not in now.events


def _kept(released: Catalogue, now: Catalogue) -> Iterator[Finding]:
    for name, digest in released.samples.items():
        if name not in now.samples:
            catalogue = now if name.rpartition(".")[0] in now.events else released
            yield _finding(catalogue, "sample-removed", name, "the golden sample of the release is gone", "Restore the file.")
        elif now.samples[name] != digest:
            remedy = "Restore the file; a new shape is a new version, with a sample of its own."
            yield _finding(now, "sample-edited", name, "the golden sample of the release was edited", remedy)


def _read_otherwise(released: Catalogue, now: Catalogue, registry: Registry, samples: Mapping[str, bytes]) -> Iterator[Finding]:
    """Yield the samples that today's upcasters lift to something else, at the version to which the released ones lifted them."""
    versions = {name: event.version for name, (event, _) in released.events.items()}
    today = readings(registry, samples, versions)
    for name, before in released.readings.items():
        if name not in today or now.samples.get(name) != released.samples.get(name):
            continue  # said already: gone, edited, or not to be read
        fields = [field for field in _known(name.rpartition(".")[0], released, now) if before.get(field) != today[name].get(field)]
        if fields:
            change = f"the golden sample reads otherwise than at the release: {', '.join(fields)}"
            remedy = (
                "Restore the upcasters of the release: read models were built with them, and a new shape is one more link. If they "
                "were wrong, take this reading out of the catalogue by hand, and rebuild what reads it."
            )
            yield _finding(now, "sample-read-otherwise", name, change, remedy)


def _known(event_type: str, released: Catalogue, now: Catalogue) -> Sequence[str]:
    """Return the fields of the released version; without those that the same version has given up, which the comparison says."""
    (before, _), (after, _) = released.events[event_type], now.events[event_type]
    fields, kept = fields_of(root_of(before.schema)), fields_of(root_of(after.schema))
    return [name for name in fields if name in kept or after.version != before.version]


def _missing(now: Catalogue) -> Iterator[Finding]:
    for event, _ in now.events.values():
        for version in range(1, event.version + 1):
            if (name := f"{event.type}.{version}") not in now.samples:
                remedy = f"Write {name}.json, one such event as it stands in the log, and never edit it again."
                yield _finding(now, "sample-missing", name, "the version has no golden sample", remedy)


def _unreadable(now: Catalogue, registry: Registry, samples: Mapping[str, bytes]) -> Iterator[Finding]:
    for name, wire in samples.items():
        try:
            envelope = decode_event(wire)
            registry.read(envelope)
        except SidestreamError as error:
            remedy = "Correct the model or its upcasters: such events stand in the log."
            yield _finding(now, "sample-unreadable", name, f"the golden sample cannot be read: {error}", remedy)
            continue
        said = f"{envelope.type}.{(envelope.dataschema or '').rpartition(':')[2]}"
        if said != name:
            yield _finding(now, "sample-misnamed", name, f"the golden sample is one of {said}", f"Name it {said}.json.")


def _finding(now: Catalogue, code: str, sample: str, change: str, remedy: str) -> Finding:
    event_type = sample.rpartition(".")[0]
    found = now.events.get(event_type)
    writer = found[1].writer if found else ""
    readers = now.readers_of(found[1].topics, event_type) if found else ()
    return Finding("breaking", code, sample, change, writer, tuple(reader.app for reader in readers), remedy)

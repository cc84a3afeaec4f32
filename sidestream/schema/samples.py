"""Golden samples: one event of every type and schema version, as it stood in a log, kept for ever and never edited."""

from collections.abc import Iterator, Mapping, Sequence

from sidestream.errors import SidestreamError
from sidestream.event import decode_event
from sidestream.registry import Registry
from sidestream.schema.catalogue import Catalogue
from sidestream.schema.comparing import Finding


def check_samples(released: Catalogue, now: Catalogue, registry: Registry, samples: Mapping[str, bytes]) -> Sequence[Finding]:
    """Return what is wrong with the samples: edited, gone, missing, or not to be read by this program."""
    return [*_kept(released, now), *_missing(now), *_unreadable(now, registry, samples)]


def _kept(released: Catalogue, now: Catalogue) -> Iterator[Finding]:
    for name, digest in released.samples.items():
        if name not in now.samples:
            yield _finding(now, "sample-removed", name, "the golden sample of the release is gone", "Restore the file.")
        elif now.samples[name] != digest:
            remedy = "Restore the file; a new shape is a new version, with a sample of its own."
            yield _finding(now, "sample-edited", name, "the golden sample of the release was edited", remedy)


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

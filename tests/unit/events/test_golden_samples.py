"""Every event that was ever written can be read for ever: one sample of each type and schema version, never edited."""

from pathlib import Path

import msgspec
import pytest

from events import registry
from events.assets import AssetDiscovered
from sidestream.event import SEQUENCE_DIGITS, decode_event

FOLDER = Path(__file__).parents[2] / "golden" / "events"
SAMPLES = sorted(FOLDER.glob("*.json"))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_a_golden_sample_is_read_as_its_type(sample: Path) -> None:
    language = registry()
    event = decode_event(sample.read_bytes())
    declared = language.named(event.type)

    assert declared is not None
    assert isinstance(language.read(event), declared.model)
    assert sample.stem == f"{event.type}.{(event.dataschema or '').rpartition(':')[2]}"


def test_every_version_of_every_type_has_a_golden_sample() -> None:
    declared = {
        f"{event_type.name}.{version}"
        for category in registry().categories
        for event_type in category.types
        for version in range(1, event_type.version + 1)
    }

    assert {sample.stem for sample in SAMPLES} == declared


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_data_of_the_newest_version_is_written_as_the_sample_says(sample: Path) -> None:
    language = registry()
    event = decode_event(sample.read_bytes())
    declared = language.named(event.type)
    if declared is None or event.dataschema != declared.dataschema:
        return

    assert msgspec.json.decode(msgspec.json.encode(language.read(event))) == msgspec.json.decode(event.data)


def test_a_large_size_and_a_strange_path_survive() -> None:
    event = decode_event((FOLDER / "asset.discovered.1.json").read_bytes())
    asset = registry().read(event)

    assert isinstance(asset, AssetDiscovered)
    assert asset.size == 2**53 + 1
    assert asset.path == "/srv/caf%E9/100%25/münchen.txt"
    assert len(event.sequence or "") == SEQUENCE_DIGITS

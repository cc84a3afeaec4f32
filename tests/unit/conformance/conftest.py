"""A broker that is wrong in one way, and the record of what it delivers."""

from pathlib import Path

import pytest

from tests.unit.conformance.pretended_broker import PretendedBroker


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "deliveries.ndjson"


@pytest.fixture
def broker(record: Path) -> PretendedBroker:
    return PretendedBroker(record)

"""Leaves out the brokers that a run does not start."""

from pathlib import Path

from tests.brokers.chosen import left_out
from tests.brokers.fixtures import broker_server

__all__ = ["broker_server"]


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Pass over the files of a broker that this run does not start; those called test_redis_… run on Valkey, always."""
    absent = set(left_out()) - {"redis"}
    return True if any(collection_path.name.startswith(f"test_{broker}_") for broker in absent) else None

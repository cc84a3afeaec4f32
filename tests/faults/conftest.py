"""How many bad days are lived through: one with a fresh seed, or those asked for."""

import os
import random

import pytest

SEEDS = "SIDESTREAM_FAULT_SEEDS"
"""A number: so many fresh seeds. A list with commas, also of one (`42,`): these very seeds."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", _seeds(os.environ.get(SEEDS, "1")))


def _seeds(wanted: str) -> list[int]:
    if "," in wanted:
        return [int(seed) for seed in wanted.split(",") if seed]
    return [random.SystemRandom().randrange(1_000_000) for _ in range(int(wanted))]

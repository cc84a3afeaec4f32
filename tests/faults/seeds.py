"""Which bad days a run lives through, and how long they are."""

import os
import random
from collections.abc import Sequence
from typing import Final

SEEDS: Final = "SIDESTREAM_FAULT_SEEDS"
"""A number: so many fresh seeds. A list with commas, also of one (`42,`): these very seeds. Left out: one."""
LENGTH: Final = "SIDESTREAM_FAULT_DAYS"
"""`long` or `short`; left out: long where seeds are asked for."""
LONG: Final = os.environ.get(LENGTH, "long" if os.environ.get(SEEDS) else "short") == "long"
"""Whether faults last as long as they may, under full load; a day of the whole test run is short."""
SEED_OF_THE_RUN: Final = "SIDESTREAM_SEED_OF_THE_RUN"
"""Fresh seeds are drawn from it: the processes of one run must collect the same tests, and so inherit it from the first."""

os.environ.setdefault(SEED_OF_THE_RUN, str(random.SystemRandom().randrange(2**32)))


def seeds() -> list[int]:
    """Return the seeds of this run, the same in each of its processes."""
    wanted = os.environ.get(SEEDS) or "1"
    if "," in wanted:
        return [int(seed) for seed in wanted.split(",") if seed]
    dice = random.Random(os.environ[SEED_OF_THE_RUN])
    return [dice.randrange(1_000_000) for _ in range(int(wanted))]


def said_again(some: Sequence[int]) -> str:
    """Return the variables that live these days again."""
    return f"{LENGTH}={'long' if LONG else 'short'} {SEEDS}={','.join(map(str, some))},"

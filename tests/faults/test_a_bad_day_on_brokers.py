"""Bad days on the other brokers: the faults that every broker can suffer, each once, in an order of the seed, under load.

NATS JetStream in a run of all tests, one fresh seed, short; Redis, Kafka, and RabbitMQ by the inbox log where
SIDESTREAM_BROKERS names them. `SIDESTREAM_FAULT_SEEDS` as for the other days.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.brokers.chosen import chosen
from tests.faults import causing, deceiving, rebuilding
from tests.faults.brokers import SPEAK_REDIS
from tests.faults.day import Fault, a_day
from tests.faults.seeds import LONG

CORE: Final[Sequence[Fault]] = (
    causing.kill_a_projection,
    causing.kill_the_service_with_a_store,
    causing.kill_a_sidecar,
    causing.kill_the_broker,
    causing.pause_the_broker,
    causing.strangers_repeat_and_reorder_entries,
    causing.two_replicas_of_a_projection,
    deceiving.lose_the_answers_of_a_relay,
    deceiving.a_poison_event_among_good_ones,
    rebuilding.a_rebuild_under_full_load,
    rebuilding.a_rebuild_killed_half_way,
)
"""What a short day is made of."""
EVERY: Final[Sequence[Fault]] = (*causing.FAULTS, *deceiving.DECEITS, *rebuilding.REBUILDS)


@pytest.mark.timeout(1800 if LONG else 600)
@pytest.mark.parametrize("broker", chosen())
async def test_a_bad_day_on_another_broker_loses_doubles_and_misplaces_nothing(broker: str, seed: int, tmp_path: Path) -> None:
    async with a_day(seed, tmp_path / "system", broker=broker) as day:
        await day.live(faults_on(broker))


def faults_on(broker: str) -> Sequence[Fault]:
    """Every fault in a long day, the core in a short one; but none that is a word of Redis where nobody speaks it."""
    wanted = EVERY if LONG else CORE
    return wanted if broker in SPEAK_REDIS else [fault for fault in wanted if fault not in causing.IN_WORDS_OF_REDIS]

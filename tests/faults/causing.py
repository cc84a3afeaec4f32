"""Faults of processes: what breaks while clients post, and what an operator, or nobody, does about it.

Only processes are mended by being started again, as any supervisor would; no data is ever repaired by hand.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import redis

from sidestream.launcher.process import Process
from tests.faults.day import LONG, Day, Fault
from tests.faults.load import Load

PROJECTIONS = ("tally", "balances")


async def kill_and_start(part: Process) -> None:
    await part.kill()
    await part.start()


async def nothing(day: Day, load: Load) -> None:
    """A day without a fault must be right too."""


async def kill_a_projection(day: Day, load: Load) -> None:
    for share in sorted((day.dice.random(), day.dice.random())):
        await load.reached(share)
        await kill_and_start(day.system[day.dice.choice(PROJECTIONS)].app)


async def kill_the_service_with_a_store(day: Day, load: Load) -> None:
    """Between append and publish, with luck; twice."""
    for share in sorted((day.dice.random(), day.dice.random())):
        await load.reached(share)
        await kill_and_start(day.system["bank"].app)


async def kill_the_direct_publisher(day: Day, load: Load) -> None:
    await load.reached(day.dice.random())
    await kill_and_start(day.system["votes"].app)


async def kill_a_sidecar(day: Day, load: Load) -> None:
    for share in sorted((day.dice.random(), day.dice.random())):
        await load.reached(share)
        await kill_and_start(day.system[day.dice.choice(("votes", "bank", *PROJECTIONS))].sidecar)


async def kill_the_broker(day: Day, load: Load) -> None:
    await load.reached(day.dice.random())
    await kill_and_start(day.system.broker)


async def kill_two_at_once(day: Day, load: Load) -> None:
    parts = [part for pair in day.system for part in (pair.app, pair.sidecar)] + [day.system.broker]
    await load.reached(day.dice.random())
    both = day.dice.sample(parts, 2)
    day.note(f"  {' and '.join(part.name for part in both)}")
    for part in both:
        part.end_at_once()
    for part in both:
        await part.kill()
    for part in both:
        await part.start()


async def pause_the_broker(day: Day, load: Load) -> None:
    await _paused([day.system.broker], day, load, 3.0 if LONG else 1.5)


async def pause_a_projection_and_its_sidecar(day: Day, load: Load) -> None:
    pair = day.system[day.dice.choice(PROJECTIONS)]
    await _paused([pair.app, pair.sidecar], day, load, 2.0 if LONG else 1.0)


async def pause_a_sidecar_of_a_service(day: Day, load: Load) -> None:
    """In a long day so long that the publisher gives its calls up: what it sends again stands in the log twice."""
    await _paused([day.system[day.dice.choice(("votes", "bank"))].sidecar], day, load, 7.0 if LONG else 1.0)


async def no_bell_at_all(day: Day, load: Load) -> None:
    """As a wedged sidecar: it looks healthy and delivers nothing until the load is over."""
    sidecars = [day.system[name].sidecar for name in PROJECTIONS]
    for sidecar in sidecars:
        sidecar.pause()
    await load.reached(1.0)
    for sidecar in sidecars:
        sidecar.resume()


async def fill_the_broker(day: Day, load: Load) -> None:
    """No memory left, and nothing is evicted: writes are refused until there is room again."""
    await load.reached(day.dice.random() * 0.8)
    with redis.Redis(port=day.system.broker.port) as broker:
        broker.config_set("maxmemory", "1mb")
        await asyncio.sleep(2.0 if LONG else 0.7)  # how long the fault lasts
        broker.config_set("maxmemory", "0")


async def repeat_and_reorder_entries(day: Day, load: Load) -> None:
    """Copies of entries are added to the log in any order, as a sidecar that repeats its own writes would."""
    await load.reached(day.dice.random())
    with redis.Redis(port=day.system.broker.port) as broker:
        for topic in ("votes", "accounts"):
            entries: Any = broker.xrange(topic)
            for _, entry in day.dice.choices(entries, k=min(len(entries), 100)) if entries else ():
                broker.xadd(topic, entry)


async def _paused(parts: Sequence[Process], day: Day, load: Load, seconds: float) -> None:
    await load.reached(day.dice.random() * 0.8)
    for part in parts:
        part.pause()
    await asyncio.sleep(seconds)  # how long the fault lasts
    for part in parts:
        part.resume()


FAULTS: Sequence[Fault] = (
    nothing,
    kill_a_projection,
    kill_the_service_with_a_store,
    kill_the_direct_publisher,
    kill_a_sidecar,
    kill_the_broker,
    kill_two_at_once,
    pause_the_broker,
    pause_a_projection_and_its_sidecar,
    pause_a_sidecar_of_a_service,
    no_bell_at_all,
    fill_the_broker,
    repeat_and_reorder_entries,
)

"""Faults of processes: what breaks while clients post, and what an operator, or nobody, does about it.

Only processes are mended by being started again, as any supervisor would; no data is ever repaired by hand.
"""

import asyncio
from collections.abc import Sequence

import redis

from tests.faults.brokers import TOPICS, Breakable
from tests.faults.day import PROJECTIONS, Day, Fault, kill_and_start
from tests.faults.load import Load
from tests.faults.replicas import beside
from tests.faults.seeds import LONG
from tests.faults.strangers import publish


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
    await day.mend(await day.kill(day.broker))


async def kill_two_at_once(day: Day, load: Load) -> None:
    parts: list[Breakable] = [part for pair in day.system for part in (pair.app, pair.sidecar)]
    await load.reached(day.dice.random())
    both = day.dice.sample([*parts, day.broker], 2)
    day.note(f"  {' and '.join(part.name for part in both)}")
    await day.mend(await day.kill(*both))


async def pause_the_broker(day: Day, load: Load) -> None:
    await _paused([day.broker], day, load, 3.0 if LONG else 1.5)


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
    with redis.Redis(port=day.broker.port) as broker:
        broker.config_set("maxmemory", "1mb")
        await asyncio.sleep(2.0 if LONG else 0.7)  # how long the fault lasts
        broker.config_set("maxmemory", "0")


async def strangers_repeat_and_reorder_entries(day: Day, load: Load) -> None:
    """Copies of events are published in any order through the sidecar's plain API, by somebody who keeps none of our rules."""
    await load.reached(day.dice.random())
    for topic in TOPICS:
        events = await asyncio.to_thread(day.broker.entries, topic)
        for event in day.dice.choices(events, k=min(len(events), 100)) if events else ():
            await publish(day.system["votes"].sidecar_url, topic, event)


async def two_replicas_of_a_projection(day: Day, load: Load) -> None:
    """A second app with a sidecar of its own shares deliveries and generation; any of the four is killed, then the second goes."""
    name = day.dice.choice(PROJECTIONS)
    first = day.system[name]
    async with beside(day.system, name) as second:
        await load.reached(day.dice.random() * 0.5)
        victim = day.dice.choice((first.app, first.sidecar, second.app, second.sidecar))
        day.note(f"  {victim.name} is killed")
        await kill_and_start(victim)
        await load.reached(1.0)
        await day.be_exact()
        await day.be_exact({name: second.app.url})


async def _paused(parts: Sequence[Breakable], day: Day, load: Load, seconds: float) -> None:
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
    strangers_repeat_and_reorder_entries,
    two_replicas_of_a_projection,
)
IN_WORDS_OF_REDIS: Sequence[Fault] = (fill_the_broker,)
"""A limit of memory that is set while the broker runs: only Redis and Valkey have it."""

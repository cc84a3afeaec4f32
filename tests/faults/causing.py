"""The faults, each a few lines: what breaks while clients post, and what an operator, or nobody, does about it.

Only processes are mended by being started again, as any supervisor would; no data is ever repaired by hand.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import redis

from sidestream.launcher.process import Process
from sidestream.launcher.system import System
from tests.faults.load import Load

Fault = Callable[[System, Load, random.Random], Coroutine[None, None, None]]


async def _kill_and_start(part: Process) -> None:
    await part.kill()
    await part.start()


async def nothing(system: System, load: Load, dice: random.Random) -> None:
    """A day without a fault must be right too."""


async def kill_a_projection(system: System, load: Load, dice: random.Random) -> None:
    for share in sorted((dice.random(), dice.random())):
        await load.reached(share)
        await _kill_and_start(system[dice.choice(("tally", "balances"))].app)


async def kill_the_service_with_a_store(system: System, load: Load, dice: random.Random) -> None:
    """Between append and publish, with luck; twice."""
    for share in sorted((dice.random(), dice.random())):
        await load.reached(share)
        await _kill_and_start(system["bank"].app)


async def kill_the_direct_publisher(system: System, load: Load, dice: random.Random) -> None:
    await load.reached(dice.random())
    await _kill_and_start(system["votes"].app)


async def kill_a_sidecar(system: System, load: Load, dice: random.Random) -> None:
    for share in sorted((dice.random(), dice.random())):
        await load.reached(share)
        await _kill_and_start(system[dice.choice(("votes", "bank", "tally", "balances"))].sidecar)


async def kill_the_broker(system: System, load: Load, dice: random.Random) -> None:
    await load.reached(dice.random())
    await _kill_and_start(system.broker)


async def kill_two_at_once(system: System, load: Load, dice: random.Random) -> None:
    parts = [part for pair in system for part in (pair.app, pair.sidecar)] + [system.broker]
    await load.reached(dice.random())
    both = dice.sample(parts, 2)
    for part in both:
        part.end_at_once()
    for part in both:
        await part.kill()
    for part in both:
        await part.start()


async def pause_the_broker(system: System, load: Load, dice: random.Random) -> None:
    await _paused([system.broker], load, dice, seconds=3.0)


async def pause_a_projection_and_its_sidecar(system: System, load: Load, dice: random.Random) -> None:
    pair = system[dice.choice(("tally", "balances"))]
    await _paused([pair.app, pair.sidecar], load, dice, seconds=2.0)


async def pause_a_sidecar_of_a_service(system: System, load: Load, dice: random.Random) -> None:
    await _paused([system[dice.choice(("votes", "bank"))].sidecar], load, dice, seconds=2.0)


async def no_bell_at_all(system: System, load: Load, dice: random.Random) -> None:
    """As a wedged sidecar: it looks healthy and delivers nothing until the load is over."""
    sidecars = [system[name].sidecar for name in ("tally", "balances")]
    for sidecar in sidecars:
        sidecar.pause()
    await load.reached(1.0)
    for sidecar in sidecars:
        sidecar.resume()


async def fill_the_broker(system: System, load: Load, dice: random.Random) -> None:
    """No memory left, and nothing is evicted: writes are refused until there is room again."""
    await load.reached(dice.random() * 0.8)
    broker = redis.Redis(port=system.broker.port)
    broker.config_set("maxmemory", "1mb")
    await asyncio.sleep(2.0)  # how long the fault lasts
    broker.config_set("maxmemory", "0")
    broker.close()


async def repeat_and_reorder_entries(system: System, load: Load, dice: random.Random) -> None:
    """Copies of entries are added to the log in any order, as a sidecar that repeats its own writes would."""
    await load.reached(dice.random())
    broker = redis.Redis(port=system.broker.port)
    for topic in ("votes", "accounts"):
        entries: Any = broker.xrange(topic)
        for _, entry in dice.choices(entries, k=min(len(entries), 100)) if entries else ():
            broker.xadd(topic, entry)
    broker.close()


async def _paused(parts: Sequence[Process], load: Load, dice: random.Random, seconds: float) -> None:
    await load.reached(dice.random() * 0.8)
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

"""One bad day: a system under load, faults one after another, and after each the read models against the independent fold.

What is compared: every accepted vote and deposit is in the log, the first occurrences of each account's deposits stand in
order, the read models equal a fold worked out apart from the product's code, and nothing is parked but what must be. A day
that fails says its seed, the schedule of its faults, and where its evidence lies: logs, read models, and what was expected.
"""

import asyncio
import json
import os
import random
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final

import aiohttp
import psycopg
from psycopg import sql

from sidestream.launcher.system import System
from tests.brokers.servers import SIDECARS_GO_FIRST
from tests.faults.brokers import EMBEDDED, Breakable, Broker, system_on
from tests.faults.load import Load, balances_of, casts_in, deposits_in, tally_of
from tests.faults.seeds import LONG, said_again
from tests.waiting import until

PROJECTIONS: Final = ("tally", "balances")
TOO_LARGE: Final = 2**63
"""Cents that no database's integer holds."""
_PATIENCE: Final = 60.0


class Day:
    """A system, its broker and what it was promised. Made by `a_day`.

    `votes_door` and `bank_door` say where clients post; `unpayable` are the amounts at which an account ends, `parked` how
    many events of each projection must be parked, `deployed` is what programs are told that were deployed since the day began.
    """

    def __init__(self, seed: int, system: System, broker: Broker, database: str) -> None:
        self.system = system
        self.broker = broker
        self.database = database
        self.dice = random.Random(seed)
        self.loads: list[Load] = []
        self.unpayable: set[int] = {TOO_LARGE}
        self.parked = {"tally": 0, "balances": 0}
        self.deployed: dict[str, str] = {}
        self.history: list[str] = []
        self.expected: dict[str, object] = {}
        self.votes_door: Callable[[], str] = lambda: system["votes"].url
        self.bank_door: Callable[[], str] = lambda: system["bank"].url
        self._began = time.monotonic()

    def note(self, what: str) -> None:
        """Write it into the schedule, and say it."""
        self.history.append(f"{time.monotonic() - self._began:6.1f} s  {what}")
        print(self.history[-1], flush=True)

    async def live(self, faults: "Sequence[Fault]") -> None:
        """Suffer these in an order of the day's own; be exact after each."""
        for fault in self.dice.sample(faults, len(faults)):
            await self.suffer(fault)
            await self.be_exact()

    async def suffer(self, fault: "Fault") -> Load:
        """Let clients post while this happens."""
        self.note(fault.__name__)
        load = Load(self.dice.randrange(1_000_000), f"{fault.__name__}-{len(self.loads)}", 600 if LONG else 200)
        self.loads.append(load)
        async with asyncio.TaskGroup() as group:
            group.create_task(load.post(self._next_votes_door, self._next_bank_door))
            group.create_task(fault(self, load))
        return load

    async def kill(self, *parts: Breakable) -> Sequence[Breakable]:
        """Kill them at once; return what is dead then: where the broker's sidecars must go first, these too."""
        first: list[Breakable] = []
        if self.broker in parts and self.broker.kind in SIDECARS_GO_FIRST:
            first = [pair.sidecar for pair in self.system]
        for sidecar in first:
            await sidecar.kill()
        others = [part for part in parts if part not in first]
        for part in others:
            part.end_at_once()
        for part in others:
            await part.kill()
        return [*first, *others]

    async def mend(self, dead: Sequence[Breakable]) -> None:
        """Start what was killed, as a supervisor does: the broker before those who need it."""
        for part in sorted(dead, key=lambda part: part is not self.broker):
            await part.start()

    def _next_votes_door(self) -> str:
        """A fault may send clients elsewhere while they post."""
        return self.votes_door()

    def _next_bank_door(self) -> str:
        return self.bank_door()

    # ── what must be true ────────────────────────────────────────────────────────────────────────────────────────────

    async def be_exact(self, doors: dict[str, str] | None = None) -> None:
        """Wait until the read models are what the fold says, at these doors of tally and balances."""
        doors = {name: self.system[name].url for name in PROJECTIONS} | (doors or {})
        polls = list(tally_of(self.loads))
        await self._reads("the tally", lambda: tally_now(doors["tally"], polls), lambda: tally_of(self.loads))
        await self.deposits_are_exact(doors["balances"])
        await self._reads("casts", lambda: _get(f"{doors['balances']}/casts"), lambda: casts_in(self.broker.entries("votes")))
        for projection, expected in self.parked.items():
            await self._parks(projection, expected)

    async def deposits_are_exact(self, door: str = "") -> None:
        """Every accepted deposit stands in the log once, and what stands there in order is in the balances."""
        await self.all_published()
        door = door or self.system["balances"].url
        await self._reads("balances", lambda: _get(f"{door}/balances"), self._balances)

    def _balances(self) -> dict[str, list[object]]:
        return balances_of(deposits_in(self.broker.entries("accounts")), self.unpayable)

    async def all_published(self) -> None:
        """Every accepted deposit gets into the log, once, however long its relay was away."""
        promised = {f"{deposit['request']}: {deposit['cents']}": 1 for load in self.loads for deposit in load.deposits}

        def published() -> dict[str, int]:
            made = deposits_in(self.broker.entries("accounts")).values()
            return dict(Counter(f"{request}: {cents}" for deposits in made for request, cents in deposits))

        await self._reads("the deposits in the log", lambda: asyncio.to_thread(published), lambda: promised)

    async def _reads(self, what: str, read: Callable[[], Coroutine[None, None, object]], fold: Callable[[], object]) -> None:
        """Wait until it reads what the fold says, as long as it comes nearer.

        The fold is worked out anew each time: what an app had in hand when its client gave up may be published later.
        """
        found: object = None

        async def equal_or_moved() -> bool:
            nonlocal found
            before = found
            self.expected[what] = await asyncio.to_thread(fold)
            found = await read()
            return found == self.expected[what] or found != before

        while found is None or found != self.expected[what]:
            await until(equal_or_moved, _PATIENCE, lambda: f"{what}: {_difference(self.expected[what], found)}:")
        del self.expected[what]

    async def _parks(self, projection: str, expected: int) -> None:
        """What will never be applied is in no read model: it may arrive after everything else."""
        found: dict[str, list[tuple[Any, ...]]] = {}

        def as_expected() -> bool:
            nonlocal found
            found = self.parked_in(projection)
            return all(len(events) == expected for events in found.values())

        await until(as_expected, _PATIENCE, lambda: f"{projection}: parked: {expected} expected, {found}")

    def parked_in(self, projection: str) -> dict[str, list[tuple[Any, ...]]]:
        """Read by hand what each generation has parked: topic, stream, reason, detail."""
        if self.database:
            return _parked_in_schemas(self.database, projection)
        found = {}
        for file in sorted((self.system.folder.data / "read-models" / projection).glob("g*.sqlite")):
            with closing(sqlite3.connect(file)) as generation:
                found[file.stem] = generation.execute(_PARKED).fetchall()
        return found


Fault = Callable[[Day, Load], Coroutine[None, None, None]]
_PARKED: Final = "SELECT topic, stream, reason, detail FROM sidestream_parked_events ORDER BY topic, stream, ordinal"


async def kill_and_start(part: Breakable) -> None:
    await part.kill()
    await part.start()


@asynccontextmanager
async def a_day(seed: int, folder: Path, database: str = "", broker: str = EMBEDDED) -> AsyncIterator[Day]:
    """Everything in the run file of the faults, on this broker; with a database its read models are there."""
    environment = {"SIDESTREAM_DATABASE_URL": database} if database else {}
    async with system_on(broker, folder, environment) as (system, its_broker):
        day = Day(seed, system, its_broker, database)
        day.note(f"a day on {broker}, seed {seed}")
        try:
            yield day
        except BaseException as failure:
            failure.add_note(_evidence(seed, day, folder))
            raise


def _evidence(seed: int, day: Day, folder: Path) -> str:
    """Say how to live this day again; copy what a later test run would sweep away."""
    wanted = os.environ.get("SIDESTREAM_FAULT_EVIDENCE", "")
    kept = Path(wanted) / day.broker.kind / str(seed) if wanted else folder
    if wanted:
        shutil.copytree(folder, kept, dirs_exist_ok=True)
    (kept / "expected.json").write_text(json.dumps(day.expected, indent=1, default=str))
    lines = "\n  ".join(day.history)
    again = f"A bad day on {day.broker.kind} failed. {said_again([seed])} lives it again."
    return f"{again}\nSchedule:\n  {lines}\nEvidence: {kept} (logs, data, expected.json)"


def _difference(expected: object, found: object) -> str:
    if not isinstance(expected, dict) or not isinstance(found, dict):
        return f"expected {str(expected)[:200]}, found {str(found)[:200]}"
    differing = [key for key in {*expected, *found} if expected.get(key) != found.get(key)]
    return f"{len(differing)} differ, first: " + "; ".join(
        f"{key}: {expected.get(key)} ≠ {found.get(key)}" for key in sorted(differing)[:3]
    )


def _parked_in_schemas(database: str, projection: str) -> dict[str, list[tuple[Any, ...]]]:
    with psycopg.connect(database, autocommit=True) as connection:
        named = "SELECT schemaname FROM pg_tables WHERE tablename = 'sidestream_parked_events' AND starts_with(schemaname, %s)"
        schemas = [name for (name,) in connection.execute(named, (f"{projection}_g",)).fetchall()]
        found = {}
        for schema in schemas:
            connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))
            found[schema] = connection.execute(_PARKED.encode()).fetchall()
    return found


# ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def tally_now(url: str, polls: Sequence[str]) -> dict[str, dict[str, int]] | None:
    """Ask for these polls; None where there is no answer."""
    tally = {}
    for poll in polls:
        answer = await _get(f"{url}/polls/{poll}")
        if not isinstance(answer, dict):
            return None
        tally[poll] = {line["option"]: line["votes"] for line in answer.get("options", [])}
    return tally


async def balances_now(url: str) -> dict[str, Any] | None:
    """Ask for the balances; None where there is no answer."""
    found = await _get(f"{url}/balances")
    return found if isinstance(found, dict) else None


async def _get(url: str) -> object:
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as door, door.get(url) as answer:
            return await answer.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, json.JSONDecodeError):
        return None

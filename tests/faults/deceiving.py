"""Faults of what is said, and of who says it: a lost answer, an event nobody can apply, a language not known yet, an old relay."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace

from sidestream.applying.dead_letters import Retried, retry
from sidestream.applying.rules import Rule
from sidestream.backbone import connect
from sidestream.identifiers import now
from sidestream.launcher.parts import APP_IS_HEALTHY, Part
from sidestream.settings import Settings
from tests.apps.balances.bootstrap import POISON, Balances
from tests.apps.bank import language
from tests.faults.answers import Wire, wire_to
from tests.faults.causing import kill_and_start
from tests.faults.day import LONG, TOO_LARGE, Day, Fault
from tests.faults.load import Load, entries_in, repeats_in
from tests.parts import replica_of
from tests.waiting import until


async def lose_the_answers_of_a_sidecar(day: Day, load: Load) -> None:
    """Publishes arrive, their answers do not: the relay sends them again, and the log holds them twice."""
    await _lose_answers(day, load, "bank")
    # Direct facts that may stand in any order are not sent again: their client is told, and sends them anew.
    await _lose_answers(day, load, "votes")


async def _lose_answers(day: Day, load: Load, service: str) -> None:
    app, own = day.system[service].app, day.system[service].app.program
    before = await asyncio.to_thread(repeats_in, day.system.broker.port, "accounts")
    async with wire_to(day.system[service].entry.grpc_port) as wire:
        await _start_with(app, {"DAPR_GRPC_PORT": str(wire.port)})
        await app.ready(APP_IS_HEALTHY)
        for attempt in range(20):
            await load.deposit(_deposits(f"answers-{load.name}-{service}-{attempt}", [1, 2, 3]), day.bank_door)
            await _deaf_for_a_while(wire, load)
            found = await asyncio.to_thread(repeats_in, day.system.broker.port, "accounts")
            if (service == "votes" and attempt > 1) or (service == "bank" and found > before):
                break
        else:
            raise AssertionError(f"{service}: no answer was lost: {found} repeats")
    app.program = own
    await kill_and_start(app)
    await app.ready(APP_IS_HEALTHY)


async def _deaf_for_a_while(wire: Wire, load: Load) -> None:
    """Lose what is answered from now on, cut the wire, and let it work again for a moment."""
    wire.deaf, wire.lost = True, 0
    await until(lambda: wire.lost > 0 or load.accepted == load.count, 10)
    await asyncio.sleep(0.1)  # calls that are on their way arrive, and are answered for nobody
    wire.deaf = False
    wire.cut()
    await asyncio.sleep(0.2)  # sent again, and answered


async def a_poison_event_among_good_ones(day: Day, load: Load) -> None:
    """Its stream waits, the others flow; a program whose rule is mended, and a retry, and nothing is missing."""
    account = f"poison-{load.name}"
    await load.reached(day.dice.random() * 0.5)
    await load.deposit(_deposits(account, [1, 2, POISON, 4, 5]), day.bank_door)
    day.unpayable.add(POISON)
    day.parked["balances"] += 3
    await load.reached(1.0)
    await day.be_exact()
    tried = await asyncio.to_thread(_retry, day, Balances(mended=True), day.language)
    assert tried.applied == 3, tried
    day.unpayable.discard(POISON)
    day.parked["balances"] -= 3


async def an_event_the_database_refuses(day: Day, load: Load) -> None:
    """A number that no column holds: its stream waits, for good; everything of the same transaction is applied."""
    await load.reached(day.dice.random() * 0.5)
    await load.deposit(_deposits(f"refused-{load.name}", [1, TOO_LARGE, 3]), day.bank_door)
    day.parked["balances"] += 2


async def a_schema_version_the_reader_does_not_know(day: Day, load: Load) -> None:
    """Half of the load is written in a newer language: parked, not lost; a program that knows it, and a retry, drain them."""
    await load.reached(day.dice.random() * 0.5)
    bank, balances = day.system["bank"].app, day.system["balances"].app
    await _start_with(bank, {language.SPOKEN: "2"})
    await load.reached(1.0)
    await load.deposit(_deposits(f"newer-{load.name}", [1, 2]), day.bank_door)
    await day.all_published()
    waiting = await asyncio.to_thread(_newer, day)
    await until(lambda: _counts(day) == {waiting + day.parked["balances"]}, 30, lambda: f"{waiting} parked; found {_counts(day)}")
    day.language = "2"
    await _start_with(balances, {language.SPOKEN: "2"})
    await balances.ready(APP_IS_HEALTHY)
    tried = await asyncio.to_thread(_retry, day, Balances(), "2")
    assert tried.applied == waiting > 0, (tried, waiting)


async def an_old_relay_wakes_after_its_successor_took_over(day: Day, load: Load) -> None:
    """Two processes on one store; each is frozen once, longer than any lease, with events on their way. Only repeats may follow."""
    first, own_door = day.system["bank"].app, day.bank_door
    async with replica_of(day.system, "bank") as second:
        for frozen, awake in ((first, second), (second, first)) if LONG else ((first, second),):
            await load.reached(day.dice.random() * 0.4)
            frozen.pause()
            day.bank_door = lambda awake=awake: awake.url  # type: ignore[misc] # the loop's own part
            await asyncio.sleep(5.0)  # how long the fault lasts: longer than a lease
            frozen.resume()
            day.bank_door = lambda: day.dice.choice((first, second)).url
        await load.reached(1.0)
        day.bank_door = own_door


def _deposits(account: str, amounts: Sequence[int]) -> list[dict[str, str | int]]:
    return [{"account": account, "request": f"{account}-{at}", "cents": cents} for at, cents in enumerate(amounts)]


async def _start_with(part: Part, environment: Mapping[str, str]) -> None:
    part.program = replace(part.program, environment={**part.program.environment, **environment})
    await kill_and_start(part)


def _newer(day: Day) -> int:
    """Read the log by hand: events of version 2, and those of version 1 that stand behind one in their stream."""
    behind: dict[str, set[int]] = {}
    for event in entries_in(day.system.broker.port, "accounts"):
        if event.get("dataschema", "").endswith(":2") or event["subject"] in behind:
            behind.setdefault(event["subject"], set()).add(event["streamversion"])
    return sum(map(len, behind.values()))


def _counts(day: Day) -> set[int]:
    return {len(events) for events in day.parked_in("balances").values()}


def _retry(day: Day, projection: Balances, version: str) -> Retried:
    """Try again with another program, beside the running one, as the operator's verb does."""
    settings = Settings.model_validate({"SIDESTREAM_DATA": str(day.system.folder.data), "SIDESTREAM_DATABASE_URL": day.database})
    with closing(connect(settings).read_models("balances")) as read_models:
        live = next(info.name for info in read_models.generations() if info.live)
        with closing(read_models.open(live)) as generation:
            return retry(Rule(projection, language.registry(version)), generation, now)


DECEITS: Sequence[Fault] = (
    lose_the_answers_of_a_sidecar,
    a_poison_event_among_good_ones,
    an_event_the_database_refuses,
    an_old_relay_wakes_after_its_successor_took_over,
    a_schema_version_the_reader_does_not_know,
)

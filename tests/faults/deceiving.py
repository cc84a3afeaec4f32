"""Faults of what is said, and of who says it: a lost answer, an event nobody can apply, a language not known yet, an old relay."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace

from sidestream.applying.dead_letters import Retried, retry
from sidestream.applying.decoding import Rule
from sidestream.backbone import connect
from sidestream.identifiers import now
from sidestream.launcher.parts import APP_IS_HEALTHY, Part
from sidestream.settings import Settings
from tests.apps.balances.bootstrap import MENDED, POISON, Balances
from tests.apps.bank import language
from tests.faults.answers import Wire, wire_to
from tests.faults.day import TOO_LARGE, Day, Fault, kill_and_start
from tests.faults.load import Load, repeats_in
from tests.faults.seeds import LONG
from tests.parts import replica_of
from tests.waiting import until


async def lose_the_answers_of_a_relay(day: Day, load: Load) -> None:
    """Publishes arrive, their answers do not: the relay sends them again, and the log holds them twice."""
    async with _behind_a_wire(day, "bank") as wire:
        before = await asyncio.to_thread(_repeats, day)
        for attempt in range(20):
            deposits = _deposits(f"answers-{load.name}-{attempt}", [1, 2, 3])
            await _deaf_for_a_while(wire, load.deposit(deposits, day.bank_door), lambda: wire.lost > 0)
            if await _repeated(day, before):
                break
        else:
            raise AssertionError("no answer was lost")


async def lose_the_answers_of_a_direct_publisher(day: Day, load: Load) -> None:
    """Facts that may stand in any order are not sent again: their client is told, and sends them anew."""
    async with _behind_a_wire(day, "votes") as wire:
        for _ in range(3):
            await _deaf_for_a_while(wire, asyncio.sleep(0), lambda: wire.lost > 0 or load.accepted == load.count)


@asynccontextmanager
async def _behind_a_wire(day: Day, service: str) -> AsyncIterator[Wire]:
    """Start a service anew that reaches its sidecar by a wire; and again, as it was, at the end of the block."""
    app, own = day.system[service].app, day.system[service].app.program
    async with wire_to(day.system[service].entry.grpc_port) as wire:
        await _start_with(app, {"DAPR_GRPC_PORT": str(wire.port)})
        await app.ready(APP_IS_HEALTHY)
        yield wire
    app.program = own
    await kill_and_start(app)
    await app.ready(APP_IS_HEALTHY)


async def _deaf_for_a_while(wire: Wire, meanwhile: Awaitable[None], heard: Callable[[], bool]) -> None:
    """Lose what is answered until this is heard, cut the wire, and let it work again."""
    wire.deaf, wire.lost = True, 0
    await meanwhile
    await until(heard, 30)
    await asyncio.sleep(0.15)  # calls that are on their way arrive; and a repeat is one for JetStream too, which looks back 0.1 s
    wire.deaf = False
    wire.cut()


async def _repeated(day: Day, before: int) -> bool:
    with suppress(AssertionError):
        await until(lambda: _repeats(day) > before, 1)
        return True
    return False


def _repeats(day: Day) -> int:
    return repeats_in(day.broker.entries("accounts"))


async def a_poison_event_among_good_ones(day: Day, load: Load) -> None:
    """Its stream waits, the others flow; a program whose rule is mended, and a retry, and nothing is missing."""
    account = f"poison-{load.name}"
    await load.reached(day.dice.random() * 0.5)
    await load.deposit(_deposits(account, [1, 2, POISON, 4, 5]), day.bank_door)
    day.unpayable.add(POISON)
    day.parked["balances"] += 3
    await load.reached(1.0)
    await day.be_exact()
    await _deploy(day, {MENDED: "1"})
    tried = await asyncio.to_thread(_retry, day)
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
    bank = day.system["bank"].app
    await _start_with(bank, {language.SPOKEN: "2"})
    await load.reached(1.0)
    await load.deposit(_deposits(f"newer-{load.name}", [1, 2]), day.bank_door)
    await day.all_published()
    waiting = await asyncio.to_thread(_newer, day)
    await until(lambda: _counts(day) == {waiting + day.parked["balances"]}, 30, lambda: f"{waiting} parked; found {_counts(day)}")
    await _deploy(day, {language.SPOKEN: "2"})
    tried = await asyncio.to_thread(_retry, day)
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


async def _deploy(day: Day, environment: Mapping[str, str]) -> None:
    """Start another program of the balances; what an operator starts from now on is of it too."""
    balances = day.system["balances"].app
    day.deployed |= environment
    await _start_with(balances, day.deployed)
    await balances.ready(APP_IS_HEALTHY)


async def _start_with(part: Part, environment: Mapping[str, str]) -> None:
    part.program = replace(part.program, environment={**part.program.environment, **environment})
    await kill_and_start(part)


def _newer(day: Day) -> int:
    """Read the log by hand: events of version 2, and those of version 1 that stand behind one in their stream."""
    behind: dict[str, set[int]] = {}
    for event in day.broker.entries("accounts"):
        if event.get("dataschema", "").endswith(":2") or event["subject"] in behind:
            behind.setdefault(event["subject"], set()).add(event["streamversion"])
    return sum(map(len, behind.values()))


def _counts(day: Day) -> set[int]:
    return {len(events) for events in day.parked_in("balances").values()}


def _retry(day: Day) -> Retried:
    """Try again in every generation that follows, as the operator's verb does; return what came of it in the live one."""
    settings = Settings.model_validate({"SIDESTREAM_DATA": str(day.system.folder.data), "SIDESTREAM_DATABASE_URL": day.database})
    spoken, mended = day.deployed.get(language.SPOKEN, "1"), bool(day.deployed.get(MENDED))
    tried = {}
    with closing(connect(settings).read_models("balances")) as read_models:
        for info in (info for info in read_models.generations() if info.state == "ready"):
            with closing(read_models.open(info.name)) as generation:
                tried[info.live] = retry(Rule(Balances(mended=mended), language.registry(spoken)), generation, now)
    return tried[True]


DECEITS: Sequence[Fault] = (
    lose_the_answers_of_a_relay,
    lose_the_answers_of_a_direct_publisher,
    a_poison_event_among_good_ones,
    an_event_the_database_refuses,
    an_old_relay_wakes_after_its_successor_took_over,
    a_schema_version_the_reader_does_not_know,
)

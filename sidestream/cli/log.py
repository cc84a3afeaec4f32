"""`sidestream log info | verify`: what the log holds, and whether it holds everything that the event stores have published."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from sidestream.cli.rebuilds import RUN_FILE, Data, File, Json

if TYPE_CHECKING:
    from sidestream.cli.stores import Kept
    from sidestream.logs.verifying import Verified
    from sidestream.ports import EventLog, LogExtent, ServiceStore

app = typer.Typer(help="The log: what it holds, and whether it is whole.", no_args_is_help=True)

_PATIENCE_SECONDS: Final = 15.0
"""How long to wait for the relay to stand back."""
_SENT_AGAIN: Final = "sent again"
_WRITTEN_ANEW: Final = "written anew"
_TO_INBOXES: Final = "sent to every inbox"


@app.callback()
def log() -> None:
    """The log: what it holds, and whether it is whole."""


@app.command()
def info(file: File = RUN_FILE, data: Data = None, as_json: Json = False) -> None:
    """Say for each topic how many entries the log holds, its first and last position, and what is known to be gone."""
    from sidestream.cli.declared import declared
    from sidestream.cli.output import print_json, print_table

    with declared(file, data) as found:
        if not found:
            return
        topics = sorted({topic for each in found for topic in each.registry.topics})
        with found[0].broker_log() as read:
            extents = {topic: read.extent(topic) for topic in topics}
    if as_json:
        print_json({"topics": extents})
    else:
        print_table(("topic", "entries", "first", "last", "gone up to"), [_line(topic, extents[topic]) for topic in topics])


def _line(topic: str, extent: "LogExtent") -> tuple[object, ...]:
    return topic, f"{extent.length:,}", extent.first or "", extent.last or "", extent.trimmed_to or ""


@app.command()
def verify(
    service: Annotated[str, typer.Argument(metavar="[SERVICE]", help="whose store; all of them when left out")] = "",
    repair: Annotated[bool, typer.Option("--repair", help="send again, or write the topic anew, where something is missing")] = False,
    file: File = RUN_FILE,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Hold every store against the log: does all that it has published stand there, in order?

    What a service publishes directly, without a store, is named and not compared.

    Repairing sends the end again where only the end is missing. Otherwise the topic is written anew from the store, in count
    order, beside what others have published; relays stand back for that long, projections read it from its start and skip
    what they have applied. Exit code 1 when something is missing and was not repaired. Where the broker keeps no log, nothing
    can be compared: repairing sends everything again, and every inbox keeps what it lacks.
    """
    from sidestream.cli.output import print_json
    from sidestream.cli.stores import kept, published_directly, store_named

    lines: list[Line] = []
    with kept(file, data) as found:
        asked = [store_named(found, service)] if service else found
        for each in asked:
            lines += _of_store(each, repair=repair)
    direct = () if service else published_directly(file, data)
    whole = all(line.topic.whole or line.remedy for line in lines)
    if as_json:
        stores = [{"store": line.store, "topic": line.topic, "remedy": line.remedy} for line in lines]
        print_json({"whole": whole, "stores": stores, "published_directly": direct})
    else:
        _print(lines, silent={each.name for each in asked} - {line.store for line in lines}, direct=direct)
    raise typer.Exit(0 if whole else 1)


class Line(NamedTuple):
    """What was found of a store on a topic, and what was done about it; empty: nothing."""

    store: str
    topic: "Verified"
    remedy: str


def _of_store(each: "Kept", *, repair: bool) -> "list[Line]":
    from sidestream.adapters.no_log import NoLog

    with each.opened() as store, each.log() as read:
        if isinstance(read, NoLog):
            return _without_a_log(each, store, repair=repair)
        return [_checked(each, store, read, topic, repair=repair) for topic in store.topics()]


def _without_a_log(each: "Kept", store: "ServiceStore", *, repair: bool) -> "list[Line]":
    """Nothing can be compared; but an inbox keeps each event once, so that everything may be sent again."""
    from sidestream.adapters.memory_log import MemoryLog
    from sidestream.errors import ConfigurationError
    from sidestream.logs.verifying import verify_topic

    if not repair:
        raise ConfigurationError(
            f"{each.name}: expected a broker with a log to hold the store against, found one that keeps none, so that nobody can say here "
            "what its inboxes lack. `sidestream log verify --repair` sends everything again, and every inbox keeps what it has not."
        )
    with relays_away(each, store) as may_write:
        lines = [Line(each.name, verify_topic(store, MemoryLog(), topic), _TO_INBOXES) for topic in store.topics()]
        for topic in store.topics():
            may_write()
            store.publish_again(topic, 0)
    return lines


def _checked(each: "Kept", store: "ServiceStore", read: "EventLog", topic: str, *, repair: bool) -> Line:
    from sidestream.logs.verifying import verify_topic

    checked = verify_topic(store, read, topic)
    if checked.whole or not repair:
        return Line(each.name, checked, "")
    with relays_away(each, store) as may_write:
        checked = verify_topic(store, read, topic)  # nobody publishes now
        return Line(each.name, checked, "" if checked.whole else repaired(store, read, checked, may_write))


def repaired(store: "ServiceStore", read: "EventLog", checked: "Verified", may_write: Callable[[], None]) -> str:
    """Send the end again, or write the topic anew.

    That also where the log knows that something is gone, which would stop a slow reader, and where nothing is left: then there
    may be no topic to send anything to.
    """
    from sidestream.adapters.rewriters import can_be_rewritten, rewriter_of
    from sidestream.errors import ConfigurationError
    from sidestream.logs.rewriting import rewrite_topic

    if checked.strangers_number:
        raise ConfigurationError(
            f"{checked.topic}: expected the store's own events under its numbers, found others: {', '.join(checked.strangers_number)}. "
            "The store was restored from a copy and used since. Nothing was changed; keep both and ask who wrote them."
        )
    more_than_the_end = checked.gone_upto is not None or not checked.found
    if checked.send_after is not None and not (more_than_the_end and can_be_rewritten(read)):
        may_write()
        store.publish_again(checked.topic, checked.send_after)
        return _SENT_AGAIN
    with contextlib.closing(rewriter_of(read)) as rewriter:
        rewrite_topic(store, rewriter, checked.topic, may_write)
    return _WRITTEN_ANEW


@contextmanager
def relays_away(each: "Kept", store: "ServiceStore") -> Iterator[Callable[[], None]]:
    """Ask relays to stand back, wait until none leads, and let them go on afterwards.

    Yields what is called before every write: it raises LeaseLost where a relay may publish again.
    """
    from sidestream.errors import ConfigurationError, LeaseLost
    from sidestream.publishing.leading import PAUSE, RELAY, Standstill

    with Standstill(store, PAUSE) as pause:
        if not pause.held(0):
            raise ConfigurationError(f"{each.name}: somebody else repairs this store's topics now. Wait for the end of that.")
        with Standstill(store, RELAY) as relay:
            if not relay.held(_PATIENCE_SECONDS):
                raise ConfigurationError(f"{each.name}: expected its relay to stand back. Stop the app {each.app} and try again.")

            def may_write() -> None:
                if not (pause.is_held and relay.is_held):
                    raise LeaseLost(
                        f"{each.name}: expected its relay to stand back until the end, found the lease for that lost: this process stood "
                        "still, or the store did not answer, for too long, and the relay may publish again. Nothing more was written, and "
                        f"nothing is lost. See what there is with `sidestream log verify {each.name}`, then try again."
                    )

            yield may_write


def _print(lines: Sequence[Line], silent: Collection[str], direct: Collection[str]) -> None:
    for line in lines:
        typer.echo(_sentence(line))
    for name in sorted(silent):
        typer.echo(f"{name}: has published nothing yet.")
    if not lines and not silent:
        typer.echo("No service of dapr.yaml keeps an event store (STORE in its bootstrap): there is nothing to hold against the log.")
    if direct:
        typer.echo(f"{', '.join(direct)}: published directly, not compared: the service keeps no store that could be held against the log.")


def _sentence(line: Line) -> str:
    checked = line.topic
    place = f"{line.store}, topic {checked.topic}: "
    if line.remedy == _TO_INBOXES:
        return f"{place}the broker keeps no log; all {checked.stored:,} published events are sent again, for inboxes that lack some."
    if checked.whole:
        return f"{place}all {checked.stored:,} published events stand in the log, in order."
    return place + _found(checked) + _remedy(line)


def _found(checked: "Verified") -> str:
    found = f"{checked.stored - checked.found:,} of {checked.stored:,} published events are missing"
    if checked.missing:
        found += f" ({', '.join(f'{first}-{last}' if first != last else str(first) for first, last in checked.missing)})"
    if checked.disordered:
        found += f", {checked.disordered:,} stand behind a later one of their stream"
    return found


def _remedy(line: Line) -> str:
    if not line.remedy:
        return f". Repair with `sidestream log verify {line.store} --repair`."
    if line.remedy == _SENT_AGAIN:
        return "; they are sent again."
    gone = line.topic.gone_upto
    # a store cannot bring back what is not its own
    return "; the topic was written anew." + (f" What others had published up to {gone} and is gone stays gone." if gone else "")

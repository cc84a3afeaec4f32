"""`sidestream log info | verify`: what the log holds, and whether it holds everything that the event stores have published."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from sidestream.cli.rebuilds import RUN_FILE, Data, File, Json

if TYPE_CHECKING:
    from sidestream.cli.stores import Kept
    from sidestream.logs.verifying import Verified
    from sidestream.ports import EventLog, LogExtent, ServiceStore

app = typer.Typer(help="The log: what it holds, and whether it is whole.", no_args_is_help=True)

_PATIENCE_SECONDS: Final = 15.0
"""How long to wait for the relay to stand back."""


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

    Repairing sends the end again where only the end is missing. Otherwise the topic is written anew from the store, in count
    order, with what others have published behind it; relays stand back for that long, projections read it from its start
    and skip what they have applied. Exit code 1 when something is missing and was not repaired.
    """
    from sidestream.cli.output import print_json
    from sidestream.cli.stores import kept, store_named

    whole, lines = True, []
    with kept(file, data) as found:
        for each in [store_named(found, service)] if service else found:
            with each.opened() as store, each.log() as read:
                for topic in store.topics():
                    checked = _checked(each, store, read, topic, repair=repair)
                    whole = whole and (checked.whole or repair)
                    lines.append((each.name, checked))
    if as_json:
        print_json({"whole": whole, "stores": [{"store": name, "topic": checked} for name, checked in lines]})
    else:
        for name, checked in lines:
            typer.echo(_sentence(name, checked, repaired=repair))
    raise typer.Exit(0 if whole else 1)


def _checked(each: "Kept", store: "ServiceStore", read: "EventLog", topic: str, *, repair: bool) -> "Verified":
    from sidestream.logs.verifying import verify_topic

    checked = verify_topic(store, read, topic)
    if checked.whole or not repair:
        return checked
    with relays_away(each, store):
        checked = verify_topic(store, read, topic)  # nobody publishes now
        _remedy(checked)(store, read, topic)
    return checked


def _remedy(checked: "Verified") -> Callable[["ServiceStore", "EventLog", str], None]:
    from sidestream.adapters.rewriters import rewriter_of
    from sidestream.errors import ConfigurationError
    from sidestream.logs.rewriting import rewrite_topic

    if checked.strangers_number:
        raise ConfigurationError(
            f"{checked.topic}: expected the store's own events under its numbers, found others: {', '.join(checked.strangers_number)}. "
            "The store was restored from a copy and used since. Nothing was changed; keep both and ask who wrote them."
        )
    after = checked.send_after
    if after is not None:
        return lambda store, _, topic: store.publish_again(topic, after)
    return lambda store, read, topic: rewrite_topic(store, read, rewriter_of(read), topic)


@contextmanager
def relays_away(each: "Kept", store: "ServiceStore") -> Iterator[None]:
    """Ask relays to stand back, wait until none leads, and let them go on afterwards."""
    from sidestream.errors import ConfigurationError
    from sidestream.publishing.leading import PAUSE, RELAY, Standstill

    with Standstill(store, PAUSE) as pause:
        if not pause.held(0):
            raise ConfigurationError(f"{each.name}: somebody else repairs this store's topics now. Wait for the end of that.")
        with Standstill(store, RELAY) as relay:
            if not relay.held(_PATIENCE_SECONDS):
                raise ConfigurationError(f"{each.name}: expected its relay to stand back. Stop the app {each.app} and try again.")
            yield


def _sentence(name: str, checked: "Verified", *, repaired: bool) -> str:
    place = f"{name}, topic {checked.topic}: "
    if checked.whole:
        return f"{place}all {checked.stored:,} published events stand in the log, in order."
    missing = ", ".join(f"{first}-{last}" if first != last else str(first) for first, last in checked.missing)
    found = f"{place}{checked.stored - checked.found:,} of {checked.stored:,} published events are missing ({missing})"
    if checked.disordered:
        found += f", {checked.disordered:,} stand behind a later one of their stream"
    if not repaired:
        return f"{found}. Repair with `sidestream log verify {name} --repair`."
    return f"{found}; " + ("they are sent again." if checked.only_the_end else "the topic was written anew.")

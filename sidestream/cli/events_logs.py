"""Which log the events verbs look at, and which part of it: the words of the command line turned into a `Stretch`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from sidestream.errors import ConfigurationError, LogUnavailable
from sidestream.logs.finding import Stretch
from sidestream.ports import EventLog

_START: Final = "start"


class Place(msgspec.Struct, frozen=True):
    """Where to look.

    Attributes:
        file, data: the run file, and the folder of the system.
        topics: which topics; empty: all of them.
        store: the event store of a service; empty: the broker's log.
        inbox: the projection whose inbox log is meant.
    """

    file: Path
    data: Path | None
    topics: tuple[str, ...] = ()
    store: str = ""
    inbox: str = ""


class Opened(msgspec.Struct, frozen=True):
    """A log, and the topics to look at."""

    log: EventLog
    topics: tuple[str, ...]


@contextmanager
def opened(place: Place) -> Iterator[Opened]:
    """Open the log that is meant: the broker's, of an event store, or of an inbox.

    Raises:
        ConfigurationError: there is no such log, or no such topic in it.
    """
    if place.store and place.inbox:
        raise ConfigurationError("expected --store or --inbox, found both. Leave one of them out.")
    look = _store if place.store else _inbox if place.inbox else _broker
    with look(place) as found:
        yield Opened(found.log, _chosen(place.topics, found))


@contextmanager
def _broker(place: Place) -> Iterator[Opened]:
    from sidestream.adapters.no_log import NoLog
    from sidestream.cli.declared import declared

    with declared(place.file, place.data) as found:
        if not found:
            raise ConfigurationError(f"{place.file}: expected a projection, whose registry names the topics, found none.")
        with found[0].broker_log() as log:
            if isinstance(log, NoLog):
                raise ConfigurationError(
                    f"expected a broker with a log to look at, found one that keeps none. Say --inbox PROJECTION for what was delivered "
                    f"to one ({', '.join(each.projection.name for each in found)}), or --store SERVICE for what a service has stored."
                )
            yield Opened(log, tuple(sorted({topic for each in found for topic in each.registry.topics})))


@contextmanager
def _store(place: Place) -> Iterator[Opened]:
    from sidestream.adapters.store_log import StoreLog
    from sidestream.cli.stores import kept, store_named

    with kept(place.file, place.data) as found, store_named(found, place.store).opened() as store:
        yield Opened(StoreLog(store), tuple(sorted(store.topics())))


@contextmanager
def _inbox(place: Place) -> Iterator[Opened]:
    from sidestream.cli.declared import declared, named

    with declared(place.file, place.data) as found:
        each = named(found, place.inbox)
        with each.inbox() as log:
            yield Opened(log, tuple(each.projection.topics))


def _chosen(asked: Sequence[str], found: Opened) -> tuple[str, ...]:
    """A topic that nobody declared may hold something all the same; one that does not is a slip of the pen."""
    for topic in asked:
        if topic not in found.topics and not found.log.extent(topic).length:
            raise ConfigurationError(f"--topic: expected one of {', '.join(found.topics) or 'none'}; found {topic!r}, which is empty.")
    return tuple(dict.fromkeys(asked)) or found.topics


# ── which part ───────────────────────────────────────────────────────────────────────────────────────────────────────


def stretch_of(where: Opened, since: str = "", until: str = "", after: str = "") -> Stretch:
    """Return the part that the options name: each a time with its zone, a position, or positions as TOPIC=POSITION,….

    Raises:
        ConfigurationError: an option is none of these.
    """
    since_ms, first = _bound(where, "--since", since)
    until_ms, last = _bound(where, "--until", until)
    after_ms, before = _bound(where, "--after", after)
    if after_ms is not None:
        raise ConfigurationError(f"--after: expected TOPIC=POSITION, found a time, {after!r}. Say --since.")
    return Stretch(
        since_ms=since_ms,
        until_ms=until_ms,
        since={topic: position for topic, position in first.items() if position is not None},
        after={topic: position for topic, position in before.items() if position is not None},
        until=last,
    )


def _bound(where: Opened, option: str, text: str) -> tuple[int | None, dict[str, str | None]]:
    if not text:
        return None, {}
    if "=" in text:
        return None, _positions(where, option, text)
    moment = _moment(text)
    if moment is not None:
        return moment, {}
    if not is_position(where.log, text):
        raise ConfigurationError(
            f"{option}: expected a time with its zone like 2026-11-20T09:30:00Z, a position, or TOPIC=POSITION; found {text!r}."
        )
    if len(where.topics) != 1:
        raise ConfigurationError(f"{option}: expected TOPIC=POSITION, because there are {len(where.topics)} topics; found {text!r}.")
    return None, {where.topics[0]: text}


def _positions(where: Opened, option: str, text: str) -> dict[str, str | None]:
    """Read `votes=1732093200000-0, assets=start`. A topic that is not named has no bound."""
    parts = [part.strip().partition("=") for part in text.split(",")]
    found = {topic: None if position == _START else position for topic, _, position in parts}
    for topic, position in found.items():
        if topic not in where.topics:
            raise ConfigurationError(f"{option}: expected a topic that is looked at, {', '.join(where.topics)}; found {topic!r}.")
        if position is not None and not is_position(where.log, position):
            raise ConfigurationError(f"{option}: expected a position of this log for {topic}, or `start`; found {position!r}.")
    return found


def is_position(log: EventLog, text: str) -> bool:
    """Return whether a text is a position of this kind of log; nothing is read."""
    try:
        log.compare(text, text)
    except (LogUnavailable, ValueError):
        return False
    return True


def _moment(text: str) -> int | None:
    """Return milliseconds since 1970; None for what is no time, or one without its zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return int(moment.timestamp() * 1000) if moment.tzinfo is not None else None

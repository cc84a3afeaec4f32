"""`sidestream events show`: one event by its id or its place, with everything it says, wherever and how often it stands."""

import sys
from typing import Any

import msgspec

from sidestream.cli.events_logs import Opened, is_position
from sidestream.cli.events_printing import Looking, as_json, formatted, printable, recorded
from sidestream.logs.finding import Found, as_found, recorded_order


class Shown(msgspec.Struct):
    """One event, and every place where its very bytes stand."""

    found: Found
    places: list[str]


def looked_up(where: Opened, which: str, looking: Looking) -> list[Shown]:
    """Return what stands at a position; where that is nothing, every event with this id, in recorded order.

    Events with other content under the same id are events of their own.
    """
    found = _at_position(where, which)
    if not found:
        standings = looking.over(recorded_order(where.log, where.topics))
        found = [each for each in map(as_found, standings) if each.event is not None and each.event.id == which]
    shown: dict[tuple[str, bytes], Shown] = {}
    for each in found:
        shown.setdefault((each.topic, each.entry.data), Shown(each, [])).places.append(f"{each.topic}={each.entry.position}")
    return list(shown.values())


def _at_position(where: Opened, which: str) -> list[Found]:
    topic, named, position = which.rpartition("=")
    if not is_position(where.log, position):
        return []
    topics = [each for each in where.topics if not named or each == topic]
    entries = ((each, entry) for each in topics for entry in where.log.read(each, position, 1))
    return [as_found(standing) for standing in entries if standing[1].position == position]


def print_shown(shown: list[Shown], *, as_json: bool) -> None:
    """Print every one of them; as JSON in one document."""
    if as_json:
        sys.stdout.write(msgspec.json.encode({"found": [_as_json(each) for each in shown]}).decode() + "\n")
        return
    for each in shown:
        entry = each.found.entry
        sys.stdout.write(f"{each.places[0]}, recorded {recorded(entry.recorded_ms)}\n")
        if each.places[1:]:
            sys.stdout.write(f"The same stands {len(each.places)} times: {', '.join(each.places)}\n")
        sys.stdout.write(_whole(each.found) + "\n")


def _as_json(shown: Shown) -> dict[str, Any]:
    return {**as_json(shown.found), "places": shown.places}


def _whole(found: Found) -> str:
    laid_out = formatted(found.entry.data, 2)
    if laid_out is None:
        return f"No event: {printable(found.problem)}\n{printable(found.entry.data.decode('utf-8', 'backslashreplace'))}"
    lines = "\n".join(map(printable, laid_out.split("\n")))
    return lines if found.event is not None else f"No event: {printable(found.problem)}\n{lines}"

"""A file of CloudEvents with bad lines in it, and what an import of it through a real bridge must leave behind.

What is expected is noted while the file is written; nothing of the product is asked.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import redis

from sidestream.launcher.system import System
from tests.asking import all_pages, broker_of, caught_up, length, since_start
from tests.waiting import until

KEPT = 10_000
"""What activity keeps: the newest by their own time."""
_BEGIN = datetime(2026, 11, 20, tzinfo=UTC)
_STREAMS = 400


class Written(msgspec.Struct):
    """What stands in the file."""

    lines: int = 0
    events: int = 0
    repeats: int = 0
    bad: list[int] = []


def bad_lines(number: int) -> Iterator[bytes]:
    """Give lines that must be refused; `number` is an event that the file has told already."""
    good = event(number)
    yield b"not JSON at all"
    yield b'{"specversion":"1.0","id":"half'
    yield b"[]"
    yield b'{"specversion":"1.0","id":"\xff","source":"/bad","type":"t"}'
    yield b"[" * 100_000
    yield encoded({**good, "specversion": "0.3"})
    yield encoded({name: value for name, value in good.items() if name != "type"})
    yield encoded({**good, "id": ""})
    yield encoded({**good, "id": "x" * 600})
    yield encoded({**good, "id": "spaces", "source": "not a uri"})
    yield encoded({**good, "id": "no time", "time": "yesterday"})
    yield encoded({**good, "id": "no name", "Wrong-Name": 1})
    yield encoded({**good, "data": "another content under a name that is taken"})
    yield b'{"specversion":"1.0","id":"lone","source":"/bad","type":"t","data":"\\ud800"}'


def event(number: int) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": str(number),
        "source": f"/till/{number % 7}",
        "type": "till.sold",
        "subject": f"till-{number % _STREAMS}",
        "time": (_BEGIN + timedelta(milliseconds=number)).isoformat(),
        "data": {"number": number, "big": 2**53 + number, "price": number / 8, "text": "🧾"},
    }


def encoded(found: dict[str, Any]) -> bytes:
    return json.dumps(found, ensure_ascii=False).encode()


def write_file(file: Path, events: int, bad_every: int) -> Written:
    """Write so many events, all kinds of bad lines again and again among them, some events twice, and empty lines."""
    written = Written(events=events)
    with file.open("wb") as out:

        def put(line: bytes) -> None:
            written.lines += 1
            out.write(line + b"\n")

        for number in range(events):
            put(encoded(event(number)))
            if number % bad_every == bad_every - 1:
                for line in bad_lines(number):
                    put(line)
                    written.bad.append(written.lines)
                put(b"")
                put(encoded(event(number - 1)))
                written.repeats += 1
    return written


def totals_of(out: str) -> tuple[list[int], dict[str, int]]:
    """Read what `sidestream publish --json` printed: the numbers of refused lines, each with its reason, and the totals."""
    *refused, totals = map(json.loads, out.splitlines())
    assert all(line["reason"] for line in refused), refused
    return sorted(line["line"] for line in refused), totals


def assert_outcome(out: str, written: Written) -> None:
    """Each bad line is reported once, by its number; everything else is stored or was there already."""
    refused, totals = totals_of(out)
    assert refused == written.bad
    assert totals["stored"] == written.events + written.repeats
    assert totals["refused"] == len(written.bad)


class _Entry(msgspec.Struct, gc=False):
    id: str
    source: str
    subject: str
    producer: str
    sequence: str


_decode = msgspec.json.Decoder(_Entry).decode


async def assert_log(system: System, written: Written) -> int:
    """Every event stands in the log, counted once and in the order of its stream; return how many entries are repeats.

    A repeat has the count of its first occurrence, which is how it is known as one.
    """
    producers: set[str] = set()
    counts: dict[int, int] = {}
    streams: defaultdict[str, list[int]] = defaultdict(list)
    entries = 0

    def all_there() -> bool:
        return length(system, "external") >= written.events

    await until(
        all_there,
        seconds=60 + written.events / 2_000,
        what=lambda: f"{written.events} entries on external, found {length(system, 'external')};",
    )
    await caught_up(system, "activity", "/events", seconds=60 + written.events / 2_000)
    for entry in _entries(system):
        entries += 1
        number, count = int(entry.id), int(entry.sequence)
        producers.add(entry.producer)
        if count not in counts:
            streams[entry.subject].append(number)
        assert counts.setdefault(count, number) == number, f"count {count} was given twice"
    assert len(producers) == 1
    assert sorted(counts) == list(range(1, written.events + 1))
    assert sorted(counts.values()) == list(range(written.events))
    assert all(numbers == sorted(numbers) for numbers in streams.values())
    return entries - written.events


def _entries(system: System) -> Iterator[_Entry]:
    position = "-"
    with broker_of(system) as client:
        while page := _page(client, position):
            for _, fields in page:
                yield _decode(fields[b"data"])
            position = "(" + page[-1][0].decode()


def _page(client: "redis.Redis", begin: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    found: Any = client.xrange("external", begin, "+", count=5000)
    return list(found)


async def assert_read_model(system: System, written: Written) -> None:
    """Activity has applied each event once, and shows the newest of them, number by number."""
    shown = await all_pages(system["activity"].url, "/events", "events")
    newest = [event(number) for number in range(written.events - 1, max(written.events - KEPT, 0) - 1, -1)]
    assert [each["id"] for each in shown] == [each["id"] for each in newest]
    assert [(each["source"], each["subject"], each["data"]) for each in shown] == [
        (each["source"], each["subject"], each["data"]) for each in newest
    ]
    outcome = await since_start(system["activity"].url)
    assert (outcome["applied"], outcome["parked"]) == (written.events, 0)

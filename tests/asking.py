"""Asks a running system from outside: read models over HTTP, page by page, and the broker's streams as they stand."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import redis

from sidestream.launcher.system import System
from tests.waiting import until


@contextmanager
def broker_of(system: System) -> Iterator["redis.Redis"]:
    """Connect to the broker of a system."""
    host, _, port = system.broker_address.partition(":")
    with redis.Redis(host, int(port)) as client:
        yield client


def length(system: System, topic: str) -> int:
    """Return how many entries a topic holds."""
    with broker_of(system) as client:
        found: Any = client.xlen(topic)
    return int(found)


def wires(system: System, topic: str) -> list[bytes]:
    """Return the field `data` of every entry of a topic; empty where an entry has none."""
    with broker_of(system) as client:
        entries: Any = client.xrange(topic)
    return [fields.get(b"data", b"") for _, fields in entries]


async def caught_up(system: System, app: str, path: str, seconds: float = 30.0) -> None:
    """Wait until an answer at this path says that every entry of every topic had been applied."""
    found = ""

    async def is_at_the_end() -> bool:
        nonlocal found
        async with httpx.AsyncClient(base_url=system[app].url, timeout=10) as door:
            try:
                found = (await door.get(path)).headers["sidestream-applied"]
            except (httpx.TransportError, KeyError):
                return False
        return all(end == position for position, end in _ends(system, found))

    await until(is_at_the_end, seconds, what=lambda: f"{app}: everything applied, found {found or 'no answer'};")


def _ends(system: System, applied: str) -> list[tuple[str, str]]:
    """Return for each topic of the header the position in it, and the end of the stream."""
    topics = [part.split("=") for part in applied.split(", ")]
    with broker_of(system) as client:
        newest: list[Any] = [client.xrevrange(topic, count=1) for topic, _ in topics]
    return [(position, last[0][0].decode() if last else "start") for (_, position), last in zip(topics, newest, strict=True)]


async def all_pages(url: str, path: str, name: str, **params: Any) -> list[dict[str, Any]]:
    """Follow the Link header to the last page and return what stands under `name` on all of them."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as door:
        answer = await door.get(path, params={"limit": 1000, **params})
        found: list[dict[str, Any]] = answer.raise_for_status().json()[name]
        while "next" in answer.links:
            answer = await door.get(answer.links["next"]["url"])
            found += answer.raise_for_status().json()[name]
    return found


async def since_start(url: str) -> dict[str, int]:
    """Return what became of events in the live generation since its app started."""
    async with httpx.AsyncClient(base_url=url, timeout=10) as door:
        generations = (await door.get("/generations")).json()["generations"]
    (totals,) = (each["since_start"] for each in generations if each["live"])
    return dict(totals)

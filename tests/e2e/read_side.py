"""A projection's app over the memory backbone: events go into the log, questions through HTTP."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import msgspec
from starlette.testclient import TestClient

import events
from sidestream.adapters.memory_log import MemoryLog
from sidestream.backbone import MemoryBackbone
from sidestream.settings import Settings
from sidestream.testing import Happened
from sidestream.testing.history import Recorded, record

SECONDS = 10.0


class ReadSide:
    """What a test does to the app: tell it what happened, and ask."""

    def __init__(self, client: TestClient, log: MemoryLog) -> None:
        self.client = client
        self.log = log
        self._told: list[Happened] = []

    def tell(self, *happened: Happened) -> None:
        """Put events into the log and wait until the app has applied them; ids and counts go on from call to call."""
        begin = len(self._told)
        self._told.extend(happened)
        self.record(record(self._told, events.registry(), ordered=True)[begin:])

    def record(self, recorded: Sequence[Recorded]) -> None:
        """Put entries into the log as they are, and wait until the app has applied them."""
        for each in recorded:
            self.log.record(each.topic, [each.wire])
        self.wait(*{each.topic for each in recorded})

    def wait(self, *topics: str) -> None:
        """Wait until the app's checkpoints stand at the end of these topics."""
        expected = {f"{topic}={self.log.extent(topic).last}" for topic in topics}
        end = time.monotonic() + SECONDS
        while True:
            is_last = time.monotonic() > end
            if expected <= set(self.applied().split(", ")):
                return
            assert not is_last, f"expected {expected} applied, found {self.applied()}"
            time.sleep(0.002)

    def applied(self) -> str:
        """Return what the header says."""
        doors = ("/polls", "/summary", "/events", "/orders")
        path = next(path for path in doors if path in self.client.app.openapi()["paths"])  # type: ignore[attr-defined]
        found: str = self.client.get(path).headers["sidestream-applied"]
        return found

    def get(self, path: str, **params: Any) -> Any:
        """Return the JSON of an answer that must be 200, numbers as they stand in it."""
        answer = self.client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return msgspec.json.decode(answer.content)

    def problem(self, path: str, **params: Any) -> tuple[int, str]:
        """Return status and code of an answer that must be a problem."""
        answer = self.client.get(path, params=params)
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        return answer.status_code, answer.json()["type"].removeprefix("urn:sidestream:problem:")

    def pages(self, path: str, name: str, **params: Any) -> list[list[Any]]:
        """Follow the Link header to the last page and return what stands under `name` on each."""
        answer = self.client.get(path, params=params)
        found = [answer.json()[name]]
        while "next" in answer.links:
            answer = self.client.get(answer.links["next"]["url"])
            found.append(answer.json()[name])
        return found


@contextmanager
def reading(bootstrap: ModuleType, sweep_seconds: float = 60.0) -> Iterator[ReadSide]:
    """Run the app; the sweep is so slow that only the bell can make a test quick."""
    backbone = MemoryBackbone()
    log = backbone.log()
    assert isinstance(log, MemoryLog)
    with TestClient(bootstrap.create_app(Settings(sweep_seconds=sweep_seconds), backbone)) as client:
        yield ReadSide(client, log)

"""A bridge that keeps its part of the contract for batches, and fails when it is told to."""

import json
import threading
from collections.abc import Callable
from typing import Any

import httpx

Answer = Callable[[httpx.Request], httpx.Response | None]


class FakeBridge(httpx.MockTransport):
    """Stores whole batches or nothing; `before` may answer in its place, or raise."""

    def __init__(self, before: Answer = lambda request: None) -> None:
        super().__init__(self._handle)
        self.stored: dict[tuple[str, str], dict[str, Any]] = {}
        self.order: list[dict[str, Any]] = []
        self.requests = 0
        self.most_at_once = 0
        self._now = 0
        self._before = before
        self._lock = threading.Lock()

    def _handle(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.requests += 1
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            return self._before(request) or self._store(request)
        finally:
            with self._lock:
                self._now -= 1

    def _store(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["content-type"] == "application/cloudevents-batch+json"
        events = json.loads(request.content)
        with self._lock:
            errors = [error for index, event in enumerate(events) if (error := self._refusal(index, event))]
            if errors:
                return httpx.Response(errors[0]["status"], json={"title": "Refused", "detail": "some", "errors": errors})
            for event in events:
                if (event["source"], event["id"]) not in self.stored:
                    self.order.append(event)
                self.stored[event["source"], event["id"]] = event
            return httpx.Response(202)

    def _refusal(self, index: int, event: dict[str, Any]) -> dict[str, Any] | None:
        if event.get("data") == "bad":
            return {"index": index, "detail": "bad data", "status": 400}
        known = self.stored.get((event["source"], event["id"]))
        return {"index": index, "detail": "id is taken", "status": 409} if known not in (None, event) else None

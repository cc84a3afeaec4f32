"""Somebody who publishes through a sidecar's plain HTTP API: he keeps none of our rules, and says a thing again until it is taken."""

import json
from collections.abc import Sequence
from typing import Any, Final

import aiohttp

from tests.faults.load import PATIENCE
from tests.waiting import until

_CLOUD_EVENT: Final = "application/cloudevents+json"


async def publish(sidecar_url: str, topic: str, event: dict[str, Any]) -> None:
    """Publish one event."""
    await _say(f"{sidecar_url}/v1.0/publish/pubsub/{topic}", event, _CLOUD_EVENT)


async def publish_in_bulk(sidecar_url: str, topic: str, events: Sequence[dict[str, Any]]) -> None:
    """Publish many in one call; their order is the sidecar's."""
    entries = [{"entryId": str(at), "event": event, "contentType": _CLOUD_EVENT} for at, event in enumerate(events)]
    await _say(f"{sidecar_url}/v1.0/publish/bulk/pubsub/{topic}", entries, "application/json")


async def _say(url: str, body: object, content_type: str) -> None:
    words, headers = json.dumps(body).encode(), {"content-type": content_type}
    answered = "nothing"

    async def taken() -> bool:
        nonlocal answered
        try:
            async with aiohttp.ClientSession() as door, door.post(url, data=words, headers=headers) as answer:
                answered = f"{answer.status} {await answer.text()}"
                return answer.status == 204
        except aiohttp.ClientError as problem:
            answered = str(problem)
            return False

    await until(taken, PATIENCE, lambda: f"{url} answers 204, last {answered};")

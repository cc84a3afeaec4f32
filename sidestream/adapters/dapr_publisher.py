"""The publisher over a Dapr sidecar: bulk publish by gRPC, as bytes.

Bulk over HTTP would re-parse numbers. The SDK's generated client is used on a channel of our own, because
`DaprClient()` waits up to 60 s for a healthy sidecar in its constructor, takes token and port from the process's environment
and has no deadline for a publish; and because gRPC's own back-off after a sidecar's restart would be up to two minutes.
"""

import asyncio
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from sidestream.event import CONTENT_TYPE
from sidestream.ports import Outgoing

CALL_BYTES: Final = 3_500_000
"""A call may hold 4 MiB; the rest is for keys, ids and what the sidecar adds."""
_ENTRY_BYTES: Final = 100
"""What an entry costs besides its event and twice its key."""
_CHANNEL_OPTIONS: Final = (
    # a restarted sidecar is found again at once
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    # one publisher, one connection: a stuck one is not shared with the next publisher
    ("grpc.use_local_subchannel_pool", 1),
    # the sidecar is beside us; a proxy of the environment is not meant for it
    ("grpc.enable_http_proxy", 0),
)


_REMEDIES: Final = {
    "PERMISSION_DENIED": "Nothing was published. Name the topic for this app in publishingScopes of the component (docs/security.md).",
    "UNAUTHENTICATED": "Nothing was published. Give this app the DAPR_API_TOKEN of its sidecar (docs/security.md).",
}
"""What to do about an answer that no repeat makes better."""


class DaprPublisher:
    """Publishes through the sidecar beside this process. It connects at the first publish, and again in a forked process.

    A call without an answer within `timeout_seconds` is unconfirmed.
    """

    def __init__(self, pubsub: str, grpc_port: int, api_token: str = "", *, timeout_seconds: float = 5.0) -> None:
        self._pubsub = pubsub
        self._address = f"127.0.0.1:{grpc_port}"
        self._headers = (("dapr-api-token", api_token),) if api_token else ()
        self._timeout_seconds = timeout_seconds
        self._channel: Any = None
        self._stub: Any = None
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None

    async def publish(self, topic: str, events: Sequence[Outgoing]) -> Mapping[int, str]:
        """See `sidestream.ports.Publisher`."""
        await self._connect()
        bulks = tuple(_bulks(events))
        if len(bulks) == 1:
            return await self._publish_bulk(topic, events, bulks[0])
        answers = await asyncio.gather(*(self._publish_bulk(topic, events, bulk) for bulk in bulks))
        return {index: reason for answer in answers for index, reason in answer.items()}

    async def _publish_bulk(self, topic: str, events: Sequence[Outgoing], bulk: range) -> Mapping[int, str]:
        from dapr.proto import api_v1
        from grpc import RpcError  # type: ignore[import-untyped]

        entries = [_entry(api_v1.BulkPublishRequestEntry, events[index], index) for index in bulk]
        request = api_v1.BulkPublishRequest(pubsub_name=self._pubsub, topic=topic, entries=entries)
        try:
            answer = await self._stub.BulkPublishEvent(request, timeout=self._timeout_seconds, metadata=self._headers)
        except RpcError as error:
            return dict.fromkeys(bulk, f"sidecar {self._address}, pub/sub {self._pubsub}: {_reason(error)}")
        return {int(entry.entry_id): entry.error or "refused without a reason" for entry in answer.failedEntries}

    async def _connect(self) -> None:
        """Make a channel of this process and this event loop; those of another one cannot be used."""
        home = (os.getpid(), asyncio.get_running_loop())
        if self._home == home:
            return
        make_channel, make_stub = await asyncio.to_thread(_load_sdk)
        if self._home == home:  # somebody connected meanwhile
            return
        self._channel = make_channel(self._address, options=_CHANNEL_OPTIONS)
        self._stub = make_stub(self._channel)
        self._home = home

    async def close(self) -> None:
        """Close the connection; calls in flight are given up."""
        if self._channel is not None and self._home == (os.getpid(), asyncio.get_running_loop()):
            await self._channel.close()
        self._channel = self._stub = self._home = None


def load_sdk_ahead() -> None:
    """Begin to import what the first publish needs, for an app that will publish: else its first events wait for that."""

    def load() -> None:
        with suppress(ImportError):  # the publish itself says so
            _load_sdk()

    threading.Thread(target=load, name="load the SDK").start()


def _load_sdk() -> tuple[Any, Any]:
    """Import what is needed to connect: a quarter of a second (over one on a busy machine), in a thread, and only by who publishes."""
    # gRPC's fork handlers abort a child between fork and exec while calls are running (SIGABRT, 18 of 900 programs started).
    # Nobody needs them here: a forked process makes a channel of its own.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    import grpc.aio  # type: ignore[import-untyped]
    from dapr.proto import api_service_v1

    return grpc.aio.insecure_channel, api_service_v1.DaprStub


def _bulks(events: Sequence[Outgoing]) -> Iterator[range]:
    """Cut into ranges of indices whose events fit into one call."""
    begin, weight = 0, 0
    for index, event in enumerate(events):
        size = len(event.wire) + 2 * len(event.partition_key) + _ENTRY_BYTES
        if index > begin and weight + size > CALL_BYTES:
            yield range(begin, index)
            begin, weight = index, 0
        weight += size
    if events:
        yield range(begin, len(events))


def _entry(make: Any, event: Outgoing, index: int) -> Any:
    metadata = {"partitionKey": event.partition_key} if event.partition_key else None
    return make(entry_id=str(index), event=event.wire, content_type=CONTENT_TYPE, metadata=metadata)


def _reason(error: Any) -> str:
    """Return what gRPC says, `UNAVAILABLE: connection refused`, in one line."""
    code = error.code().name
    said = f"{code}: {' '.join(str(error.details()).split())}"
    return f"{said.rstrip('.')}. {_REMEDIES[code]}" if code in _REMEDIES else said

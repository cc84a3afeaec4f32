"""A broker that somebody else runs: where it is, whether it answers, and what it needs before the first event.

Which one it is says the pub/sub component in force. Its address comes from SIDESTREAM_BROKER, from the secrets of the
folder (`sidestream broker use --address` writes it there), or stands in the component itself.
"""

import asyncio
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

import msgspec

from sidestream.adapters.broker_kinds import InForce, address_of, preparing
from sidestream.errors import ConfigurationError, LogUnavailable
from sidestream.launcher.folder import SystemFolder
from sidestream.launcher.problem import CannotStart

_AMQP_GREETING = b"AMQP\x00\x00\x09\x01"
_AMQP_METHOD_FRAME = 1
_PATIENCE = 5.0


class OtherBroker:
    """The broker of the component in force, which is not started here."""

    def __init__(self, found: InForce, address: str) -> None:
        self.address = address
        self._found = found

    @classmethod
    def of(cls, found: InForce, place: SystemFolder, named: str) -> "OtherBroker":
        """Find its address.

        Args:
            found: the component in force.
            place: the folder of the system, with its secrets.
            named: what SIDESTREAM_BROKER says, or nothing.

        Raises:
            CannotStart: there is no address, or two that contradict each other.
        """
        if not found.kind.address:
            return cls(found, "")
        if not found.secret:
            return cls(found, _said_by(found, named))
        address = named or place.read_secrets().get(found.secret, "")
        if not address:
            raise CannotStart(
                f"{found.component}: expected the address of {found.kind.name}, found none. Name it: "
                f"`sidestream broker use {found.kind.name} --address {found.kind.example}`, or SIDESTREAM_BROKER={found.kind.example}."
            )
        return cls(found, address)

    def __str__(self) -> str:
        """Return its kind and where it is, without who logs in."""
        return f"{self._found.kind.name} at {self.address.rpartition('@')[2]}" if self.address else self._found.kind.name

    async def ready(self, topics: Collection[str]) -> list[str]:
        """Make sure that it answers, and make what it needs for these topics; return those that were new.

        Raises:
            CannotStart: it does not answer, or would lose events.
        """
        if self._found.component.type == "pubsub.rabbitmq":
            await self._greet()
        try:
            return await asyncio.to_thread(self._make, topics)
        except LogUnavailable as problem:
            raise CannotStart(f"broker: no usable {self}: {problem} Start it, or correct its address.") from problem
        except ConfigurationError as problem:
            raise CannotStart(str(problem)) from problem

    def _make(self, topics: Collection[str]) -> list[str]:
        made = preparing(_with_address(self._found, self.address))
        if made is None:
            return []
        try:
            made.examine()
            return made.make(topics)
        finally:
            made.close()

    async def _greet(self) -> None:
        """Say hello in the broker's protocol: a server that speaks it answers with a frame that names itself."""
        try:
            parts = urlsplit(self.address)
            async with asyncio.timeout(_PATIENCE):
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 5672)
                writer.write(_AMQP_GREETING)
                answer = await reader.read(1)
                writer.close()
        except (OSError, ValueError, TimeoutError) as problem:
            raise CannotStart(f"broker: no usable {self}: {problem or 'no answer'}. Start it, or correct its address.") from problem
        if answer != bytes([_AMQP_METHOD_FRAME]):
            raise CannotStart(f"broker: expected RabbitMQ at {self.address.rpartition('@')[2]}, found something that does not speak AMQP.")


def _said_by(found: InForce, named: str) -> str:
    said = address_of(found)
    if named and named != said:
        raise CannotStart(
            f"{found.component}: expected the address that it says itself, {said.rpartition('@')[2]}, found another in SIDESTREAM_BROKER. "
            "Unset the variable, or let the component take its address from a secret."
        )
    return said


def _with_address(found: InForce, address: str) -> InForce:
    """Say the address in the component: its secrets are found from the folder of dapr.yaml only."""
    items: list[dict[str, Any]] = [
        {"name": item["name"], "value": address} if item["name"].lower() == found.kind.address else dict(item)
        for item in found.component.items
    ]
    return msgspec.structs.replace(found, component=msgspec.structs.replace(found.component, items=tuple(items)))

"""A broker that somebody else runs: where it is, whether it answers, and what it needs before the first event.

Which one it is, and who logs in, says the pub/sub component in force. Its address comes from SIDESTREAM_BROKER, from the secrets of the
folder (`sidestream broker use --address` writes it there), or stands in the component itself.
"""

import asyncio
import contextlib
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from sidestream.adapters.broker_kinds import RABBITMQ, REDIS, InForce, address_of, preparing
from sidestream.adapters.components import log_of
from sidestream.errors import ConfigurationError, LogUnavailable
from sidestream.launcher.folder import SystemFolder
from sidestream.launcher.problem import CannotStart

_AMQP_GREETING = b"AMQP\x00\x00\x09\x01"
_AMQP_METHOD_FRAME = 1
_PATIENCE = 5.0


class OtherBroker:
    """The broker of the component in force, which is not started here."""

    def __init__(self, found: InForce, address: str, base: Path = Path()) -> None:
        self.address = address
        self._found = found
        self._base = base

    @classmethod
    def of(cls, found: InForce, place: SystemFolder, named: str, base: Path = Path()) -> "OtherBroker":
        """Find its address.

        Args:
            found: the component in force.
            place: the folder of the system, with its secrets.
            named: what SIDESTREAM_BROKER says, or nothing.
            base: the folder of the run file, where relative paths of secrets begin.

        Raises:
            CannotStart: there is no address, or it is none, or there are two that contradict each other.
        """
        if not found.kind.address:
            return cls(found, "", base)
        if named and found.component.type == REDIS:
            _expect_hosts(named)
        if not found.secret:
            return cls(found, _said_by(found, named, base), base)
        address = named or place.read_secrets().get(found.secret, "")
        if not address:
            raise CannotStart(
                f"{found.component}: expected the address of {found.kind.name}, found none. Name it: "
                f"`sidestream broker use {found.kind.name} --address {found.kind.example}`, or SIDESTREAM_BROKER={found.kind.example}."
            )
        return cls(found, address, base)

    def __str__(self) -> str:
        """Return its kind and where it is, without who logs in."""
        return f"{self._found.kind.name} at {self.address.rpartition('@')[2]}" if self.address else self._found.kind.name

    async def ready(self, topics: Collection[str], *, unsafe: bool = False) -> list[str]:
        """Make sure that it answers, and make what it needs for these topics; return those that were new.

        Args:
            topics: of everything that will be published.
            unsafe: take one that may lose events.

        Raises:
            CannotStart: it does not answer, or would lose events.
        """
        if self._found.component.type == RABBITMQ:
            await self._greet()
        try:
            if self._found.component.type == REDIS:
                await asyncio.to_thread(self._look_at_redis, unsafe=unsafe)
            return await asyncio.to_thread(self._make, topics)
        except LogUnavailable as problem:
            raise CannotStart(f"broker: no usable {self}: {problem} Start it, or correct its address or who logs in.") from problem
        except ConfigurationError as problem:
            raise CannotStart(str(problem)) from problem

    def _look_at_redis(self, *, unsafe: bool) -> None:
        from sidestream.adapters.redis_keeping import keeping_of
        from sidestream.adapters.redis_log import RedisLog
        from sidestream.adapters.redis_servers import MovingRedisLog

        with contextlib.closing(log_of(_with_address(self._found, self.address).component, self._base)) as log:
            assert isinstance(log, RedisLog | MovingRedisLog), "the component is of Redis"
            for kept in keeping_of(log):
                if not unsafe:
                    kept.refuse_forgetful()

    def _make(self, topics: Collection[str]) -> list[str]:
        made = preparing(_with_address(self._found, self.address), self._base)
        if made is None:
            return []
        try:
            made.examine()
            return made.make(topics)
        finally:
            made.close()

    async def _greet(self) -> None:
        """Say hello in the broker's protocol: a server that speaks it answers with a frame that names itself."""
        host, port = _host_of(self.address)
        try:
            async with asyncio.timeout(_PATIENCE):
                reader, writer = await asyncio.open_connection(host, port)
                writer.write(_AMQP_GREETING)
                answer = await reader.read(1)
                writer.close()
        except (OSError, ValueError, TimeoutError) as problem:
            raise CannotStart(f"broker: no usable {self}: {problem or 'no answer'}. Start it, or correct its address.") from problem
        if answer != bytes([_AMQP_METHOD_FRAME]):
            raise CannotStart(f"broker: expected RabbitMQ at {self.address.rpartition('@')[2]}, found something that does not speak AMQP.")


def _host_of(address: str) -> tuple[str, int]:
    """Return where a RabbitMQ is; an address that is none is refused unseen, because its parts may be those of a password."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(address)
        if parts.scheme in ("amqp", "amqps") and parts.hostname:
            return parts.hostname, parts.port or 5672
    raise CannotStart(
        "broker: expected the address of rabbitmq as amqp://user:password@host:port, found another form. Correct it; in a password "
        "/ is written as %2F, # as %23, : as %3A and @ as %40."
    )


def _expect_hosts(named: str) -> None:
    """Refuse what is no address unseen: somebody may have put a password into it."""
    if any("@" in each or not each.rpartition(":")[0] or not each.rpartition(":")[2].isdecimal() for each in named.split(",")):
        shown = "a login in it" if "@" in named else f"`{named}`"
        raise CannotStart(
            f"the address of Redis (SIDESTREAM_BROKER, --address): expected host:port, found {shown}. Correct it, or leave it out to use "
            "the embedded broker; who logs in stands in the component (redisUsername, redisPassword)."
        )


def _said_by(found: InForce, named: str, base: Path) -> str:
    said = address_of(found, base)
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

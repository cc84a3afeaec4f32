"""Whether a Redis or Valkey keeps what it has confirmed: asked of every server of a component, logged in as the component says.

A log of record needs an append-only file, and a server that refuses when it is full. Reads only.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import redis

from sidestream.adapters.redis_log import RedisAddress, RedisLog, connection_options
from sidestream.adapters.redis_servers import MovingRedisLog
from sidestream.errors import ConfigurationError, LogUnavailable

_ASKED: Final = ("appendonly", "appendfsync", "maxmemory-policy")


class Forgetful(ConfigurationError):
    """A broker that may lose what it has confirmed, or that does not tell."""

    code = "forgetful-broker"


class Kept(msgspec.Struct, frozen=True):
    """What one server says of its own safety.

    Attributes:
        settings: as CONFIG GET has them; empty where it does not tell.
        untold: why it does not tell.
    """

    server: str
    settings: Mapping[str, str]
    untold: str = ""

    def refuse_forgetful(self) -> None:
        """Raise Forgetful unless it keeps what it confirms."""
        if self.untold:
            raise Forgetful(
                f"broker {self.server}: expected it to say whether it keeps what it confirms (CONFIG GET), found: {self.untold}. "
                "Allow that to the user of the component (`+config|get`), or take its word with `sidestream up --unsafe`."
            )
        if (found := self.settings.get("appendonly")) != "yes":
            raise Forgetful(
                f"broker {self.server}: expected appendonly yes, found {found}: a crash would lose acknowledged events. "
                "Switch the append-only file on (CONFIG SET appendonly yes), or accept the loss with `sidestream up --unsafe`."
            )
        if (found := self.settings.get("maxmemory-policy")) != "noeviction":
            raise Forgetful(
                f"broker {self.server}: expected maxmemory-policy noeviction, found {found}: when full it would delete events and report "
                "success. Set it (CONFIG SET maxmemory-policy noeviction), or accept the loss with `sidestream up --unsafe`."
            )


def keeping_of(log: RedisLog | MovingRedisLog) -> list[Kept]:
    """Ask every server that holds topics of a log.

    Raises:
        LogUnavailable: one does not answer, or refuses the login.
    """
    return [_kept(address) for address in _addresses(log)]


@contextmanager
def logged_in(address: RedisAddress) -> Iterator[redis.Redis]:
    """Connect as the component says, answers as text.

    Raises:
        LogUnavailable: the server does not answer, or refuses.
    """
    pool = redis.ConnectionPool(**{**connection_options(address), "decode_responses": True})
    try:
        with redis.Redis(connection_pool=pool) as client:
            yield client
    except (redis.RedisError, OSError) as problem:
        raise LogUnavailable(f"{address}: {problem or type(problem).__name__}") from problem
    finally:
        pool.disconnect()


def settings_of(client: Any) -> tuple[Mapping[str, str], str]:
    """Return what a server says of its own safety, or why it does not: a hosted one knows no CONFIG, a user may not ask it."""
    client.ping()  # a login that is refused is no answer
    try:
        found: dict[str, str] = client.config_get(*_ASKED)
    except redis.ResponseError as problem:
        return {}, str(problem)
    return found, ""


def _kept(address: RedisAddress) -> Kept:
    with logged_in(address) as client:
        settings, untold = settings_of(client)
    return Kept(f"{address.host}:{address.port}", settings, untold)


def _addresses(log: RedisLog | MovingRedisLog) -> Sequence[RedisAddress]:
    if isinstance(log, RedisLog):
        return [log.address]
    try:
        places = log.servers.masters()
    except (redis.RedisError, OSError) as problem:
        raise LogUnavailable(f"{log.address}: which servers hold the topics: {problem or type(problem).__name__}") from problem
    return [msgspec.structs.replace(log.address, host=host, port=port) for host, port in places]

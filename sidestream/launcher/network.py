"""Ports of this machine: which are free, and whether a part answers on one."""

import asyncio
import fcntl
import os
import random
import socket
from collections.abc import Iterable
from functools import cache
from itertools import islice

from sidestream.launcher.daprd import cache as cache_of_the_user

LOOPBACK = "127.0.0.1"
_OUR_RANGE = range(20_000, 32_000)
_ANSWER_SECONDS = 2.0
_given: set[int] = set()
"""What this process was given so far: the same one again could be meant for a part that has not taken it yet."""


def is_free(port: int) -> bool:
    """Whether nobody listens on the port, on loopback or on every address."""
    return all(_can_bind(address, port) for address in (LOOPBACK, ""))


def free_ports(count: int, without: Iterable[int] = ()) -> list[int]:
    """Return so many different free ports, none of those named.

    They lie below the range from which the kernel gives outgoing connections their ports, and no other process of this
    user is given one of them while this one lives, nor is this one again: so none is taken between this answer and its use.
    A process that has been given all of them gets old ones.
    """
    taken = set(without)
    fresh_first = sorted(random.sample(_OUR_RANGE, len(_OUR_RANGE)), key=_given.__contains__)
    candidates = (port for port in fresh_first if port not in taken and is_free(port) and _is_promised_to_us(port))
    found = list(islice(candidates, count))
    _given.update(found)
    return found


def _is_promised_to_us(port: int) -> bool:
    """Promise a port to this process; False where another one has it. A promise ends with its process, however that ends."""
    try:
        fcntl.lockf(_promises(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


@cache
def _promises() -> int:
    """Open the file in which one locked byte stands for one port; it stays open, because closing it would end every promise."""
    cache_of_the_user().mkdir(parents=True, exist_ok=True)
    return os.open(cache_of_the_user() / "ports", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


async def status(port: int, path: str) -> int | None:
    """Ask by HTTP and return the status code; None when nobody answers."""
    try:
        return await asyncio.wait_for(_status(port, path), _ANSWER_SECONDS)
    except (OSError, TimeoutError, ValueError, IndexError):
        return None


async def _status(port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nConnection: close\r\n\r\n".encode())
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()


def _can_bind(address: str, port: int) -> bool:
    with socket.socket() as attempt:
        # As servers do: a connection that lingers after its server's end does not hold the port.
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((address, port))
        except OSError:
            return False
        return True

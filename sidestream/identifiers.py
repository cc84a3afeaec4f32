"""Ids and the clock, for the edges that hand them to deciding code."""

import os
import socket
import time
from datetime import UTC, datetime

import uuid_utils


def new_id() -> str:
    """Return a new UUIDv7: unique, and later ones sort after earlier ones of this process."""
    return str(uuid_utils.uuid7())


def now() -> str:
    """Return the time as CloudEvents writes it: RFC 3339, UTC, microseconds, `2026-11-20T09:30:00.000000Z`."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def milliseconds() -> int:
    """Return the time in milliseconds since 1970, by this machine's clock."""
    return time.time_ns() // 1_000_000


def this_process() -> str:
    """Return who this is, for another process that must wait: host, process and since when."""
    return f"host {socket.gethostname()}, process {os.getpid()}, since {now()}"

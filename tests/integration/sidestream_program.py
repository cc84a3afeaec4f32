"""The program `sidestream`, as somebody types it beside a running system."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import msgspec

from tests.parts import REPOSITORY


class Ended(msgspec.Struct, frozen=True):
    """How it ended."""

    code: int
    out: str
    err: str


async def sidestream(*arguments: str, code: int | None = 0, **environment: str) -> Ended:
    """Run it to its end, with more variables than ours; it must end with this exit code, None: with any."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        str(REPOSITORY / ".venv/bin/sidestream"), *arguments, stdout=pipe, stderr=pipe, env={**os.environ, **environment}
    )
    try:
        out, err = await process.communicate()
    except BaseException:
        process.kill()
        raise
    ended = Ended(process.returncode or 0, out.decode(), err.decode())
    assert code in {None, ended.code}, ended
    return ended


async def dead_letters(folder: Path, projection: str) -> list[dict[str, Any]]:
    """List the dead letters of a projection of the system in this folder."""
    where = ("--data", str(folder), "-f", str(REPOSITORY / "dapr.yaml"))
    listed = await sidestream("dead-letters", "list", projection, "--limit", "100000", "--json", *where)
    found: list[dict[str, Any]] = json.loads(listed.out)
    return found

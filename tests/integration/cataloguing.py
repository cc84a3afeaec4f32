"""The assets service and the catalogue on a folder of small files: what is on disk is what the read model must say."""

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx

from sidestream.launcher.system import System
from tests.asking import all_pages
from tests.integration.sidestream_program import Ended, sidestream
from tests.waiting import until


class Cataloguing:
    """A running system of both, the files, and the program beside it."""

    def __init__(self, system: System, root: Path, run_file: Path) -> None:
        self.system = system
        self.root = root
        self.where = ("--data", str(system.folder.path), "-f", str(run_file))

    def write(self, numbers: range) -> None:
        write(self.root, numbers)

    async def scan(self) -> None:
        """Record what is on disk, and what is there no more."""
        async with httpx.AsyncClient(base_url=self.system["assets"].url, timeout=30) as door:
            (await door.post("/scans", json={"path": str(self.root)})).raise_for_status()

    async def rows(self) -> dict[str, str]:
        """Return the read model: the path of each file, and the digest of its content."""
        found = await all_pages(self.system["asset-catalog"].url, "/assets", "assets")
        return {row["path"]: row["sha256"] for row in found}

    def on_disk(self) -> dict[str, str]:
        """Return what it must be."""
        return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in self.root.iterdir()}

    async def until_exact(self) -> None:
        async def is_exact() -> bool:
            return await self.rows() == self.on_disk()

        await until(is_exact, 30)

    async def health(self) -> dict[str, Any]:
        """Return how the catalogue says that it is doing."""
        async with httpx.AsyncClient(base_url=self.system["asset-catalog"].url, timeout=30) as door:
            found: dict[str, Any] = (await door.get("/generations")).json()["health"]
        return found

    async def program(self, *words: str, code: int | None = 0) -> Ended:
        """Run the program on this system."""
        return await sidestream(*words, *self.where, code=code)

    async def verify(self, *options: str, code: int | None = 0) -> dict[str, Any]:
        """Return what `log verify` says about each topic of the store, and what it did about it."""
        found = json.loads((await self.program("log", "verify", "assets", *options, "--json", code=code)).out)
        return {line["topic"]["topic"]: {**line["topic"], "remedy": line["remedy"]} for line in found["stores"]}

    async def until_whole(self, **stored: int) -> dict[str, Any]:
        """Wait until all that is stored (so many events of each topic) was sent, maybe again, and stands in the log."""
        found: dict[str, Any] = {}

        async def whole() -> bool:
            found.update(await self.verify(code=None))
            sent = all(found[topic]["stored"] >= number for topic, number in stored.items())  # a relay may still be at it
            return sent and all(topic["found"] == topic["stored"] and not topic["disordered"] for topic in found.values())

        await until(whole, 30)
        return found


def write(root: Path, numbers: range) -> None:
    """Write a small file for each number."""
    root.mkdir(exist_ok=True)
    for number in numbers:
        (root / f"{number:03d}.txt").write_text(f"content {number}")

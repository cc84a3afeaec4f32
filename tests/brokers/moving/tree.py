"""A system of its own for a test that moves its log: run file, components and data in a folder, `sidestream up` on it, the move typed."""

import asyncio
import os
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import httpx
import yaml

from sidestream.launcher.folder import SystemFolder
from sidestream.launcher.network import LOOPBACK, free_ports
from tests.integration.test_whole_line import ballots, expected_tally, tally_of
from tests.parts import REPOSITORY
from tests.waiting import until

PROGRAM: Final = str(REPOSITORY / ".venv/bin/sidestream")
MOST_VOTES: Final = 100_000
CLIENTS: Final = 20
_PORTS: Final = ("appPort", "daprHTTPPort", "daprGRPCPort", "metricsPort")


class Tree:
    """A folder with some apps of a run file of tests/apps, on free ports, and components of its own."""

    def __init__(self, folder: Path, run_file: str = "voting.yaml", apps: tuple[str, ...] = ("votes", "tally")) -> None:
        self.place = SystemFolder(folder.parent / "system")  # the apps' own folder is the repository, whose secrets are not ours
        self.where = ("-f", str(folder / "dapr.yaml"), "--data", str(self.place.path))
        shutil.copytree(REPOSITORY / "components", folder / "components")
        told = yaml.safe_load((REPOSITORY / "tests" / "apps" / run_file).read_text())
        told["common"]["resourcesPath"] = str(folder / "components")
        told["common"]["configFilePath"] = str(folder / "components" / "configuration.yaml")
        told["apps"] = [app for app in told["apps"] if app["appID"] in apps]
        (folder / "dapr.yaml").write_text(yaml.safe_dump(_on_free_ports(told)))
        self._ports = {app["appID"]: app["appPort"] for app in told["apps"]}
        self.in_force = folder / "components" / "pubsub.yaml"
        self.output = folder.parent / "up.log"

    def url(self, app: str) -> str:
        """Where an app answers."""
        return f"http://{LOOPBACK}:{self._ports[app]}"

    @property
    def urls(self) -> list[str]:
        """Where all answer."""
        return [self.url(app) for app in self._ports]

    def move(self, target: str, address: str, *more: str, source: str = "redis") -> tuple[str, ...]:
        """The words of a move."""
        return ("broker", "move", "--from", source, "--to", target, "--address", address, *self.where, *more)


def _on_free_ports(told: dict[str, Any]) -> dict[str, Any]:
    ports, moved = iter(free_ports(len(_PORTS) * len(told["apps"]))), {}
    for app in told["apps"]:
        before = app["appPort"]
        app |= {"appDirPath": str(REPOSITORY), **{key: next(ports) for key in _PORTS}}
        moved[f"http://127.0.0.1:{before}"] = f"http://{LOOPBACK}:{app['appPort']}"
    for app in told["apps"]:
        app["env"] = {name: moved.get(value, value) for name, value in app.get("env", {}).items()}
    return told


@asynccontextmanager
async def running(tree: Tree, **environment: str) -> AsyncIterator[None]:
    """`sidestream up` on the tree."""
    async with typed(tree, "up", *tree.where, **environment):
        for url in tree.urls:
            await until(partial(answers, url), 90, tree.output.read_text)
        yield


@asynccontextmanager
async def typed(tree: Tree, *words: str, **environment: str) -> AsyncIterator[None]:
    """Some words of the program, ended in order at the end of the block."""
    with tree.output.open("ab") as output:
        told: Mapping[str, str] = {**os.environ, **environment}
        program = await asyncio.create_subprocess_exec(PROGRAM, *words, stdout=output, stderr=output, env=told)
    try:
        yield
    finally:
        if program.returncode is None:
            program.send_signal(signal.SIGTERM)
        await program.wait()


async def answers(url: str) -> bool:
    """Whether an app is ready."""
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as door, door.get(f"{url}/readyz") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


class Voters:
    """Clients that post each vote until it is accepted, until it is over, and remember what they were answered."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting = iter(ballots(MOST_VOTES, seed=31))
        self.over = False
        self.posted: list[dict[str, str]] = []
        self.accepted = 0
        self.statuses: Counter[int] = Counter()
        self.reasons: set[str] = set()
        self.details: set[str] = set()

    async def post(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(CLIENTS)))

    async def _client(self) -> None:
        async with aiohttp.ClientSession(self._url, timeout=aiohttp.ClientTimeout(total=15)) as door:
            while not self.over:
                vote = next(self._waiting)
                self.posted.append(vote)
                await until(partial(self._accepted, door, vote), 90)
                self.accepted += 1

    async def _accepted(self, door: aiohttp.ClientSession, vote: dict[str, str]) -> bool:
        try:
            async with door.post("/votes", json=vote) as answer:
                self.statuses[answer.status] += 1
                if answer.status == 503:
                    assert "Retry-After" in answer.headers
                    problem = await answer.json(content_type=None)
                    self.reasons.add(problem["type"])
                    self.details.add(problem["detail"])
                return answer.status == 202
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def more(self, count: int) -> None:
        """Wait until so many more have been accepted."""
        wanted = self.accepted + count
        await until(lambda: self.accepted >= wanted, 90, lambda: f"{count} more votes accepted ({self.statuses})")


@asynccontextmanager
async def voting(tree: Tree, voters: Voters | None = None) -> AsyncIterator[Voters]:
    """Clients that vote during the block, or go on with it; at its end each of them has an answer."""
    voters = voters or Voters(tree.url("votes"))
    voters.over = False
    posting = asyncio.create_task(voters.post())
    try:
        yield voters
    finally:
        voters.over = True
        await posting


async def assert_counted(tree: Tree, voters: Voters) -> None:
    """Each accepted vote is counted, and once."""

    async def is_right() -> bool:
        try:
            return await tally_of(tree.url("tally")) == expected_tally(voters.posted)
        except (httpx.TransportError, KeyError):
            return False

    await until(is_right, 60, lambda: "the tally of all votes")

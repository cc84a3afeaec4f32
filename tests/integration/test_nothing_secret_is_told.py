"""A broker with a password, tokens, a database with a password in its address; everything is used, killed and asked.

What is secret then stands in files of their owner, and nowhere else: no log, no line on the terminal, no command line, no YAML that
somebody else may read, no problem answer, no page, no output of a verb.
"""

import asyncio
import io
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from rich.console import Console

from sidestream.launcher.system import System
from tests.integration.guarding import TOKEN
from tests.integration.protected import BY_PASSWORD, PASSWORD, VOTE, ProtectedValkey, counted_and_rung, protected_valkey, system_on
from tests.integration.sidestream_program import sidestream
from tests.postgres import Postgres, running_postgres
from tests.waiting import until

DATABASE_PASSWORD = "pass-w0rd-of-the-database"
ORDER = {"customer": "ann", "currency": "EUR", "lines": [{"article": "tea", "quantity": 1, "unit_minor": 100}]}
PAGES = (
    "/metrics",
    "/readyz",
    "/healthz",
    "/openapi.json",
    "/docs",
    "/generations",
    "/bell/votes",
    "/polls/pets",
    "/dead-letters",
    "/nowhere",
)
VERBS = (
    ("projections", "status", "tally"),
    ("dead-letters", "list", "tally"),
    ("events", "list", "votes"),
    ("log", "verify"),
    ("doctor",),
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


@dataclass
class Told:
    """A system that has lived through something, and everything that was said meanwhile."""

    system: System
    valkey: ProtectedValkey
    postgres: Postgres
    database: str
    run_file: Path
    terminal: io.StringIO
    said: list[str] = field(default_factory=list)

    async def knock(self) -> None:
        """Ask at every door, well or not."""
        async with httpx.AsyncClient(timeout=30) as client:
            for pair in self.system:
                for path in PAGES:
                    self.said.append((await client.get(f"{pair.url}{path}")).text)
                if pair.sidecar.alive:
                    self.said.append((await client.get(f"{pair.sidecar_url}/v1.0/metadata", headers={TOKEN: pair.api_token})).text)
            self.said.append((await client.post(f"{self.system['votes'].url}/votes", json=VOTE)).text)
            self.said.append((await client.post(f"{self.system['orders'].url}/orders", json=ORDER)).text)

    async def type_verbs(self) -> None:
        """Ask as somebody does at the terminal."""
        where = ("-f", str(self.run_file), "--data", str(self.system.folder.path))
        told = {"SIDESTREAM_TOKENS": "on", "SIDESTREAM_BROKER": self.valkey.address, "SIDESTREAM_DATABASE_URL": self.database}
        for verb in VERBS:
            ended = await sidestream(*verb, *where, code=None, **told)
            self.said += [ended.out, ended.err]
        self.said.append(await asyncio.to_thread(subprocess.check_output, ["ps", "-ww", "-eo", "args"], text=True))

    @property
    def secrets(self) -> dict[str, str]:
        tokens = {str(file.relative_to(self.system.folder.tokens)): file.read_text() for file in self.system.folder.tokens.glob("*/*")}
        return {"the broker's password": PASSWORD, "the database's": DATABASE_PASSWORD, **tokens}

    def log_of(self, app: str) -> str:
        return (self.system.folder.logs / f"{app}.log").read_text()


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProtectedValkey]:
    with protected_valkey(tmp_path_factory.mktemp("protected") / "valkey") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(valkey: ProtectedValkey, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Told]:
    """A day on which everything is asked while all is well, and while broker and database are away."""
    folder, terminal = tmp_path_factory.mktemp("told"), io.StringIO()
    with running_postgres() as postgres, postgres.database() as plain:
        url = plain.replace("postgres:@", f"postgres:{DATABASE_PASSWORD}@")
        assert DATABASE_PASSWORD in url
        environment = {"SIDESTREAM_DATABASE_URL": url, "SIDESTREAM_STORE_URL": url}
        console = Console(file=terminal, width=500)
        async with system_on(valkey.address, folder, BY_PASSWORD, environment=environment, console=console) as system:
            told = Told(system, valkey, postgres, url, folder / "dapr.yaml", terminal)
            await counted_and_rung(system)
            await told.knock()
            await system["tally"].sidecar.kill()  # it would say a million times that the broker is away
            valkey.kill()
            postgres.crash()
            await told.knock()
            await told.type_verbs()
            os.kill(system["tally"].app.pid, 9)  # a death is said with the line that starts it again
            await until(lambda: bool(system.deaths))
            postgres.start()
            yield told


async def test_nothing_secret_is_in_any_answer_line_log_or_command_line(told: Told) -> None:
    everything = [*told.said, told.terminal.getvalue(), *(file.read_text() for file in told.system.folder.logs.iterdir())]
    everything += [part.program.line() + repr(part.program) for pair in told.system for part in (pair.app, pair.sidecar)]
    whole = "\n".join(everything)
    assert "SIDESTREAM_DATABASE_URL" in told.terminal.getvalue(), "the line that starts the dead app names its variables"
    assert "connection refused" in whole
    assert len(told.secrets) == 8
    assert {name: _around(whole, secret) for name, secret in told.secrets.items() if secret in whole} == {}


async def test_what_lies_on_disk_with_a_secret_in_it_is_its_owner_s_alone(told: Told) -> None:
    place = told.system.folder.path
    files = [file for file in place.parent.rglob("*") if file.is_file()]
    holding = {file for file in files for secret in told.secrets.values() if secret.encode() in file.read_bytes()}
    assert {str(file.relative_to(place)) for file in holding} == {
        "secrets.json",
        *(f"tokens/{app}/{name}_API_TOKEN" for app in ("orders", "tally", "votes") for name in ("APP", "DAPR")),
    }
    assert {oct(file.stat().st_mode & 0o077) for file in holding} == {"0o0"}


def _around(text: str, secret: str) -> str:
    at = text.index(secret)
    return text[max(at - 200, 0) : at] + "…"

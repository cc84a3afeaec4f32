"""The commands of the README, executed on a running system. What runs until Ctrl-C is tested where it belongs: its options here."""

import asyncio
import json
import re
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sidestream.launcher.system import System
from tests.parts import REPOSITORY, running_system

PROGRAM = str(REPOSITORY / ".venv" / "bin" / "sidestream")
STAYS = {"up", "broker", "reset"}
STAYS_TOO = "events tail"
OF_THE_TREE = {"schema"}
"""Verbs that look at the code: they know no system's folder."""


def commands() -> list[str]:
    """The lines of the README's console blocks that call our program, without prompt and comment."""
    blocks = re.findall(r"```console\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    lines = [line.removeprefix("$ ").split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("sidestream ")]


def stays(command: str) -> bool:
    """Whether it runs until Ctrl-C, or changes more than one folder."""
    return command.split()[1] in STAYS or STAYS_TOO in command


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with running_system(tmp_path_factory.mktemp("readme") / "system", REPOSITORY / "dapr.yaml") as running:
        yield running


@pytest.mark.parametrize("command", [line for line in commands() if not stays(line)])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_command_of_the_readme_does_what_it_says(command: str, system: System, tmp_path: Path) -> None:
    event = {"specversion": "1.0", "id": "readme-1", "source": "/readme", "type": "page.read", "data": {"n": 1.0}}
    (tmp_path / "events.ndjson").write_text(json.dumps(event) + "\n")
    words = shlex.split(command)[1:]
    if words[0] == "publish":
        words += ["--url", system["bridge"].url]
    else:
        words += ["--file", str(REPOSITORY / "dapr.yaml")]
        words += [] if words[0] in OF_THE_TREE else ["--data", str(system.folder.path)]
    code, said = await _run(words, tmp_path)
    assert code == 0, said


@pytest.mark.parametrize("command", [line for line in commands() if stays(line)])
async def test_an_option_of_the_readme_exists(command: str, tmp_path: Path) -> None:
    words = shlex.split(command)[1:]
    code, said = await _run([word for word in words if word.isalpha() and word not in {"tally", "kafka"}] + ["--help"], tmp_path)
    assert code == 0, said
    for option in (word for word in words if word.startswith("--")):
        assert option in said


async def _run(words: list[str], folder: Path) -> tuple[int | None, str]:
    pipe, joined = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    process = await asyncio.create_subprocess_exec(
        PROGRAM, *words, cwd=folder, stdout=pipe, stderr=joined, env={"COLUMNS": "200", "TERM": "dumb"}
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()

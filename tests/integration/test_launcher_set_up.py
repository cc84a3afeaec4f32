"""tools/setup.py on a machine whose uv and Go are played by scripts: what it does once, and what it says when it fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
NEEDED = (
    "tools",
    "pyproject.toml",
    "requirements.lock",
    "sidestream/__init__.py",
    "sidestream/launcher/__init__.py",
    "sidestream/launcher/daprd.py",
)

UV = 'echo "$@" >> "$0.log"; if [ "$1" = venv ]; then mkdir -p .venv/bin; touch .venv/bin/python; fi'
GO = """if [ "$1" = version ]; then echo go version go1.26.4 linux/amd64; exit; fi
echo built >> "$0.log"; echo "go: downloading some/module"; echo some/package
while [ "$1" != -o ]; do shift; done; echo daprd > "$2"
"""


class Machine:
    """A tree, a cache and two programs of its own."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "tree"
        self.cache = folder / "cache"
        self.programs = folder / "bin"
        self.programs.mkdir()
        for name in NEEDED:
            source, target = REPOSITORY / name, self.tree / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__")) if source.is_dir() else shutil.copy(
                source, target
            )
        self.install("uv", UV)
        self.install("go", GO)

    def install(self, name: str, script: str) -> None:
        (self.programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.programs / name).chmod(0o755)

    def begin(self) -> "subprocess.Popen[str]":
        path = f"{self.programs}:/usr/bin:/bin"
        environment = {"PATH": path, "HOME": str(self.cache), "XDG_CACHE_HOME": str(self.cache), "LANG": os.environ.get("LANG", "C.UTF-8")}
        command = [sys.executable, str(self.tree / "tools" / "setup.py")]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def set_up(self) -> tuple[int, str]:
        process = self.begin()
        output, errors = process.communicate(timeout=60)
        return process.returncode, output + errors

    def times(self, program: str) -> int:
        log = self.programs / f"{program}.log"
        return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_everything_is_done_once_and_the_build_leaves_only_daprd(machine: Machine) -> None:
    code, said = machine.set_up()
    assert code == 0, said
    assert "built in" in said

    assert machine.set_up() == (0, "")
    assert machine.times("go") == 1
    assert [file.name for file in machine.cache.rglob("*") if file.is_file()] == ["build.lock", "daprd"]


def test_another_lock_installs_again(machine: Machine) -> None:
    machine.set_up()
    before = machine.times("uv")

    (machine.tree / "requirements.lock").write_text("other")
    machine.set_up()

    assert machine.times("uv") > before


def test_two_set_ups_at_once_build_once(machine: Machine) -> None:
    machine.install("go", GO.replace("echo built", "sleep 0.5; echo built"))

    both = [machine.begin(), machine.begin()]

    for process in both:
        assert process.communicate(timeout=60) is not None
        assert process.returncode == 0
    assert machine.times("go") == 1


def test_a_failed_build_says_the_compiler_s_words_and_leaves_nothing(machine: Machine) -> None:
    machine.install("go", GO.replace("echo daprd", "echo './main.go:3: undefined: x' >&2; exit 1; echo"))

    code, said = machine.set_up()

    assert code == 2
    assert "step `daprd` failed: the build ended with 1" in said
    assert "./main.go:3: undefined: x" in said
    assert "downloading" not in said.split("failed:")[1]
    assert not list(machine.cache.rglob("build-*"))


def test_a_failed_installation_says_what_uv_said_and_what_to_do(machine: Machine) -> None:
    machine.install("uv", "echo 'no route to the index' >&2; exit 1")

    code, said = machine.set_up()

    assert code == 2
    assert "step `environment` failed" in said
    assert "no route to the index" in said
    assert "What to do:" in said


def test_an_installed_daprd_of_another_version_is_said_and_passed_over(machine: Machine) -> None:
    machine.install("daprd", "echo 1.14.4")

    code, said = machine.set_up()

    assert code == 0
    assert "expected version 1.18.x" in said
    assert machine.times("go") == 1


def test_an_installed_daprd_that_fits_saves_the_build(machine: Machine) -> None:
    machine.install("daprd", "echo 1.18.1; exit\n# components-contrib/nameresolution/nameformat.")

    code, said = machine.set_up()

    assert code == 0
    assert "without JetStream" in said
    assert machine.times("go") == 0

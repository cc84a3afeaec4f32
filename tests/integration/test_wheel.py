"""The kernel's wheel, installed alone: the example of docs/testing.md runs in an empty folder that sees no service and no projection."""

import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.parts import REPOSITORY

_BLOCK = re.compile(r"```python\n# (\w+\.py)\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and beside it what the wheel depends on: installed already, nothing is fetched."""
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys, hatchling.build as b; print(b.build_wheel(sys.argv[1]))"
    wheel = run(sys.executable, "-c", build, str(folder), cwd=REPOSITORY).split()[-1]
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    site = Path(run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    run(sys.executable, "-m", "zipfile", "-e", str(folder / wheel), str(site))
    # the editable install of this repository is a .pth file there, and .pth files count only in a site folder of its own
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The files of the page, written out."""
    files = _BLOCK.findall((REPOSITORY / "docs" / "testing.md").read_text())
    assert [name for name, _ in files] == ["hits.py", "test_hits.py"]
    for name, text in files:
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_example_of_the_page_runs_from_the_wheel_alone(python: Path, example: Path) -> None:
    out = run(str(python), "-m", "pytest", "-q", "-W", "error", "-p", "sidestream.pytest_plugin", "--schedules", "50", ".", cwd=example)
    assert "2 passed" in out


def test_the_wheel_holds_the_kernel_and_nothing_of_the_business(python: Path, tmp_path: Path) -> None:
    business = ("events", "services", "projections")
    ask = f"import sidestream, importlib.util as u; print(sidestream.__file__, [name for name in {business} if u.find_spec(name)])"
    found = run(str(python), "-c", ask, cwd=tmp_path)
    assert str(python.parent.parent) in found
    assert found.endswith("[]\n")


def test_a_rule_that_is_wrong_fails_with_the_smallest_schedule(python: Path, example: Path) -> None:
    hits = example / "hits.py"
    hits.write_text(hits.read_text().replace("page.views + 1", "int(envelope.id[2:])"))
    done = subprocess.run(
        [str(python), "-m", "pytest", "-q", "-p", "sidestream.pytest_plugin", "."], cwd=example, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "hits does not survive this schedule:" in done.stdout
    assert "is not the fold of the history" in done.stdout

"""Importing an app: the command is at fault where its module is not there, the code in every other case."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidestream.cli.bootstraps import NoSuchModule, asked, bootstrap_of
from sidestream.cli.stores import kept
from sidestream.errors import ConfigurationError
from sidestream.launcher.runfile import App, read
from tests.unit.cli.run_files import a_run_file, same_path

__all__ = ["same_path"]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_path: None) -> Iterator[App]:
    """An app `parlour.hall` whose package is there and whose bootstrap a test writes."""
    (tmp_path / "parlour" / "hall").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield read(a_run_file(tmp_path, "parlour.hall")).apps[0].model_copy(update={"folder": tmp_path})
    for name in [name for name in sys.modules if name.partition(".")[0] == "parlour"]:
        del sys.modules[name]


def write(app: App, source: bytes) -> None:
    (app.folder / "parlour/hall/bootstrap.py").write_bytes(source)
    importlib.invalidate_caches()


def fault(app: App, source: bytes) -> str:
    """Write a bootstrap and return how its import is refused."""
    write(app, source)
    with pytest.raises(ConfigurationError) as refused:
        bootstrap_of(app)
    assert not isinstance(refused.value, NoSuchModule)
    return str(refused.value)


def test_a_bootstrap_is_imported(app: App) -> None:
    write(app, b"STORE = 'hall'\n")
    assert bootstrap_of(app).STORE == "hall"


def test_a_module_that_the_command_names_and_that_is_not_there_is_the_fault_of_the_command(app: App, tmp_path: Path) -> None:
    missing = (
        "app hall: expected a module parlour.hall.bootstrap: No module named 'parlour.hall.bootstrap'. Correct the command in dapr.yaml."
    )
    with pytest.raises(NoSuchModule, match=f"^{re.escape(missing)}$"):
        bootstrap_of(app)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(NoSuchModule, match=r"No module named 'nowhere'\. Correct the command"):
        bootstrap_of(read(a_run_file(tmp_path / "elsewhere", "nowhere.hall")).apps[0])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (b"\nimport parlour.cellar\n", "parlour/hall/bootstrap.py:2: ModuleNotFoundError: No module named 'parlour.cellar'"),
        (b"import parlour.hall.bootstrapping\n", "bootstrap.py:1: ModuleNotFoundError: No module named 'parlour.hall.bootstrapping'"),
        (b"from json import nothing\n", "parlour/hall/bootstrap.py:1: ImportError: cannot import name 'nothing'"),
        (b"import json\njson.loads('[')\n", "parlour/hall/bootstrap.py:2: JSONDecodeError: Expecting value"),
        (b"a = 1\ndef f(:\n", "parlour/hall/bootstrap.py:2: SyntaxError: invalid syntax. Correct it there."),
        (b"a = '\xff'\n", "parlour/hall/bootstrap.py:"),
        (b"a = '\0'\n", "SyntaxError: source code string cannot contain null bytes. Correct it there."),
        (b"raise RuntimeError\n", "parlour/hall/bootstrap.py:1: RuntimeError. Correct"),
    ],
)
def test_a_module_that_is_there_and_fails_is_said_by_its_line_and_not_laid_on_the_command(app: App, source: bytes, said: str) -> None:
    found = fault(app, source)
    assert found.startswith("app hall: parlour.hall.bootstrap cannot be imported: ")
    assert said in found
    assert found.endswith(" Correct it there. An event that was released is kept: only stop writing it.")


def test_what_is_raised_on_purpose_says_it_itself(app: App) -> None:
    with pytest.raises(ConfigurationError, match=r"^as it is$"), asked(app, "fails: "):
        raise ConfigurationError("as it is")


def test_the_verbs_of_stores_say_the_same(tmp_path: Path, same_path: None) -> None:
    with pytest.raises(NoSuchModule, match="Correct the command"), kept(a_run_file(tmp_path, "services.nowhere"), None):
        pass

"""A small system in a folder of its own, which is changed between two calls of `sidestream schema`."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sidestream.cli.schema import app
from sidestream.errors import ConfigurationError

APP = "  - {{appID: {0}, appDirPath: ., command: {1}, appPort: 80{2}, daprHTTPPort: 81{2}, daprGRPCPort: 82{2}, metricsPort: 83{2}}}\n"
COMMANDS = {name: f"[python, -m, shopping.{name}]" for name in ("shop", "books", "post")} | {"other": "[sleep, '1']"}
RUN_FILE = "version: 1\napps:\n" + "".join(APP.format(name, command, 10 + at) for at, (name, command) in enumerate(COMMANDS.items()))
EVENTS = '''
import msgspec
from sidestream.registry import Category, EventType, Registry

class Placed(msgspec.Struct, frozen=True):
    """An order was placed."""
    buyer: str
    cents: int

ORDERS = Category("order", "orders", "/shopping/shop", (EventType("order.placed", Placed),))

def registry():
    return Registry([ORDERS])
'''
SHOP = "from shopping.events import registry\n"
BOOKS = """
from shopping.events import Placed, registry
from sidestream.projection import Projection

class Books(Projection):
    name = "books"
    topics = ("orders",)
    handles = (Placed,)
    tables = ()

def projection():
    return Books()
"""
POST = BOOKS.replace("books", "post").replace("(Placed,)", "()")
SAMPLE = {
    "specversion": "1.0",
    "id": "1",
    "source": "/shopping/shop",
    "type": "order.placed",
    "dataschema": "urn:sidestream:order.placed:1",
    "data": {"buyer": "ann", "cents": 5},
}


class System:
    """A folder with a run file, three apps, their language and its sample."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("dapr.yaml", RUN_FILE)
        self.write("shopping/events.py", EVENTS)
        for name, source in (("shop", SHOP), ("books", BOOKS), ("post", POST)):
            self.write(f"shopping/{name}/bootstrap.py", source)
        self.sample(SAMPLE)

    def write(self, path: str, content: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)

    def sample(self, event: dict[str, Any], version: int = 1) -> None:
        self.write(f"tests/golden/events/order.placed.{version}.json", json.dumps(event))

    def change(self, before: str, after: str) -> None:
        changed = (self.folder / "shopping/events.py").read_text().replace(before, after)
        self.write("shopping/events.py", changed)

    def call(self, verb: str, *options: str, code: int = 0) -> Any:
        """Call a verb that ends with this code; return what it printed, as JSON where that was asked for."""
        ended = self.ended(verb, *options)
        if isinstance(ended.exception, ConfigurationError):
            raise ended.exception
        assert ended.exit_code == code, (ended.output, ended.exception)
        return json.loads(ended.stdout) if "--json" in options else ended.output

    def ended(self, verb: str, *options: str) -> Result:
        """Call a verb in a program that has imported nothing yet."""
        forget()
        return CliRunner().invoke(app, [verb, "-f", str(self.folder / "dapr.yaml"), *options])


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "shopping"]:
        del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    before = list(sys.path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a file that changes within a second would be taken for unchanged
    yield System(tmp_path)
    sys.path[:] = before
    forget()

"""Doors of things that exist do what their OpenAPI page says: requests made from the page reach an order, an asset, a poll.

Made from the page alone, a request names a thing that nobody has, and never comes further than 404. Here each path names what
is there, an order in one state after the other, and every second request comes without the headers that would refuse it.
Deterministic: the same requests in every run, but for the ids.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import count, cycle
from pathlib import Path
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.python import asgi

from sidestream.backbone import MemoryBackbone
from sidestream.settings import Settings
from tests.brokers.waiting import wait_until
from tests.e2e.all_apps import BOOTSTRAPS
from tests.e2e.ordering import CANCEL, PAY, PLACE, SHIP
from tests.e2e.test_openapi import CHECKS, DETERMINISTIC, Operation

Client = asgi.ASGIClient

SECONDS: Final = 30.0
STATES: Final[tuple[tuple[tuple[str, dict[str, Any]], ...], ...]] = (
    (),
    (("payment", PAY),),
    (("payment", PAY), ("shipment", SHIP)),
    (("cancellation", CANCEL),),
)
"""What has been done with an order before it is asked for: nothing, paid, shipped, cancelled."""
REACHED: Final = {200, 201, 202, 204, 304, 409, 412}
"""An answer that only a thing can give that is there."""


class Things:
    """One of each kind, and orders without end."""

    def __init__(self, doors: Mapping[str, Client], root: Path) -> None:
        self._doors = doors
        self._states = cycle(STATES)
        scan = doors["assets"].post("/scans", json={"path": str(root)}).json()["id"]
        doors["votes"].post("/votes", json={"poll": "pets", "option": "cats", "voter": "ann"})
        shipped = self._order((("payment", PAY),))
        asset = self._wait("asset-catalog", "/assets", lambda found: found["assets"])["assets"][0]["id"]
        self._wait("tally", "/polls/pets/ballots/ann")
        self._wait("shipping", f"/shipments/{shipped}")
        self._wait("order-book", f"/orders/{shipped}")
        found = {"scan": scan, "asset": asset, "id": asset, "word": "good"}
        self._same = found | {"poll": "pets", "voter": "ann", "order": shipped, "line": "1"}

    def of(self, app: str, names: Mapping[str, Any]) -> dict[str, Any]:
        """Return values for the parameters of a path; of the service's orders always another one."""
        fresh = {"order": self._order(next(self._states))} if app == "orders" and "order" in names else {}
        return {name: (self._same | fresh)[name] for name in names}

    def _order(self, done: tuple[tuple[str, dict[str, Any]], ...]) -> str:
        orders = self._doors["orders"]
        order = str(orders.post("/orders", json=PLACE).json()["order"])
        for what, body in done:
            assert orders.post(f"/orders/{order}/{what}", json=body).status_code == 200
        return order

    def _wait(self, app: str, path: str, is_there: Any = bool) -> Any:
        found: list[Any] = []

        def is_answered() -> bool:
            answer = self._doors[app].get(path)
            found[:] = [answer.json()] if answer.status_code == 200 else []
            return bool(found and is_there(found[0]))

        wait_until(is_answered, SECONDS)
        return found[0]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("root")
    (root / "one.py").write_text("print(1)\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIDESTREAM_ASSET_ROOTS", str(root))
        yield root


@pytest.fixture(scope="module")
def doors(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Client]]:
    data, backbone = tmp_path_factory.mktemp("data"), MemoryBackbone()
    with ExitStack() as stack:
        apps = {name: module.create_app(Settings(data=data, sweep_seconds=0.2), backbone) for name, module in BOOTSTRAPS.items()}
        yield {name: stack.enter_context(asgi.get_client(app)) for name, app in apps.items()}


@pytest.fixture(scope="module")
def things(doors: Mapping[str, Client], root: Path) -> Things:
    return Things(doors, root)


@pytest.mark.parametrize("name", [name for name in BOOTSTRAPS if name not in ("votes", "bridge", "activity")])
def test_a_thing_that_is_there_is_reached_and_every_answer_is_declared(name: str, doors: Mapping[str, Client], things: Things) -> None:
    reached = {}
    for found in schemathesis.openapi.from_asgi("/openapi.json", doors[name].app).get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        if "{" in operation.path:
            reached[operation.label] = ask(operation, name, things, doors[name])
    assert reached
    assert not [label for label, statuses in reached.items() if not statuses & REACHED], reached


def ask(operation: Operation, name: str, things: Things, client: Client) -> set[int]:
    """Ask in several ways; return with what statuses it was answered."""
    statuses = set()
    turn = count()

    @settings(phases=[Phase.generate], suppress_health_check=list(HealthCheck), deadline=None, **DETERMINISTIC)
    @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    def one_way(case: Any) -> None:
        case.path_parameters = things.of(name, case.path_parameters)
        if next(turn) % 2:
            case.headers = None
        statuses.add(case.call_and_validate(session=client, checks=CHECKS).status_code)

    one_way()
    return statuses

"""What the tests of the orders service share: the bodies of its commands, and a first order."""

from typing import Any

from sidestream.adapters.memory_events import MemoryEventStore
from sidestream.backbone import MemoryBackbone
from tests.e2e.write_side import WriteSide

TEA = {"article": "tea", "quantity": 3, "unit_minor": 450}
POT = {"article": "pot", "quantity": 1, "unit_minor": 2500}
PLACE: Any = {"customer": "ada", "currency": "EUR", "lines": [TEA]}
PAY = {"amount_minor": 1350, "currency": "EUR", "reference": "pay-1"}
SHIP = {"carrier": "post", "tracking": "P-1"}
CANCEL = {"reason": "changed her mind"}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def placed(side: WriteSide, **headers: str) -> str:
    answer = await side.client.post("/orders", json=PLACE, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["order"])


def code_of(problem: dict[str, Any]) -> str:
    return str(problem["type"]).removeprefix("urn:sidestream:problem:")


class Backstage(MemoryBackbone):
    """The memory backbone with a store of the test's own."""

    def __init__(self, store: MemoryEventStore) -> None:
        super().__init__()
        self._stores["orders"] = store

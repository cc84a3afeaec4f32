"""The orders of the demonstration: made up, the same in every run, each command under a key of its own, so that a second
run opens none twice. What must come out is worked out here, without any event.
"""

import random
from collections import Counter
from typing import Any, Final

import msgspec

from services.demo.doors import Doors

SEED: Final = 2001
ORDERS: Final = 20
_ARTICLES: Final = (("green tea", 450), ("black tea", 390), ("tea pot", 2_500), ("cup", 790))
_CUSTOMERS: Final = ("ada", "barbara", "edsger", "grace", "linus", "tony")


class PlannedOrder(msgspec.Struct, frozen=True):
    """What will become of one order: `paid` ones are shipped by the shipping service; nobody asks for it here."""

    number: int
    customer: str
    lines: tuple[dict[str, Any], ...]
    fate: str

    @property
    def total_minor(self) -> int:
        """What the lines cost."""
        return sum(line["quantity"] * line["unit_minor"] for line in self.lines)


def plan_orders() -> tuple[PlannedOrder, ...]:
    """Return the orders: most are paid, some are cancelled before they are, some stay open."""
    chance = random.Random(SEED)  # noqa: S311 - a play, not a secret
    return tuple(_planned(chance, number) for number in range(1, ORDERS + 1))


def _planned(chance: random.Random, number: int) -> PlannedOrder:
    chosen = chance.sample(_ARTICLES, chance.randint(1, 3))
    lines = tuple({"article": name, "quantity": chance.randint(1, 5), "unit_minor": price} for name, price in chosen)
    fate = chance.choices(("paid", "cancelled", "open"), (7, 2, 1))[0]
    return PlannedOrder(number, chance.choice(_CUSTOMERS), lines, fate)


async def play_orders(doors: Doors, planned: tuple[PlannedOrder, ...]) -> dict[str, PlannedOrder]:
    """Place, pay and cancel; return what was planned by the id of each order."""
    found = {}
    for plan in planned:
        order = await _play(doors, plan)
        found[order] = plan
    return found


async def _play(doors: Doors, plan: PlannedOrder) -> str:
    key = f"demo-{SEED}-{plan.number}"
    placed = {"customer": plan.customer, "currency": "EUR", "lines": list(plan.lines)}
    order = str((await doors.post("orders", "/orders", placed, key=key)).json()["order"])
    if plan.fate == "paid":
        payment = {"amount_minor": plan.total_minor, "currency": "EUR", "reference": f"demo-{plan.number}"}
        await doors.post("orders", f"/orders/{order}/payment", payment, key=key)
    elif plan.fate == "cancelled":
        await doors.post("orders", f"/orders/{order}/cancellation", {"reason": "changed my mind"}, key=key)
    return order


def expected_states(planned: tuple[PlannedOrder, ...]) -> Counter[str]:
    """Return how many orders end in which state."""
    return Counter("shipped" if plan.fate == "paid" else plan.fate for plan in planned)


async def found_states(doors: Doors, orders: dict[str, PlannedOrder]) -> Counter[str]:
    """Return in which state the order book shows these orders; one that it does not know yet is `unknown`."""
    shown = {row["order"]: row["state"] for state in ("open", "paid", "shipped", "cancelled") for row in await _listed(doors, state)}
    return Counter(shown.get(order, "unknown") for order in orders)


async def _listed(doors: Doors, state: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await doors.get("order_book", "/orders", state=state, limit=1000))["orders"]
    return rows

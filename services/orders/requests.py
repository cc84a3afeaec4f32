"""What comes in at the doors of the orders service, and what goes out."""

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from services.orders.commands import NewLine
from services.orders.order import MOST_LINES, Order, OrderState
from sidestream.web.malformed import worded
from sidestream.web.places import Place

MOST_QUANTITY: Final = 10_000
MOST_UNIT_MINOR: Final = 100_000_000
"""So that no order costs more than 10^14, and a day of 90,000 such orders still fits a database's bigint."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _visible(text: str) -> str:
    if _CONTROL.search(text) or not text.strip():
        raise ValueError("expected text that can be seen, without control characters")
    return text


Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_visible)]
Article = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_visible)]
_THREE_LETTERS: Final = worded(re.compile("[A-Z]{3}").fullmatch, "three capital letters as in ISO 4217", "Send a code like EUR.")
Currency = Annotated[
    str, _THREE_LETTERS, Field(description="three capital letters as in ISO 4217", json_schema_extra={"pattern": "^[A-Z]{3}$"})
]


def _example(**members: JsonValue) -> ConfigDict:
    return ConfigDict(extra="forbid", strict=True, json_schema_extra={"example": members})


# ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

_TEA: Final[dict[str, JsonValue]] = {"article": "green tea", "quantity": 3, "unit_minor": 450}


class LineRequest(BaseModel):
    """So many of one article."""

    model_config = _example(**_TEA)

    article: Article
    quantity: int = Field(ge=1, le=MOST_QUANTITY)
    unit_minor: int = Field(ge=0, le=MOST_UNIT_MINOR, description="price of one, in the currency's smallest unit")

    def line(self) -> NewLine:
        """Return it as the command wants it."""
        return NewLine(self.article, self.quantity, self.unit_minor)


class PlaceRequest(BaseModel):
    """Open an order."""

    model_config = _example(customer="ada", currency="EUR", lines=[_TEA])

    customer: Name
    currency: Currency
    lines: list[LineRequest] = Field(default=[], max_length=MOST_LINES)


class PaymentRequest(BaseModel):
    """Pay the total."""

    model_config = _example(amount_minor=1350, currency="EUR", reference="pay-4711")

    amount_minor: int = Field(ge=0, le=MOST_LINES * MOST_QUANTITY * MOST_UNIT_MINOR, description="the total of the lines, to the cent")
    currency: Currency
    reference: Name = Field(description="what the payment is known by at whoever took it")


class ShipmentRequest(BaseModel):
    """Send the parcel."""

    model_config = _example(carrier="parcel post", tracking="PP-4711")

    carrier: Name
    tracking: Name


class CancellationRequest(BaseModel):
    """Call the order off."""

    model_config = _example(reason="changed her mind")

    reason: Name


# ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


class LineAnswer(BaseModel):
    """A line of an order."""

    line: int = Field(description="its number; DELETE /orders/{order}/lines/{line}")
    article: str
    quantity: int
    unit_minor: int
    amount_minor: int


class OrderAnswer(BaseModel):
    """An order as its events left it."""

    order: str
    state: OrderState
    customer: str
    currency: str
    lines: list[LineAnswer]
    total_minor: int
    paid_minor: int
    carrier: str | None
    tracking: str | None
    reason: str | None = Field(description="why it was cancelled")
    version: int = Field(description="the version of its stream; ETag says the same")


class CommandAnswer(OrderAnswer):
    """An order after a command, and the events of that command."""

    consistency: list[Place]


def describe(identifier: str, order: Order, version: int) -> dict[str, Any]:
    """Return the members of an `OrderAnswer`."""
    lines = [{name: getattr(line, name) for name in LineAnswer.model_fields} for line in order.lines]
    return {
        "order": identifier,
        "state": order.state,
        "customer": order.customer,
        "currency": order.currency,
        "lines": lines,
        "total_minor": order.total_minor,
        "paid_minor": order.paid_minor,
        "carrier": order.carrier or None,
        "tracking": order.tracking or None,
        "reason": order.reason or None,
        "version": version,
    }

"""The doors of the orders service. Every one of them is a command, but the one that shows an order."""

import re
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Depends, Path, Request, Response

from events.orders import OrderEvent
from services.orders.commands import AddLine, CancelOrder, OrderCommand, PayOrder, PlaceOrder, RemoveLine, ShipOrder
from services.orders.order import Order
from services.orders.requests import (
    CancellationRequest,
    CommandAnswer,
    LineRequest,
    OrderAnswer,
    PaymentRequest,
    PlaceRequest,
    ShipmentRequest,
    describe,
)
from sidestream.errors import UnknownAggregate
from sidestream.identifiers import new_id, now
from sidestream.web.commands import Asked, Commanded, Commands, Reply, command_responses, etag
from sidestream.web.openapi import problems
from sidestream.writing.repository import Decided, Repository

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class OrdersDesk(msgspec.Struct, frozen=True):
    """What the doors work with."""

    repository: Repository[Order, OrderCommand, OrderEvent]
    commands: Commands


def _desk(request: Request) -> OrdersDesk:
    desk: OrdersDesk = request.app.state.desk
    return desk


Desk = Annotated[OrdersDesk, Depends(_desk)]
LineNumber = Annotated[int, Path(ge=1, le=1_000_000_000)]
router = APIRouter()


@router.post("/orders", status_code=201, response_model=CommandAnswer, responses=command_responses(201))
def place_order(asked: PlaceRequest, desk: Desk, said: Commanded) -> Response:
    """Open an order. Send an Idempotency-Key: without one a repeat opens another order."""
    lines = tuple(line.line() for line in asked.lines)
    return _carry_out(desk, new_id(), PlaceOrder(asked.customer, asked.currency, lines), said, status=201)


@router.post("/orders/{order}/lines", status_code=201, response_model=CommandAnswer, responses=command_responses(201, 404))
def add_line(order: str, asked: LineRequest, desk: Desk, said: Commanded) -> Response:
    """Add a line to an open order."""
    return _carry_out(desk, order, AddLine(asked.line()), said, status=201)


@router.delete("/orders/{order}/lines/{line}", response_model=CommandAnswer, responses=command_responses(200, 404))
def remove_line(order: str, line: LineNumber, desk: Desk, said: Commanded) -> Response:
    """Take a line off an open order."""
    return _carry_out(desk, order, RemoveLine(line), said)


@router.post("/orders/{order}/payment", response_model=CommandAnswer, responses=command_responses(200, 404))
def pay_order(order: str, asked: PaymentRequest, desk: Desk, said: Commanded) -> Response:
    """Pay an order: the total, in one payment. Then it is shipped, without being asked for."""
    return _carry_out(desk, order, PayOrder(asked.amount_minor, asked.currency, asked.reference, now()), said)


@router.post("/orders/{order}/shipment", response_model=CommandAnswer, responses=command_responses(200, 404))
def ship_order(order: str, asked: ShipmentRequest, desk: Desk, said: Commanded) -> Response:
    """Send the parcel of a paid order. The shipping service does it."""
    return _carry_out(desk, order, ShipOrder(asked.carrier, asked.tracking), said)


@router.post("/orders/{order}/cancellation", response_model=CommandAnswer, responses=command_responses(200, 404))
def cancel_order(order: str, asked: CancellationRequest, desk: Desk, said: Commanded) -> Response:
    """Call off an order that is not shipped."""
    return _carry_out(desk, order, CancelOrder(asked.reason), said)


@router.get("/orders/{order}", responses=problems(404))
def show_order(order: str, desk: Desk, response: Response) -> OrderAnswer:
    """Show an order as it is now, from its own events; its ETag is for If-Match."""
    _expect_id(order)
    loaded = desk.repository.load(order)
    if not loaded.version:
        raise _unknown(order)
    response.headers["etag"] = etag(loaded.version)
    return OrderAnswer.model_validate(describe(order, loaded.state, loaded.version))


def _carry_out(desk: OrdersDesk, order: str, command: OrderCommand, said: Asked, *, status: int = 200) -> Response:
    _expect_id(order)

    def reply(decided: Decided[Order]) -> Reply:
        identifier = decided.stream.partition("-")[2]
        location = {"location": f"/orders/{identifier}"} if status == 201 else {}
        return Reply(status, describe(identifier, decided.state, decided.version), location)

    return desk.commands.carry_out(desk.repository, order, command, said, reply)


def _expect_id(order: str) -> None:
    if not _UUID.fullmatch(order):
        raise _unknown(order)


def _unknown(order: str) -> UnknownAggregate:
    return UnknownAggregate("unknown-order", f"{order[:80]}: there is no such order. POST /orders opens one.")

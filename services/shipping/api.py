"""The doors of the shipping service: what is due, what went out, what somebody has to look at, and the command to try it again."""

import re
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from events.shipments import ShipmentEvent
from services.shipping.due import SHIPMENTS, UNPAID, Shipment, ShipmentState
from services.shipping.retrying import Attempts, RetryShipment
from sidestream.errors import UnknownAggregate
from sidestream.ports import Condition
from sidestream.web.commands import Commanded, Commands, Reply, command_responses
from sidestream.web.openapi import problems
from sidestream.web.paging import PageQuery, link_next, select_page
from sidestream.web.places import Place
from sidestream.web.problems import ProblemError
from sidestream.web.projections import Live
from sidestream.writing.repository import Decided, Repository

ORDER: Final = ("paid_event", "order")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_WHERE: Final = "GET /shipments?state=refused lists those that can be tried again."


class ShippingDesk(msgspec.Struct, frozen=True):
    """What the door of a command works with."""

    shipments: Repository[Attempts, RetryShipment, ShipmentEvent]
    commands: Commands


def _desk(request: Request) -> ShippingDesk:
    desk: ShippingDesk = request.app.state.desk
    return desk


Desk = Annotated[ShippingDesk, Depends(_desk)]


class ShipmentAnswer(BaseModel):
    """The shipment of one order."""

    model_config = ConfigDict(from_attributes=True)

    order: str
    state: ShipmentState
    paid_event: str = Field(description="the event that made it due; empty where it never was")
    carrier: str | None
    tracking: str | None
    refused: str = Field(description="why it cannot be shipped; empty otherwise")
    attempt: int = Field(description="how often it was retried after a refusal")


class ShipmentPage(BaseModel):
    """Shipments of one state, the one paid first first."""

    shipments: list[ShipmentAnswer]


class RetryAnswer(BaseModel):
    """A shipment that is tried again."""

    order: str
    state: ShipmentState
    attempt: int = Field(description="how often it was retried, this time included")
    version: int = Field(description="the version of the shipment's stream; ETag says the same")
    consistency: list[Place]


def add_doors(router: APIRouter) -> None:
    """Add the queries and the command to a router."""
    router.add_api_route("/shipments", list_shipments, methods=["GET"])
    router.add_api_route("/shipments/{order}", show_shipment, methods=["GET"], responses=problems(404))
    responses = command_responses(200, 404)
    router.add_api_route("/shipments/{order}/retry", retry_shipment, methods=["POST"], response_model=RetryAnswer, responses=responses)


def list_shipments(
    request: Request,
    response: Response,
    page: PageQuery,
    live: Live,
    state: Annotated[ShipmentState, Query(description="which shipments")] = "due",
) -> ShipmentPage:
    """List the shipments of one state."""
    with live() as reader:
        rows, cursor = select_page(reader, SHIPMENTS, page, where=(Condition("state", "=", state),), order_by=ORDER)
    link_next(request, response, cursor)
    return ShipmentPage(shipments=[ShipmentAnswer.model_validate(row) for row in rows])


def show_shipment(order: str, live: Live) -> ShipmentAnswer:
    """Show the shipment of an order."""
    found = _find(order, live)
    if found.state == UNPAID:
        raise ProblemError(404, f"{order[:80]}: expected an order that was paid or ended, found none.", code="unknown-shipment")
    return ShipmentAnswer.model_validate(found)


def retry_shipment(order: str, desk: Desk, live: Live, said: Commanded) -> Response:
    """Try a refused shipment again: the order is due once more, and is shipped without being asked for again."""
    if not _UUID.fullmatch(order):
        raise UnknownAggregate("unknown-shipment", f"{order[:80]}: expected the id of an order, a UUID, found something else. {_WHERE}")

    def reply(decided: Decided[Attempts]) -> Reply:
        return Reply(200, {"order": order, "state": "due", "attempt": decided.state.retried, "version": decided.version})

    return desk.commands.carry_out(desk.shipments, order, RetryShipment(order, _find(order, live).state), said, reply)


def _find(order: str, live: Live) -> Shipment:
    with live() as reader:
        found: Shipment | None = reader.read(SHIPMENTS, [(order,)]).get((order,))
    return found or Shipment(order)

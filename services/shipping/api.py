"""Queries of the shipping service: what is due, what went out, and what somebody has to look at."""

from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from services.shipping.due import SHIPMENTS, UNPAID, Shipment, ShipmentState
from sidestream.ports import Condition
from sidestream.web.openapi import problems
from sidestream.web.paging import PageQuery, link_next, select_page
from sidestream.web.problems import ProblemError
from sidestream.web.projections import Live

ORDER: Final = ("paid_event", "order")


class ShipmentAnswer(BaseModel):
    """The shipment of one order."""

    model_config = ConfigDict(from_attributes=True)

    order: str
    state: ShipmentState
    paid_event: str = Field(description="the event that made it due; empty where it never was")
    carrier: str | None
    tracking: str | None
    refused: str = Field(description="why it cannot be shipped; empty otherwise")


class ShipmentPage(BaseModel):
    """Shipments of one state, the one paid first first."""

    shipments: list[ShipmentAnswer]


def add_queries(router: APIRouter) -> None:
    """Add the queries to a router."""
    router.add_api_route("/shipments", list_shipments, methods=["GET"])
    router.add_api_route("/shipments/{order}", show_shipment, methods=["GET"], responses=problems(404))


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
    with live() as reader:
        found: Shipment | None = reader.read(SHIPMENTS, [(order,)]).get((order,))
    if found is None or found.state == UNPAID:
        raise ProblemError(404, f"{order[:80]}: expected an order that was paid or ended, found none.", code="unknown-shipment")
    return ShipmentAnswer.model_validate(found)

"""Queries of the order book."""

from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from projections.order_book.projection import LINES, ORDERS, REVENUE, STEPS
from sidestream.ports import Condition, Reader
from sidestream.ports import Query as RowQuery
from sidestream.web.openapi import problems
from sidestream.web.paging import PageQuery, link_next, select_page
from sidestream.web.problems import ProblemError
from sidestream.web.projections import Live

router: Final = APIRouter(tags=["order book"])
State = Literal["open", "paid", "shipped", "cancelled"]
Day = Annotated[str | None, Query(pattern="^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$", description="a UTC day like 2026-11-21")]
_MOST_LINES: Final = 1000


class OrderLine(BaseModel):
    """An order in a list."""

    model_config = ConfigDict(from_attributes=True)

    order: str
    state: State
    customer: str
    currency: str
    lines: int = Field(description="how many lines it has")
    total_minor: int
    paid_minor: int
    placed_at: str
    changed_at: str
    paid_on: str = Field(description="UTC day of the payment; empty before")
    version: int = Field(description="the version of its stream that this is")


class OrderPage(BaseModel):
    """Orders by id, which is the order in which they were placed."""

    orders: list[OrderLine]


class Article(BaseModel):
    """A line of an order."""

    model_config = ConfigDict(from_attributes=True)

    line: int
    article: str
    quantity: int
    unit_minor: int


class OrderAnswer(OrderLine):
    """An order with its lines."""

    articles: list[Article]


class StepAnswer(BaseModel):
    """One event of an order."""

    version: int
    type: str
    time: str
    event_id: str
    correlation_id: str | None
    causation_id: str | None
    data: dict[str, Any]


class History(BaseModel):
    """The events of an order, from the first on."""

    order: str
    events: list[StepAnswer]


class RevenueLine(BaseModel):
    """What was earned on a day in a currency."""

    model_config = ConfigDict(from_attributes=True)

    day: str
    currency: str
    orders: int = Field(description="orders paid on this day and not cancelled since")
    amount_minor: int


class RevenuePage(BaseModel):
    """Days, the first one first."""

    revenue: list[RevenueLine]


@router.get("/orders")
def list_orders(
    request: Request,
    response: Response,
    page: PageQuery,
    live: Live,
    state: Annotated[State | None, Query(description="only orders in this state")] = None,
) -> OrderPage:
    """List orders, the one placed first first."""
    where = () if state is None else (Condition("state", "=", state),)
    with live() as reader:
        rows, cursor = select_page(reader, ORDERS, page, where=where, order_by=("order",))
    link_next(request, response, cursor)
    return OrderPage(orders=[OrderLine.model_validate(row) for row in rows])


@router.get("/orders/{order}", responses=problems(404))
def show_order(order: str, live: Live) -> OrderAnswer:
    """Show an order with its lines."""
    with live() as reader:
        row = _order(reader, order)
        lines = reader.select(LINES, RowQuery((Condition("order", "=", order),), ("line",), limit=_MOST_LINES))
    articles = [Article.model_validate(line) for line in lines]
    return OrderAnswer(**OrderLine.model_validate(row).model_dump(), articles=articles)


@router.get("/orders/{order}/history", responses=problems(404))
def show_history(request: Request, response: Response, order: str, page: PageQuery, live: Live) -> History:
    """Show everything that happened to an order, in its order."""
    with live() as reader:
        _order(reader, order)
        rows, cursor = select_page(reader, STEPS, page, where=(Condition("order", "=", order),), order_by=("version",))
    link_next(request, response, cursor)
    steps = [
        StepAnswer(
            version=row.version,
            type=row.type,
            time=row.time,
            event_id=row.event_id,
            correlation_id=row.correlationid,
            causation_id=row.causationid,
            data=msgspec.json.decode(row.data),
        )
        for row in rows
    ]
    return History(order=order, events=steps)


@router.get("/revenue")
def list_revenue(
    request: Request,
    response: Response,
    page: PageQuery,
    live: Live,
    *,
    since: Day = None,
    until: Day = None,
    currency: Annotated[str | None, Query(pattern="^[A-Z]{3}$")] = None,
) -> RevenuePage:
    """List what was earned per UTC day and currency, from a day on, up to a day."""
    where = [Condition("currency", "=", currency)] if currency else []
    where += [Condition("day", ">=", since)] if since else []
    where += [Condition("day", "<=", until)] if until else []
    with live() as reader:
        rows, cursor = select_page(reader, REVENUE, page, where=tuple(where), order_by=("day", "currency"))
    link_next(request, response, cursor)
    return RevenuePage(revenue=[RevenueLine.model_validate(row) for row in rows])


def _order(reader: Reader, order: str) -> Any:
    found = reader.read(ORDERS, [(order,)]).get((order,))
    if found is None:
        raise ProblemError(404, f"Expected an order, found none of the id {order[:80]!a}. GET /orders lists them.", code="unknown-order")
    return found

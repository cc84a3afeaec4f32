"""Queries of the activity. Data stands in an answer as it came, number by number: it is never decoded on the way."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from projections.activity.projection import KEPT, KEY, ORDER, TIMED, UNTIMED, Happening
from projections.activity.times import utc_text
from sidestream.ports import Condition, Reader
from sidestream.ports import Query as RowQuery
from sidestream.web.openapi import problems
from sidestream.web.paging import Page, PageQuery, decode_cursor, encode_cursor, link_next, select_page
from sidestream.web.problems import ProblemError
from sidestream.web.projections import Live

router: Final = APIRouter(tags=["activity"])

Conditions = tuple[Condition, ...]
_MOST_OF_ONE_ID: Final = 100
_LONGEST_TIME: Final = 64


class EventLine(BaseModel):
    """An event as it came. Attributes that it did not have are left out."""

    source: str
    id: str
    type: str
    subject: str | None = None
    time: str | None = Field(None, description="in UTC, nine digits after the second; left out where the event told none")
    time_given: str | None = Field(None, description="the time as it came")
    datacontenttype: str | None = None
    dataschema: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    data: Any = Field(None, description="as it came")
    data_base64: str | None = None


class EventPage(BaseModel):
    """Events, the newest first; those that tell no time come last."""

    events: list[EventLine]


def read_conditions(
    *,
    type: Annotated[str | None, Query(description="order.placed")] = None,  # noqa: A002 - the parameter's name
    source: Annotated[str | None, Query(description="/services/votes")] = None,
    subject: Annotated[str | None, Query(description="the stream")] = None,
    since: Annotated[str | None, Query(max_length=_LONGEST_TIME, description="RFC 3339; events of that time and later")] = None,
) -> Conditions:
    """Read the parameters of `GET /events`."""
    asked = (
        Condition("type", "=", type),
        Condition("source", "=", source),
        Condition("subject", "=", subject),
        Condition("time", ">=", _moment(since)),
    )
    return tuple(condition for condition in asked if condition.value is not None)


def _moment(since: str | None) -> str | None:
    if since is None:
        return None
    moment = utc_text(since)
    if moment is None:
        detail = f"since: expected an RFC 3339 time such as 2026-11-20T09:30:00Z, found {since!r}. In a URL a plus sign is written %2B."
        raise ProblemError(400, detail, code="invalid-time")
    return moment


@router.get("/events", response_model=EventPage)
def list_events(request: Request, conditions: Annotated[Conditions, Depends(read_conditions)], page: PageQuery, live: Live) -> Response:
    """List the newest events across all topics. Those that tell no time come last, and never where `since` is given."""
    with live() as reader:
        rows, cursor = _page(reader, page, conditions)
    response = _answer(rows)
    link_next(request, response, cursor)
    return response


@router.get("/events/by-id", response_model=EventPage, responses=problems(404))
def show_event(source: str, id: str, live: Live) -> Response:  # noqa: A002 - the parameter's name
    """Show the event with this source and id: one, unless its writer made several."""
    query = RowQuery((Condition("source", "=", source), Condition("event_id", "=", id)), KEY, limit=_MOST_OF_ONE_ID)
    with live() as reader:
        rows = [*reader.select(TIMED, query), *reader.select(UNTIMED, query)]
    if not rows:
        detail = f"Expected an event {id!r} of {source!r}, found none among the newest {KEPT}. Older ones are in the log."
        raise ProblemError(404, detail, code="unknown-event")
    return _answer(rows)


def _page(reader: Reader, page: Page, where: Conditions) -> tuple[Sequence[Happening], str | None]:
    """Return a page of both tables as if they were one, ordered by time: an empty time is before every other."""
    timed: Sequence[Happening] = ()
    if page.cursor is None or decode_cursor(page.cursor, len(ORDER))[0] != "":
        timed, cursor = select_page(reader, TIMED, page, order_by=ORDER, where=where, descending=True)
        if cursor is not None:
            return timed, cursor
        page = Page(page.limit - len(timed))
    if not page.limit:
        return timed, _cursor_behind(timed[-1]) if reader.count(UNTIMED, where) else None
    untimed, cursor = select_page(reader, UNTIMED, page, order_by=ORDER, where=where, descending=True)
    return [*timed, *untimed], cursor


def _cursor_behind(row: Happening) -> str:
    return encode_cursor([getattr(row, name) for name in ORDER])


def _answer(rows: Iterable[Happening]) -> Response:
    return Response(msgspec.json.encode({"events": [_line(row) for row in rows]}), media_type="application/json")


def _line(row: Happening) -> dict[str, object]:
    line: dict[str, object] = {"source": row.source, "id": row.event_id, "type": row.type}
    optional = ("subject", "time_given", "datacontenttype", "dataschema", "correlationid", "causationid", "data_base64")
    line.update((name, value) for name in optional if (value := getattr(row, name)) is not None)
    if row.time:
        line["time"] = row.time
    if row.data is not None:
        line["data"] = msgspec.Raw(row.data.encode())
    return line

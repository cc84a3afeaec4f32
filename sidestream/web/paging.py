"""Paging: `limit` and an opaque `cursor`; the next page stands in `Link: <…>; rel="next"`.

A cursor holds the values of the last row that the order is by. It is text from a client: whatever it says is checked
against the types of these columns before it comes near a database.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeVar

import msgspec
from fastapi import Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from sidestream import ports
from sidestream.projection import Column, Table
from sidestream.web.problems import ProblemError

Row = TypeVar("Row", bound=msgspec.Struct)

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000
MAX_CURSOR: Final = 4096

_PYTHON_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "text": (str,),
    "integer": (int,),
    "real": (float, int),
    "boolean": (bool,),
    "bytes": (),
}


class Page(msgspec.Struct, frozen=True):
    """What a client asks for: so many rows, after this cursor."""

    limit: int = DEFAULT_LIMIT
    cursor: str | None = None


def read_page(
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="most rows of a page")] = DEFAULT_LIMIT,
    cursor: Annotated[str | None, Query(max_length=MAX_CURSOR, description="as found in the Link header of the page before")] = None,
) -> Page:
    """Read the two parameters."""
    return Page(limit, cursor)


PageQuery = Annotated[Page, Depends(read_page)]
"""Declare a parameter of this type and the route takes `limit` and `cursor`."""


def select_page(
    reader: ports.Reader,
    table: Table[Row],
    page: Page,
    *,
    order_by: tuple[str, ...],
    where: tuple[ports.Condition, ...] = (),
    descending: bool = False,
) -> tuple[Sequence[Row], str | None]:
    """Return the rows of a page and the cursor of the next one, None on the last.

    Args:
        reader: one consistent moment of a read model.
        table: where to look.
        page: which page.
        order_by: columns that are never empty, ending with the key so that the order is total.
        where: conditions that all hold.
        descending: newest or greatest first.

    Raises:
        ProblemError: 400, the cursor is not one of ours.
    """
    columns = [next(column for column in table.columns if column.name == name) for name in order_by]
    after = _values(page.cursor, columns)
    rows = reader.select(table, ports.Query(where, order_by, descending, after, page.limit + 1))
    if len(rows) <= page.limit:
        return rows, None
    rows = rows[: page.limit]
    return rows, encode_cursor([getattr(rows[-1], name) for name in order_by])


def _values(cursor: str | None, columns: Sequence[Column]) -> tuple[Any, ...] | None:
    if cursor is None:
        return None
    values = decode_cursor(cursor, len(columns))
    for value, column in zip(values, columns, strict=True):
        fits = type(value) in _PYTHON_TYPES[column.type] and (not isinstance(value, int) or -(2**63) <= value < 2**63)
        if not fits:
            raise forged_cursor()
    return values


def encode_cursor(values: Sequence[Any]) -> str:
    """Return values as a cursor."""
    return base64.urlsafe_b64encode(msgspec.json.encode(values)).decode().rstrip("=")


def decode_cursor(cursor: str, length: int) -> tuple[Any, ...]:
    """Return the values of a cursor; their types are for the caller to check.

    Raises:
        ProblemError: 400, it is not a cursor of so many values.
    """
    try:
        encoded = base64.b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        values: tuple[Any, ...] = msgspec.json.decode(encoded, type=tuple[Any, ...])
    except (binascii.Error, ValueError, RecursionError, msgspec.DecodeError):
        raise forged_cursor() from None
    if len(values) != length:
        raise forged_cursor()
    return values


def forged_cursor() -> ProblemError:
    """Return the problem of a cursor that no page gave out."""
    detail = "cursor: expected one from the Link header of a page before. Take it as it stands, or leave it out for the first page."
    return ProblemError(400, detail, code="invalid-cursor")


def link_next(request: Request, response: Response, cursor: str | None) -> None:
    """Say in the Link header where the next page is; None: there is none."""
    if cursor is not None:
        target = request.url.include_query_params(cursor=cursor)
        response.headers["link"] = f'<{target.path}?{target.query}>; rel="next"'

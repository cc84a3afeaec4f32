"""Queries of the asset catalogue. Paths stand in the answers, and in `under`, as the events write them (events/paths.py)."""

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from projections.asset_catalog.projection import (
    ASSETS,
    DUPLICATES,
    EVERYTHING,
    SUMMARY,
    TAGGED,
    TAGS,
    TYPES,
    Asset,
    Duplicate,
    tags_of,
)
from sidestream.ports import Condition, Reader
from sidestream.ports import Query as RowQuery
from sidestream.web.openapi import problems
from sidestream.web.paging import PageQuery, link_next, select_page
from sidestream.web.problems import ProblemError
from sidestream.web.projections import Live

router: Final = APIRouter(tags=["assets"])

MOST_PATHS: Final = 100
"""Paths that stand beside a duplicate; `GET /assets?sha256=` lists all."""
_LARGEST: Final = 2**63 - 1
_NEXT_TO_SLASH: Final = chr(ord("/") + 1)


class AssetLine(BaseModel):
    """A file on disk."""

    id: str
    path: str
    size: int = Field(ge=0, description="bytes")
    modified_ns: int = Field(description="nanoseconds since 1970 UTC")
    media_type: str
    sha256: str
    tags: list[str]


class AssetPage(BaseModel):
    """Assets by path; by size where a size was asked for, and neither directory nor content."""

    assets: list[AssetLine]


class DuplicateLine(BaseModel):
    """A content that several files have."""

    sha256: str
    size: int = Field(ge=0, description="bytes of one copy")
    copies: int = Field(ge=2)
    wasted: int = Field(ge=0, description="bytes of all copies but one")
    paths: list[str] = Field(description=f"at most {MOST_PATHS}; GET /assets?sha256= lists all")


class DuplicatePage(BaseModel):
    """Duplicates, the one that wastes most first."""

    duplicates: list[DuplicateLine]


class TypeLine(BaseModel):
    """A media type."""

    media_type: str
    assets: int = Field(ge=1)
    bytes: int = Field(ge=0)


class TypePage(BaseModel):
    """Media types, the one with most bytes first."""

    types: list[TypeLine]


class TagLine(BaseModel):
    """A tag."""

    tag: str
    assets: int = Field(ge=1)


class TagPage(BaseModel):
    """Tags by name."""

    tags: list[TagLine]


class SummaryAnswer(BaseModel):
    """Everything on disk."""

    assets: int = Field(ge=0)
    bytes: int = Field(ge=0)
    duplicates: int = Field(ge=0, description="contents that several files have")
    wasted: int = Field(ge=0, description="bytes of all copies but one of each")


class Filter(msgspec.Struct, frozen=True):
    """What a client asks for; all that is given must hold."""

    tag: str | None = None
    conditions: tuple[Condition, ...] = ()
    by_size: bool = False


def read_filter(
    *,
    tag: Annotated[str | None, Query(description="has this tag")] = None,
    type: Annotated[str | None, Query(description="media type, text/x-python")] = None,  # noqa: A002 - the parameter's name
    min_size: Annotated[int | None, Query(ge=0, le=_LARGEST, description="bytes")] = None,
    max_size: Annotated[int | None, Query(ge=0, le=_LARGEST, description="bytes")] = None,
    under: Annotated[str | None, Query(description="directory, as paths are written here")] = None,
    sha256: Annotated[str | None, Query(description="content")] = None,
) -> Filter:
    """Read the parameters of `GET /assets`."""
    asked = (
        Condition("media_type", "=", type),
        Condition("size", ">=", min_size),
        Condition("size", "<=", max_size),
        Condition("sha256", "=", sha256),
    )
    conditions = (*(condition for condition in asked if condition.value is not None), *_range(under))
    sized = min_size is not None or max_size is not None
    return Filter(tag, conditions, by_size=sized and under is None and sha256 is None)


def _range(under: str | None) -> tuple[Condition, ...]:
    """A directory is the range of paths that begin with it and a slash; the character after the slash ends it."""
    if under is None:
        return ()
    directory = under.rstrip("/")
    return Condition("path", ">=", directory + "/"), Condition("path", "<", directory + _NEXT_TO_SLASH)


@router.get("/assets")
def list_assets(
    request: Request, response: Response, asked: Annotated[Filter, Depends(read_filter)], page: PageQuery, live: Live
) -> AssetPage:
    """List assets by path; by size where a size is asked for, and neither directory nor content."""
    order_by = ("size", "path", "id") if asked.by_size else ("path", "id")
    with live() as reader:
        if asked.tag is None:
            assets, cursor = select_page(reader, ASSETS, page, order_by=order_by, where=asked.conditions)
        else:
            where = (Condition("tag", "=", asked.tag), *asked.conditions)
            tagged, cursor = select_page(reader, TAGGED, page, order_by=order_by, where=where)
            found = reader.read(ASSETS, [(row.id,) for row in tagged])
            assets = [found[(row.id,)] for row in tagged]
    link_next(request, response, cursor)
    return AssetPage(assets=[_line(asset) for asset in assets])


@router.get("/assets/{id:path}", responses=problems(404))
def show_asset(id: str, live: Live) -> AssetLine:  # noqa: A002 - the parameter's name
    """Show one asset."""
    with live() as reader:
        found = reader.read(ASSETS, [(id,)]).get((id,))
    if found is None:
        detail = f"Expected an asset that is on disk, found none with the id {id!r}. GET /assets lists them."
        raise ProblemError(404, detail, code="unknown-asset")
    return _line(found)


@router.get("/duplicates")
def list_duplicates(request: Request, response: Response, page: PageQuery, live: Live) -> DuplicatePage:
    """List contents that several files have, the one that wastes most first."""
    with live() as reader:
        rows, cursor = select_page(reader, DUPLICATES, page, order_by=("wasted", "sha256", "size"), descending=True)
        lines = [_duplicate_line(row, _paths(reader, row)) for row in rows]
    link_next(request, response, cursor)
    return DuplicatePage(duplicates=lines)


@router.get("/types")
def list_types(request: Request, response: Response, page: PageQuery, live: Live) -> TypePage:
    """List media types, the one with most bytes first."""
    with live() as reader:
        rows, cursor = select_page(reader, TYPES, page, order_by=("bytes", "media_type"), descending=True)
    link_next(request, response, cursor)
    return TypePage(types=[TypeLine(media_type=row.media_type, assets=row.assets, bytes=int(row.bytes)) for row in rows])


@router.get("/tags")
def list_tags(request: Request, response: Response, page: PageQuery, live: Live) -> TagPage:
    """List tags by name."""
    with live() as reader:
        rows, cursor = select_page(reader, TAGS, page, order_by=("tag",))
    link_next(request, response, cursor)
    return TagPage(tags=[TagLine(tag=row.tag, assets=row.assets) for row in rows])


@router.get("/summary")
def show_summary(live: Live) -> SummaryAnswer:
    """Show what everything adds up to."""
    with live() as reader:
        found = reader.read(SUMMARY, [(EVERYTHING,)]).get((EVERYTHING,))
    if found is None:
        return SummaryAnswer(assets=0, bytes=0, duplicates=0, wasted=0)
    return SummaryAnswer(assets=found.assets, bytes=int(found.bytes), duplicates=found.duplicates, wasted=int(found.wasted))


def _line(asset: Asset) -> AssetLine:
    return AssetLine(
        id=asset.id,
        path=asset.path,
        size=asset.size,
        modified_ns=asset.modified_ns,
        media_type=asset.media_type,
        sha256=asset.sha256,
        tags=tags_of(asset),
    )


def _duplicate_line(row: Duplicate, paths: Sequence[str]) -> DuplicateLine:
    return DuplicateLine(sha256=row.sha256, size=row.size, copies=row.copies, wasted=int(row.wasted), paths=list(paths))


def _paths(reader: Reader, row: Duplicate) -> list[str]:
    where = (Condition("sha256", "=", row.sha256), Condition("size", "=", row.size))
    found = reader.select(ASSETS, RowQuery(where, ("path", "id"), limit=MOST_PATHS))
    return [asset.path for asset in found]

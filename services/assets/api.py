"""The doors of the assets service: scans and tags."""

import re
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from events.assets import AssetEvent
from services.assets.inventory import ScanState
from services.assets.ledger import Ledger
from services.assets.roots import AllowedRoots, NoDirectory, OutsideOfRoots
from services.assets.scanning import Scanner, ScanRunning
from services.assets.tagging import Asset, Tag, TagCommand, Untag
from sidestream.errors import UnknownAggregate
from sidestream.web.commands import Asked, Commanded, Commands, Reply, command_responses
from sidestream.web.consistency import tell_consistency
from sidestream.web.openapi import problems
from sidestream.web.paging import PageQuery, decode_cursor, encode_cursor, forged_cursor, link_next
from sidestream.web.places import Place
from sidestream.web.problems import ProblemError
from sidestream.writing.repository import Decided, Repository

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class AssetsDesk(msgspec.Struct, frozen=True):
    """What the doors work with."""

    roots: AllowedRoots
    scanner: Scanner
    ledger: Ledger
    assets: Repository[Asset, TagCommand, AssetEvent]
    commands: Commands


def _desk(request: Request) -> AssetsDesk:
    desk: AssetsDesk = request.app.state.desk
    return desk


Desk = Annotated[AssetsDesk, Depends(_desk)]


# ── what comes in ────────────────────────────────────────────────────────────────────────────────────────────────────


def _a_path(text: str) -> str:
    if "\0" in text:
        raise ValueError("expected a path; none contains U+0000")
    return text


def _a_name(text: str) -> str:
    if "/" in text or "\0" in text:
        raise ValueError("expected a name or a pattern for names, without a slash")
    return text


def _a_tag(text: str) -> str:
    if _CONTROL.search(text) or "/" in text or text != text.strip():
        raise ValueError("expected a word without control characters, slashes, and spaces around it")
    return text


_SCAN_EXAMPLE: Final[dict[str, JsonValue]] = {"example": {"path": "/srv/assets", "exclude": [".git", "*.tmp"]}}


class ScanRequest(BaseModel):
    """Look at a directory and all below it."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=_SCAN_EXAMPLE)

    path: Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_a_path)] = Field(
        description="a directory below an allowed root; symbolic links in it are resolved once, those below it are not followed"
    )
    exclude: list[Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_a_name)]] = Field(
        default=[], max_length=100, description="names of files and directories to leave out, or patterns with *, ? and []"
    )


TagWord = Annotated[str, Path(min_length=1, max_length=64, description="1 to 64 characters, no slash"), AfterValidator(_a_tag)]


# ── what goes out ────────────────────────────────────────────────────────────────────────────────────────────────────


class Progress(BaseModel):
    """How far a scan has come."""

    model_config = ConfigDict(from_attributes=True)

    phase: str
    found: int
    to_hash: int
    hashed: int
    hashed_bytes: int


class Result(BaseModel):
    """What a completed scan recorded, in files."""

    model_config = ConfigDict(from_attributes=True)

    discovered: int
    changed: int
    moved: int
    deleted: int
    unchanged: int
    skipped: int


class ScanAnswer(BaseModel):
    """A scan as its events describe it."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    path: str
    exclude: list[str]
    state: ScanState
    started_at: str
    ended_at: str | None
    progress: Progress | None
    result: Result | None
    reason: str | None
    consistency: list[Place] = Field(description="the newest event that the scan recorded on each topic")


class ScanList(BaseModel):
    """A page of scans, newest first; the next page stands in the Link header."""

    scans: list[ScanAnswer]


class TagAnswer(BaseModel):
    """The outcome of a tag command."""

    asset: str
    tag: str
    changed: bool = Field(description="false: it was so already, and nothing was recorded")
    version: int = Field(description="the version of the asset's stream")
    consistency: list[Place] = Field(description="the event that made it so, or the newest one where nothing changed")


# ── scans ────────────────────────────────────────────────────────────────────────────────────────────────────────────

router = APIRouter()


@router.post("/scans", status_code=202, responses=problems(403, 404, 409))
def start_scan(asked: ScanRequest, desk: Desk, response: Response) -> ScanAnswer:
    """Scan a directory. One scan runs at a time; GET the Location to see how far it is."""
    directory = _resolve(desk.roots, asked.path)
    try:
        scan = desk.scanner.start(directory, asked.exclude)
    except ScanRunning:
        raise _running(desk.ledger) from None
    response.headers["location"] = f"/scans/{scan.id}"
    tell_consistency(response, scan.consistency)
    return ScanAnswer.model_validate(scan)


def _resolve(roots: AllowedRoots, path: str) -> bytes:
    try:
        return roots.resolve(path)
    except OutsideOfRoots:
        detail = f"{path}: expected a directory below an allowed root. Scan another one, or start the service with SIDESTREAM_ASSET_ROOTS."
        raise ProblemError(403, detail, code="outside-of-roots") from None
    except FileNotFoundError:
        raise ProblemError(404, f"{path}: expected a directory, found nothing at this path.", code="no-such-directory") from None
    except NoDirectory:
        raise ProblemError(400, f"{path}: expected a directory, found something else.", code="no-directory") from None


def _running(ledger: Ledger) -> ProblemError:
    running = ledger.ask(lambda inventory: [scan.id for scan in inventory.running()])
    detail = "Another scan is running. Wait until it has ended, then ask again."
    return ProblemError(409, detail, code="scan-running", headers={"retry-after": "1"}, running=running)


@router.get("/scans")
def list_scans(desk: Desk, page: PageQuery, request: Request, response: Response) -> ScanList:
    """List scans, newest first."""
    before = decode_cursor(page.cursor, 1)[0] if page.cursor else None
    if before is not None and not isinstance(before, str):
        raise forged_cursor()
    scans = desk.ledger.ask(lambda inventory: sorted(inventory.scans.values(), key=lambda scan: scan.id, reverse=True))
    later = [scan for scan in scans if before is None or scan.id < before]
    shown = later[: page.limit]
    link_next(request, response, encode_cursor([shown[-1].id]) if len(later) > len(shown) else None)
    return ScanList(scans=[ScanAnswer.model_validate(scan) for scan in shown])


@router.get("/scans/{scan}", responses=problems(404))
def show_scan(scan: str, desk: Desk) -> ScanAnswer:
    """Show one scan."""
    found = desk.ledger.ask(lambda inventory: inventory.scans.get(scan))
    if found is None:
        raise ProblemError(404, f"{scan[:80]}: there is no such scan. GET /scans lists them.", code="no-such-scan")
    return ScanAnswer.model_validate(found)


# ── tags ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@router.put("/assets/{asset}/tags/{word}", response_model=TagAnswer, responses=command_responses(200, 404))
def give_tag(asset: str, word: TagWord, desk: Desk, said: Commanded) -> Response:
    """Give an asset a tag; again is the same."""
    return _carry_out(desk, asset, Tag(word), said)


@router.delete("/assets/{asset}/tags/{word}", response_model=TagAnswer, responses=command_responses(200, 404))
def take_tag(asset: str, word: TagWord, desk: Desk, said: Commanded) -> Response:
    """Take a tag away; again is the same."""
    return _carry_out(desk, asset, Untag(word), said)


def _carry_out(desk: AssetsDesk, asset: str, command: TagCommand, said: Asked) -> Response:
    if not _UUID.fullmatch(asset):
        raise UnknownAggregate(
            "no-such-asset", f"{asset[:80]}: there is no such asset, or it was deleted. The catalogue, `GET /assets`, lists what there is."
        )

    def reply(decided: Decided[Asset]) -> Reply:
        return Reply(200, {"asset": asset, "tag": command.word, "changed": decided.changed, "version": decided.version})

    return desk.commands.carry_out(desk.assets, asset, command, said, reply)

"""The doors of the bridge: POST /events in four forms, GET /events."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NoReturn

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from events.bridge import CATEGORY
from services.bridge.cloudevents import is_rfc3339, read_binary, read_plain, read_structured
from services.bridge.recent import Wanted, look_back
from services.bridge.recording import Conflicts, Recorded, Recorder
from sidestream.causation import Cause
from sidestream.errors import InvalidEvent
from sidestream.event import BATCH_CONTENT_TYPE, CONTENT_TYPE, MAX_EVENT_BYTES, NewEvent, decode_event
from sidestream.identifiers import new_id, now
from sidestream.ports import EventLog
from sidestream.web.commands import CORRELATION, Caused
from sidestream.web.openapi import problems
from sidestream.web.problems import ProblemError

MAX_BATCH_BYTES: Final = 16 * 1024 * 1024
MAX_BATCH_EVENTS: Final = 10_000
_PLAIN: Final = "application/json"
_FORMS: Final = f"Expected {CONTENT_TYPE}, {BATCH_CONTENT_TYPE}, {_PLAIN}, or any other type with ce- headers"

_decode_batch: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


class BridgeDesk(msgspec.Struct, frozen=True):
    """What the doors work with."""

    recorder: Recorder
    log: EventLog


def _desk(request: Request) -> BridgeDesk:
    desk: BridgeDesk = request.app.state.desk
    return desk


Desk = Annotated[BridgeDesk, Depends(_desk)]
router = APIRouter()


# ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

_EVENT_EXAMPLE: Final = {"specversion": "1.0", "id": "4711", "source": "/till/3", "type": "till.opened", "data": {"float": 100}}
_ONE: Final = {"type": "object", "required": ["specversion", "id", "source", "type"], "example": _EVENT_EXAMPLE}
_PLAIN_FORM: Final = {
    "type": "object",
    "required": ["type", "source", "payload"],
    "additionalProperties": False,
    "properties": {**{name: {"type": "string"} for name in ("type", "source", "id", "subject", "time")}, "payload": {}},
}
_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            CONTENT_TYPE: {"schema": _ONE},
            BATCH_CONTENT_TYPE: {"schema": {"type": "array", "items": _ONE, "maxItems": MAX_BATCH_EVENTS}},
            _PLAIN: {"schema": _PLAIN_FORM},
        },
    }
}


@router.post("/events", status_code=202, openapi_extra=_BODY, responses=problems(409, 413, 415))
async def take_events(request: Request, desk: Desk, cause: Caused) -> Response:
    """Take one event or a batch. Answered when it is stored; sent again it is the same success and doubles nothing.

    So a repeat needs no Idempotency-Key: an event is known by its source and id. What an event does not say of its
    conversation is taken from the headers of the request; nothing is made up for it.

    Binary mode takes any content type: the attributes stand in `ce-` headers, percent-encoded.
    """
    body = await request.body()
    content_type = request.headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == BATCH_CONTENT_TYPE:
        return await run_in_threadpool(_take_batch, desk, body, _told(request, cause))
    if len(body) > MAX_EVENT_BYTES:
        raise ProblemError(413, f"Expected an event of at most {MAX_EVENT_BYTES} bytes, found {len(body)}.", code="too-large")
    return await run_in_threadpool(_take_one, desk, _reader(request, media_type, content_type, body), _told(request, cause))


def _told(request: Request, cause: Cause) -> Cause:
    """Return what the client itself said; an id that was made for this request is left out."""
    said = CORRELATION in request.headers or cause.traceparent
    return cause if said else msgspec.structs.replace(cause, correlation_id=None)


def _joined(event: NewEvent, cause: Cause) -> NewEvent:
    """Let an event belong to the conversation of the request, as far as it does not name one itself."""
    return msgspec.structs.replace(
        event,
        correlationid=event.correlationid or cause.correlation_id,
        causationid=event.causationid or cause.causation_id,
        traceparent=event.traceparent or cause.traceparent,
    )


def _reader(request: Request, media_type: str, content_type: str, body: bytes) -> Callable[[], NewEvent]:
    """Return what reads a single event in the form it has."""
    if media_type == CONTENT_TYPE:
        return lambda: read_structured(body, now())
    if media_type.startswith("application/cloudevents"):
        raise ProblemError(415, f"{_FORMS}; found {media_type[:80]}.")
    headers = request.scope["headers"]
    if any(name.startswith(b"ce-") for name, _ in headers):
        return lambda: read_binary(headers, content_type, body, now())
    if media_type == _PLAIN:
        return lambda: read_plain(body, now(), new_id)
    raise ProblemError(415, f"{_FORMS}; found {media_type[:80] or 'no content type'} without ce- headers.")


def _take_one(desk: BridgeDesk, read: Callable[[], NewEvent], cause: Cause) -> Response:
    try:
        (recorded,) = desk.recorder.record([_joined(read(), cause)])
    except Conflicts as conflicts:
        raise ProblemError(409, conflicts.reasons.get(0, str(conflicts)), code="event-conflict") from None
    return _answer(_described(recorded))


def _described(recorded: Recorded) -> dict[str, Any]:
    stored = recorded.stored
    return {
        "id": stored.event_id,
        "source": stored.source,
        "topic": stored.topic,
        "producer": decode_event(stored.wire).producer,
        "sequence": stored.sequence,
        "duplicate": recorded.duplicate,
    }


def _take_batch(desk: BridgeDesk, body: bytes, cause: Cause) -> Response:
    events = [_joined(event, cause) for event in _read_batch(body)]
    try:
        recorded = desk.recorder.record(events)
    except Conflicts as conflicts:
        _refuse_batch(len(events), {index: (409, reason) for index, reason in conflicts.reasons.items()})
    duplicates = sum(each.duplicate for each in recorded)
    return _answer({"stored": len(recorded) - duplicates, "duplicates": duplicates})


def _read_batch(body: bytes) -> Sequence[NewEvent]:
    try:
        members = _decode_batch(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError(400, f"Expected a JSON list of CloudEvents: {error}", code="invalid-json") from None
    if len(members) > MAX_BATCH_EVENTS:
        raise ProblemError(413, f"Expected at most {MAX_BATCH_EVENTS} events in a batch, found {len(members)}.", code="too-large")
    received_at = now()
    events, wrong = [], {}
    for index, member in enumerate(members):
        try:
            events.append(read_structured(bytes(member), received_at))
        except InvalidEvent as error:
            wrong[index] = (400, str(error))
    if wrong:
        _refuse_batch(len(members), wrong)
    return events


def _refuse_batch(size: int, wrong: dict[int, tuple[int, str]]) -> NoReturn:
    """Answer what is wrong with which; 409 where the only trouble is that something else is stored under these ids."""
    status = max(wrong.values())[0] if all(status == 409 for status, _ in wrong.values()) else 400
    errors = [{"index": index, "detail": detail, "status": found} for index, (found, detail) in sorted(wrong.items())]
    detail = f"{len(wrong)} of {size} events cannot be stored, see `errors`. Nothing was stored; send the others without them."
    raise ProblemError(status, detail, code="event-conflict" if status == 409 else "invalid-event", errors=errors)


def _answer(members: dict[str, Any], status: int = 202) -> Response:
    return Response(msgspec.json.encode(members), status, media_type="application/json")


# ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@router.get("/events")
def recent_events(
    desk: Desk,
    *,
    limit: Annotated[int, Query(ge=1, le=1000, description="most events to return")] = 50,
    event_type: Annotated[str | None, Query(alias="type", min_length=1, max_length=512)] = None,
    source: Annotated[str | None, Query(min_length=1, max_length=512)] = None,
    subject: Annotated[str | None, Query(min_length=1, max_length=512)] = None,
    since: Annotated[str | None, Query(max_length=64, description="RFC 3339; recorded then or later")] = None,
) -> Response:
    """List recent events from the log, newest first. `complete` is false where the search ended before the log did."""
    wanted = Wanted(limit, event_type, source, subject, _milliseconds(since))
    found = look_back(desk.log, CATEGORY.topic, wanted)
    return _answer(msgspec.structs.asdict(found), 200)


def _milliseconds(since: str | None) -> int | None:
    if since is None:
        return None
    text = since.replace(" ", "+")  # a plus sign in a query that nobody encoded
    if not is_rfc3339(text):
        raise ProblemError(400, f"since: expected RFC 3339 like 2026-11-20T09:30:00Z, found {since!a}", code="invalid-request")
    moment = datetime.fromisoformat(text.upper().replace(":60", ":59"))
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)

"""Errors over HTTP: RFC 9457 problem details, `application/problem+json`, for everything that goes wrong.

One rule for malformed input, whatever is wrong with it (not JSON, not UTF-8, a field missing or of the wrong type): 400.
Only a body that does not say that it is JSON is 415.
What Sidestream raises on purpose has its status in `_STATUS`; anything else is 500, is logged, and tells the client nothing
(an event that cannot be read is named).
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from fastapi import FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidestream import errors
from sidestream.web.correlation import conversation_of
from sidestream.web.malformed import fault

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 1
_NAMED: Final = 5
_LONGEST_TYPE: Final = 80

_STATUS: Final[dict[type[errors.SidestreamError], int]] = {
    errors.InvalidEvent: 400,
    errors.InvalidToken: 400,
    errors.RefusedByStore: 400,  # the value that the database refuses came with the request
    errors.UnknownGeneration: 404,
    errors.AppendRefused: 409,
    errors.KeyReused: 422,
    errors.CommandRefused: 409,
    errors.UnknownAggregate: 404,
    errors.PublishFailed: 503,
    errors.LogUnavailable: 503,
    errors.StoreAway: 503,
    errors.TryAgain: 503,
    errors.UnknownSchemaVersion: 503,
}
_SAY_THEMSELVES: Final = (errors.UnreadableEvent,)
"""Failures of the service whose sentence the client is told: whoever operates it learns which event, and what to do."""

log_line = structlog.get_logger()


class ProblemError(HTTPException):
    """Raise it to answer with a problem of your own. An HTTPException, so that FastAPI lets it through while it reads a body.

    Args:
        status: the HTTP status.
        detail: what was expected, what was found, and what to do.
        code: stable word that programs may match; by default the status in words.
        headers: further response headers.
        extensions: further members, such as `errors`.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str = "",
        headers: Mapping[str, str] | None = None,
        **extensions: Any,
    ) -> None:
        super().__init__(status, detail, headers)
        self.code = code
        self.extensions = extensions

    def response(self) -> Response:
        """Return the answer."""
        return problem(self.status_code, self.detail, code=self.code, headers=self.headers, **self.extensions)


def problem(
    status: int,
    detail: str,
    *,
    code: str = "",
    headers: Mapping[str, str] | None = None,
    **extensions: Any,
) -> Response:
    """Return a problem+json answer; 503 always says when to come again."""
    title = HTTPStatus(status).phrase
    members = {
        "type": f"urn:sidestream:problem:{code or title.lower().replace(' ', '-')}",
        "title": title,
        "status": status,
        "detail": detail,
        **extensions,
    }
    sent = dict(headers or {})
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        sent.setdefault("retry-after", str(RETRY_AFTER_SECONDS))
    return Response(_encode(members), status, sent, MEDIA_TYPE)


def _encode(members: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(members)
    except UnicodeEncodeError:  # a client's lone surrogates, quoted back to it
        return msgspec.json.encode(_readable(members))


def _readable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_readable(key): _readable(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_readable(item) for item in value]
    return value


def status_of(error: errors.SidestreamError) -> int:
    """Return the HTTP status of something Sidestream raised: the one of its nearest class that has one, else 500."""
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


def answer_problems(app: FastAPI) -> None:
    """Make every error of this app a problem."""
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(errors.SidestreamError, _on_sidestream_error)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(StarletteHTTPException, _on_http)
    app.add_middleware(LastResort)


def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return error.response()


def _on_sidestream_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.SidestreamError)
    status = status_of(error)
    is_ours, says_itself = status == HTTPStatus.INTERNAL_SERVER_ERROR, isinstance(error, _SAY_THEMSELVES)
    if is_ours or says_itself:
        where = {"method": request.method, "path": request.url.path, "correlation_id": conversation_of(request.scope)}
        log_line.error("request failed", **where, code=error.code, exc_info=error)
    detail = "The service failed. Its log says why." if is_ours and not says_itself else str(error)
    return problem(status, detail, code=error.code)


def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if isinstance(error.body, bytes):  # FastAPI hands a body on unread unless its type is JSON
        return _not_json(request)
    found = [fault(each) for each in error.errors()]
    detail = "Expected another request: " + " ".join(map(str, found[:_NAMED]))
    return problem(400, detail, code="invalid-request", errors=[msgspec.structs.asdict(each) for each in found])


def _not_json(request: Request) -> Response:
    found = request.headers.get("content-type", "")[:_LONGEST_TYPE]
    detail = (
        f"Content-Type: expected application/json, found {ascii(found) if found else 'no such header'}. "
        "Send the body as JSON, with the header Content-Type: application/json."
    )
    return problem(415, detail)


def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    if error.status_code < HTTPStatus.BAD_REQUEST:
        return Response(status_code=error.status_code, headers=error.headers)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return problem(error.status_code, _detail(error), headers={"allow": ", ".join(_methods_here(request))})
    return problem(error.status_code, _detail(error), headers=error.headers)


def _methods_here(request: Request) -> list[str]:
    """Every method this path takes; Starlette names those of the first route it meets."""
    routes, scope = request.app.routes, request.scope
    return [method for method in _METHODS if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)]


_METHODS: Final = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_DETAILS: Final = {
    404: "There is nothing at this path. /docs lists what there is.",
    405: "This path does not take this method. The header Allow lists what it takes.",
}


def _detail(error: StarletteHTTPException) -> str:
    if error.detail != HTTPStatus(error.status_code).phrase:
        return str(error.detail)
    return _DETAILS.get(error.status_code, error.detail)


class LastResort:
    """ASGI middleware: what nobody foresaw is logged with its path and answered 500. Starlette's own would log it twice."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            where = {"method": scope["method"], "path": scope["path"], "correlation_id": conversation_of(scope)}
            log_line.exception("request failed", **where, error=type(error).__name__)
            if started:
                raise
            await problem(500, "The service failed. Its log says why.")(scope, receive, send)

"""The OpenAPI document of an app: what FastAPI derives, with every error declared as the problem that is really sent."""

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from sidestream.web.problems import MEDIA_TYPE

PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "title": "Problem",
    "description": "Problem details, RFC 9457.",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "urn:sidestream:problem:<code>; the code is stable"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what was expected, what was found, and what to do"},
        "errors": {"type": "array", "items": {"type": "object"}, "description": "each thing that is wrong, where there are several"},
    },
}
_DESCRIPTIONS: Final = {
    400: "The request is malformed",
    404: "There is no such thing",
    409: "It contradicts what is stored",
    412: "Not applied yet within Sidestream-Wait; ask again. Of a command: it stands at another version than If-Match says",
    413: "The body is too large",
    422: "The Idempotency-Key was used for another request",
    415: "The body has a content type that is not taken here",
    500: "The service failed",
    503: "Cannot be done now; come again after Retry-After",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return `responses=` for a route that answers problems of its own, `@app.get(..., responses=problems(404))`."""
    return {status: _declared(status) for status in statuses}


def declare_problems(app: FastAPI) -> None:
    """Make the app's document say which problems every operation may answer."""

    def document() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _document(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    for operation in _operations(found):
        responses = operation["responses"]
        if "HTTPValidationError" in str(responses.get("422")):
            responses.pop("422")  # FastAPI's own; malformed input is 400 here
        for status in _statuses(operation):
            responses.setdefault(str(status), _declared(status))
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = PROBLEM_SCHEMA
    return found


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document.get("paths", {}).values():
        yield from path.values()


def _statuses(operation: dict[str, Any]) -> Iterator[int]:
    yield 400  # also for a parameter that it does not know
    if any(each["name"] == "Sidestream-Consistency" for each in operation.get("parameters", ())):
        yield from (409, 412)  # the event is parked; not applied yet
    if "requestBody" in operation:
        yield from (413, 415)
    yield from (500, 503)


def _declared(status: int) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": _DESCRIPTIONS.get(status, "A problem"), "content": content}

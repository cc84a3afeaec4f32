"""The headers of a command: what a client says beside the body, read once and refused in words. What they do: `commands`."""

import hashlib
import re
from contextlib import suppress
from typing import Annotated, Final

import msgspec
from fastapi import Depends, Header
from pydantic import Field
from starlette.requests import Request

from sidestream.causation import Cause, known_trace, trace_id
from sidestream.identifiers import new_id
from sidestream.web.correlation import CORRELATION, VISIBLE, conversation_of
from sidestream.web.malformed import worded
from sidestream.web.problems import ProblemError

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
IF_MATCH: Final = "If-Match"
CAUSATION: Final = "X-Causation-ID"
_IF_MATCH: Final = r'^(\*|(W/)?"[!#-~]*"([ \t]*,[ \t]*(W/)?"[!#-~]*")*)$'
_TAG: Final = re.compile(r'(W/)?"([!#-~]*)"')
_TOKEN: Final = worded(
    re.compile(VISIBLE).fullmatch, "1 to 255 visible ASCII characters without a space", "Take a UUID, or leave the header out."
)
_TAGS: Final = worded(
    re.compile(_IF_MATCH).fullmatch,
    """the ETag of an answer with its quotes, like "3", several with commas between them, or *""",
    "Send the ETag just as it came, its quotes too.",
)

Token = Annotated[str, _TOKEN, Field(json_schema_extra={"pattern": VISIBLE})]
"""Text of a header that names something. The pattern is for the document; what is wrong is said in words."""
EntityTags = Annotated[str, _TAGS, Field(max_length=1000, json_schema_extra={"pattern": _IF_MATCH})]
"""Text of If-Match."""


class Asked(msgspec.Struct, frozen=True):
    """What a client said beside the body of a command.

    Attributes:
        key: the idempotency key in its scope, the method and the path; None: the client sent none.
        request: 16 bytes, equal for the same body and different for another.
        expected: the versions of If-Match; None: any will do.
        cause: correlation, causation and trace.
    """

    key: str | None
    request: bytes
    expected: frozenset[int] | None
    cause: Cause


def read_cause(
    request: Request,
    correlation: Annotated[Token | None, Header(alias=CORRELATION, description="the conversation that this belongs to; sent back")] = None,
    causation: Annotated[Token | None, Header(alias=CAUSATION, description="the event that this is asked because of")] = None,
    traceparent: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Cause:
    """Read what the events of this request will carry."""
    _expect_once(request, CORRELATION, CAUSATION)
    trace = known_trace(traceparent)
    return Cause(correlation or conversation_of(request.scope) or trace_id(trace) or new_id(), causation, trace)


Caused = Annotated[Cause, Depends(read_cause)]
"""Declares the headers of a request whose events carry on a conversation."""


async def read_asked(
    request: Request,
    cause: Caused,
    key: Annotated[
        Token | None, Header(alias=IDEMPOTENCY_KEY, description="1 to 255 visible ASCII characters; a repeat is done once")
    ] = None,
    if_match: Annotated[EntityTags | None, Header(alias=IF_MATCH, description="the ETag that the client has seen")] = None,
) -> Asked:
    """Read the headers of a command; the digest is taken of its body whatever the order of its members."""
    _expect_once(request, IDEMPOTENCY_KEY, IF_MATCH)
    return Asked(_scoped(request, key), _digest(await request.body()), _versions(if_match), cause)


Commanded = Annotated[Asked, Depends(read_asked)]
"""Declares all headers of a command."""


def _expect_once(request: Request, *names: str) -> None:
    """Refuse a header that is sent twice: nobody can say which of the two is meant."""
    for name in names:
        if len(found := request.headers.getlist(name)) > 1:
            detail = f"header {name}: expected it once, found it {len(found)} times. Send one{_JOINED.get(name, '')}."
            raise ProblemError(400, detail, code="invalid-request", errors=[{"field": f"header.{name}", "detail": detail}])


_JOINED: Final = {IF_MATCH: ", its tags with commas between them"}


def _scoped(request: Request, key: str | None) -> str | None:
    """A key is the client's own for one door of one thing: the same key elsewhere is another one."""
    if key is None:
        return None
    door = f"{request.method} {request.scope['path']}".encode("utf-8", "surrogateescape")
    return f"{hashlib.blake2b(door, digest_size=16).hexdigest()} {key}"


def _digest(body: bytes) -> bytes:
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # whoever reads the body will refuse it
        body = msgspec.json.encode(msgspec.json.decode(body), order="sorted") if body else b""
    return hashlib.blake2b(body, digest_size=16).digest()


def _versions(if_match: str | None) -> frozenset[int] | None:
    """The versions that are named; a weak tag, or one that is none of ours, matches nothing."""
    if if_match is None or if_match == "*":
        return None
    found = [tag for weak, tag in _TAG.findall(if_match) if not weak and tag.isdecimal() and len(tag) < 19]
    return frozenset(int(tag) for tag in found)

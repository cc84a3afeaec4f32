"""Commands over HTTP: what a client says beside the body, and how each is answered once.

    Idempotency-Key   the same key with the same request is given the same answer, `Idempotency-Replayed: true`;
                      with another body 422; while the first is still running 409 with Retry-After
    If-Match          the version that the client has seen, as ETag gave it: 412 where the thing has moved on
    X-Correlation-ID  the conversation; else the trace of `traceparent`, else a new one. Sent back with every answer (`correlation`)
    X-Causation-ID    the event that this is asked because of
    traceparent       kept in every event

The answer is stored in the transaction of the events that it speaks of, so that there is never one without the other. A
command that is refused has done nothing: its key is free again, and a repeat is decided anew.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from starlette.responses import Response

from sidestream.aggregate import Command, Event, State
from sidestream.applying.consistency import Place
from sidestream.errors import AlreadyAnswered, CommandRunning, KeyReused, WrongExpectedVersion
from sidestream.ports import Answer, Answers
from sidestream.web.command_headers import CAUSATION, IDEMPOTENCY_KEY, Asked, Caused, Commanded
from sidestream.web.consistency import CONSISTENCY, tell_consistency, tells_consistency
from sidestream.web.correlation import CORRELATION
from sidestream.web.openapi import problems
from sidestream.web.problems import ProblemError
from sidestream.writing.repository import Decided, Repository, places_of

REPLAYED: Final = "Idempotency-Replayed"
CLAIM_SECONDS: Final = 10.0
"""How long a command may take before somebody else may try the same one: as long a client waits after a crash."""
RETRY_AFTER_SECONDS: Final = 1


class Reply(msgspec.Struct, frozen=True):
    """How a command is answered: status, the members of its body, and further headers."""

    status: int
    members: Mapping[str, Any]
    headers: Mapping[str, str] = {}


class _Kept(msgspec.Struct, frozen=True):
    """An answer as it is stored: the reply, and which events of which stream it speaks of."""

    reply: Reply
    stream: str
    before: int
    version: int
    correlation: str


class Commands(msgspec.Struct, frozen=True):
    """Answers commands on the aggregates of one store."""

    answers: Answers

    def carry_out(
        self,
        repository: Repository[State, Command, Event],
        identifier: str,
        command: Command,
        asked: Asked,
        reply: Callable[[Decided[State]], Reply],
    ) -> Response:
        """Carry out a command, or give the answer that it was given before.

        Raises:
            CommandRefused: the aggregate says no.
            KeyReused, CommandRunning: see above; `ProblemError` where a header must be sent along.
        """
        with self._claimed(asked) as kept_before:
            if kept_before is not None:
                return _replay(repository, kept_before)
            return self._carry_out(repository, identifier, command, asked, reply)

    def _carry_out(
        self,
        repository: Repository[State, Command, Event],
        identifier: str,
        command: Command,
        asked: Asked,
        reply: Callable[[Decided[State]], Reply],
    ) -> Response:
        def answer(decided: Decided[State]) -> Answer | None:
            return None if asked.key is None else Answer(asked.key, asked.request, msgspec.json.encode(_kept(decided, reply, asked)))

        try:
            decided, stored = repository.execute(identifier, command, cause=asked.cause, expected=asked.expected, answer=answer)
        except AlreadyAnswered as meanwhile:
            return _replay(repository, meanwhile.content)
        except WrongExpectedVersion as conflict:
            raise _moved_on(conflict, asked.expected) from None
        stored = stored or tuple(repository.recorded(decided.stream, decided.before, decided.version))
        return _response(_kept(decided, reply, asked), places_of(stored))

    @contextmanager
    def _claimed(self, asked: Asked) -> Iterator[bytes | None]:
        """Hold the key while the command is carried out, or yield the answer that was given; free it where there is none."""
        if asked.key is None:
            yield None
            return
        answered = self._claim(asked.key, asked.request)
        try:
            yield answered.content if answered else None
        except BaseException:
            if answered is None:
                self.answers.release(asked.key)
            raise

    def _claim(self, key: str, request: bytes) -> Answer | None:
        try:
            return self.answers.claim(key, request, CLAIM_SECONDS)
        except CommandRunning:
            detail = f"{IDEMPOTENCY_KEY}: the same command is still running. Ask again after Retry-After; it is not done twice."
            raise ProblemError(409, detail, code=CommandRunning.code, headers={"retry-after": str(RETRY_AFTER_SECONDS)}) from None
        except KeyReused:
            detail = f"{IDEMPOTENCY_KEY}: expected the body that it was first used with, found another. Take a new key for a new command."
            raise ProblemError(422, detail, code=KeyReused.code) from None


def _kept(decided: Decided[State], reply: Callable[[Decided[State]], Reply], asked: Asked) -> _Kept:
    return _Kept(reply(decided), decided.stream, decided.before, decided.version, asked.cause.correlation_id or "")


_decode_kept: Final = msgspec.json.Decoder(_Kept).decode


def _replay(repository: Repository[Any, Any, Any], content: bytes) -> Response:
    kept = _decode_kept(content)
    response = _response(kept, places_of(repository.recorded(kept.stream, kept.before, kept.version)))
    response.headers[REPLAYED] = "true"
    return response


def _response(kept: _Kept, places: Collection[Place]) -> Response:
    """Say what was stored, and where its events stand in the count: that is known only after the append."""
    members = {**kept.reply.members, "consistency": [msgspec.structs.asdict(place) for place in places]}
    headers = {**kept.reply.headers, "etag": etag(kept.version), CORRELATION: kept.correlation}
    response = Response(msgspec.json.encode(members), kept.reply.status, headers, "application/json")
    tell_consistency(response, places)
    return response


def etag(version: int) -> str:
    """Return the version of a stream as an entity tag."""
    return f'"{version}"'


def _moved_on(conflict: WrongExpectedVersion, expected: Collection[int] | None) -> ProblemError:
    """Say where the thing stands: 412 to a client that set a condition, 409 to one that was only unlucky."""
    headers = {"etag": etag(conflict.found)}
    if expected is None:
        detail = f"{conflict.stream}: others write to it so often that this command found no gap. Ask again."
        return ProblemError(409, detail, code=conflict.code, headers={**headers, "retry-after": str(RETRY_AFTER_SECONDS)})
    found = f"found {conflict.found}. Look again, then decide." if conflict.found else "found nothing yet. Leave If-Match out to begin."
    detail = f"{conflict.stream}: expected version {conflict.expected} as If-Match says, {found}"
    return ProblemError(412, detail, code=conflict.code, headers=headers)


_HEADER: Final = {"schema": {"type": "string"}}


def command_responses(status: int, *more: int) -> dict[int | str, dict[str, Any]]:
    """Return `responses=` for a command: what its success carries, and which problems it may answer."""
    declared = tells_consistency(status)
    declared[status]["headers"] = {
        **declared[status]["headers"],
        "ETag": {"description": "the version after this command, for If-Match", **_HEADER},
        CORRELATION: {"description": "the conversation", **_HEADER},
        REPLAYED: {"description": "true: this very answer was given before", **_HEADER},
    }
    return declared | problems(409, 412, 422, *more)


__all__ = [
    "CAUSATION",
    "CONSISTENCY",
    "CORRELATION",
    "IDEMPOTENCY_KEY",
    "REPLAYED",
    "Asked",
    "Caused",
    "Commanded",
    "Commands",
    "Reply",
    "command_responses",
    "etag",
]

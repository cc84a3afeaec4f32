"""The rules of answering a command once that every event store keeps, whatever it is built on.

Pure: a store asks here whether a key may be claimed, and whether an answer may be stored under it. It brings the time.
"""

import math
from typing import Final

import msgspec

from sidestream.errors import AlreadyAnswered, CommandRunning, ConfigurationError, InvalidEvent, KeyReused
from sidestream.ports import Answer

MAX_KEY_BYTES: Final = 512
REQUEST_BYTES: Final = 16
LONGEST_SECONDS: Final = 60
"""The longest that a claim or a lease may be asked for. One that seems to last longer was taken before the clock was set back,
and holds no more: its holder would stand in everybody's way for as long as the clock was wrong."""
LONGEST_MS: Final = LONGEST_SECONDS * 1000


class Claim(msgspec.Struct, frozen=True):
    """A command that somebody has begun: which one, and until when nobody else may."""

    request: bytes
    until_ms: int

    def holds(self, now_ms: int) -> bool:
        """Return whether it is still somebody's."""
        return holds(self.until_ms, now_ms)


def check_key(key: str, request: bytes) -> None:
    """Refuse a key that could not be stored under its own name.

    Raises:
        InvalidEvent: an empty or long key, text that is not valid Unicode, or a digest of another length.
    """
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        raise InvalidEvent(f"idempotency key {key[:80]!a}: expected valid Unicode text: {error}") from None
    if not 0 < size <= MAX_KEY_BYTES:
        raise InvalidEvent(f"idempotency key {key[:80]!a}: expected 1 to {MAX_KEY_BYTES} bytes, found {size}. Send a shorter one.")
    if len(request) != REQUEST_BYTES:
        raise InvalidEvent(f"idempotency key {key}: expected the request as a digest of {REQUEST_BYTES} bytes, found {len(request)}")


def ends_at(now_ms: int, seconds: float) -> int:
    """Return when a claim or a lease of so many seconds runs out; one of 0 seconds only asks whether it could be had.

    Raises:
        ConfigurationError: not a length of time, or longer than anybody may ask for.
    """
    if not (math.isfinite(seconds) and 0 <= seconds <= LONGEST_SECONDS):
        raise ConfigurationError(f"claim or lease: expected a number of seconds from 0 to {LONGEST_SECONDS}, found {seconds}")
    return now_ms + math.ceil(seconds * 1000)


def holds(until_ms: int, now_ms: int) -> bool:
    """Return whether a claim or a lease until then is still somebody's."""
    return now_ms < until_ms <= now_ms + LONGEST_MS


def answer_of_claim(key: str, request: bytes, kept: Answer | None, claim: Claim | None, now_ms: int) -> Answer | None:
    """Return the answer given before, or None where the key may be claimed now.

    Raises:
        KeyReused: the key was used for another request.
        CommandRunning: somebody else has claimed it and is not done.
    """
    if kept is not None:
        _check_request(key, kept.request, request)
        return kept
    if claim is not None and claim.holds(now_ms):
        _check_request(key, claim.request, request)
        raise CommandRunning(f"idempotency key {key}: the command has begun and is not done. Ask again in a moment.")
    return None


def check_answer(answer: Answer, kept: Answer | None, claim: Claim | None, now_ms: int) -> None:
    """Refuse an answer to a command that somebody else has answered, or whose key serves another request by now.

    Raises:
        AlreadyAnswered: the same request was answered meanwhile.
        KeyReused: the key was used for another request.
    """
    if kept is not None:
        _check_request(answer.key, kept.request, answer.request)
        raise AlreadyAnswered(answer.key, kept.content)
    if claim is not None and claim.holds(now_ms):
        _check_request(answer.key, claim.request, answer.request)


def _check_request(key: str, first: bytes, found: bytes) -> None:
    if first != found:
        raise KeyReused(f"idempotency key {key}: expected the request that it was first used for, found another. Take a new key.")

"""The way to a subscriber of a replay: where it is, and one POST after another until it takes an event.

Only what was recorded and nobody keeps as a fact may be handed over: a projection is refused by name and by address.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final
from urllib.parse import urlsplit

import httpx
import msgspec
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from sidestream.errors import ConfigurationError
from sidestream.event import CONTENT_TYPE
from sidestream.launcher.runfile import App
from sidestream.logs.replaying import Marked, NotTaken, traced
from sidestream.tracing import Tracing, unrecorded_trace

_WING: Final = "projections."
_HERE: Final = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})
_LONGEST_PAUSE: Final = 5.0
_SHOWN: Final = 200


class _Status(msgspec.Struct):
    status: str = ""


class Subscriber:
    """Hands events to an address, each as a CloudEvent in structured mode.

    Args:
        url: where.
        replay_id: names the replay, in a header.
        attempts: how often one event is tried.
        pause: seconds before the second try; they double.
        tracing: makes the traces; None: traces that nobody records.
    """

    def __init__(self, url: str, replay_id: str, *, attempts: int = 5, pause: float = 0.2, tracing: Tracing | None = None) -> None:
        self._url = url
        self._headers = {"content-type": CONTENT_TYPE, "sidestream-replayed": "true", "sidestream-replay-id": replay_id}
        self._tracing = tracing
        self._client = httpx.Client(timeout=httpx.Timeout(30.0, connect=5.0))
        self._retrying = Retrying(
            stop=stop_after_attempt(attempts),
            wait=wait_exponential(multiplier=pause, max=_LONGEST_PAUSE),
            retry=retry_if_exception_type(NotTaken),
            reraise=True,
        )

    def __call__(self, event: Marked) -> None:
        """Hand over one event; raises NotTaken when it was not taken."""
        with self._trace(event) as traceparent:
            self._retrying(self._post, traced(event.wire, traceparent), {**self._headers, "traceparent": traceparent})

    def _trace(self, event: Marked) -> AbstractContextManager[str]:
        if self._tracing is None:
            return nullcontext(unrecorded_trace())
        return self._tracing.replaying(self._url, event.recorded_trace)

    def _post(self, wire: bytes, headers: dict[str, str]) -> None:
        try:
            answer = self._client.post(self._url, content=wire, headers=headers)
        except httpx.TransportError as error:
            raise NotTaken(f"{self._url}: {error or type(error).__name__}") from error
        if not answer.is_success:
            raise NotTaken(f"{self._url}: expected 2xx, found {answer.status_code}: {answer.text[:_SHOWN]!r}")
        if _asks_again(answer):
            raise NotTaken(f"{self._url}: expected the event to be taken, found status RETRY")

    def close(self) -> None:
        """Release the connection."""
        self._client.close()


def _asks_again(answer: httpx.Response) -> bool:
    """A subscriber of Dapr's kind says so in the body of a 200; one that drops an event has taken it."""
    try:
        return msgspec.json.decode(answer.content, type=_Status).status == "RETRY"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def address_of(target: str, path: str, apps: Sequence[App]) -> str:
    """Return where to hand events: a URL as it is, or the door of an app of the run file.

    Raises:
        ConfigurationError: it is neither, or it is a projection.
    """
    if "://" in target:
        return _url(target, apps)
    for app in apps:
        if app.name == target:
            _refuse_projection(app)
            return f"http://127.0.0.1:{app.port}/{path.lstrip('/')}"
    names = ", ".join(app.name for app in apps) or "none"
    raise ConfigurationError(f"--to: expected a URL, or an app of dapr.yaml, which has {names}; found {target!r}. Correct it.")


def _url(target: str, apps: Sequence[App]) -> str:
    try:
        parts = urlsplit(target)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or parts.scheme not in {"http", "https"}:
        raise ConfigurationError(f"--to: expected an address like http://127.0.0.1:9000/events, found {target!r}.")
    for app in apps:
        if host in _HERE and port == app.port:
            _refuse_projection(app)
    return target


def _refuse_projection(app: App) -> None:
    if "-m" in app.command[:-1] and app.module.startswith(_WING):
        raise ConfigurationError(
            f"--to: {app.name} is a projection: its read model is made of the log alone, and a replay never enters it. "
            f"To apply everything again: sidestream projections rebuild {app.name}"
        )

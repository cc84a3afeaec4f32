"""Sends events to the bridge in batches over HTTP: several requests in flight, never two for one stream.

Every stream has its lane, and a lane sends one batch after the other, so that order in the file is order in the log.
The bridge stores a batch whole or not at all and doubles nothing: whatever has no clear answer is simply sent again.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any, Final

import httpx
import msgspec

from sidestream.cli.ndjson import Line, Refused
from sidestream.errors import ConfigurationError
from sidestream.event import BATCH_CONTENT_TYPE
from sidestream.stream import slot_of

MAX_BATCH_BYTES: Final = 3 * 1024 * 1024
_LANES: Final = 4
_QUEUED: Final = 2
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 5.0
_ALL_STORED: Final = 202
_SPLIT_ON: Final = frozenset({400, 409, 413, 422})
_AGAIN_ON: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class BridgeAway(ConfigurationError):
    """There is no bridge at this address, or not for as long as we were to wait."""

    code = "bridge-away"


class Tally(msgspec.Struct):
    """What has become of the lines so far."""

    read: int = 0
    stored: int = 0
    refused: int = 0


class Importer:
    """Sends lines to a bridge.

    Args:
        url: the bridge, `http://127.0.0.1:8103`.
        batch: most events of a request.
        patience: seconds that a batch is tried again while the bridge is away.
        on_refused: told each line that did not go in; called by one thread at a time.
        transport: how to reach the bridge, for tests; None: over the network.
    """

    def __init__(
        self,
        url: str,
        *,
        batch: int,
        patience: float,
        on_refused: Callable[[Refused], object],
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.tally = Tally()
        self._url = _door(url)
        self._batch = batch
        self._patience = patience
        self._on_refused = on_refused
        self._client = httpx.Client(transport=transport, timeout=httpx.Timeout(30.0, connect=5.0))
        self._lanes = [_Lane(queue.Queue(_QUEUED), threading.Event()) for _ in range(_LANES)]
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._counting = threading.Lock()

    def run(self, lines: Iterable[Line | Refused], on_progress: Callable[[], object]) -> None:
        """Send all lines; return when each is stored or refused.

        Raises:
            BridgeAway: the bridge is away or no bridge. What was stored stays stored; running again doubles nothing.
        """
        threads = [threading.Thread(target=self._follow, args=(lane,), daemon=True) for lane in self._lanes]
        for thread in threads:
            thread.start()
        try:
            self._distribute(lines, on_progress)
        except BaseException:
            self._stop.set()
            raise
        finally:
            self._end(threads)
        if self._failure is not None:
            raise self._failure

    def _distribute(self, lines: Iterable[Line | Refused], on_progress: Callable[[], object]) -> None:
        for line in lines:
            if self._stop.is_set():
                return
            with self._counting:
                self.tally.read += 1
            if isinstance(line, Refused):
                self._refuse(line)
                continue
            lane = self._lanes[slot_of(line.stream, _LANES)]
            if lane.is_full(line, self._batch):
                self._hand_over(lane)
                on_progress()
            lane.add(line)
        for lane in self._lanes:
            self._hand_over(lane)

    def _hand_over(self, lane: "_Lane") -> None:
        batch = lane.take()
        while batch and not self._stop.is_set():
            try:
                lane.batches.put(batch, timeout=0.2)
            except queue.Full:
                continue
            return

    def _end(self, threads: Sequence[threading.Thread]) -> None:
        """Let the lanes finish what they have; after a failure or Ctrl-C they only finish the request in flight."""
        for lane in self._lanes:
            lane.ended.set()
        try:
            for thread in threads:
                thread.join()
        except BaseException:
            self._stop.set()
            raise
        finally:
            self._client.close()

    # ── a lane ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _follow(self, lane: "_Lane") -> None:
        while not self._stop.is_set():
            ended = lane.ended.is_set()  # asked before: a last batch may be put just after nothing was found
            try:
                batch = lane.batches.get(timeout=0.05)
            except queue.Empty:
                if ended:
                    return
                continue
            try:
                self._send(batch)
            except Exception as error:
                self._failure = self._failure or error
                self._stop.set()

    def _send(self, batch: Sequence[Line]) -> None:
        """Send until every event of the batch is stored or refused."""
        while batch:
            answer = self._post(batch)
            if answer.status_code == _ALL_STORED:
                with self._counting:
                    self.tally.stored += len(batch)
                return None
            if answer.status_code not in _SPLIT_ON:
                raise BridgeAway(f"{self._url}: expected the bridge, found {answer.status_code}: {_detail(answer)}. Check --url.")
            refused = _refused(answer, batch)
            if not refused:
                return self._send_halves(batch, answer)
            for line in refused:
                self._refuse(line)
            numbers = {line.line for line in refused}
            batch = [line for line in batch if line.number not in numbers]
        return None

    def _send_halves(self, batch: Sequence[Line], answer: httpx.Response) -> None:
        """The bridge refuses the batch without saying which event it means: find it."""
        if len(batch) == 1:
            self._refuse(Refused(batch[0].number, _detail(answer)))
            return
        middle = len(batch) // 2
        self._send(batch[:middle])
        self._send(batch[middle:])

    def _post(self, batch: Sequence[Line]) -> httpx.Response:
        """Send one request until it is answered for good."""
        body = b"[" + b",".join(line.event for line in batch) + b"]"
        give_up = monotonic() + self._patience
        pause = _FIRST_PAUSE
        while True:
            wait = pause
            try:
                answer = self._client.post(self._url, content=body, headers={"content-type": BATCH_CONTENT_TYPE})
            except httpx.TransportError as error:
                problem = str(error) or type(error).__name__
            else:
                if answer.status_code not in _AGAIN_ON:
                    return answer
                problem = f"{answer.status_code}: {_detail(answer)}"
                wait = max(pause, _retry_after(answer))
            if monotonic() + wait > give_up or self._stop.wait(wait):
                raise BridgeAway(f"{self._url}: {problem}. What is stored stays stored; run it again, nothing is doubled.")
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _refuse(self, line: Refused) -> None:
        with self._counting:
            self.tally.refused += 1
            self._on_refused(line)


def _door(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ConfigurationError(f"--url: expected an address like http://127.0.0.1:8103, found {url!r}.")
    return url.rstrip("/") + "/events"


class _Lane:
    """The batch that is filling, and those that wait to be sent."""

    def __init__(self, batches: queue.Queue[list[Line]], ended: threading.Event) -> None:
        self.batches = batches
        self.ended = ended
        self._filling: list[Line] = []
        self._bytes = 0

    def is_full(self, line: Line, batch: int) -> bool:
        return len(self._filling) >= batch or (bool(self._filling) and self._bytes + len(line.event) > MAX_BATCH_BYTES)

    def add(self, line: Line) -> None:
        self._filling.append(line)
        self._bytes += len(line.event) + 1

    def take(self) -> list[Line]:
        batch, self._filling, self._bytes = self._filling, [], 0
        return batch


# ── what the bridge says ─────────────────────────────────────────────────────────────────────────────────────────────


class _Error(msgspec.Struct):
    index: int
    detail: str = ""


class _Problem(msgspec.Struct):
    title: str = ""
    detail: str = ""
    errors: list[Any] = []


def _problem(answer: httpx.Response) -> _Problem:
    try:
        return msgspec.json.decode(answer.content, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Problem(detail=answer.text[:200])


def _detail(answer: httpx.Response) -> str:
    problem = _problem(answer)
    return problem.detail or problem.title or answer.reason_phrase


def _refused(answer: httpx.Response, batch: Sequence[Line]) -> list[Refused]:
    """Return the lines that the bridge names; those of a batch it does not know are none of ours."""
    found = {}
    for each in _problem(answer).errors:
        try:
            error = msgspec.convert(each, _Error)
        except msgspec.ValidationError:
            continue
        if 0 <= error.index < len(batch):
            found[error.index] = Refused(batch[error.index].number, error.detail)
    return list(found.values())


def _retry_after(answer: httpx.Response) -> float:
    """Return the seconds of Retry-After; a date is as good as nothing."""
    text = answer.headers.get("retry-after", "")
    return min(float(text), 60.0) if text.isascii() and text.isdecimal() else 0.0

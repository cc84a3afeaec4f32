"""Writers stand still while the log is moved: what says so, what every publisher of an app asks, what the mover holds.

A folder in the system's data says it: a mark (how far a move is), a lock that the mover holds while it lives, and one that a
process holds while it has a call to the broker under way. So a mover that dies stops nobody, and one that lives knows when
the last call has ended. From the moment a move switches, whoever was started before publishes nothing until it is restarted:
its sidecar would write into the old log. Knows processes that share the folder, and no others.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final, Literal

import msgspec
import structlog

from sidestream.errors import ConfigurationError
from sidestream.ports import Outgoing, Publisher

FOLDER: Final = "moving"
LOOK_SECONDS: Final = 0.2
"""A publisher looks at the mark at most this often, so a mark is older than this before anybody relies on it."""
_SECOND_MOVER_SECONDS: Final = 1.0
_MOVING: Final = "The log is being moved from {source} to {target}, which takes seconds."
_SWITCHING: Final = (
    "The log is being switched from {source} to {target}. If that was interrupted, complete it: "
    "`sidestream broker move --from {source} --to {target}`."
)
_MOVED: Final = "The log was moved from {source} to {target}: this app and its sidecar must be restarted on it."

log_line = structlog.get_logger()


class Mark(msgspec.Struct, frozen=True):
    """How far a move is.

    Attributes:
        source, target: the brokers.
        state: `moving` counts only while the mover lives; `switching` and `moved` stay.
        switches: how many moves have come as far as the switch. A process knows the number of its start.
    """

    source: str
    target: str
    state: Literal["moving", "switching", "moved", "given up"]
    switches: int = 0


class _Place:
    """The files of the folder."""

    def __init__(self, data: Path) -> None:
        self.path = data / FOLDER
        self.mark = self.path / "mark.json"
        self.mover = self.path / "mover"
        self.writers = self.path / "writers"

    def read(self) -> Mark | None:
        """Return the mark, None where nothing was ever moved; raises ConfigurationError where it cannot be read."""
        try:
            return msgspec.json.decode(self.mark.read_bytes(), type=Mark)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigurationError(f"{self.mark}: expected how far a move is, found what cannot be read: {error}. Delete it.") from None

    def write(self, mark: Mark) -> None:
        """Replace the mark, whole or not at all, and on disk when this returns."""
        draft = self.mark.with_suffix(".draft")
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(mark))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.mark)

    def mover_lives(self) -> bool:
        """Whether somebody holds the mover's lock."""
        with self.mover.open("a+b") as file:
            return not _locked(file, fcntl.LOCK_SH)


def _locked(file: IO[bytes], how: int) -> bool:
    """Take a lock if it is to be had at once."""
    try:
        fcntl.flock(file.fileno(), how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# ── whoever publishes ────────────────────────────────────────────────────────────────────────────────────────────────


class Gate:
    """What one process asks before each call to the broker. Belongs to one thread."""

    def __init__(self, data: Path) -> None:
        self._place = _Place(data)
        self._switches = self._switches_at_start()
        self._looked_at = float("-inf")
        self._reason = ""
        self._inside = 0
        self._lock: IO[bytes] | None = None
        self._process = os.getpid()

    def _switches_at_start(self) -> int:
        with suppress(ConfigurationError):
            if mark := self._place.read():
                # started in the middle of it, with the old broker or the new: not known, so it must start once more
                return mark.switches - (mark.state == "switching")
        return 0

    def reason(self) -> str:
        """Return why nothing may be published now; empty when it may. As it was at most LOOK_SECONDS ago."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._reason, self._looked_at = self._look(), now
        return self._reason

    def _look(self) -> str:
        try:
            mark = self._place.read()
            if mark is None:
                return ""
            sentence = self._sentence(mark)
        except (ConfigurationError, OSError) as error:
            return str(error)
        return sentence.format(source=mark.source, target=mark.target)

    def _sentence(self, mark: Mark) -> str:
        if mark.switches > self._switches:
            return _SWITCHING if mark.state == "switching" else _MOVED
        return _MOVING if mark.state == "moving" and self._place.mover_lives() else ""

    def enter(self) -> str:
        """Begin a call, and return nothing; or return why it may not begin.

        The lock is taken before the mark is looked at: a mover that has waited for longer than a look is old either finds the
        lock, or its mark was seen.
        """
        if self._process != os.getpid():  # a forked child shares its parent's lock
            self.close()
            self._inside, self._process = 0, os.getpid()
        if not self._inside and not self._take():
            self._looked_at = float("-inf")
            return self.reason() or "The log is being moved to another broker."
        self._inside += 1
        if reason := self.reason():
            self.leave()
            return reason
        return ""

    def leave(self) -> None:
        """End a call."""
        self._inside -= 1
        if not self._inside and self._lock is not None:
            fcntl.flock(self._lock.fileno(), fcntl.LOCK_UN)

    def _take(self) -> bool:
        if self._lock is None:
            try:
                self._place.path.mkdir(parents=True, exist_ok=True)
                self._lock = self._place.writers.open("a+b")
            except OSError as error:  # a folder nobody may write to is no system's: a mover could not write there either
                log_line.info("cannot be asked to stand still", folder=str(self._place.path), error=str(error))
                return True
        return _locked(self._lock, fcntl.LOCK_SH)

    def close(self) -> None:
        """Let go of the files."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


class StandingPublisher:
    """See `sidestream.ports.Publisher`. Another publisher's, for as long as the gate is open."""

    def __init__(self, publisher: Publisher, gate: Gate) -> None:
        self._publisher = publisher
        self._gate = gate

    def stands_still(self) -> str:
        """Return why nothing may be published now; empty when it may."""
        return self._gate.reason()

    async def publish(self, topic: str, events: Sequence[Outgoing]) -> Mapping[int, str]:
        """See `sidestream.ports.Publisher`. Nothing is sent while the gate is closed."""
        if reason := self._gate.enter():
            return dict.fromkeys(range(len(events)), reason)
        try:
            return await self._publisher.publish(topic, events)
        finally:
            self._gate.leave()

    async def close(self) -> None:
        """See `sidestream.ports.Publisher`."""
        await self._publisher.close()
        self._gate.close()


# ── whoever moves ────────────────────────────────────────────────────────────────────────────────────────────────────


class Mover:
    """The only one that moves a system's log now. Made by `moving`."""

    def __init__(self, place: _Place, source: str, target: str) -> None:
        self._place = place
        self._before = place.read()
        self._mark = Mark(source, target, "moving", self._before.switches if self._before else 0)

    @property
    def interrupted(self) -> bool:
        """Whether an earlier mover died while it switched: its writers stand still already."""
        return self._before is not None and self._before.state == "switching"

    @contextmanager
    def standstill(self, patience_seconds: float) -> Iterator[None]:
        """Stop every publisher, wait until the last call has ended, and let them go on unless it came to the switch.

        Raises:
            ConfigurationError: a call does not end in time; nothing has changed.
        """
        if not self.interrupted:
            self._place.write(self._mark)
        with self._place.writers.open("a+b") as writers:
            try:
                self._wait_for_writers(writers, patience_seconds)
                yield
            finally:
                found = self._place.read()
                if found is not None and found.state == "moving":
                    self._place.write(msgspec.structs.replace(found, state="given up"))

    def _wait_for_writers(self, writers: IO[bytes], patience_seconds: float) -> None:
        time.sleep(2 * LOOK_SECONDS)
        until = time.monotonic() + patience_seconds
        while not _locked(writers, fcntl.LOCK_EX):
            if time.monotonic() > until:
                raise ConfigurationError(
                    f"{self._place.path}: expected every call to the broker to end within {patience_seconds:g} s, found one under way. "
                    "Nothing was changed, and writers go on. Look for an app or sidecar that hangs, and try again."
                )
            time.sleep(0.02)

    def switching(self) -> None:
        """Say that from now on nobody who runs may write any more; it outlives this process."""
        switches = self._mark.switches if self.interrupted else self._mark.switches + 1
        self._mark = msgspec.structs.replace(self._mark, state="switching", switches=switches)
        self._place.write(self._mark)

    def moved(self) -> None:
        """Say that the other broker is in force: whoever starts now may write."""
        self._place.write(msgspec.structs.replace(self._mark, state="moved"))


@contextmanager
def moving(data: Path, source: str, target: str) -> Iterator[Mover]:
    """Be the only one that moves this system's log. The operating system lets go of it however this process ends.

    Raises:
        ConfigurationError: somebody else moves it now, or an interrupted move was another one.
    """
    place = _Place(data)
    place.path.mkdir(parents=True, exist_ok=True)
    with place.mover.open("a+b") as lock:
        until = time.monotonic() + _SECOND_MOVER_SECONDS  # a publisher that looks holds it for a moment
        while not _locked(lock, fcntl.LOCK_EX):
            if time.monotonic() > until:
                raise ConfigurationError(f"{place.path}: expected nobody else to move this system's log, found a mover. Wait for its end.")
            time.sleep(0.01)
        mover = Mover(place, source, target)
        _refuse_another(place, source, target)
        yield mover


def _refuse_another(place: _Place, source: str, target: str) -> None:
    found = place.read()
    if found is not None and found.state == "switching" and (found.source, found.target) != (source, target):
        raise ConfigurationError(
            f"{place.mark}: expected the interrupted move to be completed first. "
            f"Run `sidestream broker move --from {found.source} --to {found.target}`."
        )


def switches_in(data: Path) -> tuple[int, str]:
    """Return how many moves have been completed in a system's folder, and which broker the last one led to."""
    mark = _Place(data).read()
    if mark is None or mark.state == "switching":
        return (mark.switches - 1 if mark else 0), ""
    return mark.switches, mark.target

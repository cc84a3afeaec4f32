"""One scan at a time: whoever runs one holds this lock. It ends with its process, so that a dead scan is told from a running one."""

import fcntl
import os
import threading
from pathlib import Path
from typing import Protocol


class ScanLock(Protocol):
    """A lock that may be released by another thread than took it."""

    def acquire(self) -> bool:
        """Take the lock; return False where somebody has it."""
        ...

    def release(self) -> None:
        """Let it go."""
        ...


class FileScanLock:
    """Excludes every process that uses the same folder (flock on a file in it)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock; return False where this or another process has it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let it go."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class MemoryScanLock:
    """Excludes the threads of this process, for a store that is in its memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def acquire(self) -> bool:
        """Take the lock; return False where somebody has it."""
        return self._lock.acquire(blocking=False)

    def release(self) -> None:
        """Let it go."""
        self._lock.release()

"""One scan at a time, over threads and processes; the lock of a dead process is free."""

import subprocess
import sys
from pathlib import Path

import pytest

from services.assets.exclusion import FileScanLock, MemoryScanLock, ScanLock

REPOSITORY = Path(__file__).parents[3]
HOLDER = """
import sys, time
from pathlib import Path
from services.assets.exclusion import FileScanLock
print(FileScanLock(Path(sys.argv[1])).acquire(), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_a_lock_that_somebody_holds_is_refused_until_it_is_let_go(kind: str, tmp_path: Path) -> None:
    one: ScanLock = FileScanLock(tmp_path / "new" / "lock") if kind == "file" else MemoryScanLock()
    other: ScanLock = FileScanLock(tmp_path / "new" / "lock") if kind == "file" else one

    assert one.acquire()
    assert not other.acquire()
    one.release()
    assert other.acquire()
    other.release()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    lock = FileScanLock(tmp_path / "lock")
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "lock")], stdout=subprocess.PIPE, cwd=REPOSITORY) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"True\n"
        held = lock.acquire()
        holder.kill()

    assert not held
    assert lock.acquire()
    lock.release()

"""The lines of parts: kept in files and shown, whatever becomes of the disk."""

import asyncio
import errno
import io
import sys
from pathlib import Path
from typing import IO

import pytest
from rich.console import Console

from sidestream.launcher.console import LogFiles, MergedLog
from sidestream.launcher.process import Process, Program


class Disk(io.StringIO):
    """A file on a disk that may be full."""

    full = False
    written = ""

    def write(self, text: str) -> int:
        self._refuse()
        self.written += text
        return len(text)

    def close(self) -> None:
        super().close()
        self._refuse()

    def _refuse(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")


class Given(LogFiles):
    """Files that are open already."""

    def __init__(self, **files: IO[str]) -> None:
        super().__init__(Path("nowhere"))
        self._files.update(files)


class Disks(Given):
    """A disk for each owner."""

    def __init__(self) -> None:
        self.of = {owner: Disk() for owner in ("votes", "tally", "launcher")}
        super().__init__(**self.of)


@pytest.fixture
def screen() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def disks() -> Disks:
    return Disks()


@pytest.fixture
def log(disks: Disks, screen: io.StringIO) -> MergedLog:
    return MergedLog(disks, Console(file=screen, width=200))


def test_lines_go_on_being_taken_while_the_disk_is_full_and_are_kept_again_when_there_is_room(
    log: MergedLog, disks: Disks, screen: io.StringIO
) -> None:
    take, disk = log.sink("votes", "votes"), disks.of["votes"]
    take("before")
    disk.full = True
    take("lost to the file")
    take("and this one")
    disk.full = False
    take("after")

    assert disk.written == "votes | before\nvotes | after\n"
    shown = screen.getvalue()
    assert [word in shown for word in ("before", "lost to the file", "and this one", "after")] == [True] * 4


def test_a_file_that_cannot_be_written_is_said_once_and_again_when_it_was_written_between(
    log: MergedLog, disks: Disks, screen: io.StringIO
) -> None:
    take, other, disk = log.sink("votes", "votes"), log.sink("tally", "tally"), disks.of["votes"]
    disk.full = True
    for line in ("one", "two", "three"):
        take(line)
        other(line)
    assert screen.getvalue().count("No space left on device") == 1
    assert "votes.log" in screen.getvalue()
    disk.full = False
    take("four")
    disk.full = True
    take("five")
    assert screen.getvalue().count("No space left on device") == 2


def test_the_launcher_goes_on_speaking_and_closes_every_file_while_the_disk_is_full(
    log: MergedLog, disks: Disks, screen: io.StringIO
) -> None:
    log.sink("votes", "votes")
    for disk in disks.of.values():
        disk.full = True
    log.say("The app has ended.")
    log.close()

    assert "The app has ended." in screen.getvalue()
    assert all(disk.closed for disk in disks.of.values())


def test_without_a_console_a_full_disk_stops_nothing_either(disks: Disks) -> None:
    log = MergedLog(disks, None)
    disks.of["votes"].full = True
    log.sink("votes", "votes")("lost")
    disks.of["votes"].full = False
    log.sink("votes", "votes")("kept")
    assert disks.of["votes"].written == "votes | kept\n"


async def test_a_part_that_says_more_than_its_pipe_holds_is_listened_to_although_the_disk_is_full(
    log: MergedLog, disks: Disks, tmp_path: Path
) -> None:
    disks.of["votes"].full = True
    talk = "for number in range(3000): print(number, 'x' * 100)"
    process = Process(Program("votes", (sys.executable, "-c", talk), tmp_path, {}), log.sink("votes", "votes"))
    await process.start()
    try:
        assert await asyncio.wait_for(process.wait(), 60) == 0
    finally:
        await process.kill()


def test_a_real_file_on_a_full_disk_is_outlived(screen: io.StringIO) -> None:
    with Path("/dev/full").open("w", encoding="utf-8", buffering=1) as file:
        log = MergedLog(Given(votes=file), Console(file=screen, width=200))
        take = log.sink("votes", "votes")
        for number in range(500):
            take(f"{number} {'x' * 100}")
        log.close()
    assert f"499 {'x' * 100}" in screen.getvalue()

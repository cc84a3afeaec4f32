"""One process that we started: its lines, its end, and that it never outlives us.

A process leads a group of its own, so that Ctrl-C in the terminal reaches only the launcher, which ends things in
order, and so that children of the process end with it. On Linux the kernel ends the process when the launcher is
killed; elsewhere a `kill -9` of the launcher leaves its parts running (the next start names the ports they hold).
"""

import asyncio
import contextlib
import ctypes
import os
import re
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LineSink = Callable[[str], None]
_PR_SET_PDEATHSIG = 1
_LONGEST_LINE = 64 * 1024
_SECRET_NAME = re.compile(r"(PASSWORD|SECRET|TOKEN|API_?KEY)$", re.IGNORECASE)
# A login in an address, as in postgresql://me:word@host or nats://token@host, or among the words of libpq.
_SECRET_VALUE = re.compile(r"//[^/@\s]+@|\bpassword\s*=", re.IGNORECASE)


@dataclass(frozen=True)
class Program:
    """What to start, where, with which environment added to ours."""

    name: str
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str] = field(repr=False)
    # What the kernel sends the process should the launcher die without a word.
    death_signal: signal.Signals = signal.SIGKILL
    # More variables, each with the file that holds its value: read at the start and printed nowhere.
    secrets: Mapping[str, Path] = field(default_factory=dict)

    def line(self) -> str:
        """Return the line that starts this by hand, in any shell. What holds a password is taken from the shell's own environment."""
        import shlex

        variables = [f'{key}="${key}"' if _hides(key, value) else f"{key}={shlex.quote(value)}" for key, value in self.environment.items()]
        variables += [f'{key}="$(cat {shlex.quote(str(file))})"' for key, file in self.secrets.items()]
        return " ".join([f"cd {shlex.quote(str(self.folder))} &&", *variables, shlex.join(self.command)])


def _hides(key: str, value: str) -> bool:
    """Whether a variable must not be printed."""
    return bool(_SECRET_NAME.search(key) or _SECRET_VALUE.search(value))


class Process:
    """A program that is started, watched, ended and started again. Not for use by several tasks at once."""

    def __init__(self, program: Program, on_line: LineSink, on_death: Callable[["Process"], None] | None = None) -> None:
        self.program = program
        self.starts = 0
        self.last_lines: deque[str] = deque(maxlen=15)
        self._on_line = on_line
        self._on_death = on_death
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._ending = False

    @property
    def name(self) -> str:
        """Return the tag under which this process is known."""
        return self.program.name

    @property
    def pid(self) -> int:
        """Return the process id; only while one was started."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.returncode is None

    @property
    def exit_code(self) -> int | None:
        """Return how it ended: 0 to 255, or minus the signal; None while it runs or before it started."""
        return self._process.returncode if self._process else None

    def describe_end(self) -> str:
        """Say how it ended in words."""
        code = self.exit_code
        if code is None:
            return "still runs"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    async def start(self) -> None:
        """Start the program. Returns when it exists, not when it is ready."""
        assert not self.alive, f"{self.name} runs already"
        self._ending = False
        self.starts += 1
        self.last_lines.clear()
        # A pipe of our own: asyncio's would let `wait` wait for every grandchild that inherited it.
        read_end, write_end = os.pipe()
        try:
            self._process = await _spawn(self.program, write_end)
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self._watch = asyncio.create_task(self._follow(self._process, read_end), name=f"follow {self.name}")

    async def wait(self) -> int:
        """Wait for the end and return the exit code."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self, patience: float = 10.0) -> None:
        """Ask it to end (SIGTERM), wait, and end it (SIGKILL) when patience, in seconds, runs out."""
        if self.alive:
            self._ending = True
            self._signal(signal.SIGTERM)
            # A stopped process would sleep through the request.
            self._signal(signal.SIGCONT)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.wait(), patience)
        await self.kill()

    async def kill(self) -> None:
        """End it and every child it left in its group, at once (SIGKILL)."""
        if self._process is None:
            return
        self.end_at_once()
        await self.wait()
        if self._watch:
            await self._watch

    def end_at_once(self) -> None:
        """Send SIGKILL to it and its group without waiting for the end."""
        if self._process is None:
            return
        self._ending = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.alive:
            with contextlib.suppress(ProcessLookupError):
                # Not `send_signal`: that looks for the end first, and would reap it before asyncio can.
                os.kill(self._process.pid, number)

    async def _follow(self, process: asyncio.subprocess.Process, read_end: int) -> None:
        reading = asyncio.create_task(self._read(read_end))
        await process.wait()
        # What it wrote is there at once; a grandchild may hold the pipe open for ever.
        await asyncio.wait([reading], timeout=0.5)
        reading.cancel()
        if not self._ending and self._on_death:
            self._on_death(self)

    async def _read(self, read_end: int) -> None:
        stream = asyncio.StreamReader()
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(read_end, "rb", 0)
        )
        try:
            await self._split(stream)
        finally:
            pipe.close()

    async def _split(self, stream: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await stream.read(_LONGEST_LINE):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._take(line)
            if len(rest) > _LONGEST_LINE:
                self._take(rest)
                rest = b""
        if rest:
            self._take(rest)

    def _take(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        self.last_lines.append(text)
        self._on_line(text)


class DeadlineMissed(Exception):
    """A condition did not come true in time."""


async def _spawn(program: Program, output: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *program.command,
        cwd=program.folder,
        env={**os.environ, **program.environment, **_read(program.secrets)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=_die_with_parent(program.death_signal),
    )


def _read(secrets: Mapping[str, Path]) -> dict[str, str]:
    return {name: file.read_text(encoding="utf-8") for name, file in secrets.items()}


def _die_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    """Return what the child does between fork and exec, so that it ends when we do; None where the kernel cannot."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def promise() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(death_signal))
        # Had the parent died before the line above, nobody would ever tell us.
        if os.getppid() != parent:
            os._exit(1)

    return promise

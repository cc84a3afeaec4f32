"""Where the launcher speaks and where the parts' lines go: the terminal, tagged and coloured by app, and one file an app."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.style import Style

from sidestream.launcher.process import LineSink
from sidestream.launcher.repetition import Repetition

_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "bright_red", "bright_cyan", "bright_magenta", "bright_green")


# What every sidecar says at every start and stop: it runs without Dapr's control plane, which nothing here uses, and
# its readers notice that their connection was closed; and a folder beside the components is no component. In the files only.
_SAID_EVERY_TIME = (
    "mTLS is disabled. Skipping certificate request",
    "placement service is not configured",
    "No scheduler host addresses provided",
    "use of closed network connection",
    "A non-YAML",
)


class LogFiles:
    """One file for each owner below a folder; the last run's is kept beside it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, IO[str]] = {}

    def open(self, owner: str) -> IO[str]:
        """Return the owner's file, begun anew the first time."""
        if owner not in self._files:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{owner}.log"
            if path.exists():
                path.replace(self._folder / f"{owner}.previous.log")
            self._files[owner] = path.open("w", encoding="utf-8", buffering=1)
        return self._files[owner]

    def close(self) -> None:
        """Close every file."""
        for file in self._files.values():
            with contextlib.suppress(OSError):  # a full disk refuses the last lines, and the file is closed all the same
                file.close()
        self._files.clear()


class MergedLog:
    """The lines of all parts in one place. Without a console they go to their files only."""

    def __init__(self, files: LogFiles, console: Console | None) -> None:
        self._files = files
        self.console = console
        self._colours: dict[str, str] = {}
        self._at_the_end: list[Callable[[], None]] = []
        self._unwritten: set[str] = set()

    def sink(self, owner: str, tag: str) -> LineSink:
        """Return what takes the lines of one part of an owner."""
        file = self._files.open(owner)
        prefix = self._prefix(owner, tag)
        repetition = Repetition()

        def write(line: str) -> None:
            self._keep(file, owner, f"{tag} | {line}\n")
            if not any(remark in line for remark in _SAID_EVERY_TIME):
                self._show(f"{prefix}{line}\n")

        def take(line: str) -> None:
            for each in repetition.passed(line):
                write(each)

        def tell() -> None:
            for each in repetition.held():
                write(each)

        self._at_the_end.append(tell)
        return take

    def say(self, sentence: str, *, style: str = "") -> None:
        """Speak for the launcher itself."""
        self._keep(self._files.open("launcher"), "launcher", f"{sentence}\n")
        if self.console:
            with contextlib.suppress(OSError):
                self.console.print(sentence, style=style, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Say what was held back last, and close the files."""
        while self._at_the_end:
            self._at_the_end.pop()()
        self._files.close()

    def _keep(self, file: IO[str], owner: str, line: str) -> None:
        # A full disk must not end the reading of a part's lines: its pipe would be closed, and the part fail at its next line.
        try:
            file.write(line)
        except OSError as problem:
            if owner not in self._unwritten:
                self._unwritten.add(owner)
                self._show(
                    f"{owner}.log cannot be written: {problem.strerror or problem}. Until that is mended its lines are shown only here.\n"
                )
        else:
            self._unwritten.discard(owner)

    def _show(self, line: str) -> None:
        # A terminal that was closed, or `| head`, must not stop the parts whose lines it showed.
        if self.console:
            with contextlib.suppress(OSError):
                self.console.file.write(line)
                self.console.file.flush()

    def _prefix(self, owner: str, tag: str) -> str:
        colour = self._colours.setdefault(owner, _COLOURS[len(self._colours) % len(_COLOURS)])
        text = f"{tag:>21} │ "
        system = self.console._color_system if self.console else None  # noqa: SLF001 - rich renders a style only for a given system
        return Style.parse(colour).render(text, color_system=system)

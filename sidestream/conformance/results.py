"""What a run of the probes has found: one result per question, and where and when it was measured."""

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, Self

import msgspec

from sidestream.errors import ConfigurationError

Verdict = Literal["good", "note", "bad"]
FORM: Final = 1
"""Of the file; a reader takes no other."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one question.

    Attributes:
        name: stable word that programs may match.
        answer: in words, `kept`, `lost 12 of 100`.
        verdict: `good`; `note`: something to know; `bad`: events would be lost, or the system would be wrong.
        explanation: what it means for Sidestream.
        figure, unit: the measured number, where there is one.
    """

    name: str
    question: str
    answer: str
    verdict: Verdict
    explanation: str
    figure: float | None = None
    unit: str = ""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was measured; figures hold for it and the hour, answers do not depend on it."""

    system: str
    python: str
    processors: int
    load_before: float
    load_after: float

    @classmethod
    def of(cls, load_before: float, load_after: float, processors: int) -> Self:
        """Describe this machine."""
        system = f"{platform.system()} {platform.machine()}"
        return cls(
            system=system,
            python=platform.python_version(),
            processors=processors,
            load_before=round(load_before, 1),
            load_after=round(load_after, 1),
        )


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run on one broker.

    Attributes:
        broker: its folder's name, or its type's where it has none.
        component: the type in the YAML, `pubsub.redis`.
        server: what the caller said of the server, or nothing.
        follow: what a projection follows on it, `log` or `inbox`.
        scope: `full` or `quick`.
        began: UTC, ISO 8601.
    """

    broker: str
    component: str
    server: str
    sidecar: str
    follow: Literal["log", "inbox"]
    scope: Literal["quick", "full"]
    began: str
    seconds: float
    machine: Machine
    results: Sequence[Result]
    form: int = FORM

    @property
    def is_bad(self) -> bool:
        """Whether any verdict is bad."""
        return any(result.verdict == "bad" for result in self.results)

    def result(self, name: str) -> Result | None:
        """Return the result of this name, None where it was not asked."""
        return next((result for result in self.results if result.name == name), None)


def read_run(path: Path) -> Run:
    """Return a run that was written as JSON.

    Raises:
        ConfigurationError: no such file, or it holds something else.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Run)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: expected what `sidestream broker check --json` prints: {error}. Name such a file.") from None
    if found.form != FORM:
        raise ConfigurationError(f"{path}: expected form {FORM}, found {found.form}. Run the check again with this version.")
    return found

"""Which generations an app cannot read, and why: each is said once, with what to run, and is tried again on every sweep.

One that cannot be read stops nothing but itself: the others are followed, and the live one is answered from. What was
dropped meanwhile is not unreadable, only gone. Everything here asks the database: for a thread, one at a time.
"""

from collections.abc import Collection, Mapping

import structlog

from sidestream.applying.table_shapes import check_shapes
from sidestream.errors import ReadModelError, UnreadableGeneration
from sidestream.ports import Generation, GenerationInfo, ReadModels
from sidestream.projection import Projection

log_line = structlog.get_logger()


def why_unreadable(projection: str, info: GenerationInfo, error: ReadModelError) -> str:
    """Say that a generation cannot be read, why, and what to run."""
    found = f"{projection}: generation {info.name} cannot be read: {error}"
    if not isinstance(error, UnreadableGeneration):
        return found
    remedy = f"rebuild {projection}" if info.live else f"drop {projection} {info.name}"
    return f"{found} Run: sidestream projections {remedy}"


class Readable:
    """Opens generations, looks whether they are still there, and knows what is wrong with those that cannot be read."""

    def __init__(self, projection: Projection, read_models: ReadModels) -> None:
        self._declared = projection
        self._projection = projection.name
        self._read_models = read_models
        self._problems: dict[str, str] = {}

    @property
    def problems(self) -> Mapping[str, str]:
        """Name → why it cannot be read and what to run, of every generation that cannot."""
        return self._problems

    def problem(self, name: str) -> str:
        """Return why a generation cannot be read and what to run, or nothing."""
        return self._problems.get(name, "")

    def open(self, info: GenerationInfo) -> Generation | None:
        """Open a generation; None where it cannot be read, or holds other tables than the code declares, which is said."""
        try:
            check_shapes(self._declared, info, self._read_models)
            opened = self._read_models.open(info.name)
        except ReadModelError as error:
            self._note(info, error)
            return None
        if self._problems.pop(info.name, ""):
            log_line.info("generation readable again", projection=self._projection, generation=info.name)
        return opened

    def lost(self, info: GenerationInfo, generation: Generation) -> bool:
        """Return whether what was opened is gone, which is said.

        A database that is away has lost nothing. What was dropped since it was listed goes on as it is: queries may still
        read it, until the next look finds where the pointer is now.
        """
        try:
            generation.check()
        except UnreadableGeneration as error:
            return self._note(info, error)
        except ReadModelError:  # whoever follows says so
            return False
        return False

    def forget(self, others_than: Collection[str]) -> None:
        """Forget generations that are not there any more."""
        self._problems = {name: problem for name, problem in self._problems.items() if name in others_than}

    def _note(self, info: GenerationInfo, error: ReadModelError) -> bool:
        """Note why; return whether the generation is still one."""
        if all(each.name != info.name for each in self._read_models.generations()):
            return False
        problem = why_unreadable(self._projection, info, error)
        if problem != self.problem(info.name):
            log_line.error("generation unreadable", projection=self._projection, generation=info.name, live=info.live, problem=problem)
        self._problems[info.name] = problem
        return True

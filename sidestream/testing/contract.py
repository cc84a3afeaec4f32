"""`ProjectionContract`: the promise of a projection as a class of tests, for whoever prefers three lines to a function.

class TestTally(ProjectionContract):
    projection, registry, events = Tally(), registry(), st.lists(votes)
"""

from collections.abc import Sequence

from hypothesis import strategies as st

from sidestream.projection import Projection
from sidestream.registry import Registry
from sidestream.testing.history import Happened
from sidestream.testing.surviving import survives_any_schedule


class ProjectionContract:
    """Subclass it under a name that pytest collects.

    Attributes:
        projection: the rule.
        registry: the language it is written in.
        events: a Hypothesis strategy of histories.
    """

    projection: Projection
    registry: Registry
    events: st.SearchStrategy[Sequence[Happened]]

    def test_it_survives_any_schedule(self, schedules: int) -> None:
        """Whatever is repeated, reordered, lost, killed or overtaken, the read model is the fold."""
        survives_any_schedule(self.projection, self.registry, self.events, count=schedules)

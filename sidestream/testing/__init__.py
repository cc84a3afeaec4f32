"""For the tests of whoever uses the kernel: given / when / then for aggregates and projections, and random schedules of faults.

    ProjectionSpecification(Tally(), registry)
        .given(happened(VoteCast("lunch", "soup", "ann"), subject="vote-1"))
        .when(happened(VoteCast("lunch", "cake", "ann"), subject="vote-1"))
        .delivered(times=2)
        .shuffled(seed=7)
        .then(Ballot("lunch", "ann", "soup", "e-001"), Total("lunch", "soup", 1))

It is played through the kernel's own projector over the memory adapters, so that duplicates are skipped by count and
not by luck; then the same log is rebuilt in one go, and must give the same rows.

    AggregateSpecification(ORDER).given(OrderPlaced("ada", "EUR", ())).when(ShipOrder("post", "1")).then_refused("order-open")

`survives_any_schedule(Tally(), registry, st.lists(votes))`, or a subclass of `ProjectionContract`, plays random histories
under random faults and compares with an independent fold. Both are described, and run, in docs/testing.md.
"""

from sidestream.testing.contract import ProjectionContract
from sidestream.testing.deciding import AggregateSpecification
from sidestream.testing.history import Happened, happened, stranger
from sidestream.testing.specification import ProjectionSpecification
from sidestream.testing.surviving import survives_any_schedule

__all__ = [
    "AggregateSpecification",
    "Happened",
    "ProjectionContract",
    "ProjectionSpecification",
    "happened",
    "stranger",
    "survives_any_schedule",
]

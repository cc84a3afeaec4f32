"""The language: every fact the system can record, under the word it has on the wire.

One module per owning service. Services and projections share these and the kernel, and nothing else of each other.
Pure: no I/O, no clock, no random source; golden samples of every version are kept in tests/golden/events.
"""

from events import assets, bridge, orders, scans, shipments, votes
from sidestream.registry import Registry


def registry() -> Registry:
    """Return every category there is, checked against each other."""
    return Registry((votes.CATEGORY, assets.CATEGORY, scans.CATEGORY, orders.CATEGORY, shipments.CATEGORY, bridge.CATEGORY))

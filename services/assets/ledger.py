"""The inventory, kept up with the service's own event store: what was appended since, by whichever process, is folded in."""

import threading
from collections.abc import Callable
from typing import TypeVar

from services.assets.inventory import Inventory
from sidestream.ports import EventStore
from sidestream.registry import Registry
from sidestream.writing.reading import read_stored

Answer = TypeVar("Answer")
_PAGE = 5000


class Ledger:
    """One inventory for all threads of a process."""

    def __init__(self, store: EventStore, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        self._inventory = Inventory()
        self._position = 0
        self._lock = threading.Lock()

    def ask(self, question: Callable[[Inventory], Answer]) -> Answer:
        """Return what the inventory answers when every event stored so far is in it. What it returns must be its own copy.

        Raises:
            StoreAway: the store cannot be reached.
            UnknownSchemaVersion, UnreadableEvent: there is an event that this program does not understand. Without it the
                inventory would be another one, so that nothing is answered until a program that does is deployed.
        """
        with self._lock:
            while events := self._store.follow(self._position, _PAGE):
                for stored in events:
                    self._inventory.apply(*read_stored(self._registry, stored))
                    self._position = stored.position
            return question(self._inventory)

    def check(self) -> None:
        """Return when questions can be answered; raises what `ask` raises."""
        self.ask(lambda _: None)
